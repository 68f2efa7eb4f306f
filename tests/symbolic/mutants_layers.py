"""False variants of the lemmas about layers without windows, about norms, and about batch statistics.

Each is a claim that differs from a proved one in one plausible way. The tests ask two things of each: the checker
refuses its proof, for the reason that is given, and exact evaluation finds numbers where its two sides differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from rcproof.symbolic import batch_statistics as bs
from rcproof.symbolic import concatenation as cc
from rcproof.symbolic import layers as ly
from rcproof.symbolic import norms
from rcproof.symbolic import positions as ps
from rcproof.symbolic.pairs import A, B, F, L, X, c, f, p, plus, times, u
from rcproof.symbolic.strands import Read, array, mirrored, stack, stacked, tied
from rcproof.symbolic.terms import Add, Big, Elem, Fun, If, Index, Mul, Term, num, substitute
from tests.symbolic.mutants_common import Mutant, concatenated, repeated, true_claim, with_left, with_right, with_sides

# -- the mirrored half, wrong in every lemma of the usual form ----------------------------------------------------

_PAIRS = (
    "T5.batch_norm T10.eval T5.layer_norm.all T5.layer_norm.positions T5.instance_norm T5.pointwise "
    "T5.pointwise.parameters T5.residual T5.product T5.softmax T5.flatten"
)
_VECTORS = "T5.layer_norm.vector T5.global.sum T5.global.mean T5.global.max T5.weighted_sum T5.weighted_sum.coupled"
#: Channel, number of channels a strand, position, number of positions.
_FORMS: dict[str, tuple[Any, Any, Any, Any]] = {
    **dict.fromkeys(_PAIRS.split(), (c, F, p, L)),
    **dict.fromkeys(_VECTORS.split(), (c, F, None, None)),
    "T5.crop": (c, F, p, ly.E - ly.S),
    "T5.crop.central": (c, F, p, ly.E - ly.S),
    "T5.embedding": (ly.d, ly.D, p, L),
    "T5.lift": (c, ly.H, p, ly.M),
    "T5.lift.coupled": (c, ly.H, p, ly.M),
    "T5.cat": (c, F + cc.H, p, L),
    "T5.cat.control": (c, F + cc.C, p, L),
    "T5.group_norm": (norms.q, norms.M, p, L),
}


def _mirrors() -> Iterator[Mutant]:
    for name, (ch, size, pos, length) in _FORMS.items():
        claim = true_claim(name)
        right = claim.equation.rhs
        assert isinstance(right, If)
        wrong = {"channels of the other strand not mirrored": {ch: 3 * size - 1 - ch}, "one channel off": {ch: ch + 1}}
        if pos is not None:
            wrong["positions of the other strand not mirrored"] = {pos: length - 1 - pos}
            wrong["one position off"] = {pos: pos + 1}
        for what, values in wrong.items():
            yield with_right(name, what, replace(right, other=substitute(right.other, values)))
        there = {ch: 2 * size - 1 - ch} | ({} if pos is None else {pos: length - 1 - pos})
        if name == "T5.group_norm":
            there[norms.r] = norms.G - 1 - norms.r
        swapped = replace(right, then=substitute(right.other, there), other=substitute(right.then, there))
        yield with_right(name, "the strands exchanged", swapped)


# -- norms and batch statistics -----------------------------------------------------------------------------------


def _norms() -> Iterator[Mutant]:
    w, b = array("weight"), array("bias")
    parameters = ("weight", "bias", "mean", "var")
    for of in ("T5.batch_norm", "T10.eval"):
        for wrong in parameters:
            reads = (repeated(n) if n == wrong else tied(n, F) for n in parameters)
            yield with_left(of, f"{wrong} repeated, not tied", norms.batch_norm(X, *reads)(c, p))
        yield with_left(of, "parameters of the given strand only", norms.batch_norm(X, *map(array, parameters))(c, p))

    def either(own: Term, other: Term) -> Term:
        return If(frozenset({F - 1 - c}), own, other)

    own = norms.layer_norm(norms.FLAT, w, b, F)(c)
    upper = norms.upper(norms.FLAT)
    yield with_left("T5.layer_norm.vector", "affine part not mirrored",
                either(own, norms.layer_norm(upper, w, b, F)(c - F)))  # fmt: skip
    both = norms.layer_norm(norms.FLAT, tied(w, F), tied(b, F), 2 * F)(c)
    yield with_left("T5.layer_norm.vector", "one mean for both strands", both)
    own, upper = norms.layer_norm(X, w, b, F, L)(c, p), norms.upper(X)
    for what, back in (
        ("affine part mirrored in channels only", lambda v: lambda i, j: v(F - 1 - i, j)),
        ("affine part mirrored in positions only", lambda v: lambda i, j: v(i, L - 1 - j)),
        ("affine part not mirrored", lambda v: v),
    ):
        other = norms.layer_norm(upper, back(w), back(b), F, L)(c - F, p)
        yield with_left("T5.layer_norm.all", what, either(own, other))
    other = norms.position_norm(upper, w, b, L)(c - F, p)
    yield with_left(
        "T5.layer_norm.positions", "affine part not mirrored", either(norms.position_norm(X, w, b, L)(c, p), other)
    )
    yield with_left("T5.instance_norm", "affine part repeated, not tied",
                norms.instance_norm(X, repeated("weight"), repeated("bias"), L)(c, p))  # fmt: skip
    many = norms.M * norms.G
    x = stack(A, B, many, L)
    plain = norms.group_norm(x, w, b, norms.G, L)(norms.q, norms.r, p)
    yield with_left("T5.group_norm", "affine part of the given strand only", plain)
    claim = true_claim("T5.group_norm")
    assert isinstance(claim.equation.rhs, If)
    right = claim.equation.rhs
    inside = substitute(right.other, {norms.r: norms.G - 1 - norms.r})
    yield with_right("T5.group_norm", "channels within a group not mirrored", replace(right, other=inside))
    short = norms.group_norm(x, tied("weight", many), tied("bias", many), norms.G, L - 1)(norms.q, norms.r, p)
    yield with_left("T5.group_norm", "one position less in the mean", short)


def _batch_statistics() -> Iterator[Mutant]:
    s, sizes = bs.S, (2 * bs.N, bs.L)
    of = "T10.train.output"
    yield with_right(of, "outputs stay where they were", bs.train_norm(s)(bs.m, bs.f, bs.p))
    yield with_right(of, "positions reversed as well", bs.train_norm(s)(bs._pi(bs.m), bs.f, bs.L - 1 - bs.p))
    given = norms.normalised(
        bs.of_feature(s, bs.f), (bs.N, bs.L), s(bs._pi(bs.m), bs.f, bs.p), bs._w(bs.f), bs._b(bs.f)
    )
    yield with_right(of, "statistics of the given strands only", given)
    old = Elem("r", (bs.f,))

    def mean(x: Read, *sizes: Index, feature: Index = bs.f) -> Term:
        return norms.mean_of(bs.of_feature(x, feature), sizes)

    of = "T10.train.running_mean"
    yield with_right(of, "given strands only", bs.running(old, mean(s, bs.N, bs.L)))
    yield with_right(of, "another feature", bs.running(old, mean(s, *sizes, feature=bs.F - 1 - bs.f)))
    yield with_right(of, "old and new exchanged", bs.running(mean(s, *sizes), old))
    yield with_right(of, "one position less", bs.running(old, mean(s, 2 * bs.N, bs.L - 1)))
    unbiased = Elem("unbiased", ())

    def var(x: Read, *sizes: Index) -> Term:
        return norms.variance_of(bs.of_feature(x, bs.f), sizes)

    of = "T10.train.running_var"
    yield with_right(of, "given strands only", bs.running(old, Mul((unbiased, var(s, bs.N, bs.L)))))
    yield with_right(of, "biased on one side", bs.running(old, var(s, *sizes)))
    yield with_right(of, "the mean instead", bs.running(old, Mul((unbiased, mean(s, *sizes)))))
    of = "T10.train.layouts"

    def pair(n: Index, c: Index, u: Index) -> Term:
        return If(frozenset({bs.F - 1 - c}), s(n, c, u), s(bs.N + n, c - bs.F, u))

    def one(n: Index, c: Index, u: Index) -> Term:
        return s(n, c, u)

    yield with_left(of, "the strands concatenated, not stacked", bs.stacked_mean(pair, bs.f))
    yield with_left(of, "the given strand alone", bs.stacked_mean(one, bs.f))
    yield with_right(of, "examples counted once", mean(s, bs.N, bs.L))
    of = "T10.train.commutes"
    x = array("x")
    at = (bs.n, 2 * bs.F - 1 - bs.c, bs.L - 1 - bs.p)

    def rho(n: Index, c: Index, u: Index) -> Term:
        return x(n, 2 * bs.F - 1 - c, bs.L - 1 - u)

    def single(x: Read, n: Index, c: Index, p: Index) -> Term:
        own = norms.mean_of(lambda i, u: x(i, c, u), (bs.N, bs.L))
        return norms.scaled(x(n, c, p), own, bs.stacked_variance(x, c), tied("weight", F)(c), tied("bias", F)(c))

    def loose(x: Read, n: Index, c: Index, p: Index) -> Term:
        return norms.scaled(
            x(n, c, p), bs.stacked_mean(x, c), bs.stacked_variance(x, c), Elem("weight", (c,)), Elem("bias", (c,))
        )

    norm = bs.stacked_train_norm
    yield with_right(of, "positions not reversed", norm(x)(bs.n, 2 * bs.F - 1 - bs.c, bs.p))
    yield with_right(of, "channels not reversed", norm(x)(bs.n, bs.c, bs.L - 1 - bs.p))
    yield with_right(of, "one channel off", norm(x)(bs.n, 2 * bs.F - 2 - bs.c, bs.L - 1 - bs.p))
    yield with_sides(of, "affine part not tied", loose(rho, bs.n, bs.c, bs.p), loose(x, *at))
    yield with_left(of, "means of one half, not pooled", single(rho, bs.n, bs.c, bs.p))


# -- layers -------------------------------------------------------------------------------------------------------


def _layers() -> Iterator[Mutant]:
    yield with_right("T5.pointwise", "σ on the given strand only", stacked(ly.pointwise(A), B, F, L, c, p))
    slope = array("slope")
    yield with_left(
        "T5.pointwise.parameters", "parameters repeated, not tied", ly.pointwise(X, repeated("slope"))(c, p)
    )
    yield with_left("T5.pointwise.parameters", "parameters not tied", ly.pointwise(X, slope)(c, p))
    for of, op in (("T5.residual", plus), ("T5.product", times)):
        plain, swapped = concatenated(ly.A2, ly.B2), stack(ly.B2, ly.A2, F, L)
        yield with_left(of, "the second pair concatenated, not stacked", op(X, plain)(c, p))
        yield with_left(of, "the second pair's strands exchanged", op(X, swapped)(c, p))
        yield with_left(of, "the second tensor closed", op(X, lambda c, p: ly.A2(c, p))(c, p))
    S, E = ly.S, ly.E
    own = ly.crop(X, S)(c, p)
    for what, start in (
        ("one window for both halves", S),
        ("the other half one position off", L - E + 1),
        ("the other half from L − start", L - S),
        ("the other half from stop", E),
    ):
        yield with_left("T5.crop", what, If(frozenset({F - 1 - c}), own, ly.crop(X, start)(c, p)))
    claim = true_claim("T5.crop.central")
    loose = replace(claim, context=replace(claim.context, equal=()))
    yield Mutant("T5.crop.central", "a window that is not centred", loose)
    uneven = replace(claim, context=replace(claim.context, equal=((L, S + E + 1),)))
    yield Mutant("T5.crop.central", "a window one position off the centre", uneven)
    by_position = replace(ly.FLATTENED[1], lhs=Elem("flat_a", (u * F + f,)))
    given = (ly.FLATTENED[0], by_position, ly.FLATTENED[2])
    flat = true_claim("T5.flatten")
    yield Mutant("T5.flatten", "one strand flattened by position", replace(flat, given=given))
    yield with_left("T5.flatten", "position by position", Elem("flat_x", (p * 2 * F + c,)))
    other = {
        "codes not complemented": Elem("table", (ly._token(p), 2 * ly.D - 1 - ly.d)),
        "features not reversed": Elem("table", (ly._comp(ly._token(p)), ly.d - ly.D)),
        "positions reversed twice": Elem("table", (ly._comp(ly._token(L - 1 - p)), 2 * ly.D - 1 - ly.d)),
    }
    for what, entry in other.items():
        left = If(frozenset({ly.D - 1 - ly.d}), Elem("table", (ly._token(p), ly.d)), entry)
        yield with_left("T5.embedding", what, left)
    wrongs = {
        "the other strand read backwards": lambda c, p: X(c + F, p),
        "only its channels mirrored back": lambda c, p: X(2 * F - 1 - c, p),
        "the given strand twice": X,
    }
    for what, half in wrongs.items():
        yield with_left("T5.lift", what, stacked(ly.operated(X), ly.operated(half), ly.H, ly.M, c, p))
        pair = stacked(ly.operated(X, half), ly.operated(half, X), ly.H, ly.M, c, p)
        yield with_left("T5.lift.coupled", what, pair)
    same = stacked(ly.operated(X, ly.other_half(X)), ly.operated(X, ly.other_half(X)), ly.H, ly.M, c, p)
    yield with_left("T5.lift.coupled", "the given strand first for both", same)


def _positions() -> Iterator[Mutant]:
    for name, (op, factor) in {"sum": ("sum", None), "mean": ("sum", num(1 / L)), "max": ("max", None)}.items():
        of = f"T5.global.{name}"
        big = Big(op, u, L - 1, X(c, u))
        yield with_left(of, "the last position left out", big if factor is None else Mul((factor, big)))
    yield with_left("T5.global.mean", "divided by both lengths", ps.pooled(X, "sum", num(1 / (2 * L)))(c))
    yield with_left("T5.global.max", "the sum instead", ps.pooled(X, "sum")(c))

    def shared(c: Index, p: Index) -> Term:
        total = Big("sum", u, L, Add((Fun("exp", (X(c, u),)), Fun("exp", (X(2 * F - 1 - c, u),)))))
        return Mul((Fun("exp", (X(c, p),)), Fun("reciprocal", (total,))))

    yield with_left("T5.softmax", "both strands in one denominator", shared(c, p))
    w, v, b = array("w"), array("v"), array("bias")
    channels = _tie_channels(w)
    of = "T5.weighted_sum"
    yield with_left(of, "weights not tied", ps.weighted_sum(X, w, tied(b, F))(c))
    yield with_left(of, "weights tied in channels only", ps.weighted_sum(X, channels, tied(b, F))(c))
    yield with_left(of, "bias repeated, not tied", ps.weighted_sum(X, tied(w, F, L), repeated("bias"))(c))
    of = "T5.weighted_sum.coupled"
    own = ps.weighted_sum(X, tied(w, F, L), tied(b, F))
    for what, x, weight in (
        ("v reads the own strand", X, tied(v, F, L)),
        ("v reads the other half mirrored", mirrored(X, 2 * F, L), tied(v, F, L)),
        ("v tied in channels only", ps.swapped_halves(X), _tie_channels(v)),
    ):
        yield with_left(of, what, plus(own, ps.weighted_sum(x, weight))(c))

    def far(own: Read, other: Read) -> Read:
        return plus(ps.weighted_sum(own, w, b), ps.weighted_sum(other, v))

    yield with_right(of, "the other strand in its own direction", stacked(far(A, B), far(B, A), F, None, c))


def _tie_channels(v: Read) -> Read:
    return lambda c, p: If(frozenset({F - 1 - c}), v(c, p), v(2 * F - 1 - c, p))


def _concatenation() -> Iterator[Mutant]:
    H, C = cc.H, cc.C
    for of, y, n in (("T5.cat", cc.X2, H), ("T5.cat.control", cc.pair_of(cc.Z), C)):
        plain = If(frozenset({2 * F - 1 - c}), X(c, p), y(c - 2 * F, p))
        yield with_left(of, "plain cat of stacked tensors", plain)
        own = If(frozenset({F - 1 - c}), X(c, p), y(c - F, p))
        order = If(frozenset({2 * F + n - 1 - c}), X(c - n, p), y(c - 2 * F, p))
        yield with_left(of, "other halves in the same order", If(frozenset({F + n - 1 - c}), own, order))
    for what, other in (
        ("the control as it is on both strands", cc.Z),
        ("the control's channels swapped as if strands", mirrored(cc.Z, C, L)),
        ("the control without its signs", lambda c, p: cc.Z(cc._pi(c), cc._lam(p))),
    ):
        left = cc.stacked_cat(X, stack(cc.Z, other, C, L), F, C)(c, p)
        yield with_left("T5.cat.control", what, left)
    of = "T5.closed"
    claim = true_claim(of)
    yield Mutant(of, "signs that do not fit", replace(claim, given=()))

    def unsigned(c: Index, p: Index) -> Term:
        return cc.Z(cc._pi(c), cc._lam(p))

    def wide(c: Index, p: Index) -> Term:
        return Mul((cc.sign(c), cc.Z(cc._pi(c), p)))

    pair = stack(cc.Z, cc.rho(cc.Z), C, L)
    yield with_left(of, "ρ without its signs", stack(unsigned, cc.rho(unsigned), C, L)(c, p))
    yield with_left(of, "ρ keeps positions on one side", stack(wide, cc.rho(wide), C, L)(c, p))
    yield with_right(of, "positions not reversed", pair(2 * C - 1 - c, p))
    yield with_right(of, "one channel off", pair(2 * C - 2 - c, L - 1 - p))


MUTANTS: tuple[Mutant, ...] = (
    *_mirrors(),
    *_norms(),
    *_batch_statistics(),
    *_layers(),
    *_positions(),
    *_concatenation(),
)
