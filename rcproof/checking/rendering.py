"""That the network of a file runs in every layout, and that every value is the strand pair it should be, by shape.

What a step computes on strand pairs is settled by its lemma. Here the plan itself is run, without numbers: a value of
shape (N, F, L) on one strand must be (2N, F, L) in the batch, (N, 2F, L) stacked, and as it is where it is closed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rcproof.checking.examples import meta_input
from rcproof.checking.layers import shaped
from rcproof.checking.traces import BATCHES, Refusal, Traced, one_line
from rcproof.errors import RcproofError
from rcproof.network.network import LAYOUTS, Network
from rcproof.network.plan import Step, compile_plan, fill


def check_rendering(
    network: Network,
    traced: Mapping[str, Traced],
    merged: Mapping[str, Traced],
    shapes: Sequence[Sequence[int]],
    tokens: Sequence[bool],
) -> None:
    """Raise :class:`~rcproof.checking.traces.Refusal` at the first value of another shape.

    ``network``: on the meta device, in eval mode; it is run in each of the three layouts. ``traced``: the
    values on one strand by the names of the network's own steps; ``merged``: what each merge merges.
    """
    with torch.no_grad(), torch.device("meta"):
        inputs = {
            f"input:{i}": meta_input(BATCHES[0], s, t) for i, (s, t) in enumerate(zip(shapes, tokens, strict=True))
        }
        for layout in LAYOUTS:
            try:
                steps = compile_plan(network.rcproof_graph(), network, layout)
            except RcproofError as error:
                raise Refusal(f"the {layout} layout cannot be planned: {one_line(error)}") from None
            _run(network, steps, layout, dict(inputs), traced, merged)


def _run(
    network: Network,
    steps: Sequence[Step],
    layout: str,
    values: dict[str, Any],
    traced: Mapping[str, Traced],
    merged: Mapping[str, Traced],
) -> None:
    for step in steps:
        name, _, form = step.key.rpartition("@")
        try:
            value = _call(network, step, values)
        except Exception as error:  # whatever torch makes of shapes that do not fit
            raise Refusal(f"step {name!r} does not run in the {layout} layout: {one_line(error)}") from None
        values[step.key] = value
        where = f"step {name!r} in the {layout} layout"
        if name in merged and tuple(value.shape) != merged[name].shape:
            raise Refusal(f"{where} has shape {tuple(value.shape)}, and one strand {merged[name].shape}")
        if name in traced and step.action != "size":
            _compare(value, traced[name], form, where)
        for key in step.last_uses:
            del values[key]


def _call(network: Network, step: Step, values: dict[str, Any]) -> Any:
    if isinstance(step.target, nn.Module):
        return shaped(step.target, *fill(step.args, values), **fill(step.kwargs, values))
    return step.run(network, values)


def _compare(value: Any, trace: Traced, form: str, where: str) -> None:
    if trace.items is not None and isinstance(value, tuple | list):
        for item, expected in zip(value, trace.items, strict=True):
            _compare(item, expected, form, where)
    elif isinstance(value, Tensor):
        wanted = _rendered(trace, form)
        if tuple(value.shape) != wanted:
            raise Refusal(f"{where} has shape {tuple(value.shape)}, and the strand pair {wanted}")
    elif trace.shape is not None:
        raise Refusal(f"{where} is no tensor")


def _rendered(trace: Traced, form: str) -> tuple[int, ...] | None:
    """The shape in which a value of one strand is held."""
    shape = trace.shape
    if shape is None or (trace.axis is None) != (form == "plain"):
        return None
    if form == "batched":
        axis = trace.axis or 0
        return (*shape[:axis], 2 * shape[axis], *shape[axis + 1 :])
    if form == "stacked":
        return (shape[0], 2 * shape[1], *shape[2:]) if trace.axis == 0 and len(shape) > 1 else None
    return shape
