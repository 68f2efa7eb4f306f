"""Rounding bounds: never exceeded, close on the paper's networks, the rules of T12; broken bounds are caught."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rcproof.conjoined import Conjoined
from rcproof.convert import ConvertConfig
from rcproof.convert.api import convert
from rcproof.errors import RcproofError
from rcproof.models import BinaryNet, ProfileNet
from rcproof.symbolic import rounding
from rcproof.verify import bounds, bounds_pairs, draw_inputs
from rcproof.verify.bounds import Box, bound_network, check_bounds, smallest_boxes
from rcproof.verify.bounds_linear import LinearBounds
from rcproof.verify.bounds_ops import SMOOTH, STEEP, BoundArithmetic
from rcproof.verify.bounds_values import Bounding, Raw
from rcproof.verify.inputs import InputCase
from rcproof.verify.intercept import NotCovered
from rcproof.verify.precision import PRECISIONS, Precision, cut_to_tf32, precision
from tests.verify import bound_cases
from tests.verify.bound_cases import BATCH, against_exact, figures, random_cases, row
from tests.verify.test_exact import paper_pair

# -- the model ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRECISIONS)
@pytest.mark.parametrize("n", [0, 1, 7, 1000])
def test_gamma_is_that_of_the_theorem(name: str, n: int) -> None:
    p = PRECISIONS[name]
    exact = rounding.gamma(n, Fraction(p.sums))
    assert math.isclose(float(p.gamma(n)), float(exact), rel_tol=1e-12)
    assert float(p.gamma(2**60)) == math.inf


def test_precision_names() -> None:
    assert precision("bf16") is precision(torch.bfloat16) is PRECISIONS["bfloat16"]
    with pytest.raises(RcproofError, match="precision of a rounding bound: got 'float16'; expected float64, float32"):
        precision("float16")
    with pytest.raises(RcproofError, match="kind of rounding bound: got 'guess'; expected box, input, run"):
        bound_network(nn.Conv1d(4, 1, 1), [torch.zeros(1, 4, 5)], "float32", "guess")


def test_tf32_keeps_ten_bits() -> None:
    x = torch.randn(10_000) * 10 ** torch.randn(10_000)
    cut = cut_to_tf32(x)
    mantissa, power = np.frexp(x.double().numpy())
    nearest = np.ldexp(np.rint(mantissa * 2**11), power - 11)  # numpy rounds ties to even, too
    assert np.array_equal(cut.double().numpy(), nearest)
    assert torch.equal(cut_to_tf32(cut), cut)
    assert cut_to_tf32(torch.tensor([math.inf, 0.0])).tolist() == [math.inf, 0.0]


def test_a_convolution_is_bounded_as_in_the_theorem() -> None:
    torch.manual_seed(0)
    conv = nn.Conv1d(4, 3, 5).eval()
    found = bound_network(conv, [Box(-1.5, 1.5)], "float32", "box", shapes=[(4, 9)]).outputs["output"].error
    weight = [[[Fraction(float(w)) for w in taps] for taps in row] for row in conv.weight.detach()]
    bias = [Fraction(float(b)) for b in conv.bias.detach()]
    limit = rounding.linear(rounding.box([Fraction(3, 2)] * 4), weight, bias, Fraction(2**-24)).error
    for errors, e in zip(found[0], limit, strict=True):
        assert torch.allclose(errors, torch.full_like(errors, float(e)), rtol=0.06)
        assert bool((errors >= float(e)).all())


def test_one_hot_boxes_are_tighter() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(4, 8, 9), nn.ReLU(), nn.Conv1d(8, 1, 5)).eval()
    wide, tight = (
        bound_network(net, [Box(0, 1, one_hot)], "float32", "box", shapes=[(4, 30)]).outputs["output"].error.max()
        for one_hot in (False, True)
    )
    assert float(tight) < 0.6 * float(wide)


def test_smallest_boxes() -> None:
    cases = list(draw_inputs([(4, 20), (3, 5)], ["reversal", "length"], kinds=("one-hot", "uniform", "some-n")))
    dna, control = smallest_boxes(cases)
    assert dna == Box(0.0, 1.0, True)
    assert control == Box(min(float(c.tensors[1].min()) for c in cases), max(float(c.tensors[1].max()) for c in cases))
    (drawn,) = draw_inputs([(4, 20)], ["reversal"], kinds=("random",))
    assert smallest_boxes([drawn])[0].one_hot is False
    assert smallest_boxes([InputCase("tokens", (torch.zeros(1, 4, dtype=torch.int64),))]) is None


# -- never exceeded ------------------------------------------------------------------------------------------


def test_random_networks() -> None:
    found = figures(row(one) for one in random_cases(20_000, 8))
    assert found["exceeded"] == []
    assert found["cases"] == 8 * 4 * BATCH
    for name, of in found["precisions"].items():
        assert of["differ"] > 0, name
        assert of["rounding over model"] <= 1
        assert all(kind["largest share"] <= 1 for kind in of["bounds"].values())
        assert of["bounds"]["pair"]["least"] <= of["bounds"]["run"]["least"]


def test_cases_go_on_from_their_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, asked = tmp_path / "cases.jsonl", []
    empty = {"runs": 2, "differ": 0, "exceeded": [], "excess": 0.0, "kinds": {}, "cases": 8}
    monkeypatch.setattr(bound_cases, "random_cases", lambda seed, count: asked.append(seed) or [seed] * 4)
    monkeypatch.setattr(
        bound_cases, "row", lambda seed: {**empty, "seed": seed, "precision": list(PRECISIONS)[len(asked) % 4]}
    )
    first = bound_cases.gathered(64, 0, log)
    assert asked == [0, 1]
    whole = log.read_text()
    log.write_text(whole[: len(whole) - 20])  # cut short: the second network is run again
    assert bound_cases.gathered(96, 0, log)[:4] == first[:4]
    assert asked == [0, 1, 1, 2]
    assert figures(bound_cases.gathered(96, 0, log))["cases"] == 96
    assert asked == [0, 1, 1, 2]


@pytest.mark.parametrize("name", PRECISIONS)
def test_each_network_against_its_exact_function(name: str) -> None:
    worst = {seed: against_exact(seed, name) for seed in range(100, 105)}
    assert all(share <= 1 for share, _ in worst.values()), worst
    if name != "float64":
        assert max(share for share, _ in worst.values()) > 0.05  # a bound of everything would hold too


FUNCTIONS: dict[str, nn.Module] = {
    "sigmoid": nn.Sigmoid(), "tanh": nn.Tanh(), "softplus": nn.Softplus(2.0, 3.0), "logsigmoid": nn.LogSigmoid(),
    "gelu": nn.GELU(), "silu": nn.SiLU(), "mish": nn.Mish(), "softsign": nn.Softsign(), "elu": nn.ELU(1.3),
    "celu": nn.CELU(0.7), "selu": nn.SELU(),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(SMOOTH.keys() | STEEP.keys()))
@pytest.mark.parametrize("prec", ["float32", "bfloat16"])
def test_functions(name: str, prec: str) -> None:
    """Both the rounding of the function and what it makes of an error at its argument."""

    class Applied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(1, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            y = y * y + 0.1 if name in ("log", "log1p", "sqrt") else y
            return FUNCTIONS[name](y) if name in FUNCTIONS else getattr(torch, name)(y)

    torch.manual_seed(0)
    net = Applied().eval()
    with torch.no_grad():
        net.conv.weight.fill_(1.1)
    p = PRECISIONS[prec]
    x = torch.linspace(-4, 4, 3001, dtype=torch.float64).reshape(1, 1, -1)
    rounded = net.to(p.dtype)
    x = x.to(p.dtype).double()
    for kind in ("run", "input"):
        (found,) = bound_network(rounded, [x], p, kind, elements=40).outputs.values()
        computed = rounded(x.to(p.dtype)).double() if found.computed is None else found.computed.double()
        exact = Applied().double()
        exact.load_state_dict(rounded.state_dict())
        error = (computed - exact(x)).abs().detach() - 1e-13
        assert bool((error <= found.error).all()), (name, kind, float((error / found.error).max()))
        assert float((error / found.error).max()) > 0.01


def test_functions_that_underflow_are_within_the_model() -> None:
    """x·σ(x) at −88.8: e⁸⁸·⁸ overflows in float32, and 0 is computed for 22 times the smallest normal number."""
    net = nn.Sequential(nn.Conv1d(1, 1, 1, bias=False), nn.SiLU()).eval()
    net[0].weight.data.fill_(1.0)
    x = torch.linspace(-89, -88, 3000).reshape(1, 1, -1)
    for name in ("float32", "bfloat16"):
        found = bound_network(net, [x], name, "run", elements=3)
        assert 0.01 < found.excess <= 1, (found.excess, found.excess_at)


@pytest.mark.parametrize("along", [nn.Softmax(1), nn.LogSoftmax(1)])
def test_softmax(along: nn.Module) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 50), along).eval()
    x = 3 * torch.randn(4, 6).double()
    for name in ("float32", "bfloat16"):
        rounded = net.to(PRECISIONS[name].dtype)
        (found,) = bound_network(rounded, [x], name, "run", elements=200).outputs.values()
        exact = nn.Sequential(nn.Linear(6, 50), along).double()
        exact.load_state_dict(rounded.state_dict())
        error = (found.computed.double() - exact(x.to(PRECISIONS[name].dtype).double())).abs().detach()
        assert bool((error <= found.error).all())


def sequential_error(weight: np.ndarray, x: np.ndarray) -> float:
    """|computed − exact| of a dot product in float32, added one term at a time."""
    total = np.float32(0)
    for w, v in zip(weight.astype(np.float32), x.astype(np.float32), strict=True):
        total = np.float32(total + np.float32(w * v))
    exact = sum((Fraction(float(w)) * Fraction(float(v)) for w, v in zip(weight, x, strict=True)), Fraction(0))
    return abs(float(Fraction(float(total)) - exact))


def order_bound(terms: int) -> tuple[float, float]:
    """An order of summation that loses every term but the first, and the bound for any order."""
    weight = np.array([1.0] + [2.0**-24 * 0.999] * terms, dtype=np.float32).astype(np.float64)
    layer = nn.Linear(terms + 1, 1, bias=False)
    layer.weight.data = torch.from_numpy(weight).float().unsqueeze(0)
    x = torch.ones(1, terms + 1, dtype=torch.float64)
    (found,) = bound_network(layer.eval(), [x], "float32", "input").outputs.values()
    return sequential_error(weight, np.ones(terms + 1)), float(found.error)


@pytest.mark.parametrize("terms", [10, 1000])
def test_any_order_of_summation(terms: int) -> None:
    lost, bound = order_bound(terms)
    assert 0.5 * bound < lost <= bound


# -- close on the paper's networks ----------------------------------------------------------------------------


@pytest.mark.parametrize("prec", ["float32", "float64", "tf32", "bfloat16"])
@pytest.mark.parametrize("make", [BinaryNet, lambda: ProfileNet(length=400, n_control=0)])
def test_paper(make, prec: str) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    net = make()
    source, result = paper_pair(net)
    batch = (3 if prec == "float64" else 8) if isinstance(net, BinaryNet) else 1
    cases = list(draw_inputs(net.input_shapes(), net.input_representations, batch=batch, kinds=("one-hot",)))
    found = check_bounds(source, result, cases, prec=prec, kinds=("run", "pair"), pulled=8)
    assert found.report.passed, str(found.report)
    kind = "pair" if prec in ("tf32", "bfloat16") else "run"
    samples = [s for s in found.samples if s.kind == kind]
    # On some processors both networks round alike in every example; then the bound is measured by one rounding of 1.
    least = {"float32": 2.0**-24, "float64": 2.0**-53}.get(prec, 0.0)
    assert max(max(s.bound) for s in samples) <= 1000 * max(least, *(max(s.observed) for s in samples)), samples
    if prec != "tf32":  # whose heads of scalars can differ by much less than their factors are cut by
        assert all(max(s.bound) <= 1000 * max(least, *s.observed) for s in samples), samples


# -- pairs of runs ---------------------------------------------------------------------------------------------


def short_pair(prec: str = "tf32", layout: str = "stacked", seed: int = 0, dense: bool = False):  # type: ignore[no-untyped-def]
    """The bounds of a pair of runs, of networks that end in a profile or in a dense layer."""
    torch.manual_seed(seed)
    end = [nn.MaxPool1d(11), nn.Flatten(), nn.Linear(64, 1)] if dense else [nn.Conv1d(16, 2, 9)]
    net = nn.Sequential(
        nn.Conv1d(4, 16, 9), nn.BatchNorm1d(16), nn.ReLU(), nn.Conv1d(16, 16, 9), nn.ReLU(), *end
    ).eval()
    source = Conjoined(net, outputs="fixed" if dense else "reversal").eval()
    result = convert(source, ConvertConfig(input_shapes=((4, 60),), verify=False)).model
    cases = list(draw_inputs([(4, 60)], ["reversal"], kinds=("random",), batch=8, seed=seed))
    return check_bounds(source, result, cases, prec=prec, kinds=("run", "pair"), layout=layout, pulled=6)


@pytest.mark.parametrize("layout", ["stacked", "batched"])
@pytest.mark.parametrize("prec", PRECISIONS)
def test_what_two_runs_share_cancels(prec: str, layout: str) -> None:
    found = short_pair(prec, layout)
    assert found.report.passed, str(found.report)
    run, pair = (next(s for s in found.samples if s.kind == kind) for kind in ("run", "pair"))
    assert all(p <= r for p, r in zip(pair.bound, run.bound, strict=True))
    if layout == "batched":  # every step alike, so none is left but what our own arithmetic cannot tell
        assert found.report.facts["paired steps"] == "8 of the 8 of a"
        assert max(pair.bound) <= 1e-10 * max(run.bound) or prec == "float64"
    else:
        assert found.report.facts["paired steps"] == "8 of the 8 of a"
        assert max(pair.observed) > 0 or prec == "bfloat16"
        assert max(pair.bound) < 0.1 * max(run.bound) or prec in ("float64", "float32")


def test_layouts_are_turned_into_each_other() -> None:
    x = torch.randn(6, 2, 5)
    stacked = bounds_pairs.strands_in_batch(x, (3, 4, 5))
    assert torch.equal(stacked, torch.cat([x[:3], x[3:].flip(1, 2)], 1))
    assert torch.equal(bounds_pairs.strands_in_batch(stacked, (6, 2, 5)), x)
    assert bounds_pairs.strands_in_batch(x, x.shape) is x
    assert bounds_pairs.strands_in_batch(x, (6, 1, 10)) is None
    assert bounds_pairs.strands_in_batch(x, (3, 4, 4)) is None


def test_a_result_that_cannot_be_another_number_has_the_bound_zero() -> None:
    one = torch.tensor([1.0, 1.0, -3.0, 0.0])
    bound = torch.tensor([2.0**-24, 2.0**-25, 2.0**-23, 1e-300], dtype=torch.float64)
    assert bounds._snapped(bound, one).tolist() == [2.0**-24, 0.0, 0.0, 0.0]
    assert bounds._snapped(bound, one.bfloat16()).tolist() == [0.0] * 4


def wrong_strand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds_pairs, "rc", lambda x: x)


def wrong_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two last convolutions of 16 channels are taken for each other's neighbours, of the same size."""
    right = bounds_pairs.paired_steps

    def wrong(a, b):  # type: ignore[no-untyped-def]
        pairs = right(a, b)
        pairs[0] = pairs[1]
        return pairs

    monkeypatch.setattr(bounds, "paired_steps", wrong)


@pytest.mark.parametrize("mutant", [wrong_strand, wrong_steps])
def test_a_wrong_pairing_is_refused(mutant, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    mutant(monkeypatch)
    found = short_pair()
    assert found.report.passed
    assert found.report.facts["paired steps"] == "0 of the 8 of a"
    run, pair = (next(s for s in found.samples if s.kind == kind) for kind in ("run", "pair"))
    assert pair.bound == run.bound


def forget_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    """A paired step is taken to round alike whatever it was given."""
    right = Bounding._counted

    def wrong(self, name, lost, unsure):  # type: ignore[no-untyped-def]
        found = right(self, name, lost, unsure)
        return found * 0 if len(self.roundings) - 1 in self.given else found

    monkeypatch.setattr(Bounding, "_counted", wrong)


def forget_flips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a difference in rounding only so much counts as float32 can make: no last bit of few that turned over."""
    right = Bounding._counted

    def wrong(self, name, lost, unsure):  # type: ignore[no-untyped-def]
        found = right(self, name, lost, unsure)
        return found.clamp_max(2.0**-24) if len(self.roundings) - 1 in self.given else found

    monkeypatch.setattr(Bounding, "_counted", wrong)


def forget_unpaired(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Bounding._counted

    def wrong(self, name, lost, unsure):  # type: ignore[no-untyped-def]
        found = right(self, name, lost, unsure)
        return found * 0 if self.given and len(self.roundings) - 1 not in self.given else found

    monkeypatch.setattr(Bounding, "_counted", wrong)


def forget_to_carry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Differences stay at the step that made them."""
    right = Bounding._finished

    def wrong(self, raw: Raw, computed, local):  # type: ignore[no-untyped-def]
        if self.given:
            raw.err, raw.mid = raw.err * 0, raw.mid.detach()
        return right(self, raw, computed, local)

    monkeypatch.setattr(Bounding, "_finished", wrong)


@pytest.mark.parametrize("mutant", [forget_differences, forget_flips, forget_unpaired, forget_to_carry])
def test_broken_pairs_are_exceeded(mutant, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    mutant(monkeypatch)
    dense = mutant is forget_unpaired
    name = "bfloat16" if dense else "tf32"
    failed = [c.name for seed in range(4) for c in short_pair(name, seed=seed, dense=dense).report.failures]
    assert failed
    assert all(name.endswith(", pair") for name in failed)


# -- broken bounds -------------------------------------------------------------------------------------------


def forget_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer's own rounding is left out."""
    right = BoundArithmetic._measured

    def wrong(self, func, name, args, kwargs, raw):  # type: ignore[no-untyped-def]
        computed, local = right(self, func, name, args, kwargs, raw)
        return computed, local * (name != "conv1d")

    monkeypatch.setattr(BoundArithmetic, "_measured", wrong)


def forget_errors_that_come_in(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Bounding._finished

    def wrong(self, raw: Raw, computed, local):  # type: ignore[no-untyped-def]
        raw.err, raw.mid = raw.err * 0, raw.mid.detach()
        return right(self, raw, computed, local)

    monkeypatch.setattr(Bounding, "_finished", wrong)


def half_of_gamma(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Precision.gamma
    monkeypatch.setattr(Precision, "gamma", lambda self, n, unit=None: right(self, torch.as_tensor(n) * 0.45, unit))


def signed_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors are carried by w, not |w|, and so may cancel."""

    def wrong(self, f, x, weight, bias, column, what):  # type: ignore[no-untyped-def]
        raw = right(self, f, x, weight, bias, column, what)
        raw.err = f(self.value(x).err, self.weights(weight, what)).abs()
        return raw

    right = LinearBounds._products
    monkeypatch.setattr(LinearBounds, "_products", wrong)


def unit_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("float32", "bfloat16", "tf32", "float64"):
        p = PRECISIONS[name]
        wrong = Precision(p.name, p.dtype, p.unit / 4, p.sums / 4, p.factors / 4, p.smallest, p.reason)
        monkeypatch.setitem(PRECISIONS, name, wrong)


def shares() -> Iterator[float]:
    for seed in (104, 112, 106, 37, 100, 101):
        yield against_exact(seed, "float32")[0]


@pytest.mark.parametrize("mutant", [forget_convolutions, forget_errors_that_come_in, signed_weights])
def test_broken_bounds_are_exceeded(mutant, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    mutant(monkeypatch)
    assert any(not share <= 1 for share in shares())


def test_half_of_gamma_is_exceeded(monkeypatch: pytest.MonkeyPatch) -> None:
    half_of_gamma(monkeypatch)
    lost, bound = order_bound(1000)
    assert not lost <= bound


def test_a_unit_that_is_too_small_is_exceeded(monkeypatch: pytest.MonkeyPatch) -> None:
    unit_too_small(monkeypatch)
    found = list(random_cases(20_000, 4, ("float32", "bfloat16")))
    failed = [c for f in found for c in f.report.failures]
    assert any("within the model" in c.name for c in failed)


def test_a_box_that_is_too_small_is_exceeded() -> None:
    torch.manual_seed(0)
    net = nn.Conv1d(4, 1, 9, bias=False).eval()
    x = 40 * torch.randn(1, 4, 4000).double()
    (run,) = bound_network(net, [x], "float32", "run", elements=0).outputs.values()
    error = (run.computed.double() - net.double()(x.float().double())).abs().max()
    for size, holds in ((float(x.abs().max()), True), (0.4, False)):
        box = bound_network(net, [Box(-size, size)], "float32", "box", shapes=[(4, 4000)]).outputs["output"].error
        assert bool(error <= box.max()) is holds


def test_another_function_is_seen() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(4, 3, 5), nn.ReLU(), nn.AdaptiveMaxPool1d(1), nn.Flatten()).eval()
    source = Conjoined(net).eval()
    result = convert(source, ConvertConfig(input_shapes=((4, 30),), verify=False)).model
    result.get_submodule("0").weight.data[0, 0, 0] += 1e-3
    (case,) = draw_inputs([(4, 30)], ["reversal"], kinds=("random",))
    failed = check_bounds(source, result, [case]).report.failures
    assert {c.name.rpartition(", ")[2] for c in failed} >= {"run", "pair"}


# -- what is refused, and what is infinite ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "say"),
    [
        (nn.LSTM(7, 2), "the function 'lstm' is not covered by the rounding bounds"),
        (nn.Sequential(nn.GroupNorm(1, 3)), "layer '1.0': the function 'group_norm'"),
        (nn.BatchNorm1d(3, track_running_stats=False), "batch norm in train mode, or without running statistics"),
    ],
)
def test_refused(step: nn.Module, say: str) -> None:
    with pytest.raises(NotCovered, match=say):
        bound_network(nn.Sequential(nn.Conv1d(4, 3, 3), step).eval(), [torch.randn(1, 4, 9)])


class Share(nn.Module):
    def __init__(self, plus: float) -> None:
        super().__init__()
        self.conv, self.plus = nn.Conv1d(4, 4, 3), plus

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return y / (y.square().sum(2, keepdim=True) * 0.3 + self.plus) / 0.7


@pytest.mark.parametrize("prec", ["float32", "bfloat16", "float64"])
def test_division_by_what_depends_on_the_input(prec: str) -> None:
    p = PRECISIONS[prec]
    torch.manual_seed(0)
    net = Share(2.0).eval().to(p.dtype)
    x = torch.randn(3, 4, 9).to(p.dtype).double()
    exact = Share(2.0).double()
    exact.load_state_dict(net.state_dict())
    for kind in ("run", "input"):
        (found,) = bound_network(net, [x], prec, kind, elements=100).outputs.values()
        error = (net(x.to(p.dtype)).double() - exact(x)).abs().detach()
        assert bool((error <= found.error + 1e-16).all())
    with pytest.raises(NotCovered, match="a division by numbers that may be zero"):
        bound_network(Share(0.0), [Box(-1, 1)], prec, "box", shapes=[(4, 9)])


def test_overflow_has_no_bound() -> None:
    net = nn.Conv1d(4, 1, 1, bias=False).eval()
    net.weight.data.fill_(1e30)
    (found,) = bound_network(net, [torch.full((1, 4, 3), 1e10)], "float32", "input").outputs.values()
    assert bool(found.error.isinf().all())


def test_tokens_have_no_box_but_bounds() -> None:
    class Embedded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.head = nn.Embedding(5, 3), nn.Conv1d(3, 2, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.embedding(x).transpose(1, 2)).relu().amax(2)

    torch.manual_seed(0)
    source = Conjoined(Embedded().eval(), inputs="tokens:3,2,1,0,4").eval()
    result = convert(source, ConvertConfig(input_shapes=((20,),), verify=False)).model
    (case,) = draw_inputs([(20,)], ["tokens:3,2,1,0,4"], kinds=("one-hot",))
    found = check_bounds(source, result, [case])
    assert found.report.passed, str(found.report)
    assert found.report.notes == ("an input of integers has no box: no bound before the run",)
    assert {s.kind for s in found.samples} == {"input", "run", "pair"}
