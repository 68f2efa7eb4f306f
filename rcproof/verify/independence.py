"""Do the examples of a batch influence each other? Running both strands in one batch needs that they do not."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rcproof.errors import ShapeError
from rcproof.verify.equivalence import input_gradients, jitter
from rcproof.verify.inputs import InputCase
from rcproof.verify.report import Check, Report
from rcproof.verify.running import (
    Difference,
    Inputs,
    as_cases,
    call,
    checks_of,
    compare,
    describe,
    name_of,
    place,
    prepare,
)
from rcproof.verify.tolerances import tolerance_for


def check_independence(
    model: nn.Module,
    inputs: Inputs,
    *,
    dtype: torch.dtype = torch.float64,
    tolerance: float | None = None,
    seed: int = 0,
    title: str = "independence of examples",
) -> Report:
    """Whether the network treats the examples of a batch one by one: the condition of theorem T2's batched lift.

    Three probes on each case of batch size N ≥ 2, in ``dtype`` and eval mode: the batch against its
    examples run alone; against the batch in another order; and the gradient of half of the outputs by the
    other half of the inputs, which must be exactly zero (this sees mixing however weak). An output whose
    first axis is not the batch fails. A probe can only find mixing on the inputs it is given.

    Errors: :class:`~rcproof.errors.ShapeError` for a batch of one.

    >>> from torch import nn
    >>> class Mixing(nn.Module):
    ...     def forward(self, x):
    ...         return x - x.mean(0)
    >>> check_independence(nn.Conv1d(4, 2, 5), torch.randn(4, 4, 20)).passed
    True
    >>> check_independence(Mixing(), torch.randn(4, 4, 20)).passed
    False
    """
    limit = tolerance_for(dtype).relative if tolerance is None else tolerance
    cases = as_cases(inputs)
    ready = prepare(model, dtype)
    checks: list[Check] = []
    found: dict[str, dict[str, Difference]] = {}
    for case in cases:
        n = len(case.tensors[0])
        if n < 2:
            raise ShapeError(f"batch of case {case.name!r}", got=n, expected="at least 2 examples to tell apart")
        try:
            checks += _probe(ready, case, place(case.tensors, ready, dtype), found, seed)
        except Exception as problem:
            checks.append(Check.failure(f"{case.name}: the model runs", f"it raised {describe(problem)}"))
    facts = {"model": type(model).__name__, "dtype": name_of(dtype), "tolerance": f"{limit:g} relative"}
    return Report(title, (*checks, *checks_of(found, limit)), facts, seed=seed)


def _probe(
    model: nn.Module,
    case: InputCase,
    tensors: tuple[Tensor, ...],
    found: dict[str, dict[str, Difference]],
    seed: int,
) -> list[Check]:
    n = len(tensors[0])
    order = torch.arange(n).roll(1 + seed % (n - 1))  # never the identity
    with torch.no_grad():
        together = call(model, tensors)
        moved = call(model, [t[order.to(t.device)] for t in tensors])
    wrong = [
        Check.failure(f"{case.name}: {name}", f"shape {tuple(t.shape)} for a batch of {n}, whose first axis it lacks")
        for name, t in together.items()
        if t.dim() == 0 or len(t) != n
    ]
    if wrong:
        return wrong
    singles: dict[str, list[Tensor]] = {name: [] for name in together}
    for i in range(n):
        with torch.no_grad():
            alone = call(model, [t[i : i + 1] for t in tensors])
        for name, rows in singles.items():
            rows.append(alone[name])
    for name, t in together.items():
        ragged = next((r for r in singles[name] if r.dim() == 0 or r.shape != t[:1].shape), None)
        by_one = (
            compare(t[:1], ragged, ("one row of the batch", "a batch of one"))
            if ragged is not None
            else compare(t, torch.cat(singles[name]), ("the batch", "its examples alone"))
        )
        found.setdefault(f"{name}, examples alone", {})[case.name] = by_one
        reordered = compare(t[order.to(t.device)], moved[name], ("the batch", "the batch reordered"))
        found.setdefault(f"{name}, batch reordered", {})[case.name] = reordered
    return _gradients(model, case, tensors, together, seed)


def _gradients(
    model: nn.Module, case: InputCase, tensors: tuple[Tensor, ...], outputs: dict[str, Tensor], seed: int
) -> list[Check]:
    """The gradient of the even examples' outputs by the odd examples' inputs: exactly zero."""
    generator = torch.Generator().manual_seed(seed)
    functionals = {}
    for name, t in outputs.items():
        if t.is_floating_point():
            w = torch.randn(t.shape, generator=generator, dtype=torch.float64)
            w[1::2] = 0
            functionals[name] = w
    if not functionals or not any(t.is_floating_point() for t in tensors):
        return []
    checks = []
    for (name, index), g in input_gradients(model, jitter(tensors, generator), functionals).items():
        across = float(g[1::2].abs().max()) if g[1::2].numel() else 0.0
        quantity = f"{case.name}: gradient of {name} by input {index} of other examples"
        detail = "" if across <= 0 else "one example's output moves with another's input"
        checks.append(Check.of(quantity, across, 0.0, detail))
    return checks
