"""What is proved, put on the pages from ``rcproof.symbolic`` itself: nothing of it is retyped.

``{statement} NAME…`` shows statements where the prose speaks of them; ``{statements} LABEL`` shows those of a theorem
that the page has not shown yet. Each is an anchor of its own name, for ``{ref}`` and for links from elsewhere.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Set
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective
from sphinx_proof.domain import ProofDomain
from sphinx_proof.nodes import unenumerable_node

from rcproof.symbolic.statements import Statement
from rcproof.symbolic.theorems import theorems

KINDS = {"all sizes": "theorem", "algebra": "theorem", "refuted": "refutation"}


@functools.cache
def known() -> dict[str, Statement]:
    return {s.name: s for t in theorems() for s in t.statements}


def labels_of(theorem: str) -> list[str]:
    return [s.name for t in theorems([theorem]) for s in t.statements]


class StatementsDirective(SphinxDirective):
    """``{statement}``: the named statements."""

    required_arguments = 1
    final_argument_whitespace = True
    option_spec = {"steps": directives.flag}  # noqa: RUF012 - what docutils asks for

    def wanted(self) -> list[str]:
        return self.arguments[0].split()

    def run(self) -> list[nodes.Node]:
        shown: list[nodes.Node] = []
        for name in self.wanted():
            if name not in known():
                raise self.error(f"rcproof.symbolic has no statement {name!r}")
            if name in self.shown:
                raise self.error(f"statement {name!r} is on a page already: {self.shown[name]}")
            self.shown[name] = self.env.docname
            shown.append(self.node(known()[name]))
        return shown

    @property
    def shown(self) -> dict[str, str]:
        return _shown(self.env)

    def node(self, statement: Statement) -> nodes.Node:
        kind = "lemma" if statement.name.endswith(".values") else KINDS.get(statement.kind, "check")
        node = unenumerable_node()
        node["ids"] = [nodes.make_id(statement.name), statement.name]
        node["classes"] = ["proof", kind, "statement"]
        node["realtype"] = kind
        node["label"] = node["title"] = statement.name
        title = nodes.title("", "", nodes.literal("", statement.name), ids=[nodes.make_id(statement.name)])
        title += nodes.Text(" ")
        title += nodes.inline("", statement.kind.partition(":")[0], classes=["kind"])
        node += title
        body = nodes.container(classes=[f"{kind}-content"])
        node += body
        body += nodes.paragraph("", "", *_words(statement.text))
        formula = nodes.math_block(statement.latex, statement.latex, nowrap=False, number=None, xml_space="preserve")
        self.set_source_info(formula)
        body += formula
        if statement.kind.startswith("finite"):
            body += _line("Checked on", statement.kind.partition(": ")[2] + ".")
        if statement.hypotheses:
            body += _line("Given", "; ".join(statement.hypotheses) + ".")
        body += _line("Source", statement.source + "." if statement.source else "see the theorem.")
        lines = statement.replay().lines
        if lines:
            body += _steps(lines, statement.kind)
        domain = self.env.domains["std"]
        domain.labels[statement.name.lower()] = (self.env.docname, statement.name, statement.name)  # type: ignore[attr-defined]
        domain.anonlabels[statement.name.lower()] = (self.env.docname, statement.name)  # type: ignore[attr-defined]
        return node


class RestDirective(StatementsDirective):
    """``{statements}``: the statements of a theorem that no ``{statement}`` of the page has shown."""

    def wanted(self) -> list[str]:
        return [name for name in labels_of(self.arguments[0]) if name not in self.shown]


# What a subscript may follow: a letter by itself, or one of the operators that carry one.
SUBSCRIPT = re.compile(
    r"(?<![A-Za-z])([A-Za-zρπγΔσδχΣ]|conv|Net|Conjoined|RCPS|unstack)_(\{[^}]*\}|\[[^\]]*\]|[A-Za-z0-9]+)"
)


def _words(text: str) -> list[nodes.Node]:
    """A statement's words; ρ_in and γ_{n+1} with their subscripts set as such."""
    found: list[nodes.Node] = []
    end = 0
    for match in SUBSCRIPT.finditer(text):
        below = match[2].strip("{}")
        found += [nodes.Text(text[end : match.start()] + match[1]), nodes.subscript("", below)]
        end = match.end()
    return [*found, nodes.Text(text[end:])]


def _line(word: str, text: str) -> nodes.paragraph:
    return nodes.paragraph("", "", nodes.strong("", word), *_words(f" {text}"), classes=["given"])


def _steps(lines: tuple[str, ...], kind: str) -> nodes.Node:
    what = {"all sizes": "The proof as the checker reads it", "refuted": "The counterexample"}.get(
        kind, "What was computed"
    )
    count = f"{len(lines)} line" + "s" * (len(lines) != 1)
    opened = nodes.raw("", f'<details class="steps"><summary>{what}, {count}</summary>', format="html")
    text = nodes.literal_block("", "\n".join(lines), language="text", classes=["steps"])
    return nodes.container("", opened, text, nodes.raw("", "</details>", format="html"))


def _shown(env: BuildEnvironment) -> dict[str, str]:
    if not hasattr(env, "statements_shown"):
        env.statements_shown = {}  # type: ignore[attr-defined]
    return env.statements_shown  # type: ignore[attr-defined, no-any-return]


def _purge(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    shown = _shown(env)
    for name in [n for n, doc in shown.items() if doc == docname]:
        del shown[name]


def _merge(app: Sphinx, env: BuildEnvironment, docnames: list[str], other: BuildEnvironment) -> None:
    found = {n: doc for n, doc in _shown(other).items() if doc in docnames}
    if twice := sorted(found.keys() & _shown(env).keys()):
        raise ExtensionError(f"statements on two pages: {', '.join(twice)}")
    _shown(env).update(found)


class Proofs(ProofDomain):
    """sphinx_proof's domain holds no data: its proofs are merged by an event. It does not say so, and -j would fail."""

    def merge_domaindata(self, docnames: Set[str], otherdata: dict[str, Any]) -> None:
        pass


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_domain(Proofs, override=True)
    app.add_directive("statement", StatementsDirective)
    app.add_directive("statements", RestDirective)
    app.connect("env-purge-doc", _purge)
    app.connect("env-merge-info", _merge)
    return {"parallel_read_safe": True, "parallel_write_safe": True, "env_version": 1}
