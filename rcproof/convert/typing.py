"""Typing: what kind of value every step gives, and that no step mixes the examples of a batch.

Theorem T2 lifts any map of one example to strand pairs. A graph over batches is such a map iff no
step mixes examples, so this module follows the batch axis through every registered function and
refuses what it cannot follow. (A numerical probe confirms the answer; see ``convert.api``.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rcproof.convert.trace import EXAMPLE_BATCH
from rcproof.network.ops import Op
from rcproof.strand import Representation


class Mixing(Exception):
    """Why a step cannot be typed; the caller adds the node and its place."""


@dataclass(frozen=True)
class Info:
    """The type of a value.

    kind: ``closed`` (one thing seen from both strands, under ``rep``), ``stacked`` (a strand pair), or ``free``
    (the same for both strands). ``axis``: where the examples are. ``shape``: on the example batch, for tensors.
    ``items``: types of a tuple's members (a dict's, under ``keys``). ``varies``: a size that counts examples.
    """

    kind: str
    axis: int | None = None
    shape: tuple[int, ...] | None = None
    rep: Representation | None = None
    items: tuple[Info, ...] | None = None
    varies: bool = False
    keys: tuple[Any, ...] = ()

    @property
    def carries(self) -> bool:
        """Whether it depends on the input."""
        return self.kind != "free" or self.varies or any(i.carries for i in self.items or ())


FREE = Info("free")


def result_info(value: Any, axis: int | None, kind: str = "stacked", rep: Representation | None = None) -> Info:
    """The type of a value that a step returned, with its examples along ``axis``; checked on the example."""
    if isinstance(value, Tensor):
        shape = tuple(value.shape)
        if axis is None or axis >= len(shape) or shape[axis] != EXAMPLE_BATCH:
            raise Mixing(f"from {EXAMPLE_BATCH} examples it makes a tensor of shape {shape}: it mixes examples")
        return Info(kind, axis, shape, rep)
    if isinstance(value, tuple | list):
        return Info("stacked", items=tuple(result_info(v, axis) for v in value))
    if isinstance(value, dict):
        return Info("stacked", items=tuple(result_info(v, axis) for v in value.values()), keys=tuple(value))
    return FREE


def tensors_in(infos: Sequence[Any]) -> list[Info]:
    """Types of the tensor arguments that carry the input, looking into lists."""
    found: list[Info] = []
    for info in infos:
        if isinstance(info, Info):
            if info.items is not None:
                found += tensors_in(info.items)
            elif info.kind != "free":
                found.append(info)
        elif isinstance(info, list | tuple):
            found += tensors_in(info)
    return found


def argument(args: Sequence[Any], kwargs: dict[str, Any], position: int, *names: str, default: Any = ...) -> Any:
    """An argument by position or by any of its names."""
    for name in names:
        if name in kwargs:
            return kwargs[name]
    if position < len(args):
        return args[position]
    if default is ...:
        raise Mixing(f"argument {names[0]!r} is missing")
    return default


def axes(dim: Any, rank: int) -> list[int]:
    """Axis numbers, counted from the front."""
    dims = dim if isinstance(dim, tuple | list) else [dim]
    return [d + rank if d < 0 else d for d in dims]


def type_call(op: Op, args: Sequence[Any], kwargs: dict[str, Any], infos: Sequence[Any], value: Any) -> Info:
    """The type of a call: ``args`` as they were on the example, ``infos`` their types, ``value`` what came out."""
    if op.family == "cast":  # the other arguments give a dtype and a device
        infos = infos[:1]
    carrying = tensors_in(infos)
    varies = any(isinstance(i, Info) and i.varies for i in _deep(infos))
    if not carrying and not isinstance(value, Tensor):
        return Info("free", varies=True) if varies else FREE
    if varies and op.family not in ("factory", "reshape"):
        raise Mixing("its result depends on how many examples there are")
    if not carrying or op.family == "factory":
        if not varies:
            return FREE
        where = [d for d, size in enumerate(value.shape) if size == EXAMPLE_BATCH]
        return result_info(value, where[0] if where else None)  # a constant shaped like the batch
    first = carrying[0]
    assert first.shape is not None and first.axis is not None
    typer = _TYPERS.get(op.family)
    if typer is None:
        raise Mixing(f"{op.name} is not known to treat examples one by one")
    try:
        return typer(op, args, kwargs, carrying, value)
    except (IndexError, TypeError, ValueError):
        raise Mixing(f"{op.name} with these arguments is not understood") from None


def _deep(infos: Any) -> list[Any]:
    found: list[Any] = []
    for info in infos:
        found += _deep(info) if isinstance(info, list | tuple) else [info]
    return found


def _pointwise(op: Op, args: Any, kwargs: Any, carrying: list[Info], value: Any) -> Info:
    # Broadcasting aligns axes from the back: the examples of every argument must land on one axis.
    rank = value.dim() if isinstance(value, Tensor) else len(carrying[0].shape or ())
    found = {rank - len(i.shape or ()) + (i.axis or 0) for i in carrying}
    if len(found) > 1:
        raise Mixing("it broadcasts the examples of one argument against another axis of the other")
    tensors = [a for a in _deep([*args, *kwargs.values()]) if isinstance(a, Tensor)]
    if len(carrying) == 1 and carrying[0].kind == "closed" and len(tensors) <= 1:
        rep = carrying[0].rep
        if rep is not None and rep.signs is None and not rep.tokens:
            return result_info(value, found.pop(), "closed", rep)
    return result_info(value, found.pop())


def _along(op: Op, args: Any, kwargs: Any, carrying: list[Info], value: Any) -> Info:
    dim = argument(args, kwargs, op.dim, "dim", "dims", default=op.default)
    if op.name == "Tensor.flip" and isinstance(dim, int):
        dim = args[1:]
    x = carrying[0]
    if dim is None or dim is ...:
        raise Mixing(f"{op.name} without dim works over all axes, the examples among them")
    used = axes(dim, len(x.shape or ()))
    if x.axis in used:
        raise Mixing(f"it works along axis {x.axis}, the axis of the examples")
    axis = x.axis or 0
    dropped = op.name.rpartition(".")[2] in ("select", "unbind")
    if dropped:
        axis -= sum(d < axis for d in used)
    return result_info(value, axis)


def _reduce(op: Op, args: Any, kwargs: Any, carrying: list[Info], value: Any) -> Info:
    second = argument(args, kwargs, 1, "other", default=None)
    if isinstance(second, Tensor):  # max(x, y) and its kin
        return _pointwise(op, args, kwargs, carrying, value)
    x = carrying[0]
    dim = argument(args, kwargs, op.dim, "dim", "axis", default=op.default)
    if dim is None or isinstance(dim, bool):
        raise Mixing(f"{op.name} without dim works over all axes, the examples among them")
    used = axes(dim, len(x.shape or ()))
    if x.axis in used:
        raise Mixing(f"it works along axis {x.axis}, the axis of the examples")
    results = value if isinstance(value, tuple) else (value,)
    keeps = isinstance(results[0], Tensor) and results[0].dim() == len(x.shape or ())
    axis = (x.axis or 0) - (0 if keeps else sum(d < (x.axis or 0) for d in used))
    return result_info(value, axis)


def _join(op: Op, args: Any, kwargs: Any, carrying: list[Info], value: Any) -> Info:
    dim = argument(args, kwargs, 1, "dim", "axis", default=0)
    inserts = op.name.endswith("stack")
    rank = len(carrying[0].shape or ()) + inserts
    (used,) = axes(dim, rank)
    axis = carrying[0].axis or 0
    if any(i.axis != axis for i in carrying):
        raise Mixing("the examples are on different axes of the tensors it joins")
    if inserts:
        return result_info(value, axis + (used <= axis))
    if used == axis:
        raise Mixing(f"it joins along axis {axis}, the axis of the examples")
    return result_info(value, axis)


def _permute(op: Op, args: Any, kwargs: Any, carrying: list[Info], value: Any) -> Info:
    x = carrying[0]
    rank, name = len(x.shape or ()), op.name.rpartition(".")[2]
    order = list(range(rank))
    if name in ("t", "mT"):
        order[-1], order[-2] = order[-2], order[-1]
    elif name == "permute":
        dims = argument(args, kwargs, 1, "dims")
        order = axes(dims if isinstance(dims, tuple | list) else list(args[1:]), rank)
    else:
        a = argument(args, kwargs, 1, "dim0", "axis0", "source")
        b = argument(args, kwargs, 2, "dim1", "axis1", "destination")
        first, second = axes(a, rank), axes(b, rank)
        if name.startswith("move"):
            rest = iter(axis for axis in order if axis not in first)
            order = [first[second.index(place)] if place in second else next(rest) for place in range(rank)]
        else:
            (i,), (j,) = first, second
            order[i], order[j] = order[j], order[i]
    return result_info(value, order.index(x.axis or 0))


def _insert(op: Op, args: Any, kwargs: Any, carrying: list[Info], value: Any) -> Info:
    x = carrying[0]
    (used,) = axes(argument(args, kwargs, 1, "dim"), len(x.shape or ()) + 1)
    axis = x.axis or 0
    return result_info(value, axis + (used <= axis))


def _squeeze(op: Op, args: Any, kwargs: Any, carrying: list[Info], value: Any) -> Info:
    x = carrying[0]
    dim = argument(args, kwargs, 1, "dim", default=None)
    if dim is None:
        raise Mixing("squeeze() without dim also drops the axis of a single example; give it a dim")
    used = axes(dim, len(x.shape or ()))
    axis = x.axis or 0
    if axis in used:
        raise Mixing(f"it squeezes axis {axis}, the axis of the examples")
    return result_info(value, axis - sum(d < axis for d in used if (x.shape or ())[d] == 1))


def _reshape(op: Op, args: Any, kwargs: Any, carrying: list[Info], value: Any) -> Info:
    x = carrying[0]
    if x.axis != 0:
        raise Mixing(f"it reshapes a tensor whose examples are on axis {x.axis}")
    name = op.name.rpartition(".")[2]
    if name in ("expand", "expand_as", "repeat", "tile"):
        if isinstance(value, Tensor) and value.dim() != len(x.shape or ()):
            raise Mixing(f"{name} adds axes in front of the examples")
    elif isinstance(value, Tensor) and (value.dim() == 0 or value.shape[0] != EXAMPLE_BATCH):
        raise Mixing(
            f"it reshapes {EXAMPLE_BATCH} examples to shape {tuple(value.shape)}: the batch does not stay in front"
        )
    return result_info(value, 0)


def _index(op: Op, args: Any, kwargs: Any, carrying: list[Info], value: Any) -> Info:
    x = carrying[0]
    index = args[1] if isinstance(args[1], tuple) else (args[1],)
    rank = len(x.shape or ())
    if any(isinstance(i, Tensor | list) for i in index):
        raise Mixing("it indexes with a tensor; use index_select along one axis")
    spots = sum(i is not None and i is not Ellipsis for i in index)
    source = target = 0
    axis: int | None = None
    for item in index:
        if item is None:
            target += 1
        elif item is Ellipsis:
            for _ in range(rank - spots):
                axis = target if source == x.axis else axis
                source, target = source + 1, target + 1
        elif isinstance(item, slice):
            if source == x.axis:
                if item != slice(None):
                    raise Mixing("it takes a slice of the examples")
                axis = target
            source, target = source + 1, target + 1
        else:
            if source == x.axis:
                raise Mixing("it picks out one example")
            source += 1
    if axis is None:
        axis = target + (x.axis or 0) - source
    return result_info(value, axis)


def _matmul(op: Op, args: Any, kwargs: Any, carrying: list[Info], value: Any) -> Info:
    name = op.name.rpartition(".")[2]
    pair = argument(args, kwargs, 0, "input"), argument(args, kwargs, 1, "other", "mat2", "weight")
    operands = [a for a in pair if isinstance(a, Tensor)]
    x = carrying[0]
    rank = len(x.shape or ())
    if name == "linear":
        if len(carrying) > 1 or x.axis == rank - 1:
            raise Mixing("the weight of linear depends on the input, or maps across examples")
        return result_info(value, x.axis)
    if len(carrying) == 1:
        left = isinstance(pair[0], Tensor) and tuple(pair[0].shape) == x.shape
        # On the left, all but the last axis pass through; on the right, batches of matrices only.
        through = x.axis != rank - 1 if left else (x.axis or 0) < rank - 2
        if not through:
            raise Mixing("a matrix product that sums over the examples")
        # Axes are aligned from the back, unless the other operand is a vector, which drops one there.
        return result_info(value, max(value.dim() - rank, 0) + (x.axis or 0))
    if any(len(i.shape or ()) < 3 for i in carrying) or len(operands) != 2:
        raise Mixing("a matrix product of two tensors that depend on the input needs batches of matrices")
    places = {value.dim() - len(i.shape or ()) + (i.axis or 0) for i in carrying}
    if len(places) > 1 or next(iter(places)) >= value.dim() - 2:
        raise Mixing("a matrix product that sums over the examples")
    return result_info(value, places.pop())


def _einsum(op: Op, args: Any, kwargs: Any, carrying: list[Info], value: Any) -> Info:
    equation = args[0].replace(" ", "")
    if "->" not in equation or "." in equation:
        raise Mixing("einsum needs an explicit '->' and no '...'")
    terms, _, output = equation.partition("->")
    operands = args[1] if isinstance(args[1], tuple | list) else args[1:]
    letters: set[str] = set()
    free: set[str] = set()
    rest = list(carrying)
    for term, operand in zip(terms.split(","), operands, strict=True):
        if rest and isinstance(operand, Tensor) and tuple(operand.shape) == rest[0].shape:
            info = rest.pop(0)
            letters.add(term[info.axis or 0])
        else:
            free |= set(term)
    if len(letters) != 1 or letters & free or not letters <= set(output):
        raise Mixing("einsum sums over the examples, or pairs them with another axis")
    return result_info(value, output.index(letters.pop()))


def _window(op: Op, args: Any, kwargs: Any, carrying: list[Info], value: Any) -> Info:
    x = carrying[0]
    name = op.name.rpartition(".")[2]
    if len(carrying) > 1:
        raise Mixing(f"the weights of {name} depend on the input")
    if x.axis != 0:
        raise Mixing(f"{name} needs the examples on axis 0; they are on axis {x.axis}")
    if name == "pad" and len(argument(args, kwargs, 1, "pad")) >= 2 * len(x.shape or ()):
        raise Mixing("it pads the axis of the examples")
    if name == "batch_norm" and argument(args, kwargs, 5, "training", default=False):
        raise Mixing("batch_norm in training mode mixes examples")
    if name == "layer_norm" and len(argument(args, kwargs, 1, "normalized_shape")) >= len(x.shape or ()):
        raise Mixing("layer_norm over all axes mixes examples")
    return result_info(value, 0)


def _attention(op: Op, args: Any, kwargs: Any, carrying: list[Info], value: Any) -> Info:
    if any(i.axis != 0 or len(i.shape or ()) < 3 for i in carrying):
        raise Mixing("attention needs the examples on axis 0 of tensors of rank 3 or more")
    return result_info(value, 0)


def _lookup(op: Op, args: Any, kwargs: Any, carrying: list[Info], value: Any) -> Info:
    if op.name.endswith("one_hot") and argument(args, kwargs, 1, "num_classes", default=-1) < 0:
        raise Mixing("one_hot without num_classes counts the classes over all examples")
    return result_info(value, carrying[0].axis)


def _identity(op: Op, args: Any, kwargs: Any, carrying: list[Info], value: Any) -> Info:
    x = carrying[0]
    return result_info(value, x.axis, x.kind, x.rep)


def _cast(op: Op, args: Any, kwargs: Any, carrying: list[Info], value: Any) -> Info:
    """What is closed stays so if the new dtype can hold what ρ does: change signs, or complement codes."""
    x = carrying[0]
    signs, tokens = x.rep is not None and x.rep.signs is not None, x.rep is not None and x.rep.tokens
    if isinstance(value, Tensor) and ((signs and value.dtype is torch.bool) or (tokens and not is_codes(value))):
        return result_info(value, x.axis)
    return result_info(value, x.axis, x.kind, x.rep)


def is_codes(value: Tensor) -> bool:
    """Whether a tensor holds integers."""
    return not value.is_floating_point() and not value.is_complex() and value.dtype is not torch.bool


_TYPERS = {
    "pointwise": _pointwise,
    "reduce": _reduce,
    "along": _along,
    "join": _join,
    "permute": _permute,
    "insert": _insert,
    "squeeze": _squeeze,
    "reshape": _reshape,
    "index": _index,
    "matmul": _matmul,
    "einsum": _einsum,
    "window": _window,
    "attention": _attention,
    "lookup": _lookup,
    "identity": _identity,
    "cast": _cast,
}


def stacked_form(op: Op, args: Sequence[Any], kwargs: dict[str, Any], carrying: list[Info], value: Any) -> str:
    """The stacked form of a call on strand pairs, or "" where it must run in the batch.

    Valid means: on stacked tensors the form computes stack(g(a), g(b)). Pointwise functions (T2), reductions
    along length, channel concatenation (own order mirrored), flatten, and crops have one.
    """
    if not isinstance(value, Tensor) or any(i.axis != 0 for i in carrying):
        return ""
    ranks = {len(i.shape or ()) for i in carrying}
    if len(ranks) != 1 or not ranks <= {2, 3}:
        return ""
    rank, name = ranks.pop(), op.name.rpartition(".")[2]
    if op.family in ("identity", "cast"):
        return "same"
    if op.family == "pointwise":
        # A free tensor would broadcast over mirrored positions and channels: only numbers are safe.
        free_tensors = sum(isinstance(a, Tensor) for a in _deep([*args, *kwargs.values()])) - len(carrying)
        channels = {(i.shape or ())[1] for i in carrying}
        return "same" if not free_tensors and len(channels) == 1 and value.dim() == rank else ""
    if op.family in ("reduce", "along") and rank == 3 and len(carrying) == 1 and name in _LENGTH_SYMMETRIC:
        dim = argument(args, kwargs, op.dim, "dim", "axis", default=op.default)
        return "same" if dim is not None and axes(dim, 3) == [2] else ""
    if (
        op.family == "join"
        and not name.endswith("stack")
        and axes(argument(args, kwargs, 1, "dim", "axis", default=0), rank) == [1]
    ):
        return "cat" if len(_deep([argument(args, kwargs, 0, "tensors")])) == len(carrying) else ""
    if (op.family in ("squeeze", "insert") and op.default is not ...) or name == "unsqueeze":
        dim = argument(args, kwargs, 1, "dim", default=None)
        if name == "unsqueeze":
            return "same" if rank == 2 and axes(dim, 3) == [2] else ""
        return "same" if rank == 3 and value.dim() == 2 and axes(dim, 3) == [2] else ""
    if op.family == "reshape" and rank == 3 and value.dim() == 2 and name in ("flatten", "view", "reshape"):
        return "flatten"
    if op.family == "index" and rank == 3 and value.dim() == 3:
        index = args[1]
        plain = isinstance(index, tuple) and len(index) == 3 and index[:2] == (slice(None), slice(None))
        if plain and isinstance(index[2], slice) and index[2].step in (None, 1):
            return "crop"
    return ""


# Those that a lemma covers on stacked tensors; any other runs in the batch, where it is its own lift.
_LENGTH_SYMMETRIC = {"sum", "mean", "amax", "softmax"}
