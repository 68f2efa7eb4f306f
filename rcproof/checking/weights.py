"""The weight map: every tensor of the result is a tensor of the source, bit by bit, or that and zeros.

``copy``: the same bytes. ``copy+zero``: V = [A, B] along the coupling axis, A the source's tensor and B zero, of a
layer whose cross-strand weights were made trainable after the conversion. There is no other way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rcproof.checking.container import Container
from rcproof.checking.examples import Refusal
from rcproof.nn.base import TiedLayer
from rcproof.nn.couple import split_weight

COPY, COUPLED = "copy", "copy+zero"

#: Before the names of the source's tensors: those of the branch, of what follows the merge, and of its code.
BRANCH, CODE = "net.", "constant "


def check_weights(
    certificate: Mapping[str, Any],
    container: Container,
    hashes: Mapping[str, str],
    aliases: Mapping[str, str],
    wanted: Mapping[str, Tensor],
    source: Mapping[str, Tensor],
    layers: Mapping[str, nn.Module],
) -> list[tuple[str, str]]:
    """(what was looked at, what is wrong with it or nothing) for every tensor of the result.

    ``wanted``: names and shapes of the result's tensors by its graph and layers; ``source``: of the source's, by the
    description of the source; ``layers``: the result's by path. All on the meta device.
    """
    rows = certificate["tensors"]
    stated = certificate["source"]["tensors"]
    listed = [row["name"] for row in rows]
    found = [("every tensor is listed once", _listing(listed, set(wanted), len(rows)))]
    for row in rows:
        name = row["name"]
        if name not in wanted:
            continue
        try:
            _check_row(row, container, hashes, aliases, wanted, source, stated, layers)
            found.append((f"{name}: {row['how']} of {row['source']}", ""))
        except Refusal as refusal:
            found.append((f"{name}: {row['how']} of {row['source']}", str(refusal)))
    return found


def _listing(listed: list[str], wanted: set[str], count: int) -> str:
    missing, more = sorted(wanted - set(listed)), sorted(set(listed) - wanted)
    if missing:
        return f"{len(missing)} tensors are not in the certificate, first {missing[0]!r}"
    if more:
        return f"{len(more)} tensors are not in the network, first {more[0]!r}"
    return "" if count == len(set(listed)) else "a tensor is listed twice"


def _check_row(
    row: Mapping[str, Any],
    container: Container,
    hashes: Mapping[str, str],
    aliases: Mapping[str, str],
    wanted: Mapping[str, Tensor],
    source: Mapping[str, Tensor],
    stated: Mapping[str, Any],
    layers: Mapping[str, nn.Module],
) -> None:
    name, origin = row["name"], row["source"]
    key = aliases.get(name, name)
    held = container.tensors.get(key)
    if held is None:
        raise Refusal("the file holds no such tensor")
    expected = wanted[name]
    if tuple(expected.shape) != held.shape or list(row["shape"]) != list(held.shape) or row["dtype"] != held.dtype:
        raise Refusal(f"the file holds {held.dtype} {held.shape}; the layer has {tuple(expected.shape)}")
    if hashes[key] != row["result_sha256"]:
        raise Refusal(f"its sha256 is {hashes[key][:12]}…, in the certificate {str(row['result_sha256'])[:12]}…")
    head, _, rest = name.partition(".")  # what follows the merge moves aside where the branch has a layer "final"
    if origin not in (CODE + name, BRANCH + name, name, f"{head.rstrip('_')}.{rest}"):
        raise Refusal("it comes from a tensor of another name")
    if origin not in stated:
        raise Refusal("the source has no such tensor")
    if stated[origin].get("sha256") != row["source_sha256"]:
        raise Refusal("the certificate states two hashes of the source's tensor")
    shape = tuple(stated[origin].get("shape", ()))
    if origin in source and tuple(source[origin].shape) != shape:
        raise Refusal(f"the source's layer has {tuple(source[origin].shape)}, the certificate says {shape}")
    if stated[origin].get("dtype") != held.dtype:
        raise Refusal("it has another dtype than in the source")
    if row["how"] == COPY:
        if hashes[key] != row["source_sha256"] or shape != held.shape:
            raise Refusal("it differs from the source's tensor")
    elif row["how"] == COUPLED:
        _check_coupled(name, held, layers, row["source_sha256"], shape)
    else:
        raise Refusal(f"no way of {row['how']!r} is known")


def _check_coupled(name: str, held: Any, layers: Mapping[str, nn.Module], sha256: str, shape: tuple[int, ...]) -> None:
    path, _, last = name.rpartition(".")
    layer = layers.get(path)
    if not isinstance(layer, TiedLayer) or not layer.coupled or last != "weight":
        raise Refusal("the layer is not coupled")
    whole = torch.frombuffer(bytearray(held.data), dtype=getattr(torch, held.dtype)).reshape(held.shape)
    a, b = split_weight(layer, whole)
    if bool(torch.any(b != 0)) or bool(torch.any(torch.isnan(b))):
        raise Refusal("B is not zero")
    own = a.contiguous()
    data = own.reshape(-1).view(torch.uint8).numpy().tobytes()
    if tuple(own.shape) != shape or held.sha256(data, tuple(own.shape)) != sha256:
        raise Refusal("A differs from the source's tensor")
