"""Files of the field, by the field's libraries: FASTA, BED, bigWig, npz, h5, and tables of sequences.

Coordinates are 0-based and half-open throughout, as BED's are.
"""

from __future__ import annotations

import gzip
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rcproof.errors import CheckpointError, RcproofError
from rcproof.files import existing, replacing

_CODES = np.full(256, 4, dtype=np.uint8)
for _index, _base in enumerate("ACGT"):
    _CODES[ord(_base)] = _CODES[ord(_base.lower())] = _index


def encode(letters: str) -> NDArray[np.uint8]:
    """Base codes of letters of either case: A C G T are 0 … 3, anything else 4.

    >>> encode("acGTn").tolist()
    [0, 1, 2, 3, 4]
    """
    return _CODES[np.frombuffer(letters.encode("ascii", "replace"), dtype=np.uint8)]


@dataclass(frozen=True)
class Genome:
    """Base codes of every chromosome."""

    chromosomes: dict[str, NDArray[np.uint8]]

    def window(self, chrom: str, start: int, length: int) -> NDArray[np.uint8]:
        """Codes of one window; an error if it leaves its chromosome."""
        codes = self.chromosomes.get(chrom)
        if codes is None:
            raise RcproofError("chromosome", got=repr(chrom), expected=f"one of {', '.join(self.chromosomes)}")
        if start < 0 or start + length > len(codes):
            raise RcproofError(
                f"window {chrom}:{start}-{start + length}", got="past the end", expected=f"within 0-{len(codes)}"
            )
        return codes[start : start + length]


def read_genome(path: Path, cache: Path) -> Genome:
    """A genome by pyfaidx. A gzipped file is unpacked into ``cache`` first, since only bgzip can be indexed."""
    import pyfaidx

    source = existing(path, "genome")
    with source.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
    plain = cache / "genomes" / path.name.removesuffix(".gz") if zipped else source
    cache.joinpath("genomes").mkdir(parents=True, exist_ok=True)
    if zipped and not (plain.is_file() and plain.stat().st_mtime >= source.stat().st_mtime):
        try:
            with replacing(plain) as temporary, gzip.open(source, "rb") as packed, temporary.open("wb") as out:
                shutil.copyfileobj(packed, out)
        except (OSError, EOFError) as problem:
            raise CheckpointError(f"genome {str(path)!r} cannot be read", got=problem) from None
    index = cache / "genomes" / f"{plain.name}.fai"
    try:
        with pyfaidx.Fasta(str(plain), indexname=str(index), as_raw=True, rebuild=True) as fasta:
            return Genome({name: encode(str(fasta[name][:])) for name in fasta.keys()})  # noqa: SIM118
    except (pyfaidx.FastaIndexingError, ValueError, KeyError) as problem:
        raise CheckpointError(f"genome {str(path)!r} is no FASTA", got=problem) from None


def read_bed(path: Path) -> list[tuple[str, int, int, str]]:
    """Chromosome, start, end and strand (``+``, ``-`` or ``.``) of every line of a BED file, by pandas."""
    import pandas as pd

    try:
        table = pd.read_csv(existing(path, "BED"), sep="\t", header=None, comment="#", dtype=str)
        rows = [
            (str(row[0]), int(row[1]), int(row[2]), str(row[5]) if len(row) > 5 and row[5] in ("+", "-") else ".")
            for row in table.itertuples(index=False)
        ]
    except (ValueError, IndexError, pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as problem:
        raise CheckpointError(f"{path.name} is no BED file", got=problem, expected="chrom, start, end") from None
    for chrom, start, end, _ in rows:
        if start < 0 or end <= start:
            raise CheckpointError(f"{path.name}: {chrom}", got=f"{start}-{end}", expected="0 <= start < end")
    return rows


def read_bigwig(path: Path, windows: list[tuple[str, int, int]]) -> NDArray[np.float32]:
    """Values (N, length) of equally long windows, by pyBigWig; what the file does not cover is 0."""
    import pyBigWig

    try:
        opened = pyBigWig.open(str(existing(path, "bigWig")))
    except RuntimeError as problem:
        raise CheckpointError(f"{path.name} is no bigWig file", got=problem) from None
    with opened as track:
        if not track.isBigWig():
            raise CheckpointError(f"{path.name}", got="a bigBed file", expected="a bigWig file")
        sizes = track.chroms()
        rows = []
        for chrom, start, end in windows:
            if chrom not in sizes or not 0 <= start < end <= sizes[chrom]:
                raise RcproofError(
                    f"window {chrom}:{start}-{end} of {path.name}",
                    got=f"{sizes.get(chrom, 'no such chromosome')}",
                    expected="a window within a chromosome of the file",
                )
            rows.append(np.nan_to_num(track.values(chrom, start, end, numpy=True), nan=0.0))
    return np.stack(rows).astype(np.float32)


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an npz file; nothing is unpickled."""
    try:
        with np.load(existing(path, "npz"), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError) as problem:
        raise CheckpointError(f"{path.name} is no npz file of numbers", got=problem) from None


def read_h5(path: Path, names: tuple[str, ...]) -> tuple[Tensor, ...]:
    """Arrays of an HDF5 file, by name."""
    import h5py

    try:
        with h5py.File(existing(path, "h5")) as file:
            return tuple(torch.from_numpy(np.asarray(file[name])) for name in names)
    except (OSError, KeyError) as problem:
        raise CheckpointError(f"{path.name}", got=problem, expected=f"arrays {', '.join(names)}") from None


def read_table(path: Path, columns: tuple[str, ...] | None) -> dict[str, list[str]]:
    """Columns of a CSV table (None: all), plain or gzipped (told by content), as text."""
    import pandas as pd

    with existing(path, "table").open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
    try:
        table = pd.read_csv(path, dtype=str, compression="gzip" if zipped else None, keep_default_na=False)
        return {column: table[column].tolist() for column in columns or table.columns}
    except (ValueError, KeyError, OSError, EOFError, pd.errors.ParserError, pd.errors.EmptyDataError) as problem:
        raise CheckpointError(
            f"{path.name}", got=problem, expected="a CSV table" if columns is None else f"columns {', '.join(columns)}"
        ) from None


def stack_codes(sequences: list[str], name: str) -> Tensor:
    """Base codes (N, L) of equally long sequences."""
    lengths = {len(s) for s in sequences}
    if len(lengths) != 1:
        raise RcproofError(
            f"sequences of {name}", got=f"lengths {min(lengths, default=0)} to {max(lengths, default=0)}",
            expected="one length",
        )  # fmt: skip
    return torch.from_numpy(np.stack([encode(s) for s in sequences]))
