"""T3, T4 and T5 for layers with windows: statements replay, exact numbers agree, false variants are refused."""

from __future__ import annotations

import time

import pytest

from rcproof.symbolic import necessity_max
from rcproof.symbolic.checker import Refused
from tests.symbolic.mutants_windows import MUTANTS
from tests.symbolic.mutations import Mutation
from tests.symbolic.replays import agrees, pairs, refused, replays, statements

STATEMENTS = statements(
    "convolution", "transposed", "grouped", "pooling", "embedding", "necessity", "necessity_more", "padding"
)


@pytest.mark.parametrize("name", STATEMENTS)
def test_replays(name: str) -> None:
    replays(STATEMENTS[name])


@pytest.mark.parametrize("name", STATEMENTS)
def test_exact_numbers_agree(name: str) -> None:
    agrees(STATEMENTS[name], most=2 if "necessary" in name else 3)


@pytest.mark.parametrize(("name", "mutation"), pairs(MUTANTS))
def test_false_variants_are_refused(name: str, mutation: Mutation) -> None:
    refused(STATEMENTS[name], mutation, most=2)


def test_every_statement_has_three_false_variants() -> None:
    assert set(MUTANTS) == set(STATEMENTS)
    assert all(len(ms) >= 3 for ms in MUTANTS.values())


def test_all_replays_together_take_seconds() -> None:
    start = time.process_time()
    for s in STATEMENTS.values():
        s.replay()
    assert time.process_time() - start < 20  # about 4 on a quiet machine


def test_max_pooling_on_its_finite_family() -> None:
    """The one statement here that is not proved for all sizes: its kind says so, and wrong conditions are noticed."""
    (statement,) = necessity_max.STATEMENTS["T3"]
    assert statement.kind.startswith("finite: ")
    assert statement.replay().steps == 156
    for wrong in (lambda r: True, lambda r: False, lambda r: r < 2):
        with pytest.raises(Refused, match="max pooling with K="):
            necessity_max.family(wrong)
