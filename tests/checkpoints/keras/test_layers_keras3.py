"""Every ordinary layer against Keras 3 on its torch backend, through ``.keras`` files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.checkpoints.keras.branches import FIRST, SHAPES, branches
from tests.checkpoints.keras.oracles import agree, keras3, networks

# One shape a family: what the second ones add is the same for both Kerases.
CASES = [(family, shapes[-1]) for family, shapes in SHAPES.items() if family != "other on torch"]
CASES += [(family, shape) for family, shapes in FIRST.items() for shape in shapes]


@pytest.mark.parametrize(("family", "shape"), CASES)
def test_layers_compute_what_keras_3_computes(family: str, shape: tuple[int | None, ...], tmp_path: Path) -> None:
    keras = keras3()
    found = branches(family, keras, shape)
    agree(networks(keras, shape, found), tmp_path, ".keras", list(found))


def test_what_keras_computes_otherwise_on_torch_is_so_for_files_that_name_torch(tmp_path: Path) -> None:
    keras = keras3()
    found = branches("other on torch", keras)
    agree(networks(keras, (23, 6), found), tmp_path, ".h5", list(found))
