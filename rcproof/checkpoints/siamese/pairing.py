"""Two parts of a graph side by side: are they one branch, run on two strands?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from rcproof.checkpoints.siamese.actions import on_the_other_strand
from rcproof.checkpoints.siamese.view import Apart, View, run
from rcproof.network.graph import Node, Ref
from rcproof.network.modules import constructor_arguments, registered_name
from rcproof.network.network import find_module, find_tensor


@dataclass
class Strands:
    """What the second strand reads where the first reads an input.

    Attributes:
        partners: another input of the file, by input.
        seen: the values of the input itself in another place, on :meth:`View.example`; NaN where nothing is known.
        unmoved: inputs that the second strand reads as they are.
        equal: layers that are two in the file and hold the same weights.
    """

    partners: dict[str, str] = field(default_factory=dict)
    seen: dict[str, Tensor] = field(default_factory=dict)
    unmoved: set[str] = field(default_factory=set)
    equal: dict[str, str] = field(default_factory=dict)

    def partner(self, x: str, other: str) -> None:
        """The second strand reads ``other`` for ``x``."""
        if self.partners.get(x, other) != other or x in self.seen or x in self.unmoved:
            raise Apart(f"input {x!r} becomes {other!r} on the second strand, and something else beside it")
        self.partners[x] = other

    def stays(self, x: str) -> None:
        """The second strand reads ``x`` as it is."""
        if x in self.partners:
            raise Apart(f"input {x!r} becomes {self.partners[x]!r} on the second strand, and is read as it is too")
        self.unmoved.add(x)

    def show(self, x: str, values: Tensor) -> None:
        """The second strand reads these values of ``x``."""
        if x in self.partners:
            raise Apart(f"input {x!r} becomes {self.partners[x]!r} on the second strand, and is read itself too")
        before = self.seen.get(x, values)
        both = ~(before.isnan() | values.isnan())
        if not torch.equal(before[both], values[both]):
            raise Apart(f"input {x!r} is turned in two ways for the second strand")
        self.seen[x] = torch.where(before.isnan(), values, before)

    def join(self, other: Strands, view: View) -> Strands:
        """Both, for parts of one network; :class:`Apart` if they contradict each other."""
        joined = Strands(dict(self.partners), dict(self.seen), set(self.unmoved), {**self.equal, **other.equal})
        for x, partner in other.partners.items():
            joined.partner(x, partner)
        for x, values in other.seen.items():
            joined.show(x, values)
        for x in other.unmoved:
            joined.stays(x)
        joined.check(view)
        return joined

    def check(self, view: View) -> None:
        """:class:`Apart` if an input is both turned and read as it is."""
        for x in self.unmoved & set(self.seen):
            if not _shows(self.seen[x], view.example(x)):
                raise Apart(f"input {x!r} is turned for the second strand, and is read as it is too")

    def moves(self, view: View) -> bool:
        """Whether the second strand differs from the first at all."""
        return bool(self.partners) or any(not _shows(v, view.example(x)) for x, v in self.seen.items())


def _shows(seen: Tensor, x: Tensor) -> bool:
    """Whether what is known of a value is ``x`` itself."""
    return bool((seen.isnan() | (seen == x)).all())


def pair(view: View, first: str, second: str) -> Strands:
    """How the value ``second`` is ``first`` on the other strand; :class:`Apart` with the reason if it is not.

    Both are taken apart from the end: the same step on both sides, with the same layer and the same arguments, until
    inputs are met. A step on one value for both strands leaves the inputs above it as they are.
    """
    strands = Strands()
    waiting, done = [(first, second)], set()
    while waiting:
        pair_ = waiting.pop()
        if pair_ in done:
            continue
        done.add(pair_)
        p, q = pair_
        if p == q:
            for x in view.needs[p]:
                strands.stays(x)
        elif view.nodes[p].op == view.nodes[q].op == "input":
            strands.partner(p, q)
        elif not _turned(view, p, q, strands):
            waiting += _same_step(view, view.nodes[p], view.nodes[q], strands)
    strands.check(view)
    return strands


def _turned(view: View, p: str, q: str, strands: Strands) -> bool:
    """Whether both values only move the values of one input about; what that shows is noted."""
    if view.shapes is None or len(view.needs[p]) != 1 or view.needs[p] != view.needs[q]:
        return False
    (x,) = view.needs[p]
    if not view.only_moves([p, q], [x]):
        return False
    try:
        values = [run(view.part([x], [name]), view.example(x)) for name in (p, q)]
    except Apart:  # it asks for the size of another input
        return False
    a, b = values
    shown = on_the_other_strand(view.example(x), a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else None
    if shown is not None:
        strands.show(x, shown)
    return shown is not None


def _same_step(view: View, p: Node, q: Node, strands: Strands) -> list[tuple[str, str]]:
    """The values that two like steps read, side by side; :class:`Apart` if the steps are not alike."""
    if p.op != q.op or (p.op != "module" and p.op != "tensor" and p.target != q.target):
        raise Apart(f"{_shown(p)} on the first strand stands beside {_shown(q)} on the second")
    if p.op == "module" and p.target != q.target:
        _same_layer(view, p, q, strands)
    if p.op == "tensor":
        _same_tensor(view, p, q)
        return []
    found: list[tuple[str, str]] = []
    if not _alike((p.args, p.kwargs), (q.args, q.kwargs), found):
        raise Apart(f"{_shown(p)} has other arguments on the first strand than {_shown(q)} on the second")
    return found


def _alike(a: Any, b: Any, found: list[tuple[str, str]]) -> bool:
    """Whether two arguments are equal but for the values they refer to, which are put into ``found``."""
    if isinstance(a, Ref) and isinstance(b, Ref):
        found.append((a.name, b.name))
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(_alike(x, y, found) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict):
        return list(a) == list(b) and all(_alike(a[k], b[k], found) for k in a)
    if isinstance(a, slice):
        return all(_alike(x, y, found) for x, y in ((a.start, b.start), (a.stop, b.stop), (a.step, b.step)))
    return bool(a == b)


def _same_layer(view: View, p: Node, q: Node, strands: Strands) -> None:
    """Two layers of one kind: without weights, or with equal ones."""
    first, second = find_module(view.network, p.target), find_module(view.network, q.target)
    if first is second:
        return
    apart = Apart(f"layer {p.target!r} on the first strand stands beside layer {q.target!r} on the second")
    if type(first) is not type(second) or registered_name(first) is None or registered_name(second) is None:
        raise apart
    if constructor_arguments(first) != constructor_arguments(second):
        raise apart
    mine, theirs = _tensors(first), _tensors(second)
    if mine.keys() != theirs.keys() or not all(_equal(mine[k], theirs[k]) for k in mine):
        raise Apart(f"{apart}, with other weights")
    if mine:
        strands.equal[p.target] = q.target


def _tensors(layer: nn.Module) -> dict[str, Tensor]:
    """What a layer computes with: not how many batches it was trained on."""
    named = {**dict(layer.named_parameters(remove_duplicate=False)), **dict(layer.named_buffers())}
    return {k: t for k, t in named.items() if not k.endswith("num_batches_tracked")}


def _same_tensor(view: View, p: Node, q: Node) -> None:
    if p.target != q.target:
        first, second = find_tensor(view.network, p.target), find_tensor(view.network, q.target)
        if not _equal(first, second):
            raise Apart(f"tensor {p.target!r} on the first strand stands beside {q.target!r} on the second")


def _equal(a: Tensor, b: Tensor) -> bool:
    return a is b or (a.shape == b.shape and a.dtype == b.dtype and torch.equal(a, b))


def _shown(n: Node) -> str:
    if n.op == "input":
        return f"input {n.name!r}"
    return f"layer {n.target!r}" if n.op == "module" else f"step {n.name!r} ({n.target or n.op})"
