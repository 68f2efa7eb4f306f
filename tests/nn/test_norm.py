"""Norms: per strand, except batch norm, whose statistics pool both strands (T2, T10)."""

from __future__ import annotations

import copy

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from rcproof.errors import RcproofError
from rcproof.nn import RCPSBatchNorm1d, RCPSGroupNorm, RCPSInstanceNorm1d, RCPSLayerNorm
from rcproof.strand import rc
from tests import checks
from tests.strategies import normal, randomise, seeds

# The gradient of a norm is a small difference of larger terms.
RTOL = 1e-11
channels = st.integers(1, 4)
lengths = st.integers(4, 60)
momenta = st.sampled_from((0.1, 0.7, None))


@settings(max_examples=60)
@given(channels, st.none() | lengths, momenta, st.booleans(), st.booleans(), st.booleans(), seeds)
def test_batch_norm(
    features: int, length: int | None, momentum: float | None, affine: bool, track: bool, training: bool, seed: int
) -> None:
    options = {"momentum": momentum, "affine": affine, "track_running_stats": track}
    plain = randomise(nn.BatchNorm1d(features, **options), seed).train(training)
    layer = RCPSBatchNorm1d(features, **options).double().train(training)
    x = normal(seed, 4, 2 * features, *([] if length is None else [length])) * 3 + 1
    checks.share_weights(layer, plain)
    checks.lift(layer, plain, x, pooled=True, rtol=RTOL)  # buffers are compared too
    checks.lift(layer, plain, x + 1, pooled=True, rtol=RTOL)  # and after a second step
    checks.renderings(layer, x, RTOL)
    checks.equivariance(layer, x, rtol=RTOL)
    checks.config(layer)
    if training and track:
        assert layer.num_batches_tracked == 5


def test_running_statistics_do_not_see_which_strand_was_given() -> None:
    x = normal(0, 6, 8, 11)
    some = x.clone()
    some[:3] = rc(some[:3])
    one, other = RCPSBatchNorm1d(4).double(), RCPSBatchNorm1d(4).double()
    one(x)
    other(some)
    checks.same_buffers(one, other)


@settings(max_examples=40)
@given(channels, st.integers(4, 30), st.sampled_from(("L", "FL")), st.booleans(), st.booleans(), seeds)
def test_layer_norm(features: int, length: int, axes: str, affine: bool, bias: bool, seed: int) -> None:
    shape = [length] if axes == "L" else [features, length]
    plain = randomise(nn.LayerNorm(shape, elementwise_affine=affine, bias=bias), seed)
    layer = RCPSLayerNorm(shape, elementwise_affine=affine, bias=bias).double()
    checks.everything(layer, plain, normal(seed, 2, 2 * features, length), rtol=RTOL)
    checks.config(layer)


@settings(max_examples=20)
@given(st.integers(4, 9), st.integers(1, 3), seeds)
def test_layer_norm_of_vectors_and_of_other_ranks(features: int, extra: int, seed: int) -> None:
    plain = randomise(nn.LayerNorm(features), seed)
    layer = RCPSLayerNorm(features).double()
    checks.everything(layer, plain, normal(seed, 3, 2 * features), rtol=RTOL)
    s = normal(seed, 4, *range(2, 2 + extra), features)
    checks.close(layer.batched(s), plain(s), 0.0)


@settings(max_examples=40)
@given(st.integers(1, 3), st.integers(1, 3), st.none() | lengths, st.booleans(), seeds)
def test_group_norm(groups: int, per_group: int, length: int | None, affine: bool, seed: int) -> None:
    per_group += 3 if length is None else 0
    features = groups * per_group
    plain = randomise(nn.GroupNorm(groups, features, affine=affine), seed)
    layer = RCPSGroupNorm(groups, features, affine=affine).double()
    x = normal(seed, 2, 2 * features, *([] if length is None else [length]))
    checks.everything(layer, plain, x, rtol=RTOL)
    checks.config(layer)


@settings(max_examples=40)
@given(channels, lengths, momenta, st.booleans(), st.booleans(), st.booleans(), seeds)
def test_instance_norm(
    features: int, length: int, momentum: float | None, affine: bool, track: bool, training: bool, seed: int
) -> None:
    options = {"affine": affine, "track_running_stats": track}
    plain = randomise(nn.InstanceNorm1d(features, momentum=momentum or 0.0, **options), seed).train(training)
    layer = RCPSInstanceNorm1d(features, momentum=momentum, **options).double().train(training)
    checks.share_weights(layer, plain)
    x = normal(seed, 3, 2 * features, length)
    checks.lift(layer, plain, x, pooled=True, rtol=RTOL)
    checks.renderings(layer, x, RTOL)
    checks.equivariance(layer, x, rtol=RTOL)
    checks.config(layer)


def test_one_example_trains_like_a_batch_of_two() -> None:
    layer = RCPSBatchNorm1d(2).double()
    assert torch.isfinite(layer(normal(0, 1, 4))).all()
    with pytest.raises(ValueError, match=r"more than 1 value per channel"):
        nn.BatchNorm1d(2).double()(normal(0, 1, 2))


def test_a_state_dict_carries_over_in_both_directions() -> None:
    plain, layer = randomise(nn.BatchNorm1d(3), 0), RCPSBatchNorm1d(3).double()
    assert list(layer.state_dict()) == list(plain.state_dict())
    checks.share_weights(layer, plain)
    again = copy.deepcopy(plain)
    again.load_state_dict(layer.state_dict(), strict=True)
    checks.same_buffers(again, plain, 0.0)


def test_wrong_inputs_are_named() -> None:
    with pytest.raises(RcproofError, match=r"RCPSBatchNorm1d: got shape \(1, 3\); expected \(N, 4\) or \(N, 4, L\)$"):
        RCPSBatchNorm1d(2)(torch.zeros(1, 3))
    with pytest.raises(RcproofError, match=r"RCPSLayerNorm: got shape \(1, 4, 5\); expected \(N, 2F, …, 6\)$"):
        RCPSLayerNorm(6)(torch.zeros(1, 4, 5))
    with pytest.raises(RcproofError, match=r"RCPSLayerNorm: got shape \(1, 2, 5\); expected \(N, 4, 5\)$"):
        RCPSLayerNorm((2, 5))(torch.zeros(1, 2, 5))
    with pytest.raises(RcproofError, match=r"RCPSLayerNorm: got shape \(1, 3, 5\); expected \(N, 2F, …, 5\)$"):
        RCPSLayerNorm(5)(torch.zeros(1, 3, 5))
