"""``rcproof prove``: replay the theorems, or the representation theorem of one network. Imports no torch."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rcproof.cli.common import console, progress
from rcproof.errors import CheckpointError, RcproofError, printable

if TYPE_CHECKING:
    from rcproof.symbolic.statements import Outcome


@click.command("prove")
@click.argument("labels", nargs=-1, metavar="[LABEL]…")
@click.option(
    "--network", type=click.Path(), metavar="FILE", help="Prove the theorem of this converted network instead."
)
@click.option(
    "--latex", type=click.Path(file_okay=False), metavar="DIR", help="Also write each theorem as DIR/LABEL.tex."
)
@click.option("--text", is_flag=True, help="Print statements with their hypotheses and every step of their proofs.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list, one object a statement, on standard output.")
@click.pass_context
def command(
    ctx: click.Context, labels: tuple[str, ...], network: str | None, latex: str | None, text: bool, as_json: bool
) -> None:
    """Replay the proofs of the theorems T1 … T13 (default: all), step by step, in the checker.

    Every statement says its kind: ``all sizes`` (a proof with symbols for sizes), ``algebra`` (exact algebra in real
    symbols), ``refuted`` (a counterexample), or the finite family it was checked on. Exit code 1 if one fails.
    """
    from rcproof.symbolic.theorems import LABELS

    wanted = [label.upper() for label in labels]
    for label in wanted:
        if label not in LABELS:
            raise RcproofError("no such theorem", got=repr(label), expected=", ".join(LABELS))
    if network is not None and (labels or latex or text):
        raise RcproofError("--network proves one network and takes no labels, --latex or --text")
    outcomes = [_network(network)] if network is not None else _theorems(wanted or list(LABELS))
    if latex is not None:
        _write_latex(Path(latex), wanted or list(LABELS))
    if as_json:
        click.echo(json.dumps([_row(o) for o in outcomes], indent=1, ensure_ascii=False))
    elif text:
        from rcproof.symbolic.theorems import theorems, to_text

        click.echo("\n".join(to_text(t) for t in theorems(wanted or None)), nl=False)
    else:
        _show(outcomes)
    ctx.exit(0 if outcomes and all(o.status == "holds" for o in outcomes) else 1)


def _theorems(labels: list[str]) -> list[Outcome]:
    from rcproof.symbolic.statements import run
    from rcproof.symbolic.theorems import theorems

    found = theorems(labels)
    outcomes = []
    with progress(sum(len(t.statements) for t in found)) as step:
        for t in found:
            for statement in t.statements:
                step(statement.name)
                outcomes.append(run(t.label, statement))
    return outcomes


def _network(path: str) -> Outcome:
    """The representation theorem of the network in a file, from the file's header alone."""
    from rcproof.symbolic.checker import Refused
    from rcproof.symbolic.networks import prove_network
    from rcproof.symbolic.statements import ALL_SIZES, Outcome

    header = _header(path)
    if header.get("kind") != "rcps":
        raise CheckpointError(
            f"{path!r} holds no converted network", got=header.get("kind"), fix="convert it first: rcproof convert"
        )
    start = time.perf_counter()
    hypotheses: tuple[str, ...] = ()
    statement, steps, status, reason = "", 0, "holds", ""
    try:
        proof = prove_network(header["net"]["graph"])
        statement, steps = proof.statement, proof.steps
        hypotheses = tuple(f"{node}: {label} ({rule})" for node, label, rule in proof.lemmas)
    except Refused as why:
        status, reason = "failed", str(why)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path!r} is damaged", got=f"{type(error).__name__}: {error}") from None
    seconds = time.perf_counter() - start
    return Outcome("T5", path, statement, hypotheses, ALL_SIZES, steps, seconds, status, reason)


def _header(path: str) -> dict[str, Any]:
    """rcproof's part of a safetensors header, read without torch."""
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise CheckpointError(f"file {path!r} does not exist")
    try:
        with safe_open(path, framework="np") as handle:
            text = (handle.metadata() or {}).get("rcproof")
        document = json.loads(text) if text is not None else {}
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path!r} is no safetensors file, or is damaged", got=str(error).splitlines()[0]
        ) from None
    return document if isinstance(document, dict) else {}


def _row(outcome: Outcome) -> dict[str, Any]:
    return {**asdict(outcome), "hypotheses": list(outcome.hypotheses), "seconds": round(outcome.seconds, 4)}


def _show(outcomes: list[Outcome]) -> None:
    from rich.table import Column, Table
    from rich.text import Text

    out = console()
    table = Table("theorem", "statement", Column("kind", max_width=20), "steps", "seconds", "status")
    for o in outcomes:
        name = Text(o.name, style="bold")
        said = Text(f"\n{printable(o.statement or o.reason)}")
        verdict = Text(o.status, style="green" if o.status == "holds" else "red")
        table.add_row(o.label, name + said, o.kind, str(o.steps), f"{o.seconds:.2f}", verdict)
    out.print(table)
    failed = [o for o in outcomes if o.status != "holds"]
    for o in failed:
        out.print(Text(f"{o.name} failed: {printable(o.reason)}", style="red"))
    total = sum(o.seconds for o in outcomes)
    kinds = ", ".join(f"{sum(o.kind == k for o in outcomes)} {k}" for k in dict.fromkeys(o.kind for o in outcomes))
    out.print(
        f"{len(outcomes) - len(failed)} of {len(outcomes)} statements hold ({kinds}); {total:.1f} s", markup=False
    )


def _write_latex(folder: Path, labels: list[str]) -> None:
    from rcproof.files import replacing
    from rcproof.symbolic.theorems import theorems, to_latex

    folder.mkdir(parents=True, exist_ok=True)
    for t in theorems(labels):
        with replacing(folder / f"{t.label}.tex") as temporary:
            temporary.write_text(to_latex(t), encoding="utf-8")
