"""T3 and T5 for grouped convolutions, with total reversal of channels.

Output channel g·Q + v of group g < G reads the input channels g·S + c, c < S. Reversal of all channels reverses the
groups and the channels within each: C−1−(g·S + c) = (G−1−g)·S + (S−1−c).
"""

from __future__ import annotations

import sympy as sp

from rcproof.symbolic.arithmetic import Context
from rcproof.symbolic.checker import Claim, Equation, Proof, Step
from rcproof.symbolic.convolution import X
from rcproof.symbolic.embedding import UNCENTRED
from rcproof.symbolic.statements import Statement, proved
from rcproof.symbolic.strands import Read, array
from rcproof.symbolic.terms import Add, Big, Elem, If, Index, Mul, Term, num
from rcproof.symbolic.windows import CENTRED, REMAINDER, K, L, N, c, d, i, k, p, q, r, s

G, Q, S, g, v = sp.symbols("G Q S g v", integer=True)
SIZES = (G - 1, Q - 1, S - 1, K - 1, L - 1, N - 1, s - 1, d - 1)
W, B = array("W"), array("b")


def grouped(w: Read, x: Read, b: Read, start: Index = -p) -> Read:
    """Grouped convolution; entry [g, v, i] is position i of output channel g·Q + v."""

    def entry(g: Index, v: Index, i: Index) -> Term:
        at = s * i + d * k + start
        body = If(frozenset({at, L - 1 - at}), Mul((w(g, v, c, k), x(g * S + c, at))), num(0))
        return Add((Big("sum", c, S, Big("sum", k, K, body)), b(g, v)))

    return entry


def _grouped() -> Statement:
    def turned(channel: Index, at: Index) -> Term:
        return X(G * S - 1 - channel, L - 1 - at)

    back = (G - 1 - g, Q - 1 - v)
    kernel = Equation(
        "kernel",
        ((g, G), (v, Q), (c, S), (k, K)),
        Elem("W", (*back, S - 1 - c, K - 1 - k)),
        Elem("W", (g, v, c, k)),
    )
    bias = Equation("bias", ((g, G), (v, Q)), Elem("b", back), Elem("b", (g, v)))
    left = (
        Step("rewrite", (0, 0, 0, 0, 0), ("kernel", {g: g, v: v, c: c, k: k}, True), "the kernel is fixed by ρ"),
        Step("reverse", (0,), (), "sum over S−1−c: channel C−1−(g·S + c) is channel S−1−c of group G−1−g"),
        Step("reverse", (0, 0), (), "sum over K−1−k instead of k"),
        Step("rewrite", (1,), ("bias", {g: g, v: v}, True), "the bias is fixed by ρ"),
    )
    facts = Context(SIZES, (CENTRED,))
    name = "T3.grouped.sufficient"
    return proved(
        name,
        "A convolution with G groups commutes with total reversal if its kernel is fixed by reversal of groups, of "
        "channels within a group and of taps, its bias is, and its windows are centred.",
        r"W_{g,v,c,k} = W_{G-1-g,\,Q-1-v,\,S-1-c,\,K-1-k}"
        r"\ \Rightarrow\ \mathrm{conv}_G(\rho x) = \rho\,\mathrm{conv}_G(x)",
        Claim(
            Equation(
                name, ((g, G), (v, Q), (i, N)), grouped(W, turned, B)(g, v, i), grouped(W, X, B)(*back, N - 1 - i)
            ),
            facts,
            (kernel, bias),
        ),
        Proof(left),
        hypotheses=(
            "total reversal of C = G·S input and O = G·Q output channels",
            "kernel and bias fixed by it",
            "windows centred: s(N−1) + d(K−1) + 1 = L + 2p",
        ),
        source="not in the paper",
    )


def _halves() -> Statement:
    """In the second half of the channels; in the first the two are the same by definition."""
    name = "T5.grouped.halves"
    channels = 2 * G * S

    def second(channel: Index, at: Index) -> Term:
        return X(channels - 1 - channel, L - 1 - at)

    lifted = grouped(W, second, B)(G - 1 - g, Q - 1 - v, N - 1 - i)
    flipped = grouped(
        lambda g, v, c, k: W(G - 1 - g, Q - 1 - v, S - 1 - c, K - 1 - k),
        lambda channel, at: X(G * S + channel, at),
        lambda g, v: B(G - 1 - g, Q - 1 - v),
        start=r - q,
    )(g, v, i)
    return proved(
        name,
        "Uncoupled, with G groups: channel G·Q + g·Q + v of the lift of conv_W is channel g·Q + v of the grouped "
        "convolution of the other strand's channels with the mirror image of W, windows from r − q. For centred "
        "windows both halves are one convolution with 2G groups and the weights tie(W).",
        r"D(\mathrm{conv}_{W,G})(x)_{\ge O} = \mathrm{conv}_{\rho W,\,G,\,r-q}(x_{\ge F})",
        Claim(Equation(name, ((g, G), (v, Q), (i, N)), lifted, flipped), Context(SIZES, (REMAINDER,))),
        Proof(
            (
                Step("reverse", (0,), (), "sum over S−1−c: channels of a group run backwards on the other strand"),
                Step("reverse", (0, 0), (), "sum over K−1−k instead of k"),
            )
        ),
        hypotheses=(UNCENTRED,),
        source="not in the paper",
    )


T3 = (_grouped(),)
T5 = (_halves(),)

#: Statements by theorem.
STATEMENTS: dict[str, tuple[Statement, ...]] = {"T3": T3, "T5": T5}
