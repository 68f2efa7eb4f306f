"""``.onnx``: one file in float32 for onnxruntime, through torch's exporter."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rcproof.checkpoints.exporting.prepared import (
    Prepared,
    Written,
    check_outputs,
    check_tensors,
    float_copy,
    quietly,
    short_name,
)
from rcproof.checkpoints.exporting.program import exported, fixed_length_note
from rcproof.errors import CheckpointError
from rcproof.files import replacing
from rcproof.network.network import Network
from rcproof.verify import InputCase, Report
from rcproof.verify.running import describe

#: A file without external data cannot be larger: the limit of protocol buffers.
LARGEST = 2**31 - 1


def write_onnx(prepared: Prepared, path: Path) -> Written:
    """Export, check, run in onnxruntime, compare. In float32, which is what onnxruntime has kernels for.

    Where the answers at other lengths are not right (exporters have been wrong there), the length is fixed.
    """
    _require()
    notes: list[str] = []
    if prepared.dtype != torch.float32:
        notes.append(f"weights are {short_name(prepared.dtype)} in the source and float32 in the file")
    network = float_copy(prepared.plain, torch.float32)
    with replacing(path) as temporary:
        program, lengths = exported(prepared, network, notes)
        reports = _attempt(prepared, network, program, lengths, temporary)
        if lengths and not reports[-1].passed:
            notes[:] = [note for note in notes if "lengths" not in note] + [fixed_length_note(prepared)]
            program, lengths = exported(prepared, network, [], length=False)
            reports = _attempt(prepared, network, program, lengths, temporary)
        for report in reports:
            report.raise_if_failed()
    return Written((path,), "float32", True, bool(lengths), tuple(reports), tuple(notes))


def _require() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise CheckpointError(
            "writing ONNX needs a package that is missing", got=error.name, fix="pip install 'rcproof[onnx]'"
        ) from None


def _attempt(
    prepared: Prepared, network: Network, program: Any, lengths: Sequence[InputCase], path: Path
) -> list[Report]:
    """Write a program and compare what was written; the outputs at other lengths come last."""
    _write(prepared, program, path)
    run, held = _read(path)
    tensors = check_tensors(dict(network.state_dict()), held, every=False)
    return [tensors, *check_outputs(prepared, run, lengths, torch.float32)]


def _write(prepared: Prepared, program: Any, path: Path) -> None:
    inputs, outputs = list(prepared.input_names), list(prepared.output_names)
    try:
        with quietly(), torch.no_grad():
            made = torch.onnx.export(
                program, dynamo=True, verbose=False, input_names=inputs, output_names=outputs, optimize=False
            )
            assert made is not None
            _fold(made)
            model = made.model_proto
    except Exception as error:  # torch's exporter fails in many ways
        raise CheckpointError("torch.onnx cannot export the network", got=describe(_first_cause(error))) from None
    _without_traces(model)
    _name_axes(model)
    model.doc_string = "A network that is equivariant under the reverse complement, written by rcproof."
    for key, value in prepared.metadata().items():
        model.metadata_props.add(key=f"rcproof_{key}", value=value)
    if model.ByteSize() > LARGEST:
        raise CheckpointError("the network is too large for one ONNX file", got=f"{model.ByteSize()} bytes")
    path.write_bytes(model.SerializeToString())


def _first_cause(error: BaseException) -> BaseException:
    """The exporter wraps what went wrong in advice on how to report it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _fold(made: Any) -> None:
    """Take out the exporter's scaffolding: what is constant is folded, what nobody reads goes.

    The exporter's own optimisation also folds batch norms into convolutions; here every weight of the network stays as
    it is, so that it can be compared. onnxruntime folds them when it loads the file.
    """
    from onnxscript import optimizer

    optimizer.fold_constants(made.model)
    optimizer.remove_unused_nodes(made.model)


def _without_traces(model: Any) -> None:
    """Drop what the exporter notes on every node, which names files of the machine that it ran on."""
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in [*model.graph.input, *model.graph.output, *model.graph.value_info, *model.graph.initializer]:
        value.doc_string = ""
        del value.metadata_props[:]
    del model.graph.metadata_props[:]


def _name_axes(model: Any) -> None:
    """``batch`` for the first axis; sizes that are numbers become numbers."""
    first = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in [*model.graph.input, *model.graph.output, *model.graph.value_info]:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param.isdigit():
                dim.dim_value = int(dim.dim_param)
            elif dim.dim_param and first:
                dim.dim_param = re.sub(rf"\b{re.escape(first)}\b", "batch", dim.dim_param)


def _read(path: Path) -> tuple[Callable[[Sequence[Tensor]], list[Tensor]], dict[str, Tensor]]:
    """What runs the file, and its tensors by name."""
    import onnx
    import onnxruntime
    from onnx import numpy_helper

    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(str(path), full_check=True)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of the checker, or of the runtime
        raise CheckpointError("the ONNX file does not load", got=describe(error)) from None
    names = [value.name for value in session.get_inputs()]

    def run(tensors: Sequence[Tensor]) -> list[Tensor]:
        found = session.run(None, {name: t.detach().cpu().numpy() for name, t in zip(names, tensors, strict=True)})
        return [torch.from_numpy(array) for array in found]

    held = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in model.graph.initializer}
    return run, held
