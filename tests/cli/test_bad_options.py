"""Bad options, in every command, and how errors are told: exit code 2, one line, no traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.cli.commands import assert_refused, net, profile, run, saved

# -- representations and shapes --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "say"),
    [
        (["--input", "perm:1,2,0,3"], "no involution"),
        (["--input", "perm:0,0,1,2"], "not a permutation"),
        (["--input", "perm:1,0"], "4 channels"),
        (["--input", "dna:ACGU"], "base order"),
        (["--input", "sideways"], "no such representation"),
        (["--input", "reversal", "--input", "reversal"], "got 1 tensors; expected 2"),
        (["--output", "pairs:2"], "4 channels"),
        (["--output", "pairs:x"], "no such representation"),
        (["--output", "fixed", "--output", "fixed"], "1 tensors"),
        (["--merge", "median"], "--merge"),
        (["--merge", "mean", "--merge", "sum"], "merges"),
        (["--final", "cube"], "sigmoid"),
        (["--shape", "4,x"], "no shape"),
        (["--shape", "4,-1"], "no shape"),
        (["--shape", "4,3,2"], "no shape"),
        (["--shape", "5,30"], "4 channels"),
        (["--shape", "4,2"], "does not run"),
        (["--shape", "4,1000000000"], "too large"),
        (["--shape", "4,30", "--shape", "4,30"], "2 shapes for 1 inputs"),
        (["--couple", "nothing"], "no tied layer"),
        (["--couple", "0"], "cannot be coupled"),
        (["--layout", "flat"], "--layout"),
        (["--seed", "x"], "--seed"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_options(tmp_path: Path, options: list[str], say: str, refused) -> None:  # type: ignore[no-untyped-def]
    refused(saved(net(), tmp_path / "plain.safetensors"), *options, say=say)


def test_profile_without_representation(tmp_path: Path, refused) -> None:  # type: ignore[no-untyped-def]
    line = refused(saved(profile(), tmp_path / "plain.safetensors"), say="no safe default")
    assert "--output" in line
    assert "'length'" in line


@pytest.mark.parametrize(
    "option", [["--input", "reversal"], ["--output", "fixed"], ["--merge", "sum"], ["--final", "tanh"]]
)
def test_conjoined_already(source: Path, nets: str, state: Path, option: list[str], refused) -> None:  # type: ignore[no-untyped-def]
    refused(source, *option, say=(option[0], "conjoined already"))
    refused(state, "--model", f"{nets}:conjoined", *option, say=(option[0], "conjoined already"))


def test_does_not_trace(nets: str, state: Path, refused) -> None:  # type: ignore[no-untyped-def]
    refused(state, "--model", f"{nets}:Branching", say=("cannot be traced", "--leaf"))


# -- --model ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "say"),
    [
        ("{}", "MODULE:CALLABLE"),
        ("{}:Missing", "has no 'Missing'"),
        ("no_such_module_at_all:build", "cannot be imported"),
        ("{}:broken", "ZeroDivisionError: the user's own mistake"),
        ("{}:not_a_network", "torch.nn.Module"),
        ("{}:NUMBER", "something to call"),
    ],
)
def test_model_option(nets: str, state: Path, spec: str, say: str, refused) -> None:  # type: ignore[no-untyped-def]
    refused(state, "--model", spec.format(nets), say=say)


@pytest.mark.parametrize(
    ("code", "say"), [("1 / 0", "ZeroDivisionError"), ("def f(:", "SyntaxError"), ("exit(7)", "SystemExit")]
)
def test_module_that_raises(state: Path, tmp_path: Path, code: str, say: str, refused) -> None:  # type: ignore[no-untyped-def]
    name = f"raises_{say.lower()}"
    (tmp_path / f"{name}.py").write_text(code + "\n")
    refused(state, "--model", f"{name}:build", say=("cannot be imported", say))


@pytest.mark.parametrize(("args", "say"), [("{", "no JSON"), ("[1]", "JSON object"), ('{"no": 1}', "TypeError")])
def test_model_arguments(nets: str, state: Path, args: str, say: str, refused) -> None:  # type: ignore[no-untyped-def]
    refused(state, "--model", f"{nets}:Score", "--model-args", args, say=say)


def test_model_arguments_without_model(source: Path, refused) -> None:  # type: ignore[no-untyped-def]
    refused(source, "--model-args", "{}", say="without --model")


# -- the other commands ----------------------------------------------------------------------------


def test_verify_needs_an_rcps_network(source: Path, state: Path, tmp_path: Path) -> None:
    assert_refused(["verify", source, source], "a conjoined network", "RCPS")
    assert_refused(["verify", source, saved(net(), tmp_path / "plain.safetensors")], "an ordinary network")
    assert_refused(["verify", source, state], "no safetensors file")


def test_audit(source: Path, tmp_path: Path) -> None:
    fasta = tmp_path / "x.fa"
    fasta.write_text(">a\nACGTX\n")
    assert_refused(["audit", source, "--fasta", fasta], "line 2", "'X'")
    assert_refused(["audit", source, "--fasta", tmp_path / "no.fa"], "no such FASTA")
    assert_refused(["audit", source, "--input", "reversal"], "--input")
    assert_refused(["audit", source, "--n", "0"], "--n")
    assert_refused(["audit", source, "--length", "3"], "does not run")
    assert_refused(["audit", source, "--kind", "score", "--kind", "logit"], "kinds of the outputs")
    assert_refused(["audit", source, "--merge", "mean"], "--merge")
    fasta.write_text(">a\nACGTACGTACGTACGT\n")
    assert_refused(["audit", source, "--fasta", fasta, "--alphabet", "ATGC"], "--alphabet")
    assert_refused(["audit", saved(profile(), tmp_path / "p.safetensors")], "no safe default")


def test_usage() -> None:
    assert_refused(["convert"], "Missing", "rcproof convert --help")
    assert_refused(["transmute"], "No such command", "rcproof --help")
    assert_refused(["--nonsense"], "--nonsense")


# -- how errors are told ---------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["convert", "verify", "audit", "inspect"])
def test_json_errors(tmp_path: Path, command: str) -> None:
    more = {"convert": ["-o", tmp_path / "o"], "verify": [tmp_path / "c"]}.get(command, [])
    result = run(command, tmp_path / "missing", *more, "--json")
    assert result.exit_code == 2
    data = json.loads(result.stdout)
    assert data["kind"] == "CheckpointError"
    assert data["exit_code"] == 2
    assert result.stderr == f"error: {data['error']}\n"


def test_no_control_character_reaches_the_terminal(source: Path, tmp_path: Path) -> None:
    line = assert_refused(["inspect", tmp_path / "a\x1b[31mb\nc"], "does not exist")
    assert "\x1b" not in line
    saved(net(), tmp_path / "m.safetensors", note="red \x1b[31m alert\nsecond line")
    result = run("inspect", tmp_path / "m.safetensors")
    assert "\x1b" not in result.stdout
    assert "alert\\nsecond" in result.stdout


def test_unexpected_errors_are_one_line(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("something\ninside")

    monkeypatch.setattr("rcproof.cli.source.read_source", fail)
    assert_refused(["audit", source], "RuntimeError: something inside", "RCPROOF_TRACEBACK")
    monkeypatch.setenv("RCPROOF_TRACEBACK", "1")
    with pytest.raises(RuntimeError):
        run("audit", source)


def test_a_network_that_only_fails_when_it_runs(nets: str, tmp_path: Path, refused) -> None:  # type: ignore[no-untyped-def]
    broken = nn.Sequential(nn.Conv1d(4, 3, 5), nn.Flatten(), nn.Linear(7, 1))
    saved_at = tmp_path / "s.pt"
    torch.save(broken.state_dict(), saved_at)
    (tmp_path / "misfit.py").write_text(
        "from torch import nn\ndef build(): return nn.Sequential(nn.Conv1d(4, 3, 5), nn.Flatten(), nn.Linear(7, 1))\n"
    )
    refused(saved_at, "--model", "misfit:build", say="no input shapes were found")
    assert_refused(["audit", saved_at, "--model", "misfit:build", "--shape", "4,20"], "does not run")
