"""Siamese graphs as readers make them, in all the forms in which people write them, and graphs that only look so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from rcproof.network.building import GraphBuilder
from rcproof.network.graph import Ref
from rcproof.network.network import Network
from tests.strategies import randomise

Shapes = tuple[tuple[int, ...], ...]


class Maker(GraphBuilder):
    """A graph builder in which a layer is called by its path, and made when it is first met."""

    def layer(self, path: str, make: Callable[[], nn.Module], *args: Any) -> Ref:
        return self.module(path, None if path in self.layers else make(), *args)

    def relu(self, x: Ref) -> Ref:
        return self.call("torch.relu", x)

    def sigmoid(self, x: Ref) -> Ref:
        return self.call("torch.sigmoid", x)

    def flip(self, x: Ref, *axes: int) -> Ref:
        return self.call("torch.flip", x, axes)

    def mean(self, a: Ref, b: Ref) -> Ref:
        return self.call("operator.mul", self.call("operator.add", a, b), 0.5)

    def swap(self, x: Ref) -> Ref:
        return self.call("torch.transpose", x, 1, 2)


@dataclass(frozen=True)
class Form:
    """A siamese graph and what is to be found in it.

    ``rho``: the slow truth, what the file is to be fed with for inputs of the conjoined network.
    """

    build: Callable[[Maker], Sequence[Ref]]
    shapes: Shapes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...] = ("fixed",)
    merge: tuple[str, ...] = ("mean",)
    final: tuple[Any, ...] = (None,)
    given: tuple[str, ...] | None = None
    taken: tuple[int, ...] = (0,)
    partners: dict[int, int] = field(default_factory=dict)
    rho: Callable[..., Sequence[Tensor]] = lambda *xs: xs
    structure: Any = None

    def network(self, seed: int = 0) -> Network:
        return made(self.build, seed, self.structure)


def made(build: Callable[[Maker], Sequence[Ref]], seed: int = 0, structure: Any = None) -> Network:
    """The network with random weights in float64."""
    torch.manual_seed(seed)
    graph = Maker()
    outputs = build(graph)
    constants = {path: t.clone() for path, t in graph.tensors.items() if not isinstance(t, nn.Parameter)}
    network = graph.network(outputs, structure)
    randomise(network, seed)
    network.load_state_dict(constants, strict=False)
    for parameter in network.parameters():  # so that sigmoids answer between 0 and 1, and not only there
        parameter.data *= 0.3
    return network.eval()


FORMS: dict[str, Form] = {}


def form(name: str, **options: Any) -> Callable[[Callable[[Maker], Sequence[Ref]]], Any]:
    def register(build: Callable[[Maker], Sequence[Ref]]) -> Any:
        FORMS[name] = Form(build, **options)
        return build

    return register


# -- branches ---------------------------------------------------------------------------------------------


def scores(g: Maker, x: Ref, channels: int = 4, tasks: int = 2) -> Ref:
    """The paper's binary network, small: two convolutions, pooling, a dense layer. (N, channels, 20) → logits."""
    x = g.relu(g.layer("conv1", lambda: nn.Conv1d(channels, 5, 4), x))
    x = g.layer("norm", lambda: nn.BatchNorm1d(6), g.relu(g.layer("conv2", lambda: nn.Conv1d(5, 6, 3), x)))
    x = g.call("torch.flatten", g.layer("pool", lambda: nn.MaxPool1d(4, 3), x), 1)
    return g.layer("dense", lambda: nn.Linear(24, tasks), x)


def factornet(g: Maker, x: Ref, meta: Ref | None = None, concatenation: str = "") -> Ref:
    """FactorNet: convolution, dense on each position, pooling, BiLSTM, dense. (N, 6, 40) → probability."""
    x = g.layer("dropout_1", lambda: nn.Dropout(0.1), g.relu(g.layer("convolution1d_1", lambda: nn.Conv1d(6, 5, 7), x)))
    x = g.relu(g.layer("timedistributed_1", lambda: nn.Linear(5, 4), g.swap(x)))
    x = g.layer("maxpooling1d_1", lambda: nn.MaxPool1d(8, 8), g.swap(x))
    make = lambda: nn.LSTM(4, 3, batch_first=True, bidirectional=True)  # noqa: E731
    x = g.call("operator.getitem", g.layer("bidirectional_1", make, g.swap(x)), 0)
    x = g.relu(g.layer("dense_2", lambda: nn.Linear(24, 5), g.call("torch.flatten", x, 1)))
    if meta is not None:
        x = g.relu(g.layer("dense_3", lambda: nn.Linear(8, 4), g.call("torch.cat", [x, meta], 1)))
    return g.sigmoid(g.layer("dense_4", lambda: nn.Linear(5 if meta is None else 4, 1), x))


def profile(g: Maker, x: Ref, count: Ref, track: Ref) -> tuple[Ref, Ref]:
    """BPNet, small: (N, 4, 30), (N, 1), (N, 2, 20) → counts (N, 2), profile (N, 2, 20)."""
    x = g.relu(g.layer("conv", lambda: nn.Conv1d(4, 5, 5), x))
    y = g.relu(g.layer("dilated", lambda: nn.Conv1d(5, 5, 3, dilation=2), x))
    x = g.call("operator.add", g.call("operator.getitem", x, (slice(None), slice(None), slice(2, -2))), y)
    pooled = g.call("torch.mean", x, 2)
    counts = g.layer("counts", lambda: nn.Linear(6, 2), g.call("torch.cat", [pooled, count], 1))
    head = g.call("torch.cat", [g.layer("head", lambda: nn.Conv1d(5, 2, 3), x), track], 1)
    return counts, g.layer("out", lambda: nn.Conv1d(4, 2, 1), head)


def turn(x: Tensor, *order: int) -> Tensor:
    """The other strand, with channels in this order."""
    return x[:, list(order)].flip(2) if order else x.flip(1, 2)


# -- two inputs -------------------------------------------------------------------------------------------

TRACKS = "perm:3,2,1,0,4,5"


@form(
    "FactorNet", shapes=((6, 40), (6, 40)), inputs=(TRACKS,), given=(TRACKS,), partners={0: 1},
    rho=lambda x: (x, turn(x, 3, 2, 1, 0, 4, 5)),
)  # fmt: skip
def _(g: Maker) -> Sequence[Ref]:
    x, y = g.input("input_1"), g.input("input_2")
    return [g.mean(factornet(g, x), factornet(g, y))]


@form(
    "FactorNet with metadata", shapes=((6, 40), (6, 40), (3,)), inputs=(TRACKS, "fixed"), given=(TRACKS,),
    taken=(0, 2), partners={0: 1}, rho=lambda x, m: (x, turn(x, 3, 2, 1, 0, 4, 5), m),
)  # fmt: skip
def _(g: Maker) -> Sequence[Ref]:
    x, y, m = g.input("input_1"), g.input("input_2"), g.input("input_3")
    return [g.mean(factornet(g, x, m), factornet(g, y, m))]


@form(
    "two inputs, the second strand first in the merge", shapes=((4, 20), (4, 20)), inputs=("reversal",),
    merge=("sum",), partners={0: 1}, rho=lambda x: (x, turn(x)),
)  # fmt: skip
def _(g: Maker) -> Sequence[Ref]:
    x, y = g.input("forward"), g.input("backward")
    own, other = scores(g, x), scores(g, y)
    return [g.call("torch.add", other, own)]


@form(
    "two pairs of inputs, one of them the other way round", shapes=((4, 30), (1,), (2, 20), (4, 30), (2, 20)),
    inputs=("reversal", "fixed", "length"), outputs=("reversal", "reversal"), merge=("mean", "max"),
    final=(None, None), given=("reversal", "length"), taken=(0, 1, 4), partners={0: 3, 4: 2},
    rho=lambda x, c, t: (x, c, t.flip(2), turn(x), t),
)  # fmt: skip
def _(g: Maker) -> Sequence[Ref]:
    x, c, t2, x2, t = (g.input(n) for n in ("dna", "count", "track_rc", "dna_rc", "track"))
    counts, tracks = profile(g, x, c, t)
    counts2, tracks2 = profile(g, x2, c, t2)
    return [g.mean(counts, g.flip(counts2, 1)), g.call("torch.maximum", tracks, g.flip(tracks2, 1, 2))]


@form(
    "an input that nothing reads", shapes=((4, 20), (3,), (4, 20)), inputs=("reversal",), partners={0: 2},
    rho=lambda x: (x, torch.ones(len(x), 3, dtype=x.dtype), turn(x)),
)  # fmt: skip
def _(g: Maker) -> Sequence[Ref]:
    x, _, y = g.input("x"), g.input("unused"), g.input("y")
    return [g.mean(scores(g, x), scores(g, y))]


# -- one input and its flip -------------------------------------------------------------------------------


@form("binary: average of logits", shapes=((4, 20),), inputs=("reversal",), final=("sigmoid",))
def _(g: Maker) -> Sequence[Ref]:
    x = g.input("x")
    return [g.sigmoid(g.mean(scores(g, x), scores(g, g.flip(x, 1, 2))))]


@form("binary: average of probabilities, stacked", shapes=((4, 20),), inputs=("reversal",))
def _(g: Maker) -> Sequence[Ref]:
    x = g.input("x")
    own = g.layer("act_1", nn.Sigmoid, scores(g, x))  # activation layers of each strand, without weights
    other = g.layer("act_2", nn.Sigmoid, scores(g, g.call("Tensor.flip", x, [-1, -2])))
    return [g.call("torch.mean", g.call("torch.stack", [own, other], 0), 0)]


@form(
    "simulated: maximum, then a sigmoid layer",
    shapes=((4, 20),),
    inputs=("reversal",),
    merge=("max",),
    final=("sigmoid",),
)
def _(g: Maker) -> Sequence[Ref]:
    x = g.input("x")
    two = g.call("torch.stack", [scores(g, x, tasks=3), scores(g, g.flip(g.flip(x, 2), 1), tasks=3)], dim=-1)
    return [g.layer("final", nn.Sigmoid, g.call("torch.amax", two, dim=-1))]


@form("maximum: values of max along the stack", shapes=((4, 20),), inputs=("reversal",), merge=("max",))
def _(g: Maker) -> Sequence[Ref]:
    x = g.input("x")
    own, other = (g.call("torch.unsqueeze", scores(g, y), 2) for y in (x, g.flip(x, 1, 2)))
    return [g.call("operator.getitem", g.call("torch.max", g.call("torch.cat", [own, other], 2), 2), 0)]


@form("halves added", shapes=((4, 20),), inputs=("reversal",), final=("softmax",))
def _(g: Maker) -> Sequence[Ref]:
    x = g.input("x")
    half = torch.tensor([0.5], dtype=torch.float64)
    own = g.call("operator.truediv", scores(g, x), 2)
    other = g.call("torch.mul", g.tensor("half", half), scores(g, g.flip(x, 1, 2)))
    return [g.call("F.softmax", g.call("Tensor.add", own, other), dim=-1)]


@form("half of a sum, written as two layers", shapes=((4, 20),), inputs=("reversal",), merge=("mean",))
def _(g: Maker) -> Sequence[Ref]:
    x = g.input("x")
    total = g.call("torch.sum", g.call("torch.stack", [scores(g, x), scores(g, g.flip(x, 1, 2))]), 0)
    return [g.call("torch.div", total, 2.0)]


@form("length only", shapes=((4, 20),), inputs=("length",))
def _(g: Maker) -> Sequence[Ref]:
    x = g.input("x")
    return [g.mean(scores(g, x), scores(g, g.flip(x, 2)))]


@form("bases in another order", shapes=((4, 20),), inputs=("pairs:2",))
def _(g: Maker) -> Sequence[Ref]:
    x = g.input("x")
    order = g.tensor("order", torch.tensor([1, 0, 3, 2]))
    return [g.mean(scores(g, x), scores(g, g.flip(g.call("torch.index_select", x, 1, order), 2)))]


@form("DNA and tracks put together again", shapes=((6, 20),), inputs=(TRACKS,))
def _(g: Maker) -> Sequence[Ref]:
    x = g.input("x")
    every = slice(None)
    dna = g.flip(g.call("operator.getitem", x, (every, slice(0, 4))), 1)
    tracks = g.call("operator.getitem", x, (every, slice(4, None)))
    other = g.flip(g.call("torch.cat", [dna, tracks], dim=1), 2)
    return [g.mean(scores(g, x, 6), scores(g, other, 6))]


@form("DNA and tracks read apart", shapes=((6, 20),), inputs=("perm:3,2,1,0,5,4",), merge=("sum",))
def _(g: Maker) -> Sequence[Ref]:
    x, every = g.input("x"), slice(None)
    dna = g.call("operator.getitem", x, (every, slice(0, 4)))
    tracks = g.call("operator.getitem", x, (every, slice(4, 6)))

    def run(d: Ref, t: Ref) -> Ref:
        return g.call(
            "operator.add", scores(g, d), g.layer("tracks", lambda: nn.Linear(40, 2), g.call("torch.flatten", t, 1))
        )

    return [g.call("operator.add", run(dna, tracks), run(g.flip(dna, 1, 2), g.flip(tracks, 1, 2)))]


@form("a track that changes its sign", shapes=((4, 20),), inputs=("perm:-3,-2,-1,-0",), merge=("sum",))
def _(g: Maker) -> Sequence[Ref]:
    x = g.input("x")
    return [g.call("operator.add", scores(g, x), scores(g, g.call("operator.neg", g.flip(x, 1, 2))))]


@form("flips of a transposed input", shapes=((4, 20),), inputs=("reversal",))
def _(g: Maker) -> Sequence[Ref]:
    x = g.swap(g.input("x"))
    return [g.mean(scores(g, g.swap(x)), scores(g, g.swap(g.flip(x, 1, 2))))]


@form("features by number, and sizes", shapes=((4, 20),), inputs=("reversal",), merge=("sum",))
def _(g: Maker) -> Sequence[Ref]:
    x = g.input("x")
    n = g.call("Tensor.size", x, 0)

    def run(y: Ref) -> Ref:
        y = g.relu(g.layer("conv", lambda: nn.Conv1d(4, 3, 5), y))
        return g.layer("dense", lambda: nn.Linear(48, 2), g.call("Tensor.view", y, n, 48))

    return [g.call("operator.iadd", run(x), run(g.flip(x, 1, 2)))]


@form("weights as tensors of the graph", shapes=((4, 20),), inputs=("reversal",), final=("tanh",))
def _(g: Maker) -> Sequence[Ref]:
    x = g.input("x")
    weight = g.tensor("conv.weight", nn.Parameter(torch.randn(3, 4, 5)))
    dense = g.tensor("dense.weight", nn.Parameter(torch.randn(2, 48)))

    def run(y: Ref) -> Ref:
        y = g.relu(g.call("F.conv1d", y, weight, None, 1, "valid"))
        return g.call("F.linear", g.call("torch.flatten", y, 1), dense)

    return [g.call("torch.tanh", g.mean(run(x), run(g.flip(x, 1, 2))))]


@form("the branch reads both strands, symmetrically", shapes=((4, 20),), inputs=("reversal",))
def _(g: Maker) -> Sequence[Ref]:
    x = g.input("x")
    own, other = (g.layer("embed", lambda: nn.Conv1d(4, 4, 3, padding=1), y) for y in (x, g.flip(x, 1, 2)))
    own, other = g.call("operator.sub", own, other), g.call("operator.sub", other, own)
    return [g.mean(scores(g, own), scores(g, other))]


# -- several outputs, answers that are turned, final steps --------------------------------------------------


@form(
    "profile", shapes=((4, 30), (1,), (2, 20)), inputs=("reversal", "fixed", "length"),
    outputs=("reversal", "reversal"), merge=("mean", "mean"), final=(None, None), taken=(0, 1, 2),
)  # fmt: skip
def _(g: Maker) -> Sequence[Ref]:
    x, c, t = g.input("sequence"), g.input("control_logcount"), g.input("control_profile")
    counts, tracks = profile(g, x, c, t)
    counts2, tracks2 = profile(g, g.flip(x, 1, 2), c, g.flip(t, 2))
    return [g.mean(counts, g.flip(counts2, 1)), g.mean(tracks, g.flip(tracks2, 1, 2))]


@form(
    "profile with a final step each", shapes=((4, 30), (1,), (2, 20)), inputs=("reversal", "fixed", "reversal"),
    outputs=("fixed", "length"), merge=("sum", "max"), final=("softplus", "network"), taken=(0, 1, 2),
    structure=["dict", ["counts", "*"], ["profile", "*"]],
)  # fmt: skip
def _(g: Maker) -> Sequence[Ref]:
    x, c, t = g.input("sequence"), g.input("control_logcount"), g.input("control_profile")
    counts, tracks = profile(g, x, c, t)
    counts2, tracks2 = profile(g, g.flip(x, 1, 2), c, g.flip(t, 1, 2))
    best = g.call("torch.maximum", tracks, g.flip(tracks2, 2))
    weighed = g.call("operator.mul", best, g.layer("smooth", lambda: nn.Conv1d(2, 2, 3, padding=1), best))
    return [g.call("F.softplus", g.call("operator.add", counts, counts2)), g.call("torch.softmax", weighed, 2)]


@form(
    "heads on one merged value", shapes=((4, 20),), inputs=("reversal",), outputs=("fixed", "fixed", "fixed"),
    merge=("mean", "mean", "mean"), final=("network", None, "relu"),
)  # fmt: skip
def _(g: Maker) -> Sequence[Ref]:
    x = g.input("x")
    merged = g.mean(scores(g, x), scores(g, g.flip(x, 1, 2)))
    gate = g.layer("gate", nn.Sigmoid, merged)
    head = g.layer("head", lambda: nn.Linear(2, 3), g.call("operator.mul", merged, gate))
    return [g.layer("drop", lambda: nn.Dropout(0.5), head), merged, g.layer("act", nn.ReLU, merged)]


@form(
    "the first answer is turned, the second is not", shapes=((4, 30), (1,), (2, 20)),
    inputs=("reversal", "fixed", "length"), outputs=("reversal", "reversal"), merge=("mean", "mean"),
    final=(None, None), taken=(0, 1, 2),
)  # fmt: skip
def _(g: Maker) -> Sequence[Ref]:
    x, c, t = g.input("sequence"), g.input("control_logcount"), g.input("control_profile")
    counts, tracks = profile(g, x, c, t)
    counts2, tracks2 = profile(g, g.flip(x, 1, 2), c, g.flip(t, 2))
    return [g.mean(g.flip(counts, 1), counts2), g.mean(g.flip(tracks, 1, 2), tracks2)]
