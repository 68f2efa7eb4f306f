"""The ladder below the proof: exact arithmetic, rounding bounds, numerical checks, one after the other.

Each level says less than the one before, of more: exact arithmetic that two networks are equal on given inputs, with
tolerance zero; rounding bounds that what floating point makes of them differs by no more than rounding can; the
numerical checks that they agree, with gradients, strands, layouts and metrics, up to a tolerance.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from rcproof.errors import RcproofError
from rcproof.network.network import Network
from rcproof.strand import RepresentationLike
from rcproof.verify.bounds import BoundsFound, check_bounds
from rcproof.verify.equivalence import check_equivalence
from rcproof.verify.equivariance import check_equivariance
from rcproof.verify.exact import check_exact
from rcproof.verify.independence import check_independence
from rcproof.verify.inputs import InputCase
from rcproof.verify.intercept import NotCovered
from rcproof.verify.metrics import metric_equality
from rcproof.verify.report import Report
from rcproof.verify.running import prepare

LEVELS = ("exact", "bounds", "numeric", "all")
#: Kinds of inputs (:data:`rcproof.verify.inputs.KINDS`) that the two upper levels run on. Those of the bounds all lie
#: in the box of one-hot DNA, which is tighter than a box around everything.
EXACT_KINDS = ("one-hot", "random", "some-n")
BOUND_KINDS = ("one-hot", "uniform", "some-n")


@dataclass(frozen=True)
class Labelled:
    """Examples to score both networks on: one case, and labels as :func:`metric_equality` takes them."""

    case: InputCase
    labels: Tensor | Sequence[Tensor | None] | None = None


@dataclass(frozen=True)
class Cases:
    """What the levels run on: inputs of several kinds at one length, and inputs of other lengths.

    ``rounding``: those of the level ``bounds``, where it is to run on others than the first of each kind.

    >>> import torch
    >>> Cases([InputCase("zeros", (torch.zeros(2, 4, 10),))]).lengths
    ()
    """

    kinds: Sequence[InputCase]
    lengths: Sequence[InputCase] = ()
    data: Labelled | None = None
    rounding: Sequence[InputCase] = ()

    def few(self, wanted: Sequence[str], lengths: int) -> list[InputCase]:
        """The first example of each of these kinds (or of the first kind there is), and of some other lengths."""
        chosen = [c for c in self.kinds if c.name in wanted] or list(self.kinds[:1])
        chosen += list(self.lengths)[:lengths]
        return [InputCase(c.name, tuple(t[:1] for t in c.tensors)) for c in chosen]


@dataclass(frozen=True)
class Ladder:
    """What the levels found.

    Attributes:
        reports: in the order in which they ran.
        bounds: the differences against their bounds, a precision each.
        not_covered: why a level could not be run on these networks; not a failure of them.

    >>> Ladder(()).passed  # nothing that ran, nothing that held
    False
    """

    reports: tuple[Report, ...]
    bounds: tuple[BoundsFound, ...] = ()
    not_covered: tuple[str, ...] = ()
    facts: dict[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """True if something was checked and all of it held."""
        return bool(self.reports) and all(report.passed for report in self.reports)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for strict JSON."""
        return {
            "passed": self.passed,
            "facts": dict(self.facts),
            "checks": [report.to_dict() for report in self.reports],
            "bounds": [found.to_dict() for found in self.bounds],
            "not_covered": list(self.not_covered),
        }


def climb(
    source: nn.Module,
    result: nn.Module,
    cases: Cases,
    level: str,
    inputs: Sequence[RepresentationLike],
    outputs: Sequence[RepresentationLike],
    *,
    precisions: Sequence[str] = ("float64", "float32"),
    seed: int = 0,
    step: Callable[[str], None] = lambda name: None,
) -> Ladder:
    """Run one level, or ``all`` of them, of ``result`` against ``source``.

    ``inputs`` and ``outputs``: the representations, for the strands. ``precisions``: those whose bounds are taken.
    ``step`` is told what runs. A network that has no exact form or no bounds raises
    :class:`~rcproof.verify.intercept.NotCovered`, but with ``all``: then it is noted, and the other levels run.

    >>> import torch
    >>> from torch import nn
    >>> from rcproof import Conjoined, convert
    >>> net = nn.Sequential(nn.Conv1d(4, 2, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten()).eval()
    >>> conjoined = Conjoined(net).eval()
    >>> cases = Cases([InputCase("normal", (torch.randn(2, 4, 12),))])
    >>> climb(conjoined, convert(conjoined).model, cases, "exact", ["reversal"], ["fixed"]).passed
    True
    """
    if level not in LEVELS:
        raise RcproofError("level of verification", got=repr(level), expected=", ".join(LEVELS))
    reports: list[Report] = []
    bounds: list[BoundsFound] = []
    missed: list[str] = []

    def attempt(name: str, run: Callable[[], None]) -> None:
        step(name)
        try:
            run()
        except NotCovered as why:
            if level != "all":
                raise
            missed.append(f"{name}: {why}")

    def exact() -> None:
        reports.append(check_exact(source, result, cases.few(EXACT_KINDS, 2), seed=seed))

    def bound(name: str) -> None:
        chosen = cases.rounding or cases.few(BOUND_KINDS, 0)
        found = check_bounds(source, result, chosen, prec=name, seed=seed)
        bounds.append(found)
        reports.append(found.report)

    if level in ("exact", "all"):
        attempt("exact arithmetic", exact)
    if level in ("bounds", "all"):
        for name in precisions:
            attempt(f"rounding bounds, {name}", lambda name=name: bound(name))  # type: ignore[misc]
    if level in ("numeric", "all"):
        reports += numeric(source, result, cases, inputs, outputs, seed=seed, step=step)
    return Ladder(tuple(reports), tuple(bounds), tuple(missed))


def numeric(
    source: nn.Module,
    result: nn.Module,
    cases: Cases,
    inputs: Sequence[RepresentationLike],
    outputs: Sequence[RepresentationLike],
    *,
    seed: int = 0,
    step: Callable[[str], None] = lambda name: None,
) -> list[Report]:
    """The numerical level: outputs, gradients, strands, layouts, examples of a batch; metrics where there is data."""
    source, result = prepare(source, torch.float64), prepare(result, torch.float64)
    every = [*cases.kinds, *cases.lengths]
    step("comparing outputs and gradients")
    found = [check_equivalence(source, result, every, seed=seed, title="equal to the source")]
    step("comparing strands")
    found.append(check_equivariance(result, every, inputs, outputs, seed=seed))
    if isinstance(result, Network):
        step("comparing layouts")
        stacked, batched = (copy.deepcopy(result).set_layout(layout) for layout in ("stacked", "batched"))
        found.append(check_equivalence(stacked, batched, every, seed=seed, title="stacked equals batched"))
    step("comparing batches with their examples")
    found.append(check_independence(result, list(cases.kinds[:2]), seed=seed))
    if cases.data is not None:
        step("comparing metrics")
        found.append(metric_equality(source, result, cases.data.case, cases.data.labels))
    return found


def steps_of(level: str, precisions: Sequence[str], data: bool) -> int:
    """How many steps :func:`climb` names."""
    upper = {"exact": 1, "bounds": len(precisions), "numeric": 0, "all": 1 + len(precisions)}[level]
    return upper + (4 + data if level in ("numeric", "all") else 0)
