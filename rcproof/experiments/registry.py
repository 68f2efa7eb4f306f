"""Where every file comes from, and its hash: one registry, a file that does not fit it is refused.

A file is taken from the folder named by ``RCPROOF_DATA`` if that is set, else it is downloaded by pooch into the cache
(``RCPROOF_CACHE``, or the usual place of the system). Its ``form`` says how it relates to its origin:

- ``as is``: the bytes of the origin, at a fixed commit;
- ``gzipped``: the origin compressed; ``origin_sha256`` is the hash of the bytes inside;
- ``derived``: made from the origin in the way that ``path`` names. It has no address, so it is only taken from
  ``RCPROOF_DATA``.
"""

from __future__ import annotations

import csv
import hashlib
import os
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from rcproof.errors import RcproofError

FORMS = ("as is", "gzipped", "derived")


@dataclass(frozen=True)
class Source:
    """One file: its hash, and where it is from."""

    file: str
    sha256: str
    source: str
    commit: str
    path: str
    licence: str
    origin_sha256: str
    form: str

    @property
    def url(self) -> str | None:
        """The address of the origin; None for a derived file."""
        return None if self.form == "derived" else f"https://github.com/{self.source}/raw/{self.commit}/{self.path}"


@cache
def registry() -> dict[str, Source]:
    """Every file that the tasks read, by its name in the data folder."""
    text = files("rcproof.experiments").joinpath("registry.csv").read_text(encoding="utf-8")
    return {row["file"]: Source(**row) for row in csv.DictReader(text.splitlines())}


def cache_folder() -> Path:
    """Where downloads and checkpoints are kept: ``RCPROOF_CACHE``, or the system's place for caches."""
    import pooch

    return Path(os.environ.get("RCPROOF_CACHE") or pooch.os_cache("rcproof"))


def sha256_of(path: Path) -> str:
    """The hash of a file, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fetch(file: str) -> Path:
    """The path of a file of the registry, its hash checked.

    Raises :class:`~rcproof.errors.RcproofError` for a name that is not in the registry, a file that is missing where
    it cannot be downloaded, and a file whose hash is wrong.
    """
    source = registry().get(file)
    if source is None:
        raise RcproofError("data file", got=repr(file), expected="a name of the registry, as rcproof.experiments lists")
    folder = os.environ.get("RCPROOF_DATA")
    if folder:
        path = Path(folder) / file
        if not path.is_file():
            raise RcproofError(f"data file {file!r} is not in the folder that RCPROOF_DATA names", fix=_advice(source))
        found = _hash(path, path.stat().st_size, path.stat().st_mtime_ns)
        if found != source.sha256:
            raise _wrong(file, found, source.sha256)
        return path
    return _download(source)


def provenance(names: tuple[str, ...]) -> dict[str, str]:
    """The registered hash of each file, for result files."""
    return {name: registry()[name].sha256 for name in names}


@cache
def _hash(path: Path, size: int, changed: int) -> str:
    return sha256_of(path)


def _download(source: Source) -> Path:
    import pooch

    if source.url is None:
        raise RcproofError(f"data file {source.file!r} has no address", fix=_advice(source))
    known = source.origin_sha256 or source.sha256
    folder = cache_folder() / "data" / Path(source.file).parent
    name = Path(source.file).name.removesuffix(".gz") if source.form == "gzipped" else Path(source.file).name
    target = folder / name
    if target.is_file() and (found := sha256_of(target)) != known:
        raise _wrong(str(target), found, known)
    try:
        return Path(pooch.retrieve(source.url, known_hash=f"sha256:{known}", fname=name, path=folder))
    except ValueError as problem:  # pooch's word for a wrong hash; the file is deleted
        raise RcproofError(f"data file {source.file!r} from {source.url}", got=str(problem)) from None
    except OSError as problem:
        raise RcproofError(
            f"data file {source.file!r} cannot be downloaded", got=problem, fix=_advice(source)
        ) from None


def _wrong(file: str, found: str, known: str) -> RcproofError:
    return RcproofError(
        f"data file {file!r} is refused: its sha256 is wrong",
        got=found,
        expected=known,
        fix="delete it and get it anew: results of other data are not comparable",
    )


def _advice(source: Source) -> str:
    if source.url is not None:
        return f"get it from {source.url}, or unset RCPROOF_DATA to have it downloaded"
    return f"set RCPROOF_DATA to a folder that holds it: it is made from {source.source} {source.commit}, {source.path}"
