"""``rcproof inspect``: what a file holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from rcproof.cli.common import Command, Outcome, json_safe

if TYPE_CHECKING:
    from rich.console import Console

    from rcproof.checkpoints import Header

SCHEMA = "rcproof-inspect/1"
KINDS = {
    "rcps": "RCPS network",
    "conjoined": "conjoined network",
    "network": "ordinary network, one strand",
    "state dict": "state dict: tensors without a network",
}


@click.command("inspect", cls=Command)
@click.argument("file")
def command(file: str) -> Outcome:
    """Show what FILE holds: representations, layers, parameters, metadata, certificate.

    Files of rcproof's own say it all; of any other state dict (.safetensors, .pt, .pth, .ckpt) the tensors are listed.
    Nothing in a file is executed.
    """
    from rcproof.checkpoints import read_header
    from rcproof.checkpoints.native import KEY
    from rcproof.cli.source import is_safetensors
    from rcproof.files import existing

    existing(file)
    data: dict[str, Any] = {"schema": SCHEMA, "file": file}
    if is_safetensors(file) and _holds(file, KEY):
        data |= _network(file, read_header(file))
    else:
        data |= _state_dict(file)

    def show(console: Console) -> None:
        from rcproof.cli import tables

        tables.line(console, f"{file}: {KINDS[data['kind']]}")
        if data["kind"] == "state dict":
            rows = [(name, tables.shape(t["shape"]), t["dtype"]) for name, t in data["tensors"].items()]
            tables.table(console, "tensors", ("name", "shape", "dtype"), rows)
        else:
            if data["inputs"]:
                tables.tensors(console, data)
            tables.layers(console, data["layers"])
        tables.parameters(console, data["parameters"])
        if data.get("metadata"):
            tables.facts(console, "metadata", data["metadata"])
        if data.get("certificate"):
            tables.facts(console, "certificate", data["certificate"])

    return Outcome(data, show)


def _holds(file: str, key: str) -> bool:
    """Whether the metadata of a safetensors file have ``key``."""
    from safetensors import SafetensorError, safe_open

    from rcproof.errors import CheckpointError

    try:
        with safe_open(file, framework="pt") as handle:
            return key in (handle.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{file!r} is no safetensors file, or is damaged", got=reason) from None


def _state_dict(file: str) -> dict[str, Any]:
    from rcproof.checkpoints import read_state_dict

    state = read_state_dict(file)
    tensors = {k: {"shape": list(t.shape), "dtype": str(t.dtype).removeprefix("torch.")} for k, t in state.items()}
    return {
        "kind": "state dict",
        "tensors": tensors,
        "parameters": {"total": sum(t.numel() for t in state.values())},
        "metadata": {},
        "certificate": None,
    }


def _network(file: str, header: Header) -> dict[str, Any]:
    from rcproof.checkpoints import load
    from rcproof.cli.describe import final_names, graph_representations, layer_rows, parameter_counts
    from rcproof.conjoined import Conjoined

    model = load(file)
    certificate = None if header.certificate is None else _summary(header.certificate)
    lifted = certificate["lifted"] if certificate else []
    layers = layer_rows(model, lifted)
    data: dict[str, Any] = {"kind": header.kind, "inputs": [], "outputs": [], "merge": [], "final": []}
    if isinstance(model, Conjoined):
        data["inputs"] = [str(r) for r in model.inputs]
        data["outputs"] = ["by rank"] if model.outputs is None else [str(r) for r in model.outputs]
        data["merge"] = list(model.merge)
        data["final"] = final_names(model, len(data["outputs"]))
    elif header.kind == "rcps":
        data["inputs"], data["outputs"], data["merge"] = graph_representations(model)
    return {
        **data,
        "input_shapes": json_safe(header.input_shapes),
        "layers": layers,
        "parameters": parameter_counts(model, layers),
        "coupled": [row["name"] for row in layers if row["role"] == "coupled"],
        "lifted": [row["name"] for row in layers if row["role"] == "lifted"],
        "metadata": dict(sorted(header.metadata.items())),
        "certificate": certificate,
    }


def _summary(certificate: Mapping[str, Any]) -> dict[str, Any]:
    """The gist of a certificate; whether it is true is for ``verify``."""
    from rcproof.convert.recheck import certificate_tensors
    from rcproof.errors import CheckpointError

    rows = certificate_tensors(certificate)
    try:
        how: dict[str, int] = {}
        for row in rows:
            how[row["how"]] = how.get(row["how"], 0) + 1
        checks = {
            str(name): bool(report["passed"])
            for name, report in certificate["checks"].items()
            if isinstance(report, dict)
        }
        return {
            "statement": str(certificate["statement"]),
            "not covered": "; ".join(map(str, certificate["not_covered"])),
            "tensors": ", ".join(f"{n} {name}" for name, n in how.items()),
            "steps with a lemma": len(certificate["nodes"]),
            "lifted": [str(name) for name in certificate["lifted"]],
            "checks at conversion": ", ".join(f"{n} {'held' if ok else 'FAILED'}" for n, ok in checks.items())
            or "none",
            "versions": json.dumps(certificate["versions"]),
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError("the certificate is damaged", got=f"{type(error).__name__}: {error}") from None
