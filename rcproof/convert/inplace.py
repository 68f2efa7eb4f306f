"""Writing in place: which values share memory, so that a step that writes can be told from one that only computes."""

from __future__ import annotations

import inspect

from torch import fx, nn

from rcproof.convert.trace import writes
from rcproof.network.graph import ATTRIBUTES, Node
from rcproof.network.network import find_module
from rcproof.network.ops import OPS, name_of

# What may return (a view of) its argument, so that writing into one writes into the other.
_VIEWS = frozenset({
    "alpha_dropout", "bfloat16", "bool", "chunk", "contiguous", "detach", "double", "dropout", "expand", "expand_as",
    "flatten", "float", "getitem", "half", "int", "long", "moveaxis", "movedim", "narrow", "permute",
    "requires_grad_", "reshape", "reshape_as", "select", "split", "squeeze", "swapaxes", "swapdims", "t",
    "tensor_split", "to", "transpose", "type_as", "unbind", "unflatten", "unsqueeze", "view", "view_as",
})  # fmt: skip
_VIEW_LAYERS = (nn.Identity, nn.Flatten, nn.Unflatten, nn.modules.dropout._DropoutNd)


class Aliases:
    """What is a view of what, in the graph of ``root``."""

    def __init__(self, root: nn.Module, graph: fx.Graph) -> None:
        self.root, self.graph = root, graph
        self.order = {n: i for i, n in enumerate(graph.nodes)}

    def written(self, n: fx.Node) -> bool:
        """Whether ``n`` writes into a tensor."""
        return writes(self.root, n) and bool(n.all_input_nodes) and not self.scalar(n)

    def read_later(self, n: fx.Node) -> set[fx.Node]:
        """Views, made before ``n``, of what ``n`` writes into, that somebody reads after it."""
        owner = self.owner(n.all_input_nodes[0])
        aliases = {owner}
        for m in self.graph.nodes:
            if self.order[m] < self.order[n] and self.aliasing(m) and m.all_input_nodes[0] in aliases:
                aliases.add(m)
        return {m for m in aliases if any(self.order[user] > self.order[n] for user in m.users)}

    def owner(self, n: fx.Node) -> fx.Node:
        """The value that ``n`` is, or is a view of."""
        while self.aliasing(n):
            n = n.all_input_nodes[0]
        return n

    def aliasing(self, n: fx.Node) -> bool:
        """Whether ``n`` returns (a view of) its first argument."""
        if n.op == "call_module":
            return isinstance(find_module(self.root, str(n.target)), _VIEW_LAYERS) or writes(self.root, n)
        if n.op not in ("call_function", "call_method") or not n.all_input_nodes:
            return False
        name = str(n.target) if n.op == "call_method" else name_of(n.target) or ""
        return name.rpartition(".")[2] in _VIEWS or writes(self.root, n)

    def scalar(self, n: fx.Node) -> bool:
        """Whether ``n`` is a number made of sizes; writing into one is nothing but a new number."""
        if n.op not in ("call_function", "call_method"):
            return False
        name = f"Tensor.{n.target}" if n.op == "call_method" else name_of(n.target)
        if n.target is getattr:
            return n.args[1] in ATTRIBUTES
        if name in OPS and OPS[name].family == "size":
            return True
        return str(name).startswith(("operator.", "builtins.")) and all(self.scalar(m) for m in n.all_input_nodes)


def drop_inplace(n: fx.Node, node: Node) -> None:
    """Turn off an ``inplace=True`` argument."""
    bound = inspect.signature(n.target).bind(*node.args, **node.kwargs)  # type: ignore[arg-type]
    bound.arguments["inplace"] = False
    node.args, node.kwargs = tuple(bound.args), dict(bound.kwargs)
