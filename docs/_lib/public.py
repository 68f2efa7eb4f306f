"""Which names are public, and on which page of the API each is."""

from __future__ import annotations

import importlib

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
