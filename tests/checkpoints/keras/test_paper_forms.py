"""The paper's siamese networks: built and trained in Keras, saved, recognised, converted, and compared with Keras.

RC of the input in a Lambda, whose code we never run; averages of logits and of probabilities; a shared inner model; the
base-resolution profile with control tracks and a Lambda on each answer of the second strand.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rcproof import load
from tests.checkpoints.keras.oracles import TOLERANCE, channels_first, difference, draw_weights, keras2, keras3
from tests.cli.commands import run

# Of Keras 3 on torch, where it reads trained weights.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)

LENGTH = 60


def legacy(keras: Any) -> bool:
    """Keras 2, in which a flip is a Lambda; Keras 3 has an operation for it, whose arguments are data."""
    return not hasattr(keras, "ops")


def rc(x: Any) -> Any:
    return x[:, ::-1, ::-1]


def rc_vector(x: Any) -> Any:
    return x[:, ::-1]


def flip_length(x: Any) -> Any:
    return x[:, ::-1, :]


class Binary:
    """The paper's binary network, small; ``form`` says what is averaged."""

    def __init__(self, keras: Any, form: str) -> None:
        k = keras.layers
        x = keras.Input((LENGTH, 4), name="dna")
        layers = [
            k.Conv1D(6, 5, activation="relu"),
            k.Conv1D(6, 4),
            k.BatchNormalization(),
            k.Activation("relu"),
            k.MaxPooling1D(4, 4),
            k.Flatten(),
            k.Dense(2, activation="sigmoid" if form == "probabilities" else None),
        ]
        other = k.Lambda(rc)(x) if legacy(keras) else keras.ops.flip(x, (1, 2))
        if form == "inner model":
            inner = keras.Sequential([keras.Input((LENGTH, 4)), *layers], name="branch")
            answers = [inner(x), inner(other)]
        else:
            answers = [x, other]
            for layer in layers:
                answers = [layer(h) for h in answers]
        merged = k.Average()(answers)
        self.model = keras.Model([x], merged if form == "probabilities" else k.Activation("sigmoid")(merged))
        self.options: list[str] = []
        self.merge, self.final = "mean", "none" if form == "probabilities" else "Sigmoid"


class Profile:
    """The paper's profile network, small: control tracks, counts and profile, RC Lambdas on the second strand."""

    def __init__(self, keras: Any, form: str) -> None:
        k = keras.layers
        x, count = keras.Input((LENGTH, 4), name="dna"), keras.Input((1,), name="count")
        track = keras.Input((48, 2), name="track")

        def turned(function: Callable[[Any], Any], name: str) -> Callable[[Any], Any]:
            if legacy(keras):
                return k.Lambda(function, name=name)
            axes = {rc: (1, 2), flip_length: (1,), rc_vector: (1,)}[function]
            return lambda value: keras.ops.flip(value, axes)

        trunk = [k.Conv1D(5, 5, activation="relu")]
        dilated = k.Conv1D(5, 3, dilation_rate=2, activation="relu")
        crop, add = k.Cropping1D(2), k.Add()
        head, out = k.Conv1D(2, 5, name="profile_head"), k.Conv1D(2, 1, name="profile_out")
        gap, counts = k.GlobalAveragePooling1D(), k.Dense(2, name="counts_head")
        answers = []
        sides = [
            (x, track),
            (turned(rc, "rc_dna")(x), turned(flip_length, "flip_track")(track)),
        ]
        for dna, control in sides:
            h = trunk[0](dna)
            h = add([crop(h), dilated(h)])
            profile = out(k.Concatenate()([head(h), control]))
            answers.append((counts(k.Concatenate()([gap(h), count])), profile))
        second = (turned(rc_vector, "rc_counts")(answers[1][0]), turned(rc, "rc_profile")(answers[1][1]))
        merged = [k.Average()([a, b]) for a, b in zip(answers[0], second, strict=True)]
        self.model = keras.Model([x, count, track], merged)
        self.options = ["--lambda", "flip_track=flip-length"] if legacy(keras) else []
        self.merge, self.final = "mean", "none"


FORMS = {
    "logits": Binary,
    "probabilities": Binary,
    "inner model": Binary,
    "profile": Profile,
}


def trained(keras: Any, form: str) -> Any:
    built = FORMS[form](keras, form)
    draw_weights(built.model)
    built.model.compile(optimizer="adam", loss="mse")
    inputs = drawn(built.model, 16)
    targets = [np.random.default_rng(2).random((16, *o.shape[1:])).astype("float32") for o in built.model.outputs]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = [w.copy() for w in built.model.get_weights()]
        built.model.fit(inputs, targets, epochs=2, batch_size=8, verbose=0)
    assert any(not np.array_equal(a, b) for a, b in zip(before, built.model.get_weights(), strict=True))
    return built


def predicted(model: Any, inputs: list[Any]) -> list[Any]:
    found = model.predict(inputs, verbose=0)
    return found if isinstance(found, list) else [found]


def drawn(model: Any, count: int) -> list[Any]:
    rng = np.random.default_rng(1)
    found = []
    for tensor in model.inputs:
        shape = tuple(tensor.shape[1:])
        one_hot = len(shape) == 2 and shape[1] == 4
        values = np.eye(4)[rng.integers(0, 4, (count, shape[0]))] if one_hot else rng.random((count, *shape))
        found.append(values.astype("float32"))
    return found


def answers(network: Any, inputs: Sequence[Any]) -> list[Any]:
    with torch.no_grad():
        found = network(*(channels_first(x) for x in inputs))
    return [np.asarray(y) for y in (found if isinstance(found, tuple) else (found,))]


@pytest.mark.parametrize("age", [2, 3])
@pytest.mark.parametrize("form", FORMS)
def test_from_keras_to_rcps(form: str, age: int, tmp_path: Path) -> None:
    keras = keras2() if age == 2 else keras3()
    built = trained(keras, form)
    path, out = tmp_path / ("net.h5" if age == 2 else "net.keras"), tmp_path / "rcps.safetensors"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        built.model.save(path)
    done = run("convert", path, "-o", out, *built.options)
    assert done.exit_code == 0, done.stderr
    assert f"siamese: the same layers read both strands; merge {built.merge}" in " ".join(done.stdout.split())
    inputs = drawn(built.model, 5)
    expected = built.model.predict(inputs, verbose=0)
    for got, want in zip(
        answers(load(out), inputs), expected if isinstance(expected, list) else [expected], strict=True
    ):
        want = np.swapaxes(want, 1, 2) if want.ndim == 3 else want
        assert np.ptp(want) > 1e-4
        assert difference(got, want) <= TOLERANCE
    assert run("verify", path, out, *built.options).exit_code == 0
    assert run("check", out).exit_code == 0


@pytest.mark.parametrize(("word", "right"), [("flip-length", True), ("rc", False), ("identity", False)])
def test_the_wrong_word_for_a_lambda_gives_another_function(word: str, right: bool, tmp_path: Path) -> None:
    """Nobody but the user knows what a Lambda does; the wrong word is a network, but not the file's."""
    built = trained(keras2(), "profile")
    path, out = tmp_path / "net.h5", tmp_path / "rcps.safetensors"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        built.model.save(path)
    done = run("convert", path, "-o", out, "--lambda", f"flip_track={word}")
    inputs = drawn(built.model, 5)
    expected = [np.swapaxes(y, 1, 2) if y.ndim == 3 else y for y in predicted(built.model, inputs)]
    if done.exit_code:
        assert not right
        return
    same = [difference(a, b) <= TOLERANCE for a, b in zip(answers(load(out), inputs), expected, strict=True)]
    assert all(same) == right
