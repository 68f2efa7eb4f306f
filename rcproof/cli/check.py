"""``rcproof check``: whether a converted file proves what it claims."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from rcproof.cli.common import Command, Outcome, collect, progress, source_options

if TYPE_CHECKING:
    from rich.console import Console

    from rcproof.cli.common import SourceOptions

SCHEMA = "rcproof-check/1"

#: The parts of a check, as they are named to people.
PARTS = {
    "weights": "every tensor is the source's, bit by bit",
    "graph": "every step is the source's, then the merge",
    "examples": "no step mixes the examples of a batch",
    "side conditions": "every layer is the lift of the source's",
    "proof": "the steps of the proof, replayed",
    "source": "the source at hand is the one described",
    "description": "the description of the two networks",
}


@click.command("check", cls=Command)
@click.argument("result")
@click.option("--source", metavar="CHECKPOINT", help="Also prove the relation to this file; the options below say how "
              "it is read, as for `rcproof convert`.")  # fmt: skip
@source_options(wrapping=True)
def command(result: str, source: str | None, **values: Any) -> Outcome:
    """Verify the certificate of RESULT, a converted file, without the converter and without the source.

    Hashes are computed again, every tensor is traced to the source's bit by bit, the two graphs are walked together,
    the side conditions are derived from shapes, and the proof is replayed. With --source the source is also compared
    with the certificate's description of it, step by step and tensor by tensor.

    Exit code: 0 and "equal on every input" if all of it holds; 1 and what fails first if not; 2 if the file cannot be
    read.
    """
    options = collect(values)
    with progress(2) as step:
        step("reading the source" if source else "checking")
        from rcproof.checking.check import check_file

        described = None if source is None else _described(source, options)
        step("checking")
        verdict = check_file(result, described)
    groups: dict[str, list[Any]] = {}
    for check in verdict.report.checks:
        groups.setdefault(check.name.partition(":")[0], []).append(check)
    data: dict[str, Any] = {
        "schema": SCHEMA,
        "file": result,
        "source": source,
        "passed": verdict.passed,
        "statement": verdict.statement,
        "lifted": list(verdict.lifted),
        "facts": verdict.report.facts,
        "checks": [
            {"part": part, "held": sum(c.passed for c in found), "of": len(found)} for part, found in groups.items()
        ],
        "failures": [f"{c.name}: {c.detail}" for c in verdict.report.failures],
    }

    def show(console: Console) -> None:
        from rcproof.cli import tables

        rows = [
            ("ok" if c["held"] == c["of"] else "FAIL", c["part"], PARTS.get(c["part"], ""), f"{c['held']} of {c['of']}")
            for c in data["checks"]
        ]
        tables.table(console, "certificate", ("", "part", "what", "held"), rows)
        for failure in data["failures"][:10]:
            tables.line(console, f"FAIL {failure}")
        if verdict.lifted:
            tables.line(console, f"lifted whole (T2): {', '.join(verdict.lifted)}")
        if "inputs" in verdict.report.facts:
            tables.line(console, f"side conditions of shapes: for inputs of {verdict.report.facts['inputs']}")
        tables.line(console, "not covered: train mode (T10), rounding (T12)")
        tables.line(console, f"{result}: {verdict.statement if verdict.passed else 'NOT proved, see FAIL above'}")

    return Outcome(data, show, 0 if verdict.passed else 1)


def _described(path: str, options: SourceOptions) -> dict[str, Any]:
    from rcproof.cli.source import conjoined_of, count_inputs, read_source
    from rcproof.convert.source import describe_source

    conjoined = conjoined_of(read_source(path, options))
    return describe_source(conjoined, count_inputs(conjoined, ()), options.leaves)
