"""``rcproof verify --level``: exact, bounds, all; reports in files; sequences and labels from files."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import rcproof
from rcproof.cli.labelled import read_labelled
from rcproof.errors import CheckpointError, ShapeError
from tests.cli.commands import assert_refused, failed, run, run_json, saved

BASES = "ACGT"


def sequences(n: int = 40, length: int = 30) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, (n, length))
    return np.eye(4)[codes].transpose(0, 2, 1), np.arange(n) % 2


def table(path: Path, x: np.ndarray, y: np.ndarray | None) -> Path:
    rows = ["".join(BASES[i] for i in row) for row in x.argmax(1)]
    with gzip.open(path, "wt", newline="") if path.suffix == ".gz" else path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sequence"] if y is None else ["sequence", "label"])
        writer.writerows([[s] if y is None else [s, v] for s, v in zip(rows, rows if y is None else y, strict=True)])
    return path


# -- levels --------------------------------------------------------------------------------------------


def test_exact(source: Path, converted: Path) -> None:
    data = run_json("verify", source, converted, "--level", "exact")
    assert data["level"] == "exact"
    assert [r["title"] for r in data["checks"]] == ["same representations", "exact arithmetic", "certificate"]
    found = {c["name"]: c for c in data["checks"][1]["checks"]}
    assert found["one-hot: output"]["error"] == 0
    assert found["one-hot: output"]["tolerance"] == 0
    assert found["one-hot: output"]["detail"] == "2 arguments of sigmoid, equal"
    assert sum("length" in name for name in found) == 4


def test_bounds(source: Path, converted: Path) -> None:
    options = ["--level", "bounds", "--precision", "float32", "--precision", "bfloat16"]
    data = run_json("verify", source, converted, *options)
    assert [b["precision"] for b in data["bounds"]] == ["float32", "bfloat16"]
    assert set(data["bounds"][0]["tightness"]) == {"box", "input", "run", "pair"}
    assert "samples" not in data["bounds"][0]
    assert "bound over difference, run" in run("verify", source, converted, *options).stdout


def test_all(source: Path, converted: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the page holds a figure")
    page = tmp_path / "page.html"
    result = run("verify", source, converted, "--level", "all", "--precision", "float32", "--report", page)
    assert result.exit_code == 0, result.output
    assert "all checks hold" in result.stdout
    assert page.read_text().count("<svg") == 1
    assert "rounding bounds, float32" in page.read_text()


def test_reports(source: Path, converted: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="figures need matplotlib")
    options = ["--level", "bounds", "--precision", "float32"]
    assert run("verify", source, converted, *options, "--report", tmp_path / "r.png").exit_code == 0
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
    assert run("verify", source, converted, *options, "--report", tmp_path / "r.json").exit_code == 0
    written = json.loads((tmp_path / "r.json").read_text())
    assert written["facts"]["level"] == "bounds"
    assert written["bounds"][0]["samples"]


# -- mutants -------------------------------------------------------------------------------------------


def test_one_bit(source: Path, converted: Path, tmp_path: Path) -> None:
    network = rcproof.load(converted)
    weight = network.get_submodule("0").weight.data.view(-1)
    weight[5] = np.nextafter(np.float32(weight[5].item()), np.float32(9)).item()
    mutant = saved(network, tmp_path / "mutant.safetensors")
    found = failed(source, mutant, "--level", "exact")
    assert "one-hot: output" in found["exact arithmetic"]
    assert any("run" in name for name in failed(source, mutant, "--level", "bounds")["rounding bounds, float64"])


def test_dropped_half(source: Path, converted: Path, tmp_path: Path) -> None:
    network = rcproof.load(converted)
    next(n for n in network.rcproof_graph().nodes if n.op == "merge").target = "sum"
    network.replan()
    mutant = saved(network, tmp_path / "mutant.safetensors")
    assert "exact arithmetic" in failed(source, mutant, "--level", "exact")
    assert "rounding bounds, float32" in failed(source, mutant, "--level", "all")


# -- what cannot be used ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "say"),
    [
        (["--level", "proof"], "--level"),
        (["--level", "bounds", "--precision", "float8"], "precision of a rounding bound: got 'float8'"),
        (["--level", "exact", "--data", "x.csv"], "--data and --fasta: got --level exact"),
        (["--report", "page.pdf"], "ends in .html, .png, .json"),
        (["--report", "page.png"], "--report as a figure: got --level numeric"),
        (["--data", "x.csv", "--fasta", "x.fa"], "got both"),
        (["--data", "missing.csv"], "'missing.csv' does not exist"),
    ],
)
def test_bad_options(source: Path, converted: Path, options: list[str], say: str) -> None:
    assert_refused(["verify", source, converted, *options], say)


def test_one_file(source: Path) -> None:
    assert_refused(["verify", source, "--level", "exact"], "compare two networks", "Give CONVERTED as well")


def test_not_covered(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv1d(4, 3, 5), nn.Tanh(), nn.Conv1d(3, 2, 3), nn.ReLU(), nn.AdaptiveMaxPool1d(1), nn.Flatten()
    )
    source, out = saved(rcproof.Conjoined(net).eval(), tmp_path / "tanh.safetensors"), tmp_path / "rcps.safetensors"
    assert run("convert", source, "-o", out).exit_code == 0
    assert_refused(["verify", source, out, "--level", "exact"], "numbers that come from tanh is not covered by exact")
    data = run_json("verify", source, out, "--level", "all", "--precision", "float32")
    assert len(data["not_covered"]) == 1
    assert "not covered: exact arithmetic" in run("verify", source, out, "--level", "all").stdout


# -- data ------------------------------------------------------------------------------------------------


def test_metrics_on_data(source: Path, converted: Path, tmp_path: Path) -> None:
    x, y = sequences()
    np.savez(tmp_path / "d.npz", X=x, Y=np.stack([y, 1 - y], 1))
    data = run_json("verify", source, converted, "--data", tmp_path / "d.npz")
    report = data["checks"][-2]
    assert report["title"] == "the same metrics on data"
    assert [c["name"] for c in report["checks"]] == ["output: AuROC of task 0", "output: AuROC of task 1"]
    one = ["verify", source, converted, "--data", table(tmp_path / "d.csv", x, y)]
    assert_refused(one, "labels of output: got shape (40,); expected (40, 2)")
    fasta = tmp_path / "d.fa"
    fasta.write_text(">a\n" + "ACGTTGCA" * 4 + "\n>b\n" + "AACCGGTN" * 4 + "\n>c\n" + "ATTACGAA" * 4 + "\n")
    data = run_json("verify", source, converted, "--fasta", fasta)
    assert data["checks"][-2]["checks"][0]["name"] == "output: 1 − Pearson of the two answers"


@pytest.mark.parametrize("name", ["d.csv", "d.csv.gz", "d.npz", "d.h5"])
def test_read(tmp_path: Path, name: str) -> None:
    x, y = sequences()
    path = tmp_path / name
    if name.endswith("npz"):
        np.savez(path, X=x.transpose(0, 2, 1), Y=y, other=np.zeros(3))
    elif name.endswith("h5"):
        h5py = pytest.importorskip("h5py", reason="HDF5 files need h5py")
        with h5py.File(path, "w") as file:
            file["X_test"], file["Y_test"] = x.astype("f4"), y[:, None]
    else:
        table(path, x, y)
    found, labels = read_labelled(str(path))
    assert np.array_equal(found.numpy(), x)
    assert labels is not None
    assert np.array_equal(labels.numpy().ravel(), y)
    assert found.dtype == labels.dtype == torch.float64


def test_read_without_labels(tmp_path: Path) -> None:
    assert read_labelled(str(table(tmp_path / "d.csv", sequences()[0], None)))[1] is None


def test_bad_files(tmp_path: Path) -> None:
    x, y = sequences()
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "b.npz").write_bytes(b"PK no archive")
    np.savez(tmp_path / "c.npz", Z=x)
    np.savez(tmp_path / "d.npz", X=x[:, :3], Y=y)
    np.savez(tmp_path / "e.npz", X=x, Y=y[:5])
    np.savez(tmp_path / "f.npz", X=x, Y=np.array(["a", "b"]))
    np.savez(tmp_path / "g.npz", X=np.array([{}], dtype=object))
    (tmp_path / "h.csv").write_text("a,b\n1,2\n")
    (tmp_path / "i.csv").write_text("sequence,label\nACGT,high\n")
    (tmp_path / "j.csv.gz").write_bytes(b"\x1f\x8b broken")
    (tmp_path / "k.csv").write_text("sequence,label\n")
    for name, error, say in (
        ("a.txt", CheckpointError, "a file that ends in .h5, .npz, .csv or .csv.gz"),
        ("b.npz", CheckpointError, "b.npz cannot be read"),
        ("c.npz", CheckpointError, "no sequences in"),
        ("d.npz", ShapeError, r"got shape \(40, 3, 30\); expected \(N, 4, L\) or \(N, L, 4\)"),
        ("e.npz", ShapeError, "got 5 for 40 sequences; expected one each"),
        ("f.npz", CheckpointError, "got dtype <U1; expected numbers"),
        ("g.npz", CheckpointError, "g.npz cannot be read"),
        ("h.csv", CheckpointError, "columns 'sequence' and 'label'"),
        ("i.csv", CheckpointError, "columns 'sequence' and 'label'"),
        ("j.csv.gz", CheckpointError, "cannot be read"),
        ("k.csv", CheckpointError, "holds no rows"),
    ):
        with pytest.raises(error, match=say):
            read_labelled(str(tmp_path / name))
