"""T3, the other direction, for dense layers and for average pooling; see :mod:`rcproof.symbolic.necessity`.

A dense layer has no windows: equivariance at 0 and at the unit vectors is W = ρ_out W ρ_in and b = ρ_out b, no more and
no less. Average pooling has no free weights: it is equivariant iff its windows centre, as far as its outermost taps
read any input. The witness is the unit array that such a tap reads: the two sides there are σ(c)/K and 0. (For max
pooling see :mod:`rcproof.symbolic.necessity_max`.)
"""

from __future__ import annotations

from functools import cache

import sympy as sp

from rcproof.symbolic.arithmetic import Context
from rcproof.symbolic.checker import Claim, Equation, Proof, Proved, Step, check
from rcproof.symbolic.convolution import B, W
from rcproof.symbolic.necessity import EXCESS, NO_PARTNER, READS, J, a, delta, n, no_tap, t, u, zero
from rcproof.symbolic.statements import Statement, proved
from rcproof.symbolic.strands import Read
from rcproof.symbolic.terms import Add, Index, Mul, num
from rcproof.symbolic.windows import (
    INVOLUTIONS,
    PI_IN,
    PI_OUT,
    SIGNS_IN,
    C,
    K,
    L,
    N,
    O,
    act_in,
    act_out,
    average,
    c,
    d,
    k,
    linear,
    mirror,
    o,
    s,
    sigma,
    tau,
)  # fmt: skip

_SOURCE = "not in the paper"
_FACTS = Context((C - 1, O - 1), (), INVOLUTIONS)


def _equivariant(name: str, x: Read, more: tuple[tuple[sp.Symbol, Index], ...]) -> Equation:
    return Equation(name, (*more, (o, O)), linear(W, act_in(x), B)(o), act_out(linear(W, x, B))(o))


AT_ZERO = _equivariant("at zero", zero, ())
AT_UNITS = _equivariant("at units", delta(u), ((u, C),))
_ROW = ((o, O), (a, C))


def _no_sum(at: tuple[int, ...]) -> tuple[Step, ...]:
    """Σ 0 = 0."""
    return (
        Step("restate", (*at, 0), (Mul((num(0), num(1))),), "0 = 0·1"),
        Step("linear", at, (), "0 out of the sum"),
    )


def _bias() -> tuple[Claim, Proof]:
    claim = Claim(Equation("bias", ((o, O),), B(o), mirror(B)(o)), _FACTS, (AT_ZERO,))
    right = (Step("distribute", (), (), "the sign τ(o) on both summands"), *_no_sum((0, 1)))
    return claim, Proof(_no_sum((0,)), right=right, start=("at zero", {o: o}))


def _values() -> tuple[Claim, Proof]:
    at = PI_IN(a)
    other = Mul((tau(o), W(PI_OUT(o), at)))
    claim = Claim(
        Equation("values", _ROW, Add((Mul((W(o, a), sigma(a))), B(o))), Add((other, Mul((tau(o), B(PI_OUT(o))))))),
        _FACTS,
        (AT_ZERO, AT_UNITS, SIGNS_IN),
    )
    left = (
        Step("push", (0, 0, 1), (), "the sign into the cases of δ"),
        Step("push", (0, 0), (), "the weight into the cases of δ"),
        Step("reindex", (0,), ("pi_in",), "sum over π_in(c) instead of c"),
        Step("sift", (0,), (at,), "the 1 is in channel π(a) of the renamed sum"),
        Step("decide", (0,), (), "which there is"),
    )
    right = (
        Step("distribute", (), (), "the sign τ(o) on both summands"),
        Step("push", (0, 1, 0), (), "the weight into the cases of δ"),
        Step("sift", (0, 1), (at,), "the 1 is in channel π(a)"),
        Step("decide", (0, 1), (), "which there is"),
    )
    return claim, Proof(left, right=right, start=("at units", {u: at, o: o}))


@cache
def _lemmas() -> dict[str, Proved]:
    return {"bias": check(*_bias()), "values": check(*_values())}


def _matrix() -> tuple[Claim, Proof]:
    weight, sign = W(o, a), sigma(PI_IN(a))
    known = Mul((weight, sigma(a)))
    there, bias = Mul((tau(o), W(PI_OUT(o), PI_IN(a)))), Mul((tau(o), B(PI_OUT(o))))
    nothing = Add((num(1), num(-1)))
    steps = (
        Step("restate", (), (Mul((num(1), weight)),), "1·W"),
        Step("rewrite", (0,), ("signs_in", {c: a}, True), "1 = σ(a)·σ(π(a))"),
        Step("restate", (), (Mul((sign, Add((known, Mul((nothing, B(o))))))),), "add (1 − 1)·b[o] = 0"),
        Step("distribute", (1, 1), (), "b[o] − b[o]"),
        Step("restate", (1,), (Add((Add((known, B(o))), Mul((num(-1), B(o))))),), "W·σ + b, and − b"),
        Step("rewrite", (1, 0), ("values", {o: o, a: a}), "equivariance at the unit vector of π(a)"),
        Step("rewrite", (1, 1, 1), ("bias", {o: o}), "the bias is fixed"),
    )
    right = (
        Step("restate", (), (Mul((sign, Add((there, Mul((nothing, bias)))))),), "add (1 − 1)·τ(o)·b[π(o)] = 0"),
        Step("distribute", (1, 1), (), "and write it out"),
    )
    claim = Claim(Equation("matrix", _ROW, weight, mirror(W)(o, a)), _FACTS, (AT_ZERO, AT_UNITS, SIGNS_IN))
    return claim, Proof(steps, right=right)


def _linear() -> list[Statement]:
    rep = "ρ_in and ρ_out: signed involutions of features"
    units = (rep, "W·ρ_in x + b = ρ_out(Wx + b) at x = 0 and at every unit vector")
    return [
        proved(
            "T3.linear.necessary.bias",
            "If a dense layer commutes with ρ at x = 0, its bias is fixed: b = ρ_out b.",
            r"b = \rho_{\mathrm{out}}b",
            *_bias(),
            hypotheses=(rep, "W·ρ_in x + b = ρ_out(Wx + b) at x = 0"),
            source=_SOURCE,
        ),
        proved(
            "T3.linear.necessary.values",
            "Lemma for T3.linear.necessary: equivariance at a unit vector, evaluated.",
            r"W_{o,c}\sigma_c + b_o = \tau_o W_{\pi(o),\pi(c)} + \tau_o b_{\pi(o)}",
            *_values(),
            hypotheses=units,
            source=_SOURCE,
        ),
        proved(
            "T3.linear.necessary",
            "If a dense layer commutes with ρ at 0 and at every unit vector, its matrix is fixed: W = ρ_out W ρ_in.",
            r"W = \rho_{\mathrm{out}}W\rho_{\mathrm{in}}",
            *_matrix(),
            hypotheses=units,
            known=_lemmas,
            source=_SOURCE,
        ),
    ]


# -- average pooling --------------------------------------------------------------------------------------------

_POOL = (C - 1, K - 1, L - 1, N - 1, s - 1, d - 1, *READS)
_ONE = (("pi_in", C),)
_UNIT = delta(PI_IN(a), L - 1 - J)
_READ = "tap t reads an input: 0 ≤ s·n + d·t − p < L"


def _average() -> list[Statement]:
    one = (
        Step("push", (1, 0, 0), (), "the sign into the cases of δ"),
        Step("nest", (1, 0), (), "a tap that reads an input, and reads the 1 there"),
        Step("unscale", (1, 0), (d * (t - k), d, t - k), "d·(t−k) ≥ 0 iff t−k ≥ 0"),
        Step("unscale", (1, 0), (d * (k - t), d, k - t), "so k = t"),
        Step("sift", (1,), (t,), "only tap t reads the 1"),
        Step("decide", (1,), (), "tap t reads an input"),
    )
    rep = "ρ: a signed involution of channels with reversal of positions"
    found = [
        proved(
            "T3.average.witness.one",
            "At the unit array δ that tap t reads on the other strand, avg(ρδ) is σ(c)/K, whatever r.",
            r"\mathrm{avg}(\rho\delta)_{c,n} = \sigma_c/K",
            Claim(
                Equation("one", ((a, C),), average(act_in(_UNIT))(a, n), Mul((num(1 / K), sigma(a)))),
                Context(_POOL, (EXCESS,), _ONE),
            ),
            Proof(one),
            hypotheses=(rep, _READ, "L = s(N−1) + d(K−1) + 1 − 2p + r"),
            source=_SOURCE,
        )
    ]
    lhs = Mul((sigma(a), average(_UNIT)(PI_IN(a), N - 1 - n)))
    for key, steps in no_tap((1, 1, 0)).items():
        facts, equal = NO_PARTNER[key]
        text, hypothesis = {
            "left": ("r > 0 (take t = 0)", "d·t < r"),
            "right": ("r < 0 (take t = K−1)", "d·(K−1−t) < −r"),
            "residue": ("an r that d does not divide", "r = d·m + z with 0 < z < d"),
        }[key]
        proof = (Step("nest", (1, 1, 0), (), "a tap that reads an input, and reads the 1 there"), *steps)
        found.append(
            proved(
                f"T3.average.witness.{key}",
                f"At that same δ, ρ(avg δ) is 0 for {text}: average pooling whose windows do not centre does not "
                "commute with ρ.",
                r"(\rho\,\mathrm{avg}\,\delta)_{c,n} = 0 \ne \sigma_c/K",
                Claim(Equation("zero", ((a, C),), lhs, num(0)), Context((*_POOL, *facts), equal, _ONE)),
                Proof((*proof, *_no_sum((1, 1)))),
                hypotheses=(rep, _READ, "L = s(N−1) + d(K−1) + 1 − 2p + r", hypothesis),
                source=_SOURCE,
            )
        )
    return found


T3 = (*_linear(), *_average())

#: Statements by theorem.
STATEMENTS: dict[str, tuple[Statement, ...]] = {"T3": T3}
