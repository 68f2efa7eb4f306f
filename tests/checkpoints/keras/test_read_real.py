"""Trained networks that people published: layers, shapes and calls."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rcproof.checkpoints.imported import ReadOptions
from rcproof.checkpoints.keras.model import KerasModel
from rcproof.checkpoints.keras.read import read_keras_model

h5py = pytest.importorskip("h5py", reason="Keras files are read with h5py")


def opened(folder: Path, weights: str, config: str | None = None) -> KerasModel:
    architecture = None if config is None else str(folder / config)
    return read_keras_model(folder / weights, ReadOptions(architecture=architecture))


def called(found: KerasModel) -> list[tuple[str, str, list[str]]]:
    """Every call: the layer, its kind, and the layers whose results go in."""
    names = [call.layer for call in found.calls]
    return [(c.layer, found.layers[c.layer].kind, [names[s.call] for s in c.inputs]) for c in found.calls]


@pytest.mark.parametrize(("name", "filters"), [("MAX", 64), ("E2F1", 32), ("GABPA_meta", 32)])
def test_factornet(name: str, filters: int, data_dir: Path) -> None:
    folder = data_dir / "checkpoints" / f"factornet_{name}"
    found = opened(folder, "final_model.hdf5", "model.json")
    assert (found.generation, found.version, found.backend, found.container) == (1, "1.1.1", "theano", "HDF5")
    assert len(found.notes) == 1 and "Theano, by the names of its weights" in found.notes[0]
    meta = name.endswith("meta")
    assert [found.calls[i].layer for i in found.inputs] == ["input_1", "input_2", *(["input_3"] if meta else [])]
    assert found.layers["input_1"].config == {"shape": [1002, 6]}
    trunk = ["convolution1d_1", "dropout_1", "timedistributed_1", "maxpooling1d_1", "bidirectional_1", "dropout_2"]
    shared = [*trunk, "flatten_1", "dense_2", "dense_3", *(["dense_4"] if meta else [])]
    names = [layer for layer, _, _ in called(found)]
    assert all(names.count(layer) == 2 for layer in shared)
    (source,) = found.outputs
    _, kind, inputs = called(found)[source.call]
    assert kind == "Average" and inputs == [shared[-1]] * 2
    if meta:
        joined = [(kind, inputs) for layer, kind, inputs in called(found) if layer in ("merge_1", "merge_2")]
        assert joined == [("Concatenate", ["dense_2", "input_3"])] * 2
    layers = found.layers
    assert layers["dense_2"].weights["kernel"].shape == (3648, 64)
    assert layers["timedistributed_1"].inner[0].weights["kernel"].shape == (filters, filters)
    for way in layers["bidirectional_1"].inner:
        assert {role: array.shape for role, array in way.weights.items()} == {
            "kernel": (filters, 128),
            "recurrent_kernel": (32, 128),
            "bias": (128,),
        }
        assert way.config["recurrent_activation"] == "hard_sigmoid"
    with h5py.File(folder / "final_model.hdf5") as file:
        stored = np.array(file["convolution1d_1/convolution1d_1_W"])
        forget = np.array(file["bidirectional_1/backward_lstm_1_W_f"])
    np.testing.assert_array_equal(layers["convolution1d_1"].weights["kernel"], stored[::-1, 0])
    np.testing.assert_array_equal(layers["bidirectional_1"].inner[1].weights["kernel"][:, 32:64], forget)


def test_dragonn(data_dir: Path) -> None:
    folder = data_dir / "checkpoints" / "dragonn"
    found = opened(folder, "multi_layer_dragonn.weights.h5", "multi_layer_dragonn.arch.json")
    assert (found.generation, found.version, found.backend) == (0, "0.x", "theano")
    assert "Theano, by its age" in found.notes[0]
    kinds = [kind for _, kind, _ in called(found)]
    block = ["Conv2D", "Activation", "Dropout"]
    assert kinds == ["InputLayer", *block * 3, "MaxPooling2D", "Flatten", "Dense", "Activation"]
    first = found.layers["convolution2d_1"]
    assert found.layers["convolution2d_1_input"].config == {"shape": [1, 4, 1000], "data_format": "channels_first"}
    assert first.config["kernel_size"] == [4, 10] and first.config["data_format"] == "channels_first"
    with h5py.File(folder / "multi_layer_dragonn.weights.h5") as file:
        stored = np.array(file["layer_0/param_0"])
    np.testing.assert_array_equal(first.weights["kernel"], stored.transpose(2, 3, 1, 0)[::-1, ::-1])


def test_spi1(data_dir: Path) -> None:
    found = opened(data_dir / "checkpoints" / "tfmodisco_SPI1", "modelWeights.h5", "modelJson.json")
    assert (found.generation, found.version, found.backend, found.notes) == (2, "2.2.2", "tensorflow", ())
    shapes = [spec.weights["kernel"].shape for spec in found.layers.values() if "kernel" in spec.weights]
    assert shapes == [(15, 4, 50), (15, 50, 50), (13, 50, 50), (1250, 50), (50, 4)]
    norms = [spec for spec in found.layers.values() if spec.kind == "BatchNormalization"]
    assert [sorted(norm.weights) for norm in norms] == [["beta", "gamma", "moving_mean", "moving_variance"]] * 4
    assert found.layers["conv1d_1_input"].config == {"shape": [1000, 4]}


def test_mpra_dragonn(data_dir: Path) -> None:
    found = opened(data_dir / "checkpoints" / "mpradragonn", "ConvModel.hdf5", "model.json")
    assert (found.generation, found.version) == (2, "2.2.4")
    assert found.layers["dense_1"].weights["kernel"].shape == (15960, 12)
    assert found.layers["conv1d_3"].config["activation"] == "relu"


def test_rcps_bpnet(data_dir: Path) -> None:
    found = opened(data_dir / "checkpoints" / "bpnet_rcps_reb1", "reb1_chipexo.h5")
    names = [call.layer for call in found.calls]
    assert [names[i] for i in found.inputs] == ["sequence", "control_logcount", "control_profile"]
    assert [names[s.call] for s in found.outputs] == ["task0_logcount", "task0_profile"]
    assert sum(spec.kind == "RevCompConv1D" for spec in found.layers.values()) == 10
    assert found.layers["rev_comp_conv1d_9"].weights["kernel"].shape == (20, 40, 1)
    crop = found.layers["lambda_1"]
    assert crop.kind == "Lambda" and crop.config["output_shape"] == [522, 40]
    assert isinstance(crop.config["function"][0], str)  # text, as in the file
