"""Tables for people, made of the same data as the JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rcproof.errors import printable

if TYPE_CHECKING:
    from rich.console import Console

    from rcproof.verify import Report

_STYLES = {"tied": "green", "coupled": "cyan", "lifted": "yellow", "ok": "green", "FAIL": "red"}


def table(console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table without markup; roles and verdicts have a colour."""
    from rich.table import Table
    from rich.text import Text

    found = Table(title=Text(printable(title)), title_justify="left", title_style="bold")
    for column in columns:
        found.add_column(column, overflow="fold")
    for row in rows:
        cells = [printable(cell) for cell in row]
        found.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in cells))
    console.print(found)


def line(console: Console, text: str, whole: bool = False) -> None:
    """A line without markup; ``whole``: not broken to the width, so that a command in it can be copied."""
    console.print(printable(text), markup=False, highlight=False, soft_wrap=whole)


def conversion(console: Console, data: Mapping[str, Any], reports: Sequence[Report]) -> None:
    """What was converted, how, and what was checked."""
    tensors(console, data)
    layers(console, data["layers"])
    steps = data["steps"]
    if steps:
        named = ", ".join(f"{count} {rule}" for rule, count in sorted(steps.items()))
        line(console, f"steps without a layer: {named}")
    parameters(console, data["parameters"])
    checks(console, reports)


def tensors(console: Console, data: Mapping[str, Any]) -> None:
    """The representations in use, input by input and output by output."""
    shapes = data.get("input_shapes") or [None] * len(data["inputs"])
    rows: list[tuple[object, ...]] = [
        (f"input {i}", rep, shape(sizes), "", "")
        for i, (rep, sizes) in enumerate(zip(data["inputs"], shapes, strict=False))
    ]
    merges, finals = data["merge"], data["final"]
    for i, rep in enumerate(data["outputs"]):
        merge = merges[i if len(merges) > 1 else 0] if merges else ""
        rows.append((f"output {i}", rep, "", merge, finals[i if len(finals) > 1 else 0] if finals else ""))
    table(
        console, "representations in use", ("tensor", "under the reverse complement", "shape", "merge", "final"), rows
    )


def layers(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """The layers, in the order in which they run."""
    cells = []
    known = any(row.get("output") for row in rows)
    ruled = any(row["rule"] or row["lemma"] for row in rows)  # only a converted network says by what rule
    for row in rows:
        shapes = ", ".join(f"{key or 'value'} {shape(t['shape'])}" for key, t in row["tensors"].items())
        dtypes = "/".join(
            sorted({t["dtype"] for t in row["tensors"].values() if t["shape"] or len(row["tensors"]) == 1})
        )
        rule = (row["rule"], row["lemma"]) if ruled else ()
        last = (shape(row["output"]),) if known else ()
        cells.append((row["name"], row["type"], row["role"], *rule, shapes, dtypes, *last))
    columns = ("name", "type", "weights", *(("rule", "lemma") if ruled else ()), "shapes", "dtype",
               *(("output",) if known else ()))  # fmt: skip
    table(console, "layers", columns, cells)


def parameters(console: Console, counts: Mapping[str, int]) -> None:
    """How many parameters play which role."""
    total = counts["total"]
    shares = [f"{role} {n} ({100 * n / total if total else 0:.1f} %)" for role, n in counts.items() if role != "total"]
    line(console, f"parameters: {total}" + (f", of them {', '.join(shares)}" if shares else ""))


def checks(console: Console, reports: Sequence[Report]) -> None:
    """One row a quantity: the largest error over all cases; then every failure."""
    rows: list[tuple[object, ...]] = []
    for report in reports:
        grouped: dict[str, list[Any]] = {}
        for check in report.checks:
            key = "bit by bit" if report.title == "certificate" else check.name.partition(": ")[2] or check.name
            grouped.setdefault(key, []).append(check)
        for quantity, found in grouped.items():
            worst, tolerance = max(c.error for c in found), max(c.tolerance for c in found)
            verdict = "ok" if all(c.passed for c in found) else "FAIL"
            rows.append((verdict, report.title, quantity, len(found), f"{worst:.1e}", f"{tolerance:.0e}"))
    table(console, "checks", ("", "check", "of", "cases", "largest error", "tolerance"), rows)
    for report in reports:
        for check in report.failures:
            line(console, f"FAIL {report.title}: {check}")
        for note in report.notes:
            line(console, f"note: {report.title}: {note}")
    if reports:
        seeds = ", ".join(sorted({str(r.seed) for r in reports}))
        line(console, f"seed {seeds}; " + ", ".join(f"{k} {v}" for k, v in reports[0].environment.items()))


def facts(console: Console, title: str, values: Mapping[str, object]) -> None:
    """Names and values."""
    table(console, title, ("", ""), [(name, value) for name, value in values.items()])


def shape(sizes: Any) -> str:
    """``(4, 1000)``, or nothing for None."""
    return "" if sizes is None else f"({', '.join(map(str, sizes))})"
