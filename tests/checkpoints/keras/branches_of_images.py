"""Small networks over layers on images of which one axis is the length, and on inputs with channels first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Branch = Callable[[Any], Any]
Branches = dict[str, Branch]


def chain(*layers: Any) -> Branch:
    """Layers one after the other."""

    def apply(x: Any) -> Any:
        for layer in layers:
            x = layer(x)
        return x

    return apply


def images(layers: Any, three: bool, shape: tuple[int | None, ...]) -> Branches:
    """One spatial axis is the length, the other is 1."""

    def at(along: int, across: int = 1) -> tuple[int, int]:
        return (across, along) if shape[0] == 1 else (along, across)

    end = layers.Flatten
    same: dict[str, Any] = {"padding": "same"}
    return {
        "conv": chain(layers.Conv2D(3, at(4), activation="relu"), end(), layers.Dense(2)),
        "conv same": chain(layers.Conv2D(3, at(4), **same), end()),
        "conv same, kernel over padding": chain(layers.Conv2D(3, at(5, 3), **same), end()),
        "conv strided": chain(layers.Conv2D(3, at(4), strides=at(3)), end()),
        "conv strided same": chain(layers.Conv2D(3, at(4), strides=at(3), **same), end()),
        "conv dilated": chain(layers.Conv2D(3, at(4), dilation_rate=at(2)), end()),
        "conv no bias": chain(layers.Conv2D(3, at(4), use_bias=False), end()),
        "max": chain(layers.MaxPooling2D(at(3)), end()),
        "max strided": chain(layers.MaxPooling2D(at(3), strides=at(2)), end()),
        "max same": chain(layers.MaxPooling2D(at(4), **same), end()),
        "average same": chain(layers.AveragePooling2D(at(3), strides=at(1), **same), end()),
        "average same over padding": chain(layers.AveragePooling2D(at(4, 3), strides=at(4, 3), **same), end()),
        "global max": layers.GlobalMaxPooling2D(),
        "global average": layers.GlobalAveragePooling2D(),
        "pad": chain(layers.ZeroPadding2D(((0, 0), (1, 3)) if shape[0] == 1 else ((1, 3), (0, 0))), end()),
        "crop": chain(layers.Cropping2D(((0, 0), (1, 3)) if shape[0] == 1 else ((1, 3), (0, 0))), end()),
        "up": chain(layers.UpSampling2D(at(2)), end()),
        "batch": chain(layers.BatchNormalization(), end()),
        "layer": chain(layers.LayerNormalization(), end()),
        "prelu": chain(layers.PReLU(shared_axes=[1, 2]), end()),
        "dropout": chain(layers.SpatialDropout2D(0.3), end()),
        "softmax": chain(layers.Activation("softmax"), end()),
        "dense": chain(layers.Dense(5), end()),
        "to a sequence": chain(layers.Reshape((30, 4)), layers.Conv1D(3, 4)),
        "held as an image": layers.Conv2D(3, at(4)),
        "merged": lambda x: end()(layers.Add()([x, layers.Conv2D(4, at(3), **same)(x)])),
    }


def images_of_bases(layers: Any, three: bool, shape: tuple[int | None, ...]) -> Branches:
    """One spatial axis is the bases, and a kernel covers it whole."""

    def at(along: int, across: int) -> tuple[int, int]:
        return (across, along) if shape[0] == 4 else (along, across)

    end = layers.Flatten
    return {
        "conv": chain(layers.Conv2D(3, at(5, 4), activation="relu"), end(), layers.Dense(2)),
        "deep": chain(layers.Conv2D(3, at(5, 4)), layers.MaxPooling2D(at(3, 1)), layers.Conv2D(2, at(3, 1)), end()),
        "strided": chain(layers.Conv2D(3, at(5, 4), strides=at(2, 1)), end()),
        "pool by row": chain(layers.MaxPooling2D(at(3, 1)), layers.Conv2D(2, at(3, 4)), end()),
        "batch": chain(layers.BatchNormalization(), end()),
        "flatten": chain(end(), layers.Dense(2)),
        "permute": chain(layers.Permute((2, 1, 3)), end(), layers.Dense(2)),
        "to a sequence": chain(
            layers.Permute((2, 1, 3) if shape[0] == 4 else (1, 2, 3)), layers.Reshape((30, 4)), layers.Conv1D(2, 3)
        ),
    }


def channels_first(layers: Any, three: bool, shape: tuple[int | None, ...]) -> Branches:
    end = layers.Flatten
    first: dict[str, Any] = {"data_format": "channels_first"}
    return {
        "conv": chain(layers.Conv1D(3, 4, padding="same", activation="relu", **first), end(), layers.Dense(2)),
        "conv deep": chain(layers.Conv1D(3, 4, **first), layers.Conv1D(3, 5, strides=2, **first), end()),
        "conv softmax": chain(layers.Conv1D(3, 4, activation="softmax", **first), end()),
        "separable": chain(layers.SeparableConv1D(3, 4, **first), end()),
        "transposed": chain(layers.Conv1DTranspose(3, 4, strides=2, **first), end()),
        "max": chain(layers.MaxPooling1D(3, **first), end()),
        "average": chain(layers.AveragePooling1D(3, **first), end()),
        "global": layers.GlobalMaxPooling1D(**first),
        "global keepdims": chain(layers.GlobalAveragePooling1D(keepdims=True, **first), end()),
        "batch": chain(layers.BatchNormalization(axis=1), end()),
        "layer": chain(layers.LayerNormalization(), end()),
        "flatten": chain(end(**first), layers.Dense(2)),
        "dense": chain(layers.Dense(5), end()),
        "then last": chain(layers.Conv1D(3, 4, **first), layers.Permute((2, 1)), layers.Conv1D(2, 3)),
        "mixed": chain(layers.Conv1D(3, 4, **first), layers.Conv1D(2, 2), end()),
        "added": lambda x: end()(layers.Add()([x, layers.Conv1D(6, 3, padding="same", **first)(x)])),
        "joined": lambda x: end()(layers.Concatenate(axis=1)([x, layers.Conv1D(2, 3, padding="same", **first)(x)])),
        "prelu": chain(layers.PReLU(), end()),
        "time": chain(layers.TimeDistributed(layers.Dense(2)), end()),
    }  # fmt: skip


def images_channels_first(layers: Any, three: bool, shape: tuple[int | None, ...]) -> Branches:
    end = layers.Flatten
    first: dict[str, Any] = {"data_format": "channels_first"}
    rows = shape[1]
    return {
        "conv": chain(layers.Conv2D(3, (rows, 5), activation="relu", **first), end(), layers.Dense(2)),
        "deep": chain(layers.Conv2D(3, (rows, 5), **first), layers.MaxPooling2D((1, 3), **first), end()),
        "batch": chain(layers.BatchNormalization(axis=1), end()),
        "flatten": chain(end(), layers.Dense(2)),
        "flatten first": chain(end(**first), layers.Dense(2)),
        "global": chain(layers.Conv2D(3, (rows, 5), **first), layers.GlobalMaxPooling2D(**first)),
    }
