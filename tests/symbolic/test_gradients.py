"""T8: gradients of RCPS networks are conjoined gradients; false variants are refused; torch agrees."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import nn

from rcproof.conjoined import Conjoined
from rcproof.convert import ConvertConfig, convert
from rcproof.nn import couple
from rcproof.symbolic import differentiated
from rcproof.symbolic.checker import check
from rcproof.symbolic.coupling import OTHER, OWN, G, K, L, N, d, p, s
from rcproof.symbolic.differentiated import Dual, relu, slope_by_b
from rcproof.symbolic.evaluate import World
from rcproof.symbolic.gradients import STATEMENTS
from rcproof.symbolic.statements import run
from rcproof.symbolic.terms import Add
from tests.symbolic.variants import (
    END,
    NO_EQUATION,
    Variant,
    assert_covered,
    assert_refused,
    assert_replays,
    assert_true_at_small_sizes,
    by_name,
    context,
    named,
    negated,
    read,
    rename,
    scaled,
    sides,
    without,
)

ALL = by_name(STATEMENTS["T8"])
OFF = (L, s * (N - 1) + d * (K - 1) + 2 - 2 * p)


def signs(world: World) -> Mapping[str, Any]:
    """±1, equal on exchanged channels."""
    table: dict[int, Fraction] = {}
    for a, b in enumerate(world.involutions.get("pi_in", ())):
        if a <= b:
            table[a] = table[b] = Fraction(world.rng.choice((-1, 1)))
    return {"sigma_in": lambda at: table.get(at[0], Fraction(1))}


def lemmas() -> Any:
    return {"own": check(*OWN), "other": check(*OTHER)}


def swapped(t: Any) -> Any:
    """Its two summands with the second left out and the first twice."""
    return Add((t.args[0], t.args[0]))


BY = {
    "T8.layer": [
        Variant("", "windows not centred", context(equal=(OFF,)), NO_EQUATION),
        Variant("", "the given strand twice", sides(swapped)),
        Variant("", "δ of the other strand not reversed", read("rhs", "delta", lambda o, i: (o, N - 1 - i))),
        Variant("", "without the other strand", sides(lambda t: t.args[0])),
    ],
    "T8.layer.conjoined": [
        Variant("", "a direction with a part in B", without("uncoupled"), NO_EQUATION),
        Variant("", "one strand counted twice", rename("rhs", "b", "a")),
        Variant("", "three times as much", scaled(3)),
        Variant("", "the gradients exchanged", rename("rhs", "delta_a", "delta_b")),
    ],
    "T8.inputs": [
        Variant("", "B free", without("uncoupled"), NO_EQUATION),
        Variant("", "the other strand's input", rename("rhs", "a", "b")),
        Variant("", "inputs read backwards", read("rhs", "a", lambda c, j: (G - 1 - c, j))),
    ],
    "T8.step.sgd": [
        Variant("", "gradients differ", without("gradients"), NO_EQUATION),
        Variant("", "weights differ", without("weights"), NO_EQUATION),
        Variant("", "gradient ascent", negated("gradients")),
        Variant("", "another rate", rename("rhs", "eta", "eta2")),
    ],
    "T8.step.entrywise": [
        Variant("", "states differ", without("states"), NO_EQUATION),
        Variant("", "gradients differ in sign", negated("gradients")),
        Variant("", "entries of another tap", read("rhs", "theta", lambda o, c, k: (o, c, k + 1)), END),
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


@pytest.mark.parametrize("change", ["weights shared", "a half too many"])
def test_another_network_has_other_gradients(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = differentiated.two_layers

    def wrong(first: Any, own: Any, other: Any, x: Any, sigma: Any) -> Any:
        return (
            right(first, own, own, x, sigma) if change == "weights shared" else right(first, own, other, x, sigma) / 2
        )

    monkeypatch.setattr(differentiated, "two_layers", wrong)
    assert run("T8", ALL["T8.network"]).status == "failed"


def test_no_slope_is_no_refutation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(differentiated, "slope_by_b", lambda *args: Fraction(0))
    assert run("T8", ALL["T8.coupling"]).reason == "∂loss/∂B was 0 wherever tried"


def test_dual_numbers_against_torch() -> None:
    for w, a, x, target in (((1, 0), 1, (1, 1), 0), ((2, -1), 3, (1, 2), 1), ((1, 1), -1, (0, 2), 2)):
        b = torch.zeros((), dtype=torch.float64, requires_grad=True)
        h = [torch.relu(torch.tensor(float(w[0] * y[0] + w[1] * y[1])).double()) for y in (x, x[::-1])]
        out = (torch.relu(a * h[0] + b * h[1]) + torch.relu(a * h[1] + b * h[0])) / 2
        ((out - target) ** 2 / 2).backward()
        assert b.grad is not None
        assert slope_by_b(w, a, x, target) == Fraction(b.grad.item())
    assert relu(Dual(Fraction(-1), Fraction(1))) == Dual(Fraction(0))
    assert 2 + Dual(Fraction(1)) * 3 == Dual(Fraction(5))


# -- the networks that the package makes ----------------------------------------------------------------------------


class Net(nn.Module):
    """Two convolutions and a dense head."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv1d(4, 3, 3), nn.Conv1d(3, 2, 2), nn.Linear(2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.second(torch.tanh(self.first(x)))).mean(2)
        return self.head(x)


def test_gradients_and_steps_of_a_converted_network() -> None:
    torch.manual_seed(0)
    source = Conjoined(Net().double(), inputs=["reversal"], outputs=["fixed"]).eval()
    model = couple(convert(copy.deepcopy(source), ConvertConfig(input_shapes=[(4, 9)])).model)
    x, y = torch.randn(5, 4, 9).double(), torch.randn(5, 1).double()
    names = {n.split(".")[-2] + "." + n.split(".")[-1]: q for n, q in source.named_parameters()}
    for _ in range(3):
        for net in (source, model):
            net.zero_grad()
            ((net(x) - y) ** 2).mean().backward()
        with torch.no_grad():
            for name, q in model.named_parameters():
                theta = names[".".join(name.split(".")[-2:])]
                assert q.grad is not None
                assert theta.grad is not None
                if q.shape == theta.shape:
                    assert torch.allclose(q.grad, theta.grad, atol=1e-12)
                    q -= 0.1 * q.grad
                else:  # coupled: [A, B] along the input channels
                    half = theta.shape[1]
                    assert torch.allclose(q.grad[:, :half], theta.grad, atol=1e-12)
                    assert q.grad[:, half:].abs().max() > 1e-6
                    q[:, :half] -= 0.1 * q.grad[:, :half]
                theta -= 0.1 * theta.grad
        assert torch.allclose(model(x), source(x), atol=1e-12)


def test_a_folded_half_takes_steps_four_times_as_large() -> None:
    torch.manual_seed(0)
    x, y, rate = torch.randn(7, 3).double(), torch.randn(7).double(), 0.01
    w = torch.randn(3).double().requires_grad_()
    v = (w.detach() / 2).requires_grad_()
    for weight, scale in ((w, 0.5), (v, 1.0)):
        ((x @ (weight * scale) - y) ** 2).mean().backward()
    assert w.grad is not None
    assert v.grad is not None
    assert torch.allclose(v.grad, 2 * w.grad)
    assert torch.allclose(2 * (v - rate * v.grad), w - 4 * rate * w.grad)
