"""Which functions treat the examples of a batch one by one, by family: an empty text is consent."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from rcproof.checking.traces import Step, Traced
from rcproof.network.ops import OPS

#: A network that splits a tensor into more pieces than this is not believed; each takes memory and time.
_MOST_PIECES = 1 << 16
#: Numbers that are no tensor are sizes and factors.
_LARGEST = 1 << 62


def function_problem(step: Step) -> str:
    """Why a call that reads what depends on the input may not treat examples one by one."""
    op = OPS[step.node.target]
    function = _FAMILIES.get(op.family)
    if function is None:
        return f"nobody knows how {op.name} treats examples"
    problem = function(step)
    if problem or (op.family == "cast" and not step.x.carries):  # what gives the dtype depends on the input, no more
        return problem
    parts = [step.found] if step.found.items is None else step.found.items
    return "" if all(i.carries for i in parts) else "its result no longer has one row an example"


def purity_problem(step: Step) -> str:
    """Why a call is no function of the values it names, told before it runs."""
    op, name = OPS[step.node.target], step.name
    if "out" in step.named or _bound(step, "out", absent=None) is not None:
        return "it writes into a tensor (out=)"
    if _bound(step, "inplace"):
        return "it writes into its argument (inplace)"
    if name in ("dropout", "alpha_dropout", "feature_dropout") and _bound(step, "training", "train", absent=True):
        return "it draws random numbers"
    if name == "scaled_dot_product_attention" and step.argument(4, "dropout_p"):
        return "it draws random numbers"
    if name == "empty":
        return "it reads memory that nobody has written"
    if name == "embedding" and (step.argument(3, "max_norm") is not None or _bound(step, "max_norm")):
        return "it writes into its table (max_norm)"
    if name in ("batch_norm", "instance_norm") and _norm_writes(step, name):
        return "it writes into its running statistics"
    if name in ("unbind", "chunk", "split", "tensor_split") and _pieces(step) > _MOST_PIECES:
        return f"it makes more than {_MOST_PIECES} pieces"
    if op.family in ("pointwise", "scalar", "index") and not any(t.tensors for t in step.reads):
        return _reckoning_problem(step)
    return ""


def number_problem(step: Step) -> str:
    """Why what is no tensor may be no size or factor."""
    if step.node.op != "call" or OPS[step.node.target].family in ("pointwise", "scalar", "index", "identity"):
        return ""
    return "it gives no tensor"


def batch_constant(step: Step) -> str:
    """Why a tensor made of the number of examples alone may have other rows than equal ones."""
    family = OPS[step.node.target].family if step.node.op == "call" else ""
    if family == "factory":
        return _constant(step)
    if family == "reshape" and step.found.carries and step.x.shape is not None:
        return _repeated(step)
    return "it reads nothing that depends on the input, and yet has a row for every example"


def _bound(step: Step, *names: str, absent: Any = False) -> Any:
    """An argument by name, wherever it stands; ``absent`` where the function does not say where it stands."""
    for name in names:
        if name in step.named:
            return step.named[name]
    function = OPS[step.node.target].function
    try:
        bound = inspect.signature(function).bind(*step.values, **step.named)
    except (TypeError, ValueError):
        # A builtin of torch, which takes neither inplace nor max_norm; torch.dropout(x, p, train) has the flag last.
        return step.values[2] if "train" in names and len(step.values) > 2 else absent
    bound.apply_defaults()
    found = [bound.arguments[name] for name in names if name in bound.arguments]
    return found[0] if found else absent


def _norm_writes(step: Step, name: str) -> bool:
    """Both norms update the statistics that they are given where they take those of their input instead."""
    if name == "batch_norm":
        return bool(_bound(step, "training", absent=step.argument(5)))
    first = 3 if step.node.target.startswith("torch.") else 1  # torch's own puts weight and bias before them
    given = (step.argument(first, "running_mean"), step.argument(first + 1, "running_var"))
    own = _bound(step, "use_input_stats", absent=step.argument(5) if step.given(5) else True)
    return any(t is not None for t in given) and bool(own)


def _pieces(step: Step) -> int:
    """At most how many tensors a call makes."""
    longest = max(step.x.shape or (1,))
    given = step.argument(1, "chunks", "split_size_or_sections", "split_size", "indices_or_sections", "sections")
    if step.name == "unbind":
        return longest
    if isinstance(given, int):
        return given if step.name != "split" else -(-longest // max(given, 1))
    return len(given) + 1 if isinstance(given, tuple | list) else 0


def _reckoning_problem(step: Step) -> str:
    """Numbers stay numbers, of a size at which reckoning with them takes no time."""
    if step.name == "getitem":
        return ""
    values = [*step.values, *step.named.values()]
    tuples = all(isinstance(v, tuple) and len(v) < 100 for v in values)
    if step.node.target == "operator.add" and tuples:
        return ""
    flat = [i for v in values for i in (v if isinstance(v, tuple | list) else [v])]
    if not all(isinstance(v, int | float | bool) and (not math.isfinite(v) or abs(v) < _LARGEST) for v in flat):
        return "it reckons with what are no numbers"
    if any(isinstance(v, tuple | list) for v in values) and not step.node.target.startswith("builtins."):
        return "it reckons with what are no numbers"
    return "it takes a high power" if step.name == "pow" and any(abs(v) > 64 for v in flat) else ""


# -- families -------------------------------------------------------------------------------------------------


def _pointwise(step: Step) -> str:
    places = {step.found.rank - t.rank + (t.axis or 0) for t in step.carrying}
    return "" if places == {step.found.axis} else "it broadcasts the examples against another axis"


def _along(step: Step) -> str:
    op = OPS[step.node.target]
    if op.family == "reduce" and isinstance(step.argument(1, "other"), Tensor):
        return _pointwise(step)
    if len(step.carrying) != 1 or not step.x.carries or step.x.shape is None:
        return "more than its first argument depends on the input"
    if op.family == "reduce" and not all(isinstance(v, bool) for v in step.values[op.dim + 1 :]):
        return "its arguments are not understood"
    names = ("dim", "axis", "dims")
    dims = step.dims(op.dim, step.x.rank, *names)
    if not step.given(op.dim, *names) and op.default is not None and op.default is not ...:
        dims = [op.default % step.x.rank]
    if step.name == "flip" and "dims" not in step.named and isinstance(step.argument(1), int):
        many = step.values[1:]  # flip(1, 2)
        dims = [d % step.x.rank for d in many] if all(type(d) is int for d in many) else None
    if dims is None:
        return "it does not say along which axis it works"
    return "it works along the axis of the examples" if step.x.axis in dims else ""


def _join(step: Step) -> str:
    inserts = step.name == "stack"
    given = step.given(1, "dim", "axis")
    dims = step.dims(1, step.found.rank, "dim", "axis") if given else [0]
    if dims is None or len(dims) != 1:
        return "it does not say along which axis it joins"
    places = {(t.axis or 0) + (inserts and dims[0] <= (t.axis or 0)) for t in step.carrying}
    return "" if places == {step.found.axis} and dims[0] not in places else "it joins along the axis of the examples"


def _moves_axes(step: Step) -> str:
    return "" if step.carrying == [step.x] else "more than its first argument depends on the input"


def _squeeze(step: Step) -> str:
    dims = step.dims(1, step.x.rank, "dim")
    if dims is None or len(step.values) > 2:  # squeeze(1, 0) drops both
        return "without an axis it also drops that of a single example"
    return "it drops the axis of the examples" if step.x.axis in dims else _moves_axes(step)


def _reshape(step: Step) -> str:
    if not step.x.carries and step.found.carries and step.name == "expand_as":
        return _repeated(step)
    if step.carrying[:1] != [step.x] or step.x.axis != 0:
        return "the examples are not in front of what it reshapes"
    return "" if step.found.axis == 0 else "the examples do not stay in front"


def _repeated(step: Step) -> str:
    """One row for all examples, laid out once for each."""
    axis = (step.found.axis or 0) - (step.found.rank - step.x.rank)
    single = axis < 0 or (step.x.shape or ())[axis] == 1
    known = step.name in ("expand", "expand_as", "repeat", "tile")
    return "" if known and single else "it gives the examples rows of their own"


def _index(step: Step) -> str:
    if step.x.items is not None:
        return "" if not isinstance(step.trace(1, "index"), Traced) else "it picks by a number that is reckoned"
    index = step.argument(1, "index")
    items = list(index) if isinstance(index, tuple) else [index]
    if not step.x.carries or any(isinstance(i, Tensor | list | tuple | bool) for i in items):
        return "it indexes with a tensor or a list"
    spots = sum(i is not None and i is not Ellipsis for i in items)
    if any(i is Ellipsis for i in items):
        at = next(k for k, i in enumerate(items) if i is Ellipsis)
        items[at : at + 1] = [slice(None)] * (step.x.rank - spots)
    axes = [i for i in items if i is not None]
    own = axes[step.x.axis] if step.x.axis is not None and step.x.axis < len(axes) else slice(None)
    return "" if own == slice(None) else "it picks among the examples"


def _matmul(step: Step) -> str:
    left, right = step.trace(0, "input"), step.trace(1, "other", "mat2", "weight")
    if not isinstance(left, Traced) or not isinstance(right, Traced):
        return "its factors are not understood"
    across = "it sums over the examples"
    if step.name == "linear":
        fits = left.carries and not right.carries and left.axis != left.rank - 1 and len(step.carrying) == 1
        return "" if fits else across
    if len(step.carrying) != left.carries + right.carries:
        return "more than its factors depends on the input"
    if left.carries and right.carries:
        places = {step.found.rank - t.rank + (t.axis or 0) for t in (left, right)}
        fits = min(left.rank, right.rank) >= 3 and places == {step.found.axis}
        return "" if fits and (step.found.axis or 0) < step.found.rank - 2 else across
    if left.carries:
        return "" if left.axis != left.rank - 1 else across
    return "" if (right.axis or 0) < right.rank - 2 else across


def _einsum(step: Step) -> str:
    equation = step.values[0] if isinstance(step.values[0], str) else ""
    terms, arrow, output = equation.replace(" ", "").partition("->")
    given = step.args[1:]
    operands = list(given[0]) if len(given) == 1 and isinstance(given[0], tuple | list) else given
    named = terms.split(",")
    if not arrow or "." in equation or len(named) != len(operands) or step.named:
        return "its equation is not understood"
    pairs = [(term, t) for term, t in zip(named, operands, strict=True) if isinstance(t, Traced)]
    if len(pairs) != len(operands) or any(len(term) != t.rank for term, t in pairs):
        return "its equation is not understood"
    letters = {term[t.axis] for term, t in pairs if t.axis is not None}
    fixed = {c for term, t in pairs if t.axis is None for c in term}
    alone = len(letters) == 1 and not letters & fixed and output.count(next(iter(letters))) == 1
    twice = any(term.count(c) > 1 for term in named for c in letters)
    return "" if alone and not twice else "it sums over the examples, or pairs them with another axis"


def _window(step: Step) -> str:
    if step.carrying != [step.x] or step.x.axis != 0:
        return "the examples are not in front of its only variable argument"
    if step.name != "pad" and step.name not in ("layer_norm", "group_norm", "batch_norm") and step.x.rank != 3:
        return "it takes the examples for channels"
    pad = step.argument(1, "pad")
    if step.name == "pad" and not (isinstance(pad, tuple | list) and len(pad) < 2 * step.x.rank):
        return "it pads the axis of the examples"
    normalized = step.argument(1, "normalized_shape")
    if step.name == "layer_norm" and not (isinstance(normalized, tuple | list) and len(normalized) < step.x.rank):
        return "it normalises over the examples"
    return ""


def _attention(step: Step) -> str:
    return "" if all(t.axis == 0 and t.rank >= 3 for t in step.carrying) else "the examples are not in front"


def _lookup(step: Step) -> str:
    if step.name == "one_hot":
        classes = step.argument(1, "num_classes")
        if not isinstance(classes, int) or classes < 0:
            return "it counts the classes over all examples"
    fits = step.found.axis == step.x.axis and step.carrying == [step.x]
    return "" if fits else "it looks up in what depends on the input"


def _cast(step: Step) -> str:
    return _same_axis(step) if step.x.carries or step.found.carries else ""


def _same_axis(step: Step) -> str:
    return "" if step.found.axis == step.x.axis and step.x.carries else "the examples move"


def _constant(step: Step) -> str:
    """Zeros, ones, or one number everywhere, in a shape that may have a row for every example."""
    name = step.name.removeprefix("new_")
    if name not in ("zeros", "ones", "full"):
        return "its rows are numbered"
    fill = step.trace(2 if step.name == "new_full" else 1, "fill_value") if name == "full" else None
    if isinstance(fill, Traced) and (fill.depends_on_count or fill.carries):
        return "what it is filled with depends on the examples"
    return "" if step.found.carries else "it reads the examples and keeps none"


_FAMILIES: dict[str, Callable[[Step], str]] = {
    "factory": _constant,
    "pointwise": _pointwise, "reduce": _along, "along": _along, "join": _join, "permute": _moves_axes,
    "insert": _moves_axes, "squeeze": _squeeze, "reshape": _reshape, "index": _index, "matmul": _matmul,
    "einsum": _einsum, "window": _window, "attention": _attention, "lookup": _lookup, "identity": _same_axis,
    "cast": _cast,
}  # fmt: skip
