"""``{public} MODULE``: every public name of a module, by autodoc, so that none is missing from the page."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from docutils import nodes
from public import home_of, public
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class PublicDirective(SphinxDirective):
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        module = self.arguments[0]
        lines = ["```{eval-rst}"]
        for name in public(module):
            lines += [*_autodoc(module, name), ""]
        lines.append("```")
        parsed = nodes.section()
        parsed.document = self.state.document
        self.state.nested_parse(_lines(lines, module), self.content_offset, parsed)
        return parsed.children


def _autodoc(module: str, name: str) -> list[str]:
    value = getattr(importlib.import_module(module), name)
    if inspect.isclass(value):
        kind = "autoexception" if issubclass(value, BaseException) else "autoclass"
        return [f".. {kind}:: {module}.{name}", "   :members:"]
    if callable(value):
        return [f".. autofunction:: {module}.{name}"]
    return [f".. autodata:: {home_of(module, name)}.{name}", "   :no-value:"]


def _lines(lines: list[str], source: str) -> Any:
    from docutils.statemachine import StringList

    return StringList(lines, source=source)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("public", PublicDirective)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
