"""Keras files of every age as plain data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rcproof.checkpoints.imported import ReadOptions
from rcproof.checkpoints.keras.configs import parse_model
from rcproof.checkpoints.keras.conventions import finish
from rcproof.checkpoints.keras.documents import parse
from rcproof.checkpoints.keras.hdf5 import Group, is_hdf5, read_hdf5
from rcproof.checkpoints.keras.inline import Inlined
from rcproof.checkpoints.keras.model import KerasModel
from rcproof.checkpoints.keras.weights import by_layers
from rcproof.errors import CheckpointError
from rcproof.files import PathLike, existing


def read_keras_model(path: PathLike, options: ReadOptions | None = None) -> KerasModel:
    """The network in a Keras file, with its weights, as plain data."""
    options = options or ReadOptions()
    found = existing(path)
    if not is_hdf5(found):
        raise CheckpointError(f"{str(path)!r}", expected="an HDF5 file of Keras")
    file = read_hdf5(found)
    text = file.attrs.get("model_config")
    if options.architecture is not None:
        text = existing(options.architecture, "configuration").read_text()
    if not isinstance(text, str):
        raise CheckpointError(
            f"{str(path)!r} holds weights but does not say what network they belong to",
            fix="give its configuration: --architecture model.json",
        )
    return _assemble(parse(text, "the configuration"), file.groups.get("model_weights", file), Path(found))


def _assemble(config: dict[str, Any], file: Group, path: Path) -> KerasModel:
    net, _ = parse_model(config)
    version = str(file.attrs.get("keras_version", config.get("keras_version", "")))
    generation = int(version[0]) if version[:1] in ("1", "2", "3") else 2
    weights = by_layers(net, file, generation)
    whole = Inlined(net, lambda item, name: finish(item, name, weights, generation))
    backend = str(file.attrs.get("backend", config.get("backend", "tensorflow")))
    return KerasModel(whole.layers, whole.calls, whole.inputs, whole.outputs, generation, version, backend, "HDF5")
