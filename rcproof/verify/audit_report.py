"""What an audit found: one table, a column an output."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from rcproof.verify.report import environment, number, print_lines, print_table

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class OutputAudit:
    """One output, read from both strands: y = model(x) against y′ = ρ_out model(ρ_in x).

    Attributes:
        max_difference, mean_difference: of \\|y − y′\\| over all values.
        scale: max \\|y\\|; ``relative_max`` and ``relative_mean`` are the differences divided by it.
        flipped_share: share of decisions, one for each example and task, that the strands take
            differently; None for profiles and counts.
        jsd_mean, jsd_max: Jensen-Shannon divergence of the two profiles, in bits (logarithm to base 2, so
            within 0..1), over examples and channels; None unless the output is a profile over positions.
        pearson: correlation of y and y′ over all values; None where either is constant.
        worst_example: the number and name of the example with the largest difference.
        not_finite: examples with NaN or infinite output on either strand. They are left out of the rest,
            which is NaN or None if no example remains.
    """

    name: str
    kind: str
    inferred: bool
    representation: str
    shape: tuple[int, ...]
    max_difference: float = math.nan
    mean_difference: float = math.nan
    scale: float = math.nan
    relative_max: float = math.nan
    relative_mean: float = math.nan
    flipped_share: float | None = None
    jsd_mean: float | None = None
    jsd_max: float | None = None
    pearson: float | None = None
    worst_example: int | None = None
    worst_name: str | None = None
    not_finite: int = 0


@dataclass(frozen=True)
class AuditReport:
    """The audit of one model: one :class:`OutputAudit` an output."""

    outputs: tuple[OutputAudit, ...]
    examples: int
    facts: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=environment)

    def symmetric(self, tolerance: float = 1e-12) -> bool:
        """Whether every output is finite and differs between strands by at most ``tolerance``, relative."""
        return all(o.not_finite == 0 and o.relative_max <= tolerance for o in self.outputs)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for strict JSON."""
        outputs = []
        for output in self.outputs:
            row = asdict(output)
            row["shape"] = list(output.shape)
            outputs.append({k: number(v) if isinstance(v, float) else v for k, v in row.items()})
        return {
            "title": "strand audit",
            "examples": self.examples,
            "outputs": outputs,
            "facts": dict(self.facts),
            "environment": dict(self.environment),
        }

    def _table(self) -> list[tuple[str, ...]]:
        """A column an output; the first row holds the names."""
        columns = [ROWS, *(_column(output) for output in self.outputs)]
        return list(zip(*columns, strict=True))

    def _notes(self) -> list[str]:
        lost = [f"note: {o.name} is not finite for {o.not_finite} examples" for o in self.outputs if o.not_finite]
        facts = [f"{name}: {value}" for name, value in self.facts.items()]
        return [*facts, *lost, ", ".join(f"{name} {value}" for name, value in self.environment.items())]

    def __str__(self) -> str:
        rows = self._table()
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        table = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([f"strand audit of {self.examples} examples", *table, *self._notes()])

    def print(self, console: Console | None = None) -> None:
        """A table on ``console`` (default: standard output). Needs rich, which is imported here."""
        first, *rows = self._table()
        print_table(console, f"strand audit of {self.examples} examples", first, rows, mark=0)
        print_lines(console, self._notes())


ROWS = (
    "output",
    "kind",
    "representation",
    "max difference",
    "mean difference",
    "flipped decisions",
    "JSD in bits, mean",
    "JSD in bits, max",
    "Pearson",
    "worst example",
)


def _column(o: OutputAudit) -> tuple[str, ...]:
    return (
        o.name,
        o.kind + (" (inferred)" if o.inferred else ""),
        o.representation,
        f"{o.max_difference:.3g} ({_percent(o.relative_max)} of the largest value)",
        f"{o.mean_difference:.3g} ({_percent(o.relative_mean)})",
        "–" if o.flipped_share is None else _percent(o.flipped_share),
        "–" if o.jsd_mean is None else f"{o.jsd_mean:.3g}",
        "–" if o.jsd_max is None else f"{o.jsd_max:.3g}",
        "–" if o.pearson is None else f"{o.pearson:.6f}",
        "–" if o.worst_example is None else f"{o.worst_example}: {o.worst_name}",
    )


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
