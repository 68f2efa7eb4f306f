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
from rcproof.models.strategies import tie_strands
from rcproof.nn.couple import coupled_layers as layers_with_b
from rcproof.strand import rc
from tests.models.test_nets import conv, inputs, norm, shaken

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
        if task != "profile":  # a sum of strands in place of the mean of logits
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
@pytest.mark.parametrize("strategy", ["rcps", "cj-rcps-early", "cj-rcps-later", "cj-rcps-all"])
def test_pooling_joins_the_strands_before_the_dense_layer(strategy: str, pooling: str) -> None:
    model = build("simulated", strategy, seed=1, pooling=pooling, **SMALL["simulated"])
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


COUPLED = [
    ("binary", "rcps", ("conv2", "conv3")),
    ("binary", "rcps-half", ("conv2", "conv3")),
    ("binary", "cj-rcps-early", ("conv3",)),
    ("binary", "cj-rcps-later", ("conv2",)),
    ("binary", "cj-rcps-all", ()),
    ("simulated", "rcps", ()),
    ("simulated", "cj-rcps-early", ()),
    ("simulated", "cj-rcps-later", ()),
    ("simulated", "cj-rcps-all", ()),
    ("profile", "rcps", tuple(f"dilated.{i}" for i in range(6))),
    ("profile", "rcps-half", tuple(f"dilated.{i}" for i in range(6))),
    ("profile", "cj-rcps-early", ("dilated.3", "dilated.4", "dilated.5")),
    ("profile", "cj-rcps-later", ("dilated.0", "dilated.1", "dilated.2", "dilated.3")),
    ("profile", "cj-rcps-all", ()),
]


@pytest.mark.parametrize(("task", "strategy", "names"), COUPLED)
def test_coupled_layers_by_name(task: str, strategy: str, names: tuple[str, ...]) -> None:
    assert coupled_layers(TASKS[task](**SMALL[task]), strategy) == names


def test_coupled_layers_of_an_odd_trunk() -> None:
    """Three dilated layers: the first half is one of them."""
    net = ProfileNet(length=350, filters=2, dilated_layers=3)
    assert coupled_layers(net, "cj-rcps-early") == ("dilated.1", "dilated.2")
    assert coupled_layers(net, "cj-rcps-later") == ("dilated.0", "dilated.1")
    with pytest.raises(RcproofError, match="strategy: got 'early'; expected standard, "):
        coupled_layers(net, "early")


def test_coupled_layers_of_your_own() -> None:
    chosen = build("binary", "cj-rcps-all", coupled=["conv3"], seed=0, **SMALL["binary"])
    assert layers_with_b(chosen) == ("conv3",)
    assert layers_with_b(build("binary", "rcps", coupled=[], seed=0, **SMALL["binary"])) == ()
    heads = build("profile", "cj-rcps-all", coupled=["profile_head", "counts_head"], seed=0, **SMALL["profile"])
    assert set(layers_with_b(heads)) == {"profile_head", "counts_head"}


# The convolutions of each block: the hybrids and RCPS in the words of the paper's code.
BLOCKS = {
    "binary": {
        "rcps": (("1",), ("2",), ("3",)),
        "cj-rcps-early": (("1", "2"), ("3",)),
        "cj-rcps-later": (("1",), ("2", "3")),
        "cj-rcps-all": (("1", "2", "3"),),
    },
    "profile": {
        "rcps": (("conv",), *((str(i),) for i in range(6))),
        "cj-rcps-early": (("conv", "0", "1", "2"), ("3",), ("4",), ("5",)),
        "cj-rcps-later": (("conv",), ("0",), ("1",), ("2",), ("3", "4", "5")),
        "cj-rcps-all": (("conv", "0", "1", "2", "3", "4", "5"),),
    },
}


def binary_steps(model: nn.Module, block: tuple[str, ...], x: Tensor) -> Tensor:
    for i in block:
        x = norm(model, f"norm{i}", conv(model, f"conv{i}", x)).clamp(min=0)
    return x


def profile_steps(model: nn.Module, block: tuple[str, ...], x: Tensor) -> Tensor:
    for i in block:
        if i == "conv":
            x = conv(model, "conv", x).clamp(min=0)
        else:
            cut = 2 ** (int(i) + 1)
            y = conv(model, f"dilated.{i}", x, cut).clamp(min=0)
            x = x[:, : y.shape[1], cut : x.shape[2] - cut] + y  # the strand's own half of a stacked input
    return x


def by_blocks(task: str, strategy: str, model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """The features of both strands: each block on the stacked tensor and on its ρ, the two answers stacked."""
    steps = binary_steps if task == "binary" else profile_steps
    for block in BLOCKS[task][strategy]:
        own, other = steps(model, block, x), steps(model, block, x.flip(1, 2))
        x = torch.cat([own, other.flip(1, 2)], dim=1)
    return own, other


@pytest.mark.parametrize("strategy", BLOCKS["binary"])
def test_binary_is_the_papers_blocks(strategy: str) -> None:
    model = shaken(build("binary", strategy, seed=8, **SMALL["binary"]))
    (x,) = inputs(BinaryNet(**SMALL["binary"]))
    with torch.no_grad():
        own, other = by_blocks("binary", strategy, model, x)
        pooled = [y.unfold(2, 40, 20).amax(dim=3) for y in (own, other)]
        dense = model.get_submodule("final.dense")
        want = (pooled[0] + pooled[1]).flatten(1) @ dense.weight.T + dense.bias
        assert error([model(x)], [want]) <= 1e-12


@pytest.mark.parametrize("strategy", BLOCKS["profile"])
def test_profile_is_the_papers_blocks(strategy: str) -> None:
    model = shaken(build("profile", strategy, seed=8, **SMALL["profile"]))
    xs = inputs(ProfileNet(**SMALL["profile"]))
    x, logcount, track = xs
    with torch.no_grad():
        counts, profiles = [], []
        strands = by_blocks("profile", strategy, model, x)
        for y, control in zip(strands, (track, track.flip(2)), strict=True):
            pooled = torch.cat([y.mean(dim=2), logcount], dim=1)
            counts.append(pooled @ model.counts_head.weight.T + model.counts_head.bias)
            profiles.append(conv(model, "profile_out", torch.cat([conv(model, "profile_head", y), control], dim=1)))
        want = [(counts[0] + counts[1].flip(1)) / 2, (profiles[0] + profiles[1].flip(1, 2)) / 2]
        assert error(outputs(model, *xs), want) <= 1e-12


@pytest.mark.parametrize("task", BLOCKS)
def test_every_strategy_has_its_own_functions(task: str) -> None:
    """With one set of weights, those of ``rcps``, each strategy leaves other parts of them out."""
    rcps = shaken(build(task, "rcps", seed=8, **SMALL[task]))
    xs = inputs(TASKS[task](**SMALL[task]))
    found = {}
    for strategy in BLOCKS[task]:
        model = shaken(build(task, strategy, seed=8, **SMALL[task]))
        state = {k: v[tuple(map(slice, model.state_dict()[k].shape))] for k, v in rcps.state_dict().items()}
        model.load_state_dict(state)
        with torch.no_grad():
            found[strategy] = outputs(model, *xs)
            for other in set(found) - {strategy}:
                assert error(found[strategy], found[other]) > 1e-2


def test_coupling_the_dense_layer_adds_no_functions() -> None:
    """½(A + B)(a + b): the coupled dense layer equals an uncoupled one with weight A + ρ-reversed B."""
    torch.manual_seed(2)
    net = BinaryNet(**SMALL["binary"])
    coupled = tie_strands(conjoin(net), ("conv2", "conv3", "dense"), net.input_shapes())
    model, plain = shaken(coupled), shaken(tie_strands(conjoin(net), ("conv2", "conv3"), net.input_shapes()))
    state = dict(model.state_dict())
    a, b = state["dense.weight"].chunk(2, dim=1)
    state["dense.weight"] = a + b.flip(1)
    plain.load_state_dict(state)
    (x,) = inputs(net)
    with torch.no_grad():
        assert error([plain(x)], [model(x)]) <= 1e-12
        rcps = shaken(build("binary", "rcps", **SMALL["binary"]))  # nor does it matter that RCPS joins strands before
        state = {k.replace("dense", "final.dense"): v / 2 if k == "dense.weight" else v for k, v in state.items()}
        rcps.load_state_dict(state)
        assert error([rcps(x)], [model(x)]) <= 1e-12


def test_coupling_the_profile_heads_adds_no_functions() -> None:
    """T4, T5: of coupled linear heads under a mean, only an equivariant part is seen, and uncoupled ones have it."""
    heads = ("profile_head", "counts_head", "profile_out")
    net = ProfileNet(**SMALL["profile"])
    chosen = (*coupled_layers(net, "cj-rcps-early"), *heads)
    model = shaken(build("profile", "rcps", coupled=chosen, seed=2, **SMALL["profile"]))
    plain = shaken(build("profile", "cj-rcps-early", seed=2, **SMALL["profile"]))
    state = dict(model.state_dict())
    a, b = state["counts_head.weight"].chunk(2, dim=1)
    state["counts_head.weight"] = a + b.flip(0, 1)
    a, b = (half.flatten(2) for half in state["profile_head.weight"].chunk(2, dim=1))
    b = b.flip(0, 1, 2)
    p, q = (half[:, :, 0] for half in state["profile_out.weight"].chunk(2, dim=1))
    # The inputs of profile_out are (plus, minus, scale 0, scale 1) of the strand, then mirrored of the other.
    own, control, swapped, other = p[:, :2], p[:, 2:], q[:, :2], q[:, 2:]
    mirrored = torch.einsum("ij,jck->ick", own.flip(0, 1) + other, b) + torch.einsum("ij,jck->ick", other.flip(0, 1), a)
    state["profile_head.weight"] = torch.einsum("ij,jck->ick", own, a) + mirrored
    bias = state["profile_head.bias"]
    state["profile_head.bias"] = own @ bias + other @ bias.flip(0)
    state["profile_out.weight"] = torch.cat([torch.eye(2, dtype=p.dtype), control + swapped.flip(1)], dim=1)[:, :, None]
    plain.load_state_dict(state)
    xs = inputs(net)
    with torch.no_grad():
        assert error(outputs(plain, *xs), outputs(model, *xs)) <= 1e-12


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
    for name in ("conv1", "conv9", "dense"):  # dense follows the sum of the strands
        with pytest.raises(RcproofError, match=name):
            build("binary", "rcps", coupled=[name], seed=0, **SMALL["binary"])
