"""A module of the user's in the current folder, and a state dict for it."""

from __future__ import annotations

import importlib
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.cli.commands import NETS, conjoined, saved


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A conjoined network in a file of ours."""
    return saved(conjoined(), tmp_path / "source.safetensors", data="drawn", held_out_auroc="0.9")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An existing file, in a folder of its own, that a failed command must leave as it is."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "rcps.safetensors").write_bytes(b"precious")
    return folder / "rcps.safetensors"


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module of the user's, which lies in the current folder."""
    name = f"nets_{uuid.uuid4().hex}"
    (tmp_path / f"{name}.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    importlib.invalidate_caches()
    yield name
    sys.modules.pop(name, None)


@pytest.fixture
def state(nets: str, tmp_path: Path) -> Path:
    """The state dict of the user's ``Score``."""
    path = tmp_path / "score.pt"
    torch.save(user_net(nets, "Score").state_dict(), path)
    return path


def user_net(module: str, name: str) -> nn.Module:
    """A network of the user's module, with weights drawn from a seed."""
    sys.path.insert(0, "")
    torch.manual_seed(1)
    found = getattr(importlib.import_module(module), name)()
    sys.path.remove("")
    return found.eval()
