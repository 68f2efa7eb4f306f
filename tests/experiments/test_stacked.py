"""Seeds trained at once give what they give one by one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rcproof.errors import RcproofError
from rcproof.experiments.runs import Run, perform, perform_stacked, read
from rcproof.experiments.stacked import train_stacked
from rcproof.experiments.strategies import network, started, strategy
from rcproof.experiments.sweep import alike, plan, sweep
from rcproof.experiments.tasks import STARTED, Task, data_of
from rcproof.experiments.training import train
from tests.experiments.tiny import BINARY, SIMULATED, STRANDED, UNSTRANDED

SEEDS = [1, 2, 3]


@pytest.mark.parametrize(
    ("task", "name"),
    [(SIMULATED, "standard"), (SIMULATED, "standard-aug"), (SIMULATED, "conjoined-max"), (SIMULATED, "rcps"),
     (BINARY, "rcps"), (BINARY, "standard-aug"), (BINARY, "cj-rcps-early"), (STRANDED, "standard-aug"),
     (STRANDED, "conjoined"), (UNSTRANDED, "standard-aug"), (UNSTRANDED, "rcps")],
    ids=lambda v: v if isinstance(v, str) else v.name,
)  # fmt: skip
def test_stack_is_its_members(task: Task, name: str) -> None:
    found, data = strategy(name), data_of(task)
    # Keras' small epsilon would make steps of rounding noise, where the gradient is zero: of biases before batch norm.
    settings = replace(task.settings_for(found.augment, started=False), epochs=3, eps=1e-3)
    alone = [network(task.kind, found, s, task.sizes) for s in SEEDS]
    together = [network(task.kind, found, s, task.sizes) for s in SEEDS]
    one = [train(m, data, task.action, task.objective(data), settings, s) for m, s in zip(alone, SEEDS, strict=True)]
    many = train_stacked(together, data, task.action, task.objective(data), settings, SEEDS)
    for a, b in zip(one, many, strict=True):
        assert (a.epochs, a.steps, a.stopped_early) == (b.epochs, b.steps, b.stopped_early)
        for key in ("train_loss", "fit_loss", "valid_loss"):
            assert b.curves[key] == pytest.approx(a.curves[key], rel=1e-4)
    # The seeds differ from each other by more than from themselves.
    assert len({round(m.curves["valid_loss"][-1], 4) for m in many}) == len(SEEDS)
    for a, b, m in zip(alone, together, many, strict=True):
        for (key, v), w in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
            assert torch.allclose(v.float(), w.float(), rtol=1e-3, atol=1e-4), key
        assert m.last.keys() == b.state_dict().keys()


@pytest.mark.parametrize("settle", [0, 30])
def test_each_seed_stops_by_itself(settle: int) -> None:
    data = data_of(SIMULATED)
    settings = replace(SIMULATED.settings, epochs=60, patience=2, settle=settle, lr=3e-2, augment="none")
    models = [network("simulated", strategy("standard"), s, SIMULATED.sizes) for s in range(5)]
    found = train_stacked(models, data, SIMULATED.action, SIMULATED.objective(data), settings, range(5))
    assert len({t.epochs for t in found}) > 1 and all(t.stopped_early for t in found)
    for t in found:
        losses = t.curves["valid_loss"]
        assert len(losses) == t.epochs and t.steps == 3 * t.epochs
        looked = losses[max(0, settle // 3 - 1) :]
        assert looked.index(min(looked)) == len(looked) - 1 - 2
        assert t.best_epoch == t.curves["valid_auroc"].index(max(t.curves["valid_auroc"]))


@pytest.mark.parametrize("name", ["warm-rcps", "warm-conjoined", "warm-rcps-cross", "post-hoc-noaug"])
def test_runs_in_a_stack(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STARTED, "eps", 1e-3)  # as above
    runs = [Run("tiny", name, s) for s in SEEDS]
    perform_stacked(runs, SIMULATED, tmp_path / "many")
    for run in runs:
        many = read(run.path(tmp_path / "many"))
        one = perform(run, SIMULATED, tmp_path / "one")
        assert many.keys() == one.keys()
        assert many.get("steps") == one.get("steps") and many["settings"] == one["settings"]
        if many["settings"] is None:
            assert many["metrics"]["test"]["loss"] == pytest.approx(one["metrics"]["test"]["loss"], rel=1e-4)
        else:  # which epoch is kept may hang on rounding
            assert many["curves"]["valid_loss"] == pytest.approx(one["curves"]["valid_loss"], rel=1e-4)
        if "movement_last" in one:
            moved = [r["movement_last"]["dense"]["cross"] for r in (many, one)]
            assert moved[0] == pytest.approx(moved[1], rel=5e-2)


def test_sweep_of_stacks(tmp_path: Path) -> None:
    chains = plan(SIMULATED, ["post-hoc-noaug", "conjoined"], SEEDS)
    assert [len(group) for group in alike(chains)] == [3, 3]
    keys: list[str] = []
    assert sweep(chains, tmp_path, stacked=True, report=keys.append) == {"made": 9, "before": 0}
    assert len(set(keys)) == 9
    (tmp_path / "tiny/standard/2.json").unlink()
    assert sweep(chains, tmp_path, stacked=True) == {"made": 1, "before": 8}


def test_frozen_networks_are_not_stacked() -> None:
    data = data_of(SIMULATED)
    model = started(strategy("warm-rcps-cross"), network("simulated", strategy("standard"), 1, SIMULATED.sizes).eval())
    with pytest.raises(RcproofError, match="networks to train in a stack: got frozen parameters; expected all trained"):
        train_stacked([model], data, SIMULATED.action, SIMULATED.objective(data), SIMULATED.settings, [1])
