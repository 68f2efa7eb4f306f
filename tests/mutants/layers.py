"""Broken layers: mistakes that somebody could make, or that a published package makes. See test_layer_mutants.py."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
    merge,
)
from rcproof.strand import rc, stack, tie, unstack


def on_both(batched: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return stack(*batched(torch.cat(unstack(x))).chunk(2))


class UnflippedKernel(RCPSConv1d):
    """The other strand's kernel reverses outputs and inputs, not taps."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv1d(x, torch.cat([self.weight, self.weight.flip(0, 1)]), tie(self.bias))


class WrongComplement(RCPSConv1d):
    """A is read as its own complement."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv1d(x, tie(self.weight, "length"), tie(self.bias))


class OtherBaseOrder(RCPSConv1d):
    """The input is ACGT, the complement is that of ATGC."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv1d(x, tie(self.weight, "dna:ATGC"), tie(self.bias))


class BiasNotMirrored(RCPSConv1d):
    def forward(self, x: Tensor) -> Tensor:
        return F.conv1d(x, tie(self.weight), torch.cat([self.bias, self.bias]))


class ConvolutionTwice(RCPSConv1d):
    """2·conv + b, as in keras-genomics: equivariant all the same."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x) - tie(self.bias)[:, None]

    def batched(self, s: Tensor) -> Tensor:
        return 2 * super().batched(s) - self.bias[:, None]


class MisalignedStride(RCPSConv1d):
    """The other strand's windows start where the first strand's do."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv1d(x, tie(self.weight), tie(self.bias), self.stride, groups=2)


class OffsetByOne(RCPSConv1d):
    """The mirrored op starts one position early."""

    def forward(self, x: Tensor) -> Tensor:
        own, other = x.chunk(2, 1)
        first = self._conv(own, self.weight, self.bias, 1, (0, 0))
        rest = (x.shape[2] - self.kernel_size) % self.stride - 1
        second = F.conv1d(other[..., rest:], self.weight.flip(0, 1, 2), self.bias.flip(0), self.stride)
        return torch.cat([first, second], dim=1)


class SamePaddingUnmirrored(RCPSConv1d):
    """An even kernel pads more on the right, on both strands."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv1d(F.pad(x, self.margins()), tie(self.weight), tie(self.bias), groups=2)


class PlainCat(RCPSConv1d):
    """The strands are concatenated, not stacked."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat(unstack(super().forward(x)), dim=1)


class SwappedHalves(RCPSConv1d):
    """Equivariant, and every answer belongs to the other strand."""

    def forward(self, x: Tensor) -> Tensor:
        return rc(super().forward(x))

    def batched(self, s: Tensor) -> Tensor:
        return super().batched(s).roll(s.shape[0] // 2, 0)


class Scaled(RCPSConv1d):
    """Wrong in the ninth digit, alike in both renderings."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1 + 1e-9)

    def batched(self, s: Tensor) -> Tensor:
        return super().batched(s) * (1 + 1e-9)


class AllZero(RCPSConv1d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 0

    def batched(self, s: Tensor) -> Tensor:
        return super().batched(s) * 0


class NotANumber(RCPSConv1d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * float("nan")

    def batched(self, s: Tensor) -> Tensor:
        return super().batched(s) * float("nan")


class NoGradient(RCPSConv1d):
    """The right values, and nothing to learn from."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).detach() + 0 * x.sum() + 0 * self.weight.sum() + 0 * self.bias.sum()


class CouplesToItself(RCPSConv1d):
    """B reads the same strand again."""

    def batched(self, s: Tensor) -> Tensor:
        return F.conv1d(torch.cat([s, s], 1), self.weight, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return on_both(self.batched, x)


class CouplesUnreversed(RCPSConv1d):
    """B reads the other strand in that strand's direction."""

    def batched(self, s: Tensor) -> Tensor:
        return F.conv1d(torch.cat([s, s.roll(s.shape[0] // 2, 0)], 1), self.weight, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return on_both(self.batched, x)


class LinearUnmirrored(RCPSLinear):
    """The other strand's features are taken for this one's."""

    def forward(self, x: Tensor) -> Tensor:
        half = x.shape[1] // 2
        return F.linear(x, torch.cat([self.weight, self.weight.roll(half, 1)]), tie(self.bias))


class MisalignedPool(RCPSMaxPool1d):
    def forward(self, x: Tensor) -> Tensor:
        return self._pool(x)


class PoolMirroredByOneTooFew(RCPSAvgPool1d):
    def forward(self, x: Tensor) -> Tensor:
        own, other = x.chunk(2, 1)
        rest = (x.shape[2] - self.kernel_size) % self.stride
        return torch.cat([self._pool(own), self._pool(other[..., rest - 1 :])], 1)


class TwoPassStatistics(RCPSBatchNorm1d):
    """Batch norm called once per strand."""

    def batched(self, s: Tensor) -> Tensor:
        return torch.cat([super(TwoPassStatistics, self).batched(half) for half in s.chunk(2)])


class BatchNormUnmirrored(RCPSBatchNorm1d):
    """In eval both halves read the buffers in the same order."""

    def forward(self, x: Tensor) -> Tensor:
        parts = (self.running_mean, self.running_var, self.weight, self.bias)
        return F.batch_norm(x, *(v.repeat(2) for v in parts), False, 0.0, self.eps)


class BatchNormForgetful(RCPSBatchNorm1d):
    """The right output in training, running buffers never moved."""

    def _factor(self) -> float:
        return 0.0


class LayerNormUnmirrored(RCPSLayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)


class GroupsAcrossStrands(RCPSGroupNorm):
    """Groups of the stacked tensor span more than one strand's group."""

    def forward(self, x: Tensor) -> Tensor:
        return F.group_norm(x, self.num_groups, tie(self.weight), tie(self.bias), self.eps)


class NoHalf(Merge):
    """``mean`` without its ½."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class MergeWithoutStrandSwap(Merge):
    """The other strand's profile is reversed, its plus and minus are not exchanged."""

    def forward(self, x: Tensor) -> Tensor:
        a, b = unstack(x)
        return merge(a, rc(b, "length"), self.mode)


class MaxWithoutRc(Merge):
    def forward(self, x: Tensor) -> Tensor:
        return merge(*unstack(x), self.mode)


class MaskUnmirrored(RCPSDropout):
    """The shared mask lies on both halves as they are stored."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        own, other = x.chunk(2, 1)
        mask = self._mask(x, tuple(own.shape))
        return torch.cat([own * mask, other * mask], 1)


class DropoutAlwaysOn(RCPSDropout):
    def eval(self) -> DropoutAlwaysOn:
        return self


class NoComplement(RCPSEmbedding):
    """The other strand is reversed, not complemented."""

    def forward(self, x: Tensor) -> Tensor:
        first = F.embedding(x, self.weight).transpose(1, 2)
        return torch.cat([first, first.flip(1)], 1)


class FeaturesUnflipped(RCPSEmbedding):
    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        own, other = y.chunk(2, 1)
        return torch.cat([own, other.flip(1)], 1)


class MiddleTwice(RCPSWeightedSum1d):
    """The middle position of an odd length is counted twice."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + x[..., self.length // 2] * tie(self.weight[:, -1])


class LiftedInOneDirection(Lifted):
    """The other strand is run as it is stored, 3'→5'."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.module(half) for half in x.chunk(2, 1)], 1)


class Cumulative(nn.Module):
    """Reads in one direction, as a recurrent layer does."""

    def forward(self, x: Tensor) -> Tensor:
        return x.cumsum(2)
