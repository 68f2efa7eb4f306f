"""Networks that programs and ONNX files are made of, in float64, with inputs and dynamic sizes."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.nn import functional as F

from rcproof.models import BinaryNet, ProfileNet, SimulatedNet

AUTO = Dim.AUTO
Made = tuple[nn.Module, tuple[Tensor, ...], Any]


class Residual(nn.Module):
    """Residual and strided convolutions, padding as a word, groups, pooling of all kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(4, 8, 6, padding="same")
        self.blocks = nn.ModuleList(nn.Conv1d(8, 8, 3, padding=2**i, dilation=2**i, groups=2) for i in range(3))
        self.norms = nn.ModuleList(nn.BatchNorm1d(8, eps=10.0**-i, momentum=0.2) for i in range(3))
        self.down = nn.Conv1d(8, 8, 4, stride=2, padding=1, bias=False)
        self.most, self.mean = nn.MaxPool1d(3, 2, padding=1), nn.AvgPool1d(4, 2, padding=1, count_include_pad=True)
        self.up = nn.ConvTranspose1d(8, 8, 4, stride=2, padding=1)
        self.act, self.drop = nn.ReLU(), nn.Dropout(0.3)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.first(x))
        for conv, norm in zip(self.blocks, self.norms, strict=True):
            x = x + self.drop(F.gelu(norm(conv(x))))
        y = self.up(self.mean(self.most(self.down(x))))
        pooled = [F.adaptive_avg_pool1d(y, 1).flatten(1), F.adaptive_max_pool1d(y, 1).squeeze(-1)]
        return self.head(torch.cat(pooled, 1))


class Norms(nn.Module):
    """Every norm, and layers of weights that stand alone."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.plain = nn.InstanceNorm1d(4, affine=True), nn.InstanceNorm1d(4)
        self.conv = nn.Conv1d(4, 8, 3)
        self.group, self.layer, self.bare = (
            nn.GroupNorm(2, 8),
            nn.LayerNorm(8),
            nn.LayerNorm(8, elementwise_affine=False),
        )
        self.slope, self.slopes = nn.PReLU(), nn.PReLU(8)
        self.mix = nn.Linear(8, 8)
        self.scale = nn.Parameter(torch.ones(8, 1))
        self.register_buffer("shift", torch.zeros(8, 1), persistent=False)
        self.norm = nn.BatchNorm1d(8)
        self.straight = nn.BatchNorm1d(8, affine=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.conv(self.inner(x) + self.plain(x))
        x = self.slopes(self.group(x)) * self.scale + self.shift
        x = self.bare(self.mix(self.layer(x.transpose(1, 2)))).transpose(1, 2)
        vector = self.straight(self.norm(self.slope(x).mean(2)))
        return x, vector


class Recurrent(nn.Module):
    """A BiLSTM on pooled convolutions, as in FactorNet."""

    def __init__(self, kind: type[nn.Module] = nn.LSTM, **options: Any) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 6, 5)
        self.rnn = kind(6, 5, batch_first=True, **options)
        self.dense = nn.Linear(5 * (2 if options.get("bidirectional") else 1), 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool1d(torch.relu(self.conv(x)), 3)
        y, _ = self.rnn(x.transpose(1, 2))
        return torch.sigmoid(self.dense(y.mean(1)))


class TwoLayers(nn.Module):
    """Two recurrent layers of two layers each, their last states, time first."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.gru = nn.LSTM(4, 3, 2, bidirectional=True), nn.GRU(6, 5, 2, bias=False)
        self.rnn = nn.RNN(5, 4, nonlinearity="relu", batch_first=True)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y, (h, c) = self.lstm(x.permute(2, 0, 1))
        z, g = self.gru(y)
        out, last = self.rnn(z.transpose(0, 1))
        return out, last[0], h.transpose(0, 1), c[-1], g[1]


class Attention(nn.Module):
    """Attention over positions with torch's function, and a transformer block of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.qkv, self.out = nn.Conv1d(4, 8, 5), nn.Linear(8, 24), nn.Linear(8, 8)
        self.norm, self.wide, self.thin = nn.LayerNorm(8), nn.Linear(8, 16), nn.Linear(16, 8)
        self.places = nn.Parameter(torch.randn(1, 64, 8) * 0.1)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv(x)).transpose(1, 2)
        x = x + self.places[:, : x.shape[1]]
        q, k, v = self.qkv(x).view(x.shape[0], -1, 3, 2, 4).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
        x = self.norm(x + self.out(y))
        x = x + self.thin(F.gelu(self.wide(x)))
        return self.head(x.mean(1))


class Multihead(nn.Module):
    """torch's own attention layers, which it exports in parts."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.block = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.block(x).mean(1)


class Odd(nn.Module):
    """Weights that are worked out, shared, or have no layer of their own; codes; a layer of two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 4)
        self.normed = nn.utils.parametrizations.weight_norm(nn.Conv1d(4, 8, 3))
        self.kernel = nn.Parameter(torch.randn(8, 8, 3))
        self.tied = nn.Linear(4, 7, bias=False)
        self.tied.weight = self.table.weight
        self.both = nn.Bilinear(8, 4, 3)

    def forward(self, codes: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        x = self.table(codes)
        z = F.conv1d(self.normed(x.transpose(1, 2)), self.kernel, padding=1)
        z = z + F.conv1d(z, self.kernel.flip(2), stride=1, padding=1)
        return self.both(z.mean(2), y), self.tied(x)


class Images(nn.Module):
    """Convolutions of images of height 1, as old networks have them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 6, (1, 5)), nn.BatchNorm2d(6)
        self.wide = nn.Conv2d(6, 6, (1, 3), padding=(0, 1), bias=False)
        self.dense = nn.Linear(6 * 12, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.conv(x.unsqueeze(2))))
        x = F.avg_pool2d(F.max_pool2d(self.wide(x), (1, 2)), (1, 3), (1, 1))
        return self.dense(x.squeeze(2).flatten(1))


NETS = ("simulated", "binary", "profile", "bpnet", "residual", "norms", "bilstm", "gru", "two layers",
        "scaled attention", "multihead", "odd", "images")  # fmt: skip
#: Those that are also read after run_decompositions(), which takes long for some.
TAKEN_APART = ("simulated", "residual", "norms", "bilstm", "scaled attention", "images")
#: Those whose state dicts are kept key by key in both forms, or as written only.
KEPT = ("simulated", "binary", "profile", "bpnet", "residual", "scaled attention", "images")
KEPT_WHOLE = ("bilstm", "gru", "two layers")
#: New keys of the others: weights of several layers in one, worked out, or of no layer.
NEW_KEYS = {
    "odd": {"normed.weight", "kernel.weight", "conv1d.weight"},
    "multihead": {f"{a}.in_proj.{w}" for a in ("attention", "block.self_attn") for w in ("weight", "bias")},
}
#: Layers that ONNX files have besides.
NEW_LAYERS = {f"{a}.{p}" for a in ("attention", "block.self_attn") for p in ("in_proj", "out_proj")}
#: Those of convolutions and dense layers only.
TIED = ("simulated", "binary", "profile", "bpnet", "residual")
REPRESENTATIONS: dict[str, dict[str, Any]] = {
    "profile": {"inputs": ["reversal", "fixed", "length"], "outputs": ["reversal", "reversal"]},
    "bpnet": {"outputs": ["reversal", "reversal"]},
}


def make(name: str) -> Made:
    """A network of NETS in eval mode and float64, inputs for three examples, and which sizes are dynamic."""
    torch.manual_seed(0)
    nets: dict[str, tuple[nn.Module, tuple[tuple[int, ...], ...]]] = {
        "simulated": (SimulatedNet(), ((4, 200),)),
        "binary": (BinaryNet(length=200), ((4, 200),)),
        "profile": (
            ProfileNet(length=150, filters=6, dilated_layers=3, profile_kernel_size=15),
            ((4, 150), (1,), (2, 88)),
        ),
        "bpnet": (
            ProfileNet(length=150, filters=6, dilated_layers=3, profile_kernel_size=15, n_control=0),
            ((4, 150),),
        ),
        "residual": (Residual(), ((4, 40),)),
        "norms": (Norms(), ((4, 20),)),
        "bilstm": (Recurrent(bidirectional=True), ((4, 16),)),
        "gru": (Recurrent(nn.GRU), ((4, 16),)),
        "two layers": (TwoLayers(), ((4, 6),)),
        "scaled attention": (Attention(), ((4, 20),)),
        "multihead": (Multihead(), ((4, 9),)),
        "odd": (Odd(), ((9,), (4,))),
        "images": (Images(), ((4, 32),)),
    }
    net, shapes = nets[name]
    with torch.no_grad():
        for tensor in [*net.parameters(), *net.buffers()]:
            if (
                tensor.is_floating_point() and tensor.dim() == 1
            ):  # weights of norms, running statistics: not all 0 and 1
                tensor.add_(torch.rand_like(tensor) * 0.5)
    net = net.double().eval()
    xs = tuple(torch.randn(3, *s, dtype=torch.float64) for s in shapes)
    if name == "odd":
        xs = (torch.randint(0, 7, (3, 9)), xs[1])
    lengths = {"bpnet", "residual", "norms", "scaled attention"}
    dynamic = tuple({0: AUTO, 2: AUTO} if name in lengths and x.dim() == 3 else {0: AUTO} for x in xs)
    return net, xs, dynamic


def another(x: Tensor, count: int, longer: int) -> Tensor:
    """Another input like ``x``, with more examples and positions."""
    shape = (count, *x.shape[1:-1], x.shape[-1] + longer) if x.dim() == 3 else (count, *x.shape[1:])
    if not x.is_floating_point():
        return torch.randint(0, 7, shape)
    return torch.randn(shape, dtype=x.dtype)


class Fn(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *xs: Tensor) -> Any:
        return self.function(*xs)


def program(net: nn.Module, xs: tuple[Tensor, ...], path: Path, dynamic: Any = None, taken_apart: bool = False) -> Path:
    """A file with the program of ``net``."""
    if isinstance(net, Fn) and dynamic is not None:
        dynamic = (dynamic,)  # of its *xs
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of torch, on its own recurrent layers and deprecations
        exported = torch.export.export(net, xs, dynamic_shapes=dynamic)
        if taken_apart:
            exported = exported.run_decompositions()
        torch.export.save(exported, path)
    return path


def leaves(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [t for v in (value.values() if isinstance(value, dict) else value) for t in leaves(v)]


def same(found: Any, wanted: Any, tolerance: float = 1e-12) -> None:
    assert type(found) is type(wanted)
    got, right = ([t.detach() for t in leaves(v)] for v in (found, wanted))
    assert len(got) == len(right)
    for i, (a, b) in enumerate(zip(got, right, strict=True)):
        assert a.shape == b.shape, i
        assert a.dtype == b.dtype, i
        error = float((a.double() - b.double()).abs().max()) if a.numel() else 0.0
        if bool(torch.isinf(b.double()).any()):
            assert torch.equal(a, b), i
            continue
        assert error <= tolerance * max(1.0, float(b.double().abs().max())), (i, error)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def older(net: nn.Module, xs: tuple[Tensor, ...], path: Path, layout: str) -> Path:
    """The same program as torch 2.6 to 2.8 stored it: torch itself still reads these."""
    serialize = pytest.importorskip("torch._export.serde.serialize", reason="torch keeps it elsewhere").serialize
    with torch.no_grad():
        exported = torch.export.export(net, xs, dynamic_shapes=tuple({0: AUTO} for _ in xs))
    artifact = serialize(exported)
    files = {
        "2.6": {
            "version": b"8.5",
            "serialized_exported_program.json": artifact.exported_program,
            "serialized_state_dict.pt": artifact.state_dict,
            "serialized_constants.pt": artifact.constants,
            "serialized_example_inputs.pt": artifact.example_inputs,
        },
        "2.8": {
            "p/archive_format": b"pt2",
            "p/archive_version": b"0",
            "p/models/model.json": artifact.exported_program,
            "p/data/weights/model.pt": artifact.state_dict,
            "p/data/constants/model.pt": artifact.constants,
            "p/data/sample_inputs/model.pt": artifact.example_inputs,
        },
    }[layout]
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path
