"""Layers of Keras 0 and 1, whose names and weights differ from those of Keras 2."""

from __future__ import annotations

from typing import Any

from rcproof.checkpoints.keras.roles import Role


def old_roles(kind: str, config: dict[str, Any]) -> list[Role] | None:
    """The arrays of a layer of Keras 0 or 1, in its own order; None for a kind that Keras 2 has too."""
    return None
