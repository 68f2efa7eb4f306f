"""T3, the other direction: what an equivariant layer must look like, derived from the equivariance itself.

The hypothesis is layer(ρ_in x) = ρ_out layer(x) for x = 0 and for every unit array x = δ_{u,v} (1 at channel u,
position v, else 0); it follows from equivariance for all x, so what is derived from it is all the more necessary.
Windows are *not* assumed centred: L = s(N−1) + d(K−1) + 1 − 2p + r, with r of any sign. A tap t *reads an input* if
0 ≤ s·n + d·t − p < L for some output position n; nothing can be said of the weights of a tap that reads none.

Then, for every tap t that reads an input:

- the bias is fixed: b = ρ_out b (``bias``);
- if r = 0 the kernel is fixed: W = ρ_out W ρ_in (``kernel``);
- if r = d·m the kernel is fixed up to a shift by m taps (``shifted``), and every tap whose partner would lie outside
  the kernel is zero: those with d·t < r (``left``) and those with d·(K−1−t) < −r (``right``);
- if d does not divide r the whole kernel is zero (``residue``).

So windows *must* be centred, r = 0, as soon as the outermost taps t = 0 and t = K−1 read an input and are not zero for
all channels (for r > 0 ``left`` makes tap 0 zero, for r < 0 ``right`` makes tap K−1 zero). Without that proviso
centring is not necessary: a kernel padded with zero taps is a smaller kernel with other windows. Average pooling has
no zero taps: there every r ≠ 0 has an explicit input on which the two sides differ (``T3.average.witness``).
"""

from __future__ import annotations

from functools import cache, partial

import sympy as sp

from rcproof.symbolic.arithmetic import Context
from rcproof.symbolic.checker import Claim, Equation, Proof, Proved, Step, check
from rcproof.symbolic.convolution import REPRESENTATIONS, B, W
from rcproof.symbolic.statements import Statement, proved
from rcproof.symbolic.strands import Read
from rcproof.symbolic.terms import Add, If, Index, Mul, Term, num
from rcproof.symbolic.windows import (
    INVOLUTIONS,
    PI_IN,
    PI_OUT,
    POSITIVE,
    SIGNS_IN,
    C,
    K,
    L,
    N,
    O,
    act_in,
    act_out,
    c,
    conv,
    d,
    i,
    k,
    mirror,
    o,
    p,
    r,
    s,
    sigma,
    tau,
)  # fmt: skip

u, v, t, n, a, m, z = sp.symbols("u v t n a m z", integer=True)

#: How far the windows are from centred.
EXCESS = (L, s * (N - 1) + d * (K - 1) + 1 - 2 * p + r)
#: The input position that tap t reads at output n; both are fixed throughout.
J = s * n + d * t - p
READS = (t, K - 1 - t, n, N - 1 - n, J, L - 1 - J)
_SOURCE = "not in the paper"


def zero(*at: Index) -> Term:
    """The array 0."""
    return num(0)


def delta(u: Index, *v: Index) -> Read:
    """The unit array: 1 at channel ``u``, position ``v``, else 0."""

    def read(c: Index, *at: Index) -> Term:
        pins = [x - y for x, y in zip((c, *at), (u, *v), strict=True)]
        return If(frozenset(e for x in pins for e in (x, -x)), num(1), num(0))

    return read


def _equivariant(name: str, x: Read, more: tuple[tuple[sp.Symbol, Index], ...]) -> Equation:
    return Equation(name, (*more, (o, O), (i, N)), conv(W, act_in(x), B)(o, i), act_out(conv(W, x, B))(o, i))


#: Equivariance at x = 0 and at the unit arrays.
AT_ZERO = _equivariant("at zero", zero, ())
AT_UNITS = _equivariant("at units", delta(u, v), ((u, C), (v, L)))


def _vanishes(sums: tuple[int, ...]) -> tuple[Step, ...]:
    """Σ_c Σ_k 0 = 0, the sums being at ``sums``."""
    return (
        Step("restate", (*sums, 0, 0), (Mul((num(0), num(1))),), "0 = 0·1"),
        Step("linear", (*sums, 0), (), "0 out of the sum over taps"),
        Step("linear", sums, (), "0 out of the sum over channels"),
    )


_NOTHING = (Step("merge_cases", (0, 0, 0), (), "0 inside the input and outside"), *_vanishes((0,)))


def _bias_claim() -> tuple[Claim, Proof]:
    claim = Claim(
        Equation("bias", ((o, O),), B(o), mirror(B)(o)), Context(POSITIVE, (EXCESS,), INVOLUTIONS), (AT_ZERO,)
    )
    right = (
        Step("distribute", (), (), "the sign τ(o) on both summands"),
        Step("merge_cases", (0, 1, 0, 0), (), "0 inside the input and outside"),
        *_vanishes((0, 1)),
    )
    return claim, Proof(_NOTHING, right=right, start=("at zero", {o: o, i: sp.Integer(0)}))


def _unit_proof(tail: tuple[Step, ...]) -> Proof:
    """From equivariance at δ to an equation between weights; ``tail`` evaluates the right side's sums."""
    at = PI_IN(a)
    left = (
        Step("push", (0, 0, 0, 0, 1), (), "the sign into the cases of δ"),
        Step("push", (0, 0, 0, 0), (), "the weight into the cases of δ"),
        Step("nest", (0, 0, 0), (), "a tap that reads an input, and reads the 1 there"),
        Step("reindex", (0,), ("pi_in",), "sum over π_in(c) instead of c"),
        Step("unscale", (0, 0, 0), (d * (t - k), d, t - k), "d·(t−k) ≥ 0 iff t−k ≥ 0"),
        Step("unscale", (0, 0, 0), (d * (k - t), d, k - t), "so k = t"),
        Step("sift", (0, 0), (t,), "only tap t reads the 1"),
        Step("sift", (0,), (at,), "in channel π(a) of the renamed sum"),
        Step("decide", (0,), (), "tap t reads an input"),
    )
    right = (
        Step("distribute", (), (), "the sign τ(o) on both summands"),
        Step("push", (0, 1, 0, 0, 0), (), "the weight into the cases of δ"),
        Step("nest", (0, 1, 0, 0), (), "a tap that reads an input, and reads the 1 there"),
        *tail,
    )
    values = {u: at, v: L - 1 - J, o: o, i: n}
    return Proof(left, right=right, start=("at units", values))


def _partner(shift: Index) -> tuple[Step, ...]:
    """The one tap on the other strand that reads the 1 is K−1−t+shift."""
    partner = K - 1 - t + shift
    return (
        Step("unscale", (0, 1, 0, 0), (d * (k - partner), d, k - partner), "d·(k−k′) ≥ 0 iff k ≥ k′"),
        Step("unscale", (0, 1, 0, 0), (d * (partner - k), d, partner - k), "so k = k′ = K−1−t+m"),
        Step("sift", (0, 1, 0), (partner,), "only tap k′ reads the 1 on the other strand"),
        Step("sift", (0, 1), (PI_IN(a),), "in channel π(a)"),
        Step("decide", (0, 1), (), "k′ is a tap"),
    )


_OFF = k + t - K + 1 - m


def no_tap(at: tuple[int, ...]) -> dict[str, tuple[Step, ...]]:
    """Steps for the case distinction at ``at`` that no tap k decides in favour of the 1, by the reason why."""
    residue = (
        Step("unscale", at, (d * _OFF - z, d, _OFF - 1), "d·n ≥ z iff n ≥ 1, since 0 < z < d"),
        Step("unscale", at, (z - d * _OFF, d, -_OFF), "d·n ≤ z iff n ≤ 0"),
    )
    note = "no tap on the other strand reads the 1"
    return {
        "left": (Step("decide", at, ((d, K - 1 - k),), note),),
        "right": (Step("decide", at, ((d, k),), note),),
        "residue": (*residue, Step("decide", at, (), note)),
    }


#: Facts about r and t under which tap t has no partner, by the reason why.
NO_PARTNER: dict[str, tuple[tuple[Index, ...], tuple[tuple[sp.Symbol, Index], ...]]] = {
    "left": ((r - d * t - 1,), (EXCESS,)),
    "right": ((-r - d * (K - 1 - t) - 1,), (EXCESS,)),
    "residue": ((z - 1, d - 1 - z), (EXCESS, (r, d * m + z))),
}

#: What is assumed of r and t, how the right side is evaluated, and the partner of tap t if it has one.
CASES: dict[str, tuple[tuple[Index, ...], tuple[tuple[sp.Symbol, Index], ...], tuple[Step, ...], Index | None]] = {
    "kernel": ((), (EXCESS, (r, sp.Integer(0))), _partner(sp.Integer(0)), K - 1 - t),
    "shifted": ((K - 1 - t + m, t - m), (EXCESS, (r, d * m)), _partner(m), K - 1 - t + m),
    **{key: (*NO_PARTNER[key], (*steps, *_vanishes((0, 1))), None) for key, steps in no_tap((0, 1, 0, 0)).items()},
}


def _context(key: str) -> Context:
    facts, equal, _, _ = CASES[key]
    return Context((*POSITIVE, *READS, *facts), equal, INVOLUTIONS)


_AT = ((o, O), (a, C))


def _mirrored_bias() -> Term:
    return Mul((tau(o), B(PI_OUT(o))))


def _values_claim(key: str) -> tuple[Claim, Proof]:
    """Equivariance at the unit array that tap t reads: W[o, a, t]·σ(a) + b[o] is its mirror image."""
    _, _, tail, partner = CASES[key]
    other = () if partner is None else (Mul((tau(o), W(PI_OUT(o), PI_IN(a), partner))),)
    claim = Claim(
        Equation("values", _AT, Add((Mul((W(o, a, t), sigma(a))), B(o))), Add((*other, _mirrored_bias()))),
        _context(key),
        (AT_ZERO, AT_UNITS, SIGNS_IN),
    )
    return claim, _unit_proof(tail)


@cache
def _bias_lemma() -> Proved:
    return check(*_bias_claim())


@cache
def lemmas(key: str) -> dict[str, Proved]:
    """The equations that the conclusion about tap t rests on, checked."""
    return {"bias": _bias_lemma(), "values": check(*_values_claim(key))}


def _conclusion(key: str) -> tuple[Claim, Proof]:
    """W[o, a, t] alone: the sign is taken to the other side, and the bias cancelled."""
    partner = CASES[key][3]
    weight, sign = W(o, a, t), sigma(PI_IN(a))
    nothing = Mul((Add((num(1), num(-1))), B(o)))
    known = Mul((weight, sigma(a)))
    steps = (
        Step("restate", (), (Mul((num(1), weight)),), "1·W"),
        Step("rewrite", (0,), ("signs_in", {c: a}, True), "1 = σ(a)·σ(π(a))"),
        Step("restate", (), (Mul((sign, Add((known, nothing)))),), "add (1 − 1)·b[o] = 0"),
        Step("distribute", (1, 1), (), "b[o] − b[o]"),
        Step("restate", (1,), (Add((Add((known, B(o))), Mul((num(-1), B(o))))),), "W·σ + b, and − b"),
        Step("rewrite", (1, 0), ("values", {o: o, a: a}), "equivariance at the unit array that tap t reads"),
        Step("rewrite", (1, 1, 1), ("bias", {o: o}), "the bias is fixed"),
    )
    cancel = Mul((Add((num(1), num(-1))), _mirrored_bias()))
    other = () if partner is None else (Mul((tau(o), W(PI_OUT(o), PI_IN(a), partner))),)
    right = (
        Step("restate", (), (Mul((sign, Add((*other, cancel)))),), "add (1 − 1)·τ(o)·b[π(o)] = 0"),
        Step("distribute", (1, len(other)), (), "and write it out"),
    )
    rhs = num(0) if partner is None else Mul((tau(o), W(PI_OUT(o), PI_IN(a), partner), sign))
    claim = Claim(Equation(key, _AT, weight, rhs), _context(key), (AT_ZERO, AT_UNITS, SIGNS_IN))
    return claim, Proof(steps, right=right)


_TEXTS = {
    "kernel": (
        (
            "If a convolution with centred windows commutes with ρ at 0 and at every unit array, every tap that reads "
            "an input is fixed: W = ρ_out W ρ_in."
        ),
        r"W_{o,c,t} = (\rho_{\mathrm{out}}W\rho_{\mathrm{in}})_{o,c,t}",
        ("windows centred: r = 0",),
    ),
    "shifted": (
        (
            "If it commutes with ρ although r = d·m, the kernel is fixed up to a shift by m taps: tap t is the mirror "
            "image of tap K−1−t+m."
        ),
        r"W_{o,c,t} = \tau_o\sigma_{\pi(c)}W_{\pi(o),\pi(c),K-1-t+m}",
        ("r = d·m", "0 ≤ K−1−t+m < K"),
    ),
    "left": (
        (
            "If it commutes with ρ although r > 0, every tap t with d·t < r that reads an input is zero, tap 0 among "
            "them: windows must be centred if tap 0 reads an input and is not zero."
        ),
        r"r > dt\ \Rightarrow\ W_{o,c,t} = 0",
        ("d·t < r",),
    ),
    "right": (
        (
            "If it commutes with ρ although r < 0, every tap t with d(K−1−t) < −r that reads an input is zero, tap K−1 "
            "among them: windows must be centred if tap K−1 reads an input and is not zero."
        ),
        r"-r > d(K-1-t)\ \Rightarrow\ W_{o,c,t} = 0",
        ("d·(K−1−t) < −r",),
    ),
    "residue": (
        "If it commutes with ρ although d does not divide r, every tap that reads an input is zero.",
        r"r = dm+z,\ 0 < z < d\ \Rightarrow\ W_{o,c,t} = 0",
        ("r = d·m + z with 0 < z < d",),
    ),
}
_HYPOTHESES = (
    REPRESENTATIONS,
    "conv(ρ_in x) = ρ_out conv(x) at x = 0 and at every unit array",
    "L = s(N−1) + d(K−1) + 1 − 2p + r",
)


def _convolution() -> list[Statement]:
    claim, proof = _bias_claim()
    found = [
        proved(
            "T3.conv.necessary.bias",
            "If a convolution commutes with ρ at x = 0, its bias is fixed: b = ρ_out b.",
            r"b = \rho_{\mathrm{out}}b",
            claim,
            proof,
            hypotheses=(REPRESENTATIONS, "conv(ρ_in x) = ρ_out conv(x) at x = 0", _HYPOTHESES[2]),
            source=_SOURCE,
        )
    ]
    for key, (text, latex, more) in _TEXTS.items():
        claim, proof = _values_claim(key)
        found.append(
            proved(
                f"T3.conv.necessary.{key}.values",
                f"Lemma for T3.conv.necessary.{key}: equivariance at the unit array that tap t reads, evaluated.",
                r"W_{o,c,t}\sigma_c + b_o = "
                + ("" if CASES[key][3] is None else r"\tau_o W_{\pi(o),\pi(c),t'} + ")
                + r"\tau_o b_{\pi(o)}",
                claim,
                proof,
                hypotheses=(*_HYPOTHESES, "tap t reads an input: 0 ≤ s·n + d·t − p < L", *more),
                source=_SOURCE,
            )
        )
        claim, proof = _conclusion(key)
        found.append(
            proved(
                f"T3.conv.necessary.{key}",
                text,
                latex,
                claim,
                proof,
                hypotheses=(*_HYPOTHESES, "tap t reads an input: 0 ≤ s·n + d·t − p < L", *more),
                known=partial(lemmas, key),
                source=_SOURCE,
            )
        )
    return found


T3 = tuple(_convolution())

#: Statements by theorem.
STATEMENTS: dict[str, tuple[Statement, ...]] = {"T3": T3}
