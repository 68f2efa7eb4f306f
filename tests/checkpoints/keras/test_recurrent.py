"""Recurrent layers of Keras 2 and 3 against the Kerases, of Keras 1 against numpy."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import rcproof
from rcproof import Conjoined
from rcproof.checkpoints.keras import read_keras
from rcproof.checkpoints.keras.layers import recurrent
from rcproof.checkpoints.keras.model import LayerSpec
from rcproof.errors import CheckpointError
from tests.checkpoints.keras import oracles
from tests.checkpoints.keras.hand_built import Array, Graph, close, draw, run

GATES = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}
SHAPE = (7, 5)
AGES = {2: (oracles.keras2, ".h5"), 3: (oracles.keras3, ".keras")}

ONE_WAY: list[tuple[str, dict[str, Any]]] = [
    ("LSTM", {}),
    ("LSTM", {"return_sequences": True, "recurrent_activation": "hard_sigmoid"}),
    ("LSTM", {"use_bias": False, "activation": "softsign", "unit_forget_bias": False}),
    ("LSTM", {"return_sequences": True, "go_backwards": True, "dropout": 0.5, "recurrent_dropout": 0.5}),
    ("LSTM", {"activation": "softplus", "recurrent_activation": "softsign"}),
    ("GRU", {"return_sequences": True}),
    ("GRU", {"reset_after": False, "return_sequences": True, "go_backwards": True}),
    ("GRU", {"recurrent_activation": "hard_sigmoid", "activation": "relu"}),
    ("GRU", {"reset_after": False, "recurrent_activation": "hard_sigmoid", "use_bias": False}),
    ("GRU", {"use_bias": False, "go_backwards": True}),
    ("SimpleRNN", {"return_sequences": True}),
    ("SimpleRNN", {"activation": "sigmoid", "go_backwards": True}),
    ("SimpleRNN", {"activation": "linear", "use_bias": False}),
]
BOTH_WAYS = [
    *(("concat", True, "sigmoid"), ("concat", False, "sigmoid"), ("concat", True, "hard_sigmoid")),
    *(("concat", False, "hard_sigmoid"), ("sum", True, "sigmoid"), ("sum", False, "hard_sigmoid")),
    *(("mul", True, "hard_sigmoid"), ("mul", False, "sigmoid"), ("ave", True, "hard_sigmoid")),
    ("ave", False, "sigmoid"),
]


@pytest.mark.parametrize("age", AGES)
def test_one_way(age: int, tmp_path: Path) -> None:
    keras, suffix = AGES[age][0](), AGES[age][1]
    branches = {
        f"{kind}, {options}": getattr(keras.layers, kind)(4, name=f"rnn{i}", **options)
        for i, (kind, options) in enumerate(ONE_WAY)
    }
    model = oracles.networks(keras, SHAPE, branches)
    oracles.agree(model, tmp_path, suffix, list(branches))
    found = read_keras(tmp_path / f"network{suffix}").model
    fast = [i for i in range(len(ONE_WAY)) if isinstance(found.get_submodule(f"rnn{i}"), nn.RNNBase)]
    assert fast == [0, 5, 10]  # the kernels of torch, where they compute the same


@pytest.mark.parametrize("age", AGES)
def test_both_ways(age: int, tmp_path: Path) -> None:
    keras, suffix = AGES[age][0](), AGES[age][1]
    layers, branches = keras.layers, {}
    for i, (mode, sequences, gate) in enumerate(BOTH_WAYS):
        kind = layers.LSTM if i % 3 else layers.GRU
        inner = kind(4, return_sequences=sequences, recurrent_activation=gate)
        branches[f"{mode}, {sequences}, {gate}"] = layers.Bidirectional(inner, merge_mode=mode, name=f"both{i}")
    back = layers.GRU(4, go_backwards=True, return_sequences=True, activation="relu")
    branches["two kinds"] = layers.Bidirectional(layers.LSTM(4, return_sequences=True), backward_layer=back)
    for sequences in (True, False):
        apart = layers.Bidirectional(layers.LSTM(4, return_sequences=sequences), merge_mode=None)
        for which in (0, 1):
            branches[f"apart, {sequences}, {which}"] = lambda x, apart=apart, which=which: apart(x)[which]
    model = oracles.networks(keras, SHAPE, branches)
    oracles.agree(model, tmp_path, suffix, list(branches))
    found = read_keras(tmp_path / f"network{suffix}").model
    for i, (_, _, gate) in enumerate(BOTH_WAYS):
        layer = found.get_submodule(f"both{i}")
        if gate == "sigmoid":
            assert layer.bidirectional
        else:
            assert [layer.get_submodule(f"{way}_layer").reverse for way in ("forward", "backward")] == [False, True]


def test_any_length_with_the_kernels_of_torch(tmp_path: Path) -> None:
    keras = oracles.keras2()
    inner = keras.layers.LSTM(4, return_sequences=True)
    model = oracles.networks(keras, (None, 5), {"both": keras.layers.Bidirectional(inner)})
    network = oracles.read_back(model, tmp_path, ".h5")
    for length in (6, 31):
        (got,), (want,) = oracles.answers(model, network, [draw(length, 2, length, 5).astype(np.float32)])
        assert oracles.difference(got, want) <= oracles.TOLERANCE


def test_a_layer_that_is_called_twice_is_one_layer(tmp_path: Path) -> None:
    keras = oracles.keras2()
    a, b = keras.Input(shape=SHAPE), keras.Input(shape=(6, 5))
    rnn = keras.layers.Bidirectional(keras.layers.GRU(3, recurrent_activation="hard_sigmoid"))
    model = keras.Model([a, b], keras.layers.Add()([rnn(a), rnn(b)]))
    oracles.draw_weights(model)
    oracles.agree(model, tmp_path, ".h5", ["sum"])
    found = read_keras(tmp_path / "network.h5").model
    assert sum(p.numel() for p in found.parameters()) == model.count_params()


# -- Keras 1, from the definitions ---------------------------------------------------------------------------


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def fifth(x: Array) -> Array:
    return np.clip(0.2 * x + 0.5, 0, 1)


def keras1(kind: str, x: Array, w: dict[str, Array], gate: Callable[[Array], Array]) -> Array:
    """The states of one example (L, C), in Keras's order of gates, with the reset gate before the product."""
    u = w["recurrent_kernel"].shape[0]
    h = c = np.zeros(u)
    states = []
    for row in x:
        drive = row @ w["kernel"] + w["bias"]
        if kind == "LSTM":
            zi, zf, zc, zo = np.split(drive + h @ w["recurrent_kernel"], 4)
            c = gate(zf) * c + gate(zi) * np.tanh(zc)
            h = gate(zo) * np.tanh(c)
        elif kind == "GRU":
            xz, xr, xh = np.split(drive, 3)
            uz, ur, uh = np.split(w["recurrent_kernel"], 3, axis=1)
            z, r = gate(xz + h @ uz), gate(xr + h @ ur)
            h = z * h + (1 - z) * np.tanh(xh + (r * h) @ uh)
        else:
            h = np.tanh(drive + h @ w["recurrent_kernel"])
        states.append(h)
    return np.stack(states)


def weights(kind: str, seed: int, channels: int = 5, units: int = 4) -> dict[str, Array]:
    rows = GATES[kind] * units
    shapes = {"kernel": (channels, rows), "recurrent_kernel": (units, rows), "bias": (rows,)}
    return {name: draw(seed + i, *shape) for i, (name, shape) in enumerate(shapes.items())}


def old(kind: str, **options: Any) -> tuple[Graph, int, dict[str, Array]]:
    g, w = Graph(generation=1), weights(kind, 7)
    config = {"units": 4, "activation": "tanh", "recurrent_activation": "hard_sigmoid", "return_sequences": True}
    x = g.input("x", *SHAPE)
    return g, g.layer("rnn", kind, x, weights=w, **{**config, **options}), w


@pytest.mark.parametrize(("kind", "gate"), list(itertools.product(GATES, ("sigmoid", "hard_sigmoid"))))
def test_keras_1_is_its_definition(kind: str, gate: str) -> None:
    function = {"sigmoid": sigmoid, "hard_sigmoid": fifth}[gate]
    x = draw(1, 2, *SHAPE)
    for backwards, sequences in itertools.product((False, True), repeat=2):
        g, y, w = old(kind, recurrent_activation=gate, go_backwards=backwards, return_sequences=sequences)
        want = np.stack([keras1(kind, row[::-1] if backwards else row, w, function) for row in x])
        close(run(g.build(y), x), want if sequences else want[:, -1])


def both(kind: str = "LSTM", generation: int = 1, **options: Any) -> tuple[Graph, int, list[dict[str, Array]]]:
    g, two = Graph(generation), [weights(kind, 3), weights(kind, 13)]
    config = {"units": 4, "activation": "tanh", "recurrent_activation": "hard_sigmoid", "return_sequences": True}
    inner = [
        LayerSpec(f"{way}_rnn", kind, {**config, "go_backwards": way == "backward"}, w, generation=generation)
        for way, w in zip(("forward", "backward"), two, strict=True)
    ]
    x = g.input("x", *SHAPE)
    return g, g.layer("both", "Bidirectional", x, inner=inner, **options), two


def both_by_hand(x: Array, two: list[dict[str, Array]], kind: str = "LSTM") -> Array:
    """Keras turns what the backward layer says back in time."""
    ahead = np.stack([keras1(kind, row, two[0], fifth) for row in x])
    back = np.stack([keras1(kind, row[::-1], two[1], fifth)[::-1] for row in x])
    return np.concatenate([ahead, back], axis=2)


def test_keras_1_both_ways_is_its_definition() -> None:
    for kind in GATES:
        x = draw(1, 2, *SHAPE)
        g, y, two = both(kind)
        close(run(g.build(y), x), both_by_hand(x, two, kind))


# -- mutants ---------------------------------------------------------------------------------------------------


def caught(make: Callable[[], tuple[Array, Array]]) -> None:
    with pytest.raises(AssertionError, match="differs"):
        close(*make())


def test_mutants_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    x = draw(1, 2, *SHAPE)
    g, y, two = both()
    want = both_by_hand(x, two)
    close(run(g.build(y), x), want)
    # The other age's hard sigmoid.
    caught(lambda: (run(both(generation=3)[0].build(y), x), want))
    # Two gates swapped.
    network = copy.deepcopy(g.build(y))
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(torch.cat([p[4:8], p[:4], p[8:]]))
    caught(lambda: (run(network, x), want))
    # The backward answers in the order of reading.
    got = run(g.build(y), x)
    caught(lambda: (np.concatenate([got[:, :, :4], got[:, ::-1, 4:]], axis=2), want))
    # The last position of the backward answers in place of the end of its reading.
    for spec in g.layers["both"].inner:
        spec.config["return_sequences"] = False
    last = np.concatenate([want[:, -1, :4], want[:, 0, 4:]], axis=1)
    close(run(g.build(y), x), last)
    monkeypatch.setattr(recurrent, "_position", lambda site, ref, where: site.function("torch.select", ref, 2, -1))
    caught(lambda: (run(g.build(y), x), last))


# -- refusals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"return_state": True}, "return_state=true. The state after the last position is no output here"),
        ({"stateful": True}, "stateful=true. Its answers depend on the batches before"),
        ({"time_major": True}, "time_major=true. The examples must come first"),
        (
            {"activation": "my_function"},
            "activation of a recurrent layer: got 'my_function'; expected linear, sigmoid, ",
        ),
        ({"recurrent_activation": {"class_name": "LeakyReLU", "config": {"alpha": 0.1}}}, "got 'LeakyReLU'; expected "),
        ({"units": 3}, r"weights 'kernel': got shape \(5, 16\); expected shape \(5, 12\)"),
        ({"units": 0}, "units: got 0; expected at least 1"),
    ],
)
def test_what_has_no_form_is_refused(options: dict[str, Any], text: str) -> None:
    g, y, _ = old("LSTM", **options)
    with pytest.raises(CheckpointError, match=r"layer 'rnn' \(LSTM\): .*" + text):
        g.build(y)


def test_masks_and_initial_states_are_refused() -> None:
    g, y, _ = old("LSTM")
    g.calls[y] = type(g.calls[y])("rnn", (g.calls[y].inputs[0],) * 2)
    with pytest.raises(CheckpointError, match="inputs: got 2 values; expected one sequence: no initial state, no mask"):
        g.build(y)
    g = Graph()
    with pytest.raises(CheckpointError, match=r"layer 'mask' \(Masking\): a mask, which makes recurrent layers skip"):
        g.build(g.layer("mask", "Masking", g.input("x", *SHAPE)))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda spec: spec.config.update(merge_mode="max"), "merge_mode: got 'max'; expected concat, sum, ave, mul"),
        (
            lambda spec: spec.inner[0].config.update(go_backwards=True),
            "go_backwards: got a forward layer that reads back",
        ),
        (lambda spec: spec.inner[1].config.update(return_sequences=False), "its two layers: got different units or"),
    ],
)
def test_ways_that_do_not_fit_are_refused(change: Callable[[LayerSpec], None], text: str) -> None:
    g, y, _ = both()
    change(g.layers["both"])
    with pytest.raises(CheckpointError, match=text):
        g.build(y)
    g = Graph()
    y = g.layer("both", "Bidirectional", g.input("x", *SHAPE), inner=[LayerSpec("a", "Dense", {})])
    with pytest.raises(CheckpointError, match="what it runs both ways: got Dense; expected LSTM, GRU, SimpleRNN"):
        g.build(y)


# -- conversion ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", ["sigmoid", "hard_sigmoid"])
def test_a_branch_like_factornets_is_lifted(gate: str, tmp_path: Path) -> None:
    keras = oracles.keras2()
    layers = keras.layers
    inner = layers.LSTM(3, return_sequences=True, recurrent_activation=gate)

    def branch(x: Any) -> Any:
        x = layers.MaxPooling1D(2)(layers.Conv1D(6, 5, activation="relu")(x))
        return layers.Dense(1)(layers.Flatten()(layers.Bidirectional(inner, name="both")(x)))

    model = oracles.networks(keras, (24, 4), {"score": branch})
    net = oracles.read_back(model, tmp_path, ".h5")
    conversion = rcproof.convert(
        Conjoined(net, "reversal", "fixed", final="sigmoid").eval(), rcproof.ConvertConfig(input_shapes=((4, 24),))
    )
    x = draw(1, 3, 24, 4).astype(np.float32)
    want = sigmoid((np.asarray(model(x)) + np.asarray(model(x[:, ::-1, ::-1].copy()))) / 2)
    given = oracles.channels_first(x)
    with torch.no_grad():
        close(conversion.model(given).numpy(), want, 1e-5)
    lifted = {n.target for n in conversion.model.rcproof_graph().nodes if n.rule == "lifted"}
    assert lifted == ({"both"} if gate == "sigmoid" else {"both.forward_layer", "both.backward_layer"})
    rcproof.save(conversion.model, tmp_path / "net.safetensors")
    with torch.no_grad():
        assert torch.equal(rcproof.load(tmp_path / "net.safetensors")(given), conversion.model(given))
