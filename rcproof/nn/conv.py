"""Tied convolution: equivariant for every length, stride, dilation, groups and padding.

On paper (theorem T3): with left padding pₗ, right padding pᵣ and stride s, the windows of strand a
start at −pₗ and leave r = (L + pₗ + pᵣ − d(K−1) − 1) mod s positions unread at the right. On the other
strand the same operation leaves them unread at *its* right, so its windows start at r − pᵣ. The two
coincide, and one convolution with tied weights does, iff pₗ + r = pᵣ; otherwise the second half of the
channels is convolved with the mirrored padding and offset r.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rcproof.nn.base import TiedLayer, check_channels, closed_source, halves, partner, to_batched, to_stacked
from rcproof.nn.derived import channels_last, convolve, derived, slow_backward
from rcproof.nn.norm import RCPSBatchNorm1d
from rcproof.strand import RepresentationLike, mirror, tie

Weights = tuple[Tensor, Tensor | None]


class RCPSConv1d(TiedLayer):
    """RCPS convolution. Stacked (N, 2·in, L) or closed (N, in, L) → stacked (N, 2·out, L′).

    ``weight`` has shape (out, C_in, K): C_in = 2·in/groups with ``coupled`` (V = [A, B]: A reads the same
    strand, B the other), in/groups without, and the input's own channels when ``source`` says that the
    input is closed (one-hot DNA: 4). ``bias`` has shape (out,). The other options are those of
    ``nn.Conv1d``, including ``padding="same"`` with even kernels. Any dtype that torch convolves.

    Computes the lift D(g) of the plain convolution, plus B; equivariant under ρ always. Theorems T3, T4,
    T5; paper, section 2.1.

    >>> import torch
    >>> from rcproof.strand import rc
    >>> layer = RCPSConv1d(4, 8, 5, source="reversal")
    >>> x = torch.randn(2, 4, 30)
    >>> bool(torch.allclose(layer(rc(x)), rc(layer(x)), atol=1e-5))
    True
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int | str = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        coupled: bool = False,
        source: RepresentationLike | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.source = closed_source(source, in_channels, coupled)
        self.coupled = coupled
        # The plain layer checks the options and draws the initial weights over the true fan-in.
        plain = nn.Conv1d(
            in_channels * (2 if coupled else 1),
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            cast(Literal["zeros", "reflect", "replicate", "circular"], padding_mode),
            device=device,
            dtype=dtype,
        )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride, self.dilation = plain.kernel_size[0], plain.stride[0], plain.dilation[0]
        self.padding: int | str = padding if isinstance(padding, str) else cast(tuple[int, ...], plain.padding)[0]
        self.padding_mode = padding_mode
        self.weight, self.bias = plain.weight, plain.bias

    @property
    def couplable(self) -> bool:
        return self.source is None

    def margins(self) -> tuple[int, int]:
        """Left and right padding (``same`` puts the odd one at the right, as torch does)."""
        if self.padding == "same":
            total = self.dilation * (self.kernel_size - 1)
            return total // 2, total - total // 2
        return (0, 0) if self.padding == "valid" else (int(self.padding), int(self.padding))

    def _conv(self, x: Tensor, weight: Tensor, bias: Tensor | None, groups: int, pads: tuple[int, int]) -> Tensor:
        left, right = pads
        if self.padding_mode != "zeros" and (left or right):
            x, left, right = F.pad(x, (left, right), mode=self.padding_mode), 0, 0
        if left != right:
            x, left = F.pad(x, (left, right)), 0
        return convolve(x, weight, bias, self.stride, left, self.dilation, groups)

    def _own(self, innermost: bool, norm: RCPSBatchNorm1d | None) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of one strand, in the memory layout asked for and with ``norm`` folded in."""
        if not innermost and norm is None:
            return self.weight, self.bias

        def build() -> tuple[Tensor, Tensor | None]:
            weight, bias = self._folded(norm)
            return channels_last(weight) if innermost else weight, bias

        return self._derived("own", innermost, norm, build)

    def _tied(self, rep: RepresentationLike, innermost: bool, norm: RCPSBatchNorm1d | None) -> Weights:
        """Full weight and bias: built in the call, or kept from an earlier one in eval."""

        def build() -> Weights:
            weight, bias = self._folded(norm)
            weight = tie(weight, rep)
            return channels_last(weight) if innermost else weight, None if bias is None else tie(bias)

        return self._derived("tied", innermost, norm, build)

    def _derived(
        self, what: str, innermost: bool, norm: RCPSBatchNorm1d | None, build: Callable[[], Weights]
    ) -> Weights:
        if norm is None:
            return cast(Weights, derived(self, f"{what} {innermost}", (self.weight, self.bias), build))
        sources = (self.weight, self.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var)
        # Kept on the norm: its statistics change in its own train mode, which empties what it keeps.
        return cast(Weights, derived(norm, f"{what} {innermost} {id(self)}", sources, build))

    def _folded(self, norm: RCPSBatchNorm1d | None) -> Weights:
        affine = None if norm is None else norm.affine_in_eval()
        if affine is None:
            return self.weight, self.bias
        scale, shift = affine
        return self.weight * scale[:, None, None], shift if self.bias is None else torch.addcmul(
            shift, scale, self.bias
        )

    def batched(self, s: Tensor, channels_last: bool = False, norm: RCPSBatchNorm1d | None = None) -> Tensor:
        check_channels(s, self.in_channels, (3,), self)
        if self.coupled:
            s = with_partner(s, self.groups)
        innermost = channels_last and self.groups == 1 and not slow_backward(s.shape[0], self.out_channels)
        weight, bias = self._own(innermost, norm)
        return self._conv(s, weight, bias, self.groups, self.margins())

    def forward(self, x: Tensor, channels_last: bool = False, norm: RCPSBatchNorm1d | None = None) -> Tensor:
        """The layer; ``channels_last`` and ``norm`` are for a network that runs it, and change rounding only.

        With ``channels_last`` the output has its channels innermost in memory, where that pays. ``norm``: a batch norm
        in eval that follows, whose scale and shift become part of the weights.
        """
        closed = self.source is not None
        grouped = self.groups > 1 and (closed or self.coupled)
        if grouped or (closed and not self.source.reverses_length):  # type: ignore[union-attr]
            return to_stacked(self.batched(to_batched(x, self.source), channels_last, norm))
        check_channels(x, self.in_channels * (1 if closed else 2), (3,), self)
        rep = self.source or "reversal"
        groups = 1 if closed or self.coupled else 2 * self.groups
        left, right = self.margins()
        rest = (x.shape[2] + left + right - self.dilation * (self.kernel_size - 1) - 1) % self.stride
        if left == right and not rest:
            innermost = channels_last and groups == 1 and not slow_backward(x.shape[0], 2 * self.out_channels)
            weight, bias = self._tied(rep, innermost, norm)
            return self._conv(x, weight, bias, groups, (left, right))
        # Windows that do not centre: the other strand's half takes the mirrored operation.
        if groups > 1:
            own, other = halves(x, 1)
        else:
            own = other = x
        weight, bias = self._own(False, norm)
        first = self._conv(own, weight, bias, self.groups, (left, right))
        other = _pad_offset(other, right, left, rest, self.padding_mode)
        second = F.conv1d(
            other,
            mirror(weight, rep),
            None if bias is None else bias.flip(0),
            self.stride,
            0,
            self.dilation,
            self.groups,
        )
        return torch.cat([first, second], dim=1)

    def full_weight(self) -> Tensor:
        """The dense equivariant kernel (2·out, 2·in or in, K), zeros included; needs ``groups == 1``."""
        v = self.weight
        if self.source is None and not self.coupled:
            v = torch.cat([v, torch.zeros_like(v)], dim=1)
        return tie(v, self.source or "reversal")

    def config(self) -> dict[str, object]:
        return {
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "kernel_size": self.kernel_size,
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
            "bias": self.bias is not None,
            "padding_mode": self.padding_mode,
            "coupled": self.coupled,
            "source": None if self.source is None else str(self.source),
        }


class RCPSConvTranspose1d(TiedLayer):
    """RCPS transposed convolution. Stacked (N, 2·in, L) → stacked (N, 2·out, L′).

    ``weight`` has torch's transposed shape (C_in, out/groups, K), C_in = 2·in with ``coupled``. Options as
    in ``nn.ConvTranspose1d``; an ``output_padding`` is added at each strand's own 3' end. Theorems T3, T5.

    >>> from rcproof.strand import rc
    >>> layer, x = RCPSConvTranspose1d(3, 5, 4, stride=2), torch.randn(2, 6, 10)
    >>> layer(x).shape, bool(torch.allclose(layer(rc(x)), rc(layer(x)), atol=1e-6))
    (torch.Size([2, 10, 22]), True)
    """

    coupling_axis = 0

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        output_padding: int = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int = 1,
        *,
        coupled: bool = False,
        source: RepresentationLike | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.source = closed_source(source, in_channels, coupled)
        self.coupled = coupled
        plain = nn.ConvTranspose1d(
            in_channels * (2 if coupled else 1),
            out_channels,
            kernel_size,
            stride,
            padding,
            output_padding,
            groups,
            bias,
            dilation,
            device=device,
            dtype=dtype,
        )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride, self.dilation = plain.kernel_size[0], plain.stride[0], plain.dilation[0]
        self.padding, self.output_padding = cast(tuple[int, ...], plain.padding)[0], plain.output_padding[0]
        self.weight, self.bias = plain.weight, plain.bias

    @property
    def couplable(self) -> bool:
        return self.source is None

    def _conv(self, x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
        return F.conv_transpose1d(
            x, weight, bias, self.stride, self.padding, self.output_padding, groups, self.dilation
        )

    def batched(self, s: Tensor) -> Tensor:
        check_channels(s, self.in_channels, (3,), self)
        if self.coupled:
            s = with_partner(s, self.groups)
        return self._conv(s, self.weight, self.bias, self.groups)

    def forward(self, x: Tensor) -> Tensor:
        if self.source is not None or self.output_padding or (self.coupled and self.groups > 1):
            return super().forward(x)
        check_channels(x, 2 * self.in_channels, (3,), self)
        bias = None if self.bias is None else tie(self.bias)
        if self.coupled:
            return self._conv(x, torch.cat([self.weight, mirror(self.weight)], dim=1), bias, 1)
        return self._conv(x, tie(self.weight), bias, 2 * self.groups)

    def config(self) -> dict[str, object]:
        return {
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "kernel_size": self.kernel_size,
            "stride": self.stride,
            "padding": self.padding,
            "output_padding": self.output_padding,
            "groups": self.groups,
            "bias": self.bias is not None,
            "dilation": self.dilation,
            "coupled": self.coupled,
            "source": None if self.source is None else str(self.source),
        }


def with_partner(s: Tensor, groups: int = 1) -> Tensor:
    """What a coupled layer reads, batched: each strand with the other one in its direction."""
    if _joined is not None and (found := _joined(s, groups)) is not None:
        return found
    return _interleave(s, partner(s), groups)


Joining = Callable[[Tensor, int], Tensor | None]
#: Another way to do it, which returns None where it does not apply.
_joined: Joining | None = None


@contextmanager
def joining(way: Joining) -> Iterator[None]:
    """Within the block :func:`with_partner` is done in this way; the same up to rounding. Not for several threads."""
    global _joined
    before, _joined = _joined, way
    try:
        yield
    finally:
        _joined = before


def _interleave(own: Tensor, other: Tensor, groups: int) -> Tensor:
    """(own, other) as one input of a coupled layer: within each group, own channels then the other's."""
    if groups == 1:
        return torch.cat([own, other], dim=1)
    n, channels, length = own.shape
    split = (n, groups, channels // groups, length)
    return torch.cat([own.reshape(split), other.reshape(split)], dim=2).reshape(n, 2 * channels, length)


def _pad_offset(x: Tensor, left: int, right: int, offset: int, mode: str) -> Tensor:
    """Pad, then drop the first ``offset`` positions."""
    if mode != "zeros":
        x = F.pad(x, (left, right), mode=mode) if left or right else x
        return x[..., offset:]
    return F.pad(x, (left - offset, right))
