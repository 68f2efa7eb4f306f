"""What the lemmas about strand pairs share: sizes, strands, and the usual shape of a statement (T5)."""

from __future__ import annotations

from typing import Any

import sympy as sp

from rcproof.symbolic.arithmetic import Context
from rcproof.symbolic.checker import Claim, Equation, Proof
from rcproof.symbolic.statements import Statement, proved
from rcproof.symbolic.strands import Read, array, stack
from rcproof.symbolic.tactics import by_strand
from rcproof.symbolic.terms import Add, Index, Mul, Term

#: F channels a strand, L positions; c is a channel of the stacked tensor, p a position.
F, L = sp.symbols("F L", integer=True)
c, f, p, u = sp.symbols("c f p u", integer=True)
#: The two strands, and the pair.
A, B = array("a"), array("b")
X = stack(A, B, F, L)
PAIR = ((c, 2 * F), (p, L))
CHANNELS = ((c, 2 * F),)
SIZES = Context(facts=(F - 1, L - 1))
STRANDS = "a and b are the two strands, each in its own 5'→3' orientation; all sizes at least 1"
PAPER = "Zhou et al. 2022, sections 2.1 and 2.3 (implicit)"


def plus(x: Read, y: Read) -> Read:
    """The sum of two arrays (a residual connection)."""
    return lambda *at: Add((x(*at), y(*at)))


def times(x: Read, y: Read) -> Read:
    """The product of two arrays, entry by entry (a gate)."""
    return lambda *at: Mul((x(*at), y(*at)))


def claimed(
    name: str, left: Term, right: Term, over: Any = PAIR, context: Context = SIZES, given: tuple[Equation, ...] = ()
) -> Claim:
    """A claim about a strand pair."""
    return Claim(Equation(name, over, left, right), context, given)


def lemma(
    name: str,
    text: str,
    latex: str,
    claim: Claim,
    proof: Proof | None = None,
    split: Index = F - 1 - c,
    hypotheses: tuple[str, ...] = (),
    source: str = PAPER,
    **options: Any,
) -> Statement:
    """A lemma about a strand pair; without ``proof``, the usual one by cases (:func:`by_strand`)."""
    eq = claim.equation
    proof = by_strand(eq.lhs, eq.rhs, split, **options) if proof is None else proof
    return proved(name, text, latex, claim, proof, hypotheses=(STRANDS, *hypotheses), source=source)
