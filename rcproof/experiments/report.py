"""The report: tables, figures and answers, from the result files alone. The same files give the same bytes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rcproof.experiments import figures as draw
from rcproof.experiments import questions
from rcproof.experiments.results import PRIMARY, SECONDARY, Results, mean_sd, short
from rcproof.experiments.strategies import STRATEGIES, twin
from rcproof.experiments.tasks import TASKS
from rcproof.files import replacing

SCHEMA = "rcproof-experiments/1"
#: With fewer, no test tells strategies apart.
FEWEST_SEEDS = 3
Rows = list[dict[str, Any]]


def build_report(results_folder: Path, out: Path, with_figures: bool = True) -> dict[str, Any]:
    """Write ``report.json``, ``report.md``, ``tables/*.csv`` and ``figures/*.svg`` into ``out``; what was written.

    Raises :class:`~rcproof.errors.RcproofError` if there are no result files, or one that is damaged.
    """
    results = Results.read(results_folder)
    answers = {
        "1_reproduction": questions.reproduction(results),
        "2_post_hoc": questions.guarantees(results),
        "3_overfitting": questions.overfitting(results),
        "4_coupling_path": questions.coupling_path(results),
        "5_warm_start": questions.warm_start(results),
        "6_guide": questions.guide(results),
    }
    scores, pairs, lacking = score_rows(results), questions.pairwise(results), questions.missing(results)
    over = questions.across(results)
    tables = {
        "scores": scores,
        "pairwise": _without("by_seed", pairs),
        "across_tasks": _without("by_task", over),
        "paper": answers["1_reproduction"]["rows"],
        "t9": answers["2_post_hoc"]["t9"]["rows"],
        "gaps": answers["3_overfitting"]["rows"],
        "coupling_path": answers["4_coupling_path"]["rows"],
        "warm_start": _without("by_seed", answers["5_warm_start"]["comparisons"]),
        "movement": answers["5_warm_start"]["movement"],
    }
    written = []
    out.mkdir(parents=True, exist_ok=True)
    report = {"schema": SCHEMA, "runs": len(results.runs), "scores": scores, "answers": answers, "pairwise": pairs,
              "across_tasks": over, "missing": lacking, "versions": versions(results)}  # fmt: skip
    written.append(
        _write(out / "report.json", json.dumps(report, ensure_ascii=False, indent=1, allow_nan=False) + "\n")
    )
    for name, rows in tables.items():
        written.append(_write(out / "tables" / f"{name}.csv", as_csv(rows)))
    if with_figures:
        written += write_figures(results, answers, out / "figures")
    summary = summarise(results, answers, lacking, over)
    text = as_markdown(results, answers, scores, pairs, over, lacking, summary)
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
            for metric in (PRIMARY[kind][0], *SECONDARY[kind]):
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
    summary: list[str],
) -> str:  # fmt: skip
    """The report as a page: what was found, question by question, and the tables behind it."""
    parts = [
        "# Results of the experiments",
        "",
        "Written by `rcproof experiment report` from the result files alone.",
        "",
    ]
    parts += [f"- {line}" for line in summary] + [""]
    for name in results.tasks:
        kind = results.kind(name)
        metrics = (PRIMARY[kind][0], *SECONDARY[kind])
        about = TASKS[name].about if name in TASKS else "data of your own"
        parts += [
            f"## {name}: {about}",
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
            parts += [
                "Paired over seeds; p of Student's t, corrected by Holm within the task, and of Wilcoxon's test.",
                "",
            ]
            parts += _table(
                ["a − b", "n", "mean difference", "95 % interval", "a higher", "p (t, Holm)", "p (Wilcoxon)"],
                [[f"{p['a']} − {p['b']}", p["n"], _number(p["mean_difference"]), _interval(p["interval95"]),
                  f"{p['a_higher']} of {p['n']}", _number(p["p_holm"]), _number(p["p_wilcoxon"])] for p in own_pairs],
            )  # fmt: skip
    parts += _across_part(over)
    parts += _paper_part(answers["1_reproduction"])
    parts += _movement_part(answers["5_warm_start"]["movement"])
    parts += ["## What is missing", "", f"{lacking['missing']} of the {lacking['runs']} runs of the programme.", ""]
    if lacking["by_task"]:
        parts += _table(
            ["task", "strategies that lack seeds"],
            [[t, ", ".join(f"{s} ({n})" for s, n in v.items())] for t, v in lacking["by_task"].items()],
        )
    return "\n".join(parts).rstrip() + "\n"


def summarise(results: Results, answers: dict[str, Any], lacking: dict[str, Any], over: Rows) -> list[str]:
    """The answers in a line or two each."""
    t9 = answers["2_post_hoc"]["t9"]
    lines = [f"{len(results.runs)} runs; {lacking['missing']} of the programme's {lacking['runs']} are missing."]
    if note := answers["1_reproduction"].get("note"):
        lines.append(f"1. {note}")
    for task, order in answers["1_reproduction"]["order"].items():
        if order["rank_correlation"] is not None:
            lines.append(
                f"1. {task}: the order of the strategies correlates with the paper's by {order['rank_correlation']:g}."
            )
    lines.append(
        f"2. T9 held in {t9['hold']} of {t9['checks']} checks (every seed, split and post-hoc form); the loss of the "
        f"conjoined network was above that of its own network on one strand in {t9['test_loss_above_own_strand']}."
    )
    for pair in (("post-hoc", "conjoined"), ("post-hoc", "standard-aug")):
        lines += _verdicts(answers["2_post_hoc"]["comparisons"], over, pair, "2")
    for pair in (("warm-rcps", "post-hoc"), ("warm-rcps", "warm-conjoined"), ("warm-rcps", "rcps")):
        lines += _verdicts(answers["5_warm_start"]["comparisons"], over, pair, "5")
    for task, row in answers["6_guide"]["tasks"].items():
        lines.append(
            f"6. {task}: best {row['best']}; not told from it: {', '.join(row['not_told_from_best']) or 'none'}."
            if row["seeds"] >= FEWEST_SEEDS
            else f"6. {task}: best {row['best']} of {row['seeds']} seed(s), too few to tell strategies apart."
        )
    return lines


def _verdicts(comparisons: Rows, over: Rows, pair: tuple[str, str], number: str) -> Iterable[str]:
    for c in comparisons:
        if (c["a"], c["b"]) == pair and c["metric"] != "loss":
            yield (
                f"{number}. {c['set']}: {c['a']} − {c['b']} = {_number(c['mean_difference'])} {c['metric']} over "
                f"{c['n']} seed(s), higher in {c['a_higher']} (p = {_number(c['p_t'])}, Holm {_number(c['p_holm'])}; "
                f"signed ranks {_number(c['p_wilcoxon'])})."
            )
    for c in over:
        if (c["a"], c["b"]) == pair:
            yield (
                f"{number}. All {c['kind']} tasks: {c['a']} − {c['b']} = {_number(c['mean_difference'])} {c['metric']} "
                f"over {c['tasks']} tasks, higher in {c['a_higher']} (signed ranks {_number(c['p_wilcoxon'])}, "
                f"Holm {_number(c['p_holm'])})."
            )


def _across_part(over: Rows) -> list[str]:
    if not over:
        return []
    lines = [
        [f"{r['a']} − {r['b']}", r["tasks"], _number(r["mean_difference"]), f"{r['a_higher']} of {r['tasks']}",
         _number(r["p_wilcoxon"]), _number(r["p_holm"])] for r in over
    ]  # fmt: skip
    head = ["a − b", "tasks", "mean difference", "a higher", "p (Wilcoxon)", "p (Holm)"]
    about = (
        f"Over the {over[0]['kind']} tasks, by {over[0]['metric']}: each counts once, by its mean over its seeds. "
        "These tests are of other data; those above are of other seeds on the same data."
    )
    return ["## Over tasks", "", about, "", *_table(head, lines)]


def _paper_part(found: dict[str, Any]) -> list[str]:
    if not found["rows"]:
        return []
    lines = [
        [r["task"], r["strategy"], r["metric"], f"{_cell_of(r['mean'], r['sd'])} ({r['n']})",
         _cell_of(r["paper_mean"], r["paper_sd"]), _number(r["difference"]), _number(r["p_holm"])]
        for r in found["rows"]
    ]  # fmt: skip
    head = ["task", "strategy", "metric", "here (n)", "paper", "difference", "p (Welch, Holm)"]
    return ["## Beside the paper's numbers", "", *_table(head, lines)]


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
    return _number(mean, 4) if sd is None else f"{_number(mean, 4)} ± {_number(sd, 2)}"


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}g}"


def _interval(pair: list[float] | None) -> str:
    return "–" if pair is None else f"{_number(pair[0])} … {_number(pair[1])}"


def _write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return f"{path.parent.name}/{path.name}" if path.parent.name in ("tables", "figures") else path.name
