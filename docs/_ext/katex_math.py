"""Maths set by KaTeX when the pages are built: they load no script, and a macro that KaTeX does not know is an error.

KaTeX runs in QuickJS, a JavaScript engine that comes as a Python package, so a build needs neither Node nor a network.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import quickjs
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

SCRIPT = Path(__file__).with_name("katex") / "katex.min.js"


@functools.cache
def _context(macros: str) -> quickjs.Context:
    context = quickjs.Context()
    context.eval(SCRIPT.read_text(encoding="utf-8"))
    context.eval(
        "function render(tex, display) { return katex.renderToString(tex, "
        f"{{displayMode: display, throwOnError: true, strict: 'ignore', macros: {macros}}}) }}"
    )
    return context


def render(tex: str, display: bool, macros: dict[str, str] | None = None) -> str:
    """HTML (and MathML, for screen readers) of a formula. Raises ``quickjs.JSException`` if KaTeX cannot set it."""
    return str(_context(json.dumps(macros or {})).get("render")(tex, display))


def _html(self: Any, node: nodes.Node, display: bool) -> str:
    tex = node.astext()
    try:
        return render(tex, display, self.builder.config.katex_macros)
    except quickjs.JSException as why:
        where = f"{node.document['source'] if node.document else ''}:{node.line or '?'}"
        raise ExtensionError(f"{where}: KaTeX cannot set {tex!r}: {str(why).splitlines()[0]}") from why


def visit_inline(self: Any, node: nodes.math) -> None:
    self.body.append(f'<span class="math">{_html(self, node, False)}</span>')
    raise nodes.SkipNode


def visit_display(self: Any, node: nodes.math_block) -> None:
    self.body.append(f'<div class="math" tabindex="0">{_html(self, node, True)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_config_value("katex_macros", {}, "html", dict)
    app.add_html_math_renderer("katex", (visit_inline, None), (visit_display, None))
    app.add_css_file("katex/katex.min.css")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
