"""From a trained conjoined network to RCPS weights of the same function, proved and checked.

The public names below are loaded when they are first used, so ``import rcproof`` costs no torch:

======================================  =====================================================================
``rc stack unstack tie``                the strand algebra (:mod:`rcproof.strand`)
``Representation strand_pairs``         how the reverse complement acts on a tensor
``dna tokens``
``Conjoined``                           any network run on both strands and merged
``convert ConvertConfig``               conjoined network → RCPS weights and a certificate
``couple uncouple``                     add or remove trainable weights between the strands
``save load``                           files that describe themselves
``read_model untie``                    a checkpoint of any format; an RCPS network as one of ordinary layers
``check_file``                          whether a converted file proves what it claims
``check_equivalence``                   the same function? the same answer on both strands? how far from it?
``check_equivariance audit``
``RcproofError``                        every mistake of the caller's, told in one line
======================================  =====================================================================
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rcproof.checking.check import check_file
    from rcproof.checkpoints import load, read_model, save
    from rcproof.conjoined import Conjoined
    from rcproof.convert import ConvertConfig, convert
    from rcproof.convert.untie import untie
    from rcproof.errors import RcproofError
    from rcproof.nn.couple import couple, uncouple
    from rcproof.strand import Representation, dna, rc, stack, strand_pairs, tie, tokens, unstack
    from rcproof.verify import audit, check_equivalence, check_equivariance

__version__ = "0.1.0"

__all__ = [
    "Conjoined",
    "ConvertConfig",
    "RcproofError",
    "Representation",
    "__version__",
    "audit",
    "check_equivalence",
    "check_equivariance",
    "check_file",
    "convert",
    "couple",
    "dna",
    "load",
    "rc",
    "read_model",
    "save",
    "stack",
    "strand_pairs",
    "tie",
    "tokens",
    "uncouple",
    "unstack",
    "untie",
]

_HOME = {
    "rc": "strand",
    "stack": "strand",
    "unstack": "strand",
    "tie": "strand",
    "Representation": "strand",
    "strand_pairs": "strand",
    "dna": "strand",
    "tokens": "strand",
    "Conjoined": "conjoined",
    "convert": "convert",
    "ConvertConfig": "convert",
    "couple": "nn.couple",
    "uncouple": "nn.couple",
    "save": "checkpoints",
    "load": "checkpoints",
    "read_model": "checkpoints",
    "untie": "convert.untie",
    "check_file": "checking.check",
    "check_equivalence": "verify",
    "check_equivariance": "verify",
    "audit": "verify",
    "RcproofError": "errors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})


class _Package(ModuleType):
    """Keeps ``rcproof.convert`` the function: importing the subpackage of that name does not rebind it."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
