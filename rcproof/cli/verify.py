"""``rcproof verify``: two files, and whether they hold the same function."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from rcproof.cli.common import Command, Outcome, SourceOptions, collect, json_safe, progress, source_options
from rcproof.errors import RcproofError

if TYPE_CHECKING:
    from rich.console import Console

    from rcproof.conjoined import Conjoined
    from rcproof.convert.shapes import Shape
    from rcproof.network.network import Network
    from rcproof.strand import Representation
    from rcproof.verify import Report
    from rcproof.verify.ladder import Ladder

SCHEMA = "rcproof-verify/1"

#: How many examples of each kind are held against rounding bounds, where one is at most so many numbers; else one.
EXAMPLES = 8
SMALL_INPUT = 8192


@click.command("verify", cls=Command)
@click.argument("source")
@click.argument("converted", required=False)
@source_options(wrapping=True)
@click.option("--level", type=click.Choice(["exact", "bounds", "numeric", "all"]), default="numeric", show_default=True,
              help="exact: both networks in exact arithmetic, with tolerance zero. bounds: how far they differ in "
              "floating point, against rounding bounds. numeric: equal up to a tolerance.")  # fmt: skip
@click.option("--precision", "precisions", multiple=True, help="Of the level bounds: float64, float32, tf32, bfloat16. "
              "Repeat for several. Default: float64 and float32.")  # fmt: skip
@click.option("--data", metavar="FILE", help="Sequences with labels (.h5, .npz, .csv): the level numeric also compares "
              "both networks' metrics on them.")  # fmt: skip
@click.option("--fasta", metavar="FILE", help="The same for sequences without labels.")
@click.option("--report", "report", metavar="FILE", help="Write what was found: a page (.html), a figure of the "
              "differences against their bounds (.png), or .json.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the inputs drawn.")
def command(
    source: str, converted: str | None, level: str, precisions: tuple[str, ...], data: str | None, fasta: str | None,
    report: str | None, seed: int, **values: Any,
) -> Outcome:  # fmt: skip
    """Check that CONVERTED computes what SOURCE computes, from the two files alone.

    The options say what SOURCE is, as for `rcproof convert`. At the level numeric, in float64: outputs and input
    gradients agree on inputs of every kind and of every length tried; CONVERTED is equivariant; its two layouts agree;
    examples of a batch do not influence each other. At every level: both mean the same by the other strand, and the
    certificate of CONVERTED, if it has one, holds and speaks of SOURCE, as `rcproof check --source` finds.

    Without CONVERTED, a network that is RCPS or conjoined already is checked by itself: that it is equivariant and not
    constant, which says nothing of what it computes.

    Exit code: 0 if all of it holds, 1 if not, 2 if the input cannot be used.
    """
    options = collect(values)
    if converted is None:
        from rcproof.cli.verify_alone import verify_alone

        if level != "numeric" or precisions or data or fasta or report:
            raise RcproofError(
                "--level, --precision, --data, --fasta and --report compare two networks",
                got="one file",
                fix="give CONVERTED as well",
            )
        return verify_alone(source, options, seed)
    wanted = _Wanted(level, precisions or ("float64", "float32"), data, fasta, report, seed)
    wanted.check()
    return _compare(source, converted, options, wanted)


@dataclass(frozen=True)
class _Wanted:
    """What the options ask for."""

    level: str
    precisions: tuple[str, ...]
    data: str | None
    fasta: str | None
    report: str | None
    seed: int

    def check(self) -> None:
        """Refuse what cannot be done before anything is run."""
        from rcproof.verify.ladder_page import check_format
        from rcproof.verify.precision import precision

        for name in self.precisions:
            precision(name)
        if (self.data or self.fasta) and self.level not in ("numeric", "all"):
            raise RcproofError("--data and --fasta", got=f"--level {self.level}", expected="--level numeric or all")
        if self.report is not None and check_format(self.report) == ".png" and self.level not in ("bounds", "all"):
            raise RcproofError("--report as a figure", got=f"--level {self.level}", expected="--level bounds or all")


def _compare(source: str, converted: str, options: SourceOptions, wanted: _Wanted) -> Outcome:
    from rcproof.verify.ladder import steps_of

    steps = steps_of(wanted.level, wanted.precisions, bool(wanted.data or wanted.fasta))
    with progress(3 + steps + bool(wanted.report)) as step:
        step("reading the files")
        from rcproof.cli.describe import final_names, graph_representations
        from rcproof.cli.source import conjoined_of, header_shapes, known_shapes, read_converted, read_source
        from rcproof.cli.source import count_inputs as count_of
        from rcproof.verify.ladder import Ladder

        given = read_source(source, options)
        conjoined = conjoined_of(given)
        network, header = read_converted(converted)
        inputs, outputs, merges = graph_representations(network)
        count = count_of(conjoined, ())
        reps = conjoined.input_representations(count)
        reports = [_same_representations(conjoined, reps, inputs, outputs)]
        shapes: tuple[Shape, ...] = ()
        left_out: list[str] = []
        ladder = Ladder(())
        if len(inputs) == count:  # else there is nothing to compare
            known = known_shapes(given, count) if options.shapes else header_shapes(header, count, converted)
            shapes = known or known_shapes(given, count) or _trial(conjoined, reps, options.leaves)
            step("finding the lengths that the source takes")
            ladder, left_out = _climbed(conjoined, network, shapes, reps, (inputs, outputs), wanted, step)
            reports += ladder.reports
        step("checking the certificate")
        certified = header.certificate is not None
        not_covered = ladder.not_covered
        if certified:
            report, why = _certificate(converted, conjoined, count, options.leaves)
            reports.append(report)
            not_covered += why
        facts = {"source": source, "converted": converted, "level": wanted.level}
        whole = Ladder(tuple(reports), ladder.bounds, not_covered, facts)
        if wanted.report is not None:
            from rcproof.verify.ladder_page import write_page

            step("writing the report")
            write_page(whole, wanted.report)
    found = whole.to_dict()
    data = {
        "schema": SCHEMA,
        "source": source,
        "converted": converted,
        "level": wanted.level,
        "passed": whole.passed,
        "certificate": certified,
        "inputs": [str(r) for r in reps],
        "input_shapes": json_safe(shapes),
        "left_out": left_out,
        "outputs": outputs,
        "merge": merges,
        "final": final_names(conjoined, len(outputs)),
        "checks": found["checks"],
        "bounds": [{k: v for k, v in one.items() if k != "samples"} for one in found["bounds"]],
        "not_covered": found["not_covered"],
        "report": wanted.report,
    }
    data["bounds"] = json_safe(data["bounds"])

    def show(console: Console) -> None:
        from rcproof.cli import tables

        tables.tensors(console, data)
        tables.checks(console, reports)
        for one in whole.bounds:
            for name, value in one.report.facts.items():
                if name.startswith("bound over"):
                    tables.line(console, f"{one.precision}: {name}: {value}")
        if left_out:
            tables.line(console, f"note: the source gives no finite answer on: {', '.join(left_out)}")
        for why in whole.not_covered:
            tables.line(console, f"note: not covered: {why}")
        if not certified:
            tables.line(console, f"note: {converted} carries no certificate")
        if wanted.report is not None:
            tables.line(console, f"report: {wanted.report}")
        tables.line(console, "all checks hold" if whole.passed else "NOT the same function: see FAIL above")

    return Outcome(data, show, 0 if whole.passed else 1)


def _climbed(
    conjoined: Conjoined,
    network: Network,
    shapes: Sequence[Shape],
    reps: Sequence[Representation],
    named: tuple[list[str], list[str]],
    wanted: _Wanted,
    step: Any,
) -> tuple[Ladder, list[str]]:
    """The ladder on drawn inputs, and the names of those on which the source gives no finite answer."""
    from rcproof.cli.labelled import labelled
    from rcproof.cli.source import draw_cases
    from rcproof.verify import draw_inputs
    from rcproof.verify.ladder import BOUND_KINDS, Cases, climb
    from rcproof.verify.running import answered

    drawn = draw_cases(_double(conjoined), shapes, reps, wanted.seed)
    held = labelled(wanted.data, wanted.fasta, shapes, reps, len(named[1]), wanted.seed)
    small = sum(math.prod(shape) for shape in shapes) <= SMALL_INPUT
    many = draw_inputs(shapes, reps, kinds=BOUND_KINDS, batch=EXAMPLES if small else 1, seed=wanted.seed)
    kept = answered(_double(conjoined), list(many))[0]
    cases = Cases(drawn.kinds, drawn.lengths, held, kept)
    inputs, outputs = named
    found = climb(
        conjoined, network, cases, wanted.level, inputs, outputs,
        precisions=wanted.precisions, seed=wanted.seed, step=step,
    )  # fmt: skip
    return found, drawn.left_out


def _certificate(
    path: str, conjoined: Conjoined, count: int, leaves: tuple[str, ...]
) -> tuple[Report, tuple[str, ...]]:
    """What the checker finds of a file and its source, and why it could not see the source, if so."""
    from rcproof.checking.check import check_file
    from rcproof.convert.source import describe_source
    from rcproof.errors import TraceError

    try:
        described = describe_source(conjoined, count, leaves)
    except TraceError as error:
        return check_file(path).report, (f"whether the certificate speaks of this source, which has no graph: {error}",)
    return check_file(path, described).report, ()


def _trial(conjoined: Conjoined, reps: tuple[Representation, ...], leaves: tuple[str, ...]) -> tuple[Shape, ...]:
    from rcproof.cli.source import shapes_by_trial

    return shapes_by_trial(conjoined.net, reps, leaves)


def _double(model: Any) -> Any:
    import torch

    from rcproof.verify.running import prepare

    return prepare(model, torch.float64)


def _same_representations(
    conjoined: Conjoined, reps: tuple[Representation, ...], inputs: list[str], outputs: list[str]
) -> Report:
    """Whether the two networks mean the same by "the other strand"."""
    from rcproof.checking.sources import same_action
    from rcproof.verify import Check, Report

    pairs = [("inputs", [str(r) for r in reps], inputs)]
    if conjoined.outputs is not None:
        said = [str(r) for r in conjoined.outputs]
        pairs.append(("outputs", said * len(outputs) if len(said) == 1 else said, outputs))
    checks = []
    for name, mine, theirs in pairs:
        detail = f"source {', '.join(mine)}; converted {', '.join(theirs)}"
        same = len(mine) == len(theirs) and all(same_action(a, b) for a, b in zip(mine, theirs, strict=True))
        checks.append(Check.of(name, 0.0, 0.0) if same else Check.failure(name, detail))
    return Report("same representations", tuple(checks))
