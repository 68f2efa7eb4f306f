"""``python -m benchmarks.speed --suite quick|full [--device cuda]``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.speed import report
from benchmarks.speed.cells import suite as cells_of
from benchmarks.speed.machine import cores
from benchmarks.speed.run import Interrupted, run

RESULTS = Path(__file__).resolve().parents[1] / "results"


@click.command()
@click.option("--suite", type=click.Choice(["tiny", "quick", "full"]), default="quick", show_default=True)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--threads", type=click.IntRange(1), help="Of the processor; default: all its cores.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of weights, inputs and the order of runs.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=RESULTS, help="Default: benchmarks/results."
)
@click.option("--only", metavar="TEXT", help="Only cells whose name contains this; written to a file of its own.")
@click.option("--for", "stop_after", type=float, metavar="SECONDS", help="Stop after so long; run again to go on.")
@click.option("--fresh", is_flag=True, help="Begin anew instead of going on with an unfinished run.")
@click.option("--report-only", is_flag=True, help="Measure nothing: draw tables and figures from what is there.")
def main(
    suite: str, device: str, threads: int | None, seed: int, out: Path, only: str | None, stop_after: float | None,
    fresh: bool, report_only: bool,
) -> None:  # fmt: skip
    """Time rcproof beside plain torch, conjoined networks and other packages; write JSON, a table and figures.

    A run that is stopped (by Ctrl-C, or --for) goes on where it was when the same command is given again.
    """
    console = Console(stderr=True)
    if report_only:
        report.write_all(out)
        return
    if device == "cuda" and not torch.cuda.is_available():
        raise click.ClickException("no CUDA device is available; --device cpu measures the processor")
    torch.set_num_threads(threads or cores())
    cells = cells_of(suite, device)
    path = out / f"speed-{suite}-{device}.json"
    if only:
        cells = [c for c in cells if only in c.id]
        path = out / f"partial-{suite}-{device}.json"
    try:
        with _bar(console) as bar:
            task = bar.add_task("", total=len(cells))
            data = run(
                cells, path, suite, torch.device(device), seed, stop_after, fresh,
                progress=lambda name, i, _: bar.update(task, completed=i, description=name), extras=only is None,
            )  # fmt: skip
            bar.update(task, completed=len(cells), description="done")
    except (Interrupted, KeyboardInterrupt) as why:
        console.print(f"stopped: {why or 'interrupted'}; the same command goes on")
        sys.exit(3 if isinstance(why, Interrupted) else 130)
    console.print(f"{len(data['cells'])} cells in {path.name}")
    if only:
        click.echo(
            json.dumps(
                {
                    c["id"]: {n: round(t["ratio"], 3) for n, t in c["contenders"].items()}
                    for c in data["cells"]
                    if "contenders" in c
                },
                indent=1,
            )
        )
        return
    report.write_all(out)


def _bar(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)


if __name__ == "__main__":
    main()
