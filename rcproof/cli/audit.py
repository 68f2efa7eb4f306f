"""``rcproof audit``: how far any network is from strand symmetry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from rcproof.cli.common import Command, Outcome, collect, json_safe, progress, source_options

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA = "rcproof-audit/1"


@click.command("audit", cls=Command)
@click.argument("source")
@source_options(wrapping=False)
@click.option("--fasta", metavar="FILE", help="Sequences to measure on, plain or gzipped. Default: random DNA.")
@click.option("--n", type=click.IntRange(min=1), default=256, show_default=True, help="How many random sequences.")
@click.option(
    "--length", type=click.IntRange(min=1), help="Their length; sequences of --fasta are cut or padded to it."
)
@click.option("--alphabet", default="ACGT", show_default=True, help="The order of the bases in the DNA input.")
@click.option("--kind", multiple=True, type=click.Choice(["score", "logit", "profile", "counts"]),
              help="What an output is; one for each output. Default: told from its values.")  # fmt: skip
@click.option("--fail-above", type=float, metavar="X", help="Exit with 1 if the strands differ by more than X, "
              "relative to the largest value.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the inputs drawn.")
def command(
    source: str, fasta: str | None, n: int, length: int | None, alphabet: str, kind: tuple[str, ...],
    fail_above: float | None, seed: int, **values: Any,
) -> Outcome:  # fmt: skip
    """Measure how differently SOURCE answers on the two strands.

    SOURCE is any network: one that reads one strand is measured as it is, not made conjoined. Reported for each output:
    the largest and mean difference, the share of decisions that flip, the Jensen-Shannon divergence of profiles.

    Exit code: 0 once it is measured; with --fail-above 1 if an output differs by more, or is not finite; 2 if the
    input cannot be used.
    """
    options = collect(values)
    with progress(2) as step:
        step("reading")
        from rcproof.cli.audit_inputs import Wanted, plan_audit
        from rcproof.cli.source import read_source
        from rcproof.verify import audit

        plan = plan_audit(read_source(source, options), Wanted(fasta, n, length, alphabet, seed))
        step("measuring")
        found = audit(plan.model, plan.case, plan.inputs, plan.outputs, kinds=kind or None, names=plan.names)
    over = fail_above is not None and not found.symmetric(fail_above)
    data = {
        "schema": SCHEMA,
        "source": source,
        "passed": not over,
        "fail_above": fail_above,
        "symmetric": found.symmetric(),
        "input_shapes": json_safe(plan.shapes),
        "seed": seed,
        "inputs": plan.facts,
        "audit": found.to_dict(),
    }

    def show(console: Console) -> None:
        from rcproof.cli import tables

        found.print(console)
        tables.line(console, "; ".join(f"{k}: {v}" for k, v in plan.facts.items()) + f"; seed {seed}")
        if fail_above is not None:
            verdict = f"more than --fail-above {fail_above:g}" if over else f"within --fail-above {fail_above:g}"
            tables.line(console, f"the strands differ by {verdict}")

    return Outcome(data, show, 1 if over else 0)
