"""The README's figure, light and dark: ``python -m drawing.readme`` (with docs/_lib on the path) draws it anew."""

from __future__ import annotations

import re
from pathlib import Path

from drawing.theory import representation

STATIC = Path(__file__).resolve().parents[2] / "_static"


def palettes() -> dict[str, dict[str, str]]:
    """The page's colours by theme, from its style sheet."""
    css = (STATIC / "rcproof.css").read_text(encoding="utf-8")
    blocks = {"light": r"^body \{(.*?)\}", "dark": r'^body\[data-theme="dark"\] \{(.*?)\}'}
    return {
        theme: dict(re.findall(r"(--rp-\w+): (#\w+)", re.search(block, css, re.DOTALL | re.MULTILINE)[1]))  # type: ignore[index]
        for theme, block in blocks.items()
    }


def figures() -> dict[str, str]:
    """File name → SVG with the colours of one theme written out."""
    made = {}
    for theme, colours in palettes().items():
        svg = re.sub(r"var\((--rp-\w+)\)", lambda m, c=colours: c[m[1]], representation().html("Conjoined and RCPS"))
        made[f"readme_{theme}.svg"] = svg.replace("<svg ", '<svg font-family="sans-serif" ', 1) + "\n"
    return made


if __name__ == "__main__":
    for name, svg in figures().items():
        (STATIC / name).write_text(svg, encoding="utf-8")
