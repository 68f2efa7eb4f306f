"""T6: equivariant networks equal their conjoined form; the gap; false variants are refused."""

from __future__ import annotations

import random
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import pytest
import sympy as sp
import torch

from rcproof.conjoined import Conjoined
from rcproof.nn import RCPSConv1d
from rcproof.symbolic import sandwich
from rcproof.symbolic.evaluate import World
from rcproof.symbolic.sandwich import STATEMENTS, M, i, o, plane_points, rho, separate, witness
from rcproof.symbolic.statements import run
from rcproof.symbolic.terms import Add, Mul
from tests.symbolic.variants import (
    NO_EQUATION,
    Variant,
    assert_covered,
    assert_refused,
    assert_replays,
    assert_true_at_small_sizes,
    by_name,
    named,
    read,
    scaled,
    sides,
    without,
)

ALL = by_name(STATEMENTS["T6"])


def equivariant(world: World) -> Mapping[str, Any]:
    """Make f commute with ρ: f = g + ρgρ for an arbitrary g; a merge with m(a, a) = a that is no maximum."""
    plain = world.operator("g")

    def f(arrays: list[dict[Any, Any]], at: tuple[int, ...]) -> Any:
        (x,), (channel, place) = arrays, at
        length = 1 + max(j for _, j in x)
        turned = {(c, j): x[world.involutions["pi_in"][c], length - 1 - j] for c, j in x}
        back = (world.involutions["pi_out"][channel], world.sizes[M] - 1 - place)
        return plain(arrays, at) + plain([turned], back)

    if "pi_out" in world.involutions:
        world.operators["f"] = f
        world.functions["merge"] = lambda a, b: max(a, b) + (a - b) ** 2
    return one_feature(world)


def one_feature(world: World) -> Mapping[str, Any]:
    """W of rank 1: all features are multiples of one, so that much is in its kernel."""
    world.array("x")  # drawn now: no unknown of the hypotheses
    row = [world.rng.randint(1, 3) for _ in range(9)]
    return {"W": lambda at: Fraction((at[0] % 3 + 1) * row[at[1] % 9])}


def arbitrary(world: World) -> Mapping[str, Any]:
    """f is what it is; m(a, a) = a."""
    world.functions["merge"] = lambda a, b: max(a, b) + (a - b) ** 2
    return one_feature(world)


def summed(world: World) -> Mapping[str, Any]:
    """f commutes with ρ, and the merge is a sum."""
    equivariant(world)
    world.functions["merge"] = lambda a, b: a + b
    return {}


def unturned(t: Any) -> Any:
    """½(f(x) + f(ρx)): the other strand's output is not turned back."""
    plain, other = t.args[1].args
    return Mul((t.args[0], Add((plain, type(other)(other.name, other.args, (o, i))))))


NOT_SAME, NO_PLACE = "not the same term", "no subterm|no such instance"
BY = {
    "T6.own_form.mean": [
        Variant("", "f not equivariant", without("equivariant"), NO_EQUATION, builder=arbitrary),
        Variant("", "without the half", scaled(2, "lhs"), NO_PLACE),
        Variant("", "twice f", scaled(2), NOT_SAME),
        Variant("", "the other strand not turned back", sides(unturned, "lhs"), "no such instance"),
    ],
    "T6.own_form.idempotent_merge": [
        Variant("", "f not equivariant", without("equivariant"), NO_EQUATION, builder=arbitrary),
        Variant("", "a merge by sum", without("idempotent"), NO_EQUATION, builder=summed),
        Variant("", "a sign", scaled(-1)),
    ],
    "T6.own_form.sum": [
        Variant("", "f not equivariant", without("equivariant"), NO_EQUATION, builder=arbitrary),
        Variant("", "the sum of f and ρfρ itself", scaled(2, "lhs"), NO_PLACE),
        Variant("", "half of f", scaled(sp.Rational(1, 2)), NOT_SAME),
    ],
    "T6.gap.invariant": [
        Variant("", "v seen by a feature", without("kernel_v"), NO_EQUATION),
        Variant("", "w seen by a feature", without("kernel_w"), NO_EQUATION),
        Variant("", "w not turned on the left", read("lhs", "w", lambda n: (rho(n),)), "no such instance"),
        Variant("", "the right side doubled", scaled(2), "no subterm|takes"),
    ],
}


VARIANTS = named(BY)


@pytest.mark.parametrize("name", ALL)
def test_statement(name: str) -> None:
    assert_replays(ALL[name])
    assert_true_at_small_sizes(ALL[name], equivariant)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_false_variant_is_refused(variant: Variant) -> None:
    assert_refused(variant, ALL, equivariant)


def test_every_proof_has_variants() -> None:
    assert_covered(ALL.values(), VARIANTS)


# -- the gap ------------------------------------------------------------------------------------------------------


def test_the_witness_is_an_rcps_network() -> None:
    """One coupled layer with A = 1 and B = −1 per filter, on the layer that the package ships."""
    F = 3
    layer = RCPSConv1d(F, F, 1, bias=False, coupled=True).double()
    eye = torch.eye(F).double()
    with torch.no_grad():
        # B reads the other strand's channels in the order that the stacked tensor has them: last first.
        layer.weight.copy_(torch.cat([eye, -eye.flip(1)], dim=1)[..., None])
    draws = random.Random(0)
    for _ in range(20):
        x = [Fraction(draws.randint(-5, 5)) for _ in range(2 * F)]
        s, t = (torch.tensor([float(v) for v in half])[None, :, None].double() for half in (x[:F], x[F:]))
        stacked = torch.cat([torch.relu(s), torch.relu(t).flip(1, 2)], dim=1)
        assert Fraction(torch.relu(layer(stacked)).sum().item()) == witness(tuple(x))


def first_layers(F: int, R: int, count: int) -> list[list[tuple[Fraction, ...]]]:
    draws = random.Random(F + R)
    return [
        [tuple(Fraction(draws.randint(-4, 4), draws.randint(1, 3)) for _ in range(2 * F)) for _ in range(R)]
        for _ in range(count)
    ]


@pytest.mark.parametrize(("F", "R"), [(1, 1), (2, 1), (2, 3), (3, 5)])
def test_separate(F: int, R: int) -> None:
    for rows in first_layers(F, R, 20):
        x, v, w, value = separate(rows, F)
        assert value != 0

        def features(y: tuple[Fraction, ...], rows: Any = rows) -> tuple[Fraction, ...]:
            return tuple(sum((a * b for a, b in zip(row, y, strict=True)), Fraction(0)) for row in rows)

        def turned(y: tuple[Fraction, ...]) -> tuple[Fraction, ...]:
            return (*y[F:], *y[:F])

        def plus(*parts: tuple[Fraction, ...]) -> tuple[Fraction, ...]:
            return tuple(sum(p, Fraction(0)) for p in zip(*parts, strict=True))

        assert not any(features(v)) and not any(features(turned(w)))
        # A conjoined network sees each pair of values twice, with opposite signs in the mixed difference.
        seen = [
            (f, s)
            for s, p in ((1, plus(x, v, w)), (-1, plus(x, v)), (-1, plus(x, w)), (1, x))
            for f in (features(p), features(turned(p)))
        ]
        assert all(sum(s for g, s in seen if g == f) == 0 for f, _ in seen)
        found = witness(plus(x, v, w)) - witness(plus(x, v)) - witness(plus(x, w)) + witness(x)
        assert found == value


def test_enough_filters_are_not_told_apart() -> None:
    with pytest.raises(ValueError, match="2 rows of 2 numbers have no kernel"):
        separate([(Fraction(1), Fraction(0)), (Fraction(0), Fraction(1))], 1)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda s, t: sp.Max(s, 0) + sp.Max(t, 0),  # conjoined: one filter is enough
        lambda s, t: sp.Abs(s - t),  # a function of (w − ρw)·x
        lambda s, t: sp.Max(s + t, 0),
    ],
)
def test_functions_of_a_conjoined_network_are_no_witness(wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandwich, "gap", wrong)
    outcome = run("T6", ALL["T6.gap.witness"])
    assert outcome.status == "failed"
    assert outcome.reason


def test_plane_points_hold_for_numbers() -> None:
    for sigma in range(-3, 4):
        for tau in range(-3, 4):
            if sigma or tau:
                x, lam, mu = plane_points(Fraction(sigma), Fraction(tau))
                points = [
                    (0, 0),
                    (lam * sigma, lam * tau),
                    (mu * tau, mu * sigma),
                    (lam * sigma + mu * tau, lam * tau + mu * sigma),
                ]
                values = [witness((Fraction(x[0] + a), Fraction(x[1] + b))) for a, b in points]
                assert values[3] - values[1] - values[2] + values[0] != 0


def test_conjoined_form_of_an_equivariant_network() -> None:
    torch.manual_seed(0)
    layer = RCPSConv1d(4, 3, 3, source="reversal").double()
    net = torch.nn.Sequential(layer, torch.nn.ReLU(), torch.nn.Flatten(1))
    x = torch.randn(2, 4, 7).double()
    for merge in ("mean", "max"):
        own = Conjoined(net, inputs=["reversal"], outputs=["reversal"], merge=merge)
        assert torch.allclose(own(x), net(x))
