"""Layers with the documented defects of other packages, written anew: `Like…` says whose.

None of their code is here. Each class is the defect and as little else as possible, channels first.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rcproof.strand import rc, stack, tie, unstack


class LikeRcpsPytorchConv(nn.Module):
    """Both strands by one ``padding`` option: with an even kernel ``same`` pads one more at the right of each half.

    The activation is a lambda that the module keeps, so it cannot be saved whole.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, padding: str) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.randn(outputs, inputs, kernel))
        self.convolve = lambda x, w: F.conv1d(x, w, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        own, other = x.chunk(2, 1)
        return torch.cat([self.convolve(own, self.weights), self.convolve(other, self.weights.flip(0, 1, 2))], 1)


class LikeEquircConv(nn.Module):
    """A tied kernel in one convolution, padded by torch's ``same``; right for odd kernels."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.free = nn.Parameter(torch.randn(outputs, inputs, kernel))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv1d(x, tie(self.free), padding="same")


class LikeStridedPairs(nn.Module):
    """A tied kernel with a stride, as keras-genomics' convolution takes one: right where windows centre."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.weight, self.stride = nn.Parameter(torch.randn(outputs, inputs, kernel)), stride

    def forward(self, x: Tensor) -> Tensor:
        return F.conv1d(x, tie(self.weight), stride=self.stride)


class LikeKerasGenomicsConv(nn.Module):
    """Its definition, in torch: y = conv(x), then y += y + b. Equivariant, and twice the convolution."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(outputs, inputs, kernel))
        self.bias = nn.Parameter(torch.randn(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = F.conv1d(x, tie(self.kernel))
        return y + (y + tie(self.bias)[:, None])


class LikeEquircBatchNorm(nn.Module):
    """Statistics of both strands, but running ones that start at a deviation of 0 and keep the graph of every batch."""

    def __init__(self, pairs: int) -> None:
        super().__init__()
        self.pairs = pairs
        self.scale = nn.Parameter(torch.ones(1, pairs, 1))
        self.register_buffer("running_mean_", torch.zeros(1, pairs, 1))
        self.register_buffer("running_deviation", torch.zeros(1, pairs, 1))
        self.earlier = nn.Parameter(torch.zeros(1, pairs, 1))  # so that the batch's mean has a graph

    def forward(self, x: Tensor) -> Tensor:
        both = torch.cat(unstack(x)) + self.earlier
        if self.training:
            mean, deviation = both.mean((0, 2), keepdim=True), both.std((0, 2), keepdim=True) + 1e-4
            self.running_mean_ = 0.9 * self.running_mean_ + 0.1 * mean
            self.running_deviation = 0.9 * self.running_deviation + 0.1 * deviation
        else:
            mean, deviation = self.running_mean_, self.running_deviation
        return stack(*((both - mean) / deviation * self.scale).chunk(2))


class LikeEquircKmers(nn.Module):
    """A fixed kernel that is an attribute and no buffer: it stays in float32 and where it was made."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = tie(torch.randn(6, 4, 3, generator=torch.Generator().manual_seed(0)))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv1d(x, self.kernel)


class LikeCaduceusWrapper(nn.Module):
    """Any module, called once per strand."""

    def __init__(self, submodule: nn.Module) -> None:
        super().__init__()
        self.submodule = submodule

    def forward(self, x: Tensor) -> Tensor:
        a, b = unstack(x)
        return stack(self.submodule(a), self.submodule(b))


class LikeCaduceusAddNorm(nn.Module):
    """Norm of x + residual on each strand; ``fused`` answers for each strand with the other's channels."""

    def __init__(self, channels: int, fused: bool) -> None:
        super().__init__()
        self.norm, self.fused = nn.LayerNorm(channels), fused

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        a, b = unstack(x + residual)
        answers = [self.norm(s.transpose(1, 2)).transpose(1, 2) for s in (a, b)]
        if not self.fused:
            return stack(*answers)
        return torch.cat([rc(answers[1]), answers[0]], 1)


class LikeEugeneBiConv(nn.Module):
    """Kernels complemented but not reversed, summed; dropout that does not ask for the mode."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.weight, self.dropout = nn.Parameter(torch.randn(outputs, inputs, kernel)), dropout

    def forward(self, x: Tensor) -> Tensor:
        y = F.conv1d(x, self.weight) + F.conv1d(x, self.weight.flip(0, 1))
        return F.dropout(y, self.dropout) if self.dropout else y


class LikeGreluTracks(nn.Module):
    """Averages a stranded profile over both strands, reversing positions but not exchanging plus and minus."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return (self.net(x) + self.net(rc(x)).flip(2)) / 2


class LikeBpnetLiteBias(nn.Module):
    """An RC-equivariant model plus a bias model that is trained by itself and not tied."""

    def __init__(self, model: nn.Module, bias: nn.Module) -> None:
        super().__init__()
        self.model, self.bias = model, bias

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) + self.bias(x)
