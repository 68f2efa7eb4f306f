"""HDF5 files from outside: links, bombs, damage; a library that crashes, hangs or lies: one clear line, no harm."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import resource
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rcproof.checkpoints.keras import archive, hdf5
from rcproof.checkpoints.keras.hdf5 import read_hdf5
from rcproof.checkpoints.keras.read import read_keras_model
from rcproof.errors import CheckpointError
from tests.checkpoints.keras.hostile_files import config, packed, refusal, weights, write

h5py = pytest.importorskip("h5py", reason="Keras files are read with h5py")


def soft(file: Any) -> None:
    file["model_weights/loop"] = h5py.SoftLink("/model_weights")


def external(file: Any) -> None:
    file["model_weights/far"] = h5py.ExternalLink("/etc/hostname", "/")


def hard(file: Any) -> None:
    file["model_weights/out/again"] = file["model_weights"]


def elsewhere(file: Any) -> None:
    group = file["model_weights/out/out"]
    del group["kernel:0"]
    space = h5py.h5s.create_simple((4, 2))
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_external(b"/etc/passwd", 0, 32)
    h5py.h5d.create(group.id, b"kernel:0", h5py.h5t.IEEE_F32LE, space, properties)


def virtual(file: Any) -> None:
    group = file["model_weights/out/out"]
    del group["kernel:0"]
    layout = h5py.VirtualLayout((4, 2), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4, 2))
    group.create_virtual_dataset("kernel:0", layout)


def huge(file: Any) -> None:
    group = file["model_weights/out/out"]
    del group["kernel:0"]
    group.create_dataset("kernel:0", (1 << 20, 1 << 20), "f4")  # never written, so no bytes in the file


def bomb(file: Any) -> None:
    group = file["model_weights/out/out"]
    del group["kernel:0"]
    group.create_dataset("kernel:0", (1 << 17, 1 << 17), "f4", compression="gzip", chunks=(4, 4))


def squeezed(file: Any) -> None:
    group = file["model_weights/out/out"]
    del group["kernel:0"]
    group.create_dataset(
        "kernel:0", data=np.zeros((1 << 12, 1 << 12), "f4"), compression="gzip", chunks=(1 << 12, 1 << 12)
    )


def words_of_text(file: Any) -> None:
    group = file["model_weights/out/out"]
    del group["kernel:0"]
    group["kernel:0"] = np.array([b"a", b"b"], dtype=h5py.string_dtype())


def deep(file: Any) -> None:
    file.create_group("model_weights/" + "/".join("a" * 200))


HDF5: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a soft link": (soft, "got '/model_weights/loop' is a link to somewhere else"),
    "a link out of the file": (external, "got '/model_weights/far' is a link to somewhere else"),
    "a group in itself": (hard, "is in the file in two places"),
    "an array in another file": (elsewhere, "out/kernel:0' has its values in another file"),
    "a virtual array": (virtual, "out/kernel:0' has its values in another file"),
    "a huge array of nothing": (huge, "should have 4398046511104 bytes, and 0 are in the file"),
    "a huge packed array of nothing": (bomb, "would take 68719476736 bytes, from 0"),
    "zeros packed a thousandfold": (squeezed, "would take 67108864 bytes, from"),
    "text for numbers": (words_of_text, "holds object, which is no number"),
    "deep groups": (deep, "groups nested more than 64 deep"),
    "no layer_names": (lambda f: f["model_weights"].attrs.pop("layer_names"), "got no attribute 'layer_names'"),
    "layer_names of numbers": (
        lambda f: f["model_weights"].attrs.update(layer_names=[1, 2]),
        "attribute 'layer_names': got something other than names",
    ),
    "a layer without a group": (
        lambda f: f["model_weights"].attrs.update(layer_names=[b"inner", b"gone"]),
        "the weights of layer 'gone': got no such group in the file",
    ),
    "a path as a name": (
        lambda f: f["model_weights"].attrs.update(layer_names=[b"inner", b"../../out"]),
        "the weights of layer '../../out': got no such group",
    ),
    "a layer twice": (
        lambda f: f["model_weights"].attrs.update(layer_names=[b"inner", b"inner", b"out"]),
        "two groups of weights of one name: got 'inner'",
    ),
    "a weight without an array": (
        lambda f: f["model_weights/out"].attrs.update(weight_names=[b"out/gone"]),
        "the weights of layer 'out': got no array 'out/gone' in the file",
    ),
    "a weight that is a group": (
        lambda f: f["model_weights/out"].attrs.update(weight_names=[b"out"]),
        "got no array 'out' in the file",
    ),
    "weights of another layer": (
        lambda f: f["model_weights/out"].attrs.update(weight_names=[b"out/kernel:0", b"out/kernel:0"]),
        "do not fit its configuration: got 2: out/kernel:0, out/kernel:0; expected 1: kernel",
    ),
    "a configuration of numbers": (
        lambda f: f.attrs.update(model_config=3),
        "does not say what network they belong to",
    ),
    "a configuration of lists": (
        lambda f: f.attrs.update(model_config=np.zeros((2, 2))),
        "'model_config' of '' is too la",
    ),
    "a name that is no text": (
        lambda f: h5py.h5g.create(f.id, b"model_weights/\xff\xfe"),
        "is damaged, or is no HDF5 file of Keras",
    ),
}


@pytest.mark.parametrize("case", HDF5)
def test_hdf5(case: str, tmp_path: Path) -> None:
    change, words = HDF5[case]
    assert words in refusal(write(tmp_path / "a.h5", change=change))


def test_packed_arrays_are_read(tmp_path: Path) -> None:
    array = np.arange(8, dtype="f4").reshape(4, 2)

    def packed(file: Any) -> None:
        group = file["model_weights/out/out"]
        del group["kernel:0"]
        group.create_dataset("kernel:0", data=array, compression="gzip", shuffle=True, fletcher32=True)

    found = read_keras_model(write(tmp_path / "a.h5", change=packed))
    np.testing.assert_array_equal(found.layers["out"].weights["kernel"], array)


@pytest.mark.parametrize("dtype", ["<f2", ">f4", ">f8", "bfloat16"])
def test_other_numbers(dtype: str, tmp_path: Path) -> None:
    """Half precision and other byte orders become what torch takes; one array in double does not make the others so."""
    array = np.arange(8, dtype="f4").reshape(4, 2)

    def changed(file: Any) -> None:
        group = file["model_weights/out/out"]
        del group["kernel:0"]
        if dtype == "bfloat16":
            halves = (array.view("<u4") >> 16).astype("<u2").view("V2")
            group["kernel:0"] = halves
            group["kernel:0"].attrs["dtype"] = "bfloat16"
        else:
            group["kernel:0"] = array.astype(dtype)

    found = read_keras_model(write(tmp_path / "a.h5", change=changed))
    kernel = found.layers["out"].weights["kernel"]
    assert kernel.dtype == np.dtype("<f4")
    np.testing.assert_array_equal(kernel, array)


def test_optimizers_are_not_read(tmp_path: Path) -> None:
    """Nor anything else beside the weights: such groups may be as strange as they like."""

    def more(file: Any) -> None:
        file.create_group("optimizer_weights")["far"] = h5py.ExternalLink("/etc/hostname", "/")
        file["note"] = "text"

    assert read_keras_model(write(tmp_path / "a.h5", change=more)).outputs


def test_names_that_were_cut(tmp_path: Path) -> None:
    """Keras cuts attributes over 64 kB into parts."""

    def cut(file: Any) -> None:
        attrs = file["model_weights"].attrs
        del attrs["layer_names"]
        attrs["layer_names0"], attrs["layer_names1"] = [b"x", b"inner"], [b"out"]

    assert read_keras_model(write(tmp_path / "a.h5", change=cut)).layers["out"].weights


# -- the process that reads --------------------------------------------------------------------------------------------
def test_a_file_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.h5")
    monkeypatch.setattr(hdf5, "SECONDS", 0)  # as if every file took too long
    assert "got no end after 0 seconds of reading" in refusal(path)


def test_a_library_that_crashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.h5")
    honest = subprocess.Popen

    def crashing(command: list[str], **options: Any) -> Any:
        return honest([sys.executable, "-c", "import os; os.kill(os.getpid(), 11)"], **options)

    monkeypatch.setattr(hdf5.subprocess, "Popen", crashing)
    assert "got the HDF5 library stopped with -11" in refusal(path)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"", "the HDF5 library stopped with"),
        (struct.pack("<Q", 1 << 60), "a header that is too long"),
        (struct.pack("<Q", 4) + b"{{{{", "a header that is damaged"),
        (struct.pack("<Q", 2) + b"{}", "KeyError"),
        (None, "arrays that are too large"),
    ],
)
def test_a_library_that_lies(said: bytes | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even a reader that was taken over gets no memory and no code here."""
    if said is None:
        header = json.dumps(
            {"root": {"attrs": {}, "groups": {}, "arrays": {}}, "arrays": [["<f4", [1 << 40]]]}
        ).encode()
        said = struct.pack("<Q", len(header)) + header
    (tmp_path / "said").write_bytes(said)
    honest = subprocess.Popen

    def lying(command: list[str], **options: Any) -> Any:
        return honest(["cat", str(tmp_path / "said")], **options)

    path = write(tmp_path / "a.h5")
    monkeypatch.setattr(hdf5.subprocess, "Popen", lying)
    assert words in refusal(path)


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A packed array within the ratio, but beyond what the process may take."""

    def large(file: Any) -> None:
        group = file["model_weights/out/out"]
        del group["kernel:0"]
        noise = np.random.default_rng(0).integers(0, 2, (1 << 12, 1 << 12)).astype("f4")
        group.create_dataset("kernel:0", data=noise, compression="gzip", chunks=(1 << 12, 1 << 12))

    path = write(tmp_path / "a.h5", change=large)
    monkeypatch.setattr(hdf5, "MEMORY", 192 << 20)
    assert "is damaged" in refusal(path)
    used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert used < 2 << 20  # kilobytes


def test_the_process_is_told_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No plugin of the user's is loaded, and no module from where the command runs."""
    (tmp_path / "json.py").write_text("raise SystemExit('ran')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("HDF5_PLUGIN_PATH", str(tmp_path))
    assert read_hdf5(write(tmp_path / "a.h5")).groups


def test_without_h5py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.h5")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "is an HDF5 file, and h5py is not installed. Run pip install 'rcproof[keras]'" in refusal(path)


# -- damage at random
@pytest.mark.parametrize("container", ["h5", "keras"])
def test_damage(container: str, tmp_path: Path) -> None:
    """Bits flipped, ends cut, pieces moved: one clear line, or a network of the same layers."""
    seed = int(os.environ.get("RCPROOF_SEED", "0"))
    rng = random.Random(f"{container}{seed}")
    if container == "h5":
        good = write(tmp_path / "good.h5").read_bytes()
    else:
        entries = [(archive.CONFIG, json.dumps(config()).encode()), (archive.WEIGHTS, weights(tmp_path))]
        good = packed(tmp_path / "good.keras", entries, zipfile.ZIP_DEFLATED).read_bytes()
    told = []
    for i in range(30):
        data = bytearray(good)
        kind = i % 3
        if kind == 0:
            for _ in range(rng.choice((1, 1, 8))):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[rng.randrange(1, len(data)) :]
        else:
            at, to, size = (rng.randrange(len(data)) for _ in range(3))
            data[to : to + size % 64] = data[at : at + size % 64]
        path = tmp_path / f"damaged.{container}"
        path.write_bytes(data)
        try:
            read_keras_model(path)
            told.append("")
        except CheckpointError as error:
            told.append(str(error))
    assert not any("\n" in line for line in told), seed
    assert told.count("") < 30
