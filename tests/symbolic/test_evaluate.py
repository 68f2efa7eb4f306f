"""Exact evaluation, and solving of hypotheses: against numbers worked out by hand."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest
import sympy as sp

from rcproof.symbolic.affine import Affine, Nonlinear
from rcproof.symbolic.arithmetic import Context
from rcproof.symbolic.checker import Claim, Equation
from rcproof.symbolic.evaluate import (
    Disagreement,
    Unsatisfiable,
    World,
    assignments,
    compare,
    counterexample,
    draw_sizes,
    evaluate,
    index,
    random_involution,
    solve,
    spot_check,
    world_for,
)  # fmt: skip
from rcproof.symbolic.terms import Add, Big, Elem, Fun, If, Lam, Mul, Op, num

i, j, k, n, m, s, L, p = sp.symbols("i j k n m s L p", integer=True)
pi = sp.Function("pi", integer=True)


def squares() -> World:
    """x[i] = i² − 3."""
    made = World(random.Random(0), {n: 3, m: 2}, involutions={"pi": (2, 1, 0)})
    made.arrays["x"] = lambda at: Fraction(at[0] ** 2 - 3)
    return made


def x(e: object) -> Elem:
    return Elem("x", (sp.sympify(e),))


@pytest.mark.parametrize(
    ("term", "value"),
    [
        (num(sp.Rational(2, 3)), Fraction(2, 3)),
        (num(1 / n), Fraction(1, 3)),
        (x(2 * n - 1), 22),
        (x(pi(sp.Integer(0))), 1),
        (x(pi(sp.Integer(7))), 46),  # outside 0..2 π does nothing
        (Add((x(1), x(2), num(5))), 4),
        (Mul((x(1), x(2), num(5))), -10),
        (Big("sum", i, n, x(i)), -4),
        (Big("sum", i, n - 3, x(i)), 0),
        (Big("max", i, n, x(1 - i)), -2),
        (Big("sum", i, n, Big("sum", j, i, num(1))), 3),
        (If(frozenset({n - 3, 3 - n}), num(1), num(2)), 1),
        (If(frozenset({n - 3, 2 - n}), num(1), num(2)), 2),
        (Fun("max", (x(0), x(2))), 1),
    ],
)
def test_terms(term: object, value: object) -> None:
    assert evaluate(term, squares(), squares().sizes) == value  # type: ignore[arg-type]


def test_what_is_not_an_entry_is_an_error() -> None:
    with pytest.raises(TypeError, match="an array is no number"):
        evaluate(Lam((i,), (n,), x(i)), squares(), {n: 3})
    with pytest.raises(TypeError, match="an index expression with floor"):
        index(sp.floor(n / 2), squares(), {n: 3})


def test_operators_see_all_entries_and_nothing_else() -> None:
    def op(body: object, at: object = m) -> Op:
        return Op("g", (Lam((i,), (n,), body),), (sp.sympify(at),))  # type: ignore[arg-type]

    world = squares()
    value = evaluate(op(x(i)), world, world.sizes)
    assert value == evaluate(op(x(i + 0)), world, world.sizes)
    assert value != evaluate(op(x(n - 1 - i)), world, world.sizes)
    assert value != evaluate(op(x(i), m + 1), world, world.sizes)
    assert value == evaluate(op(If(frozenset({n - 1 - i, i}), x(i), num(99))), world, world.sizes)
    world.operators["g"] = lambda arrays, at: sum(arrays[0].values()) + at[0]
    assert evaluate(op(x(i)), world, world.sizes) == -2


def test_arrays_are_drawn_once() -> None:
    world = World(random.Random(1), {n: 2})
    assert evaluate(x(n), world, world.sizes) == evaluate(x(n), world, world.sizes)


def test_affine_numbers() -> None:
    a, b = Affine(Fraction(1), {"a": Fraction(2)}), Affine(Fraction(3))
    assert a + b == Affine(Fraction(4), {"a": Fraction(2)}) == 3 + a
    assert a * b == b * a == a * 3 == Affine(Fraction(3), {"a": Fraction(6)})
    assert a + a * -1 == Affine(Fraction(0))
    assert a.without("a") == Affine(Fraction(1))
    with pytest.raises(Nonlinear, match="product of two"):
        a * a
    with pytest.raises(Nonlinear, match="maximum"):
        max(a, b)


def _palindrome(*more: Equation) -> Claim:
    """Σ x[i] over the first half is that over the second, for a palindrome of 2n entries."""
    same = Equation("palindrome", ((i, 2 * n),), x(2 * n - 1 - i), x(i))
    lhs, rhs = Big("sum", j, n, x(j)), Big("sum", j, n, x(n + j))
    return Claim(Equation("halves", (), lhs, rhs), Context((n - 1,)), (same, *more))


def test_hypotheses_are_solved() -> None:
    claim = _palindrome()
    world = world_for(claim, random.Random(2))
    size = 2 * world.sizes[n]
    entries = [world.array("x")((e,)) for e in range(size)]
    assert entries == entries[::-1] and entries[0]
    assert spot_check(claim, random.Random(2), worlds=5) == 5


def test_chains_of_hypotheses_are_solved() -> None:
    total = Equation("total", (), Big("sum", j, 2 * n, x(j)), num(7))
    start = Equation("start", (), x(0), Mul((num(2), Elem("y", (sp.Integer(0),)))))
    claim = _palindrome(total, start)
    world = world_for(claim, random.Random(3))
    entries = [world.array("x")((sp.Integer(e),)) for e in range(2 * world.sizes[n])]
    assert sum(entries) == 7
    assert entries[0] == 2 * world.array("y")((0,))


def test_hypotheses_that_cannot_hold() -> None:
    claim = _palindrome(Equation("zero", (), x(0), num(0)), Equation("one", (), x(2 * n - 1), num(1)))
    with pytest.raises(Unsatisfiable, match="never hold"):
        world_for(claim, random.Random(0))


def test_nonlinear_hypotheses_need_a_builder() -> None:
    sign = Equation("sign", ((i, 2 * n),), Mul((Elem("y", (i,)), Elem("y", (i,)))), num(1))
    with pytest.raises(Nonlinear):
        world_for(_palindrome(sign), random.Random(0))
    assert world_for(_palindrome(sign), random.Random(0), lambda w: {"y": lambda at: Fraction(-1)})
    with pytest.raises(Unsatisfiable):  # what a builder gives is checked as well
        world_for(_palindrome(sign), random.Random(0), lambda w: {"y": lambda at: Fraction(2)})


def test_sizes_satisfy_facts_and_equations() -> None:
    context = Context((n - 2, s - 1, L - 1, p, n - p - 1), ((L, s * n - 2 * p),))
    claim = Claim(Equation("none", (), num(0), Mul((num(0), Elem("x", (s * m,))))), context)
    seen = set()
    for seed in range(40):
        sizes = draw_sizes(claim, random.Random(seed))
        assert sizes[L] == sizes[s] * sizes[n] - 2 * sizes[p] >= 1
        assert sizes[n] >= 2 and sizes[s] >= 1 and 0 <= sizes[p] < sizes[n]
        seen.add(sizes[m])
    assert min(seen) < 0 < max(seen)  # nothing is known of m
    with pytest.raises(Unsatisfiable, match="no sizes"):
        draw_sizes(Claim(claim.equation, Context((n - 1, -n))), random.Random(0))


def test_facts_about_variables_choose_the_places() -> None:
    eq = Equation("positive", ((i, n),), If(frozenset({i - 1}), num(1), num(0)), num(1))
    assert spot_check(Claim(eq, Context((n - 1, i - 1))), random.Random(0))
    with pytest.raises(Disagreement):
        compare(Claim(eq, Context((n - 1,))), World(random.Random(0), {n: 3}))
    with pytest.raises(Unsatisfiable, match="nothing to compare"):
        spot_check(Claim(eq, Context((n - 1, i - n))), random.Random(0))


def test_counterexamples() -> None:
    false = Claim(Equation("first", ((i, n),), x(i), x(n - 1 - i)), Context((n - 1,)))
    found = counterexample(false, random.Random(0))
    assert found.lhs != found.rhs and found.at["n"] > 1
    assert str(found) == f"{found.lhs} is not {found.rhs} at i={found.at['i']}, n={found.at['n']}"
    true = Claim(Equation("same", ((i, n),), x(i), x(n - 1 - (n - 1 - i))), Context((n - 1,)))
    with pytest.raises(Unsatisfiable, match="no counterexample"):
        counterexample(true, random.Random(0), worlds=5)


def test_involutions_are_involutions() -> None:
    rng, moved = random.Random(0), 0
    for size in range(7):
        for _ in range(20):
            found = random_involution(size, rng)
            assert [found[e] for e in found] == list(range(size))
            moved += found != tuple(range(size))
    assert moved > 60


def test_all_assignments() -> None:
    eq = Equation("none", ((i, n), (j, m)), num(0), num(0))
    assert len(list(assignments(eq, squares()))) == 6
    solve((eq,), squares())
