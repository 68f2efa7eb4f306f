"""Many runs: those whose result files are missing, by joblib, on one machine or on a Dask cluster.

The unit of work is a chain: a base run and what depends on its weights, one after the other, so that no two processes
make the same run. A finished run has its file, written in one step; a sweep that was stopped or killed continues there.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rcproof.errors import RcproofError
from rcproof.experiments.runs import Run, perform, perform_stacked, set_threads
from rcproof.experiments.strategies import chain
from rcproof.experiments.tasks import Task

#: Of the processes that joblib starts. With glibc's default thresholds every large tensor is mapped anew and its pages
#: are faulted in, which costs these nets about a third of their time.
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_TRIM_THRESHOLD_": "8000000000",
    "MALLOC_TOP_PAD_": "268435456",
}


@dataclass(frozen=True)
class Chain:
    """Runs that are made one after the other: a base and its dependents, of one seed."""

    task: Task
    runs: tuple[Run, ...]

    def missing(self, folder: Path) -> list[Run]:
        """Those without a result file."""
        return [run for run in self.runs if not run.path(folder).is_file()]


def plan(
    task: Task, strategies: Sequence[str], seeds: Sequence[int], fraction: float = 1.0, noise: float | None = None
) -> list[Chain]:
    """The chains of a sweep, seed by seed, so that what is finished at any time is complete for some seeds."""
    for seed in seeds:
        if not 0 <= seed < 2**32:
            raise RcproofError("seed", got=seed, expected="0 to 4294967295")
    return [
        Chain(task, tuple(Run(task.name, name, seed, fraction, noise) for name in names))
        for seed in seeds
        for names in chain(task.kind, strategies)
    ]


def sweep(
    chains: Sequence[Chain],
    folder: Path,
    *,
    device: str = "cpu",
    jobs: int = 1,
    dask: str | None = None,
    stacked: bool = False,
    checkpoints: Path | None = None,
    report: Callable[[str], None] | None = None,
) -> dict[str, int]:
    """Make the runs that are missing; how many were made, and how many had been made before.

    ``stacked`` trains all seeds of a strategy at once, which pays on a GPU. ``report`` hears the keys of the runs of
    every chain that is finished. ``dask`` is the address of a scheduler whose workers see the same folders.
    """
    from joblib import Parallel, delayed

    folder.mkdir(parents=True, exist_ok=True)
    todo = [c for c in chains if c.missing(folder)]
    before = sum(len(c.runs) - len(c.missing(folder)) for c in chains)
    made = 0
    with _backend(dask), _stoppable():
        parallel = Parallel(n_jobs=None if dask else jobs, return_as="generator_unordered", pre_dispatch="2*n_jobs")
        if stacked:
            work = [delayed(_perform_stacked)(group, folder, device, checkpoints) for group in alike(todo)]
        else:
            work = [delayed(_perform)(c, folder, device, checkpoints) for c in todo]
        for keys in parallel(work):
            made += len(keys)
            for key in keys:
                if report is not None:
                    report(key)
    return {"made": made, "before": before}


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM stops a sweep as SIGINT does, so that joblib ends its processes with it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        del number, frame
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _perform(chain: Chain, folder: Path, device: str, checkpoints: Path | None) -> list[str]:
    set_threads(1)
    made = []
    for run in chain.runs:
        if not run.path(folder).is_file():
            perform(run, chain.task, folder, device, checkpoints)
            made.append(run.key)
    return made


def alike(chains: Sequence[Chain]) -> list[list[Chain]]:
    """Chains that differ in their seeds alone, together."""
    groups: dict[tuple[str, ...], list[Chain]] = {}
    for one in chains:
        first = one.runs[0]
        groups.setdefault((first.task, first.variant, *(run.strategy for run in one.runs)), []).append(one)
    return list(groups.values())


def _perform_stacked(group: Sequence[Chain], folder: Path, device: str, checkpoints: Path | None) -> list[str]:
    set_threads(1)
    made = []
    for runs in zip(*(one.runs for one in group), strict=True):
        if missing := [run for run in runs if not run.path(folder).is_file()]:
            perform_stacked(missing, group[0].task, folder, device, checkpoints)
            made += [run.key for run in missing]
    return made


@contextmanager
def _backend(address: str | None) -> Iterator[Any]:
    """joblib's processes, or an existing Dask cluster."""
    if address is None:
        for name, value in WORKER_ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        with nullcontext() as nothing:
            yield nothing
        return
    try:
        from dask.distributed import Client
    except ImportError:
        raise RcproofError("--dask needs the package dask", fix="pip install 'dask[distributed]'") from None
    from joblib import parallel_config

    try:
        client = Client(address, timeout="10s")
    except (OSError, ValueError) as problem:
        raise RcproofError(
            "Dask scheduler", got=f"{address}: {problem}", expected="an address as tcp://host:8786"
        ) from None
    with client, parallel_config(backend="dask"):
        yield client


@contextmanager
def progress(total: int, what: str) -> Iterator[Callable[[str], None]]:
    """A bar on standard error with the time left, or a line a run where that is no terminal."""
    if not sys.stderr.isatty():
        done = 0

        def line(key: str) -> None:
            nonlocal done
            done += 1
            sys.stderr.write(f"{done}/{total} {key}\n")
            sys.stderr.flush()

        yield line
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=3600) as bar:
        task = bar.add_task(what, total=total)

        def step(key: str) -> None:
            bar.update(task, advance=1, description=key)

        yield step
