"""The report: tables, figures and answers, from the result files alone. The same files give the same bytes."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from rcproof.experiments import figures as draw
from rcproof.experiments import questions
from rcproof.experiments.answers import answered, findings, summarise
from rcproof.experiments.markdown import as_markdown
from rcproof.experiments.results import PRIMARY, SECONDARY, Results, mean_sd, short
from rcproof.experiments.strategies import STRATEGIES, twin
from rcproof.files import replacing

SCHEMA = "rcproof-experiments/1"
Rows = list[dict[str, Any]]


def build_report(results_folder: Path, out: Path, with_figures: bool = True) -> dict[str, Any]:
    """Write ``report.json``, ``report.md``, ``tables/*.csv`` and ``figures/*.svg`` into ``out``; what was written.

    Raises :class:`~rcproof.errors.RcproofError` if there are no result files, or one that is damaged.
    """
    results = Results.read(results_folder)
    answers = answered(results)
    scores, pairs, lacking = score_rows(results), questions.pairwise(results), questions.missing(results)
    over = questions.across(results)
    tables = {
        "scores": scores,
        "pairwise": _without("by_seed", pairs),
        "across_tasks": _without("by_task", over),
        "paper": answers["1_reproduction"]["rows"],
        "t9": answers["2_post_hoc"]["t9"]["rows"],
        "gaps": answers["3_overfitting"]["rows"],
        "gap_differences": _without("by_seed", answers["3_overfitting"]["comparisons"]),
        "gap_trends": _without("by_seed", answers["3_overfitting"]["trends"]),
        "coupling_path": answers["4_coupling_path"]["rows"],
        "warm_start": _without("by_seed", answers["5_warm_start"]["comparisons"]),
        "movement": answers["5_warm_start"]["movement"],
    }
    written = []
    out.mkdir(parents=True, exist_ok=True)
    found = findings(answers, over)
    report = {"schema": SCHEMA, "runs": len(results.runs), "findings": found, "scores": scores,
              "answers": answers, "pairwise": pairs, "across_tasks": over, "missing": lacking,
              "versions": versions(results)}  # fmt: skip
    written.append(
        _write(out / "report.json", json.dumps(report, ensure_ascii=False, indent=1, allow_nan=False) + "\n")
    )
    for name, rows in tables.items():
        written.append(_write(out / "tables" / f"{name}.csv", as_csv(rows)))
    if with_figures:
        written += write_figures(results, answers, out / "figures")
    summary = summarise(results, lacking, found)
    text = as_markdown(results, answers, scores, pairs, over, lacking, found, summary[0])
    written.append(_write(out / "report.md", text))
    return {
        "schema": SCHEMA,
        "runs": len(results.runs),
        "files": written,
        "summary": summary,
        "missing": lacking["missing"],
    }


def score_rows(results: Results) -> Rows:
    """Mean, standard deviation and number of seeds of every metric of every strategy, by set and split.

    A strategy that coincides with another there is listed with its numbers, and ``as`` names the other.
    """
    rows = []
    for name in results.sets:
        kind = results.kind(name)
        for strategy in STRATEGIES:
            if kind not in STRATEGIES[strategy].tasks or not results.seeds(name, strategy):
                continue
            same = twin(kind, strategy)
            for metric in (PRIMARY[kind], *SECONDARY[kind]):
                row: dict[str, Any] = {"set": name, "strategy": strategy, "as": same if same != strategy else "",
                                       "metric": metric}  # fmt: skip
                for split in ("test", "valid", "train"):
                    values = results.values(name, strategy, metric, split)
                    if values:
                        mean, sd, n = mean_sd(values.values())
                        row |= {f"{split}_mean": short(mean), f"{split}_sd": short(sd), "n": n}
                rows.append(row)
    return rows


def versions(results: Results) -> dict[str, list[str]]:
    """Every version of every package, and every revision, that the runs were made with."""
    found: dict[str, set[str]] = {}
    for run in results.runs.values():
        for name, version in {
            **run["versions"],
            "revision": run["revision"] or "none",
            "device": run["device"],
        }.items():
            found.setdefault(name, set()).add(version)
    return {name: sorted(values) for name, values in found.items()}


def write_figures(results: Results, answers: dict[str, Any], folder: Path) -> list[str]:
    """Every figure that has something to show, light and dark; the names of the files."""
    made = []
    for theme in draw.THEMES:
        for name, drawn in (
            ("1_paper", draw.reproduction(answers["1_reproduction"], theme)),
            ("2_t9", draw.guarantees(answers["2_post_hoc"], theme)),
            ("3_curves", draw.curves(results, theme)),
            ("3_gaps", draw.gaps(answers["3_overfitting"], theme)),
            ("4_coupling_path", draw.coupling_path(answers["4_coupling_path"], theme)),
            ("5_warm_start", draw.warm_start(answers["5_warm_start"], theme)),
            ("6_overview", draw.overview(results, theme)),
        ):
            if drawn is not None:
                made.append(_write(folder / f"{name}_{theme.name}.svg", as_svg(drawn, theme)))
    return made


def as_svg(figure: Any, theme: draw.Theme) -> str:
    """A figure as SVG text; the same figure gives the same text."""
    from matplotlib import rc_context

    text = io.StringIO()
    with rc_context({"svg.hashsalt": "rcproof"}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None}, facecolor=theme.background)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def _without(column: str, rows: Rows) -> Rows:
    return [{k: v for k, v in row.items() if k != column} for row in rows]


def as_csv(rows: Rows) -> str:
    """Rows as CSV; lists as words with spaces between."""
    text = io.StringIO()
    columns = list(dict.fromkeys(k for row in rows for k in row))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: " ".join(map(str, v)) if isinstance(v, list) else v for k, v in row.items()})
    return text.getvalue()


def _write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return f"{path.parent.name}/{path.name}" if path.parent.name in ("tables", "figures") else path.name
