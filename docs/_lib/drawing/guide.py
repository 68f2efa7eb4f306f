"""Pictures of representations, and figures of the guide."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from IPython.display import HTML

from drawing.charts import chart
from drawing.svg import Svg

Row = tuple[str, str, Sequence[str]]  # words at the left, colour, cells


def _grid(svg: Svg, x: float, y: float, rows: Sequence[Row]) -> None:
    for i, (words, colour, cells) in enumerate(rows):
        svg.text(x - 8, y + 13 + 28 * i, words, anchor="end", size=11, colour="mute")
        svg.cells(x, y + 28 * i, list(cells), [colour] * len(cells))


def _before_after(rows: Sequence[Row], turned: Sequence[Row], name: str, caption: str) -> HTML:
    columns = max(len(cells) for _, _, cells in rows)
    width = 26 * columns
    svg = Svg(2 * width + 290, 28 * len(rows) + 34)
    _grid(svg, 90, 10, rows)
    _grid(svg, 90 + width + 170, 10, turned)
    middle = 10 + 14 * len(rows)
    svg.arrow(100 + width, middle, 150 + width, middle).text(125 + width, middle - 14, "ρ")
    svg.text(90 + width / 2, 28 * len(rows) + 22, name, size=12, bold=True)
    return svg.show(caption)


def reversal() -> HTML:
    rows = [("A", "a", "1001"), ("C", "b", "0100"), ("G", "b", "0010"), ("T", "a", "0000")]
    turned = [("A", "a", "0000"), ("C", "b", "0100"), ("G", "b", "0010"), ("T", "a", "1001")]
    return _before_after(
        rows,
        turned,
        "reversal",
        "ACGA becomes TCGT: rows and columns are reversed, a half turn. Also for a profile (plus, minus).",
    )


def length() -> HTML:
    rows = [("narrow", "a", "1530"), ("wide", "c", "2442")]
    turned = [("narrow", "a", "0351"), ("wide", "c", "2442"[::-1])]
    return _before_after(
        rows,
        turned,
        "length",
        "Two smoothings of one track. Read from the other end, the narrow one is still the narrow one.",
    )


def fixed() -> HTML:
    rows = [("IRF1", "a", [".9"]), ("CTCF", "b", [".1"])]
    return _before_after(rows, rows, "fixed", "Scores of a locus do not depend on the strand it is read from.")


def pairs() -> HTML:
    rows = [("task 1 +", "a", "12"), ("task 1 −", "b", "34"), ("task 2 +", "a", "56"), ("task 2 −", "b", "78")]
    turned = [("task 1 +", "a", "43"), ("task 1 −", "b", "21"), ("task 2 +", "a", "87"), ("task 2 −", "b", "65")]
    return _before_after(rows, turned, "pairs:2", "Strands are exchanged within each task; tasks stay in their order.")


def perm() -> HTML:
    rows = [("A", "a", "100"), ("T", "a", "001"), ("G", "b", "010"), ("C", "b", "000")]
    turned = [("A", "a", "100"), ("T", "a", "001"), ("G", "b", "000"), ("C", "b", "010")]
    return _before_after(
        rows,
        turned,
        "perm:1,0,3,2 or dna:ATGC",
        "Rows in the order A T G C: complement exchanges neighbours, and AGT becomes ACT.",
    )


def profiles(before: torch.Tensor, after: torch.Tensor, again: torch.Tensor) -> HTML:
    """A network's plus-strand profile from either strand, before and after conversion. Each is (2, positions)."""
    positions = range(before.shape[-1])
    with chart("profiles", rows=2, height=4.2, sharex=True, sharey=True) as c:
        for axes, (one, two), title in zip(
            c.axes, ((before, again), (after, after)), ("one strand: two answers", "converted: one answer"), strict=True
        ):
            axes.plot(positions, one[0].tolist(), lw=1.6, label="plus strand, read from the given strand")
            axes.plot(positions, two[0].tolist(), lw=1.2, ls="--", label="plus strand, read from the other strand")
            axes.set_title(title, loc="left")
            axes.set_ylabel("probability")
        c.axes[0].legend(fontsize=9)
        c.axes[1].set_xlabel("position")
    return c.show(
        "A profile before and after. Above: the network's answers from the two strands. Below: after conversion."
    )


def discordance(given: torch.Tensor, other: torch.Tensor, merged: torch.Tensor) -> HTML:
    """Probabilities from the two strands against each other, before and after conversion."""
    with chart("discordance", columns=2, width=7.2, height=3.4, sharex=True, sharey=True) as c:
        c.axes[0].plot(given.tolist(), other.tolist(), ".", ms=4, alpha=0.6)
        c.axes[1].plot(merged.tolist(), merged.tolist(), ".", ms=4, alpha=0.6)
        for axes, title in zip(c.axes, ("one strand", "converted"), strict=True):
            axes.set(title=title, xlabel="from the given strand", aspect="equal")
            axes.axhline(0.5, lw=0.7, ls=":"), axes.axvline(0.5, lw=0.7, ls=":")
        c.axes[0].set_ylabel("from the other strand")
    return c.show(
        "Strand discordance of a trained network: the probability that it gives one sequence from either strand."
    )
