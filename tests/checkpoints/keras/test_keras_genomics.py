"""The layers of keras-genomics and of the paper's code, against numpy written from their definitions."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rcproof.errors import CheckpointError
from rcproof.network.network import attach
from rcproof.nn import RCPSConv1d, RCPSWeightedSum1d, StrandSum, WeightedSum1d
from tests.checkpoints.keras.hand_built import Array, Graph, close, draw, run

# -- the definitions: one example (L, C), channels last, loops over positions ------------------------------


def pads(padding: str, length: int, reach: int, stride: int) -> tuple[int, int]:
    """As TensorFlow pads."""
    if padding == "causal":
        return reach - 1, 0
    total = 0 if padding == "valid" else max((-(-length // stride) - 1) * stride + reach - length, 0)
    return total // 2, total - total // 2


def convolve(x: Array, kernel: Array, padding: str, stride: int, dilation: int) -> Array:
    """Cross-correlation of (L, C) with (K, C, F)."""
    reach = (len(kernel) - 1) * dilation + 1
    x = np.pad(x, (pads(padding, len(x), reach, stride), (0, 0)))
    starts = range(0, len(x) - reach + 1, stride)
    return np.stack([sum(x[s + k * dilation] @ kernel[k] for k in range(len(kernel))) for s in starts])


def revcomp_conv(x: Array, kernel: Array, bias: Array | None, padding: str, stride: int, dilation: int) -> Array:
    full = np.concatenate([kernel, kernel[::-1, ::-1, ::-1]], axis=-1)
    outputs = convolve(x, full, padding, stride, dilation)
    if bias is not None:
        outputs = outputs + (outputs + np.concatenate([bias, bias[::-1]]))  # `outputs += bias_add(outputs, bias)`
    return outputs


def revcomp_batch_norm(x: Array, gamma: Array, beta: Array, mean: Array, var: Array, epsilon: float) -> Array:
    half = x.shape[1] // 2
    long = np.concatenate([x[:, :half], x[:, half:][:, ::-1]], axis=0)
    normed = (long - mean) / np.sqrt(var + epsilon) * gamma + beta
    return np.concatenate([normed[: len(x)], normed[len(x) :][:, ::-1]], axis=1)


def sum_pool(x: Array) -> Array:
    half = x.shape[1] // 2
    return x[:, :half] + x[:, half:][::-1, ::-1]


def dense_after_conv(x: Array, kernel: Array) -> Array:
    length, channels = x.shape
    kernel = kernel.reshape(length, channels // 2, -1)
    full = np.concatenate([kernel, kernel[::-1, ::-1, :]], axis=1).reshape(length * channels, -1)
    return x.reshape(-1) @ full


def weighted_sum(x: Array, W: Array, symmetric: bool, stranded: bool) -> Array:
    if symmetric:
        W = np.concatenate([W, W[::-1][len(x) % 2 :]], axis=0)
    if stranded:
        W = np.concatenate([W, W[::-1, ::-1]], axis=1)
    return (x * W).sum(0)


def dense_after_weighted_sum(x: Array, kernel: Array) -> Array:
    return x @ np.concatenate([kernel, kernel[::-1]], axis=0)


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def each(f: Callable[..., Array], x: Array, *args: Any) -> Array:
    return np.stack([f(row, *args) for row in x])


def reversal(x: Array) -> Array:
    return np.flip(x, tuple(range(1, x.ndim)))


# -- convolutions ------------------------------------------------------------------------------------------


def conv_graph(channels: int, length: int | None, bias: bool, **config: Any) -> tuple[Graph, int, dict[str, Array]]:
    g = Graph()
    weights = {"kernel": draw(1, config["kernel_size"][0], channels, config["filters"])}
    if bias:
        weights["bias"] = draw(2, config["filters"])
    x = g.input("dna", length, channels)
    return g, g.layer("conv", "RevCompConv1D", x, weights=weights, use_bias=bias, **config), weights


OPTIONS = list(itertools.product((True, False), ("valid", "same", "causal"), (3, 4), (1, 2, 3), (1, 2)))


@pytest.mark.parametrize(("bias", "padding", "width", "stride", "dilation"), OPTIONS)
def test_convolution_is_its_definition(bias: bool, padding: str, width: int, stride: int, dilation: int) -> None:
    for length in (16, 17):
        config = {"padding": padding, "strides": [stride], "dilation_rate": [dilation]}
        g, y, w = conv_graph(6, length, bias, filters=2, kernel_size=[width], activation="linear", **config)
        network, x = g.build(y), draw(3, 2, length, 6)
        args = (w["kernel"], w.get("bias"), padding, stride, dilation)
        close(run(network, x), each(revcomp_conv, x, *args))
        # One of our layers wherever the windows centre; elsewhere the file's own layer, which is not equivariant.
        layer = network.get_submodule("conv")
        equal = np.allclose(run(network, reversal(x)), reversal(run(network, x)), rtol=1e-9)
        assert isinstance(layer, RCPSConv1d) == equal
        assert isinstance(layer, RCPSConv1d | nn.Conv1d)


def test_the_known_answer_of_a_convolution_with_a_bias() -> None:
    g = Graph()
    kernel = np.zeros((1, 4, 1))
    kernel[0, 0, 0] = 1.0  # counts A, and on the other strand T
    x = g.input("dna", None, 4)
    weights = {"kernel": kernel, "bias": np.array([10.0])}
    config = {"filters": 1, "kernel_size": [1], "strides": [1], "padding": "valid", "activation": "linear"}
    network = g.build(g.layer("conv", "RevCompConv1D", x, weights=weights, **config))
    acgt = np.eye(4)[None]
    assert run(network, acgt).tolist() == [[[12, 10], [10, 10], [10, 10], [10, 12]]]


def test_the_first_layer_reads_a_closed_input_and_later_ones_strand_pairs() -> None:
    g, first, _ = conv_graph(4, 20, False, filters=3, kernel_size=[3], activation="relu")
    config = {"filters": 2, "kernel_size": [3], "use_bias": False, "activation": "relu"}
    second = g.layer("second", "RevCompConv1D", first, weights={"kernel": draw(5, 3, 6, 2)}, **config)
    network = g.build(second)
    layers = [network.get_submodule(name) for name in ("conv", "second")]
    assert [str(layer.source) for layer in layers] == ["reversal", "None"]
    assert [layer.coupled for layer in layers] == [False, True]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"data_format": "channels_first"}, "data_format: got channels_first; expected channels_last"),
        ({"padding": "full"}, "padding: got 'full'; expected valid, same or causal"),
        ({"strides": [0]}, "filters, kernel_size, strides, dilation_rate, groups: expected at least 1; groups 1"),
        ({"kernel_size": [2]}, r"weights 'kernel': got shape \(3, 4, 2\); expected shape \(2, 4, 2\)"),
        ({"kernel_size": ["3"]}, "kernel_size: got '3'; expected a whole number"),
        ({"kernel_size": [21]}, "input: got length 20; expected at least 21, one window"),
    ],
)
def test_convolutions_that_have_no_form_are_refused(change: dict[str, Any], text: str) -> None:
    g, y, _ = conv_graph(4, 20, True, filters=2, kernel_size=[3], activation="relu")
    g.layers["conv"].config.update(change)
    with pytest.raises(CheckpointError, match=r"layer 'conv' \(RevCompConv1D\): " + text):
        g.build(y)


# -- the other layers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scale", "center"), list(itertools.product((True, False), repeat=2)))
def test_batch_norm_is_its_definition(scale: bool, center: bool) -> None:
    g, f = Graph(), 3
    names = {"moving_mean": draw(1, f), "moving_variance": draw(2, f) ** 2 + 0.1}
    gamma, beta = draw(3, f) if scale else np.ones(f), draw(4, f) if center else np.zeros(f)
    names |= {"gamma": gamma} if scale else {}
    names |= {"beta": beta} if center else {}
    x = g.input("x", 9, 2 * f)
    config = {"axis": -1, "momentum": 0.9, "epsilon": 0.01, "scale": scale, "center": center}
    network = g.build(g.layer("norm", "RevCompConv1DBatchNorm", x, weights=names, **config))
    values = draw(5, 2, 9, 2 * f)
    want = each(revcomp_batch_norm, values, gamma, beta, names["moving_mean"], names["moving_variance"], 0.01)
    close(run(network, values), want)
    close(run(network, reversal(values)), reversal(want))
    assert network.get_submodule("norm").momentum == pytest.approx(0.1)


def test_sum_pool_is_its_definition() -> None:
    g = Graph()
    network = g.build(g.layer("pool", "RevCompSumPool", g.input("x", 7, 6)))
    values = draw(1, 2, 7, 6)
    close(run(network, values), each(sum_pool, values))
    close(run(network, reversal(values)), run(network, values))
    assert isinstance(network.get_submodule("pool"), StrandSum)


@pytest.mark.parametrize("bias", [True, False])
def test_dense_after_convolution_is_its_definition(bias: bool) -> None:
    g, length, f, units = Graph(), 5, 3, 4
    weights = {"kernel": draw(1, length * f, units)} | ({"bias": draw(2, units)} if bias else {})
    config = {"units": units, "use_bias": bias, "activation": "sigmoid"}
    x = g.input("x", length, 2 * f)
    network = g.build(g.layer("fc", "DenseAfterRevcompConv1D", x, weights=weights, **config))
    values = draw(3, 2, length, 2 * f) / 3
    want = sigmoid(each(dense_after_conv, values, weights["kernel"]) + weights.get("bias", 0))
    close(run(network, values), want)
    close(run(network, reversal(values)), want)


@pytest.mark.parametrize(
    ("length", "symmetric", "stranded"), list(itertools.product((6, 7), (True, False), (True, False)))
)
def test_weighted_sums_are_their_definition(length: int, symmetric: bool, stranded: bool) -> None:
    g, f, units = Graph(), 3, 2
    W, kernel, bias = draw(1, -(-length // 2) if symmetric else length, f), draw(2, f, units), draw(3, units)
    x = g.input("x", length, 2 * f if stranded else f)
    config = {"symmetric": symmetric, "input_is_revcomp_conv": stranded, "bias": False, "smoothness_penalty": None}
    # keras-genomics calls the weight after the layer.
    y = g.layer("sum", "WeightedSum1D", x, weights={"weighted_sum1d_1_W": W}, **config)
    values = draw(4, 2, length, 2 * f if stranded else f)
    network, want = g.build(y), each(weighted_sum, values, W, symmetric, stranded)
    close(run(network, values), want)
    assert isinstance(network.get_submodule("sum"), RCPSWeightedSum1d if stranded else WeightedSum1d)
    if stranded:
        z = g.layer(
            "fc",
            "DenseAfterRevcompWeightedSum",
            y,
            weights={"kernel": kernel, "bias": bias},
            units=units,
            activation="relu",
        )
        network, want = g.build(z), relu(each(dense_after_weighted_sum, want, kernel) + bias)
        close(run(network, values), want)
        close(run(network, reversal(values)), want)


def test_layers_of_strand_pairs_need_an_even_number_of_channels_and_a_length() -> None:
    for kind in ("RevCompConv1DBatchNorm", "RevCompSumPool", "DenseAfterRevcompConv1D"):
        g = Graph()
        y = g.layer("it", kind, g.input("x", 5, 3), units=2)
        with pytest.raises(
            CheckpointError, match="expected an even number of channels: both strands of a RevComp layer"
        ):
            g.build(y)
    for kind in ("WeightedSum1D", "DenseAfterRevcompConv1D"):
        g = Graph()
        y = g.layer("it", kind, g.input("x", None, 4), units=2)
        with pytest.raises(CheckpointError, match="expected a fixed length, which its weights have"):
            g.build(y)
    g = Graph()
    y = g.layer("it", "WeightedSum1D", g.input("x", 5, 3), bias=True)
    with pytest.raises(CheckpointError, match="bias=true: expected false"):
        g.build(y)


# -- mutants -----------------------------------------------------------------------------------------------


def test_a_kernel_that_is_not_doubled_is_caught() -> None:
    g, y, w = conv_graph(4, 12, True, filters=2, kernel_size=[3], activation="linear")
    network, x = g.build(y), draw(3, 2, 12, 4)
    want = each(revcomp_conv, x, w["kernel"], w["bias"], "valid", 1, 1)
    close(run(network, x), want)
    with torch.no_grad():
        network.get_submodule("conv").weight /= 2
    close(run(network, reversal(x)), reversal(run(network, x)))  # equivariant all the same
    with pytest.raises(AssertionError, match="differs"):
        close(run(network, x), want)


def test_our_layer_is_none_for_windows_that_do_not_centre() -> None:
    config = {"filters": 2, "kernel_size": [3], "strides": [2], "activation": "linear"}
    g, y, w = conv_graph(4, 12, False, **config)
    network, x = g.build(y), draw(3, 2, 12, 4)
    want = each(revcomp_conv, x, w["kernel"], None, "valid", 2, 1)
    close(run(network, x), want)
    # The mutant takes our layer, which mirrors the windows of the other strand: equivariant, and another function.
    mutant = RCPSConv1d(4, 2, 3, 2, bias=False, source="reversal").double()
    with torch.no_grad():
        mutant.weight.copy_(torch.from_numpy(w["kernel"].transpose(2, 1, 0).copy()))
    attach(network, "conv", mutant)
    network.replan()
    close(run(network, reversal(x)), reversal(run(network, x)))
    with pytest.raises(AssertionError, match="differs"):
        close(run(network, x), want)
