"""Weighted sums over positions: one weight per channel and position (keras-genomics' ``WeightedSum1D``)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from rcproof.errors import RcproofError, ShapeError
from rcproof.nn.base import TiedLayer, partner
from rcproof.strand import tie


def _columns(length: int, symmetric: bool) -> int:
    if length < 1:
        raise RcproofError("length of a weighted sum", got=length, expected="at least 1")
    return (length + 1) // 2 if symmetric else length


def full_rows(weight: Tensor, length: int, symmetric: bool) -> Tensor:
    """(F, ⌈L/2⌉) → (F, L) with w[c, l] = w[c, L−1−l]; the middle of an odd length is stored once."""
    return torch.cat([weight, weight[:, : length // 2].flip(1)], dim=1) if symmetric else weight


def _check(x: Tensor, channels: int, length: int, layer: nn.Module) -> None:
    if x.dim() != 3 or x.shape[1] != channels or x.shape[2] != length:
        raise ShapeError(
            f"input of {layer.__class__.__name__}", got=f"shape {tuple(x.shape)}", expected=f"(N, {channels}, {length})"
        )


def _draw(shape: tuple[int, int], bound: float, device: torch.device | str | None, dtype: torch.dtype | None) -> Tensor:
    return torch.empty(shape, device=device, dtype=dtype).uniform_(-bound, bound)


class WeightedSum1d(nn.Module):
    """The plain layer, for single-strand networks: (N, F, L) → (N, F), y[f] = Σₗ w[f, l] x[f, l] + bias[f].

    ``weight`` has shape (F, L); with ``symmetric``, which ties w[f, l] = w[f, L−1−l], (F, ⌈L/2⌉).
    :class:`RCPSWeightedSum1d` is its lift and has the same keys.

    >>> WeightedSum1d(3, 20)(torch.randn(2, 3, 20)).shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        channels: int,
        length: int,
        symmetric: bool = False,
        bias: bool = False,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.channels, self.length, self.symmetric = channels, length, symmetric
        shape = (channels, _columns(length, symmetric))
        self.weight = nn.Parameter(_draw(shape, 1 / math.sqrt(length), device, dtype))
        self.bias = nn.Parameter(torch.zeros(channels, device=device, dtype=dtype)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        _check(x, self.channels, self.length, self)
        y = torch.einsum("ncl,cl->nc", x, full_rows(self.weight, self.length, self.symmetric))
        return y if self.bias is None else y + self.bias

    def extra_repr(self) -> str:
        return f"channels={self.channels}, length={self.length}, symmetric={self.symmetric}"


class RCPSWeightedSum1d(TiedLayer):
    """RCPS weighted sum over positions. Stacked (N, 2F, L) → stacked (N, 2F).

    ``weight`` has shape (F, L), with ``coupled`` (2F, L): A, then B, V = [A; B]. On each strand
    y[f] = Σₗ A[f, l] s[f, l] + B[f, l] u[f, l] + bias[f], where u is the other strand read in this one's
    direction. With ``symmetric`` every row is a palindrome and ⌈L/2⌉ columns are stored. Theorems T4, T5.

    >>> import torch
    >>> from rcproof.strand import rc
    >>> layer, x = RCPSWeightedSum1d(3, 7, coupled=True), torch.randn(2, 6, 7)
    >>> bool(torch.allclose(layer(rc(x)), rc(layer(x)), atol=1e-6))
    True
    """

    coupling_axis = 0

    def __init__(
        self,
        channels: int,
        length: int,
        symmetric: bool = False,
        bias: bool = False,
        *,
        coupled: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.channels, self.length, self.symmetric, self.coupled = channels, length, symmetric, coupled
        shape = (channels * (2 if coupled else 1), _columns(length, symmetric))
        bound = 1 / math.sqrt(length * (2 if coupled else 1))
        self.weight = nn.Parameter(_draw(shape, bound, device, dtype))
        self.bias = nn.Parameter(torch.zeros(channels, device=device, dtype=dtype)) if bias else None

    @property
    def couplable(self) -> bool:
        return True

    def batched(self, s: Tensor) -> Tensor:
        _check(s, self.channels, self.length, self)
        weight = full_rows(self.weight, self.length, self.symmetric)
        y = torch.einsum("ncl,cl->nc", s, weight[: self.channels])
        if self.coupled:
            y = y + torch.einsum("ncl,cl->nc", partner(s), weight[self.channels :])
        return y if self.bias is None else y + self.bias

    def forward(self, x: Tensor) -> Tensor:
        _check(x, 2 * self.channels, self.length, self)
        weight = full_rows(self.weight, self.length, self.symmetric)
        y = torch.einsum("ncl,cl->nc", x, tie(weight[: self.channels]))
        if self.coupled:
            # Channel c of the given strand couples to channel c of the stored half, as it lies.
            swapped = x.roll(self.channels, dims=1)
            y = y + torch.einsum("ncl,cl->nc", swapped, tie(weight[self.channels :]))
        return y if self.bias is None else y + tie(self.bias)

    def config(self) -> dict[str, object]:
        return {
            "channels": self.channels,
            "length": self.length,
            "symmetric": self.symmetric,
            "bias": self.bias is not None,
            "coupled": self.coupled,
        }
