"""Known answers: what a layer should compute, said with ordinary torch functions and the definition of ρ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rcproof.errors import ShapeError
from rcproof.strand import RepresentationLike, rc, stack, unstack

Reference = Callable[..., Any]
Weights = Callable[[nn.Module], tuple[Tensor, Tensor | None]]


def conv_reference(weights: Weights, *, source: RepresentationLike = "reversal", **options: Any) -> Reference:
    """What an RCPS convolution computes: ``conv`` of the input, and ``conv`` of the other strand, read back.

    Where the windows align that is the convolution with the tied kernel ``cat([W, W.flip])``; this holds at every
    length, stride and padding (theorems T3 and T4). Outputs are stacked.

    Args:
        weights: from the layer to its free weights W (F, C, K) and bias (F,) or None. C is the number of input
            channels, or, where strands do not mix, half of it.
        source: how ρ acts on the input.
        options: ``stride``, ``padding``, ``dilation``, ``groups`` of the convolution.

    >>> from rcproof.nn import RCPSConv1d
    >>> layer = RCPSConv1d(4, 3, 5, source="reversal").double()
    >>> known, x = conv_reference(lambda layer: (layer.weight, layer.bias)), torch.randn(2, 4, 20).double()
    >>> bool(torch.allclose(known(layer, x), layer(x)))
    True
    """

    def reference(layer: nn.Module, x: Tensor) -> Tensor:
        weight, bias = weights(layer)
        read = weight.shape[1] * options.get("groups", 1)
        if x.shape[1] not in (read, 2 * read):
            raise ShapeError(
                "free weights of the convolution",
                got=f"{tuple(weight.shape)} for {x.shape[1]} input channels",
                expected=f"(F, {x.shape[1]}, K), or (F, {x.shape[1] // 2}, K) where strands do not mix",
            )
        strands = (x, rc(x, source))
        return stack(*(F.conv1d(s[:, :read], weight, bias, **options) for s in strands))

    return reference


class Lift:
    """The reference that :func:`lift_reference` makes: ``plain`` on each strand of a pair."""

    def __init__(self, plain: Callable[[nn.Module], nn.Module], source: RepresentationLike | None) -> None:
        self.plain, self.source = plain, source

    def __call__(self, layer: nn.Module, x: Tensor) -> Tensor:
        return self.run(self.plain(layer).train(layer.training), x)

    def run(self, plain: nn.Module, x: Tensor) -> Tensor:
        """stack(plain(a), plain(b)), both strands in one batch."""
        a, b = unstack(x) if self.source is None else (x, rc(x, self.source))
        return stack(*plain(torch.cat([a, b])).chunk(2))


def lift_reference(plain: Callable[[nn.Module], nn.Module], *, source: RepresentationLike | None = None) -> Lift:
    """What the lift of an ordinary layer computes: the layer on each strand, both in one batch, stacked (theorem T2).

    In train mode that pools the statistics of both strands (T10); ``check_rc_layer`` compares train mode as well.

    Args:
        plain: from the layer under test to an ordinary one with the same weights and statistics.
        source: how ρ acts on a closed input; None for a strand pair.

    >>> from rcproof.nn import RCPSMaxPool1d
    >>> layer, x = RCPSMaxPool1d(4), torch.randn(2, 6, 21)
    >>> bool(torch.equal(lift_reference(lambda layer: nn.MaxPool1d(4))(layer, x), layer(x)))
    True
    """
    return Lift(plain, source)
