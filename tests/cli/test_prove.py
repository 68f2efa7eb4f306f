"""``rcproof prove``: every theorem, one theorem, one network; exit codes; no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from torch import nn

import rcproof
from rcproof.cli import main
from rcproof.symbolic import statements, theorems
from rcproof.symbolic.checker import Refused

KEYS = {"label", "name", "statement", "hypotheses", "kind", "steps", "seconds", "status", "reason"}


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    net = nn.Sequential(nn.Conv1d(4, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 1))
    path = tmp_path_factory.mktemp("prove") / "rcps.safetensors"
    conversion = rcproof.convert(rcproof.Conjoined(net).eval(), rcproof.ConvertConfig(input_shapes=[(4, 20)]))
    rcproof.save(conversion, path)
    return path


def test_one_theorem_as_json() -> None:
    done = CliRunner().invoke(main, ["prove", "t1", "--json"])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)
    assert isinstance(rows, list) and rows
    for row in rows:
        assert set(row) == KEYS
        assert row["label"] == "T1" and row["status"] == "holds" and row["steps"] >= 1


def test_a_network(converted: Path) -> None:
    done = CliRunner().invoke(main, ["prove", "--network", str(converted), "--json"])
    assert done.exit_code == 0, done.output
    (row,) = json.loads(done.stdout)
    assert row["label"] == "T5" and row["kind"] == "all sizes" and "for every input x" in row["statement"]


def test_bad_input(tmp_path: Path, converted: Path) -> None:
    plain = tmp_path / "plain.safetensors"
    rcproof.save(rcproof.Conjoined(nn.Sequential(nn.Conv1d(4, 2, 1), nn.ReLU()), outputs="fixed").eval(), plain)
    (tmp_path / "noise.safetensors").write_bytes(b"noise")
    for words, text in [
        (["T14"], "no such theorem: got 'T14'; expected T1, T2"),
        (["--network", str(tmp_path / "none")], "does not exist"),
        (["--network", str(tmp_path / "noise.safetensors")], "is no safetensors file, or is damaged"),
        (["--network", str(plain)], "holds no converted network: got conjoined. Convert it first"),
        (["T1", "--network", str(converted)], "takes no labels"),
    ]:
        done = CliRunner().invoke(main, ["prove", *words])
        assert done.exit_code == 2
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
        assert text in done.stderr


def test_a_failing_statement_is_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> statements.Evidence:
        raise Refused("step 3 (reverse): it is wrong")

    broken = statements.Statement("T1.broken", "1 = 2", "1 = 2", statements.ALGEBRA, fails)
    theorem = theorems.Theorem("T1", "action", "…", (broken,))
    monkeypatch.setattr(theorems, "theorems", lambda labels=None: (theorem,))
    done = CliRunner().invoke(main, ["prove", "T1"])
    assert done.exit_code == 1
    assert "T1.broken failed: step 3 (reverse): it is wrong" in done.output


def test_proving_imports_no_torch(converted: Path) -> None:
    code = (
        "import sys\nfrom rcproof.cli import main\n"
        "try:\n main(['prove', 'T1', '--latex', sys.argv[1], '--json'])\nexcept SystemExit as e:\n assert not e.code\n"
        f"try:\n main(['prove', '--network', {str(converted)!r}])\nexcept SystemExit as e:\n assert not e.code\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(converted.parent)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_latex_and_text(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["prove", "T1", "--latex", str(tmp_path / "tex"), "--text"])
    assert done.exit_code == 0, done.output
    text = (tmp_path / "tex" / "T1.tex").read_text(encoding="utf-8")
    assert r"\label{T1}" in text and r"\begin{proof}" in text
    assert done.output.startswith("T1 (action)")
