"""The layers and calls that a configuration lists, before weights are found and nested networks inlined."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from rcproof.errors import CheckpointError

#: Networks nested deeper, and calls beyond this many, are refused.
DEEPEST = 20
MOST_CALLS = 20_000


@dataclass(frozen=True)
class Place:
    """The ``tensor``-th result of the ``node``-th call of a layer, by its name within its network."""

    layer: str
    node: int
    tensor: int


@dataclass
class Node:
    """One call: its positional and its keyword arguments, with a :class:`Place` where a tensor goes in."""

    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)

    def places(self) -> list[Place]:
        """All tensors that go in."""
        return [*_places(self.args), *_places(self.kwargs)]


@dataclass
class Item:
    """A layer as its file describes it: with its calls, and what is nested in it."""

    name: str
    kind: str
    config: dict[str, Any]
    nodes: list[Node] = field(default_factory=list)
    net: Net | None = None
    inner: list[Item] = field(default_factory=list)
    operation: bool = False

    @property
    def trainable(self) -> bool:
        """Whether the file says that its weights are trained, which decides on their order."""
        return self.config.get("trainable") is not False


@dataclass
class Net:
    """A network: its layers in the order of the file, and what comes in and goes out."""

    items: dict[str, Item]
    inputs: list[Place]
    outputs: list[Place]

    def schedule(self) -> list[tuple[Item, int]]:
        """Its calls in an order in which they can run. Raises if they form a cycle, or need what is not there."""
        waiting: dict[tuple[str, int], int] = {}
        users: dict[tuple[str, int], list[tuple[str, int]]] = {}
        for item in self.items.values():
            for index, node in enumerate(item.nodes):
                needs = {(p.layer, p.node) for p in node.places()}
                waiting[item.name, index] = len(needs)
                for need in needs:
                    users.setdefault(need, []).append((item.name, index))
        made: list[tuple[Item, int]] = []
        ready = [key for key, count in waiting.items() if not count]
        for name, index in ready:
            made.append((self.items[name], index))
            for user in users.get((name, index), ()):
                waiting[user] -= 1
                if not waiting[user]:
                    ready.append(user)
        if len(made) < len(waiting):
            stuck = sorted({name for (name, _), count in waiting.items() if count})
            raise CheckpointError("the calls of layers need each other in a circle", got=", ".join(stuck[:5]))
        return made

    def check(self) -> None:
        """Raise if anything is asked of a layer or a call that is not there."""
        asked = [p for item in self.items.values() for node in item.nodes for p in node.places()]
        for place in [*asked, *self.inputs, *self.outputs]:
            item = self.items.get(place.layer)
            if item is None:
                raise CheckpointError("a call needs a layer that is not there", got=repr(place.layer)[:80])
            if not 0 <= place.node < len(item.nodes) or not 0 <= place.tensor < MOST_CALLS:
                raise CheckpointError(
                    f"a call needs a result of layer {place.layer!r} that is not there",
                    got=f"call {place.node}, result {place.tensor}",
                    expected=f"one of {len(item.nodes)} calls",
                )
        if len(set(self.inputs)) < len(self.inputs):
            raise CheckpointError("an input of the network that is listed twice")
        for place in self.inputs:
            if self.items[place.layer].kind != "InputLayer":
                raise CheckpointError("an input of the network", got=f"layer {place.layer!r}", expected="an InputLayer")


def _places(value: Any) -> Iterator[Place]:
    if isinstance(value, Place):
        yield value
    elif isinstance(value, list | tuple):
        for inside in value:
            yield from _places(inside)
    elif isinstance(value, dict):
        for inside in value.values():
            yield from _places(inside)
    elif isinstance(value, slice):
        yield from _places([value.start, value.stop, value.step])
