"""T11: irreducible representations. Two exchanged channels are one channel that ρ fixes and one whose sign it changes.

For a stacked array x of 2F channels let x⁺[c] = x[c] + x[2F−1−c] and x⁻[c] = x[c] − x[2F−1−c], c < F. Then ρ
reverses positions of x⁺ and x⁻, changes the sign of x⁻, and does nothing else: regular ≅ trivial ⊕ sign. A
representation is thus, up to a change of basis, a number a of channels that ρ fixes and a number b that change
sign: the type (a, b) of Mallet and Vert (2021). Their classification of linear layers, kernels between types,
follows from T4: W[o, c, k] = ±W[o, c, K−1−k], even where both channels are of one kind and odd where not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sympy as sp

from rcproof.symbolic.arithmetic import Context
from rcproof.symbolic.checker import Claim, Proof, Step
from rcproof.symbolic.families import COUNTS
from rcproof.symbolic.shorthand import (
    HALF,
    MINUS,
    ONE,
    ZERO,
    add,
    elem,
    equation,
    integers,
    mul,
    restate,
    step,
    total,
    use,
    where,
)
from rcproof.symbolic.statements import Statement, proved
from rcproof.symbolic.strands import Read, array, mirrored
from rcproof.symbolic.terms import Elem, Term, num

PAPER = "Mallet and Vert, NeurIPS 2021 (their classification); not in the RCPS paper"
F, G, K, L, M = integers("F G K L M")
c, k, i, o = integers("c k i o")
PAIRS = Context(facts=(F - 1, L - 1))
X = array("x")


def plus(x: Read) -> Read:
    """x⁺: the sum of two exchanged channels."""
    return lambda c, *at: add(x(c, *at), x(2 * F - 1 - c, *at))


def minus(x: Read) -> Read:
    """x⁻: their difference."""
    return lambda c, *at: add(x(c, *at), mul(MINUS, x(2 * F - 1 - c, *at)))


def regular(p: Read, m: Read) -> Read:
    """The stacked array with given x⁺ and x⁻."""
    return lambda c, *at: where(
        (F - 1 - c,),
        mul(HALF, add(p(c, *at), m(c, *at))),
        mul(HALF, add(p(2 * F - 1 - c, *at), mul(MINUS, m(2 * F - 1 - c, *at)))),
    )


def _open(*path: int) -> tuple[Step, ...]:
    """½((a + b) + (c + d)) as four summands."""
    return (step("distribute", *path), step("distribute", *path, 0), step("distribute", *path, 1))


def _only(kept: Term, gone: Term) -> tuple[Step, ...]:
    """a = ½a + ½a + ½b − ½b, as steps."""
    split = add(mul(add(HALF, HALF), kept), mul(add(HALF, num(sp.Rational(-1, 2))), gone))
    return (
        restate(split, note="1 = ½ + ½ and 0 = ½ − ½"),
        step("distribute", 0),
        step("distribute", 1),
    )


_THERE, _BACK = 2 * F - 1 - c, L - 1 - i
_P, _M = array("p"), array("m")


def _inverse(name: str, part: Callable[[Read], Read], kept: Elem, gone: Elem) -> Statement:
    which = "sum" if part is plus else "difference"
    open_first = (step("decide", 0, note="c < F"), step("distribute", 0))
    if part is plus:
        second: tuple[Step, ...] = (step("decide", 1, note="2F−1−c ≥ F"), step("distribute", 1))
    else:
        second = (
            step("decide", 1, 1, note="2F−1−c ≥ F"),
            step("distribute", 1, 1),
            step("distribute", 1),
        )
    return proved(
        f"T11.basis.{name}",
        f"Going back and forth gives the same: the {which} of the exchanged channels of the array made of p and m is "
        f"{kept.array}. With T11.basis.inverse, the change of basis is a bijection.",
        rf"\bigl(\mathrm{{regular}}(p,m)\bigr)^{{{'+' if part is plus else '-'}}}={kept.array}",
        Claim(equation(name, ((c, F), (i, L)), part(regular(_P, _M))(c, i), kept), PAIRS),
        Proof((*open_first, *second), right=_only(kept, gone)),
        source=PAPER,
    )


BASIS = (
    proved(
        "T11.trivial",
        "ρ only reverses positions of x⁺: (ρx)⁺[c, l] = x⁺[c, L−1−l]. This is the trivial representation.",
        r"(\rho x)^+_{c,l}=x^+_{c,L-1-l}",
        Claim(
            equation("trivial", ((c, F), (i, L)), plus(mirrored("x", 2 * F, L))(c, i), plus(X)(c, _BACK)),
            PAIRS,
        ),
        Proof((restate(plus(X)(c, _BACK), note="the two summands change places"),)),
        source=PAPER,
    ),
    proved(
        "T11.sign",
        "ρ also changes the sign of x⁻: (ρx)⁻[c, l] = −x⁻[c, L−1−l]. This is the sign representation.",
        r"(\rho x)^-_{c,l}=-x^-_{c,L-1-l}",
        Claim(
            equation("sign", ((c, F), (i, L)), minus(mirrored("x", 2 * F, L))(c, i), mul(MINUS, minus(X)(c, _BACK))),
            PAIRS,
        ),
        Proof(right=(step("distribute", note="−(a − b) = b − a"),)),
        source=PAPER,
    ),
    proved(
        "T11.basis.inverse",
        "x is recovered from x⁺ and x⁻, ½(x⁺ + x⁻) on the first half and ½(x⁺ − x⁻) on the second: "
        "regular ≅ trivial ⊕ sign.",
        r"x_c=\tfrac12(x^+_c+x^-_c),\quad x_{2F-1-c}=\tfrac12(x^+_c-x^-_c)",
        Claim(equation("inverse", ((c, 2 * F), (i, L)), regular(plus(X), minus(X))(c, i), X(c, i)), PAIRS),
        Proof(
            cases=F - 1 - c,
            parts=(
                Proof((step("decide", note="first half"), *_open()), right=_only(X(c, i), X(_THERE, i))),
                Proof(
                    (
                        step("decide", note="second half"),
                        step("distribute", 1, 1),
                        *_open(),
                    ),
                    right=_only(X(c, i), X(_THERE, i)),
                ),
            ),
        ),
        source=PAPER,
    ),
    _inverse("plus", plus, elem("p", c, i), elem("m", c, i)),
    _inverse("minus", minus, elem("m", c, i), elem("p", c, i)),
)


# -- linear layers in the new basis -----------------------------------------------------------------------------

MAPS = Context(facts=(F - 1, G - 1))
W = array("W")
_FIXED = equation("equivariant", ((o, 2 * G), (c, 2 * F)), W(2 * G - 1 - o, 2 * F - 1 - c), W(o, c))


def _block(sign: Term) -> Statement:
    """y± depends on x± alone."""
    positive = sign == ONE
    name, mark = ("plus", "⁺") if positive else ("minus", "⁻")
    part = plus if positive else minus
    other = 2 * G - 1 - o
    rows = [total(mul(W(at, c), X(c)), (c, 2 * F)) for at in (o, other)]
    lhs = add(rows[0], rows[1] if positive else mul(MINUS, rows[1]))
    weight = add(W(o, c), W(o, _THERE) if positive else mul(MINUS, W(o, _THERE)))
    rhs = total(mul(weight, part(X)(c)), (c, F))
    at = (1,) if positive else (1, 1)
    left = (
        step("reverse", *at, note="c ↦ 2F−1−c in the other output"),
        use("equivariant", *at, 0, 0, values={o: o, c: c}, note="W[2G−1−o, 2F−1−c] = W[o, c]"),
        step("split", 0, args=(F,)),
        step("reverse", 0, 1, note="second half of the inputs, backwards"),
        step("split", *at, args=(F,)),
        step("reverse", *at, 1),
        *(() if positive else (step("distribute", 1),)),
    )
    signs: tuple[Step, ...] = (
        step("distribute", 0, note="the product of two sums"),
        step("distribute", 0, 0),
        step("distribute", 0, 1),
        step("linear"),
        step("linear", 0),
        step("linear", 1),
    )
    if not positive:
        for path, factors in (((0, 1), (W(o, c), X(_THERE))), ((1, 0), (W(o, _THERE), X(c)))):
            signs += (restate(mul(MINUS, *factors), *path, 0, note="the sign in front"), step("linear", *path))
    return proved(
        f"T11.block.{name}",
        f"An equivariant linear map is block diagonal in the new basis: y{mark}[o] = Σ_c (W[o, c] "
        f"{'+' if positive else '−'} W[o, 2F−1−c])·x{mark}[c].",
        rf"(Wx)^{{{'+' if positive else '-'}}}_o=\sum_{{c<F}}(W_{{o,c}}{'+' if positive else '-'}W_{{o,2F-1-c}})"
        rf"\,x^{{{'+' if positive else '-'}}}_c",
        Claim(equation(f"block.{name}", ((o, G),), lhs, rhs), MAPS, (_FIXED,)),
        Proof(left, right=signs),
        hypotheses=("ρW = W (both sides stacked)",),
        source=PAPER,
    )


# A kernel's entries in the new basis, up to a factor: e and f are the signs (±1) of output and input kind.
_E, _S = elem("e"), elem("f")
KERNELS = Context(facts=(F - 1, G - 1, K - 1))
_KERNEL = equation(
    "equivariant", ((o, 2 * G), (c, 2 * F), (k, K)), W(2 * G - 1 - o, 2 * F - 1 - c, K - 1 - k), W(o, c, k)
)
_SQUARES = (equation("square_e", (), mul(_E, _E), ONE), equation("square_f", (), mul(_S, _S), ONE))


def _entry(k: Any) -> Term:
    there = 2 * G - 1 - o
    return add(
        W(o, c, k), mul(_S, W(o, _THERE, k)), mul(_E, W(there, c, k)), mul(mul(_E, _S), W(there, _THERE, k))
    )  # fmt: skip


_FLIP = 2 * G - 1 - o
PARITY = proved(
    "T11.parity",
    "In the new basis a kernel entry from a channel of kind f to one of kind e (±1) is even or odd in its taps: "
    "W′[o, c, K−1−k] = e·f·W′[o, c, k]. These are the Mallet–Vert kernels.",
    r"W'^{ef}_{o,c,K-1-k}=ef\,W'^{ef}_{o,c,k}",
    Claim(
        equation("parity", ((o, G), (c, F), (k, K)), _entry(K - 1 - k), mul(mul(_E, _S), _entry(k))),
        KERNELS,
        (_KERNEL, *_SQUARES),
    ),
    Proof(
        (
            use("equivariant", 0, values={o: _FLIP, c: _THERE, k: k}, note="ρW = W"),
            use("equivariant", 1, 1, values={o: _FLIP, c: c, k: k}, note="ρW = W"),
            use("equivariant", 2, 1, values={o: o, c: _THERE, k: k}, note="ρW = W"),
            use("equivariant", 3, 1, values={o: o, c: c, k: k}, note="ρW = W"),
        ),
        right=(
            restate(mul(_E, _S, _entry(k)), note="the order of factors"),
            step("distribute"),
            restate(mul(mul(_S, _S), _E, W(o, _THERE, k)), 1, note="f·f"),
            use("square_f", 1, 0, note="f² = 1"),
            restate(mul(mul(_E, _E), _S, W(_FLIP, c, k)), 2, note="e·e"),
            use("square_e", 2, 0, note="e² = 1"),
            restate(mul(mul(_E, _E), mul(_S, _S), W(_FLIP, _THERE, k)), 3, note="both"),
            use("square_e", 3, 0, note="e² = 1"),
            use("square_f", 3, 1, note="f² = 1"),
        ),
    ),
    hypotheses=("ρW = W (both sides stacked)", "e, f = ±1"),
    source=PAPER,
)


def _vanishing(name: str, text: str, latex: str, entry: Term, context: Context, odd: Any) -> Statement:
    """w = −w is 0."""
    rank = odd.lhs.index
    ranges = ((o, G), (c, F))
    values = {o: o, c: c} if len(rank) == 2 else {o: o, c: c, k: M}
    return proved(
        name,
        text,
        latex,
        Claim(equation(name, ranges, entry, ZERO), context, (odd,)),
        Proof(
            (
                restate(mul(add(HALF, HALF), entry), note="1 = ½ + ½"),
                step("distribute"),
                use("odd", 1, 1, values=values, note="W′ = −W′"),
            ),
            right=(
                restate(mul(add(HALF, num(sp.Rational(-1, 2))), entry), note="0 = (½ − ½)·W′"),
                step("distribute"),
            ),
        ),
        hypotheses=("W′ is an entry between channels of different kinds",),
        source=PAPER,
    )


_ODD2 = equation("odd", ((o, G), (c, F)), W(o, c), mul(MINUS, W(o, c)))
_ODD3 = equation("odd", ((o, G), (c, F), (k, K)), W(o, c, k), mul(MINUS, W(o, c, K - 1 - k)))
SCHUR = (
    _vanishing(
        "T11.schur.dense",
        "Dense layers do not mix kinds: W′ = −W′ between a trivial and a sign channel, so W′ = 0.",
        r"W'^{+-}=-W'^{+-}\;\Rightarrow\;W'^{+-}=0",
        W(o, c),
        MAPS,
        _ODD2,
    ),
    _vanishing(
        "T11.schur.middle_tap",
        "The middle tap of a kernel with K = 2M+1 does not mix kinds either.",
        r"W'^{+-}_{M}=0,\quad K=2M+1",
        W(o, c, M),
        Context(facts=(F - 1, G - 1, M), equal=((K, 2 * M + 1),)),
        _ODD3,
    ),
)


STATEMENTS: dict[str, tuple[Statement, ...]] = {"T11": (*BASIS, _block(ONE), _block(MINUS), PARITY, *SCHUR, *COUNTS)}
