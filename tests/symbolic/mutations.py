"""Ways to make a true statement false, and why the checker must then refuse its proof.

A mutation is a function of a claim; with it goes what the refusal must say. That a mutant is really false is not
taken on trust: the tests find exact numbers for which it fails.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from rcproof.symbolic.checker import Claim, Equation
from rcproof.symbolic.terms import If, Mul, Term, map_indices, num, substitute

#: What the refusal of a wrong entry says: it is not the term that the proof arrives at, ...
ENDS = "the steps (on the right )?do not end at the (left|right) side"
#: ... or not the term that a step rewrites, ...
OTHER_TERM = r"right step \d+ \(restate\): the two ways of writing it are not the same term"
#: ... or not in the half that the case is about.
UNDECIDED = "the facts do not decide the conditions"


@dataclass(frozen=True)
class Mutation:
    """A false variant: what was done, how, and what the refusal says (a regular expression)."""

    what: str
    make: Callable[[Claim], Claim]
    reason: str = ENDS


def _right(claim: Claim, rhs: Term) -> Claim:
    return replace(claim, equation=replace(claim.equation, rhs=rhs))


def negated(reason: str = ENDS) -> Mutation:
    """The wrong sign, in both cases of a case distinction."""

    def minus(t: Term) -> Term:
        return replace(t, then=minus(t.then), other=minus(t.other)) if isinstance(t, If) else Mul((num(-1), t))

    return Mutation("wrong sign", lambda c: _right(c, minus(c.equation.rhs)), reason)


def put(values: dict[Any, Any], what: str, reason: str = ENDS) -> Mutation:
    """The right side at other indices or sizes."""
    return Mutation(what, lambda c: _right(c, substitute(c.equation.rhs, values)), reason)


def exchange(old: Any, new: Any, what: str, reason: str = ENDS) -> Mutation:
    """The right side with one index expression for another, wherever it stands."""

    def make(claim: Claim) -> Claim:
        rhs = map_indices(claim.equation.rhs, lambda e: e.xreplace({old: new}))
        assert rhs != claim.equation.rhs, f"{old} does not occur"
        return _right(claim, rhs)

    return Mutation(what, make, reason)


def halves_swapped(reason: str = ENDS) -> Mutation:
    """The two cases of the right side exchanged."""

    def make(claim: Claim) -> Claim:
        rhs = claim.equation.rhs
        assert isinstance(rhs, If)
        return _right(claim, replace(rhs, then=rhs.other, other=rhs.then))

    return Mutation("halves swapped", make, reason)


def left_halves_swapped(reason: str = ENDS) -> Mutation:
    """The two cases of the left side exchanged."""

    def make(claim: Claim) -> Claim:
        lhs = claim.equation.lhs
        assert isinstance(lhs, If)
        return replace(claim, equation=replace(claim.equation, lhs=replace(lhs, then=lhs.other, other=lhs.then)))

    return Mutation("halves of the left side swapped", make, reason)


def without(name: str, reason: str | None = None) -> Mutation:
    """A hypothesis dropped."""

    def make(claim: Claim) -> Claim:
        assert name in {e.name for e in claim.given}
        return replace(claim, given=tuple(e for e in claim.given if e.name != name))

    return Mutation(f"hypothesis {name!r} dropped", make, reason or f"no equation '{name}' is known")


def uncentred(reason: str = ENDS) -> Mutation:
    """The equation for the length dropped: windows need not centre."""

    def make(claim: Claim) -> Claim:
        assert claim.context.equal
        return replace(claim, context=replace(claim.context, equal=()))

    return Mutation("condition on the length dropped", make, reason)


def length(value: Any, what: str, reason: str = ENDS) -> Mutation:
    """Another equation for the first of the dependent sizes."""

    def make(claim: Claim) -> Claim:
        (symbol, old), *rest = claim.context.equal
        assert old != value
        return replace(claim, context=replace(claim.context, equal=((symbol, value), *rest)))

    return Mutation(what, make, reason)


def unfact(facts: tuple[Any, ...], what: str, reason: str) -> Mutation:
    """Facts dropped."""

    def make(claim: Claim) -> Claim:
        assert set(facts) <= set(claim.context.facts)
        kept = tuple(f for f in claim.context.facts if f not in facts)
        return replace(claim, context=replace(claim.context, facts=kept))

    return Mutation(what, make, reason)


def given(name: str, change: Callable[[Equation], Equation], what: str, reason: str) -> Mutation:
    """A hypothesis replaced by another one of the same name."""

    def make(claim: Claim) -> Claim:
        changed = tuple(change(e) if e.name == name else e for e in claim.given)
        assert changed != claim.given
        return replace(claim, given=changed)

    return Mutation(what, make, reason)


def given_at(name: str, old: Any, new: Any, what: str, reason: str) -> Mutation:
    """A hypothesis with one index expression for another."""

    def change(e: Equation) -> Equation:
        return replace(e, lhs=map_indices(e.lhs, lambda x: x.xreplace({old: new})))

    return given(name, change, what, reason)


def rhs(make: Callable[[Claim], Term], what: str, reason: str = ENDS) -> Mutation:
    """Another right side altogether."""
    return Mutation(what, lambda c: _right(c, make(c)), reason)
