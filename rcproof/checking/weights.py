"""The weight map: every tensor of the result is a tensor of the source, bit by bit, or that and zeros.

``copy``: the same bytes. ``copy+zero``: V = [A, B] along the coupling axis, A the source's tensor and B zero, of a
layer whose cross-strand weights were made trainable after the conversion. There is no other way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rcproof.checking.container import Container, Stored
from rcproof.checking.described import CODE, Claimed, branch_prefix
from rcproof.checking.traces import Refusal
from rcproof.nn.base import TiedLayer
from rcproof.nn.couple import split_weight

COPY, COUPLED = "copy", "copy+zero"

Found = list[tuple[str, str]]


def check_weights(claimed: Claimed, container: Container, hashes: Mapping[str, str]) -> Found:
    """(what was looked at, what is wrong with it or nothing) for every tensor of the result and of the file."""
    rows = claimed.certificate["tensors"]
    wanted = claimed.tensors
    stored = set(container.tensors)
    found = [("every tensor is listed once", _listing([row["name"] for row in rows], set(wanted)))]
    found.append(("every tensor of the file has one name", _naming(claimed, set(wanted), stored)))
    prefix = branch_prefix(claimed.source.graph, claimed.source.tensors)
    origins = set()
    for row in rows:
        name = row["name"]
        if name not in wanted:
            continue
        known = claimed.source.names.get(name, (prefix + name, None))
        origins.add(known[0])
        problem = ""
        try:
            _check_row(row, claimed, container, hashes, wanted[name], *known)
        except Refusal as refusal:
            problem = str(refusal)
        found.append((f"{name}: {row['how']} of {row['source']}"[:200], problem))
    unused = sorted(set(claimed.source.tensors) - origins)
    found.append(
        ("every tensor of the source is in the result", f"{unused[0]!r} is not" if unused and found[0][1] == "" else "")
    )
    stated = claimed.document["sha256"]
    wrong = sorted({k for k in (*hashes, *stated) if stated.get(k) != hashes.get(k)})
    found.append(("sha256 of every tensor", f"{wrong[0]!r} has another than the file states" if wrong else ""))
    return found


def _listing(listed: list[str], wanted: set[str]) -> str:
    missing, more = sorted(wanted - set(listed)), sorted(set(listed) - wanted)
    if missing:
        return f"{len(missing)} tensors are not in the certificate, first {missing[0]!r}"
    if more:
        return f"{len(more)} tensors are not in the network, first {more[0]!r}"
    return "" if len(listed) == len(set(listed)) else "a tensor is listed twice"


def _naming(claimed: Claimed, wanted: set[str], stored: set[str]) -> str:
    """Each name of a tensor stands in the file or is another name of one that does; nothing else is there."""
    aliases = claimed.aliases
    both, lost = sorted(set(aliases) & stored), sorted(set(aliases.values()) - stored)
    if both:
        return f"{both[0]!r} stands in the file, and is said to be another name of {aliases[both[0]]!r}"
    if lost:
        return f"{lost[0]!r} is said to have other names, and is not in the file"
    missing, extra = sorted(wanted - stored - set(aliases)), sorted(stored - wanted)
    if missing:
        return f"{missing[0]!r} is not in the file"
    return f"{extra[0]!r} does not belong to the network" if extra else ""


def _check_row(
    row: Mapping[str, Any],
    claimed: Claimed,
    container: Container,
    hashes: Mapping[str, str],
    expected: Tensor,
    origin: str,
    source: Tensor | None,
) -> None:
    """``expected``: the tensor in the result by its layers; ``origin``, ``source``: its name and self in the source."""
    key = claimed.key(row["name"])
    held = container.tensors.get(key)
    if held is None:
        raise Refusal("the file holds no such tensor")
    if tuple(expected.shape) != held.shape or tuple(row["shape"]) != held.shape or row["dtype"] != held.dtype:
        raise Refusal(f"the file holds {held.dtype} {held.shape}; the layer has {tuple(expected.shape)}")
    if hashes[key] != row["result_sha256"]:
        raise Refusal(f"its sha256 is {hashes[key][:12]}…, in the certificate {row['result_sha256'][:12]!r}…")
    if not held.finite and not (origin.startswith(CODE) and row["name"] in claimed.loose):  # a mask of −∞ is a constant
        raise Refusal("it holds NaN or infinity, on which exact arithmetic says nothing")
    if row["source"] != origin:
        raise Refusal(f"in the source it would be {origin!r}")
    stated = claimed.source.tensors.get(origin)
    if stated is None:
        raise Refusal("the source has no such tensor")
    if stated["sha256"] != row["source_sha256"]:
        raise Refusal("the certificate states two hashes of the source's tensor")
    shape = tuple(stated["shape"])
    if source is not None and tuple(source.shape) != shape:
        raise Refusal(f"the source's layer has {tuple(source.shape)}, the certificate says {shape}")
    if stated["dtype"] != held.dtype:
        raise Refusal("it has another dtype than in the source")
    if row["how"] == COPY:
        if hashes[key] != row["source_sha256"] or shape != held.shape:
            raise Refusal("it differs from the source's tensor")
    elif row["how"] == COUPLED:
        _check_coupled(claimed, key, held, row["source_sha256"], shape)
    else:
        raise Refusal(f"no way of {row['how'][:40]!r} is known")


def _check_coupled(claimed: Claimed, key: str, held: Stored, sha256: str, shape: tuple[int, ...]) -> None:
    layers = [m for p, m in claimed.layers.items() if claimed.key(f"{p}.weight") == key]
    if not layers or not all(isinstance(m, TiedLayer) and m.coupled for m in layers):
        raise Refusal("the layer is not coupled")
    if any(n.op == "tensor" and claimed.key(n.target) == key for n in claimed.graph.nodes):
        raise Refusal("a step reads it by itself, and would read B too")
    if not held.data:
        raise Refusal("it is empty")
    whole = torch.frombuffer(bytearray(held.data), dtype=getattr(torch, held.dtype)).reshape(held.shape)
    for layer in layers:
        assert isinstance(layer, TiedLayer)
        a, b = split_weight(layer, whole)
        if bool(torch.any(b != 0)):  # NaN is not zero either
            raise Refusal("B is not zero")
        data = a.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        if tuple(a.shape) != shape or held.sha256(data, tuple(a.shape)) != sha256:
            raise Refusal("A differs from the source's tensor")
