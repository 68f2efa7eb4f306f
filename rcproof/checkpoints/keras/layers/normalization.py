"""Normalization with trained statistics, within an example, and by fixed numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rcproof.checkpoints.keras.build import Site, Value, filled, layer
from rcproof.checkpoints.keras.model import Array
from rcproof.network.graph import Ref


def axes_of(site: Site, value: Value, found: Any) -> tuple[int, ...]:
    """Axes of Keras, the batch not counted, in ascending order; an argument counts the batch."""
    rank = len(value.shape) + 1
    several = found if isinstance(found, list | tuple) else [found]
    for axis in several:
        if isinstance(axis, bool) or not isinstance(axis, int) or not -rank < axis < rank or axis == 0:
            raise site.error("axis", got=repr(found)[:60], expected=f"axes of shape {value.shape}, not the batch")
    axes = tuple(sorted({axis % rank - 1 for axis in several}))
    if not axes or len(axes) != len(several):
        raise site.error("axis", got=repr(found)[:60], expected="each axis once, and one at least")
    return axes


def _number(site: Site, key: str, default: float) -> float:
    found = site.get(key, default)
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found < math.inf:
        raise site.error(key, got=repr(found)[:60], expected="a number that is not negative")
    return float(found)


def _epsilon(site: Site, default: float = 1e-3) -> float:
    return _number(site, "epsilon", default)


def _parameter(site: Site, value: Value, axes: tuple[int, ...], role: str, there: bool, absent: float) -> Array:
    """An array over some axes, shaped so that Keras broadcasts it against the value; ``absent`` where there is none."""
    sizes = [int(value.shape[axis] or 0) for axis in axes]
    if any(value.shape[axis] is None for axis in axes):
        raise site.error("axis", got=f"shape {value.shape}", expected="an axis that the file does not leave open")
    shape = tuple(n if i in axes else 1 for i, n in enumerate(value.shape))
    if there:
        return site.weight(role, sizes).numpy().reshape([int(n or 0) for n in shape])
    like = next(iter(site.spec.weights.values()), np.zeros(1, np.float32))
    return np.broadcast_to(np.asarray(absent, like.dtype), [int(n or 0) for n in shape])


def _between(site: Site, ref: Ref, turn: bool, call: Callable[[Ref], Ref]) -> Ref:
    """``call`` on ``ref``, with channels and length exchanged on the way if ``turn``."""
    if not turn:
        return call(ref)
    return site.function("torch.transpose", call(site.function("torch.transpose", ref, 1, 2)), 1, 2)


def _same_order(site: Site, value: Value, *also: Any) -> None:
    """Parameters lie in the order of the first input."""
    site.keep_same((value.form, value.length, value.order is None or value.order.tobytes(), *also))


@layer("BatchNormalization", either_axis=True)
def _batch_norm(site: Site) -> Value:
    """Its running statistics; Keras's momentum is one minus torch's."""
    value = site.value
    if site.get("mode", 0) != 0:
        raise site.error("mode", got=site.get("mode"), expected="0, statistics of the training set")
    axes = axes_of(site, value, site.get("axis", -1))
    if len(axes) > 1 or value.form == "tensor":
        raise site.error("axis", got=f"{site.get('axis', -1)} of shape {value.shape}", expected="channels or length")
    arrays = {
        name: _parameter(site, value, axes, role, there, absent)
        for name, role, there, absent in (
            ("weight", "gamma", site.get("scale", True), 1.0),
            ("bias", "beta", site.get("center", True), 0.0),
            ("running_mean", "moving_mean", True, 0.0),
            ("running_var", "moving_variance", True, 1.0),
        )
    }
    momentum = _number(site, "momentum", 0.99)
    _same_order(site, value)
    turn = value.form != "vector" and value.axis(axes[0]) == 2
    # Channels that are held with rows of an image have the numbers of the channel in every row.
    size = int(value.steps or 0) if turn else value.channels
    tensors = {
        name: torch.tensor(value.held_array(array)).flatten().expand(size).contiguous()
        for name, array in arrays.items()
    }
    plain = not site.get("scale", True) and not site.get("center", True)
    if plain:
        tensors = {name: tensor for name, tensor in tensors.items() if name.startswith("running")}

    def make() -> nn.Module:
        return filled(
            lambda: nn.BatchNorm1d(size, _epsilon(site), round(1 - momentum, 12), affine=not plain),
            num_batches_tracked=torch.tensor(0),
            **tensors,
        )

    return replace(value, ref=_between(site, value.ref, turn, lambda x: site.module(make, x)))


def _affine(site: Site, value: Value, axes: tuple[int, ...]) -> dict[str, Array]:
    return {
        "weight": _parameter(site, value, axes, "gamma", site.get("scale", True), 1.0),
        "bias": _parameter(site, value, axes, "beta", site.get("center", True), 0.0),
    }


@layer("LayerNormalization", "RMSNormalization", either_axis=True)
def _layer_norm(site: Site) -> Value:
    """Over the channels at each position (the default), over the length, or over both."""
    by_square = site.spec.kind == "RMSNormalization"
    value = site.value
    if site.get("rms_scaling", False):
        raise site.error("rms_scaling", got=True, expected="False")
    axes = axes_of(site, value, site.get("axis", -1))
    held = {value.axis(axis) for axis in axes}
    if len(axes) == len(value.shape):
        held = set(range(1, 1 + len(value.held_shape())))
    dims = sorted(dim for dim in held if dim is not None)
    last = len(value.shape) if value.form == "tensor" else 1 if value.form == "vector" else 2
    if None in held or (dims not in ([last], list(range(dims[0], last + 1))) and dims != [1]):
        raise site.error(
            "axis", got=f"{site.get('axis', -1)} of shape {value.shape}", expected="channels, length or all"
        )
    turn = dims == [1] and last == 2
    _same_order(site, value)
    if by_square:
        arrays = {"weight": _parameter(site, value, axes, "scale", True, 1.0)}
    else:
        arrays = _affine(site, value, axes)
    tensors = {name: torch.tensor(value.held_array(array)) for name, array in arrays.items()}
    sizes = tuple(tensors["weight"].shape[dim - 1] for dim in dims)
    tensors = {name: tensor.reshape(sizes) for name, tensor in tensors.items()}

    def make() -> nn.Module:
        if by_square:
            return filled(lambda: nn.RMSNorm(sizes, _epsilon(site, 1e-6)), **tensors)
        return filled(lambda: nn.LayerNorm(sizes, _epsilon(site)), **tensors)

    return replace(value, ref=_between(site, value.ref, turn, lambda x: site.module(make, x)))


@layer("GroupNormalization", either_axis=True)
def _group_norm(site: Site) -> Value:
    value = site.value
    axes = axes_of(site, value, site.get("axis", -1))
    if value.form == "vector":
        value = site.as_keras(value)  # groups are runs of channels in Keras's order
    if len(axes) > 1 or value.form == "tensor" or value.axis(axes[0]) is None:
        raise site.error("axis", got=f"{site.get('axis', -1)} of shape {value.shape}", expected="channels or length")
    turn = value.form != "vector" and value.axis(axes[0]) == 2
    tensors = {
        name: torch.tensor(value.held_array(array)).flatten() for name, array in _affine(site, value, axes).items()
    }
    size, groups = len(tensors["weight"]), site.integer("groups", 32)
    groups = size if groups == -1 else groups
    if groups < 1 or size % groups:
        raise site.error("groups", got=groups, expected=f"a divisor of {size}")

    def make() -> nn.Module:
        return filled(lambda: nn.GroupNorm(groups, size, _epsilon(site)), **tensors)

    _same_order(site, value)
    return replace(value, ref=_between(site, value.ref, turn, lambda x: site.module(make, x)))


@layer("UnitNormalization", either_axis=True)
def _unit_norm(site: Site) -> Value:
    """Divided by its length along an axis; Keras keeps the square from below, by 1e-12."""
    value = site.value
    axes = axes_of(site, value, site.get("axis", -1))
    dims = [value.axis(axis) for axis in axes]
    if len(axes) == len(value.shape):
        dims = list(range(1, 1 + len(value.held_shape())))
    if None in dims:
        raise site.error(
            "axis", got=f"{site.get('axis', -1)} of shape {value.shape}", expected="channels, length or all"
        )
    return replace(value, ref=site.function("F.normalize", value.ref, 2.0, tuple(dims), 1e-6))


def _numbers(site: Site, value: Value, key: str, default: Any) -> float | Tensor:
    """A number, or one for each place along the last axis, as they lie in the value."""
    found = site.get(key, default)
    try:
        array = np.asarray(found, np.float32)
    except (TypeError, ValueError):
        raise site.error(key, got=repr(found)[:60], expected="numbers") from None
    return float(array.reshape(-1)[0]) if array.size == 1 else torch.from_numpy(value.held_array(array).copy())


def _operand(site: Site, name: str, number: float | Tensor) -> float | Ref:
    return site.constant(name, number) if isinstance(number, Tensor) else number


@layer("Rescaling", either_axis=True)
def _rescale(site: Site) -> Value:
    value = site.value
    scale, offset = (_numbers(site, value, key, default) for key, default in (("scale", 1.0), ("offset", 0.0)))
    _same_order(site, value)
    made = site.function("torch.mul", value.ref, _operand(site, "scale", scale))
    return replace(value, ref=site.function("torch.add", made, _operand(site, "offset", offset)))


@layer("Normalization", either_axis=True)
def _normalize(site: Site) -> Value:
    """(x − mean) / √variance with statistics of the training set, per place along ``axis``."""
    value = site.value
    axis = site.spec.config.get("axis", -1)
    axes = () if axis is None or axis in ((), []) else axes_of(site, value, axis)
    shape = tuple(int(n or 0) if i in axes else 1 for i, n in enumerate(value.shape))
    given = {}
    for role in ("mean", "variance"):
        array = site.spec.weights.get(role)
        found = site.get(role) if array is None else array
        try:
            given[role] = np.broadcast_to(np.asarray(found, np.float32).squeeze(), np.empty(shape).squeeze().shape)
        except (TypeError, ValueError):
            raise site.error(role, got=repr(found)[:60], expected=f"numbers of shape {shape}") from None
    _same_order(site, value)
    mean = value.held_array(given["mean"].reshape(shape))
    deviation = value.held_array(np.maximum(np.sqrt(given["variance"].reshape(shape)), np.float32(1e-7)))
    parts = [site.constant(name, torch.tensor(array)) for name, array in (("mean", mean), ("deviation", deviation))]
    if site.get("invert", False):
        made = site.function("torch.add", parts[0], site.function("torch.mul", value.ref, parts[1]))
    else:
        made = site.function("torch.div", site.function("torch.sub", value.ref, parts[0]), parts[1])
    return replace(value, ref=made)
