"""Exported programs: every function that is read, whole networks, both forms of a program, every layout of the file."""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rcproof import Conjoined, convert
from rcproof.checkpoints.exported import read_exported
from rcproof.checkpoints.exported.aten import RULES
from rcproof.checkpoints.exported.program import Args, Program, Rule
from rcproof.convert import ConvertConfig
from rcproof.errors import CheckpointError
from rcproof.network.network import Network
from tests.checkpoints.exported import nets
from tests.checkpoints.exported.nets import AUTO, Fn, another, draw, make, older, program, same

# -- functions --------------------------------------------------------------------------------------------


def one_by_one(x: Tensor) -> tuple[Tensor, ...]:
    y, u = x.abs() + 0.1, torch.tanh(x)
    return (
        x.relu(), F.relu6(x), x.sigmoid(), x.tanh(), x.exp(), torch.exp2(x), y.log(), y.log1p(), y.log2(), y.log10(),
        x.expm1(), y.sqrt(), y.rsqrt(), -x, x.square(), x.sin(), x.cos(), x.sinh(), x.cosh(), x.asinh(),
        (y + 1).acosh(), u.atanh(), (u * 0.9).asin(), (u * 0.9).acos(), x.atan(), x.erf(), x.erfc(), y.reciprocal(),
        x.sign(), x.floor(), x.ceil(), x.trunc(), x.frac(), F.selu(x), F.silu(x), F.mish(x), F.hardswish(x),
        F.hardsigmoid(x), F.logsigmoid(x), F.gelu(x), F.gelu(x, approximate="tanh"), F.leaky_relu(x, 0.3), F.elu(x),
        F.elu(x, 0.7), F.celu(x, 1.7), F.hardtanh(x, -0.3, 0.4), F.softplus(x), F.softplus(x, 2.0, 1.0),
        F.hardshrink(x, 0.2), F.softshrink(x, 0.2), F.threshold(x, 0.1, 3.0), F.softsign(x), F.tanhshrink(x),
        torch.logit(y / 10, eps=1e-3), x.clamp(-0.5, 0.3), x.clamp(min=0.1), x.clamp(max=0.1), x.clamp_min(0.2),
        x.clamp_max(0.3), F.glu(x, 1), x.isnan().logical_not(), x.nan_to_num(), x.double(), x.float(), x.round(),
    )  # fmt: skip


def two(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    p = x.abs() + 0.1
    return (
        x + y, torch.add(x, y, alpha=3), x + 2, x - y, torch.sub(x, y, alpha=0.5), 2 - x, x * y, x * 0.5, x / y,
        x / 3, torch.div(x, y, rounding_mode="floor"), torch.div(x, y, rounding_mode="trunc"), x // 2, p**1.7, p**y,
        2**x, torch.maximum(x, y), torch.minimum(x, y), torch.fmod(x, y), torch.remainder(x, y), torch.atan2(x, y),
        x > y, x >= 0, x < y, x <= 0.1, x == y, x != y, torch.where(x > y, x, y), torch.where(x > 0, x, 0.5),
        x.masked_fill(x > 0, -1.0), torch.lerp(x, y, 0.3), torch.addcmul(x, x, y, value=0.4),
        torch.addcdiv(x, x, p, value=0.4), torch.logical_and(x > 0, y > 0), (x > 0) | (y > 0), (x > 0) & (y > 0),
        ~(x > 0), torch.hypot(x, y), torch.logaddexp(x, y), torch.max(x, y), torch.rsub(x, y, alpha=2),
        torch.xlogy(x, p),
    )  # fmt: skip


def along(x: Tensor) -> tuple[Tensor, ...]:
    return (
        x.mean(2), x.mean((1, 2), keepdim=True), x.sum(1), x.sum((1, 2)), x.amax(2), x.amin(1, keepdim=True),
        x.max(2).values, x.max(2, keepdim=True)[0], x.min(1)[0], x.argmax(2), x.argmin(1), x.prod(2), x.std(2),
        x.var(1), x.std(2, correction=0), x.var((1, 2), unbiased=False), x.logsumexp(2), (x > 0).any(2),
        (x > 0).all(1), x.norm(dim=2), x.norm(p=1, dim=1, keepdim=True), torch.linalg.vector_norm(x, 3.0, dim=2),
        x.cumsum(2), x.cumprod(1), x.softmax(2), x.softmax(1), x.log_softmax(2), x.flip(1, 2), x.flip(2),
        x.roll(2, 2), x.roll((1, 2), (1, 2)), x.sort(2)[0], x.sort(2, descending=True).values, x.topk(3, 2)[0],
        x.topk(2, 1, largest=False)[0], x.logcumsumexp(2), F.normalize(x, dim=1),
    )  # fmt: skip


def shapes(x: Tensor) -> tuple[Tensor, ...]:
    n, c, length = x.shape
    a, b = x.split(5, 2)[:2]
    p, q = x.split([3, length - 3], 2)
    return (
        x.permute(0, 2, 1), x.permute(2, 0, 1), x.transpose(1, 2).transpose(1, 2) + 1, x.movedim(1, 2), x.mT,
        x.unsqueeze(1), x.unsqueeze(-1).squeeze(-1) * 2, x[:, :1].squeeze(1), x.flatten(1), x.flatten(0, 1),
        x.reshape(n, -1), x.view(n, c * length), x.reshape(n, c, 2, -1), x.reshape(n, length, c),
        x.unflatten(1, (2, 2)), x[:, :, 2:-3], x[:, :, ::2], x[:, 1], x[:, -1], x[:, :, 3], x[..., -4:],
        x[:, 1:3, 4:9:3], x.narrow(2, 1, 4), x.select(1, 2), a + b, p.sum(2) + q.sum(2), x.chunk(2, 1)[1],
        torch.stack(x.unbind(1), 2), x.expand(n, c, length) + 0, x[:, :1].expand(-1, 4, -1), x.repeat(1, 2, 1),
        x.tile(1, 1, 2), torch.cat([x, x * 2], 1), torch.cat([x, x, x], dim=-1), torch.stack([x, x], 1),
        x.index_select(1, torch.tensor([3, 2, 1, 0])), x[:, [2, 0, 1]], F.pad(x, (2, 3)),
        F.pad(x, (1, 0, 0, 2), value=0.5), F.pad(x, (2, 1), mode="reflect"), F.pad(x, (2, 1), mode="replicate"),
        x.contiguous().clone().detach() + 0, x + torch.arange(length), x * torch.ones(length),
        x + torch.full((c, 1), 0.5), x + torch.zeros_like(x), torch.ones_like(x) - x, torch.full_like(x, 2.0) * x,
        x + x.new_full((c, 1), 0.3), x.to(torch.float32), x.type_as(x.float()), torch.scalar_tensor(2.0) * x,
        x * x.shape[2] + x.size(1), x.view_as(x) + 1, x[:, None, :, 1:].squeeze(1), x.swapaxes(1, 2),
        F.dropout(x, 0.4, training=False) + 0,
    )  # fmt: skip


def products(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    w = torch.arange(12, dtype=x.dtype).reshape(3, 4) / 10
    z = x.transpose(1, 2)
    return (
        x @ y, torch.bmm(x, y), torch.matmul(w, x), torch.einsum("ncl,dc->ndl", x, w),
        torch.einsum("ncl,nlk->nck", x, y), F.linear(z, w), F.linear(z, w, w[:, 0]),
        torch.baddbmm(x @ y, x, y, beta=0.5, alpha=2.0), F.scaled_dot_product_attention(z, z, z),
        F.scaled_dot_product_attention(z, z, z, is_causal=True, scale=0.2),
        F.scaled_dot_product_attention(z, z, z, attn_mask=z[:1, :, :1] > 0), torch.addmm(w[:, 0], x[:, :, 0], w.T),
        F.conv1d(x, w[:, :, None] * x.sum() * 0.01), F.interpolate(x, size=30), F.interpolate(x, scale_factor=2.0),
    )  # fmt: skip


FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[tuple[int, ...], ...]]] = {
    "one by one": (one_by_one, ((3, 4, 10),)),
    "two": (two, ((3, 4, 10), (3, 1, 10))),
    "along": (along, ((3, 4, 10),)),
    "shapes": (shapes, ((3, 4, 10),)),
    "products": (products, ((3, 4, 10), (3, 10, 4))),
}


TAKEN_APART = ("along", "shapes", "products")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str, tmp_path: Path) -> None:
    """As written, and taken apart by run_decompositions() where that changes much."""
    function, sizes = FUNCTIONS[name]
    xs = tuple(draw(*s, seed=i) for i, s in enumerate(sizes))
    more = tuple(draw(5, *s[1:], seed=9 + i) for i, s in enumerate(sizes))
    dynamic = (tuple({0: AUTO} for _ in xs),)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, on its own deprecations
        whole = torch.export.export(Fn(function), xs, dynamic_shapes=dynamic)
        # Taken apart, some of torch's functions round otherwise.
        for tolerance in (1e-12, 1e-10) if name in TAKEN_APART else (1e-12,):
            written = whole if tolerance == 1e-12 else whole.run_decompositions()
            torch.export.save(written, tmp_path / "p.pt2")
            found = read_exported(tmp_path / "p.pt2")
            for inputs in (xs, more):
                same(found.model(*inputs), tuple(function(*inputs)), tolerance)


# -- layers and networks ----------------------------------------------------------------------------------


FORMS = [pytest.param(n, t, id=f"{n}, {'taken apart' if t else 'as written'}") for n in nets.NETS for t in (False, True)
         if not t or n in nets.TAKEN_APART]  # fmt: skip


@pytest.mark.parametrize(("name", "taken_apart"), FORMS)
def test_networks(name: str, taken_apart: bool, tmp_path: Path) -> None:
    """Outputs to the last digits, names of layers and weights as they were, convolutions and dense layers tied."""
    net, xs, dynamic = make(name)
    found = read_exported(program(net, xs, tmp_path / "p.pt2", dynamic, taken_apart))
    assert isinstance(found.model, Network)
    same(found.model(*xs), net(*xs))
    length = 3 if any(2 in d for d in dynamic) else 0
    for count in (1, 7):
        more = tuple(another(x, count, length) for x in xs)
        same(found.model(*more), net(*more))
    state, own = found.model.state_dict(), net.state_dict()
    assert all(torch.equal(state[key], own[key].view_as(state[key])) for key in set(state) & set(own))
    if name in nets.KEPT or (name in nets.KEPT_WHOLE and not taken_apart):
        assert set(state) == set(own)
    else:
        assert set(state) - set(own) <= nets.NEW_KEYS.get(name, set(state))
    if name in nets.TIED:
        conjoined = Conjoined(found.model, **nets.REPRESENTATIONS.get(name, {})).eval()
        config = ConvertConfig(input_shapes=[tuple(x.shape[1:]) for x in xs], verify=not taken_apart)
        assert convert(conjoined, config).certificate.share_tied == 1.0


def test_what_the_file_says(tmp_path: Path) -> None:
    net, xs, _ = make("profile")
    found = read_exported(program(net, xs, tmp_path / "p.pt2", tuple({0: AUTO} for _ in xs)))
    assert found.input_names == ("sequence", "control_logcount", "control_profile")
    assert found.shapes == tuple(tuple(x.shape[1:]) for x in xs)
    assert found.format.startswith("a program exported by torch 2.")
    assert found.notes == []
    assert not found.model.training


def test_structure_of_the_answer(tmp_path: Path) -> None:
    def answer(x: Tensor) -> Any:
        return {"profile": x * 2, "rest": [x.sum(2), (x.mean(2), x.amax(2))]}

    x = draw(2, 4, 6)
    found = read_exported(program(Fn(answer), (x,), tmp_path / "p.pt2", ({0: AUTO},)))
    y = found.model(x)
    assert list(y) == ["profile", "rest"]
    assert isinstance(y["rest"], list)
    assert isinstance(y["rest"][1], tuple)
    assert torch.equal(y["rest"][1][1], x.amax(2))


def test_a_layer_called_twice_is_one(tmp_path: Path) -> None:
    """A siamese graph: one branch on two strands."""
    branch = make("simulated")[0]

    class Siamese(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.branch = branch

        def forward(self, x: Tensor) -> Tensor:
            return torch.sigmoid((self.branch(x) + self.branch(x.flip(1, 2))) / 2)

    net, x = Siamese().double().eval(), draw(3, 4, 200)
    for taken_apart in (False, True):
        found = read_exported(program(net, (x,), tmp_path / "p.pt2", ({0: AUTO},), taken_apart))
        same(found.model(x), net(x))
        assert set(found.model.state_dict()) == set(net.state_dict())
        graph = found.model.rcproof_graph()  # type: ignore[operator]
        assert [n.target for n in graph.nodes if n.op == "module"].count("branch.conv") == 2


def test_steps_in_place(tmp_path: Path) -> None:
    """A name that a step writes into means the new value from then on."""

    def writes(x: Tensor) -> Tensor:
        y = x * 2
        z = y.relu_()
        z.add_(1.0)
        return y + z

    x = draw(2, 3, 4)
    found = read_exported(program(Fn(writes), (x,), tmp_path / "p.pt2", ({0: AUTO},)))
    same(found.model(x), writes(x))

    def into_a_part(x: Tensor) -> Tensor:
        y = x * 2
        y[:, :, 1:].relu_()
        return y

    path = program(Fn(into_a_part), (x,), tmp_path / "q.pt2", ({0: AUTO},))
    with pytest.raises(CheckpointError, match="writes into a part of another value"):
        read_exported(path)


# -- one number of examples -------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", ["simulated", "bilstm", "profile", "scaled attention"])
def test_exported_for_one_number_of_examples(name: str, count: int, tmp_path: Path) -> None:
    """The usual export, without dynamic shapes: the network answers for any number all the same."""
    net, xs, _ = make(name)
    xs = tuple(x[:1].expand(count, *x.shape[1:]).clone() for x in xs)
    found = read_exported(program(net, xs, tmp_path / "p.pt2"))
    assert found.notes == [f"exported for {count} examples; sizes that repeat this number follow the input"]
    more = tuple(another(x, 6, 0) for x in xs)
    with torch.no_grad():
        same(found.model(*xs), net(*xs))
        same(found.model(*more), net(*more))


def test_a_network_that_is_fixed_to_its_number_of_examples_says_so(tmp_path: Path) -> None:
    """Where sizes cannot follow (here every second row is another channel), nothing is guessed."""

    def mixes(x: Tensor) -> Tensor:
        return x.reshape(2, 8, 5).reshape(2, 2, 4, 5).sum(1) * torch.arange(2.0).reshape(2, 1, 1)

    x = draw(2, 8, 5)
    found = read_exported(program(Fn(mixes), (x,), tmp_path / "p.pt2"))
    assert found.notes == ["for 2 examples at a time: it was exported without a dynamic batch"]
    same(found.model(x), mixes(x))


# -- older layouts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["2.6", "2.8"])
def test_older_layouts(layout: str, tmp_path: Path) -> None:
    net, xs, _ = make("bpnet")
    path = older(net, xs, tmp_path / "p.pt2", layout)
    found = read_exported(path)
    with torch.no_grad():
        same(found.model(*xs), net(*xs))
    assert set(found.model.state_dict()) == set(net.state_dict())


def test_older_layouts_without_the_kinds_of_arguments(tmp_path: Path) -> None:
    """torch 2.6 did not say which arguments were given by name; here all go by name."""
    net, xs, _ = make("residual")
    path = older(net, xs, tmp_path / "p.pt2", "2.6")
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    document = json.loads(files["serialized_exported_program.json"])
    for node in document["graph_module"]["graph"]["nodes"]:
        del node["name"]
        for item in node["inputs"]:
            del item["kind"]
    files["serialized_exported_program.json"] = json.dumps(document).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    with torch.no_grad():
        same(read_exported(path).model(*xs), net(*xs))


# -- mutants ----------------------------------------------------------------------------------------------


def ignores(argument: str, value: Any) -> Callable[[Rule], Rule]:
    """A reader that takes an argument of a function for another value."""

    def broken(right: Rule) -> Rule:
        def read(p: Program, a: Args) -> Any:
            a.values[argument] = value
            return right(p, a)

        return read

    return broken


MUTANTS: dict[str, tuple[str, Callable[[Rule], Rule]]] = {
    "alpha ignored": ("add", ignores("alpha", 1)),
    "the step of a slice ignored": ("slice", ignores("step", 1)),
    "eps of batch norm": ("batch_norm", ignores("eps", 1e-3)),
    "padding ignored": ("conv1d", ignores("padding", [0])),
    "the stride of a pooling": ("max_pool1d", ignores("stride", [1])),
    "the bias of a product": ("linear", ignores("bias", None)),
    "axes of a permutation": ("permute", ignores("dims", [1, 0, 2])),
    "one direction": ("lstm gru rnn_tanh rnn_relu", lambda right: lambda p, a: right(p, a)[::-1]),
}


class Subject(nn.Module):
    """What the mutants break."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.dense = nn.Conv1d(4, 4, 5, padding=2), nn.BatchNorm1d(4), nn.Linear(4, 2)
        self.lstm = nn.LSTM(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.add(x, self.norm(self.conv(x))[:, :, ::2].repeat(1, 1, 2), alpha=0.5)
        y = self.lstm(F.max_pool1d(x, 2).permute(2, 0, 1))[0]
        return self.dense(y.sum(0))


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Tensor, Path]:
    torch.manual_seed(0)
    net, x = Subject().double().eval(), draw(4, 4, 8)
    path = program(net, (x,), tmp_path_factory.mktemp("mutants") / "p.pt2", ({0: AUTO},))
    same(read_exported(path).model(x), net(x))
    return net, x, path


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_are_caught(
    name: str, subject: tuple[nn.Module, Tensor, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    net, x, path = subject
    functions, broken = MUTANTS[name]
    for function in functions.split():
        monkeypatch.setitem(RULES, function, broken(RULES[function]))
    with pytest.raises((AssertionError, CheckpointError, RuntimeError)):
        same(read_exported(path).model(x), net(x))
