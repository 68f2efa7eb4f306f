"""Activations, by their names in Keras."""

from __future__ import annotations

from typing import Any

from rcproof.checkpoints.keras.build import Site, Value


def activate(site: Site, activation: Any, value: Value) -> Value:
    """``value`` after an activation: a name, or ``{"class_name": …, "config": …}``."""
    raise NotImplementedError
