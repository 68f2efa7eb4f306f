"""Convolution: every length, kernel, stride, dilation, padding, group and representation (T3, T4)."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from torch import nn

from rcproof.errors import RcproofError
from rcproof.nn import RCPSConv1d, RCPSConvTranspose1d
from rcproof.strand import unstack
from tests import checks
from tests.strategies import Case, conv_cases, normal, randomise, seeds, transpose_cases

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")


@settings(max_examples=120)
@given(conv_cases(), seeds)
def test_uncoupled_is_the_plain_layer_on_each_strand(case: Case, seed: int) -> None:
    plain = randomise(nn.Conv1d(**case.options), seed)
    layer = RCPSConv1d(**case.options, source=case.source).double()
    checks.everything(layer, plain, case.input(seed))
    checks.config(layer)


@settings(max_examples=60)
@given(conv_cases(closed=False), seeds)
def test_coupled(case: Case, seed: int) -> None:
    x = case.input(seed)
    checks.coupled_with_zeros(randomise(RCPSConv1d(**case.options), seed), x)
    layer = randomise(RCPSConv1d(**case.options, coupled=True), seed)
    checks.renderings(layer, x)
    checks.equivariance(layer, x)
    checks.config(layer)


@settings(max_examples=30)
@given(conv_cases(closed=False, max_length=14, max_kernel=4), seeds)
def test_coupled_against_loops(case: Case, seed: int) -> None:
    layer = randomise(RCPSConv1d(**case.options, coupled=True), seed)
    reach = layer.dilation * (layer.kernel_size - 1)
    padding = layer.padding
    pads = {"same": (reach // 2, reach - reach // 2), "valid": (0, 0)}.get(padding, (padding, padding))
    x = case.input(seed)
    want = checks.coupled_conv_reference(x, layer, pads)
    checks.close(layer(x), want)
    checks.renderings(layer, x)


@settings(max_examples=25)
@given(conv_cases(), seeds)
def test_full_weight_is_the_dense_equivariant_kernel(case: Case, seed: int) -> None:
    options = {**case.options, "groups": 1, "stride": 1, "padding": 0, "padding_mode": "zeros", "dilation": 1}
    if case.source is not None and not case.source.reverses_length:
        return  # positions stay, so there is no one kernel for both strands
    layer = randomise(RCPSConv1d(**options, source=case.source), seed)
    x = normal(seed, 2, case.channels * (1 if case.source else 2), 12)
    bias = None if layer.bias is None else torch.cat([layer.bias, layer.bias.flip(0)])
    checks.close(layer(x), torch.nn.functional.conv1d(x, layer.full_weight(), bias))


@settings(max_examples=50)
@given(transpose_cases(), seeds)
def test_transposed_is_the_plain_layer_on_each_strand(case: Case, seed: int) -> None:
    plain = randomise(nn.ConvTranspose1d(**case.options), seed)
    layer = RCPSConvTranspose1d(**case.options, source=case.source).double()
    checks.everything(layer, plain, case.input(seed))
    checks.config(layer)


@settings(max_examples=30)
@given(transpose_cases(), seeds)
def test_transposed_coupled(case: Case, seed: int) -> None:
    x = normal(seed, 2, 2 * case.channels, case.length)
    checks.coupled_with_zeros(randomise(RCPSConvTranspose1d(**case.options), seed), x)
    layer = randomise(RCPSConvTranspose1d(**case.options, coupled=True), seed)
    checks.renderings(layer, x)
    checks.equivariance(layer, x)


@settings(max_examples=15)
@given(transpose_cases(max_length=8, groups=False), seeds)
def test_transposed_coupled_against_loops(case: Case, seed: int) -> None:
    layer = randomise(RCPSConvTranspose1d(**case.options, coupled=True), seed)
    x = normal(seed, 2, 2 * case.channels, case.length)
    checks.close(layer(x), checks.coupled_transpose_reference(x, layer))


def test_a_coupled_layer_reads_the_other_strand() -> None:
    layer = randomise(RCPSConv1d(2, 3, 3, coupled=True), 1)
    x = normal(2, 1, 4, 9)
    changed = x.clone()
    changed[:, 2:] += 1.0  # the other strand only
    assert not torch.allclose(unstack(layer(x))[0], unstack(layer(changed))[0])
    uncoupled = randomise(RCPSConv1d(2, 3, 3), 1)
    checks.close(unstack(uncoupled(x))[0], unstack(uncoupled(changed))[0], 0.0)


def test_wrong_inputs_are_named() -> None:
    with pytest.raises(RcproofError, match=r"^input of RCPSConv1d: got shape \(1, 3, 9\); expected \(N, 4, L\)$"):
        RCPSConv1d(2, 3, 3)(torch.zeros(1, 3, 9))
    with pytest.raises(RcproofError, match=r"no cross-strand weights: got coupled=True with source=reversal"):
        RCPSConv1d(4, 3, 3, source="reversal", coupled=True)
    with pytest.raises(RcproofError, match=r"pairs:3 does not fit the tensor: got 4 channels; expected 6 channels"):
        RCPSConv1d(4, 3, 3, source="pairs:3")
