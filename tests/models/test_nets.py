"""The branch networks: published sizes, shapes, and the steps spelled out with functions of torch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from rcproof.errors import RcproofError, ShapeError
from rcproof.models import BinaryNet, BranchNet, ProfileNet, SimulatedNet

NETS: list[BranchNet] = [
    SimulatedNet(),
    SimulatedNet(length=90, filters=4, tasks=2, pool_size=9, pool_stride=4),
    BinaryNet(),
    BinaryNet(length=400, filters=6, kernel_sizes=(7, 4, 3), pool_size=11, pool_stride=7, tasks=3),
    ProfileNet(),
    ProfileNet(length=400, filters=6, skip="average", n_control=1),
    ProfileNet(length=160, filters=5, dilated_layers=3, dilated_kernel_size=4, profile_kernel_size=20, n_control=0),
]


def type_of(net: BranchNet) -> str:
    return f"{type(net).__name__}-{net.length}"


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def inputs(net: BranchNet, seed: int = 0, examples: int = 3) -> list[Tensor]:
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(examples, *s, generator=g, dtype=torch.float64) for s in net.input_shapes()]


def shaken(net: nn.Module, seed: int = 0) -> nn.Module:
    """In float64 and eval mode, with biases and batch-norm statistics that are not their trivial first values."""
    g = torch.Generator().manual_seed(seed)
    for name, value in net.state_dict().items():
        if name.endswith(("bias", "running_mean")):
            value.copy_(0.3 * torch.randn(value.shape, generator=g))
        elif "running_var" in name or ("norm" in name and name.endswith("weight")):
            value.copy_(0.5 + torch.rand(value.shape, generator=g))
    return net.double().eval()


# By hand, from the published sizes. A convolution has out·in·k + out parameters, a batch norm 2·F.
SIMULATED = (20 * 4 * 21 + 20) + 2 * 20
BINARY = (16 * 4 * 15 + 16) + 2 * (16 * 16 * 14 + 16) + 3 * (2 * 16)
PROFILE = (64 * 4 * 21 + 64) + 6 * (64 * 64 * 3 + 64) + (2 * 64 * 75 + 2) + (2 * (2 + 2) + 2) + (2 * (64 + 1) + 2)


@pytest.mark.parametrize(
    ("net", "count"),
    [
        (SimulatedNet(), SIMULATED + 3 * (20 * 9) + 3),  # (200 − 20) / 20 = 9 positions
        (SimulatedNet(length=1000), SIMULATED + 3 * (20 * 49) + 3),  # (1000 − 20) / 20 = 49
        (BinaryNet(), BINARY + 16 * 47 + 1),  # (960 − 40) / 20 + 1 = 47
        (ProfileNet(), PROFILE),
        (ProfileNet(skip="average"), PROFILE),
    ],
)
def test_published_sizes(net: BranchNet, count: int) -> None:
    assert parameters(net) == count


def test_published_lengths() -> None:
    # 1346 − 20 − 2 · (2 + 4 + 8 + 16 + 32 + 64) − 74 = 1000
    assert ProfileNet().profile_length() == 1000
    assert ProfileNet().input_shapes() == ((4, 1346), (1,), (2, 1000))
    assert SimulatedNet().input_shapes() == ((4, 200),)


def test_batch_norm_has_the_constants_of_keras() -> None:
    norms = [m for net in NETS for m in net.modules() if isinstance(m, nn.BatchNorm1d)]
    assert len(norms) == 8
    assert {(m.eps, m.momentum) for m in norms} == {(1e-3, 0.01)}


def conv(net: nn.Module, name: str, x: Tensor, dilation: int = 1) -> Tensor:
    layer = net.get_submodule(name)
    return F.conv1d(x, layer.weight, layer.bias, dilation=dilation)


def norm(net: nn.Module, name: str, x: Tensor) -> Tensor:
    m = net.get_submodule(name)
    scale = m.weight / torch.sqrt(m.running_var + 1e-3)
    return (x - m.running_mean[:, None]) * scale[:, None] + m.bias[:, None]


def chain_by_hand(net: BranchNet, x: Tensor) -> Tensor:
    for i in ("",) if isinstance(net, SimulatedNet) else ("1", "2", "3"):
        x = norm(net, f"norm{i}", conv(net, f"conv{i}", x)).clamp(min=0)
    x = x.unfold(2, net.pool_size, net.pool_stride).amax(dim=3)
    return x.reshape(len(x), -1) @ net.dense.weight.T + net.dense.bias


def profile_by_hand(net: ProfileNet, x: Tensor, logcount: Tensor, track: Tensor) -> tuple[Tensor, Tensor]:
    x = conv(net, "conv", x).clamp(min=0)
    for i in range(6):
        y = conv(net, f"dilated.{i}", x, 2 ** (i + 1)).clamp(min=0)
        cut = 2 ** (i + 1)
        both = x[:, :, cut : x.shape[2] - cut] + y
        x = both if net.skip == "add" else both / 2
    profile = torch.cat([conv(net, "profile_head", x), track], dim=1)
    pooled = torch.cat([x.sum(dim=2) / x.shape[2], logcount], dim=1)
    return pooled @ net.counts_head.weight.T + net.counts_head.bias, conv(net, "profile_out", profile)


@pytest.mark.parametrize("net", NETS[:4], ids=type_of)
def test_chain_nets_by_hand(net: BranchNet) -> None:
    shaken(net)
    (x,) = inputs(net)
    torch.testing.assert_close(net(x), chain_by_hand(net, x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("skip", ["add", "average"])
def test_profile_net_by_hand(skip: str) -> None:
    net = shaken(ProfileNet(length=400, filters=6, skip=skip))
    xs = inputs(net)
    torch.testing.assert_close(net(*xs), profile_by_hand(net, *xs), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("net", NETS, ids=type_of)
def test_trace_and_config_give_the_same_network(net: BranchNet) -> None:
    shaken(net)
    xs = inputs(net)
    traced = fx.symbolic_trace(net)
    torch.testing.assert_close(traced(*xs), net(*xs), rtol=0, atol=0)
    again = type(net)(**net.config()).double().eval()
    again.load_state_dict(net.state_dict())
    torch.testing.assert_close(again(*xs), net(*xs), rtol=0, atol=0)
    assert again.config() == net.config()


def test_every_config_value_is_kept() -> None:
    for net in NETS:
        assert all(getattr(net, k) == (tuple(v) if isinstance(v, list) else v) for k, v in net.config().items())


@pytest.mark.parametrize("net", NETS, ids=type_of)
def test_declarations_fit(net: BranchNet) -> None:
    outputs = net.double().eval()(*inputs(net))
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    assert len(net.input_representations) == len(net.input_shapes())
    assert len(net.output_representations) == len(outputs)
    named = [name for name, m in net.named_modules() if isinstance(m, nn.Conv1d | nn.Linear)]
    assert set(net.couplable) == set(named[1:])  # all but the one that reads the DNA


def test_parts_share_names_and_weights() -> None:
    net = shaken(BinaryNet(length=300))
    trunk, head = net.parts()
    (x,) = inputs(net)
    torch.testing.assert_close(head(trunk(x)), net(x), rtol=0, atol=0)
    assert {**dict(trunk.named_parameters()), **dict(head.named_parameters())} == dict(net.named_parameters())
    assert trunk.get_submodule("conv2") is net.conv2


def test_initial_weights_are_those_of_keras() -> None:
    torch.manual_seed(0)
    net = BinaryNet()
    for name, value in net.named_parameters():
        if name.endswith("bias"):
            assert not value.any()
    weight = net.conv2.weight
    limit = (6 / (16 * 14 + 16 * 14)) ** 0.5  # Glorot: fan in, fan out
    assert 0.98 * limit < weight.abs().max() <= limit


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: BinaryNet(length=79),
            "a sequence too short for the kernels and pooling of BinaryNet: got length 79; expected at least 80",
        ),
        (lambda: ProfileNet(length=346), "input length of ProfileNet: got 346; expected at least 347"),
        (lambda: ProfileNet(skip="cat"), "skip of ProfileNet: got 'cat'; expected 'add' or 'average'"),
        (
            lambda: SimulatedNet().input_shapes(201),
            "input length of SimulatedNet: got 201; expected 200, the length that its dense layer was made for",
        ),
        (
            lambda: ProfileNet(length=347, filters=2)(torch.zeros(1, 4, 347)),
            (
                "inputs of ProfileNet: got no control track; expected control_logcount and control_profile, "
                "or a network with n_control=0"
            ),
        ),
    ],
)
def test_errors(make: object, message: str) -> None:
    with pytest.raises(RcproofError) as caught:
        make()  # type: ignore[operator]
    assert str(caught.value) == message
    assert isinstance(caught.value, ShapeError) or "skip" in message
    BinaryNet(length=80)  # the shortest lengths do work
    ProfileNet(length=347, filters=2)
