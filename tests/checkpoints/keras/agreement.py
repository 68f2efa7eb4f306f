"""Kerases to compare with: networks are made, saved and run by them, read here, and must agree."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rcproof.checkpoints.imported import Imported, ReadOptions
from rcproof.checkpoints.keras import read_keras
from tests.checkpoints.keras.hand_built import Array, close

#: float32 on both sides.
TOLERANCE = 1e-5


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings of other packages, which are no business of ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def import_keras(age: int) -> Any:
    """tf_keras (``age`` 2), or Keras 3 on torch."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "torch")
    with quiet():
        name = "tf_keras" if age == 2 else "keras"
        return pytest.importorskip(name, reason=f"the oracle for Keras {age} files is {name}")


def save(model: Any, path: Path) -> Path:
    with quiet():
        model.save(str(path))
    return path


def predict(model: Any, *inputs: Array) -> list[Array]:
    """What Keras gives, with weights that have been drawn anew."""
    with quiet():
        found = model(
            [x if x.dtype.kind == "i" else x.astype(np.float32) for x in inputs] if len(inputs) > 1 else inputs[0]
        )
    found = found if isinstance(found, list | tuple) else [found]
    return [np.asarray(y.detach() if isinstance(y, torch.Tensor) else y) for y in found]


def redraw(model: Any, seed: int = 0, scale: float = 0.5) -> Any:
    """Random weights in place of the initial ones, where a bias of 0 hides mistakes; variances stay positive."""
    rng = np.random.default_rng(seed)
    drawn = [rng.standard_normal(w.shape) * scale for w in model.get_weights()]
    names = [getattr(w, "path", w.name) for w in model.weights]
    model.set_weights([np.abs(v) + 0.5 if "variance" in n else v for n, v in zip(names, drawn, strict=True)])
    return model


def agree(
    model: Any, path: Path, *inputs: Array, options: ReadOptions | None = None, tolerance: float = TOLERANCE
) -> Imported:
    """Save, read and compare; what was read comes back."""
    want = predict(model, *inputs)
    found = read_keras(save(model, path), options)
    outputs(found, inputs, want, tolerance)
    return found


def outputs(found: Imported, inputs: Sequence[Array], want: Sequence[Array], tolerance: float = TOLERANCE) -> None:
    """What was read gives what is wanted, all arrays as Keras has them."""
    tensors = [torch.from_numpy(np.moveaxis(x, 1, -1).copy() if x.ndim == 3 else x) for x in inputs]
    with torch.no_grad():
        got = found.model(*tensors)
    got = list(got) if isinstance(got, tuple | list) else [got]
    assert len(got) == len(want)
    for y, wanted in zip(got, want, strict=True):
        y = y.numpy()
        close(np.moveaxis(y, 1, -1) if y.ndim == 3 else y, wanted, tolerance)
