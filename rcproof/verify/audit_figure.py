"""One strand against the other, as a figure. Needs matplotlib, from the extra ``plots``.

Answers of one number are a scatter of strand against strand, with the diagonal on which a symmetric network lies, and
the quarters shaded in which the two strands decide differently. Distributions are a histogram of their divergence,
beside the profile on which the strands disagree most. The worst examples carry their numbers in the table.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from rcproof.errors import RcproofError, printable
from rcproof.verify.audit_report import Answers, AuditReport, OutputAudit, percent
from rcproof.verify.discordance import discordance, is_distribution, probabilities

#: Blue, vermilion and grey that colour-blind readers tell apart too.
OWN, OTHER, GREY = "#0072b2", "#d55e00", "#777777"
#: More points than this are drawn as pixels in vector files, and more than MOST are thinned out.
VECTOR, MOST = 2_000, 50_000
#: No more outputs than this are drawn.
OUTPUTS = 8
_STYLE: Any = {
    "text.parse_math": False,  # names come from files: a $ in one is a dollar
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "figure.facecolor": "white",
    "axes.facecolor": "white",
}


def require_matplotlib() -> None:
    """:class:`~rcproof.errors.RcproofError` if matplotlib is not installed; nothing else."""
    try:
        import matplotlib as mpl  # noqa: F401
    except ImportError:
        raise RcproofError("a figure needs matplotlib", fix="pip install 'rcproof[plots]'") from None


def audit_figure(report: AuditReport) -> Any:
    """A ``matplotlib`` figure with a row for each output (at most OUTPUTS), and for profiles two panels in it.

    Raises :class:`~rcproof.errors.RcproofError` if matplotlib is missing, or if no output has a finite answer.
    """
    require_matplotlib()
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    shown = [(o, o.answers) for o in report.outputs if o.answers is not None][:OUTPUTS]
    if not shown:
        raise RcproofError("a figure of the strands", got="no finite answers")
    wide = any(_is_profile(o, a) for o, a in shown)
    with rc_context(_STYLE):
        figure = Figure(figsize=(9.0 if wide else 5.2, 4.4 * len(shown)), layout="constrained")
        grid = figure.add_gridspec(len(shown), 2 if wide else 1)
        for row, (output, answers) in enumerate(shown):
            if _is_profile(output, answers):
                _histogram(figure.add_subplot(grid[row, 0]), output, answers)
                _worst_profile(figure.add_subplot(grid[row, 1]), output, answers)
            elif output.kind == "classes":
                _scatter(figure.add_subplot(grid[row, 0]), output, answers)
                if wide:
                    _histogram(figure.add_subplot(grid[row, 1]), output, answers)
            else:
                _scatter(figure.add_subplot(grid[row, 0]), output, answers)
    return figure


def _is_profile(output: OutputAudit, answers: Answers) -> bool:
    return is_distribution(answers.own, output.kind) and output.kind != "classes"


def _title(output: OutputAudit) -> str:
    return f"{_drawable(output.name)} ({output.kind})"


def _drawable(name: str) -> str:
    """A name in characters that every font has, of no more than 40."""
    text = printable(name).encode("ascii", "backslashreplace").decode()
    return text if len(text) <= 40 else f"{text[:37]}..."


def _scatter(axes: Any, output: OutputAudit, answers: Answers) -> None:
    a, b = answers.own, answers.other
    if output.kind == "classes":
        a, b = probabilities(a, "classes"), probabilities(b, "classes")
    x, y = a.flatten(), b.flatten()
    low, high = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
    if output.kind in ("score", "classes"):
        low, high = min(low, 0.0), max(high, 1.0)
    margin = 0.04 * (high - low) or 0.5
    low, high = low - margin, high + margin
    threshold = {"score": 0.5, "logit": 0.0}.get(output.kind)
    if threshold is not None and low < threshold < high:
        for left, width, bottom, height in (
            (low, threshold - low, threshold, high - threshold),
            (threshold, high - threshold, low, threshold - low),
        ):
            axes.fill_between([left, left + width], bottom, bottom + height, color=OTHER, alpha=0.08, linewidth=0)
    axes.plot([low, high], [low, high], "-", color=GREY, linewidth=1, zorder=1)
    keep = _thinned(len(x))
    axes.plot(
        x[keep].numpy(),
        y[keep].numpy(),
        "o",
        color=OWN,
        markersize=3.5,
        markeredgewidth=0,
        alpha=0.25 if len(keep) > 500 else 0.6,
        rasterized=len(keep) > VECTOR,
        zorder=2,
    )
    if not output.symmetric:
        for rank, worst in enumerate(output.worst, 1):
            own, other = worst.own, worst.other
            if output.kind == "classes":  # one class on both axes: that of this strand
                row = int((answers.examples == worst.example).nonzero()[0])
                at = worst.own_at or 0
                own, other = float(a[row, at]), float(b[row, at])
            _mark(axes, own, other, rank)
    notes = [f"Pearson {output.pearson:.3f}" if output.pearson is not None else "Pearson not defined"]
    if output.flipped_share is not None:
        notes.append(f"{percent(output.flipped_share)} of decisions flip (shaded)" if threshold is not None else
                     f"{percent(output.flipped_share)} of decisions flip")  # fmt: skip
    if output.fold_mean is not None:
        notes.append(f"{output.fold_mean:.3g}-fold on average")
    what = {"classes": "probability of a class", "score": "probability"}.get(output.kind, output.kind)
    axes.set(
        xlim=(low, high),
        ylim=(low, high),
        aspect="equal",
        xlabel=f"{what}, this strand",
        ylabel=f"{what}, other strand",
        title=f"{_title(output)}\n{', '.join(notes)}",
    )


def _mark(axes: Any, x: float, y: float, rank: int) -> None:
    axes.plot([x], [y], "o", markersize=8, markerfacecolor="none", markeredgecolor=OTHER, markeredgewidth=1.3, zorder=3)
    axes.annotate(
        str(rank), (x, y), xytext=(6, 4), textcoords="offset points", color=OTHER, fontsize=9, fontweight="bold"
    )


def _histogram(axes: Any, output: OutputAudit, answers: Answers) -> None:
    each = discordance(answers.own, answers.other, output.kind).flatten()
    top = float(each.max())
    top = top if top > 1e-9 else 1e-9  # rounding is one bar at zero
    axes.hist(each.numpy(), bins=40, range=(0.0, top), color=OWN, alpha=0.85, log=len(each) > 200)
    if not output.symmetric:
        lines = [worst.discordance for worst in output.worst]
        for line in lines:
            axes.axvline(line, color=OTHER, linewidth=1, alpha=0.8)
        if lines:
            axes.annotate(
                "worst",
                (min(lines), 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(-4, -3),
                textcoords="offset points",
                ha="right",
                va="top",
                color=OTHER,
            )
    median = "" if output.jsd_median is None else f"median {output.jsd_median:.3g} bits"
    axes.set(
        xlabel="Jensen-Shannon divergence of the strands, bits",
        ylabel="examples and channels" if output.kind != "classes" else "examples",
        title=f"{_title(output)}\n{median}",
    )


def _worst_profile(axes: Any, output: OutputAudit, answers: Answers) -> None:
    worst = output.worst[0] if output.worst else None
    row = 0 if worst is None else int((answers.examples == worst.example).nonzero()[0])
    channel = 0 if worst is None else worst.task
    for y, colour, label, style in (
        (answers.own, OWN, "this strand", "-"),
        (answers.other, OTHER, "other strand", "--"),
    ):
        p = probabilities(y[row : row + 1], output.kind).reshape(-1, y.shape[-1])[channel]
        axes.plot(range(len(p)), p.numpy(), style, color=colour, linewidth=1.1, label=label)
    name = "" if worst is None else _drawable(worst.name)
    bits = "" if worst is None else f", {worst.discordance:.3g} bits"
    axes.set(
        xlabel="position",
        ylabel="probability",
        ylim=(0, None),
        title=f"1: {name}, channel {channel}{bits}",
    )
    axes.legend(frameon=False, fontsize=8)


def _thinned(count: int) -> Tensor:
    """Which points are drawn: all, or MOST of them evenly spread."""
    if count <= MOST:
        return torch.arange(count)
    return (torch.arange(MOST) * math.ceil(count / MOST)) % count
