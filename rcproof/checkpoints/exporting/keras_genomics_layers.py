"""Steps of a network as layers of keras-genomics and of Keras 2, none of which holds code.

A linear step is written by what its weights are, in the order of Keras: those that total reversal leaves as they are
are a ``RevCompConv1D`` (T4), those of an answer that both strands share are a dense layer on the sum of the strands
(T5), and all others stay an ordinary layer with every weight written out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rcproof.checkpoints.exporting.keras_genomics_values import (
    Array,
    KerasGraph,
    Place,
    Value,
    flattened,
    simplified,
)
from rcproof.errors import RcproofError
from rcproof.strand import Representation

#: The most places that a layer of zeros and ones puts in another order.
MOST_MOVED = 4096


class Emitter:
    """Adds layers to a graph. :attr:`name` and :attr:`what` say which step they are of.

    Weights come and go in float64, in the order of the network.
    """

    def __init__(self) -> None:
        self.graph = KerasGraph()
        self.notes: list[str] = []
        self.name, self.what = "", ""
        self._made: dict[int, tuple[Value, Place]] = {}

    def refuse(self, why: str) -> RcproofError:
        """The error for the present step."""
        return RcproofError(
            f"{self.what} has no keras-genomics form: {why}",
            fix="export the network as .onnx or .pt2, which hold any step",
        )

    # -- values ------------------------------------------------------------------------------------
    def at(self, value: Value) -> Place:
        """Where Keras has a value, which is made now if nobody needed it before."""
        if value.place is not None:
            return value.place
        if id(value) not in self._made:
            if value.base is not None:
                place = self.graph.call(f"{self.name}_flatten", "Flatten", [self.at(value.base)])
            else:
                assert value.halves is not None
                place = self._concatenate([self.at(half) for half in value.halves], f"{self.name}_strands")
            self._made[id(value)] = (value, place)
        return self._made[id(value)][1]

    def layer(
        self, value: Value, kind: str, config: Mapping[str, Any] | None = None, shape: tuple[int, ...] | None = None
    ) -> Value:
        """A layer without weights that keeps channels where they are."""
        place = self.graph.call(self.name, kind, [self.at(value)], config)
        return replace(value, place=place, base=None, halves=None, shape=shape or value.shape)

    def sequence(self, value: Value) -> Value:
        """The value as Keras's (L, C)."""
        if not value.flat:
            return value
        if value.base is not None and value.base.shape == value.shape:
            return value.base
        if len(value.shape) != 2 or value.shape[1] != 1:
            raise self.refuse(f"a value of shape {value.shape} is held as a vector")
        return self._row(value)

    def _row(self, value: Value) -> Value:
        """A vector of n elements as n channels at one position."""
        if value.base is not None and value.base.shape == (value.size, 1):
            return value.base
        config = {"target_shape": [1, value.size]}
        place = self.graph.call(f"{self.name}_row", "Reshape", [self.at(value)], config)
        return Value((value.size, 1), place, False, value.order, value.scale)

    def reshaped(self, value: Value, shape: tuple[int, ...]) -> Value:
        """The same elements in their order; (C, L), (C, 1) or (C,)."""
        if shape == value.shape:
            return value
        if not 1 <= len(shape) <= 2:
            raise self.refuse(f"it gives a value of {len(shape) + 1} axes, the batch counted")
        flat = value if value.flat else flattened(value)
        return replace(flat, shape=shape)

    def settled(self, value: Value) -> Value:
        """The value as the network has it: in its order, and multiplied."""
        if value.scale == 1 and value.order is None:
            return value
        if value.flat and value.base is not None and value.scale == 1:
            turned = self.layer(self.settled(value.base), "Permute", {"dims": [2, 1]})
            return replace(value, place=self.graph.call(f"{self.name}_flatten", "Flatten", [self.at(turned)]),
                           base=None, order=None)  # fmt: skip
        return self.moved(value, np.eye(self._few(value)))

    def unscaled(self, value: Value) -> Value:
        """The value as what comes next needs it: multiplied, in whatever order."""
        return value if value.scale == 1 else self.moved(value, np.eye(self._few(value)))

    def _few(self, value: Value) -> int:
        if value.size > MOST_MOVED:
            raise self.refuse(f"{value.size} values would have to be put in another order or multiplied by a number")
        return value.size

    def moved(self, value: Value, matrix: Array) -> Value:
        """A linear map of the channels that nothing trains, as it is written: (out, in)."""
        name, self.name = self.name, f"{self.name}_order"
        if len(value.shape) == 1:
            made = self.linear(value, matrix, None, trainable=False, plain=True)
        else:
            made = self.conv(value, matrix[:, :, None], None, trainable=False, plain=True)
        self.name = name
        return made

    def select(self, value: Value, channels: Sequence[int]) -> Value:
        """Some of the channels; nothing is added where they are all, as they lie."""
        if value.order is None and list(channels) == list(range(value.size)):
            return value
        self._few(value)
        return self.moved(value, np.eye(value.size)[list(channels)])

    # -- linear ------------------------------------------------------------------------------------
    def linear(
        self, value: Value, weight: Array, bias: Array | None, trainable: bool = True, plain: bool = False
    ) -> Value:
        """A map of vectors, (out, in): on the sum of the strands, between strand pairs, or plain."""
        kernel = _in_keras(weight * value.scale, value)
        units, inputs = kernel.shape
        config = {"units": units, "activation": "linear", "use_bias": bias is not None}
        biases = {} if bias is None else {"bias": bias}
        if not plain and inputs % 2 == 0 and np.array_equal(kernel, kernel[:, ::-1]):
            base = value.base
            if base is not None and base.shape[1] > 1 and base.shape[0] % 2 == 0:
                channels, length = base.shape
                kernel = kernel.reshape(units, length, channels)[:, :, : channels // 2].reshape(units, -1)
                kind, source = "DenseAfterRevcompConv1D", base
            else:
                kernel, kind, source = kernel[:, : inputs // 2], "DenseAfterRevcompWeightedSum", value
        elif not plain and is_tied(kernel, bias):
            made = self.conv(self._row(value), weight[:, :, None], bias, trainable=trainable)
            return flattened(made)
        else:
            kind, source = "Dense", value
        weights = {"kernel": kernel.T, **biases}
        return Value((units,), self.graph.call(self.name, kind, [self.at(source)], config, weights, trainable), True)

    def conv(
        self,
        value: Value,
        weight: Array,
        bias: Array | None,
        stride: int = 1,
        dilation: int = 1,
        pads: tuple[int, int] = (0, 0),
        trainable: bool = True,
        plain: bool = False,
    ) -> Value:
        """A convolution, (out, in, K), with zeros added at both ends."""
        value = self.sequence(value)
        if stride > 1 and dilation > 1:
            raise self.refuse(f"Keras has no convolution with stride {stride} and dilation {dilation}")
        kernel = _in_keras(weight * value.scale, value)
        filters, _, width = kernel.shape
        reach = (width - 1) * dilation + 1
        place, padding = self.at(value), "valid"
        if pads != (0, 0) and stride == 1 and pads == ((reach - 1) // 2, reach - 1 - (reach - 1) // 2):
            padding = "same"
        elif pads != (0, 0):
            place = self.graph.call(f"{self.name}_pad", "ZeroPadding1D", [place], {"padding": list(pads)})
        if not plain and is_tied(kernel, bias):
            kind, filters = "RevCompConv1D", filters // 2
            kernel, bias = kernel[:filters], None if bias is None else bias[:filters]
            if bias is not None:
                kernel = kernel / 2  # the layer adds its convolution to itself: 2 · conv + bias
        else:
            kind = "Conv1D"
        config = {
            "filters": filters,
            "kernel_size": [width],
            "strides": [stride],
            "padding": padding,
            "data_format": "channels_last",
            "dilation_rate": [dilation],
            "activation": "linear",
            "use_bias": bias is not None,
        }
        weights = {"kernel": kernel.transpose(2, 1, 0)} | ({} if bias is None else {"bias": bias})
        made = self.graph.call(self.name, kind, [place], config, weights, trainable)
        return Value((len(weight), (value.shape[1] + sum(pads) - reach) // stride + 1), made)

    def note_if_untied(self, value: Value) -> None:
        """A note if a layer of strand pairs came out as an ordinary one."""
        kind = self.graph.layers[self.at(value.base or value)[0]].kind
        if kind in ("Conv1D", "Dense", "BatchNormalization"):
            self.notes.append(
                f"{self.what} is written as {kind} with its tied weights written out, since no layer of keras-genomics "
                "ties weights so; training it in Keras would untie them"
            )

    # -- batch norm --------------------------------------------------------------------------------
    def batch_norm(self, value: Value, arrays: Mapping[str, Array], tied: bool, eps: float, momentum: float) -> Value:
        """``arrays``: gamma and beta, or neither, moving_mean, moving_variance, each for all channels."""
        value = self.unscaled(value)
        held = {role: _by_place(array, value) for role, array in arrays.items()}
        affine = "gamma" in held
        config = {"axis": -1, "momentum": momentum, "epsilon": eps, "center": affine, "scale": affine}
        paired = value.size % 2 == 0 and all(np.array_equal(array, array[::-1]) for array in held.values())
        if not (tied and paired):
            place = self.graph.call(self.name, "BatchNormalization", [self.at(value)], config, held)
            return replace(value, place=place, base=None, halves=None)
        rows = self._row(value) if value.flat else value
        half = {role: array[: len(array) // 2] for role, array in held.items()}
        place = self.graph.call(self.name, "RevCompConv1DBatchNorm", [self.at(rows)], config, half)
        made = replace(rows, place=place, base=None, halves=None)
        return replace(flattened(made), shape=value.shape) if value.flat else made

    # -- several values ----------------------------------------------------------------------------
    def together(self, kind: str, values: Sequence[Value]) -> Value:
        """Element by element."""
        shapes = {value.shape for value in values}
        if len(shapes) > 1:
            raise self.refuse(f"its values have shapes {', '.join(str(value.shape) for value in values)}")
        values = [self.unscaled(value) for value in values]
        first = values[0]
        if any(v.flat != first.flat for v in values):
            values = [self.sequence(value) for value in values]
        elif any(not np.array_equal(v.places, first.places) for v in values):
            values = [self.settled(value) for value in values]
        place = self.graph.call(self.name, kind, [self.at(value) for value in values])
        return replace(values[0], place=place, base=None, halves=None)

    def joined(self, values: Sequence[Value]) -> Value:
        """Channels one after the other."""
        values = self._alike([self.unscaled(value) for value in values])
        place = self._concatenate([self.at(value) for value in values], self.name)
        starts = np.cumsum([0, *(value.size for value in values)])
        order = np.concatenate([start + value.places for start, value in zip(starts, values, strict=False)])
        shape = (int(starts[-1]), *values[0].shape[1:])
        return Value(shape, place, values[0].flat, simplified(order))

    def joined_strands(self, values: Sequence[Value]) -> Value:
        """Strand pairs: all own strands in order, then the others in reverse order.

        Plain concatenation is not equivariant (T13). Pairs whose halves are values of their own go around the one that
        is joined already, own strands in front and the others behind, which total reversal exchanges; of more than
        one that is joined already, layers of zeros and ones take the halves.
        """
        values = self._alike([self.unscaled(value) for value in values])
        inner = next((i for i, value in enumerate(values) if value.halves is None), len(values) - 1)
        around = [i for i in range(len(values)) if i != inner]
        halves = {i: self._halves(values[i]) for i in around}
        parts = [(i, 0, halves[i][0]) for i in around] + [(inner, -1, values[inner])]
        parts += [(i, 1, halves[i][1]) for i in reversed(around)]
        place = self._concatenate([self.at(value) for _, _, value in parts], self.name)
        found: dict[tuple[int, int], int] = {}  # (value, channel) → number in Keras
        start = 0
        for i, side, value in parts:
            offset = values[i].size // 2 if side == 1 else 0
            found |= {(i, offset + c): start + int(p) for c, p in enumerate(value.places)}
            start += value.size
        own = [found[i, c] for i, value in enumerate(values) for c in range(value.size // 2)]
        other = [
            found[i, c] for i, value in reversed(list(enumerate(values))) for c in range(value.size // 2, value.size)
        ]
        return Value((start, *values[0].shape[1:]), place, values[0].flat, simplified(np.array(own + other)))

    def _halves(self, value: Value) -> tuple[Value, Value]:
        if value.halves is not None:
            return value.halves
        half = value.size // 2
        return self.select(value, range(half)), self.select(value, range(half, value.size))

    def _alike(self, values: Sequence[Value]) -> list[Value]:
        """All as vectors, or all as sequences."""
        return list(values) if len({v.flat for v in values}) == 1 else [self.sequence(value) for value in values]

    def _concatenate(self, places: list[Place], name: str) -> Place:
        return places[0] if len(places) == 1 else self.graph.call(name, "Concatenate", places, {"axis": -1})

    # -- strands -----------------------------------------------------------------------------------
    def pair(self, value: Value, rep: Representation) -> Value:
        """A closed value as a strand pair: itself, and ρ of it backwards."""
        value, channels = self.unscaled(value), value.shape[0]
        if len(value.shape) > 1 and not rep.reverses_length:
            raise self.refuse(f"an input on which the reverse complement acts as {rep} keeps its positions in order")
        signs = np.array(rep.signs or (1,) * channels)
        matrix = (signs[:, None] * np.eye(channels)[list(rep.permutation(channels))])[::-1]
        same = value.order is None and np.array_equal(matrix, np.eye(channels))
        other = value if same else self.moved(value, matrix)
        order = np.concatenate([value.places, channels + other.places])
        return Value((2 * channels, *value.shape[1:]), None, value.flat, simplified(order), halves=(value, other))

    def merged(self, value: Value, mode: str, rep: Representation) -> Value:
        """One answer of both strands, where no linear step before took the merge in."""
        channels = value.shape[0] // 2
        if len(value.shape) > 1 and not rep.reverses_length:
            if mode == "max" or str(rep) != "fixed":
                raise self.refuse(f"a merge by {mode} of values that keep their positions in order")
            summed = self.layer(self.settled(value), "RevCompSumPool", shape=(channels, *value.shape[1:]))
            return replace(summed, scale=0.5 if mode == "mean" else 1.0)
        matrix = merging(channels, "sum" if mode == "max" else mode, rep)
        if mode == "max":
            own, other = np.eye(channels, 2 * channels), matrix - np.eye(channels, 2 * channels)
            return self.together("Maximum", [self.moved(value, own), self.moved(value, other)])
        if value.flat:
            return self.linear(value, matrix, None, trainable=False)
        return self.conv(value, matrix[:, :, None], None, trainable=False)


def merging(channels: int, mode: str, rep: Representation) -> Array:
    """The merge of a stacked value, own + ρ other or half of it, as a map of its channels: (C, 2C).

    The stacked half is the other strand backwards, so that its channel c lies at 2C − 1 − c. In sequences that is all
    there is to it if ρ reverses the length.
    """
    matrix = np.eye(channels, 2 * channels)
    signs = rep.signs or (1,) * channels
    for c, (source, sign) in enumerate(zip(rep.permutation(channels), signs, strict=True)):
        matrix[c, 2 * channels - 1 - source] += sign
    return matrix / 2 if mode == "mean" else matrix


def is_tied(kernel: Array, bias: Array | None) -> bool:
    """Whether total reversal leaves weights (out, in) or (out, in, K) and a bias as they are (T4)."""
    same = np.array_equal(kernel, np.flip(kernel)) and (bias is None or np.array_equal(bias, bias[::-1]))
    return len(kernel) % 2 == 0 and same


def _in_keras(weight: Array, value: Value) -> Array:
    """Weights (out, in, …) with the inputs in the order in which Keras has them."""
    if value.order is None:
        return weight
    moved = np.empty_like(weight)
    moved[:, value.order] = weight
    return moved


def _by_place(array: Array, value: Value) -> Array:
    """One number a channel, in the order in which Keras has them."""
    return _in_keras(array[None], value)[0]
