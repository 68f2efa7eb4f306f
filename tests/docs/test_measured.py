"""The decision guide's numbers: positive is better, whichever way the metric and the committed pair go."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.docs.site import DOCS

pytest.importorskip("IPython", reason="IPython comes with the extra `docs`")
sys.path.insert(0, str(DOCS / "_lib"))

import measured


def row(metric: str, values: list[float], holm: float | None, a: str = "post-hoc", b: str = "rcps") -> dict[str, Any]:
    return {
        "set": "some", "a": a, "b": b, "metric": metric, "highest": metric == "auroc", "n": len(values), "p_holm": holm,
        "mean_difference": sum(values) / len(values), "by_seed": dict(enumerate(values)),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("metric", "sign", "text"),
    [
        ("auroc", 1, "+0.02 (4 of 5)"),
        ("auroc", -1, "-0.02 (1 of 5)"),
        ("profile_nll", 1, "-0.02 (1 of 5)"),
        ("profile_nll", -1, "+0.02 (4 of 5)"),
    ],
)
def test_gain_is_positive_where_better(metric: str, sign: int, text: str) -> None:
    values = [0.03, 0.03, 0.03, 0.03, -0.02]
    assert measured._gain(row(metric, values, 0.2), sign) == text
    assert measured._gain(row(metric, values, 0.01), sign) == text.replace(" ", "* ", 1)
    assert measured._gain(row(metric, values, None), sign) == text
    assert measured._gain(None, sign) == "–"


def test_a_pair_is_found_either_way_round_and_few_seeds_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(measured, "display", shown.append)
    measured._decisions({"pairwise": [row("auroc", [0.01] * 4, None)]})
    assert shown == []
    measured._decisions({"pairwise": [row("auroc", [0.01] * 5, 0.01, "rcps", "post-hoc")]})
    assert "post-hoc − rcps</td>" in shown[0].data and "-0.01* (0 of 5)" in shown[0].data


def test_every_finding_is_below_its_question(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(measured, "display", shown.append)
    found = [{"question": "Who overfits?", "answers": ["a", "b"]}, {"question": "And then?", "answers": []}]
    measured._findings({"findings": found})
    assert [s.data for s in shown] == ["## Who overfits?\n\n- a\n- b", "## And then?\n\nNothing yet."]
