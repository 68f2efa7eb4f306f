"""The report: tables, figures and answers, from the result files alone. The same files give the same bytes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rcproof.experiments import figures as draw
from rcproof.experiments import questions
from rcproof.experiments.answers import answered, findings, number, summarise, trend_of
from rcproof.experiments.results import PRIMARY, SECONDARY, Results, mean_sd, short
from rcproof.experiments.strategies import STRATEGIES, twin
from rcproof.experiments.tasks import TASKS
from rcproof.files import replacing

SCHEMA = "rcproof-experiments/1"
#: The mark of a comparison that the results suggested.
LATER = "†"
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


def as_markdown(
    results: Results, answers: dict[str, Any], scores: Rows, pairs: Rows, over: Rows, lacking: dict[str, Any],
    found: Rows, extent: str,
) -> str:  # fmt: skip
    """The report as a page: what was found, question by question, and the tables behind it."""
    parts = [
        "# Results of the experiments",
        "",
        "Written by `rcproof experiment report` from the result files alone.",
        "",
        extent,
        "",
    ]
    parts += _findings_part(found)
    for name in results.tasks:
        kind = results.kind(name)
        metrics = (PRIMARY[kind], *SECONDARY[kind])
        what = TASKS[name].about if name in TASKS else "data of your own"
        parts += [
            f"## {name}: {what}",
            "",
            f"Test data, mean ± standard deviation over n seeds; judged by {metrics[0]}.",
            "",
        ]
        lines = []
        for strategy in dict.fromkeys(r["strategy"] for r in scores if r["set"] == name):
            own = {r["metric"]: r for r in scores if r["set"] == name and r["strategy"] == strategy}
            first = next(iter(own.values()))
            label = f"{strategy} (= {first['as']})" if first["as"] else strategy
            lines.append([label, first.get("n", 0), *(_cell(own.get(m)) for m in metrics)])
        parts += _table(["strategy", "n", *metrics], lines)
        own_pairs = [p for p in pairs if p["set"] == name and p["n"] > 1]
        if own_pairs:
            about = (
                "Paired over seeds; p of Student's t, corrected by Holm within the task, and of Wilcoxon's test. "
                f"{LATER}: asked only when the first results were seen."
            )
            parts += [about, ""]
            parts += _table(
                ["a − b", "n", "mean difference", "95 % interval", "a higher", "p (t, Holm)", "p (Wilcoxon)"],
                [[_pair(p), *_tested(p)] for p in own_pairs],
            )
    parts += _across_part(over)
    parts += _paper_part(answers["1_reproduction"])
    parts += _gaps_part(answers["3_overfitting"])
    parts += _movement_part(answers["5_warm_start"]["movement"])
    parts += ["## What is missing", "", f"{lacking['missing']} of the {lacking['runs']} runs of the programme.", ""]
    if lacking["by_task"]:
        parts += _table(
            ["task", "strategies that lack seeds"],
            [[t, ", ".join(f"{s} ({n})" for s, n in v.items())] for t, v in lacking["by_task"].items()],
        )
    return "\n".join(parts).rstrip() + "\n"


def _findings_part(found: list[dict[str, Any]]) -> list[str]:
    parts = []
    for one in found:
        parts += [f"## {one['number']}. {one['question']}", "", *(f"- {line}" for line in one["answers"]), ""]
    return parts


def _across_part(over: Rows) -> list[str]:
    if not over:
        return []
    lines = [
        [_pair(r), r["tasks"], number(r["mean_difference"]), f"{r['a_higher']} of {r['tasks']}",
         number(r["p_wilcoxon"]), number(r["p_holm"])] for r in over
    ]  # fmt: skip
    head = ["a − b", "tasks", "mean difference", "a higher", "p (Wilcoxon)", "p (Holm)"]
    about = (
        f"Over the {over[0]['kind']} tasks, by {over[0]['metric']}: each counts once, by its mean over its seeds. "
        f"These tests are of other data; those above are of other seeds on the same data. {LATER}: as above."
    )
    return ["## Over tasks", "", about, "", *_table(head, lines)]


def _paper_part(found: dict[str, Any]) -> list[str]:
    if not found["rows"]:
        return []
    lines = [
        [r["task"], r["strategy"], r["metric"], f"{_cell_of(r['mean'], r['sd'])} ({r['n']})",
         _cell_of(r["paper_mean"], r["paper_sd"]), number(r["difference"]), number(r["p_holm"])]
        for r in found["rows"]
    ]  # fmt: skip
    head = ["task", "strategy", "metric", "here (n)", "paper", "difference", "p (Welch, Holm)"]
    return ["## Beside the paper's numbers", "", *_table(head, lines)]


def _gaps_part(found: dict[str, Any]) -> list[str]:
    parts = []
    if some := [c for c in found["comparisons"] if c["n"] > 1]:
        head = ["task", "a − b", "n", "mean difference", "95 % interval", "a larger", "p (t, Holm)", "p (Wilcoxon)"]
        about = "The gap is the loss on test data less that on training data, at the weights kept; paired over seeds."
        lines = [[c["set"], f"{c['a']} − {c['b']}", *_tested(c)] for c in some]
        parts += ["## Whose gap between training and test data is larger", "", about, "", *_table(head, lines)]
    if some := [c for c in found["trends"] if c["n"] > 1]:
        head = ["task", "per", "of", "n", "mean slope", "95 % interval", "growing", "p (t, Holm)", "p (Wilcoxon)"]
        about = "The slope of each seed over the variants that it was trained at; leads are in the test metric."
        lines = [[c["set"], c["per"], trend_of(c), *_tested(c)] for c in some]
        parts += ["## How it goes with training-set size and label noise", "", about, "", *_table(head, lines)]
    return parts


def _pair(row: dict[str, Any]) -> str:
    return f"{row['a']} − {row['b']}" + (f" {LATER}" if row["later"] else "")


def _tested(c: dict[str, Any]) -> list[Any]:
    """n, mean, interval, how many are above zero, and the p values of a comparison."""
    return [c["n"], number(c["mean_difference"]), _interval(c["interval95"]), f"{c['a_higher']} of {c['n']}",
            number(c["p_holm"]), number(c["p_wilcoxon"])]  # fmt: skip


def _movement_part(rows: Rows) -> list[str]:
    if not rows:
        return []
    lines = [[r["task"], r["strategy"], r["weights"], r["layer"], r["n"], _cell_of(r["cross"], r["cross_sd"]),
              _cell_of(r["own"], r["own_sd"])] for r in rows]  # fmt: skip
    head = ["task", "strategy", "weights", "layer", "n", "cross-strand ‖B‖ / ‖A₀‖", "own ‖A − A₀‖ / ‖A₀‖"]
    return ["## How far the weights of the warm start moved", "", *_table(head, lines)]


def _table(head: Sequence[str], lines: Sequence[Sequence[Any]]) -> list[str]:
    rows = [" | ".join(map(str, line)) for line in lines]
    return [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(f"| {row} |" for row in rows), ""]


def _cell(row: dict[str, Any] | None) -> str:
    return "" if row is None or "test_mean" not in row else _cell_of(row["test_mean"], row["test_sd"])


def _cell_of(mean: float, sd: float | None) -> str:
    return number(mean, 4) if sd is None else f"{number(mean, 4)} ± {number(sd, 2)}"


def _interval(pair: list[float] | None) -> str:
    return "–" if pair is None else f"{number(pair[0])} … {number(pair[1])}"


def _write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return f"{path.parent.name}/{path.name}" if path.parent.name in ("tables", "figures") else path.name
