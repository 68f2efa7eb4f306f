"""Exact evaluation of terms in random small worlds, and what it means for a rule to be sound.

Independent of everything that it judges: only the constructors of terms are used. A *world* gives integers to
symbols (negative ones too), and arbitrary rational values to arrays, functions and operators, drawn when first
read. Involutions are functions on all integers that keep 0..n−1 and move what lies outside; a maximum over
nothing is an odd number that nothing else is.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from typing import Any

import sympy as sp
from sympy.core.function import AppliedUndef

from rcproof.symbolic.arithmetic import Context
from rcproof.symbolic.checker import Equation, Refused
from rcproof.symbolic.terms import Add, Big, Elem, Fun, If, Lam, Mul, Num, Op, Term, free

NOTHING = Fraction(-17, 7)
Values = Mapping[sp.Symbol, int]
i, j, k, n, m, s = sp.symbols("i j k n m s", integer=True)
pi, po = sp.Function("pi", integer=True), sp.Function("po", integer=True)


class Unsound(AssertionError):
    """A rule changed the value of a term."""


def rational(x: Fraction | int) -> Any:
    """An int where it is one."""
    x = Fraction(x)
    return x.numerator if x.denominator == 1 else x


@cache
def compiled(e: Any) -> Callable[[Values, World], Any]:
    """An index expression as a function of the values of its symbols."""
    parts = [compiled(a) for a in e.args]
    if isinstance(e, sp.Rational):
        number = rational(Fraction(int(e.p), int(e.q)))
        return lambda v, w: number
    if isinstance(e, sp.Symbol):
        return lambda v, w: v[e]
    if isinstance(e, sp.Add):
        return lambda v, w: rational(sum(p(v, w) for p in parts))
    if isinstance(e, sp.Mul):
        return lambda v, w: rational(math.prod(p(v, w) for p in parts))
    if isinstance(e, sp.Pow):
        return lambda v, w: rational(Fraction(parts[0](v, w)) ** parts[1](v, w))
    if isinstance(e, sp.floor):
        return lambda v, w: math.floor(parts[0](v, w))
    assert isinstance(e, AppliedUndef), e
    return lambda v, w: w.index_function(str(e.func), tuple(p(v, w) for p in parts))


class World:
    """Integers for symbols, and values for all names."""

    def __init__(self, rng: random.Random, values: Values, involutions: Mapping[str, int], arrays: Arrays) -> None:
        self.rng, self.values, self.arrays = rng, values, arrays
        self.drawn: dict[Any, Any] = {}
        self.involutions = {name: self._involution(size) for name, size in involutions.items()}

    def _involution(self, size: int) -> Callable[[int], int]:
        order = list(range(size))
        self.rng.shuffle(order)
        inside = {a: a for a in order}
        for a, b in zip(order[::2], order[1::2], strict=False):
            inside[a], inside[b] = b, a
        return lambda a: inside.get(a, size - 1 - a)

    def draw(self, key: Any, least: int = -6, most: int = 6, divisor: int = 2) -> Fraction:
        """A number that belongs to ``key``."""
        if key not in self.drawn:
            self.drawn[key] = Fraction(self.rng.randint(least, most), self.rng.randint(1, divisor))
        return self.drawn[key]

    def index_function(self, name: str, at: tuple[int, ...]) -> int:
        """The value of an index function."""
        if name in self.involutions and len(at) == 1:
            return self.involutions[name](at[0])
        return int(self.draw((name, at), -2, 5, 1))

    def array(self, name: str, at: tuple[Any, ...]) -> Fraction:
        """An entry of an array."""
        return self.arrays[name](self, *at) if name in self.arrays else self.draw(("array", name, at))

    def value(self, t: Term, v: Values | None = None) -> Any:
        """The value of a term; of an array (Lam), all its entries."""
        v = self.values if v is None else v

        def at(e: Any) -> Any:
            return compiled(e)(v, self)

        if isinstance(t, Num):
            return Fraction(at(t.value))
        if isinstance(t, Elem):
            return self.array(t.array, tuple(map(at, t.index)))
        if isinstance(t, If):
            return self.value(t.then if all(at(c) >= 0 for c in t.conds) else t.other, v)
        if isinstance(t, Big):
            parts = [self.value(t.body, {**v, t.var: a}) for a in range(math.ceil(at(t.size)))]
            return sum(parts, Fraction(0)) if t.op == "sum" else max(parts, default=NOTHING)
        if isinstance(t, Lam):
            ranges = [range(at(size)) for size in t.sizes]
            places = itertools.product(*ranges)
            return tuple(map(len, ranges)), tuple(
                self.value(t.body, {**v, **dict(zip(t.vars, p, strict=True))}) for p in places
            )
        args = tuple(self.value(a, v) for a in t.args)
        if isinstance(t, Add):
            return sum(args, Fraction(0))
        if isinstance(t, Mul):
            return math.prod(args, start=Fraction(1))
        if isinstance(t, Fun):
            return max(args) if t.name == "max" else self.draw(("function", t.name, args))
        assert isinstance(t, Op)
        return self.draw(("operator", t.name, args, tuple(map(at, t.index))))


Arrays = Mapping[str, Callable[..., Fraction]]


@dataclass(frozen=True)
class Case:
    """A term to which a rule is applied with ``args``; ``arrays`` defines those that the equations speak of."""

    term: Any
    args: tuple[Any, ...] = ()
    ctx: Context = field(default_factory=Context)
    eqs: Mapping[str, Equation] = field(default_factory=dict)
    arrays: Arrays = field(default_factory=dict)


def worlds(ctx: Context, terms: Iterable[Any], rng: random.Random, count: int, arrays: Arrays) -> list[World]:
    """Random worlds in which the facts and equations of the context hold."""
    symbols = set().union(*(free(t) if isinstance(t, Term) else t.free_symbols for t in terms))
    symbols |= set().union(*(x.free_symbols for pair in ctx.equal for x in pair))
    symbols |= set().union(*(f.free_symbols for f in ctx.facts), *(size.free_symbols for _, size in ctx.involutions))
    found: list[World] = []
    for _ in range(60 * count):
        values = {x: rng.randint(-2, 4) for x in sorted(symbols, key=str)}
        blank = World(rng, values, {}, {})
        for x, value in reversed(ctx.equal):
            values[x] = compiled(value)(values, blank)
        sizes = {name: compiled(size)(values, blank) for name, size in ctx.involutions}
        world = World(rng, values, sizes, arrays)
        if all(isinstance(x, int) for x in values.values()) and all(compiled(f)(values, world) >= 0 for f in ctx.facts):
            found.append(world)
            if len(found) == count:
                break
    return found


def assert_same(a: Term, b: Term, ctx: Context, rng: random.Random, arrays: Arrays | None = None) -> int:
    """Two terms have one value in every world tried; gives the number of worlds."""
    found = worlds(ctx, (a, b), rng, 6, arrays or {})
    for world in found:
        if (one := world.value(a)) != (other := world.value(b)):
            at = {str(x): y for x, y in world.values.items()}
            raise Unsound(f"{a} is {one}, but {b} is {other} at {at}")
    return len(found)


def assert_sound(rule: Callable[..., Term], cases: Sequence[Case], seed: int = 0) -> None:
    """Where a rule accepts, it does not change the value (:class:`Unsound`); and it accepts something somewhere."""
    rng, compared = random.Random(seed), 0
    for case in cases:
        try:
            new = rule(case.term, case.ctx, case.eqs, *case.args)
        except Refused:
            continue
        compared += assert_same(case.term, new, case.ctx, rng, case.arrays)
    assert compared >= 6, "nothing was compared"


# -- random terms ---------------------------------------------------------------------------------------


def random_index(rng: random.Random, scope: Sequence[Any]) -> Any:
    """A small index expression in the given symbols."""
    e: Any = sp.Integer(rng.randint(-2, 2))
    for x in rng.sample(list(scope), min(len(scope), rng.randint(1, 2))):
        e = e + rng.choice((-1, 1, 1, 2)) * x
    return rng.choice((e, e, e, pi(e), po(pi(e)), sp.floor(e / 2), e * scope[0]))


def random_term(rng: random.Random, scope: Sequence[Any], depth: int = 2) -> Term:
    """A small term whose free symbols are in ``scope``; every binder has a name of its own."""
    kind = rng.choice("eeeenn" if depth == 0 else "eneaaammmffgbbbiioo")

    def sub() -> Term:
        return random_term(rng, scope, depth - 1)

    if kind == "e":
        return Elem(rng.choice("fg"), tuple(random_index(rng, scope) for _ in range(rng.randint(1, 2))))
    if kind == "n":
        return Num(rng.choice((sp.Rational(rng.randint(-4, 4), 2), scope[0] + 1)))
    if kind in "am":
        return (Add if kind == "a" else Mul)(tuple(sub() for _ in range(rng.randint(2, 3))))
    if kind in "fg":
        return Fun("max" if kind == "f" else "relu2", (sub(), sub()))
    if kind == "i":
        return If(frozenset(random_index(rng, scope) for _ in range(rng.randint(1, 2))), sub(), sub())
    var = sp.Symbol(f"v{rng.randrange(10**9)}", integer=True)
    body = random_term(rng, [*scope, var], depth - 1)
    size = rng.choice((sp.Integer(2), n, n + 1, m))
    if kind == "b":
        return Big(rng.choice(("sum", "sum", "max")), var, size, body)
    return Op("F", (Lam((var,), (size,), body),), (random_index(rng, scope),))
