"""Presets (``--arch NAME``): networks that people have, with the right representations.

For a state dict of a known class, the network is built from the shapes of the tensors, with the same keys and without
the package that the class is from. For a file that brings its network, a preset says the representations.
"""

from __future__ import annotations

from rcproof.checkpoints.presets.base import Built, Preset
from rcproof.checkpoints.presets.bpnet import BPNET_LITE, CHROMBPNET
from rcproof.checkpoints.presets.deepsea import DEEPSEA
from rcproof.checkpoints.presets.explainn import EXPLAINN
from rcproof.checkpoints.presets.factornet import FACTORNET
from rcproof.errors import CheckpointError

__all__ = ["PRESETS", "Built", "Preset", "preset"]

PRESETS: dict[str, Preset] = {p.name: p for p in (BPNET_LITE, CHROMBPNET, DEEPSEA, EXPLAINN, FACTORNET)}


def preset(name: str) -> Preset:
    """The preset of this name; :class:`~rcproof.errors.CheckpointError` with all names if there is none."""
    if name not in PRESETS:
        raise CheckpointError("--arch", got=repr(name), expected=", ".join(PRESETS))
    return PRESETS[name]
