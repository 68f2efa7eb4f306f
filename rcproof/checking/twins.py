"""Which tied layer is the lift of which ordinary layer: the same arguments, and how its input is seen.

Layers are compared as data, ``{"type": …, "args": …}``, as they stand in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

import rcproof.nn as tied
from rcproof.errors import RcproofError
from rcproof.network.graph import decode
from rcproof.nn.base import TiedLayer
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

#: Arguments of ordinary layers that no twin has, and the values with which they change nothing (None: any).
_SILENT: dict[str, tuple[Any, ...] | None] = {
    "inplace": None,
    "scale_grad_by_freq": None,
    "sparse": None,
    "norm_type": None,  # of an embedding without max_norm
    "return_indices": (False,),
    "divisor_override": (None,),
    "max_norm": (None,),
    "padding_mode": ("zeros",),
}

#: Arguments that only twins have: how strands come in, and the masks of training.
_OWN = ("source", "coupled", "masks")

#: Layers that work entry by entry.
POINTWISE = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid, nn.LogSigmoid,
    nn.Tanh, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Softplus, nn.Softsign, nn.Softshrink, nn.Hardshrink,
    nn.Tanhshrink, nn.Threshold, nn.Identity,
)  # fmt: skip

_RULES = dict(TWINS.values())


def rule_of(layer: nn.Module) -> str:
    """The rule under which lemmas speak of a layer of the result that carries strands."""
    if isinstance(layer, tied.RCPSAdaptiveAvgPool1d | tied.RCPSAdaptiveMaxPool1d):
        return "global pooling" if layer.output_size == 1 else "pooling"
    if isinstance(layer, TiedLayer):
        return _RULES.get(f"rcproof.nn.{type(layer).__name__}", "lifted")
    if type(layer) in POINTWISE:
        return "pointwise"
    if type(layer) is nn.Flatten:
        return "flatten"
    return "softmax" if type(layer) in (nn.Softmax, nn.LogSoftmax, nn.Softmin) else "lifted"


def twin_problem(path: str, source: Any, result: Any, closed: Representation | None) -> str:
    """Why ``result`` is not the lift of ``source``; empty if it is.

    Both with every argument filled in. ``closed``: the representation of the closed value that the layer reads, or
    None if it reads a strand pair.
    """
    mine, theirs = source["type"], result["type"]
    if mine == theirs:
        return same_problem(path, source, result)
    if TWINS.get(mine, ("",))[0] != theirs:
        return f"layer {path!r}: {theirs} is not the lift of {mine}"
    given, found = arguments(source), arguments(result)
    if isinstance(given.get("p"), int):
        given["p"] = float(given["p"])  # tied dropout holds a float, whatever it was given
    if type(found.get("coupled", False)) is not bool:
        return f"layer {path!r}: coupled is {found['coupled']!r}"
    for key, value in found.items():
        if key not in _OWN and (key not in given or not _equal(given[key], value)):
            return f"layer {path!r}: {key} is {value!r}, in the source {given.get(key)!r}"
    for key in set(given) - set(found):
        if key == "bias":  # newer torch has norms with a weight and no bias; no twin has
            silent = given["bias"] is bool(given.get("affine", True))
        else:
            values = _SILENT.get(key, ())
            silent = values is None or any(_equal(given[key], value) for value in values)
        if not silent:
            return f"layer {path!r}: the source has {key} = {given[key]!r}, which the lift does not know"
    return _input_problem(path, theirs, found, closed)


def same_problem(path: str, one: Any, two: Any) -> str:
    """Why two layers are not one function in eval mode; empty if they are."""
    if one["type"] != two["type"]:
        return f"layer {path!r} is a {two['type']}, and a {one['type']}"
    given, found = arguments(one), arguments(two)
    for key in {*given, *found} - {"inplace"}:
        if key not in given or key not in found or not _equal(given[key], found[key]):
            return f"layer {path!r} has two values of {key}, {given.get(key)!r} and {found.get(key)!r}"
    return ""


def _equal(a: Any, b: Any) -> bool:
    """Equal and of one type, as 1, 1.0 and True are not."""
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(_equal, a, b))
    return type(a) is type(b) and bool(a == b)


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
