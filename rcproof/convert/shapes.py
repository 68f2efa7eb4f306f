"""Input shapes of a network nobody told us: from its first layers, and by trying lengths on the meta device."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Sequence

import torch
from torch import fx, nn

from rcproof.convert.copies import copied
from rcproof.convert.trace import EXAMPLE_BATCH, Recorder
from rcproof.errors import ConversionError, TraceError
from rcproof.network.network import find_module
from rcproof.nn.weighted_sum import WeightedSum1d
from rcproof.strand import Representation

Shape = tuple[int, ...]

_FIRST_LENGTH, _LONGEST = 1000, 1 << 20
_MOST_CHANNELS = 8


def infer_shapes(net: nn.Module, graph: fx.Graph, reps: Sequence[Representation]) -> tuple[Shape, ...]:
    """Shapes (C, L) or (C,) or, for tokens, (L,) per input, without the batch, on which ``net`` runs.

    Channels come from the first layer that reads an input, or are tried up to eight; all lengths are taken
    equal, and found by bisection where a dense layer fixes them. Raises
    :class:`~rcproof.errors.ConversionError`, asking for the shapes, where that does not succeed.
    """
    ghost = copied(net).to("meta")
    inputs = graph.find_nodes(op="placeholder")
    options = [_options(net, node, rep) for node, rep in zip(inputs, reps, strict=True)]
    reason = ""
    for choice in itertools.islice(itertools.product(*options), 200):
        length = _FIRST_LENGTH
        low, high = 0, _LONGEST
        while low < length < high:
            shapes = tuple(_shape(c, length) for c in choice)
            verdict, why = _try(net, ghost, graph, shapes, reps)
            reason = why or reason
            if verdict == "runs":
                return shapes
            if verdict == "wrong" or not any(c[1] for c in choice):
                break
            low, high = (length, high) if verdict == "short" else (low, length)
            length = min(2 * length, _LONGEST - 1) if high == _LONGEST else (low + high) // 2
    raise ConversionError(
        f"no input shapes were found{': ' + reason if reason else ''}",
        fix="give them: input_shapes=[(channels, length), …], or --shape channels,length on the command line",
    )


def stated_shapes(net: nn.Module, count: int) -> tuple[Shape, ...] | None:
    """What a method ``input_shapes()`` of ``net`` says: one shape for each of ``count`` inputs; None if nothing.

    A foreign network may mean something else by that name, so an answer of another form counts as none.
    """
    method = getattr(net, "input_shapes", None)
    if not callable(method):
        return None
    try:
        inspect.signature(method).bind()
        said = method()
    except (TypeError, ValueError, NotImplementedError):  # it needs arguments, hides its signature, or is abstract
        return None
    if not isinstance(said, list | tuple) or len(said) != count:
        return None
    if not all(isinstance(shape, list | tuple) and shape for shape in said):
        return None
    if any(type(size) is not int or size < 1 for shape in said for size in shape):
        return None
    return tuple(tuple(shape) for shape in said)


Choice = tuple[int, bool]  # channels (0 for tokens), whether it has a length


def _options(net: nn.Module, node: fx.Node, rep: Representation) -> list[Choice]:
    if rep.tokens:
        return [(0, True)]
    known = _first_layer(net, node)
    if known is not None:
        return [known]
    if rep.size is not None:
        return [(rep.size, True), (rep.size, False)]
    lengths = (True, False) if rep.reverses_length else (False, True)
    channels = sorted(range(1, _MOST_CHANNELS + 1), key=lambda c: (c != 4, c))  # DNA first
    return [(c, has) for has in lengths for c in channels]


def _first_layer(net: nn.Module, node: fx.Node) -> Choice | None:
    for user in node.users:
        if user.op == "call_module":
            layer = find_module(net, str(user.target))
            if isinstance(layer, nn.Conv1d):
                return layer.in_channels, True
            if isinstance(layer, nn.Linear):
                return layer.in_features, False
    return None


def _shape(choice: Choice, length: int) -> Shape:
    channels, has_length = choice
    return (length,) if not channels else (channels, length) if has_length else (channels,)


def _try(
    net: nn.Module, ghost: nn.Module, graph: fx.Graph, shapes: Sequence[Shape], reps: Sequence[Representation]
) -> tuple[str, str]:
    """``runs``, ``short`` or ``long`` (the length), or ``wrong`` (something else), and why."""
    dtype = next((p.dtype for p in ghost.parameters() if p.is_floating_point()), torch.float32)
    tensors = [
        torch.zeros((EXAMPLE_BATCH, *s), device="meta", dtype=torch.int64 if r.tokens else dtype)
        for s, r in zip(shapes, reps, strict=True)
    ]
    recorder = Recorder(ghost, graph, owner=net)
    try:
        with torch.no_grad():
            output = recorder.run(*tensors)
    except TraceError as error:
        return _diagnose(ghost, graph, recorder), error.problem
    found = _tensors(output)
    if any(t.numel() == 0 for t in found):
        return "short", "an output is empty"
    rows = {t.shape[0] for t in found if t.dim()} - {EXAMPLE_BATCH}
    if rows and any(_viewed_size(n) for n in graph.nodes):  # a view by a number of features, at another length
        return "long" if max(rows) > EXAMPLE_BATCH else "short", "the batch does not stay in front"
    return "runs", ""


def _diagnose(ghost: nn.Module, graph: fx.Graph, recorder: Recorder) -> str:
    """Which way the length is off, seen at the first step that failed."""
    for n in graph.nodes:
        if n.name in recorder.values or n.op == "output":
            continue
        seen = [recorder.values.get(a.name) for a in n.all_input_nodes]
        shape = next((s.shape for s in seen if isinstance(s, torch.Tensor)), None)
        layer = find_module(ghost, str(n.target)) if n.op == "call_module" else None
        wanted = _fixed_size(layer) if layer is not None else _viewed_size(n)
        if wanted and shape is not None:
            return "long" if (shape[-1] if layer is not None else shape[1:].numel()) > wanted else "short"
        if isinstance(layer, nn.Conv1d) and shape is not None and shape[1] != layer.in_channels:
            return "wrong"
        if layer is not None and shape is not None and len(shape) == 3:
            return "short"
        return "wrong"
    return "wrong"


def _fixed_size(layer: nn.Module) -> int | None:
    """The size of the last axis that a layer insists on."""
    if isinstance(layer, nn.Linear):
        return layer.in_features
    if isinstance(layer, WeightedSum1d):
        return layer.length
    return layer.normalized_shape[-1] if isinstance(layer, nn.LayerNorm) else None


def _viewed_size(n: fx.Node) -> int | None:
    """The features of an example in a step like ``x.view(-1, 608)``."""
    if n.op != "call_method" or n.target not in ("view", "reshape"):
        return None
    given = n.args[1] if len(n.args) == 2 and isinstance(n.args[1], list | tuple) else n.args[1:]
    sizes = [s for s in given[1:] if isinstance(s, int) and s > 0]
    return math.prod(sizes) if sizes and len(sizes) == len(given) - 1 else None


def _tensors(value: object) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [t for v in value for t in _tensors(v)] if isinstance(value, tuple | list) else []
