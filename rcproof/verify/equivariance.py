"""Does a network say the same thing, mirrored, of the other strand? Never passes for want of an answer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rcproof.strand import Representation, RepresentationLike
from rcproof.verify.inputs import InputCase
from rcproof.verify.report import Check, Report
from rcproof.verify.running import (
    Difference,
    Inputs,
    Spread,
    act,
    as_cases,
    call,
    checks_of,
    compare,
    describe,
    match,
    name_of,
    other_inputs,
    place,
    prepare,
)
from rcproof.verify.tolerances import tolerance_for


def check_equivariance(
    model: nn.Module,
    inputs: Inputs,
    input_representations: RepresentationLike | Sequence[RepresentationLike],
    output_representations: RepresentationLike | Sequence[RepresentationLike],
    *,
    dtype: torch.dtype = torch.float64,
    tolerance: float | None = None,
    allow_constant: bool = False,
    seed: int = 0,
    title: str = "equivariance",
) -> Report:
    """Whether model(ρ_in x) = ρ_out model(x) on the given inputs: theorem T3, seen numerically.

    ``inputs`` as in :func:`~rcproof.verify.equivalence.check_equivalence`; one representation for each
    input and for each output, in the order in which the model returns them. The model runs in ``dtype``
    and eval mode, on a deep copy unless it is so already. Outputs have shape (N, C), (N, C, L) or, with
    the representation ``fixed``, any.

    error = max|model(ρx) − ρ model(x)| / max|model(x)|, where the size of one case counts for no less than
    a thousandth of the largest case's. NaN, infinity, other shapes and exceptions are failures.

    A zero or constant network is equivariant and proves nothing, so an output that is zero on every input
    fails, and so does one that depends on neither the given inputs nor random ones of the same shapes
    (``allow_constant=True`` turns both into notes). Equivariance says nothing of *which* function it is:
    use it beside ``check_equivalence``.

    Errors: :class:`~rcproof.errors.RepresentationError` for a representation that does not fit.

    >>> from rcproof.nn import RCPSConv1d
    >>> layer = RCPSConv1d(4, 3, 5, source="reversal")
    >>> check_equivariance(layer, torch.randn(2, 4, 20), "reversal", "reversal").passed
    True
    """
    limit = tolerance_for(dtype).relative if tolerance is None else tolerance
    cases = as_cases(inputs)
    ready = prepare(model, dtype)
    rho_in = match(input_representations, len(cases[0].tensors), "input")
    rho_out: tuple[Representation, ...] = ()
    failed: list[Check] = []
    found: dict[str, dict[str, Difference]] = {}
    spreads: dict[str, Spread] = {}
    for case in cases:
        tensors = place(case.tensors, ready, dtype)
        match(rho_in, len(tensors), "input")
        mirrored = tuple(act(rho, t) for rho, t in zip(rho_in, tensors, strict=True))
        try:
            with torch.no_grad():
                given, other = call(ready, tensors), call(ready, mirrored)
        except Exception as problem:
            failed.append(Check.failure(f"{case.name}: the model runs", f"it raised {describe(problem)}"))
            continue
        rho_out = match(output_representations, len(given), "output")
        if set(given) != set(other):
            detail = f"{', '.join(given)} for one strand, {', '.join(other)} for the other"
            failed.append(Check.failure(f"{case.name}: structure of the outputs", detail))
            continue
        for rho, (name, t) in zip(rho_out, given.items(), strict=True):
            expected = act(rho, t)
            found.setdefault(name, {})[case.name] = compare(expected, other[name], ("ρ model(x)", "model(ρx)"))
            spreads.setdefault(name, Spread()).add(t)
    checks = failed + checks_of(found, limit)
    silent = _silent(ready, cases[0], spreads, dtype, limit, seed)
    if not allow_constant:
        checks += silent
    facts = {
        "model": type(model).__name__,
        "inputs": ", ".join(map(str, rho_in)),
        "outputs": ", ".join(map(str, rho_out)),
        "dtype": name_of(dtype),
        "tolerance": f"{limit:g} relative",
    }
    notes = [f"{c.name}: {c.detail}" for c in silent if c.detail and (allow_constant or c.passed)]
    return Report(title, tuple(checks), facts, tuple(notes), seed=seed)


def _silent(
    model: nn.Module, case: InputCase, spreads: dict[str, Spread], dtype: torch.dtype, limit: float, seed: int
) -> list[Check]:
    """One check an output: it must not be zero throughout, nor the same whatever comes in."""
    checks = []
    answers: dict[str, Tensor] | None = None
    for name, spread in spreads.items():
        quantity = f"{name} depends on the inputs"
        if not spread.rows:  # nothing finite, or no answer at all: a failure already
            continue
        if spread.scale == 0:
            detail = f"{name} is zero on every input, so that nothing was checked"
            checks.append(Check(quantity, math.inf, limit, False, detail))
            continue
        if not spread.constant(limit):
            checks.append(Check(quantity, 0.0, limit, True))
            continue
        if answers is None:
            answers = _answers(model, case, dtype, seed)
        if name in answers:
            spread.add(answers[name])
        if spread.constant(limit):
            detail = f"{name} is the same whatever the input, so that nothing was checked"
            checks.append(Check(quantity, math.inf, limit, False, detail))
        else:
            several = len(case.tensors[0]) > 1
            detail = f"{name} is the same on all the given inputs, though not on others" if several else ""
            checks.append(Check(quantity, 0.0, limit, True, detail))
    return checks


def _answers(model: nn.Module, case: InputCase, dtype: torch.dtype, seed: int) -> dict[str, Tensor]:
    try:
        with torch.no_grad():
            return call(model, other_inputs(place(case.tensors, model, dtype), seed))
    except Exception:  # no other answer was to be had
        return {}
