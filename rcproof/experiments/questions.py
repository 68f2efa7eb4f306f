"""The six questions, each answered with numbers from the result files alone; the third is in :mod:`.gaps`."""

from __future__ import annotations

import csv
from typing import Any

import numpy as np

from rcproof.errors import RcproofError
from rcproof.experiments.registry import fetch
from rcproof.experiments.results import (
    HIGHER_IS_BETTER,
    PRIMARY,
    Results,
    compare,
    corrected,
    differences_of,
    holm,
    mean_sd,
    short,
    shortened,
    signed_ranks,
    welch,
)
from rcproof.experiments.strategies import PATH, STRATEGIES
from rcproof.experiments.tasks import TASKS

PAPER_FILE = "paper/zhou2022_results.csv"
#: Other names that the paper's tables use.
PAPER_NAMES = {"rcps": ("RCPS-Sum", "RCPS"), "standard": ("Standard-NoRCAug",), "cj-rcps-all": ("CJRCPS-all", "CJRCPS")}
#: How much larger a mean of float32 losses may come out than it is.
ROUNDING = 1e-6
#: What is asked of every task; the first should win by the paper's or the theory's account.
COMPARED = (
    ("post-hoc", "conjoined"), ("post-hoc", "standard-aug"), ("post-hoc", "rcps"), ("post-hoc", "post-hoc-sigmoid"),
    ("standard-aug", "standard"), ("conjoined", "standard-aug"), ("conjoined", "conjoined-max"), ("rcps", "conjoined"),
    ("rcps", "rcps-mean"), ("rcps", "rcps-half"), ("rcps", "cj-rcps-all"), ("warm-rcps", "post-hoc"),
    ("warm-rcps", "warm-conjoined"), ("warm-rcps", "warm-post-hoc"), ("warm-rcps", "rcps"),
    ("warm-rcps-cross", "post-hoc"), ("warm-conjoined", "post-hoc"), ("warm-post-hoc", "post-hoc"),
)  # fmt: skip
#: What was asked only when the results were seen: RCPS that averages did better than anybody had said.
ASKED_LATER = (("rcps-mean", "post-hoc"), ("rcps-mean", "conjoined"), ("warm-rcps", "rcps-mean"))


def reproduction(results: Results) -> dict[str, Any]:
    """1: our numbers beside the paper's, by strategy: Welch's t test from the summaries, Holm over a metric."""
    try:
        published = paper_table()
    except RcproofError as problem:  # a report of the other questions does without it
        return {"rows": [], "order": {}, "note": f"the paper's table is not at hand: {problem}"}
    rows: list[dict[str, Any]] = []
    for name in results.tasks:
        like = TASKS[name].like if name in TASKS else None
        for strategy in results.strategies(name):
            for metric in ("auroc", "auprc"):
                theirs = _published(published, like, strategy, metric)
                ours = results.values(name, strategy, metric)
                if theirs is None or not ours:
                    continue
                mean, sd, n = mean_sd(ours.values())
                p = None if sd is None else welch((mean, sd, n), theirs)
                rows.append(
                    {"task": name, "strategy": strategy, "metric": metric, "mean": mean, "sd": sd, "n": n,
                     "paper_mean": theirs[0], "paper_sd": theirs[1], "paper_n": theirs[2],
                     "difference": mean - theirs[0], "p_welch": p}
                )  # fmt: skip
    for metric in ("auroc", "auprc"):
        own = [r for r in rows if r["metric"] == metric]
        for row, p in zip(own, holm([r["p_welch"] for r in own]), strict=True):
            row["p_holm"] = p
    order = {}
    for name in dict.fromkeys(r["task"] for r in rows):
        own = [r for r in rows if r["task"] == name and r["metric"] == "auroc"]
        order[name] = {
            "ours": [r["strategy"] for r in sorted(own, key=lambda r: -r["mean"])],
            "paper": [r["strategy"] for r in sorted(own, key=lambda r: -r["paper_mean"])],
            "rank_correlation": _rank_correlation([r["mean"] for r in own], [r["paper_mean"] for r in own]),
        }
    return {"rows": [shortened(r) for r in rows], "order": order}


def guarantees(results: Results) -> dict[str, Any]:
    """2: T9 for every seed; and post-hoc against conjoined during training and against its own network."""
    rows = []
    for name in results.sets:
        for strategy in results.strategies(name):
            for seed, run in results.seeds(name, strategy).items():
                for split, two in run.get("strands", {}).items():
                    bound = (two["forward"] + two["reverse"]) / 2
                    loss = run["metrics"][split]["loss"]
                    rows.append(
                        {"set": name, "strategy": strategy, "seed": seed, "split": split, "loss": loss, "bound": bound,
                         "forward": two["forward"], "reverse": two["reverse"],
                         "holds": bool(loss <= bound * (1 + ROUNDING)), "below_forward": bool(loss <= two["forward"])}
                    )  # fmt: skip
    pairs = (("post-hoc", "conjoined"), ("post-hoc", "standard-aug"), ("post-hoc-noaug", "standard"))
    found = []
    for name in results.tasks:
        for metric in (PRIMARY[results.kind(name)], "loss"):
            found += [c for a, b in pairs if (c := compare(results, name, a, b, metric)) is not None]
    return {
        "t9": {"checks": len(rows), "hold": sum(r["holds"] for r in rows),
               "test_loss_above_own_strand": sum(not r["below_forward"] for r in rows if r["split"] == "test"),
               "rows": [shortened(r, 8) for r in rows]},
        "comparisons": [c.to_json() for c in corrected(found)],
    }  # fmt: skip


def coupling_path(results: Results) -> dict[str, Any]:
    """4: the held-out metric against the set S of coupled layers, at equal width and at equal parameters."""
    rows, found = [], []
    for name in results.tasks:
        kind = results.kind(name)
        if kind == "simulated":  # nothing there to couple
            continue
        metric = PRIMARY[kind]
        for strategy in PATH:
            for width, one in (("equal", strategy), ("equal parameters", f"{strategy}-equal")):
                if one == "cj-rcps-all-equal":
                    one = strategy  # it is what the others are made equal to
                values, runs = results.values(name, one, metric), results.seeds(name, one)
                if not values:
                    continue
                mean, sd, n = mean_sd(values.values())
                model = next(iter(runs.values()))["model"]
                rows.append(
                    {"task": name, "strategy": one, "at": width, "coupled": model["coupled"], "metric": metric,
                     "parameters": model["parameters"], "mean": mean, "sd": sd, "n": n}
                )  # fmt: skip
        for strategy in PATH[1:]:
            both = (compare(results, name, one, "cj-rcps-all", metric) for one in (strategy, f"{strategy}-equal"))
            found += [c for c in both if c is not None]
    return {"rows": [shortened(r) for r in rows], "comparisons": [c.to_json() for c in corrected(found)]}


def warm_start(results: Results) -> dict[str, Any]:
    """5: RCPS from the converted post-hoc conjoined network, against it, its controls and RCPS from scratch."""
    pairs = (
        ("warm-rcps", "post-hoc"), ("warm-rcps", "warm-conjoined"), ("warm-rcps", "warm-post-hoc"),
        ("warm-rcps", "rcps"), ("warm-rcps-cross", "post-hoc"), ("warm-conjoined", "post-hoc"),
        ("warm-post-hoc", "post-hoc"),
    )  # fmt: skip
    found, moved, last = [], [], []
    for name in results.tasks:
        kind = results.kind(name)
        for metric in (PRIMARY[kind], "loss"):
            found += [c for a, b in pairs if (c := compare(results, name, a, b, metric)) is not None]
        for strategy, which in (
            (s, w) for s in ("warm-rcps", "warm-rcps-cross") for w in ("movement", "movement_last")
        ):
            runs = [r for r in results.seeds(name, strategy).values() if r.get(which)]
            for layer in runs[0][which] if runs else ():
                cross, own = (mean_sd(r[which][layer][k] for r in runs) for k in ("cross", "own"))
                moved.append(
                    {"task": name, "strategy": strategy, "weights": "last" if which.endswith("last") else "kept",
                     "layer": layer, "n": cross[2], "cross": cross[0], "cross_sd": cross[1], "own": own[0],
                     "own_sd": own[1], "kept_epoch": mean_sd(r["best_epoch"] for r in runs)[0]}
                )  # fmt: skip
        for strategy in ("warm-rcps", "warm-rcps-cross", "warm-conjoined", "warm-standard"):
            metric = PRIMARY[kind]
            ends = [
                (r["metrics"]["test"][metric], r["metrics_last"]["test"][metric], r["best_epoch"])
                for r in results.seeds(name, strategy).values() if "metrics_last" in r
            ]  # fmt: skip
            if ends:
                last.append(
                    {"task": name, "strategy": strategy, "metric": metric, "n": len(ends),
                     "kept": mean_sd(e[0] for e in ends)[0], "last": mean_sd(e[1] for e in ends)[0],
                     "kept_epoch": mean_sd(e[2] for e in ends)[0]}
                )  # fmt: skip
    return {"comparisons": [c.to_json() for c in corrected(found)], "movement": [shortened(r) for r in moved],
            "last_epoch": [shortened(r) for r in last]}  # fmt: skip


def guide(results: Results) -> dict[str, Any]:
    """6: which strategies were best, and which could not be told from the best, by task; mean ranks over tasks."""
    rows: dict[str, Any] = {}
    ranks: dict[str, list[float]] = {}
    for name in results.tasks:
        metric = PRIMARY[results.kind(name)]
        highest = metric in HIGHER_IS_BETTER
        means = {s: mean_sd(v.values())[0] for s in results.strategies(name) if (v := results.values(name, s, metric))}
        order = sorted(means, key=lambda s: -means[s] if highest else means[s])
        against = corrected([c for s in order[1:] if (c := compare(results, name, order[0], s, metric)) is not None])
        worse = [c.b for c in against if c.holm is not None and c.holm < 0.05]
        rows[name] = {
            "metric": metric, "best": order[0], "seeds": len(results.seeds(name, order[0])),
            "not_told_from_best": [s for s in order[1:] if s not in worse], "worse_p_below_0.05": worse,
        }  # fmt: skip
        for rank, strategy in enumerate(order, 1):
            ranks.setdefault(strategy, []).append((rank - 1) / max(1, len(order) - 1))
    everywhere = {s: r for s, r in ranks.items() if len(r) == len(rows)}
    order = sorted(everywhere, key=lambda s: float(np.mean(everywhere[s])))
    return {"tasks": rows, "mean_rank": {s: short(float(np.mean(everywhere[s])), 3) for s in order}}


def missing(results: Results) -> dict[str, Any]:
    """What of the programme is not there yet: by set, the strategies and how many seeds they lack.

    Nothing is, of results on data of one's own alone: they are no part of it.
    """
    from rcproof.experiments.programme import everything
    from rcproof.experiments.tasks import TASKS

    if not TASKS.keys() & set(results.tasks):
        return {"runs": 0, "missing": 0, "by_task": {}}
    lacks: dict[str, dict[str, int]] = {}
    runs = [run for one in everything() for run in one.runs]
    for run in runs:
        name = run.key.split("/")[0]
        if (name, run.strategy, run.seed) not in results.runs:
            of_set = lacks.setdefault(name, {})
            of_set[run.strategy] = of_set.get(run.strategy, 0) + 1
    return {"runs": len(runs), "missing": sum(sum(v.values()) for v in lacks.values()), "by_task": lacks}


def pairwise(results: Results) -> list[dict[str, Any]]:
    """The comparisons of :data:`COMPARED` and :data:`ASKED_LATER` in every task, Holm's correction within a task."""
    rows = []
    for name in results.tasks:
        metric = PRIMARY[results.kind(name)]
        some = [c for a, b in (*COMPARED, *ASKED_LATER) if (c := compare(results, name, a, b, metric)) is not None]
        later = [(c.a, c.b) in ASKED_LATER for c in some]
        rows += [
            {**c.to_json(), "highest": metric in HIGHER_IS_BETTER, "later": x}
            for c, x in zip(corrected(some), later, strict=True)
        ]
    return rows


def across(results: Results, kind: str = "binary") -> list[dict[str, Any]]:
    """The comparisons of :func:`pairwise` over two or more tasks of a kind: a task counts once, by its mean over seeds.

    The seeds of a task share its data, so their tests say nothing of other data; these do (Demsar 2006: signed ranks
    over data sets). ``p_holm`` corrects them for each other.
    """
    rows: list[dict[str, Any]] = []
    metric = PRIMARY[kind]
    for a, b in (*COMPARED, *ASKED_LATER):
        by_task = {
            name: mean_sd(found.values())[0]
            for name in results.tasks
            if results.kind(name) == kind and (found := differences_of(results, name, a, b, metric))
        }
        if len(by_task) > 1:
            values = np.array(list(by_task.values()))
            rows.append(
                {"kind": kind, "metric": metric, "a": a, "b": b, "later": (a, b) in ASKED_LATER, "tasks": len(by_task),
                 "mean_difference": short(float(values.mean())), "a_higher": int((values > 0).sum()),
                 "p_wilcoxon": short(signed_ranks(values)), "by_task": {k: short(v) for k, v in by_task.items()}}
            )  # fmt: skip
    for row, p in zip(rows, holm([r["p_wilcoxon"] for r in rows]), strict=True):
        row["p_holm"] = short(p)
    return rows


def paper_table() -> dict[tuple[str, str, str], tuple[float, float, int]]:
    """The paper's (mean, standard deviation, n) by task, model and metric."""
    with fetch(PAPER_FILE).open(encoding="utf-8", newline="") as stream:
        return {
            (row["task"], row["model"], row["metric"]): (float(row["mean"]), float(row["std"]), int(row["n"]))
            for row in csv.DictReader(stream)
        }


def _published(
    table: dict[tuple[str, str, str], tuple[float, float, int]], like: str | None, strategy: str, metric: str
) -> tuple[float, float, int] | None:
    if like is None:
        return None
    for name in PAPER_NAMES.get(strategy, (STRATEGIES[strategy].paper,)):
        if name is not None and (like, name, metric) in table:
            return table[like, name, metric]
    return None


def _rank_correlation(a: list[float], b: list[float]) -> float | None:
    from scipy import stats

    return None if len(a) < 3 else short(float(stats.spearmanr(a, b).statistic), 3)
