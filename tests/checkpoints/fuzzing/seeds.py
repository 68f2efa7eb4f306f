"""One small sound file of every format."""

from __future__ import annotations

import itertools

import torch

from tests.checkpoints.fuzzing.keras_seeds import keras_seeds
from tests.checkpoints.fuzzing.making import Danger, Seed
from tests.checkpoints.fuzzing.native_seeds import conjoined, native, network, rcps
from tests.checkpoints.fuzzing.program_seeds import exported, onnx
from tests.checkpoints.fuzzing.torch_seeds import torch_seeds


def seeds(danger: Danger) -> list[Seed]:
    """One of each format; the same ones each time."""
    torch.manual_seed(0)
    ours = [
        native("rcproof, RCPS", rcps, (4, 20), danger),
        native("rcproof, conjoined", conjoined, (4, 20), danger),
        native("rcproof, network", network, (4, 16), danger),
    ]
    return list(itertools.chain(ours, torch_seeds(danger), [exported(danger), onnx(danger)], keras_seeds(danger)))
