"""Every lemma about layers, norms, merges, heads and losses replays, holds in numbers, and has no false neighbours."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import sympy as sp

from rcproof.symbolic import batch_statistics, losses, multinomial
from rcproof.symbolic.checker import Proof, Refused, Step, check
from rcproof.symbolic.evaluate import counterexample, spot_check
from rcproof.symbolic.statements import ALL_SIZES, REFUTED, Statement
from rcproof.symbolic.tactics import at, places
from rcproof.symbolic.terms import Big
from tests.symbolic import mutants_heads, mutants_layers
from tests.symbolic.mutants_common import STATEMENTS, Mutant, builder, proof_of

MUTANTS = (*mutants_layers.MUTANTS, *mutants_heads.MUTANTS)
PROVED = [s for s in STATEMENTS.values() if s.kind == ALL_SIZES]
u, v, z = losses.u, losses.v, losses.z
e, f = sp.exp(u / 2), sp.exp(v / 2)


def _steps(proof: Proof) -> Iterator[Step]:
    yield from (*proof.steps, *proof.right)
    for part in proof.parts:
        yield from _steps(part)


@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=lambda s: s.name)
def test_replays(statement: Statement) -> None:
    evidence = statement.replay()
    assert evidence.steps >= 1 and evidence.lines
    if statement.proof is not None:
        assert all(step.note for step in _steps(statement.proof)), "a step without a note"


@pytest.mark.parametrize("statement", PROVED, ids=lambda s: s.name)
def test_holds_in_numbers(statement: Statement) -> None:
    claim = statement.claim
    assert claim is not None
    build: Any = builder(Mutant(statement.name, "", claim))
    assert spot_check(claim, random.Random(statement.name), build, worlds=1 if "train" in statement.name else 3) >= 1


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_false_variant_is_refused(mutant: Mutant) -> None:
    with pytest.raises(Refused, match=mutant.reason):
        check(mutant.claim, proof_of(mutant))
    assert counterexample(mutant.claim, random.Random(str(mutant)), builder(mutant))


def test_every_lemma_has_false_variants() -> None:
    count = Counter(m.of for m in MUTANTS)
    assert {s.name: count[s.name] for s in PROVED if count[s.name] < 3} == {}
    assert len(set(map(str, MUTANTS))) == len(MUTANTS)
    true = {m.of: m.claim for m in MUTANTS}
    assert all(STATEMENTS[of].claim != claim for of, claim in true.items())


def test_statements_are_complete() -> None:
    for s in STATEMENTS.values():
        assert s.text.endswith(".") and s.latex and s.source
        assert s.name.split(".")[0] in ("T5", "T9", "T10")
        assert (s.claim is None) == (s.kind != ALL_SIZES)
        assert s.text.startswith("False: ") == (s.kind == REFUTED)


# -- identities and inequalities ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "right"),
    [
        pytest.param((u - v) ** 2 / 2, (u - v) ** 2 / 4, id="mse: the gap doubled"),
        pytest.param((u**2 + v**2) / 2 - (u + v) ** 2, (u - v) ** 2 / 4, id="mse: the sum for the mean"),
        pytest.param((u**2 + v**2) / 2 - u * v, (u - v) ** 2 / 4, id="mse: the product for the square"),
        pytest.param((1 + e**2) * (1 + f**2) - (1 + e * f) ** 2, (e + f) ** 2, id="bce: wrong sign"),
        pytest.param((1 + e**2) * (1 + f**2) - (1 + e * f), (e - f) ** 2, id="bce: no square"),
        pytest.param((1 + e) * (1 + f) - (1 + e * f) ** 2, (e - f) ** 2, id="bce: half logits for logits"),
        pytest.param((e**2 + f**2) / 2 - e * f, (e - f) ** 2, id="poisson: the half left out"),
        pytest.param((e**2 + f**2) / 2 - e * f, (e + f) ** 2 / 2, id="poisson: wrong sign"),
        pytest.param((e**2 + f**2) - e * f, (e - f) ** 2 / 2, id="poisson: sum for mean"),
        pytest.param(((u + v) / 2) ** 2 - u * v, (u - v) ** 2 / 2, id="log: wrong factor"),
        pytest.param((u + v) ** 2 - u * v, (u - v) ** 2 / 4, id="log: sum for mean"),
        pytest.param(((u + v) / 2) ** 2 - u * v, (u + v) ** 2 / 4, id="log: wrong sign"),
        pytest.param(sp.diff(sp.log(1 + sp.exp(u)), u, 2), sp.exp(u) / (1 + sp.exp(u)), id="bce: first derivative"),
    ],
)
def test_false_identity_is_refused(left: Any, right: Any) -> None:
    with pytest.raises(Refused, match="is not"):
        multinomial.exact(left, right, "gap")


@pytest.mark.parametrize(
    ("function", "second", "why"),
    [
        (sp.tanh(z), -2 * sp.tanh(z) * (1 - sp.tanh(z) ** 2), "is not known"),
        (-sp.exp(z), -sp.exp(z), "is not known"),
        (z**3, 6 * z, "is not known"),
        (z**4, 6 * z**2, "is not 6"),
    ],
)
def test_loss_that_is_not_convex_is_refused(function: Any, second: Any, why: str) -> None:
    with pytest.raises(Refused, match=re.escape(why)):
        losses._convex(function, second)


def test_the_mean_is_not_refuted() -> None:
    with pytest.raises(Refused, match="no counterexample"):
        losses._worse("mean")


def test_two_passes_in_numbers() -> None:
    """The gap is k²(mean b − mean a): exactly, for unequal lengths of history too."""
    from fractions import Fraction as Q

    a, b, k = [Q(1), Q(5)], [Q(2), Q(-3)], Q(1, 10)
    one, two = batch_statistics.two_passes(a, b, k, Q(7)), batch_statistics.two_passes(b, a, k, Q(7))
    assert one - two == k**2 * (sum(b) / 2 - sum(a) / 2) != 0


def test_tactics_know_places() -> None:
    s = STATEMENTS["T5.layer_norm.all"].claim
    assert s is not None
    found = list(places(s.equation.lhs, Big))
    assert found and all(isinstance(p, tuple) for p in found)
    steps = STATEMENTS["T5.pointwise"].proof.parts[0].steps  # type: ignore[union-attr]
    assert [s.path[:2] for s in at((7, 8), steps)] == [(7, 8)] * len(steps)
