"""Bad input: exit code 2, one line, existing files whole. Files, weights, OUT."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.cli.commands import assert_refused, conjoined, files, run, saved

# -- files -----------------------------------------------------------------------------------------


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


# -- weights ---------------------------------------------------------------------------------------


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


# -- OUT -------------------------------------------------------------------------------------------


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

    monkeypatch.setattr("rcproof.files.tempfile.mkstemp", denied)
    assert_refused(["convert", source, "-o", out], "cannot be written", "Permission denied")
    assert out.read_bytes() == b"precious"


def test_disk_is_full(source: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rcproof.checkpoints.native.save_file", full)
    assert_refused(["convert", source, "-o", out], "No space left")
    assert out.read_bytes() == b"precious"
    assert files(out.parent) == {out.name}
