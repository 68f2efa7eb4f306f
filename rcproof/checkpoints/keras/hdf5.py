"""HDF5 files as groups of arrays, read in a process of its own, so that a damaged one can do no harm here."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import struct
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from rcproof.checkpoints.keras.model import Array
from rcproof.errors import CheckpointError

MAGIC = b"\x89HDF\r\n\x1a\n"

#: Packed arrays take at most this many bytes in all, and at most this many times what the file holds of each.
PACKED_BYTES = 4 << 30
PACKED_RATIO = 1000
#: The process that reads takes at most this much memory, and twice the size of the file.
MEMORY = 2 << 30
#: It runs at most this many seconds, and one more for each 10 MB of the file.
SECONDS = 60
#: A header, or the text of one attribute.
TEXT_BYTES = 64 << 20
OBJECTS = 200_000
DEPTH = 64


@dataclass
class Group:
    """A group of a file: its attributes (text, numbers and lists of these), groups and arrays."""

    attrs: dict[str, Any] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    arrays: dict[str, Array] = field(default_factory=dict)

    def texts(self, name: str) -> list[str] | None:
        """An attribute that lists names; Keras cuts long ones into ``name0``, ``name1``, …; None if it is not there."""
        if name in self.attrs:
            found = self.attrs[name]
        elif f"{name}0" in self.attrs:
            found, i = [], 0
            while f"{name}{i}" in self.attrs:
                part = self.attrs[f"{name}{i}"]
                found.extend(part if isinstance(part, list) else [part])
                i += 1
        else:
            return None
        found = found if isinstance(found, list) else [found]
        if not all(isinstance(v, str) for v in found):
            raise CheckpointError(f"attribute {name!r}", got="something other than names")
        return list(found)

    def group(self, path: str) -> Group | None:
        """The group at a path, or None."""
        found: Group | None = self
        for part in path.split("/"):
            found = found.groups.get(part) if found is not None else None
        return found

    def array(self, path: str) -> Array | None:
        """The array at a path, or None."""
        folder, _, name = path.rpartition("/")
        found = self.group(folder) if folder else self
        return None if found is None else found.arrays.get(name)


def is_hdf5(path: Path) -> bool:
    """Whether a file begins as HDF5 does, perhaps after a block of the user's."""
    with path.open("rb") as handle:
        for offset in (0, 512, 1024, 2048):
            handle.seek(offset)
            if handle.read(len(MAGIC)) == MAGIC:
                return True
    return False


def read_hdf5(path: Path, name: str | None = None) -> Group:
    """All groups and arrays of an HDF5 file but the optimizer's.

    ``name``: what to call the file in errors. Links and arrays that lead out of the file are refused, as are arrays
    that are larger than the file makes plausible. Raises :class:`~rcproof.errors.CheckpointError` for these, for a
    damaged file, for one that takes too long, and if h5py is not installed.
    """
    name = repr(str(path)) if name is None else name
    spec = importlib.util.find_spec("h5py")
    if spec is None or spec.origin is None:
        raise CheckpointError(
            f"{name} is an HDF5 file, and h5py is not installed", fix="run pip install 'rcproof[keras]'"
        )
    if not sys.executable:
        raise CheckpointError(f"{name} cannot be read", got="no Python that could run as a process of its own")
    size = path.stat().st_size
    limits = {
        "memory": MEMORY + 2 * size,
        "seconds": SECONDS + size // 10_000_000,
        "plain": size,
        "packed": PACKED_BYTES,
        "ratio": PACKED_RATIO,
        "text": TEXT_BYTES,
        "objects": OBJECTS,
        "depth": DEPTH,
    }
    # The child sees no environment of Python's and no folder of the user's, so it is told where h5py is.
    search = sorted({str(Path(o).parent.parent) for o in (spec.origin, np.__file__)})
    task = json.dumps({"path": os.fsdecode(path.absolute()), "limits": limits, "search": search})
    script = Path(__file__).with_name("hdf5_child.py")
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("HDF5_", "PYTHON"))},
        "HDF5_PLUGIN_PRELOAD": "::",  # no filter is loaded from a shared library
        "HDF5_USE_FILE_LOCKING": "FALSE",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            [sys.executable, "-I", str(script), task],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
        )
        late = threading.Event()

        def stop() -> None:
            late.set()
            child.kill()

        timer = threading.Timer(limits["seconds"], stop)
        timer.start()
        try:
            assert child.stdout is not None
            return _receive(child.stdout, size)
        except _Cut as cut:
            child.kill()
            child.wait()
            if late.is_set():
                raise CheckpointError(
                    f"{name} is damaged, or too large", got=f"no end after {limits['seconds']} seconds of reading"
                ) from None
            errors.seek(0)
            told = errors.read(2000).decode("utf-8", "replace").strip().splitlines()
            reason = cut.reason or (told[-1][:300] if told else f"the HDF5 library stopped with {child.returncode}")
            raise CheckpointError(f"{name} is damaged, or is no HDF5 file of Keras", got=reason) from None
        finally:
            timer.cancel()
            child.kill()
            child.wait()
            if child.stdout is not None:
                child.stdout.close()


class _Cut(Exception):
    """The child said no, or no more."""

    def __init__(self, reason: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason


def _receive(stream: IO[bytes], size: int) -> Group:
    """What the child writes; believed no further than its form goes."""
    (length,) = struct.unpack("<Q", _exactly(stream, 8))
    if length > 2 * TEXT_BYTES:
        raise _Cut("a header that is too long")
    try:
        header = json.loads(_exactly(stream, length))
    except (ValueError, RecursionError):
        raise _Cut("a header that is damaged") from None
    if "error" in header:
        raise _Cut(str(header["error"]))
    arrays, total = [], 0
    for kind, shape in header["arrays"]:
        dtype = np.dtype("<u2" if kind == "bfloat16" else kind)
        total += math.prod(shape) * dtype.itemsize
        if total > size + PACKED_BYTES:
            raise _Cut("arrays that are too large")
        made = np.empty(math.prod(shape), dtype)
        _fill(stream, made.view(np.uint8).data)
        if kind == "bfloat16":
            made = (made.astype("<u4") << 16).view("<f4")
        arrays.append(made.reshape(shape))
    return _group(header["root"], arrays)


def _group(told: dict[str, Any], arrays: list[Array]) -> Group:
    return Group(
        told["attrs"],
        {name: _group(inside, arrays) for name, inside in told["groups"].items()},
        {name: arrays[i] for name, i in told["arrays"].items()},
    )


def _exactly(stream: IO[bytes], count: int) -> bytes:
    made = bytearray(count)
    _fill(stream, memoryview(made))
    return bytes(made)


def _fill(stream: IO[bytes], into: memoryview) -> None:
    done = 0
    while done < len(into):
        count = stream.readinto(into[done:])  # type: ignore[attr-defined]
        if not count:
            raise _Cut
        done += count
