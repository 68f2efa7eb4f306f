"""The rest of torch's functions in exact arithmetic: piecewise-linear ones, what compares, pooling, and symbols."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rcproof.verify.exact_linear import ROOT_BITS, Exact, ExactLinear, Head, symbol, written
from rcproof.verify.exact_numbers import Numbers, concatenated
from rcproof.verify.intercept import names

#: Functions of one element that increase with it, so that a maximum of values is the value at the maximum.
INCREASING = names(
    "sigmoid tanh exp exp2 expm1 softplus log log1p log2 log10 logsigmoid elu selu celu erf atan asinh sqrt "
    "softsign logit sinh"
)
#: Those of them that are never negative, which relu leaves as they are.
POSITIVE = names("sigmoid exp exp2 softplus sqrt")
OTHER = names("gelu silu mish sin cos erfc rsqrt reciprocal cosh tanhshrink lgamma digamma")
#: Functions of a whole vector: the element, among all of them in any order.
ALONG = names("softmax log_softmax softmin")


class ExactArithmetic(ExactLinear):
    """Exact rational arithmetic for everything that is covered; see :mod:`rcproof.verify.exact_linear`."""

    # -- piecewise linear --------------------------------------------------------------------------
    def op_relu(self, x: Any) -> Exact:
        v = self.value(x)
        if v.head is not None and v.head.name in POSITIVE:
            return v  # type: ignore[no-any-return]
        return self._sloped(x, 0.0)

    def op_leaky_relu(self, x: Any, negative_slope: float = 0.01) -> Exact:
        return self._sloped(x, negative_slope)

    def _sloped(self, x: Any, slope: float) -> Exact:
        numbers = self.ordered(x, "relu")
        positive = numbers.signs() > 0
        low = Exact(numbers.scaled(slope))
        return self.op_where(torch.from_numpy(positive), Exact(numbers), low)  # type: ignore[no-any-return]

    def op_prelu(self, x: Any, weight: Any) -> Exact:
        v = self.plain(x)
        positive = torch.from_numpy(self.ordered(v, "prelu").signs() > 0)
        return self.op_where(positive, v, self.op_mul(v, self._column(weight, len(v.shape))))  # type: ignore[no-any-return]

    def op_abs(self, x: Any) -> Exact:
        v = Exact(self.ordered(x, "abs"))
        return self.op_where(torch.from_numpy(v.numbers.signs() > 0), v, self.op_neg(v))  # type: ignore[no-any-return]

    op_absolute = op_abs

    def op_clamp(self, x: Any, min: Any = None, max: Any = None) -> Exact:  # noqa: A002 (torch's names)
        v = Exact(self.ordered(x, "clamp"))
        v = v if min is None else self.op_maximum(v, min)
        return v if max is None else self.op_minimum(v, max)

    op_clip = op_clamp

    def op_clamp_min(self, x: Any, min: Any) -> Exact:  # noqa: A002
        return self.op_clamp(x, min=min)

    def op_clamp_max(self, x: Any, max: Any) -> Exact:  # noqa: A002
        return self.op_clamp(x, max=max)

    def op_hardtanh(self, x: Any, min_val: float = -1.0, max_val: float = 1.0) -> Exact:
        return self.op_clamp(x, min_val, max_val)

    def op_relu6(self, x: Any) -> Exact:
        return self.op_clamp(x, 0, 6)

    def op_hardsigmoid(self, x: Any) -> Exact:
        return self.op_div(self.op_clamp(self.op_add(x, 3.0), 0, 6), 6.0)

    def op_hardswish(self, x: Any) -> Exact:
        return self.op_mul(x, self.op_hardsigmoid(x))

    def op_threshold(self, x: Any, threshold: float, value: float) -> Exact:
        v = self.plain(x)
        return self.op_where(self.op_gt(v, threshold), v, value)  # type: ignore[no-any-return]

    # -- order -------------------------------------------------------------------------------------
    def _by_rank(self, values: Sequence[Any], what: str, choose: Callable[..., Any]) -> Any:
        """What a function that only compares makes of the values: it is run on their ranks."""
        given = [self.value(x) for x in values]
        heads = {v.head for v in given}
        head = next(iter(heads)) if len(heads) == 1 else None
        if head is not None and head.name in INCREASING and not any(v.symbols for v in given):
            numbers = [v.numbers for v in given]
        else:
            head, numbers = None, [self.ordered(v, what) for v in given]
        flat = concatenated(numbers)
        ranks, places = flat.ranks()
        counts = [math.prod(n.shape) for n in numbers]
        parts = np.split(ranks.astype(np.float64), np.cumsum(counts)[:-1])
        plain = [torch.from_numpy(p).reshape(n.shape) for p, n in zip(parts, numbers, strict=True)]

        def taken(chosen: Any) -> Any:
            if isinstance(chosen, tuple | list):
                return type(chosen)([taken(c) for c in chosen])
            if not chosen.is_floating_point():
                return chosen  # places, as max returns
            return Exact(flat.take(places[chosen.to(torch.int64).numpy()]), head)

        return taken(choose(*plain))

    def op_maximum(self, a: Any, b: Any) -> Any:
        return self._by_rank([a, b], "a maximum", torch.maximum)

    def op_minimum(self, a: Any, b: Any) -> Any:
        return self._by_rank([a, b], "a minimum", torch.minimum)

    op_fmax, op_fmin = op_maximum, op_minimum

    def op_max(self, x: Any, *args: Any, **options: Any) -> Any:
        if (args and not isinstance(args[0], int)) or "other" in options:
            return self.op_maximum(x, *args, *options.values())
        return self._by_rank([x], "a maximum", lambda r: torch.max(r, *args, **options))

    def op_min(self, x: Any, *args: Any, **options: Any) -> Any:
        if (args and not isinstance(args[0], int)) or "other" in options:
            return self.op_minimum(x, *args, *options.values())
        return self._by_rank([x], "a minimum", lambda r: torch.min(r, *args, **options))

    def op_amax(self, x: Any, *args: Any, **options: Any) -> Any:
        return self._by_rank([x], "a maximum", lambda r: torch.amax(r, *args, **options))

    def op_amin(self, x: Any, *args: Any, **options: Any) -> Any:
        return self._by_rank([x], "a minimum", lambda r: torch.amin(r, *args, **options))

    def op_max_pool1d(self, x: Any, *args: Any, **options: Any) -> Any:
        return self._by_rank([x], "max pooling", lambda r: F.max_pool1d(r, *args, **options))

    def op_adaptive_max_pool1d(self, x: Any, *args: Any, **options: Any) -> Any:
        return self._by_rank([x], "max pooling", lambda r: F.adaptive_max_pool1d(r, *args, **options))

    def op_sort(self, x: Any, *args: Any, **options: Any) -> Any:
        return self._by_rank([x], "sorting", lambda r: torch.sort(r, *args, **options))

    def op_topk(self, x: Any, *args: Any, **options: Any) -> Any:
        return self._by_rank([x], "sorting", lambda r: torch.topk(r, *args, **options))

    def _compared(self, a: Any, b: Any) -> Tensor:
        one, two = (Exact(self.ordered(v, "a comparison")) for v in (a, b))
        return torch.from_numpy(self.op_sub(one, two).numbers.signs())

    def op_gt(self, a: Any, b: Any) -> Tensor:
        return self._compared(a, b) > 0

    def op_ge(self, a: Any, b: Any) -> Tensor:
        return self._compared(a, b) >= 0

    def op_lt(self, a: Any, b: Any) -> Tensor:
        return self._compared(a, b) < 0

    def op_le(self, a: Any, b: Any) -> Tensor:
        return self._compared(a, b) <= 0

    def op_eq(self, a: Any, b: Any) -> Tensor:
        return self._compared(a, b) == 0

    def op_ne(self, a: Any, b: Any) -> Tensor:
        return self._compared(a, b) != 0

    # -- means over windows ------------------------------------------------------------------------
    def _averaged(self, x: Any, pool: Callable[[Tensor], Tensor]) -> Exact:
        """Average pooling: which positions a window holds, and by what it divides, is asked of torch."""
        v = self.plain(x)
        length = v.shape[-1]
        weights = pool(torch.eye(length, dtype=torch.float64).unsqueeze(0))[0].numpy()  # (L, L′): 1/divisor or 0
        member = weights > 0
        divisors = np.rint(1 / np.where(member, weights, 0).max(0)).astype(int)
        common = math.lcm(*(int(d) for d in divisors))
        times = Numbers.of(np.where(member, common // divisors, 0).astype(np.float64))
        rows = v.numbers.reshape(math.prod(v.shape[:-1]), length)
        made = rows.matmul(times).scaled(Fraction(1, common)).reshape(*v.shape[:-1], weights.shape[1])
        return replace(v, numbers=made)

    def op_avg_pool1d(self, x: Any, *args: Any, **options: Any) -> Exact:
        return self._averaged(x, lambda eye: F.avg_pool1d(eye, *args, **options))

    def op_adaptive_avg_pool1d(self, x: Any, *args: Any, **options: Any) -> Exact:
        return self._averaged(x, lambda eye: F.adaptive_avg_pool1d(eye, *args, **options))

    # -- symbols -----------------------------------------------------------------------------------
    def _headed(self, name: str, x: Any, *args: Any, **options: Any) -> Exact:
        v = self.plain(x)
        function = getattr(F, name, None) or getattr(torch, name)
        head = Head(name, repr((args, sorted(options.items()))), lambda t: function(t, *args, **options))
        return Exact(v.numbers, head, v.symbols)

    def _along(self, name: str, x: Any, dim: int | None = None, *_: Any, **__: Any) -> Exact:
        if dim is None:
            raise self.refuse(f"{name} without dim")
        v = self.plain(x)
        axis = dim % len(v.shape)
        texts = np.array([written(f) for f in v.numbers.fractions()], dtype=object).reshape(v.shape)
        vectors = np.moveaxis(texts, axis, -1)
        drawn = np.empty_like(vectors)
        for place in np.ndindex(vectors.shape[:-1]):
            among = hashlib.sha256("|".join(sorted(vectors[place])).encode()).hexdigest()
            drawn[place] = [symbol(name + among, text) for text in vectors[place]]
        flat = [int(s) for s in np.moveaxis(drawn, -1, axis).ravel()]
        return Exact(Numbers.integers(flat, -128).reshape(*v.shape), None, name)


def _applied(name: str) -> Callable[..., Exact]:
    return lambda self, x, *args, **options: self._headed(name, x, *args, **options)


def _applied_along(name: str) -> Callable[..., Exact]:
    return lambda self, x, *args, **options: self._along(name, x, *args, **options)


for _function in INCREASING | OTHER:
    setattr(ExactArithmetic, f"op_{_function}", _applied(_function))
for _function in ALONG:
    setattr(ExactArithmetic, f"op_{_function}", _applied_along(_function))


__all__ = ["ROOT_BITS", "Exact", "ExactArithmetic", "Head"]
