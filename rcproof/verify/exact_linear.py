"""Exact values, and the linear part of a network on them: sums, products, convolutions, dense layers, batch norm.

A transcendental function is not evaluated. Its value is written down as (function, exact argument), so that equal
arguments make equal values; where arithmetic goes on with such a value, a number of 128 bits stands for it, drawn by a
hash of function and argument. Two networks then agree if their formulas do, and if not, they agree by chance with a
probability below 2⁻¹⁰⁰. What asks for the size of such a number (relu, a maximum) is refused.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from rcproof.errors import RcproofError
from rcproof.verify.exact_numbers import Numbers, concatenated
from rcproof.verify.intercept import Arithmetic

#: How many significant bits 1/√(variance + ε) is given.
ROOT_BITS = 53


@dataclass(frozen=True)
class Head:
    """A function of one element, with its other arguments written out; two are equal if name and arguments are."""

    name: str
    arguments: str
    function: Callable[[Tensor], Tensor] = field(compare=False)


@dataclass(frozen=True, eq=False)
class Exact:
    """A tensor of exact numbers; with ``head``, of that function's values at them.

    ``symbols`` names a function for whose values numbers stand in, if any do.
    """

    numbers: Numbers
    head: Head | None = None
    symbols: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        return self.numbers.shape


class ExactLinear(Arithmetic):
    """Exact rational arithmetic; see the module.

    Args:
        root_bits: of 1/√(variance + ε) in batch norm, the one number of an ordinary network that is irrational. Both
            networks get the same dyadic number for the same variance, correctly rounded down. It is a constant of
            either network, and their equality does not hinge on which it is: another ``root_bits`` gives another pair
            of networks that must be equal as well.
    """

    what = "exact arithmetic"

    def __init__(self, root_bits: int = ROOT_BITS) -> None:
        super().__init__(torch.float64)
        self.root_bits = root_bits
        self.longest = 0

    # -- values ------------------------------------------------------------------------------------
    def constant(self, tensor: Tensor) -> Exact:
        return Exact(Numbers.of(tensor.detach().numpy()))

    def moved(self, move: Callable[[list[Tensor]], Any], values: list[Any]) -> Any:
        heads = {v.head for v in values}
        if len(heads) > 1:
            values, heads = [self.plain(v) for v in values], {None}
        counts = [math.prod(v.shape) for v in values]
        starts = [sum(counts[:i]) for i in range(len(counts))]
        places = [
            torch.arange(start, start + count).reshape(v.shape)
            for start, count, v in zip(starts, counts, values, strict=True)
        ]
        flat = values[0].numbers if len(values) == 1 else concatenated([v.numbers for v in values])
        (head,), symbols = heads, _first(values)

        def taken(index: Any) -> Any:
            if isinstance(index, tuple | list):
                return type(index)([taken(i) for i in index])
            return Exact(flat.take(index.numpy()), head, symbols)

        return taken(move(places))

    def plain(self, x: Any) -> Exact:
        """A value without a head: numbers, or symbols."""
        v: Exact = self.value(x)
        self.longest = max(self.longest, v.numbers.bits())
        if v.head is None:
            return v
        name = v.head.name + v.head.arguments
        drawn = [symbol(name, written(f)) for f in v.numbers.fractions()]
        return Exact(Numbers.integers(drawn, -128).reshape(*v.shape), None, v.head.name)

    def ordered(self, x: Any, what: str) -> Numbers:
        """Numbers whose order is known."""
        v = self.plain(x)
        if v.symbols:
            raise self.refuse(
                f"{what} of numbers that come from {v.symbols}",
                "the exact level is for piecewise-linear networks; use the levels 'bounds' and 'numeric'",
            )
        return v.numbers

    def _pair(self, a: Any, b: Any) -> tuple[Numbers, Numbers, str]:
        """Two values with equally many axes, so that numpy broadcasts them."""
        one, two = self.plain(a), self.plain(b)
        rank = max(len(one.shape), len(two.shape))
        ready = [v.numbers.reshape(*[1] * (rank - len(v.shape)), *v.shape) for v in (one, two)]
        return ready[0], ready[1], one.symbols or two.symbols

    # -- arithmetic --------------------------------------------------------------------------------
    def op_add(self, a: Any, b: Any, alpha: float = 1) -> Exact:
        one, two, symbols = self._pair(a, b)
        return Exact(one + (two if alpha == 1 else two.scaled(alpha)), None, symbols)

    def op_sub(self, a: Any, b: Any, alpha: float = 1) -> Exact:
        return self.op_add(a, b, alpha=-alpha)

    op_subtract = op_sub

    def op_mul(self, a: Any, b: Any) -> Exact:
        one, two, symbols = self._pair(a, b)
        return Exact(one * two, None, symbols)

    op_multiply = op_mul

    def op_neg(self, a: Any) -> Exact:
        v = self.plain(a)
        return replace(v, numbers=-v.numbers)

    op_negative = op_neg

    def op_div(self, a: Any, b: Any, rounding_mode: str | None = None) -> Exact:
        by = self.plain(b)
        if rounding_mode is not None or math.prod(by.shape) != 1 or by.symbols or not by.numbers.digits.any():
            raise self.refuse("a division by anything but one number")
        v = self.plain(a)
        return replace(v, numbers=v.numbers.scaled(1 / by.numbers.fractions()[0]))

    op_divide = op_true_divide = op_div

    def op_pow(self, a: Any, exponent: Any) -> Exact:
        if isinstance(exponent, Tensor) or int(exponent) != exponent or not 1 <= exponent <= 16:
            raise self.refuse(f"the power {exponent!r}")
        v = self.plain(a)
        numbers = v.numbers
        for _ in range(int(exponent) - 1):
            numbers = numbers * v.numbers
        return replace(v, numbers=numbers)

    def op_sum(self, x: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Exact:
        v = self.plain(x)
        axes = _axes(dim, len(v.shape))
        kept = [1 if i in axes else n for i, n in enumerate(v.shape)]
        shape = kept if keepdim else [n for i, n in enumerate(v.shape) if i not in axes]
        return replace(v, numbers=v.numbers.sum(axes).reshape(*shape))

    def op_mean(self, x: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Exact:
        v = self.plain(x)
        count = math.prod(v.shape[a] for a in _axes(dim, len(v.shape)))
        total = self.op_sum(v, dim, keepdim)
        return replace(total, numbers=total.numbers.scaled(Fraction(1, count)))

    # -- linear layers -----------------------------------------------------------------------------
    def op_linear(self, x: Any, weight: Any, bias: Any = None) -> Exact:
        w = self.plain(weight)
        made = self.op_matmul(x, self.moved(lambda ts: ts[0].transpose(0, 1), [w]))
        return made if bias is None else self.op_add(made, bias)

    def op_matmul(self, a: Any, b: Any) -> Exact:
        one, two = self.plain(a), self.plain(b)
        vectors = [len(v.shape) == 1 for v in (one, two)]
        one = self.moved(lambda ts: ts[0].unsqueeze(0), [one]) if vectors[0] else one
        two = self.moved(lambda ts: ts[0].unsqueeze(1), [two]) if vectors[1] else two
        left, right, symbols = self._pair(one, two)
        made = left.matmul(right)
        shape = list(made.shape[:-2]) + [n for n, gone in zip(made.shape[-2:], vectors, strict=True) if not gone]
        return Exact(made.reshape(*shape), None, symbols)

    op_bmm = op_mm = op_matmul

    def op_conv1d(self, x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
                  groups: int = 1) -> Exact:  # fmt: skip
        v, w = self.plain(x), self.plain(weight)
        if len(v.shape) != 3:
            raise self.refuse(f"a convolution of shape {v.shape}")
        step, spread = _one(stride), _one(dilation)
        total = spread * (w.shape[2] - 1)
        if isinstance(padding, str):
            left, right = (total // 2, total - total // 2) if padding == "same" else (0, 0)
        else:
            left = right = _one(padding)
        numbers = v.numbers.padded(left, right).convolved(w.numbers, step, spread, groups)
        return self._biased(Exact(numbers, None, v.symbols or w.symbols), bias)

    def op_conv_transpose1d(self, x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
                            output_padding: Any = 0, groups: int = 1, dilation: Any = 1) -> Exact:  # fmt: skip
        v, w = self.plain(x), self.plain(weight)
        if len(v.shape) != 3:
            raise self.refuse(f"a transposed convolution of shape {v.shape}")
        step, spread, cut, extra = _one(stride), _one(dilation), _one(padding), _one(output_padding)
        n, channels, length = v.shape
        _, out, kernel = w.shape

        def stuffed(ts: list[Tensor]) -> Tensor:  # zeros between the positions
            wide = ts[1].expand(n, channels, (length - 1) * step + 1).clone()
            wide[:, :, ::step] = ts[0]
            return wide

        def turned(ts: list[Tensor]) -> Tensor:  # (C, O/g, K) as the kernel of the convolution that does the same
            split = ts[0].reshape(groups, channels // groups, out, kernel)
            return split.transpose(1, 2).reshape(groups * out, channels // groups, kernel).flip(2)

        wide, kernels = self.moved(stuffed, [v, self.value(0.0)]), self.moved(turned, [w])
        margin = spread * (kernel - 1) - cut
        numbers = wide.numbers.padded(margin, margin + extra).convolved(kernels.numbers, 1, spread, groups)
        return self._biased(Exact(numbers, None, v.symbols or w.symbols), bias)

    def _biased(self, v: Exact, bias: Any) -> Exact:
        return v if bias is None else self.op_add(v, self._column(bias, 3))

    def _column(self, x: Any, rank: int) -> Exact:
        """One number a channel, (C,) → (1, C, 1)."""
        return self.moved(lambda ts: ts[0].reshape(1, -1, *[1] * (rank - 2)), [self.plain(x)])  # type: ignore[no-any-return]

    def op_batch_norm(self, x: Any, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None,
                      training: bool = False, momentum: float = 0.1, eps: float = 1e-5) -> Exact:  # fmt: skip
        if training or running_mean is None or running_var is None:
            raise self.refuse("batch norm in train mode, or without running statistics")
        v = self.plain(x)
        variances = self.ordered(running_var, "the root").fractions()
        roots = Numbers.rationals([inverse_root(f + Fraction(eps), self.root_bits) for f in variances])
        centred = self.op_sub(v, self._column(running_mean, len(v.shape)))
        made = self.op_mul(centred, self._column(Exact(roots), len(v.shape)))
        if weight is not None:
            made = self.op_mul(made, self._column(weight, len(v.shape)))
        return made if bias is None else self.op_add(made, self._column(bias, len(v.shape)))


def inverse_root(value: Fraction, bits: int) -> Fraction:
    """1/√value rounded down to a dyadic number of ``bits`` significant bits, by integers alone.

    >>> inverse_root(Fraction(1, 4), 8), float(inverse_root(Fraction(2), 53)) <= 0.5**0.5
    (Fraction(2, 1), True)
    """
    if value <= 0:
        raise RcproofError("variance of batch norm plus epsilon", got=float(value), expected="a positive number")
    p, q = value.numerator, value.denominator
    shift = bits + (p.bit_length() - q.bit_length()) // 2 + 1
    root = math.isqrt((q << 2 * shift) // p) if shift >= 0 else math.isqrt(q // (p << -2 * shift))
    extra = max(root.bit_length() - bits, 0)
    return Fraction(root >> extra << extra) / Fraction(2) ** shift


def written(value: Fraction) -> str:
    """A rational number as text, one for each."""
    return f"{value.numerator:x}/{value.denominator:x}"


def symbol(function: str, argument: str) -> int:
    """128 bits that stand for a function's value at an argument."""
    return int.from_bytes(hashlib.sha256(f"{function}({argument})".encode()).digest()[:16], "big")


def _first(values: Sequence[Exact]) -> str:
    return next((v.symbols for v in values if v.symbols), "")


def _axes(dim: Any, rank: int) -> tuple[int, ...]:
    if dim is None or dim == ():
        return tuple(range(rank))
    return tuple(d % rank for d in (dim if isinstance(dim, tuple | list) else (dim,)))


def _one(value: Any) -> int:
    """A stride, padding or dilation as an integer."""
    return int(value[0] if isinstance(value, tuple | list) else value)
