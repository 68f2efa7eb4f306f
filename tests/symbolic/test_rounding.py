"""T12: the bound, its rules, and simulated arithmetic; wrong rules are noticed."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import sympy as sp

from rcproof.symbolic import rounding
from rcproof.symbolic.checker import Refused
from rcproof.symbolic.rounding import STATEMENTS, Bounds, bound, box, gamma, linear, plus
from rcproof.symbolic.simulation import conjoined, dot, draw_weights, layer, rcps, rounded
from rcproof.symbolic.statements import run
from tests.symbolic.variants import assert_replays, by_name

ALL = by_name(STATEMENTS["T12"])
ONE = Fraction(1)


@pytest.mark.parametrize("name", ALL)
def test_statement(name: str) -> None:
    assert_replays(ALL[name])


# -- simulated arithmetic is IEEE arithmetic ------------------------------------------------------------------------


@pytest.mark.parametrize(("bits", "kind"), [(11, np.float16), (24, np.float32), (53, np.float64)])
def test_rounded_is_ieee(bits: int, kind: Any) -> None:
    draws = random.Random(bits)
    for _ in range(200):
        x = Fraction(draws.randint(-(10**6), 10**6), draws.randint(10**3, 10**4))
        # Through float64 first would round twice: compare where the operands are exact.
        a, b = kind(draws.randint(-999, 999)) / kind(8), kind(draws.randint(1, 999)) / kind(16)
        assert rounded(Fraction(float(a)) * Fraction(float(b)), bits) == Fraction(float(a * b))
        assert rounded(Fraction(float(a)) + Fraction(float(b)), bits) == Fraction(float(a + b))
        near = rounded(x, bits)
        assert abs(near - x) <= abs(x) / 2**bits
        assert rounded(near, bits) == near
    assert rounded(Fraction(0), bits) == 0


def test_ties_go_to_even() -> None:
    assert [rounded(Fraction(n, 2), 2) for n in (5, 7, 9, -5)] == [2, 4, 4, -2]


# -- every rule bounds what it says it bounds ------------------------------------------------------------------------

BITS = 5
UNIT = Fraction(1, 2**BITS)


def number(draws: random.Random, most: Fraction = ONE) -> Fraction:
    return most * Fraction(draws.randint(-64, 64), 64)


def pair(draws: random.Random, limits: Bounds) -> list[tuple[Fraction, Fraction]]:
    """An exact value and a computed one for every channel, at the edge of the bounds as often as not."""
    found = []
    for size, error in zip(limits.size, limits.error, strict=True):
        exact = draws.choice((size, -size, number(draws, size)))
        found.append((exact, rounded(exact, 60) + draws.choice((error, -error, number(draws, error)))))
    return found


def check(found: list[tuple[Fraction, Fraction]], limits: Bounds) -> Fraction:
    """Assert the bounds; how much of the error bound was used."""
    used = Fraction(0)
    for (exact, computed), size, error in zip(found, limits.size, limits.error, strict=True):
        assert abs(exact) <= size
        assert abs(computed - exact) <= error
        used = max(used, abs(computed - exact) / error) if error else used
    return used


def once(draws: random.Random) -> dict[str, Fraction]:
    """Draw values within their bounds and apply every operation; how much of each bound was used."""
    x = Bounds((ONE, Fraction(2)), (Fraction(draws.randint(0, 24), 64), Fraction(draws.randint(0, 24), 64)))
    weight = [[[rounded(number(draws), BITS)] for _ in range(2)] for _ in range(2)]
    bias = [rounded(number(draws), BITS) for _ in range(2)]
    scale = [w[0][0] for w in weight]
    values, again = pair(draws, x), pair(draws, x)

    def used(f: Callable[[int, list[Fraction], list[Fraction], int | None], Fraction], limits: Bounds) -> Fraction:
        exact, computed = ([v[side] for v in values] for side in (0, 1))
        exact2, computed2 = ([v[side] for v in again] for side in (0, 1))
        return check([(f(c, exact, exact2, None), f(c, computed, computed2, BITS)) for c in range(2)], limits)

    def sum_(a: Fraction, b: Fraction, bits: int | None) -> Fraction:
        return a + b if bits is None else rounded(a + b, bits)

    return {
        "linear": used(
            lambda o, v, _, bits: dot([(weight[o][c][0], v[c]) for c in range(2)], bias[o], bits),
            rounding.linear(x, weight, bias, UNIT),
        ),
        "affine": used(
            lambda c, v, _, bits: dot([(scale[c], v[c])], bias[c], bits), rounding.affine(x, scale, bias, UNIT)
        ),
        "plus": used(lambda c, v, w, bits: sum_(v[c], w[c], bits), rounding.plus(x, x, UNIT)),
        "mean": used(lambda c, v, w, bits: _mean([v[c], w[c], v[c]], bits), rounding.mean(x, 3, UNIT)),
        "relu": used(lambda c, v, _, bits: max(v[c], Fraction(0)), rounding.relu(x)),
        "halved": used(lambda c, v, _, bits: v[c] / 2, rounding.halved(x)),
    }


def test_the_rules_bound_simulated_errors() -> None:
    draws = random.Random(4)
    found = [once(draws) for _ in range(300)]
    for name in found[0]:
        assert max(f[name] for f in found) > Fraction(1, 4), f"{name} is far too wide"


@pytest.mark.parametrize(
    ("attribute", "wrong"),
    [
        ("gamma", lambda n, u: Fraction(0)),
        ("gamma", lambda n, u: u / 4),
        ("plus", lambda x, y, u: plus(x, y, Fraction(0))),
        ("halved", lambda x: Bounds(x.size, tuple(e / 4 for e in x.error))),
        ("relu", lambda x: Bounds(x.size, tuple(e / 2 for e in x.error))),
        ("linear", lambda x, w, b, u: linear(Bounds(x.size, (Fraction(0),) * 2), w, b, u)),
    ],
)
def test_rules_that_are_too_narrow_are_noticed(attribute: str, wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounding, attribute, wrong)
    draws = random.Random(4)
    with pytest.raises(AssertionError):
        [once(draws) for _ in range(300)]


def _mean(row: list[Fraction], bits: int | None) -> Fraction:
    total = dot([(ONE, v) for v in row], Fraction(0), bits) / len(row)
    return total if bits is None else rounded(total, bits)


def test_gamma() -> None:
    assert gamma(3, Fraction(1, 16)) == Fraction(3, 13)
    with pytest.raises(ValueError, match="4 operations with unit roundoff 1/4 can lose everything"):
        gamma(4, Fraction(1, 4))


def test_the_networks_are_one_function_and_the_bound_holds() -> None:
    draws = random.Random(1)
    weights = draw_weights(draws, 8)
    x = tuple(tuple(rounded(number(draws), 8) for _ in range(5)) for _ in range(4))
    assert rcps(weights, x, None) == conjoined(weights, x, None)
    limit = bound(weights, box([ONE] * 4), 3, Fraction(1, 2**8))
    assert abs(rcps(weights, x, 8) - conjoined(weights, x, 8)) <= limit
    assert bound(weights, box([ONE] * 4), 3, Fraction(1, 2**24)) < limit / 2**15


def test_layer_is_a_convolution() -> None:
    draws = random.Random(2)
    weights, bias = draw_weights(draws, 8)[0]
    x = tuple(tuple(number(draws) for _ in range(5)) for _ in range(4))
    found = layer(x, weights, bias, None)
    for o in range(2):
        expected = np.array([np.correlate(np.array(x[c]), np.array(weights[o][c]), "valid") for c in range(4)])
        assert list(found[o]) == list(expected.sum(0) + bias[o])


# -- wrong rules and wrong lemmas -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "attribute", "wrong"),
    [
        ("T12.gamma", "_gamma", lambda k: k * rounding.u),
        ("T12.gamma", "_gamma", lambda k: k * rounding.u / (1 + k * rounding.u)),
        ("T12.gamma", "_gamma", lambda k: (k - 1) * rounding.u / (1 - k * rounding.u)),
        ("T12.examples", "bound", lambda weights, x, positions, unit: Fraction(0)),
        ("T12.examples", "bound", lambda *args: bound(*args) / 2000),
        ("T12.examples", "rcps", lambda weights, x, bits: rcps(weights, x, bits) / 2),
    ],
)
def test_wrong_ones_fail(name: str, attribute: str, wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounding, attribute, wrong)
    outcome = run("T12", ALL[name])
    assert outcome.status == "failed"


def test_a_certificate_needs_a_nonnegative_numerator() -> None:
    with pytest.raises(Refused, match="may be negative"):
        rounding._certificate(-rounding.u, -rounding.u, sp.S.One, "−u ≥ 0")
    with pytest.raises(Refused, match="off by one"):
        rounding._certificate(rounding.u, 2 * rounding.u, sp.S.One, "off by one")
