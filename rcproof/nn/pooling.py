"""Pooling of strand pairs, equivariant for every length, kernel, stride, dilation and padding.

On paper (theorem T3): the windows of strand a leave r = (L + 2p − d(K−1) − 1) mod s positions unread at
the right (with ``ceil_mode``, the last one overhangs there). The other strand's windows leave them unread
at *its* right. The two sets of windows coincide iff r = 0; otherwise the second half of the channels is
pooled by the mirrored op. Windows of adaptive pooling, from ⌊iL/o⌋ to ⌈(i+1)L/o⌉, always coincide.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from rcproof.errors import RcproofError, ShapeError
from rcproof.nn.base import TiedLayer, halves


def _one(value: int | Sequence[int], name: str, least: int) -> int:
    """A pooling option as an integer; torch takes 1-tuples too."""
    if isinstance(value, tuple | list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise RcproofError(f"{name} of a pooling layer", got=repr(value), expected=f"an integer of at least {least}")
    return value


def _check_rank(x: Tensor, layer: TiedLayer, stacked: bool) -> None:
    if x.dim() != 3 or (stacked and x.shape[1] % 2):
        want = "(N, 2F, L)" if stacked else "(2N, F, L)"
        raise ShapeError(f"input of {layer.__class__.__name__}", got=f"shape {tuple(x.shape)}", expected=want)


class WindowPool(TiedLayer):
    """Pooling with a fixed window. Subclasses give :meth:`_pool`, the plain op on any number of channels."""

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None,
        padding: int | Sequence[int],
        dilation: int | Sequence[int],
        ceil_mode: bool,
    ) -> None:
        super().__init__()
        self.kernel_size = _one(kernel_size, "kernel_size", 1)
        self.stride = self.kernel_size if stride is None else _one(stride, "stride", 1)
        self.padding = _one(padding, "padding", 0)
        self.dilation = _one(dilation, "dilation", 1)
        self.ceil_mode = ceil_mode
        if 2 * self.padding > self.kernel_size:
            raise RcproofError(
                "padding of a pooling layer",
                got=f"{self.padding} with kernel_size {self.kernel_size}",
                expected="at most half of the kernel size",
            )

    def _pool(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def batched(self, s: Tensor) -> Tensor:
        _check_rank(s, self, stacked=False)
        return self._pool(s)

    def forward(self, x: Tensor) -> Tensor:
        _check_rank(x, self, stacked=True)
        rest = (x.shape[2] + 2 * self.padding - self.dilation * (self.kernel_size - 1) - 1) % self.stride
        if not rest:
            return self._pool(x)
        own, other = halves(x, 1)
        first = self._pool(own)
        if self.padding or self.ceil_mode:
            second = self._pool(other.flip(2)).flip(2)
        else:
            second = self._pool(other[..., rest:])  # the mirrored windows, without a copy
        return torch.cat([first, second], dim=1)


class RCPSMaxPool1d(WindowPool):
    """RCPS max pooling. Stacked (N, 2F, L) → stacked (N, 2F, L′). Options as in ``nn.MaxPool1d``.

    Where a window holds its maximum twice, the gradient goes to one of the places, as in torch; which one
    may differ between the two renderings. Theorems T2, T3.

    >>> import torch
    >>> from rcproof.strand import rc
    >>> layer, x = RCPSMaxPool1d(3), torch.randn(1, 4, 10)
    >>> bool((layer(rc(x)) == rc(layer(x))).all())
    True
    """

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        *,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)

    def _pool(self, x: Tensor) -> Tensor:
        return F.max_pool1d(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def config(self) -> dict[str, object]:
        return {
            "kernel_size": self.kernel_size,
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "ceil_mode": self.ceil_mode,
        }


class RCPSAvgPool1d(WindowPool):
    """RCPS average pooling. Stacked (N, 2F, L) → stacked (N, 2F, L′). Options as in ``nn.AvgPool1d``. T2, T3.

    >>> from rcproof.strand import rc
    >>> layer, x = RCPSAvgPool1d(4), torch.randn(2, 6, 21)
    >>> layer(x).shape, bool(torch.allclose(layer(rc(x)), rc(layer(x)), atol=1e-6))
    (torch.Size([2, 6, 5]), True)
    """

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, 1, ceil_mode)
        self.count_include_pad = count_include_pad

    def _pool(self, x: Tensor) -> Tensor:
        return F.avg_pool1d(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)

    def config(self) -> dict[str, object]:
        return {
            "kernel_size": self.kernel_size,
            "stride": self.stride,
            "padding": self.padding,
            "ceil_mode": self.ceil_mode,
            "count_include_pad": self.count_include_pad,
        }


class RCPSLPPool1d(WindowPool):
    """RCPS power-average pooling. Stacked (N, 2F, L) → stacked (N, 2F, L′). Options as in ``nn.LPPool1d``. T2, T3.

    >>> from rcproof.strand import rc
    >>> layer, x = RCPSLPPool1d(2, 4), torch.randn(2, 6, 21)
    >>> layer(x).shape, bool(torch.allclose(layer(rc(x)), rc(layer(x)), atol=1e-6))
    (torch.Size([2, 6, 5]), True)
    """

    def __init__(
        self,
        norm_type: float,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, 0, 1, ceil_mode)
        self.norm_type = norm_type

    def _pool(self, x: Tensor) -> Tensor:
        return F.lp_pool1d(x, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)

    def config(self) -> dict[str, object]:
        return {
            "norm_type": self.norm_type,
            "kernel_size": self.kernel_size,
            "stride": self.stride,
            "ceil_mode": self.ceil_mode,
        }


class AdaptivePool(TiedLayer):
    """Pooling to a given length, None for the length of the input."""

    def __init__(self, output_size: int | Sequence[int] | None) -> None:
        super().__init__()
        self.output_size = None if output_size is None else _one(output_size, "output_size", 1)

    def _pool(self, x: Tensor, size: int) -> Tensor:
        raise NotImplementedError

    def batched(self, s: Tensor) -> Tensor:
        _check_rank(s, self, stacked=False)
        return self._pool(s, self.output_size or s.shape[2])

    def forward(self, x: Tensor) -> Tensor:
        _check_rank(x, self, stacked=True)
        return self._pool(x, self.output_size or x.shape[2])

    def config(self) -> dict[str, object]:
        return {"output_size": self.output_size}


class RCPSAdaptiveMaxPool1d(AdaptivePool):
    """RCPS max pooling to ``output_size`` positions. Stacked (N, 2F, L) → stacked (N, 2F, o). T2, T3.

    >>> from rcproof.strand import rc
    >>> layer, x = RCPSAdaptiveMaxPool1d(3), torch.randn(2, 6, 20)
    >>> layer(x).shape, bool(torch.allclose(layer(rc(x)), rc(layer(x)), atol=1e-6))
    (torch.Size([2, 6, 3]), True)
    """

    def _pool(self, x: Tensor, size: int) -> Tensor:
        return F.adaptive_max_pool1d(x, size)


class RCPSAdaptiveAvgPool1d(AdaptivePool):
    """RCPS average pooling to ``output_size`` positions. Stacked (N, 2F, L) → stacked (N, 2F, o). T2, T3.

    >>> from rcproof.strand import rc
    >>> layer, x = RCPSAdaptiveAvgPool1d(3), torch.randn(2, 6, 20)
    >>> layer(x).shape, bool(torch.allclose(layer(rc(x)), rc(layer(x)), atol=1e-6))
    (torch.Size([2, 6, 3]), True)
    """

    def _pool(self, x: Tensor, size: int) -> Tensor:
        return F.adaptive_avg_pool1d(x, size)
