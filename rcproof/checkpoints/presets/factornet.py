"""FactorNet: a siamese Keras network that takes both strands, with tracks beside the bases."""

from __future__ import annotations

from collections.abc import Sequence

from rcproof.checkpoints.presets.base import Preset, Representations, Shape
from rcproof.errors import CheckpointError


def sequence_representation(channels: int) -> str:
    """One-hot ACGT, then tracks that ρ reverses in length only: bigWig signals have no strand."""
    tracks = range(4, channels)
    return f"perm:3,2,1,0,{','.join(map(str, tracks))}" if tracks else "reversal"


def _factornet(shapes: Sequence[Shape]) -> Representations:
    """Forward and reverse complement, of shape (4 + tracks, L) both, and perhaps metadata (M,), fixed."""
    sequences = [s for s in shapes if len(s) == 2]
    if len(sequences) != 2 or sequences[0] != sequences[1] or sequences[0][0] < 4 or len(shapes) > 3:
        raise CheckpointError(
            "--arch factornet: inputs of the file",
            got=", ".join(map(str, shapes)),
            expected="two of one shape (4 + tracks, L), channels first, and perhaps a vector of metadata",
        )
    return tuple(sequence_representation(s[0]) if len(s) == 2 else "fixed" for s in shapes), ("fixed",)


FACTORNET = Preset(
    "factornet",
    "FactorNet (Keras): both strands with bigWig tracks and perhaps metadata, through shared layers, then averaged",
    say=_factornet,
)
