"""Layers that rearrange elements. Most cost nothing: the order travels with the value, into the next dense kernel."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from rcproof.checkpoints.keras.build import LARGEST, Shape, Site, Value, layer

#: A length that stands for one that the file leaves open: no size of a layer in use.
_STAND_IN = 7919


@layer("Flatten", either_axis=True)
def _flatten(site: Site) -> Value:
    """In the order of Keras; ``channels_first`` moves the channels to the end before."""
    value = site.value
    if value.form == "vector":
        return value
    indices = value.indices()
    # Before Keras 2 there was no such argument.
    if site.spec.generation >= 2 and site.get("data_format", "channels_last") == "channels_first":
        indices = np.moveaxis(indices, 0, -1)
    return site.rearranged(value, indices.ravel())


@layer("Reshape", either_axis=True)
def _reshape(site: Site) -> Value:
    value = site.value
    wanted = site.get("target_shape", ())
    whole = isinstance(wanted, list | tuple) and all(isinstance(n, int) and not isinstance(n, bool) for n in wanted)
    if not whole or not 1 <= len(wanted) <= 3 or sum(n < 1 for n in wanted) > (-1 in wanted):
        raise site.error("target_shape", got=repr(wanted)[:60], expected="one to three sizes, one of them -1 at most")
    known = value if None not in value.shape else _with_length(site, value, _STAND_IN)
    total = math.prod(known.held_shape())
    rest = math.prod(n for n in wanted if n != -1)
    if (total % rest if -1 in wanted else total != rest) or total > LARGEST:
        raise site.error("target_shape", got=repr(tuple(wanted))[:60], expected=f"the elements of shape {value.shape}")
    shape = tuple(total // rest if n == -1 else n for n in wanted)
    indices = known.indices().reshape(shape)
    length = _length(known, indices)
    if known is value:
        return site.rearranged(value, indices, length)
    # Of an open length only what is held as it was can be said.
    if len(shape) == 1 or shape[length] != _STAND_IN or not _as_held(known, indices, length):
        raise site.error("target_shape", got=f"{tuple(wanted)} of shape {value.shape}", expected="a fixed length")
    open_shape = tuple(None if i == length else n for i, n in enumerate(shape))
    return Value(value.ref, open_shape, "sequence" if len(shape) == 2 else "image", length=length)


def _with_length(site: Site, value: Value, steps: int) -> Value:
    if value.form not in ("sequence", "image") or value.rest.count(None) or value.channels * steps > LARGEST:
        raise site.error("input", got=f"shape {value.shape}", expected="a shape that is fixed but for the length")
    return replace(value, shape=tuple(steps if n is None else n for n in value.shape))


def _as_held(value: Value, indices: np.ndarray, length: int) -> bool:
    """Whether elements that lie so in Keras, with that axis as the length, are held as ``value`` is."""
    held = np.moveaxis(indices, length, -1).ravel()
    steps = value.held_shape()[-1]
    return indices.shape[length] == steps and bool(np.array_equal(held, np.arange(held.size)))


def _length(value: Value, indices: np.ndarray) -> int:
    """Which axis is the length after a reshape: one that keeps everything in place, or else the usual one."""
    if indices.ndim == 1:
        return 0
    free = [axis for axis in range(indices.ndim) if value.form != "vector" and _as_held(value, indices, axis)]
    if free:
        return free[0]
    return 0 if indices.ndim == 2 else int(np.argmax(indices.shape))


@layer("Permute", either_axis=True)
def _permute(site: Site) -> Value:
    value = site.value
    dims = site.get("dims", ())
    whole = isinstance(dims, list | tuple) and all(isinstance(d, int) for d in dims)
    if not whole or sorted(dims) != list(range(1, len(value.shape) + 1)):
        raise site.error("dims", got=repr(dims)[:60], expected=f"the numbers from 1 to {len(value.shape)}")
    order = [d - 1 for d in dims]
    shape: Shape = tuple(value.shape[axis] for axis in order)
    if value.form == "vector":
        return value
    if value.form == "tensor":
        return replace(value, ref=site.function("torch.permute", value.ref, (0, *dims)), shape=shape)
    length = order.index(value.length)
    moved = [axis for axis in order if axis != value.length and value.shape[axis] != 1]
    if moved == sorted(moved):  # only the length changes its place among the axes, and that is no matter
        return replace(value, shape=shape, length=length)
    return site.rearranged(value, value.indices().transpose(order), length)


@layer("RepeatVector")
def _repeat(site: Site) -> Value:
    value = site.as_keras(site.need("vector"))
    count = site.integer("n")
    if count < 1 or count * value.channels > LARGEST:
        raise site.error("n", got=count, expected="a number of positions")
    made = site.function("Tensor.expand", site.function("torch.unsqueeze", value.ref, 2), -1, -1, count)
    return Value(made, (count, value.channels), "sequence")
