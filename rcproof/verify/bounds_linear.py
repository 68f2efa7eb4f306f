"""Bounds through the linear part of a network: convolutions, dense layers, sums, products, means, batch norm."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from rcproof.verify.bounds_values import Bound, Bounding, Raw, own

Bilinear = Callable[[Tensor, Tensor], Tensor]


class LinearBounds(Bounding):
    """Linear maps: T12.split, e′ = Σ|w|·e + γ·(Σ|w|·|x̂| + |b|), with γ by the number of terms that are not 0."""

    def weights(self, x: Any, what: str) -> Tensor:
        """A tensor of numbers that are what they are: weights, or constants moved about."""
        v: Bound = self.value(x)
        if bool((v.rad != 0).any()) or bool((v.err != 0).any()):
            raise self.refuse(f"{what} by numbers that are computed or depend on the input")
        return v.at

    def _products(self, f: Bilinear, x: Any, weight: Any, bias: Any, column: tuple[int, ...], what: str) -> Raw:
        """f(x, w) + b for a map that is linear in both; ``column`` is the bias's shape in the result."""
        v, w = self.factor(self.value(x)), self.weights(weight, what)
        b = None if bias is None else self.weights(bias, what).reshape(column)
        with torch.no_grad():
            wide, used = w.abs(), (w != 0).double()
            reach = v.reach
            size, n = f(reach, wide), f((reach > 0).double(), used)
            here = f(v.at.abs() + v.rad, wide)
            if b is not None:
                size, here, n = size + b.abs(), here + b.abs(), n + (b != 0)
            zero = torch.zeros_like(size)
            err = f(v.err, wide) if bool(v.err.any()) else zero
            rad = (f(v.rad, wide) if bool(v.rad.any()) else zero) + own(n, here)
        mid = f(v.mid, w)
        mid = mid if b is None else mid + b
        if v.one_hot and not self.pull_back and what == "a convolution":
            mid, rad, size, n = self._one_hot(f, v, w, b, n)
        local = self._summed(n, size, mid.detach().abs() + (rad + err if not self.running else 0))
        # A derivative adds over outputs as the map adds over inputs.
        back = f(torch.ones_like(v.at), torch.ones_like(w)).max() if math.prod(v.shape) else torch.tensor(0.0)
        steps = float(back) + float(w.numel()) / max(w.shape[1 if w.dim() > 1 else 0], 1)
        return Raw(mid, rad, err, local, steps=steps)

    def _one_hot(self, f: Bilinear, v: Bound, w: Tensor, b: Tensor | None, n: Tensor) -> tuple[Tensor, ...]:
        """Of one-hot channels, at most one weight a tap counts."""
        x = torch.ones_like(v.at[:, :1])
        low, high = w.amin(1, keepdim=True).clamp_max(0), w.amax(1, keepdim=True).clamp_min(0)
        least, most, size = f(x, low), f(x, high), f(x, w.abs().amax(1, keepdim=True))
        taps = f(x, (w != 0).any(1, keepdim=True).double())
        if b is not None:
            least, most, size, taps = least + b, most + b, size + b.abs(), taps + 1
        mid = (least + most) / 2
        return mid, torch.maximum(most - mid, mid - least) + own(taps, size), size, taps

    def _summed(self, n: Tensor, size: Tensor, result: Tensor) -> Tensor:
        """What a sum of n products can lose: factors cut, every step of the sum rounded, the result stored."""
        p = self.precision
        cut = (1 + p.factors) ** 2
        lost = p.gamma(n + 1) * cut * size + (cut - 1) * size + (n + 1) * p.smallest
        # Stored in fewer bits than it was summed in; twice, since a bias can be added to what was stored already.
        return lost if p.unit <= p.sums else lost + 2 * p.unit * (1 + p.unit) * (result + lost)

    def rounded(self, result: Tensor, operations: float = 1.0) -> Tensor:
        """What a few operations can lose that end in results of this size."""
        p = self.precision
        return p.gamma(operations, p.unit) * result + operations * p.smallest

    def _at(self, mid: Tensor, rad: Tensor, err: Tensor) -> Tensor:
        """How large a result can be before it is rounded."""
        return mid.detach().abs() + (rad * 0 if self.running else rad + err)

    # -- layers ------------------------------------------------------------------------------------
    def op_conv1d(self, x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
                  groups: int = 1) -> Raw:  # fmt: skip
        v = self.value(x)
        if v.one_hot and groups > 1:
            v.one_hot = False

        def f(t: Tensor, w: Tensor) -> Tensor:
            return F.conv1d(t, w, None, stride, padding, dilation, groups)

        return self._products(f, v, weight, bias, (1, -1, 1), "a convolution")

    def op_conv_transpose1d(self, x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
                            output_padding: Any = 0, groups: int = 1, dilation: Any = 1) -> Raw:  # fmt: skip
        def f(t: Tensor, w: Tensor) -> Tensor:
            return F.conv_transpose1d(t, w, None, stride, padding, output_padding, groups, dilation)

        return self._products(f, x, weight, bias, (1, -1, 1), "a transposed convolution")

    def op_linear(self, x: Any, weight: Any, bias: Any = None) -> Raw:
        return self._products(F.linear, x, weight, bias, (-1,), "a dense layer")

    def op_matmul(self, a: Any, b: Any) -> Raw:
        one = self.value(a)
        if bool(one.rad.any()) or bool(one.err.any()) or one.mid.requires_grad:
            return self._products(torch.matmul, one, b, None, (1,), "a matrix product")
        return self._products(lambda t, w: torch.matmul(w, t), b, one, None, (1,), "a matrix product")

    op_bmm = op_mm = op_matmul

    def op_einsum(self, equation: str, *operands: Any) -> Raw:
        given = operands[0] if len(operands) == 1 else operands
        if len(given) != 2:
            raise self.refuse(f"the einsum {equation!r}")
        x, weight = given
        return self._products(lambda t, w: torch.einsum(equation, t, w), x, weight, None, (1,), "an einsum")

    def op_batch_norm(self, x: Any, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None,
                      training: bool = False, momentum: float = 0.1, eps: float = 1e-5) -> Raw:  # fmt: skip
        """(x − mean)·w/√(var + ε) + b, computed so or as α·x + β: at most 8 roundings on the way of each term."""
        if training or running_mean is None or running_var is None:
            raise self.refuse("batch norm in train mode, or without running statistics")
        v = self.value(x)
        shape = (1, -1, *[1] * (len(v.shape) - 2))
        mean, var = (self.weights(t, "batch norm").reshape(shape) for t in (running_mean, running_var))
        one, zero = torch.ones_like(mean), torch.zeros_like(mean)
        w, b = (
            d if t is None else self.weights(t, "batch norm").reshape(shape) for t, d in ((weight, one), (bias, zero))
        )
        if not bool((var + eps > 0).all()):
            raise self.refuse("batch norm with a variance that is not positive")
        scale = w / torch.sqrt(var + eps)
        mid = (v.mid - mean) * scale + b
        parts = scale.abs() * (v.reach + mean.abs()) + b.abs()
        here = scale.abs() * (v.at.abs() + v.rad + mean.abs()) + b.abs()
        rad, err = scale.abs() * v.rad + own(12, here), scale.abs() * v.err
        # Where results are stored in few bits, so may the two numbers a channel be.
        local = self.rounded(parts, 8 if self.precision.unit <= self.precision.sums else 4)
        return Raw(mid, rad, err, local, steps=16)

    # -- arithmetic --------------------------------------------------------------------------------
    def op_add(self, a: Any, b: Any, alpha: float = 1) -> Raw:
        if alpha not in (1, -1):
            raise self.refuse(f"an addition with alpha={alpha}")
        one, two = self.value(a), self.value(b)
        mid, rad, err = one.mid + alpha * two.mid, one.rad + two.rad, one.err + two.err
        rad = rad + own(1, mid.detach().abs())
        return Raw(mid, rad, err, self.rounded(self._at(mid, rad, err)), steps=4)

    def op_sub(self, a: Any, b: Any, alpha: float = 1) -> Raw:
        return self.op_add(a, b, alpha=-alpha)

    op_subtract = op_sub

    def op_neg(self, a: Any) -> Bound:
        v = self.value(a)
        return Bound(-v.mid, v.rad, v.err, None if v.computed is None else -v.computed)

    op_negative = op_neg

    def op_mul(self, a: Any, b: Any) -> Raw:
        one, two = self.value(a), self.value(b)
        x, y = one.at.abs(), two.at.abs()
        mid = one.mid * two.mid
        rad = x * two.rad + y * one.rad + one.rad * two.rad
        # x̂ŷ − xy = x̂·(ŷ − y) + y·(x̂ − x), and the derivative at (m₁, m₂) carries m₁·(ŷ − y) + m₂·(x̂ − x).
        beyond = one.computed_radius * two.err + self._exact_radius(two) * one.err
        err = x * two.err + y * one.err + beyond
        if _factors(one, ones=True) or _factors(two, ones=True):
            return Raw(mid, rad, err, torch.zeros_like(rad), beyond)
        if _factors(one) or _factors(two):
            return Raw(mid, rad + 2.0**-1022, err, torch.full_like(rad, self.precision.smallest), beyond)
        rad = rad + own(1, mid.detach().abs())
        return Raw(mid, rad, err, self.rounded(self._at(mid, rad, err)), beyond, steps=4)

    op_multiply = op_mul

    def _exact_radius(self, v: Bound) -> Tensor:
        """How far from ``mid`` the exact value can be."""
        return v.err if self.running else v.rad

    def op_div(self, a: Any, b: Any, rounding_mode: str | None = None) -> Raw:
        v, by = self.value(a), self.value(b)
        size = by.at.abs()
        if rounding_mode is not None or bool((4 * (by.rad + by.err) >= size).any()):
            raise self.refuse("a division by numbers that may be zero")
        # With divisors off by less than s ≤ 1/4 of themselves: 1/(1 − s) ≤ 1 + 2s and 1/(1 − s)² ≤ 1 + 4s.
        q, r = by.err / size, by.rad / size
        s = q + r
        mid = v.mid / by.at
        beyond = (2 * s * v.err + (v.reach + v.radius) * q * (1 + 4 * s)) / size
        rad = (v.rad + v.at.abs() * r) * (1 + 4 * r) / size + own(1, mid.detach().abs())
        err = v.err / size + beyond
        return Raw(mid, rad, err, self.rounded(self._at(mid, rad, err), 2), beyond, steps=4)

    op_divide = op_true_divide = op_div

    def op_sum(self, x: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Raw:
        return self._totalled(x, dim, keepdim, mean=False)

    def op_mean(self, x: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Raw:
        return self._totalled(x, dim, keepdim, mean=True)

    def _totalled(self, x: Any, dim: Any, keepdim: bool, mean: bool) -> Raw:
        v = self.value(x)
        axes = tuple(range(len(v.shape))) if dim is None else dim
        count = math.prod(v.shape[a] for a in (axes if isinstance(axes, tuple | list) else (axes,)))

        def total(t: Tensor) -> Tensor:
            made = t.sum(axes, keepdim)
            return made / count if mean else made

        n = (v.reach > 0).double().sum(axes, keepdim) + mean
        size, here = total(v.reach), total(v.at.abs() + v.rad)
        mid, rad, err = total(v.mid), total(v.rad) + own(n + 1, here), total(v.err)
        local = self._summed(n, size, self._at(mid, rad, err))
        return Raw(mid, rad, err, local, steps=float(count) + 4)

    def _averaged(self, x: Any, pool: Callable[[Tensor], Tensor]) -> Raw:
        """Average pooling as the linear map that it is; torch says which one."""
        v = self.value(x)
        matrix = pool(torch.eye(v.shape[-1], dtype=torch.float64).unsqueeze(0))[0]
        n = (v.reach > 0).double() @ (matrix > 0).double() + 1
        size, here = v.reach @ matrix, (v.at.abs() + v.rad) @ matrix
        mid, rad, err = v.mid @ matrix, v.rad @ matrix + own(n + 2, here), v.err @ matrix
        return Raw(mid, rad, err, self._summed(n, size, self._at(mid, rad, err)), steps=float(v.shape[-1]) + 4)

    def op_avg_pool1d(self, x: Any, *args: Any, **options: Any) -> Raw:
        return self._averaged(x, lambda eye: F.avg_pool1d(eye, *args, **options))

    def op_adaptive_avg_pool1d(self, x: Any, *args: Any, **options: Any) -> Raw:
        return self._averaged(x, lambda eye: F.adaptive_avg_pool1d(eye, *args, **options))


def _factors(v: Bound, ones: bool = False) -> bool:
    """Whether every element is 0 or ± a power of two (or 1), for sure: products with these are exact."""
    if v.mid.requires_grad or bool(v.rad.any()) or bool(v.err.any()):
        return False
    if ones:
        return bool(((v.at.abs() == 1) | (v.at == 0)).all())
    mantissa = torch.frexp(v.at)[0].abs()
    return bool(((mantissa == 0.5) | (mantissa == 0)).all())
