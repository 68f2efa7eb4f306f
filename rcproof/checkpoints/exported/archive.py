"""The archive of an exported program: a graph as JSON and tensors as bytes, in the layouts that torch has had.

``torch.export.load`` unpickles, and evaluates the symbols in the graph; here the file is read as data. No name in it is
used as a path, and what it says of sizes is held against the bytes that are there before memory is taken.
"""

from __future__ import annotations

import io
import json
import math
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rcproof.checkpoints.importing import Const, guarded
from rcproof.errors import CheckpointError

#: A graph may take so many bytes of JSON: tens of thousands of steps.
LARGEST_GRAPH = 64 << 20
#: An archive may have so many entries: each weight is one.
MOST_ENTRIES = 100_000
#: A tensor that repeats its elements may be larger than what is stored, up to so many elements.
_REPEATED = 1 << 20

#: The numbers that the schema of torch.export gives to dtypes.
DTYPES = {
    1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64, 6: torch.float16,
    7: torch.float32, 8: torch.float64, 12: torch.bool, 13: torch.bfloat16,
}  # fmt: skip


@dataclass(frozen=True)
class Archive:
    """An exported program as data.

    Attributes:
        program: the graph and its signature, as in the schema of torch.export.
        tensors: parameters and buffers, by their names in the module.
        constants: tensors that are neither, by their names in the program.
        version: the torch that wrote it.
    """

    program: Mapping[str, Any]
    tensors: Mapping[str, Const]
    constants: Mapping[str, Const]
    version: str


def read_archive(path: Path) -> Archive:
    """Read an archive of any layout; :class:`~rcproof.errors.CheckpointError` in one line for what is none."""
    return guarded(lambda: _read(path), path)


def _read(path: Path) -> Archive:
    try:
        with zipfile.ZipFile(path) as file:
            entries = _Entries(file, path)
            if "serialized_exported_program.json" in entries.names:
                return _old(entries)
            return _new(entries)
    except (zipfile.BadZipFile, OSError, NotImplementedError, EOFError) as error:
        raise CheckpointError(f"{str(path)!r} is damaged", got=f"a broken zip file: {error}") from None


class _Entries:
    """What is in the archive, by name."""

    def __init__(self, file: zipfile.ZipFile, path: Path) -> None:
        self.file, self.path, self.total = file, path, 0
        infos = file.infolist()
        if len(infos) > MOST_ENTRIES:
            raise CheckpointError(f"{str(path)!r}", got=f"{len(infos)} entries", expected=f"at most {MOST_ENTRIES}")
        self.names = {info.filename: info for info in infos}
        if len(self.names) < len(infos):
            raise CheckpointError(f"{str(path)!r} is damaged", got="two entries of one name")

    def read(self, name: str, largest: int | None = None) -> bytes:
        """The bytes of an entry, their checksum checked."""
        info = self.names.get(name)
        if info is None:
            raise CheckpointError(f"{str(self.path)!r} is damaged", got=f"no entry {name[:80]!r}")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size or info.flag_bits & 1:
            raise CheckpointError(
                f"entry {name[:80]!r} of {str(self.path)!r}", got="compressed", expected="plain bytes"
            )
        if largest is not None and info.file_size > largest:
            raise CheckpointError(
                f"entry {name[:80]!r} of {str(self.path)!r}",
                got=f"{info.file_size} bytes",
                expected=f"at most {largest}",
            )
        self.total += info.file_size  # entries could share bytes
        if self.total > self.path.stat().st_size:
            raise CheckpointError(f"{str(self.path)!r} is damaged", got="entries larger than the file")
        return self.file.read(info)

    def json(self, name: str) -> Any:
        """A JSON document."""
        return json.loads(self.read(name, LARGEST_GRAPH))


def _new(entries: _Entries) -> Archive:
    """The layout of ``torch.export.save`` from torch 2.8 on: a folder with models and data."""
    path = entries.path
    root = next((name.removesuffix("archive_format") for name in entries.names if name.endswith("/archive_format")), "")
    if not root or entries.read(f"{root}archive_format", 100) != b"pt2":
        raise CheckpointError(f"{str(path)!r} is no exported program", fix="write it with torch.export.save")
    start = f"{root}models/"
    models = [n[len(start) : -len(".json")] for n in entries.names if n.startswith(start) and n.endswith(".json")]
    if len(models) != 1:
        compiled = any(name.startswith(f"{root}data/aotinductor/") for name in entries.names)
        raise CheckpointError(
            f"{str(path)!r}",
            got="compiled code, which is not run" if compiled and not models else f"{len(models)} programs",
            expected="one exported program",
            fix="write it with torch.export.save",
        )
    order = f"{root}byteorder"
    if order in entries.names and entries.read(order, 100) != b"little":
        raise CheckpointError(f"{str(path)!r}", got="big-endian tensors", fix="export it on another machine")
    model = models[0]
    program = entries.json(f"{start}{model}.json")
    found = []
    for folder in ("weights", "constants"):
        whole, config = f"{root}data/{folder}/{model}.pt", f"{root}data/{folder}/{model}_{folder}_config.json"
        if whole in entries.names:  # torch 2.8
            found.append(_loaded(entries, whole))
        else:
            found.append(_raw(entries, f"{root}data/{folder}/", entries.json(config)["config"]))
    return Archive(program, found[0], found[1], str(program.get("torch_version", ""))[:40])


def _old(entries: _Entries) -> Archive:
    """The layout of torch 2.1 to 2.7: a few files side by side."""
    program = entries.json("serialized_exported_program.json")
    tensors = []
    for name in ("serialized_state_dict", "serialized_constants"):
        if f"{name}.pt" not in entries.names:
            raise CheckpointError(
                f"{str(entries.path)!r} is of an old layout",
                got=f"no {name}.pt",
                fix="export it with torch 2.6 or later",
            )
        tensors.append(_loaded(entries, f"{name}.pt"))
    return Archive(program, tensors[0], tensors[1], str(program.get("torch_version", ""))[:40])


# -- tensors ----------------------------------------------------------------------------------------------


def _raw(entries: _Entries, folder: str, config: Mapping[str, Any]) -> dict[str, Const]:
    """Tensors stored as plain bytes, each with its shape beside it; tensors that share bytes stay one."""
    storages: dict[tuple[str, torch.dtype], Tensor] = {}
    views: dict[Any, Tensor] = {}
    found = {}
    for name, meta in config.items():
        if meta["use_pickle"]:
            raise CheckpointError(
                f"{name[:80]!r} of {str(entries.path)!r}",
                got="a pickled object, which is not loaded",
                expected="a tensor",
            )
        what, entry = meta["tensor_meta"], meta["path_name"]
        dtype = DTYPES.get(what["dtype"])
        if dtype is None or not isinstance(entry, str):
            raise CheckpointError(f"dtype of {name[:80]!r} in {str(entries.path)!r}", got=f"code {what['dtype']}")
        key = entry, dtype
        if key not in storages:
            data = entries.read(folder + entry)
            if len(data) % dtype.itemsize:
                raise CheckpointError(f"tensor {name[:80]!r} of {str(entries.path)!r}", got=f"{len(data)} bytes")
            storages[key] = torch.frombuffer(bytearray(data), dtype=dtype) if data else torch.empty(0, dtype=dtype)
        sizes, strides = _ints(what["sizes"]), _ints(what["strides"])
        (offset,) = _ints([what["storage_offset"]])
        view = (*key, sizes, strides, offset)
        if view not in views:
            views[view] = _view(storages[key], sizes, strides, offset, f"{name[:80]!r} of {str(entries.path)!r}")
        found[name] = Const(views[view], name, bool(meta["is_param"] and what["requires_grad"]))
    return found


def _ints(values: Any) -> tuple[int, ...]:
    found = tuple(v["as_int"] for v in values)
    if not all(isinstance(v, int) and not isinstance(v, bool) and 0 <= v < 2**40 for v in found):
        raise CheckpointError("the shape of a tensor", got=str(found)[:80])
    return found


def _view(storage: Tensor, sizes: tuple[int, ...], strides: tuple[int, ...], offset: int, what: str) -> Tensor:
    count = math.prod(sizes)
    last = offset + sum((n - 1) * s for n, s in zip(sizes, strides, strict=True)) if count else 0
    if (count and last >= storage.numel()) or count > max(storage.numel(), _REPEATED):
        raise CheckpointError(
            f"tensor {what}", got=f"shape {sizes}", expected=f"{storage.numel()} numbers, as are stored"
        )
    return storage.as_strided(sizes, strides, offset).contiguous()


def _loaded(entries: _Entries, name: str) -> dict[str, Const]:
    """Tensors in a file of torch inside the archive; nothing but tensors is unpickled."""
    data = entries.read(name)
    if not data:
        return {}
    where = f"entry {name[:80]!r} of {str(entries.path)!r}"
    with zipfile.ZipFile(io.BytesIO(data)) as inner:
        infos = inner.infolist()
    if any(i.compress_type != zipfile.ZIP_STORED for i in infos):
        raise CheckpointError(where, got="compressed", expected="plain bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise CheckpointError(f"{where} holds more than tensors and was not loaded") from None
    if not isinstance(loaded, dict) or not all(isinstance(t, Tensor) for t in loaded.values()):
        raise CheckpointError(where, got=type(loaded).__name__, expected="tensors by name")
    # A storage could be declared larger than its bytes; that is told before anything reads it.
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in loaded.values()}
    if sum(storages.values()) > sum(i.file_size for i in infos):
        raise CheckpointError(where, got=f"tensors of {sum(storages.values())} bytes in a file of {len(data)}")
    if any(t.numel() > max(t.untyped_storage().nbytes(), _REPEATED) for t in loaded.values()):
        raise CheckpointError(where, got="a tensor larger than what is stored")
    return {
        str(key): Const(t.detach().contiguous(), str(key), isinstance(t, torch.nn.Parameter) and t.requires_grad)
        for key, t in loaded.items()
    }
