"""Whether the source at hand is the one that a certificate speaks of: its graph, its layers, its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from rcproof.checking.described import Layers, Source
from rcproof.checking.matching import same_network
from rcproof.checking.traces import Refusal
from rcproof.checking.twins import same_problem
from rcproof.network.graph import Graph
from rcproof.strand import representation

Found = list[tuple[str, str]]


def compare_sources(said: Source, own: Source) -> Found:
    """(what was compared, why it differs or nothing), step by step and tensor by tensor."""
    found = [
        ("inputs", _other_actions(said.inputs, own.inputs)),
        ("outputs", _other_actions(said.outputs, own.outputs)),
        ("merge", "" if said.merge == own.merge else f"{', '.join(own.merge)}, and not {', '.join(said.merge)}"),
        ("graph", _other_network(said.graph, own.graph) or _other_layers(said.specs, own.specs)),
        ("constants", _other_shapes(said.free, own.free)),
    ]
    if [f is None for f in said.finals] != [f is None for f in own.finals]:
        found.append(("final steps", "they are others"))
    else:
        for i, (one, two) in enumerate(zip(said.finals, own.finals, strict=True)):
            if one is not None and two is not None:
                problem = _other_network(one, two) or _other_layers(said.final_specs[i], own.final_specs[i])
                found.append((f"final step {i}", problem))
    return found + _tensors(said.tensors, own.tensors)


def same_action(a: str, b: str) -> bool:
    """Whether two representations are one action: ``reversal`` and ``perm:3,2,1,0`` are, on four channels."""
    one, two = representation(a), representation(b)
    size = one.size or two.size
    if one == two or size is None or (one.size or size) != (two.size or size):
        return one == two
    rest = [(r.permutation(size), r.signs, r.reverses_length, r.tokens) for r in (one, two)]
    return rest[0] == rest[1]


def _other_actions(said: list[str], own: list[str]) -> str:
    same = len(said) == len(own) and all(map(same_action, said, own))
    return "" if same else f"{', '.join(own)}; the certificate speaks of {', '.join(said)}"


def _other_network(said: Graph, own: Graph) -> str:
    """Why two graphs are of two networks; empty if they are of one."""
    try:
        same_network(said, own)
    except Refusal as refusal:
        return str(refusal)
    return ""


def _other_layers(said: Layers, own: Layers) -> str:
    """Why the layers of two descriptions differ; empty if they are the same."""
    if set(said) != set(own):
        return f"only one has layer {min(set(said) ^ set(own))!r}"
    return next((problem for p in own if (problem := same_problem(p, own[p], said[p]))), "")


def _other_shapes(said: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    same = {p: tuple(t.shape) for p, t in said.items()} == {p: tuple(t.shape) for p, t in own.items()}
    return "" if same else "the tensors that no layer holds are others"


def _tensors(said: Mapping[str, Any], own: Mapping[str, Any]) -> Found:
    found = []
    for name in {**said, **own}:
        if name not in own or name not in said:
            found.append((name, f"{'it' if name in said else 'the certificate'} has no such tensor"))
        else:
            found.append((name, "" if own[name] == said[name] else "its tensor differs"))
    return found
