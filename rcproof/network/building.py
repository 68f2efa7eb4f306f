"""Making a single-strand graph network node by node: what readers of other formats use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from rcproof.errors import RcproofError
from rcproof.network.graph import Graph, Node, Ref
from rcproof.network.network import Network, attach
from rcproof.network.ops import OPS


class GraphBuilder:
    """Nodes in the order in which they are made, and the layers and tensors they use.

    A path names one layer: calling :meth:`module` again with the same path uses that layer again, with shared
    weights. Every value is ``merged``, as in any network of one strand; see :class:`~rcproof.network.graph.Node`.

    >>> b = GraphBuilder()
    >>> x = b.input("dna")
    >>> y = b.module("conv", nn.Conv1d(4, 8, 3), x)
    >>> net = b.network([b.call("torch.relu", y)])
    >>> net.get_submodule("conv")
    Conv1d(4, 8, kernel_size=(3,), stride=(1,))
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.layers: dict[str, nn.Module] = {}
        self.tensors: dict[str, Tensor] = {}
        self._names: set[str] = set()
        self._counts: dict[str, int] = {}

    def input(self, name: str) -> Ref:
        """The next tensor that the network takes."""
        return self._add(Node(self._fresh(name), "input"))

    def call(self, function: str, *args: Any, **kwargs: Any) -> Ref:
        """Call a function by its name in :data:`rcproof.network.ops.OPS`."""
        if function not in OPS:
            raise RcproofError("no such function of a graph", got=repr(function))
        return self._add(Node(self._fresh(function.rpartition(".")[2]), "call", function, args, kwargs))

    def module(self, path: str, layer: nn.Module | None, *args: Any) -> Ref:
        """Call the layer at ``path``, putting ``layer`` there if the path is new."""
        if path not in self.layers:
            if layer is None:
                raise RcproofError("no such layer", got=repr(path))
            self.layers[path] = layer
        return self._add(Node(self._fresh(path), "module", path, args))

    def tensor(self, path: str, tensor: Tensor) -> Ref:
        """A parameter (an ``nn.Parameter``) or a constant, held by the network under ``path``."""
        self.tensors.setdefault(path, tensor)
        return self._add(Node(self._fresh(path), "tensor", path))

    def network(self, outputs: Sequence[Ref], structure: Any = None) -> Network:
        """The network that returns ``outputs``: one tensor, or a tuple, or as ``structure`` says."""
        if structure is None:
            structure = "*" if len(outputs) == 1 else ["tuple", *("*" for _ in outputs)]
        network = Network(Graph(self.nodes, [ref.name for ref in outputs], structure), self.layers)
        for path, tensor in self.tensors.items():
            attach(network, path, tensor)
        return network.eval()

    def _add(self, node: Node) -> Ref:
        self.nodes.append(node)
        return Ref(node.name)

    def _fresh(self, wanted: str) -> str:
        base = "".join(c if c.isalnum() or c in "_." else "_" for c in wanted) or "value"
        name, count = base, self._counts.get(base, 1)
        while name in self._names:
            count += 1
            name = f"{base}_{count}"
        self._names.add(name)
        self._counts[base] = count  # a file can have very many steps of one name
        return name
