"""What a certificate says of each step: its rule and its lemma, what is lifted, and how many parameters there are.

None of it is believed: it is derived again from the graph and the layers, and must be what is stated.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from rcproof.checking.described import Claimed
from rcproof.checking.traces import Refusal, Traced
from rcproof.checking.twins import rule_of
from rcproof.network.graph import Node
from rcproof.network.ops import OPS
from rcproof.nn.base import TiedLayer

#: Lemmas of layers that carry strands, by rule; pooling has one only where its windows are those of the lemma.
_LEMMAS = {"dropout": "T2", "pointwise": "T2", "softmax": "T2", "lifted": "T2"}


def check_labels(node: Node, value: Traced | None, reads: list[Traced], layers: Mapping[str, nn.Module]) -> None:
    """Raise :class:`~rcproof.checking.traces.Refusal` unless a step's kind, rule and lemma are those that it has.

    ``value``: the trace on one strand, or None for what follows the merge.
    """
    where = f"step {node.name!r}"
    kinds = _kinds(node, value)
    if node.kind not in kinds:
        raise Refusal(f"{where} is said to be {node.kind}; it is {' or '.join(kinds)}")
    if node.stacked and node.kind not in ("stacked", "closed"):
        raise Refusal(f"{where} is {node.kind}, and has a stacked form")
    if node.rep is not None and node.kind != "closed" and node.op != "merge":
        raise Refusal(f"{where} is {node.kind}, and is said to transform by {node.rep}")
    labels = _labels(node, value, reads, layers)
    if (node.rule, node.lemma) not in labels:
        rule, lemma = labels[0]
        raise Refusal(f"{where} is said to be covered by {node.lemma} as {node.rule!r}; it is by {lemma} as {rule!r}")


def _kinds(node: Node, value: Traced | None) -> tuple[str, ...]:
    if node.op == "merge" or value is None:
        return ("merged",)
    if node.op == "input":
        return ("closed",)
    return ("stacked", "closed") if value.carries else ("free",)


def _labels(
    node: Node, value: Traced | None, reads: list[Traced], layers: Mapping[str, nn.Module]
) -> list[tuple[str, str]]:
    fixed = {"merge": ("merge", "T5"), "input": ("closed input", "T1"), "attribute": ("size", "T2")}
    if node.op in ("merge", "input"):
        return [fixed[node.op]]
    if value is None:
        return [("final", "T5")]
    if node.op == "tensor":
        return [("free tensor", "T2")]
    family = OPS[node.target].family if node.op == "call" else ""
    if node.op == "attribute" or family == "size":
        return [fixed["attribute"]]
    item = node.target == "operator.getitem" and bool(reads) and (reads[0].items is not None or not reads[0].carries)
    if item:
        return [("item", "T2")]
    if not value.carries:
        # Sizes are reckoned with by functions that have a rule for tensors too.
        return [("free of the input", "T2"), (family, "T2")] if family else [("free of the input", "T2")]
    if node.op == "call":
        return [(family, "T5" if node.stacked in ("cat", "flatten", "crop") else "T2")]
    rule = rule_of(layers[node.target])
    if rule == "pooling":
        return [(rule, "T5" if node.stacked else "T2")]
    return [(rule, _LEMMAS.get(rule, "T5"))]


def check_summary(claimed: Claimed, traced: Mapping[str, Traced]) -> None:
    """What the certificate says of the network as a whole: its steps, what is lifted, how many parameters."""
    certificate = claimed.certificate
    lifted = _lifted(claimed, traced)
    stated = certificate["lifted"]
    if sorted(stated) != sorted(lifted):
        raise Refusal(f"lifted are {', '.join(sorted(lifted)) or 'no parameters'}, in the certificate {stated}"[:200])
    nodes = [
        {
            "name": n.name, "target": n.target or n.op, "rule": n.rule, "lemma": n.lemma, "conditions": n.conditions,
            "lifted": n.op == "module" and n.target in lifted,
        }
        for n in claimed.graph.nodes
    ]  # fmt: skip
    for node, row in zip(nodes, certificate["nodes"], strict=False):
        if row != node or type(row["lifted"]) is not bool:
            raise Refusal(f"step {node['name']!r} is another in the certificate than in the graph")
    if len(nodes) != len(certificate["nodes"]):
        raise Refusal(f"{len(certificate['nodes'])} steps in the certificate, {len(nodes)} in the graph")
    counts = _parameters(claimed, lifted)
    given = certificate["parameters"]
    if given != counts or not all(type(n) is int for n in given.values()):
        raise Refusal(f"parameters {counts}, in the certificate {given}"[:200])


def _lifted(claimed: Claimed, traced: Mapping[str, Traced]) -> list[str]:
    """Layers with parameters that run whole on each strand, and parameters that no tied layer holds."""
    graph, layers = claimed.graph, claimed.layers
    found = {
        n.target: None
        for n in graph.nodes
        if n.op == "module" and n.name in traced and traced[n.name].carries
        and not isinstance(layers[n.target], TiedLayer) and any(True for _ in layers[n.target].parameters())
    }  # fmt: skip
    tied = {claimed.key(f"{p}.{n}") for p, m in layers.items() if isinstance(m, TiedLayer) for n in m._parameters}
    for node in graph.nodes:
        if node.op == "tensor" and node.target not in claimed.buffers and claimed.key(node.target) not in tied:
            found[node.target] = None
    return list(found)


def _parameters(claimed: Claimed, lifted: list[str]) -> dict[str, int]:
    """How many parameters are tied, lifted, and there at all; what is shared counts once."""
    tensors = claimed.tensors
    sizes = {claimed.key(n): t.numel() for n, t in tensors.items() if n not in claimed.buffers}

    def of(prefixes: set[str]) -> set[str]:
        return {claimed.key(n) for n in tensors if n not in claimed.buffers and prefixes & _prefixes(n)}

    tied = of({p for p, m in claimed.layers.items() if isinstance(m, TiedLayer)})
    rest = of(set(lifted)) - tied
    return {
        "tied": sum(map(sizes.__getitem__, tied)),
        "lifted": sum(map(sizes.__getitem__, rest)),
        "total": sum(sizes.values()),
    }


def _prefixes(name: str) -> set[str]:
    parts = name.split(".")
    return {".".join(parts[:i]) for i in range(1, len(parts) + 1)}
