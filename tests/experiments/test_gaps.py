"""Overfitting from result files: known gaps, scipy's own slopes and tests, and nothing from what was not measured."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from rcproof.experiments import gaps
from rcproof.experiments.programme import STUDIED
from rcproof.experiments.report import build_report
from rcproof.experiments.results import Results, holm
from rcproof.experiments.runs import write
from tests.experiments.made import SEEDS, VARIANTS, Runs, made, named


def test_a_gap_is_positive_where_training_data_do_better(runs: Runs) -> None:
    rows = {(r["set"], r["strategy"], r["metric"]): r for r in gaps.overfitting(Results(runs))["rows"]}
    for r in rows.values():
        assert r["gap"] > 0, r
    assert rows["atac", "rcps", "profile_nll"]["gap"] == pytest.approx(299 - 280)
    assert rows["IRF1", "rcps", "auroc"]["gap"] == pytest.approx(0.99 - rows["IRF1", "rcps", "auroc"]["test"], rel=1e-4)
    # From the curves.
    assert rows["IRF1", "rcps", "loss"]["last_gap"] == pytest.approx(
        0.5 - np.mean([runs["IRF1", "rcps", s]["curves"]["fit_loss"][-1] for s in SEEDS]), rel=1e-4
    )
    assert rows["IRF1", "post-hoc", "loss"]["last_gap"] is None
    assert rows["IRF1", "rcps", "auroc"]["last_gap"] == pytest.approx(
        0.9 - np.mean([runs["IRF1", "rcps", s]["curves"]["valid_auroc"][-1] for s in SEEDS])
    )


def test_gaps_are_of_like_labels() -> None:
    run = made("sim_200", "simulated", "rcps", 1, 0.9, 0.5)
    run["metrics"]["train"] |= {"loss": 0.6, "auroc": 0.75, "other_loss": 0.4, "other_auroc": 0.95}
    run["metrics"]["test"] |= {"loss": 0.5, "auroc": 0.9, "other_loss": 0.65, "other_auroc": 0.7}
    # Losses on noisy labels both, AuROC on clean ones both.
    assert gaps.gap(run, "loss") == pytest.approx((0.6, 0.65, 0.05))
    assert gaps.gap(run, "auroc") == pytest.approx((0.95, 0.9, 0.05))
    run["curves"] |= {"fit_loss": [0.7, 0.6], "valid_loss": [0.1, 0.1], "valid_other_loss": [0.7, 0.66],
                      "fit_auroc": [0.1, 0.1], "fit_other_auroc": [0.6, 0.97], "valid_auroc": [0.6, 0.9]}  # fmt: skip
    assert gaps.last_gap(run, "loss") == pytest.approx(0.06)
    assert gaps.last_gap(run, "auroc") == pytest.approx(0.07)


def test_whose_gap_is_larger_against_scipy(runs: Runs) -> None:
    found = gaps.overfitting(Results(runs))["comparisons"]
    assert {(c["set"], c["metric"]) for c in found} == {("IRF1", "loss"), ("atac", "loss")}
    of = {(c["set"], c["a"], c["b"]): c for c in found}
    for strategy, other in gaps.COMPARED:
        c = of["IRF1", strategy, other]
        first, second = ([-runs["IRF1", s, k]["metrics"]["train"]["loss"] for k in SEEDS] for s in (strategy, other))
        assert c["mean_difference"] == pytest.approx(np.mean(np.subtract(first, second)), rel=1e-4)
        assert c["p_t"] == pytest.approx(stats.ttest_rel(first, second).pvalue, rel=1e-4)
    tested = [c for c in found if c["p_t"] is not None]
    assert [c["p_holm"] for c in tested] == pytest.approx(holm([c["p_t"] for c in tested]), rel=1e-4)
    # RCPS's gap on the profile is larger by 5 in every seed: no spread, so nothing for t, and all six above.
    assert (of["atac", "rcps", "post-hoc"]["mean_difference"], of["atac", "rcps", "post-hoc"]["a_higher"]) == (5.0, 6)


def test_slopes_against_scipy(runs: Runs) -> None:
    found = gaps.trends(Results(runs))
    assert {c["set"] for c in found} == {"IRF1"}  # the profile has one size and one noise
    assert [c["p_holm"] for c in found] == pytest.approx(holm([c["p_t"] for c in found]), rel=1e-4)
    for axis, at, chosen in (("fraction", lambda v: -np.log2(v[0]), VARIANTS[:4]),
                             ("noise", lambda v: 10 * v[1], VARIANTS[:1] + VARIANTS[4:])):  # fmt: skip
        of = {(c["a"], c["b"]): c for c in found if c["axis"] == axis and c["of"] != "last gap"}
        assert len(of) == len(STUDIED) + len(gaps.LEADS)
        for strategy in STUDIED:
            slopes = [
                stats.linregress(
                    [at(v) for v in chosen],
                    [0.5 - runs[named(*v), strategy, seed]["metrics"]["train"]["loss"] for v in chosen],
                ).slope
                for seed in SEEDS
            ]
            c = of[strategy, ""]
            assert list(c["by_seed"].values()) == pytest.approx(slopes, rel=1e-4, abs=1e-9)
            assert c["p_t"] == pytest.approx(stats.ttest_1samp(slopes, 0).pvalue, rel=1e-4)
        known = 0.1 if axis == "fraction" else 0.02
        assert of["conjoined", ""]["mean_difference"] == pytest.approx(known, abs=0.01)
        assert of["rcps", ""]["mean_difference"] == pytest.approx(2 * known, abs=0.01)
        # AuROC falls by a tenth of the gap, and RCPS's gap grows faster: the lead over it grows.
        lead = of["post-hoc", "rcps"]
        assert (lead["of"], lead["metric"]) == ("lead", "auroc")
        assert lead["mean_difference"] == pytest.approx(known / 10, abs=1e-3)
        assert abs(of["post-hoc", "conjoined"]["mean_difference"]) < 2e-3


def test_a_lead_is_for_the_better_whichever_way_the_metric_goes(runs: Runs) -> None:
    """A profile is better where its likelihood is larger: post-hoc 3 lower in it than RCPS leads by 3."""
    for seed in SEEDS:
        runs["atac", "post-hoc", seed]["metrics"]["test"]["profile_nll"] = 296.0
    assert gaps.leads_of(Results(runs), "atac", "post-hoc", "rcps", "profile_nll") == dict.fromkeys(SEEDS, 3.0)
    assert gaps.leads_of(Results(runs), "IRF1", "rcps", "rcps", "auroc") == dict.fromkeys(SEEDS, 0.0)


def test_no_slope_through_two_points(runs: Runs) -> None:
    """Nor from variants that differ in both; a seed that lacks a variant still has a slope if enough are left."""
    few = {k: v for k, v in runs.items() if k[0] in {"IRF1", "IRF1@fraction=0.5"}}
    assert gaps.trends(Results(few)) == []
    both = deepcopy({k: v for k, v in few.items() if k[0] == "IRF1"})
    for (_, strategy, seed), run in both.items():
        few["IRF1@fraction=0.25,noise=0.1", strategy, seed] = run | {"fraction": 0.25, "noise": 0.1}
    assert gaps.trends(Results(few)) == []
    for seed in SEEDS[1:]:
        del runs["IRF1@fraction=0.1", "rcps", seed]
    del runs["IRF1@fraction=0.25", "rcps", 2]
    own = next(c for c in gaps.trends(Results(runs)) if (c["axis"], c["a"]) == ("fraction", "rcps"))
    assert sorted(map(int, own["by_seed"])) == [1, 3, 4, 5, 6]


def test_what_was_not_measured_has_no_gap(runs: Runs) -> None:
    del runs["IRF1", "rcps", 1]["metrics"]["train"]["loss"]
    runs["IRF1", "rcps", 2]["curves"]["fit_loss"] = [0.9, None]
    row = next(
        r for r in gaps.overfitting(Results(runs))["rows"]
        if (r["set"], r["strategy"], r["metric"]) == ("IRF1", "rcps", "loss")
    )  # fmt: skip
    assert row["n"] == 5
    assert gaps.last_gap(runs["IRF1", "rcps", 2], "loss") is None


def test_slopes_of_the_last_epoch(runs: Runs) -> None:
    """They come from the curves, whatever the weights kept do; a post-hoc form has none, and they are marked."""
    found = gaps.trends(Results(runs))
    assert all(c["later"] == (c["of"] == "last gap") for c in found)
    last = {(c["axis"], c["a"]): c for c in found if c["of"] == "last gap"}
    assert set(last) == {(axis, s) for axis in gaps.AXES for s in STUDIED if s != "post-hoc"}
    for (axis, strategy), c in last.items():
        known = (0.3 if axis == "fraction" else 0.2) * (2 if strategy == "rcps" else 1)
        assert c["mean_difference"] == pytest.approx(known, abs=0.03)
        assert c["a_higher"] == len(SEEDS) and c["p_holm"] < 0.05


def test_page_shows_what_the_slopes_are_of(runs: Runs, tmp_path: Path) -> None:
    """A cell a variant and strategy, against numpy; none of the last epoch of a post-hoc form, none of a profile."""
    for (name, strategy, seed), run in runs.items():
        run["metrics"]["train"]["auroc"] = 0.9 + 0.01 * seed  # else the gap would spread as the test metric does
        write(run, tmp_path / "results" / name / strategy / f"{seed}.json")
    gone = ("IRF1@noise=0.2", "rcps", 4)
    (tmp_path / "results" / "IRF1@noise=0.2" / "rcps" / "4.json").unlink()
    build_report(tmp_path / "results", tmp_path / "out", with_figures=False)
    page = (tmp_path / "out" / "report.md").read_text()
    assert "gap of rcps at the last epoch † |" in page and "| gap of rcps |" in page
    tables = page.split("## IRF1 by training-set size and label noise")[1].split("\n## ")[0].split("(seeds).")[1:]
    assert "by training-set size" not in page.split("## IRF1 by training-set")[1] and len(tables) == 3

    def value(run: dict[str, Any], of: int) -> float:
        train, test = run["metrics"]["train"], run["metrics"]["test"]
        last = 0.0 if "curves" not in run else run["curves"]["valid_loss"][-1] - run["curves"]["fit_loss"][-1]
        return (test["loss"] - train["loss"], last, test["auroc"])[of]

    for of, text in enumerate(tables):
        rows = [[c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
        assert rows[0][2:] == list(STUDIED)
        assert [(float(r[0]), float(r[1])) for r in rows[1:]] == sorted(VARIANTS, key=lambda v: (v[1], v[0]))
        for row in rows[1:]:
            at = named(float(row[0]), float(row[1]))
            for strategy, cell in zip(STUDIED, row[2:], strict=True):
                if of == 1 and strategy == "post-hoc":
                    assert cell == ""
                    continue
                values = [value(runs[at, strategy, s], of) for s in SEEDS if (at, strategy, s) != gone]
                mean, spread = cell.removesuffix(f" ({len(values)})").split(" ± ")
                assert float(mean) == pytest.approx(np.mean(values), rel=6e-4)
                assert float(spread) == pytest.approx(np.std(values, ddof=1), rel=0.06, abs=1e-12)
