"""A network graph as data: nodes that name registered operations, and nothing that could be executed.

This is what travels in a saved file. :mod:`rcproof.network.network` runs it; :mod:`rcproof.convert` makes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from rcproof.errors import CheckpointError, RcproofError
from rcproof.network.ops import OPS

FORMAT = 1

#: Attributes of a tensor that a graph may ask for.
ATTRIBUTES = ("shape", "ndim", "device", "dtype")

#: The stacked forms a node can have; "" means that it runs in the batch.
STACKED_FORMS = ("", "tied", "same", "cat", "flatten", "crop")

KINDS = ("closed", "stacked", "free", "merged")
NODE_OPS = ("input", "module", "call", "attribute", "tensor", "merge")


@dataclass(frozen=True)
class Ref:
    """A reference to the value of an earlier node."""

    name: str


@dataclass
class Node:
    """One step of a network.

    Attributes:
        name: unique in its graph.
        op: ``input``; ``module`` (target: path), ``call`` (target: a name in ``OPS``), ``attribute`` (of a tensor:
            target in ``ATTRIBUTES``), ``tensor`` (target: path of a parameter or buffer), ``merge`` (of the strands;
            target: mean, sum or max).
        kind: what its value is: ``closed`` under ``rep``; a ``stacked`` strand pair; ``free`` of the input; or
            ``merged``: one answer for both strands (every value of a single-strand network is merged).
        stacked: its stacked form (see ``STACKED_FORMS``).
        rep: the representation of a closed or merged value, where known.
        rule, lemma, conditions: the converter's rule, the theorem it rests on, and the side conditions it checked.
    """

    name: str
    op: str
    target: str = ""
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    kind: str = "merged"
    stacked: str = ""
    rep: str | None = None
    rule: str = ""
    lemma: str = ""
    conditions: list[str] = field(default_factory=list)

    def refs(self) -> list[str]:
        """Names of the nodes whose values it reads."""
        found: list[str] = []
        map_refs((self.args, self.kwargs), lambda r: found.append(r.name))
        return found


@dataclass
class Graph:
    """Nodes in order, and the nodes whose values are returned, in their structure."""

    nodes: list[Node]
    outputs: list[str]
    structure: Any = "*"

    def to_json(self) -> dict[str, Any]:
        """The graph as plain JSON values."""
        nodes = []
        for n in self.nodes:
            item: dict[str, Any] = {"name": n.name, "op": n.op, "target": n.target, "kind": n.kind}
            if n.args:
                item["args"] = [encode(a) for a in n.args]
            if n.kwargs:
                item["kwargs"] = {k: encode(v) for k, v in n.kwargs.items()}
            for key in ("stacked", "rep", "rule", "lemma", "conditions"):
                if getattr(n, key):
                    item[key] = getattr(n, key)
            nodes.append(item)
        return {"format": FORMAT, "nodes": nodes, "outputs": self.outputs, "structure": self.structure}

    @classmethod
    def from_json(cls, data: Any) -> Graph:
        """Read a graph, checking everything: ops, names, order of references, attribute names, structure."""
        try:
            if data["format"] != FORMAT:
                raise CheckpointError("format of the graph", got=repr(data["format"]), expected=FORMAT)
            nodes = [
                Node(
                    name=_text(item["name"]),
                    op=_text(item["op"]),
                    target=_text(item["target"]),
                    args=tuple(decode(a) for a in item.get("args", [])),
                    kwargs={_text(k): decode(v) for k, v in item.get("kwargs", {}).items()},
                    kind=_text(item["kind"]),
                    stacked=_text(item.get("stacked", "")),
                    rep=None if item.get("rep") is None else _text(item["rep"]),
                    rule=_text(item.get("rule", "")),
                    lemma=_text(item.get("lemma", "")),
                    conditions=[_text(c) for c in item.get("conditions", [])],
                )
                for item in data["nodes"]
            ]
            graph = cls(nodes, [_text(o) for o in data["outputs"]], data["structure"])
        except RcproofError:
            raise
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise CheckpointError("the graph in the file is damaged", got=f"{type(error).__name__}: {error}") from None
        graph.check()
        return graph

    def check(self) -> None:
        """Raise :class:`~rcproof.errors.CheckpointError` unless every node is well-formed and in order."""
        seen: set[str] = set()
        for n in self.nodes:
            where = f"node {n.name!r} of the graph"
            if n.name in seen:
                raise CheckpointError(where, got="a name used twice")
            if n.op not in NODE_OPS or n.kind not in KINDS or n.stacked not in STACKED_FORMS:
                raise CheckpointError(where, got=f"op {n.op!r}, kind {n.kind!r}, stacked form {n.stacked!r}")
            if n.op == "call" and n.target not in OPS:
                raise CheckpointError(
                    where, got=f"function {n.target!r}", expected="a registered function", fix="nothing was executed"
                )
            if n.op == "attribute" and n.target not in ATTRIBUTES:
                raise CheckpointError(where, got=f"attribute {n.target!r}", expected=", ".join(ATTRIBUTES))
            for ref in n.refs():
                if ref not in seen:
                    raise CheckpointError(where, got=f"a reference to {ref!r}", expected="the name of an earlier node")
            seen.add(n.name)
        for name in self.outputs:
            if name not in seen:
                raise CheckpointError("outputs of the graph", got=repr(name), expected="the name of a node")
        if _count(self.structure) != len(self.outputs):
            raise CheckpointError("structure of the outputs", got=repr(self.structure))


def map_refs(value: Any, visit: Callable[[Ref], Any]) -> Any:
    """``value`` with every :class:`Ref` replaced by ``visit(ref)``; containers and slices are rebuilt."""
    if isinstance(value, Ref):
        return visit(value)
    if isinstance(value, tuple):
        return tuple(map_refs(v, visit) for v in value)
    if isinstance(value, list):
        return [map_refs(v, visit) for v in value]
    if isinstance(value, dict):
        return {k: map_refs(v, visit) for k, v in value.items()}
    if isinstance(value, slice):
        return slice(map_refs(value.start, visit), map_refs(value.stop, visit), map_refs(value.step, visit))
    return value


def encode(value: Any) -> Any:
    """An argument as plain JSON values; :class:`~rcproof.errors.RcproofError` for what has no such form."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, Ref):
        return {"ref": value.name}
    if isinstance(value, tuple):
        return {"tuple": [encode(v) for v in value]}
    if isinstance(value, list):
        return [encode(v) for v in value]
    if isinstance(value, dict):
        return {"dict": {str(k): encode(v) for k, v in value.items()}}
    if isinstance(value, slice):
        return {"slice": [encode(value.start), encode(value.stop), encode(value.step)]}
    if value is Ellipsis:
        return {"ellipsis": True}
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    if isinstance(value, torch.device):
        return {"device": str(value)}
    raise RcproofError("an argument that cannot be written to a file", got=f"{type(value).__name__} {value!r}")


def decode(value: Any) -> Any:
    """The inverse of :func:`encode`."""
    if value is None or isinstance(value, bool | int | str | float):
        return value
    if isinstance(value, list):
        return [decode(v) for v in value]
    if isinstance(value, dict) and len(value) == 1:
        ((tag, body),) = value.items()
        if tag == "ref":
            return Ref(_text(body))
        if tag == "tuple":
            return tuple(decode(v) for v in body)
        if tag == "dict":
            return {_text(k): decode(v) for k, v in body.items()}
        if tag == "slice":
            return slice(*(decode(v) for v in body))
        if tag == "ellipsis":
            return Ellipsis
        if tag == "float":
            return float(_text(body))
        if tag == "dtype" and isinstance(getattr(torch, _text(body), None), torch.dtype):
            return getattr(torch, body)
        if tag == "device":
            try:
                return torch.device(_text(body))
            except RuntimeError:
                pass
    raise CheckpointError("an argument in the graph", got=repr(value)[:80], expected="one of the encoded forms")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise CheckpointError("the graph in the file is damaged", got=repr(value)[:80], expected="a string")
    return value


def _count(structure: Any) -> int:
    if structure == "*":
        return 1
    if not isinstance(structure, list) or not structure or structure[0] not in ("tuple", "list", "dict"):
        raise CheckpointError("structure of the outputs", got=repr(structure)[:80])
    kind, *children = structure
    if kind == "dict":
        if not all(isinstance(c, list) and len(c) == 2 and isinstance(c[0], str) for c in children):
            raise CheckpointError("structure of the outputs", got=repr(structure)[:80])
        children = [c[1] for c in children]
    return sum(_count(c) for c in children)
