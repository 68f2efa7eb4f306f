r"""Normalisations of strand pairs (T5): batch, layer, group and instance norm, for all sizes.

Every lemma has the form *the stacked operation on stack(a, b) equals stack(op(a), op(b))*: on the stacked
tensor the RCPS layer computes exactly what the ordinary layer computes on each strand. Since
ρ·stack(a, b) = stack(b, a) (T1), the layer then commutes with ρ.

A mean is κ·Σ for a number κ, 1/n for n entries; ``rsqrt`` is an uninterpreted function and ε a number. Nothing
depends on what they are. In the mirrored half, channel c holds channel 2F−1−c of the other strand,
backwards: a sum may be read backwards, and the parameters are tied. Batch norm in training is T10
(:mod:`rcproof.symbolic.batch_statistics`).
"""

from __future__ import annotations

import sympy as sp

from rcproof.symbolic.arithmetic import Context
from rcproof.symbolic.checker import Claim, Equation
from rcproof.symbolic.statements import Statement, proved
from rcproof.symbolic.strands import Read, array, stack, stacked, tied
from rcproof.symbolic.tactics import by_strand
from rcproof.symbolic.terms import Add, Big, Elem, Fun, If, Index, Mul, Term, num

F, L, G, M = sp.symbols("F L G M", integer=True)
c, p, q, r = sp.symbols("c p q r", integer=True)
EPS, KAPPA = Elem("eps", ()), Elem("kappa", ())
SIZES = Context(facts=(F - 1, L - 1))


# -- the operations -------------------------------------------------------------------------------------------


def scaled(x: Term, mean: Term, var: Term, weight: Term, bias: Term) -> Term:
    """weight · (x − mean) · rsqrt(var + ε) + bias."""
    return Add((Mul((weight, Add((x, Mul((num(-1), mean)))), Fun("rsqrt", (Add((var, EPS)),)))), bias))


def mean_of(x: Read, sizes: tuple[Index, ...], tag: str = "") -> Term:
    """The mean of all entries of an array with the given sizes: κ times their sum."""
    names = [sp.Symbol(f"u{i}{tag}", integer=True) for i in range(len(sizes))]
    total = x(*names)
    for v, n in zip(reversed(names), reversed(sizes), strict=True):
        total = Big("sum", v, n, total)
    return Mul((KAPPA, total))


def variance_of(x: Read, sizes: tuple[Index, ...]) -> Term:
    """The mean square of what lies off the mean."""
    off = Mul((num(-1), mean_of(x, sizes)))
    return mean_of(lambda *i: Mul((Add((x(*i), off)), Add((x(*i), off)))), sizes, "v")


def normalised(x: Read, sizes: tuple[Index, ...], entry: Term, weight: Term, bias: Term) -> Term:
    """``entry`` normalised by the mean and variance of the array x."""
    return scaled(entry, mean_of(x, sizes), variance_of(x, sizes), weight, bias)


def batch_norm(x: Read, weight: Read, bias: Read, mean: Read, var: Read) -> Read:
    """Batch norm in eval mode: fixed statistics, one of each a channel."""
    return lambda c, *rest: scaled(x(c, *rest), mean(c), var(c), weight(c), bias(c))


def layer_norm(x: Read, weight: Read, bias: Read, *sizes: Index) -> Read:
    """Layer norm over all axes of the array x."""
    return lambda *i: normalised(x, sizes, x(*i), weight(*i), bias(*i))


def position_norm(x: Read, weight: Read, bias: Read, length: Index) -> Read:
    """Layer norm over positions; the affine parameters are one a position."""
    return lambda c, p: normalised(lambda u: x(c, u), (length,), x(c, p), weight(p), bias(p))


def group_norm(x: Read, weight: Read, bias: Read, size: Index, length: Index) -> Read:
    """Group norm with groups of ``size`` channels: entry [q, r, p] is channel q·size + r."""

    def entry(q: Index, r: Index, p: Index) -> Term:
        ch = q * size + r
        return normalised(lambda u, v: x(q * size + u, v), (size, length), x(ch, p), weight(ch), bias(ch))

    return entry


def instance_norm(x: Read, weight: Read, bias: Read, length: Index) -> Read:
    """Instance norm: each channel by its own mean and variance over positions."""
    return lambda c, p: normalised(lambda u: x(c, u), (length,), x(c, p), weight(c), bias(c))


def backwards(x: Read, *sizes: Index) -> Read:
    """x with every axis read backwards."""
    return lambda *i: x(*(n - 1 - j for j, n in zip(i, sizes, strict=True)))


def upper(x: Read) -> Read:
    """Channels F, F+1, … of a stacked tensor."""
    return lambda c, *rest: x(F + c, *rest)


# -- the lemmas ---------------------------------------------------------------------------------------------------

w, b = array("weight"), array("bias")
A, B = array("a"), array("b")
X = stack(A, B, F, L)
FLAT = stack(A, B, F)
PAIR = ((c, 2 * F), (p, L))
PAPER = "Zhou et al. 2022, section 2 (batch norm); lifts of the others are not in the paper"


def _batch_claim() -> Claim:
    tied_parameters = (tied(n, F) for n in ("weight", "bias", "mean", "var"))
    plain = tuple(array(n) for n in ("weight", "bias", "mean", "var"))
    left = batch_norm(X, *tied_parameters)(c, p)
    right = stacked(batch_norm(A, *plain), batch_norm(B, *plain), F, L, c, p)
    return Claim(Equation("batch norm", PAIR, left, right), SIZES)


def _halves(name: str, own: Term, other: Term, right: Term, over: tuple[tuple[sp.Symbol, Index], ...]) -> Claim:
    return Claim(Equation(name, over, If(frozenset({F - 1 - c}), own, other), right), SIZES)


def _layer_vector() -> Claim:
    own, other = layer_norm(FLAT, w, b, F)(c), layer_norm(upper(FLAT), backwards(w, F), backwards(b, F), F)(c - F)
    right = stacked(layer_norm(A, w, b, F), layer_norm(B, w, b, F), F, None, c)
    return _halves("layer norm of vectors", own, other, right, ((c, 2 * F),))


def _layer_all() -> Claim:
    own = layer_norm(X, w, b, F, L)(c, p)
    other = layer_norm(upper(X), backwards(w, F, L), backwards(b, F, L), F, L)(c - F, p)
    right = stacked(layer_norm(A, w, b, F, L), layer_norm(B, w, b, F, L), F, L, c, p)
    return _halves("layer norm over channels and positions", own, other, right, PAIR)


def _layer_positions() -> Claim:
    own = position_norm(X, w, b, L)(c, p)
    other = position_norm(upper(X), backwards(w, L), backwards(b, L), L)(c - F, p)
    right = stacked(position_norm(A, w, b, L), position_norm(B, w, b, L), F, L, c, p)
    return _halves("layer norm over positions", own, other, right, PAIR)


def _group() -> Claim:
    groups = M * G
    x = stack(A, B, groups, L)
    left = group_norm(x, tied("weight", groups), tied("bias", groups), G, L)(q, r, p)
    right = If(
        frozenset({groups - 1 - (q * G + r)}),
        group_norm(A, w, b, G, L)(q, r, p),
        group_norm(B, w, b, G, L)(2 * M - 1 - q, G - 1 - r, L - 1 - p),
    )
    context = Context(facts=(M - 1, G - 1, L - 1))
    return Claim(Equation("group norm", ((q, 2 * M), (r, G), (p, L)), left, right), context)


def _instance() -> Claim:
    left = instance_norm(X, tied("weight", F), tied("bias", F), L)(c, p)
    right = stacked(instance_norm(A, w, b, L), instance_norm(B, w, b, L), F, L, c, p)
    return Claim(Equation("instance norm", PAIR, left, right), SIZES)


def statement(name: str, text: str, latex: str, claim: Claim, split: Index, **options: object) -> Statement:
    """A lemma of the usual form with the usual proof."""
    eq = claim.equation
    proof = by_strand(eq.lhs, eq.rhs, split, **options)  # type: ignore[arg-type]
    return proved(name, text, latex, claim, proof, hypotheses=_HYPOTHESES, source=PAPER)


_HYPOTHESES = (
    "all sizes at least 1; a and b are the two strands, each in its own 5'→3' orientation",
    "a mean is κ·Σ, κ being 1 over the number of entries; x ↦ rsqrt(x) is any function, ε any number",
)

BATCH = _batch_claim()
STATEMENTS: dict[str, tuple[Statement, ...]] = {
    "T5": (
        statement(
            "T5.batch_norm",
            "Batch norm in eval mode with tied statistics and tied affine parameters, applied to stack(a, b), is "
            "stack(BN(a), BN(b)). Vectors are the case L = 1.",
            r"\mathrm{BN}_{\mathrm{tie}(\gamma,\beta,\mu,\sigma^2)}(\mathrm{stack}(a,b))"
            r"=\mathrm{stack}(\mathrm{BN}_{\gamma,\beta,\mu,\sigma^2}(a),\mathrm{BN}_{\gamma,\beta,\mu,\sigma^2}(b))",
            BATCH,
            F - 1 - c,
        ),
        statement(
            "T5.layer_norm.vector",
            "Layer norm over the channels of a vector, each half of stack(a, b) normalised by itself and the affine "
            "parameters of the mirrored half read backwards, is stack(LN(a), LN(b)).",
            r"\mathrm{LN}(\mathrm{stack}(a,b))_{c}=\mathrm{stack}(\mathrm{LN}(a),\mathrm{LN}(b))_{c}"
            r",\quad a,b\in\mathbb{R}^{F}",
            _layer_vector(),
            F - 1 - c,
        ),
        statement(
            "T5.layer_norm.all",
            "Layer norm over channels and positions, each half of stack(a, b) normalised by itself and the affine "
            "parameters of the mirrored half reversed along both axes, is stack(LN(a), LN(b)).",
            r"\mathrm{LN}(\mathrm{stack}(a,b))=\mathrm{stack}(\mathrm{LN}(a),\mathrm{LN}(b))"
            r",\quad a,b\in\mathbb{R}^{F\times L}",
            _layer_all(),
            F - 1 - c,
        ),
        statement(
            "T5.layer_norm.positions",
            "Layer norm over positions (one affine pair a position, read backwards in the mirrored half), applied to "
            "stack(a, b), is stack(LN(a), LN(b)).",
            r"\mathrm{LN}_{L}(\mathrm{stack}(a,b))=\mathrm{stack}(\mathrm{LN}_{L}(a),\mathrm{LN}_{L}(b))",
            _layer_positions(),
            F - 1 - c,
        ),
        statement(
            "T5.group_norm",
            "Group norm with M groups of G channels a strand: the plain operation with 2M groups and tied affine "
            "parameters, applied to stack(a, b), is stack(GN(a), GN(b)). Channel qG + r of the stacked tensor; the "
            "mirror of group q is group 2M−1−q.",
            r"\mathrm{GN}_{2M,\mathrm{tie}(\gamma,\beta)}(\mathrm{stack}(a,b))"
            r"=\mathrm{stack}(\mathrm{GN}_{M,\gamma,\beta}(a),\mathrm{GN}_{M,\gamma,\beta}(b))",
            _group(),
            M - 1 - q,
            own=((M - 1 - q, G),),
            other=((q - M, G),),
        ),
        statement(
            "T5.instance_norm",
            "Instance norm with tied affine parameters, applied to stack(a, b), is stack(IN(a), IN(b)).",
            r"\mathrm{IN}_{\mathrm{tie}(\gamma,\beta)}(\mathrm{stack}(a,b))"
            r"=\mathrm{stack}(\mathrm{IN}_{\gamma,\beta}(a),\mathrm{IN}_{\gamma,\beta}(b))",
            _instance(),
            F - 1 - c,
        ),
    ),
}
