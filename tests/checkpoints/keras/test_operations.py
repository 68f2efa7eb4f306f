"""Functions that graphs call without a layer, in tf.keras and in Keras 3."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rcproof.checkpoints.keras.model import Input
from rcproof.errors import CheckpointError
from tests.checkpoints.keras import oracles
from tests.checkpoints.keras.hand_built import Graph, close, draw, run

SHAPE = (9, 4)
INDICES: dict[str, Callable[[Any], Any]] = {
    "x[:, ::-1, ::-1]": lambda x: x[:, ::-1, ::-1],
    "x[:, ::-1]": lambda x: x[:, ::-1],
    "x[..., ::-1]": lambda x: x[..., ::-1],
    "x[:, 2:-3]": lambda x: x[:, 2:-3],
    "x[:, 1:5, ::-1]": lambda x: x[:, 1:5, ::-1],
    "x[..., :2]": lambda x: x[..., :2],
    "x[:, 3]": lambda x: x[:, 3],
    "x[:, :, 1]": lambda x: x[:, :, 1],
    "x + 1": lambda x: x + 1.0,
    "1 - x": lambda x: 1 - x,
    "2 * x": lambda x: 2 * x,
    "x / 4": lambda x: x / 4,
    "x - reversed": lambda x: x - x[:, ::-1],
    "x * reversed": lambda x: x * x[:, ::-1],
    "x / (x * x + 1)": lambda x: x / (x * x + 1.0),
    "(x + reversed) / 2": lambda x: (x + x[:, ::-1, ::-1]) / 2,
    "-x": lambda x: -x,
    "x ** 2": lambda x: x**2,
    "abs(x)": abs,
}


class Index:
    """``Index()[…]`` is what stands in the brackets."""

    def __getitem__(self, item: Any) -> Any:
        return item


def keras3_functions(ops: Any) -> dict[str, Callable[[Any], Any]]:
    return {
        "flip one": lambda x: ops.flip(x, axis=1),
        "flip two": lambda x: ops.flip(x, axis=(1, 2)),
        "mean": lambda x: ops.mean(x, axis=1),
        "mean of channels": lambda x: ops.mean(x, axis=-1),
        "sum kept": lambda x: ops.sum(x, axis=1, keepdims=True),
        "max": lambda x: ops.max(x, axis=1),
        "maximum": lambda x: ops.maximum(x, ops.flip(x, 1)),
        "minimum of a number": lambda x: ops.minimum(0.5, x),
        "sigmoid": ops.sigmoid,
        "relu": ops.relu,
        "softmax": lambda x: ops.softmax(x, axis=-1),
        "exp": ops.exp,
        "log": lambda x: ops.log(abs(x) + 1.0),
        "concatenate": lambda x: ops.concatenate([x, ops.flip(x, 1)], axis=-1),
        "expand and squeeze": lambda x: ops.squeeze(ops.expand_dims(x, 2), 2),
        "expand a vector": lambda x: ops.expand_dims(ops.mean(x, axis=1), -1),
        "reshape": lambda x: ops.reshape(x, (-1, 36)),
        "transpose": lambda x: ops.transpose(ops.transpose(x, (0, 2, 1)) + 1.0, (0, 2, 1)),
        "cast": lambda x: ops.cast(x, "float32") + 0.5,
    }


def keras2_functions(tf: Any) -> dict[str, Callable[[Any], Any]]:
    return {
        "reverse one": lambda x: tf.reverse(x, axis=[1]),
        "reverse two": lambda x: tf.reverse(x, [1, 2]),
        "mean": lambda x: tf.reduce_mean(x, axis=1),
        "sum kept": lambda x: tf.reduce_sum(x, axis=1, keepdims=True),
        "max": lambda x: tf.reduce_max(x, 1),
        "maximum": lambda x: tf.maximum(x, tf.reverse(x, [1])),
        "sigmoid": tf.sigmoid,
        "relu": tf.nn.relu,
        "softmax": tf.nn.softmax,
        "concat": lambda x: tf.concat([x, tf.exp(x)], axis=-1),
        "expand and squeeze": lambda x: tf.squeeze(tf.expand_dims(x, 2), 2),
        "reshape": lambda x: tf.reshape(x, (-1, 36)),
        "transpose": lambda x: tf.transpose(tf.transpose(x, (0, 2, 1)) + 1.0, (0, 2, 1)),
        "cast": lambda x: tf.cast(x, "float32") + 0.5,
    }


def check(keras: Any, suffix: str, functions: dict[str, Callable[[Any], Any]], folder: Path) -> None:
    convolve = keras.layers.Conv1D(4, 1)  # a file without weights is none
    branches = {name: lambda x, f=f: f(convolve(x)) for name, f in functions.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = oracles.networks(keras, SHAPE, branches)
    oracles.agree(model, folder, suffix, list(branches))


def test_functions_of_keras_3(tmp_path: Path) -> None:
    keras = oracles.keras3()
    backwards = [name for name in INDICES if "::-1" in name or "reversed" in name]
    forwards = {name: f for name, f in INDICES.items() if name not in backwards}  # torch knows no negative steps
    check(keras, ".keras", forwards | keras3_functions(keras.ops), tmp_path)


@pytest.mark.parametrize("name", [name for name in INDICES if name.startswith("x[")])
def test_indices_of_keras_3_by_numpy(name: str) -> None:
    g, y = called("GetItem", Input(0), list(INDICES[name](Index())))
    x = draw(1, 2, *SHAPE)
    close(run(g.build(y), x), INDICES[name](x))


def test_functions_of_tf_keras(tmp_path: Path) -> None:
    keras = oracles.keras2()
    import tensorflow as tf

    check(keras, ".h5", INDICES | keras2_functions(tf), tmp_path)


def test_a_vector_out_of_order_is_put_in_order_first() -> None:
    g = Graph(generation=3)
    flat = g.layer("flat", "Flatten", g.input("x", 3, 2), data_format="channels_last")
    y = g.layer("flip", "Flip", flat, operation=True, axis=1)
    x = draw(1, 2, 3, 2)
    close(run(g.build(y), x), x.reshape(2, 6)[:, ::-1])


def called(kind: str, *args: Any, shape: tuple[int, ...] = SHAPE, **options: Any) -> tuple[Graph, int]:
    g = Graph(generation=3)
    arguments = {"args": list(args)} if args else {}
    return g, g.layer("it", kind, g.input("x", *shape), arguments=arguments, operation=True, **options)


@pytest.mark.parametrize(
    ("kind", "args", "options", "text"),
    [
        ("Flip", (), {"axis": None}, r"axis: got None; expected axes of shape \(9, 4\), no batch"),
        ("Flip", (), {"axis": 0}, "axis: got 0; expected axes of shape"),
        ("Mean", (), {"axis": [1, 2]}, r"axis: got \[0, 1\] of shape \(9, 4\); expected some axis left of a sequence"),
        ("GetItem", (Input(0), [slice(1, None)]), {}, "an index: got .*; expected all examples, and axes of each"),
        (
            "GetItem",
            (Input(0), [slice(None), slice(0, 9, 2)]),
            {},
            "an index: got .*; expected a slice of step 1, ::-1, or a number",
        ),
        ("GetItem", (Input(0), [slice(None), slice(5, 5)]), {}, "an index: got .*; expected something of 9 to be left"),
        (
            "GetItem",
            (Input(0), [slice(None), 0, 1]),
            {},
            "an index: got .*; expected one position or one channel of a sequence",
        ),
        ("Add", (Input(0), [1.0, 2.0]), {}, "arguments: got an array; expected tensors and numbers"),
        ("Power", (Input(0), Input(0)), {}, "arguments: got two tensors; expected a tensor and a number"),
        ("Cast", (), {"dtype": "int32"}, "a cast: got 'int32'; expected float16, bfloat16, float32, float64"),
        ("Squeeze", (), {"axis": 1}, r"axis: got \[0\] of shape \(9, 4\); expected axes of size 1"),
        ("ExpandDims", (), {"axis": 0}, "axis: got 0; expected one behind the examples"),
        ("Transpose", (), {"axes": [1, 0, 2]}, r"axes: got \[1, 0, 2\]; expected 0, the examples, first"),
        ("Reshape", (), {"newshape": [4, 9]}, r"shape: got \[4, 9\]; expected -1 for the examples, then the rest"),
        ("Softmax", (), {"axis": 1}, "axis: got 1; expected the last"),
        ("Einsum", (), {}, "no such layer is known"),
    ],
)
def test_what_has_no_form_is_refused(kind: str, args: tuple[Any, ...], options: dict[str, Any], text: str) -> None:
    g, y = called(kind, *args, **options)
    with pytest.raises(CheckpointError, match=rf"layer 'it' \({kind}\): " + text):
        g.build(y)


def test_an_unknown_function_of_tf_keras_is_named() -> None:
    g = Graph()
    y = g.layer("it", "TFOpLambda", g.input("x", *SHAPE), function="image.resize")
    with pytest.raises(
        CheckpointError, match=r"layer 'it' \(TFOpLambda\): a function: got 'resize'; expected absolute, "
    ):
        g.build(y)


def test_tensors_of_two_ranks_are_refused() -> None:
    g = Graph(generation=3)
    a, b = g.input("a", 9, 4), g.input("b", 4)
    y = g.layer("it", "Add", a, b, operation=True)
    with pytest.raises(CheckpointError, match=r"arguments: got shapes \(9, 4\) and \(4,\); expected one rank"):
        g.build(y)


def test_mutants_are_caught() -> None:
    x = draw(1, 2, *SHAPE)
    functions: dict[str, tuple[tuple[Any, ...], Any]] = {
        "Subtract": ((1, Input(0)), 1 - x),
        "TrueDivide": ((2.0, Input(0)), 2 / x),
        "Power": ((Input(0), 3), x**3),
    }
    for kind, (args, want) in functions.items():
        g, y = called(kind, *args)
        close(run(g.build(y), x), want)
        swapped, z = called(kind, *args[::-1])
        with pytest.raises(AssertionError, match="differs"):
            close(run(swapped.build(z), np.abs(x)), want)
