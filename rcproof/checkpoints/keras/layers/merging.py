"""Layers with several inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

import numpy as np

from rcproof.checkpoints.keras.build import Shape, Site, Value, layer
from rcproof.checkpoints.keras.layers.normalization import axes_of
from rcproof.network.graph import Ref

_PAIRWISE = {
    "Add": "torch.add",
    "Subtract": "torch.sub",
    "Multiply": "torch.mul",
    "Average": "torch.add",
    "Maximum": "torch.maximum",
    "Minimum": "torch.minimum",
}


@layer(*_PAIRWISE, either_axis=True)
def _elementwise(site: Site) -> Value:
    """Element by element; axes of size 1 are repeated, and inputs of lower rank get them after the batch."""
    inputs = _alike(site, site.inputs)
    if site.spec.kind == "Subtract" and len(inputs) != 2:
        raise site.error("inputs", got=len(inputs), expected="two")
    shape = _broadcast(site, inputs)
    first = inputs[0]
    if first.form == "image" and len({value.rest for value in inputs if value.channels > 1}) > 1:
        raise site.error("inputs", got=", ".join(str(value.shape) for value in inputs), expected="images of one shape")
    function = _PAIRWISE[site.spec.kind]
    made = reduce(lambda a, b: site.function(function, a, b), [value.ref for value in inputs])
    if site.spec.kind == "Average":
        made = site.function("torch.div", made, float(len(inputs)))
    return replace(first, ref=made, shape=shape)


def _alike(site: Site, inputs: Sequence[Value]) -> list[Value]:
    """The inputs, all held in one form and order."""
    if not inputs:
        raise site.error("inputs", got="none", expected="two or more")
    rank = max(len(value.shape) for value in inputs)
    main = next(value for value in inputs if len(value.shape) == rank)
    lifted = [_raised(site, value, main) for value in inputs]
    forms = {value.form for value in lifted}
    if forms == {"vector"}:
        same = all(_same_order(value, main) for value in lifted)
        return lifted if same else [site.as_keras(value) for value in lifted]
    if forms == {"sequence"}:
        return [site.sequence(main.length, value) for value in lifted]
    if len(forms) == 1 and len({value.length for value in lifted}) == 1:
        return lifted
    return [value if value.form == "tensor" else site.as_keras(value) for value in lifted]


def _raised(site: Site, value: Value, main: Value) -> Value:
    """``value`` with the rank of ``main``, by axes of size 1 after the batch."""
    missing = len(main.shape) - len(value.shape)
    if not missing:
        return value
    value = site.as_keras(value)
    shape: Shape = (1,) * missing + value.shape
    if len(value.shape) == 1 and main.form == "sequence":  # (C,) becomes (1, C), held as (C, 1)
        return Value(site.function("torch.unsqueeze", value.ref, 2), shape, "sequence")
    ref = value.ref
    for _ in range(missing):
        ref = site.function("torch.unsqueeze", ref, 1)
    return Value(ref, shape, "tensor")


def _same_order(a: Value, b: Value) -> bool:
    if a.order is None or b.order is None:
        return a.order is b.order
    return bool(np.array_equal(a.order, b.order))


def _broadcast(site: Site, inputs: Sequence[Value]) -> Shape:
    sizes: list[int | None] = []
    for found in zip(*(value.shape for value in inputs), strict=True):
        fixed = {n for n in found if n not in (1, None)}
        if len(fixed) > 1:
            shapes = ", ".join(str(value.shape) for value in inputs)
            raise site.error("inputs", got=f"shapes {shapes}", expected="sizes that are equal or 1")
        sizes.append(fixed.pop() if fixed else None if None in found else 1)
    return tuple(sizes)


@layer("Concatenate", either_axis=True)
def _concatenate(site: Site) -> Value:
    inputs = site.inputs
    if len({len(value.shape) for value in inputs}) != 1:
        raise site.error("inputs", got=", ".join(str(value.shape) for value in inputs), expected="one rank")
    first = inputs[0]
    (axis, *more) = axes_of(site, first, site.get("axis", -1))
    if more:
        raise site.error("axis", got=site.get("axis"), expected="one")
    for value in inputs:
        others = [(n, m) for i, (n, m) in enumerate(zip(first.shape, value.shape, strict=True)) if i != axis]
        if any(n != m and None not in (n, m) for n, m in others):
            raise site.error(
                "inputs", got=", ".join(str(v.shape) for v in inputs), expected=f"one shape but for axis {axis + 1}"
            )
    sizes = [value.shape[axis] for value in inputs]
    total = None if None in sizes else sum(n for n in sizes if n is not None)
    shape = tuple(total if i == axis else _known(inputs, i) for i in range(len(first.shape)))
    if {value.form for value in inputs} == {"vector"}:
        return Value(_cat(site, inputs, 1), shape, "vector", _joined(inputs))
    held = _alike(site, inputs)
    dims = {value.axis(axis) for value in held}
    if len(dims) > 1 or None in dims:  # held together with another axis
        held = [value if value.form == "tensor" else site.as_keras(value) for value in held]
        dims = {axis + 1}
    return replace(held[0], ref=_cat(site, held, dims.pop() or 1), shape=shape)


def _cat(site: Site, values: Sequence[Value], dim: int) -> Ref:
    return site.function("torch.cat", [value.ref for value in values], dim)


def _known(inputs: Sequence[Value], axis: int) -> int | None:
    return next((value.shape[axis] for value in inputs if value.shape[axis] is not None), None)


def _joined(vectors: Sequence[Value]) -> np.ndarray | None:
    """The order of vectors one after the other."""
    if all(value.order is None for value in vectors):
        return None
    orders, start = [], 0
    for value in vectors:
        orders.append(start + (np.arange(value.channels) if value.order is None else value.order))
        start += value.channels
    return np.concatenate(orders)
