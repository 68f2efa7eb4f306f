"""What is known of a value of a network on batches of two sizes, and of a step that makes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from rcproof.network.graph import Node

#: Two unusual numbers of examples; no other size changes between the runs.
BATCHES = (5, 7)


class Refusal(Exception):
    """Why something is not what the certificate says it is."""


def one_line(error: BaseException, longest: int = 160) -> str:
    """What an error says first, at most so long."""
    return ((str(error).strip() or type(error).__name__).splitlines()[0])[:longest]


@dataclass(frozen=True)
class Traced:
    """A value of the network: the shape for the first batch, and the axis of the examples.

    ``axis`` is None for what does not depend on the input. ``items``: of a tuple. Of numbers: ``count`` is the number
    of examples itself; ``varies`` is any number that might depend on it. ``dtype``: of a tensor.
    """

    shape: tuple[int, ...] | None = None
    axis: int | None = None
    dtype: torch.dtype | None = None
    items: tuple[Traced, ...] | None = None
    count: bool = False
    varies: bool = False

    @property
    def carries(self) -> bool:
        """Whether it depends on the input."""
        return self.axis is not None or any(i.carries for i in self.items or ())

    @property
    def tensors(self) -> bool:
        """Whether it is a tensor, or a tuple with one in it."""
        return self.shape is not None or any(i.tensors for i in self.items or ())

    @property
    def depends_on_count(self) -> bool:
        """Whether it is a number that might depend on the number of examples, or a tuple with one in it."""
        return self.varies or any(i.depends_on_count for i in self.items or ())

    @property
    def only_counts(self) -> bool:
        """Whether every number in it that might depend on the number of examples is that number."""
        return all(i.only_counts for i in self.items) if self.items is not None else self.count or not self.varies

    @property
    def rank(self) -> int:
        """How many axes it has."""
        return len(self.shape or ())


@dataclass(frozen=True)
class Step:
    """A step: its arguments as traces and as values (without numbers), and the trace of what it gives."""

    node: Node
    found: Traced
    args: list[Any]
    kwargs: dict[str, Any]
    values: list[Any]
    named: dict[str, Any]

    @property
    def name(self) -> str:
        """Of the function, without where it lives and without the mark of writing in place."""
        return self.node.target.rpartition(".")[2].removesuffix("_")

    @property
    def x(self) -> Traced:
        """The first argument."""
        first = self.args[0] if self.args else next(iter(self.kwargs.values()), None)
        return first if isinstance(first, Traced) else Traced()

    @property
    def reads(self) -> list[Traced]:
        """Every argument that is the value of another step, looking into lists, tuples and slices."""
        return list(listed([*self.args, *self.kwargs.values()]))

    @property
    def carrying(self) -> list[Traced]:
        """Every tensor argument that depends on the input."""
        return [t for t in self.reads if t.carries and t.shape is not None]

    @property
    def numbers(self) -> list[Traced]:
        """Every argument that is no tensor."""
        return [t for t in self.reads if t.shape is None]

    def given(self, position: int, *names: str) -> bool:
        """Whether there is an argument there, be it None."""
        return position < len(self.values) or any(name in self.named for name in names)

    def argument(self, position: int, *names: str) -> Any:
        """A value by position or by any of its names; None if it is not given."""
        for name in names:
            if name in self.named:
                return self.named[name]
        return self.values[position] if position < len(self.values) else None

    def trace(self, position: int, *names: str) -> Any:
        """The trace of an argument, or the argument itself where it is no step's value."""
        for name in names:
            if name in self.kwargs:
                return self.kwargs[name]
        return self.args[position] if position < len(self.args) else None

    def dims(self, position: int, rank: int, *names: str) -> list[int] | None:
        """Axes given as a number or a list, counted from the front; None if not given or not numbers."""
        given = self.argument(position, *names)
        many = given if isinstance(given, tuple | list) else [given]
        if not many or not all(isinstance(d, int) and not isinstance(d, bool) for d in many):
            return None
        return [d + rank if d < 0 else d for d in many]


def listed(value: Any) -> Iterator[Traced]:
    """Every trace in an argument; of a tuple its items."""
    if isinstance(value, Traced):
        if value.items is None:
            yield value
        else:
            for item in value.items:
                yield from listed(item)
    elif isinstance(value, tuple | list):
        for v in value:
            yield from listed(v)
    elif isinstance(value, dict):
        yield from listed(list(value.values()))
    elif isinstance(value, slice):
        yield from listed([value.start, value.stop, value.step])
