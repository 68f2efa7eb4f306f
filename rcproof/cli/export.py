"""``rcproof export``: a network as a file that runs without rcproof, compared before it appears."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rcproof.cli.common import Command, Outcome, collect, json_safe, progress, source_options

if TYPE_CHECKING:
    from rich.console import Console

    from rcproof.checkpoints.exporting import Export
    from rcproof.cli.common import SourceOptions
    from rcproof.cli.source import Source

SCHEMA = "rcproof-export/1"


@click.command("export", cls=Command)
@click.argument("file")
@source_options(wrapping=True)
@click.option("-o", "--out", required=True, metavar="OUT", help="The file to write; its suffix says the format: .pt2, "
              ".onnx, .py (with a .pt beside it), .h5 (keras-genomics), .safetensors.")  # fmt: skip
@click.option("--format", "chosen", metavar="NAME", help="The format, where the suffix does not say it.")
@click.option("--layout", type=click.Choice(["auto", "stacked", "batched"]), default="auto", show_default=True,
              help="How strands are held: stacked is the canonical RCPS form, with tied weights of twice the channels; "
              "auto multiplies no structural zeros.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the inputs drawn.")
def command(file: str, out: str, chosen: str | None, layout: str, seed: int, **values: Any) -> Outcome:
    """Write the network in FILE so that it runs without rcproof.

    FILE is a converted network, or anything that can be converted. A network of one strand is written as it is, unless
    --input, --output, --merge or --final conjoin it first.

    What was written is read back and compared with the network in FILE: tensors bit by bit, outputs for several batches
    and lengths. OUT appears only if everything holds.
    """
    options = collect(values)
    from rcproof.checkpoints.exporting import export, format_for
    from rcproof.cli.convert import check_paths
    from rcproof.cli.source import read_source

    format_for(out, chosen)  # before anything is read
    for path in (out, str(Path(out).with_suffix(".pt"))):
        check_paths(file, path, None)
    with progress(3) as step:
        step("reading")
        given = read_source(file, options)
        model, shapes = _network(given, options)
        step("writing and comparing")
        names = {"inputs": given.imported.input_names, "outputs": given.imported.output_names}
        certificate = None if given.header is None else given.header.certificate
        written = export(
            model,
            out,
            chosen,
            layout=layout,
            shapes=shapes,
            certificate=certificate,
            names=names,
            leaves=options.leaves,
            seed=seed,
        )
        step("done")
    data = {
        "schema": SCHEMA,
        "file": file,
        "source_format": given.imported.format,
        "passed": True,
        "input_shapes": json_safe(shapes),
        **written.to_dict(),
        "notes": [*given.imported.notes, *written.notes],
    }
    return Outcome(data, lambda console: _show(console, data, written))


def _network(given: Source, options: SourceOptions) -> tuple[Any, Any]:
    """The network to write, and the shapes of its inputs where they are known or can be found."""
    from rcproof.cli.source import conjoined_of, count_inputs, known_shapes, representations_of, shapes_by_trial
    from rcproof.conjoined import Conjoined
    from rcproof.convert.build import uses_tied_layers

    model = conjoined_of(given) if options.given else given.model
    inputs, _ = representations_of(given)
    shapes = known_shapes(given, count_inputs(model, inputs))
    if shapes is None and not isinstance(model, Conjoined) and not uses_tied_layers(model):
        shapes = shapes_by_trial(model, inputs, options.leaves)
    return model, shapes


def _show(console: Console, data: dict[str, Any], written: Export) -> None:
    from rcproof.cli import tables

    rows = []
    for report in written.reports:
        if report.title == "tensors":
            tables.line(console, f"tensors: {len(report.checks)}, equal bit by bit")
            continue
        for check in report.checks:
            inputs, _, output = check.name.rpartition(": ")
            rows.append(("ok", inputs, output, f"{check.error:.1e}", f"{check.tolerance:.0e}"))
    columns = ("", "inputs", "output", "largest relative difference", "tolerance")
    tables.table(console, "what was written, read back and compared", columns, rows)
    free = [name for name, is_free in (("batch", written.batch), ("length", written.length)) if is_free]
    tables.line(console, f"layout {written.layout}, {written.dtype}; free: {', '.join(free) or 'nothing'}")
    for note in data["notes"]:
        tables.line(console, f"note: {note}")
    for path in written.files:
        tables.line(console, f"{path}: written and read back, {Path(path).stat().st_size} bytes")
