"""Operations along positions, on strand pairs (T5): pooling over all positions, softmax, weighted sums."""

from __future__ import annotations

from rcproof.symbolic.checker import Claim, Proof, Step
from rcproof.symbolic.pairs import CHANNELS, A, B, F, L, X, c, claimed, lemma, p, plus, u
from rcproof.symbolic.statements import Statement
from rcproof.symbolic.strands import Read, array, stacked, tied
from rcproof.symbolic.tactics import OTHER, OWN, decide_all, places
from rcproof.symbolic.terms import Add, Big, Fun, If, Index, Mul, Term, num

# -- pooling and softmax over positions -----------------------------------------------------------------------------


def pooled(x: Read, op: str, factor: Term | None = None) -> Read:
    """The sum, maximum or (with a factor) mean of every channel over all positions."""

    def entry(c: Index) -> Term:
        big = Big(op, u, L, x(c, u))
        return big if factor is None else Mul((factor, big))

    return entry


def softmax(x: Read) -> Read:
    """Softmax over positions; the exponential and x ↦ 1/x are any functions."""

    def entry(c: Index, p: Index) -> Term:
        total = Big("sum", u, L, Fun("exp", (x(c, u),)))
        return Mul((Fun("exp", (x(c, p),)), Fun("reciprocal", (total,))))

    return entry


def _pool_claim(name: str, op: str, factor: Term | None = None) -> Claim:
    right = stacked(pooled(A, op, factor), pooled(B, op, factor), F, None, c)
    return claimed(name, pooled(X, op, factor)(c), right, CHANNELS)


GLOBAL = {
    "sum": _pool_claim("global sum pooling", "sum"),
    "mean": _pool_claim("global average pooling", "sum", num(1 / L)),
    "max": _pool_claim("global max pooling", "max"),
}
SOFTMAX = claimed("softmax over positions", softmax(X)(c, p), stacked(softmax(A), softmax(B), F, L, c, p))


# -- weighted sums over positions -----------------------------------------------------------------------------------


def weighted_sum(x: Read, weight: Read, bias: Read | None = None) -> Read:
    """y[c] = Σ_p weight[c, p]·x[c, p] + bias[c]."""

    def entry(c: Index) -> Term:
        total = Big("sum", u, L, Mul((weight(c, u), x(c, u))))
        return total if bias is None else Add((total, bias(c)))

    return entry


def seen_from_here(x: Read) -> Read:
    """The other strand of F channels read in this one's direction: ρ of it."""
    return lambda c, p: x(F - 1 - c, L - 1 - p)


def swapped_halves(x: Read) -> Read:
    """A stacked tensor with its halves exchanged, as they lie (not mirrored)."""
    return lambda c, p: If(frozenset({F - 1 - c}), x(c + F, p), x(c - F, p))


_w, _v, _b = array("w"), array("v"), array("bias")
WEIGHTED = claimed(
    "weighted sum",
    weighted_sum(X, tied(_w, F, L), tied(_b, F))(c),
    stacked(weighted_sum(A, _w, _b), weighted_sum(B, _w, _b), F, None, c),
    CHANNELS,
)


def coupled_sum(own: Read, other: Read) -> Read:
    """What a coupled weighted sum makes of one strand, seeing the other in its direction."""
    return plus(weighted_sum(own, _w, _b), weighted_sum(seen_from_here(other), _v))


COUPLED = claimed(
    "coupled weighted sum",
    plus(weighted_sum(X, tied(_w, F, L), tied(_b, F)), weighted_sum(swapped_halves(X), tied(_v, F, L)))(c),
    stacked(coupled_sum(A, B), coupled_sum(B, A), F, None, c),
    CHANNELS,
)


def _coupled_proof() -> Proof:
    """As the usual proof, but the exchanged half is a case distinction in another one."""
    left, right = COUPLED.equation.lhs, COUPLED.equation.rhs
    parts = []
    for note in (OWN, OTHER):
        once = decide_all(left, note)
        again = Step("decide", (1, 0, 1), (), "and its partner lies in the other half")
        backwards = tuple(Step("reverse", q, (), "positions may be read backwards") for q in places(left, Big))
        steps = (*once, again, *(backwards if note == OTHER else ()))
        parts.append(Proof(steps, right=decide_all(right, note)))
    return Proof(cases=F - 1 - c, parts=(parts[0], parts[1]))


STATEMENTS: dict[str, tuple[Statement, ...]] = {
    "T5": (
        lemma(
            "T5.global.sum",
            "Summing every channel of stack(a, b) over all positions is the stack of the sums.",
            r"\sum_p\mathrm{stack}(a,b)_{c,p}=\mathrm{stack}(\textstyle\sum_p a,\sum_p b)_c",
            GLOBAL["sum"],
        ),
        lemma(
            "T5.global.mean",
            "Global average pooling of stack(a, b) is the stack of the averages.",
            r"\tfrac1L\sum_p\mathrm{stack}(a,b)_{c,p}=\mathrm{stack}(\tfrac1L\textstyle\sum_p a,\tfrac1L\sum_p b)_c",
            GLOBAL["mean"],
        ),
        lemma(
            "T5.global.max",
            "Global max pooling of stack(a, b) is the stack of the maxima.",
            r"\max_p\mathrm{stack}(a,b)_{c,p}=\mathrm{stack}(\max_p a,\max_p b)_c",
            GLOBAL["max"],
        ),
        lemma(
            "T5.softmax",
            "Softmax over positions of every channel of stack(a, b) is stack(softmax(a), softmax(b)).",
            r"\mathrm{softmax}_p(\mathrm{stack}(a,b))=\mathrm{stack}(\mathrm{softmax}_p(a),\mathrm{softmax}_p(b))",
            SOFTMAX,
            hypotheses=("exp and x ↦ 1/x may be any functions",),
        ),
        lemma(
            "T5.weighted_sum",
            "The weighted sum over positions with tied weights and bias, on stack(a, b), is the stack of the plain "
            "weighted sums of the strands.",
            r"\sum_p\mathrm{tie}(w)_{c,p}\,\mathrm{stack}(a,b)_{c,p}+\mathrm{tie}(\beta)_c"
            r"=\mathrm{stack}(y(a),y(b))_c,\quad y(a)_f=\sum_p w_{f,p}a_{f,p}+\beta_f",
            WEIGHTED,
        ),
        lemma(
            "T5.weighted_sum.coupled",
            "With a second weight v on the other half, as it lies, the weighted sum of stack(a, b) is "
            "stack(y(a, b), y(b, a)): each strand sees the other read in its own direction.",
            r"y(a,b)_f=\sum_p w_{f,p}a_{f,p}+\sum_p v_{f,p}(\rho b)_{f,p}+\beta_f",
            COUPLED,
            _coupled_proof(),
            source="not in the paper",
        ),
    ),
}
