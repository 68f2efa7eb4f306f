"""Conjoined networks against their formula: final(merge(net(x), ρ_out net(ρ_in x)))."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn

from rcproof.conjoined import FINALS, Conjoined
from rcproof.errors import RcproofError, RepresentationError, ShapeError
from rcproof.strand import rc
from tests import checks
from tests.strategies import closed_representations, normal, randomise, seeds

MERGE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean": lambda a, b: (a + b) / 2,
    "sum": lambda a, b: a + b,
    "max": torch.maximum,
}
both_ways = pytest.mark.parametrize("passes", [1, 2])


class Function(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *xs: Tensor) -> Any:
        return self.function(*xs)


def profile(seed: int = 0, channels: int = 2) -> nn.Module:
    return randomise(nn.Sequential(nn.Conv1d(4, 5, 3), nn.BatchNorm1d(5), nn.Conv1d(5, channels, 4)), seed)


def score(seed: int = 0, tasks: int = 3) -> nn.Module:
    return nn.Sequential(profile(seed, tasks), nn.AdaptiveMaxPool1d(1), nn.Flatten()).double()


@settings(max_examples=60)
@given(st.data(), seeds, st.sampled_from(sorted(MERGE)), st.sampled_from((1, 2)), st.integers(1, 5))
def test_formula(data: st.DataObject, seed: int, mode: str, passes: int, channels: int) -> None:
    """Any representations of input and output, any merge; equivariant for a network that knows nothing of strands."""
    rho_in = data.draw(closed_representations(4))
    rho_out = data.draw(closed_representations(channels))
    net, x = profile(seed, channels).eval(), normal(seed, 3, 4, 17)
    if mode == "max" and -1 in (rho_out.signs or ()):
        with pytest.raises(
            RepresentationError, match="with signs perm:.* cannot be merged by max: expected mean or sum"
        ):
            Conjoined(net, rho_in, rho_out, mode, passes=passes).eval()(x)
        return
    model = Conjoined(net, rho_in, rho_out, mode, passes=passes).eval()
    checks.close(model(x), MERGE[mode](net(x), rc(net(rc(x, rho_in)), rho_out)))
    checks.equivariance(model, x, rho_in, rho_out)


@both_ways
def test_defaults(passes: int) -> None:
    """Inputs reverse, scores are fixed, the mean is taken."""
    net, x = score().eval(), normal(1, 2, 4, 20)
    model = Conjoined(net, passes=passes).eval()
    checks.close(model(x), (net(x) + net(x.flip(1, 2))) / 2)
    checks.close(model(x.flip(1, 2)), model(x))
    assert repr(model).splitlines()[1] == f"  inputs=(reversal), outputs=(by rank), merge=mean, passes={passes}"


def test_one_pass_and_two_passes_give_the_same_bits_of_structure_and_gradients() -> None:
    net = score().eval()
    one, two = Conjoined(net, passes=1).eval(), Conjoined(net, passes=2).eval()
    checks.same(one, two, normal(2, 4, 4, 25), list(net.parameters()), list(net.parameters()))


def test_batch_norm_tells_one_pass_from_two_in_train_mode() -> None:
    """T10: with one pass both strands are pooled, so the statistics do not depend on which strand was given."""
    x = normal(3, 4, 4, 25)
    statistics: dict[tuple[int, bool], Tensor] = {}
    outputs: dict[tuple[int, bool], Tensor] = {}
    for passes in (1, 2):
        for mirrored in (False, True):
            net = profile(4)
            model = Conjoined(net, outputs="reversal", passes=passes).train()
            y = model(rc(x) if mirrored else x)
            outputs[passes, mirrored] = rc(y) if mirrored else y
            statistics[passes, mirrored] = net[1].running_mean.clone()
    checks.close(statistics[1, True], statistics[1, False])
    checks.close(outputs[1, True], outputs[1, False])
    assert (statistics[2, True] - statistics[2, False]).abs().max() > 1e-3
    assert (statistics[2, False] - statistics[1, False]).abs().max() > 1e-3
    assert (outputs[2, False] - outputs[1, False]).abs().max() > 1e-3


@both_ways
def test_several_inputs_and_outputs(passes: int) -> None:
    """Each with its own representation, merge and end; the structure stays."""

    def both(x: Tensor, control: Tensor, meta: Tensor) -> dict[str, Any]:
        y = x[:, :2] * control + meta.sum(1)[:, None, None]
        return {"profile": y, "rest": [y.mean(2), (x.cumsum(2).mean((1, 2)), control * 2)]}

    rho_in = ("reversal", "length", "fixed")
    rho_out = ("reversal", "reversal", "fixed", "length")
    model = Conjoined(
        Function(both), rho_in, rho_out, ("mean", "sum", "max", "sum"), [None, "sigmoid", torch.exp, nn.Tanh()], passes
    )
    xs = normal(0, 3, 4, 9), normal(1, 3, 2, 9), normal(2, 3, 2)
    ours = model(*xs)
    a = both(*xs)
    b = both(xs[0].flip(1, 2), xs[1].flip(2), xs[2])
    assert list(ours) == ["profile", "rest"]
    assert type(ours["rest"]) is list
    assert type(ours["rest"][1]) is tuple
    checks.close(ours["profile"], (a["profile"] + b["profile"].flip(1, 2)) / 2)
    checks.close(ours["rest"][0], torch.sigmoid(a["rest"][0] + b["rest"][0].flip(1)))
    checks.close(ours["rest"][1][0], torch.exp(torch.maximum(a["rest"][1][0], b["rest"][1][0])))
    checks.close(ours["rest"][1][1], torch.tanh(a["rest"][1][1] + b["rest"][1][1].flip(2)))


@both_ways
def test_one_representation_for_all(passes: int) -> None:
    model = Conjoined(Function(lambda x, y: (x + y.cumsum(2), x * y)), "length", "length", passes=passes)
    x, y = normal(0, 2, 3, 7), normal(1, 2, 3, 7)
    first, second = model(x, y)
    checks.close(first, x + (y.cumsum(2) + y.flip(2).cumsum(2).flip(2)) / 2)
    checks.close(second, x * y)


@both_ways
def test_tokens(passes: int) -> None:
    table = normal(0, 5, 3)
    model = Conjoined(Function(lambda codes: table[codes].cumsum(1).mean(1)), "tokens:3,2,1,0,4", passes=passes)
    codes = torch.tensor([[0, 1, 4, 2, 2], [3, 3, 0, 1, 4]])
    other = torch.tensor([[1, 1, 4, 2, 3], [4, 2, 3, 0, 0]])
    checks.close(model(codes), (table[codes].cumsum(1).mean(1) + table[other].cumsum(1).mean(1)) / 2)


@pytest.mark.parametrize("name", FINALS)
def test_final_by_name(name: str) -> None:
    known = {
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "relu": torch.relu,
        "softplus": nn.functional.softplus,
        "softmax": lambda y: y.softmax(-1),
        "log_softmax": lambda y: y.log_softmax(-1),
    }
    net, x = score().eval(), normal(1, 2, 4, 20)
    checks.close(Conjoined(net, final=name).eval()(x), known[name](Conjoined(net).eval()(x)))


def test_final_follows_the_merge_and_a_nonlinearity_inside_does_not() -> None:
    net, x = score().eval(), normal(1, 2, 4, 20)
    after = Conjoined(net, final="sigmoid").eval()(x)
    inside = Conjoined(nn.Sequential(net, nn.Sigmoid())).eval()(x)
    a, b = net(x), net(rc(x))
    checks.close(after, torch.sigmoid((a + b) / 2))
    checks.close(inside, (torch.sigmoid(a) + torch.sigmoid(b)) / 2)
    assert (after - inside).abs().max() > 1e-3


def test_final_with_parameters_is_part_of_the_model() -> None:
    head = nn.Linear(3, 2).double()
    model = Conjoined(score(), final=head).eval()
    assert {"final.weight", "final.bias"} < set(model.state_dict())
    x = normal(1, 2, 4, 20)
    checks.close(model(x), head((model.net(x) + model.net(rc(x))) / 2))
    model(x).sum().backward()
    assert head.weight.grad is not None


def test_final_for_each_output() -> None:
    model = Conjoined(Function(lambda x: (x.mean(2), x.sum(2))), final=[None, torch.exp])
    x = normal(0, 2, 4, 5)
    first, second = model(x)
    checks.close(first, (x.mean(2) + x.mean(2).flip(1)) / 2)
    checks.close(second, torch.exp((x.sum(2) + x.sum(2).flip(1)) / 2))
    with pytest.raises(RcproofError) as error:
        Conjoined(Function(lambda x: x.mean(2)), final=[None, torch.exp])(x)
    assert str(error.value) == "final steps: got 2 for 1 outputs; expected one, or one an output"


def test_scores_of_rank_one() -> None:
    net = Function(lambda x: x.cumsum(2).mean((1, 2)))
    x = normal(0, 3, 4, 5)
    for passes in (1, 2):
        y = Conjoined(net, passes=passes)(x)
        assert y.shape == (3,)
        checks.close(y, (net(x) + net(rc(x))) / 2)
    with pytest.raises(RepresentationError) as error:
        Conjoined(net, outputs="reversal")(x)
    assert str(error.value) == "output 0 of shape (N,): got reversal; expected fixed"


def test_a_profile_has_no_default() -> None:
    with pytest.raises(RepresentationError) as error:
        Conjoined(profile()).eval()(normal(0, 2, 4, 20))
    assert str(error.value) == (
        "output 0 has rank 3 and no representation, and there is no safe default. Give outputs=…: 'reversal' or "
        "'pairs:T' if channels are strands (plus, minus), 'length' for an unstranded profile, 'fixed' if nothing moves"
    )


class Whole(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(0, 1)


SPECS = "reversal, length, fixed, pairs:T, perm:3,2,1,0, dna:ACGT or tokens:3,2,1,0,4"
INVOLUTION = "a permutation that is its own inverse, since two reversals change nothing"
ERRORS: dict[str, tuple[Callable[[], Any], str]] = {
    "merge": (
        lambda: Conjoined(score(), merge="median"),
        "no such merge: got 'median'; expected 'mean', 'sum' or 'max'",
    ),
    "merges": (
        lambda: Conjoined(score(), merge=("mean", "sum")).eval()(normal(0, 2, 4, 20)),
        "merges: got 2 for 1 outputs; expected one, or one an output",
    ),
    "net": (
        lambda: Conjoined(torch.relu),
        "net to conjoin: got builtin_function_or_method; expected a torch.nn.Module",
    ),
    "passes": (lambda: Conjoined(score(), passes=3), "passes: got 3; expected 1 (a doubled batch) or 2"),
    "final": (
        lambda: Conjoined(score(), final="logistic"),
        "final: got 'logistic'; expected sigmoid, tanh, relu, softplus, softmax, log_softmax",
    ),
    "final of a kind": (
        lambda: Conjoined(score(), final=3),
        "final: got int; expected a module, a function, a name or None",
    ),
    "inputs": (
        lambda: Conjoined(score(), ("reversal", "length"))(normal(0, 2, 4, 20)),
        "inputs of the conjoined network: got 1 tensors; expected 2, one a representation",
    ),
    "no inputs": (
        lambda: Conjoined(score())(),
        "inputs of the conjoined network: got none; expected at least one tensor",
    ),
    "outputs": (
        lambda: Conjoined(score(), outputs=("fixed", "fixed")).eval()(normal(0, 2, 4, 20)),
        "outputs of the network: got 1 tensors; expected 2, one a representation",
    ),
    "representation": (
        lambda: Conjoined(score(), inputs="mirror"),
        f"no such representation: got 'mirror'; expected {SPECS}",
    ),
    "involution": (
        lambda: Conjoined(score(), inputs="perm:1,2,3,0"),
        f"the permutation is no involution: got [1, 2, 3, 0], which sends 0 to 1 and 1 to 2; expected {INVOLUTION}",
    ),
    "channels": (
        lambda: Conjoined(profile(), outputs="pairs:3").eval()(normal(0, 2, 4, 20)),
        "representation pairs:3 does not fit the tensor: got 2 channels; expected 6 channels",
    ),
    "rows": (
        lambda: Conjoined(Whole(), outputs="fixed")(normal(0, 2, 3, 5)),
        "output 0 of the network: got shape (3, 4, 5) for 4 rows of input; expected one row for each, in front",
    ),
    "rows, two passes": (
        lambda: Conjoined(Whole(), outputs="fixed", passes=2)(normal(0, 2, 3, 5)),
        "output 0 of the network: got shape (3, 2, 5) for 2 rows of input; expected one row for each, in front",
    ),
    "a number": (
        lambda: Conjoined(Function(torch.sum))(normal(0, 2, 3, 5)),
        "output 0 of the network: got shape () for 4 rows of input; expected one row for each, in front",
    ),
    "no tensor": (
        lambda: Conjoined(Function(lambda x: "profile"))(normal(0, 2, 3, 5)),
        "output of the network: got str; expected a tensor, or tuples, lists and dicts of tensors",
    ),
    "keys": (
        lambda: Conjoined(Function(lambda x: {0: x}))(normal(0, 2, 3, 5)),
        "key of a dict that the network returns: got 0; expected a string",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    act, text = ERRORS[name]
    with pytest.raises(RcproofError) as error:
        act()
    assert str(error.value) == text
    assert isinstance(error.value, RcproofError | ShapeError | RepresentationError)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtype(dtype: torch.dtype) -> None:
    net = copy.deepcopy(score()).to(dtype).eval()
    x = normal(0, 2, 4, 20).to(dtype)
    for passes in (1, 2):
        assert Conjoined(net, passes=passes, final="sigmoid").eval()(x).dtype == dtype
