"""The ordinary twin of every tied layer: layers of ``torch.nn`` with the tied weights written out.

One function a layer and layout. Batched, the twin is the plain layer with the source's weights, after the other
strand has been put beside the own one where the layer is coupled. Stacked, it is the plain layer of twice the
channels with the weights ``tie(V)``, wherever one ordinary layer computes that on inputs of every length; where none
does (windows that do not centre), it goes through the batch, which is right for every layer (T2).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import rcproof.nn as tied
from rcproof.network.graph import Ref
from rcproof.network.ordinary import Layer, Site, batched, made, stacked
from rcproof.nn.base import TiedLayer
from rcproof.nn.weighted_sum import full_rows
from rcproof.strand import mirror, tie


def _tied(v: Tensor | None) -> Tensor | None:
    return None if v is None else tie(v)


# -- convolutions -----------------------------------------------------------------------------------------


def _options(m: Layer, *names: str) -> dict[str, Any]:
    return {name: getattr(m, name) for name in names}


def _conv(m: Layer, weight: Tensor, bias: Tensor | None, inputs: int, outputs: int, groups: int) -> nn.Module:
    transposed = isinstance(m, tied.RCPSConvTranspose1d)
    names = ("kernel_size", "stride", "padding", "dilation", "output_padding" if transposed else "padding_mode")
    return made(
        nn.ConvTranspose1d if transposed else nn.Conv1d,
        {"weight": weight, "bias": bias},
        in_channels=inputs,
        out_channels=outputs,
        groups=groups,
        bias=bias is not None,
        **_options(m, *names),
    )


@batched(tied.RCPSConv1d, tied.RCPSConvTranspose1d)
def conv_batched(m: Layer, site: Site) -> Ref:
    """The plain convolution; a coupled one reads the other strand as further channels, group by group."""
    inputs = m.in_channels * (2 if m.coupled else 1)
    x = site.x
    if m.coupled:
        other = site.nodes.partner(x, 3, site.like)
        if m.groups == 1:
            x = site.nodes.join(x, other, dim=1)
        else:
            split = (m.groups, m.in_channels // m.groups)
            parts = [site.nodes.call("Tensor.unflatten", part, 1, split) for part in (x, other)]
            x = site.nodes.call("torch.flatten", site.nodes.join(*parts, dim=2), 1, 2)
    return site.layer("", m, lambda: _conv(m, m.weight, m.bias, inputs, m.out_channels, m.groups), x)


def _centred(m: Layer, rank: int) -> bool:
    """Whether one convolution serves both strands at every length (T3), and the channels lie right for it."""
    closed = m.source is not None
    left, right = m.margins()
    if (m.groups > 1 and (closed or m.coupled)) or (closed and not m.source.reverses_length):
        return False
    return bool(m.stride == 1 and left == right)


@stacked(tied.RCPSConv1d, when=_centred)
def conv_stacked(m: tied.RCPSConv1d, site: Site) -> Ref:
    """Weight tie(V) of 2·out channels; two groups where the strands are not coupled."""
    closed = m.source is not None
    inputs = m.in_channels * (1 if closed else 2)
    groups = 1 if closed or m.coupled else 2 * m.groups
    make = lambda: _conv(m, tie(m.weight, m.source or "reversal"), _tied(m.bias), inputs, 2 * m.out_channels, groups)  # noqa: E731
    return site.layer("stacked", m, make)


@stacked(
    tied.RCPSConvTranspose1d,
    when=lambda m, rank: m.source is None and not m.output_padding and (m.groups == 1 or not m.coupled),
)
def conv_transpose_stacked(m: tied.RCPSConvTranspose1d, site: Site) -> Ref:
    """Weight tie(V), or [V, ρV] side by side where the strands are coupled."""

    def make() -> nn.Module:
        weight = torch.cat([m.weight, mirror(m.weight)], dim=1) if m.coupled else tie(m.weight)
        groups = 1 if m.coupled else 2 * m.groups
        return _conv(m, weight, _tied(m.bias), 2 * m.in_channels, 2 * m.out_channels, groups)

    return site.layer("stacked", m, make)


# -- dense layers -----------------------------------------------------------------------------------------


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Module:
    outputs, inputs = weight.shape
    return made(
        nn.Linear, {"weight": weight, "bias": bias}, in_features=inputs, out_features=outputs, bias=bias is not None
    )


@batched(tied.RCPSLinear)
def linear_batched(m: tied.RCPSLinear, site: Site) -> Ref:
    """The plain dense layer; a coupled one reads the other strand as further features."""
    x = site.x
    if m.coupled:
        x = site.nodes.join(x, site.nodes.partner(x, site.rank, site.like), dim=-1)
    return site.layer("", m, lambda: _linear(m.weight, m.bias), x)


@stacked(tied.RCPSLinear, when=lambda m, rank: rank == 2)
def linear_stacked(m: tied.RCPSLinear, site: Site) -> Ref:
    """One dense layer with weight tie(V), or one a strand where they are not coupled."""
    if m.coupled or m.source is not None:
        return site.layer("stacked", m, lambda: _linear(tie(m.weight, m.source or "reversal"), _tied(m.bias)))
    own, other = site.nodes.channels(site.x, site.shape, known=True)
    first = site.layer("own", m, lambda: _linear(m.weight, m.bias), own)
    turned = lambda: _linear(mirror(m.weight), None if m.bias is None else mirror(m.bias))  # noqa: E731
    return site.nodes.join(first, site.layer("other", m, turned, other), dim=1)


@batched(tied.RCPSWeightedSum1d)
def weighted_sum_batched(m: tied.RCPSWeightedSum1d | tied.WeightedSum1d, site: Site) -> Ref:
    """Also the plain layer, which is no layer of torch either."""

    def rows(of: slice) -> Callable[[], Tensor]:
        return lambda: full_rows(m.weight, m.length, m.symmetric)[of]

    nodes, half = site.nodes, m.channels
    y = nodes.call("torch.einsum", "ncl,cl->nc", site.x, site.weight("weight", m, rows(slice(half))))
    if isinstance(m, tied.RCPSWeightedSum1d) and m.coupled:
        coupling = site.weight("coupling", m, rows(slice(half, None)))
        other = nodes.partner(site.x, 3, site.like)
        y = nodes.call("operator.add", y, nodes.call("torch.einsum", "ncl,cl->nc", other, coupling))
    return _plus_bias(m, y, site, "bias", lambda bias: bias)


@stacked(tied.RCPSWeightedSum1d)
def weighted_sum_stacked(m: tied.RCPSWeightedSum1d, site: Site) -> Ref:
    """Weights tie(A), and tie(B) on the halves exchanged."""

    def rows(of: slice) -> Callable[[], Tensor]:
        return lambda: tie(full_rows(m.weight, m.length, m.symmetric)[of])

    nodes, half = site.nodes, m.channels
    y = nodes.call("torch.einsum", "ncl,cl->nc", site.x, site.weight("stacked_weight", m, rows(slice(half))))
    if m.coupled:
        coupling = site.weight("stacked_coupling", m, rows(slice(half, None)))
        swapped = nodes.join(*reversed(nodes.channels(site.x, site.shape)), dim=1)
        y = nodes.call("operator.add", y, nodes.call("torch.einsum", "ncl,cl->nc", swapped, coupling))
    return _plus_bias(m, y, site, "stacked_bias", tie)


def _plus_bias(m: Layer, y: Ref, site: Site, form: str, of: Callable[[Tensor], Tensor]) -> Ref:
    if m.bias is None:
        return y
    return site.nodes.call("operator.add", y, site.weight(form, m, lambda: of(m.bias)))


# -- norms ------------------------------------------------------------------------------------------------

_STATE = ("weight", "bias", "running_mean", "running_var")


def _norm(cls: type[nn.Module], m: Layer, of: Callable[[Tensor | None], Tensor | None], **sizes: Any) -> nn.Module:
    tensors = {name: of(getattr(m, name, None)) for name in _STATE}
    tensors["num_batches_tracked"] = getattr(m, "num_batches_tracked", None)
    names = [n for n in ("eps", "momentum", "affine", "track_running_stats") if hasattr(m, n)]
    return made(cls, tensors, **sizes, **_options(m, *names))


_NORMS = {tied.RCPSBatchNorm1d: nn.BatchNorm1d, tied.RCPSInstanceNorm1d: nn.InstanceNorm1d}


@batched(tied.RCPSBatchNorm1d, tied.RCPSInstanceNorm1d)
def norm_batched(m: Layer, site: Site) -> Ref:
    """The plain norm."""
    return site.layer("", m, lambda: _norm(_NORMS[type(m)], m, lambda t: t, num_features=m.num_features))


def _remembers(m: Layer, rank: int) -> bool:
    """Batch statistics, taken where none are stored, pool the strands: only the batch does that."""
    return isinstance(m, tied.RCPSInstanceNorm1d) or m.running_mean is not None


@stacked(tied.RCPSBatchNorm1d, tied.RCPSInstanceNorm1d, when=_remembers)
def norm_stacked(m: Layer, site: Site) -> Ref:
    """Parameters and statistics of channel f and of its mirror are equal."""
    return site.layer("stacked", m, lambda: _norm(_NORMS[type(m)], m, _tied, num_features=2 * m.num_features))


@batched(tied.RCPSGroupNorm)
def group_norm_batched(m: tied.RCPSGroupNorm, site: Site) -> Ref:
    """The plain norm."""
    sizes = {"num_groups": m.num_groups, "num_channels": m.num_channels}
    return site.layer("", m, lambda: _norm(nn.GroupNorm, m, lambda t: t, **sizes))


@stacked(tied.RCPSGroupNorm)
def group_norm_stacked(m: tied.RCPSGroupNorm, site: Site) -> Ref:
    """Twice the groups: reversal maps groups onto groups."""
    sizes = {"num_groups": 2 * m.num_groups, "num_channels": 2 * m.num_channels}
    return site.layer("stacked", m, lambda: _norm(nn.GroupNorm, m, _tied, **sizes))


def _layer_norm(m: tied.RCPSLayerNorm, weight: Tensor | None, bias: Tensor | None) -> nn.Module:
    options = {"elementwise_affine": m.elementwise_affine, "bias": m.bias is not None}
    tensors = {"weight": weight, "bias": bias}
    return made(nn.LayerNorm, tensors, normalized_shape=list(m.normalized_shape), eps=m.eps, **options)


@batched(tied.RCPSLayerNorm)
def layer_norm_batched(m: tied.RCPSLayerNorm, site: Site) -> Ref:
    """The plain norm."""
    return site.layer("", m, lambda: _layer_norm(m, m.weight, m.bias))


@stacked(tied.RCPSLayerNorm)
def layer_norm_stacked(m: tied.RCPSLayerNorm, site: Site) -> Ref:
    """One norm a strand; the mirrored one reads its parameters backwards."""
    axes = tuple(range(len(m.normalized_shape)))
    turned = [None if t is None else t.flip(axes) for t in (m.weight, m.bias)]
    own, other = site.nodes.channels(site.x, site.shape)
    first = site.layer("own", m, lambda: _layer_norm(m, m.weight, m.bias), own)
    return site.nodes.join(first, site.layer("other", m, lambda: _layer_norm(m, *turned), other), dim=1)


# -- layers without weights -------------------------------------------------------------------------------

_POOLS: dict[type[TiedLayer], type[nn.Module]] = {
    tied.RCPSMaxPool1d: nn.MaxPool1d,
    tied.RCPSAvgPool1d: nn.AvgPool1d,
    tied.RCPSLPPool1d: nn.LPPool1d,
    tied.RCPSAdaptiveMaxPool1d: nn.AdaptiveMaxPool1d,
    tied.RCPSAdaptiveAvgPool1d: nn.AdaptiveAvgPool1d,
}


def _pool(m: Layer, site: Site) -> Ref:
    if m.config() == {"output_size": None}:
        return site.x  # pooling to the length that is there
    return site.layer("", m, lambda: _POOLS[type(m)](**m.config()))


for _cls in _POOLS:
    batched(_cls)(_pool)
stacked(tied.RCPSMaxPool1d, tied.RCPSAvgPool1d, tied.RCPSLPPool1d, when=lambda m, rank: m.stride == 1)(_pool)
stacked(tied.RCPSAdaptiveMaxPool1d, tied.RCPSAdaptiveAvgPool1d)(_pool)


@batched(tied.RCPSDropout, tied.RCPSDropout1d)
@stacked(tied.RCPSDropout, tied.RCPSDropout1d)
def dropout(m: tied.RCPSDropout, site: Site) -> Ref:
    """The identity in eval mode. In training a mask shared by both strands becomes one for each."""
    cls = nn.Dropout1d if isinstance(m, tied.RCPSDropout1d) else nn.Dropout
    return site.layer("", m, lambda: cls(m.p).eval())


# -- ends and beginnings ----------------------------------------------------------------------------------


def _embedding(m: tied.RCPSEmbedding, weight: Tensor) -> nn.Module:
    sizes = {"num_embeddings": weight.shape[0], "embedding_dim": weight.shape[1], "padding_idx": m.padding_idx}
    return made(nn.Embedding, {"weight": weight}, **sizes)


@batched(tied.RCPSEmbedding)
def embedding_batched(m: tied.RCPSEmbedding, site: Site) -> Ref:
    """The plain embedding."""
    return site.layer("", m, lambda: _embedding(m, m.weight))


@stacked(tied.RCPSEmbedding)
def embedding_stacked(m: tied.RCPSEmbedding, site: Site) -> Ref:
    """Features of a code, then those of its complement, mirrored."""

    def make() -> nn.Module:
        return _embedding(m, torch.cat([m.weight, m.weight[list(m.complement)].flip(1)], dim=1))

    return site.nodes.call("torch.transpose", site.layer("stacked", m, make), 1, 2)


@batched(tied.StrandSum)
def strand_sum(m: tied.StrandSum, site: Site) -> Ref:
    """a + b."""
    return site.nodes.merge(*site.nodes.rows(site.x, site.like), "sum")


@batched(tied.Merge)
def merge_batched(m: tied.Merge, site: Site) -> Ref:
    """merge(a, ρb)."""
    own, other = site.nodes.rows(site.x, site.like)
    if site.rank > 1:
        other = site.nodes.rc(other, m.output, site.shape, site.dtype)
    return site.nodes.merge(own, other, m.mode)


@stacked(tied.Merge)
def merge_stacked(m: tied.Merge, site: Site) -> Ref:
    """merge(a, ρb), where b is held mirrored."""
    own, other = site.nodes.channels(site.x, site.shape)
    shape = (site.shape[0], site.shape[1] // 2, *site.shape[2:])
    return site.nodes.merge(own, site.nodes.mirrored_rc(other, m.output, shape, site.dtype), m.mode)


@batched(tied.Lifted)
def lifted(m: tied.Lifted, site: Site) -> Ref:
    """The module itself, which sees one strand a row."""
    return site.layer("", m.module, lambda: site.nodes.copy(m.module))
