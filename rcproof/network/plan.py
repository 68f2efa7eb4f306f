"""From a graph and a layout to steps: which node runs in which layout, and where layouts switch.

A value is held under the keys ``name@closed``, ``name@stacked``, ``name@batched`` (the strand layouts)
or ``name@plain`` (merged, or free of the input). Switches are steps of their own, made once per value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rcproof.errors import RcproofError
from rcproof.network.graph import Graph, Node, Ref, map_refs
from rcproof.network.ops import OPS
from rcproof.nn.base import TiedLayer, closed_to_stacked, halves, to_batched, to_stacked
from rcproof.nn.merge import Merge
from rcproof.strand import representation

if TYPE_CHECKING:
    from rcproof.network.network import Network


@dataclass(frozen=True)
class Key:
    """A value in one layout, as the argument of a step."""

    name: str


@dataclass
class Step:
    """One action: reads keys, writes ``key``; ``last_uses`` are freed after it."""

    key: str
    action: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    target: Any = None
    last_uses: tuple[str, ...] = ()

    def run(self, network: Network, env: dict[str, Any]) -> Any:
        """Do it."""
        args = fill(self.args, env)
        kwargs = fill(self.kwargs, env) if self.kwargs else {}
        if self.action == "tensor":
            from rcproof.network.network import find_tensor

            return find_tensor(network, self.target)
        return self.target(*args, **kwargs)


def fill(value: Any, env: dict[str, Any]) -> Any:
    """``value`` with every :class:`Key` replaced by what the environment holds."""
    if isinstance(value, Key):
        return env[value.name]
    if isinstance(value, tuple):
        return tuple(fill(v, env) for v in value)
    if isinstance(value, list):
        return [fill(v, env) for v in value]
    if isinstance(value, dict):
        return {k: fill(v, env) for k, v in value.items()}
    if isinstance(value, slice):
        return slice(fill(value.start, env), fill(value.stop, env), fill(value.step, env))
    return value


class Compiler:
    """Chooses a layout for every node of a graph and makes the steps."""

    def __init__(self, graph: Graph, network: nn.Module, layout: str) -> None:
        from rcproof.network.network import find_module

        self.graph, self.layout = graph, layout
        self.kinds = {n.name: n for n in graph.nodes}
        self.modules = {n.target: find_module(network, n.target) for n in graph.nodes if n.op == "module"}
        self.any_coupled = any(isinstance(m, TiedLayer) and m.coupled for m in self.modules.values())
        self.held: dict[str, set[str]] = {}
        self.steps: list[Step] = []

    # -- values -----------------------------------------------------------------------------------
    def emit(self, node: Node, layout: str, action: str, target: Any, args: Any = (), kwargs: Any = None) -> None:
        self.steps.append(Step(f"{node.name}@{layout}", action, args, kwargs or {}, target))
        self.held.setdefault(node.name, set()).add(layout)

    def need(self, name: str, layout: str) -> Key:
        """The key of ``name`` in ``layout``, after a switch if it is not held so yet."""
        node, held = self.kinds[name], self.held[name]
        if "plain" in held:
            return Key(f"{name}@plain")
        if layout not in held:
            if "closed" in held:
                rep = representation(node.rep or "reversal")
                switch, source = (to_batched, "closed") if layout == "batched" else (closed_to_stacked, "closed")
                self.emit(node, layout, "switch", switch, (Key(f"{name}@{source}"), rep))
            elif layout == "batched":
                self.emit(node, layout, "switch", to_batched, (Key(f"{name}@stacked"),))
            else:
                self.emit(node, layout, "switch", to_stacked, (Key(f"{name}@batched"),))
        return Key(f"{name}@{layout}")

    def any_layout(self, name: str) -> str:
        held = self.held[name]
        return next(lay for lay in ("plain", "batched", "stacked", "closed") if lay in held)

    def arguments(self, node: Node, layout: str) -> tuple[Any, Any]:
        tensors = self.tensors(node)

        def visit(ref: Ref) -> Key:
            if ref.name in tensors:
                return self.need(ref.name, layout)
            return Key(f"{ref.name}@{self.any_layout(ref.name)}")

        return map_refs(node.args, visit), map_refs(node.kwargs, visit)

    # -- nodes ------------------------------------------------------------------------------------
    def strands(self, node: Node) -> list[str]:
        """Names of the arguments that carry strands."""
        return [r for r in self.tensors(node) if "plain" not in self.held[r]]

    def tensors(self, node: Node) -> list[str]:
        """Names of the arguments; of a cast the first alone, since the others give a dtype and a device."""
        casts = node.op == "call" and OPS[node.target].family == "cast"
        return node.refs()[: 1 if casts else None]

    def compile(self) -> list[Step]:
        position = 0
        for node in self.graph.nodes:
            if node.op == "input":
                layout = "plain" if node.rep is None or node.kind == "merged" else "closed"
                self.emit(node, layout, "input", _same, (Key(f"input:{position}"),))
                position += 1
            elif node.op == "tensor":
                self.emit(node, "plain", "tensor", node.target)
            elif node.op == "attribute" or (node.op == "call" and OPS[node.target].family == "size"):
                self.size(node)
            elif node.op == "merge":
                self.merge(node)
            elif not self.strands(node) and node.kind in ("merged", "free"):
                args, kwargs = self.arguments(node, "plain")
                module = self.modules.get(node.target) if node.op == "module" else None
                target = self.target(node)
                if isinstance(module, TiedLayer) and node.kind == "free":
                    target = partial(on_free, module)
                self.emit(node, "plain", node.op, target, args, kwargs)
            else:
                self.strand_step(node)
        for name in self.graph.outputs:
            if "plain" not in self.held[name]:
                raise RcproofError(f"output {name!r} of the network", got="both strands", expected="a merged value")
        free_early(self.steps, {f"{name}@plain" for name in self.graph.outputs})
        return self.steps

    def target(self, node: Node) -> Any:
        return self.modules[node.target] if node.op == "module" else OPS[node.target].function

    def size(self, node: Node) -> None:
        """Sizes are always those of the batched layout, since that is where shapes are used."""
        ref = node.refs()[0]
        layout = self.any_layout(ref)
        rest = node.args[1:] if node.op == "call" else ()
        what = node.target if node.op == "attribute" else node.target.rpartition(".")[2]
        self.emit(node, "plain", "size", batched_size, (Key(f"{ref}@{layout}"), layout, what, *rest), dict(node.kwargs))

    def merge(self, node: Node) -> None:
        name = node.refs()[0]
        rep = representation(node.rep or "fixed")
        held = self.held[name]
        layout = "stacked" if "stacked" in held and "batched" not in held else "batched"
        layer = Merge(node.target, rep)
        target = layer.forward if layout == "stacked" else layer.batched
        self.emit(node, "plain", "merge", target, (self.need(name, layout),))

    def strand_step(self, node: Node) -> None:
        layout = self.choose(node)
        if layout == "closed":
            args, kwargs = self.arguments(node, "closed")
            self.emit(node, "closed", node.op, self.target(node), args, kwargs)
            return
        module = self.modules.get(node.target) if node.op == "module" else None
        tied = isinstance(module, TiedLayer)
        if layout == "stacked" and tied and module.source is not None:  # type: ignore[union-attr]
            args, kwargs = self.arguments(node, "closed")
            self.emit(node, "stacked", node.op, module, args, kwargs)
            return
        args, kwargs = self.arguments(node, layout)
        target = self.target(node)
        if tied and layout == "batched":
            target = module.batched  # type: ignore[union-attr]
        elif layout == "stacked" and node.stacked in STACKED:
            target = STACKED[node.stacked]
        self.emit(node, layout, node.op, target, args, kwargs)

    def choose(self, node: Node) -> str:
        if node.kind == "closed":
            return "closed"
        if self.layout == "batched" or not node.stacked:
            return "batched"
        module = self.modules.get(node.target) if node.op == "module" else None
        if isinstance(module, TiedLayer) and (module.couplable or module.source is not None):
            if self.layout == "stacked" or module.coupled:
                return "stacked"
            return "stacked" if module.source is not None and self.any_coupled else "batched"
        # Everything else follows its input: two lifted operations in a row never switch in between.
        held = [self.held[r] for r in self.strands(node)]
        if all(h == {"closed"} for h in held):
            return "stacked" if self.layout == "stacked" else "batched"
        return "stacked" if any("stacked" in h and "batched" not in h for h in held) else "batched"


def compile_plan(graph: Graph, network: nn.Module, layout: str) -> list[Step]:
    """The steps that run ``graph`` in ``layout``."""
    return Compiler(graph, network, layout).compile()


def free_early(steps: list[Step], keep: set[str]) -> None:
    """Mark on each step the values nobody reads after it, so that memory is what a plain network needs."""
    for step, last in zip(steps, last_uses(steps, keep), strict=True):
        step.last_uses = tuple(last)


def last_uses(steps: Sequence[Step], keep: set[str]) -> list[list[str]]:
    """For each step the keys that nobody reads after it, in this order of the steps."""
    seen, found = set(keep), []
    for step in reversed(steps):
        used: list[str] = []
        collect(step.args, used)
        collect(step.kwargs, used)
        last = [k for k in dict.fromkeys(used) if k not in seen and not k.startswith("input:")]
        seen.update(used)
        if step.key not in seen:
            last.append(step.key)
        found.append(last)
    return found[::-1]


def collect(value: Any, found: list[str]) -> None:
    """Append the names of all keys in ``value``."""
    if isinstance(value, Key):
        found.append(value.name)
    elif isinstance(value, tuple | list):
        for v in value:
            collect(v, found)
    elif isinstance(value, dict):
        collect(list(value.values()), found)
    elif isinstance(value, slice):
        collect((value.start, value.stop, value.step), found)


def on_free(layer: TiedLayer, x: Tensor) -> Tensor:
    """A tied layer on what is the same for both strands, as a learned query is."""
    return halves(layer.batched(torch.cat([x, x])))[0]


def _same(x: Tensor) -> Tensor:
    return x


def batched_size(x: Any, layout: str, what: str, *rest: Any, **options: Any) -> Any:
    """A size of ``x`` as it is in the batched layout."""
    if what in ("ndim", "dim", "ndimension"):
        return x.dim()
    if what in ("device", "dtype"):
        return getattr(x, what)
    if isinstance(x, tuple | list):
        return len(x)
    shape = list(x.shape)
    if layout in ("stacked", "closed"):
        shape[0] *= 2
    if layout == "stacked":
        shape[1] //= 2
    if what == "len":
        return shape[0]
    if what == "numel":
        total = 1
        for size in shape:
            total *= size
        return total
    dim = rest[0] if rest else options.get("dim")
    return torch.Size(shape) if dim is None else shape[dim]


# -- stacked forms that are not the plain call --------------------------------------------------------


def stacked_cat(tensors: Any, dim: int = 1, **_: Any) -> Tensor:
    """Concatenate channels of strand pairs: own strands in order, then other strands in reverse order.

    (A plain ``cat`` of stacked tensors is not equivariant; T13.)
    """
    parts = [halves(t, 1) for t in tensors]
    return torch.cat([p[0] for p in parts] + [p[1] for p in reversed(parts)], dim=1)


def stacked_flatten(x: Tensor, *_: Any, **__: Any) -> Tensor:
    """(N, 2F, L) → (N, 2FL): total reversal stays total reversal."""
    return x.flatten(1)


def stacked_crop(x: Tensor, index: Any) -> Tensor:
    """``x[:, :, start:stop]`` on each strand in its own direction."""
    length = x.shape[2]
    start, stop = crop_bounds(index[2], length)
    if start + stop == length:
        return x[:, :, start:stop]
    own, other = halves(x, 1)
    return torch.cat([own[:, :, start:stop], other[:, :, length - stop : length - start]], dim=1)


def crop_bounds(window: slice, length: int) -> tuple[int, int]:
    """Non-negative start and stop of a slice of step 1 (``slice.indices`` takes no symbolic sizes)."""
    start = 0 if window.start is None else window.start
    stop = length if window.stop is None else window.stop
    start = max(start + length, 0) if start < 0 else min(start, length)
    stop = max(stop + length, 0) if stop < 0 else min(stop, length)
    return start, max(start, stop)


STACKED = {"cat": stacked_cat, "flatten": stacked_flatten, "crop": stacked_crop}
