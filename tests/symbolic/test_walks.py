"""Random walks: whatever step the checker lets through, on terms that borrow each other's names, keeps the value."""

from __future__ import annotations

import random
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import sympy as sp

from rcproof.symbolic import checker
from rcproof.symbolic.arithmetic import Context
from rcproof.symbolic.checker import RULES, Equation, Refused, Step
from rcproof.symbolic.terms import Add, Big, If, Lam, Mul, Op, Term, children, free, num
from tests.symbolic.exact import World, i, j, k, m, n, random_index, random_term, worlds
from tests.symbolic.rule_cases import bent, case, e, shuffled

POOL = [i, j, k, n, m]
FACTS = [(n - 1,), (m, n - m), (), (i, n - 1 - i), (j, m - 1 - j, n - 1), (k - 1, m), (i - j, j)]
EQUAL = [(), (), ((m, n + 1),), ((k, n - 1),)]
INVOLUTIONS = [(), (("pi", n),), (("pi", n), ("po", m))]
LAWS = {
    "mirror": Equation("mirror", ((i, n),), e("f", i), e("g", n - 1 - i)),
    "share": Equation("share", ((i, n),), e("f", i, i), num(1 / (i + 1))),
}


def entry(world: World, *at: Any) -> Fraction:
    """An array f for which the laws hold."""
    size = world.values[n]
    if len(at) == 1 and 0 <= at[0] < size:
        return world.array("g", (size - 1 - at[0],))
    return Fraction(1, at[0] + 1) if len(at) == 2 and at[0] == at[1] and 0 <= at[0] < size else world.draw(("f", at))


def term(rng: random.Random, scope: list[Any], depth: int) -> Term:
    """A random term; bound indices take their names from the pool, so that many are not hygienic."""
    kind = rng.choice("sammbbbbioq") if depth else "s"
    if kind == "s":
        return rng.choice((random_term(rng, scope, 0), e("f", scope[-1]), num(1 / (scope[0] + 1))))
    if kind in "am":
        return (Add if kind == "a" else Mul)(tuple(term(rng, scope, depth - 1) for _ in range(2)))
    if kind == "i":
        conds = [rng.choice((scope[-1], scope[-1] - scope[0], n - 1 - scope[-1])) for _ in range(rng.randint(1, 2))]
        return case(term(rng, scope, depth - 1), term(rng, scope, depth - 1), *conds)
    var = rng.choice([*POOL, *(sp.Symbol(f"v{rng.randrange(50)}", integer=True) for _ in range(5))])
    size, body = rng.choice((sp.Integer(2), n, n + 1, m, n - m)), term(rng, [*scope, var], depth - 1)
    if kind == "o":
        return Op("F", (Lam((var,), (size,), body),), (random_index(rng, scope),))
    at = rng.choice(scope)
    return Big(
        rng.choice(("sum", "sum", "max")), var, size, case(body, num(0), var - at, at - var) if kind == "q" else body
    )


def places(t: Term, path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], Term]]:
    yield path, t
    for at, c in enumerate(children(t)):
        yield from places(c, (*path, at))


def arguments(rng: random.Random, rule: str, t: Term) -> tuple[Any, ...]:
    """Arguments that a rule may take, wherever they lead."""
    at = rng.choice((random_index(rng, POOL), rng.choice(POOL), sp.Integer(rng.randint(0, 2))))
    if rule == "sift" and isinstance(t, Big) and isinstance(t.body, If):
        return (rng.choice([t.var - c for c in sorted(t.body.conds, key=str)]),)
    if rule == "restate":
        return (rng.choice((shuffled, bent))(t, rng),)
    if rule == "unscale" and isinstance(t, If):
        cond = rng.choice(sorted(t.conds, key=str))
        return cond, sp.Integer(rng.randint(1, 3)), rng.choice((at, sp.floor(cond / 2), cond))
    return {
        "reindex": (rng.choice(("pi", "po", "q")),),
        "split": (at,),
        "sift": (at,),
        "rewrite": (
            rng.choice(("mirror", "share")),
            {i: rng.choice((at, *sorted(free(t), key=str)))},
            rng.random() < 0.3,
        ),
        "decide": ((rng.choice(POOL), rng.choice(POOL)),) if rng.random() < 0.3 else (),
    }.get(rule, ())


def test_random_walks_keep_the_value() -> None:
    rng, used = random.Random(1), set()
    for _ in range(80):
        ctx = Context(rng.choice(FACTS), rng.choice(EQUAL), rng.choice(INVOLUTIONS))
        fixed = {n}.union(*(x.free_symbols for x in ctx.facts), *(x.free_symbols for p in (*ctx.equal,) for x in p))
        fixed = fixed.union(*(size.free_symbols for _, size in ctx.involutions))
        t = term(rng, POOL, rng.randint(1, 2))
        try:
            checker.meaningful(t, ctx)
            checker._run((), t, ctx, LAWS, fixed, "step")
        except Refused:
            continue
        for rule in rng.choices([*RULES, *[r for r in RULES if r != "restate"] * 4], k=20):
            path, inner = rng.choice(list(places(t)))
            try:
                step = Step(rule, path, arguments(rng, rule, inner))
                new = checker._run((step,), t, ctx, LAWS, fixed | free(t), "step")
            except Refused:
                continue
            used.add(rule)
            for world in worlds(ctx, (t, new, num(sum(POOL))), rng, 2, {"f": entry}):
                assert world.value(t) == world.value(new), (step, t, new, ctx, world.values)
            t = new if len(str(new)) < 500 else t
    assert len(used) >= 4, used
