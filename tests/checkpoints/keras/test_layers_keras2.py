"""Every ordinary layer and option against tf-keras, through an ``.h5`` file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.checkpoints.keras.branches import SHAPES, branches
from tests.checkpoints.keras.oracles import agree, keras2, networks

CASES = [(family, shape) for family, shapes in SHAPES.items() for shape in shapes]


@pytest.mark.parametrize(("family", "shape"), CASES)
def test_layers_compute_what_tf_keras_computes(family: str, shape: tuple[int | None, ...], tmp_path: Path) -> None:
    keras = keras2()
    found = branches(family, keras, shape)
    agree(networks(keras, shape, found), tmp_path, ".h5", list(found))
