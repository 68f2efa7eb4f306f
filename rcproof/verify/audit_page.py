"""An audit as one file: a figure, or an HTML page with the figure, the tables and what to do, that needs no other."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from pathlib import Path

from rcproof.errors import RcproofError, printable
from rcproof.verify.audit_figure import audit_figure
from rcproof.verify.audit_report import AuditReport
from rcproof.verify.figures import as_png, as_svg

FORMATS = (".png", ".svg", ".html")

_STYLE = """
body { font: 15px/1.45 sans-serif; margin: 2em auto; max-width: 62em; padding: 0 1em; color: #222; background: #fff; }
table { border-collapse: collapse; margin: .6em 0 1.6em; font-size: 13px; }
caption { text-align: left; font-weight: bold; padding-bottom: .3em; }
th, td { text-align: left; padding: .15em .8em .15em 0; border-bottom: 1px solid #ddd; vertical-align: top; }
td { overflow-wrap: anywhere; }
svg { max-width: 100%; height: auto; }
"""


def check_figure_format(path: str | os.PathLike[str]) -> str:
    """The suffix of a figure's file; :class:`~rcproof.errors.RcproofError` if it is none of ``FORMATS``."""
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise RcproofError("figure", got=repr(str(path)), expected=f"a name that ends in {', '.join(FORMATS)}")
    return suffix


def figure_data(report: AuditReport, suffix: str, title: str = "strand audit", advice: Sequence[str] = ()) -> bytes:
    """The file of a figure, in the format of ``suffix``; a page has the tables and ``advice`` too.

    Raises :class:`~rcproof.errors.RcproofError` if matplotlib is missing or there is nothing to draw.
    """
    figure = audit_figure(report)
    if suffix == ".png":
        return as_png(figure)
    svg = as_svg(figure)
    if suffix == ".svg":
        return f'<?xml version="1.0" encoding="utf-8" standalone="no"?>\n{svg}'.encode()
    return _page(report, svg, title, advice).encode()


def _page(report: AuditReport, svg: str, title: str, advice: Sequence[str]) -> str:
    parts = [
        f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><title>{_text(title)}</title>",
        f"<style>{_STYLE}</style></head><body>",
        f"<h1>{_text(title)}</h1>",
        *(f"<p>{_text(line)}</p>" for line in advice),
        svg,
    ]
    for caption, columns, rows in report.tables():
        parts.append(f"<table><caption>{_text(caption)}</caption><tr>")
        parts += [f"<th>{_text(cell)}</th>" for cell in columns]
        parts.append("</tr>")
        parts += ["<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows]
        parts.append("</table>")
    facts = [*report.facts.items(), *report.environment.items()]
    parts.append("<p>" + "; ".join(f"{_text(name)}: {_text(value)}" for name, value in facts) + "</p>")
    return "\n".join([*parts, "</body></html>\n"])


def _text(text: object) -> str:
    return html.escape(printable(text))
