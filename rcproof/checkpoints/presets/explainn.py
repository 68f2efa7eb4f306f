"""ExplaiNN: many small networks of one filter each, and a dense layer on their answers."""

from __future__ import annotations

from torch import nn

from rcproof.checkpoints.presets.base import (
    Arguments,
    Built,
    Preset,
    State,
    Steps,
    chosen_length,
    lengths_for,
)
from rcproof.network.building import GraphBuilder


def _explainn(state: State, said: Arguments) -> Built:
    """(N, 4, L) → (N, classes).

    The file's first layer is a convolution in as many groups as there are units, on as many copies of the input:
    which is an ordinary convolution of the input, with the same weight. Dense layers of a unit are convolutions of
    width one in groups.
    """
    units, _, taps = state.shape("linears.0.weight", None, 4, None)
    pool, stride = said.whole("pool_size", 7, 1), said.whole("pool_stride", 7, 1)
    graph = GraphBuilder()
    steps = Steps(graph, graph.input("sequence"))
    steps.layer("linears.0", state.conv("linears.0", 4))
    steps.layer("linears.1", state.norm("linears.1", units)).call("torch.exp")
    notes = []
    if "linears.6.weight" not in state.names:  # no dense layers: the maximum over all positions
        steps.layer("linears.3", nn.AdaptiveMaxPool1d(1)).call("torch.flatten", 1)
        length = said.whole("length", 200, taps)
    else:
        positions = state.shape("linears.6.weight", None, None, 1)[1]
        length, note = chosen_length(state, said, *lengths_for(positions, [("conv", taps, 1), ("pool", pool, stride)]))
        notes = [note, f"pooling of {pool} with stride {stride}"]
        steps.layer("linears.3", nn.MaxPool1d(pool, stride)).call("torch.flatten", 1).call("torch.unsqueeze", -1)
        _dense(state, steps, units, units * positions)
    steps.layer("final", state.linear("final", units))
    network = state.network(graph, [steps.value])
    return Built(network, ((4, length),), ("reversal",), ("fixed",), tuple(notes))


def _dense(state: State, steps: Steps, units: int, features: int) -> None:
    """The dense layers of the units, each with batch norm, ReLU and, before all but the first, dropout."""
    pairs = [("linears.6", "linears.7", "")]
    if "linears.10.weight" in state.names:
        pairs.append(("linears.10", "linears.11", "linears.9"))
    blocks = {key.split(".")[1] for key in state.names if key.startswith("linears_bg.")}
    pairs += [(f"linears_bg.{i}.1", f"linears_bg.{i}.2", f"linears_bg.{i}.0") for i in range(len(blocks))]
    if "last_linear.1.weight" in state.names:
        pairs.append(("last_linear.1", "last_linear.2", "last_linear.0"))
    for conv, norm, drop in pairs:
        if drop:
            steps.layer(drop, nn.Dropout(0.3))
        layer = state.conv(conv, features, 1, groups=units)
        features = layer.out_channels
        steps.layer(conv, layer).layer(norm, state.norm(norm, features)).call("torch.relu")
    if features != units:
        raise state.error(
            "dense layers of the units", got=f"{features} answers", expected=f"one for each of {units} units"
        )
    steps.call("torch.flatten", 1)


EXPLAINN = Preset(
    "explainn",
    "ExplaiNN (state dict): independent units of one filter each, added by a dense layer; answers are logits",
    build=_explainn,
    arguments={
        "length": "positions of the input, among those that the dense layers allow",
        "pool_size": "size of the pooling windows, 7 if not given",
        "pool_stride": "stride of the pooling windows, 7 if not given",
    },
)
