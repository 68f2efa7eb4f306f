"""That the result's graph is the source's: step for step the same functions of the same values, then the merge.

The two graphs are walked together from their outputs back to their inputs. Names of steps do not matter; functions,
layers, arguments and the order of inputs do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rcproof.checking.described import Claimed
from rcproof.checking.traces import Refusal
from rcproof.network.graph import Graph, Node, Ref


@dataclass(frozen=True)
class Pairing:
    """Steps of the result with the steps of the source that they lift; the merges in the order of the outputs; and the
    steps after a merge, with the number of the output that they make."""

    lifted: dict[str, str]
    merges: list[str]
    finals: dict[str, int]


def match(claimed: Claimed) -> Pairing:
    """Pair the steps of the two graphs, or raise :class:`~rcproof.checking.traces.Refusal` at the first difference."""
    said, result, source = claimed.source, claimed.graph, claimed.source.graph
    for key, stated in (("inputs", said.inputs), ("outputs", said.outputs), ("merge", said.merge)):
        if claimed.certificate[key] != stated:
            raise Refusal(f"the certificate states two lists of {key}")
    mine, theirs = {n.name: n for n in source.nodes}, {n.name: n for n in result.nodes}
    if result.structure != source.structure or len(result.outputs) != len(source.outputs):
        raise Refusal("the two networks return other structures")
    if not len(said.finals) == len(said.outputs) == len(said.merge) == len(source.outputs):
        raise Refusal("the certificate does not say how each output is merged")
    places = _inputs(source, result, said.inputs)
    pairing = Pairing({}, [], {})
    for i, name in enumerate(result.outputs):
        merged = _final(theirs, name, said.finals[i], i, pairing.finals)
        node = theirs[merged]
        if node.op != "merge" or node.target != said.merge[i] or node.rep != said.outputs[i] or node.kwargs:
            raise Refusal(f"output {i} is not the {said.merge[i]} of the strands under {said.outputs[i]}")
        if len(node.args) != 1 or not isinstance(node.args[0], Ref):
            raise Refusal(f"the merge of output {i} has other arguments than one value")
        pairing.merges.append(merged)
        _walk(theirs, node.args[0].name, mine, source.outputs[i], pairing.lifted, places)
    for name, other in places.items():
        pairing.lifted.setdefault(name, other)
    for node in result.nodes:  # steps that no output depends on are those of the source too, by their names
        name = node.name
        if name not in pairing.lifted and name not in pairing.finals and name not in pairing.merges:
            if name in mine:
                _walk(theirs, name, mine, name, pairing.lifted, places)
            else:
                _unused_final(theirs, name, said.finals, pairing)
    return pairing


def _unused_final(theirs: Mapping[str, Node], name: str, finals: Sequence[Graph | None], pairing: Pairing) -> None:
    """Pair a step after the merge that its output does not depend on; its name ends in the number of the output."""
    base, _, number = name.rpartition("_")
    for i, final in enumerate(finals):
        own = {} if final is None else {n.name: n for n in final.nodes}
        if number == str(i) and base in own:
            assert final is not None
            _final(theirs, name, Graph(final.nodes, [base]), i, pairing.finals, pairing.merges[i])
            return
    raise Refusal(f"no output depends on step {name!r}, and the source has no such step")


def same_network(one: Graph, two: Graph) -> None:
    """Raise :class:`~rcproof.checking.traces.Refusal` unless two graphs of one strand are alike but for names."""
    starts = [[n.name for n in g.nodes if n.op == "input"] for g in (one, two)]
    if one.structure != two.structure or len(starts[0]) != len(starts[1]):
        raise Refusal("they take or return other structures")
    found: dict[str, str] = {}
    inputs = dict(zip(*starts, strict=True))
    for a, b in zip(one.outputs, two.outputs, strict=True):
        _walk({n.name: n for n in one.nodes}, a, {n.name: n for n in two.nodes}, b, found, inputs)


def _inputs(source: Graph, result: Graph, reps: Sequence[str]) -> dict[str, str]:
    mine, theirs = ([n for n in g.nodes if n.op == "input"] for g in (source, result))
    if not len(mine) == len(theirs) == len(reps):
        raise Refusal(f"{len(theirs)} inputs, in the source {len(mine)}, with {len(reps)} representations")
    for node, rep in zip(theirs, reps, strict=True):
        if node.kind != "closed" or node.rep != rep:
            raise Refusal(f"input {node.name!r} transforms by {node.rep}, in the certificate by {rep}")
    return {node.name: other.name for node, other in zip(theirs, mine, strict=True)}


def _final(
    theirs: Mapping[str, Node],
    name: str,
    final: Graph | None,
    output: int,
    finals: dict[str, int],
    merged: str | None = None,
) -> str:
    """The merged value at the other end of the final steps, which are noted; ``merged``, if that is given."""
    if final is None:
        return name
    start = [n.name for n in final.nodes if n.op == "input"]
    if len(start) != 1 or len(final.outputs) != 1 or final.structure != "*":
        raise Refusal("a final step takes one tensor and returns one")
    found: dict[str, str] = {}
    ends: dict[str, None] = {}
    _walk(theirs, name, {n.name: n for n in final.nodes}, final.outputs[0], found, {}, (start[0], ends))
    if len(ends) != 1 and not (merged and not ends):
        raise Refusal("the steps after the merge read other than the merged value")
    if merged and ends and merged not in ends:
        raise Refusal(f"step {name!r} reads the merged value of another output")
    for step in found:
        if finals.setdefault(step, output) != output:
            raise Refusal(f"step {step!r} makes two outputs")
    return next(iter(ends), "")


def _walk(
    theirs: Mapping[str, Node],
    first: str,
    mine: Mapping[str, Node],
    second: str,
    found: dict[str, str],
    inputs: Mapping[str, str],
    end: tuple[str, dict[str, None]] | None = None,
) -> None:
    """Pair everything above two values, depth first without recursion. ``end``: where the source's side begins."""
    todo = [(first, second)]
    while todo:
        a, b = todo.pop()
        if end is not None and b == end[0]:
            end[1][a] = None
            continue
        if a in found:
            if found[a] != b:
                raise Refusal(f"step {a!r} stands for two steps of the source, {found[a]!r} and {b!r}")
            continue
        one, two = theirs[a], mine[b]
        if one.op != two.op or one.target != two.target:
            raise Refusal(f"step {a!r} is {one.op} {one.target!r}, in the source {two.op} {two.target!r}")
        if one.op == "input" and inputs.get(a) != b:
            raise Refusal(f"step {a!r} reads another input than in the source")
        found[a] = b
        pairs: list[tuple[str, str]] = []
        if not _same((one.args, one.kwargs), (two.args, two.kwargs), pairs):
            raise Refusal(f"step {a!r} ({one.target}) has other arguments than in the source")
        todo += pairs


def _same(a: Any, b: Any, pairs: list[tuple[str, str]]) -> bool:
    """Whether two arguments are alike, references aside, which are collected in pairs."""
    if isinstance(a, Ref) and isinstance(b, Ref):
        pairs.append((a.name, b.name))
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(_same(x, y, pairs) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict):
        return list(a) == list(b) and all(_same(a[k], b[k], pairs) for k in a)
    if isinstance(a, slice):
        return all(_same(getattr(a, k), getattr(b, k), pairs) for k in ("start", "stop", "step"))
    return bool(a == b) or (a != a and b != b)
