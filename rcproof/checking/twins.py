"""Which tied layer is the lift of which ordinary layer: the same arguments, and how its input is seen.

Layers are compared as data, ``{"type": …, "args": …}``, as they stand in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rcproof.errors import RcproofError
from rcproof.network.graph import decode
from rcproof.strand import Representation, representation

#: Ordinary layer → its tied twin, and the rule under which lemmas speak of it.
TWINS: dict[str, tuple[str, str]] = {
    "torch.nn.Conv1d": ("rcproof.nn.RCPSConv1d", "conv"),
    "torch.nn.ConvTranspose1d": ("rcproof.nn.RCPSConvTranspose1d", "transposed conv"),
    "torch.nn.Linear": ("rcproof.nn.RCPSLinear", "linear"),
    "torch.nn.BatchNorm1d": ("rcproof.nn.RCPSBatchNorm1d", "batch norm"),
    "torch.nn.LayerNorm": ("rcproof.nn.RCPSLayerNorm", "layer norm"),
    "torch.nn.GroupNorm": ("rcproof.nn.RCPSGroupNorm", "group norm"),
    "torch.nn.InstanceNorm1d": ("rcproof.nn.RCPSInstanceNorm1d", "instance norm"),
    "torch.nn.MaxPool1d": ("rcproof.nn.RCPSMaxPool1d", "pooling"),
    "torch.nn.AvgPool1d": ("rcproof.nn.RCPSAvgPool1d", "pooling"),
    "torch.nn.LPPool1d": ("rcproof.nn.RCPSLPPool1d", "pooling"),
    "torch.nn.AdaptiveAvgPool1d": ("rcproof.nn.RCPSAdaptiveAvgPool1d", "pooling"),
    "torch.nn.AdaptiveMaxPool1d": ("rcproof.nn.RCPSAdaptiveMaxPool1d", "pooling"),
    "torch.nn.Dropout": ("rcproof.nn.RCPSDropout", "dropout"),
    "torch.nn.Dropout1d": ("rcproof.nn.RCPSDropout1d", "dropout"),
    "torch.nn.Embedding": ("rcproof.nn.RCPSEmbedding", "embedding"),
    "rcproof.nn.WeightedSum1d": ("rcproof.nn.RCPSWeightedSum1d", "weighted sum over positions"),
}

#: Arguments of ordinary layers that twins lack, and the values with which they change nothing (None: any).
_SILENT: dict[str, tuple[Any, ...] | None] = {
    "inplace": None,
    "scale_grad_by_freq": None,
    "sparse": None,
    "norm_type": None,  # of an embedding without max_norm
    "return_indices": (False,),
    "divisor_override": (None,),
    "max_norm": (None,),
    "padding_mode": ("zeros",),
    "elementwise_affine": (True,),
    "bias": (True, None),
}

#: Arguments that only twins have: how strands come in, and the masks of training.
_OWN = ("source", "coupled", "masks")


def twin_problem(path: str, source: Any, result: Any, closed: Representation | None) -> str:
    """Why ``result`` is not the lift of ``source``; empty if it is.

    ``closed``: the representation of the closed value that the layer reads, or None if it reads a strand pair.
    """
    try:
        mine, theirs = source["type"], result["type"]
        given, found = _plain(source["args"]), _plain(result["args"])
    except (KeyError, TypeError, AttributeError, RcproofError):
        return f"layer {path!r} is not described"
    if mine == theirs:
        given.pop("inplace", None), found.pop("inplace", None)
        return "" if given == found else f"layer {path!r} has other arguments than its source"
    if TWINS.get(mine, ("",))[0] != theirs:
        return f"layer {path!r}: {theirs} is not the lift of {mine}"
    for key, value in found.items():
        if key not in _OWN and (key not in given or given[key] != value):
            return f"layer {path!r}: {key} is {value!r}, in the source {given.get(key)!r}"
    for key in set(given) - set(found):
        if key not in _SILENT or (_SILENT[key] is not None and given[key] not in (_SILENT[key] or ())):
            return f"layer {path!r}: the source has {key} = {given[key]!r}, which the lift does not know"
    return _input_problem(path, theirs, found, closed)


def _input_problem(path: str, kind: str, args: Mapping[str, Any], closed: Representation | None) -> str:
    """How the tied layer sees its input."""
    stated = args.get("source")
    if stated is None:
        return ""  # it reads a strand pair; a closed value is made one first (T1)
    if closed is None:
        return f"layer {path!r} is tied over {stated}, but reads a strand pair"
    if args.get("coupled"):
        return f"layer {path!r} is coupled and tied over a closed input"
    try:
        rep = representation(stated)
        if kind == "rcproof.nn.RCPSEmbedding":
            size = int(args["num_embeddings"])
            codes = closed.permutation(closed.size or 0)
            same = rep.tokens and closed.tokens and rep.permutation(size) == (*codes, *range(len(codes), size))
        else:
            same = rep == closed
    except (RcproofError, KeyError, TypeError, ValueError):
        same = False
    return "" if same else f"layer {path!r} is tied over {stated}; its input transforms by {closed}"


def _plain(args: Mapping[str, Any]) -> dict[str, Any]:
    """Decoded arguments, with one-element tuples as numbers: torch says (3,) where a tied layer says 3."""
    found = {}
    for key, value in args.items():
        item = decode(value)
        item = tuple(item) if isinstance(item, list) else item
        found[str(key)] = item[0] if isinstance(item, tuple) and len(item) == 1 else item
    return found


def arguments(spec: Any) -> dict[str, Any]:
    """The arguments of a layer, decoded."""
    return _plain(spec["args"])
