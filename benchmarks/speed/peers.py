"""The same trunk as other packages write it: ours, plain torch, conjoined, and the peers (extra ``peers``).

Two families compute one function each, and the contenders of a family get the same weights. *Coupled*: every layer
reads both strands. *Uncoupled*: the strands meet at the end alone. What is not installed is left out, and named in the
result. The wrapper of Caduceus and the layer of the paper are restated from their descriptions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import rcproof
from rcproof.nn import RCPSConv1d
from rcproof.strand import rc, tie

#: (kernel, dilation) of each layer.
TRUNKS: dict[str, tuple[tuple[int, int], ...]] = {
    "binary": ((15, 1), (14, 1), (14, 1)),
    "bpnet": ((21, 1), *((3, 2**i) for i in range(1, 7))),
}


class Trunk(nn.Module):
    """Convolutions with relu, from the second layer of ``bpnet`` on with a cropped residual; mean over positions."""

    def __init__(self, convs: Sequence[nn.Module], residual: bool, strands: bool = False) -> None:
        super().__init__()
        self.convs, self.residual, self.strands = nn.ModuleList(convs), residual, strands

    def forward(self, x: Tensor) -> Tensor:
        for i, conv in enumerate(self.convs):
            y = torch.relu(conv(x))
            if self.residual and i:
                cut = (x.shape[2] - y.shape[2]) // 2
                y = x[:, :, cut:-cut] + y
            x = y
        pooled = x.mean(2)
        if not self.strands:
            return pooled
        half = pooled.shape[1] // 2
        return (pooled[:, :half] + pooled[:, half:].flip(1)) * 0.5


class ByHand(nn.Module):
    """The paper's layer: a convolution with ``cat([V, V.flip])``, built in every call."""

    def __init__(self, v: Tensor, dilation: int) -> None:
        super().__init__()
        self.v, self.dilation = nn.Parameter(v.clone()), dilation

    def forward(self, x: Tensor) -> Tensor:
        return F.conv1d(x, torch.cat([self.v, self.v.flip(0, 1, 2)]), dilation=self.dilation)


class TwoGroups(nn.Module):
    """The uncoupled layer as a block-diagonal convolution, ``groups=2``."""

    def __init__(self, w: Tensor, dilation: int) -> None:
        super().__init__()
        self.w, self.dilation = nn.Parameter(w.clone()), dilation

    def forward(self, x: Tensor) -> Tensor:
        return F.conv1d(x, torch.cat([self.w, self.w.flip(0, 1, 2)]), dilation=self.dilation, groups=2)


class EachStrand(nn.Module):
    """What Caduceus' wrapper does: the layer on one half, and on the other half reversed, and reversed back."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        own, other = x.chunk(2, dim=1)
        return torch.cat([self.layer(own), self.layer(other.flip(1, 2)).flip(1, 2)], dim=1)


def plain(w: Tensor, dilation: int) -> nn.Conv1d:
    """``nn.Conv1d`` with this weight."""
    layer = nn.Conv1d(w.shape[1], w.shape[0], w.shape[2], dilation=dilation, bias=False)
    layer.weight = nn.Parameter(w.clone())
    return layer


def draw(trunk: str, filters: int, seed: int) -> tuple[list[Tensor], list[Tensor], list[int]]:
    """Weights V = [A, B] of the coupled family, A of the uncoupled one, and dilations."""
    generator = torch.Generator().manual_seed(seed)
    coupled, uncoupled = [], []
    for i, (kernel, _) in enumerate(TRUNKS[trunk]):
        width = 4 if not i else 2 * filters
        v = torch.randn(filters, width, kernel, generator=generator) / (width * kernel) ** 0.5
        coupled.append(v)
        uncoupled.append(v if not i else v[:, :filters] * 2**0.5)
    return coupled, uncoupled, [d for _, d in TRUNKS[trunk]]


def network(weights: list[Tensor], dilations: list[int], residual: bool, couple: bool) -> nn.Module:
    """Ours: the conjoined trunk converted and, with ``couple``, coupled, with these weights."""
    own = [w if i == 0 or not couple else w[:, : w.shape[1] // 2] for i, w in enumerate(weights)]
    trunk = Trunk([plain(w, d) for w, d in zip(own, dilations, strict=True)], residual)
    conjoined = rcproof.Conjoined(trunk, outputs="fixed").eval()
    reach = sum(d * (w.shape[2] - 1) for w, d in zip(own, dilations, strict=True))
    config = rcproof.ConvertConfig(input_shapes=((4, reach + 64),), verify=False)
    result: nn.Module = rcproof.convert(conjoined, config).model
    if couple:
        result = rcproof.couple(result)
        layers = [m for m in result.modules() if isinstance(m, RCPSConv1d)]
        for layer, w in zip(layers, weights, strict=True):
            layer.weight = nn.Parameter(w.clone())
    return result


def contenders(trunk: str, filters: int, seed: int = 0) -> tuple[dict[str, nn.Module], dict[str, str], list[str]]:
    """The networks; the family of each (contenders of one family compute one function); what is not installed."""
    coupled, uncoupled, dilations = draw(trunk, filters, seed)
    residual = trunk == "bpnet"
    found: dict[str, nn.Module] = {}
    family: dict[str, str] = {}

    def add(name: str, kind: str, model: nn.Module) -> None:
        found[name], family[name] = model, kind

    def stack(make: Callable[[int, Tensor, int], nn.Module], weights: list[Tensor]) -> Trunk:
        layers = [make(i, w, d) for i, (w, d) in enumerate(zip(weights, dilations, strict=True))]
        return Trunk(layers, residual, strands=True)

    add("plain torch, 2F channels", "coupled", stack(lambda i, v, d: plain(tie(v), d), coupled))
    add("rcproof, coupled", "coupled", network(coupled, dilations, residual, couple=True))
    add("rcproof layers, coupled", "coupled", stack(_ours, coupled))
    add("the paper's layer", "coupled", stack(lambda i, v, d: ByHand(v, d), coupled))
    single = Trunk([plain(w, d) for w, d in zip(uncoupled, dilations, strict=True)], residual)
    for passes in (2, 1):
        name = "conjoined, two passes" if passes == 2 else "conjoined, doubled batch"
        add(name, "uncoupled", rcproof.Conjoined(single, outputs="fixed", passes=passes))
    add("rcproof, converted", "uncoupled", network(uncoupled, dilations, residual, couple=False))
    first = lambda w, d: ByHand(w, d)  # noqa: E731 (the input is one strand)
    add("groups=2, by hand", "uncoupled", stack(lambda i, w, d: TwoGroups(w, d) if i else first(w, d), uncoupled))
    add(
        "Caduceus' wrapper", "uncoupled",
        stack(lambda i, w, d: EachStrand(plain(w, d)) if i else first(w, d), uncoupled),
    )  # fmt: skip
    missing = []
    for name, kind, build in (
        ("equirc", "coupled", lambda: stack(_equirc, coupled)),
        ("rcps-pytorch", "uncoupled", lambda: stack(_rcps(), uncoupled)),
    ):
        try:
            add(name, kind, build())
        except ImportError:
            missing.append(name)
    if "rcps-pytorch" in family and any(d > 1 for d in dilations):
        family["rcps-pytorch"] = "uncoupled, without dilation"
    return found, family, missing


def _ours(i: int, v: Tensor, dilation: int) -> nn.Module:
    filters, width, kernel = v.shape
    options: dict[str, Any] = {"source": "reversal"} if not i else {"coupled": True}
    layer = RCPSConv1d(width if not i else width // 2, filters, kernel, dilation=dilation, bias=False, **options)
    layer.weight = nn.Parameter(v.clone())
    return layer


def _equirc(i: int, v: Tensor, dilation: int) -> nn.Module:
    from equirc.pytorch_rclayers import RegToRegConv  # type: ignore[import-not-found, unused-ignore]

    filters, width, kernel = v.shape
    layer = RegToRegConv(width // 2, filters, kernel, dilatation=dilation)
    full = tie(v)
    with torch.no_grad():
        layer.left_kernel.copy_(full[..., : kernel // 2])
        if kernel % 2:
            layer.half_center.copy_(full[..., kernel // 2 : kernel // 2 + 1])
    return layer


def _rcps() -> Callable[[int, Tensor, int], nn.Module]:
    import rcps  # type: ignore[import-not-found, unused-ignore]

    def make(i: int, w: Tensor, _: int) -> nn.Module:
        filters, width, kernel = w.shape
        layer = rcps.RCPS(width, filters, kernel) if i else rcps.RCPSInput(out_kernels=filters, kernel_size=kernel)
        with torch.no_grad():
            layer.weights.copy_(w)
        return layer

    return make


def is_invariant(model: nn.Module, x: Tensor, tolerance: float) -> bool:
    """Whether the answer is the same on both strands, and a number."""
    with torch.no_grad():
        y, z = model(x), model(rc(x))
    return bool(torch.isfinite(y).all()) and bool((y - z).abs().max() <= tolerance * y.abs().max())
