"""Recurrent layers of Keras 2 and 3 against the Kerases, of Keras 1 against numpy."""

from __future__ import annotations

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
from rcproof.nn import Recurrent
from tests.checkpoints.keras.hand_built import Array, Graph, close, draw, run
from tests.checkpoints.keras.agreement import agree, import_keras, outputs, predict, redraw, save

GATES = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}
SHAPE = (7, 5)


def network(age: int, *layers: Callable[[Any], Any], shape: tuple[int | None, ...] = SHAPE) -> Any:
    keras = import_keras(age)
    x = y = keras.Input(shape=shape)
    for make in layers:
        y = make(keras.layers)(y)
    return redraw(keras.Model(x, y))


def suffix(age: int) -> str:
    return "net.h5" if age == 2 else "net.keras"


OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("LSTM", {}),
    ("LSTM", {"return_sequences": True, "recurrent_activation": "hard_sigmoid"}),
    ("LSTM", {"use_bias": False, "activation": "softsign", "unit_forget_bias": False}),
    ("LSTM", {"return_sequences": True, "go_backwards": True, "dropout": 0.5, "recurrent_dropout": 0.5}),
    ("GRU", {"return_sequences": True}),
    ("GRU", {"reset_after": False, "return_sequences": True, "go_backwards": True}),
    ("GRU", {"recurrent_activation": "hard_sigmoid", "activation": "relu"}),
    ("GRU", {"reset_after": False, "recurrent_activation": "hard_sigmoid", "use_bias": False}),
    ("GRU", {"use_bias": False, "go_backwards": True}),
    ("SimpleRNN", {"return_sequences": True}),
    ("SimpleRNN", {"activation": "sigmoid", "go_backwards": True}),
    ("SimpleRNN", {"activation": "linear", "use_bias": False}),
]


@pytest.mark.parametrize("age", [2, 3])
def test_one_way(age: int, tmp_path: Path) -> None:
    x = draw(1, 3, *SHAPE).astype(np.float32)
    for kind, options in OPTIONS:

        def make(layers: Any, kind: str = kind, options: dict[str, Any] = options) -> Any:
            return getattr(layers, kind)(4, name="rnn", **options)

        model = network(age, make)
        found = agree(model, tmp_path / suffix(age), x)
        usual = {"hard_sigmoid", "relu", "softsign", "sigmoid", "linear"}.isdisjoint(map(str, options.values()))
        fast = usual and not options.get("go_backwards") and options.get("reset_after", True)
        kernel = {"LSTM": nn.LSTM, "GRU": nn.GRU, "SimpleRNN": nn.RNN}[kind]
        assert isinstance(found.model.get_submodule("rnn"), kernel if fast else Recurrent), options


BOTH_WAYS = list(itertools.product(("concat", "sum", "mul", "ave"), (True, False), ("sigmoid", "hard_sigmoid")))


@pytest.mark.parametrize("age", [2, 3])
def test_both_ways(age: int, tmp_path: Path) -> None:
    x = draw(1, 3, *SHAPE).astype(np.float32)
    for i, (mode, sequences, gate) in enumerate(BOTH_WAYS):
        kind = ("LSTM", "GRU")[i % 2]

        def make(layers: Any, mode: str = mode, kind: str = kind, options: Any = (sequences, gate)) -> Any:
            inner = getattr(layers, kind)(4, return_sequences=options[0], recurrent_activation=options[1])
            return layers.Bidirectional(inner, merge_mode=mode, name="both")

        found = agree(network(age, make), tmp_path / suffix(age), x)
        if gate == "sigmoid":
            assert found.model.get_submodule("both").bidirectional
        else:
            ways = [found.model.get_submodule(f"both.{way}_layer") for way in ("forward", "backward")]
            assert [way.reverse for way in ways] == [False, True]


@pytest.mark.parametrize("age", [2, 3])
def test_both_ways_with_a_backward_layer_of_its_own(age: int, tmp_path: Path) -> None:
    x = draw(1, 3, *SHAPE).astype(np.float32)

    def make(layers: Any) -> Any:
        back = layers.GRU(4, go_backwards=True, return_sequences=True, activation="relu")
        return layers.Bidirectional(layers.LSTM(4, return_sequences=True), backward_layer=back)

    agree(network(age, make), tmp_path / suffix(age), x)


@pytest.mark.parametrize("age", [2, 3])
def test_both_ways_unmerged_are_two_values(age: int, tmp_path: Path) -> None:
    keras, x = import_keras(age), draw(1, 3, *SHAPE).astype(np.float32)
    for sequences in (True, False):
        first = keras.Input(shape=SHAPE)
        inner = keras.layers.LSTM(4, return_sequences=sequences)
        model = redraw(keras.Model(first, keras.layers.Bidirectional(inner, merge_mode=None)(first)))
        agree(model, tmp_path / suffix(age), x)


def test_any_length_with_the_kernels_of_torch(tmp_path: Path) -> None:
    keras = import_keras(2)
    first = keras.Input(shape=(None, 5))
    inner = keras.layers.LSTM(4, return_sequences=True)
    model = redraw(keras.Model(first, keras.layers.Bidirectional(inner)(first)))
    found = agree(model, tmp_path / "net.h5", draw(1, 2, 9, 5).astype(np.float32))
    x = draw(2, 2, 4, 5).astype(np.float32)
    outputs(found, [x], predict(model, x))


def test_a_layer_that_is_called_twice_is_one_layer(tmp_path: Path) -> None:
    keras = import_keras(2)
    a, b = keras.Input(shape=SHAPE), keras.Input(shape=(4, 5))
    rnn = keras.layers.Bidirectional(keras.layers.GRU(3, recurrent_activation="hard_sigmoid"))
    model = redraw(keras.Model([a, b], keras.layers.Add()([rnn(a), rnn(b)])))
    found = agree(
        model, tmp_path / "net.h5", draw(1, 2, *SHAPE).astype(np.float32), draw(2, 2, 4, 5).astype(np.float32)
    )
    assert sum(p.numel() for p in found.model.parameters()) == model.count_params()


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
    network = g.build(y)
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(torch.cat([p[4:8], p[:4], p[8:]]))
    caught(lambda: (run(network, x), want))
    # The backward answers in the order of reading.
    got = run(g.build(y), x)
    caught(lambda: (np.concatenate([got[:, :, :4], got[:, ::-1, 4:]], axis=2), want))
    # The last position of the backward answers in place of the end of its reading.
    for specs in (g.layers["both"].inner,):
        for spec in specs:
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
    model = network(
        2,
        lambda layers: layers.Conv1D(6, 5, activation="relu"),
        lambda layers: layers.MaxPooling1D(2),
        lambda layers: layers.Bidirectional(
            layers.LSTM(3, return_sequences=True, recurrent_activation=gate), name="both"
        ),
        lambda layers: layers.Flatten(),
        lambda layers: layers.Dense(1),
        shape=(24, 4),
    )
    found = read_keras(save(model, tmp_path / "net.h5"))
    x = draw(1, 3, 24, 4).astype(np.float32)
    outputs(found, [x], predict(model, x))
    conjoined = Conjoined(found.model, "reversal", "fixed", final="sigmoid").eval()
    conversion = rcproof.convert(conjoined, rcproof.ConvertConfig(input_shapes=found.shapes))
    want = sigmoid((predict(model, x)[0] + predict(model, x[:, ::-1, ::-1].copy())[0]) / 2)
    with torch.no_grad():
        got = conversion.model(torch.from_numpy(x.transpose(0, 2, 1).copy())).numpy()
    close(got, want, 1e-5)
    lifted = {n.target for n in conversion.model.rcproof_graph().nodes if n.rule == "lifted"}
    assert lifted == ({"both"} if gate == "sigmoid" else {"both.forward_layer", "both.backward_layer"})
    rcproof.save(conversion.model, tmp_path / "net.safetensors")
    again = rcproof.load(tmp_path / "net.safetensors")
    with torch.no_grad():
        close(again(torch.from_numpy(x.transpose(0, 2, 1).copy())).numpy(), got, 1e-6)
