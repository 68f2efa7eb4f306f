"""The program as a whole: help without torch, a real process, real models."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
import torch

import rcproof
from rcproof.cli.common import SourceOptions, Steps, json_safe, progress
from rcproof.cli.main import COMMANDS, main
from rcproof.errors import printable
from tests.cli.commands import files, run, run_json

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.safetensors"))


def process(*words: object, **more: object) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, "-m", "rcproof", *map(str, words)],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path}, **more,
    )  # type: ignore[call-overload]  # fmt: skip


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS), ["transmute"], ["convert", "--bad"]]
)
def test_answers_without_torch(words: list[str]) -> None:
    code = (
        "import sys\nfrom rcproof.cli import main\n"
        f"try: main({words!r}, prog_name='rcproof')\n"
        "except SystemExit: print(sorted({'torch', 'numpy', 'sympy', 'rich', 'safetensors'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr


def test_version_and_help() -> None:
    assert run("--version").stdout == f"rcproof {rcproof.__version__}\n"
    shown = run("--help").stdout
    assert all(name in shown for name in COMMANDS)
    assert run().exit_code == 2
    for words in each_command():
        result = run(*words, "--help")
        assert result.exit_code == 0
        assert "--json" in result.stdout
        assert f"rcproof {' '.join(words)}" in result.stdout


def each_command() -> list[list[str]]:
    """The words of every command, those of groups among them."""
    found = []
    for name in COMMANDS:
        command = main.get_command(click.Context(main), name)
        found += [[name, inner] for inner in command.commands] if isinstance(command, click.Group) else [[name]]
    return found


def test_each_option_says_what_it_does() -> None:
    for words in each_command():
        command: click.Command | None = main
        for word in words:
            assert isinstance(command, click.Group)
            command = command.get_command(click.Context(command), word)
        assert command is not None
        assert command.help
        silent = [p.name for p in command.params if isinstance(p, click.Option) and not p.help]
        assert not silent


def test_process(source: Path, tmp_path: Path) -> None:
    done = process("convert", source, "-o", "out.safetensors", "--json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["passed"] is True
    done = process("convert", "missing.safetensors", "-o", "out.safetensors", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: file 'missing.safetensors' does not exist\n"


def test_model_beside_you(nets: str, state: Path, tmp_path: Path) -> None:
    done = process("convert", state.name, "--model", f"{nets}:Score", "-o", "out.safetensors", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "tied" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_interrupting_the_process_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import time\nfrom torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__(); self.conv = nn.Conv1d(4, 2, 3)\n"
        "    def forward(self, x):\n        open('asleep', 'w').close(); time.sleep(60)\n"
        "        return self.conv(x).mean(2)\n"
    )
    torch.save(torch.nn.ModuleDict({"conv": torch.nn.Conv1d(4, 2, 3)}).state_dict(), tmp_path / "s.pt")
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "o.safetensors").write_bytes(b"precious")
    words = [sys.executable, "-m", "rcproof", "convert", "s.pt", "--model", "slow:Net", "-o", "out/o.safetensors"]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    running = subprocess.Popen(
        words,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # shells ignore it in the background
    )
    try:
        started = time.monotonic()
        while not (tmp_path / "asleep").exists() and time.monotonic() - started < 60 and running.poll() is None:
            time.sleep(0.05)
        assert len(files(folder)) == 2  # a temporary file lies beside OUT
        running.send_signal(signal.SIGINT)
        _, stderr = running.communicate(timeout=30)
    finally:
        running.kill()
    assert running.returncode == 130, stderr
    assert "interrupted" in stderr
    assert "Traceback" not in stderr
    assert files(folder) == {"o.safetensors"}
    assert (folder / "o.safetensors").read_bytes() == b"precious"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_example(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "rcps.safetensors"
    data = run_json("convert", path, "-o", out)
    assert data["share_tied"] == 1.0
    data = run_json("verify", path, out)
    assert data["passed"] is True
    assert run_json("audit", path, "--n", 20)["symmetric"] is True
    assert run_json("inspect", out)["metadata"]["converted_from"] == path.name


def test_bpnet_of_bpnetlite(tmp_path: Path) -> None:
    bpnet = pytest.importorskip("bpnetlite.bpnet")
    sizes = {"n_filters": 4, "n_layers": 2, "n_control_tracks": 2, "trimming": 20, "profile_output_bias": True}
    torch.manual_seed(0)
    torch.save(bpnet.BPNet(**sizes).state_dict(), tmp_path / "bpnet.pt")
    model = ["--model", "bpnetlite.bpnet:BPNet", "--model-args", json.dumps(sizes)]
    reps = ["--input", "reversal", "--input", "reversal", "--output", "reversal", "--output", "fixed"]
    shape = ["--shape", "4,120", "--shape", "2,120"]
    out = tmp_path / "rcps.safetensors"
    data = run_json("convert", tmp_path / "bpnet.pt", *model, *reps, *shape, "-o", out)
    assert data["share_tied"] == 1.0
    assert data["outputs"] == ["reversal", "fixed"]
    assert run("verify", tmp_path / "bpnet.pt", out, *model, *reps, *shape).exit_code == 0
    refused = run("convert", tmp_path / "bpnet.pt", *model, *reps[:4], *shape, "-o", out)
    assert refused.exit_code == 2
    assert "no safe default" in refused.stderr


def test_a_progress_bar_on_a_terminal_only(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with progress(2) as step:
        step("one")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress(2) as step:
        step("reading [the] source")
        assert step.names == ["reading [the] source"]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "reading [the] source" in captured.err
    assert isinstance(step, Steps)


def test_small_helpers() -> None:
    assert printable("a\tb\x1b") == "a\\tb\\x1b"
    assert printable("ρ é 漢") == "ρ é 漢"
    assert json_safe({1: (1.5, float("inf"), [float("nan")])}) == {"1": [1.5, "inf", ["nan"]]}
    assert SourceOptions(merge=("mean",), inputs=("fixed",)).given == ["--input", "--merge"]
    assert main.name == "rcproof"


def test_broken_pipe(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object, **__: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("rcproof.cli.tables.line", closed)
    result = run("inspect", source)
    assert result.exit_code == 1
    assert result.stderr == ""


def test_source_is_left_alone(nets: str, state: Path, tmp_path: Path) -> None:
    before = {k: v.clone() for k, v in torch.load(state, weights_only=True).items()}
    run_json("convert", state, "--model", f"{nets}:Score", "-o", tmp_path / "o.safetensors")
    after = torch.load(state, weights_only=True)
    assert all(torch.equal(before[k], after[k]) for k in before)
