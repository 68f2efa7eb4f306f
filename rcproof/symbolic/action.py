"""T1: the group action ρ, and strand pairs.

ρ acts on a tensor by a signed involution of its channels, and by reversal of its length (see
:class:`rcproof.strand.Representation`): (ρx)[c, l] = σ(c) · x[π(c), L−1−l] with π∘π = id and
σ(c)·σ(π(c)) = 1. Total reversal is π(c) = C−1−c, σ = 1. The batch axis is left out throughout: every
operation here treats examples one by one. Shapes of rank 2 have no position index.
"""

from __future__ import annotations

from typing import Any

import sympy as sp

from rcproof.symbolic.arithmetic import Context
from rcproof.symbolic.checker import Claim, Equation, Proof, Step
from rcproof.symbolic.statements import Statement, proved
from rcproof.symbolic.strands import Read, array, mirrored, stack
from rcproof.symbolic.terms import Elem, Fun, Index, Mul, Term, num

C, F, G, H, L, M, P, c, i, o = sp.symbols("C F G H L M P c i o", integer=True)
PI = sp.Function("pi", integer=True)
SIZES = Context(facts=(C - 1, F - 1, G - 1, H - 1, L - 1, M - 1, P - 1))
SIGNED = Context(facts=(C - 1, L - 1), involutions=(("pi", C),))

#: ρ∘ρ = id needs equal signs on exchanged channels; for signs of ±1 that is σ(c)·σ(π(c)) = 1.
SIGNS = Equation("signs", ((c, C),), Mul((Elem("sigma", (c,)), Elem("sigma", (PI(c),)))), num(1))

NOT_IN_PAPER = "not in the paper"


def act(x: Read, length: Index | None = L, reverses: bool = True) -> Read:
    """ρx for a signed involution: (ρx)[c, l] = σ(c)·x[π(c), l′], l′ = L−1−l where length reverses."""
    if length is None:
        return lambda c: Mul((Elem("sigma", (c,)), x(PI(c))))
    return lambda c, i: Mul((Elem("sigma", (c,)), x(PI(c), length - 1 - i if reverses else i)))


def unstack(x: Read, size: Index = F, length: Index | None = L) -> tuple[Read, Read]:
    """The two strands in a stacked array of 2·``size`` channels, each in its own orientation."""
    if length is None:
        return x, lambda c: x(2 * size - 1 - c)
    return x, lambda c, i: x(2 * size - 1 - c, length - 1 - i)


def entry(size: Index, length: Index | None) -> tuple[tuple[Any, ...], tuple[sp.Symbol, ...]]:
    """Ranged variables and indices of an entry of rank 2 or 3."""
    return (((o, size),), (o,)) if length is None else (((o, size), (i, length)), (o, i))


def claim(name: str, ranges: tuple[Any, ...], lhs: Term, rhs: Term, context: Context = SIZES, given: Any = ()) -> Claim:
    """lhs = rhs for all values of the ranged variables."""
    return Claim(Equation(name, ranges, lhs, rhs), context, tuple(given))


def decide(path: tuple[int, ...] = (), note: str = "the half that the case is about") -> Step:
    """Take the branch that the facts decide, at a place."""
    return Step("decide", path, (), note)


def by_halves(size: Index, first: Proof, second: Proof) -> Proof:
    """One proof for channels o < ``size``, one for the others."""
    return Proof(cases=size - 1 - o, parts=(first, second))


BOTH = Proof((decide(),), right=(decide(),))


# -- T1 ---------------------------------------------------------------------------------------------------


def _involution(name: str, text: str, latex: str, length: Index | None, reverses: bool = True) -> Statement:
    x = array("x")
    ranges, at = entry(C, length)
    lhs = act(act(x, length, reverses), length, reverses)(*at)
    squared = Mul((Mul((Elem("sigma", (o,)), Elem("sigma", (PI(o),)))), x(*at)))
    proof = Proof(
        (
            Step("restate", (), (squared,), "π(π(c)) = c, and L−1−(L−1−l) = l"),
            Step("rewrite", (0,), ("signs", {c: o}), "σ(c)·σ(π(c)) = 1"),
        )
    )
    return proved(
        name,
        text,
        latex,
        claim(name, ranges, lhs, x(*at), SIGNED, (SIGNS,)),
        proof,
        hypotheses=("π is an involution of the C channels", "σ(c)·σ(π(c)) = 1 for every channel"),
        source="paper, section 2 (for the reverse complement)",
    )


def _reversal(rank: int) -> Statement:
    length = L if rank == 3 else None
    ranges, at = entry(C, length)
    x = array("x")
    lhs = mirrored(mirrored(x, C, length), C, length)(*at)
    name = f"T1.action.reversal.rank{rank}"
    return proved(
        name,
        f"Total reversal of a rank-{rank} tensor is an involution: ρ(ρx) = x.",
        r"\rho(\rho x) = x,\quad (\rho x)_{c,l} = x_{C-1-c,\,L-1-l}",
        claim(name, ranges, lhs, x(*at)),
        Proof((Step("restate", (), (x(*at),), "C−1−(C−1−c) = c, and the same for positions"),)),
        source="paper, section 2",
    )


def _tokens() -> Statement:
    x = array("x")
    # The values are codes; π acts on them, and is an involution of those that occur.
    code = Equation("codes", ((i, L),), Fun("pi", (Fun("pi", (x(i),)),)), x(i))
    lhs = Fun("pi", (Fun("pi", (x(L - 1 - (L - 1 - i)),)),))
    name = "T1.action.tokens"
    return proved(
        name,
        "On integer base codes, reversing positions and complementing the codes is an involution.",
        r"\rho(\rho x) = x,\quad (\rho x)_l = \pi(x_{L-1-l})",
        claim(name, ((i, L),), lhs, x(i), given=(code,)),
        Proof((Step("rewrite", (), ("codes", {i: i}), "π(π(a)) = a for the code a at this position"),)),
        hypotheses=("π is an involution of the codes that occur",),
        source=NOT_IN_PAPER,
    )


def _stack_statements(rank: int) -> list[Statement]:
    length = L if rank == 3 else None
    a, b, x = array("a"), array("b"), array("x")
    pair = stack(a, b, F, length)
    ranges, at = entry(F, length)
    whole, here = entry(2 * F, length)
    first, second = unstack(pair, F, length)
    tail = f"rank{rank}"
    swap = mirrored(pair, 2 * F, length)(*here)
    return [
        proved(
            f"T1.unstack.first.{tail}",
            "The first strand of stack(a, b) is a.",
            r"\mathrm{unstack}_1(\mathrm{stack}(a,b)) = a",
            claim("first", ranges, first(*at), a(*at)),
            Proof((decide(note="o < F is in the first half"),)),
            source="paper, section 2.1",
        ),
        proved(
            f"T1.unstack.second.{tail}",
            "The second strand of stack(a, b), read in its own orientation, is b.",
            r"\mathrm{unstack}_2(\mathrm{stack}(a,b)) = b",
            claim("second", ranges, second(*at), b(*at)),
            Proof((decide(note="2F−1−o ≥ F is in the second half"),)),
            source="paper, section 2.1",
        ),
        proved(
            f"T1.stack.unstack.{tail}",
            "Stacking the two strands of a stacked tensor gives the tensor back; that is also D(id) = id.",
            r"\mathrm{stack}(\mathrm{unstack}\,x) = x",
            claim("stack", whole, stack(*unstack(x, F, length), F, length)(*here), x(*here)),
            Proof((Step("merge_cases", (), (), "both halves are x[o], since 2F−1−(2F−1−o) = o"),)),
            source="paper, section 2.1",
        ),
        proved(
            f"T1.stack.swap.{tail}",
            "ρ swaps the strands: ρ·stack(a, b) = stack(b, a).",
            r"\rho\,\mathrm{stack}(a,b) = \mathrm{stack}(b,a)",
            claim("swap", whole, swap, stack(b, a, F, length)(*here)),
            by_halves(F, BOTH, BOTH),
            source="paper, section 2.1",
        ),
    ]


def _closed(rank: int) -> Statement:
    """stack(x, ρx) is how a closed tensor becomes a strand pair."""
    length = L if rank == 3 else None
    x = array("x")
    whole, here = entry(2 * C, length)
    lhs = mirrored(stack(x, act(x, length), C, length), 2 * C, length)(*here)
    rhs = stack(act(x, length), act(act(x, length), length), C, length)(*here)
    back = (2 * C - 1 - o,) if length is None else (2 * C - 1 - o, L - 1 - i)
    squared = Mul((Mul((Elem("sigma", (back[0],)), Elem("sigma", (PI(back[0]),)))), x(*back)))
    undo = (
        Step("restate", (), (squared,), "π(π(c)) = c"),
        Step("rewrite", (0,), ("signs", {c: back[0]}), "σ(c)·σ(π(c)) = 1"),
    )
    name = f"T1.closed.pair.rank{rank}"
    return proved(
        name,
        "A closed tensor x as the strand pair stack(x, ρx): ρ of the pair is the pair of ρx.",
        r"\rho\,\mathrm{stack}(x, \rho_{\mathrm{in}}x) ="
        r" \mathrm{stack}(\rho_{\mathrm{in}}x, \rho_{\mathrm{in}}\rho_{\mathrm{in}}x)",
        claim(name, whole, lhs, rhs, SIGNED, (SIGNS,)),
        by_halves(C, BOTH, Proof((decide(),), right=(decide(), *undo))),
        hypotheses=("π is an involution of the C channels", "σ(c)·σ(π(c)) = 1 for every channel"),
        source="paper, section 2 (for one-hot DNA)",
    )


T1 = (
    _involution(
        "T1.action.signed.rank3",
        "A signed involution of the channels with reversal of length is an involution: ρ(ρx) = x.",
        r"\rho(\rho x) = x,\quad (\rho x)_{c,l} = \sigma_c\,x_{\pi(c),\,L-1-l}",
        L,
    ),
    _involution(
        "T1.action.signed.rank2",
        "A signed involution of the channels is an involution on rank-2 tensors: ρ(ρx) = x.",
        r"\rho(\rho x) = x,\quad (\rho x)_c = \sigma_c\,x_{\pi(c)}",
        None,
    ),
    _involution(
        "T1.action.signed.keep-length",
        "A signed involution of the channels that leaves positions alone is an involution: ρ(ρx) = x.",
        r"\rho(\rho x) = x,\quad (\rho x)_{c,l} = \sigma_c\,x_{\pi(c),\,l}",
        L,
        reverses=False,
    ),
    _reversal(3),
    _reversal(2),
    _tokens(),
    *_stack_statements(3),
    *_stack_statements(2),
    _closed(3),
    _closed(2),
)

#: Statements by theorem.
STATEMENTS: dict[str, tuple[Statement, ...]] = {"T1": T1}
