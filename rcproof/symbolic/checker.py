"""The checker: claims, proofs as lists of steps, and the rewriting rules that a step may use.

A *claim* is an equation between two terms, for all sizes, all values of its free indices in their ranges
and all arrays, under stated facts and hypotheses. A *proof* is a list of steps; each names a rule, a
place in the term, and the rule's parameters. :func:`check` rewrites the left side step by step and accepts
only if the condition of every rule is established and the last term is the right side. Nothing here
searches for proofs. Rules rely on what :func:`meaningful` and :func:`hygienic` make sure of before and after
every step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import sympy as sp

from rcproof.symbolic.arithmetic import Context, canonical
from rcproof.symbolic.terms import (
    Add,
    Big,
    If,
    Index,
    Lam,
    Mul,
    Term,
    binders,
    children,
    expressions,
    fault,
    free,
    fresh,
    num,
    plain,
    substitute,
    with_children,
)  # fmt: skip


class Refused(Exception):
    """Why a step or a proof was not accepted."""


@dataclass(frozen=True)
class Equation:
    """lhs = rhs for all values of ``vars`` in 0 ≤ var < size: a definition, a hypothesis or a lemma."""

    name: str
    vars: tuple[tuple[sp.Symbol, Index], ...]
    lhs: Term
    rhs: Term


@dataclass(frozen=True)
class Step:
    """One rewriting step: rule, path to the subterm, parameters, and a word for the reader."""

    rule: str
    path: tuple[int, ...] = ()
    args: tuple[Any, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Claim:
    """An equation to be proved in a context, from ``given`` equations (definitions and hypotheses)."""

    equation: Equation
    context: Context = field(default_factory=Context)
    given: tuple[Equation, ...] = ()


Rule = Callable[..., Term]
RULES: dict[str, Rule] = {}


def rule(function: Rule) -> Rule:
    """Register a rewriting rule: (term, context, equations, *args) → term, or :class:`Refused`."""
    RULES[function.__name__] = function
    return function


def _want(condition: bool, why: str) -> None:
    if not condition:
        raise Refused(why)


@rule
def reverse(t: Any, ctx: Context, eqs: Mapping[str, Equation]) -> Term:
    """Σ_{i<n} f(i) = Σ_{i<n} f(n−1−i), and the same for max; for every n (nothing is summed for n ≤ 0)."""
    _want(isinstance(t, Big), "only a sum or a maximum has a bound index to reverse")
    return replace(t, body=substitute(t.body, {t.var: t.size - 1 - t.var}))


@rule
def reindex(t: Any, ctx: Context, eqs: Mapping[str, Equation], pi: str) -> Term:
    """Σ_{i<n} f(i) = Σ_{i<n} f(π(i)), and the same for max, if the context says that π is an involution of 0..n−1."""
    _want(isinstance(t, Big), "only a sum or a maximum has a bound index")
    size = dict(ctx.involutions).get(pi)
    _want(size is not None, f"{pi} is not known to be an involution")
    _want(ctx.same(size, t.size), f"{pi} is an involution of {size} indices, not of {t.size}")
    return replace(t, body=substitute(t.body, {t.var: sp.Function(pi, integer=True)(t.var)}))


@rule
def split(t: Any, ctx: Context, eqs: Mapping[str, Equation], at: Index) -> Term:
    """Σ_{i<n} f(i) = Σ_{i<m} f(i) + Σ_{i<n−m} f(m+i) for 0 ≤ m ≤ n."""
    _want(isinstance(t, Big) and t.op == "sum", "only a sum splits into a sum")
    _want(ctx.entails(at) and ctx.entails(t.size - at), f"0 ≤ {at} ≤ {t.size} does not follow")
    second = Big("sum", t.var, t.size - at, substitute(t.body, {t.var: t.var + at}))
    return Add((replace(t, size=at), second))


@rule
def join(t: Any, ctx: Context, eqs: Mapping[str, Equation]) -> Term:
    """Σ_{i<m} f(i) + Σ_{i<k} f(m+i) = Σ_{i<m+k} f(i) for m ≥ 0 and k ≥ 0."""
    _want(isinstance(t, Add) and len(t.args) == 2, "join takes two sums")
    a, b = t.args
    _want(isinstance(a, Big) and isinstance(b, Big) and a.op == b.op == "sum", "join takes two sums")
    _want(ctx.entails(a.size) and ctx.entails(b.size), "the sizes may be negative")
    i = sp.Dummy(a.var.name, integer=True)
    first, second = substitute(a.body, {a.var: i}), substitute(b.body, {b.var: i - a.size})
    _want(canonical(first, ctx) == canonical(second, ctx), "the two sums have different bodies")
    return Big("sum", i, a.size + b.size, first)


@rule
def linear(t: Any, ctx: Context, eqs: Mapping[str, Equation]) -> Term:
    """Σ (a + b) = Σ a + Σ b, and Σ k·a = k·Σ a for k free of the bound index."""
    _want(isinstance(t, Big) and t.op == "sum", "linearity is of sums")
    if isinstance(t.body, Add):
        return Add(tuple(replace(t, body=a) for a in t.body.args))
    _want(isinstance(t.body, Mul), "the body is neither a sum nor a product")
    out = tuple(a for a in t.body.args if t.var not in free(a))
    _want(bool(out), "no factor is free of the index")
    rest = tuple(a for a in t.body.args if t.var in free(a)) or (num(1),)
    return Mul((*out, replace(t, body=rest[0] if len(rest) == 1 else Mul(rest))))


@rule
def collect(t: Any, ctx: Context, eqs: Mapping[str, Equation]) -> Term:
    """Σ_{i<n} a + Σ_{i<m} b = Σ_{i<n} (a + b) if n = m, and k·Σ a = Σ k·a, k untouched by the bound index."""
    if isinstance(t, Add) and t.args:
        parts: Any = t.args
        first = parts[0]
        for a in parts:
            _want(
                isinstance(a, Big) and a.op == "sum" and ctx.same(a.size, first.size), "collect takes sums of one range"
            )
        i = sp.Dummy(first.var.name, integer=True)
        return Big("sum", i, first.size, Add(tuple(substitute(a.body, {a.var: i}) for a in parts)))
    sums: list[Any] = [a for a in t.args if isinstance(a, Big) and a.op == "sum"] if isinstance(t, Mul) else []
    _want(len(sums) == 1, "collect takes a product with one sum")
    big = sums[0]
    others = tuple(a for a in t.args if a is not big)
    i = sp.Dummy(big.var.name, integer=True)
    return Big("sum", i, big.size, Mul((*others, substitute(big.body, {big.var: i}))))


@rule
def distribute(t: Any, ctx: Context, eqs: Mapping[str, Equation]) -> Term:
    """k·(a + b) = k·a + k·b, for the first sum among the factors."""
    at: Any = next((i for i, a in enumerate(t.args) if isinstance(a, Add)), None) if isinstance(t, Mul) else None
    _want(at is not None, "distribute takes a product with a sum in it")
    return Add(tuple(Mul((*t.args[:at], a, *t.args[at + 1 :])) for a in t.args[at].args))


@rule
def exchange(t: Any, ctx: Context, eqs: Mapping[str, Equation]) -> Term:
    """Σ_{i<n} Σ_{j<m} f = Σ_{j<m} Σ_{i<n} f, and the same for max, if m does not depend on i."""
    inner: Any = t.body if isinstance(t, Big) else None
    _want(isinstance(inner, Big) and inner.op == t.op, "exchange takes two nested sums or maxima")
    _want(t.var not in inner.size.free_symbols and t.var != inner.var, "the inner range depends on the outer index")
    return replace(inner, body=replace(t, body=inner.body))


def _instance(name: str, values: Mapping[Any, Index], ctx: Context, eqs: Mapping[str, Equation]) -> tuple[Term, Term]:
    """Both sides of a known equation at ``values``, which must be in the ranges that it is claimed for."""
    _want(name in eqs, f"no equation {name!r} is known")
    eq = eqs[name]
    _quantified(eq, ctx)
    _want({v for v, _ in eq.vars} == set(values), f"{name} needs values for {[str(v) for v, _ in eq.vars]}")
    values = {v: sp.sympify(e, strict=True) for v, e in values.items()}
    for v, size in eq.vars:
        value, limit = values[v], size.xreplace(values)
        _want(ctx.entails(value) and ctx.entails(limit - 1 - value), f"0 ≤ {value} < {limit} does not follow")
    sides = substitute(eq.lhs, values), substitute(eq.rhs, values)
    for side in sides:
        meaningful(side, ctx)
    return sides


@rule
def rewrite(
    t: Any, ctx: Context, eqs: Mapping[str, Equation], name: str, values: Mapping[Any, Index], back: bool = False
) -> Term:
    """a = b for an instance a = b (or b = a, ``back``) of a known equation at ``values`` in its ranges."""
    one, other = _instance(name, values, ctx, eqs)[:: -1 if back else 1]
    _want(canonical(t, ctx) == canonical(one, ctx), f"the subterm is no such instance of {name}")
    return other


@rule
def restate(t: Any, ctx: Context, eqs: Mapping[str, Equation], new: Term) -> Term:
    """a = b if they differ by bound names, order and grouping of sums and products, and index arithmetic alone."""
    _want(canonical(t, ctx) == canonical(new, ctx), "the two ways of writing it are not the same term")
    return new


@rule
def decide(t: Any, ctx: Context, eqs: Mapping[str, Equation], *products: tuple[Index, Index]) -> Term:
    """if c then a else b = a where the facts give all of c, b where they contradict c.

    ``products`` are pairs f ≥ 0 and g ≥ 0 that the facts give: then f·g ≥ 0 is a fact too.
    """
    _want(isinstance(t, If), "decide takes a case distinction")
    for f, g in products:
        _want(ctx.entails(f) and ctx.entails(g), f"{f} and {g} are not known to be ≥ 0")
    ctx = ctx.assume(*(f * g for f, g in products))
    if all(ctx.entails(c) for c in t.conds):
        return t.then
    _want(ctx.assume(*t.conds).entails(sp.Integer(-1)), "the facts do not decide the conditions")
    return t.other


@rule
def unscale(t: Any, ctx: Context, eqs: Mapping[str, Equation], cond: Index, factor: Index, new: Index) -> Term:
    """m·n + r ≥ 0 is the same as n ≥ 0, for 0 ≤ r < m: replaces the condition ``cond`` by ``new`` (m = ``factor``)."""
    old = [c for c in t.conds if ctx.same(c, cond)] if isinstance(t, If) else []
    _want(bool(old), f"there is no condition {cond}")
    _want(bool(new.is_integer), f"{new} is no integer")
    rest = ctx.normal(cond - factor * new)
    _want(ctx.entails(rest) and ctx.entails(factor - 1 - rest), f"0 ≤ {rest} < {factor} does not follow")
    return replace(t, conds=t.conds - set(old) | {new})


@rule
def nest(t: Any, ctx: Context, eqs: Mapping[str, Equation]) -> Term:
    """if c then (if e then a else b) else b = if c and e then a else b."""
    _want(isinstance(t, If) and isinstance(t.then, If), "nest takes a case distinction in the first case of another")
    _want(canonical(t.then.other, ctx) == canonical(t.other, ctx), "the other cases differ")
    return replace(t.then, conds=t.conds | t.then.conds)


@rule
def push(t: Any, ctx: Context, eqs: Mapping[str, Equation]) -> Term:
    """g(if c then a else b) = if c then g(a) else g(b), for one enclosing operation that binds nothing in c."""
    kids: Any = children(t)
    at: Any = next((i for i, k in enumerate(kids) if isinstance(k, If)), None)
    _want(at is not None, "push takes an operation on a case distinction")
    inner = kids[at]
    _want(not isinstance(t, Lam), "an array is no number")
    _want(
        not set(binders(t)) & set().union(*(c.free_symbols for c in inner.conds)),
        "the condition depends on the bound index",
    )
    parts = [with_children(t, (*kids[:at], b, *kids[at + 1 :])) for b in (inner.then, inner.other)]
    return If(inner.conds, parts[0], parts[1])


@rule
def sift(t: Any, ctx: Context, eqs: Mapping[str, Equation], at: Index) -> Term:
    """Σ_{i<n} (if i = a and … then f(i) else 0) = if 0 ≤ a < n and … then f(a) else 0, for an integer a without i.

    i = a is written as two conditions, i − a ≥ 0 and a − i ≥ 0.
    """
    _want(isinstance(t, Big) and t.op == "sum" and isinstance(t.body, If), "sift takes a sum of cases")
    _want(canonical(t.body.other, ctx) == ("Num", sp.S.Zero), "the other case is not zero")
    at = sp.sympify(at, strict=True)
    _want(bool(at.is_integer) and t.var not in at.free_symbols, "the point is no integer, or depends on the index")
    pins = [c for c in t.body.conds if ctx.same(c, t.var - at) or ctx.same(c, at - t.var)]
    signs = {bool(ctx.same(c, t.var - at)) for c in pins}
    _want(signs == {True, False}, f"the conditions do not say {t.var} = {at}")
    rest = {c.xreplace({t.var: at}) for c in t.body.conds if c not in pins}
    return If(frozenset({at, t.size - 1 - at} | rest), substitute(t.body.then, {t.var: at}), num(0))


@rule
def merge_cases(t: Any, ctx: Context, eqs: Mapping[str, Equation]) -> Term:
    """if c then a else a = a."""
    _want(isinstance(t, If) and canonical(t.then, ctx) == canonical(t.other, ctx), "the two cases differ")
    return t.then


def apply(step: Step, t: Term, ctx: Context, eqs: Mapping[str, Equation], path: tuple[int, ...] | None = None) -> Term:
    """``t`` after one step; facts grow on the way down (ranges of bound indices, conditions of cases)."""
    path = step.path if path is None else path
    if not path:
        _want(step.rule in RULES, f"no rule {step.rule!r}")
        return RULES[step.rule](t, ctx, eqs, *step.args)
    kids = children(t)
    _want(path[0] in range(len(kids)), f"there is no subterm {path[0]}")
    done = apply(step, kids[path[0]], _inside(t, path[0], ctx), eqs, path[1:])
    return with_children(t, (*kids[: path[0]], done, *kids[path[0] + 1 :]))


def _inside(t: Term, at: int, ctx: Context) -> Context:
    """What holds in subterm ``at`` of ``t``."""
    if isinstance(t, Big | Lam):
        return ctx.assume(*_ranges(zip(binders(t), expressions(t), strict=True)))
    if isinstance(t, If) and at == 0:
        return ctx.assume(*t.conds)
    return ctx.assume(*(-c - 1 for c in t.conds)) if isinstance(t, If) and len(t.conds) == 1 else ctx


def _ranges(variables: Iterable[tuple[sp.Symbol, Index]]) -> list[Index]:
    return [f for v, size in variables for f in (v, size - 1 - v)]


@dataclass(frozen=True)
class Proof:
    """Steps from lhs to rhs; or, with ``cases``, a proof where ``cases`` ≥ 0 and one where it is not.

    ``right`` are steps on the right side: the two sides then meet. With ``start`` (a known equation and
    values for its variables) the steps go from the two sides of that instance to the two sides of the claim.
    """

    steps: tuple[Step, ...] = ()
    cases: Index | None = None
    parts: tuple[Proof, ...] = ()
    right: tuple[Step, ...] = ()
    start: tuple[str, Mapping[Any, Index]] | None = None

    def count(self) -> int:
        """How many steps it has, in all cases."""
        return len(self.steps) + len(self.right) + (self.start is not None) + sum(p.count() for p in self.parts)


@dataclass(frozen=True)
class Proved:
    """A checked equation with what it rests on; :func:`check` makes these and believes no others."""

    equation: Equation
    context: Context
    given: tuple[Equation, ...]


_PROVED: dict[int, Proved] = {}


def check(claim: Claim, proof: Proof, known: Mapping[str, Proved] | None = None) -> Proved:
    """The claim as a proved lemma, if the proof holds; :class:`Refused` with the step and the reason if not.

    Lemmas in ``known`` may be used where the claim's context gives all that they rest on.
    """
    eqs = {e.name: e for e in claim.given}
    _want(len(eqs) == len(claim.given), "two given equations have one name")
    for name, lemma in (known or {}).items():
        _want(_PROVED.get(id(lemma)) is lemma, f"{name!r} has not been proved here")
        if _applies(lemma, claim):
            _want(name not in eqs, f"two equations are called {name!r}")
            eqs[name] = lemma.equation
    eq, own = claim.equation, claim.context
    sure = Context(tuple(f for f in own.facts if plain(f) and not f.atoms(sp.Pow)))  # what needs no meaning first
    _numbers((*own.facts, *(size for _, size in own.involutions), *(x for e in own.equal for x in e)), sure, "a fact")
    _quantified(eq, own)
    ctx = own.assume(*_ranges(eq.vars))
    differences = [d for x, y in own.equal for d in (x - y, y - x)]
    _want(not ctx.assume(*differences).entails(sp.S.NegativeOne), "the facts contradict each other")
    for side in (eq.lhs, eq.rhs):
        meaningful(side, ctx)
    fixed = set().union(
        *(e.free_symbols for e in own.facts),
        *(size.free_symbols for _, size in own.involutions),
        *(e.free_symbols for pair in own.equal for e in pair),
        *map(_outer, claim.given),
    )
    _want(not fixed & {v for v, _ in eq.vars}, "the facts or the given equations speak of a quantified index")
    _check(eq.lhs, eq.rhs, ctx, eqs, proof, fixed | free(eq.lhs) | free(eq.rhs))
    done = Proved(eq, own, claim.given)
    _PROVED[id(done)] = done
    return done


def _quantified(eq: Equation, ctx: Context) -> None:
    _want(all(isinstance(v, sp.Symbol) and plain(v) for v, _ in eq.vars), f"{eq.name} quantifies what is no index")
    _numbers((size for _, size in eq.vars), ctx, f"a range of {eq.name}")
    _want(all(size.is_integer for _, size in eq.vars), f"a range of {eq.name} may be a fraction")


@lru_cache(maxsize=4096)  # all claims of a network have the same given equations
def _outer(eq: Equation) -> frozenset[sp.Symbol]:
    """The symbols of an equation that it does not quantify: they mean what they mean outside."""
    sizes = (size.free_symbols for _, size in eq.vars)
    return frozenset((free(eq.lhs) | free(eq.rhs)).union(*sizes) - {v for v, _ in eq.vars})


def _applies(lemma: Proved, claim: Claim) -> bool:
    own, theirs = claim.context, lemma.context
    return (
        all(own.entails(f) for f in theirs.facts)
        and all(own.same(s, value) for s, value in theirs.equal)
        and set(theirs.involutions) <= set(own.involutions)
        and (lemma.given is claim.given or set(lemma.given) <= set(claim.given))
    )


def _check(
    lhs: Term, rhs: Term, ctx: Context, eqs: Mapping[str, Equation], proof: Proof, taken: set[sp.Symbol]
) -> None:
    start = None if proof.start is None else _instance(*proof.start, ctx, eqs)
    t = _run(proof.steps, (start or (lhs, rhs))[0], ctx, eqs, taken, "step")
    u = _run(proof.right, (start or (lhs, rhs))[1], ctx, eqs, taken, "right step")
    if proof.cases is not None:
        _want(len(proof.parts) == 2 and start is None, "a case distinction has two parts, each with its own start")
        _numbers((proof.cases,), ctx, "what tells the cases apart")
        _want(bool(proof.cases.is_integer), "cases are told apart by an integer")
        _check(t, u, ctx.assume(proof.cases), eqs, proof.parts[0], taken)
        _check(t, u, ctx.assume(-proof.cases - 1), eqs, proof.parts[1], taken)
        return
    if start is None:
        _want(canonical(t, ctx) == canonical(u, ctx), "the steps do not end at the right side")
        return
    _want(canonical(t, ctx) == canonical(lhs, ctx), "the steps do not end at the left side")
    _want(canonical(u, ctx) == canonical(rhs, ctx), "the steps on the right do not end at the right side")


def _run(
    steps: tuple[Step, ...], t: Term, ctx: Context, eqs: Mapping[str, Equation], taken: set[sp.Symbol], word: str
) -> Term:
    outside = taken.union(free(t), *(f.free_symbols for f in ctx.facts))
    _want(hygienic(t, outside), "a bound index has the name of another one")
    for i, step in enumerate(steps):
        try:
            t = apply(step, t, ctx, eqs)
            meaningful(t, ctx)
            _want(hygienic(t, outside | free(t)), "a bound index has the name of another one")
        except Exception as why:  # a step that cannot even be tried is no step
            cause = None if isinstance(why, Refused) else why
            raise Refused(f"{word} {i + 1} ({step.rule}): {why}") from cause
    return t


def hygienic(t: Term, taken: set[sp.Symbol]) -> bool:
    """Whether every bound name differs from the ``taken`` ones and from those bound around it."""
    own = set(binders(t))
    return not own & taken and all(hygienic(k, taken | own) for k in children(t))


def meaningful(t: Term, ctx: Context) -> None:
    """Refuse a malformed term, one that binds a name twice, and one that divides by what may be 0."""
    why = fault(t)
    _want(not why, why)
    _want(hygienic(t, set()), "a bound index has the name of another one")
    _defined(t, ctx)


def _defined(t: Term, ctx: Context) -> None:
    if _powers(t):
        _numbers(expressions(t), ctx, "a number or an index")
        t = fresh(t, set(binders(t)))  # facts on an index of that name outside are not about this one
        for at, k in enumerate(children(t)):
            _defined(k, _inside(t, at, ctx))


def _powers(t: Term) -> bool:
    return any(e.atoms(sp.Pow) for e in expressions(t)) or any(map(_powers, children(t)))


def _numbers(expressions: Iterable[Index], ctx: Context, what: str) -> None:
    """Refuse expressions that sympy could take wrong: of unknown make, or dividing by what may be 0."""
    for e in expressions:
        _want(plain(e), f"{what} is not made of rationals, integer symbols, integer functions, +, ×, powers and floors")
        for p in e.atoms(sp.Pow):
            nonzero = p.exp.is_positive or ctx.entails(p.base - 1) or ctx.entails(-p.base - 1)
            _want(nonzero, f"{p.base} may be 0, and {what} is divided by it")
