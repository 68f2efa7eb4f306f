"""``check_file``: is this file's network equal, on every input, to the conjoined network its certificate describes?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rcproof.checking.container import Container, opened
from rcproof.checking.examples import Refusal, Traced, follow
from rcproof.checking.matching import Pairing, match, same_network
from rcproof.checking.stacked import check_stacked
from rcproof.checking.twins import twin_problem
from rcproof.checking.weights import BRANCH, check_weights
from rcproof.errors import CheckpointError, RcproofError
from rcproof.files import PathLike
from rcproof.network.graph import Graph, Node
from rcproof.network.modules import layer_from_json
from rcproof.network.network import Network, attach
from rcproof.strand import representation
from rcproof.symbolic.checker import Refused
from rcproof.symbolic.networks import prove_network
from rcproof.verify import Check, Report

CERTIFICATE = "rcproof-certificate/2"
VERDICT = "equal on every input"


@dataclass(frozen=True)
class Verdict:
    """What :func:`check_file` found.

    Attributes:
        report: one check each for hashes, the weight map, the graph, the side conditions, the proof, and the source.
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


@dataclass
class Claimed:
    """The two networks as a file describes them, on the meta device."""

    document: dict[str, Any]
    certificate: dict[str, Any]
    result: Graph
    result_layers: dict[str, nn.Module]
    result_tensors: dict[str, Tensor]
    source: Graph
    source_layers: dict[str, nn.Module]
    source_tensors: dict[str, Tensor]
    finals: list[Graph | None]
    free: dict[str, Tensor]


def check_file(path: PathLike, source: Mapping[str, Any] | None = None) -> Verdict:
    """Verify everything that the certificate in ``path`` claims, without the converter (T5).

    The file's hashes are computed from its bytes; every tensor is traced to the source's; the result's graph is walked
    beside the source's; every layer must be the lift of its source with the same arguments; no step may mix examples;
    every stacked form must meet the conditions of its lemma; and the proof is replayed by the checker of
    :mod:`rcproof.symbolic`. Lifted blocks are covered by T2; train mode is not covered.

    ``source``: a description of the source at hand, in the form that certificates have
    (:func:`rcproof.convert.source.describe_source`); the relation to that source is then proved too.

    Raises :class:`~rcproof.errors.CheckpointError` for a file that cannot be read, or holds no certificate.
    """
    with opened(path) as container:
        document, certificate = _documents(container, path)
        checks: list[Check] = []
        try:
            claimed = _claimed(document, certificate)
        except (Refusal, RcproofError) as problem:
            checks.append(Check.failure("description", str(problem)))
            return _verdict(checks, certificate)
        hashes = container.hashes()
        checks += _held("weights", lambda: _weights(claimed, container, hashes))
        pairing: list[Pairing] = []
        checks += _held("graph", lambda: pairing.append(_graph(claimed)))
        traced: dict[str, Traced] = {}
        checks += _held("examples", lambda: traced.update(_examples(claimed)))
        if pairing and traced:
            checks += _held("side conditions", lambda: _conditions(claimed, pairing[0], traced))
        checks += _held("proof", lambda: _proof(claimed))
        if source is not None:
            checks += _held("source", lambda: _source(claimed, source))
        return _verdict(checks, certificate)


def _verdict(checks: Sequence[Check], certificate: Mapping[str, Any]) -> Verdict:
    report = Report("certificate", tuple(checks), {"schema": str(certificate.get("schema"))})
    lifted = certificate.get("lifted")
    names = tuple(str(n) for n in lifted) if isinstance(lifted, list) else ()
    statement = VERDICT if report.passed else str(report.failures[0])
    return Verdict(report, names, statement)


def _held(name: str, look: Callable[[], Any]) -> list[Check]:
    """The checks that a look gives: its own list, or one that holds unless it refuses."""
    try:
        found = look()
    except (Refusal, Refused, RcproofError) as problem:
        return [Check.failure(name, str(problem))]
    if isinstance(found, list) and found:
        return [
            Check.failure(f"{name}: {what}", why) if why else Check.of(f"{name}: {what}", 0, 0) for what, why in found
        ]
    return [Check.of(name, 0.0, 0.0)]


# -- reading what the file says -----------------------------------------------------------------------------------


def _documents(container: Container, path: PathLike) -> tuple[dict[str, Any], dict[str, Any]]:
    text = container.metadata.get("rcproof")
    if text is None:
        raise CheckpointError(f"{str(path)!r} is no file of rcproof's", expected="the result of rcproof convert")
    digest = container.metadata.get("rcproof_sha256")
    if digest not in (None, hashlib.sha256(text.encode()).hexdigest()):
        raise CheckpointError(
            f"{str(path)!r} is damaged", got="a description with another sha256 than it was written with"
        )
    try:
        document = json.loads(text)
        certificate = document["certificate"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{str(path)!r} is damaged", got=f"{type(error).__name__}: {error}") from None
    if not isinstance(document, dict) or document.get("kind") != "rcps" or not isinstance(certificate, dict):
        raise CheckpointError(
            f"{str(path)!r} carries no certificate", expected="the result of rcproof convert, an RCPS network"
        )
    if certificate.get("schema") != CERTIFICATE:
        raise CheckpointError(
            "schema of the certificate", got=repr(certificate.get("schema")), expected=CERTIFICATE,
            fix="convert the source again, or use the version of rcproof that wrote it",
        )  # fmt: skip
    return document, certificate


def _claimed(document: dict[str, Any], certificate: dict[str, Any]) -> Claimed:
    """Both networks on the meta device; everything in the file is checked to be what it should be on the way."""
    try:
        net, said = document["net"], certificate["source"]
        rows = certificate["tensors"]
        if not all(isinstance(row[k], str) for row in rows for k in ("name", "source", "how", "source_sha256")):
            raise TypeError("a row without text")
        if not all(isinstance(facts, dict) for facts in said["tensors"].values()):
            raise TypeError("a tensor without facts")
        result = Graph.from_json(net["graph"])
        layers = {str(p): layer_from_json(str(p), spec).eval() for p, spec in net["layers"].items()}
        shapes = {row["name"]: [int(n) for n in row["shape"]] for row in rows}
        tensors = _tensors(result, layers, net.get("tensors", ()), shapes)
        source = Graph.from_json(said["graph"])
        own = {str(p): layer_from_json(str(p), spec).eval() for p, spec in said["layers"].items()}
        free = {str(p): torch.empty([int(n) for n in s], device="meta") for p, s in said["free"].items()}
        origins = _named(Network(source, own), BRANCH) | {BRANCH + p: tensor for p, tensor in free.items()}
        finals: list[Graph | None] = []
        for final in said["final"]:
            follows = None if final is None else Graph.from_json(final["graph"])
            finals.append(follows)
            if follows is not None:
                own |= {str(p): layer_from_json(str(p), spec).eval() for p, spec in final["layers"].items()}
                held = {p: m for p, m in own.items() if p in final["layers"]}
                for name, tensor in _named(Network(follows, held), "").items():
                    head, _, rest = name.partition(".")
                    origins[f"{head.rstrip('_')}.{rest}"] = tensor
    except RcproofError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError, RuntimeError) as error:
        raise Refusal(f"the certificate is damaged: {type(error).__name__}: {str(error)[:80]}") from None
    origins |= {name.removeprefix(BRANCH): tensor for name, tensor in origins.items()}
    return Claimed(document, certificate, result, layers, tensors, source, own, origins, finals, free)


def _named(network: nn.Module, prefix: str) -> dict[str, Tensor]:
    named = [*network.named_parameters(remove_duplicate=False), *network.named_buffers(remove_duplicate=False)]
    return {prefix + name: tensor for name, tensor in named}


def _tensors(
    graph: Graph, layers: dict[str, nn.Module], free: Sequence[Any], shapes: Mapping[str, list[int]]
) -> dict[str, Tensor]:
    """Names and shapes of the result's tensors; those that no layer owns have the shape that the certificate says."""
    network = Network(graph, layers)
    for name in free:
        attach(network, str(name), torch.empty(shapes.get(str(name), []), device="meta"))
    return _named(network, "")


# -- what must hold -----------------------------------------------------------------------------------------------


def _weights(claimed: Claimed, container: Container, hashes: Mapping[str, str]) -> list[tuple[str, str]]:
    aliases = claimed.document.get("aliases", {})
    stated = claimed.document.get("sha256", {})
    found = check_weights(
        claimed.certificate, container, hashes, aliases, claimed.result_tensors, claimed.source_tensors,
        claimed.result_layers,
    )  # fmt: skip
    extra = sorted(set(container.tensors) - {aliases.get(name, name) for name in claimed.result_tensors})
    found.append(("every tensor of the file belongs to the network", f"{extra[0]!r} does not" if extra else ""))
    wrong = sorted(key for key in hashes if stated.get(key, hashes[key]) != hashes[key])
    found.append(("sha256 of every tensor", f"{wrong[0]!r} has another than the file states" if wrong else ""))
    return found


def _graph(claimed: Claimed) -> Pairing:
    said = claimed.certificate["source"]
    for key in ("inputs", "outputs", "merge"):
        if list(claimed.certificate[key]) != list(said[key]):
            raise Refusal(f"the certificate states two lists of {key}")
    return match(claimed.source, claimed.finals, claimed.result, said["inputs"], said["merge"], said["outputs"])


def _examples(claimed: Claimed) -> dict[str, Traced]:
    shapes = claimed.document.get("input_shapes")
    right = isinstance(shapes, list) and all(
        isinstance(s, list) and s and all(isinstance(n, int) and 0 < n < 1 << 31 for n in s) for s in shapes
    )
    if not right:
        raise Refusal("the file does not state the shapes of the inputs")
    assert isinstance(shapes, list)
    tokens = [representation(rep).tokens for rep in claimed.certificate["source"]["inputs"]]
    return follow(claimed.source, claimed.source_layers, claimed.free, shapes, tokens)


def _conditions(claimed: Claimed, pairing: Pairing, traced: Mapping[str, Traced]) -> None:
    """Kinds, layers and stacked forms of the result, step by step, from what the source's steps are."""
    nodes = {n.name: n for n in claimed.result.nodes}
    specs, own = claimed.document["net"]["layers"], claimed.certificate["source"]["layers"]
    finals = {p: s for f in claimed.certificate["source"]["final"] if f for p, s in f["layers"].items()}
    lifted = {name: traced[other] for name, other in pairing.lifted.items()}
    for node in claimed.result.nodes:
        if node.name not in pairing.lifted:
            if node.kind not in ("merged", "free"):
                raise Refusal(f"step {node.name!r} carries strands, but no output depends on it")
            if node.op == "module" and specs[node.target] != finals.get(node.target, specs[node.target]):
                raise Refusal(f"layer {node.target!r} after the merge differs from the source's")
            continue
        value = lifted[node.name]
        if node.kind == "merged":
            raise Refusal(f"step {node.name!r} is before the merge, but is said to be after it")
        if value.carries and node.kind == "free" and node.op not in ("attribute",):
            raise Refusal(f"step {node.name!r} depends on the input, but is said not to")
        closed = _closed(node, nodes)
        if node.op == "module":
            problem = twin_problem(node.target, own.get(node.target), specs.get(node.target), closed)
            if problem:
                raise Refusal(problem)
        check_stacked(node, lifted, specs)
        if node.kind == "closed" and node.op != "input":
            _check_closed(node, nodes, closed, lifted)


def _closed(node: Node, nodes: Mapping[str, Node]) -> Any:
    """The representation of the closed value that a step reads first, or None."""
    reads = node.refs()
    first = nodes[reads[0]] if reads else None
    return representation(first.rep) if first is not None and first.kind == "closed" and first.rep else None


def _check_closed(node: Node, nodes: Mapping[str, Node], closed: Any, lifted: Mapping[str, Traced]) -> None:
    """A closed value stays closed only under a pointwise function of it alone (T2)."""
    from rcproof.network.ops import OPS

    reads = list(dict.fromkeys(node.refs()))
    others = [r for r in reads[1:] if lifted.get(r, Traced()).shape is not None]
    family = OPS[node.target].family if node.op == "call" else "pointwise" if node.rule == "pointwise" else ""
    fine = family in ("pointwise", "identity", "cast") and closed is not None and closed.signs is None
    if not fine or others or closed.tokens or node.rep is None or representation(node.rep) != closed:
        raise Refusal(f"step {node.name!r} is said to transform by {node.rep}, which no lemma covers")


def _proof(claimed: Claimed) -> list[tuple[str, str]]:
    steps = claimed.certificate.get("proof")
    if not isinstance(steps, dict) or not steps:
        raise Refusal("the certificate carries no proof")
    proved = prove_network(claimed.document["net"]["graph"], steps)
    return [(f"{proved.steps} steps, {len(proved.used)} lemmas", "")]


def _source(claimed: Claimed, source: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Whether the source at hand is the one that the certificate speaks of: its graph, its layers, its tensors."""
    said = claimed.certificate["source"]
    found = [(key, "" if list(said[key]) == list(source[key]) else "it says otherwise") for key in _CONJOINED]
    found.append(("graph", _other_graph(said, source)))
    finals = list(zip(said["final"], source["final"], strict=False))
    if len(said["final"]) != len(source["final"]) or any((a is None) != (b is None) for a, b in finals):
        found.append(("final steps", "they are others"))
    found += [("final steps", _other_graph(a, b)) for a, b in finals if a is not None and b is not None]
    for name, facts in said["tensors"].items():
        own = source["tensors"].get(name)
        same = own is not None and all(own[k] == facts.get(k) for k in ("sha256", "shape", "dtype"))
        found.append((name, "" if same else "it has no such tensor" if own is None else "its tensor differs"))
    return found


_CONJOINED = ("inputs", "outputs", "merge")


def _other_graph(said: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """Why two descriptions are of two networks; empty if they are of one."""
    try:
        same_network(Graph.from_json(said["graph"]), Graph.from_json(own["graph"]))
    except Refusal as refusal:
        return str(refusal)
    for path, layer in own["layers"].items():
        problem = twin_problem(path, layer, said["layers"].get(path), None)
        if problem:
            return problem
    return ""
