"""Files that Keras writes: what is read of them, layer by layer, against the layers that wrote them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rcproof.checkpoints.imported import ReadOptions
from rcproof.checkpoints.keras import read_keras, weights
from rcproof.checkpoints.keras.model import KerasModel, LayerSpec
from rcproof.checkpoints.keras.read import read_keras_model
from rcproof.errors import CheckpointError
from tests.checkpoints.keras.oracles import (
    TOLERANCE,
    answers,
    difference,
    draw_inputs,
    draw_weights,
    keras2,
    keras3,
)

Array = NDArray[Any]
LENGTH = 24


def zoo(keras: Any) -> Any:
    """Shared layers, networks in networks in networks, called more than once, with frozen layers; several ends."""
    L = keras.layers
    x, y, meta = L.Input((LENGTH, 4), name="fwd"), L.Input((LENGTH, 4), name="rev"), L.Input((3,), name="meta")
    branch = keras.Sequential(
        [
            L.Input((LENGTH, 4)),
            L.Conv1D(5, 3, name="first"),
            L.BatchNormalization(name="norm"),
            L.Conv1D(5, 3, name="frozen", trainable=False),
            L.Dense(5, name="plain"),
        ],
        name="branch",
    )
    deep = keras.Sequential([L.Input((7,)), L.Dense(6, name="a"), L.BatchNormalization(name="b")], name="deep")
    left, right = L.Input((5,), name="left"), L.Input((2,), name="right")
    joined = L.Concatenate(name="joined")([left, right])
    once = deep(joined)
    again = deep(L.Concatenate(name="joined_2")([right, left]))
    twin = keras.Model([left, right], [L.Add(name="sum")([once, again]), L.Dense(2, name="b")(once)], name="twin")
    still = keras.Sequential([L.Input((6,)), L.Dense(6, name="s"), L.BatchNormalization(name="t")], name="still")
    still.trainable = False
    shared, pool = L.Dense(2, name="shared"), L.GlobalAveragePooling1D(name="pool")
    both = L.Bidirectional(L.LSTM(3, return_sequences=True, name="lstm"), name="both")
    steps = L.TimeDistributed(L.Dense(5), name="steps")
    small = shared(meta)
    ends = []
    for strand in (x, y):
        h = steps(both(branch(strand)))
        h = L.MultiHeadAttention(2, 3, name=f"attention_{len(ends)}")(h, value=h)
        ends.append(twin([pool(h), small]))
    last = L.Average(name="merged")([ends[0][0], ends[1][0]])
    return keras.Model([x, y, meta], [still(last), ends[0][1], ends[1][1]], name="zoo")


AGES = {"2": keras2, "3": keras3}
#: How a network is written, by what; and what the reader calls it.
WAYS = {
    "2 h5": ("2", "HDF5"),
    "2 keras": ("2", "zip archive"),
    "2 h5 and JSON": ("2", "HDF5"),
    "2 weights.h5 and JSON": ("2", "HDF5"),
    "3 h5": ("3", "HDF5"),
    "3 keras": ("3", "zip archive"),
    "3 weights.h5 and JSON": ("3", "HDF5"),
}


def written(model: Any, way: str, folder: Path) -> tuple[Path, ReadOptions]:
    """The files of a network, written in one of the ways."""
    options = ReadOptions()
    path = folder / f"net.{way.split()[1]}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras advises against its own old format
        if "JSON" in way:
            options = replace(options, architecture=str(folder / "net.json"))
            (folder / "net.json").write_text(model.to_json())
            model.save_weights(path)
        else:
            model.save(path)
    return path, options


@pytest.fixture(scope="module", params=WAYS)
def read(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A network of Keras, what is read of its file, its path and options, for each way of writing."""
    way = request.param
    model = zoo(AGES[WAYS[way][0]]())
    draw_weights(model)
    path, options = written(model, way, tmp_path_factory.mktemp("zoo"))
    return way, model, read_keras_model(path, options), path, options


def live(layer: Any) -> dict[str, Array]:
    """The arrays of a living layer, by the last part of their names."""
    depth = 2 if type(layer).__name__ == "MultiHeadAttention" else 1
    return {
        "/".join(getattr(v, "path", v.name).split(":")[0].split("/")[-depth:]): np.asarray(
            v.value.detach() if hasattr(v, "path") else v.numpy()
        )
        for v in layer.weights
    }


def pairs(model: Any, found: KerasModel) -> Iterator[tuple[LayerSpec, Any]]:
    """What was read, and the living layers it was read of."""
    for name, spec in found.layers.items():
        layer = model
        for part in name.split("/"):
            layer = layer.get_layer(part) if spec.kind != "InputLayer" else None
        if spec.kind == "Bidirectional":
            yield from zip(spec.inner, (layer.forward_layer, layer.backward_layer), strict=True)
        elif spec.kind == "TimeDistributed":
            yield spec.inner[0], layer.layer
        elif layer is not None:
            yield spec, layer


def test_weights_of_every_layer(read: Any) -> None:
    way, model, found, _, _ = read
    seen = 0
    for spec, layer in pairs(model, found):
        assert spec.kind == type(layer).__name__
        want = live(layer)
        if spec.kind != "MultiHeadAttention":
            assert set(spec.weights) == set(want), spec.name
        for role, array in spec.weights.items():
            np.testing.assert_array_equal(array, want[role], err_msg=f"{spec.name}/{role}")
            assert array.dtype == np.float32
            seen += array.size
    assert seen == sum(int(np.prod(w.shape)) for w in model.weights)
    assert (found.generation, found.container) == (int(way[0]), WAYS[way][1])


def test_calls(read: Any) -> None:
    _, _, found, _, _ = read
    assert [found.calls[i].layer for i in found.inputs] == ["fwd", "rev", "meta"]
    counts = {name: sum(call.layer == name for call in found.calls) for name in found.layers}
    twice = {"both", "steps", "pool", *(f"branch/{n}" for n in ("first", "norm", "frozen", "plain"))}
    twice |= {f"twin/{n}" for n in ("joined", "joined_2", "sum", "b")}
    assert {n for n, c in counts.items() if c == 2} == twice
    assert {n for n, c in counts.items() if c == 4} == {"twin/deep/a", "twin/deep/b"}
    assert {n for n, c in counts.items() if c not in (1, 2, 4)} == set()
    assert [found.calls[s.call].layer for s in found.outputs] == ["still/t", "twin/b", "twin/b"]
    assert len({s.call for s in found.outputs}) == 3
    attention = next(call for call in found.calls if call.layer == "attention_0")
    assert len(attention.inputs) == 3 and len(set(attention.inputs)) == 1 and attention.arguments == {}


def test_configurations(read: Any) -> None:
    way, _, found, _, _ = read
    first, both = found.layers["branch/first"], found.layers["both"]
    assert first.config["filters"] == 5 and first.config["kernel_size"] == [3]
    assert first.config["data_format"] == "channels_last" and first.config["activation"] == "linear"
    assert not [
        key for key in first.config if key.endswith(("_initializer", "_constraint")) or key in ("name", "dtype")
    ]
    assert found.layers["fwd"].config == {"shape": [LENGTH, 4]}
    assert [inside.config["go_backwards"] for inside in both.inner] == [False, True]
    assert [inside.name for inside in both.inner] == ["both/forward_lstm", "both/backward_lstm"]
    assert found.backend == {"2": "tensorflow", "3": "torch"}[way[0]] or not way.endswith(" h5")


def test_outputs(read: Any) -> None:
    _, model, _, path, options = read
    network = read_keras(path, options).model
    got, want = answers(model, network, draw_inputs(model))
    assert max(difference(g, w) for g, w in zip(got, want, strict=True)) <= TOLERANCE


@pytest.mark.parametrize("age", AGES)
@pytest.mark.parametrize("mutant", ["in the order of layers", "fixed weights first"])
def test_mutants_of_the_order_are_caught(
    age: str, mutant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names alone would hide a wrong order, so they are ignored here, as in files whose names do not match."""
    model = zoo(AGES[age]())
    draw_weights(model)
    path, options = written(model, "2 h5", tmp_path)
    monkeypatch.setattr(weights, "_by_name", lambda *_: None)
    right = read_keras_model(path, options)
    for spec, layer in pairs(model, right):
        for role, array in spec.weights.items():
            np.testing.assert_array_equal(array, live(layer)[role], err_msg=f"{spec.name}/{role}")
    honest = weights._in_order

    def broken(item: Any, generation: int) -> Any:
        trained, fixed = honest(item, generation)
        if mutant == "fixed weights first":
            return fixed, trained
        both = [(leaf, role) for leaf in weights.leaves(item) for role in weights._own(leaf, generation) or []]
        return both, []

    monkeypatch.setattr(weights, "_in_order", broken)
    with pytest.raises(CheckpointError, match="do not fit its configuration"):
        read_keras_model(path, options)


def test_frozen_layers_of_one_shape_are_not_mixed_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keras = keras2()
    L = keras.layers
    inner = keras.Sequential(
        [L.Input((4,)), *(L.Dense(4, name=f"d{i}", trainable=i % 2 == 1) for i in range(4))], name="inner"
    )
    x = L.Input((4,))
    model = keras.Model(x, inner(x))
    draw_weights(model)
    path, options = written(model, "2 h5", tmp_path)
    for by_name in (True, False):
        if not by_name:
            monkeypatch.setattr(weights, "_by_name", lambda *_: None)
        for spec, layer in pairs(model, read_keras_model(path, options)):
            for role, array in spec.weights.items():
                np.testing.assert_array_equal(array, live(layer)[role], err_msg=f"{spec.name}/{role}")


@pytest.mark.parametrize("way", ["2 h5 and JSON", "3 weights.h5 and JSON"])
def test_layers_of_other_names_are_matched_by_order(way: str, tmp_path: Path) -> None:
    """A configuration made in another session counts its names on; Keras goes by order then."""
    keras = AGES[way[0]]()
    made = []
    for suffix in ("", "_7"):
        L = keras.layers
        x = L.Input((LENGTH, 4), name=f"x{suffix}")
        h = L.Flatten(name=f"flat{suffix}")(L.Conv1D(3, 5, name=f"conv{suffix}")(x))
        made.append(keras.Model(x, L.Dense(2, name=f"out{suffix}")(L.Dense(60, name=f"dense{suffix}")(h))))
    draw_weights(made[0])
    path, options = written(made[0], way, tmp_path)
    Path(str(options.architecture)).write_text(made[1].to_json())
    found = read_keras_model(path, options)
    for name in ("conv", "dense", "out"):
        want = live(made[0].get_layer(name))
        for role, array in found.layers[f"{name}_7"].weights.items():
            np.testing.assert_array_equal(array, want[role])


def test_weights_of_another_network(tmp_path: Path) -> None:
    keras = keras2()
    L = keras.layers
    one, two = (
        keras.Sequential([L.Input((4,)), *(L.Dense(4, name=f"{name}{i}") for i in range(n))])
        for name, n in (("a", 2), ("b", 3))
    )
    path, options = written(one, "2 h5 and JSON", tmp_path)
    Path(str(options.architecture)).write_text(two.to_json())
    with pytest.raises(CheckpointError, match="do not belong to this configuration: got 2 layers .*a0.* expected 3"):
        read_keras_model(path, options)


@pytest.mark.parametrize("age", AGES)
def test_dicts_and_single_ends(age: str, tmp_path: Path) -> None:
    keras = AGES[age]()
    L = keras.layers
    x, z = L.Input((4,), name="q"), L.Input((4,), name="p")
    inner = keras.Model({"q": x, "p": z}, {"d": L.Dense(2, name="d")(x), "c": L.Dense(3, name="c")(z)}, name="inner")
    u, v = L.Input((4,), name="u"), L.Input((4,), name="v")
    made = inner({"p": u, "q": v})
    model = keras.Model([u, v], L.Concatenate(name="all")([made["c"], made["d"]]))
    path, options = written(model, f"{age} h5", tmp_path)
    found = read_keras_model(path, options)
    names = {i: call.layer for i, call in enumerate(found.calls)}
    inputs = {call.layer: [names[s.call] for s in call.inputs] for call in found.calls}
    assert inputs == {"u": [], "v": [], "inner/c": ["u"], "inner/d": ["v"], "all": ["inner/c", "inner/d"]}
    assert [names[s.call] for s in found.outputs] == ["all"]
