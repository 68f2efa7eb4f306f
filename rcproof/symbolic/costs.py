"""T7, counting: parameters and multiply-adds along the lattice of coupled layers; and averages of nonlinearities.

Layer l has F_l filters per strand, K_l taps and N_l output positions; χ_l is 1 where it is coupled and 0 where
not. Multiply-adds are counted from the terms themselves (:func:`multiply_adds`): products under their sums, for
every entry of the output, taps that fall into padding included.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import sympy as sp

from rcproof.symbolic.bases import Character, dimension
from rcproof.symbolic.shorthand import add, elem, integers, mul, total
from rcproof.symbolic.statements import ALGEBRA, REFUTED, Evidence, Statement, require
from rcproof.symbolic.terms import Add, Big, Elem, If, Mul, Term

NEW = "not in the paper"


def multiply_adds(t: Term) -> Any:
    """How many multiplications one entry takes: a sum costs its size times its body, a product of n entries n − 1."""
    if isinstance(t, Big):
        inner = multiply_adds(t.body)
        require(t.var not in sp.sympify(inner).free_symbols, "the cost depends on the bound index")
        return t.size * inner
    if isinstance(t, If):
        return multiply_adds(t.then)
    if isinstance(t, Add):
        return sum(map(multiply_adds, t.args), sp.Integer(0))
    if isinstance(t, Mul):
        return sum(map(multiply_adds, t.args), sp.Integer(len(t.args) - 1))
    require(isinstance(t, Elem), f"no cost is known for {type(t).__name__}")
    return sp.Integer(0)


F, G, K, N = integers("F G K N")
c, i, k, o = integers("c i k o")


def _reads(weight: str, strand: str, channels: Any) -> Term:
    return total(mul(elem(weight, o, c, k), elem(strand, c, i + k)), (c, channels), (k, K))


def layer_costs() -> dict[str, tuple[Any, Any]]:
    """(parameters without bias, multiply-adds per example) of one layer with G inputs and F outputs per strand."""
    uncoupled, both = _reads("A", "a", G), add(_reads("A", "a", G), _reads("B", "b", G))
    ordinary = _reads("W", "x", 2 * G)
    return {
        "uncoupled, both strands": (F * G * K, 2 * F * N * multiply_adds(uncoupled)),
        "coupled, both strands": (2 * F * G * K, 2 * F * N * multiply_adds(both)),
        "ordinary layer of 2F channels": (4 * F * G * K, 2 * F * N * multiply_adds(ordinary)),
        "conjoined layer of 2F channels, both strands": (4 * F * G * K, 2 * 2 * F * N * multiply_adds(ordinary)),
    }


def _replay_layer() -> Evidence:
    costs = layer_costs()
    unit = F * G * K
    expected = {
        "uncoupled, both strands": (1, 2),
        "coupled, both strands": (2, 4),
        "ordinary layer of 2F channels": (4, 4),
        "conjoined layer of 2F channels, both strands": (4, 8),
    }
    lines = []
    for name, (parameters, work) in costs.items():
        found = (sp.cancel(parameters / unit), sp.cancel(work / (unit * N)))
        require(found == expected[name], f"{name}: {found}")
        lines.append(f"{name}: {found[0]}·FGK parameters, {found[1]}·FGKN multiply-adds")
    for taps in (Character(sp.Symbol("h")), Character(sp.Symbol("h"), 1)):
        free = sp.expand(
            dimension(Character(F), Character(G), taps) - costs["coupled, both strands"][0] / K * taps.size
        )
        require(free == 0, "a coupled layer has as many parameters as there are equivariant weights (T4)")
    lines.append("T4: a coupled layer has exactly dim(regular 2G → regular 2F) = 2FGK parameters")
    return Evidence(len(lines), tuple(lines))


def network_costs(coupled: Any, bias: int = 1) -> tuple[Any, Any]:
    """Σ over layers l of parameters and multiply-adds; ``coupled`` is χ_l as an expression of l."""
    x, size = sp.Symbol("l", integer=True), sp.IndexedBase("F")
    taps, positions = sp.IndexedBase("K"), sp.IndexedBase("N")
    work = size[x] * size[x - 1] * taps[x]
    return work * (1 + coupled(x)) + bias * size[x], 2 * work * (1 + coupled(x)) * positions[x]


def _replay_lattice() -> Evidence:
    s, t = sp.IndexedBase("s"), sp.IndexedBase("t")
    size, taps, positions = sp.IndexedBase("F"), sp.IndexedBase("K"), sp.IndexedBase("N")
    x = sp.Symbol("l", integer=True)
    unit = size[x] * size[x - 1] * taps[x]
    none, every = network_costs(lambda v: 0), network_costs(lambda v: 1)
    one, other = network_costs(lambda v: s[v]), network_costs(lambda v: t[v])
    union, meet = network_costs(lambda v: s[v] + t[v] - s[v] * t[v]), network_costs(lambda v: s[v] * t[v])
    for which, price in ((0, unit), (1, 2 * unit * positions[x])):
        require(sp.expand(one[which] - none[which] - price * s[x]) == 0, "each coupled layer costs its price")
        require(sp.expand(every[which] - none[which] - price) == 0, "all layers cost the sum of the prices")
        require(
            sp.expand(union[which] + meet[which] - one[which] - other[which]) == 0,
            "cost(S ∪ S′) + cost(S ∩ S′) = cost(S) + cost(S′)",
        )
    require(sp.expand(every[1] - 2 * none[1]) == 0, "RCPS takes twice the multiply-adds of conjoined")
    lines = (
        "summand by summand, for any number of layers",
        "parameters(S) = Σ_l (F_l·F_{l−1}·K_l + F_l) + Σ_{l∈S} F_l·F_{l−1}·K_l",
        "multiply-adds(S) = 2·Σ_l F_l·F_{l−1}·K_l·N_l + 2·Σ_{l∈S} F_l·F_{l−1}·K_l·N_l",
        "cost(S ∪ S′) + cost(S ∩ S′) = cost(S) + cost(S′): costs add up over S",
    )
    return Evidence(7, lines)


COUNTS = (
    Statement(
        "T7.cost.layer",
        "Coupling a layer with G inputs and F outputs per strand adds FGK parameters and 2FGKN multiply-adds (it "
        "doubles both). A coupled layer takes the multiply-adds of an ordinary layer of 2F channels with half its "
        "parameters, and half the multiply-adds of the conjoined layer of 2F channels.",
        r"\mathrm{params}=(1+\chi)FGK,\quad\mathrm{madds}=2(1+\chi)FGKN",
        ALGEBRA,
        _replay_layer,
        hypotheses=("taps in the padding are counted; biases are not", "zeros that are known are not multiplied"),
        source=NEW,
    ),
    Statement(
        "T7.cost.lattice",
        "Along the lattice of sets S of coupled layers, parameters and multiply-adds are those of the conjoined "
        "network plus a price for each layer in S; a fully coupled network takes exactly twice the multiply-adds.",
        r"\mathrm{cost}(S)=\mathrm{cost}(\varnothing)+\sum_{l\in S}\mathrm{price}_l,\quad"
        r"\mathrm{price}_l=\bigl(F_lF_{l-1}K_l,\;2F_lF_{l-1}K_lN_l\bigr)",
        ALGEBRA,
        _replay_lattice,
        hypotheses=("layer l has F_l filters per strand, K_l taps, N_l positions; layers after the first are stacked",),
        source=NEW,
    ),
)


# -- averaging before and after a nonlinearity -----------------------------------------------------------------

u, v, alpha, beta = sp.symbols("u v alpha beta", real=True)


def gap(sigma: Any, a: Any, b: Any) -> Any:
    """σ(½(a + b)) − ½(σ(a) + σ(b)): what averaging before instead of after changes."""
    return sigma((a + b) / 2) - (sigma(a) + sigma(b)) / 2


def _replay_affine() -> Evidence:
    require(sp.expand(gap(lambda z: alpha * z + beta, u, v)) == 0, "affine functions commute with averages")
    return Evidence(1, ("σ(z) = αz + β: the difference expands to 0",))


def _replay_additive() -> Evidence:
    sigma = sp.Function("sigma")
    # Both instances have the same left side, σ(½(u + v)).
    first, second = gap(sigma, u, v), gap(sigma, u + v, sp.Integer(0))
    additive = sigma(u) + sigma(v) - sigma(u + v) - sigma(0)
    require(sp.expand(2 * (second - first) - additive) == 0, "Jensen's equation at (u, v) and (u + v, 0)")
    lines = (
        "J(u, v): σ(½(u+v)) = ½σ(u) + ½σ(v)",
        "J(u+v, 0): σ(½(u+v)) = ½σ(u+v) + ½σ(0)",
        "2·(J(u+v, 0) − J(u, v)): σ(u) + σ(v) − σ(u+v) − σ(0) = 0, so τ = σ − σ(0) is additive",
    )
    return Evidence(3, lines)


def _replay_relu_iff() -> Evidence:
    # relu(z) = ½(z + |z|), so the gap is ¼(|u + v| − |u| − |v|).
    relu = lambda z: (z + sp.Abs(z)) / 2  # noqa: E731
    quarter = (sp.Abs(u + v) - sp.Abs(u) - sp.Abs(v)) / 4
    homogeneous = sp.expand(gap(relu, u, v).subs(sp.Abs(u / 2 + v / 2), sp.Abs(u + v) / 2) - quarter)
    require(homogeneous == 0, "the gap is ¼(|u + v| − |u| − |v|)")
    squares = sp.expand((sp.Abs(u) + sp.Abs(v)) ** 2 - (u + v) ** 2 - 2 * (sp.Abs(u) * sp.Abs(v) - u * v))
    require(squares == 0, "(|u| + |v|)² − (u + v)² = 2(|uv| − uv)")
    return Evidence(2, ("gap = ¼(|u+v| − |u| − |v|)", "(|u| + |v|)² − |u+v|² = 2(|uv| − uv), which is 0 iff uv ≥ 0"))


def _replay_relu_refuted() -> Evidence:
    values = sorted((Fraction(n) for n in range(-3, 4)), key=lambda z: (abs(z), -z))
    tried = 0
    for total_size in range(7):
        for a in values:
            for b in values:
                if abs(a) + abs(b) == total_size:
                    tried += 1
                    found = gap(lambda z: max(z, Fraction(0)), a, b)
                    if found:
                        line = f"u = {a}, v = {b}: relu(½(u+v)) − ½(relu(u) + relu(v)) = {found}"
                        require(a * b < 0, "the strands must disagree in sign")
                        return Evidence(tried, (line,))
    require(False, "no counterexample found")
    raise AssertionError


AVERAGING = (
    Statement(
        "T7.average.affine",
        "Averaging the strands before or after an affine function is the same.",
        r"\sigma(z)=\alpha z+\beta\;\Rightarrow\;\sigma\bigl(\tfrac{u+v}2\bigr)=\tfrac12(\sigma(u)+\sigma(v))",
        ALGEBRA,
        _replay_affine,
    ),
    Statement(
        "T7.average.only_affine",
        "If averaging before and after σ agree for all u, v, then σ − σ(0) is additive; a continuous σ is then affine.",
        r"\forall u,v:\sigma\bigl(\tfrac{u+v}2\bigr)=\tfrac12(\sigma(u)+\sigma(v))\;\Rightarrow\;"
        r"\sigma(u+v)+\sigma(0)=\sigma(u)+\sigma(v)",
        ALGEBRA,
        _replay_additive,
        hypotheses=("proved: additivity", "cited (Cauchy): a continuous additive function is linear"),
        source=NEW,
    ),
    Statement(
        "T7.average.relu_iff",
        "For relu the two agree exactly where the strands agree in sign: iff uv ≥ 0.",
        r"\mathrm{relu}\bigl(\tfrac{u+v}2\bigr)=\tfrac12(\mathrm{relu}(u)+\mathrm{relu}(v))\iff uv\ge0",
        ALGEBRA,
        _replay_relu_iff,
        hypotheses=("|·| is homogeneous: |½z| = ½|z|", "for a, b ≥ 0: a = b iff a² = b²"),
        source=NEW,
    ),
    Statement(
        "T7.average.relu",
        "False: averaging before relu is averaging after it.",
        r"\mathrm{relu}\bigl(\tfrac{u+v}2\bigr)=\tfrac12(\mathrm{relu}(u)+\mathrm{relu}(v))",
        REFUTED,
        _replay_relu_refuted,
        source=NEW,
    ),
)
