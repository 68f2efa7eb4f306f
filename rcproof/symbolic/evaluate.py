"""Exact evaluation of terms at small sizes: a second opinion on every proof that the checker accepts.

Independent of the checker and of its arithmetic: sizes become integers, arrays become rational numbers, and
both sides of a claim are computed by brute force. The hypotheses of a claim (its ``given`` equations) are
made to hold by solving them, as linear equations in the entries of the arrays that they are about.

Agreement at random sizes proves nothing; disagreement refutes, and is how the false variants in the tests
are shown to be false.
"""

from __future__ import annotations

import itertools
import random
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from typing import Any

import sympy as sp
from sympy.core.function import AppliedUndef

from rcproof.symbolic.affine import Affine
from rcproof.symbolic.arithmetic import Context
from rcproof.symbolic.checker import Claim, Equation
from rcproof.symbolic.terms import Add, Big, Elem, Fun, If, Lam, Num, Op, Term, bound, children, free

Values = Mapping[sp.Symbol, int]
#: An array: a function from an index to a number.
Array = Callable[[tuple[int, ...]], Any]
#: Gives arrays that hypotheses restrict in a way that is not linear (signs, say).
Builder = Callable[["World"], Mapping[str, Array]]


class Unsatisfiable(Exception):
    """No sizes, or no arrays, that satisfy the hypotheses were found."""


@dataclass(frozen=True)
class Disagreement(Exception):
    """Where the two sides of a claim differ."""

    at: Mapping[str, int]
    lhs: Fraction
    rhs: Fraction

    def __str__(self) -> str:
        return f"{self.lhs} is not {self.rhs} at " + ", ".join(f"{k}={v}" for k, v in sorted(self.at.items()))


@dataclass
class World:
    """Numbers for all names: sizes, arrays, involutions; functions and operators where the default will not do."""

    rng: random.Random
    sizes: dict[sp.Symbol, int] = field(default_factory=dict)
    arrays: dict[str, Array] = field(default_factory=dict)
    involutions: dict[str, tuple[int, ...]] = field(default_factory=dict)
    functions: dict[str, Callable[..., Any]] = field(default_factory=dict)
    operators: dict[str, Callable[[list[dict[tuple[int, ...], Any]], tuple[int, ...]], Any]] = field(
        default_factory=dict
    )

    def array(self, name: str) -> Array:
        """The array of that name: what was given, or random numbers, drawn when first read."""
        return self.arrays.setdefault(name, self._drawn())

    def _drawn(self) -> Array:
        drawn: dict[tuple[int, ...], Fraction] = {}
        return lambda index: drawn[index] if index in drawn else drawn.setdefault(index, draw(self.rng))

    def function(self, name: str) -> Callable[..., Any]:
        """The function of that name, or an arbitrary polynomial that the name determines."""
        if name in self.functions:
            return self.functions[name]
        if name == "max":
            return max
        return lambda *args: _arbitrary((name, len(args)), enumerate(args))

    def operator(self, name: str) -> Callable[[list[dict[tuple[int, ...], Any]], tuple[int, ...]], Any]:
        """The operator of that name, or an arbitrary polynomial in all entries of its arguments."""
        if name in self.operators:
            return self.operators[name]

        def apply(arrays: list[dict[tuple[int, ...], Any]], index: tuple[int, ...]) -> Any:
            return _arbitrary((name, index), (((n, k), v) for n, a in enumerate(arrays) for k, v in a.items()))

        return apply


def draw(rng: random.Random) -> Fraction:
    """A small rational number, seldom 0."""
    return Fraction(rng.randint(-9, 9), rng.randint(1, 4))


def _arbitrary(seed: Any, entries: Any) -> Any:
    """A polynomial with coefficients that depend on ``seed`` alone; not even, odd, linear or symmetric."""
    total: Any = Fraction(_hash(seed) % 7 - 3)
    for key, v in entries:
        h = _hash((seed, key))
        total = total + v * Fraction(h % 11 - 5, 2) + v * v * Fraction(h // 11 % 5 + 1, 3)
    return total


def _hash(value: Any) -> int:
    return zlib.crc32(repr(value).encode())


# -- index expressions ----------------------------------------------------------------------------------


@lru_cache(maxsize=20000)
def _compiled(e: Any) -> Callable[[Values, Mapping[str, tuple[int, ...]]], Any]:
    """An index expression as a function of the values of its symbols and of the involutions."""
    if isinstance(e, int) or e.is_Integer:
        value = int(e)
        return lambda values, pis: value
    if e.is_Rational:
        fraction = Fraction(int(e.p), int(e.q))
        return lambda values, pis: fraction
    if e.is_Symbol:
        return lambda values, pis: values[e]
    parts = [_compiled(a) for a in e.args]
    if e.is_Add:
        return lambda values, pis: sum(p(values, pis) for p in parts)
    if e.is_Mul:

        def product(values: Values, pis: Mapping[str, tuple[int, ...]]) -> Any:
            out = parts[0](values, pis)
            for p in parts[1:]:
                out = out * p(values, pis)
            return out

        return product
    if e.is_Pow and e.args[1].is_Integer:
        power = int(e.args[1])
        return lambda values, pis: Fraction(parts[0](values, pis)) ** power
    if isinstance(e, AppliedUndef):
        name = str(e.func)

        def involution(values: Values, pis: Mapping[str, tuple[int, ...]]) -> Any:
            i, pi = parts[0](values, pis), pis[name]
            return pi[i] if 0 <= i < len(pi) else i  # what lies outside the range stays

        return involution
    raise TypeError(f"an index expression with {type(e).__name__}: {e}")


def index(e: Any, world: World, values: Values) -> Any:
    """The value of an index expression."""
    return _compiled(sp.sympify(e))(values, world.involutions)


# -- terms ------------------------------------------------------------------------------------------------


def evaluate(t: Term, world: World, values: Values) -> Any:
    """The value of a term; ``values`` are those of its free symbols."""

    def at(e: Any) -> Any:
        return _compiled(sp.sympify(e))(values, world.involutions)

    if isinstance(t, Num):
        return Fraction(at(t.value))
    if isinstance(t, Elem):
        return world.array(t.array)(tuple(at(i) for i in t.index))
    if isinstance(t, If):
        return evaluate(t.then if all(at(c) >= 0 for c in t.conds) else t.other, world, values)
    if isinstance(t, Big):
        terms = [evaluate(t.body, world, {**values, t.var: n}) for n in range(at(t.size))]
        return max(terms) if t.op == "max" else sum(terms, Fraction(0))
    if isinstance(t, Op):
        return world.operator(t.name)([_tabulate(a, world, values) for a in t.args], tuple(at(i) for i in t.index))
    if isinstance(t, Lam):
        raise TypeError("an array is no number")
    args = [evaluate(a, world, values) for a in t.args]
    if isinstance(t, Fun):
        return world.function(t.name)(*args)
    total = args[0]
    for a in args[1:]:
        total = total + a if isinstance(t, Add) else total * a
    return total


def _tabulate(a: Lam, world: World, values: Values) -> dict[tuple[int, ...], Any]:
    ranges = [range(index(s, world, values)) for s in a.sizes]
    return {
        at: evaluate(a.body, world, {**values, **dict(zip(a.vars, at, strict=True))})
        for at in itertools.product(*ranges)
    }


# -- making hypotheses hold ---------------------------------------------------------------------------------


def _arrays(t: Term) -> set[str]:
    own = {t.array} if isinstance(t, Elem) else set()
    return own.union(*(_arrays(k) for k in children(t)))


def _unknown(name: str) -> Array:
    return lambda at: Affine(Fraction(0), {(name, at): Fraction(1)})


def solve(given: tuple[Equation, ...], world: World) -> None:
    """Give the arrays in the hypotheses random entries that satisfy all of them at the world's sizes."""
    names = set().union(*(_arrays(e.lhs) | _arrays(e.rhs) for e in given)) - set(world.arrays)
    for name in names:
        world.arrays[name] = _unknown(name)
    pivots: dict[Any, Affine] = {}
    for eq in given:
        for values in assignments(eq, world):
            difference = evaluate(eq.lhs, world, values) + evaluate(eq.rhs, world, values) * -1
            row = difference if isinstance(difference, Affine) else Affine(Fraction(difference))
            while (key := next((k for k in row.parts if k in pivots), None)) is not None:
                row = row.without(key) + pivots[key] * row.parts[key]
            if row.parts:
                key, factor = next(iter(row.parts.items()))
                pivots[key] = row.without(key) * (-1 / factor)
            elif row.number:
                raise Unsatisfiable(f"hypothesis {eq.name} cannot hold at these sizes")
    found: dict[Any, Fraction] = {}

    def value(key: Any) -> Fraction:
        if key not in found:
            e = pivots.get(key)
            found[key] = draw(world.rng) if e is None else e.number + sum(v * value(k) for k, v in e.parts.items())
        return found[key]

    def entries(name: str) -> Array:
        return lambda at: value((name, at))

    for name in names:
        world.arrays[name] = entries(name)


# -- claims at random sizes -----------------------------------------------------------------------------------


def assignments(eq: Equation, world: World) -> Iterator[dict[sp.Symbol, int]]:
    """All values of the variables of an equation in their ranges, with the world's sizes."""
    ranges = [range(index(size, world, world.sizes)) for _, size in eq.vars]
    for at in itertools.product(*ranges):
        yield {**world.sizes, **dict(zip((v for v, _ in eq.vars), at, strict=True))}


def draw_sizes(claim: Claim, rng: random.Random, most: int = 3, tries: int = 4000) -> dict[sp.Symbol, int]:
    """Small sizes that satisfy the facts and equations of a claim, those about its variables left aside."""
    eq, ctx = claim.equation, claim.context
    own = {v for v, _ in eq.vars}
    terms = [eq.lhs, eq.rhs] + [t for g in claim.given for t in (g.lhs, g.rhs)]
    used = set().union(*(free(t) for t in terms), *(f.free_symbols for f in ctx.facts))
    used |= {s for e in (eq, *claim.given) for _, size in e.vars for s in size.free_symbols}
    used |= {s for pair in ctx.equal for e in pair for s in e.free_symbols} | _symbols(ctx)
    used -= own | {v for g in claim.given for v, _ in g.vars} | set().union(*(bound(t) for t in terms))
    dependent = [s for s, _ in ctx.equal]
    facts = [f for f in ctx.facts if not f.free_symbols & own]
    # A fact like s − 1 ≥ 0 says where to begin.
    least = {s: 0 if s in facts else -most for s in used}
    for f in facts:
        if f.is_Add and len(f.free_symbols) == 1 and f.coeff(s := next(iter(f.free_symbols))) == 1 and f - s < 0:
            least[s] = int(s - f)
    pis = {name: () for name, _ in ctx.involutions}
    for _ in range(tries):
        sizes = {s: rng.randint(n, max(n, 0) + most) for s, n in sorted(least.items(), key=str) if s not in dependent}
        for s, value in reversed(ctx.equal):
            sizes[s] = _compiled(value)(sizes, pis)
        if all(_compiled(f)(sizes, pis) >= 0 for f in facts):
            return sizes
    raise Unsatisfiable(f"no sizes found for {eq.name}")


def _symbols(ctx: Context) -> set[sp.Symbol]:
    return {s for _, size in ctx.involutions for s in size.free_symbols}


def random_involution(size: int, rng: random.Random) -> tuple[int, ...]:
    """A random involution of 0..size−1."""
    pi, left = list(range(size)), list(range(size))
    rng.shuffle(left)
    while len(left) > 1:
        a = left.pop()
        if rng.random() < 0.75:
            b = left.pop()
            pi[a], pi[b] = b, a
    return tuple(pi)


def world_for(claim: Claim, rng: random.Random, builder: Builder | None = None, most: int = 3) -> World:
    """Random sizes, involutions and arrays in which all that a claim assumes holds."""
    for _ in range(50):
        sizes = draw_sizes(claim, rng, most)
        pis = {name: random_involution(_compiled(size)(sizes, {}), rng) for name, size in claim.context.involutions}
        world = World(rng, sizes, involutions=pis)
        if builder is not None:
            world.arrays.update(builder(world))
        try:
            solve(claim.given, world)
        except Unsatisfiable:
            continue
        return world
    raise Unsatisfiable(f"the hypotheses of {claim.equation.name} never hold")


def compare(claim: Claim, world: World, most: int = 150) -> int:
    """How many places were compared; :class:`Disagreement` at the first where the two sides differ."""
    eq, count = claim.equation, 0
    own = {v for v, _ in eq.vars}
    about = [f for f in claim.context.facts if f.free_symbols & own]
    places = list(assignments(eq, world))
    for values in places if len(places) <= most else world.rng.sample(places, most):
        if any(index(f, world, values) < 0 for f in about):
            continue
        lhs, rhs = evaluate(eq.lhs, world, values), evaluate(eq.rhs, world, values)
        if lhs != rhs:
            raise Disagreement({str(k): v for k, v in values.items()}, lhs, rhs)
        count += 1
    return count


def spot_check(claim: Claim, rng: random.Random, builder: Builder | None = None, worlds: int = 1, most: int = 3) -> int:
    """Compare both sides of a claim, exactly, in random small worlds where its hypotheses hold.

    Gives the number of entries compared, at least one per world; raises :class:`Disagreement` where the sides
    differ and :class:`Unsatisfiable` if no world was found in which there is something to compare. Sizes are
    drawn from what the facts ask for up to ``most`` more.
    """
    total = 0
    for _ in range(worlds):
        for _ in range(50):
            if count := compare(claim, world_for(claim, rng, builder, most)):
                total += count
                break
        else:
            raise Unsatisfiable(f"nothing to compare in {claim.equation.name}")
    return total


def counterexample(
    claim: Claim, rng: random.Random, builder: Builder | None = None, worlds: int = 60, most: int = 3
) -> Disagreement:
    """Where a false claim fails; :class:`Unsatisfiable` if none of the worlds tried shows it."""
    for _ in range(worlds):
        try:
            compare(claim, world_for(claim, rng, builder, most))
        except Disagreement as found:
            return found
    raise Unsatisfiable(f"no counterexample to {claim.equation.name}")
