r"""Jensen (T9): for a loss convex in the merged output, post-hoc conjoining is never worse than the mean strand.

Let u_n and v_n be what a network says of example n read from either strand (v_n after ρ_out, so that both speak of
the target y_n). The post-hoc conjoined answer is ½(u_n + v_n). If every gap
½(ℓ(u, y) + ℓ(v, y)) − ℓ(½(u + v), y) is ≥ 0, so is their sum: on every data set, the loss of the conjoined network is
at most the mean of the two single-strand losses. No gap is assumed below; each is computed, and is a square, a
sum of squares, or a logarithm of something ≥ 1 because of a square. Second derivatives are given as well.

The mean is the only merge with this property; the maximum and the sum lack it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction

import sympy as sp

from rcproof.symbolic.arithmetic import Context
from rcproof.symbolic.checker import Claim, Equation, Proof, Step
from rcproof.symbolic.multinomial import PAPER, exact
from rcproof.symbolic.statements import ALGEBRA, REFUTED, Evidence, Statement, proved, require
from rcproof.symbolic.strands import array
from rcproof.symbolic.terms import Add, Big, Fun, Mul, Term, num

N, n = sp.symbols("N n", integer=True)
U, V, Y = (array(name) for name in "uvy")
HALF, MINUS = num("1/2"), num(-1)
NOT_IN_PAPER = "not in the paper"


# -- every data set ------------------------------------------------------------------------------------------------


def total(body: Term) -> Term:
    """Σ over the N examples."""
    return Big("sum", n, N, body)


def loss(x: Term) -> Term:
    """ℓ(x, y_n) of one example."""
    return Fun("loss", (x, Y(n)))


MERGED = loss(Mul((HALF, Add((U(n), V(n))))))
GAP = Add((Mul((HALF, Add((loss(U(n)), loss(V(n)))))), Mul((MINUS, MERGED))))
DATA = Claim(
    Equation(
        "gaps add up",
        (),
        total(GAP),
        Add((Mul((HALF, Add((total(loss(U(n))), total(loss(V(n))))))), Mul((MINUS, total(MERGED))))),
    ),
    Context(facts=(N - 1,)),
)
DATA_PROOF = Proof(
    (
        Step("linear", (), (), "the sum of a difference"),
        Step("linear", (0,), (), "½ comes out"),
        Step("linear", (0, 1), (), "the sum over both strands"),
        Step("linear", (1,), (), "the sign comes out"),
    )
)


# -- losses of one number ------------------------------------------------------------------------------------------

u, v, z, y = sp.symbols("u v z y", real=True)
_p, _q = sp.symbols("p q", positive=True)


def _positive(value: sp.Expr, words: str) -> str:
    require(bool(value.is_nonnegative), f"{words}: {value} ≥ 0 is not known")
    return f"{words}: {sp.sstr(value)} ≥ 0"


def _convex(function: sp.Expr, second: sp.Expr, var: sp.Symbol = z) -> list[str]:
    """The second derivative is what it is said to be, and not negative."""
    words = f"second derivative in {var}"
    return [exact(sp.diff(function, var, 2), second, words), _positive(second, words)]


def _mse() -> Evidence:
    gap = ((u - y) ** 2 + (v - y) ** 2) / 2 - ((u + v) / 2 - y) ** 2
    lines = [exact(gap, (u - v) ** 2 / 4, "gap"), *_convex((z - y) ** 2, sp.Integer(2))]
    return Evidence(len(lines), tuple(lines))


def _bce_logits() -> Evidence:
    """With p = e^{u/2}, q = e^{v/2} the gap is ½ log of (1 + p²)(1 + q²)/(1 + pq)²; y cancels."""
    e = sp.exp(z)
    lines = [
        exact((y * u + y * v) / 2 - y * (u + v) / 2, sp.Integer(0), "terms with the target cancel"),
        exact((1 + _p**2) * (1 + _q**2) - (1 + _p * _q) ** 2, (_p - _q) ** 2, "with p = e^(u/2), q = e^(v/2)"),
        *_convex(sp.log(1 + e) - y * z, e / (1 + e) ** 2),
    ]
    return Evidence(len(lines), tuple(lines))


def _poisson_log() -> Evidence:
    lines = [
        exact((_p**2 + _q**2) / 2 - _p * _q, (_p - _q) ** 2 / 2, "gap, with p = e^(u/2), q = e^(v/2)"),
        *_convex(sp.exp(z) - y * z, sp.exp(z)),
    ]
    return Evidence(len(lines), tuple(lines))


def _log() -> Evidence:
    """−log: the gap is ½ log of ((p+q)/2)²/(pq) ≥ ½ log 1."""
    lines = [
        exact(((_p + _q) / 2) ** 2 - _p * _q, (_p - _q) ** 2 / 4, "((p+q)/2)² − pq"),
        *_convex(-sp.log(_p), 1 / _p**2, _p),
    ]
    return Evidence(len(lines), tuple(lines))


# -- which merges keep it ------------------------------------------------------------------------------------------


def _worse(merge: str) -> Evidence:
    """The least integers u ≤ v and target for which the squared error of the merge exceeds the mean."""
    merges: dict[str, Callable[[int, int], Fraction]] = {
        "max": lambda a, b: Fraction(max(a, b)),
        "sum": lambda a, b: Fraction(a + b),
        "mean": lambda a, b: Fraction(a + b, 2),
    }
    for a, b, target in itertools.product(range(3), repeat=3):
        mean = Fraction((a - target) ** 2 + (b - target) ** 2, 2)
        got = (merges[merge](a, b) - target) ** 2
        if got > mean:
            line = (
                f"answers {a} and {b}, target {target}: squared error {got} after {merge}, mean of the strands {mean}"
            )
            return Evidence(1, (line,))
    require(False, "no counterexample was found")
    raise AssertionError  # pragma: no cover


def _max_bce() -> Evidence:
    """Logits 0 and log 3, target 0: log 4 against ½(log 2 + log 4), that is 16 against 8."""
    odds = (Fraction(1), Fraction(3))
    merged, both = (1 + max(odds)) ** 2, (1 + odds[0]) * (1 + odds[1])
    require(merged > both, "the maximum is not worse")
    line = f"logits 0 and log 3, target 0: twice the loss is log {merged} after max, log {both} for both strands"
    return Evidence(1, (line,))


def _only_mean() -> Evidence:
    m = sp.Symbol("m", real=True)
    gap = sp.expand(((u - y) ** 2 + (v - y) ** 2) / 2 - (m - y) ** 2)
    slope = sp.diff(gap, y)
    require(sp.diff(slope, y) == 0, "the gap is not affine in the target")
    require(sp.solve(slope, m) == [u / 2 + v / 2], "another merge has slope 0")
    lines = (
        f"gap as a function of the target: {gap}",
        f"it is affine with slope {slope}; ≥ 0 for every target only if the slope is 0",
        "slope 0 only for m = (u + v)/2",
    )
    return Evidence(3, lines)


_PER_EXAMPLE = "ℓ(½(u + v), y) ≤ ½(ℓ(u, y) + ℓ(v, y))"


def _loss(name: str, words: str, latex: str, replay: Callable[[], Evidence], *hypotheses: str) -> Statement:
    text = f"{words}: {_PER_EXAMPLE}, and its second derivative is ≥ 0."
    return Statement(f"T9.{name}", text, latex, ALGEBRA, replay, hypotheses, source=PAPER)


STATEMENTS: dict[str, tuple[Statement, ...]] = {
    "T9": (
        proved(
            "T9.data_set",
            "On every data set the mean of the single-strand losses, less the loss of the post-hoc conjoined network, "
            "is the sum of the gaps of its examples. So where every gap is ≥ 0, conjoining never hurts.",
            r"\sum_n\Bigl(\tfrac12\bigl(\ell(u_n)+\ell(v_n)\bigr)-\ell\bigl(\tfrac12(u_n+v_n)\bigr)\Bigr)"
            r"=\tfrac12\Bigl(\sum_n\ell(u_n)+\sum_n\ell(v_n)\Bigr)-\sum_n\ell\bigl(\tfrac12(u_n+v_n)\bigr)",
            DATA,
            DATA_PROOF,
            hypotheses=("v_n is the other strand's answer after ρ_out; the loss of a data set is a sum (or mean)",),
            source=PAPER,
        ),
        _loss(
            "mse",
            "Squared error",
            r"\tfrac12\bigl((u-y)^2+(v-y)^2\bigr)-\bigl(\tfrac{u+v}2-y\bigr)^2=\tfrac{(u-v)^2}4",
            _mse,
        ),
        _loss(
            "bce.logits",
            "Binary cross-entropy on logits, log(1 + e^z) − yz",
            r"(1+e^u)(1+e^v)-(1+e^{(u+v)/2})^2=(e^{u/2}-e^{v/2})^2",
            _bce_logits,
            "y is any number",
        ),
        _loss(
            "log",
            "−log of a probability or rate (so −y log p − (1−y) log(1−p), −Σ y log p and λ − y log λ, all targets ≥ 0 "
            "and for the first ≤ 1)",
            r"\bigl(\tfrac{p+q}2\bigr)^2-pq=\bigl(\tfrac{p-q}2\bigr)^2",
            _log,
            "p, q > 0; a sum of such losses with weights ≥ 0 plus a term linear in p has gaps ≥ 0",
        ),
        _loss(
            "poisson.log_rate",
            "Poisson negative log-likelihood of a log rate, e^z − yz",
            r"\tfrac12(e^u+e^v)-e^{(u+v)/2}=\tfrac12(e^{u/2}-e^{v/2})^2",
            _poisson_log,
            "y is any number",
        ),
        Statement(
            "T9.only_mean",
            "The mean is the only merge that keeps the inequality: for squared error, ℓ(m, y) ≤ ½(ℓ(u, y) + ℓ(v, y)) "
            "for every target y only if m = ½(u + v).",
            r"\forall y:(m-y)^2\le\tfrac12\bigl((u-y)^2+(v-y)^2\bigr)\;\Rightarrow\; m=\tfrac12(u+v)",
            ALGEBRA,
            _only_mean,
            source=NOT_IN_PAPER,
        ),
        Statement(
            "T9.max",
            "False: merging by the maximum is never worse than the mean of the strands (squared error).",
            r"\ell(\max(u,v))\not\le\tfrac12(\ell(u)+\ell(v))",
            REFUTED,
            lambda: _worse("max"),
            source=NOT_IN_PAPER,
        ),
        Statement(
            "T9.max.bce",
            "False: merging logits by the maximum is never worse than the mean of the strands (binary cross-entropy).",
            r"\log 4\not\le\tfrac12(\log 2+\log 4)",
            REFUTED,
            _max_bce,
            source=NOT_IN_PAPER,
        ),
        Statement(
            "T9.sum",
            "False: merging by the sum is never worse than the mean of the strands (squared error).",
            r"\ell(u+v)\not\le\tfrac12(\ell(u)+\ell(v))",
            REFUTED,
            lambda: _worse("sum"),
            source=NOT_IN_PAPER,
        ),
    ),
}
