"""``.safetensors``: the un-tied network as a file of ours, a graph of ordinary layers without strands."""

from __future__ import annotations

from pathlib import Path

from rcproof.checkpoints.exporting.prepared import Prepared, Written, compared, short_name
from rcproof.checkpoints.native import load, save
from rcproof.files import replacing


def write_untied(prepared: Prepared, path: Path) -> Written:
    """Save, load, compare."""
    with replacing(path) as temporary:
        save(prepared.plain, temporary, metadata=prepared.metadata())
        loaded = load(temporary)
        lengths = prepared.other_lengths()
        state = prepared.plain.state_dict()
        reports = compared(prepared, state, loaded.state_dict(), lambda xs: loaded(*xs), lengths)
    return Written((path,), short_name(prepared.dtype), True, bool(lengths), reports)
