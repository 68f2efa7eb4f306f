"""Networks that a file fixes to one number of examples: whether they answer for others, found by trying."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rcproof.convert.trace import Recorder, trace
from rcproof.errors import CheckpointError, RcproofError
from rcproof.network.network import Network

#: The answers of a network are compared if all its values together have so many elements at most.
MOST_ELEMENTS = 1 << 26
#: Networks of more steps are not tried at all: without values a step takes about a millisecond.
_MOST_STEPS = 3000
#: Examples that a network is tried with where its file leaves their number open.
_NUMBERS = (2, 1, 3, 4, 5, 6, 7, 8, 10, 16, 32, 64)


def follows(
    network: Network, shapes: Sequence[Sequence[int]], dtypes: Sequence[torch.dtype], batch: int
) -> bool | None:
    """Whether one example more changes nothing for the others; None if that is too much to try.

    ``shapes`` of the inputs without the batch. The network is run without values first, so that sizes in a file cost
    no memory; then with ``batch`` examples and one more.
    """
    if len(network.rcproof_graph().nodes) > _MOST_STEPS:
        return None
    ghost = _ghost(network)
    graph = trace(network, network.input_count)
    recorder = Recorder(ghost, graph, owner=network)
    empty = [torch.empty((batch + 1, *s), dtype=d, device="meta") for s, d in zip(shapes, dtypes, strict=True)]
    try:
        with torch.no_grad():
            recorder.run(*empty)
    except RcproofError:
        return False
    total = sum(t.numel() for value in recorder.values.values() for t in _tensors(value))
    if total > MOST_ELEMENTS:
        return None
    generator = torch.Generator().manual_seed(0)
    inputs = [_draw(batch + 1, shape, dtype, generator) for shape, dtype in zip(shapes, dtypes, strict=True)]
    with torch.no_grad():
        try:
            whole, first, last = (
                _tensors(network(*chosen)) for chosen in (inputs, [x[:-1] for x in inputs], [x[1:] for x in inputs])
            )
        except (RuntimeError, RcproofError, IndexError, ValueError, TypeError):
            return False
    return all(
        y.dim() > 0 and len(y) == batch + 1 and _close(y[:-1], a) and _close(y[1:], b)
        for y, a, b in zip(whole, first, last, strict=True)
    )


def check_runs(
    network: nn.Module, shapes: Sequence[Sequence[int]], dtypes: Sequence[torch.dtype], batch: int | None = None
) -> None:
    """A :class:`~rcproof.errors.CheckpointError` if the steps of a file do not fit the inputs that it states.

    The network is run without values, for ``batch`` examples, or any of ``_NUMBERS`` where the file leaves that open:
    its constants may still fix it. What torch cannot run so, or has very many steps, is not judged.
    """
    if sum(len(net.rcproof_graph().nodes) for net in network.modules() if isinstance(net, Network)) > _MOST_STEPS:
        return
    ghost, reason = _ghost(network), ""
    for count in _NUMBERS if batch is None else (batch,):
        try:
            empty = [torch.empty((count, *s), dtype=d, device="meta") for s, d in zip(shapes, dtypes, strict=True)]
            with torch.no_grad():
                ghost(*empty)
            return
        except Exception as error:  # torch checks its arguments in many ways
            told = (str(error).strip().splitlines() or [""])[0]
            if isinstance(error, NotImplementedError) or "meta" in told:
                return
            reason = reason or f"{type(error).__name__}: {told}"
    raise CheckpointError("the network in the file does not run on the inputs that it states", got=reason)


def _ghost(network: nn.Module) -> nn.Module:
    """A copy without values."""
    memo: dict[int, Any] = {id(b): b.to("meta") for b in network.buffers()}
    memo |= {id(p): nn.Parameter(p.to("meta"), requires_grad=False) for p in network.parameters()}
    return copy.deepcopy(network, memo)


def _tensors(value: object) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [t for v in value for t in _tensors(v)] if isinstance(value, tuple | list) else []


def _draw(count: int, shape: Sequence[int], dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    if dtype.is_floating_point:
        return torch.rand((count, *shape), generator=generator, dtype=torch.float64).to(dtype)
    return torch.randint(0, 2, (count, *shape), generator=generator).to(dtype)


def _close(x: Tensor, y: Tensor) -> bool:
    if x.shape != y.shape:
        return False
    if not x.is_floating_point():
        return torch.equal(x, y)
    return torch.allclose(x, y, rtol=1e-3, atol=1e-4 * float(y.abs().max()) if y.numel() else 0.0, equal_nan=True)
