"""Keras files of every age, read without Keras: :func:`read_keras`."""

from __future__ import annotations

from rcproof.checkpoints.imported import Imported, ReadOptions
from rcproof.files import PathLike


def read_keras(path: PathLike, options: ReadOptions | None = None) -> Imported:
    """The network in a Keras file, as torch layers with the names of the file, channels first.

    Reads full models and weights beside a configuration (``options.architecture``), of Keras 0 to 3, from HDF5 and
    ``.keras`` files; see :mod:`rcproof.checkpoints.keras.read`. Needs h5py (the extra ``keras``). Nothing in a file is
    executed. Raises :class:`~rcproof.errors.CheckpointError` for a file that is damaged, and for a layer or an
    option that has no form here, naming it.
    """
    from rcproof.checkpoints.keras.build import build
    from rcproof.checkpoints.keras.read import read_keras_model

    options = options or ReadOptions()
    found = read_keras_model(path, options)
    notes: list[str] = list(found.notes)
    network, inputs, _ = build(found, options, notes)
    shapes = [value.held_shape() for value in inputs if None not in value.shape]
    return Imported(
        network,
        format=f"Keras {found.version} ({found.backend}), {found.container}",
        notes=notes,
        input_names=tuple(found.calls[i].layer for i in found.inputs),
        output_names=tuple(found.calls[source.call].layer for source in found.outputs),
        shapes=tuple(shapes) if len(shapes) == len(inputs) else None,
    )
