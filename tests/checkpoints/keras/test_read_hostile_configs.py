"""Configurations from outside: cycles, what is not there, what is too much; and files that are something else."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rcproof.checkpoints.imported import ReadOptions
from rcproof.checkpoints.keras import read_keras
from rcproof.checkpoints.keras.read import read_keras_model
from rcproof.errors import CheckpointError
from tests.checkpoints.keras.hostile_files import ARRAYS, Document, config, layers, refusal, write

pytest.importorskip("h5py", reason="Keras files are read with h5py")


def test_the_file_is_good(tmp_path: Path) -> None:
    found = read_keras_model(write(tmp_path / "a.h5"))
    assert [call.layer for call in found.calls] == ["x", "inner/d", "inner/d", "out"]
    np.testing.assert_array_equal(found.layers["out"].weights["kernel"], ARRAYS["out"]["out/kernel:0"])


CONFIGS: dict[str, tuple[Callable[[Document], Any], str]] = {
    "a circle": (
        lambda d: layers(d)[2].update(inbound_nodes=[[["out", 0, 0]]]),
        "the calls of layers need each other in a circle: got inner, out",
    ),
    "a circle of two": (
        lambda d: layers(d)[1].update(inbound_nodes=[[["out", 0, 0]], [["inner", 1, 0]]]),
        "need each other in a circle: got inner, out",
    ),
    "a layer that is not there": (
        lambda d: layers(d)[2].update(inbound_nodes=[[["nobody", 0, 0]]]),
        "a call needs a layer that is not there: got 'nobody'",
    ),
    "a call that is not there": (
        lambda d: layers(d)[2].update(inbound_nodes=[[["inner", 7, 0]]]),
        "a result of layer 'inner' that is not there: got call 7, result 0; expected one of 2 calls",
    ),
    "a negative call": (lambda d: layers(d)[2].update(inbound_nodes=[[["inner", -1, 0]]]), "got call -1, result 0"),
    "a result that is not there": (
        lambda d: layers(d)[2].update(inbound_nodes=[[["inner", 2, 5]]]),
        "a result of 'inner' that is not there: got 5; expected 1 results",
    ),
    "a huge result": (lambda d: layers(d)[2].update(inbound_nodes=[[["inner", 2, 10**9]]]), "not there: got call"),
    "an output that is not there": (lambda d: d["config"].update(output_layers=[["z", 0, 0]]), "not there: got 'z'"),
    "no outputs": (lambda d: d["config"].update(output_layers=[]), "a network without outputs"),
    "outputs that are none": (lambda d: d["config"].update(output_layers=3), "the outputs of a network: got 3"),
    "inputs that are none": (
        lambda d: d["config"].update(input_layers=[["out", 0, 0]]),
        "got layer 'out'; expected an Inp",
    ),
    "an input twice": (
        lambda d: d["config"].update(input_layers=[["x", 0, 0]] * 2),
        "an input of the network that is li",
    ),
    "no inputs": (lambda d: d["config"].update(input_layers=[]), "an input that the network does not list: got x"),
    "two of a name": (lambda d: layers(d)[2].update(name="x"), "two layers of one name: got 'x'"),
    "no name": (lambda d: layers(d)[2].update(name=""), "the name of a Dense: got ''; expected 1 to 200 characters"),
    "a long name": (lambda d: layers(d)[2].update(name="x" * 10**6), "the name of a Dense: got 'xxx"),
    "a name that is none": (lambda d: layers(d)[2].update(name=["x"]), "the name of a Dense: got ['x']"),
    "a layer that is none": (
        lambda d: layers(d).append(7),
        "a layer in the configuration: got 7; expected a class and",
    ),
    "a class that is none": (
        lambda d: layers(d)[2].update(class_name={}),
        "a layer in the configuration: got {'class_n",
    ),
    "arguments that are none": (lambda d: layers(d)[2].update(config=[]), "the arguments of a Dense: got []"),
    "calls that are none": (lambda d: layers(d)[2].update(inbound_nodes=[["x"]]), "a call of a layer: got 'x'; expect"),
    "calls of numbers": (
        lambda d: layers(d)[2].update(inbound_nodes=7),
        "the calls of layer 'out': got 7; expected a list",
    ),
    "arguments of a call": (
        lambda d: layers(d)[2].update(inbound_nodes=[[["x", 0, 0, [1]]]]),
        "a call of a layer: got",
    ),
    "a shape that is none": (
        lambda d: layers(d)[0]["config"].update(batch_input_shape=[None, "4"]),
        "the shape of input 'x': got ['4']; expected the sizes of its axes",
    ),
    "a negative size": (lambda d: layers(d)[0]["config"].update(batch_input_shape=[None, -4]), "input 'x': got [-4]"),
    "a size beyond all": (
        lambda d: layers(d)[0]["config"].update(batch_input_shape=[None, 10**30]),
        "input 'x': got [1000",
    ),
    "no shape": (lambda d: layers(d)[0]["config"].clear(), "input 'x': got none in the configuration"),
    "a nested one with another input": (
        lambda d: layers(d)[1].update(inbound_nodes=[[["x", 0, 0], ["x", 0, 0]], [["inner", 1, 0]]]),
        "a call of 'inner': got 2 inputs; expected 1",
    ),
    "a layer alone": (lambda d: d.update(layers(d)[2]), "got that of a Dense; expected that of a whole network"),
    "a class of nobody": (lambda d: d.update(class_name=None, config={}), "got that of a thing without a class"),
    "a Graph": (lambda d: d.update(class_name="Graph"), "a Graph, the container of Keras 0"),
    "other units": (
        lambda d: layers(d)[2]["config"].update(use_bias=True),
        "got 1: out/kernel:0; expected 2: kernel, bias",
    ),
    "another class": (
        lambda d: layers(d)[2].update(class_name="BatchNormalization"),
        "(BatchNormalization) do not fit",
    ),
    "quantised": (
        lambda d: layers(d)[2]["config"].update(dtype={"class_name": "QuantizedDTypePolicy"}),
        "layer 'out': got quantised weights",
    ),
    "another age": (
        lambda d: d.update(keras_version="1.0"),
        "weights and configuration: got of Keras 2.4.0 and 1.0; expected one age",
    ),
    "a name with a slash": (
        lambda d: layers(d).append({**layers(d)[2], "name": "inner/d", "class_name": "ReLU"}),
        "two layers of one name: got 'inner/d'",
    ),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_configurations(case: str, tmp_path: Path) -> None:
    change, words = CONFIGS[case]
    document = config()
    change(document)
    assert words in refusal(write(tmp_path / "a.h5", document))


def test_results_that_a_layer_does_not_give(tmp_path: Path) -> None:
    """How many there are is known when the layer is built."""
    document = config()
    document["config"]["output_layers"] = [["out", 0, 3]]
    path = write(tmp_path / "a.h5", document)
    assert read_keras_model(path).outputs[0].tensor == 3
    with pytest.raises(CheckpointError, match="a result of layer 'out' that is not there: got 3; expected 1 results"):
        read_keras(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no JSON: got Expecting value"),
        ("{", "is no JSON"),
        ("[1]", "got a list; expected a JSON object"),
        ('"[]"', "got a list; expected a JSON object"),
        ("[" * 50_000 + "]" * 50_000, "is no JSON: got nested too deep"),
        ('{"class_name": "Sequential", "config": ' + "[" * 300 + "]" * 300 + "}", "is nested too deep; expected" ),
        ('{"class_name": "Sequential", "config": []}', "a Sequential without layers"),
        ('{"class_name": "Sequential", "config": {"layers": [' + "9" * 5000 + "]}}", "is no JSON"),
    ],
)  # fmt: skip
def test_texts(text: str, words: str, tmp_path: Path) -> None:
    words = words.replace("deep; expected", "deep: expected")
    assert words in refusal(write(tmp_path / "a.h5", text))


def without_weights(file: Any) -> None:
    del file["model_weights"]["inner"], file["model_weights"]["out"]
    file["model_weights"].attrs["layer_names"] = [b"x"]


def test_networks_that_multiply(tmp_path: Path) -> None:
    """Thirty levels, each of which calls the next twice, would be a billion calls."""

    def level(n: int) -> Document:
        name = f"n{n}"
        if n == 0:
            return {"class_name": "Activation", "config": {"name": name, "activation": "relu"}, "name": name}
        inside = level(n - 1)
        inside["inbound_nodes"] = [[["i", 0, 0]], [[f"n{n - 1}", 0 if n == 1 else 1, 0]]]
        entry = {
            "class_name": "InputLayer",
            "config": {"batch_input_shape": [None, 4]},
            "name": "i",
            "inbound_nodes": [],
        }
        net = {
            "layers": [entry, inside],
            "input_layers": [["i", 0, 0]],
            "output_layers": [[f"n{n - 1}", 1 if n == 1 else 2, 0]],
        }
        return {"class_name": "Functional", "config": net, "name": name}

    for depth, words in ((18, "too many calls of layers"), (30, "networks nested too deep: expected at most 20")):
        begin = time.monotonic()
        assert words in refusal(write(tmp_path / "a.h5", level(depth), without_weights))
        assert time.monotonic() - begin < 30


def test_a_chain_of_many_layers(tmp_path: Path) -> None:
    """Long is not deep."""
    count = 3000
    chain = [{"class_name": "Activation", "config": {"name": f"a{i}", "activation": "relu"}} for i in range(count)]
    chain[0]["config"]["batch_input_shape"] = [None, 4]

    found = read_keras_model(write(tmp_path / "a.h5", {"class_name": "Sequential", "config": chain}, without_weights))
    assert len(found.calls) == count + 1


def test_files_of_other_kinds(tmp_path: Path) -> None:
    full, alone, described = write(tmp_path / "a.h5"), tmp_path / "w.h5", tmp_path / "m.json"
    write(alone, change=lambda file: file.attrs.pop("model_config"))
    described.write_text(json.dumps(config()))
    (tmp_path / "m.yaml").write_text("backend: tensorflow\nclass_name: Sequential\n")
    assert "does not say what network they belong to. Give its configuration: --architecture model.json" in refusal(
        alone
    )
    assert "is a configuration without weights. Give the file of weights, and this one beside it: --archi" in refusal(
        described
    )
    assert "is a configuration without weights" in refusal(tmp_path / "m.yaml")
    assert "has a configuration of its own. Leave --architecture out" in refusal(full, architecture=str(described))
    assert "is no JSON: got YAML, by its first line" in refusal(alone, architecture=str(tmp_path / "m.yaml"))
    assert "does not exist" in refusal(alone, architecture=str(tmp_path / "none.json"))
    assert "does not exist" in refusal(tmp_path / "none.h5")
    (tmp_path / "x").write_bytes(b"\x80\x04pickle")
    assert "is no file of Keras: expected HDF5, or a zip archive (.keras)" in refusal(tmp_path / "x")
    described.write_text(json.dumps(json.dumps(config())))
    assert read_keras_model(alone, ReadOptions(architecture=str(described))).outputs  # a string of JSON, in JSON


def test_code_stays_text(tmp_path: Path) -> None:
    """A Lambda's code is marshalled bytes in base64; nobody looks into it."""
    document = config()
    code = ["4wEAAAAAAAAA\n", None, None]
    layers(document)[1] = {
        "class_name": "Lambda",
        "name": "inner",
        "config": {"name": "inner", "function": list(code), "function_type": "lambda", "arguments": {}},
        "inbound_nodes": [[["x", 0, 0]]],
    }
    layers(document)[2]["inbound_nodes"] = [[["inner", 0, 0]]]

    def fewer(file: Any) -> None:
        del file["model_weights/inner"]
        file["model_weights"].attrs["layer_names"] = [b"x", b"out"]

    found = read_keras_model(write(tmp_path / "a.h5", document, fewer))
    assert found.layers["inner"].config["function"] == code
