"""Keep the post-hoc conjoined network of a task's best seed, by its validation metric, as a file of rcproof.

    python examples/keep_best.py sim_200 --results benchmarks/accuracy/results --out sim_200_post_hoc.safetensors

The weights are those that a sweep left in the cache; a seed whose weights are gone is trained anew. The file can be
converted, checked and exported like any other: ``rcproof convert sim_200_post_hoc.safetensors -o rcps.safetensors``.
"""

from __future__ import annotations

import json
from pathlib import Path

import click

import rcproof
from rcproof.experiments.registry import cache_folder, registry
from rcproof.experiments.results import PRIMARY, Results
from rcproof.experiments.runs import Run, base_model
from rcproof.experiments.strategies import BASE, started, strategy
from rcproof.experiments.tasks import task as task_of


@click.command()
@click.argument("task")
@click.option("--results", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path))
def main(task: str, results: Path, out: Path) -> None:
    """Choose, build, save."""
    found, runs = task_of(task), Results.read(results).seeds(task, "post-hoc")
    metric, highest = PRIMARY[found.kind]
    seed = (max if highest else min)(runs, key=lambda s: runs[s]["metrics"]["valid"][metric])
    base = base_model(Run(task, BASE, seed), found, results, "cpu", cache_folder() / "checkpoints")
    metadata = {
        "task": task,
        "data": found.about,
        "data_sha256": json.dumps(found.sha256),
        "licence": ", ".join(sorted({registry()[name].licence for name in found.files})),
        "strategy": "post-hoc: trained on one strand with RC augmentation, conjoined after training",
        "seed": str(seed),
        f"validation_{metric}": f"{runs[seed]['metrics']['valid'][metric]:.6f}",
        f"held_out_{metric}": f"{runs[seed]['metrics']['test'][metric]:.6f}",
        "versions": ", ".join(f"{k} {v}" for k, v in runs[seed]["versions"].items()),
    }
    rcproof.save(started(strategy("post-hoc"), base).eval(), out, metadata)
    click.echo(f"{out}: seed {seed}, {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
