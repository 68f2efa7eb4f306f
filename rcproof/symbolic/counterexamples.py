"""How a false statement is refuted: an exact search over small instances, and the true statement beside it.

A :class:`Refutation` is a statement about instances (sizes, weights, inputs), the instances from small to
large, and a *twin*: the statement as it should be, for which the same search must find nothing. That the
search finds nothing proves nothing; the twins are proved elsewhere (the lemma is named). The counterexample,
in contrast, is a proof: both sides are exact rational numbers, and they differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from rcproof.symbolic.statements import REFUTED, Evidence, Statement, require
from rcproof.symbolic.tensors import show

#: An instance by name: sizes, weights, inputs.
Instance = dict[str, Any]
#: The two sides that a statement says are equal.
Sides = tuple[Any, Any]


def refute(statement: Callable[[Instance], Sides], instances: Iterable[Instance]) -> tuple[Instance, Sides, int] | None:
    """The first instance at which the two sides differ, with them and the number tried; None if there is none.

    ``instances`` come from small to large, so what is found is minimal in their order.
    """
    for count, instance in enumerate(instances, 1):
        lhs, rhs = statement(instance)
        if lhs != rhs:
            return instance, (lhs, rhs), count
    return None


@dataclass(frozen=True)
class Refutation:
    """A false statement with its true twin.

    Attributes:
        name: what is refuted, in a word or two.
        text: the false statement, and what goes wrong.
        latex: the false equation.
        sides: both sides of it at an instance.
        instances: the search space, small to large.
        twin, twin_sides, twin_instances: the corrected statement; sides and instances default to the same.
        proved: the lemma that proves the twin.
    """

    name: str
    text: str
    latex: str
    sides: Callable[[Instance], Sides]
    instances: Callable[[], Iterable[Instance]]
    twin: str
    proved: str
    twin_sides: Callable[[Instance], Sides] | None = None
    twin_instances: Callable[[], Iterable[Instance]] | None = None

    def find(self) -> tuple[Instance, Sides, int] | None:
        """The counterexample."""
        return refute(self.sides, self.instances())

    def replay(self) -> Evidence:
        """Find the counterexample again, and none to the twin."""
        found = self.find()
        require(found is not None, f"{self.name}: no counterexample found")
        assert found is not None
        instance, (lhs, rhs), count = found
        instances = tuple((self.twin_instances or self.instances)())
        require(bool(instances), f"{self.name}: nothing to try on the twin")
        other = refute(self.twin_sides or self.sides, instances)
        require(other is None, f"{self.name}: the twin fails too, at {other}")
        at = ", ".join(f"{k} = {show(v)}" for k, v in instance.items())
        lines = (
            f"counterexample, the first in order of size: {at}",
            f"  one side is {show(lhs)}, the other {show(rhs)}",
            f"true instead: {self.twin} ({self.proved}); no counterexample among {len(instances)} instances",
        )
        return Evidence(count, lines)

    def statement(self) -> Statement:
        """As a statement of T13."""
        return Statement(f"T13.{self.name}", self.text, self.latex, REFUTED, self.replay, source="not in the paper")
