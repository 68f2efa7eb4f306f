"""Files from outside and files we write: read with suspicion, replaced only when the new one is whole."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rcproof.errors import CheckpointError

PathLike = str | os.PathLike[str]


def existing(path: PathLike, what: str = "file") -> Path:
    """``path`` if it is a readable, non-empty file; else one clear line."""
    found = Path(path)
    if not found.exists():
        raise CheckpointError(f"{what} {str(path)!r} does not exist")
    if not found.is_file():
        raise CheckpointError(f"{what} {str(path)!r} is not a file")
    try:
        with found.open("rb") as handle:
            if not handle.read(1):
                raise CheckpointError(f"{what} {str(path)!r} is empty")
    except OSError as error:
        raise CheckpointError(f"{what} {str(path)!r} cannot be read", got=error.strerror) from None
    return found


@contextlib.contextmanager
def replacing(path: PathLike) -> Iterator[Path]:
    """A temporary path beside ``path`` that replaces it if the block succeeds; else ``path`` stays as it was."""
    target = Path(path)
    if target.is_dir():
        raise CheckpointError(f"output {str(path)!r} is a folder", expected="the name of a file")
    if not target.absolute().parent.is_dir():
        raise CheckpointError(f"the folder of output {str(path)!r} does not exist")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.absolute().parent)
    except OSError as error:
        raise CheckpointError(f"output {str(path)!r} cannot be written", got=error.strerror) from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~umask)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, target)
    except OSError as error:
        raise CheckpointError(f"output {str(path)!r} cannot be written", got=error.strerror or str(error)) from None
    finally:
        temporary.unlink(missing_ok=True)
