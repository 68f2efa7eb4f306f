"""Steps of a network as one operation each, with their gradients: what :mod:`rcproof.experiments.fused` joins.

With z the input of batch norm, r = (variance + ε)^(−½), y = relu(γ·r·(z − mean) + β), g the gradient of what is behind
the relu and M the number of rows: ∂β = Σ g, ∂γ = r·Σ g·(z − mean), and ∂z is γ·r·g in eval, and in training
γ·r·(g − Σg/M − (z − mean)·r²·Σ g·(z − mean)/M). A bias in front of it goes with the mean: in
training its gradient is zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from rcproof.experiments import kernels
from rcproof.nn.derived import channels_last

#: Bytes of a piece of a first convolution's output.
PIECE = 1 << 20

#: Size and stride of max pooling.
Window = tuple[int, int]
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Normed:
    """Batch norm's running statistics and options, and the pooling that follows the relu."""

    running_mean: Tensor
    running_var: Tensor
    training: bool
    momentum: float
    eps: float
    window: Window | None

    def running(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and r in eval."""
        return self.running_mean.double().numpy(), 1 / np.sqrt(self.running_var.double().numpy() + self.eps)

    def moved(self, mean: NDArray[np.float64], var: NDArray[np.float64], rows: int) -> NDArray[np.float64]:
        """r in training, of so many rows with this mean and mean squared deviation; the running ones are moved."""
        self.running_mean.lerp_(torch.from_numpy(mean).float(), self.momentum)
        self.running_var.lerp_(torch.from_numpy(var * rows / max(1, rows - 1)).float(), self.momentum)
        found: NDArray[np.float64] = 1 / np.sqrt(var + self.eps)
        return found

    def statistics(self, pieces: list[Array]) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
        """Mean, r and the number of rows; in training those of the pieces, and the running ones are moved."""
        rows = sum(p.size for p in pieces) // pieces[0].shape[-1]
        if not self.training:
            return *self.running(), rows
        channels, seen = pieces[0].shape[-1], 0
        mean, var = np.zeros(channels), np.zeros(channels)
        own_mean, own_var = np.empty(channels), np.empty(channels)
        for piece in pieces:
            flat = piece.reshape(-1, channels)
            kernels.moments(flat, own_mean, own_var)
            share = len(flat) / (seen + len(flat))
            away = own_mean - mean
            var += share * (own_var - var) + share * (1 - share) * away * away
            mean += share * away
            seen += len(flat)
        return mean, self.moved(mean, var, rows), rows


class Stage:
    """One pass through batch norm, relu and perhaps pooling: what the backward pass needs of it."""

    def __init__(self, weight: Tensor, bias: Tensor, how: Normed) -> None:
        self.weight, self.bias, self.how = weight.detach().double().numpy(), bias.detach().double().numpy(), how
        self.pieces: list[Array] = []
        self.tops: list[Array] = []
        self.places: list[NDArray[np.int32]] = []

    def add(self, z: Array) -> None:
        """A piece of the input (n, L, C)."""
        self.pieces.append(z)
        if self.how.window is None:
            return
        sign, top, where = self.room(*z.shape)
        kernels.extremes(z, sign, *self.how.window, top, where)

    def room(self, count: int, length: int, channels: int) -> tuple[Array, Array, NDArray[np.int32]]:
        """The sign of each scale, and memory for the maxima of so many rows of so many positions and their places."""
        assert self.how.window is not None
        size, stride = self.how.window
        shape = (count, (length - size) // stride + 1, channels)
        self.tops.append(np.empty(shape, np.float32))
        self.places.append(np.empty(shape, np.int32))
        return np.where(self.weight < 0, -1, 1).astype(np.float32), self.tops[-1], self.places[-1]

    def output(self) -> Array:
        """(N, L or P, C)."""
        return self.normalised(*self.how.statistics(self.pieces))

    def normalised(self, mean: NDArray[np.float64], r: NDArray[np.float64], rows: int) -> Array:
        """The output by these statistics, of so many rows."""
        self.mean, self.r, self.rows = mean, r, rows
        self.scale = self.weight * self.r
        scale, shift = single(self.scale), single(self.bias - self.mean * self.scale)
        sources = self.pieces if self.how.window is None else self.tops
        self.y = np.empty((sum(map(len, sources)), *sources[0].shape[1:]), np.float32)
        begin = 0
        for source in sources:
            end = begin + len(source)
            kernels.affine_relu(_flat(source), scale, shift, _flat(self.y[begin:end]))
            begin = end
        return self.y

    def gradients(self, dy: Array) -> tuple[Tensor, Tensor]:
        """Of weight and bias; prepares :meth:`back`."""
        channels = dy.shape[2]
        plain, crossed = np.zeros(channels), np.zeros(channels)
        one, two, mean = np.empty(channels), np.empty(channels), single(self.mean)
        begin = 0
        for source in self.pieces if self.how.window is None else self.tops:
            part = slice(begin, begin + len(source))
            kernels.affine_relu_sums(_flat(source), _flat(self.y[part]), _flat(dy[part]), mean, one, two)
            plain, crossed, begin = plain + one, crossed + two, part.stop
        slope, constant = np.zeros(channels), np.zeros(channels)
        if self.how.training:
            slope = -self.scale * self.r**2 * crossed / self.rows
            constant = -self.scale * plain / self.rows - self.mean * slope
        self.own, self.constant, self.slope = single(self.scale), single(constant), single(slope)
        if self.how.window is not None:
            dy *= self.y > 0
        self.dy = dy
        return torch.from_numpy(single(self.r * crossed)), torch.from_numpy(single(plain))

    def back(self, index: int, begin: int, dz: Array) -> None:
        """The gradient of a piece, whose first row is ``begin``, into dz (n, ≥ L, C)."""
        z = self.pieces[index]
        part = slice(begin, begin + len(z))
        if self.how.window is None:
            kernels.affine_relu_back(z, self.y[part], self.dy[part], self.own, self.constant, self.slope, dz)
        else:
            kernels.extremes_back(z, self.places[index], self.dy[part], self.own, self.constant, self.slope, dz)


class NormStage(torch.autograd.Function):
    """z (N, C, L) → relu(batch norm(z)), perhaps pooled."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, weight: Tensor, bias: Tensor, how: Normed) -> Tensor:
        ctx.stage = Stage(weight, bias, how)
        ctx.stage.add(innermost(z).detach().numpy())
        return torch.from_numpy(ctx.stage.output()).transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        stage = ctx.stage
        dweight, dbias = stage.gradients(own_gradient(grads[0], stage))
        dz = np.empty_like(stage.pieces[0])
        stage.back(0, 0, dz)
        return torch.from_numpy(dz).transpose(1, 2), dweight, dbias, None


class FirstStage(torch.autograd.Function):
    """x (N, A, L) → relu(batch norm(conv(x))), perhaps pooled; x has no gradient."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, kernel: Tensor, offset: Tensor | None, weight: Tensor, bias: Tensor, how: Normed
    ) -> Tensor:
        ctx.x, ctx.kernel, ctx.offset, stage = innermost(x), kernel.shape, offset is not None, Stage(weight, bias, how)
        channels, _, taps = kernel.shape
        ctx.size = max(1, PIECE // (4 * channels * (x.shape[2] - taps + 1)))
        image = ctx.x.transpose(1, 2)
        for begin in range(0, len(x), ctx.size):
            z = convolve(image[begin : begin + ctx.size], kernel, offset, 1)
            stage.add(z.transpose(1, 2).numpy())
        ctx.stage = stage
        return torch.from_numpy(stage.output()).transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        stage, x = ctx.stage, ctx.x
        dweight, dbias = stage.gradients(own_gradient(grads[0], stage))
        channels, inputs, taps = ctx.kernel
        total = x.new_zeros(taps * inputs, channels)
        ones = x.new_zeros(channels)
        padded = x.new_zeros(ctx.size, x.shape[1], channels)
        for index, begin in enumerate(range(0, len(x), ctx.size)):
            part = x[begin : begin + ctx.size]
            dz = padded[: len(part)]
            stage.back(index, begin, dz.numpy())
            _kernel_gradient(part, dz, taps, total)
            if not stage.how.training:
                ones += dz.sum(dim=(0, 1))
        return None, _kernel_of(total, ctx.kernel), ones if ctx.offset else None, dweight, dbias, None


def _kernel_gradient(x: Tensor, dz: Tensor, taps: int, total: Tensor) -> None:
    """Add to (K·A, C) the products of the windows of x (n, L, A) with dz (n, L, C), which ends in K − 1 rows of zeros.

    Seen as one sequence, every K-th window is a row of a matrix; windows that cross into the next example meet zeros.
    """
    inputs, channels = x.shape[2], dz.shape[2]
    flat, rows = x.view(-1), dz.view(-1, channels)
    for first in range(taps):
        count = (len(rows) - first) // taps
        windows = flat[first * inputs : (first + count * taps) * inputs].view(count, taps * inputs)
        total.addmm_(windows.t(), rows[first : first + count * taps : taps])


def _kernel_of(total: Tensor, shape: torch.Size) -> Tensor:
    """(K·A, C) → (C, A, K)."""
    channels, inputs, taps = shape
    return total.view(taps, inputs, channels).permute(2, 1, 0).contiguous()


class FirstConv(torch.autograd.Function):
    """``conv1d`` of x (N, A, L), which has no gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.x, ctx.kernel, ctx.offset = innermost(x), weight.shape, bias is not None
        return convolve(ctx.x.transpose(1, 2), weight, bias, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, dz = ctx.x, innermost(grads[0])
        channels, inputs, taps = ctx.kernel
        size = max(1, PIECE // (4 * channels * x.shape[1]))
        padded, total = x.new_zeros(size, x.shape[1], channels), x.new_zeros(taps * inputs, channels)
        for begin in range(0, len(x), size):
            part = dz[begin : begin + size]
            padded[: len(part), : dz.shape[1]] = part
            _kernel_gradient(x[begin : begin + size], padded[: len(part)], taps, total)
        return None, _kernel_of(total, ctx.kernel), dz.sum(dim=(0, 1)) if ctx.offset else None


class FewChannels(torch.autograd.Function):
    """``conv1d`` of x (N, C, L) to few channels, window by window."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        x, w = innermost(x.detach()), innermost(weight.detach())
        y = np.empty((len(x), len(w), x.shape[1] - w.shape[1] + 1), np.float32)
        kernels.windows(x.numpy(), w.numpy(), bias.detach().numpy(), y)
        ctx.save_for_backward(x, w)
        return torch.from_numpy(y)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, w = ctx.saved_tensors
        dy = grads[0].contiguous()
        dx, dw = np.empty(x.shape, np.float32), np.empty(w.shape)
        kernels.windows_back(dy.numpy(), w.numpy(), dx)
        kernels.windows_sums(dy.numpy(), x.numpy(), dw)
        return torch.from_numpy(dx).transpose(1, 2), torch.from_numpy(dw).float().transpose(1, 2), dy.sum(dim=(0, 2))


class WithPartner(torch.autograd.Function):
    """What a coupled convolution reads of s (2N, C, L): (2N, 2C, L)."""

    @staticmethod
    def forward(ctx: Any, s: Tensor) -> Tensor:
        s = innermost(s.detach())
        out = s.new_empty(s.shape[0], s.shape[1], 2 * s.shape[2])
        kernels.partners(s.numpy(), out.numpy())
        return out.transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        g = innermost(grads[0])
        ds = g.new_empty(g.shape[0], g.shape[1], g.shape[2] // 2)
        kernels.partners_back(g.numpy(), ds.numpy())
        return ds.transpose(1, 2)


class Relu(torch.autograd.Function):
    """relu of what nobody else reads, with channels innermost."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.y = innermost(x.detach()).clamp_min_(0)
        return ctx.y.transpose(1, 2).detach()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return torch.ops.aten.threshold_backward(innermost(grads[0]), ctx.y, 0).transpose(1, 2)


class SkipRelu(torch.autograd.Function):
    """x (N, C, L) from position ``start`` on, plus relu(z (N, C, L′))."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, z: Tensor, start: int) -> Tensor:
        x, ctx.z = innermost(x.detach()), innermost(z.detach())
        ctx.shape, ctx.start, y = x.shape, start, torch.empty_like(ctx.z)
        kernels.skip_relu(x.numpy(), ctx.z.numpy(), start, y.numpy())
        return y.transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        dx, dz = ctx.z.new_empty(ctx.shape), torch.empty_like(ctx.z)
        kernels.skip_relu_back(innermost(grads[0]).numpy(), ctx.z.numpy(), ctx.start, dx.numpy(), dz.numpy())
        return dx.transpose(1, 2), dz.transpose(1, 2), None


class Crop(torch.autograd.Function):
    """Positions of x (N, C, L); the gradient has its channels innermost too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, positions: slice) -> Tensor:
        ctx.length, ctx.positions = x.shape[2], positions
        return x.detach()[:, :, positions]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        g = grads[0]
        whole = g.new_zeros(g.shape[0], ctx.length, g.shape[1])
        whole[:, ctx.positions] = g.transpose(1, 2)
        return whole.transpose(1, 2), None


def innermost(x: Tensor) -> Tensor:
    """(N, C, L) → (N, L, C), contiguous."""
    return x.transpose(1, 2).contiguous()


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    """``conv1d`` with channels innermost."""
    image = innermost(x).transpose(1, 2).unsqueeze(2)
    return F.conv2d(image, channels_last(weight), bias, dilation=(1, dilation)).squeeze(2)


def own_gradient(gradient: Tensor, stage: Stage) -> Array:
    """A gradient with channels innermost; a copy where it is written to."""
    found = innermost(gradient)
    shared = stage.how.window is not None and found.data_ptr() == gradient.data_ptr()
    array: Array = (found.clone() if shared else found).numpy()
    return array


def _flat(x: Array) -> Array:
    return x.reshape(-1, x.shape[-1])


def single(v: NDArray[np.float64]) -> Array:
    """In float32."""
    return v.astype(np.float32)
