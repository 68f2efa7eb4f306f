"""T7: coupled layers, the lattice of coupled sets and its costs; false variants are refused."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import pytest
import sympy as sp
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from rcproof.nn import RCPSConv1d
from rcproof.symbolic import costs
from rcproof.symbolic.checker import Refused, check
from rcproof.symbolic.costs import layer_costs, multiply_adds
from rcproof.symbolic.coupling import OTHER, OWN, STATEMENTS, C, F, G, K, L, N, d, i, o, p, s
from rcproof.symbolic.evaluate import World
from rcproof.symbolic.statements import run
from rcproof.symbolic.terms import Add, Fun, Mul, num
from tests.symbolic.variants import (
    END,
    NO_EQUATION,
    NO_INSTANCE,
    Variant,
    assert_covered,
    assert_refused,
    assert_replays,
    assert_true_at_small_sizes,
    by_name,
    context,
    named,
    ranges,
    read,
    rename,
    scaled,
    sides,
    without,
)

ALL = by_name(STATEMENTS["T7"])
PI = (("pi_in", C),)
OFF = (L, s * (N - 1) + d * (K - 1) + 2 - 2 * p)
NO_PLACE = "no subterm|no such instance|takes|do not decide|has a bound index"


def signs(world: World) -> Mapping[str, Any]:
    """±1, equal on exchanged channels; sometimes 2 and ½."""
    table: dict[int, Fraction] = {}
    for a, b in enumerate(world.involutions.get("pi_in", ())):
        if a <= b:
            sign = Fraction(world.rng.choice((-1, 1)) * (2 if a < b and world.rng.random() < 0.3 else 1))
            table[a], table[b] = sign, 1 / sign
    return {"sigma_in": lambda at: table.get(at[0], Fraction(1))}


def lemmas() -> Any:
    return {"own": check(*OWN), "other": check(*OTHER)}


BY = {
    "T7.layer.own": [
        Variant("", "the whole range of outputs", ranges((o, 2 * F), (i, N)), "do not decide"),
        Variant("", "the other strand's weights", read("rhs", "V", lambda o, c, k: (o, c, K - 1 - k))),
        Variant("", "twice the layer", scaled(2)),
    ],
    "T7.layer.other": [
        Variant("", "windows not centred", context(equal=(OFF,))),
        Variant("", "no centring condition", context(equal=())),
        Variant("", "taps not mirrored", read("rhs", "V", lambda o, c, k: (o, c, K - 1 - k))),
        Variant("", "channels not permuted", read("rhs", "x", lambda c, j: (c + 1, j))),
        Variant("", "off by one position", read("rhs", "x", lambda c, j: (c, j + 1))),
        Variant("", "π no involution", context(involutions=()), "not known to be an involution", false=False),
    ],
    "T7.layer.equivariant": [
        Variant("", "windows not centred", context(equal=(OFF,)), NO_EQUATION),
        Variant("", "signs unrelated", without("signs_in"), NO_EQUATION, arbitrary="sigma_in"),
        Variant("", "a sign", scaled(-1), NO_PLACE),
        Variant("", "another bias on the right", rename("rhs", "bias", "other"), NO_INSTANCE),
    ],
    "T7.block": [
        Variant("", "windows not centred", context(equal=(OFF,)), "no equation|no such instance"),
        Variant("", "the block run on x", read("lhs", "x", lambda c, j: (c, L - 1 - j)), END),
        Variant("", "another block", sides(lambda t: type(t)("q", t.args, t.index)), END),
    ],
    "T7.strands": [
        Variant("", "b read forwards", read("rhs", "b", lambda c, j: (c, L - 1 - j))),
        Variant("", "channels of b not reversed", read("rhs", "b", lambda c, j: (G - 1 - c, j))),
        Variant("", "A and B exchanged", sides(lambda t: Add((t.args[1], t.args[0], scaled_by(2, t.args[2]))))),
    ],
    "T7.uncoupled": [
        Variant("", "B free", without("uncoupled"), NO_EQUATION),
        Variant("", "the other strand instead", rename("rhs", "a", "b")),
        Variant("", "taps reversed", read("rhs", "A", lambda o, c, k: (o, c, K - 1 - k))),
    ],
    "T7.monotone": [
        Variant("", "B free", without("uncoupled"), NO_EQUATION),
        Variant("", "strands exchanged on the right", sides(lambda t: type(t)(t.name, t.args[::-1], t.index))),
        Variant("", "another rest of the network", sides(lambda t: type(t)("g", t.args, t.index))),
    ],
    "T7.last_layer": [
        Variant("", "A − B̃", sides(lambda t: Add((minus_b(t.args[0]), t.args[1])))),
        Variant("", "B's columns not reversed", read("rhs", "B", lambda o, c: (o, G - 1 - c))),
        Variant("", "the bias twice", sides(lambda t: Add((t.args[0], scaled_by(2, t.args[1])))), "not the same term"),
        Variant("", "without the half", scaled(2, "lhs"), NO_PLACE),
        Variant("", "a max merge", sides(lambda t: Fun("max", t.args[1].args), "lhs"), NO_PLACE),
    ],
}


def scaled_by(factor: int, t: Any) -> Any:
    """A multiple of a term."""
    return Mul((num(factor), t))


def minus_b(t: Any) -> Any:
    """½(A − B̃)(a + b) in the place of ½(A + B̃)(a + b)."""
    half, weights, both = t.body.args
    return type(t)(t.op, t.var, t.size, Mul((half, Add((weights.args[0], scaled_by(-1, weights.args[1]))), both)))


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


# -- costs, against the layers that the package ships ---------------------------------------------------------------


def macs(layer: nn.Module, *shape: int) -> int:
    """Multiply-adds that torch counts."""
    with FlopCounterMode(display=False) as counter:
        layer(torch.zeros(1, *shape))
    return counter.get_total_flops() // 2


@pytest.mark.parametrize(("g", "f", "taps", "length"), [(2, 3, 3, 9), (1, 1, 1, 4), (4, 2, 5, 11)])
def test_costs_of_real_layers(g: int, f: int, taps: int, length: int) -> None:
    found = layer_costs()
    values = {costs.F: f, costs.G: g, costs.K: taps, costs.N: length - taps + 1}
    for coupled in (False, True):
        layer = RCPSConv1d(g, f, taps, bias=False, coupled=coupled)
        name = ("coupled" if coupled else "uncoupled") + ", both strands"
        assert layer.weight.numel() == found[name][0].subs(values)
        assert macs(layer, 2 * g, length) == found[name][1].subs(values)
    plain = nn.Conv1d(2 * g, 2 * f, taps, bias=False)
    assert plain.weight.numel() == found["ordinary layer of 2F channels"][0].subs(values)
    assert plain.weight.numel() * (length - taps + 1) == found["ordinary layer of 2F channels"][1].subs(values)


def test_multiply_adds_of_terms() -> None:
    from rcproof.symbolic.shorthand import elem, integers, mul, total, where

    n, m, a, b = integers("n m a b")
    assert multiply_adds(total(mul(elem("f", a), elem("g", a), elem("h", a)), (a, n))) == 2 * n
    assert multiply_adds(total(where((a,), mul(elem("f", a), elem("g", b))), (a, n), (b, m))) == n * m
    with pytest.raises(Refused, match="depends on the bound index"):
        multiply_adds(total(mul(elem("f", a), elem("g", b)), (a, n), (b, a), (m, n)))
    with pytest.raises(Refused, match="no cost is known for Fun"):
        multiply_adds(Fun("relu", (elem("f", a),)))


@pytest.mark.parametrize(
    ("name", "attribute", "wrong"),
    [
        ("T7.cost.layer", "multiply_adds", lambda t: 2 * multiply_adds(t)),
        ("T7.cost.layer", "layer_costs", lambda: {n: (2 * a, b) for n, (a, b) in layer_costs().items()}),
        ("T7.cost.layer", "dimension", lambda *reps: costs.F),
        ("T7.cost.lattice", "network_costs", lambda chi, bias=1: (chi(sp.Symbol("l")) ** 2, sp.Integer(0))),
        ("T7.average.affine", "gap", lambda f, a, b: f(a + b) - f(a) / 2 - f(b) / 2),
        ("T7.average.only_affine", "gap", lambda f, a, b: f(a + b) - f(a) - f(b)),
        ("T7.average.relu_iff", "gap", lambda f, a, b: f(a + b) - f(a) - f(b)),
        ("T7.average.relu", "gap", lambda f, a, b: Fraction(0)),
    ],
)
def test_wrong_formulas_fail(name: str, attribute: str, wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, attribute, wrong)
    outcome = run("T7", ALL[name])
    assert outcome.status == "failed"
    assert outcome.reason


def test_nonlinear_functions_do_not_commute_with_averages() -> None:
    z = sp.Symbol("z", real=True)
    for f in (z**2, sp.exp(z), sp.Max(z, 0), sp.Abs(z)):
        gaps = [costs.gap(lambda a, f=f: f.subs(z, a), sp.Integer(a), sp.Integer(b)) for a, b in ((1, -1), (0, 2))]
        assert any(gaps)
