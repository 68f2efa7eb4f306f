"""Bounds through the rest of a network: piecewise-linear functions, maxima, elementary functions, softmax."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from rcproof.verify.bounds_linear import LinearBounds
from rcproof.verify.bounds_values import OUTWARD, Bound, Raw, own
from rcproof.verify.precision import FUNCTION_UNITS


@dataclass(frozen=True)
class Smooth:
    """What is known of an elementary function: |f′(a) − f′(b)| ≤ ``bend``·|a − b| away from ``kinks``.

    ``jump``: by how much f′ (or f, in ``step``) can change at a kink. ``wide``: rounding counts at the size of the
    argument as well as of the result. ``span``: how far two values can be apart.
    """

    function: Callable[[Tensor], Tensor]
    bend: float
    kinks: tuple[float, ...] = ()
    jump: float = 0.0
    step: float = 0.0
    wide: bool = False
    span: float = math.inf


#: Second derivatives are bounded over all arguments: sup|σ″| = 1/(6√3), sup|tanh″| = 4/(3√3), and so on, rounded up.
SMOOTH: dict[str, Callable[..., Smooth]] = {
    "sigmoid": lambda: Smooth(torch.sigmoid, 0.0963, span=1.0),
    "tanh": lambda: Smooth(torch.tanh, 0.77, span=2.0),
    "softplus": lambda beta=1.0, threshold=20.0: Smooth(
        lambda t: F.softplus(t, beta, threshold), beta / 4,
        (threshold / beta,), math.exp(-threshold), math.exp(-threshold) / beta,
    ),
    "logsigmoid": lambda: Smooth(F.logsigmoid, 0.25),
    "gelu": lambda approximate="none": Smooth(lambda t: F.gelu(t, approximate=approximate), 1.0, wide=True),
    "silu": lambda: Smooth(F.silu, 0.51),
    "mish": lambda: Smooth(F.mish, 0.7),
    "softsign": lambda: Smooth(F.softsign, 2.0, span=2.0),
    "elu": lambda alpha=1.0: Smooth(lambda t: F.elu(t, alpha), abs(alpha), (0.0,), abs(1 - alpha)),
    "celu": lambda alpha=1.0: Smooth(lambda t: F.celu(t, alpha), 1 / abs(alpha)),
    "selu": lambda: Smooth(torch.selu, 1.76, (0.0,), 0.71),
    "erf": lambda: Smooth(torch.erf, 0.97, span=2.0),
    "atan": lambda: Smooth(torch.atan, 0.65, span=math.pi),
    "sin": lambda: Smooth(torch.sin, 1.0, span=2.0),
    "cos": lambda: Smooth(torch.cos, 1.0, span=2.0),
}  # fmt: skip
#: Functions whose derivatives have no bound: they are bounded by what they are at the ends of the interval.
STEEP: dict[str, tuple[Callable[[Tensor], Tensor], float, Callable[[Tensor, Tensor], Tensor]]] = {
    "exp": (torch.exp, -math.inf, lambda low, high: torch.exp(high)),
    "expm1": (torch.expm1, -math.inf, lambda low, high: torch.exp(high)),
    "log": (torch.log, 0.0, lambda low, high: 1 / low**2),
    "log1p": (torch.log1p, -1.0, lambda low, high: 1 / (1 + low) ** 2),
    "sqrt": (torch.sqrt, 0.0, lambda low, high: 0.25 * low**-1.5),
}


class BoundArithmetic(LinearBounds):
    """Rounding bounds for everything that is covered; see :mod:`rcproof.verify.bounds_values`."""

    # -- piecewise linear --------------------------------------------------------------------------
    def _bent(
        self, x: Any, f: Callable[[Tensor], Tensor], kinks: tuple[float, ...], slope: float, bend: float,
        roundings: float = 0.0,
    ) -> Raw:  # fmt: skip
        """A monotone function of slope at most ``slope``, which changes by at most ``bend`` at any of ``kinks``."""
        v = self.value(x)
        if not self.pull_back:
            low, high = f(v.at - v.rad), f(v.at + v.rad)
            mid = (low + high) / 2
            rad = torch.maximum(high - mid, mid - low) * OUTWARD
        else:
            mid = f(v.mid)
            rad = torch.maximum(f(v.at + v.rad) - mid.detach(), mid.detach() - f(v.at - v.rad)) * OUTWARD
        at, radius = v.at, v.radius
        near = torch.zeros_like(at, dtype=torch.bool)
        for kink in kinks:
            near |= (at - kink).abs() <= radius
        steepness = self._slope(f, at)
        err = torch.where(near, slope, steepness) * v.err
        local = self.rounded(f(v.reach).abs() + f(-v.reach).abs(), roundings) if roundings else torch.zeros_like(at)
        rad = rad + (own(roundings, f(v.reach).abs() + f(-v.reach).abs()) if roundings else 0)
        return Raw(mid, rad, err, local, torch.where(near, bend * v.err, 0.0))

    @staticmethod
    def _slope(f: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = at.detach().clone().requires_grad_()
            (found,) = torch.autograd.grad(f(leaf).sum(), leaf)
        return found.abs()

    def op_relu(self, x: Any) -> Raw:
        return self._bent(x, torch.relu, (0.0,), 1.0, 1.0)

    def op_leaky_relu(self, x: Any, negative_slope: float = 0.01) -> Raw:
        if negative_slope < 0:
            raise self.refuse(f"leaky_relu of slope {negative_slope}")

        def f(t: Tensor) -> Tensor:
            return F.leaky_relu(t, negative_slope)

        return self._bent(x, f, (0.0,), max(1.0, negative_slope), abs(1 - negative_slope), 2)

    def op_prelu(self, x: Any, weight: Any) -> Raw:
        w = self.weights(weight, "prelu")
        if bool((w < 0).any()):
            raise self.refuse("prelu of a negative slope")
        most = float(w.max())
        return self._bent(x, lambda t: F.prelu(t, w), (0.0,), max(1.0, most), max(1.0, most), 2)

    def op_clamp(self, x: Any, min: Any = None, max: Any = None) -> Raw:  # noqa: A002 (torch's names)
        ends = tuple(float(e) for e in (min, max) if e is not None)
        return self._bent(x, lambda t: torch.clamp(t, min, max), ends, 1.0, 1.0)

    op_clip = op_clamp

    def op_hardtanh(self, x: Any, min_val: float = -1.0, max_val: float = 1.0) -> Raw:
        return self.op_clamp(x, min_val, max_val)

    def op_relu6(self, x: Any) -> Raw:
        return self.op_clamp(x, 0.0, 6.0)

    def op_hardsigmoid(self, x: Any) -> Raw:
        raw = self._bent(x, F.hardsigmoid, (-3.0, 3.0), 1 / 6, 1 / 6)
        size = self.value(x).reach / 6 + 1
        raw.local, raw.rad = self.rounded(size, 4), raw.rad + own(4, size)
        return raw

    # -- maxima ------------------------------------------------------------------------------------
    def _greatest(self, windows: Bound, member: Tensor) -> Raw | Bound:
        """The maximum over the last axis, of the ``member`` elements. It rounds nothing.

        |max x̂ − max x| is at most the largest error among the elements that can be a maximum. Where one alone can be,
        the maximum is linear; where not, its linear part is that element at which ``mid`` is largest.
        """
        mid = torch.where(member, windows.mid, -math.inf)
        top, place = mid.max(-1)
        radius, rad = windows.radius, torch.where(member, windows.rad, 0.0)
        least = torch.where(member, windows.at - radius, -math.inf).amax(-1, keepdim=True)
        can = member & (windows.at + radius >= least)
        err = torch.where(can, windows.err, 0.0).amax(-1)
        several = can.sum(-1) > 1
        here = windows.err.gather(-1, place.unsqueeze(-1)).squeeze(-1)
        beyond = torch.where(several, err + here, 0.0)
        spread = torch.where(can, rad, 0.0).amax(-1)
        if not self.pull_back:
            high = torch.where(member, windows.at + rad, -math.inf).amax(-1)
            low = torch.where(member, windows.at - rad, -math.inf).amax(-1)
            top = (high + low) / 2
            spread = torch.maximum(high - top, top - low) * OUTWARD
        return Raw(top, spread, err, torch.zeros_like(err), beyond)

    def _in_windows(self, x: Any, index: Tensor, member: Tensor) -> Raw | Bound:
        windows: Bound = self.moved(lambda ts: ts[0][..., index], [self.value(x)])
        return self._greatest(windows, member)

    def op_max_pool1d(self, x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
                      ceil_mode: bool = False, return_indices: bool = False) -> Any:  # fmt: skip
        if return_indices:
            raise self.refuse("max pooling that returns places")
        size, step, left, spread = (_one(n) for n in (kernel_size, stride or kernel_size, padding, dilation))
        length = self.value(x).shape[-1]
        count = F.max_pool1d(torch.zeros(1, 1, length), size, step, left, spread, ceil_mode).shape[-1]
        places = step * torch.arange(count)[:, None] - left + spread * torch.arange(size)
        member = (places >= 0) & (places < length)
        return self._in_windows(x, places.clamp(0, length - 1), member)

    def op_adaptive_max_pool1d(self, x: Any, output_size: Any, return_indices: bool = False) -> Any:
        if return_indices:
            raise self.refuse("max pooling that returns places")
        length, count = self.value(x).shape[-1], _one(output_size)
        starts = torch.arange(count) * length // count
        stops = -(-(torch.arange(count) + 1) * length // count)
        places = starts[:, None] + torch.arange(int((stops - starts).max()))
        return self._in_windows(x, places.clamp(0, length - 1), places < stops[:, None])

    def op_amax(self, x: Any, dim: Any = (), keepdim: bool = False) -> Any:
        v = self.value(x)
        axes = [a % len(v.shape) for a in (dim if isinstance(dim, tuple | list) else (dim,))] or list(
            range(len(v.shape))
        )
        shape = [1 if i in axes else n for i, n in enumerate(v.shape)]

        def last(ts: list[Tensor]) -> Tensor:
            kept = [i for i in range(len(v.shape)) if i not in axes]
            return ts[0].permute(*kept, *axes).reshape(*[v.shape[i] for i in kept], -1)

        windows: Bound = self.moved(last, [v])
        raw = self._greatest(windows, torch.ones_like(windows.at, dtype=torch.bool))
        return _reshaped(raw, shape) if keepdim else raw

    def op_max(self, x: Any, dim: Any = None, keepdim: bool = False, other: Any = None) -> Any:
        if other is not None or (dim is not None and not isinstance(dim, int)):
            return self.op_maximum(x, dim if other is None else other)
        if dim is not None:
            raise self.refuse("max with the places of the maxima", "use amax")
        return self.op_amax(x)

    def op_maximum(self, a: Any, b: Any) -> Any:
        one, two = self.value(a), self.value(b)
        shape = (one.at + two.at).shape
        pair = self.moved(lambda ts: torch.stack([t.expand(shape) for t in ts], -1), [one, two])
        return self._greatest(pair, torch.ones_like(pair.at, dtype=torch.bool))

    # -- elementary functions ----------------------------------------------------------------------
    def _smooth(self, name: str, x: Any, *args: Any, **options: Any) -> Raw:
        known = SMOOTH[name](*args, **options)
        v = self.value(x)
        mid, slope = known.function(v.mid), self._slope(known.function, v.at)
        near = torch.zeros_like(v.at, dtype=torch.bool)
        for kink in known.kinks:
            near |= (v.at - kink).abs() <= v.radius
        turned = known.bend * v.radius + torch.where(near, known.jump, 0.0)
        step = torch.where(near, known.step, 0.0)
        beyond = turned * v.err + step
        span = known.span * OUTWARD
        err = ((slope + turned) * v.err + step).clamp_max(span)
        size = mid.detach().abs() + (v.at.abs() if known.wide else 0)
        rad = (slope + known.bend * v.rad + torch.where(near, known.jump, 0.0)) * v.rad + step
        rad = rad.clamp_max(span) + own(16, size)
        reach = size + (rad + err if not self.running else 0) + (v.computed_radius if known.wide else 0)
        # x·σ(x) and its kin underflow in σ(x) already, and eˣ overflows where the quotient by it need not be so small.
        local = self.rounded(reach, FUNCTION_UNITS) + FUNCTION_UNITS * self.precision.smallest * v.reach
        return Raw(mid, rad, err, local, beyond.clamp_max(2 * span))

    def _steep(self, name: str, x: Any) -> Raw:
        function, least, bend = STEEP[name]
        v = self.value(x)
        radius = v.radius
        low, high = v.at - radius, v.at + radius
        if not bool((low > least).all()):
            raise self.refuse(f"{name} of numbers that can be {least:g} or less")
        mid, slope = function(v.mid), self._slope(function, v.at)
        turned = bend(low, high) * radius
        err, beyond = (slope + turned) * v.err, turned * v.err
        rad = (slope + turned) * v.rad + own(16, mid.detach().abs())
        return Raw(mid, rad, err, self.rounded(self._at(mid, rad, err), FUNCTION_UNITS), beyond)

    def op_softmax(self, x: Any, dim: int | None = None, *_: Any, **__: Any) -> Raw:
        """With every argument within R of mid and errors up to E: |error| ≤ p·(e^{2E} − 1), p ≤ e^{2R}·p(mid).

        Beyond the linear part: p(mid)·(e^{2R} − 1)·E·(2 + e^{2R}). The sum of n powers, a difference from the largest
        argument and a quotient round.
        """
        v, n, axis = self._along(x, dim)
        far, most = v.radius.amax(axis, keepdim=True), v.err.amax(axis, keepdim=True)
        mid = torch.softmax(v.mid, axis)
        p = mid.detach()
        grown = torch.exp(2 * far)
        err = (p * grown * torch.expm1(2 * most)).clamp_max(1.0)
        beyond = p * torch.expm1(2 * far) * most * (2 + grown)
        width = v.reach.amax(axis, keepdim=True) * 2
        spread = v.rad.amax(axis, keepdim=True)
        rad = (p * torch.expm1(2 * spread) + own(n + 40 + 4 * width, p)).clamp_max(1.0)
        relative = self.precision.gamma(n + 32) + self._stored() * (4 + 3 * width)
        local = (relative * (p * grown).clamp_max(1.0) + 4 * self.precision.smallest).clamp_max(1.0)
        return Raw(mid, rad, err, local, beyond.clamp_max(2.0), steps=4.0 * n)

    def op_log_softmax(self, x: Any, dim: int | None = None, *_: Any, **__: Any) -> Raw:
        """x − log Σ eˣ: errors of the argument, and the largest of them; rounding as for the softmax."""
        v, n, axis = self._along(x, dim)
        far, most = v.radius.amax(axis, keepdim=True), v.err.amax(axis, keepdim=True)
        mid = torch.log_softmax(v.mid, axis)
        err, beyond = v.err + most, (most * torch.expm1(2 * far)).expand(v.shape)
        size = math.log(n) + 1 + 3 * v.reach.amax(axis, keepdim=True)
        rad = v.rad + v.rad.amax(axis, keepdim=True) + own(n + 40, size.expand(v.shape))
        local = ((self.precision.gamma(n + 32) + 4 * self._stored()) * size).expand(v.shape)
        return Raw(mid, rad, err, local, beyond, steps=4.0 * n)

    def _along(self, x: Any, dim: int | None) -> tuple[Bound, int, int]:
        v: Bound = self.value(x)
        if dim is None:
            raise self.refuse("a softmax without dim")
        return v, v.shape[dim], dim

    def _stored(self) -> float:
        return max(self.precision.unit, self.precision.sums)


def _applied(name: str) -> Callable[..., Raw]:
    return lambda self, x, *args, **options: self._smooth(name, x, *args, **options)


def _applied_steep(name: str) -> Callable[..., Raw]:
    return lambda self, x: self._steep(name, x)


for _function in SMOOTH:
    setattr(BoundArithmetic, f"op_{_function}", _applied(_function))
for _function in STEEP:
    setattr(BoundArithmetic, f"op_{_function}", _applied_steep(_function))


def _reshaped(raw: Raw | Bound, shape: list[int]) -> Raw | Bound:
    if isinstance(raw, Bound):
        return Bound(raw.mid.reshape(shape), raw.rad.reshape(shape), raw.err.reshape(shape), raw.computed)
    beyond = None if raw.beyond is None else raw.beyond.reshape(shape)
    return Raw(raw.mid.reshape(shape), raw.rad.reshape(shape), raw.err.reshape(shape), raw.local.reshape(shape), beyond)


def _one(value: Any) -> int:
    return int(value[0] if isinstance(value, tuple | list) else value)
