"""Index arithmetic accepts nothing false: every answer against all values in a small range; twins do not pass."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
import sympy as sp

from rcproof.symbolic import arithmetic
from rcproof.symbolic.arithmetic import Context, canonical
from rcproof.symbolic.terms import Add, Big, Elem, Fun, If, Lam, Mul, Num, Op, num, substitute
from tests.symbolic.exact import Unsound, World, assert_same, compiled, i, j, k, m, n, pi, po, random_index, random_term
from tests.symbolic.rule_cases import bent, case, e, shuffled, total

HALF = sp.Rational(1, 2)


def places(ctx: Context, rng: random.Random, *symbols: sp.Symbol) -> Iterator[World]:
    """All values of the symbols in −2..3 (and those that the context computes) where the facts hold."""
    for at in itertools.product(range(-2, 4), repeat=len(symbols)):
        values: dict[sp.Symbol, Any] = dict(zip(symbols, at, strict=True))
        blank = World(rng, values, {}, {})
        for x, value in reversed(ctx.equal):
            values[x] = compiled(value)(values, blank)
        world = World(rng, values, {name: compiled(s)(values, blank) for name, s in ctx.involutions}, {})
        if all(compiled(f)(values, world) >= 0 for f in ctx.facts):
            yield world


# -- entails ------------------------------------------------------------------------------------------------


def linear(rng: random.Random, *scope: sp.Symbol) -> Any:
    """A small combination of some of the symbols."""
    return sum((rng.choice((-2, -1, 1, 1, 2)) * x for x in scope if rng.random() < 0.7), sp.Integer(rng.randint(-3, 2)))


def questions(rng: random.Random) -> Iterator[tuple[Context, Any]]:
    """Contexts and what might follow from them: often something that does."""
    pis = (("pi", n), ("po", m))
    for facts in ((i, n - 1 - i), (i,), (n - 1 - i,), (), (pi(i), n - 1 - pi(i)), (i - j, n - 1 - i, j)):
        for f in (pi(i), pi(j), pi(pi(i)), po(pi(i)), pi(n - 1 - i), pi(i + 1), pi(i) + pi(j)):
            for goal in (f, n - 1 - f, m - 1 - f, f + i, 2 * n - 2 - f):
                yield Context(facts, involutions=pis), goal
    for facts in ((i, j), (i - 1, -j), (i, j, n - i * j), (i * j - 3,), (i**2 - 1,)):
        for goal in (i * j, i, n, i * j - 1, -i * j, i**2, i * j + i, n - i * j + i):
            yield Context(facts), goal
    for fact in (i, n - 1 - i, i - j):
        for goal in (fact, -fact, fact - 1, fact + 1, -fact - 1):
            yield Context((fact,)), goal
    for goal in (m, n - m, i - HALF, 2 * i - 1, i / 2, sp.floor(i / 2), i * (i - 1) / 2):
        for facts in ((i,), (n, i), (i - 1,)):
            yield Context(facts, equal=((m, n + 1),)), goal

    for _ in range(120):
        facts = [linear(rng, i, j, n) for _ in range(rng.randint(0, 3))]
        parts = [rng.randint(0, 2) * f for f in facts]
        slack = rng.choice((sp.Integer(-1), sp.Integer(0), sp.Integer(0), sp.Integer(1), HALF))
        yield Context(tuple(facts)), rng.choice((sum(parts, slack), linear(rng, i, j, n)))


def assert_entails_only_what_follows(entails: Callable[[Context, Any], bool]) -> None:
    rng, asked, accepted = random.Random(7), 0, 0
    for ctx, goal in questions(rng):
        asked += 1
        if entails(ctx, goal):
            accepted += 1
            symbols = {x for f in (*ctx.facts, goal) for x in f.free_symbols} - {x for x, _ in ctx.equal}
            symbols |= {n} if ctx.equal else set()
            symbols |= {s for _, s in ctx.involutions} if ctx.involutions else set()
            for world in places(ctx, rng, *sorted(symbols, key=str)):
                if compiled(goal)(world.values, world) < 0:
                    raise Unsound(f"{goal} ≥ 0 does not follow from {ctx}: {world.values}")
    assert accepted >= 60 and asked - accepted >= 60, (accepted, asked)


def test_entails_only_what_follows() -> None:
    assert_entails_only_what_follows(Context.entails)


def entails_with(bend: Callable[[Context, Any], list[Any]]) -> Callable[[Context, Any], bool]:
    """``Context.entails`` with other rows; the last is the negation of the goal."""

    def entails(ctx: Context, goal: Any) -> bool:
        rows = bend(ctx, sp.sympify(goal))
        return arithmetic._infeasible([arithmetic._linear(ctx.normal(r)) for r in rows])

    return entails


def bounded(ctx: Context, rows: list[Any], inside: Callable[[Any, Any], bool]) -> list[Any]:
    sizes = dict(ctx.involutions)
    found = [f for r in rows for f in r.atoms(sp.core.function.AppliedUndef) if inside(f.args[0], sizes[str(f.func)])]
    return [*rows, *found, *(sizes[str(f.func)] - 1 - f for f in found)]


def twin_goal_off_by_one(ctx: Context, goal: Any) -> list[Any]:
    return [*ctx.facts, -goal - 2]


def twin_fractions(ctx: Context, goal: Any) -> list[Any]:
    return [*ctx.facts, -goal - 1]


def twin_facts_are_strict(ctx: Context, goal: Any) -> list[Any]:
    return [*(f - 1 for f in ctx.facts), -goal - 1]


def twin_involutions_bounded_everywhere(ctx: Context, goal: Any) -> list[Any]:
    return bounded(ctx, [*ctx.facts, -goal - 1], lambda *_: True) if goal.is_integer else []


def twin_involutions_bounded_from_below(ctx: Context, goal: Any) -> list[Any]:
    return bounded(ctx, [*ctx.facts, -goal - 1], lambda at, _: ctx.entails(at)) if goal.is_integer else []


def twin_involutions_bounded_from_above(ctx: Context, goal: Any) -> list[Any]:
    above = bounded(ctx, [*ctx.facts, -goal - 1], lambda at, size: ctx.entails(size - 1 - at))
    return above if goal.is_integer else []


def twin_squares_forget_their_exponent(ctx: Context, goal: Any) -> list[Any]:
    return [r.replace(sp.Pow, lambda b, _: b) for r in (*ctx.facts, -goal - 1)] if goal.is_integer else []


def twin_products_are_positive(ctx: Context, goal: Any) -> list[Any]:
    return [*ctx.facts, i * j, -goal - 1] if goal.is_integer else []


def sound_rows(ctx: Context, goal: Any) -> list[Any]:
    return [*ctx.facts, -goal - 1] if goal.is_integer else []


def twin_goal_one_below_a_fact(ctx: Context, goal: Any) -> list[Any]:
    return [sp.Integer(-1)] if goal + 1 in ctx.facts else sound_rows(ctx, goal)


def twin_goal_against_a_fact(ctx: Context, goal: Any) -> list[Any]:
    return [sp.Integer(-1)] if -goal in ctx.facts else sound_rows(ctx, goal)


ROWS = [
    twin_goal_off_by_one,
    twin_fractions,
    twin_facts_are_strict,
    twin_involutions_bounded_everywhere,
    twin_involutions_bounded_from_below,
    twin_involutions_bounded_from_above,
    twin_squares_forget_their_exponent,
    twin_products_are_positive,
    twin_goal_one_below_a_fact,
    twin_goal_against_a_fact,
]


@pytest.mark.parametrize("bend", ROWS, ids=lambda f: f.__name__)
def test_twins_of_entails_are_caught(bend: Callable[[Context, Any], list[Any]]) -> None:
    with pytest.raises(Unsound):
        assert_entails_only_what_follows(entails_with(bend))


def test_entails_what_proofs_need() -> None:
    ctx = Context((i, n - 1 - i, m - 1), involutions=(("pi", n),))
    for goal in (
        i,
        n - 1,
        n - 1 - i,
        i + m,
        2 * i + 3,
        pi(i),
        n - 1 - pi(i),
        pi(pi(i)),
        pi(n - 1 - pi(i)),
        sp.Integer(0),
        5,
    ):
        assert ctx.entails(goal), goal
    for goal in (-i, i - 1, n - 2, pi(i + 1), pi(j), -1, HALF, i / 2, pi(i) - 1):
        assert not ctx.entails(goal), goal
    assert not Context((i,), involutions=(("pi", n),)).entails(po(i))
    assert Context((), equal=((n, m**2 + 1),)).entails(n - m**2)
    with pytest.raises(sp.SympifyError):
        ctx.entails("i")


def test_infeasible_gives_up_rather_than_grow() -> None:
    """Too many rows: not proved, which is always safe."""
    rows = [{m: Fraction(a), n: Fraction(b), sp.S.One: Fraction(-1)} for a in (-1, 1) for b in range(-110, 111) if b]
    assert len(rows) > 400
    assert not arithmetic._infeasible(rows)
    assert not arithmetic._infeasible([])
    assert arithmetic._infeasible([{i: Fraction(0), sp.S.One: Fraction(-1)}])


# -- normal forms -------------------------------------------------------------------------------------------

CONTEXT = Context((n - 1,), equal=((m, k + n), (k, j - 2)), involutions=(("pi", n), ("po", n + 1)))


def assert_normal_keeps_values(normal: Callable[[Context, Any], Any]) -> None:
    rng = random.Random(3)
    fixed = [
        pi(pi(i)),
        pi(po(i)),
        pi(po(po(pi(j)))),
        pi(pi(pi(i + m))),
        m,
        k - m,
        sp.floor(m / 2 + pi(i)),
        (m - 2) ** 2,
    ]
    fixed += [n / (n + i**2), (n**2 + n) / n, (m**2 - 4) / n]
    changed = 0
    for x in fixed + [random_index(rng, [i, m, k]) * random_index(rng, [j, n]) for _ in range(60)]:
        y = normal(CONTEXT, x)
        changed += x != y
        for world in itertools.islice(places(CONTEXT, rng, i, j, n), 0, 90, 7):
            if compiled(x)(world.values, world) != compiled(y)(world.values, world):
                raise Unsound(f"{x} is not {y} at {world.values}")
    assert changed > 10


def test_normal_keeps_values() -> None:
    assert_normal_keeps_values(Context.normal)


def twin_any_two_involutions_cancel(ctx: Context, x: Any) -> Any:
    both = {
        f: f.args[0].args[0]
        for f in x.atoms(sp.core.function.AppliedUndef)
        if hasattr(f.args[0], "func") and f.args[0].func in (pi, po)
    }
    return ctx.normal(x.xreplace(both))


def twin_involution_is_the_identity(ctx: Context, x: Any) -> Any:
    return ctx.normal(x.replace(pi, lambda a: a))


def twin_equations_backwards(ctx: Context, x: Any) -> Any:
    return ctx.normal(x.xreplace({n: m}))


def twin_floors_drop(ctx: Context, x: Any) -> Any:
    return ctx.normal(x.replace(sp.floor, lambda a: a))


@pytest.mark.parametrize(
    "twin",
    [twin_any_two_involutions_cancel, twin_involution_is_the_identity, twin_equations_backwards, twin_floors_drop],
    ids=lambda f: f.__name__,
)
def test_twins_of_normal_are_caught(twin: Callable[[Context, Any], Any]) -> None:
    with pytest.raises(Unsound):
        assert_normal_keeps_values(twin)


def test_same() -> None:
    assert CONTEXT.same(m, j - 2 + n)
    assert CONTEXT.same(pi(pi(i)) * (i + 1), i**2 + i)
    assert CONTEXT.same((n * i + i) / (n + 1), i)
    assert not CONTEXT.same(i, j)
    assert not CONTEXT.same(pi(po(i)), i)
    assert not Context().same(pi(pi(i)), i)
    two = sp.Function("pi", integer=True)
    assert not CONTEXT.same(two(two(i, j), j), i)
    with pytest.raises(sp.SympifyError):
        CONTEXT.same("i", i)


# -- canonical forms ------------------------------------------------------------------------------------------


def pairs(rng: random.Random) -> Iterator[tuple[Any, Any]]:
    """Terms with a way to write them, and with terms that are nearly the same."""
    f, g = e("f", i), e("g", j)
    lam = Lam((i, j), (n, m), e("f", i, j))
    yield from [
        (Fun("h", (f, g)), Fun("h", (g, f))),
        (Fun("max", (f, g)), Fun("max", (g, f))),
        (case(f, g, i), case(f, e("g", i), i)),
        (case(f, g, i, j), case(f, g, i)),
        (total(i, n, f), total(i, n, f, "max")),
        (total(i, n, f), total(i, m, f)),
        (total(i, n, f), total(i, n, e("f", j))),
        (total(i, n, total(j, n, e("f", i, j))), total(i, n, total(j, n, e("f", j, i)))),
        (Op("F", (lam,), (i,)), Op("F", (replace(lam, vars=(j, i)),), (i,))),
        (Op("F", (lam,), (i,)), Op("F", (replace(lam, vars=(j, i), body=e("f", j, i)),), (i,))),
        (Op("F", (lam,), (i,)), Op("F", (lam,), (j,))),
        (Op("F", (lam,), (i,)), Op("G", (lam,), (i,))),
        (Add((f, num(1), num(2))), Add((num(3), f))),
        (Mul((f, num(2), num(HALF))), f),
        (Mul((f, num(0), g)), num(0)),
        (Add((f, f)), f),
        (Add((f, Mul((f, g)))), Mul((f, Add((f, g))))),
        (Add(()), num(0)),
        (Mul(()), num(1)),
        (Add((num(0),)), num(0)),
        (Add((Add((f, g)), f)), Add((f, f, g))),
        (num(i), num(j)),
    ]

    for _ in range(40):
        t = random_term(rng, [i, j])
        yield t, shuffled(t, rng)
        yield t, bent(shuffled(t, rng), rng)


def assert_canonical_is_sound(same: Callable[[Any, Any, Context], bool]) -> None:
    rng, equal, different = random.Random(11), 0, 0
    for a, b in pairs(rng):
        if same(a, b, Context()):
            equal += 1
            assert_same(a, b, Context(), rng)
        else:
            different += 1
    assert equal > 40 and different > 20, (equal, different)


def same_form(a: Any, b: Any, ctx: Context) -> bool:
    return bool(canonical(a, ctx) == canonical(b, ctx))


def test_canonical_forms_are_equal_only_for_equal_terms() -> None:
    assert_canonical_is_sound(same_form)


def test_every_way_to_write_a_term_has_one_form() -> None:
    rng = random.Random(5)
    for _ in range(40):
        t = random_term(rng, [i, j])
        assert same_form(t, shuffled(t, rng), Context())


def test_the_form_does_not_depend_on_the_order_in_which_a_set_is_written() -> None:
    """Equal sets with colliding hashes are written in the order in which they were filled, which hash seeds change."""
    f, table = e("f", i), 8
    names = [sp.Symbol(f"a{number:03}", integer=True) for number in range(200)]
    low = next(x for x in names if hash(Context().normal(x)) % table == 0)
    high = next(x for x in reversed(names) if x != low and hash(Context().normal(x)) % table == 0)
    middle = sp.Symbol(f"{low}_", integer=True)
    assert str(low) < str(middle) < str(high)
    forward, backward = If(frozenset([low, high]), f, num(0)), If(frozenset([high, low]), f, num(0))
    assert forward == backward
    assert str(forward.conds) != str(backward.conds), "this test wants sets that are written in two ways"
    other = case(f, num(0), middle)
    assert same_form(Add((forward, other)), Add((backward, other)), Context())
    assert not same_form(Add((forward, other)), Add((forward, case(f, num(0), high))), Context())


def functions_of_a_set(t: Any) -> Any:
    t = arithmetic.replace(t, args=tuple(sorted(t.args, key=str))) if isinstance(t, Fun) else t
    return _map(t, functions_of_a_set)


def sums_and_maxima_alike(t: Any) -> Any:
    return _map(replace(t, op="sum") if isinstance(t, Big) else t, sums_and_maxima_alike)


def cases_without_other(t: Any) -> Any:
    return _map(If(t.conds, t.then, num(0)) if isinstance(t, If) else t, cases_without_other)


def sizes_do_not_matter(t: Any) -> Any:
    return _map(replace(t, size=n) if isinstance(t, Big) else t, sizes_do_not_matter)


def names_do_not_matter(t: Any) -> Any:
    return _map(
        replace(t, index=tuple(x.xreplace({j: i}) for x in t.index)) if isinstance(t, Elem) else t, names_do_not_matter
    )


def repeats_are_dropped(t: Any) -> Any:
    return _map(replace(t, args=tuple(dict.fromkeys(t.args))) if isinstance(t, Add) else t, repeats_are_dropped)


def operators_without_index(t: Any) -> Any:
    return _map(replace(t, index=()) if isinstance(t, Op) else t, operators_without_index)


def numbers_drop(t: Any) -> Any:
    return _map(num(0) if isinstance(t, Num) else t, numbers_drop)


def _map(t: Any, f: Callable[[Any], Any]) -> Any:
    from rcproof.symbolic.terms import children, with_children

    return with_children(t, tuple(map(f, children(t))))


@pytest.mark.parametrize(
    "blur",
    [
        functions_of_a_set,
        sums_and_maxima_alike,
        cases_without_other,
        sizes_do_not_matter,
        names_do_not_matter,
        repeats_are_dropped,
        operators_without_index,
        numbers_drop,
    ],
    ids=lambda f: f.__name__,
)
def test_twins_of_canonical_are_caught(blur: Callable[[Any], Any]) -> None:
    with pytest.raises(Unsound):
        assert_canonical_is_sound(lambda a, b, ctx: same_form(blur(a), blur(b), ctx))


def test_bound_names_are_told_from_free_ones() -> None:
    inner = total(j, n, e("f", i, j))
    assert canonical(total(i, n, inner), Context()) == canonical(
        substitute(total(k, n, total(m, n, e("f", k, m))), {}), Context()
    )
    assert canonical(total(i, n, inner), Context()) != canonical(total(i, n, total(i, n, e("f", i, i))), Context())
    assert canonical(total(i, i, e("f", i)), Context()) == canonical(total(j, i, e("f", j)), Context())
