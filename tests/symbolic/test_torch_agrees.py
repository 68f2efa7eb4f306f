"""The torch layers and the symbolic layers are the same functions: on integers, their outputs are equal, exactly.

For every lemma about a layer of ours, both sides of its equation are evaluated on the weights and the input of a torch
layer in float64. Weights and inputs are small integers (and windows of powers of two are averaged), so that torch's
sums are exact and "equal" means equal.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rcproof.nn import (
    RCPSAvgPool1d,
    RCPSConv1d,
    RCPSConvTranspose1d,
    RCPSLinear,
    RCPSMaxPool1d,
)  # fmt: skip
from rcproof.strand import Representation, rc, representation, stack, unstack
from rcproof.symbolic import action
from rcproof.symbolic import windows as w
from rcproof.symbolic.evaluate import World, evaluate
from rcproof.symbolic.grouped import G, Q, S
from rcproof.symbolic.padding import padded
from rcproof.symbolic.terms import Term
from tests.symbolic.replays import statements

STATEMENTS = statements("action", "convolution", "transposed", "grouped", "pooling", "embedding")


def integers(*shape: int, seed: int) -> Tensor:
    """Small integers in float64."""
    return torch.randint(-4, 5, shape, generator=torch.Generator().manual_seed(seed)).double()


def fill(layer: nn.Module, seed: int = 3) -> None:
    """Integer weights."""
    with torch.no_grad():
        for n, parameter in enumerate(layer.parameters()):
            parameter.copy_(integers(*parameter.shape, seed=seed + n))


def array(t: Tensor) -> Callable[[tuple[int, ...]], Fraction]:
    """A tensor without its batch axis as an array that may be read nowhere but inside."""

    t = t.detach()

    def read(at: tuple[int, ...]) -> Fraction:
        assert len(at) == t.dim() and all(0 <= i < n for i, n in zip(at, t.shape, strict=True)), f"read at {at}"
        return Fraction(float(t[at]))

    return read


def world(sizes: Mapping[Any, int], arrays: Mapping[str, Tensor], **involutions: tuple[int, ...]) -> World:
    made = World(random.Random(0), dict(sizes), involutions=dict(involutions))
    made.arrays.update({name: array(t) for name, t in arrays.items()})
    made.functions["bottom"] = lambda: Fraction(-(10**9))
    return made


def same(term: Term, made: World, variables: tuple[Any, ...], want: Tensor) -> None:
    """A term is, entry by entry, a tensor (without its batch axis)."""
    for at in torch.cartesian_prod(*(torch.arange(n) for n in want.shape)).reshape(-1, want.dim()).tolist():
        values = {**made.sizes, **dict(zip(variables, at, strict=True))}
        assert evaluate(term, made, values) == Fraction(float(want.detach()[tuple(at)])), f"at {at}"


def both_sides(name: str, made: World, want: Tensor) -> None:
    """Both sides of a statement are the tensor."""
    claim = STATEMENTS[name].claim
    assert claim is not None
    variables = tuple(v for v, _ in claim.equation.vars)
    sizes = [size.xreplace(made.sizes) for _, size in claim.equation.vars]
    assert sizes == list(want.shape), "the statement is about another shape"
    for fact in claim.context.facts:
        assert fact.xreplace(made.sizes) >= 0
    for symbol, value in claim.context.equal:
        assert value.xreplace(made.sizes) == made.sizes[symbol], f"{symbol} is not what the statement assumes"
    same(claim.equation.lhs, made, variables, want)
    same(claim.equation.rhs, made, variables, want)


def window_sizes(L: int, K: int, s: int, d: int, left: int, right: int) -> dict[Any, int]:
    """Sizes of a layer with windows, its unread positions among them."""
    over = L + left + right - d * (K - 1) - 1
    return {w.L: L, w.K: K, w.s: s, w.d: d, w.p: left, w.q: right, w.r: over % s, w.N: over // s + 1}


REPS = ["reversal", "length", "dna:TGCA", "perm:1,0,-2,3", "perm:-1,-0,3,2"]
# length, kernel, stride, padding, dilation: centred or not, even kernels, ``same``
WINDOWS = [(7, 3, 1, 0, 1), (8, 3, 2, 1, 1), (9, 3, 3, 0, 2), (6, 2, 1, "same", 1), (7, 4, 2, 3, 1), (10, 2, 3, 1, 3)]


def _conv_case(layer: RCPSConv1d, L: int) -> dict[Any, int]:
    return window_sizes(L, layer.kernel_size, layer.stride, layer.dilation, *layer.margins())


def _centred(sizes: Mapping[Any, int]) -> bool:
    return not sizes[w.r] and sizes[w.p] == sizes[w.q]


@pytest.mark.parametrize("rep", REPS)
@pytest.mark.parametrize("window", WINDOWS)
def test_convolution_of_a_closed_input(window: tuple[Any, ...], rep: str) -> None:
    L, K, s, p, d = window
    layer = RCPSConv1d(4, 2, K, s, p, d, source=rep, dtype=torch.float64)
    fill(layer)
    x = integers(1, 4, L, seed=1)
    rho = representation(rep)
    sizes = {w.C: 4, w.F: 1, w.O: 2, **_conv_case(layer, L)}
    signs = torch.tensor(rho.signs or (1,) * 4)
    arrays = {"V": layer.weight, "b": layer.bias, "x": x[0], "sigma_in": signs}
    made = world(sizes, arrays, pi_in=rho.permutation(4))
    both_sides("T5.conv.mirrored", made, layer(x)[0])
    if _centred(sizes):
        both_sides("T5.conv.tied", made, layer(x)[0])


@pytest.mark.parametrize("window", WINDOWS)
def test_coupled_convolution(window: tuple[Any, ...]) -> None:
    L, K, s, p, d = window
    layer = RCPSConv1d(2, 3, K, s, p, d, coupled=True, dtype=torch.float64)
    fill(layer)
    a, b = integers(1, 2, L, seed=1), integers(1, 2, L, seed=2)
    x = stack(a, b)
    sizes = {w.C: 4, w.F: 2, w.O: 3, **_conv_case(layer, L)}
    tied = {"V": layer.weight, "b": layer.bias, "x": x[0], "sigma_in": torch.ones(4)}
    both_sides("T5.conv.mirrored", world(sizes, tied, pi_in=(3, 2, 1, 0)), layer(x)[0])
    halves = {"A": layer.weight[:, :2], "B": layer.weight[:, 2:], "b": layer.bias, "a": a[0], "b_strand": b[0]}
    both_sides("T5.conv.own", world(sizes, halves), layer(x)[0, :3])
    if _centred(sizes):
        both_sides("T5.conv.coupled", world(sizes, halves), layer(x)[0])


@pytest.mark.parametrize("window", WINDOWS)
def test_uncoupled_convolution(window: tuple[Any, ...]) -> None:
    L, K, s, p, d = window
    layer = RCPSConv1d(2, 3, K, s, p, d, dtype=torch.float64)
    fill(layer)
    a, b = integers(1, 2, L, seed=1), integers(1, 2, L, seed=2)
    x = stack(a, b)
    sizes = {w.C: 2, w.F: 2, w.O: 3, **_conv_case(layer, L)}
    both_sides("T5.conv.halves", world(sizes, {"W": layer.weight, "b": layer.bias, "x": x[0]}), layer(x)[0])
    if _centred(sizes):
        arrays = {"A": layer.weight, "b": layer.bias, "a": a[0], "b_strand": b[0]}
        both_sides("T5.conv.embedding", world(sizes, arrays), layer(x)[0])


@pytest.mark.parametrize("window", WINDOWS)
def test_grouped_convolution(window: tuple[Any, ...]) -> None:
    L, K, s, p, d = window
    layer = RCPSConv1d(4, 6, K, s, p, d, groups=2, dtype=torch.float64)
    fill(layer)
    x = integers(1, 8, L, seed=1)
    sizes = {G: 2, Q: 3, S: 2, **_conv_case(layer, L)}
    weights = {"W": layer.weight.reshape(2, 3, 2, K), "b": layer.bias.reshape(2, 3), "x": x[0]}
    second = layer(x)[0, 6:]
    both_sides("T5.grouped.halves", world(sizes, weights), second.reshape(2, 3, -1))


@pytest.mark.parametrize(("L", "K", "s", "p", "d"), [(4, 3, 1, 0, 1), (3, 2, 2, 1, 1), (5, 3, 3, 2, 2)])
@pytest.mark.parametrize("extra", [0, 1])
def test_transposed_convolution(L: int, K: int, s: int, p: int, d: int, extra: int) -> None:
    extra = extra if extra < max(s, d) else 0
    N = s * (L - 1) + d * (K - 1) + 1 - 2 * p + extra
    sizes = {w.L: L, w.K: K, w.s: s, w.d: d, w.p: p, w.r: extra, w.N: N, w.O: 3, w.F: 2}
    x = integers(1, 4, L, seed=1)
    plain = RCPSConvTranspose1d(2, 3, K, s, p, extra, dilation=d, dtype=torch.float64)
    fill(plain)
    arrays = {"W": plain.weight, "b": plain.bias, "x": x[0]}
    both_sides("T5.transposed.halves", world({**sizes, w.C: 2}, arrays), plain(x)[0])
    if not extra:
        coupled = RCPSConvTranspose1d(2, 3, K, s, p, dilation=d, coupled=True, dtype=torch.float64)
        fill(coupled)
        arrays = {"V": coupled.weight, "b": coupled.bias, "x": x[0], "sigma_in": torch.ones(4)}
        both_sides("T5.transposed.tied", world({**sizes, w.C: 4}, arrays, pi_in=(3, 2, 1, 0)), coupled(x)[0])


@pytest.mark.parametrize("rep", REPS)
def test_dense_layer_of_a_closed_input(rep: str) -> None:
    layer = RCPSLinear(4, 3, source=rep, dtype=torch.float64)
    fill(layer)
    x, rho = integers(1, 4, seed=1), representation(rep)
    arrays = {"V": layer.weight, "b": layer.bias, "x": x[0], "sigma_in": torch.tensor(rho.signs or (1,) * 4)}
    made = world({w.C: 4, w.F: 1, w.O: 3}, arrays, pi_in=rho.permutation(4))
    both_sides("T5.linear.tied", made, layer(x)[0])


def test_dense_layers_of_a_strand_pair() -> None:
    a, b = integers(1, 2, seed=1), integers(1, 2, seed=2)
    coupled, plain = (RCPSLinear(2, 3, coupled=c, dtype=torch.float64) for c in (True, False))
    fill(coupled)
    fill(plain)
    sizes = {w.C: 4, w.F: 2, w.O: 3}
    x = stack(a, b)
    strands = {"a": a[0], "b_strand": b[0]}
    weights = {"A": coupled.weight[:, :2], "B": coupled.weight[:, 2:], "b": coupled.bias}
    both_sides("T5.linear.coupled", world(sizes, {**weights, **strands}), coupled(x)[0])
    both_sides("T5.linear.embedding", world(sizes, {"A": plain.weight, "b": plain.bias, **strands}), plain(x)[0])
    tied = {"V": coupled.weight, "b": coupled.bias, "x": x[0], "sigma_in": torch.ones(4)}
    both_sides("T5.linear.tied", world(sizes, tied, pi_in=(3, 2, 1, 0)), coupled(x)[0])


@pytest.mark.parametrize(
    ("L", "K", "s", "p", "d"), [(8, 4, 2, 0, 1), (9, 4, 2, 1, 1), (7, 2, 3, 1, 1), (9, 2, 2, 1, 3)]
)
@pytest.mark.parametrize("kind", ["average", "maximum"])
def test_pooling(kind: str, L: int, K: int, s: int, p: int, d: int) -> None:
    if kind == "average":
        d, layer = 1, RCPSAvgPool1d(K, s, p)  # type: nn.Module
    else:
        layer = RCPSMaxPool1d(K, s, p, d)
    x = integers(1, 6, L, seed=1)
    sizes = {w.C: 6, w.F: 3, **window_sizes(L, K, s, d, p, p)}
    both_sides(f"T5.{kind}.halves", world(sizes, {"x": x[0]}), layer(x)[0])
    if not sizes[w.r]:
        both_sides(f"T5.{kind}.stacked", world(sizes, {"x": x[0]}), layer(x)[0])


def test_plain_layers_are_the_terms_that_the_theorems_speak_of() -> None:
    """T3 is about torch's own layers: convolution, transposed convolution and dense layer, padded and dilated."""
    L, K, s, p, d = 9, 3, 2, 2, 2
    x = integers(1, 4, L, seed=1)
    conv = nn.Conv1d(4, 3, K, s, p, d, dtype=torch.float64)
    fill(conv)
    sizes = {w.C: 4, w.O: 3, **window_sizes(L, K, s, d, p, p)}
    made = world(sizes, {"W": conv.weight, "b": conv.bias, "x": x[0]})
    reads = [action.array(n) for n in ("W", "x", "b")]
    same(w.conv(*reads)(w.o, w.i), made, (w.o, w.i), conv(x)[0])
    up = nn.ConvTranspose1d(4, 3, K, s, p, 1, dilation=d, dtype=torch.float64)
    fill(up)
    made = world(sizes, {"W": up.weight, "b": up.bias, "x": x[0]})
    same(w.transposed(*reads)(w.o, w.i), made, (w.o, w.i), up(x)[0])
    dense = nn.Linear(4, 3, dtype=torch.float64)
    fill(dense)
    made = world(sizes, {"W": dense.weight, "b": dense.bias, "x": x[0, :, 0]})
    same(w.linear(*reads)(w.o), made, (w.o,), dense(x[:, :, 0])[0])


@pytest.mark.parametrize("rep", [*REPS, "perm:1,0,-2,3;keep-length", "pairs:2"])
def test_the_action(rep: str) -> None:
    x, rho = integers(1, 4, 5, seed=1), representation(rep)
    signs = torch.tensor(rho.signs or (1,) * 4)
    made = world({action.C: 4, action.L: 5}, {"x": x[0], "sigma": signs}, pi=rho.permutation(4))
    acted = action.act(action.array("x"), action.L, rho.reverses_length)
    same(acted(action.o, action.i), made, (action.o, action.i), rc(x, rho)[0])
    same(action.act(action.array("x"), None)(action.o), world(made.sizes, {"x": x[0, :, 0], "sigma": signs},
         pi=rho.permutation(4)), (action.o,), rc(x[:, :, 0], rho)[0])  # fmt: skip


#: Sizes that T1 speaks of; those of maps play no part here.
STRANDS = dict.fromkeys((action.C, action.F, action.G, action.H, action.M, action.P), 3)


def test_tokens() -> None:
    codes = torch.tensor([[0, 3, 4, 1, 1]])
    rho = Representation((3, 2, 1, 0, 4), tokens=True)
    made = world({**STRANDS, action.L: 5}, {"x": codes[0]})
    made.functions["pi"] = lambda code: Fraction((3, 2, 1, 0, 4)[int(code)])
    assert torch.equal(rc(rc(codes, rho), rho), codes)
    both_sides("T1.action.tokens", made, codes[0])


@pytest.mark.parametrize("rank", [2, 3])
def test_strand_pairs(rank: int) -> None:
    shape = (1, 3, 4)[:rank]
    a, b = integers(*shape, seed=1), integers(*shape, seed=2)
    made = world(dict.fromkeys((action.C, action.F, action.G, action.H, action.M, action.P), 3) | {action.L: 4},
                 {"a": a[0], "b": b[0], "x": stack(a, b)[0]})  # fmt: skip
    first, second = unstack(stack(a, b))
    both_sides(f"T1.unstack.first.rank{rank}", made, first[0])
    both_sides(f"T1.unstack.second.rank{rank}", made, second[0])
    both_sides(f"T1.stack.unstack.rank{rank}", made, stack(*unstack(stack(a, b)))[0])
    both_sides(f"T1.stack.swap.rank{rank}", made, rc(stack(a, b))[0])


def test_a_wrong_layer_is_noticed() -> None:
    """The comparison can fail: another weight, a layer that is not tied, and a length that the statement excludes."""
    layer = RCPSConv1d(2, 3, 3, dtype=torch.float64)
    fill(layer)
    x = integers(1, 4, 7, seed=1)
    sizes = {w.C: 2, w.F: 2, w.O: 3, **_conv_case(layer, 7)}
    arrays = {"W": layer.weight, "b": layer.bias, "x": x[0]}
    both_sides("T5.conv.halves", world(sizes, arrays), layer(x)[0])
    wrong = layer(x)[0].detach().clone()
    wrong[4, 2] += 1
    with pytest.raises(AssertionError, match="at \\[4, 2\\]"):
        both_sides("T5.conv.halves", world(sizes, arrays), wrong)
    with pytest.raises(AssertionError, match="at \\["):
        both_sides("T5.conv.halves", world(sizes, {**arrays, "W": layer.weight.flip(2)}), layer(x)[0])
    with pytest.raises(AssertionError, match="not what the statement assumes"):
        both_sides("T5.conv.halves", world({**sizes, w.L: 8}, arrays), layer(x)[0])


MODES = {"reflect": "reflect", "replicate": "replicate", "circular": "circular", "zeros": "constant"}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("left", "right"), [(2, 2), (1, 3)])
def test_padding(mode: str, left: int, right: int) -> None:
    x = integers(1, 3, 5, seed=1)
    made = world({w.C: 3, w.L: 5, w.p: left}, {"x": x[0]})
    term = padded(mode, action.array("x"), w.p)(w.c, w.i)
    same(term, made, (w.c, w.i), nn.functional.pad(x, (left, right), mode=MODES[mode])[0])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("L", "s"), [(7, 1), (8, 2)])
def test_convolution_with_a_padding_mode(mode: str, L: int, s: int) -> None:
    layer = RCPSConv1d(2, 3, 3, s, 2, padding_mode=mode, dtype=torch.float64)
    fill(layer)
    x = integers(1, 4, L, seed=1)
    filled = nn.functional.pad(x, (2, 2), mode=MODES[mode])
    sizes = {w.C: 2, w.F: 2, w.O: 3, **window_sizes(L + 4, 3, s, 1, 0, 0)}
    both_sides("T5.conv.halves", world(sizes, {"W": layer.weight, "b": layer.bias, "x": filled[0]}), layer(x)[0])
