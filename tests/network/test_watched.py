"""Converted and coupled networks under what watches or rewrites operations: compile, transforms, autocast, export."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from rcproof.network.network import Network
from tests.network.test_execution import make, outputs

NAMES = ("binary", "binary coupled", "profile", "profile coupled")


@pytest.fixture(params=NAMES)
def network(request: pytest.FixtureRequest) -> Network:
    return make(request.param)[0].float()


@pytest.fixture
def xs(request: pytest.FixtureRequest, network: Network) -> tuple[Tensor, ...]:
    return tuple(x.float() for x in make(request.node.callspec.params["network"])[1])


def loss(value: Any) -> Tensor:
    return torch.stack([y.float().square().mean() for y in outputs(value)]).sum()


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_whole(network: Network, xs: tuple[Tensor, ...], backend: str) -> None:
    torch.compiler.reset()
    compiled = torch.compile(network, fullgraph=True, backend=backend)
    with torch.no_grad():
        torch.testing.assert_close(outputs(compiled(*xs)), outputs(network(*xs)), rtol=1e-4, atol=1e-5)
    plain, training = copy.deepcopy(network).train(), network.train()
    loss(torch.compile(training, fullgraph=True, backend=backend)(*xs)).backward()
    loss(plain(*xs)).backward()
    for p, q in zip(training.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-5)


def test_function_transforms(network: Network, xs: tuple[Tensor, ...]) -> None:
    parameters, buffers = dict(network.named_parameters()), dict(network.named_buffers())

    def by_parameters(p: dict[str, Tensor], *inputs: Tensor) -> Tensor:
        return loss(torch.func.functional_call(network, (p, buffers), inputs))

    grads = torch.func.grad(by_parameters)(parameters, *xs)
    loss(network(*xs)).backward()
    for name, p in network.named_parameters():
        torch.testing.assert_close(grads[name], torch.zeros_like(p) if p.grad is None else p.grad)
    each = torch.func.vmap(torch.func.grad(by_parameters), (None, *(0 for _ in xs)))(
        parameters, *(x[:, None] for x in xs)
    )
    for name, g in grads.items():
        torch.testing.assert_close(each[name].mean(0), g, rtol=1e-3, atol=1e-5)


def test_autocast_and_bfloat16(network: Network, xs: tuple[Tensor, ...]) -> None:
    with torch.no_grad():
        exact = outputs(network(*xs))
        with torch.autocast("cpu", torch.bfloat16):
            for a, b in zip(outputs(network(*xs)), exact, strict=True):
                assert float((a.float() - b).abs().max()) <= 0.1 * float(b.abs().max())
        low = copy.deepcopy(network).bfloat16()
        for a, b in zip(outputs(low(*(x.bfloat16() for x in xs))), exact, strict=True):
            assert a.dtype == torch.bfloat16
            assert float((a.float() - b).abs().max()) <= 0.1 * float(b.abs().max())
    with torch.autocast("cpu", torch.bfloat16):
        loss(network.train()(*xs)).backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in network.parameters() if p.grad is not None)


def test_exported(network: Network, xs: tuple[Tensor, ...]) -> None:
    program = torch.export.export(network, xs)
    torch.testing.assert_close(outputs(program.module()(*xs)), outputs(network(*xs)), rtol=1e-4, atol=1e-5)
