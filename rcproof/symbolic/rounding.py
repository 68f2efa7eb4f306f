"""T12: how far apart the floating-point results of the two networks can be.

**Model.** Every addition, multiplication and division gives (exact)·(1 + δ) with |δ| ≤ u (round to nearest: u = 2^−p
for p bits; no overflow or underflow). Copies, flips, signs, comparisons, maxima, and products with 0, ½ or 1 are
exact. Sums may be taken in any order and with fused multiply-add; transforms that regroup products (Winograd,
FFT) and lower-precision products are not covered. γ_n = n·u/(1 − n·u), for n·u < 1.

**Bound.** For every array carry m ≥ |exact value| and e ≥ |computed − exact|. Each operation has a rule that gives
(m, e) of its output (the functions below); each rule is proved from three lemmas:

- T12.gamma: a product of at most n factors 1 + δ is 1 + θ with |θ| ≤ γ_n, and γ composes;
- T12.split: computed − exact = (rounding at the computed input) + (exact map at the computed input − at the exact);
- T12.lipschitz: the exact maps are Lipschitz, with Σ|w| for a linear map and 1 for relu and maxima.

The exact functions of RCPS(Φθ) and Conjoined(θ) are one (T5, copies and halves being exact), so
|fl(RCPS) − fl(Conjoined)| ≤ e_RCPS + e_Conjoined (T12.theorem). It holds before anything is run: it depends on
weights, input box and u alone.

**Of two runs.** Number the steps that both networks take (the same products of the same numbers, in any order), and let
ρ_s and ρ′_s be what a step rounded in one run and in the other, seen from the exact step on the numbers it was given.
The run of one network is the exact function with ρ_s added after each such step; the other's is the same function (T5,
and T2 for constants that differ from strand to strand) with ρ′_s added. So the recurrence, with |ρ_s − ρ′_s| in place
of the local error of such steps, bounds the difference of the results themselves (T12.pair). Operands cut to a few bits
in both alike, as in tf32, or results stored in a few, as in bfloat16, cancel unless their last bit turns over.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import sympy as sp

from rcproof.symbolic.simulation import Weights, conjoined, draw_weights, rcps, rounded
from rcproof.symbolic.statements import ALGEBRA, Evidence, Statement, require

NEW = "not in the paper"


@dataclass(frozen=True)
class Bounds:
    """Bounds of one array, channel by channel: ``size`` of exact values, ``error`` of computed ones."""

    size: tuple[Fraction, ...]
    error: tuple[Fraction, ...]

    def reach(self, c: int) -> Fraction:
        """How large a computed value can be."""
        return self.size[c] + self.error[c]


def gamma(n: int, u: Fraction) -> Fraction:
    """γ_n = n·u/(1 − n·u); :class:`ValueError` where n·u ≥ 1 and the model says nothing."""
    if n * u >= 1:
        raise ValueError(f"{n} operations with unit roundoff {u} can lose everything")
    return n * u / (1 - n * u)


def box(limits: Sequence[Fraction]) -> Bounds:
    """Inputs that are exact, channel c in [−limits[c], limits[c]]."""
    return Bounds(tuple(limits), (Fraction(0),) * len(limits))


def linear(x: Bounds, weight: Sequence[Sequence[Sequence[Fraction]]], bias: Sequence[Fraction], u: Fraction) -> Bounds:
    """Convolution or dense layer (one tap): n products and a bias.

    m′ = Σ|w|·m + |b|,  e′ = Σ|w|·e + γ_{n+1}·(Σ|w|·(m + e) + |b|), n being the number of weights that are not 0.
    """
    sizes, errors = [], []
    for row, b in zip(weight, bias, strict=True):
        norms = [sum(map(abs, taps), Fraction(0)) for taps in row]
        n = sum(w != 0 for taps in row for w in taps)
        local = gamma(n + 1, u) * (sum((w * x.reach(c) for c, w in enumerate(norms)), abs(b)))
        sizes.append(sum((w * x.size[c] for c, w in enumerate(norms)), abs(b)))
        errors.append(sum((w * x.error[c] for c, w in enumerate(norms)), local))
    return Bounds(tuple(sizes), tuple(errors))


def relu(x: Bounds) -> Bounds:
    """relu, leaky or not, and max pooling: 1-Lipschitz and exact; nothing changes."""
    return x


def affine(x: Bounds, scale: Sequence[Fraction], shift: Sequence[Fraction], u: Fraction) -> Bounds:
    """Batch norm in eval mode as y = α·x + β: two operations, e′ = |α|·e + γ_2·(|α|·(m + e) + |β|)."""
    return linear(
        x, [[[a if c == o else Fraction(0)] for c in range(len(scale))] for o, a in enumerate(scale)], shift, u
    )


def mean(x: Bounds, n: int, u: Fraction) -> Bounds:
    """Mean of n positions: n − 1 additions and a division, e′ = e + γ_n·(m + e)."""
    g = gamma(n, u)
    return Bounds(x.size, tuple(x.error[c] + g * x.reach(c) for c in range(len(x.size))))


def plus(x: Bounds, y: Bounds, u: Fraction) -> Bounds:
    """Residual sum: e′ = e_1 + e_2 + u·(m_1 + e_1 + m_2 + e_2)."""
    channels = range(len(x.size))
    return Bounds(
        tuple(x.size[c] + y.size[c] for c in channels),
        tuple(x.error[c] + y.error[c] + u * (x.reach(c) + y.reach(c)) for c in channels),
    )


def halved(x: Bounds) -> Bounds:
    """Times ½: exact."""
    return Bounds(tuple(v / 2 for v in x.size), tuple(v / 2 for v in x.error))


# -- the proofs of the rules ----------------------------------------------------------------------------------

n, m = sp.symbols("n m", integer=True, nonnegative=True)
u = sp.Symbol("u", positive=True)


def _gamma(k: Any) -> Any:
    return k * u / (1 - k * u)


def _certificate(difference: Any, numerator: Any, denominator: Any, what: str) -> str:
    """difference = numerator/denominator, a quotient of things that are plainly ≥ 0 and > 0."""
    require(sp.simplify(difference - numerator / denominator) == 0, what)
    require(bool(numerator.is_nonnegative), f"{what}: {numerator} may be negative")
    return f"{what}: right − left = ({sp.factor(numerator)})/({denominator}) ≥ 0"


def _replay_gamma() -> Evidence:
    one = 1 - n * u
    lines = (
        _certificate(
            1 / (1 - (n + 1) * u) - (1 + u) / one,
            (n + 1) * u**2,
            one * (1 - (n + 1) * u),
            "(1+u)/(1−nu) ≤ 1/(1−(n+1)u)",
        ),
        _certificate(one * (1 - u) - (1 - (n + 1) * u), n * u**2, sp.S.One, "1 − (n+1)u ≤ (1−nu)(1−u)"),
        _certificate(_gamma(n) - n * u, n**2 * u**2, one, "nu ≤ γ_n"),
        _certificate(1 + _gamma(n) - 1 / one, sp.S.Zero, one, "1/(1−nu) ≤ 1 + γ_n"),
        _certificate(
            (1 + _gamma(m + n)) - (1 + _gamma(m)) * (1 + _gamma(n)),
            m * n * u**2,
            (1 - m * u) * one * (1 - (m + n) * u),
            "(1+γ_m)(1+γ_n) ≤ 1+γ_{m+n}",
        ),
        _certificate(_gamma(n + 1) - _gamma(n), u, one * (1 - (n + 1) * u), "γ_n ≤ γ_{n+1}"),
    )  # fmt: skip
    return Evidence(len(lines), (*lines, "the first two are the steps of inductions over n; at n = 0 both sides are 1"))


def _replay_split() -> Evidence:
    computed, w, x, seen, b = sp.symbols("computed w x seen b", real=True)
    exact, there = w * x + b, w * seen + b
    require(sp.expand((computed - exact) - ((computed - there) + w * (seen - x))) == 0, "the two parts of an error")
    size, error, g, norm, bias = sp.symbols("m e gamma norm beta", nonnegative=True)
    rule = norm * error + g * (norm * (size + error) + bias)
    require(sp.expand(rule - (norm * (1 + g) * error + g * (norm * size + bias))) == 0, "the rule as a recurrence")
    lines = (
        "computed − (w·x + b) = (computed − (w·x̂ + b)) + w·(x̂ − x)",
        "first part ≤ γ_{n+1}·(|w|·|x̂| + |b|) with |x̂| ≤ m + e, second ≤ |w|·e",
        "e′ = |w|(1 + γ)·e + γ·(|w|·m + |b|): a recurrence with Lipschitz factor |w|(1 + γ)",
    )
    return Evidence(2, lines)


def _replay_lipschitz() -> Evidence:
    p, q = sp.symbols("p q", nonnegative=True)
    lines = []
    # relu on the four combinations of signs; both squares are compared.
    for name, a, b in (("a, b ≥ 0", p, q), ("a ≥ 0 > b", p, -q), ("a < 0 ≤ b", -p, q), ("a, b < 0", -p, -q)):
        difference = sp.expand((a - b) ** 2 - (sp.Max(a, 0) - sp.Max(b, 0)) ** 2)
        good = difference == 0 or bool(difference.is_nonnegative) or sp.factor(difference) == (p - q) ** 2
        require(good, f"relu, {name}: {difference}")
        lines.append(f"relu, {name}: (a−b)² − (relu a − relu b)² = {sp.factor(difference)} ≥ 0")
    top, bound, a, b = sp.symbols("M e a b", real=True)
    require(sp.expand((top + bound - a) - ((top - b) + (bound - (a - b)))) == 0, "max a ≤ max b + e")
    lines.append("max: b ≤ M and a − b ≤ e give a ≤ M + e for every entry, so |max a − max b| ≤ e")
    return Evidence(len(lines), tuple(lines))


def _replay_theorem() -> Evidence:
    r, c, exact = sp.symbols("R C f", real=True)
    require(sp.expand((r - c) - ((r - exact) - (c - exact))) == 0, "both results against one exact function")
    return Evidence(1, ("fl(R) − fl(C) = (fl(R) − f) − (fl(C) − f), so |fl(R) − fl(C)| ≤ e_R + e_C",))


def _replay_pair() -> Evidence:
    w, x, y, b, rho, sigma = sp.symbols("w x y b rho sigma", real=True)
    one, two = w * x + b + rho, w * y + b + sigma
    require(sp.expand((one - two) - (w * (x - y) + (rho - sigma))) == 0, "a step that both take")
    # Two layers: what was added after the first is carried by the second, and nothing else is.
    v, c, tau, phi = sp.symbols("v c tau phi", real=True)
    deep = sp.expand((v * one + c + tau) - (v * two + c + phi))
    require(sp.expand(deep - (v * (w * (x - y) + rho - sigma) + tau - phi)) == 0, "two steps")
    require(deep.subs({x: y, rho: sigma, tau: phi}) == 0, "what both round alike cancels")
    # A step of one network only: its rounding is held against zero.
    require(sp.expand(deep.subs({x: y, rho: sigma, phi: 0}) - tau) == 0, "a step that one takes alone")
    return Evidence(
        4,
        (
            "(w·x + b + ρ) − (w·y + b + ρ′) = w·(x − y) + (ρ − ρ′): T12.split with |ρ − ρ′| as the local error",
            "relu and maxima as in T12.lipschitz; by induction only differences of roundings reach the result",
        ),
    )


# -- the two networks, bounded and simulated ---------------------------------------------------------------------


def bound(weights: Weights, x: Bounds, positions: int, unit: Fraction) -> Fraction:
    """e_RCPS + e_Conjoined for these two networks; ``positions`` are those that the mean runs over."""
    for weight, bias in weights[:-1]:
        x = relu(linear(x, weight, bias, unit))
    # The mean of `positions` values is computed with one more product by 1 and a start at 0, both exact.
    x = mean(x, positions, unit)
    head, bias = weights[-1]
    one = linear(x, head, bias, unit)
    merged = halved(plus(one, one, unit))
    pair = Bounds((*x.size, *x.size[::-1]), (*x.error, *x.error[::-1]))
    halves = [[*([w[0] / 2] for w in head[0]), *([w[0] / 2] for w in reversed(head[0]))]]
    return merged.error[0] + linear(pair, halves, bias, unit).error[0]


def _replay_examples() -> Evidence:
    rng, worst, differ, count = random.Random(12), Fraction(0), 0, 0
    for bits in (4, 8, 11):
        for _ in range(8):
            count += 1
            weights = draw_weights(rng, bits)
            x = tuple(tuple(rounded(Fraction(rng.randint(-99, 99), 100), bits) for _ in range(5)) for _ in range(4))
            require(rcps(weights, x, None) == conjoined(weights, x, None), "one exact function (T5)")
            found = abs(rcps(weights, x, bits) - conjoined(weights, x, bits))
            limit = bound(weights, box([Fraction(1)] * 4), 3, Fraction(1, 2**bits))
            require(limit > 0, "a bound of 0 leaves no room for rounding")
            require(found <= limit, f"{bits} bits: {found} is more than the bound {limit}")
            worst, differ = max(worst, found / limit), differ + (found > 0)
    require(differ > 0, "no rounding was seen at all")
    return Evidence(
        36, (f"36 pairs of networks, {differ} with different results; at most {float(worst):.2g} of the bound",)
    )


STATEMENTS: dict[str, tuple[Statement, ...]] = {
    "T12": (
        Statement(
            "T12.gamma",
            "A product of n factors 1 + δ with |δ| ≤ u lies within γ_n = nu/(1−nu) of 1, and "
            "(1+γ_m)(1+γ_n) ≤ 1+γ_{m+n}.",
            r"\Bigl|\prod_{i\le n}(1+\delta_i)-1\Bigr|\le\gamma_n=\frac{nu}{1-nu}",
            ALGEBRA,
            _replay_gamma,
            hypotheses=("0 < u and (m + n + 1)·u < 1", "induction over n, whose steps are the first two inequalities"),
            source=NEW,
        ),
        Statement(
            "T12.split",
            "Error of a linear layer: e′ = Σ|w|·e + γ_{n+1}·(Σ|w|·(m + e) + |b|) for n products and a bias.",
            r"e'=\sum|w|\,e+\gamma_{n+1}\Bigl(\sum|w|(m+e)+|b|\Bigr)",
            ALGEBRA,
            _replay_split,
            hypotheses=("T12.gamma: |fl(w·x̂ + b) − (w·x̂ + b)| ≤ γ_{n+1}(|w|·|x̂| + |b|), sums in any order",),
            source=NEW,
        ),
        Statement(
            "T12.lipschitz",
            "relu and maxima do not increase errors.",
            r"|\mathrm{relu}(a)-\mathrm{relu}(b)|\le|a-b|,\quad|\max a-\max b|\le\max|a-b|",
            ALGEBRA,
            _replay_lipschitz,
            source=NEW,
        ),
        Statement(
            "T12.theorem",
            "|fl(RCPS(Φθ)(x)) − fl(Conjoined(θ)(x))| ≤ e_RCPS + e_Conjoined for every x in the input box, both e from "
            "the recurrence over the layers.",
            r"\bigl|\mathrm{fl}(\mathrm{RCPS}(\Phi\theta)(x))-\mathrm{fl}(\mathrm{Conjoined}(\theta)(x))\bigr|"
            r"\le e_{\mathrm{RCPS}}+e_{\mathrm{Conjoined}}",
            ALGEBRA,
            _replay_theorem,
            hypotheses=(
                "T5: the two exact functions are one",
                "the model of rounding: relative error at most u per operation, no overflow or underflow",
                "T12.split and T12.lipschitz at every layer (induction over the network)",
            ),
            source=NEW,
        ),
        Statement(
            "T12.pair",
            "|fl(RCPS(Φθ)(x)) − fl(Conjoined(θ)(x))| ≤ the error of the recurrence with |ρ_s − ρ′_s| as the local "
            "error of steps that both take, and |ρ_s| of steps that one takes alone.",
            r"(w x+b+\rho)-(w y+b+\rho')=w(x-y)+(\rho-\rho')",
            ALGEBRA,
            _replay_pair,
            hypotheses=(
                "T5: the two exact functions are one, also with constants added at paired steps (T2, strand by strand)",
                "ρ_s is the computed result of a step less the exact step on the numbers it was given",
            ),
            source=NEW,
        ),
        Statement(
            "T12.examples",
            "The bound holds in simulated arithmetic of 4, 8 and 11 bits, where the exact results of both networks "
            "are equal.",
            r"|\mathrm{fl}(R)-\mathrm{fl}(C)|\le e_R+e_C",
            "finite: 24 random networks of two convolutions and a head, correctly rounded arithmetic simulated exactly",
            _replay_examples,
            source=NEW,
        ),
    )
}
