"""Tables and figures from the result files that are committed; where there are none, the page says so."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from IPython.display import HTML, Markdown, display

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
#: What says how good a strategy is: the first of these that a set's scores have.
METRICS = ("auroc", "profile_nll")
#: With fewer seeds no test can tell strategies apart, whatever they do.
FEWEST = 5


#: What the experiments' figures show, by their names.
CAPTIONS = {
    "paper": "Beside the paper's numbers",
    "t9": "T9: the loss of the post-hoc conjoined network against the mean of the two strands' losses",
    "curves": "Learning curves",
    "gaps": "Overfitting, by training-set size and label noise: at the weights kept (above), at the last epoch (below)",
    "coupling path": "Along the lattice of coupled layers (T7)",
    "warm start": "Starting from a converted network",
    "overview": "Every strategy on every task",
}


def table(head: Sequence[str], rows: Iterable[Sequence[object]], numbers: Sequence[int] = ()) -> HTML:
    """An HTML table that scrolls in its own box; the columns ``numbers`` are aligned as numbers."""
    kind = [' class="number"' if i in numbers else "" for i in range(len(head))]
    top = "".join(f"<th{k}>{html.escape(h)}</th>" for h, k in zip(head, kind, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{k}>{html.escape(str(v))}</td>" for v, k in zip(row, kind, strict=True)) + "</tr>"
        for row in rows
    )
    return HTML(
        '<div class="rp-scroll" tabindex="0"><table class="rp-table"><thead><tr>'
        f"{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def reports(schema: str) -> list[tuple[Path, dict[str, Any]]]:
    """The committed reports whose schema begins so."""
    found = []
    for path in sorted(BENCHMARKS.rglob("report.json")):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            continue
        if isinstance(document, dict) and str(document.get("schema", "")).startswith(schema):
            found.append((path, document))
    return found


def themed(folder: Path, pattern: str = "*") -> None:
    """Every figure of a folder that is there in light and in dark, each shown in its own theme."""
    for light in sorted(folder.glob(f"{pattern}light.svg")):
        dark = light.with_name(light.name.removesuffix("light.svg") + "dark.svg")
        if not dark.is_file():
            continue
        name = light.stem.removesuffix("light").lstrip("0123456789_").rstrip("-_").replace("_", " ").replace("-", " ")
        images = "".join(
            f'<img class="only-{theme}" alt="{html.escape(name)}" src="data:image/svg+xml;base64,'
            f'{base64.b64encode(path.read_bytes()).decode()}">'
            for theme, path in (("light", light), ("dark", dark))
        )
        words = CAPTIONS.get(name, name.capitalize())
        box = f'<div class="rp-scroll" tabindex="0">{images}</div>'
        display(HTML(f'<figure class="rp-figure">{box}<figcaption>{html.escape(words)}</figcaption></figure>'))


def accuracy() -> None:
    """The experiments' report: scores, comparisons, figures, and what is missing."""
    found = reports("rcproof-experiments/")
    if not found:
        display(Markdown("**No results of the experiments are committed yet**, so there is nothing to report."))
        return
    for path, report in found:
        _findings(report)
        _scores(report)
        _paper(report)
        _pairs(report)
        _across(report)
        themed(path.parent / "figures")
        _missing(report)
        versions = "; ".join(f"{k} {', '.join(map(str, v))}" for k, v in report["versions"].items())
        display(Markdown(f"Runs: {report['runs']}. Made with {versions}."))


def _findings(report: dict[str, Any]) -> None:
    """The answers in words, a question a heading."""
    for one in report.get("findings", ()):
        lines = "\n".join(f"- {line}" for line in one["answers"]) or "Nothing yet."
        display(Markdown(f"## {one['question']}\n\n{lines}"))


def _scores(report: dict[str, Any]) -> None:
    sets: dict[str, list[dict[str, Any]]] = {}
    for row in report["scores"]:
        if "test_mean" in row:
            sets.setdefault(row["set"], []).append(row)
    if not sets:
        display(Markdown("No run has a test score yet."))
    for name, rows in sets.items():
        metric = next((m for m in METRICS if any(r["metric"] == m for r in rows)), rows[0]["metric"])
        shown = [
            [r["strategy"] + (f" (as {r['as']})" if r.get("as") else ""), _spread(r), r["n"]]
            for r in rows
            if r["metric"] == metric
        ]
        display(Markdown(f"### {name}: {metric} on the test set"))
        display(table(["strategy", "mean ± sd", "seeds"], shown, numbers=[1, 2]))


def _spread(row: dict[str, Any]) -> str:
    sd = row.get("test_sd")
    return f"{row['test_mean']:.4f}" + (f" ± {sd:.4f}" if sd is not None else "")


def _pairs(report: dict[str, Any]) -> None:
    shown = [
        [
            r["set"],
            *_difference(r, "n"),
            _short(r["p_holm"]),
            _short(r["p_wilcoxon"]),
        ]
        for r in report["pairwise"]
    ]
    if shown:
        display(Markdown("## Differences, seed by seed"))
        display(Markdown("†: asked only when the first results were seen."))
        head = ["set", "strategies", "metric", "seeds", "mean difference", "first higher", "p (t, Holm)", "p (ranks)"]
        display(table(head, shown, numbers=[3, 4, 5, 6, 7]))


def _across(report: dict[str, Any]) -> None:
    shown = [[*_difference(r, "tasks"), _short(r["p_wilcoxon"]), _short(r["p_holm"])] for r in report["across_tasks"]]
    if shown:
        display(Markdown("## Over the binary tasks"))
        display(Markdown("Each counts once, by its mean over the seeds it has: what holds for other data, not seeds."))
        head = ["strategies", "metric", "tasks", "mean difference", "first higher", "p (ranks)", "p (Holm)"]
        display(table(head, shown, numbers=[2, 3, 4, 5, 6]))


def _difference(row: dict[str, Any], units: str) -> list[Any]:
    """What tables of differences have in common, over the seeds or tasks that ``row[units]`` counts."""
    pair = f"{row['a']} − {row['b']}" + (" †" if row.get("later") else "")
    higher = f"{row['a_higher']} of {row[units]}"
    return [pair, row["metric"], row[units], _short(row["mean_difference"]), higher]


def _paper(report: dict[str, Any]) -> None:
    shown = [
        [
            r["task"],
            r["strategy"],
            r["metric"],
            r["n"],
            _short(r["mean"]),
            _short(r["paper_mean"]),
            _short(r["difference"]),
        ]
        for r in report["answers"]["1_reproduction"]["rows"]
    ]
    if shown:
        display(Markdown("## Beside the paper's numbers"))
        head = ["task", "strategy", "metric", "seeds", "here", "paper", "difference"]
        display(table(head, shown, numbers=[3, 4, 5, 6]))


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _missing(report: dict[str, Any]) -> None:
    lacking = report.get("missing") or {}
    display(Markdown("## What was not reached"))
    if not lacking.get("missing"):
        display(Markdown("Every run of the programme is there."))
        return
    display(Markdown(f"{lacking['missing']} of the {lacking['runs']} runs of the programme are missing:"))
    rows = [[task, len(by), sum(by.values())] for task, by in lacking["by_task"].items()]
    display(table(["task", "strategies", "runs missing"], rows, numbers=[1, 2]))


#: What a user decides on, as the difference of two strategies.
DECISIONS = {
    "reverse complements in training": ("standard-aug", "standard"),
    "then conjoin post hoc": ("post-hoc", "standard-aug"),
    "rather than conjoined from the start": ("post-hoc", "conjoined"),
    "rather than RCPS from the start": ("post-hoc", "rcps"),
    "RCPS: average, not sum": ("rcps-mean", "rcps"),
    "averaging RCPS rather than post hoc": ("rcps-mean", "post-hoc"),
    "go on from post hoc, as coupled RCPS": ("warm-rcps", "post-hoc"),
    "… and beyond the same steps uncoupled": ("warm-rcps", "warm-conjoined"),
}


def decision_guide() -> None:
    """What the experiments say about the choice of a strategy."""
    found = reports("rcproof-experiments/")
    given = [r for _, r in found if r.get("answers", {}).get("6_guide", {}).get("tasks")]
    if not given:
        display(
            Markdown(
                "No results of the experiments are committed yet. Take the table above for what is proved, "
                "and compare on your own data with several seeds ([train](train.md))."
            )
        )
        return
    for report in given:
        _decisions(report)
        rows = [_choice(task, row) for task, row in report["answers"]["6_guide"]["tasks"].items()]
        display(table(["task", "metric", "seeds", "highest mean", "not told from it"], rows, numbers=[2]))
    display(
        Markdown(
            f"*Not told from it*: with the seeds there are, the difference may be chance. Of fewer than {FEWEST} seeds "
            "nothing is said."
        )
    )


def _decisions(report: dict[str, Any]) -> None:
    """What each decision gained, by task: positive is better, whichever way the metric goes."""
    pairs = {(r["set"], r["a"], r["b"]): r for r in report["pairwise"] if r["n"] >= FEWEST}
    tasks = list(dict.fromkeys(task for task, _, _ in pairs))
    rows = []
    for what, (a, b) in DECISIONS.items():
        cells = []
        for task in tasks:
            sign, r = 1, pairs.get((task, a, b))
            if r is None and (r := pairs.get((task, b, a))) is not None:
                sign = -1
            cells.append(_gain(r, sign))
        rows.append([what, f"{a} − {b}", *cells])
    if tasks:
        display(table(["decision", "strategies", *tasks], rows, numbers=range(2, 2 + len(tasks))))
        display(
            Markdown(
                "The mean gain over seeds, in the task's metric and for the better; in brackets the seeds that gained, "
                "and * where p < 0.05 by Student's t after Holm's correction within the task."
            )
        )


def _gain(row: dict[str, Any] | None, sign: int) -> str:
    if row is None:
        return "–"
    better = sign if row["highest"] else -sign
    values = [better * v for v in row["by_seed"].values()]
    mark = "*" if row["p_holm"] is not None and row["p_holm"] < 0.05 else ""
    return f"{better * row['mean_difference']:+.2g}{mark} ({sum(v > 0 for v in values)} of {row['n']})"


def _choice(task: str, row: dict[str, Any]) -> list[Any]:
    few = row["seeds"] < FEWEST
    others = "–" if few else ", ".join(row["not_told_from_best"]) or "none"
    return [task, row["metric"], row["seeds"], "too few seeds" if few else row["best"], others]


def speed() -> None:
    """The speed benchmarks: their own tables, from the result files, and their figures."""
    files = sorted((BENCHMARKS / "results").glob("speed-*.json"))
    if not files:
        display(Markdown("**No speed results are committed yet**, so there is nothing to report."))
        return
    from benchmarks.speed import notes, report

    for path in files:
        data = report.load(path)
        unfinished = "" if data["complete"] else " (unfinished)"
        display(Markdown(f"## {data['suite']} suite on {data['device']}{unfinished}\n\n{report.header(data)}"))
        for name, text in report.tables(data).items():
            if len(text.splitlines()) > 2:
                caption = notes.CAPTIONS.get(name, "")
                display(Markdown(f"### {name[:1].upper()}{name[1:]}\n\n{caption}\n\n{text}"))
        themed(path.parent, f"{path.stem}-*")
