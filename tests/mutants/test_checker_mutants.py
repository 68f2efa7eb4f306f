"""Wrong networks that the checks must catch, and checks in use elsewhere that let them through.

A checker is only evidence if it fails what is wrong. Each network here is wrong in one way; the
``naive`` check below, an absolute tolerance and an equivariance test that stands alone, passes most of them.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from rcproof.strand import rc
from rcproof.verify import check_equivalence, check_equivariance, check_independence, draw_inputs
from tests.verify.models import Applied, Both, Function, Profile, Score

CASES = list(draw_inputs([(4, 40)], "reversal"))


def reference() -> nn.Module:
    return Both(Profile(), output="reversal")


class WrongComplement(Both):
    """Reverses without complementing: ρ with the channels kept."""

    def forward(self, x: Tensor) -> Tensor:
        return (self.net(x) + rc(self.net(x.flip(2)))) / 2


class NotReversed(Both):
    """Complements without reversing."""

    def forward(self, x: Tensor) -> Tensor:
        return (self.net(x) + rc(self.net(x.flip(1)))) / 2


class NoHalf(Both):
    """The sum of the strands instead of the mean: equivariant, and another function."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) + rc(self.net(rc(x)))


class UnflippedKernel(Both):
    """The other strand's first kernel is complemented, not reversed."""

    def forward(self, x: Tensor) -> Tensor:
        w, b = self.net.first.weight.flip(1), self.net.first.bias
        other = self.net.second(nn.functional.conv1d(x, w, b).relu())
        return (self.net(x) + other.flip(1)) / 2


class SwappedStrands(Both):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).flip(1)


class OffByOne(Both):
    """The other strand's profile is one position off."""

    def forward(self, x: Tensor) -> Tensor:
        return (self.net(x) + rc(self.net(rc(x))).roll(1, 2)) / 2


def scaled(factor: float) -> nn.Module:
    return Applied(reference(), lambda y: y * factor)


def one_weight(relative: float) -> nn.Module:
    net = reference().double()
    with torch.no_grad():
        net.net.second.weight[0, 0, 0] *= 1 + relative
    return net


def noise(seed: int, scale: float) -> nn.Module:
    """A wrong network of small scale: an absolute tolerance passes it."""
    return Applied(Profile(seed), lambda y: scale * y)


def one_infinity() -> nn.Module:
    return Applied(reference(), lambda y: torch.cat([y[..., :-1], y[..., -1:] * math.inf], 2))


NOT_EQUIVALENT = {
    "all NaN": Applied(reference(), lambda y: y * math.nan),
    "one infinity": one_infinity(),
    "all zero": Applied(reference(), lambda y: 0 * y),
    "constant": Applied(reference(), lambda y: 0 * y + 1),
    "wrong complement": WrongComplement(Profile()),
    "not reversed": NotReversed(Profile()),
    "dropped ½": NoHalf(Profile()),
    "unflipped kernel": UnflippedKernel(Profile()),
    "swapped strands": SwappedStrands(Profile()),
    "off by one": OffByOne(Profile()),
    "wrong output representation": Both(Profile(), output="length"),
    "scaled by 1 + 1e-9": scaled(1 + 1e-9),
    "one weight off by 1e-6": one_weight(1e-6),
    "small and wrong": noise(1, 1e-6),
    "other weights": Both(Profile(1)),
    "shorter": Applied(reference(), lambda y: y[..., :-1]),
    "a list": Applied(reference(), lambda y: [y]),
    "rounded to integers": Applied(reference(), lambda y: (100 * y).round().long()),
    "float32 inside": Applied(reference(), lambda y: y.float().double()),
    "right values, no gradient": Applied(reference(), lambda y: y.detach()),
    "right values, wrong gradient": Applied(reference(), lambda y: y + (y - y.detach())),
    "single strand": Profile(),
    "raises": nn.Conv1d(5, 2, 3),
}


@pytest.mark.parametrize("name", NOT_EQUIVALENT)
def test_equivalence_catches(name):
    assert not check_equivalence(reference(), NOT_EQUIVALENT[name], CASES).passed
    if name != "raises":
        assert not check_equivalence(NOT_EQUIVALENT[name], reference(), CASES).passed


def test_equivalence_of_bad_references():
    """Two networks that agree on nonsense do not pass."""
    for name in ("all NaN", "one infinity", "raises"):
        assert not check_equivalence(NOT_EQUIVALENT[name], NOT_EQUIVALENT[name], CASES).passed


def test_equivalence_where_both_are_small():
    assert check_equivalence(noise(0, 1e-6), noise(0, 1e-6), CASES).passed
    assert not check_equivalence(noise(0, 1e-6), noise(1, 1e-6), CASES).passed
    assert not check_equivalence(noise(0, 1e-6), Applied(noise(0, 1e-6), lambda y: y * (1 + 1e-9)), CASES).passed
    assert not check_equivalence(Function(lambda x: 0 * x), Function(lambda x: 0 * x + 1e-300), CASES).passed


NOT_EQUIVARIANT = {
    "all NaN": Function(lambda x: x * math.nan),
    "infinite": Function(lambda x: x + math.inf),
    "all zero": Function(lambda x: 0 * x),
    "constant": Function(lambda x: torch.ones(len(x), 2, 5)),
    "nearly constant": Function(lambda x: 1 + 1e-14 * x),
    "integers, constant": Function(lambda x: torch.ones(len(x), 2, 5, dtype=torch.long)),
    "integers": Applied(Profile(), lambda y: (100 * y).round().long()),
    "single strand": Profile(),
    "small and wrong": noise(0, 1e-6),
    "very small and wrong": noise(0, 1e-30),
    "nearly right": Applied(reference(), lambda y: y + 1e-9 * y.roll(1, 2)),
    "wrong complement": WrongComplement(Profile()),
    "not reversed": NotReversed(Profile()),
    "unflipped kernel": UnflippedKernel(Profile()),
    "off by one": OffByOne(Profile()),
    "wrong output representation": Both(Profile(), output="length"),
    "misaligned pooling": Applied(reference(), lambda y: nn.functional.max_pool1d(y, 2, 2)),
    "same padding, even kernel": nn.Sequential(reference(), nn.ConstantPad1d((1, 2), 0.0), nn.AvgPool1d(4, 1)),
    "softmax over one half": Applied(reference(), lambda y: torch.cat([y[:, :1].softmax(2), y[:, 1:]], 1)),
    "grows with length": Applied(reference(), lambda y: y * torch.arange(y.shape[2])),
    "raises": nn.Conv1d(5, 2, 3),
}


@pytest.mark.parametrize("name", NOT_EQUIVARIANT)
def test_equivariance_catches(name):
    assert not check_equivariance(NOT_EQUIVARIANT[name], CASES, "reversal", "reversal").passed


def test_equivariance_alone_is_not_enough():
    """Equivariant and wrong: what only the equivalence check can see."""
    for name in ("dropped ½", "other weights", "scaled by 1 + 1e-9", "swapped strands"):
        assert check_equivariance(NOT_EQUIVALENT[name], CASES, "reversal", "reversal").passed, name


def naive(model: nn.Module, tolerance: float = 1e-3) -> bool:
    """How other packages check: fail if some difference exceeds an absolute tolerance."""
    x = CASES[0].tensors[0]
    with torch.no_grad():
        difference = (model.double()(rc(x)) - rc(model(x))).abs().max()
    return not bool(difference > tolerance)


@pytest.mark.parametrize(
    "name", ["all NaN", "all zero", "constant", "small and wrong", "very small and wrong", "nearly right"]
)
def test_the_naive_check_passes_them(name):
    assert naive(NOT_EQUIVARIANT[name])


@pytest.mark.parametrize(
    "after",
    [
        lambda y: y - y.mean(0),
        lambda y: y / y.abs().max(),
        lambda y: y.sort(0).values,
        lambda y: y + y.flip(0),
        lambda y: y + 1e-14 * y.flip(0),
        lambda y: y[:1].expand(len(y), -1),
        lambda y: y * math.nan,
    ],
)
def test_independence_catches(after):
    assert check_independence(Score(tasks=2), CASES).passed
    assert not check_independence(Applied(Score(tasks=2), after), CASES).passed
