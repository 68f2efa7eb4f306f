"""Weighted sums over positions, plain and tied, symmetric and coupled (T4, T5)."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from rcproof.errors import RcproofError
from rcproof.nn import RCPSWeightedSum1d, WeightedSum1d
from tests import checks
from tests.strategies import normal, randomise, seeds


@settings(max_examples=50)
@given(st.integers(1, 4), st.integers(1, 200), st.booleans(), st.booleans(), seeds)
def test_uncoupled_is_the_plain_layer_on_each_strand(
    channels: int, length: int, symmetric: bool, bias: bool, seed: int
) -> None:
    plain = randomise(WeightedSum1d(channels, length, symmetric, bias), seed)
    layer = RCPSWeightedSum1d(channels, length, symmetric, bias).double()
    x = normal(seed, 3, 2 * channels, length)
    checks.everything(layer, plain, x)
    checks.config(layer)
    checks.coupled_with_zeros(layer, x)


@settings(max_examples=30)
@given(st.integers(1, 4), st.integers(1, 30), st.booleans(), st.booleans(), seeds)
def test_coupled_against_loops(channels: int, length: int, symmetric: bool, bias: bool, seed: int) -> None:
    layer = randomise(RCPSWeightedSum1d(channels, length, symmetric, bias, coupled=True), seed)
    x = normal(seed, 3, 2 * channels, length)
    checks.close(layer(x), checks.coupled_weighted_sum_reference(x, layer))
    checks.renderings(layer, x)
    checks.equivariance(layer, x)
    checks.config(layer)


def test_symmetric_weights_read_a_sequence_and_its_reversal_alike() -> None:
    for length in (1, 6, 7):
        plain = randomise(WeightedSum1d(2, length, symmetric=True), 0)
        assert plain.weight.shape == (2, (length + 1) // 2)
        x = normal(1, 2, 2, length)
        checks.close(plain(x), plain(x.flip(2)))


def test_wrong_inputs_are_named() -> None:
    with pytest.raises(RcproofError, match=r"RCPSWeightedSum1d: got shape \(1, 4, 8\); expected \(N, 4, 7\)$"):
        RCPSWeightedSum1d(2, 7)(torch.zeros(1, 4, 8))
    with pytest.raises(RcproofError, match=r"input of WeightedSum1d: got shape \(1, 4\); expected \(N, 4, 7\)$"):
        WeightedSum1d(4, 7)(torch.zeros(1, 4))
    with pytest.raises(RcproofError, match=r"^length of a weighted sum: got 0; expected at least 1$"):
        WeightedSum1d(4, 0)
