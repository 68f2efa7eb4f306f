"""Keras files of every age as plain data: which of them a file is, and how old."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from rcproof.checkpoints.imported import ReadOptions
from rcproof.checkpoints.keras.ages import all_items, data_format, generation_of, has_deviations, old_backend
from rcproof.checkpoints.keras.archive import CONFIG, METADATA, Archive
from rcproof.checkpoints.keras.configs import parse_model
from rcproof.checkpoints.keras.conventions import Conventions
from rcproof.checkpoints.keras.documents import LONGEST, parse
from rcproof.checkpoints.keras.hdf5 import Group, is_hdf5, read_hdf5
from rcproof.checkpoints.keras.inline import Inlined
from rcproof.checkpoints.keras.model import Array, KerasModel
from rcproof.checkpoints.keras.nets import Item
from rcproof.checkpoints.keras.paths import by_paths, is_by_paths
from rcproof.checkpoints.keras.weights import by_layers
from rcproof.errors import CheckpointError
from rcproof.files import PathLike, existing


def read_keras_model(path: PathLike, options: ReadOptions | None = None) -> KerasModel:
    """The network in a Keras file, with its weights, as plain data.

    ``path``: a full model (HDF5 of Keras 1 to 3, or ``.keras``), or weights alone, whose configuration is then in
    the JSON file ``options.architecture``.

    Nothing in a file is executed, unpickled or used as a path; the code of a Lambda stays what it is, text. Raises
    :class:`~rcproof.errors.CheckpointError` for a file that is missing, damaged or too large, for a configuration
    that is none or does not fit the weights, and if h5py is not installed.
    """
    options = options or ReadOptions()
    found = existing(path)
    try:
        with found.open("rb") as handle:
            begin = handle.read(256)
        if begin.startswith(b"PK"):
            return _read_archive(found, options)
        if is_hdf5(found):
            return _read_hdf5(found, options)
    except CheckpointError:
        raise
    except Exception as error:  # whatever arguments that nobody checked lead to
        text = str(error).splitlines()
        raise CheckpointError(
            f"{str(path)!r} is damaged", got=f"{type(error).__name__}: {text[0][:200] if text else ''}"
        ) from None
    if begin.lstrip().startswith((b"{", b'"', b"class_name:", b"backend:")):
        raise CheckpointError(
            f"{str(path)!r} is a configuration without weights",
            fix=f"give the file of weights, and this one beside it: --architecture {found.name}",
        )
    raise CheckpointError(f"{str(path)!r} is no file of Keras", expected="HDF5, or a zip archive (.keras)")


def _read_archive(path: Path, options: ReadOptions) -> KerasModel:
    if options.architecture is not None:
        raise CheckpointError(f"{str(path)!r} has a configuration of its own", fix="leave --architecture out")
    with Archive(path) as archive:
        config = parse(archive.text(CONFIG) or b"", f"{CONFIG!r} in {str(path)!r}")
        told = archive.text(METADATA)
        metadata = parse(told, f"{METADATA!r} in {str(path)!r}") if told is not None else {}
        with archive.weights() as weights:
            file = read_hdf5(weights, f"the weights in {str(path)!r}")
    return _assemble(config, file, {"keras_version": metadata.get("keras_version")}, "zip archive")


def _read_hdf5(path: Path, options: ReadOptions) -> KerasModel:
    file = read_hdf5(path)
    text = file.attrs.get("model_config")
    if options.architecture is not None:
        if text is not None:
            raise CheckpointError(f"{str(path)!r} has a configuration of its own", fix="leave --architecture out")
        text = _architecture(options.architecture)
    if not isinstance(text, str | bytes):
        raise CheckpointError(
            f"{str(path)!r} holds weights but does not say what network they belong to",
            fix="give its configuration: --architecture model.json",
        )
    config = parse(text, f"the configuration of {str(path)!r}")
    return _assemble(config, file.groups.get("model_weights", file), file.attrs, "HDF5")


def _architecture(path: PathLike) -> bytes:
    found = existing(path, "configuration")
    try:
        if found.stat().st_size > LONGEST:
            raise CheckpointError(f"configuration {str(path)!r} is too large", expected=f"at most {LONGEST} bytes")
        text = found.read_bytes()
    except OSError as error:
        raise CheckpointError(f"configuration {str(path)!r} cannot be read", got=error.strerror) from None
    if not text.lstrip().startswith((b"{", b'"')):
        raise CheckpointError(
            f"configuration {str(path)!r} is no JSON",
            got="YAML, by its first line" if re.match(rb"\s*[a-z_]+:", text) else None,
            expected="what to_json of Keras writes",
        )
    return text


# -- one network of one age -----------------------------------------------------------------------------------------
def _assemble(config: dict[str, Any], file: Group, attrs: dict[str, Any], container: str) -> KerasModel:
    net, _ = parse_model(config)
    items = list(all_items(net))
    told, stated = str(config.get("keras_version") or ""), attrs.get("keras_version") or file.attrs.get("keras_version")
    version = str(stated or told)
    if stated and told and (version[:1] < "2") != (told[:1] < "2"):
        raise CheckpointError("weights and configuration", got=f"of Keras {version} and {told}", expected="one age")
    generation = generation_of(version, items, file)
    notes: list[str] = []
    backend = str(attrs.get("backend") or file.attrs.get("backend") or config.get("backend") or "").lower()
    if not backend and generation < 2:
        backend, why = old_backend(generation, file)
        notes.append(f"the file does not say what Keras ran on; {backend.capitalize()}, by {why}")
    std = has_deviations(generation, version)
    conventions = Conventions(generation, backend, std, data_format(items))
    weights = by_paths(net, file) if is_by_paths(file) else by_layers(net, file, generation)
    floats = {array.dtype for arrays in weights.values() for array in arrays.values() if array.dtype.kind == "f"}
    double = floats == {np.dtype("<f8")}

    def arrays(item: Item) -> dict[str, Array]:
        # One precision for all, since torch does not mix them. Single precision holds half precision exactly.
        mine = weights.get(id(item), {})
        return {k: v if double or v.dtype.kind != "f" else v.astype(np.float32, copy=False) for k, v in mine.items()}

    whole = Inlined(net, lambda item, name: conventions.finish(item, name, arrays))
    return KerasModel(
        layers=whole.layers,
        calls=whole.calls,
        inputs=whole.inputs,
        outputs=whole.outputs,
        generation=generation,
        version=version or f"{generation}.x",
        backend=backend or "backend not told",
        container=container,
        notes=tuple(notes),
    )
