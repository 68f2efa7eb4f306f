"""One run: a task, a strategy, a seed, perhaps a part of the training set or other label noise; and its result file.

The result of a run is one JSON object, in ``<folder>/<task>[@variant]/<strategy>/<seed>.json``:

==================  ================================================================================================
``schema``          ``rcproof-run/1``
``task`` … ``seed`` what was run; ``fraction`` and ``noise`` say which part of the training set, and the noise in it
``settings``        optimiser, learning rate, batch, epochs, patience, settle, augmentation; null if nothing was trained
``model``           parameters, filters, coupled layers
``data``            sha256 of the files, sizes of the splits, facts of the task
``versions``        of Python and the packages; ``revision`` of the source, with ``+`` if it was changed
``base``            the run whose weights it evaluates or starts from, with their hash
``weights_sha256``  of the weights it was tested with
``curves``          one number an epoch: ``train_loss`` (of the batches), ``fit_…`` (2000 training examples, eval mode),
                    ``valid_…``; ``…_other_…`` against clean labels where those of training are noisy, and noisy ones
                    where they are clean; a warm start's first number is that of the weights it starts from
``best_epoch``      index into the curves of the weights that were kept
``metrics``         by split: ``train``, ``valid``, ``test``
``strands``         of a post-hoc form, by split: the loss of its network reading either strand (theorem T9)
``movement``        of a warm start, by layer: norms of B and of A's change, over the norm of the first A (theorem T7);
                    ``movement_last`` and ``metrics_last`` are those of the last epoch, whichever was kept
``steps`` …         steps, epochs, wall and CPU seconds of the training; ``device``
==================  ================================================================================================
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import rcproof
from rcproof.errors import RcproofError
from rcproof.experiments import fused
from rcproof.experiments.dataset import SPLITS, Data
from rcproof.experiments.registry import cache_folder
from rcproof.experiments.scores import both_strands, mean_of, predict
from rcproof.experiments.stacked import stackable, train_stacked
from rcproof.experiments.strategies import (
    Strategy,
    coupled_layers_of,
    coupled_set,
    equal_width,
    movement,
    network,
    parameters,
    started,
    strategy,
)
from rcproof.experiments.tasks import Task, data_of
from rcproof.experiments.training import Settings, Trained, train
from rcproof.files import replacing

SCHEMA = "rcproof-run/1"
PACKAGES = ("rcproof", "torch", "lightning", "torchmetrics", "numpy")
#: Digits that result files keep of a curve.
DIGITS = 5


@dataclass(frozen=True)
class Run:
    """One run; :attr:`key` is the path of its result file without the ending."""

    task: str
    strategy: str
    seed: int
    fraction: float = 1.0
    noise: float | None = None

    @property
    def variant(self) -> str:
        """``fraction=…,noise=…`` as far as they are not the task's own."""
        parts = [f"fraction={self.fraction:g}"] if self.fraction != 1.0 else []
        return ",".join(parts + ([f"noise={self.noise:g}"] if self.noise is not None else []))

    @property
    def key(self) -> str:
        """``task[@variant]/strategy/seed``."""
        return f"{self.task}{'@' if self.variant else ''}{self.variant}/{self.strategy}/{self.seed}"

    def path(self, folder: Path) -> Path:
        """Its result file."""
        return folder / f"{self.key}.json"

    def of(self, name: str) -> Run:
        """The same run of another strategy."""
        return Run(self.task, name, self.seed, self.fraction, self.noise)


@dataclass
class Prepared:
    """A run before its training: the network, and what is known of where it starts."""

    run: Run
    found: Strategy
    model: nn.Module
    settings: Settings | None = None
    base_weights: str | None = None
    first: dict[str, Tensor] = field(default_factory=dict)


def perform(run: Run, task: Task, folder: Path, device: str = "cpu", checkpoints: Path | None = None) -> dict[str, Any]:
    """Make one run and write its result file, whole or not at all; the result.

    The weights of runs that others depend on are kept in ``checkpoints`` (default: in the cache); if they are missing,
    the base is trained anew.
    """
    checkpoints = checkpoints or cache_folder() / "checkpoints"
    data = data_of(task, run.fraction, run.noise)
    one = prepare(run, task, folder, device, checkpoints)
    trained = None
    if one.settings is not None:
        start = one.found.kind == "started"
        trained = train(one.model, data, task.action, task.objective(data), one.settings, run.seed, device, start)
    return finish(one, trained, task, data, folder, device, checkpoints)


def perform_stacked(
    runs: Sequence[Run], task: Task, folder: Path, device: str = "cpu", checkpoints: Path | None = None
) -> list[dict[str, Any]]:
    """Make runs that differ in their seeds alone, trained at once where they can be; their results."""
    checkpoints = checkpoints or cache_folder() / "checkpoints"
    data = data_of(task, runs[0].fraction, runs[0].noise)
    several = [prepare(run, task, folder, device, checkpoints) for run in runs]
    first = several[0]
    if first.settings is None or len(runs) == 1 or not all(stackable(one.model) for one in several):
        return [perform(run, task, folder, device, checkpoints) for run in runs]
    trained = train_stacked(
        [one.model for one in several], data, task.action, task.objective(data), first.settings,
        [run.seed for run in runs], device, first.found.kind == "started",
    )  # fmt: skip
    return [finish(o, t, task, data, folder, device, checkpoints) for o, t in zip(several, trained, strict=True)]


def prepare(run: Run, task: Task, folder: Path, device: str, checkpoints: Path) -> Prepared:
    """The network of a run as it is before its training; its base is run if it has to be."""
    found = strategy(run.strategy)
    if found.kind == "trained":
        model = network(task.kind, found, run.seed, task.sizes)
        return Prepared(run, found, model, task.settings_for(found.augment, started=False))
    assert found.base is not None
    base = base_model(run.of(found.base), task, folder, device, checkpoints)
    one = Prepared(run, found, started(found, base), base_weights=weights_sha256(base))
    if found.kind == "started":
        one.settings = task.settings_for(found.augment, started=True)
        one.first = {k: v.clone() for k, v in one.model.state_dict().items()}
    return one


def finish(
    one: Prepared, trained: Trained | None, task: Task, data: Data, folder: Path, device: str, checkpoints: Path
) -> dict[str, Any]:
    """Measure a run's network and write its result file, and its weights if others depend on them."""
    model, found = one.model.eval(), one.found
    result = describe(one.run, task, data, found, model, one.settings, device)
    if found.base is not None:
        result["base"] = {"strategy": found.base, "weights_sha256": one.base_weights}
    if trained is not None:
        result |= _record(trained)
    if found.kind == "evaluated":
        result |= _post_hoc(model, task, data, found)
    else:
        result["metrics"] = _metrics(model, task, data, found)
    if found.kind == "started" and trained is not None:
        result |= _of_last(one.first, model, trained, task, data)
    if kept(one.run.strategy):
        write_weights(model, checkpoint(one.run, task, checkpoints))
    write(result, one.run.path(folder))
    return result


def kept(name: str) -> bool:
    """Whether other strategies depend on the weights of this one."""
    from rcproof.experiments.strategies import STRATEGIES

    return any(s.base == name for s in STRATEGIES.values())


def checkpoint(run: Run, task: Task, checkpoints: Path) -> Path:
    """The file that keeps a run's weights; its name holds a hash of the data and settings, so none is used wrongly."""
    what = json.dumps([sorted(task.sha256.items()), task.sizes, task.settings.to_json()])
    return checkpoints / f"{run.key}-{hashlib.sha256(what.encode()).hexdigest()[:12]}.safetensors"


def base_model(run: Run, task: Task, folder: Path, device: str, checkpoints: Path) -> nn.Module:
    """The network of a base run, with its weights; it is run if its result or its weights are missing."""
    path = checkpoint(run, task, checkpoints)
    if not (path.is_file() and run.path(folder).is_file()):
        perform(run, task, folder, device, checkpoints)
    found = strategy(run.strategy)
    model = network(task.kind, found, run.seed, task.sizes)
    model.load_state_dict(load_file(path))
    return model.eval()


def describe(
    run: Run, task: Task, data: Data, found: Strategy, model: nn.Module, settings: Settings | None, device: str
) -> dict[str, Any]:
    """What was run, with what, on what."""
    coupled = sorted(coupled_layers_of(model)) if found.kind == "started" else []
    width = equal_width(task.kind, found.network, task.sizes) if found.equal_parameters else None
    return {
        "schema": SCHEMA,
        "task": run.task,
        "strategy": run.strategy,
        "seed": run.seed,
        "fraction": run.fraction,
        "noise": task.noise if run.noise is None else run.noise,
        "kind": task.kind,
        "settings": None if settings is None else settings.to_json(),
        "model": {
            "parameters": parameters(model),
            "sizes": {**task.sizes, **({} if width is None else {"filters": width})},
            "coupled": coupled or coupled_set(task.kind, run.strategy, task.sizes),
        },
        "data": {"sha256": task.sha256, "sizes": data.sizes, **data.facts},
        "versions": versions(),
        "revision": revision(),
        "device": "cpu" if device == "cpu" else torch.cuda.get_device_name(device),
        "weights_sha256": weights_sha256(model),
    }


def _record(trained: Trained) -> dict[str, Any]:
    return {
        "curves": {n: [_short(v) for v in values] for n, values in trained.curves.items() if "auprc" not in n},
        "best_epoch": trained.best_epoch,
        "epochs": trained.epochs,
        "stopped_early": trained.stopped_early,
        "steps": trained.steps,
        "seconds": round(trained.seconds, 2),
        "cpu_seconds": round(trained.cpu_seconds, 2),
    }


def _metrics(model: nn.Module, task: Task, data: Data, found: Strategy) -> dict[str, dict[str, float]]:
    objective = task.objective(data, found.sigmoid)
    return {name: objective.metrics(predict(model, data.split(name)), data.split(name)) for name in SPLITS}


def _of_last(first: dict[str, Tensor], model: nn.Module, trained: Trained, task: Task, data: Data) -> dict[str, Any]:
    """How far a warm start moved to the weights that were kept and to the last ones, and what the last ones score."""

    def moved() -> dict[str, dict[str, float | None]]:
        return {layer: {k: _short(v) for k, v in d.items()} for layer, d in movement(first, model).items()}

    kept_weights = {k: v.clone() for k, v in model.state_dict().items()}
    found: dict[str, Any] = {"movement": moved()}
    model.load_state_dict(trained.last)
    model.eval()
    found["movement_last"] = moved()
    found["metrics_last"] = {"test": task.objective(data).metrics(predict(model, data.test), data.test)}
    model.load_state_dict(kept_weights)
    return found if coupled_layers_of(model) else {"metrics_last": found["metrics_last"]}


def _post_hoc(model: nn.Module, task: Task, data: Data, found: Strategy) -> dict[str, Any]:
    """Metrics of a post-hoc form, and the loss of the network inside it on either strand, from one pass a strand."""
    net, objective = model.get_submodule("net"), task.objective(data, found.sigmoid)
    metrics, strands = {}, {}
    for name in SPLITS:
        split = data.split(name)
        forward, backward = both_strands(net, split, task.action, objective)
        metrics[name] = objective.metrics(mean_of(forward, backward), split)
        strands[name] = {
            "forward": objective.metrics(forward, split)["loss"],
            "reverse": objective.metrics(backward, split)["loss"],
        }
    return {"metrics": metrics, "strands": strands}


def _short(value: float) -> float | None:
    """A number with as many digits as curves keep; JSON has no NaN."""
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


def weights_sha256(model: nn.Module) -> str:
    """The hash of all weights and buffers, by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def write_weights(model: nn.Module, path: Path) -> None:
    """Weights alone, as safetensors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    with replacing(path) as temporary:
        save_file(tensors, temporary)


def write(result: dict[str, Any], path: Path) -> None:
    """The result file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(result, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def read(path: Path) -> dict[str, Any]:
    """A result file; raises :class:`~rcproof.errors.RcproofError` if it is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise RcproofError(f"result file {path.name}", got=problem, expected="JSON", fix="delete it") from None
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise RcproofError(f"result file {path.name}", expected=f"an object of schema {SCHEMA}", fix="delete it")
    return found


@cache
def versions() -> dict[str, str]:
    """Of Python and of the packages that decide a result; of numba only where it runs the training steps."""
    packages = (*PACKAGES, "numba") if fused.AVAILABLE else PACKAGES
    return {"python": platform.python_version(), **{p: importlib.metadata.version(p) for p in packages}}


@cache
def revision() -> str | None:
    """The git revision of the source, with ``+`` if tracked files were changed; None outside a checkout."""
    root = Path(rcproof.__file__).resolve().parents[1]

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True, timeout=30)
        return done.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root:
            return None
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "rcproof")
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def set_threads(count: int) -> None:
    """The number of threads of each run."""
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)
