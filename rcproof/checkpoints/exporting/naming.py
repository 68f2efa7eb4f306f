"""Names from files as names in code: identifiers, and nothing that could be more."""

from __future__ import annotations

import builtins
import keyword
import re

from torch import fx, nn

from rcproof.network.graph import Graph, Node, Ref, map_refs
from rcproof.network.network import Network, attach, find_module, find_tensor

#: What generated source uses for itself, and no value may be called.
_RESERVED = {"self", "torch", "nn", "F", "Tensor", "math", "Path", "load", "network", *dir(builtins)}

# Attributes that a module has, or the one into which torch loads a program: a layer called "meta" is lost there.
_ATTRIBUTES = {name for name in dir(fx.GraphModule(nn.Module(), fx.Graph())) if not name.startswith("__")}
_LONGEST = 80


def identifier(wanted: str, taken: set[str]) -> str:
    """A Python identifier of ASCII letters, digits and _ like ``wanted``, that is reserved by nobody and not taken.

    >>> identifier("in-put; import os", {"torch"})
    'in_put_import_os'
    >>> identifier("class", set()), identifier("0", set())
    ('class_', 'v0')
    """
    base = re.sub(r"[^0-9A-Za-z_]+", "_", wanted)[:_LONGEST] or "value"
    if base.startswith("__") or not base.strip("_"):
        base = base.strip("_") or "value"
    if base[0].isdigit():
        base = f"v{base}"
    if keyword.iskeyword(base) or keyword.issoftkeyword(base) or base in _RESERVED:
        base += "_"
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base}_{number}"
    return name


class _Paths:
    """New names for the parts of dotted paths, one for each old one."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {"": ""}
        self.used: dict[str, set[str]] = {}

    def path(self, old: str, tensor: bool = False) -> str:
        """The new path. The last part of a tensor's is an identifier, since no list holds it."""
        if old not in self.known:
            parent, _, last = old.rpartition(".")
            above = self.path(parent)
            taken = self.used.setdefault(above, set())
            part = last if _is_index(last) and not tensor else _attribute(last, taken)
            taken.add(part)
            self.known[old] = f"{above}.{part}" if above else part
        return self.known[old]


def _is_index(part: str) -> bool:
    return part.isascii() and part.isdigit() and part == str(int(part[:9]))


def _attribute(wanted: str, taken: set[str]) -> str:
    """An identifier that no attribute of a module has already."""
    taken = taken | _ATTRIBUTES
    return identifier(f"{wanted}_" if wanted in taken else wanted, taken)


def with_identifiers(network: Network) -> tuple[Network, dict[str, str]]:
    """The network with every node an identifier and every path made of identifiers and numbers; what was renamed.

    Layers and tensors are those of ``network``, and keep their names where those can stand in code.
    """
    graph, paths, names = network.rcproof_graph(), _Paths(), _node_names(network.rcproof_graph())
    layers: dict[str, nn.Module] = {}
    tensors = {}
    nodes = []
    for n in graph.nodes:
        target = n.target
        if n.op == "module":
            target = paths.path(n.target)
            layers[target] = find_module(network, n.target)
        elif n.op == "tensor":
            target = paths.path(n.target, tensor=True)
            tensors[target] = find_tensor(network, n.target)
        args = map_refs(n.args, lambda r: Ref(names[r.name]))
        kwargs = map_refs(n.kwargs, lambda r: Ref(names[r.name]))
        nodes.append(Node(names[n.name], n.op, target, args, kwargs))
    renamed = Network(Graph(nodes, [names[o] for o in graph.outputs], graph.structure), layers)
    for path, tensor in tensors.items():
        attach(renamed, path, tensor)
    used = {n.target for n in graph.nodes if n.op in ("module", "tensor")}
    return renamed.eval(), {old: new for old, new in paths.known.items() if old in used and old != new}


def _node_names(graph: Graph) -> dict[str, str]:
    names: dict[str, str] = {}
    taken: set[str] = set()
    for n in graph.nodes:
        names[n.name] = identifier(n.name.rpartition(":")[2] if n.op == "input" else n.name, taken)
        taken.add(names[n.name])
    return names
