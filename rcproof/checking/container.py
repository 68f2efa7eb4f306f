"""The bytes of a converted file, read without the package that wrote it: safetensors is a length, JSON, and bytes."""

from __future__ import annotations

import hashlib
import json
import math
import mmap
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from rcproof.errors import CheckpointError
from rcproof.files import PathLike, existing

#: No header of ours is nearly as long; a hostile file may state any length, and JSON takes many times its own memory.
LONGEST_HEADER = 1 << 25

#: The names of dtypes in the file, and in torch, whose names the hashes are made with.
DTYPES = {
    "F64": ("float64", 8), "F32": ("float32", 4), "F16": ("float16", 2), "BF16": ("bfloat16", 2),
    "I64": ("int64", 8), "I32": ("int32", 4), "I16": ("int16", 2), "I8": ("int8", 1), "U8": ("uint8", 1),
    "BOOL": ("bool", 1),
}  # fmt: skip

#: The bits of the exponent, all of them set in NaN and infinity.
_EXPONENTS: dict[str, np.unsignedinteger[Any]] = {
    "float64": np.uint64(0x7FF0 << 48), "float32": np.uint32(0x7F80 << 16), "float16": np.uint16(0x7C00),
    "bfloat16": np.uint16(0x7F80),
}  # fmt: skip


@dataclass(frozen=True)
class Stored:
    """A tensor as it lies in the file: its dtype by torch's name, its shape, and its bytes."""

    dtype: str
    shape: tuple[int, ...]
    data: memoryview

    def sha256(self, data: bytes | memoryview | None = None, shape: tuple[int, ...] | None = None) -> str:
        """sha256 over dtype, shape and little-endian bytes; of a part, if its bytes and shape are given."""
        digest = hashlib.sha256(f"torch.{self.dtype}{self.shape if shape is None else shape}".encode())
        digest.update(self.data if data is None else data)
        return digest.hexdigest()

    @property
    def finite(self) -> bool:
        """Whether it holds neither NaN nor infinity."""
        exponent = _EXPONENTS.get(self.dtype)
        if exponent is None:
            return True
        width = exponent.dtype.itemsize
        words = np.frombuffer(self.data, exponent.dtype)
        step = (1 << 18) // width  # a piece of it stays in the cache
        return not any(bool(((words[i : i + step] & exponent) == exponent).any()) for i in range(0, len(words), step))


@dataclass(frozen=True)
class Hashes:
    """The sha256 of every tensor, on the way."""

    pending: dict[str, Future[str]]

    def result(self) -> dict[str, str]:
        """All of them."""
        return {name: future.result() for name, future in self.pending.items()}

    def cancel(self) -> None:
        """Leave those that nobody has begun."""
        for future in self.pending.values():
            future.cancel()


@dataclass(frozen=True)
class Container:
    """What lies in a safetensors file: free metadata, and tensors by name."""

    metadata: dict[str, str]
    tensors: dict[str, Stored]

    @contextmanager
    def hashing(self) -> Iterator[Hashes]:
        """Begin to hash every tensor, two at a time, largest first (hashing leaves the interpreter free)."""
        with ThreadPoolExecutor(2) as pool:
            order = sorted(self.tensors, key=lambda name: -len(self.tensors[name].data))
            hashes = Hashes({name: pool.submit(self.tensors[name].sha256) for name in order})
            try:
                yield hashes
            finally:
                hashes.cancel()


@contextmanager
def opened(path: PathLike) -> Iterator[Container]:
    """The contents of a safetensors file, mapped, not copied; every offset is checked before it is used.

    Raises :class:`~rcproof.errors.CheckpointError` for a file that is damaged: bytes that no tensor or two tensors
    claim, a size that does not fit the shape, a header that is no JSON.
    """
    found = existing(path)
    views: list[memoryview] = []
    with found.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        whole = memoryview(mapped)
        views.append(whole)
        try:
            yield _parse(whole, str(path), views)
        finally:
            for view in reversed(views):
                view.release()


def _parse(whole: memoryview, path: str, views: list[memoryview]) -> Container:
    def damaged(what: str) -> CheckpointError:
        return CheckpointError(f"{path!r} is no safetensors file, or is damaged", got=what)

    if len(whole) < 9:
        raise damaged(f"{len(whole)} bytes")
    length = int.from_bytes(whole[:8], "little")
    if length > min(len(whole) - 8, LONGEST_HEADER):
        raise damaged(f"a header of {length} bytes in a file of {len(whole)}")
    try:
        header: Any = read_json(bytes(whole[8 : 8 + length]))
        metadata = header.pop("__metadata__", {})
        if not all(isinstance(v, str) for v in metadata.values()):
            raise TypeError("metadata that are no text")
        spans = []
        tensors = {}
        for name, item in header.items():
            if set(item) != {"dtype", "shape", "data_offsets"}:
                raise KeyError(f"tensor {name!r} with {', '.join(sorted(item))}")
            dtype, width = DTYPES[item["dtype"]]
            shape = tuple(item["shape"])
            start, stop = item["data_offsets"]
            if not all(type(n) is int and 0 <= n < 1 << 63 for n in (*shape, start, stop)):
                raise ValueError(f"tensor {name!r} of sizes that are no sizes")
            numbers = 1
            for n in shape:
                numbers *= n
            if not 0 <= start <= stop <= len(whole) - 8 - length or stop - start != numbers * width:
                raise ValueError(f"tensor {name!r} at {start} to {stop}")
            view = whole[8 + length + start : 8 + length + stop]
            views.append(view)
            tensors[name] = Stored(dtype, shape, view)
            spans.append((start, stop))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise damaged(f"{type(error).__name__}: {str(error)[:200]}") from None
    at = 0
    for start, stop in sorted(spans):
        if start != at:
            raise damaged("bytes that no tensor or more than one claims")
        at = stop
    if at != len(whole) - 8 - length:
        raise damaged("bytes after the last tensor")
    return Container(metadata, tensors)


def read_json(text: str | bytes) -> Any:
    """JSON as a file of ours has it: no key twice, and no number that is none.

    Readers differ in which of two keys they take, so a file with both could show each reader another network. Raises
    ValueError, or RecursionError where it is nested beyond reason.
    """
    return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number, parse_float=_finite)


def _finite(text: str) -> float:
    return float(text) if math.isfinite(float(text)) else _no_number(text)


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} in place of a number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key that is there twice")
    return found
