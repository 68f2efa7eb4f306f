"""Terms: substitution and renaming keep the meaning; what has none is told apart."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import sympy as sp

from rcproof.symbolic import terms
from rcproof.symbolic.arithmetic import Context
from rcproof.symbolic.terms import (
    Add,
    Big,
    Elem,
    Fun,
    If,
    Lam,
    Mul,
    Num,
    Op,
    Term,
    binders,
    bound,
    bound_name,
    children,
    expressions,
    fault,
    free,
    fresh,
    map_indices,
    num,
    plain,
    substitute,
    with_children,
)  # fmt: skip
from tests.symbolic.exact import Unsound, compiled, i, j, k, m, n, pi, random_index, random_term, worlds
from tests.symbolic.rule_cases import case, e, total

LAM = Lam((i, j), (n, m), e("f", i, j))
ONE_OF_EACH: list[Term] = [
    num(n),
    e("f", i, j),
    Fun("h", (e("f", i), num(1))),
    Add((e("f", i), num(1))),
    Mul((e("f", i), num(1))),
    total(i, n, e("f", i, j)),
    case(e("f", i), num(0), n - i, j),
    LAM,
    Op("F", (LAM, LAM), (i, k)),
]


@pytest.mark.parametrize("t", ONE_OF_EACH, ids=lambda t: type(t).__name__)
def test_children_and_indices(t: Term) -> None:
    assert with_children(t, children(t)) == t
    assert map_indices(t, lambda x: x) == t
    shifted = map_indices(t, lambda x: x + 1)
    assert tuple(sorted(map(str, (x + 1 for x in expressions(t))))) == tuple(sorted(map(str, expressions(shifted))))
    assert [map_indices(c, lambda x: x + 1) for c in children(t)] == list(children(shifted))
    swapped = with_children(t, tuple(num(9) for _ in children(t)))
    assert all(c == num(9) for c in children(swapped))
    assert not fault(t)


def test_free_and_bound() -> None:
    assert free(LAM) == {n, m}
    assert bound(LAM) == {i, j}
    assert binders(LAM) == (i, j)
    assert binders(num(1)) == ()
    t = Add((total(i, i + n, e("f", i, j)), case(e("g", k), num(m), pi(i))))
    assert free(t) == {i, n, j, k, m}  # a size is outside its binder
    assert bound(t) == {i}
    assert free(Op("F", (LAM,), (k,))) == {n, m, k}


def test_a_value_depends_on_free_symbols_alone() -> None:
    rng = random.Random(2)
    for _ in range(40):
        t = random_term(rng, [i, j])
        for world in worlds(Context(), (t,), rng, 3, {}):
            assert world.value(t) == world.value(t, {x: world.values[x] for x in free(t)})


# -- substitution ----------------------------------------------------------------------------------------


def assert_substitutes(function: Callable[[Term, Mapping[sp.Symbol, Any]], Term]) -> None:
    """The value of t[i := a, j := b] is the value of t where i is a and j is b."""
    rng = random.Random(4)
    fixed = [
        total(j, n, e("f", i, j)),
        total(i, i + 1, e("f", i, j)),
        total(k, n, total(n, 3, e("f", i, k, n))),
        Add((e("f", i), total(i, 3, e("f", i, j)))),
        total(k, 3, total(k, 2, e("f", i, k))),
        total(k, 3, Add((e("f", i, k), total(k, 2, e("f", i, k))))),
        Op("F", (Lam((j, k), (n, i), e("f", i, j, k)),), (i, j)),
        Op("F", (Lam((k, m), (sp.Integer(2), n), e("f", i, m, k)),), (j,)),
        case(e("f", i), num(i * j), i - j),
        e("f", i, j),
    ]
    for t in fixed * 4 + [random_term(rng, [i, j, k]) for _ in range(30)]:
        values = {i: rng.choice((j, i + 1, k - j, n, random_index(rng, [j, k]))), j: rng.choice((i, j, n - 1 - k, m))}
        new = function(t, values)
        for world in worlds(Context(), (t, new, *values.values(), e("f", i, j)), rng, 4, {}):
            at = {x: compiled(sp.sympify(y))(world.values, world) for x, y in values.items()}
            if world.value(new) != world.value(t, {**world.values, **at}):
                raise Unsound(f"{t} with {values} is not {new}")


def test_substitution() -> None:
    assert_substitutes(substitute)
    with pytest.raises(sp.SympifyError):
        substitute(e("f", i), {i: "j"})


def twin_captures(t: Term, values: Mapping[sp.Symbol, Any]) -> Term:
    return map_indices(t, lambda x: x.xreplace(dict(values)))


def twin_one_after_the_other(t: Term, values: Mapping[sp.Symbol, Any]) -> Term:
    for x, y in values.items():
        t = substitute(t, {x: y})
    return t


def twin_stops_at_binders(t: Term, values: Mapping[sp.Symbol, Any]) -> Term:
    return t if binders(t) else terms.with_children(substitute(t, values), children(t))


def twin_renames_for_keys_alone(t: Term, values: Mapping[sp.Symbol, Any]) -> Term:
    return twin_captures(fresh(t, bound(t) & set(values)), values)


def twin_leaves_sizes(t: Term, values: Mapping[sp.Symbol, Any]) -> Term:
    out = substitute(t, values)
    return replace(out, size=t.size) if isinstance(t, Big) and isinstance(out, Big) else out


@pytest.mark.parametrize(
    "twin",
    [twin_captures, twin_one_after_the_other, twin_stops_at_binders, twin_renames_for_keys_alone, twin_leaves_sizes],
    ids=lambda f: f.__name__,
)
def test_twins_of_substitution_are_caught(twin: Callable[[Term, Mapping[sp.Symbol, Any]], Term]) -> None:
    with pytest.raises(Unsound):
        assert_substitutes(twin)


def test_fresh_names() -> None:
    rng = random.Random(6)
    for t in [total(i, i + 1, e("f", i, j)), Op("F", (LAM,), (i,)), *(random_term(rng, [i, j]) for _ in range(30))]:
        new = fresh(t, bound(t))
        assert not bound(t) & bound(new)
        assert free(new) == free(t)
        assert fresh(t, set()) == t
        for world in worlds(Context(), (t,), rng, 2, {}):
            assert world.value(t) == world.value(new)
    only = fresh(total(i, n, total(j, m, e("f", i, j))), {j})
    assert isinstance(only, Big) and only.var == i and j not in bound(only)
    lam = fresh(LAM, {j})
    assert isinstance(lam, Lam) and lam.vars[0] == i and lam.vars[1] != j and lam.body == e("f", i, lam.vars[1])


# -- what has a meaning -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "x",
    [
        i,
        sp.Integer(3),
        sp.Rational(1, 2),
        i + 2 * j,
        i * j / n,
        (i + j) ** 2,
        1 / (i + 1),
        sp.floor(i / 2),
        pi(i + 1),
        sp.Function("two", integer=True)(i, j),
        sp.Dummy(integer=True),
    ],
)
def test_plain(x: Any) -> None:
    assert plain(x)


@pytest.mark.parametrize(
    "x",
    [
        1,
        1.5,
        "i",
        None,
        sp.Float(2),
        sp.oo,
        sp.zoo,
        sp.nan,
        sp.I,
        sp.pi,
        sp.sqrt(2),
        i**j,
        2**i,
        sp.sqrt(i),
        sp.Abs(i),
        sp.Mod(i, 2),
        sp.Max(i, j),
        sp.Piecewise((i, j > 0), (j, True)),
        i > 0,
        sp.Symbol("x"),
        sp.Symbol("x", real=True),
        sp.Symbol("x", integer=True, positive=True),
        sp.Symbol("x", integer=True, nonnegative=True),
        sp.Symbol("x", integer=True, nonpositive=True),
        sp.Symbol("x", integer=True, nonzero=True),
        sp.Symbol("x", even=True),
        sp.Symbol("x", odd=True),
        sp.Symbol("x", prime=True),
        sp.Symbol("x", commutative=False),
        sp.Function("pi")(i),
        sp.Function("pi", integer=True, positive=True)(i),
        pi(i / 2),
        bound_name(0),
        bound_name(3) + 1,
    ],
)
def test_not_plain(x: Any) -> None:
    assert not plain(x)


def test_canonical_names_are_one_a_depth() -> None:
    names = [bound_name(d) for d in (4, 0, 1, 4)]
    assert names[0] == names[3]
    assert len(set(names)) == 3


x = sp.Symbol("x")


@pytest.mark.parametrize(
    ("t", "why"),
    [
        (i, "i is no term"),
        (3, "3 is no term"),
        (Num(i**j), "is not made of"),
        (total(x, n, e("f", i)), "is not made of"),
        (total(n + 1, n, e("f", i)), "is not made of"),
        (Lam((x,), (n,), e("f", i)), "is not made of"),
        (e("f", i / 2), "may be a fraction"),
        (e("f", i * (i - 1) / 2), "may be a fraction"),
        (total(i, n / 2, e("f", i)), "may be a fraction"),
        (case(num(1), num(2), i / 2), "may be a fraction"),
        (Op("F", (), (i / 2,)), "may be a fraction"),
        (Big("prod", i, n, e("f", i)), "'prod' is neither sum nor max"),
        (Lam((i, i), (n, m), e("f", i)), "one size for each of its variables"),
        (Lam((i, j), (n,), e("f", i)), "one size for each of its variables"),
        (Add((LAM, LAM)), "what operators take"),
        (total(k, n, LAM), "what operators take"),
        (Lam((k,), (n,), LAM), "what operators take"),
        (Op("F", (e("f", i),), ()), "what operators take"),
        (Op("F", (case(LAM, LAM, i),), ()), "what operators take"),
    ],
)
def test_faults(t: Any, why: str) -> None:
    assert why in fault(t)
    if not isinstance(t, Lam):
        assert why in fault(Add((num(1), case(num(1), Fun("h", (t,)), i))))


def test_a_fraction_is_a_number_all_the_same() -> None:
    assert not fault(num(i / 2))
    assert num(sp.Rational(1, 2)) == Num(sp.Rational(1, 2))
    assert free(Elem("f", ())) == set()
    assert not fault(If(frozenset(), num(1), num(2)))
