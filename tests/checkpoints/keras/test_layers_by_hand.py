"""Layers as Keras 1 meant them, where no Keras of today can load the file; windows of every size; what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rcproof.checkpoints.keras.build import build
from rcproof.checkpoints.keras.model import LayerSpec
from rcproof.errors import CheckpointError
from tests.checkpoints.keras.hand_built import Array, Graph, close, draw, run


def windows_of(x: Array, size: int, stride: int, dilation: int, left: int, right: int, fill: float) -> list[Array]:
    """What each window reads of (N, L, C), padded: the slow, obvious way."""
    padded = np.pad(x, ((0, 0), (left, right), (0, 0)), constant_values=fill)
    span = dilation * (size - 1) + 1
    return [padded[:, i : i + span : dilation] for i in range(0, padded.shape[1] - span + 1, stride)]


def convolve(x: Array, kernel: Array, stride: int, dilation: int, left: int, right: int) -> Array:
    found = windows_of(x, len(kernel), stride, dilation, left, right, 0.0)
    return np.stack([np.einsum("nkc,kcf->nf", w, kernel) for w in found], axis=1)


def theano_conv(x: Array, kernel: Array, stride: int, dilation: int) -> Array:
    """``border_mode="half"``: half a window on both sides; Keras then drops what an even kernel gives too many."""
    half = (dilation * (len(kernel) - 1) + 1) // 2
    y = convolve(x, kernel, stride, dilation, half, half)
    return y if len(kernel) % 2 else y[:, : -(-x.shape[1] // stride)]


def tensorflow_conv(x: Array, kernel: Array, stride: int, dilation: int) -> Array:
    span, length = dilation * (len(kernel) - 1) + 1, x.shape[1]
    total = max((-(-length // stride) - 1) * stride + span - length, 0)
    return convolve(x, kernel, stride, dilation, total // 2, total - total // 2)


def theano_pool(x: Array, size: int, stride: int, kind: str) -> Array:
    """``pool_2d`` with ``ignore_border`` and ``average_exc_pad``, padded as Keras padded it."""
    pad = size - 2 if size > 2 and size % 2 else size - 1
    found = windows_of(x, size, stride, 1, pad, pad, np.nan)
    over = np.nanmax if kind == "Max" else np.nanmean
    return np.stack([over(w, axis=1) for w in found], axis=1)[:, : -(-x.shape[1] // stride)]


def one(kind: str, x: Array, backend: str, weights: dict[str, Array] | None = None, **config: Any) -> Array:
    graph = Graph(generation=1)
    made = graph.layer("layer", kind, graph.input("x", *x.shape[1:]), weights=weights, **config)
    return run(build(replace(graph.model(made), backend=backend))[0].double(), x)


lengths, sizes, steps = st.integers(1, 30), st.integers(1, 9), st.integers(1, 4)


@given(lengths, sizes, steps, st.integers(1, 3), st.sampled_from(["theano", "tensorflow"]))
@settings(max_examples=60)
def test_convolutions_of_the_same_length(length: int, size: int, stride: int, dilation: int, backend: str) -> None:
    x, kernel = draw(0, 2, length, 3), draw(1, size, 3, 4)
    reference = theano_conv if backend == "theano" else tensorflow_conv
    options = {"padding": "same", "strides": stride, "dilation_rate": dilation, "use_bias": False}
    close(one("Conv1D", x, backend, {"kernel": kernel}, **options), reference(x, kernel, stride, dilation))


@given(lengths, sizes, steps, st.sampled_from(["Max", "Average"]))
@settings(max_examples=60)
def test_pooling_of_the_same_length_on_theano(length: int, size: int, stride: int, kind: str) -> None:
    x = draw(0, 2, length, 3)
    options = {"padding": "same", "pool_size": size, "strides": stride}
    close(one(f"{kind}Pooling1D", x, "theano", **options), theano_pool(x, size, stride, kind))


@given(lengths, sizes, steps, st.sampled_from(["Max", "Average"]))
@settings(max_examples=60)
def test_pooling_of_the_same_length_elsewhere(length: int, size: int, stride: int, kind: str) -> None:
    x = draw(0, 2, length, 3)
    total = max((-(-length // stride) - 1) * stride + size - length, 0)
    found = windows_of(x, size, stride, 1, total // 2, total - total // 2, np.nan)
    want = np.stack([(np.nanmax if kind == "Max" else np.nanmean)(w, axis=1) for w in found], axis=1)
    options = {"padding": "same", "pool_size": size, "strides": stride}
    close(one(f"{kind}Pooling1D", x, "tensorflow", **options), want)


@given(st.integers(1, 12), sizes, steps, st.sampled_from(["valid", "same"]))
@settings(max_examples=60)
def test_transposed_convolutions(length: int, size: int, stride: int, padding: str) -> None:
    """Each position adds its kernel; ``same`` cuts what is beyond length × stride, half of it on the left."""
    x, kernel = draw(0, 2, length, 3), draw(1, size, 4, 3)
    whole = np.zeros((2, (length - 1) * stride + max(size, stride), 4))
    for i in range(length):
        whole[:, i * stride : i * stride + size] += np.einsum("nc,kfc->nkf", x[:, i], kernel)
    if padding == "same":
        start = max(size - stride, 0) // 2
        whole = whole[:, start : start + length * stride]
    close(one("Conv1DTranspose", x, "", {"kernel": kernel}, padding=padding, strides=stride, use_bias=False), whole)


def test_an_average_on_theano_remembers_each_length_it_is_called_on() -> None:
    graph = Graph(generation=1)
    x = graph.input("x", 12, 3)
    first = graph.layer("pool", "AveragePooling1D", x, padding="same", pool_size=4, strides=4)
    short = graph.layer("crop", "Cropping1D", x, cropping=(0, 4))
    second = graph.layer("pool", "AveragePooling1D", short)
    network = build(replace(graph.model(graph.layer("cat", "Concatenate", first, second, axis=1)), backend="theano"))[0]
    y = draw(0, 2, 12, 3)
    want = np.concatenate([theano_pool(y, 4, 4, "Average"), theano_pool(y[:, :8], 4, 4, "Average")], axis=1)
    close(run(network.double(), y), want)


@pytest.mark.parametrize("generation", [0, 1, 2, 3])
def test_hard_sigmoid_is_that_of_its_generation(generation: int) -> None:
    graph = Graph(generation=generation)
    made = graph.layer("act", "Activation", graph.input("x", 9, 3), activation="hard_sigmoid")
    x = 3 * draw(0, 5, 9, 3)
    slope = 1 / 6 if generation == 3 else 0.2
    close(run(graph.build(made), x), np.clip(slope * x + 0.5, 0, 1))


def test_flatten_moves_channels_only_where_there_was_such_an_argument() -> None:
    x = draw(0, 2, 5, 3)
    for generation, want in ((1, x.reshape(2, -1)), (2, x.transpose(0, 2, 1).reshape(2, -1))):
        graph = Graph(generation=generation)
        kept = graph.layer("kept", "Activation", graph.input("x", 5, 3), data_format="channels_last")
        made = graph.layer("flat", "Flatten", kept, data_format="channels_first")
        close(run(graph.build(made), x), want)


def test_an_activation_can_be_a_layer_with_arguments() -> None:
    x = draw(0, 2, 9, 3)
    for activation, want in (
        ({"class_name": "LeakyReLU", "config": {"alpha": 0.2}}, np.where(x > 0, x, 0.2 * x)),
        ({"class_name": "ReLU", "config": {"max_value": 0.5}}, np.clip(x, 0, 0.5)),
        ({"class_name": "function", "config": "tanh"}, np.tanh(x)),
        (None, x),
    ):
        graph = Graph()
        weights = {"kernel": np.eye(3)[None]}
        made = graph.layer(
            "conv", "Conv1D", graph.input("x", 9, 3), weights=weights, use_bias=False, activation=activation
        )
        close(run(graph.build(made), x), want)


REFUSED: list[tuple[str, tuple[int | None, ...], dict[str, Any], dict[str, Array], str]] = [
    ("Conv2D", (4, 30, 1), {}, {"kernel": draw(0, 2, 5, 1, 3)}, "slides along both axes"),
    ("Conv2D", (1, 30, 4), {"groups": 3}, {"kernel": draw(0, 1, 5, 4, 3)}, "expected 4 channels in"),
    ("MaxPooling2D", (4, 30, 1), {"pool_size": (2, 2)}, {}, "pooling along both axes"),
    ("GlobalMaxPooling2D", (4, 30, 1), {}, {}, "expected one spatial axis of size 1"),
    ("ZeroPadding2D", (1, 30, 4), {"padding": 1}, {}, "expected none along the second axis"),
    ("UpSampling2D", (1, 30, 4), {"size": 2}, {}, "expected 1 along the second axis"),
    ("Conv1D", (30, 4), {"padding": "full"}, {"kernel": draw(0, 5, 4, 3)}, "padding: got 'full'"),
    ("Conv1D", (3, 4), {}, {"kernel": draw(0, 5, 4, 3)}, "got 5 positions over a length of 3"),
    ("Conv1D", (30, 5), {}, {"kernel": draw(0, 5, 4, 3)}, "expected 5 channels in"),
    ("Conv1D", (30, 4), {"strides": 0}, {"kernel": draw(0, 5, 4, 3)}, "stride: got 0"),
    ("Conv1D", (30, 4), {"dilation_rate": "2"}, {"kernel": draw(0, 5, 4, 3)}, "expected a whole number"),
    ("Conv1D", (30, 4), {}, {"kernel": draw(0, 5, 4, 3)}, "weights 'bias': got none in the file"),
    ("Conv1D", (30, 4), {}, {}, "weights 'kernel': got none in the file"),
    ("Conv1D", (30, 4), {}, {"kernel": np.ones((5, 4, 3), np.int64)}, "expected real numbers"),
    ("Conv1D", (None, 4), {"padding": "same", "strides": 2}, {"kernel": draw(0, 5, 4, 3)}, "got an open length"),
    ("Conv1D", (4,), {}, {"kernel": draw(0, 5, 4, 3)}, "held as a vector; expected a sequence"),
    ("AveragePooling1D", (30, 4), {"padding": "causal"}, {}, "expected valid, same"),
    ("Conv1DTranspose", (9, 4), {"output_padding": 3, "strides": 2}, {"kernel": draw(0, 3, 2, 4)}, "fewer than"),
    ("SeparableConv1D", (9, 5), {}, {"depthwise_kernel": draw(0, 3, 4, 1)}, "depthwise kernel: got 4 channels"),
    ("Dense", (5,), {}, {"kernel": draw(0, 4, 3)}, "expected 4 channels, as the kernel has"),
    ("Flatten", (None, 4), {}, {}, "a length that the file leaves open"),
    ("Reshape", (30, 4), {"target_shape": [7, -1]}, {}, "expected the elements of shape (30, 4)"),
    ("Reshape", (30, 4), {"target_shape": [-1, -1]}, {}, "one to three sizes"),
    ("Reshape", (None, 4), {"target_shape": [-1, 2]}, {}, "expected a fixed length"),
    ("Permute", (30, 4), {"dims": [1, 1]}, {}, "expected the numbers from 1 to 2"),
    ("Cropping1D", (30, 4), {"cropping": (20, 10)}, {}, "got 20 + 10 of 30 positions"),
    ("Cropping1D", (30, 4), {"cropping": (-1, 0)}, {}, "expected one or two whole numbers"),
    ("RepeatVector", (4,), {"n": 0}, {}, "expected a number of positions"),
    ("RepeatVector", (4,), {"n": 10**12}, {}, "expected a number of positions"),
    ("ZeroPadding1D", (30, 4), {"padding": 10**9}, {}, "expected fewer elements"),
    ("UpSampling1D", (30, 4), {"size": 10**6}, {}, "expected at least 1"),
    ("Activation", (30, 4), {"activation": "sparsemax"}, {}, "'sparsemax'; expected one of Keras's own"),
    ("Activation", (30, 4), {"activation": ["relu"]}, {}, "activation: got ['relu']"),
    ("Activation", (30, 3), {"activation": "glu"}, {}, "got 3 channels; expected an even number"),
    ("Softmax", (30, 4), {"axis": [1, 2]}, {}, "expected one axis of shape"),
    ("Softmax", (30, 4), {"axis": 0}, {}, "not the batch"),
    ("ReLU", (30, 4), {"max_value": "6"}, {}, "max_value: got '6'; expected a number"),
    ("BatchNormalization", (30, 4), {"mode": 1}, {}, "mode: got 1"),
    ("BatchNormalization", (30, 4), {"axis": [1, 2]}, {}, "expected channels or length"),
    ("GroupNormalization", (30, 4), {"epsilon": "x", "groups": 2, "scale": False, "center": False}, {}, "epsilon: got"),
    ("BatchNormalization", (30, 4), {}, {"gamma": np.ones(5)}, "expected shape (4,)"),
    ("LayerNormalization", (30, 4), {"rms_scaling": True}, {}, "rms_scaling"),
    ("LayerNormalization", (4, 30, 4), {"axis": -1}, {}, "expected channels, length or all"),
    ("GroupNormalization", (30, 4), {"groups": 3, "scale": False, "center": False}, {}, "expected a divisor of 4"),
    ("Normalization", (30, 4), {}, {"mean": np.ones(3), "variance": np.ones(4)}, "mean"),
    ("Rescaling", (30, 4), {"scale": "a"}, {}, "scale: got 'a'"),
    ("Dropout", (30, 4), {"rate": 2}, {}, "expected a number from 0 to 1"),
    ("Dot", (30, 4), {}, {}, "no such layer is known"),
    ("LocallyConnected1D", (30, 4), {}, {}, "no such layer is known"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "shape", "config", "weights", "text"), REFUSED)
def test_what_has_no_form_here_is_refused_by_name(
    kind: str, shape: tuple[int | None, ...], config: dict[str, Any], weights: dict[str, Array], text: str
) -> None:
    graph = Graph()
    made = graph.layer("odd", kind, graph.input("x", *shape), weights=weights, **config)
    with pytest.raises(CheckpointError) as caught:
        graph.build(made)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_merges_of_shapes_that_do_not_fit_are_refused() -> None:
    for kind, config, text in (
        ("Add", {}, "expected sizes that are equal or 1"),
        ("Concatenate", {}, "expected one shape but for axis 2"),
        ("Concatenate", {"axis": 0}, "not the batch"),
    ):
        graph = Graph()
        a, b = graph.input("a", 30, 4), graph.input("b", 20, 5)
        made = graph.layer("merge", kind, a, b, **config)
        with pytest.raises(CheckpointError, match=text):
            graph.build(made)


def test_a_layer_that_would_differ_between_its_calls_is_refused() -> None:
    weights = {"kernel": draw(0, 4, 3), "bias": draw(1, 3)}
    graph = Graph()
    x = graph.input("x", 30, 4)
    graph.layer("dense", "Dense", x, weights=weights)
    second = graph.layer("dense", "Dense", graph.layer("pool", "GlobalMaxPooling1D", x))
    with pytest.raises(CheckpointError, match="got a vector and a sequence"):
        graph.build(second)
    graph = Graph()
    x = graph.input("x", 30, 4)
    options = {"padding": "same", "strides": 2}
    graph.layer("conv", "Conv1D", x, weights={"kernel": draw(0, 5, 4, 3), "bias": draw(1, 3)}, **options)
    second = graph.layer("conv", "Conv1D", graph.layer("crop", "Cropping1D", x, cropping=(0, 1)))
    with pytest.raises(CheckpointError, match="inputs for which its torch layers differ"):
        graph.build(second)


def test_time_distributed_wraps_what_reads_one_position() -> None:
    inner = LayerSpec("conv", "Conv1D", {})
    graph = Graph()
    made = graph.layer("time", "TimeDistributed", graph.input("x", 30, 4), inner=[inner])
    with pytest.raises(CheckpointError, match="what it wraps: got Conv1D"):
        graph.build(made)
