r"""The two-strand profile head (T5): averaging two profiles is one tied convolution, V = ½[W₊, ρ(W₋)].

A strand of the network ends in a convolution with 2T outputs, T for the strand it reads and T for the other
(``W₊``: outputs o < T; ``W₋``: the rest; T = 1 for plus and minus). The conjoined profile is ½(y(a) + ρ y(b)). The
same numbers come from one RCPS convolution on stack(a, b) with T free filters: V[o] reads the given strand with
½W[o] and the other strand with ½W[2T−1−o], mirrored.
"""

from __future__ import annotations

from rcproof.symbolic.arithmetic import Context
from rcproof.symbolic.checker import Claim, Equation, Proof, Step
from rcproof.symbolic.pairs import A, B, F
from rcproof.symbolic.strands import Read, array, stack, tied
from rcproof.symbolic.terms import Add, If, Index, Mul, Term, num
from rcproof.symbolic.windows import CENTRED, K, L, N, conv, d, i, o, s
from rcproof.symbolic.windows import O as T

HALF = num("1/2")
W, BIAS = array("w"), array("bias")
X = stack(A, B, F, L)
SIZES = Context((F - 1, T - 1, K - 1, L - 1, N - 1, s - 1, d - 1), (CENTRED,))


def folded(w: Read) -> Read:
    """V[o, c, k]: ½W[o, c, k] for the given strand, ½W[2T−1−o, 2F−1−c, K−1−k] for the other."""

    def entry(o: Index, c: Index, k: Index) -> Term:
        own, other = w(o, c, k), w(2 * T - 1 - o, 2 * F - 1 - c, K - 1 - k)
        return If(frozenset({F - 1 - c}), Mul((HALF, own)), Mul((HALF, other)))

    return entry


def folded_bias(b: Read) -> Read:
    """½(β[o] + β[2T−1−o])."""
    return lambda o: Mul((HALF, Add((b(o), b(2 * T - 1 - o)))))


def mean_of_heads(w: Read = W, b: Read = BIAS) -> Read:
    """½(y(a) + ρ y(b)) for the plain head y on each strand."""

    def entry(o: Index, i: Index) -> Term:
        own = conv(w, A, b, channels=F)(o, i)
        other = conv(w, B, b, channels=F)(2 * T - 1 - o, N - 1 - i)
        return Mul((HALF, Add((own, other))))

    return entry


def tied_head(v: Read, b: Read, x: Read = X) -> Read:
    """The RCPS convolution with T free filters on the stacked tensor."""
    return conv(tied(v, T, 2 * F, K), x, tied(b, T), channels=2 * F)


PROFILE = Claim(
    Equation(
        "profile head",
        ((o, 2 * T), (i, N)),
        tied_head(folded(W), folded_bias(BIAS))(o, i),
        mean_of_heads()(o, i),
    ),
    SIZES,
)


def profile_proof() -> Proof:
    """Split the channels into strands, decide, read the other strand backwards; on the right, carry the ½ inwards."""

    def strand(n: int, whose: str) -> list[Step]:
        inside = (0, n, 0, 0, 0)
        steps = [
            Step("decide", (*inside, 0), (), "the filter, or its mirror"),
            Step("decide", (*inside, 0), (), f"its part for {whose}"),
            Step("decide", (*inside, 1), (), f"these channels hold {whose}"),
        ]
        if n:
            steps.append(Step("reverse", (0, 1), (), "channels of the other strand backwards"))
            steps.append(Step("reverse", (0, 1, 0), (), "taps backwards; the windows are centred"))
        return steps

    def inwards(n: int) -> list[Step]:
        return [
            Step("distribute", (n,), (), "½ to the sum and to the bias"),
            Step("collect", (n, 0), (), "½ into the sum over channels"),
            Step("collect", (n, 0, 0), (), "½ into the sum over taps"),
            Step("push", (n, 0, 0, 0), (), "½ into the case: half of 0 is 0"),
        ]

    left = (
        Step("split", (0,), (F,), "F channels of the given strand, then F of the other"),
        *strand(0, "the given strand"),
        *strand(1, "the other strand"),
        Step("decide", (1,), (), "the bias, or its mirror"),
        Step("distribute", (1,), (), "half of each bias"),
    )
    right = (Step("distribute", (), (), "½ of each head"), *inwards(0), *inwards(1))
    part = Proof(left, right=right)
    return Proof(cases=T - 1 - o, parts=(part, part))
