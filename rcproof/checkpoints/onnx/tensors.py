"""Tensors of an ONNX file, in it or in a file beside it, with their sizes checked before memory is taken."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rcproof.errors import CheckpointError

#: The numbers that ONNX gives to dtypes.
DTYPES = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 5: torch.int16, 6: torch.int32, 7: torch.int64, 9: torch.bool,
    10: torch.float16, 11: torch.float64, 16: torch.bfloat16,
}  # fmt: skip

# Where a dtype lies if not as plain bytes.
_FIELDS = {1: "float_data", 7: "int64_data", 11: "double_data"}


class TensorReader:
    """Reads the tensors of one ONNX file; ``folder`` is where it lies."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._taken: dict[str, int] = {}  # bytes of each file outside: tensors do not overlap

    def read(self, proto: Any) -> Tensor:
        """The values of a TensorProto."""
        name = repr(proto.name[:80])
        dtype = DTYPES.get(proto.data_type)
        if dtype is None:
            raise CheckpointError(f"dtype of tensor {name}", got=f"code {proto.data_type}", expected="numbers")
        dims = tuple(proto.dims)
        if any(d < 0 for d in dims) or len(dims) > 16:
            raise CheckpointError(f"tensor {name}", got=f"shape {dims}"[:80])
        count = math.prod(dims)
        if proto.data_location == 1:
            data = self._beside(proto, count * dtype.itemsize)
        elif proto.HasField("raw_data"):
            data = proto.raw_data
        else:
            return _listed(proto, dtype, dims, count, name)
        if len(data) != count * dtype.itemsize:
            raise CheckpointError(
                f"tensor {name}", got=f"{len(data)} bytes", expected=f"{count * dtype.itemsize} for shape {dims}"
            )
        return torch.frombuffer(bytearray(data), dtype=dtype).reshape(dims) if count else torch.empty(dims, dtype=dtype)

    def _beside(self, proto: Any, wanted: int) -> bytes:
        """Bytes of a file beside the ONNX file: a plain name in the same folder, nothing else."""
        told = {entry.key: entry.value for entry in proto.external_data}
        location = told.get("location", "")
        what = f"tensor {proto.name[:80]!r} in a file outside"
        if not location or location != os.path.basename(location) or location in (".", "..") or "\\" in location:
            raise CheckpointError(what, got=repr(location[:80]), expected="the name of a file beside the ONNX file")
        path = self.folder / location
        if path.is_symlink() or not path.is_file():
            raise CheckpointError(what, got=f"no file {location[:80]!r} beside the ONNX file")
        size = path.stat().st_size
        try:
            offset, length = int(told.get("offset", "0")), int(told.get("length", str(wanted)))
        except ValueError:
            raise CheckpointError(what, got="a damaged offset or length") from None
        self._taken[location] = self._taken.get(location, 0) + wanted
        if offset < 0 or length != wanted or offset + length > size or self._taken[location] > size:
            raise CheckpointError(
                what, got=f"{length} bytes from {offset} on", expected=f"{wanted} of the {size} in {location[:80]!r}"
            )
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(length)


def _listed(proto: Any, dtype: torch.dtype, dims: tuple[int, ...], count: int, name: str) -> Tensor:
    values = getattr(proto, _FIELDS.get(proto.data_type, "int32_data"))
    if len(values) != count:
        raise CheckpointError(f"tensor {name}", got=f"{len(values)} numbers", expected=f"{count} for shape {dims}"[:80])
    if dtype in (torch.float16, torch.bfloat16):  # their bits, as whole numbers
        return torch.tensor(list(values), dtype=torch.int32).to(torch.int16).view(dtype).reshape(dims)
    return torch.tensor(list(values), dtype=dtype).reshape(dims)
