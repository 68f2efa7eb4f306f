"""Inputs: what Keras calls (L, C) comes in as (C, L)."""

from __future__ import annotations

from dataclasses import replace

from rcproof.checkpoints.keras.build import Site, Value, layer

#: The sizes of an axis that holds bases.
BASES = 4


@layer("InputLayer")
def _input(site: Site) -> Value:
    shape = tuple(site.get("shape", ()))
    ref = site.graph.input(site.spec.name)
    if len(shape) == 1:
        return Value(ref, shape, "vector")
    if len(shape) == 2:
        return Value(ref, shape, "sequence")
    if len(shape) == 3:
        return replace(Value(ref, shape, "image"), length=_length_axis(site, shape))
    raise site.error("shape", got=shape, expected="one, two or three axes beside the batch")


def _length_axis(site: Site, shape: tuple[int | None, ...]) -> int:
    """Which axis of an image is the length: the spatial one that is neither 1 nor the bases."""
    first = site.get("data_format", "channels_last") == "channels_first"
    channel = 0 if first else 2
    spatial = [i for i in range(3) if i != channel]
    long = [i for i in spatial if shape[i] != 1]
    if len(long) == 2 and shape[channel] == 1:
        long = [i for i in spatial if shape[i] != BASES]
    if len(long) != 1:
        raise site.error(
            "an image as input", got=f"shape {shape}", expected="one spatial axis of size 1, or of size 4 with one channel"
        )
    return long[0]
