import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rcproof.errors import RcproofError, RepresentationError, ShapeError
from rcproof.strand import dna, rc, tokens
from rcproof.verify import draw_inputs, vary_lengths
from rcproof.verify.inputs import KINDS
from tests.verify.models import Function, Profile


def drawn(shapes, reps, **options):
    return {case.name: case.tensors for case in draw_inputs(shapes, reps, **options)}


def test_kinds_of_dna():
    cases = drawn([(4, 300), (2, 300), (3,)], ["reversal", "length", "fixed"], batch=3)
    assert tuple(cases) == KINDS
    for tensors in cases.values():
        assert [tuple(t.shape) for t in tensors] == [(3, 4, 300), (3, 2, 300), (3, 3)]
        assert all(t.dtype == torch.float64 and t.isfinite().all() for t in tensors)
        assert (tensors[1] >= 0).all(), "the logarithm of counts must stay finite"
        assert (tensors[2] >= 0).all()
    assert (cases["one-hot"][0].sum(1) == 1).all()
    assert set(cases["one-hot"][0].unique().tolist()) == {0.0, 1.0}
    assert (cases["random"][0] < 0).any()
    assert not cases["zeros"][0].any()
    assert not cases["zeros"][1].any()
    assert (cases["uniform"][0] == 0.25).all()
    some = cases["some-n"][0].sum(1)
    assert 0 < some.mean() < 1
    assert set(some.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize(
    ("shape", "rep", "hot"),
    [
        ((4, 50), "reversal", True),
        ((4, 50), dna("ATGC"), True),
        ((4, 50), "length", False),  # four unstranded tracks
        ((4, 50), "perm:1,0,2,3", False),
        ((4, 50), "perm:-1,-0,3,2", False),
        ((4,), "reversal", False),
        ((6, 50), "reversal", False),
    ],
)
def test_what_is_one_hot(shape, rep, hot):
    (x,) = drawn([shape], rep, kinds=["one-hot"])["one-hot"]
    assert bool((x.sum(1) == 1).all()) is hot


def test_signed_inputs_have_both_signs():
    (x,) = drawn([(2, 50)], "perm:0,-1", kinds=["one-hot"])["one-hot"]
    assert (x < 0).any()
    assert (x > 0).any()


def test_tokens():
    cases = drawn([(200,)], tokens("ACGTN"))
    assert all(t.dtype == torch.int64 and t.shape == (4, 200) for (t,) in cases.values())
    seen = {name: set(t.unique().tolist()) for name, (t,) in cases.items()}
    assert seen == {
        "one-hot": {0, 1, 2, 3},
        "random": {0, 1, 2, 3, 4},
        "zeros": {4},
        "uniform": {4},
        "some-n": {0, 1, 2, 3, 4},
    }
    assert drawn([(5,)], tokens("ACGT"), kinds=["zeros"])["zeros"][0].max() <= 3


def test_seeds():
    first, again, other = (drawn([(4, 60)], "reversal", seed=s)["one-hot"][0] for s in (3, 3, 4))
    alone = drawn([(4, 60)], "reversal", seed=3, kinds=["one-hot"])["one-hot"][0]
    assert torch.equal(first, again)
    assert torch.equal(first, alone)
    assert not torch.equal(first, other)


def test_dtype_and_batch():
    (x, t) = drawn([(4, 9), (9,)], ["reversal", tokens()], dtype=torch.bfloat16, batch=1, kinds=["random"])["random"]
    assert (x.dtype, t.dtype, x.shape) == (torch.bfloat16, torch.int64, (1, 4, 9))


@given(st.integers(1, 9), st.integers(1, 60), st.sampled_from(["reversal", "length", "fixed"]), st.integers(0, 99))
@settings(max_examples=40)
def test_every_case_can_be_reversed(channels, length, rep, seed):
    for case in draw_inputs([(channels, length), (channels,)], [rep, rep], seed=seed, batch=2):
        for x in case.tensors:
            assert torch.equal(rc(rc(x, rep), rep), x)


@pytest.mark.parametrize(
    ("shapes", "reps", "options", "error", "text"),
    [
        (
            [(4, 9)],
            "reversal",
            {"kinds": ["hot"]},
            RcproofError,
            "kind of input: got 'hot'; expected one-hot, random, zeros, uniform, some-n",
        ),
        ([(4, 9)], "reversal", {"batch": 0}, ShapeError, "batch of drawn inputs: got 0; expected at least 1"),
        (
            [(4, 9), (1,)],
            "reversal",
            {},
            RepresentationError,
            "representations of the inputs to draw: got 1; expected 2, one for each shape",
        ),
        (
            [(4, 9, 2)],
            "reversal",
            {},
            ShapeError,
            "shape of an input with representation reversal, without the batch: got (4, 9, 2); expected (C, L) or (C,)",
        ),
        (
            [(4, 9)],
            "tokens:3,2,1,0,4",
            {},
            ShapeError,
            "shape of an input with representation tokens:3,2,1,0,4, without the batch: got (4, 9); expected (L,)",
        ),
        (
            [(3, 9)],
            "pairs:1",
            {},
            RepresentationError,
            "representation pairs:1 does not fit the tensor: got 3 channels; expected 2 channels",
        ),
    ],
)
def test_mistakes(shapes, reps, options, error, text):
    with pytest.raises(error) as caught:
        draw_inputs(shapes, reps, **options)  # before the first case is asked for
    assert str(caught.value) == text


def test_lengths_that_a_network_takes():
    cases = vary_lengths(Profile(), [(4, 60)], "reversal")
    lengths = {case.tensors[0].shape[2] for case in cases}
    assert lengths == {10, 11, 30, 31, 59, 61}  # the windows need 7 + 4 − 1 = 10
    assert all((case.tensors[0].sum(1) == 1).all() for case in cases)
    assert cases[0].name == "one-hot, length 10"


def test_lengths_move_together():
    net = Function(lambda x, control, meta: Profile().double()(x) + control[:, :, 9:] + meta[:, :, None])
    cases = vary_lengths(net, [(4, 40), (2, 40), (2,)], ["reversal", "length", "fixed"])
    assert len(cases) >= 5
    for case in cases:
        x, control, meta = case.tensors
        assert x.shape[2] == control.shape[2]
        assert meta.shape == (2, 2)


def test_one_length_only():
    fixed = nn.Sequential(nn.Flatten(), nn.Linear(4 * 20, 1))
    assert vary_lengths(fixed, [(4, 20)], "reversal") == []
    assert vary_lengths(nn.Linear(3, 1), [(3,)], "fixed") == []
    assert vary_lengths(nn.Linear(7, 1), [(4, 20)], "reversal") == []  # does not even take the given one
