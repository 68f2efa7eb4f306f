"""That no step of a network mixes the examples of a batch, so that the network is a map of one example (T2).

The network is run twice without numbers (on the meta device), on batches of two sizes. Where a shape differs, there are
the examples; a step must then be one that works on other axes. Which steps do is said here for every family of
functions and every layer, apart from the converter, which has its own account of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rcproof.network.graph import Graph, Node, map_refs
from rcproof.network.ops import OPS
from rcproof.nn.weighted_sum import WeightedSum1d

#: Two unusual numbers of examples; no other size changes between the runs.
BATCHES = (5, 7)


class Refusal(Exception):
    """Why something is not what the certificate says it is."""


@dataclass(frozen=True)
class Traced:
    """A value of the network: the shape for the first batch, and the axis of the examples.

    ``axis`` is None for what does not depend on the input. ``varies``: a number that counts examples. ``items``:
    of a tuple.
    """

    shape: tuple[int, ...] | None = None
    axis: int | None = None
    varies: bool = False
    items: tuple[Traced, ...] | None = None

    @property
    def carries(self) -> bool:
        """Whether it depends on the input."""
        return self.axis is not None or any(i.carries for i in self.items or ())

    @property
    def rank(self) -> int:
        """How many axes it has."""
        return len(self.shape or ())


def follow(
    graph: Graph,
    layers: Mapping[str, nn.Module],
    tensors: Mapping[str, Tensor],
    shapes: Sequence[Sequence[int]],
    tokens: Sequence[bool],
) -> dict[str, Traced]:
    """The trace of every value, after checking every step.

    ``layers`` and ``tensors`` by path, on the meta device and in eval mode; ``shapes`` of the inputs without the batch,
    and which of them hold ``tokens``. Raises :class:`Refusal` with the step and the reason.
    """
    values: list[dict[str, Any]] = [{}, {}]
    traced: dict[str, Traced] = {}
    inputs = iter(zip(shapes, tokens, strict=False))
    for node in graph.nodes:
        shape, coded = next(inputs, (None, False)) if node.op == "input" else (None, False)
        for run, batch in enumerate(BATCHES):
            held = values[run]
            if node.op == "input":
                if shape is None:
                    raise Refusal(f"input {node.name!r} has no shape")
                dtype = torch.int64 if coded else torch.get_default_dtype()
                held[node.name] = torch.empty(batch, *shape, device="meta", dtype=dtype)
            else:
                held[node.name] = _run(node, held, layers, tensors)
        found = _trace(values[0][node.name], values[1][node.name], node.name)
        reads = [traced[r] for r in node.refs()]
        if node.op == "input":
            traced[node.name] = found
            continue
        depends = any(r.carries for r in reads)
        sizes = node.op == "attribute" or (node.op == "call" and OPS[node.target].family == "size")
        if depends and not sizes:
            _check(node, found, traced, values[0], layers)
        if not depends and found.carries:
            problem = (
                "it reads none"
                if node.op != "call" or OPS[node.target].family != "factory"
                else _constant(Step(node, found, [], {}, [], {}))
            )
            if problem:
                raise Refusal(f"step {node.name!r} has as many rows as there are examples: {problem}")
        traced[node.name] = found
    return traced


def _run(node: Node, held: Mapping[str, Any], layers: Mapping[str, nn.Module], tensors: Mapping[str, Tensor]) -> Any:
    args = map_refs(node.args, lambda r: held[r.name])
    kwargs = map_refs(node.kwargs, lambda r: held[r.name])
    try:
        with torch.no_grad(), torch.device("meta"):
            if node.op == "tensor":
                return tensors[node.target]
            if node.op == "module":
                return layers[node.target](*args, **kwargs)
            if node.op == "attribute":
                return getattr(args[0], node.target)
            return OPS[node.target].function(*args, **kwargs)
    except Exception as error:  # whatever torch makes of shapes that do not fit
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise Refusal(f"step {node.name!r} does not run on the stated input shapes: {text}") from None


def _trace(one: Any, two: Any, name: str) -> Traced:
    if isinstance(one, Tensor):
        a, b = tuple(one.shape), tuple(two.shape)
        moved = [i for i, (m, n) in enumerate(zip(a, b, strict=False)) if m != n]
        if len(a) != len(b) or len(moved) > 1 or any((a[i], b[i]) != BATCHES for i in moved):
            raise Refusal(f"step {name!r} makes shapes {a} and {b} of {BATCHES[0]} and {BATCHES[1]} examples")
        return Traced(a, moved[0] if moved else None)
    if isinstance(one, torch.Size):
        return Traced(varies=tuple(one) != tuple(two))
    if isinstance(one, tuple | list):
        return Traced(items=tuple(_trace(m, n, name) for m, n in zip(one, two, strict=True)))
    return Traced(varies=one != two)


def _check(
    node: Node, found: Traced, traced: Mapping[str, Traced], held: Mapping[str, Any], layers: Mapping[str, nn.Module]
) -> None:
    """Raise unless the step works on each example by itself."""
    args = list(map_refs(node.args, lambda r: traced[r.name]))
    kwargs = map_refs(node.kwargs, lambda r: traced[r.name])
    values = map_refs(node.args, lambda r: held[r.name])
    named = map_refs(node.kwargs, lambda r: held[r.name])
    step = Step(node, found, args, kwargs, list(values), named)
    if node.op == "module":
        layer = layers[node.target]
        rule = _layer_rule(layer)
        problem = f"nobody knows how {type(layer).__name__} treats examples" if rule is None else rule(step, layer)
    else:
        op = OPS[node.target]
        function = _FAMILIES.get(op.family)
        problem = f"nobody knows how {op.name} treats examples" if function is None else function(step)
    if not problem and not found.carries and found.shape is not None and step.x.carries:
        problem = "its result no longer has one row an example"
    if problem:
        raise Refusal(f"step {node.name!r} ({node.target}): {problem}")


@dataclass(frozen=True)
class Step:
    """A step that depends on the input: its arguments as traces and as values (without numbers)."""

    node: Node
    found: Traced
    args: list[Any]
    kwargs: dict[str, Any]
    values: list[Any]
    named: dict[str, Any]

    @property
    def name(self) -> str:
        """Of the function, without where it lives."""
        return self.node.target.rpartition(".")[2]

    @property
    def x(self) -> Traced:
        """The first argument."""
        first = self.args[0] if self.args else next(iter(self.kwargs.values()))
        return first if isinstance(first, Traced) else Traced()

    @property
    def carrying(self) -> list[Traced]:
        """Every tensor argument that depends on the input, looking into lists."""
        return [t for t in _listed([*self.args, *self.kwargs.values()]) if t.carries and t.shape is not None]

    def argument(self, position: int, *names: str) -> Any:
        """A value by position or by any of its names; None if it is not given."""
        for name in names:
            if name in self.named:
                return self.named[name]
        return self.values[position] if position < len(self.values) else None

    def dims(self, position: int, rank: int, *names: str) -> list[int] | None:
        """Axes given as a number or a list, counted from the front; None if not given or not numbers."""
        given = self.argument(position, *names)
        many = given if isinstance(given, tuple | list) else [given]
        if not many or not all(isinstance(d, int) and not isinstance(d, bool) for d in many):
            return None
        return [d + rank if d < 0 else d for d in many]


def _listed(value: Any) -> list[Traced]:
    if isinstance(value, Traced):
        return [value] if value.items is None else _listed(list(value.items))
    if isinstance(value, tuple | list):
        return [t for v in value for t in _listed(v)]
    if isinstance(value, dict):
        return _listed(list(value.values()))
    if isinstance(value, slice):
        return _listed([value.start, value.stop, value.step])
    return []


# -- functions, by family: an empty text is consent -----------------------------------------------------------


def _pointwise(step: Step) -> str:
    places = {step.found.rank - t.rank + (t.axis or 0) for t in step.carrying}
    return "" if places == {step.found.axis} else "it broadcasts the examples against another axis"


def _along(step: Step) -> str:
    op = OPS[step.node.target]
    if op.family == "reduce" and isinstance(step.argument(1, "other"), Tensor):
        return _pointwise(step)
    if len(step.carrying) != 1 or not step.x.carries:
        return "more than its first argument depends on the input"
    at = op.dim
    dims = step.dims(at, step.x.rank, "dim", "axis", "dims")
    if dims is None and op.default is not None and op.default is not ... and step.argument(at, "dim", "axis") is None:
        dims = [op.default % step.x.rank]
    if step.name == "flip" and isinstance(step.argument(1, "dims"), int):
        dims = [d % step.x.rank for d in step.values[1:]]
    if dims is None:
        return "it does not say along which axis it works"
    return "it works along the axis of the examples" if step.x.axis in dims else ""


def _join(step: Step) -> str:
    inserts = step.name == "stack"
    dims = step.dims(1, step.found.rank, "dim", "axis") or [0]
    places = {(t.axis or 0) + (inserts and dims[0] <= (t.axis or 0)) for t in step.carrying}
    return "" if places == {step.found.axis} and dims[0] not in places else "it joins along the axis of the examples"


def _moves_axes(step: Step) -> str:
    return "" if step.carrying == [step.x] else "more than its first argument depends on the input"


def _squeeze(step: Step) -> str:
    dims = step.dims(1, step.x.rank, "dim")
    if dims is None:
        return "without an axis it also drops that of a single example"
    return "it drops the axis of the examples" if step.x.axis in dims else _moves_axes(step)


def _reshape(step: Step) -> str:
    if step.carrying[:1] != [step.x] or step.x.axis != 0:
        return "the examples are not in front of what it reshapes"
    return "" if step.found.axis == 0 else "the examples do not stay in front"


def _index(step: Step) -> str:
    if step.x.items is not None:
        return ""
    index = step.argument(1, "index")
    items = list(index) if isinstance(index, tuple) else [index]
    if any(isinstance(i, Tensor | list | tuple) for i in items):
        return "it indexes with a tensor"
    if Ellipsis in items:
        at = items.index(Ellipsis)
        missing = step.x.rank - sum(i is not None and i is not Ellipsis for i in items)
        items[at : at + 1] = [slice(None)] * missing
    axes = [i for i in items if i is not None]
    own = axes[step.x.axis] if step.x.axis is not None and step.x.axis < len(axes) else slice(None)
    return "" if own == slice(None) else "it picks among the examples"


def _matmul(step: Step) -> str:
    pair = [step.argument(0, "input"), step.argument(1, "other", "mat2", "weight")]
    traces = [t for t in (*step.args[:2], *step.kwargs.values()) if isinstance(t, Traced)][:2]
    if len(pair) != 2 or len(traces) != 2:
        return "its factors are not understood"
    left, right = traces
    if step.name == "linear":
        return "" if not right.carries and left.axis != left.rank - 1 and len(step.carrying) == 1 else "across examples"
    if left.carries and right.carries:
        places = {step.found.rank - t.rank + (t.axis or 0) for t in traces}
        fits = min(left.rank, right.rank) >= 3 and places == {step.found.axis}
        return "" if fits and (step.found.axis or 0) < step.found.rank - 2 else "it sums over the examples"
    if left.carries:
        return "" if left.axis != left.rank - 1 else "it sums over the examples"
    return "" if (right.axis or 0) < right.rank - 2 else "it sums over the examples"


def _einsum(step: Step) -> str:
    equation = str(step.values[0]).replace(" ", "")
    terms, arrow, output = equation.partition("->")
    operands = step.args[1] if isinstance(step.args[1], tuple | list) else step.args[1:]
    if not arrow or "." in equation or len(terms.split(",")) != len(operands):
        return "its equation is not understood"
    letters = {term[t.axis] for term, t in zip(terms.split(","), operands, strict=True) if t.axis is not None}
    fixed = {c for term, t in zip(terms.split(","), operands, strict=True) if t.axis is None for c in term}
    alone = len(letters) == 1 and not letters & fixed and output.count(next(iter(letters))) == 1
    twice = any(term.count(c) > 1 for term in terms.split(",") for c in letters)
    return "" if alone and not twice else "it sums over the examples, or pairs them with another axis"


def _window(step: Step) -> str:
    if step.carrying != [step.x] or step.x.axis != 0:
        return "the examples are not in front of its only variable argument"
    if step.name.startswith("conv") and step.x.rank != 3:
        return "it takes the examples for channels"
    if step.name == "pad" and len(step.argument(1, "pad")) >= 2 * step.x.rank:
        return "it pads the axis of the examples"
    if step.name == "batch_norm" and step.argument(5, "training"):
        return "in training mode it mixes examples"
    if step.name == "instance_norm" and step.argument(5, "use_input_stats") is False and step.x.rank != 3:
        return "it takes the examples for channels"
    if step.name == "layer_norm" and len(step.argument(1, "normalized_shape")) >= step.x.rank:
        return "it normalises over the examples"
    return ""


def _attention(step: Step) -> str:
    return "" if all(t.axis == 0 and t.rank >= 3 for t in step.carrying) else "the examples are not in front"


def _lookup(step: Step) -> str:
    if step.name == "one_hot" and (step.argument(1, "num_classes") or -1) < 0:
        return "it counts the classes over all examples"
    return (
        ""
        if step.found.axis == step.x.axis and step.carrying == [step.x]
        else "it looks up in what depends on the input"
    )


def _cast(step: Step) -> str:
    return _same_axis(step) if step.x.carries else ""  # the other arguments give a dtype and a device


def _same_axis(step: Step) -> str:
    return "" if step.found.axis == step.x.axis and step.x.carries else "the examples move"


def _constant(step: Step) -> str:
    return "" if step.name.removeprefix("new_") in ("zeros", "ones", "full") else "its rows are numbered"


_FAMILIES: dict[str, Callable[[Step], str]] = {
    "factory": _constant,
    "pointwise": _pointwise, "reduce": _along, "along": _along, "join": _join, "permute": _moves_axes,
    "insert": _moves_axes, "squeeze": _squeeze, "reshape": _reshape, "index": _index, "matmul": _matmul,
    "einsum": _einsum, "window": _window, "attention": _attention, "lookup": _lookup, "identity": _same_axis,
    "cast": _cast,
}  # fmt: skip


# -- layers ---------------------------------------------------------------------------------------------------


def _in_front(*ranks: int) -> Callable[[Step, nn.Module], str]:
    def rule(step: Step, layer: nn.Module) -> str:
        if step.carrying != [step.x] or step.x.axis != 0:
            return "the examples are not in front of its only variable argument"
        return "" if not ranks or step.x.rank in ranks else f"it takes an axis of rank {step.x.rank} for another"

    return rule


def _linear(step: Step, layer: nn.Module) -> str:
    return "" if step.carrying == [step.x] and step.x.axis != step.x.rank - 1 else "a dense layer across the examples"


def _bilinear(step: Step, layer: nn.Module) -> str:
    places = {t.axis for t in step.carrying}
    fits = places == {step.found.axis} and all(t.axis != t.rank - 1 for t in step.carrying)
    return "" if fits else "a dense layer across the examples"


def _layer_norm(step: Step, layer: nn.Module) -> str:
    last = len(layer.normalized_shape)  # type: ignore[arg-type]
    return "" if (step.x.axis or 0) < step.x.rank - last else "it normalises over the examples"


def _over_dim(step: Step, layer: nn.Module) -> str:
    dim = layer.dim
    if not isinstance(dim, int):
        return "it does not say along which axis it works"
    return "" if dim % step.x.rank != step.x.axis else "it works along the axis of the examples"


def _flatten(step: Step, layer: nn.Module) -> str:
    return "" if step.x.axis == 0 == step.found.axis and layer.start_dim != 0 else "it flattens the examples"


def _running(step: Step, layer: nn.Module) -> str:
    return _in_front(2, 3)(step, layer) or ("" if layer.running_mean is not None else "it averages over the examples")


def _sequence(step: Step, layer: nn.Module) -> str:
    first = getattr(layer, "batch_first", None)
    if first is None:
        first = getattr(getattr(layer, "self_attn", None), "batch_first", None)
    wanted = 0 if first else 1
    if first is None or step.x.rank != 3 or step.x.axis != wanted:
        return "it takes the examples for positions"
    # Beside sequences: the states of a recurrent layer, and masks of attention over keys, (N, positions).
    states = 1 if isinstance(layer, nn.RNNBase) else wanted
    fine = all(t.axis == (states if t.rank == 3 else 0) and t.rank in (2, 3) for t in step.carrying if t is not step.x)
    return "" if fine else "it takes the examples for positions"


def _anywhere(step: Step, layer: nn.Module) -> str:
    return "" if step.carrying == [step.x] and step.found.axis == step.x.axis else "the examples move"


_ANY = (
    nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid,
    nn.LogSigmoid, nn.Tanh, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Softplus, nn.Softsign, nn.Softshrink,
    nn.Hardshrink, nn.Tanhshrink, nn.Threshold, nn.Dropout, nn.Dropout1d, nn.AlphaDropout, nn.FeatureAlphaDropout,
    nn.Embedding,
)  # fmt: skip
_THREE = (
    nn.Conv1d, nn.ConvTranspose1d, nn.InstanceNorm1d, nn.MaxPool1d, nn.AvgPool1d, nn.LPPool1d, nn.AdaptiveMaxPool1d,
    nn.AdaptiveAvgPool1d, nn.ConstantPad1d, nn.ZeroPad1d, nn.ReflectionPad1d, nn.ReplicationPad1d, nn.CircularPad1d,
    nn.Upsample, WeightedSum1d,
)  # fmt: skip
_FOUR = (
    nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d,
)  # fmt: skip

_LAYERS: dict[type[nn.Module], Callable[[Step, nn.Module], str]] = {
    **dict.fromkeys(_ANY, _anywhere),
    **dict.fromkeys(_THREE, _in_front(3)),
    **dict.fromkeys(_FOUR, _in_front(4)),
    **dict.fromkeys((nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.GLU), _over_dim),
    **dict.fromkeys((nn.RNN, nn.LSTM, nn.GRU, nn.MultiheadAttention, nn.TransformerEncoderLayer), _sequence),
    nn.Linear: _linear,
    nn.Bilinear: _bilinear,
    nn.LayerNorm: _layer_norm,
    nn.RMSNorm: _layer_norm,
    nn.BatchNorm1d: _running,
    nn.GroupNorm: _in_front(),
    nn.PReLU: _in_front(),
    nn.ChannelShuffle: _in_front(),
    nn.Flatten: _flatten,
    nn.Unflatten: lambda step, layer: "" if step.x.axis == 0 == step.found.axis else "it splits the examples",
}


def _layer_rule(layer: nn.Module) -> Callable[[Step, nn.Module], str] | None:
    return _LAYERS.get(type(layer))
