"""One rule a layer: what it matches, the tied layer it becomes, the lemma that covers it.

A rule is registered by decorator for a layer class and gets the layer and the type of its input. A layer
without a rule, or one whose rule declines, is lifted whole (T2): always right, recorded as lifted.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

import rcproof.nn as tied
from rcproof.convert.typing import Info, Mixing, axes
from rcproof.network.modules import constructor_arguments
from rcproof.nn.base import TiedLayer
from rcproof.strand import Representation


@dataclass
class Rewrite:
    """What a rule emits: the tied layer (None: the layer itself runs in the batch), and why that is right."""

    layer: TiedLayer | None
    rule: str
    lemma: str
    stacked: str = ""
    axis: int | None = 0
    lifted: bool = False


@dataclass(frozen=True)
class Site:
    """Where a layer is called: the types of its arguments, and whether all its calls see one closed input."""

    infos: tuple[Info, ...]
    source: Representation | None
    dropout: str = "independent"

    @property
    def x(self) -> Info:
        if not self.infos or self.infos[0].shape is None:
            raise Mixing("its first argument is not a tensor that depends on the input")
        return self.infos[0]

    @property
    def rank(self) -> int:
        return len(self.x.shape or ())


Rule = Callable[[Any, Site], Rewrite | None]
RULES: dict[type[nn.Module], Rule] = {}


def rule(*classes: type[nn.Module]) -> Callable[[Rule], Rule]:
    """Register a rule for layer classes."""

    def register(function: Rule) -> Rule:
        for cls in classes:
            RULES[cls] = function
        return function

    return register


def match(module: nn.Module) -> Rule | None:
    """The rule for a layer: its exact class, or a subclass that overrides nothing that forward could call."""
    hooked = module._forward_hooks or module._forward_pre_hooks or "parametrizations" in module._modules
    if hooked or "forward" in module.__dict__:
        return None
    changed: set[str] = set()
    for cls in type(module).__mro__:
        if cls in RULES:
            overridden = {name for name in changed if hasattr(cls, name)} - _HARMLESS
            return None if overridden else RULES[cls]
        changed |= set(vars(cls))
    return None


# What a subclass may define anew and still be the same layer.
_HARMLESS = frozenset(vars(type("_", (), {}))) | {
    "__init__", "__repr__", "__annotations__", "__parameters__", "__firstlineno__", "__static_attributes__",
    "extra_repr", "reset_parameters", "_get_name",
}  # fmt: skip


def _batch_first(site: Site, what: str) -> None:
    if site.x.axis != 0:
        raise Mixing(f"{what} needs the examples on axis 0; they are on axis {site.x.axis}")


def _build(cls: type[TiedLayer], module: nn.Module, **changes: Any) -> TiedLayer | None:
    """The tied layer with the arguments of ``module``, without memory; None if it lacks one that matters."""
    known = inspect.signature(cls.__init__).parameters
    args = constructor_arguments(module)
    if "bias" in args and "bias" not in known and not args["bias"] and module.weight is not None:
        return None  # newer torch has norms with a weight and no bias
    with torch.device("meta"):
        return cls(**{k: v for k, v in args.items() if k in known}, **changes)


def _tied(layer: TiedLayer | None, rule: str) -> Rewrite | None:
    return None if layer is None else Rewrite(layer, rule, "T5", "tied")


@rule(nn.Conv1d)
def conv(module: nn.Conv1d, site: Site) -> Rewrite | None:
    """Convolution: V = W where the input is closed, V = [W, 0] where it is a strand pair."""
    _batch_first(site, "a convolution")
    if site.rank != 3:
        return None
    args = constructor_arguments(module)
    args["padding"] = module.padding if isinstance(module.padding, str) else module.padding[0]
    for key in ("kernel_size", "stride", "dilation"):
        args[key] = args[key][0]
    source = site.source
    with torch.device("meta"):
        layer = tied.RCPSConv1d(**args, source=source, coupled=False)
    return Rewrite(layer, "conv", "T5", "tied")


@rule(nn.ConvTranspose1d)
def conv_transpose(module: nn.ConvTranspose1d, site: Site) -> Rewrite | None:
    _batch_first(site, "a transposed convolution")
    if site.rank != 3 or module.padding_mode != "zeros":
        return None
    args = constructor_arguments(module)
    args.pop("padding_mode", None)
    for key in ("kernel_size", "stride", "dilation", "padding", "output_padding"):
        args[key] = args[key][0]
    with torch.device("meta"):
        layer = tied.RCPSConvTranspose1d(**args, coupled=False)
    return Rewrite(layer, "transposed conv", "T5", "tied")


@rule(nn.Linear)
def linear(module: nn.Linear, site: Site) -> Rewrite | None:
    if site.x.axis == site.rank - 1:
        raise Mixing("a dense layer across the examples")
    source = site.source if site.rank == 2 else None
    with torch.device("meta"):
        layer = tied.RCPSLinear(module.in_features, module.out_features, module.bias is not None, source=source)
    stacked = "tied" if site.rank == 2 and site.x.axis == 0 else ""
    return Rewrite(layer, "linear", "T5", stacked, axis=site.x.axis)


@rule(tied.WeightedSum1d)
def weighted_sum(module: tied.WeightedSum1d, site: Site) -> Rewrite | None:
    _batch_first(site, "a weighted sum")
    with torch.device("meta"):
        layer = tied.RCPSWeightedSum1d(**constructor_arguments(module))
    return Rewrite(layer, "weighted sum over positions", "T5", "tied")


@rule(nn.BatchNorm1d)
def batch_norm(module: nn.BatchNorm1d, site: Site) -> Rewrite | None:
    _batch_first(site, "batch norm")
    if not module.track_running_stats or module.running_mean is None:
        raise Mixing("batch norm without running statistics mixes examples in eval mode too")
    layer = _build(tied.RCPSBatchNorm1d, module)
    return _tied(layer, "batch norm")


@rule(nn.LayerNorm)
def layer_norm(module: nn.LayerNorm, site: Site) -> Rewrite | None:
    if (site.x.axis or 0) >= site.rank - len(module.normalized_shape):
        raise Mixing("layer norm over the examples")
    with torch.device("meta"):
        layer = tied.RCPSLayerNorm(
            tuple(module.normalized_shape),
            module.eps,
            module.elementwise_affine,
            getattr(module, "bias", None) is not None,
        )
    # (N, F) and (N, F, L) with F normalised have a stacked form; over the last axis of (N, L, F) it runs in the batch.
    stacked = "tied" if site.x.axis == 0 and len(module.normalized_shape) == site.rank - 1 else ""
    return Rewrite(layer, "layer norm", "T5", stacked, axis=site.x.axis)


@rule(nn.GroupNorm)
def group_norm(module: nn.GroupNorm, site: Site) -> Rewrite | None:
    _batch_first(site, "group norm")
    if site.rank not in (2, 3):
        return None
    return _tied(_build(tied.RCPSGroupNorm, module), "group norm")


@rule(nn.InstanceNorm1d)
def instance_norm(module: nn.InstanceNorm1d, site: Site) -> Rewrite | None:
    _batch_first(site, "instance norm")
    if site.rank != 3:
        return None
    return _tied(_build(tied.RCPSInstanceNorm1d, module), "instance norm")


@rule(nn.MaxPool1d, nn.AvgPool1d, nn.LPPool1d, nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool1d)
def pooling(module: nn.Module, site: Site) -> Rewrite | None:
    _batch_first(site, "pooling")
    args = constructor_arguments(module)
    if site.rank != 3 or args.pop("return_indices", False):
        return None
    cls = getattr(tied, f"RCPS{_base_name(module)}")
    with torch.device("meta"):
        layer = cls(**args)
    if isinstance(module, nn.AdaptiveAvgPool1d | nn.AdaptiveMaxPool1d) and args["output_size"] in (1, (1,), [1]):
        return Rewrite(layer, "global pooling", "T5", "tied")
    # The lemmas cover full windows that count their padding; other pools run in the batch, where each is its own lift.
    sliding = isinstance(module, nn.MaxPool1d | nn.AvgPool1d) and not module.ceil_mode
    if not sliding or not getattr(module, "count_include_pad", True):
        return Rewrite(layer, "pooling", "T2")
    return Rewrite(layer, "pooling", "T5", "tied")


@rule(nn.Dropout, nn.Dropout1d)
def dropout(module: nn.Dropout | nn.Dropout1d, site: Site) -> Rewrite | None:
    cls = tied.RCPSDropout1d if isinstance(module, nn.Dropout1d) else tied.RCPSDropout
    ordinary = site.x.axis == 0 and site.rank in (2, 3)
    layer = cls(module.p, site.dropout)
    return Rewrite(layer, "dropout", "T2", "tied" if ordinary else "", axis=site.x.axis)


@rule(nn.Embedding)
def embedding(module: nn.Embedding, site: Site) -> Rewrite | None:
    if site.source is None or not site.source.tokens or module.max_norm is not None:
        return None
    codes = site.source.permutation(site.source.size or 0)
    if len(codes) > module.num_embeddings:
        return None
    # Codes beyond those of the input (a mask, say) have no complement.
    source = Representation((*codes, *range(len(codes), module.num_embeddings)), tokens=True)
    with torch.device("meta"):
        layer = tied.RCPSEmbedding(
            module.num_embeddings, module.embedding_dim, source=source, padding_idx=module.padding_idx
        )
    # Its plain output (N, L, D) has no stacked form: channels come last.
    return Rewrite(layer, "embedding", "T5")


_POINTWISE = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid, nn.LogSigmoid,
    nn.Tanh, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Softplus, nn.Softsign, nn.Softshrink, nn.Hardshrink,
    nn.Tanhshrink, nn.Threshold, nn.Identity,
)  # fmt: skip


@rule(*_POINTWISE)
def pointwise(module: nn.Module, site: Site) -> Rewrite | None:
    """A pointwise function is its own lift."""
    plain = site.x.axis == 0 and site.rank in (2, 3)
    return Rewrite(None, "pointwise", "T2", "same" if plain else "", axis=site.x.axis)


@rule(nn.Flatten)
def flatten(module: nn.Flatten, site: Site) -> Rewrite | None:
    _batch_first(site, "flatten")
    if module.start_dim == 0:
        raise Mixing("it flattens the examples into another axis")
    whole = site.rank == 3 and module.start_dim == 1 and module.end_dim in (-1, 2)
    return Rewrite(None, "flatten", "T5", "flatten" if whole else "")


@rule(nn.Softmax, nn.LogSoftmax, nn.Softmin)
def softmax(module: nn.Softmax, site: Site) -> Rewrite | None:
    if module.dim is None:
        raise Mixing("softmax without dim guesses an axis; give it one")
    (dim,) = axes(module.dim, site.rank)
    if dim == site.x.axis:
        raise Mixing("softmax over the examples")
    # Over stacked channels it would mix the strands (T13): only the length axis has a stacked form.
    return Rewrite(
        None, "softmax", "T2", "same" if site.rank == 3 and dim == 2 and site.x.axis == 0 else "", axis=site.x.axis
    )


@rule(nn.RNN, nn.LSTM, nn.GRU)
def recurrent(module: nn.RNNBase, site: Site) -> Rewrite | None:
    return _sequence_block(module.batch_first, site, "a recurrent layer")


@rule(tied.Recurrent)
def recurrent_channels_first(module: tied.Recurrent, site: Site) -> Rewrite | None:
    _batch_first(site, "a recurrent layer")
    return Rewrite(None, "lifted", "T2", lifted=True)


@rule(nn.MultiheadAttention, nn.TransformerEncoder, nn.TransformerEncoderLayer)
def attention(module: Any, site: Site) -> Rewrite | None:
    first = module.layers[0].self_attn if isinstance(module, nn.TransformerEncoder) else module
    first = first.self_attn if isinstance(first, nn.TransformerEncoderLayer) else first
    return _sequence_block(first.batch_first, site, "attention", 3 if first is module else 1)


def _sequence_block(batch_first: bool, site: Site, what: str, sequences: int = 1) -> Rewrite:
    """``sequences``: how many of its arguments are sequences; the others are states and masks."""
    wanted = 0 if batch_first else 1
    for info in site.infos[:sequences]:
        if info.kind == "free" or info.axis is None:
            continue
        if len(info.shape or ()) != 3:
            raise Mixing(f"{what} reads a tensor of rank {len(info.shape or ())} as one example")
        if info.axis != wanted:
            raise Mixing(f"{what} with batch_first={batch_first} reads axis {info.axis}, the examples, as positions")
    return Rewrite(None, "lifted", "T2", lifted=True, axis=wanted)


def lift(module: nn.Module, site: Site) -> Rewrite:
    """Any other layer, whole, on each strand."""
    return Rewrite(None, "lifted", "T2", axis=site.infos[0].axis if site.infos else 0, lifted=True)


def _base_name(module: nn.Module) -> str:
    return next(base.__name__ for base in type(module).__mro__ if base in RULES)
