"""A trained RCPS BPNet of keras-genomics: read, against numpy, and equivariant for the right control tracks alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import rcproof
from rcproof.checkpoints.imported import Imported, ReadOptions
from rcproof.checkpoints.keras import read_keras
from rcproof.errors import CheckpointError
from rcproof.nn import RCPSConv1d
from rcproof.strand import rc
from tests.checkpoints.keras.hand_built import Array, close, draw
from tests.checkpoints.keras.test_keras_genomics import relu, revcomp_conv

OUTPUTS = ("reversal", "reversal")

#: The control tracks have small weights: swapping them changes the profile by a thousandth of its largest value.
VISIBLE = 1e-4


@pytest.fixture(scope="module")
def path(data_dir: Path) -> Path:
    pytest.importorskip("h5py", reason="Keras files are read with h5py")
    return data_dir / "checkpoints" / "bpnet_rcps_reb1" / "reb1_chipexo.h5"


@pytest.fixture(scope="module")
def found(path: Path) -> Imported:
    return read_keras(path)


def inputs(count: int = 2) -> tuple[Array, Array, Array]:
    """One-hot sequences, a count, and two control tracks, as Keras has them."""
    rng = np.random.default_rng(0)
    sequence = np.eye(4)[rng.integers(0, 4, (count, 546))]
    return sequence, draw(1, count, 1), np.abs(draw(2, count, 255, 2))


def tensors(*arrays: Array) -> list[torch.Tensor]:
    return [torch.from_numpy(np.moveaxis(x, 1, -1).copy() if x.ndim == 3 else x) for x in arrays]


def by_hand(path: Path, sequence: Array, count: Array, control: Array) -> tuple[Array, Array]:
    """The whole network for one example: counts (2,) and profile (255, 2), from the weights in the file."""
    import h5py

    with h5py.File(path) as file:

        def conv(name: str, x: Array, dilation: int = 1) -> Array:
            weights = file["model_weights"][name][name]
            kernel, bias = weights["kernel:0"][()].astype(float), weights["bias:0"][()].astype(float)
            return revcomp_conv(x, kernel, bias, "valid", 1, dilation)

        found = [relu(conv("rev_comp_conv1d_1", sequence))]
        for i in range(1, 7):
            mixed = sum(found) / len(found)
            found = [x[2**i : -(2**i)] for x in found] + [relu(conv(f"rev_comp_conv1d_{i + 1}", mixed, 2**i))]
        mixed = sum(found) / len(found)
        counted = np.concatenate([count[::-1], mixed.mean(0), count])[None]
        tracks = np.concatenate([control[:, ::-1], conv("rev_comp_conv1d_9", mixed), control], axis=1)
        return conv("rev_comp_conv1d_8", counted)[0], conv("task0_profile", tracks)


def test_it_is_read_with_what_was_assumed(found: Imported) -> None:
    assert found.input_names == ("sequence", "control_logcount", "control_profile")
    assert found.output_names == ("task0_logcount", "task0_profile")
    assert found.shapes == ((4, 546), (1,), (2, 255))
    first, second, crops = found.notes
    assert first.startswith("Lambda 'lambda_22' is taken for flip-channels: 'concatenate_1' joins it and the input ")
    assert second.startswith("Lambda 'lambda_23' is taken for flip-channels: 'concatenate_2' joins it and the input ")
    assert crops.startswith("21 Lambdas (lambda_1, lambda_2, lambda_3, …) are taken for a crop of as much at both ends")
    layers = [m for m in found.model.modules() if isinstance(m, RCPSConv1d)]
    assert len(layers) == 10 and layers[0].source is not None and all(layer.coupled for layer in layers[1:])


def test_it_agrees_with_numpy(found: Imported, path: Path) -> None:
    arrays = inputs()
    with torch.no_grad():
        counts, profile = found.model.double()(*tensors(*arrays))
    want = [by_hand(path, *(x[i] for x in arrays)) for i in range(len(arrays[0]))]
    close(counts.numpy(), np.stack([w[0] for w in want]))
    close(profile.numpy().transpose(0, 2, 1), np.stack([w[1] for w in want]))


def errors(model: torch.nn.Module, control: str) -> list[float]:
    """How far both outputs are from equivariance, for a representation of the control tracks."""
    xs = tensors(*inputs())
    with torch.no_grad():
        given = model(*xs)
        other = model(*(rc(x, rep) for x, rep in zip(xs, ("reversal", "reversal", control), strict=True)))
    return [float((rc(a, r) - b).abs().max() / a.abs().max()) for a, b, r in zip(given, other, OUTPUTS, strict=True)]


def test_it_is_equivariant_for_the_right_control_tracks_alone(found: Imported) -> None:
    model = found.model.double()
    assert max(errors(model, "length")) <= 1e-12
    # The two tracks are scales of smoothing; swapped as if they were strands, the profile is another one.
    counts, profile = errors(model, "reversal")
    assert counts <= 1e-12 and profile > VISIBLE
    assert errors(model, "fixed")[1] > VISIBLE
    for control, passes in (("length", True), ("reversal", False)):
        report = rcproof.check_equivariance(model, tensors(*inputs()), ("reversal", "fixed", control), OUTPUTS)
        assert report.passed == passes


def test_a_kernel_that_is_not_doubled_is_caught(path: Path) -> None:
    model = read_keras(path).model.double()
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, RCPSConv1d):
                layer.weight /= 2
    arrays = inputs(1)
    assert max(errors(model, "length")) <= 1e-12  # equivariance does not see it
    with torch.no_grad():
        counts, _ = model(*tensors(*arrays))
    with pytest.raises(AssertionError, match="differs"):
        close(counts.numpy()[0], by_hand(path, *(x[0] for x in arrays))[0])


@pytest.mark.parametrize("word", ["rc", "flip-length", "identity"])
def test_another_reading_of_the_lambda_of_the_control_tracks_is_not_equivariant(path: Path, word: str) -> None:
    model = read_keras(path, ReadOptions(lambdas={"lambda_23": word})).model.double()
    assert errors(model, "length")[1] > VISIBLE


def test_a_crop_that_is_off_by_one_is_not_equivariant(path: Path) -> None:
    model = read_keras(path, ReadOptions(lambdas={"lambda_1": "crop:1,3"})).model.double()
    assert errors(model, "length")[1] > VISIBLE
    with pytest.raises(CheckpointError, match=r"taken to do: got shape \(521, 40\); expected shape \(522, 40\)"):
        read_keras(path, ReadOptions(lambdas={"lambda_1": "crop:2,3"}))


def test_it_travels_in_a_native_file(found: Imported, tmp_path: Path) -> None:
    rcproof.save(found.model, tmp_path / "bpnet.safetensors")
    again = rcproof.load(tmp_path / "bpnet.safetensors")
    xs = [x.to(next(found.model.parameters()).dtype) for x in tensors(*inputs(1))]
    with torch.no_grad():
        for a, b in zip(found.model(*xs), again(*xs), strict=True):
            assert torch.equal(a, b)
