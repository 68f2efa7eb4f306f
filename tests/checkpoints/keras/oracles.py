"""Keras itself as the oracle: a network of Keras and what we read from its file, on the same inputs."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from rcproof.checkpoints.keras import read_keras
from rcproof.network.network import Network

Array = NDArray[Any]

# Before TensorFlow is imported, which imports Keras 3 too.
os.environ["KERAS_BACKEND"] = "torch"

#: Largest difference, relative to the largest value of an output, in float32.
TOLERANCE = 1e-5


def keras2() -> Any:
    """tf-keras, the last Keras 2; the test is skipped without it."""
    pytest.importorskip("h5py", reason="Keras files are read with h5py")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's own
        return pytest.importorskip("tf_keras", reason="the oracle for Keras 2 is tf-keras")


def keras3() -> Any:
    """Keras 3 on its torch backend; the test is skipped without it."""
    pytest.importorskip("h5py", reason="Keras files are read with h5py")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        keras = pytest.importorskip("keras", minversion="3.0", reason="the oracle for Keras 3 is Keras")
    if keras.backend.backend() != "torch":
        pytest.skip("Keras was loaded with another backend before")
    return keras


def networks(keras: Any, shape: Sequence[int | None], branches: Mapping[str, Callable[[Any], Any]]) -> Any:
    """One network of Keras with one input and an output for each branch, with weights that are not trivial."""
    x = keras.layers.Input(tuple(shape), name="x")
    model = keras.Model(x, [branch(x) for branch in branches.values()])
    draw_weights(model)
    return model


def draw_weights(model: Any, seed: int = 0) -> None:
    """Weights from a normal distribution, and positive ones where a variance must be."""
    rng = np.random.default_rng(seed)
    drawn = []
    for variable in model.weights:
        shape = tuple(variable.shape)
        name = variable.name.rsplit("/", 1)[-1]
        if "variance" in name:
            values = 0.1 + rng.random(shape)
        elif "gamma" in name or "mean" in name:
            values = rng.standard_normal(shape)
        else:
            values = rng.standard_normal(shape) / np.sqrt(max(1.0, np.prod(shape[:-1])))
        drawn.append(values.astype(np.float32))
    model.set_weights(drawn)


def read_back(model: Any, folder: Path, suffix: str) -> Network:
    """The network that we read from the file that Keras writes."""
    path = folder / f"network{suffix}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras advises against its own old format
        model.save(path)
    network = read_keras(path).model
    assert isinstance(network, Network)
    return network


def draw_inputs(model: Any, batch: int = 3, seed: int = 1) -> list[Array]:
    """Inputs as Keras takes them; an open length is 31."""
    rng = np.random.default_rng(seed)
    return [
        rng.standard_normal((batch, *(31 if n is None else n for n in x.shape[1:]))).astype(np.float32)
        for x in model.inputs
    ]


def channels_first(x: Array) -> torch.Tensor:
    """A tensor of Keras as the network takes it: with its length, the largest axis, at the end."""
    if x.ndim < 3:
        return torch.from_numpy(x)
    moved = np.moveaxis(x, 1 + int(np.argmax(x.shape[1:])), -1)
    return torch.from_numpy(moved.reshape(len(x), -1, moved.shape[-1]).copy())


def answers(model: Any, network: Network, inputs: Sequence[Array]) -> tuple[list[Array], list[Array]]:
    """What we give and what Keras gives, for every output; sequences and images with channels first."""
    want = model(list(inputs) if len(inputs) > 1 else inputs[0], training=False)
    want = [y.detach().numpy() if isinstance(y, torch.Tensor) else np.asarray(y) for y in _listed(want)]
    with torch.no_grad():
        got = [y.numpy() for y in _listed(network(*(channels_first(x) for x in inputs)))]
    want = [np.squeeze(y, 1 if y.shape[1] == 1 else 2) if y.ndim == 4 else y for y in want]
    return got, [np.moveaxis(y, 1, 2) if y.ndim == 3 else y for y in want]


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def difference(got: Array, want: Array) -> float:
    """Relative to the largest value; infinite for another shape, and for what is not finite or all zero."""
    size = np.abs(want).max() if want.size else 0.0
    if got.shape != want.shape or not (size > 0) or not np.isfinite(got).all():
        return float("inf")
    return float(np.abs(got - want).max() / size)


def differences(model: Any, network: Network, names: Sequence[str]) -> dict[str, float]:
    """How far each output is from that of Keras."""
    got, want = answers(model, network, draw_inputs(model))
    return {name: difference(g, w) for name, g, w in zip(names, got, want, strict=True)}


def agree(model: Any, folder: Path, suffix: str, names: Sequence[str]) -> None:
    """Read the file of a network back and compare every output."""
    errors = differences(model, read_back(model, folder, suffix), names)
    wrong = [f"{name}: {error:.3g}" for name, error in errors.items() if not (error <= TOLERANCE)]
    assert not wrong, "; ".join(wrong)
