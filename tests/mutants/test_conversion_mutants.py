"""Broken conversions: one mistake each, in the rules, the plan, the layers or the result, and each must be caught.

Every mutant is caught by ``convert`` itself (which compares before it returns, and then returns nothing), or, where it
is made after that, by ``check_equivalence``. Beside it stands whether ``check_equivariance`` alone would have seen it:
where not, equivariance is no evidence.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rcproof.conjoined import Conjoined
from rcproof.convert import Conversion, ConvertConfig, api, build, convert, copies, rules
from rcproof.errors import VerificationError
from rcproof.network import plan
from rcproof.network.network import Network
from rcproof.nn import RCPSAvgPool1d, RCPSBatchNorm1d, RCPSConv1d, RCPSLinear, couple
from rcproof.nn import base as layers
from rcproof.nn.couple import split_weight
from rcproof.strand import rc, representation
from rcproof.verify import check_equivalence, check_equivariance, draw_inputs

merging = sys.modules["rcproof.nn.merge"]  # the package's attribute of this name is the function
INPUTS = ("reversal", "reversal", "length")
OUTPUTS = ("reversal", "fixed")
SHAPES = ((4, 60), (2, 22), (2, 22))


class Branch(nn.Module):
    """A conv that is cropped, a pool that does not centre, stranded and unstranded control tracks, two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.inner = nn.Conv1d(4, 6, 8), nn.Conv1d(6, 6, 4, dilation=2)
        self.norm, self.pool = nn.BatchNorm1d(6), nn.AvgPool1d(4, 2, ceil_mode=False)
        self.profile, self.counts = nn.Conv1d(10, 2, 3), nn.Linear(6, 2)
        with torch.no_grad():
            self.norm.running_mean.normal_()  # type: ignore[union-attr]
            self.norm.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]

    def forward(self, x: Tensor, stranded: Tensor, scales: Tensor) -> tuple[Tensor, Tensor]:
        h = self.conv(x).relu()
        h = h[:, :, 2:-4] + self.inner(h).relu()
        h = self.norm(h)
        p = self.pool(h)
        joined = torch.cat([p, stranded, scales], dim=1)
        return self.profile(joined), self.counts(torch.flatten(p, 1).unflatten(1, (6, -1)).mean(2))


def source() -> Conjoined:
    torch.manual_seed(0)
    return Conjoined(Branch().double(), INPUTS, OUTPUTS).eval()


def config(**options: Any) -> ConvertConfig:
    return ConvertConfig(**{"input_shapes": SHAPES, **options})


CASES = list(draw_inputs(SHAPES, INPUTS, kinds=("one-hot", "random"), batch=3))
Patch = pytest.MonkeyPatch


def test_the_unbroken_conversion_passes() -> None:
    for layout in ("auto", "stacked", "batched"):
        conversion = convert(source(), config(layout=layout))
        check_equivalence(source(), conversion.model, CASES).raise_if_failed()
        check_equivariance(conversion.model, CASES, INPUTS, OUTPUTS).raise_if_failed()
        assert conversion.certificate.share_tied == 1.0


# -- mistakes in the machine: convert must refuse to return anything -------------------------------------------


def wrong_complement(patch: Patch) -> None:
    """The other strand of the DNA is reversed, its bases are not complemented."""
    patch.setattr(plan, "to_batched", lambda x, rep=None: layers.to_batched(x, rep and representation("length")))


def not_reversed(patch: Patch) -> None:
    """Complemented, not reversed."""
    patch.setattr(plan, "to_batched", lambda x, rep=None: layers.to_batched(x, rep and representation("channels")))


def other_base_order(patch: Patch) -> None:
    """The tied layer on the DNA is told another base order than the input has."""
    patch.setattr(build.Builder, "_closed_source", lambda self, module, info: representation("dna:ATGC"))


def dropped_half(patch: Patch) -> None:
    patch.setattr(merging, "merge", lambda a, b, mode: a + b)


def unflipped_output(patch: Patch) -> None:
    """The merge adds the other strand's answer as that strand reads it."""
    patch.setattr(merging, "rc", lambda x, rep: x)


def wrong_output_representation(patch: Patch) -> None:
    """Length reversed, plus and minus not exchanged."""
    patch.setattr(merging, "rc", lambda x, rep: rc(x, "length") if x.dim() == 3 else x)


def swapped_strands(patch: Patch) -> None:
    """The answer of the other strand, in its own direction."""
    patch.setattr(merging, "merge", lambda a, b, mode: rc(0.5 * (a + b)) if a.dim() == 3 else 0.5 * (a + b))


def one_strand(patch: Patch) -> None:
    patch.setattr(merging, "merge", lambda a, b, mode: a)


def maximum(patch: Patch) -> None:
    patch.setattr(merging, "merge", lambda a, b, mode: torch.maximum(a, b))


def swapped_control_channels(patch: Patch) -> None:
    """Smoothing scales are swapped as if they were strands (T13; the paper's text, against its code)."""
    original = plan.to_batched

    def switch(x: Tensor, rep: Any = None) -> Tensor:
        return original(x, representation("reversal") if rep is not None and rep.channels == "keep" else rep)

    patch.setattr(plan, "to_batched", switch)


def unswapped_control_strands(patch: Patch) -> None:
    original = plan.to_batched

    def switch(x: Tensor, rep: Any = None) -> Tensor:
        return original(x, representation("length") if rep is not None and x.shape[1] == 2 else rep)

    patch.setattr(plan, "to_batched", switch)


def crop_off_by_one(patch: Patch) -> None:
    """In the stacked rendering the other strand is cropped one position early."""

    def crop(x: Tensor, index: Any) -> Tensor:
        start, stop = plan.crop_bounds(index[2], x.shape[2])
        own, other = layers.halves(x, 1)
        first = x.shape[2] - stop - 1
        return torch.cat([own[:, :, start:stop], other[:, :, first : first + stop - start]], dim=1)

    patch.setitem(plan.STACKED, "crop", crop)


def crop_not_mirrored(patch: Patch) -> None:
    patch.setitem(plan.STACKED, "crop", lambda x, index: x[index])


def plain_cat(patch: Patch) -> None:
    """Stacked tensors joined as they lie (T13)."""
    patch.setitem(plan.STACKED, "cat", lambda tensors, dim=1: torch.cat(tensors, dim=1))


def cat_in_one_order(patch: Patch) -> None:
    """Both strands' parts in the same order."""

    def cat(tensors: Any, dim: int = 1) -> Tensor:
        parts = [layers.halves(t, 1) for t in tensors]
        return torch.cat([p[0] for p in parts] + [p[1] for p in parts], dim=1)

    patch.setitem(plan.STACKED, "cat", cat)


def softmax_over_stacked_channels(patch: Patch) -> None:
    """Any step is said to have a stacked form (T13): here, an unflatten of channels."""
    patch.setattr(build, "stacked_form", lambda *args: "same")


def misaligned_pool(patch: Patch) -> None:
    """The other strand is pooled in windows that start where the first strand's do."""
    patch.setattr(RCPSAvgPool1d, "forward", lambda self, x: F.avg_pool1d(x, self.kernel_size, self.stride))


def unflipped_kernel(patch: Patch) -> None:
    def forward(self: RCPSConv1d, x: Tensor) -> Tensor:
        own, other = (x, rc(x, self.source)) if self.source else layers.halves(x, 1)
        other = other if self.source else layers.flip_strand(other)
        w = self.weight.flip(2)
        a = F.conv1d(own, self.weight, self.bias, 1, 0, self.dilation)
        return torch.cat([a, layers.flip_strand(F.conv1d(other, w, self.bias, 1, 0, self.dilation))], 1)

    patch.setattr(RCPSConv1d, "forward", forward)


def batch_norm_unmirrored(patch: Patch) -> None:
    def forward(self: RCPSBatchNorm1d, x: Tensor) -> Tensor:
        parts = (self.running_mean, self.running_var, self.weight, self.bias)
        return F.batch_norm(x, *(v.repeat(2) for v in parts), False, 0.0, self.eps)

    patch.setattr(RCPSBatchNorm1d, "forward", forward)


def strands_side_by_side(patch: Patch) -> None:
    """From batched to stacked without turning the other strand round."""
    patch.setattr(plan, "to_stacked", lambda s: torch.cat(layers.halves(s), dim=1))


def weights(change: Callable[[Tensor], Tensor], only: str = "") -> Callable[[Patch], None]:
    """The copied weights are changed on the way."""

    def apply(patch: Patch) -> None:
        original = copies.Copied.tensor

        def tensor(self: Any, source: Tensor) -> Tensor:
            fresh = id(source) not in self.memo
            copied = original(self, source)
            if fresh and copied.dim() == 3:
                with torch.no_grad():
                    copied.copy_(change(copied))
            return copied

        patch.setattr(copies.Copied, "tensor", tensor)

    return apply


def rule_without_dilation(patch: Patch) -> None:
    original = rules.RULES[nn.Conv1d]

    def rule(module: nn.Conv1d, site: rules.Site) -> rules.Rewrite | None:
        rewrite = original(module, site)
        assert rewrite is not None
        if module.dilation[0] > 1:
            rewrite.layer.dilation = 1  # type: ignore[union-attr]
        return rewrite

    patch.setitem(rules.RULES, nn.Conv1d, rule)


def rule_without_bias(patch: Patch) -> None:
    original = copies.Copied.into

    def into(self: Any, layer: nn.Module, source: nn.Module) -> nn.Module:
        done = original(self, layer, source)
        if isinstance(done, RCPSLinear):
            done.bias = nn.Parameter(torch.zeros_like(done.bias))
        return done

    patch.setattr(copies.Copied, "into", into)


def forgotten_relu(patch: Patch) -> None:
    """A function replaced by another of the same shape."""
    from rcproof.network.ops import OPS, Op

    op = OPS["Tensor.relu"]
    patch.setitem(OPS, "Tensor.relu", Op(op.name, lambda x: x.abs(), op.family))


def fresh_statistics(patch: Patch) -> None:
    """Running statistics left at their defaults."""
    original = copies.Copied.into

    def into(self: Any, layer: nn.Module, source: nn.Module) -> nn.Module:
        done = original(self, layer, source)
        if isinstance(done, RCPSBatchNorm1d):
            done.running_mean = torch.zeros_like(source.running_mean)  # type: ignore[arg-type]
        return done

    patch.setattr(copies.Copied, "into", into)


def read_before_written(patch: Patch) -> None:
    """Outputs in the wrong order."""
    original = api.Graph

    def graph(nodes: Any, outputs: Any, structure: Any) -> Any:
        return original(nodes, outputs[::-1], structure)

    patch.setattr(api, "Graph", graph)


# name: (the mistake, the layout in which it is made, whether equivariance alone sees it)
MACHINE: dict[str, tuple[Callable[[Patch], None], str, bool]] = {
    "wrong complement": (wrong_complement, "batched", True),
    "not reversed": (not_reversed, "batched", True),
    "another base order": (other_base_order, "stacked", True),
    "dropped ½": (dropped_half, "auto", False),
    "unflipped output": (unflipped_output, "batched", True),
    "wrong output representation": (wrong_output_representation, "batched", True),
    "swapped strands": (swapped_strands, "auto", False),
    "one strand only": (one_strand, "auto", True),
    "maximum for mean": (maximum, "auto", False),
    "swapped control channels": (swapped_control_channels, "batched", True),
    "unswapped control strands": (unswapped_control_strands, "batched", True),
    "crop off by one": (crop_off_by_one, "stacked", True),
    "crop not mirrored": (crop_not_mirrored, "stacked", True),
    "plain cat": (plain_cat, "stacked", True),
    "cat in one order": (cat_in_one_order, "stacked", True),
    "a stacked form for everything": (softmax_over_stacked_channels, "stacked", True),
    "misaligned pool": (misaligned_pool, "stacked", True),
    "unflipped kernel": (unflipped_kernel, "stacked", True),
    "batch norm not mirrored": (batch_norm_unmirrored, "stacked", True),
    "strands side by side": (strands_side_by_side, "stacked", True),
    "weights of another scale": (weights(lambda w: 2 * w), "auto", False),
    "weights of another sign": (weights(lambda w: -w), "auto", False),
    "weights off in the ninth digit": (weights(lambda w: w * (1 + 1e-9)), "auto", False),
    "kernels reversed": (weights(lambda w: w.flip(2)), "auto", False),
    "no weights": (weights(torch.zeros_like), "auto", False),
    "NaN": (weights(lambda w: w * float("nan")), "auto", True),
    "one infinite weight": (weights(lambda w: w.index_fill(0, torch.tensor([0]), float("inf"))), "auto", True),
    "a rule without dilation": (rule_without_dilation, "auto", True),
    "a rule without bias": (rule_without_bias, "auto", False),
    "statistics left at zero": (fresh_statistics, "auto", False),
    "another activation": (forgotten_relu, "auto", False),
    "outputs in the wrong order": (read_before_written, "auto", True),
}


@pytest.mark.parametrize("name", MACHINE)
def test_convert_catches_it(name: str, monkeypatch: Patch) -> None:
    """Whoever calls ``convert`` gets an error and no network, and not for another reason."""
    mistake, layout, _ = MACHINE[name]
    model = source()
    mistake(monkeypatch)
    with pytest.raises(VerificationError):
        convert(model, config(layout=layout))


@pytest.mark.parametrize("name", MACHINE)
def test_equivalence_catches_it_and_equivariance_alone_may_not(name: str, monkeypatch: Patch) -> None:
    mistake, layout, seen = MACHINE[name]
    model = source()
    mistake(monkeypatch)
    conversion = convert(model, config(layout=layout, verify=False))
    assert not check_equivalence(model, conversion.model, CASES).passed
    assert check_equivariance(conversion.model, CASES, INPUTS, OUTPUTS, allow_constant=True).passed is not seen


# -- mistakes made afterwards --------------------------------------------------------------------------------


def converted() -> Network:
    return convert(source(), config()).model


def touch(path: str, change: Callable[[Tensor], Any]) -> Callable[[Network], None]:
    def apply(network: Network) -> None:
        with torch.no_grad():
            change(dict([*network.named_parameters(), *network.named_buffers()])[path])

    return apply


def swap_outputs(network: Network) -> None:
    head = network.get_submodule("profile")
    for p in head.parameters():
        p.data = p.data.flip(0)


def swap_merge(network: Network) -> None:
    for node in network.rcproof_graph().nodes:
        if node.op == "merge":
            node.target = "sum"
    network.replan()


AFTER: dict[str, Callable[[Network], None]] = {
    "one weight": touch("inner.weight", lambda w: w[0, 0, 0].add_(1e-9)),
    "one bias": touch("counts.bias", lambda b: b[1:].add_(1e-9)),
    "one running mean": touch("norm.running_mean", lambda b: b[:1].mul_(1 + 1e-8)),
    "one weight is NaN": touch("conv.weight", lambda w: w[0, 0, 0].fill_(float("nan"))),
    "all weights are zero": touch("profile.weight", lambda w: w.zero_()),
    "strands swapped at the head": swap_outputs,
    "sum for mean": swap_merge,
    "another layer": lambda network: setattr(network.get_submodule("pool"), "stride", 3),
}


@pytest.mark.parametrize("name", AFTER)
def test_changed_afterwards(name: str) -> None:
    network = converted()
    AFTER[name](network)
    assert not check_equivalence(source(), network, CASES).passed


def test_a_coupled_weight_that_is_not_zero() -> None:
    network = couple(converted())
    check_equivalence(source(), network, CASES).raise_if_failed()
    for name in ("inner", "profile", "counts"):
        changed = copy.deepcopy(network)
        with torch.no_grad():
            split_weight(changed.get_submodule(name))[1][0].add_(1e-9)
        assert not check_equivalence(source(), changed, CASES).passed
        check_equivariance(changed, CASES, INPUTS, OUTPUTS).raise_if_failed()


def test_a_network_that_mixes_examples_is_no_conversion(monkeypatch: Patch) -> None:
    """If typing let a mixing step through, the probe would still refuse."""
    from rcproof.convert import typing

    def lenient(op: Any, args: Any, kwargs: Any, carrying: Any, value: Any) -> Any:
        return typing.result_info(value, 0)

    monkeypatch.setitem(typing._TYPERS, "along", lenient)
    monkeypatch.setitem(typing._TYPERS, "reduce", lenient)

    class Mixing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(4, 2, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = self.conv(x)
            return h.softmax(0) + h - h.mean(0, keepdim=True).expand(h.shape[0], -1, -1)

    class Softmax(Mixing):
        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x).softmax(0)

    with pytest.raises(VerificationError, match="independence of examples"):
        convert(Conjoined(Softmax(), outputs="reversal").eval(), ConvertConfig(input_shapes=[(4, 20)]))


def test_a_certificate_does_not_hide_a_changed_tensor() -> None:
    """Every row holds the hash of the source tensor and of the result."""

    def rows(conversion: Conversion) -> dict[str, tuple[str, str]]:
        return {row.name: (row.source_sha256, row.result_sha256) for row in conversion.certificate.tensors}

    honest = rows(convert(source(), config()))
    assert all(a == b for a, b in honest.values())
    with pytest.MonkeyPatch.context() as patch:
        weights(lambda w: w * (1 + 1e-9))(patch)
        broken = rows(convert(source(), config(verify=False)))
    assert {name for name, (a, b) in broken.items() if a != b} == {"conv.weight", "inner.weight", "profile.weight"}
    assert {name: a for name, (a, _) in broken.items()} == {name: a for name, (a, _) in honest.items()}
