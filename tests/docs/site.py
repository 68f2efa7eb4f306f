"""What is required of the pages, as functions of their text, so that broken pages can be given to them too."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from html.parser import HTMLParser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
HIDDEN = ("_build", "_static", "_ext", "_lib")


def sources(folder: Path = DOCS) -> dict[str, str]:
    """Page name → source."""
    return {
        path.relative_to(folder).with_suffix("").as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*.md"))
        if path.relative_to(folder).parts[0] not in HIDDEN
    }


def toctree_entries(page: str, text: str) -> set[str]:
    """The pages that a page's toctrees name."""
    base = Path(page).parent
    found = set()
    for block in re.findall(r"^```\{toctree\}\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        lines = [line.strip() for line in block.splitlines() if line.strip() and not line.startswith(":")]
        found |= {(base / line).as_posix() for line in lines}
    return found


def unreachable(pages: Mapping[str, str], start: str = "index") -> set[str]:
    """Pages that no chain of toctrees leads to from the first."""
    seen, todo = set(), [start]
    while todo:
        page = todo.pop()
        if page not in seen and page in pages:
            seen.add(page)
            todo += toctree_entries(page, pages[page])
    return set(pages) - seen


def cells(text: str) -> list[str]:
    """The executed cells of a page."""
    return re.findall(r"^```\{code-cell\}[^\n]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def lacking(text: str, label: str) -> list[str]:
    """What a theorem's page does not have and should."""
    wanted = {
        "its label": rf"^\({label}\)=$",
        "a picture": rf"theory\.t{int(label[1:])}\(\)",
        "what fails": r"^## (What fails|Windows)",
        "a real network": r"^## On (a real network|real tensors)",
        "the paper": r"^## In the paper",
        "all statements": rf"^```\{{statements\}} {label}$" if label != "T13" else r"^```\{statement\}",
    }
    missing = [what for what, pattern in wanted.items() if not re.search(pattern, text, re.MULTILINE)]
    replays = [cell for cell in cells(text) if f'replay("{label}")' in cell]
    if not replays or not all(re.search(r"^assert .*\bholds\b", cell, re.MULTILINE) for cell in replays):
        missing.append("a replay that ends in an assert")
    return missing


class _Page(HTMLParser):
    """Ids, and what a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if given.get("id"):
            self.ids.append(str(given["id"]))
        if tag in ("script", "img", "iframe", "source", "audio", "video", "embed") and given.get("src"):
            self.loads.append(str(given["src"]))
        if tag == "link" and "canonical" not in str(given.get("rel")) and given.get("href"):
            self.loads.append(str(given["href"]))
        if given.get("srcset"):
            self.loads += [part.split()[0] for part in str(given["srcset"]).split(",")]


def parse(text: str) -> _Page:
    page = _Page()
    page.feed(text)
    return page


def from_network(text: str) -> list[str]:
    """What a page, script or style sheet would load from a network."""
    remote = re.compile(r"^(https?:)?//")
    found = [url for url in parse(text).loads if remote.match(url)]
    found += re.findall(r"""(?:@import|url\()\s*["']?((?:https?:)?//[^"')\s]+)""", text)
    return found


def missing_anchors(pages: Iterable[str], wanted: Iterable[str]) -> set[str]:
    """Names that are the id of nothing on any page."""
    ids = {i for page in pages for i in parse(page).ids}
    return set(wanted) - ids


def unset_maths(text: str) -> list[str]:
    """Formulas that stand on a page as they were typed, or that KaTeX marked as wrong."""
    shown = re.sub(r"<(script|style|pre|code|annotation|title)\b.*?</\1>", "", text, flags=re.DOTALL)
    shown = re.sub(r"<[^>]*>", "", shown)
    return re.findall(r"\\\(|\\\[|\$\$|\\(?:rho|stack|tie|operatorname|frac|sum)\b", shown) + re.findall(
        "katex-error", text
    )
