"""Operators of ONNX on single elements, along axes, and between tensors."""

from __future__ import annotations

from typing import Any

import torch

from rcproof.checkpoints.importing import Const
from rcproof.checkpoints.importing_shapes import Sizes
from rcproof.checkpoints.onnx.graph import Dims, Model, Step, rule
from rcproof.checkpoints.onnx.tensors import DTYPES
from rcproof.network.graph import Ref
from rcproof.network.ops import OPS

#: Functions that have the same name in torch, but for capitals.
_SAME = ("Relu", "Sigmoid", "Tanh", "Exp", "Log", "Sqrt", "Abs", "Neg", "Reciprocal", "Erf", "Floor", "Ceil", "Round",
         "Sign", "Sin", "Cos", "Sinh", "Cosh", "Asin", "Acos", "Atan", "Asinh", "Acosh", "Atanh", "IsNaN")  # fmt: skip

#: Operator, function, attributes with their defaults and the name of each in torch.
_POINTWISE: dict[str, tuple[str, dict[str, tuple[str, Any]]]] = {
    name: (f"torch.{name.lower()}", {}) for name in _SAME
} | {
    "Not": ("torch.logical_not", {}),
    "Softplus": ("F.softplus", {}),
    "Softsign": ("F.softsign", {}),
    "HardSwish": ("F.hardswish", {}),
    "Mish": ("F.mish", {}),
    "LeakyRelu": ("F.leaky_relu", {"alpha": ("negative_slope", 0.01)}),
    "Elu": ("F.elu", {"alpha": ("alpha", 1.0)}),
    "Celu": ("F.celu", {"alpha": ("alpha", 1.0)}),
    "Gelu": ("F.gelu", {"approximate": ("approximate", "none")}),
}


def like(m: Model, x: Any) -> Sizes | None:
    """The shape of a value as far as it is known."""
    if isinstance(x, Const):
        return tuple(x.tensor.shape)
    return m.sizes.get(x.name) if isinstance(x, Ref) else ()


def broadcast(m: Model, *values: Any) -> Sizes | None:
    """The shape that tensors have together."""
    shapes = [like(m, v) for v in values if isinstance(v, Ref | Const)]
    if any(s is None for s in shapes):
        return None
    rank = max((len(s) for s in shapes if s is not None), default=0)
    padded = [(1,) * (rank - len(s)) + tuple(s) for s in shapes if s is not None]
    sizes: list[int | str | None] = []
    for together in zip(*padded, strict=True):
        others = {n for n in together if n != 1}
        sizes.append(1 if not others else others.pop() if len(others) == 1 else None)
    return tuple(sizes)


@rule(*_POINTWISE)
def pointwise(m: Model, n: Step) -> Any:
    function, attributes = _POINTWISE[n.kind]
    x = m.data(n(0))
    chosen = {name: n.attribute(key, default) for key, (name, default) in attributes.items()}
    return m.put(m.call(function, x, **chosen), like(m, x))


@rule("Selu")
def selu(m: Model, n: Step) -> Any:
    x, alpha, gamma = n(0), n.attribute("alpha", 1.67326), n.attribute("gamma", 1.0507)
    if abs(alpha - 1.67326) < 1e-4 and abs(gamma - 1.0507) < 1e-4:
        return m.put(m.call("torch.selu", x), like(m, x))
    return m.put(m.call("torch.mul", m.call("F.elu", x, alpha), gamma), like(m, x))


@rule("HardSigmoid")
def hard_sigmoid(m: Model, n: Step) -> Any:
    """The slope is 1/5 here and 1/6 in torch."""
    x, alpha, beta = n(0), n.attribute("alpha", 0.2), n.attribute("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return m.put(m.call("F.hardsigmoid", x), like(m, x))
    line = m.call("torch.add", m.call("torch.mul", x, alpha), beta)
    return m.put(m.call("torch.clamp", line, 0.0, 1.0), like(m, x))


@rule("ThresholdedRelu")
def thresholded_relu(m: Model, n: Step) -> Any:
    return m.put(m.call("F.threshold", n(0), n.attribute("alpha", 1.0), 0.0), like(m, n(0)))


@rule("PRelu")
def prelu(m: Model, n: Step) -> Any:
    """One slope a channel, or one for all, is a layer; any other is written out."""
    from torch import nn

    x, slope = n(0), n(1)
    if isinstance(slope, Const) and isinstance(x, Ref):
        shape, count = tuple(slope.tensor.shape), slope.tensor.numel()
        spread = (1,) * (m.rank(x) - len(shape)) + shape
        if count == 1 or (m.rank(x) >= 2 and spread == (1, count, *[1] * (m.rank(x) - 2))):
            flat = m.derived(slope, "flat", lambda t: t.reshape(-1))
            y = m.layer(nn.PReLU, {"num_parameters": count}, {"weight": flat}, x, hint=n.path or "prelu")
            return m.put(y, like(m, x))
    negative = m.call("torch.mul", slope, x)
    return m.put(m.call("torch.where", m.call("torch.lt", x, 0), negative, x), broadcast(m, x, slope))


@rule("Clip")
def clip(m: Model, n: Step) -> Any:
    x = n(0)
    low, high = (m.operand(n(i, None), x) for i in (1, 2))
    return m.put(m.call("torch.clamp", x, low, high), like(m, x))


_ARITHMETIC = {
    "Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "Pow": "pow", "Mod": "remainder", "Equal": "eq",
    "Greater": "gt", "Less": "lt", "GreaterOrEqual": "ge", "LessOrEqual": "le", "And": "logical_and",
    "Or": "logical_or",
}  # fmt: skip
_ON_SIZES = {
    "Add": "add", "Sub": "sub", "Mul": "mul", "Div": "floordiv", "Mod": "mod", "Pow": "pow", "Equal": "eq",
    "Greater": "gt", "Less": "lt", "GreaterOrEqual": "ge", "LessOrEqual": "le",
}  # fmt: skip


@rule(*_ARITHMETIC)
def arithmetic(m: Model, n: Step) -> Any:
    """Two tensors, or two lists of sizes."""
    x, y = n(0), n(1)
    if (isinstance(x, Dims) or isinstance(y, Dims)) and not _tensors(m, x, y):
        return _sizes(m, n, m.dims(x), m.dims(y))
    x, y = m.data(x), m.data(y)
    if n.kind == "Mod" and n.attribute("fmod", 0):
        return m.put(m.call("torch.fmod", x, m.operand(y, x)), broadcast(m, x, y))
    sizes = broadcast(m, x, y)
    if n.kind == "Add":
        before = m.how(x, "product"), m.how(y, "product")
        if any(before):
            return m.put(m.add(x, y), sizes)
    whole = [v for v in (x, y) if isinstance(v, Const) and not v.tensor.is_floating_point()]
    options = {"rounding_mode": "trunc"} if n.kind == "Div" and whole else {}
    first, second = m.operand(x, y), m.operand(y, x)
    if isinstance(first, int | float):
        swapped = {"Add": "torch.add", "Mul": "torch.mul"}.get(n.kind)
        if swapped is not None:
            return m.put(m.call(swapped, second, first), sizes)
        if n.kind == "Sub":
            return m.put(m.call("torch.rsub", second, first), sizes)
        if n.kind == "Div" and not options:
            inverse = m.call("torch.reciprocal", second)
            return m.put(inverse if first == 1 else m.call("torch.mul", inverse, first), sizes)
        first = x if isinstance(x, Const) else first
    return m.put(m.call(f"torch.{_ARITHMETIC[n.kind]}", first, second, **options), sizes)


def _tensors(m: Model, *values: Any) -> bool:
    """Whether a real tensor is among the values, so that sizes beside it are numbers."""
    return any(isinstance(v, Ref) or (isinstance(v, Const) and v.tensor.is_floating_point()) for v in values)


def _sizes(m: Model, n: Step, x: Dims, y: Dims) -> Dims:
    n.attribute("fmod", 0)
    if n.kind not in _ON_SIZES:
        raise n.refuse("sizes of the input", "a tensor")
    count = max(len(x.items), len(y.items))
    one, two = ((d.items * count if len(d.items) == 1 else d.items) for d in (x, y))
    function = f"operator.{_ON_SIZES[n.kind]}"
    results = []
    for a, b in zip(one, two, strict=True):
        if n.kind == "Equal" and (isinstance(a, Ref) != isinstance(b, Ref)) and min(_number(a), _number(b)) < 0:
            results.append(0)  # a size is never negative
        elif n.kind == "Mul" and 1 in (a, b):
            results.append(b if a == 1 else a)
        elif isinstance(a, int) and isinstance(b, int):
            if n.kind == "Pow" and not (abs(a) < 1 << 31 and 0 <= b <= 2):
                raise n.refuse(f"{a} to the power {b}")
            results.append(int(OPS[function].function(a, b)))
        else:
            results.append(m.put(m.call(function, a, b), ()))
    return Dims(tuple(results), x.scalar and y.scalar)


def _number(value: Any) -> float:
    return value if isinstance(value, int) else 0


@rule("Max Min Mean Sum")
def variadic(m: Model, n: Step) -> Any:
    values = [m.data(n(i)) for i in range(len(n.inputs))]
    function = {"Max": "torch.maximum", "Min": "torch.minimum"}.get(n.kind, "torch.add")
    result = values[0]
    for value in values[1:]:
        sizes = broadcast(m, result, value)
        result = m.put(m.call(function, result, value), sizes)
    if n.kind == "Mean":
        result = m.put(m.call("torch.div", result, len(values)), like(m, result))
    return result


@rule("Where")
def where(m: Model, n: Step) -> Any:
    """A choice between tensors; between sizes, as exporters write it around broadcasting, it is made here."""
    condition, x, y = n(0), n(1), n(2)
    three = (condition, x, y)
    if all(isinstance(v, Dims | Const) for v in three) and any(isinstance(v, Dims) for v in three):
        chosen = m.ints(Dims(m.dims(_plain(condition)).items))
        one, two = m.dims(x), m.dims(y)
        count = max(len(chosen), len(one.items), len(two.items))
        lists = [list(v) * count if len(v) == 1 else list(v) for v in (chosen, one.items, two.items)]
        return Dims(tuple(a if c else b for c, a, b in zip(*lists, strict=True)), one.scalar and two.scalar)
    condition, x, y = (m.data(v) for v in (condition, x, y))
    return m.put(m.call("torch.where", condition, m.operand(x, y), m.operand(y, x)), broadcast(m, condition, x, y))


def _plain(value: Any) -> Any:
    return Const(value.tensor.to(torch.int64)) if isinstance(value, Const) else value


@rule("Cast")
def cast(m: Model, n: Step) -> Any:
    x, code = n(0), n.attribute("to")
    n.attribute("saturate", 1), n.attribute("round_mode", "up")
    dtype = DTYPES.get(code)
    if dtype is None:
        raise n.refuse(f"dtype {code}", "numbers")
    if isinstance(x, Dims):
        if not dtype.is_floating_point:
            return x
        if len(x.items) == 1:
            (item,) = x.items
            if not isinstance(item, int) and m.first is not None:
                shape = () if x.scalar else (1,)
                return m.put(m.call("Tensor.new_full", m.first, shape, item, dtype=dtype), shape)
    x = m.data(x)
    if isinstance(x, Ref) and m.dtype(x) == dtype:
        return x
    return m.put(m.call("Tensor.to", x, dtype), like(m, x))


@rule("CastLike")
def cast_like(m: Model, n: Step) -> Any:
    x, other = m.data(n(0)), n(1)
    n.attribute("saturate", 1)
    return m.put(m.call("Tensor.type_as", x, other), like(m, x))


@rule("Identity")
def identity(m: Model, n: Step) -> Any:
    return n(0)


@rule("Dropout")
def dropout(m: Model, n: Step) -> Any:
    """Nothing happens in a network that only answers."""
    n(1, None), n.attribute("seed", 0)
    mode = n(2, None)
    if mode is not None and (not isinstance(mode, Const) or bool(mode.tensor.any())):
        raise n.refuse("a dropout that is on", "a network in eval mode")
    return n(0)


@rule("Softmax LogSoftmax")
def softmax(m: Model, n: Step) -> Any:
    function = "torch.softmax" if n.kind == "Softmax" else "torch.log_softmax"
    return m.put(m.call(function, n(0), n.attribute("axis", -1)), like(m, n(0)))


_REDUCTIONS = {
    "ReduceMean": "torch.mean", "ReduceSum": "torch.sum", "ReduceMax": "torch.amax", "ReduceMin": "torch.amin",
    "ReduceLogSumExp": "torch.logsumexp", "ReduceL2": "torch.norm", "ReduceSumSquare": "torch.sum",
    "ReduceL1": "torch.sum",
}  # fmt: skip


@rule(*_REDUCTIONS)
def reduce(m: Model, n: Step) -> Any:
    """The axes are an attribute in older opsets and an input in newer ones."""
    x = m.data(n(0))
    rank, keep = m.rank(x), bool(n.attribute("keepdims", 1))
    axes = n.attribute("axes", None)
    if n(1, None) is not None:
        axes = m.ints(n(1))
    if not axes:
        if n.attribute("noop_with_empty_axes", 0):
            return x
        axes = list(range(rank))
    n.attribute("noop_with_empty_axes", 0)
    chosen = sorted(m.axis(d, rank) for d in axes)
    if n.kind == "ReduceSumSquare":
        x = m.put(m.call("torch.square", x), like(m, x))
    if n.kind == "ReduceL1":
        x = m.put(m.call("torch.abs", x), like(m, x))
    sizes = like(m, x)
    shrunk = None
    if sizes is not None:
        shrunk = tuple(1 if i in chosen else s for i, s in enumerate(sizes) if keep or i not in chosen)
    dims: Any = chosen[0] if len(chosen) == 1 else chosen
    if n.kind == "ReduceL2":
        return m.put(m.call("torch.norm", x, 2, dims, keepdim=keep), shrunk)
    return m.put(m.call(_REDUCTIONS[n.kind], x, dims, keepdim=keep), shrunk)


@rule("ReduceProd")
def reduce_prod(m: Model, n: Step) -> Any:
    """Of sizes: how many elements there are."""
    x = n(0)
    axes, keep = n.attribute("axes", None), bool(n.attribute("keepdims", 1))
    n.attribute("noop_with_empty_axes", 0)
    axes = axes if n(1, None) is None else m.ints(n(1))
    if isinstance(x, Dims):
        result: Any = 1
        for item in x.items:
            result = item if result == 1 else m.call("operator.mul", result, item)
        return Dims((result,), not keep)
    if axes is None or len(axes) != 1:
        raise n.refuse(f"axes {axes}", "one axis")
    dim = m.axis(axes[0], m.rank(x))
    sizes = like(m, x)
    shrunk = sizes and tuple(1 if i == dim else s for i, s in enumerate(sizes) if keep or i != dim)
    return m.put(m.call("torch.prod", x, dim, keepdim=keep), shrunk or None)


@rule("ArgMax ArgMin")
def arg(m: Model, n: Step) -> Any:
    x, keep = n(0), bool(n.attribute("keepdims", 1))
    dim = m.axis(n.attribute("axis", 0), m.rank(x))
    if n.attribute("select_last_index", 0):
        raise n.refuse("the last of equal ones", "the first")
    sizes = like(m, x) or ()
    shrunk = tuple(1 if i == dim else s for i, s in enumerate(sizes) if keep or i != dim)
    return m.put(m.call(f"torch.{n.kind.lower()}", x, dim, keepdim=keep), shrunk)


@rule("CumSum")
def cumsum(m: Model, n: Step) -> Any:
    if n.attribute("exclusive", 0) or n.attribute("reverse", 0):
        raise n.refuse("an exclusive or reversed sum", "a plain one")
    (axis,) = m.ints(n(1))
    return m.put(m.call("torch.cumsum", n(0), axis), like(m, n(0)))


@rule("Einsum")
def einsum(m: Model, n: Step) -> Any:
    equation = n.attribute("equation").replace(" ", "")
    if len(equation) > 200 or "->" not in equation:
        raise n.refuse(repr(equation[:40]), "an equation with '->'")
    y = m.call("torch.einsum", equation, *(m.data(n(i)) for i in range(len(n.inputs))))
    after = equation.partition("->")[2]
    return m.put(y, None if "." in after else (None,) * len(after))
