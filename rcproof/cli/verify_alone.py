"""``rcproof verify SOURCE``: whether one network by itself is equivariant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rcproof.cli.audit_inputs import network_representations, output_representations
from rcproof.cli.common import Outcome, SourceOptions, json_safe, progress
from rcproof.cli.source import draw_cases, known_shapes, read_source, shapes_by_trial
from rcproof.conjoined import Conjoined
from rcproof.verify import check_equivariance, check_independence
from rcproof.verify.running import prepare

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA = "rcproof-verify-alone/1"


def verify_alone(path: str, options: SourceOptions, seed: int) -> Outcome:
    """Check the network in ``path`` against the representations that it or the options state, in float64.

    Equivariance at every length tried and for every kind of input, that no output is constant, and that the examples
    of a batch do not influence each other. Nothing is said of what the network computes.
    """
    with progress(3) as step:
        step("reading the file")
        source = read_source(path, options)
        model = prepare(source.model, torch.float64)
        inputs, given = network_representations(source)
        net = source.model.net if isinstance(source.model, Conjoined) else source.model
        shapes = known_shapes(source, len(inputs)) or shapes_by_trial(net, inputs, options.leaves)
        step("comparing strands")
        cases = draw_cases(model, shapes, inputs, seed)
        outputs = output_representations(model, cases.kinds[0], given)
        reports = [check_equivariance(model, cases.every, inputs, outputs, seed=seed)]
        step("comparing batches with their examples")
        reports.append(check_independence(model, cases.kinds[:2], seed=seed))
    passed = all(report.passed for report in reports)
    data = {
        "schema": SCHEMA,
        "source": path,
        "format": source.imported.format,
        "notes": source.imported.notes,
        "passed": passed,
        "inputs": [str(r) for r in inputs],
        "input_shapes": json_safe(shapes),
        "left_out": cases.left_out,
        "outputs": [str(r) for r in outputs],
        "merge": [],
        "final": [],
        "checks": [report.to_dict() for report in reports],
    }

    def show(console: Console) -> None:
        from rcproof.cli import tables

        for note in source.imported.notes:
            tables.line(console, f"note: {note}")
        tables.tensors(console, data)
        tables.checks(console, reports)
        verdict = "equivariant under these representations" if passed else "NOT equivariant: see FAIL above"
        tables.line(console, f"{path}: {verdict}; what it computes was not compared with anything")

    return Outcome(data, show, 0 if passed else 1)
