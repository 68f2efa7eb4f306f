"""Hypothesis strategies: representations, tensors, and layers that their plain counterparts accept."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import hypothesis.strategies as st
import torch
from torch import Tensor, nn

from rcproof.strand import Representation, dna, representation, strand_pairs

seeds = st.integers(0, 2**31 - 1)
MAX_LENGTH = 200


def normal(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Standard normal numbers, the same for the same seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def randomise(module: nn.Module, seed: int) -> nn.Module:
    """Every parameter and buffer random (an initial weight of 1 or bias of 0 hides mistakes), in float64."""
    module.double()
    for i, (name, value) in enumerate([*module.named_parameters(), *module.named_buffers()]):
        if value.is_floating_point():
            fresh = normal(seed + i, *value.shape)
            value.data.copy_(fresh.abs() + 0.5 if name.endswith("var") else fresh)
    return module


@st.composite
def closed_representations(draw: st.DrawFn, channels: int) -> Representation:
    """Any way in which ρ can act on ``channels`` channels: named ones, base orders, pairs, signed permutations."""
    choices: list[st.SearchStrategy[Representation]] = [
        st.sampled_from([representation(name) for name in ("reversal", "length", "fixed", "channels")])
    ]
    if channels % 2 == 0:
        choices.append(st.just(strand_pairs(channels // 2)))
    if channels in (4, 5):
        choices.append(st.permutations("ACGTN"[:channels]).map(lambda letters: dna("".join(letters))))
    choices.append(signed_permutations(channels))
    return draw(st.one_of(choices))


@st.composite
def signed_permutations(draw: st.DrawFn, channels: int) -> Representation:
    """A random involution with random signs that fit, length reversed or not."""
    order = draw(st.permutations(range(channels)))
    pairs = draw(st.integers(0, channels // 2))
    perm, signs = list(range(channels)), [1] * channels
    for i in range(pairs):
        c, d = order[2 * i], order[2 * i + 1]
        perm[c], perm[d] = d, c
    for c in range(channels):
        if perm[c] >= c:
            signs[c] = signs[perm[c]] = draw(st.sampled_from((1, -1)))
    return Representation(tuple(perm), None if set(signs) == {1} else tuple(signs), reverses_length=draw(st.booleans()))


@dataclass(frozen=True)
class Case:
    """Options of the plain layer, the input's channels (of one strand, or of the closed input) and length."""

    options: dict[str, Any]
    channels: int
    length: int
    source: Representation | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def input(self, seed: int, batch: int = 2) -> Tensor:
        """A stacked input, or a closed one."""
        return normal(seed, batch, self.channels * (1 if self.source else 2), self.length)


@st.composite
def conv_cases(draw: st.DrawFn, closed: bool | None = None, max_length: int = MAX_LENGTH, max_kernel: int = 9) -> Case:
    """Options of ``nn.Conv1d`` with a length that it accepts."""
    groups = draw(st.sampled_from((1, 1, 1, 2, 3)))
    channels = groups * draw(st.integers(1, 2 if groups > 1 else 5))
    kernel, dilation = draw(st.integers(1, max_kernel)), draw(st.integers(1, 4))
    padding = draw(st.sampled_from(("valid", "same", "int", "int")))
    stride = 1 if padding == "same" else draw(st.integers(1, 4))
    mode = draw(st.sampled_from(("zeros", "zeros", "reflect", "replicate", "circular")))
    reach = dilation * (kernel - 1)
    amount = draw(st.integers(0, kernel)) if padding == "int" else 0
    sides = reach if padding == "same" else 2 * amount
    longest_side = (reach + 1) // 2 if padding == "same" else amount
    shortest = max(1, reach + 1 - sides)
    if mode in ("reflect", "circular"):  # they read what they pad with from inside
        shortest = max(shortest, longest_side + (mode == "reflect"))
    if closed is None:
        closed = draw(st.booleans())
    options = {
        "in_channels": channels,
        "out_channels": groups * draw(st.integers(1, 3)),
        "kernel_size": kernel,
        "stride": stride,
        "padding": amount if padding == "int" else padding,
        "dilation": dilation,
        "groups": groups,
        "bias": draw(st.booleans()),
        "padding_mode": mode,
    }
    length = draw(st.integers(shortest, max(shortest, max_length)))
    return Case(options, channels, length, draw(closed_representations(channels)) if closed else None)


@st.composite
def transpose_cases(draw: st.DrawFn, max_length: int = 60, groups: bool = True) -> Case:
    """Options of ``nn.ConvTranspose1d`` with a length for which there is an output."""
    g = draw(st.sampled_from((1, 1, 2, 3))) if groups else 1
    channels = g * draw(st.integers(1, 2))
    kernel, dilation, stride = draw(st.integers(1, 9)), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    padding = draw(st.integers(0, 4))
    extra = draw(st.integers(0, max(stride, dilation) - 1))
    missing = 2 * padding + 1 - extra - dilation * (kernel - 1) - 1
    shortest = 1 + max(0, -(-missing // stride))
    options = {
        "in_channels": channels,
        "out_channels": g * draw(st.integers(1, 3)),
        "kernel_size": kernel,
        "stride": stride,
        "padding": padding,
        "output_padding": extra,
        "groups": g,
        "bias": draw(st.booleans()),
        "dilation": dilation,
    }
    source = draw(st.none() | closed_representations(channels))
    return Case(options, channels, draw(st.integers(shortest, max(shortest, max_length))), source)


@st.composite
def pool_cases(draw: st.DrawFn, dilated: bool = False, padded: bool = True) -> Case:
    """Options of a pooling layer with a fixed window, and a length that it accepts."""
    kernel, stride = draw(st.integers(1, 9)), draw(st.none() | st.integers(1, 4))
    dilation = draw(st.integers(1, 4)) if dilated else 1
    padding = draw(st.integers(0, kernel // 2)) if padded else 0
    options: dict[str, Any] = {"kernel_size": kernel, "stride": stride, "ceil_mode": draw(st.booleans())}
    if padded:
        options["padding"] = padding
    if dilated:
        options["dilation"] = dilation
    shortest = max(1, dilation * (kernel - 1) + 1 - 2 * padding)
    return Case(options, draw(st.integers(1, 3)), draw(st.integers(shortest, MAX_LENGTH)))
