"""What a false variant of a lemma is, how its proof is attempted, and why each is refused."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from rcproof.symbolic import batch_statistics as bs
from rcproof.symbolic import concatenation, losses, multinomial, norms, positions
from rcproof.symbolic import heads as hd
from rcproof.symbolic import layers as ly
from rcproof.symbolic.checker import Claim, Proof
from rcproof.symbolic.evaluate import World
from rcproof.symbolic.pairs import F, L, c
from rcproof.symbolic.statements import Statement
from rcproof.symbolic.strands import Read
from rcproof.symbolic.tactics import by_strand
from rcproof.symbolic.terms import Elem, If, Index, Term

MODULES = (norms, bs, ly, positions, concatenation, hd, losses, multinomial)
STATEMENTS: dict[str, Statement] = {s.name: s for m in MODULES for group in m.STATEMENTS.values() for s in group}


@dataclass(frozen=True)
class Mutant:
    """A false variant of the statement ``of``: how it differs, and its claim."""

    of: str
    what: str
    claim: Claim

    def __str__(self) -> str:
        return f"{self.of}: {self.what}"

    @property
    def reason(self) -> str:
        """Why its proof is refused."""
        return next((why for why, which in REASONS.items() if str(self) in which), END)


def true_claim(of: str) -> Claim:
    """The claim of a proved statement."""
    claim = STATEMENTS[of].claim
    assert claim is not None
    return claim


def with_left(of: str, what: str, left: Term) -> Mutant:
    """Another left side."""
    claim = true_claim(of)
    return Mutant(of, what, replace(claim, equation=replace(claim.equation, lhs=left)))


def with_right(of: str, what: str, right: Term) -> Mutant:
    """Another right side."""
    claim = true_claim(of)
    return Mutant(of, what, replace(claim, equation=replace(claim.equation, rhs=right)))


def with_sides(of: str, what: str, left: Term, right: Term) -> Mutant:
    """Other sides."""
    claim = true_claim(of)
    return Mutant(of, what, replace(claim, equation=replace(claim.equation, lhs=left, rhs=right)))


def repeated(name: str) -> Read:
    """A parameter repeated for the mirrored half as it is, instead of tied."""
    return lambda c, *rest: If(frozenset({F - 1 - c}), Elem(name, (c, *rest)), Elem(name, (c - F, *rest)))


def concatenated(a: Read, b: Read, first: Index = F) -> Read:
    """Two strands in a row, the other one not mirrored."""
    return lambda c, *rest: If(frozenset({first - 1 - c}), a(c, *rest), b(c - first, *rest))


# -- arrays that hypotheses restrict -------------------------------------------------------------------------------


def _signs(name: str) -> Callable[[World], dict[str, Any]]:
    def build(world: World) -> dict[str, Any]:
        pi, drawn = world.involutions["pi"], {}

        def sign(at: tuple[int, ...]) -> int:
            key = min(at[0], pi[at[0]]) if 0 <= at[0] < len(pi) else at[0]
            return drawn.setdefault(key, world.rng.choice((-1, 1)))

        return {name: sign}

    return build


def _tokens(world: World) -> dict[str, Any]:
    codes = len(world.involutions["complement"])
    world.involutions["token"] = tuple(world.rng.randrange(codes) for _ in range(world.sizes[L]))
    return {}


def builder(mutant: Mutant) -> Callable[[World], dict[str, Any]] | None:
    """How to make the hypotheses of a false variant hold in a random world."""
    if mutant.what == "signs that do not fit":
        return None
    name = mutant.of
    if name == "T5.embedding":
        return _tokens
    if name == "T5.closed" or name.endswith(".commutes"):
        return _signs("sign") if not name.startswith("T10") else None
    return None


def proof_of(mutant: Mutant) -> Proof:
    """The proof of the true statement; where it was written by a tactic, what the tactic writes for the false one.

    So that a claim is not refused merely because it has fewer case distinctions or sums than the true one.
    """
    true, claim = STATEMENTS[mutant.of].claim, mutant.claim
    assert true is not None
    group = {"own": ((norms.M - 1 - norms.q, norms.G),), "other": ((norms.q - norms.M, norms.G),)}
    tactics: list[Callable[[Claim], Proof]] = [hd._decided, lambda c: Proof(right=bs._over_strands(c.equation.rhs))]
    for split, options in ((F - 1 - c, {}), (ly.D - 1 - ly.d, {}), (norms.M - 1 - norms.q, group)):
        tactics.append(
            lambda c, split=split, options=options: by_strand(c.equation.lhs, c.equation.rhs, split, **options)
        )
    for tactic in tactics:
        if tactic(true) == STATEMENTS[mutant.of].proof:
            return tactic(claim)
    proof = STATEMENTS[mutant.of].proof
    assert proof is not None
    return proof


def rng_for(text: str) -> random.Random:
    """A generator that belongs to a text."""
    return random.Random(text)


# -- why each is refused -------------------------------------------------------------------------------------------

#: Both sides are worked out, and they are different terms.
END = "do not end at the right side"
REASONS: dict[str, tuple[str, ...]] = {
    # an entry is read in a range where it does not lie
    "do not decide the conditions": (
        "T5.cat: channels of the other strand not mirrored",
        "T5.cat: one channel off",
        "T5.cat: other halves in the same order",
        "T5.cat.control: channels of the other strand not mirrored",
        "T5.cat.control: one channel off",
        "T5.cat.control: other halves in the same order",
        "T5.layer_norm.vector: one mean for both strands",
        "T10.train.commutes: one channel off",
        "T5.closed: one channel off",
        "T5.merge.mean: one task off",
        "T5.merge.sum: one task off",
        "T5.merge.max: one task off",
    ),
    # a definition or a hypothesis says something else
    "the subterm is no such instance": tuple(
        f"T5.flatten: {what}"
        for what in (
            "channels of the other strand not mirrored",
            "one channel off",
            "positions of the other strand not mirrored",
            "one position off",
            "the strands exchanged",
            "one strand flattened by position",
            "position by position",
        )
    ),
    "no equation '(signs|weights sum to 1)' is known": (
        "T5.closed: signs that do not fit",
        "T5.merge.mean.commutes: signs that do not fit",
        "T5.merge.sum.commutes: signs that do not fit",
        "T9.multinomial.hessian: weights of any sum",
    ),
    # what should be two cases, one a strand, is one (or the other way round)
    "decide takes a case distinction": (
        "T10.train.layouts: the given strand alone",
        "T10.train.commutes: affine part not tied",
        "T5.weighted_sum.coupled: v reads the own strand",
        "T5.weighted_sum.coupled: v reads the other half mirrored",
        "T5.cat: plain cat of stacked tensors",
        "T5.cat.control: plain cat of stacked tensors",
    ),
    # a side is not what the proof says that it is
    "not the same term": (
        *(f"T5.merge.{mode}.commutes: {what} kept" for mode in ("mean", "sum") for what in ("positions", "tasks")),
        "T5.merge.max.commutes: ρ_out left out",
        "T5.merge.max.commutes: the maximum with signs",
        "T5.head.invariant: the bias halved too",
        "T5.head.logits: the bias halved too",
        "T9.multinomial: the 2 left out",
        "T9.multinomial: a plus for the minus",
        "T9.multinomial: a sum squared",
        "T9.multinomial: indices not exchanged",
        "T9.multinomial.hessian: the square of the mean left out",
        "T9.multinomial.hessian: a plus for the minus",
        "T9.multinomial.hessian: one weight left out",
    ),
    # the factor ½ that the proof moves, or the strand sum, is missing
    "there is no subterm 2": tuple(f"T5.head.{head}: the half left out" for head in ("invariant", "logits", "counts")),
    "distribute takes a product|no factor is free": (
        "T5.head.logits: the mean after σ",
        "T5.head.counts: the control of one strand",
        "T5.head.counts: the control's half left out",
        "T5.head.profile: the bias of the plus strand",
    ),
}
