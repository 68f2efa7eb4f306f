"""What the paper's networks share: they read one strand, return logits, and say how ρ acts on each tensor."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from rcproof.errors import ShapeError

# Keras 2.2.4, with which the paper's networks were trained: epsilon 1e-3, momentum 0.99. Keras weighs the old
# statistics by its momentum, torch the new ones.
BATCH_NORM_EPS = 1e-3
BATCH_NORM_MOMENTUM = 0.01


class BranchNet(nn.Module):
    """A single-strand network, channels first: what a conjoined network runs on both strands.

    Attributes:
        couplable: names of the layers that can take cross-strand weights in the conjoined network, in order: all
            parametrised linear layers but the first, whose input is the DNA itself.

    >>> from rcproof.models import BinaryNet
    >>> net = BinaryNet(length=400)
    >>> net.input_representations, net.output_representations, net.couplable
    (('reversal',), ('fixed',), ('conv2', 'conv3', 'dense'))
    """

    couplable: ClassVar[tuple[str, ...]] = ()

    @property
    def input_representations(self) -> tuple[str, ...]:
        """How ρ acts on each input."""
        return ("reversal",)

    @property
    def output_representations(self) -> tuple[str, ...]:
        """How ρ acts on each output."""
        return ("fixed",)

    def input_shapes(self, length: int | None = None) -> tuple[tuple[int, ...], ...]:
        """The shape of each input of one example, for sequences of ``length`` (default: the network's own)."""
        raise NotImplementedError

    def config(self) -> dict[str, Any]:
        """The arguments that rebuild this network without its weights; plain JSON values."""
        raise NotImplementedError

    def reset_parameters(self) -> None:
        """Keras' initial weights: Glorot-uniform kernels, zero biases; batch norm starts as the identity."""
        for module in self.modules():
            if isinstance(module, nn.Conv1d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm1d):
                module.reset_parameters()


class ChainNet(BranchNet):
    """A network whose steps run one after the other, ending in ``flatten`` and ``dense``.

    (N, 4, L) → (N, tasks), for the one L that it was made for.

    >>> from rcproof.models import BinaryNet
    >>> trunk, head = BinaryNet(length=400).parts()
    >>> [name for name, _ in head.named_children()]
    ['flatten', 'dense']
    """

    length: int

    def forward(self, x: Tensor) -> Tensor:
        for step in self.children():
            x = step(x)
        return x

    def input_shapes(self, length: int | None = None) -> tuple[tuple[int, ...], ...]:
        if length not in (None, self.length):
            raise ShapeError(
                f"input length of {self.__class__.__name__}",
                got=length,
                expected=f"{self.length}, the length that its dense layer was made for",
            )
        return ((4, self.length),)

    def parts(self) -> tuple[nn.Sequential, nn.Sequential]:
        """The trunk (N, 4, L) → (N, F, L′) and the head, ``flatten`` and ``dense``; names and weights are shared."""
        trunk, head = nn.Sequential(), nn.Sequential()
        for name, step in self.named_children():
            (head if name in ("flatten", "dense") else trunk).add_module(name, step)
        return trunk, head


def pooled_length(net: str, length: int, kernels: tuple[int, ...], pool: int, stride: int) -> int:
    """Positions left after valid convolutions and one valid pooling; an error if the input is too short."""
    left = length - sum(k - 1 for k in kernels)
    if left < pool:
        raise ShapeError(
            f"a sequence too short for the kernels and pooling of {net}",
            got=f"length {length}",
            expected=f"at least {length - left + pool}",
        )
    return (left - pool) // stride + 1


def batch_norm(channels: int) -> nn.BatchNorm1d:
    """Batch norm with Keras' constants."""
    return nn.BatchNorm1d(channels, eps=BATCH_NORM_EPS, momentum=BATCH_NORM_MOMENTUM)
