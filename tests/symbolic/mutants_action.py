"""False variants of every lemma of T1 and T2."""

from __future__ import annotations

from rcproof.symbolic.action import PI, C, F, G, L, M, P, i, o
from rcproof.symbolic.checker import Claim
from rcproof.symbolic.lifts import lift
from rcproof.symbolic.strands import array, mirrored
from rcproof.symbolic.terms import Add, Fun, Term
from tests.symbolic.mutations import (
    ENDS,
    OTHER_TERM,
    UNDECIDED,
    Mutation,
    halves_swapped,
    left_halves_swapped,
    negated,
    put,
    rhs,
    without,
)  # fmt: skip

OFFSET = put({i: i + 1}, "off by one position")
BACKWARDS = put({i: L - 1 - i}, "positions not reversed")
UNREVERSED = put({o: C - 1 - o}, "channels not reversed")
PERMUTED = put({o: PI(o)}, "one permutation too few")

_ACTION = [negated(), OFFSET, PERMUTED, without("signs")]
_STRAND = [put({o: F - 1 - o}, "channels of the strand reversed"), negated()]
_WHOLE = [put({o: 2 * F - 1 - o}, "strands swapped"), put({o: o + 1}, "off by one channel"), negated()]
_LIFT = [halves_swapped(), left_halves_swapped(), negated()]
_ONE_STRAND = rhs(lambda c: Fun("tau", c.equation.rhs.args), "another function")
_FLIP = put({o: 2 * G - 1 - o}, "strands of the result swapped")


def _twice(claim: Claim) -> Term:
    """D(g) + D(g) for D(g + h)."""
    assert isinstance(claim.equation.rhs, Add)
    return Add((claim.equation.rhs.args[0],) * 2)


def _one_flipped(claim: Claim) -> Term:
    """D(g)(ρx₀, x₁) for D(g)(ρx₀, ρx₁)."""
    xs = (mirrored("x0", 2 * F, L), array("x1"))
    return lift("g", *xs, into=(F, L), out=(G, M))(o, i)


MUTANTS: dict[str, list[Mutation]] = {
    "T1.action.signed.rank3": [*_ACTION, BACKWARDS],
    "T1.action.signed.rank2": [negated(), PERMUTED, without("signs")],
    "T1.action.signed.keep-length": [*_ACTION, BACKWARDS],
    "T1.action.reversal.rank3": [OFFSET, BACKWARDS, UNREVERSED],
    "T1.action.reversal.rank2": [UNREVERSED, negated(), put({o: o + 1}, "off by one channel")],
    "T1.action.tokens": [
        OFFSET,
        BACKWARDS,
        without("codes"),
        rhs(lambda c: Fun("pi", (c.equation.rhs,)), "one complement too few"),
    ],
    **{
        f"T1.unstack.{half}.{rank}": [*_STRAND, OFFSET if rank == "rank3" else put({o: o + 1}, "off by one channel")]
        for half in ("first", "second")
        for rank in ("rank3", "rank2")
    },
    **{f"T1.stack.unstack.{rank}": _WHOLE for rank in ("rank3", "rank2")},
    "T1.stack.swap.rank3": [halves_swapped(), negated(), OFFSET, BACKWARDS],
    "T1.stack.swap.rank2": [halves_swapped(), negated(), put({o: o + 1}, "off by one channel", UNDECIDED)],
    "T1.closed.pair.rank3": [negated(f"{ENDS}|{OTHER_TERM}"), OFFSET, without("signs")],
    "T1.closed.pair.rank2": [negated(f"{ENDS}|{OTHER_TERM}"), halves_swapped(), without("signs")],
    "T2.lift.equivariant.rank3": [*_LIFT, put({i: M - 1 - i}, "positions not reversed")],
    "T2.lift.equivariant.rank2": _LIFT,
    "T2.lift.equivariant.rank3to2": _LIFT,
    "T2.lift.equivariant.rank3.inputs2": [*_LIFT, rhs(_one_flipped, "one of two inputs not flipped")],
    "T2.lift.equivariant.closed": [negated(), halves_swapped(), without("signs")],
    "T2.functor.composition.rank3": [
        halves_swapped(),
        put({o: o + 1}, "off by one channel"),
        put({i: P - 1 - i}, "positions reversed"),
        _FLIP,
    ],
    "T2.functor.composition.rank2": [halves_swapped(), put({o: o + 1}, "off by one channel"), _FLIP],
    "T2.functor.sum": [
        rhs(_twice, "one summand twice"),
        put({i: i + 1}, "off by one position"),
        _FLIP,
    ],
    "T2.pointwise.rank3": [negated(), OFFSET, put({o: 2 * F - 1 - o}, "strands swapped"), _ONE_STRAND],
    "T2.pointwise.rank2": [negated(), put({o: 2 * F - 1 - o}, "strands swapped"), _ONE_STRAND],
    "T2.pointwise.rank3.binary": [negated(), OFFSET, rhs(lambda c: Fun("sigma", c.equation.rhs.args[::-1]), "swapped")],
}
