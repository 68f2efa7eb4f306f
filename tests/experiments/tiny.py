"""Tasks small enough to train in a moment. Importable, since worker processes load them by name."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from rcproof.experiments import simulate as simulation
from rcproof.experiments.dataset import SPLITS, Data, Split, one_hot_codes
from rcproof.experiments.tasks import Task
from rcproof.experiments.training import Settings

MOTIFS = [np.eye(4)[[0, 1, 1, 2, 0, 3]], np.eye(4)[[2, 2, 0, 3, 3, 0]]]
COUNTS = {"train": 96, "valid": 64, "test": 64}


def load_tiny(length: int) -> Data:
    """Two motifs of six bases in random DNA."""
    total = sum(COUNTS.values())
    rng = np.random.default_rng(7)
    made = simulation.simulate(MOTIFS, total // 2, length, rng)
    order = rng.permutation(total)
    splits, begin = {}, 0
    for name in SPLITS:
        rows = order[begin : begin + COUNTS[name]]
        codes, labels = torch.from_numpy(made.codes[rows]), torch.from_numpy(made.labels[rows])
        splits[name] = Split((one_hot_codes(codes),), (labels,))
        begin += COUNTS[name]
    return Data.of(splits)


def load_one_label(length: int) -> Data:
    """The same with one label."""
    data = load_tiny(length)
    return Data.of({n: Split(data.split(n).inputs, (data.split(n).targets[0][:, :1],)) for n in SPLITS})


def load_profiles(stranded: bool, control: bool) -> Data:
    """Random counts about random DNA."""
    generator = torch.Generator().manual_seed(3)
    splits = {}
    for name in SPLITS:
        codes = torch.randint(0, 4, (40, 60), generator=generator).to(torch.uint8)
        counts = torch.poisson(torch.full((40, 2 if stranded else 1, 36), 2.0), generator=generator)
        inputs: tuple[torch.Tensor, ...] = (one_hot_codes(codes),)
        if control:
            inputs += (torch.rand(40, 1, generator=generator), torch.rand(40, 2, 36, generator=generator))
        splits[name] = Split(inputs, (counts,))
    return Data.of(splits, facts={"counts_weight": 3.0})


SIMULATED = Task(
    "tiny", "simulated", "two motifs",
    {"length": 60, "filters": 4, "kernel_size": 7, "pool_size": 6, "pool_stride": 6, "tasks": 2},
    partial(load_tiny, 60), (), Settings(batch=32, epochs=3, augment="dataset"),
)  # fmt: skip
BINARY = Task(
    "tiny-binary", "binary", "one motif", {"length": 101, "filters": 4}, partial(load_one_label, 101), (),
    Settings(batch=32, epochs=2, augment="batch"),
)  # fmt: skip
_BPNET = {"length": 60, "filters": 4, "conv_kernel_size": 5, "dilated_layers": 2, "profile_kernel_size": 9}
STRANDED = Task(
    "tiny-stranded", "profile", "counts", {**_BPNET, "n_control": 0}, partial(load_profiles, True, False), (),
    Settings(batch=16, epochs=2, augment="batch"),
)  # fmt: skip
UNSTRANDED = Task(
    "tiny-unstranded", "profile", "counts", {**_BPNET, "n_control": 2}, partial(load_profiles, False, True), (),
    Settings(batch=16, epochs=2, augment="batch"), stranded=False,
)  # fmt: skip
TINY = (SIMULATED, BINARY, STRANDED, UNSTRANDED)
