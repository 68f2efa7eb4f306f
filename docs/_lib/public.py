"""Which names are public, and on which page of the API each is."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

MODULES = (
    "rcproof",
    "rcproof.nn",
    "rcproof.convert",
    "rcproof.verify",
    "rcproof.checkpoints",
    "rcproof.models",
    "rcproof.testing",
)


def public(module: str) -> list[str]:
    """The names that a module shows and that no module of MODULES before it does."""
    names = [n for n in importlib.import_module(module).__all__ if n != "__version__"]
    earlier = MODULES[: MODULES.index(module)]
    shown = {id(getattr(importlib.import_module(m), n)) for m in earlier for n in importlib.import_module(m).__all__}
    return [n for n in names if id(getattr(importlib.import_module(module), n)) not in shown]


def home_of(module: str, name: str) -> str:
    """The module in which a constant is assigned."""
    for path in sorted(Path(str(importlib.import_module(module).__file__)).parent.glob("*.py")):
        if re.search(rf"^{name}\b.*=", path.read_text(encoding="utf-8"), re.MULTILINE):
            return module if path.stem == "__init__" else f"{module}.{path.stem}"
    raise LookupError(f"{module}.{name} is assigned nowhere")
