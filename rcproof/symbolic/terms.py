"""Terms: one entry of an array, written with index expressions over symbolic sizes.

Entries of uninterpreted arrays, sums and maxima over a range, uninterpreted functions and operators, and
cases. Arrays and index functions are total functions on integers (what lies outside a range is guarded by
cases, as padding is), their values real numbers; sizes and indices are sympy integer symbols. A sum over
nothing is 0, a maximum over nothing some fixed number. Part of what has to be trusted, with
:mod:`~rcproof.symbolic.arithmetic` and :mod:`~rcproof.symbolic.checker`; none of the three imports
anything of ours besides each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
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
    """``sum`` or ``max`` of ``body`` over 0 ≤ var < size."""

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
    """An entry of what an uninterpreted operator (any map of arrays) makes of arrays, their ranges alone."""

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


def expressions(t: Term) -> tuple[Index, ...]:
    """The index expressions, sizes and conditions of ``t`` itself, not of its subterms."""
    if isinstance(t, Elem | Op):
        return t.index
    if isinstance(t, Num | Big):
        return (t.value if isinstance(t, Num) else t.size,)
    if isinstance(t, Lam):
        return t.sizes
    return tuple(t.conds) if isinstance(t, If) else ()


def binders(t: Term) -> tuple[sp.Symbol, ...]:
    """The variables that ``t`` binds in its body."""
    return (t.var,) if isinstance(t, Big) else t.vars if isinstance(t, Lam) else ()


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
    return set(binders(t)).union(*(bound(k) for k in children(t)))


def free(t: Term) -> set[sp.Symbol]:
    """The free index variables and sizes of ``t``. A binder binds in its body, not in its size."""
    inner: set[sp.Symbol] = set().union(*(free(k) for k in children(t)))
    return (inner - set(binders(t))).union(*(e.free_symbols for e in expressions(t)))


def substitute(t: Term, values: Mapping[sp.Symbol, Index]) -> Term:
    """``t`` with free variables replaced, all at once; bound ones are renamed first where they would capture."""
    values = {v: sp.sympify(e, strict=True) for v, e in values.items()}
    clash = bound(t) & set(values).union(*(e.free_symbols for e in values.values()))
    return map_indices(fresh(t, clash) if clash else t, lambda e: e.xreplace(values))


def fresh(t: Term, names: set[sp.Symbol]) -> Term:
    """The same term, with bound variables of these names (and what they bind) renamed; free occurrences stay."""
    return _rename(t, {v: sp.Dummy(v.name, integer=True) for v in names})


def _rename(t: Term, names: Mapping[sp.Symbol, sp.Symbol]) -> Term:
    t = with_children(t, tuple(_rename(k, names) for k in children(t)))
    own = {v: names[v] for v in binders(t) if v in names}
    if isinstance(t, Big) and own:
        return replace(t, var=own[t.var], body=map_indices(t.body, lambda e: e.xreplace(own)))
    if isinstance(t, Lam) and own:
        body = map_indices(t.body, lambda e: e.xreplace(own))
        return replace(t, vars=tuple(own.get(v, v) for v in t.vars), body=body)
    return t


# -- what has a meaning -------------------------------------------------------------------------------

_BOUND: list[sp.Dummy] = []


def bound_name(depth: int) -> sp.Dummy:
    """The canonical name of a bound variable: a symbol that :func:`plain` lets nobody else use."""
    while len(_BOUND) <= depth:
        _BOUND.append(sp.Dummy(f"b{len(_BOUND)}", integer=True))
    return _BOUND[depth]


@lru_cache(maxsize=None, typed=True)
def plain(e: Any) -> bool:
    """Whether ``e`` is made of rationals, symbols and functions of integers known to be integers and nothing
    else (sympy would use more: that a symbol is positive, say), sums, products, integer powers and floors."""

    def good(n: Any) -> bool:
        if isinstance(n, sp.Symbol | sp.core.function.AppliedUndef):
            more = (n.is_zero, n.is_nonnegative, n.is_nonpositive, n.is_even)
            return bool(n.is_integer) and set(more) == {None} and n not in _BOUND and all(a.is_integer for a in n.args)
        if isinstance(n, sp.Pow):
            return isinstance(n.exp, sp.Integer)
        return isinstance(n, sp.Rational | sp.Add | sp.Mul | sp.floor)

    return isinstance(e, sp.Expr) and all(good(n) for n in sp.preorder_traversal(e))


def fault(t: Any) -> str:
    """Why ``t`` is no term with a meaning, or nothing."""
    if not isinstance(t, Term):
        return f"{t!r} is no term"
    if not all(isinstance(v, sp.Symbol) and plain(v) for v in binders(t)) or not all(map(plain, expressions(t))):
        return "an expression is not made of rationals, integer symbols, integer functions, +, ×, powers and floors"
    if not isinstance(t, Num) and not all(e.is_integer for e in expressions(t)):
        return "an index, a size or a condition may be a fraction"
    if isinstance(t, Big) and t.op not in ("sum", "max"):
        return f"{t.op!r} is neither sum nor max"
    if isinstance(t, Lam) and not len(set(t.vars)) == len(t.vars) == len(t.sizes):
        return "an array has one size for each of its variables, which differ"
    if any(isinstance(k, Lam) != isinstance(t, Op) for k in children(t)):
        return "arrays, and nothing else, are what operators take"
    return next(filter(None, map(fault, children(t))), "")
