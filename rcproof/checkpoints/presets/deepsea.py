"""DeepSEA and its kin in PyTorch: selene's DeepSEA and DeeperDeepSEA, Kipoi's DeepSEA, Beluga (ExPecto), Seqweaver."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from rcproof.checkpoints.presets.base import Arguments, Built, Preset, State, Steps, chosen_length, lengths_for
from rcproof.network.building import GraphBuilder


@dataclass(frozen=True)
class _Layout:
    """A network as sequences of layers.

    Each block is what stands before the number of a layer in its key, and a word for each layer: ``drop`` with its
    probability, ``view`` for a step without a layer, ``inner`` for a dense layer that is the second of a pair.
    """

    name: str
    blocks: tuple[tuple[str, str], ...]

    @property
    def names(self) -> set[str]:
        """The state-dict keys that its layers have."""
        found: set[str] = set()
        for word, path in self.steps():
            kinds = {"conv": _WEIGHTED, "linear": _WEIGHTED, "norm": (*_WEIGHTED, "running_mean", "running_var")}
            found |= {f"{path}.{name}" for name in kinds.get(word, ())}
        return found

    def steps(self) -> list[tuple[str, str]]:
        """Words and paths, in order."""
        found = []
        for block, words in self.blocks:
            for i, word in enumerate(words.split()):
                found.append(("linear", f"{block}{i}.1") if word == "inner" else (word, f"{block}{i}"))
        return found


_WEIGHTED = ("weight", "bias")
_POOL = 4
_THREE = "conv relu pool drop:{0} conv relu pool drop:{0} conv relu drop:{1}"
_TWICE = "conv relu conv relu"
_SIX = f"{_TWICE} pool norm {_TWICE} pool norm drop:0.2 {_TWICE} norm drop:0.2"

LAYOUTS = (
    _Layout(
        "DeepSEA of selene",
        (("conv_net.", _THREE.format(0.2, 0.5)), ("classifier.", "linear relu linear sigmoid")),
    ),
    _Layout("DeeperDeepSEA of selene", (("conv_net.", _SIX), ("classifier.", "linear relu norm linear sigmoid"))),
    _Layout(
        "DeepSEA of Kipoi",
        (("", _THREE.format(0.2, 0.5).replace("relu", "threshold") + " view inner threshold inner sigmoid"),),
    ),
    _Layout(
        "Beluga",
        (
            ("0.", "conv relu conv relu drop:0.2 pool conv relu conv relu drop:0.2 pool conv relu conv relu"),
            ("1.", "drop:0.5 view inner relu inner"),
            ("", "view view sigmoid"),
        ),
    ),
    _Layout("Seqweaver", (("model.", _THREE.format(0.1, 0.3)), ("fc.", "view inner relu inner sigmoid"))),
)

#: What files have before all keys: a wrapper's attribute, or in Kipoi's the place after steps without layers.
_PREFIXES = ("", "model.", "1.", "2.")

#: HeartENN has the keys of DeeperDeepSEA and these filters, and limits its weights each time that it is called.
_HEARTENN = (60, 60, 80, 80, 240, 240)


def _deepsea(state: State, said: Arguments) -> Built:
    """(N, 4, L) → probabilities (N, tasks). Convolutions in two dimensions of height one are taken as what they are."""
    layout, prefix = _layout(state)
    images = any(t.dim() == 4 for t in state.tensors.values())
    graph = GraphBuilder()
    steps = Steps(graph, graph.input("sequence"))
    channels, flat = 4, 0
    sizes: list[tuple[str, int, int]] = []
    filters: list[int] = []
    for word, rest in layout.steps():
        path = prefix + rest
        kind, _, number = word.partition(":")
        if kind == "conv":
            conv = state.conv(path, channels)
            channels = conv.out_channels
            filters.append(channels)
            sizes.append(("conv", conv.kernel_size[0], 1))
            steps.layer(path, conv)
        elif kind == "pool":
            sizes.append(("pool", _POOL, _POOL))
            steps.layer(path, nn.MaxPool1d(_POOL, _POOL))
        elif kind == "linear":
            if not flat:
                flat = state.shape(f"{path}.weight", None, None)[1]
                steps.call("torch.flatten", 1)
                channels, positions = flat, flat // channels if flat % channels == 0 else 0
            dense = state.linear(path, channels)
            channels = dense.out_features
            steps.layer(path, dense)
        elif kind == "norm":
            steps.layer(path, state.norm(path, channels))
        elif kind != "view":
            steps.layer(path, _WEIGHTLESS[kind](number))
    if layout.name.startswith("DeeperDeepSEA") and tuple(filters) == _HEARTENN:
        raise state.error(
            "the file is one of HeartENN", got="filters 60, 60, 80, 80, 240, 240",
            expected="DeepSEA or DeeperDeepSEA", fix="HeartENN limits its weights at each call, and is not supported",
        )  # fmt: skip
    if not positions:
        raise state.error(
            "the first dense layer", got=f"{flat} features", expected=f"a multiple of {filters[-1]} filters"
        )
    length, note = chosen_length(state, said, *lengths_for(positions, sizes))
    notes = [
        f"taken for {layout.name}",
        note,
        "bases in the order A C G T (selene) or A G C T (Kipoi, ExPecto): reversal exchanges complements in either",
    ]
    if images:
        notes.append(
            "convolutions of height one are held as one-dimensional ones: inputs are (N, 4, L), not (N, 4, 1, L)"
        )
    if prefix in ("1.", "2."):
        notes.append(
            "what Kipoi does before its network is left out: bases come in the order A G C T, one strand at a time"
        )
    network = state.network(graph, [steps.value])
    return Built(network, ((4, length),), ("reversal",), ("fixed",), tuple(notes))


_WEIGHTLESS = {
    "relu": lambda _: nn.ReLU(),
    "threshold": lambda _: nn.Threshold(0, 1e-6),
    "sigmoid": lambda _: nn.Sigmoid(),
    "drop": lambda p: nn.Dropout(float(p)),
}


def _layout(state: State) -> tuple[_Layout, str]:
    """The layout whose keys the file has, and what stands before them all."""
    keys = state.names
    for layout in LAYOUTS:
        for prefix in _PREFIXES:
            if keys == {prefix + key for key in layout.names}:
                return layout, prefix
    _, nearest, prefix = min(
        ((len(keys ^ {p + k for k in layout.names}), layout, p) for layout in LAYOUTS for p in _PREFIXES),
        key=lambda found: found[0],
    )
    wanted = {prefix + key for key in nearest.names}
    missing, other = sorted(wanted - keys), sorted(keys - wanted)
    parts = [f"without {', '.join(missing[:3])}"] * bool(missing) + [f"with {', '.join(other[:3])}"] * bool(other)
    raise state.error(
        "the keys of the file",
        got=f"those of {nearest.name} {' and '.join(parts)}",
        expected=f"those of {', '.join(layout.name for layout in LAYOUTS)}",
    )


DEEPSEA = Preset(
    "deepsea",
    "DeepSEA and its kin (state dict): selene's DeepSEA and DeeperDeepSEA, Kipoi's DeepSEA, Beluga, Seqweaver",
    build=_deepsea,
    arguments={"length": "positions of the input, among those that the dense layer allows"},
)
