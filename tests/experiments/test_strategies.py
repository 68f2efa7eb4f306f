"""Every strategy is what its name says."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from rcproof.errors import RcproofError
from rcproof.experiments.scores import Labels, both_strands, mean_of, predict
from rcproof.experiments.strategies import (
    STRATEGIES,
    chain,
    coupled_layers_of,
    coupled_set,
    equal_width,
    movement,
    network,
    parameters,
    started,
    strategies_of,
    strategy,
    twin,
)
from rcproof.experiments.tasks import TASKS, Task, data_of
from rcproof.experiments.training import Settings, train
from rcproof.models import build
from rcproof.nn.couple import split_weight
from rcproof.strand import rc
from tests.experiments.tiny import BINARY, SIMULATED, STRANDED, TINY, UNSTRANDED


def settled(task: Task) -> nn.Module:
    """A standard network whose batch norm has seen data."""
    model, data = network(task.kind, strategy("standard"), 3, task.sizes), data_of(task)
    settings = Settings(batch=16, epochs=1, lr=1e-2)
    train(model, data, task.action, task.objective(data), settings, 1)
    return model.eval()


def close(a: Any, b: Any) -> bool:
    pairs = [(a, b)] if torch.is_tensor(a) else zip(a, b, strict=True)
    return all(bool((x - y).abs().max() <= 1e-5 * (1 + y.abs().max())) for x, y in pairs)


def flipped(answer: Any) -> Any:
    return answer if torch.is_tensor(answer) else tuple(torch.flip(y, tuple(range(1, y.dim()))) for y in answer)


@pytest.mark.parametrize("task", TINY, ids=lambda t: t.name)
def test_post_hoc_is_the_mean_over_strands(task: Task) -> None:
    net, data = settled(task), data_of(task)
    inputs, _ = data.test.rows(slice(None))
    turned = (torch.flip(inputs[0], (1, 2)), *(torch.flip(c, (2,)) if c.dim() == 3 else c for c in inputs[1:]))
    with torch.no_grad():
        forward, backward = net(*inputs), flipped(net(*turned))
        model = started(strategy("post-hoc"), net).eval()
        assert close(model(*inputs), mean_of(forward, backward))
        assert not close(forward, backward)  # there are two strands to average
    found = both_strands(net, data.test, task.action, task.objective(data))
    assert close(found[0], forward) and close(found[1], backward)
    assert close(predict(model, data.test), mean_of(*found))


def test_post_hoc_after_the_sigmoid_is_the_mean_of_probabilities() -> None:
    net, data = settled(BINARY), data_of(BINARY)
    model = started(strategy("post-hoc-sigmoid"), net).eval()
    x = data.test.inputs[0].float()
    with torch.no_grad():
        expected = (net(x).sigmoid() + net(rc(x)).sigmoid()) / 2
        assert close(model(x), expected)
        assert not close(model(x), started(strategy("post-hoc"), net).eval()(x).sigmoid())


def test_max_is_the_maximum() -> None:
    model = network("binary", strategy("conjoined-max"), 5, BINARY.sizes).eval()
    net, x = model.get_submodule("net"), data_of(BINARY).test.inputs[0].float()
    with torch.no_grad():
        assert close(model(x), torch.maximum(net(x), net(rc(x))))
    same = network("binary", strategy("conjoined"), 5, BINARY.sizes)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), same.parameters(), strict=True))


@pytest.mark.parametrize("task", TINY, ids=lambda t: t.name)
@pytest.mark.parametrize("name", ["warm-rcps", "warm-rcps-cross", "warm-conjoined"])
def test_warm_start_begins_as_post_hoc(task: Task, name: str) -> None:
    net, data = settled(task), data_of(task)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    model = started(strategy(name), net)
    assert close(predict(model, data.test), predict(started(strategy("post-hoc"), net), data.test))
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    if name != "warm-conjoined":
        assert coupled_layers_of(model), "nothing is coupled"
        assert parameters(model) > parameters(net)


@pytest.mark.parametrize("task", TINY, ids=lambda t: t.name)
def test_cross_strand_weights_alone(task: Task) -> None:
    data = data_of(task)
    model = started(strategy("warm-rcps-cross"), settled(task))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    settings = Settings(batch=16, epochs=2, patience=None, lr=1e-2)
    objective = task.objective(data)
    # Keep the last weights, whatever they are worth.
    train(model, data, task.action, _LastIsBest(objective), settings, 1, start=True)  # type: ignore[arg-type]
    moved = movement(before, model)
    assert all(m["own"] == 0.0 for m in moved.values()) and any(m["cross"] > 0 for m in moved.values())
    coupled = {f"{n}.weight" for n in coupled_layers_of(model)}
    for name, value in model.state_dict().items():
        if name in coupled:
            own, first = (split_weight(coupled_layers_of(model)[name.removesuffix(".weight")], w)[0]
                          for w in (value, before[name]))  # fmt: skip
            assert torch.equal(own, first), name
        else:
            assert torch.equal(value, before[name]), name
    inputs, _ = data.test.rows(slice(None))
    turned, _ = task.action(inputs, data.test.rows(slice(None))[1])
    with torch.no_grad():
        assert close(flipped(model.eval()(*turned)), model(*inputs))  # still equivariant


class _LastIsBest:
    best, highest = "turn", True

    def __init__(self, objective: Any) -> None:
        self.objective, self.turns = objective, 0

    def loss(self, answers: Any, targets: Any) -> Any:
        return self.objective.loss(answers, targets)

    def metrics(self, answers: Any, split: Any) -> dict[str, float]:
        self.turns += 1
        return {**self.objective.metrics(answers, split), "turn": float(self.turns)}


@pytest.mark.parametrize("name", [s.name for s in STRATEGIES.values() if s.kind == "trained" and s.name != "standard"])
@pytest.mark.parametrize("task", [SIMULATED, BINARY, STRANDED, UNSTRANDED], ids=lambda t: t.name)
def test_networks_that_should_be_equivariant_are(task: Task, name: str) -> None:
    found = strategy(name)
    if task.kind not in found.tasks or found.network == "standard":
        pytest.skip("no such network")
    model, data = network(task.kind, found, 2, task.sizes).eval(), data_of(task)
    inputs, targets = data.test.rows(slice(None))
    turned, _ = task.action(inputs, targets)
    with torch.no_grad():
        answer = model(*inputs)
        assert close(flipped(model(*turned)), answer)
        first = answer if torch.is_tensor(answer) else answer[1]
        assert float(first.std()) > 0  # and it says something
    # The standard network is not: what is compared could differ.
    standard = network(task.kind, strategy("standard"), 2, task.sizes).eval()
    with torch.no_grad():
        assert not close(flipped(standard(*turned)), standard(*inputs))


@pytest.mark.parametrize("name", ["rcps-mean", "cj-rcps-early", "cj-rcps-later", "cj-rcps-all", "rcps-equal"])
def test_twins_of_the_simulated_net_train_alike(name: str) -> None:
    data, curves = data_of(SIMULATED), []
    for one in (name, twin("simulated", name)):
        model = network("simulated", strategy(one), 4, SIMULATED.sizes)
        curves.append(train(model, data, SIMULATED.action, Labels(), Settings(batch=32, epochs=3), 4).curves)
    for key in ("train_loss", "valid_loss"):
        assert curves[0][key] == pytest.approx(curves[1][key], rel=1e-4)
    # Rounding may swap pairs of nearly equal scores.
    assert curves[0]["valid_auroc"] == pytest.approx(curves[1]["valid_auroc"], abs=3e-3)


def test_no_twin_that_is_none() -> None:
    data, losses = data_of(SIMULATED), {}
    for name in strategies_of("simulated"):
        if strategy(name).kind == "trained":
            model = network("simulated", strategy(name), 4, SIMULATED.sizes)
            settings = SIMULATED.settings_for(strategy(name).augment, started=False)
            losses[name] = tuple(train(model, data, SIMULATED.action, Labels(), settings, 4).curves["valid_loss"])
    assert len(set(losses.values())) == len(losses)
    assert all(twin(kind, name) == name for kind in ("binary", "profile") for name in STRATEGIES)


def test_coupling_path_of_the_binary_net() -> None:
    sets = {n: coupled_set("binary", n, {}) for n in ("cj-rcps-all", "cj-rcps-later", "cj-rcps-early", "rcps")}
    assert sets == {
        "cj-rcps-all": [],
        "cj-rcps-later": ["conv2"],
        "cj-rcps-early": ["conv3"],
        "rcps": ["conv2", "conv3"],
    }


@pytest.mark.parametrize(("kind", "sizes"), [("binary", {"length": 400}), ("profile", {"filters": 12, "n_control": 0})])
def test_equal_parameters(kind: str, sizes: dict[str, Any]) -> None:
    wanted = parameters(build(kind, "cj-rcps-all", **sizes))
    for name in ("rcps", "cj-rcps-early", "cj-rcps-later"):
        width = equal_width(kind, name, sizes)
        count = parameters(build(kind, name, **{**sizes, "filters": width}))
        neighbours = [parameters(build(kind, name, **{**sizes, "filters": width + d})) for d in (-1, 1)]
        assert abs(count - wanted) <= min(abs(n - wanted) for n in neighbours)
        assert abs(count - wanted) / wanted < 0.08
        assert parameters(network(kind, strategy(f"{name}-equal"), 1, sizes)) == count


def test_chains_have_their_base_first() -> None:
    assert chain("binary", ["warm-post-hoc"]) == [["standard-aug", "warm-standard", "warm-post-hoc"]]
    assert chain("simulated", ["cj-rcps-all", "rcps", "post-hoc-noaug"]) == [["rcps"], ["standard", "post-hoc-noaug"]]
    for task in TASKS.values():
        for names in chain(task.kind, strategies_of(task.kind)):
            done: set[str | None] = {None}
            for name in names:
                assert strategy(name).base in done
                done.add(name)


@pytest.mark.parametrize("name", ["warm-rcps", "warm-conjoined", "warm-standard"])
def test_whole_warm_starts_train_batch_norm(name: str) -> None:
    """Its statistics too, or the controls would not be fair."""
    data = data_of(SIMULATED)
    model = started(strategy(name), settled(SIMULATED))
    before = {k: v.clone() for k, v in model.named_buffers()}
    settings = Settings(batch=32, epochs=1, patience=None, lr=1e-3)
    train(model, data, SIMULATED.action, _LastIsBest(Labels()), settings, 1, start=True)  # type: ignore[arg-type]
    moved = {k for k, v in model.named_buffers() if not torch.equal(v, before[k])}
    assert any("running_mean" in k for k in moved) and any("running_var" in k for k in moved)


def test_unknown_strategy() -> None:
    with pytest.raises(RcproofError, match=r"strategy: got 'siamese'; expected standard, post-hoc-noaug, "):
        strategy("siamese")
