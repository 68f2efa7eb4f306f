"""Broken layers, each of which must fail the check that the real layer passes.

A check that no mutant fails is no evidence. Every mutant here is a mistake that somebody could make or that a
published package makes; ``equivariant`` marks those that an equivariance check alone would have let through.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from rcproof.nn import (
    Lifted,
    Merge,
    RCPSAvgPool1d,
    RCPSBatchNorm1d,
    RCPSConv1d,
    RCPSDropout,
    RCPSEmbedding,
    RCPSGroupNorm,
    RCPSLayerNorm,
    RCPSLinear,
    RCPSMaxPool1d,
    RCPSWeightedSum1d,
    WeightedSum1d,
)
from rcproof.strand import rc, stack
from tests import checks
from tests.mutants import layers as broken
from tests.strategies import normal, randomise

Check = Callable[[nn.Module], None]

CLOSED, STACKED = normal(11, 2, 4, 21), normal(12, 2, 8, 21)
VECTORS = normal(13, 3, 8)


def like(plain: Callable[[], nn.Module], x: Tensor, pooled: bool = False) -> Check:
    def check(layer: nn.Module) -> None:
        checks.everything(layer.double(), randomise(plain(), 5), x, pooled, rtol=1e-11)

    return check


def close_to(reference: Callable[[Tensor, nn.Module], Tensor], x: Tensor) -> Check:
    def check(layer: nn.Module) -> None:
        randomise(layer, 5)
        checks.close(layer(x), reference(x, layer))
        checks.renderings(layer, x)
        checks.equivariance(layer, x)

    return check


def merge_check(layer: nn.Module) -> None:
    checks.merged(layer, normal(14, 2, 4, 9), layer.mode, "pairs:1")


def dropout_check(layer: nn.Module) -> None:
    checks.shared_dropout(layer, normal(15, 20, 8, 9), 0.5)


def embedding_check(layer: nn.Module) -> None:
    randomise(layer, 5)
    x = torch.tensor([[0, 1, 2, 3, 4, 1], [3, 3, 0, 4, 1, 2]])
    table = layer.weight

    def reference(v: Tensor) -> Tensor:
        other = rc(v, "tokens:3,2,1,0,4")
        return stack(table[v].transpose(1, 2), table[other].transpose(1, 2))

    checks.same(layer, reference, x, [table], [table])
    checks.equivariance(layer, x, "tokens:3,2,1,0,4")


closed_conv = like(lambda: nn.Conv1d(4, 3, 4), CLOSED)
strided_conv = like(lambda: nn.Conv1d(4, 3, 4, stride=3), STACKED)
same_conv = like(lambda: nn.Conv1d(4, 3, 4, padding="same"), STACKED)
plain_conv = like(lambda: nn.Conv1d(4, 3, 3), STACKED)
coupled_conv = close_to(lambda x, layer: checks.coupled_conv_reference(x, layer, (0, 0)), normal(16, 2, 4, 9))
coupled_linear = close_to(checks.coupled_linear_reference, VECTORS)
batch_norm = like(lambda: nn.BatchNorm1d(4), STACKED, pooled=True)


def eval_batch_norm(layer: nn.Module) -> None:
    batch_norm_in_eval(layer.eval())


batch_norm_in_eval = like(lambda: nn.BatchNorm1d(4).eval(), STACKED)


@dataclass(frozen=True)
class Mutant:
    real: Callable[[], nn.Module]
    mutant: Callable[[], nn.Module]
    check: Check
    equivariant: Tensor | None = None  # an input for which the mutant passes the equivariance check


def conv(kind: type[RCPSConv1d], check: Check, equivariant: Tensor | None = None, **options: object) -> Mutant:
    kernel = 3 if check in (plain_conv, coupled_conv) else 4
    inputs = 2 if check is coupled_conv else 4
    return Mutant(
        lambda: RCPSConv1d(inputs, 3, kernel, **options),
        lambda: kind(inputs, 3, kernel, **options),
        check,
        equivariant,
    )


MUTANTS = {
    "unflipped kernel": conv(broken.UnflippedKernel, closed_conv, source="reversal"),
    "wrong complement": conv(broken.WrongComplement, closed_conv, source="reversal"),
    "another base order": conv(broken.OtherBaseOrder, closed_conv, source="reversal"),
    "bias not mirrored": conv(broken.BiasNotMirrored, closed_conv, source="reversal"),
    "convolution counted twice": conv(broken.ConvolutionTwice, plain_conv, STACKED),
    "stride without mirror": conv(broken.MisalignedStride, strided_conv, stride=3),
    "offset by one": conv(broken.OffsetByOne, strided_conv, stride=3),
    "same padding without mirror": conv(broken.SamePaddingUnmirrored, same_conv, padding="same"),
    "plain cat": conv(broken.PlainCat, plain_conv),
    "swapped halves": conv(broken.SwappedHalves, plain_conv, STACKED),
    "scaled by 1 + 1e-9": conv(broken.Scaled, plain_conv, STACKED),
    "all zero": conv(broken.AllZero, plain_conv, STACKED),
    "NaN": conv(broken.NotANumber, plain_conv),
    "no gradient": conv(broken.NoGradient, plain_conv, STACKED),
    "coupled to itself": conv(broken.CouplesToItself, coupled_conv, normal(16, 2, 4, 9), coupled=True),
    "coupled without reversal": conv(broken.CouplesUnreversed, coupled_conv, normal(16, 2, 4, 9), coupled=True),
    "coupled linear without mirror": Mutant(
        lambda: RCPSLinear(4, 3, coupled=True), lambda: broken.LinearUnmirrored(4, 3, coupled=True), coupled_linear
    ),
    "pooling without mirror": Mutant(
        lambda: RCPSMaxPool1d(4), lambda: broken.MisalignedPool(4), like(lambda: nn.MaxPool1d(4), normal(0, 2, 4, 22))
    ),
    "pooling off by one": Mutant(
        lambda: RCPSAvgPool1d(4),
        lambda: broken.PoolMirroredByOneTooFew(4),
        like(lambda: nn.AvgPool1d(4), normal(0, 2, 4, 22)),
    ),
    "two-pass batch statistics": Mutant(
        lambda: RCPSBatchNorm1d(4), lambda: broken.TwoPassStatistics(4), batch_norm, STACKED
    ),
    "batch norm that keeps no statistics": Mutant(
        lambda: RCPSBatchNorm1d(4), lambda: broken.BatchNormForgetful(4), batch_norm, STACKED
    ),
    "batch norm without mirror": Mutant(
        lambda: RCPSBatchNorm1d(4), lambda: broken.BatchNormUnmirrored(4), eval_batch_norm
    ),
    "layer norm without mirror": Mutant(
        lambda: RCPSLayerNorm(21), lambda: broken.LayerNormUnmirrored(21), like(lambda: nn.LayerNorm(21), STACKED)
    ),
    "groups across strands": Mutant(
        lambda: RCPSGroupNorm(2, 4), lambda: broken.GroupsAcrossStrands(2, 4), like(lambda: nn.GroupNorm(2, 4), STACKED)
    ),
    "mean without half": Mutant(
        lambda: Merge("mean", "pairs:1"), lambda: broken.NoHalf("mean", "pairs:1"), merge_check
    ),
    "merge without strand swap": Mutant(
        lambda: Merge("mean", "pairs:1"), lambda: broken.MergeWithoutStrandSwap("mean", "pairs:1"), merge_check
    ),
    "max without rc": Mutant(
        lambda: Merge("max", "pairs:1"), lambda: broken.MaxWithoutRc("max", "pairs:1"), merge_check
    ),
    "shared mask without mirror": Mutant(
        lambda: RCPSDropout(0.5, "shared"), lambda: broken.MaskUnmirrored(0.5, "shared"), dropout_check
    ),
    "independent masks for shared": Mutant(
        lambda: RCPSDropout(0.5, "shared"), lambda: RCPSDropout(0.5, "independent"), dropout_check
    ),
    "dropout on in eval": Mutant(
        lambda: RCPSDropout(0.5, "shared"), lambda: broken.DropoutAlwaysOn(0.5, "shared"), dropout_check
    ),
    "embedding without complement": Mutant(
        lambda: RCPSEmbedding(5, 3), lambda: broken.NoComplement(5, 3), embedding_check
    ),
    "embedding without feature flip": Mutant(
        lambda: RCPSEmbedding(5, 3), lambda: broken.FeaturesUnflipped(5, 3), embedding_check
    ),
    "middle counted twice": Mutant(
        lambda: RCPSWeightedSum1d(4, 21, symmetric=True),
        lambda: broken.MiddleTwice(4, 21, symmetric=True),
        like(lambda: WeightedSum1d(4, 21, symmetric=True), STACKED),
        STACKED,
    ),
    "lifted without reversal": Mutant(
        lambda: Lifted(broken.Cumulative()),
        lambda: broken.LiftedInOneDirection(broken.Cumulative()),
        like(broken.Cumulative, STACKED),
    ),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("name", list(MUTANTS))
def test_the_real_layer_passes_and_the_mutant_does_not(name: str) -> None:
    mutant = MUTANTS[name]
    torch.manual_seed(0)
    mutant.check(mutant.real())
    with pytest.raises(AssertionError):
        mutant.check(mutant.mutant())


@pytest.mark.parametrize("name", [name for name, mutant in MUTANTS.items() if mutant.equivariant is not None])
def test_equivariance_alone_would_have_let_it_through(name: str) -> None:
    mutant = MUTANTS[name]
    x = mutant.equivariant
    assert x is not None
    checks.equivariance(randomise(mutant.mutant(), 5).eval(), x)


def test_there_are_enough_mutants() -> None:
    assert len(MUTANTS) >= 30
    assert sum(mutant.equivariant is not None for mutant in MUTANTS.values()) >= 8
