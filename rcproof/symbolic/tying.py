"""T4: tied weights are exactly the equivariant ones, and how many there are.

A weight W has entries W[o, c, k]: output channel, input channel, tap. ρ acts on it by a signed involution of
each axis,

    (ρW)[o, c, k] = σ_out(o)·σ_in(c)·W[π_out(o), π_in(c), τ(k)],

τ being k ↦ K−1−k where length reverses and the identity where it does not. A convolution with centred windows
is equivariant iff ρW = W (T3); this module is about the linear algebra of that equation. Signs satisfy
σ(c)·σ(π(c)) = 1, which is what makes ρ an involution (for ±1 that says σ(c) = σ(π(c))).
A dense layer is the case K = 1, a bias the case C = K = 1.
"""

from __future__ import annotations

from rcproof.symbolic.arithmetic import Context
from rcproof.symbolic.bases import DIMENSIONS, equivariant_basis
from rcproof.symbolic.checker import Claim, Equation, Proof, Proved, check
from rcproof.symbolic.shorthand import (
    HALF,
    ONE,
    ZERO,
    add,
    elem,
    equal,
    equation,
    function,
    integers,
    mul,
    restate,
    step,
    total,
    use,
    where,
)
from rcproof.symbolic.statements import Statement, proved
from rcproof.symbolic.strands import Read, array
from rcproof.symbolic.terms import Index, Term

__all__ = ["STATEMENTS", "equivariant_basis"]

C, F, K, M, N = integers("C F K M N")
o, c, k, i = integers("o c k i")
po, pi, tau = function("pi_out"), function("pi_in"), function("tau")

PAPER = "paper, section 2.1 (the map; that it is onto, the projector and the counts are not in the paper)"
NEW = "not in the paper"
INVOLUTIONS = "π_out, π_in and τ are involutions"
SIGNED = "σ(c)·σ(π(c)) = 1 for the signs of both sides"
EQUIVARIANT = "ρW = W"

#: Signed involutions on all three axes.
GENERAL = Context(facts=(N - 1, C - 1, K - 1), involutions=(("pi_out", N), ("pi_in", C), ("tau", K)))
#: Stacked outputs: 2F of them, reversed by ρ, without signs.
STACKED = Context(facts=(F - 1, C - 1, K - 1), involutions=(("pi_in", C), ("tau", K)))
SIGNS_OUT = equation("signs_out", ((o, N),), mul(elem("sigma_out", o), elem("sigma_out", po(o))), ONE)
SIGNS_IN = equation("signs_in", ((c, C),), mul(elem("sigma_in", c), elem("sigma_in", pi(c))), ONE)


def moved(w: Read) -> Read:
    """ρW."""
    return lambda o, c, k: mul(elem("sigma_out", o), elem("sigma_in", c), w(po(o), pi(c), tau(k)))


def projected(w: Read) -> Read:
    """½(W + ρW)."""
    return lambda o, c, k: mul(HALF, add(w(o, c, k), moved(w)(o, c, k)))


def mirrored_weight(w: Read) -> Read:
    """ρW for stacked outputs: σ_in(c)·W[2F−1−o, π_in(c), τ(k)]."""
    return lambda o, c, k: mul(elem("sigma_in", c), w(2 * F - 1 - o, pi(c), tau(k)))


def tie(v: Read) -> Read:
    """tie(V): V[o, c, k] for o < F, and the mirror of V from F on; as :func:`rcproof.strand.tie`."""
    return lambda o, c, k: where((F - 1 - o,), v(o, c, k), mirrored_weight(v)(o, c, k))


W, V, U = array("W"), array("V"), array("U")
WHOLE, PAIR, FIRST = ((o, N), (c, C), (k, K)), ((o, 2 * F), (c, C), (k, K)), ((o, F), (c, C), (k, K))
FIXED = equation("equivariant", WHOLE, moved(W)(o, c, k), W(o, c, k))
FIXED_PAIR = equation("equivariant", PAIR, mirrored_weight(W)(o, c, k), W(o, c, k))


def _claim(name: str, ranges: tuple, lhs: Term, rhs: Term, context: Context, *given: Equation) -> Claim:
    return Claim(equation(name, ranges, lhs, rhs), context, given)


def _halves(t: Term) -> tuple:
    """t = ½t + ½t, as steps."""
    return (restate(mul(add(HALF, HALF), t), note="1 = ½ + ½"), step("distribute"))


# ρ(ρW) = W: signs of exchanged channels cancel, involutions undo themselves.
_TWICE = mul(
    mul(elem("sigma_out", o), elem("sigma_out", po(o))), mul(elem("sigma_in", c), elem("sigma_in", pi(c))), W(o, c, k)
)
_CANCEL = (
    use("signs_out", 0, values={o: o}, note="σ_out(o)·σ_out(π(o)) = 1"),
    use("signs_in", 1, values={c: c}, note="σ_in(c)·σ_in(π(c)) = 1"),
)
INVOLUTION = (
    _claim("weights.involution", WHOLE, moved(moved(W))(o, c, k), W(o, c, k), GENERAL, SIGNS_OUT, SIGNS_IN),
    Proof((restate(_TWICE, note="π(π(o)) = o, and so on"), *_CANCEL)),
)

# ρ(½(W + ρW)) = ½(ρW + W).
_SPREAD = mul(
    HALF, elem("sigma_out", o), elem("sigma_in", c), add(W(po(o), pi(c), tau(k)), moved(W)(po(o), pi(c), tau(k)))
)
IMAGE = (
    _claim(
        "projector.image",
        WHOLE,
        moved(projected(W))(o, c, k),
        projected(W)(o, c, k),
        GENERAL,
        SIGNS_OUT,
        SIGNS_IN,
    ),
    Proof(
        (
            restate(_SPREAD, note="the order of factors"),
            step("distribute"),
            restate(mul(*_TWICE.args[:2], mul(HALF, W(o, c, k))), 1, note="ρ twice"),
            use("signs_out", 1, 0, values={o: o}, note="σ_out(o)·σ_out(π(o)) = 1"),
            use("signs_in", 1, 1, values={c: c}, note="σ_in(c)·σ_in(π(c)) = 1"),
        ),
        right=(step("distribute"),),
    ),
)


def _image() -> dict[str, Proved]:
    return {"projector.image": check(*IMAGE)}


_PW = projected(W)(o, c, k)
PROJECTOR = (
    proved(
        "T4.weights.involution",
        "ρ is an involution on weights: ρ(ρW) = W.",
        r"\rho(\rho W)=W,\quad(\rho W)_{o,c,k}=\sigma_o\sigma_c\,W_{\pi(o),\pi(c),\tau(k)}",
        *INVOLUTION,
        hypotheses=(INVOLUTIONS, SIGNED),
        source=NEW,
    ),
    proved(
        "T4.projector.image",
        "½(W + ρW) is equivariant for every weight W.",
        r"\rho\,\tfrac12(W+\rho W)=\tfrac12(W+\rho W)",
        *IMAGE,
        hypotheses=(INVOLUTIONS, SIGNED),
        source=NEW,
    ),
    proved(
        "T4.projector.identity",
        "½(W + ρW) = W for every equivariant W; with T4.projector.image, the image is all of the equivariant weights.",
        r"\rho W=W\;\Rightarrow\;\tfrac12(W+\rho W)=W",
        _claim("projector.identity", WHOLE, _PW, W(o, c, k), GENERAL, FIXED),
        Proof(
            (use("equivariant", 1, 1, values={o: o, c: c, k: k}, note="ρW = W"), step("distribute")),
            right=_halves(W(o, c, k)),
        ),
        hypotheses=(INVOLUTIONS, EQUIVARIANT),
        source=NEW,
    ),
    proved(
        "T4.projector.idempotent",
        "P = ½(1 + ρ) is a projector: P(PW) = PW.",
        r"P^2=P,\quad P=\tfrac12(1+\rho)",
        _claim("projector.idempotent", WHOLE, projected(projected(W))(o, c, k), _PW, GENERAL, SIGNS_OUT, SIGNS_IN),
        Proof(
            (use("projector.image", 1, 1, values={o: o, c: c, k: k}, note="ρ(PW) = PW"), step("distribute")),
            right=_halves(_PW),
        ),
        hypotheses=(INVOLUTIONS, SIGNED),
        known=_image,
        source=NEW,
    ),
)

_DECIDE = (step("decide", note="which half the output lies in"),)
EQUIVARIANCE = (
    _claim("tie.equivariant", PAIR, mirrored_weight(tie(V))(o, c, k), tie(V)(o, c, k), STACKED, SIGNS_IN),
    Proof(
        cases=F - 1 - o,
        parts=(
            Proof(
                (
                    step("decide", 1, note="2F−1−o lies in the second half"),
                    restate(mul(mul(elem("sigma_in", c), elem("sigma_in", pi(c))), V(o, c, k)), note="π(π(c)) = c"),
                    use("signs_in", 0, values={c: c}, note="σ_in(c)·σ_in(π(c)) = 1"),
                ),
                right=_DECIDE,
            ),
            Proof((step("decide", 1, note="2F−1−o lies in the first half"),), right=_DECIDE),
        ),
    ),
)


def _combination(f: Read, g: Read) -> Read:
    return lambda o, c, k: add(mul(elem("alpha"), f(o, c, k)), mul(elem("beta"), g(o, c, k)))


def _linear_part(second: bool) -> Proof:
    right = (step("decide", 0, 1), step("decide", 1, 1))
    return Proof((*_DECIDE, step("distribute")) if second else _DECIDE, right=right)


TIE = (
    proved(
        "T4.tie.equivariant",
        "tie(V) is equivariant for every V.",
        r"\rho\,\mathrm{tie}(V)=\mathrm{tie}(V)",
        *EQUIVARIANCE,
        hypotheses=("π_in and τ are involutions", SIGNED),
        source=PAPER,
    ),
    proved(
        "T4.tie.injective",
        "The first half of tie(V) is V: tie has a left inverse, so it is injective.",
        r"\mathrm{tie}(V)_{o,c,k}=V_{o,c,k}\quad(o<F)",
        _claim("tie.injective", FIRST, tie(V)(o, c, k), V(o, c, k), STACKED),
        Proof(_DECIDE),
        source=NEW,
    ),
    proved(
        "T4.tie.onto",
        "Every equivariant weight with stacked outputs is tied: W = tie(first half of W).",
        r"\rho W=W\;\Rightarrow\;\mathrm{tie}(W_{<F})=W",
        _claim("tie.onto", PAIR, tie(W)(o, c, k), W(o, c, k), STACKED, FIXED_PAIR),
        Proof((use("equivariant", 1, values={o: o, c: c, k: k}, note="ρW = W"), step("merge_cases"))),
        hypotheses=(EQUIVARIANT, "ρ reverses the 2F outputs"),
        source=NEW,
    ),
    proved(
        "T4.tie.linear",
        "tie is linear: tie(αV + βU) = α·tie(V) + β·tie(U).",
        r"\mathrm{tie}(\alpha V+\beta U)=\alpha\,\mathrm{tie}(V)+\beta\,\mathrm{tie}(U)",
        _claim(
            "tie.linear",
            PAIR,
            tie(_combination(V, U))(o, c, k),
            _combination(tie(V), tie(U))(o, c, k),
            STACKED,
        ),
        Proof(cases=F - 1 - o, parts=(_linear_part(False), _linear_part(True))),
        source=NEW,
    ),
)


# -- characters -----------------------------------------------------------------------------------------------


def diagonal(index: Index, image: Index, sign: Term = ONE) -> Term:
    """The diagonal entry of a signed permutation: its sign where the index is fixed, else 0."""
    return where(equal(index, image), sign)


_OUT, _IN = diagonal(o, po(o), elem("sigma_out", o)), diagonal(c, pi(c), elem("sigma_in", c))
_TAPS = diagonal(k, tau(k))
_EVEN = Context(facts=(M,), equal=((K, 2 * M),))
_ODD = Context(facts=(M,), equal=((K, 2 * M + 1),))
_FLIP = total(diagonal(k, K - 1 - k), (k, K))

TRACES = (
    proved(
        "T4.trace.product",
        "The trace of ρ on weights is the product of the traces on outputs, inputs and taps: χ = χ_out·χ_in·χ_taps.",
        r"\operatorname{tr}(\rho_{\mathrm{out}}\otimes\rho_{\mathrm{in}}\otimes\tau)"
        r"=\chi_{\mathrm{out}}\,\chi_{\mathrm{in}}\,\chi_{\mathrm{taps}}",
        _claim(
            "trace.product",
            (),
            total(mul(_OUT, _IN, _TAPS), *WHOLE),
            mul(total(_OUT, (o, N)), total(_IN, (c, C)), total(_TAPS, (k, K))),
            GENERAL,
        ),
        Proof(
            (
                step("linear", 0, 0, note="factors without k"),
                step("linear", 0, note="factors without c"),
                step("linear", note="factors without o"),
            )
        ),
        hypotheses=("a diagonal entry of ρ on weights is the product of three diagonal entries",),
        source=NEW,
    ),
    proved(
        "T4.trace.reversal.even",
        "Reversal of an even number of indices fixes none: its trace is 0 (stacked channels, taps for even K, ACGT).",
        r"\operatorname{tr}(k\mapsto 2m-1-k)=0",
        _claim("trace.even", (), _FLIP, ZERO, _EVEN),
        Proof(
            (
                step("unscale", 0, args=(2 * k - 2 * M + 1, 2, k - M), note="2(k−m) + 1 ≥ 0 iff k ≥ m"),
                step("unscale", 0, args=(2 * M - 1 - 2 * k, 2, M - 1 - k), note="2(m−1−k) + 1 ≥ 0 iff k < m"),
                step("decide", 0, note="never both"),
                restate(mul(ZERO, ONE), 0, note="0 = 0·1"),
                step("linear", note="Σ 0·1 = 0·Σ 1"),
            )
        ),
        source=NEW,
    ),
    proved(
        "T4.trace.reversal.odd",
        "Reversal of an odd number of indices fixes the middle one: its trace is 1 (taps for odd K).",
        r"\operatorname{tr}(k\mapsto 2m-k)=1",
        _claim("trace.odd", (), _FLIP, ONE, _ODD),
        Proof(
            (
                step("unscale", 0, args=(2 * k - 2 * M, 2, k - M), note="2(k−m) ≥ 0 iff k ≥ m"),
                step("unscale", 0, args=(2 * M - 2 * k, 2, M - k), note="2(m−k) ≥ 0 iff k ≤ m"),
                step("sift", args=(M,), note="only k = m is left"),
                step("decide", note="0 ≤ m < 2m+1"),
            )
        ),
        source=NEW,
    ),
)

STATEMENTS: dict[str, tuple[Statement, ...]] = {"T4": (*PROJECTOR, *TIE, *TRACES, *DIMENSIONS)}
