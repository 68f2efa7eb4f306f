"""Mistakes on purpose in how layers are built: the comparison with tf-keras sees each."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rcproof.checkpoints.keras import build as building
from rcproof.checkpoints.keras import read_keras
from rcproof.checkpoints.keras.layers import (
    activations,
    convolution,
    dense,
    merging,
    normalization,
    padding,
    pooling,
)
from rcproof.checkpoints.keras.layers.windows import windows
from tests.checkpoints.keras.branches import chain
from tests.checkpoints.keras.oracles import TOLERANCE, differences, keras2, networks

Patch = Callable[[pytest.MonkeyPatch], None]


def patch(owner: Any, name: str, change: Callable[[Any], Any]) -> Patch:
    """Replace ``owner.name`` by what ``change`` makes of it."""
    return lambda monkeypatch: monkeypatch.setattr(owner, name, change(getattr(owner, name)))


def _swapped(*args: Any, **kwargs: Any) -> Any:
    laid = windows(*args, **kwargs)
    return replace(laid, left=laid.right, right=laid.left)


def _unturned(value: building.Value) -> Any:
    return np.arange(np.prod(value.held_shape())).reshape([n or 0 for n in value.shape])


def _other_slope(site: Any, x: Any) -> Any:
    return site.function("F.hardsigmoid", x)


def _undivided(site: Any, function: str, *args: Any, **kwargs: Any) -> Any:
    return args[0] if function == "torch.div" else site_function(site, function, *args, **kwargs)


site_function = building.Site.function


def _counted(*args: Any, **kwargs: Any) -> Any:
    kwargs["count_include_pad"] = True
    return pooling_module(*args, **kwargs)


def _multipliers_reversed(site: Any, role: str, dims: int) -> Any:
    kernel = convolution_kernel(site, role, dims)
    return kernel.flip(2) if role == "depthwise_kernel" else kernel


convolution_kernel = convolution._kernel
_EXCHANGED = {"moving_mean": "beta", "beta": "moving_mean"}
pooling_module = pooling.nn.AvgPool1d

#: What is broken, and which of the outputs show it.
MUTANTS: dict[str, tuple[Patch, list[str]]] = {
    "padding on the other side": (patch(convolution, "windows", lambda f: _swapped), ["conv even", "conv causal"]),
    "pooling padded on the other side": (patch(pooling, "windows", lambda f: _swapped), ["max even"]),
    "flipped kernel": (
        patch(convolution, "_kernel", lambda f: lambda *a: f(*a).flip(0)), ["conv even", "transposed", "separable"],
    ),
    "depthwise filters in the other order": (
        patch(convolution, "_kernel", lambda f: _multipliers_reversed), ["separable"],
    ),
    "dense rows in the wrong order": (
        patch(building.Value, "indices", lambda f: _unturned), ["flat dense", "two orders", "reshape"],
    ),
    "vectors joined without their orders": (patch(merging, "_joined", lambda f: lambda v: None), ["joined"]),
    "vectors added without their orders": (patch(merging, "_same_order", lambda f: lambda *v: True), ["two orders"]),
    "shared weights in the second order": (
        patch(dense, "_in_first_order", lambda f: lambda site, value: value), ["shared"],
    ),
    "an average that is a sum": (lambda m: m.setattr(building.Site, "function", _undivided), ["average of two"]),
    "the larger is the smaller": (lambda m: m.setitem(merging._PAIRWISE, "Maximum", "torch.minimum"), ["maximum"]),
    "the product is a sum": (lambda m: m.setitem(merging._PAIRWISE, "Multiply", "torch.add"), ["product"]),
    "a bias twice": (
        patch(dense, "filled", lambda f: lambda make, bias, **more: f(make, bias=2 * bias, **more)),
        ["time dense", "flat dense"],
    ),
    "epsilon of torch": (patch(normalization, "_epsilon", lambda f: lambda *a: 1e-5), ["batch", "layer"]),
    "statistics exchanged": (
        patch(normalization, "_parameter", lambda f: lambda site, value, axes, role, *more: f(
            site, value, axes, _EXCHANGED.get(role, role) if site.spec.kind.startswith("B") else role, *more)),
        ["batch"],
    ),
    "hard sigmoid of Keras 3": (
        lambda m: m.setitem(activations._COMPOSED, "hard_sigmoid", _other_slope), ["hard_sigmoid"],
    ),
    "approximate gelu": (
        lambda m: m.setitem(activations._PLAIN, "gelu", ("F.gelu", {"approximate": "tanh"}, activations.nn.GELU)),
        ["gelu"],
    ),
    "softmax over the length": (patch(activations, "_held", lambda f: lambda *a: 3 - f(*a)), ["softmax"]),
    "averages that count padding": (patch(pooling.nn, "AvgPool1d", lambda f: _counted), ["average same"]),
    "crop from the other end": (patch(padding, "_ends", lambda f: lambda *a: f(*a)[::-1]), ["crop"]),
    "a permutation forgotten": (
        lambda m: m.setitem(building.LAYERS, "Permute", lambda site: replace(
            site.value, shape=site.value.shape[::-1])), ["permuted square"],
    ),
    "channels not moved before flattening": (
        lambda m: m.setitem(building.LAYERS, "Flatten", lambda site: site.rearranged(
            site.value, site.value.indices().ravel())), ["flatten first"],
    ),
}  # fmt: skip


def _branches(layers: Any) -> dict[str, Any]:
    flat = layers.Flatten()
    turned = chain(layers.Permute((2, 1)), layers.Flatten())
    shared, mixed = layers.Dense(3), layers.Conv1D(6, 3, padding="same")
    return {
        "separable": layers.SeparableConv1D(5, 4, depth_multiplier=2),
        "reshape": chain(layers.Reshape((12, 5)), layers.Conv1D(2, 3)),
        "average of two": lambda x: layers.Average()([x, mixed(x)]),
        "maximum": lambda x: layers.Maximum()([x, mixed(x)]),
        "product": lambda x: layers.Multiply()([x, mixed(x)]),
        "time dense": layers.TimeDistributed(layers.Dense(4)),
        "conv even": layers.Conv1D(4, 4, padding="same"),
        "conv causal": layers.Conv1D(4, 4, padding="causal"),
        "transposed": layers.Conv1DTranspose(3, 4, strides=2),
        "max even": layers.MaxPooling1D(4, strides=3, padding="same"),
        "average same": layers.AveragePooling1D(3, strides=1, padding="same"),
        "flat dense": chain(layers.Flatten(), layers.Dense(3)),
        "flatten first": layers.Flatten(data_format="channels_first"),
        "joined": lambda x: layers.Dense(3)(layers.Concatenate()([flat(x), turned(x)])),
        "two orders": lambda x: layers.Dense(3)(layers.Add()([flat(x), turned(x)])),
        "shared": lambda x: layers.Add()([shared(flat(x)), shared(turned(x))]),
        "batch": layers.BatchNormalization(),
        "layer": layers.LayerNormalization(),
        "hard_sigmoid": layers.Activation("hard_sigmoid"),
        "gelu": layers.Activation("gelu"),
        "softmax": layers.Activation("softmax"),
        "crop": layers.Cropping1D((1, 4)),
        "permuted square": chain(layers.Conv1D(10, 3, padding="same"), layers.Permute((2, 1)), layers.Conv1D(2, 3)),
    }


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path, list[str]]:
    """A network with an output for each mistake, and its file."""
    keras = keras2()
    found = _branches(keras.layers)
    model = networks(keras, (10, 6), found)
    path = tmp_path_factory.mktemp("mutants") / "network.h5"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(path)
    return model, path, list(found)


def test_the_network_is_right_as_it_is(saved: tuple[Any, Path, list[str]]) -> None:
    model, path, names = saved
    assert max(differences(model, read_keras(path).model, names).values()) <= TOLERANCE


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mistake_is_seen(mutant: str, saved: tuple[Any, Path, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    model, path, names = saved
    broken, shows = MUTANTS[mutant]
    broken(monkeypatch)
    errors = differences(model, read_keras(path).model, names)
    for name in shows:
        assert not (errors[name] <= TOLERANCE), f"{mutant} is not seen in {name!r}: {errors[name]:.3g}"
