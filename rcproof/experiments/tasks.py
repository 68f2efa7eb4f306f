"""The tasks: a data set, the network for it, and how it is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any

from rcproof.errors import RcproofError
from rcproof.experiments import binary, profile
from rcproof.experiments.dataset import Action, Data, fraction_of
from rcproof.experiments.registry import provenance
from rcproof.experiments.scores import Labels, Objective, Profiles
from rcproof.experiments.simulate import NOISE
from rcproof.experiments.training import Settings

#: The paper's seeds.
SEEDS = (1535, 1780, 2143, 3578, 4652, 6117, 6806, 7626, 9295, 9999)
#: A warm start and its controls train for so many more epochs, at a tenth of the learning rate.
STARTED: dict[str, Any] = {"epochs": 20, "patience": None, "lr": 1e-4}
#: Steps after which batch norm's statistics hold less than a hundredth of their start (.99 ** 500 = .007). On small
#: sets the validation loss rises before, while AuROC rises too, and early stopping would end a run after 11 epochs.
SETTLED = 500


@dataclass(frozen=True)
class Task:
    """One task.

    Attributes:
        kind: which of the paper's networks: ``simulated``, ``binary`` or ``profile``.
        sizes: arguments of that network.
        load: reads the data.
        files: what it reads, by name in the registry.
        settings: the training of every strategy; ``augment`` is how strategies with augmentation do it.
        stranded: of a profile task, whether ρ swaps strands, or only reverses.
        noise: probability with which training labels are flipped.
        like: the tasks of the paper that it can be compared with, and how far.
        own_sha256: hashes of a user's own files.
    """

    name: str
    kind: str
    about: str
    sizes: dict[str, Any]
    load: Callable[[], Data]
    files: tuple[str, ...]
    settings: Settings
    stranded: bool = True
    noise: float = 0.0
    like: str | None = None
    own_sha256: dict[str, str] = field(default_factory=dict)

    @property
    def action(self) -> Action:
        """How ρ acts on the task's inputs and targets."""
        if self.kind != "profile":
            return Action.of(("reversal",), ("fixed",))
        inputs = ("reversal", "fixed", "length") if self.sizes["n_control"] else ("reversal",)
        return Action.of(inputs, ("reversal" if self.stranded else "length",))

    def objective(self, data: Data, probabilities: bool = False) -> Objective:
        """Its loss and metrics."""
        if self.kind == "profile":
            return Profiles(self.stranded, data.facts["counts_weight"])
        return Labels(probabilities)

    def settings_for(self, augment: bool, started: bool) -> Settings:
        """How a strategy is trained on it.

        A warm start's control with augmentation adds reverse complements to each batch, so that all warm starts make
        equally many steps on equally many strands.
        """
        how = ("batch" if started else self.settings.augment) if augment else "none"
        return replace(self.settings, augment=how, **(STARTED if started else {}))

    @property
    def sha256(self) -> dict[str, str]:
        """The hashes of what it reads."""
        return {**provenance(self.files), **self.own_sha256}


#: 160 epochs and batches of 100 are the paper's; its epochs were 50 batches, ours are passes over the training set. It
#: trained to the end, we stop as in the simulated tasks.
BINARY_SETTINGS = Settings(batch=100, epochs=160, settle=SETTLED, augment="batch")
PROFILE_SETTINGS = Settings(batch=64, epochs=200, augment="batch")
BPNET = {"filters": 16, "dilated_layers": 6}


def _simulated(length: int) -> Task:
    return Task(
        f"sim_{length}", "simulated", f"three motifs in random DNA, {length} bp, a fifth of the training labels wrong",
        {"length": length, "tasks": 3}, partial(binary.load_simulated, length, 0.0), (binary.MOTIF_FILE,),
        Settings(settle=SETTLED, augment="dataset"), noise=NOISE, like=f"sim_{length}",
    )  # fmt: skip


def _gue(number: int) -> Task:
    parts = tuple(f"binary/gue_tf/tf{number}_{part}.csv.gz" for part in ("train", "dev", "test"))
    return Task(
        f"tf{number}", "binary", f"human TF ChIP-seq, set {number} of GUE, 101 bp", {"length": 101},
        partial(binary.load_gue, number), parts, BINARY_SETTINGS,
    )  # fmt: skip


def _peaks(factor: str) -> Task:
    return Task(
        factor, "binary", f"{factor} ChIP-seq peaks against H3K27ac background, 400 bp", {"length": 400},
        partial(binary.load_peaks, factor), (f"binary/chipseq_400bp/{factor}_400_h3k27ac.h5",), BINARY_SETTINGS,
    )  # fmt: skip


def _bound(name: str, stem: str) -> Task:
    return Task(
        name, "binary", f"{name} bound sequences against their dinucleotide shuffles, 100 bp", {"length": 100},
        partial(binary.load_bound, stem), (f"binary/ctcf_pu1/{stem}.fa.gz",), BINARY_SETTINGS, like=name,
    )  # fmt: skip


def _chipexo(factor: str) -> Task:
    return Task(
        factor, "binary", f"yeast {factor} ChIP-exo peaks against genomic windows of equal GC, 1000 bp",
        {"length": 1000}, partial(binary.load_chipexo, factor),
        (f"binary/yeast_chipexo/{factor}_CX.bed", binary.GENOME_FILE), BINARY_SETTINGS,
    )  # fmt: skip


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        _simulated(200),
        _peaks("IRF1"),
        _peaks("ZBED2"),
        _chipexo("Reb1"),
        _chipexo("Abf1"),
        *(_gue(i) for i in range(5)),
        _simulated(1000),
        _bound("CTCF", "ctcf"),
        _bound("SPI1", "pu1"),
        Task("stripe", "profile", "yeast STRIPE-seq transcription starts, stranded, 500 bp from 846",
             {"length": 846, **BPNET, "n_control": 0}, profile.load_stripe,
             (profile.STRIPE_FILE, binary.GENOME_FILE), PROFILE_SETTINGS),
        Task("atac", "profile", "yeast ATAC-seq cut sites, unstranded, 500 bp from 846; mappability as control track",
             {"length": 846, **BPNET, "n_control": 2}, profile.load_atac,
             (profile.ATAC_FILE, binary.GENOME_FILE), PROFILE_SETTINGS, stranded=False),
    )
}  # fmt: skip


def task(name: str) -> Task:
    """A task by name; raises :class:`~rcproof.errors.RcproofError` for an unknown one."""
    if name not in TASKS:
        raise RcproofError("task", got=repr(name), expected=", ".join(TASKS))
    return TASKS[name]


def data_of(found: Task, fraction: float = 1.0, noise: float | None = None) -> Data:
    """The data of a task: a part of its training set, and noise on its training labels (None: the task's own).

    Raises :class:`~rcproof.errors.RcproofError` for noise on a task without labels.
    """
    noise = found.noise if noise is None else noise
    if found.kind == "profile" and noise:
        raise RcproofError("label noise", got=noise, expected="a task with labels")
    data = binary.noisy(_loaded(_Key(found)), noise)
    if fraction == 1.0:
        return data
    return Data(fraction_of(data.train, fraction), data.valid, data.test, data.sha256, data.facts)


class _Key:
    """A task as a key of the cache: by its name and what it reads."""

    def __init__(self, found: Task) -> None:
        self.task, self.key = found, (found.name, *sorted(found.sha256.items()))

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.key == self.key


@lru_cache(maxsize=2)
def _loaded(key: _Key) -> Data:
    data = key.task.load()
    return replace(data, facts={**data.facts, "tensors_sha256": binary.made_hash(data)})
