"""``rcproof inspect``: what a file holds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from rcproof.cli.common import Command, Outcome, collect, json_safe, reading_options

if TYPE_CHECKING:
    from rich.console import Console

    from rcproof.checkpoints import Header
    from rcproof.cli.common import SourceOptions
    from rcproof.conjoined import Conjoined

SCHEMA = "rcproof-inspect/1"
KINDS = {
    "rcps": "RCPS network",
    "conjoined": "conjoined network",
    "network": "ordinary network, one strand",
    "siamese": "siamese network, which does not say how its strands belong together",
    "state dict": "state dict: tensors without a network",
}


@click.command("inspect", cls=Command)
@click.argument("file")
@reading_options
def command(file: str, **values: Any) -> Outcome:
    """Show what FILE holds: representations, layers, shapes, parameters, metadata, certificate.

    Files of rcproof's own, Keras, ONNX and .pt2 files say it all, and of any other state dict the tensors are listed,
    unless --model or --arch says what network they belong to. Nothing in a file is executed.
    """
    from rcproof.checkpoints import format_of
    from rcproof.checkpoints.reading import FORMATS

    options = collect(values)
    kind = format_of(file)
    data: dict[str, Any] = {"schema": SCHEMA, "file": file, "format": FORMATS[kind], "notes": []}
    if kind == "rcproof" and options.model is None:
        from rcproof.checkpoints import read_header

        data |= _network(file, read_header(file))
    elif kind == "state dict" and options.model is None and options.arch is None and not options.allow_pickle:
        data |= _state_dict(file)
    else:
        data |= _imported(file, options)

    def show(console: Console) -> None:
        from rcproof.cli import tables

        tables.line(console, f"{file}: {data['format']}; {KINDS[data['kind']]}")
        for note in data["notes"]:
            tables.line(console, f"note: {note}")
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


def _imported(file: str, options: SourceOptions) -> dict[str, Any]:
    """A network in somebody else's format: layers with the shapes of what they give, and whether it is siamese."""
    from rcproof.checkpoints import read_model
    from rcproof.cli.describe import add_output_shapes, layer_rows, parameter_counts
    from rcproof.cli.source import conjoined_if_siamese, pickle_warning
    from rcproof.conjoined import Conjoined
    from rcproof.convert.build import uses_tied_layers
    from rcproof.errors import RcproofError

    pickle_warning(file, options)
    found = read_model(file, options.reading())
    layers = layer_rows(found.model)
    if found.shapes is not None:
        add_output_shapes(found.model, found.shapes, layers)
    counts = parameter_counts(found.model, layers)
    data: dict[str, Any] = {"kind": "rcps" if uses_tied_layers(found.model) else "network", "merge": [], "final": []}
    names, shapes = list(found.input_names), found.shapes
    try:
        found = conjoined_if_siamese(found, options)
    except RcproofError as error:
        data["kind"] = "siamese"
        found.notes.append(f"siamese, but {error}")
    if isinstance(found.model, Conjoined):
        data |= {"kind": "conjoined", **conjoined_facts(found.model)}
    else:
        data |= {"inputs": [], "outputs": []}
    return {
        **data,
        "format": found.format,
        "notes": found.notes,
        "input_names": names,
        "output_names": list(found.output_names),
        "input_shapes": json_safe(shapes),
        "layers": layers,
        "parameters": counts,
        "metadata": {
            **({"inputs": _named(names, shapes)} if names else {}),
            **({"outputs": ", ".join(found.output_names)} if found.output_names else {}),
        },
        "certificate": None,
    }


def _named(names: Sequence[str], shapes: Sequence[Any] | None) -> str:
    """``dna (4, 1000), control (1)``: channels first."""
    each = shapes or [None] * len(names)
    return ", ".join(
        name if size is None else f"{name} ({', '.join(map(str, size))})"
        for name, size in zip(names, each, strict=False)
    )


def conjoined_facts(model: Conjoined) -> dict[str, Any]:
    """What a conjoined network says of itself."""
    from rcproof.cli.describe import final_names

    outputs = ["by rank"] if model.outputs is None else [str(r) for r in model.outputs]
    return {
        "inputs": [str(r) for r in model.inputs],
        "outputs": outputs,
        "merge": list(model.merge),
        "final": final_names(model, len(outputs)),
    }


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
    from rcproof.cli.describe import graph_representations, layer_rows, parameter_counts
    from rcproof.cli.source import count_inputs, header_shapes
    from rcproof.conjoined import Conjoined

    model = load(file)
    certificate = None if header.certificate is None else _summary(header.certificate)
    lifted = certificate["lifted"] if certificate else []
    layers = layer_rows(model, lifted)
    data: dict[str, Any] = {"kind": header.kind, "inputs": [], "outputs": [], "merge": [], "final": []}
    if isinstance(model, Conjoined):
        data |= conjoined_facts(model)
    elif header.kind == "rcps":
        data["inputs"], data["outputs"], data["merge"] = graph_representations(model)
    return {
        **data,
        "input_shapes": json_safe(header_shapes(header, count_inputs(model, ()), file)),
        "layers": layers,
        "parameters": parameter_counts(model, layers),
        "coupled": [row["name"] for row in layers if row["role"] == "coupled"],
        "lifted": [row["name"] for row in layers if row["role"] == "lifted"],
        "metadata": dict(sorted(header.metadata.items())),
        "certificate": certificate,
    }


def _summary(certificate: Mapping[str, Any]) -> dict[str, Any]:
    """The gist of a certificate; whether it is true is for ``check``."""
    from rcproof.convert.certificate import SCHEMA
    from rcproof.errors import CheckpointError

    try:
        if certificate["schema"] != SCHEMA:
            raise CheckpointError("schema of the certificate", got=repr(certificate["schema"]), expected=SCHEMA)
        how: dict[str, int] = {}
        for row in certificate["tensors"]:
            how[str(row["how"])] = how.get(str(row["how"]), 0) + 1
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
