"""Small drawings: boxes, arrows, grids and words, in the colours of the page."""

from __future__ import annotations

import html
from collections.abc import Sequence

from IPython.display import HTML

# Each is a variable of docs/_static/rcproof.css, which has a value for light and one for dark.
COLOURS = {
    "ink": "var(--rp-ink)",
    "mute": "var(--rp-mute)",
    "line": "var(--rp-line)",
    "fill": "var(--rp-fill)",
    "a": "var(--rp-a)",
    "b": "var(--rp-b)",
    "c": "var(--rp-c)",
    "bad": "var(--rp-bad)",
    "none": "none",
}


class Svg:
    """A drawing of fixed size in its own units; every method returns the drawing."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.parts: list[str] = []

    def _add(self, part: str) -> Svg:
        self.parts.append(part)
        return self

    def rect(
        self,
        x: float,
        y: float,
        w: float,
        h: float,
        colour: str = "fill",
        *,
        opacity: float = 1,
        edge: str = "none",
        r: float = 0,
    ) -> Svg:
        fill = f'fill="{COLOURS[colour]}" fill-opacity="{opacity:.3g}" stroke="{COLOURS[edge]}"'
        return self._add(f'<rect x="{x:.5g}" y="{y:.5g}" width="{w:.5g}" height="{h:.5g}" rx="{r}" {fill}/>')

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        size: float = 13,
        colour: str = "ink",
        anchor: str = "middle",
        bold: bool = False,
    ) -> Svg:
        weight = ' font-weight="600"' if bold else ""
        return self._add(
            f'<text x="{x:.5g}" y="{y:.5g}" font-size="{size}" fill="{COLOURS[colour]}" text-anchor="{anchor}"'
            f' dominant-baseline="central"{weight}>{html.escape(words)}</text>'
        )

    def line(
        self,
        x1: float,
        y1: float,
        x2: float,
        y2: float,
        colour: str = "ink",
        *,
        width: float = 1.4,
        dash: str = "",
        arrow: bool = False,
    ) -> Svg:
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        ends = f'x1="{x1:.5g}" y1="{y1:.5g}" x2="{x2:.5g}" y2="{y2:.5g}"'
        self._add(f'<line {ends} stroke="{COLOURS[colour]}" stroke-width="{width}"{dashed}/>')
        return self._head(x1, y1, x2, y2, colour) if arrow else self

    def arrow(self, x1: float, y1: float, x2: float, y2: float, colour: str = "ink", **options: object) -> Svg:
        return self.line(x1, y1, x2, y2, colour, arrow=True, **options)  # type: ignore[arg-type]

    def _head(self, x1: float, y1: float, x2: float, y2: float, colour: str) -> Svg:
        length = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5 or 1
        ux, uy = (x2 - x1) / length, (y2 - y1) / length
        points = [(x2, y2), (x2 - 8 * ux - 4 * uy, y2 - 8 * uy + 4 * ux), (x2 - 8 * ux + 4 * uy, y2 - 8 * uy - 4 * ux)]
        return self._add(
            f'<polygon points="{" ".join(f"{x:.5g},{y:.5g}" for x, y in points)}" fill="{COLOURS[colour]}"/>'
        )

    def path(
        self, points: Sequence[tuple[float, float]], colour: str = "ink", *, width: float = 1.6, dash: str = ""
    ) -> Svg:
        d = "M" + " L".join(f"{x:.5g},{y:.5g}" for x, y in points)
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        return self._add(f'<path d="{d}" fill="none" stroke="{COLOURS[colour]}" stroke-width="{width}"{dashed}/>')

    def circle(
        self, x: float, y: float, r: float, colour: str = "fill", *, edge: str = "ink", opacity: float = 1
    ) -> Svg:
        paint = f'fill="{COLOURS[colour]}" fill-opacity="{opacity}" stroke="{COLOURS[edge]}"'
        return self._add(f'<circle cx="{x:.5g}" cy="{y:.5g}" r="{r}" {paint}/>')

    def box(self, x: float, y: float, w: float, h: float, words: str, colour: str = "fill", *, size: float = 13) -> Svg:
        """A labelled box, centred words."""
        self.rect(
            x,
            y,
            w,
            h,
            colour,
            opacity=0.16 if colour != "fill" else 1,
            edge=colour if colour != "fill" else "line",
            r=5,
        )
        lines = words.split("\n")
        for i, word in enumerate(lines):
            self.text(x + w / 2, y + h / 2 + (i - (len(lines) - 1) / 2) * size * 1.3, word, size=size)
        return self

    def cells(
        self,
        x: float,
        y: float,
        words: Sequence[str],
        colours: Sequence[str],
        *,
        size: float = 26,
        opacity: float = 0.28,
    ) -> Svg:
        """A row of squares with a word in each."""
        for i, (word, colour) in enumerate(zip(words, colours, strict=True)):
            self.rect(x + i * size, y, size, size, colour, opacity=opacity if colour != "fill" else 1, edge="line")
            if word:
                self.text(x + (i + 0.5) * size, y + size / 2, word, size=size * 0.48)
        return self

    def matrix(
        self, x: float, y: float, values: Sequence[Sequence[float]], colour: Sequence[Sequence[str]], size: float = 20
    ) -> Svg:
        """Squares whose opacity is the size of a value (scaled to 1); a dot marks what is negative."""
        for i, row in enumerate(values):
            for j, value in enumerate(row):
                cx, cy = x + j * size, y + i * size
                self.rect(cx, cy, size, size, "fill", edge="line")
                if value:
                    self.rect(
                        cx + 1, cy + 1, size - 2, size - 2, colour[i][j], opacity=0.12 + 0.83 * min(1, abs(value))
                    )
                if value < 0:
                    self.circle(cx + size / 2, cy + size / 2, size / 11, "ink", edge="none")
        return self

    def html(self, title: str) -> str:
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {self.width:.5g} {self.height:.5g}"'
            f' style="width:{self.width:.5g}px"><title>{html.escape(title)}</title>{"".join(self.parts)}</svg>'
        )

    def show(self, caption: str) -> HTML:
        """The drawing as the output of a cell, with its caption."""
        return figure(self.html(caption), caption)


def figure(inner: str, caption: str) -> HTML:
    """A picture in a box that scrolls by itself, and its caption."""
    words = f"<figcaption>{html.escape(caption)}</figcaption>"
    return HTML(f'<figure class="rp-figure"><div class="rp-scroll" tabindex="0">{inner}</div>{words}</figure>')
