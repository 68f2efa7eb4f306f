"""What a check found: numbers, tolerances, and the versions and seed that made them."""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from rcproof.errors import VerificationError

if TYPE_CHECKING:
    from rich.console import Console

#: How many failed checks the text of an error names.
SHOWN = 3


def environment() -> dict[str, str]:
    """The versions that a result depends on; nothing that names a machine, a user or a path."""
    from rcproof import __version__

    return {
        "rcproof": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": str(torch.get_num_threads()),
    }


def number(value: float) -> float | str:
    """A float that JSON can carry: NaN and infinities become their names.

    >>> number(0.5), number(float("nan")), number(float("-inf"))
    (0.5, 'nan', '-inf')
    """
    return float(value) if math.isfinite(value) else str(float(value))


@dataclass(frozen=True)
class Check:
    """One comparison: a relative error (:mod:`rcproof.verify.tolerances`), infinite where there is no number.

    >>> Check.of("output", 1e-15, 1e-12).passed, Check.of("output", float("nan"), 1e-12).passed
    (True, False)
    """

    name: str
    error: float
    tolerance: float
    passed: bool
    detail: str = ""

    @classmethod
    def of(cls, name: str, error: float, tolerance: float, detail: str = "") -> Check:
        """The check that holds if ``error <= tolerance``; a NaN error does not hold."""
        return cls(name, float(error), float(tolerance), bool(error <= tolerance), detail)

    @classmethod
    def failure(cls, name: str, detail: str, tolerance: float = 0.0) -> Check:
        """A check that failed before there was an error to measure."""
        return cls(name, math.inf, float(tolerance), False, detail)

    def __str__(self) -> str:
        relation = "<=" if self.error <= self.tolerance else ">" if self.error > self.tolerance else "not <="
        text = f"{self.name}: error {self.error:.2e} {relation} {self.tolerance:.0e}"
        return f"{text} ({self.detail})" if self.detail else text


@dataclass(frozen=True)
class Report:
    """The checks of one verification, in the order they ran.

    Attributes:
        title: what was verified.
        checks: one entry per comparison. A report without checks has not passed.
        facts: what was compared and how: representations, dtype, scale of the inputs.
        notes: warnings, which are not failures.
        environment: versions; see :func:`environment`.
        seed: of every random choice made.

    >>> report = Report("example", (Check.of("output", 0.5, 1e-12),))
    >>> report.passed, report.worst
    (False, 0.5)
    """

    title: str
    checks: tuple[Check, ...]
    facts: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=environment)
    seed: int = 0

    @property
    def passed(self) -> bool:
        """True if there was something to check and all of it held."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that did not hold."""
        return tuple(check for check in self.checks if not check.passed)

    @property
    def worst(self) -> float:
        """The largest error; infinite if some check failed without a number, NaN if there are no checks."""
        return max((math.inf if math.isnan(c.error) else c.error for c in self.checks), default=math.nan)

    def raise_if_failed(self) -> Report:
        """This report if it passed, else a :class:`~rcproof.errors.VerificationError` that names the first failures."""
        if self.passed:
            return self
        if not self.checks:
            raise VerificationError(f"{self.title}: nothing was checked", fix="give at least one input")
        failed = self.failures
        shown = "; ".join(str(check) for check in failed[:SHOWN])
        more = f"; and {len(failed) - SHOWN} more" if len(failed) > SHOWN else ""
        raise VerificationError(f"{self.title}: {len(failed)} of {len(self.checks)} checks failed", got=shown + more)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON (strict JSON: infinities and NaN are strings)."""
        return {
            "title": self.title,
            "passed": self.passed,
            "worst": number(self.worst),
            "checks": [
                {
                    "name": c.name,
                    "error": number(c.error),
                    "tolerance": number(c.tolerance),
                    "passed": c.passed,
                    "detail": c.detail,
                }
                for c in self.checks
            ],
            "facts": dict(self.facts),
            "notes": list(self.notes),
            "environment": dict(self.environment),
            "seed": self.seed,
        }

    def __str__(self) -> str:
        lines = [f"{self.title}: {'passed' if self.passed else 'FAILED'} ({len(self.checks)} checks, seed {self.seed})"]
        lines += [f"  {name}: {value}" for name, value in self.facts.items()]
        lines += [f"  {'ok  ' if check.passed else 'FAIL'} {check}" for check in self.checks]
        lines += [f"  note: {note}" for note in self.notes]
        lines.append("  " + ", ".join(f"{name} {value}" for name, value in self.environment.items()))
        return "\n".join(lines)

    def print(self, console: Console | None = None) -> None:
        """A table on ``console`` (default: standard output). Needs rich, which is imported here."""
        rows = [
            ("[green]ok[/]" if c.passed else "[red]FAIL[/]", c.name, f"{c.error:.2e}", f"{c.tolerance:.0e}", c.detail)
            for c in self.checks
        ]
        verdict = "[green]passed[/]" if self.passed else "[red]FAILED[/]"
        print_table(console, f"{self.title}: {verdict}", ("", "check", "error", "tolerance", "detail"), rows)
        print_lines(console, [f"{name}: {value}" for name, value in self.facts.items()])
        print_lines(console, [f"note: {note}" for note in self.notes])
        print_lines(console, [f"seed {self.seed}, " + ", ".join(f"{k} {v}" for k, v in self.environment.items())])


def print_table(
    console: Console | None, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], mark: int = 1
) -> None:
    """A rich table; only the first ``mark`` columns may carry markup, since names can hold brackets."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row[:mark], *(escape(cell) for cell in row[mark:]))
    (console or Console()).print(table)


def print_lines(console: Console | None, lines: Sequence[str]) -> None:
    """Plain lines on the same console."""
    from rich.console import Console

    target = console or Console()
    for line in lines:
        target.print(line, markup=False, highlight=False)
