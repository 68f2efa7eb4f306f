"""The report as a page of Markdown: what was found, question by question, and the tables behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rcproof.experiments.answers import number
from rcproof.experiments.programme import STUDIED
from rcproof.experiments.results import PRIMARY, SECONDARY, Results, task_of
from rcproof.experiments.tasks import TASKS

#: The mark of a comparison that the results suggested.
LATER = "†"
Rows = list[dict[str, Any]]


def as_markdown(
    results: Results, answers: dict[str, Any], scores: Rows, pairs: Rows, over: Rows, lacking: dict[str, Any],
    found: Rows, extent: str,
) -> str:  # fmt: skip
    """The whole page."""
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
    if lacking["runs"]:
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
        lines = [f"- {line}" for line in one["answers"]] or ["These runs do not answer it."]
        parts += [f"## {one['number']}. {one['question']}", "", *lines, ""]
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
        about = (
            "The slope of each seed over the variants that it was trained at; leads are in the test metric. The gap at "
            f"the last epoch is to validation data. {LATER}: as above."
        )
        lines = [[c["set"], c["per"], _trend(c) + _mark(c), *_tested(c)] for c in some]
        parts += ["## How it goes with training-set size and label noise", "", about, "", *_table(head, lines)]
    for name in dict.fromkeys(task_of(r["set"]) for r in found["rows"] if "@" in r["set"]):
        parts += _variants_part(name, [r for r in found["rows"] if task_of(r["set"]) == name])
    return parts


def _trend(c: dict[str, Any]) -> str:
    """What a trend is the change of."""
    return {"gap": f"gap of {c['a']}", "last gap": f"gap of {c['a']} at the last epoch",
            "lead": f"lead of {c['a']} over {c['b']}"}[c["of"]]  # fmt: skip


def _variants_part(task: str, rows: Rows) -> list[str]:
    """What the slopes are of: the gap in the loss and the test metric of every variant of a task."""
    metric = next(r["metric"] for r in rows if r["metric"] != "loss")
    parts = [f"## {task} by training-set size and label noise", ""]
    for what, of, key in (("Gap in the loss", "loss", "gap"), ("Gap in the loss at the last epoch", "loss", "last_gap"),
                          (f"Test {metric}", metric, "test")):  # fmt: skip
        cells = {(r["noise"], r["fraction"], r["strategy"]): _of_variant(r, key) for r in rows if r["metric"] == of}
        lines = [
            [f"{fraction:g}", f"{noise:g}", *(cells.get((noise, fraction, strategy), "") for strategy in STUDIED)]
            for noise, fraction in sorted({at[:2] for at in cells})
        ]
        parts += [f"{what}, mean ± standard deviation (seeds).", ""]
        parts += _table(["part of the training set", "wrong training labels", *STUDIED], lines)
    return parts


def _of_variant(row: dict[str, Any], key: str) -> str:
    return "" if row[key] is None else f"{_cell_of(row[key], row[f'{key}_sd'])} ({row['n']})"


def _pair(row: dict[str, Any]) -> str:
    return f"{row['a']} − {row['b']}{_mark(row)}"


def _mark(row: dict[str, Any]) -> str:
    return f" {LATER}" if row["later"] else ""


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
