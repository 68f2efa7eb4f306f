"""Keras networks as data, built by hand: for layers that no Keras of today can make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rcproof.checkpoints.imported import ReadOptions
from rcproof.checkpoints.keras.build import build
from rcproof.checkpoints.keras.model import Call, KerasModel, LayerSpec, Source
from rcproof.network.network import Network

Array = NDArray[Any]


class Graph:
    """Adds layers and calls; a value is the index of its call."""

    def __init__(self, generation: int = 2) -> None:
        self.layers: dict[str, LayerSpec] = {}
        self.calls: list[Call] = []
        self.inputs: list[int] = []
        self.generation = generation

    def input(self, name: str, *shape: int | None) -> int:
        self.layers[name] = LayerSpec(name, "InputLayer", {"shape": list(shape)}, generation=self.generation)
        self.inputs.append(len(self.calls))
        return self._call(name, ())

    def layer(
        self,
        name: str,
        kind: str,
        *inputs: int,
        weights: Mapping[str, Array] | None = None,
        inner: Sequence[LayerSpec] = (),
        arguments: Mapping[str, Any] | None = None,
        **config: Any,
    ) -> int:
        """A call of a new layer, or another call of the layer of this name."""
        if name not in self.layers:
            self.layers[name] = LayerSpec(name, kind, config, dict(weights or {}), tuple(inner), self.generation)
        return self._call(name, inputs, arguments)

    def _call(self, name: str, inputs: Sequence[int], arguments: Mapping[str, Any] | None = None) -> int:
        self.calls.append(Call(name, tuple(Source(i) for i in inputs), dict(arguments or {})))
        return len(self.calls) - 1

    def model(self, *outputs: int) -> KerasModel:
        sources = tuple(Source(i) for i in outputs)
        return KerasModel(self.layers, self.calls, tuple(self.inputs), sources, self.generation, "2.2.4", "", "by hand")

    def build(self, *outputs: int, notes: list[str] | None = None, **lambdas: str) -> Network:
        return build(self.model(*outputs), ReadOptions(lambdas=lambdas), notes)[0].double()


def draw(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def run(network: Network, *inputs: Array) -> Array:
    """What a network gives for arrays as Keras has them, as Keras has it: sequences with channels last."""
    tensors = [torch.from_numpy(np.moveaxis(x, 1, -1).copy() if x.ndim == 3 else x) for x in inputs]
    with torch.no_grad():
        y = network(*tensors).numpy()
    return np.moveaxis(y, 1, -1) if y.ndim == 3 else y


def close(got: Array, want: Array, tolerance: float = 1e-10) -> None:
    assert got.shape == want.shape, f"shape {got.shape}, expected {want.shape}"
    assert np.isfinite(want).all()
    error, size = np.abs(got - want).max(), np.abs(want).max()
    if not (error <= tolerance * size):
        raise AssertionError(f"differs by {error:.3g}, largest value {size:.3g}")
