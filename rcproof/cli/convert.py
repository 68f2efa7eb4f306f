"""``rcproof convert``: a conjoined network in, RCPS weights of the same function out, or nothing at all."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rcproof import __version__
from rcproof.cli.common import Command, Outcome, Steps, collect, json_safe, progress, source_options
from rcproof.errors import RcproofError

if TYPE_CHECKING:
    from rich.console import Console

    from rcproof.cli.source import Source
    from rcproof.conjoined import Conjoined
    from rcproof.convert import Conversion, ConvertConfig
    from rcproof.verify import Report

SCHEMA = "rcproof-convert/1"


@click.command("convert", cls=Command)
@click.argument("source")
@source_options(wrapping=True)
@click.option("-o", "--out", required=True, metavar="OUT", help="The safetensors file to write.")
@click.option("--report", metavar="FILE", help="Also write everything, certificate included, as JSON.")
@click.option("--couple", multiple=True, metavar="PATTERN", help="Give these layers trainable weights between the "
              "strands, zero at first: names, shell patterns, or all. Repeat, or use commas.")  # fmt: skip
@click.option("--strict", is_flag=True, help="Refuse to lift parameters: every layer is tied, or it is an error.")
@click.option("--layout", type=click.Choice(["auto", "stacked", "batched"]), default="auto", show_default=True,
              help="How the result holds its strands when it runs.")  # fmt: skip
@click.option("--dropout", type=click.Choice(["independent", "shared"]), default="independent", show_default=True,
              help="Masks of the two strands, in training.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the inputs drawn.")
def command(source: str, out: str, report: str | None, couple: tuple[str, ...], **values: Any) -> Outcome:
    """Convert a trained conjoined network to RCPS weights that compute the same function.

    SOURCE is a file of rcproof's own, of Keras (weights alone with --architecture), an ONNX file, a .pt2 program, or a
    state dict (.safetensors, .pt, .pth, .ckpt) with --model or --arch. A siamese graph is recognised; a network that
    reads one strand is made conjoined first, as --input, --output, --merge and --final say.

    The two networks are compared on drawn inputs of several kinds and lengths, outputs and input gradients, in float64;
    what was written is read back and compared again, and its certificate checked as `rcproof check` does. OUT appears
    only if everything holds.
    """
    options = collect(values)
    check_paths(source, out, report)
    from rcproof.cli.source import read_source
    from rcproof.convert import ConvertConfig
    from rcproof.files import replacing

    with contextlib.ExitStack() as stack:
        step = stack.enter_context(progress(5))
        step("reading the source")
        given = read_source(source, options)
        written = None if report is None else stack.enter_context(replacing(report))
        temporary = stack.enter_context(replacing(out))
        config = ConvertConfig(leaves=options.leaves, **values)
        data, shown = _convert(given, config, couple, temporary, step)
        about = {"source_format": given.imported.format, "notes": given.imported.notes}
        data = {"schema": SCHEMA, "source": source, "out": out, **about, **data}
        if written is not None:
            written.write_text(json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")

    def show(console: Console) -> None:
        from rcproof.cli import tables

        tables.line(console, f"{source}: {data['source_format']}")
        for note in data["notes"]:
            tables.line(console, f"note: {note}")
        tables.conversion(console, data, shown)
        size = Path(out).stat().st_size
        tables.line(
            console, f"{out}: written and read back, {size} bytes" + (f"; report in {report}" if report else "")
        )

    return Outcome(data, show)


def check_paths(source: str, out: str, report: str | None) -> None:
    """Refuse to write over what is read, or two things to one file."""
    for name, path, others in (("OUT", out, (source,)), ("--report", report, (source, out))):
        for other in others if path is not None else ():
            if same_file(str(path), other):
                raise RcproofError(
                    f"{name} {path!r} is also {'SOURCE' if other == source else 'OUT'}", fix="choose another name"
                )


def same_file(a: str, b: str) -> bool:
    """Whether two names are one file, or would be."""
    if os.path.exists(a) and os.path.exists(b):
        return os.path.samefile(a, b)
    return os.path.realpath(a) == os.path.realpath(b)


def _convert(
    given: Source, config: ConvertConfig, couple: tuple[str, ...], temporary: Path, step: Steps
) -> tuple[dict[str, Any], list[Report]]:
    """Convert, check, write to ``temporary``, and check what was written."""
    import dataclasses

    from rcproof.checking.check import check_file
    from rcproof.checkpoints import load, save
    from rcproof.cli.source import conjoined_of, count_inputs, file_sha256, known_shapes
    from rcproof.convert import convert
    from rcproof.convert.coupling import couple_conversion
    from rcproof.convert.source import describe_source

    conjoined = conjoined_of(given)
    count = count_inputs(conjoined, ())
    step("converting, and comparing the two networks")
    conversion = convert(conjoined, dataclasses.replace(config, input_shapes=known_shapes(given, count)))
    if couple:
        conversion = couple_conversion(conversion, [p.strip() for pattern in couple for p in pattern.split(",")])
    step("writing")
    origin = {
        "converted_from": Path(given.path).name,
        "converted_from_sha256": file_sha256(given.path),
        "converted_by": f"rcproof {__version__}",
        "conversion_seed": str(config.seed),
    }
    save(conversion, temporary, metadata={**given.metadata, **origin})
    step("comparing what was written with the source")
    reports = recheck(conjoined, load(temporary), conversion, config.seed + 1)
    reports.append(check_file(temporary, describe_source(conjoined, count, config.leaves)).report)
    for found in reports:
        found.raise_if_failed()
    step("done")
    return _document(conjoined, conversion, reports, origin), reports


def recheck(conjoined: Conjoined, written: Any, conversion: Conversion, seed: int) -> list[Report]:
    """Equivalence at several lengths, and equivariance, of the network as it is in the file.

    All kinds of input were compared by ``convert``; here other inputs of two of them, since what was written is known
    to be what was converted, bit by bit.
    """
    import torch

    from rcproof.cli.source import draw_cases
    from rcproof.verify import check_equivalence, check_equivariance
    from rcproof.verify.running import prepare

    certificate = conversion.certificate
    reference, result = prepare(conjoined, torch.float64), prepare(written, torch.float64)
    reps = conjoined.input_representations(len(certificate.inputs))
    cases = draw_cases(reference, conversion.input_shapes, reps, seed, ("one-hot", "random"))
    return [
        check_equivalence(reference, result, cases.every, seed=seed, title="equal to the source"),
        check_equivariance(
            result, cases.every, reps, certificate.outputs, allow_constant=True, seed=seed, title="equivariance"
        ),
    ]


def _document(
    conjoined: Conjoined, conversion: Conversion, reports: list[Report], origin: dict[str, str]
) -> dict[str, Any]:
    """All of it, for JSON."""
    from rcproof.cli.describe import final_names, layer_rows, parameter_counts, step_counts

    certificate, model = conversion.certificate, conversion.model
    layers = layer_rows(model, certificate.lifted)
    return {
        "passed": True,
        **json_safe(origin),
        "inputs": list(certificate.inputs),
        "input_shapes": json_safe(conversion.input_shapes),
        "outputs": list(certificate.outputs),
        "merge": list(certificate.merge),
        "final": final_names(conjoined, len(certificate.outputs)),
        "layers": layers,
        "steps": step_counts(model),
        "parameters": parameter_counts(model, layers),
        "share_tied": certificate.share_tied,
        "lifted": list(certificate.lifted),
        "coupled": [row["name"] for row in layers if row["role"] == "coupled"],
        "checks": [report.to_dict() for report in reports],
        "certificate": json_safe(certificate.to_dict()),
    }
