"""Terms to try the rules of the checker on, and unsound twins of every rule: each drops or bends one condition."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import sympy as sp

from rcproof.symbolic import checker
from rcproof.symbolic.arithmetic import Context, canonical
from rcproof.symbolic.checker import Equation, Refused
from rcproof.symbolic.terms import (
    Add,
    Big,
    Elem,
    Fun,
    If,
    Index,
    Lam,
    Mul,
    Term,
    children,
    free,
    map_indices,
    num,
    substitute,
    with_children,
)  # fmt: skip
from tests.symbolic.exact import Case, World, i, j, k, m, n, pi, po, random_term, s

Eqs = Mapping[str, Equation]
CASES: dict[str, Callable[[], list[Case]]] = {}
TWINS: dict[str, list[Callable[..., Term]]] = {}
half = sp.Rational(1, 2)


def want(condition: bool) -> None:
    """Refuse, as the checker does."""
    if not condition:
        raise Refused("no")


def cases(function: Callable[[random.Random], list[Case]]) -> Callable[[], list[Case]]:
    """Register the cases of the rule that the function is named after."""
    CASES[function.__name__] = lambda: function(random.Random(function.__name__))
    return CASES[function.__name__]


def twin(function: Callable[..., Term]) -> Callable[..., Term]:
    """Register an unsound twin of the rule that the function's name begins with, up to the double underscore."""
    TWINS.setdefault(function.__name__.split("__")[0], []).append(function)
    return function


def e(name: str, *index: Any) -> Elem:
    """An entry of an array."""
    return Elem(name, tuple(map(sp.sympify, index)))


def total(var: Any, size: Any, body: Term, op: str = "sum") -> Big:
    """A sum over var < size."""
    return Big(op, var, sp.sympify(size), body)


def case(then: Term, other: Term, *conds: Any) -> If:
    """A case distinction."""
    return If(frozenset(map(sp.sympify, conds)), then, other)


def bodies(rng: random.Random, count: int, *scope: Any) -> list[Term]:
    """Random terms; the scope is named first in every index."""
    return [random_term(rng, scope) for _ in range(count)]


# -- reverse, reindex -------------------------------------------------------------------------------------


@cases
def reverse(rng: random.Random) -> list[Case]:
    sizes = (n, n + m, sp.Integer(3), n - m)
    found = [Case(total(i, rng.choice(sizes), b, rng.choice(("sum", "max")))) for b in bodies(rng, 20, i, m)]
    return [*found, Case(total(i, n, total(j, n - i, e("f", i, j)))), Case(e("f", n))]


@twin
def reverse__one_too_far(t: Any, ctx: Context, eqs: Eqs) -> Term:
    want(isinstance(t, Big))
    return replace(t, body=substitute(t.body, {t.var: t.size - t.var}))


@twin
def reverse__without_the_size(t: Any, ctx: Context, eqs: Eqs) -> Term:
    want(isinstance(t, Big))
    return replace(t, body=substitute(t.body, {t.var: -1 - t.var}))


@twin
def reverse__not_in_inner_sizes(t: Any, ctx: Context, eqs: Eqs) -> Term:
    want(isinstance(t, Big))
    body = substitute(t.body, {t.var: t.size - 1 - t.var})
    return replace(t, body=replace(body, size=t.body.size) if isinstance(t.body, Big) else body)


@cases
def reindex(rng: random.Random) -> list[Case]:
    ctx = Context(involutions=(("pi", n), ("po", m)))
    found = [Case(total(i, n, b, rng.choice(("sum", "max"))), ("pi",), ctx) for b in bodies(rng, 15, i, m)]
    found += [Case(total(i, size, e("f", i, j)), ("pi",), ctx) for size in (m, n + 1, n - 1)]
    found += [Case(total(i, n, e("f", i, pi(j))), ("sigma",), ctx)]
    return [*found, Case(e("f", n), ("pi",), ctx)]


@twin
def reindex__any_function(t: Any, ctx: Context, eqs: Eqs, name: str) -> Term:
    want(isinstance(t, Big) and name not in dict(ctx.involutions))
    return replace(t, body=substitute(t.body, {t.var: sp.Function(name, integer=True)(t.var)}))


@twin
def reindex__any_size(t: Any, ctx: Context, eqs: Eqs, name: str) -> Term:
    want(isinstance(t, Big) and name in dict(ctx.involutions))
    return replace(t, body=substitute(t.body, {t.var: sp.Function(name, integer=True)(t.var)}))


# -- split, join -------------------------------------------------------------------------------------------


@cases
def split(rng: random.Random) -> list[Case]:
    inside = Context(facts=(m, n - m))
    found = [Case(total(i, n, b), (m,), inside) for b in bodies(rng, 15, i, j)]
    found += [Case(total(i, n, e("f", i)), (at,), ctx) for at in (m, m + 1) for ctx in (Context(), inside)]
    found += [Case(total(i, n, e("f", i)), (m,), Context(facts=facts)) for facts in ((m,), (n - m,))]
    return [*found, Case(total(i, n, e("f", i), "max"), (m,), inside)]


def _split(t: Any, at: Any, shift: Any, rest: Any) -> Term:
    want(isinstance(t, Big))
    return Add((replace(t, size=at), Big("sum", t.var, rest, substitute(t.body, {t.var: t.var + shift}))))


@twin
def split__without_shift(t: Any, ctx: Context, eqs: Eqs, at: Index) -> Term:
    want(ctx.entails(at) and ctx.entails(t.size - at))
    return _split(t, at, 0, t.size - at)


@twin
def split__without_lower_bound(t: Any, ctx: Context, eqs: Eqs, at: Index) -> Term:
    want(ctx.entails(t.size - at))
    return _split(t, at, at, t.size - at)


@twin
def split__without_upper_bound(t: Any, ctx: Context, eqs: Eqs, at: Index) -> Term:
    want(ctx.entails(at))
    return _split(t, at, at, t.size - at)


@twin
def split__one_is_lost(t: Any, ctx: Context, eqs: Eqs, at: Index) -> Term:
    want(ctx.entails(at) and ctx.entails(t.size - at))
    return _split(t, at, at + 1, t.size - at - 1)


@twin
def split__of_maxima(t: Any, ctx: Context, eqs: Eqs, at: Index) -> Term:
    want(isinstance(t, Big) and t.op == "max" and ctx.entails(at) and ctx.entails(t.size - at))
    return _split(t, at, at, t.size - at)


@cases
def join(rng: random.Random) -> list[Case]:
    inside = Context(facts=(m, n))

    def pair(b: Term, shift: Any = m, op: str = "sum") -> Term:
        return Add((total(i, m, b, op), total(j, n, substitute(b, {i: j + shift}), op)))

    found = [Case(pair(b), (), inside) for b in bodies(rng, 15, i, k)]
    found += [Case(pair(e("f", i), shift, op), (), inside) for shift in (0, m, m - 1) for op in ("sum", "max")]
    found += [Case(pair(e("f", i)), (), Context(facts=facts)) for facts in ((), (m,), (n,))]
    third = total(k, n, e("f", k))
    found += [Case(Add((*pair(e("f", i)).args, third)), (), inside), Case(Add((third, num(1))), (), inside)]
    return [*found, Case(third, (), inside)]


def _join(t: Any, ctx: Context, op: str = "sum", sized: bool = True, shift: bool = True) -> Term:
    want(isinstance(t, Add) and len(t.args) >= 2 and isinstance(t.args[1], Big) and isinstance(t.args[0], Big))
    a, b = t.args[:2]
    want(a.op == op and (not sized or (ctx.entails(a.size) and ctx.entails(b.size))))
    v = sp.Dummy("v", integer=True)
    first, second = substitute(a.body, {a.var: v}), substitute(b.body, {b.var: v - (a.size if shift else 0)})
    want(canonical(first, ctx) == canonical(second, ctx))
    return Big("sum", v, a.size + b.size, first)


@twin
def join__without_shift(t: Any, ctx: Context, eqs: Eqs) -> Term:
    return _join(t, ctx, shift=False)


@twin
def join__any_size(t: Any, ctx: Context, eqs: Eqs) -> Term:
    return _join(t, ctx, sized=False)


@twin
def join__of_maxima(t: Any, ctx: Context, eqs: Eqs) -> Term:
    return _join(t, ctx, op="max")


@twin
def join__forgets_the_third(t: Any, ctx: Context, eqs: Eqs) -> Term:
    want(isinstance(t, Add) and len(t.args) == 3)
    return _join(t, ctx)


# -- linear, collect, distribute, exchange -----------------------------------------------------------------------


@cases
def linear(rng: random.Random) -> list[Case]:
    found = [Case(total(i, n, Add(tuple(bodies(rng, 2, i, j)))), ()) for _ in range(6)]
    found += [Case(total(i, n, Mul((*bodies(rng, 2, j, m), *bodies(rng, c, i, j))))) for c in (0, 1, 2, 2)]
    found += [Case(total(i, n, Mul((e("f", i), e("g", i))), op)) for op in ("sum", "max")]
    found += [Case(total(i, n, Mul((e("f", j), e("g", i))), op)) for op in ("sum", "max")]
    found += [
        Case(total(i, n, Mul((total(k, i, e("f", k)), e("g", j))))),
        Case(total(i, n, Add((num(1), num(2))), "max")),
    ]
    return [*found, Case(total(i, n, Mul((e("f", j),)))), Case(total(i, n, e("f", i))), Case(num(1))]


@twin
def linear__pulls_what_depends(t: Any, ctx: Context, eqs: Eqs) -> Term:
    want(isinstance(t, Big) and t.op == "sum" and isinstance(t.body, Mul) and len(t.body.args) == 2)
    return Mul((t.body.args[0], replace(t, body=t.body.args[1])))


@twin
def linear__forgets_what_is_left(t: Any, ctx: Context, eqs: Eqs) -> Term:
    want(isinstance(t, Big) and t.op == "sum" and isinstance(t.body, Mul))
    out = tuple(a for a in t.body.args if t.var not in free(a))
    want(len(out) == len(t.body.args))
    return Mul(out)


@twin
def linear__of_maxima(t: Any, ctx: Context, eqs: Eqs) -> Term:
    want(isinstance(t, Big) and t.op == "max")
    return checker.linear(replace(t, op="sum"), ctx, eqs)


@twin
def linear__sizes_do_not_count(t: Any, ctx: Context, eqs: Eqs) -> Term:
    want(isinstance(t, Big) and isinstance(t.body, Mul) and isinstance(t.body.args[0], Big))
    return Mul((t.body.args[0], replace(t, body=t.body.args[1])))


@cases
def collect(rng: random.Random) -> list[Case]:
    def sums(a: Any, b: Any, op: str = "sum") -> Term:
        return Add((total(i, a, e("f", i), op), total(j, b, e("g", j, k), op)))

    equal = Context(equal=((m, n),))
    found = [
        Case(Add((total(i, n, a), total(j, n, b)))) for a, b in zip(*[iter(bodies(rng, 16, k, m))] * 2, strict=True)
    ]
    found += [Case(sums(n, n)), Case(sums(n, m)), Case(sums(n, m), (), equal), Case(sums(n, n, "max"))]
    found += [Case(Mul((a, total(i, n, e("f", i, k))))) for a in bodies(rng, 8, k, m) if not isinstance(a, Big)]
    found += [Case(Mul((e("f", i), total(i, n, e("g", i))))), Case(Mul((e("f", k), total(i, n, e("g", i), "max"))))]
    return [*found, Case(Mul((total(i, n, e("f", i)), total(j, n, e("g", j))))), Case(Add(())), Case(num(1))]


@twin
def collect__over_different_ranges(t: Any, ctx: Context, eqs: Eqs) -> Term:
    want(isinstance(t, Add) and len(t.args) == 2)
    a, b = t.args
    return replace(a, body=Add((a.body, substitute(b.body, {b.var: a.var}))))


@twin
def collect__of_maxima(t: Any, ctx: Context, eqs: Eqs) -> Term:
    want(isinstance(t, Add) and len(t.args) == 2 and t.args[0].op == t.args[1].op == "max")
    a, b = t.args
    return replace(a, body=Add((a.body, substitute(b.body, {b.var: a.var}))))


@twin
def collect__captures_the_factor(t: Any, ctx: Context, eqs: Eqs) -> Term:
    want(isinstance(t, Mul) and isinstance(t.args[1], Big) and t.args[1].op == "sum")
    return replace(t.args[1], body=Mul((t.args[0], t.args[1].body)))


@twin
def collect__of_two_sums(t: Any, ctx: Context, eqs: Eqs) -> Term:
    want(isinstance(t, Mul) and all(isinstance(a, Big) and a.op == "sum" for a in t.args))
    a, b = t.args
    return replace(a, body=Mul((a.body, substitute(b.body, {b.var: a.var}))))


@cases
def distribute(rng: random.Random) -> list[Case]:
    found = [Case(Mul((a, Add((b, c)), d))) for a, b, c, d in zip(*[iter(bodies(rng, 40, i, m))] * 4, strict=True)]
    two = Mul((Add((e("f", i), e("f", j))), Add((e("g", i), e("g", j)))))
    return [*found, Case(two), Case(Mul((num(2), Add(())))), Case(Mul((e("f", i),))), Case(Add((num(1), num(2))))]


@twin
def distribute__over_the_first_alone(t: Any, ctx: Context, eqs: Eqs) -> Term:
    out: Any = checker.distribute(t, ctx, eqs)
    at = next(x for x, a in enumerate(t.args) if isinstance(a, Add))
    return Add((*out.args[:1], *t.args[at].args[1:]))


@twin
def distribute__by_pairs(t: Any, ctx: Context, eqs: Eqs) -> Term:
    want(isinstance(t, Mul) and all(isinstance(a, Add) and len(a.args) == 2 for a in t.args))
    return Add(tuple(Mul(pair) for pair in zip(*(a.args for a in t.args), strict=True)))


@cases
def exchange(rng: random.Random) -> list[Case]:
    found = [
        Case(total(i, n, total(j, m, b, op), op)) for b in bodies(rng, 12, i, j) for op in (rng.choice(("sum", "max")),)
    ]
    f = e("f", i, j)
    found += [Case(total(i, n, total(j, i, f))), Case(total(i, n, total(j, n - i, f, "max"), "max"))]
    found += [Case(total(i, n, total(j, m, f, op), other)) for op, other in (("sum", "max"), ("max", "sum"))]
    return [*found, Case(total(i, n, total(i, m, f))), Case(total(i, n, f)), Case(f)]


@twin
def exchange__of_dependent_ranges(t: Any, ctx: Context, eqs: Eqs) -> Term:
    want(isinstance(t, Big) and isinstance(t.body, Big) and t.op == t.body.op)
    return replace(t.body, body=replace(t, body=t.body.body))


@twin
def exchange__of_sum_and_maximum(t: Any, ctx: Context, eqs: Eqs) -> Term:
    want(isinstance(t, Big) and isinstance(t.body, Big) and t.var not in t.body.size.free_symbols)
    want(t.op != t.body.op)
    return replace(t.body, body=replace(t, body=t.body.body))


@twin
def exchange__of_names_only(t: Any, ctx: Context, eqs: Eqs) -> Term:
    want(isinstance(t, Big) and isinstance(t.body, Big) and t.op == t.body.op and t.var not in t.body.size.free_symbols)
    return replace(t, var=t.body.var, body=replace(t.body, var=t.var))


# -- rewrite, restate ----------------------------------------------------------------------------------------


def _mirrored(world: World, at: Any) -> Fraction:
    """f(i) = g(n−1−i) for 0 ≤ i < n, and nowhere else."""
    size = world.values[n]
    return world.draw(("g", size - 1 - at if 0 <= at < size else ("outside", at)))


@cases
def rewrite(rng: random.Random) -> list[Case]:
    arrays = {"f": _mirrored, "g": lambda world, at: world.draw(("g", at))}
    law = Equation("law", ((i, n),), e("f", i), e("g", n - 1 - i))
    under = Equation("under", ((i, n), (j, i)), e("f", j), e("g", n - 1 - j))
    summed = Equation("summed", (), total(i, n, e("f", i)), total(i, n, e("g", i)))
    eqs = {x.name: x for x in (law, under, summed)}
    inside = Context(facts=(k, n - 1 - k))
    found = [
        Case(term, ("law", {i: at}, back), ctx, eqs, arrays)
        for ctx in (inside, Context(), Context(facts=(k,)), Context(facts=(n - 1 - k,)))
        for at in (k, n - 1 - k, k + 1)
        for term, back in ((e("f", at), False), (e("g", n - 1 - at), True), (e("f", at), True), (e("g", k), False))
    ]
    found += [Case(e("f", k), ("under", {i: n - 1, j: k}), inside.assume(n - 2 - k), eqs, arrays)]
    found += [Case(e("f", k), ("under", {i: k, j: k}), inside, eqs, arrays)]
    found += [Case(total(m, n, e("f", m)), ("summed", {}), inside, eqs, arrays)]
    return [*found, Case(e("f", k), ("law", {}), inside, eqs, arrays), Case(e("f", k), ("no", {}), inside, eqs, arrays)]


def _rewrite(
    t: Any, ctx: Context, eqs: Eqs, name: str, values: Any, back: bool, low: bool = True, high: bool = True
) -> Term:
    eq = eqs[name]
    want(set(values) == {v for v, _ in eq.vars})
    for v, size in eq.vars:
        want(not low or ctx.entails(values[v]))
        want(not high or ctx.entails(size.xreplace(values) - 1 - values[v]))
    one, other = (eq.rhs, eq.lhs) if back else (eq.lhs, eq.rhs)
    want(canonical(t, ctx) == canonical(substitute(one, values), ctx))
    return substitute(other, values)


@twin
def rewrite__without_lower_bound(t: Any, ctx: Context, eqs: Eqs, name: str, values: Any, back: bool = False) -> Term:
    return _rewrite(t, ctx, eqs, name, values, back, low=False)


@twin
def rewrite__without_upper_bound(t: Any, ctx: Context, eqs: Eqs, name: str, values: Any, back: bool = False) -> Term:
    return _rewrite(t, ctx, eqs, name, values, back, high=False)


@twin
def rewrite__anything(t: Any, ctx: Context, eqs: Eqs, name: str, values: Any, back: bool = False) -> Term:
    one, other = checker._instance(name, values, ctx, eqs)
    want(type(t) is type(one) and isinstance(t, Elem))
    return other


@twin
def rewrite__as_it_stands(t: Any, ctx: Context, eqs: Eqs, name: str, values: Any, back: bool = False) -> Term:
    checker.rewrite(t, ctx, eqs, name, values, back)
    return eqs[name].lhs if back else eqs[name].rhs


@twin
def rewrite__back_to_another_place(t: Any, ctx: Context, eqs: Eqs, name: str, values: Any, back: bool = False) -> Term:
    want(back)
    checker.rewrite(t, ctx, eqs, name, values)
    return substitute(eqs[name].lhs, {v: x + 1 for v, x in values.items()})


def shuffled(t: Term, rng: random.Random) -> Term:
    """The same term, written in another way."""
    t = with_children(t, tuple(shuffled(c, rng) for c in children(t)))
    if isinstance(t, Add | Mul):
        args = rng.sample(t.args, len(t.args))
        return replace(t, args=(type(t)(tuple(args[:2])), *args[2:])) if len(args) > 2 else replace(t, args=tuple(args))
    if isinstance(t, Big):
        v = sp.Symbol(f"w{rng.randrange(10**9)}", integer=True)
        return replace(t, var=v, body=substitute(t.body, {t.var: v}))
    return map_indices(t, lambda x: sp.expand(x * (m + 1)) - x * m) if isinstance(t, Elem) else t


def bent(t: Term, rng: random.Random) -> Term:
    """A term that is nearly the same; often it is not equal."""
    kids = children(t)
    if kids and rng.random() < 0.8:
        at = rng.randrange(len(kids))
        return with_children(t, (*kids[:at], bent(kids[at], rng), *kids[at + 1 :]))
    if isinstance(t, Big):
        return replace(t, size=t.size + 1) if rng.random() < 0.5 else replace(t, op="max" if t.op == "sum" else "sum")
    if isinstance(t, Add | Mul):
        return (Mul if isinstance(t, Add) else Add)(t.args)
    if kids:
        return with_children(t, tuple(reversed(kids)))
    return map_indices(t, lambda x: rng.choice((x + 1, -x, pi(x), x.subs(i, j))))


@cases
def restate(rng: random.Random) -> list[Case]:
    ctx = Context(equal=((m, n + 1),), involutions=(("pi", n),))
    found = [Case(t, (shuffled(t, rng),), ctx) for t in bodies(rng, 30, i, j)]
    found += [Case(t, (bent(shuffled(t, rng), rng),), ctx) for t in bodies(rng, 60, i, j)]
    found += [Case(e("f", pi(pi(i))), (e("f", x),), ctx) for x in (i, pi(i), j)]
    found += [Case(e("f", po(pi(i))), (e("f", i),), ctx), Case(e("f", m), (e("f", n + 1),), ctx)]
    found += [Case(Fun(name, (e("f", i), e("g", j))), (Fun(name, (e("g", j), e("f", i))),)) for name in ("max", "h")]
    return found


@twin
def restate__unseen(t: Any, ctx: Context, eqs: Eqs, new: Term) -> Term:
    return new


@twin
def restate__without_index(t: Any, ctx: Context, eqs: Eqs, new: Term) -> Term:
    a, b = (map_indices(x, lambda e: sp.Integer(0)) for x in (t, new))
    want(canonical(a, ctx) == canonical(b, ctx))
    return new


@twin
def restate__any_function_of_two(t: Any, ctx: Context, eqs: Eqs, new: Term) -> Term:
    want(canonical(t, ctx) == canonical(new, ctx) or set(children(t)) == set(children(new)))
    return new


# -- decide, unscale, nest, push, sift, merge_cases ---------------------------------------------------------------


@cases
def decide(rng: random.Random) -> list[Case]:
    a, b = e("f", i), e("g", j)
    facts = [(), (i,), (-i,), (-i - 1,), (i, j), (i, -j - 1), (i - j, j), (n - 1 - i, i), (2 * i - 1,), (-3 * i - 1,)]
    conds = [(i,), (i, j), (n - 1,), (i - 1,), (i + j,), (), (pi(i),), (n - 1 - pi(i), pi(i)), (i * j,), (-i * j - 1,)]
    pis = (("pi", n),)
    found = [Case(case(a, b, *c), (), Context(facts=f, involutions=pis)) for f in facts for c in conds]
    found += [
        Case(case(a, b, i * j), ((x, y),), Context(facts=f)) for f in ((i, j), (i,)) for x in (i, j) for y in (i, j)
    ]
    return [*found, Case(case(a, b, i * j), ((i, j),), Context(facts=(i, -j - 1))), Case(a)]


def _decide(t: Any, then: bool, other: bool) -> Term:
    want(isinstance(t, If) and (then or other))
    return t.then if then else t.other


@twin
def decide__one_is_enough(t: Any, ctx: Context, eqs: Eqs, *products: Any) -> Term:
    want(isinstance(t, If))
    return _decide(t, any(ctx.entails(c) for c in t.conds), False)


@twin
def decide__not_known_is_false(t: Any, ctx: Context, eqs: Eqs, *products: Any) -> Term:
    want(isinstance(t, If))
    return _decide(t, all(ctx.entails(c) for c in t.conds), True)


@twin
def decide__not_refuted_is_true(t: Any, ctx: Context, eqs: Eqs, *products: Any) -> Term:
    want(isinstance(t, If))
    return _decide(t, not any(ctx.entails(-c - 1) for c in t.conds), False)


@twin
def decide__zero_is_negative(t: Any, ctx: Context, eqs: Eqs, *products: Any) -> Term:
    want(isinstance(t, If))
    return _decide(t, False, any(ctx.entails(-c) for c in t.conds))


@twin
def decide__a_fact_is_missing(t: Any, ctx: Context, eqs: Eqs, *products: Any) -> Term:
    want(isinstance(t, If))
    more = ctx.assume(i)
    return _decide(t, all(more.entails(c) for c in t.conds), False)


@twin
def decide__products_unchecked(t: Any, ctx: Context, eqs: Eqs, *products: Any) -> Term:
    more = ctx.assume(*(x * y for x, y in products))
    want(isinstance(t, If))
    return _decide(t, all(more.entails(c) for c in t.conds), False)


@cases
def unscale(rng: random.Random) -> list[Case]:
    a, b = e("f", i), e("g", j)
    inside = Context(facts=(j, s - 1 - j))

    def at(cond: Any, factor: Any, new: Any, ctx: Context = inside) -> Case:
        return Case(case(a, b, cond, n - 2), (cond, factor, new), ctx)

    found = [at(s * x + j, s, x) for x in (i, i - n, n)]
    found += [at(3 * i + 1, sp.Integer(3), i), at(3 * i + 2, sp.Integer(3), i), at(2 * i, sp.Integer(2), i)]
    found += [at(3 * i + r, sp.Integer(3), i) for r in (3, 5, -1, -2)] + [at(-3 * i, sp.Integer(-3), i)]
    found += [at(s * i + j, s, i, Context(facts=f)) for f in ((), (j,), (s - 1 - j,))]
    found += [at(i + 1, sp.Integer(2), i / 2 + half), at(i, sp.Integer(1), j)]
    found += [Case(case(a, b, i), (c, sp.Integer(1), c), inside) for c in (n, m, k - 1, -i - 1, n - 3, i - 2)]
    return [*found, Case(a, (i, sp.Integer(1), i), inside)]


def _unscale(
    t: Any, ctx: Context, cond: Any, factor: Any, new: Any, low: bool = True, high: bool = True, old: bool = True
) -> Term:
    rest = ctx.normal(cond - factor * new)
    want(isinstance(t, If) and new.is_integer and (cond in t.conds or not old))
    want((not low or ctx.entails(rest)) and (not high or ctx.entails(factor - 1 - rest)))
    return replace(t, conds=t.conds - {cond} | {new})


@twin
def unscale__rest_may_be_large(t: Any, ctx: Context, eqs: Eqs, cond: Any, factor: Any, new: Any) -> Term:
    return _unscale(t, ctx, cond, factor, new, high=False)


@twin
def unscale__rest_may_be_negative(t: Any, ctx: Context, eqs: Eqs, cond: Any, factor: Any, new: Any) -> Term:
    return _unscale(t, ctx, cond, factor, new, low=False)


@twin
def unscale__a_condition_from_nowhere(t: Any, ctx: Context, eqs: Eqs, cond: Any, factor: Any, new: Any) -> Term:
    return _unscale(t, ctx, cond, factor, new, old=False)


@twin
def unscale__forgets_the_others(t: Any, ctx: Context, eqs: Eqs, cond: Any, factor: Any, new: Any) -> Term:
    return replace(_unscale(t, ctx, cond, factor, new), conds=frozenset({new}))


@cases
def nest(rng: random.Random) -> list[Case]:
    a, b, c = e("f", i), e("g", j), e("g", i)
    found = [Case(case(case(x, y, j, n - i), z, i)) for x in (a, b) for y in (b, c) for z in (b, c)]
    found += [Case(case(case(x, y, j), y, i, j - n)) for x, y in zip(*[iter(bodies(rng, 12, i, j))] * 2, strict=True)]
    return [*found, Case(case(b, case(a, b, j), i)), Case(case(a, b, i)), Case(a)]


@twin
def nest__other_cases_differ(t: Any, ctx: Context, eqs: Eqs) -> Term:
    want(isinstance(t, If) and isinstance(t.then, If))
    return replace(t.then, conds=t.conds | t.then.conds)


@twin
def nest__drops_the_outer(t: Any, ctx: Context, eqs: Eqs) -> Term:
    checker.nest(t, ctx, eqs)
    return t.then


@twin
def nest__in_the_other_case(t: Any, ctx: Context, eqs: Eqs) -> Term:
    want(isinstance(t, If) and isinstance(t.other, If))
    return replace(t.other, conds=t.conds | t.other.conds)


@cases
def push(rng: random.Random) -> list[Case]:
    a, b = e("f", i, j), e("g", j)
    found = [
        Case(outer(case(x, y, n - 2, j)))
        for x, y in zip(*[iter(bodies(rng, 6, i, j))] * 2, strict=True)
        for outer in (
            lambda t: Add((b, t, num(2))),
            lambda t: Mul((b, t, case(a, b, i))),
            lambda t: Fun("h", (b, t)),
            lambda t: total(i, m, t),
            lambda t: total(i, m, t, "max"),
            lambda t: case(t, b, i),
            lambda t: case(b, t, i),
        )
    ]
    found += [Case(total(i, m, case(a, b, x), op)) for x in (i - 1, n - i) for op in ("sum", "max")]
    array = Lam((i,), (m,), case(a, b, n))
    return [*found, Case(array), Case(Lam((i,), (m,), case(a, b, i))), Case(Add((a, b)))]


@twin
def push__out_of_its_binder(t: Any, ctx: Context, eqs: Eqs) -> Term:
    want(isinstance(t, Big) and isinstance(t.body, If))
    return If(t.body.conds, replace(t, body=t.body.then), replace(t, body=t.body.other))


@twin
def push__drops_the_second(t: Any, ctx: Context, eqs: Eqs) -> Term:
    out: Any = checker.push(t, ctx, eqs)
    return replace(out, other=next(x for x in children(t) if isinstance(x, If)).other)


@twin
def push__swaps(t: Any, ctx: Context, eqs: Eqs) -> Term:
    out: Any = checker.push(t, ctx, eqs)
    return If(out.conds, out.other, out.then)


@cases
def sift(rng: random.Random) -> list[Case]:
    zero = num(0)

    def at(point: Any, *conds: Any, body: Any = None, size: Any = n, other: Any = zero, ctx: Any = None) -> Case:
        pins = (i - point, point - i)
        term = total(i, size, case(e("f", i, j) if body is None else body, other, *(conds or pins)))
        return Case(term, (point,), ctx or Context())

    point = j - 1
    found = [at(point, i - point, point - i, j + i, body=b) for b in bodies(rng, 12, i, j)]
    found += [at(x) for x in (j, m + 1, sp.Integer(0), sp.Integer(5), -j)]
    found += [at(j, i - j), at(j, j - i), at(j, i - j, j - i + 1), at(j, i - j - 1, j + 1 - i), at(j, m)]
    found += [at(i), at(j, other=e("g", j)), at(half, body=e("f", 2 * i)), at(j, size=n - m)]
    found += [at(m, i - n, n - i, ctx=Context(equal=((m, n),)))]
    return [
        *found,
        Case(total(i, n, case(e("f", i), zero, i - j, j - i), "max"), (j,)),
        Case(total(i, n, e("f", i)), (j,)),
    ]


def _sift(t: Any, at: Any, guard: Any, other: bool = True, pins: int = 2) -> Term:
    want(isinstance(t, Big) and isinstance(t.body, If) and t.op == "sum")
    want(not other or t.body.other == num(0))
    found = [c for c in t.body.conds if c in (t.var - at, at - t.var)]
    want(len(found) >= pins)
    rest = {c.xreplace({t.var: at}) for c in t.body.conds if c not in found}
    return If(frozenset(guard | rest), substitute(t.body.then, {t.var: at}), num(0))


@twin
def sift__without_range(t: Any, ctx: Context, eqs: Eqs, at: Index) -> Term:
    return _sift(t, at, set())


@twin
def sift__without_lower_bound(t: Any, ctx: Context, eqs: Eqs, at: Index) -> Term:
    return _sift(t, at, {t.size - 1 - at})


@twin
def sift__without_upper_bound(t: Any, ctx: Context, eqs: Eqs, at: Index) -> Term:
    return _sift(t, at, {at})


@twin
def sift__one_side_is_enough(t: Any, ctx: Context, eqs: Eqs, at: Index) -> Term:
    return _sift(t, at, {at, t.size - 1 - at}, pins=1)


@twin
def sift__other_not_zero(t: Any, ctx: Context, eqs: Eqs, at: Index) -> Term:
    return _sift(t, at, {at, t.size - 1 - at}, other=False)


@twin
def sift__at_a_fraction(t: Any, ctx: Context, eqs: Eqs, at: Index) -> Term:
    want(not at.is_integer)
    return _sift(t, at, {at, t.size - 1 - at})


@cases
def merge_cases(rng: random.Random) -> list[Case]:
    found = [Case(case(b, shuffled(b, rng), i, j - 1)) for b in bodies(rng, 15, i, j)]
    found += [Case(case(b, bent(b, rng), i, j - 1)) for b in bodies(rng, 15, i, j)]
    return [*found, Case(case(e("f", i), e("f", j), i)), Case(e("f", i))]


@twin
def merge_cases__takes_the_first(t: Any, ctx: Context, eqs: Eqs) -> Term:
    want(isinstance(t, If))
    return t.then


@twin
def merge_cases__same_array(t: Any, ctx: Context, eqs: Eqs) -> Term:
    want(isinstance(t, If) and isinstance(t.then, Elem) and isinstance(t.other, Elem) and t.then.array == t.other.array)
    return t.other
