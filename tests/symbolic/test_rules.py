"""Every rule of the checker keeps the value of a term, exactly, in random small worlds; its unsound twins do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rcproof.symbolic.checker import RULES
from tests.symbolic.exact import Unsound, assert_sound
from tests.symbolic.rule_cases import CASES, TWINS


def test_every_rule_has_cases_and_twins() -> None:
    assert set(RULES) == set(CASES) == set(TWINS)
    assert all(len(twins) >= 2 for twins in TWINS.values())
    assert {f.__module__ for f in RULES.values()} == {"rcproof.symbolic.checker"}


@pytest.mark.parametrize("name", list(RULES))
def test_rule_is_sound(name: str) -> None:
    assert_sound(RULES[name], CASES[name]())


@pytest.mark.parametrize("twin", [t for twins in TWINS.values() for t in twins], ids=lambda t: t.__name__)
def test_twin_is_caught(twin: Callable[..., Any]) -> None:
    with pytest.raises(Unsound):
        assert_sound(twin, CASES[twin.__name__.split("__")[0]]())
