"""Small good files of Keras, to be spoilt; and how they are refused."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rcproof.checkpoints.imported import ReadOptions
from rcproof.checkpoints.keras.read import read_keras_model
from rcproof.errors import CheckpointError

Document = dict[str, Any]


def config() -> Document:
    """A functional network of Keras 2 with a nested one."""

    def layer(kind: str, name: str, nodes: list[Any], **more: Any) -> Document:
        return {"class_name": kind, "name": name, "config": {"name": name, **more}, "inbound_nodes": nodes}

    inner = [
        layer("InputLayer", "i", [], batch_input_shape=[None, 4]),
        layer("Dense", "d", [[["i", 0, 0, {}]]], units=4, activation="relu", use_bias=True),
    ]
    return {
        "class_name": "Functional",
        "keras_version": "2.4.0",
        "config": {
            "name": "net",
            "layers": [
                layer("InputLayer", "x", [], batch_input_shape=[None, 4]),
                {
                    **layer("Functional", "inner", [[["x", 0, 0, {}]], [["inner", 1, 0, {}]]]),
                    "config": {
                        "name": "inner",
                        "layers": inner,
                        "input_layers": [["i", 0, 0]],
                        "output_layers": [["d", 0, 0]],
                    },
                },
                layer("Dense", "out", [[["inner", 2, 0, {"training": False}]]], units=2, use_bias=False),
            ],
            "input_layers": [["x", 0, 0]],
            "output_layers": [["out", 0, 0]],
        },
    }


ARRAYS = {
    "inner": {"d/kernel:0": np.arange(16, dtype="f4").reshape(4, 4), "d/bias:0": np.arange(4, dtype="f4")},
    "out": {"out/kernel:0": np.arange(8, dtype="f4").reshape(4, 2)},
}


def write(path: Path, document: Document | str | None = None, change: Callable[[Any], Any] | None = None) -> Path:
    """A full model in HDF5; ``change`` is given the open file."""
    import h5py

    with h5py.File(path, "w") as file:
        text = document if isinstance(document, str) else json.dumps(config() if document is None else document)
        if len(text) < 60_000:
            file.attrs["model_config"] = text
        else:
            kind = h5py.string_dtype()
            file.attrs.create("model_config", text, dtype=kind)
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [b"x", b"inner", b"out"]
        group.attrs["keras_version"], group.attrs["backend"] = "2.4.0", "tensorflow"
        group.create_group("x").attrs["weight_names"] = np.zeros(0, "S1")
        for name, arrays in ARRAYS.items():
            inside = group.create_group(name)
            inside.attrs["weight_names"] = [n.encode() for n in arrays]
            for n, array in arrays.items():
                inside[n] = array
        if change is not None:
            change(file)
    return path


def refusal(path: Path, **options: Any) -> str:
    """The one line with which a file is refused."""
    with pytest.raises(CheckpointError) as error:
        read_keras_model(path, ReadOptions(**options))
    assert "\n" not in str(error.value)
    return str(error.value)


def layers(document: Document) -> list[Any]:
    return document["config"]["layers"]


# -- archives
def packed(path: Path, entries: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as made:
        for name, text in entries:
            if name in made.namelist():
                with pytest.warns(UserWarning, match="Duplicate name"):
                    made.writestr(name, text)
            else:
                made.writestr(name, text)
    return path


def weights(folder: Path) -> bytes:
    """Weights by paths for the network above."""
    import h5py

    path = folder / "w.h5"
    with h5py.File(path, "w") as file:
        file["layers/functional/layers/dense/vars/0"] = ARRAYS["inner"]["d/kernel:0"]
        file["layers/functional/layers/dense/vars/1"] = ARRAYS["inner"]["d/bias:0"]
        file["layers/dense/vars/0"] = ARRAYS["out"]["out/kernel:0"]
    return path.read_bytes()
