"""The third question, overfitting: how much better a network does on its training set than on held-out data.

A gap is positive where the training set does better, whichever way its metric goes. Its two sides have like labels:
where training labels are noisy, losses are those on noisy labels and AuROC that on clean ones, on both sides.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np

from rcproof.experiments.programme import STUDIED
from rcproof.experiments.results import (
    HIGHER_IS_BETTER,
    PRIMARY,
    Comparison,
    Results,
    corrected,
    differences_of,
    mean_sd,
    paired,
    shortened,
    task_of,
    tested,
)

#: Who overfits more, by the hypothesis: the first.
COMPARED = (("conjoined", "post-hoc"), ("rcps", "post-hoc"), ("rcps", "conjoined"), ("conjoined", "standard-aug"),
            ("standard", "standard-aug"))  # fmt: skip
#: Whose lead in the test metric should grow with less data or more noise, if overfitting is what it rests on.
LEADS = (("post-hoc", "conjoined"), ("post-hoc", "rcps"))
#: Along what a trend is sought: its unit, and how many of them a variant is at.
AXES: dict[str, tuple[str, Callable[[float], float]]] = {
    "fraction": ("halving of the training set", lambda part: -math.log2(part)),
    "noise": ("tenth of wrong training labels", lambda wrong: 10 * wrong),
}
#: A line needs more points than two to say more than a difference does.
FEWEST_LEVELS = 3


def overfitting(results: Results) -> dict[str, Any]:
    """3: gaps by set, at the weights kept and at the last epoch; whose are larger; and how they go with size and noise.

    ``comparisons`` are of gaps in the loss, paired over seeds; ``trends`` are slopes, one a seed, against zero
    (Student's t, Holm's correction over each of the two). AuROC is in the rows only: on a training set it soon is 1.
    """
    rows = []
    for name in results.sets:
        for metric, strategy in product(_metrics(results, name), STUDIED):
            runs = results.seeds(name, strategy)
            gaps = [g for run in runs.values() if (g := gap(run, metric)) is not None]
            last = list(last_gaps_of(results, name, strategy, metric).values())
            if gaps:
                one = next(iter(runs.values()))
                (train, _, _), (test, test_sd, _), (mean, sd, n) = (mean_sd(g[i] for g in gaps) for i in range(3))
                last_mean, last_sd = mean_sd(last)[:2] if last else (None, None)
                rows.append(
                    {"set": name, "strategy": strategy, "metric": metric, "n": n, "train": train, "test": test,
                     "test_sd": test_sd, "gap": mean, "gap_sd": sd, "last_gap": last_mean, "last_gap_sd": last_sd,
                     "fraction": one["fraction"], "noise": one["noise"],
                     "epochs": mean_sd(r.get("epochs", 0) for r in runs.values())[0]}
                )  # fmt: skip
    found = [c for name in results.tasks for a, b in COMPARED if (c := _compare(results, name, a, b)) is not None]
    return {"rows": [shortened(r) for r in rows], "comparisons": [c.to_json() for c in corrected(found)],
            "trends": trends(results)}  # fmt: skip


def trends(results: Results) -> list[dict[str, Any]]:
    """How gaps in the loss, and the leads of :data:`LEADS`, change with training-set size and label noise.

    A seed gives one slope, by least squares over the variants that it was trained at; the seeds are the sample. A lead
    is that in the test metric, positive where the first is better. Noise moves the weights kept to an early epoch,
    before a network has learnt its labels by heart, so the gap of the last epoch is asked for as well (``later``: when
    the first results were seen); of a post-hoc form there is none.
    """
    found, about = [], []
    for task, (axis, (unit, at)) in product(results.tasks, AXES.items()):
        levels = _levels(results, task, axis)
        metric = PRIMARY[results.kind(task)]
        asked = [
            (of, one, "", "loss", [by_seed(results, s, one, "loss") for _, s in levels])
            for (of, by_seed), one in product((("gap", gaps_of), ("last gap", last_gaps_of)), STUDIED)
        ]
        asked += [("lead", a, b, metric, [leads_of(results, s, a, b, metric) for _, s in levels]) for a, b in LEADS]
        for of, a, b, what, values in asked:
            slopes = slopes_of([(at(x), by_seed) for (x, _), by_seed in zip(levels, values, strict=True)])
            if slopes:
                found.append(tested(task, what, a, b, slopes))
                about.append({"axis": axis, "per": unit, "of": of, "later": of == "last gap"})
    return [{**one.to_json(), **more} for one, more in zip(corrected(found), about, strict=True)]


def slopes_of(points: list[tuple[float, dict[int, float]]]) -> dict[int, float]:
    """The least-squares slope of each seed's values against x, of seeds that have enough of them.

    >>> slopes_of([(0.0, {1: 1.0, 2: 5.0}), (1.0, {1: 3.0, 2: 5.0}), (2.0, {1: 5.0})])
    {1: 2.0}
    """
    found = {}
    for seed in sorted({seed for _, values in points for seed in values}):
        own = [(x, values[seed]) for x, values in points if seed in values]
        if len(own) >= FEWEST_LEVELS:
            x, y = np.array(own).T
            away = x - x.mean()
            found[seed] = float(away @ y / (away @ away))
    return found


def gaps_of(results: Results, name: str, strategy: str, metric: str) -> dict[int, float]:
    """The gap by seed, at the weights kept."""
    return {s: g[2] for s, run in results.seeds(name, strategy).items() if (g := gap(run, metric)) is not None}


def last_gaps_of(results: Results, name: str, strategy: str, metric: str) -> dict[int, float]:
    """The gap by seed, at the last epoch."""
    return {s: g for s, run in results.seeds(name, strategy).items() if (g := last_gap(run, metric)) is not None}


def leads_of(results: Results, name: str, a: str, b: str, metric: str) -> dict[int, float]:
    """By how much ``a`` is better than ``b`` on test data, by seed, of the seeds that both have."""
    return {s: _better(metric) * v for s, v in differences_of(results, name, a, b, metric).items()}


def gap(run: dict[str, Any], metric: str) -> tuple[float, float, float] | None:
    """Train, test, and how much better the first is; None where it was not measured."""
    train, test = run["metrics"]["train"], run["metrics"]["test"]
    of_test = "other_loss" if metric == "loss" and "other_loss" in test else metric
    of_train = "other_auroc" if metric == "auroc" and "other_auroc" in train else metric
    if metric not in train or of_test not in test:
        return None
    return train[of_train], test[of_test], _better(metric) * (train[of_train] - test[of_test])


def last_gap(run: dict[str, Any], metric: str) -> float | None:
    """The gap at the last epoch, between the measured part of the training set and the validation set."""
    curves = run.get("curves", {})
    of_valid = "valid_other_loss" if metric == "loss" and "valid_other_loss" in curves else f"valid_{metric}"
    of_fit = "fit_other_auroc" if metric == "auroc" and "fit_other_auroc" in curves else f"fit_{metric}"
    fit, valid = curves.get(of_fit), curves.get(of_valid)
    if not fit or not valid or fit[-1] is None or valid[-1] is None:
        return None
    return float(_better(metric) * (fit[-1] - valid[-1]))


def _compare(results: Results, name: str, a: str, b: str) -> Comparison | None:
    differences = paired(*(gaps_of(results, name, one, "loss") for one in (a, b)))
    return tested(name, "loss", a, b, differences) if differences else None


def _levels(results: Results, task: str, axis: str) -> list[tuple[float, str]]:
    """The task and its variants along an axis, each where it lies; nothing else about them differs."""
    other = "noise" if axis == "fraction" else "fraction"
    same = results.one(task)[other]
    own = ((s, results.one(s)) for s in results.sets if task_of(s) == task)
    return sorted((float(run[axis]), s) for s, run in own if run[other] == same)


def _metrics(results: Results, name: str) -> tuple[str, str]:
    return PRIMARY[results.kind(name)], "loss"


def _better(metric: str) -> int:
    return 1 if metric in HIGHER_IS_BETTER else -1
