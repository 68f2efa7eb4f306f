"""A training step of the experiments' networks: joined steps (``rcproof.experiments.fused``) beside torch's own.

    python -m benchmarks.training [--runs 7] [--tasks sim_200 IRF1 …]

For every task and form of its network: forward, loss and backward of one batch, interleaved, on one thread; the
networks are those of the tasks, the batches random. Before timing, both must give the same loss. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from rcproof.experiments import fused
from rcproof.experiments.profile import FLANK
from rcproof.experiments.scores import Labels, Objective, Profiles
from rcproof.experiments.strategies import network, strategy
from rcproof.experiments.tasks import TASKS, Task
from rcproof.network import Network
from rcproof.verify.report import environment

FORMS = ("standard", "conjoined", "rcps")


def batch_of(task: Task) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """A random batch of the task's size, with its reverse complements where they are added to each batch."""
    torch.manual_seed(0)
    rows = task.settings.batch * (2 if task.settings.augment == "batch" else 1)
    length = task.sizes["length"]
    dna = nn.functional.one_hot(torch.randint(0, 4, (rows, length)), 4).float().transpose(1, 2).contiguous()
    if task.kind != "profile":
        return (dna,), (torch.randint(0, 2, (rows, task.sizes.get("tasks", 1))).float(),)
    positions = length - 2 * FLANK
    control = (torch.rand(rows, 1), torch.rand(rows, 2, positions)) if task.sizes["n_control"] else ()
    return (dna, *control), (torch.poisson(torch.rand(rows, 2 if task.stranded else 1, positions)),)


def step(
    model: nn.Module, objective: Objective, inputs: tuple[Tensor, ...], targets: tuple[Tensor, ...], joined: bool
) -> Callable[[], float]:
    """One step without the optimiser; a network of its own layouts in each way."""

    def run() -> float:
        model.zero_grad()
        answers = fused.run(model, *inputs) if joined else model(*inputs)
        loss = objective.loss(answers, targets)
        loss.backward()
        return float(loss.detach())

    return run


def measure(task: Task, form: str, runs: int) -> dict[str, Any]:
    """Microseconds an example in both ways, and the median ratio."""
    inputs, targets = batch_of(task)
    objective = Profiles(task.stranded, 1.0) if task.kind == "profile" else Labels()
    ways = []
    for joined in (False, True):
        model = network(task.kind, strategy(form), 0, task.sizes)
        if isinstance(model, Network):
            model.set_layout("batched" if joined else "auto")
        ways.append(step(model, objective, inputs, targets, joined))
    losses = [way() for way in ways]
    assert abs(losses[0] - losses[1]) <= 1e-4 * abs(losses[0]), losses
    pairs = [tuple(map(seconds, ways)) for _ in range(runs)]
    rows = len(inputs[0])
    plain, joined_ = (statistics.median(p[i] for p in pairs) / rows * 1e6 for i in (0, 1))
    ratio = statistics.median(p[0] / p[1] for p in pairs)
    return {"torch, µs": round(plain, 1), "joined, µs": round(joined_, 1), "torch over joined": round(ratio, 2)}


def seconds(run: Callable[[], float]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--tasks", nargs="+", default=["sim_200", "sim_1000", "tf0", "IRF1", "Reb1", "stripe", "atac"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {f"{name}, {form}": measure(TASKS[name], form, options.runs) for name in options.tasks for form in FORMS}
    print(
        json.dumps({"an example of a training step": found, "environment": environment()}, indent=1, ensure_ascii=False)
    )


if __name__ == "__main__":
    main()
