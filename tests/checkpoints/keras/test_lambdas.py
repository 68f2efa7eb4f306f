"""Lambda layers: told, seen from where they stand, or asked for; and the functions that graphs call without a layer."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rcproof.checkpoints.imported import ReadOptions
from rcproof.checkpoints.keras import read_keras
from rcproof.checkpoints.keras.layers import lambdas as lambda_layers
from rcproof.checkpoints.keras.layers.lambdas import WORDS
from rcproof.errors import CheckpointError
from rcproof.network.network import Network
from tests.checkpoints.keras import oracles
from tests.checkpoints.keras.hand_built import Array, Graph, close, draw, run

SEQUENCE: list[tuple[str, Callable[[Array], Array]]] = [
    ("identity", lambda x: x),
    ("rc", lambda x: x[:, ::-1, ::-1]),
    ("flip-length", lambda x: x[:, ::-1]),
    ("flip-channels", lambda x: x[:, :, ::-1]),
    ("crop:2,3", lambda x: x[:, 2:-3]),
    ("crop:0,0", lambda x: x),
    ("crop:4,0", lambda x: x[:, 4:]),
    ("slice:1,5", lambda x: x[:, 1:5]),
    ("slice:-5,-1", lambda x: x[:, -5:-1]),
]


def one(*shape: int | None, **config: Any) -> tuple[Graph, int]:
    g = Graph()
    x = g.layer("relu", "Activation", g.input("x", *shape), activation="linear")
    return g, g.layer("lambda_1", "Lambda", x, **config)


@pytest.mark.parametrize(("word", "function"), SEQUENCE)
def test_a_word_is_its_function(word: str, function: Callable[[Array], Array]) -> None:
    x = draw(1, 2, 11, 3)
    for length in (11, None):
        if word.startswith("slice") and length is None:
            continue
        g, y = one(length, 3)
        notes: list[str] = []
        close(run(g.build(y, notes=notes, lambda_1=word), x), function(x))
        assert not notes  # the user said it


def test_words_for_vectors() -> None:
    x = draw(1, 2, 6)
    for word in ("rc", "flip-channels"):
        g, y = one(6)
        close(run(g.build(y, lambda_1=word), x), x[:, ::-1])
        # A flattened sequence is held in another order than Keras has it.
        g = Graph()
        flat = g.layer("flat", "Flatten", g.input("x", 3, 2), data_format="channels_last")
        y = g.layer("lambda_1", "Lambda", flat)
        close(run(g.build(y, lambda_1=word), x.reshape(2, 3, 2)), x[:, ::-1])


def test_names_patterns_and_nested_names() -> None:
    x = draw(1, 2, 9, 3)
    g = Graph()
    y = g.layer("model_1/lambda_7", "Lambda", g.layer("relu", "Activation", g.input("x", 9, 3), activation="linear"))
    for said in ({"lambda_7": "rc"}, {"model_1/lambda_7": "rc"}, {"lambda_*": "rc"}, {"*/lambda_?": "rc"}):
        close(run(g.build(y, **said), x), x[:, ::-1, ::-1])
    # A name goes before a pattern, and the first pattern before the next.
    close(run(g.build(y, **{"*": "identity", "lambda_7": "rc"}), x), x[:, ::-1, ::-1])
    close(run(g.build(y, **{"lambda_*": "flip-length", "*": "rc"}), x), x[:, ::-1])


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("reverse", f"what a Lambda does: got 'reverse'; expected {WORDS}"),
        ("", "what a Lambda does: got ''"),
        ("rc:1", "what a Lambda does: got 'rc:1'"),
        ("crop:2", "what a Lambda does: got 'crop:2'; expected crop: and two whole numbers"),
        ("slice:a,b", "what a Lambda does: got 'slice:a,b'; expected slice: and two whole numbers"),
        ("crop:-1,1", "crop: got crop:-1,1; expected no negative numbers"),
        ("crop:6,5", "crop:6,5: got 11 positions; expected some to be left"),
        ("slice:7,3", "slice:7,3: got 11 positions; expected some to be left"),
    ],
)
def test_words_that_are_wrong(word: str, text: str) -> None:
    g, y = one(11, 3)
    with pytest.raises(CheckpointError) as caught:
        g.build(y, lambda_1=word)
    assert text in str(caught.value) and "layer 'lambda_1' (Lambda): " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_words_that_do_not_fit_the_shape() -> None:
    g, y = one(11)
    with pytest.raises(CheckpointError, match=r"flip-length of shape \(11,\): expected a sequence \(L, C\)"):
        g.build(y, lambda_1="flip-length")
    g, y = one(None, 3)
    with pytest.raises(CheckpointError, match="slice of a sequence whose length the file leaves open. Say crop:L,R"):
        g.build(y, lambda_1="slice:0,3")
    g, y = one(11, 3, output_shape=[9, 3])
    with pytest.raises(CheckpointError, match=r"taken to do: got shape \(8, 3\); expected shape \(9, 3\)"):
        g.build(y, lambda_1="crop:1,2")


def test_what_is_not_seen_is_asked_for() -> None:
    asked = r"layer 'lambda_1' \(Lambda\): a Lambda, whose code is not run: got input of shape \(11, 3\), "
    for output, shown in (
        (None, "unknown"),
        ([11, 3], r"\(11, 3\)"),
        ([8, 3], r"\(8, 3\)"),
        ([5, 2], r"\(5, 2\)"),
        ([1] * 90, "90 axes"),
    ):
        g, y = one(11, 3, output_shape=output)
        with pytest.raises(CheckpointError, match=asked + rf"output of shape {shown}; .* Say --lambda lambda_1=WORD"):
            g.build(y)
    g = Graph()
    a, b = g.input("a", 4), g.input("b", 4)
    y = g.layer("lambda_1", "Lambda", a, b)
    with pytest.raises(CheckpointError, match="a Lambda of several values, whose code is not run: got 2 inputs"):
        g.build(y, lambda_1="identity")


# -- what is seen ------------------------------------------------------------------------------------------


def test_a_shorter_length_is_a_symmetric_crop() -> None:
    notes: list[str] = []
    g, y = one(11, 3, output_shape=[7, 3])
    x = draw(1, 2, 11, 3)
    close(run(g.build(y, notes=notes), x), x[:, 2:-2])
    why = "taken for a crop of as much at both ends, to the length that the file declares; "
    assert notes == [f"Lambda 'lambda_1' is {why}if one is not, say --lambda NAME=crop:L,R"]
    # Many are one line.
    z = y
    for i, length in enumerate((5, 3, 1), 2):
        z = g.layer(f"lambda_{i}", "Lambda", z, output_shape=[length, 3])
    notes = []
    close(run(g.build(z, notes=notes), x), x[:, 5:-5])
    assert notes == [f"4 Lambdas (lambda_1, lambda_2, lambda_3, …) are {why}if one is not, say --lambda NAME=crop:L,R"]


@pytest.mark.parametrize("shift", [(1, 3), (3, 1), (2, 1)])
def test_a_crop_that_is_off_by_one_is_caught(shift: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    g, y = one(11, 3, output_shape=[7, 3])
    x = draw(1, 2, 11, 3)
    left, right = shift
    monkeypatch.setattr(lambda_layers, "_crop", lambda value, declared: (f"crop:{left},{right}", "of a mutant"))
    with pytest.raises((AssertionError, CheckpointError)):
        close(run(g.build(y), x), x[:, 2:-2])


def test_of_an_input_of_four_channels_it_is_the_reverse_complement() -> None:
    notes: list[str] = []
    g = Graph()
    y = g.layer("lambda_1", "Lambda", g.input("dna", 10, 4))
    x = draw(1, 2, 10, 4)
    close(run(g.build(y, notes=notes), x), x[:, ::-1, ::-1])
    (note,) = notes
    assert note.startswith("Lambda 'lambda_1' is taken for rc: it reads the input 'dna', of four channels; ")
    assert note.endswith("; if it is not, say --lambda lambda_1=WORD")
    # What it does to control tracks of two channels is not known: the paper's flips their length only.
    g = Graph()
    y = g.layer("lambda_1", "Lambda", g.input("control", 10, 2))
    with pytest.raises(CheckpointError, match="Say --lambda lambda_1=WORD"):
        g.build(y)
    close(run(g.build(y, lambda_1="flip-length"), x[:, :, :2]), x[:, ::-1, :2])


def test_an_input_joined_to_its_lambda_in_mirrored_places_is_a_strand_pair() -> None:
    g, notes = Graph(), []
    control, mid = g.input("control", 10, 2), g.input("mid", 10, 3)
    seen = g.layer("lambda_1", "Lambda", control)
    y = g.layer("join", "Concatenate", seen, mid, control, axis=-1)
    x, m = draw(1, 2, 10, 2), draw(2, 2, 10, 3)
    close(run(g.build(y, notes=notes), x, m), np.concatenate([x[:, :, ::-1], m, x], axis=2))
    assert "taken for flip-channels: 'join' joins it and the input 'control' in mirrored places" in notes[0]


@pytest.mark.parametrize(("order", "axis"), [((0, 2, 1), -1), ((0, 1, 2), 1), ((1, 0, 2), -1)])
def test_other_places_say_nothing(order: tuple[int, ...], axis: int) -> None:
    g = Graph()
    control, mid = g.input("control", 10, 2), g.input("mid", 10, 2)
    parts = [g.layer("lambda_1", "Lambda", control), mid, control]
    y = g.layer("join", "Concatenate", *(parts[i] for i in order), axis=axis)
    with pytest.raises(CheckpointError, match="Say --lambda"):
        g.build(y)


def test_one_number_is_its_own_flip() -> None:
    g, notes = Graph(), []
    y = g.layer("lambda_1", "Lambda", g.input("count", 1))
    x = draw(1, 3, 1)
    close(run(g.build(y, notes=notes), x), x)
    assert "taken for identity: the input 'count' is one number" in notes[0]


def siamese(merge: str, lambda_of_answer: bool = True) -> tuple[Graph, int]:
    """The paper's profile form: both strands through one layer, the second answer turned back, and a merge."""
    g = Graph()
    x = g.input("dna", 10, 4)
    other = g.layer("rc_in", "Lambda", x)
    weights = {"kernel": draw(1, 3, 4, 2)}
    config = {"filters": 2, "kernel_size": [3], "strides": [1], "padding": "valid", "data_format": "channels_last"}
    config |= {"dilation_rate": [1], "activation": "relu", "use_bias": False}
    first = g.layer("conv", "Conv1D", x, weights=weights, **config)
    second = g.layer("conv", "Conv1D", other)
    second = g.layer("drop", "Dropout", second, rate=0.5)
    if lambda_of_answer:
        second = g.layer("rc_out", "Lambda", second)
    return g, g.layer("merge", merge, first, second, axis=-1)


def branch(x: Array) -> Array:
    kernel = draw(1, 3, 4, 2)
    return np.maximum(sum(x[:, k : k + 8] @ kernel[k] for k in range(3)), 0)


@pytest.mark.parametrize("merge", ["Average", "Add", "Maximum", "Concatenate"])
def test_the_answer_for_the_other_strand_is_turned_back(merge: str) -> None:
    functions: dict[str, Callable[[Array, Array], Array]] = {
        "Average": lambda a, b: (a + b) / 2,
        "Add": lambda a, b: a + b,
        "Maximum": np.maximum,
        "Concatenate": lambda a, b: np.concatenate([a, b], axis=2),
    }
    notes: list[str] = []
    g, y = siamese(merge)
    x = draw(2, 2, 10, 4)
    close(run(g.build(y, notes=notes), x), functions[merge](branch(x), branch(x[:, ::-1, ::-1])[:, ::-1, ::-1]))
    assert [note.split(":")[0] for note in notes] == [
        "Lambda 'rc_in' is taken for rc",
        "Lambda 'rc_out' is taken for rc",
    ]
    assert "'merge' merges it with another answer of 'conv'" in notes[1]


def test_one_lambda_for_input_and_answer_is_one_function() -> None:
    # The paper's wrapper calls one Lambda on the input and on the answer.
    g = Graph()
    x = g.input("dna", 10, 4)
    other = g.layer("rc", "Lambda", x)
    norm = {name: draw(i, 4) ** 2 + 1 for i, name in enumerate(("gamma", "beta", "moving_mean", "moving_variance"))}
    first = g.layer("norm", "BatchNormalization", x, weights=norm, axis=-1, epsilon=0.1, momentum=0.9)
    second = g.layer("rc", "Lambda", g.layer("norm", "BatchNormalization", other))
    values = draw(2, 2, 10, 4)
    got = run(g.build(g.layer("join", "Concatenate", first, second, axis=2)), values)
    half = (values - norm["moving_mean"]) / np.sqrt(norm["moving_variance"] + 0.1) * norm["gamma"] + norm["beta"]
    turned = values[:, :, ::-1] - norm["moving_mean"]
    turned = (turned / np.sqrt(norm["moving_variance"] + 0.1) * norm["gamma"] + norm["beta"])[:, :, ::-1]
    close(got, np.concatenate([half, turned], axis=2))


def test_two_places_that_speak_for_two_functions_are_asked_about() -> None:
    g = Graph()
    control, dna = g.input("control", 10, 2), g.input("dna", 10, 4)
    seen = g.layer("lambda_1", "Lambda", control)
    pair = g.layer("join", "Concatenate", seen, control, axis=-1)
    y = g.layer("all", "Concatenate", pair, g.layer("lambda_1", "Lambda", dna), axis=-1)
    with pytest.raises(CheckpointError, match="Say --lambda lambda_1=WORD"):
        g.build(y)


# -- files -----------------------------------------------------------------------------------------------------


def write(model: Any, path: Path) -> Path:
    oracles.draw_weights(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(path)
    return path


def compare(model: Any, path: Path, options: ReadOptions | None = None) -> list[str]:
    found = read_keras(path, options)
    assert isinstance(found.model, Network)
    got, want = oracles.answers(model, found.model, oracles.draw_inputs(model))
    assert max(map(oracles.difference, got, want)) <= oracles.TOLERANCE
    return found.notes


@pytest.mark.parametrize("age", [2, 3])
def test_the_papers_binary_form(age: int, tmp_path: Path) -> None:
    keras = oracles.keras2() if age == 2 else oracles.keras3()
    layers = keras.layers
    turn = (lambda x: x[:, ::-1, ::-1]) if age == 2 else (lambda x: keras.ops.flip(x, (1, 2)))
    x = layers.Input((40, 4), name="dna")
    other = layers.Lambda(turn, name="turned")(x)
    branch = keras.Sequential(
        [
            *(layers.Input((40, 4)), layers.Conv1D(5, 7), layers.BatchNormalization(), layers.Activation("relu")),
            *(layers.MaxPooling1D(8, 8), layers.Flatten(), layers.Dense(1)),
        ],
        name="shared_layers",
    )
    merged = layers.Average()([branch(x), branch(other)])
    model = keras.Model(x, layers.Activation("sigmoid")(merged))
    (note,) = compare(model, write(model, tmp_path / ("net.h5" if age == 2 else "net.keras")))
    assert note.startswith("Lambda 'turned' is taken for rc: it reads the input 'dna', of four channels")


def test_the_papers_profile_form(tmp_path: Path) -> None:
    keras = oracles.keras2()
    layers = keras.layers
    x, count, control = layers.Input((40, 4)), layers.Input((1,)), layers.Input((34, 2))
    flip = layers.Lambda(lambda x: x[:, ::-1, ::-1], name="rc_input")
    first, second = layers.Conv1D(6, 3, activation="relu"), layers.Conv1D(6, 3, dilation_rate=2, activation="relu")
    profile, final, dense = layers.Conv1D(2, 1), layers.Conv1D(2, 1), layers.Dense(2)

    def branch(x: Any, tracks: Any, back: bool) -> tuple[Any, Any]:
        x = first(x)
        crop = layers.Lambda(lambda x: x[:, 2:-2], output_shape=(34, 6))(x)
        x = layers.Average()([crop, second(x)])
        counts = dense(layers.Concatenate()([layers.GlobalAveragePooling1D()(x), count]))
        tracks = layers.Lambda(lambda x: x[:, ::-1, :], name="control")(tracks) if back else tracks
        return counts, final(layers.Concatenate()([profile(x), tracks]))

    a, b = branch(x, control, False), branch(flip(x), control, True)
    counts = layers.Lambda(lambda x: x[:, ::-1], name="rc_counts")(b[0])
    turned = layers.Lambda(lambda x: x[:, ::-1, ::-1], name="rc_profile")(b[1])
    model = keras.Model([x, count, control], [layers.Average()([a[0], counts]), layers.Average()([a[1], turned])])
    path = write(model, tmp_path / "net.h5")
    with pytest.raises(
        CheckpointError, match=r"'control' \(Lambda\).*input of shape \(34, 2\).* Say --lambda control=WORD"
    ):
        read_keras(path)
    notes = compare(model, path, ReadOptions(lambdas={"control": "flip-length"}))
    assert sorted(note.split(" taken for ")[1].split()[0] for note in notes) == ["a", "rc:", "rc:", "rc:"]
    # Another word is another function.
    with pytest.raises(AssertionError):
        compare(model, path, ReadOptions(lambdas={"control": "rc"}))
    with pytest.raises(AssertionError):
        compare(model, path, ReadOptions(lambdas={"control": "flip-length", "rc_profile": "flip-length"}))
