"""T6: Conjoined_F ⊆ RCPS_F ⊆ Conjoined_2F, the first inclusion strict, and 2F cannot be lowered.

The first inclusion is T5 (set B = 0, T7). The second: an RCPS network of F filters per strand is an ordinary
network of 2F channels (its tied weights, written out) that commutes with ρ (T3), and a network f that does
equals its own conjoined form, merge(f(x), ρf(ρx)), for every merge with m(a, a) = a: mean and max.

**The gap.** Class: networks on inputs x ∈ Q^{4×L} (any linear space that ρ acts on will do), first layer a
convolution that covers the whole input (K = L, so one window) with F′ filters, followed by *anything*; the
merge is a mean or a sum of an invariant output. A conjoined network of this class is

    g(x) = Ψ(Wx) + Ψ(Wρx),   W of F′ rows, Ψ: Q^F′ → Q arbitrary (any depth, width, activation, bias).

(T6.gap.invariant) If Wv = 0 then the mixed difference Δ_v Δ_{ρv} g vanishes everywhere, where
(Δ_v g)(x) = g(x + v) − g(x): the first summand does not change along v, the second not along ρv.

(T6.gap.witness) Let w_1 … w_F read F entries of x, no two of them mirror images of each other or of
themselves; s_f = w_f·x and t_f = w_f·ρx are then 2F independent coordinates, and ρ exchanges s_f and t_f.
The RCPS network with first layer u_f = relu(s_f), v_f = relu(t_f) and one coupled layer relu(u_f − v_f)
(A = 1, B = −1), summed over channels and strands, computes g_F(x) = Σ_f |relu(s_f) − relu(t_f)|. For every
v ≠ 0 of that 2F-dimensional space some Δ_{λv} Δ_{μρv} g_F is not 0: take f with (σ, τ) = (s_f(v), t_f(v)) ≠ 0,
keep the other coordinates so negative that they contribute nothing, and see the three cases below.

(T6.gap) W with F′ < 2F rows has Wv = 0 for some v ≠ 0 of that space (linear algebra). So g_F ∈ RCPS_F is in
no Conjoined_F′ with F′ < 2F, whatever follows the first layer; in particular RCPS_F ⊄ Conjoined_F, and the
2F of the second inclusion is sharp. (4L ≥ 2F is needed; on the finite set of one-hot inputs of one length
the argument says nothing: there an injective w·x with an arbitrary Ψ computes any invariant function.)
"""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import sympy as sp

from rcproof.symbolic.arithmetic import Context
from rcproof.symbolic.bases import nullspace
from rcproof.symbolic.checker import Claim, Proof, Step
from rcproof.symbolic.shorthand import (
    HALF,
    ZERO,
    add,
    elem,
    equation,
    function,
    integers,
    mul,
    restate,
    step,
    total,
    use,
)
from rcproof.symbolic.statements import ALGEBRA, Evidence, Statement, proved, require
from rcproof.symbolic.strands import Read, array
from rcproof.symbolic.terms import Fun, Lam, Op, Term

C, D, L, M, N, R = integers("C D L M N R")
c, i, j, n, o, r = integers("c i j n o r")
pi, po = function("pi_in"), function("pi_out")
NEW = "not in the paper"

NETWORKS = Context(facts=(C - 1, L - 1, N - 1, M - 1), involutions=(("pi_in", C), ("pi_out", N)))


def network(x: Read) -> Read:
    """Entry [o, i] of f(x), f being any map from (C, L) to (N, M)."""
    return lambda o, i: Op("f", (Lam((c, j), (C, L), x(c, j)),), (o, i))


def turned(x: Read) -> Read:
    """ρx on the input: channels π_in, positions backwards."""
    return lambda c, j: x(pi(c), L - 1 - j)


def back(y: Read) -> Read:
    """ρy on the output: channels π_out, positions backwards."""
    return lambda o, i: y(po(o), M - 1 - i)


_X = array("x")
_PLAIN, _OTHER = network(_X)(o, i), back(network(turned(_X)))(o, i)
_RANGES = ((o, N), (i, M))
#: f(ρx) = ρf(x), read as ρf(ρx) = f(x) at this x.
EQUIVARIANT = equation("equivariant", _RANGES, network(turned(_X))(o, i), back(network(_X))(o, i))
IDEMPOTENT = equation("idempotent", _RANGES, Fun("merge", (_PLAIN, _PLAIN)), _PLAIN)
_UNTURN = use("equivariant", values={o: po(o), i: M - 1 - i}, note="f(ρx) = ρf(x), at π(o) and M−1−i")


def _at(s: Step, *path: int) -> Step:
    return Step(s.rule, path, s.args, s.note)


OWN_FORM = (
    proved(
        "T6.own_form.mean",
        "A network that commutes with ρ equals its own conjoined form: ½(f(x) + ρf(ρx)) = f(x).",
        r"f\rho=\rho f\;\Rightarrow\;\tfrac12\bigl(f(x)+\rho f(\rho x)\bigr)=f(x)",
        Claim(
            equation("own.mean", _RANGES, mul(HALF, add(_PLAIN, _OTHER)), _PLAIN),
            NETWORKS,
            (EQUIVARIANT,),
        ),
        Proof(
            (_at(_UNTURN, 1, 1), step("distribute")),
            right=(restate(mul(add(HALF, HALF), _PLAIN), note="1 = ½ + ½"), step("distribute")),
        ),
        hypotheses=("f is any map with f(ρx) = ρf(x); ρ is an involution of channels that reverses positions",),
        source=NEW,
    ),
    proved(
        "T6.own_form.idempotent_merge",
        "The same for every merge with m(a, a) = a, maximum included: m(f(x), ρf(ρx)) = f(x).",
        r"m(a,a)=a\;\Rightarrow\;m\bigl(f(x),\rho f(\rho x)\bigr)=f(x)",
        Claim(
            equation("own.merge", _RANGES, Fun("merge", (_PLAIN, _OTHER)), _PLAIN),
            NETWORKS,
            (EQUIVARIANT, IDEMPOTENT),
        ),
        Proof((_at(_UNTURN, 1), use("idempotent", values={o: o, i: i}, note="m(a, a) = a"))),
        hypotheses=("f(ρx) = ρf(x)", "m(a, a) = a"),
        source=NEW,
    ),
    proved(
        "T6.own_form.sum",
        "Under a sum merge it is the conjoined form of ½f: ½f(x) + ρ(½f(ρx)) = f(x).",
        r"f\rho=\rho f\;\Rightarrow\;\tfrac12f(x)+\rho\,\tfrac12f(\rho x)=f(x)",
        Claim(
            equation("own.sum", _RANGES, add(mul(HALF, _PLAIN), mul(HALF, _OTHER)), _PLAIN),
            NETWORKS,
            (EQUIVARIANT,),
        ),
        Proof(
            (_at(_UNTURN, 1, 1),),
            right=(restate(mul(add(HALF, HALF), _PLAIN), note="1 = ½ + ½"), step("distribute")),
        ),
        hypotheses=("f(ρx) = ρf(x)",),
        source=NEW,
    ),
)


# -- the gap --------------------------------------------------------------------------------------------------

INPUTS = Context(facts=(D - 1, R - 1), involutions=(("rho", D),))
rho = function("rho")
_x, _v, _w = array("x"), array("v"), array("w")


def _sum(*parts: Read) -> Read:
    return lambda n: add(*(p(n) for p in parts))


def _turn(y: Read) -> Read:
    return lambda n: y(rho(n))


def _psi(y: Read) -> Op:
    """Ψ(Wy): Ψ is any function of the R features of the first layer."""
    return Op("Psi", (Lam((r,), (R,), total(mul(elem("W", r, n), y(n)), (n, D))),), ())


def conjoined(y: Read) -> Term:
    """Ψ(Wy) + Ψ(Wρy)."""
    return add(_psi(y), _psi(_turn(y)))


def _spread(*path: int, dead: int | None, kernel: str = "") -> tuple[Step, ...]:
    """Σ W·(a + b + …) as a sum of sums, and the one that the kernel kills."""
    body = (*path, 0, 0)
    steps = (step("distribute", *body, 0), step("linear", *body, note="the first layer is linear"))
    return steps if dead is None else (*steps, use(kernel, *body, dead, values={r: r}, note="no feature sees it"))


KERNEL_V = equation("kernel_v", ((r, R),), total(mul(elem("W", r, n), _v(n)), (n, D)), ZERO)
KERNEL_W = equation("kernel_w", ((r, R),), total(mul(elem("W", r, n), _w(n)), (n, D)), ZERO)

INVARIANT = proved(
    "T6.gap.invariant",
    "Let g(x) = Ψ(Wx) + Ψ(Wρx) with any Ψ, and Wv = Ww = 0. Then g(x + v + ρw) − g(x + v) − g(x + ρw) + g(x) = 0 "
    "for every x.",
    r"Wv=Ww=0\;\Rightarrow\;\Delta_v\Delta_{\rho w}\bigl(\Psi(Wx)+\Psi(W\rho x)\bigr)=0",
    Claim(
        equation(
            "gap.invariant",
            (),
            add(conjoined(_sum(_x, _v, _turn(_w))), conjoined(_x)),
            add(conjoined(_sum(_x, _v)), conjoined(_sum(_x, _turn(_w)))),
        ),
        INPUTS,
        (KERNEL_V, KERNEL_W),
    ),
    Proof(
        (*_spread(0, 0, dead=1, kernel="kernel_v"), *_spread(0, 1, dead=2, kernel="kernel_w")),
        right=(
            *_spread(0, 0, dead=1, kernel="kernel_v"),
            *_spread(0, 1, dead=None),
            *_spread(1, 0, dead=None),
            *_spread(1, 1, dead=1, kernel="kernel_w"),
        ),
    ),
    hypotheses=(
        "ρ permutes the D entries of the input and is an involution",
        "the first layer is x ↦ Wx with R features, followed by any function Ψ (biases included)",
        "v and w are in the kernel of W",
    ),
    source=NEW,
)


def gap(s: Any, t: Any) -> Any:
    """|relu(s) − relu(t)| in sympy."""
    return sp.Abs(sp.Max(s, 0) - sp.Max(t, 0))


def mixed_difference(f: Any, x: Any, v: Any, w: Any) -> Any:
    """f(x + v + w) − f(x + v) − f(x + w) + f(x) in the plane."""
    both, one, other = ((x[0] + a, x[1] + b) for a, b in ((v[0] + w[0], v[1] + w[1]), v, w))
    return f(*both) - f(*one) - f(*other) + f(*x)


def plane_points(sigma: Any, tau: Any) -> tuple[Any, Any, Any]:
    """For (σ, τ) ≠ 0: a point and multiples λ, μ with Δ_{λ(σ, τ)} Δ_{μ(τ, σ)} |relu(s) − relu(t)| ≠ 0 there.

    Numbers, or sympy symbols that are known to be positive, with signs written out.
    """
    if tau == 0 or sigma == 0:  # steps (1, 0) and (0, 1) from the origin, in either order
        return (0, 0), 1 / (sigma + tau), 1 / (sigma + tau)
    ratio = sigma / tau
    if ratio > 0:  # steps (1, 1/γ) and (1, γ)
        return (-1, -(ratio + 1 / ratio)), 1 / sigma, 1 / tau
    return (-1, 0), 1 / sigma, 1 / tau  # steps (1, −1/γ) and (1, −γ), γ = −σ/τ


def _replay_witness() -> Evidence:
    d = sp.Symbol("d", real=True)
    require(sp.simplify((sp.Max(d, 0) + sp.Max(-d, 0) - sp.Abs(d)).rewrite(sp.Abs)) == 0, "relu(d) + relu(−d) = |d|")
    s, t = sp.symbols("s t", real=True)
    require(gap(s, t) == gap(t, s), "the witness does not care which strand is given")
    require(gap(-sp.Symbol("p", nonnegative=True), -sp.Symbol("q", nonnegative=True)) == 0, "it is 0 where s, t ≤ 0")
    g, b = sp.symbols("gamma b", positive=True)
    lines = []
    for case, (sigma, tau), expected in (
        ("τ = 0, σ > 0", (b, sp.Integer(0)), -2),
        ("τ = 0, σ < 0", (-b, sp.Integer(0)), -2),
        ("σ = 0", (sp.Integer(0), b), -2),
        ("same sign", (g * b, b), 1),
        ("same sign, both < 0", (-g * b, -b), 1),
        ("opposite signs", (g * b, -b), 1),
        ("opposite signs, σ < 0", (-g * b, b), 1),
    ):
        x, lam, mu = plane_points(sigma, tau)
        steps = tuple(tuple(sp.simplify(m * e) for e in v) for m, v in ((lam, (sigma, tau)), (mu, (tau, sigma))))
        value = sp.simplify(mixed_difference(gap, tuple(map(sp.simplify, x)), *steps))
        require(value == expected, f"{case}: the mixed difference is {value}")
        lines.append(f"{case}: from {x} by {steps[0]} and {steps[1]} the mixed difference is {value}")
    return Evidence(len(lines) + 3, tuple(lines))


Vector = tuple[Fraction, ...]


def witness(x: Vector) -> Fraction:
    """g_F at x = (s_1 … s_F, t_1 … t_F), ρ exchanging s_f and t_f."""
    half = len(x) // 2
    zero = Fraction(0)
    return sum((abs(max(s, zero) - max(t, zero)) for s, t in zip(x[:half], x[half:], strict=True)), zero)


def separate(rows: list[Vector], F: int) -> tuple[Vector, Vector, Vector, Fraction]:
    """Points that show that no Ψ(Wx) + Ψ(Wρx) is the witness, W being fewer than 2F rows of 2F numbers.

    Gives x, v and ρw with Wv = Ww = 0, and the mixed difference of the witness there, which is not 0; for
    the network it would be (T6.gap.invariant). :class:`ValueError` if W has no kernel.
    """
    basis = nullspace([dict(enumerate(map(Fraction, row))) for row in rows], 2 * F)
    if not basis:
        raise ValueError(f"{len(rows)} rows of {2 * F} numbers have no kernel")
    v = tuple(basis[0])
    f = next(a for a in range(F) if v[a] or v[F + a])
    (s, t), lam, mu = plane_points(v[f], v[F + f])
    first = tuple(lam * e for e in v)
    second = tuple(mu * e for e in (*v[F:], *v[:F]))
    low = -sum((abs(e) for e in (*first, *second)), Fraction(1))
    x = [low] * (2 * F)
    x[f], x[F + f] = Fraction(s), Fraction(t)

    def at(*parts: Vector) -> Fraction:
        return witness(tuple(sum(entries, Fraction(0)) for entries in zip(x, *parts, strict=True)))

    return tuple(x), first, second, at(first, second) - at(first) - at(second) + at()


def _replay_separate() -> Evidence:
    count = 0
    for F, R, least in ((1, 1, -1), (2, 1, -1), (2, 2, 0)):
        for flat in itertools.product(map(Fraction, range(least, 2)), repeat=2 * F * R):
            rows = [flat[i * 2 * F : (i + 1) * 2 * F] for i in range(R)]
            *_, value = separate(rows, F)
            require(value != 0, f"first layer {rows} is not told apart")
            count += 1
    return Evidence(count, (f"{count} first layers told apart from the witness by four points each",))


GAP = (
    INVARIANT,
    Statement(
        "T6.gap.witness",
        "g_F(x) = Σ_f |relu(s_f) − relu(t_f)|, an RCPS network of F filters per strand with one coupled layer, "
        "violates T6.gap.invariant along every v ≠ 0. So no conjoined network with fewer than 2F first-layer filters "
        "computes it: the inclusion Conjoined_F ⊆ RCPS_F is strict, and RCPS_F ⊆ Conjoined_2F is sharp.",
        r"\forall v\neq0\;\exists\lambda,\mu,x:\;\Delta_{\lambda v}\Delta_{\mu\rho v}\,g_F(x)\neq0,"
        r"\quad g_F(x)=\sum_f\bigl|\mathrm{relu}(s_f)-\mathrm{relu}(t_f)\bigr|",
        ALGEBRA,
        _replay_witness,
        hypotheses=(
            "inputs range over a linear space with 2F independent coordinates s_f, t_f exchanged by ρ (4L ≥ 2F)",
            "the first layer covers the input in one window (K = L); the output is invariant, merged by mean or sum",
            "a linear map from 2F dimensions to fewer has a kernel (linear algebra)",
            "coordinates other than s_f, t_f are kept negative, where g_F does not see them",
        ),
        source=NEW,
    ),
    Statement(
        "T6.gap.points",
        "The proof is effective: for a given first layer, four points at which no Ψ can give the witness's values.",
        r"Wv=0,\;\Delta_{\lambda v}\Delta_{\mu\rho v}\,g_F(x)\neq0",
        "finite: all first layers of one filter with entries −1, 0, 1 (F = 1, 2) and of two filters with 0, 1 (F = 2)",
        _replay_separate,
        source=NEW,
    ),
)

STATEMENTS: dict[str, tuple[Statement, ...]] = {"T6": (*OWN_FORM, *GAP)}
