"""Dropout of strand pairs: one mask per strand, or one for both."""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from rcproof.errors import RcproofError
from rcproof.nn.base import TiedLayer, flip_strand, halves

Masks = Literal["independent", "shared"]


class RCPSDropout(TiedLayer):
    """RCPS dropout, any shape: stacked (N, 2F, …) → the same shape; the identity in eval.

    ``masks="independent"`` draws a mask for each strand, as a conjoined network over a doubled batch does:
    equivariant in distribution. ``"shared"`` lays one mask on both strands, each in its own orientation:
    equivariant draw by draw. Neither has weights. Theorem T2 (for a given mask, dropout is pointwise).

    >>> from rcproof.strand import rc
    >>> layer, x = RCPSDropout(0.5).eval(), torch.randn(2, 6, 20)
    >>> layer(x).shape, bool(torch.allclose(layer(rc(x)), rc(layer(x)), atol=1e-6))
    (torch.Size([2, 6, 20]), True)
    """

    def __init__(self, p: float = 0.5, masks: str = "independent") -> None:
        super().__init__()
        if not isinstance(p, int | float) or not 0 <= p <= 1:
            raise RcproofError("dropout probability", got=repr(p), expected="a number from 0 to 1")
        if masks not in ("independent", "shared"):
            raise RcproofError("masks of a dropout layer", got=repr(masks), expected="'independent' or 'shared'")
        self.p, self.masks = float(p), cast(Masks, masks)

    def _mask(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Zeros with probability p, else 1/(1−p)."""
        return F.dropout(torch.ones(shape, dtype=x.dtype, device=x.device), self.p, True)

    def _mask_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape

    def batched(self, s: Tensor) -> Tensor:
        if not self.training or not self.p:
            return s
        if self.masks == "independent":
            return s * self._mask(s, self._mask_shape(tuple(s.shape)))
        own = halves(s)[0]
        mask = self._mask(s, self._mask_shape(tuple(own.shape)))
        return s * torch.cat([mask, mask], dim=0)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.p:
            return x
        if self.masks == "independent":  # other draws than in the batched rendering, of one distribution
            return x * self._mask(x, self._mask_shape(tuple(x.shape)))
        own = halves(x, 1)[0]
        mask = self._mask(x, self._mask_shape(tuple(own.shape)))
        return x * torch.cat([mask, flip_strand(mask)], dim=1)

    def config(self) -> dict[str, object]:
        return {"p": self.p, "masks": self.masks}


class RCPSDropout1d(RCPSDropout):
    """RCPS dropout of whole channels: stacked (N, 2F, L) → the same shape; the identity in eval. T2.

    >>> from rcproof.strand import rc
    >>> layer, x = RCPSDropout1d(0.5).eval(), torch.randn(2, 6, 20)
    >>> layer(x).shape, bool(torch.allclose(layer(rc(x)), rc(layer(x)), atol=1e-6))
    (torch.Size([2, 6, 20]), True)
    """

    def _mask_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape[:2] + (1,) * (len(shape) - 2)
