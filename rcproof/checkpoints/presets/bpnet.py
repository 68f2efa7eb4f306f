"""bpnet-lite: BPNet and ChromBPNet; and ChromBPNet as its own package writes it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from rcproof.checkpoints.presets.base import Arguments, Built, Preset, Representations, Shape, State
from rcproof.errors import CheckpointError
from rcproof.network.building import GraphBuilder
from rcproof.network.graph import Ref

#: Half the width of the profile head's window, by which the window that is averaged for the counts is wider than the
#: profile. bpnet-lite has it as a number, whatever the width of the head.
_WIDER = 37

_PREDICTED = 1000  # positions, in the files that the packages come with

_MOST_LAYERS = 16  # each doubles the dilation

_ALL = slice(None)


def _cut(graph: GraphBuilder, x: Ref, margin: int) -> Ref:
    """``x`` without ``margin`` positions at either end."""
    return graph.call("operator.getitem", x, (_ALL, _ALL, slice(margin, -margin))) if margin > 0 else x


class _BPNet:
    """One BPNet of bpnet-lite: its sizes, seen from its tensors, and its steps in a graph."""

    def __init__(self, state: State, prefix: str, said: Arguments, trimming: str) -> None:
        self.state, self.prefix = state, prefix
        names = {key.removeprefix(prefix).split(".")[1] for key in state.names if key.startswith(f"{prefix}rconvs.")}
        self.layers = len(names)
        if self.layers > _MOST_LAYERS:
            raise state.error("dilated layers", got=self.layers, expected=f"at most {_MOST_LAYERS}")
        self.filters = state.shape(f"{prefix}iconv.weight", None, 4, None)[0]
        self.outputs, read, _ = state.shape(f"{prefix}fconv.weight", None, None, None)
        self.controls = read - self.filters
        if self.controls < 0:
            raise state.error(
                f"tensor '{prefix}fconv.weight'", got=f"{read} channels", expected=f"at least {self.filters} filters"
            )
        self.pre_activation = said.choice("network", "BPNet", ("BPNet", "BasePairNet")) == "BasePairNet"
        last = 2**self.layers
        self.trimming = said.whole(trimming, last if self.pre_activation else 47 + 2 * last - 2)

    def run(self, graph: GraphBuilder, x: Ref, control: Ref | None) -> tuple[Ref, Ref]:
        """Profile (N, outputs, L − 2·trimming) and counts (N, 1)."""
        state, p = self.state, self.prefix
        x = graph.module(f"{p}iconv", _same(state, f"{p}iconv", 4), x)
        x = x if self.pre_activation else graph.call("torch.relu", x)
        for i in range(self.layers):
            path = f"{p}rconvs.{i}"
            dilation = 2 ** (i + 1)
            layer = state.conv(path, self.filters, 3, padding=dilation, dilation=dilation)
            if tuple(layer.weight.shape[:1]) != (self.filters,):
                raise state.error(f"{path!r}", got=f"{layer.out_channels} filters", expected=self.filters)
            if self.pre_activation:
                y = graph.module(path, layer, graph.call("torch.relu", x))
            else:
                y = graph.call("torch.relu", graph.module(path, layer, x))
            x = graph.call("torch.add", x, y)
        x = graph.call("torch.relu", x) if self.pre_activation else x
        seen = x if control is None else graph.call("torch.cat", [x, control], 1)
        head = _same(state, f"{p}fconv", self.filters + self.controls)
        profile = _cut(graph, graph.module(f"{p}fconv", head, seen), self.trimming)
        pooled = graph.call("torch.mean", _cut(graph, x, self.trimming - _WIDER), 2)
        if control is not None:
            margin, offset = (self.trimming, 2) if self.pre_activation else (self.trimming - _WIDER, 1)
            total = graph.call("torch.sum", _cut(graph, control, margin), (1, 2))
            total = graph.call(
                "torch.log", graph.call("operator.add", graph.call("torch.unsqueeze", total, -1), offset)
            )
            pooled = graph.call("torch.cat", [pooled, total], -1)
        counts = state.linear(f"{p}linear", self.filters + (self.controls > 0), 1)
        return profile, graph.module(f"{p}linear", counts, pooled)


def _same(state: State, path: str, channels: int) -> nn.Conv1d:
    """A convolution that is padded so that its output is as long as its input."""
    taps = state.shape(f"{path}.weight", None, channels, None)[2]
    if taps % 2 == 0:
        raise state.error(f"tensor '{path}.weight'", got=f"{taps} taps", expected="an odd number")
    return state.conv(path, channels, padding=(taps - 1) // 2)


def strands(count: int) -> str:
    """How ρ acts on ``count`` tracks: one has no strand, two are (plus, minus), more are pairs of these."""
    if count == 2:
        return "reversal"
    return "length" if count % 2 else f"pairs:{count // 2}"


def _bpnet(state: State, said: Arguments) -> Built:
    """BPNet: (N, 4, L), and control tracks (N, T, L) if it has them → (N, S, L − 2·trimming) and counts (N, 1)."""
    net = _BPNet(state, "", said, "trimming")
    graph = GraphBuilder()
    x = graph.input("X")
    control = graph.input("X_ctl") if net.controls else None
    profile, counts = net.run(graph, x, control)
    length = _PREDICTED + 2 * net.trimming
    kind = "BasePairNet" if net.pre_activation else "BPNet"
    how = "as you say" if said.has("trimming") else f"the default of {kind}"
    notes = [
        f"trimming {net.trimming} ({how}): profiles are so much shorter than the input at either end"
        + ("" if said.has("trimming") else "; if it is another, say --model-args '{\"trimming\": N}'"),
    ]
    if not said.has("network"):
        notes.append(f"taken for {kind}; BasePairNet has the same keys and is another function: its files need "
                     '--model-args \'{"network": "BasePairNet"}\'')  # fmt: skip
    for what, count in (("outputs", net.outputs), ("control tracks", net.controls)):
        if count > 2:
            notes.append(f"{count} {what} are taken to be {strands(count)}; if they are not, say --input and --output")
    control_shapes = ((net.controls, length),) if net.controls else ()
    return Built(
        state.network(graph, [profile, counts]),
        ((4, length), *control_shapes),
        ("reversal", *(strands(net.controls) for _ in control_shapes)),
        (strands(net.outputs), "fixed"),
        tuple(notes),
    )


def _chrombpnet(state: State, said: Arguments) -> Built:
    """ChromBPNet of bpnet-lite: the sum of the profiles of two BPNets, and the logarithm of the sum of their counts."""
    if not any(key.startswith("accessibility.") for key in state.names):
        return _bpnet(state, said)  # one of its two networks alone
    net, bias = _BPNet(state, "accessibility.", said, "trimming"), _BPNet(state, "bias.", said, "bias_trimming")
    if net.controls or bias.controls or net.outputs != bias.outputs:
        raise state.error(
            "the two networks",
            got=f"{net.controls} and {bias.controls} control tracks, {net.outputs} and {bias.outputs} outputs",
            expected="no control tracks, and as many outputs in both",
        )
    if bias.trimming > net.trimming:
        raise state.error("bias_trimming", got=bias.trimming, expected=f"at most {net.trimming}, that of accessibility")
    graph = GraphBuilder()
    x = graph.input("X")
    profile, counts = net.run(graph, x, None)
    before = set(graph.layers)
    bias_profile, bias_counts = bias.run(graph, x, None)
    both = graph.call("operator.add", profile, _cut(graph, bias_profile, net.trimming - bias.trimming))
    total = graph.call("operator.add", graph.call("torch.exp", counts), graph.call("torch.exp", bias_counts))
    network = state.network(graph, [both, graph.call("torch.log", total)])
    for path in set(graph.layers) - before:  # the bias model is trained first, and frozen
        network.get_submodule(path).requires_grad_(False)
    notes = (
        f"trimming {net.trimming} of accessibility and {bias.trimming} of bias"
        + (" (as you say)" if said.has("trimming") or said.has("bias_trimming") else " (the defaults of BPNet)"),
    )
    length = _PREDICTED + 2 * net.trimming
    return Built(network, ((4, length),), ("reversal",), (strands(net.outputs), "fixed"), notes)


def _keras_chrombpnet(shapes: Sequence[Shape]) -> Representations:
    """One sequence in; a profile as a vector of positions, and a log count, out."""
    if len(shapes) != 1 or len(shapes[0]) != 2 or shapes[0][0] != 4:
        raise CheckpointError(
            "--arch chrombpnet: inputs of the file",
            got=", ".join(map(str, shapes)),
            expected="one, (4, L) channels first",
        )
    return ("reversal",), ("reversal", "fixed")


_ARGUMENTS = {
    "trimming": "positions that a profile is shorter than the input, at either end",
    "network": "BPNet or BasePairNet",
}

BPNET_LITE = Preset(
    "bpnet-lite",
    "BPNet of bpnet-lite (state dict): stranded profile and counts, with or without control tracks",
    build=_bpnet,
    arguments=_ARGUMENTS,
)
CHROMBPNET = Preset(
    "chrombpnet",
    "ChromBPNet, of bpnet-lite (state dict) or of its own package (Keras .h5): unstranded profile and counts",
    build=_chrombpnet,
    arguments={**_ARGUMENTS, "bias_trimming": "the same, of the bias model"},
    say=_keras_chrombpnet,
)
