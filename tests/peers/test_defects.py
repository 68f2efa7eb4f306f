"""Every defect that was measured in another package and that a layer of ours could have (PEERS.md).

Each test names what goes wrong there. They run in float64 unless the dtype is the point.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rcproof.nn import (
    Lifted,
    Merge,
    RCPSAdaptiveAvgPool1d,
    RCPSAdaptiveMaxPool1d,
    RCPSAvgPool1d,
    RCPSBatchNorm1d,
    RCPSConv1d,
    RCPSConvTranspose1d,
    RCPSDropout,
    RCPSDropout1d,
    RCPSEmbedding,
    RCPSGroupNorm,
    RCPSInstanceNorm1d,
    RCPSLayerNorm,
    RCPSLinear,
    RCPSLPPool1d,
    RCPSMaxPool1d,
    RCPSWeightedSum1d,
    StrandSum,
    TiedLayer,
)
from rcproof.strand import rc, strand_pairs, unstack
from tests import checks
from tests.strategies import normal, randomise

# One of each kind, for inputs of 4 channels per strand and 12 positions.
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "conv": lambda: RCPSConv1d(4, 3, 4, stride=3),
    "conv, coupled": lambda: RCPSConv1d(4, 3, 4, coupled=True, padding="same"),
    "conv, grouped": lambda: RCPSConv1d(4, 6, 3, groups=2, coupled=True),
    "transposed": lambda: RCPSConvTranspose1d(4, 3, 3, stride=2, coupled=True),
    "linear": lambda: RCPSLinear(12, 3, coupled=True),
    "batch norm": lambda: RCPSBatchNorm1d(4),
    "layer norm": lambda: RCPSLayerNorm((4, 12)),
    "group norm": lambda: RCPSGroupNorm(2, 4),
    "instance norm": lambda: RCPSInstanceNorm1d(4, affine=True, track_running_stats=True),
    "max pool": lambda: RCPSMaxPool1d(5),
    "average pool": lambda: RCPSAvgPool1d(5),
    "power pool": lambda: RCPSLPPool1d(2, 5),
    "adaptive max": lambda: RCPSAdaptiveMaxPool1d(5),
    "adaptive average": lambda: RCPSAdaptiveAvgPool1d(5),
    "weighted sum": lambda: RCPSWeightedSum1d(4, 12, coupled=True, bias=True),
    "dropout": lambda: RCPSDropout(0.5, "shared"),
    "dropout of channels": lambda: RCPSDropout1d(0.5),
    "lifted": lambda: Lifted(nn.Conv1d(4, 3, 3)),
    "strand sum": StrandSum,
    "merge": lambda: Merge("max", strand_pairs(2)),
}
every_layer = pytest.mark.parametrize("name", sorted(LAYERS))


def some_input(dtype: torch.dtype = torch.float64) -> Tensor:
    return normal(0, 3, 8, 12).to(dtype)


def target(layer: nn.Module) -> str:
    """How ρ acts on the output."""
    if isinstance(layer, StrandSum):
        return "fixed"
    return str(layer.output) if isinstance(layer, Merge) else "reversal"


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("kernel", [2, 4, 8])
def test_even_kernel_with_same_padding(kernel: int, dilation: int, coupled: bool) -> None:
    """rcps-pytorch is off by 2.8-3.6, equirc by 5.7, keras-genomics by 53-107; Caduceus shifts the strands."""
    options = {"padding": "same", "dilation": dilation}
    x = normal(kernel, 2, 6, 31)
    layer = randomise(RCPSConv1d(3, 4, kernel, **options, coupled=coupled), 1)
    assert layer(x).shape == (2, 8, 31)
    checks.equivariance(layer, x)
    if coupled:
        left = dilation * (kernel - 1) // 2
        checks.close(layer(x), checks.coupled_conv_reference(x, layer, (left, dilation * (kernel - 1) - left)))
    else:
        checks.everything(layer, randomise(nn.Conv1d(3, 4, kernel, **options), 1), x)


@pytest.mark.parametrize("length", [958, 959, 960, 961])
@pytest.mark.parametrize("stride", [20, 21])
def test_pooling_that_does_not_align(length: int, stride: int) -> None:
    """Off by 2-30 in every package that pools paired channels with a plain op; 960 / 40 / 20 happens to align."""
    x = normal(length, 2, 4, length)
    checks.everything(RCPSMaxPool1d(40, stride), nn.MaxPool1d(40, stride), x)
    checks.everything(RCPSAvgPool1d(40, stride), nn.AvgPool1d(40, stride), x)


@pytest.mark.parametrize("length", range(20, 26))
def test_strided_convolution_that_does_not_align(length: int) -> None:
    """As pooling."""
    layer, plain = RCPSConv1d(4, 3, 5, stride=4, source="reversal").double(), randomise(nn.Conv1d(4, 3, 5, stride=4), 0)
    checks.everything(layer, plain, normal(1, 2, 4, length))


@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("stride", [1, 3])  # 3 does not centre on 20 positions, so the mirrored op runs
def test_the_convolution_is_computed_once_and_so_is_the_bias(coupled: bool, stride: int) -> None:
    """keras-genomics computes 2·conv + b. It is equivariant, so only a comparison with the plain layer sees it."""
    layer = randomise(RCPSConv1d(4, 3, 3, stride=stride, source="reversal"), 0)
    x = normal(1, 2, 4, 20)
    checks.close(unstack(layer(x))[0], F.conv1d(x, layer.weight, None, stride) + layer.bias[:, None])
    inner = randomise(RCPSConv1d(2, 3, 3, stride=stride, coupled=coupled), 0)
    zero = torch.zeros(1, 4, 20, dtype=torch.float64)
    a, b = unstack(inner(zero))
    checks.close(a, inner.bias[:, None].expand_as(a), 0.0)
    checks.close(b, inner.bias[:, None].expand_as(b), 0.0)


def test_batch_norm_before_training() -> None:
    """equirc gives NaN in eval before training, and needs about 100 steps to become sensible."""
    layer = RCPSBatchNorm1d(4).double().eval()
    x = some_input()
    checks.close(layer(x), x, 1e-5)  # mean 0, variance 1
    layer.train()(x)
    assert torch.isfinite(layer.eval()(x)).all()


def test_running_buffers_hold_no_graph() -> None:
    """equirc keeps the autograd graph alive in a running buffer: 8001 nodes after 500 steps."""
    for name in ("batch norm", "instance norm"):
        layer = LAYERS[name]().double()
        for step in range(5):
            layer(normal(step, 3, 8, 12).requires_grad_()).sum().backward()
        for buffer in layer.buffers():
            assert buffer.grad_fn is None
            assert not buffer.requires_grad


@every_layer
def test_deepcopy_after_a_training_step(name: str) -> None:
    """equirc cannot be deep-copied after a train step."""
    layer = LAYERS[name]().double()
    x = some_input().requires_grad_()
    layer(x).square().sum().backward()
    with torch.no_grad():
        for p in layer.parameters():
            p -= 0.1 * p.grad
    again = copy.deepcopy(layer)
    checks.close(again.eval()(x), layer.eval()(x), 0.0)


@every_layer
def test_saved_whole_and_as_a_state_dict(name: str) -> None:
    """rcps-pytorch modules cannot be saved whole (a lambda attribute); pickles stop loading under weights_only."""
    layer = randomise(LAYERS[name](), 0).eval()
    whole, state = io.BytesIO(), io.BytesIO()
    torch.save(layer, whole)
    torch.save(layer.state_dict(), state)
    whole.seek(0)
    state.seek(0)
    x = some_input()
    checks.close(torch.load(whole, weights_only=False)(x), layer(x), 0.0)
    fresh = LAYERS[name]().double().eval()
    fresh.load_state_dict(torch.load(state, weights_only=True), strict=True)
    checks.close(fresh(x), layer(x), 0.0)


@every_layer
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_every_dtype(name: str, dtype: torch.dtype, rtol: float) -> None:
    """equirc fails in float64 and bf16 where its kernels are no buffers."""
    for mode in (True, False):
        layer = randomise(LAYERS[name](), 0).train(mode)
        x, exact = some_input(dtype), copy.deepcopy(layer)
        layer.to(dtype)
        torch.manual_seed(0)
        y = layer(x)
        assert y.dtype == dtype
        torch.manual_seed(0)
        if mode and isinstance(layer, RCPSDropout):
            continue  # the generator's draws depend on the dtype
        checks.close(y.double(), exact(x.double()), rtol)
        checks.equivariance(layer.eval(), x, target=target(layer), rtol=rtol)


def test_running_statistics_pool_the_strands() -> None:
    """Caduceus calls a wrapped batch norm once per strand: the mean is off by 3e-2 after one batch."""
    x = normal(0, 2, 8, 12)
    tied, other = RCPSBatchNorm1d(4).double(), RCPSBatchNorm1d(4).double()
    tied(x)
    other(rc(x))
    checks.same_buffers(tied, other)
    twice, swapped = nn.BatchNorm1d(4).double(), nn.BatchNorm1d(4).double()
    for strand in unstack(x):
        twice(strand)
    for strand in reversed(unstack(x)):
        swapped(strand)
    assert (twice.running_mean - swapped.running_mean).abs().max() > 1e-3  # what the other way of doing it gives


@pytest.mark.parametrize("masks", ["independent", "shared"])
@pytest.mark.parametrize("layer", [RCPSDropout, RCPSDropout1d])
def test_dropout_is_off_in_eval(layer: type[RCPSDropout], masks: str) -> None:
    """EUGENe's dropout stays on in eval."""
    x = some_input()
    checks.close(layer(0.9, masks).eval()(x), x, 0.0)


@every_layer
def test_length_reverses(name: str) -> None:
    """EUGENe BiConv1D never reverses length: no reverse-complement symmetry holds."""
    layer, x = randomise(LAYERS[name](), 0).eval(), some_input()
    checks.equivariance(layer, x, target=target(layer))
    if isinstance(layer, TiedLayer) and not isinstance(layer, StrandSum | Merge):
        checks.renderings(layer, x, 1e-11)


def test_plus_and_minus_swap_in_a_merged_profile() -> None:
    """gReLU reverses tracks but does not swap plus and minus tasks."""
    layer, x = Merge("mean", strand_pairs(1)), normal(0, 1, 4, 9)
    checks.close(layer(rc(x)), layer(x).flip(1, 2), 0.0)
    assert not torch.allclose(layer(rc(x)), layer(x).flip(2))


def test_every_mix_of_inputs_and_outputs_is_accepted() -> None:
    """equirc raises for 5000 of 9375 mixes of fields."""
    for source in ("reversal", "length", "fixed", "channels", "pairs:2", "perm:3,2,1,0", "perm:1,0,-2,-3", None):
        for outputs in (1, 2, 3):
            plain = randomise(nn.Conv1d(4, outputs, 3), 0)
            layer = RCPSConv1d(4, outputs, 3, source=source).double()
            checks.everything(layer, plain, normal(1, 2, 4 if source else 8, 10))


def test_a_sparse_alphabet_embeds_equivariantly() -> None:
    """Tokens with a padding code, which the packages with a language-model head hard-code."""
    layer = RCPSEmbedding(6, 3, "tokens:3,2,1,0,4,5", padding_idx=5).double()
    x = torch.tensor([[0, 4, 1, 5, 5]])
    checks.equivariance(layer, x, "tokens:3,2,1,0,4,5", rtol=0.0)
    a, b = unstack(layer(x))
    assert not a[..., 3:].any()
    assert not b[..., :2].any()
