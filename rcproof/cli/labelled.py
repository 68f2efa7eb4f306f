"""Sequences with labels from a file: HDF5 and NumPy archives of arrays, or a table of letters."""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rcproof.convert.shapes import Shape
from rcproof.errors import CheckpointError, RcproofError, ShapeError
from rcproof.files import existing
from rcproof.strand import Representation
from rcproof.verify.fasta import FastaRecord, one_hot, read_fasta
from rcproof.verify.inputs import InputCase, draw_inputs, is_dna
from rcproof.verify.ladder import Labelled

#: Names under which arrays are looked for, the first found counts.
SEQUENCES = ("sequences", "X_test", "x_test", "X", "x")
LABELS = ("labels", "Y_test", "y_test", "Y", "y")
#: No file is read into more bytes than this.
MOST_BYTES = 4 << 30


def read_labelled(path: str, alphabet: str = "ACGT") -> tuple[Tensor, Tensor | None]:
    """One-hot DNA (N, 4, L) and labels (N, …), or None if the file has none; float64.

    ``.h5`` and ``.npz`` hold an array ``sequences`` (or ``X_test``, ``X``), one-hot as (N, 4, L) or (N, L, 4), and
    ``labels`` (or ``Y_test``, ``Y``). ``.csv``, plain or gzipped, has the columns ``sequence`` and ``label``.
    """
    file = existing(path, "data")
    name = file.name.lower()
    if name.endswith((".csv", ".csv.gz")):
        return _table(file, alphabet)
    if name.endswith((".h5", ".hdf5")):
        return _arrays(path, _hdf5(file))
    if name.endswith(".npz"):
        return _arrays(path, _archive(file))
    raise CheckpointError("data", got=repr(path), expected="a file that ends in .h5, .npz, .csv or .csv.gz")


def labelled(
    data: str | None,
    fasta: str | None,
    shapes: Sequence[Shape],
    reps: Sequence[Representation],
    outputs: int,
    seed: int,
) -> Labelled | None:
    """What ``--data`` or ``--fasta`` names, as the network's inputs: other inputs than the DNA are drawn.

    Labels are those of the first output.
    """
    if data is None and fasta is None:
        return None
    if data is not None and fasta is not None:
        raise RcproofError("--data and --fasta", got="both", expected="one: sequences with labels, or without")
    index = next((i for i, (s, rep) in enumerate(zip(shapes, reps, strict=True)) if is_dna(s, rep)), None)
    if index is None:
        raise RcproofError("sequences", got="a network without an input of one-hot DNA")
    labels = None
    if data is not None:
        x, labels = read_labelled(data)
    else:
        assert fasta is not None
        x = one_hot(read_fasta(fasta), shapes[index][-1])
    (drawn,) = draw_inputs(shapes, reps, kinds=("one-hot",), batch=len(x), seed=seed)
    tensors = tuple(x if i == index else t for i, t in enumerate(drawn.tensors))
    return Labelled(InputCase("sequences", tensors), None if labels is None else [labels, *[None] * (outputs - 1)])


def _table(file: Path, alphabet: str) -> tuple[Tensor, Tensor | None]:
    try:
        with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as stream:
            raw = stream.read(MOST_BYTES + 1)
        if len(raw) > MOST_BYTES:
            raise CheckpointError(f"{file.name} is too large", expected=f"at most {MOST_BYTES} bytes")
        rows = list(csv.DictReader(io.StringIO(raw.decode("utf-8"))))
        letters = [FastaRecord(f"row {i + 2}", row["sequence"].strip().upper()) for i, row in enumerate(rows)]
        labels = [float(row["label"]) for row in rows] if rows and "label" in rows[0] else None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as problem:
        raise CheckpointError(f"{file.name} cannot be read", got=f"{type(problem).__name__}: {problem}") from None
    except (KeyError, TypeError, ValueError, AttributeError):
        raise CheckpointError(
            f"{file.name} is no table of sequences", expected="columns 'sequence' and 'label', a number in each label"
        ) from None
    if not rows:
        raise CheckpointError(f"{file.name} holds no rows")
    return one_hot(letters, alphabet=alphabet), None if labels is None else torch.tensor(labels, dtype=torch.float64)


def _hdf5(file: Path) -> dict[str, Any]:
    from rcproof.checkpoints.keras.hdf5 import read_hdf5

    return dict(read_hdf5(file).arrays)


def _archive(file: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(file) as members:
            size = sum(m.file_size for m in members.infolist())
        if size > MOST_BYTES:
            raise CheckpointError(f"{file.name} is too large", got=f"{size} bytes", expected=f"at most {MOST_BYTES}")
        with np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files if name in (*SEQUENCES, *LABELS)}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as problem:
        raise CheckpointError(f"{file.name} cannot be read", got=f"{type(problem).__name__}: {problem}") from None


def _arrays(path: str, found: Mapping[str, Any]) -> tuple[Tensor, Tensor | None]:
    sequences = next((found[n] for n in SEQUENCES if n in found), None)
    labels = next((found[n] for n in LABELS if n in found), None)
    if sequences is None:
        raise CheckpointError(
            f"no sequences in {path!r}", got=", ".join(found), expected=f"one of {', '.join(SEQUENCES)}"
        )
    x = _numbers(path, sequences)
    if x.dim() != 3 or 4 not in x.shape[1:]:
        raise ShapeError(f"sequences in {path!r}", got=f"shape {tuple(x.shape)}", expected="(N, 4, L) or (N, L, 4)")
    x = x if x.shape[1] == 4 else x.transpose(1, 2).contiguous()
    y = None if labels is None else _numbers(path, labels)
    if y is not None and len(y) != len(x):
        raise ShapeError(f"labels in {path!r}", got=f"{len(y)} for {len(x)} sequences", expected="one each")
    return x, y


def _numbers(path: str, array: Any) -> Tensor:
    values = np.asarray(array)
    if values.dtype.kind not in "biuf":
        raise CheckpointError(f"an array in {path!r}", got=f"dtype {values.dtype}", expected="numbers")
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64))
