"""Tied linear maps: dense layers on feature vectors, on flattened profiles, and at every position."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rcproof.nn.base import TiedLayer, check_channels, closed_source, halves, partner
from rcproof.nn.derived import derived
from rcproof.strand import RepresentationLike, mirror, tie


class RCPSLinear(TiedLayer):
    """RCPS dense layer on the last axis. Stacked (N, 2·in) or closed (N, in) → stacked (N, 2·out).

    ``weight`` has shape (out, C_in), C_in = 2·in with ``coupled`` ([A, B]: own strand, other strand), else
    in. On a flattened profile ρ is again total reversal, so nothing is special about it. A tensor of
    higher rank (2N, …, in) is accepted by :meth:`batched` and mapped position by position. Theorems T3,
    T4, T5; paper, section 2.2.

    >>> import torch
    >>> from rcproof.strand import rc
    >>> layer = RCPSLinear(6, 3, coupled=True)
    >>> x = torch.randn(2, 12)
    >>> bool(torch.allclose(layer(rc(x)), rc(layer(x)), atol=1e-6))
    True
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        coupled: bool = False,
        source: RepresentationLike | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.source = closed_source(source, in_features, coupled)
        self.coupled = coupled
        plain = nn.Linear(in_features * (2 if coupled else 1), out_features, bias, device=device, dtype=dtype)
        self.in_features, self.out_features = in_features, out_features
        self.weight, self.bias = plain.weight, plain.bias

    @property
    def couplable(self) -> bool:
        return self.source is None

    def batched(self, s: Tensor) -> Tensor:
        if self.coupled:
            s = torch.cat([s, partner(s)], dim=-1)
        return F.linear(s, self.weight, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 2:
            return super().forward(x)
        closed = self.source is not None
        check_channels(x, self.in_features * (1 if closed else 2), (2,), self)
        if closed or self.coupled:
            return F.linear(x, *self._tied())
        bias = None if self.bias is None else tie(self.bias)
        own, other = halves(x, 1)
        y = torch.cat([F.linear(own, self.weight), F.linear(other, mirror(self.weight))], dim=1)
        return y if bias is None else y + bias

    def _tied(self) -> tuple[Tensor, Tensor | None]:
        """Full weight and bias: built in the call, or kept from an earlier one in eval."""

        def build() -> tuple[Tensor, Tensor | None]:
            return tie(self.weight, self.source or "reversal"), None if self.bias is None else tie(self.bias)

        return cast(tuple[Tensor, Tensor | None], derived(self, "tied", (self.weight, self.bias), build))

    def full_weight(self) -> Tensor:
        """The dense equivariant matrix (2·out, 2·in or in), zeros included."""
        v = self.weight
        if self.source is None and not self.coupled:
            v = torch.cat([v, torch.zeros_like(v)], dim=1)
        return tie(v, self.source or "reversal")

    def config(self) -> dict[str, object]:
        return {
            "in_features": self.in_features,
            "out_features": self.out_features,
            "bias": self.bias is not None,
            "coupled": self.coupled,
            "source": None if self.source is None else str(self.source),
        }
