"""``rcproof verify``: right pairs of files pass, and every broken one is caught."""

from __future__ import annotations

from pathlib import Path

import pytest

import rcproof
from rcproof.checking.sources import same_action
from tests.cli.commands import failed, net, run, run_json, saved


def test_right(source: Path, converted: Path) -> None:
    result = run("verify", source, converted)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert "all checks hold" in result.stdout
    data = run_json("verify", source, converted, "--seed", 4)
    assert [report["title"] for report in data["checks"]] == [
        "same representations",
        "equal to the source",
        "equivariance",
        "stacked equals batched",
        "independence of examples",
        "certificate",
    ]
    names = {check["name"] for check in data["checks"][1]["checks"]}
    assert {"some-n: output", "one-hot: gradient of output by input 0"} <= names
    assert sum("length" in name for name in names) >= 4
    assert data["checks"][1]["seed"] == 4
    assert data["certificate"] is True


def test_coupled(source: Path, converted: Path) -> None:
    assert run("convert", source, "-o", converted, "--couple", "all").exit_code == 0
    assert run("verify", source, converted).exit_code == 0


def test_state_dict(nets: str, state: Path, tmp_path: Path) -> None:
    options = ["--model", f"{nets}:Score", "--merge", "max", "--final", "tanh"]
    out = tmp_path / "rcps.safetensors"
    assert run("convert", state, *options, "-o", out).exit_code == 0
    assert run("verify", state, out, *options).exit_code == 0
    assert "equal to the source" in failed(state, out, *options[:2])
    assert "equal to the source" in failed(state, out, *options[:4])


def test_without_certificate(source: Path, tmp_path: Path) -> None:
    out = saved(rcproof.convert(rcproof.load(source)).model, tmp_path / "bare.safetensors")
    result = run("verify", source, out)
    assert result.exit_code == 0, result.output
    assert "no certificate" in result.stdout


def test_an_equal_action_by_another_name(tmp_path: Path) -> None:
    plain, out = saved(net(), tmp_path / "plain.safetensors"), tmp_path / "rcps.safetensors"
    assert run("convert", plain, "-o", out).exit_code == 0
    assert run("verify", plain, out, "--input", "dna:ACGT").exit_code == 0


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("reversal", "perm:3,2,1,0", True),
        ("reversal", "perm:1,0,3,2", False),
        ("length", "fixed", False),
        ("pairs:1", "perm:1,0", True),
        ("pairs:1", "pairs:2", False),
        ("perm:1,0", "perm:-1,-0", False),
        ("perm:0,1", "length", True),
        ("tokens:3,2,1,0", "perm:3,2,1,0", False),
    ],
)
def test_same_action(a: str, b: str, same: bool) -> None:
    assert same_action(a, b) is same_action(b, a) is same
