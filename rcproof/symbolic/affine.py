"""Numbers with unknowns in them, as far as linear equations need: what hypotheses look like before they are solved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any


class Nonlinear(Exception):
    """The hypotheses are not linear in the arrays that are to be found: fix some of them with a builder."""


@dataclass(frozen=True)
class Affine:
    """A number plus multiples of unknown entries."""

    number: Fraction
    parts: Mapping[Any, Fraction] = field(default_factory=dict)

    def __add__(self, other: Any) -> Affine:
        other = other if isinstance(other, Affine) else Affine(Fraction(other))
        keys = {**self.parts, **other.parts}
        parts = {k: self.parts.get(k, Fraction(0)) + other.parts.get(k, Fraction(0)) for k in keys}
        return Affine(self.number + other.number, {k: v for k, v in parts.items() if v})

    __radd__ = __add__

    def __mul__(self, other: Any) -> Affine:
        if isinstance(other, Affine):
            if self.parts and other.parts:
                raise Nonlinear("a product of two unknown entries in a hypothesis")
            return other * self.number if self.parts == {} else self * other.number
        return Affine(self.number * other, {k: v * other for k, v in self.parts.items() if other})

    __rmul__ = __mul__

    def without(self, key: Any) -> Affine:
        """All of it but the multiple of one entry."""
        return Affine(self.number, {k: v for k, v in self.parts.items() if k != key})

    def __gt__(self, other: Any) -> bool:
        raise Nonlinear("a maximum of unknown entries in a hypothesis")

    __lt__ = __gt__
