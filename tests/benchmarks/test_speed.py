"""The benchmark itself: what it measures with a known clock, what it refuses, what it writes and draws."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from benchmarks.speed import __main__ as command
from benchmarks.speed import contenders, costs, figures, machine, peers, report
from benchmarks.speed import run as running
from benchmarks.speed.cells import GROUPS, Cell, suite
from benchmarks.speed.schema import problems
from benchmarks.speed.timing import ITSELF, Clock, interleave, quartiles
from rcproof.nn import RCPSConv1d

CPU = torch.device("cpu")
SMALL = Cell("converted", "simulated", "step", 2, 200, (("filters", 4),), seconds=0.0)


class Sleeper(Clock):
    """A clock that only moves when something is run; drifts if asked to."""

    def __init__(self, drift: float = 0.0) -> None:
        self.time, self.drift, self.order = 0.0, drift, []

    def now(self) -> float:
        return self.time

    def others(self) -> float:
        return self.time / 4

    def sleep(self, name: str, seconds: float) -> Callable[[], None]:
        def run() -> None:
            self.order.append(name)
            self.time += seconds * (1 + self.drift * self.time)

        return run


def timed(clock: Sleeper, **more: float) -> dict[str, Any]:
    runs = {name: clock.sleep(name, s) for name, s in {"one": 1.0, "half": 0.5, **more}.items()}
    return interleave(runs, "one", seconds=50, clock=clock)


def test_ratios_of_known_sleeps() -> None:
    found = timed(Sleeper(), triple=3.0)
    times = found["times"]
    assert {n: t["ratio"] for n, t in times.items()} == pytest.approx({"one": 1, "half": 0.5, "triple": 3, ITSELF: 1})
    assert times["half"]["median"] == pytest.approx(0.5)
    assert found["others"] == pytest.approx(0.25)
    assert found["rounds"] == 10  # 5.5 s a round, 50 s
    assert all(t["low"] <= t["median"] <= t["high"] for t in times.values())


def test_a_machine_that_slows_down_slows_all() -> None:
    """A quarter slower every round: medians of times drift, ratios within rounds do not."""
    found = timed(Sleeper(drift=0.02))["times"]
    assert found["half"]["ratio"] == pytest.approx(0.5, rel=0.1)
    assert found["one"]["high"] > 1.3 * found["one"]["low"]


def test_rounds_are_interleaved_in_new_orders() -> None:
    clock = Sleeper()
    timed(clock)
    rounds = [tuple(clock.order[i : i + 3]) for i in range(6, len(clock.order) - 2, 3)]  # after two warm runs of each
    assert all(sorted(r) == ["half", "one", "one"] for r in rounds)
    assert len(set(rounds)) > 1


def test_quartiles() -> None:
    assert quartiles([3.0]) == (3, 3, 3)
    assert quartiles([4.0, 1.0, 3.0, 2.0, 5.0]) == (2, 3, 4)


# -- agreement -------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", suite("tiny", "cpu"), ids=lambda c: c.id)
def test_contenders_agree(cell: Cell) -> None:
    found = contenders.make(cell, CPU, seed=3)
    worst = contenders.agreement(found, contenders.TOLERANCES[cell.dtype], gradients=cell.dtype == "fp32")
    assert math.isfinite(worst)
    assert found.reference in found.models


def field(group: str = "converted") -> contenders.Field:
    return contenders.make({c.group: c for c in suite("tiny", "cpu")}[group], CPU, seed=3)


def _scaled(model: nn.Module) -> None:
    next(p for p in model.parameters() if p.dim() > 1).data.mul_(1.01)


def _nan(model: nn.Module) -> None:
    next(p for p in model.parameters() if p.dim() > 1).data.fill_(math.nan)


@pytest.mark.parametrize("name", [contenders.OURS, "rcproof, stacked", contenders.TWO])
@pytest.mark.parametrize(("spoil", "says"), [(_scaled, "differ by"), (_nan, "not finite")])
def test_a_wrong_network_is_caught(name: str, spoil: Callable[[nn.Module], None], says: str) -> None:
    found = field()
    found.models[name] = copy.deepcopy(found.models[name])  # the forms share the weights of one network
    spoil(found.models[name])
    with pytest.raises(contenders.DisagreementError, match=says):
        contenders.agreement(found, 1e-4, gradients=False)


def test_a_wrong_gradient_is_caught() -> None:
    class Wrong(nn.Module):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.model(x)
            return y.detach() + (x - x.detach()).sum()

    found = field()
    found.models[contenders.OURS] = Wrong(found.models[contenders.OURS])
    contenders.agreement(found, 1e-4, gradients=False)
    with pytest.raises(contenders.DisagreementError, match="gradients of rcproof and"):
        contenders.agreement(found, 1e-4, gradients=True)


def test_our_network_alone_in_its_family_is_compared_with_its_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    found = field("coupled")
    contenders.agreement(found, 1e-4, gradients=True)
    monkeypatch.setattr(contenders, "as_it_stands", lambda m: nn.Sequential(copy.deepcopy(m), _Twice()).eval())
    with pytest.raises(contenders.DisagreementError):
        contenders.agreement(found, 1e-4, gradients=False)


class _Twice(nn.Module):
    def forward(self, value: Any) -> Any:
        return [2 * y for y in contenders.outputs(value)]


def test_peers_compute_what_ours_do() -> None:
    models, family, missing = peers.contenders("binary", 4, seed=2)
    assert family["rcproof, coupled"] == family["the paper's layer"] == family["plain torch, 2F channels"]
    assert set(missing) == {"equirc", "rcps-pytorch"} - set(models)
    assert sum(isinstance(m, RCPSConv1d) and m.coupled for m in models["rcproof, coupled"].modules()) == 2
    assert all(peers.is_invariant(m, torch.randn(2, 4, 60), 1e-4) for m in models.values())
    lopsided = nn.Sequential(nn.Conv1d(4, 2, 3), nn.AdaptiveMaxPool1d(1))
    assert not peers.is_invariant(lopsided, torch.randn(2, 4, 60), 1e-4)


# -- costs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("coupled", [False, True])
def test_counted_products_are_those_of_the_theorem(coupled: bool) -> None:
    """T7: 2·(1 + χ)·F·G·K·N multiply-adds of one layer on both strands."""
    layer, x = RCPSConv1d(3, 5, 7, coupled=coupled).eval(), torch.randn(2, 6, 20)
    with torch.no_grad():
        found = costs.count(lambda: layer(x))
    assert found["flops"] == 2 * 2 * costs.conv_multiply_adds(5, 3, 7, 14, coupled)


def test_bytes_are_counted_once_an_operation_and_views_are_free() -> None:
    x, w = torch.randn(2, 3, 10), torch.randn(4, 3, 3)
    found = costs.count(lambda: torch.relu(torch.conv1d(x, w)).transpose(1, 2)[0])
    product = 4 * (x.numel() + w.numel() + 2 * 4 * 8)
    assert found == {"flops": 2 * 2 * 4 * 8 * 3 * 3, "bytes": product + 4 * 2 * 64, "product_bytes": product}
    limits = {"matmul_flops_per_second": 1e9, "copy_bytes_per_second": 1e6}
    assert costs.floor_seconds(found, limits)["floor"] == product / 1e6


# -- running ---------------------------------------------------------------------------------------


def measure(path: Path, cells: list[Cell], **options: Any) -> dict[str, Any]:
    return running.run(cells, path, "tiny", CPU, extras=False, **options)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The whole tiny suite, through the same code as any other."""
    return measure(tmp_path_factory.mktemp("run") / "speed-tiny-cpu.json", suite("tiny", "cpu"))


def test_the_result_has_its_form(result: dict[str, Any]) -> None:
    assert problems(result) == [] and result["complete"]
    assert {c["group"] for c in result["cells"]} == set(GROUPS)
    assert not [c for c in result["cells"] if "error" in c]
    text = json.dumps(result)
    assert str(Path.home()) not in text and str(machine.ROOT) not in text


BREAKS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "format": lambda d: d.update(format=2),
    "no cells": lambda d: d.pop("cells"),
    "limits": lambda d: d["limits"].update(copy_bytes_per_second=0.0),
    "a time": lambda d: d["cells"][0]["contenders"][ITSELF].update(median=-1.0),
    "quartiles": lambda d: d["cells"][0]["contenders"][ITSELF].update(low=1e9),
    "reference": lambda d: d["cells"][0].update(reference="nobody"),
    "twice": lambda d: d["cells"].append(d["cells"][0]),
    "agreement": lambda d: d["cells"][0].pop("agreement"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_what_is_malformed_is_told(result: dict[str, Any], name: str, tmp_path: Path) -> None:
    broken = copy.deepcopy(result)
    BREAKS[name](broken)
    assert problems(broken)
    path = tmp_path / "speed-x.json"
    path.write_text(json.dumps(broken), encoding="utf-8")
    with pytest.raises(ValueError, match=r"speed-x\.json"):
        report.load(path)


def test_a_run_is_resumed_and_another_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "speed-tiny-cpu.json"
    cells = suite("tiny", "cpu")[:2]
    measured: list[str] = []
    once = running.measured

    def noted(cell: Cell, *rest: Any) -> dict[str, Any]:
        measured.append(cell.id)
        if len(measured) == 2:
            raise KeyboardInterrupt
        return once(cell, *rest)

    monkeypatch.setattr(running, "measured", noted)
    with pytest.raises(KeyboardInterrupt):
        measure(path, cells)
    partial = report.load(path)
    assert [c["id"] for c in partial["cells"]] == [cells[0].id] and not partial["complete"]
    assert measure(path, cells)["complete"]
    assert measured == [cells[0].id, cells[1].id, cells[1].id]
    measure(path, cells)
    assert len(measured) == 3, "nothing is left to measure"
    monkeypatch.setattr(machine, "revision", lambda: "another")
    measure(path, cells)
    assert len(measured) == 5, "one file is one run"
    assert not [p for p in tmp_path.iterdir() if p.name != path.name]


def test_a_run_stops_when_its_time_is_over(tmp_path: Path) -> None:
    path = tmp_path / "speed-tiny-cpu.json"
    with pytest.raises(running.Interrupted, match="0 of 2 cells are measured"):
        measure(path, suite("tiny", "cpu")[:2], stop_after=-1.0)
    assert report.load(path)["cells"] == []


def test_what_does_not_fit_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(contenders, "make", full)
    found = running.measured(SMALL, CPU, 1, {})
    assert found["error"] == "out of memory" and found["id"] == SMALL.id


def test_disagreement_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = contenders.make

    def spoiled(*args: Any) -> contenders.Field:
        found = make(*args)
        found.models[contenders.OURS] = copy.deepcopy(found.models[contenders.OURS])
        _scaled(found.models[contenders.OURS])
        return found

    monkeypatch.setattr(contenders, "make", spoiled)
    with pytest.raises(contenders.DisagreementError):
        measure(tmp_path / "x.json", [SMALL])


def test_peak_memory_is_that_of_the_call() -> None:
    size = 64 << 20
    found = machine.peak_bytes(lambda: torch.ones(size // 4).sum(), CPU)
    assert found is None or 0.9 * size < found < 1.5 * size


# -- suites ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tiny", "quick", "full"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_suites_hold_what_they_should(name: str, device: str) -> None:
    cells = suite(name, device)
    assert {c.group for c in cells} == set(GROUPS) and {c.kind for c in cells} == {"forward", "step"}
    assert len({c.id for c in cells}) == len(cells)
    if name == "full":
        assert {c.batch for c in cells} >= ({1, 16, 64} if device == "cpu" else {1, 16, 256, 4096})
        assert max(c.length for c in cells) == 1_000_000
    if device == "cuda" and name == "full":
        assert {c.dtype for c in cells} == {"fp32", "tf32", "bf16"}
        assert {c.mode for c in cells} == {"eager", "compile", "graphs"}
        assert {c.length for c in cells if c.group == "converted"} >= {200, 1000, 1346, 10_000, 100_000}


def test_graphs_need_a_gpu() -> None:
    cell = Cell("converted", "simulated", "forward", 2, 200, (("filters", 4),), mode="graphs")
    found = contenders.make(cell, CPU, 1)
    with pytest.raises(RuntimeError, match="CUDA graphs need a CUDA device"):
        contenders.call(found.models[contenders.OURS], found.inputs, cell)


# -- report ----------------------------------------------------------------------------------------


def test_slopes() -> None:
    assert report.slope([(1, 2.0), (10, 20.0), (100, 200.0)]) == pytest.approx(1)
    assert report.slope([(2, 3.0), (4, 12.0)]) == pytest.approx(2)
    assert math.isnan(report.slope([(1, 1.0)]))


def altered(result: dict[str, Any], factor: float) -> dict[str, Any]:
    """Ours exactly ``factor`` times as slow as its limit, with as much more memory, in every cell."""
    found = copy.deepcopy(result)
    for cell in found["cells"]:
        times = cell["contenders"]
        limit = min(times[n]["ratio"] for n in times if n in (contenders.TWO, contenders.DOUBLED, contenders.PLAIN))
        for name, t in times.items():
            t["peak_bytes"] = 1000
            if name.startswith("rcproof"):
                t["ratio"], t["peak_bytes"] = factor * limit, int(1000 * factor)
    return found


@pytest.mark.parametrize(("factor", "met"), [(0.5, True), (1.025, None), (1.5, False)])
def test_targets_say_what_was_measured(result: dict[str, Any], factor: float, met: bool | None) -> None:
    found = {t.key: t for t in report.targets(altered(result, factor))}
    for kind in ("forward", "step"):
        assert found[f"converted.{kind}"].met is (factor <= 1.03)
        assert found[f"coupled.{kind}"].met is (factor <= 1.02)
    assert found["converted.memory"].met is (factor <= 1)
    assert f"largest {factor:.2f}" in found["converted.forward"].found
    assert found["gpu"].met is None and "no GPU" in found["gpu"].found


def test_conversion_and_start_are_judged(result: dict[str, Any]) -> None:
    timed = {"seconds": 3.0, "peak_bytes": 200}
    data = {**result, "conversion": {
        "parameters": 250_000_000, "size_bytes": 100, "load_seconds": 2.0, "unchecked": timed,
        "checked": {**timed, "peak_bytes": 300},
    }, "start_up": {
        "import rcproof": {"median": 0.1, "torch": False}, "rcproof --help": {"median": 9.0, "torch": True},
    }}  # fmt: skip
    met = {t.key: t.met for t in report.targets(data)}
    assert met["conversion.unchecked"] is True and met["conversion.checked"] is False
    assert met["start.import rcproof"] is True and met["start.rcproof --help"] is False


def test_tables_and_figures_are_drawn(result: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="figures: pip install 'rcproof[plots]'")
    (tmp_path / "speed-tiny-cpu.json").write_text(json.dumps(result), encoding="utf-8")
    report.write_all(tmp_path)
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    for name in report.tables(result):
        assert name[1:] in page
    for what in ("ratios", "roofline", "scaling"):
        for theme in figures.THEMES:
            drawn = (tmp_path / f"speed-tiny-cpu-{what}-{theme}.svg").read_text(encoding="utf-8")
            assert drawn.startswith("<?xml") and figures.THEMES[theme][1] in drawn
        assert f"speed-tiny-cpu-{what}-light.svg" in page
    before = page
    report.write_all(tmp_path)
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == before


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "cells_of", lambda *_: [SMALL])
    threads = torch.get_num_threads()
    try:
        words = ["--suite", "tiny", "--threads", "1", "--only", "simulated", "--out", str(tmp_path)]
        done = CliRunner().invoke(command.main, words)
        assert done.exit_code == 0, done.output
        assert SMALL.id in done.stdout
        assert report.load(tmp_path / "partial-tiny-cpu.json")["machine"]["threads"] == 1
        stopped = CliRunner().invoke(command.main, [*words, "--for", "-1", "--fresh"])
        assert stopped.exit_code == 3 and "the same command goes on" in stopped.output
    finally:
        torch.set_num_threads(threads)


def test_the_command_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    done = CliRunner().invoke(command.main, ["--device", "cuda"])
    assert done.exit_code == 1 and "no CUDA device is available" in done.output


def test_committed_results_are_whole() -> None:
    """What is committed reads back, and its page is the one that its numbers give."""
    folder = command.RESULTS
    files = {p.stem: report.load(p) for p in sorted(folder.glob("speed-*.json"))}
    assert files, "no results are committed"
    assert (folder / "README.md").read_text(encoding="utf-8") == report.page(files)
    for data in files.values():
        assert not data["machine"]["revision"].endswith("+")
        assert data["complete"] or f"{data['suite']} suite on {data['device']} (unfinished)" in report.page(files)
