"""False variants of proved statements: made by small changes, shown to be false, and refused for a stated reason."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
import sympy as sp

from rcproof.symbolic.checker import Claim, Proved, Refused, check
from rcproof.symbolic.evaluate import Builder, counterexample, spot_check
from rcproof.symbolic.statements import ALL_SIZES, Statement
from rcproof.symbolic.terms import Elem, Mul, Term, children, num, with_children

Change = Callable[[Claim], Claim]
END, RANGE, NO_EQUATION, NO_INSTANCE = "do not end at", "does not follow", "no equation", "no such instance"
NOT_DECIDED, CASES_DIFFER, BODIES = "do not decide", "cases differ", "not the same term"


def arrays(t: Term, name: str, change: Callable[..., tuple[Any, ...]]) -> Term:
    """``t`` with other indices at every entry of one array."""
    t = with_children(t, tuple(arrays(k, name, change) for k in children(t)))
    if isinstance(t, Elem) and t.array == name:
        return Elem(name, tuple(sp.sympify(i) for i in change(*t.index)))
    return t


def read(side: str, name: str, change: Callable[..., tuple[Any, ...]]) -> Change:
    """Entries of an array read elsewhere, on one side."""
    return lambda c: replace(c, equation=replace(c.equation, **{side: arrays(getattr(c.equation, side), name, change)}))


def rename(side: str, old: str, new: str) -> Change:
    """Another array in its place, on one side."""

    def swap(t: Term) -> Term:
        t = with_children(t, tuple(swap(k) for k in children(t)))
        return Elem(new, t.index) if isinstance(t, Elem) and t.array == old else t

    return lambda c: replace(c, equation=replace(c.equation, **{side: swap(getattr(c.equation, side))}))


def scaled(factor: Any, side: str = "rhs") -> Change:
    """One side multiplied by a number."""
    return lambda c: replace(c, equation=replace(c.equation, **{side: Mul((num(factor), getattr(c.equation, side)))}))


def without(name: str) -> Change:
    """A hypothesis dropped."""
    return lambda c: replace(c, given=tuple(e for e in c.given if e.name != name))


def given(name: str, change: Callable[[Any], Any]) -> Change:
    """A hypothesis changed."""
    return lambda c: replace(c, given=tuple(change(e) if e.name == name else e for e in c.given))


def negated(name: str) -> Change:
    """A hypothesis with the other sign on its right."""
    return given(name, lambda e: replace(e, rhs=Mul((num(-1), e.rhs))))


def ranges(*variables: tuple[Any, Any]) -> Change:
    """Other ranges of the quantified indices."""
    return lambda c: replace(c, equation=replace(c.equation, vars=variables))


def context(**changes: Any) -> Change:
    """Another context."""
    return lambda c: replace(c, context=replace(c.context, **changes))


def sides(change: Callable[[Term], Term], side: str = "rhs") -> Change:
    """Any change of one side."""
    return lambda c: replace(c, equation=replace(c.equation, **{side: change(getattr(c.equation, side))}))


@dataclass(frozen=True)
class Variant:
    """A change of one statement's claim, and what the refusal must say. ``false`` is False where the changed claim
    happens to hold and only the proof is wrong. ``arbitrary`` names an array that the builder must leave alone;
    ``builder`` stands in for the builder."""

    statement: str
    what: str
    change: Change
    says: str = END
    false: bool = True
    arbitrary: str = ""
    builder: Builder | None = None

    def __str__(self) -> str:
        return f"{self.statement}: {self.what}"


def by_name(statements: Iterable[Statement]) -> dict[str, Statement]:
    """Statements by name, each name once."""
    found = {s.name: s for s in statements}
    assert len(found) == len(tuple(statements))
    return found


def assert_replays(s: Statement) -> None:
    """It replays, in at least one step, and says what it is."""
    evidence = s.replay()
    assert evidence.steps >= 1
    assert s.text and s.latex and s.name
    assert (s.claim is not None) == (s.kind == ALL_SIZES)


def assert_true_at_small_sizes(s: Statement, builder: Builder | None = None, seed: int = 1) -> None:
    """A proved claim holds exactly at random small sizes."""
    if s.claim is not None:
        assert spot_check(s.claim, random.Random(seed), builder, worlds=3) >= 3


def assert_refused(
    v: Variant, statements: Mapping[str, Statement], builder: Builder | None = None, known: Any = None
) -> None:
    """The variant differs from the claim, is refused for the stated reason, and is false."""
    s = statements[v.statement]
    assert s.claim is not None and s.proof is not None
    claim = v.change(s.claim)
    assert claim != s.claim, "nothing was changed"
    lemmas: dict[str, Proved] | None = known() if known else None
    with pytest.raises(Refused, match=v.says):
        check(claim, s.proof, lemmas)
    if v.false:
        counterexample(claim, random.Random(3), _leaving(v.arbitrary, v.builder or builder))


def _leaving(name: str, builder: Builder | None) -> Builder | None:
    if builder is None or not name:
        return builder
    return lambda world: {k: v for k, v in builder(world).items() if k != name}


def named(groups: Mapping[str, Iterable[Variant]]) -> list[Variant]:
    """Variants listed under the names of their statements."""
    return [replace(v, statement=name) for name, found in groups.items() for v in found]


def assert_covered(statements: Iterable[Statement], variants: Iterable[Variant], least: int = 3) -> None:
    """Every proved statement has at least ``least`` variants."""
    variants = tuple(variants)
    short = [s.name for s in statements if s.claim is not None and sum(v.statement == s.name for v in variants) < least]
    assert not short, f"fewer than {least} variants: {short}"
