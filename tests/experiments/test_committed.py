"""The committed results agree with the settings of the package and with each other; mutants show what would be seen."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from rcproof.experiments.results import Results
from rcproof.experiments.strategies import strategy
from rcproof.experiments.tasks import SEEDS, TASKS

FOLDER = Path(__file__).parents[2] / "benchmarks/accuracy/results"
Runs = dict[tuple[str, str, int], dict[str, Any]]


@pytest.fixture(scope="module")
def runs() -> Runs:
    return Results.read(FOLDER).runs


def faults(runs: Runs) -> list[str]:
    """What is wrong, a line each."""
    found = []
    data: dict[str, Any] = {}
    for (name, of, seed), run in runs.items():
        task, how = TASKS[run["task"]], strategy(of)
        where = f"{name}/{of}/{seed}"
        if seed not in SEEDS or run["seed"] != seed or run["strategy"] != of:
            found.append(f"{where}: not its place")
        if how.kind != "evaluated":
            if not as_now(run, task.settings_for(how.augment, how.kind == "started").to_json()):
                found.append(f"{where}: trained otherwise")
            if run["best_epoch"] >= len(run["curves"]["valid_loss"]):
                found.append(f"{where}: kept an epoch that is none")
        if how.base is not None:
            base = runs.get((name, how.base, seed))
            if base is None or base["weights_sha256"] != run["base"]["weights_sha256"]:
                found.append(f"{where}: its base is another network")
        if run["data"]["sha256"] != data.setdefault(name, run["data"]["sha256"]):
            found.append(f"{where}: other data")
    return found


def as_now(run: dict[str, Any], settings: dict[str, Any]) -> bool:
    """Trained with these settings; or before there was ``settle``, where it changes nothing.

    Early stopping ends a run ``patience`` epochs after the lowest loss. It ends there too if it looks at losses from
    ``settle`` steps on, provided that the lowest one came later.
    """
    if "settle" in run["settings"]:
        return bool(run["settings"] == settings)
    if run["settings"] != {k: v for k, v in settings.items() if k != "settle"}:
        return False
    if settings["patience"] is None or not run["stopped_early"]:
        return True
    lowest = (run["epochs"] - settings["patience"]) * run["steps"] // run["epochs"]
    return bool(lowest >= settings["settle"])


def test_committed_results_agree(runs: Runs) -> None:
    assert faults(runs) == []


def first(runs: Runs, **wanted: Any) -> dict[str, Any]:
    return next(r for r in runs.values() if all(r[k] == v for k, v in wanted.items()))


MUTANTS: dict[str, Any] = {
    "trained otherwise": lambda runs: first(runs, strategy="conjoined")["settings"].update(lr=1e-2),
    "trained otherwise, or not told how": lambda runs: first(runs, strategy="conjoined").update(settings={}),
    "its base is another network": lambda runs: first(runs, strategy="standard-aug").update(weights_sha256="0" * 64),
    "not its place": lambda runs: first(runs, strategy="rcps").update(seed=1),
    "other data": lambda runs: first(runs, strategy="rcps")["data"]["sha256"].update(more="0" * 64),
    "kept an epoch that is none": lambda runs: first(runs, strategy="rcps").update(best_epoch=10_000),
}


@pytest.mark.parametrize("fault", MUTANTS)
def test_mutant_is_caught(runs: Runs, fault: str) -> None:
    broken = copy.deepcopy(runs)
    MUTANTS[fault](broken)
    assert any(line.endswith(fault.partition(",")[0]) for line in faults(broken))


def test_stopping_before_the_statistics_settle_is_caught(runs: Runs) -> None:
    run = copy.deepcopy(next(r for r in runs.values() if r.get("stopped_early") and "settle" not in r["settings"]))
    settings = {**run["settings"], "settle": 500}
    assert as_now(run, settings)
    run["epochs"], run["steps"] = 12, 12 * run["steps"] // run["epochs"]
    assert not as_now(run, {**settings, "settle": 10_000})
