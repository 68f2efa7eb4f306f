from collections import namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from rcproof.errors import RcproofError, RepresentationError, ShapeError
from rcproof.strand import representation
from rcproof.verify import InputCase, check_equivalence
from rcproof.verify.running import Spread, act, as_cases, checks_of, compare, flatten, match, prepare
from tests.verify.models import Profile, Score


@dataclass
class Output:
    logits: torch.Tensor
    hidden: torch.Tensor | None = None


def test_flatten():
    t = torch.zeros(2)
    pair = namedtuple("pair", "a b")
    assert list(flatten(t)) == ["output"]
    assert list(flatten([t, (t, t)])) == ["output[0]", "output[1][0]", "output[1][1]"]
    assert list(flatten({"profile": t, "counts": [t]})) == ["output.profile", "output.counts[0]"]
    assert list(flatten(pair(t, 1.5))) == ["output[0]", "output[1]"]
    assert list(flatten(Output(t))) == ["output.logits"]
    with pytest.raises(RcproofError, match="the model returned no tensor: got NoneType"):
        flatten(None)
    with pytest.raises(RcproofError, match=r"output\[0\] is not made of tensors: got str; expected a tensor"):
        flatten(["text"])


def test_prepare_leaves_the_model_alone():
    net = Score().train()
    ready = prepare(net, torch.float64)
    assert net.training
    assert net.norm.training
    assert net.conv.weight.dtype == torch.float32
    assert ready.conv.weight.dtype == torch.float64
    assert not ready.norm.training
    done = Score().double().eval()
    assert prepare(done, torch.float64) is done
    done.norm.train()
    assert prepare(done, torch.float64) is not done


def test_prepare_mistakes():
    with pytest.raises(RcproofError, match=r"a model to check: got function; expected a torch\.nn\.Module"):
        prepare(lambda x: x, torch.float64)  # type: ignore[arg-type]

    class Fixed(nn.Linear):
        def __deepcopy__(self, memo):
            raise RuntimeError("graph leaf")

    with pytest.raises(RcproofError) as error:
        prepare(Fixed(2, 2), torch.float64)
    assert str(error.value) == (
        "Fixed cannot be deep-copied: got RuntimeError: graph leaf. "
        "Give it in eval mode and in float64, and no copy is made"
    )


def test_exported_programs_run():
    x = torch.randn(2, 4, 30)
    program = torch.export.export(Profile().eval(), (x,)).module()
    assert check_equivalence(program, Profile(), (x,)).passed


def test_cases():
    x = torch.zeros(2, 4, 9)
    assert [c.name for c in as_cases(x)] == ["inputs"]
    assert len(as_cases((x, x))[0].tensors) == 2
    assert [c.name for c in as_cases(InputCase(n, (x,)) for n in "ab")] == ["a", "b"]


@pytest.mark.parametrize(
    ("inputs", "error", "text"),
    [
        ([], RcproofError, "inputs to check: got nothing; expected a tuple of tensors or a list of InputCase"),
        (
            [torch.zeros(2), 3],
            RcproofError,
            "inputs to check: got Tensor, int; expected a tuple of tensors or a list of InputCase",
        ),
        (
            (torch.zeros(2, 4), torch.zeros(3, 4)),
            ShapeError,
            (
                "inputs of case 'inputs': got shapes [(2, 4), (3, 4)]; "
                "expected one batch size, at least 1, as the first axis of each"
            ),
        ),
        (
            torch.zeros(0, 4),
            ShapeError,
            (
                "inputs of case 'inputs': got shapes [(0, 4)]; "
                "expected one batch size, at least 1, as the first axis of each"
            ),
        ),
        (
            torch.tensor([[1.0, float("nan")]]),
            RcproofError,
            "input 0 of case 'inputs' holds NaN or infinite values. Check the data",
        ),
    ],
)
def test_bad_inputs(inputs, error, text):
    with pytest.raises(error) as caught:
        as_cases(inputs)
    assert str(caught.value) == text


def test_match():
    with pytest.raises(RepresentationError) as error:
        match("reversal", 2, "output")
    assert str(error.value) == "representations of the outputs: got 1 (reversal); expected 2, one for each output"


def test_act_on_other_ranks():
    fixed, reversal = representation("fixed"), representation("reversal")
    assert act(fixed, torch.ones(3)).shape == (3,)
    assert act(fixed, torch.ones(3, 2, 2, 2)).shape == (3, 2, 2, 2)
    with pytest.raises(ShapeError):
        act(reversal, torch.ones(3))


def test_compare():
    a = torch.tensor([1.0, -4.0])
    assert compare(a, a + 1).largest == 1
    assert compare(a, a + 1).scale == 4
    assert compare(a, a[:1]).largest == float("inf")
    assert "1 of 2 values that are not finite" in compare(a, torch.tensor([1.0, float("inf")])).detail
    assert compare(a[:0], a[:0]).largest == float("inf")
    big = torch.tensor([2**60])
    assert compare(big, big).largest == 0
    assert compare(big, big + 1).largest == 1  # float64 does not tell them apart
    assert compare(torch.tensor([1 + 1j]), torch.tensor([1 + 3j])).largest == 2


def test_scales():
    """A case of exact zeros up to rounding is not judged by its rounding; a small case is judged by itself."""
    near = {
        "output": {
            "big": compare(torch.ones(2), torch.ones(2)),
            "noise": compare(torch.tensor([1e-17]), torch.zeros(1)),
        }
    }
    assert all(c.passed for c in checks_of(near, 1e-12))
    small = {
        "output": {
            "big": compare(torch.ones(2), torch.ones(2)),
            "small": compare(torch.tensor([1e-2]), torch.tensor([1.1e-2])),
        }
    }
    assert [c.passed for c in checks_of(small, 1e-12)] == [True, False]
    alone = {"output": {"noise": compare(torch.tensor([1e-17]), torch.zeros(1))}}
    assert not any(c.passed for c in checks_of(alone, 1e-12))
    zero = checks_of({"output": {"zero": compare(torch.zeros(1), torch.zeros(1))}}, 1e-12)
    assert [(c.passed, c.detail) for c in zero] == [(True, "all values are zero")]


def test_spread():
    spread = Spread()
    spread.add(torch.ones(3, 2))
    assert spread.constant(1e-12)
    spread.add(torch.zeros(1, 5))  # another shape says nothing
    assert spread.constant(1e-12)
    spread.add(2 * torch.ones(1, 2))
    assert not spread.constant(1e-12)
