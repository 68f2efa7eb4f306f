"""``.safetensors``: the un-tied network as a file of ours, a graph of ordinary layers without strands."""

from __future__ import annotations

from pathlib import Path

from rcproof.checkpoints.exporting.prepared import Prepared, Written, check_outputs, check_tensors
from rcproof.checkpoints.native import load, save
from rcproof.files import replacing


def write_untied(prepared: Prepared, path: Path) -> Written:
    """Save, load, compare."""
    with replacing(path) as temporary:
        save(prepared.plain, temporary, metadata=prepared.metadata())
        loaded = load(temporary)
        lengths = prepared.other_lengths()
        reports = [
            check_tensors(prepared.plain.state_dict(), loaded.state_dict()),
            check_outputs(prepared, lambda xs: loaded(*xs), prepared.cases(), prepared.dtype),
        ]
        if lengths:
            reports.append(
                check_outputs(prepared, lambda xs: loaded(*xs), lengths, prepared.dtype, "outputs at other lengths")
            )
        for report in reports:
            report.raise_if_failed()
    dtype = str(prepared.dtype).removeprefix("torch.")
    return Written((path,), dtype, True, bool(lengths), tuple(reports))
