"""Cells of commands: a cell that begins with ``%%shell`` is shown as the commands alone, in a shell's colours.

They run when the page is built, and one that fails, fails the build.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

MAGIC = "%%shell"


def show_commands(app: Sphinx, document: nodes.document) -> None:
    for block in document.findall(nodes.literal_block):
        text = block.astext()
        if text.startswith(MAGIC):
            commands = text.partition("\n")[2]
            block.children = [nodes.Text(commands)]
            block.rawsource = commands
            block["language"] = "sh"


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("doctree-read", show_commands)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
