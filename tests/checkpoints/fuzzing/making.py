"""A sound file, and all that can be done to it whatever its format is."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.checkpoints.fuzzing import pickles, raw, zips

#: Files of one case by name; ``-> PATH`` is a link to there.
Files = dict[str, bytes | str]
Change = Callable[[random.Random], tuple[str, Files]]

SCORE = "tests.checkpoints.fuzzing.torch_nets:Score"


@dataclass
class Seed:
    """A sound file and its mutants.

    Attributes:
        format: a row of the table.
        main: the name of the file to read, among ``files``.
        options: what :class:`~rcproof.checkpoints.imported.ReadOptions` takes; ``architecture`` is one of ``files``.
        shapes: of the inputs, where a network does not say them.
        reserves: torch reserves memory for such a file by its own word, and never touches it; the system may refuse.
        changes: kinds of random damage, each with its weight.
        crafted: made on purpose, each once.
    """

    format: str
    main: str
    files: Files
    shapes: tuple[tuple[int, ...], ...]
    options: dict[str, Any] = field(default_factory=dict)
    reserves: bool = False
    changes: list[tuple[float, Change]] = field(default_factory=list)
    crafted: dict[str, Callable[[], Files]] = field(default_factory=dict)

    def draw(self, rng: random.Random) -> tuple[str, Files]:
        """Some random damage."""
        weights, changes = zip(*self.changes, strict=True)
        return rng.choices(changes, weights)[0](rng)  # type: ignore[no-any-return]

    def bytes_of(self, name: str) -> bytes:
        """One of its files."""
        data = self.files[name]
        assert isinstance(data, bytes)
        return data

    def instead(self, data: bytes | str, name: str | None = None) -> Files:
        """Its files with another one in the place of one."""
        return {**self.files, name or self.main: data}


@dataclass(frozen=True)
class Danger:
    """Where nothing may ever appear: ``marker`` is a folder that payloads make, ``outside`` a path that names lead to.

    ``secret`` is a file that no reader may open because a file says so.
    """

    marker: str
    outside: str
    secret: str


def damage(seed: Seed, weight: float, name: str | None = None) -> None:
    data = seed.bytes_of(name or seed.main)

    def change(rng: random.Random) -> tuple[str, Files]:
        what, made = raw.damaged(rng, data)
        return what, seed.instead(made, name)

    seed.changes.append((weight, change))


def pickles_everywhere(seed: Seed, danger: Danger) -> None:
    """Whole files that are pickles, whatever the name says."""
    for how, data in pickles.payloads(danger.marker).items():
        seed.crafted[f"a pickle, {how}"] = lambda data=data: seed.instead(data)
        seed.crafted[f"a file of torch, {how}"] = lambda data=data: seed.instead(pickles.archive_with(data, ""))
        seed.crafted[f"an old file of torch, {how}"] = lambda data=data: seed.instead(pickles.legacy_with(data))
    array = io.BytesIO()
    np.save(array, np.array([pickles.Touch(danger.marker)], object), allow_pickle=True)
    seed.crafted["an array of numpy with objects"] = lambda: seed.instead(array.getvalue())


def zip_tricks(seed: Seed, names: list[str], danger: Danger) -> None:
    content = zips.members(seed.bytes_of(seed.main))
    for name in names:
        for what, trick in zips.TRICKS.items():
            seed.crafted[f"{name}: {what}"] = lambda trick=trick, name=name: seed.instead(
                trick(content, name, danger.outside)
            )
    payloads = pickles.payloads(danger.marker)
    for name in content:
        others = {k: v for k, v in content.items() if k != name}
        seed.crafted[f"without {name}"] = lambda others=others: seed.instead(zips.zipped(others))
        seed.crafted[f"{name} is empty"] = lambda name=name: seed.instead(zips.zipped({**content, name: b""}))
        for how in payloads if name in names else ["mkdir"]:
            seed.crafted[f"{name} is a pickle, {how}"] = lambda name=name, how=how: seed.instead(
                zips.zipped({**content, name: payloads[how]})
            )

    def change(rng: random.Random) -> tuple[str, Files]:
        found: list[str] = []

        def damage(r: random.Random, data: bytes) -> bytes:
            what, made = raw.damaged(r, data or b"\0")
            found.append(what)
            return made

        return f"entry {found}"[:0] + "an entry, damaged", seed.instead(zips.mutated(rng, content, damage))

    seed.changes.append((1.5, change))
