"""Networks to export, and what reads the files back without rcproof."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rcproof import Conjoined
from rcproof.convert import Conversion, ConvertConfig, convert
from rcproof.models import build
from rcproof.nn import TiedLayer, couple
from rcproof.nn.recurrent import Recurrent
from rcproof.verify import InputCase, draw_inputs
from tests.strategies import normal

Shapes = tuple[tuple[int, ...], ...]


class FactorNet(nn.Module):
    """As published, only smaller: tracks beside the bases, an LSTM each way with old gates, metadata, a sigmoid."""

    def __init__(self, length: int = 26, filters: int = 6, pool: int = 4, own_gates: bool = True) -> None:
        super().__init__()
        self.conv, self.mix = nn.Conv1d(6, filters, 7), nn.Conv1d(filters, filters, 1)
        self.pool = nn.MaxPool1d(pool)
        if own_gates:
            options: dict[str, Any] = {"recurrent_activation": "hard_sigmoid_fifth"}
            self.forward_lstm = Recurrent(filters, 4, "lstm", **options)
            self.backward_lstm = Recurrent(filters, 4, "lstm", reverse=True, **options)
        else:
            self.lstm = nn.LSTM(filters, 4, batch_first=True, bidirectional=True)
        self.own_gates = own_gates
        self.dense = nn.Linear(8 * ((length - 6) // pool), 5)
        self.meta, self.out = nn.Linear(8, 5), nn.Linear(5, 1)

    def forward(self, x: Tensor, metadata: Tensor) -> Tensor:
        h = self.pool(self.mix(self.conv(x).relu()).relu())
        if self.own_gates:
            h = torch.cat([self.forward_lstm(h), self.backward_lstm(h)], dim=1)
        else:
            h = self.lstm(h.transpose(1, 2))[0].transpose(1, 2)
        h = torch.cat([self.dense(h.flatten(1)).relu(), metadata], dim=1)
        return torch.sigmoid(self.out(self.meta(h).relu()))


FACTORNET: Shapes = ((6, 26), (3,))


def factornet(**sizes: Any) -> Conjoined:
    torch.manual_seed(5)
    return Conjoined(FactorNet(**sizes), inputs=("perm:3,2,1,0,4,5", "fixed"), outputs="fixed").eval()


def conversion(model: Conjoined, shapes: Shapes | None = None) -> Conversion:
    return convert(model, ConvertConfig(input_shapes=shapes, verify=False))


def paper(task: str, **sizes: Any) -> Conjoined:
    """One of the paper's networks, conjoined, with statistics as if trained."""
    model = build(task, "conjoined", seed=3, **sizes).eval()
    for i, (name, buffer) in enumerate(model.named_buffers()):
        if name.endswith(("running_mean", "running_var")):
            fresh = normal(i, *buffer.shape, dtype=torch.float32)
            buffer.copy_(fresh.abs() + 0.5 if name.endswith("var") else fresh)
    assert isinstance(model, Conjoined)
    return model


def coupled(network: nn.Module) -> nn.Module:
    """All layers coupled, with cross-strand weights that are not zero."""
    found = couple(network)
    for i, layer in enumerate(m for m in found.modules() if isinstance(m, TiedLayer) and m.coupled):
        weight = layer.get_parameter("weight")
        weight.data.copy_(0.3 * normal(i, *weight.shape, dtype=weight.dtype))
    return found


def cases(shapes: Shapes, reps: Sequence[str], dtype: torch.dtype, batch: int = 3) -> list[InputCase]:
    return list(draw_inputs(shapes, reps, kinds=("one-hot", "random"), batch=batch, dtype=dtype, seed=11))


def without_rcproof(code: str, *words: object) -> str:
    """Run Python where this package cannot be imported."""
    blocked = f"import sys\nsys.modules['rcproof'] = None\nimport torch\ntorch.set_num_threads(1)\n{code}"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", blocked, *map(str, words)],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def close(got: Tensor, want: Tensor, tolerance: float) -> None:
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    err, size = (got - want).abs().max().item(), want.abs().max().item()
    assert size > 0
    if not (err <= tolerance * size):
        raise AssertionError(f"differs by {err:.3g} of {size:.3g}")
