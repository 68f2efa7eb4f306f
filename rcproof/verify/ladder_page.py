"""A ladder's findings as one file: an HTML page that needs no other, a PNG figure, or JSON."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Sequence
from pathlib import Path

from rcproof.errors import RcproofError
from rcproof.files import replacing
from rcproof.verify.figures import as_png, as_svg, differences_figure
from rcproof.verify.ladder import Ladder
from rcproof.verify.report import Report

FORMATS = (".html", ".png", ".json")

_STYLE = """
body { font: 15px/1.45 sans-serif; margin: 2em auto; max-width: 62em; padding: 0 1em; color: #222; }
table { border-collapse: collapse; margin: .6em 0 1.6em; font-size: 13px; }
th, td { text-align: left; padding: .15em .8em .15em 0; border-bottom: 1px solid #ddd; vertical-align: top; }
.ok { color: #167a2f; } .fail { color: #b00020; font-weight: bold; }
svg { max-width: 100%; height: auto; }
"""


def check_format(path: str | os.PathLike[str]) -> str:
    """The suffix of a report's file; :class:`~rcproof.errors.RcproofError` if it is none of ``FORMATS``."""
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise RcproofError(
            "file of a report", got=repr(str(path)), expected=f"a name that ends in {', '.join(FORMATS)}"
        )
    return suffix


def write_page(ladder: Ladder, path: str | os.PathLike[str]) -> None:
    """Write what the ladder found, in the format that the name says. An existing file stays if writing fails.

    HTML and PNG hold the differences against their bounds, so PNG needs the level ``bounds``; JSON holds everything.
    """
    suffix = check_format(path)
    if suffix == ".png":
        if not ladder.bounds:
            raise RcproofError("a figure of differences against bounds", got="no bounds", fix="run the level 'bounds'")
        data = as_png(differences_figure(ladder.bounds))
    elif suffix == ".json":
        data = json.dumps(ladder.to_dict(), indent=1, ensure_ascii=False, allow_nan=False).encode()
    else:
        data = page(ladder).encode()
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def page(ladder: Ladder) -> str:
    """The HTML page."""
    verdict = '<span class="ok">all checks hold</span>' if ladder.passed else '<span class="fail">NOT equal</span>'
    parts = [
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><title>rcproof verify</title>",
        f"<style>{_STYLE}</style></head><body>",
        f"<h1>rcproof verify: {verdict}</h1>",
        _table(("", ""), list(ladder.facts.items())) if ladder.facts else "",
    ]
    parts += [f"<p>Not covered: {html.escape(why)}</p>" for why in ladder.not_covered]
    if ladder.bounds:
        parts.append("<h2>Differences against their bounds</h2>")
        parts.append(as_svg(differences_figure(ladder.bounds)))
        parts.append(_bounds_table(ladder))
    parts += [_section(report) for report in ladder.reports]
    return "\n".join([*parts, "</body></html>\n"])


def _bounds_table(ladder: Ladder) -> str:
    rows = []
    for found in ladder.bounds:
        for kind, figures in found.facts.items():
            numbers = [f"{figures[key]:.3g}" for key in ("difference", "bound", "times", "least", "median")]
            rows.append((found.precision, kind, *numbers))
    columns = ("precision", "bound", "largest difference", "largest bound", "times", "closest case", "median case")
    return _table(columns, rows)


def _section(report: Report) -> str:
    rows = [
        ("ok" if c.passed else "FAIL", c.name, f"{c.error:.2e}", f"{c.tolerance:.0e}", c.detail) for c in report.checks
    ]
    lines = [f"{name}: {value}" for name, value in report.facts.items()]
    lines += [f"note: {note}" for note in report.notes]
    lines.append(f"seed {report.seed}; " + ", ".join(f"{k} {v}" for k, v in report.environment.items()))
    facts = "".join(f"<p>{html.escape(line)}</p>" for line in lines)
    title = html.escape(report.title)
    return f"<h2>{title}</h2>{_table(('', 'check', 'error', 'tolerance', 'detail'), rows)}{facts}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(c)}</th>" for c in columns)
    body = []
    for row in rows:
        mark = {"ok": "ok", "FAIL": "fail"}.get(row[0], "")
        cells = "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row)
        body.append(f"<tr class='{mark}'>{cells}</tr>" if mark else f"<tr>{cells}</tr>")
    return f"<table><tr>{head}</tr>{''.join(body)}</table>"
