"""Lambda layers: what they do is said by the user or seen from where they stand. Their code is never decoded or run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase

from rcproof.checkpoints.keras.build import Shape, Site, Value, layer
from rcproof.checkpoints.keras.layers.inputs import BASES
from rcproof.checkpoints.keras.places import Places, places_of

WORDS = "identity, rc, flip-length, flip-channels, crop:L,R or slice:START,STOP"

#: Layers without weights between an answer and the merge are not followed further.
_FAR = 20

#: A file may declare a shape of any length; one of more axes is only counted.
_MOST_AXES = 8

#: Layers whose answer is that of several values of one shape.
_MERGES = {"Add", "Average", "Maximum", "Minimum", "Multiply", "Concatenate", "Merge"}


@layer("Lambda")
def _lambda(site: Site) -> Value:
    name = site.spec.name
    if len(site.inputs) != 1:
        raise site.error("a Lambda of several values, whose code is not run", got=f"{len(site.inputs)} inputs")
    said = _said(site.options.lambdas if site.options is not None else {}, name)
    if said is not None:
        return _check(site, apply(site, site.value, said))
    seen = _seen(site)
    if seen is None:
        shape = _declared(site)
        shown = "unknown" if shape is None else f"{len(shape)} axes" if len(shape) > _MOST_AXES else str(shape)
        raise site.error(
            "a Lambda, whose code is not run",
            got=f"input of shape {site.value.shape}, output of shape {shown}",
            expected="to be told what it does",
            fix=f"say --lambda {name}=WORD, where WORD is {WORDS}",
        )
    word, why = seen
    _note(site, word, why)
    return _check(site, apply(site, site.value, word))


def _note(site: Site, word: str, why: str) -> None:
    """One line for each Lambda, and one for all that crop."""
    name = site.spec.name
    said: set[str] = site.kept.setdefault(" lambdas", set())
    if name in said:
        return
    said.add(name)
    if not word.startswith("crop"):
        site.notes.append(f"Lambda {name!r} is taken for {word}: {why}; if it is not, say --lambda {name}=WORD")
        return
    line: int = site.kept.setdefault(" crops", len(site.notes))
    crops: list[str] = site.kept.setdefault(" cropping", [])
    crops.append(name)
    more = ", …" if len(crops) > 3 else ""
    who = f"Lambda {name!r} is" if len(crops) == 1 else f"{len(crops)} Lambdas ({', '.join(crops[:3])}{more}) are"
    note = (
        f"{who} taken for a crop of as much at both ends, to the length that the file declares; "
        "if one is not, say --lambda NAME=crop:L,R"
    )
    site.notes[line : line + 1] = [note]


def apply(site: Site, value: Value, word: str) -> Value:
    """``value`` after ``identity``, ``rc``, ``flip-length``, ``flip-channels``, ``crop:L,R`` or ``slice:START,STOP``.

    ``rc`` reverses every axis but the batch, of a sequence (L, C) or a vector (C,); the others but ``flip-channels``
    need a sequence. Raises :class:`~rcproof.errors.CheckpointError` for another word, and for a value that it does
    not fit.
    """
    kind, _, rest = word.partition(":")
    if word == "identity":
        return value
    if word == "flip-length" or kind in ("crop", "slice"):
        if value.form != "sequence":
            raise site.error(f"{word} of shape {value.shape}", expected="a sequence (L, C)")
        if word == "flip-length":
            return replace(value, ref=site.function("torch.flip", value.ref, (2,)))
        return _cut(site, value, kind, _two_numbers(site, word, rest))
    if word not in ("rc", "flip-channels"):
        raise site.error("what a Lambda does", got=repr(word)[:60], expected=WORDS)
    if value.form == "tensor" or sum(n != 1 for n in value.rest) > 1:
        raise site.error(f"{word} of shape {value.shape}", expected="a sequence (L, C) or a vector (C,)")
    value = site.as_keras(value) if value.form == "vector" else value
    axes = (1, 2) if value.form != "vector" and word == "rc" else (1,)
    return replace(value, ref=site.function("torch.flip", value.ref, axes))


def _two_numbers(site: Site, word: str, text: str) -> tuple[int, int]:
    try:
        first, second = (int(v) for v in text.split(","))
    except ValueError:
        kind = word.partition(":")[0]
        raise site.error("what a Lambda does", got=repr(word)[:60], expected=f"{kind}: and two whole numbers") from None
    return first, second


def _cut(site: Site, value: Value, kind: str, numbers: tuple[int, int]) -> Value:
    first, second = numbers
    if kind == "crop":
        if min(numbers) < 0:
            raise site.error("crop", got=f"crop:{first},{second}", expected="no negative numbers")
        window = slice(first, -second if second else None)
    else:
        window = slice(first, second)
    steps = value.steps
    if steps is None and kind == "slice":
        raise site.error("slice of a sequence whose length the file leaves open", fix="say crop:L,R instead")
    length = None if steps is None else len(range(*window.indices(steps)))
    if length == 0:
        raise site.error(f"{kind}:{first},{second}", got=f"{steps} positions", expected="some to be left")
    ref = site.function("operator.getitem", value.ref, (slice(None), slice(None), window))
    return replace(value, ref=ref, shape=(length, value.shape[1]))


def _said(lambdas: Mapping[str, str], name: str) -> str | None:
    """What the user says of a layer: by its name first, then by the first pattern that fits."""
    short = name.rpartition("/")[2]
    for known in (name, short):
        if known in lambdas:
            return lambdas[known]
    return next((word for key, word in lambdas.items() if fnmatchcase(name, key) or fnmatchcase(short, key)), None)


def _declared(site: Site) -> Shape | None:
    """The shape that the file says comes out, without the batch."""
    found = site.get("output_shape")
    if not isinstance(found, list | tuple) or not found:
        return None
    if any(isinstance(n, bool) or not (n is None or isinstance(n, int)) for n in found):
        return None
    return tuple(found)


def _check(site: Site, made: Value) -> Value:
    """``made``, whose shape must be the declared one."""
    declared = _declared(site)
    if declared is None:
        return made
    fits = len(declared) == len(made.shape) and all(
        a == b or a is None or b is None for a, b in zip(declared, made.shape, strict=True)
    )
    if not fits:
        raise site.error("what this Lambda is taken to do", got=f"shape {made.shape}", expected=f"shape {declared}")
    return made


# -- what is seen from where it stands -------------------------------------------------------------------


def _seen(site: Site) -> tuple[str, str] | None:
    """What a Lambda does, and why that is thought; None if nothing says it."""
    shape, declared = site.value.shape, _declared(site)
    if declared is not None and declared != shape:
        return _crop(site.value, declared)
    if (key := f" seen {site.spec.name}") not in site.kept:
        places = places_of(site)
        # One layer is one function: what is seen at any of its calls holds for all.
        found = {seen[0]: seen for i in places.of_layer[site.spec.name] if (seen := _at(places, i)) is not None}
        site.kept[key] = next(iter(found.values())) if len(found) == 1 else None
    known: tuple[str, str] | None = site.kept[key]
    return known


def _crop(value: Value, declared: Shape) -> tuple[str, str] | None:
    """A shorter sequence with the same channels: the middle, if that is one."""
    if value.form != "sequence" or len(declared) != 2 or declared[1] != value.shape[1]:
        return None
    before, after = value.steps, declared[0]
    if before is None or after is None or not 0 < after < before or (before - after) % 2:
        return None
    half = (before - after) // 2
    return f"crop:{half},{half}", "the file declares the length"


def _at(places: Places, place: int) -> tuple[str, str] | None:
    source = places.model.calls[place].inputs[0].call
    given = places.model.layers[places.model.calls[source].layer]
    if given.kind == "InputLayer":
        return _of_input(places, place, source, tuple(given.config.get("shape", ())))
    return _of_answer(places, place)


def _of_input(places: Places, place: int, source: int, shape: Shape) -> tuple[str, str] | None:
    model = places.model
    name = model.calls[source].layer
    for reader in places.readers[place]:
        call = model.calls[reader]
        if places.kind(reader) == "Concatenate":
            parts = [s.call for s in call.inputs]
            mirrored = [i for i, p in enumerate(parts) if p == place and parts[-1 - i] == source]
            if mirrored and _last_axis(model.layers[call.layer].config, len(shape)):
                # Control tracks of an RCPS network: their channels are put on both sides, mirrored.
                return "flip-channels", f"{call.layer!r} joins it and the input {name!r} in mirrored places"
    if shape == (1,):
        return "identity", f"the input {name!r} is one number"
    if len(shape) == 2 and shape[1] == BASES:
        return "rc", f"it reads the input {name!r}, of four channels"
    return None


def _last_axis(config: Mapping[str, object], axes: int) -> bool:
    return config.get("axis", config.get("concat_axis", -1)) in (-1, axes)


def _of_answer(places: Places, place: int) -> tuple[str, str] | None:
    """The answer for the second strand, turned back before it is merged with that for the first.

    It comes from the second call of a layer whose first call goes into the same merge without a Lambda.
    """
    calls = places.model.calls
    own = _origin(places, calls[place].inputs[0].call)
    if own is None:
        return None
    for reader in places.readers[place]:
        if places.kind(reader) in _MERGES:
            for part in calls[reader].inputs:
                other = _origin(places, part.call)
                if other is not None and other != own and calls[other].layer == calls[own].layer:
                    return "rc", f"{calls[reader].layer!r} merges it with another answer of {calls[own].layer!r}"
    return None


def _origin(places: Places, place: int) -> int | None:
    """The call of a layer with weights that a value comes from, through layers that have none; not through a Lambda."""
    for _ in range(_FAR):
        call = places.model.calls[place]
        spec = places.model.layers[call.layer]
        if spec.weights or spec.inner or spec.kind in _MERGES:
            return place
        if spec.kind == "Lambda" or len(call.inputs) != 1:
            return None
        place = call.inputs[0].call
    return None
