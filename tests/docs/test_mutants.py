"""Broken pages, each of which the tests of the pages must catch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.docs.looking import complaints, open_page
from tests.docs.site import from_network, lacking, missing_anchors, sources, unreachable, unset_maths

NAVIGATION = "<nav class='sidebar-tree'><a href='#'>x</a></nav>"
SHELL = f"<html><head>{{head}}</head><body>{NAVIGATION}<article><h1>x</h1>{{body}}</article>"


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        ("(T4)=\n", "", "its label"),
        ("theory.t4()", "theory.t5()", "a picture"),
        ("```{statements} T4\n```", "", "all statements"),
        ('replay("T4")', 'replay("T5")', "a replay that ends in an assert"),
        ('assert all(o.status == "holds" for o in outcomes)', "outcomes", "a replay that ends in an assert"),
        ("## In the paper", "## Elsewhere", "the paper"),
    ],
)
def test_theorem_page_that_lacks_something(before: str, after: str, what: str) -> None:
    text = sources()["theory/t04"]
    assert before in text and lacking(text, "T4") == []
    assert lacking(text.replace(before, after), "T4") == [what]


def test_page_that_no_toctree_names() -> None:
    assert unreachable({**sources(), "guide/forgotten": "# Forgotten"}) == {"guide/forgotten"}
    pages = sources()
    pages["theory/index"] = pages["theory/index"].replace("\nt07\n", "\n")
    assert unreachable(pages) == {"theory/t07"}


def test_statement_that_no_page_shows() -> None:
    assert missing_anchors(["<p id='T1.a'>"], ["T1.a", "T1.b"]) == {"T1.b"}


@pytest.mark.parametrize(
    "text",
    [
        "<script src='https://example.invalid/x.js'></script>",
        "<script src='//example.invalid/x.js'></script>",
        "<link rel='stylesheet' href='http://example.invalid/x.css'>",
        "<img srcset='https://example.invalid/x.png 2x'>",
        "<style>@import 'https://example.invalid/x.css'</style>",
        "@font-face { src: url(https://example.invalid/x.woff2) }",
    ],
)
def test_page_that_loads_from_a_network(text: str) -> None:
    assert from_network(text)


def test_links_are_not_loads() -> None:
    assert from_network("<a href='https://example.invalid'>x</a><script src='../x.js'></script>") == []


@pytest.mark.parametrize("text", [r"<p>\(x\)</p>", r"<p>$$ x $$</p>", r"<p>a \rho b</p>", "<span class='katex-error'>"])
def test_maths_that_is_not_set(text: str) -> None:
    assert unset_maths(text)
    assert unset_maths(r"<pre>$$ \rho</pre>") == []


def test_formula_that_katex_does_not_know() -> None:
    quickjs = pytest.importorskip("quickjs", reason="KaTeX runs in QuickJS, of the extra `docs`")
    pytest.importorskip("sphinx", reason="the extra `docs`")
    import sys

    from tests.docs.site import DOCS

    sys.path.insert(0, str(DOCS / "_ext"))
    from katex_math import render

    assert 'class="katex"' in render(r"\rho x", False)
    with pytest.raises(quickjs.JSException, match="Undefined control sequence"):
        render(r"\nosuchmacro", False)


@pytest.mark.parametrize(
    ("head", "body", "what"),
    [
        ("", "<table><tr><td style='min-width: 900px'>wide</td></tr></table>", "wide in a window"),
        ("", "<div style='width: 700px; position: relative; left: 0'>x</div>", "sticks out"),
        (
            "<style>body{overflow-x:hidden}</style>",
            "<table style='width: 900px'><tr><td>x</td></tr></table>",
            "sticks out",
        ),
        (
            "<style>.base{display:block;height:1px}</style>",
            "<span class='katex-html'><span class='base'></span></span>",
            "formula",
        ),
        ("", "<figure><svg style='height: 0'></svg></figure>", "figure"),
        ("<style>h1{display:none}</style>", "", ""),
    ],
)
def test_page_that_looks_wrong(browser: Any, tmp_path: Path, head: str, body: str, what: str) -> None:
    path = tmp_path / "page.html"
    path.write_text(SHELL.format(head=f"<meta name='viewport' content='width=device-width'>{head}", body=body))
    page, problems = open_page(browser, path.as_uri(), "phone", "light")
    assert problems == []
    found = complaints(page)
    assert any(what in one for one in found) if what else found == []
    page.context.close()


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("<script>console.error('no')</script>", "console"),
        ("<script>undefined.x</script>", "exception"),
        ("<img src='missing.png'>", "failed"),
        ("<script src='http://127.0.0.1:9/x.js'></script>", "network"),
    ],
)
def test_page_that_has_problems(browser: Any, tmp_path: Path, body: str, what: str) -> None:
    path = tmp_path / "page.html"
    path.write_text(SHELL.format(head="", body=body))
    page, problems = open_page(browser, path.as_uri(), "desk", "light")
    assert any(one.startswith(what) for one in problems)
    page.context.close()
