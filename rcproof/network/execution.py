"""How the steps of a network are run: compiled once, and in the way that suits its device and its sizes.

A plan (:mod:`rcproof.network.plan`) says what is computed. A :class:`Program` runs it in one of several ways, which
differ in nothing but the order of rounding:

* **in pieces**: in the batched layout an uncoupled network treats the 2N rows one by one, so a few can be run at a
  time. Pieces that fit the cache, and stay below the size from which an allocator returns memory to the system after
  every use, are faster than the whole and take less memory. Pieces of N rows are the two passes of a conjoined network.
* **channels last**: activations with channels innermost in memory, which oneDNN reads and writes without reordering.
* **folded**: in eval without gradients a batch norm after a convolution is part of the convolution's weights.
* **in place**: relu, and without gradients sums, write into an argument that nobody else reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rcproof.network.inplace import Rewriter
from rcproof.network.pieces import Pieces, find_pieces
from rcproof.network.plan import STACKED, Key, Step, collect, fill, last_uses
from rcproof.nn.base import TiedLayer, closed_to_stacked, to_batched, to_stacked
from rcproof.nn.conv import RCPSConv1d
from rcproof.nn.derived import prefers_channels_last, slow_backward
from rcproof.nn.merge import Merge
from rcproof.nn.norm import RCPSBatchNorm1d
from rcproof.nn.pooling import AdaptivePool, WindowPool

Values = list[Any]
Call = Callable[[nn.Module, Values], Any]


@dataclass(frozen=True)
class Execution:
    """A way to run a network.

    Attributes:
        rows: how many of the 2N rows of the batched layout run at a time; None for all at once.
        channels_last: whether activations between convolutions have their channels innermost in memory.
        in_place: whether relu and sums may write into an argument that nobody else reads.
        fold: whether, in eval without gradients, a batch norm is folded into the convolution before it.
    """

    rows: int | None = None
    channels_last: bool = False
    in_place: bool = False
    fold: bool = False


#: The plan as it stands: what explicit layouts, tracers and compilers get.
PLAIN = Execution()

#: On a CPU the rows of a piece together hold at most this many bytes in the widest layer. Measured: from 2 to 16 MiB
#: the time is the same, and memory grows; at 1 MiB the calls show; above 32 MiB (glibc) each tensor is mapped anew.
PIECE_BYTES = 4 << 20

#: From so many taps on, a training step is faster channels last: 0.6-0.9 × the time, and 1.0-1.1 × with 3.
LONG_KERNEL = 8

_MOST_CHOICES = 256


class Program:
    """The steps of a plan, with their values in numbered slots."""

    def __init__(self, steps: Sequence[Step], outputs: Sequence[str], inputs: int) -> None:
        keep = {f"{name}@plain" for name in outputs}
        self.pieces: Pieces | None = find_pieces(steps, keep)
        order = list(steps) if self.pieces is None else [steps[i] for i in self.pieces.order]
        self.steps = order
        self.slots = {f"input:{i}": i for i in range(inputs)}
        for step in order:
            self.slots[step.key] = len(self.slots)
        self.inputs = inputs
        self.outputs = [self.slots[f"{name}@plain"] for name in outputs]
        self.lasts = [tuple(self.slots[k] for k in last) for last in last_uses(order, keep)]
        self.widest = max((_width(s.target) for s in order), default=0)
        convolutions = [m for s in order if isinstance(m := layer_of(s.target), RCPSConv1d)]
        self.convolutions, self.kernels = len(convolutions), [m.kernel_size for m in convolutions]
        self.rewriter = Rewriter(order, keep)
        self._chosen: dict[Any, Execution] = {}
        self._compiled: dict[tuple[bool, bool, bool, bool], list[Call]] = {}

    def run(self, network: nn.Module, inputs: Sequence[Tensor], how: Execution) -> list[Any]:
        """The outputs, in order."""
        values: Values = [None] * len(self.slots)
        values[: len(inputs)] = inputs
        calls = self.calls(how)
        if how.rows is None or self.pieces is None or self.pieces.mixes_now():
            self._steps(network, values, calls, 0, len(calls), frozenset())
        else:
            self._in_pieces(network, values, calls, self.pieces, how.rows)
        found = [values[i] for i in self.outputs]
        return [v.contiguous() for v in found] if how.channels_last else found

    def _steps(
        self, network: nn.Module, values: Values, calls: list[Call], start: int, stop: int, keep: frozenset[int]
    ) -> None:
        for i in range(start, stop):
            values[self.inputs + i] = calls[i](network, values)
            for slot in self.lasts[i]:
                if slot not in keep:
                    values[slot] = None

    def _in_pieces(self, network: nn.Module, values: Values, calls: list[Call], pieces: Pieces, rows: int) -> None:
        """Run the steps between the doubling and the merge on ``rows`` rows at a time."""
        slot = self.slots
        kept = frozenset(slot[k] for k in pieces.read)
        self._steps(network, values, calls, 0, pieces.begin, kept)
        whole = {slot[k]: values[slot[k]] for k in pieces.doubled}
        cut = [slot[k] for k in pieces.cut]
        total = next(iter(whole.values())).shape[0]
        found: list[list[Tensor]] = [[] for _ in cut]
        for start in range(0, total, rows):
            for i, value in whole.items():
                values[i] = value[start : start + rows]
            self._steps(network, values, calls, pieces.begin, pieces.end, kept)
            for parts, i in zip(found, cut, strict=True):
                parts.append(values[i])
                values[i] = None
        for i in kept:
            values[i] = whole.get(i, values[i])
        for parts, i in zip(found, cut, strict=True):
            values[i] = torch.cat(parts)
            parts.clear()
        self._steps(network, values, calls, pieces.end, len(calls), frozenset())

    def calls(self, how: Execution) -> list[Call]:
        """One call a step."""
        grad = torch.is_grad_enabled()
        kind = (how.channels_last, how.in_place, how.fold and not grad, grad)
        found = self._compiled.get(kind)
        if found is None:
            found = [self._call(i, *kind) for i in range(len(self.steps))]
            self._compiled[kind] = found
        return found

    def _call(self, index: int, channels_last: bool, in_place: bool, fold: bool, grad: bool) -> Call:
        step = self.steps[index]
        if step.action == "tensor":
            return lambda network, _: _tensor(network, step.target)
        function, args, kwargs = step.target, step.args, dict(step.kwargs)
        if in_place:
            function = self.rewriter.rewritten(index, grad) or function
        layer = layer_of(function)
        if fold and isinstance(layer, RCPSConv1d | RCPSBatchNorm1d):
            function = self.rewriter.folded(index) or function
        if channels_last:
            if isinstance(layer, RCPSConv1d):
                kwargs["channels_last"] = self._pays(layer, grad)
            elif not _any_strides(step, function):
                function = _contiguous(function)
        slots = [self.slots[a.name] for a in args if isinstance(a, Key)]
        if len(slots) == len(args) and not kwargs:
            if len(slots) == 1:
                (one,) = slots
                return lambda _, v: function(v[one])
            if len(slots) == 2:
                first, second = slots
                return lambda _, v: function(v[first], v[second])
        names: list[str] = []
        collect(args, names)
        collect(kwargs, names)
        where = {name: self.slots[name] for name in names}

        def general(_: nn.Module, v: Values) -> Any:
            env = {name: v[slot] for name, slot in where.items()}
            return function(*fill(args, env), **fill(kwargs, env))

        return general

    def _pays(self, layer: RCPSConv1d, grad: bool) -> bool:
        """Whether a convolution is to run channels last.

        In a training step it pays for long kernels. Among short ones it would leave two layouts to be mixed, so there
        only layers that narrow the tensor do it, as a profile head does.
        """
        if not grad or min(self.kernels) >= LONG_KERNEL:
            return True
        return layer.kernel_size >= LONG_KERNEL and layer.out_channels < layer.in_channels

    # -- choosing ---------------------------------------------------------------------------------
    def choose(self, inputs: Sequence[Tensor]) -> Execution:
        """The rule of the ``auto`` layout; ``benchmarks/speed`` measures what it rests on.

        On a CPU: two or more float32 convolutions run channels last; with gradients only long kernels do, and many
        rows. Rows whose widest layer holds more than :data:`PIECE_BYTES` in all (four times as many with gradients)
        run in pieces of so many bytes, unless a layer in train mode looks across the batch or draws random numbers.
        Elsewhere all rows run at once, since every launch counts.
        """
        x, threads = inputs[0], torch.get_num_threads()
        pieces = self.pieces is not None and not self.pieces.mixes_now()
        key = (x.shape, x.dtype, x.device.type, torch.is_grad_enabled(), threads, pieces)
        found = self._chosen.get(key)
        if found is None:
            if len(self._chosen) > _MOST_CHOICES:  # inputs of ever new lengths
                self._chosen.clear()
            found = self._chosen[key] = self._choose(x, pieces)
        return found

    def _choose(self, x: Tensor, pieces: bool) -> Execution:
        length = x.shape[-1] if x.dim() > 2 or not x.is_floating_point() else 1
        rows, row = 2 * x.shape[0], self.widest * length
        at_once: int | None = None
        grad, size = torch.is_grad_enabled(), row * x.element_size()
        if pieces and x.device.type == "cpu" and rows * size > PIECE_BYTES * (4 if grad else 1):
            at_once = -(-rows // min(rows, -(-rows * size // PIECE_BYTES)))
        slow = grad and max(self.kernels, default=0) < LONG_KERNEL
        slow = slow or slow_backward(rows if at_once is None else at_once, 0)
        last = self.convolutions > 1 and not slow and prefers_channels_last(x, rows * row)
        return Execution(at_once, last, in_place=True, fold=True)


def _tensor(network: nn.Module, path: str) -> Tensor:
    from rcproof.network.network import find_tensor

    return find_tensor(network, path)


def layer_of(target: Any) -> nn.Module | None:
    """The layer that a step calls, in either layout."""
    if isinstance(target, nn.Module):
        return target
    owner = getattr(target, "__self__", None)
    return owner if isinstance(owner, nn.Module) else None


def _width(target: Any) -> int:
    """Channels of one strand that a layer writes."""
    layer = layer_of(target)
    width = 0
    if isinstance(layer, TiedLayer):
        for name in ("out_channels", "out_features", "embedding_dim", "num_features"):
            width = max(width, int(getattr(layer, name, 0)))
    return width


_STRIDED = (RCPSConv1d, RCPSBatchNorm1d, WindowPool, AdaptivePool, Merge, nn.ReLU, nn.Flatten)
_STRIDED_FUNCTIONS = (to_batched, to_stacked, closed_to_stacked, *STACKED.values())
_STRIDED_FAMILIES = ("pointwise", "reduce", "index", "join", "identity", "size")


def _any_strides(step: Step, function: Any) -> bool:
    """Whether a step works on tensors of any memory layout as it does on contiguous ones (``view`` does not)."""
    from rcproof.network.ops import OPS

    layer = layer_of(function)
    if layer is not None:
        return type(layer) in _STRIDED or isinstance(layer, WindowPool | AdaptivePool)
    if step.action in ("input", "merge", "switch", "size") or function in _STRIDED_FUNCTIONS:
        return True
    if function is not step.target:  # rewritten
        return True
    return any(op.function is function and op.family in _STRIDED_FAMILIES for op in OPS.values())


def _contiguous(function: Any) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*map(_plain, args), **{k: _plain(v) for k, v in kwargs.items()})

    return call


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.contiguous()
    return type(value)(map(_plain, value)) if type(value) in (tuple, list) else value
