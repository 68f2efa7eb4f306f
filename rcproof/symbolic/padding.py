"""T3 for padding modes: padding by reflection, replication, wrapping or zeros commutes with ρ, left and right swapped.

A convolution with one of torch's padding modes pads first and convolves without padding after, so the theorems about
convolutions with p = q = 0 and length L + p + q apply to it.
"""

from __future__ import annotations

from collections.abc import Callable

import sympy as sp

from rcproof.symbolic.arithmetic import Context
from rcproof.symbolic.checker import Claim, Equation, Proof, Step
from rcproof.symbolic.statements import Statement, proved
from rcproof.symbolic.strands import Read, array
from rcproof.symbolic.terms import If, Index, Mul, Term, num
from rcproof.symbolic.windows import PI_IN, C, L, act_in, c, i, p, q, sigma

#: What is read at position j < 0 and at position j ≥ L; None for 0.
MODES: dict[str, Callable[[Index], tuple[Index, Index] | None]] = {
    "reflect": lambda j: (-j, 2 * (L - 1) - j),
    "replicate": lambda j: (sp.Integer(0), L - 1),
    "circular": lambda j: (j + L, j - L),
    "zeros": lambda j: None,
}


def padded(mode: str, x: Read, left: Index) -> Read:
    """``x`` padded by ``left`` positions at the left, and as many as are read at the right."""

    def entry(c: Index, i: Index) -> Term:
        j = i - left
        ends = MODES[mode](j)
        before, after = (num(0), num(0)) if ends is None else (x(c, ends[0]), x(c, ends[1]))
        return If(frozenset({-1 - j}), before, If(frozenset({j - L}), after, x(c, j)))

    return entry


def _padding(mode: str) -> Statement:
    x = array("x")
    lhs = padded(mode, act_in(x), q)(c, i)
    inner = padded(mode, x, p)(PI_IN(c), L + p + q - 1 - i)
    sign = Step("push", (), (), "the sign into the cases")
    inside = Step("push", (1,), (), "and into the inner ones")

    def at(side: str) -> Step:
        return Step("decide", (), (), f"the position is {side}")

    both = Proof((at("not before the input"), at("past it")), right=(at("before the input, read backwards"),))
    within = Proof((at("not before the input"), at("in it")), right=(at("not before the input"), at("in it")))
    before = Proof((at("before the input"),), right=(at("not before the input, read backwards"), at("past it")))
    return proved(
        f"T3.padding.{mode}",
        f"Padding ({mode}) by p positions at the left and q at the right is, on the other strand, padding by q at the "
        "left and p at the right.",
        r"\mathrm{pad}_{q,p}(\rho x) = \rho\,\mathrm{pad}_{p,q}(x)",
        Claim(
            Equation("padding", ((c, C), (i, L + p + q)), lhs, Mul((sigma(c), inner))),
            Context((C - 1, L - 1, p, q), (), (("pi_in", C),)),
        ),
        Proof(
            right=(sign, inside),
            cases=q - 1 - i,
            parts=(before, Proof(cases=i - q - L, parts=(both, within))),
        ),
        hypotheses=("ρ: a signed involution of channels with reversal of positions", "p ≥ 0 and q ≥ 0"),
        source="not in the paper",
    )


#: Statements by theorem.
STATEMENTS: dict[str, tuple[Statement, ...]] = {"T3": tuple(_padding(mode) for mode in MODES)}
