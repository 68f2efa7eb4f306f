"""Jensen for the multinomial loss (T9): log Σ e^z is convex for every number of classes, by sums of squares.

The gap ½(log Σe^u + log Σe^v) − log Σe^{(u+v)/2} is ½ log of (Σp²)(Σq²)/(Σpq)² with p = e^{u/2}, q = e^{v/2}: not
negative by Lagrange's identity, which is Cauchy's inequality with its remainder. The Hessian is a variance.
"""

from __future__ import annotations

import sympy as sp

from rcproof.symbolic.arithmetic import Context
from rcproof.symbolic.checker import Claim, Equation, Proof, Step
from rcproof.symbolic.statements import ALGEBRA, Evidence, Statement, proved, require
from rcproof.symbolic.strands import array
from rcproof.symbolic.terms import Add, Big, Mul, Term, num

M = sp.Symbol("M", integer=True)
i, j = sp.symbols("i j", integer=True)
P, Q, S, V = (array(name) for name in "pqsv")
MINUS = num(-1)
PAPER = "Zhou et al. 2022, section 3 (found by experiment; the proof is not in the paper)"


def total(body: Term, var: sp.Symbol) -> Term:
    """Σ over the M classes."""
    return Big("sum", var, M, body)


def exact(left: sp.Expr, right: sp.Expr, words: str) -> str:
    """The line that says left = right; refused if it is not so."""
    require(sp.simplify(sp.expand(left - right)) == 0, f"{words}: {left} is not {right}")
    return f"{words}: {sp.sstr(left)} = {sp.sstr(right)}"


def double(body: Term) -> Term:
    """Σ_i Σ_j over M classes."""
    return total(total(body, j), i)


def minus(*factors: Term) -> Term:
    """The product of the factors with a minus sign."""
    return Mul((MINUS, *factors))


def _square(a: tuple[Term, ...], b: tuple[Term, ...]) -> tuple[Term, ...]:
    """(a − b)·(a − b) as two factors."""
    difference = Add((Mul(a), minus(*b)))
    return (difference, difference)


LAGRANGE = Claim(
    Equation(
        "Lagrange's identity",
        (),
        double(Mul(_square((P(i), Q(j)), (P(j), Q(i))))),
        Add(
            (
                Mul((num(2), total(Mul((P(i), P(i))), i), total(Mul((Q(i), Q(i))), i))),
                Mul((num(-2), total(Mul((P(i), Q(i))), i), total(Mul((P(i), Q(i))), i))),
            )
        ),
    ),
    Context(facts=(M - 1,)),
)
WEIGHTS = Equation("weights sum to 1", (), total(S(i), i), num(1))
HESSIAN = Claim(
    Equation(
        "the Hessian is a variance",
        (),
        double(Mul((S(i), S(j), *_square((V(i),), (V(j),))))),
        Add(
            (
                Mul((num(2), total(Mul((S(i), V(i), V(i))), i))),
                Mul((num(-2), total(Mul((S(i), V(i))), i), total(Mul((S(i), V(i))), i))),
            )
        ),
    ),
    Context(facts=(M - 1,)),
    (WEIGHTS,),
)


def expand_square(places: tuple[tuple[tuple[Term, ...], tuple[Term, ...], Term | None], ...]) -> tuple[Step, ...]:
    """Σ_i Σ_j of a square becomes four products of single sums.

    ``places`` gives, for each of the four terms, its factors with index i, those with index j, and a number.
    """
    steps = [
        Step("distribute", (0, 0), (), "open the first bracket"),
        Step("distribute", (0, 0, 0), (), "open the second bracket"),
        Step("distribute", (0, 0, 1), (), "and again"),
        Step("linear", (0,), (), "the sum over j, term by term"),
        Step("linear", (0, 0), (), "the sum over j, term by term"),
        Step("linear", (0, 1), (), "the sum over j, term by term"),
        Step("linear", (), (), "the sum over i, term by term"),
        Step("linear", (0,), (), "the sum over i, term by term"),
        Step("linear", (1,), (), "the sum over i, term by term"),
    ]
    for k, (first, second, number) in enumerate(places):
        at = (k // 2, k % 2)
        signed = first if number is None else (number, *first)
        steps += [
            Step("restate", (*at, 0, 0), (Mul((*signed, Mul(second))),), "what depends on i, then what depends on j"),
            Step("linear", (*at, 0), (), "what does not depend on j comes out"),
            Step("linear", at, (), "what does not depend on i comes out"),
        ]
    return tuple(steps)


def _doubled(claim: Claim) -> tuple[Step, ...]:
    right = claim.equation.rhs
    assert isinstance(right, Add)
    steps = []
    for k, (term, unit) in enumerate(zip(right.args, (1, -1), strict=True)):
        assert isinstance(term, Mul)
        ones = Add((num(unit), num(unit)))
        steps.append(Step("restate", (k,), (Mul((*term.args[1:], ones)),), "2 = 1 + 1"))
        steps.append(Step("distribute", (k,), (), "2x = x + x"))
    return tuple(steps)


def _lagrange_proof() -> Proof:
    cross = ((P(i), Q(i)), (P(j), Q(j)), MINUS)
    return Proof(
        expand_square(
            (((P(i), P(i)), (Q(j), Q(j)), None), cross, cross, ((Q(i), Q(i)), (P(j), P(j)), None)),
        ),
        right=_doubled(LAGRANGE),
    )


def _hessian_proof() -> Proof:
    cross = ((S(i), V(i)), (S(j), V(j)), MINUS)
    squares = (((S(i), V(i), V(i)), (S(j),), None), cross, cross, ((S(i),), (S(j), V(j), V(j)), None))
    ones = tuple(Step("rewrite", at, ("weights sum to 1", {}), "the weights sum to 1") for at in ((0, 0, 0), (1, 1, 1)))
    return Proof((*expand_square(squares), *ones), right=_doubled(HESSIAN))


def _entries() -> Evidence:
    """Second derivatives of log(e^x + e^y + r), r > 0 the sum over all other classes: sᵢ(δᵢⱼ − sⱼ)."""
    u, v = sp.symbols("u v", real=True)
    r = sp.Symbol("r", positive=True)
    whole = sp.exp(u) + sp.exp(v) + r
    own, other = sp.exp(u) / whole, sp.exp(v) / whole
    lines = (
        exact(sp.diff(sp.log(whole), u, 2), own * (1 - own), "in one logit"),
        exact(sp.diff(sp.log(whole), u, v), -own * other, "in two logits"),
    )
    return Evidence(2, lines)


STATEMENTS: dict[str, tuple[Statement, ...]] = {
    "T9": (
        proved(
            "T9.multinomial",
            "Multinomial negative log-likelihood of logits, n·log Σ e^z − Σ y z, for every number of classes: with "
            "p = e^{u/2} and q = e^{v/2} its gap is n/2 times the logarithm of (Σp²)(Σq²)/(Σpq)², and "
            "(Σp²)(Σq²) − (Σpq)² is half a sum of squares.",
            r"\sum_{i,j}(p_iq_j-p_jq_i)^2=2\sum_ip_i^2\sum_iq_i^2-2\Bigl(\sum_ip_iq_i\Bigr)^2",
            LAGRANGE,
            _lagrange_proof(),
            hypotheses=("the counts y are ≥ 0, n is their sum; p and q are > 0",),
            source=PAPER,
        ),
        proved(
            "T9.multinomial.hessian",
            "Its Hessian in direction v is n times the variance of v under the softmax weights s, half a sum of "
            "squares with weights s_i·s_j ≥ 0, for every number of classes.",
            r"\sum_{i,j}s_is_j(v_i-v_j)^2=2\sum_is_iv_i^2-2\Bigl(\sum_is_iv_i\Bigr)^2",
            HESSIAN,
            _hessian_proof(),
            hypotheses=("Σ s_i = 1",),
            source=PAPER,
        ),
        Statement(
            "T9.multinomial.entries",
            "The second derivatives of log Σ e^z are s_i(1 − s_i) and −s_i·s_j, whatever the other classes sum to.",
            r"\partial_i\partial_j\log\textstyle\sum_k e^{z_k}=s_i(\delta_{ij}-s_j)",
            ALGEBRA,
            _entries,
            source=PAPER,
        ),
    ),
}
