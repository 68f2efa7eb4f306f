"""The conjoined network as data, for the certificate: its graph, its layers, its merge, and its tensors' hashes.

It is made from the source alone, apart from the rewriting, so that a checker can compare the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from rcproof.conjoined import Conjoined
from rcproof.convert.build import Builder, is_leaf
from rcproof.convert.copies import Copied
from rcproof.errors import RcproofError
from rcproof.network.graph import Graph, Node, Ref
from rcproof.network.modules import layer_to_json
from rcproof.network.network import find_module
from rcproof.structure import flatten


class _Originals(Copied):
    """Nothing is copied: the description needs no weights."""

    def tensor(self, source: Tensor) -> Tensor:
        return source

    def module(self, source: nn.Module) -> nn.Module:
        return source


def describe_source(
    conjoined: Conjoined,
    net: nn.Module,
    reps: Sequence[str],
    outputs: Sequence[str],
    leaves: Sequence[str],
    prefixes: Sequence[str],
    tensors: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """The description, as plain JSON values.

    ``net``: the branch as it was traced; ``prefixes``: where the result holds what follows the merge of each output;
    ``tensors``: name → sha256, shape and dtype. A layer without a form in a file is described by its class alone.
    """
    finals = conjoined.finals(len(outputs))
    return {
        "inputs": list(reps),
        "outputs": list(outputs),
        "merge": list(conjoined.merges(len(outputs))),
        **_network(net, len(reps), leaves, ""),
        "final": [_final(final, prefix) for final, prefix in zip(finals, prefixes, strict=True)],
        "tensors": {name: dict(facts) for name, facts in tensors.items()},
    }


def _final(final: nn.Module | None, prefix: str) -> dict[str, Any] | None:
    if final is None or isinstance(final, nn.Identity):
        return None
    if not is_leaf(final):
        return _network(final, 1, (), prefix)
    nodes = [Node("x", "input"), Node("y", "module", prefix, (Ref("x"),))]
    return {"graph": Graph(nodes, ["y"]).to_json(), "layers": {prefix: _layer(prefix, final)}}


def _network(net: nn.Module, count: int, leaves: Sequence[str], prefix: str) -> dict[str, Any]:
    builder = Builder(net, count, leaves=leaves, prefix=prefix, copied=_Originals())
    returned, structure = flatten(builder.plain(), lambda v: isinstance(v, Ref))
    graph = Graph(builder.nodes, [ref.name for ref in returned], structure)
    paths = dict.fromkeys(n.target for n in graph.nodes if n.op == "module")
    inner = len(prefix) + 1 if prefix else 0
    return {
        "graph": graph.to_json(),
        "layers": {path: _layer(path, find_module(net, path[inner:])) for path in paths},
        "free": {path: list(tensor.shape) for path, tensor in builder.tensors.items()},
    }


def _layer(path: str, module: nn.Module) -> dict[str, Any]:
    try:
        return layer_to_json(path, module)
    except RcproofError:  # a class of the user's own
        return {"type": f"{type(module).__module__}.{type(module).__qualname__}", "args": {}}
