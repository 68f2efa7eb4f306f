"""``.h5``: a full model of Keras 2.2.4 whose layers are keras-genomics', for networks that have that form.

The layers of strand pairs are ``RevCompConv1D``, ``RevCompConv1DBatchNorm``, ``DenseAfterRevcompConv1D``,
``DenseAfterRevcompWeightedSum``, ``WeightedSum1D`` of keras-genomics and ``RevCompSumPool`` of the paper's code; all
others are Keras's own, and none holds code. Whoever loads the file gives the classes as ``custom_objects``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rcproof.checkpoints.exporting.keras_genomics_graph import keras_graph
from rcproof.checkpoints.exporting.keras_genomics_values import KerasGraph, Place
from rcproof.checkpoints.exporting.prepared import Prepared, Written, check_outputs, check_tensors, short_name
from rcproof.errors import CheckpointError
from rcproof.files import replacing
from rcproof.verify import Check, Report

KERAS_VERSION = "2.2.4"

#: Attributes lie in the header of an object, which holds this many bytes; Keras cuts longer lists of names.
LONGEST_NAMES = 64512


def write_keras_genomics(prepared: Prepared, path: Path) -> Written:
    """Write in float32, which is what Keras computes in, read back, compare.

    Strand pairs are stacked in the file whatever the layout asked for, and inputs have the stated length: whether
    windows centre, and what flattening lists, depends on it. Raises :class:`~rcproof.errors.RcproofError` for a network
    without such a form, naming the step.
    """
    h5py = _h5py()
    notes = [f"the file takes inputs of shape {', '.join(map(_keras_shape, prepared.shapes))} only"]
    if prepared.dtype != torch.float32:
        notes.append(f"weights are {short_name(prepared.dtype)} in the source and float32 in the file")
    graph, outputs, more = keras_graph(
        prepared.network, prepared.example(1), prepared.input_names, prepared.output_names
    )
    classes = sorted({layer.kind for layer in graph.layers.values()} & CUSTOM)
    if classes:
        notes.append(f"Keras loads it with custom_objects for {', '.join(classes)}")
    with replacing(path) as temporary:
        with h5py.File(temporary, "w") as file:
            _write(file, graph, outputs, prepared)
        reports = _compared(prepared, graph, temporary)
    return Written((path,), "float32", True, False, tuple(reports), (*notes, *more))


#: Classes that are not Keras's own.
CUSTOM = {
    *("RevCompConv1D", "RevCompConv1DBatchNorm", "DenseAfterRevcompConv1D", "DenseAfterRevcompWeightedSum"),
    *("WeightedSum1D", "RevCompSumPool"),
}


def _h5py() -> Any:
    try:
        import h5py
    except ImportError:
        raise CheckpointError(
            "writing Keras files needs a package that is missing", got="h5py", fix="pip install 'rcproof[keras]'"
        ) from None
    return h5py


def _keras_shape(shape: Sequence[int]) -> str:
    return f"(N, {', '.join(map(str, shape[::-1]))})"


def _write(file: Any, graph: KerasGraph, outputs: Sequence[Place], prepared: Prepared) -> None:
    said = {"keras_version": KERAS_VERSION, "backend": "tensorflow"}
    for key, text in (said | {"model_config": json.dumps(graph.config(outputs))}).items():
        file.attrs[key] = text
    for key, text in prepared.metadata().items():
        file.attrs[f"rcproof_{key}"] = text
    weights = file.create_group("model_weights")
    for key, text in said.items():
        weights.attrs[key] = text
    _names(weights, "layer_names", list(graph.layers))
    for name, layer in graph.layers.items():
        group = weights.create_group(name)
        _names(group, "weight_names", [f"{name}/{role}:0" for role in layer.weights])
        for role, array in layer.weights.items():
            group.create_dataset(f"{name}/{role}:0", data=array)


def _names(group: Any, key: str, names: Sequence[str]) -> None:
    """A list of names as Keras writes it: in one attribute, or cut into ``key0``, ``key1`` and so on."""
    texts = np.array([name.encode("ascii") for name in names], dtype=f"S{max(map(len, names), default=1)}")
    if texts.nbytes <= LONGEST_NAMES:
        group.attrs[key] = texts
        return
    for i, part in enumerate(np.array_split(texts, -(-texts.nbytes // LONGEST_NAMES) + 1)):
        group.attrs[f"{key}{i}"] = part


def _compared(prepared: Prepared, graph: KerasGraph, path: Path) -> list[Report]:
    """The file as our reader finds it: its arrays, and what the network that it makes of them gives."""
    from rcproof.checkpoints.keras.build import build
    from rcproof.checkpoints.keras.read import read_keras_model

    model = read_keras_model(path)
    expected = {
        f"{name}.{role}": torch.from_numpy(array)
        for name, layer in graph.layers.items()
        for role, array in layer.weights.items()
    }
    found = {
        f"{name}.{role}": torch.from_numpy(np.ascontiguousarray(array))
        for name, spec in model.layers.items()
        for role, array in spec.weights.items()
    }
    tensors = check_tensors(expected, found)
    if not expected:
        tensors = Report("tensors", (Check.of("no layer has weights", 0.0, 0.0),))
    network, _, _ = build(model)
    outputs = check_outputs(prepared, lambda xs: network(*(x.cpu() for x in xs)), (), torch.float32)
    return [report.raise_if_failed() for report in (tensors, *outputs)]
