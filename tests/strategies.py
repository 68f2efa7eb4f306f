"""What the tests draw: the public strategies of :mod:`rcproof.testing`."""

from rcproof.testing import (
    MAX_LENGTH,
    Case,
    conv_cases,
    normal,
    pool_cases,
    randomise,
    seeds,
    signed_permutations,
    transpose_cases,
)
from rcproof.testing import representations as closed_representations

__all__ = [
    "MAX_LENGTH",
    "Case",
    "closed_representations",
    "conv_cases",
    "normal",
    "pool_cases",
    "randomise",
    "seeds",
    "signed_permutations",
    "transpose_cases",
]
