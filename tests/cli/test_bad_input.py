"""Bad input: exit code 2, one line, existing files whole. Every command, no traceback."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import rcproof
from tests.cli.commands import assert_refused, conjoined, files, net, profile, run, saved
from tests.cli.conftest import user_net


@pytest.fixture
def refused(out: Path):  # type: ignore[no-untyped-def]
    """Convert to an existing file; it must be refused and leave the file and its folder as they were."""

    def convert(source: object, *words: object, say: str | tuple[str, ...]) -> str:
        line = assert_refused(["convert", source, "-o", out, *words], *([say] if isinstance(say, str) else say))
        assert out.read_bytes() == b"precious"
        assert files(out.parent) == {out.name}
        return line

    return convert


# -- files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["convert", "verify", "audit", "inspect"])
@pytest.mark.parametrize(("name", "say"), [("missing.safetensors", "does not exist"), ("", "not a file")])
def test_no_file(tmp_path: Path, command: str, name: str, say: str) -> None:
    more = {"convert": ["-o", tmp_path / "o"], "verify": [tmp_path / "c"]}.get(command, [])
    assert_refused([command, tmp_path / name, *more], say)


@pytest.mark.parametrize("command", ["convert", "verify", "audit", "inspect"])
@pytest.mark.parametrize("keep", [0, 5, 100, 0.5, 0.999])
def test_truncated_file(source: Path, tmp_path: Path, command: str, keep: float) -> None:
    whole = source.read_bytes()
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(whole[: int(keep * len(whole)) if 0 < keep < 1 else int(keep)])
    more = {"convert": ["-o", tmp_path / "o"], "verify": [tmp_path / "c"]}.get(command, [])
    assert_refused([command, cut, *more], "cut.safetensors", "damaged" if keep else "empty")


@pytest.mark.parametrize("keep", [10, 0.5, 0.99])
def test_truncated_torch_file(state: Path, nets: str, keep: float, refused) -> None:  # type: ignore[no-untyped-def]
    whole = state.read_bytes()
    state.write_bytes(whole[: int(keep * len(whole)) if keep < 1 else int(keep)])
    refused(state, "--model", f"{nets}:Score", say="damaged")
    assert_refused(["inspect", state])


def test_pickled_module_is_not_loaded(nets: str, tmp_path: Path, refused) -> None:  # type: ignore[no-untyped-def]
    marker = tmp_path / "executed"

    class Payload:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (marker,))

    for name, write in (
        ("a.pt", lambda p: torch.save(Payload(), p)),
        ("b.pt", lambda p: p.write_bytes(pickle.dumps(Payload()))),
    ):
        write(tmp_path / name)
        refused(tmp_path / name, "--model", f"{nets}:Score", say=name)
        assert_refused(["inspect", tmp_path / name])
    assert not marker.exists()


def test_state_dict_needs_code(state: Path, tmp_path: Path, refused) -> None:  # type: ignore[no-untyped-def]
    refused(state, say="--model MODULE:CALLABLE")
    save_file(torch.load(state, weights_only=True), tmp_path / "s.safetensors")
    refused(tmp_path / "s.safetensors", say="--model MODULE:CALLABLE")


def test_rcps_network_again(source: Path, tmp_path: Path, refused) -> None:  # type: ignore[no-untyped-def]
    run("convert", source, "-o", tmp_path / "done.safetensors")
    refused(tmp_path / "done.safetensors", say="RCPS network already")


# -- weights ------------------------------------------------------------------------------------------


def change(state: Path, **tensors: torch.Tensor | None) -> Path:
    found = torch.load(state, weights_only=True)
    for key, tensor in tensors.items():
        found[key.replace("__", ".")] = tensor
    torch.save({k: v for k, v in found.items() if v is not None}, state)
    return state


@pytest.mark.parametrize(
    ("tensors", "say"),
    [
        ({"conv__weight": None}, "missing, first 'conv.weight'"),
        ({"more__weight": torch.zeros(1)}, "unexpected, first 'more.weight'"),
        ({"conv__weight": torch.zeros(3, 4, 6)}, "shape (3, 4, 6)"),
        ({"conv__weight": torch.full((3, 4, 5), torch.nan)}, "NaN"),
        ({"norm__running_var": torch.full((3,), torch.inf)}, "infinite"),
        ({"head__bias": torch.zeros(2, dtype=torch.int64)}, ""),
    ],
)
def test_wrong_weights(nets: str, state: Path, tensors: dict, say: str, refused) -> None:  # type: ignore[no-untyped-def]
    refused(change(state, **tensors), "--model", f"{nets}:Score", say=say)


def test_nan_weights_in_a_file_of_ours(tmp_path: Path, refused) -> None:  # type: ignore[no-untyped-def]
    model = conjoined()
    model.net[0].weight.data[0, 0, 0] = torch.nan
    refused(saved(model, tmp_path / "nan.safetensors"), say=("'net.0.weight'", "NaN"))


# -- representations and shapes -----------------------------------------------------------------------


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


# -- --model ------------------------------------------------------------------------------------------


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


# -- OUT ----------------------------------------------------------------------------------------------


def test_out_is_source(source: Path, tmp_path: Path) -> None:
    before = source.read_bytes()
    (tmp_path / "link.safetensors").symlink_to(source)
    (tmp_path / "hard.safetensors").hardlink_to(source)
    for out in (
        source,
        tmp_path / "link.safetensors",
        tmp_path / "hard.safetensors",
        tmp_path / "x" / ".." / source.name,
    ):
        assert_refused(["convert", source, "-o", out], "SOURCE")
    assert source.read_bytes() == before


def test_report_is_source_or_out(source: Path, out: Path) -> None:
    assert_refused(["convert", source, "-o", out, "--report", source], "--report", "SOURCE")
    assert_refused(["convert", source, "-o", out, "--report", out], "--report", "OUT")
    assert out.read_bytes() == b"precious"


def test_out_is_a_folder_or_has_none(source: Path, out: Path) -> None:
    assert_refused(["convert", source, "-o", out.parent], "is a folder")
    assert_refused(["convert", source, "-o", out.parent / "no" / "such.safetensors"], "does not exist")
    assert_refused(["convert", source, "-o", out / "under-a-file"], "does not exist")
    assert_refused(["convert", source, "-o", out, "--report", out.parent], "is a folder")
    assert out.read_bytes() == b"precious"
    assert files(out.parent) == {out.name}


def test_out_cannot_be_written(source: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("rcproof.checkpoints.files.tempfile.mkstemp", denied)
    assert_refused(["convert", source, "-o", out], "cannot be written", "Permission denied")
    assert out.read_bytes() == b"precious"


def test_disk_is_full(source: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rcproof.checkpoints.native.save_file", full)
    assert_refused(["convert", source, "-o", out], "No space left")
    assert out.read_bytes() == b"precious"
    assert files(out.parent) == {out.name}


# -- the other commands -------------------------------------------------------------------------------


def test_verify_needs_an_rcps_network(source: Path, state: Path, tmp_path: Path) -> None:
    assert_refused(["verify", source, source], "a conjoined network", "RCPS")
    assert_refused(["verify", source, saved(net(), tmp_path / "plain.safetensors")], "an ordinary network")
    assert_refused(["verify", source, state], "no safetensors file")
    assert_refused(["verify", source], "CONVERTED")


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


# -- how errors are told ------------------------------------------------------------------------------


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
    refused(saved_at, "--model", "misfit:build", say="shapes of the inputs")
    assert_refused(["audit", saved_at, "--model", "misfit:build", "--shape", "4,20"], "does not run")
    assert rcproof.__version__
    assert user_net(nets, "Score") is not None
