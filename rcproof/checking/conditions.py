"""The side conditions under which a step's lemma holds, with the sizes at hand put in.

A certificate lists them for every step; they are derived again from the shapes that the file states, and must be what
is listed. A step without a stacked form rests on T2, whose one condition is where the examples are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import nn

from rcproof.checking.layers import is_ordinary
from rcproof.network.graph import Node
from rcproof.network.ops import OPS
from rcproof.nn.base import TiedLayer


class Value(Protocol):
    """What is known of a value on one strand: its shape with the examples, and on which axis these are."""

    @property
    def shape(self) -> tuple[int, ...] | None: ...
    @property
    def axis(self) -> int | None: ...


def side_conditions(node: Node, layer: nn.Module | None, reads: Sequence[Value], found: Value) -> list[str]:
    """The conditions of one step of the result. Every size in them is of one example of one strand.

    ``layer``: what a ``module`` step calls, in the result; ``reads``: the values that the step reads and that depend on
    the input, each once and in order; ``found``: what it gives (for a merge, what it merges).
    """
    if node.op == "input":
        return [f"ρ = {node.rep} on {_example(found)}"]
    if node.op == "merge":
        return [f"{node.target} of the strands, ρ_out = {node.rep} on {_example(reads[0])}"]
    if node.kind not in ("stacked", "closed") or not reads:
        return []
    own = _of_layer(node, layer, reads[0], found) if layer is not None else []
    if node.stacked:
        return own + _stacked(node, reads, found)
    return own + _apart(reads[0], found)


def _example(value: Value) -> str:
    shape = list(value.shape or ())
    if value.axis is not None and shape:
        del shape[value.axis]
    return f"({', '.join(map(str, shape))})"


def _apart(x: Value, found: Value) -> list[str]:
    """A step that runs in the batch: its examples are along one axis, before and after."""
    if x.axis is None or found.axis is None:
        return []
    return [f"each example by itself: {_example(x)}, axis {x.axis}, to {_example(found)}, axis {found.axis}"]


def _of_layer(node: Node, layer: nn.Module, x: Value, found: Value) -> list[str]:
    if not isinstance(layer, TiedLayer):
        if node.rule == "lifted" and not is_ordinary(layer):  # then there is no file of it either
            return ["assumed to treat examples one by one; probed numerically"]
        return []
    args = layer.config()
    said = []
    if "coupled" in args:
        source = args.get("source")
        said.append("strand pair, B = 0" if source is None else f"closed input, ρ_in = {source}")
    if node.rule == "embedding":
        said.append(f"codes, ρ_in = {args['source']}")
    if node.rule == "batch norm":
        said.append(f"eval mode, stored statistics of {args['num_features']} channels (train mode: T10)")
    if node.rule == "dropout":
        said.append("eval mode, the identity")
    if node.rule in ("conv", "pooling") and node.stacked and "kernel_size" in args:
        said.append(_windows(args, x, found))
    return said


def _windows(args: Mapping[str, Any], x: Value, found: Value) -> str:
    """Where the windows of T3 lie: r positions are left unread at the right; they coincide iff −left = r − right."""
    kernel, stride, dilation = args["kernel_size"], args["stride"], args.get("dilation", 1)
    left, right = _margins(args["padding"], dilation * (kernel - 1))
    length, outputs = (x.shape or (0,))[-1], (found.shape or (0,))[-1]
    read = stride * (outputs - 1) + dilation * (kernel - 1) + 1
    rest = length + left + right - read
    sizes = f"{stride}·({outputs} − 1) + {dilation}·({kernel} − 1) + 1 = {read} of {left} + {length} + {right}"
    if rest == right - left:
        return f"windows centred: {sizes}"
    return f"windows off centre, mirrored on the other strand: {sizes}"


def _margins(padding: int | str, spread: int) -> tuple[int, int]:
    if isinstance(padding, str):
        return (spread // 2, spread - spread // 2) if padding == "same" else (0, 0)
    return padding, padding


def _stacked(node: Node, reads: Sequence[Value], found: Value) -> list[str]:
    """A step on stacked tensors, by its form."""
    x = reads[0]
    if node.stacked == "cat":
        return [f"channels joined: {' + '.join(str((v.shape or (0, 0))[1]) for v in reads)}"]
    if node.stacked == "flatten":
        return [f"whole strand: {_example(x)} to {_example(found)}"]
    if node.stacked == "crop":
        return [f"cropped: {_example(x)} to {_example(found)}, {_crop(node, x)}"]
    family = OPS[node.target].family if node.op == "call" else ""
    if node.stacked == "same" and (node.rule == "softmax" or family in ("reduce", "along")):
        return [f"along the length: {_example(x)} to {_example(found)}"]
    return [f"entry by entry: {_example(x)}"] if node.rule == "pointwise" else []


def _crop(node: Node, x: Value) -> str:
    index = node.args[1] if len(node.args) > 1 else None
    window = index[-1] if isinstance(index, tuple) and index else None
    ends = (window.start, window.stop) if isinstance(window, slice) else (0, 0)
    if not all(end is None or type(end) is int for end in ends):
        return "at places reckoned from sizes"
    start, stop, _ = slice(*ends).indices((x.shape or (0,))[-1])
    return f"positions {start} to {stop}"
