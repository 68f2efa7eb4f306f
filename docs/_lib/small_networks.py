"""Checkpoints as people have them, small and made on the spot, for the commands of the guide."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from rcproof.models import ProfileNet

Weights = Mapping[str, list[tuple[str, tuple[int, ...]]]]
CONV = {"filters": 8, "kernel_size": [9], "strides": [1], "padding": "valid", "activation": "relu", "use_bias": True}
POOL = {"pool_size": [4], "strides": [4], "padding": "valid"}
DENSE = {"units": 1, "activation": "sigmoid", "use_bias": True}
SHAPES: Weights = {
    "conv": [("kernel:0", (9, 4, 8)), ("bias:0", (8,))],
    "dense": [("kernel:0", (184, 1)), ("bias:0", (1,))],
}


def keras_network(folder: str = ".") -> None:
    """``model.json`` and ``weights.h5`` of a network of one strand, as Keras 2 writes them. Input (100, 4)."""
    layers = [
        _layer("Conv1D", "conv", batch_input_shape=[None, 100, 4], **CONV),
        _layer("MaxPooling1D", "pool", **POOL),
        _layer("Flatten", "flatten"),
        _layer("Dense", "dense", **DENSE),
    ]
    _write(Path(folder), "Sequential", {"name": "net", "layers": layers})


def keras_siamese(folder: str = ".") -> None:
    """The same network on both strands: inputs ``forward`` and ``reverse``, shared layers, an ``Average``."""
    layers = [_layer("InputLayer", name, calls=[], batch_input_shape=[None, 100, 4]) for name in ("forward", "reverse")]
    before = ["forward", "reverse"]
    for kind, name, config in (
        ("Conv1D", "conv", CONV),
        ("MaxPooling1D", "pool", POOL),
        ("Flatten", "flatten", {}),
        ("Dense", "dense", DENSE),
    ):
        calls = [[[source, index if source == name_of(before) else 0, 0, {}]] for index, source in enumerate(before)]
        layers.append(_layer(kind, name, calls=calls, **config))
        before = [name, name]
    layers.append(_layer("Average", "average", calls=[[["dense", 0, 0, {}], ["dense", 1, 0, {}]]]))
    config = {
        "name": "siamese",
        "layers": layers,
        "input_layers": [["forward", 0, 0], ["reverse", 0, 0]],
        "output_layers": [["average", 0, 0]],
    }
    _write(Path(folder), "Model", config)


def name_of(before: list[str]) -> str:
    """The layer that both branches come from, where it is one."""
    return before[0] if before[0] == before[1] else ""


def bpnet_with_control(path: str = "bpnet.pt") -> None:
    """The state dict of a small profile network with a control track: ``ProfileNet(filters=8, layers=2, …)``."""
    torch.manual_seed(0)
    torch.save(ProfileNet(filters=8, dilated_layers=2).state_dict(), path)


def _layer(kind: str, name: str, calls: list[Any] | None = None, **config: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"class_name": kind, "config": {"name": name, "trainable": True, **config}}
    if calls is not None:
        made |= {"name": name, "inbound_nodes": calls}
    return made


def _write(folder: Path, kind: str, config: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    document = {"class_name": kind, "config": config, "keras_version": "2.2.4", "backend": "tensorflow"}
    (folder / "model.json").write_text(json.dumps(document), encoding="utf-8")
    draw = np.random.default_rng(0)
    names = [layer["config"]["name"] for layer in config["layers"]]
    with h5py.File(folder / "weights.h5", "w") as file:
        file.attrs["layer_names"] = [n.encode() for n in names]
        file.attrs["keras_version"], file.attrs["backend"] = b"2.2.4", b"tensorflow"
        for name in names:
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{name}/{w}".encode() for w, _ in SHAPES.get(name, [])]
            for weight, shape in SHAPES.get(name, []):
                group.create_dataset(f"{name}/{weight}", data=(0.3 * draw.standard_normal(shape)).astype("float32"))
