"""Keras configurations that nobody trained: cycles, bombs, names that are paths, code in every place."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from tests.checkpoints.fuzzing import h5
from tests.checkpoints.fuzzing.h5 import Tree
from tests.checkpoints.fuzzing.pickles import bytecode, payloads

Config = dict[str, Any]


def layer(kind: str, name: str, *calls: Any, **config: Any) -> Config:
    """A layer of a functional network; each call lists ``(layer, call, tensor)`` or names of layers."""
    nodes = [[[*(c if isinstance(c, tuple) else (c, 0, 0)), {}] for c in call] for call in calls]
    return {"class_name": kind, "config": {"name": name, **config}, "name": name, "inbound_nodes": nodes}


def given(*shape: Any, name: str = "x") -> Config:
    return layer("InputLayer", name, batch_input_shape=[None, *shape])


def net(*layers: Config, out: Any = None, inputs: Any = ("x",), name: str = "net") -> Config:
    last = [[layers[-1]["name"], 0, 0]] if out is None else out
    ends = {"input_layers": [[n, 0, 0] for n in inputs], "output_layers": last}
    return {"class_name": "Model", "config": {"name": name, "layers": list(layers), **ends}}


def one(kind: str, shape: tuple[Any, ...] = (10, 4), **config: Any) -> Config:
    """A network of one layer."""
    return net(given(*shape), layer(kind, "odd", ["x"], **config))


def line(count: int, kind: str = "Activation", **config: Any) -> Config:
    config = config or {"activation": "relu"}
    names = ["x", *(f"n{i}" for i in range(count))]
    return net(given(10, 4), *(layer(kind, b, [a], **config) for a, b in pairwise(names)))


def again(count: int) -> Config:
    """One layer, called on its own results."""
    calls = [["x"], *([("a", i, 0)] for i in range(count))]
    return net(given(10, 4), layer("Activation", "a", *calls, activation="relu"), out=[["a", count, 0]])


def doubling(depth: int, kind: str) -> Config:
    names = ["x", *(f"n{i}" for i in range(depth))]
    return net(given(10, 4), *(layer(kind, b, [a, a]) for a, b in pairwise(names)))


def towers(depth: int) -> Config:
    """Networks that each call the one before twice."""
    made = net(given(10, 4), layer("Activation", "a", ["x"], activation="relu"), name="m")
    for i in range(depth):
        inner = {**made, "name": f"m{i}", "inbound_nodes": [[["x", 0, 0, {}]], [[f"m{i}", 1, 0, {}]]]}
        made = net(given(10, 4), inner, out=[[f"m{i}", 2, 0]], name=f"t{i}")
    return made


def inside(depth: int, kind: str = "Sequential") -> Config:
    made: Config = {"class_name": "Activation", "config": {"name": "a", "activation": "relu"}}
    for i in range(depth):
        if kind == "Sequential":
            made = {"class_name": "Sequential", "config": {"name": f"s{i}", "layers": [made]}}
        else:
            made = {"class_name": kind, "config": {"name": f"w{i}", "layer": made}}
    if kind != "Sequential":
        return net(given(10, 4), {**made, "name": "w", "inbound_nodes": [[["x", 0, 0, {}]]]})
    made["config"]["layers"].insert(0, {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 10, 4],
                                                                           "name": "x"}})  # fmt: skip
    return made


ODD_NAMES = (
    *(
        "../../escape",
        "/etc/hostname",
        "..",
        ".",
        "",
        "a/../../b",
        "a/b/c",
        "a.b",
        "a..b",
        "\x1b[31mred",
        "a\nb",
        "a\0b",
    ),
    *(
        "A" * 199,
        "A" * 5000,
        "é漢字",
        "\u202e",
        "\ud800",
        "__class__",
        "__dict__",
        "forward",
        "train",
        "eval",
        "parameters",
    ),
    *(
        "_modules",
        "training",
        "weight",
        "0",
        "net",
        "rcproof_graph",
        "replan",
        "_layout",
        "plan",
        "self",
        "None",
        "%s",
        "{}",
        "[bold]",
    ),
)

HUGE: dict[str, Config] = {
    "an input of 2^40": one("Activation", (2**40, 4), activation="relu"),
    "an input of 2^25": one("Activation", (2**25, 4), activation="relu"),
    "an input of many axes": one("Activation", (2,) * 60, activation="relu"),
    "an input of 10^30": one("Activation", (10**30, 4), activation="relu"),
    "an empty input": one("Flatten", (0, 4)),
    "padding of 10^9": one("ZeroPadding1D", padding=[10**9, 10**9]),
    "padding of 10^6": one("ZeroPadding1D", padding=[10**6, 10**6]),
    "upsampling by 10^9": one("UpSampling1D", size=10**9),
    "upsampling by 10^6": one("UpSampling1D", size=10**6),
    "repeated 10^9 times": one("RepeatVector", (4,), n=10**9),
    "repeated 10^6 times": one("RepeatVector", (4,), n=10**6),
    "a shape of 2^80": one("Reshape", target_shape=[2**40, 2**40]),
    "a shape with -1 twice": one("Reshape", target_shape=[-1, -1]),
    "a shape of 3000 axes": one("Reshape", target_shape=[40, *[1] * 3000]),
    "pooling of 10^9": one("MaxPooling1D", pool_size=[10**9], strides=[1], padding="same"),
    "average pooling of 10^7": one("AveragePooling1D", pool_size=[10**7], strides=[1], padding="same"),
    "a stride of 10^30": one("MaxPooling1D", pool_size=[2], strides=[10**30], padding="valid"),
    "cropping of 10^9": one("Cropping1D", cropping=[10**9, 1]),
    "a dense layer of 10^9": one("Dense", units=10**9, activation="linear"),
    "a convolution of 10^9": one("Conv1D", filters=10**9, kernel_size=[10**9], strides=[1], padding="valid"),
    "an LSTM of 10^9": one("LSTM", units=10**9, activation="tanh", recurrent_activation="sigmoid"),
    "a table of 10^12": one("Embedding", (10,), input_dim=10**12, output_dim=10**6),
    "10^9 heads": one("MultiHeadAttention", num_heads=10**9, key_dim=10**9),
    "dropout of NaN": one("Dropout", rate=float("nan")),
    "60 axes to permute": one("Permute", (2,) * 60, dims=list(range(60, 0, -1))),
    "a permutation of 10^6": one("Permute", dims=list(range(10**6))),
    "an axis of 10^30": one("BatchNormalization", axis=10**30, epsilon=1e-3),
    "ranges of a ReLU without end": one("ReLU", max_value=float("inf"), negative_slope=1e308, threshold=-float("inf")),
}


def configurations(marker: str) -> dict[str, Config | str]:
    """By name; a text is the JSON itself."""
    code = base64.b64encode(bytecode(marker)).decode()
    pickled = base64.b64encode(payloads(marker)["mkdir"]).decode()
    x = given(10, 4)
    found: dict[str, Config | str] = {
        "a circle": net(x, layer("Add", "a", ["x", "b"]), layer("Add", "b", ["x", "a"])),
        "a layer that reads itself": net(x, layer("Activation", "a", ["a"], activation="relu")),
        "a layer that reads nothing": net(x, layer("Activation", "a", [], activation="relu")),
        "a layer that is not there": net(x, layer("Activation", "a", ["nowhere"], activation="relu")),
        "a call that is not there": net(x, layer("Activation", "a", [("x", 7, 0)], activation="relu")),
        "call number -1": net(x, layer("Activation", "a", [("x", -1, 0)], activation="relu")),
        "call number 10^30": net(x, layer("Activation", "a", [("x", 10**30, 0)], activation="relu")),
        "result number -1": net(x, layer("Activation", "a", [("x", 0, -1)], activation="relu")),
        "result number 10^9": net(x, layer("Activation", "a", [("x", 0, 10**9)], activation="relu")),
        "an output that is not there": net(x, out=[["nowhere", 0, 0]]),
        "no outputs": net(x, out=[]),
        "outputs of outputs": net(x, out=[[[[["x", 0, 0]]]]]),
        "the input as output": net(x),
        "no inputs": net(x, layer("Activation", "a", ["x"], activation="relu"), inputs=()),
        "two inputs of one name": net(x, x),
        "an input that nobody lists": net(x, given(10, 4, name="y"), layer("Add", "a", ["x", "y"])),
        "an input twice": net(x, layer("Activation", "a", ["x"], activation="relu"), inputs=("x", "x")),
        "no layers": net(x) | {"config": {"name": "n", "layers": [], "input_layers": [], "output_layers": []}},
        "a Sequential of nothing": {"class_name": "Sequential", "config": {"name": "s", "layers": []}},
        "a line of 3,000": line(3000),
        "a line of 15,000": line(15_000),
        "a line of 20,000": line(20_000),
        "a line of 5,000 shapes": line(5000, "Reshape", target_shape=[10, 4]),
        "a line of 4,999 axes": line(4999, "Permute", dims=[2, 1]),
        "190 names that come out alike": net(x, *(layer("Flatten", "?" * i, ["x"]) for i in range(1, 190))),
        "a line of 2,000 dropouts": line(2000, "Dropout", rate=0.5),
        "a line of 1,500 Lambdas": line(1500, "Lambda", function=[code, None, None], function_type="lambda"),
        "3,000 calls of one layer": again(3000),
        "15,000 calls of one layer": again(15_000),
        "60,000 calls of one layer": again(60_000),
        "doubled 60 times by Add": doubling(60, "Add"),
        "doubled 60 times by Concatenate": doubling(60, "Concatenate"),
        "doubled 20 times by Concatenate": doubling(20, "Concatenate"),
        "networks that call each other twice, 10 deep": towers(10),
        "networks that call each other twice, 18 deep": towers(18),
        "networks that call each other twice, 40 deep": towers(40),
        "a Sequential in a Sequential, 15 deep": inside(15),
        "a Sequential in a Sequential, 100 deep": inside(100),
        "a Sequential in a Sequential, 1,000 deep": _deep_text(1000),
        "TimeDistributed in TimeDistributed, 15 deep": inside(15, "TimeDistributed"),
        "TimeDistributed in TimeDistributed, 60 deep": inside(60, "TimeDistributed"),
        "Bidirectional in Bidirectional": inside(3, "Bidirectional"),
        "a class of os": net(x, {**layer("system", "a", ["x"]), "module": "os", "registered_name": "os>system"}),
        "a class with a path": one("../../os.system"),
        "a class that is a list": net(x, layer(["Dense"], "a", ["x"])),  # type: ignore[arg-type]
        "a class of 5,000 letters": one("A" * 5000),
        "a class with control characters": one("\x1b[31m\x07\nDense"),
        "a TFOpLambda": one("TFOpLambda", function="io.read_file"),
        "an operation of TensorFlow": one("TensorFlowOpLayer", node_def='op: "ReadFile"', constants={}),
        "an activation of os": one("Activation", activation={"module": "os", "class_name": "function",
                                   "config": "system", "registered_name": "system"}),
        "an activation that is code": one("Activation", activation=f"exec({code!r})"),
        "a Lambda": one("Lambda", function=[code, None, None], function_type="lambda", module="os"),
        "a Lambda of Keras 3": one("Lambda", function={"class_name": "__lambda__", "config": {
            "code": code, "defaults": None, "closure": None}}),
        "a Lambda that is a pickle": one("Lambda", function=pickled, function_type="raw"),
        "a Lambda with a function of os": one("Lambda", function="system", function_type="function", module="os"),
        "a Lambda with the shape by code": one("Lambda", function=[code, None, None], output_shape=[code, None, None],
                                               output_shape_type="lambda"),
        "an array of objects": one("Dense", units={"class_name": "__numpy__", "config": {"value": pickled,
                                   "dtype": "object"}}),
        "a thousand inputs": net(*(given(3, name=f"x{i}") for i in range(1000)),
                                 layer("Concatenate", "j", [f"x{i}" for i in range(1000)], axis=-1),
                                 inputs=[f"x{i}" for i in range(1000)]),
        "one input a thousand times": net(x, layer("Concatenate", "j", ["x"] * 1000, axis=-1)),
        "ten thousand outputs": net(x, layer("Activation", "a", ["x"], activation="relu"), out=[["a", 0, 0]] * 10_000),
        "100,000 brackets": "[" * 100_000 + "]" * 100_000,
        "100,000 braces": '{"config":' * 100_000 + "1" + "}" * 100_000,
        "100,000 brackets in a network": json.dumps(net(x)).replace('"inbound_nodes": []', '"inbound_nodes": '
                                                                    + "[" * 100_000 + "]" * 100_000),
        "300 brackets in a network": json.dumps(one("Dense", units=1)).replace('"units": 1', '"units": ' + "[" * 300
                                                                               + "]" * 300),
        "150 brackets around a call": json.dumps(net(x, layer("Activation", "a", ["x"]))).replace(
            '[["x", 0, 0, {}]]', "[" * 150 + '["x", 0, 0, {}]' + "]" * 150),
        "150 brackets around an output": json.dumps(net(x, out=[["x", 0, 0]])).replace(
            '"output_layers": [["x", 0, 0]]', '"output_layers": ' + "[" * 150 + '["x", 0, 0]' + "]" * 150),
        "a number of 5,000 digits": json.dumps(one("Dense", units=12345)).replace("12345", "9" * 5000),
        "keys twice": json.dumps(net(x)).replace('"class_name"', '"class_name": "Lambda", "class_name"'),
        "no JSON": "{'class_name': 'Model'}",
        "YAML that builds objects": "!!python/object/apply:os.mkdir ['x']",
        "a Graph": {"class_name": "Graph", "config": {}},
    }  # fmt: skip
    for name in ODD_NAMES:
        found[f"a layer called {name[:20]!r}"] = net(x, layer("Activation", name, ["x"], activation="relu"))
        found[f"an input called {name[:20]!r}"] = net(given(10, 4, name=name), layer("Flatten", "f", [name]),
                                                      inputs=[name])  # fmt: skip
    nested = [net(x, layer("Flatten", "f", ["x"]), name=n) | {"name": n, "inbound_nodes": [[["x", 0, 0, {}]]]}
              for n in ("a/b", "..", "a")]  # fmt: skip
    found["networks called as layers are"] = net(
        x, *nested, layer("Flatten", "a/f", ["x"]), layer("Flatten", "a/b/f", ["x"]), out=[["a", 0, 0], ["a/b/f", 0, 0]]
    )
    return found | HUGE


def _deep_text(depth: int) -> str:
    left = '{"class_name": "Sequential", "config": {"name": "s", "layers": ['
    return left * depth + "]}}" * depth


def trees(tree: Callable[[], Tree], marker: str, secret: str) -> dict[str, Callable[[], Tree]]:
    """Files of weights in which the first array, or an attribute, is something else. ``secret`` is a file outside."""

    def first(put: Any) -> Callable[[], Tree]:
        def make() -> Tree:
            made = tree()
            holder, name = made.arrays()[0]
            holder.items[name] = put
            return made

        return make

    def top(**attrs: Any) -> Callable[[], Tree]:
        def make() -> Tree:
            made = tree()
            made.attrs |= attrs
            return made

        return make

    def beside(name: str, put: Any) -> Callable[[], Tree]:
        def make() -> Tree:
            made = tree()
            made.items[name] = put
            return made

        return make

    shape = tree().arrays()[0][0].items[tree().arrays()[0][1]].shape
    zeros = np.zeros(shape, "<f4")
    payload = np.frombuffer(payloads(marker)["mkdir"], "V1")
    kinds = ("<f2", ">f4", ">f8", "<i8", "u1", "?", "<c8", "S4", "<f8")
    found: dict[str, Callable[[], Tree]] = {f"an array of {k}": first(np.zeros(shape, k)) for k in kinds}
    found |= {
        "a soft link": first(h5.soft("/")),
        "a soft link to nothing": first(h5.soft("/nowhere")),
        "a soft link to itself": lambda: _to_itself(tree()),
        "a link to another file": first(h5.external(secret, "/x")),
        "a link to a file that is not there": first(h5.external("/nowhere", "/x")),
        "an array in another file": first(h5.raw_outside(secret, shape)),
        "an array in /etc": first(h5.raw_outside("/etc/hostname", shape)),
        "a view of another file": first(h5.virtual(secret, shape)),
        "the group in itself": first(h5.itself),
        "the file in itself": first(h5.root),
        "the group beside its arrays": beside("again", h5.itself),
        "a group for an array": first(Tree()),
        "a dtype for an array": first(h5.named_type),
        "references": first(h5.reference),
        "no space": first(h5.dataset(data=__import__("h5py").Empty("<f4"))),
        "one number": first(np.float32(1.0)),
        "no numbers": first(np.zeros((0, *shape[1:]), "<f4")),
        "texts": first(h5.dataset(data=["a", "b"])),
        "a structure": first(np.zeros(shape, [("a", "<f4"), ("b", "<i4")])),
        "a pickle": first(payload),
        "NaN": first(np.full(shape, np.nan, "<f4")),
        "infinite numbers": first(np.full(shape, np.inf, "<f4")),
        "2^40 numbers that are not there": first(h5.dataset(shape=(2**40,), dtype="<f4", chunks=(1024,))),
        "2^62 numbers that are not there": first(h5.dataset(shape=(2**31, 2**31), dtype="<f4", chunks=(1024, 1024))),
        "2^28 numbers that are not there": first(h5.dataset(shape=(2**28,), dtype="<f4")),
        "a bomb": first(h5.dataset(data=np.zeros(2**26, "<f4"), compression="gzip", compression_opts=9,
                                   chunks=(2**22,))),
        "a packed array": first(h5.dataset(data=zeros, compression="gzip", shuffle=True, fletcher32=True)),
        "an array packed by lzf": first(h5.dataset(data=zeros, compression="lzf")),
        "a filter that is not read": first(h5.unknown_filter),
        "many axes": first(np.zeros((1,) * 32, "<f4")),
        "groups 30 deep": beside("d", h5.deep(30)),
        "groups 200 deep": beside("d", h5.deep(200)),
        "5,000 groups": beside("d", h5.many(5000)),
        "a name of control characters": beside("\x1b[31m\x07\n", zeros),
        "a name that leads out": beside("..", zeros),
        "a name of 5,000 letters": beside("A" * 5000, zeros),
        "layers that are numbers": top(layer_names=np.arange(4)),
        "layers that are a number": top(layer_names=4),
        "layers in two axes": top(layer_names=np.array([[b"a", b"b"]])),
        "layers that are no text": top(layer_names=np.array([b"\xff\xfe", b"\x80"])),
        "layers without end": top(layer_names=["x"] * 5000),
        "layers that lead out": top(layer_names=["../..", "/", "."]),
        "layers twice": lambda: _names_twice(tree()),
        "a backend of control characters": top(backend="\x1b[31m\x07"),
        "a backend of 50,000 letters": top(backend="theano" * 8000),
        "a version of control characters": top(keras_version="2\x1b[31m\n"),
        "a version that is a number": top(keras_version=np.float32(2.2)),
        "a version of 50,000 digits": top(keras_version="2" * 50_000),
        "a version of 10^30": top(keras_version="9" * 30),
        "a count of layers of 10^18": top(nb_layers=np.int64(10**18)),
        "a count of layers below 0": top(nb_layers=np.int64(-5)),
        "a count of layers that is text": top(nb_layers="many"),
        "a configuration of numbers": top(model_config=np.arange(5)),
    }  # fmt: skip
    return found


def _to_itself(tree: Tree) -> Tree:
    tree.items["loop"] = h5.soft("/loop")
    return tree


def _names_twice(tree: Tree) -> Tree:
    tree.attrs["layer_names"] = [*tree.attrs.get("layer_names", []), *tree.attrs.get("layer_names", [])]
    return tree
