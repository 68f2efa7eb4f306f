"""What an audit found: measures an output and a task, the worst examples, and tables of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from torch import Tensor

from rcproof.verify.discordance import Measures
from rcproof.verify.report import environment, number, print_lines, print_table

if TYPE_CHECKING:
    from rich.console import Console

#: How many tasks the tables name.
TASKS_SHOWN = 5
#: Strands that differ by no more than this, relative to the largest value, agree to rounding in float64.
ROUNDING = 1e-12


@dataclass(frozen=True, kw_only=True)
class TaskAudit(Measures):
    """The measures of one task of an output, or of one channel of a profile; numbered from 0."""

    task: int


@dataclass(frozen=True, kw_only=True)
class WorstExample:
    """An example on which the strands disagree most, in its task with the largest disagreement.

    Attributes:
        example, name: its number, and its name.
        coordinates: ``chr1:100-200`` or the like, if its name holds them.
        discordance: the divergence in bits for profiles and classes, the difference of log counts for counts, else
            the difference of the answers.
        own, other: both answers: the value of the task; for profiles and classes the largest probability.
        own_at, other_at: for profiles the position of that probability, for classes the class; else None.
    """

    example: int
    name: str
    coordinates: str | None
    task: int
    discordance: float
    own: float
    other: float
    own_at: int | None = None
    other_at: int | None = None


@dataclass(frozen=True)
class Answers:
    """What both strands answered, y and y′ = ρ_out model(ρ_in x), on the examples where both are finite."""

    own: Tensor
    other: Tensor
    examples: Tensor


@dataclass(frozen=True, kw_only=True)
class OutputAudit(Measures):
    """One output, read from both strands: y = model(x) against y′ = ρ_out model(ρ_in x).

    Beside what :class:`~rcproof.verify.discordance.Measures` holds:

    Attributes:
        kind, inferred: what the output is, and whether that was told from its values.
        normalised: whether profiles or classes are probabilities already; None for other kinds.
        tasks: the measures of each task, if there are several.
        worst: the worst examples, the worst first. ``worst_example`` and ``worst_name`` are those of the first.
        not_finite: examples with NaN or infinite output on either strand. They are left out of the rest,
            which is NaN or None if no example remains.
        answers: what the measures were made of; not part of :meth:`AuditReport.to_dict`.

    >>> import torch
    >>> from torch import nn
    >>> from rcproof.verify import audit
    >>> net = nn.Sequential(nn.Conv1d(4, 2, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten()).eval()
    >>> audit(net, torch.randn(8, 4, 30), "reversal", "fixed").outputs[0].symmetric
    False
    """

    name: str
    kind: str
    inferred: bool
    representation: str
    shape: tuple[int, ...]
    normalised: bool | None = None
    tasks: tuple[TaskAudit, ...] = ()
    worst: tuple[WorstExample, ...] = ()
    not_finite: int = 0
    answers: Answers | None = field(default=None, repr=False, compare=False)

    @property
    def worst_example(self) -> int | None:
        """The number of the example on which the strands disagree most."""
        return self.worst[0].example if self.worst else None

    @property
    def worst_name(self) -> str | None:
        """Its name."""
        return self.worst[0].name if self.worst else None

    @property
    def symmetric(self) -> bool:
        """Whether the strands agree to rounding."""
        return self.not_finite == 0 and self.relative_max <= ROUNDING

    def worst_tasks(self, count: int = TASKS_SHOWN) -> list[TaskAudit]:
        """The tasks whose strands disagree most: by flips, divergence or log ratio, then by the difference."""

        def key(task: TaskAudit) -> tuple[float, float]:
            first = next((v for v in (task.flipped_share, task.jsd_mean, task.log_mean) if v is not None), 0.0)
            return first, task.mean_difference

        return sorted(self.tasks, key=key, reverse=True)[:count]


@dataclass(frozen=True)
class AuditReport:
    """The audit of one model: one :class:`OutputAudit` an output.

    >>> import torch
    >>> from torch import nn
    >>> from rcproof.verify import audit
    >>> net = nn.Sequential(nn.Conv1d(4, 2, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten()).eval()
    >>> report = audit(net, torch.randn(8, 4, 30), "reversal", "fixed")
    >>> report.symmetric(), report.outputs[0].name
    (False, 'output')
    """

    outputs: tuple[OutputAudit, ...]
    examples: int
    facts: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=environment)

    def symmetric(self, tolerance: float = ROUNDING) -> bool:
        """Whether every output is finite and differs between strands by at most ``tolerance``, relative."""
        return all(o.not_finite == 0 and o.relative_max <= tolerance for o in self.outputs)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for strict JSON."""
        return {
            "title": "strand audit",
            "examples": self.examples,
            "outputs": [
                {**_plain(output), "worst_example": output.worst_example, "worst_name": output.worst_name}
                for output in self.outputs
            ],
            "facts": dict(self.facts),
            "environment": dict(self.environment),
        }

    def tables(self) -> list[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
        """Title, columns and rows of each table for people."""
        first, *rows = [row for row in _summary(self.outputs) if any(cell != "–" for cell in row[1:])]
        found = [(f"strand audit of {self.examples} examples", first, rows)]
        for output in self.outputs:
            if output.symmetric:
                continue
            if output.tasks:
                found.append(_tasks_table(output))
            if output.worst:
                found.append(_worst_table(output))
        return found

    def _notes(self) -> list[str]:
        lost = [f"note: {o.name} is not finite for {o.not_finite} examples" for o in self.outputs if o.not_finite]
        facts = [f"{name}: {value}" for name, value in self.facts.items()]
        return [*facts, *lost, ", ".join(f"{name} {value}" for name, value in self.environment.items())]

    def __str__(self) -> str:
        lines = []
        for title, columns, rows in self.tables():
            cells = [columns, *rows]
            widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
            lines.append(title)
            lines += ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in cells]
        return "\n".join([*lines, *self._notes()])

    def print(self, console: Console | None = None) -> None:
        """Tables on ``console`` (default: standard output). Needs rich, which is imported here."""
        for title, columns, rows in self.tables():
            print_table(console, title, columns, rows, mark=0)
        print_lines(console, self._notes())


def _plain(value: Any) -> Any:
    """A dataclass as a dictionary of what JSON knows; answers stay out of it."""
    if isinstance(value, Measures | WorstExample):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value) if f.name != "answers"}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return number(value) if isinstance(value, float) else value


#: Rows of the table that an output has beside its name, kind and representation.
_ROWS: Mapping[str, Any] = {
    "max difference": lambda o: f"{o.max_difference:.3g} ({percent(o.relative_max)} of the largest value)",
    "median difference": lambda o: f"{o.median_difference:.3g}",
    "mean difference": lambda o: f"{o.mean_difference:.3g} ({percent(o.relative_mean)})",
    "flipped decisions": lambda o: percent(o.flipped_share),
    "sequences with a flip": lambda o: percent(o.flipped_examples),
    "probabilities differ by, mean": lambda o: decimal(o.probability_mean),
    "probabilities differ by, max": lambda o: decimal(o.probability_max),
    "JSD in bits, mean": lambda o: decimal(o.jsd_mean),
    "JSD in bits, median": lambda o: decimal(o.jsd_median),
    "JSD in bits, max": lambda o: decimal(o.jsd_max),
    "Pearson within a profile, mean": lambda o: decimal(o.within_pearson_mean),
    "log counts differ by, mean": lambda o: _fold(o.log_mean, o.fold_mean),
    "log counts differ by, max": lambda o: _fold(o.log_max, o.fold_max),
    "Pearson": lambda o: "–" if o.pearson is None else f"{o.pearson:.6f}",
    "Spearman": lambda o: "–" if o.spearman is None else f"{o.spearman:.6f}",
    "worst example": lambda o: "–" if not o.worst else f"{o.worst_example}: {o.worst_name}",
}


def _summary(outputs: tuple[OutputAudit, ...]) -> list[tuple[str, ...]]:
    """A column an output; the first row holds the names."""
    rows = [
        ("output", *(o.name for o in outputs)),
        ("kind", *(o.kind + (" (inferred)" if o.inferred else "") for o in outputs)),
        ("representation", *(o.representation for o in outputs)),
    ]
    return [*rows, *((name, *(cell(o) for o in outputs)) for name, cell in _ROWS.items())]


def _tasks_table(output: OutputAudit) -> tuple[str, tuple[str, ...], list[tuple[str, ...]]]:
    what = "channels" if output.kind == "profile" else "tasks"
    shown = output.worst_tasks()
    columns = (
        "",
        "mean difference",
        "max difference",
        "flipped",
        "JSD, mean",
        "fold change, mean",
        "Pearson",
        "Spearman",
    )
    rows = [
        (
            f"{what[:-1]} {t.task}", decimal(t.mean_difference), decimal(t.max_difference), percent(t.flipped_share),
            decimal(t.jsd_mean), decimal(t.fold_mean), decimal(t.pearson), decimal(t.spearman),
        )
        for t in shown
    ]  # fmt: skip
    keep = [i for i in range(len(columns)) if i == 0 or any(row[i] != "–" for row in rows)]
    title = f"{output.name}: {what}, the worst {len(shown)} of {len(output.tasks)} (numbered from 0)"
    return title, tuple(columns[i] for i in keep), [tuple(row[i] for i in keep) for row in rows]


def _worst_table(output: OutputAudit) -> tuple[str, tuple[str, ...], list[tuple[str, ...]]]:
    unit = {"profile": "JSD in bits", "classes": "JSD in bits", "counts": "log ratio", "log-counts": "log ratio"}
    at = {"profile": "position", "counts": "position", "classes": "class"}.get(output.kind, "")
    columns = (
        "",
        "sequence",
        "task",
        "this strand",
        "other strand",
        unit.get(output.kind, "difference"),
    )
    rows = [
        (
            str(rank), w.name, str(w.task) if output.tasks else "–", _answer(w.own, w.own_at, at),
            _answer(w.other, w.other_at, at), f"{w.discordance:.3g}",
        )
        for rank, w in enumerate(output.worst, 1)
    ]  # fmt: skip
    keep = [i for i in range(len(columns)) if i < 2 or any(row[i] != "–" for row in rows)]
    title = f"{output.name}: sequences on which the strands disagree most"
    return title, tuple(columns[i] for i in keep), [tuple(row[i] for i in keep) for row in rows]


def _answer(value: float, place: int | None, at: str) -> str:
    return f"{value:.4g}" if place is None else f"{value:.3g} at {at} {place}"


def percent(share: float | None) -> str:
    """A share for people."""
    return "–" if share is None or math.isnan(share) else f"{100 * share:.3g} %"


def decimal(value: float | None) -> str:
    """A number for people."""
    return "–" if value is None or math.isnan(value) else f"{value:.4g}"


def _fold(logs: float | None, fold: float | None) -> str:
    return "–" if logs is None or fold is None else f"{logs:.3g} ({fold:.3g}-fold)"
