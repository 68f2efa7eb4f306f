"""What a file says: two networks on the meta device, and names. Everything is checked to be what it should be.

A description is believed only in its canonical form: what is read from it, written again, must be what was there. So
nothing can stand in a file that one reader sees and another does not.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rcproof.checking.container import Container, read_json
from rcproof.checking.layers import is_ordinary, layer_purity
from rcproof.checking.traces import Refusal
from rcproof.errors import CheckpointError, RcproofError
from rcproof.files import PathLike
from rcproof.network.graph import Graph
from rcproof.network.modules import layer_from_json, layer_to_json
from rcproof.network.network import LAYOUTS, Network, attach

CERTIFICATE = "rcproof-certificate/3"
FORMAT = 1

#: What a certificate says in words. They belong to its schema, and are no field of their own.
STATEMENT = (
    "In exact arithmetic the RCPS network equals the conjoined network on every input: "
    "RCPS(Φ(θ))(x) = Conjoined(θ)(x) for all x (T5), in eval mode."
)
NOT_COVERED = [
    "train mode (batch norm pools both strands in the result; T10)",
    "rounding: the two networks may sum in another order (T12)",
]

#: Before the names of the source's tensors: those of its branch, of what follows the merge, and of its code.
BRANCH, FINAL, CODE = "net.", "final.", "constant "

_DOCUMENT = {
    "format", "kind", "net", "buffers", "transient", "frozen", "aliases", "certificate", "input_shapes", "sha256",
}  # fmt: skip
_NET = {"graph", "layers", "tensors", "layout"}
_CERTIFICATE = {
    "inputs", "outputs", "merge", "nodes", "tensors", "parameters", "lifted", "source", "proof", "statement",
    "not_covered", "checks", "versions", "schema",
}  # fmt: skip
_SOURCE = {"inputs", "outputs", "merge", "graph", "layers", "free", "final", "tensors"}
_ROW = {"name", "source", "how", "shape", "dtype", "source_sha256", "result_sha256"}
_FACTS = {"sha256", "shape", "dtype"}

#: Longer axes than this are not believed.
_LONGEST = 1 << 24

Layers = dict[str, dict[str, Any]]


@dataclass
class Source:
    """The conjoined network of a description: its branch, how its answers are merged, and what follows the merge."""

    inputs: list[str]
    outputs: list[str]
    merge: list[str]
    graph: Graph
    layers: dict[str, nn.Module]
    specs: Layers
    free: dict[str, Tensor]
    finals: list[Graph | None]
    final_specs: list[Layers]
    names: dict[str, tuple[str, Tensor]]
    tensors: dict[str, dict[str, Any]]


@dataclass
class Claimed:
    """Both networks of a file, on the meta device and in eval mode, and the names of the result's tensors.

    ``owned``: the result's tensors that layers hold, and which of them are buffers; ``loose``: those that none holds.
    """

    document: dict[str, Any]
    certificate: dict[str, Any]
    source: Source
    graph: Graph
    network: Network
    layers: dict[str, nn.Module]
    specs: Layers
    owned: dict[str, bool]
    loose: list[str]
    aliases: dict[str, str]
    buffers: set[str]
    shapes: list[list[int]]

    @functools.cached_property
    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the result by each of its names."""
        return _named(self.network)

    def key(self, name: str) -> str:
        """Under which name of the file a tensor lies."""
        return self.aliases.get(name, name)


def documents(container: Container, path: PathLike) -> tuple[dict[str, Any], dict[str, Any]]:
    """The description in a file, and the certificate in that; CheckpointError if there is none that can be read."""
    text = container.metadata.get("rcproof")
    if text is None:
        raise CheckpointError(f"{str(path)!r} is no file of rcproof's", expected="the result of rcproof convert")
    try:
        whole = container.metadata.get("rcproof_sha256") == hashlib.sha256(text.encode()).hexdigest()
        document = read_json(text)
        certificate = document["certificate"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{str(path)!r} is damaged", got=f"{type(error).__name__}: {str(error)[:120]}") from None
    if not whole:
        raise CheckpointError(
            f"{str(path)!r} is damaged", got="a description with another sha256 than it was written with"
        )
    if not isinstance(document, dict) or document.get("kind") != "rcps" or not isinstance(certificate, dict):
        raise CheckpointError(
            f"{str(path)!r} carries no certificate", expected="the result of rcproof convert, an RCPS network"
        )
    if certificate.get("schema") != CERTIFICATE:
        raise CheckpointError(
            "schema of the certificate", got=repr(certificate.get("schema"))[:80], expected=CERTIFICATE,
            fix="convert the source again, or use the version of rcproof that wrote it",
        )  # fmt: skip
    if document.get("format") != FORMAT or isinstance(document["format"], bool):
        raise CheckpointError(f"format of {str(path)!r}", got=repr(document.get("format"))[:80], expected=FORMAT)
    return document, certificate


def read_claims(document: dict[str, Any], certificate: dict[str, Any]) -> Claimed:
    """Both networks. Refusal for what cannot be; CheckpointError where the form is not kept."""
    try:
        return _read(document, certificate)
    except CheckpointError:
        raise
    except RcproofError as problem:  # of a layer or a representation
        raise Refusal(str(problem)) from None
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError, RuntimeError) as error:
        raise CheckpointError("the certificate is damaged", got=f"{type(error).__name__}: {str(error)[:120]}") from None


def _read(document: dict[str, Any], certificate: dict[str, Any]) -> Claimed:
    _fields(document, _DOCUMENT, "the description")
    _fields(document["net"], _NET, "the network")
    _fields(certificate, _CERTIFICATE, "the certificate")
    for row in certificate["tensors"]:
        _fields(row, _ROW, "a tensor of the certificate")
        if not all(isinstance(row[k], str) for k in _ROW - {"shape"}):
            raise TypeError("a row without text")
        _sizes(row["shape"])
    if certificate["statement"] != STATEMENT or certificate["not_covered"] != NOT_COVERED:
        raise Refusal("the certificate says in words what its schema does not")
    records = (certificate[k] for k in ("checks", "versions", "proof", "parameters"))
    if not all(isinstance(record, dict) for record in (*records, document["sha256"], *certificate["nodes"])):
        raise TypeError("a record that is none")
    _texts(certificate["lifted"], "lifted")
    net = document["net"]
    graph, layers, specs = _network(net["graph"], net["layers"])
    if net["layout"] not in LAYOUTS:
        raise Refusal(f"no layout {net['layout']!r} is known")
    network = Network(graph, layers, net["layout"])
    owned = {name: False for name, _ in network.named_parameters(remove_duplicate=False)}
    owned |= {name: True for name, _ in network.named_buffers(remove_duplicate=False)}
    loose = _texts(net["tensors"], "tensors")
    rows = {row["name"]: row["shape"] for row in certificate["tensors"]}
    for name in loose:
        _check_loose(name, owned, layers)
        attach(network, name, torch.empty(rows.get(name, [0]), device="meta"))
    for path, layer in layers.items():
        problem = layer_purity(layer)
        if problem:
            raise Refusal(f"layer {path!r}: {problem}")
    aliases = document["aliases"]
    if not isinstance(aliases, dict) or not all(isinstance(v, str) for v in aliases.values()):
        raise TypeError("aliases that are no names")
    shapes = document["input_shapes"]
    if not isinstance(shapes, list) or not all(isinstance(s, list) and s and min(_sizes(s)) > 0 for s in shapes):
        raise Refusal("the file does not state the shapes of the inputs")
    claimed = Claimed(
        document, certificate, read_source(certificate["source"]), graph, network, layers, specs, owned, loose,
        dict(aliases), set(), shapes,
    )  # fmt: skip
    _check_kinds(claimed)
    return claimed


def read_source(said: Any) -> Source:
    """The conjoined network of a description, in the form that certificates have.

    Raises :class:`~rcproof.checking.traces.Refusal` or :class:`~rcproof.errors.RcproofError` for one that cannot be,
    and KeyError, TypeError and their kin where the form is not kept.
    """
    _fields(said, _SOURCE, "the source")
    graph, layers, specs = _one_strand(said["graph"], said["layers"])
    for path, layer in layers.items():
        if not is_ordinary(layer):
            raise Refusal(f"layer {path!r} of the source is a {type(layer).__name__}, which is no layer of one strand")
    free = {_text(p): torch.empty(_sizes(s), device="meta") for p, s in said["free"].items()}
    for facts in said["tensors"].values():
        _fields(facts, _FACTS, "a tensor of the source")
        _sizes(facts["shape"])
    owned = _named(Network(graph, layers))
    for path, tensor in free.items():  # a step may also read the tensor of a layer
        if path in owned and owned[path].shape != tensor.shape:
            raise Refusal(f"tensor {path!r} is described in two shapes")
        if path not in owned:
            _check_loose(path, owned, layers)
    held = owned | free
    finals: list[Graph | None] = []
    final_specs: list[Layers] = []
    ends: dict[str, Tensor] = {}
    known: Layers = {}
    for final in said["final"]:
        if final is None:
            finals.append(None)
            final_specs.append({})
            continue
        _fields(final, {"graph", "layers"} if "free" not in final else {"graph", "layers", "free"}, "a final step")
        follows, own, described = _one_strand(final["graph"], final["layers"])
        for path, spec in described.items():
            if known.setdefault(path, spec) != spec:
                raise Refusal(f"layer {path!r} after the merge is described in two ways")
        ends |= _named(Network(follows, own))
        ends |= {_text(p): torch.empty(_sizes(s), device="meta") for p, s in final.get("free", {}).items()}
        finals.append(follows)
        final_specs.append(described)
    _check_apart([*specs, *free], [*known, *ends])
    return Source(
        _texts(said["inputs"], None), _texts(said["outputs"], None), _texts(said["merge"], None), graph, layers, specs,
        free, finals, final_specs, _source_names(held, ends, graph, said["tensors"]), said["tensors"],
    )  # fmt: skip


def _source_names(
    held: Mapping[str, Tensor], ends: Mapping[str, Tensor], graph: Graph, stated: Mapping[str, Any]
) -> dict[str, tuple[str, Tensor]]:
    """For every tensor that the source computes with: its one name in the description, and its shape."""
    prefix = branch_prefix(graph, stated)
    found = {}
    for path, tensor in held.items():
        names = [n for n in (prefix + path, CODE + path) if n in stated]
        if len(names) != 1:
            raise Refusal(f"tensor {path!r} of the source is described {'twice' if names else 'nowhere'}")
        found[path] = names[0], tensor
    for path, tensor in ends.items():
        head, _, rest = path.partition(".")
        name = f"{head.rstrip('_')}.{rest}"
        if not name.startswith(FINAL) or name not in stated:
            raise Refusal(f"tensor {path!r} after the merge is described nowhere")
        found[path] = name, tensor
    return found


def branch_prefix(graph: Graph, stated: Iterable[str]) -> str:
    """What stands before the names of the branch's tensors: nothing where it is one layer, called ``net`` itself."""
    calls = [n.target for n in graph.nodes if n.op != "input"]
    return "" if calls == ["net"] and not any(n.startswith("net.net.") for n in stated) else BRANCH


def _network(graph: Any, layers: Any) -> tuple[Graph, dict[str, nn.Module], Layers]:
    """A graph and its layers in eval mode, in canonical form, and the layers as data with every argument filled in."""
    found = Graph.from_json(graph)
    if not _alike(found.to_json(), graph):
        raise Refusal("a graph is not in the form in which graphs are written")
    for n in found.nodes:
        bare = n.op in ("input", "tensor") and (n.args or n.kwargs or (n.op == "input" and n.target))
        if bare or (n.op == "attribute" and (len(n.args) != 1 or n.kwargs)):
            raise Refusal(f"step {n.name!r} says more than a step of its kind can")
    made, specs = {}, {}
    for path, spec in layers.items():
        if not all(path.split(".")):
            raise Refusal(f"{path!r} is no name of a layer")
        _fields(spec, {"type", "args"}, f"layer {path!r}")
        made[path] = layer_from_json(path, spec).eval()
        specs[path] = layer_to_json(path, made[path])
        written = specs[path]["args"]
        for key, value in spec["args"].items():
            if key not in written or not _alike(written[key], value):
                raise Refusal(f"layer {path!r}: {key} = {value!r} is not in the form in which layers are written")
        if spec["type"].startswith("rcproof.") and set(spec["args"]) != set(written):  # torch's may be of another torch
            raise Refusal(f"layer {path!r} does not say all that it is")
    called = {n.target for n in found.nodes if n.op == "module"}
    if called != set(made):
        raise Refusal(f"layer {min(called ^ set(made))!r} is described and not called, or called and not described")
    for path in made:
        outer = next((p for p in _parents(path) if p in made), None)
        if outer is not None:
            raise Refusal(f"layer {path!r} would stand inside layer {outer!r}")
    return found, made, specs


def _one_strand(graph: Any, layers: Any) -> tuple[Graph, dict[str, nn.Module], Layers]:
    """A network whose steps say nothing of strands."""
    found, made, specs = _network(graph, layers)
    for n in found.nodes:
        labels = {"tensor": ("free tensor", "T2"), "attribute": ("size", "T2")}.get(n.op, ("", ""))
        if n.op == "merge" or n.kind != "merged" or n.stacked or n.rep or (n.rule, n.lemma) != labels or n.conditions:
            raise Refusal(f"step {n.name!r} of the source speaks of strands")
    return found, made, specs


def _check_loose(name: str, owned: Mapping[str, object], layers: Mapping[str, nn.Module]) -> None:
    """A tensor that no layer holds must not become one that a layer reads."""
    if not all(name.split(".")) or name in layers:
        raise Refusal(f"{name!r} is no name of a tensor")
    if name in owned:
        raise Refusal(f"tensor {name!r} belongs to a layer, and is said to belong to none")
    for path in _parents(name):
        rest = name.removeprefix(path + ".")
        if path in layers and ("." in rest or hasattr(layers[path], rest)):
            raise Refusal(f"tensor {name!r} would change layer {path!r}")


def _parents(name: str) -> list[str]:
    """The names in which a dotted name stands."""
    parts = name.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts))]


def _check_kinds(claimed: Claimed) -> None:
    """Parameters are parameters and buffers buffers, or a layer would go on reading what it was made with."""
    document = claimed.document
    names = {*claimed.owned, *claimed.loose}
    buffers, transient = _texts(document["buffers"], "buffers"), _texts(document["transient"], "transient")
    frozen = _texts(document["frozen"], "frozen")
    claimed.buffers |= set(buffers)
    for name in (*buffers, *transient, *frozen, *claimed.aliases):
        if name not in names:
            raise Refusal(f"{name!r} is no tensor of the network")
    for name, buffer in claimed.owned.items():
        if buffer != (name in claimed.buffers):
            raise Refusal(f"tensor {name!r} is {'no ' if buffer else 'a '}buffer in the file, unlike in its layer")
    for name, other in claimed.aliases.items():
        if other in names and (name in claimed.buffers) != (other in claimed.buffers):
            raise Refusal(f"{name!r} and {other!r} are one tensor, and one of them a buffer")
    if not set(transient) <= claimed.buffers or set(frozen) & claimed.buffers:
        raise Refusal("what is transient is a buffer, and what is frozen is none")


def _check_apart(branch: Iterable[str], final: Iterable[str]) -> None:
    """What follows the merge has a name of its own in front, so that none of its layers is one of the branch's."""
    heads = {p.partition(".")[0] for p in final}
    both = heads & {p.partition(".")[0] for p in branch}
    if both:
        raise Refusal(f"{min(both)!r} stands before the merge and after it")


def _named(network: nn.Module) -> dict[str, Tensor]:
    return dict([*network.named_parameters(remove_duplicate=False), *network.named_buffers(remove_duplicate=False)])


def _fields(record: Any, known: set[str], what: str) -> None:
    if not isinstance(record, dict):
        raise TypeError(f"{what} is no record")
    missing, more = sorted(known - set(record)), sorted(set(record) - known)
    if missing or more:
        raise KeyError(f"{what} {'lacks' if missing else 'has'} {(missing or more)[0]!r}"[:100])


def _alike(one: Any, two: Any) -> bool:
    """The same JSON, in which 1, 1.0 and true are three things."""
    return json.dumps(one, sort_keys=True) == json.dumps(two, sort_keys=True)


def _sizes(shape: Any) -> list[int]:
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise TypeError(f"shape {str(shape)[:40]}")
    if any(n > _LONGEST for n in shape):
        raise Refusal(f"shape {str(shape)[:80]} is larger than is believed")
    return shape


def _texts(value: Any, what: str | None) -> list[str]:
    """A list of texts, each once where it is a list of names (``what``)."""
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise TypeError(f"{what or 'a list'} of other things than texts")
    if what and len(set(value)) != len(value):
        raise Refusal(f"a name stands twice in {what!r}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a name that is no text")
    return value


def canonical(said: Mapping[str, Any]) -> Source:
    """A description made here and now, read as one from a file is; RcproofError if it cannot be read."""
    try:
        return read_source(dict(said))
    except Refusal as refusal:
        raise RcproofError("the source cannot be described", got=str(refusal)) from None
