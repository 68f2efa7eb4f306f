"""T3, the other direction, for max pooling: checked on a finite family, and claimed for no more.

The checker has no rule that evaluates a maximum at an array given by cases, so that the proof for average pooling
(:mod:`rcproof.symbolic.necessity_more`) does not carry over. Sufficiency is proved for all sizes in
:mod:`rcproof.symbolic.pooling`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

from rcproof.symbolic.statements import Evidence, Statement, require

MOST = {"taps": 3, "stride": 3, "dilation": 2, "outputs": 3}


def _maxima(x: tuple[int, ...], K: int, s: int, d: int, p: int, N: int) -> list[int]:
    """Max pooling of integers, by its definition."""
    reads = [[s * i + d * k - p for k in range(K)] for i in range(N)]
    return [max(x[j] for j in window if 0 <= j < len(x)) for window in reads]


def family(centred: Callable[[int], bool] = lambda r: r == 0) -> Evidence:
    """For every layer of the family: it commutes with reversal at all unit arrays iff ``centred(r)``."""
    count = 0
    ranges = (range(1, MOST[n] + 1) for n in ("taps", "stride", "dilation", "outputs"))
    for K, s, d, N in product(*ranges):
        for p, r in product(range(K // 2 + 1), range(s)):
            length = s * (N - 1) + d * (K - 1) + 1 - 2 * p + r
            if any(not any(0 <= s * i + d * k - p < length for k in range(K)) for i in range(N)):
                continue  # a window that reads no input has no maximum
            if not any(0 <= s * i - p < length for i in range(N)):
                continue  # tap 0 reads no input
            units = [tuple(int(j == at) for j in range(length)) for at in range(length)]
            equal = all(_maxima(x[::-1], K, s, d, p, N) == _maxima(x, K, s, d, p, N)[::-1] for x in units)
            require(equal == centred(r), f"max pooling with K={K}, s={s}, d={d}, p={p}, N={N}, r={r}")
            count += 1
    return Evidence(count, (f"{count} layers, each at every unit array of its length: equivariant iff r = 0",))


def _maximum() -> Statement:
    return Statement(
        "T3.maximum.necessary",
        "Max pooling commutes with reversal at all unit arrays only if its windows centre, r = 0.",
        r"\max(\rho\delta) = \rho\max(\delta)\ \forall\delta\ \Leftrightarrow\ r = 0",
        "finite: K ≤ 3, s ≤ 3, d ≤ 2, N ≤ 3, p ≤ K/2, 0 ≤ r < s",
        family,
        hypotheses=("every window, and tap 0, reads some input",),
        source="not in the paper",
    )


#: Statements by theorem.
STATEMENTS: dict[str, tuple[Statement, ...]] = {"T3": (_maximum(),)}
