"""T3 and T5 for transposed convolutions: equivariance, the mirrored layer, and the embedding of conjoined weights.

Weights are in torch's transposed layout, input channels first. A transposed convolution writes s·j + d·k − p from
position j with tap k; its output is as long as its windows reach, plus an output padding at the right end.
"""

from __future__ import annotations

import sympy as sp

from rcproof.symbolic.arithmetic import Context
from rcproof.symbolic.checker import Claim, Equation, Proof, Step
from rcproof.symbolic.convolution import BIAS, FIXED, OUTPUT, OUTSIDE, RENAME, REPRESENTATIONS, B, W, X
from rcproof.symbolic.embedding import REPRESENTATION, SECOND, V, by_strand, first, flipped, halved, reflected
from rcproof.symbolic.statements import Statement, proved
from rcproof.symbolic.strands import Read, mirrored, stack
from rcproof.symbolic.terms import Mul
from rcproof.symbolic.windows import (
    PI_IN,
    PI_OUT,
    SIGNS_IN,
    C,
    F,
    K,
    L,
    N,
    O,
    act_in,
    act_out,
    c,
    context,
    d,
    fixed,
    i,
    j,
    k,
    mirror,
    o,
    p,
    r,
    s,
    sigma,
    tau,
    transposed,
)

#: Length of a transposed convolution with output padding r: N = s(L−1) + d(K−1) + 1 − 2p + r.
TRANSPOSED = (N, s * (L - 1) + d * (K - 1) + 1 - 2 * p + r)


def swapped(w: Read) -> Read:
    """A kernel in torch's transposed layout, input channels first, read output channel first."""
    return lambda o, c, k: w(c, o, k)


def _transposed() -> list[Statement]:
    inside = (0, 0, 0, 0, 0)
    fixed_kernel = fixed("kernel", swapped(W), 3)
    turned = (*RENAME, Step("reverse", (0, 0, 0), (), "sum over L−1−j instead of j"))
    outside = (
        *OUTSIDE[:3],
        Step("collect", (0, 0, 0), (), "τ(o) under the sum over input positions"),
        Step("push", (0, 0, 0, 0), (), "τ(o) into the case of a tap and position that meet"),
    )
    square = Mul(
        (
            Mul((sigma(c), sigma(PI_IN(c)))),
            tau(o),
            swapped(W)(PI_OUT(o), PI_IN(c), K - 1 - k),
            X(PI_IN(c), L - 1 - j),
        )
    )
    left = (
        Step("rewrite", (*inside, 0), ("kernel", {o: o, c: c, k: k}, True), "W = ρ_out W ρ_in"),
        Step("restate", inside, (square,), "the two signs of channel c side by side"),
        Step("rewrite", (*inside, 0), ("signs_in", {c: c}), "σ(c)·σ(π(c)) = 1"),
        *turned,
        Step("rewrite", (1,), ("bias", {o: o}, True), "b = ρ_out b"),
    )
    return [
        proved(
            "T3.transposed.sufficient",
            "A transposed convolution without output padding, kernel and bias fixed by ρ, commutes with ρ; its "
            "windows are always centred.",
            r"N = s(L-1)+d(K-1)+1-2p\ \Rightarrow\ T(\rho_{\mathrm{in}}x) = \rho_{\mathrm{out}}T(x)",
            Claim(
                Equation("transposed", OUTPUT, transposed(W, act_in(X), B)(o, i), act_out(transposed(W, X, B))(o, i)),
                context(TRANSPOSED, (r, sp.Integer(0))),
                (fixed_kernel, BIAS, SIGNS_IN),
            ),
            Proof(left, right=outside),
            hypotheses=(REPRESENTATIONS, FIXED, "N = s(L−1) + d(K−1) + 1 − 2p: no output padding"),
            source="not in the paper",
        ),
        proved(
            "T3.transposed.mirrored",
            "On the other strand a transposed convolution with padding p and output padding r is the one with kernel "
            "ρ_out W ρ_in, bias ρ_out b and padding p − r at the left: the output padding is at the other end.",
            r"\rho_{\mathrm{out}}T_{W,b,p}(\rho_{\mathrm{in}}x) ="
            r" T_{\rho_{\mathrm{out}}W\rho_{\mathrm{in}},\,\rho_{\mathrm{out}}b,\,p-r}(x)",
            Claim(
                Equation(
                    "transposed",
                    OUTPUT,
                    act_out(transposed(W, act_in(X), B))(o, i),
                    transposed(swapped(mirror(swapped(W))), X, mirror(B), padding=p - r)(o, i),
                ),
                context(TRANSPOSED),
            ),
            Proof((*outside, *turned)),
            hypotheses=(REPRESENTATIONS, "N = s(L−1) + d(K−1) + 1 − 2p + r"),
            source="not in the paper",
        ),
    ]


def _embedding() -> list[Statement]:
    ranges = ((o, 2 * O), (i, N))
    facts = (C - 1, F - 1, O - 1, K - 1, L - 1, N - 1, s - 1, d - 1)
    turned = Step("reverse", (0, 0, 0), (), "sum over L−1−j instead of j")
    lifted = stack(transposed(V, X, B), transposed(V, act_in(X), B), O, N)(o, i)
    full = swapped(halved(swapped(V), reflected(swapped(V))))
    weights = (
        first((0, 0, 0, 0, 0, 0), "the tied weight: V, or its mirror image"),
        first((1,), "the tied bias"),
    )
    plain = stack(transposed(W, X, B, channels=F), transposed(W, mirrored(X, 2 * F, L), B, channels=F), O, N)
    cat = halved(
        transposed(W, X, B, channels=F),
        transposed(swapped(flipped(swapped(W))), lambda c, at: X(F + c, at), flipped(B), padding=p - r, channels=F),
    )
    return [
        proved(
            "T5.transposed.tied",
            "Without output padding, the transposed convolution with tied weights on an input x with representation "
            "ρ_in is the lift of T_V: stack(T_V(x), T_V(ρ_in x)).",
            r"T_{\mathrm{tie}(V)}(x) = \mathrm{stack}(T_V(x), T_V(\rho_{\mathrm{in}}x))",
            Claim(
                Equation("tied", ranges, lifted, transposed(full, X, halved(B, reflected(B)))(o, i)),
                Context(facts, (TRANSPOSED, (r, sp.Integer(0))), (("pi_in", C),)),
            ),
            by_strand(Proof((first(),), right=weights), Proof((first(note=SECOND), *RENAME, turned), right=weights)),
            hypotheses=(REPRESENTATION, "N = s(L−1) + d(K−1) + 1 − 2p: no output padding"),
            source="not in the paper",
        ),
        proved(
            "T5.transposed.halves",
            "Uncoupled: the lift of T_W is T_W on the first F channels, and on the others the transposed convolution "
            "with the mirror image of W and padding p − r, r being the output padding.",
            r"D(T_W)(x) = \mathrm{cat}[T_{W,p}(x_{<F}), T_{\rho W,\,p-r}(x_{\ge F})]",
            Claim(Equation("halves", ranges, plain(o, i), cat(o, i)), Context(facts, (TRANSPOSED,))),
            by_strand(
                Proof((first(),), right=(first(),)),
                Proof(
                    (
                        first(note=SECOND),
                        Step("reverse", (0,), (), "sum over F−1−c: channel 2F−1−c is channel F + (F−1−c)"),
                        Step("reverse", (0, 0), (), "sum over K−1−k instead of k"),
                        turned,
                    ),
                    right=(first(),),
                ),
            ),
            hypotheses=("N = s(L−1) + d(K−1) + 1 − 2p + r",),
            source="not in the paper",
        ),
    ]


T3 = tuple(_transposed())
T5 = tuple(_embedding())

#: Statements by theorem.
STATEMENTS: dict[str, tuple[Statement, ...]] = {"T3": T3, "T5": T5}
