"""The built pages, and a browser to look at them with."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docs.site import DOCS

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def html() -> Path:
    """The folder of the built pages: RCPROOF_HTML, or where the documented command puts it."""
    folder = Path(os.environ.get("RCPROOF_HTML") or DOCS / "_build" / "html")
    if not (folder / "index.html").is_file():
        pytest.skip("the pages are not built: sphinx-build -W -j auto -b html docs docs/_build/html")
    return folder


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright comes with the extra `docs`")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield opened
        opened.close()
