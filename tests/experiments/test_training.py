"""Training: reproducible, stopped when it should be, left with the best weights; augmentation that augments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rcproof.experiments.dataset import Data, Split
from rcproof.experiments.scores import Labels, Objective, predict
from rcproof.experiments.strategies import network, strategy
from rcproof.experiments.tasks import Task, data_of
from rcproof.experiments.training import Batches, Settings, Trained, train
from tests.experiments.tiny import SIMULATED, STRANDED, TINY, UNSTRANDED


def trained(task: Task, name: str = "standard", seed: int = 1, **settings: Any) -> tuple[nn.Module, Trained]:
    found, data = strategy(name), data_of(task)
    model = network(task.kind, found, seed, task.sizes)
    how = replace(task.settings_for(found.augment, started=False), **settings)
    return model, train(model, data, task.action, task.objective(data), how, seed)


@pytest.mark.parametrize("task", TINY, ids=lambda t: t.name)
def test_same_seed_same_weights(task: Task) -> None:
    (first, one), (second, two), (other, _) = (trained(task, "conjoined", seed) for seed in (1, 1, 2))
    assert one.curves == two.curves and one.best_epoch == two.best_epoch
    for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_new_memory_is_filled_again_after_training(monkeypatch: pytest.MonkeyPatch) -> None:
    option: Any = torch.utils.deterministic
    seen = []
    monkeypatch.setattr(Labels, "loss", _watched(Labels.loss, lambda: seen.append(option.fill_uninitialized_memory)))
    for before in (True, False):
        monkeypatch.setattr(option, "fill_uninitialized_memory", before)
        trained(SIMULATED, epochs=1)
        assert option.fill_uninitialized_memory is before
    assert seen and not any(seen)


def _watched(function: Any, watch: Callable[[], None]) -> Any:
    def watched(*args: Any) -> Any:
        watch()
        return function(*args)

    return watched


def test_training_learns() -> None:
    model, found = trained(SIMULATED, "conjoined", epochs=60, lr=1e-2, patience=None)
    assert found.curves["fit_loss"][-1] < 0.5 * found.curves["fit_loss"][0]
    data = data_of(SIMULATED)
    assert Labels().metrics(predict(model, data.test), data.test)["auroc"] > 0.8


@pytest.mark.parametrize("patience", [1, 3])
def test_stops_after_patience_epochs_without_improvement(patience: int) -> None:
    # Nothing is learnt at a learning rate of zero. (Batch norm's statistics move, so the net is put to eval mode.)
    found = stopped(patience)
    assert found.epochs == patience + 1  # the first epoch is an improvement on nothing
    assert found.stopped_early
    assert stopped(patience + 1).epochs != patience + 1  # a wrong patience is seen


def stopped(patience: int, settle: int = 0) -> Trained:
    data = data_of(SIMULATED)
    model = network("simulated", strategy("standard"), 1, SIMULATED.sizes)
    model.get_parameter("dense.bias").requires_grad_(False)  # which freezes the statistics
    settings = Settings(batch=32, epochs=50, patience=patience, settle=settle, lr=0.0)
    return train(model, data, SIMULATED.action, Labels(), settings, 1)


@pytest.mark.parametrize("settle", [0, 60])
def test_patience_counts_from_the_best_epoch(settle: int) -> None:
    _, found = trained(SIMULATED, epochs=200, patience=4, settle=settle, lr=3e-2)
    losses = found.curves["valid_loss"]
    assert found.stopped_early and len(losses) == found.epochs < 200
    looked = losses[max(0, settle // 3 - 1) :]  # three steps an epoch
    assert looked.index(min(looked)) == len(looked) - 1 - 4
    if settle:  # without, it stops before
        assert losses.index(min(losses)) < len(losses) - 1 - 4


@pytest.mark.parametrize(("settle", "epochs"), [(0, 3), (9, 5), (10, 6), (12, 6)])
def test_no_stop_before_the_statistics_settle(settle: int, epochs: int) -> None:
    # Three steps an epoch, and no epoch is an improvement but the first that is looked at.
    assert stopped(2, settle).epochs == epochs


def test_all_epochs_without_patience() -> None:
    _, found = trained(SIMULATED, epochs=5, patience=None, lr=0.0)
    assert found.epochs == 5 and not found.stopped_early and found.steps == 5 * 3


@pytest.mark.parametrize("task", [SIMULATED, STRANDED], ids=lambda t: t.name)
def test_best_weights_are_restored(task: Task) -> None:
    model, found = trained(task, epochs=60, patience=None, lr=3e-2)
    data = data_of(task)
    objective = task.objective(data)
    values = found.curves[f"valid_{objective.best}"]
    best = max(values) if objective.highest else min(values)
    assert found.best_epoch == values.index(best)
    now = objective.metrics(predict(model, data.valid), data.valid)[objective.best]  # type: ignore[arg-type]
    assert now == pytest.approx(best, rel=1e-6)
    assert found.best_epoch != len(values) - 1, "choose a case where the last epoch is not the best"


def counted(x: Tensor) -> Counter[bytes]:
    return Counter(row.to(torch.uint8).numpy().tobytes() for row in x)


def test_dataset_augmentation_trains_on_both_strands_once_an_epoch() -> None:
    split, action = data_of(SIMULATED).train, SIMULATED.action
    batches = Batches(split, 32, 5, action)
    assert len(batches) == 6 and batches.count == 192
    first = list(batches)
    seen = torch.cat([x for (x,), _ in first])
    expected = counted(split.inputs[0].float()) + counted(torch.flip(split.inputs[0].float(), (1, 2)))
    assert counted(seen) == expected
    assert counted(seen) != counted(torch.cat([split.inputs[0]] * 2).float())
    assert not torch.equal(seen, torch.cat([x for (x,), _ in batches]))  # shuffled anew


class Spy:
    """An objective that remembers what it was asked."""

    best, highest = "loss", False

    def __init__(self, objective: Objective) -> None:
        self.objective, self.batches = objective, []

    def loss(self, answers: Any, targets: Any) -> Tensor:
        self.batches.append([t.clone() for t in targets])
        return self.objective.loss(answers, targets)  # type: ignore[arg-type]

    def metrics(self, answers: Any, split: Split) -> dict[str, float]:
        return self.objective.metrics(answers, split)  # type: ignore[arg-type]


class Reader(nn.Module):
    """Remembers what it read."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.read = net, []

    def forward(self, *xs: Tensor) -> Any:
        if self.training:
            self.read.append([x.clone() for x in xs])
        return self.net(*xs)


@pytest.mark.parametrize("task", [STRANDED, UNSTRANDED], ids=lambda t: t.name)
def test_batch_augmentation_adds_the_reverse_complement(task: Task) -> None:
    data = data_of(task)
    spy, model = Spy(task.objective(data)), Reader(network("profile", strategy("standard"), 1, task.sizes))
    settings = replace(task.settings_for(augment=True, started=False), epochs=1)
    train(model, data, task.action, spy, settings, 1)  # type: ignore[arg-type]
    (x, *controls), (y,) = model.read[0], spy.batches[0]
    assert len(x) == len(y) == 32  # a batch of 16, twice
    assert torch.equal(x[16:], torch.flip(x[:16], (1, 2)))
    # Strands swap and reverse if there are two; one track only reverses; so do smoothing scales.
    expected = torch.flip(y[:16], (1, 2)) if task.stranded else torch.flip(y[:16], (2,))
    assert torch.equal(y[16:], expected)
    if controls:
        assert torch.equal(controls[0][16:], controls[0][:16])
        assert torch.equal(controls[1][16:], torch.flip(controls[1][:16], (2,)))
    else:  # the mutant: a forgotten strand swap
        assert not torch.equal(y[16:], torch.flip(y[:16], (2,)))


def test_frozen_weights_and_statistics_stay() -> None:
    data = data_of(SIMULATED)
    model = network("simulated", strategy("standard"), 1, SIMULATED.sizes)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("dense"))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    train(model, data, SIMULATED.action, Labels(), Settings(batch=32, epochs=2, patience=None, lr=1e-2), 1)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) is not name.startswith("dense"), name


def test_start_may_be_the_best() -> None:
    data = data_of(SIMULATED)
    model, _ = trained(SIMULATED, "conjoined", epochs=40, lr=1e-2)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    # A learning rate that destroys: the weights that training began with are the best.
    settings = Settings(batch=32, epochs=2, patience=None, lr=100.0)
    found = train(model, data, SIMULATED.action, Labels(), settings, 1, start=True)
    assert found.best_epoch == 0 and len(found.curves["valid_loss"]) == 3
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_test_split_is_not_looked_at() -> None:
    data = data_of(SIMULATED)
    spoiled = Data(data.train, data.valid, Split(data.test.inputs, (1 - data.test.targets[0],)))
    models = []
    for some in (data, spoiled):
        model = network("simulated", strategy("standard"), 1, SIMULATED.sizes)
        train(model, some, SIMULATED.action, Labels(), SIMULATED.settings, 1)
        models.append(model)
    assert all(torch.equal(a, b) for a, b in zip(*(m.state_dict().values() for m in models), strict=True))
