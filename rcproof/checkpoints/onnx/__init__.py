"""ONNX files: from a graph of operators to a network of layers.

The file is parsed as data and walked here: no checker, shape inference or inliner of the ``onnx`` package runs on it.
Each operator is looked up in a table (:mod:`~rcproof.checkpoints.onnx.operators` and its kin), and one that is not
there is an error that names it.
"""

from __future__ import annotations

from typing import Any

from rcproof.checkpoints.batches import check_runs, follows
from rcproof.checkpoints.imported import Imported, ReadOptions
from rcproof.checkpoints.importing import guarded
from rcproof.errors import CheckpointError
from rcproof.files import PathLike, existing
from rcproof.network.network import Network

#: Protobuf reads no larger message.
LARGEST = 2**31 - 1
#: Operators have kept their meaning since, for what is read here.
OLDEST_OPSET = 13


def read_onnx(path: PathLike, options: ReadOptions | None = None) -> Imported:
    """The network in an ONNX file of opset 13 or later. Needs the extra ``onnx``.

    Layers have the paths that the names of their weights or steps tell. Tensors outside the file are read only from a
    file beside it. An input that the file has channels last, as Keras does, and that goes to a convolution is taken
    channels first. Raises :class:`~rcproof.errors.CheckpointError` in one line for a damaged file and for an
    operator that has no form here, by name.
    """
    found = existing(path)
    try:
        import onnx
    except ImportError:
        raise CheckpointError("an ONNX file needs the package onnx", fix="pip install 'rcproof[onnx]'") from None
    size = found.stat().st_size
    if size > LARGEST:
        raise CheckpointError(
            f"{str(path)!r}", got=f"{size} bytes", expected="less than 2 GiB, weights in a file beside it"
        )
    data = found.read_bytes()
    try:
        proto = onnx.ModelProto.FromString(data)
    except Exception as error:  # of protobuf, whose class differs between its versions
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{str(path)!r} is no ONNX file, or is damaged", got=reason) from None
    return guarded(lambda: _imported(proto, found), found)


def _imported(proto: Any, path: Any) -> Imported:
    """With the number of examples left open, where the network then still answers each on its own."""
    from rcproof.checkpoints.onnx.graph import Model

    model = Model(proto, path)
    network = model.built()
    notes, batch = list(model.notes), model.batch
    if batch is not None:
        fits: bool | None = None
        if model.shapes is not None and isinstance(network, Network):
            fits = follows(network, model.shapes, model.dtypes, batch)
        if fits is False:
            notes.append(f"for {batch} examples at a time: it was written without a dynamic batch")
            model = Model(proto, path, any_batch=False)
            network = model.built()
        else:
            tried = "" if fits else " (not tried: its shapes are not fixed, or too large)"
            notes.append(f"written for {batch} examples; sizes that repeat this number follow the input{tried}")
    if model.shapes is not None and isinstance(network, Network):
        check_runs(network, model.shapes, model.dtypes, batch)
    origin = " ".join(w for w in (proto.producer_name[:40], proto.producer_version[:40]) if w)
    kind = f"ONNX, opset {model.opset}" + (f", by {origin}" if origin else "")
    return Imported(network, kind, notes, tuple(model.inputs), tuple(model.outputs), model.shapes)
