"""Damaged and hostile files of every format: a few hundred of them, in a process that is watched.

``python -m tests.checkpoints.fuzzing`` tries thousands; see :mod:`tests.checkpoints.fuzzing`.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("h5py", reason="Keras files are made with h5py")
pytest.importorskip("onnx", reason="ONNX files are made with onnx")

from tests.checkpoints.fuzzing import raw, values
from tests.checkpoints.fuzzing.run import results

COUNT = 12 * 17
#: Long, since the machine may be busy; the big run has a limit of its own.
SECONDS = 120.0


def test_no_file_does_harm() -> None:
    told = list(results(seed=0, begin=0, end=COUNT, seconds=SECONDS))
    assert [t["number"] for t in told] == list(range(COUNT))
    failures = [f"{t['number']} {t['format']}, {t['what']}: {t['why']}" for t in told if t["outcome"] == "failure"]
    assert not failures, "\n".join(failures)
    counts = Counter(t["outcome"] for t in told)
    assert counts["refused"] > COUNT // 2, counts
    assert counts["same"] > 10, "some damage falls where nothing is read"
    assert counts["another"] > 2, "some damage makes another network"
    assert len({t["format"] for t in told}) == 17
    assert sum(t["entries"] for t in told) > COUNT * 1.4


# -- the judge sees what it is there for -------------------------------------------------------------------------------

#: What a broken reader does, and what the judge says of it.
MUTANTS: dict[str, tuple[str, str]] = {
    "nothing wrong": ("raise RcproofError('refused')", ""),
    "an error of another kind": ("raise KeyError('x')", "KeyError"),
    "two lines": ("raise Wordy('a\\nb')", "control characters"),
    "a long line": ("raise Wordy('a' * 2000)", "an error of 2000 characters"),
    "no words": ("raise Wordy('')", "an error of 0 characters"),
    "memory": ("np.ones(100 << 20, 'u1'); raise error", "MiB of memory"),
    "an allocation that is refused": (
        "torch.empty(1 << 40)",
        "asked for too much memory: DefaultCPUAllocator: can't allocate",
    ),
    "a pickle that runs": ("os.mkdir('../marker'); raise error", "appeared: ['marker']"),
    "a file outside": ("open('../outside', 'w').close(); raise error", "appeared: ['outside']"),
    "a file outside that goes again": ("open('../../x', 'w').close(); os.remove('../../x'); raise error", "opened"),
    "a file beside": ("open('more', 'w').close(); raise error", "appeared: ['more']"),
    "a changed file": ("open('net.pt', 'ab').write(b'x'); raise error", "net.pt was changed"),
    "a secret file": ("open('/etc/hostname').close(); raise error", "opened /etc/hostname"),
    "a temporary file": ("tempfile.mkstemp(); raise error", "temporary files stay"),
    "another process": ("subprocess.run(['true']); raise error", "ran ['true']"),
    "a shell": ("os.system('true'); raise error", "os.system"),
    "bytecode": ("marshal.loads(marshal.dumps(1)); raise error", "read bytecode"),
    "a connection": ("socket.socket().close(); raise error", "socket."),
    "a network that does not run": (
        "return Imported(nn.Linear(7, 1), 'x', shapes=((4, 20),))",
        "read, but does not run",
    ),
}

#: The same for a command: `rcproof convert net.pt -o out.safetensors`, where out.safetensors is there already.
COMMANDS: dict[str, tuple[str, str]] = {
    "nothing wrong": ("refuse('error: refused')", ""),
    "nothing wrong, and done": ("pass", ""),
    "an error of another kind": ("raise KeyError('x')", "KeyError"),
    "an exit code of its own": ("context.exit(3)", "exit code 3"),
    "two lines": ("refuse('error: a\\nb')", "2 lines of error"),
    "no word of an error": ("refuse('refused')", "1 lines of error"),
    "a long line": ("refuse('error: ' + 'a' * 2000)", "an error of 2000 characters"),
    "a bell": ("click.echo('\\x07')", "control characters"),
    "a damaged output": ("open('out.safetensors', 'ab').write(b'x'); refuse('error: x')", "damaged out.safetensors"),
    "an output that is gone": ("os.remove('out.safetensors'); refuse('error: x')", "damaged out.safetensors"),
    "another output damaged": ("open('out.pt', 'wb').close(); refuse('error: x')", "damaged out.pt"),
}

SCRIPT = """
import json, marshal, os, random, shutil, socket, subprocess, sys, tempfile
from pathlib import Path
import numpy as np, torch
from torch import nn
from rcproof.checkpoints import Imported
from rcproof.errors import RcproofError
from tests.checkpoints.fuzzing import judge as module
from tests.checkpoints.fuzzing.torch_seeds import torch_seeds

class Wordy(RcproofError):
    def __init__(self, text):
        Exception.__init__(self, text)

class Never(random.Random):
    def random(self):
        return 1.0

judge = module.Judge(Path(sys.argv[1]))
seed = next(torch_seeds(judge.danger))
module.limited()
module.MEMORY = 64 << 20
told = {"sound": judge.check(seed, seed.files, Never()).outcome}
for name, (code, _) in json.loads(sys.argv[2]).items():
    space = dict(globals(), error=RcproofError("refused"))
    exec(f"def read_model(path, options):\\n    {code}", space)
    def reading(path, options, space=space):
        try:
            return space["read_model"](path, options)
        except RuntimeError as error:
            raise Wordy(str(error).partition("err == 0. ")[2].partition(": you")[0]) from None
    module.read_model = reading
    verdict = judge.check(seed, seed.files, Never())
    told[name] = verdict.outcome, verdict.why
    for odd in ("marker", "outside"):
        path = judge.box / odd
        if path.exists():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

import click, rcproof.cli
judge._put(seed.files)
commands = {}
for name, (code, _) in json.loads(sys.argv[3]).items():
    @click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
    @click.pass_context
    def command(context, code=code):
        def refuse(line):
            click.echo(line, err=True)
            context.exit(2)
        exec(code, {**globals(), "context": context, "refuse": refuse})
    rcproof.cli.main = command
    try:
        judge._command(["convert", "net.pt", "-o", "out.safetensors"], module.Verdict("refused"))
        commands[name] = ""
    except module.Failure as failure:
        commands[name] = str(failure)
    for path in (Path("out.safetensors"), Path("out.pt")):
        path.unlink(missing_ok=True)
print(json.dumps([told, commands]))
"""


def test_harm_is_seen(tmp_path: Path) -> None:
    """A reader and a command that do what must not happen, each thing once."""
    (tmp_path / "broken.py").write_text(SCRIPT)
    tables = [json.dumps(MUTANTS), json.dumps(COMMANDS)]
    words = [sys.executable, "-W", "ignore", str(tmp_path / "broken.py"), str(tmp_path / "box"), *tables]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    told, commands = json.loads(done.stdout)
    assert told.pop("sound") == "same"
    assert told.pop("nothing wrong") == ["refused", ""]
    for name, (outcome, why) in told.items():
        assert outcome == "failure", name
        assert MUTANTS[name][1] in why, (name, why)
    for name, why in commands.items():
        wanted = COMMANDS[name][1]
        assert (wanted in why) if wanted else not why, (name, why)


DYING = """
import faulthandler, json, os, sys, time
begin, end = map(int, sys.argv[-4:-2])
for number in range(begin, end):
    print(json.dumps({"begin": number, "format": "x", "what": "y"}), flush=True)
    if number == 1:
        os.abort()
    if number == 2:
        faulthandler.dump_traceback_later(0.2, exit=True)
        time.sleep(60)
    print(json.dumps({"number": number, "outcome": "refused"}), flush=True)
"""


def test_a_crash_and_a_hang_are_seen(tmp_path: Path) -> None:
    """And the files after them are tried all the same."""
    (tmp_path / "dying.py").write_text(DYING)
    told = list(results(0, 0, 5, 0.2, program=[str(tmp_path / "dying.py")]))
    assert [(t["number"], t["outcome"]) for t in told] == [
        (0, "refused"), (1, "failure"), (2, "failure"), (3, "refused"), (4, "refused"),
    ]  # fmt: skip
    assert told[1]["why"].startswith("the process ended with -6")
    assert told[2]["why"].startswith("more than 0.2 seconds")


def test_the_same_seed_makes_the_same_files() -> None:
    data = bytes(range(256)) * 20
    document = {"a": [1, 2, {"b": "c"}], "d": None}

    def some(make: Callable[[random.Random], object]) -> list[object]:
        return [make(random.Random(f"0 {i}")) for i in range(50)]

    assert some(lambda r: raw.damaged(r, data)) == some(lambda r: raw.damaged(r, data))
    assert some(lambda r: repr(values.changed(r, document))) == some(lambda r: repr(values.changed(r, document)))
    assert len({repr(v) for v in some(lambda r: values.changed(r, document))}) > 40
