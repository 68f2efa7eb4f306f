"""Results that no network made: every number known, for the report, its statistics and its words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rcproof.experiments.programme import STUDIED
from rcproof.experiments.runs import SCHEMA, Run, write
from rcproof.experiments.strategies import STRATEGIES, strategies_of

Runs = dict[tuple[str, str, int], dict[str, Any]]
SEEDS = (1, 2, 3, 4, 5, 6)
#: The programme's variants of IRF1, as (fraction, noise).
VARIANTS = ((1.0, 0.0), (0.5, 0.0), (0.25, 0.0), (0.1, 0.0), (1.0, 0.1), (1.0, 0.2), (1.0, 0.3))


def named(fraction: float, noise: float) -> str:
    return Run("IRF1", "rcps", 1, fraction, noise or None).key.split("/")[0]


def made(task: str, kind: str, strategy: str, seed: int, auroc: float, loss: float, **more: Any) -> dict[str, Any]:
    both = {"auroc": auroc, "auprc": auroc - 0.1, "loss": loss}
    profile = {
        "loss": loss,
        "profile_nll": loss - 1,
        "jsd": 0.2,
        "pearson": 0.5,
        "counts_mse": 0.1,
        "counts_pearson": 0.6,
    }
    metrics = {split: dict(profile if kind == "profile" else both) for split in ("train", "valid", "test")}
    metrics["train"]["loss"] -= 0.1
    return {
        "schema": SCHEMA, "task": task, "strategy": strategy, "seed": seed, "fraction": 1.0, "noise": 0.0, "kind": kind,
        "model": {"parameters": 100, "coupled": []}, "versions": {"torch": "2"}, "revision": None, "device": "cpu",
        "epochs": 2, "best_epoch": 1, "metrics": metrics,
        "curves": {"fit_loss": [0.9, loss - 0.2], "valid_loss": [1.0, loss], "fit_auroc": [0.6, 0.9],
                   "valid_auroc": [0.5, auroc]}, **more,
    }  # fmt: skip


def write_results(folder: Path) -> Path:
    """Results in which post-hoc is better than conjoined by 0.01 and a little, in every seed."""
    rng = np.random.default_rng(0)
    for kind, task in (("simulated", "sim_200"), ("binary", "IRF1"), ("profile", "atac")):
        for strategy in strategies_of(kind):
            for seed in SEEDS:
                auroc = 0.9 + 0.01 * (strategy == "post-hoc") + 0.001 * float(rng.standard_normal())
                result = made(task, kind, strategy, seed, auroc, 0.5)
                if STRATEGIES[strategy].kind == "evaluated":
                    two = {"forward": 0.52, "reverse": 0.5}
                    result["strands"] = dict.fromkeys(("train", "valid", "test"), two)
                    for split in result["metrics"]:
                        result["metrics"][split]["loss"] = 0.505
                if strategy.startswith("warm-rcps"):
                    result["movement"] = result["movement_last"] = {"dense": {"cross": 0.1 * seed, "own": 0.2}}
                if strategy.startswith("warm") and STRATEGIES[strategy].kind == "started":
                    result["metrics_last"] = {"test": result["metrics"]["test"]}
                write(result, folder / task / strategy / f"{seed}.json")
    return folder


def growing_gaps() -> Runs:
    """IRF1 with gaps that grow by 0.1 per halving and 0.02 per tenth of noise, RCPS twice as fast; and a profile.

    At the last epoch they are three times as large, and grow ten times as fast with noise; post-hoc has no epochs.
    """
    rng = np.random.default_rng(3)
    found: Runs = {}
    for fraction, noise in VARIANTS:
        for strategy in STUDIED:
            for seed in SEEDS:
                speed = 2 if strategy == "rcps" else 1
                size = speed * (0.1 * -np.log2(fraction) + 0.2 * noise) + 0.05 + 0.01 * rng.standard_normal()
                auroc = 0.9 - 0.1 * size
                run = made("IRF1", "binary", strategy, seed, auroc, 0.5) | {"fraction": fraction, "noise": noise}
                run["metrics"]["train"] |= {"loss": 0.5 - size, "auroc": 0.99}
                run["curves"]["fit_loss"] = [0.9, 0.5 - 3 * size - 1.4 * speed * noise]
                if strategy == "post-hoc":
                    del run["curves"], run["epochs"]
                found[named(fraction, noise), strategy, seed] = run
    for strategy in STUDIED:
        for seed in SEEDS:
            run = made("atac", "profile", strategy, seed, 0.0, 300.0)
            run["metrics"]["train"] |= {"loss": 290.0 - seed - 5 * (strategy == "rcps"), "profile_nll": 280.0}
            found["atac", strategy, seed] = run
    return found
