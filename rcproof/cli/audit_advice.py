"""What to do about strands that disagree: a command, what it changes, and what is guaranteed of it (T9)."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rcproof.conjoined import Conjoined
from rcproof.convert.build import uses_tied_layers
from rcproof.network.network import Network
from rcproof.verify.audit_report import AuditReport, OutputAudit, percent
from rcproof.verify.discordance import decisions_differ

if TYPE_CHECKING:
    from rcproof.cli.source import Source
    from rcproof.verify.guarantees import Guarantee, StrandLosses

#: Options of SOURCE that `convert` takes as well, and the field that holds each; those with values come first.
_OPTIONS = {
    "--model": "model", "--model-args": "model_args", "--arch": "arch", "--architecture": "architecture",
    "--lambda": "lambdas", "--input": "inputs", "--output": "outputs", "--shape": "shapes", "--leaf": "leaves",
}  # fmt: skip

_SCOPE = (
    "T9: on every data set its loss is at most the mean of the losses of the two strands, for the losses below. That "
    "is the loss to expect where the strand is arbitrary; one strand alone may by chance do better. T9 says nothing of "
    "AuROC, accuracy or correlation, nor of the merges max and sum."
)


@dataclass(frozen=True)
class Advice:
    """What to do, in sentences; the command that does it, if there is one; and the guarantees, an output each."""

    lines: tuple[str, ...]
    command: str | None = None
    guarantees: tuple[tuple[str, tuple[Guarantee, ...]], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "text": list(self.lines),
            "command": self.command,
            "guarantees": [{"output": name, **g.to_dict()} for name, found in self.guarantees for g in found],
        }

    def quoted(self) -> list[str]:
        """The guarantees for people, each statement once."""
        found: dict[str, tuple[list[str], str]] = {}
        for name, each in self.guarantees:
            for g in each:
                given = f" Given: {'; '.join(g.hypotheses)}." if g.hypotheses else ""
                entry = found.setdefault(g.label, ([], f"{g.statement}{given}"))
                if g.label != "T9.data_set":
                    entry[0].append(f"{name}: {g.loss}")
        lines = []
        for label, (about, text) in found.items():
            names = ", ".join(dict.fromkeys(about))
            lines.append(f"{label} ({names}): {text}" if names else f"{label}: {text}")
        return lines


def advise(source: Source, report: AuditReport) -> Advice:
    """What to do about the answers of ``source`` that ``report`` measured."""
    broken = [o.name for o in report.outputs if o.not_finite]
    ties = (
        isinstance(source.model, Conjoined)
        or (isinstance(source.model, Network) and source.model.carries_strands)
        or uses_tied_layers(source.model)
    )
    if report.symmetric():
        if not ties:
            text = "Nothing to do: the strands agree to rounding on these sequences. That is no proof for others."
        elif isinstance(source.model, Conjoined):
            text = (
                "Nothing to do: the network is conjoined, and its strands agree to rounding. `rcproof convert` gives "
                "RCPS weights of the same function."
            )
        else:
            text = "Nothing to do: the network is RCPS, and its strands agree to rounding."
        return Advice((text,))
    if broken:
        text = f"{', '.join(broken)} is not finite on some sequences: look at these first, since no merge mends them."
        if all(o.symmetric or o.not_finite for o in report.outputs):
            return Advice((text,))
    if ties:
        kind = "conjoined" if isinstance(source.model, Conjoined) else "RCPS"
        text = (
            f"The network says that it is {kind}, and its strands disagree: a representation (--input, --output) is "
            "wrong, or a step after the merge does not commute with it. `rcproof inspect` shows what the file says."
        )
        return Advice((text,))
    apart = [o for o in report.outputs if not o.symmetric and o.answers is not None]
    from rcproof.verify.guarantees import guarantees

    words = command_words(source)
    lines = [
        f"Conjoin it post hoc, without training: {words}",
        "The result answers with the mean of both strands, the same whichever strand it is given.",
        *(found for o in apart if (found := _changed(o))),
        _SCOPE,
    ]
    if any(o.kind == "logit" for o in apart):
        lines.insert(2, "Logits are averaged as logits; with --final sigmoid the result answers with probabilities.")
    if broken:
        lines.insert(0, text)
    return Advice(tuple(lines), words, tuple((o.name, guarantees(o)) for o in apart))


def _changed(output: OutputAudit) -> str | None:
    """How many decisions of the given strand the mean of both overturns."""
    if output.answers is None:
        return None
    a, b = output.answers.own, output.answers.other
    flips = decisions_differ(a, (a + b) / 2, output.kind)
    if flips is None:
        return None
    return f"{output.name}: the mean overturns {percent(float(flips.double().mean()))} of the decisions of one strand."


def command_words(source: Source) -> str:
    """The command that makes ``source`` conjoined post hoc and converts it."""
    words = ["rcproof", "convert", source.path]
    for option, name in _OPTIONS.items():
        value = getattr(source.options, name)
        for item in value if isinstance(value, tuple) else [value] if value is not None else []:
            words += [option, ",".join(map(str, item)) if isinstance(item, tuple) else str(item)]
    if source.options.allow_pickle:
        words.append("--allow-pickle")
    return shlex.join([*words, "--merge", "mean", "-o", "conjoined.safetensors"])


def losses_lines(name: str, found: Sequence[StrandLosses]) -> list[str]:
    """The losses of an output on the labels, for people."""
    return [
        f"{name}: {one.loss}: this strand {one.own:.6g}, other strand {one.other:.6g}, mean {one.mean:.6g}; "
        f"post-hoc conjoined {one.conjoined:.6g}" + (f" ({one.label} holds)" if one.holds else f" ({one.label} FAILS)")
        for one in found
    ]
