"""Layers that lengthen and shorten: padding with zeros, cropping, repeating positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from rcproof.checkpoints.keras.build import Site, Value, layer
from rcproof.checkpoints.keras.layers.windows import pair, plane, sequence_of, with_sizes


def _ends(site: Site, key: str, found: object) -> tuple[int, int]:
    """What is added or taken at the two ends: two numbers, or one for both."""
    both = [found, found] if isinstance(found, int) else found
    ok = isinstance(both, list | tuple) and len(both) == 2
    if not ok or any(isinstance(n, bool) or not isinstance(n, int) or not 0 <= n < 1 << 31 for n in both):  # type: ignore[attr-defined]
        raise site.error(key, got=repr(found)[:60], expected="one or two whole numbers, for the ends")
    return both[0], both[1]  # type: ignore[index]


def _along_length(site: Site, value: Value, key: str, default: object) -> tuple[int, int]:
    """The two ends of the length of an image; nothing may happen to the other axis."""
    at = plane(site, value)
    found = site.get(key, default)
    both: Sequence[object] = [found, found] if isinstance(found, int) else found
    if not isinstance(both, list | tuple) or len(both) != 2:
        raise site.error(key, got=repr(found)[:60], expected="two pairs of whole numbers")
    if _ends(site, key, both[1 - at.along]) != (0, 0):
        raise site.error(key, got=repr(found)[:60], expected="none along the second axis of an image")
    return _ends(site, key, both[at.along])


@layer("ZeroPadding1D", "ZeroPadding2D", either_axis=True)
def _pad(site: Site) -> Value:
    if site.spec.kind.endswith("1D"):
        value = sequence_of(site)
        ends = _ends(site, "padding", site.get("padding", 1))
    else:
        value = site.need("image")
        ends = _along_length(site, value, "padding", 1)
    made = site.module(lambda: nn.ConstantPad1d(ends, 0.0), value.ref)
    steps = None if value.steps is None else value.steps + sum(ends)
    return replace(value, ref=made, shape=with_sizes(value, {value.length: steps}))


@layer("Cropping1D", "Cropping2D", either_axis=True)
def _crop(site: Site) -> Value:
    if site.spec.kind.endswith("1D"):
        value = sequence_of(site)
        left, right = _ends(site, "cropping", site.get("cropping", 1))
    else:
        value = site.need("image")
        left, right = _along_length(site, value, "cropping", 0)
    if value.steps is not None and left + right >= value.steps:
        raise site.error("cropping", got=f"{left} + {right} of {value.steps} positions", expected="fewer")
    if not left and not right:
        return value
    kept = slice(left, -right if right else None)
    made = site.function("operator.getitem", value.ref, (slice(None), slice(None), kept))
    steps = None if value.steps is None else value.steps - left - right
    return replace(value, ref=made, shape=with_sizes(value, {value.length: steps}))


@layer("UpSampling1D", "UpSampling2D", either_axis=True)
def _repeat(site: Site) -> Value:
    """Each position several times."""
    if site.spec.kind.endswith("1D"):
        value = sequence_of(site)
        size = site.integer("size", 2)
    else:
        value = site.need("image")
        at = plane(site, value)
        sizes = pair(site, "size", 2)
        size = sizes[at.along]
        if sizes[1 - at.along] != 1 or site.get("interpolation", "nearest") != "nearest":
            raise site.error("size or interpolation", got=sizes, expected="1 along the second axis, and nearest")
    if not 1 <= size < 1 << 16:
        raise site.error("size", got=size, expected="at least 1")
    made = site.module(lambda: nn.Upsample(scale_factor=size, mode="nearest"), value.ref)
    steps = None if value.steps is None else value.steps * size
    return replace(value, ref=made, shape=with_sizes(value, {value.length: steps}))
