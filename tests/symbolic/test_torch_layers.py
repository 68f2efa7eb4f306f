"""The torch layers and the symbolic ones give the same numbers: exactly where arithmetic is exact, else to 1e-12.

For every lemma: the left side of its claim, evaluated on the entries of torch tensors, is what the RCPS layer gives on
stack(a, b); the right side is the stack of what the plain layer gives on each strand. Values are small dyadic
numbers, so that sums and products are exact in float64.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rcproof import nn as tied
from rcproof.network.plan import stacked_cat, stacked_crop, stacked_flatten
from rcproof.strand import rc, representation, stack, tie
from rcproof.symbolic import batch_statistics as bs
from rcproof.symbolic import concatenation as cc
from rcproof.symbolic import heads as hd
from rcproof.symbolic import layers as ly
from rcproof.symbolic import losses as ls
from rcproof.symbolic import norms as nm
from rcproof.symbolic import pairs
from rcproof.symbolic import windows as wd
from rcproof.symbolic.evaluate import World, evaluate
from tests.symbolic.mutants_common import STATEMENTS

CH, LEN = 3, 5
SIZES = {pairs.F: CH, pairs.L: LEN}


def numbers(*shape: int, seed: int = 0) -> Tensor:
    """Halves between −4 and 4; seeded by shape."""
    generator = torch.Generator().manual_seed(hash((shape, seed)) % 2**31)
    return torch.randint(-8, 9, shape, generator=generator).double() / 2


def entries(x: Tensor) -> Callable[[tuple[int, ...]], Fraction]:
    """A tensor as the array of a world; a read outside of it is an error."""

    def read(at: tuple[int, ...]) -> Fraction:
        assert all(0 <= i < n for i, n in zip(at, x.shape, strict=True)), f"{at} is not in {tuple(x.shape)}"
        return Fraction(float(x[at]))

    return read


def both_sides(
    of: str,
    sizes: Mapping[Any, int],
    arrays: Mapping[str, Any],
    functions: Mapping[str, Callable[..., Any]] | None = None,
    involutions: Mapping[str, tuple[int, ...]] | None = None,
    operators: Mapping[str, Any] | None = None,
) -> tuple[Tensor, Tensor]:
    """Both sides of a claim at these sizes and numbers, as tensors over the ranges of its variables."""
    claim = STATEMENTS[of].claim
    assert claim is not None
    world = World(random.Random(0), dict(sizes))
    world.arrays = {k: entries(v) if isinstance(v, Tensor) else v for k, v in arrays.items()}
    world.functions, world.involutions = dict(functions or {}), dict(involutions or {})
    world.operators = dict(operators or {})
    shape = [int(size.subs(sizes)) for _, size in claim.equation.vars]
    sides = []
    for side in (claim.equation.lhs, claim.equation.rhs):
        values = [
            float(evaluate(side, world, {**sizes, **dict(zip((v for v, _ in claim.equation.vars), at, strict=True))}))
            for at in itertools.product(*map(range, shape))
        ]
        sides.append(torch.tensor(values, dtype=torch.float64).reshape(shape))
    return sides[0], sides[1]


def agree(sides: tuple[Tensor, Tensor], rcps: Tensor, conjoined: Tensor, exact: bool = True) -> None:
    """The left side is the RCPS result, the right side the conjoined one, and none of it is trivial."""
    for ours, theirs in zip(sides, (rcps[0], conjoined[0]), strict=True):
        ours = ours.reshape(theirs.shape)
        assert bool((ours != 0).any()) and bool(ours.isfinite().all())
        assert torch.equal(ours, theirs) if exact else bool((ours - theirs).abs().max() <= 1e-12)


A, B = numbers(1, CH, LEN), numbers(1, CH, LEN, seed=1)
X = stack(A, B)
STRANDS = {"a": A[0], "b": B[0]}
VEC = {"a": numbers(CH, seed=2), "b": numbers(CH, seed=3)}
VEC_A, VEC_B = VEC["a"][None], VEC["b"][None]
RSQRT = {"rsqrt": lambda v: 1 / math.sqrt(v)}
EPS = {"eps": lambda at: Fraction(1, 128)}


def affine(*shape: int) -> dict[str, Tensor]:
    return {"weight": numbers(*shape, seed=4), "bias": numbers(*shape, seed=5)}


def filled(layer: nn.Module, **values: Tensor) -> Any:
    layer = layer.double().eval()
    with torch.no_grad():
        for name, value in values.items():
            getattr(layer, name).copy_(value)
    return layer


# -- norms --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("of", ["T5.batch_norm", "T10.eval"])
def test_batch_norm(of: str) -> None:
    stats = {"mean": numbers(CH, seed=6), "var": numbers(CH, seed=7).abs()}
    values = {**affine(CH), "running_mean": stats["mean"], "running_var": stats["var"]}
    rcps = filled(tied.RCPSBatchNorm1d(CH, eps=1 / 128), **values)
    plain = filled(nn.BatchNorm1d(CH, eps=1 / 128), **values)
    sides = both_sides(of, SIZES, {**STRANDS, **affine(CH), **stats, **EPS}, RSQRT)
    agree(sides, rcps(X), stack(plain(A), plain(B)), exact=False)


@pytest.mark.parametrize(
    ("of", "shape", "vector"),
    [
        ("T5.layer_norm.vector", (CH,), True),
        ("T5.layer_norm.all", (CH, LEN), False),
        ("T5.layer_norm.positions", (LEN,), False),
    ],
)
def test_layer_norm(of: str, shape: tuple[int, ...], vector: bool) -> None:
    rcps = filled(tied.RCPSLayerNorm(shape, eps=1 / 128), **affine(*shape))
    plain = filled(nn.LayerNorm(shape, eps=1 / 128), **affine(*shape))
    a, b, strands = (VEC_A, VEC_B, VEC) if vector else (A, B, STRANDS)
    kappa = {"kappa": lambda at: Fraction(1, math.prod(shape))}
    sides = both_sides(of, SIZES, {**strands, **affine(*shape), **EPS, **kappa}, RSQRT)
    agree(sides, rcps(stack(a, b)), stack(plain(a), plain(b)), exact=False)


def test_group_norm() -> None:
    groups, size = 3, 2
    a, b = numbers(1, 6, LEN), numbers(1, 6, LEN, seed=1)
    rcps = filled(tied.RCPSGroupNorm(groups, 6, eps=1 / 128), **affine(6))
    plain = filled(nn.GroupNorm(groups, 6, eps=1 / 128), **affine(6))
    sizes = {nm.M: groups, nm.G: size, pairs.L: LEN}
    arrays = {"a": a[0], "b": b[0], **affine(6), **EPS, "kappa": lambda at: Fraction(1, size * LEN)}
    sides = both_sides("T5.group_norm", sizes, arrays, RSQRT)
    agree(sides, rcps(stack(a, b)), stack(plain(a), plain(b)), exact=False)


def test_instance_norm() -> None:
    rcps = filled(tied.RCPSInstanceNorm1d(CH, eps=1 / 128, affine=True), **affine(CH))
    plain = filled(nn.InstanceNorm1d(CH, eps=1 / 128, affine=True), **affine(CH))
    arrays = {**STRANDS, **affine(CH), **EPS, "kappa": lambda at: Fraction(1, LEN)}
    sides = both_sides("T5.instance_norm", SIZES, arrays, RSQRT)
    agree(sides, rcps(X), stack(plain(A), plain(B)), exact=False)


# -- batch statistics ---------------------------------------------------------------------------------------------


def trained(layer: nn.Module, s: Tensor) -> tuple[Tensor, nn.Module]:
    layer.train()
    return layer(s), layer


def test_training() -> None:
    count, few, short = 2, 2, 3
    s = numbers(2 * count, few, short, seed=8)
    pi = (2, 1, 0, 3)  # the first example replaced by its reverse complement
    values = {**affine(few), "running_mean": numbers(few, seed=6), "running_var": numbers(few, seed=7).abs()}
    layers = [filled(tied.RCPSBatchNorm1d(few, eps=1 / 128, momentum=0.25), **values) for _ in range(2)]
    turned, first = trained(layers[0], tied.to_stacked(s[list(pi)]))
    given, second = trained(layers[1], tied.to_stacked(s))
    n = 2 * count * short
    arrays = {
        "s": s, **affine(few), **EPS, "kappa": lambda at: Fraction(1, n), "momentum": lambda at: Fraction(1, 4),
        "unbiased": lambda at: Fraction(n, n - 1),
    }  # fmt: skip
    sizes, involution = {pairs.F: few, pairs.L: short, bs.N: count}, {"pi": pi}
    left, right = both_sides("T10.train.output", sizes, arrays, RSQRT, involution)
    assert (left - tied.to_batched(turned)).abs().max() <= 1e-12
    assert (right - tied.to_batched(given)[list(pi)]).abs().max() <= 1e-12
    for name in ("running_mean", "running_var"):
        sides = both_sides(f"T10.train.{name}", sizes, {**arrays, "r": values[name]}, RSQRT, involution)
        for side, layer in zip(sides, (first, second), strict=True):
            assert (side - getattr(layer, name)).abs().max() <= 1e-12
    mean, _ = both_sides("T10.train.layouts", sizes, arrays)
    assert (mean - s.mean((0, 2))).abs().max() <= 1e-12


def test_training_commutes() -> None:
    few, short = 2, 3
    x = numbers(2, 2 * few, short, seed=9)
    layer = filled(tied.RCPSBatchNorm1d(few, eps=1 / 128), **affine(few)).train()
    arrays = {"x": x, **affine(few), **EPS, "kappa": lambda at: Fraction(1, 4 * short)}
    left, right = both_sides("T10.train.commutes", {pairs.F: few, pairs.L: short, bs.N: 2}, arrays, RSQRT)
    assert (left - layer(rc(x))).abs().max() <= 1e-12
    assert (right - rc(layer(x))).abs().max() <= 1e-12


def test_two_passes_are_what_torch_does() -> None:
    a, b = numbers(1, 1, LEN), numbers(1, 1, LEN, seed=1)
    layer = nn.BatchNorm1d(1, momentum=0.25).double()
    layer(a)
    layer(b)
    values = [[Fraction(float(v)) for v in s[0, 0]] for s in (a, b)]
    assert layer.running_mean is not None
    expected = float(bs.two_passes(*values, Fraction(1, 4), Fraction(0)))
    assert abs(float(layer.running_mean) - expected) <= 1e-12


# -- layers without windows ---------------------------------------------------------------------------------------


def test_pointwise() -> None:
    sides = both_sides("T5.pointwise", SIZES, STRANDS, {"sigma": lambda v: max(v, 0)})
    agree(sides, X.relu(), stack(A.relu(), B.relu()))
    slope = numbers(CH, seed=4)
    prelu = {"sigma": lambda v, alpha: v if v >= 0 else alpha * v}
    sides = both_sides("T5.pointwise.parameters", SIZES, {**STRANDS, "slope": slope}, prelu)
    agree(sides, F.prelu(X, tie(slope)), stack(F.prelu(A, slope), F.prelu(B, slope)))


def test_sums_and_products() -> None:
    a2, b2 = numbers(1, CH, LEN, seed=2), numbers(1, CH, LEN, seed=3)
    strands, x2 = {**STRANDS, "a2": a2[0], "b2": b2[0]}, stack(a2, b2)
    agree(both_sides("T5.residual", SIZES, strands), X + x2, stack(A + a2, B + b2))
    agree(both_sides("T5.product", SIZES, strands), X * x2, stack(A * a2, B * b2))


@pytest.mark.parametrize(("of", "start", "stop"), [("T5.crop", 1, 3), ("T5.crop", 0, 4), ("T5.crop.central", 1, 4)])
def test_crop(of: str, start: int, stop: int) -> None:
    sides = both_sides(of, {**SIZES, ly.S: start, ly.E: stop}, STRANDS)
    window = (slice(None), slice(None), slice(start, stop))
    agree(sides, stacked_crop(X, window), stack(A[window], B[window]))


def test_flatten() -> None:
    flat = {f"flat_{k}": v[0].flatten() for k, v in (("x", X), ("a", A), ("b", B))}
    agree(both_sides("T5.flatten", SIZES, flat), stacked_flatten(X), stack(A.flatten(1), B.flatten(1)))


def test_embedding() -> None:
    table, tokens = numbers(5, CH, seed=6), torch.tensor([[0, 4, 3, 1, 1]])
    rep = representation("tokens:3,2,1,0,4")
    layer = filled(tied.RCPSEmbedding(5, CH, rep), weight=table)
    sizes = {ly.D: CH, pairs.L: LEN, ly.V: 5}
    pis = {"complement": (3, 2, 1, 0, 4), "token": tuple(tokens[0].tolist())}
    sides = both_sides("T5.embedding", sizes, {"table": table}, involutions=pis)
    one, other = (F.embedding(t, table).transpose(1, 2) for t in (tokens, rc(tokens, rep)))
    agree(sides, layer(tokens), stack(one, other))


class Running(nn.Module):
    """A recurrence with fewer channels out: y[c, p] = Σ_{u ≤ p} (u + 1)·(x[c, u] − x[c + 1, u]²)."""

    def forward(self, x: Tensor) -> Tensor:
        steps = (x[:, :-1] - x[:, 1:] ** 2) * torch.arange(1, x.shape[2] + 1)
        return steps.cumsum(2)


def _running(arrays: list[dict[tuple[int, ...], Any]], at: tuple[int, ...]) -> Any:
    x, (c, p) = arrays[0], at
    return sum((u + 1) * (x[c, u] - x[c + 1, u] ** 2) for u in range(p + 1))


def test_lift() -> None:
    sizes = {**SIZES, ly.H: CH - 1, ly.M: LEN}
    sides = both_sides("T5.lift", sizes, STRANDS, operators={"g": _running})
    g = Running()
    agree(sides, tied.Lifted(g)(X), stack(g(A), g(B)))

    def cross(arrays: list[dict[tuple[int, ...], Any]], at: tuple[int, ...]) -> Any:
        return _running(arrays, at) * arrays[1][at[0], 0]

    sides = both_sides("T5.lift.coupled", sizes, STRANDS, operators={"g": cross})
    own, other = tied.to_batched(X).chunk(2)
    both = stack(g(own) * other[:, :-1, :1], g(other) * own[:, :-1, :1])
    agree(sides, both, stack(g(A) * B[:, :-1, :1], g(B) * A[:, :-1, :1]))


# -- along positions ----------------------------------------------------------------------------------------------


def test_global_pooling() -> None:
    agree(both_sides("T5.global.sum", SIZES, STRANDS), X.sum(2), stack(A.sum(2), B.sum(2)))
    agree(both_sides("T5.global.max", SIZES, STRANDS), X.amax(2), stack(A.amax(2), B.amax(2)))
    pool = tied.RCPSAdaptiveAvgPool1d(1)
    agree(both_sides("T5.global.mean", SIZES, STRANDS), pool(X).flatten(1), stack(A.mean(2), B.mean(2)), exact=False)


def test_softmax() -> None:
    functions = {"exp": lambda v: math.exp(v), "reciprocal": lambda v: 1 / v}
    sides = both_sides("T5.softmax", SIZES, STRANDS, functions)
    agree(sides, X.softmax(2), stack(A.softmax(2), B.softmax(2)), exact=False)


def test_weighted_sum() -> None:
    w, v, bias = numbers(CH, LEN, seed=4), numbers(CH, LEN, seed=5), numbers(CH, seed=6)
    arrays = {**STRANDS, "w": w, "v": v, "bias": bias}
    plain = filled(tied.WeightedSum1d(CH, LEN, bias=True), weight=w, bias=bias)
    layer = filled(tied.RCPSWeightedSum1d(CH, LEN, bias=True), weight=w, bias=bias)
    agree(both_sides("T5.weighted_sum", SIZES, arrays), layer(X), stack(plain(A), plain(B)))
    layer = filled(tied.RCPSWeightedSum1d(CH, LEN, bias=True, coupled=True), weight=torch.cat([w, v]), bias=bias)
    ab, ba = (plain(s) + (rc(t) * v).sum(2) for s, t in ((A, B), (B, A)))
    agree(both_sides("T5.weighted_sum.coupled", SIZES, arrays), layer(X), stack(ab, ba))


# -- concatenation ------------------------------------------------------------------------------------------------

REPRESENTATIONS = ["perm:1,0,-2", "perm:1,0,2;keep-length", "reversal", "length", "fixed"]


def action(name: str, channels: int, length: int) -> tuple[dict[str, tuple[int, ...]], Tensor]:
    """π and λ of a representation, and its signs."""
    rep = representation(name)
    positions = range(length)
    lam = tuple(reversed(positions)) if rep.reverses_length else tuple(positions)
    signs = torch.tensor(rep.signs or (1,) * channels).double()
    return {"pi": rep.permutation(channels), "lambda": lam}, signs


def test_cat() -> None:
    a2, b2 = numbers(1, 2, LEN, seed=2), numbers(1, 2, LEN, seed=3)
    strands = {**STRANDS, "a2": a2[0], "b2": b2[0]}
    sides = both_sides("T5.cat", {**SIZES, cc.H: 2}, strands)
    agree(sides, stacked_cat([X, stack(a2, b2)]), stack(torch.cat([A, a2], 1), torch.cat([B, b2], 1)))


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_control_track(name: str) -> None:
    z = numbers(1, 3, LEN, seed=7)
    pis, signs = action(name, 3, LEN)
    arrays, sizes = {**STRANDS, "z": z[0], "sign": signs}, {**SIZES, cc.C: 3}
    pair = tied.closed_to_stacked(z, representation(name))
    sides = both_sides("T5.cat.control", sizes, arrays, involutions=pis)
    other = rc(z, name)
    agree(sides, stacked_cat([X, pair]), stack(torch.cat([A, z], 1), torch.cat([B, other], 1)))
    sides = both_sides("T5.closed", sizes, arrays, involutions=pis)
    agree(sides, tied.closed_to_stacked(other, representation(name)), rc(pair))


# -- merges and heads ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["mean", "sum", "max"])
@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_merge(name: str, mode: str) -> None:
    if mode == "max" and "-" in name.replace("keep-length", ""):
        name = "perm:1,0,2"
    pis, signs = action(name, CH, LEN)
    sizes = {hd.T: CH, pairs.L: LEN}
    arrays = {**STRANDS, "sign": signs}
    layer = tied.Merge(mode, output=name)
    sides = both_sides(f"T5.merge.{mode}", sizes, arrays, involutions=pis)
    agree(sides, layer(X), tied.merge(A, rc(B, name), mode))
    sides = both_sides(f"T5.merge.{mode}.commutes", sizes, arrays, involutions=pis)
    agree(sides, layer(rc(X)), rc(layer(X), name))
    if "-" not in name.replace("keep-length", ""):
        relu = {"sigma": lambda v: max(v, 0)}
        sides = both_sides("T5.merge.after", sizes, arrays, relu, pis)
        agree(sides, tied.Merge("mean", output=name)(X.relu()), tied.merge(A.relu(), rc(B.relu(), name), "mean"))


def test_strand_sum() -> None:
    agree(both_sides("T5.strand_sum", SIZES, STRANDS), tied.StrandSum()(X), A + B)
    x = stack(VEC_A, VEC_B)
    agree(both_sides("T5.strand_sum.invariant", SIZES, VEC), tied.StrandSum()(x), tied.StrandSum()(rc(x)))


def test_invariant_and_counts_heads() -> None:
    w, bias, v, z = numbers(2, CH, seed=4), numbers(2, seed=5), numbers(2, 3, seed=6), numbers(1, 3, seed=7)
    sizes, arrays = {**SIZES, hd.T: 2, hd.J: 3}, {**VEC, "w": w, "bias": bias, "v": v, "z": z[0]}
    pooled = tied.StrandSum()(stack(VEC_A, VEC_B))

    def head(s: Tensor) -> Tensor:
        return F.linear(s, w, bias)

    mean = (head(VEC_A) + head(VEC_B)) / 2
    agree(both_sides("T5.head.invariant", sizes, arrays), F.linear(pooled, w / 2, bias), mean)
    relu = {"sigma": lambda v: max(v, 0)}
    agree(both_sides("T5.head.logits", sizes, arrays, relu), F.linear(pooled, w / 2, bias).relu(), mean.relu())
    pis, signs = action("perm:1,0,-2", 3, 1)
    other = rc(z, "perm:1,0,-2")
    sides = both_sides("T5.head.counts", sizes, {**arrays, "zsign": signs}, involutions=pis)
    control = (F.linear(z, v) + F.linear(other, v)) / 2
    agree(sides, F.linear(pooled, w / 2, bias) + F.linear(z + other, v / 2), mean + control)


@pytest.mark.parametrize(("stride", "dilation", "padding", "tasks"), [(1, 1, 1, 1), (1, 2, 2, 2), (2, 1, 1, 1)])
def test_profile_head(stride: int, dilation: int, padding: int, tasks: int) -> None:
    taps = 3
    w, bias = numbers(2 * tasks, CH, taps, seed=4), numbers(2 * tasks, seed=5)
    v = torch.cat([w[:tasks], w[tasks:].flip(0, 1, 2)], dim=1) / 2
    layer = tied.RCPSConv1d(CH, tasks, taps, stride=stride, padding=padding, dilation=dilation, coupled=True)
    layer = filled(layer, weight=v, bias=(bias[:tasks] + bias[tasks:].flip(0)) / 2)

    def plain(s: Tensor) -> Tensor:
        return F.conv1d(s, w, bias, stride, padding, dilation)

    out = plain(A)
    sizes = {**SIZES, wd.O: tasks, wd.K: taps, wd.N: out.shape[2], wd.s: stride, wd.d: dilation, wd.p: padding}
    sides = both_sides("T5.head.profile", sizes, {**STRANDS, "w": w, "bias": bias})
    agree(sides, layer(X), (out + rc(plain(B))) / 2)


# -- losses -------------------------------------------------------------------------------------------------------

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": lambda x, y: F.mse_loss(x, y, reduction="none").sum(1),
    "bce.logits": lambda x, y: F.binary_cross_entropy_with_logits(x, (y > 0).double(), reduction="none").sum(1),
    "poisson.log_rate": lambda x, y: F.poisson_nll_loss(x, y.abs(), reduction="none").sum(1),
    "multinomial": lambda x, y: -(y.abs() * x.log_softmax(1)).sum(1),
    "log": lambda x, y: F.poisson_nll_loss(x.exp(), y.abs(), log_input=False, eps=0, reduction="none").sum(1),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name: str) -> None:
    """T9 in torch: no gap is negative, and the gaps add up as the lemma says."""
    count = 40
    u, v, y = (numbers(count, 4, seed=k) for k in range(3))
    loss = LOSSES[name]
    merged = ((u + v) / 2) if name != "log" else ((u.exp() + v.exp()) / 2).log()
    gaps = (loss(u, y) + loss(v, y)) / 2 - loss(merged, y)
    assert bool((gaps >= -1e-12).all()) and bool((gaps > 0.1).any())
    assert f"T9.{name}" in STATEMENTS
    if name == "mse":  # one number an example: the lemma in exact numbers
        arrays = {k: x[:5, 0] for k, x in (("u", u), ("v", v), ("y", y))}
        left, right = both_sides("T9.data_set", {ls.N: 5}, arrays, {"loss": lambda x, t: (x - t) ** 2})
        squares = [(x[:5, 0] - y[:5, 0]) ** 2 for x in (u, v, (u + v) / 2)]
        assert left == right == (squares[0].sum() + squares[1].sum()) / 2 - squares[2].sum()


def test_multinomial_identities() -> None:
    from rcproof.symbolic.multinomial import M

    count = 4
    p, q, v = (numbers(count, seed=k).abs() + 1 for k in range(3))
    left, right = both_sides("T9.multinomial", {M: count}, {"p": p, "q": q})
    assert left == right == ((p[:, None] * q - p * q[:, None]) ** 2).sum() > 0
    s = torch.tensor([0.5, 0.25, 0.125, 0.125]).double()
    left, right = both_sides("T9.multinomial.hessian", {M: count}, {"s": s, "v": v})
    z = s.log().requires_grad_()
    hessian = torch.autograd.functional.hessian(lambda z: z.logsumexp(0), z.detach())
    assert left == right and abs(float(left) - 2 * float(v @ hessian @ v)) <= 1e-12
