"""T8: gradients of RCPS and conjoined networks.

Write Φ for the embedding of conjoined weights, θ ↦ (A = θ, B = 0); it is linear. T5 says that
loss(RCPS(Φθ)) = loss(Conjoined(θ)) *for every θ*; differentiate both sides by θ (chain rule, T8.chain):

    Φᵀ∇RCPS(Φθ) = ∇Conjoined(θ).

Φᵀ restricts to A, so in every layer ∂loss/∂A is the conjoined gradient, which sums over both strands. The layer
lemmas say the same without T5, for all sizes: gradients are given through what they pair with. If δ is the
gradient by the layer's output, the derivative of the loss along a change U of the free weights is
⟨δ, conv_tie(U)(x)⟩, since the layer is linear in its weights; ∂loss/∂V is the array that pairs with U to give it.

Consequences: with B frozen at 0 every optimiser that treats entries alike makes the same steps in both networks
(T8.step, induction over t); a head into which the ½ of a mean merge was folded has gradients twice as large and
steps four times as large, in the conjoined parameter (T8.folded); ∂loss/∂B is in general not 0 (T8.coupling).
"""

from __future__ import annotations

from typing import Any

from rcproof.symbolic.arithmetic import Context
from rcproof.symbolic.checker import Claim, Proof, Proved, check
from rcproof.symbolic.coupling import (
    APART,
    NO_B,
    OTHER,
    OWN,
    STRANDS,
    VANISH,
    F,
    coupled,
    free_conv,
    one_strand,
    tied_conv,
)
from rcproof.symbolic.coupling import GENERAL as LAYER
from rcproof.symbolic.differentiated import NETWORKS
from rcproof.symbolic.shorthand import MINUS, add, elem, equation, mul, step, total, use
from rcproof.symbolic.statements import Statement, proved
from rcproof.symbolic.strands import array
from rcproof.symbolic.tactics import at
from rcproof.symbolic.terms import Fun
from rcproof.symbolic.windows import C, K, N, act_in, c, i, k, o

NEW = "not in the paper"
X, DELTA = array("x"), array("delta")


def _lemmas() -> dict[str, Proved]:
    return {"own": check(*OWN), "other": check(*OTHER)}


_BOTH = ((o, F), (i, N))
LAYERS = (
    proved(
        "T8.layer",
        "Along a change of the free weights, the derivative of the loss through a tied convolution is the sum of one "
        "ordinary layer's derivative on x with δ, and one on ρx with ρδ: ∂loss/∂V sums over both strands.",
        r"\langle\delta,\mathrm{conv}_{\mathrm{tie}(U)}(x)\rangle="
        r"\langle\delta_{<F},\mathrm{conv}_U(x)\rangle+\langle(\rho\delta)_{<F},\mathrm{conv}_U(\rho x)\rangle",
        Claim(
            equation(
                "layer",
                (),
                total(mul(DELTA(o, i), tied_conv(X)(o, i)), (o, 2 * F), (i, N)),
                add(
                    total(mul(DELTA(o, i), free_conv(X)(o, i)), *_BOTH),
                    total(mul(DELTA(2 * F - 1 - o, N - 1 - i), free_conv(act_in(X))(o, i)), *_BOTH),
                ),
            ),
            LAYER,
        ),
        Proof(
            (
                step("split", args=(F,), note="given strand, other strand"),
                use("own", 0, 0, 0, 1, values={o: o, i: i}, note="T7.layer.own"),
                step("reverse", 1, note="outputs of the other strand, backwards"),
                step("reverse", 1, 0, note="positions, backwards"),
                use("other", 1, 0, 0, 1, values={o: o, i: i}, note="T7.layer.other"),
            )
        ),
        hypotheses=(
            "δ is the gradient of the loss by the layer's output; U (here: V, bias) is any change of its free weights",
            "windows centred",
        ),
        known=_lemmas,
    ),
    proved(
        "T8.layer.conjoined",
        "For changes of A alone (B = 0) on a strand pair this is the derivative through the conjoined layer, which is "
        "applied to both strands: ⟨δ_a, conv_U(a)⟩ + ⟨δ_b, conv_U(b)⟩. So ∂loss/∂A is the conjoined gradient.",
        r"\langle\delta_a,\mathrm{conv}_{[U,0]}(a,b)\rangle+\langle\delta_b,\mathrm{conv}_{[U,0]}(b,a)\rangle="
        r"\langle\delta_a,\mathrm{conv}_U(a)\rangle+\langle\delta_b,\mathrm{conv}_U(b)\rangle",
        Claim(
            equation(
                "layer.conjoined",
                (),
                add(
                    total(mul(elem("delta_a", o, i), coupled("a", "b")(o, i)), *_BOTH),
                    total(mul(elem("delta_b", o, i), coupled("b", "a")(o, i)), *_BOTH),
                ),
                add(
                    total(mul(elem("delta_a", o, i), one_strand("a")(o, i)), *_BOTH),
                    total(mul(elem("delta_b", o, i), one_strand("b")(o, i)), *_BOTH),
                ),
            ),
            STRANDS,
            (NO_B,),
        ),
        Proof(
            (
                *at((0, 0, 0, 1), (*APART, *VANISH)),
                *at((1, 0, 0, 1), (*APART, *VANISH)),
            )
        ),
        hypotheses=(
            "the direction U changes A alone: its B part is 0",
            "δ_a, δ_b: gradients by the two strands' outputs",
        ),
    ),
    proved(
        "T8.inputs",
        "Backwards through an uncoupled layer the gradients of the two strands stay apart: along a change (a, b) of "
        "the layer's input the derivative is that of the conjoined layer on each strand. By induction, δ_a and δ_b in "
        "an RCPS network with B = 0 are the conjoined network's, layer by layer.",
        r"\langle\delta_a,\mathrm{conv}_{[A,0]}(da,db)\rangle=\langle\delta_a,\mathrm{conv}_A(da)\rangle",
        Claim(
            equation(
                "inputs",
                (),
                total(mul(elem("delta_a", o, i), coupled("a", "b")(o, i)), *_BOTH),
                total(mul(elem("delta_a", o, i), one_strand("a")(o, i)), *_BOTH),
            ),
            STRANDS,
            (NO_B,),
        ),
        Proof(at((0, 0, 1), (*APART, *VANISH))),
        hypotheses=("B = 0", "(a, b) is any change of the input strand pair"),
    ),
)

# -- optimisers ---------------------------------------------------------------------------------------------

_WEIGHTS = Context(facts=(F - 1, C - 1, K - 1))
_ENTRY = ((o, F), (c, C), (k, K))
_AT = {o: o, c: c, k: k}
_SAME = tuple(
    equation(name, _ENTRY, elem(one, o, c, k), elem(other, o, c, k))
    for name, one, other in (("weights", "A", "theta"), ("gradients", "g_A", "g_theta"), ("states", "m_A", "m_theta"))
)


def _sgd(weight: str, gradient: str) -> Any:
    return add(elem(weight, o, c, k), mul(MINUS, elem("eta"), elem(gradient, o, c, k)))


def _update(weight: str, gradient: str, state: str) -> Any:
    return Fun("update", tuple(elem(x, o, c, k) for x in (weight, gradient, state)))


STEPS = (
    proved(
        "T8.step.sgd",
        "With B frozen at 0, a step of gradient descent keeps A equal to the conjoined weights. By induction the two "
        "runs coincide forever.",
        r"A=\theta,\ \nabla_A=\nabla_\theta\;\Rightarrow\;A-\eta\nabla_A=\theta-\eta\nabla_\theta",
        Claim(equation("sgd", _ENTRY, _sgd("A", "g_A"), _sgd("theta", "g_theta")), _WEIGHTS, _SAME[:2]),
        Proof(
            (
                use("weights", 0, values=_AT, note="A = θ before the step"),
                use("gradients", 1, 2, values=_AT, note="T8.layer.conjoined"),
            )
        ),
        hypotheses=("A = θ before the step", "∂loss/∂A = ∂loss/∂θ (T8.layer.conjoined)", "B = 0 is not trained"),
    ),
    proved(
        "T8.step.entrywise",
        "The same for every optimiser that updates entries from their value, gradient and state (momentum, weight "
        "decay, Adam): any function of the three.",
        r"u(A,\nabla_A,m_A)=u(\theta,\nabla_\theta,m_\theta)",
        Claim(
            equation("entrywise", _ENTRY, _update("A", "g_A", "m_A"), _update("theta", "g_theta", "m_theta")),
            _WEIGHTS,
            _SAME,
        ),
        Proof(tuple(use(e.name, n, values=_AT, note="equal before the step") for n, e in enumerate(_SAME))),
        hypotheses=("weights, gradients and states are equal before the step", "B = 0 is not trained"),
        source=NEW,
    ),
)


STATEMENTS: dict[str, tuple[Statement, ...]] = {"T8": (*LAYERS, *STEPS, *NETWORKS)}
