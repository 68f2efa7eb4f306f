"""Floating-point arithmetic simulated exactly, and two small networks of one function in it (for T12)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from rcproof.symbolic.tensors import Tensor, rc

#: (weight, bias) of every layer.
Weights = Sequence[tuple[Any, tuple[Fraction, ...]]]


def rounded(x: Fraction, bits: int) -> Fraction:
    """The nearest number with ``bits`` significant bits, ties to even, exponents unbounded."""
    if x == 0:
        return x
    low, high = 2 ** (bits - 1), 2**bits
    scale = Fraction(2) ** (bits - 1 - abs(x.numerator).bit_length() + x.denominator.bit_length())
    while abs(x) * scale >= high:
        scale /= 2
    while abs(x) * scale < low:
        scale *= 2
    return round(x * scale) / scale


def dot(pairs: Sequence[tuple[Fraction, Fraction]], start: Fraction, bits: int | None) -> Fraction:
    """Σ w·x + start, from left to right; every operation rounded unless ``bits`` is None."""
    products = [w * x if bits is None else rounded(w * x, bits) for w, x in pairs]
    total = Fraction(0)
    for p in (*products, start):
        total = total + p if bits is None else rounded(total + p, bits)
    return total


def layer(x: Tensor, weight: Any, bias: Sequence[Fraction], bits: int | None) -> Tensor:
    """A convolution, each output entry a dot product over taps and channels."""
    taps, length = len(weight[0][0]), len(x[0])
    return tuple(
        tuple(
            dot([(row[c][k], x[c][i + k]) for c in range(len(x)) for k in range(taps)], b, bits)
            for i in range(length - taps + 1)
        )
        for row, b in zip(weight, bias, strict=True)
    )


def _relu(x: Tensor) -> Tensor:
    return tuple(tuple(max(v, Fraction(0)) for v in row) for row in x)


def _mean(row: Sequence[Fraction], bits: int | None) -> Fraction:
    total = dot([(Fraction(1), v) for v in row], Fraction(0), bits) / len(row)
    return total if bits is None else rounded(total, bits)


def conjoined(weights: Weights, x: Tensor, bits: int | None) -> Fraction:
    """Two convolutions with relu, mean over positions, dense head; the mean of both strands."""
    out = []
    for y in (x, rc(x)):
        for weight, bias in weights[:-1]:
            y = _relu(layer(y, weight, bias, bits))
        pooled = tuple((_mean(row, bits),) for row in y)
        out.append(layer(pooled, *weights[-1], bits)[0][0])
    return (out[0] + out[1] if bits is None else rounded(out[0] + out[1], bits)) / 2


def rcps(weights: Weights, x: Tensor, bits: int | None) -> Fraction:
    """The same with tied weights on stacked tensors, B = 0, and a head on all channels with weights ½."""
    for depth, (weight, bias) in enumerate(weights[:-1]):
        full = weight if depth == 0 else tuple((*row, *((Fraction(0),) * len(row[0]) for _ in row)) for row in weight)
        tied = (*full, *(tuple(taps[::-1] for taps in reversed(row)) for row in reversed(full)))
        x = _relu(layer(x, tied, (*bias, *bias[::-1]), bits))
    head, bias = weights[-1]
    both = ((*((w[0] / 2,) for w in head[0]), *((w[0] / 2,) for w in reversed(head[0]))),)
    return layer(tuple((_mean(row, bits),) for row in x), both, bias, bits)[0][0]


def draw_weights(rng: random.Random, bits: int) -> list[tuple[Any, tuple[Fraction, ...]]]:
    """Weights of two filters and two taps on four channels, two filters and two taps, and a head, all rounded."""

    def number() -> Fraction:
        return rounded(Fraction(rng.randint(-999, 999), 500), bits)

    shapes = ((2, 4, 2), (2, 2, 2), (1, 2, 1))
    return [
        (
            tuple(tuple(tuple(number() for _ in range(k)) for _ in range(c)) for _ in range(o)),
            tuple(number() for _ in range(o)),
        )
        for o, c, k in shapes
    ]
