"""Small exact tensors, (channels, length) as tuples of rows of Fractions: what the refutations compute with.

Plain definitions, written for reading; they share no code with the torch layers nor with the checker.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

Tensor = tuple[tuple[Fraction, ...], ...]
Kernel = Sequence[Sequence[Sequence[Fraction | int]]]


def tensor(rows: Sequence[Sequence[Fraction | int]]) -> Tensor:
    """A tensor from numbers."""
    return tuple(tuple(Fraction(v) for v in row) for row in rows)


def rc(x: Tensor) -> Tensor:
    """ρx: channels and positions reversed."""
    return tuple(row[::-1] for row in reversed(x))


def reverse_length(x: Tensor) -> Tensor:
    """Positions reversed, channels kept."""
    return tuple(row[::-1] for row in x)


def cat(*parts: Tensor) -> Tensor:
    """Channels of one after channels of the other."""
    return tuple(row for x in parts for row in x)


def stack(a: Tensor, b: Tensor) -> Tensor:
    """The strand pair (a, b) as one tensor."""
    return cat(a, rc(b))


def pointwise(f: Callable[[Fraction], Fraction], x: Tensor) -> Tensor:
    """f at every entry."""
    return tuple(tuple(f(v) for v in row) for row in x)


def relu(v: Fraction) -> Fraction:
    """max(v, 0)."""
    return max(v, Fraction(0))


def combine(f: Callable[[Fraction, Fraction], Fraction], x: Tensor, y: Tensor) -> Tensor:
    """f of two tensors, entry by entry."""
    return tuple(tuple(f(v, w) for v, w in zip(p, q, strict=True)) for p, q in zip(x, y, strict=True))


def conv(
    x: Tensor, w: Kernel, bias: Sequence[Fraction | int] = (), stride: int = 1, left: int = 0, right: int = 0
) -> Tensor:
    """Convolution as in torch: windows from the left, what is left over at the right stays unread."""
    padded = [(Fraction(0),) * left + row + (Fraction(0),) * right for row in x]
    taps = len(w[0][0])
    starts = range(0, len(padded[0]) - taps + 1, stride)

    def entry(o: int, start: int) -> Fraction:
        products = (Fraction(w[o][c][k]) * row[start + k] for c, row in enumerate(padded) for k in range(taps))
        return sum(products, Fraction(bias[o] if bias else 0))

    return tuple(tuple(entry(o, start) for start in starts) for o in range(len(w)))


def max_pool(x: Tensor, size: int, stride: int) -> Tensor:
    """Maxima over windows from the left."""
    starts = range(0, len(x[0]) - size + 1, stride)
    return tuple(tuple(max(row[s : s + size]) for s in starts) for row in x)


def softmax(x: Tensor) -> Tensor:
    """Softmax over channels to base 2 (the usual one of ln 2 times the entries): exact, for integers."""
    powers = [[Fraction(2) ** int(v) for v in row] for row in x]
    sums = [sum(column, Fraction(0)) for column in zip(*powers, strict=True)]
    return tuple(tuple(v / s for v, s in zip(row, sums, strict=True)) for row in powers)


def smooth(row: Sequence[Fraction], window: int) -> tuple[Fraction, ...]:
    """Moving average of odd width, zeros outside."""
    half = window // 2
    total = [sum(row[max(0, i - half) : i + half + 1], Fraction(0)) for i in range(len(row))]
    return tuple(v / window for v in total)


def tensors(channels: int, length: int, values: Sequence[int] = (0, 1)) -> Iterator[Tensor]:
    """Every tensor of a shape with entries among ``values``, small ones first."""
    for flat in sorted(itertools.product(values, repeat=channels * length), key=lambda v: sum(map(abs, v))):
        yield tensor([flat[c * length : (c + 1) * length] for c in range(channels)])


def show(value: object) -> str:
    """A value as a reader would write it."""
    if isinstance(value, Fraction):
        return str(value)
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(show, value)) + "]"
    return str(value)
