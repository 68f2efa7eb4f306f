"""False variants of the lemmas about merges, heads and losses. See :mod:`tests.symbolic.mutants_layers`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from rcproof.symbolic import heads as hd
from rcproof.symbolic import losses, multinomial
from rcproof.symbolic import profile as pf
from rcproof.symbolic.pairs import A, B, F, L, X, f
from rcproof.symbolic.strands import stack
from rcproof.symbolic.terms import Add, Fun, If, Index, Mul, Term, num, substitute
from tests.symbolic.mutants_common import Mutant, concatenated, true_claim, with_left, with_right, with_sides

# -- merges and heads ---------------------------------------------------------------------------------------------


def _merges() -> Iterator[Mutant]:
    t, p, T, Y = hd.t, hd.p, hd.T, hd.Y
    for mode in ("mean", "sum", "max"):
        of, signed = f"T5.merge.{mode}", mode != "max"
        for what, other in (
            ("the other half as it lies", lambda t, p: Y(T + t, p)),
            ("positions of the other half not mirrored back", lambda t, p: Y(2 * T - 1 - t, p)),
            ("one task off", lambda t, p: Y(2 * T - 2 - t, L - 1 - p)),
        ):
            yield with_left(of, what, hd.merged(mode, Y(t, p), hd.rho_out(other, signed)(t, p)))
        yield with_left(of, "ρ_out left out", hd.merged(mode, Y(t, p), hd.other_of(Y)(t, p)))
        yield with_left(
            of,
            "another merge",
            hd.merged(
                {"mean": "sum", "sum": "mean", "max": "sum"}[mode], Y(t, p), hd.rho_out(hd.other_of(Y), signed)(t, p)
            ),
        )
        of = f"T5.merge.{mode}.commutes"
        claim = true_claim(of)
        yield with_left(of, "ρ_out left out", hd.merged(mode, B(t, p), A(t, p)))
        yield with_right(of, "positions kept", substitute(claim.equation.rhs, {p: hd._lam(p)}))
        yield with_right(of, "tasks kept", substitute(claim.equation.rhs, {t: hd._pi(t)}))
        if signed:
            yield Mutant(of, "signs that do not fit", replace(claim, given=()))
        else:
            read = hd.rho_out(lambda t, p: hd.merged("max", A(t, p), hd.rho_out(B)(t, p)))
            signed = with_sides(
                of, "the maximum with signs", hd.merged("max", B(t, p), hd.rho_out(A)(t, p)), read(t, p)
            )
            yield replace(signed, claim=replace(signed.claim, given=(hd.SIGNS,)))
    of, other = "T5.merge.after", hd.rho_out(hd.other_of(Y), False)
    before = Fun("sigma", (hd.merged("mean", Y(t, p), other(t, p)),))
    yield with_left(of, "the mean before σ", before)
    yield with_left(of, "the half left out", hd.merged("sum", Fun("sigma", (Y(t, p),)), Fun("sigma", (other(t, p),))))
    yield with_left(of, "σ on the given strand only", hd.merged("mean", Fun("sigma", (Y(t, p),)), other(t, p)))
    for what, partner in (
        ("channel f with channel F + f", X(F + f, p)),
        ("positions not mirrored", X(2 * F - 1 - f, p)),
        ("the given strand twice", X(f, p)),
    ):
        yield with_left("T5.strand_sum", what, Add((X(f, p), partner)))
    yield with_left("T5.strand_sum", "a difference", Add((X(f, p), Mul((num(-1), X(2 * F - 1 - f, L - 1 - p))))))
    x, y = hd.FLAT, stack(B, A, F)
    for what, pair in (
        ("channel f with channel F + f", lambda x: Add((x(f), x(F + f)))),
        ("a difference", lambda x: Add((x(f), Mul((num(-1), x(2 * F - 1 - f)))))),
        ("the given strand twice", lambda x: Add((x(f), x(f)))),
    ):
        yield with_sides("T5.strand_sum.invariant", what, pair(x), pair(y))


def _heads() -> Iterator[Mutant]:
    w, v, bias, z = hd._w, hd._v, hd._bias, hd._z
    t, j, J, x = hd.t, hd.j, hd.J, hd.FLAT
    sums = hd.strand_sum(x)
    half = hd.half_dot(w, sums, F)

    def straight(f: Index) -> Term:
        return Add((x(f), x(F + f)))

    of = "T5.head.invariant"
    yield with_left(of, "the half left out", Add((hd.dot(w, sums, F), bias(t))))
    yield with_left(of, "the bias halved too", Add((half, Mul((hd.HALF, bias(t))))))
    yield with_left(of, "channel f with channel F + f", Add((hd.half_dot(w, straight, F), bias(t))))
    yield with_left(of, "weights of another task", Add((substitute(half, {t: hd.T - 1 - t}), bias(t))))
    of = "T5.head.logits"
    for what, left in (
        ("the half left out", Add((hd.dot(w, sums, F), bias(t)))),
        ("the bias halved too", Add((half, Mul((hd.HALF, bias(t)))))),
        ("channel f with channel F + f", Add((hd.half_dot(w, straight, F), bias(t)))),
    ):
        yield with_left(of, what, Fun("sigma", (left,)))
    inside = hd.INVARIANT.equation.rhs
    assert isinstance(inside, Mul) and isinstance(inside.args[1], Add)
    after = hd.merged("mean", *(Fun("sigma", (h,)) for h in inside.args[1].args))
    yield with_right(of, "the mean after σ", after)
    of, both = "T5.head.counts", hd.half_dot(v, hd.both_z, J, j)
    yield with_left(of, "the control of one strand", Add((half, hd.half_dot(v, z, J, j), bias(t))))
    yield with_left(of, "the control's half left out", Add((half, hd.dot(v, hd.both_z, J, j), bias(t))))
    yield with_left(of, "the half left out", Add((hd.dot(w, sums, F), both, bias(t))))

    def unsigned(j: Index) -> Term:
        return Add((z(j), z(hd._pi(j))))

    yield with_left(of, "the control without its signs", Add((half, hd.half_dot(v, unsigned, J, j), bias(t))))
    of, W, T, K = "T5.head.profile", pf.W, pf.T, pf.K
    o, i = pf.o, pf.i

    def filters(other: Callable[[Any, Any, Any], Term], factor: Term = pf.HALF) -> Term:
        def entry(o: Index, c: Index, k: Index) -> Term:
            return If(frozenset({F - 1 - c}), Mul((factor, W(o, c, k))), Mul((factor, other(o, c, k))))

        return pf.tied_head(entry, pf.folded_bias(pf.BIAS))(o, i)

    yield with_left(
        of, "the half left out", filters(lambda o, c, k: W(2 * T - 1 - o, 2 * F - 1 - c, K - 1 - k), num(1))
    )
    yield with_left(of, "taps of W₋ not mirrored", filters(lambda o, c, k: W(2 * T - 1 - o, 2 * F - 1 - c, k)))
    yield with_left(of, "channels of W₋ not mirrored", filters(lambda o, c, k: W(2 * T - 1 - o, c - F, K - 1 - k)))
    yield with_left(of, "W₊ for both strands", filters(lambda o, c, k: W(o, 2 * F - 1 - c, K - 1 - k)))
    plain = pf.tied_head(pf.folded(W), pf.BIAS)(o, i)
    yield with_left(of, "the bias of the plus strand", plain)
    one = pf.tied_head(pf.folded(W), pf.folded_bias(pf.BIAS), concatenated(A, B))(o, i)
    yield with_left(of, "strands concatenated, not stacked", one)
    claim = true_claim(of)
    loose = replace(claim, context=replace(claim.context, equal=()))
    yield Mutant(of, "windows that are not centred", loose)


# -- losses -------------------------------------------------------------------------------------------------------


def _losses() -> Iterator[Mutant]:
    n, U, V, P, Q, S = losses.n, losses.U, losses.V, multinomial.P, multinomial.Q, multinomial.S
    i, j, double = multinomial.i, multinomial.j, multinomial.double
    of = "T9.data_set"
    both = Add((losses.loss(U(n)), losses.loss(V(n))))

    def gap(first: Term, merged: Term) -> Term:
        return losses.total(Add((first, Mul((losses.MINUS, merged)))))

    yield with_left(of, "the half left out", gap(Mul((num(1), both)), losses.MERGED))
    total = losses.loss(Add((U(n), V(n))))
    yield with_left(of, "the sum merged", gap(Mul((losses.HALF, both)), total))
    top = losses.loss(Fun("max", (U(n), V(n))))
    yield with_left(of, "the maximum merged", gap(Mul((losses.HALF, both)), top))
    of = "T9.multinomial"
    claim = true_claim(of)
    assert isinstance(claim.equation.rhs, Add)
    first, second = claim.equation.rhs.args
    assert isinstance(first, Mul) and isinstance(second, Mul)
    yield with_right(of, "the 2 left out", Add((Mul(first.args[1:]), second)))
    yield with_right(of, "a plus for the minus", Add((first, Mul((num(2), *second.args[1:])))))
    yield with_left(
        of, "a sum squared", double(Mul(tuple(Add((Mul((P(i), Q(j))), Mul((P(j), Q(i))))) for _ in range(2))))
    )
    yield with_left(of, "indices not exchanged", double(Mul(multinomial._square((P(i), Q(j)), (P(i), Q(j))))))
    of = "T9.multinomial.hessian"
    claim = true_claim(of)
    assert isinstance(claim.equation.rhs, Add)
    first, second = claim.equation.rhs.args
    assert isinstance(second, Mul)
    yield Mutant(of, "weights of any sum", replace(claim, given=()))
    yield with_right(of, "the square of the mean left out", first)
    yield with_right(of, "a plus for the minus", Add((first, Mul((num(2), *second.args[1:])))))
    squares = multinomial._square((multinomial.V(i),), (multinomial.V(j),))
    yield with_left(of, "one weight left out", double(Mul((S(i), *squares))))


MUTANTS: tuple[Mutant, ...] = (*_merges(), *_heads(), *_losses())
