"""From an RCPS network to an ordinary one: the plan's steps as plain nodes, every tied layer as a layer of torch.nn.

A network graph says what is computed on strand pairs, and :mod:`rcproof.network.plan` in which layout. Here both are
written out: the result is a graph of one strand, whose nodes flip, cut and join tensors where the plan switches
layouts, and whose layers hold the tied weights as numbers. It needs nothing of this package but the graph's runner,
so :mod:`rcproof.checkpoints.exporting` can write it for others to run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rcproof.errors import RcproofError
from rcproof.network.graph import Graph, Node, Ref
from rcproof.network.network import LAYOUTS, Network, find_tensor
from rcproof.network.ops import OPS
from rcproof.network.ordinary import Site, has_stacked_form, on_batched, on_stacked
from rcproof.network.ordinary_layers import weighted_sum_batched
from rcproof.network.plan import Compiler, Key, Step, collect, fill
from rcproof.network.strand_nodes import StrandNodes
from rcproof.nn.base import TiedLayer
from rcproof.nn.linear import RCPSLinear
from rcproof.nn.weighted_sum import RCPSWeightedSum1d, WeightedSum1d
from rcproof.strand import Representation, representation

_ASKS_NO_SIZE = ("ndim", "dim", "ndimension", "device", "dtype")


class OrdinaryPlan(Compiler):
    """The plan of a layout, where what has no stacked form of ordinary layers for every length runs in the batch."""

    def __init__(self, graph: Graph, network: Network, layout: str, ranks: dict[str, int]) -> None:
        super().__init__(graph, network, layout)
        self.ranks = ranks

    def choose(self, node: Node) -> str:
        layout = super().choose(node)
        if layout != "stacked":
            return layout
        layer = self.modules.get(node.target) if node.op == "module" else None
        if isinstance(layer, TiedLayer):
            rank = self.ranks.get(node.refs()[0], 0)
            return layout if has_stacked_form(layer, rank) else "batched"
        if node.stacked == "crop":
            return layout if mirrored_slice(node.args[1][2]) is not None else "batched"
        return layout


def mirrored_slice(window: slice) -> tuple[Any, Any] | None:
    """Start and stop of a crop as the mirrored half sees it; None where no slice says so for every length.

    Cutting a from the left is cutting a from the right of the mirrored half: start a becomes stop −a. A start or stop
    of zero has no negative; a start that is computed may be zero.
    """
    start, stop = window.start, window.stop
    if isinstance(start, Ref) or stop == 0 or window.step not in (None, 1):
        return None
    return (stop if isinstance(stop, Ref) else -stop if stop else None), (-start if start else None)


@dataclass(frozen=True)
class _Seen:
    """Shape and dtype of a value in a run on an example."""

    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class _ShapeOf:
    """The shape of a value that is not held in the batch; only its entries are asked for."""

    ref: Ref
    layout: str
    rank: int


def untie_network(network: Network, inputs: Sequence[Tensor], layout: str = "auto") -> Network:
    """The same function as a network of ordinary layers: ``torch.nn`` and registered functions, every value merged.

    ``inputs``: an example, batch first; only its shapes count, and only to learn how many axes each value has.
    Layers that are no tied layers stay as they are (copies), whatever their class. The result is in eval mode and
    shares nothing with ``network``. Raises :class:`~rcproof.errors.RcproofError` for a tied layer without an
    ordinary twin.
    """
    if layout not in LAYOUTS:
        raise RcproofError("layout", got=repr(layout), expected="auto, stacked or batched")
    return _Untier(network, inputs, layout).build()


class _Untier:
    def __init__(self, network: Network, inputs: Sequence[Tensor], layout: str) -> None:
        self.network, self.graph = network, network.rcproof_graph()
        self.by_name = {n.name: n for n in self.graph.nodes}
        first = _record(network, Compiler(self.graph, network, layout).compile(), inputs)
        ranks = {key.rpartition("@")[0]: len(seen.shape) for key, seen in first.items()}
        plan = OrdinaryPlan(self.graph, network, layout, ranks)
        self.steps, self.modules = plan.compile(), plan.modules
        self.seen = _record(network, self.steps, inputs)
        self.nodes = StrandNodes({n.target for n in self.graph.nodes if n.op in ("module", "tensor")})
        self.env: dict[str, Any] = {}

    def build(self) -> Network:
        for step in self.steps:
            made = self.env[step.key] = self.step(step)
            if isinstance(made, Ref) and self.has_fixed_features(step):
                self.nodes.fixed.add(made.name)
        outputs = [self.env[f"{name}@plain"] for name in self.graph.outputs]
        return self.nodes.network(outputs, self.graph.structure)

    def has_fixed_features(self, step: Step) -> bool:
        """Whether a value (N, F) surely has the same F at every length."""
        node, seen = self.by_name[step.key.rpartition("@")[0]], self.seen.get(step.key)
        if seen is None or len(seen.shape) != 2:
            return False
        if step.action == "input":
            return node.rep is None or not representation(node.rep).tokens
        if node.op == "module" and isinstance(self.modules[node.target], nn.Linear | RCPSLinear | RCPSWeightedSum1d):
            return True
        family = OPS[node.target].family if node.op == "call" else ""
        if family in ("reduce", "squeeze"):
            return node.stacked == "same"  # along the length
        keys: list[str] = []
        collect(step.args, keys)
        tensors = [self.env[key] for key in keys if key in self.seen]
        every = bool(tensors) and all(isinstance(x, Ref) and x.name in self.nodes.fixed for x in tensors)
        return every and (node.op != "call" or step.action == "switch" or family in ("pointwise", "identity", "join"))

    # -- one step ----------------------------------------------------------------------------------
    def step(self, step: Step) -> Any:
        name, _, layout = step.key.rpartition("@")
        node = self.by_name[name]
        if step.action == "input":
            return self.nodes.input(name)
        if step.action == "tensor":
            return self.tensor(node)
        if step.action == "switch":
            return self.switch(step, node, layout)
        if step.action == "size":
            return self.size(step, node)
        if step.action == "merge":
            return self.merge(step, node)
        return self.operation(step, node, layout)

    def tensor(self, node: Node) -> Ref:
        path, held = node.target, find_tensor(self.network, node.target)
        if any(isinstance(m, TiedLayer) and path.startswith(f"{p}.") for p, m in self.modules.items()):
            key = (id(held), "tensor")  # the layer that stands there may hold another tensor of that name
            path = self.nodes.placed.setdefault(key, self.nodes.free_path(path.replace(".", "_")))
        self.nodes.tensors.setdefault(path, self.nodes.copy(held))
        return self.nodes.named(node.name, "tensor", path)

    def of(self, key: Key) -> tuple[Ref, _Seen]:
        """A value and what was seen of it."""
        return self.env[key.name], self.seen[key.name]

    def shaped(self, key: Key) -> tuple[Ref, tuple[int, ...]]:
        """A value and its shape."""
        return self.env[key.name], self.seen[key.name].shape

    def switch(self, step: Step, node: Node, layout: str) -> Ref:
        (x, seen), source = self.of(step.args[0]), step.args[0].name.rpartition("@")[2]
        if source == "closed":
            rep: Representation = step.args[1]
            make = self.nodes.batched_from_closed if layout == "batched" else self.nodes.stacked_from_closed
            return make(x, rep, seen.shape, seen.dtype)
        if layout == "batched":
            return self.nodes.batched_from_stacked(x, seen.shape)
        return self.nodes.stacked_from_batched(x, len(seen.shape))

    def merge(self, step: Step, node: Node) -> Ref:
        layer, (x, seen) = step.target.__self__, self.of(step.args[0])
        site = Site(self.nodes, node.name, x, seen.shape, seen.dtype, len(seen.shape))
        stacked = step.args[0].name.endswith("@stacked")
        return on_stacked(layer, site) if stacked else on_batched(layer, site)

    def operation(self, step: Step, node: Node, layout: str) -> Any:
        module = self.modules.get(node.target) if node.op == "module" else None
        if isinstance(module, TiedLayer):
            return self.tied(module, step, node, layout)
        if layout == "stacked" and node.stacked in ("cat", "flatten", "crop"):
            return self.stacked_form(step, node)
        first = self.env.get(step.args[0].name) if step.args and isinstance(step.args[0], Key) else None
        if isinstance(first, _ShapeOf):
            return self.entry(first, step.args[1])
        args, kwargs = fill(step.args, self.env), fill(step.kwargs, self.env)
        if module is None:
            return self.nodes.named(node.name, "call", node.target, args, kwargs)
        if isinstance(module, WeightedSum1d):  # a layer of ours, on one strand
            x, seen = self.of(step.args[0])
            return weighted_sum_batched(module, Site(self.nodes, node.target, x, seen.shape, seen.dtype, 2))
        nodes, key = self.nodes, (id(module), "")
        if key not in nodes.placed:
            nodes.placed[key] = node.target
            nodes.layers[node.target] = nodes.copy(module).eval()
        return nodes.named(node.name, "module", nodes.placed[key], args, kwargs)

    def tied(self, layer: TiedLayer, step: Step, node: Node, layout: str) -> Ref:
        x, seen = self.of(step.args[0] if step.args else next(iter(step.kwargs.values())))
        made = self.seen.get(step.key)
        site = Site(self.nodes, node.target, x, seen.shape, seen.dtype, len(made.shape) if made else 0)
        if layout == "batched":
            return on_batched(layer, site)
        if node.kind != "free":  # a stacked value, or a layer that its author calls on stacked values
            return on_stacked(layer, site)
        if not layer.coupled:
            return on_batched(layer, site)
        site.like, site.x = x, self.nodes.join(x, x, dim=0)
        site.shape = (2 * seen.shape[0], *seen.shape[1:])
        return self.nodes.rows(on_batched(layer, site), x)[0]

    # -- stacked forms that are not the plain call ----------------------------------------------------
    def stacked_form(self, step: Step, node: Node) -> Ref:
        nodes = self.nodes
        if node.stacked == "flatten":
            return nodes.call("torch.flatten", self.env[step.args[0].name], 1)
        if node.stacked == "cat":
            tensors = step.args[0] if step.args else step.kwargs["tensors"]
            pairs = [nodes.channels(*self.shaped(key)) for key in tensors]
            return nodes.join(*(own for own, _ in pairs), *(other for _, other in reversed(pairs)), dim=1)
        (x, shape), window = self.shaped(step.args[0]), fill(step.args[1], self.env)[2]
        whole = (slice(None), slice(None))
        mirrored = mirrored_slice(window)
        assert mirrored is not None
        if mirrored == (window.start or None, window.stop):
            return nodes.call("operator.getitem", x, (*whole, window))
        start, stop = mirrored
        if isinstance(start, Ref):
            start = nodes.call("operator.neg", start)
        own, other = nodes.channels(x, shape)
        first = nodes.call("operator.getitem", own, (*whole, window))
        return nodes.join(first, nodes.call("operator.getitem", other, (*whole, slice(start, stop))), dim=1)

    # -- sizes ---------------------------------------------------------------------------------------
    def size(self, step: Step, node: Node) -> Any:
        """Sizes are those of the batched layout, in whatever layout the value is held."""
        key, layout, what, *rest = step.args
        ref = self.env[key.name]
        options = fill(dict(step.kwargs), self.env)
        rest = [fill(r, self.env) for r in rest]
        if layout in ("plain", "batched") or what in _ASKS_NO_SIZE:
            return self._ask(node, ref, rest, options)
        seen = self.seen[key.name]
        dim = rest[0] if rest else options.get("dim")
        if what == "len":
            return self.entry(_ShapeOf(ref, layout, len(seen.shape)), 0)
        if what == "size" and isinstance(dim, int):
            return self.entry(_ShapeOf(ref, layout, len(seen.shape)), dim)
        if what in ("shape", "size") and dim is None and self._only_entries(node):
            return _ShapeOf(ref, layout, len(seen.shape))
        rep = representation(self.by_name[key.name.rpartition("@")[0]].rep or "reversal")
        if layout == "closed":
            both = self.nodes.batched_from_closed(ref, rep, seen.shape, seen.dtype)
        else:
            both = self.nodes.batched_from_stacked(ref, seen.shape)
        return self._ask(node, both, rest, options)

    def _ask(self, node: Node, ref: Any, rest: list[Any], options: dict[str, Any]) -> Ref:
        return self.nodes.named(node.name, node.op, node.target, (ref, *rest), options)

    def _only_entries(self, node: Node) -> bool:
        users = [n for n in self.graph.nodes if node.name in n.refs()]
        return all(n.target == "operator.getitem" and isinstance(n.args[1], int) for n in users)

    def entry(self, shape: _ShapeOf, axis: int) -> Ref:
        """One size, as it is in the batch: twice the rows, half the channels of a stacked value."""
        axis %= shape.rank
        found = self.nodes.call("Tensor.size", shape.ref, axis)
        if axis == 0:
            return self.nodes.call("operator.mul", found, 2)
        if axis == 1 and shape.layout == "stacked":
            return self.nodes.call("operator.floordiv", found, 2)
        return found


def _record(network: Network, steps: Sequence[Step], inputs: Sequence[Tensor]) -> dict[str, _Seen]:
    """What an example looks like at every step."""
    env: dict[str, Any] = {f"input:{i}": x for i, x in enumerate(inputs)}
    with torch.no_grad():
        for step in steps:
            env[step.key] = step.run(network, env)
            for key in step.last_uses:
                env[key] = _seen(env[key])
    return {key: found for key, value in env.items() if isinstance(found := _seen(value), _Seen)}


def _seen(value: Any) -> Any:
    return _Seen(tuple(value.shape), value.dtype) if isinstance(value, Tensor) else value
