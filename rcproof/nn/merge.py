"""From a strand pair to one answer: the equivariant (or invariant) layer at the end of a network.

The layers here are **not stacked → stacked**: they leave the two-strand world. On paper (theorem T5):
y = m(a, ρ_out b) with a symmetric m satisfies ρ_out y = m(ρ_out a, b), which is what the swapped pair gives.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from rcproof.errors import RcproofError, RepresentationError, ShapeError
from rcproof.nn.base import TiedLayer, flip_strand, halves, to_batched
from rcproof.strand import RepresentationLike, rc, representation

MergeMode = Literal["mean", "sum", "max"]
MODES: tuple[MergeMode, ...] = ("mean", "sum", "max")


def check_mode(mode: str) -> MergeMode:
    """``mode`` if it is one of :data:`MODES`, an error that names them if not."""
    for known in MODES:
        if mode == known:
            return known
    raise RcproofError("no such merge", got=repr(mode), expected="'mean', 'sum' or 'max'")


def merge(a: Tensor, b: Tensor, mode: str) -> Tensor:
    """``(a + b) · ½``, ``a + b`` or the elementwise maximum of two tensors of one shape; symmetric, bit for bit.

    Halving is exact in binary floating point, so ``mean`` is ``(a + b) / 2`` to the last bit.

    >>> import torch
    >>> merge(torch.tensor([1.0]), torch.tensor([4.0]), "mean")
    tensor([2.5000])
    """
    known = check_mode(mode)
    if a.shape != b.shape:
        raise ShapeError("merge takes two tensors of one shape", got=f"{tuple(a.shape)} and {tuple(b.shape)}")
    if known == "max":
        return torch.maximum(a, b)
    return a + b if known == "sum" else (a + b) * 0.5


class StrandSum(TiedLayer):
    """The sum of both strands. Stacked (N, 2F, …) → (N, F, …), which ρ leaves **fixed**; not stacked.

    Each strand is read in its own 5'→3' orientation, so the sum is the same for x and ρx. :meth:`batched`
    takes (2N, F, …) to (N, F, …). The first half of every invariant head (½·w follows). Theorem T5.

    >>> StrandSum()(torch.tensor([[[1.0, 2.0], [40.0, 30.0]]])).tolist()
    [[[31.0, 42.0]]]
    """

    def batched(self, s: Tensor) -> Tensor:
        a, b = halves(s, 0)
        return a + b

    def forward(self, x: Tensor) -> Tensor:
        return self.batched(to_batched(x))

    def config(self) -> dict[str, object]:
        return {}


class Merge(TiedLayer):
    """The answer of both strands: merge(a, ρ_out b). Stacked (N, 2C, …) → closed (N, C, …); not stacked.

    ``output`` says how ρ acts on the answer: ``"fixed"`` for scores, ``strand_pairs(T)`` for stranded
    profiles. :meth:`batched` takes (2N, C, …) to (N, C, …), and scores (2N,) to (N,). ``mode`` is ``"mean"``,
    ``"sum"`` or ``"max"``; the maximum commutes with ρ only where no sign is −1, which is checked. Theorem T5;
    paper, section 2.3.

    >>> import torch
    >>> from rcproof.strand import rc
    >>> layer, x = Merge("mean", output="pairs:1"), torch.randn(1, 4, 5)
    >>> bool((layer(rc(x)) == rc(layer(x), "pairs:1")).all())
    True
    """

    def __init__(self, mode: str = "mean", output: RepresentationLike = "fixed") -> None:
        super().__init__()
        self.mode, self.output = check_mode(mode), representation(output)
        if self.output.tokens:
            raise RepresentationError("the output of a merge is numbers, not tokens", got=str(self.output))
        if self.mode == "max" and self.output.signs is not None and -1 in self.output.signs:
            raise RepresentationError(
                "the maximum of two strands has no sign to change",
                got=f"merge 'max' with output={self.output}",
                fix="use 'mean' or 'sum', or an output without signs",
            )

    def batched(self, s: Tensor) -> Tensor:
        a, b = halves(s, 0)
        return merge(a, rc(b, self.output) if b.dim() > 1 else b, self.mode)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() not in (2, 3) or x.shape[1] % 2:
            raise ShapeError("input of Merge", got=f"shape {tuple(x.shape)}", expected="(N, 2C) or (N, 2C, L)")
        a, mirrored = halves(x, 1)
        # The stacked half is already ρb under total reversal; other representations start from b.
        other = mirrored if self.output.is_reversal else rc(flip_strand(mirrored), self.output)
        return merge(a, other, self.mode)

    def config(self) -> dict[str, object]:
        return {"mode": self.mode, "output": str(self.output)}
