"""What every statement with a proof must pass: it replays, exact numbers agree, and its false variants are refused."""

from __future__ import annotations

import importlib
import random
import re
from collections.abc import Mapping, Sequence

import pytest

from rcproof.symbolic.checker import Refused, check
from rcproof.symbolic.evaluate import counterexample, spot_check
from rcproof.symbolic.statements import Statement
from tests.symbolic.mutations import Mutation
from tests.symbolic.worlds import builder


def statements(*modules: str) -> dict[str, Statement]:
    """All statements of some modules, by name."""
    found: dict[str, Statement] = {}
    for name in modules:
        for label, group in importlib.import_module(f"rcproof.symbolic.{name}").STATEMENTS.items():
            for s in group:
                assert s.name.startswith(f"{label}.") and s.name not in found
                found[s.name] = s
    return found


def replays(s: Statement) -> None:
    """The checker accepts the proof, every step has a note, and the statement can be printed."""
    evidence = s.replay()
    assert evidence.steps >= 1 and evidence.lines
    assert all(": " in line or line.lstrip().startswith(("case", "start")) for line in evidence.lines)
    assert s.text.endswith(".") and s.latex and s.source


def agrees(s: Statement, worlds: int = 10, most: int = 3) -> None:
    """Both sides are equal, in exact numbers, in random small worlds where the hypotheses hold."""
    assert s.claim is not None
    assert spot_check(s.claim, random.Random(s.name), builder(s.claim), worlds, most) >= worlds


def refused(s: Statement, mutation: Mutation, most: int = 3) -> None:
    """The variant is false, exact numbers show it, and the checker says why its proof is none."""
    assert s.claim is not None and s.proof is not None
    false = mutation.make(s.claim)
    assert false != s.claim
    with pytest.raises(Refused) as refusal:
        check(false, s.proof, s.known() if s.known else None)
    assert re.search(mutation.reason, str(refusal.value)), str(refusal.value)
    found = counterexample(false, random.Random(0), builder(false), most=most)
    assert found.lhs != found.rhs


def pairs(mutants: Mapping[str, Sequence[Mutation]]) -> list[object]:
    """Parameters of a test: statement and mutation, with readable names."""
    return [pytest.param(name, m, id=f"{name}: {m.what}") for name, ms in mutants.items() for m in ms]
