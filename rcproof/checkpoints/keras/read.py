"""Keras files of every age as plain data."""

from __future__ import annotations

from rcproof.checkpoints.imported import ReadOptions
from rcproof.checkpoints.keras.model import KerasModel
from rcproof.files import PathLike


def read_keras_model(path: PathLike, options: ReadOptions | None = None) -> KerasModel:
    """The network in a Keras file, with its weights, as plain data."""
    raise NotImplementedError
