"""Many seeds of one network at once: their parameters stacked, one forward and backward pass for all (``torch.func``).

These nets are so small that a GPU spends its time on starting kernels; ten seeds then cost little more than one. Each
seed has its own initial weights, order of examples, curves, early stopping and best weights; Adam works element by
element, so the results are those of :func:`~rcproof.experiments.training.train` up to rounding.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from rcproof.errors import RcproofError
from rcproof.experiments.dataset import Action, Data, Split
from rcproof.experiments.scores import EVALUATION_BATCH, Objective
from rcproof.experiments.training import PROBE, Batches, BestWeights, Settings, Trained

States = dict[str, Tensor]


def stackable(model: nn.Module) -> bool:
    """Whether a network can be trained in a stack: all of it is trained. (Frozen parts are held by hooks.)"""
    return all(p.requires_grad for p in model.parameters())


def train_stacked(
    models: Sequence[nn.Module],
    data: Data,
    action: Action,
    objective: Objective,
    settings: Settings,
    seeds: Sequence[int],
    device: str = "cpu",
    start: bool = False,
) -> list[Trained]:
    """Train networks of one architecture in place, one a seed; each is left with its own best weights, in eval mode.

    Arguments and results are those of :func:`~rcproof.experiments.training.train`; the seconds are those of the stack,
    shared out equally. Raises :class:`~rcproof.errors.RcproofError` for networks with frozen parts.
    """
    if not all(map(stackable, models)):
        raise RcproofError("networks to train in a stack", got="frozen parameters", expected="all trained")
    stack = _Stack(models, objective, data.train.first(PROBE).to(device), data.valid.to(device), device)
    train = data.train.to(device)
    orders = [Batches(train, settings.batch, s, action if settings.augment == "dataset" else None) for s in seeds]
    optimizer = torch.optim.Adam(stack.parameters.values(), lr=settings.lr, eps=settings.eps)
    begin, cpu, steps = time.perf_counter(), time.process_time(), 0
    if start:
        stack.measure([None] * len(models))
    for _ in range(settings.epochs):
        total, seen = torch.zeros(len(models), device=device), 0
        for batches in zip(*orders, strict=True):
            inputs, targets = _together(batches)
            if settings.augment == "batch":
                turned = vmap(lambda x, y: action(x, y))(inputs, targets)
                inputs = tuple(torch.cat(pair, dim=1) for pair in zip(inputs, turned[0], strict=True))
                targets = tuple(torch.cat(pair, dim=1) for pair in zip(targets, turned[1], strict=True))
            optimizer.zero_grad()
            losses = stack.losses(inputs, targets)
            losses.sum().backward()
            optimizer.step()
            count = targets[0].shape[1]
            total, seen, steps = total + losses.detach() * count, seen + count, steps + 1
        stack.measure((total / seen).tolist())
        stack.stop(settings, steps)
        if not any(stack.active):
            break
    seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - cpu
    return stack.finish(models, settings, seconds / len(models), cpu_seconds / len(models))


class _Stack:
    """The stacked networks, and the curves of each."""

    def __init__(
        self, models: Sequence[nn.Module], objective: Objective, probe: Split, valid: Split, device: str
    ) -> None:
        self.objective, self.probe, self.valid = objective, probe, valid
        parameters, buffers = stack_module_state([m.train() for m in models])
        self.parameters: States = {k: v.detach().to(device).requires_grad_(True) for k, v in parameters.items()}
        self.buffers: States = {k: v.to(device) for k, v in buffers.items()}
        self.shape = copy.deepcopy(models[0]).to(device)
        self.curves: list[dict[str, list[float]]] = [{} for _ in models]
        self.best = [BestWeights(objective.best, objective.highest) for _ in models]
        self.active = [True] * len(models)
        self.lowest = [(float("inf"), 0)] * len(models)
        self.steps = [0] * len(models)
        self.last: list[States] = [{} for _ in models]

    def losses(self, inputs: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> Tensor:
        """The loss of each network on its own batch (S, B, …); batch norm's statistics are updated in their stacks."""
        self.shape.train()

        def one(p: States, b: States, x: tuple[Tensor, ...], y: tuple[Tensor, ...]) -> Tensor:
            return self.objective.loss(functional_call(self.shape, (p, b), x), y)

        found = vmap(one)(self.parameters, self.buffers, inputs, targets)
        assert isinstance(found, Tensor)
        return found

    def predict(self, split: Split) -> list[Any]:
        """Each network's answers for one split, in eval mode."""
        self.shape.eval()
        parts = []

        def one(p: States, b: States, *xs: Tensor) -> Any:
            return functional_call(self.shape, (p, b), xs)

        with torch.no_grad():
            for begin in range(0, len(split), EVALUATION_BATCH):
                inputs, _ = split.rows(slice(begin, begin + EVALUATION_BATCH))
                parts.append(vmap(one, in_dims=(0, 0, *[None] * len(inputs)))(self.parameters, self.buffers, *inputs))
        if isinstance(parts[0], Tensor):
            return list(torch.cat(parts, dim=1))
        return list(zip(*(torch.cat(column, dim=1) for column in zip(*parts, strict=True)), strict=True))

    def measure(self, train_losses: Sequence[float | None]) -> None:
        """Append to the curves of those that still train, and keep their weights if they are the best so far."""
        both = list(zip(self.predict(self.probe), self.predict(self.valid), strict=True))
        for i, (loss, (fit, valid)) in enumerate(zip(train_losses, both, strict=True)):
            if not self.active[i]:
                continue
            found = {"train_loss": float("nan") if loss is None else loss}
            found |= {f"fit_{k}": v for k, v in self.objective.metrics(fit, self.probe).items()}
            found |= {f"valid_{k}": v for k, v in self.objective.metrics(valid, self.valid).items()}
            for name, value in found.items():
                self.curves[i].setdefault(name, []).append(value)
            self.best[i].consider(self.curves[i], self.state(i))

    def state(self, i: int) -> States:
        """The state dict of one network: views into the stacks."""
        return {k: v[i].detach() for k, v in (*self.parameters.items(), *self.buffers.items())}

    def stop(self, settings: Settings, steps: int) -> None:
        """Early stopping, each for itself, as :class:`~rcproof.experiments.training.Settings` says."""
        for i, curves in enumerate(self.curves):
            if not self.active[i]:
                continue
            self.steps[i], self.last[i] = steps, {k: v.cpu().clone() for k, v in self.state(i).items()}
            epoch, loss = len(curves["train_loss"]), curves["valid_loss"][-1]
            if steps < settings.settle:
                continue
            if loss < self.lowest[i][0]:
                self.lowest[i] = loss, epoch
            elif settings.patience is not None and epoch - self.lowest[i][1] >= settings.patience:
                self.active[i] = False

    def finish(self, models: Sequence[nn.Module], settings: Settings, seconds: float, cpu: float) -> list[Trained]:
        """Every network with its best weights."""
        found = []
        for i, model in enumerate(models):
            model.load_state_dict({k: v.cpu() for k, v in self.best[i].weights.items()})
            model.to("cpu").eval()
            epochs = sum(v == v for v in self.curves[i]["train_loss"])  # NaN is that of the start
            found.append(
                Trained(self.curves[i], self.best[i].epoch, epochs, self.steps[i], seconds, cpu,
                        epochs < settings.epochs, self.last[i])
            )  # fmt: skip
        return found


def _together(batches: Sequence[tuple[tuple[Tensor, ...], tuple[Tensor, ...]]]) -> Any:
    """Batches of all seeds as one of (S, B, …)."""
    sides = zip(*batches, strict=True)
    return tuple(tuple(torch.stack(column) for column in zip(*side, strict=True)) for side in sides)
