"""When a step may run on stacked tensors: the side conditions of its lemma, derived again from types and shapes.

A step without a stacked form runs in the batch, where T2 covers whatever treats examples one by one. A stacked form
needs more: the lemma that its rule names speaks of one kind of layer or function, along certain axes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from rcproof.checking.traces import Refusal, Traced
from rcproof.checking.twins import POINTWISE, arguments, rule_of
from rcproof.network.graph import Node, map_refs
from rcproof.network.ops import OPS
from rcproof.nn.base import TiedLayer

#: Ranks of the input on one strand for which the lemmas of a tied layer are stated.
_RANKS = {
    "conv": (3,), "transposed conv": (3,), "linear": (2,), "batch norm": (2, 3), "group norm": (2, 3),
    "instance norm": (3,), "pooling": (3,), "global pooling": (3,), "dropout": (2, 3), "layer norm": (2, 3),
    "weighted sum over positions": (3,),
}  # fmt: skip

#: Functions along the length that a lemma covers on stacked tensors.
_ALONG_LENGTH = ("sum", "mean", "amax", "softmax")


def check_stacked(
    node: Node, traced: Mapping[str, Traced], layers: Mapping[str, nn.Module], specs: Mapping[str, Any]
) -> None:
    """Raise :class:`~rcproof.checking.traces.Refusal` unless the node's stacked form is one its lemma covers.

    ``traced``: the values on one strand; ``layers``, ``specs``: those of the result, also as data.
    """
    if not node.stacked:
        return
    reads = [traced[r] for r in dict.fromkeys(node.refs()) if traced[r].carries]
    if not reads or any(t.axis != 0 or t.rank not in (2, 3) for t in reads) or traced[node.name].axis != 0:
        raise Refusal(f"step {node.name!r} has a stacked form, but its examples are not in front of rank 2 or 3")
    if node.op == "module":
        problem = _layer(node, reads, layers[node.target], arguments(specs[node.target]))
    elif node.op == "call" and node.stacked != "tied":
        problem = _function(node, reads, traced)
    else:
        problem = "only a layer can be tied"
    if problem:
        raise Refusal(f"step {node.name!r} has no stacked form {node.stacked!r}: {problem}")


def _layer(node: Node, reads: list[Traced], layer: nn.Module, args: Mapping[str, Any]) -> str:
    kind, rule = type(layer).__name__, rule_of(layer)
    rank = reads[0].rank
    if len(reads) != 1 or node.kwargs or len(node.args) != 1:
        return "it reads more than one value"
    if node.stacked == "tied":
        full = not args.get("ceil_mode") and args.get("count_include_pad", True)
        sliding = kind in ("RCPSMaxPool1d", "RCPSAvgPool1d") and full  # the lemmas are of full windows
        if not isinstance(layer, TiedLayer) or rank not in _RANKS.get(rule, ()) or (rule == "pooling" and not sliding):
            return f"no lemma of rule {rule!r} covers {kind} on rank {rank}"
        shape = args.get("normalized_shape")
        if rule == "layer norm" and (len(shape) if isinstance(shape, tuple) else 1) != rank - 1:
            return "it normalises over fewer axes than a strand has"
        return ""
    if node.stacked == "same" and type(layer) in POINTWISE:
        return ""
    if node.stacked == "same" and rule == "softmax":
        return "" if rank == 3 and args.get("dim") in (2, -1) else "it mixes the strands (T13)"
    if node.stacked == "flatten" and rule == "flatten":
        whole = rank == 3 and args.get("start_dim") in (1, -2) and args.get("end_dim") in (-1, 2)
        return "" if whole else "it does not flatten a strand whole"
    return f"no lemma of rule {rule!r} covers {kind}"


def _function(node: Node, reads: list[Traced], traced: Mapping[str, Traced]) -> str:
    op, found = OPS[node.target], traced[node.name]
    name, rank = node.target.rpartition(".")[2], reads[0].rank
    if len({t.rank for t in reads}) != 1:
        return "it reads values of several ranks"
    free = [r for r in dict.fromkeys(node.refs()) if not traced[r].carries]
    if node.stacked == "same":
        if op.family in ("identity", "cast"):
            return ""
        if op.family == "pointwise":
            even = len({(t.shape or ())[1] for t in reads}) == 1 and found.rank == rank
            plain = not any(traced[r].shape is not None for r in free)
            return "" if even and plain else "it broadcasts over mirrored channels or positions"
        if op.family in ("reduce", "along") and name in _ALONG_LENGTH:
            return "" if rank == 3 and len(reads) == 1 and _axis(node, op.dim, 3) == 2 else "it mixes the strands (T13)"
        if op.family == "insert" and name == "unsqueeze":
            return "" if rank == 2 and _axis(node, 1, 3) == 2 else "it moves channels"
        if op.family == "squeeze":
            return "" if rank == 3 and found.rank == 2 and _axis(node, 1, 3) == 2 else "it moves channels"
    if node.stacked == "cat" and op.family == "join" and not name.endswith("stack"):
        return "" if not free and _axis(node, 1, rank) == 1 else "it joins along another axis than the channels"
    if node.stacked == "flatten" and op.family == "reshape" and name in ("flatten", "view", "reshape"):
        return "" if rank == 3 and found.rank == 2 else "it does not flatten a strand whole"
    if node.stacked == "crop" and op.family == "index":
        index = node.args[1] if len(node.args) > 1 else None
        plain = isinstance(index, tuple) and len(index) == 3 and index[:2] == (slice(None), slice(None))
        window = index[2] if plain and isinstance(index, tuple) else None
        straight = isinstance(window, slice) and (
            window.step is None or (type(window.step) is int and window.step == 1)
        )
        return "" if straight and rank == 3 == found.rank else "it is no crop"
    return f"no lemma covers {op.family} in this form"


def _axis(node: Node, position: int, rank: int) -> int | None:
    """The one axis along which a call works, counted from the front; None if it is not one number."""
    given: Any = None
    for key in ("dim", "axis"):
        if key in node.kwargs:
            given = node.kwargs[key]
    if given is None and position < len(node.args):
        given = node.args[position]
    if given is None and position == 1 and OPS[node.target].family == "join":
        given = 0
    if isinstance(given, tuple | list) and len(given) == 1:
        given = given[0]
    if isinstance(given, bool) or not isinstance(map_refs(given, lambda r: None), int):
        return None
    return int(given) % rank
