"""The user's code that the state dicts of the fuzzing belong to, and what is wrong with a state dict."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Score(nn.Module):
    """A small classifier of any length."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(4, 5, 4), nn.BatchNorm1d(5)
        self.dense = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(torch.relu(self.norm(self.conv(x))).amax(2))


class Wide(nn.Module):
    """What a program or an ONNX file is made of: branches, reshapes, slices, a recurrent layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(4, 6, 5, padding=2), nn.BatchNorm1d(6)
        self.next, self.lstm = nn.Conv1d(6, 6, 3, padding=2, dilation=2), nn.LSTM(6, 3, batch_first=True)
        self.pool, self.dense = nn.MaxPool1d(2), nn.Linear(33, 2)
        self.scale = nn.Parameter(torch.ones(6, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.norm(self.conv(x)))
        h = (h + self.next(h)) * self.scale
        h = self.pool(torch.cat([h[:, :, 2:14], h[:, :, 4:14].flip(2)], 2))
        y, _ = self.lstm(h.transpose(1, 2))
        return torch.sigmoid(self.dense(y.flatten(1)))


def drawn(net: nn.Module, seed: int = 0) -> nn.Module:
    """The network with weights from a seed, statistics too, in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if tensor.is_floating_point():
                values = torch.randn(tensor.shape, generator=generator) / 3
                tensor.copy_(values.abs() + 0.5 if name.endswith("running_var") else values)
    return net.eval()


def states(state: dict[str, Tensor]) -> dict[str, object]:
    """What a file of torch can hold in the place of a state dict."""
    name, weight = next(iter(state.items()))

    def other(value: object) -> dict[object, object]:
        return {**state, name: value}

    round_and_round: dict[object, object] = dict(state)
    round_and_round["state_dict"] = round_and_round
    deep: object = weight
    for _ in range(200):
        deep = [deep]
    return {
        "numbers of another kind": other(weight.to(torch.int64)),
        "complex numbers": other(weight.to(torch.complex64)),
        "half precision": other(weight.half()),
        "NaN": other(weight * float("nan")),
        "a shape of 10^12 by repetition": other(torch.ones(1).expand(10**6, 10**6)),
        "a shape of 10^9 by repetition": other(torch.ones(1).expand(4, 4, 10**8)),
        "no numbers": other(weight[:0]),
        "a part of another": other(torch.arange(1000.0)[: weight.numel() * 2 : 2].reshape(weight.shape)),
        "sparse": other(weight.flatten(1).to_sparse()),
        "on no device": other(weight.to("meta")),
        "quantised": other(torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8)),
        "a text": other("weight"),
        "a list": other([weight]),
        "a list 200 deep": other(deep),
        "a dict of dicts": {"state_dict": {"state_dict": state}},
        "a dict in itself": round_and_round,
        "a list of tensors": list(state.values()),
        "one tensor": weight,
        "nothing": {},
        "None": None,
        "keys that are numbers": {1: weight, (1, 2): weight, None: weight},
        "keys that lead out": {"../../escape": weight, "/etc/hostname": weight, "": weight, ".": weight},
        "keys of control characters": {"\x1b[31m\x07\n": weight},
        "a key of 10,000 letters": {"A" * 10_000: weight},
        "keys of code": {"__class__": weight, "forward": weight, "conv.__init__": weight},
        "10,000 keys": {f"k{i}": weight[:1] for i in range(10_000)},
    }
