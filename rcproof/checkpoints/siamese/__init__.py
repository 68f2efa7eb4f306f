"""Siamese graphs: files whose network is conjoined already, and what :func:`rcproof.convert` takes in their place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rcproof.checkpoints.imported import Imported
from rcproof.checkpoints.siamese.making import Siamese
from rcproof.checkpoints.siamese.recognition import NotSiamese, confirm, recognise
from rcproof.network.network import Network
from rcproof.strand import RepresentationLike

__all__ = ["NotSiamese", "Siamese", "as_conjoined", "confirm", "recognise"]


def as_conjoined(
    imported: Imported,
    inputs: Sequence[RepresentationLike] | None = None,
    shapes: Sequence[tuple[int, ...]] | None = None,
) -> Imported:
    """What was read, with a siamese graph as the conjoined network that it is, confirmed numerically.

    A network of one strand comes back as it is, with a note if it looked siamese and is not. ``inputs``: see
    :func:`recognise`. ``shapes``: of the file's inputs, where the file does not say them.

    Raises as :func:`recognise` and :func:`confirm` do.
    """
    if not isinstance(imported.model, Network):
        return imported
    found = recognise(imported.model, imported.shapes or shapes, inputs)
    if found is None:
        return imported
    if isinstance(found, NotSiamese):
        return replace(imported, notes=[*imported.notes, f"not siamese, though layers are used twice: {found.reason}"])
    confirm(found, imported.model)
    names = imported.input_names
    return replace(
        imported,
        model=found.conjoined,
        notes=[*imported.notes, *found.notes],
        input_names=tuple(names[i] for i in found.inputs) if names else (),
        shapes=None if found.shapes is None else tuple(found.shapes[i] for i in found.inputs),
        siamese=True,
    )
