"""The certificate of a conversion: for every node its lemma, for every tensor where it came from.

Copies and halves are exact in binary floating point, so a certificate claims equality, not closeness.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from rcproof.network.graph import Graph

SCHEMA = "rcproof-certificate/3"

STATEMENT = (
    "In exact arithmetic the RCPS network equals the conjoined network on every input: "
    "RCPS(Φ(θ))(x) = Conjoined(θ)(x) for all x (T5), in eval mode."
)


@dataclass(frozen=True)
class TensorOrigin:
    """One tensor of the result: its name, the source tensor, how it arose, and both hashes.

    ``how`` is ``copy``, or ``copy+zero`` for a coupled layer: V = [A, B], A the source's tensor, B = 0.

    >>> from torch import nn
    >>> from rcproof import Conjoined, convert
    >>> net = nn.Sequential(nn.Conv1d(4, 2, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten()).eval()
    >>> certificate = convert(Conjoined(net).eval()).certificate
    >>> certificate.tensors[0].name, certificate.tensors[0].source, certificate.tensors[0].how
    ('0.weight', 'net.0.weight', 'copy')
    """

    name: str
    source: str
    how: str
    shape: tuple[int, ...]
    dtype: str
    source_sha256: str
    result_sha256: str


@dataclass(frozen=True)
class NodeProof:
    """One node of the result: what it calls, its rule, lemma and side conditions, and whether it was lifted whole.

    >>> from torch import nn
    >>> from rcproof import Conjoined, convert
    >>> net = nn.Sequential(nn.Conv1d(4, 2, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten()).eval()
    >>> certificate = convert(Conjoined(net).eval()).certificate
    >>> [(node.rule, node.lemma) for node in certificate.nodes][:2]
    [('closed input', 'T1'), ('conv', 'T5')]
    """

    name: str
    target: str
    rule: str
    lemma: str
    conditions: tuple[str, ...]
    lifted: bool


@dataclass(frozen=True)
class Certificate:
    """What was converted, why the result is the same function, and what that does not cover.

    ``source`` describes the conjoined network as data (:mod:`rcproof.convert.source`), and ``proof`` holds the steps
    of its representation theorem (:func:`rcproof.symbolic.networks.network_steps`), so that
    :func:`rcproof.checking.check_file` needs nothing but the file.

    >>> from torch import nn
    >>> from rcproof import Conjoined, convert
    >>> net = nn.Sequential(nn.Conv1d(4, 2, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten()).eval()
    >>> certificate = convert(Conjoined(net).eval()).certificate
    >>> certificate.merge, certificate.share_tied, certificate.lifted
    (('mean',), 1.0, ())
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    merge: tuple[str, ...]
    nodes: tuple[NodeProof, ...]
    tensors: tuple[TensorOrigin, ...]
    parameters: dict[str, int]
    lifted: tuple[str, ...]
    source: dict[str, Any] = field(default_factory=dict)
    proof: dict[str, Any] = field(default_factory=dict)
    statement: str = STATEMENT
    not_covered: tuple[str, ...] = (
        "train mode (batch norm pools both strands in the result; T10)",
        "rounding: the two networks may sum in another order (T12)",
    )
    checks: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    schema: str = SCHEMA

    def to_dict(self) -> dict[str, Any]:
        """The certificate as plain JSON values."""
        return asdict(self)

    @property
    def share_tied(self) -> float:
        """Share of the parameters that sit in tied layers (the rest is lifted)."""
        total = self.parameters["tied"] + self.parameters["lifted"]
        return self.parameters["tied"] / total if total else 1.0


def tensor_sha256(tensor: Tensor) -> str:
    """sha256 over dtype, shape and little-endian bytes."""
    plain = tensor.detach().cpu().contiguous()
    digest = hashlib.sha256(f"{plain.dtype}{tuple(plain.shape)}".encode())
    if plain.numel():
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def tensors_sha256(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """:func:`tensor_sha256` of each, a tensor a thread: hashing lets other threads run."""
    if sum(t.numel() for t in tensors.values()) < _MANY:
        return {name: tensor_sha256(t) for name, t in tensors.items()}
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        return dict(zip(tensors, pool.map(tensor_sha256, tensors.values()), strict=True))


#: Below so many values a thread costs more than it saves.
_MANY = 1 << 20


def versions() -> dict[str, str]:
    """What made this certificate."""
    import rcproof

    return {"rcproof": rcproof.__version__, "torch": torch.__version__, "python": platform.python_version()}


def node_proofs(graph: Graph, lifted: Iterable[str]) -> tuple[NodeProof, ...]:
    """The proofs of the nodes that carry strands."""
    whole = set(lifted)
    return tuple(
        NodeProof(
            n.name, n.target or n.op, n.rule, n.lemma, tuple(n.conditions), n.op == "module" and n.target in whole
        )
        for n in graph.nodes
        if n.rule
    )
