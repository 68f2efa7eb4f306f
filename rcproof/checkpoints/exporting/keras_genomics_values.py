"""What a network of Keras is made of while it is being written: layers with their calls, and values.

Keras holds (N, C, L) as (N, L, C), so that flattening lists values in another order, and strand pairs are joined where
that costs nothing. The order travels with the value and ends in the rows of the next kernel.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

#: A result of a layer, as configurations write it: the layer, the number of its call, that of the result.
Place = tuple[str, int, int]


@dataclass
class KerasLayer:
    """A layer: its class and arguments, its arrays by role in Keras's order, and what each of its calls reads."""

    kind: str
    config: dict[str, Any]
    weights: dict[str, Array]
    calls: list[list[Place]] = field(default_factory=list)


@dataclass(frozen=True)
class Value:
    """A tensor of the network, and how Keras holds it.

    Attributes:
        shape: as the network has it, without the batch: (C, L) or (C,).
        place: where it comes from in Keras; None if it is made when somebody needs it, of ``base`` or of ``halves``.
        flat: whether Keras holds it as a vector.
        order: the network's channel i (of a flat value: element i) is number ``order[i]`` in Keras; None if they agree.
        scale: what Keras's value is to be multiplied with; the next kernel takes it in.
        base: of a flat value, the sequence that it is when it is not flattened.
        halves: of a strand pair, the own strand and the other, mirrored, where they are values of their own.
    """

    shape: tuple[int, ...]
    place: Place | None = None
    flat: bool = False
    order: Array | None = None
    scale: float = 1.0
    base: Value | None = None
    halves: tuple[Value, Value] | None = None

    @property
    def size(self) -> int:
        """How many places the order is about: elements of a flat value, else channels."""
        return int(np.prod(self.shape)) if self.flat else self.shape[0]

    @property
    def places(self) -> Array:
        """The order, written out."""
        return np.arange(self.size) if self.order is None else self.order


def simplified(order: Array) -> Array | None:
    """None for an order that changes nothing."""
    return None if np.array_equal(order, np.arange(len(order))) else order


def flattened(value: Value) -> Value:
    """A sequence as a vector, element (c, l) of (C, L) at c·L + l in the network, and at l·C + c in Keras."""
    channels, length = value.shape
    order = value.places[:, None] + channels * np.arange(length)
    return Value((channels * length,), None, True, simplified(order.ravel()), value.scale, base=value)


class KerasGraph:
    """Layers, in the order in which they are called first or, once they are sorted, in that of Keras."""

    def __init__(self) -> None:
        self.layers: dict[str, KerasLayer] = {}
        self.inputs: list[str] = []
        self._of: dict[str, list[str]] = {}

    def input(self, name: str, shape: Sequence[int]) -> Place:
        """The next input, of this shape in Keras."""
        name = self._fresh(name)
        config = {"batch_input_shape": [None, *shape], "dtype": "float32", "sparse": False, "name": name}
        self.layers[name] = KerasLayer("InputLayer", config, {})
        self.inputs.append(name)
        return (name, 0, 0)

    def call(
        self,
        wanted: str,
        kind: str,
        inputs: Sequence[Place],
        config: Mapping[str, Any] | None = None,
        weights: Mapping[str, Array] | None = None,
        trainable: bool = True,
    ) -> Place:
        """Call a layer. One with weights that was called before under this name is the same layer, if it is equal."""
        held = {role: np.ascontiguousarray(array, dtype=np.float32) for role, array in (weights or {}).items()}
        for name in self._of.get(wanted, []) if held else []:
            layer = self.layers[name]
            mine = {"name": name, "trainable": trainable, **(config or {})}
            if layer.kind == kind and layer.config == mine and _equal(layer.weights, held):
                layer.calls.append(list(inputs))
                return (name, len(layer.calls) - 1, 0)
        name = self._fresh(wanted)
        self._of.setdefault(wanted, []).append(name)
        full = {"name": name, "trainable": trainable, **(config or {})}
        self.layers[name] = KerasLayer(kind, full, held, [list(inputs)])
        return (name, 0, 0)

    def _fresh(self, wanted: str) -> str:
        """A name that every age of TensorFlow takes, used by no other layer."""
        base = re.sub(r"[^0-9A-Za-z_]+", "_", wanted)[:80].strip("_") or "layer"
        name, number = base, 1
        while name in self.layers:
            number += 1
            name = f"{base}_{number}"
        return name

    def sort(self, outputs: Sequence[Place]) -> None:
        """Put the layers in Keras's own order, in which it looks for the weights of each.

        Layers that are farther from the outputs come first, and of one depth those that are met first on the way from
        the outputs back to the inputs. Of layers that no output needs only inputs stay.
        """
        met: dict[str, int] = {}
        done: dict[tuple[str, int], None] = {}
        stack: list[tuple[str, int, bool]] = [(*place[:2], False) for place in reversed(outputs)]
        while stack:
            name, number, after = stack.pop()
            if after:
                done[name, number] = None
            elif (name, number) not in done:
                met.setdefault(name, len(met))
                stack.append((name, number, True))
                stack += [(*place[:2], False) for place in reversed(self._reads(name, number))]
        depths = dict.fromkeys(self.inputs, 0)
        of_call = dict.fromkeys(done, 0)
        for name, number in reversed(done):
            depths[name] = of_call[name, number] = max(of_call[name, number], depths.get(name, 0))
            for before, n, _ in self._reads(name, number):
                of_call[before, n] = max(of_call[before, n], depths[name] + 1)
        names = sorted(depths, key=lambda name: (-depths[name], met.get(name, -1)))
        self.layers = {name: self.layers[name] for name in names}

    def _reads(self, name: str, number: int) -> list[Place]:
        calls = self.layers[name].calls
        return calls[number] if calls else []  # an input reads nothing

    def config(self, outputs: Sequence[Place]) -> dict[str, Any]:
        """The configuration of the network, as Keras 2 writes it."""
        layers = [
            {
                "name": name,
                "class_name": layer.kind,
                "config": layer.config,
                "inbound_nodes": [[[*place, {}] for place in call] for call in layer.calls],
            }
            for name, layer in self.layers.items()
        ]
        ends = {"input_layers": [[name, 0, 0] for name in self.inputs], "output_layers": [list(p) for p in outputs]}
        return {"class_name": "Model", "config": {"name": "rcps", "layers": layers, **ends}}


def _equal(a: Mapping[str, Array], b: Mapping[str, Array]) -> bool:
    return list(a) == list(b) and all(np.array_equal(a[role], b[role]) for role in a)
