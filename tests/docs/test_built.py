"""The built pages: every statement is on one, nothing comes from a network, all maths is set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rcproof.symbolic.theorems import LABELS, theorems
from tests.docs.site import from_network, missing_anchors, parse, sources, unset_maths

STATEMENTS = [s.name for t in theorems() for s in t.statements]


@pytest.fixture(scope="module")
def pages(html: Path) -> dict[str, str]:
    names = {*sources(), "genindex", "search"}  # a folder that was built before may hold pages that are gone
    built = {p.relative_to(html).as_posix(): p for p in sorted(html.rglob("*.html"))}
    return {n: p.read_text(encoding="utf-8") for n, p in built.items() if n.removesuffix(".html") in names}


def test_every_source_is_a_page(pages: dict[str, str]) -> None:
    assert {f"{name}.html" for name in sources()} <= set(pages)


def test_every_statement_is_an_anchor_once(pages: dict[str, str]) -> None:
    assert missing_anchors(pages.values(), STATEMENTS) == set()
    ids = [i for page in pages.values() for i in parse(page).ids]
    assert [name for name in STATEMENTS if ids.count(name) != 1] == []
    theory = {t.label: pages[f"theory/t{int(t.label[1:]):02d}.html"] for t in theorems(LABELS)}
    for t in theorems(LABELS):
        assert missing_anchors([theory[t.label]], [s.name for s in t.statements]) == set()


def test_nothing_comes_from_a_network(html: Path, pages: dict[str, str]) -> None:
    styles = {p.name: p.read_text(encoding="utf-8") for p in html.rglob("*.css")}
    wrong = {name: found for name, text in {**pages, **styles}.items() if (found := from_network(text))}
    assert wrong == {}


def test_what_pages_load_is_there(html: Path, pages: dict[str, str]) -> None:
    for name, text in pages.items():
        for url in parse(text).loads:
            path = url.split("?")[0].split("#")[0]
            if path and not path.startswith("data:"):
                assert ((html / name).parent / path).resolve().is_file(), f"{name} loads {url}"


def test_maths_is_set(pages: dict[str, str]) -> None:
    assert {name: found for name, text in pages.items() if (found := unset_maths(text))} == {}
    assert sum(text.count('class="katex"') for text in pages.values()) > len(STATEMENTS)


def test_figures_follow_the_theme(pages: dict[str, str]) -> None:
    for label in LABELS:
        page = pages[f"theory/t{int(label[1:]):02d}.html"]
        assert "<figure" in page and "var(--rp-" in page


def test_search_knows_the_pages(html: Path) -> None:
    text = (html / "searchindex.js").read_text(encoding="utf-8")
    index = json.loads(text[text.index("(") + 1 : text.rindex(")")])
    assert set(index["docnames"]) >= set(sources())
    assert {"palindrom", "conjoin", "certif"} & set(index["terms"])
