"""``.pt2``: a program of ``torch.export``, which a process with torch alone loads and runs."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rcproof.checkpoints.exporting.prepared import Prepared, Written, compared, quietly, short_name
from rcproof.errors import CheckpointError
from rcproof.files import replacing
from rcproof.network.graph import Graph, Node, Ref
from rcproof.network.network import Network, attach, find_module, find_tensor
from rcproof.verify import InputCase
from rcproof.verify.running import describe

#: Rows of the example that is traced. One row would be taken for "always one".
_ROWS = 3


def write_program(prepared: Prepared, path: Path) -> Written:
    """Export, save, load, compare. The length is left open where the network and the exporter allow it."""
    notes: list[str] = []
    with replacing(path) as temporary:
        program, lengths = exported(prepared, prepared.plain, notes)
        buffer = io.BytesIO()
        with quietly():
            torch.export.save(program, buffer, extra_files={f"rcproof_{k}": v for k, v in prepared.metadata().items()})
            temporary.write_bytes(buffer.getvalue())
            with temporary.open("rb") as file:
                loaded = torch.export.load(file)
        runs = loaded.module()
        reports = compared(
            prepared,
            traceable(prepared.plain).state_dict(),
            dict(loaded.state_dict),
            lambda xs: runs(*xs),
            lengths,
        )
    return Written((path,), short_name(prepared.dtype), True, bool(lengths), reports, tuple(notes))


def exported(
    prepared: Prepared, network: Network, notes: list[str], length: bool = True
) -> tuple[Any, list[InputCase]]:
    """The exported program of an ordinary network, and inputs of the other lengths that it takes.

    ``notes`` gets a line for lengths that the network takes and the program does not. Raises
    :class:`~rcproof.errors.CheckpointError` where torch cannot export the network at all.
    """
    others = prepared.other_lengths() if length else []
    failure = ""
    taken: list[InputCase] = []
    for wanted in (True, False) if others else (False,):
        try:
            program = _export(prepared, network, wanted)
        except Exception as error:  # torch's exporter fails in many ways
            failure = describe(error)
            continue
        if not _any_batch(program):
            failure = "the exporter fixed the number of rows"
            continue
        if wanted:
            runs = program.module()
            taken = [case for case in others if _takes(runs, case, prepared_dtype(network))]
            refused = [_length(case) for case in others if case not in taken]
            # A size of one is special to the exporter, so the shortest two may go; others mean that it is not free.
            shortest = sorted(map(_length, others))[: len(refused)] == sorted(refused) and len(refused) <= 2
            if not shortest or len(taken) <= len(refused):
                taken = []
                continue
            if refused:
                shown = ", ".join(map(str, refused))
                notes.append(f"the file refuses the shortest lengths that the network takes: {shown}")
        elif others:
            notes.append(fixed_length_note(prepared))
        return program, taken
    raise CheckpointError("torch.export cannot export the network", got=failure)


def _export(prepared: Prepared, network: Network, length: bool) -> Any:
    auto = torch.export.Dim.AUTO
    example = tuple(t.to(prepared_dtype(network)) if t.is_floating_point() else t for t in prepared.example(_ROWS))
    dims = []
    for tensor, shape, rep in zip(example, prepared.shapes, prepared.representations, strict=True):
        has_length = length and (len(shape) == 2 or rep.startswith("tokens"))
        dims.append({0: auto, tensor.dim() - 1: auto} if has_length else {0: auto})
    with quietly(), torch.no_grad():
        program = torch.export.export(traceable(network), example, dynamic_shapes=(tuple(dims),), strict=False)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it names files of this machine
    return program


def prepared_dtype(network: Network) -> torch.dtype:
    """The dtype of a network's weights."""
    return next((t.dtype for t in [*network.parameters(), *network.buffers()] if t.is_floating_point()), torch.float32)


def _any_batch(program: Any) -> bool:
    """Whether the number of rows is free in every input."""
    wanted = set(program.graph_signature.user_inputs)
    inputs = [n.meta["val"] for n in program.graph.nodes if n.op == "placeholder" and n.name in wanted]
    return all(isinstance(t.shape[0], torch.SymInt) for t in inputs)


def _length(case: InputCase) -> int:
    """What :func:`~rcproof.verify.vary_lengths` says at the end of the name."""
    return int(case.name.rpartition(" ")[2])


def _takes(runs: Any, case: InputCase, dtype: torch.dtype) -> bool:
    """Whether the program runs on inputs of this length; what it answers is compared later."""
    try:
        with torch.no_grad():
            runs(*(t.to(dtype) if t.is_floating_point() else t for t in case.tensors))
    except Exception:  # of a guard, an assertion, or a kernel
        return False
    return True


def fixed_length_note(prepared: Prepared) -> str:
    """Says that the file takes one length only."""
    shapes = ", ".join(f"(N, {', '.join(map(str, shape))})" for shape in prepared.shapes)
    return f"the file takes inputs of shape {shapes} only: the exporter could not leave the length open"


def traceable(network: Network) -> Network:
    """The network with max pooling as the exporter can follow it.

    Without indices torch takes a shortcut whose sizes it cannot keep open. With them the values are the same.
    """
    graph = network.rcproof_graph()
    nodes: list[Node] = []
    for n in graph.nodes:
        pooling = n.op == "call" and n.target.rpartition(".")[2] in ("max_pool1d", "max_pool1d_")
        layer = find_module(network, n.target) if n.op == "module" else None
        if isinstance(layer, nn.MaxPool1d) and not layer.return_indices:
            options = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
            kwargs = {key: getattr(layer, key) for key in options}
            call = Node(
                f"{n.name}:both", "call", "F.max_pool1d", n.args, {**kwargs, **n.kwargs, "return_indices": True}
            )
        elif pooling and len(n.args) < 7 and not n.kwargs.get("return_indices", False):
            call = Node(f"{n.name}:both", "call", "F.max_pool1d", n.args, {**n.kwargs, "return_indices": True})
        else:
            nodes.append(n)
            continue
        nodes += [call, Node(n.name, "call", "operator.getitem", (Ref(call.name), 0))]
    used = dict.fromkeys(n.target for n in nodes if n.op == "module")
    changed = Network(Graph(nodes, graph.outputs, graph.structure), {path: find_module(network, path) for path in used})
    for n in nodes:
        if n.op == "tensor":
            attach(changed, n.target, find_tensor(network, n.target))
    return changed.eval()
