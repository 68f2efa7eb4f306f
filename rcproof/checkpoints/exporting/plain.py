"""``.py`` and ``.pt``: an ordinary module of ordinary layers as readable source, and its weights beside it."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rcproof import __version__
from rcproof.checkpoints.exporting.prepared import Prepared, Written, compared, short_name
from rcproof.checkpoints.exporting.source import source_of
from rcproof.errors import CheckpointError
from rcproof.files import replacing
from rcproof.structure import flatten
from rcproof.verify import InputCase

#: Longest time that the written module may take to answer all the inputs it is compared on.
TIMEOUT = 600

# Runs the written module where this package cannot be imported, on inputs from a file, and writes its answers.
_CHILD = """
import runpy, sys
sys.modules["rcproof"] = None
import torch
source, weights, inputs, outputs = sys.argv[1:]
torch.set_num_threads({threads})
network = runpy.run_path(source)["load"](weights)
def leaves(value):
    if torch.is_tensor(value):
        return [value]
    return [t for v in (value.values() if isinstance(value, dict) else value) for t in leaves(v)]
with torch.no_grad():
    answers = [leaves(network(*case)) for case in torch.load(inputs, weights_only=True)]
torch.save(answers, outputs)
"""


def write_plain(prepared: Prepared, path: Path) -> Written:
    """Write both files, run them in a process without this package, compare; then both appear, or neither."""
    weights = path.with_suffix(".pt")
    if weights == path:
        raise CheckpointError(f"output {str(path)!r}", expected="a name that does not end in .pt: the weights go there")
    source = source_of(prepared.plain, heading(prepared))
    state = prepared.plain.state_dict()
    with replacing(path) as code, replacing(weights) as tensors:
        code.write_text(source, encoding="ascii")
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        tensors.write_bytes(buffer.getvalue())
        lengths = prepared.other_lengths()
        answers = iter(_elsewhere(code, tensors, [*prepared.cases(), *lengths], prepared.dtype))
        reports = compared(prepared, state, _read(tensors), lambda xs: next(answers), lengths)
    return Written((path, weights), short_name(prepared.dtype), True, bool(lengths), reports)


def heading(prepared: Prepared) -> str:
    """What stands above the code."""
    lines = ["A network of ordinary PyTorch layers.", ""]
    if any(node.kind == "closed" for node in prepared.network.rcproof_graph().nodes):
        lines[0] = (
            "A network that reads DNA and says the same, mirrored, of the reverse complement: ordinary PyTorch layers."
        )
    if prepared.certificate is not None:
        lines += ["In exact arithmetic it equals the conjoined network that it was made from, on every input.", ""]
    lines.append("It takes, batch first (the reverse complement acts on each as named):")
    for name, shape, rep in zip(prepared.plain_inputs, prepared.shapes, prepared.representations, strict=True):
        lines.append(f"    {name}: (N, {', '.join(map(str, shape))}), {rep}")
    if prepared.outputs:
        lines.append(f"The reverse complement acts on its outputs as: {', '.join(prepared.outputs)}.")
    lines += [
        "",
        "    network = load()  # reads the weights from the .pt file of the same name",
        f"    answer = network({', '.join(prepared.plain_inputs)})",
        "",
        f"Written by rcproof {__version__}, compared with the network it was made from, and in need of torch alone.",
    ]
    return "\n".join(lines)


def _read(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as file:
        found = torch.load(file, map_location="cpu", weights_only=True)
    assert isinstance(found, dict)
    return found


def _elsewhere(code: Path, weights: Path, cases: Sequence[InputCase], dtype: torch.dtype) -> list[list[Tensor]]:
    """What the written module answers, run by another interpreter."""
    with tempfile.TemporaryDirectory() as folder:
        inputs, outputs = Path(folder, "inputs.pt"), Path(folder, "outputs.pt")
        given = [[t.to(dtype) if t.is_floating_point() else t for t in case.tensors] for case in cases]
        torch.save(given, inputs)
        words = [sys.executable, "-c", _CHILD.format(threads=torch.get_num_threads())]
        words += [str(p.absolute()) for p in (code, weights, inputs, outputs)]
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=TIMEOUT, cwd=folder, check=False)
        except subprocess.TimeoutExpired:
            raise CheckpointError("the written module does not answer", got=f"nothing in {TIMEOUT} s") from None
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise CheckpointError("the written module does not run", got=last)
        try:
            answers: Any = torch.load(outputs, weights_only=True)
        except (OSError, pickle.UnpicklingError) as error:
            raise CheckpointError("the answers of the written module cannot be read", got=str(error)) from None
    return [flatten(answer, torch.is_tensor)[0] for answer in answers]
