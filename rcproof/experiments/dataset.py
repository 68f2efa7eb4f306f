"""What a task trains on: three splits of tensors, and how the reverse complement acts on each of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from rcproof.errors import RcproofError
from rcproof.strand import Representation, rc, representation

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Split:
    """Examples: inputs and targets, each (N, …). One-hot DNA is kept in bytes; :meth:`rows` makes numbers of it.

    Attributes:
        other: of a task whose training labels are noisy, the other labels: the clean ones where the targets are noisy,
            noisy ones where they are clean. They are only measured against, never trained on.
    """

    inputs: tuple[Tensor, ...]
    targets: tuple[Tensor, ...]
    other: Tensor | None = None

    def __post_init__(self) -> None:
        sizes = {len(t) for t in (*self.inputs, *self.targets, *(() if self.other is None else (self.other,)))}
        if len(sizes) != 1:
            raise RcproofError("tensors of a split", got=f"{sorted(sizes)} rows", expected="as many in each")

    def __len__(self) -> int:
        return len(self.inputs[0])

    def rows(self, index: Tensor | slice) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Inputs and targets of some rows, in float32."""
        return tuple(t[index].float() for t in self.inputs), tuple(t[index].float() for t in self.targets)

    def first(self, count: int) -> Split:
        """The first rows, or all if there are fewer."""
        return self._map(lambda t: t[:count])

    def to(self, device: str) -> Split:
        """The same on a device."""
        return self._map(lambda t: t.to(device))

    def _map(self, function: Callable[[Tensor], Tensor]) -> Split:
        other = None if self.other is None else function(self.other)
        return Split(tuple(map(function, self.inputs)), tuple(map(function, self.targets)), other)


@dataclass(frozen=True)
class Action:
    """How the reverse complement acts: one representation an input, one a target."""

    inputs: tuple[Representation, ...]
    targets: tuple[Representation, ...]

    @staticmethod
    def of(inputs: tuple[str, ...], targets: tuple[str, ...]) -> Action:
        """From their names."""
        return Action(tuple(map(representation, inputs)), tuple(map(representation, targets)))

    def __call__(
        self, inputs: tuple[Tensor, ...], targets: tuple[Tensor, ...]
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """The reverse complement of examples: what the network reads, and what it should then say."""
        return (
            tuple(rc(x, r) for x, r in zip(inputs, self.inputs, strict=True)),
            tuple(rc(y, r) for y, r in zip(targets, self.targets, strict=True)),
        )


@dataclass(frozen=True)
class Data:
    """The splits of a task, the hashes of what they were made from, and facts worth recording."""

    train: Split
    valid: Split
    test: Split
    sha256: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(splits: dict[str, Split], sha256: dict[str, str] | None = None, facts: dict[str, Any] | None = None) -> Data:
        """From splits by name."""
        return Data(splits["train"], splits["valid"], splits["test"], sha256 or {}, facts or {})

    def split(self, name: str) -> Split:
        """One of ``train``, ``valid``, ``test``."""
        found = getattr(self, name)
        assert isinstance(found, Split)
        return found

    @property
    def sizes(self) -> dict[str, int]:
        """Examples in each split."""
        return {name: len(self.split(name)) for name in SPLITS}


def fingerprint(*tensors: Tensor) -> str:
    """sha256 over the bytes of tensors, in order."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()


def one_hot_codes(codes: Tensor) -> Tensor:
    """Base codes (N, L) in A C G T order, 4 and above for unknown, as one-hot bytes (N, 4, L).

    >>> one_hot_codes(torch.tensor([[0, 3, 4]], dtype=torch.uint8))[0].tolist()
    [[1, 0, 0], [0, 0, 0], [0, 0, 0], [0, 1, 0]]
    """
    return torch.stack([codes == base for base in range(4)], dim=1).to(torch.uint8)


def fraction_of(split: Split, fraction: float) -> Split:
    """The first part of a split: the study of training-set size. Splits are shuffled, so it is a random part.

    Raises :class:`~rcproof.errors.RcproofError` for a fraction that is not in (0, 1] or leaves nothing.
    """
    if not 0 < fraction <= 1:
        raise RcproofError("fraction of the training set", got=fraction, expected="above 0 and at most 1")
    return split.first(max(1, round(len(split) * fraction)))
