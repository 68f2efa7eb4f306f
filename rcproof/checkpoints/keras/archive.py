"""``.keras`` files: zip archives of a configuration and an HDF5 file of weights."""

from __future__ import annotations

import contextlib
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from rcproof.checkpoints.keras import documents, hdf5
from rcproof.errors import CheckpointError

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"

#: An archive may hold assets too, which are not looked at; but not more entries than this.
ENTRIES = 10_000
_CHUNK = 1 << 20


class Archive:
    """An open ``.keras`` file. No name in it is ever used as a path."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._told():
            self._zip = zipfile.ZipFile(path)
            listed = self._zip.infolist()
        names = [info.filename for info in listed]
        if len(names) > ENTRIES:
            raise CheckpointError(f"{str(path)!r}", got=f"{len(names)} entries", expected=f"at most {ENTRIES}")
        self._entries = {info.filename: info for info in listed}
        for name in (CONFIG, METADATA, WEIGHTS):
            if names.count(name) > 1:
                raise CheckpointError(f"{str(path)!r} is damaged", got=f"two entries {name!r}")
        if CONFIG not in self._entries:
            raise CheckpointError(
                f"{str(path)!r} is no file of Keras", got="a zip archive", expected=f"an entry {CONFIG!r} in it"
            )

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def text(self, name: str) -> bytes | None:
        """A short entry; None if it is not there."""
        if name not in self._entries:
            return None
        made = bytearray()
        for part in self._parts(name, documents.LONGEST):
            made += part
        return bytes(made)

    @contextlib.contextmanager
    def weights(self) -> Iterator[Path]:
        """The weights as a file, for as long as the block runs."""
        if WEIGHTS not in self._entries:
            found = ", ".join(name for name in self._entries if name.startswith("model."))[:100] or "no weights"
            raise CheckpointError(f"{str(self.path)!r}", got=found, expected=f"an entry {WEIGHTS!r}")
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "weights.h5"
            most = hdf5.PACKED_BYTES + self.path.stat().st_size
            try:
                with target.open("wb") as handle:
                    for part in self._parts(WEIGHTS, most):
                        handle.write(part)
            except OSError as error:
                raise CheckpointError(
                    f"{str(self.path)!r} cannot be unpacked", got=error.strerror or str(error)
                ) from None
            yield target

    def _parts(self, name: str, most: int) -> Iterator[bytes]:
        """An entry bit by bit; an error if it is larger than is told, or than makes sense."""
        info = self._entries[name]
        packed = info.compress_type != zipfile.ZIP_STORED
        if info.file_size > most or (packed and info.file_size > hdf5.PACKED_RATIO * max(info.compress_size, 100)):
            raise CheckpointError(
                f"entry {name!r} of {str(self.path)!r} is too large",
                got=f"{info.file_size} bytes from {info.compress_size}",
                expected=f"at most {most}, and {hdf5.PACKED_RATIO} times what it is packed in",
            )
        with self._told(), self._zip.open(info) as entry:
            left = info.file_size
            while part := entry.read(min(_CHUNK, left + 1)):
                left -= len(part)
                if left < 0:
                    raise zipfile.BadZipFile(f"entry {name!r} is larger than it says")
                yield part
            if left:
                raise zipfile.BadZipFile(f"entry {name!r} is cut short")

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Whatever a damaged archive makes zipfile raise, as one line."""
        try:
            yield
        except CheckpointError:
            raise
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            NotImplementedError,
            RuntimeError,
            ValueError,
            OSError,
        ) as error:
            raise CheckpointError(f"{str(self.path)!r} is a damaged archive", got=str(error)[:200]) from None
