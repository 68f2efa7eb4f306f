"""T1 to T13: the theorems, assembled from the modules that prove them, and their renderings."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator

import rcproof.symbolic
from rcproof.symbolic.statements import Outcome, Statement, Theorem, run

TITLES: dict[str, tuple[str, str]] = {
    "T1": (
        "action",
        "ρ is an involution on every representation; stack and unstack are inverse; ρ∘stack = stack∘swap.",
    ),
    "T2": ("lift", "The lift D(g) of any map g is equivariant, and D respects identity, composition and sums."),
    "T3": (
        "equivariance, both ways",
        "A layer commutes with ρ if ρ fixes kernel and bias and the windows are centred; only if, for live end taps.",
    ),
    "T4": ("tying", "tie is a linear bijection from free weights onto all equivariant weights; their dimension."),
    "T5": ("representation", "For every conjoined network there are RCPS weights of the same function."),
    "T6": ("sandwich", "Conjoined_F ⊆ RCPS_F ⊆ Conjoined_2F, and the first inclusion is strict."),
    "T7": (
        "coupling",
        "The networks coupled in a set S of layers are equivariant and grow with S, from conjoined to RCPS.",
    ),
    "T8": ("gradients", "The RCPS gradient, seen through the embedding of weights, is the conjoined gradient."),
    "T9": ("Jensen", "For a convex loss, post-hoc conjoining is never worse than the mean of the two strands."),
    "T10": ("batch norm", "Exact in eval mode; in training RCPS statistics pool both strands, two passes do not."),
    "T11": ("irreps", "The regular representation is trivial ⊕ sign; the known classification of layers recovered."),
    "T12": ("rounding", "An a-priori bound on the difference of the two floating-point results."),
    "T13": ("refutations", "Plausible statements that are false, each with a counterexample."),
}

LABELS = tuple(TITLES)


def theorems(labels: Iterable[str] | None = None) -> tuple[Theorem, ...]:
    """The theorems with the given labels (default: all), in order. Raises ``KeyError`` for an unknown label.

    Their statements are those of every module here that has ``STATEMENTS``: label → statements.
    """
    wanted = LABELS if labels is None else tuple(dict.fromkeys(labels))
    found: dict[str, list[Statement]] = {label: [] for label in wanted}
    for name in sorted(info.name for info in pkgutil.iter_modules(rcproof.symbolic.__path__)):
        module = importlib.import_module(f"rcproof.symbolic.{name}")
        for label, statements in getattr(module, "STATEMENTS", {}).items():
            if label in found:
                found[label] += statements
    return tuple(Theorem(label, *TITLES[label], tuple(found[label])) for label in wanted)


def theorem(label: str) -> Theorem:
    """One theorem by its label."""
    return theorems([label])[0]


def prove(labels: Iterable[str] | None = None) -> Iterator[Outcome]:
    """Replay the theorems, statement by statement."""
    for t in theorems(labels):
        for statement in t.statements:
            yield run(t.label, statement)


def to_text(t: Theorem) -> str:
    """A theorem in plain text: every statement with its hypotheses, kind, source and proof steps."""
    lines = [f"{t.label} ({t.title}). {t.summary}", ""]
    for s in t.statements:
        lines.append(f"{s.name} [{s.kind}]")
        lines.append(f"  {s.text}")
        lines += [f"  given: {h}" for h in s.hypotheses]
        if s.source:
            lines.append(f"  source: {s.source}")
        lines += [f"    {line}" for line in s.replay().lines]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def to_latex(t: Theorem) -> str:
    """A theorem in LaTeX: a ``theorem`` environment with its statements, and its proofs as lists of steps."""
    lines = [f"% {t.label}, made by rcproof prove --latex", rf"\begin{{theorem}}[{t.label}, {_escape(t.title)}]"]
    lines += [rf"\label{{{t.label}}}", _escape(t.summary), r"\begin{enumerate}"]
    for s in t.statements:
        lines.append(rf"\item \texttt{{{_escape(s.name)}}} ({_escape(s.kind)}). {_escape(s.text)}")
        lines.append(rf"\[ {s.latex} \]")
        if s.hypotheses:
            lines.append("Given: " + "; ".join(_escape(h) for h in s.hypotheses) + ".")
    lines += [r"\end{enumerate}", r"\end{theorem}"]
    for s in t.statements:
        steps = s.replay().lines
        if not steps:
            continue
        lines += [rf"\begin{{proof}}[{_escape(s.name)}]", r"\begin{enumerate}"]
        lines += [rf"\item {_escape(step.strip())}" for step in steps]
        lines += [r"\end{enumerate}", r"\end{proof}"]
    return "\n".join(lines) + "\n"


_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


def _escape(text: str) -> str:
    return "".join(_SPECIAL.get(c, c) for c in text)
