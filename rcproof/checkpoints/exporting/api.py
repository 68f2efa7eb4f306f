"""One entry for every format: prepare the network, write, read back, compare."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rcproof.checkpoints.exporting.prepared import Prepared, Written, prepare_export
from rcproof.convert.shapes import Shape
from rcproof.convert.untie import Untieable
from rcproof.errors import RcproofError
from rcproof.files import PathLike
from rcproof.verify import Report


@dataclass(frozen=True)
class Format:
    """A format that can be written.

    Attributes:
        suffix: of its files.
        what: one line for people.
        writer: ``module:function``, imported when it is used; takes a :class:`Prepared` and a path, writes the file
            whole or not at all, and returns a :class:`Written`.
        layout: the only one that the format has, or None.
    """

    suffix: str
    what: str
    writer: str
    layout: str | None = None

    def write(self, prepared: Prepared, path: Path) -> Written:
        """Write and compare."""
        module, _, name = self.writer.partition(":")
        written = getattr(importlib.import_module(module), name)(prepared, path)
        assert isinstance(written, Written)
        return written


_HERE = "rcproof.checkpoints.exporting"
FORMATS: dict[str, Format] = {
    "pt2": Format(".pt2", "a program of torch.export, for torch alone", f"{_HERE}.program:write_program"),
    "onnx": Format(".onnx", "ONNX, for onnxruntime", f"{_HERE}.onnx_file:write_onnx"),
    "py": Format(".py", "source of ordinary layers, and a .pt of weights beside it", f"{_HERE}.plain:write_plain"),
    "safetensors": Format(".safetensors", "the un-tied network as a file of ours", f"{_HERE}.untied:write_untied"),
    "keras-genomics": Format(
        ".h5", "Keras 2 with keras-genomics' layers", f"{_HERE}.keras_genomics:write_keras_genomics", layout="stacked"
    ),
}


@dataclass(frozen=True)
class Export:
    """What was written, and how far it is from the network it was made of.

    Attributes:
        format, files: what, and where.
        layout, dtype: of the network that was written.
        batch, length: whether the file takes any batch, and any length that the network takes.
        reports: what was compared: tensors bit by bit, outputs by batch and length.
        notes: what a user should know, one line each.
    """

    format: str
    files: tuple[str, ...]
    layout: str
    dtype: str
    batch: bool
    length: bool
    reports: tuple[Report, ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "format": self.format,
            "files": list(self.files),
            "layout": self.layout,
            "dtype": self.dtype,
            "dynamic_batch": self.batch,
            "dynamic_length": self.length,
            "checks": [report.to_dict() for report in self.reports],
            "notes": list(self.notes),
        }


def format_for(path: PathLike, format: str | None = None) -> Format:  # noqa: A002 (what it is called everywhere)
    """The format named, or else the one that the path's suffix says."""
    if format is not None:
        if format not in FORMATS:
            raise RcproofError("no such format to export", got=repr(format), expected=", ".join(FORMATS))
        return FORMATS[format]
    suffix = Path(path).suffix
    for found in FORMATS.values():
        if found.suffix == suffix:
            return found
    known = ", ".join(found.suffix for found in FORMATS.values())
    raise RcproofError(f"no format is known by the name of {str(path)!r}", expected=known, fix="name one: --format pt2")


def export(
    model: Untieable,
    path: PathLike,
    format: str | None = None,  # noqa: A002
    *,
    layout: str = "auto",
    shapes: Sequence[Shape] | None = None,
    certificate: Mapping[str, Any] | None = None,
    names: Mapping[str, Sequence[str]] | None = None,
    leaves: Sequence[str] = (),
    seed: int = 0,
) -> Export:
    """Write ``model`` so that it runs without this package, and compare what was written with ``model``.

    Args:
        model: what :func:`rcproof.convert.untie.untie` takes: a conversion, an RCPS network, a conjoined or an
            ordinary one. In float32 or float64; it is not changed.
        path: the file to write. It is replaced only when everything below holds; on failure nothing is written.
        format: a key of :data:`FORMATS`; default: by the suffix of ``path``.
        layout: how strand pairs are held in what is written; see :func:`~rcproof.convert.untie.untie`.
        shapes: of the inputs without the batch, where ``model`` does not say them.
        certificate: of the conversion, to travel along, where ``model`` is a converted network without its own.
        names: ``{"inputs": [...], "outputs": [...]}`` for the file, made into identifiers.
        leaves: submodules of a conjoined or ordinary network that tracing leaves whole.
        seed: of the inputs on which the two are compared.

    The file is read back. Its tensors are compared bit by bit, its outputs for several batches and, where it takes
    them, lengths, with the tolerance of its dtype (:mod:`rcproof.verify.tolerances`). Raises
    :class:`~rcproof.errors.VerificationError` where they differ, :class:`~rcproof.errors.CheckpointError` where the
    file cannot be written or a package is missing, and :class:`~rcproof.errors.RcproofError` for a layer that the
    format cannot hold.
    """
    chosen = format_for(path, format)
    target = Path(path)
    if chosen.layout is not None and layout not in ("auto", chosen.layout):
        raise RcproofError(
            f"layout of a file {chosen.suffix}", got=repr(layout), expected=f"{chosen.layout}, the only one that it has"
        )
    layout = chosen.layout or layout
    prepared = prepare_export(model, layout, shapes, certificate, names or {}, leaves, seed)
    written = chosen.write(prepared, target)
    return Export(
        format=next(name for name, found in FORMATS.items() if found is chosen),
        files=tuple(str(file) for file in written.files),
        layout=layout,
        dtype=written.dtype,
        batch=written.batch,
        length=written.length,
        reports=written.reports,
        notes=(*prepared.notes, *written.notes),
    )
