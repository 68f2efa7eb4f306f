"""Exported programs (``torch.export.save``, ``.pt2``): from the graph of aten functions to a network of layers.

The graph is read as data (:mod:`~rcproof.checkpoints.exported.archive`) and walked
(:mod:`~rcproof.checkpoints.exported.program`); each function is looked up in a table
(:mod:`~rcproof.checkpoints.exported.aten`), and one that is not there is an error that names it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rcproof.checkpoints.batches import check_runs, follows
from rcproof.checkpoints.imported import Imported, ReadOptions
from rcproof.checkpoints.importing import guarded
from rcproof.files import PathLike, existing
from rcproof.network.network import Network

if TYPE_CHECKING:
    from rcproof.checkpoints.exported.archive import Archive
    from rcproof.checkpoints.exported.program import Program


def read_exported(path: PathLike, options: ReadOptions | None = None) -> Imported:
    """The network in a file that ``torch.export.save`` wrote, in training IR or after ``run_decompositions()``.

    Nothing is unpickled but plain tensors and nothing is executed. Layers have the paths they had in the
    exported module, where the names of their weights tell. Sizes that only repeat the number of examples the program
    was exported with follow the input. Raises :class:`~rcproof.errors.CheckpointError` in one line for a damaged
    file, for a program in train mode, and for a function that has no form here, by name.
    """
    from rcproof.checkpoints.exported.archive import read_archive

    found = existing(path)
    archive = read_archive(found)
    return guarded(lambda: _imported(archive), found)


def _imported(archive: Archive) -> Imported:
    """With the number of examples left open, where the network then still answers each on its own."""
    from rcproof.checkpoints.exported.program import Program

    program = Program(archive)
    result = program.imported()
    batch, shapes = program.batch, result.shapes
    if batch is None:
        _check_runs(program, result, None)
        return result
    fits = None
    if shapes is not None and isinstance(result.model, Network):
        fits = follows(result.model, shapes, program.dtypes, batch)
    if fits is False:
        program = Program(archive, any_batch=False)
        result = program.imported()
        result.notes.append(f"for {batch} examples at a time: it was exported without a dynamic batch")
    else:
        tried = "" if fits else " (not tried: too large)"
        result.notes.append(f"exported for {batch} examples; sizes that repeat this number follow the input{tried}")
    _check_runs(program, result, batch)
    return result


def _check_runs(program: Program, result: Imported, batch: int | None) -> None:
    if result.shapes is not None and isinstance(result.model, Network):
        check_runs(result.model, result.shapes, program.dtypes, batch)
