"""A small ONNX file, and graphs of ONNX that nobody trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Files = dict[str, bytes]


def _model(nodes: Sequence[Any], inputs: Any, outputs: Any, tensors: Sequence[Any] = (), **more: Any) -> Any:
    from onnx import helper

    graph = helper.make_graph(list(nodes), "g", list(inputs), list(outputs), list(tensors))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="fuzzing", **more)


def _value(name: str, *shape: Any) -> Any:
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


def seed() -> bytes:
    """Convolutions, a skip, slices, a recurrent layer, a shape that the graph works out."""
    from onnx import helper, numpy_helper

    rng = np.random.default_rng(0)
    tensors = []

    def held(name: str, *shape: int, values: Any = None) -> str:
        array = (rng.standard_normal(shape) / 3).astype("<f4") if values is None else np.array(values)
        tensors.append(numpy_helper.from_array(array, name))
        return name

    node = helper.make_node
    nodes = [
        node("Conv", ["x", held("conv.weight", 6, 4, 5), held("conv.bias", 6)], ["a"], "conv", pads=[2, 2],
             kernel_shape=[5]),
        node("BatchNormalization", ["a", held("norm.weight", 6), held("norm.bias", 6), held("norm.mean", 6),
             held("norm.var", values=np.full(6, 0.7, "<f4"))], ["b"], "norm", epsilon=1e-3),
        node("Relu", ["b"], ["c"]),
        node("Conv", ["c", held("next.weight", 6, 6, 3)], ["d"], "next", dilations=[2], pads=[2, 2],
             strides=[1], group=1),
        node("Add", ["c", "d"], ["e"]),
        node("Slice", ["e", held("from", values=np.array([2])), held("to", values=np.array([14])),
             held("axis", values=np.array([2]))], ["f"]),
        node("Pad", ["f", held("pads", values=np.array([0, 0, 1, 0, 0, 1]))], ["g"], mode="constant"),
        node("MaxPool", ["g"], ["h"], kernel_shape=[2], strides=[2]),
        node("Transpose", ["h"], ["i"], perm=[2, 0, 1]),
        node("LSTM", ["i", held("lstm.W", 1, 12, 6), held("lstm.R", 1, 12, 3), held("lstm.B", 1, 24)], ["j"], "lstm",
             hidden_size=3),
        node("Squeeze", ["j", held("one", values=np.array([1]))], ["k"]),
        node("Transpose", ["k"], ["l"], perm=[1, 0, 2]),
        node("Shape", ["l"], ["m"]),
        node("Gather", ["m", held("zero", values=np.array(0))], ["n"], axis=0),
        node("Unsqueeze", ["n", held("front", values=np.array([0]))], ["o"]),
        node("Concat", ["o", held("rest", values=np.array([-1]))], ["p"], axis=0),
        node("Reshape", ["l", "p"], ["q"]),
        node("Gemm", ["q", held("dense.weight", 2, 21), held("dense.bias", 2)], ["r"], "dense", transB=1),
        node("Sigmoid", ["r"], ["y"]),
    ]  # fmt: skip
    return bytes(_model(nodes, [_value("x", "N", 4, 16)], [_value("y", "N", 2)], tensors).SerializeToString())


def crafted(secret: str) -> dict[str, Any]:
    """By name: an ONNX file, or several files of which ``net.onnx`` is one. ``secret`` is a file outside."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    node, x, y = helper.make_node, _value("x", "N", 4, 16), _value("y", "N", 4, 16)
    whole = onnx.ModelProto.FromString(seed())

    def done(proto: Any) -> bytes:
        return bytes(proto.SerializeToString())

    def outside(**told: str) -> bytes:
        proto = onnx.ModelProto()
        proto.CopyFrom(whole)
        tensor = proto.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = 1
        for key, value in told.items():
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value
        return done(proto)

    def tensor(**fields: Any) -> bytes:
        proto = onnx.ModelProto()
        proto.CopyFrom(whole)
        for name, value in fields.items():
            if isinstance(value, list):
                proto.graph.initializer[0].ClearField(name)
                getattr(proto.graph.initializer[0], name).extend(value)
            else:
                setattr(proto.graph.initializer[0], name, value)
        return done(proto)

    def small(*nodes: Any, tensors: Sequence[Any] = (), **more: Any) -> bytes:
        return done(_model(nodes, [x], [y], tensors, **more))

    def numbers(name: str, values: Any, dtype: str = "<i8") -> Any:
        return numpy_helper.from_array(np.array(values, dtype), name)

    def function(name: str, *calls: str) -> Any:
        nodes = [node(c, [f"v{i}"], [f"v{i + 1}"], domain="d") for i, c in enumerate(calls)]
        return helper.make_function("d", name, ["v0"], [f"v{len(calls)}"], nodes, [helper.make_opsetid("d", 1)])

    chain = [node("Relu", [f"v{i}" if i else "x"], [f"v{i + 1}"]) for i in range(5000)]
    sums = [node("Add", [f"v{i}" if i else "x"] * 2, [f"v{i + 1}"]) for i in range(60)]
    joins = [node("Concat", [f"v{i}" if i else "x"] * 2, [f"v{i + 1}"], axis=1) for i in range(60)]
    folds = [node("Concat", [f"w{i}"] * 2, [f"w{i + 1}"], axis=0) for i in range(40)]
    inner: Any = helper.make_graph([], "inner", [], [])
    for i in range(25):
        inner = helper.make_graph([node("If", ["c"], [f"o{i}"], then_branch=inner)], f"g{i}", [], [])
    packed = 4 * int(np.prod(whole.graph.initializer[0].dims))
    return {
        "a tensor in /etc": outside(location="/etc/hostname"),
        "a tensor above": outside(location="../../../../etc/hostname"),
        "a tensor in a secret file": outside(location=secret),
        "a tensor in a folder": outside(location="."),
        "a tensor with a NUL in its place": outside(location="a\0b"),
        "a tensor in the file itself": outside(location="net.onnx", length=str(packed)),
        "a tensor far into the file itself": outside(location="net.onnx", offset=str(2**62), length=str(packed)),
        "a tensor before the file itself": outside(location="net.onnx", offset="-8", length=str(packed)),
        "a tensor at a number of 5,000 digits": outside(location="net.onnx", offset="9" * 5000),
        "a tensor behind a link": {"net.onnx": outside(location="w.bin"), "w.bin": f"-> {secret}"},
        "a tensor beside": {"net.onnx": outside(location="w.bin"), "w.bin": bytes(packed)},
        "a tensor in a device": {"net.onnx": outside(location="w.bin", length=str(packed)), "w.bin": "-> /dev/zero"},
        "dims of 2^62": tensor(dims=[2**62, 2**62, 4]),
        "dims of 2^40": tensor(dims=[2**40]),
        "dims below 0": tensor(dims=[-6, -4, 5]),
        "dims with 0": tensor(dims=[0, 2**62]),
        "a thousand dims": tensor(dims=[1] * 1000),
        "texts": tensor(data_type=8),
        "a dtype of 99": tensor(data_type=99),
        "half as many bytes": tensor(raw_data=bytes(packed // 2)),
        "a circle": small(node("Add", ["x", "b"], ["a"]), node("Add", ["x", "a"], ["b"]), node("Relu", ["b"], ["y"])),
        "a node that reads itself": small(node("Relu", ["y"], ["y"])),
        "two values of one name": small(node("Relu", ["x"], ["y"]), node("Tanh", ["x"], ["y"])),
        "no nodes": small(),
        "a line of 5,000": small(*chain, node("Relu", ["v5000"], ["y"])),
        "doubled 60 times": small(*sums, node("Relu", ["v60"], ["y"])),
        "joined 60 times": small(*joins, node("Relu", ["v60"], ["y"])),
        "constants joined 40 times": small(*folds, node("Add", ["x", "w40"], ["y"]),
                                              tensors=[numbers("w0", [1.0], "<f4")]),
        "padding of 2^40": small(node("Pad", ["x", "p"], ["y"]), tensors=[numbers("p", [0, 0, 2**40, 0, 0, 2**40])]),
        "tiled 2^40 times": small(node("Tile", ["x", "p"], ["y"]), tensors=[numbers("p", [1, 2**40, 1])]),
        "a constant tiled": small(node("Tile", ["w", "p"], ["t"]), node("Add", ["x", "t"], ["y"]),
                                  tensors=[numbers("p", [2**35]), numbers("w", [1.0], "<f4")]),
        "expanded to 2^50": small(node("Expand", ["x", "p"], ["y"]), tensors=[numbers("p", [2**25, 2**25, 1, 1])]),
        "a constant of 2^50": small(node("ConstantOfShape", ["p"], ["t"]), node("Add", ["x", "t"], ["y"]),
                                    tensors=[numbers("p", [2**50])]),
        "a range of 2^50": small(node("Range", ["a", "b", "c"], ["t"]), node("Add", ["x", "t"], ["y"]),
                                 tensors=[numbers("a", 0), numbers("b", 2**50), numbers("c", 1)]),
        "a shape of 2^80": small(node("Reshape", ["x", "p"], ["y"]), tensors=[numbers("p", [2**40, 2**40])]),
        "a function that calls itself": small(node("f", ["x"], ["y"], domain="d"), functions=[function("f", "f")]),
        "functions that call each other twice": small(
            node("f30", ["x"], ["y"], domain="d"),
            functions=[helper.make_function("d", "f0", ["v"], ["w"], [node("Relu", ["v"], ["w"])],
                                            [helper.make_opsetid("", 17)]),
                       *(function(f"f{i + 1}", f"f{i}", f"f{i}") for i in range(30))]),
        "functions that call each other twice, 17 deep": small(
            node("f17", ["x"], ["y"], domain="d"),
            functions=[helper.make_function("d", "f0", ["v"], ["w"], [node("Relu", ["v"], ["w"])],
                                            [helper.make_opsetid("", 17)]),
                       *(function(f"f{i + 1}", f"f{i}", f"f{i}") for i in range(17))]),
        "graphs in graphs": small(node("If", ["c"], ["y"], then_branch=inner)),
        "an operator of somebody's": small(node("os.system", ["x"], ["y"], domain="com.evil")),
        "control characters": small(node("\x1b[31m\x07", ["x"], ["y"])),
        "an attribute of 100,000 numbers": small(node("Transpose", ["x"], ["y"], perm=[0] * 100_000)),
        "a permutation of 10^6": small(node("Transpose", ["x"], ["y"], perm=list(range(10**6)))),
        "a kernel of 2^62": small(node("MaxPool", ["x"], ["y"], kernel_shape=[2**62], strides=[2**62])),
        "parts without end": small(node("Split", ["x"], ["y"], axis=1, num_outputs=2**40)),
        "an input without a shape": done(_model([node("Relu", ["x"], ["y"])], [helper.make_tensor_value_info(
            "x", TensorProto.FLOAT, None)], [y])),
        "an input of 2^60": done(_model([node("Relu", ["x"], ["y"])], [_value("x", "N", 2**30, 2**30)], [y])),
        "an input below 0": done(_model([node("Relu", ["x"], ["y"])], [_value("x", "N", -4, 16)], [y])),
        "a length of 2^63 in the file": b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f" + done(whole),
        "100,000 groups in the file": b"\x08\x08" + b"\x3b" * 100_000,
        "messages in messages, 30 deep": _nested(30),
        "messages in messages, 1,000 deep": _nested(1000),
    }  # fmt: skip


def _nested(depth: int) -> bytes:
    """A graph in an attribute of a node of a graph, and so on."""
    data = b""
    for _ in range(depth):
        for tag in (b"\x32", b"\x2a", b"\x0a"):  # the graph of an attribute of a node
            data = tag + _varint(len(data)) + data
    return b"\x08\x08\x3a" + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    made = b""
    while number > 127:
        made += bytes([number & 127 | 128])
        number >>= 7
    return made + bytes([number])
