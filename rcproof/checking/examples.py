"""That no step of a network mixes the examples of a batch, so that the network is a map of one example (T2).

The network is run twice without numbers (on the meta device), on batches of two sizes. Where a shape differs, there are
the examples; a step must then be one that works on other axes. Which steps do is said for every family of functions
(:mod:`~rcproof.checking.functions`) and every layer (:mod:`~rcproof.checking.layers`), apart from the converter, which
has its own account of it. A step that could write into a tensor, draw random numbers, or read memory that nobody has
written is refused too: then the order of the steps would matter, or there would be no function to speak of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rcproof.checking.functions import batch_constant, function_problem, number_problem, purity_problem
from rcproof.checking.layers import layer_problem, shaped
from rcproof.checking.traces import BATCHES, Refusal, Step, Traced, one_line
from rcproof.network.graph import Graph, Node, map_refs
from rcproof.network.ops import OPS


def follow(
    graph: Graph,
    layers: Mapping[str, nn.Module],
    tensors: Mapping[str, Tensor],
    shapes: Sequence[Sequence[int]],
    tokens: Sequence[bool],
) -> dict[str, Traced]:
    """The trace of every value, after checking every step.

    ``layers`` and ``tensors`` by path, on the meta device and in eval mode; ``shapes`` of the inputs without the batch,
    and which of them hold ``tokens``. Raises :class:`~rcproof.checking.traces.Refusal` with the step and the reason.
    """
    values: list[dict[str, Any]] = [{}, {}]
    traced: dict[str, Traced] = {}
    inputs = iter(zip(shapes, tokens, strict=True))
    with torch.no_grad(), torch.device("meta"):
        for node in graph.nodes:
            if node.op == "input":
                shape, coded = next(inputs, (None, False))
                if shape is None:
                    raise Refusal(f"input {node.name!r} has no shape")
                for held, batch in zip(values, BATCHES, strict=True):
                    held[node.name] = meta_input(batch, shape, coded)
                traced[node.name] = Traced((BATCHES[0], *shape), 0, values[0][node.name].dtype)
                continue
            step = _step(node, traced, values[0])
            problem = _judged(purity_problem, step) if node.op == "call" else ""
            if problem:
                raise Refusal(f"step {node.name!r} ({node.target}): {problem}")
            for held in values:
                held[node.name] = _run(node, held, layers, tensors)
            traced[node.name] = _found(step, values, traced, layers)
    if next(inputs, None) is not None:
        raise Refusal("the file states more input shapes than there are inputs")
    return traced


def meta_input(batch: int, shape: Sequence[int], coded: bool) -> Tensor:
    """A batch without numbers."""
    return torch.empty(batch, *shape, device="meta", dtype=torch.int64 if coded else torch.get_default_dtype())


def _step(node: Node, traced: Mapping[str, Traced], held: Mapping[str, Any]) -> Step:
    return Step(
        node,
        Traced(),
        list(map_refs(node.args, lambda r: traced[r.name])),
        map_refs(node.kwargs, lambda r: traced[r.name]),
        list(map_refs(node.args, lambda r: held[r.name])),
        map_refs(node.kwargs, lambda r: held[r.name]),
    )


def _run(node: Node, held: Mapping[str, Any], layers: Mapping[str, nn.Module], tensors: Mapping[str, Tensor]) -> Any:
    args = map_refs(node.args, lambda r: held[r.name])
    kwargs = map_refs(node.kwargs, lambda r: held[r.name])
    try:
        if node.op == "tensor":
            return tensors[node.target]
        if node.op == "module":
            return shaped(layers[node.target], *args, **kwargs)
        if node.op == "attribute":
            return getattr(args[0], node.target)
        return OPS[node.target].function(*args, **kwargs)
    except Exception as error:  # whatever torch makes of shapes that do not fit
        raise Refusal(f"step {node.name!r} does not run on the stated input shapes: {one_line(error)}") from None


def _found(
    step: Step, values: list[dict[str, Any]], traced: Mapping[str, Traced], layers: Mapping[str, nn.Module]
) -> Traced:
    """The trace of what a step gave, after checking the step."""
    node = step.node
    one, two = (held[node.name] for held in values)
    reads = [traced[r] for r in node.refs()]
    if node.op == "attribute" or (node.op == "call" and OPS[node.target].family == "size"):
        return _size(step, one, two)
    found = _trace(one, two, node.name)
    step = Step(node, found, step.args, step.kwargs, step.values, step.named)
    varying = [r for r in reads if r.depends_on_count]
    if not any(r.carries for r in reads):
        if found.tensors:
            problem = _judged(batch_constant, step) if found.carries or varying else ""
        else:
            return _number(step, found, bool(varying))
    elif node.op == "module":
        problem = _judged(layer_problem, step, layers[node.target])
    else:
        problem = _judged(function_problem, step)
    if not problem and varying and not _only_sizes(step):
        problem = "its result depends on how many examples there are"
    if problem:
        raise Refusal(f"step {node.name!r} ({node.target}): {problem}")
    return found


def _judged(judge: Callable[..., str], *what: Any) -> str:
    """What a judge of steps says; it need not know every way in which arguments can be wrong."""
    try:
        return judge(*what)
    except (AttributeError, IndexError, KeyError, OverflowError, RuntimeError, TypeError, ValueError):
        return "its arguments are not understood"


def _only_sizes(step: Step) -> bool:
    """Whether the number of examples comes in as a size of the result, and as nothing else."""
    sized = step.node.op == "call" and OPS[step.node.target].family in ("reshape", "factory")
    return sized and all(r.only_counts for r in step.numbers)


def _number(step: Step, found: Traced, varying: bool) -> Traced:
    """What is no tensor: sizes and what is reckoned from them."""
    problem = "a layer that gives no tensor" if step.node.op == "module" else number_problem(step)
    if problem:
        raise Refusal(f"step {step.node.name!r} ({step.node.target}): {problem}")
    x, items = step.x, step.x.items
    if step.node.target == "operator.getitem" and items is not None:
        index = step.trace(1)
        if type(index) is int and -len(items) <= index < len(items):
            return items[index]
        if isinstance(index, slice) and not any(isinstance(a, Traced) for a in (index.start, index.stop, index.step)):
            return Traced(items=items[index])
    both = [a.items for a in step.args if isinstance(a, Traced) and a.items is not None]
    if step.node.target == "operator.add" and found.items is not None and x.items is not None:
        other = step.args[1]
        more = both[1] if len(both) > 1 else (Traced(),) * len(other) if isinstance(other, tuple) else None
        if more is not None and len(x.items) + len(more) == len(found.items):
            return Traced(items=(*x.items, *more))
    return Traced(varies=True) if varying else Traced()


def _size(step: Step, one: Any, two: Any) -> Traced:
    """A size of a tensor, or the number of examples."""
    if isinstance(one, torch.Size):
        return Traced(items=tuple(Traced(count=m != n, varies=m != n) for m, n in zip(one, two, strict=True)))
    name = step.name
    if name in ("ndim", "dim", "ndimension", "device", "dtype"):
        return Traced()
    return Traced(count=one != two and name in ("size", "len"), varies=one != two)


def _trace(one: Any, two: Any, name: str) -> Traced:
    if isinstance(one, Tensor):
        a, b = tuple(one.shape), tuple(two.shape)
        moved = [i for i, (m, n) in enumerate(zip(a, b, strict=False)) if m != n]
        if len(a) != len(b) or len(moved) > 1 or any((a[i], b[i]) != BATCHES for i in moved):
            raise Refusal(f"step {name!r} makes shapes {a} and {b} of {BATCHES[0]} and {BATCHES[1]} examples")
        return Traced(a, moved[0] if moved else None, one.dtype)
    if isinstance(one, tuple | list):
        if len(one) != len(two):
            raise Refusal(f"step {name!r} makes {len(one)} values of {BATCHES[0]} examples, {len(two)} of {BATCHES[1]}")
        return Traced(items=tuple(_trace(m, n, name) for m, n in zip(one, two, strict=True)))
    if isinstance(one, dict):
        raise Refusal(f"step {name!r} gives values by name, which no step can take")
    return Traced()
