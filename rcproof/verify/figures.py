"""Observed differences against their bounds, as a figure. Needs matplotlib, from the extra ``plots``."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rcproof.errors import RcproofError

if TYPE_CHECKING:
    from rcproof.verify.bounds import BoundsFound

_COLOURS = {"box": "#9467bd", "input": "#ff7f0e", "run": "#1f77b4", "pair": "#2ca02c"}
_WHAT = {
    "box": "before the run, all inputs",
    "input": "this input, any order of sums",
    "run": "each run",
    "pair": "both runs, less what they share",
}


def differences_figure(found: Sequence[BoundsFound]) -> Any:
    """A ``matplotlib`` figure: for each precision difference against bound, and how many times larger the bound is."""
    figure = _figure((9.0, 3.6 * max(len(found), 1)))
    for row, one in enumerate(found):
        scatter = figure.add_subplot(len(found), 2, 2 * row + 1)
        spread = figure.add_subplot(len(found), 2, 2 * row + 2)
        _scatter(scatter, one)
        _histogram(spread, one)
    figure.set_layout_engine("constrained")
    return figure


def _figure(size: tuple[float, float]) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise RcproofError("a figure needs matplotlib", fix="run pip install 'rcproof[plots]'") from None
    return Figure(figsize=size)


def _pairs(found: BoundsFound, kind: str) -> tuple[list[float], list[float]]:
    """Bounds and differences of a kind, element by element, where both are finite and the bound is not zero."""
    bounds, differences = [], []
    for sample in found.samples:
        if sample.kind == kind:
            for o, b in zip(sample.observed, sample.bound, strict=True):
                if math.isfinite(o) and math.isfinite(b) and b > 0:
                    bounds.append(b)
                    differences.append(o)
    return bounds, differences


def _scatter(axes: Any, found: BoundsFound) -> None:
    seen = [v for kind in _COLOURS for v in _pairs(found, kind)[1] if v > 0]
    floor = min(seen, default=1e-300) / 4
    ends = [floor]
    for kind, colour in _COLOURS.items():
        bounds, differences = _pairs(found, kind)
        if bounds:
            shown = [max(v, floor) for v in differences]
            axes.plot(bounds, shown, ".", color=colour, markersize=4, alpha=0.6, label=_WHAT[kind])
            ends += [*bounds, *shown]
    axes.plot([min(ends), max(ends)], [min(ends), max(ends)], "-", color="black", linewidth=0.8)
    axes.set(
        xscale="log", yscale="log", xlabel="bound", ylabel="difference", title=f"{found.precision}: below the line"
    )
    if len(ends) > 1:
        axes.legend(fontsize=7)


def _histogram(axes: Any, found: BoundsFound) -> None:
    for kind, colour in _COLOURS.items():
        bounds, differences = _pairs(found, kind)
        times = [math.log10(b / o) for b, o in zip(bounds, differences, strict=True) if o > 0]
        if times:
            edges = [i / 4 for i in range(math.floor(4 * min(times)), math.ceil(4 * max(times)) + 2)]
            axes.hist(times, bins=edges, color=colour, alpha=0.6, label=_WHAT[kind])
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set(xlabel="log₁₀ bound / difference", ylabel="elements", title=f"{found.precision}: how loose")


def as_svg(figure: Any) -> str:
    """A figure as SVG text, to put into a page."""
    from matplotlib import rc_context

    text = io.StringIO()
    with rc_context({"svg.hashsalt": "rcproof"}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    found = text.getvalue()
    return found[found.index("<svg") :]


def as_png(figure: Any) -> bytes:
    """A figure as PNG data."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=150)
    return data.getvalue()
