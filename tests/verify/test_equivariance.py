import pytest
import torch
from torch import nn

from rcproof.errors import RepresentationError
from rcproof.strand import dna, rc, stack, tokens
from rcproof.verify import check_equivariance, draw_inputs, vary_lengths
from tests.verify.models import Applied, Both, Function, Profile, Score, Tokens, TwoHeads


def inputs(**options):
    return list(draw_inputs([(4, 60)], "reversal", **options))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("output", ["reversal", "length"])
def test_right_profiles_pass(output, dtype):
    net = Both(Profile(), output=output)
    cases = inputs() + vary_lengths(net, [(4, 60)], "reversal")
    report = check_equivariance(net, cases, "reversal", output, dtype=dtype)
    report.raise_if_failed()
    assert (report.facts["inputs"], report.facts["outputs"]) == ("reversal", output)
    other = "length" if output == "reversal" else "reversal"
    assert not check_equivariance(net, cases, "reversal", other, dtype=dtype).passed


def test_right_scores_pass():
    net = Both(Score(tasks=3), output="fixed")
    assert check_equivariance(net, inputs(), "reversal", "fixed").passed
    assert not check_equivariance(net, inputs(), "reversal", "reversal").passed
    squeezed = Applied(Both(Score(), output="fixed"), lambda y: y[:, 0])
    assert check_equivariance(squeezed, inputs(), "reversal", "fixed").passed


def test_single_strand_networks_fail():
    assert not check_equivariance(Profile(), inputs(), "reversal", "reversal").passed
    assert not check_equivariance(Score(), inputs(), "reversal", "fixed").passed


def test_signed_outputs_that_vanish_on_symmetric_input():
    """f(x) − f(ρx) is zero on all-N input, up to rounding: its noise is not judged by itself."""

    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = Score()

        def forward(self, x):
            return self.net(x) - self.net(rc(x))

    assert check_equivariance(Odd(), inputs(), "reversal", "perm:-0").passed
    assert not check_equivariance(Odd(), inputs(), "reversal", "fixed").passed


def test_several_inputs_and_outputs():
    class Conjoined(TwoHeads):
        def forward(self, x, control):
            a, b = super().forward(x, control), super().forward(rc(x), rc(control, "length"))
            return [a["profile"] + rc(b["profile"]), (a["counts"] + b["counts"],)]

    cases = list(draw_inputs([(4, 40), (2, 40)], ["reversal", "length"]))
    assert check_equivariance(Conjoined(), cases, ["reversal", "length"], ["reversal", "fixed"]).passed
    wrong = check_equivariance(Conjoined(), cases, ["reversal", "length"], ["length", "fixed"])
    assert {c.name.split(": ")[1] for c in wrong.failures} == {"output[0]"}


def test_other_base_orders_and_tokens():
    order = dna("ATGC")
    assert check_equivariance(
        Both(Profile(), source=order), list(draw_inputs([(4, 40)], order)), order, "reversal"
    ).passed
    codes = tokens()
    cases = list(draw_inputs([(30,)], codes))
    assert check_equivariance(Both(Tokens(), codes, "fixed"), cases, codes, "fixed").passed
    assert not check_equivariance(Tokens(), cases, codes, "fixed").passed


def test_stacked_pairs():
    pair = Function(lambda x: stack(Profile().double()(x), Profile().double()(rc(x))))
    assert check_equivariance(pair, inputs(), "reversal", "reversal").passed
    plain = Function(lambda x: torch.cat([Profile().double()(x), Profile().double()(rc(x))], 1))
    assert not check_equivariance(plain, inputs(), "reversal", "reversal").passed


def test_zero_says_nothing():
    report = check_equivariance(Function(lambda x: 0 * x), inputs(), "reversal", "reversal")
    assert [str(c) for c in report.failures] == [
        "output depends on the inputs: error inf > 1e-12 (output is zero on every input, so that nothing was checked)"
    ]
    allowed = check_equivariance(Function(lambda x: 0 * x), inputs(), "reversal", "reversal", allow_constant=True)
    assert allowed.passed
    assert allowed.notes == (
        "output depends on the inputs: output is zero on every input, so that nothing was checked",
    )


def test_a_constant_says_nothing():
    constant = Function(lambda x: torch.ones(len(x), 3) + 1e-16 * x.mean())
    report = check_equivariance(constant, inputs(), "reversal", "fixed")
    assert "output is the same whatever the input" in str(report.failures[0])
    assert check_equivariance(constant, inputs(), "reversal", "fixed", allow_constant=True).passed


def test_constant_only_on_the_given_inputs():
    net = Both(Score(), output="fixed")
    report = check_equivariance(net, inputs(kinds=["uniform"]), "reversal", "fixed")
    assert report.passed
    assert report.notes == (
        "output depends on the inputs: output is the same on all the given inputs, though not on others",
    )
    one = check_equivariance(net, inputs(kinds=["one-hot"], batch=1), "reversal", "fixed")
    assert one.passed
    assert one.notes == ()


def test_nan_and_errors():
    nan = check_equivariance(Function(lambda x: x * float("nan")), inputs(), "reversal", "reversal")
    assert len(nan.failures) == 5
    assert "ρ model(x) has 960 of 960 values that are not finite" in str(nan)
    broken = check_equivariance(nn.Conv1d(3, 1, 1), inputs(kinds=["random"]), "reversal", "reversal")
    assert "random: the model runs" in str(broken)


def test_representations_must_fit():
    with pytest.raises(
        RepresentationError, match=r"representations of the inputs: got 2 \(reversal, length\); expected 1"
    ):
        check_equivariance(Profile(), inputs(), ["reversal", "length"], "reversal")
    with pytest.raises(RepresentationError, match=r"representations of the outputs: got 2 .*; expected 1"):
        check_equivariance(Profile(), inputs(), "reversal", ["reversal", "fixed"])
    with pytest.raises(RepresentationError, match="representation pairs:2 does not fit the tensor: got 2 channels"):
        check_equivariance(Profile(), inputs(), "reversal", "pairs:2")
