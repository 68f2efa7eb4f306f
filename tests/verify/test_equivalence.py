import copy

import pytest
import torch
from torch import nn

from rcproof.errors import VerificationError
from rcproof.strand import tokens
from rcproof.verify import InputCase, check_equivalence, draw_inputs, vary_lengths
from tests.verify.models import Applied, Both, Function, OnePass, Profile, Score, Tokens, TwoHeads


def inputs(length=60, **options):
    return list(draw_inputs([(4, length)], "reversal", **options))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_same_function_written_twice(dtype):
    a, b = Both(Profile()), OnePass(Profile())
    report = check_equivalence(a, b, inputs() + vary_lengths(a, [(4, 60)], "reversal"), dtype=dtype)
    assert report.raise_if_failed() is report
    assert report.facts["compared"] == "outputs and input gradients"
    names = {check.name for check in report.checks}
    assert {"one-hot: output", "one-hot: gradient of output by input 0", "one-hot, length 10: output"} <= names


def test_pooling_ties_do_not_matter():
    """One-hot and constant inputs tie in max pooling; two right networks may pick different maxima."""

    class Later(nn.Module):
        """Max pooling that picks the last of equal maxima."""

        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, x):
            n = self.net
            h = n.norm(n.conv(x)).relu()
            h = nn.functional.max_pool1d(nn.functional.pad(h, (0, (4 - h.shape[2]) % 3)).flip(2), 4, 3)
            return n.head(h.mean(2))

    net = Score()
    cases = inputs(length=32)  # 28 positions after the convolution: windows 4, stride 3, all read
    assert check_equivalence(net, Later(net), cases).passed
    x = cases[3].tensors[0].requires_grad_()
    own, other = (torch.autograd.grad(m.double().eval()(x).sum(), x)[0] for m in (copy.deepcopy(net), Later(net)))
    assert not torch.allclose(own, other), "at the tie itself the gradients do differ"


def test_several_inputs_and_outputs():
    cases = list(draw_inputs([(4, 40), (2, 40)], ["reversal", "length"]))
    net = TwoHeads()
    report = check_equivalence(net, copy.deepcopy(net), cases)
    assert report.passed
    names = [c.name for c in report.checks if c.name.startswith("random")]
    assert names == [
        "random: output.profile",
        "random: output.counts",
        "random: gradient of output.counts by input 0",
        "random: gradient of output.counts by input 1",
        "random: gradient of output.profile by input 0",
    ]


def test_nothing_is_changed():
    a = Score().train()
    before = {k: v.clone() for k, v in a.state_dict().items()}
    cases = inputs(kinds=["random"])
    kept = cases[0].tensors[0].clone()
    torch.manual_seed(5)
    state = torch.get_rng_state()
    check_equivalence(a, a, cases)
    assert torch.equal(torch.get_rng_state(), state), "the global random state moved"
    assert a.training
    assert all(torch.equal(v, before[k]) and v.dtype == before[k].dtype for k, v in a.state_dict().items())
    assert torch.equal(cases[0].tensors[0], kept)
    assert not cases[0].tensors[0].requires_grad
    assert all(p.grad is None for p in a.parameters())


def test_eval_is_what_is_compared():
    class Dropped(Score):
        def forward(self, x):
            return nn.functional.dropout(super().forward(x), 0.5, self.training)

    assert check_equivalence(Dropped(), Score(), inputs()).passed


def test_tokens_have_no_gradients():
    cases = list(draw_inputs([(30,)], tokens()))
    report = check_equivalence(Tokens(), Tokens(), cases)
    assert report.passed
    assert report.notes == ("no floating-point input or output: there are no gradients to compare",)
    assert not check_equivalence(Tokens(), Tokens(1), cases).passed


def test_integer_outputs_are_exact():
    best = Applied(Profile(), lambda y: y.argmax(2))
    assert check_equivalence(best, best, inputs()).passed
    assert not check_equivalence(best, Applied(Profile(), lambda y: y.argmax(2) + 1), inputs()).passed


def test_notes_on_answers_that_say_little():
    zero = Function(lambda x: 0 * x)
    report = check_equivalence(zero, zero, inputs())
    assert report.passed
    assert report.notes == ("output of a is zero on every input, so that agreement on it says little",)
    one = Function(lambda x: torch.ones(len(x), 1))
    report = check_equivalence(one, one, inputs())
    assert report.notes == (
        "no output of either network depends on the inputs differentiably: no gradients compared",
        "output of a is the same for every input, so that agreement on it says little",
    )
    assert check_equivalence(Profile(), Profile(), inputs()).notes == ()


@pytest.mark.parametrize(
    ("b", "text"),
    [
        (Applied(Profile(), lambda y: y[..., 1:]), "shape (4, 2, 51) of a, (4, 2, 50) of b"),
        (Applied(Profile(), lambda y: (y, y)), "a returns output; b returns output[0], output[1]"),
        (Applied(Profile(), lambda y: y / 0), "b has 408 of 408 values that are not finite"),
        (nn.Conv1d(3, 2, 5), "b raised RuntimeError: Given groups=1, weight of size [2, 3, 5]"),
        (Applied(Profile(), lambda y: y.detach()), "gradient of output by input 0: error 1.00e+00 > 1e-12"),
    ],
)
def test_what_a_failure_says(b, text):
    with pytest.raises(VerificationError) as error:
        check_equivalence(Profile(), b, inputs(kinds=["random"])).raise_if_failed()
    assert text in str(error.value)


def test_the_reference_must_run_too():
    report = check_equivalence(nn.Conv1d(3, 2, 5), nn.Conv1d(3, 2, 5), inputs(kinds=["random"]))
    assert not report.passed
    assert "a raised RuntimeError" in str(report)


def test_dropout_left_on_is_named():
    noisy = Applied(Profile(), lambda y: nn.functional.dropout(y, 0.5, training=True))
    report = check_equivalence(Profile(), noisy, inputs(kinds=["random"]))
    assert report.notes == ("b gives another answer each time it runs: is dropout on in eval mode?",)


def test_tolerance_can_be_given():
    close = Applied(Profile(), lambda y: y * (1 + 1e-9))
    assert not check_equivalence(Profile(), close, inputs()).passed
    assert check_equivalence(Profile(), close, inputs(), tolerance=1e-8).passed
    assert check_equivalence(Profile(), close, inputs(), dtype=torch.float32).passed


def test_one_wrong_case_is_enough():
    """A difference on N alone shows only where there is N."""
    wrong = Function(lambda x: Profile().double()(x) + 1e-3 * (x.sum(1, keepdim=True) == 0)[..., 9:])
    report = check_equivalence(Profile(), wrong, inputs(), gradients=False)
    assert {c.name for c in report.failures} == {"zeros: output", "some-n: output"}


def test_single_tensor_and_named_case():
    x = torch.randn(2, 4, 30)
    assert check_equivalence(Profile(), Profile(), x).passed
    assert check_equivalence(Profile(), Profile(), InputCase("mine", (x,))).checks[0].name == "mine: output"
