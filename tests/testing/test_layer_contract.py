"""The contract of a layer: a known answer next to the equivariance, and the defects of other packages that it finds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rcproof.errors import RcproofError
from rcproof.nn import (
    Lifted,
    RCPSBatchNorm1d,
    RCPSConv1d,
    RCPSDropout,
    RCPSLayerNorm,
    RCPSLinear,
    RCPSMaxPool1d,
)
from rcproof.strand import rc, stack, unstack
from rcproof.testing import check_rc_layer, conv_reference, lift_reference
from rcproof.testing.known import Reference
from tests.mutants import layers as mutants
from tests.testing import likes
from tests.testing.test_model_contract import failing


def loaded(plain: nn.Module) -> Callable[[nn.Module], nn.Module]:
    """An ordinary layer that takes over a tied layer's state."""

    def fill(layer: nn.Module) -> nn.Module:
        plain.to(next(iter(layer.state_dict().values())).dtype if layer.state_dict() else torch.float64)
        plain.load_state_dict(layer.state_dict())
        return plain

    return fill


own_weights = conv_reference(lambda layer: (layer.weight, layer.bias))
max_pool = lift_reference(lambda layer: nn.MaxPool1d(layer.kernel_size, layer.stride))
norm_of_pairs = lift_reference(loaded(nn.BatchNorm1d(3)))


def dense(layer: nn.Module, x: Tensor) -> Tensor:
    """Slowly: strand by strand, output by output."""

    def one(s: Tensor) -> Tensor:
        rows = [(s * w).sum(1) + b for w, b in zip(layer.weight, layer.bias, strict=True)]
        return torch.stack(rows, 1)

    return stack(one(x), one(rc(x)))


STACKED, DNA = [(6, 25)], [(4, 25)]
RIGHT: dict[str, tuple[Callable[[], nn.Module], list[tuple[int, ...]], Reference]] = {
    "DNA": (lambda: RCPSConv1d(4, 3, 4, source="reversal"), DNA, own_weights),
    "coupled": (lambda: RCPSConv1d(3, 2, 5, coupled=True), STACKED, own_weights),
    "strided": (
        lambda: RCPSConv1d(3, 2, 5, stride=3, padding=1),
        STACKED,
        conv_reference(lambda layer: (layer.weight, layer.bias), stride=3, padding=1),
    ),
    "even kernel, same padding": (
        lambda: RCPSConv1d(3, 2, 4, padding="same", coupled=True),
        STACKED,
        conv_reference(lambda layer: (layer.weight, layer.bias), padding="same"),
    ),
    "grouped": (
        lambda: RCPSConv1d(3, 6, 3, groups=3),
        STACKED,
        conv_reference(lambda layer: (layer.weight, layer.bias), groups=3),
    ),
    "pool": (lambda: RCPSMaxPool1d(4, 3), STACKED, max_pool),
    "batch norm": (lambda: RCPSBatchNorm1d(3), STACKED, norm_of_pairs),
    "layer norm": (lambda: RCPSLayerNorm((3, 25)), STACKED, lift_reference(loaded(nn.LayerNorm((3, 25))))),
    "dropout": (lambda: RCPSDropout(0.5), STACKED, lift_reference(lambda layer: nn.Dropout(0.5))),
    "lifted": (lambda: Lifted(nn.ELU()), STACKED, lift_reference(lambda layer: layer.module)),
    "dense, coupled": (lambda: RCPSLinear(3, 2, coupled=True), [(6,)], dense),
}


@pytest.mark.parametrize("name", RIGHT)
def test_our_layers_pass(name: str) -> None:
    layer, shapes, known = RIGHT[name]
    report = check_rc_layer(layer, shapes, reference=known, dtypes=(torch.float32, torch.bfloat16))
    assert report.passed, str(report)


def wrapped_norm(layer: nn.Module) -> nn.Module:
    return layer.submodule


def eugene(layer: nn.Module, x: Tensor) -> Tensor:
    """What its name promises: both strands convolved, in the order of the one given."""
    y = F.conv1d(x, layer.weight), F.conv1d(rc(x), layer.weight)
    return y[0] + rc(y[1])


def add_norm(layer: nn.Module, x: Tensor, residual: Tensor) -> Tensor:
    strands = [s.transpose(1, 2) for s in unstack(x + residual)]
    return stack(*(F.layer_norm(s, (3,), layer.norm.weight, layer.norm.bias).transpose(1, 2) for s in strands))


def equirc_conv(layer: nn.Module, x: Tensor) -> Tensor:
    return conv_reference(lambda layer: (layer.free, None), padding="same")(layer, x)


rcps_same = conv_reference(lambda layer: (layer.weights, None), padding="same")
genomics = conv_reference(lambda layer: (layer.kernel, layer.bias))
strided = conv_reference(lambda layer: (layer.weight, None), stride=3)
batch_norm = lift_reference(wrapped_norm)
ALL = {
    "reference",
    "equivariance",
    "independence",
    "gradients",
    "steadiness",
    "statistics",
    "graphs",
    "copies",
    "dtypes",
}

# Each defect of PEERS, in a stand-in of ours, with the clauses that find it and no others.
PEERS: dict[str, tuple[Callable[[], nn.Module], dict[str, Any], Reference | None, set[str]]] = {
    "rcps-pytorch, odd kernel": (
        lambda: likes.LikeRcpsPytorchConv(3, 2, 3, "same"), {"saved_whole": False}, rcps_same, set(),
    ),
    "rcps-pytorch, even kernel": (
        lambda: likes.LikeRcpsPytorchConv(3, 2, 4, "same"), {"saved_whole": False}, rcps_same,
        {"reference", "equivariance", "gradients", "statistics", "dtypes"},
    ),
    "rcps-pytorch, saved whole": (
        lambda: likes.LikeRcpsPytorchConv(3, 2, 3, "same"), {}, rcps_same, {"copies"},
    ),
    "equirc, odd kernel": (lambda: likes.LikeEquircConv(6, 2, 5), {}, equirc_conv, set()),
    "equirc, even kernel": (
        lambda: likes.LikeEquircConv(6, 2, 4), {}, equirc_conv,
        {"reference", "equivariance", "gradients", "statistics", "dtypes"},
    ),
    "equirc, batch norm": (
        lambda: likes.LikeEquircBatchNorm(3), {}, None,
        {"equivariance", "independence", "gradients", "graphs", "copies"},
    ),
    "equirc, k-mers": (
        likes.LikeEquircKmers, {"shapes": DNA}, None, ALL - {"reference"},
    ),
    "keras-genomics, 2 conv + b": (lambda: likes.LikeKerasGenomicsConv(6, 2, 3), {}, genomics, {"reference"}),
    "a stride that does not align": (
        lambda: likes.LikeStridedPairs(6, 2, 4, 3), {"shapes": [(6, 24)]}, strided,
        {"reference", "equivariance", "gradients", "statistics", "dtypes"},
    ),
    "a stride that aligns at one length": (
        lambda: likes.LikeStridedPairs(6, 2, 4, 3), {"shapes": [(6, 25)]}, strided, {"reference", "equivariance"},
    ),
    "plain pooling of pairs": (lambda: nn.MaxPool1d(4), {"shapes": [(6, 24)]}, max_pool, {"reference", "equivariance"}),
    "Caduceus, batch norm": (
        lambda: likes.LikeCaduceusWrapper(nn.BatchNorm1d(3)), {}, batch_norm, {"reference", "statistics"},
    ),
    "Caduceus, layer norm": (lambda: likes.LikeCaduceusWrapper(nn.LayerNorm(25)), {"lengths": []}, batch_norm, set()),
    "Caduceus, unfused norm": (
        lambda: likes.LikeCaduceusAddNorm(3, False), {"shapes": [(6, 25), (6, 25)]}, add_norm, set(),
    ),
    "Caduceus, fused norm": (
        lambda: likes.LikeCaduceusAddNorm(3, True), {"shapes": [(6, 25), (6, 25)]}, add_norm, {"reference"},
    ),
    "EUGENe, length not reversed": (
        lambda: likes.LikeEugeneBiConv(4, 2, 3), {"shapes": DNA}, eugene,
        {"reference", "equivariance", "gradients", "statistics", "dtypes"},
    ),
    "EUGENe, dropout in eval": (
        lambda: likes.LikeEugeneBiConv(4, 2, 3, 0.3), {"shapes": DNA}, eugene, ALL - {"statistics", "graphs"},
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("name", PEERS)
def test_defects_of_other_packages_are_found(name: str) -> None:
    layer, options, known, clauses = PEERS[name]
    report = check_rc_layer(layer, **{"shapes": STACKED, "reference": known, **options})
    assert failing(report) == clauses, str(report)


def details(name: str) -> str:
    layer, options, known, _ = PEERS[name]
    report = check_rc_layer(layer, **{"shapes": STACKED, "reference": known, **options})
    return "\n".join(f"{c.name} {c.detail}" for c in report.failures)


def test_what_is_wrong_is_said() -> None:
    norm = details("equirc, batch norm")
    assert "equivariance: as built, normal: output ρ model(x) has" in norm
    assert "values that are not finite" in norm
    assert "graphs: buffers hold no autograd graph running_mean_, running_deviation after three batches" in norm
    assert "deep copy after training: the model runs it raised RuntimeError: Only Tensors created explicitly" in norm
    assert "saved whole: the model runs it raised" in details("rcps-pytorch, saved whole")
    assert "it raised RuntimeError" in details("equirc, k-mers")
    assert "Caduceus" not in details("Caduceus, batch norm")
    assert "reference: normal: in train mode" not in details("Caduceus, unfused norm")


def test_the_double_convolution_needs_its_own_answer() -> None:
    """Once the kernel is doubled, as an importer must, the same layer passes."""
    doubled = conv_reference(lambda layer: (2 * layer.kernel, layer.bias))
    assert check_rc_layer(lambda: likes.LikeKerasGenomicsConv(6, 2, 3), STACKED, reference=doubled).passed


def conv(kind: type[nn.Module], **options: Any) -> Callable[[], nn.Module]:
    return lambda: kind(4, 3, 4, source="reversal", **options)


MUTANTS: dict[str, tuple[Callable[[], nn.Module], list[tuple[int, ...]], Reference]] = {
    "unflipped kernel": (conv(mutants.UnflippedKernel), DNA, own_weights),
    "wrong complement": (conv(mutants.WrongComplement), DNA, own_weights),
    "other base order": (conv(mutants.OtherBaseOrder), DNA, own_weights),
    "bias not mirrored": (conv(mutants.BiasNotMirrored), DNA, own_weights),
    "twice": (conv(mutants.ConvolutionTwice), DNA, own_weights),
    "plain cat": (conv(mutants.PlainCat), DNA, own_weights),
    "halves swapped": (conv(mutants.SwappedHalves), DNA, own_weights),
    "wrong in the ninth digit": (conv(mutants.Scaled), DNA, own_weights),
    "zero": (conv(mutants.AllZero), DNA, own_weights),
    "NaN": (conv(mutants.NotANumber), DNA, own_weights),
    "no gradient": (conv(mutants.NoGradient), DNA, own_weights),
    "misaligned stride": (
        lambda: mutants.MisalignedStride(3, 2, 4, stride=3),
        STACKED,
        conv_reference(lambda layer: (layer.weight, layer.bias), stride=3),
    ),
    "couples to itself": (lambda: mutants.CouplesToItself(3, 2, 4, coupled=True), STACKED, own_weights),
    "couples unreversed": (lambda: mutants.CouplesUnreversed(3, 2, 4, coupled=True), STACKED, own_weights),
    "misaligned pool": (lambda: mutants.MisalignedPool(4), STACKED, max_pool),
    "two-pass statistics": (lambda: mutants.TwoPassStatistics(3), STACKED, norm_of_pairs),
    "batch norm unmirrored": (lambda: mutants.BatchNormUnmirrored(3), STACKED, norm_of_pairs),
    "batch norm forgetful": (lambda: mutants.BatchNormForgetful(3), STACKED, norm_of_pairs),
    "dropout always on": (
        lambda: mutants.DropoutAlwaysOn(0.5),
        STACKED,
        lift_reference(lambda layer: nn.Identity()),
    ),
    "linear unmirrored": (lambda: mutants.LinearUnmirrored(3, 2, coupled=True), [(6,)], dense),
}
EQUIVARIANT = {"twice", "halves swapped", "wrong in the ninth digit", "couples to itself", "couples unreversed",
               "two-pass statistics", "batch norm forgetful"}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_every_mutant_fails_and_the_known_answer_sees_it(name: str) -> None:
    layer, shapes, known = MUTANTS[name]
    found = failing(check_rc_layer(layer, shapes, reference=known))
    assert "reference" in found
    if name in EQUIVARIANT:  # which a checker of equivariance alone would have passed
        assert "equivariance" not in found


def test_without_a_reference_the_report_says_so() -> None:
    report = check_rc_layer(lambda: likes.LikeKerasGenomicsConv(6, 2, 3), STACKED, reference=None)
    assert report.passed
    assert report.notes == ("no reference was given, so nothing says which function this is",)


def test_free_weights_that_do_not_fit_are_named() -> None:
    known = conv_reference(lambda layer: (layer.weight[:, :2], layer.bias))
    layer = RCPSConv1d(3, 2, 5, coupled=True)
    with pytest.raises(
        RcproofError,
        match=r"^free weights of the convolution: got \(2, 2, 5\) for 6 input channels; "
        r"expected \(F, 6, K\), or \(F, 3, K\) where strands do not mix$",
    ):
        known(layer, torch.zeros(1, 6, 9))


def test_a_batch_of_one_kind_of_input() -> None:
    report = check_rc_layer(
        lambda: RCPSConv1d(3, 2, 3), STACKED, reference=own_weights, kinds=("random",), signed=False, lengths=[3, 4]
    )
    assert report.passed, str(report)
    assert any("length 3" in check.name for check in report.checks)
