"""``rcproof experiment``: the paper's experiments, run and reported; your own data under every strategy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rcproof.cli.common import Command, Outcome
from rcproof.errors import RcproofError

if TYPE_CHECKING:
    from rich.console import Console

    from rcproof.experiments.sweep import Chain
    from rcproof.experiments.tasks import Task

RUN_SCHEMA = "rcproof-sweep/1"
#: What the extra `experiments` brings and a run cannot do without.
NEEDED = ("joblib", "lightning", "pandas", "pooch", "torchmetrics")


@click.group("experiment")
def command() -> None:
    """Run the paper's experiments, or every strategy on data of yours; report what was found."""


@command.command("run", cls=Command)
@click.argument("tasks", nargs=-1, metavar="TASK...")
@click.option("--strategy", "strategies", multiple=True, metavar="NAME", help="Which strategies; repeat for several. "
              "Default: all of the task. What they depend on is run too.")  # fmt: skip
@click.option("--seeds", metavar="N,N,...", help="Seeds, with commas. Default: the paper's ten.")
@click.option("--n-seeds", type=click.IntRange(min=1), help="Only so many of them, the first.")
@click.option("--fraction", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True,
              help="Train on this part of the training set.")  # fmt: skip
@click.option("--noise", type=click.FloatRange(0, 1), help="Flip training labels with this probability. Default: the "
              "task's own.")  # fmt: skip
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Runs at a time, one thread "
              "each.")  # fmt: skip
@click.option("--stacked", is_flag=True, help="Train all seeds of a strategy at once: for GPUs, which these nets leave "
              "idle one by one.")  # fmt: skip
@click.option("--dask", metavar="ADDRESS", help="Scheduler of a Dask cluster that runs them; its workers see the same "
              "folders.")  # fmt: skip
@click.option("--out", default="results", show_default=True, metavar="DIR", help="Folder of the result files.")
@click.option("--fasta", metavar="FILE", help="Sequences of yours; TASK is then a name for them.")
@click.option(
    "--labels", metavar="FILE", help="Their labels: a CSV table with columns of 0 and 1, perhaps name, split."
)
@click.option("--genome", metavar="FILE", help="A genome of yours, FASTA.")
@click.option("--bed", metavar="FILE", help="Regions in it. Without tracks: against windows of equal GC.")
@click.option("--bigwig", "bigwigs", multiple=True, metavar="FILE", help="A track of counts in it; two for plus and "
              "minus strand.")  # fmt: skip
@click.option("--length", type=click.IntRange(min=1), help="Length of the windows about regions. Default: 1000.")
@click.option("--valid", metavar="CHROM,...", default="", help="Chromosomes held out to choose the weights.")
@click.option("--test", metavar="CHROM,...", default="", help="Chromosomes held out to test.")
@click.option("--list", "listing", is_flag=True, help="List the tasks and strategies, and run nothing.")
def run(
    tasks: tuple[str, ...], strategies: tuple[str, ...], seeds: str | None, n_seeds: int | None, fraction: float,
    noise: float | None, device: str, jobs: int, stacked: bool, dask: str | None, out: str, listing: bool, valid: str,
    test: str, **files: Any,
) -> Outcome:  # fmt: skip
    """Make the runs of TASK that have no result file yet, under every strategy and seed.

    TASK is one of --list, several of them, `overfitting` (parts of the training set, other label noise), `all`, or with
    files of yours a name for them. Every run leaves one JSON
    file in --out, so an interrupted sweep continues where it stopped, and the same command again makes nothing.

    Exit code: 0 once all runs are there; 2 if the input cannot be used; 130 if it was interrupted.
    """
    require_extra()
    from rcproof.experiments.programme import everything, overfitting
    from rcproof.experiments.strategies import STRATEGIES, strategies_of, strategy, twin
    from rcproof.experiments.sweep import plan, progress, sweep
    from rcproof.experiments.tasks import SEEDS, TASKS

    if listing:
        return _listed(TASKS, STRATEGIES)
    check_device(device)
    numbers = parse_seeds(seeds) if seeds is not None else SEEDS
    numbers = numbers[:n_seeds]
    chains: list[Chain] = []
    whole = tasks in (("all",), ("overfitting",)) and not any(files.values())
    if whole:
        if strategies or fraction != 1.0 or noise is not None:
            raise RcproofError(f"{tasks[0]} with --strategy, --fraction or --noise", expected="the names of tasks")
        chains = everything(numbers) if tasks == ("all",) else overfitting(numbers)
    for task in () if whole else _tasks(tasks, valid, test, files):
        wanted = [strategy(name).name for name in strategies] or strategies_of(task.kind)
        for name in wanted:
            if task.kind not in STRATEGIES[name].tasks:
                fitting = ", ".join(strategies_of(task.kind))
                raise RcproofError(f"strategy of task {task.name!r}", got=repr(name), expected=fitting)
        chains += plan(task, list(dict.fromkeys(twin(task.kind, n) for n in wanted)), numbers, fraction, noise)
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise RcproofError(f"--out {out!r} is a file", expected="a folder")
    missing = sum(len(c.missing(folder)) for c in chains)
    with progress(missing, "runs") as step:
        found = sweep(chains, folder, device=device, jobs=jobs, dask=dask, stacked=stacked, report=step)
    result = {"schema": RUN_SCHEMA, "out": out, "runs": sum(len(c.runs) for c in chains), **found}

    def show(console: Console) -> None:
        console.print(
            f"{result['runs']} runs in {out}: {found['made']} made now, {found['before']} before", markup=False
        )

    return Outcome(result, show)


@command.command("report", cls=Command)
@click.option("--results", default="results", show_default=True, metavar="DIR", help="Folder of the result files.")
@click.option("--out", default="report", show_default=True, metavar="DIR", help="Folder for tables, figures, answers.")
@click.option("--figures/--no-figures", default=True, show_default=True, help="Draw figures, light and dark.")
def report(results: str, out: str, figures: bool) -> Outcome:
    """Build the tables, the figures and the answers from the result files alone.

    Writes report.md, report.json, tables/*.csv and figures/*.svg. The same files give the same report.
    """
    require_extra()
    from rcproof.experiments.report import build_report

    found = build_report(Path(results), Path(out), figures)

    def show(console: Console) -> None:
        console.print(f"{found['runs']} runs; {len(found['files'])} files written to {out}", markup=False)
        for text in found["summary"]:
            console.print(text, markup=False)

    return Outcome(found, show)


def require_extra() -> None:
    """An error if the extra `experiments` is not installed."""
    from importlib.util import find_spec

    lost = [name for name in NEEDED if find_spec(name) is None]
    if lost:
        raise RcproofError(
            "rcproof experiment needs more packages",
            got=f"no {', '.join(lost)}",
            fix="pip install 'rcproof[experiments]'",
        )


def parse_seeds(text: str) -> tuple[int, ...]:
    """Seeds from ``1,2,3``."""
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise RcproofError("--seeds", got=repr(text), expected="numbers with commas, as 1535,1780") from None
    if len(set(numbers)) != len(numbers):
        raise RcproofError("--seeds", got=repr(text), expected="each seed once")
    return numbers


def check_device(device: str) -> None:
    """An error for a device that is not there."""
    import torch

    kind, _, number = device.partition(":")
    if kind == "cpu" and not number:
        return
    if kind != "cuda" or (number and not number.isdigit()):
        raise RcproofError("--device", got=repr(device), expected="cpu, cuda or cuda:N")
    if int(number or 0) >= torch.cuda.device_count():
        raise RcproofError("--device", got=repr(device), expected=f"one of {torch.cuda.device_count()} CUDA devices")


def _tasks(names: tuple[str, ...], valid: str, test: str, files: dict[str, Any]) -> list[Task]:
    from rcproof.experiments.tasks import TASKS, task

    if any(files.values()):
        if len(names) != 1:
            raise RcproofError("TASK", got=f"{len(names)} names", expected="one name for your own files")
        from rcproof.experiments.own import own_task

        fasta, labels, genome, bed = (
            None if files[k] is None else Path(files[k]) for k in ("fasta", "labels", "genome", "bed")
        )
        task_of_yours = own_task(
            names[0], fasta=fasta, labels=labels, genome=genome, bed=bed, bigwigs=tuple(map(Path, files["bigwigs"])),
            length=files["length"], valid=_words(valid), test=_words(test),
        )  # fmt: skip
        return [task_of_yours]
    if not names:
        raise RcproofError("TASK", got="none", expected=f"all, overfitting, or some of {', '.join(TASKS)}")
    return [task(name) for name in names]


def _words(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _listed(tasks: dict[str, Any], strategies: dict[str, Any]) -> Outcome:
    data: dict[str, Any] = {
        "schema": RUN_SCHEMA,
        "tasks": {name: {"network": t.kind, "about": t.about} for name, t in tasks.items()},
        "strategies": {
            name: {"kind": s.kind, "about": s.about, "networks": list(s.tasks)} for name, s in strategies.items()
        },
    }

    def show(console: Console) -> None:
        from rich.table import Table

        for title, rows in (("task", data["tasks"]), ("strategy", data["strategies"])):
            table = Table(title, "", "")
            for name, row in rows.items():
                table.add_row(name, str(row.get("network", row.get("kind"))), row["about"])
            console.print(table)

    return Outcome(data, show)
