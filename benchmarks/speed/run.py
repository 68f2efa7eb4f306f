"""Run a suite: cell by cell, each written as soon as it is measured, so that a run can be stopped and resumed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed import contenders as field
from benchmarks.speed import costs, loading, machine
from benchmarks.speed.cells import Cell
from benchmarks.speed.schema import FORMAT, problems
from benchmarks.speed.timing import Clock, interleave
from rcproof.files import replacing

Progress = Callable[[str, int, int], None]


class Interrupted(Exception):
    """The time given to this call is over; what was measured is in the file."""


def run(
    cells: Iterable[Cell],
    path: Path,
    suite: str,
    device: torch.device,
    seed: int = 1,
    stop_after: float | None = None,
    fresh: bool = False,
    progress: Progress = lambda *_: None,
    clock: Clock | None = None,
    extras: bool = True,
) -> dict[str, Any]:
    """Measure what the file at ``path`` does not hold yet, and return all.

    A file of another revision, machine, thread count, seed or version is not continued: one file is one run. Raises
    :class:`Interrupted` once ``stop_after`` seconds are over, at the end of a cell.
    """
    cells = list(cells)
    machine.settle()
    data = _begin(path, suite, device, seed, fresh)
    begin = time.monotonic()
    done = {c["id"] for c in data["cells"]}
    if "copy_bytes_per_second" not in data["limits"]:
        data["limits"] = machine.limits(device)
        _write(path, data)
    for i, cell in enumerate(cells):
        if cell.id in done:
            continue
        if stop_after is not None and time.monotonic() - begin > stop_after:
            raise Interrupted(f"{i} of {len(cells)} cells are measured")
        progress(cell.id, i, len(cells))
        data["cells"].append(measured(cell, device, seed, data["limits"], clock))
        _write(path, data)
    for name, measure in loading.EXTRAS.items() if extras else ():
        if name in data:
            continue
        if stop_after is not None and time.monotonic() - begin > stop_after:
            raise Interrupted(f"all cells are measured, {name} is not")
        progress(name, len(cells), len(cells))
        data[name] = measure(seed, suite)
        _write(path, data)
    data["complete"] = True
    data.setdefault("finished", _now())
    _write(path, data)
    return data


def measured(
    cell: Cell, device: torch.device, seed: int, limits: dict[str, float], clock: Clock | None = None
) -> dict[str, Any]:
    """One cell: contenders agree, then costs, times and memory. What does not fit in memory is recorded as that."""
    try:
        with field.precision(cell):
            return cell.to_json() | _measured(cell, device, seed, limits, clock)
    except (torch.OutOfMemoryError, MemoryError):
        return cell.to_json() | {"error": "out of memory"}
    finally:
        torch.compiler.reset() if cell.mode == "compile" else None
        if device.type == "cuda":
            torch.cuda.empty_cache()


def _measured(
    cell: Cell, device: torch.device, seed: int, limits: dict[str, float], clock: Clock | None
) -> dict[str, Any]:
    found = field.make(cell, device, seed)
    worst = field.agreement(found, field.TOLERANCES[cell.dtype], cell.kind == "step" and cell.length <= 20_000)
    execution = {}
    cost = {}
    for name, model in found.models.items():
        model.train(cell.kind == "step")
        choose = getattr(model, "execution", None)
        if choose is not None:
            with torch.no_grad() if cell.kind == "forward" else nullcontext():
                how = choose(*found.inputs)
            execution[name] = {k: getattr(how, k) for k in ("rows", "channels_last", "in_place", "fold")}
        eager = Cell(**{**cell.__dict__, "mode": "eager"})
        cost[name] = costs.count(field.call(model, found.inputs, eager))
    calls = {name: field.call(model, found.inputs, cell) for name, model in found.models.items()}
    machine.settle()
    timed = interleave(calls, found.reference, cell.seconds, warm=1, seed=seed, clock=clock)
    times = timed.pop("times")
    for name, once in calls.items():
        times[name]["peak_bytes"] = machine.peak_bytes(once, device)
    return {
        "reference": found.reference,
        "agreement": worst,
        "missing": found.missing,
        "execution": execution,
        "cost": cost,
        "floor": {name: costs.floor_seconds(c, limits) for name, c in cost.items()},
        "contenders": times,
        **timed,
    }


def _begin(path: Path, suite: str, device: torch.device, seed: int, fresh: bool) -> dict[str, Any]:
    header = {
        "format": FORMAT,
        "suite": suite,
        "device": device.type,
        "seed": seed,
        "machine": machine.describe(device),
    }
    if path.exists() and not fresh:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if all(data.get(k) == v for k, v in header.items()):
            return data
    return {**header, "complete": False, "started": _now(), "limits": {}, "cells": []}


def _write(path: Path, data: dict[str, Any]) -> None:
    if data["limits"] and (wrong := problems(data)):
        raise ValueError(f"the result is malformed: {wrong[0]}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as new:
        Path(new).write_text(json.dumps(data, indent=1, sort_keys=False) + "\n", encoding="utf-8")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
