"""The sequences that an audit runs on: from a FASTA file, or with their labels from a file of data."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rcproof.errors import RcproofError
from rcproof.verify import FastaRecord, one_hot, read_fasta
from rcproof.verify.auditing import COORDINATES


@dataclass(frozen=True)
class Sequences:
    """Letters or one-hot DNA, one of the two, with names and perhaps labels.

    Attributes:
        names: of each; genome coordinates that stand elsewhere in a header follow the name.
        labels: (N, …), if the file has them.
        origin: where they are from, for people.
        records, tensor: the sequences: as letters, or as (N, 4, L).
    """

    names: list[str]
    labels: Tensor | None
    origin: str
    records: list[FastaRecord] | None = None
    tensor: Tensor | None = None

    @property
    def lengths(self) -> list[int]:
        """The length of each."""
        if self.tensor is not None:
            return [self.tensor.shape[2]] * len(self.tensor)
        return [len(record.sequence) for record in self.records or ()]

    def encoded(self, length: int, alphabet: str) -> Tensor:
        """(N, 4, length): cut or padded with zeros about the centre."""
        if self.tensor is not None:
            return centred(self.tensor, length)
        return one_hot(self.records or [], length, alphabet=alphabet)


def read_sequences(fasta: str | None, data: str | None, n: int | None, alphabet: str, seed: int) -> Sequences | None:
    """What ``--fasta`` or ``--data`` names, or None; of more than ``n`` sequences ``n`` are drawn, in their order."""
    if fasta is not None and data is not None:
        raise RcproofError("--fasta and --data", got="both", expected="one: sequences without labels, or with")
    if fasta is not None:
        records = read_fasta(fasta, headers=True)
        chosen = _drawn(len(records), n, seed)
        records = [records[i] for i in chosen]
        return Sequences([_name(r) for r in records], None, f"{len(records)} of {fasta}", records=records)
    if data is not None:
        from rcproof.cli.labelled import read_labelled

        x, labels = read_labelled(data, alphabet)
        chosen = _drawn(len(x), n, seed)
        rows = torch.tensor(chosen)
        found = None if labels is None else labels[rows]
        return Sequences([f"#{i}" for i in chosen], found, f"{len(chosen)} of {data}", tensor=x[rows].double())
    return None


def _drawn(count: int, n: int | None, seed: int) -> list[int]:
    if n is None or n >= count:
        return list(range(count))
    order: list[int] = torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:n].tolist()
    return sorted(order)


def _name(record: FastaRecord) -> str:
    found = None if COORDINATES.search(record.name) else COORDINATES.search(record.header)
    return record.name if found is None else f"{record.name} {found.group()}"


def centred(x: Tensor, length: int) -> Tensor:
    """(N, C, L) cut or padded with zeros to ``length`` about the centre, as :func:`~rcproof.verify.fasta.one_hot` does.

    >>> centred(torch.tensor([[[1., 2., 3., 4.]]]), 1).tolist(), centred(torch.tensor([[[1.]]]), 4).tolist()
    ([[[2.0]]], [[[0.0, 1.0, 0.0, 0.0]]])
    """
    cut = max(x.shape[2] - length, 0) // 2
    kept = x[:, :, cut : cut + length]
    pad = (length - kept.shape[2]) // 2
    found = x.new_zeros(*x.shape[:2], length)
    found[:, :, pad : pad + kept.shape[2]] = kept
    return found
