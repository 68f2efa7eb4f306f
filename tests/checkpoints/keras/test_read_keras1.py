"""Keras 0 and 1: names, arguments and weights, against slow definitions and what Keras 2 makes of the same file."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rcproof.checkpoints.imported import ReadOptions
from rcproof.checkpoints.keras import conventions, keras1, read_keras
from rcproof.checkpoints.keras.model import KerasModel, LayerSpec
from rcproof.checkpoints.keras.read import read_keras_model
from rcproof.errors import CheckpointError
from tests.checkpoints.keras.old_files import Array, Layer, draw, gates, write
from tests.checkpoints.keras.oracles import keras2

pytest.importorskip("h5py", reason="Keras files are read with h5py")

CHANNELS, OUT, WINDOW, LENGTH = 4, 3, 5, 12
SHAPE = (LENGTH, CHANNELS)


def opened(folder: Path, layers: list[Layer], shape: Any = SHAPE, **options: Any) -> KerasModel:
    path, config = write(folder, layers, shape, **options)
    return read_keras_model(path, ReadOptions(architecture=str(config)))


def only(found: KerasModel) -> LayerSpec:
    (spec,) = [spec for spec in found.layers.values() if spec.kind != "InputLayer"]
    return spec


def convolution(rng: np.random.Generator, layout: str = "new", **config: Any) -> Layer:
    shape = (WINDOW, 1, CHANNELS, OUT) if layout == "new" else (OUT, CHANNELS, WINDOW, 1)
    arguments = {"nb_filter": OUT, "filter_length": WINDOW, "border_mode": "valid", "subsample_length": 1, **config}
    arrays = [("W", draw(rng, *shape)), ("b", draw(rng, OUT))]
    return "Convolution1D", {"activation": "linear", "bias": True, "init": "uniform", **arguments}, arrays


def convolved(x: Array, W: Array, b: Array, flip: bool) -> Array:
    """What ``Convolution1D`` computes: out[t] = Σ_k x[t + k] W[k], or Σ_k x[t − k] W[k] with Theano, where all fits."""
    size = len(W)
    made = np.zeros((len(x) - size + 1, W.shape[2]))
    for t in range(len(made)):
        for k in range(size):
            made[t] += x[t + size - 1 - k if flip else t + k] @ W[k]
        made[t] += b
    return made


# -- convolutions -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("layout", ["new", "old"])
@pytest.mark.parametrize("backend", ["theano", "tensorflow"])
def test_convolutions(backend: str, layout: str, tmp_path: Path) -> None:
    """The names of TensorFlow's variables end in :0, and Theano flips."""
    rng = np.random.default_rng(0)
    layer = convolution(rng, layout, border_mode="valid")
    found = opened(tmp_path, [layer], suffix=":0" if backend == "tensorflow" else "")
    assert (found.backend, found.generation, found.version) == (backend, 1, "1.1.1")
    assert found.notes == (
        f"the file does not say what Keras ran on; {backend.capitalize()}, by the names of its weights",
    )
    spec = only(found)
    assert spec.kind == "Conv1D"
    assert spec.config == {
        "filters": OUT,
        "kernel_size": [WINDOW],
        "strides": [1],
        "padding": "valid",
        "use_bias": True,
        "activation": "linear",
        "data_format": "channels_last",
    }
    W, b = layer[2][0][1], layer[2][1][1]
    W = W[:, 0] if layout == "new" else W[..., 0].transpose(2, 1, 0)
    x = rng.standard_normal(SHAPE)
    want = convolved(x, W, b, flip=backend == "theano")
    got = convolved(x, spec.weights["kernel"], spec.weights["bias"], flip=False)
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)
    wrong = convolved(x, W, b, flip=backend != "theano")  # the mutant: the other backend
    assert not (np.abs(got - wrong).max() <= 1e-3)


@pytest.mark.parametrize("ordering", ["th", "tf"])
def test_images(ordering: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    W = draw(rng, OUT, 2, 4, 5) if ordering == "th" else draw(rng, 4, 5, 2, OUT)
    config = {
        "nb_filter": OUT,
        "nb_row": 4,
        "nb_col": 5,
        "dim_ordering": ordering,
        "subsample": [1, 2],
        "activation": "relu",
        "border_mode": "same",
        "bias": False,
    }
    shape = (2, 4, 30) if ordering == "th" else (4, 30, 2)
    found = opened(tmp_path, [("Convolution2D", config, [("W", W)])], shape)
    spec = only(found)
    first = "channels_first" if ordering == "th" else "channels_last"
    assert spec.kind == "Conv2D"
    assert spec.config == {
        "filters": OUT,
        "kernel_size": [4, 5],
        "strides": [1, 2],
        "padding": "same",
        "use_bias": False,
        "data_format": first,
        "activation": "relu",
    }
    for r in range(4):
        for c in range(5):
            flipped = W[:, :, 3 - r, 4 - c].T if ordering == "th" else W[3 - r, 4 - c]
            np.testing.assert_array_equal(spec.weights["kernel"][r, c], flipped)
    assert found.layers["convolution2d_1_input"].config == {"shape": list(shape), "data_format": first}


def test_dilated_convolutions(tmp_path: Path) -> None:
    _, config, arrays = convolution(np.random.default_rng(2), atrous_rate=3)
    spec = only(opened(tmp_path, [("AtrousConvolution1D", config, arrays)]))
    assert spec.kind == "Conv1D" and spec.config["dilation_rate"] == 3


def test_kernels_of_no_layout(tmp_path: Path) -> None:
    kind, config, arrays = convolution(np.random.default_rng(2))
    arrays[0] = ("W", arrays[0][1][:3])
    with pytest.raises(CheckpointError, match=r"kernel of layer 'convolution1d_1' .*: got shape \(3, 1, 4, 3\)"):
        opened(tmp_path, [(kind, config, arrays)])


# -- recurrent layers -----------------------------------------------------------------------------------------------
def recurrent(kind: str, **config: Any) -> dict[str, Any]:
    inner = (
        {"activation": "tanh", "inner_activation": "hard_sigmoid"} if kind != "SimpleRNN" else {"activation": "tanh"}
    )
    more = {"dropout_W": 0.2, "dropout_U": 0.1, "return_sequences": True, "go_backwards": False}
    return {"output_dim": OUT, "consume_less": "cpu", "forget_bias_init": "one", **inner, **more, **config}


def sigmoid(x: Array) -> Array:
    return np.clip(0.2 * x + 0.5, 0, 1)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_gates(kind: str, tmp_path: Path) -> None:
    """One step by the definition in Keras 1's source, gate by gate, and by that of Keras 2."""
    rng = np.random.default_rng(3)
    arrays = gates(rng, "icfo" if kind == "LSTM" else "zrh", CHANNELS, OUT)
    spec = only(opened(tmp_path, [(kind, recurrent(kind), arrays)]))
    assert spec.kind == kind and spec.config["units"] == OUT and spec.config["recurrent_activation"] == "hard_sigmoid"
    assert not {"dropout_W", "consume_less", "output_dim", "inner_activation"} & set(spec.config)
    A = dict(arrays)
    x, h, c = (rng.standard_normal(n) for n in (CHANNELS, OUT, OUT))
    gate = {g: x @ A[f"W_{g}"] + A[f"b_{g}"] for g in ("icfo" if kind == "LSTM" else "zrh")}
    kernel, recurrent_kernel, bias = (spec.weights[r] for r in ("kernel", "recurrent_kernel", "bias"))
    parts = np.split(x @ kernel + bias, 4 if kind == "LSTM" else 3)
    more = np.split(recurrent_kernel, len(parts), axis=1)
    if kind == "LSTM":
        i, f, o = (sigmoid(gate[g] + h @ A[f"U_{g}"]) for g in "ifo")
        want = o * np.tanh(f * c + i * np.tanh(gate["c"] + h @ A["U_c"]))
        i, f, g, o = (part + h @ U for part, U in zip(parts, more, strict=True))  # Keras 2: i f c o
        got = sigmoid(o) * np.tanh(sigmoid(f) * c + sigmoid(i) * np.tanh(g))
    else:
        assert spec.config["reset_after"] is False
        z, r = (sigmoid(gate[g] + h @ A[f"U_{g}"]) for g in "zr")
        want = z * h + (1 - z) * np.tanh(gate["h"] + (r * h) @ A["U_h"])
        z, r = (sigmoid(part + h @ U) for part, U in zip(parts[:2], more[:2], strict=True))
        got = z * h + (1 - z) * np.tanh(parts[2] + (r * h) @ more[2])
    np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
def test_packed_gates(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    wide = OUT * {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}[kind]
    arrays = [("W", draw(rng, CHANNELS, wide)), ("U", draw(rng, OUT, wide)), ("b", draw(rng, wide))]
    spec = only(opened(tmp_path, [(kind, recurrent(kind, consume_less="gpu"), arrays)]))
    for role, (_, array) in zip(("kernel", "recurrent_kernel", "bias"), arrays, strict=True):
        np.testing.assert_array_equal(spec.weights[role], array)


def test_both_directions(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    inner = {"class_name": "LSTM", "config": {**recurrent("LSTM"), "name": "forward_lstm_1"}}
    forward, backward = gates(rng, "icfo", CHANNELS, OUT), gates(rng, "icfo", CHANNELS, OUT)
    arrays = [(f"forward_{n}", a) for n, a in forward] + [(f"backward_{n}", a) for n, a in backward]
    spec = only(opened(tmp_path, [("Bidirectional", {"layer": inner, "merge_mode": "ave"}, arrays)]))
    assert spec.kind == "Bidirectional" and spec.config["merge_mode"] == "ave" and spec.weights == {}
    assert [part.config["go_backwards"] for part in spec.inner] == [False, True]
    assert [part.name.split("/")[1] for part in spec.inner] == ["forward_lstm_1", "backward_lstm_1"]
    for part, those in zip(spec.inner, (forward, backward), strict=True):
        kernel = np.concatenate([dict(those)[f"W_{g}"] for g in "ifco"], axis=1)
        np.testing.assert_array_equal(part.weights["kernel"], kernel)


# -- everything else ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("version", "deviation"), [("1.0.5", True), (None, True), ("1.0.6", False), ("1.2.2", False)])
def test_batch_normalisation(version: str | None, deviation: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    gamma, beta, mean, std = (draw(rng, CHANNELS) for _ in range(4))
    std = np.abs(std) + 0.1
    arrays = [("gamma", gamma), ("beta", beta), ("running_mean", mean), ("running_std", std)]
    config = {"epsilon": 1e-3, "mode": 0, "axis": -1, "momentum": 0.9, "gamma_regularizer": None}
    spec = only(opened(tmp_path, [("BatchNormalization", config, arrays)], version=version))
    x = rng.standard_normal((7, CHANNELS))
    want = gamma * (x - mean) / (std + 1e-3 if deviation else np.sqrt(std + 1e-3)) + beta
    w, epsilon = spec.weights, spec.config["epsilon"]
    got = w["gamma"] * (x - w["moving_mean"]) / np.sqrt(w["moving_variance"] + epsilon) + w["beta"]
    np.testing.assert_allclose(got, want, rtol=2e-6)
    assert spec.config["axis"] == -1 and spec.config["scale"] is True and "mode" not in spec.config


@pytest.mark.parametrize(
    ("layer", "kind", "config"),
    [
        (
            ("Dense", {"output_dim": 2, "input_dim": 4, "bias": False, "init": "x"}),
            "Dense",
            {"units": 2, "use_bias": False},
        ),
        (("TimeDistributedDense", {"output_dim": 2}), "Dense", {"units": 2, "use_bias": True}),
        (("Dropout", {"p": 0.3}), "Dropout", {"rate": 0.3}),
        (("GaussianNoise", {"sigma": 0.3}), "GaussianNoise", {"stddev": 0.3}),
        (
            ("MaxPooling1D", {"pool_length": 3, "stride": None, "border_mode": "valid"}),
            "MaxPooling1D",
            {"pool_size": 3, "strides": 3, "padding": "valid", "data_format": "channels_last"},
        ),
        (
            ("AveragePooling1D", {"pool_length": 3, "stride": 2}),
            "AveragePooling1D",
            {"pool_size": 3, "strides": 2, "padding": "valid", "data_format": "channels_last"},
        ),
        (("UpSampling1D", {"length": 3}), "UpSampling1D", {"size": 3}),
        (("Reshape", {"dims": [3, 4]}), "Reshape", {"target_shape": [3, 4]}),
        (("Permute", {"dims": [2, 1]}), "Permute", {"dims": [2, 1]}),
        (("ZeroPadding1D", {"padding": {"left_pad": 1, "right_pad": 2}}), "ZeroPadding1D", {"padding": [1, 2]}),
        (("LeakyReLU", {"alpha": 0.2}), "LeakyReLU", {"alpha": 0.2}),
        (("Activation", {"activation": "softmax"}), "Activation", {"activation": "softmax"}),
        (("Flatten", {}), "Flatten", {"data_format": "channels_last"}),
        (("Nobody", {"nb_filter": 2, "p": 1}), "Nobody", {"filters": 2, "rate": 1}),
    ],
)
def test_names(layer: tuple[str, dict[str, Any]], kind: str, config: dict[str, Any], tmp_path: Path) -> None:
    arrays = [("W", np.ones((4, 2), "f4"))] if "Dense" in kind else []
    arrays += [("b", np.ones(2, "f4"))] if config.get("use_bias") else []
    spec = only(opened(tmp_path, [(*layer, arrays)]))
    assert (spec.kind, spec.config) == (kind, config)
    if arrays:
        np.testing.assert_array_equal(spec.weights["kernel"], arrays[0][1])


def test_embedding_and_prelu(tmp_path: Path) -> None:
    table, alphas = np.eye(5, 3, dtype="f4"), np.ones((1, 3), "f4")
    layers: list[Layer] = [
        ("Embedding", {"input_dim": 5, "output_dim": 3, "mask_zero": False, "dropout": 0.1}, [("W", table)]),
        ("PReLU", {"init": "zero"}, [("alphas", alphas)]),
    ]
    found = opened(tmp_path, layers, (LENGTH,))
    _, embedding, prelu = found.layers.values()
    assert embedding.config["input_dim"] == 5 and embedding.config["output_dim"] == 3
    np.testing.assert_array_equal(embedding.weights["embeddings"], table)
    np.testing.assert_array_equal(prelu.weights["alpha"], alphas)
    assert prelu.config == {"shared_axes": [1]}


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (("Merge", {"mode": "dot"}), r"layer 'merge_1' \(Merge\): got mode 'dot'; expected one of sum, ave, mul, max"),
        (("Merge", {"mode": ["x"], "mode_type": "lambda"}), "got mode \"\\['x'\\]\""),
        (("MaxPooling1D", {"pool_length": 2, "ignore_border": False}), "got ignore_border: false"),
        (("ZeroPadding2D", {"padding": [1, 1]}), "got no dim_ordering in the file; expected 'th' or 'tf'"),
    ],
)
def test_refused(layer: tuple[str, dict[str, Any]], words: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=words):
        opened(tmp_path, [(*layer, [])])


def test_refused_batch_normalisation(tmp_path: Path) -> None:
    arrays = [(n, np.ones(4, "f4")) for n in ("gamma", "beta", "running_mean", "running_std")]
    with pytest.raises(
        CheckpointError, match="got mode 1, which normalises by the batch or the example; expected mode 0"
    ):
        opened(tmp_path, [("BatchNormalization", {"mode": 1, "epsilon": 1e-3}, arrays)])


def test_a_merge_of_branches(tmp_path: Path) -> None:
    """A Sequential that begins with a Merge of two others, which share a layer by its name."""
    import h5py

    def dense(name: str, **more: Any) -> dict[str, Any]:
        config = {"name": name, "output_dim": 4, "bias": True, "activation": "relu", **more}
        return {"class_name": "Dense", "config": config}

    first = dense("shared", batch_input_shape=[None, 4])
    branches = [{"class_name": "Sequential", "config": [first, dense(f"own_{i}")]} for i in range(2)]
    merge = {"name": "both", "mode": "concat", "mode_type": "raw", "concat_axis": 1, "layers": branches}
    config = [{"class_name": "Merge", "config": merge}, dense("last")]
    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        names = ["shared", "own_0", "own_1", "both", "last"]
        for i, name in enumerate(names):
            group = file.create_group(name)
            arrays = [] if name == "both" else [f"{name}_W", f"{name}_b"]
            group.attrs["weight_names"] = np.array([a.encode() for a in arrays], dtype="S20")
            for a in arrays:
                group[a] = np.full((8 if name == "last" else 4, 4) if a.endswith("W") else 4, i, "f4")
        file.attrs["layer_names"] = np.array([n.encode() for n in names], dtype="S20")
    (tmp_path / "m.json").write_text(
        json.dumps({"class_name": "Sequential", "config": config, "keras_version": "1.2.0"})
    )
    found = read_keras_model(path, ReadOptions(architecture=str(tmp_path / "m.json")))
    names = [call.layer for call in found.calls]
    assert [names[i] for i in found.inputs] == ["shared_input", "shared_input_2"]
    assert [names[s.call] for s in found.outputs] == ["last"]
    assert names.count("shared") == 2 and found.layers["both"].kind == "Concatenate"
    assert found.layers["both"].config == {"axis": 1}
    merged = next(call for call in found.calls if call.layer == "both")
    assert [names[s.call] for s in merged.inputs] == ["own_0", "own_1"]
    assert [found.layers[n].weights["bias"][0] for n in ("shared", "own_0", "own_1", "last")] == [0, 1, 2, 4]


def test_full_models(tmp_path: Path) -> None:
    """Keras 1 since 1.0.7 keeps all in one file, with its version beside the weights but not among them."""
    import h5py

    path, described = write(tmp_path, [convolution(np.random.default_rng(1), "old")], SHAPE)
    document = json.loads(described.read_text())
    del document["keras_version"]
    with h5py.File(path) as weights, h5py.File(tmp_path / "full.h5", "w") as full:
        full.attrs["model_config"] = json.dumps(document).encode()
        full.attrs["keras_version"] = b"1.0.8"
        full.create_group("optimizer_weights")["x"] = h5py.SoftLink("/nowhere")
        group = full.create_group("model_weights")
        group.attrs["layer_names"] = weights.attrs["layer_names"]
        weights.copy("convolution1d_1", group)
    found = read_keras_model(tmp_path / "full.h5")
    assert (found.generation, found.version, found.backend) == (1, "1.0.8", "theano")
    assert found.layers["convolution1d_1"].weights["kernel"].shape == (WINDOW, CHANNELS, OUT)


# -- the oracle: what Keras 2 makes of the weights of Keras 1 ------------------------------------------------------
def cases() -> dict[str, tuple[Layer, Any]]:
    """A layer of Keras 1, and how tf-keras makes the one of Keras 2."""
    rng = np.random.default_rng(7)
    inner = {"class_name": "LSTM", "config": {**recurrent("LSTM"), "name": "forward_lstm_1"}}
    both = [(f"forward_{n}", a) for n, a in gates(rng, "icfo", CHANNELS, OUT)]
    both += [(f"backward_{n}", a) for n, a in gates(rng, "icfo", CHANNELS, OUT)]
    gru = {"reset_after": False, "return_sequences": True}
    return {
        "new Conv1D": (convolution(rng), lambda L: L.Conv1D(OUT, WINDOW)),
        "old Conv1D": (convolution(rng, "old"), lambda L: L.Conv1D(OUT, WINDOW)),
        "LSTM": (
            ("LSTM", recurrent("LSTM"), gates(rng, "icfo", CHANNELS, OUT)),
            lambda L: L.LSTM(OUT, return_sequences=True),
        ),
        "GRU": (("GRU", recurrent("GRU"), gates(rng, "zrh", CHANNELS, OUT)), lambda L: L.GRU(OUT, **gru)),
        "Bidirectional": (
            ("Bidirectional", {"layer": inner, "merge_mode": "concat"}, both),
            lambda L: L.Bidirectional(L.LSTM(OUT, return_sequences=True)),
        ),
    }


@pytest.mark.parametrize("case", ["new Conv1D", "old Conv1D", "LSTM", "GRU", "Bidirectional"])
def test_weights_as_keras_2_reads_them(case: str, tmp_path: Path) -> None:
    keras = keras2()
    layer, make = cases()[case]
    path, config = write(tmp_path, [layer], SHAPE, suffix=":0")
    spec = only(read_keras_model(path, ReadOptions(architecture=str(config))))
    model = keras.Sequential([keras.layers.Input(SHAPE), make(keras.layers)])
    model.load_weights(path)
    got = [array for part in spec.inner or [spec] for array in part.weights.values()]
    want = model.get_weights()
    assert len(got) == len(want)
    for g, w in zip(got, want, strict=True):
        np.testing.assert_array_equal(g, w)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("named", ["CuDNN", ""])
def test_weights_of_cudnn(kind: str, named: str, tmp_path: Path) -> None:
    """tf-keras loads weights of CuDNN layers into plain ones; files may call the layer by either name."""
    import h5py

    keras = keras2()
    rng = np.random.default_rng(8)
    count, channels = (4, 5) if kind == "LSTM" else (3, 5)
    arrays = {
        "kernel": draw(rng, channels, count * OUT),
        "recurrent_kernel": draw(rng, OUT, count * OUT),
        "bias": draw(rng, 2 * count * OUT),
    }
    path = tmp_path / "w.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("rnn")
        group.attrs["weight_names"] = [f"rnn/{n}:0".encode() for n in arrays]
        for name, array in arrays.items():
            group[f"rnn/{name}:0"] = array
        file.attrs["layer_names"] = [b"rnn"]
        file.attrs["keras_version"], file.attrs["backend"] = "2.2.4", "tensorflow"
    config = {"name": "rnn", "units": OUT, "return_sequences": True, "batch_input_shape": [None, 7, channels]}
    config |= {} if named else {"reset_after": True}
    described = {"class_name": "Sequential", "config": [{"class_name": f"{named}{kind}", "config": config}]}
    (tmp_path / "m.json").write_text(json.dumps({**described, "keras_version": "2.2.4"}))
    spec = only(read_keras_model(path, ReadOptions(architecture=str(tmp_path / "m.json"))))
    assert spec.kind == kind and (kind == "LSTM" or spec.config["reset_after"] is True)
    assert not named or (spec.config["recurrent_activation"], spec.config["use_bias"]) == ("sigmoid", True)
    plain = getattr(keras.layers, kind)(OUT, name="rnn", **({"reset_after": True} if kind == "GRU" else {}))
    model = keras.Sequential([keras.layers.Input((7, channels)), plain])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.load_weights(path)
    for got, want in zip(spec.weights.values(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(got, want)


def test_keras_2_on_theano(tmp_path: Path) -> None:
    """Kernels flip, in nested networks too; nothing else does."""
    keras = keras2()
    import h5py

    L = keras.layers
    inner = keras.Sequential([L.Input(SHAPE), L.SeparableConv1D(3, 4, name="s"), L.Dense(3, name="d")], name="inner")
    x = L.Input(SHAPE, name="x")
    model = keras.Model(x, inner(L.Conv1D(CHANNELS, 1, name="c", padding="same")(x)))
    paths = [tmp_path / "a.h5", tmp_path / "b.h5"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in paths:
            model.save(path)
    with h5py.File(paths[1], "r+") as file:
        file["model_weights"].attrs["backend"] = file.attrs["backend"] = "theano"
    plain, theano = (read_keras_model(path) for path in paths)
    assert (plain.backend, theano.backend) == ("tensorflow", "theano")
    for name, spec in plain.layers.items():
        for role, array in spec.weights.items():
            flips = role.endswith("kernel") and spec.kind != "Dense"
            np.testing.assert_array_equal(theano.layers[name].weights[role], array[::-1] if flips else array)


# -- mutants ----------------------------------------------------------------------------------------------------------
MUTANTS = {
    "kernels not flipped": (conventions.Conventions, "flipped", lambda self, kind, weights: weights),
    "gates in the order of Keras 1": (
        keras1,
        "converted",
        lambda name, kind, config, arrays, std: (
            {
                role: np.concatenate([arrays[f"{letter}_{g}"] for g in "icfo"], axis=-1)
                for role, letter in (("kernel", "W"), ("recurrent_kernel", "U"), ("bias", "b"))
            },
            {},
        ),
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutants_are_caught(mutant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name, broken = MUTANTS[mutant]
    monkeypatch.setattr(owner, name, broken)
    if owner is keras1:
        monkeypatch.setattr(conventions, "converted", broken)
    test, *arguments = (test_convolutions, "theano", "new") if "flipped" in mutant else (test_gates, "LSTM")
    with pytest.raises(AssertionError):
        test(*arguments, tmp_path)


def test_a_network_answers(tmp_path: Path) -> None:
    """From the file to the answer: a convolution of Theano in the imported network."""
    import torch

    rng = np.random.default_rng(9)
    layer = convolution(rng)
    path, config = write(tmp_path, [layer], SHAPE)
    network = read_keras(path, ReadOptions(architecture=str(config))).model
    x = rng.standard_normal(SHAPE).astype("f4")
    with torch.no_grad():
        got = network(torch.from_numpy(x.T[None].copy()))[0].T.numpy()
    want = convolved(x, layer[2][0][1][:, 0], layer[2][1][1], flip=True)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
