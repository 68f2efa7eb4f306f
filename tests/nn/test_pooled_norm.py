"""Batch norm of stacked tensors in training: pooled statistics, nothing moved, against the doubled batch (T10)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from rcproof.nn import RCPSBatchNorm1d, pooled_norm
from rcproof.nn import norm as norms
from rcproof.nn.base import to_batched, to_stacked
from rcproof.nn.pooled_norm import PooledBatchNorm, as_image, fold
from rcproof.strand import tie

Case = tuple[Tensor, Tensor, Tensor]
SHAPES = [(3, 6, 5), (4, 6), (1, 2, 2), (2, 8, 1)]


def case(shape: tuple[int, ...], innermost: bool = False) -> Case:
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64) * 3 + 1
    if innermost and x.dim() == 3:
        x = x.unsqueeze(2).contiguous(memory_format=torch.channels_last).squeeze(2)
    half = shape[1] // 2
    return (
        x.requires_grad_(),
        torch.rand(half, dtype=torch.float64, requires_grad=True),
        torch.randn(half, dtype=torch.float64, requires_grad=True),
    )


def run(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    y: Tensor = PooledBatchNorm.apply(x, w, b, 1e-3)[0]  # type: ignore[no-untyped-call]
    return y


@pytest.mark.parametrize("innermost", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_and_their_gradients(shape: tuple[int, ...], innermost: bool) -> None:
    inputs = case(shape, innermost)
    assert torch.autograd.gradcheck(run, inputs)
    if not innermost:
        assert torch.autograd.gradgradcheck(run, inputs)


def agree(shape: tuple[int, ...] = (3, 6, 5), innermost: bool = False, steps: int = 3, **options: Any) -> None:
    """Outputs, gradients and statistics of the layer and of the plain one on the doubled batch, over several steps."""
    pooled = RCPSBatchNorm1d(shape[1] // 2, dtype=torch.float64, **options)
    plain = RCPSBatchNorm1d(shape[1] // 2, dtype=torch.float64, **options)
    for i in range(steps):
        x = case(shape, innermost)[0].detach() * (i + 1)
        a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
        y, z = pooled(a), to_stacked(plain.batched(to_batched(b)))
        torch.testing.assert_close(y, z)
        weight = torch.randn_like(y)
        (y * weight).sum().backward()
        (z * weight).sum().backward()
        torch.testing.assert_close(a.grad, b.grad)
    for p, q in zip(pooled.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)
    for p, q in zip(pooled.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(p, q)


OPTIONS = [{}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}]


@pytest.mark.parametrize("least", [0, 1 << 30], ids=["pooled", "moved"])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_is_the_plain_layer_on_the_doubled_batch(
    shape: tuple[int, ...], options: dict[str, Any], least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(norms, "_LEAST_POOLED", least)
    agree(shape, **options)
    if len(shape) == 3:
        agree(shape, innermost=True, **options)


def test_fold_is_the_transpose_of_tie() -> None:
    a, b = torch.randn(4), torch.randn(8)
    assert torch.allclose(tie(a) @ b, a @ fold(b))


def test_layout_is_kept() -> None:
    x, w, b = case((3, 6, 5), innermost=True)
    assert as_image(x).dim() == 4 and run(x, w, b).stride() == x.stride()


def _unpooled_variance(v: Tensor) -> Tensor:
    return fold(v).roll(1)


MUTANTS: dict[str, tuple[str, Callable[..., Any]]] = {
    "mirror not mirrored": ("fold", lambda v: v[: v.shape[0] // 2] + v[v.shape[0] // 2 :]),
    "one strand alone": ("fold", lambda v: v[: v.shape[0] // 2] * 2),
    "wrong pairs": ("fold", _unpooled_variance),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_are_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(norms, "_LEAST_POOLED", 0)
    agree()
    attribute, mutant = MUTANTS[name]
    monkeypatch.setattr(pooled_norm, attribute, mutant)
    with pytest.raises(AssertionError):
        agree()
