"""What reading a checkpoint gives, and what a reader may be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn


@dataclass(frozen=True)
class ReadOptions:
    """What the user says of a file beyond its name.

    Attributes:
        architecture: a file with the configuration of a Keras network whose weights lie alone (JSON).
        lambdas: what a Lambda layer of a Keras network does, by its name: ``identity``, ``rc``, ``flip-length``,
            ``flip-channels``, ``crop:L,R`` or ``slice:START,STOP``.
        allow_pickle: unpickle whole modules, which runs whatever code the file names.
        arch: the name of a preset (:mod:`rcproof.checkpoints.presets`).
        model, model_args: the code that builds a state dict's network, ``MODULE:CALLABLE``, and its arguments.

    >>> ReadOptions(arch="factornet").arch
    'factornet'
    """

    architecture: str | None = None
    lambdas: Mapping[str, str] = field(default_factory=dict)
    allow_pickle: bool = False
    arch: str | None = None
    model: str | None = None
    model_args: Mapping[str, object] = field(default_factory=dict)


@dataclass
class Imported:
    """A network read from a file of any format, in eval mode and channels first.

    Attributes:
        model: the network: a :class:`~rcproof.network.network.Network` of one strand, a
            :class:`~rcproof.conjoined.Conjoined`, an RCPS network, or a module of the user's own class.
        format: what was read, for people: ``Keras 1.1.1 (Theano), HDF5``.
        notes: what was recognised or assumed, one line each, for the report.
        input_names, output_names: as the file has them.
        shapes: of the inputs, without the batch and channels first, where the file says them all.
        inputs, outputs, merge, final: how to conjoin a network of one strand, where a preset says it.
        siamese: a siamese graph was recognised, and ``model`` is the conjoined network that it is.

    >>> from rcproof import read_model, save
    >>> import tempfile
    >>> from rcproof.nn import RCPSConv1d
    >>> layer = RCPSConv1d(4, 8, 5, source="reversal")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(layer, f"{folder}/layer.safetensors")
    ...     read_model(f"{folder}/layer.safetensors").notes
    []
    """

    model: nn.Module
    format: str
    notes: list[str] = field(default_factory=list)
    input_names: tuple[str, ...] = ()
    output_names: tuple[str, ...] = ()
    shapes: tuple[tuple[int, ...], ...] | None = None
    inputs: tuple[str, ...] | None = None
    outputs: tuple[str, ...] | None = None
    merge: tuple[str, ...] | None = None
    final: tuple[str, ...] | None = None
    siamese: bool = False
