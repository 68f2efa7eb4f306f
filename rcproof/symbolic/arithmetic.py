"""Index arithmetic: what follows from facts about sizes and indices, exactly.

Equality is sympy's ``expand`` to zero; inequalities are linear arithmetic over the rationals, with products
of symbols as atoms of their own. Both can fail to see something true; neither accepts anything false, given
that what is divided by is not 0 (which the checker makes sure of).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import sympy as sp

from rcproof.symbolic.terms import (
    Add,
    Big,
    Elem,
    Fun,
    If,
    Index,
    Lam,
    Mul,
    Num,
    Op,
    Term,
    binders,
    bound_name,
    children,
    expressions,
    substitute,
)  # fmt: skip


@dataclass(frozen=True)
class Context:
    """What holds: ``facts`` are ≥ 0; ``equal`` maps a symbol to what it equals (a centring condition, say).

    ``involutions`` maps the name of an index function π to its size n: π is a function on all integers with
    π(π(i)) = i for every i, and 0 ≤ π(i) < n where 0 ≤ i < n (so it keeps the others outside). Every
    involution of 0..n−1 is such a π, with π(i) = i elsewhere; nothing more is assumed of π outside 0..n−1.
    """

    facts: tuple[Index, ...] = ()
    equal: tuple[tuple[sp.Symbol, Index], ...] = ()
    involutions: tuple[tuple[str, Index], ...] = ()

    def assume(self, *facts: Index) -> Context:
        """With more facts."""
        return replace(self, facts=(*self.facts, *facts))

    def normal(self, e: Index) -> Index:
        """The normal form of an index expression: equations substituted, π(π(i)) = i, expanded."""
        for symbol, value in self.equal:
            e = e.xreplace({symbol: value})
        e = sp.expand(e)
        while twice := [f for f in self._involuted(e) if getattr(f.args[0], "func", None) == f.func]:
            e = sp.expand(e.xreplace({f: f.args[0].args[0] for f in twice}))
        return sp.cancel(e) if not e.is_polynomial() and e.is_rational_function() else e

    def same(self, a: Index, b: Index) -> bool:
        """Whether two index expressions are equal for all values."""
        return bool(self.normal(sp.sympify(a, strict=True) - sp.sympify(b, strict=True)) == 0)

    def _involuted(self, e: Index) -> list[Index]:
        """What the involutions are applied to one argument in ``e``, innermost first."""
        names = dict(self.involutions)
        applied = [f for f in e.atoms(sp.core.function.AppliedUndef) if str(f.func) in names and len(f.args) == 1]
        return sorted(applied, key=lambda f: (sp.count_ops(f), str(f)))

    def entails(self, e: Index) -> bool:
        """Whether e ≥ 0 follows: the facts with e ≤ −1 have no rational solution (Fourier–Motzkin)."""
        e = sp.sympify(e, strict=True)
        if not e.is_integer:  # for a fraction, "not ≥ 0" would not mean "≤ −1"
            return False
        if e in self.facts:  # nearly every goal is, and the rest is slow
            return True
        rows = [self.normal(f) for f in self.facts] + [self.normal(-e - 1)]
        # 0 ≤ π(i) < n is a fact where 0 ≤ i < n is; innermost first, so that π(f(π(i))) is found too.
        for f in self._involuted(sp.Tuple(*rows)):
            size = dict(self.involutions)[str(f.func)]
            inside = f.args[0], size - 1 - f.args[0]
            if all(
                i.is_integer and _infeasible([_linear(r) for r in (*rows[:-1], self.normal(-i - 1))]) for i in inside
            ):
                rows = [f, self.normal(size - 1 - f), *rows]
        return _infeasible([_linear(r) for r in rows])


def _linear(e: Index) -> dict[Index, Fraction]:
    """Coefficients by monomial; products of symbols are atoms of their own."""
    return {m: Fraction(int(c.p), int(c.q)) for m, c in sp.expand(e).as_coefficients_dict().items()}


def _infeasible(rows: list[dict[Index, Fraction]]) -> bool:
    """Whether no rational assignment makes every row ≥ 0."""
    while True:
        rows = [r for r in ({m: c for m, c in row.items() if c} for row in rows) if r]
        if any(set(r) == {sp.S.One} and r[sp.S.One] < 0 for r in rows):
            return True
        signs: dict[Index, list[int]] = {}
        for m, c in ((m, c) for r in rows for m, c in r.items() if m != sp.S.One):
            signs.setdefault(m, [0, 0])[c < 0] += 1
        if not signs or len(rows) > 400:
            return False
        least = min(above * below for above, below in signs.values())
        m = min((m for m, (above, below) in signs.items() if above * below == least), key=str)
        above = [r for r in rows if r.get(m, 0) > 0]
        below = [r for r in rows if r.get(m, 0) < 0]
        mixed = [
            {k: p.get(k, Fraction(0)) / p[m] - n.get(k, Fraction(0)) / n[m] for k in (set(p) | set(n)) - {m}}
            for p in above
            for n in below
        ]
        rows = [r for r in rows if not r.get(m, 0)] + mixed


def canonical(t: Term, ctx: Context, depth: int = 0) -> Any:
    """A form that two terms share iff they differ by names of bound variables, order of sums and products,
    and ways of writing an index."""
    if isinstance(t, Big | Lam):
        new = {v: bound_name(depth + i) for i, v in enumerate(binders(t))}
        body = canonical(substitute(t.body, new), ctx, depth + len(new))
        return (type(t).__name__, getattr(t, "op", ""), tuple(ctx.normal(s) for s in expressions(t)), body)
    if isinstance(t, Num):
        return ("Num", ctx.normal(t.value))
    if isinstance(t, Elem):
        return ("Elem", t.array, tuple(ctx.normal(i) for i in t.index))
    kids = [canonical(k, ctx, depth) for k in children(t)]
    if isinstance(t, Add | Mul):
        return _arithmetic(type(t), kids)
    if isinstance(t, If):
        # In order of what they say: two equal sets may be written in two orders, and `_arithmetic` sorts by text.
        return ("If", tuple(sorted({ctx.normal(c) for c in t.conds}, key=str)), *kids)
    if isinstance(t, Fun) and t.name == "max":
        kids.sort(key=str)
    index = tuple(ctx.normal(i) for i in t.index) if isinstance(t, Op) else ()
    return (type(t).__name__, t.name, index, *kids)


def _arithmetic(kind: type, kids: list[Any]) -> Any:
    """Flatten, fold numbers, sort."""
    name, unit = kind.__name__, sp.Integer(0) if kind is Add else sp.Integer(1)
    flat = [g for k in kids for g in (k[1] if k[0] == name else (k,))]
    number = unit
    for k in flat:
        if k[0] == "Num":
            number = sp.cancel(number + k[1] if kind is Add else number * k[1])
    rest = sorted((k for k in flat if k[0] != "Num"), key=str)
    if kind is Mul and number == 0:
        return ("Num", number)
    parts = ([("Num", number)] if number != unit or not rest else []) + rest
    return parts[0] if len(parts) == 1 else (name, tuple(parts))
