"""Sequences from FASTA files, plain or gzipped, as one-hot tensors."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO, cast

import torch
from torch import Tensor

from rcproof.errors import CheckpointError, RcproofError, ShapeError

#: Letters that stand for several bases; like N they are encoded as zeros.
AMBIGUOUS = "NRYSWKMBDHV"
_LETTERS = "ACGT" + AMBIGUOUS
_GZIP = b"\x1f\x8b"
_PIECE = 1 << 20


@dataclass(frozen=True)
class FastaRecord:
    """One sequence: the first word of its header, its letters in upper case, and the whole header if asked for.

    >>> FastaRecord("locus1", "GATTACA").sequence
    'GATTACA'
    """

    name: str
    sequence: str
    header: str = field(default="", compare=False)


def read_fasta(
    path: str | os.PathLike[str], *, max_bases: int = 500_000_000, headers: bool = False
) -> list[FastaRecord]:
    """The records of a FASTA file, with their whole headers if asked for. Gzip is told by content, not by name.

    Letters are A, C, G, T, N and the other IUPAC codes, in either case. Errors, each naming the line:
    no such file, a damaged gzip stream, an empty file, text before the first header, an empty sequence, a
    bad letter, more than ``max_bases`` bases (so that a small compressed file cannot fill the memory).

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".fa") as file:
    ...     _ = file.write(">locus1\\nGATT\\nACA\\n")
    ...     file.flush()
    ...     [(record.name, record.sequence) for record in read_fasta(file.name)]
    [('locus1', 'GATTACA')]
    """
    file = Path(path)
    try:
        with file.open("rb") as raw:
            zipped = raw.read(2) == _GZIP
        with gzip.open(file, "rt", encoding="ascii") if zipped else file.open(encoding="ascii") as lines:
            return _parse(cast(TextIO, lines), file.name, max_bases, headers)
    except FileNotFoundError as problem:
        raise CheckpointError("no such FASTA file", got=file) from problem
    except UnicodeDecodeError as problem:
        raise CheckpointError(f"{file.name} is not a text file", expected="FASTA, plain or gzipped") from problem
    except (OSError, EOFError, zlib.error) as problem:
        raise CheckpointError(f"{file.name} cannot be read", got=f"{type(problem).__name__}: {problem}") from problem


def _parse(lines: TextIO, file: str, max_bases: int, headers: bool) -> list[FastaRecord]:
    records: list[FastaRecord] = []
    name, said, parts = "", "", [""]
    header = number = total = 0  # line of the current header, line being read, bases so far
    fresh, in_header = True, False  # whether a line begins here; whether its beginning was a header

    def finish() -> None:
        if header and not any(parts):
            raise CheckpointError(f"{file}, line {header}: the sequence {name!r} is empty")
        if header:
            records.append(FastaRecord(name, "".join(parts), said))

    # Lines are read in pieces, since a file may be one line of any length.
    while piece := lines.readline(_PIECE):
        number += fresh
        if fresh:
            in_header = piece.startswith(">")
            if in_header:
                finish()
                name, parts, header = (piece[1:].split() or ["unnamed"])[0], [], number
                said = piece[1:].strip() if headers else ""
        fresh = piece.endswith("\n")
        text = piece.strip().upper()
        if in_header or not text:
            continue
        if not header:
            raise CheckpointError(
                f"{file}, line {number}: text before the first header",
                got=repr(text[:20]),
                expected="a line that starts with >",
            )
        if bad := text.strip(_LETTERS):
            letter = next(c for c in bad if c not in _LETTERS)
            hint = "RNA: replace U by T" if letter == "U" else None
            raise CheckpointError(
                f"{file}, line {number}, sequence {name!r}",
                got=f"the letter {letter!r}",
                expected="A, C, G, T or N",
                fix=hint,
            )
        total += len(text)
        if total > max_bases:
            raise CheckpointError(f"{file} is too long", got=f"more than {max_bases} bases", fix="raise max_bases")
        parts.append(text)
    finish()
    if not records:
        raise CheckpointError(f"{file} holds no sequences", expected="FASTA: a line that starts with >, then bases")
    return records


def one_hot(
    sequences: Sequence[FastaRecord | str],
    length: int | None = None,
    *,
    fit: str = "centre",
    alphabet: str = "ACGT",
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """One-hot tensor (N, 4, length), channels in the order of ``alphabet``; N and other codes are zeros.

    Without ``length`` all sequences must have one length. With it they are cut or padded with zeros to
    that length about their centre (``fit="centre"``; of an odd difference the larger part is at the right)
    or must have it (``fit="exact"``).

    >>> one_hot(["AC", "nT"])[1]
    tensor([[0., 0.],
            [0., 0.],
            [0., 0.],
            [0., 1.]], dtype=torch.float64)
    """
    named = [s if isinstance(s, FastaRecord) else FastaRecord(f"#{i}", s.upper()) for i, s in enumerate(sequences)]
    if not named:
        raise RcproofError("no sequences to encode", expected="at least one")
    if sorted(alphabet.upper()) != sorted("ACGT"):
        raise RcproofError("base order", got=repr(alphabet), expected="the letters A, C, G, T once each")
    if fit not in ("centre", "exact"):
        raise RcproofError("fit", got=repr(fit), expected="'centre' or 'exact'")
    size = len(named[0].sequence) if length is None else length
    if size < 1:
        raise ShapeError("length of the sequences", got=size, expected="at least 1")
    table = torch.zeros(256, 4, dtype=dtype)
    for channel, base in enumerate(alphabet.upper()):
        table[ord(base), channel] = 1
    encoded = torch.zeros(len(named), 4, size, dtype=dtype)
    for row, record in zip(encoded, named, strict=True):
        text = record.sequence
        if bad := set(text) - set(_LETTERS):
            raise RcproofError(f"sequence {record.name!r}", got=f"the letter {min(bad)!r}", expected="A, C, G, T or N")
        if len(text) != size and (length is None or fit == "exact"):
            raise ShapeError(
                f"length of sequence {record.name!r}",
                got=len(text),
                expected=f"{size}" if length is not None else f"{size}, as the first sequence has",
                fix="give a length to cut or pad to" if length is None else "use fit='centre' to cut or pad",
            )
        cut = max(len(text) - size, 0) // 2
        text = text[cut : cut + size]
        if text:
            pad = (size - len(text)) // 2
            codes = torch.frombuffer(bytearray(text, "ascii"), dtype=torch.uint8).long()
            row[:, pad : pad + len(text)] = table[codes].T
    return encoded
