"""Theorems as data: statement, hypotheses, kind, and the proof that is replayed when you ask for it.

A theorem is a list of statements; each has one kind, and the kinds are never blurred:

- ``all sizes``: a proof that the checker replays, sizes and arrays being symbols;
- ``algebra``: an identity or inequality between expressions in real symbols, established by exact algebra
  (sympy), with no sizes in it or for all of them;
- ``refuted``: a plausible statement that is false, with a counterexample found or carried, in exact numbers;
- ``finite: …``: checked by exact computation on the finite family that the kind names, and claimed for no more.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rcproof.symbolic.checker import Claim, Proof, Refused, check

ALL_SIZES, ALGEBRA, REFUTED = "all sizes", "algebra", "refuted"


@dataclass(frozen=True)
class Evidence:
    """What a replay gives: the number of steps, and lines that a reader can follow."""

    steps: int
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Statement:
    """One statement of a theorem.

    Attributes:
        name: ``T3.conv.sufficient`` and the like; unique.
        text: the statement in plain words and symbols; the docs quote it.
        latex: the same in LaTeX (mathematics only, for a display).
        kind: see the module.
        replay: replays the proof or the refutation, and raises :class:`~rcproof.symbolic.checker.Refused` if it fails.
        hypotheses: what is assumed, one line each.
        claim, proof: the checked claim and its proof, for kind ``all sizes`` (so that tests can mutate them).
        source: where the paper says it, or "not in the paper".
        known: gives the lemmas, checked, that the proof may use.
    """

    name: str
    text: str
    latex: str
    kind: str
    replay: Callable[[], Evidence]
    hypotheses: tuple[str, ...] = ()
    claim: Claim | None = None
    proof: Proof | None = None
    source: str = ""
    known: Callable[[], dict[str, Any]] | None = None

    def __post_init__(self) -> None:
        if self.kind not in (ALL_SIZES, ALGEBRA, REFUTED) and not self.kind.startswith("finite: "):
            raise ValueError(f"kind {self.kind!r} of {self.name}")


@dataclass(frozen=True)
class Theorem:
    """A labelled theorem: T1 … T13."""

    label: str
    title: str
    summary: str
    statements: tuple[Statement, ...] = field(default=())


def proved(
    name: str,
    text: str,
    latex: str,
    claim: Claim,
    proof: Proof,
    *,
    hypotheses: tuple[str, ...] = (),
    known: Callable[[], dict[str, Any]] | None = None,
    source: str = "",
) -> Statement:
    """A statement whose proof the checker replays. ``known`` gives the lemmas it may use, checked first."""

    def replay() -> Evidence:
        check(claim, proof, known() if known else None)
        return Evidence(max(1, proof.count()), tuple(show_proof(proof)))

    return Statement(name, text, latex, ALL_SIZES, replay, hypotheses, claim, proof, source, known)


def show_proof(proof: Proof, indent: str = "") -> list[str]:
    """The steps of a proof as lines: rule, place, and the note for the reader."""
    lines = []
    if proof.start is not None:
        name, values = proof.start
        at = ", ".join(f"{k} = {v}" for k, v in values.items())
        lines.append(f"{indent}start from {name}" + (f" with {at}" if at else ""))
    for side, steps in (("", proof.steps), ("on the right, ", proof.right)):
        for step in steps:
            place = "at " + ".".join(map(str, step.path)) if step.path else "at the top"
            lines.append(f"{indent}{side}{step.rule} {place}" + (f": {step.note}" if step.note else ""))
    if proof.cases is not None:
        for part, sign in zip(proof.parts, ("≥ 0", "< 0"), strict=True):
            lines.append(f"{indent}case {proof.cases} {sign}:")
            lines += show_proof(part, indent + "  ")
    return lines


@dataclass(frozen=True)
class Outcome:
    """What ``rcproof prove`` reports for one statement."""

    label: str
    name: str
    statement: str
    hypotheses: tuple[str, ...]
    kind: str
    steps: int
    seconds: float
    status: str
    reason: str = ""


def run(label: str, statement: Statement) -> Outcome:
    """Replay one statement; its status is ``holds`` or ``failed``, with the reason."""
    start = time.perf_counter()
    steps, status, reason = 0, "holds", ""
    try:
        steps = statement.replay().steps
    except Refused as why:
        status, reason = "failed", str(why)
    seconds = time.perf_counter() - start
    return Outcome(
        label, statement.name, statement.text, statement.hypotheses, statement.kind, steps, seconds, status, reason
    )


def require(condition: bool, why: str) -> None:
    """For algebraic replays: :class:`~rcproof.symbolic.checker.Refused` unless ``condition``."""
    if not condition:
        raise Refused(why)
