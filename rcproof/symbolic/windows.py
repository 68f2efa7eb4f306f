"""Layers with windows as terms: convolution, transposed convolution, linear maps, pooling; tied and mirrored weights.

Everything is one entry of the output on one strand, the batch axis left out. Sizes are symbols: C input channels,
O output channels, K taps, L input and N output positions, stride s, dilation d, padding p. What lies outside the
input is guarded by cases: a tap that reads no input position contributes 0 to a sum.
"""

from __future__ import annotations

import sympy as sp

from rcproof.symbolic.arithmetic import Context
from rcproof.symbolic.checker import Equation
from rcproof.symbolic.strands import Read
from rcproof.symbolic.terms import Add, Big, Elem, Fun, If, Index, Mul, Term, num

C, K, L, N, O, F = sp.symbols("C K L N O F", integer=True)  # noqa: E741  # noqa: E741
s, d, p, q, r = sp.symbols("s d p q r", integer=True)
c, i, j, k, o = sp.symbols("c i j k o", integer=True)
PI_IN, PI_OUT = sp.Function("pi_in", integer=True), sp.Function("pi_out", integer=True)

#: What is assumed of all sizes; the paddings p (left) and q (right) are any integers.
POSITIVE = (C - 1, O - 1, K - 1, L - 1, N - 1, s - 1, d - 1)
INVOLUTIONS = (("pi_in", C), ("pi_out", O))
#: The last window ends with the padded input: windows centre.
CENTRED = (L, s * (N - 1) + d * (K - 1) + 1 - 2 * p)
#: Left padding p, right padding q, and r positions that no window reads (r < 0: the last window overhangs).
REMAINDER = (L, s * (N - 1) + d * (K - 1) + 1 - p - q + r)


def sigma(c: Index) -> Term:
    """The sign of an input channel."""
    return Elem("sigma_in", (c,))


def tau(o: Index) -> Term:
    """The sign of an output channel."""
    return Elem("sigma_out", (o,))


#: Signs fit an involution: σ(c)·σ(π(c)) = 1.
SIGNS_IN = Equation("signs_in", ((c, C),), Mul((sigma(c), sigma(PI_IN(c)))), num(1))
SIGNS_OUT = Equation("signs_out", ((o, O),), Mul((tau(o), tau(PI_OUT(o)))), num(1))


def context(*equal: tuple[sp.Symbol, Index], more: tuple[Index, ...] = ()) -> Context:
    """Positive sizes, the two involutions, and an equation for L."""
    return Context((*POSITIVE, *more), equal, INVOLUTIONS)


def act_in(x: Read) -> Read:
    """ρ_in x for a signed involution: σ(c)·x[π(c), L−1−l]; without positions for rank 2."""
    return lambda c, *at: Mul((sigma(c), x(PI_IN(c), *(L - 1 - i for i in at))))


def act_out(y: Read, length: Index = N) -> Read:
    """ρ_out y for a signed involution."""
    return lambda o, *at: Mul((tau(o), y(PI_OUT(o), *(length - 1 - i for i in at))))


def mirror(w: Read, taps: Index = K) -> Read:
    """ρ_out W ρ_in: entry [o, c, k] is τ(o)·σ(π(c))·W[π_out(o), π_in(c), K−1−k]; for a bias τ(o)·b[π_out(o)]."""

    def read(o: Index, *rest: Index) -> Term:
        if not rest:
            return Mul((tau(o), w(PI_OUT(o))))
        c, *tap = rest
        return Mul((tau(o), w(PI_OUT(o), PI_IN(c), *(taps - 1 - k for k in tap)), sigma(PI_IN(c))))

    return read


def fixed(name: str, w: Read, rank: int) -> Equation:
    """The hypothesis w = ρ_out w ρ_in for a bias (rank 1), matrix (2) or kernel (3)."""
    ranges = ((o, O), (c, C), (k, K))[:rank]
    at = tuple(v for v, _ in ranges)
    return Equation(name, ranges, mirror(w)(*at), w(*at))


# -- layers -------------------------------------------------------------------------------------------------


def window_sum(
    w: Read, x: Read, o: Index, i: Index, start: Index, channels: Index = C, length: Index = L, taps: Index = K
) -> Term:
    """Σ_c Σ_k W[o, c, k]·x[c, s·i + d·k + start], over taps that read an input position."""
    at = s * i + d * k + start
    inner = If(frozenset({at, length - 1 - at}), Mul((w(o, c, k), x(c, at))), num(0))
    return Big("sum", c, channels, Big("sum", k, taps, inner))


def conv(w: Read, x: Read, b: Read, start: Index = -p, channels: Index = C, length: Index = L) -> Read:
    """Convolution whose first window starts at ``start``: −p for left padding p."""
    return lambda o, i: Add((window_sum(w, x, o, i, start, channels, length), b(o)))


def transposed_sum(
    w: Read, x: Read, o: Index, i: Index, padding: Index, channels: Index = C, length: Index = L
) -> Term:
    """Σ_c Σ_k Σ_j W[c, o, k]·x[c, j] over s·j + d·k = i + padding (torch's layout: input channels first)."""
    off = i + padding - d * k - s * j
    inner = If(frozenset({off, -off}), Mul((w(c, o, k), x(c, j))), num(0))
    return Big("sum", c, channels, Big("sum", k, K, Big("sum", j, length, inner)))


def transposed(w: Read, x: Read, b: Read, padding: Index = p, channels: Index = C) -> Read:
    """Transposed convolution."""
    return lambda o, i: Add((transposed_sum(w, x, o, i, padding, channels), b(o)))


def linear(w: Read, x: Read, b: Read, channels: Index = C) -> Read:
    """A dense layer on vectors."""
    return lambda o: Add((Big("sum", c, channels, Mul((w(o, c), x(c)))), b(o)))


def average(x: Read, start: Index = -p) -> Read:
    """Average pooling that counts padding: (1/K)·Σ_k x[c, s·i + d·k + start], 0 outside."""

    def entry(c: Index, i: Index) -> Term:
        at = s * i + d * k + start
        return Mul((num(1 / K), Big("sum", k, K, If(frozenset({at, L - 1 - at}), x(c, at), num(0)))))

    return entry


def maximum(x: Read, start: Index = -p) -> Read:
    """Max pooling: max_k x[c, s·i + d·k + start]; outside the input a constant that may be −∞."""

    def entry(c: Index, i: Index) -> Term:
        at = s * i + d * k + start
        return Big("max", k, K, If(frozenset({at, L - 1 - at}), x(c, at), Fun("bottom", ())))

    return entry
