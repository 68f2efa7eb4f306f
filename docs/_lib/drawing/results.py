"""Charts of what was measured."""

from __future__ import annotations

import math

from IPython.display import HTML

from drawing.charts import PAINT, chart
from rcproof.verify.bounds import BoundsFound

KINDS = {
    "box": ("for every input in the box", "b"),
    "input": ("for this input", "a"),
    "run": ("for this run", "c"),
}


def bounds_chart(found: BoundsFound) -> HTML:
    """Observed differences of two networks against the bounds on them, element by element."""
    points: dict[str, list[tuple[float, float]]] = {}
    for sample in found.samples:
        for difference, bound in zip(sample.observed, sample.bound, strict=True):
            if bound > 0 and math.isfinite(bound):
                points.setdefault(sample.kind, []).append((bound, difference))
    seen = [d for pairs in points.values() for _, d in pairs if d > 0]
    floor = min(seen, default=1e-12) / 3
    with chart("bounds", height=3.4) as c:
        for kind, pairs in points.items():
            words, colour = KINDS.get(kind, (kind, "mute"))
            c.axes.plot(
                [b for b, _ in pairs],
                [max(d, floor) for _, d in pairs],
                ".",
                color=PAINT[colour],
                ms=4,
                alpha=0.7,
                label=words,
            )
        ends = [floor, max(b for pairs in points.values() for b, _ in pairs)]
        c.axes.plot(ends, ends, color=PAINT["bad"], lw=1)
        c.axes.set(xscale="log", yscale="log", xlabel="bound", ylabel="observed difference")
        c.axes.legend(fontsize=9)
    return c.show(f"Bounds against observed error in {found.precision}. Above the line the theorem would be false.")
