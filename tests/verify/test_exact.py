"""Exact arithmetic: against fractions, against float64, on every layer; mutants down to one bit; what is refused."""

from __future__ import annotations

import copy
import math
import random
import time
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rcproof.conjoined import Conjoined
from rcproof.convert import ConvertConfig
from rcproof.convert.api import convert
from rcproof.errors import RcproofError
from rcproof.models import BinaryNet, ProfileNet
from rcproof.nn import couple
from rcproof.verify import check_equivalence, draw_inputs
from rcproof.verify.exact import check_exact, evaluate_exact
from rcproof.verify.exact_linear import inverse_root
from rcproof.verify.exact_numbers import Numbers, concatenated
from rcproof.verify.exact_ops import ExactArithmetic
from rcproof.verify.intercept import NotCovered

# -- numbers ------------------------------------------------------------------------------------------


def drawn(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    found = rng.normal(size=shape) * 10.0 ** rng.integers(-30, 30, size=shape)
    return np.round(found) if rng.integers(3) == 0 else found * rng.integers(0, 2, size=shape)


@pytest.mark.parametrize("seed", range(20))
def test_numbers_against_fractions(seed: int) -> None:
    rng, py = np.random.default_rng(seed), random.Random(seed)
    shape = (int(rng.integers(1, 4)), int(rng.integers(1, 5)))
    a, b = drawn(rng, shape), drawn(rng, shape)
    A, B = Numbers.of(a), Numbers.of(b)
    fa, fb = ([Fraction(float(v)) for v in m.ravel()] for m in (a, b))
    assert A.fractions() == fa
    assert (A + B).fractions() == [x + y for x, y in zip(fa, fb, strict=True)]
    assert (A - B).fractions() == [x - y for x, y in zip(fa, fb, strict=True)]
    assert (A * B).fractions() == [x * y for x, y in zip(fa, fb, strict=True)]
    q = Fraction(py.randint(-(10**6), 10**6) * py.choice([1, 2**50]), py.randint(1, 999) * py.choice([1, 2**40]))
    C = A.scaled(q) + B
    fc = [x * q + y for x, y in zip(fa, fb, strict=True)]
    assert C.fractions() == fc
    assert C.signs().ravel().tolist() == [(v > 0) - (v < 0) for v in fc]
    assert np.allclose(C.floats().ravel(), [float(v) for v in fc], rtol=1e-15)
    ranks, places = C.ranks()
    ordered = sorted(set(fc))
    assert [ordered.index(v) for v in fc] == ranks.ravel().tolist()
    assert [fc[i] for i in places] == ordered
    rows, columns = shape
    dot = A.matmul(Numbers.of(b.T.copy())).fractions()
    assert dot == [
        sum((fa[i * columns + k] * fb[j * columns + k] for k in range(columns)), Fraction(0))
        for i in range(rows)
        for j in range(rows)
    ]
    assert concatenated([A, C]).fractions() == fa + fc
    assert Numbers.rationals(fc).fractions() == fc


def test_long_sums_are_split() -> None:
    ones = Numbers.of(np.full((1, 20_000), 2.0**20 - 1))
    assert ones.matmul(Numbers.of(np.full((20_000, 1), 2.0**20 - 1))).fractions() == [20_000 * (2**20 - 1) ** 2]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_no_number(bad: float) -> None:
    with pytest.raises(RcproofError, match="exact arithmetic: got NaN or an infinite value"):
        Numbers.of(np.array([1.0, bad]))


@pytest.mark.parametrize("bits", [8, 53, 200])
def test_inverse_root(bits: int) -> None:
    for value in (Fraction(1, 3), Fraction(7, 2**70), Fraction(2**80 + 1), Fraction(0.1) + Fraction(1e-5)):
        root = inverse_root(value, bits)
        step = root / 2 ** (bits - 2)
        assert root * root * value <= 1 < (root + step) ** 2 * value
    with pytest.raises(RcproofError, match="variance of batch norm plus epsilon: got -1.0"):
        inverse_root(Fraction(-1), bits)


# -- against a slow reference ---------------------------------------------------------------------------


class Small(nn.Module):
    """conv, batch norm, relu, max pool, mean, dense."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv, self.norm, self.head = nn.Conv1d(4, 3, 4, stride=2), nn.BatchNorm1d(3), nn.Linear(3, 2)
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(nn.functional.max_pool1d(self.norm(self.conv(x)).relu(), 3, 2).mean(2))


def slow(net: Small, x: Tensor) -> list[Fraction]:
    """One example through :class:`Small` in fractions, one number at a time."""
    f = lambda t: np.vectorize(lambda v: Fraction(float(v)), otypes=[object])(t.detach().double().numpy())  # noqa: E731
    x, w, b = f(x), f(net.conv.weight), f(net.conv.bias)
    length = (x.shape[1] - 4) // 2 + 1
    h = [
        [sum((w[o, c, k] * x[c, 2 * i + k] for c in range(4) for k in range(4)), b[o]) for i in range(length)]
        for o in range(3)
    ]
    mean, var, gain, shift = f(net.norm.running_mean), f(net.norm.running_var), f(net.norm.weight), f(net.norm.bias)
    for o in range(3):
        root = inverse_root(var[o] + Fraction(net.norm.eps), 53)
        h[o] = [max((v - mean[o]) * root * gain[o] + shift[o], Fraction(0)) for v in h[o]]
    pooled = [[max(row[i : i + 3]) for i in range(0, length - 2, 2)] for row in h]
    means = [sum(row, Fraction(0)) / len(row) for row in pooled]
    v, a = f(net.head.weight), f(net.head.bias)
    return [sum((v[t, o] * means[o] for o in range(3)), a[t]) for t in range(2)]


@pytest.mark.parametrize("length", [13, 20])
def test_against_fractions(length: int) -> None:
    net = Small().eval()
    source = Conjoined(net).eval()
    result = convert(source, ConvertConfig(verify=False)).model
    x = torch.randn(2, 4, length, dtype=torch.float64)
    expected = [(p + q) / 2 for row in x for p, q in zip(slow(net, row), slow(net, row.flip(0, 1)), strict=True)]
    for model in (source, result.set_layout("stacked"), result.set_layout("batched")):
        assert evaluate_exact(model, [x])["output"].numbers.fractions() == expected


# -- every layer ----------------------------------------------------------------------------------------


class Crop(nn.Module):
    def __init__(self, left: int, right: int, channels: int = 5) -> None:
        super().__init__()
        self.conv, self.left, self.right = nn.Conv1d(channels, channels, left + right + 1), left, right

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, self.left : x.shape[2] - self.right] + self.conv(x).relu() * 0.5


class Joined(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv1d(5, 2, 3, padding=1), nn.Conv1d(5, 3, 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.a(x), self.b(x), nn.functional.pad(x[:, :, 1:], (0, 1))], 1)[:, :5]


class Functional(nn.Module):
    """The same functions in other forms: keywords, vectors, operators, a normed weight."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.utils.parametrizations.weight_norm(nn.Conv1d(5, 3, 2))
        self.gain, self.mix = nn.Parameter(torch.randn(3)), nn.Parameter(torch.randn(3))

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(torch.mul(input=x, other=torch.tensor(0.3, dtype=x.dtype)))
        z = torch.einsum("ncl,c->nl", y, self.gain) - torch.matmul(y.transpose(1, 2), self.mix)
        y = torch.where(y > 0, y, -0.25 * y).clamp(max=1.5) / 3 + z.unsqueeze(1)
        y += 1 - y.abs()
        return torch.maximum(y, y.flip(2)).square() - y.amin(2, keepdim=True)


LAYERS: dict[str, Callable[[], list[nn.Module]]] = {
    "stride": lambda: [nn.Conv1d(5, 4, 4, stride=3)],
    "dilation, padding": lambda: [nn.Conv1d(5, 4, 3, padding=2, dilation=2)],
    "same, even kernel": lambda: [nn.Conv1d(5, 4, 4, padding="same")],
    "groups": lambda: [nn.Conv1d(5, 10, 3, groups=5), nn.Conv1d(10, 4, 2, groups=2)],
    "reflect": lambda: [nn.Conv1d(5, 4, 5, padding=2, padding_mode="reflect")],
    "transposed": lambda: [nn.ConvTranspose1d(5, 4, 4, stride=3, padding=1, output_padding=1)],
    "transposed, groups": lambda: [nn.ConvTranspose1d(5, 10, 3, stride=2, groups=5, dilation=2)],
    "max pool": lambda: [nn.MaxPool1d(4, 3, padding=1)],
    "max pool, ceil": lambda: [nn.MaxPool1d(3, 2, dilation=2, ceil_mode=True)],
    "average pool of 3": lambda: [nn.AvgPool1d(3, 2)],
    "average pool, padded": lambda: [nn.AvgPool1d(5, 3, padding=2, count_include_pad=False, ceil_mode=True)],
    "adaptive average": lambda: [nn.AdaptiveAvgPool1d(7)],
    "adaptive max": lambda: [nn.AdaptiveMaxPool1d(7)],
    "crop": lambda: [Crop(2, 3)],
    "joined": lambda: [Joined()],
    "leaky": lambda: [nn.LeakyReLU(0.1), nn.PReLU(5), nn.Hardtanh(-0.5, 0.7)],
    "hard": lambda: [nn.Hardsigmoid(), nn.ReLU6(), nn.Hardswish()],
    "batch norm": lambda: [nn.BatchNorm1d(5, affine=False), nn.ReLU(inplace=True)],
    "upsample": lambda: [nn.Upsample(scale_factor=2)],
    "functions": lambda: [Functional()],
    "dropout": lambda: [nn.Dropout(0.3), nn.Conv1d(5, 4, 1)],
}


def pair(steps: list[nn.Module], merge: str = "mean", final: str | None = None, seed: int = 0):  # type: ignore[no-untyped-def]
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv1d(4, 5, 3), *steps, nn.AdaptiveMaxPool1d(2), nn.Flatten())
    width = net.eval()(torch.zeros(1, 4, 33)).shape[1]
    net.append(nn.Linear(width, 3))
    for m in net.modules():
        if isinstance(m, nn.BatchNorm1d):
            m.running_mean.normal_()
            m.running_var.uniform_(0.3, 3)
    source = Conjoined(net.eval(), merge=merge, final=final).eval()
    return source, convert(source, ConvertConfig(input_shapes=((4, 33),), verify=False)).model


def inputs(shape: tuple[int, ...] = (4, 33), kinds: tuple[str, ...] = ("one-hot", "random")):  # type: ignore[no-untyped-def]
    return list(draw_inputs([shape], ["reversal"], kinds=kinds, batch=1))


@pytest.mark.parametrize("name", LAYERS)
def test_layer(name: str) -> None:
    source, result = pair(LAYERS[name](), merge=("mean", "sum", "max")[len(name) % 3])
    report = check_exact(source, result, inputs(), layouts=("stacked", "batched", "auto"))
    assert report.passed, str(report)
    assert sum("float64" in c.name for c in report.checks) == 2


def test_coupled() -> None:
    source, result = pair([nn.ReLU(), nn.Conv1d(5, 4, 3)])
    assert check_exact(source, couple(result), inputs(), layouts=("stacked", "batched", "auto")).passed


def test_control_tracks_and_two_outputs() -> None:
    net = ProfileNet(length=120, filters=6, dilated_layers=2, profile_kernel_size=11).eval()
    source = Conjoined(net, inputs=net.input_representations, outputs=net.output_representations).eval()
    result = convert(source, ConvertConfig(verify=False)).model
    cases = list(draw_inputs(net.input_shapes(), net.input_representations, batch=2, kinds=("one-hot", "some-n")))
    report = check_exact(source, result, cases)
    assert report.passed, str(report)
    assert {c.name for c in report.checks} >= {"one-hot: output[0]", "some-n: output[1]"}


@pytest.mark.parametrize("bits", [20, 90])
def test_the_root_of_batch_norm_does_not_matter(bits: int) -> None:
    source, result = pair([nn.BatchNorm1d(5), nn.ReLU()])
    found = check_exact(source, result, inputs(), root_bits=bits)
    assert all(c.passed for c in found.checks if "float64" not in c.name)
    assert found.passed is (bits > 53)  # with 20 bits it is another function than torch's, and that is seen


# -- the paper's networks ---------------------------------------------------------------------------------


def paper_pair(net: BinaryNet | ProfileNet):  # type: ignore[no-untyped-def]
    for m in net.modules():
        if isinstance(m, nn.BatchNorm1d):
            m.running_mean.normal_(0, 0.2)
            m.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(m.weight, 0.5, 1.5)
            nn.init.normal_(m.bias, 0, 0.2)
    final = "sigmoid" if isinstance(net, BinaryNet) else None
    source = Conjoined(net.eval(), inputs=net.input_representations, outputs=net.output_representations, final=final)
    return source.eval(), convert(source.eval(), ConvertConfig(verify=False)).model


@pytest.mark.parametrize("make", [BinaryNet, lambda: ProfileNet(length=446)])
def test_paper(make: Callable[[], BinaryNet]) -> None:
    torch.manual_seed(0)
    net = make()
    source, result = paper_pair(net)
    cases = draw_inputs(net.input_shapes(), net.input_representations, batch=1, kinds=("one-hot", "random", "some-n"))
    start = time.monotonic()
    report = check_exact(source, result, list(cases))
    assert report.passed, str(report)
    assert time.monotonic() - start < 60


# -- mutants ------------------------------------------------------------------------------------------


def last_bit(model: nn.Module) -> None:
    """One weight, by one unit in its last place."""
    weight = model.get_submodule("net.0" if isinstance(model, Conjoined) else "0").weight.data.view(-1)
    weight[7] = np.nextafter(np.float32(weight[7].item()), np.float32(10)).item()


def flipped_kernel(model: nn.Module) -> None:
    layer = model.get_submodule("1")
    layer.weight.data = layer.weight.data.flip(2)


def swapped_bases(model: nn.Module) -> None:
    layer = model.get_submodule("0")
    layer.weight.data = layer.weight.data[:, [1, 0, 2, 3]]


def dropped_half(model: nn.Module) -> None:
    next(n for n in model.rcproof_graph().nodes if n.op == "merge").target = "sum"
    model.replan()


def wrong_strand(model: nn.Module) -> None:
    """One layer gives the other strand its own kernel, not the mirrored one."""
    layer = model.get_submodule("1")

    def forward(x: Tensor) -> Tensor:
        own, other = x.chunk(2, 1)
        return torch.cat([nn.functional.conv1d(t, layer.weight, layer.bias) for t in (own, other)], 1)

    layer.forward = forward
    model.replan()


MUTANTS: dict[str, Callable[[nn.Module], None]] = {
    "last bit of one weight": last_bit,
    "flipped kernel": flipped_kernel,
    "swapped bases": swapped_bases,
    "dropped half": dropped_half,
    "wrong strand of one layer": wrong_strand,
}


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant(name: str) -> None:
    source, result = pair([nn.Conv1d(5, 4, 3), nn.ReLU()])
    mutant = copy.deepcopy(result).set_layout("stacked")
    MUTANTS[name](mutant)
    assert check_exact(source, result, inputs()).passed
    report = check_exact(source, mutant, inputs())
    failed = [c for c in report.failures if "float64" not in c.name]
    assert len(failed) == 2, str(report)
    assert "differ" in failed[0].detail
    assert all(c.passed for c in report.checks if "float64" in c.name)


def test_one_bit_is_below_every_tolerance_of_float32() -> None:
    source, result = pair([nn.Conv1d(5, 4, 3), nn.ReLU()])
    last_bit(result)
    assert check_equivalence(source, result, inputs(), dtype=torch.float32, gradients=False).passed
    assert not check_exact(source, result, inputs()).passed


def test_off_by_one_crop() -> None:
    source, result = pair([Crop(2, 3)])
    torch.manual_seed(0)
    other, _ = pair([Crop(3, 2)])
    other.load_state_dict(source.state_dict())
    assert check_exact(source, result, inputs()).passed
    assert not check_exact(other, result, inputs()).passed


def test_an_arithmetic_that_is_wrong_on_both_sides_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = ExactArithmetic.op_conv1d
    source, result = pair([nn.ReLU()])
    monkeypatch.setattr(ExactArithmetic, "op_conv1d", lambda self, *a, **k: self.op_mul(right(self, *a, **k), 0.0))
    report = check_exact(source, result, inputs())
    assert all(c.passed for c in report.checks if "float64" not in c.name)  # zero equals zero
    assert not report.passed


# -- functions that are not evaluated --------------------------------------------------------------------


@pytest.mark.parametrize("final", ["sigmoid", "tanh", "softplus", "softmax", "log_softmax"])
def test_head_after_the_merge(final: str) -> None:
    source, result = pair([nn.ReLU()], final=final)
    assert check_exact(source, result, inputs()).passed
    mutant = copy.deepcopy(result)
    last_bit(mutant)
    assert not check_exact(source, mutant, inputs()).passed
    other, _ = pair([nn.ReLU()], final="sigmoid" if final == "tanh" else "tanh")
    assert not check_exact(other, result, inputs()).passed


@pytest.mark.parametrize("merge", ["mean", "sum", "max"])
@pytest.mark.parametrize("last", [nn.Sigmoid(), nn.Softmax(1)])
def test_function_before_the_merge(merge: str, last: nn.Module) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(4, 3, 5), nn.AdaptiveMaxPool1d(1), nn.Flatten(), last).eval()
    source = Conjoined(net, merge=merge).eval()
    result = convert(source, ConvertConfig(input_shapes=((4, 20),), verify=False)).model
    if merge == "max" and isinstance(last, nn.Softmax):
        with pytest.raises(NotCovered, match="a maximum of numbers that come from softmax is not covered"):
            check_exact(source, result, inputs((4, 20)))
        return
    assert check_exact(source, result, inputs((4, 20))).passed
    last_bit(result)
    assert not check_exact(source, result, inputs((4, 20))).passed


def test_exponential_activations_and_a_linear_rest() -> None:
    class Exp(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.exp()

    source, result = pair([Exp()])
    assert check_exact(source, result, inputs()).passed
    last_bit(result)
    assert not check_exact(source, result, inputs()).passed


# -- what is refused ---------------------------------------------------------------------------------------


class Deciding(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if float(x.sum()) > 0 else x


class Writing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x[:, :, 1:]
        y += 1.0
        return x


@pytest.mark.parametrize(
    ("step", "say"),
    [
        (nn.GroupNorm(1, 5), "layer '1': the function 'group_norm' is not covered by exact arithmetic"),
        (nn.Sequential(nn.Tanh(), nn.Conv1d(5, 5, 1), nn.ReLU()), "layer '1.2': relu of numbers that come from tanh"),
        (nn.LPPool1d(2, 3), "lp_pool1d"),
        (Deciding(), "a decision by the numbers of a tensor"),
        (Writing(), "written in place into a view"),
        (nn.BatchNorm1d(5, track_running_stats=False), "batch norm in train mode, or without running statistics"),
    ],
)
def test_refused(step: nn.Module, say: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(4, 5, 3), step, nn.AdaptiveMaxPool1d(1), nn.Flatten()).eval()
    with pytest.raises(NotCovered, match=say):
        evaluate_exact(net, [torch.randn(1, 4, 20)])
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in net.modules())


def test_weights_that_are_computed_are_computed_exactly() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(4, 2, 3)
            self.gain = nn.Parameter(torch.tensor(0.1))

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.conv1d(x, self.conv.weight * self.gain, self.conv.bias)

    net = Scaled().eval()
    x = torch.randn(1, 4, 5, dtype=torch.float64)
    (found,) = evaluate_exact(net, [x]).values()
    w, g = net.conv.weight.detach().double(), Fraction(float(net.gain.detach()))
    first = sum(
        (Fraction(float(w[0, c, k])) * g * Fraction(float(x[0, c, k])) for c in range(4) for k in range(3)),
        Fraction(float(net.conv.bias.detach()[0])),
    )
    assert found.numbers.fractions()[0] == first


def test_low_precision_weights_and_other_shapes() -> None:
    source, result = pair([nn.ReLU()])
    assert check_exact(source.to(torch.bfloat16), result.to(torch.bfloat16), inputs()).passed
    other, _ = pair([nn.ReLU()], merge="sum")
    other.net[-1] = nn.Linear(10, 2).eval()
    report = check_exact(other.double(), result, inputs())
    assert "shape (1, 2) of a, (1, 3) of b" in str(report)
