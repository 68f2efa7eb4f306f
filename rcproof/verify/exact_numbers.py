"""Tensors of exact numbers: integers of any size over one power of two and one odd denominator.

A floating-point number is an integer times a power of two, and so are sums and products of such. A tensor is held as
digits to the base 2²⁰, so that numpy works on all its elements at once: sums of products of digits stay below 2⁵³,
where float64 is exact in whatever order it adds. An odd denominator, one for the whole tensor, carries means over
windows whose size is no power of two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray

from rcproof.errors import RcproofError

BITS = 20
BASE = 1 << BITS
#: How many products of two digits add up to less than 2⁵³.
LONGEST_SUM = 1 << (53 - 2 * BITS)
#: No number is carried with more digits than this (160,000 bits): something multiplies without end.
MOST_DIGITS = 8000

Digits = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Numbers:
    """A tensor of rational numbers: Σᵢ digits[i]·2^(20·i) · 2^exponent / denominator.

    ``digits`` has shape (limbs, …): all but the last limb lie in [0, 2²⁰), the last carries the sign. ``denominator``
    is odd and positive. Every operation is exact; nothing is ever rounded.

    >>> a = Numbers.of(np.array([0.1, -3.0]))
    >>> (a + a.scaled(Fraction(1, 3))).fractions()[1]
    Fraction(-4, 1)
    """

    digits: Digits
    exponent: int = 0
    denominator: int = 1

    # -- making ----------------------------------------------------------------------------------
    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Numbers:
        """The exact values of floats; :class:`~rcproof.errors.RcproofError` for NaN and infinities."""
        x = np.asarray(values, dtype=np.float64)
        if not np.isfinite(x).all():
            raise RcproofError("exact arithmetic", got="NaN or an infinite value", expected="finite numbers")
        mantissa, power = np.frexp(x)
        whole = np.ldexp(np.abs(mantissa), 53).astype(np.int64)
        low = whole & -whole  # the lowest set bit
        zeros = np.where(whole > 0, np.frexp(low.astype(np.float64))[1] - 1, 0)
        whole, power = whole >> zeros, power - 53 + zeros
        seen = whole > 0
        least = int(power[seen].min()) if seen.any() else 0
        shift = np.where(seen, power - least, 0)
        limb, bit = shift // BITS, shift % BITS
        digits = np.zeros((int(limb.max(initial=0)) + 4, x.size), dtype=np.int64)
        columns, sign = np.arange(x.size), np.where(x.ravel() < 0, -1, 1)
        for part in range(3):
            chunk = (whole.ravel() >> (BITS * part)) & (BASE - 1)
            digits[limb.ravel() + part, columns] += sign * (chunk << bit.ravel())
        return _normal(digits.reshape(-1, *x.shape), least, 1)

    @classmethod
    def integers(cls, values: Sequence[int], exponent: int = 0, denominator: int = 1) -> Numbers:
        """Python integers of any size, as a vector."""
        longest = max((abs(v).bit_length() for v in values), default=0) // BITS + 2
        digits = np.zeros((longest, len(values)), dtype=np.int64)
        for column, value in enumerate(values):
            rest = value
            for i in range(longest - 1):
                digits[i, column] = rest & (BASE - 1)
                rest >>= BITS
            digits[longest - 1, column] = rest
        return _normal(digits, exponent, denominator)

    @classmethod
    def rationals(cls, values: Sequence[Fraction]) -> Numbers:
        """Fractions, as a vector."""
        common = math.lcm(*(v.denominator for v in values)) if values else 1
        twos = (common & -common).bit_length() - 1
        return cls.integers([v.numerator * (common // v.denominator) for v in values], -twos, common >> twos)

    # -- reading ---------------------------------------------------------------------------------
    @property
    def shape(self) -> tuple[int, ...]:
        return self.digits.shape[1:]

    def whole_numbers(self) -> list[int]:
        """The numerators, Σᵢ digits[i]·2^(20·i), flat."""
        total = np.zeros(math.prod(self.shape), dtype=object)
        for limb in self.digits[::-1].reshape(len(self.digits), -1):
            total = total * BASE + limb.astype(object)
        return [int(v) for v in total]

    def fractions(self) -> list[Fraction]:
        """The values, flat."""
        unit = Fraction(2) ** self.exponent / self.denominator
        return [v * unit for v in self.whole_numbers()]

    def floats(self) -> NDArray[np.float64]:
        """The values rounded to float64, within 2⁻⁵⁰ relative and the smallest normal number absolute."""
        top = np.zeros(self.shape)
        for i in range(len(self.digits) - 1, -1, -1):  # the highest limbs decide; float64 adds them from the top
            top += np.ldexp(self.digits[i].astype(np.float64), BITS * i - BITS * len(self.digits))
        return np.ldexp(top, self.exponent + BITS * len(self.digits)) / float(self.denominator)

    def bits(self) -> int:
        """The length of the longest numerator, about."""
        return BITS * len(self.digits)

    def signs(self) -> NDArray[np.int64]:
        """−1, 0 or 1 for each element."""
        top = np.sign(self.digits[-1])
        found: Digits = np.where(top != 0, top, (self.digits != 0).any(0).astype(np.int64))
        return found

    # -- the same numbers, elsewhere or otherwise written ------------------------------------------
    def reshape(self, *shape: int) -> Numbers:
        return Numbers(self.digits.reshape(len(self.digits), *shape), self.exponent, self.denominator)

    def take(self, index: NDArray[np.int64]) -> Numbers:
        """Elements by their place in the flat tensor."""
        flat = self.digits.reshape(len(self.digits), -1)
        return Numbers(flat[:, index], self.exponent, self.denominator)

    def shifted(self, exponent: int, denominator: int) -> Numbers:
        """Written over a power of two no higher, and a multiple of the denominator."""
        times = denominator // self.denominator
        made = self if times == 1 else self._times_digits(_digits_of(times))
        limbs, bits = divmod(made.exponent - exponent, BITS)
        digits = np.concatenate([np.zeros((limbs, *self.shape), dtype=np.int64), made.digits << bits])
        return _normal(digits, exponent, denominator, trim=False)

    def aligned(self, other: Numbers) -> tuple[Numbers, Numbers]:
        """Both over one power of two and one denominator, with equally many limbs."""
        exponent = min(self.exponent, other.exponent)
        denominator = math.lcm(self.denominator, other.denominator)
        a, b = (n.shifted(exponent, denominator) for n in (self, other))
        limbs = max(len(a.digits), len(b.digits))
        return a.extended(limbs), b.extended(limbs)

    def extended(self, limbs: int) -> Numbers:
        """Written with more limbs, the sign in the last."""
        digits = self.digits
        while len(digits) < limbs:
            digits = np.concatenate([digits[:-1], digits[-1:] & (BASE - 1), digits[-1:] >> BITS])
        return Numbers(digits, self.exponent, self.denominator)

    # -- arithmetic ------------------------------------------------------------------------------
    def __add__(self, other: Numbers) -> Numbers:
        a, b = self.aligned(other)
        return _normal(a.digits + b.digits, a.exponent, a.denominator)

    def __neg__(self) -> Numbers:
        return _normal(-self.digits, self.exponent, self.denominator)

    def __sub__(self, other: Numbers) -> Numbers:
        return self + -other

    def __mul__(self, other: Numbers) -> Numbers:
        """Element by element; shapes as numpy broadcasts them."""
        return _normal(
            _products(self.digits, other.digits),
            self.exponent + other.exponent,
            self.denominator * other.denominator,
        )

    def scaled(self, factor: Fraction | float | int) -> Numbers:
        """Times a rational number."""
        one = Fraction(factor)
        odd, twos = one.denominator, 0
        while odd % 2 == 0:
            odd, twos = odd // 2, twos + 1
        made = self._times_digits(_digits_of(one.numerator))
        return Numbers(made.digits, made.exponent - twos, made.denominator * odd)

    def _times_digits(self, factor: Digits) -> Numbers:
        column = factor.reshape(-1, *([1] * len(self.shape)))
        return _normal(_products(self.digits, column), self.exponent, self.denominator)

    def sum(self, axes: tuple[int, ...]) -> Numbers:
        """Sums along axes."""
        return _normal(self.digits.sum(axis=tuple(a + 1 for a in axes)), self.exponent, self.denominator)

    def matmul(self, other: Numbers) -> Numbers:
        """Matrix products over the last two axes, as ``numpy.matmul``."""
        a, b = self.digits.astype(np.float64), other.digits.astype(np.float64)
        inner = a.shape[-1]
        total: Digits | None = None
        for i in range(len(a)):
            for j in range(len(b)):
                for start in range(0, inner, LONGEST_SUM):
                    stop = start + LONGEST_SUM
                    part = _matmul(a[i, ..., start:stop], b[j, ..., start:stop, :])
                    if total is None:
                        total = np.zeros((len(a) + len(b), *part.shape), dtype=np.int64)
                    total[i + j] += part
        if total is None:
            raise RcproofError("a matrix product without terms")
        return _normal(total, self.exponent + other.exponent, self.denominator * other.denominator)

    def convolved(self, weight: Numbers, stride: int, dilation: int, groups: int) -> Numbers:
        """The convolution of (N, C, L) with (O, C/groups, K), without padding, as sums of products of integers."""
        n, _, length = self.shape
        out, inner, kernel = weight.shape
        positions = (length - dilation * (kernel - 1) - 1) // stride + 1
        windows = stride * np.arange(positions) + dilation * np.arange(kernel)[:, None]  # (K, L′)
        limbs = len(weight.digits)
        rows = weight.digits.reshape(limbs, groups, out // groups, inner * kernel).astype(np.float64)
        total = np.zeros((len(self.digits) + limbs, n, groups, out // groups, positions), dtype=np.int64)
        for i, digit in enumerate(self.digits):
            # One digit of the input at a time, so that the windows of all of them are never held at once.
            columns = digit[:, :, windows].astype(np.float64).reshape(n, groups, inner * kernel, positions)
            for j in range(limbs):
                for start in range(0, inner * kernel, LONGEST_SUM):
                    part = slice(start, start + LONGEST_SUM)
                    total[i + j] += _matmul(rows[j][..., part], columns[:, :, part])
        made = total.reshape(len(total), n, out, positions)
        return _normal(made, self.exponent + weight.exponent, self.denominator * weight.denominator)

    def padded(self, left: int, right: int) -> Numbers:
        """Zeros before and after the last axis; negative numbers cut."""
        length = self.shape[-1]
        digits = self.digits[..., max(-left, 0) : length - max(-right, 0)]
        widths = [(0, 0)] * (digits.ndim - 1) + [(max(left, 0), max(right, 0))]
        return Numbers(np.pad(digits, widths), self.exponent, self.denominator)

    # -- order -----------------------------------------------------------------------------------
    def ranks(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The rank of each element among the distinct values, and for each rank the place of an element of it."""
        flat = self.digits.reshape(len(self.digits), -1)
        order = np.lexsort(flat)
        ordered = flat[:, order]
        new = np.ones(flat.shape[1], dtype=bool)
        new[1:] = (ordered[:, 1:] != ordered[:, :-1]).any(0)
        ranks = np.empty(flat.shape[1], dtype=np.int64)
        ranks[order] = np.cumsum(new) - 1
        return ranks.reshape(self.shape), order[new]


def concatenated(parts: Sequence[Numbers]) -> Numbers:
    """Flat tensors one after the other, over one power of two and one denominator."""
    exponent = min(p.exponent for p in parts)
    denominator = math.lcm(*(p.denominator for p in parts))
    written = [p.reshape(math.prod(p.shape)).shifted(exponent, denominator) for p in parts]
    limbs = max(len(p.digits) for p in written)
    return Numbers(np.concatenate([p.extended(limbs).digits for p in written], axis=1), exponent, denominator)


def _matmul(a: NDArray[np.float64], b: NDArray[np.float64]) -> Digits:
    """A matrix product of integers whose sums stay below 2⁵³, so that no order of adding rounds."""
    made = torch.matmul(torch.from_numpy(np.ascontiguousarray(a)), torch.from_numpy(np.ascontiguousarray(b)))
    return made.to(torch.int64).numpy()


def _digits_of(value: int) -> Digits:
    """Digits of an integer without dropping zeros at its low end."""
    found = []
    while not -BASE <= value < BASE:
        found.append(value & (BASE - 1))
        value >>= BITS
    return np.array([*found, value], dtype=np.int64)


def _products(a: Digits, b: Digits) -> Digits:
    """Σ_{i+j=k} aᵢ·bⱼ: at most 2²³ products below 2⁴⁰, which int64 holds."""
    shape = np.broadcast_shapes(a.shape[1:], b.shape[1:])
    total = np.zeros((len(a) + len(b), *shape), dtype=np.int64)
    for j in range(len(b)):
        if b[j].any():
            total[j : j + len(a)] += a * b[j]
    return total


def _normal(raw: Digits, exponent: int, denominator: int, trim: bool = True) -> Numbers:
    """Carry, and drop limbs that say nothing."""
    digits = list(raw)
    carry: Digits | int = 0
    for i, limb in enumerate(digits):
        total = limb + carry
        digits[i], carry = total & (BASE - 1), total >> BITS
    # What is carried out of the top is the sign, or more digits.
    rest = np.asarray(carry)
    while ((rest < -1) | (rest > 0)).any():
        digits.append(rest & (BASE - 1))
        rest = rest >> BITS
    digits[-1] = digits[-1] + (rest << BITS)
    # A top limb that is only a sign goes into the one below it.
    while len(digits) > 1 and ((digits[-1] == 0) | (digits[-1] == -1)).all():
        top = digits.pop()
        digits[-1] = digits[-1] + (top << BITS)
    low = 0
    while trim and low < len(digits) - 1 and not digits[low].any():
        low += 1
    if len(digits) - low > MOST_DIGITS:
        raise RcproofError(
            "a number in exact arithmetic has become too long",
            got=f"{BITS * len(digits)} bits",
            expected=f"at most {BITS * MOST_DIGITS}",
            fix="check the scales of the weights, or run the level 'bounds' in place of 'exact'",
        )
    return Numbers(np.stack(digits[low:]), exponent + BITS * low, denominator)
