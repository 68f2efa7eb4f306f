"""Writing proofs: steps that recur in every lemma about strand pairs. Nothing here is trusted."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rcproof.symbolic.checker import Proof, Step
from rcproof.symbolic.terms import Big, If, Index, Term, children

Path = tuple[int, ...]
#: Pairs of things ≥ 0 whose product is ≥ 0 too, as the rule ``decide`` takes them.
Products = tuple[tuple[Index, Index], ...]

OWN = "this entry lies in the half of the given strand"
OTHER = "this entry lies in the mirrored half, that of the other strand"


def places(t: Term, kind: type, path: Path = ()) -> Iterator[Path]:
    """Paths to the subterms of a kind; for case distinctions, to the outermost only."""
    if isinstance(t, kind):
        yield path
        if kind is If:
            return
    for i, k in enumerate(children(t)):
        yield from places(k, kind, (*path, i))


def at(prefix: Path, steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """The steps for a subterm, made steps for the whole term."""
    return tuple(Step(s.rule, prefix + s.path, s.args, s.note) for s in steps)


def decide_all(t: Term, note: str, products: Products = ()) -> tuple[Step, ...]:
    """Decide every outermost case distinction of ``t``."""
    return tuple(Step("decide", p, products, note) for p in places(t, If))


def reverse_all(t: Term) -> tuple[Step, ...]:
    """Reverse every sum and maximum of ``t``."""
    return tuple(Step("reverse", p, (), "a range may be read backwards") for p in places(t, Big))


def by_strand(
    left: Term,
    right: Term,
    split: Index,
    own: Products = (),
    other: Products = (),
    finish: Callable[[Term], tuple[Step, ...]] = reverse_all,
) -> Proof:
    """The proof of most lemmas: decide which half an entry lies in; in the mirrored half, read ranges backwards.

    ``split`` ≥ 0 says that it lies in the half of the given strand. Where ``left`` is a case distinction
    itself, each of its branches is decided further. ``own`` and ``other`` are products that the decisions
    need; ``finish`` gives the steps that follow in the mirrored half.
    """
    parts = []
    for side, (note, products) in enumerate(((OWN, own), (OTHER, other))):
        steps: tuple[Step, ...] = ()
        inner = left
        if isinstance(left, If):
            steps, inner = (Step("decide", (), products, note),), (left.then, left.other)[side]
        steps += decide_all(inner, note, products) + (finish(inner) if side else ())
        parts.append(Proof(steps, right=decide_all(right, note, products)))
    return Proof(cases=split, parts=(parts[0], parts[1]))
