"""A network's graph as the recogniser looks at it: what depends on what, and parts of it as networks of their own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from rcproof.network.graph import Graph, Node
from rcproof.network.network import Network, attach, find_module, find_tensor
from rcproof.network.ops import OPS

Shape = tuple[int, ...]

#: Examples in what is run while looking.
_BATCH = 2

#: Steps between an input and its other strand are few; a graph with more of them is something else.
_MOST_MOVES = 60

#: Functions that give values of their arguments in other places, and those that change a sign.
_MOVING = {
    "along", "join", "permute", "insert", "squeeze", "reshape", "index", "identity", "cast", "factory", "size",
    "scalar",
}  # fmt: skip
_SIGNING = {"neg", "negative", "mul", "multiply"}


class Apart(Exception):
    """Two parts of a graph are not one branch on two strands; the text says where they part."""


class View:
    """A graph of one strand and, where the shapes of its inputs are known, what its parts compute.

    Attributes:
        inputs: names of the input nodes, in order.
        needs: for each node, the inputs whose values it depends on. To ask for a size is no dependence: both strands
            have the same.
    """

    def __init__(self, network: Network, shapes: Sequence[Shape] | None) -> None:
        self.network, self.graph = network, network.rcproof_graph()
        self.nodes = {n.name: n for n in self.graph.nodes}
        self.place = {n.name: i for i, n in enumerate(self.graph.nodes)}
        self.inputs = [n.name for n in self.graph.nodes if n.op == "input"]
        self.shapes = None if shapes is None else dict(zip(self.inputs, shapes, strict=True))
        self.needs: dict[str, frozenset[str]] = {}
        for n in self.graph.nodes:
            if n.op == "input":
                self.needs[n.name] = frozenset((n.name,))
            elif asks_size(n):
                self.needs[n.name] = frozenset()
            else:
                self.needs[n.name] = frozenset().union(*(self.needs[r] for r in n.refs()))
        self._examples: dict[str, Tensor] = {}
        self._known: dict[str, Shape | None] = {}

    def above(self, targets: Sequence[str], stop: Sequence[str] = ()) -> list[Node]:
        """The nodes that ``targets`` are computed from, in order, without going beyond ``stop`` (left out)."""
        found: set[str] = set(stop)
        waiting = [name for name in targets if name not in found]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += self.nodes[name].refs()
        return [self.nodes[name] for name in sorted(found.difference(stop), key=self.place.__getitem__)]

    def gates(self, target: str) -> Iterator[str]:
        """The nodes that everything between the inputs and ``target`` passes through, from ``target`` upwards."""
        front = {target}
        while front:
            last = max(front, key=self.place.__getitem__)
            if len(front) == 1:
                yield last
            front.remove(last)
            front |= {r for r in self.nodes[last].refs() if self.needs[r]}

    def part(self, sources: Sequence[str], targets: Sequence[str], structure: object = None) -> Network:
        """The steps from ``sources`` to ``targets`` as a network whose inputs are ``sources``; layers are shared."""
        steps = self.above(targets, sources)
        beyond = [n.name for n in steps if n.op == "input"]
        if beyond:
            raise Apart(f"a step asks for the size of {beyond[0]!r}, which is no input of the branch")
        nodes = [Node(name, "input") for name in sources] + steps
        if structure is None:
            structure = "*" if len(targets) == 1 else ["tuple", *("*" for _ in targets)]
        layers = {n.target: find_module(self.network, n.target) for n in steps if n.op == "module"}
        found = Network(Graph(nodes, list(targets), structure), layers)
        kept = set(self.network.state_dict(keep_vars=True))
        for path in dict.fromkeys(n.target for n in steps if n.op == "tensor"):
            attach(found, path, find_tensor(self.network, path), persistent=path in kept)
        return found.eval()

    def only_moves(self, targets: Sequence[str], stop: Sequence[str]) -> bool:
        """Whether what lies between ``stop`` and ``targets`` moves values and computes none, in a few steps."""
        seen: set[str] = set(stop)
        waiting = [name for name in targets if name not in seen]
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            if len(seen) > _MOST_MOVES or not self._moves(self.nodes[name]):
                return False
            seen.add(name)
            waiting += self.nodes[name].refs()
        return True

    def _moves(self, n: Node) -> bool:
        if n.op == "call":
            return OPS[n.target].family in _MOVING or n.target.rpartition(".")[2] in _SIGNING
        if n.op == "tensor":
            return not isinstance(find_tensor(self.network, n.target), nn.Parameter)
        return n.op == "attribute"

    def example(self, name: str) -> Tensor:
        """Random numbers in the shape of an input, all of different size; the same at each call."""
        if name not in self._examples:
            assert self.shapes is not None
            generator = torch.Generator().manual_seed(self.place[name])
            shape = (_BATCH, *self.shapes[name])
            self._examples[name] = torch.randn(shape, generator=generator, dtype=torch.float64)
        return self._examples[name]

    def shape(self, name: str) -> Shape | None:
        """The shape of a value, without the batch; None if it is not known."""
        if name not in self._known:
            self._known[name] = self._find_shape(name)
        return self._known[name]

    def _find_shape(self, name: str) -> Shape | None:
        if self.shapes is None:
            return None
        if name in self.shapes:
            return self.shapes[name]
        owned = [p for p in self.network.parameters() if p.is_floating_point()]
        dtype = owned[0].dtype if owned else torch.float64
        value = run(self.part(self.inputs, [name]), *(self.example(x).to(dtype) for x in self.inputs))
        return tuple(value.shape[1:]) if isinstance(value, Tensor) and value.dim() else None

    def shares(self) -> bool:
        """Whether weights are used more than once: one layer on several values, or two layers with equal weights."""
        uses: dict[str, set[str]] = {}
        alike: dict[object, list[nn.Module]] = {}
        for n in self.graph.nodes:
            layer = find_module(self.network, n.target) if n.op == "module" else None
            weights = [] if layer is None else list(layer.parameters())
            if layer is not None and weights:
                if n.target not in uses:
                    looks = tuple((w.shape, float(w.detach().double().sum())) for w in weights)
                    alike.setdefault((type(layer), looks), []).append(layer)
                uses.setdefault(n.target, set()).add(repr((n.args, n.kwargs)))
            for ref in n.refs():
                held = self.nodes[ref]
                if held.op == "tensor" and isinstance(find_tensor(self.network, held.target), nn.Parameter):
                    uses.setdefault(held.target, set()).add(n.name)
        twins = (pair for layers in alike.values() for pair in itertools.combinations(layers, 2))
        return any(len(found) > 1 for found in uses.values()) or any(
            all(torch.equal(v, w) for v, w in zip(a.parameters(), b.parameters(), strict=True)) for a, b in twins
        )


def asks_size(n: Node) -> bool:
    """Whether a node depends on the shapes alone of what it reads."""
    return n.op == "attribute" or (n.op == "call" and OPS[n.target].family == "size")


def run(network: Network, *inputs: Tensor) -> object:
    """What a part of the network gives; None if it does not run on such inputs."""
    try:
        with torch.no_grad():
            return network(*inputs)
    except Exception:  # torch refuses a shape or a dtype in many ways
        return None
