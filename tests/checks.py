"""Checks of one layer, as small functions: the real layers pass them and the mutants must not.

A check raises AssertionError. Comparisons are relative to the largest value of the reference and written
``not (err <= tol)``, so that NaN fails. :func:`equivariance` is never used alone: an all-zero layer passes it.
What a layer should compute is spelled out here with ``rc``, ``stack`` and the plain torch layer, and with numpy
loops; nothing of ``rcproof.nn`` is used for it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from rcproof.nn import TiedLayer, couple, to_batched, to_stacked
from rcproof.strand import RepresentationLike, rc, stack, unstack

RTOL = 1e-12  # float64: a few thousand roundings
Function = Callable[[Tensor], Tensor]


def close(got: Tensor, want: Tensor, rtol: float = RTOL, what: str = "output") -> None:
    """Same shape and dtype, all finite, largest difference at most rtol times the largest value."""
    assert got.shape == want.shape, f"{what}: shape {tuple(got.shape)}, expected {tuple(want.shape)}"
    assert got.dtype == want.dtype, f"{what}: {got.dtype}, expected {want.dtype}"
    if not want.numel():
        return
    assert torch.isfinite(want).all(), f"{what}: the reference is not finite"
    err, size = (got.double() - want.double()).abs().max().item(), want.double().abs().max().item()
    if not (err <= rtol * size):
        raise AssertionError(f"{what}: differs by {err:.3g}, largest value {size:.3g}, tolerance {rtol:.0e}")


def _run(f: Function, x: Tensor, params: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Value, and gradients by input and parameters of ⟨value, a fixed random tensor⟩."""
    x = x.detach().clone()
    leaves = list(params)
    if x.is_floating_point():
        leaves.insert(0, x.requires_grad_())
    y = f(x)
    if not leaves:
        return y, []
    # No strategy draws this seed: the gradient of ⟨norm(x), x⟩ is all but zero.
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(0xDEADBEEF), dtype=y.dtype)
    found = torch.autograd.grad(y, leaves, weight, allow_unused=True)
    return y.detach(), [torch.zeros_like(v) if g is None else g for v, g in zip(leaves, found, strict=True)]


def same(
    f: Function,
    g: Function,
    x: Tensor,
    f_params: Sequence[Tensor] = (),
    g_params: Sequence[Tensor] = (),
    rtol: float = RTOL,
) -> None:
    """f is g: values, and gradients by the input and by parameters that correspond."""
    got, got_grads = _run(f, x, f_params)
    want, want_grads = _run(g, x, g_params)
    close(got, want, rtol)
    for i, (a, b) in enumerate(zip(got_grads, want_grads, strict=True)):
        close(a, b, rtol, f"gradient {i}")


def equivariance(
    layer: Function,
    x: Tensor,
    source: RepresentationLike = "reversal",
    target: RepresentationLike = "reversal",
    rtol: float = RTOL,
) -> None:
    """layer(ρx) = ρ layer(x). Never alone."""
    close(layer(rc(x, source)), rc(layer(x), target), rtol, "equivariance")


def on_each_strand(
    plain: nn.Module, source: RepresentationLike | None = None, pooled: bool = False
) -> Callable[[Tensor], Tensor]:
    """x ↦ stack(plain(a), plain(b)); ``pooled`` runs both strands as one batch (batch statistics)."""

    def run(x: Tensor) -> Tensor:
        a, b = unstack(x) if source is None else (x, rc(x, source))
        if pooled:
            ya, yb = plain(torch.cat([a, b])).chunk(2)
        else:
            ya, yb = plain(a), plain(b)
        return stack(ya, yb)

    return run


def share_weights(layer: nn.Module, plain: nn.Module) -> None:
    """The plain layer's state dict goes into the tied layer as it is."""
    assert set(layer.state_dict()) == set(plain.state_dict())
    layer.load_state_dict(plain.state_dict(), strict=True)


def same_buffers(layer: nn.Module, plain: nn.Module, rtol: float = RTOL) -> None:
    theirs = dict(plain.named_buffers())
    assert set(theirs) == {name for name, _ in layer.named_buffers()}
    for name, value in layer.named_buffers():
        close(value, theirs[name], rtol, name)


def lift(layer: nn.Module, plain: nn.Module, x: Tensor, pooled: bool = False, rtol: float = RTOL) -> None:
    """The layer is the plain one on each strand: outputs, gradients, and buffers afterwards."""
    reference = on_each_strand(plain, getattr(layer, "source", None), pooled)
    same(layer, reference, x, list(layer.parameters()), list(plain.parameters()), rtol)
    same_buffers(layer, plain, rtol)


def renderings(layer: TiedLayer, x: Tensor, rtol: float = RTOL) -> None:
    """Stacked and batched renderings of one set of weights agree: outputs, gradients, buffers afterwards."""
    other = copy.deepcopy(layer)

    def through_batch(v: Tensor) -> Tensor:
        return to_stacked(other.batched(to_batched(v, other.source)))

    same(layer, through_batch, x, list(layer.parameters()), list(other.parameters()), rtol)
    same_buffers(layer, other, rtol)


def with_zero_coupling(layer: TiedLayer) -> TiedLayer:
    """The coupled layer with weights [A, 0]."""
    coupled = type(layer)(**{**layer.config(), "coupled": True}).to(next(layer.parameters()).dtype)
    weight = layer.get_parameter("weight").detach()
    groups = getattr(layer, "groups", 1) if layer.coupling_axis == 0 else 1  # transposed: B follows A in each group
    axis = layer.coupling_axis if groups == 1 else 1
    grouped = weight.unflatten(0, (groups, -1)) if groups > 1 else weight
    full = torch.cat([grouped, torch.zeros_like(grouped)], dim=axis)
    state = {**layer.state_dict(), "weight": full.flatten(0, 1) if groups > 1 else full}
    coupled.load_state_dict(state, strict=True)
    return coupled.train(layer.training)


def coupled_with_zeros(layer: TiedLayer, x: Tensor, rtol: float = RTOL) -> None:
    """B = 0 changes nothing, in either rendering; the input's gradient included. ``couple`` builds the same."""
    coupled = with_zero_coupling(layer)
    same(coupled, layer, x, rtol=rtol)
    assert torch.equal(couple(layer).get_parameter("weight"), coupled.get_parameter("weight"))
    renderings(coupled, x, rtol)


def config(layer: TiedLayer) -> None:
    """``config()`` is plain JSON that rebuilds the layer: same shapes, same config, same repr."""
    text = json.dumps(layer.config())
    again = type(layer)(**json.loads(text))
    assert json.dumps(again.config()) == text
    assert repr(again) == repr(layer)
    shapes = {k: v.shape for k, v in layer.state_dict().items()}
    assert {k: v.shape for k, v in again.state_dict().items()} == shapes


def everything(layer: TiedLayer, plain: nn.Module, x: Tensor, pooled: bool = False, rtol: float = RTOL) -> None:
    """All that an uncoupled layer must satisfy."""
    share_weights(layer, plain)
    lift(layer, plain, x, pooled, rtol)
    renderings(layer, x, rtol)
    equivariance(layer, x, layer.source or "reversal", rtol=rtol)


def merged(layer: Function, x: Tensor, mode: str, output: RepresentationLike) -> None:
    """merge(a, ρ_out b), bit for bit, and equivariant."""
    a, b = unstack(x)
    other = rc(b, output)
    want = {"mean": (a + other) / 2, "sum": a + other, "max": torch.maximum(a, other)}[mode]
    close(layer(x), want, 0.0)
    equivariance(layer, x, target=output, rtol=0.0)


def shared_dropout(layer: nn.Module, x: Tensor, p: float) -> None:
    """In training one mask lies on both strands, in each one's orientation; in eval nothing happens."""
    layer.train()

    def seeded(v: Tensor) -> Tensor:
        torch.manual_seed(3)
        return layer(v)

    (a, b), (ya, yb) = unstack(x), unstack(seeded(x))
    assert ((ya == 0) == (yb == 0)).all(), "the strands' masks differ"
    kept = ya != 0
    assert kept.any(), "everything was dropped"
    assert not kept.all(), "nothing was dropped"
    close(ya[kept], a[kept] / (1 - p))
    close(yb[kept], b[kept] / (1 - p))
    equivariance(seeded, x)
    layer.eval()
    close(layer(x), x, 0.0)


def _numpy(x: Tensor) -> np.ndarray:
    return x.detach().numpy()


def _both_strands(run: Callable[[np.ndarray, np.ndarray], np.ndarray], x: Tensor) -> Tensor:
    """stack(run(a, ρb), run(b, ρa)) with numpy alone."""

    def rho(v: np.ndarray) -> np.ndarray:
        return np.flip(v, axis=tuple(range(1, v.ndim)))

    values = _numpy(x)
    half = values.shape[1] // 2
    a, rho_b = values[:, :half], values[:, half:]
    return torch.from_numpy(np.concatenate([run(a, rho_b), rho(run(rho(rho_b), rho(a)))], axis=1))


def coupled_conv_reference(x: Tensor, layer: nn.Module, pads: tuple[int, int]) -> Tensor:
    """The coupled convolution by explicit loops over examples, channels, positions and taps."""
    weight, bias = _numpy(layer.weight), None if layer.bias is None else _numpy(layer.bias)
    stride, dilation, groups = layer.stride, layer.dilation, layer.groups
    mode = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}[layer.padding_mode]
    out, both, taps = weight.shape
    per_group = both // 2

    def run(own: np.ndarray, other: np.ndarray) -> np.ndarray:
        own, other = (np.pad(v, ((0, 0), (0, 0), pads), mode=mode) for v in (own, other))
        length = (own.shape[2] - dilation * (taps - 1) - 1) // stride + 1
        y = np.zeros((own.shape[0], out, length))
        for n, f, i in np.ndindex(*y.shape):
            first = f // (out // groups) * per_group
            total = 0.0 if bias is None else bias[f]
            for c in range(per_group):
                for k in range(taps):
                    at = i * stride + k * dilation
                    total += weight[f, c, k] * own[n, first + c, at]
                    total += weight[f, per_group + c, k] * other[n, first + c, at]
            y[n, f, i] = total
        return y

    return _both_strands(run, x)


def coupled_transpose_reference(x: Tensor, layer: nn.Module) -> Tensor:
    """The coupled transposed convolution by explicit loops; one group."""
    weight, bias = _numpy(layer.weight), None if layer.bias is None else _numpy(layer.bias)
    inputs, out, taps = weight.shape[0] // 2, weight.shape[1], weight.shape[2]

    def run(own: np.ndarray, other: np.ndarray) -> np.ndarray:
        full = (own.shape[2] - 1) * layer.stride + layer.dilation * (taps - 1) + 1
        y = np.zeros((own.shape[0], out, full + layer.output_padding))
        for n, c, i, f, k in np.ndindex(own.shape[0], inputs, own.shape[2], out, taps):
            at = i * layer.stride + k * layer.dilation
            y[n, f, at] += weight[c, f, k] * own[n, c, i] + weight[inputs + c, f, k] * other[n, c, i]
        y = y[:, :, layer.padding : y.shape[2] - layer.padding]
        return y if bias is None else y + bias[None, :, None]

    return _both_strands(run, x)


def coupled_linear_reference(x: Tensor, layer: nn.Module) -> Tensor:
    """The coupled dense layer by explicit loops."""
    weight, bias = _numpy(layer.weight), None if layer.bias is None else _numpy(layer.bias)
    inputs = weight.shape[1] // 2

    def run(own: np.ndarray, other: np.ndarray) -> np.ndarray:
        y = np.zeros((own.shape[0], weight.shape[0]))
        for n, f in np.ndindex(*y.shape):
            total = 0.0 if bias is None else bias[f]
            for c in range(inputs):
                total += weight[f, c] * own[n, c] + weight[f, inputs + c] * other[n, c]
            y[n, f] = total
        return y

    return _both_strands(run, x)


def coupled_weighted_sum_reference(x: Tensor, layer: nn.Module) -> Tensor:
    """The coupled weighted sum by explicit loops; column l and column L−1−l are one where symmetric."""
    weight, bias = _numpy(layer.weight), None if layer.bias is None else _numpy(layer.bias)
    channels, length = layer.channels, layer.length

    def run(own: np.ndarray, other: np.ndarray) -> np.ndarray:
        y = np.zeros((own.shape[0], channels))
        for n, f in np.ndindex(*y.shape):
            total = 0.0 if bias is None else bias[f]
            for i in range(length):
                j = min(i, length - 1 - i) if layer.symmetric else i
                total += weight[f, j] * own[n, f, i] + weight[channels + f, j] * other[n, f, i]
            y[n, f] = total
        return y

    return _both_strands(run, x)
