"""T3 and T5 for pooling: centred windows commute with ρ, and what the mirrored operation is when they are not.

Average pooling counts padding (torch's ``count_include_pad``) and is equivariant for every signed representation. Max
pooling takes a constant, −∞ say, where a window reaches outside the input; a sign does not commute with a maximum, so
representations are unsigned there. With r < 0 the last window overhangs, as with torch's ``ceil_mode``: the statements
about max pooling cover that too, those about average pooling only where its divisor stays K.
"""

from __future__ import annotations

from collections.abc import Callable

from rcproof.symbolic.arithmetic import Context
from rcproof.symbolic.checker import Claim, Equation, Proof, Step
from rcproof.symbolic.embedding import CENTRING, SECOND, UNCENTRED, first
from rcproof.symbolic.statements import Statement, proved
from rcproof.symbolic.strands import Read, array, mirrored, stack
from rcproof.symbolic.terms import If, Index, Mul, Term, num
from rcproof.symbolic.windows import (
    CENTRED,
    PI_IN,
    REMAINDER,
    C,
    F,
    K,
    L,
    N,
    act_in,
    average,
    c,
    d,
    i,
    maximum,
    o,
    p,
    q,
    r,
    s,
    sigma,
)  # fmt: skip

X = array("x")
SIZES = (C - 1, F - 1, K - 1, L - 1, N - 1, s - 1, d - 1)
INVOLUTION = (("pi_in", C),)
_TAPS = "sum over K−1−k instead of k"
_NOT = "not in the paper"


def _average(start: Index) -> tuple[Term, Term, Proof]:
    """avg(ρx) and ρ(avg from ``start`` of x), and why they are equal: the sign comes out of the sum."""
    inner = average(X, start)(PI_IN(c), N - 1 - i)
    assert isinstance(inner, Mul)
    front = Mul((num(1 / K), Mul((sigma(c), inner.args[1]))))
    right = (
        Step("restate", (), (front,), "1/K to the front"),
        Step("collect", (1,), (), "the sign under the sum"),
        Step("push", (1, 0), (), "the sign into the case of a tap that reads an input"),
    )
    return average(act_in(X))(c, i), Mul((sigma(c), inner)), Proof((Step("reverse", (1,), (), _TAPS),), right=right)


def _maximum(start: Index) -> tuple[Term, Term, Proof]:
    """max(ρx) and ρ(max from ``start`` of x), without signs."""
    turned: Read = lambda c, at: X(PI_IN(c), L - 1 - at)  # noqa: E731
    proof = Proof((Step("reverse", (), (), "maximum over K−1−k instead of k"),))
    return maximum(turned)(c, i), maximum(X, start)(PI_IN(c), N - 1 - i), proof


def _both_ways(
    key: str, what: str, rep: str, build: Callable[[Index], tuple[Term, Term, Proof]], latex: str
) -> list[Statement]:
    found = []
    for kind, start, equal, text, tex, hypothesis in (
        (
            "sufficient",
            -p,
            CENTRED,
            "commutes with ρ if its windows are centred",
            rf"s(N-1)+d(K-1)+1 = L+2p\ \Rightarrow\ {latex}(\rho x) = \rho\,{latex}(x)",
            CENTRING,
        ),
        (
            "mirrored",
            r - q,
            REMAINDER,
            "that leaves r positions unread is, on the other strand, the one whose windows start at r − q",
            rf"{latex}_{{-p}}(\rho x) = \rho\,{latex}_{{r-q}}(x)",
            UNCENTRED,
        ),
    ):
        lhs, rhs, proof = build(start)
        found.append(
            proved(
                f"T3.{key}.{kind}",
                f"{what} pooling with stride s, dilation d, left padding p and right padding q {text}.",
                tex,
                Claim(Equation(key, ((c, C), (i, N)), lhs, rhs), Context(SIZES, (equal,), INVOLUTION)),
                proof,
                hypotheses=(rep, hypothesis),
                source=_NOT,
            )
        )
    return found


def _stacked(key: str, what: str, pool: Callable[..., Read], latex: str, depth: tuple[int, ...]) -> list[Statement]:
    lifted = stack(pool(X), pool(mirrored(X, 2 * F, L)), F, N)(o, i)
    halved = If(frozenset({F - 1 - o}), pool(X)(o, i), pool(X, r - q)(o, i))
    ranges = ((o, 2 * F), (i, N))
    back = Step("reverse", depth, (), "K−1−k instead of k")
    return [
        proved(
            f"T5.{key}.stacked",
            f"{what} pooling with centred windows is its own lift: it acts on stacked channels as on plain ones.",
            rf"D({latex})(x) = {latex}(x)",
            Claim(Equation(key, ranges, lifted, pool(X)(o, i)), Context(SIZES, (CENTRED,))),
            Proof(cases=F - 1 - o, parts=(Proof((first(),)), Proof((first(note=SECOND), back)))),
            hypotheses=(CENTRING,),
            source="paper, section 2.1",
        ),
        proved(
            f"T5.{key}.halves",
            f"The lift of {what.lower()} pooling whose windows leave r positions unread: the plain operation on the "
            "first F channels, and the one whose windows start at r − q on the others.",
            rf"D({latex})(x) = \mathrm{{cat}}[{latex}_{{-p}}(x_{{<F}}), {latex}_{{r-q}}(x_{{\ge F}})]",
            Claim(Equation(key, ranges, lifted, halved), Context(SIZES, (REMAINDER,))),
            Proof(
                cases=F - 1 - o,
                parts=(
                    Proof((first(),), right=(first(),)),
                    Proof((first(note=SECOND), back), right=(first(note=SECOND),)),
                ),
            ),
            hypotheses=(UNCENTRED,),
            source=_NOT,
        ),
    ]


_SIGNED = "ρ: a signed involution of channels with reversal of positions"
_UNSIGNED = "ρ: an involution of channels, without signs, with reversal of positions"

T3 = (
    *_both_ways("average", "Average", _SIGNED, _average, r"\mathrm{avg}"),
    *_both_ways("maximum", "Max", _UNSIGNED, _maximum, r"\mathrm{max}"),
)
T5 = (
    *_stacked("average", "Average", average, r"\mathrm{avg}", (1,)),
    *_stacked("maximum", "Max", maximum, r"\mathrm{max}", ()),
)

#: Statements by theorem.
STATEMENTS: dict[str, tuple[Statement, ...]] = {"T3": T3, "T5": T5}
