"""Short ways to write terms, steps and claims; nothing here has to be trusted, since the checker sees the result."""

from __future__ import annotations

from typing import Any

import sympy as sp

from rcproof.symbolic.checker import Equation, Step
from rcproof.symbolic.terms import Add, Big, Elem, If, Index, Mul, Num, Term, num

HALF = num(sp.Rational(1, 2))
ZERO, ONE, MINUS = num(0), num(1), num(-1)

#: An index with its range: 0 ≤ var < size.
Range = tuple[sp.Symbol, Index]


def integers(names: str) -> Any:
    """Integer symbols, for sizes and indices."""
    return sp.symbols(names, integer=True)


def function(name: str) -> Any:
    """An index function, say a permutation of channels."""
    return sp.Function(name, integer=True)


def elem(array: str, *index: Index) -> Elem:
    """An entry of an array."""
    return Elem(array, tuple(sp.sympify(i) for i in index))


def add(*args: Term) -> Add:
    """A sum."""
    return Add(args)


def mul(*args: Term) -> Mul:
    """A product."""
    return Mul(args)


def total(body: Term, *ranges: Range) -> Term:
    """Σ over the ranges, the first outermost."""
    for var, size in reversed(ranges):
        body = Big("sum", var, sp.sympify(size), body)
    return body


def where(conds: tuple[Index, ...], then: Term, other: Term | None = None) -> If:
    """``then`` where all conditions are ≥ 0, else ``other`` (0 if not given)."""
    return If(frozenset(sp.sympify(c) for c in conds), then, ZERO if other is None else other)


def equal(a: Index, b: Index) -> tuple[Index, Index]:
    """The two conditions that say a = b."""
    return (a - b, b - a)


def number(value: Any) -> Num:
    """A number."""
    return num(value)


def step(rule: str, *path: int, args: tuple[Any, ...] = (), note: str = "") -> Step:
    """A step of a proof."""
    return Step(rule, path, args, note)


def use(name: str, *path: int, values: dict[Any, Index] | None = None, back: bool = False, note: str = "") -> Step:
    """A step that replaces an instance of a known equation."""
    return Step("rewrite", path, (name, values or {}, back), note)


def restate(new: Term, *path: int, note: str = "") -> Step:
    """A step that writes the same term in another way."""
    return Step("restate", path, (new,), note)


def equation(name: str, ranges: tuple[Range, ...], lhs: Term, rhs: Term) -> Equation:
    """An equation for all values of indices in their ranges."""
    return Equation(name, tuple((v, sp.sympify(n)) for v, n in ranges), lhs, rhs)
