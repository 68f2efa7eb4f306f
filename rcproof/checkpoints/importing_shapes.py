"""Steps that both readers have: shapes, dense layers, windows; and the undoing of what exporters write around them.

Exporters take layers apart: a dense layer on sequences becomes reshape, product, reshape; a pooling along the length
becomes one of images of height 1 between two steps that add and drop the axis. Here a step that completes such a
pattern gives the layer again. What stood in between stays in the graph only where something else reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from rcproof.checkpoints.importing import Const, Importer, Made
from rcproof.errors import CheckpointError
from rcproof.network.graph import Ref
from rcproof.network.ops import OPS

Sizes = tuple[int | str | None, ...]
Axes = tuple[int | None, ...]


class Shaper(Importer):
    """An :class:`~rcproof.checkpoints.importing.Importer` that knows axes.

    Attributes:
        batch: how many examples the file was written for, where it fixes that; sizes that only repeat this number
            then follow the input instead.
        first: the first input, with one row an example.
    """

    def __init__(self) -> None:
        super().__init__()
        self.batch: int | None = None
        self.first: Ref | None = None
        self._views: dict[Any, Ref] = {}

    def known(self, value: Any) -> Sizes | None:
        """The shape of a value, if every size is a number or a symbol."""
        if isinstance(value, Const):
            return tuple(value.tensor.shape)
        found = self.sizes.get(value.name) if isinstance(value, Ref) else None
        return None if found is None or None in found else found

    def call(self, function: str, *args: Any, **kwargs: Any) -> Any:
        """Call a function. One of single elements changes place with a reordering of axes, which may then end."""
        inner = None
        if not kwargs and function in OPS and OPS[function].family == "pointwise":
            inner = self._before_axes(args)
        if inner is None:
            return super().call(function, *args, **kwargs)
        axes, moved = inner
        shapes = [self.sizes[b.name] for b in moved if isinstance(b, Ref)]
        y = self.add(*moved) if function == "torch.add" else super().call(function, *moved)
        same = tuple(n if len({s[i] for s in shapes}) == 1 else None for i, n in enumerate(shapes[0]))
        return self._seen(self.put(y, same), axes)

    def _before_axes(self, args: Sequence[Any]) -> tuple[Axes, list[Any]] | None:
        """The arguments as they were before their axes were reordered, all in the same way; None if they were not."""
        seen = [self.how(a, "axes") for a in args if isinstance(a, Ref)]
        if not seen or seen[0] is None or any(m is None or m.data != seen[0].data for m in seen):
            return None
        axes: Axes = seen[0].data
        moved: list[Any] = []
        for a in args:
            if isinstance(a, Const):
                shape = (1,) * (len(axes) - a.tensor.dim()) + tuple(a.tensor.shape)
                if len(shape) > len(axes) or any(n != 1 for n, d in zip(shape, axes, strict=True) if d is None):
                    return None
                back = [axes.index(d) for d in range(sum(d is not None for d in axes))]
                rest = [i for i, d in enumerate(axes) if d is None]
                moved.append(self.derived(a, f"before {axes}", partial(_moved, shape=shape, back=back, rest=rest)))
            elif isinstance(a, list | tuple):
                return None
            else:
                moved.append(self.made[a.name].base if isinstance(a, Ref) else a)
        return axes, moved

    def put(self, value: Any, sizes: Sizes | None, made: Made | None = None) -> Any:
        """``value`` with its shape, and how it was made."""
        if isinstance(value, Ref):
            if sizes is not None:
                self.sizes.setdefault(value.name, sizes)
            if made is not None:
                self.made[value.name] = made
        return value

    def how(self, value: Any, *kinds: str) -> Made | None:
        """How a value was made, if in one of these ways."""
        found = self.made.get(value.name) if isinstance(value, Ref) else None
        return found if found is not None and found.how in kinds else None

    def size(self, x: Any, dim: int) -> Any:
        """A size of a value."""
        if isinstance(x, Const):
            return x.tensor.shape[dim]
        return self.put(self.call("Tensor.size", x, dim), ())

    # -- axes --------------------------------------------------------------------------------------------
    def permute(self, x: Any, order: Sequence[int]) -> Any:
        """The axes of ``x`` in this order. Two in a row are one, and may be none."""
        rank = self.rank(x)
        order = tuple(self.axis(d, rank) for d in order)
        if sorted(order) != list(range(rank)):
            raise CheckpointError("an order of axes in the file", got=str(order), expected=f"all of 0 to {rank - 1}")
        if isinstance(x, Const):
            return (
                x
                if order == tuple(range(rank))
                else self.call("torch.permute", x, order)
                if rank != 2
                else self.transpose(x)
            )
        base, axes = self._axes(x)
        return self._seen(base, tuple(axes[d] for d in order))

    def unsqueeze(self, x: Any, dim: int) -> Any:
        """``x`` with an axis of size 1 at ``dim``."""
        dim = self.axis(dim, self.rank(x) + 1)
        if isinstance(x, Const):
            return self.call("torch.unsqueeze", x, dim)
        base, axes = self._axes(x)
        return self._seen(base, (*axes[:dim], None, *axes[dim:]))

    def squeeze(self, x: Any, dims: Sequence[int]) -> Any:
        """``x`` without these axes."""
        for dim in sorted((self.axis(d, self.rank(x)) for d in dims), reverse=True):
            base, axes = self._axes(x) if isinstance(x, Ref) else (x, (0,) * self.rank(x))
            if axes[dim] is None:
                x = self._seen(base, (*axes[:dim], *axes[dim + 1 :]))
                continue
            sizes = self.sizes.get(x.name) if isinstance(x, Ref) else None
            shrunk = None if sizes is None else (*sizes[:dim], *sizes[dim + 1 :])
            x = self.put(self.call("torch.squeeze", x, dim), shrunk)
        return x

    def axis(self, dim: Any, rank: int) -> int:
        """An axis counted from the front; an error if there is none such."""
        if not isinstance(dim, int) or not -rank <= dim < max(rank, 1):
            raise CheckpointError("an axis in the file", got=repr(dim)[:40], expected=f"{-rank} to {rank - 1}")
        return dim + rank if dim < 0 else dim

    def _axes(self, x: Ref) -> tuple[Ref, Axes]:
        """``x`` as another value whose axes are reordered, some of size 1 added (None)."""
        made = self.how(x, "axes")
        return (x, tuple(range(self.rank(x)))) if made is None else (made.base, made.data)

    def _seen(self, base: Ref, axes: Axes) -> Ref:
        """``base`` with its axes so: the one value of the graph that is this."""
        plain = tuple(range(self.rank(base)))
        order = tuple(a for a in axes if a is not None)
        key = base.name, axes
        if axes == plain:
            return base
        if key in self._views:
            return self._views[key]
        held = self.sizes.get(base.name)
        if len(order) == len(axes):
            swapped = [d for d in plain if order[d] != d]
            two = len(swapped) == 2
            made = self.call("torch.transpose", base, *swapped) if two else self.call("torch.permute", base, order)
        else:
            last = max(i for i, a in enumerate(axes) if a is None)
            made = self.call("torch.unsqueeze", self._seen(base, (*axes[:last], *axes[last + 1 :])), last)
        sizes = None if held is None else tuple(1 if a is None else held[a] for a in axes)
        self._views[key] = self.put(made, sizes, Made("axes", base, axes))
        return self._views[key]

    def added(self, x: Any) -> tuple[Any, int] | None:
        """The value to which one axis of size 1 was added to give ``x``, and where; None if that is not how it is."""
        made = self.how(x, "axes")
        if made is None or made.data.count(None) != 1:
            return None
        return self._seen(made.base, tuple(a for a in made.data if a is not None)), made.data.index(None)

    # -- shapes ------------------------------------------------------------------------------------------
    def reshape(self, x: Any, target: Sequence[Any], sizes: Sizes | None = None) -> Any:
        """``x`` in the shape ``target`` (numbers, -1, or sizes), which is ``sizes`` where that is known."""
        before = self.how(x, "reshape")
        if before is not None:
            x = before.base
        if isinstance(x, Const):
            return self.call("Tensor.reshape", x, tuple(target))
        held = self.sizes.get(x.name, ())
        if sizes is None and all(isinstance(t, int) and t >= 0 for t in target):
            sizes = tuple(target)
        ours: Sizes = sizes or (None,) * len(target)
        if sizes is not None and None not in sizes and held == sizes:
            return x
        if len(ours) == 2 < len(held) and ours[0] is not None and ours[0] == held[0]:
            return self.put(self.call("torch.flatten", x, 1), ours, Made("reshape", x))
        return self.put(self.call("Tensor.reshape", x, self._any_batch(target, ours)), ours, Made("reshape", x))

    def _any_batch(self, target: Sequence[Any], sizes: Sizes) -> tuple[Any, ...]:
        """``target`` without a first size that holds for one number of examples only."""
        found = list(target)
        if self.batch is None or len(found) < 2 or not isinstance(found[0], int) or found[0] < 1:
            return tuple(found)
        for i in range(1, len(found)):
            if isinstance(found[i], int) and found[i] < 0 and isinstance(sizes[i], int):
                found[i] = sizes[i]
        if all(not isinstance(t, int) or t > 0 for t in found[1:]):
            found[0] = -1
        else:
            found[0] = self.examples(found[0])
        return tuple(found)

    def examples(self, size: Any) -> Any:
        """The number of rows of the first input in place of a ``size`` that is the batch of the file."""
        if isinstance(size, int) and size == self.batch and self.first is not None:
            return self.size(self.first, 0)
        return size

    def expand(self, x: Any, target: Sequence[Any], sizes: Sizes | None = None) -> Any:
        """``x`` broadcast to the shape ``target``; -1 keeps a size."""
        held = self.known(x)
        if sizes is not None and held == sizes and None not in sizes:
            return x
        new = len(target) - self.rank(x)
        if new < 0:
            raise CheckpointError(
                "a shape to broadcast to", got=f"{len(target)} axes", expected=f"at least {-new} more"
            )
        kept = [
            -1 if i >= new and held is not None and sizes is not None and held[i - new] == sizes[i] else t
            for i, t in enumerate(target)
        ]
        if kept:
            kept[0] = self.examples(kept[0])
        ours: Sizes = sizes or (None,) * len(target)
        return self.put(self.call("Tensor.expand", self.ref(x), *kept), ours, Made("expand", x))

    def slice(self, x: Any, dim: int, start: Any, end: Any, step: Any) -> Any:
        """``x[start:end:step]`` along an axis; a step of -1 over all of it is a flip."""
        rank = self.rank(x)
        dim = self.axis(dim, rank)
        start = None if start == 0 else start
        end = None if isinstance(end, int) and end >= 2**31 - 1 else end
        step = None if step == 1 else step
        if start is None and end is None and step is None:
            return x
        window = (*(slice(None),) * dim, slice(start, end, step))
        # Written out for all axes: the converter knows a crop of a sequence by that.
        made = self.call("operator.getitem", x, (*window, *(slice(None),) * (rank - dim - 1)))
        return self.put(made, self.changed(x, dim))

    def changed(self, x: Any, *dims: int) -> Sizes | None:
        """The shape of ``x`` with the sizes along ``dims`` unknown."""
        sizes = (
            tuple(x.tensor.shape) if isinstance(x, Const) else self.sizes.get(x.name) if isinstance(x, Ref) else None
        )
        if sizes is None:
            return None
        return tuple(None if i in {self.axis(d, len(sizes)) for d in dims} else s for i, s in enumerate(sizes))

    # -- dense layers ------------------------------------------------------------------------------------
    def linear(self, x: Any, weight: Any, bias: Any, hint: str) -> Any:
        """``x @ weight.T + bias``: a layer, if the weights are the file's own."""
        if isinstance(x, Const) or not isinstance(weight, Const) or not isinstance(bias, Const | None):
            return self.call("F.linear", x, weight, bias)
        if weight.tensor.dim() != 2:
            raise CheckpointError(
                "weights of a dense layer", got=f"shape {tuple(weight.tensor.shape)}", expected="rank 2"
            )
        rows = self.how(x, "reshape")
        inner = None if rows is None else self.known(rows.base)
        if rows is not None and inner is not None and self.rank(x) == 2 and inner[-1] == weight.tensor.shape[1]:
            y = self.linear(rows.base, weight, bias, hint)
            flat = self.call("Tensor.reshape", y, (-1, weight.tensor.shape[0]))
            held = self.known(x)
            return self.put(flat, None if held is None else (held[0], weight.tensor.shape[0]), Made("reshape", y))
        out, into = weight.tensor.shape
        options = {"in_features": into, "out_features": out, "bias": bias is not None}
        y = self.layer(nn.Linear, options, {"weight": weight, "bias": bias}, x, hint=hint)
        sizes = self.sizes.get(x.name)
        return self.put(
            y,
            None if sizes is None else (*sizes[:-1], out),
            None if bias is not None else Made("product", weight, (-1, lambda b: self.linear(x, weight, b, hint))),
        )

    def matmul(self, a: Any, b: Any, hint: str) -> Any:
        """A matrix product; a dense layer, if the right factor is a matrix of the file's own."""
        spread = self.how(b, "expand")
        if spread is not None and isinstance(spread.base, Const) and spread.base.tensor.dim() == 2:
            b = spread.base
        if isinstance(b, Const) and b.tensor.dim() == 2 and isinstance(a, Ref):
            return self.linear(a, self.transpose(b), None, hint)
        ours = None
        if isinstance(a, Ref) and isinstance(b, Ref):
            merged = [self.how(v, "reshape") for v in (a, b)]
            bases = [None if m is None else m.base for m in merged]
            held = [None if v is None else self.known(v) for v in bases]
            if self._stacks(a, b, held):  # matrices of several axes, merged into one for a product of stacks
                y = self.matmul(bases[0], bases[1], hint)
                flat = self.call("torch.flatten", y, 0, self.rank(y) - 3)
                sizes = self.known(a), self.known(b)
                assert sizes[0] and sizes[1]
                return self.put(flat, (*sizes[0][:-1], sizes[1][-1]), Made("reshape", y))
            one, two = self.sizes.get(a.name), self.sizes.get(b.name)
            if one is not None and two is not None and len(one) == len(two) >= 2:
                ours = (*one[:-1], two[-1])
        return self.put(self.call("torch.matmul", a, b), ours)

    def _stacks(self, a: Ref, b: Ref, held: Sequence[Sizes | None]) -> bool:
        first, second = held
        if first is None or second is None or self.rank(a) != 3 or self.rank(b) != 3:
            return False
        flat, other = self.known(a), self.known(b)
        whole = flat is not None and other is not None and flat[1:] == first[-2:] and other[1:] == second[-2:]
        return whole and len(first) == len(second) > 3 and first[:-2] == second[:-2]

    def add(self, x: Any, y: Any, alpha: Any = 1) -> Any:
        """A sum; the bias of a layer, if that is what is added."""
        for product, other in ((x, y), (y, x)):
            before = self.how(product, "product")
            if alpha == 1 and before is not None and isinstance(other, Const):
                axis, layer = before.data
                if self._is_bias(other, before.base, axis, self.rank(product)):
                    return layer(self.derived(other, "bias", partial(torch.reshape, shape=(-1,))))
        return self.call("torch.add", x, y, **({} if alpha == 1 else {"alpha": alpha}))

    def _is_bias(self, const: Const, weight: Const, axis: int, rank: int) -> bool:
        """Whether what is added is one number for each channel, and in a file whose names mean something, a bias."""
        shape = (1,) * (rank - const.tensor.dim()) + tuple(const.tensor.shape)
        stems = [c.name.removesuffix(end) for c, end in ((weight, "weight"), (const, "bias"))]
        if len(shape) != rank or (self.meaningful and stems[0] != stems[1]):
            return False
        return shape == tuple(weight.tensor.shape[0] if i == rank + axis else 1 for i in range(rank))

    # -- windows -----------------------------------------------------------------------------------------
    def along_length(self, x: Any, flat: Sequence[bool], run: Callable[[Any, int], Any]) -> Any:
        """A step on images that does nothing along one spatial axis, as the same step on sequences.

        ``flat`` says of either spatial axis whether the step does nothing along it. ``run`` gets the sequence and the
        number of the other axis. None if ``x`` is no sequence with an added axis there.
        """
        before = self.added(x)
        if before is None or self.rank(x) != 4 or before[1] not in (2, 3) or not flat[before[1] - 2]:
            return None
        base, dim = before
        return self.unsqueeze(run(base, 3 - dim), dim)


def _moved(tensor: Tensor, shape: Sequence[int], back: Sequence[int], rest: Sequence[int]) -> Tensor:
    """A constant with its axes as they were before a reordering of ``back`` and some that were added, ``rest``."""
    return tensor.reshape(tuple(shape)).permute([*back, *rest]).reshape([shape[i] for i in back])


def numbers(value: Any, count: int, what: str) -> tuple[int, ...]:
    """``count`` whole numbers, or one for all."""
    found = list(value) if isinstance(value, list | tuple) else [value]
    if not all(isinstance(v, int) and not isinstance(v, bool) and abs(v) < 2**31 for v in found):
        raise CheckpointError(what, got=repr(value)[:60], expected="whole numbers")
    found = found * count if len(found) == 1 else found
    if len(found) != count:
        raise CheckpointError(what, got=repr(value)[:60], expected=f"{count} numbers")
    return tuple(found)
