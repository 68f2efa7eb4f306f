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

from tests.cli.commands import NETS, assert_refused, conjoined, files, run, saved


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


@pytest.fixture
def converted(source: Path, tmp_path: Path) -> Path:
    path = tmp_path / "rcps.safetensors"
    assert run("convert", source, "-o", path).exit_code == 0
    return path


@pytest.fixture
def refused(out: Path):  # type: ignore[no-untyped-def]
    """Convert to an existing file; it must be refused and leave the file and its folder as they were."""

    def convert(source: object, *words: object, say: str | tuple[str, ...]) -> str:
        line = assert_refused(["convert", source, "-o", out, *words], *([say] if isinstance(say, str) else say))
        assert out.read_bytes() == b"precious"
        assert files(out.parent) == {out.name}
        return line

    return convert


def user_net(module: str, name: str) -> nn.Module:
    """A network of the user's module, with weights drawn from a seed."""
    sys.path.insert(0, "")
    torch.manual_seed(1)
    found = getattr(importlib.import_module(module), name)()
    sys.path.remove("")
    return found.eval()
