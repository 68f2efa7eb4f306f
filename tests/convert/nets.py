"""Single-strand networks of every kind that the converter must take, as small as they can be.

Each :class:`Case` says which parameters cannot be tied and are lifted; all others must be tied.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rcproof.convert import ConvertConfig
from rcproof.nn import WeightedSum1d
from tests.strategies import normal

Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Case:
    """A network, its inputs without the batch, and what to expect of its conversion.

    ``longer``: by how much the inputs may also change in length.
    """

    net: Callable[[], nn.Module]
    shapes: Shapes = ((4, 37),)
    inputs: Any = "reversal"
    outputs: Any = None
    lifted: tuple[str, ...] = ()
    longer: tuple[int, ...] = (-7, 4)
    leaves: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    def build(self, seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Module:
        """The network in eval mode, with running statistics as if it had been trained."""
        torch.manual_seed(seed)
        net = self.net()
        for i, (name, buffer) in enumerate(net.named_buffers()):
            if name.endswith(("running_mean", "running_var")):
                fresh = normal(seed + i, *buffer.shape)
                buffer.copy_(fresh.abs() + 0.5 if name.endswith("var") else fresh)
        return net.to(dtype).eval()

    def config(self, **changes: Any) -> ConvertConfig:
        return ConvertConfig(**{"input_shapes": self.shapes, "leaves": self.leaves, **changes})


ZOO: dict[str, Case] = {}


def case(name: str, **options: Any) -> Callable[[Any], Any]:
    """Register a class or a function that builds a network."""

    def register(net: Any) -> Any:
        ZOO[name] = Case(net, **options)
        return net

    return register


# -- the networks of the field ----------------------------------------------------------------------------


@case("Basset", shapes=((4, 203),), longer=())
def basset() -> nn.Module:
    """Pooling that does not centre: 203 → 197 → 65 → 61 → 15."""
    return nn.Sequential(
        nn.Conv1d(4, 8, 7), nn.BatchNorm1d(8), nn.ReLU(), nn.MaxPool1d(3),
        nn.Conv1d(8, 6, 5), nn.BatchNorm1d(6), nn.ReLU(), nn.MaxPool1d(4),
        nn.Flatten(), nn.Linear(90, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.3), nn.Linear(12, 3), nn.Sigmoid(),
    )  # fmt: skip


@case("DeepSEA", shapes=((4, 150),), longer=())
class DeepSEA(nn.Module):
    """Views by a fixed number of features, functional dropout and pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv1d(4, 8, 8), nn.Conv1d(8, 10, 8)
        self.dense, self.out = nn.Linear(10 * 7, 9), nn.Linear(9, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.dropout(F.max_pool1d(F.relu(self.conv1(x)), 4, 4), 0.2, self.training)
        x = F.dropout(F.max_pool1d(F.relu(self.conv2(x)), kernel_size=4), 0.2, self.training)
        return torch.sigmoid(self.out(F.relu(self.dense(x.view(-1, 70)))))


@case("DeepSTARR", shapes=((4, 101),), longer=())
class DeepSTARR(nn.Module):
    """``same`` padding with an even kernel, pooling by two, two heads."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [(4, 6, 7), (6, 5, 4), (5, 4, 5)]
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv1d(i, o, k, padding="same"), nn.BatchNorm1d(o), nn.ReLU(), nn.MaxPool1d(2))
            for i, o, k in sizes
        )
        self.dense = nn.Sequential(nn.Linear(48, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.4))
        self.dev, self.hk = nn.Linear(8, 1), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        for block in self.blocks:
            x = block(x)
        h = self.dense(torch.flatten(x, 1))
        return {"dev": self.dev(h).squeeze(-1), "hk": self.hk(h)}


@case("dilated, residual, asymmetric crops", shapes=((4, 90),), outputs=("reversal", "fixed"))
class Dilated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(4, 6, 8)
        self.layers = nn.ModuleList(nn.Conv1d(6, 6, 4, dilation=2**i) for i in range(3))
        self.profile, self.counts = nn.Conv1d(6, 2, 9), nn.Linear(6, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.first(x).relu()
        for layer in self.layers:
            cut = 3 * layer.dilation[0]
            x = x[:, :, cut // 2 : x.shape[2] - (cut - cut // 2)] + F.relu(layer(x))
        return self.profile(x), self.counts(x.mean(2))


@case(
    "control tracks of every representation",
    shapes=((4, 40), (2, 36), (3, 36), (2,), (4, 36), (3, 40), (4, 40), (2, 36)),
    inputs=("reversal", "reversal", "length", "fixed", "pairs:2", "perm:-1,-0,2", "dna:ATGC", "channels"),
    outputs=("reversal", "fixed"),
)
class Controls(nn.Module):
    """Concatenated with the hidden channels, added to them, and read by layers of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.other, self.signed = nn.Conv1d(4, 5, 5), nn.Conv1d(4, 5, 5), nn.Conv1d(3, 5, 5)
        self.profile, self.counts, self.meta = nn.Conv1d(16, 2, 3), nn.Linear(7, 2), nn.Linear(2, 5)

    def forward(
        self, x: Tensor, stranded: Tensor, scales: Tensor, meta: Tensor, pairs: Tensor, signed: Tensor, atgc: Tensor,
        channels: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        h = (self.conv(x) + self.other(atgc) + self.signed(signed)).relu() * self.meta(meta).sigmoid().unsqueeze(-1)
        joined = torch.cat([h, stranded, torch.log1p(scales), pairs, channels], dim=1)
        return self.profile(joined), self.counts(torch.cat([h.mean(-1), meta], 1))


@case("BiLSTM", lifted=("lstm",))
class WithLSTM(nn.Module):
    """DanQ."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(4, 6, 5), nn.BatchNorm1d(6)
        self.lstm = nn.LSTM(6, 4, batch_first=True, bidirectional=True)
        self.dense = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = F.max_pool1d(self.norm(self.conv(x)).relu(), 3)
        out, _ = self.lstm(h.transpose(1, 2))
        return self.dense(out[:, -1])


@case("GRU with a state, positions in front", lifted=("gru",))
class WithGRU(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gru, self.dense = nn.Conv1d(4, 6, 5), nn.GRU(6, 4), nn.Linear(10, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv(x).permute(2, 0, 1)
        out, last = self.gru(h, h.new_ones(1, h.shape[1], 4))
        return self.dense(torch.cat([last[0], out.mean(0), h.new_zeros(h.size(1), 2)], dim=-1))


def with_attention(batch_first: bool) -> Callable[[], nn.Module]:
    class WithAttention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv1d(4, 6, 5), nn.LayerNorm(6)
            self.attention = nn.MultiheadAttention(6, 2, batch_first=batch_first)
            self.dense = nn.Linear(6, 2)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            h = self.norm(self.conv(x).transpose(1, 2))
            q = h if batch_first else h.transpose(0, 1)
            masked = h[:, :, 0] > 1.5
            a, weights = self.attention(q, q, q, key_padding_mask=masked)
            a = a if batch_first else a.transpose(0, 1)
            return self.dense((h + a).mean(1)), weights.amax(2).mean(1)

    return WithAttention


ZOO["attention"] = Case(with_attention(True), lifted=("attention",))
ZOO["attention, positions in front"] = Case(with_attention(False), lifted=("attention",))


@case("transformer", lifted=("encoder",))
class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 6, 5, stride=3)
        self.encoder = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)
        self.dense = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(self.encoder(self.conv(x).transpose(1, 2)).mean(1))


@case("attention by hand, with positions", lifted=("position",))
class ByHand(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 6, 5)
        self.position = nn.Parameter(torch.randn(1, 40, 6))
        self.q, self.k, self.v, self.out = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv(x).transpose(1, 2)
        h = h + self.position[:, : h.shape[1]]
        n, length, _ = h.shape
        q, k, v = (f(h).reshape(n, length, 2, 3).transpose(1, 2) for f in (self.q, self.k, self.v))
        a = F.scaled_dot_product_attention(q, k, v)
        b = torch.softmax(torch.matmul(q, k.transpose(-1, -2)) / 3**0.5, dim=-1) @ v
        c = torch.einsum("nhld,nhmd->nhlm", q, k).mean(-1, keepdim=True) * v
        return self.out((a + b + c).permute(0, 2, 1, 3).reshape(n, length, 6).mean(dim=1))


@case("tokens", shapes=((37,),), inputs="tokens:3,2,1,0,4")
class Tokens(nn.Module):
    """More codes than the input has: a mask, say."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.conv, self.dense = nn.Embedding(6, 5, padding_idx=5), nn.Conv1d(5, 6, 4), nn.Linear(6, 2)

    def forward(self, codes: Tensor) -> Tensor:
        return self.dense(self.conv(self.embedding(codes).transpose(1, 2)).relu().amax(2))


@case("two alleles of tokens", shapes=((37,), (37,)), inputs=("tokens:3,2,1,0,4", "tokens:3,2,1,0,4"))
class Alleles(nn.Module):
    """Layers called once on each input: an embedding and a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.conv, self.dense = nn.Embedding(5, 4), nn.Conv1d(4, 6, 4), nn.Linear(6, 2)

    def forward(self, reference: Tensor, alternative: Tensor) -> Tensor:
        a, b = (self.conv(self.embedding(x).transpose(1, 2)).relu() for x in (reference, alternative))
        return self.dense((a - b).square().mean(2))


@case("U-Net", shapes=((4, 40),), outputs="length", longer=(-8, 4))
class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down1 = nn.Conv1d(4, 6, 5, stride=2, padding=2)
        self.down2 = nn.Conv1d(6, 8, 5, stride=2, padding=2)
        self.up2 = nn.ConvTranspose1d(8, 6, 4, stride=2, padding=1)
        self.up1 = nn.ConvTranspose1d(12, 4, 3, stride=2, padding=1, output_padding=1)
        self.head = nn.Conv1d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.down1(x).relu()
        u = torch.cat([self.up2(self.down2(a).relu()), a], 1)
        return self.head(torch.cat([self.up1(u).relu(), x], 1))


@case("squeeze and excite", outputs="reversal")
class Excite(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 6, 5, padding=2)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool1d(1), nn.Conv1d(6, 2, 1), nn.ReLU(), nn.Conv1d(2, 6, 1), nn.Sigmoid()
        )
        self.head = nn.Conv1d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv(x)
        return self.head(h * self.gate(h))


@case("softmax over channels and over positions", outputs="reversal")
class Softmaxes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.channels, self.positions = (
            nn.Conv1d(4, 6, 5), nn.Conv1d(6, 2, 3), nn.Softmax(dim=1), nn.LogSoftmax(dim=-1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        h = self.channels(self.a(x)) + F.softmax(self.a(x), dim=2)
        return self.positions(self.b(h)) + self.b(h).softmax(1)


@case("layer, group and instance norm", shapes=((4, 37),), outputs=("reversal", "fixed"), longer=())
class Norms(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 6, 4)
        self.positions, self.both, self.last = nn.LayerNorm(34), nn.LayerNorm([6, 34]), nn.LayerNorm(6)
        self.groups = nn.GroupNorm(3, 6)
        self.instance = nn.InstanceNorm1d(6, affine=True, track_running_stats=True)
        self.head, self.dense = nn.Conv1d(6, 2, 3), nn.Linear(6, 2)
        for norm in (self.positions, self.both, self.last, self.groups, self.instance):
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.instance(self.groups(self.both(self.positions(self.conv(x)))))
        h = h + self.last(h.transpose(1, 2)).transpose(1, 2)
        return self.head(h), self.dense(self.last(h.mean(2)))


@case("weighted sum over positions", longer=())
def summed() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(4, 6, 4), nn.ReLU(), WeightedSum1d(6, 34, symmetric=True, bias=True), nn.Tanh(), nn.Linear(6, 2)
    )


@case("a layer called twice", outputs="reversal")
class Twice(nn.Module):
    """Also on a closed input and on a hidden one, and on what does not depend on the input."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.head = nn.Conv1d(4, 4, 4), nn.Conv1d(4, 4, 3, padding=1), nn.Conv1d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.again(self.again(self.first(self.first(x)))).relu()
        return self.head(torch.cat([h, self.again(x)[:, :, 2:-4] * self.again.bias.mean()], dim=1))


@case("a layer on a learned query too", lifted=("query",))
class Query(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.project, self.query = nn.Conv1d(4, 6, 4), nn.Linear(6, 6), nn.Parameter(torch.randn(1, 6))

    def forward(self, x: Tensor) -> Tensor:
        return self.project(self.query) * self.project(self.conv(x).mean(2))


@case("tied parameters", outputs="reversal")
class TiedParameters(nn.Module):
    """Two layers share a Parameter, one layer has two names, one Parameter is never used."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(4, 4, 3, padding=1)
        self.a, self.b = nn.Conv1d(4, 4, 3, padding=1), nn.Conv1d(4, 4, 3, padding=1)
        self.b.weight = self.a.weight
        self.again = self.a
        self.head = nn.Conv1d(4, 2, 1)
        self.unused = nn.Linear(3, 2)
        for p in self.head.parameters():
            p.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.again(self.b(self.a(self.first(x)).relu()).relu()))


@case("writing in place", outputs="reversal")
class InPlace(nn.Module):
    """As torch means it: every other name of the tensor sees it, and a statement counts."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.relu = nn.Conv1d(4, 6, 3), nn.Conv1d(6, 6, 3, padding=1), nn.ReLU(inplace=True)
        self.drop, self.head = nn.Dropout(0.5, inplace=True), nn.Conv1d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        skip = h
        h += 0.5
        y = self.b(self.relu(h))
        y += skip
        y.mul_(0.7)
        F.elu(y, inplace=True)
        z = y.clone()
        z -= 1.0
        length = x.shape[2]
        length -= 5
        return self.head(self.drop(y) + z)[:, :, :length]


@case("joining and splitting", lifted=())
class Joins(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.dense = nn.Conv1d(4, 6, 3), nn.Conv1d(4, 6, 3), nn.Linear(20, 2)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.a(x), self.b(x)
        s = torch.stack([a, b], dim=1).sum(1)
        first, second, third = s.chunk(3, dim=1)
        p, q = torch.split(a, [2, 4], dim=1)
        swapped = torch.cat(tensors=[torch.split(b, 3, 1)[i] for i in (1, 0)], dim=-2)
        top = s.max(dim=2)
        parts = [first.amax(2), second.std(-1), third.logsumexp(dim=2), p.mean(2), q.sum(2), swapped.amin(dim=2)]
        parts.append(top.values[:, None].flatten(1)[:, :2])
        return self.dense(torch.cat(parts, dim=1))


@case("functional pooling and padding", outputs="reversal")
class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv1d(4, 6, 3), nn.Conv1d(6, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = F.pad(self.a(x), (1, 2))
        h = F.max_pool1d(h, 3, 2, padding=1) + F.avg_pool1d(h, 3, stride=2, padding=1)
        h = F.adaptive_avg_pool1d(h, 9) + F.adaptive_max_pool1d(h, 9) + F.interpolate(F.lp_pool1d(h, 2.0, 2), size=9)
        return self.b(F.layer_norm(F.gelu(h), (9,)))


@case("functional layers on own parameters", outputs="reversal", lifted=("weight", "bias", "table.0"))
class OwnParameters(nn.Module):
    """Parameters that no layer owns are used as they are, on each strand."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(2, 4, 3)), nn.Parameter(torch.randn(2))
        self.table = nn.ParameterList([nn.Parameter(torch.randn(2))])
        self.register_buffer("scale", torch.tensor([[1.0], [2.0]]), persistent=False)
        self.register_buffer("shift", torch.randn(2, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = F.conv1d(torch.mul(x, other=torch.tensor([[1.0], [2.0], [3.0], [4.0]]).to(x)), self.weight, self.bias)
        y = y * self.scale + self.shift + torch.tensor([0.25, 0.5]).to(y).unsqueeze(-1)
        return y * (y.transpose(1, 2) @ self.table[0]).unsqueeze(1)


@case("grouped convolutions", outputs="reversal")
def grouped() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(4, 8, 3, groups=2), nn.ReLU(), nn.Conv1d(8, 8, 4, groups=8, stride=2), nn.ReLU(),
        nn.ConvTranspose1d(8, 6, 3, stride=2, groups=2, output_padding=1), nn.Conv1d(6, 2, 2, groups=2, padding="same"),
    )  # fmt: skip


@case("weight norm", lifted=("0",), outputs="reversal")
def weight_normed() -> nn.Module:
    return nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv1d(4, 6, 4)), nn.ReLU(), nn.Conv1d(6, 2, 3))


class Initialised(nn.Conv1d):
    """A subclass with a constructor of its own, a buffer and a method: still the layer."""

    def __init__(self, channels: int) -> None:
        super().__init__(4, channels, 5, padding=1, dilation=2, bias=False)
        self.register_buffer("seen", torch.zeros(()))
        nn.init.orthogonal_(self.weight)

    def norm(self) -> Tensor:
        return self.weight.norm()


class Causal(nn.Conv1d):
    """A subclass that computes something else."""

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(F.pad(x, (self.kernel_size[0] - 1, 0)), weight, bias)


@case("subclasses of layers", lifted=("1",), outputs="reversal")
def subclassed() -> nn.Module:
    return nn.Sequential(Initialised(6), Causal(6, 6, 3), nn.ReLU(), nn.Conv1d(6, 2, 3))


@case("hooks", lifted=("0",), outputs="reversal")
def hooked() -> nn.Module:
    net = nn.Sequential(nn.Conv1d(4, 6, 4), nn.ReLU(), nn.Conv1d(6, 2, 3))
    net[0].register_forward_hook(double)
    return net


def double(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    return 2 * output


@case("optional arguments")
class Optional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.dense = nn.Conv1d(4, 6, 4), nn.Linear(6, 2)

    def forward(
        self, x: Tensor, control: Tensor | None = None, relu: bool = True, scale: float = 0.5, names: Any = ("a", "b"),
        *, tail: int = 3,
    ) -> Tensor:  # fmt: skip
        h = self.conv(x)
        h = h.relu() if relu else h
        if control is not None:
            h = torch.cat([h, control], 1)
        return self.dense(h[:, :, tail:].mean(2)) * scale * len(names)


@case("scores without a channel axis, nested")
class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.dense, self.final = nn.Conv1d(4, 6, 4), nn.Linear(6, 3), nn.Linear(3, 1)

    def forward(self, x: Tensor) -> dict[str, Any]:
        h = self.dense(self.conv(x).relu().mean(2))
        return {"score": self.final(h)[:, 0], "parts": [h, (h.sum(1), (10 * h).round().long().sum(1))]}


@case("names that the package uses too", outputs="reversal", options={"final": nn.Conv1d(2, 2, 1, dtype=torch.float64)})
class Names(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.merge_0, self.final_0 = nn.Conv1d(4, 6, 4), nn.ReLU()
        self.graph = nn.ModuleDict({"layers": nn.Conv1d(6, 2, 3), "in": nn.ReLU()})
        self.final = nn.Linear(2, 3)  # not used

    def forward(self, x: Tensor) -> Tensor:
        return self.graph["layers"](self.graph["in"](self.final_0(self.merge_0(x))))


@case("a block left whole, with a dict", leaves=("Block",), lifted=("block",))
class Whole(nn.Module):
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(6, 6, 3)

        def forward(self, x: Tensor) -> dict[str, Any]:
            y = self.conv(x) if x.shape[2] > 3 else x  # branches on its input, so it cannot be traced
            return {"hidden": y, "norm": (y.square().sum(2), 3)}

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.block, self.dense = nn.Conv1d(4, 6, 4), self.Block(), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        found = self.block(self.conv(x))
        return self.dense(found["hidden"].relu().mean(2) + found["norm"][0])


@case("odd shapes", lifted=("mix",))
class OddShapes(nn.Module):
    """Axes moved, added and dropped; matrices and vectors; a product of two hidden tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.dense, self.mix = nn.Conv1d(4, 6, 4), nn.Linear(6, 5), nn.Bilinear(5, 5, 2)
        self.register_buffer("vector", torch.randn(6))
        self.register_buffer("matrix", torch.randn(6, 6))

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv(x)
        a = h.movedim((1, 2), (2, 1)) @ self.matrix
        b = torch.matmul(input=self.matrix, other=h).transpose(1, -1)
        c = torch.bmm(h, a) / h.shape[2]
        d = (a @ self.vector).unsqueeze(-1)
        e = torch.matmul(self.vector, h)[..., None]
        f = self.dense((a + b + d * e).mean(1) + c.sum(dim=(1,), keepdim=True).squeeze(1))
        return self.mix(f, f.view(f.shape[0], 1, -1).repeat(1, 2, 1).flip(1, 2).narrow(1, 0, 1).squeeze(1))


ZOO["one layer alone"] = Case(lambda: nn.Conv1d(4, 2, 5, stride=2), outputs="reversal")
ZOO["mean of probabilities, then a logit"] = Case(
    lambda: nn.Sequential(nn.Conv1d(4, 3, 5), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Sigmoid()),
    options={"final": torch.logit, "merge": "mean"},
)
ZOO["max of logits, then a probability"] = Case(
    lambda: nn.Sequential(nn.Conv1d(4, 3, 5), nn.AdaptiveMaxPool1d(1), nn.Flatten()),
    options={"final": nn.Sequential(nn.Linear(3, 2, dtype=torch.float64), nn.Softmax(1)), "merge": "max"},
)
ZOO["own merge and end for each output"] = Case(
    Dilated,
    ((4, 90),),
    "reversal",
    ("pairs:1", "fixed"),
    options={"merge": ("max", "sum"), "final": [None, "softplus"]},
)
