r"""Merges and heads (T5): where a strand pair becomes one answer, for all sizes.

The conjoined answer is m(a, ρ_out b): a is the answer on the given strand, b that on the other, m the mean, the
sum or the maximum. ρ_out is any representation on T tasks: (ρ_out y)[t, p] = s(t)·y[π(t), λ(p)], π and λ
involutions, s(t)·s(π(t)) = 1; scores are the case where nothing moves, stranded profiles the one where tasks and
positions do. A merge after a linear head is one linear layer on the stacked tensor: the ½ goes into the weights.
"""

from __future__ import annotations

import sympy as sp

from rcproof.symbolic.arithmetic import Context
from rcproof.symbolic.checker import Claim, Equation, Proof, Step
from rcproof.symbolic.pairs import A, B, F, L, X, claimed, f, p
from rcproof.symbolic.profile import PROFILE, profile_proof
from rcproof.symbolic.statements import Statement, proved
from rcproof.symbolic.strands import Read, array, stack
from rcproof.symbolic.tactics import at, decide_all
from rcproof.symbolic.terms import Add, Big, Elem, Fun, Index, Mul, Term, num

T, J = sp.symbols("T J", integer=True)
t, j, k = sp.symbols("t j k", integer=True)
_pi, _lam = sp.Function("pi", integer=True), sp.Function("lambda", integer=True)
HALF = num(sp.Rational(1, 2))
PAPER = "Zhou et al. 2022, section 2.3"
NOT_IN_PAPER = "not in the paper"
#: T answers a strand, under ρ_out.
Y = stack(A, B, T, L)
TASKS = ((t, T), (p, L))
OUTPUT = Context(facts=(T - 1, L - 1), involutions=(("pi", T), ("lambda", L)))


# -- merges -----------------------------------------------------------------------------------------------------------


def merged(mode: str, a: Term, b: Term) -> Term:
    """The merge of two numbers."""
    if mode == "max":
        return Fun("max", (a, b))
    return Add((a, b)) if mode == "sum" else Mul((HALF, Add((a, b))))


def sign(t: Index) -> Term:
    """The sign of a task under ρ_out."""
    return Elem("sign", (t,))


SIGNS = Equation("signs", ((k, T),), Mul((sign(k), sign(_pi(k)))), num(1))


def rho_out(y: Read, signed: bool = True) -> Read:
    """ρ_out y."""
    if signed:
        return lambda t, p: Mul((sign(t), y(_pi(t), _lam(p))))
    return lambda t, p: y(_pi(t), _lam(p))


def conjoined(mode: str, a: Read, b: Read) -> Read:
    """m(a, ρ_out b); the maximum only where ρ_out has no signs."""
    return lambda t, p: merged(mode, a(t, p), rho_out(b, mode != "max")(t, p))


def other_of(y: Read) -> Read:
    """The other strand of a stacked answer, in its own orientation."""
    return lambda t, p: y(2 * T - 1 - t, L - 1 - p)


def _merge_claim(mode: str) -> Claim:
    left = merged(mode, Y(t, p), rho_out(other_of(Y), mode != "max")(t, p))
    return claimed(f"merge {mode}", left, conjoined(mode, A, B)(t, p), TASKS, OUTPUT)


def _commute_claim(mode: str) -> Claim:
    left = conjoined(mode, B, A)(t, p)
    right = rho_out(conjoined(mode, A, B), mode != "max")(t, p)
    given = () if mode == "max" else (SIGNS,)
    return claimed(f"merge {mode} commutes", left, right, TASKS, OUTPUT, given)


def _commute_proof(mode: str) -> Proof:
    """On the right ρ_out m(a, ρ_out b): the sign goes inside, and s(t)·s(π(t)) = 1."""
    if mode == "max":
        return Proof((Step("restate", (), (_commute_claim("max").equation.rhs,), "max is symmetric, π(π(t)) = t"),))
    half = () if mode == "sum" else (HALF,)
    own = Mul((*half, sign(t), A(_pi(t), _lam(p))))
    other = Mul((*half, Mul((sign(t), sign(_pi(t)))), B(t, p)))
    there = len(half)
    steps = [
        Step("restate", (), (Mul((*half, sign(t), _inner())),), "π(π(t)) = t and λ(λ(p)) = p") if half else None,
        Step("distribute", (), (), "the sign goes to both strands"),
        Step("restate", (0,), (own,), "the strand that is now the other"),
        Step("restate", (1,), (other,), "the strand that is now given: its signs together"),
        Step("rewrite", (1, there), ("signs", {k: t}), "s(t)·s(π(t)) = 1"),
    ]
    left = (Step("distribute", (), (), "the half goes to both strands"),) if half else ()
    return Proof(left, right=tuple(s for s in steps if s is not None))


def _inner() -> Term:
    """a + ρ_out b at the place where ρ_out reads it."""
    i, q = _pi(t), _lam(p)
    return Add((A(i, q), Mul((sign(i), B(_pi(i), _lam(q))))))


AFTER = claimed(
    "merge after the nonlinearity",
    merged("mean", Fun("sigma", (Y(t, p),)), Fun("sigma", (rho_out(other_of(Y), False)(t, p),))),
    merged("mean", Fun("sigma", (A(t, p),)), Fun("sigma", (rho_out(B, False)(t, p),))),
    TASKS,
    OUTPUT,
)


# -- linear heads ---------------------------------------------------------------------------------------------------

_w, _v, _bias, _z = array("w"), array("v"), array("bias"), array("z")
FLAT = stack(A, B, F)
HEAD_SIZES = Context(facts=(F - 1, T - 1))


def dot(weight: Read, x: Read, size: Index, var: sp.Symbol = f) -> Term:
    """Σ weight[t, var]·x[var]."""
    return Big("sum", var, size, Mul((weight(t, var), x(var))))


def half_dot(weight: Read, x: Read, size: Index, var: sp.Symbol = f) -> Term:
    """Σ ½·weight[t, var]·x[var]."""
    return Big("sum", var, size, Mul((HALF, weight(t, var), x(var))))


def strand_sum(x: Read, size: Index = F) -> Read:
    """Own strand plus other strand of a stacked vector."""
    return lambda f: Add((x(f), x(2 * size - 1 - f)))


SUM = claimed(
    "strand sum",
    Add((X(f, p), X(2 * F - 1 - f, L - 1 - p))),
    Add((B(f, p), A(f, p))),
    ((f, F), (p, L)),
    Context(facts=(F - 1, L - 1)),
)
INVARIANT = claimed(
    "invariant head",
    Add((half_dot(_w, strand_sum(FLAT), F), _bias(t))),
    merged("mean", Add((dot(_w, A, F), _bias(t))), Add((dot(_w, B, F), _bias(t)))),
    ((t, T),),
    HEAD_SIZES,
)


def rho_z(j: Index) -> Term:
    """The control track's numbers as the other strand sees them."""
    return Mul((Elem("zsign", (j,)), _z(_pi(j))))


def both_z(j: Index) -> Term:
    """z + ρz: the strand sum of the closed control."""
    return Add((_z(j), rho_z(j)))


COUNTS = claimed(
    "counts head",
    Add((half_dot(_w, strand_sum(FLAT), F), half_dot(_v, both_z, J, j), _bias(t))),
    merged(
        "mean",
        Add((dot(_w, A, F), dot(_v, _z, J, j), _bias(t))),
        Add((dot(_w, B, F), dot(_v, rho_z, J, j), _bias(t))),
    ),
    ((t, T),),
    Context(facts=(F - 1, T - 1, J - 1), involutions=(("pi", J),)),
)


def _head_proof(claim: Claim) -> Proof:
    """Both sides become a sum of halves; the bias is the sum of its halves."""
    left = claim.equation.lhs
    assert isinstance(left, Add)
    last = len(left.args) - 1
    steps: list[Step] = list(decide_all(left, "one half is the given strand, the other the other one"))
    for i in range(last):
        steps.append(Step("distribute", (i, 0), (), "½w(x + y) = ½wx + ½wy"))
        steps.append(Step("linear", (i,), (), "the sum of a sum"))
        steps += [Step("linear", (i, n), (), "the half comes out of the sum") for n in range(2)]
    twice = Mul((_bias(t), Add((HALF, HALF))))
    steps.append(Step("restate", (last,), (twice,), "1 = ½ + ½"))
    steps.append(Step("distribute", (last,), (), "half the bias for each strand"))
    right = (
        Step("distribute", (), (), "½ of the head on each strand"),
        Step("distribute", (0,), (), "the half goes to every term"),
        Step("distribute", (1,), (), "the half goes to every term"),
    )
    return Proof(tuple(steps), right=right)


def _inside(claim: Claim) -> Claim:
    """The same under a function σ."""
    eq = claim.equation
    return claimed(f"{eq.name}, then σ", Fun("sigma", (eq.lhs,)), Fun("sigma", (eq.rhs,)), eq.vars, claim.context)


def _inside_proof(proof: Proof) -> Proof:
    return Proof(at((0,), proof.steps), right=at((0,), proof.right))


LOGITS = _inside(INVARIANT)
INVARIANT_OF_SUM = claimed(
    "strand sum is invariant",
    Add((FLAT(f), FLAT(2 * F - 1 - f))),
    Add((stack(B, A, F)(f), stack(B, A, F)(2 * F - 1 - f))),
    ((f, F),),
    HEAD_SIZES,
)


def _decided(claim: Claim) -> Proof:
    """Both sides, case by case."""
    note = "which strand these channels hold"
    return Proof(decide_all(claim.equation.lhs, note), right=decide_all(claim.equation.rhs, note))


_OUT = "(ρ_out y)[t, p] = s(t)·y[π(t), λ(p)] with involutions π, λ"
_FIT = "s(t)·s(π(t)) = 1"
_EACH = "a and b are the answers of the two strands, each in its own orientation"


def _merges(mode: str, words: str, latex: str) -> tuple[Statement, ...]:
    signs = () if mode == "max" else (_FIT,)
    out = _OUT if mode != "max" else "(ρ_out y)[t, p] = y[π(t), λ(p)] with involutions π, λ: no signs"
    read, commute = _merge_claim(mode), _commute_claim(mode)
    return (
        proved(
            f"T5.merge.{mode}",
            f"Reading both answers out of the stacked tensor and merging them by {words} gives the conjoined answer "
            "for every ρ_out.",
            rf"m(x_{{t,p}},(\rho_{{\mathrm{{out}}}}\rho x)_{{t,p}})={latex},\quad x=\mathrm{{stack}}(a,b)",
            read,
            _decided(read),
            hypotheses=(_EACH, out),
            source=PAPER,
        ),
        proved(
            f"T5.merge.{mode}.commutes",
            f"The merge by {words} of the exchanged strands is ρ_out of the merge: the answer is equivariant.",
            r"m(b,\rho_{\mathrm{out}}a)=\rho_{\mathrm{out}}\,m(a,\rho_{\mathrm{out}}b)",
            commute,
            _commute_proof(mode),
            hypotheses=(_EACH, out, *signs),
            source=PAPER,
        ),
    )


STATEMENTS: dict[str, tuple[Statement, ...]] = {
    "T5": (
        *_merges("mean", "the mean", r"\tfrac12(a+\rho_{\mathrm{out}}b)_{t,p}"),
        *_merges("sum", "the sum", r"(a+\rho_{\mathrm{out}}b)_{t,p}"),
        *_merges("max", "the maximum", r"\max(a,\rho_{\mathrm{out}}b)_{t,p}"),
        proved(
            "T5.merge.after",
            "Averaging after the last nonlinearity: σ on the stacked answers, then the mean, is the mean of σ(a) and "
            "ρ_out σ(b).",
            r"\tfrac12\bigl(\sigma(x)+\rho_{\mathrm{out}}\rho\,\sigma(x)\bigr)"
            r"=\tfrac12\bigl(\sigma(a)+\rho_{\mathrm{out}}\sigma(b)\bigr)",
            AFTER,
            _decided(AFTER),
            hypotheses=(_EACH, "σ is any function; ρ_out has no signs"),
            source=PAPER,
        ),
        proved(
            "T5.strand_sum",
            "The strand sum x[f, p] + x[2F−1−f, L−1−p] of stack(a, b) is b + a: it does not see which strand is given.",
            r"x_{f,p}+x_{2F-1-f,L-1-p}=b_{f,p}+a_{f,p},\quad x=\mathrm{stack}(a,b)",
            SUM,
            _decided(SUM),
            source=PAPER,
        ),
        proved(
            "T5.strand_sum.invariant",
            "The strand sum of stack(a, b) is the strand sum of stack(b, a) = ρ·stack(a, b).",
            r"\Sigma(\mathrm{stack}(a,b))=\Sigma(\mathrm{stack}(b,a))",
            INVARIANT_OF_SUM,
            _decided(INVARIANT_OF_SUM),
            source=PAPER,
        ),
        proved(
            "T5.head.invariant",
            "The mean of linear heads with T tasks on both strands is the strand sum followed by ½·w, and the bias as "
            "it is.",
            r"\sum_f\tfrac12w_{t,f}(x_f+x_{2F-1-f})+\beta_t"
            r"=\tfrac12\Bigl(\sum_f w_{t,f}a_f+\beta_t+\sum_f w_{t,f}b_f+\beta_t\Bigr)",
            INVARIANT,
            _head_proof(INVARIANT),
            hypotheses=(_EACH, "a, b: the features of the two strands, after pooling or flattening"),
            source=PAPER,
        ),
        proved(
            "T5.head.logits",
            "Averaging before the last nonlinearity: the folded head, then σ, is σ of the mean of the heads.",
            r"\sigma\Bigl(\sum_f\tfrac12w_{t,f}(x_f+x_{2F-1-f})+\beta_t\Bigr)"
            r"=\sigma\bigl(\tfrac12(h(a)+h(b))_t\bigr)",
            LOGITS,
            _inside_proof(_head_proof(INVARIANT)),
            hypotheses=(_EACH, "σ is any function of one number"),
            source=PAPER,
        ),
        proved(
            "T5.head.counts",
            "The same with a control: the mean of the heads Σwa + Σvz + β and Σwb + Σv·ρz + β is the strand sum of the "
            "features and of the control, followed by ½w and ½v.",
            r"\sum_f\tfrac12w_{t,f}(x_f+x_{2F-1-f})+\sum_j\tfrac12v_{t,j}(z_j+(\rho z)_j)+\beta_t"
            r"=\tfrac12\bigl(h(a,z)+h(b,\rho z)\bigr)_t",
            COUNTS,
            _head_proof(COUNTS),
            hypotheses=(_EACH, "(ρz)[j] = s(j)·z[π(j)]"),
            source=PAPER,
        ),
        proved(
            "T5.head.profile",
            "The mean of two-strand profiles is one RCPS convolution with free weights V = ½[W₊, ρ(W₋)] and bias "
            "½(β₊ + β₋), for every number of tasks, features, taps and positions, every dilation and centred stride.",
            r"\mathrm{conv}_{\mathrm{tie}(V)}(\mathrm{stack}(a,b))"
            r"=\tfrac12\bigl(\mathrm{conv}_W(a)+\rho\,\mathrm{conv}_W(b)\bigr),\quad V=\tfrac12[W_+,\rho(W_-)]",
            PROFILE,
            profile_proof(),
            hypotheses=("s(N−1) + d(K−1) + 1 = L + 2p: windows are centred (always so for s = 1)",),
            source="Zhou et al. 2022, section 2.3 (profile models)",
        ),
    ),
}
