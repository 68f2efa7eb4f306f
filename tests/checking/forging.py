"""What somebody with an editor can do to a converted file: any description, any tensors, and every digest made anew."""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import rcproof
from rcproof.checking import check as checker
from rcproof.checking.check import Verdict, check_file
from rcproof.checking.conditions import side_conditions
from rcproof.checking.described import read_claims
from rcproof.checking.matching import match
from rcproof.checking.traces import Refusal, Traced
from rcproof.conjoined import Conjoined
from rcproof.errors import CheckpointError, RcproofError
from rcproof.network.graph import Graph
from rcproof.network.modules import layer_from_json
from rcproof.network.network import Network, attach
from rcproof.strand import representation
from rcproof.symbolic.networks import network_steps

DTYPES = {"F64": torch.float64, "F32": torch.float32, "I64": torch.int64, "I32": torch.int32, "BOOL": torch.bool}

Raw = tuple[str, list[int], bytes]


@dataclass
class Forged:
    """A file taken apart: its description, its tensors (dtype, shape, bytes), and the rest of its metadata."""

    document: dict[str, Any]
    tensors: dict[str, Raw]
    metadata: dict[str, Any]

    @classmethod
    def of(cls, path: Path) -> Forged:
        data = path.read_bytes()
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        metadata = header.pop("__metadata__")
        document = json.loads(metadata.pop("rcproof"))
        metadata.pop("rcproof_sha256")
        tensors = {}
        for name, item in header.items():
            start, stop = (8 + length + n for n in item["data_offsets"])
            tensors[name] = (item["dtype"], item["shape"], data[start:stop])
        return cls(document, tensors, metadata)

    def copy(self) -> Forged:
        return Forged(copy.deepcopy(self.document), dict(self.tensors), dict(self.metadata))

    @property
    def certificate(self) -> dict[str, Any]:
        return self.document["certificate"]

    @property
    def nodes(self) -> list[dict[str, Any]]:
        return self.document["net"]["graph"]["nodes"]

    @property
    def source(self) -> dict[str, Any]:
        return self.certificate["source"]

    def node(self, name: str) -> dict[str, Any]:
        """A step of the result."""
        (found,) = [n for n in self.nodes if n["name"] == name]
        return found

    def row(self, name: str) -> dict[str, Any]:
        """A row of the certificate's tensors."""
        (found,) = [r for r in self.certificate["tensors"] if r["name"] == name]
        return found

    def both(self, name: str, **changes: Any) -> None:
        """Change a step in the result and in the description of the source."""
        for graph in (self.document["net"]["graph"], self.source["graph"]):
            (node,) = [n for n in graph["nodes"] if n["name"] == name]
            for key, value in changes.items():
                if key in ("op", "target", "args", "kwargs") or graph is self.document["net"]["graph"]:
                    node[key] = value
                if value is ...:
                    node.pop(key, None)

    def insert(self, before: str, name: str, target: str, args: list[Any], op: str = "call", **labels: Any) -> None:
        """A step more in both graphs; ``labels`` for the result."""
        for graph in (self.document["net"]["graph"], self.source["graph"]):
            nodes = graph["nodes"]
            at = next(i for i, n in enumerate(nodes) if n["name"] == before)
            node = {"name": name, "op": op, "target": target, "kind": "merged", "args": args}
            if graph is not self.source["graph"]:
                node |= {"kind": "free", "rule": "free of the input", "lemma": "T2", **labels}
            nodes.insert(at, node)

    def prove(self) -> Forged:
        """A proof for the graph as it now is, where there is one, and rows that fit."""
        self.said()
        self.certificate["proof"] = network_steps(self.document["net"]["graph"])
        return self

    def said(self) -> None:
        """Make the certificate say of every step what the graph says of it, with the conditions it then has."""
        for name, found in conditions(self.document, self.certificate).items():
            self.node(name).pop("conditions", None)
            if found:
                self.node(name)["conditions"] = found
        lifted = self.certificate["lifted"]
        self.certificate["nodes"] = [
            {
                "name": n["name"], "target": n["target"] or n["op"], "rule": n.get("rule", ""),
                "lemma": n.get("lemma", ""), "conditions": n.get("conditions", []),
                "lifted": n["op"] == "module" and n["target"] in lifted,
            }
            for n in self.nodes
        ]  # fmt: skip

    def rehash(self, source: bool = True) -> None:
        """Every digest of a tensor, in the description and in the certificate; with ``source``, of its origin too."""
        self.document["sha256"] = {name: sha256(*raw) for name, raw in self.tensors.items()}
        aliases = self.document["aliases"]
        for row in self.certificate["tensors"]:
            key = aliases.get(row["name"], row["name"])
            if key not in self.tensors:
                continue
            row["result_sha256"] = self.document["sha256"][key]
            row["shape"] = self.tensors[key][1]
            row["dtype"] = str(DTYPES[self.tensors[key][0]]).removeprefix("torch.")
            if source and row["how"] == "copy" and row["source"] in self.source["tensors"]:
                row["source_sha256"] = row["result_sha256"]
                self.source["tensors"][row["source"]] = {
                    "sha256": row["result_sha256"], "shape": row["shape"], "dtype": row["dtype"]
                }  # fmt: skip

    def text(self) -> str:
        return json.dumps(self.document)

    def write(self, path: Path, text: str | None = None, header: str | None = None, data: bytes | None = None) -> Path:
        """Write it, with the sha256 of the description as it now is; or with this description, header or data."""
        text = self.text() if text is None else text
        digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
        found: dict[str, Any] = {"__metadata__": {**self.metadata, "rcproof": text, "rcproof_sha256": digest}}
        at = 0
        for name, (dtype, shape, body) in self.tensors.items():
            found[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(body)]}
            at += len(body)
        raw = (json.dumps(found) if header is None else header).encode()
        body = b"".join(b for _, _, b in self.tensors.values()) if data is None else data
        path.write_bytes(len(raw).to_bytes(8, "little") + raw + body)
        return path

    def tensor(self, name: str) -> Tensor:
        dtype, shape, body = self.tensors[self.document["aliases"].get(name, name)]
        return torch.frombuffer(bytearray(body), dtype=DTYPES[dtype]).reshape(shape).clone()

    def put(self, name: str, tensor: Tensor) -> None:
        """Store a tensor."""
        dtype = next(k for k, v in DTYPES.items() if v == tensor.dtype)
        body = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        self.tensors[name] = (dtype, list(tensor.shape), body)


def conditions(document: dict[str, Any], certificate: dict[str, Any]) -> dict[str, list[str]]:
    """What the checker would have each step list; nothing where it does not get so far."""
    try:
        claimed = read_claims(document, certificate)
        pairing, traced = match(claimed), checker._examples(claimed)
    except (Refusal, RcproofError):
        return {}
    found = {}
    for node in claimed.graph.nodes:
        values = {name: traced[other] for name, other in pairing.lifted.items()}
        reads = [t for r in dict.fromkeys(node.refs()) if (t := values.get(r)) is not None and t.axis is not None]
        layer = claimed.layers[node.target] if node.op == "module" else None
        found[node.name] = side_conditions(node, layer, reads, values.get(node.name, Traced()))
    return found


def sha256(dtype: str, shape: list[int], body: bytes) -> str:
    digest = hashlib.sha256(f"{DTYPES[dtype]}{tuple(shape)}".encode())
    digest.update(body)
    return digest.hexdigest()


def verdict(path: Path, source: Any = None) -> Verdict | str:
    """What the checker finds, or the one line with which it turns the file away."""
    try:
        found = check_file(path, source)
    except CheckpointError as error:
        return one_line(str(error))
    for check in found.report.failures:
        assert len(str(check).splitlines()) == 1, str(check)
    return found


def one_line(text: str) -> str:
    assert len(text.splitlines()) == 1
    return text


def accepted(path: Path, source: Any = None) -> bool:
    found = verdict(path, source)
    return not isinstance(found, str) and found.passed


def described(forged: Forged) -> Conjoined:
    """The conjoined network that a certificate describes, with the weights of the file: built by other code."""
    said = forged.source
    rows = {row["source"]: row for row in forged.certificate["tensors"]}
    layers = forged.document["net"]["layers"]

    def weight(row: dict[str, Any]) -> Tensor:
        tensor = forged.tensor(row["name"])
        if row["how"] == "copy":
            return tensor
        assert row["how"] == "copy+zero"
        spec = next(s for p, s in layers.items() if f"{p}.weight" == row["name"])
        groups = spec["args"].get("groups", 1)
        if "Transpose" in spec["type"]:
            return tensor.reshape(groups, 2, -1, *tensor.shape[1:])[:, 0].flatten(0, 1)
        return tensor.chunk(2, 0 if "WeightedSum" in spec["type"] else 1)[0]

    def network(part: dict[str, Any], prefixes: tuple[str, ...]) -> Network:
        made = {p: layer_from_json(p, s) for p, s in part["layers"].items()}
        for layer in made.values():
            if hasattr(layer, "inplace"):
                layer.inplace = False  # the graph says who reads what, and that is all
        found = Network(Graph.from_json(part["graph"]), made)
        for name in part.get("free", {}):
            attach(found, name, torch.empty(0))
        names = [*found.named_parameters(remove_duplicate=False), *found.named_buffers(remove_duplicate=False)]
        for name, _ in names:
            row = next(rows[p + name] for p in prefixes if p + name in rows)
            holder, _, last = name.rpartition(".")
            owner = found.get_submodule(holder)
            store = owner._parameters if last in owner._parameters else owner._buffers
            tensor = weight(row)
            store[last] = nn.Parameter(tensor, False) if store is owner._parameters else tensor
        return found.eval()

    alone = any(name.startswith("net.") and not name.startswith("net.net.") for name in rows)
    one = [n for n in said["graph"]["nodes"] if n["op"] != "input"]
    single = alone and len(one) == 1 and one[0]["target"] == "net"
    net = network(said, ("" if single else "net.", "constant "))
    ends = []
    for final in said["final"]:
        if final is None:
            ends.append(None)
            continue
        moved = json.loads(json.dumps(final))  # what moved aside for a layer "final" of the branch has its old name
        heads = {p.partition(".")[0] for p in moved["layers"]} | {p.partition(".")[0] for p in moved.get("free", {})}
        for head in heads:
            rows.update({r["name"]: r for r in forged.certificate["tensors"] if r["name"].startswith(head + ".")})
        ends.append(network(moved, ("",)))
    return Conjoined(net, said["inputs"], said["outputs"], said["merge"], ends).eval()


def agree(path: Path, forged: Forged, draws: int = 3) -> bool:
    """Whether the network of the file, in every layout, is the one that it describes, on inputs at random."""
    reference, network = described(forged), rcproof.load(path)
    for seed in range(draws):
        generator = torch.Generator().manual_seed(seed)
        inputs = []
        for shape, rep in zip(forged.document["input_shapes"], forged.source["inputs"], strict=True):
            rho = representation(rep)
            if rho.tokens:
                inputs.append(torch.randint(len(rho.channels), (3, *shape), generator=generator))
            else:
                inputs.append(2 * torch.rand(3, *shape, generator=generator, dtype=torch.float64) - 0.5)
        want = leaves(reference(*inputs))
        for layout in ("auto", "stacked", "batched"):
            got = leaves(network.set_layout(layout)(*inputs))
            if len(got) != len(want) or not all(close(a, b) for a, b in zip(got, want, strict=True)):
                return False
    return True


def close(a: Tensor, b: Tensor) -> bool:
    """To 1e-12; weights that were swapped or whose bits were flipped may give NaN, which must then be in both."""
    size = float(b.nan_to_num(0, 0, 0).abs().max().clamp_min(1.0))
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-12, atol=1e-12 * size, equal_nan=True)


def leaves(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [t for v in (value.values() if isinstance(value, dict) else value) for t in leaves(v)]
