r"""Concatenation of channels on strand pairs (T5): stacked tensors, closed tensors, both.

A closed tensor z (a control track) is one thing seen from both strands: (ρz)[c, p] = s(c)·z[π(c), λ(p)] with an
involution π of its C channels, signs s with s(c)·s(π(c)) = 1, and λ either p ↦ L−1−p or the identity; all that is
used of λ is that it is an involution of the positions. As a strand pair it is stack(z, ρz).

The own strands are concatenated in order, the other strands in reverse order: channel c of the pair is then
mirrored by channel 2(F+H)−1−c. (A plain ``cat`` of stacked tensors is not equivariant: T13.)
"""

from __future__ import annotations

import sympy as sp

from rcproof.symbolic.arithmetic import Context
from rcproof.symbolic.checker import Claim, Equation, Proof, Step
from rcproof.symbolic.pairs import A, B, F, L, X, c, claimed, f, lemma, p
from rcproof.symbolic.statements import Statement
from rcproof.symbolic.strands import Read, array, mirrored, stack, stacked
from rcproof.symbolic.tactics import OTHER, OWN
from rcproof.symbolic.terms import Elem, If, Index, Mul, Term, num

H, C = sp.symbols("H C", integer=True)
_pi, _lam = sp.Function("pi", integer=True), sp.Function("lambda", integer=True)
A2, B2, Z = array("a2"), array("b2"), array("z")
X2 = stack(A2, B2, H, L)
NOT_IN_PAPER = "not in the paper"


def sign(c: Index) -> Term:
    """The sign of a channel."""
    return Elem("sign", (c,))


def rho(z: Read) -> Read:
    """ρz for any representation on C channels: (ρz)[c, p] = s(c)·z[π(c), λ(p)]."""
    return lambda c, p: Mul((sign(c), z(_pi(c), _lam(p))))


SIGNS = Equation("signs", ((f, C),), Mul((sign(f), sign(_pi(f)))), num(1))
REPRESENTATION = (("pi", C), ("lambda", L))
CLOSED = Context(facts=(C - 1, L - 1), involutions=REPRESENTATION)


def pair_of(z: Read) -> Read:
    """A closed tensor as a strand pair: stack(z, ρz)."""
    return stack(z, rho(z), C, L)


def cat(x: Read, y: Read, size: Index) -> Read:
    """Channels of x (``size`` of them), then those of y."""
    return lambda c, p: If(frozenset({size - 1 - c}), x(c, p), y(c - size, p))


def stacked_cat(x: Read, y: Read, first: Index, second: Index) -> Read:
    """Own halves in order, other halves in reverse order, of pairs with ``first`` and ``second`` channels a strand."""

    def entry(c: Index, p: Index) -> Term:
        own = If(frozenset({first - 1 - c}), x(c, p), y(c - first, p))
        start = first + second  # the other strands: y's at c − first, x's at c − 2·second, as they lie
        other = If(frozenset({first + 2 * second - 1 - c}), y(c - first, p), x(c - 2 * second, p))
        return If(frozenset({start - 1 - c}), own, other)

    return entry


def _cat_claim(name: str, y: Read, own: Read, other: Read, second: Index, context: Context) -> Claim:
    left = stacked_cat(X, y, F, second)(c, p)
    right = stacked(cat(A, own, F), cat(B, other, F), F + second, L, c, p)
    return claimed(name, left, right, ((c, 2 * (F + second)), (p, L)), context)


CAT = _cat_claim("concatenation", X2, A2, B2, H, Context(facts=(F - 1, H - 1, L - 1)))
CONTROL = _cat_claim(
    "concatenation with a control track",
    pair_of(Z),
    Z,
    rho(Z),
    C,
    Context(facts=(F - 1, C - 1, L - 1), involutions=REPRESENTATION),
)
PAIR_OF = claimed(
    "a closed tensor as a pair",
    pair_of(rho(Z))(c, p),
    mirrored(pair_of(Z), 2 * C, L)(c, p),
    ((c, 2 * C), (p, L)),
    CLOSED,
    (SIGNS,),
)


def _cat_proof(second: Index) -> Proof:
    """Four ranges of channels: own x, own y, other y, other x."""

    def decided(note: str) -> Proof:
        which = "which of the two tensors"
        steps = tuple(Step("decide", (), (), n) for n in (note, which, "its own half or its other half"))
        return Proof(steps, right=(Step("decide", (), (), note), Step("decide", (), (), which)))

    own = Proof(cases=F - 1 - c, parts=(decided(OWN), decided(OWN)))
    other = Proof(cases=F + 2 * second - 1 - c, parts=(decided(OTHER), decided(OTHER)))
    return Proof(cases=F + second - 1 - c, parts=(own, other))


def _pair_proof() -> Proof:
    own = Proof((Step("decide", (), (), OWN),), right=(Step("decide", (), (), "the mirror of the given half"),))
    back = 2 * C - 1 - c
    squared = Mul((Mul((sign(back), sign(_pi(back)))), Z(_pi(_pi(back)), _lam(_lam(L - 1 - p)))))
    other = Proof(
        (
            Step("decide", (), (), OTHER),
            Step("restate", (), (squared,), "ρρz: the signs together"),
            Step("rewrite", (0,), ("signs", {f: back}), "s(c)·s(π(c)) = 1, so ρρz = z"),
        ),
        right=(Step("decide", (), (), "the mirror of the other half"),),
    )
    return Proof(cases=C - 1 - c, parts=(own, other))


_REP = "(ρz)[c, p] = s(c)·z[π(c), λ(p)], π and λ any involutions"

STATEMENTS: dict[str, tuple[Statement, ...]] = {
    "T5": (
        lemma(
            "T5.cat",
            "Concatenating the own halves of two stacked tensors in order and their other halves in reverse order is "
            "the stack of the concatenated strands. More than two: one after the other.",
            r"\mathrm{cat}_\pm(\mathrm{stack}(a,b),\mathrm{stack}(a',b'))=\mathrm{stack}([a;a'],[b;b'])",
            CAT,
            _cat_proof(H),
            source=NOT_IN_PAPER,
        ),
        lemma(
            "T5.cat.control",
            "Concatenating a stacked tensor with the pair (z, ρz) of a closed control track is the stack of [a; z] and "
            "[b; ρz]: each strand gets the track as that strand sees it.",
            r"\mathrm{cat}_\pm(\mathrm{stack}(a,b),\mathrm{stack}(z,\rho z))=\mathrm{stack}([a;z],[b;\rho z])",
            CONTROL,
            _cat_proof(C),
            hypotheses=(_REP,),
            source=NOT_IN_PAPER,
        ),
        lemma(
            "T5.closed",
            "For any representation, z ↦ stack(z, ρz) takes ρz to ρ of the pair: a closed input enters the stacked "
            "world equivariantly.",
            r"\mathrm{stack}(\rho z,\rho\rho z)=\rho\,\mathrm{stack}(z,\rho z)",
            PAIR_OF,
            _pair_proof(),
            hypotheses=(_REP, "s(c)·s(π(c)) = 1"),
            source=NOT_IN_PAPER,
        ),
    ),
}
