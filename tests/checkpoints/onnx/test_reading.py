"""ONNX files: every operator that is read, against onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rcproof.checkpoints.onnx import read_onnx
from rcproof.checkpoints.onnx.graph import RULES, Model, Rule, Step
from rcproof.errors import CheckpointError
from tests.checkpoints.onnx.models import checked, draw, model, node, onnx, saved, weights

X = {"x": ("n", 4, 10)}

# -- operators on single elements and along axes ----------------------------------------------------------

POINTWISE: dict[str, dict[str, Any]] = {
    name: {} for name in ("Relu", "Sigmoid", "Tanh", "Exp", "Abs", "Neg", "Erf", "Floor", "Ceil", "Round", "Sign",
                          "Sin", "Cos", "Sinh", "Cosh", "Asinh", "Atan", "Softplus", "Softsign", "HardSwish", "Mish",
                          "Identity", "LogSoftmax", "Softmax", "LeakyRelu", "Elu", "Selu", "Celu", "HardSigmoid",
                          "ThresholdedRelu")
} | {
    "LeakyRelu 0.3": {"alpha": 0.3}, "Elu 0.7": {"alpha": 0.7}, "Celu 1.7": {"alpha": 1.7},
    "Selu 1": {"alpha": 1.5, "gamma": 0.9}, "HardSigmoid 1/6": {"alpha": 1 / 6},
    "HardSigmoid 0.3": {"alpha": 0.3, "beta": 0.4}, "ThresholdedRelu 0.2": {"alpha": 0.2},
    "Softmax 1": {"axis": 1}, "LogSoftmax 1": {"axis": 1}, "Gelu": {},
    "Gelu tanh": {"approximate": "tanh"},
}  # fmt: skip


def test_operators_on_single_elements(tmp_path: Path) -> None:
    """One graph for all."""
    nodes = [node(name.split()[0], "x", f"y{i}", **options) for i, (name, options) in enumerate(POINTWISE.items())]
    positive = ("Log", "Sqrt", "Reciprocal")
    nodes.append(node("Abs", "x", "size"))
    nodes.append(node("Add", "size one", "positive"))
    nodes += [node(kind, "positive", kind) for kind in positive]
    nodes += [
        node("Sin", "x", "small"),
        *(node(k, "small", k) for k in ("Asin", "Acos")),
        node("Acosh", "positive", "Acosh"),
    ]
    nodes += [node("Mul", "small half", "smaller"), node("Atanh", "smaller", "Atanh"), node("IsNaN", "x", "IsNaN")]
    outputs = [f"y{i}" for i in range(len(POINTWISE))] + [*positive, "Asin", "Acos", "Acosh", "Atanh", "IsNaN"]
    proto = model(nodes, X, outputs, {"one": np.float32(1), "half": np.float32(0.5)}, opset=20)
    # onnxruntime's own erf and tanh agree with torch's to a few units in the last place only.
    checked(proto, {"x": draw(3, 4, 10)}, tmp_path / "m.onnx", 3e-5)


def test_arithmetic(tmp_path: Path) -> None:
    """Tensors, constants and numbers on either side."""
    cases = []
    for kind in ("Add", "Sub", "Mul", "Div", "Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Equal"):
        cases += [(kind, "x z"), (kind, "x two"), (kind, "two x"), (kind, "x column"), (kind, "column x")]
    cases += [("Pow", "positive z"), ("Pow", "x two"), ("Pow", "positive column"), ("Pow", "two x"),
              ("Max", "x z column"),
              ("Min", "x z column"), ("Mean", "x z column"), ("Sum", "x z"), ("Max", "x two"), ("Clip", "x low high"),
              ("Clip", "x low"), ("Clip", "x _ high"), ("PRelu", "x column"), ("PRelu", "x two"), ("PRelu", "x z"),
              ("Where", "more x z"), ("Where", "more x two"), ("Where", "more low x"), ("Dropout", "x")]  # fmt: skip
    nodes = [node("Abs", "x", "positive"), node("Greater", "x z", "more"), node("Less", "x column", "less")]
    nodes += [node(kind, inputs, f"y{i}") for i, (kind, inputs) in enumerate(cases)]
    nodes += [node("And", "more less", "and"), node("Or", "more less", "or"), node("Not", "more", "not")]
    nodes += [
        node("Cast", "x", "double", to=11),
        node("Cast", "more", "float", to=1),
        node("CastLike", "more x", "like"),
    ]
    nodes += [node("Mod", "x z", "mod", fmod=1)]
    held = {"two": np.float32(2), "column": weights(4, 1), "low": np.float32(-0.5), "high": np.float32(0.4)}
    outputs = [*(f"y{i}" for i in range(len(cases))), "and", "or", "not", "double", "float", "like", "mod"]
    proto = model(nodes, X | {"z": ("n", 4, 10)}, outputs, held)
    found = checked(proto, {"x": draw(3, 4, 10), "z": draw(3, 4, 10, seed=2)}, tmp_path / "m.onnx")
    assert found.input_names == ("x", "z")


def test_reductions(tmp_path: Path) -> None:
    nodes, outputs, held = [], [], {"1": np.array([1]), "2": np.array([-1]), "both": np.array([1, 2])}
    for kind in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceLogSumExp", "ReduceL1", "ReduceL2",
                 "ReduceSumSquare"):  # fmt: skip
        for axes in held:
            for keep in (0, 1):
                outputs.append(f"{kind}{axes}{keep}")
                nodes.append(node(kind, f"x {axes}", outputs[-1], keepdims=keep))
    for kind in ("ArgMax", "ArgMin"):
        nodes += [node(kind, "x", kind, axis=2, keepdims=0), node(kind, "x", f"{kind}1", axis=1)]
        outputs += [kind, f"{kind}1"]
    nodes += [
        node("ReduceProd", "x 2", "prod"),
        node("CumSum", "x 2", "sums"),
        node("ReduceMean", "x", "all", keepdims=0),
    ]
    proto = model(nodes, X, [*outputs, "prod", "sums"], held)
    checked(proto, {"x": draw(3, 4, 10)}, tmp_path / "m.onnx")
    older = model([node("ReduceMean", "x", "y", axes=[1], keepdims=0)], X, ["y"], opset=13)
    checked(older, {"x": draw(3, 4, 10)}, tmp_path / "m.onnx")


# -- shapes -----------------------------------------------------------------------------------------------


def ints(*values: int) -> Any:
    return np.array(values, dtype=np.int64)


FAR = 2**63 - 1
SHAPES: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "flip": ([node("Slice", "x a b c d", "y")],
             {"a": ints(-1, -1), "b": ints(-FAR, -FAR), "c": ints(1, 2), "d": ints(-1, -1)}),
    "flip of one axis": ([node("Slice", "x a b c d", "y")],
                         {"a": ints(FAR), "b": ints(-FAR), "c": ints(2), "d": ints(-1)}),
    "every second, in reverse": ([node("Slice", "x a b c d", "y")],
                                 {"a": ints(9), "b": ints(-FAR), "c": ints(-1), "d": ints(-2)}),
    "crop": ([node("Slice", "x a b c", "y")], {"a": ints(2), "b": ints(-3), "c": ints(2)}),
    "crops with a step": ([node("Slice", "x a b c d", "y")],
                          {"a": ints(1, 2), "b": ints(FAR, 9), "c": ints(1, 2), "d": ints(2, 3)}),
    "a crop of all axes": ([node("Slice", "x a b", "y")], {"a": ints(0, 1), "b": ints(FAR, 3)}),
    "transpose": ([node("Transpose", "x", "y", perm=[0, 2, 1])], {}),
    "transposes": ([node("Transpose", "x", "z", perm=[2, 0, 1]), node("Relu", "z", "w"),
                    node("Transpose", "w", "y", perm=[1, 2, 0])], {}),
    "transpose without an order": ([node("Transpose", "x", "y")], {}),
    "flatten": ([node("Flatten", "x", "y")], {}),
    "flatten from another axis": ([node("Flatten", "x", "y", axis=2)], {}),
    "flatten from the last": ([node("Flatten", "x", "y", axis=-1)], {}),
    "reshape": ([node("Reshape", "x s", "y")], {"s": ints(0, -1)}),
    "reshape, batch left open": ([node("Reshape", "x s", "y")], {"s": ints(-1, 40)}),
    "reshape by sizes": ([node("Shape", "x", "z"), node("Gather", "z first", "n"), node("Unsqueeze", "n zero", "m"),
                          node("Concat", "m rest", "t", axis=0), node("Reshape", "x t", "y")],
                         {"first": np.int64(0), "zero": ints(0), "rest": ints(-1)}),
    "reshape to more axes": ([node("Reshape", "x s", "y")], {"s": ints(0, 2, 2, 0, 1)[[0, 1, 2, 4]] * [1, 1, 1, 10]}),
    "reshape, sizes computed": ([node("Shape", "x", "n", start=0, end=1), node("Shape", "x", "l", start=2),
                                 node("Div", "l two", "h"), node("Concat", "n four h two", "t", axis=0),
                                 node("Reshape", "x t", "y")], {"two": ints(2), "four": ints(4)}),
    "squeeze": ([node("Unsqueeze", "x a", "z"), node("Sigmoid", "z", "w"), node("Squeeze", "w a", "y")],
                {"a": ints(2)}),
    "unsqueeze": ([node("Unsqueeze", "x a", "y")], {"a": ints(1, -1)}),
    "concat": ([node("Concat", "x x c", "y", axis=1)], {"c": np.zeros((3, 2, 10), np.float32)}),
    "split": ([node("Split", "x s", "a b", axis=1), node("Concat", "b a", "y", axis=1)], {"s": ints(1, 3)}),
    "split evenly": ([node("Split", "x", "a b", axis=2, num_outputs=2), node("Sub", "b a", "y")], {}),
    "gather one": ([node("Gather", "x i", "y", axis=2)], {"i": np.int64(-2)}),
    "gather some": ([node("Gather", "x i", "y", axis=1)], {"i": ints(3, 0, -1)}),
    "expand": ([node("Slice", "x a b c", "z"), node("Expand", "z s", "y")],
               {"a": ints(0), "b": ints(1), "c": ints(1), "s": ints(1, 4, 1)}),
    "expand by sizes": ([node("Shape", "x", "s"), node("Expand", "c s", "z"), node("Add", "x z", "y")],
                        {"c": weights(4, 1)}),
    "tile": ([node("Tile", "x r", "y")], {"r": ints(1, 2, 3)}),
    "pad": ([node("Pad", "x p", "y")], {"p": ints(0, 0, 2, 0, 0, 3)}),
    "pad with a value": ([node("Pad", "x p v a", "y")],
                         {"p": ints(1, 2, 0, 1), "v": np.float32(0.3), "a": ints(1, 2)}),
    "pad by reflection": ([node("Pad", "x p", "y", mode="reflect")], {"p": ints(0, 0, 2, 0, 0, 3)}),
    "pad by the edge": ([node("Pad", "x p", "y", mode="edge")], {"p": ints(0, 0, 2, 0, 0, 3)}),
    "constant of shape": ([node("Shape", "x", "s"), node("ConstantOfShape", "s", "z",
                           value=onnx.helper.make_tensor("v", 1, [1], [0.7])), node("Mul", "x z", "y")], {}),
    "range": ([node("Shape", "x", "s", start=2), node("Squeeze", "s", "l"), node("Range", "zero l one", "r"),
               node("Cast", "r", "f", to=1), node("Mul", "x f", "y")], {"zero": np.int64(0), "one": np.int64(1)}),
    "a root of a size": ([node("Shape", "x", "s", start=1, end=2), node("Cast", "s", "f", to=1), node("Sqrt", "f", "r"),
                          node("Div", "x r", "y")], {}),
    "a broadcast that asks": ([node("Shape", "x", "s"), node("Equal", "t open", "e"), node("Where", "e ones t", "w"),
                               node("Expand", "c w", "z"), node("Add", "x z", "y")],
                              {"t": ints(1, 4, -1), "open": np.int64(-1), "ones": ints(1, 1, 1), "c": weights(4, 1)}),
    "matrix product": ([node("Transpose", "x", "z", perm=[0, 2, 1]), node("MatMul", "x z", "y")], {}),
    "a constant on the left": ([node("MatMul", "w x", "y")], {"w": weights(3, 4)}),
    "einsum": ([node("Einsum", "x w", "y", equation="ncl,dc->ndl")], {"w": weights(3, 4)}),
    "constants": ([node("Constant", "", "c", value_float=0.5), node("Constant", "", "d", value_floats=[1.0] * 10),
                   node("Mul", "x c", "z"), node("Add", "z d", "y")], {}),
    "a mask": ([node("Trilu", "m", "t", upper=0), node("MatMul", "x t", "y")], {"m": np.ones((10, 10), np.float32)}),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name: str, tmp_path: Path) -> None:
    nodes, held = SHAPES[name]
    found = checked(model(nodes, X, ["y"], held), {"x": draw(3, 4, 10)}, tmp_path / "m.onnx")
    # With another number of examples, where the graph has none written in it.
    if name not in ("concat",):
        checked(model(nodes, X, ["y"], held), {"x": draw(5, 4, 10)}, tmp_path / "m.onnx")
    assert found.shapes == ((4, 10),)


# -- layers -----------------------------------------------------------------------------------------------

W = weights(6, 4, 5)
LAYERS: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "conv": ([node("Conv", "x w b", "y", pads=[2, 2])], {"w": W, "b": weights(6)}),
    "conv with strides": ([node("Conv", "x w", "y", strides=[2], dilations=[2], pads=[1, 1])], {"w": W}),
    "conv of groups": ([node("Conv", "x w b", "y", group=2)], {"w": weights(6, 2, 3), "b": weights(6)}),
    "uneven pads": ([node("Conv", "x w b", "y", pads=[3, 0])], {"w": W, "b": weights(6)}),
    "the same length, even kernel": ([node("Conv", "x w", "y", auto_pad="SAME_UPPER")], {"w": weights(6, 4, 4)}),
    "the same length, lower": ([node("Conv", "x w", "y", auto_pad="SAME_LOWER")], {"w": weights(6, 4, 4)}),
    "the same length, strides": ([node("Conv", "x w", "y", auto_pad="SAME_UPPER", strides=[3])],
                                 {"w": weights(6, 4, 4)}),
    "conv without pads": ([node("Conv", "x w", "y", auto_pad="VALID")], {"w": W}),
    "conv of images of height 1": (
        [node("Unsqueeze", "x a", "z"), node("Conv", "z w b", "c"), node("Relu", "c", "r"),
         node("MaxPool", "r", "m", kernel_shape=[1, 2], strides=[1, 2]), node("Squeeze", "m a", "y")],
        {"a": ints(2), "w": W[:, :, None], "b": weights(6)}),
    "conv of images of width 1": (
        [node("Unsqueeze", "x a", "z"), node("Conv", "z w b", "c", pads=[2, 0, 2, 0]), node("Squeeze", "c a", "y")],
        {"a": ints(3), "w": W[..., None], "b": weights(6)}),
    "conv of images": ([node("Unsqueeze", "x a", "z"), node("Conv", "z w", "y", pads=[1, 1, 1, 1])],
                       {"a": ints(1), "w": weights(3, 1, 3, 3)}),
    "transposed conv": ([node("ConvTranspose", "x w b", "y", strides=[2], pads=[1, 1], output_padding=[1])],
                        {"w": weights(4, 6, 5), "b": weights(6)}),
    "transposed conv, uneven": ([node("ConvTranspose", "x w", "y", strides=[2], pads=[1, 2])],
                                {"w": weights(4, 3, 5)}),
    "gemm": ([node("Flatten", "x", "f"), node("Gemm", "f w b", "y", transB=1)], {"w": weights(3, 40), "b": weights(3)}),
    "gemm as it is": ([node("Flatten", "x", "f"), node("Gemm", "f w b", "y", alpha=0.5, beta=2.0)],
                      {"w": weights(40, 3), "b": weights(1, 3)}),
    "gemm without a bias": ([node("Flatten", "x", "f"), node("Gemm", "f w", "y")], {"w": weights(40, 3)}),
    "dense": ([node("Transpose", "x", "t", perm=[0, 2, 1]), node("MatMul", "t w", "m"), node("Add", "m b", "y")],
              {"w": weights(4, 3), "b": weights(3)}),
    "dense, bias first": ([node("Transpose", "x", "t", perm=[0, 2, 1]), node("MatMul", "t w", "m"),
                           node("Add", "b m", "y")],
                          {"w": weights(4, 3), "b": weights(3)}),
    "batch norm": ([node("BatchNormalization", "x s b m v", "y", epsilon=1e-2)],
                   {"s": weights(4), "b": weights(4, seed=2), "m": weights(4, seed=3), "v": weights(4, seed=4) ** 2}),
    "batch norm of vectors": (
        [node("ReduceMean", "x a", "z", keepdims=0), node("BatchNormalization", "z s b m v", "y")],
        {"a": ints(2), "s": weights(4), "b": weights(4, seed=2),
         "m": weights(4, seed=3), "v": weights(4, seed=4) ** 2}),
    "instance norm": ([node("InstanceNormalization", "x s b", "y", epsilon=1e-3)],
                      {"s": weights(4), "b": weights(4, seed=2)}),
    "layer norm": ([node("LayerNormalization", "x s b", "y", epsilon=1e-3)],
                   {"s": weights(10), "b": weights(10, seed=2)}),
    "layer norm of two axes": ([node("LayerNormalization", "x s", "y", axis=1)], {"s": weights(4, 10)}),
    "max pool": ([node("MaxPool", "x", "y", kernel_shape=[3], strides=[2], pads=[1, 1])], {}),
    "max pool, uneven": ([node("MaxPool", "x", "y", kernel_shape=[3], strides=[2], pads=[0, 2])], {}),
    "max pool, ceil": ([node("MaxPool", "x", "y", kernel_shape=[3], strides=[2], ceil_mode=1)], {}),
    "max pool, dilated": ([node("MaxPool", "x", "y", kernel_shape=[3], dilations=[2])], {}),
    "max pool, same": ([node("MaxPool", "x", "y", kernel_shape=[4], auto_pad="SAME_UPPER", strides=[4])], {}),
    "average pool": ([node("AveragePool", "x", "y", kernel_shape=[3], strides=[2])], {}),
    "average pool, pads": ([node("AveragePool", "x", "y", kernel_shape=[3], pads=[1, 1])], {}),
    "average pool, pads count": ([node("AveragePool", "x", "y", kernel_shape=[3], pads=[1, 1], count_include_pad=1)],
                                 {}),
    "average pool, uneven": ([node("AveragePool", "x", "y", kernel_shape=[3], pads=[0, 2], count_include_pad=1)],
                             {}),
    "global pools": ([node("GlobalMaxPool", "x", "a"), node("GlobalAveragePool", "x", "b"),
                      node("Concat", "a b", "y", axis=1)], {}),
    "a weight that is computed": ([node("Mul", "w s", "v"), node("Conv", "x v", "y")], {"w": W, "s": weights(6, 1, 1)}),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str, tmp_path: Path) -> None:
    nodes, held = LAYERS[name]
    checked(model(nodes, X, ["y"], held), {"x": draw(3, 4, 10)}, tmp_path / "m.onnx")


@pytest.mark.parametrize("opset", [18, 21])
def test_group_norm(opset: int, tmp_path: Path) -> None:
    """Its scale has one number a group in opset 18 (as onnxruntime no longer says), one a channel in 21."""
    scale, shift = weights(2 if opset == 18 else 4), weights(2 if opset == 18 else 4, seed=2)
    nodes = [node("GroupNormalization", "x s b", "y", num_groups=2)]
    proto = model(nodes, X, ["y"], {"s": scale, "b": shift}, opset=opset)
    x = draw(3, 4, 10)
    found = read_onnx(saved(proto, tmp_path / "m.onnx"))
    each = 4 // len(scale)
    wide = [torch.tensor(np.repeat(a, each)) for a in (scale, shift)]
    right = torch.nn.functional.group_norm(x, 2, *wide, eps=1e-5)
    assert torch.allclose(found.model(x), right, rtol=1e-6, atol=1e-7)


def test_an_embedding(tmp_path: Path) -> None:
    proto = model(
        [node("Gather", "table codes", "y")], {"codes": ("n", 7)}, ["y"], {"table": weights(5, 3)}, dtype=np.int64
    )
    codes = torch.randint(0, 5, (3, 7), generator=torch.Generator().manual_seed(0))
    found = checked(proto, {"codes": codes}, tmp_path / "m.onnx")
    assert list(found.model.state_dict()) == ["gather.weight"] or list(found.model.state_dict()) == ["embedding.weight"]


# -- recurrent layers -------------------------------------------------------------------------------------

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def recurrent(kind: str, direction: str, outputs: str, **options: Any) -> tuple[list[Any], dict[str, Any]]:
    """A layer between the transpositions that exporters write, all states and the last ones."""
    count, gates, hidden = 2 if direction == "bidirectional" else 1, GATES[kind], 3
    held = {
        "w": weights(count, gates * hidden, 4), "r": weights(count, gates * hidden, hidden, seed=2),
        "b": weights(count, 2 * gates * hidden, seed=3), "s": ints(0, 0, -1),
    }  # fmt: skip
    nodes = [
        node("Transpose", "x", "t", perm=[2, 0, 1]),
        node(kind, "t w r b", f"all {outputs}", direction=direction, hidden_size=hidden, **options),
        node("Transpose", "all", "u", perm=[0, 2, 1, 3]),
        node("Reshape", "u s", "v"),
        node("Transpose", "v", "y", perm=[1, 0, 2]),
    ]
    return nodes, held


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "GRU, reset first", "RNN"])
def test_recurrent_layers(kind: str, direction: str, tmp_path: Path) -> None:
    name, _, first = kind.partition(",")
    options = {"linear_before_reset": 0 if first else 1} if name == "GRU" else {}
    outputs = "h c" if name == "LSTM" else "h"
    nodes, held = recurrent(name, direction, outputs, **options)
    proto = model(nodes, X, ["y", *outputs.split()], held)
    found = checked(proto, {"x": draw(3, 4, 10)}, tmp_path / "m.onnx")
    graph = found.model.rcproof_graph()  # type: ignore[operator]
    assert not [n for n in graph.nodes if n.target in ("Tensor.reshape", "Tensor.unflatten")]


@pytest.mark.parametrize(
    "activations",
    [["HardSigmoid", "Tanh", "Tanh"], ["Sigmoid", "Relu", "Relu"], ["HardSigmoid", "Softsign", "Softsign"]],
)
def test_other_activations(activations: list[str], tmp_path: Path) -> None:
    for kind, chosen in (("LSTM", activations), ("GRU", activations[:2]), ("RNN", activations[1:2])):
        nodes, held = recurrent(kind, "bidirectional", "h", activations=chosen * 2)
        checked(model(nodes, X, ["y", "h"], held), {"x": draw(3, 4, 10)}, tmp_path / "m.onnx")


@pytest.mark.parametrize("zero", [True, False])
def test_states_to_begin_with(zero: bool, tmp_path: Path) -> None:
    """States of zeros are those that torch's layers begin with."""
    nodes, held = recurrent("LSTM", "forward", "h c")
    first = weights(1, 3, 3) * (0 if zero else 1)
    nodes[1] = node("LSTM", "t w r b _ h0 c0", "all h c", hidden_size=3)
    proto = model(nodes, X, ["y", "h", "c"], held | {"h0": first, "c0": first * 0.5})
    found = checked(proto, {"x": draw(3, 4, 10)}, tmp_path / "m.onnx")
    graph = found.model.rcproof_graph()  # type: ignore[operator]
    assert any(n.op == "tensor" for n in graph.nodes) != zero


def test_layouts_of_recurrent_layers(tmp_path: Path) -> None:
    """Time first and one direction dropped, as Keras is written; the last state, as a slice of all."""
    nodes, held = recurrent("GRU", "forward", "h", linear_before_reset=1)
    tail = [
        node("Squeeze", "all one", "states"),
        node("Transpose", "states", "y", perm=[1, 0, 2]),
        node("Squeeze", "h zero", "last"),
    ]
    proto = model([*nodes[:2], *tail], X, ["y", "last"], held | {"one": ints(1), "zero": ints(0)})
    found = checked(proto, {"x": draw(3, 4, 10)}, tmp_path / "m.onnx")
    graph = found.model.rcproof_graph()  # type: ignore[operator]
    assert [n.target for n in graph.nodes if n.op == "call"].count("torch.transpose") == 1


# -- names, functions, files beside ----------------------------------------------------------------------


def test_shared_weights_are_one_layer(tmp_path: Path) -> None:
    """A siamese graph: the same convolution and dense layer on both strands."""
    flip = node("Slice", "x a b c d", "rc")
    branches = []
    for s in ("x", "rc"):
        branches += [node("Conv", f"{s} conv.weight conv.bias", f"{s}1"), node("GlobalMaxPool", f"{s}1", f"{s}2")]
        branches += [node("Flatten", f"{s}2", f"{s}3"), node("MatMul", f"{s}3 matrix", f"{s}4")]
        branches += [node("Add", f"{s}4 dense.bias", f"{s}5")]
    held = {
        "a": ints(-1, -1), "b": ints(-FAR, -FAR), "c": ints(1, 2), "d": ints(-1, -1), "conv.weight": W,
        "conv.bias": weights(6), "matrix": weights(6, 2), "dense.bias": weights(2),
    }  # fmt: skip
    proto = model([flip, *branches, node("Mean", "x5 rc5", "y")], X, ["y"], held)
    found = checked(proto, {"x": draw(3, 4, 10)}, tmp_path / "m.onnx")
    assert sorted(found.model.state_dict()) == ["conv.bias", "conv.weight", "dense.bias", "dense.weight"]
    graph = found.model.rcproof_graph()  # type: ignore[operator]
    assert [n.target for n in graph.nodes if n.op == "module"].count("conv") == 2


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("/conv1/Conv", "conv1"),
        ("/features/features.0/Conv", "features.0"),
        ("/encoder/layer/conv/Conv", "encoder.layer.conv"),
        ("Conv_3", "conv"),
        ("", "conv"),
        ("/../../etc/passwd/Conv", "conv"),
    ],
)
def test_paths_from_the_names_of_nodes(name: str, path: str, tmp_path: Path) -> None:
    proto = model([node("Conv", "x onnx::Conv_12", "y", name=name)], X, ["y"], {"onnx::Conv_12": W})
    found = checked(proto, {"x": draw(3, 4, 10)}, tmp_path / "m.onnx")
    assert list(found.model.state_dict()) in ([f"{path}.weight"], ["layer.weight"] if ".." in name else [])


def test_functions_of_the_file(tmp_path: Path) -> None:
    """Functions call functions, take attributes, and leave arguments out."""
    helper = onnx.helper
    leaky = helper.make_node("LeakyRelu", ["a"], ["b"])
    attribute = leaky.attribute.add()
    attribute.name, attribute.ref_attr_name, attribute.type = "alpha", "slope", onnx.AttributeProto.FLOAT
    inner = helper.make_function("mine", "inner", ["a"], ["b"], [leaky], [helper.make_opsetid("", 18)], ["slope"])
    outer = helper.make_function(
        "mine", "outer", ["a", "w"], ["c"],
        [node("Conv", "a w", "b"), node("inner", "b", "c", domain="mine", slope=0.3)],
        [helper.make_opsetid("", 18), helper.make_opsetid("mine", 1)],
    )  # fmt: skip
    nodes = [node("outer", "x conv.weight", "z", domain="mine"), node("inner", "z", "y", domain="mine", slope=0.2)]
    proto = model(nodes, X, ["y"], {"conv.weight": W}, functions=[inner, outer])
    found = checked(proto, {"x": draw(3, 4, 10)}, tmp_path / "m.onnx")
    assert list(found.model.state_dict()) == ["conv.weight"]


def test_weights_in_a_file_beside(tmp_path: Path) -> None:
    proto = model([node("Conv", "x conv.weight b", "y")], X, ["y"], {"conv.weight": W, "b": weights(6)})
    path = tmp_path / "m.onnx"
    onnx.save(proto, path, save_as_external_data=True, location="m.onnx.data", size_threshold=0)
    assert (tmp_path / "m.onnx.data").exists()
    found = read_onnx(path)
    assert torch.equal(found.model.state_dict()["conv.weight"], torch.tensor(W))


def test_float64(tmp_path: Path) -> None:
    held = {"w": np.random.default_rng(0).normal(size=(10, 3)), "s": np.float64(1 / 3)}
    proto = model([node("MatMul", "x w", "z"), node("Mul", "z s", "y")], X, ["y"], held, dtype=np.float64)
    checked(proto, {"x": draw(3, 4, 10).double()}, tmp_path / "m.onnx", 1e-13)


# -- channels last ----------------------------------------------------------------------------------------


def keras_like(length: int | str = 10) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    """A convolution as tf2onnx writes it for Keras."""
    nodes = [
        node("Unsqueeze", "x two", "a"), node("Transpose", "a", "b", perm=[0, 3, 1, 2]),
        node("Conv", "b conv/kernel bias", "c", pads=[2, 0, 2, 0]), node("Relu", "c", "d"),
        node("MaxPool", "d", "e", kernel_shape=[2, 1], strides=[2, 1]), node("Squeeze", "e three", "f"),
        node("Transpose", "f", "g", perm=[0, 2, 1]), node("Sigmoid", "g", "h"), node("Reshape", "h all", "i"),
        node("MatMul", "i dense", "j"), node("Add", "j dense.bias", "y"),
    ]  # fmt: skip
    held = {
        "two": ints(2), "three": ints(3), "conv/kernel": W[..., None], "bias": weights(6), "all": ints(-1, 30),
        "dense": weights(30, 2), "dense.bias": weights(2),
    }  # fmt: skip
    return nodes, {"x": ("n", length, 4)}, held


def test_channels_last_becomes_channels_first(tmp_path: Path) -> None:
    from tests.checkpoints.onnx.models import run, same

    nodes, inputs, held = keras_like()
    proto = model(nodes, inputs, ["y"], held)
    found = read_onnx(saved(proto, tmp_path / "m.onnx"))
    x = draw(3, 4, 10)
    same(found.model(x), run(proto, {"x": x.transpose(1, 2).contiguous()}))
    assert found.shapes == ((4, 10),)
    assert found.notes == ["input 'x' is channels last in the file, (n, 10, 4); taken channels first"]
    kinds = [type(m).__name__ for m in found.model.modules()]
    assert "Conv1d" in kinds
    assert "MaxPool1d" in kinds
    assert "Linear" in kinds


def test_an_input_that_is_put_time_first_for_a_recurrent_layer_stays(tmp_path: Path) -> None:
    nodes, held = recurrent("LSTM", "forward", "h")
    nodes[0] = node("Transpose", "x", "z", perm=[0, 2, 1])
    nodes.insert(1, node("Transpose", "z", "t", perm=[1, 0, 2]))
    found = checked(model(nodes, X, ["y"], held), {"x": draw(3, 4, 10)}, tmp_path / "m.onnx")
    assert found.notes == []
    assert found.shapes == ((4, 10),)


# -- one number of examples -------------------------------------------------------------------------------


def test_written_for_one_number_of_examples(tmp_path: Path) -> None:
    nodes = [node("Conv", "x conv.weight", "z"), node("Reshape", "z s", "f"), node("Gemm", "f w", "y", transB=1)]
    held = {"conv.weight": W, "s": ints(2, -1), "w": weights(3, 36)}
    found = checked(model(nodes, {"x": (2, 4, 10)}, ["y"], held), {"x": draw(2, 4, 10)}, tmp_path / "m.onnx")
    assert found.notes == ["written for 2 examples; sizes that repeat this number follow the input"]
    assert found.model(draw(5, 4, 10)).shape == (5, 3)
    nodes[1] = node("Reshape", "z s", "f")
    held |= {"s": ints(1, -1), "w": weights(3, 72)}
    found = checked(model(nodes, {"x": (2, 4, 10)}, ["y"], held), {"x": draw(2, 4, 10)}, tmp_path / "m.onnx")
    assert found.notes == ["for 2 examples at a time: it was written without a dynamic batch"]


# -- mutants ----------------------------------------------------------------------------------------------


def ignores(attribute: str, value: Any) -> Callable[[Rule], Rule]:
    """A reader that takes an attribute of an operator for another value."""

    def broken(right: Rule) -> Rule:
        def read(m: Model, n: Step) -> Any:
            n.attributes[attribute] = value
            return right(m, n)

        return read

    return broken


def swapped(one: int, two: int) -> Callable[[Rule], Rule]:
    """A reader that confuses two inputs of an operator."""

    def broken(right: Rule) -> Rule:
        def read(m: Model, n: Step) -> Any:
            n.inputs[one], n.inputs[two] = n.inputs[two], n.inputs[one]
            return right(m, n)

        return read

    return broken


MUTANTS: dict[str, tuple[str, str, Callable[[Rule], Rule]]] = {
    "eps of batch norm": ("batch norm", "BatchNormalization", ignores("epsilon", 1e-5)),
    "mean for variance": ("batch norm", "BatchNormalization", swapped(1, 2)),
    "pads of a convolution": ("conv", "Conv", ignores("pads", [0, 0])),
    "a matrix the other way round": ("gemm as it is", "Gemm", ignores("beta", 1.0)),
    "alpha of a product": ("gemm as it is", "Gemm", ignores("alpha", 1.0)),
    "pads that count": ("average pool, pads", "AveragePool", ignores("count_include_pad", 1)),
    "SAME_LOWER for SAME_UPPER": ("the same length, even kernel", "Conv", ignores("auto_pad", "SAME_LOWER")),
    "axes of layer norm": ("layer norm", "LayerNormalization", ignores("epsilon", 1e-1)),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_are_caught(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case, kind, broken = MUTANTS[name]
    monkeypatch.setitem(RULES, kind, broken(RULES[kind]))
    with pytest.raises((AssertionError, CheckpointError)):
        test_layers(case, tmp_path)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 1, 3), (0, 3, 2, 1), (1, 2, 3, 0)])
def test_mutants_of_the_gates_are_caught(
    order: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX has i o f c, torch i f c o."""
    from rcproof.checkpoints.onnx import recurrent

    monkeypatch.setitem(recurrent._ORDER, "LSTM", order)
    with pytest.raises(AssertionError, match="differs"):
        test_recurrent_layers("LSTM", "forward", tmp_path)
    monkeypatch.setitem(recurrent._ORDER, "GRU", tuple(i for i in order if i < 3))
    if order != (0, 2, 1, 3):
        with pytest.raises(AssertionError, match="differs"):
            test_recurrent_layers("GRU", "bidirectional", tmp_path)


def test_a_mutant_of_flips_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RULES, "Slice", lambda m, n: n(0))
    with pytest.raises(AssertionError):
        test_shapes("flip", tmp_path)
