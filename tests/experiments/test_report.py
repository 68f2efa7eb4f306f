"""The report from result files alone: known answers, the same bytes twice, and violations that it must not hide."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from rcproof.errors import RcproofError
from rcproof.experiments import programme, questions
from rcproof.experiments.report import as_csv, build_report, score_rows
from rcproof.experiments.results import Results, compare, corrected, holm, mean_sd, welch
from rcproof.experiments.runs import write
from rcproof.experiments.strategies import STRATEGIES, strategies_of
from rcproof.experiments.tasks import SEEDS as SEEDS_OF_PAPER
from rcproof.experiments.tasks import TASKS
from tests.experiments.made import SEEDS, made


def test_same_files_same_report(folder: Path, paper: None, tmp_path: Path) -> None:
    del paper
    found = build_report(folder, tmp_path / "a")
    build_report(folder, tmp_path / "b")
    names = {str(p.relative_to(tmp_path / "a")) for p in (tmp_path / "a").rglob("*") if p.is_file()}
    assert names == set(found["files"])
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    figures = {Path(n).name for n in names if n.startswith("figures")}
    assert {"1_paper_light.svg", "2_t9_dark.svg", "4_coupling_path_light.svg", "5_warm_start_dark.svg"} <= figures
    assert "tables/across_tasks.csv" in names
    report = json.loads((tmp_path / "a" / "report.json").read_text())
    assert set(report["answers"]) == {f"{i}_{n}" for i, n in enumerate(
        ("reproduction", "post_hoc", "overfitting", "coupling_path", "warm_start", "guide"), 1)}  # fmt: skip
    text = (tmp_path / "a" / "report.md").read_text()
    assert "| rcps-mean − post-hoc † |" in text and "| post-hoc − conjoined |" in text
    assert "\n- sim_200: post-hoc − conjoined = " in text and "## What is missing" in text
    assert text.startswith("# Results") and f"{report['runs']} runs; " in text.split("## 1. ")[0]
    assert [f["number"] for f in report["findings"]] == list("123456") and all(f["answers"] for f in report["findings"])
    assert "gap_differences.csv" in {Path(n).name for n in names}


def test_scores_are_means_over_seeds(folder: Path) -> None:
    results = Results.read(folder)
    values = [results.runs["IRF1", "rcps", s]["metrics"]["test"]["auroc"] for s in SEEDS]
    row = next(r for r in score_rows(results) if (r["set"], r["strategy"], r["metric"]) == ("IRF1", "rcps", "auroc"))
    assert row["test_mean"] == pytest.approx(np.mean(values), rel=1e-5)
    assert row["test_sd"] == pytest.approx(np.std(values, ddof=1), rel=1e-4)
    assert row["n"] == 6 and row["as"] == ""


def test_twins_are_listed_and_said_to_be(folder: Path) -> None:
    rows = {
        r["strategy"]: r for r in score_rows(Results.read(folder)) if r["set"] == "sim_200" and r["metric"] == "auroc"
    }
    assert rows["cj-rcps-all"]["as"] == "rcps" and rows["cj-rcps-all"]["test_mean"] == rows["rcps"]["test_mean"]
    assert rows["rcps-mean"]["as"] == "conjoined"


def test_paired_tests_against_scipy(folder: Path) -> None:
    results = Results.read(folder)
    found = compare(results, "IRF1", "post-hoc", "conjoined", "auroc")
    assert found is not None
    a, b = (list(results.values("IRF1", s, "auroc").values()) for s in ("post-hoc", "conjoined"))
    assert found.t == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert found.wilcoxon == pytest.approx(stats.wilcoxon(a, b).pvalue)
    low, high = found.interval or (0, 0)
    expected = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert (low, high) == pytest.approx((expected.low, expected.high))
    assert found.t < 0.001 and found.to_json()["a_higher"] == 6


def test_only_common_seeds_are_paired(folder: Path) -> None:
    (folder / "IRF1/conjoined/1.json").unlink()
    found = compare(Results.read(folder), "IRF1", "post-hoc", "conjoined", "auroc")
    assert found is not None and sorted(found.differences) == [2, 3, 4, 5, 6]
    for seed in SEEDS[1:]:
        (folder / f"IRF1/conjoined/{seed}.json").unlink()
    assert compare(Results.read(folder), "IRF1", "post-hoc", "conjoined", "auroc") is None


def test_no_test_of_too_few_seeds(folder: Path) -> None:
    for seed in SEEDS[1:]:
        (folder / f"IRF1/conjoined/{seed}.json").unlink()
    found = compare(Results.read(folder), "IRF1", "post-hoc", "conjoined", "auroc")
    assert found is not None and found.t is None and found.wilcoxon is None and found.interval is None
    assert corrected([found])[0].holm is None


def test_a_pair_says_which_way_its_metric_is_better(folder: Path) -> None:
    """A profile is judged by its negative log likelihood, the decision guide's sign hangs on it."""
    found = {(r["set"], r["metric"], r["highest"]) for r in questions.pairwise(Results.read(folder))}
    assert found == {("sim_200", "auroc", True), ("IRF1", "auroc", True), ("atac", "profile_nll", False)}


def test_over_tasks_a_task_counts_once(folder: Path) -> None:
    """Five more tasks of one seed weigh as much as the one of six seeds; the tests are scipy's, over tasks."""
    assert questions.across(Results.read(folder)) == []  # one binary task says nothing of others
    by_hand = {"Reb1": 0.02, "Abf1": 0.03, "ZBED2": -0.01, "tf0": 0.05, "tf1": 0.04}
    for task, difference in by_hand.items():
        write(made(task, "binary", "post-hoc", 1, 0.9 + difference, 0.5), folder / task / "post-hoc/1.json")
        write(made(task, "binary", "conjoined", 1, 0.9, 0.5), folder / task / "conjoined/1.json")
    results = Results.read(folder)
    one = compare(results, "IRF1", "post-hoc", "conjoined", "auroc")
    assert one is not None
    values = [one.mean, *by_hand.values()]
    found = {c["b"]: c for c in questions.across(results) if c["a"] == "post-hoc"}["conjoined"]
    assert found["tasks"] == 6 and found["a_higher"] == 5
    assert found["mean_difference"] == pytest.approx(np.mean(values), rel=1e-4)
    assert found["p_wilcoxon"] == pytest.approx(stats.wilcoxon(values).pvalue) and found["p_holm"] is not None
    assert not {"sim_200", "atac"} & set(found["by_task"])


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.02, 0.03, 0.9]) == pytest.approx([0.04, 0.06, 0.06, 0.9])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])


def test_welch_against_scipy() -> None:
    a, b = np.random.default_rng(1).normal(size=(2, 8))
    found = welch((*mean_sd(a)[:1], float(a.std(ddof=1)), 8), (float(b.mean()), float(b.std(ddof=1)), 8))
    assert found == pytest.approx(stats.ttest_ind(a, b, equal_var=False).pvalue)


def test_t9_is_checked_for_every_seed(folder: Path) -> None:
    t9 = questions.guarantees(Results.read(folder))["t9"]
    post_hoc = sum(
        STRATEGIES[s].kind == "evaluated" for k in ("simulated", "binary", "profile") for s in strategies_of(k)
    )
    assert t9["checks"] == t9["hold"] == 3 * len(SEEDS) * post_hoc
    assert {r["seed"] for r in t9["rows"]} == set(SEEDS)


def test_violation_of_t9_is_not_hidden(folder: Path, paper: None) -> None:
    del paper
    path = folder / "IRF1/post-hoc/3.json"
    result = json.loads(path.read_text())
    result["metrics"]["test"]["loss"] = 0.511
    write(result, path)
    results = Results.read(folder)
    t9 = questions.guarantees(results)["t9"]
    wrong = [r for r in t9["rows"] if not r["holds"]]
    assert [(r["set"], r["seed"], r["split"]) for r in wrong] == [("IRF1", 3, "test")] and t9["hold"] == t9[
        "checks"
    ] - 1


def test_reproduction_beside_the_paper(folder: Path, paper: None) -> None:
    del paper
    found = questions.reproduction(Results.read(folder))
    row = next(r for r in found["rows"] if r["strategy"] == "post-hoc")
    assert row["paper_mean"] == 0.9645 and row["difference"] == pytest.approx(row["mean"] - 0.9645, abs=1e-5)
    assert row["p_holm"] < 1e-6 and found["order"]["sim_200"]["paper"][0] == "post-hoc"


def test_reproduction_is_in_the_order_of_the_tasks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in that of a set, which is another in every process: the report would not be the same twice."""
    like = ("sim_200", "sim_1000", "CTCF", "SPI1")
    monkeypatch.setattr(questions, "paper_table", lambda: {(n, "CJ-posthoc", "auroc"): (0.9, 0.01, 10) for n in like})
    for name in like[1:]:
        write(made(name, TASKS[name].kind, "post-hoc", 1, 0.9, 0.5), folder / name / "post-hoc/1.json")
    assert list(questions.reproduction(Results.read(folder))["order"]) == [n for n in TASKS if n in like]


def test_without_the_papers_table(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RCPROOF_DATA", str(tmp_path))
    found = build_report(folder, tmp_path / "out", with_figures=False)
    assert any(line.startswith("1. the paper's table is not at hand: data file 'paper/") for line in found["summary"])
    assert any(line.startswith("2. T9 held in ") for line in found["summary"])


def test_of_data_of_ones_own_nothing_is_missing(tmp_path: Path, paper: None) -> None:
    del paper
    for strategy, auroc in (("rcps", 0.8), ("conjoined", 0.9)):
        write(made("mine", "binary", strategy, 1, auroc, 0.5), tmp_path / "r" / "mine" / strategy / "1.json")
    found = build_report(tmp_path / "r", tmp_path / "out", with_figures=False)
    text = (tmp_path / "out" / "report.md").read_text()
    assert found["missing"] == 0 and found["summary"][0] == "2 runs."
    assert "missing" not in text and "T9" not in text and "| conjoined | 1 | 0.9 |" in text
    assert "## 2. Is post-hoc conjoined never worse" in text and text.count("These runs do not answer it.") == 5


def test_missing_runs_are_counted(folder: Path) -> None:
    lacking = questions.missing(Results.read(folder))
    assert lacking["missing"] == lacking["runs"]  # the paper's seeds are none of 1 to 6
    assert {"sim_1000", "IRF1@fraction=0.25", "sim_200@noise=0"} <= set(lacking["by_task"])
    result = made("IRF1", "binary", "rcps", 1535, 0.9, 0.5)
    write(result, folder / "IRF1/rcps/1535.json")
    again = questions.missing(Results.read(folder))
    assert again["missing"] == lacking["missing"] - 1 and again["by_task"]["IRF1"]["rcps"] == 9


def test_programme_holds_every_strategy_of_every_task_once() -> None:
    keys = [run.key for one in programme.everything() for run in one.runs]
    assert len(set(keys)) == len(keys)
    for name, task in TASKS.items():
        assert {f"{name}/{s}/{seed}" for s in strategies_of(task.kind) for seed in SEEDS_OF_PAPER} <= set(keys)
    assert {"sim_200@noise=0/conjoined/1535", "IRF1@fraction=0.1/rcps/9999"} <= set(keys)


def test_result_in_the_wrong_place(folder: Path) -> None:
    (folder / "IRF1/rcps/1.json").rename(folder / "IRF1/rcps/77.json")
    with pytest.raises(
        RcproofError, match=r"result file IRF1/rcps/77.json: got a run of IRF1, rcps, 1; expected its own"
    ):
        Results.read(folder)


def test_no_results(tmp_path: Path) -> None:
    with pytest.raises(RcproofError, match=r"no result files in .*Make some: rcproof experiment run"):
        build_report(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_csv_of_rows() -> None:
    assert as_csv([{"a": 1, "b": ["x", "y"]}, {"a": None, "c": 2.5}]) == "a,b,c\n1,x y,\n,,2.5\n"
