"""Reading a checkpoint of any format: the format is told by the file's first bytes, never by its name alone."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from rcproof.checkpoints.batches import check_runs
from rcproof.checkpoints.imported import Imported, ReadOptions
from rcproof.checkpoints.native import KEY, Header, is_safetensors, load, read_header, safetensors_metadata
from rcproof.checkpoints.state_dicts import build_model, load_into, read_pickle, read_state_dict
from rcproof.conjoined import Conjoined
from rcproof.errors import CheckpointError
from rcproof.files import PathLike, existing
from rcproof.network.network import Network

_HDF5 = b"\x89HDF\r\n\x1a\n"

#: What a file can be.
FORMATS = {
    "rcproof": "a file of rcproof's own",
    "keras": "a Keras file (HDF5, or .keras)",
    "onnx": "an ONNX file",
    "exported": "a program exported by torch (.pt2)",
    "state dict": "a state dict (.safetensors, .pt, .pth, .ckpt)",
    "json": "a configuration without weights",
}


def format_of(path: PathLike) -> str:
    """Which of ``FORMATS`` a file is, by its first bytes, and of a zip file by the names inside.

    Raises :class:`~rcproof.errors.CheckpointError` for a file that is missing, empty or none of them.

    >>> from rcproof import save
    >>> import tempfile
    >>> from rcproof.nn import RCPSConv1d
    >>> layer = RCPSConv1d(4, 8, 5, source="reversal")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(layer, f"{folder}/layer.safetensors")
    ...     format_of(f"{folder}/layer.safetensors")
    'rcproof'
    """
    found = existing(path)
    with found.open("rb") as file:
        first = file.read(9)
    if is_safetensors(found):
        return "rcproof" if KEY in safetensors_metadata(found) else "state dict"
    if first.startswith(_HDF5):
        return "keras"
    if first.startswith(b"PK\x03\x04"):
        return _zipped(found)
    if first.lstrip()[:1] in (b"{", b"["):
        return "json"
    if first[:1] == b"\x80" or found.suffix in (".pt", ".pth", ".ckpt", ".bin", ".torch"):
        return "state dict"
    if first[:1] == b"\x08" or found.suffix == ".onnx":
        return "onnx"
    raise CheckpointError(
        f"{str(path)!r} is no checkpoint that can be read",
        got=f"a file that begins with {first!r}",
        expected=", ".join(FORMATS.values()),
    )


def _zipped(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.rpartition("/")[2] for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
        raise CheckpointError(f"{str(path)!r} is damaged", got=f"a broken zip file: {error}") from None
    if "config.json" in names:
        return "keras"
    if names & {"archive_format", "serialized_exported_program.json", "model.json"}:
        return "exported"
    if "data.pkl" in names:
        return "state dict"
    raise CheckpointError(
        f"{str(path)!r} is a zip file", got="other things in it", expected=", ".join(FORMATS.values())
    )


def read_model(path: PathLike, options: ReadOptions | None = None) -> Imported:
    """The network in a file of any format, in eval mode, channels first.

    ======================  ==============================================================================
    Keras                   HDF5 of Keras 0 to 3, ``.keras``; ``options.architecture`` where weights lie alone
    ONNX, ``.pt2``          as data; nothing is executed
    state dict              needs ``options.model`` (code of yours, which is run) or ``options.arch`` (a preset)
    whole-module pickle     only with ``options.allow_pickle``: unpickling runs whatever the file names
    ======================  ==============================================================================

    A siamese graph stays a graph here; :func:`rcproof.checkpoints.siamese.recognise` finds its branch. Raises
    :class:`~rcproof.errors.CheckpointError` in one line for everything else.

    >>> from rcproof import save
    >>> import tempfile
    >>> from rcproof.nn import RCPSConv1d
    >>> layer = RCPSConv1d(4, 8, 5, source="reversal")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(layer, f"{folder}/layer.safetensors")
    ...     read_model(f"{folder}/layer.safetensors").format
    "a file of rcproof's own"
    """
    options = options or ReadOptions()
    kind = format_of(path)
    if kind == "rcproof" and options.model is None:
        header = read_header(path)
        found = Imported(load(path), FORMATS[kind], shapes=_stated(header, path))
        if found.shapes is not None and isinstance(found.model, Network | Conjoined):
            _check_stated(found.model, found.shapes)
    elif kind == "keras":
        from rcproof.checkpoints.keras import read_keras

        found = read_keras(path, options)
    elif kind == "onnx":
        from rcproof.checkpoints.onnx import read_onnx

        found = read_onnx(path, options)
    elif kind == "exported":
        from rcproof.checkpoints.exported import read_exported

        found = read_exported(path, options)
    elif kind == "json":
        raise CheckpointError(
            f"{str(path)!r} is a configuration without weights",
            fix="give the file with the weights, and this one as --architecture",
        )
    else:
        found = _from_tensors(path, options)
    if options.arch is not None and kind not in ("state dict", "rcproof"):
        _say_representations(found, options.arch)
    found.model.eval()
    return found


def _stated(header: Header, path: PathLike) -> tuple[tuple[int, ...], ...] | None:
    """The input shapes that a file of ours states, which may be anything."""
    shapes = header.input_shapes
    if shapes is None:
        return None
    if not isinstance(shapes, list) or not all(isinstance(s, list) and all(type(n) is int for n in s) for s in shapes):
        raise CheckpointError(f"input shapes in {str(path)!r}", got=str(shapes)[:80], expected="lists of whole numbers")
    return tuple(map(tuple, shapes))


def _check_stated(model: Network | Conjoined, shapes: tuple[tuple[int, ...], ...]) -> None:
    """A :class:`CheckpointError` unless a network of ours runs on inputs of the shapes that its file states.

    Its inputs are numbers or codes; where their representation does not tell, either is right.
    """
    floats = (t.dtype for t in [*model.parameters(), *model.buffers()] if t.is_floating_point())
    number = next(floats, torch.float32)
    if isinstance(model, Conjoined):
        reps = [str(rep) for rep in model.input_representations(len(shapes))]
    else:
        reps = [str(node.rep) for node in model.rcproof_graph().nodes if node.op == "input"]
    try:
        check_runs(model, shapes, [torch.int64 if rep.startswith("tokens") else number for rep in reps])
    except CheckpointError as error:
        try:
            check_runs(model, shapes, [torch.int64] * len(reps))
        except CheckpointError:
            raise error from None


def _from_tensors(path: PathLike, options: ReadOptions) -> Imported:
    """A state dict with the code or the preset that builds its network, or a pickled module."""
    held = read_pickle(path) if options.allow_pickle and not is_safetensors(path) else read_state_dict(path)
    if isinstance(held, nn.Module):
        if options.model is not None:
            raise CheckpointError(f"{str(path)!r} holds a whole module", fix="leave --model out")
        found = Imported(held, f"a pickled module, {type(held).__name__}")
        if options.arch is not None:  # its own forward, and what the preset says of it
            said = _preset_network(held.state_dict(), path, options, options.arch)
            found = replace(found, inputs=said.inputs, outputs=said.outputs, merge=said.merge, final=said.final)
        return found
    if options.model is not None:
        module = build_model(options.model, options.model_args)
        return Imported(fill(module, held, path), f"a state dict for {options.model}")
    if options.arch is not None:
        return _preset_network(held, path, options, options.arch)
    raise CheckpointError(
        f"{str(path)!r} holds tensors but does not say what network they belong to",
        fix="name the code that builds it (--model MODULE:CALLABLE) or a preset (--arch NAME)",
    )


def _preset_network(state: dict[str, Tensor], path: PathLike, options: ReadOptions, arch: str) -> Imported:
    from rcproof.checkpoints.presets import preset

    chosen = preset(arch)
    built = chosen.network(without_prefix(state), options.model_args)
    if built is None:
        raise CheckpointError(
            f"{str(path)!r} is a state dict", got=f"--arch {arch}", fix="that preset is for full models"
        )
    return Imported(
        built.network,
        f"a state dict, built as {arch}",
        list(built.notes),
        shapes=built.shapes,
        inputs=built.inputs,
        outputs=built.outputs,
        merge=chosen.merge,
        final=chosen.final,
    )


def _say_representations(found: Imported, arch: str) -> None:
    from rcproof.checkpoints.presets import preset

    chosen = preset(arch)
    found.inputs, found.outputs = chosen.representations(found.shapes)
    found.merge, found.final = chosen.merge, chosen.final
    found.notes.append(f"representations as in {arch}: {', '.join(found.inputs)}")


def without_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict without what wrappers put before every key: ``model.``, ``net.``, ``module.``, ``_orig_mod.``."""
    for prefix in ("_orig_mod.", "module.", "model.", "net."):
        if state and all(key.startswith(prefix) for key in state):
            return without_prefix({key.removeprefix(prefix): tensor for key, tensor in state.items()})
    return state


def fill(module: nn.Module, state: dict[str, Tensor], path: PathLike) -> nn.Module:
    """Load a state dict whose keys are those of ``module``, or of it inside or outside a wrapper or conjoined form."""
    views = [(module, state), (module, without_prefix(state))]
    if isinstance(module, Conjoined):
        views += [(module.net, state), (module.net, without_prefix(state))]
    target, fitting = min(views, key=lambda view: len(set(view[0].state_dict()) ^ set(view[1])))
    load_into(target, fitting, path)
    return module
