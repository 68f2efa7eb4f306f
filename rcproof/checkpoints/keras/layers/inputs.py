"""Inputs: what Keras calls (L, C) comes in as (C, L), and so does (C, L) if the layers read it so."""

from __future__ import annotations

from dataclasses import replace

from rcproof.checkpoints.keras.build import Site, Value, layer

#: The sizes of an axis that holds bases.
BASES = 4


@layer("InputLayer", either_axis=True)
def _input(site: Site) -> Value:
    shape = tuple(site.get("shape", ()))
    ref = site.graph.input(site.spec.name)
    if len(shape) == 1:
        return Value(ref, shape, "vector")
    first = _data_format(site) == "channels_first"
    if len(shape) == 2:
        # Four long positions, to Keras, are bases: such networks begin with a Permute.
        bases_first = shape[0] == BASES and (shape[1] is None or shape[1] > BASES)
        return Value(ref, shape, "sequence", length=1 if first or bases_first else 0)
    if len(shape) == 3:
        return replace(Value(ref, shape, "image"), length=_length_axis(site, shape, first))
    raise site.error("shape", got=shape, expected="one, two or three axes beside the batch")


def _data_format(site: Site) -> str:
    """Where the channels of the input are: as the first layer on the way that knows such a thing has it."""
    calls = site.model.calls
    reached = {next(i for i, call in enumerate(calls) if call is site.call)}
    for i, call in enumerate(calls):
        if i in reached or any(source.call in reached for source in call.inputs):
            found = site.model.layers[call.layer].config.get("data_format")
            if isinstance(found, str):
                return found
            reached.add(i)
    return "channels_last"


def _length_axis(site: Site, shape: tuple[int | None, ...], first: bool) -> int:
    """Which axis of an image is the length: the only one that is neither 1 nor the bases, or the only spatial one."""
    long = [i for i in range(3) if shape[i] not in (1, BASES)]
    if len(long) == 1:
        return long[0]
    channel = 0 if first else 2
    long = [i for i in range(3) if i != channel and shape[i] != 1]
    if len(long) != 1:
        raise site.error(
            "an image as input",
            got=f"shape {shape}",
            expected="one spatial axis of size 1, or of size 4 with one channel",
        )
    return long[0]
