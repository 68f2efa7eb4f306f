"""Layers with arguments of any content: a network that runs and has the shape it claims, or a CheckpointError."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

import rcproof.checkpoints.keras.layers  # noqa: F401 (registers every family)
from rcproof.checkpoints.keras.build import LAYERS, build
from rcproof.errors import CheckpointError
from tests.checkpoints.keras.hand_built import Graph, draw

FAMILIES = (
    *("activations", "convolution", "dense", "dropout", "merging", "normalization", "padding", "pooling"),
    "reshaping",
)
MERGES = ("Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Subtract")
VALUES: list[Any] = [
    *(None, True, False, 0, 1, 2, 3, 5, -1, -7, 10**12, 2**63, 1.5, float("nan"), float("inf"), "", "x", b"x"),
    *("same", "valid", "causal", "channels_first", "relu", [], {}, (1, 2), [1], [2, 2], [1, 2, 3], [-1], [None], ["a"]),
    *([4, -1], [0, 4], [[0, 0], [1, 1]], [[1], [2]], [10**9, 10**9], [10**6, -1]),
    *({"class_name": "ReLU"}, {"class_name": "ReLU", "config": {"max_value": "x"}}, {"class_name": 3, "config": [1]}),
]
KEYS = (
    "strides padding dilation_rate groups use_bias activation data_format pool_size cropping size axis epsilon "
    "momentum scale center mode target_shape dims n rate alpha max_value negative_slope threshold theta "
    "output_padding keepdims mean variance invert offset interpolation rms_scaling"
)
ROLES = "kernel bias depthwise_kernel pointwise_kernel gamma beta moving_mean moving_variance alpha scale mean variance"
SHAPES: list[tuple[int | None, ...]] = [(12, 4), (4, 12), (None, 4), (6,), (1, 12, 4), (4, 12, 1), (12, 4, 1), ()]
WEIGHTS = [
    *((4,), (3,), (6,), (12,), (3, 4, 3), (4, 3), (1, 12, 4), (3, 1, 4, 3), (1, 3, 4, 3), (4, 3, 1, 3), (0, 4, 3)),
    *((1, 4, 3), (3, 4, 2), (1, 8, 3), (12, 4)),
]


def test_any_arguments_give_a_network_or_an_error() -> None:
    rng = random.Random(1)
    kinds = sorted(kind for kind, make in LAYERS.items() if make.__module__.rpartition(".")[2] in FAMILIES)
    built = 0
    for _ in range(3000):
        shape, kind = rng.choice(SHAPES), rng.choice(kinds)
        config = {key: rng.choice(VALUES) for key in KEYS.split() if rng.random() < 0.1}
        weights = {
            role: np.abs(draw(0, *rng.choice(WEIGHTS if "kernel" in role else WEIGHTS[:4]))) for role in ROLES.split()
        }
        graph = Graph(generation=rng.choice([1, 2, 3]))
        value = graph.input("x", *shape)
        if rng.random() < 0.3:
            value = graph.layer("turn", "Permute", value, dims=rng.sample(range(1, len(shape) + 1), len(shape)))
        inputs = [value] * (rng.choice([1, 2, 3]) if kind in MERGES else 1)
        made = graph.layer("odd", kind, *inputs, weights=weights, **config)
        try:
            network, (given,), (got,) = build(graph.model(made))
        except CheckpointError:
            continue
        held = [7 if n is None else n for n in given.shape]
        if given.form in ("sequence", "image"):
            held = [held[given.length] if i else int(np.prod(np.delete(held, given.length))) for i in (0, 1)]
        with torch.no_grad():
            y = network.double()(torch.randn(2, *held, dtype=torch.float64))
        if None not in got.shape:
            assert tuple(y.shape[1:]) == got.held_shape(), (kind, config)
        built += 1
    assert built > 500
