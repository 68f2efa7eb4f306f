"""Whole networks at random: the converted network is the conjoined one, in every layout, and stays equivariant."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from hypothesis import HealthCheck, given, settings
from torch import Tensor, nn

from rcproof.convert import ConvertConfig, convert
from rcproof.nn import couple
from rcproof.strand import rc
from rcproof.testing import DrawnNetwork, networks
from tests.convert import holding
from tests.strategies import normal, seeds

# Wider than the table's 1e-12: a norm over two or three numbers may magnify rounding a thousandfold. Absolute as well,
# since a random network may be constant, or odd under ρ, and then its exact answer or its gradient is zero.
RELATIVE, ABSOLUTE = 1e-9, 1e-11
slow_to_draw = [HealthCheck.too_slow, HealthCheck.data_too_large]


def agree(got: Sequence[Tensor], want: Sequence[Tensor], what: str) -> None:
    for i, (a, b) in enumerate(zip(got, want, strict=True)):
        assert a.shape == b.shape
        assert torch.isfinite(b).all()
        err, size = (a - b).abs().max().item(), b.abs().max().item()
        assert err <= RELATIVE * size + ABSOLUTE, f"{what} {i}: {err} of {size}"


def run(model: nn.Module, xs: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Outputs, and input gradients of a fixed random functional of them."""
    leaves = [x.clone().requires_grad_() for x in xs]
    ys = list(holding.flatten(model(*leaves)).values())
    weights = [normal(i, *y.shape) for i, y in enumerate(ys)]
    found = torch.autograd.grad(ys, leaves, weights, allow_unused=True)
    grads = [torch.zeros_like(x) if g is None else g for x, g in zip(xs, found, strict=True)]
    return [y.detach() for y in ys], grads


def same_function(a: nn.Module, b: nn.Module, xs: Sequence[Tensor], what: str) -> None:
    (want, want_grads), (got, got_grads) = run(a, xs), run(b, xs)
    agree(got, want, f"{what}: output")
    agree(got_grads, want_grads, f"{what}: gradient")


@settings(max_examples=120, suppress_health_check=slow_to_draw)
@given(networks(), seeds)
def test_equivalence_in_every_layout(program: DrawnNetwork, seed: int) -> None:
    """T5, outputs and input gradients, and every parameter tied."""
    model = program.conjoined()
    before = holding.state_of(model)
    conversion = convert(model, ConvertConfig(input_shapes=program.shapes, verify=False))
    assert holding.state_of(model) == before
    assert conversion.certificate.lifted == ()
    network = conversion.model
    assert set(network.state_dict()) == set(program.net.state_dict())
    xs = program.draw(seed)
    agree(list(holding.by_hand(model, *xs).values()), run(model, xs)[0], "by hand")
    for layout in holding.LAYOUTS:
        same_function(model, network.set_layout(layout), xs, layout)


@settings(max_examples=80, suppress_health_check=slow_to_draw)
@given(networks(), seeds)
def test_coupled_networks_are_equivariant_in_every_layout(program: DrawnNetwork, seed: int) -> None:
    """T7: first the same function; then, with random cross-strand weights, one function in every layout."""
    model = program.conjoined()
    plain = convert(model, ConvertConfig(input_shapes=program.shapes, verify=False)).model
    network = couple(plain)
    xs = program.draw(seed)
    same_function(model, network, xs, "coupled")
    torch.manual_seed(seed)
    for p in network.parameters():
        nn.init.normal_(p, std=max(p[0].numel(), 1) ** -0.5 if p.dim() > 1 else 1.0)
    batched = copy.deepcopy(network).set_layout("batched")
    for layout in ("auto", "stacked"):
        same_function(batched, network.set_layout(layout), xs, layout)
        mine = run(network, xs)[0]
        other = run(network, [rc(x, r) for x, r in zip(xs, program.inputs, strict=True)])[0]
        agree(other, [rc(y, r) for y, r in zip(mine, program.outputs, strict=True)], f"{layout}: equivariance")
