"""``rcproof verify``: two files, and whether they hold the same function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from rcproof.cli.common import Command, Outcome, collect, json_safe, progress, source_options

if TYPE_CHECKING:
    from rich.console import Console

    from rcproof.cli.source import Cases
    from rcproof.conjoined import Conjoined
    from rcproof.convert.shapes import Shape
    from rcproof.network.network import Network
    from rcproof.strand import Representation
    from rcproof.verify import Report

SCHEMA = "rcproof-verify/1"


@click.command("verify", cls=Command)
@click.argument("source")
@click.argument("converted", required=False)
@source_options(wrapping=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the inputs drawn.")
def command(source: str, converted: str | None, seed: int, **values: Any) -> Outcome:
    """Check that CONVERTED computes what SOURCE computes, from the two files alone.

    The options say what SOURCE is, as for `rcproof convert`. In float64: outputs and input gradients agree on inputs
    of every kind and of every length tried; CONVERTED is equivariant; its two layouts agree; examples of a batch do
    not influence each other; every tensor is where the certificate says it came from.

    Without CONVERTED, a network that is RCPS or conjoined already is checked by itself: that it is equivariant and not
    constant, which says nothing of what it computes.

    Exit code: 0 if all of it holds, 1 if not, 2 if the input cannot be used.
    """
    options = collect(values)
    if converted is None:
        from rcproof.cli.verify_alone import verify_alone

        return verify_alone(source, options, seed)
    with progress(7) as step:
        step("reading the files")
        from rcproof.cli.describe import final_names, graph_representations
        from rcproof.cli.source import (
            conjoined_of,
            draw_cases,
            header_shapes,
            known_shapes,
            read_converted,
            read_source,
        )
        from rcproof.cli.source import count_inputs as count_of
        from rcproof.convert.recheck import check_certificate

        given = read_source(source, options)
        conjoined = conjoined_of(given)
        network, header = read_converted(converted)
        inputs, outputs, merges = graph_representations(network)
        count = count_of(conjoined, ())
        reps = conjoined.input_representations(count)
        reports = [_same_representations(conjoined, reps, inputs, outputs)]
        shapes: tuple[Shape, ...] = ()
        left_out: list[str] = []
        if len(inputs) == count:  # else there is nothing to compare
            known = known_shapes(given, count) if options.shapes else header_shapes(header, count, converted)
            shapes = known or known_shapes(given, count) or _trial(conjoined, reps, options.leaves)
            step("finding the lengths that the source takes")
            reference, result = _double(conjoined), _double(network)
            cases = draw_cases(reference, shapes, reps, seed)
            left_out = cases.left_out
            reports += _numerical(reference, result, cases, (inputs, outputs), seed, step)
        step("comparing hashes")
        certified = header.certificate is not None
        if header.certificate is not None:
            reports.append(check_certificate(header.certificate, conjoined, network))
    passed = all(report.passed for report in reports)
    data = {
        "schema": SCHEMA,
        "source": source,
        "converted": converted,
        "passed": passed,
        "certificate": certified,
        "inputs": [str(r) for r in reps],
        "input_shapes": json_safe(shapes),
        "left_out": left_out,
        "outputs": outputs,
        "merge": merges,
        "final": final_names(conjoined, len(outputs)),
        "checks": [report.to_dict() for report in reports],
    }

    def show(console: Console) -> None:
        from rcproof.cli import tables

        tables.tensors(console, data)
        tables.checks(console, reports)
        if left_out:
            tables.line(console, f"note: the source gives no finite answer on: {', '.join(left_out)}")
        if not certified:
            tables.line(console, f"note: {converted} carries no certificate")
        tables.line(console, "all checks hold" if passed else "NOT the same function: see FAIL above")

    return Outcome(data, show, 0 if passed else 1)


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


def same_action(a: str, b: str) -> bool:
    """Whether two representations are one action: ``reversal`` and ``perm:3,2,1,0`` are, on four channels."""
    from rcproof.strand import representation

    one, two = representation(a), representation(b)
    size = one.size or two.size
    if one == two or size is None or (one.size or size) != (two.size or size):
        return one == two
    rest = [(r.permutation(size), r.signs, r.reverses_length, r.tokens) for r in (one, two)]
    return rest[0] == rest[1]


def _numerical(
    reference: Conjoined,
    result: Network,
    cases: Cases,
    reps: tuple[list[str], list[str]],
    seed: int,
    step: Any,
) -> list[Report]:
    import copy

    from rcproof.verify import check_equivalence, check_equivariance, check_independence

    every = cases.every
    step("comparing outputs and gradients")
    found = [check_equivalence(reference, result, every, seed=seed, title="equal to the source")]
    step("comparing strands")
    found.append(check_equivariance(result, every, *reps, seed=seed))
    step("comparing layouts")
    stacked, batched = copy.deepcopy(result).set_layout("stacked"), copy.deepcopy(result).set_layout("batched")
    found.append(check_equivalence(stacked, batched, every, seed=seed, title="stacked equals batched"))
    step("comparing batches with their examples")
    found.append(check_independence(result, cases.kinds[:2], seed=seed))
    return found
