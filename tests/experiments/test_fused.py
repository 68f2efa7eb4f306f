"""The joined training steps against torch's own, in float64: answers, gradients, running statistics, eval."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rcproof.errors import RcproofError
from rcproof.experiments import fused
from rcproof.experiments.strategies import network, started, strategies_of, strategy
from rcproof.models import build
from rcproof.network import Network

pytest.importorskip("numba", reason="the joined steps are compiled by numba, which is not installed")

from rcproof.experiments import kernels, stages

SIZES: dict[str, dict[str, Any]] = {
    "simulated": {"length": 63, "tasks": 3, "filters": 6, "kernel_size": 7, "pool_size": 10, "pool_stride": 10},
    "binary": {"length": 70, "filters": 6, "kernel_sizes": (5, 4, 4), "pool_size": 20, "pool_stride": 9},
    "profile": {"length": 130, "filters": 16, "dilated_layers": 2, "profile_kernel_size": 17, "n_control": 2},
    "no control": {"length": 130, "filters": 16, "dilated_layers": 2, "profile_kernel_size": 17, "n_control": 0},
}
#: The simulated network on sequences with an unknown letter, which are not looked up.
SIZES["unknown letters"] = SIZES["simulated"]
KINDS = {"no control": "profile", "unknown letters": "simulated"}
CASES = [
    (sizes, name)
    for sizes in SIZES
    for name in strategies_of(KINDS.get(sizes, sizes))
    if strategy(name).kind != "evaluated"
]
#: float32 against float64; a relu whose argument is within rounding of zero may go the other way.
NEAR = 2e-5


def model_of(sizes: str, name: str) -> nn.Module:
    """An untrained network of a strategy with scales of both signs in its batch norms."""
    kind = KINDS.get(sizes, sizes)
    found = strategy(name)
    if found.kind == "trained":
        model = network(kind, found, 3, SIZES[sizes])
    else:
        model = started(found, build(kind, "standard", seed=5, **SIZES[sizes]))
    torch.manual_seed(7)
    with torch.no_grad():
        for module in model.modules():
            if "Norm" in type(module).__name__:
                for tensor, low, high in (
                    (module.weight, -1.5, 1.5), (module.bias, -0.5, 0.5),
                    (module.running_mean, -0.3, 0.3), (module.running_var, 0.5, 2.0),
                ):  # fmt: skip
                    assert isinstance(tensor, Tensor)
                    tensor.uniform_(low, high)
    return model


def inputs_of(sizes: str, rows: int = 9) -> tuple[Tensor, ...]:
    length = SIZES[sizes]["length"]
    torch.manual_seed(11)
    dna = nn.functional.one_hot(torch.randint(0, 4, (rows, length)), 4).float().transpose(1, 2)
    if sizes == "unknown letters":
        dna[rows // 2, :, length // 3] = 0.25
    if not SIZES[sizes].get("n_control"):
        return (dna,)
    net = build("profile", "standard", seed=0, **SIZES[sizes])
    shapes = net.input_shapes()[1:]  # type: ignore[operator]
    return (dna, *(torch.rand(rows, *shape) for shape in shapes))


def outcome(model: nn.Module, inputs: tuple[Tensor, ...], fast: bool, dtype: torch.dtype) -> dict[str, Tensor]:
    """Everything that a training step does: answers, gradients, buffers; and the answers in eval after it."""
    frozen = any(not p.requires_grad for p in model.parameters())
    model = copy.deepcopy(model).to(dtype).train(not frozen)
    if isinstance(model, Network):
        model.set_layout("batched" if fast else "stacked")
    inputs = tuple(x.to(dtype) for x in inputs)

    def answers() -> tuple[Tensor, ...]:
        y = fused.run(model, *inputs) if fast else model(*inputs)
        return y if isinstance(y, tuple) else (y,)

    found = {f"answer {i}": y for i, y in enumerate(answers())}
    sum((y * torch.arange(1, y.numel() + 1, dtype=dtype).cos().view(y.shape)).sum() for y in found.values()).backward()
    found |= {f"gradient of {n}": p.grad for n, p in model.named_parameters() if p.grad is not None}
    found |= {f"buffer {n}": b for n, b in model.named_buffers()}
    model.eval()
    with torch.no_grad():
        found |= {f"eval {i}": y for i, y in enumerate(answers())}
    return {name: value.detach().double() for name, value in found.items()}


def worst(sizes: str, name: str) -> tuple[float, str]:
    """The largest difference between joined steps and torch's in float64, over the size of what is compared."""
    model, inputs = model_of(sizes, name), inputs_of(sizes)
    want, found = outcome(model, inputs, False, torch.float64), outcome(model, inputs, True, torch.float32)
    assert want.keys() == found.keys()
    scale = {k: max(float(v.abs().max()), 1.0) for k, v in want.items()}  # some gradients are exactly zero
    return max((float((found[k] - v).abs().max()) / scale[k], k) for k, v in want.items())


@pytest.mark.parametrize(("sizes", "name"), CASES)
def test_same_step(sizes: str, name: str) -> None:
    error, where = worst(sizes, name)
    assert error < NEAR, where


def _unsigned(z: Any, sign: Any, *rest: Any) -> None:
    _EXTREMES(z, abs(sign), *rest)


def _unreversed(s: Any, out: Any) -> None:
    half, channels = len(s) // 2, s.shape[2]
    out[:, :, :channels] = s
    out[:half, :, channels:], out[half:, :, channels:] = s[half:, ::-1], s[:half, ::-1]


def _no_other(g: Any, ds: Any) -> None:
    ds[:] = g[:, :, : ds.shape[2]]


def _uncentred(z: Any, mean: Any, square: Any) -> None:
    _MOMENTS(z, mean, square)
    square += mean**2


def _no_slope(*args: Any) -> None:
    *rest, slope, dz = args
    _BACK(*rest, 0 * slope, dz)


def _no_pooled_slope(*args: Any) -> None:
    *rest, slope, dz = args
    _POOLED_BACK(*rest, 0 * slope, dz)


def _one_tap(x: Any, w: Any, bias: Any, y: Any) -> None:
    only = np.zeros_like(w)
    only[:, 0] = w[:, 0]
    _WINDOWS(x, only, bias, y)


def _late(dy: Any, w: Any, dx: Any) -> None:
    _WINDOWS_BACK(dy[:, :, ::-1].copy(), w, dx)


def _no_last(dy: Any, x: Any, dw: Any) -> None:
    _WINDOWS_SUMS(dy[:, :, :-1].copy(), x, dw)


def _from_the_first(x: Any, z: Any, start: int, y: Any) -> None:
    _SKIP(x, z, 0, y)


def _through_the_relu(g: Any, z: Any, start: int, dx: Any, dz: Any) -> None:
    _SKIP_BACK(g, z, start, dx, dz)
    dz[:] = g


_SKIP, _SKIP_BACK = kernels.skip_relu, kernels.skip_relu_back
_EXTREMES, _MOMENTS, _BACK = kernels.extremes, kernels.moments, kernels.affine_relu_back
_POOLED_BACK, _WINDOWS = kernels.extremes_back, kernels.windows
_WINDOWS_BACK, _WINDOWS_SUMS = kernels.windows_back, kernels.windows_sums

#: By what is broken: the kernel, its broken form, and a network that uses it.
MUTANTS = {
    "pooling forgets that a scale may be negative": ("extremes", _unsigned, "unknown letters", "standard"),
    "the other strand is not reversed in its channels": ("partners", _unreversed, "binary", "rcps"),
    "no gradient flows to the other strand": ("partners_back", _no_other, "binary", "rcps"),
    "variance about zero": ("moments", _uncentred, "unknown letters", "conjoined"),
    "statistics are constants of the gradient": ("affine_relu_back", _no_slope, "binary", "standard"),
    "the same behind a pooling": ("extremes_back", _no_pooled_slope, "unknown letters", "standard"),
    "what is skipped is cropped at one end": ("skip_relu", _from_the_first, "profile", "rcps"),
    "a relu before a sum passes every gradient": ("skip_relu_back", _through_the_relu, "no control", "conjoined"),
    "a profile head of one tap": ("windows", _one_tap, "profile", "standard"),
    "a profile head's gradient from the other end": ("windows_back", _late, "profile", "standard"),
    "a profile head's weights without the last position": ("windows_sums", _no_last, "profile", "standard"),
}


@pytest.mark.parametrize("what", MUTANTS)
def test_mutant_is_caught(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, broken, sizes, name = MUTANTS[what]
    monkeypatch.setattr(kernels, kernel, broken)
    assert worst(sizes, name)[0] > 10 * NEAR


def test_pieces_join(monkeypatch: pytest.MonkeyPatch) -> None:
    """A first convolution in pieces of two rows and a last one of one; without batch norm, too."""
    for sizes, name, row in (
        ("unknown letters", "standard", 6 * 57), ("binary", "conjoined", 6 * 57), ("profile", "rcps", 6 * 57),
        ("profile", "standard", 16 * 130),
    ):  # fmt: skip
        monkeypatch.setattr(stages, "PIECE", 2 * 4 * row)
        error, where = worst(sizes, name)
        assert error < NEAR, where


def test_kernel_gradient_does_not_cross_examples() -> None:
    torch.manual_seed(0)
    x, dz = torch.randn(3, 11, 2), torch.zeros(3, 11, 4)
    dz[:, :8] = torch.randn(3, 8, 4)
    total = torch.zeros(8, 4)
    stages._kernel_gradient(x, dz, 4, total)
    want = torch.stack([torch.einsum("nla,nlc->ac", x[:, k : k + 8], dz[:, :8]) for k in range(4)])
    torch.testing.assert_close(total.view(4, 2, 4), want)


class _ReadTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        return torch.relu(y).sum() + nn.functional.relu(y).sum()


def test_batch_norm_read_twice_is_refused() -> None:
    with pytest.raises(RcproofError, match="a batch norm that is read twice") as caught:
        fused.run(_ReadTwice(), torch.randn(2, 3, 5))
    assert "the relu after it alone" in str(caught.value)


@pytest.mark.parametrize("options", [{"padding": 1}, {"stride": 2}, {"groups": 2}])
def test_other_options_run_as_they_are(options: dict[str, int]) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(4, 6, 3, **options), nn.BatchNorm1d(6), nn.ReLU(), nn.MaxPool1d(3, ceil_mode=True))  # type: ignore[arg-type]
    x = torch.randn(5, 4, 20)
    torch.testing.assert_close(fused.run(net, x), copy.deepcopy(net)(x), atol=1e-5, rtol=1e-5)


def test_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "AVAILABLE", False)
    net = build("simulated", "standard", seed=1, length=200)
    x = inputs_of("simulated")[0].repeat(1, 1, 4)[:, :, :200]
    assert torch.equal(fused.run(net, x), copy.deepcopy(net)(x))
