"""Dense layers: closed and stacked, coupled and not, and at every position of a higher rank (T3, T4)."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from rcproof.errors import RcproofError
from rcproof.nn import RCPSLinear
from rcproof.strand import Representation
from tests import checks
from tests.strategies import closed_representations, normal, randomise, seeds

sizes = st.integers(1, 8)


@st.composite
def sources(draw: st.DrawFn) -> tuple[int, Representation | None]:
    size = draw(sizes)
    return size, draw(st.none() | closed_representations(size))


@settings(max_examples=60)
@given(sources(), sizes, st.booleans(), seeds)
def test_uncoupled_is_the_plain_layer_on_each_strand(
    source: tuple[int, Representation | None], outputs: int, bias: bool, seed: int
) -> None:
    inputs, rep = source
    plain = randomise(nn.Linear(inputs, outputs, bias), seed)
    layer = RCPSLinear(inputs, outputs, bias, source=rep).double()
    x = normal(seed, 3, inputs * (1 if rep else 2))
    checks.everything(layer, plain, x)
    checks.config(layer)
    full_bias = None if layer.bias is None else torch.cat([layer.bias, layer.bias.flip(0)])
    checks.close(layer(x), nn.functional.linear(x, layer.full_weight(), full_bias))


@settings(max_examples=40)
@given(sizes, sizes, st.booleans(), seeds)
def test_coupled(inputs: int, outputs: int, bias: bool, seed: int) -> None:
    x = normal(seed, 3, 2 * inputs)
    checks.coupled_with_zeros(randomise(RCPSLinear(inputs, outputs, bias), seed), x)
    layer = randomise(RCPSLinear(inputs, outputs, bias, coupled=True), seed)
    checks.renderings(layer, x)
    checks.equivariance(layer, x)
    checks.close(layer(x), checks.coupled_linear_reference(x, layer))


@settings(max_examples=20)
@given(sizes, sizes, st.integers(1, 30), st.booleans(), seeds)
def test_along_the_length(channels: int, outputs: int, length: int, coupled: bool, seed: int) -> None:
    x = normal(seed, 2, 2 * channels, length)
    layer = randomise(RCPSLinear(length, outputs, coupled=coupled), seed)
    checks.equivariance(layer, x)
    if not coupled:
        checks.everything(layer, randomise(nn.Linear(length, outputs), seed), x)


def test_batched_takes_any_rank() -> None:
    layer = randomise(RCPSLinear(3, 2), 0)
    s = normal(1, 4, 5, 6, 3)
    checks.close(layer.batched(s), nn.functional.linear(s, layer.weight, layer.bias), 0.0)


def test_wrong_inputs_are_named() -> None:
    with pytest.raises(RcproofError, match=r"^input of RCPSLinear: got shape \(1, 3\); expected \(N, 4\)$"):
        RCPSLinear(2, 3)(torch.zeros(1, 3))
