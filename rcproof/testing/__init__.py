"""Contract tests: is *your* model RC-equivariant, and are *your* RC layers right?

Needs the extra ``testing`` (hypothesis and pytest). Everything is loaded when it is first used.

===========================================  ================================================================
``RCEquivariantModel RCLayer``               pytest mix-ins: name the shapes and how ρ acts, inherit the tests
``check_rc_model check_rc_layer``            the same checks as functions that return a report
``Contract``                                 what a model promises: shapes, representations, dtypes, …
``conv_reference lift_reference``            the known answer of a convolution, and of any ordinary layer
``ChannelsLast``                             a module of tensors (N, L, C), seen as one of (N, C, L)
``sequences representations``                hypothesis strategies: DNA, actions of ρ, …
``layers networks conjoined``                … tied layers, ordinary networks, conjoined networks
``conv_cases transpose_cases pool_cases``    … options of a layer, with a length that it accepts
===========================================  ================================================================

Equivariance never stands alone here. A constant model is equivariant, and one that returns NaN cannot be told from
one by ``allclose(…, equal_nan=True)``; a convolution that doubles its output is equivariant too. So a model must
also answer, depend on what it reads, treat the examples of a batch one by one and survive being copied, saved and
trained, and a layer must agree with a slow function that is known to be right.

What is outside of a contract of models and layers: data sets (which examples are reversed is no function that the
model computes), command lines and their options, and ``torch.jit.script``, which this package does not support either.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rcproof.errors import RcproofError

if TYPE_CHECKING:
    from rcproof.testing.contract import ChannelsLast, Contract
    from rcproof.testing.drawn_layers import Case, DrawnLayer, conv_cases, layers, pool_cases, transpose_cases
    from rcproof.testing.drawn_networks import DrawnNetwork, conjoined, networks
    from rcproof.testing.drawn_sequences import sequences
    from rcproof.testing.drawn_strands import representations, signed_permutations
    from rcproof.testing.drawn_values import MAX_LENGTH, seeds
    from rcproof.testing.known import conv_reference, lift_reference
    from rcproof.testing.mixins import RCEquivariantModel, RCLayer
    from rcproof.testing.running import check_rc_layer, check_rc_model
    from rcproof.testing.values import normal, randomise

__all__ = [
    "MAX_LENGTH",
    "Case",
    "ChannelsLast",
    "Contract",
    "DrawnLayer",
    "DrawnNetwork",
    "RCEquivariantModel",
    "RCLayer",
    "check_rc_layer",
    "check_rc_model",
    "conjoined",
    "conv_cases",
    "conv_reference",
    "layers",
    "lift_reference",
    "networks",
    "normal",
    "pool_cases",
    "randomise",
    "representations",
    "seeds",
    "sequences",
    "signed_permutations",
    "transpose_cases",
]

_HOME = {
    "contract": ("ChannelsLast", "Contract"),
    "drawn_layers": ("Case", "DrawnLayer", "conv_cases", "layers", "pool_cases", "transpose_cases"),
    "drawn_networks": ("DrawnNetwork", "conjoined", "networks"),
    "drawn_sequences": ("sequences",),
    "drawn_strands": ("representations", "signed_permutations"),
    "drawn_values": ("MAX_LENGTH", "seeds"),
    "known": ("conv_reference", "lift_reference"),
    "mixins": ("RCEquivariantModel", "RCLayer"),
    "running": ("check_rc_layer", "check_rc_model"),
    "values": ("normal", "randomise"),
}


def __getattr__(name: str) -> Any:
    home = next((module for module, names in _HOME.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(f"{__name__}.{home}")
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        if package not in ("hypothesis", "pytest"):
            raise
        raise RcproofError(f"rcproof.testing.{name} needs {package}", fix="pip install 'rcproof[testing]'") from missing
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
