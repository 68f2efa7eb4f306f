"""Pooling along the length, over windows and over all of it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from rcproof.checkpoints.keras.build import LARGEST, Site, Value, layer
from rcproof.checkpoints.keras.layers.windows import Windows, pair, plane, sequence_of, windows, with_sizes
from rcproof.network.graph import Ref


@layer("MaxPooling1D", "AveragePooling1D", either_axis=True)
def _pool(site: Site) -> Value:
    value = sequence_of(site)
    size = site.integer("pool_size", 2)
    laid = windows(site, value.steps, size, site.integer("strides", size), pool=True)
    return _pooled(site, value, laid, laid.count(value.steps))


@layer("MaxPooling2D", "AveragePooling2D")
def _pool2d(site: Site) -> Value:
    """Along the length alone; along the other axis of an image, windows of one row, or the only row there is."""
    value = site.need("image")
    at = plane(site, value)
    sizes = pair(site, "pool_size", 2)
    strides = pair(site, "strides", sizes)
    laid = windows(site, value.steps, sizes[at.along], strides[at.along], pool=True)
    rows, step, height = sizes[1 - at.along], strides[1 - at.along], value.shape[at.other]
    across = windows(site, height, rows, step, pool=True)
    if height != 1 and (rows, step) != (1, 1):
        raise site.error(
            "pooling along both axes", got=f"windows of {rows} over an axis of {height}", expected="one axis of size 1"
        )
    return _pooled(site, value, laid, laid.count(value.steps), across)


def _pooled(site: Site, value: Value, laid: Windows, count: int | None, *also: Windows) -> Value:
    site.keep_same((laid, *also))
    largest = site.spec.kind.startswith("Max")
    size, stride, left, right = laid.size, laid.stride, laid.left, laid.right
    if left == right and left <= size // 2:
        made = _window(site, value.ref, largest, size, stride, left)
    elif not largest and _repeats_ends(site):
        padded = site.function("F.pad", value.ref, (left, right), mode="replicate")
        made = _window(site, padded, largest, size, stride, 0)
    elif right == left + 1 and right <= size // 2:
        # torch pads both sides alike. It can add a window that hangs over the end, or one in front that is dropped.
        if stride > 1:
            made = _window(site, value.ref, largest, size, stride, left, overhang=True)
        else:
            made = _window(site, value.ref, largest, size, stride, right)
            made = site.function("operator.getitem", made, (slice(None), slice(None), slice(1, None)))
    elif largest:
        padded = site.function("F.pad", value.ref, (left, right), value=float("-inf"))
        made = _window(site, padded, largest, size, stride, 0)
    else:
        padded = site.function("F.pad", value.ref, (left, right))
        made = _window(site, padded, largest, size, stride, 0)
        # From means over windows with zeros to sums, and to means over what the windows read of the input.
        counts = site.constant(f"counts_{value.steps}", _counts(site, value, laid))
        made = site.function("torch.div", site.function("torch.mul", made, float(size)), counts)
    return replace(value, ref=made, shape=with_sizes(value, {value.length: count}))


def _repeats_ends(site: Site) -> bool:
    """Whether averages take the ends again for uneven padding: only those of Keras 3 on torch do."""
    if site.spec.generation < 3:
        return False
    torch_wrote_it = site.model.backend.lower() == "torch"
    if not torch_wrote_it:
        site.notes.append(
            f"layer {site.spec.name!r} is taken to average over what its windows read of the input, as on every "
            "backend but torch"
        )
    return torch_wrote_it


def _window(site: Site, x: Ref, largest: bool, size: int, stride: int, padding: int, overhang: bool = False) -> Ref:
    if largest:
        return site.module(lambda: nn.MaxPool1d(size, stride, padding, ceil_mode=overhang), x)
    # Averages are over what a window reads of the input, in Keras; without padding the two are the same.
    return site.module(
        lambda: nn.AvgPool1d(size, stride, padding, ceil_mode=overhang, count_include_pad=not (padding or overhang)), x
    )


def _counts(site: Site, value: Value, laid: Windows) -> torch.Tensor:
    """How many positions of the input each window reads."""
    steps, count = value.steps, laid.count(value.steps)
    if steps is None or count is None or count > LARGEST:
        raise site.error("padding='same' of an average", got=f"a length of {steps}", expected="a fixed one")
    starts = torch.arange(count) * laid.stride - laid.left
    return ((starts + laid.size).clamp(max=steps) - starts.clamp(min=0)).float()


@layer("GlobalMaxPooling1D", "GlobalAveragePooling1D", either_axis=True)
def _global_pool(site: Site) -> Value:
    value = sequence_of(site)
    return _over_all(site, value, with_sizes(value, {value.length: 1}))


@layer("GlobalMaxPooling2D", "GlobalAveragePooling2D")
def _global_pool2d(site: Site) -> Value:
    value = site.need("image")
    at = plane(site, value)
    if value.shape[at.other] != 1:
        raise site.error("image", got=f"shape {value.shape}", expected="one spatial axis of size 1")
    return _over_all(site, value, with_sizes(value, {value.length: 1}))


def _over_all(site: Site, value: Value, shape: tuple[int | None, ...]) -> Value:
    cls = nn.AdaptiveMaxPool1d if "Max" in site.spec.kind else nn.AdaptiveAvgPool1d
    made = site.module(lambda: cls(1), value.ref)
    if site.get("keepdims", False):
        return replace(value, ref=made, shape=shape)
    return Value(site.function("torch.flatten", made, 1), (value.channels,), "vector")
