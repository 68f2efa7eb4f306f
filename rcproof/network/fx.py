"""A graph network back as an fx graph, so that the converter reads what :func:`rcproof.load` returns."""

from __future__ import annotations

from typing import Any

from torch import fx

from rcproof.errors import TraceError
from rcproof.network.graph import map_refs
from rcproof.network.network import Network
from rcproof.network.ops import OPS
from rcproof.structure import unflatten


def to_fx(network: Network) -> fx.Graph:
    """The fx graph of a single-strand graph network; its layers keep their paths."""
    graph = fx.Graph()
    made: dict[str, fx.Node] = {}
    source = network.rcproof_graph()
    for n in source.nodes:
        if n.kind != "merged":
            raise TraceError("the network carries strand pairs already", fix="it is RCPS; there is nothing to convert")
        args = map_refs(n.args, lambda r: made[r.name])
        kwargs = map_refs(n.kwargs, lambda r: made[r.name])
        name = n.name.replace(":", "_").replace(".", "_")
        if n.op == "input":
            made[n.name] = graph.placeholder(name)
        elif n.op == "tensor":
            made[n.name] = graph.create_node("get_attr", n.target, name=name)
        elif n.op == "module":
            made[n.name] = graph.create_node("call_module", n.target, args, kwargs, name=name)
        elif n.op == "attribute":
            made[n.name] = graph.create_node("call_function", getattr, (*args, n.target), name=name)
        elif n.target.startswith("Tensor."):
            made[n.name] = graph.create_node("call_method", n.target[7:], args, kwargs, name=name)
        else:
            made[n.name] = graph.create_node("call_function", OPS[n.target].function, args, kwargs, name=name)
    leaves: list[Any] = [made[name] for name in source.outputs]
    graph.output(unflatten(leaves, source.structure))
    return graph
