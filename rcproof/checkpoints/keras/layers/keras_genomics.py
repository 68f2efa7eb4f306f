"""The layers of keras-genomics 0.1 and of the paper's code, as the RCPS layers that they are.

Channel c pairs with channel 2F − 1 − c, as here, so weights carry over as they are, but for one: a ``RevCompConv1D``
with a bias adds its convolution to itself. Where such a layer is not equivariant (windows that do not centre) it still
becomes what it computes: an ordinary layer, with the tied weights written out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import rcproof.nn as tied
from rcproof.checkpoints.keras.build import Site, Value, filled, layer
from rcproof.checkpoints.keras.layers.normalization import _number
from rcproof.strand import tie


@layer("RevCompConv1D")
def _convolution(site: Site) -> Value:
    value = site.need("sequence")
    _channels_last(site)
    filters, width = site.integer("filters"), site.integer("kernel_size")
    stride, dilation = site.integer("strides", 1), site.integer("dilation_rate", 1)
    if min(filters, width, stride, dilation) < 1 or site.integer("groups", 1) != 1:
        raise site.error("filters, kernel_size, strides, dilation_rate, groups", expected="at least 1; groups 1")
    reach = (width - 1) * dilation + 1
    left, right, length = _window(site, value.steps, reach, stride)
    # Windows that begin and end alike; those of stride 1 leave no position out.
    steps = value.steps
    whole = stride == 1 or (steps is not None and (steps + left + right - reach) % stride == 0)
    centred = left == right and whole
    site.keep_same((value.channels, centred and left))

    def make() -> nn.Module:
        tensors = {"weight": site.weight("kernel", (width, value.channels, filters)).permute(2, 1, 0)}
        bias = bool(site.get("use_bias", True))
        if bias:
            # `outputs += bias_add(outputs, bias)` is 2 · conv + bias.
            tensors = {"weight": 2 * tensors["weight"], "bias": site.weight("bias", (filters,))}
        if not centred:
            # One convolution with tied weights; ours would mirror the windows of the other strand.
            return filled(
                lambda: nn.Conv1d(value.channels, 2 * filters, width, stride, 0, dilation, bias=bias),
                **{name: tie(tensor) for name, tensor in tensors.items()},
            )
        # Which of the two does not change what is computed; it says what the input is.
        coupled = not _is_input(site) and value.channels % 2 == 0
        channels, source = (value.channels // 2, None) if coupled else (value.channels, "reversal")
        return filled(
            lambda: tied.RCPSConv1d(
                channels, filters, width, stride, left, dilation, bias=bias, coupled=coupled, source=source
            ),
            **tensors,
        )

    x = value.ref if centred or left == right == 0 else site.function("F.pad", value.ref, (left, right))
    return site.activated(site.module(make, x), (length, 2 * filters), value)


@layer("RevCompConv1DBatchNorm")
def _batch_norm(site: Site) -> Value:
    value = site.need("sequence")
    half = _half(site, value)
    if site.integer("axis", -1) not in (-1, 2):
        raise site.error("axis", got=site.integer("axis"), expected="-1")
    site.keep_same(half)

    def make() -> nn.Module:
        scale, center = bool(site.get("scale", True)), bool(site.get("center", True))
        tensors = {
            "running_mean": site.weight("moving_mean", (half,)),
            "running_var": site.weight("moving_variance", (half,)),
            "num_batches_tracked": torch.zeros((), dtype=torch.int64),
        }
        if scale or center:
            tensors["weight"] = site.weight("gamma", (half,)) if scale else torch.ones(half)
            tensors["bias"] = site.weight("beta", (half,)) if center else torch.zeros(half)
        epsilon, momentum = _number(site, "epsilon", 1e-3), round(1 - _number(site, "momentum", 0.99), 12)
        return filled(lambda: tied.RCPSBatchNorm1d(half, epsilon, momentum, affine=scale or center), **tensors)

    return Value(site.module(make, value.ref), value.shape, "sequence")


@layer("RevCompSumPool")
def _sum_pool(site: Site) -> Value:
    value = site.need("sequence")
    half = _half(site, value)
    return Value(site.module(tied.StrandSum, value.ref), (value.shape[0], half), "sequence")


@layer("DenseAfterRevcompConv1D")
def _dense_after_convolution(site: Site) -> Value:
    """Own strand and other strand, each in its own direction, are read with one kernel: a dense layer on their sum."""
    value = site.need("sequence")
    half, length, units = _half(site, value), _steps(site, value), site.integer("units")
    site.keep_same((half, length))

    def make() -> nn.Module:
        # Rows of Keras count positions, then channels; flattened here it is channels, then positions.
        kernel = site.weight("kernel", (length * half, units)).reshape(length, half, units).transpose(0, 1)
        return _dense(site, kernel.reshape(length * half, units))

    strands = site.module(tied.StrandSum, value.ref, part="strands")
    y = site.module(make, site.function("torch.flatten", strands, 1), part="dense")
    return site.activated(y, (units,), Value(y, (units,), "vector"))


@layer("DenseAfterRevcompWeightedSum")
def _dense_after_weighted_sum(site: Site) -> Value:
    value = site.as_keras(site.need("vector"))
    half, units = _half(site, value), site.integer("units")
    site.keep_same(half)
    strands = site.module(tied.StrandSum, value.ref, part="strands")
    y = site.module(lambda: _dense(site, site.weight("kernel", (half, units))), strands, part="dense")
    return site.activated(y, (units,), Value(y, (units,), "vector"))


@layer("WeightedSum1D")
def _weighted_sum(site: Site) -> Value:
    value = site.need("sequence")
    length, symmetric = _steps(site, value), bool(site.get("symmetric", False))
    if site.get("bias", False):
        raise site.error("bias=true", expected="false, as in keras-genomics")
    stranded = bool(site.get("input_is_revcomp_conv", False))
    channels = _half(site, value) if stranded else value.channels
    site.keep_same((channels, length))

    def make() -> nn.Module:
        names = [name for name in site.spec.weights if name == "W" or name.endswith("_W")]
        if len(names) != 1:
            raise site.error("weights", got=", ".join(site.spec.weights) or "none in the file", expected="one, W")
        weight = site.weight(names[0], ((length + 1) // 2 if symmetric else length, channels))
        cls = tied.RCPSWeightedSum1d if stranded else tied.WeightedSum1d
        return filled(lambda: cls(channels, length, symmetric), weight=weight.T)

    return Value(site.module(make, value.ref), (value.channels,), "vector")


def _dense(site: Site, kernel: Tensor) -> nn.Module:
    bias = bool(site.get("use_bias", True))
    tensors = {"weight": kernel.T} | ({"bias": site.weight("bias", (kernel.shape[1],))} if bias else {})
    return filled(lambda: nn.Linear(kernel.shape[0], kernel.shape[1], bias), **tensors)


def _channels_last(site: Site) -> None:
    if site.get("data_format", "channels_last") != "channels_last":
        raise site.error("data_format", got=site.get("data_format"), expected="channels_last")


def _half(site: Site, value: Value) -> int:
    """Channels of one strand."""
    if value.channels % 2:
        raise site.error(
            "input", got=f"shape {value.shape}", expected="an even number of channels: both strands of a RevComp layer"
        )
    return value.channels // 2


def _steps(site: Site, value: Value) -> int:
    if value.steps is None:
        raise site.error("input", got=f"shape {value.shape}", expected="a fixed length, which its weights have")
    return value.steps


def _is_input(site: Site) -> bool:
    """Whether it reads an input of the network, rather than both strands of a layer."""
    calls = site.model.calls
    return all(site.model.layers[calls[source.call].layer].kind == "InputLayer" for source in site.call.inputs)


def _window(site: Site, length: int | None, reach: int, stride: int) -> tuple[int, int, int | None]:
    """Padding at both ends, and the length that comes out, for windows over ``reach`` positions."""
    padding = site.get("padding", "valid")
    if padding == "valid":
        left, right = 0, 0
    elif padding == "causal":
        left, right = reach - 1, 0
    elif padding == "same":
        if length is None and stride > 1:
            raise site.error(
                "padding=same with strides, on a length that the file leaves open", got=f"strides {stride}"
            )
        rest = reach - 1 if length is None else max((-(-length // stride) - 1) * stride + reach - length, 0)
        left, right = rest // 2, rest - rest // 2
    else:
        raise site.error("padding", got=repr(padding)[:40], expected="valid, same or causal")
    if length is None:
        return left, right, None
    if length + left + right < reach:
        raise site.error("input", got=f"length {length}", expected=f"at least {reach - left - right}, one window")
    return left, right, (length + left + right - reach) // stride + 1
