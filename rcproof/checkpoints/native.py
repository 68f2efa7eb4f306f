"""rcproof's own files: safetensors whose metadata says how to rebuild the network.

The graph travels as data. Loading makes registered layers and runs registered operations only; nothing in
a file is executed or unpickled, and every shape is checked on the meta device before tensors are read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from rcproof.conjoined import Conjoined
from rcproof.convert import Conversion, plain_network
from rcproof.convert.api import input_count
from rcproof.convert.certificate import tensor_sha256
from rcproof.errors import CheckpointError, RcproofError
from rcproof.files import PathLike, existing, replacing
from rcproof.network.graph import Graph
from rcproof.network.modules import layer_from_json, layer_to_json
from rcproof.network.network import Network, attach, find_module, find_tensor

FORMAT = 1
KEY = "rcproof"
DIGEST = "rcproof_sha256"  # of the description; it holds those of the tensors. Against damage, not against malice.

Model = nn.Module | Conversion


@dataclass(frozen=True)
class Header:
    """What a file says of itself: the kind of model, its description, its tensors' shapes, and free metadata.

    >>> import tempfile
    >>> from rcproof.nn import RCPSConv1d
    >>> layer = RCPSConv1d(4, 8, 5, source="reversal")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(layer, f"{folder}/layer.safetensors")
    ...     read_header(f"{folder}/layer.safetensors").shapes["net.weight"]
    (8, 4, 5)
    """

    kind: str
    description: dict[str, Any]
    metadata: dict[str, str]
    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, str]
    certificate: dict[str, Any] | None = None
    input_shapes: list[list[int]] | None = None


@dataclass
class _Parts:
    """Tensors to write, by key, and what keys cannot say."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    buffers: list[str] = field(default_factory=list)
    transient: list[str] = field(default_factory=list)
    frozen: list[str] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)


def save(model: Model, path: PathLike, metadata: Mapping[str, str] | None = None) -> None:
    """Write a model to a safetensors file that :func:`load` needs no class for.

    ``model``: the result of :func:`rcproof.convert` (with its certificate), any converted network, a
    :class:`~rcproof.conjoined.Conjoined` network, or an ordinary network that traces. ``metadata``: strings to
    keep with it. The file is read back and compared before it replaces an older one.

    Raises :class:`~rcproof.errors.RcproofError` for a layer or an argument that has no form in a file, and
    :class:`~rcproof.errors.CheckpointError` if it cannot be written.

    >>> import tempfile
    >>> from rcproof.nn import RCPSConv1d
    >>> layer = RCPSConv1d(4, 8, 5, source="reversal")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(layer, f"{folder}/layer.safetensors", {"note": "untrained"})
    ...     read_header(f"{folder}/layer.safetensors").metadata["note"]
    'untrained'
    """
    certificate, shapes = None, None
    if isinstance(model, Conversion):
        certificate = model.certificate.to_dict()
        shapes = [list(s) for s in model.input_shapes]
        model = model.model
    parts = _Parts()
    description = _describe(model, parts)
    extra = {str(k): str(v) for k, v in (metadata or {}).items()}
    for key in (KEY, DIGEST):
        if key in extra:
            raise RcproofError(
                "metadata", got=f"a key {key!r}", expected="another name", fix="this one is rcproof's own"
            )
    tensors = {k: t.detach().cpu().contiguous() for k, t in parts.tensors.items()}
    document = {
        "format": FORMAT,
        **description,
        "buffers": parts.buffers,
        "transient": parts.transient,
        "frozen": parts.frozen,
        "aliases": parts.aliases,
        "certificate": certificate,
        "input_shapes": shapes,
        "sha256": {k: tensor_sha256(t) for k, t in tensors.items()},
    }
    text = json.dumps(document)
    with replacing(path) as temporary:
        try:
            save_file(tensors, temporary, {**extra, KEY: text, DIGEST: hashlib.sha256(text.encode()).hexdigest()})
            _compare(temporary, tensors)
        except (SafetensorError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"output {str(path)!r} cannot be written", got=str(error)) from None


def load(path: PathLike, device: torch.device | str = "cpu") -> Any:
    """The model in a file written by :func:`save`, in eval mode on ``device``.

    Returns a :class:`~rcproof.network.network.Network` (RCPS or ordinary) or a
    :class:`~rcproof.conjoined.Conjoined`. Raises :class:`~rcproof.errors.CheckpointError` for a file that is
    missing, damaged, or no rcproof file.

    >>> import tempfile
    >>> from rcproof.nn import RCPSConv1d
    >>> layer = RCPSConv1d(4, 8, 5, source="reversal")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(layer, f"{folder}/layer.safetensors")
    ...     type(load(f"{folder}/layer.safetensors")).__name__
    'Network'
    """
    header = read_header(path)
    document = header.description
    try:
        return _rebuild(header, document, path, device)
    except RcproofError:
        raise
    except Exception as error:  # whatever torch makes of arguments that nobody checked
        raise CheckpointError(
            f"{str(path)!r} is damaged",
            got=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
        ) from None


def is_safetensors(path: PathLike) -> bool:
    """Whether a file begins as safetensors files do: the length of a header, then the header."""
    found = Path(path)
    if found.suffix == ".safetensors":
        return True
    with found.open("rb") as file:
        first = file.read(9)
    return len(first) == 9 and first[8:] == b"{" and int.from_bytes(first[:8], "little") < found.stat().st_size


def safetensors_metadata(path: PathLike) -> dict[str, str]:
    """The free metadata of any safetensors file."""
    try:
        with safe_open(path, framework="pt") as handle:
            return dict(handle.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{str(path)!r} is no safetensors file, or is damaged", got=reason) from None


def read_header(path: PathLike) -> Header:
    """What a file says of itself, without reading its tensors.

    >>> import tempfile
    >>> from rcproof.nn import RCPSConv1d
    >>> layer = RCPSConv1d(4, 8, 5, source="reversal")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(layer, f"{folder}/layer.safetensors")
    ...     read_header(f"{folder}/layer.safetensors").kind
    'network'
    """
    found = existing(path)
    try:
        with safe_open(found, framework="pt") as handle:
            metadata = dict(handle.metadata() or {})
            slices = {k: handle.get_slice(k) for k in handle.keys()}  # noqa: SIM118 (not a dict)
            shapes = {k: tuple(s.get_shape()) for k, s in slices.items()}
            dtypes = {k: str(s.get_dtype()) for k, s in slices.items()}
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{str(path)!r} is no safetensors file, or is damaged", got=str(error).splitlines()[0]
        ) from None
    text, digest = metadata.pop(KEY, None), metadata.pop(DIGEST, None)
    if text is None:
        raise CheckpointError(
            f"{str(path)!r} holds tensors but does not say what network they belong to",
            fix="name the code that builds it: --model MODULE:CALLABLE",
        )
    if digest not in (None, hashlib.sha256(text.encode()).hexdigest()):
        raise CheckpointError(
            f"{str(path)!r} is damaged", got="a description with another sha256 than it was written with"
        )
    try:
        document = json.loads(text)
        if document["format"] != FORMAT:
            raise CheckpointError(
                f"format of {str(path)!r}",
                got=repr(document["format"]),
                expected=FORMAT,
                fix="use another version of rcproof",
            )
        return Header(
            document["kind"],
            document,
            metadata,
            shapes,
            dtypes,
            _certificate(document.get("certificate")),
            document.get("input_shapes"),
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{str(path)!r} is damaged", got=f"{type(error).__name__}: {error}") from None


def _certificate(value: Any) -> dict[str, Any] | None:
    """A certificate as far as readers of files lean on its form; whether it is true is for ``check``."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise TypeError(f"a certificate that is {type(value).__name__}")
    for key in ("inputs", "outputs"):
        listed = value.get(key, [])
        if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
            raise TypeError(f"{key} of the certificate that are no list of texts")
    return value


# -- writing ------------------------------------------------------------------------------------------


def _describe(model: nn.Module, parts: _Parts) -> dict[str, Any]:
    if isinstance(model, Conjoined):
        net = _as_network(model.net, input_count(model))
        finals = model.final
        listed = list(finals) if isinstance(finals, nn.ModuleList) else None
        return {
            "kind": "conjoined",
            "inputs": [str(r) for r in model.inputs],
            "outputs": None if model.outputs is None else [str(r) for r in model.outputs],
            "merge": list(model.merge),
            "passes": model.passes,
            "net": _describe_network(net, "net.", parts),
            "final": None
            if finals is None
            else [_describe_network(_as_network(f, 1), f"final.{i}.", parts) for i, f in enumerate(listed)]
            if listed is not None
            else _describe_network(_as_network(finals, 1), "final.", parts),
        }
    if not isinstance(model, nn.Module):
        raise RcproofError("model to save", got=type(model).__name__, expected="a torch.nn.Module or a Conversion")
    network = _as_network(model, _required(model))
    return {"kind": "rcps" if network.carries_strands else "network", "net": _describe_network(network, "", parts)}


def _required(model: nn.Module) -> int:
    return input_count(Conjoined(model)) if not isinstance(model, Network) else 1


def _as_network(model: nn.Module, count: int) -> Network:
    return model if isinstance(model, Network) else plain_network(model, count)


def _describe_network(network: Network, prefix: str, parts: _Parts) -> dict[str, Any]:
    graph = network.rcproof_graph()
    paths = dict.fromkeys(n.target for n in graph.nodes if n.op == "module")
    seen = {id(t): k for k, t in parts.tensors.items()}
    persistent = set(network.state_dict(keep_vars=True))
    named = _tensors(network)
    for name, tensor in named:
        key = prefix + name
        if id(tensor) in seen:
            parts.aliases[key] = seen[id(tensor)]
        else:
            parts.tensors[key] = tensor
            seen[id(tensor)] = key
        if not isinstance(tensor, nn.Parameter):
            parts.buffers.append(key)
            if name not in persistent:
                parts.transient.append(key)
        elif not tensor.requires_grad:
            parts.frozen.append(key)
    owned = {f"{p}.{n}" for p in paths for n, _ in _tensors(find_module(network, p))}
    return {
        "graph": graph.to_json(),
        "layers": {path: layer_to_json(path, find_module(network, path)) for path in paths},
        "tensors": [name for name, _ in named if name not in owned],
        "layout": network._layout,
    }


def _tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    """Parameters and buffers under each of their names."""
    return [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]


def _compare(path: PathLike, tensors: Mapping[str, Tensor]) -> None:
    """Read back what was written, bit by bit."""
    with safe_open(path, framework="pt") as handle:
        if set(handle.keys()) != set(tensors):
            raise CheckpointError("the file that was written holds other tensors than the model")
        for key, tensor in tensors.items():
            read = handle.get_tensor(key)
            same = read.dtype == tensor.dtype and read.shape == tensor.shape
            if not same or not torch.equal(_bytes(read), _bytes(tensor)):
                raise CheckpointError(f"tensor {key!r} did not survive being written")


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)


# -- reading ------------------------------------------------------------------------------------------


def _rebuild(header: Header, document: dict[str, Any], path: PathLike, device: torch.device | str) -> nn.Module:
    reader = _Reader(header, document, path, device)
    if header.kind in ("rcps", "network"):
        model: nn.Module = reader.network(document["net"], "")
    elif header.kind == "conjoined":
        final = document["final"]
        built: Any = None
        if isinstance(final, list):
            built = [reader.network(f, f"final.{i}.") for i, f in enumerate(final)]
        elif final is not None:
            built = reader.network(final, "final.")
        model = Conjoined(
            reader.network(document["net"], "net."),
            inputs=[str(r) for r in document["inputs"]],
            outputs=None if document["outputs"] is None else [str(r) for r in document["outputs"]],
            merge=[str(m) for m in document["merge"]],
            final=built,
            passes=document["passes"],
        )
    else:
        raise CheckpointError(
            f"kind of model in {str(path)!r}", got=repr(header.kind), expected="rcps, conjoined or network"
        )
    unread = set(header.shapes) - reader.read
    if unread:
        raise CheckpointError(f"tensors of {str(path)!r} that no layer takes", got=", ".join(sorted(unread)[:5]))
    return model.eval()


class _Reader:
    def __init__(self, header: Header, document: dict[str, Any], path: PathLike, device: torch.device | str) -> None:
        self.header, self.path, self.device = header, path, device
        self.buffers, self.transient = set(document["buffers"]), set(document["transient"])
        self.frozen, self.aliases = set(document["frozen"]), dict(document["aliases"])
        self.hashes = dict(document.get("sha256", {}))
        self.read: set[str] = set()
        self.loaded: dict[str, Tensor] = {}

    def network(self, data: dict[str, Any], prefix: str) -> Network:
        layers = {str(p): layer_from_json(str(p), spec) for p, spec in data["layers"].items()}
        graph = Graph.from_json(data["graph"])
        network = Network(graph, layers, data["layout"])
        wanted: dict[str, Tensor | None] = dict(_tensors(network))
        wanted |= dict.fromkeys(str(name) for name in data.get("tensors", []))  # those that no layer owns
        keys = [k for k in [*self.header.shapes, *self.aliases] if k.startswith(prefix)]
        for key in keys:
            name = key[len(prefix) :]
            if name not in wanted:
                raise CheckpointError(f"tensor {key!r} of {str(self.path)!r}", expected="none of this name")
            expected = wanted.pop(name)
            shape = self.header.shapes.get(self.aliases.get(key, key))
            if shape is None or (expected is not None and tuple(expected.shape) != shape):
                raise CheckpointError(
                    f"tensor {key!r} of {str(self.path)!r}",
                    got=f"shape {shape}",
                    expected=f"shape {None if expected is None else tuple(expected.shape)}",
                )
            attach(network, name, self.tensor(key), persistent=key not in self.transient)
        if wanted:
            raise CheckpointError(f"tensors missing from {str(self.path)!r}", got=", ".join(sorted(wanted)[:5]))
        for name, tensor in _tensors(network):
            if tensor.is_meta:  # a weight by the description and a statistic by its layer, or the other way round
                raise CheckpointError(f"tensor {prefix + name!r} of {str(self.path)!r}", got="one of another kind")
        for node in graph.nodes:
            if node.op == "tensor":
                find_tensor(network, node.target)
        network.replan()
        return network

    def tensor(self, key: str) -> Tensor:
        origin = self.aliases.get(key, key)
        self.read.add(origin)
        if origin not in self.loaded:
            with safe_open(self.path, framework="pt", device=str(self.device)) as handle:
                tensor = handle.get_tensor(origin)
            if self.hashes.get(origin, "") not in ("", tensor_sha256(tensor)):
                raise CheckpointError(f"tensor {origin!r} of {str(self.path)!r} is damaged", got="another sha256")
            if key not in self.buffers:
                tensor = nn.Parameter(tensor, requires_grad=key not in self.frozen and tensor.is_floating_point())
            self.loaded[origin] = tensor
        return self.loaded[origin]
