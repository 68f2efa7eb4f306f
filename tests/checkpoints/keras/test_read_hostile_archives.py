"""Archives from outside: entries that are missing, twice, too large, or named like paths."""

from __future__ import annotations

import json
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from rcproof.checkpoints.imported import ReadOptions
from rcproof.checkpoints.keras import archive, documents
from rcproof.checkpoints.keras.read import read_keras_model
from tests.checkpoints.keras.hostile_files import ARRAYS, config, packed, refusal, weights

h5py = pytest.importorskip("h5py", reason="Keras files are read with h5py")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_archive_is_good(method: int, tmp_path: Path) -> None:
    entries = [(archive.CONFIG, json.dumps(config()).encode()), (archive.WEIGHTS, weights(tmp_path))]
    found = read_keras_model(packed(tmp_path / "a.keras", entries, method))
    np.testing.assert_array_equal(found.layers["out"].weights["kernel"], ARRAYS["out"]["out/kernel:0"])
    np.testing.assert_array_equal(found.layers["inner/d"].weights["bias"], ARRAYS["inner"]["d/bias:0"])


def test_layers_that_were_counted_twice(tmp_path: Path) -> None:
    """tf.keras 2.12 counts a layer again where it finds it again, so the second one is number 2."""
    dense = {"units": 2, "use_bias": False}
    listed = [{"class_name": "Dense", "config": {"name": f"d{i}", **dense}} for i in range(3)]
    listed[0]["config"]["batch_input_shape"] = [None, 2]
    path = tmp_path / "w.h5"
    with h5py.File(path, "w") as file:
        for i, name in enumerate(("dense", "dense_2", "dense_10")):
            file[f"_layer_checkpoint_dependencies/{name}/vars/0"] = np.full((2, 2), i, "f4")
    (tmp_path / "m.json").write_text(
        json.dumps({"class_name": "Sequential", "config": listed, "keras_version": "2.12.0"})
    )
    found = read_keras_model(path, ReadOptions(architecture=str(tmp_path / "m.json")))
    assert [found.layers[f"d{i}"].weights["kernel"][0, 0] for i in range(3)] == [0, 1, 2]


def test_archives(tmp_path: Path) -> None:
    text, held = json.dumps(config()).encode(), weights(tmp_path)
    good = [(archive.CONFIG, text), (archive.WEIGHTS, held)]
    path = tmp_path / "a.keras"
    cases: list[tuple[list[tuple[str, bytes]], str]] = [
        ([("readme.txt", b"hello")], "is no file of Keras: got a zip archive; expected an entry 'config.json' in it"),
        (good[:1], "got no weights; expected an entry 'model.weights.h5'"),
        ([good[0], ("model.weights.npz", b"")], "got model.weights.npz; expected an entry"),
        ([*good, good[0]], "is damaged: got two entries 'config.json'"),
        ([*good, good[1]], "is damaged: got two entries 'model.weights.h5'"),
        ([good[0], (archive.WEIGHTS, b"")], "is no HDF5 file of Keras"),
        ([good[0], (archive.WEIGHTS, held[:-40])], "damaged"),
        ([(archive.CONFIG, b"\xff\xfe{"), good[1]], "'config.json' in"),
        ([*good, (archive.METADATA, b"[]")], "'metadata.json' in"),
    ]
    for entries, words in cases:
        assert words in refusal(packed(path, entries))
    many = [*good, *((str(i), b"") for i in range(archive.ENTRIES))]
    with zipfile.ZipFile(path, "w") as made:
        for name, data in many:
            made.writestr(name, data)
    assert "got 10002 entries; expected at most 10000" in refusal(path)


def test_archives_that_swell(tmp_path: Path) -> None:
    text = json.dumps(config()).encode()
    path = tmp_path / "a.keras"
    packed(path, [(archive.CONFIG, text), (archive.WEIGHTS, bytes(200 << 20))], zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 20
    assert "entry 'model.weights.h5' of" in refusal(path) and "is too large: got 209715200 bytes from" in refusal(path)
    packed(path, [(archive.CONFIG, text + b" " * documents.LONGEST)], zipfile.ZIP_DEFLATED)
    assert "entry 'config.json' of" in refusal(path)


def test_archives_that_lie_about_sizes(tmp_path: Path) -> None:
    """The size in the directory is smaller than what comes out."""
    text, held = json.dumps(config()).encode(), weights(tmp_path)
    path = packed(tmp_path / "a.keras", [(archive.CONFIG, text), (archive.WEIGHTS, held)], zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    for magic, offset in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        at = data.find(magic, data.find(magic) + 1)
        data[at + offset : at + offset + 4] = struct.pack("<I", 100)
    path.write_bytes(data)
    assert "damaged" in refusal(path)


def test_names_in_archives_are_no_paths(tmp_path: Path) -> None:
    text, held = json.dumps(config()).encode(), weights(tmp_path)
    folder = tmp_path / "in"
    folder.mkdir()
    entries = [(archive.CONFIG, text), (archive.WEIGHTS, held)]
    entries += [("../escaped", b"x"), (str(tmp_path / "absolute"), b"x"), ("assets/../../../x", b"x")]
    assert read_keras_model(packed(folder / "a.keras", entries)).outputs
    assert sorted(os.listdir(tmp_path)) == ["in", "w.h5"] and os.listdir(folder) == ["a.keras"]
