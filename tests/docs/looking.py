"""What is looked for on a page in a browser."""

from __future__ import annotations

from typing import Any

SIZES = {"desk": (1280, 900), "phone": (390, 844)}
THEMES = ("light", "dark")

#: What sticks out of the window although it is in no box that scrolls by itself.
STICKS_OUT = """() => {
  const wide = document.documentElement.clientWidth + 1;
  const scrolls = e => {
    for (let p = e.parentElement; p && p !== document.body; p = p.parentElement) {
      const s = getComputedStyle(p);
      if (s.overflowX !== 'visible' || s.position === 'fixed') return true;
    }
    return false;
  };
  const found = [];
  for (const e of document.querySelectorAll('article *')) {
    const box = e.getBoundingClientRect();
    if (box.width > 1 && box.height > 1 && box.right > wide && !scrolls(e) && !e.closest('.katex-mathml'))
      found.push(e.tagName + '.' + (e.getAttribute('class') || ''));
  }
  return found.slice(0, 5);
}"""


def open_page(browser: Any, url: str, size: str, theme: str) -> tuple[Any, list[str]]:
    """A page as it is seen, and what went wrong on the way: console errors, exceptions, requests that failed."""
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
    page, problems = context.new_page(), []
    page.on("console", lambda m: problems.append(f"console: {m.text}") if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: problems.append(f"exception: {e}"))
    page.on("requestfailed", lambda r: problems.append(f"failed: {r.url}"))
    page.on("request", lambda r: problems.append(f"network: {r.url}") if r.url.startswith("http") else None)
    page.goto(url)
    page.wait_for_function("document.fonts.status === 'loaded'")
    return page, problems


def complaints(page: Any) -> list[str]:
    """What is wrong with a page that is open."""
    found = []
    inner, outer = page.evaluate("[innerWidth, document.documentElement.scrollWidth]")
    if outer > inner:
        found.append(f"the page is {outer} wide in a window of {inner}")
    found += [f"sticks out: {what}" for what in page.evaluate(STICKS_OUT)]
    for selector, what in (("article h1", "heading"), (".sidebar-tree a, .toc-drawer a", "navigation")):
        if page.locator(selector).count() == 0:
            found.append(f"no {what}")
    flat = "es => es.filter(e => e.checkVisibility() && e.getBoundingClientRect().height < 4).length"
    if page.locator(".katex-html").count() and page.eval_on_selector_all(".katex-html .base", flat):
        found.append("a formula has no height")
    if page.eval_on_selector_all("figure svg", flat):
        found.append("a figure has no height")
    return found
