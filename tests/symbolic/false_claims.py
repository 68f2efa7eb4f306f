"""False equations, each with a proof that only a hole in the checker would let through.

Every one was tried against a checker with the hole in it, and accepted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import sympy as sp

from rcproof.symbolic.arithmetic import Context
from rcproof.symbolic.checker import Claim, Equation, Proof, Step
from rcproof.symbolic.terms import Add, Big, Elem, Fun, If, Lam, Mul, Num, Op, Term, bound_name, num

i, j, k, n, m, L, s, z = sp.symbols("i j k n m L s z", integer=True)
pi = sp.Function("pi", integer=True)
rational = sp.Symbol("q", rational=True)
positive, even = sp.Symbol("r", integer=True, positive=True), sp.Symbol("e", integer=True, even=True)


def f(*index: Any) -> Elem:
    """An entry of f."""
    return Elem("f", tuple(map(sp.sympify, index)))


def total(var: Any, size: Any, body: Any, op: str = "sum") -> Big:
    """A sum."""
    return Big(op, var, sp.sympify(size), body)


def case(then: Term, other: Term, *conds: Any) -> If:
    """A case distinction."""
    return If(frozenset(map(sp.sympify, conds)), then, other)


def equation(lhs: Any, rhs: Any, *ranges: tuple[Any, Any], name: str = "claim") -> Equation:
    """An equation."""
    return Equation(name, ranges, lhs, rhs)


@dataclass(frozen=True)
class Attack:
    """A false claim, its "proof", and what the refusal must say; ``first`` is proved before and then known."""

    name: str
    claim: Claim
    steps: tuple[Step, ...]
    says: str
    cases: Any = None
    first: Claim | None = None
    right: tuple[Step, ...] = field(default=())

    def proof(self) -> Proof:
        """Its steps as a proof; with ``cases``, the two cases have no steps."""
        return Proof(self.steps, self.cases, (Proof(), Proof()) if self.cases is not None else (), self.right)


def attack(
    name: str, lhs: Any, rhs: Any, says: str, *steps: Step, ctx: Context | None = None, given: Any = (), **more: Any
) -> Attack:
    """An attack on an equation without quantified indices."""
    return Attack(name, Claim(equation(lhs, rhs), ctx or Context(), tuple(given)), steps, says, **more)


NAME = "has the name of another"
FRACTION = "may be a fraction"
MAKE = "not made of rationals"
ZERO = "may be 0"
five = ((L, sp.Integer(5)),)
at_five = equation(f(n), num(0), name="h")

ATTACKS = [
    # -- names: what a bound index must not be called
    attack(
        "a bound index named as a symbol of an equation of the context",
        total(L, 3, f(L)),
        total(j, 3, f(5)),
        NAME,
        Step("restate", (0,), (f(5),)),
        ctx=Context(equal=five),
    ),
    attack(
        "a bound index named as what an equation of the context gives",
        total(m, 3, total(i, L, f(i - m))),
        total(m, 3, total(i, L, f(i - L))),
        NAME,
        Step("restate", (0,), (total(i, L, f(i - L)),)),
        ctx=Context(equal=((L, m),)),
    ),
    attack(
        "a bound index named as the size of an involution",
        total(n, 4, total(i, n, f(i))),
        total(n, 4, total(i, n, f(pi(i)))),
        NAME,
        Step("reindex", (0,), ("pi",)),
        ctx=Context(involutions=(("pi", n),)),
    ),
    attack(
        "a bound index named as what a given equation speaks of",
        total(n, 3, f(n)),
        num(0),
        NAME,
        Step("rewrite", (0,), ("h", {})),
        Step("linear", (), ()),
        given=[at_five],
    ),
    attack(
        "a bound index named as the size of a given equation",
        total(n, 9, case(f(2), num(0), n - 3)),
        total(j, 9, case(num(7), num(0), j - 3)),
        NAME,
        Step("rewrite", (0, 0), ("h", {i: sp.Integer(2)})),
        given=[equation(f(i), num(7), (i, n), name="h")],
    ),
    attack(
        "one name bound twice in a term",
        total(i, 5, total(i, 2, f(i))),
        total(i, 5, total(j, 2, num(0))),
        NAME,
        Step("restate", (0,), (total(j, 2, num(0)),)),
    ),
    attack("the checker's own name", total(i, n, f(bound_name(0))), total(i, n, f(i)), MAKE),
    attack(
        "an array that binds a name twice",
        Op("F", (Lam((i, i), (n, m), case(f(0), f(1), n - 1 - i)),), ()),
        Op("F", (Lam((i, j), (n, m), f(0)),), ()),
        "variables, which differ",
        Step("decide", (0, 0)),
    ),
    Attack(
        "a quantified index of which an equation of the context speaks",
        Claim(equation(f(0), f(2), (i, n)), Context(equal=((i, sp.Integer(2)),), facts=(n - 3,))),
        (Step("rewrite", (), ("one", {i: sp.Integer(0)})),),
        "speak of a quantified",
        first=Claim(equation(f(i), f(2), (i, n)), Context(equal=((i, sp.Integer(2)),), facts=(n - 3,))),
    ),
    Attack(
        "a quantified index of which a fact speaks",
        Claim(equation(case(f(0), f(1), i - 2), f(0), (i, n)), Context(facts=(i - 2,))),
        (Step("decide"),),
        "speak of a quantified",
    ),
    Attack(
        "a quantified index of which a given equation speaks",
        Claim(equation(f(i), num(0), (i, n)), Context(), (equation(f(i), num(0), name="h"),)),
        (Step("rewrite", (), ("h", {})),),
        "speak of a quantified",
    ),
    # -- paths
    attack(
        "a path that counts from the end, which copies the arguments before it",
        Add((f(0), f(1))),
        Add((f(0), f(1), f(0), f(1))),
        "there is no subterm -1",
        Step("restate", (-1,), (f(1),)),
    ),
    attack(
        "a path from the end into the first case, with the facts of the second",
        case(case(f(0), f(1), n), f(2), n),
        case(f(1), f(2), n),
        "there is no subterm -2",
        Step("decide", (-2,)),
        Step("restate", (), (case(f(1), f(2), n),)),
    ),
    # -- involutions
    attack(
        "an involution outside its range",
        case(f(0), f(1), pi(i)),
        f(0),
        "do not decide",
        Step("decide"),
        ctx=Context(involutions=(("pi", n),)),
    ),
    attack(
        "an involution of a fraction",
        case(f(0), f(1), pi(i / 2), n - 1 - pi(i / 2)),
        f(0),
        MAKE,
        Step("decide"),
        ctx=Context(involutions=(("pi", n),), facts=(i, 2 * n - 2 - i)),
    ),
    attack(
        "a function of two arguments with the name of an involution",
        f(pi(pi(i, j), k)),
        f(i),
        "right side",
        ctx=Context(involutions=(("pi", n),)),
    ),
    attack("an involution that is none", f(pi(pi(i))), f(i), "right side"),
    # -- fractions, division, and what sympy knows or guesses
    attack(
        "a sum over a size that is a fraction",
        total(i, rational, f(i)),
        total(i, rational, f(rational - 1 - i)),
        MAKE,
        Step("reverse"),
    ),
    attack(
        "a sum over half a size",
        total(i, n / 2, f(i)),
        total(i, n / 2, f(n / 2 - 1 - i)),
        FRACTION,
        Step("reverse"),
    ),
    attack(
        "sifting at a fraction",
        total(i, n, case(f(2 * i), num(0), i - sp.Rational(1, 2), sp.Rational(1, 2) - i)),
        case(f(1), num(0), sp.Rational(1, 2), n - sp.Rational(3, 2)),
        FRACTION,
        Step("sift", (), (sp.Rational(1, 2),)),
    ),
    attack("n · 1/n where n may be 0", Mul((num(n), num(1 / n), f(0))), f(0), ZERO),
    attack(
        "a number that no size gives: 1/0",
        Mul((num(1 / n), f(0))),
        Mul((num(2 / n), f(0))),
        ZERO,
        ctx=Context(equal=((n, sp.Integer(0)),)),
    ),
    attack("n/m = L without knowing that m is not 0", num(L * m), num(n), ZERO, ctx=Context(equal=((L, n / m),))),
    attack(
        "a given equation that divides by what may be 0",
        f(0),
        f(1),
        ZERO,
        Step("rewrite", (), ("h", {})),
        given=[equation(Mul((num(n), num(1 / n), f(0))), f(1), name="h")],
    ),
    attack("rounding", Add((num(10.0**20), num(1))), num(10.0**20), MAKE),
    attack(
        "a bound index that sympy takes to be positive, so that 0 to its power is 0",
        total(positive, n, Mul((num(sp.Integer(0) ** positive), f(positive)))),
        total(j, n, num(0)),
        MAKE,
    ),
    attack(
        "a bound index that sympy takes to be even, so that its half is an integer",
        total(even, n, f(sp.floor(even / 2))),
        total(j, n, f(j / 2)),
        MAKE,
    ),
    # -- what is no term
    attack("a bare symbol, which nothing sees as bound", total(i, n, i), total(j, n, i), "is no term"),
    attack(
        "an index expression taken for a term",
        total(i, n, Mul((i, f(i)))),
        Mul((i, total(i, n, f(i)))),
        "is no term",
        Step("linear"),
    ),
    attack(
        "an operation that is neither sum nor max",
        total(i, n, f(i), "first"),
        total(i, n, f(n - 1 - i), "first"),
        "neither",
        Step("reverse"),
    ),
    attack(
        "an array as a number",
        Fun("g", (Lam((i,), (n,), f(i)),)),
        Fun("g", (Lam((j,), (n,), f(j)),)),
        "what operators take",
    ),
    # -- cases
    attack("cases told apart by a fraction", f(0), f(1), "cases", cases=sp.Rational(1, 2)),
    attack(
        "equations that contradict each other", f(0), f(1), "contradict", ctx=Context(equal=(*five, (L, sp.Integer(6))))
    ),
    Attack("a range with nothing in it", Claim(equation(f(0), f(1), (i, -n)), Context(facts=(n,))), (), "contradict"),
    attack("facts that contradict each other", f(0), f(1), "contradict", ctx=Context(facts=(n, -n - 1))),
]
del Num
