"""Running commands in this process, and small networks in files to run them on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click.testing
import torch
from torch import nn

import rcproof
from rcproof.cli import main

NETS = """
import torch
from torch import nn
import rcproof

class Score(nn.Module):
    def __init__(self, filters=3, tasks=2):
        super().__init__()
        self.conv, self.norm = nn.Conv1d(4, filters, 5), nn.BatchNorm1d(filters)
        self.head = nn.Linear(filters, tasks)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).relu().amax(2))

class Profile(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(4, 2, 5)

    def forward(self, x):
        return self.conv(x)

class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.lstm = nn.Conv1d(4, 3, 5), nn.LSTM(3, 2, batch_first=True)

    def forward(self, x):
        return self.lstm(self.conv(x).transpose(1, 2))[0].mean(1)

class Branching(Score):
    def forward(self, x):
        return super().forward(x) if x.sum() > 0 else super().forward(-x)

class Careful(Score):
    def forward(self, x):
        if bool((x != x).any()):
            raise ValueError("NaN")
        return super().forward(x)

class Wrapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = Careful()

    def forward(self, x):
        return self.body(x)

class Control(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv1d(4, 3, 5), nn.Linear(5, 1)

    def forward(self, x, control):
        return self.head(torch.cat([self.conv(x).relu().mean(2), control.mean(2)], 1))

def conjoined(**sizes):
    return rcproof.Conjoined(Score(**sizes), merge="sum", final="sigmoid")

def loud():
    print("this is printed by the user's code")
    import warnings
    warnings.warn("and this is a warning")
    return Score()

def broken():
    raise ZeroDivisionError("the user's own\\nmistake")

def not_a_network():
    return 3

NUMBER = 3
"""


def run(*words: object) -> click.testing.Result:
    """``rcproof WORDS`` in this process."""
    return click.testing.CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)


def run_json(*words: object) -> Any:
    """The JSON of a command that succeeds; standard output holds nothing else."""
    result = run(*words, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def assert_refused(words: Sequence[object], *parts: str, code: int = 2) -> str:
    """One line on standard error with ``parts`` in it, nothing on standard output, and the exit code."""
    result = run(*words)
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    for part in parts:
        assert part in lines[0]
    assert "Traceback" not in lines[0]
    return lines[0]


def net(seed: int = 0, tasks: int = 2) -> nn.Module:
    """A small classifier of any length."""
    torch.manual_seed(seed)
    found = nn.Sequential(
        nn.Conv1d(4, 3, 5), nn.BatchNorm1d(3), nn.ReLU(), nn.Conv1d(3, 4, 4), nn.AdaptiveMaxPool1d(1), nn.Flatten(),
        nn.Linear(4, tasks),
    )  # fmt: skip
    found[1].running_mean.normal_()
    return found.eval()


def profile(seed: int = 0) -> nn.Module:
    """A small two-strand profile network."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv1d(4, 3, 5), nn.ReLU(), nn.Conv1d(3, 2, 4)).eval()


def conjoined(seed: int = 0) -> rcproof.Conjoined:
    return rcproof.Conjoined(net(seed), merge="mean", final="sigmoid").eval()


def saved(model: nn.Module, path: Path, **metadata: str) -> Path:
    rcproof.save(model, path, metadata=metadata)
    return path


def files(folder: Path) -> set[str]:
    """Every name in a folder, temporary ones included."""
    return {p.name for p in folder.iterdir()}


def failed(*words: object) -> dict[str, list[str]]:
    """The failed checks of a run that ends with exit code 1, by title."""
    result = run("verify", *words, "--json")
    assert result.exit_code == 1, result.output
    data = json.loads(result.stdout)
    assert data["passed"] is False
    assert "FAIL" in run("verify", *words).stdout
    return {
        report["title"]: [c["name"] for c in report["checks"] if not c["passed"]]
        for report in data["checks"]
        if not report["passed"]
    }
