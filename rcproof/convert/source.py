"""The conjoined network as data, for the certificate: its graph, its layers, its merge, and its tensors' hashes.

It is made from the source alone, apart from the rewriting, so that a checker can compare the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from rcproof.conjoined import Conjoined
from rcproof.convert.build import Builder, is_leaf
from rcproof.convert.certificate import tensors_sha256
from rcproof.convert.copies import Copied
from rcproof.convert.rules import match
from rcproof.errors import RcproofError
from rcproof.network.graph import Graph, Node, Ref, encode
from rcproof.network.modules import LAYERS, constructor_arguments, layer_to_json
from rcproof.network.network import find_module
from rcproof.strand import representation
from rcproof.structure import flatten


class _Originals(Copied):
    """Nothing is copied: the description needs no weights."""

    def tensor(self, source: Tensor) -> Tensor:
        return source

    def module(self, source: nn.Module) -> nn.Module:
        return source


def describe_source(conjoined: Conjoined, count: int, leaves: Sequence[str] = ()) -> dict[str, Any]:
    """The description, as plain JSON values.

    ``count``: how many tensors the network takes. A layer without a form in a file is described by its class alone.
    Names of tensors: ``net.…`` of the branch, ``final.…`` of what follows the merge, ``constant …`` of the code. Those
    that neither the function nor the state dict of the branch needs are left out.
    """
    net, outside = branch(conjoined, leaves)
    found, builder = _network(net, count, leaves, "")
    returned = len(found["graph"]["outputs"])
    outputs = [str(r) for r in conjoined.outputs or (representation("fixed"),)]
    finals = conjoined.finals(returned)
    kept = {*net.state_dict(), *builder.tensors}
    named = named_tensors(net).items()
    held = {f"{outside}{n}": t for n, t in named if n in kept or _within(n, found["layers"])}
    for path, tensor in builder.tensors.items():
        held.setdefault(f"constant {path}" if f"{outside}{path}" not in held else f"{outside}{path}", tensor)
    prefixes = final_prefixes(conjoined, [*found["layers"], *builder.tensors, *net.state_dict()], returned)
    described = [_final(final, prefix) for final, prefix in zip(finals, prefixes, strict=True)]
    if conjoined.final is not None:
        own = prefixes[0].partition(".")[0]
        used = [p for d in described if d is not None for p in (*d["layers"], *d.get("free", {}))]
        named = named_tensors(conjoined.final).items()
        held |= {f"final.{n}": t for n, t in named if _within(f"{own}.{n}", used)}
    hashes = tensors_sha256(held)
    return {
        "inputs": [str(r) for r in conjoined.input_representations(count)],
        "outputs": outputs * returned if len(outputs) == 1 else outputs,
        "merge": list(conjoined.merges(returned)),
        **found,
        "final": described,
        "tensors": {
            name: {
                "sha256": hashes[name],
                "shape": list(t.shape),
                "dtype": str(t.dtype).removeprefix("torch."),
            }
            for name, t in held.items()
        },
    }


def branch(conjoined: Conjoined, leaves: Sequence[str] = ()) -> tuple[nn.Module, str]:
    """The network to trace, and what stands before the names of its tensors; a single layer has no graph of its own."""
    net = conjoined.net
    if not is_leaf(net, leaves):
        return net, "net."
    holder = nn.Sequential()
    holder.add_module("net", net)
    holder.training = False
    return holder, ""


def final_prefixes(conjoined: Conjoined, paths: Sequence[str], count: int) -> list[str]:
    """Where the result holds what follows the merge of each output: beside whatever the branch has."""
    own = "final"
    while any(path.split(".")[0] == own for path in paths):
        own += "_"
    finals = conjoined.finals(count)
    several = isinstance(conjoined.final, nn.ModuleList)
    return [f"{own}.{i if len(set(finals)) > 1 else 0}" if several else own for i in range(count)]


def _within(name: str, paths: Iterable[str]) -> bool:
    """Whether a tensor is one of ``paths``, or stands in a layer that is."""
    known, parts = set(paths), name.split(".")
    return any(".".join(parts[:i]) in known for i in range(1, len(parts) + 1))


def named_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers under each of their names."""
    return dict([*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)])


def _final(final: nn.Module | None, prefix: str) -> dict[str, Any] | None:
    if final is None or isinstance(final, nn.Identity):
        return None
    if not is_leaf(final):
        return _network(final, 1, (), prefix)[0]
    nodes = [Node("x", "input"), Node("y", "module", prefix, (Ref("x"),))]
    return {"graph": Graph(nodes, ["y"]).to_json(), "layers": {prefix: _layer(prefix, final)}}


def _network(net: nn.Module, count: int, leaves: Sequence[str], prefix: str) -> tuple[dict[str, Any], Builder]:
    builder = Builder(net, count, leaves=leaves, prefix=prefix, copied=_Originals())
    returned, structure = flatten(builder.plain(), lambda v: isinstance(v, Ref))
    graph = Graph(builder.nodes, [ref.name for ref in returned], structure)
    paths = dict.fromkeys(n.target for n in graph.nodes if n.op == "module")
    inner = len(prefix) + 1 if prefix else 0
    described = {
        "graph": graph.to_json(),
        "layers": {path: _layer(path, find_module(net, path[inner:])) for path in paths},
        "free": {path: list(tensor.shape) for path, tensor in builder.tensors.items()},
    }
    return described, builder


def _layer(path: str, module: nn.Module) -> dict[str, Any]:
    try:
        return layer_to_json(path, module)
    except RcproofError:  # a class of the user's own
        if match(module) is not None:  # with a constructor of its own, and otherwise the layer that it derives from
            base = next(cls for cls in type(module).__mro__ if f"torch.nn.{cls.__name__}" in LAYERS)
            args = {k: encode(v) for k, v in constructor_arguments(module).items()}
            return {"type": f"torch.nn.{base.__name__}", "args": args}
        return {"type": f"{type(module).__module__}.{type(module).__qualname__}", "args": {}}
