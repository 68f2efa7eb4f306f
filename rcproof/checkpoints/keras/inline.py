"""Nested networks laid out as one, with the layers called ``outer/inner``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rcproof.checkpoints.keras.model import Call, Input, LayerSpec, Source
from rcproof.checkpoints.keras.nets import MOST_CALLS, Item, Net, Node, Place
from rcproof.errors import CheckpointError

#: Arguments of a call that say nothing of what it computes in eval mode.
_IDLE = ("name", "mask", "training")

Finish = Callable[[Item, str], LayerSpec]


class Inlined:
    """The layers and calls of a network and of all that is nested in it.

    ``finish`` makes the plain form of a layer, given its name.
    """

    def __init__(self, net: Net, finish: Finish) -> None:
        self.layers: dict[str, LayerSpec] = {}
        self.calls: list[Call] = []
        self._finish = finish
        self._items: dict[str, Item] = {}
        self._schedules: dict[int, list[tuple[Item, int]]] = {}
        outputs = self._run(net, "", None)
        named = {call.layer: i for i, call in enumerate(self.calls) if self.layers[call.layer].kind == "InputLayer"}
        self.inputs = tuple(named[place.layer] for place in net.inputs)
        if set(named.values()) != set(self.inputs):
            unlisted = sorted(set(named) - {place.layer for place in net.inputs})
            raise CheckpointError("an input that the network does not list", got=", ".join(unlisted)[:80])
        self.outputs = tuple(outputs)
        if not self.outputs:
            raise CheckpointError("a network without outputs")

    def _run(self, net: Net, prefix: str, given: list[Source] | None) -> list[Source]:
        """Call a network on its inputs; without them its inputs are those of the whole."""
        if id(net) not in self._schedules:
            self._schedules[id(net)] = net.schedule()
        results: dict[tuple[str, int], list[Source] | int] = {}
        if given is not None:
            if len(given) != len(net.inputs):
                raise CheckpointError(
                    f"a call of {prefix[:-1]!r}", got=f"{len(given)} inputs", expected=len(net.inputs)
                )
            for place, source in zip(net.inputs, given, strict=True):
                results[place.layer, 0] = [source]

        def resolve(place: Place) -> Source:
            found = results[place.layer, place.node]
            if isinstance(found, int):
                return Source(found, place.tensor)
            if place.tensor >= len(found):
                raise CheckpointError(
                    f"a result of {place.layer!r} that is not there", got=place.tensor, expected=f"{len(found)} results"
                )
            return found[place.tensor]

        for item, index in self._schedules[id(net)]:
            if (item.name, index) in results:
                continue
            node = item.nodes[index]
            if item.kind == "InputLayer" and given is not None:
                raise CheckpointError(f"layer {prefix + item.name!r}", got="an input that the network does not list")
            if item.net is not None:
                inner = [resolve(place) for place in node.places()]
                results[item.name, index] = self._run(item.net, f"{prefix}{item.name}/", inner)
            else:
                results[item.name, index] = self._call(item, node, prefix + item.name, resolve)
        return [resolve(place) for place in net.outputs]

    def _call(self, item: Item, node: Node, name: str, resolve: Callable[[Place], Source]) -> int:
        if self._items.setdefault(name, item) is not item:
            raise CheckpointError("two layers of one name", got=repr(name)[:80])
        if name not in self.layers:
            self.layers[name] = self._finish(item, name)
        if len(self.calls) >= MOST_CALLS:
            raise CheckpointError("too many calls of layers", expected=f"at most {MOST_CALLS}")
        inputs, arguments = normal(self.layers[name].kind, node)
        self.calls.append(Call(name, tuple(resolve(place) for place in inputs), arguments))
        return len(self.calls) - 1


def normal(kind: str, node: Node) -> tuple[list[Place], dict[str, Any]]:
    """The tensors that go into a call, and its other arguments; see :class:`~rcproof.checkpoints.keras.model.Call`."""
    args, kwargs = list(node.args), {k: v for k, v in node.kwargs.items() if v is not None}
    for name in _IDLE:
        if name in kwargs and not isinstance(kwargs[name], Place) and kwargs[name] is not True:
            del kwargs[name]
    if kind == "MultiHeadAttention":
        for name, value in zip(("query", "value", "key"), args, strict=False):
            kwargs.setdefault(name, value)
        kwargs.setdefault("key", kwargs.get("value"))
        args = [kwargs.pop(name, None) for name in ("query", "value", "key")]
        if not all(isinstance(value, Place) for value in args):
            raise CheckpointError("a call of a MultiHeadAttention", expected="a query, a value and perhaps a key")
    inputs: list[Place] = []

    def marked(value: Any) -> Any:
        if isinstance(value, Place):
            inputs.append(value)
            return Input(len(inputs) - 1)
        if isinstance(value, list):
            return [marked(inside) for inside in value]
        if isinstance(value, dict):
            return {key: marked(inside) for key, inside in value.items()}
        if isinstance(value, slice):
            return slice(marked(value.start), marked(value.stop), marked(value.step))
        return value

    told = marked(args)
    flat = told[0] if len(told) == 1 and isinstance(told[0], list) else told
    arguments = {} if all(isinstance(value, Input) for value in flat) else {"args": told}
    arguments.update({name: marked(value) for name, value in kwargs.items()})
    return inputs, arguments
