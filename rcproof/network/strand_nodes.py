"""What moves strands, as nodes of an ordinary graph: flips, splits and joins in place of layout switches."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from rcproof.errors import RcproofError
from rcproof.network.building import GraphBuilder
from rcproof.network.graph import Node, Ref
from rcproof.strand import Representation


class StrandNodes(GraphBuilder):
    """A graph builder that knows how to turn, split and join strands.

    ``rank`` is everywhere the number of axes of the value with the batch. What is written as a node here is, value
    for value, what :mod:`rcproof.nn.base` and :func:`rcproof.strand.rc` do.
    """

    def __init__(self, taken: set[str]) -> None:
        super().__init__()
        self.placed: dict[tuple[int, str], str] = {}  # which layer stands for which, in which form
        self.fixed: set[str] = set()  # values (N, F) whose F is the same for every length
        self._taken = taken
        self._count: Ref | None = None
        self._copies: dict[int, Any] = {}

    # -- nodes and names ---------------------------------------------------------------------------
    def named(self, name: str, op: str, target: str, args: tuple[Any, ...] = (), kwargs: Any = None) -> Ref:
        """A node of any kind under (nearly) the name wanted."""
        return self._add(Node(self._fresh(name), op, target, args, dict(kwargs or {})))

    def constant(self, wanted: str, tensor: Tensor) -> Ref:
        """A tensor that belongs to no layer, under a free name; equal constants are held once."""
        for path, held in self.tensors.items():
            if path.startswith(wanted) and held.dtype == tensor.dtype and torch.equal(held, tensor):
                return self.tensor(path, held)
        return self.tensor(self.free_path(wanted), tensor)

    def copy(self, item: Any) -> Any:
        """A deep copy of a layer or tensor; what is shared stays shared."""
        return copy.deepcopy(item, self._copies)

    def free_path(self, wanted: str) -> str:
        """A path like ``wanted`` that neither is, nor lies inside or around, another one."""
        parents = [wanted[:i] for i, c in enumerate(wanted) if c == "."]
        if any(parent in self._taken for parent in parents):
            wanted = wanted.replace(".", "_")
        path, number = wanted, 1
        while not self._is_free(path):
            number += 1
            path = f"{wanted}_{number}"
        self._taken.add(path)
        return path

    def _is_free(self, path: str) -> bool:
        def inside(a: str, b: str) -> bool:
            return a == b or a.startswith(f"{b}.")

        return not any(inside(path, other) or inside(other, path) for other in self._taken)

    # -- the two strands ---------------------------------------------------------------------------
    def rows(self, s: Ref, like: Ref | None = None) -> tuple[Ref, Ref]:
        """Both strands of a batched value (2N, …). ``like``: a value of N rows; default: the first input."""
        count = self._batch() if like is None else self.call("Tensor.size", like, 0)
        return self._halves(s, slice(None, count), slice(count, None))

    def _batch(self) -> Ref:
        if self._count is None:
            first = next(n.name for n in self.nodes if n.op == "input")
            self._count = self.named("batch", "call", "Tensor.size", (Ref(first), 0))
        return self._count

    def channels(self, x: Ref, shape: tuple[int, ...], known: bool = False) -> tuple[Ref, Ref]:
        """Both halves of the channels of a stacked value (N, 2F, …).

        Where they are channels their number is a number; the features of a flattened value change with the length,
        unless they are ``known`` not to.
        """
        half: Any = shape[1] // 2
        if len(shape) == 2 and not known and x.name not in self.fixed:
            half = self.call("operator.floordiv", self.call("Tensor.size", x, 1), 2)
        every = slice(None)
        return self._halves(x, (every, slice(None, half)), (every, slice(half, None)))

    def _halves(self, x: Ref, first: Any, second: Any) -> tuple[Ref, Ref]:
        own = self.named("own", "call", "operator.getitem", (x, first))
        return own, self.named("other", "call", "operator.getitem", (x, second))

    def join(self, *parts: Ref, dim: int) -> Ref:
        """Concatenate."""
        return self.call("torch.cat", list(parts), dim=dim)

    # -- ρ ------------------------------------------------------------------------------------------
    def flip(self, x: Ref, rank: int) -> Ref:
        """Total reversal."""
        return self.call("torch.flip", x, tuple(range(1, rank))) if rank > 1 else x

    def rc(self, x: Ref, rep: Representation, shape: tuple[int, ...], dtype: torch.dtype) -> Ref:
        """ρx for a value of this shape; see :func:`rcproof.strand.rc`."""
        if rep.tokens:
            assert not isinstance(rep.channels, str)
            table = self.constant("complement", torch.tensor(rep.channels))
            return self.call("operator.getitem", table, self.call("torch.flip", x, (1,)))
        signs = rep.signs or (1,) * shape[1]
        return self._act(x, rep.permutation(shape[1]), signs, rep.reverses_length, len(shape), dtype)

    def mirrored_rc(self, x: Ref, rep: Representation, shape: tuple[int, ...], dtype: torch.dtype) -> Ref:
        """ρ of the total reversal of x, as one action: ρ of the strand that a stacked value holds mirrored."""
        perm = rep.permutation(shape[1])
        turned = tuple(shape[1] - 1 - c for c in perm)
        signs = rep.signs or (1,) * shape[1]
        return self._act(x, turned, signs, not rep.reverses_length, len(shape), dtype)

    def rc_mirrored(self, x: Ref, rep: Representation, shape: tuple[int, ...], dtype: torch.dtype) -> Ref:
        """Total reversal of ρx, as one action: how a stacked value holds the other strand of a closed one."""
        if rep.tokens:
            return self.flip(self.rc(x, rep, shape, dtype), len(shape))
        perm = rep.permutation(shape[1])
        signs = rep.signs or (1,) * shape[1]
        return self._act(x, perm[::-1], signs[::-1], not rep.reverses_length, len(shape), dtype)

    def _act(
        self, x: Ref, perm: tuple[int, ...], signs: tuple[int, ...], length: bool, rank: int, dtype: torch.dtype
    ) -> Ref:
        """Channels in the order ``perm``, with signs, and the positions backwards if ``length``."""
        size = len(perm)
        axes = (2,) if length and rank == 3 else ()
        if perm == tuple(reversed(range(size))) and size > 1:
            axes = (1, *axes)
        elif perm != tuple(range(size)):
            x = self.call("torch.index_select", x, 1, self.constant("order", torch.tensor(perm)))
        if -1 in signs:
            column = torch.tensor(signs, dtype=dtype).view(1, -1, *([1] * (rank - 2)))
            x = self.call("torch.mul", x, self.constant("signs", column))
        return self.call("torch.flip", x, axes) if axes else x

    # -- layouts -----------------------------------------------------------------------------------
    def batched_from_closed(self, x: Ref, rep: Representation, shape: tuple[int, ...], dtype: torch.dtype) -> Ref:
        """(N, C, …) → (2N, C, …)."""
        return self.join(x, self.rc(x, rep, shape, dtype), dim=0)

    def stacked_from_closed(self, x: Ref, rep: Representation, shape: tuple[int, ...], dtype: torch.dtype) -> Ref:
        """(N, C, …) → (N, 2C, …)."""
        other = x if rep.is_reversal else self.rc_mirrored(x, rep, shape, dtype)
        return self.join(x, other, dim=1)

    def batched_from_stacked(self, x: Ref, shape: tuple[int, ...]) -> Ref:
        """(N, 2F, …) → (2N, F, …)."""
        own, other = self.channels(x, shape)
        return self.join(own, self.flip(other, len(shape)), dim=0)

    def stacked_from_batched(self, s: Ref, rank: int, like: Ref | None = None) -> Ref:
        """(2N, F, …) → (N, 2F, …)."""
        own, other = self.rows(s, like)
        return self.join(own, self.flip(other, rank), dim=1)

    def partner(self, s: Ref, rank: int, like: Ref | None = None) -> Ref:
        """For each strand of a batched value, the other strand read in this one's direction."""
        own, other = self.rows(s, like)
        return self.flip(self.join(other, own, dim=0), rank)

    def merge(self, a: Ref, b: Ref, mode: str) -> Ref:
        """As :func:`rcproof.nn.merge.merge`."""
        if mode == "max":
            return self.call("torch.maximum", a, b)
        if mode not in ("sum", "mean"):
            raise RcproofError("no such merge", got=repr(mode))
        total = self.call("operator.add", a, b)
        return total if mode == "sum" else self.call("operator.mul", total, 0.5)
