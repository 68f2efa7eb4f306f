"""State dicts of the user's own classes: read without running anything, and put into a model only if they fit."""

from __future__ import annotations

import collections
import os
import pickle
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from rcproof.checkpoints import load_into, read_state_dict
from rcproof.errors import CheckpointError, RcproofError


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(4, 3, 3), nn.BatchNorm1d(3), nn.Flatten(), nn.Linear(9, 1))


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert list(a) == list(b)
    assert all(torch.equal(v, b[k]) and v.dtype == b[k].dtype for k, v in a.items())


@pytest.mark.parametrize("wrap", [None, "state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files(wrap: str | None, zipped: bool, tmp_path: Path) -> None:
    """As saved, and under the names that trainers use beside an epoch or an optimiser."""
    state = net().state_dict()
    content: Any = state if wrap is None else {"epoch": 3, wrap: state, "optimizer": {"lr": [0.1]}}
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    same(read_state_dict(tmp_path / "a.pt"), dict(state))


def test_safetensors(tmp_path: Path) -> None:
    state = {k: v.clone() for k, v in sorted(net().state_dict().items())}
    save_file(state, tmp_path / "a.safetensors")
    found = read_state_dict(tmp_path / "a.safetensors")
    same({k: found[k] for k in sorted(found)}, state)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtypes_come_along(dtype: torch.dtype, tmp_path: Path) -> None:
    torch.save(net().to(dtype).state_dict(), tmp_path / "a.pt")
    model = load_into(net(), read_state_dict(tmp_path / "a.pt"), tmp_path / "a.pt")
    assert {p.dtype for p in model.parameters()} == {dtype}
    same(dict(model.state_dict()), dict(net().to(dtype).state_dict()))
    assert all(isinstance(p, nn.Parameter) and p.requires_grad for p in model.parameters())


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", ["whole", "value", "key", "beside"])
def test_a_malicious_pickle_does_not_run(place: str, zipped: bool, tmp_path: Path) -> None:
    proof = tmp_path / "it-ran"
    evil = Evil(f"touch {proof}")
    state = net().state_dict()
    content: Any = {
        "whole": evil,
        "value": {**state, "x": evil},
        "key": {**state, (1, evil): 2},
        "beside": {"state_dict": state, "callback": evil},
    }[place]
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError) as error:
        read_state_dict(tmp_path / "a.pt")
    assert not proof.exists()
    assert "holds more than tensors and was not loaded" in str(error.value)
    assert ": a pickled module could run any code. If you trust whoever made the file" in str(error.value)
    assert "got" in str(error.value) and "GLOBAL" in str(error.value), "the class that is refused is named"
    assert "\n" not in str(error.value)
    torch.load(tmp_path / "a.pt", weights_only=False)  # it would have
    assert proof.exists()


def test_a_plain_malicious_pickle_does_not_run(tmp_path: Path) -> None:
    proof = tmp_path / "it-ran"
    for name in ("a.pt", "a.safetensors", "a.pkl"):
        (tmp_path / name).write_bytes(pickle.dumps(Evil(f"touch {proof}")))
        with pytest.raises(CheckpointError):
            read_state_dict(tmp_path / name)
    assert not proof.exists()


def test_a_whole_module_is_refused(tmp_path: Path) -> None:
    torch.save(net(), tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="holds more than tensors and was not loaded"):
        read_state_dict(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (torch.zeros(2), "got Tensor; expected a state dict of tensors"),
        ([torch.zeros(2)], "got list; expected a state dict of tensors"),
        ({"a": torch.zeros(2), "b": 3}, "got dict; expected a state dict of tensors"),
        ({"state_dict": {"a": "text"}}, "got dict; expected a state dict of tensors"),
        (None, "got NoneType; expected a state dict of tensors"),
    ],
)
def test_other_contents(content: Any, text: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(CheckpointError) as error:
        read_state_dict(tmp_path / "a.pt")
    assert text in str(error.value)


def test_torchscript_is_told_by_its_name(tmp_path: Path) -> None:
    """It is code: refused before anything of it is read, whatever its entries are called."""
    path = tmp_path / "scripted.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("scripted/code/__torch__.py", "class Net(Module):\n" * 1000)
        archive.writestr("scripted/constants.pkl", b"")
    with pytest.raises(CheckpointError) as caught:
        read_state_dict(path)
    assert str(caught.value) == (
        f"{str(path)!r} is a TorchScript program: got code; expected tensors, or a program of torch.export (.pt2). "
        "Save the state dict of the network, or export it anew with torch.export.export and torch.export.save"
    )


def test_damaged_files(tmp_path: Path) -> None:
    """Truncated, edited and random: one clear line each, and no warning."""
    torch.save(net().state_dict(), tmp_path / "a.pt")
    torch.save(net().state_dict(), tmp_path / "b.pt", _use_new_zipfile_serialization=False)
    save_file({k: v.clone() for k, v in net().state_dict().items()}, tmp_path / "c.safetensors")
    draw = random.Random(0)
    for source, suffix in ((p, p.suffix) for p in sorted(tmp_path.iterdir())):
        data = source.read_bytes()
        path = tmp_path / f"x{suffix}"
        for trial in range(150):
            edited = bytearray(data)
            if trial % 3 == 0:
                del edited[draw.randrange(1, len(data)) :]
            elif trial % 3 == 1:
                edited = bytearray(draw.randrange(256) for _ in range(draw.randrange(1, 200)))
            for _ in range(draw.randrange(1, 8)):
                at = draw.randrange(len(edited))
                edited[at] ^= 1 << draw.randrange(8)
            path.write_bytes(edited)
            try:
                read_state_dict(path)
            except RcproofError as error:
                text = str(error)
                if "\n" in text:
                    raise
    empty = tmp_path / "e.pt"
    empty.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"^file '.*e.pt' is empty$"):
        read_state_dict(empty)
    with pytest.raises(CheckpointError, match=r"^file '.*missing.pt' does not exist$"):
        read_state_dict(tmp_path / "missing.pt")
    with pytest.raises(CheckpointError, match=r"is not a file$"):
        read_state_dict(tmp_path)


# -- into a model -----------------------------------------------------------------------------------------


def changed(**changes: Tensor | None) -> dict[str, Tensor]:
    state = {**net().state_dict(), **{k.replace("__", "."): v for k, v in changes.items()}}
    return {k: v for k, v in state.items() if v is not None}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"0__weight": None, "3__bias": None}, "keys of 'a.pt' do not fit Sequential: got 2 missing, first '0.weight'"),
        ({"extra": torch.zeros(1)}, "keys of 'a.pt' do not fit Sequential: got 1 unexpected, first 'extra'"),
        (
            {"0__weight": None, "conv__weight": torch.zeros(1)},
            "keys of 'a.pt' do not fit Sequential: got 1 missing, first '0.weight'; 1 unexpected, first 'conv.weight'",
        ),
        (
            {"3__weight": torch.zeros(1, 8)},
            "tensor '3.weight' of 'a.pt': got shape (1, 8); expected shape (1, 9) of Sequential",
        ),
        (
            {"3__weight": torch.zeros(1, 9, dtype=torch.int64)},
            "tensor '3.weight' of 'a.pt': got torch.int64; expected a dtype like torch.float32, that of Sequential",
        ),
        (
            {"1__num_batches_tracked": torch.zeros(())},
            "tensor '1.num_batches_tracked' of 'a.pt': got torch.float32; expected a dtype like torch.int64, that of",
        ),
    ],
)
def test_what_does_not_fit(changes: dict[str, Tensor | None], text: str) -> None:
    model = net()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(CheckpointError) as error:
        load_into(model, changed(**changes), "a.pt")
    assert text in str(error.value)
    same(dict(model.state_dict()), before)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
        self.b.weight = self.a.weight
        self.again = self.a


def test_shared_parameters_stay_shared(tmp_path: Path) -> None:
    trained = Tied().double()
    torch.save(trained.state_dict(), tmp_path / "a.pt")
    model = Tied()
    model.a.weight.requires_grad_(False)
    load_into(model, read_state_dict(tmp_path / "a.pt"), "a.pt")
    assert model.a.weight is model.b.weight is model.again.weight
    assert model.a.bias is model.again.bias
    assert model.a.bias is not model.b.bias
    same(dict(model.state_dict()), dict(trained.state_dict()))
    assert not model.a.weight.requires_grad
    assert model.b.bias.requires_grad


def test_shared_parameters_that_differ_in_the_file_are_refused() -> None:
    state = collections.OrderedDict((k, v.clone()) for k, v in Tied().state_dict().items())
    state["b.weight"] += 1
    with pytest.raises(CheckpointError) as error:
        load_into(Tied(), state, "a.pt")
    assert str(error.value) == "tensors 'a.weight' and 'b.weight' of 'a.pt' differ: expected one tensor, as in Tied"
