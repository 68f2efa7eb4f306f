"""Strand pairs as terms: what :mod:`rcproof.strand` does to tensors, done to the entries of symbolic arrays.

An array is read through a function of its indices (:data:`Read`): channel, then position for rank 3. The
batch axis is left out, since every operation here treats examples one by one.
"""

from __future__ import annotations

from collections.abc import Callable

from rcproof.symbolic.terms import Elem, If, Index, Term

#: An array as a function from indices to the term of that entry.
Read = Callable[..., Term]


def array(name: str) -> Read:
    """An uninterpreted array."""
    return lambda *index: Elem(name, index)


def _read(x: str | Read) -> Read:
    return array(x) if isinstance(x, str) else x


def reversed_index(i: Index, size: Index) -> Index:
    """What i becomes when an axis of ``size`` entries is read backwards."""
    return size - 1 - i


def mirrored(x: str | Read, C: Index, L: Index | None = None) -> Read:
    """ρx for total reversal: (ρx)[c, l] = x[C−1−c, L−1−l]; without ``L``, (ρx)[c] = x[C−1−c]."""
    read = _read(x)
    if L is None:
        return lambda c: read(reversed_index(c, C))
    return lambda c, p: read(reversed_index(c, C), reversed_index(p, L))


def stacked(a: str | Read, b: str | Read, F: Index, L: Index | None, c: Index, p: Index | None = None) -> Term:
    """Entry [c, p] of stack(a, b): a[c, p] for c < F, and b[2F−1−c, L−1−p] from F on.

    Rank 2 (entry [c]) where ``L`` and ``p`` are None. The condition is written F−1−c ≥ 0.
    """
    own = (c,) if p is None else (c, p)
    other = (2 * F - 1 - c,) if L is None else (2 * F - 1 - c, reversed_index(p, L))
    return If(frozenset({F - 1 - c}), _read(a)(*own), _read(b)(*other))


def stack(a: str | Read, b: str | Read, F: Index, L: Index | None = None) -> Read:
    """stack(a, b) as an array of 2F channels; see :func:`stacked`."""
    if L is None:
        return lambda c: stacked(a, b, F, None, c)
    return lambda c, p: stacked(a, b, F, L, c, p)


def tied(v: str | Read, F: Index, *sizes: Index) -> Read:
    """tie(V), entry by entry: V[f, …] for f < F, and V[2F−1−f, reversed …] from F on."""
    read = _read(v)

    def entry(f: Index, *rest: Index) -> Term:
        back = tuple(reversed_index(i, n) for i, n in zip(rest, sizes, strict=True))
        return If(frozenset({F - 1 - f}), read(f, *rest), read(2 * F - 1 - f, *back))

    return entry
