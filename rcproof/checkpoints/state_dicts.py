"""State dicts of the user's own classes: safetensors, or torch files read with ``weights_only=True``."""

from __future__ import annotations

import importlib
import pickle
import sys
import warnings
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from rcproof.checkpoints.native import is_safetensors
from rcproof.errors import CheckpointError, RcproofError
from rcproof.files import PathLike, existing
from rcproof.verify.running import describe

#: A tensor that repeats its numbers may have so many more than are stored.
_REPEATED = 1 << 20


def read_state_dict(path: PathLike) -> dict[str, Tensor]:
    """The state dict in a ``.safetensors`` or torch file. Nothing is unpickled but tensors and containers.

    A Lightning-like file with a ``state_dict`` entry gives that entry. Raises
    :class:`~rcproof.errors.CheckpointError` for anything else, in one line.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch.save(nn.Linear(3, 1).state_dict(), f"{folder}/linear.pt")
    ...     sorted(read_state_dict(f"{folder}/linear.pt"))
    ['bias', 'weight']
    """
    found = existing(path)
    try:
        if is_safetensors(found):
            return load_file(found)
        entries = _check_archive(found)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, on pickles that it may not understand
            loaded: Any = torch.load(found, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{str(path)!r} holds more than tensors and was not loaded",
            got=_unpickled(str(error)),
            fix="save a state dict (torch.save(model.state_dict(), …)): a pickled module could run any code. If you "
            "trust whoever made the file with your account, --allow-pickle loads it",
        ) from None
    except CheckpointError:
        raise
    except Exception as error:  # a damaged file fails in torch in any way at all
        raise _damaged(path, error) from None
    state = _tensors(loaded, path)
    _check_tensors(state, found, entries)
    return state


def read_pickle(path: PathLike) -> nn.Module | dict[str, Tensor]:
    """The module, or the state dict, in a torch file that is **unpickled, which runs whatever code the file names**.

    Only for files whose maker you trust with your account; the command line asks for ``--allow-pickle``. Of a
    Lightning checkpoint the state dict is taken. Raises :class:`~rcproof.errors.CheckpointError`, also where a class
    that the file names cannot be imported.
    """
    found = existing(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded: Any = torch.load(found, map_location="cpu", weights_only=False)
    except (ImportError, AttributeError) as error:
        raise CheckpointError(
            f"{str(path)!r} names code that is not here", got=describe(error), fix="install the package it comes from"
        ) from None
    except Exception as error:
        raise _damaged(path, error) from None
    for key in ("model", "module"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), nn.Module):
            loaded = loaded[key]
    return loaded if isinstance(loaded, nn.Module) else _tensors(loaded, path)


def _check_archive(path: Path) -> Counter[int] | None:
    """The sizes of an archive's entries, which hold one storage each; None for a torch file that is no archive.

    An error for one that would take more memory than the file has: torch packs nothing, but unpacks.
    """
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    if any(info.filename.partition("/")[2].startswith("code/") for info in infos):
        raise CheckpointError(
            f"{str(path)!r} is a TorchScript program",
            got="code",
            expected="tensors, or a program of torch.export (.pt2)",
            fix="save the state dict of the network, or export it anew with torch.export.export and torch.export.save",
        )
    told = sum(info.file_size for info in infos)
    if told > path.stat().st_size or any(info.compress_type != zipfile.ZIP_STORED for info in infos):
        raise CheckpointError(
            f"{str(path)!r} is damaged, or no file of torch", got=f"{told} bytes, packed", expected="plain bytes"
        )
    return Counter(info.file_size for info in infos)


def _check_tensors(state: Mapping[str, Tensor], path: Path, entries: Counter[int] | None) -> None:
    """An error for tensors that are no numbers in the file, or more than are there."""
    most = path.stat().st_size
    storages: dict[int, int] = {}
    for key, tensor in state.items():
        what = f"tensor {key!r} of {str(path)!r}"
        plain = tensor.layout is torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
        if not plain or tensor.is_nested:
            kind = "quantised" if tensor.is_quantized else "without values" if tensor.is_meta else "sparse or nested"
            raise CheckpointError(what, got=f"one that is {kind}", expected="plain numbers")
        storage = tensor.untyped_storage()
        if storage.nbytes() > most or tensor.numel() > max(most, _REPEATED):
            raise CheckpointError(what, got=f"shape {tuple(tensor.shape)}", expected=f"at most the file's {most} bytes")
        if storage.nbytes():
            storages[storage.data_ptr()] = storage.nbytes()
    if entries is not None and Counter(storages.values()) - entries:  # older torch reads past the end of an entry
        raise CheckpointError(f"{str(path)!r} is damaged", got="tensors of other sizes than what is stored")


def _damaged(path: PathLike, error: Exception) -> CheckpointError:
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return CheckpointError(f"{str(path)!r} is damaged or no checkpoint", got=first.partition(" In PyTorch 2.6")[0])


def _unpickled(text: str) -> str:
    """What torch says of a pickle, without its advice to trust the file and load it anyway."""
    lines = [line.strip().removeprefix("WeightsUnpickler error: ") for line in text.splitlines()]
    advice = ("Weights only load failed", "(1)", "(2)", "Please file an issue", "Check the documentation")
    told = next((line for line in lines if line and not line.startswith(advice)), "a damaged pickle")
    return told.partition(". Please use")[0][:120]


def _tensors(loaded: Any, path: PathLike) -> dict[str, Tensor]:
    """The state dict in what was loaded: itself, or the entry in which trainers keep it."""
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
            break
    if not isinstance(loaded, dict) or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise CheckpointError(f"{str(path)!r}", got=type(loaded).__name__, expected="a state dict of tensors")
    return {str(k): v for k, v in loaded.items()}


def build_model(spec: str, arguments: Mapping[str, Any] | None = None) -> nn.Module:
    """The network that ``MODULE:CALLABLE`` returns. This imports and runs your code; a checkpoint cannot name it.

    ``arguments`` are passed by name. What that code raises is told in one line, as
    :class:`~rcproof.errors.RcproofError`.

    >>> build_model("torch.nn:Conv1d", {"in_channels": 4, "out_channels": 2, "kernel_size": 5})
    Conv1d(4, 2, kernel_size=(5,), stride=(1,))
    """
    module_name, _, name = spec.partition(":")
    if not module_name or not name:
        raise RcproofError("--model", got=repr(spec), expected="MODULE:CALLABLE, for example mypackage.nets:build")
    if "" not in sys.path:
        sys.path.insert(0, "")  # a module beside you, as with python -m
    try:
        target: Any = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise RcproofError(f"--model: module {module_name!r} cannot be imported", got=describe(error)) from error
    for part in name.split("."):
        if not hasattr(target, part):
            raise RcproofError(f"--model: module {module_name!r} has no {name!r}")
        target = getattr(target, part)
    if isinstance(target, nn.Module):
        if arguments:
            raise RcproofError(f"--model {spec} is a network already", got="arguments for it", expected="none")
        return target
    if not callable(target):
        raise RcproofError(f"--model {spec}", got=type(target).__name__, expected="something to call")
    try:
        model = target(**(arguments or {}))
    except RcproofError:
        raise
    except (Exception, SystemExit) as error:
        raise RcproofError(f"--model {spec} failed", got=describe(error)) from error
    if not isinstance(model, nn.Module):
        raise RcproofError(f"--model {spec}", got=type(model).__name__, expected="a torch.nn.Module")
    return model


def load_into(model: nn.Module, state: dict[str, Tensor], path: PathLike) -> nn.Module:
    """Put a state dict into a model, dtype and all; wrong keys or shapes are one clear line.

    >>> state = {"weight": torch.ones(2, 4, 5), "bias": torch.zeros(2)}
    >>> load_into(nn.Conv1d(4, 2, 5), state, "ones.pt").weight.sum().item()
    40.0
    """
    own = model.state_dict()
    missing, unexpected = sorted(set(own) - set(state)), sorted(set(state) - set(own))
    if missing or unexpected:
        parts = []
        if missing:
            parts.append(f"{len(missing)} missing, first {missing[0]!r}")
        if unexpected:
            parts.append(f"{len(unexpected)} unexpected, first {unexpected[0]!r}")
        raise CheckpointError(f"keys of {str(path)!r} do not fit {type(model).__name__}", got="; ".join(parts))
    for key, tensor in state.items():
        if tensor.shape != own[key].shape:
            raise CheckpointError(
                f"tensor {key!r} of {str(path)!r}",
                got=f"shape {tuple(tensor.shape)}",
                expected=f"shape {tuple(own[key].shape)} of {type(model).__name__}",
            )
        if tensor.is_floating_point() != own[key].is_floating_point():
            raise CheckpointError(
                f"tensor {key!r} of {str(path)!r}",
                got=tensor.dtype,
                expected=f"a dtype like {own[key].dtype}, that of {type(model).__name__}",
            )
    shared: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        shared.setdefault(id(parameter), []).append(name)
    model.load_state_dict(state, assign=True)
    for first, *others in shared.values():
        for name in others:  # one parameter with several names stays one
            _rejoin(model, first, name, path)
    return model


def _rejoin(model: nn.Module, first: str, name: str, path: PathLike) -> None:
    parameter = model.get_parameter(first)
    if not torch.equal(parameter, model.get_parameter(name)):
        raise CheckpointError(
            f"tensors {first!r} and {name!r} of {str(path)!r} differ",
            expected=f"one tensor, as in {type(model).__name__}",
        )
    holder, _, last = name.rpartition(".")
    setattr(model.get_submodule(holder), last, parameter)
