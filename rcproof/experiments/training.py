"""The training of one run, in Lightning: Adam, early stopping, and the weights of the best epoch.

Data lie on the device as tensors and batches are cut from them, since for nets this small worker processes cost more
than they give. One seed decides the initial weights and the order of the examples; on one thread of one machine, two
runs give the same weights.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping
from torch import Tensor, nn

from rcproof.experiments import fused
from rcproof.experiments.dataset import Action, Data, Split
from rcproof.experiments.scores import Objective, predict
from rcproof.network import Network
from rcproof.strand import rc

#: How the reverse complements are trained on: ``dataset`` trains on 2N examples an epoch, in random order; ``batch``
#: adds its reverse complements to every batch, so an epoch has as many steps as without.
AUGMENTATIONS = ("none", "dataset", "batch")
#: The part of the training set that is measured after every epoch, in eval mode.
PROBE = 2000


@dataclass(frozen=True)
class Settings:
    """How a network is trained; the defaults are the paper's of the simulated tasks, Keras' epsilon among them.

    Early stopping counts ``patience`` epochs without a lower validation loss, from the first epoch that ends after
    ``settle`` steps: before, batch norm's running statistics still hold their start, and the loss is not the network's.
    """

    batch: int = 500
    epochs: int = 200
    patience: int | None = 10
    settle: int = 0
    augment: str = "none"
    lr: float = 1e-3
    eps: float = 1e-7
    optimizer: str = "Adam"

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


@dataclass
class Trained:
    """What a training leaves: curves (one number an epoch), the best epoch, steps and time; the model has its weights.

    With ``start`` the first number of each curve is that of the weights that training began with. ``last`` are the
    weights of the last epoch.
    """

    curves: dict[str, list[float]] = field(default_factory=dict)
    best_epoch: int = 0
    epochs: int = 0
    steps: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    stopped_early: bool = False
    last: dict[str, Tensor] = field(default_factory=dict)


class Batches:
    """Batches of a split, shuffled anew every epoch by a generator of their own."""

    def __init__(self, split: Split, batch: int, seed: int, action: Action | None = None) -> None:
        self.split, self.batch, self.action = split, batch, action
        self.generator = torch.Generator().manual_seed(seed)

    @property
    def count(self) -> int:
        """Examples an epoch."""
        return len(self.split) * (1 if self.action is None else 2)

    def __len__(self) -> int:
        return -(-self.count // self.batch)

    def __iter__(self) -> Iterator[tuple[tuple[Tensor, ...], tuple[Tensor, ...]]]:
        device = self.split.inputs[0].device
        for index in torch.randperm(self.count, generator=self.generator).to(device).split(self.batch):
            inputs, targets = self.split.rows(index % len(self.split))
            if self.action is not None:
                turned = index >= len(self.split)
                inputs = tuple(_where(turned, rc(x, r), x) for x, r in zip(inputs, self.action.inputs, strict=True))
                targets = tuple(_where(turned, rc(y, r), y) for y, r in zip(targets, self.action.targets, strict=True))
            yield inputs, targets


def _where(rows: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(rows.view(-1, *[1] * (no.dim() - 1)), yes, no)


class BestWeights:
    """Keeps the weights of the epoch whose metric on the validation split is best; the first of equals."""

    def __init__(self, metric: str, highest: bool) -> None:
        self.metric, self.sign = f"valid_{metric}", 1.0 if highest else -1.0
        self.value, self.epoch = float("-inf"), 0
        self.weights: dict[str, Tensor] = {}

    def consider(self, curves: dict[str, list[float]], state: dict[str, Tensor]) -> None:
        """Take a copy of the weights if they are the best so far."""
        values = curves[self.metric]
        if self.sign * values[-1] > self.value:
            self.value, self.epoch = self.sign * values[-1], len(values) - 1
            self.weights = {name: value.detach().clone() for name, value in state.items()}


class Learner(lightning.LightningModule):
    """A network, its objective, and the curves of both splits."""

    def __init__(
        self, model: nn.Module, objective: Objective, settings: Settings, action: Action, data: Data, frozen: bool
    ) -> None:
        super().__init__()
        self.model, self.objective, self.settings, self.action = model, objective, settings, action
        self.probe, self.valid = data.train.first(PROBE), data.valid
        self.frozen_statistics = frozen
        self.best = BestWeights(objective.best, objective.highest)
        self.curves: dict[str, list[float]] = {}
        self.total, self.seen = 0.0, 0

    def configure_optimizers(self) -> torch.optim.Optimizer:
        trained = [p for p in self.model.parameters() if p.requires_grad]
        return torch.optim.Adam(trained, lr=self.settings.lr, eps=self.settings.eps)

    def on_train_epoch_start(self) -> None:
        # Lightning leaves the mode as it comes, and a converted network comes in eval mode. Where only some weights are
        # trained, batch norm keeps the statistics that it has.
        self.model.train(not self.frozen_statistics)

    def training_step(self, batch: tuple[tuple[Tensor, ...], tuple[Tensor, ...]], _: int) -> Tensor:
        inputs, targets = batch
        if self.settings.augment == "batch":
            turned = self.action(inputs, targets)
            inputs = tuple(torch.cat(pair) for pair in zip(inputs, turned[0], strict=True))
            targets = tuple(torch.cat(pair) for pair in zip(targets, turned[1], strict=True))
        loss = self.objective.loss(fused.run(self.model, *inputs), targets)
        self.total += loss.item() * len(targets[0])
        self.seen += len(targets[0])
        return loss

    def on_train_epoch_end(self) -> None:
        self.log("valid_loss", self.measure(self.total / max(1, self.seen))["loss"])  # for early stopping
        self.total, self.seen = 0.0, 0

    def measure(self, train_loss: float | None) -> dict[str, float]:
        """Append to the curves: mean loss of the batches as they were trained on, and both splits in eval mode."""
        fit = self.objective.metrics(predict(self.model, self.probe, fast=True), self.probe)
        valid = self.objective.metrics(predict(self.model, self.valid, fast=True), self.valid)
        found = {"train_loss": float("nan") if train_loss is None else train_loss}
        found |= {f"fit_{k}": v for k, v in fit.items()} | {f"valid_{k}": v for k, v in valid.items()}
        for name, value in found.items():
            self.curves.setdefault(name, []).append(value)
        self.best.consider(self.curves, self.model.state_dict())
        return valid


class Stopping(EarlyStopping):
    """Lightning's early stopping on the validation loss, from the first epoch that ends after ``settle`` steps."""

    def __init__(self, patience: int, settle: int) -> None:
        super().__init__("valid_loss", patience=patience, mode="min", check_on_train_epoch_end=True)
        self.settle = settle

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.global_step >= self.settle:
            super().on_train_epoch_end(trainer, pl_module)


@contextmanager
def _unfilled() -> Iterator[None]:
    """Deterministic algorithms without their filling of new memory, a tenth of a step; nothing reads it unwritten."""
    option: Any = torch.utils.deterministic  # a property of the module, which its types do not know
    before, option.fill_uninitialized_memory = option.fill_uninitialized_memory, False
    try:
        yield
    finally:
        option.fill_uninitialized_memory = before


def train(
    model: nn.Module,
    data: Data,
    action: Action,
    objective: Objective,
    settings: Settings,
    seed: int,
    device: str = "cpu",
    start: bool = False,
) -> Trained:
    """Train ``model`` in place and leave it with the best weights, in eval mode.

    ``start``: the weights that it comes with are a candidate for the best, epoch 0; without, epoch 0 is the first.
    Weights that do not require gradients stay, and so do batch norm's statistics if there are any such weights.
    """
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    lightning.seed_everything(seed, workers=True, verbose=False)
    if isinstance(model, Network):
        model.set_layout("batched" if device == "cpu" else "auto")  # whose functions the fused ones stand for
    data = Data(data.train.to(device), data.valid.to(device), data.test)
    frozen = any(not p.requires_grad for p in model.parameters())
    learner = Learner(model.to(device), objective, settings, action, data, frozen)
    if start:
        learner.measure(None)
    callbacks: list[Callback] = []
    if settings.patience is not None:
        callbacks.append(Stopping(settings.patience, settings.settle))
    batches = Batches(data.train, settings.batch, seed, action if settings.augment == "dataset" else None)
    begin, cpu = time.perf_counter(), time.process_time()
    with warnings.catch_warnings(), _unfilled():
        # Lightning's advice on workers and on logging intervals, which are not for tensors on the device.
        warnings.simplefilter("ignore")
        trainer = lightning.Trainer(
            accelerator="cpu" if device == "cpu" else "gpu",
            devices=1 if device in ("cpu", "cuda") else [int(device.removeprefix("cuda:"))],
            max_epochs=settings.epochs,
            callbacks=callbacks,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            limit_val_batches=0,
            deterministic=True if device == "cpu" else "warn",
            use_distributed_sampler=False,
        )
        trainer.fit(learner, train_dataloaders=batches)
    last = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
    model.load_state_dict(learner.best.weights)
    model.to("cpu").eval()
    if isinstance(model, Network):
        model.set_layout("auto")
    epochs = trainer.current_epoch
    return Trained(
        learner.curves, learner.best.epoch, epochs, trainer.global_step, time.perf_counter() - begin,
        time.process_time() - cpu, epochs < settings.epochs, last,
    )  # fmt: skip
