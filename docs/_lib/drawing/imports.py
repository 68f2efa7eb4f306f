"""The package's parts and what they import, read from the code."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

from IPython.display import HTML

from drawing.svg import Svg

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = ROOT / "rcproof"


def rows() -> list[set[str]]:
    """The rows that the tests hold the package to: a part may import its own row and those before it."""
    tree = ast.parse((ROOT / "tests" / "test_package.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "LAYERS":
            return list(ast.literal_eval(node.value))
    raise LookupError("tests/test_package.py has no LAYERS")


def imports() -> Counter[tuple[str, str]]:
    """How often a module of one part imports from another, imports inside functions included."""
    found: Counter[tuple[str, str]] = Counter()
    for path in PACKAGE.rglob("*.py"):
        part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rcproof."):
                other = node.module.split(".")[1]  # type: ignore[union-attr]
                if other != part and not part.startswith("__"):
                    found[part, other] += 1
    return found


def picture() -> HTML:
    parts = [sorted(p for p in row if (PACKAGE / p).is_dir() or (PACKAGE / f"{p}.py").is_file()) for row in rows()]
    width, gap, x0 = 104.0, 62.0, 10.0
    place = {
        part: (x0 + (i + 0.5) * (640 / len(row)), 30 + gap * level)
        for level, row in enumerate(parts)
        for i, part in enumerate(row)
    }
    svg = Svg(660, 30 + gap * len(parts))
    most = max(imports().values())
    for (part, other), count in sorted(imports().items()):
        if part in place and other in place and place[part][1] > place[other][1]:
            (x1, y1), (x2, y2) = place[part], place[other]
            svg.line(x1, y1 - 13, x2, y2 + 13, "mute", width=0.5 + 2 * count / most)
    for level, row in enumerate(parts):
        for part in row:
            x, y = place[part]
            svg.rect(x - width / 2, y - 13, width, 26, "fill", r=5)
            svg.box(x - width / 2, y - 13, width, 26, part, "abc"[level % 3])
    return svg.show("What imports what, read from the code: every line goes up. Thicker lines are more imports.")
