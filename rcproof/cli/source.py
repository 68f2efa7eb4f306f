"""SOURCE and CONVERTED: from a file and options to networks in eval mode, and the shapes of their inputs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch
from torch import nn

from rcproof.checkpoints import Header, Imported, format_of, load, read_header, read_model
from rcproof.cli.common import SourceOptions, check_size
from rcproof.conjoined import Conjoined
from rcproof.convert.api import input_count
from rcproof.convert.build import uses_tied_layers
from rcproof.convert.shapes import Shape, infer_shapes
from rcproof.convert.trace import trace
from rcproof.errors import CheckpointError, ConversionError, RcproofError, printable
from rcproof.files import existing
from rcproof.models import BranchNet
from rcproof.network.network import Network
from rcproof.strand import Representation, representations
from rcproof.verify import InputCase, draw_inputs, vary_lengths
from rcproof.verify.inputs import KINDS
from rcproof.verify.running import answered, finite


@dataclass(frozen=True)
class Source:
    """A network with its weights, in eval mode, and where it came from."""

    path: str
    model: nn.Module
    options: SourceOptions
    imported: Imported
    header: Header | None = None

    @property
    def metadata(self) -> dict[str, str]:
        """What the file says of itself, if it is one of ours; else what it was."""
        return {"source_format": self.imported.format} if self.header is None else dict(self.header.metadata)


def read_source(path: str, options: SourceOptions) -> Source:
    """The network in ``path``, a file of any format that :func:`~rcproof.checkpoints.reading.read_model` knows.

    A siamese graph becomes a conjoined network; what was recognised stands in ``imported.notes``. Weights must be
    finite.
    """
    existing(path)
    pickle_warning(path, options)
    imported = read_model(path, options.reading())
    header = read_header(path) if format_of(path) == "rcproof" and options.model is None else None
    for name, tensor in [*imported.model.named_parameters(), *imported.model.named_buffers()]:
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(
                f"weights {name!r} of {path!r}", got="NaN or infinite values", expected="finite numbers"
            )
    if header is None:
        imported = conjoined_if_siamese(imported, options)
    return Source(path, imported.model, options, imported, header)


def pickle_warning(path: str, options: SourceOptions) -> None:
    """Say what ``--allow-pickle`` means, before anything is unpickled."""
    if options.allow_pickle:
        click.echo(
            f"warning: --allow-pickle: {printable(path)} is unpickled, which runs whatever code it names, with your "
            "rights; this is safe only for a file from somebody you trust with your account",
            err=True,
        )


def conjoined_if_siamese(imported: Imported, options: SourceOptions) -> Imported:
    """The same, with a siamese graph as the conjoined network that it is; other networks unchanged."""
    if type(imported.model) is not Network or uses_tied_layers(imported.model):
        return imported
    from rcproof.checkpoints.siamese import as_conjoined

    return as_conjoined(imported, options.inputs or imported.inputs)


def conjoined_of(source: Source) -> Conjoined:
    """The conjoined network: the source itself, or the source wrapped post hoc as the options say."""
    options, model = source.options, source.model
    if isinstance(model, Conjoined):
        given = [name for name in options.given if name != "--input" or not source.imported.siamese]
        if given:
            raise RcproofError(
                f"{', '.join(given)} with a network that is conjoined already",
                got=f"{source.path!r}, which says its own representations, merge and final step",
                fix="leave the options out, or give the network that reads one strand",
            )
        return model
    if uses_tied_layers(model):
        raise ConversionError(f"{source.path!r} holds an RCPS network already", fix="there is nothing to convert")
    imported = source.imported
    finals = [None if name == "none" else name for name in options.final or imported.final or ()]
    inputs, outputs = representations_of(source)
    return Conjoined(
        model,
        inputs=inputs,
        outputs=outputs,
        merge=options.merge or imported.merge or "mean",
        final=finals[0] if len(finals) == 1 else finals or None,
    ).eval()


def representations_of(source: Source) -> tuple[tuple[Representation, ...], tuple[Representation, ...] | None]:
    """Of the inputs and outputs, by the options, else as the network says, else the defaults (outputs: by rank)."""
    options, model, imported = source.options, source.model, source.imported
    said = model if isinstance(model, BranchNet) else None
    inputs: Sequence[str] = options.inputs or imported.inputs or (said.input_representations if said else ("reversal",))
    outputs: Sequence[str] | None = (
        options.outputs or imported.outputs or (said.output_representations if said else None)
    )
    return representations(inputs), None if outputs is None else representations(outputs)


def known_shapes(source: Source, count: int) -> tuple[Shape, ...] | None:
    """Shapes of ``count`` inputs by the options, the file or the network; None if nobody says."""
    shapes: Any = source.options.shapes
    if shapes and len(shapes) != count:
        raise RcproofError("--shape", got=f"{len(shapes)} shapes for {count} inputs", expected="one for each input")
    net = source.model.net if isinstance(source.model, Conjoined) else source.model
    stated = None if shapes or source.header is None else header_shapes(source.header, count, source.path)
    if stated is None and not shapes and source.header is None and len(source.imported.shapes or ()) == count:
        stated = source.imported.shapes
        for shape in stated or ():
            check_size(shape)
    if stated is not None:
        return stated
    if not shapes and isinstance(net, BranchNet):
        shapes = net.input_shapes()
    return tuple(shapes) or None


def header_shapes(header: Header, count: int, path: str) -> tuple[Shape, ...] | None:
    """The input shapes that a file states, which may be anything; None if it states none."""
    shapes: Any = header.input_shapes
    if shapes is None:
        return None
    right = isinstance(shapes, list) and len(shapes) == count
    for shape in shapes if right else ():
        right = right and isinstance(shape, list) and len(shape) in (1, 2)
        right = right and all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in shape)
    if not right:
        raise CheckpointError(f"input shapes in {path!r}", got=str(shapes)[:80], expected=f"{count} shapes")
    found = tuple(tuple(shape) for shape in shapes)
    for shape in found:
        check_size(shape)
    return found


def shapes_by_trial(net: nn.Module, reps: Sequence[Representation], leaves: Sequence[str]) -> tuple[Shape, ...]:
    """Input shapes on which ``net``, a network that is not conjoined, runs."""
    holder = net
    if not list(net.children()) and not isinstance(net, Network):
        holder = nn.Sequential(net)  # a single layer has no graph of its own
    return infer_shapes(holder, trace(holder, len(reps), leaves), reps)


def count_inputs(model: nn.Module, inputs: Sequence[Representation]) -> int:
    """How many tensors a network takes."""
    return input_count(model if isinstance(model, Conjoined) else Conjoined(model, inputs=inputs))


def read_converted(path: str) -> tuple[Network, Header]:
    """The RCPS network in a file of ours, with what the file says of it."""
    existing(path)
    if format_of(path) != "rcproof":
        raise CheckpointError(f"{path!r} is no safetensors file of rcproof's", expected="the result of rcproof convert")
    header = read_header(path)
    if header.kind != "rcps":
        kind = "an ordinary network" if header.kind == "network" else f"a {header.kind} network"
        raise CheckpointError(f"{path!r} holds {kind}", expected="an RCPS network, the result of rcproof convert")
    network = load(path)
    assert isinstance(network, Network)
    return network, header


@dataclass(frozen=True)
class Cases:
    """Inputs to compare networks on: by kind, by length, and the names of those left out."""

    kinds: list[InputCase]
    lengths: list[InputCase]
    left_out: list[str]

    @property
    def every(self) -> list[InputCase]:
        """All of them."""
        return [*self.kinds, *self.lengths]


def draw_cases(
    model: nn.Module,
    shapes: Sequence[Shape],
    reps: Sequence[Representation],
    seed: int,
    kinds: Sequence[str] = KINDS,
) -> Cases:
    """Inputs of each kind at the given length, and one-hot inputs of the other lengths that ``model`` takes.

    Those on which ``model`` gives no finite answer are left out; see :func:`~rcproof.verify.running.answered`.
    """
    cases, left_out = answered(model, list(draw_inputs(shapes, reps, kinds=kinds, batch=2, seed=seed)))
    lengths = [case for case in vary_lengths(model, shapes, reps, seed=seed) if finite(model, case)]
    return Cases(cases, lengths, left_out)


def file_sha256(path: str | os.PathLike[str]) -> str:
    """The hash of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
