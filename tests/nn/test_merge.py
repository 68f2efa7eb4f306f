"""Merges: from strand pairs to one answer, for every representation of it (T5)."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import assume, given, settings

from rcproof.errors import RcproofError
from rcproof.nn import Merge, StrandSum, merge, to_batched
from rcproof.strand import Representation, rc, stack, unstack
from tests import checks
from tests.strategies import closed_representations, normal, seeds

modes = st.sampled_from(("mean", "sum", "max"))


@st.composite
def outputs(draw: st.DrawFn) -> tuple[int, Representation]:
    channels = draw(st.integers(1, 6))
    return channels, draw(closed_representations(channels))


@settings(max_examples=80)
@given(outputs(), st.none() | st.integers(1, 50), modes, seeds)
def test_merge_layer(output: tuple[int, Representation], length: int | None, mode: str, seed: int) -> None:
    channels, rep = output
    assume(mode != "max" or rep.signs is None)
    x = normal(seed, 2, 2 * channels, *([] if length is None else [length]))
    layer = Merge(mode, rep)
    checks.merged(layer, x, mode, rep)
    checks.config(layer)
    checks.close(layer.batched(to_batched(x)), layer(x), 0.0)


@settings(max_examples=20)
@given(st.integers(1, 4), st.none() | st.integers(1, 50), seeds)
def test_strand_sum(channels: int, length: int | None, seed: int) -> None:
    x = normal(seed, 2, 2 * channels, *([] if length is None else [length]))
    a, b = unstack(x)
    layer = StrandSum()
    checks.close(layer(x), a + b, 0.0)
    checks.close(layer(rc(x)), layer(x), 0.0)
    checks.close(layer.batched(to_batched(x)), layer(x), 0.0)
    checks.config(layer)


def test_max_of_signed_outputs_would_not_commute() -> None:
    signed = Representation((0, 1), (1, -1))
    with pytest.raises(RcproofError, match=r"no sign to change: got merge 'max' with output=perm:0,-1\. Use 'mean'"):
        Merge("max", signed)
    a, b = normal(0, 1, 2, 5), normal(1, 1, 2, 5)
    forward, backward = merge(a, rc(b, signed), "max"), merge(b, rc(a, signed), "max")
    assert not torch.allclose(backward, rc(forward, signed))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_mean_halves_exactly(dtype: torch.dtype) -> None:
    a, b = (normal(i, 1, 3, 200).to(dtype) for i in (0, 1))
    for scale in (1.0, 1e-4):
        checks.close(merge(a * scale, b * scale, "mean"), (a * scale + b * scale) / 2, 0.0)
    checks.close(Merge("mean", "reversal")(stack(a, b)), (a + rc(b)) / 2, 0.0)


def test_wrong_options_are_named() -> None:
    for call in (lambda: Merge("median"), lambda: merge(torch.ones(1), torch.ones(1), "median")):
        with pytest.raises(RcproofError, match=r"^no such merge: got 'median'; expected 'mean', 'sum' or 'max'$"):
            call()
    with pytest.raises(RcproofError, match=r"^merge takes two tensors of one shape: got \(1,\) and \(2,\)$"):
        merge(torch.ones(1), torch.ones(2), "sum")
    with pytest.raises(RcproofError, match=r"no such representation: got 'up'"):
        Merge("mean", "up")
    with pytest.raises(RcproofError, match=r"numbers, not tokens: got tokens:1,0"):
        Merge("mean", "tokens:1,0")
    with pytest.raises(RcproofError, match=r"^input of Merge: got shape \(1, 3\); expected \(N, 2C\) or \(N, 2C, L\)$"):
        Merge("mean", "fixed")(torch.ones(1, 3))
