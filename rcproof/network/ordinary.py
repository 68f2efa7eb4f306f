"""The registry of ordinary twins: where a tied layer is called, and which rule writes it as layers of ``torch.nn``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rcproof.errors import RcproofError
from rcproof.network.graph import Ref
from rcproof.network.strand_nodes import StrandNodes
from rcproof.nn.base import TiedLayer
from rcproof.nn.merge import Merge, StrandSum

Layer = Any


@dataclass
class Site:
    """One call of a tied layer: the graph to write it to, its path, its input and shape, the rank of what it gives.

    ``like`` is a value with one row an example, where that is not the network's first input.
    """

    nodes: StrandNodes
    path: str
    x: Ref
    shape: tuple[int, ...]
    dtype: torch.dtype
    gives: int
    like: Ref | None = None

    @property
    def rank(self) -> int:
        """Axes of the input, with the batch."""
        return len(self.shape)

    def layer(self, form: str, owner: nn.Module, make: Callable[[], nn.Module], x: Ref | None = None) -> Ref:
        """Call the ordinary layer that stands for ``owner`` in this form, making it the first time."""
        nodes, key = self.nodes, (id(owner), form)
        if key not in nodes.placed:
            path = self.path if self.path not in nodes.layers and form in ("", "stacked") else ""
            nodes.placed[key] = path or nodes.free_path(_formed(self.path, form or "plain"))
            nodes.layers[nodes.placed[key]] = make()
        path = nodes.placed[key]
        return nodes.named(path, "module", path, (self.x if x is None else x,))

    def weight(self, form: str, owner: nn.Module, make: Callable[[], Tensor]) -> Ref:
        """A weight that no ordinary layer holds."""
        nodes, key = self.nodes, (id(owner), form)
        if key not in nodes.placed:
            path = f"{self.path}.{form}"
            nodes.placed[key] = nodes.free_path(path.replace(".", "_")) if self.path in nodes.layers else path
            nodes.tensors[nodes.placed[key]] = nn.Parameter(make().detach().clone())
        return nodes.tensor(nodes.placed[key], nodes.tensors[nodes.placed[key]])


def _formed(path: str, form: str) -> str:
    """``conv_own``, and ``blocks.layer0_own`` where the layer has a number for a name."""
    parent, dot, last = path.rpartition(".")
    return f"{parent}{dot}{'layer' if last[:1].isdigit() else ''}{last}_{form}"


Rule = Callable[[Layer, Site], Ref]
BATCHED: dict[type[TiedLayer], Rule] = {}
STACKED: dict[type[TiedLayer], tuple[Callable[[Layer, int], bool], Rule]] = {}


def batched(*classes: type[TiedLayer]) -> Callable[[Rule], Rule]:
    """Register how layers run on (2N, F, …)."""

    def register(rule: Rule) -> Rule:
        BATCHED.update(dict.fromkeys(classes, rule))
        return rule

    return register


def stacked(*classes: type[TiedLayer], when: Callable[[Layer, int], bool] = lambda m, rank: True) -> Any:
    """Register how layers run on (N, 2F, …), or on their closed input, ``when`` that holds of layer and rank."""

    def register(rule: Rule) -> Rule:
        STACKED.update(dict.fromkeys(classes, (when, rule)))
        return rule

    return register


def has_stacked_form(layer: TiedLayer, rank: int) -> bool:
    """Whether ordinary layers compute the stacked form directly, whatever the length of the input."""
    return type(layer) in STACKED and STACKED[type(layer)][0](layer, rank)


def on_batched(layer: TiedLayer, site: Site) -> Ref:
    """``layer.batched(x)`` as ordinary nodes; an error that names the layer if it has no ordinary twin."""
    if type(layer) not in BATCHED:
        raise RcproofError(
            f"layer {site.path!r} has no twin among the layers of torch.nn",
            got=type(layer).__name__,
            expected=", ".join(sorted(cls.__name__ for cls in BATCHED)),
        )
    return BATCHED[type(layer)](layer, site)


def on_stacked(layer: TiedLayer, site: Site) -> Ref:
    """``layer(x)``, which takes and gives stacked values, as ordinary nodes."""
    if has_stacked_form(layer, site.rank):
        return STACKED[type(layer)][1](layer, site)
    nodes, rows, shape = site.nodes, 2 * site.shape[0], site.shape
    if layer.source is None:
        site.shape = (rows, shape[1] // 2, *shape[2:])
        like, site.x = site.x, nodes.batched_from_stacked(site.x, shape)
    else:
        like, site.x = site.x, nodes.batched_from_closed(site.x, layer.source, site.shape, site.dtype)
        site.shape = (rows, *site.shape[1:])
    y = on_batched(layer, site)
    if isinstance(layer, Merge | StrandSum):  # out of the two-strand world
        return y
    return nodes.stacked_from_batched(y, site.gives, like)


def made(cls: type[nn.Module], tensors: dict[str, Tensor | None], **arguments: Any) -> nn.Module:
    """A layer of ``torch.nn`` with these tensors."""
    with torch.device("meta"):
        layer = cls(**arguments)
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        fresh = tensor.detach().clone()
        if name in layer._parameters:
            layer._parameters[name] = nn.Parameter(fresh)
        else:
            layer._buffers[name] = fresh
    return layer.eval()
