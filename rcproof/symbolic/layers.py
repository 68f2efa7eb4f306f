r"""Layers without windows, on strand pairs (T5), for all sizes: pointwise, sums and products, crop, flatten,
embedding, and any map whatever as a lift. More of them: :mod:`~rcproof.symbolic.positions`,
:mod:`~rcproof.symbolic.concatenation` and :mod:`~rcproof.symbolic.norms`.

Every lemma has the form *the stacked operation on stack(a, b) equals stack(op(a), op(b))*; since
ρ·stack(a, b) = stack(b, a) (T1), the stacked operation then commutes with ρ. The batch axis is left out:
none of these mixes examples. Every proof begins with the same case distinction: channel c < F is channel c
of the given strand; channel c ≥ F is channel 2F−1−c of the other strand, read backwards.
"""

from __future__ import annotations

from typing import Any

import sympy as sp

from rcproof.symbolic.arithmetic import Context
from rcproof.symbolic.checker import Claim, Equation, Proof, Step
from rcproof.symbolic.pairs import A, B, F, L, X, c, claimed, f, lemma, p, plus, times, u
from rcproof.symbolic.statements import Statement
from rcproof.symbolic.strands import Read, array, stack, stacked, tied
from rcproof.symbolic.tactics import OTHER, OWN, decide_all
from rcproof.symbolic.terms import Elem, Fun, If, Index, Lam, Op

H, M, D, V, S, E = sp.symbols("H M D V S E", integer=True)
d = sp.Symbol("d", integer=True)
_comp, _token = (sp.Function(n, integer=True) for n in ("complement", "token"))
A2, B2 = array("a2"), array("b2")


# -- pointwise ------------------------------------------------------------------------------------------------------


def pointwise(x: Read, *parameters: Read) -> Read:
    """σ of every entry, with parameters that depend on the channel, if any."""
    return lambda c, *rest: Fun("sigma", (x(c, *rest), *(v(c) for v in parameters)))


POINTWISE = claimed("pointwise", pointwise(X)(c, p), stacked(pointwise(A), pointwise(B), F, L, c, p))
_slope = array("slope")
PRELU = claimed(
    "pointwise with parameters",
    pointwise(X, tied(_slope, F))(c, p),
    stacked(pointwise(A, _slope), pointwise(B, _slope), F, L, c, p),
)
X2 = stack(A2, B2, F, L)
RESIDUAL = claimed("residual sum", plus(X, X2)(c, p), stacked(plus(A, A2), plus(B, B2), F, L, c, p))
PRODUCT = claimed("product", times(X, X2)(c, p), stacked(times(A, A2), times(B, B2), F, L, c, p))


# -- crop and flatten -----------------------------------------------------------------------------------------------


def crop(x: Read, start: Index) -> Read:
    """x[:, start:stop]; the length of what is left goes with its index."""
    return lambda c, p: x(c, start + p)


def stacked_crop(x: Read, start: Index, stop: Index) -> Read:
    """Own half x[:, start:stop], other half x[:, L−stop:L−start]."""
    return lambda c, p: If(frozenset({F - 1 - c}), crop(x, start)(c, p), crop(x, L - stop)(c, p))


_CROP_SIZES = Context(facts=(F - 1, L - 1, S, L - E, E - S - 1))
CROPPED = ((c, 2 * F), (p, E - S))
_CROP_RIGHT = stacked(crop(A, S), crop(B, S), F, E - S, c, p)
CROP = claimed("crop", stacked_crop(X, S, E)(c, p), _CROP_RIGHT, CROPPED, _CROP_SIZES)
CENTRAL = claimed(
    "central crop",
    crop(X, S)(c, p),
    _CROP_RIGHT,
    CROPPED,
    Context(facts=_CROP_SIZES.facts, equal=((L, S + E),)),
)


def flattening(name: str, flat: str, x: Read, channels: Index) -> Equation:
    """The definition of a flattened array: entry c·L + p is x[c, p]."""
    return Equation(name, ((f, channels), (u, L)), Elem(flat, (f * L + u,)), x(f, u))


FLATTENED = (
    flattening("flatten x", "flat_x", X, 2 * F),
    flattening("flatten a", "flat_a", A, F),
    flattening("flatten b", "flat_b", B, F),
)
FLATTEN = claimed(
    "flatten",
    Elem("flat_x", (c * L + p,)),
    stacked("flat_a", "flat_b", F * L, None, c * L + p),
    given=FLATTENED,
)


def _flatten_proof() -> Proof:
    first = Step("rewrite", (), ("flatten x", {f: c, u: p}), "what entry c·L + p of the flattened pair is")
    back = ("flatten b", {f: 2 * F - 1 - c, u: L - 1 - p})
    own = Proof(
        (first, Step("decide", (), (), OWN)),
        right=(
            Step("decide", (), ((F - 1 - c, L),), "c ≤ F−1 and p ≤ L−1: c·L + p < F·L"),
            Step("rewrite", (), ("flatten a", {f: c, u: p}), "entry c·L + p of flattened a"),
        ),
    )
    other = Proof(
        (first, Step("decide", (), (), OTHER)),
        right=(
            Step("decide", (), ((c - F, L),), "c ≥ F: c·L + p ≥ F·L"),
            Step("rewrite", (), back, "2FL − 1 − (cL + p) = (2F−1−c)·L + (L−1−p)"),
        ),
    )
    return Proof(cases=F - 1 - c, parts=(own, other))


# -- embedding ------------------------------------------------------------------------------------------------------


def embedded(row: Any) -> Read:
    """Embedding: feature d at position p is table[row(p), d]."""
    return lambda d, p: Elem("table", (row(p), d))


def other_tokens(p: Index) -> Index:
    """ρ of a token sequence: complemented and read backwards."""
    return _comp(_token(L - 1 - p))


EMBED = claimed(
    "embedding",
    If(frozenset({D - 1 - d}), Elem("table", (_token(p), d)), Elem("table", (_comp(_token(p)), 2 * D - 1 - d))),
    stacked(embedded(_token), embedded(other_tokens), D, L, d, p),
    ((d, 2 * D), (p, L)),
    Context(facts=(D - 1, L - 1, V - 1), involutions=(("complement", V),)),
)


# -- any map as a lift ----------------------------------------------------------------------------------------------


def lam(x: Read) -> Lam:
    """One strand, F channels of L positions, as the argument of an operator."""
    return Lam((f, u), (F, L), x(f, u))


def given_half(x: Read) -> Read:
    """The given strand in a stacked tensor."""
    return x


def other_half(x: Read) -> Read:
    """The other strand in a stacked tensor, in its own orientation."""
    return lambda c, p: x(2 * F - 1 - c, L - 1 - p)


def operated(*strands: Read) -> Read:
    """Any map g of one strand (or of several) to H channels of M positions."""
    return lambda c, p: Op("g", tuple(lam(s) for s in strands), (c, p))


OUT = ((c, 2 * H), (p, M))
_LIFT_SIZES = Context(facts=(F - 1, L - 1, H - 1, M - 1))


def _lift(left: tuple[Read, Read], right: tuple[Read, Read], name: str) -> Claim:
    return claimed(name, stacked(*left, H, M, c, p), stacked(*right, H, M, c, p), OUT, _LIFT_SIZES)


_given, _other = given_half(X), other_half(X)
LIFT = _lift((operated(_given), operated(_other)), (operated(A), operated(B)), "lift")
LIFT2 = _lift((operated(_given, _other), operated(_other, _given)), (operated(A, B), operated(B, A)), "coupled lift")


def _lift_proof(claim: Claim) -> Proof:
    left = claim.equation.lhs
    assert isinstance(left, If)
    parts = []
    for side, note in enumerate((OWN, OTHER)):
        inner = decide_all((left.then, left.other)[side], "which half a channel of the argument lies in")
        parts.append(Proof((Step("decide", (), (), note), *inner), right=(Step("decide", (), (), note),)))
    return Proof(cases=H - 1 - c, parts=(parts[0], parts[1]))


STATEMENTS: dict[str, tuple[Statement, ...]] = {
    "T5": (
        lemma(
            "T5.pointwise",
            "A pointwise function is its own lift: σ(stack(a, b)) = stack(σ(a), σ(b)).",
            r"\sigma(\mathrm{stack}(a,b))=\mathrm{stack}(\sigma(a),\sigma(b))",
            POINTWISE,
            hypotheses=("σ is any function of one number",),
        ),
        lemma(
            "T5.pointwise.parameters",
            "A pointwise function with one parameter a channel (PReLU), the parameters tied, is its own lift.",
            r"\sigma_{\mathrm{tie}(\alpha)}(\mathrm{stack}(a,b))=\mathrm{stack}(\sigma_\alpha(a),\sigma_\alpha(b))",
            PRELU,
            hypotheses=("σ is any function of two numbers",),
        ),
        lemma(
            "T5.residual",
            "The sum of two stacked tensors is the stack of the sums: residual connections need no change.",
            r"\mathrm{stack}(a,b)+\mathrm{stack}(a',b')=\mathrm{stack}(a+a',b+b')",
            RESIDUAL,
        ),
        lemma(
            "T5.product",
            "The product of two stacked tensors, entry by entry (a gate), is the stack of the products.",
            r"\mathrm{stack}(a,b)\odot\mathrm{stack}(a',b')=\mathrm{stack}(a\odot a',b\odot b')",
            PRODUCT,
        ),
        lemma(
            "T5.crop",
            "Cropping the own half to [start, stop) and the mirrored half to [L−stop, L−start) is the crop of each "
            "strand to [start, stop) in its own direction.",
            r"\mathrm{crop}(\mathrm{stack}(a,b))=\mathrm{stack}(a_{[S,E)},b_{[S,E)})",
            CROP,
            hypotheses=("0 ≤ start < stop ≤ L",),
        ),
        lemma(
            "T5.crop.central",
            "Where start + stop = L the plain crop of the stacked tensor is the crop of each strand.",
            r"\mathrm{stack}(a,b)_{[S,L-S)}=\mathrm{stack}(a_{[S,L-S)},b_{[S,L-S)})",
            CENTRAL,
            hypotheses=("0 ≤ start < stop ≤ L and start + stop = L",),
        ),
        lemma(
            "T5.flatten",
            "Flattening (2F, L) to 2FL, entry [c, p] to c·L + p, takes stack(a, b) to the stack of the flattened "
            "strands: total reversal stays total reversal.",
            r"\mathrm{flat}(\mathrm{stack}(a,b))_{cL+p}=\mathrm{stack}(\mathrm{flat}(a),\mathrm{flat}(b))_{cL+p}",
            FLATTEN,
            _flatten_proof(),
            hypotheses=("0 ≤ c < 2F and 0 ≤ p < L: every entry of the flattened pair is some c·L + p",),
        ),
        lemma(
            "T5.embedding",
            "Embedding of tokens t: features of t, then of the complemented tokens in reverse order of features, is "
            "stack(E(t), E(ρt)) where ρ complements the tokens and reads them backwards.",
            r"[E_{t_p,d};\,E_{\kappa(t_p),2D-1-d}]=\mathrm{stack}(E(t),E(\rho t))_{d,p},"
            r"\quad(\rho t)_p=\kappa(t_{L-1-p})",
            EMBED,
            split=D - 1 - d,
            hypotheses=("κ is an involution of the codes; t is any sequence of codes",),
            source="not in the paper",
        ),
        lemma(
            "T5.lift",
            "Any map g of one strand (recurrent, attention, any stride or crop) applied to each strand in its own "
            "orientation is stack(g(a), g(b)) on stack(a, b), for all sizes in and out.",
            r"D(g)(\mathrm{stack}(a,b))=\mathrm{stack}(g(a),g(b))",
            LIFT,
            _lift_proof(LIFT),
            hypotheses=("g is any map from F × L to H × M arrays that treats examples one by one",),
            source="not in the paper",
        ),
        lemma(
            "T5.lift.coupled",
            "The same for a map of both strands (cross-strand attention): with the given strand first it is "
            "stack(g(a, b), g(b, a)).",
            r"D(g)(\mathrm{stack}(a,b))=\mathrm{stack}(g(a,b),g(b,a))",
            LIFT2,
            _lift_proof(LIFT2),
            hypotheses=("g is any map from two F × L arrays to an H × M array",),
            source="not in the paper",
        ),
    ),
}
