"""T11: regular ≅ trivial ⊕ sign, block-diagonal layers, and the families; false variants are refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from rcproof.strand import Representation
from rcproof.symbolic import families
from rcproof.symbolic.bases import Character, character, dimension, equivariant_basis, taps
from rcproof.symbolic.evaluate import World
from rcproof.symbolic.families import family
from rcproof.symbolic.irreps import STATEMENTS, F, G, K, L, M, c, i
from rcproof.symbolic.statements import run
from rcproof.symbolic.terms import Add, Elem, If, Mul, num
from tests.symbolic.variants import (
    END,
    NO_EQUATION,
    NO_INSTANCE,
    Variant,
    assert_covered,
    assert_refused,
    assert_replays,
    assert_true_at_small_sizes,
    by_name,
    context,
    given,
    named,
    negated,
    ranges,
    read,
    scaled,
    sides,
    without,
)

ALL = by_name(STATEMENTS["T11"])
OTHER = "not the same term"


def kinds(world: World) -> Mapping[str, Any]:
    """e and f are ±1."""
    return {name: constant(world.rng.choice((-1, 1))) for name in "ef"}


def constant(value: int) -> Any:
    """An array of rank 0."""
    return lambda at: Fraction(value)


def no_sign(name: str) -> Any:
    """One of the two is 2."""
    return lambda world: {**kinds(world), name: constant(2)}


def added(t: Any) -> Any:
    """½(x⁺ + x⁻) on the second half too."""
    half, (p, m) = t.other.args[0], t.other.args[1].args
    return If(t.conds, t.then, Mul((half, Add((p, m.args[1])))))


def same_sign(e: Any) -> Any:
    """w = −w turned into w = w."""
    return replace(e, rhs=e.lhs)


BY = {
    "T11.trivial": [
        Variant("", "positions not reversed", read("rhs", "x", lambda c, j: (c, L - 1 - j))),
        Variant("", "the sign representation", scaled(-1)),
        Variant("", "another channel", read("lhs", "x", lambda c, j: (c + 1, j)), OTHER),
    ],
    "T11.sign": [
        Variant("", "the trivial representation", scaled(-1), "takes a product"),
        Variant("", "positions not reversed", read("rhs", "x", lambda c, j: (c, L - 1 - j))),
        Variant("", "a sum, not a difference", sides(lambda t: Add((t.args[0], t.args[1].args[1])), "lhs")),
    ],
    "T11.basis.inverse": [
        Variant("", "x⁻ added on both halves", sides(added, "lhs"), "no subterm|takes a product"),
        Variant("", "without the half", scaled(2, "lhs"), "decide takes"),
        Variant("", "another position", read("rhs", "x", lambda c, j: (c, j + 1)), OTHER),
    ],
    "T11.basis.plus": [
        Variant("", "twice p", scaled(2), OTHER),
        Variant("", "m instead of p", sides(lambda t: Elem("m", t.index)), OTHER),
        Variant("", "for all 2F channels", ranges((c, 2 * F), (i, L)), "do not decide"),
    ],
    "T11.basis.minus": [
        Variant("", "a sign", scaled(-1), OTHER),
        Variant("", "p instead of m", sides(lambda t: Elem("p", t.index)), OTHER),
        Variant("", "for all 2F channels", ranges((c, 2 * F), (i, L)), "do not decide"),
    ],
    "T11.block.plus": [
        Variant("", "W not equivariant", without("equivariant"), NO_EQUATION),
        Variant("", "W antisymmetric", negated("equivariant")),
        Variant("", "the other block's weights", read("rhs", "W", lambda o, c: (2 * G - 1 - o, c + 1))),
        Variant("", "all 2F channels", sides(lambda t: type(t)(t.op, t.var, 2 * F, t.body))),
    ],
    "T11.block.minus": [
        Variant("", "W not equivariant", without("equivariant"), NO_EQUATION),
        Variant("", "W antisymmetric", negated("equivariant")),
        Variant("", "a sign", scaled(-1), "no subterm|takes|linearity"),
    ],
    "T11.parity": [
        Variant("", "W not equivariant", without("equivariant"), NO_EQUATION),
        Variant("", "e no sign", without("square_e"), NO_EQUATION, builder=no_sign("e")),
        Variant("", "f no sign", without("square_f"), NO_EQUATION, builder=no_sign("f")),
        Variant("", "even where it is odd", sides(lambda t: t.args[1]), OTHER),
        Variant("", "taps not reversed", read("lhs", "W", lambda o, c, k: (o, c, K - 1 - k)), NO_INSTANCE),
    ],
    "T11.schur.dense": [
        Variant("", "an even block", given("odd", same_sign), END),
        Variant("", "no parity", without("odd"), NO_EQUATION),
        Variant("", "W′ = 1", sides(lambda t: num(1)), OTHER),
    ],
    "T11.schur.middle_tap": [
        Variant("", "an even block", given("odd", same_sign), END),
        Variant("", "the tap before", read("lhs", "W", lambda o, c, k: (o, c, k - 1)), OTHER),
        Variant("", "even K", context(equal=((K, 2 * M),)), "does not follow"),
    ],
}
VARIANTS = named(BY)


@pytest.mark.parametrize("name", ALL)
def test_statement(name: str) -> None:
    assert_replays(ALL[name])
    assert_true_at_small_sizes(ALL[name], kinds)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_false_variant_is_refused(variant: Variant) -> None:
    assert_refused(variant, ALL, kinds)


def test_every_proof_has_variants() -> None:
    assert_covered(ALL.values(), VARIANTS)


def test_families_against_elimination() -> None:
    """Types of the Mallet–Vert layers, from representations made here."""
    for a, b, x, y in ((1, 0, 0, 2), (2, 1, 1, 2), (0, 1, 3, 0)):
        into = Representation(tuple(range(a + b)), (1,) * a + (-1,) * b)
        out = Representation(tuple(range(x + y)), (1,) * x + (-1,) * y)
        for taps_count in (1, 2, 3, 4):
            basis = equivariant_basis(into, out, taps_count)
            assert len(basis) == family((a, b), (x, y), taps(taps_count))
            for w in basis:
                for o_, row in enumerate(w):
                    for c_, entry in enumerate(row):
                        sign = (1 if o_ < x else -1) * (1 if c_ < a else -1)
                        assert entry == tuple(sign * v for v in reversed(entry))


def test_a_pair_is_one_of_each() -> None:
    pair, types = Representation((1, 0)), Representation((0, 1), (1, -1))
    for other in (Representation((0,)), Representation((1, 0)), Representation((1, 0, 2), (-1, -1, 1))):
        for taps_count in (1, 2, 3):
            assert len(equivariant_basis(pair, other, taps_count)) == len(equivariant_basis(types, other, taps_count))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("T11.types", lambda *reps: dimension(*reps) + reps[1].pairs),
        ("T11.families", lambda *reps: dimension(*reps) + reps[0].negative * reps[2].fixed),
    ],
)
def test_wrong_counts_fail(name: str, wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(families, "dimension", wrong)
    assert run("T11", ALL[name]).status == "failed"


@pytest.mark.parametrize(
    "wrong",
    [
        lambda into, out, tap: family(into, out[::-1], tap),
        lambda into, out, tap: family(into, out, Character(tap.pairs + tap.fixed)),
        lambda into, out, tap: (into[0] + into[1]) * (out[0] + out[1]) * tap.size,
    ],
)
def test_wrong_families_fail(wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(families, "family", wrong)
    for name in ("T11.families", "T11.families.brute_force"):
        assert run("T11", ALL[name]).status == "failed"


def test_characters() -> None:
    assert character("dna:ACGTN") == Character(2, 1, 0)
    assert character(Representation((1, 0, 2, 3), (-1, -1, 1, -1))) == Character(1, 1, 1)
