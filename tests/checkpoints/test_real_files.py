"""Trained networks as people published them, against Keras where it can load them and against numpy where it cannot.

The references read the files by themselves, with h5py, and follow the definitions of the layers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rcproof.checkpoints import ReadOptions, read_model
from rcproof.checkpoints.siamese import as_conjoined
from rcproof.conjoined import Conjoined
from rcproof.strand import rc
from tests.checkpoints.keras.oracles import keras2

h5py = pytest.importorskip("h5py", reason="reads the Keras files (the extra `keras`)")

Array = np.ndarray[Any, np.dtype[np.float64]]
TRACKS = "perm:3,2,1,0,4,5"
FACTORNETS = {"factornet_MAX": 0, "factornet_E2F1": 0, "factornet_GABPA_meta": 14}


def arrays(path: Path) -> dict[str, Array]:
    """Every array of an HDF5 file, by the last part of its name, in float64."""
    found: dict[str, Array] = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: found.__setitem__(name, np.asarray(item, float)) if hasattr(item, "shape") else None
        )
    return found


def one_hot(rng: np.random.Generator, count: int, length: int) -> Array:
    """(N, L, 4)."""
    return np.eye(4)[rng.integers(0, 4, (count, length))]


def convolved(x: Array, kernel: Array, bias: Array) -> Array:
    """(N, L, in) with a kernel (K, in, out) for cross-correlation → (N, L − K + 1, out)."""
    windows = np.lib.stride_tricks.sliding_window_view(x, len(kernel), axis=1)  # (N, L', in, K)
    return np.einsum("nlik,kio->nlo", windows, kernel) + bias


def pooled(x: Array, size: int) -> Array:
    """(N, L, C) → (N, L // size, C), the maximum of each window."""
    steps = x.shape[1] // size
    return x[:, : steps * size].reshape(len(x), steps, size, -1).max(2)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


# -- FactorNet: Keras 1 on Theano --------------------------------------------------------------------------


def lstm(x: Array, weights: dict[str, Array], prefix: str, order: str = "icfo") -> Array:
    """The states of an LSTM of Keras 1, position by position; gates by name, hard sigmoid with the slope 1/5."""
    w, u, b = ({g: weights[f"{prefix}_{kind}_{g}"] for g in "icfo"} for kind in "WUb")
    renamed = dict(zip("icfo", order, strict=True))
    state = memory = np.zeros((len(x), len(u["i"])))
    states = []
    for t in range(x.shape[1]):
        z = {g: x[:, t] @ w[renamed[g]] + b[renamed[g]] + state @ u[renamed[g]] for g in "icfo"}
        gate = {g: np.clip(0.2 * z[g] + 0.5, 0, 1) for g in "ifo"}
        memory = gate["f"] * memory + gate["i"] * np.tanh(z["c"])
        state = gate["o"] * np.tanh(memory)
        states.append(state)
    return np.stack(states, 1)


def factornet(
    path: Path, strands: list[Array], meta: Array | None, flip: bool = True, order: str = "icfo", mean: bool = True
) -> Array:
    """FactorNet: what each strand answers, and their mean; the options are mistakes for the mutants."""
    held = {name.rpartition("/")[2]: value for name, value in arrays(path).items()}
    kernel = held["convolution1d_1_W"][:, 0]
    kernel = kernel[::-1] if flip else kernel  # Theano convolves: its kernels are stored reversed
    answers = []
    for x in strands:
        h = np.maximum(convolved(x, kernel, held["convolution1d_1_b"]), 0)
        h = pooled(np.maximum(h @ held["dense_1_W"] + held["dense_1_b"], 0), 17)
        forward = lstm(h, held, "forward_lstm_1", order)
        backward = lstm(h[:, ::-1], held, "backward_lstm_1", order)[:, ::-1]
        h = np.concatenate([forward, backward], 2).reshape(len(x), -1)
        h = np.maximum(h @ held["dense_2_W"] + held["dense_2_b"], 0)
        if meta is not None:
            h = np.concatenate([h, meta], 1)
            h = np.maximum(h @ held["dense_3_W"] + held["dense_3_b"], 0)
        last = "dense_4" if meta is not None else "dense_3"
        answers.append(sigmoid(h @ held[f"{last}_W"] + held[f"{last}_b"]))
    return np.stack([*answers, sum(answers) / (2 if mean else 1)])


def factornet_inputs(width: int) -> tuple[list[Array], Array | None]:
    """Three examples on both strands: bases are complemented, the tracks only reversed."""
    rng = np.random.default_rng(width)
    x = np.concatenate([one_hot(rng, 3, 1002), rng.uniform(0, 2, (3, 1002, 2))], 2)
    other = x[:, ::-1][:, :, [3, 2, 1, 0, 4, 5]]
    return [x, other], rng.normal(size=(3, width)) if width else None


def first(x: Array) -> torch.Tensor:
    """Channels first."""
    return torch.from_numpy(np.ascontiguousarray(np.swapaxes(x, 1, 2) if x.ndim == 3 else x))


def difference(ours: torch.Tensor, theirs: Array) -> float:
    return float(np.abs(ours.detach().numpy() - theirs).max() / np.abs(theirs).max())


@pytest.mark.parametrize("name", FACTORNETS)
def test_factornet(name: str, data_dir: Path) -> None:
    folder = data_dir / "checkpoints" / name
    path = folder / "final_model.hdf5"
    found = read_model(path, ReadOptions(architecture=str(folder / "model.json"), arch="factornet"))
    strands, meta = factornet_inputs(FACTORNETS[name])
    expected = factornet(path, strands, meta)
    rest = [] if meta is None else [first(meta)]
    graph = found.model.double()
    assert difference(graph(*map(first, strands), *rest), expected[2]) < 1e-12
    conjoined = as_conjoined(found, found.inputs).model
    assert isinstance(conjoined, Conjoined)
    assert conjoined.merge == ("mean",)
    assert difference(conjoined.double()(first(strands[0]), *rest), expected[2]) < 1e-12
    for i in (0, 1):  # the branch, before the merge
        assert difference(conjoined.net(first(strands[i]), *rest), expected[i]) < 1e-12
    assert torch.equal(rc(first(strands[0]), TRACKS), first(strands[1]))


@pytest.mark.parametrize("mistake", [{"flip": False}, {"order": "ifco"}, {"mean": False}])
def test_factornet_mutants(mistake: dict[str, Any], data_dir: Path) -> None:
    path = data_dir / "checkpoints" / "factornet_MAX" / "final_model.hdf5"
    strands, _ = factornet_inputs(0)
    wrong = factornet(path, strands, None, **mistake)
    assert not np.allclose(wrong[2], factornet(path, strands, None)[2], rtol=1e-3)


def test_factornets_strands_differ(data_dir: Path) -> None:
    """So the mean is not an ornament: a reader that took one strand would be off by as much."""
    answers = factornet(data_dir / "checkpoints" / "factornet_E2F1" / "final_model.hdf5", *factornet_inputs(0))
    assert np.abs(answers[0] - answers[1]).max() > 0.05


# -- DragoNN: Keras 0 on Theano ----------------------------------------------------------------------------


def dragonn(path: Path, x: Array, flip: bool = True, channels_last: bool = False) -> Array:
    """Three convolutions over (1, 4, L) images, the first over all four bases."""
    held = arrays(path)
    h = x
    for layer in (0, 3, 6):
        w = held[f"layer_{layer}/param_0"]
        w = w[:, :, ::-1, ::-1] if flip else w  # in both directions of the image
        kernel = w[:, 0].transpose(2, 1, 0) if layer == 0 else w[:, :, 0].transpose(2, 1, 0)
        h = np.maximum(convolved(h, kernel, held[f"layer_{layer}/param_1"]), 0)
    h = pooled(h, 35)
    flat = (h if channels_last else h.swapaxes(1, 2)).reshape(len(h), -1)
    return sigmoid(flat @ held["layer_11/param_0"] + held["layer_11/param_1"])


def test_dragonn(data_dir: Path) -> None:
    folder = data_dir / "checkpoints" / "dragonn"
    path = folder / "multi_layer_dragonn.weights.h5"
    found = read_model(path, ReadOptions(architecture=str(folder / "multi_layer_dragonn.arch.json")))
    x = one_hot(np.random.default_rng(0), 8, 1000)
    expected = dragonn(path, x)
    assert difference(found.model.double()(first(x)), expected) < 1e-12
    for mistake in ({"flip": False}, {"channels_last": True}):
        assert not np.allclose(dragonn(path, x, **mistake), expected, rtol=1e-3)


# -- Keras 2: Keras itself ---------------------------------------------------------------------------------

KERAS_2 = {
    "tfmodisco_SPI1": ("modelWeights.h5", "modelJson.json", 1000),
    "mpradragonn": ("ConvModel.hdf5", "model.json", 145),
}


@pytest.mark.parametrize("name", KERAS_2)
def test_keras_2(name: str, data_dir: Path) -> None:
    tf_keras = keras2()
    weights, architecture, length = KERAS_2[name]
    folder = data_dir / "checkpoints" / name
    theirs = tf_keras.models.model_from_json((folder / architecture).read_text())
    theirs.load_weights(folder / weights)
    ours = read_model(folder / weights, ReadOptions(architecture=str(folder / architecture))).model
    x = one_hot(np.random.default_rng(0), 16, length).astype("float32")
    expected = np.asarray(theirs.predict(x, verbose=0))
    assert expected.std() > 1e-3
    with torch.no_grad():
        assert difference(ours(first(x)), expected) < 1e-5
        assert difference(ours(first(x[:, ::-1])), expected) > 1e-3  # alive: other inputs, other answers
