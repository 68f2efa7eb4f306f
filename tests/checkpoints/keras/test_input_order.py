"""Inputs come in the order of the file, whatever the order in which its layers are called."""

from __future__ import annotations

import numpy as np
import torch

from rcproof.checkpoints.keras.build import build
from rcproof.checkpoints.keras.model import Call, KerasModel, LayerSpec, Source


def test_inputs_in_the_order_of_the_file() -> None:
    kernel = np.arange(6, dtype="float32").reshape(2, 3)
    layers = {
        "late": LayerSpec("late", "InputLayer", {"shape": (2,)}),
        "early": LayerSpec("early", "InputLayer", {"shape": (3,)}),
        "dense": LayerSpec("dense", "Dense", {"units": 3, "use_bias": False}, {"kernel": kernel}),
        "add": LayerSpec("add", "Add", {}),
    }
    calls = [
        Call("early", ()),
        Call("late", ()),
        Call("dense", (Source(1),)),
        Call("add", (Source(0), Source(2))),
    ]
    model = KerasModel(layers, calls, (1, 0), (Source(3),), 2, "2.2.4", "tensorflow", "HDF5")
    network, inputs, _ = build(model)
    assert [value.shape for value in inputs] == [(2,), (3,)]
    x, y = torch.randn(4, 2), torch.randn(4, 3)
    torch.testing.assert_close(network(x, y), y + x @ torch.from_numpy(kernel))
