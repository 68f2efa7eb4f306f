"""T1 and T2: every statement replays, agrees with exact numbers, and its false variants are refused."""

from __future__ import annotations

import pytest

from tests.symbolic.mutants_action import MUTANTS
from tests.symbolic.mutations import Mutation
from tests.symbolic.replays import agrees, pairs, refused, replays, statements

STATEMENTS = statements("action", "lifts")


@pytest.mark.parametrize("name", STATEMENTS)
def test_replays(name: str) -> None:
    replays(STATEMENTS[name])


@pytest.mark.parametrize("name", STATEMENTS)
def test_exact_numbers_agree(name: str) -> None:
    agrees(STATEMENTS[name])


@pytest.mark.parametrize(("name", "mutation"), pairs(MUTANTS))
def test_false_variants_are_refused(name: str, mutation: Mutation) -> None:
    refused(STATEMENTS[name], mutation)


def test_every_statement_has_three_false_variants() -> None:
    assert set(MUTANTS) == set(STATEMENTS)
    assert all(len(ms) >= 3 for ms in MUTANTS.values())
