"""Checking a certificate against the two networks, without trusting whoever wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rcproof.conjoined import Conjoined
from rcproof.convert.certificate import SCHEMA, tensor_sha256
from rcproof.convert.coupling import COUPLED
from rcproof.errors import CheckpointError
from rcproof.network.network import Network, find_module
from rcproof.nn.base import TiedLayer
from rcproof.nn.couple import split_weight
from rcproof.verify import Check, Report

_FIELDS = ("name", "source", "how", "source_sha256", "result_sha256")


def certificate_tensors(certificate: Mapping[str, Any]) -> list[dict[str, str]]:
    """The rows of a certificate from a file, checked to be rows: a file may hold anything."""
    try:
        if certificate["schema"] != SCHEMA:
            raise CheckpointError("schema of the certificate", got=repr(certificate["schema"]), expected=SCHEMA)
        rows = [{key: row[key] for key in _FIELDS} for row in certificate["tensors"]]
        if not all(isinstance(value, str) for row in rows for value in row.values()):
            raise TypeError("a field that is no text")
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError("the certificate is damaged", got=f"{type(error).__name__}: {error}") from None
    return rows


def check_certificate(certificate: Mapping[str, Any], source: Conjoined, converted: Network) -> Report:
    """Whether every tensor is where the certificate says it came from, bit by bit.

    ``certificate`` is the dictionary that a saved conversion carries. For each tensor of ``converted``: it is
    listed; its sha256 is the one stated; the source tensor's is the one stated; and ``how`` holds, by comparing the
    hashes of the two (of A, with B = 0, where the layer is coupled). Nothing else in the certificate is believed.

    Raises :class:`~rcproof.errors.CheckpointError` for a certificate that cannot be read.
    """
    rows = certificate_tensors(certificate)
    own, theirs = _named(converted), _named(source)
    checks = [_of("every tensor is listed once", _listing(rows, own))]
    constants = []
    for row in rows:
        name = row["name"]
        if name not in own:
            continue
        checks.append(_of(f"{name}: sha256 of the result", _hash(own[name], row["result_sha256"])))
        origin = theirs.get(row["source"])
        if origin is None:
            if row["source"] == f"constant {name}":
                constants.append(name)
            else:
                checks.append(_of(f"{name}: the source has {row['source']!r}", "it has no such tensor"))
            continue
        checks.append(_of(f"{name}: sha256 of the source", _hash(origin, row["source_sha256"])))
        checks.append(_of(f"{name}: {row['how']} of {row['source']}", _how(converted, row, own[name], origin)))
    notes = (
        [f"constants of the source's code, whose origin is not in its file: {', '.join(constants)}"]
        if constants
        else []
    )
    facts = {"tensors": str(len(rows)), "statement": str(certificate.get("statement", "none"))}
    return Report("certificate", tuple(checks), facts, tuple(notes))


def _of(name: str, problem: str) -> Check:
    return Check.failure(name, problem) if problem else Check.of(name, 0.0, 0.0)


def _named(module: nn.Module) -> dict[str, Tensor]:
    return dict([*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)])


def _listing(rows: list[dict[str, str]], own: Mapping[str, Tensor]) -> str:
    listed = [row["name"] for row in rows]
    missing, more = sorted(set(own) - set(listed)), sorted(set(listed) - set(own))
    if missing:
        return f"{len(missing)} tensors are not in the certificate, first {missing[0]!r}"
    if more:
        return f"{len(more)} tensors are not in the network, first {more[0]!r}"
    return "" if len(listed) == len(set(listed)) else "a tensor is listed twice"


def _hash(tensor: Tensor, stated: str) -> str:
    found = tensor_sha256(tensor)
    return "" if found == stated else f"it is {found[:12]}…, the certificate says {stated[:12]!r}…"


def _how(converted: Network, row: Mapping[str, str], tensor: Tensor, origin: Tensor) -> str:
    """Why the tensor is not what ``how`` makes of the source; empty if it is."""
    if row["how"] == "copy":
        return "" if tensor_sha256(tensor) == tensor_sha256(origin) else "the two tensors differ"
    if row["how"] == COUPLED:
        layer = find_module(converted, row["name"].rpartition(".")[0])
        if not isinstance(layer, TiedLayer) or not layer.coupled:
            return "the layer is not coupled"
        a, b = split_weight(layer)
        if not bool(torch.all(b == 0)):
            return "B is not zero"
        return "" if tensor_sha256(a) == tensor_sha256(origin) else "A differs from the source's tensor"
    return f"no way of {row['how']!r} is known"
