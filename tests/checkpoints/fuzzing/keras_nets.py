"""Small Keras networks of every age, as configurations and arrays written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.checkpoints.fuzzing.h5 import Array, Tree

Layer = dict[str, Any]

#: Bytecode as Keras writes that of a Lambda; it is text to everybody but ``marshal``.
BYTECODE = "4wEAAAAAAAAAAAAAAAEAAAACAAAAQwAAAHMEAAAAfABTACkBTqkAKQHaAXhyAQAAAHIBAAAA+g48aXB5dGhvbg=="


class Net:
    """A network in the making: layers in order, and arrays by layer."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.layers: list[Layer] = []
        self.weights: dict[str, list[tuple[str, Array]]] = {}

    def draw(self, *shape: int) -> Array:
        return (self.rng.standard_normal(shape) / 3).astype("<f4")

    def input(self, name: str, *shape: int | None) -> str:
        config = {"batch_input_shape": [None, *shape], "dtype": "float32", "sparse": False, "name": name}
        self.layers.append({"class_name": "InputLayer", "config": config, "name": name, "inbound_nodes": []})
        return name

    def layer(self, kind: str, name: str, *inputs: str | Sequence[str], weights: Any = (), **config: Any) -> str:
        """A layer called once for each of ``inputs``; arrays as pairs of a name and a shape."""
        calls = [[[n, 0, 0, {}] for n in ([given] if isinstance(given, str) else given)] for given in inputs]
        made = {"class_name": kind, "config": {"name": name, "trainable": True, **config}, "name": name}
        self.layers.append({**made, "inbound_nodes": calls})
        self.weights[name] = [(f"{name}/{n}:0", abs(self.draw(*s)) + 0.5 if "variance" in n else self.draw(*s))
                              for n, s in weights]  # fmt: skip
        return name

    def config(self, inputs: Sequence[str], outputs: Sequence[str], name: str = "net", kind: str = "Model") -> Layer:
        ends = {"input_layers": [[n, 0, 0] for n in inputs], "output_layers": [[n, 0, 0] for n in outputs]}
        return {"class_name": kind, "config": {"name": name, "layers": self.layers, **ends}}

    def tree(self, **attrs: Any) -> Tree:
        """The weights as Keras 1 and 2 lay them out."""
        made = Tree({"layer_names": list(self.weights), **attrs})
        for name, arrays in self.weights.items():
            group = made.at(name)
            group.attrs["weight_names"] = [n for n, _ in arrays]
            for path, array in arrays:
                folder, _, last = path.rpartition("/")
                (group.at(folder) if folder else group).items[last] = array
        return made


def conv(cin: int, cout: int, size: int) -> list[tuple[str, tuple[int, ...]]]:
    return [("kernel", (size, cin, cout)), ("bias", (cout,))]


def dense(cin: int, cout: int) -> list[tuple[str, tuple[int, ...]]]:
    return [("kernel", (cin, cout)), ("bias", (cout,))]


def norm(n: int) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, (n,)) for name in ("gamma", "beta", "moving_mean", "moving_variance")]


CONV: Layer = {
    "strides": [1], "padding": "valid", "data_format": "channels_last", "dilation_rate": [1], "activation": "linear",
    "use_bias": True, "kernel_initializer": {"class_name": "Zeros", "config": {}}, "kernel_regularizer": None,
}  # fmt: skip
GATES: Layer = {"activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True, "return_sequences": True,
                "go_backwards": False, "stateful": False, "return_state": False}  # fmt: skip
SEPARATE: Layer = {**CONV, "depth_multiplier": 1}
BACK = {"function": [BYTECODE, None, None], "function_type": "lambda", "module": "__main__", "output_shape": None,
        "output_shape_type": "raw", "arguments": {}}  # fmt: skip


def every_layer() -> tuple[Layer, Tree]:
    """Keras 2: one of each family, with a nested network and a Lambda."""
    n = Net(0)
    x = n.input("x", 20, 4)
    h = n.layer("Conv1D", "conv", x, weights=conv(4, 6, 5), filters=6, kernel_size=[5], **CONV | {"padding": "same"})
    h = n.layer("BatchNormalization", "norm", h, weights=norm(6), axis=[2], momentum=0.9, epsilon=1e-3, scale=True,
                center=True)  # fmt: skip
    separable = [("depthwise_kernel", (3, 6, 1)), ("pointwise_kernel", (1, 6, 6)), ("bias", (6,))]
    h = n.layer("SeparableConv1D", "apart", h, weights=separable, filters=6, kernel_size=[3], **SEPARATE)
    pooled = {"pool_size": [2], "strides": [2], "padding": "valid", "data_format": "channels_last"}
    h = n.layer("MaxPooling1D", "pool", h, **pooled)
    crop = n.layer("Cropping1D", "crop", h, cropping=[1, 0])
    h = n.layer("ZeroPadding1D", "pad", crop, padding=[1, 1])
    arrays = [
        (f"{way}_lstm/lstm_cell/{name}", shape)
        for way in ("forward", "backward")
        for name, shape in (("kernel", (6, 12)), ("recurrent_kernel", (3, 12)), ("bias", (12,)))
    ]
    inside = {"class_name": "LSTM", "config": {"name": "lstm", "units": 3, **GATES}}
    both = n.layer("Bidirectional", "both", h, weights=arrays, layer=inside, merge_mode="concat")
    parts = [(f"{p}/{n}", s) for p in ("query", "key", "value") for n, s in (("kernel", (6, 2, 3)), ("bias", (2, 3)))]
    parts += [("attention_output/kernel", (2, 3, 6)), ("attention_output/bias", (6,))]
    seen = n.layer("MultiHeadAttention", "attend", both, weights=parts, num_heads=2, key_dim=3, value_dim=3, dropout=0,
                   use_bias=True, output_shape=None, attention_axes=[1])  # fmt: skip
    n.layers[-1]["inbound_nodes"] = [[[both, 0, 0, {"value": [both, 0, 0]}]]]
    h = n.layer("Add", "add", [both, seen])
    h = n.layer("LayerNormalization", "scale", h, weights=norm(6)[:2], axis=[2], epsilon=1e-3, scale=True, center=True)
    timed = {"class_name": "Dense", "config": {"name": "inner", "units": 5, "activation": "relu", "use_bias": True}}
    timed_out = n.layer("TimeDistributed", "timed", h, weights=dense(6, 5), layer=timed)
    cell = [("gru_cell/kernel", (6, 12)), ("gru_cell/recurrent_kernel", (4, 12)), ("gru_cell/bias", (2, 12))]
    gru = n.layer("GRU", "gru", h, weights=cell, units=4, reset_after=True, **GATES | {"return_sequences": False})
    flat = n.layer("Flatten", "flat", timed_out, data_format="channels_last")
    h = n.layer("Reshape", "shape", flat, target_shape=[5, 10])
    h = n.layer("Permute", "turn", h, dims=[2, 1])
    most = n.layer("GlobalMaxPooling1D", "most", h, data_format="channels_last")
    block = [
        {"class_name": "Conv1D", "config": {"name": "small", "filters": 3, "kernel_size": [3],
                                            "batch_input_shape": [None, 8, 6], **CONV}},
        {"class_name": "Activation", "config": {"name": "act", "activation": "elu"}},
        {"class_name": "GlobalAveragePooling1D", "config": {"name": "mean", "data_format": "channels_last"}},
    ]  # fmt: skip
    nested = n.layer("Sequential", "block", crop, weights=[(f"small/{a}", s) for a, s in conv(6, 3, 3)], layers=block)
    h = n.layer("Concatenate", "join", [gru, nested, most], axis=-1)
    h = n.layer("Dense", "wide", h, weights=dense(12, 4), units=4, activation="linear", use_bias=True)
    h = n.layer("PReLU", "slope", h, weights=[("alpha", (4,))], shared_axes=None)
    h = n.layer("Dropout", "drop", h, rate=0.3, noise_shape=None, seed=None)
    h = n.layer("Lambda", "same", h, **BACK)
    y = n.layer("Dense", "score", h, weights=dense(4, 2), units=2, activation="sigmoid", use_bias=True)
    return n.config([x], [y], kind="Functional"), n.tree(backend="tensorflow", keras_version="2.4.0")


def siamese() -> tuple[Layer, Tree]:
    """Keras 2: the same layers on an input and on what a Lambda makes of it, averaged after the sigmoid."""
    n = Net(1)
    x = n.input("x", 16, 4)
    other = n.layer("Lambda", "rc", x, **BACK)
    n.layer(
        "Conv1D", "conv", x, other, weights=conv(4, 5, 4), filters=5, kernel_size=[4], **CONV | {"activation": "relu"}
    )
    n.layer("GlobalMaxPooling1D", "pool", "conv", "conv", data_format="channels_last")
    n.layers[-1]["inbound_nodes"] = [[["conv", 0, 0, {}]], [["conv", 1, 0, {}]]]
    n.layer("Dense", "dense", "pool", weights=dense(5, 2), units=2, activation="sigmoid", use_bias=True)
    n.layers[-1]["inbound_nodes"] = [[["pool", 0, 0, {}]], [["pool", 1, 0, {}]]]
    n.layer("Average", "mean", ["dense", "dense"])
    n.layers[-1]["inbound_nodes"] = [[["dense", 0, 0, {}], ["dense", 1, 0, {}]]]
    return n.config([x], ["mean"]), n.tree(backend="tensorflow", keras_version="2.2.4")


def genomics() -> tuple[Layer, Tree]:
    """Keras 2 with the layers of keras-genomics: an RCPS network."""
    n = Net(2)
    x = n.input("x", 18, 4)
    h = n.layer("RevCompConv1D", "one", x, weights=conv(4, 3, 5), filters=3, kernel_size=[5], **CONV)
    h = n.layer("RevCompConv1DBatchNorm", "norm", h, weights=norm(3), axis=-1, momentum=0.9, epsilon=1e-3, scale=True,
                center=True)  # fmt: skip
    h = n.layer("Activation", "act", h, activation="relu")
    h = n.layer("RevCompConv1D", "two", h, weights=conv(6, 2, 3), filters=2, kernel_size=[3], **CONV)
    h = n.layer("RevCompSumPool", "sum", h)
    h = n.layer("GlobalAveragePooling1D", "pool", h, data_format="channels_last")
    y = n.layer("Dense", "score", h, weights=dense(2, 1), units=1, activation="linear", use_bias=True)
    return n.config([x], [y]), n.tree(backend="tensorflow", keras_version="2.2.4")


def chain() -> tuple[Layer, Tree]:
    """Keras 2: a Sequential."""
    n = Net(3)
    n.layer(
        "Conv1D", "conv", weights=conv(4, 5, 4), filters=5, kernel_size=[4], batch_input_shape=[None, 15, 4], **CONV
    )
    n.layer("BatchNormalization", "norm", weights=norm(5), axis=-1, momentum=0.9, epsilon=1e-3, scale=True, center=True)
    n.layer("LeakyReLU", "leak", alpha=0.1)
    n.layer("AveragePooling1D", "pool", pool_size=[3], strides=[3], padding="same", data_format="channels_last")
    n.layer("Flatten", "flat", data_format="channels_last")
    n.layer("Dense", "score", weights=dense(20, 2), units=2, activation="softmax", use_bias=True)
    layers = [{"class_name": found["class_name"], "config": found["config"]} for found in n.layers]
    config = {"class_name": "Sequential", "config": {"name": "chain", "layers": layers}, "keras_version": "2.2.4",
              "backend": "tensorflow"}  # fmt: skip
    return config, n.tree(backend="tensorflow", keras_version="2.2.4")


def third() -> tuple[Layer, Tree]:
    """Keras 3: calls with arguments, an operation, a shared layer; weights by paths."""
    n = Net(4)

    def tensor(name: str, node: int, *shape: int | None) -> Layer:
        config = {"shape": [None, *shape], "dtype": "float32", "keras_history": [name, node, 0]}
        return {"class_name": "__keras_tensor__", "config": config}

    def call(*args: Any, **kwargs: Any) -> Layer:
        return {"args": list(args), "kwargs": kwargs}

    def layer(kind: str, name: str, nodes: list[Layer], module: str = "keras.layers", **config: Any) -> Layer:
        policy = {
            "module": "keras",
            "class_name": "DTypePolicy",
            "config": {"name": "float32"},
            "registered_name": None,
        }
        own = {"name": name, "trainable": True, "dtype": policy} if module == "keras.layers" else {"name": name}
        return {"module": module, "class_name": kind, "config": {**own, **config}, "registered_name": None,
                "name": name, "inbound_nodes": nodes}  # fmt: skip

    first = {"module": "keras.layers", "class_name": "InputLayer", "registered_name": None, "name": "x",
             "inbound_nodes": [], "config": {"batch_shape": [None, 16, 4], "dtype": "float32", "sparse": False,
                                             "name": "x"}}  # fmt: skip
    n.layers = [
        first,
        layer("Conv1D", "conv", [call(tensor("x", 0, 16, 4))], filters=4, kernel_size=[3],
              **CONV | {"padding": "same"}),
        layer("Dense", "mix", [call(tensor("conv", 0, 16, 4)), call(tensor("mix", 0, 16, 4))], units=4, use_bias=True,
              activation="tanh"),
        layer("Add", "add", [call([tensor("mix", 1, 16, 4), tensor("conv", 0, 16, 4)])]),
        layer("GetItem", "cut", [call(tensor("add", 0, 16, 4), {"class_name": "__tuple__", "items": [
            {"class_name": "__slice__", "config": {"start": None, "stop": None, "step": None}},
            {"class_name": "__slice__", "config": {"start": 2, "stop": 10, "step": None}}]})], "keras.src.ops.numpy"),
        layer("GRU", "gru", [call(tensor("cut", 0, 8, 4), mask=None, training=False)], units=3, reset_after=True,
              **GATES | {"return_sequences": False}),
        layer("Dense", "score", [call(tensor("gru", 0, 3))], units=2, use_bias=True, activation="sigmoid"),
    ]  # fmt: skip
    ends = {"input_layers": [["x", 0, 0]], "output_layers": [["score", 0, 0]]}
    config = {"module": "keras.src.models.functional", "class_name": "Functional", "registered_name": "Functional",
              "config": {"name": "net", "trainable": True, "layers": n.layers, **ends}}  # fmt: skip
    tree = Tree()
    arrays = {"conv1d": [(3, 4, 4), (4,)], "dense": [(4, 4), (4,)], "gru/cell": [(4, 9), (3, 9), (2, 9)],
              "dense_1": [(3, 2), (2,)]}  # fmt: skip
    for path, shapes in arrays.items():
        group = tree.at(f"layers/{path}/vars")
        group.items.update({str(i): n.draw(*shape) for i, shape in enumerate(shapes)})
    tree.at("layers/add/vars")
    return config, tree


def first() -> tuple[Layer, Tree]:
    """Keras 1 on Theano: two inputs through shared layers, a BiLSTM with arrays for each gate, averaged."""
    n = Net(5)
    for name in ("one", "two"):
        n.input(name, 14, 4)
    inside = {"class_name": "LSTM", "config": {"name": "lstm", "output_dim": 2, "activation": "tanh",
              "inner_activation": "hard_sigmoid", "return_sequences": True, "go_backwards": False,
              "stateful": False, "consume_less": "cpu", "input_dim": 5}}  # fmt: skip
    timed = {"class_name": "Dense", "config": {"name": "inner", "output_dim": 5, "activation": "relu", "bias": True}}
    calls: list[tuple[str, str, dict[str, Any], Any]] = [
        ("Convolution1D", "conv", {"nb_filter": 6, "filter_length": 4, "border_mode": "valid", "subsample_length": 1,
         "activation": "relu", "bias": True, "input_dim": 4}, [("conv_W", (4, 1, 4, 6)), ("conv_b", (6,))]),
        ("TimeDistributed", "timed", {"layer": timed}, [("timed_W", (6, 5)), ("timed_b", (5,))]),
        ("MaxPooling1D", "pool", {"pool_length": 3, "stride": 3, "border_mode": "valid"}, []),
        ("Bidirectional", "both", {"layer": inside, "merge_mode": "concat"}, [
            (f"{way}_{w}_{g}", {"W": (5, 2), "U": (2, 2), "b": (2,)}[w]) for way in ("forward", "backward")
            for g in "icfo" for w in "WUb"]),
        ("Flatten", "flat", {}, []),
        ("Dense", "score", {"output_dim": 1, "activation": "sigmoid", "bias": True, "input_dim": 12},
         [("score_W", (12, 1)), ("score_b", (1,))]),
    ]  # fmt: skip
    before = ["one", "two"]
    for kind, name, config, arrays in calls:
        n.layer(kind, name, weights=arrays, **config)
        n.layers[-1]["inbound_nodes"] = [[[b, i if b not in ("one", "two") else 0, 0]] for i, b in enumerate(before)]
        n.weights[name] = [(path.removeprefix(f"{name}/").removesuffix(":0"), a) for path, a in n.weights[name]]
        before = [name, name]
    n.layer("Merge", "mean", mode="ave", mode_type="raw", concat_axis=-1, dot_axes=-1, output_shape=None)
    n.layers[-1]["inbound_nodes"] = [[["score", 0, 0], ["score", 1, 0]]]
    return {**n.config(["one", "two"], ["mean"]), "keras_version": "1.1.1"}, n.tree()


def zeroth() -> tuple[Layer, Tree]:
    """Keras 0, as dragonn wrote it: arguments in the open, images, weights by numbers."""
    rng = np.random.default_rng(6)
    plain = {"dim_ordering": "th", "border_mode": "valid", "subsample": [1, 1], "activation": "linear",
             "custom_name": "convolution2d"}  # fmt: skip
    layers = [
        {"name": "Convolution2D", "nb_filter": 3, "nb_row": 4, "nb_col": 5, "input_shape": [1, 4, 20], **plain},
        {"name": "Activation", "activation": "relu", "custom_name": "activation"},
        {"name": "Convolution2D", "nb_filter": 2, "nb_row": 1, "nb_col": 3, "input_shape": [1, 4, 20], **plain},
        {"name": "MaxPooling2D", "pool_size": [1, 4], "strides": [1, 4], "border_mode": "valid", "dim_ordering": "th",
         "custom_name": "maxpooling2d"},
        {"name": "Flatten", "custom_name": "flatten"},
        {"name": "Dense", "output_dim": 1, "activation": "sigmoid", "custom_name": "dense", "input_dim": None},
    ]  # fmt: skip
    shapes: list[list[tuple[int, ...]]] = [[(3, 1, 4, 5), (3,)], [], [(2, 3, 1, 3), (2,)], [], [], [(6, 1), (1,)]]
    tree = Tree({"nb_layers": np.int64(len(layers))})
    for i, arrays in enumerate(shapes):
        group = tree.at(f"layer_{i}")
        group.attrs["nb_params"] = np.int64(len(arrays))
        group.items.update({f"param_{k}": rng.standard_normal(s).astype("<f4") for k, s in enumerate(arrays)})
    return {"name": "Sequential", "layers": layers}, tree
