"""Files as Keras 0 and 1 wrote them, made by hand, since no Keras of today can."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Arrays = list[tuple[str, Array]]
#: A layer: its class, its arguments, and its arrays in the order of Keras, by the ends of their names.
Layer = tuple[str, dict[str, Any], Arrays]


def write(
    folder: Path,
    layers: Sequence[Layer],
    shape: Sequence[int | None],
    version: str | None = "1.1.1",
    suffix: str = "",
    names: Mapping[int, str] | None = None,
) -> tuple[Path, Path]:
    """Weights and JSON of a Sequential of Keras 1; ``suffix`` follows the names of arrays, as TensorFlow's ``:0``."""
    import h5py

    described = []
    path = folder / "weights.h5"
    with h5py.File(path, "w") as file:
        for i, (kind, config, arrays) in enumerate(layers):
            name = (names or {}).get(i, f"{kind.lower()}_{i + 1}")
            first = {"batch_input_shape": [None, *shape]} if i == 0 else {}
            described.append({"class_name": kind, "config": {**config, **first, "name": name}})
            group = file.create_group(name)
            group.attrs["weight_names"] = np.array([f"{name}_{end}{suffix}".encode() for end, _ in arrays], dtype="S60")
            for end, array in arrays:
                group[f"{name}_{end}{suffix}"] = array
        file.attrs["layer_names"] = np.array([d["config"]["name"].encode() for d in described], dtype="S60")
    told = {} if version is None else {"keras_version": version}
    (folder / "model.json").write_text(json.dumps({"class_name": "Sequential", "config": described, **told}))
    return path, folder / "model.json"


def draw(rng: np.random.Generator, *shape: int) -> Array:
    """An array of a layer."""
    return rng.standard_normal(shape).astype(np.float32)


def gates(rng: np.random.Generator, order: str, channels: int, units: int) -> Arrays:
    """The arrays of a recurrent layer, three a gate."""
    made: Arrays = []
    for gate in order:
        made += [
            (f"W_{gate}", draw(rng, channels, units)),
            (f"U_{gate}", draw(rng, units, units)),
            (f"b_{gate}", draw(rng, units)),
        ]
    return made
