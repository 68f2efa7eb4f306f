"""T2: the lift D(g) of any map g, and that D respects identity, composition and sums.

For a map g from (F, L) to (G, M) tensors, D(g)[x] = stack(g(unstack₁ x), g(unstack₂ x)). g is an uninterpreted
operator: any map of arrays whatever, with no linearity or locality assumed. D(id) = id is T1.stack.unstack.
"""

from __future__ import annotations

import sympy as sp

from rcproof.symbolic.action import (
    BOTH,
    NOT_IN_PAPER,
    PI,
    SIGNS,
    C,
    F,
    G,
    H,
    L,
    M,
    P,
    act,
    by_halves,
    c,
    claim,
    decide,
    entry,
    unstack,
)
from rcproof.symbolic.arithmetic import Context
from rcproof.symbolic.checker import Proof, Step
from rcproof.symbolic.statements import Statement, proved
from rcproof.symbolic.strands import Read, array, mirrored, stack
from rcproof.symbolic.terms import Add, Elem, Fun, Index, Lam, Mul, Op

Names = tuple[sp.Symbol, ...]
Shape = tuple[Index, Index | None]

u, v, w, z = sp.symbols("u v w z", integer=True)
#: Names of the indices of an operator's argument, and of one within it.
OUTER, INNER = (u, v), (w, z)


def operator(name: str, *inputs: Read, sizes: tuple[Index, ...], names: Names = OUTER) -> Read:
    """g(x, …) for an uninterpreted map g of arrays of the given sizes."""
    own = names[: len(sizes)]
    lams = tuple(Lam(own, sizes, x(*own)) for x in inputs)
    return lambda *index: Op(name, lams, index)


def lift(name: str, *inputs: Read, into: Shape, out: Shape, names: Names = OUTER) -> Read:
    """D(g)[x, …] for an uninterpreted g from ``into`` = (F, L) to ``out`` = (G, M); None for no positions."""
    sizes = tuple(s for s in into if s is not None)
    halves = [unstack(x, *into) for x in inputs]
    first = operator(name, *(h[0] for h in halves), sizes=sizes, names=names)
    second = operator(name, *(h[1] for h in halves), sizes=sizes, names=names)
    return stack(first, second, *out)


_RANKS: dict[str, tuple[tuple[Index, Index | None], tuple[Index, Index | None]]] = {
    "rank3": ((F, L), (G, M)),
    "rank2": ((F, None), (G, None)),
    "rank3to2": ((F, L), (G, None)),
}


def _equivariance(key: str, inputs: int = 1) -> Statement:
    into, out = _RANKS[key]
    xs = [array(f"x{k}" if inputs > 1 else "x") for k in range(inputs)]
    ranges, at = entry(2 * out[0], out[1])
    turned = [mirrored(x, 2 * into[0], into[1]) for x in xs]
    lhs = mirrored(lift("g", *xs, into=into, out=out), 2 * out[0], out[1])(*at)
    rhs = lift("g", *turned, into=into, out=out)(*at)
    name = f"T2.lift.equivariant.{key}" + ("" if inputs == 1 else f".inputs{inputs}")
    many = "" if inputs == 1 else f" of {inputs} inputs"
    return proved(
        name,
        f"The lift D(g) of any map g{many} commutes with ρ: ρ(D(g)(x)) = D(g)(ρx) ({key}).",
        r"\rho\circ D(g) = D(g)\circ\rho\quad\text{for every } g",
        claim(name, ranges, lhs, rhs),
        by_halves(out[0], BOTH, BOTH),
        source="paper, section 2.1 (layer by layer; here for any map)",
    )


def _closed_lift() -> Statement:
    x = array("x")
    whole, here = entry(2 * G, M)

    def lifted(read: Read) -> Read:
        """stack(g(x), g(ρx)) for a closed x."""
        return stack(operator("g", read, sizes=(C, L)), operator("g", act(read), sizes=(C, L)), G, M)

    squared = Mul((Mul((Elem("sigma", (u,)), Elem("sigma", (PI(u),)))), x(u, v)))
    undo = (
        Step("restate", (0, 0), (squared,), "inside the argument of g: π(π(c)) = c"),
        Step("rewrite", (0, 0, 0), ("signs", {c: u}), "σ(c)·σ(π(c)) = 1, so g sees ρρx = x"),
    )
    name = "T2.lift.equivariant.closed"
    return proved(
        name,
        "On a closed input with any representation ρ_in, D(g)(x) = stack(g(x), g(ρ_in x)) is equivariant.",
        r"\rho\,D(g)(x) = D(g)(\rho_{\mathrm{in}}x),\quad D(g)(x) = \mathrm{stack}(g(x), g(\rho_{\mathrm{in}}x))",
        claim(
            name,
            whole,
            mirrored(lifted(x), 2 * G, M)(*here),
            lifted(act(x))(*here),
            Context(facts=(C - 1, L - 1, G - 1, M - 1), involutions=(("pi", C),)),
            (SIGNS,),
        ),
        by_halves(G, BOTH, Proof((decide(),), right=(decide(), *undo))),
        hypotheses=("π is an involution of the C channels", "σ(c)·σ(π(c)) = 1 for every channel"),
        source=NOT_IN_PAPER,
    )


def _composition(rank: int) -> Statement:
    lengths = (L, M, P) if rank == 3 else (None, None, None)
    x = array("x")
    ranges, at = entry(2 * G, lengths[2])
    inside = tuple(s for s in (H, lengths[1]) if s is not None)
    halves = unstack(x, F, lengths[0])
    source = tuple(s for s in (F, lengths[0]) if s is not None)

    def composed(strand: Read) -> Read:
        return operator("g", operator("h", strand, sizes=source, names=INNER), sizes=inside)

    lhs = stack(composed(halves[0]), composed(halves[1]), G, lengths[2])(*at)
    deep = lift("h", x, into=(F, lengths[0]), out=(H, lengths[1]), names=INNER)
    rhs = lift("g", deep, into=(H, lengths[1]), out=(G, lengths[2]))(*at)
    name = f"T2.functor.composition.rank{rank}"
    inner = (
        decide((0, 0, 0), "the first strand that g reads is the first half of D(h)x"),
        decide((1, 0, 0), "the second strand that g reads is the second half of D(h)x"),
    )
    return proved(
        name,
        "D(g∘h) = D(g)∘D(h): layers lift one by one.",
        r"D(g\circ h) = D(g)\circ D(h)",
        claim(name, ranges, lhs, rhs),
        Proof(right=inner),
        source=NOT_IN_PAPER,
    )


def _sum() -> Statement:
    x = array("x")
    ranges, at = entry(2 * G, M)
    first, second = unstack(x)

    def both(strand: Read) -> Read:
        g, h = (operator(name, strand, sizes=(F, L)) for name in "gh")
        return lambda *index: Add((g(*index), h(*index)))

    lhs = stack(both(first), both(second), G, M)(*at)
    rhs = Add(tuple(lift(name, x, into=(F, L), out=(G, M))(*at) for name in "gh"))
    halves = Proof((decide(),), right=(decide((0,)), decide((1,))))
    return proved(
        "T2.functor.sum",
        "D(g + h) = D(g) + D(h): residual branches lift one by one.",
        r"D(g+h) = D(g) + D(h)",
        claim("sum", ranges, lhs, rhs),
        by_halves(G, halves, halves),
        source=NOT_IN_PAPER,
    )


def _pointwise(rank: int, inputs: int) -> Statement:
    length = L if rank == 3 else None
    xs = [array(n) for n in ("x", "y")[:inputs]]
    ranges, at = entry(2 * F, length)

    def strand(k: int) -> Read:
        return lambda *index: Fun("sigma", tuple(unstack(x, F, length)[k](*index) for x in xs))

    lhs = stack(strand(0), strand(1), F, length)(*at)
    rhs = Fun("sigma", tuple(x(*at) for x in xs))
    name = f"T2.pointwise.rank{rank}" + (".binary" if inputs == 2 else "")
    what = "σ(x, y), a residual sum say" if inputs == 2 else "σ"
    return proved(
        name,
        f"For a pointwise function {what}, the lift is the function itself: D(σ) = σ.",
        r"D(\sigma) = \sigma\quad\text{for pointwise } \sigma",
        claim(name, ranges, lhs, rhs),
        Proof((Step("merge_cases", (), (), "both halves are σ(x[o]): unstacking is undone by stacking"),)),
        source="paper, section 2.1",
    )


T2 = (
    _equivariance("rank3"),
    _equivariance("rank2"),
    _equivariance("rank3to2"),
    _equivariance("rank3", inputs=2),
    _closed_lift(),
    _composition(3),
    _composition(2),
    _sum(),
    _pointwise(3, 1),
    _pointwise(2, 1),
    _pointwise(3, 2),
)

#: Statements by theorem.
STATEMENTS: dict[str, tuple[Statement, ...]] = {"T2": T2}
