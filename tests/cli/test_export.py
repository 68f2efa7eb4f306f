"""``rcproof export``: what it writes, what it says, and that a failure writes nothing."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch
from torch import nn

import rcproof
from rcproof.network.strand_nodes import StrandNodes
from tests.cli.commands import assert_refused, conjoined, files, net, run, run_json, saved


def answer(path: Path, x: torch.Tensor) -> torch.Tensor:
    if path.suffix == ".py":
        found: torch.Tensor = runpy.run_path(str(path))["load"]()(x)
        return found
    if path.suffix == ".safetensors":
        return rcproof.load(path)(x)
    with path.open("rb") as file:
        return torch.export.load(file).module()(x)


def same(path: Path, model: nn.Module) -> None:
    x = torch.randn(3, 4, 40, generator=torch.Generator().manual_seed(1))
    want = model(x)
    assert not ((answer(path, x) - want).abs().max() > 1e-5 * want.abs().max())


@pytest.mark.parametrize("suffix", [".pt2", ".py", ".safetensors"])
def test_converted_network(converted: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"net{suffix}"
    result = run("export", converted, "-o", out)
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    shown = result.stdout.replace("\n", "")
    for part in (
        "equal bit by bit",
        "one-hot, batch 1",
        "one-hot, batch 5",
        "length",
        "1e-04",
        "free: batch, length",
        str(out),
    ):
        assert part in shown
    same(out, conjoined())


def test_onnx(converted: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="needs the extra onnx")
    data = run_json("export", converted, "-o", tmp_path / "net.onnx", "--layout", "stacked")
    assert (data["format"], data["dtype"], data["dynamic_batch"], data["dynamic_length"]) == (
        "onnx",
        "float32",
        True,
        True,
    )
    assert data["files"] == [str(tmp_path / "net.onnx")]
    assert [report["title"] for report in data["checks"]] == ["tensors", "outputs", "outputs at other lengths"]
    assert all(report["passed"] for report in data["checks"])


def test_json_of_a_conjoined_file(source: Path, tmp_path: Path) -> None:
    """The source itself may be conjoined: it is converted on the way."""
    data = run_json("export", source, "-o", tmp_path / "net.py", "--layout", "stacked", "--shape", "4,30", "--seed", 3)
    assert data["schema"] == "rcproof-export/1"
    assert data["passed"] is True
    assert data["layout"] == "stacked"
    assert data["input_shapes"] == [[4, 30]]
    assert data["files"] == [str(tmp_path / "net.py"), str(tmp_path / "net.pt")]
    assert {report["seed"] for report in data["checks"][1:]} == {3}
    same(tmp_path / "net.py", conjoined())


def test_format_by_name(converted: Path, tmp_path: Path) -> None:
    data = run_json("export", converted, "-o", tmp_path / "network", "--format", "safetensors")
    assert data["format"] == "safetensors"
    assert run_json("inspect", tmp_path / "network")["kind"] == "network"


def test_one_strand_as_it_is_or_conjoined_first(tmp_path: Path) -> None:
    saved(net(), tmp_path / "plain.safetensors")
    run_json("export", tmp_path / "plain.safetensors", "-o", tmp_path / "one.safetensors")
    same(tmp_path / "one.safetensors", net())
    options = ["--merge", "max", "--final", "softplus"]
    run_json("export", tmp_path / "plain.safetensors", "-o", tmp_path / "both.safetensors", *options)
    same(tmp_path / "both.safetensors", rcproof.Conjoined(net(), merge="max", final="softplus").eval())


def test_state_dict_with_its_code(nets: str, state: Path, tmp_path: Path) -> None:
    data = run_json("export", state, "--model", f"{nets}:conjoined", "-o", tmp_path / "out.safetensors")
    assert data["dynamic_length"] is True


# -- failures -----------------------------------------------------------------------------------------------


def test_failed_comparison_writes_nothing(converted: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = StrandNodes.merge
    monkeypatch.setattr(StrandNodes, "merge", lambda self, a, b, mode: real(self, a, b, "sum"))
    assert_refused(["export", converted, "-o", out], "outputs: 5 of 5 checks failed", "one-hot, batch 2", code=1)
    assert out.read_bytes() == b"precious"
    assert files(out.parent) == {out.name}


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (
            ["-o", "net.xyz"],
            ["no format is known by the name of 'net.xyz'", ".pt2, .onnx, .py, .safetensors", "--format"],
        ),
        (["-o", "net.pt2", "--format", "tflite"], ["no such format to export: got 'tflite'"]),
        (["-o", "no/net.pt2"], ["the folder of output", "does not exist"]),
        (["-o", "net.pt2", "--shape", "4,30", "--shape", "1"], ["--shape: got 2 shapes for 1 inputs"]),
        (["-o", "net.pt2", "--merge", "max"], ["RCPS network already"]),
        (["-o", "net.pt2", "--shape", "5,30"], ["5"]),
    ],
)
def test_bad_options(
    converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], parts: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    before = files(tmp_path)
    assert_refused(["export", converted, *words], *parts)
    assert files(tmp_path) == before


def test_source_is_never_written_over(nets: str, state: Path, tmp_path: Path, converted: Path) -> None:
    before = state.read_bytes()
    assert_refused(["export", converted, "-o", converted], "is also SOURCE")
    words = ["export", state, "--model", f"{nets}:conjoined", "-o", state.with_suffix(".py")]
    assert_refused(words, "score.pt' is also SOURCE")
    assert state.read_bytes() == before


def test_missing_file(tmp_path: Path) -> None:
    assert_refused(["export", tmp_path / "none.safetensors", "-o", tmp_path / "net.pt2"], "does not exist")


def test_shapes_that_nobody_knows(converted: Path, tmp_path: Path) -> None:
    rcproof.save(rcproof.load(converted), tmp_path / "bare.safetensors")
    assert_refused(
        ["export", tmp_path / "bare.safetensors", "-o", tmp_path / "net.pt2"],
        "shapes of the network's inputs",
        "--shape",
    )
    run_json("export", tmp_path / "bare.safetensors", "-o", tmp_path / "net.safetensors", "--shape", "4,30")
