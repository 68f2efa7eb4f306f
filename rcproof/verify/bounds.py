"""T12 made numerical: how far apart the floating-point results of two equal networks can be, and how far they are."""

from __future__ import annotations

import copy
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from rcproof.errors import RcproofError
from rcproof.verify.bounds_ops import BoundArithmetic
from rcproof.verify.bounds_pairs import given_roundings, paired_steps, pairing_holds, same_factors
from rcproof.verify.bounds_values import KINDS, PAIR_KINDS, Bound, Rounding
from rcproof.verify.exact import in_layout
from rcproof.verify.inputs import InputCase
from rcproof.verify.intercept import located
from rcproof.verify.precision import FUNCTION_UNITS, PRECISIONS, Precision, precision
from rcproof.verify.report import Check, Report, number
from rcproof.verify.running import Inputs, as_cases, describe, flatten, prepare

#: From how many elements of an output errors are pulled back; the others have the bound that goes forward.
PULLED_BACK = 16
#: A sample keeps no more elements than this, evenly spaced and the largest differences.
KEPT = 256


@dataclass(frozen=True)
class Box:
    """All values of one input from ``low`` to ``high``; ``one_hot`` if its channels add up to at most 1."""

    low: float
    high: float
    one_hot: bool = False


@dataclass(frozen=True, eq=False)
class OutputBound:
    """One output of one network: |computed − exact| ≤ ``error``, element by element; ``computed`` in a run."""

    error: Tensor
    computed: Tensor | None = None


@dataclass(frozen=True, eq=False)
class NetworkBound:
    """The outputs of one network by name.

    ``excess``: the largest rounding measured in a run, as a share of what the model of rounding allows; and where.
    """

    outputs: dict[str, OutputBound]
    excess: float = 0.0
    excess_at: str = ""


@dataclass(frozen=True)
class Sample:
    """Observed differences of one output in one case, and what bounds them, element by element (at most ``KEPT``)."""

    case: str
    output: str
    kind: str
    observed: tuple[float, ...]
    bound: tuple[float, ...]

    @property
    def largest(self) -> tuple[float, float]:
        """The largest difference, and the bound where it is the largest share of its bound."""
        return max(self.observed), max(self.bound)

    @property
    def tightness(self) -> float:
        """The bound over the difference where they come closest; infinite where nothing differs."""
        return min((b / o for o, b in zip(self.observed, self.bound, strict=True) if o > 0), default=math.inf)


@dataclass(frozen=True)
class BoundsFound:
    """What :func:`check_bounds` found: the report, and the differences against their bounds.

    >>> from torch import nn
    >>> from rcproof import Conjoined, convert
    >>> net = nn.Sequential(nn.Conv1d(4, 2, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten()).eval()
    >>> conjoined = Conjoined(net).eval()
    >>> found = check_bounds(conjoined, convert(conjoined).model, torch.randn(1, 4, 12))
    >>> found.precision, found.samples[0].output
    ('float32', 'output')
    """

    report: Report
    samples: tuple[Sample, ...]
    precision: str = "float32"
    facts: dict[str, dict[str, float]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for strict JSON."""
        rows = [
            {
                "case": s.case,
                "output": s.output,
                "kind": s.kind,
                "observed": [number(v) for v in s.observed],
                "bound": [number(v) for v in s.bound],
            }
            for s in self.samples
        ]
        figures = {kind: {k: number(v) for k, v in values.items()} for kind, values in self.facts.items()}
        return {"precision": self.precision, "tightness": figures, "samples": rows}


def bound_network(
    model: nn.Module,
    inputs: Sequence[Tensor] | Sequence[Box],
    prec: Precision | str = "float32",
    kind: str = "input",
    *,
    shapes: Sequence[Sequence[int]] | None = None,
    elements: dict[str, Sequence[int]] | int = PULLED_BACK,
) -> NetworkBound:
    """How far the outputs of ``model``, run in a precision, can be from the exact function of its weights in it.

    ``kind`` ``box``: ``inputs`` are boxes, of the ``shapes`` given, without the batch; the bound holds for every
    input in them. ``input``: they are tensors (batch first), and the bound holds for every order in which sums are
    taken. ``run``: the model is run on them, and the bound is on that run; see :mod:`rcproof.verify.bounds_values`
    (the kind ``pair`` is one of two networks: :func:`check_bounds`).
    Weights and inputs are first rounded to the precision; the exact function is that of the rounded ones.

    ``elements``: from which places of each flat output (or from how many, evenly spaced) errors are pulled back.
    Raises :class:`~rcproof.verify.intercept.NotCovered` for a layer or function without a rule.
    """
    bounded = _Bounded(model, inputs, prec if isinstance(prec, Precision) else precision(prec), kind, shapes)
    chosen = elements if isinstance(elements, dict) else bounded.spaced(elements)
    errors = bounded.errors(chosen)
    outputs = {name: OutputBound(errors[name], v.computed) for name, v in bounded.values.items()}
    return NetworkBound(outputs, bounded.arithmetic.excess, bounded.arithmetic.excess_at)


class _Bounded:
    """A network after it ran under bounds: its outputs, and what errors are pulled back through."""

    def __init__(
        self, model: nn.Module, inputs: Sequence[Tensor | Box], prec: Precision, kind: str, shapes: Any = None,
        given: Mapping[int, Rounding] | None = None, fixed: Mapping[int, Tensor] | None = None,
    ) -> None:  # fmt: skip
        if kind not in KINDS:
            raise RcproofError("kind of rounding bound", got=repr(kind), expected=", ".join(KINDS))
        ready = prepare(model, prec.dtype)
        if any(t.device.type != "cpu" for t in [*ready.parameters(), *ready.buffers()]):
            ready = copy.deepcopy(ready).cpu()
        self.arithmetic = BoundArithmetic(prec, kind, given=given, fixed=fixed)
        values = [_given(self.arithmetic, x, None if shapes is None else shapes[i]) for i, x in enumerate(inputs)]
        recording = torch.enable_grad() if self.arithmetic.pull_back else torch.no_grad()
        with recording, located(ready, self.arithmetic), self.arithmetic:
            outputs = ready(*values)
        self.values: dict[str, Bound] = {name: self.arithmetic.value(t) for name, t in flatten(outputs).items()}
        self._found: tuple[dict[str, tuple[int, ...]], dict[str, Tensor]] | None = None

    def spaced(self, wanted: int) -> dict[str, list[int]]:
        return {name: _spaced(v.err.numel(), wanted) for name, v in self.values.items()}

    def errors(self, elements: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
        """The smaller of both bounds; errors are pulled back from these elements alone."""
        asked = {name: tuple(chosen) for name, chosen in elements.items()}
        if self._found is None or self._found[0] != asked:
            self._found = asked, {name: self._error(v, asked.get(name, ())) for name, v in self.values.items()}
        return dict(self._found[1])

    def _error(self, value: Bound, chosen: Sequence[int]) -> Tensor:
        flat = value.err.detach().clone().reshape(-1)
        if self.arithmetic.pull_back and chosen:
            flat[list(chosen)] = torch.minimum(flat[list(chosen)], self.arithmetic.pulled_back(value, chosen))
        return flat.reshape(value.err.shape)


def _given(arithmetic: BoundArithmetic, x: Tensor | Box, shape: Sequence[int] | None) -> Tensor:
    if isinstance(x, Tensor):
        return arithmetic.point(x) if x.is_floating_point() else x.cpu()
    if shape is None:
        raise RcproofError("bounds over a box of inputs", fix="give the shapes of the inputs, without the batch")
    low, high = (torch.full((1, *shape), v, dtype=torch.float64) for v in (x.low, x.high))
    return arithmetic.box(low, high, x.one_hot)


def _spaced(count: int, wanted: int) -> list[int]:
    return sorted({round(i * (count - 1) / max(wanted - 1, 1)) for i in range(min(wanted, count))})


def smallest_boxes(cases: Sequence[InputCase]) -> list[Box] | None:
    """For each input the smallest box around what the cases hold; None if some input is no floating-point tensor.

    DNA that is one-hot (or has unknown bases as zeros or ¼) in every case makes a box of such DNA.
    """
    boxes = []
    for position in range(len(cases[0].tensors)):
        tensors = [case.tensors[position].double() for case in cases if case.tensors[position].is_floating_point()]
        if len(tensors) < len(cases):
            return None
        low, high = min(float(t.min()) for t in tensors), max(float(t.max()) for t in tensors)
        dna = all(t.dim() == 3 and t.shape[1] == 4 and bool((t.sum(1) <= 1).all()) for t in tensors)
        boxes.append(Box(0.0, 1.0, True) if dna and low >= 0 else Box(low, high))
    return boxes


def check_bounds(
    a: nn.Module,
    b: nn.Module,
    inputs: Inputs,
    *,
    prec: str = "float32",
    kinds: Sequence[str] = PAIR_KINDS,
    layout: str = "stacked",
    pulled: int = PULLED_BACK,
    seed: int = 0,
    title: str | None = None,
) -> BoundsFound:
    """Whether the results of two networks in one precision are as close as rounding bounds say: theorem T12.

    ``b`` is to have the exact function of ``a`` (T5; the level above tells). Both run on the CPU in precision ``prec``
    (``tf32`` by rounding the factors of every product), ``b`` in ``layout``. For each case and output one check a
    kind: no element's difference is more than the sum of both networks' bounds there (``error`` is the largest share);
    of the kind ``pair``, rounding that both share cancels first (:mod:`rcproof.verify.bounds_pairs`).
    And one check a case that no rounding was larger than the model of rounding allows, step by step.

    >>> from torch import nn
    >>> from rcproof import Conjoined, convert
    >>> net = nn.Sequential(nn.Conv1d(4, 2, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten()).eval()
    >>> conjoined = Conjoined(net).eval()
    >>> found = check_bounds(conjoined, convert(conjoined).model, torch.randn(1, 4, 12))
    >>> found.report.passed
    True
    """
    chosen = precision(prec)
    cases = as_cases(inputs)
    first, second = prepare(a, chosen.dtype), in_layout(prepare(b, chosen.dtype), layout)
    checks: list[Check] = []
    samples: list[Sample] = []
    boxed = _Boxed(first, second, chosen, smallest_boxes(cases) if "box" in kinds else None)
    paired = _Paired(first, second, chosen)
    for case in cases:
        try:
            checks += _check_case(first, second, case, chosen, kinds, pulled, boxed, paired, samples)
        except RcproofError:
            raise
        except Exception as problem:
            raise RcproofError("the networks do not run under rounding bounds", got=describe(problem)) from problem
    facts = {
        "a": type(a).__name__,
        "b": type(b).__name__,
        "layout of b": layout,
        "precision": f"{chosen.name}: {chosen.reason}",
        "assumed": f"sums in any order; elementary functions within {FUNCTION_UNITS} units; no Winograd or FFT",
    }
    found: dict[str, dict[str, float]] = {}
    for kind in kinds:
        of_kind = [s for s in samples if s.kind == kind]
        if of_kind:
            found[kind] = _figures(of_kind)
            facts[f"bound over difference, {kind}"] = _shown(found[kind])
    if "pair" in kinds:
        facts["paired steps"] = paired.told()
    report = Report(title or f"rounding bounds, {chosen.name}", tuple(checks), facts, boxed.notes(kinds), seed=seed)
    return BoundsFound(report, tuple(samples), chosen.name, found)


class _Boxed:
    """The bounds over boxes: one run a shape of input, however many cases have it."""

    def __init__(self, a: nn.Module, b: nn.Module, prec: Precision, boxes: list[Box] | None) -> None:
        self.networks, self.prec, self.boxes = (a, b), prec, boxes
        self.found: dict[Any, dict[str, Tensor]] = {}

    def errors(self, case: InputCase) -> dict[str, Tensor]:
        if self.boxes is None:
            return {}
        shapes = tuple(tuple(t.shape[1:]) for t in case.tensors)
        if shapes not in self.found:
            one, two = (bound_network(n, self.boxes, self.prec, "box", shapes=shapes) for n in self.networks)
            self.found[shapes] = {name: one.outputs[name].error + two.outputs[name].error for name in one.outputs}
        return self.found[shapes]

    def notes(self, kinds: Sequence[str]) -> tuple[str, ...]:
        if "box" in kinds and self.boxes is None:
            return ("an input of integers has no box: no bound before the run",)
        return ()


class _Paired:
    """The bounds for the runs of both networks: which steps are paired is found once a shape of input."""

    def __init__(self, a: nn.Module, b: nn.Module, prec: Precision) -> None:
        self.networks, self.prec = (a, b), prec
        self.pairs: dict[Any, dict[int, int]] = {}
        self.steps = [0, 0]

    def errors(
        self, case: InputCase, runs: Sequence[_Bounded], elements: Mapping[str, Sequence[int]]
    ) -> dict[str, Tensor]:
        """Sums of both networks' bounds; no more than those of the kind ``run``."""
        a, b = (run.arithmetic.roundings for run in runs)
        pairs = self._pairs(case, a, b)
        alone = [run.errors(elements) for run in runs]
        found = {name: alone[0][name] + alone[1][name] for name in alone[0]}
        if not pairs:
            return found
        masks = same_factors(pairs, a, b)
        # Of what b rounds between such factors nothing counts in b; its roundings are what a's are held against.
        first = self._again(1, case, None, masks[1])
        second = self._again(1, case, {j: first.arithmetic.roundings[j] for j in pairs.values()}, masks[1])
        last = self._again(0, case, given_roundings(pairs, a, first.arithmetic.roundings), masks[0])
        for again, run in zip((last, second), runs, strict=True):
            if not all(torch.equal(again.values[n].computed, v.computed) for n, v in run.values.items()):  # type: ignore[arg-type]
                return found  # the runs are not the ones that were measured
        one, two = (bounded.errors(elements) for bounded in (last, second))
        return {name: torch.minimum(found[name], one[name] + two[name]) for name in found}

    def _again(
        self, which: int, case: InputCase, given: Mapping[int, Rounding] | None, fixed: Mapping[int, Tensor]
    ) -> _Bounded:
        return _Bounded(self.networks[which], case.tensors, self.prec, "run", given=given, fixed=fixed)

    def _pairs(self, case: InputCase, a: list[Rounding], b: list[Rounding]) -> dict[int, int]:
        shapes = tuple(tuple(t.shape) for t in case.tensors)
        if shapes not in self.pairs:
            pairs = paired_steps(a, b)
            if pairs and not pairing_holds(self.networks, case.tensors, pairs, (a, b)):
                pairs = {}
            self.pairs[shapes] = pairs
            self.steps = [len(pairs), len(a)]
        return self.pairs[shapes]

    def told(self) -> str:
        return f"{self.steps[0]} of the {self.steps[1]} of a"


def _check_case(
    a: nn.Module,
    b: nn.Module,
    case: InputCase,
    prec: Precision,
    kinds: Sequence[str],
    pulled: int,
    boxed: _Boxed,
    paired: _Paired,
    samples: list[Sample],
) -> list[Check]:
    runs = [_Bounded(n, case.tensors, prec, "run") for n in (a, b)]
    mine, theirs = runs
    if set(mine.values) != set(theirs.values):
        detail = f"a returns {', '.join(mine.values)}; b returns {', '.join(theirs.values)}"
        return [Check.failure(f"{case.name}: structure of the outputs", detail)]
    differences, elements = {}, {}
    for name, x in mine.values.items():
        y = theirs.values[name]
        assert x.computed is not None and y.computed is not None
        if x.computed.shape != y.computed.shape:
            detail = f"shape {tuple(x.computed.shape)} of a, {tuple(y.computed.shape)} of b"
            return [Check.failure(f"{case.name}: {name}", detail)]
        differences[name] = (x.computed.double() - y.computed.double()).abs()
        elements[name] = _telling(differences[name].reshape(-1), pulled)
    checks = []
    for kind in kinds:
        if kind == "box":
            errors = boxed.errors(case)
        elif kind == "pair":
            errors = paired.errors(case, runs, elements)
        else:
            pair = runs if kind == "run" else [_Bounded(n, case.tensors, prec, kind) for n in (a, b)]
            one, two = (bounded.errors(elements) for bounded in pair)
            errors = {name: one[name] + two[name] for name in one}
        if kind in ("run", "pair"):
            errors = {name: _snapped(error, mine.values[name].computed) for name, error in errors.items()}  # type: ignore[arg-type]
        for name, error in errors.items():
            checks.append(
                _within(f"{case.name}: {name}, {kind}", differences[name], error.expand_as(differences[name]))
            )
            samples.append(_sample(case.name, name, kind, differences[name], error, elements[name]))
    worst = max((r.arithmetic for r in runs), key=lambda r: r.excess)
    detail = f"largest in {worst.excess_at}" if worst.excess_at else ""
    checks.append(Check.of(f"{case.name}: every rounding is within the model", worst.excess, 1.0, detail))
    return checks


def _snapped(error: Tensor, computed: Tensor) -> Tensor:
    """0 where the bound is less than from a result to the next number of its precision: the other is the same."""
    near = computed.abs()
    gap = near.double() - torch.nextafter(near, torch.zeros_like(near)).double()  # the smaller of both gaps
    gap = torch.where(near == 0, torch.finfo(computed.dtype).tiny * 2.0**-52, gap)
    return torch.where(error < gap, 0.0, error)


def _telling(difference: Tensor, wanted: int) -> list[int]:
    """The places of the largest differences, and others evenly spaced."""
    largest = difference.nan_to_num(math.inf).topk(min((wanted + 1) // 2, difference.numel())).indices.tolist()
    return sorted({*largest, *_spaced(difference.numel(), wanted // 2)})


def _within(name: str, difference: Tensor, bound: Tensor) -> Check:
    if not bool(torch.isfinite(difference).all()):
        return Check.failure(name, "a result is not finite", 1.0)
    share = torch.where(difference > 0, difference / bound, 0.0)
    error = float(share.max()) if share.numel() else math.inf
    detail = f"difference up to {float(difference.max()):.2e}, bound up to {float(bound.max()):.2e}"
    return Check.of(name, error, 1.0, detail)


def _sample(case: str, name: str, kind: str, difference: Tensor, error: Tensor, pulled: Sequence[int]) -> Sample:
    observed, bound = difference.reshape(-1), error.expand_as(difference).reshape(-1)
    kept = sorted({*pulled, *_spaced(observed.numel(), KEPT - len(pulled))}) if kind == "box" else list(pulled)
    return Sample(case, name, kind, tuple(observed[kept].tolist()), tuple(bound[kept].tolist()))


def _figures(samples: Sequence[Sample]) -> dict[str, float]:
    """Largest difference and bound over all cases, and how many times the one the other is."""
    observed, bound = max(s.largest[0] for s in samples), max(s.largest[1] for s in samples)
    each = [s.tightness for s in samples if math.isfinite(s.tightness)]
    return {
        "difference": observed,
        "bound": bound,
        "times": bound / observed if observed > 0 else math.inf,
        "least": min(each, default=math.inf),
        "median": statistics.median(each) if each else math.inf,
    }


def _shown(figures: dict[str, float]) -> str:
    return (
        f"{figures['times']:.3g} (largest bound {figures['bound']:.2e}, largest difference "
        f"{figures['difference']:.2e}); case by case {figures['least']:.3g} at least, median {figures['median']:.3g}"
    )


__all__ = [
    "KINDS",
    "PAIR_KINDS",
    "PRECISIONS",
    "BoundsFound",
    "Box",
    "NetworkBound",
    "OutputBound",
    "Sample",
    "bound_network",
    "check_bounds",
    "smallest_boxes",
]
