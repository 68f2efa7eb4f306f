"""``check_file``: is this file's network equal, on every input, to the conjoined network its certificate describes?"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from rcproof.checking.conditions import side_conditions
from rcproof.checking.container import opened
from rcproof.checking.described import Claimed, canonical, documents, read_claims
from rcproof.checking.examples import follow
from rcproof.checking.labels import check_labels, check_summary
from rcproof.checking.matching import Pairing, match
from rcproof.checking.rendering import check_rendering
from rcproof.checking.sources import compare_sources
from rcproof.checking.stacked import check_stacked
from rcproof.checking.traces import Refusal, Traced, one_line
from rcproof.checking.twins import POINTWISE, same_problem, twin_problem
from rcproof.checking.weights import check_weights
from rcproof.errors import RcproofError
from rcproof.files import PathLike
from rcproof.network.graph import Node
from rcproof.network.ops import OPS
from rcproof.strand import Representation, representation
from rcproof.symbolic.checker import Refused
from rcproof.symbolic.networks import NetworkProof, prove_network
from rcproof.verify import Check, Report

VERDICT = "equal on every input"


@dataclass(frozen=True)
class Verdict:
    """What :func:`check_file` found.

    Attributes:
        report: checks of the weights, the graph, the examples, the side conditions, the proof, and the source.
        lifted: layers that run whole on each strand (T2); they are covered, and carry no cross-strand weights.
        statement: ``equal on every input``, or what fails first.
    """

    report: Report
    lifted: tuple[str, ...]
    statement: str

    @property
    def passed(self) -> bool:
        """Whether all of it holds."""
        return self.report.passed


def check_file(path: PathLike, source: Mapping[str, Any] | None = None) -> Verdict:
    """Verify everything that the certificate in ``path`` claims, without the converter (T5).

    The file's hashes are computed from its bytes; every tensor is traced to the source's; the result's graph is walked
    beside the source's; every layer must be the lift of its source with the same arguments; no step may mix examples;
    every stacked form must meet the conditions of its lemma; the plan of every layout is run without numbers; and the
    proof is replayed by the checker of :mod:`rcproof.symbolic`. Lifted blocks are covered by T2; train mode is not
    covered. What depends on shapes is derived for the input shapes that the file states, with any number of examples.

    ``source``: a description of the source at hand, in the form that certificates have
    (:func:`rcproof.convert.source.describe_source`); the relation to that source is then proved too.

    Raises :class:`~rcproof.errors.CheckpointError` for a file that cannot be read, or holds no certificate, and
    :class:`~rcproof.errors.RcproofError` for a ``source`` that cannot be read.

    >>> import tempfile
    >>> from torch import nn
    >>> import rcproof
    >>> net = nn.Sequential(nn.Conv1d(4, 2, 5), nn.AdaptiveAvgPool1d(1), nn.Flatten()).eval()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     rcproof.save(rcproof.convert(rcproof.Conjoined(net).eval()), f"{folder}/rcps.safetensors")
    ...     check_file(f"{folder}/rcps.safetensors").passed
    True
    """
    own = None if source is None else canonical(source)
    with opened(path) as container:
        document, certificate = documents(container, path)
        with container.hashing() as hashes:  # while everything else is looked at
            checks: list[Check] = []
            try:
                claimed = read_claims(document, certificate)
            except Refusal as problem:
                checks.append(Check.failure("description", str(problem)))
                return _verdict(checks, certificate)
            pairing: list[Pairing] = []
            graph = _held("graph", lambda: pairing.append(match(claimed)))
            traced: dict[str, Traced] = {}
            checks += _held("examples", lambda: traced.update(_examples(claimed)))
            if pairing and traced:
                checks += _held("side conditions", lambda: _conditions(claimed, pairing[0], traced))
            checks += _held("proof", lambda: _proof(claimed))
            if own is not None:
                checks += _held("source", lambda: compare_sources(claimed.source, own))
            weights = _held("weights", lambda: check_weights(claimed, container, hashes.result()))
        return _verdict([*weights, *graph, *checks], certificate, claimed)


def _verdict(checks: Sequence[Check], certificate: Mapping[str, Any], claimed: Claimed | None = None) -> Verdict:
    facts = {"schema": str(certificate["schema"])}
    if claimed is not None:
        facts["inputs"] = " ".join(f"({', '.join(map(str, shape))})" for shape in claimed.shapes)
    report = Report("certificate", tuple(checks), facts)
    lifted = certificate.get("lifted")
    names = tuple(str(n) for n in lifted) if isinstance(lifted, list) else ()
    statement = VERDICT if report.passed else str(report.failures[0])
    return Verdict(report, names, statement)


def _held(name: str, look: Callable[[], Any]) -> list[Check]:
    """The checks that a look gives: its own list, or one that holds unless it refuses."""
    try:
        found = look()
    except (Refusal, Refused, RcproofError) as problem:
        return [Check.failure(name, " ".join(str(problem).split()))]
    except Exception as error:  # whatever a hostile description makes of code that expects an honest one
        return [Check.failure(name, f"the description cannot be followed: {type(error).__name__}: {one_line(error)}")]
    if isinstance(found, list) and found:
        return [
            Check.failure(f"{name}: {what}", why) if why else Check.of(f"{name}: {what}", 0, 0) for what, why in found
        ]
    return [Check.of(name, 0.0, 0.0)]


def _examples(claimed: Claimed) -> dict[str, Traced]:
    tokens = [representation(rep).tokens for rep in claimed.source.inputs]
    if len(tokens) != len(claimed.shapes):
        raise Refusal(f"the file states the shapes of {len(claimed.shapes)} inputs, of {len(tokens)}")
    return follow(claimed.source.graph, claimed.source.layers, claimed.source.free, claimed.shapes, tokens)


def _conditions(claimed: Claimed, pairing: Pairing, traced: Mapping[str, Traced]) -> None:
    """Kinds, layers and stacked forms of the result, step by step, from what the source's steps are."""
    nodes = {n.name: n for n in claimed.graph.nodes}
    lifted = {name: traced[other] for name, other in pairing.lifted.items()}
    for node in claimed.graph.nodes:
        value = lifted.get(node.name)
        if node.op == "merge" and node.name not in pairing.merges:
            raise Refusal(f"no output depends on step {node.name!r}")
        check_labels(node, value, [lifted[r] for r in node.refs() if r in lifted], claimed.layers)
        if node.op == "merge":
            _check_merge(node, lifted[node.refs()[0]])
        elif value is None and node.op == "module":
            own = claimed.source.final_specs[pairing.finals[node.name]]
            _agree(same_problem(node.target, own[node.target], claimed.specs[node.target]))
        elif value is not None:
            _check_strands(node, nodes, lifted, claimed)
        _check_conditions(node, lifted, claimed.layers)
    outputs = {name: traced[output] for name, output in zip(pairing.merges, claimed.source.graph.outputs, strict=True)}
    tokens = [representation(rep).tokens for rep in claimed.source.inputs]
    check_rendering(claimed.network, lifted, outputs, claimed.shapes, tokens)
    check_summary(claimed, lifted)


def _check_strands(node: Node, nodes: Mapping[str, Node], lifted: Mapping[str, Traced], claimed: Claimed) -> None:
    """That a step before the merge is, on strand pairs, the lift of what it is on one strand."""
    closed = _closed(node, nodes)
    if node.op == "module":
        spec, own = claimed.specs[node.target], claimed.source.specs[node.target]
        _agree(twin_problem(node.target, own, spec, closed))
    check_stacked(node, lifted, claimed.layers, claimed.specs)
    if node.kind == "closed" and node.op != "input":
        _check_closed(node, closed, lifted, claimed)
    if node.kind == "free" and _tensor_reads(node, nodes, lifted):
        raise Refusal(f"step {node.name!r} reads what depends on the strand, and is said not to depend on it")


def _check_conditions(node: Node, lifted: Mapping[str, Traced], layers: Mapping[str, nn.Module]) -> None:
    """That the step lists the side conditions that it has on the stated shapes, and no others."""
    reads = [t for r in dict.fromkeys(node.refs()) if (t := lifted.get(r)) is not None and t.axis is not None]
    layer = layers[node.target] if node.op == "module" else None
    found = side_conditions(node, layer, reads, lifted.get(node.name, Traced()))
    if node.conditions != found:
        raise Refusal(f"step {node.name!r} lists the conditions {node.conditions}; they are {found}")


def _check_merge(node: Node, value: Traced) -> None:
    """The merged value has its examples in front, and a shape that its representation acts on."""
    if value.axis != 0 or value.rank > 3:
        raise Refusal(f"step {node.name!r} merges what has no examples in front, or too many axes")
    if value.rank == 1 and node.rep != "fixed":
        raise Refusal(f"step {node.name!r} merges one number an example, which {node.rep} does not act on")


def _agree(problem: str) -> None:
    if problem:
        raise Refusal(problem)


def _closed(node: Node, nodes: Mapping[str, Node]) -> Representation | None:
    """The representation of the closed value that a step reads first, or None."""
    reads = node.refs()
    first = nodes[reads[0]] if reads else None
    return representation(first.rep) if first is not None and first.kind == "closed" and first.rep else None


def _tensor_reads(node: Node, nodes: Mapping[str, Node], lifted: Mapping[str, Traced]) -> bool:
    """Whether a step reads the entries of a strand, rather than a size, or a dtype to cast to."""
    family = OPS[node.target].family if node.op == "call" else ""
    reads = [] if node.op == "attribute" or family == "size" else node.refs()[: 1 if family == "cast" else None]
    return any(lifted[r].carries for r in reads)


def _check_closed(node: Node, closed: Representation | None, lifted: Mapping[str, Traced], claimed: Claimed) -> None:
    """A closed value stays closed only under a pointwise function of it alone (T2)."""
    reads = list(dict.fromkeys(node.refs()))
    family = OPS[node.target].family if node.op == "call" else ""
    if node.op == "module" and type(claimed.layers[node.target]) in POINTWISE:
        family = "pointwise"
    alone = family == "cast" or not any(lifted[r].tensors for r in reads[1:])
    if closed is None or node.rep != str(closed) or not alone or not _commutes(family, closed, lifted[node.name]):
        raise Refusal(f"step {node.name!r} is said to transform by {node.rep}, which no lemma covers")


def _commutes(family: str, closed: Representation, value: Traced) -> bool:
    """Whether functions of a family commute with ρ on a closed value, ``value`` being what they give."""
    if family == "cast" and (closed.signs is not None or closed.tokens):
        known = value.dtype is not None and value.dtype is not torch.bool  # which has neither signs nor codes
        return known and not (closed.tokens and value.dtype.is_floating_point)  # type: ignore[union-attr]
    plain = closed.signs is None and not closed.tokens
    return family in ("identity", "cast") or (family == "pointwise" and plain)


def _proof(claimed: Claimed) -> list[tuple[str, str]]:
    steps = claimed.certificate["proof"]
    proved = _proved(json.dumps(claimed.document["net"]["graph"]), json.dumps(steps))
    return [(f"{proved.steps} steps, {len(proved.used)} lemmas", "")]


@functools.lru_cache(maxsize=16)
def _proved(graph: str, steps: str) -> NetworkProof:
    """The proof replayed; once for all files of one architecture, as the folds of one training are."""
    return prove_network(json.loads(graph), json.loads(steps))
