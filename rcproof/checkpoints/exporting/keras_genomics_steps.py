"""One rule a layer and an activation: what it becomes in keras-genomics, or why it has no form there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

import rcproof.nn as tied
from rcproof.checkpoints.exporting.keras_genomics_layers import Emitter
from rcproof.checkpoints.exporting.keras_genomics_values import Array, Value
from rcproof.network.graph import Node
from rcproof.network.plan import Step
from rcproof.nn.weighted_sum import full_rows
from rcproof.strand import tie

Layer = Any  # a layer of the class that its rule is registered for


@dataclass(frozen=True)
class Site:
    """One step: what it reads, what comes out (its shape without the batch), and whether that is a strand pair."""

    emitter: Emitter
    value_of: Callable[[Any], Value]
    step: Step
    node: Node
    shape: Any
    stacked: bool

    @property
    def x(self) -> Value:
        """The first value that it reads."""
        return self.value_of(self.step.args[0] if self.step.args else None)

    def argument(self, position: int, *names: str, default: Any = None) -> Any:
        """An argument of the call, by position or by name."""
        for name in names:
            if name in self.step.kwargs:
                return self.step.kwargs[name]
        return self.step.args[position] if len(self.step.args) > position else default


@dataclass(frozen=True)
class Pending:
    """A linear step, which a merge may still take in: ``emit`` writes it with weights (out, in[, K]) and a bias."""

    weight: Array
    bias: Array | None
    emit: Callable[[Array, Array | None], Value]
    name: str
    what: str

    def now(self) -> Value:
        """Written as it is."""
        return self.emit(self.weight, self.bias)


Rule = Callable[[Layer, Site], "Value | Pending"]
MODULES: dict[type[nn.Module], Rule] = {}
CALLS: dict[str, Callable[[Site], Value]] = {}


def module(*classes: type[nn.Module]) -> Callable[[Rule], Rule]:
    """Register the rule for layers."""

    def register(rule: Rule) -> Rule:
        for cls in classes:
            MODULES[cls] = rule
        return rule

    return register


def call(*names: str) -> Callable[[Callable[[Site], Value]], Callable[[Site], Value]]:
    """Register the rule for functions, by the last part of their names."""

    def register(rule: Callable[[Site], Value]) -> Callable[[Site], Value]:
        for name in names:
            CALLS[name] = rule
        return rule

    return register


def module_step(layer: nn.Module, site: Site) -> Value | Pending:
    """A call of a layer."""
    if type(layer) not in MODULES:
        raise site.emitter.refuse("there is no such layer in keras-genomics or Keras 2")
    if len(site.step.args) != 1 or site.step.kwargs:
        raise site.emitter.refuse("it is called with more than one value")
    return MODULES[type(layer)](layer, site)


def call_step(target: str, site: Site) -> Value:
    """A call of a registered function."""
    name = target.rpartition(".")[2].rstrip("_")
    if name not in CALLS:
        raise site.emitter.refuse("Keras 2 has no layer for it that holds no code")
    return CALLS[name](site)


def _array(tensor: Tensor) -> Array:
    found: Array = tensor.detach().cpu().double().numpy()
    return found


def _pending(site: Site, weight: Tensor, bias: Tensor | None, emit: Callable[[Array, Array | None], Value]) -> Pending:
    biases = None if bias is None else _array(bias)
    return Pending(_array(weight), biases, emit, site.emitter.name, site.emitter.what)


# -- linear layers -----------------------------------------------------------------------------------------


@module(tied.RCPSConv1d)
def _rcps_conv(m: tied.RCPSConv1d, site: Site) -> Pending:
    emitter, value, pads = site.emitter, site.x, m.margins()
    if m.groups > 1:
        raise emitter.refuse(f"keras-genomics has no groups of channels, and it has {m.groups}")
    if m.padding_mode != "zeros" and pads != (0, 0):
        raise emitter.refuse(f"Keras pads with zeros, and it pads by {m.padding_mode}")
    if m.source is not None and not m.source.reverses_length:
        raise emitter.refuse(f"the reverse complement acts on its input as {m.source}, which keeps the positions")
    _centred(site, value.shape[1], m.kernel_size, m.stride, m.dilation, pads)
    emit = _conv_emitter(emitter, value, m.stride, m.dilation, pads)
    return _pending(site, m.full_weight(), None if m.bias is None else tie(m.bias), emit)


def _centred(site: Site, length: int, size: int, stride: int, dilation: int, pads: tuple[int, int]) -> None:
    """An error unless the windows of both strands coincide (T3): one layer of Keras has one set of windows."""
    rest = (length + sum(pads) - (size - 1) * dilation - 1) % stride
    if pads[0] != pads[1]:
        raise site.emitter.refuse(
            f"it pads {pads[0]} and {pads[1]} positions, so that the windows of the two strands differ"
        )
    if rest:
        raise site.emitter.refuse(
            f"windows of {size} with stride {stride} leave {rest} of {length + sum(pads)} positions unread, so that "
            "those of the two strands differ"
        )


def _conv_emitter(
    emitter: Emitter, value: Value, stride: int, dilation: int, pads: tuple[int, int]
) -> Callable[[Array, Array | None], Value]:
    return lambda weight, bias: emitter.conv(value, weight, bias, stride, dilation, pads)


@module(nn.Conv1d)
def _conv(m: nn.Conv1d, site: Site) -> Pending:
    emitter, value = site.emitter, site.x
    (width,), (stride,), (dilation,) = m.kernel_size, m.stride, m.dilation
    total = (width - 1) * dilation if m.padding == "same" else 0
    pads = (total // 2, total - total // 2) if isinstance(m.padding, str) else (m.padding[0], m.padding[0])
    if m.groups > 1 or (m.padding_mode != "zeros" and pads != (0, 0)):
        raise emitter.refuse(f"Keras 2 has no groups, and pads with zeros; it has {m.groups} and {m.padding_mode}")
    return _pending(site, m.weight, m.bias, _conv_emitter(emitter, value, stride, dilation, pads))


@module(tied.RCPSLinear)
def _rcps_linear(m: tied.RCPSLinear, site: Site) -> Pending:
    emitter, value = site.emitter, _vector(site)
    bias = None if m.bias is None else tie(m.bias)
    return _pending(site, m.full_weight(), bias, lambda weight, b: emitter.linear(value, weight, b))


@module(nn.Linear)
def _linear(m: nn.Linear, site: Site) -> Pending:
    emitter, value = site.emitter, _vector(site)
    return _pending(site, m.weight, m.bias, lambda weight, b: emitter.linear(value, weight, b))


def _vector(site: Site) -> Value:
    if len(site.x.shape) != 1:
        raise site.emitter.refuse("it is a dense layer over positions")
    return site.x


@module(tied.RCPSWeightedSum1d, tied.WeightedSum1d)
def _weighted_sum(m: Layer, site: Site) -> Value:
    emitter, stranded = site.emitter, isinstance(m, tied.RCPSWeightedSum1d)
    value = emitter.settled(emitter.sequence(site.x))
    if m.bias is not None or (stranded and m.coupled):
        raise emitter.refuse("a WeightedSum1D of keras-genomics has no bias and no cross-strand weights")
    rows = full_rows(m.weight, m.length, m.symmetric)
    weight = _array(rows[:, : m.weight.shape[1]]).T  # (positions, channels)
    config = {"symmetric": m.symmetric, "input_is_revcomp_conv": stranded, "smoothness_penalty": None, "bias": False}
    place = emitter.graph.call(emitter.name, "WeightedSum1D", [emitter.at(value)], config, {"W": weight})
    return Value(site.shape, place, True)


# -- layers that keep channels apart --------------------------------------------------------------------------


@module(tied.RCPSBatchNorm1d, nn.BatchNorm1d)
def _batch_norm(m: Layer, site: Site) -> Value:
    if m.running_mean is None:
        raise site.emitter.refuse("it has no running statistics")
    stranded = isinstance(m, tied.RCPSBatchNorm1d)
    held = {"moving_mean": m.running_mean, "moving_variance": m.running_var}
    if m.weight is not None:
        held = {"gamma": m.weight, "beta": m.bias, **held}
    arrays = {role: _array(tie(tensor) if stranded else tensor) for role, tensor in held.items()}
    momentum = 0.99 if m.momentum is None else 1 - m.momentum  # Keras weighs the old statistics
    return site.emitter.batch_norm(site.x, arrays, stranded, m.eps, momentum)


@module(tied.RCPSMaxPool1d, tied.RCPSAvgPool1d, nn.MaxPool1d, nn.AvgPool1d)
def _pool(m: Layer, site: Site) -> Value:
    emitter = site.emitter
    value = emitter.sequence(emitter.unscaled(site.x))
    size, stride, padding, dilation = (_one(getattr(m, k, 1)) for k in ("kernel_size", "stride", "padding", "dilation"))
    if padding or dilation != 1:
        raise emitter.refuse(f"keras-genomics pools without padding or dilation; it has {padding} and {dilation}")
    whole = (value.shape[1] - size) % stride == 0
    if not whole and isinstance(m, tied.TiedLayer):
        _centred(site, value.shape[1], size, stride, 1, (0, 0))
    if not whole and m.ceil_mode:
        raise emitter.refuse("its last window hangs over the end")
    return _windows(site, value, isinstance(m, tied.RCPSMaxPool1d | nn.MaxPool1d), size, stride)


def _windows(site: Site, value: Value, largest: bool, size: int, stride: int) -> Value:
    kind = "MaxPooling1D" if largest else "AveragePooling1D"
    config = {"pool_size": [size], "strides": [stride], "padding": "valid", "data_format": "channels_last"}
    return site.emitter.layer(value, kind, config, site.shape)


def _one(value: int | tuple[int]) -> int:
    return value[0] if isinstance(value, tuple) else value


@module(tied.RCPSAdaptiveMaxPool1d, tied.RCPSAdaptiveAvgPool1d, nn.AdaptiveMaxPool1d, nn.AdaptiveAvgPool1d)
def _adaptive_pool(m: Layer, site: Site) -> Value:
    emitter, largest = site.emitter, isinstance(m, tied.RCPSAdaptiveMaxPool1d | nn.AdaptiveMaxPool1d)
    value = emitter.sequence(emitter.unscaled(site.x))
    length, bins = value.shape[1], site.shape[1]
    if bins == 1:
        return over_all(site, value, largest)
    if length % bins:
        raise emitter.refuse(f"{length} positions do not fall into {bins} windows of one size")
    return _windows(site, value, largest, length // bins, length // bins)


def over_all(site: Site, value: Value, largest: bool, scale: float = 1.0) -> Value:
    """The largest, or the mean times ``scale``, over all positions of a sequence."""
    kind = "GlobalMaxPooling1D" if largest else "GlobalAveragePooling1D"
    emitter = site.emitter
    place = emitter.graph.call(emitter.name, kind, [emitter.at(value)])
    return Value(site.shape, place, True, value.order, value.scale * scale)


@module(tied.StrandSum)
def _strand_sum(m: tied.StrandSum, site: Site) -> Value:
    if len(site.x.shape) == 1:
        half = np.eye(site.shape[0])
        return site.emitter.linear(site.x, np.concatenate([half, half[:, ::-1]], axis=1), None, trainable=False)
    return site.emitter.layer(site.emitter.settled(site.emitter.sequence(site.x)), "RevCompSumPool", shape=site.shape)


@module(tied.RCPSDropout, tied.RCPSDropout1d, nn.Dropout, nn.Dropout1d)
def _dropout(m: Layer, site: Site) -> Value:
    whole = isinstance(m, tied.RCPSDropout1d | nn.Dropout1d)
    return site.emitter.layer(site.x, "SpatialDropout1D" if whole else "Dropout", {"rate": m.p})


@module(nn.Identity)
def _identity(m: nn.Identity, site: Site) -> Value:
    return site.x


@module(nn.Flatten, nn.Unflatten)
def _flatten(m: Layer, site: Site) -> Value:
    return site.emitter.reshaped(site.x, site.shape)


@module(nn.ConstantPad1d, nn.ZeroPad1d)
def _zero_pad(m: Layer, site: Site) -> Value:
    return padded(site, tuple(m.padding), getattr(m, "value", 0))


def padded(site: Site, ends: Sequence[int], constant: float) -> Value:
    """The first value with zeros at both ends."""
    if constant or len(ends) != 2 or min(ends) < 0:
        raise site.emitter.refuse("Keras pads with zeros, at the ends of sequences")
    return site.emitter.layer(site.emitter.sequence(site.x), "ZeroPadding1D", {"padding": list(ends)}, site.shape)


# -- pointwise functions ------------------------------------------------------------------------------------

#: What Keras 2 calls them.
_ACTIVATIONS: dict[type[nn.Module], str] = {
    nn.ReLU: "relu",
    nn.Sigmoid: "sigmoid",
    nn.Tanh: "tanh",
    nn.Softplus: "softplus",
    nn.Softsign: "softsign",
    nn.SELU: "selu",
}


def _activation(site: Site, name: str) -> Value:
    return site.emitter.layer(site.emitter.unscaled(site.x), "Activation", {"activation": name})


@module(*_ACTIVATIONS)
def _activation_layer(m: nn.Module, site: Site) -> Value:
    if isinstance(m, nn.Softplus) and (m.beta, m.threshold) != (1, 20):
        raise site.emitter.refuse(f"the softplus of Keras has beta 1; it has {m.beta}, and threshold {m.threshold}")
    return _activation(site, _ACTIVATIONS[type(m)])


@call("relu", "sigmoid", "tanh", "softplus", "softsign", "selu")
def _activation_call(site: Site) -> Value:
    if len(site.step.args) > 1 or set(site.step.kwargs) - {"inplace"}:
        raise site.emitter.refuse("it is called with options")
    return _activation(site, site.node.target.rpartition(".")[2].rstrip("_"))


@call("exp")
def _exp(site: Site) -> Value:
    return _activation(site, "exponential")


@module(nn.LeakyReLU)
def _leaky(m: nn.LeakyReLU, site: Site) -> Value:
    return _with_number(site, "LeakyReLU", "alpha", m.negative_slope)


@call("leaky_relu")
def _leaky_call(site: Site) -> Value:
    return _with_number(site, "LeakyReLU", "alpha", site.argument(1, "negative_slope", default=0.01))


@module(nn.ELU)
def _elu(m: nn.ELU, site: Site) -> Value:
    return _with_number(site, "ELU", "alpha", m.alpha)


@call("elu")
def _elu_call(site: Site) -> Value:
    return _with_number(site, "ELU", "alpha", site.argument(1, "alpha", default=1.0))


@module(nn.ReLU6)
def _relu6(m: nn.ReLU6, site: Site) -> Value:
    return _with_number(site, "ReLU", "max_value", 6.0)


@call("relu6")
def _relu6_call(site: Site) -> Value:
    return _with_number(site, "ReLU", "max_value", 6.0)


def _with_number(site: Site, kind: str, name: str, number: float) -> Value:
    return site.emitter.layer(site.emitter.unscaled(site.x), kind, {name: float(number)})


@module(nn.Softmax)
def _softmax(m: nn.Softmax, site: Site) -> Value:
    return _softmax_over(site, m.dim)


@call("softmax")
def _softmax_call(site: Site) -> Value:
    return _softmax_over(site, site.argument(1, "dim"))


def _softmax_over(site: Site, dim: Any) -> Value:
    value = site.emitter.unscaled(site.x)
    rank = len(value.shape) + 1
    if not isinstance(dim, int) or dim % rank == 0:
        raise site.emitter.refuse(f"it is a softmax over axis {dim}")
    if rank == 2:
        return site.emitter.layer(value, "Softmax", {"axis": -1})
    return site.emitter.layer(site.emitter.sequence(value), "Softmax", {"axis": 3 - dim % rank})
