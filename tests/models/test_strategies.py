"""Every architecture in every strategy: sizes, equivariance, and a known answer beside it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rcproof.conjoined import Conjoined
from rcproof.errors import RcproofError
from rcproof.models import STRATEGIES, TASKS, BinaryNet, ProfileNet, build, conjoin, coupled_layers
from rcproof.nn.couple import coupled_layers as layers_with_b
from rcproof.strand import rc
from tests.models.test_nets import inputs, shaken

SMALL: dict[str, dict[str, Any]] = {
    "simulated": {"length": 117, "filters": 6},  # 97 positions: pooling does not centre
    "binary": {"length": 211, "filters": 4},
    "profile": {"length": 400, "filters": 6},
}
TIED = [s for s in STRATEGIES if s not in ("standard", "conjoined")]
EVERY = [(task, strategy) for task in TASKS for strategy in STRATEGIES]


def outputs(model: nn.Module, *xs: Tensor) -> list[Tensor]:
    found = model(*xs)
    return list(found) if isinstance(found, tuple) else [found]


def error(got: list[Tensor], want: list[Tensor]) -> float:
    assert [g.shape for g in got] == [w.shape for w in want]
    return max(((g - w).abs().max() / w.abs().max()).item() for g, w in zip(got, want, strict=True))


def asymmetry(model: nn.Module, task: str, xs: list[Tensor]) -> float:
    net = TASKS[task](**SMALL[task])
    mirrored = [rc(x, rep) for x, rep in zip(xs, net.input_representations, strict=True)]
    want = [rc(y, rep) for y, rep in zip(outputs(model, *xs), net.output_representations, strict=True)]
    return error(outputs(model, *mirrored), want)


@pytest.mark.parametrize(("task", "strategy"), EVERY)
def test_equivariant_and_alive(task: str, strategy: str) -> None:
    model = shaken(build(task, strategy, seed=3, **SMALL[task]))
    xs = inputs(TASKS[task](**SMALL[task]))
    with torch.no_grad():
        found = asymmetry(model, task, xs)
        ys = outputs(model, *xs)
    if strategy == "standard":
        assert found > 1e-2
    else:
        assert found <= 1e-12
    for y in ys:  # neither constant nor dead: an all-zero network is equivariant too
        assert y.std(dim=0).min() > 1e-3


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("strategy", TIED)
def test_without_cross_strand_weights_it_is_conjoined(task: str, strategy: str) -> None:
    """Known answer: B = 0 gives the conjoined network with the same A; any other B does not."""
    model = shaken(build(task, strategy, seed=5, **SMALL[task]))
    net = TASKS[task](**SMALL[task])
    filters = SMALL[task]["filters"] // (2 if strategy == "rcps-half" else 1)
    branch = TASKS[task](**{**SMALL[task], "filters": filters})
    names = set(layers_with_b(model))
    own = {}
    zeroed = copy.deepcopy(model)
    for name, value in model.state_dict().items():
        plain = name.removeprefix("final.0.") if name.endswith(("dense.weight", "dense.bias")) else name
        plain = plain if plain in branch.state_dict() else f"dense.{name.rpartition('.')[2]}"
        if plain.removesuffix(".weight") in names:
            half = value.shape[1] // 2
            zeroed.state_dict()[name][:, half:] = 0
            value = value[:, :half]
        own[plain] = value
    branch.load_state_dict(own)
    branch.double().eval()
    xs = inputs(net)
    with torch.no_grad():
        want = outputs(conjoin(branch), *xs)
        if strategy.startswith("rcps") and task != "profile":  # a sum of strands in place of the mean of logits
            want = [2 * w - branch.dense.bias for w in want]
        assert error(outputs(zeroed, *xs), want) <= 1e-12
        if names:
            assert error(outputs(model, *xs), want) > 1e-2


@pytest.mark.parametrize("task", TASKS)
def test_conjoined_is_both_strands_averaged(task: str) -> None:
    net = shaken(TASKS[task](**SMALL[task]))
    xs = inputs(net)
    with torch.no_grad():
        first = outputs(net, *xs)
        other = outputs(net, *[rc(x, r) for x, r in zip(xs, net.input_representations, strict=True)])
        want = [(a + rc(b, r)) / 2 for a, b, r in zip(first, other, net.output_representations, strict=True)]
        assert error(outputs(conjoin(net), *xs), want) <= 1e-12
        assert error(first, want) > 1e-2


@pytest.mark.parametrize("pooling", ["sum", "mean"])
def test_rcps_pooling_is_the_sum_of_strands_before_the_dense_layer(pooling: str) -> None:
    model = build("simulated", "rcps", seed=1, pooling=pooling, **SMALL["simulated"])
    net = build("simulated", "standard", seed=1, **SMALL["simulated"])  # the same seed draws the same weights
    shaken(net)
    model = shaken(model)
    for name, value in model.state_dict().items():
        value.copy_(dict(net.state_dict())[name if name in net.state_dict() else f"dense.{name.rpartition('.')[2]}"])
    trunk, head = net.parts()
    (x,) = inputs(net)
    with torch.no_grad():
        a, b = trunk(x), trunk(rc(x))
        want = head(a + b) if pooling == "sum" else head((a + b) / 2)
        assert error([model(x)], [want]) <= 1e-12


@pytest.mark.parametrize(("task", "strategy"), EVERY)
def test_seed(task: str, strategy: str) -> None:
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    first = build(task, strategy, seed=11, **SMALL[task])
    assert torch.equal(torch.random.get_rng_state(), state)
    second, third = build(task, strategy, seed=11, **SMALL[task]), build(task, strategy, seed=12, **SMALL[task])
    for (name, a), b, c in zip(
        first.state_dict().items(), second.state_dict().values(), third.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b), name
        if name.endswith("weight") and "norm" not in name:
            assert not torch.equal(a, c), name
    assert first.training
    free = build(task, strategy, **SMALL[task])
    assert not torch.equal(torch.random.get_rng_state(), state)
    assert not torch.equal(next(free.parameters()), next(first.parameters()))


def test_coupled_weights_are_drawn_over_the_whole_fan_in() -> None:
    weight = build("binary", "rcps", seed=0).conv2.weight  # (16, 32, 14)
    limit = (6 / (32 * 14 + 16 * 14)) ** 0.5
    for half in (weight[:, :16], weight[:, 16:]):
        assert 0.98 * limit < half.abs().max() <= limit


@pytest.mark.parametrize("task", TASKS)
def test_coupled_layers(task: str) -> None:
    net = TASKS[task](**SMALL[task])
    for strategy in STRATEGIES:
        names = coupled_layers(net, strategy)
        assert set(names) <= set(net.couplable)
        built = build(task, strategy, seed=0, **SMALL[task])
        assert set(layers_with_b(built)) == set(names)


def test_coupled_layers_of_the_binary_and_profile_nets() -> None:
    binary, profile = BinaryNet(length=100, filters=2), ProfileNet(length=350, filters=2, dilated_layers=2)
    assert coupled_layers(binary, "rcps") == ("conv2", "conv3")
    assert coupled_layers(binary, "cj-rcps-later") == ("conv3", "dense")
    assert coupled_layers(profile, "cj-rcps-early") == ("dilated.0", "dilated.1")
    assert coupled_layers(profile, "cj-rcps-later") == ("profile_head", "counts_head", "profile_out")
    chosen = build("binary", "cj-rcps-all", coupled=["conv3"], seed=0, **SMALL["binary"])
    assert layers_with_b(chosen) == ("conv3",)
    assert layers_with_b(build("binary", "cj-rcps-all", coupled=[], seed=0, **SMALL["binary"])) == ()


def test_coupling_the_dense_layer_adds_no_functions() -> None:
    """½(A + B)(a + b): the coupled dense layer equals an uncoupled one with weight A + ρ-reversed B."""
    model = shaken(build("binary", "cj-rcps-all", seed=2, **SMALL["binary"]))
    plain = shaken(build("binary", "cj-rcps-early", seed=2, **SMALL["binary"]))
    state = dict(model.state_dict())
    a, b = state["dense.weight"].chunk(2, dim=1)
    state["dense.weight"] = a + b.flip(1)
    plain.load_state_dict(state)
    (x,) = inputs(BinaryNet(**SMALL["binary"]))
    with torch.no_grad():
        assert error([plain(x)], [model(x)]) <= 1e-12


def test_rcps_training_lowers_the_loss_and_stays_equivariant() -> None:
    for task in TASKS:
        model = build(task, "rcps", seed=0, **SMALL[task]).double()
        xs = inputs(TASKS[task](**SMALL[task]), examples=8)
        targets = [torch.ones_like(y) for y in outputs(model, *xs)]
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        losses = []
        for _ in range(12):
            loss = sum(((y - t) ** 2).mean() for y, t in zip(outputs(model, *xs), targets, strict=True))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[union-attr]
            optimizer.step()
            losses.append(float(loss.detach()))  # type: ignore[union-attr]
        assert losses[-1] < 0.9 * losses[0]
        assert asymmetry(model.eval(), task, xs) <= 1e-10


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_final(strategy: str) -> None:
    logits = shaken(build("binary", strategy, seed=4, **SMALL["binary"]))
    chances = shaken(build("binary", strategy, seed=4, final="sigmoid", **SMALL["binary"]))
    (x,) = inputs(BinaryNet(**SMALL["binary"]))
    with torch.no_grad():
        torch.testing.assert_close(chances(x), torch.sigmoid(logits(x)), rtol=1e-12, atol=0)


def test_conjoined_is_a_conjoined() -> None:
    model = build("profile", "conjoined", seed=0, **SMALL["profile"])
    assert isinstance(model, Conjoined)
    assert [str(r) for r in model.inputs] == ["reversal", "fixed", "length"]


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("dna", "rcps"), {}, "task: got 'dna'; expected simulated, binary, profile"),
        (("binary", "rcp"), {}, f"strategy: got 'rcp'; expected {', '.join(STRATEGIES)}"),
        (("binary", "rcps"), {"pooling": "max"}, "pooling: got 'max'; expected sum or mean"),
        (
            ("profile", "rcps"),
            {"final": "sigmoid"},
            "final of a profile network: got 'sigmoid'; expected None: logits and log counts",
        ),
        (
            ("binary", "standard"),
            {"coupled": ["conv2"]},
            "coupled layers of the standard strategy: got ['conv2']; expected none",
        ),
        (("binary", "rcps-half"), {"filters": 5}, "filters to halve: got 5; expected an even number"),
    ],
)
def test_errors(arguments: tuple[str, str], options: dict[str, Any], message: str) -> None:
    with pytest.raises(RcproofError) as caught:
        build(*arguments, **options)
    assert str(caught.value) == message


def test_a_layer_that_cannot_be_coupled() -> None:
    for name in ("conv1", "conv9"):
        with pytest.raises(RcproofError, match=name):
            build("binary", "rcps", coupled=[name], seed=0, **SMALL["binary"])
