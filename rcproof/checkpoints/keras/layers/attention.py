"""Attention over positions: projections as dense layers, and torch's scaled dot product."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from rcproof.checkpoints.keras.build import Site, Value, filled, layer
from rcproof.network.graph import Ref

_NO_MASK = "a network of one strand has no masks here"


@layer("MultiHeadAttention")
def _multi_head(site: Site) -> Value:
    """``<path>.query``, ``.key``, ``.value`` and ``.attention_output`` are dense layers on the channels."""
    query, value, key = _sequences(site)
    heads, width = site.integer("num_heads"), site.integer("key_dim")
    value_width = site.integer("value_dim", width)
    if site.get("attention_axes") not in (None, [1], (1,), 1):
        raise site.error("attention_axes", got=site.get("attention_axes"), expected="the positions")
    _refuse(site, "return_attention_scores", "the scores are no output here")
    bias = bool(site.get("use_bias", True))
    site.keep_same((query.channels, value.channels, key.channels))
    size = _output_size(site, query.channels)

    def project(x: Value, role: str, wide: int) -> Ref:
        def make() -> nn.Module:
            kernel = site.weight(f"{role}/kernel", (x.channels, heads, wide)).flatten(1)
            return _dense(kernel, site.weight(f"{role}/bias", (heads, wide)).flatten() if bias else None)

        y = site.module(make, _channels_last(site, x), part=role)
        return site.function("torch.transpose", site.function("Tensor.unflatten", y, 2, (heads, wide)), 1, 2)

    def output() -> nn.Module:
        kernel = site.weight("attention_output/kernel", (heads, value_width, size)).flatten(0, 1)
        return _dense(kernel, site.weight("attention_output/bias", (size,)) if bias else None)

    parts = [project(query, "query", width), project(key, "key", width), project(value, "value", value_width)]
    causal = {"is_causal": True} if site.call.arguments.get("use_causal_mask", False) else {}
    y = site.function("F.scaled_dot_product_attention", *parts, **causal)
    y = site.function("torch.flatten", site.function("torch.transpose", y, 1, 2), 2)
    y = site.module(output, y, part="attention_output")
    return Value(site.function("torch.transpose", y, 1, 2), (query.shape[0], size), "sequence")


@layer("Attention")
def _dot_product(site: Site) -> Value:
    query, value, key = _sequences(site)
    if site.get("score_mode", "dot") != "dot":
        raise site.error("score_mode", got=repr(site.get("score_mode"))[:40], expected="dot")
    q, k = _channels_last(site, query), key.ref
    scores = site.function("torch.matmul", q, k)
    if site.get("use_scale", False):
        scale = site.weight("scale", ()).reshape(1, 1, 1)
        scores = site.function("torch.mul", scores, site.constant("scale", nn.Parameter(scale.clone())))
    return _weighted(site, scores, query, value)


@layer("AdditiveAttention")
def _additive(site: Site) -> Value:
    query, value, key = _sequences(site)
    q = site.function("torch.unsqueeze", _channels_last(site, query), 2)
    k = site.function("torch.unsqueeze", _channels_last(site, key), 1)
    both = site.function("torch.tanh", site.function("torch.add", q, k))
    if site.get("use_scale", True):
        scale = site.weight("scale", (key.channels,)).reshape(1, 1, 1, -1)
        both = site.function("torch.mul", both, site.constant("scale", nn.Parameter(scale.clone())))
    return _weighted(site, site.function("torch.sum", both, dim=3), query, value)


def _weighted(site: Site, scores: Ref, query: Value, value: Value) -> Value:
    """The values weighted by the scores (N, queries, values)."""
    _refuse(site, "return_attention_scores", "the scores are no output here")
    _refuse(site, "use_causal_mask", _NO_MASK)
    _refuse(site, "causal", _NO_MASK)
    weights = site.function("torch.softmax", scores, dim=2)
    y = site.function("torch.matmul", weights, _channels_last(site, value))
    made = (query.shape[0], value.shape[1])
    return Value(site.function("torch.transpose", y, 1, 2), made, "sequence")


def _sequences(site: Site) -> tuple[Value, Value, Value]:
    """Query, value and key, in Keras's order; the key is the value where it is not given."""
    inputs: Sequence[Value] = site.inputs
    if len(inputs) not in (2, 3):
        raise site.error("inputs", got=f"{len(inputs)} values", expected="query and value, or query, value and key")
    for name in ("attention_mask", "query_mask", "value_mask", "key_mask", "mask"):
        if site.call.arguments.get(name) is not None:
            raise site.error(name, fix=_NO_MASK)
    for value in inputs:
        if value.form != "sequence":
            raise site.error("input", got=f"shape {value.shape}, held as a {value.form}", expected="a sequence")
    return inputs[0], inputs[1], inputs[2] if len(inputs) == 3 else inputs[1]


def _refuse(site: Site, option: str, why: str) -> None:
    if site.call.arguments.get(option, False) or site.get(option, False):
        raise site.error(f"{option}=true", fix=why)


def _channels_last(site: Site, value: Value) -> Ref:
    return site.function("torch.transpose", value.ref, 1, 2)


def _output_size(site: Site, channels: int) -> int:
    found: Any = site.get("output_shape")
    if found is None:
        return channels
    if isinstance(found, list | tuple) and len(found) == 1:
        found = found[0]
    if isinstance(found, bool) or not isinstance(found, int):
        raise site.error("output_shape", got=repr(found)[:60], expected="one number of channels")
    return found


def _dense(kernel: Tensor, bias: Tensor | None) -> nn.Module:
    """The dense layer with Keras's kernel (in, out)."""
    tensors = {"weight": kernel.T} | ({} if bias is None else {"bias": bias})
    return filled(lambda: nn.Linear(kernel.shape[0], kernel.shape[1], bias is not None), **tensors)
