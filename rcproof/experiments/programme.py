"""Everything that the six questions need: which runs, in which order. ``rcproof experiment run all`` makes them.

First every task under every strategy, cheapest and most asked for first; then the overfitting study, the same networks
on parts of the training set and with more or less label noise.
"""

from __future__ import annotations

from collections.abc import Sequence

from rcproof.experiments.strategies import strategies_of
from rcproof.experiments.sweep import Chain, plan
from rcproof.experiments.tasks import SEEDS, TASKS

#: Who is compared in the overfitting study; post-hoc forms come with their base.
STUDIED = ("standard", "standard-aug", "conjoined", "post-hoc", "rcps")
#: Parts of the training set, and label noise, beside the tasks' own (1, and .2 or 0).
FRACTIONS = (0.1, 0.25, 0.5)
NOISES = {"sim_200": (0.0, 0.1, 0.3), "IRF1": (0.1, 0.2, 0.3)}


def tasks(seeds: Sequence[int] = SEEDS) -> list[Chain]:
    """Every task under every strategy."""
    return [one for task in TASKS.values() for one in plan(task, strategies_of(task.kind), seeds)]


def overfitting(seeds: Sequence[int] = SEEDS) -> list[Chain]:
    """The overfitting study: training-set size and label noise, each alone."""
    chains = []
    for name, noises in NOISES.items():
        for fraction in FRACTIONS:
            chains += plan(TASKS[name], STUDIED, seeds, fraction=fraction)
        for noise in noises:
            chains += plan(TASKS[name], STUDIED, seeds, noise=noise)
    return chains


def everything(seeds: Sequence[int] = SEEDS) -> list[Chain]:
    """The whole programme."""
    return tasks(seeds) + overfitting(seeds)
