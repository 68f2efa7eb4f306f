"""The ways in which a graph can merge two strands: mean, sum and maximum, as layers, functions and arithmetic."""

from __future__ import annotations

from typing import Any

import torch

from rcproof.checkpoints.siamese.view import View
from rcproof.network.graph import Node, Ref
from rcproof.network.network import find_tensor

#: A merge and what it merges.
Merge = tuple[str, str, str]

_ADD = {"add", "iadd"}
_TIMES = {"mul", "imul", "multiply"}
_OVER = {"div", "truediv", "itruediv", "true_divide", "divide"}
_BY_REDUCTION = {"mean": "mean", "sum": "sum", "amax": "max"}


def merge_of(view: View, name: str) -> Merge | None:
    """The merge that a node is the result of, and the names of the two values it merges; None if it is none.

    Mean: (a + b) · ½, (a + b) / 2, a · ½ + b · ½, the mean of both stacked. Sum: a + b, or the sum of both stacked.
    Maximum: of the two, or along the axis on which they are stacked.
    """
    node = view.nodes[name]
    whole = _halved(view, node)
    if whole is not None:
        pair = _added(view, whole)
        return None if pair is None else ("mean", *pair)
    pair = _added(view, node)
    if pair is not None:
        halves = [_halved(view, view.nodes[p]) for p in pair]
        if halves[0] is not None and halves[1] is not None:
            return "mean", halves[0].name, halves[1].name
        return "sum", *pair
    return _maximum(view, node) or _reduction(view, node)


def _base(node: Node) -> str:
    """``add`` for torch.add, Tensor.add, Tensor.add_ and operator.add."""
    return node.target.rpartition(".")[2].rstrip("_") if node.op == "call" else ""


def _arguments(node: Node, *names: str) -> list[Any] | None:
    """The arguments of these names, given by position or by name (absent: None); None if there are others."""
    if len(node.args) > len(names) or not set(node.kwargs) <= set(names[len(node.args) :]):
        return None
    return [*node.args, *(node.kwargs.get(n) for n in names[len(node.args) :])]


def _scalar(view: View, value: Any) -> float | None:
    """A number, written as such or held as a tensor of one element."""
    if isinstance(value, Ref) and view.nodes[value.name].op == "tensor":
        held = find_tensor(view.network, view.nodes[value.name].target)
        return float(held) if held.numel() == 1 and held.dtype != torch.bool else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _halved(view: View, node: Node) -> Node | None:
    """The value that this node is the half of."""
    found = _arguments(node, "input", "other")
    if found is None:
        return None
    a, b = found
    if _base(node) in _OVER and isinstance(a, Ref) and _scalar(view, b) == 2:
        return view.nodes[a.name]
    if _base(node) in _TIMES:
        for whole, half in ((a, b), (b, a)):
            if isinstance(whole, Ref) and _scalar(view, half) == 0.5:
                return view.nodes[whole.name]
    return None


def _added(view: View, node: Node) -> tuple[str, str] | None:
    """The two values that this node adds."""
    if _base(node) == "sum":
        return _stacked(view, node, "sum")
    found = _arguments(node, "input", "other") if _base(node) in _ADD else None
    return None if found is None else _two_values(view, *found)


def _maximum(view: View, node: Node) -> Merge | None:
    if _base(node) == "getitem" and len(node.args) == 2 and node.args[1] == 0:  # the values of max(stacked, dim)
        inner = node.args[0]
        pair = _stacked(view, view.nodes[inner.name], "max") if isinstance(inner, Ref) else None
        return None if pair is None else ("max", *pair)
    if _base(node) not in ("maximum", "max", "fmax"):
        return None
    found = _arguments(node, "input", "other")
    pair = None if found is None else _two_values(view, *found)
    return None if pair is None else ("max", *pair)


def _reduction(view: View, node: Node) -> Merge | None:
    for function, mode in _BY_REDUCTION.items():
        pair = _stacked(view, node, function)
        if pair is not None:
            return mode, *pair
    return None


def _two_values(view: View, a: Any, b: Any) -> tuple[str, str] | None:
    if not (isinstance(a, Ref) and isinstance(b, Ref)):
        return None
    return (a.name, b.name) if view.needs[a.name] and view.needs[b.name] else None


def _stacked(view: View, node: Node, function: str) -> tuple[str, str] | None:
    """The two values of a reduction along the axis on which they were stacked."""
    found = _arguments(node, "input", "dim", "keepdim") if _base(node) == function else None
    if found is None or not isinstance(found[0], Ref) or found[2]:
        return None
    dim = found[1][0] if isinstance(found[1], list | tuple) and len(found[1]) == 1 else found[1]
    joined = view.nodes[found[0].name]
    parts = _arguments(joined, "tensors", "dim") if _base(joined) in ("stack", "cat", "concat", "concatenate") else None
    if parts is None or not isinstance(parts[0], list | tuple) or len(parts[0]) != 2:
        return None
    axis = 0 if parts[1] is None else parts[1]
    pair = _two_values(view, *parts[0])
    if pair is None or dim != axis or isinstance(dim, bool):
        return None
    return pair if _base(joined) == "stack" else _unsqueezed(view, pair, axis)


def _unsqueezed(view: View, pair: tuple[str, str], axis: int) -> tuple[str, str] | None:
    """What was given an axis of size one to be concatenated along it."""
    found = []
    for name in pair:
        node = view.nodes[name]
        given = _arguments(node, "input", "dim") if _base(node) == "unsqueeze" else None
        if given is None or not isinstance(given[0], Ref) or given[1] != axis:
            return None
        found.append(given[0].name)
    return found[0], found[1]
