"""Tied normalisation: batch, layer, group and instance norm of strand pairs.

Layer, group and instance norm treat examples one by one, so their lifts are the plain layers on each
strand (theorem T2). Batch norm mixes examples: its statistics pool both strands, which is the plain
layer on the doubled batch. Calling a plain batch norm once per strand gives neither (theorem T10).
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rcproof.errors import ShapeError
from rcproof.nn.base import TiedLayer, check_channels, halves
from rcproof.nn.derived import derived, unwatched
from rcproof.nn.pooled_norm import PooledBatchNorm, as_image
from rcproof.strand import tie


def _tied(v: Tensor | None) -> Tensor | None:
    return None if v is None else tie(v)


#: Below this many values the calls of pooled statistics cost more than two copies.
_LEAST_POOLED = 1 << 17


def _batch_norm(x: Tensor, *rest: Any) -> Tensor:
    """``F.batch_norm``, which knows channels that lie innermost in memory by an image of one row alone."""
    image = as_image(x)
    y = F.batch_norm(image, *rest)
    return y if image.dim() == x.dim() else y.squeeze(2)


class RCPSBatchNorm1d(TiedLayer):
    """RCPS batch norm of F features. Stacked (N, 2F, L) or (N, 2F) → the same shape.

    ``weight``, ``bias``, ``running_mean`` and ``running_var`` have shape (F,), ``num_batches_tracked`` ();
    they are those of ``nn.BatchNorm1d``, and so are the options. In training the statistics pool both
    strands: outputs, gradients and running buffers are those of the plain layer on the doubled batch, so
    they do not change when any example is replaced by its reverse complement. Theorem T10.

    >>> import torch
    >>> from rcproof.strand import rc
    >>> layer = RCPSBatchNorm1d(3)
    >>> x = torch.randn(2, 6, 10)
    >>> bool(torch.allclose(layer(rc(x)), rc(layer(x)), atol=1e-5))
    True
    """

    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        plain = nn.BatchNorm1d(num_features, eps, momentum, affine, track_running_stats, device=device, dtype=dtype)
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self.weight, self.bias = plain.weight, plain.bias
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(plain, name))

    def _factor(self) -> float:
        """The weight of this batch in the running statistics; counts the batch."""
        if not self.training or self.num_batches_tracked is None:
            return 0.0
        self.num_batches_tracked.add_(1)
        return 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum

    def batched(self, s: Tensor) -> Tensor:
        check_channels(s, self.num_features, (2, 3), self)
        use_batch = self.training or self.running_mean is None
        factor = self._factor()
        return _batch_norm(s, self.running_mean, self.running_var, self.weight, self.bias, use_batch, factor, self.eps)

    def forward(self, x: Tensor) -> Tensor:
        check_channels(x, 2 * self.num_features, (2, 3), self)
        if self.training or self.running_mean is None:
            return self._pooled(x)
        own = (self.running_mean, self.running_var, self.weight, self.bias)
        mean, var, weight, bias = derived(self, "tied", own, lambda: tuple(_tied(v) for v in own))
        return _batch_norm(x, mean, var, weight, bias, False, 0.0, self.eps)

    def _pooled(self, x: Tensor) -> Tensor:
        """In training: channel f and its mirror share their statistics."""
        if x.numel() < _LEAST_POOLED or x.dtype not in (torch.float32, torch.float64) or not unwatched(x, self.weight):
            return self._moved(x)
        ones = x.new_ones(self.num_features)
        weight = ones if self.weight is None else self.weight
        bias = torch.zeros_like(ones) if self.bias is None else self.bias
        y, mean, var = PooledBatchNorm.apply(x, weight, bias, self.eps)
        factor = self._factor()
        if factor and self.running_mean is not None and self.running_var is not None:
            count = 2 * x.numel() // x.shape[1]
            with torch.no_grad():
                self.running_mean.lerp_(mean, factor)
                self.running_var.lerp_(var * (count / (count - 1)), factor)
        return cast(Tensor, y)

    def _moved(self, x: Tensor) -> Tensor:
        """The same with fewer and larger operations: the mirrored half goes to the batch, positions as they lie."""
        a, b = halves(x, 1)
        a, b = halves(self.batched(torch.cat([a, b.flip(1)])))
        return torch.cat([a, b.flip(1)], dim=1)

    def affine_in_eval(self) -> tuple[Tensor, Tensor] | None:
        """The scale and shift (F,) that this layer is in eval, for folding into the layer before; None in training."""
        if self.training or self.running_mean is None or self.running_var is None:
            return None
        scale = torch.rsqrt(self.running_var + self.eps)
        scale = scale if self.weight is None else scale * self.weight
        shift = -self.running_mean * scale
        return scale, shift if self.bias is None else shift + self.bias

    def config(self) -> dict[str, object]:
        return {
            "num_features": self.num_features,
            "eps": self.eps,
            "momentum": self.momentum,
            "affine": self.affine,
            "track_running_stats": self.track_running_stats,
        }


class RCPSLayerNorm(TiedLayer):
    """RCPS layer norm over the last axes. Stacked (N, 2F, …) → the same shape.

    ``weight`` and ``bias`` have shape ``normalized_shape``, the shape of one strand's last axes: (F,) for
    vectors (N, 2F), (L,) or (F, L) for (N, 2F, L). Each strand is normalised on its own; the mirrored
    half reads the affine part backwards. :meth:`batched` takes any rank that ``nn.LayerNorm`` takes,
    (2N, L, F) among them. Theorem T2.

    >>> from rcproof.strand import rc
    >>> layer, x = RCPSLayerNorm(20), torch.randn(2, 6, 20)
    >>> layer(x).shape, bool(torch.allclose(layer(rc(x)), rc(layer(x)), atol=1e-6))
    (torch.Size([2, 6, 20]), True)
    """

    def __init__(
        self,
        normalized_shape: int | list[int] | tuple[int, ...],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        shape = [normalized_shape] if isinstance(normalized_shape, int) else list(normalized_shape)
        plain = nn.LayerNorm(shape, eps, elementwise_affine, bias, device=device, dtype=dtype)
        self.normalized_shape, self.eps = plain.normalized_shape, eps
        self.elementwise_affine = elementwise_affine
        self.weight, self.bias = plain.weight, plain.bias

    def _check(self, x: Tensor, halves: int) -> None:
        axes = len(self.normalized_shape)
        want = list(self.normalized_shape)
        channels = x.dim() - 1 == axes  # then the channel axis is among the normalised ones
        if channels:
            want[0] *= halves
        uneven = halves == 2 and x.dim() > 1 and x.shape[1] % 2
        if x.dim() <= axes or list(x.shape[-axes:]) != want or uneven:
            last = ", ".join(str(v) for v in want)
            lead = "N" if channels else "N, 2F, …" if halves == 2 else "N, …"
            raise ShapeError(
                f"input of {self.__class__.__name__}", got=f"shape {tuple(x.shape)}", expected=f"({lead}, {last})"
            )

    def batched(self, s: Tensor) -> Tensor:
        self._check(s, 1)
        return F.layer_norm(s, self.normalized_shape, self.weight, self.bias, self.eps)

    def forward(self, x: Tensor) -> Tensor:
        self._check(x, 2)
        own, other = halves(x, 1)
        axes = tuple(range(len(self.normalized_shape)))
        weight = None if self.weight is None else self.weight.flip(axes)
        bias = None if self.bias is None else self.bias.flip(axes)
        first = F.layer_norm(own, self.normalized_shape, self.weight, self.bias, self.eps)
        return torch.cat([first, F.layer_norm(other, self.normalized_shape, weight, bias, self.eps)], dim=1)

    def config(self) -> dict[str, object]:
        return {
            "normalized_shape": list(self.normalized_shape),
            "eps": self.eps,
            "elementwise_affine": self.elementwise_affine,
            "bias": self.bias is not None,
        }


class RCPSGroupNorm(TiedLayer):
    """RCPS group norm of F channels per strand. Stacked (N, 2F, L) or (N, 2F) → the same shape.

    ``num_groups`` is per strand; ``weight`` and ``bias`` have shape (F,). On the stacked tensor it is the
    plain op with twice the groups: reversal maps groups onto groups. Theorem T2.

    >>> from rcproof.strand import rc
    >>> layer, x = RCPSGroupNorm(1, 3), torch.randn(2, 6, 20)
    >>> layer(x).shape, bool(torch.allclose(layer(rc(x)), rc(layer(x)), atol=1e-6))
    (torch.Size([2, 6, 20]), True)
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        plain = nn.GroupNorm(num_groups, num_channels, eps, affine, device=device, dtype=dtype)
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        self.weight, self.bias = plain.weight, plain.bias

    def batched(self, s: Tensor) -> Tensor:
        check_channels(s, self.num_channels, (2, 3), self)
        return F.group_norm(s, self.num_groups, self.weight, self.bias, self.eps)

    def forward(self, x: Tensor) -> Tensor:
        check_channels(x, 2 * self.num_channels, (2, 3), self)
        return F.group_norm(x, 2 * self.num_groups, _tied(self.weight), _tied(self.bias), self.eps)

    def config(self) -> dict[str, object]:
        return {
            "num_groups": self.num_groups,
            "num_channels": self.num_channels,
            "eps": self.eps,
            "affine": self.affine,
        }


class RCPSInstanceNorm1d(TiedLayer):
    """RCPS instance norm. Stacked (N, 2F, L) → the same shape.

    Parameters, buffers and options are those of ``nn.InstanceNorm1d`` with F features. Tracked running
    statistics pool both strands, as in :class:`RCPSBatchNorm1d`. Theorems T2, T10.

    >>> from rcproof.strand import rc
    >>> layer, x = RCPSInstanceNorm1d(3), torch.randn(2, 6, 20)
    >>> layer(x).shape, bool(torch.allclose(layer(rc(x)), rc(layer(x)), atol=1e-6))
    (torch.Size([2, 6, 20]), True)
    """

    running_mean: Tensor | None
    running_var: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        # torch takes None as 0 here, though its signature does not say so
        plain = nn.InstanceNorm1d(
            num_features, eps, momentum or 0.0, affine, track_running_stats, device=device, dtype=dtype
        )
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self.weight, self.bias = plain.weight, plain.bias
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(plain, name))

    def _norm(
        self, x: Tensor, mean: Tensor | None, var: Tensor | None, weight: Tensor | None, bias: Tensor | None
    ) -> Tensor:
        use_input = self.training or not self.track_running_stats
        return F.instance_norm(x, mean, var, weight, bias, use_input, self.momentum or 0.0, self.eps)

    def batched(self, s: Tensor) -> Tensor:
        check_channels(s, self.num_features, (3,), self)
        return self._norm(s, self.running_mean, self.running_var, self.weight, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        check_channels(x, 2 * self.num_features, (3,), self)
        if self.training and self.track_running_stats:
            return super().forward(x)  # the running buffers hold F channels and are updated in place
        mean, var = _tied(self.running_mean), _tied(self.running_var)
        return self._norm(x, mean, var, _tied(self.weight), _tied(self.bias))

    def config(self) -> dict[str, object]:
        return {
            "num_features": self.num_features,
            "eps": self.eps,
            "momentum": self.momentum,
            "affine": self.affine,
            "track_running_stats": self.track_running_stats,
        }
