"""Pooling, above all where the windows do not centre (T3)."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import assume, given, settings
from torch import nn

from rcproof.errors import RcproofError
from rcproof.nn import (
    RCPSAdaptiveAvgPool1d,
    RCPSAdaptiveMaxPool1d,
    RCPSAvgPool1d,
    RCPSLPPool1d,
    RCPSMaxPool1d,
)
from tests import checks
from tests.strategies import Case, normal, pool_cases, seeds


@settings(max_examples=100)
@given(pool_cases(dilated=True), seeds)
def test_max(case: Case, seed: int) -> None:
    layer, plain, x = RCPSMaxPool1d(**case.options), nn.MaxPool1d(**case.options), case.input(seed)
    assume(torch.isfinite(plain(x)).all())  # a dilated window can miss the whole input: the maximum of nothing
    checks.everything(layer, plain, x)
    checks.config(layer)


@settings(max_examples=100)
@given(pool_cases(), st.booleans(), seeds)
def test_average(case: Case, count: bool, seed: int) -> None:
    layer = RCPSAvgPool1d(**case.options, count_include_pad=count)
    checks.everything(layer, nn.AvgPool1d(**case.options, count_include_pad=count), case.input(seed))
    checks.config(layer)


@settings(max_examples=40)
@given(pool_cases(padded=False), st.sampled_from((1.0, 2, 4.0)), seeds)
def test_power_average(case: Case, power: float, seed: int) -> None:
    layer = RCPSLPPool1d(power, **case.options)
    checks.everything(layer, nn.LPPool1d(power, **case.options), case.input(seed).abs() + 0.1)
    checks.config(layer)


@settings(max_examples=40)
@given(st.integers(1, 3), st.integers(1, 200), st.none() | st.integers(1, 40), seeds)
def test_adaptive(channels: int, length: int, size: int | None, seed: int) -> None:
    x = normal(seed, 2, 2 * channels, length)
    for tied, plain in ((RCPSAdaptiveMaxPool1d, nn.AdaptiveMaxPool1d), (RCPSAdaptiveAvgPool1d, nn.AdaptiveAvgPool1d)):
        checks.everything(tied(size), plain(length if size is None else size), x)
        checks.config(tied(size))


@pytest.mark.parametrize("length", range(40, 60))
def test_deepsea_pooling_at_every_remainder(length: int) -> None:
    checks.everything(RCPSMaxPool1d(4), nn.MaxPool1d(4), normal(length, 2, 6, length))


def test_wrong_options_and_inputs_are_named() -> None:
    with pytest.raises(RcproofError, match=r"^padding of a pooling layer: got 2 with kernel_size 3; expected at most"):
        RCPSMaxPool1d(3, padding=2)
    with pytest.raises(RcproofError, match=r"^stride of a pooling layer: got 0; expected an integer of at least 1$"):
        RCPSAvgPool1d(3, 0)
    with pytest.raises(RcproofError, match=r"^kernel_size of a pooling layer: got \(2, 2\); expected an integer"):
        RCPSMaxPool1d((2, 2))
    assert RCPSMaxPool1d((2,)).config()["kernel_size"] == 2
    with pytest.raises(RcproofError, match=r"^input of RCPSMaxPool1d: got shape \(1, 3, 9\); expected \(N, 2F, L\)$"):
        RCPSMaxPool1d(2)(torch.zeros(1, 3, 9))
    with pytest.raises(RcproofError, match=r"got shape \(2, 9\); expected \(2N, F, L\)$"):
        RCPSAdaptiveMaxPool1d(1).batched(torch.zeros(2, 9))
