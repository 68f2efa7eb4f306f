r"""Batch norm (T10): exact in eval mode; in training, RCPS statistics pool both strands, and two passes do not.

N examples are 2N strands s[m, f, p]: m < N are the given strands, m ≥ N the others, each 5'→3'. RCPS batch norm
in training is the ordinary one on these 2N strands. To replace some of the examples by their reverse
complements is to exchange s[n] and s[N+n] for those n: an involution π of the 2N strands. Sums over all
strands do not see it. Calling an ordinary batch norm once a strand is something else: counterexamples below.
"""

from __future__ import annotations

import itertools
from fractions import Fraction

import sympy as sp

from rcproof.symbolic.arithmetic import Context
from rcproof.symbolic.checker import Claim, Equation, Proof, Step
from rcproof.symbolic.norms import BATCH, KAPPA, mean_of, normalised, scaled, variance_of
from rcproof.symbolic.statements import ALGEBRA, REFUTED, Evidence, Statement, proved, require
from rcproof.symbolic.strands import Read, array, tied
from rcproof.symbolic.tactics import OTHER, OWN, by_strand, decide_all, places
from rcproof.symbolic.terms import Add, Big, Elem, If, Index, Mul, Term, num

F, L, N = sp.symbols("F L N", integer=True)
c, f, m, n, p = sp.symbols("c f m n p", integer=True)
_pi = sp.Function("pi", integer=True)
CONTEXT = Context(facts=(F - 1, L - 1, N - 1), involutions=(("pi", 2 * N),))
PAPER = "Zhou et al. 2022 do not treat it"
_w, _b = array("weight"), array("bias")
_MOMENTUM = Elem("momentum", ())


def of_feature(s: Read, f: Index) -> Read:
    """The values of one feature: all strands, all positions."""
    return lambda m, u: s(m, f, u)


def train_norm(s: Read) -> Read:
    """Batch norm in training on the 2N strands."""
    return lambda m, f, p: normalised(of_feature(s, f), (2 * N, L), s(m, f, p), _w(f), _b(f))


def running(old: Term, new: Term) -> Term:
    """(1 − momentum)·old + momentum·new."""
    return Add((Mul((Add((num(1), Mul((num(-1), _MOMENTUM)))), old)), Mul((_MOMENTUM, new))))


def swapped(s: Read) -> Read:
    """The strands with some examples replaced by their reverse complements."""
    return lambda m, f, p: s(_pi(m), f, p)


def stacked_mean(x: Read, c: Index, tag: str = "") -> Term:
    """The mean of channel c and its mirror over examples and positions of a stacked tensor x[n, c, p]."""
    i, u = sp.Symbol("i" + tag, integer=True), sp.Symbol("u" + tag, integer=True)
    pair = Add((x(i, c, u), x(i, 2 * F - 1 - c, L - 1 - u)))
    return Mul((KAPPA, Big("sum", i, N, Big("sum", u, L, pair))))


def stacked_variance(x: Read, c: Index) -> Term:
    """The variance that goes with :func:`stacked_mean`."""
    off = Mul((num(-1), stacked_mean(x, c)))

    def square(n: Index, c: Index, u: Index) -> Term:
        return Mul((Add((x(n, c, u), off)), Add((x(n, c, u), off))))

    return stacked_mean(square, c, "v")


def stacked_train_norm(x: Read) -> Read:
    """RCPS batch norm in training on the stacked tensor."""
    return lambda n, c, p: scaled(
        x(n, c, p), stacked_mean(x, c), stacked_variance(x, c), tied(_w, F)(c), tied(_b, F)(c)
    )


def _over_strands(t: Term) -> tuple[Step, ...]:
    return tuple(
        Step("reindex", path, ("pi",), "a sum over all strands may be taken in another order")
        for path in places(t, Big)
        if _big(t, path).size == 2 * N
    )


def _big(t: Term, path: tuple[int, ...]) -> Big:
    from rcproof.symbolic.terms import children

    for k in path:
        t = children(t)[k]
    assert isinstance(t, Big)
    return t


def _examples(name: str, left: Term, right: Term, *over: tuple[sp.Symbol, Index]) -> tuple[Claim, Proof]:
    return Claim(Equation(name, over, left, right), CONTEXT), Proof(right=_over_strands(right))


S, T = array("s"), swapped(array("s"))
OUTPUT = _examples(
    "outputs in training", train_norm(T)(m, f, p), train_norm(S)(_pi(m), f, p), (m, 2 * N), (f, F), (p, L)
)
MEAN = _examples(
    "running mean",
    running(Elem("r", (f,)), mean_of(of_feature(T, f), (2 * N, L))),
    running(Elem("r", (f,)), mean_of(of_feature(S, f), (2 * N, L))),
    (f, F),
)
VARIANCE = _examples(
    "running variance",
    running(Elem("r", (f,)), Mul((Elem("unbiased", ()), variance_of(of_feature(T, f), (2 * N, L))))),
    running(Elem("r", (f,)), Mul((Elem("unbiased", ()), variance_of(of_feature(S, f), (2 * N, L))))),
    (f, F),
)


def _layouts() -> tuple[Claim, Proof]:
    """The pooled mean, read off the stacked tensor, is the mean of the 2N strands."""

    def stack(n: Index, c: Index, u: Index) -> Term:
        return If(frozenset({F - 1 - c}), S(n, c, u), S(N + n, 2 * F - 1 - c, L - 1 - u))

    left, right = stacked_mean(stack, f), mean_of(of_feature(S, f), (2 * N, L))
    claim = Claim(Equation("pooled mean", ((f, F),), left, right), CONTEXT)
    steps = (
        *decide_all(left, "channel f is the given strand, channel 2F−1−f the other"),
        Step("linear", (1, 0), (), "the sum over positions of both strands"),
        Step("linear", (1,), (), "the sum over examples of both strands"),
    )
    return claim, Proof(steps, right=(Step("split", (1,), (N,), "given strands first, then the others"),))


def _commutes() -> tuple[Claim, Proof]:
    x = array("x")

    def rho(n: Index, c: Index, u: Index) -> Term:
        return x(n, 2 * F - 1 - c, L - 1 - u)

    left, right = stacked_train_norm(rho)(n, c, p), stacked_train_norm(x)(n, 2 * F - 1 - c, L - 1 - p)
    claim = Claim(Equation("training commutes", ((n, N), (c, 2 * F), (p, L)), left, right), CONTEXT)
    backwards = tuple(
        Step("reverse", path, (), "positions may be read backwards")
        for path in places(right, Big)
        if _big(right, path).size == L
    )
    parts = tuple(Proof(decide_all(left, note), right=(*decide_all(right, note), *backwards)) for note in (OWN, OTHER))
    return claim, Proof(cases=F - 1 - c, parts=parts)


LAYOUTS, COMMUTES = _layouts(), _commutes()


# -- two passes ------------------------------------------------------------------------------------------------------


def two_passes(first: list[Fraction], second: list[Fraction], momentum: Fraction, start: Fraction) -> Fraction:
    """The running mean of one feature after a batch norm was called on one strand's values, then on the other's."""
    value = start
    for strand in (first, second):
        value = (1 - momentum) * value + momentum * sum(strand, Fraction(0)) / len(strand)
    return value


def _two_pass() -> Evidence:
    """The least pair of strands, one number each, whose running mean depends on which strand is given."""
    for x, y in itertools.product(range(2), repeat=2):
        own, other = [Fraction(x)], [Fraction(y)]
        one, two = (two_passes(*pair, Fraction(1, 10), Fraction(0)) for pair in ((own, other), (other, own)))
        if one != two:
            return Evidence(
                1,
                (
                    f"one feature, one example, one position: the value is {x} on the given strand, {y} on the other",
                    f"running mean from 0 with momentum 1/10: {one}; with the reverse complement given: {two}",
                ),
            )
    require(False, "no counterexample was found")
    raise AssertionError  # pragma: no cover


def _two_pass_output() -> Evidence:
    own, other = Fraction(0), Fraction(1)
    alone, pooled = own - own, own - (own + other) / 2
    require(alone != pooled, "the outputs agree")
    return Evidence(
        1,
        (
            "one feature, one example, one position: the value is 0 on the given strand, 1 on the other",
            f"less the mean of its own strand it is {alone}; less the mean of both it is {pooled}",
        ),
    )


def _gap() -> Evidence:
    r, u, v, k = sp.symbols("r u v k", real=True)

    def step(value: sp.Expr, mean: sp.Expr) -> sp.Expr:
        return (1 - k) * value + k * mean

    gap = sp.expand(step(step(r, u), v) - step(step(r, v), u))
    require(sp.expand(gap - k**2 * (v - u)) == 0, "the gap is another one")
    return Evidence(1, (f"own strand first, less other strand first: {sp.factor(gap)}",))


def _cumulative() -> Evidence:
    r, u, v = sp.symbols("r u v", real=True)
    t = sp.Symbol("t", integer=True, nonnegative=True)

    def step(value: sp.Expr, mean: sp.Expr, calls: sp.Expr) -> sp.Expr:
        return (1 - 1 / calls) * value + mean / calls

    both = step(step(r, u, t + 1), v, t + 2)
    require(sp.simplify(both - (t * r + u + v) / (t + 2)) == 0, "the cumulative mean is another one")
    return Evidence(1, (f"after t calls and these two: {(t * r + u + v) / (t + 2)}, symmetric in u and v",))


_REPLACED = (
    "π is any involution of the 2N strands; to replace examples by their reverse complements is one",
    "a mean is κ·Σ, κ being 1 over the number of entries; momentum, ε, rsqrt and 2NL/(2NL−1) may be anything",
)

STATEMENTS: dict[str, tuple[Statement, ...]] = {
    "T10": (
        proved(
            "T10.eval",
            "In eval mode batch norm with tied statistics on stack(a, b) is stack(BN(a), BN(b)), exactly.",
            r"\mathrm{BN}^{\mathrm{eval}}_{\mathrm{tie}}(\mathrm{stack}(a,b))"
            r"=\mathrm{stack}(\mathrm{BN}^{\mathrm{eval}}(a),\mathrm{BN}^{\mathrm{eval}}(b))",
            BATCH,
            by_strand(BATCH.equation.lhs, BATCH.equation.rhs, F - 1 - c),
            hypotheses=("running statistics are given and fixed",),
            source=PAPER,
        ),
        proved(
            "T10.train.output",
            "In training, replacing any examples of the batch by their reverse complements exchanges the outputs of "
            "their two strands and changes no other output: BN(s∘π) = BN(s)∘π.",
            r"\mathrm{BN}^{\mathrm{train}}(s\circ\pi)=\mathrm{BN}^{\mathrm{train}}(s)\circ\pi",
            *OUTPUT,
            hypotheses=_REPLACED,
            source=PAPER,
        ),
        proved(
            "T10.train.running_mean",
            "The running mean after a training step does not change when any examples are replaced by their reverse "
            "complements.",
            r"r'_f(s\circ\pi)=r'_f(s),\quad r'_f=(1-\mu)r_f+\mu\,\mathrm{mean}_{m,p}\,s_{m,f,p}",
            *MEAN,
            hypotheses=_REPLACED,
            source=PAPER,
        ),
        proved(
            "T10.train.running_var",
            "The running (unbiased) variance after a training step does not change when any examples are replaced by "
            "their reverse complements.",
            r"r'_f(s\circ\pi)=r'_f(s),\quad r'_f=(1-\mu)r_f+\mu\tfrac{2NL}{2NL-1}\,\mathrm{var}_{m,p}\,s_{m,f,p}",
            *VARIANCE,
            hypotheses=_REPLACED,
            source=PAPER,
        ),
        proved(
            "T10.train.layouts",
            "The mean of channel f and its mirror of the stacked tensor is the mean of feature f of the 2N strands.",
            r"\frac{1}{2NL}\sum_{n<N}\sum_{p<L}\bigl(x_{n,f,p}+x_{n,2F-1-f,L-1-p}\bigr)"
            r"=\frac{1}{2NL}\sum_{m<2N}\sum_{p<L}s_{m,f,p}",
            *LAYOUTS,
            source=PAPER,
        ),
        proved(
            "T10.train.commutes",
            "In training, batch norm of stacked tensors with pooled statistics commutes with ρ.",
            r"\mathrm{BN}^{\mathrm{train}}(\rho x)=\rho\,\mathrm{BN}^{\mathrm{train}}(x)",
            *COMMUTES,
            source=PAPER,
        ),
        Statement(
            "T10.two_pass",
            "False: calling one batch norm on the given strands, then on the others, leaves running statistics that do "
            "not depend on which strand is given.",
            r"r''(a,b)\ne r''(b,a)",
            REFUTED,
            _two_pass,
            source=PAPER,
        ),
        Statement(
            "T10.two_pass.output",
            "False: calling one batch norm once a strand gives, in training, the outputs of the pooled batch norm.",
            r"a-\mathrm{mean}(a)\ne a-\mathrm{mean}(a,b)",
            REFUTED,
            _two_pass_output,
            source=PAPER,
        ),
        Statement(
            "T10.two_pass.gap",
            "After two calls with momentum k, the running means for the two choices of the given strand differ by "
            "k²(mean b − mean a): they agree only where the strands have one mean.",
            r"r''(a,b)-r''(b,a)=k^2(\bar b-\bar a)",
            ALGEBRA,
            _gap,
            source=PAPER,
        ),
        Statement(
            "T10.two_pass.cumulative",
            "With a cumulative average (momentum None in torch) two calls leave a symmetric running mean.",
            r"r''(a,b)=\frac{t\,r+\bar a+\bar b}{t+2}=r''(b,a)",
            ALGEBRA,
            _cumulative,
            source=PAPER,
        ),
    ),
}
