"""Tiny tasks: all the machinery, in seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("lightning", reason="needs the extra `experiments`")

from rcproof.experiments import questions
from tests.experiments.made import Runs, growing_gaps, write_results


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or fills the user's cache."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("RCPROOF_CACHE", str(folder))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Result files in which post-hoc is better than conjoined by 0.01 and a little, in every seed."""
    return write_results(tmp_path / "results")


@pytest.fixture
def runs() -> Runs:
    """Results whose gaps between training and test data are known."""
    return growing_gaps()


@pytest.fixture
def paper(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {("sim_200", "CJ-posthoc", "auroc"): (0.9645, 0.003, 10),
             ("sim_200", "CJ-trained", "auroc"): (0.9442, 0.003, 10),
             ("sim_200", "Standard-RCAug", "auroc"): (0.9495, 0.004, 10)}  # fmt: skip
    monkeypatch.setattr(questions, "paper_table", lambda: table)
