"""Operators of ONNX that change shapes, and those that compute with shapes."""

from __future__ import annotations

from typing import Any

import torch

from rcproof.checkpoints.importing import Const, Made
from rcproof.checkpoints.onnx.graph import Dims, Model, Step, rule
from rcproof.checkpoints.onnx.operators import like
from rcproof.network.graph import Ref

#: Ends of slices that mean "to the end", and before the beginning.
_FAR = 2**31 - 1
#: A constant that the file describes has at most so many elements.
_LARGEST = 1 << 24


@rule("Constant")
def constant(m: Model, n: Step) -> Any:
    for name in ("value", "value_float", "value_floats", "value_int", "value_ints"):
        found = n.attribute(name, None)
        if found is not None:
            if isinstance(found, Const):
                return found
            dtype = torch.float32 if "float" in name else torch.int64
            return Const(torch.tensor(found, dtype=dtype))
    raise n.refuse("no numbers")


@rule("Shape")
def shape(m: Model, n: Step) -> Any:
    x = m.data(n(0))
    start, end = n.attribute("start", 0), n.attribute("end", None)
    if isinstance(x, Const):
        return Dims(tuple(x.tensor.shape)[start:end])
    sizes = m.sizes.get(x.name)
    rank = m.rank(x)
    items: list[Any] = []
    for i in range(rank):
        fixed = sizes[i] if sizes is not None and i else None  # the batch is never taken as fixed
        items.append(fixed if isinstance(fixed, int) else m.put(m.call("Tensor.size", x, i), (), Made("size", x, i)))
    return Dims(tuple(items[start:end]))


@rule("Size")
def size(m: Model, n: Step) -> Any:
    return Dims((m.put(m.call("Tensor.numel", n(0)), ()),), True)


@rule("Reshape")
def reshape(m: Model, n: Step) -> Any:
    """0 keeps a size, -1 is what is left."""
    x, target = n(0), m.dims(n(1))
    zero = bool(n.attribute("allowzero", 0))
    if isinstance(x, Dims):
        return Dims(x.items, not target.items)
    y = _unrolled(m, x, target)
    if y is not None:
        return y
    held = like(m, x)
    items: list[Any] = list(target.items)
    sizes: list[int | str | None] = []
    for i, item in enumerate(items):
        if item == 0 and not zero:
            if i >= m.rank(x):
                raise n.refuse("a shape that keeps an axis that is not there")
            known = held[i] if held is not None else None
            items[i] = known if isinstance(known, int) and i else m.size(x, i)
            sizes.append(known)
        elif isinstance(item, Ref):
            sizes.append(_symbol(m, item))
        else:
            sizes.append(item if item >= 0 else None)
    if sizes.count(None) == 1 and -1 in target.items and held is not None and None not in held:
        missing = sizes.index(None)
        left, right = [s for s in held if isinstance(s, str)], [s for s in sizes if isinstance(s, str)]
        if sorted(left) == sorted(right):  # the same unknown sizes on both sides
            up, down = 1, 1
            for s in held:
                up *= s if isinstance(s, int) else 1
            for s in sizes:
                down *= s if isinstance(s, int) else 1
            sizes[missing] = up // down if down else None
    if isinstance(x, Const):
        return m.call("Tensor.reshape", x, tuple(items))
    return m.reshape(x, items, tuple(sizes))


def _symbol(m: Model, item: Ref) -> str | int | None:
    """The size that a number of the graph is, as the shapes in the file call it."""
    made = m.how(item, "size")
    sizes = None if made is None else m.sizes.get(made.base.name)
    return None if made is None or sizes is None else sizes[made.data]


def _unrolled(m: Model, x: Any, target: Dims) -> Any:
    """What a recurrent layer gives, its directions joined: torch's own form of it."""
    made = m.how(x, "recurrent")
    if made is None or len(target.items) != 3 or made.data[2:] != "DH":
        return None
    return m.permute(made.base, ["NL".index(a) for a in made.data[:2]] + [2])


@rule("Flatten")
def flatten(m: Model, n: Step) -> Any:
    """To two axes."""
    x = n(0)
    axis = n.attribute("axis", 1)
    rank = m.rank(x)
    axis = axis + rank if axis < 0 else axis
    sizes = like(m, x) or (None,) * rank
    if axis == 1:
        if rank == 2:
            return x
        held = sizes[1:]
        total: int | None = 1
        for s in held:
            total = total * s if isinstance(s, int) and total is not None else None
        return m.put(m.call("torch.flatten", x, 1), (sizes[0], total), Made("reshape", x))
    if axis == 0:
        return m.put(m.call("Tensor.reshape", x, (1, -1)), (1, None))
    if not 0 < axis < rank:
        raise n.refuse(f"axis {axis}", f"less than {rank}")
    y = m.call("torch.flatten", x, 0, axis - 1)
    return m.put(m.call("torch.flatten", y, 1) if axis < rank - 1 else y, (None, None), Made("reshape", x))


@rule("Transpose")
def transpose(m: Model, n: Step) -> Any:
    x = n(0)
    rank = m.rank(x)
    order = n.attribute("perm", list(range(rank))[::-1])
    made = m.how(x, "recurrent")
    if made is not None and sorted(order) == [0, 1, 2, 3]:
        y = m.permute(x, order)
        return m.put(y, None, Made("recurrent", made.base, "".join(made.data[i] for i in order)))
    return m.permute(x, order)


@rule("Unsqueeze")
def unsqueeze(m: Model, n: Step) -> Any:
    x, axes = n(0), m.ints(n(1))
    if isinstance(x, Dims):
        return Dims(x.items, False)
    x = m.data(x)
    if not isinstance(x, Ref | Const):
        return Const(torch.tensor([x]))
    rank = m.rank(x) + len(axes)
    for axis in sorted(m.axis(a, rank) for a in axes):
        x = m.unsqueeze(x, axis)
    return x


@rule("Squeeze")
def squeeze(m: Model, n: Step) -> Any:
    x = n(0)
    axes = None if n(1, None) is None else m.ints(n(1))
    if isinstance(x, Dims):
        return Dims(x.items, len(x.items) == 1)
    made = m.how(x, "recurrent")
    if axes is None:
        sizes = m.known(x)
        if sizes is None or any(isinstance(s, str) for s in sizes):
            raise n.refuse("no axes to drop")
        axes = [i for i, s in enumerate(sizes) if s == 1]
    if made is not None and len(axes) == 1 and made.data[axes[0]] == "D":
        left = made.data.replace("D", "")
        return m.permute(made.base, ["NLH".index(a) for a in left])
    return m.squeeze(x, axes)


@rule("Concat")
def concat(m: Model, n: Step) -> Any:
    values = [n(i) for i in range(len(n.inputs))]
    axis = n.attribute("axis")
    if any(isinstance(v, Dims) for v in values):
        return Dims(tuple(i for v in values for i in m.dims(v).items))
    dim = m.axis(axis, m.rank(values[0]))
    shapes = [like(m, v) for v in values]
    sizes = None
    if all(s is not None for s in shapes):
        along = [s[dim] for s in shapes if s is not None]
        first = shapes[0] or ()
        total = sum(s for s in along if isinstance(s, int)) if all(isinstance(s, int) for s in along) else None
        sizes = (*first[:dim], total, *first[dim + 1 :])
    return m.put(m.call("torch.cat", values, dim), sizes)


@rule("Split")
def split(m: Model, n: Step) -> Any:
    x, dim = n(0), m.axis(n.attribute("axis", 0), m.rank(n(0)))
    count = n.attribute("num_outputs", n.outputs)
    given = n(1, None)
    parts = None if given is None else m.ints(given)
    if count > 10_000 or (parts is not None and len(parts) != n.outputs):
        raise n.refuse(f"{count} parts", f"{n.outputs}, one an output")
    y = m.call("torch.chunk", x, count, dim) if parts is None else m.call("torch.split", x, parts, dim)
    held = m.changed(x, dim) if isinstance(x, Ref) else None
    results = []
    for i in range(n.outputs):
        item = y[i] if isinstance(y, tuple) else m.call("operator.getitem", y, i)
        sizes = held and tuple(parts[i] if parts is not None and d == dim else s for d, s in enumerate(held))
        results.append(m.put(item, sizes or None))
    return tuple(results)


@rule("Slice")
def crop(m: Model, n: Step) -> Any:
    """Windows; a step of -1 over a whole axis is a flip."""
    x = n(0)
    starts, ends = m.dims(n(1)).items, m.dims(n(2)).items
    if isinstance(x, Dims):
        steps = m.ints(n(4)) if n(4, None) is not None else [1]
        (start,), (end,) = m.ints(n(1)), m.ints(n(2))
        return Dims(x.items[start : end : steps[0]])
    rank = m.rank(x)
    axes = m.ints(n(3)) if n(3, None) is not None else list(range(len(starts)))
    steps = m.ints(n(4)) if n(4, None) is not None else [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise n.refuse("windows of different numbers")
    flipped = []
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        dim = m.axis(axis, rank)
        if step == 0:
            raise n.refuse("a step of 0")
        if step > 0:
            x = m.slice(x, dim, start, end, step)
            continue
        sizes = like(m, x)
        length = sizes[dim] if sizes is not None else None
        whole = isinstance(start, int) and (start == -1 or start >= _FAR or (length is not None and start == length - 1
                                            if isinstance(length, int) else False))  # fmt: skip
        far = isinstance(end, int) and (end <= -_FAR or (isinstance(length, int) and end < -length))
        if not (whole and far):
            raise n.refuse("a part of an axis in reverse", "all of it")
        flipped.append(dim)
        if step < -1:
            x = m.put(m.call("torch.flip", x, flipped), like(m, x))
            flipped, x = [], m.slice(x, dim, 0, _FAR, -step)
    return m.put(m.call("torch.flip", x, sorted(flipped)), like(m, x)) if flipped else x


@rule("Expand")
def expand(m: Model, n: Step) -> Any:
    """Two-way broadcasting, as ONNX has it: a size of 1 in the target changes nothing."""
    x, target = m.data(n(0)), m.dims(n(1)).items
    rank = m.rank(x)
    held = like(m, x)
    if len(target) < rank:
        target = (*(1,) * (rank - len(target)), *target)
    new = len(target) - rank
    kept = [-1 if i >= new and t == 1 else t for i, t in enumerate(target)]
    sizes = []
    for i, t in enumerate(kept):
        before = held[i - new] if held is not None and i >= new else None
        sizes.append(before if t == -1 else _symbol(m, t) if isinstance(t, Ref) else t)
    return m.expand(x, kept, tuple(sizes))


@rule("Tile")
def tile(m: Model, n: Step) -> Any:
    x, repeats = m.data(n(0)), m.dims(n(1)).items
    held = like(m, x) or (None,) * m.rank(x)
    sizes = tuple(s if r == 1 else None for s, r in zip(held, repeats, strict=True))
    return m.put(m.call("Tensor.repeat", m.ref(x), *repeats), sizes)


@rule("Gather")
def gather(m: Model, n: Step) -> Any:
    """One position of an axis, a list of them, a row of a table for each code; an entry of a shape."""
    from torch import nn

    x, index, axis = n(0), n(1), n.attribute("axis", 0)
    if isinstance(x, Dims):
        at = m.dims(index)
        return Dims(tuple(x.items[i] for i in m.ints(at)), at.scalar)
    x, index = m.data(x), m.data(index)
    dim = m.axis(axis, m.rank(x))
    held = like(m, x) or (None,) * m.rank(x)
    if isinstance(index, int):
        return m.put(m.call("torch.select", x, dim, index), (*held[:dim], *held[dim + 1 :]))
    if isinstance(index, Const):
        if index.tensor.dim() == 0:
            return m.put(m.call("torch.select", x, dim, int(index.tensor)), (*held[:dim], *held[dim + 1 :]))
        if index.tensor.dim() == 1:
            length = held[dim]
            places = index.tensor.to(torch.int64)
            if bool((places < 0).any()):
                if not isinstance(length, int):
                    raise n.refuse("positions from the end of an axis of unknown length")
                places = torch.where(places < 0, places + length, places)
            y = m.call("torch.index_select", x, dim, Const(places))
            return m.put(y, (*held[:dim], len(places), *held[dim + 1 :]))
        raise n.refuse(f"positions of rank {index.tensor.dim()}", "rank 0 or 1")
    if isinstance(x, Const) and dim == 0 and x.tensor.dim() == 2:
        rows, width = x.tensor.shape
        options = {"num_embeddings": rows, "embedding_dim": width}
        y = m.layer(nn.Embedding, options, {"weight": x}, index, hint=n.path or "embedding")
        codes = like(m, index)
        return m.put(y, None if codes is None else (*codes, width))
    if isinstance(index, Ref) and m.rank(index) == 1:
        return m.put(m.call("torch.index_select", x, dim, index), (*held[:dim], None, *held[dim + 1 :]))
    raise n.refuse("positions that are worked out from the input", "fixed ones")


@rule("Pad")
def pad(m: Model, n: Step) -> Any:
    """Pads at the beginnings of all axes, then at their ends."""
    x = n(0)
    pads = m.ints(n(1))
    value = m.operand(n(2, None), x)
    axes = None if n(3, None) is None else m.ints(n(3))
    rank = m.rank(x)
    dims = list(range(rank)) if axes is None else [m.axis(a, rank) for a in axes]
    if len(pads) != 2 * len(dims):
        raise n.refuse(f"{len(pads)} pads", f"{2 * len(dims)}")
    both = {d: (pads[i], pads[i + len(dims)]) for i, d in enumerate(dims)}
    used = [d for d in both if both[d] != (0, 0)]
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}.get(
        n.attribute("mode", "constant")
    )
    if mode is None:
        raise n.refuse("a mode of padding", "constant, reflect, edge or wrap")
    if not used:
        return x
    # torch lists them from the last axis on; reflecting and its kin take the spatial axes of a batch of sequences.
    first = min(used) if mode == "constant" else max(2, min(used))
    widths = [w for d in range(rank - 1, first - 1, -1) for w in both.get(d, (0, 0))]
    if mode != "constant" and min(used) < first:
        raise n.refuse("a reflected batch or channels", "a reflected length")
    options: dict[str, Any] = {"value": value} if mode == "constant" and value is not None and value != 0 else {}
    options |= {} if mode == "constant" else {"mode": mode}
    held = like(m, x) or (None,) * rank
    sizes = tuple(s + sum(both.get(d, (0, 0))) if isinstance(s, int) else (s if d not in used else None)
                  for d, s in enumerate(held))  # fmt: skip
    return m.put(m.call("F.pad", x, widths, **options), sizes)


@rule("ConstantOfShape")
def constant_of_shape(m: Model, n: Step) -> Any:
    sizes, value = m.dims(n(0)).items, n.attribute("value", Const(torch.zeros(1)))
    number, dtype = value.tensor.reshape(-1)[0].item(), value.tensor.dtype
    if not value.tensor.is_floating_point() and all(isinstance(s, int) for s in sizes):
        total = 1
        for s in sizes:
            total *= s
        if total <= _LARGEST:
            return Const(torch.full([s for s in sizes if isinstance(s, int)], number, dtype=dtype))
    if m.first is None:
        raise n.refuse("no input")
    shape = tuple(m.examples(s) if i == 0 else s for i, s in enumerate(sizes))
    made = m.call("Tensor.new_full", m.first, shape, number, dtype=dtype)
    return m.put(made, tuple(s if isinstance(s, int) else _symbol(m, s) for s in sizes), Made("filled", None, number))


@rule("Range")
def arange(m: Model, n: Step) -> Any:
    if m.first is None:
        raise n.refuse("no input")
    start, limit, delta = (m.operand(n(i)) for i in range(3))
    if all(isinstance(v, int | float) for v in (start, limit, delta)):
        if delta == 0 or abs((limit - start) / delta) > _LARGEST:
            raise n.refuse(f"{start} to {limit} by {delta}")
        return Const(torch.arange(start, limit, delta))
    return m.put(m.call("torch.arange", start, limit, delta, device=m.attribute("device", m.first)), (None,))


@rule("Trilu")
def triangle(m: Model, n: Step) -> Any:
    """Of constants only, as masks are."""
    x, offset, upper = n(0), n(1, None), n.attribute("upper", 1)
    if not isinstance(x, Const):
        raise n.refuse("a tensor of the input", "a constant")
    k = 0 if offset is None else m.ints(offset)[0]
    return Const(torch.triu(x.tensor, k) if upper else torch.tril(x.tensor, k))
