"""One rule a function of the graph that is no activation: what it becomes in keras-genomics, or why it has no form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rcproof.checkpoints.exporting.keras_genomics_steps import Site, call, over_all, padded
from rcproof.checkpoints.exporting.keras_genomics_values import Value
from rcproof.network.graph import Node
from rcproof.network.ops import OPS
from rcproof.network.plan import Key, crop_bounds

# -- functions of several values and of numbers ---------------------------------------------------------------

_TOGETHER = {
    "add": "Add", "iadd": "Add", "sub": "Subtract", "subtract": "Subtract", "isub": "Subtract", "mul": "Multiply",
    "multiply": "Multiply", "imul": "Multiply", "maximum": "Maximum", "minimum": "Minimum",
}  # fmt: skip
_DIVISIONS = ("div", "divide", "true_divide", "truediv", "itruediv")


@call(*_TOGETHER, *_DIVISIONS, "neg", "negative")
def _arithmetic(site: Site) -> Value:
    name = site.node.target.rpartition(".")[2].rstrip("_")
    number = factor(site.step.args, site.node)
    if site.step.kwargs:
        raise site.emitter.refuse("it is called with options")
    if number is not None:
        (x,) = (a for a in site.step.args if isinstance(a, Key))
        value = site.value_of(x)
        return _scaled(value, number)
    keys = [a for a in site.step.args if isinstance(a, Key)]
    if len(keys) != len(site.step.args) or name not in _TOGETHER:
        raise site.emitter.refuse("Keras 2 has no layer that adds a number, or divides by a value")
    return site.emitter.together(_TOGETHER[name], [site.value_of(key) for key in keys])


def factor(args: Sequence[Any], node: Node) -> float | None:
    """The number that a step multiplies a value with; None for a step that does something else."""
    name = node.target.rpartition(".")[2].rstrip("_") if node.op == "call" else ""
    if name in ("neg", "negative"):
        return -1.0
    numbers = [a for a in args if isinstance(a, int | float) and not isinstance(a, bool)]
    if len(args) != 2 or len(numbers) != 1:
        return None
    if name in ("mul", "multiply", "imul"):
        return float(numbers[0])
    return 1 / numbers[0] if name in _DIVISIONS and args[1] is numbers[0] and numbers[0] else None


def _scaled(value: Value, number: float) -> Value:
    base = None if value.base is None else _scaled(value.base, number)
    return replace(value, scale=value.scale * number, base=base)


@call("cat", "concat", "concatenate")
def _cat(site: Site) -> Value:
    found = site.argument(0, "tensors")
    values = [site.value_of(key) for key in found] if isinstance(found, tuple | list) else []
    dim = site.argument(1, "dim", "axis", default=0)
    if not values or dim % (len(site.shape) + 1) != 1:
        raise site.emitter.refuse("it joins values along another axis than the channels")
    return site.emitter.joined_strands(values) if site.stacked else site.emitter.joined(values)


# -- functions along the length -------------------------------------------------------------------------------


@call("getitem")
def _getitem(site: Site) -> Value:
    value, index = site.x, site.argument(1)
    every = slice(None)
    if not (isinstance(index, tuple) and len(index) == 3 == len(value.shape) + 1 and index[:2] == (every, every)):
        raise site.emitter.refuse("it takes something else than positions")
    if index[2] == 0 and value.shape[1] == 1:
        return site.emitter.reshaped(value, site.shape)
    window = index[2]
    if (
        not isinstance(window, slice)
        or window.step not in (None, 1)
        or any(isinstance(v, Key) for v in (window.start, window.stop))
    ):
        raise site.emitter.refuse("it takes something else than successive positions between given ends")
    start, stop = crop_bounds(window, value.shape[1])
    ends = (start, value.shape[1] - stop)
    if site.stacked and ends[0] != ends[1]:
        raise site.emitter.refuse(f"it crops {ends[0]} and {ends[1]} positions, which differ between the strands")
    if ends == (0, 0):
        return value
    return site.emitter.layer(site.emitter.sequence(value), "Cropping1D", {"cropping": list(ends)}, site.shape)


@call("mean", "sum", "amax")
def _reduce(site: Site) -> Value:
    value, dim = site.x, site.argument(1, "dim", "axis")
    dims = dim if isinstance(dim, tuple | list) else (dim,)
    if len(value.shape) != 2 or len(dims) != 1 or dims[0] not in (2, -1):
        raise site.emitter.refuse("Keras 2 has layers for means and maxima over all positions alone")
    name = site.node.target.rpartition(".")[2]
    value = site.emitter.sequence(site.emitter.unscaled(value) if name == "amax" else value)
    return over_all(site, value, name == "amax", value.shape[1] if name == "sum" else 1)


@call("flip")
def _flip(site: Site) -> Value:
    dims = site.argument(1, "dims")
    if dims not in (1, (1,), [1]) or site.stacked:
        raise site.emitter.refuse("Keras has no layer that turns the positions around")
    return site.emitter.select(site.x, range(site.x.shape[0])[::-1])


@call("pad")
def _pad_call(site: Site) -> Value:
    if site.argument(2, "mode", default="constant") != "constant":
        raise site.emitter.refuse("Keras pads with zeros")
    return padded(site, site.argument(1, "pad"), site.argument(3, "value") or 0)


# -- functions that change no number ----------------------------------------------------------------------------


@call("flatten", "view", "reshape", "unflatten", "squeeze", "unsqueeze")
def _reshape(site: Site) -> Value:
    return site.emitter.reshaped(site.x, site.shape)


@call(*(op.name.rpartition(".")[2] for op in OPS.values() if op.family == "identity"))
def _same(site: Site) -> Value:
    return site.x


@call("dropout")
def _dropout_call(site: Site) -> Value:
    if site.argument(2, "training", default=True):
        raise site.emitter.refuse("it drops values in eval mode too")
    return site.x
