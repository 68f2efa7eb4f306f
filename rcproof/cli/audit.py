"""``rcproof audit``: how far any network is from strand symmetry, and what to do about it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import click

from rcproof.cli.common import Command, Outcome, collect, json_safe, progress, source_options
from rcproof.errors import RcproofError

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA = "rcproof-audit/2"
KINDS = ("score", "logit", "classes", "value", "counts", "log-counts", "profile")


@click.command("audit", cls=Command)
@click.argument("source")
@source_options(wrapping=False)
@click.option("--fasta", metavar="FILE", help="Sequences to measure on, plain or gzipped. Default: random DNA.")
@click.option("--data", metavar="FILE", help="Sequences with labels (.h5, .npz, .csv): the losses of both strands are "
              "reported too, and that of their mean. Labels are those of the first output.")  # fmt: skip
@click.option("--n", type=click.IntRange(min=1), help="How many sequences: random ones (default: 256), or drawn from "
              "--fasta or --data (default: all).")  # fmt: skip
@click.option("--length", type=click.IntRange(min=1), help="Their length; sequences of a file are cut or padded to it.")
@click.option("--alphabet", default="ACGT", show_default=True, help="The order of the bases in the DNA input.")
@click.option("--kind", multiple=True, type=click.Choice(KINDS), help="What an output is; one for each output. score: "
              "a probability; classes: of exclusive classes; value: any number; log-counts: natural logarithms. "
              "Default: told from its values.")  # fmt: skip
@click.option("--worst", type=click.IntRange(min=0), default=5, show_default=True, help="How many of the sequences on "
              "which the strands disagree most are listed.")  # fmt: skip
@click.option("--figure", metavar="FILE", help="Draw strand against strand: .png, .svg, or a page with everything "
              "(.html). Needs matplotlib (the extra `plots`).")  # fmt: skip
@click.option("--fail-above", type=float, metavar="X", help="Exit with 1 if the strands differ by more than X, "
              "relative to the largest value.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the inputs drawn.")
def command(
    source: str, fasta: str | None, data: str | None, n: int | None, length: int | None, alphabet: str,
    kind: tuple[str, ...], worst: int, figure: str | None, fail_above: float | None, seed: int, **values: Any,
) -> Outcome:  # fmt: skip
    """Measure how differently SOURCE answers on the two strands, and say what to do about it.

    SOURCE is any network: one that reads one strand is measured as it is, not made conjoined. Each output is measured
    in its own terms: decisions that flip, differences of probabilities, the Jensen-Shannon divergence of profiles (in
    bits), ratios of counts, correlations between the strands; by task, and with the worst sequences.

    Exit code: 0 once it is measured; with --fail-above 1 if an output differs by more, or is not finite; 2 if the
    input cannot be used.
    """
    options = collect(values)
    with contextlib.ExitStack() as stack:
        step = stack.enter_context(progress(4))
        step("reading")
        from rcproof.cli.audit_advice import advise, losses_lines
        from rcproof.cli.audit_inputs import Wanted, plan_audit
        from rcproof.cli.source import read_source
        from rcproof.verify import audit

        if figure is not None:  # what is wrong with it is told before the work
            suffix, drawn = _figure_file(figure, [source, fasta, data], stack)
        given = read_source(source, options)
        plan = plan_audit(given, Wanted(fasta, data, n, length, alphabet, seed))
        step("measuring")
        found = audit(
            plan.model, plan.case, plan.inputs, plan.outputs, kinds=kind or None, names=plan.names, worst=worst
        )
        step("looking up what is proved")
        advice = advise(given, found)
        losses = _losses(found, plan.labels)
        if figure is not None:
            step("drawing")
            from rcproof.verify.audit_page import figure_data

            drawn.write_bytes(
                figure_data(found, suffix, f"strand audit of {source}", [*advice.lines, *advice.quoted()])
            )
    over = fail_above is not None and not found.symmetric(fail_above)
    result = {
        "schema": SCHEMA,
        "source": source,
        "passed": not over,
        "fail_above": fail_above,
        "symmetric": found.symmetric(),
        "input_shapes": json_safe(plan.shapes),
        "seed": seed,
        "inputs": plan.facts,
        "audit": found.to_dict(),
        "losses": [one.to_dict() for one in losses],
        "advice": advice.to_dict(),
        "figure": figure,
    }

    def show(console: Console) -> None:
        from rcproof.cli import tables

        found.print(console)
        tables.line(console, "; ".join(f"{k}: {v}" for k, v in plan.facts.items()) + f"; seed {seed}")
        for text in losses_lines(found.outputs[0].name, losses):
            tables.line(console, text)
        for text in [*_doubts(found), *advice.lines, *advice.quoted()]:
            tables.line(console, text, whole=advice.command is not None and advice.command in text)
        if figure is not None:
            tables.line(console, f"{figure}: written")
        if fail_above is not None:
            verdict = f"more than --fail-above {fail_above:g}" if over else f"within --fail-above {fail_above:g}"
            tables.line(console, f"the strands differ by {verdict}")

    return Outcome(result, show, 1 if over else 0)


def _figure_file(figure: str, read: list[str | None], stack: contextlib.ExitStack) -> tuple[str, Any]:
    """The figure's suffix, and where it is written until it is whole."""
    from rcproof.cli.convert import same_file
    from rcproof.files import replacing
    from rcproof.verify.audit_figure import require_matplotlib
    from rcproof.verify.audit_page import check_figure_format

    suffix = check_figure_format(figure)
    for path in read:
        if path is not None and same_file(figure, path):
            raise RcproofError(f"--figure {figure!r} is also a file that is read", fix="choose another name")
    require_matplotlib()
    return suffix, stack.enter_context(replacing(figure))


def _losses(found: Any, labels: Any) -> Any:
    """The losses of the first output, if there are labels."""
    if labels is None or found.outputs[0].answers is None:
        return ()
    from rcproof.verify.guarantees import strand_losses

    return strand_losses(found.outputs[0], labels)


def _doubts(found: Any) -> list[str]:
    """Kinds that values do not settle."""
    return [
        f"note: {o.name} is taken for a logit since it has negative values; if it is no decision, give --kind value"
        for o in found.outputs
        if o.inferred and o.kind == "logit"
    ]
