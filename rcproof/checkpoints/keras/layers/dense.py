"""Dense layers, and what TimeDistributed wraps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rcproof.checkpoints.keras.build import LAYERS, Site, Value, filled, layer
from rcproof.checkpoints.keras.model import Array

#: What can be wrapped: layers that read the channels at one position.
_PER_STEP = {
    "Dense", "Activation", "ReLU", "LeakyReLU", "ELU", "ThresholdedReLU", "Softmax", "BatchNormalization",
    "LayerNormalization", "UnitNormalization", "Rescaling", "Dropout", "AlphaDropout", "GaussianDropout",
    "GaussianNoise", "ActivityRegularization",
}  # fmt: skip


@layer("Dense", "TimeDistributedDense", either_axis=True)
def _dense(site: Site) -> Value:
    """On a vector ``nn.Linear``, its rows in the order in which the vector is held.

    On a sequence Keras multiplies at each position: a convolution of width 1, which keeps channels where they are and
    ties (T5) in both layouts. Where the last axis of Keras is held last, ``nn.Linear`` does it as it is.
    """
    value = site.value
    kernel = site.weight("kernel")
    if kernel.dim() != 2:
        raise site.error("weights 'kernel'", got=f"shape {tuple(kernel.shape)}", expected="two axes")
    channels, units = kernel.shape
    last = len(value.shape) - 1
    if last < 0 or value.shape[last] != channels:
        raise site.error("input", got=f"shape {value.shape}", expected=f"{channels} channels, as the kernel has")
    bias = {"bias": site.weight("bias", (units,))} if site.get("use_bias", True) else {}
    shape = (*value.shape[:last], units)
    if value.form == "vector":
        value = _in_first_order(site, value)
        weight = torch.empty_like(kernel)
        weight[torch.arange(channels) if value.order is None else torch.from_numpy(value.order)] = kernel
        made = site.module(lambda: _linear(weight, bias), value.ref)
        return site.activated(made, shape, replace(value, order=None))
    held = value.axis(last)
    if held is None:
        raise site.error("input", got=f"shape {value.shape}", expected="channels that are held by themselves")
    site.keep_same(("channels", held == 1))
    if held != 1:
        return site.activated(site.module(lambda: _linear(kernel, bias), value.ref), shape, value)
    made = site.module(
        lambda: filled(
            lambda: nn.Conv1d(channels, units, 1, bias=bool(bias)), weight=kernel.t().unsqueeze(2), **bias
        ),
        value.ref,
    )  # fmt: skip
    return site.activated(made, shape, value)


def _linear(kernel: Tensor, bias: dict[str, Tensor]) -> nn.Module:
    channels, units = kernel.shape
    return filled(lambda: nn.Linear(channels, units, bias=bool(bias)), weight=kernel.t(), **bias)


def _in_first_order(site: Site, value: Value) -> Value:
    """A vector in the order that this layer's weights have since its first call."""
    first: Array | None
    kind, first = site.keep(("vector", value.order))
    if kind != "vector":
        raise site.error("inputs of its calls", got="a vector and a sequence", expected="one kind")
    if first is value.order or (first is not None and value.order is not None and np.array_equal(first, value.order)):
        return value
    plain = site.as_keras(value)
    if first is None:
        return plain
    return replace(plain, ref=site.select(plain.ref, np.argsort(first)), order=first)


@layer("TimeDistributed", either_axis=True)
def _time_distributed(site: Site) -> Value:
    """The layer inside, which reads channels: at every position of a sequence it does what it does to all of it."""
    if len(site.spec.inner) != 1:
        raise site.error("what it wraps", got=f"{len(site.spec.inner)} layers", expected="one")
    (inner,) = site.spec.inner
    value = site.need("sequence")
    if inner.kind not in _PER_STEP:
        raise site.error("what it wraps", got=inner.kind, expected=", ".join(sorted(_PER_STEP)))
    config: dict[str, Any] = dict(inner.config)
    if "axis" in config:
        axis = config["axis"][0] if isinstance(config["axis"], list | tuple) and config["axis"] else config["axis"]
        if axis not in (1, -1):
            raise site.error("axis", got=repr(axis)[:60], expected="the channels, -1")
        config["axis"] = -1
    return LAYERS[inner.kind](replace(site, spec=replace(inner, config=config), inputs=[value]))  # type: ignore[return-value]
