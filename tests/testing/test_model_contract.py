"""The contract of a model: right ones pass, and each broken one fails in the clause that it breaks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from rcproof.conjoined import Conjoined
from rcproof.convert import ConvertConfig, convert
from rcproof.errors import RcproofError
from rcproof.models import build
from rcproof.testing import ChannelsLast, Contract, check_rc_model
from rcproof.verify import Report
from tests.testing import broken
from tests.testing.likes import LikeBpnetLiteBias, LikeGreluTracks

OUTPUTS = ("reversal", "fixed")
SHAPES = [(4, 32)]


def failing(report: Report) -> set[str]:
    """The clauses with a failure."""
    return {check.name.partition(":")[0] for check in report.failures}


def contract_of(model: Callable[[], nn.Module], **options: object) -> Report:
    return check_rc_model(model, **{"shapes": SHAPES, "outputs": OUTPUTS, **options})


RIGHT: dict[str, tuple[Callable[[], nn.Module], dict[str, object]]] = {
    "by hand": (broken.Right, {"dtypes": (torch.float32, torch.bfloat16)}),
    "binary, conjoined": (lambda: build("binary", "conjoined", length=120), {"shapes": [(4, 120)], "outputs": "fixed"}),
    "binary, RCPS": (
        lambda: build("binary", "rcps", length=120, filters=4),
        {"shapes": [(4, 120)], "outputs": "fixed"},
    ),
    "profile, RCPS": (
        lambda: build("profile", "rcps", length=140, filters=4, dilated_layers=2),
        {"shapes": [(4, 140), (1,), (2, 34)], "inputs": ("reversal", "fixed", "length"), "outputs": "reversal"},
    ),
    "tokens": (
        lambda: Conjoined(
            nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(80, 3)), "tokens:3,2,1,0,4", "fixed"
        ),
        {"shapes": [(20,)], "inputs": "tokens:3,2,1,0,4", "outputs": "fixed"},
    ),
    "dropout": (
        lambda: Conjoined(nn.Sequential(broken.trunk(), nn.Dropout(0.3), nn.Conv1d(2, 2, 3)), outputs="reversal"),
        {"outputs": "reversal"},
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_models_pass(name: str) -> None:
    model, options = RIGHT[name]
    report = contract_of(model, **options)
    assert report.passed, str(report)


def test_a_converted_network_passes() -> None:
    model = convert(broken.conjoined().double().eval(), ConvertConfig(input_shapes=SHAPES)).model
    report = check_rc_model(model, SHAPES, outputs="reversal")
    assert report.passed, str(report)


BROKEN: dict[str, tuple[Callable[[], nn.Module], set[str]]] = {
    "wrong complement": (broken.WrongComplement, {"equivariance", "gradients", "statistics", "dtypes"}),
    "unflipped kernel": (broken.UnflippedKernel, {"equivariance", "gradients", "statistics", "dtypes"}),
    "one output unswapped": (broken.OneOutputUnswapped, {"equivariance", "gradients", "statistics", "dtypes"}),
    "one strand": (broken.OneStrand, {"equivariance", "gradients", "statistics", "dtypes"}),
    "constant": (broken.Constant, {"equivariance", "gradients"}),
    "zero": (broken.Zero, {"equivariance", "gradients"}),
    "NaN": (
        broken.NotANumber,
        {"equivariance", "independence", "gradients", "steadiness", "statistics", "copies", "dtypes"},
    ),
    "tiny scale": (broken.TinyScale, {"equivariance", "gradients", "statistics", "dtypes"}),
    "slightly wrong": (broken.SlightlyWrong, {"equivariance", "gradients", "statistics"}),
    "dropout in eval": (
        broken.DropoutInEval,
        {"equivariance", "independence", "gradients", "steadiness", "copies", "dtypes"},
    ),
    "mixes examples": (broken.MixesExamples, {"independence"}),
    "two passes": (broken.TwoPasses, {"statistics"}),
    "one strand detached": (broken.OneStrandDetached, {"gradients"}),
    "no gradient": (broken.NoGradient, {"gradients"}),
    "counts in eval": (broken.CountsInEval, {"steadiness"}),
    "forgets its statistics": (broken.ForgetsItsStatistics, {"copies"}),
    "single precision": (broken.SingleOnly, {"dtypes"}),
    "like gReLU's tracks": (
        lambda: LikeGreluTracks(broken.trunk()),
        {"equivariance", "gradients", "statistics", "dtypes"},
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_models_fail(name: str) -> None:
    model, clauses = BROKEN[name]
    outputs = "reversal" if name.startswith("like") else OUTPUTS
    report = contract_of(model, outputs=outputs)
    assert failing(report) == clauses, str(report)


def test_a_bias_model_that_is_not_tied_is_found() -> None:
    """And alone: the same sum with a conjoined bias model keeps the contract."""

    def conjoined() -> nn.Module:
        return Conjoined(broken.trunk(), outputs="reversal")

    tied = contract_of(lambda: LikeBpnetLiteBias(conjoined(), conjoined()), outputs="reversal")
    untied = contract_of(lambda: LikeBpnetLiteBias(conjoined(), broken.trunk()), outputs="reversal")
    assert tied.passed, str(tied)
    assert "equivariance" in failing(untied), str(untied)


def test_misaligned_pooling_shows_at_other_lengths() -> None:
    """(31 − 4 − 3) mod 3 = 0, so at 31 positions the windows centre."""
    report = contract_of(broken.MisalignedPool, shapes=[(4, 31)])
    assert failing(report) == {"equivariance"}
    lengths = {check.name.partition("length ")[2].partition(":")[0] for check in report.failures}
    assert "" not in lengths
    assert {"30", "32"} <= lengths
    assert failing(contract_of(broken.MisalignedPool, shapes=[(4, 31)], lengths=[31, 34])) == set()
    assert failing(contract_of(broken.MisalignedPool, shapes=[(4, 31)], lengths=[33])) == {"equivariance"}


def test_what_a_large_constant_hides() -> None:
    """In float32 the strands differ by less than the tolerance, and by all that the model knows."""
    report = contract_of(broken.BesideALargeConstant, dtype=torch.float32, dtypes=())
    assert "equivariance" in failing(report)
    loose = [check for check in report.failures if "beside its variation" in check.name]
    assert loose or any("is the same whatever the input" in check.detail for check in report.failures)


def test_a_length_that_the_model_refuses() -> None:
    report = contract_of(broken.Right, lengths=[5])
    assert failing(report) == {"equivariance"}
    assert "raised RuntimeError" in report.failures[0].detail


def test_the_model_is_not_changed() -> None:
    model = broken.Right().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    assert contract_of(lambda: model).passed
    assert torch.equal(torch.rand(1), expected), "torch's generator was moved"
    assert model.training
    assert next(model.parameters()).dtype == torch.float32
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_weights_as_given() -> None:
    """Initial biases of zero hide a bias that is not mirrored, but for its gradient; random weights show it."""

    class BiasOnTheLeft(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.bias = broken.conjoined(), nn.Parameter(torch.zeros(2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x) + self.bias[:, None]

    options = {"outputs": "reversal", "saved_whole": False}
    assert failing(contract_of(BiasOnTheLeft, **options, randomise=False)) == {"gradients"}
    assert "equivariance" in failing(contract_of(BiasOnTheLeft, **options))


def test_channels_last() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = broken.conjoined()

        def forward(self, x: torch.Tensor) -> dict[str, tuple[torch.Tensor, list[torch.Tensor]]]:
            y = self.net(x.transpose(1, 2)).transpose(1, 2)
            return {"profile": (y, [y.sum((1, 2))])}

    options = {"outputs": ("reversal", "fixed"), "saved_whole": False}
    report = contract_of(lambda: ChannelsLast(Last()), **options)
    assert report.passed, str(report)


def test_a_report_says_what_was_promised() -> None:
    report = contract_of(broken.Right, dtypes=(torch.bfloat16,), differentiable=False)
    assert report.facts["further dtypes"] == "bfloat16"
    assert "gradients" not in report.facts["clauses"]
    assert report.title == "RC contract of Right"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"batch": 1}, r"^batch of a contract: got 1; expected at least 2 examples to tell apart$"),
        ({"kinds": ("two-hot",)}, r"^kind of input: got 'two-hot'"),
        ({"inputs": "pairs:3"}, r"pairs:3 does not fit the tensor: got 4 channels; expected 6 channels"),
        ({"inputs": ("reversal", "fixed")}, r"representations of the inputs to draw: got 2; expected 1"),
        ({"outputs": ("fixed", "fixed", "fixed")}, r"representations of the outputs: got 3"),
    ],
)
def test_mistakes_are_named(options: dict[str, object], text: str) -> None:
    with pytest.raises(RcproofError, match=text):
        contract_of(broken.Right, **options)


def test_other_mistakes_are_named() -> None:
    with pytest.raises(RcproofError, match=r"^a model to test: got int; expected a torch\.nn\.Module or a function"):
        check_rc_model(3, SHAPES)  # type: ignore[arg-type]
    with pytest.raises(RcproofError, match=r"^what build returns: got int; expected a torch\.nn\.Module$"):
        check_rc_model(lambda: 3, SHAPES)  # type: ignore[arg-type,return-value]


def test_a_model_that_cannot_be_copied_fails() -> None:
    model = broken.Right()
    model.kept = (torch.ones(1, requires_grad=True) * 2,)
    report = check_rc_model(model, SHAPES, outputs=OUTPUTS)
    assert failing(report) == {"copies"}
    assert "give a function that builds it" in report.failures[0].detail.lower()


def test_contract_has_defaults_of_the_tables() -> None:
    contract = Contract(SHAPES)
    assert contract.limit == 1e-12
    assert Contract(SHAPES, tolerance=1e-3).limit == 1e-3
    assert len(contract.output_representations(3)) == 3
