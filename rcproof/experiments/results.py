"""The result files, read again; and the statistics that compare strategies over seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rcproof.errors import RcproofError
from rcproof.experiments.runs import read
from rcproof.experiments.strategies import STRATEGIES, twin
from rcproof.experiments.tasks import TASKS

#: The metric that a task is judged by.
PRIMARY = {"simulated": "auroc", "binary": "auroc", "profile": "profile_nll"}
#: Metrics of which more is better; of a loss, less is.
HIGHER_IS_BETTER = frozenset({"auroc", "auprc", "pearson", "counts_pearson"})
#: Beside it in the tables.
SECONDARY = {
    "simulated": ("auprc", "loss"),
    "binary": ("auprc", "loss"),
    "profile": ("jsd", "pearson", "counts_mse", "counts_pearson"),
}


@dataclass(frozen=True)
class Results:
    """All runs of a folder, by (set, strategy, seed); a set is a task, or a task at a variant (``sim_200@noise=0``)."""

    runs: dict[tuple[str, str, int], dict[str, Any]]

    @staticmethod
    def read(folder: Path) -> Results:
        """Read ``<set>/<strategy>/<seed>.json``; the order of files does not matter.

        Raises :class:`~rcproof.errors.RcproofError` if there are none, or if one is damaged or not where it belongs.
        """
        runs = {}
        for path in sorted(folder.glob("*/*/*.json")):
            found = read(path)
            place = (path.parts[-3], path.parts[-2], path.stem)
            if task_of(place[0]) != found["task"] or place[1:] != (found["strategy"], str(found["seed"])):
                raise RcproofError(
                    f"result file {'/'.join(place)}.json",
                    got=f"a run of {found['task']}, {found['strategy']}, {found['seed']}", expected="its own place",
                )  # fmt: skip
            runs[place[0], place[1], found["seed"]] = found
        if not runs:
            raise RcproofError(f"no result files in {str(folder)!r}", fix="make some: rcproof experiment run")
        return Results(runs)

    @property
    def sets(self) -> list[str]:
        """The sets in the order of the tasks, variants behind, tasks of a user's own last."""
        order = {name: i for i, name in enumerate(TASKS)}
        return sorted({s for s, _, _ in self.runs}, key=lambda s: (order.get(task_of(s), len(order)), s))

    @property
    def tasks(self) -> list[str]:
        """The sets that are no variants."""
        return [s for s in self.sets if "@" not in s]

    def kind(self, name: str) -> str:
        """``simulated``, ``binary`` or ``profile``."""
        return str(self.one(name)["kind"])

    def one(self, name: str) -> dict[str, Any]:
        """A run of a set, for what all of them have in common."""
        return next(run for (s, _, _), run in self.runs.items() if s == name)

    def strategies(self, name: str) -> list[str]:
        """Strategies with runs in a set, in their usual order."""
        found = {s for n, s, _ in self.runs if n == name}
        return [s for s in STRATEGIES if s in found]

    def seeds(self, name: str, strategy: str) -> dict[int, dict[str, Any]]:
        """The runs of a strategy by seed; those of its twin if they coincide."""
        own = twin(self.kind(name), strategy)
        return {seed: run for (n, s, seed), run in sorted(self.runs.items()) if n == name and s == own}

    def values(self, name: str, strategy: str, metric: str, split: str = "test") -> dict[int, float]:
        """A metric by seed, where it was measured."""
        found = {}
        for seed, run in self.seeds(name, strategy).items():
            value = run["metrics"][split].get(metric)
            if value is not None:
                found[seed] = float(value)
        return found


def mean_sd(values: Iterable[float]) -> tuple[float, float | None, int]:
    """Mean, standard deviation (n − 1; None of one value) and n."""
    array = np.array(list(values), dtype=float)
    return float(array.mean()), (float(array.std(ddof=1)) if len(array) > 1 else None), len(array)


@dataclass
class Comparison:
    """Two strategies on the same seeds: the differences a − b, and what tests say of them.

    ``t`` and ``wilcoxon`` are two-sided p values, None where there are too few seeds; ``holm`` is that of t, corrected
    for the comparisons made with it.
    """

    set: str
    metric: str
    a: str
    b: str
    differences: dict[int, float]
    t: float | None = None
    wilcoxon: float | None = None
    holm: float | None = None

    @property
    def mean(self) -> float:
        """The mean difference."""
        return float(np.mean(list(self.differences.values())))

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the mean difference, by Student's t."""
        from scipy import stats

        values = np.array(list(self.differences.values()))
        if len(values) < 2:
            return None
        half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
        return self.mean - half, self.mean + half

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        interval = self.interval
        return {
            "set": self.set,
            "metric": self.metric,
            "a": self.a,
            "b": self.b,
            "n": len(self.differences),
            "mean_difference": short(self.mean),
            "interval95": None if interval is None else [short(v) for v in interval],
            "a_higher": sum(v > 0 for v in self.differences.values()),
            "p_t": short(self.t),
            "p_wilcoxon": short(self.wilcoxon),
            "p_holm": short(self.holm),
            "by_seed": {str(k): short(v) for k, v in self.differences.items()},
        }


def differences_of(results: Results, name: str, a: str, b: str, metric: str) -> dict[int, float]:
    """Strategy ``a`` less ``b`` by seed, of the seeds that both have."""
    return paired(results.values(name, a, metric), results.values(name, b, metric))


def task_of(name: str) -> str:
    """The task of a set, which may be a variant of it.

    >>> task_of("IRF1@noise=0.1"), task_of("IRF1")
    ('IRF1', 'IRF1')
    """
    return name.split("@")[0]


def paired(first: dict[int, float], second: dict[int, float]) -> dict[int, float]:
    """The first less the second by seed, of the seeds that both have."""
    return {seed: first[seed] - second[seed] for seed in first if seed in second}


def compare(results: Results, name: str, a: str, b: str, metric: str) -> Comparison | None:
    """Strategy ``a`` against ``b`` on the seeds that both have; None if there are none."""
    differences = differences_of(results, name, a, b, metric)
    return tested(name, metric, a, b, differences) if differences else None


def tested(name: str, metric: str, a: str, b: str, differences: dict[int, float]) -> Comparison:
    """What tests say of differences by seed, whatever they are differences in."""
    from scipy import stats

    found = Comparison(name, metric, a, b, differences)
    values = np.array(list(differences.values()))
    if len(values) >= 2 and values.std() > 0:
        found.t = float(stats.ttest_1samp(values, 0.0).pvalue)
    found.wilcoxon = signed_ranks(values)
    return found


def signed_ranks(differences: np.ndarray) -> float | None:
    """Wilcoxon's two-sided p value that differences lie about zero; None of fewer than five, or if all are zero."""
    from scipy import stats

    if len(differences) < 5 or not differences.any():  # of fewer, no order of signs is rare
        return None
    return float(stats.wilcoxon(differences).pvalue)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's correction: p values of m tests such that any error has its level; None stays and does not count.

    >>> holm([0.01, 0.04, None, 0.03])
    [0.03, 0.06, None, 0.06]
    """
    order = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    found: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, i) in enumerate(order):
        largest = max(largest, min(1.0, p * (len(order) - rank)))
        found[i] = largest
    return found


def corrected(comparisons: list[Comparison]) -> list[Comparison]:
    """The same, with Holm's p values over them all."""
    for one, p in zip(comparisons, holm([c.t for c in comparisons]), strict=True):
        one.holm = p
    return comparisons


def welch(a: tuple[float, float, int], b: tuple[float, float, int]) -> float | None:
    """Two-sided p value of two means from means, standard deviations and numbers; None where there are too few."""
    from scipy import stats

    if min(a[2], b[2]) < 2 or (a[1] == 0 and b[1] == 0):
        return None
    return float(stats.ttest_ind_from_stats(*a, *b, equal_var=False).pvalue)


def short(value: float | None, digits: int = 6) -> float | None:
    """A number for a report: few digits, None for what is none."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.{digits}g}")


def shortened(row: dict[str, Any], digits: int = 6) -> dict[str, Any]:
    """A row of a report, its numbers so."""
    return {k: short(v, digits) if isinstance(v, float) else v for k, v in row.items()}
