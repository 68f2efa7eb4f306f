"""The head of the report: every question answered, and an answer that says what the numbers say."""

from __future__ import annotations

from pathlib import Path

import pytest

from rcproof.experiments import questions
from rcproof.experiments.answers import QUESTIONS, answered, findings, summarise
from rcproof.experiments.results import Results
from tests.experiments.made import Runs


def summary(results: Results) -> list[str]:
    found = findings(answered(results), questions.across(results))
    return summarise(results, questions.missing(results), found)


def test_every_question_is_answered(folder: Path, paper: None) -> None:
    del paper
    lines = summary(Results.read(folder))
    assert {line[:2] for line in lines[1:]} == {f"{i}." for i, _ in enumerate(QUESTIONS, 1)}
    assert any(line.startswith("6. IRF1: best post-hoc;") for line in lines)
    # The fixture's strategies are alike but for post-hoc, so coupling changes nothing.
    assert any(line.startswith("4. Of 12 comparisons") and " 0 can be told from chance" in line for line in lines)
    # Cross-strand weights of 0.1, 0.2 … 0.6 of the norm, own ones of 0.2.
    assert any(
        line.startswith("5. After the last epoch") and " 0.35 (" in line and "in 3 of 3" in line for line in lines
    )


def test_differences_from_the_paper_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Post-hoc is as the paper's, conjoined is not; a task without enough seeds is not tested."""
    table = {
        ("sim_200", "CJ-posthoc", "auroc"): (0.91, 0.003, 10),
        ("sim_200", "CJ-trained", "auroc"): (0.95, 0.003, 10),
    }
    monkeypatch.setattr(questions, "paper_table", lambda: table)
    results = Results.read(folder)
    line = next(x for x in summary(results) if x.startswith("1. sim_200: of 2 strategies"))
    assert "1 can be told from" in line and "conjoined by -0.0" in line and "post-hoc by" not in line
    one = Results({k: v for k, v in results.runs.items() if k[2] == 1})
    assert any("at most -0.0" in x and "(conjoined)" in x and "too few seeds" in x for x in summary(one))


def test_who_overfits_is_counted_by_sign_and_test(runs: Runs, paper: None) -> None:
    del paper
    lines = summary(Results(runs))
    line = next(x for x in lines if x.startswith("3. The gap") and "for rcps than for post-hoc" in x)
    assert "in 1 of 2 tasks; told from chance in" in line or "in 2 of 2 tasks; told from chance in" in line
    assert "atac +5 (6 of 6, p –)" in line
    by_size = next(x for x in lines if x.startswith("3. IRF1: gap in the loss, change per halving"))
    assert "rcps +0.1" in by_size or "rcps +0.2" in by_size
    assert "post-hoc over rcps" not in by_size
    lead = next(x for x in lines if x.startswith("3. IRF1: lead in the test metric, change per halving"))
    assert "post-hoc over rcps +0.0" in lead and "standard " not in lead
    last = [x for x in lines if x.startswith("3. IRF1: gap in the loss at the last epoch, change per ")]
    assert len(last) == 2 and all("rcps +0." in x and "(6 of 6" in x and "post-hoc" not in x for x in last)


def test_no_verdict_of_two_seeds(folder: Path, paper: None) -> None:
    del paper
    results = Results.read(folder)
    few = Results({k: v for k, v in results.runs.items() if k[0] != "IRF1" or k[2] < 3})
    lines = summary(few)
    assert not any(x.startswith("2. IRF1: post-hoc − conjoined") for x in lines)
    assert any(x.startswith("2. post-hoc − conjoined of fewer than 3 seeds") and "IRF1 +0.0" in x for x in lines)
    assert any(x.startswith("6. IRF1: best ") and "too few to tell" in x for x in lines)
    assert not any(x.startswith("3.") and "IRF1" in x for x in lines)
