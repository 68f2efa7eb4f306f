"""T4: tied weights are exactly the equivariant ones; false variants are refused; counts against brute force."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import pytest

from rcproof.errors import RepresentationError
from rcproof.strand import Representation, representation
from rcproof.symbolic import bases
from rcproof.symbolic.bases import character, dimension, equivariant_basis, orbits, taps
from rcproof.symbolic.checker import check
from rcproof.symbolic.evaluate import World
from rcproof.symbolic.statements import Statement, run
from rcproof.symbolic.terms import Add, Big, Elem, If, Mul, Term, num
from rcproof.symbolic.tying import IMAGE, STATEMENTS, C, F, K, M, c, k, o, tau
from tests.symbolic.variants import (
    CASES_DIFFER,
    NO_EQUATION,
    NO_INSTANCE,
    Change,
    Variant,
    assert_covered,
    assert_refused,
    assert_replays,
    assert_true_at_small_sizes,
    by_name,
    context,
    given,
    named,
    negated,
    ranges,
    read,
    rename,
    scaled,
    sides,
    without,
)

ALL = by_name(STATEMENTS["T4"])


def signs(world: World) -> Mapping[str, Any]:
    """Signs with σ(c)·σ(π(c)) = 1: ±1, and now and then 2 and ½ on exchanged channels."""
    found = {}
    for name, array in (("pi_in", "sigma_in"), ("pi_out", "sigma_out")):
        table: dict[int, Fraction] = {}
        for a, b in enumerate(world.involutions.get(name, ())):
            sign = Fraction(world.rng.choice((-1, 1)) * (2 if a < b and world.rng.random() < 0.3 else 1))
            if a <= b:
                table[a], table[b] = sign, 1 / sign
        found[array] = lambda at, table=table: table.get(at[0], Fraction(1))
    return found


def lemmas() -> Any:
    return {"projector.image": check(*IMAGE)}


def conditions(change: Any) -> Change:
    """Other conditions in Σ_k (if … then 1 else 0)."""

    def apply(t: Any) -> Term:
        return Big(t.op, t.var, t.size, If(frozenset(map(change, t.body.conds)), t.body.then, t.body.other))

    return sides(apply, "lhs")


def unpermuted(e: Any) -> Any:
    """W = σ·W[2F−1−o, c, τ(k)]: the hypothesis with π left out."""
    return type(e)(e.name, e.vars, Mul((e.lhs.args[0], Elem("W", (2 * F - 1 - o, c, tau(k))))), e.rhs)


OTHER = "not the same term"
BY = {
    "T4.weights.involution": [
        Variant("", "a sign left over", scaled(-1)),
        Variant("", "signs of outputs unrelated", without("signs_out"), NO_EQUATION, arbitrary="sigma_out"),
        Variant("", "signs of inputs unrelated", without("signs_in"), NO_EQUATION, arbitrary="sigma_in"),
        Variant("", "off by one tap", read("rhs", "W", lambda o, c, k: (o, c, k + 1))),
    ],
    "T4.projector.image": [
        Variant("", "fixed up to sign", scaled(-1), "takes a product"),
        Variant("", "without the half on the left", scaled(2, "lhs"), OTHER),
        Variant("", "signs of inputs unrelated", without("signs_in"), NO_EQUATION, arbitrary="sigma_in"),
    ],
    "T4.projector.identity": [
        Variant("", "W not equivariant", without("equivariant"), NO_EQUATION),
        Variant("", "½(W + ρW) = −W", scaled(-1), OTHER),
        Variant("", "W antisymmetric", negated("equivariant")),
    ],
    "T4.projector.idempotent": [
        Variant("", "P² = 2P", scaled(2), OTHER),
        Variant("", "P² = 1", sides(lambda t: t.args[1].args[0]), OTHER),
        Variant("", "unrelated signs: no lemma", without("signs_in"), NO_EQUATION, arbitrary="sigma_in"),
    ],
    "T4.tie.equivariant": [
        Variant("", "signs unrelated", without("signs_in"), NO_EQUATION, arbitrary="sigma_in"),
        Variant("", "an antisymmetric weight", scaled(-1), "decide takes"),
        Variant("", "taps of the left not reversed", read("lhs", "V", lambda o, c, k: (o, c, tau(k))), OTHER),
        Variant("", "off by one output", read("rhs", "V", lambda o, c, k: (o - 1, c, k))),
    ],
    "T4.tie.injective": [
        Variant("", "halves exchanged", sides(lambda t: If(t.conds, t.other, t.then), "lhs")),
        Variant("", "for all 2F outputs", ranges((o, 2 * F), (c, C), (k, K)), "do not decide"),
        Variant("", "off by one tap", read("rhs", "V", lambda o, c, k: (o, c, k + 1))),
    ],
    "T4.tie.onto": [
        Variant("", "W not equivariant", without("equivariant"), NO_EQUATION),
        Variant("", "first half read as second", read("lhs", "W", lambda a, b, d: (2 * F - 1 - a, b, d)), NO_INSTANCE),
        Variant("", "W antisymmetric", negated("equivariant"), CASES_DIFFER),
        Variant("", "inputs not permuted", given("equivariant", unpermuted), NO_INSTANCE),
    ],
    "T4.tie.linear": [
        Variant("", "another α", rename("rhs", "alpha", "gamma")),
        Variant("", "a factor 2", scaled(2), "decide takes|no subterm"),
        Variant("", "off by one output", read("rhs", "U", lambda o, c, k: (o + 1, c, k))),
    ],
    "T4.trace.product": [
        Variant("", "a sum instead of a product", sides(lambda t: Add(t.args))),
        Variant("", "without the trace on taps", sides(lambda t: Mul(t.args[:2]))),
        Variant("", "outputs with other signs", rename("rhs", "sigma_out", "sigma_other")),
    ],
    "T4.trace.reversal.even": [
        Variant("", "trace 1", sides(lambda t: num(1))),
        Variant("", "for odd K", context(equal=((K, 2 * M + 1),)), "does not follow|no condition"),
        Variant("", "k ↦ K − k", conditions(lambda e: e.subs(K, K + 1)), "does not follow|no condition"),
    ],
    "T4.trace.reversal.odd": [
        Variant("", "trace 0", sides(lambda t: num(0))),
        Variant("", "trace K", sides(lambda t: num(K))),
        Variant("", "for even K", context(equal=((K, 2 * M),)), "does not follow|no condition"),
    ],
}
VARIANTS = named(BY)


@pytest.mark.parametrize("name", ALL)
def test_statement(name: str) -> None:
    assert_replays(ALL[name])
    assert_true_at_small_sizes(ALL[name], signs)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_false_variant_is_refused(variant: Variant) -> None:
    assert_refused(variant, ALL, signs, lemmas)


def test_every_proof_has_variants() -> None:
    assert_covered(ALL.values(), VARIANTS)


# -- dimensions -----------------------------------------------------------------------------------------------


def rank(rows: list[list[Fraction]]) -> int:
    """Gaussian elimination, written differently from the one under test."""
    rows, found = [list(r) for r in rows], 0
    for column in range(len(rows[0]) if rows else 0):
        pivot = next((r for r in range(found, len(rows)) if rows[r][column]), None)
        if pivot is None:
            continue
        rows[found], rows[pivot] = rows[pivot], rows[found]
        for r in range(found + 1, len(rows)):
            factor = rows[r][column] / rows[found][column]
            rows[r] = [x - factor * y for x, y in zip(rows[r], rows[found], strict=True)]
        found += 1
    return found


def move(weight: Any, rep_in: Representation, rep_out: Representation) -> Any:
    """ρW, entry by entry."""
    n_out, n_in, taps_ = len(weight), len(weight[0]), len(weight[0][0])
    po, pi = rep_out.permutation(n_out), rep_in.permutation(n_in)
    so, si = rep_out.signs or (1,) * n_out, rep_in.signs or (1,) * n_in
    back = (lambda k: taps_ - 1 - k) if rep_in.reverses_length else (lambda k: k)
    return tuple(
        tuple(tuple(so[o] * si[c] * weight[po[o]][pi[c]][back(k)] for k in range(taps_)) for c in range(n_in))
        for o in range(n_out)
    )


def flattened(weight: Any) -> list[Fraction]:
    """All entries of a weight."""
    return [x for row in weight for entry in row for x in entry]


REPS = ["perm:1,0", "perm:0,1,-2", "perm:-1,-0,2", "dna:ACGT", "dna:ACGTN", "pairs:2", "perm:-0"]


@pytest.mark.parametrize("names", list(itertools.product(REPS, REPS)), ids="→".join)
def test_basis(names: tuple[str, str]) -> None:
    rep_in, rep_out = map(representation, names)
    for taps_count in (1, 2, 3):
        basis = equivariant_basis(rep_in, rep_out, taps_count)
        assert all(move(w, rep_in, rep_out) == w for w in basis)
        assert rank([flattened(w) for w in basis]) == len(basis)
        # As many as the rank of 1 + ρ on unit weights, which the module does not compute.
        n_out, n_in = rep_out.size or 0, rep_in.size or 0
        images = []
        for at in itertools.product(range(n_out), range(n_in), range(taps_count)):
            unit = [[[Fraction((a, b, d) == at) for d in range(taps_count)] for b in range(n_in)] for a in range(n_out)]
            moved = move(unit, rep_in, rep_out)
            images.append(
                [
                    x + y
                    for u, m in zip(unit, moved, strict=True)
                    for p, q in zip(u, m, strict=True)
                    for x, y in zip(p, q, strict=True)
                ]
            )
        assert rank(images) == len(basis)
        expected = dimension(character(rep_out), character(rep_in), taps(taps_count))
        assert len(basis) == expected == orbits(character(rep_out), character(rep_in), taps(taps_count))


def test_wrong_dimension_formulas_fail_somewhere() -> None:
    wrong = {
        "no traces": lambda o, i, t: o.size * i.size * t.size / 2,
        "minus": lambda o, i, t: (o.size * i.size * t.size - o.trace * i.trace * t.trace) / 2,
        "taps not counted": lambda o, i, t: (o.size * i.size * t.size + o.trace * i.trace) / 2,
        "signs ignored": lambda o, i, t: (o.size * i.size * t.size + (o.fixed + o.negative) * i.trace * t.trace) / 2,
    }
    reps = bases.small_representations()
    for name, formula in wrong.items():
        bad = [
            (a, b, n)
            for a, b, n in itertools.product(reps, reps, (1, 2, 3))
            if formula(character(b), character(a), taps(n)) != len(equivariant_basis(a, b, n))
        ]
        assert bad, name


def test_named_representations_need_a_number_of_channels() -> None:
    assert len(equivariant_basis("reversal", "reversal", 3, n_in=4, n_out=6)) == 36
    with pytest.raises(RepresentationError, match="how many channels reversal acts on.*n_in"):
        equivariant_basis("reversal", "perm:0")


def test_no_convolution_between_kept_and_reversed_length() -> None:
    assert len(equivariant_basis("perm:1,0", Representation((1, 0), None, False))) == 2
    with pytest.raises(RepresentationError, match="both reverse length or neither"):
        equivariant_basis("perm:1,0", Representation((1, 0), None, False), 2)


@pytest.mark.parametrize("name", ["T4.dimension.orbits", "T4.dimension.table", "T4.dimension.brute_force"])
def test_a_wrong_count_fails(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = bases.dimension
    monkeypatch.setattr(bases, "dimension", lambda *reps: right(*reps) + reps[0].negative)
    outcome = run("T4", ALL[name])
    assert outcome.status == "failed"
    assert outcome.reason


def test_kinds_are_honest() -> None:
    kinds = {s.name: s.kind for s in STATEMENTS["T4"]}
    assert kinds["T4.dimension.brute_force"].startswith("finite: ")
    assert all(isinstance(s, Statement) for s in ALL.values())
