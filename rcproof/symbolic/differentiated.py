"""T8, whole networks: the chain rule, what folding a half does, and two layers differentiated outright."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import sympy as sp

from rcproof.symbolic.statements import ALGEBRA, REFUTED, Evidence, Statement, require

NEW = "not in the paper"


def _replay_chain() -> Evidence:
    a, b, t = sp.symbols("A B theta")
    loss = sp.Function("loss")
    # One entry stands for all: loss(RCPS) as a function of (A, B), of which the conjoined loss is the part B = 0.
    conjoined = loss(t, 0)
    by_a = sp.diff(loss(a, b), a).subs({a: t, b: 0}).doit()
    require(sp.diff(conjoined, t) == by_a, "d/dθ loss(θ, 0) = ∂loss/∂A at (θ, 0)")
    return Evidence(1, ("d/dθ loss(A = θ, B = 0) = (∂loss/∂A)(θ, 0), by the chain rule",))


def _replay_folded() -> Evidence:
    w, v, eta, g = sp.symbols("w v eta g")
    loss = sp.Function("loss")
    inner = sp.Symbol("s")  # the strand sum that the head sees
    unfolded, folded = loss(w * inner / 2), loss(v * inner)
    ratio = sp.simplify((sp.diff(folded, v) / sp.diff(unfolded, w).subs(w, 2 * v)).doit())
    require(ratio == 2, f"the folded gradient is {ratio} times the other")
    # A step on v = ½w: v − η·2g, read as w = 2v.
    stepped = sp.expand(2 * (w / 2 - eta * ratio * g))
    require(sp.expand(stepped - (w - 4 * eta * g)) == 0, "the folded step is four times as large")
    require(sp.expand(stepped.subs(eta, eta / 4) - (w - eta * g)) == 0, "a quarter of the rate undoes it")
    return Evidence(3, ("∂/∂v = 2·∂/∂w for v = ½w", "w′ = 2v′ = w − 4η·∂loss/∂w", "with rate η/4 the steps coincide"))


# -- two layers, explicitly --------------------------------------------------------------------------------------


def _dot(a: Any, b: Any) -> Any:
    return sum(p * q for p, q in zip(a, b, strict=True))


def two_layers(first: Any, own: Any, other: Any, x: Any, sigma: Callable[[Any], Any]) -> Any:
    """Mean over strands and channels of σ(A·h + B·h′), h = σ(W x), h′ = σ(W ρx): one position, ρ reverses x."""
    h, back = ([sigma(_dot(row, y)) for row in first] for y in (x, x[::-1]))
    out = 0
    for mine, theirs in ((h, back), (back, h)):
        for a, b in zip(own, other, strict=True):
            out = out + sigma(
                sum(p * q for p, q in zip(a, mine, strict=True)) + sum(p * q for p, q in zip(b, theirs, strict=True))
            )
    return out / 2


def _symbols(name: str, rows: int, columns: int) -> list[list[Any]]:
    return [list(sp.symbols(f"{name}{r}_0:{columns}")) for r in range(rows)]


def _replay_network() -> Evidence:
    sigma, loss = sp.Function("sigma"), sp.Function("loss")
    first, own, other = _symbols("w", 2, 2), _symbols("a", 2, 2), _symbols("b", 2, 2)
    x = list(sp.symbols("x0:2"))
    zero = dict.fromkeys(itertools.chain(*other), 0)

    def one_strand_net(y: list[Any]) -> Any:
        h = [sigma(_dot(row, y)) for row in first]
        return sum(sigma(_dot(a, h)) for a in own)

    conjoined = loss((one_strand_net(x) + one_strand_net(x[::-1])) / 2)
    rcps = loss(two_layers(first, own, other, x, sigma))
    require(sp.expand(rcps.subs(zero) - conjoined) == 0, "the two losses are equal at B = 0")
    count = 0
    for parameter in itertools.chain(*first, *own):
        # Differentiate with B free, and only then set B = 0.
        difference = sp.diff(rcps, parameter).subs(zero).doit() - sp.diff(conjoined, parameter).doit()
        require(sp.expand(difference.doit()) == 0, f"gradients by {parameter} differ")
        count += 1
    return Evidence(count + 1, (f"{count} partial derivatives equal, with σ and the loss as function symbols",))


@dataclass(frozen=True)
class Dual:
    """A rational number with a derivative."""

    value: Fraction
    slope: Fraction = Fraction(0)

    def __add__(self, other: Any) -> Dual:
        other = other if isinstance(other, Dual) else Dual(Fraction(other))
        return Dual(self.value + other.value, self.slope + other.slope)

    __radd__ = __add__

    def __mul__(self, other: Any) -> Dual:
        other = other if isinstance(other, Dual) else Dual(Fraction(other))
        return Dual(self.value * other.value, self.value * other.slope + self.slope * other.value)

    __rmul__ = __mul__

    def __truediv__(self, other: int) -> Dual:
        return self * Fraction(1, other)


def relu(v: Dual) -> Dual:
    """relu, with slope 0 at 0."""
    return v if v.value > 0 else Dual(Fraction(0))


def slope_by_b(w: Sequence[int], a: int, x: Sequence[int], target: int) -> Fraction:
    """∂/∂B of ½(out − target)² at B = 0, in the two-layer network with one filter."""
    first = [[Dual(Fraction(e)) for e in w]]
    b = Dual(Fraction(0), Fraction(1))
    error = two_layers(first, [[Dual(Fraction(a))]], [[b]], [Dual(Fraction(e)) for e in x], relu) + (-target)
    return (error * error).slope / 2


def _replay_coupling() -> Evidence:
    for tried, numbers in enumerate(sorted(itertools.product((0, 1), repeat=6), key=sum), 1):
        w, a, x, target = numbers[:2], numbers[2], numbers[3:5], numbers[5]
        found = slope_by_b(w, a, x, target)
        if found:
            line = f"w = {w}, A = {a}, B = 0, x = {x}, target {target}: ∂loss/∂B = {found}"
            return Evidence(tried, ("smallest found: " + line,))
    require(False, "∂loss/∂B was 0 wherever tried")
    raise AssertionError


NETWORKS = (
    Statement(
        "T8.chain",
        "Φᵀ∇RCPS(Φθ) = ∇Conjoined(θ): by T5 the two losses are one function of θ, and Φ is linear.",
        r"\Phi^{\mathsf T}\,\nabla\mathrm{RCPS}(\Phi\theta)=\nabla\mathrm{Conjoined}(\theta)",
        ALGEBRA,
        _replay_chain,
        hypotheses=("T5: loss(RCPS(Φθ)) = loss(Conjoined(θ)) for every θ", "Φθ = (A = θ, B = 0)", "chain rule"),
    ),
    Statement(
        "T8.folded",
        "A head with the ½ of a mean merge folded in has the parameter v = ½w. Its gradient is 2·∂loss/∂w, so a step "
        "of rate η on v is a step of rate 4η on w; rate η/4 for that head makes the runs coincide.",
        r"\tfrac{\partial}{\partial v}=2\tfrac{\partial}{\partial w},"
        r"\qquad w'=2v'=w-4\eta\,\tfrac{\partial}{\partial w}",
        ALGEBRA,
        _replay_folded,
        hypotheses=("plain gradient descent; the bias of the head is not halved and is not affected",),
        source=NEW,
    ),
    Statement(
        "T8.network",
        "Differentiated outright: a network of two layers, with σ and the loss as unknown functions and all weights "
        "and inputs as symbols, has ∂loss/∂A equal to the conjoined gradient at B = 0, for every parameter.",
        r"\partial_{W},\partial_{A}\,\mathrm{loss}\circ\mathrm{RCPS}\big|_{B=0}=\partial_{W},\partial_{A}\,"
        r"\mathrm{loss}\circ\mathrm{Conjoined}",
        "finite: two layers of two filters on two channels and one position; all weights, inputs, smooth σ and losses",
        _replay_network,
    ),
    Statement(
        "T8.coupling",
        "False: ∂loss/∂B = 0 at B = 0. In general it is not, so training B leaves the conjoined class at once.",
        r"\frac{\partial\,\mathrm{loss}}{\partial B}\Big|_{B=0}=0",
        REFUTED,
        _replay_coupling,
        source=NEW,
    ),
)
