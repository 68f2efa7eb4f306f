"""Are two networks the same function? Outputs and input gradients, on given inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from rcproof.verify.inputs import InputCase
from rcproof.verify.report import Check, Report
from rcproof.verify.running import (
    Difference,
    Inputs,
    Spread,
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

#: Gradients are taken at a point moved by up to this much. At the given point a one-hot or constant input
#: makes exact ties in max pooling, where a maximum has many gradients and two right networks may differ.
JITTER = 1e-2

Gradients = dict[tuple[str, int], Tensor]


def check_equivalence(
    a: nn.Module,
    b: nn.Module,
    inputs: Inputs,
    *,
    gradients: bool = True,
    dtype: torch.dtype = torch.float64,
    tolerance: float | None = None,
    seed: int = 0,
    title: str = "equivalence",
) -> Report:
    """Whether ``b`` computes what ``a`` computes: theorem T5 (and T8 for the gradients), seen numerically.

    ``inputs`` are the arguments of one call, batch first, or several :class:`InputCase`
    (:func:`~rcproof.verify.inputs.draw_inputs`). Outputs may be tensors, tuples, lists and mappings of
    tensors, nested, of any shape; both networks must give the same structure and shapes. Both run in
    ``dtype`` and eval mode, on deep copies unless they are so already, each on its own device.

    For each output: error = max|a − b| / max|a|, where the size of one case counts for no less than a
    thousandth of the largest case's; where all is zero, exact equality. For each output and
    floating-point input, the same for the input gradient of a fixed random linear functional, at the input
    moved by positive noise of at most 0.01, away from the ties at which a maximum has no gradient. In low
    precision a unit near its kink can fall on either side, so gradients are best compared in float64.

    A check fails if its error is not ≤ ``tolerance`` (default: the table in
    :mod:`rcproof.verify.tolerances`), or if either network raises or gives NaN or infinity. An output
    that is zero or constant on all inputs is noted: agreement on it says little. Raises
    :class:`~rcproof.errors.RcproofError` for inputs it cannot use.

    >>> net = nn.Sequential(nn.Conv1d(4, 2, 5), nn.ReLU())
    >>> check_equivalence(net, net, torch.randn(3, 4, 20)).passed
    True
    """
    limit = tolerance_for(dtype).relative if tolerance is None else tolerance
    cases = as_cases(inputs)
    first, second = prepare(a, dtype), prepare(b, dtype)
    failed: list[Check] = []
    found: dict[str, dict[str, Difference]] = {}
    spreads: dict[str, Spread] = {}
    notes: list[str] = []
    for case in cases:
        outputs = _outputs(first, second, case, dtype, failed)
        if outputs is None:
            continue
        mine, theirs = outputs
        for name, t in mine.items():
            found.setdefault(name, {})[case.name] = compare(t, theirs[name])
            spreads.setdefault(name, Spread()).add(t)
        if gradients:
            _compare_gradients(first, second, case, mine, theirs, dtype, seed, found, failed, notes)
    for name, spread in spreads.items():
        if not spread.rows:
            continue
        if spread.scale == 0:
            notes.append(f"{name} of a is zero on every input, so that agreement on it says little")
        elif spread.constant(limit) and spread.rows > 1:
            notes.append(f"{name} of a is the same for every input, so that agreement on it says little")
    checks = [*failed, *checks_of(found, limit)]
    if any(not c.passed for c in checks):
        notes += _unsteady(first, "a", cases[0], dtype, limit) + _unsteady(second, "b", cases[0], dtype, limit)
    facts = {
        "a": type(a).__name__,
        "b": type(b).__name__,
        "compared": "outputs and input gradients" if gradients else "outputs",
        "dtype": name_of(dtype),
        "tolerance": f"{limit:g} relative",
    }
    return Report(title, tuple(checks), facts, tuple(dict.fromkeys(notes)), seed=seed)


def _outputs(
    a: nn.Module, b: nn.Module, case: InputCase, dtype: torch.dtype, failed: list[Check]
) -> tuple[dict[str, Tensor], dict[str, Tensor]] | None:
    """Both outputs, or None with the reason in ``failed``."""
    results: list[dict[str, Tensor]] = []
    for model, name in ((a, "a"), (b, "b")):
        try:
            with torch.no_grad():
                results.append(call(model, place(case.tensors, model, dtype)))
        except Exception as problem:
            failed.append(Check.failure(f"{case.name}: {name} runs", f"{name} raised {describe(problem)}"))
    if len(results) < 2:
        return None
    mine, theirs = results
    if set(mine) != set(theirs):
        detail = f"a returns {', '.join(mine)}; b returns {', '.join(theirs)}"
        failed.append(Check.failure(f"{case.name}: structure of the outputs", detail))
        return None
    return mine, theirs


def _compare_gradients(
    a: nn.Module,
    b: nn.Module,
    case: InputCase,
    mine: Mapping[str, Tensor],
    theirs: Mapping[str, Tensor],
    dtype: torch.dtype,
    seed: int,
    found: dict[str, dict[str, Difference]],
    failed: list[Check],
    notes: list[str],
) -> None:
    generator = torch.Generator().manual_seed(seed)
    functionals = {
        name: torch.randn(t.shape, generator=generator, dtype=torch.float64)
        for name, t in sorted(mine.items())
        if t.is_floating_point() and theirs[name].is_floating_point() and t.shape == theirs[name].shape and t.numel()
    }
    moved = jitter(case.tensors, generator)
    if not functionals or not any(t.is_floating_point() for t in moved):
        notes.append("no floating-point input or output: there are no gradients to compare")
        return
    results: list[Gradients] = []
    for model, name in ((a, "a"), (b, "b")):
        try:
            results.append(input_gradients(model, place(moved, model, dtype), functionals))
        except Exception as problem:
            failed.append(Check.failure(f"{case.name}: gradient of {name}", f"{name} raised {describe(problem)}"))
    if len(results) < 2:
        return
    ours, others = results
    if not ours and not others:
        notes.append("no output of either network depends on the inputs differentiably: no gradients compared")
    for key in sorted(ours.keys() | others.keys()):
        output, index = key
        quantity = f"gradient of {output} by input {index}"
        zero = torch.zeros_like(moved[index])
        difference = compare(ours.get(key, zero), others.get(key, zero))
        found.setdefault(quantity, {})[case.name] = difference


def jitter(tensors: Sequence[Tensor], generator: torch.Generator) -> list[Tensor]:
    """The tensors, floating-point ones moved by uniform noise in [0, JITTER): non-negative inputs stay so."""
    return [
        t + JITTER * torch.rand(t.shape, generator=generator, dtype=torch.float64).to(t.device, t.dtype)
        if t.is_floating_point()
        else t
        for t in tensors
    ]


def input_gradients(model: nn.Module, tensors: Sequence[Tensor], functionals: Mapping[str, Tensor]) -> Gradients:
    """∂⟨w, output⟩/∂input for each output's functional w and each floating-point input it depends on."""
    leaves = [t.clone().requires_grad_() if t.is_floating_point() else t for t in tensors]
    wanted = [i for i, t in enumerate(leaves) if t.requires_grad]
    found: Gradients = {}
    with torch.enable_grad():
        outputs = call(model, leaves)
        for name, w in functionals.items():
            y = outputs[name]
            if not y.requires_grad:
                continue
            parts = torch.autograd.grad(
                y, [leaves[i] for i in wanted], w.to(y.device, y.dtype), retain_graph=True, allow_unused=True
            )
            found.update({(name, i): g for i, g in zip(wanted, parts, strict=True) if g is not None})
    return found


def _unsteady(model: nn.Module, name: str, case: InputCase, dtype: torch.dtype, limit: float) -> list[str]:
    """A note if the model answers the same input differently twice, as with dropout left on in eval mode."""
    try:
        with torch.no_grad():
            tensors = place(case.tensors, model, dtype)
            once, twice = call(model, tensors), call(model, tensors)
    except Exception:  # reported as a failed check already
        return []
    again = {key: {case.name: compare(t, twice[key])} for key, t in once.items() if key in twice}
    steady = all(c.passed for c in checks_of(again, limit)) or any(not bool(t.isfinite().all()) for t in once.values())
    return [] if steady else [f"{name} gives another answer each time it runs: is dropout on in eval mode?"]
