"""However a network is run, it computes what its plan says: in pieces, channels last, in place, folded."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import rcproof
from rcproof.errors import RcproofError
from rcproof.models import BinaryNet, ProfileNet, build, conjoin
from rcproof.network import execution, inplace
from rcproof.network.execution import PLAIN, Execution
from rcproof.network.network import Network
from rcproof.nn import RCPSBatchNorm1d
from rcproof.nn import derived as derived_weights

BINARY = {"length": 90, "filters": 3, "kernel_sizes": (9, 8, 3), "pool_size": 9, "pool_stride": 4}
PROFILE = {"length": 160, "filters": 3, "dilated_layers": 3, "profile_kernel_size": 15}


class Awkward(nn.Module):
    """What may not be overwritten: a value used twice, a view of one, a value that is an output, a view by ``view``."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv1d(4, 3, 3), nn.Conv1d(3, 3, 3, padding=1), nn.Conv1d(3, 3, 9, padding=4)
        self.relu, self.same = nn.ReLU(), nn.Identity()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = self.a(x)
        tail = y[:, :, 2:]
        z = F.relu(y)
        u = self.b(z)
        w = self.relu(u) + u  # u is read twice
        v = self.same(self.c(w)).relu()
        s = z + v
        return s.view(s.shape[0], -1), tail.mean(2), self.relu(s)


def converted(net: nn.Module, shapes: Any, **options: Any) -> Network:
    conjoined = rcproof.Conjoined(net, **options) if options else conjoin(net)  # type: ignore[arg-type]
    return rcproof.convert(conjoined.eval(), rcproof.ConvertConfig(input_shapes=shapes, verify=False)).model


def trained(network: nn.Module) -> nn.Module:
    """With batch norm that is not the identity."""
    for m in network.modules():
        if isinstance(m, RCPSBatchNorm1d):
            nn.init.uniform_(m.running_mean, -1, 1)
            nn.init.uniform_(m.running_var, 0.5, 2)
            nn.init.uniform_(m.weight, 0.5, 2)
            nn.init.uniform_(m.bias, -1, 1)
    return network


def make(name: str) -> tuple[Network, tuple[Tensor, ...]]:
    torch.manual_seed(0)
    if name == "awkward":
        network, shapes = converted(Awkward(), ((4, 20),), outputs=["fixed", "fixed", "reversal"]), ((4, 20),)
    elif name.startswith("binary"):
        net = BinaryNet(**BINARY)
        shapes = net.input_shapes()
        network = build("binary", "rcps", **BINARY) if name.endswith("coupled") else converted(net, shapes)
    else:
        profile = ProfileNet(**PROFILE)
        shapes = profile.input_shapes()
        network = build("profile", "rcps", **PROFILE) if name.endswith("coupled") else converted(profile, shapes)
    xs = tuple(torch.randn(5, *s, dtype=torch.float64) for s in shapes)
    return trained(network).double().eval(), xs  # type: ignore[return-value]


NETWORKS = ("binary", "binary coupled", "profile", "profile coupled", "awkward")
WAYS = [Execution(rows, *flags) for rows in (None, 1, 3, 5) for flags in itertools.product((False, True), repeat=3)]


def outputs(value: Any) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else [t for v in value for t in outputs(v)]


def same_function(network: Network, xs: tuple[Tensor, ...], how: Execution | None, layout: str = "auto") -> None:
    """Answers without gradients; answers, gradients by inputs and weights with them; inputs untouched."""
    plain = copy.deepcopy(network).set_layout("batched")
    run = copy.deepcopy(network).set_layout(layout).set_execution(how)
    before = [x.clone() for x in xs]
    with torch.no_grad():
        for a, b in zip(outputs(run(*xs)), outputs(plain(*xs)), strict=True):
            torch.testing.assert_close(a, b)
            assert a.is_contiguous()
        again = outputs(run(*xs))
    for a, b in zip(xs, before, strict=True):
        assert torch.equal(a, b)
    found = []
    for model in (run, plain):
        leaves = tuple(x.clone().requires_grad_() for x in xs)
        ys = outputs(model(*leaves))
        torch.stack([(y * y.detach().cos()).sum() for y in ys]).sum().backward()
        found.append([*ys, *(x.grad for x in leaves), *(p.grad for p in model.parameters())])
    for a, b in zip(*found, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            torch.testing.assert_close(a, b)
    with torch.no_grad():
        for a, b in zip(outputs(run(*xs)), again, strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_way_computes_the_same(name: str) -> None:
    network, xs = make(name)
    for how in WAYS:
        if how.rows is None or network._program.pieces is not None:
            same_function(network, xs, how)
    assert (network._program.pieces is None) == (name.endswith("coupled") or name == "awkward")


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("layout", ["stacked", "batched"])
def test_in_explicit_layouts_too(name: str, layout: str) -> None:
    network, xs = make(name)
    same_function(network, xs, Execution(None, True, True, True), layout)
    assert copy.deepcopy(network).set_layout(layout).execution(*xs) == PLAIN


@pytest.mark.parametrize("name", NETWORKS)
def test_what_auto_chooses(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every threshold so low that it does choose; float32, since that is what is laid out otherwise."""
    monkeypatch.setattr(execution, "PIECE_BYTES", 4000)
    monkeypatch.setattr(derived_weights, "_LEAST_VALUES", 1)
    monkeypatch.setattr(derived_weights, "_ROWS_A_THREAD", 0)
    network, xs = make(name)
    how = network.float().execution(*(x.float() for x in xs))
    with torch.no_grad():
        how = network.execution(*(x.float() for x in xs))
    assert how.channels_last and how.in_place and how.fold
    assert (how.rows is not None) == (network._program.pieces is not None)
    reference = copy.deepcopy(network).double().set_layout("batched")
    with torch.no_grad():
        for a, b in zip(outputs(network(*(x.float() for x in xs))), outputs(reference(*xs)), strict=True):
            torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-4)


def test_training_with_batch_norm_takes_all_rows_and_pools_them() -> None:
    network, xs = make("binary")
    piecewise = copy.deepcopy(network).set_execution(Execution(rows=2))
    assert network._program.pieces is not None and not network._program.pieces.mixes_now()
    plain = copy.deepcopy(network).set_layout("batched").train()
    network.train()
    assert network._program.pieces.mixes_now()
    for a, b in zip(outputs(network(*xs)), outputs(plain(*xs)), strict=True):
        torch.testing.assert_close(a, b)
    for a, b in zip(network.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(a, b)
    trained_in_pieces = piecewise.train()
    for a, b in zip(outputs(trained_in_pieces(*xs)), outputs(copy.deepcopy(plain)(*xs)), strict=True):
        torch.testing.assert_close(a, b)


def test_a_coupled_network_trains_as_its_batched_layout_does() -> None:
    network, xs = make("binary coupled")
    plain = copy.deepcopy(network).set_layout("batched").train()
    network.train()
    for _ in range(2):
        for a, b in zip(outputs(network(*xs)), outputs(plain(*xs)), strict=True):
            torch.testing.assert_close(a, b)
    for a, b in zip(network.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", ["binary coupled", "binary"])
def test_hooks_see_what_the_plan_says(name: str) -> None:
    network, xs = make(name)
    network.set_execution(Execution(None, True, True, True))
    plain = copy.deepcopy(network).set_layout("batched").set_execution(None)
    seen: dict[str, Tensor] = {}
    network.get_submodule("relu1").register_forward_hook(lambda m, i, o: seen.update(before=i[0], after=o))
    with torch.no_grad():
        got, want = network(*xs), plain(*xs)
    torch.testing.assert_close(outputs(got), outputs(want))
    assert bool((seen["before"] < 0).any()), "relu wrote over what the hook was shown"
    torch.testing.assert_close(seen["after"], seen["before"].relu())


def test_folding_ends_where_a_hook_or_training_asks_for_the_value_between() -> None:
    network, xs = make("binary coupled")
    network.set_execution(Execution(fold=True))
    with torch.no_grad():
        want = network(*xs)
        seen: list[Tensor] = []
        handle = network.get_submodule("conv1").register_forward_hook(lambda m, i, o: seen.append(o))
        torch.testing.assert_close(network(*xs), want)
        torch.testing.assert_close(seen[0], network.get_submodule("conv1")(xs[0]))
        handle.remove()
        network.get_submodule("norm2").train()
        plain = copy.deepcopy(network).set_layout("batched").set_execution(None)
        torch.testing.assert_close(network(*xs), plain(*xs))
        network.get_submodule("norm2").eval()
        plain.eval()
        torch.testing.assert_close(network(*xs), plain(*xs))


def test_an_execution_is_neither_copied_away_nor_saved(tmp_path: Any) -> None:
    network, xs = make("profile")
    network.set_execution(Execution(rows=2))
    assert copy.deepcopy(network).execution(*xs) == Execution(rows=2)
    assert network.set_execution(None)._execution is None


@pytest.mark.parametrize("bad", [Execution(rows=0), "sequential", 3])
def test_an_execution_that_is_none(bad: Any) -> None:
    network, _ = make("profile")
    with pytest.raises(RcproofError, match=r"execution: got .*; expected an Execution with rows from 1, or None"):
        network.set_execution(bad)


def test_no_pieces_of_a_coupled_network() -> None:
    network, _ = make("profile coupled")
    with pytest.raises(RcproofError, match="execution in pieces: got layout 'auto' of a network whose rows depend on"):
        network.set_execution(Execution(rows=2))


class Sized(nn.Module):
    """Asks how many rows there are."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return y.reshape(y.shape[0], y.shape[1] * y.shape[2])


def test_rows_that_are_asked_for_keep_the_batch_whole() -> None:
    network = converted(Sized(), ((4, 9),), outputs="fixed")
    assert network._program.pieces is None
    same_function(network.double(), (torch.randn(3, 4, 9, dtype=torch.float64),), Execution(None, True, True, True))


def test_the_rule_at_a_glance() -> None:
    network = converted(ProfileNet(n_control=0), ((4, 1346),))
    small, large = torch.zeros(1, 4, 1346), torch.zeros(64, 4, 1346)
    with torch.no_grad():
        assert network.execution(small).rows is None
        rows = network.execution(large).rows
        assert rows is not None and rows * 64 * 1346 * 4 <= execution.PIECE_BYTES
        assert not network.execution(large.double()).channels_last
        assert network.execution(large.to("meta")) == Execution(None, False, True, True)
    assert network.execution() == PLAIN


# -- mutants -------------------------------------------------------------------------------------


def _cut_short(self: Any, network: Any, values: Any, calls: Any, pieces: Any, rows: int) -> None:
    slot = self.slots
    key = next(k for k in pieces.doubled)
    self._steps(network, values, calls, 0, pieces.begin, frozenset(slot[k] for k in pieces.read))
    values[slot[key]] = values[slot[key]].flip(0)
    self._steps(network, values, calls, pieces.begin, len(calls), frozenset())


def _no_mean(self: RCPSBatchNorm1d) -> tuple[Tensor, Tensor] | None:
    scale = torch.rsqrt(self.running_var + self.eps) * self.weight  # type: ignore[operator]
    return scale, self.bias  # type: ignore[return-value]


def _leaky(self: Any, network: Any, xs: Any, how: Any, run: Any = execution.Program.run) -> list[Tensor]:
    found = run(self, network, xs, how)
    return [y.transpose(-1, -2).contiguous().transpose(-1, -2) if y.dim() > 2 else y for y in found]


MUTANTS: dict[str, tuple[str, Any, str, Callable[..., Any], Execution]] = {
    "values read twice are overwritten": (
        "awkward", inplace.Rewriter, "_spare", lambda self, k, _: k.endswith("@batched"), Execution(in_place=True)
    ),
    "pieces in the wrong order": ("profile", execution.Program, "_in_pieces", _cut_short, Execution(rows=2)),
    "the mean is not folded": ("binary", RCPSBatchNorm1d, "affine_in_eval", _no_mean, Execution(fold=True)),
    "relu is forgotten": ("binary", inplace, "_relu", lambda *_: lambda x: x, Execution(in_place=True)),
    "a sum keeps one argument": ("profile", inplace, "_sum", lambda *_: lambda a, b: b, Execution(in_place=True)),
    "layouts leak out": ("awkward", execution.Program, "run", _leaky, Execution(None, True)),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_are_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    which, owner, attribute, mutant, how = MUTANTS[name]
    network, xs = make(which)
    same_function(network, xs, how)
    monkeypatch.setattr(owner, attribute, mutant)
    with pytest.raises((AssertionError, RuntimeError)):
        same_function(*make(which), how)
