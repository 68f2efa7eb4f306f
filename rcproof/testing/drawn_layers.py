"""Hypothesis strategies: layers, and options that their plain counterparts accept, with a length that they accept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import hypothesis.strategies as st
from torch import Tensor, nn

from rcproof import nn as rcps
from rcproof.strand import Representation
from rcproof.testing.drawn_strands import representations
from rcproof.testing.drawn_values import MAX_LENGTH, seeds
from rcproof.testing.values import normal, randomise


@dataclass(frozen=True)
class Case:
    """Options of the plain layer, the input's channels (of one strand, or of the closed input) and length.

    >>> Case({"kernel_size": 5}, channels=4, length=20).source is None
    True
    """

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
    """Options of ``nn.Conv1d`` with a length that it accepts.

    >>> from hypothesis import find
    >>> find(conv_cases(), lambda case: case.options["stride"] > 1).options["stride"]
    2
    """
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
    return Case(options, channels, length, draw(representations(channels)) if closed else None)


@st.composite
def transpose_cases(draw: st.DrawFn, max_length: int = 60, groups: bool = True) -> Case:
    """Options of ``nn.ConvTranspose1d`` with a length for which there is an output.

    >>> from hypothesis import find
    >>> find(transpose_cases(), lambda case: case.options["stride"] > 1).options["stride"]
    2
    """
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
    source = draw(st.none() | representations(channels))
    return Case(options, channels, draw(st.integers(shortest, max(shortest, max_length))), source)


@st.composite
def pool_cases(draw: st.DrawFn, dilated: bool = False, padded: bool = True) -> Case:
    """Options of a pooling layer with a fixed window, and a length that it accepts.

    >>> from hypothesis import find
    >>> find(pool_cases(), lambda case: case.options["kernel_size"] > 1).options["kernel_size"]
    2
    """
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


@dataclass(frozen=True)
class DrawnLayer:
    """A tied layer with random weights, and the ordinary layer that it lifts.

    Attributes:
        layer: in float64 and eval mode.
        plain: the ordinary layer with the same weights, so that layer(stack(a, b)) = stack(plain(a), plain(b)); None
            for a coupled layer, which reads both strands.
        channels: of the layer's input; ``length`` is one that it accepts.
        source: how ρ acts on a closed input, or None for a strand pair, on which ρ is total reversal.

    >>> from hypothesis import find
    >>> drawn = find(layers(), lambda drawn: drawn.plain is not None)
    >>> drawn.length >= 1
    True
    """

    layer: nn.Module
    plain: nn.Module | None
    channels: int
    length: int
    source: Representation | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(channels, length): the shape of one example."""
        return (self.channels, self.length)

    def input(self, seed: int, batch: int = 2) -> Tensor:
        """Normal numbers that the layer takes."""
        return normal(seed, batch, self.channels, self.length)


KINDS: dict[str, tuple[Callable[..., nn.Module], Callable[..., nn.Module]]] = {
    "conv": (rcps.RCPSConv1d, nn.Conv1d),
    "transposed": (rcps.RCPSConvTranspose1d, nn.ConvTranspose1d),
    "max pool": (rcps.RCPSMaxPool1d, nn.MaxPool1d),
    "average pool": (rcps.RCPSAvgPool1d, nn.AvgPool1d),
    "batch norm": (rcps.RCPSBatchNorm1d, nn.BatchNorm1d),
    "group norm": (rcps.RCPSGroupNorm, nn.GroupNorm),
}


@st.composite
def layers(draw: st.DrawFn, kind: str | None = None, coupled: bool | None = None) -> DrawnLayer:
    """A tied layer of rcproof with any options and random weights, and the ordinary layer that it lifts.

    ``kind`` is one of the names in ``KINDS`` (default: any); ``coupled`` says whether a convolution has cross-strand
    weights (default: either).

    >>> from hypothesis import given, settings
    >>> from rcproof import rc
    >>> @settings(max_examples=20, deadline=None)
    ... @given(layers("max pool"), seeds)
    ... def equivariant(drawn, seed):
    ...     x = drawn.input(seed)
    ...     assert (drawn.layer(rc(x)) == rc(drawn.layer(x))).all()
    >>> equivariant()
    """
    kind = kind or draw(st.sampled_from(sorted(KINDS)))
    tied, ordinary = KINDS[kind]
    seed = draw(seeds)
    if kind == "conv" or kind == "transposed":
        case = draw(conv_cases() if kind == "conv" else transpose_cases())
        couple = case.source is None and (draw(st.booleans()) if coupled is None else coupled)
        layer = randomise(tied(**case.options, coupled=couple, source=case.source), seed).eval()
        channels = case.channels * (1 if case.source else 2)
        plain = None if couple else _sharing(layer, ordinary(**case.options))
        return DrawnLayer(layer, plain, channels, case.length, case.source)
    if kind.endswith("pool"):
        case = draw(pool_cases(dilated=kind == "max pool"))
        options, channels, length = case.options, case.channels, case.length
    else:
        channels, length = draw(st.integers(1, 5)), draw(st.integers(2, MAX_LENGTH))
        options = {"num_features": channels} if kind == "batch norm" else {"num_groups": 1, "num_channels": channels}
    layer = randomise(tied(**options), seed).eval()
    return DrawnLayer(layer, _sharing(layer, ordinary(**options)), 2 * channels, length)


def _sharing(layer: nn.Module, plain: nn.Module) -> nn.Module:
    plain = plain.double().eval()
    plain.load_state_dict(layer.state_dict(), strict=True)
    return plain
