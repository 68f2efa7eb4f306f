"""Are two networks equal in exact arithmetic? With tolerance zero, on given inputs: the first step of the ladder.

Floating-point weights and inputs are rational numbers, and on them a piecewise-linear network is a rational function.
Here both networks are evaluated so, without a single rounding, each through its own code
(:mod:`rcproof.verify.intercept`): the source as it runs, and the RCPS network as *it* runs, with the tied weights of
its stacked layout.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from rcproof.errors import RcproofError
from rcproof.network.network import Network
from rcproof.verify.exact_ops import ROOT_BITS, Exact, ExactArithmetic
from rcproof.verify.inputs import InputCase
from rcproof.verify.intercept import Held, NotCovered, located
from rcproof.verify.report import Check, Report
from rcproof.verify.running import Inputs, as_cases, call, compare, describe, flatten, place, prepare

#: How far the exact answers may be from those of float64, relative to the largest. That the two networks agree says
#: nothing if the arithmetic itself is wrong, so it is held against another one. Rounding in float64 stays far below.
FLOAT_AGREEMENT = 1e-9


def evaluate_exact(model: nn.Module, tensors: Sequence[Tensor], root_bits: int = ROOT_BITS) -> dict[str, Exact]:
    """The model's outputs by name, in exact arithmetic, for the inputs given (batch first).

    The weights are taken as they are (float32 and bfloat16 numbers are float64 numbers), in eval mode; the model is
    not changed. Raises :class:`~rcproof.verify.intercept.NotCovered`, which names layer and function, where the model
    does what has no exact form.
    """
    return _evaluate(prepare(model, torch.float64), tensors, root_bits)[0]


def _evaluate(ready: nn.Module, tensors: Sequence[Tensor], root_bits: int) -> tuple[dict[str, Exact], int]:
    arithmetic = ExactArithmetic(root_bits)
    given = [
        arithmetic.wrap(arithmetic.constant(t.detach().cpu().double())) if t.is_floating_point() else t.cpu()
        for t in tensors
    ]
    owned = next(iter([*ready.parameters(), *ready.buffers()]), None)
    if owned is not None and owned.device.type != "cpu":
        ready = copy.deepcopy(ready).cpu()
    with torch.no_grad(), located(ready, arithmetic), arithmetic:
        outputs = ready(*given)
    found = {}
    for name, t in flatten(outputs).items():
        found[name] = arithmetic.value(t)
    return found, arithmetic.longest


def in_layout(model: nn.Module, layout: str) -> nn.Module:
    """An RCPS network in a layout, as a copy; any other network as it is."""
    if isinstance(model, Network) and model.carries_strands:
        return copy.deepcopy(model).set_layout(layout)
    return model


def check_exact(
    a: nn.Module,
    b: nn.Module,
    inputs: Inputs,
    *,
    layouts: Sequence[str] = ("stacked",),
    root_bits: int = ROOT_BITS,
    seed: int = 0,
    title: str = "exact arithmetic",
) -> Report:
    """Whether ``b`` computes what ``a`` computes, in exact rational arithmetic: theorem T5 with tolerance zero.

    Covered: convolutions, transposed ones, dense layers, batch norm (eval), piecewise-linear functions, max and
    average pooling, sums, products, crops, joins, merges. Transcendental functions are compared at their exact
    arguments: equal arguments, equal values (:mod:`rcproof.verify.exact_ops`). Batch norm divides by a root: both
    networks take 1/√(variance + ε) for the same dyadic number of ``root_bits`` bits.

    ``inputs`` as in :func:`~rcproof.verify.equivalence.check_equivalence`. ``b``, where it is an RCPS network, runs in
    each of ``layouts``. For each output and case one check that every element is equal (its error is the largest
    difference), and one that the exact values of ``a`` are those of float64, up to its rounding. Raises
    :class:`~rcproof.verify.intercept.NotCovered` where a network has no exact form.

    >>> from torch import nn
    >>> from rcproof import Conjoined, convert
    >>> net = nn.Sequential(nn.Conv1d(4, 2, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten()).eval()
    >>> conjoined = Conjoined(net).eval()
    >>> check_exact(conjoined, convert(conjoined).model, torch.randn(1, 4, 12)).passed
    True
    """
    cases = as_cases(inputs)
    first = prepare(a, torch.float64)
    others = {layout: in_layout(prepare(b, torch.float64), layout) for layout in layouts}
    checks: list[Check] = []
    notes: list[str] = []
    longest, started = 0, time.monotonic()
    for case in cases:
        mine, bits = _run(first, "a", case, root_bits)
        checks += _float_checks(first, case, mine, notes)
        longest = max(longest, bits)
        for layout, second in others.items():
            theirs, bits = _run(second, "b", case, root_bits)
            longest = max(longest, bits)
            suffix = f", {layout}" if len(others) > 1 else ""
            if set(mine) != set(theirs):
                detail = f"a returns {', '.join(mine)}; b returns {', '.join(theirs)}"
                checks.append(Check.failure(f"{case.name}: structure of the outputs{suffix}", detail))
                continue
            checks += [_equal(f"{case.name}: {name}{suffix}", mine[name], theirs[name]) for name in mine]
    facts = {
        "a": type(a).__name__,
        "b": type(b).__name__,
        "layouts of b": ", ".join(layouts),
        "arithmetic": f"rational, up to {longest} bits; 1/√ in batch norm of {root_bits} bits",
        "seconds": f"{time.monotonic() - started:.1f}",
    }
    return Report(title, tuple(checks), facts, tuple(dict.fromkeys(notes)), seed=seed)


def _run(model: nn.Module, name: str, case: InputCase, root_bits: int) -> tuple[dict[str, Exact], int]:
    try:
        return _evaluate(model, case.tensors, root_bits)
    except RcproofError:
        raise
    except Exception as problem:
        raise RcproofError(f"network {name} does not run in exact arithmetic", got=describe(problem)) from problem


def _equal(name: str, a: Exact, b: Exact) -> Check:
    """Every element equal, and of one function."""
    if a.shape != b.shape:
        return Check.failure(name, f"shape {a.shape} of a, {b.shape} of b")
    if a.head != b.head:
        return Check.failure(name, f"a returns values of {_function(a)}, b of {_function(b)}")
    difference = a.numbers - b.numbers
    wrong = int((difference.digits != 0).any(0).sum())
    if not wrong:
        return Check.of(name, 0.0, 0.0, _counted(a))
    if a.symbols or b.symbols:
        return Check.failure(name, f"{wrong} of {math.prod(a.shape)} formulas differ in {a.symbols or b.symbols}")
    largest = float(np.abs(difference.floats()).max())
    detail = f"{wrong} of {math.prod(a.shape)} elements differ"
    return Check.of(name, max(largest, 5e-324), 0.0, detail)  # a difference that float64 cannot hold is one


def _function(x: Exact) -> str:
    return "no function" if x.head is None else f"{x.head.name}{x.head.arguments}"


def _counted(x: Exact) -> str:
    at = f" arguments of {x.head.name}" if x.head is not None else f" formulas in {x.symbols}" if x.symbols else ""
    return f"{math.prod(x.shape)}{at or ' numbers'}, equal"


def _float_checks(model: nn.Module, case: InputCase, exact: dict[str, Exact], notes: list[str]) -> list[Check]:
    """The exact values against those of an ordinary run in float64."""
    with torch.no_grad():
        outputs = call(model, place(case.tensors, model, torch.float64))
    checks = []
    for name, x in exact.items():
        if x.symbols:
            notes.append(
                f"{name} holds symbols for values of {x.symbols}, so it has no numbers to hold against float64"
            )
            continue
        values = torch.from_numpy(x.numbers.floats()).reshape(x.shape)
        values = values if x.head is None else x.head.function(values)
        found = compare(values, outputs[name], ("the exact values", "those of float64"))
        scale = found.scale if found.scale > 0 else 1.0
        error = found.largest / scale if math.isfinite(found.largest) else math.inf
        checks.append(Check.of(f"{case.name}: {name} of a is that of float64", error, FLOAT_AGREEMENT, found.detail))
    return checks


__all__ = ["Exact", "Held", "NotCovered", "check_exact", "evaluate_exact", "in_layout"]
