"""Functions that graphs call without a layer: ``x[:, ::-1, ::-1]``, ``ops.mean(x, axis=1)``, ``1 - x``.

Keras 3 keeps each as an object of a class (``GetItem``, ``Mean``), tf.keras as a ``TFOpLambda`` with the name of the
function. Unlike a Lambda they say what they do, and the table here is short: what it lacks is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from rcproof.checkpoints.keras.build import LAYERS, OPERATION, Shape, Site, Value, layer
from rcproof.checkpoints.keras.layers.activations import activate
from rcproof.checkpoints.keras.model import Input

_FLOATS = ("float16", "bfloat16", "float32", "float64")

#: Functions of two values: the layer that does it for two tensors, and what does it for a tensor and a number.
_PAIRS = {
    "add": ("Add", "operator.add"),
    "subtract": ("Subtract", "operator.sub"),
    "multiply": ("Multiply", "operator.mul"),
    "maximum": ("Maximum", "torch.clamp_min"),
    "minimum": ("Minimum", "torch.clamp_max"),
    "divide": ("", "operator.truediv"),
    "power": ("", "operator.pow"),
}
_POINTWISE = {"negative": "torch.neg", "absolute": "torch.abs", "log": "torch.log", "sqrt": "torch.sqrt",
              "square": "torch.square", "log1p": "torch.log1p", "expm1": "torch.expm1"}  # fmt: skip
_ACTIVATIONS = (
    *("sigmoid", "tanh", "relu", "relu6", "softplus", "softsign", "selu", "silu", "softmax", "exp", "log_softmax"),
)
_REDUCTIONS = {"mean": "torch.mean", "sum": "torch.sum", "max": "torch.amax", "min": "torch.amin"}

#: Other names of the same: of TensorFlow, and of Keras 3 where its classes have others.
_ALSO = {
    "true_divide": "divide",
    "truediv": "divide",
    "pow": "power",
    "neg": "negative",
    "abs": "absolute",
    "reverse": "flip",
    "concat": "concatenate",
    **{f"reduce_{name}": name for name in _REDUCTIONS},
}
#: How Keras 3 writes the names of classes of functions that have several words in their names.
_CLASSES = {"GetItem": "getitem", "ExpandDims": "expand_dims", "TrueDivide": "divide", "LogSoftmax": "log_softmax"}


@dataclass
class Operation:
    """A call: the site, its positional arguments (values and numbers), and its options."""

    site: Site
    operands: list[Any]
    options: dict[str, Any]

    @property
    def value(self) -> Value:
        """The only tensor."""
        if len(self.operands) != 1 or not isinstance(self.operands[0], Value):
            raise self.site.error("arguments", got=f"{len(self.operands)}", expected="one tensor")
        return self.operands[0]

    def axes(self, *names: str) -> list[int]:
        """Axes of Keras without the batch, from an option that counts the batch."""
        found: Any = next((self.options[name] for name in names if self.options.get(name) is not None), None)
        axes: list[Any] = list(found) if isinstance(found, list | tuple) else [found]
        rank = len(self.value.shape) + 1
        whole = all(isinstance(a, int) and not isinstance(a, bool) and -rank <= a < rank for a in axes)
        made = [a % rank for a in axes] if whole else [0]
        if not made or 0 in made or len(set(made)) < len(made):
            raise self.site.error("axis", got=repr(found)[:40], expected=f"axes of shape {self.value.shape}, no batch")
        return [a - 1 for a in made]

    def as_layer(self, kind: str, inputs: list[Value], **config: Any) -> Value:
        """What a layer of Keras does with the same inputs."""
        spec = replace(self.site.spec, kind=kind, config=config, weights={})
        made = LAYERS[kind](replace(self.site, spec=spec, inputs=inputs))
        assert isinstance(made, Value)
        return made


def _name(site: Site) -> str:
    if site.spec.kind in ("TFOpLambda", "SlicingOpLambda"):
        name = str(site.get("function", "")).rpartition(".")[2]
    else:
        name = _CLASSES.get(site.spec.kind, site.spec.kind.lower())
    return _ALSO.get(name, name)


def _operation(site: Site) -> Value:
    arguments = dict(site.call.arguments)
    told = arguments.pop("args", None)
    named = {v.index for v in arguments.values() if isinstance(v, Input)}
    if told is None:
        told = [Input(i) for i in range(len(site.inputs)) if i not in named]
    arguments = {"y" if key in ("x2", "other") else key: value for key, value in arguments.items()}
    if "y" in arguments:
        told = [*told, arguments.pop("y")]
    name = _name(site)
    if name not in _TABLE:
        raise site.error("a function", got=repr(name)[:60], expected=", ".join(sorted(_TABLE)))
    operands = [site.inputs[v.index] if isinstance(v, Input) else v for v in told]
    return _TABLE[name](Operation(site, operands, {**site.spec.config, **arguments}))


layer("TFOpLambda", "SlicingOpLambda", either_axis=True)(_operation)


def _pair(op: Operation) -> Value:
    site = op.site
    kind, function = _PAIRS[_name(site)]
    if len(op.operands) != 2:
        raise site.error("arguments", got=len(op.operands), expected="two")
    values = [v for v in op.operands if isinstance(v, Value)]
    if len(values) == 2:
        if len(values[0].shape) != len(values[1].shape):  # numpy would line up the batch with another axis
            shapes = " and ".join(str(v.shape) for v in values)
            raise site.error("arguments", got=f"shapes {shapes}", expected="one rank")
        if kind:
            return op.as_layer(kind, values)
        if _name(site) == "divide":
            inverse = replace(values[1], ref=site.function("torch.reciprocal", values[1].ref))
            return op.as_layer("Multiply", [values[0], inverse])
        raise site.error("arguments", got="two tensors", expected="a tensor and a number")
    if len(values) != 1 or not all(isinstance(v, Value) or _is_number(v) for v in op.operands):
        raise site.error("arguments", got="an array", expected="tensors and numbers")
    refs = [v.ref if isinstance(v, Value) else v for v in op.operands]
    if function.startswith("torch.") and not isinstance(op.operands[0], Value):
        refs.reverse()  # the order does not matter to a maximum
    return replace(values[0], ref=site.function(function, *refs))


def _is_number(v: Any) -> bool:
    return isinstance(v, int | float) and not isinstance(v, bool)


def _pointwise(op: Operation) -> Value:
    return replace(op.value, ref=op.site.function(_POINTWISE[_name(op.site)], op.value.ref))


def _activation(op: Operation) -> Value:
    if op.options.get("axis") not in (None, -1, len(op.value.shape)):
        raise op.site.error("axis", got=repr(op.options["axis"])[:40], expected="the last")
    if any(op.options.get(key) for key in ("negative_slope", "max_value", "threshold")):
        raise op.site.error("options of an activation", expected="none")
    return activate(op.site, _name(op.site), op.value)


def _flip(op: Operation) -> Value:
    site, value = op.site, _plain(op.site, op.value)
    dims = tuple(_held(site, value, axis) for axis in op.axes("axis"))
    return replace(value, ref=site.function("torch.flip", value.ref, dims))


def _reduce(op: Operation) -> Value:
    site, value = op.site, _plain(op.site, op.value)
    axes, keep = op.axes("axis"), bool(op.options.get("keepdims", False))
    dims = tuple(sorted(_held(site, value, axis) for axis in axes))
    ref = site.function(_REDUCTIONS[_name(site)], value.ref, dims, keep)
    if keep:
        return replace(value, ref=ref, shape=tuple(1 if i in axes else n for i, n in enumerate(value.shape)))
    shape = tuple(n for i, n in enumerate(value.shape) if i not in axes)
    if value.form == "image" or not shape:
        raise site.error("axis", got=f"{axes} of shape {value.shape}", expected="some axis left of a sequence")
    return Value(ref, shape, "vector")


def _get_item(op: Operation) -> Value:
    """Slices and flips of any axis but the batch, and positions or channels by number."""
    site = op.site
    spec = op.options.get("slice_spec", op.operands[1] if len(op.operands) == 2 else None)
    spec = list(spec) if isinstance(spec, list | tuple) else [spec]
    value = _plain(site, op.operands[0])
    rank = len(value.shape) + 1
    if ... in spec:
        i = spec.index(...)
        spec[i : i + 1] = [slice(None)] * (rank - len(spec) + 1)
    if not 1 <= len(spec) <= rank or spec[0] != slice(None):
        raise site.error("an index", got=repr(spec)[:60], expected="all examples, and axes of each")
    shape: list[int | None] = list(value.shape)
    window: list[Any] = [slice(None)] * 3
    flips, dropped = [], []
    for axis, item in enumerate(spec[1:]):
        if item == slice(None):
            continue
        dim = _held(site, value, axis)
        if isinstance(item, slice) and (item.start, item.stop, item.step) == (None, None, -1):
            flips.append(dim)
        elif isinstance(item, slice) and item.step in (None, 1) and _is_bound(item.start) and _is_bound(item.stop):
            window[dim], shape[axis] = slice(item.start, item.stop), _length(site, item, shape[axis])
        elif isinstance(item, int) and not isinstance(item, bool):
            window[dim] = item
            dropped.append(axis)
        else:
            raise site.error("an index", got=repr(item)[:60], expected="a slice of step 1, ::-1, or a number")
    ref = value.ref
    if flips:
        ref = site.function("torch.flip", ref, tuple(flips))
    if window != [slice(None)] * 3:
        ref = site.function("operator.getitem", ref, tuple(window[: 2 if value.form == "vector" else 3]))
    if not dropped:
        return replace(value, ref=ref, shape=tuple(shape))
    if value.form != "sequence" or len(dropped) != 1:
        raise site.error("an index", got=repr(spec)[:60], expected="one position or one channel of a sequence")
    return Value(ref, (shape[1 - dropped[0]],), "vector")


def _is_bound(bound: Any) -> bool:
    return bound is None or (isinstance(bound, int) and not isinstance(bound, bool))


def _length(site: Site, item: slice, size: int | None) -> int | None:
    if size is None:
        return None
    length = len(range(*item.indices(size)))
    if not length:
        raise site.error("an index", got=repr(item), expected=f"something of {size} to be left")
    return length


def _concatenate(op: Operation) -> Value:
    return op.as_layer("Concatenate", list(op.site.inputs), axis=op.options.get("axis", -1))


def _reshaped(op: Operation) -> Value:
    """``expand_dims`` and ``squeeze``: the same elements in another shape."""
    value = op.value
    shape: list[int | None] = list(value.shape)
    if _name(op.site) == "expand_dims":
        axis = op.options.get("axis")
        if not isinstance(axis, int) or not -len(shape) - 2 <= axis <= len(shape) + 1:
            raise op.site.error("axis", got=repr(axis)[:40], expected=f"a place in shape {value.shape}")
        axis %= len(shape) + 2
        if axis == 0:
            raise op.site.error("axis", got=0, expected="one behind the examples")
        shape.insert(axis - 1, 1)
    else:
        axes = op.axes("axis", "squeeze_dims")
        if any(shape[a] != 1 for a in axes):
            raise op.site.error("axis", got=f"{axes} of shape {value.shape}", expected="axes of size 1")
        shape = [n for i, n in enumerate(shape) if i not in axes]
    return op.as_layer("Reshape", [value], target_shape=_with_one_open(op.site, tuple(shape)))


def _with_one_open(site: Site, shape: Shape) -> list[int]:
    if shape.count(None) > 1:
        raise site.error("a shape that the file leaves open", got=repr(shape))
    return [-1 if n is None else n for n in shape]


def _reshape(op: Operation) -> Value:
    shape = op.options.get("newshape", op.options.get("shape"))
    if not isinstance(shape, list | tuple) or not shape or shape[0] not in (-1, None):
        raise op.site.error("shape", got=repr(shape)[:60], expected="-1 for the examples, then the rest")
    return op.as_layer("Reshape", [op.value], target_shape=list(shape[1:]))


def _transpose(op: Operation) -> Value:
    order = op.options.get("axes", op.options.get("perm"))
    if not isinstance(order, list | tuple) or not order or order[0] != 0:
        raise op.site.error("axes", got=repr(order)[:60], expected="0, the examples, first")
    return op.as_layer("Permute", [op.value], dims=list(order[1:]))


def _cast(op: Operation) -> Value:
    """Weights are real numbers of one width here, so a cast between these does nothing."""
    dtype = op.options.get("dtype")
    if dtype not in _FLOATS:
        raise op.site.error("a cast", got=repr(dtype)[:40], expected=", ".join(_FLOATS))
    return op.value


def _plain(site: Site, value: Any) -> Value:
    """A value whose order is that of Keras."""
    if not isinstance(value, Value):
        raise site.error("arguments", got=type(value).__name__, expected="a tensor")
    return site.as_keras(value) if value.form == "vector" else value


def _held(site: Site, value: Value, axis: int) -> int:
    found = value.axis(axis)
    if found is None:
        raise site.error(
            "axis", got=f"{axis + 1} of shape {value.shape}", expected="the length, or the only other axis"
        )
    return found


_TABLE: dict[str, Callable[[Operation], Value]] = {
    **dict.fromkeys(_PAIRS, _pair),
    **dict.fromkeys(_POINTWISE, _pointwise),
    **dict.fromkeys(_ACTIVATIONS, _activation),
    **dict.fromkeys(_REDUCTIONS, _reduce),
    **dict.fromkeys(("expand_dims", "squeeze"), _reshaped),
    "flip": _flip,
    "getitem": _get_item,
    "concatenate": _concatenate,
    "reshape": _reshape,
    "transpose": _transpose,
    "cast": _cast,
    "identity": lambda op: op.value,
}

_SIMPLE = {name.capitalize() for name in _TABLE if "_" not in name}  # Relu6 and Log1p among them
layer(*(OPERATION + kind for kind in sorted(_SIMPLE | set(_CLASSES) - {"Getitem"})), either_axis=True)(_operation)
