"""What a network is made of, as plain rows: representations, layers, shares of parameters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rcproof.conjoined import Conjoined
from rcproof.errors import RcproofError
from rcproof.network.graph import Node
from rcproof.network.network import Network, find_module, find_tensor
from rcproof.nn.base import TiedLayer


def layer_rows(model: nn.Module, lifted: Iterable[str] = ()) -> list[dict[str, Any]]:
    """One row a layer or free parameter, in the order in which they run: its lemma, its tensors, and what became of it.

    ``role``: ``tied``, ``coupled`` (tied, with cross-strand weights), ``lifted`` (run whole on each strand),
    ``after the merge``, ``one strand`` (an ordinary network), or, without parameters, ``-``.
    """
    if isinstance(model, Conjoined):
        return layer_rows(model.net)
    if not isinstance(model, Network):
        return [_row(n, type(m).__name__, _tensors(m), "one strand") for n, m in model.named_modules() if _own(m)]
    nodes = model.rcproof_graph().nodes
    strands = any(n.kind in ("closed", "stacked") for n in nodes)
    whole, rows, seen = set(lifted), [], set()
    for node in nodes:
        if node.op not in ("module", "tensor") or node.target in seen:
            continue
        seen.add(node.target)
        if node.op == "tensor":
            tensor = find_tensor(model, node.target)
            role = "one strand" if not strands else "lifted" if isinstance(tensor, nn.Parameter) else "-"
            rows.append(_row(node.target, type(tensor).__name__, {"": tensor}, role, node))
            continue
        layer = find_module(model, node.target)
        rows.append(_row(node.target, type(layer).__name__, _tensors(layer), _role(layer, node, strands, whole), node))
    return rows


def _role(layer: nn.Module, node: Node, strands: bool, whole: set[str]) -> str:
    if isinstance(layer, TiedLayer) and _own(layer):
        return "coupled" if layer.coupled else "tied"
    if not _tensors(layer):
        return "-"
    if not strands:
        return "one strand"
    if node.kind == "merged":
        return "after the merge"
    return "lifted" if node.target in whole or node.rule == "lifted" else "-"


def _row(name: str, kind: str, tensors: dict[str, Tensor], role: str, node: Node | None = None) -> dict[str, Any]:
    return {
        "name": name,
        "type": kind,
        "role": role,
        "rule": node.rule if node else "",
        "lemma": node.lemma if node else "",
        "conditions": list(node.conditions) if node else [],
        "tensors": {
            key: {"shape": list(t.shape), "dtype": str(t.dtype).removeprefix("torch.")} for key, t in tensors.items()
        },
    }


def _own(module: nn.Module) -> bool:
    return any(True for _ in module.parameters(recurse=False)) or any(True for _ in module.buffers(recurse=False))


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return dict([*module.named_parameters(), *module.named_buffers()])


def add_output_shapes(model: nn.Module, shapes: Sequence[Sequence[int]], rows: Sequence[dict[str, Any]]) -> None:
    """Put into each row, as ``output``, the shape of what its layer gives for one example; None if that is unknown."""
    found: dict[str, list[int]] = {}
    handles = []
    for row in rows:
        try:
            layer = find_module(model, row["name"])
        except RcproofError:
            continue

        def note(_: nn.Module, __: Any, result: Any, name: str = row["name"]) -> None:
            if isinstance(result, Tensor):
                found.setdefault(name, list(result.shape[1:]))

        handles.append(layer.register_forward_hook(note))
    try:
        with torch.no_grad():
            model(*(torch.zeros(1, *shape) for shape in shapes))
    except Exception:  # whatever a network makes of zeros: shapes are a courtesy
        found.clear()
    finally:
        for handle in handles:
            handle.remove()
    for row in rows:
        row["output"] = found.get(row["name"])


def step_counts(model: Network) -> dict[str, int]:
    """How many steps without a layer each rule covers."""
    found: dict[str, int] = {}
    for node in model.rcproof_graph().nodes:
        if node.op in ("call", "attribute") and node.rule:
            found[node.rule] = found.get(node.rule, 0) + 1
    return found


def parameter_counts(model: nn.Module, rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Numbers of parameters, all and by role."""
    trained = {name: p.numel() for name, p in model.named_parameters()}
    counts = {"total": sum(trained.values())}
    prefix = "net." if isinstance(model, Conjoined) else ""
    for row in rows:
        if row["role"] == "-":
            continue
        names = [f"{prefix}{row['name']}{'.' if key else ''}{key}" for key in row["tensors"]]
        size = sum(trained.pop(name, 0) for name in names)
        counts[row["role"]] = counts.get(row["role"], 0) + size
    return counts


def final_names(conjoined: Conjoined, count: int) -> list[str]:
    """What follows the merge of each output."""
    return [_final_name(f) for f in conjoined.finals(count)]


def _final_name(final: nn.Module | None) -> str:
    if isinstance(final, Network):  # read from a file
        final = nn.Sequential(*(find_module(final, n.target) for n in final.rcproof_graph().nodes if n.op == "module"))
    if isinstance(final, nn.Sequential):
        return ", ".join(type(m).__name__ for m in final)
    return "none" if final is None or isinstance(final, nn.Identity) else type(final).__name__


def graph_representations(network: Network) -> tuple[list[str], list[str], list[str]]:
    """Of an RCPS network: the representations of its inputs and outputs, and the merges, as its graph says."""
    nodes = network.rcproof_graph().nodes
    by_name = {node.name: node for node in nodes}
    inputs = [node.rep or "reversal" for node in nodes if node.op == "input"]
    merges = [by_name[_merge_of(by_name, name)] for name in network.rcproof_graph().outputs]
    return inputs, [node.rep or "fixed" for node in merges], [node.target for node in merges]


def _merge_of(by_name: dict[str, Node], name: str) -> str:
    """The merge that an output comes from, back through its final steps."""
    seen = [name]
    while seen:
        node = by_name[seen.pop()]
        if node.op == "merge":
            return node.name
        seen += node.refs()
    return name
