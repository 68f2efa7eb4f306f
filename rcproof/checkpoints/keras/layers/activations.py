"""Activations, by their names in Keras, and the layers that are activations."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from rcproof.checkpoints.keras.build import Site, Value, filled, layer
from rcproof.network.graph import Ref

#: Pointwise functions that torch has: by name, the function, its arguments, and the module that computes the same.
_PLAIN: dict[str, tuple[str, dict[str, Any], Callable[..., nn.Module]]] = {
    "relu": ("torch.relu", {}, nn.ReLU),
    "relu6": ("F.relu6", {}, nn.ReLU6),
    "sigmoid": ("torch.sigmoid", {}, nn.Sigmoid),
    "tanh": ("torch.tanh", {}, nn.Tanh),
    "softplus": ("F.softplus", {}, nn.Softplus),
    "softsign": ("F.softsign", {}, nn.Softsign),
    "elu": ("F.elu", {"alpha": 1.0}, nn.ELU),
    "selu": ("F.selu", {}, nn.SELU),
    "celu": ("F.celu", {"alpha": 1.0}, nn.CELU),
    "silu": ("F.silu", {}, nn.SiLU),
    "gelu": ("F.gelu", {"approximate": "none"}, nn.GELU),
    "mish": ("F.mish", {}, nn.Mish),
    "leaky_relu": ("F.leaky_relu", {"negative_slope": 0.2}, nn.LeakyReLU),
    "log_sigmoid": ("F.logsigmoid", {}, nn.LogSigmoid),
    "hard_silu": ("F.hardswish", {}, nn.Hardswish),
    "hard_tanh": ("F.hardtanh", {}, nn.Hardtanh),
    "tanh_shrink": ("F.tanhshrink", {}, nn.Tanhshrink),
    "soft_shrink": ("F.softshrink", {}, nn.Softshrink),
    "hard_shrink": ("F.hardshrink", {}, nn.Hardshrink),
}
_ALSO = {"swish": "silu", "hard_swish": "hard_silu", "exp": "exponential", "logsoftmax": "log_softmax"}


def activate(site: Site, activation: Any, value: Value) -> Value:
    """``value`` after an activation: a name, or ``{"class_name": …, "config": …}``, as Keras of that age means it.

    The activation of a layer is a function in the graph; a layer that is an activation is a module where torch has
    one. Raises :class:`~rcproof.errors.CheckpointError` for one that is not known, which a custom function is not.
    """
    config: dict[str, Any] = {}
    if isinstance(activation, dict):
        config = activation.get("config") or {}
        if isinstance(config, str):  # Keras 3: {"class_name": "function", "config": "relu"}
            activation, config = config, {}
        else:
            activation = activation.get("class_name")
    if activation is None:
        return value
    name = _ALSO.get(activation, activation) if isinstance(activation, str) else ""
    if name in _LAYERS and isinstance(config, dict):
        return _LAYERS[name](site, value, config)
    if name == "linear":
        return value
    if name in _PLAIN:
        return _plain(site, value, name)
    if name in _COMPOSED:
        return replace(value, ref=_COMPOSED[name](site, value.ref))
    if name in ("softmax", "log_softmax"):
        return _softmax(site, value, -1, name)
    if name == "glu":
        return _glu(site, value)
    raise site.error("activation", got=repr(activation)[:60], expected="one of Keras's own")


def _plain(site: Site, value: Value, name: str, **changes: Any) -> Value:
    function, arguments, module = _PLAIN[name]
    arguments = arguments | changes
    if site.spec.kind in _OWN_LAYERS:
        return replace(value, ref=site.module(lambda: module(**arguments), value.ref))
    return replace(value, ref=site.function(function, value.ref, **arguments))


def _hard_sigmoid(site: Site, x: Ref) -> Ref:
    """Keras 3 took over the hard sigmoid of torch; before, its slope was 0.2."""
    if site.spec.generation >= 3:
        return site.function("F.hardsigmoid", x)
    scaled = site.function("torch.add", site.function("torch.mul", x, 0.2), 0.5)
    return site.function("torch.clamp", scaled, 0.0, 1.0)


def _squareplus(site: Site, x: Ref) -> Ref:
    root = site.function("torch.sqrt", site.function("torch.add", site.function("torch.square", x), 4.0))
    return site.function("torch.mul", site.function("torch.add", x, root), 0.5)


def _sparse_plus(site: Site, x: Ref) -> Ref:
    """0 up to −1, x from 1 on, (x + 1)² / 4 between."""
    between = site.function("torch.add", site.function("torch.clamp", x, -1.0, 1.0), 1.0)
    bent = site.function("torch.mul", site.function("torch.square", between), 0.25)
    return site.function("torch.add", bent, site.function("torch.relu", site.function("torch.sub", x, 1.0)))


def _sparse_sigmoid(site: Site, x: Ref) -> Ref:
    halved = site.function("torch.mul", site.function("torch.add", x, 1.0), 0.5)
    return site.function("torch.clamp", halved, 0.0, 1.0)


_COMPOSED: dict[str, Callable[[Site, Ref], Ref]] = {
    "exponential": lambda site, x: site.function("torch.exp", x),
    "hard_sigmoid": _hard_sigmoid,
    "squareplus": _squareplus,
    "sparse_plus": _sparse_plus,
    "sparse_sigmoid": _sparse_sigmoid,
}


def _softmax(site: Site, value: Value, axis: Any, name: str = "softmax") -> Value:
    """Over an axis of Keras, which counts the batch: -1, the channels of a sequence."""
    dim = _held(site, value, axis)
    if site.spec.kind in _OWN_LAYERS:
        module = nn.Softmax if name == "softmax" else nn.LogSoftmax
        site.keep_same((value.form, dim))
        return replace(value, ref=site.module(lambda: module(dim), value.ref))
    return replace(value, ref=site.function(f"torch.{name}", value.ref, dim))


def _held(site: Site, value: Value, axis: Any) -> int:
    rank = len(value.shape) + 1
    if isinstance(axis, list | tuple) and len(axis) == 1:
        axis = axis[0]
    if isinstance(axis, bool) or not isinstance(axis, int) or not -rank < axis < rank or axis == 0:
        raise site.error("axis", got=repr(axis)[:60], expected=f"one axis of shape {value.shape}, not the batch")
    found = value.axis(axis % rank - 1)
    if found is None:
        raise site.error("axis", got=f"{axis} of shape {value.shape}", expected="the length, or the only other axis")
    return found


def _glu(site: Site, value: Value) -> Value:
    value = site.as_keras(value) if value.form == "vector" else value  # halves of Keras's order
    last = len(value.shape) - 1
    dim, size = _held(site, value, -1), value.shape[last]
    if size is None or size % 2:
        raise site.error("activation glu", got=f"{size} channels", expected="an even number")
    return replace(value, ref=site.function("F.glu", value.ref, dim), shape=(*value.shape[:last], size // 2))


# -- layers that are activations -------------------------------------------------------------------------


def _number(site: Site, config: dict[str, Any], default: float, *names: str) -> float:
    found = next((config[name] for name in names if config.get(name) is not None), default)
    if isinstance(found, list | tuple) and len(found) == 1:
        found = found[0]
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise site.error(names[0], got=repr(found)[:60], expected="a number")
    return float(found)


def _relu(site: Site, value: Value, config: dict[str, Any]) -> Value:
    """``max_value`` cuts it off, ``negative_slope`` is its slope below ``threshold``, where it jumps to 0."""
    top = _number(site, config, math.inf, "max_value")
    slope = _number(site, config, 0.0, "negative_slope", "alpha")
    threshold = _number(site, config, 0.0, "threshold")
    if not threshold and top == math.inf:
        return _plain(site, value, "leaky_relu", negative_slope=slope) if slope else _plain(site, value, "relu")
    kept = site.function("F.threshold", value.ref, threshold, 0.0)
    if top != math.inf:
        kept = site.function("torch.clamp", kept, 0.0, top)
    if slope:
        below = site.function("torch.relu", site.function("torch.rsub", value.ref, threshold))
        kept = site.function("torch.sub", kept, site.function("torch.mul", below, slope))
    return replace(value, ref=kept)


def _leaky(site: Site, value: Value, config: dict[str, Any]) -> Value:
    return _plain(site, value, "leaky_relu", negative_slope=_number(site, config, 0.3, "alpha", "negative_slope"))


def _thresholded(site: Site, value: Value, config: dict[str, Any]) -> Value:
    return replace(value, ref=site.function("F.threshold", value.ref, _number(site, config, 1.0, "theta"), 0.0))


_LAYERS: dict[str, Callable[[Site, Value, dict[str, Any]], Value]] = {
    "ReLU": _relu,
    "LeakyReLU": _leaky,
    "ELU": lambda site, value, config: _plain(site, value, "elu", alpha=_number(site, config, 1.0, "alpha")),
    "ThresholdedReLU": _thresholded,
    "Softmax": lambda site, value, config: _softmax(site, value, config.get("axis", -1)),
}
_OWN_LAYERS = {"Activation", *_LAYERS}


@layer("Activation", either_axis=True)
def _activation(site: Site) -> Value:
    return activate(site, site.get("activation", "linear"), site.value)


@layer(*_LAYERS, either_axis=True)
def _activation_layer(site: Site) -> Value:
    return _LAYERS[site.spec.kind](site, site.value, site.spec.config)


@layer("PReLU", either_axis=True)
def _prelu(site: Site) -> Value:
    value = site.value
    alpha = torch.from_numpy(value.held_array(site.weight("alpha").numpy()))
    site.keep_same((value.form, value.order is None or value.order.tobytes()))
    if value.form != "tensor" and (alpha.dim() == 1 or alpha.shape[1] == 1):
        slopes = alpha.reshape(-1)
        return replace(value, ref=site.module(lambda: filled(lambda: nn.PReLU(len(slopes)), weight=slopes), value.ref))
    # A slope for each position: no module has one.
    slope = site.graph.tensor(f"{site.path}.alpha", nn.Parameter(alpha))
    below = site.function("torch.mul", site.function("torch.relu", site.function("torch.neg", value.ref)), slope)
    return replace(value, ref=site.function("torch.sub", site.function("torch.relu", value.ref), below))
