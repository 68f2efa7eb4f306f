"""T3 and T4 for layers with kernels: tied weights make them equivariant, and what the mirrored layer is.

Representations are general: signed involutions π_in, π_out of the channels, with reversal of positions. A kernel is
*fixed* if W = ρ_out W ρ_in, entry by entry W[o, c, k] = τ(o)·W[π_out(o), π_in(c), K−1−k]·σ(π_in(c)).

What is proved for all sizes, strides, dilations and paddings: with fixed weights and centred windows the layer
commutes with ρ (``sufficient``); without either hypothesis, ρ∘layer∘ρ is again a layer of that kind, with weights
ρWρ and with windows that start at r − p_right (``mirrored``), where r positions are left unread at the right. The
other direction is in :mod:`rcproof.symbolic.necessity`.
"""

from __future__ import annotations

import sympy as sp

from rcproof.symbolic.arithmetic import Context
from rcproof.symbolic.checker import Claim, Equation, Proof, Step
from rcproof.symbolic.statements import Statement, proved
from rcproof.symbolic.strands import array
from rcproof.symbolic.terms import Add, Index, Mul, Term, num
from rcproof.symbolic.windows import (
    CENTRED,
    PI_IN,
    PI_OUT,
    REMAINDER,
    SIGNS_IN,
    SIGNS_OUT,
    C,
    K,
    L,
    N,
    O,
    act_in,
    act_out,
    c,
    context,
    conv,
    d,
    fixed,
    i,
    k,
    linear,
    mirror,
    o,
    p,
    q,
    r,
    s,
    sigma,
    tau,
)

W, B, X = array("W"), array("b"), array("x")
KERNEL, BIAS, MATRIX = fixed("kernel", W, 3), fixed("bias", B, 1), fixed("matrix", W, 2)
OUTPUT = ((o, O), (i, N))
REPRESENTATIONS = "ρ_in and ρ_out: signed involutions of channels with reversal of positions"
FIXED = "W = ρ_out W ρ_in and b = ρ_out b"

#: From ρ_out applied to Σ_c Σ_k … + b to Σ_c Σ_k with the sign inside, channels renamed and taps reversed.
OUTSIDE = (
    Step("distribute", (), (), "the sign τ(o) on both summands"),
    Step("collect", (0,), (), "τ(o) under the sum over channels"),
    Step("collect", (0, 0), (), "τ(o) under the sum over taps"),
    Step("push", (0, 0, 0), (), "τ(o) into the case of a tap that reads an input"),
)
RENAME = (
    Step("reindex", (0,), ("pi_in",), "sum over π_in(c) instead of c"),
    Step("reverse", (0, 0), (), "sum over K−1−k instead of k"),
)


def _sufficient() -> Statement:
    inside = (0, 0, 0, 0)
    square = Mul((Mul((sigma(c), sigma(PI_IN(c)))), tau(o), W(PI_OUT(o), PI_IN(c), K - 1 - k), _x(c)))
    left = (
        Step("rewrite", (*inside, 0), ("kernel", {o: o, c: c, k: k}, True), "W = ρ_out W ρ_in"),
        Step("restate", inside, (square,), "the two signs of channel c side by side"),
        Step("rewrite", (*inside, 0), ("signs_in", {c: c}), "σ(c)·σ(π(c)) = 1"),
        *RENAME,
        Step("rewrite", (1,), ("bias", {o: o}, True), "b = ρ_out b; positions agree since windows are centred"),
    )
    name = "T3.conv.sufficient"
    return proved(
        name,
        "A convolution with stride s, dilation d and left padding p, whose kernel and bias are fixed by ρ and whose "
        "windows are centred, commutes with ρ: conv(ρ_in x) = ρ_out conv(x).",
        r"W = \rho_{\mathrm{out}}W\rho_{\mathrm{in}},\ b = \rho_{\mathrm{out}}b,\ s(N-1)+d(K-1)+1 = L+2p"
        r"\ \Rightarrow\ \mathrm{conv}(\rho_{\mathrm{in}}x) = \rho_{\mathrm{out}}\,\mathrm{conv}(x)",
        Claim(
            Equation(name, OUTPUT, conv(W, act_in(X), B)(o, i), act_out(conv(W, X, B))(o, i)),
            context(CENTRED),
            (KERNEL, BIAS, SIGNS_IN),
        ),
        Proof(left, right=OUTSIDE),
        hypotheses=(REPRESENTATIONS, FIXED, "windows centred: s(N−1) + d(K−1) + 1 = L + 2p"),
        source="paper, section 2.1 (stride 1, reversal); general stride, dilation and representations not in the paper",
    )


def _x(c: Index) -> Term:
    """What tap k reads of ρx, channel renamed: x[π_in(c), L−1−(s·i + d·k − p)]."""
    return X(PI_IN(c), L - 1 - (s * i + d * k - p))


def _mirrored() -> Statement:
    name = "T3.conv.mirrored"
    return proved(
        name,
        "On the other strand a convolution with left padding p and right padding q, which leaves r positions unread "
        "at the right, is the convolution with kernel ρ_out W ρ_in and bias ρ_out b whose windows start at r − q.",
        r"\rho_{\mathrm{out}}\,\mathrm{conv}_{W,b}(\rho_{\mathrm{in}}x)_{o,i} = \sum_{c,k}"
        r"(\rho_{\mathrm{out}}W\rho_{\mathrm{in}})_{o,c,k}\,x_{c,\,si+dk+r-q} + (\rho_{\mathrm{out}}b)_o,"
        r"\quad r = L+p+q-d(K-1)-1-s(N-1)",
        Claim(
            Equation(
                name,
                OUTPUT,
                act_out(conv(W, act_in(X), B))(o, i),
                conv(mirror(W), X, mirror(B), start=r - q)(o, i),
            ),
            context(REMAINDER),
        ),
        Proof((*OUTSIDE, *RENAME)),
        hypotheses=(REPRESENTATIONS, "r = L + p + q − d(K−1) − 1 − s(N−1), of any sign"),
        source="not in the paper",
    )


def _padding() -> Statement:
    """Different paddings left and right: the windows coincide with the mirrored ones iff −p = r − q."""
    name = "T3.conv.asymmetric"
    return proved(
        name,
        "With left padding p, right padding q = p + r and r positions unread at the right, the windows are centred "
        "although the paddings differ: fixed weights commute with ρ.",
        r"q = p + r\ \Rightarrow\ \mathrm{conv}(\rho_{\mathrm{in}}x) = \rho_{\mathrm{out}}\,\mathrm{conv}(x)",
        Claim(
            Equation(name, OUTPUT, conv(W, act_in(X), B)(o, i), act_out(conv(W, X, B))(o, i)),
            context(REMAINDER, (q, p + r)),
            (KERNEL, BIAS, SIGNS_IN),
        ),
        _sufficient_proof(),
        hypotheses=(REPRESENTATIONS, FIXED, "L = s(N−1) + d(K−1) + 1 − p − q + r", "q = p + r"),
        source="not in the paper",
    )


def _sufficient_proof() -> Proof:
    proof = SUFFICIENT.proof
    assert proof is not None
    return proof


def _linear() -> list[Statement]:
    left = (
        Step("rewrite", (0, 0, 0), ("matrix", {o: o, c: c}, True), "W = ρ_out W ρ_in"),
        Step(
            "restate",
            (0, 0),
            (Mul((Mul((sigma(c), sigma(PI_IN(c)))), tau(o), W(PI_OUT(o), PI_IN(c)), X(PI_IN(c)))),),
            "the two signs of channel c side by side",
        ),
        Step("rewrite", (0, 0, 0), ("signs_in", {c: c}), "σ(c)·σ(π(c)) = 1"),
        Step("reindex", (0,), ("pi_in",), "sum over π_in(c) instead of c"),
        Step("rewrite", (1,), ("bias", {o: o}, True), "b = ρ_out b"),
    )
    outside = OUTSIDE[:2]
    facts = Context((C - 1, O - 1), (), (("pi_in", C), ("pi_out", O)))
    return [
        proved(
            "T3.linear.sufficient",
            "A dense layer whose matrix and bias are fixed by ρ commutes with ρ.",
            r"W = \rho_{\mathrm{out}}W\rho_{\mathrm{in}},\ b = \rho_{\mathrm{out}}b\ \Rightarrow\ "
            r"W\rho_{\mathrm{in}}x + b = \rho_{\mathrm{out}}(Wx+b)",
            Claim(
                Equation("dense", ((o, O),), linear(W, act_in(X), B)(o), act_out(linear(W, X, B))(o)),
                facts,
                (MATRIX, BIAS, SIGNS_IN),
            ),
            Proof(left, right=outside),
            hypotheses=("ρ_in and ρ_out: signed involutions of features", FIXED),
            source="paper, section 2.2",
        ),
        proved(
            "T3.linear.mirrored",
            "On the other strand a dense layer is the dense layer with matrix ρ_out W ρ_in and bias ρ_out b.",
            r"\rho_{\mathrm{out}}(W\rho_{\mathrm{in}}x + b) = (\rho_{\mathrm{out}}W\rho_{\mathrm{in}})x"
            r" + \rho_{\mathrm{out}}b",
            Claim(
                Equation("dense", ((o, O),), act_out(linear(W, act_in(X), B))(o), linear(mirror(W), X, mirror(B))(o)),
                facts,
            ),
            Proof((*outside, Step("reindex", (0,), ("pi_in",), "sum over π_in(c) instead of c"))),
            hypotheses=("ρ_in and ρ_out: signed involutions of features",),
            source="not in the paper",
        ),
    ]


# -- tied weights -----------------------------------------------------------------------------------------------


def _tying() -> list[Statement]:
    """The projector: ½(W + ρWρ) is fixed, and a fixed kernel is its own average."""
    at = (o, c, k)
    ranges = ((o, O), (c, C), (k, K))
    half = num(sp.Rational(1, 2))

    def average(*at: Index) -> Term:
        return Mul((half, Add((W(*at), mirror(W)(*at)))))

    twice = mirror(mirror(W))(*at)
    signs = Mul((Mul((tau(o), tau(PI_OUT(o)))), Mul((sigma(c), sigma(PI_IN(c)))), W(*at)))
    undo = (
        Step("restate", (), (signs,), "π∘π = id on channels, K−1−(K−1−k) = k on taps"),
        Step("rewrite", (0,), ("signs_out", {o: o}), "τ(o)·τ(π(o)) = 1"),
        Step("rewrite", (1,), ("signs_in", {c: c}), "σ(c)·σ(π(c)) = 1"),
    )
    facts = context()
    given = (SIGNS_IN, SIGNS_OUT)
    there = (PI_OUT(o), PI_IN(c), K - 1 - k)
    signed = Mul((tau(o), sigma(PI_IN(c)), Add((W(*there), mirror(W)(*there)))))
    swap = (
        Step("restate", (), (Mul((half, signed)),), "½ to the front"),
        Step("distribute", (1,), (), "signs on both summands"),
        *(Step(t.rule, (1, 1, *t.path), t.args, t.note) for t in undo),
    )
    return [
        proved(
            "T4.mirror.involution",
            "Mirroring a kernel twice gives the kernel: W ↦ ρ_out W ρ_in is an involution.",
            r"\rho_{\mathrm{out}}(\rho_{\mathrm{out}}W\rho_{\mathrm{in}})\rho_{\mathrm{in}} = W",
            Claim(Equation("twice", ranges, twice, W(*at)), facts, given),
            Proof(undo),
            hypotheses=(REPRESENTATIONS,),
            source="not in the paper",
        ),
        proved(
            "T4.average.fixed",
            "The average ½(W + ρ_out W ρ_in) of any kernel is fixed by ρ.",
            r"\rho_{\mathrm{out}}\bar W\rho_{\mathrm{in}} = \bar W,\quad"
            r"\bar W = \tfrac12(W + \rho_{\mathrm{out}}W\rho_{\mathrm{in}})",
            Claim(Equation("average", ranges, mirror(average)(*at), average(*at)), facts, given),
            Proof(swap),
            hypotheses=(REPRESENTATIONS,),
            source="not in the paper",
        ),
        proved(
            "T4.average.identity",
            "A fixed kernel is its own average: W ↦ ½(W + ρ_out W ρ_in) is the projector onto the fixed kernels.",
            r"W = \rho_{\mathrm{out}}W\rho_{\mathrm{in}}\ \Rightarrow\ "
            r"\tfrac12(W + \rho_{\mathrm{out}}W\rho_{\mathrm{in}}) = W",
            Claim(Equation("average", ranges, average(*at), W(*at)), facts, (KERNEL,)),
            Proof(
                (Step("rewrite", (1, 1), ("kernel", {o: o, c: c, k: k}), "ρ_out W ρ_in = W"),),
                right=(
                    Step("restate", (), (Mul((half, Mul((W(*at), Add((num(1), num(1))))))),), "W = ½·(1 + 1)·W"),
                    Step("distribute", (1,), (), "W + W"),
                ),
            ),
            hypotheses=(REPRESENTATIONS, "W = ρ_out W ρ_in"),
            source="not in the paper",
        ),
    ]


SUFFICIENT = _sufficient()
T3 = (SUFFICIENT, _mirrored(), _padding(), *_linear())
T4 = tuple(_tying())

#: Statements by theorem.
STATEMENTS: dict[str, tuple[Statement, ...]] = {"T3": T3, "T4": T4}
