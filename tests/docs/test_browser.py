"""The main pages in a browser: at a desk and on a phone, light and dark."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docs.looking import SIZES, THEMES, complaints, open_page

MAIN = (
    "index", "guide/quickstart", "guide/convert", "guide/representations", "guide/audit", "guide/files",
    "theory/index", "theory/derivation", "theory/t03", "theory/t05", "theory/t12", "results/index", "results/accuracy",
    "api/nn", "architecture",
)  # fmt: skip


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", MAIN)
def test_page(browser: Any, html: Path, name: str, size: str, theme: str) -> None:
    page, problems = open_page(browser, (html / f"{name}.html").resolve().as_uri(), size, theme)
    assert problems + complaints(page) == []
    page.context.close()


@pytest.mark.parametrize("name", ["theory/t03", "theory/derivation"])
def test_maths_has_its_fonts(browser: Any, html: Path, name: str) -> None:
    page, _ = open_page(browser, (html / f"{name}.html").resolve().as_uri(), "desk", "light")
    assert page.locator(".katex-html").count() > 10
    assert page.evaluate(
        "[...document.fonts].filter(f => f.family.startsWith('KaTeX') && f.status === 'loaded').length"
    )
    page.context.close()


def test_figures_take_the_colours_of_the_theme(browser: Any, html: Path) -> None:
    seen = set()
    for theme in THEMES:
        page, _ = open_page(browser, (html / "theory" / "t05.html").resolve().as_uri(), "desk", theme)
        seen.add(page.eval_on_selector("figure svg text", "e => getComputedStyle(e).fill"))
        page.context.close()
    assert len(seen) == 2


def test_the_theme_button_changes_figures_too(browser: Any, html: Path) -> None:
    page, _ = open_page(browser, (html / "theory" / "t05.html").resolve().as_uri(), "desk", "light")
    seen = set()
    for _ in range(3):
        page.evaluate("document.querySelector('.theme-toggle').click()")
        seen.add(page.eval_on_selector("figure svg text", "e => getComputedStyle(e).fill"))
    assert len(seen) == 2
    page.context.close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(html: Path) -> Iterator[str]:
    """The pages by HTTP, from this machine: a search reads other pages, which a browser does not do with files."""
    handler = functools.partial(Quiet, directory=str(html))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_navigation_and_search(browser: Any, served: str) -> None:
    page, problems = open_page(browser, f"{served}/index.html", "desk", "light")
    page.click(".sidebar-tree a[href*='theory']")
    assert page.locator("article h1").inner_text().startswith("Theory")
    page.goto(f"{served}/search.html?q=conjoined")
    page.wait_for_selector("#search-results li a")
    assert page.locator("#search-results li a").count() > 3
    assert [p for p in problems if not p.startswith(f"network: {served}/")] == []
    page.context.close()
