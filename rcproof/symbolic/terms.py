"""Terms: one entry of an array, written with index expressions over symbolic sizes.

Entries of uninterpreted arrays, sums and maxima over a range, uninterpreted functions and operators, and
cases. Arrays are total functions on integers (what lies outside a range is guarded by cases, as padding
is); sizes and indices are sympy integer symbols. Part of what has to be trusted, with
:mod:`~rcproof.symbolic.arithmetic` and :mod:`~rcproof.symbolic.checker`; none of the three imports
anything of ours besides each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import sympy as sp

#: A sympy expression of integer symbols.
Index = Any


# -- terms --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Num:
    """A number: a rational expression of sizes."""

    value: sp.Expr


@dataclass(frozen=True)
class Elem:
    """One entry of an uninterpreted array."""

    array: str
    index: tuple[Index, ...]


@dataclass(frozen=True)
class Fun:
    """An uninterpreted function of numbers (an activation, say); ``max`` is the maximum of two."""

    name: str
    args: tuple[Term, ...]


@dataclass(frozen=True)
class Add:
    """A sum of terms."""

    args: tuple[Term, ...]


@dataclass(frozen=True)
class Mul:
    """A product of terms."""

    args: tuple[Term, ...]


@dataclass(frozen=True)
class Big:
    """``sum`` or ``max`` of ``body`` over 0 ≤ var < size (for ``max``, size ≥ 1)."""

    op: str
    var: sp.Symbol
    size: Index
    body: Term


@dataclass(frozen=True)
class If:
    """``then`` where every condition is ≥ 0, ``other`` elsewhere."""

    conds: frozenset[Index]
    then: Term
    other: Term


@dataclass(frozen=True)
class Lam:
    """An array given by its entries: ``body`` for 0 ≤ vars[k] < sizes[k]."""

    vars: tuple[sp.Symbol, ...]
    sizes: tuple[Index, ...]
    body: Term


@dataclass(frozen=True)
class Op:
    """An entry of what an uninterpreted operator (any map of arrays) makes of arrays."""

    name: str
    args: tuple[Lam, ...]
    index: tuple[Index, ...]


Term = Num | Elem | Fun | Add | Mul | Big | If | Lam | Op


def num(value: Any) -> Num:
    """A number as a term."""
    return Num(sp.sympify(value))


def children(t: Term) -> tuple[Term, ...]:
    """The subterms a path can go to."""
    if isinstance(t, Fun | Add | Mul | Op):
        return t.args
    if isinstance(t, Big | Lam):
        return (t.body,)
    return (t.then, t.other) if isinstance(t, If) else ()


def with_children(t: Term, kids: tuple[Any, ...]) -> Term:
    """``t`` with other subterms."""
    if isinstance(t, Fun | Add | Mul | Op):
        return replace(t, args=kids)
    if isinstance(t, Big | Lam):
        return replace(t, body=kids[0])
    return replace(t, then=kids[0], other=kids[1]) if isinstance(t, If) else t


def map_indices(t: Term, f: Callable[[Index], Index]) -> Term:
    """``t`` with ``f`` applied to every index expression, size and condition."""
    t = with_children(t, tuple(map_indices(k, f) for k in children(t)))
    if isinstance(t, Elem | Op):
        return replace(t, index=tuple(f(i) for i in t.index))
    if isinstance(t, Num):
        return Num(f(t.value))
    if isinstance(t, Big):
        return replace(t, size=f(t.size))
    if isinstance(t, Lam):
        return replace(t, sizes=tuple(f(s) for s in t.sizes))
    return replace(t, conds=frozenset(f(c) for c in t.conds)) if isinstance(t, If) else t


def bound(t: Term) -> set[sp.Symbol]:
    """All variables bound anywhere in ``t``."""
    own = {t.var} if isinstance(t, Big) else set(t.vars) if isinstance(t, Lam) else set()
    return own.union(*(bound(k) for k in children(t)))


def free(t: Term) -> set[sp.Symbol]:
    """The free index variables and sizes of ``t``."""
    own: set[sp.Symbol] = set()
    if isinstance(t, Elem | Op):
        own = set().union(*(i.free_symbols for i in t.index))
    elif isinstance(t, Num):
        own = set(t.value.free_symbols)
    elif isinstance(t, Big):
        return set(t.size.free_symbols) | (free(t.body) - {t.var})
    elif isinstance(t, Lam):
        return set().union(*(s.free_symbols for s in t.sizes)) | (free(t.body) - set(t.vars))
    elif isinstance(t, If):
        own = set().union(*(c.free_symbols for c in t.conds))
    return own.union(*(free(k) for k in children(t)))


def substitute(t: Term, values: Mapping[sp.Symbol, Index]) -> Term:
    """``t`` with free variables replaced; bound ones are renamed first where they would capture."""
    used = set(values).union(*(sp.sympify(v).free_symbols for v in values.values()))
    clash = bound(t) & used
    if clash:
        t = _rename(t, {v: sp.Dummy(v.name, integer=True) for v in clash})
    return map_indices(t, lambda e: e.subs(values, simultaneous=True) if e.free_symbols & set(values) else e)


def _rename(t: Term, names: Mapping[sp.Symbol, sp.Symbol]) -> Term:
    """Rename binders (and what they bind) inside ``t``; free occurrences stay."""
    t = with_children(t, tuple(_rename(k, names) for k in children(t)))
    if isinstance(t, Big) and t.var in names:
        return replace(t, var=names[t.var], body=map_indices(t.body, lambda e: e.xreplace({t.var: names[t.var]})))
    if isinstance(t, Lam) and set(t.vars) & set(names):
        own = {v: names[v] for v in t.vars if v in names}
        body = map_indices(t.body, lambda e: e.xreplace(own))
        return replace(t, vars=tuple(own.get(v, v) for v in t.vars), body=body)
    return t
