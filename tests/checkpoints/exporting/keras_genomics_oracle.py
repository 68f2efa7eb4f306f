"""The layers of keras-genomics in tf-keras, from their definitions, and what they give for a written file."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rcproof.verify import draw_inputs
from tests.checkpoints.exporting.nets import Shapes
from tests.checkpoints.keras.oracles import TOLERANCE, difference, keras2

DNA = ("reversal",)


@cache
def definitions() -> tuple[Any, dict[str, Any]]:
    """tf-keras, and the layers of keras-genomics 0.1 and of the paper's code as classes of it."""
    keras = keras2()
    import tensorflow as tf

    class Base(keras.layers.Layer):
        """Keeps its arguments; makes its arrays in the order of the definition."""

        def __init__(self, name: str | None = None, trainable: bool = True, **config: Any) -> None:
            super().__init__(name=name, trainable=trainable)
            self.given = config

        def array(self, role: str, *shape: int, trained: bool = True) -> Any:
            return self.add_weight(name=role, shape=shape, trainable=trained, initializer="zeros")

        def activated(self, y: Any) -> Any:
            return keras.activations.get(self.given["activation"])(y)

    class RevCompConv1D(Base):
        def build(self, shape: Any) -> None:
            filters, (width,) = self.given["filters"], self.given["kernel_size"]
            self.kernel = self.array("kernel", width, int(shape[-1]), filters)
            self.bias = self.array("bias", filters) if self.given["use_bias"] else None

        def call(self, x: Any) -> Any:
            kernel = tf.concat([self.kernel, self.kernel[::-1, ::-1, ::-1]], axis=-1)
            y = tf.nn.convolution(
                x, kernel, self.given["strides"], self.given["padding"].upper(), dilations=self.given["dilation_rate"]
            )
            if self.bias is not None:
                y += tf.nn.bias_add(y, tf.concat([self.bias, self.bias[::-1]], axis=-1))
            return self.activated(y)

    class RevCompConv1DBatchNorm(Base):
        def build(self, shape: Any) -> None:
            half = int(shape[-1]) // 2
            self.gamma = self.array("gamma", half) if self.given["scale"] else None
            self.beta = self.array("beta", half) if self.given["center"] else None
            self.mean = self.array("moving_mean", half, trained=False)
            self.variance = self.array("moving_variance", half, trained=False)
            self.half = half

        def call(self, x: Any) -> Any:
            long = tf.concat([x[:, :, : self.half], x[:, :, self.half :][:, :, ::-1]], axis=1)
            y = tf.nn.batch_normalization(long, self.mean, self.variance, self.beta, self.gamma, self.given["epsilon"])
            length = tf.shape(x)[1]
            return tf.concat([y[:, :length], y[:, length:][:, :, ::-1]], axis=2)

    class RevCompSumPool(Base):
        def call(self, x: Any) -> Any:
            half = x.shape[-1] // 2
            return x[:, :, :half] + x[:, :, half:][:, ::-1, ::-1]

    class DenseAfterRevcompConv1D(Base):
        def build(self, shape: Any) -> None:
            self.length, self.channels = int(shape[1]), int(shape[2])
            self.kernel = self.array("kernel", self.length * self.channels // 2, self.given["units"])
            self.bias = self.array("bias", self.given["units"]) if self.given["use_bias"] else None

        def call(self, x: Any) -> Any:
            kernel = tf.reshape(self.kernel, [self.length, self.channels // 2, -1])
            kernel = tf.concat([kernel, kernel[::-1, ::-1, :]], axis=1)
            y = tf.matmul(
                tf.reshape(x, [-1, self.length * self.channels]), tf.reshape(kernel, [self.length * self.channels, -1])
            )
            return self.activated(y if self.bias is None else y + self.bias)

    class DenseAfterRevcompWeightedSum(Base):
        def build(self, shape: Any) -> None:
            self.kernel = self.array("kernel", int(shape[1]) // 2, self.given["units"])
            self.bias = self.array("bias", self.given["units"]) if self.given["use_bias"] else None

        def call(self, x: Any) -> Any:
            y = tf.matmul(x, tf.concat([self.kernel, self.kernel[::-1]], axis=0))
            return self.activated(y if self.bias is None else y + self.bias)

    class WeightedSum1D(Base):
        def build(self, shape: Any) -> None:
            length, channels = int(shape[1]), int(shape[2])
            self.W = self.array(
                "W", -(-length // 2) if self.given["symmetric"] else length,
                channels // 2 if self.given["input_is_revcomp_conv"] else channels,
            )  # fmt: skip

        def call(self, x: Any) -> Any:
            W = self.W
            if self.given["symmetric"]:
                W = tf.concat([W, W[::-1][x.shape[1] % 2 :]], axis=0)
            if self.given["input_is_revcomp_conv"]:
                W = tf.concat([W, W[::-1, ::-1]], axis=1)
            return tf.reduce_sum(x * W, axis=1)

    made = (
        RevCompConv1D, RevCompConv1DBatchNorm, RevCompSumPool, DenseAfterRevcompConv1D,
        DenseAfterRevcompWeightedSum, WeightedSum1D,
    )  # fmt: skip
    return keras, {cls.__name__: cls for cls in made}


def oracle(path: Path, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """What tf-keras gives for inputs, all channels first."""
    keras, classes = definitions()
    model = keras.models.load_model(path, custom_objects=classes, compile=False)
    given = [np.moveaxis(x.numpy(), 1, -1) if x.dim() == 3 else x.numpy() for x in inputs]
    found = model(given if len(given) > 1 else given[0], training=False)
    found = [np.asarray(y) for y in (found if isinstance(found, list) else [found])]
    return [torch.tensor(np.moveaxis(y, -1, 1) if y.ndim == 3 else y) for y in found]


def draw(shapes: Shapes, reps: tuple[str, ...]) -> tuple[Tensor, ...]:
    found = draw_inputs(shapes, reps, kinds=("one-hot", "random"), batch=4, dtype=torch.float32, seed=7)
    return tuple(torch.cat(pair) for pair in zip(*(case.tensors for case in found), strict=True))


def largest_difference(model: nn.Module, path: Path, shapes: Shapes, reps: tuple[str, ...]) -> float:
    inputs = draw(shapes, reps)
    with torch.no_grad():
        want = model.double()(*(x.double() for x in inputs))
    want = list(want) if isinstance(want, tuple) else [want]
    return max(difference(a.numpy(), b.numpy()) for a, b in zip(oracle(path, inputs), want, strict=True))


def compare(model: nn.Module, path: Path, shapes: Shapes, reps: tuple[str, ...] = DNA) -> None:
    error = largest_difference(model, path, shapes, reps)
    assert error <= TOLERANCE, f"differs from tf-keras by {error:.3g}"


def kinds(path: Path) -> list[str]:
    import h5py

    with h5py.File(path) as file:
        return [layer["class_name"] for layer in json.loads(file.attrs["model_config"])["config"]["layers"]]
