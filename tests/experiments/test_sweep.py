"""Runs and sweeps: what a result file says, and that a killed sweep neither repeats a run nor loses one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rcproof.errors import RcproofError
from rcproof.experiments.runs import SCHEMA, Run, checkpoint, perform, read, weights_sha256, write
from rcproof.experiments.strategies import network, started, strategies_of, strategy
from rcproof.experiments.sweep import plan, sweep
from rcproof.experiments.tasks import data_of
from tests.experiments.tiny import BINARY, SIMULATED, STRANDED

ROOT = Path(__file__).resolve().parents[2]
#: What differs between two runs that are the same.
TIMES = ("seconds", "cpu_seconds")

SWEEP = """
import sys
from pathlib import Path
from rcproof.experiments.sweep import plan, sweep
from tests.experiments.tiny import SIMULATED
chains = plan(SIMULATED, ["standard", "post-hoc-noaug", "conjoined"], [int(s) for s in sys.argv[2].split(",")])
print(sweep(chains, Path(sys.argv[1]), jobs=int(sys.argv[3])))
"""


def without_times(result: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in result.items() if k not in TIMES}


def results(folder: Path) -> dict[str, dict[str, Any]]:
    return {str(p.relative_to(folder)): without_times(read(p)) for p in sorted(folder.glob("*/*/*.json"))}


def test_result_file(tmp_path: Path) -> None:
    run = Run("tiny", "standard-aug", 11)
    result = perform(run, SIMULATED, tmp_path)
    assert read(run.path(tmp_path)) == result == json.loads((tmp_path / "tiny/standard-aug/11.json").read_text())
    assert result["schema"] == SCHEMA and result["seed"] == 11 and result["kind"] == "simulated"
    assert result["settings"]["augment"] == "dataset" and result["settings"]["patience"] == 10
    assert result["steps"] == result["epochs"] * 6  # 2 · 96 examples in batches of 32
    assert {len(c) for c in result["curves"].values()} == {result["epochs"]}
    assert set(result["metrics"]) == {"train", "valid", "test"}
    assert set(result["versions"]) >= {"python", "torch", "lightning", "rcproof"}
    assert result["data"]["sizes"] == {"train": 96, "valid": 64, "test": 64}
    kept = load_file(checkpoint(run, SIMULATED, Path(os.environ["RCPROOF_CACHE"]) / "checkpoints"))
    model = network("simulated", strategy("standard"), 11, SIMULATED.sizes)
    model.load_state_dict(kept)
    assert weights_sha256(model) == result["weights_sha256"]
    text = run.path(tmp_path).read_text()
    assert str(tmp_path) not in text and os.uname().nodename not in text


@pytest.mark.parametrize("task", [SIMULATED, BINARY, STRANDED], ids=lambda t: t.name)
def test_every_strategy_runs_and_t9_holds(task: Any, tmp_path: Path) -> None:
    task = replace(task, settings=replace(task.settings, epochs=1))
    names = [n for n in strategies_of(task.kind) if not n.startswith(("warm", "cj-rcps-later", "rcps-equal"))]
    found = sweep(plan(task, names, [3]), tmp_path)
    assert found["made"] == len(names)
    for name in names:
        result = read(Run(task.name, name, 3).path(tmp_path))
        if strategy(name).kind == "evaluated":
            base = read(Run(task.name, result["base"]["strategy"], 3).path(tmp_path))
            assert result["base"]["weights_sha256"] == base["weights_sha256"]
            assert result["settings"] is None and "curves" not in result
            for split, two in result["strands"].items():
                # The network inside, on the given strand, is the base.
                assert two["forward"] == pytest.approx(base["metrics"][split]["loss"], rel=1e-5)
                assert result["metrics"][split]["loss"] <= (two["forward"] + two["reverse"]) / 2 * (1 + 1e-6)


def test_warm_starts_make_equally_many_steps(tmp_path: Path) -> None:
    names = ["warm-rcps", "warm-rcps-cross", "warm-conjoined", "warm-standard", "warm-post-hoc"]
    sweep(plan(SIMULATED, names, [3]), tmp_path)
    found = {n: read(Run("tiny", n, 3).path(tmp_path)) for n in names}
    trained = {n: r for n, r in found.items() if strategy(n).kind == "started"}
    assert {r["steps"] for r in trained.values()} == {20 * 3} and {r["settings"]["lr"] for r in trained.values()} == {
        1e-4
    }
    assert {len(r["curves"]["valid_loss"]) for r in trained.values()} == {21}
    # All start from one network: its post-hoc form's loss is the first of three curves.
    base = read(Run("tiny", "standard-aug", 3).path(tmp_path))
    assert {r["base"]["weights_sha256"] for r in trained.values()} == {base["weights_sha256"]}
    first = {r["curves"]["valid_loss"][0] for n, r in trained.items() if n != "warm-standard"}
    assert max(first) - min(first) < 1e-4
    assert trained["warm-rcps-cross"]["movement"]["dense"]["own"] == 0.0
    assert trained["warm-rcps"]["movement_last"]["dense"]["cross"] > 0.0
    assert trained["warm-rcps-cross"]["movement_last"]["dense"]["own"] == 0.0
    assert all("metrics_last" in r for r in trained.values()) and "movement" not in trained["warm-conjoined"]
    assert found["warm-post-hoc"]["base"]["weights_sha256"] == found["warm-standard"]["weights_sha256"]


def test_missing_checkpoint_is_made_anew(tmp_path: Path, own_cache: Path) -> None:
    chains = plan(SIMULATED, ["post-hoc-noaug"], [3])
    sweep(chains, tmp_path)
    first = results(tmp_path)
    for path in own_cache.rglob("*.safetensors"):
        path.unlink()
    Run("tiny", "post-hoc-noaug", 3).path(tmp_path).unlink()
    assert sweep(chains, tmp_path) == {"made": 1, "before": 1}
    assert results(tmp_path) == first


def test_checkpoint_of_other_settings_is_not_used(tmp_path: Path) -> None:
    run, folder = Run("tiny", "standard", 3), tmp_path
    other = replace(SIMULATED, settings=replace(SIMULATED.settings, batch=48))
    assert checkpoint(run, SIMULATED, folder) != checkpoint(run, other, folder)


def heeding() -> None:
    """A process whose parents ignore interrupts, as in the background of a script, would ignore them too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def launch(folder: Path, seeds: str, jobs: int, cache: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RCPROOF_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", SWEEP, str(folder), seeds, str(jobs)], cwd=ROOT, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, preexec_fn=heeding,
    )  # fmt: skip


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_killed_sweep_continues(sign: signal.Signals, tmp_path: Path, own_cache: Path) -> None:
    seeds = list(range(1, 13))
    folder = tmp_path / "results"
    running = launch(folder, ",".join(map(str, seeds)), 1, own_cache)
    while not list(folder.glob("*/*/*.json")) and running.poll() is None:
        time.sleep(0.05)
    os.killpg(running.pid, sign)
    running.communicate()
    done = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.glob("*/*/*.json")}
    assert 0 < len(done) < 36, "it was stopped in the middle"
    assert all(read(p) for p in done)  # none is half written

    chains = plan(SIMULATED, ["standard", "post-hoc-noaug", "conjoined"], seeds)
    made: list[str] = []
    found = sweep(chains, folder, report=made.append)
    assert found == {"made": 36 - len(done), "before": len(done)} and len(made) == found["made"]
    assert all((p.stat().st_mtime_ns, p.read_bytes()) == was for p, was in done.items())  # none repeated
    assert len(list(folder.glob("*/*/*.json"))) == 36  # none lost
    # The whole is what an undisturbed sweep gives.
    undisturbed = tmp_path / "undisturbed"
    sweep(
        plan(SIMULATED, ["standard", "post-hoc-noaug", "conjoined"], seeds[:2]), undisturbed, checkpoints=tmp_path / "c"
    )
    mine = results(folder)
    assert all(mine[name] == result for name, result in results(undisturbed).items())
    assert sweep(chains, folder) == {"made": 0, "before": 36}


def test_terminated_sweep_ends_its_processes(tmp_path: Path, own_cache: Path) -> None:
    folder = tmp_path / "results"
    running = launch(folder, ",".join(map(str, range(1, 40))), 2, own_cache)
    while not list(folder.glob("*/*/*.json")) and running.poll() is None:
        time.sleep(0.05)
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=60)
    assert running.returncode != 0
    deadline = time.monotonic() + 30
    while members(running.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not members(running.pid)


def members(session: int) -> list[str]:
    """The processes of a session that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[3] == str(session) and fields[0] != "Z":
            found.append(stat.parent.name)
    return found


def test_two_processes_give_what_one_gives(tmp_path: Path, own_cache: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    sweep(plan(SIMULATED, ["standard", "post-hoc-noaug", "conjoined"], [1, 2]), one)
    done = launch(two, "1,2", 2, own_cache / "other")
    _, errors = done.communicate(timeout=300)
    assert done.returncode == 0, errors
    assert results(two) == results(one)


def test_dask_cluster(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="needs the extra `dask`")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None, protocol="tcp"
    ) as cluster:
        found = sweep(plan(SIMULATED, ["standard"], [1, 2]), tmp_path / "results", dask=cluster.scheduler_address)
    assert found == {"made": 2, "before": 0}
    here = tmp_path / "here"
    sweep(plan(SIMULATED, ["standard"], [1, 2]), here)
    assert results(tmp_path / "results") == results(here)


def test_no_scheduler(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="needs the extra `dask`")
    with pytest.raises(RcproofError, match=r"Dask scheduler: got nowhere:.*; expected an address as tcp://host:8786"):
        sweep(plan(SIMULATED, ["standard"], [1]), tmp_path, dask="nowhere:")


def test_failed_run_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rcproof.experiments.runs._metrics", lambda *_: {"train": {"loss": float("nan")}})
    with pytest.raises(ValueError, match="Out of range float values"):
        perform(Run("tiny", "conjoined", 1), SIMULATED, tmp_path)
    assert not list(tmp_path.rglob("*.json"))


def test_variants_have_places_of_their_own() -> None:
    assert Run("sim_200", "rcps", 1).key == "sim_200/rcps/1"
    assert Run("sim_200", "rcps", 1, 0.25, 0.0).key == "sim_200@fraction=0.25,noise=0/rcps/1"
    quarter = data_of(SIMULATED, 0.25)
    assert len(quarter.train) == 24 and len(quarter.test) == 64
    assert torch.equal(quarter.train.inputs[0], data_of(SIMULATED).train.inputs[0][:24])
    noisy = data_of(SIMULATED, noise=0.3)
    assert not torch.equal(noisy.train.targets[0], data_of(SIMULATED).train.targets[0])
    assert torch.equal(noisy.test.targets[0], data_of(SIMULATED).test.targets[0])
    with pytest.raises(RcproofError, match="label noise: got 0.1; expected a task with labels"):
        data_of(STRANDED, noise=0.1)
    with pytest.raises(RcproofError, match="fraction of the training set: got 0; expected above 0 and at most 1"):
        data_of(SIMULATED, 0)


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": "other"}'])
def test_damaged_result_file(text: str, tmp_path: Path) -> None:
    path = tmp_path / "1.json"
    path.write_text(text)
    with pytest.raises(RcproofError, match=r"result file 1\.json.*Delete it"):
        read(path)


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a" / "1.json"
    write({"schema": SCHEMA}, path)
    with pytest.raises(ValueError, match="Out of range float"):
        write({"schema": SCHEMA, "x": float("inf")}, path)
    assert read(path) == {"schema": SCHEMA}
    assert [p.name for p in path.parent.iterdir()] == ["1.json"]


def test_started_from_makes_no_change_to_its_base() -> None:
    net = network("simulated", strategy("standard"), 1, SIMULATED.sizes).eval()
    before = weights_sha256(net)
    for name in ("post-hoc", "warm-conjoined", "warm-standard"):
        model = started(strategy(name), net)
        with torch.no_grad():
            for p in model.parameters():
                p.add_(1.0)
    assert weights_sha256(net) == before
