"""Batch norm of a stacked tensor in training: channel f and its mirror 2F−1−f share their statistics (theorem T10).

The plain layer on the doubled batch does the same after a flip and a copy. Here nothing is moved: the statistics of the
2F channels are joined in pairs, v = ½(v₁ + v₂) + ¼(m₁ − m₂)², and the gradient is corrected for them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from rcproof.nn.base import halves
from rcproof.strand import tie


def fold(v: Tensor) -> Tensor:
    """(2F,) → (F,): each channel plus its mirror; the transpose of ``tie`` on vectors."""
    half = v.shape[0] // 2
    return v[:half] + v[half:].flip(0)


def as_image(x: Tensor) -> Tensor:
    """A view that batch norm knows as channels last, if the channels lie innermost in memory."""
    return x.unsqueeze(2) if x.dim() == 3 and x.stride(1) == 1 and not x.is_contiguous() else x


def on_doubled_batch(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """The same by moving the mirrored half into the batch; statistics do not ask in which order positions lie."""
    a, b = halves(x, 1)
    y = F.batch_norm(torch.cat([a, b.flip(1)]), None, None, weight, bias, True, 0.0, eps)
    a, b = halves(y)
    return torch.cat([a, b.flip(1)], dim=1)


class PooledBatchNorm(torch.autograd.Function):
    """(x (N, 2F, …), weight (F,), bias (F,), eps) → (y, mean (F,), biased variance (F,)); no gradient in the last two.

    With g the gradient, x̂ the normalised input, M = 2·N·L, sums over a channel and its mirror:
    ∂x = w/σ · (g − Σg/M − x̂·Σ(g·x̂)/M), ∂w = Σ g·x̂, ∂b = Σ g. Twice differentiable.
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        means, variances = torch.batch_norm_update_stats(as_image(x), None, None, 0.0)
        half = x.shape[1] // 2
        mean = fold(means) * 0.5
        apart = (means[:half] - means[half:].flip(0)) * 0.5
        var = fold(variances) * 0.5 + apart * apart
        y = F.batch_norm(as_image(x), tie(mean), tie(var), tie(weight), tie(bias), False, 0.0, eps)
        return y if y.dim() == x.dim() else y.squeeze(2), mean, var

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        x, weight, _, ctx.eps = inputs
        _, mean, var = output
        ctx.save_for_backward(x, weight, mean, var)
        ctx.mark_non_differentiable(mean, var)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, var = ctx.saved_tensors
        if torch.is_grad_enabled():  # a gradient of the gradient is wanted: statistics are functions of x again
            y = on_doubled_batch(x, weight, torch.zeros_like(weight), ctx.eps)
            found = torch.autograd.grad(y, (x, weight), grads[0], create_graph=True, allow_unused=True)
            return (*found, fold(grads[0].sum([0, *range(2, x.dim())])), None)
        return (*_backward(grads[0], x, weight, mean, var, ctx.eps), None)


def _backward(
    g: Tensor, x: Tensor, weight: Tensor, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    # With the statistics held fixed, as in eval; then what flows through them.
    image, fixed = as_image(x), (tie(mean), tie(var))
    grads = torch.ops.aten.native_batch_norm_backward(
        g.unsqueeze(2) if image.dim() > x.dim() else g, image, tie(weight), *fixed, None, None, False, eps, [True] * 3
    )
    grad_weight, grad_bias = fold(grads[1]), fold(grads[2])
    deviation = torch.rsqrt(var + eps)
    total = x.numel() // x.shape[1] * 2
    slope = -tie(weight * deviation * deviation * grad_weight) / total
    shift = -tie(weight * deviation * grad_bias) / total - fixed[0] * slope
    shape = (1, -1) + (1,) * (x.dim() - 2)
    dx = grads[0].squeeze(2) if image.dim() > x.dim() else grads[0]
    return dx + torch.addcmul(shift.view(shape), x, slope.view(shape)), grad_weight, grad_bias
