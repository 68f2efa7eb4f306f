"""Charts by matplotlib, in the colours of the page."""

from __future__ import annotations

import io
import re
from typing import Any

import matplotlib as mpl
from IPython.display import HTML

mpl.use("svg")
import matplotlib.pyplot as plt

from drawing.svg import COLOURS, figure

# What matplotlib draws with; each is replaced by the page's variable of that name.
PAINT = {
    "ink": "#010203",
    "mute": "#040506",
    "line": "#070809",
    "a": "#0a0b0c",
    "b": "#0d0e0f",
    "c": "#101112",
    "bad": "#131415",
}
STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 11,
    "axes.edgecolor": PAINT["mute"],
    "axes.labelcolor": PAINT["ink"],
    "axes.titlecolor": PAINT["ink"],
    "axes.titlesize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": PAINT["line"],
    "grid.linewidth": 0.7,
    "text.color": PAINT["ink"],
    "xtick.color": PAINT["mute"],
    "ytick.color": PAINT["mute"],
    "xtick.labelcolor": PAINT["ink"],
    "ytick.labelcolor": PAINT["ink"],
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.prop_cycle": mpl.cycler(color=[PAINT["a"], PAINT["b"], PAINT["c"], PAINT["bad"], PAINT["mute"]]),
}


class chart:  # noqa: N801 - read as `with chart(…) as c`
    """``with chart(name) as c:`` draw on ``c.axes``; afterwards ``c.show(caption)`` is the figure."""

    def __init__(
        self, name: str, *, rows: int = 1, columns: int = 1, width: float = 6.6, height: float = 3.2, **options: Any
    ) -> None:
        self.name, self.options = name, {"squeeze": True, **options}
        self.rows, self.columns, self.size = rows, columns, (width, height)

    def __enter__(self) -> chart:
        self._rc = mpl.rc_context({**STYLE, "svg.hashsalt": self.name})
        self._rc.__enter__()
        self.figure, self.axes = plt.subplots(
            self.rows, self.columns, figsize=self.size, layout="constrained", **self.options
        )
        return self

    def __exit__(self, *why: Any) -> None:
        buffer = io.StringIO()
        if why[0] is None:
            self.figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        plt.close(self.figure)
        self._rc.__exit__(*why)
        self.svg = _page_colours(buffer.getvalue(), self.name)

    def show(self, caption: str) -> HTML:
        return figure(self.svg, caption)


def _page_colours(svg: str, name: str) -> str:
    svg = svg[svg.find("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    for word, paint in PAINT.items():
        svg = svg.replace(paint, COLOURS[word])
    # Ids such as axes_1 are the same in every figure of a page.
    svg = re.sub(
        r'\bid="(figure|axes|patch|line2d|text|matplotlib\.axis|xtick|ytick|legend|PathCollection|LineCollection|FillBetween\w*|PolyCollection|QuadMesh)_\d+"',
        "",
        svg,
    )
    width = re.search(r'viewBox="0 0 ([\d.]+)', svg)
    points = float(width[1]) if width else 480
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    return svg.replace("<svg", f'<svg role="img" style="width:{points * 4 / 3:.0f}px"', 1)
