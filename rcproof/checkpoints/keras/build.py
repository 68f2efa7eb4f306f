"""From a Keras network as data to a graph of torch layers, channels first.

A value is held in the form that the strand algebra speaks in: what Keras calls (L, C) is held as (C, L). An image of
old networks, whose second spatial axis is 1 or the four bases, is held as (channels, L) too, and so is the (C, L) of
layers with ``data_format="channels_first"``. Flattening then lists values in another order than Keras does; the order
travels with the value (:class:`Value`) and ends in the rows of the next dense kernel, so that the layers stay ordinary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from rcproof.checkpoints.importing import Paths
from rcproof.checkpoints.keras.model import Array, Call, KerasModel, LayerSpec, Source
from rcproof.errors import CheckpointError
from rcproof.network.building import GraphBuilder
from rcproof.network.graph import Ref
from rcproof.network.network import Network

Shape = tuple[int | None, ...]

#: No index of a rearrangement is longer; shapes in a file are only believed so far.
LARGEST = 1 << 26


@dataclass(frozen=True)
class Value:
    """A tensor of the network that is being built.

    Attributes:
        ref: the node that holds it.
        shape: its shape in Keras, without the batch; None where it is not fixed.
        form: how it is held. ``sequence``: Keras (L, C), held as (C, L). ``image``: three axes in Keras, held as
            (product of the axes other than ``length``, in Keras's order; L). ``vector``: Keras (C,), held as (C,) in
            the order ``order``. ``tensor``: as Keras has it.
        order: of a vector: place i of Keras is held at ``order[i]``; None if they agree.
        length: of an image or a sequence: which axis of Keras is the length. A sequence with 1 is Keras (C, L), held
            as it is; only layers that say ``either_axis`` see one.
    """

    ref: Ref
    shape: Shape
    form: str
    order: Array | None = None
    length: int = 0

    @property
    def rest(self) -> Shape:
        """The axes of Keras other than the length; of a sequence and an image they are held as one."""
        return self.shape[: self.length] + self.shape[self.length + 1 :]

    @property
    def channels(self) -> int:
        """The size of axis 1 as it is held; an error if the file does not fix it."""
        sizes = self.rest if self.form in ("sequence", "image") else self.shape[:1]
        if any(n is None for n in sizes):
            raise CheckpointError("a number of channels that the file leaves open", got=f"shape {self.shape}")
        return math.prod(n for n in sizes if n is not None)

    @property
    def steps(self) -> int | None:
        """The length, of a sequence or an image; None if it is not fixed."""
        return self.shape[self.length]

    def axis(self, number: int) -> int | None:
        """The axis, the batch counted, that holds axis ``number`` of Keras, the batch not; None if with others."""
        if self.form in ("vector", "tensor"):
            return number + 1
        if number == self.length:
            return 2
        others = [n for i, n in enumerate(self.shape) if i not in (number, self.length)]
        return 1 if all(n == 1 for n in others) else None

    def held_shape(self) -> tuple[int, ...]:
        """The shape as it is held, without the batch; an error if it is not fixed."""
        if any(n is None for n in self.shape):
            raise CheckpointError("a length that the file leaves open", got=f"shape {self.shape}")
        sizes = tuple(int(n) for n in self.shape if n is not None)
        if math.prod(sizes) > LARGEST:
            raise CheckpointError("a value too large to rearrange", got=f"shape {sizes}")
        return (self.channels, sizes[self.length]) if self.form in ("sequence", "image") else sizes

    def indices(self) -> Array:
        """An array in Keras's shape that says at which flat position each element is held."""
        held = np.arange(math.prod(self.held_shape())).reshape(self.held_shape())
        if self.form in ("sequence", "image"):
            sizes = [int(n) for n in self.rest if n is not None]
            return np.moveaxis(held.reshape(*sizes, held.shape[1]), -1, self.length)
        return held if self.order is None else held[self.order]

    def held_array(self, array: Array) -> Array:
        """An array that Keras broadcasts against the value, as it broadcasts against the value as it is held.

        Of sequences and images (channels, L), where either can be 1; of vectors (channels,) or (1,).
        """
        array = array.reshape((1,) * (len(self.shape) - array.ndim) + array.shape)
        if array.ndim > len(self.shape) or any(m not in (1, n) for m, n in zip(array.shape, self.shape, strict=True)):
            raise CheckpointError("an array that does not fit", got=f"shape {array.shape}", expected=f"{self.shape}")
        if self.form == "tensor":
            return array
        if self.form == "vector":
            if self.order is None or len(array) == 1:
                return array
            held = np.empty_like(array)
            held[self.order] = array
            return held
        moved = np.moveaxis(array, self.length, -1)
        if any(m != 1 for m in moved.shape[:-1]):
            if self.channels * moved.shape[-1] > LARGEST:
                raise CheckpointError("a value too large to rearrange", got=f"shape {self.shape}")
            moved = np.broadcast_to(moved, (*(int(n) for n in self.rest if n is not None), moved.shape[-1]))
        return moved.reshape(-1, moved.shape[-1]).copy()


Builder = Callable[["Site"], Value | Sequence[Value]]
LAYERS: dict[str, Builder] = {}

#: Before the class name of a function that Keras 3 calls without a layer, which may be that of a layer too.
OPERATION = "operation "

#: Kinds of layers that take sequences with either axis as the length; the others get (L, C).
EITHER_AXIS: set[str] = set()


def layer(*kinds: str, either_axis: bool = False) -> Callable[[Builder], Builder]:
    """Register how layers of these kinds are built; see :class:`Site` for what the function is given."""

    def register(function: Builder) -> Builder:
        for kind in kinds:
            assert kind not in LAYERS, kind
            LAYERS[kind] = function
            if either_axis:
                EITHER_AXIS.add(kind)
        return function

    return register


@dataclass
class Site:
    """One call of one layer: what it is, what goes in, and the graph to put it in.

    A function registered with :func:`layer` takes a site and returns the value (or values) that come out. It
    makes its torch layer under :attr:`path` with :meth:`module`; a layer that is called again finds the first one.
    """

    graph: GraphBuilder
    spec: LayerSpec
    inputs: list[Value]
    path: str
    call: Call
    model: KerasModel
    options: Any = None
    notes: list[str] = field(default_factory=list)
    kept: dict[str, Any] = field(default_factory=dict)

    # -- what the file says ----------------------------------------------------------------------------
    @property
    def value(self) -> Value:
        """The only input."""
        if len(self.inputs) != 1:
            raise self.error("inputs", got=len(self.inputs), expected="one")
        return self.inputs[0]

    def get(self, key: str, default: Any = None) -> Any:
        """An argument of the layer."""
        found = self.spec.config.get(key, default)
        return default if found is None else found

    def integer(self, key: str, default: int | None = None) -> int:
        """An argument that is a whole number, or a list of one."""
        found = self.get(key, default)
        if isinstance(found, list | tuple) and len(found) == 1:
            found = found[0]
        if isinstance(found, bool) or not isinstance(found, int):
            raise self.error(key, got=repr(found)[:60], expected="a whole number")
        return found

    def weight(self, role: str, shape: Sequence[int] | None = None) -> torch.Tensor:
        """An array of the layer as a tensor, its shape checked."""
        found = self.spec.weights.get(role)
        if found is None:
            raise self.error(f"weights {role!r}", got="none in the file")
        if shape is not None and tuple(found.shape) != tuple(shape):
            raise self.error(f"weights {role!r}", got=f"shape {found.shape}", expected=f"shape {tuple(shape)}")
        if found.dtype.kind != "f":
            raise self.error(f"weights {role!r}", got=str(found.dtype), expected="real numbers")
        return torch.from_numpy(np.ascontiguousarray(found))

    def error(self, what: str, got: object = None, expected: object = None, fix: str | None = None) -> CheckpointError:
        """An error that names the layer."""
        where = f"layer {self.spec.name!r} ({self.spec.kind})"
        return CheckpointError(f"{where}: {what}", got=got, expected=expected, fix=fix)

    def need(self, form: str) -> Value:
        """The only input, which must be of this form."""
        value = self.value
        if value.form != form:
            raise self.error("input", got=f"shape {value.shape}, held as a {value.form}", expected=f"a {form}")
        return value

    def keep(self, what: Any) -> Any:
        """What this layer kept at its first call: a layer that is called again was built for its first input."""
        return self.kept.setdefault(self.path, what)

    def keep_same(self, what: Any) -> None:
        """An error unless ``what``, on which the torch layer depends, is what it was at the first call."""
        if self.keep(what) != what:
            raise self.error(
                "its calls", got="inputs for which its torch layers differ", expected="inputs of one shape"
            )

    def sequence(self, length: int, value: Value | None = None) -> Value:
        """The only input (or ``value``); a sequence with that axis of Keras as its length, transposed if need be."""
        value = value or self.need("sequence")
        if value.form != "sequence" or value.length == length:
            return value
        return replace(value, ref=self.function("torch.transpose", value.ref, 1, 2), length=length)

    # -- what comes out ----------------------------------------------------------------------------------
    def module(self, make: Callable[[], nn.Module], *args: Any, part: str = "") -> Ref:
        """Call the torch layer at the path of this layer (or a part of it), making it the first time."""
        path = f"{self.path}.{part}" if part else self.path
        known = path in self.graph.layers
        return self.graph.module(path, None if known else make(), *args)

    def function(self, name: str, *args: Any, **kwargs: Any) -> Ref:
        """Call a registered function."""
        return self.graph.call(name, *args, **kwargs)

    def constant(self, part: str, tensor: torch.Tensor) -> Ref:
        """A tensor of this layer that is no weight."""
        return self.graph.tensor(f"{self.path}_{part}", tensor)

    def activated(self, ref: Ref, shape: Shape, like: Value) -> Value:
        """``ref`` after the activation in the layer's arguments, held as ``like`` is."""
        from rcproof.checkpoints.keras.layers.activations import activate

        return activate(self, self.get("activation", "linear"), replace(like, ref=ref, shape=shape))

    def rearranged(self, value: Value, indices: Array, length: int = 0) -> Value:
        """The value whose elements are those at ``indices`` of ``value``, as Keras would see it.

        ``indices`` has the new shape of Keras, with the axis ``length``; see :meth:`Value.indices`. A vector costs
        nothing: its order travels with it.
        """
        shape = tuple(int(n) for n in indices.shape)
        form = {1: "vector", 2: "sequence", 3: "image"}.get(indices.ndim, "tensor")
        if form == "vector":
            order = None if np.array_equal(indices, np.arange(len(indices))) else indices
            return Value(self._flat(value), shape, form, order)
        held = indices if form == "tensor" else np.moveaxis(indices, length, -1)
        made = Value(value.ref, shape, form, length=length)
        sizes = made.held_shape()
        if value.held_shape() != sizes or not np.array_equal(held.ravel(), np.arange(held.size)):
            chosen = self.select(self._flat(value), held.ravel())
            made = replace(made, ref=self.function("Tensor.unflatten", chosen, 1, sizes))
        return made

    def _flat(self, value: Value) -> Ref:
        return value.ref if value.form == "vector" else self.function("torch.flatten", value.ref, 1)

    def select(self, flat: Ref, order: Array) -> Ref:
        """The elements of a vector that are at these places."""
        if np.array_equal(order, np.arange(len(order))):
            return flat
        key = f" orders {self.path}"  # no path of a layer begins with a space
        count = self.kept[key] = self.kept.get(key, -1) + 1
        name = f"order_{count}"
        return self.function("torch.index_select", flat, 1, self.constant(name, torch.from_numpy(order.copy())))

    def as_keras(self, value: Value) -> Value:
        """``value`` held in the order and shape of Keras: a vector without an order, or a plain tensor."""
        if value.form == "sequence":
            as_is = value.length == 1
            ref = value.ref if as_is else self.function("torch.transpose", value.ref, 1, 2)
            return replace(value, ref=ref, form="tensor", length=0)
        if value.form == "image":
            apart = self.function("Tensor.unflatten", value.ref, 1, tuple(int(n) for n in value.rest if n is not None))
            return Value(self.function("torch.movedim", apart, -1, value.length + 1), value.shape, "tensor")
        if value.order is not None:
            return replace(value, ref=self.select(value.ref, value.order), order=None)
        return value


def filled(make: Callable[[], nn.Module], **tensors: torch.Tensor) -> nn.Module:
    """The layer that ``make`` gives, made without memory, and these tensors as its parameters and buffers."""
    with torch.device("meta"):
        module = make()
    for name, tensor in tensors.items():
        empty = getattr(module, name)
        if empty.shape != tensor.shape:
            raise CheckpointError(f"weights {name!r}", got=f"{tuple(tensor.shape)}", expected=f"{tuple(empty.shape)}")
        held = tensor.contiguous()
        setattr(module, name, nn.Parameter(held) if isinstance(empty, nn.Parameter) else held)
    return module


def build(
    model: KerasModel, options: Any = None, notes: list[str] | None = None
) -> tuple[Network, list[Value], list[Value]]:
    """The network, its inputs and its outputs, channels first; paths of layers are their names in the file.

    What had to be assumed is added to ``notes``, one line each.
    Raises :class:`~rcproof.errors.CheckpointError` for a layer or an option that has no form here, naming it.
    """
    import rcproof.checkpoints.keras.layers  # noqa: F401 (registers every family)

    graph = GraphBuilder()
    notes = [] if notes is None else notes
    results: list[list[Value]] = []
    kept: dict[str, Any] = {}
    paths = _paths(model.layers)
    for call in model.calls:
        spec = model.layers[call.layer]
        inputs = [_result(model, results, source) for source in call.inputs]
        site = Site(graph, spec, inputs, paths[spec.name], call, model, options, notes, kept)
        kind = OPERATION + spec.kind if spec.config.get("operation") else spec.kind
        if kind not in EITHER_AXIS:
            site.inputs = [site.sequence(0, value) for value in inputs]
        if kind not in LAYERS:
            raise site.error("no such layer is known", expected="one of the layers that the README lists")
        made = LAYERS[kind](site)
        results.append([made] if isinstance(made, Value) else list(made))
        for value in results[-1]:
            if math.prod(n for n in value.shape if n is not None) > LARGEST:
                raise site.error("output", got=f"shape {value.shape}", expected="fewer elements")
    outputs = []
    for source in model.outputs:
        value, call = _result(model, results, source), model.calls[source.call]
        site = Site(graph, model.layers[call.layer], [value], paths[call.layer], call, model, options, notes)
        plain = value.form == "image" and sum(n != 1 for n in value.rest) < 2
        outputs.append(value if value.form == "sequence" or plain else site.as_keras(value))
    place = {results[i][0].ref.name: position for position, i in enumerate(model.inputs)}
    graph.nodes.sort(key=lambda n: place.get(n.name, len(place)))  # calls may come in another order than the inputs
    network = graph.network([value.ref for value in outputs])
    return network, [results[i][0] for i in model.inputs], outputs


def _result(model: KerasModel, results: Sequence[Sequence[Value]], source: Source) -> Value:
    if source.tensor < len(results[source.call]):
        return results[source.call][source.tensor]
    raise CheckpointError(
        f"a result of layer {model.calls[source.call].layer!r} that is not there",
        got=source.tensor,
        expected=f"{len(results[source.call])} results",
    )


def _paths(names: Sequence[str] | dict[str, Any]) -> dict[str, str]:
    """A path in the network for each layer: its name, where ``/`` nests and other points do not."""
    paths, free = dict[str, str](), Paths()
    for name in names:
        parts = ["".join(c if c.isalnum() or c in "_-" else "_" for c in part) or "_" for part in name.split("/")]
        paths[name] = free.free([".".join(parts)])
    return paths
