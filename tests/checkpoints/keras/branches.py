"""Small networks over every ordinary layer and option, written once for Keras 2 and Keras 3, by family."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from tests.checkpoints.keras.branches_of_images import (
    Branch,
    Branches,
    chain,
    channels_first,
    images,
    images_channels_first,
    images_of_bases,
)

#: The shapes of the input that a family is built on.
SHAPES: dict[str, list[tuple[int | None, ...]]] = {
    "activations": [(23, 6)],
    "activation layers": [(23, 6)],
    "activations of vectors": [(6,)],
    "convolution": [(23, 6), (24, 6)],
    "convolution of open length": [(None, 6)],
    "separable": [(23, 6), (24, 6)],
    "transposed": [(9, 4)],
    "other on torch": [(23, 6), (24, 6)],
    "pooling": [(23, 6), (24, 6)],
    "pooling of open length": [(None, 6)],
    "padding": [(23, 6)],
    "normalization": [(11, 6)],
    "normalization of vectors": [(6,)],
    "dense": [(11, 6)],
    "reshaping": [(12, 6)],
    "vectors": [(12,)],
    "dropout": [(12, 6)],
    "merging": [(12, 6)],
    "images": [(1, 30, 4), (30, 1, 4)],
    "images of bases": [(4, 30, 1), (30, 4, 1)],
    "shared": [(12, 6)],
}
#: Those that TensorFlow cannot run without a GPU.
FIRST: dict[str, list[tuple[int | None, ...]]] = {
    "channels first": [(6, 23)],
    "images, channels first": [(1, 4, 30), (4, 1, 30)],
}


def branches(family: str, keras: Any, shape: tuple[int | None, ...] = ()) -> Branches:
    """The networks of a family, by a name that says what is in them; ``keras`` is tf_keras or Keras 3."""
    layers = keras.layers
    three = int(keras.__version__.split(".")[0]) >= 3
    return _FAMILIES[family](layers, three, shape)


def activation_names(three: bool) -> list[str]:
    names = "linear relu sigmoid tanh softmax softplus softsign elu selu exponential hard_sigmoid swish gelu mish"
    more = (
        "silu relu6 leaky_relu log_softmax celu glu hard_silu hard_swish tanh_shrink hard_tanh soft_shrink hard_shrink "
        "log_sigmoid squareplus sparse_plus sparse_sigmoid"
    )
    return f"{names} {more}".split() if three else names.split()


def _activations(layers: Any, three: bool, shape: tuple[int | None, ...]) -> Branches:
    found = {f"Activation {name}": layers.Activation(name) for name in activation_names(three)}
    inside = [name for name in activation_names(three) if name != "glu"]
    return found | {f"in a convolution {name}": layers.Conv1D(4, 3, activation=name) for name in inside}


def _activations_of_vectors(layers: Any, three: bool, shape: tuple[int | None, ...]) -> Branches:
    found: Branches = {f"Activation {name}": layers.Activation(name) for name in activation_names(three)}
    found |= {"Softmax": layers.Softmax(), "PReLU": layers.PReLU(), "ELU": layers.ELU(0.5)}
    found["Dense"] = layers.Dense(5, activation="softmax")
    return found


def _activation_layers(layers: Any, three: bool, shape: tuple[int | None, ...]) -> Branches:
    slope = "negative_slope" if three else "alpha"
    found = {
        "ReLU": layers.ReLU(),
        "ReLU max": layers.ReLU(max_value=0.7),
        "ReLU slope": layers.ReLU(negative_slope=0.3),
        "ReLU slope max": layers.ReLU(negative_slope=0.3, max_value=0.7),
        "ReLU threshold": layers.ReLU(threshold=0.4),
        "ReLU all": layers.ReLU(threshold=0.4, negative_slope=0.2, max_value=0.9),
        "LeakyReLU": layers.LeakyReLU(**{slope: 0.15}),
        "LeakyReLU default": layers.LeakyReLU(),
        "ELU": layers.ELU(alpha=0.7),
        "PReLU": layers.PReLU(),
        "PReLU by channel": layers.PReLU(shared_axes=[1]),
        "PReLU by position": layers.PReLU(shared_axes=[2]),
        "PReLU one": layers.PReLU(shared_axes=[1, 2]),
        "Softmax": layers.Softmax(),
        "Softmax channels": layers.Softmax(axis=2),
        "Softmax length": layers.Softmax(axis=1),
    }
    if not three:
        found["ThresholdedReLU"] = layers.ThresholdedReLU(theta=0.5)
    return found


def _convolution(layers: Any, three: bool, shape: tuple[int | None, ...]) -> Branches:
    found: Branches = {}
    for padding, size, (stride, dilation) in itertools.product(
        ("valid", "same", "causal"), (1, 4, 5), ((1, 1), (2, 1), (3, 1), (1, 2), (1, 3))
    ):
        layer = layers.Conv1D(4, size, strides=stride, dilation_rate=dilation, padding=padding)
        found[f"{padding} {size} stride {stride} dilation {dilation}"] = layer
    found["no bias"] = layers.Conv1D(4, 3, use_bias=False)
    found["activation"] = layers.Conv1D(4, 3, activation="relu")
    found["groups"] = layers.Conv1D(4, 3, groups=2)
    found["depth"] = chain(layers.Conv1D(4, 3, padding="same"), layers.Conv1D(3, 2, padding="causal"), layers.Flatten())
    return found


def _open_convolution(layers: Any, three: bool, shape: tuple[int | None, ...]) -> Branches:
    return {
        "valid": layers.Conv1D(4, 5, strides=2),
        "same odd": layers.Conv1D(4, 5, padding="same", dilation_rate=2),
        "same even": layers.Conv1D(4, 4, padding="same"),
        "causal": layers.Conv1D(4, 4, padding="causal"),
        "image": chain(layers.Reshape((-1, 1, 6)), layers.Conv2D(4, (3, 1)), layers.GlobalMaxPooling2D()),
        "profile": chain(layers.Conv1D(4, 3), layers.Cropping1D(2), layers.Conv1D(1, 1)),
        "global": chain(layers.Conv1D(4, 3), layers.GlobalAveragePooling1D(), layers.Dense(2)),
    }


def _separable(layers: Any, three: bool, shape: tuple[int | None, ...]) -> Branches:
    found: Branches = {}
    for padding, stride, multiplier in itertools.product(("valid", "same"), (1, 2), (1, 3)):
        options = {"padding": padding, "strides": stride, "depth_multiplier": multiplier}
        found[f"separable {options}"] = layers.SeparableConv1D(5, 4, **options)
        found[f"depthwise {options}"] = layers.DepthwiseConv1D(4, **options)
    if not three:
        found["causal"] = layers.SeparableConv1D(5, 4, padding="causal")
    found["dilated"] = layers.SeparableConv1D(5, 3, dilation_rate=2, activation="relu")
    found["no bias"] = layers.SeparableConv1D(5, 3, use_bias=False)
    found["depthwise no bias"] = layers.DepthwiseConv1D(3, use_bias=False, activation="tanh")
    return found


def _transposed(layers: Any, three: bool, shape: tuple[int | None, ...]) -> Branches:
    found: Branches = {}
    for padding, size, stride in itertools.product(("valid", "same"), (1, 2, 3, 4, 5), (1, 2, 3)):
        found[f"{padding} {size} stride {stride}"] = layers.Conv1DTranspose(3, size, strides=stride, padding=padding)
    found["valid, output padding"] = layers.Conv1DTranspose(3, 4, strides=3, output_padding=1)
    found["same, output padding"] = layers.Conv1DTranspose(3, 4, strides=3, padding="same", output_padding=2)
    found["no bias"] = layers.Conv1DTranspose(3, 4, strides=2, use_bias=False, activation="relu")
    return found


def _other_on_torch(layers: Any, three: bool, shape: tuple[int | None, ...]) -> Branches:
    """What Keras 3 on torch computes otherwise than every other Keras: averages with uneven padding."""
    found: Branches = {}
    for size, stride in ((2, 1), (3, 2), (4, 1), (4, 3), (5, None), (5, 2)):
        found[f"average {size} stride {stride}"] = layers.AveragePooling1D(size, strides=stride, padding="same")
    return found


def _pooling(layers: Any, three: bool, shape: tuple[int | None, ...]) -> Branches:
    found: Branches = {}
    for kind, padding, size, stride in itertools.product(
        (layers.MaxPooling1D, layers.AveragePooling1D), ("valid", "same"), (2, 3, 4, 5), (None, 1, 2, 3)
    ):
        if three and padding == "same" and kind is layers.AveragePooling1D and _uneven(shape[0], size, stride or size):
            continue  # see "other on torch"
        found[f"{kind.__name__} {padding} {size} stride {stride}"] = kind(size, strides=stride, padding=padding)
    for kind in (layers.GlobalMaxPooling1D, layers.GlobalAveragePooling1D):
        found[kind.__name__] = kind()
        found[f"{kind.__name__} keepdims"] = kind(keepdims=True)
    found["flattened"] = chain(layers.MaxPooling1D(4), layers.Flatten(), layers.Dense(3))
    return found


def _uneven(length: int | None, size: int, stride: int) -> bool:
    needed = (-(-(length or 0) // stride) - 1) * stride + size - (length or 0)
    return needed > 0 and needed % 2 == 1


def _open_pooling(layers: Any, three: bool, shape: tuple[int | None, ...]) -> Branches:
    return {
        "max": layers.MaxPooling1D(3),
        "average same": layers.AveragePooling1D(3 if three else 4, strides=1, padding="same"),
        "max same": layers.MaxPooling1D(4, strides=1, padding="same"),
        "global": layers.GlobalMaxPooling1D(),
    }


def _padding(layers: Any, three: bool, shape: tuple[int | None, ...]) -> Branches:
    return {
        "pad": layers.ZeroPadding1D(2),
        "pad ends": layers.ZeroPadding1D((1, 3)),
        "crop": layers.Cropping1D(3),
        "crop ends": layers.Cropping1D((2, 0)),
        "crop none": layers.Cropping1D((0, 0)),
        "crop the end": layers.Cropping1D((0, 5)),
        "up": layers.UpSampling1D(3),
    }


def _normalization(layers: Any, three: bool, shape: tuple[int | None, ...]) -> Branches:
    found = {
        "batch": layers.BatchNormalization(),
        "batch epsilon": layers.BatchNormalization(epsilon=0.1),
        "batch no scale": layers.BatchNormalization(scale=False),
        "batch no center": layers.BatchNormalization(center=False),
        "batch plain": layers.BatchNormalization(center=False, scale=False),
        "batch over length": layers.BatchNormalization(axis=1),
        "batch flattened": chain(layers.Flatten(), layers.BatchNormalization(), layers.Dense(3)),
        "layer": layers.LayerNormalization(),
        "layer epsilon": layers.LayerNormalization(epsilon=0.1),
        "layer no scale": layers.LayerNormalization(scale=False),
        "layer no center": layers.LayerNormalization(center=False),
        "layer over length": layers.LayerNormalization(axis=1),
        "layer over all": layers.LayerNormalization(axis=[1, 2]),
        "layer flattened": chain(layers.Flatten(), layers.LayerNormalization(), layers.Dense(3)),
        "group": layers.GroupNormalization(groups=3),
        "group instance": layers.GroupNormalization(groups=-1),
        "group no scale": layers.GroupNormalization(groups=2, scale=False, epsilon=0.01),
        "group over length": layers.GroupNormalization(groups=1, axis=1),
        "unit": layers.UnitNormalization(),
        "unit over length": layers.UnitNormalization(axis=1),
        "rescale": layers.Rescaling(0.3, offset=0.2),
    }
    if three:
        del found["layer over length"]  # which Keras itself cannot do on torch
        found["rms"] = layers.RMSNormalization()
    return found


def _normalization_of_vectors(layers: Any, three: bool, shape: tuple[int | None, ...]) -> Branches:
    numbers = [0.1, -0.2, 0.3, 0.4, -0.5, 0.6]
    return {
        "batch": layers.BatchNormalization(),
        "layer": layers.LayerNormalization(),
        "group": layers.GroupNormalization(groups=2),
        "unit": layers.UnitNormalization(),
        "rescale": layers.Rescaling(numbers, offset=-0.5),
        "normalize": layers.Normalization(mean=numbers, variance=[0.5, 1.0, 2.0, 0.3, 0.7, 1.5]),
        "normalize back": layers.Normalization(mean=numbers, variance=[0.4] * 6, invert=True),
        "normalize adapted": layers.Normalization(),
        "normalize one": layers.Normalization(axis=None, mean=0.3, variance=0.7),
    }


def _dense(layers: Any, three: bool, shape: tuple[int | None, ...]) -> Branches:
    td = layers.TimeDistributed
    return {
        "by position": layers.Dense(4, activation="softmax"),
        "no bias": layers.Dense(4, use_bias=False),
        "flattened": chain(layers.Flatten(), layers.Dense(4)),
        "over the length": chain(layers.Permute((2, 1)), layers.Dense(4), layers.Flatten()),
        "twice": chain(layers.Flatten(), layers.Dense(4, activation="relu"), layers.Dense(2, activation="sigmoid")),
        "time dense": td(layers.Dense(4, activation="relu")),
        "time softmax": td(layers.Activation("softmax")),
        "time batch": td(layers.BatchNormalization()),
        "time dropout": td(layers.Dropout(0.3)),
        "time layer": td(layers.LayerNormalization()),
    }


def _reshaping(layers: Any, three: bool, shape: tuple[int | None, ...]) -> Branches:
    end = layers.Flatten
    return {
        "flatten": layers.Flatten(),
        "flatten channels first": layers.Flatten(data_format="channels_first"),
        "to a vector": chain(layers.Reshape((-1,)), layers.Dense(3)),
        "to another sequence": layers.Reshape((24, 3)),
        "by -1": layers.Reshape((-1, 4)),
        "transposed shape": chain(layers.Reshape((6, 12)), layers.Conv1D(3, 2)),
        "to an image": chain(layers.Reshape((12, 1, 6)), layers.Conv2D(3, (4, 1)), end(), layers.Dense(2)),
        "to bases": chain(layers.Reshape((12, 6, 1)), layers.Conv2D(3, (4, 6), activation="relu"), end()),
        "to a tensor": chain(layers.Reshape((3, 4, 6)), layers.Activation("softmax"), layers.Permute((3, 1, 2)), end()),
        "and back": chain(layers.Reshape((12, 6, 1)), layers.Reshape((12, 6)), layers.Conv1D(3, 2)),
        "permute": chain(layers.Permute((2, 1)), end(), layers.Dense(3)),
        "permute and convolve": chain(layers.Permute((2, 1)), layers.Conv1D(3, 2), end()),
        "permute twice": chain(layers.Permute((2, 1)), layers.Permute((2, 1)), layers.Conv1D(3, 2)),
        "permute nothing": chain(layers.Permute((1, 2)), layers.Conv1D(3, 2)),
        "permute and softmax": chain(layers.Permute((2, 1)), layers.Activation("softmax"), end()),
        "permute and pool": chain(layers.Permute((2, 1)), layers.MaxPooling1D(2), end()),
        "permute and normalize": chain(layers.Permute((2, 1)), layers.BatchNormalization(), end()),
        "permute an image": chain(layers.Reshape((12, 2, 3)), layers.Permute((3, 1, 2)), end(), layers.Dense(2)),
        "permute an image, one axis 1": chain(
            layers.Reshape((12, 1, 6)), layers.Permute((2, 1, 3)), layers.Conv2D(3, (1, 4)), end()
        ),
    }


def _vectors(layers: Any, three: bool, shape: tuple[int | None, ...]) -> Branches:
    return {
        "reshape": chain(layers.Reshape((4, 3)), layers.Conv1D(3, 2)),
        "reshape dense": chain(layers.Dense(20), layers.Reshape((5, 4)), layers.MaxPooling1D(2)),
        "to an image": chain(layers.Reshape((1, 6, 2)), layers.Conv2D(3, (1, 2)), layers.Flatten()),
        "repeat": chain(layers.RepeatVector(5), layers.Conv1D(3, 2)),
        "flatten": layers.Flatten(),
        "permute": layers.Permute((1,)),
    }


def _dropout(layers: Any, three: bool, shape: tuple[int | None, ...]) -> Branches:
    return {
        "dropout": layers.Dropout(0.4),
        "spatial": layers.SpatialDropout1D(0.4),
        "gaussian": layers.GaussianDropout(0.4),
        "noise": layers.GaussianNoise(0.4),
        "alpha": layers.AlphaDropout(0.4),
        "regularization": layers.ActivityRegularization(0.1),
    }


def _merging(layers: Any, three: bool, shape: tuple[int | None, ...]) -> Branches:
    def two(merge: Any, *more: Any) -> Branch:
        return lambda x: merge([x, layers.Conv1D(6, 3, padding="same")(x), *(layer(x) for layer in more)])

    def vectors(merge: Any) -> Branch:
        """Vectors in two orders: one flattened, one not."""
        return lambda x: layers.Dense(3)(
            merge([layers.Flatten()(x), chain(layers.Permute((2, 1)), layers.Flatten())(x)])
        )

    found: Branches = {}
    for name in ("Add", "Multiply", "Average", "Maximum", "Minimum"):
        kind = getattr(layers, name)
        found[name] = two(kind())
        found[f"{name} of three"] = two(kind(), layers.Conv1D(6, 1))
        found[f"{name} by channel"] = two(kind(), chain(layers.GlobalMaxPooling1D(), layers.Reshape((1, 6))))
        found[f"{name} by position"] = two(kind(), layers.Conv1D(1, 1))
        found[f"{name} of vectors"] = vectors(kind())
    found["Subtract"] = two(layers.Subtract())
    found["Subtract vectors"] = vectors(layers.Subtract())
    found["Add a vector"] = two(layers.Add(), layers.GlobalMaxPooling1D())
    found["Concatenate"] = two(layers.Concatenate())
    found["Concatenate lengths"] = two(layers.Concatenate(axis=1), layers.Cropping1D(2))
    found["Concatenate channels"] = two(layers.Concatenate(axis=2), layers.Conv1D(2, 1))
    found["Concatenate vectors"] = vectors(layers.Concatenate())
    found["Concatenate vectors of one order"] = lambda x: layers.Dense(3)(
        layers.Concatenate()([layers.Flatten()(x), layers.Flatten()(layers.Conv1D(2, 3)(x))])
    )
    found["Add images"] = lambda x: layers.Flatten()(
        layers.Add()([layers.Reshape((12, 2, 3))(x), layers.Reshape((12, 2, 3))(layers.Conv1D(6, 1)(x))])
    )
    found["Concatenate images"] = lambda x: layers.Flatten()(
        layers.Concatenate()([layers.Reshape((12, 2, 3))(x), layers.Reshape((12, 2, 1))(layers.Conv1D(2, 1)(x))])
    )
    found["Add transposed"] = lambda x: layers.Flatten()(
        layers.Add()([layers.Permute((2, 1))(x), layers.Reshape((6, 12))(x)])
    )
    return found


def _shared(layers: Any, three: bool, shape: tuple[int | None, ...]) -> Branches:
    """Layers that are called on two values; those whose weights depend on the order of a vector, on two orders."""

    def twice(layer: Any, first: Branch, second: Branch) -> Branch:
        return lambda x: layers.Add()([layer(first(x)), layer(second(x))])

    flat = layers.Flatten()
    turned = chain(layers.Permute((2, 1)), layers.Flatten())
    plain = chain(layers.Flatten(), layers.Dense(72))
    return {
        "conv": twice(layers.Conv1D(4, 3, padding="same"), lambda x: x, layers.Dense(6)),
        "conv of two lengths": lambda x: layers.Concatenate(axis=1)(
            [conv(y) for conv in [layers.Conv1D(4, 3)] for y in (x, layers.Cropping1D(2)(x))]
        ),
        "dense": twice(layers.Dense(3), flat, flat),
        "dense, two orders": twice(layers.Dense(3), flat, turned),
        "dense, then in Keras's order": twice(layers.Dense(3), flat, plain),
        "dense, first in Keras's order": twice(layers.Dense(3), plain, turned),
        "dense by position": twice(layers.Dense(3), lambda x: x, layers.Conv1D(6, 3, padding="same")),
        "norm": twice(layers.BatchNormalization(), lambda x: x, layers.Dense(6)),
        "activation": twice(layers.Activation("softmax"), lambda x: x, layers.Dense(6)),
    }


_FAMILIES: dict[str, Callable[[Any, bool, tuple[int | None, ...]], Branches]] = {
    "activations": _activations,
    "activation layers": _activation_layers,
    "activations of vectors": _activations_of_vectors,
    "convolution": _convolution,
    "convolution of open length": _open_convolution,
    "separable": _separable,
    "transposed": _transposed,
    "other on torch": _other_on_torch,
    "pooling": _pooling,
    "pooling of open length": _open_pooling,
    "padding": _padding,
    "normalization": _normalization,
    "normalization of vectors": _normalization_of_vectors,
    "dense": _dense,
    "reshaping": _reshaping,
    "vectors": _vectors,
    "dropout": _dropout,
    "merging": _merging,
    "images": images,
    "images of bases": images_of_bases,
    "shared": _shared,
    "channels first": channels_first,
    "images, channels first": images_channels_first,
}
