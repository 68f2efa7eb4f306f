"""What presets build, written out plainly from its definition, with the state-dict keys of the package it is from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

State = dict[str, Tensor]


def bpnet(state: State, x: Tensor, control: Tensor | None, trimming: int, old: bool = False) -> tuple[Tensor, Tensor]:
    """BPNet of bpnet-lite; ``old``: BasePairNet, which adds before the activation."""
    state = {**{f"{n}.bias": None for n in ("fconv", "linear")}, **state}
    start, end = trimming, x.shape[2] - trimming
    h = F.conv1d(x, state["iconv.weight"], state["iconv.bias"], padding=state["iconv.weight"].shape[2] // 2)
    h = h if old else h.relu()
    i = 0
    while f"rconvs.{i}.weight" in state:
        weight, bias, d = state[f"rconvs.{i}.weight"], state[f"rconvs.{i}.bias"], 2 ** (i + 1)
        h = h + (F.conv1d(h.relu(), weight, bias, padding=d, dilation=d) if old
                 else F.conv1d(h, weight, bias, padding=d, dilation=d).relu())  # fmt: skip
        i += 1
    h = h.relu()
    both = h if control is None else torch.cat([h, control], dim=1)
    width = state["fconv.weight"].shape[2]
    profile = F.conv1d(both, state["fconv.weight"], state["fconv.bias"], padding=width // 2)[:, :, start:end]
    pooled = h[:, :, max(start - 37, 0) : end + 37].mean(2)
    if control is not None:
        window = control[:, :, start:end] if old else control[:, :, max(start - 37, 0) : end + 37]
        total = torch.log(window.sum(dim=(1, 2)) + (2 if old else 1))
        pooled = torch.cat([pooled, total[:, None]], dim=1)
    return profile, F.linear(pooled, state["linear.weight"], state["linear.bias"])


def bpnet_state(
    filters: int = 5, layers: int = 3, outputs: int = 2, controls: int = 2, biases: bool = True, widths: Any = (21, 75)
) -> State:
    """A state dict with the keys of bpnet-lite, random."""
    first, last = widths
    state = {"iconv.weight": torch.randn(filters, 4, first) / 4, "iconv.bias": torch.randn(filters)}
    for i in range(layers):
        state[f"rconvs.{i}.weight"] = torch.randn(filters, filters, 3) / 4
        state[f"rconvs.{i}.bias"] = torch.randn(filters)
    state["fconv.weight"] = torch.randn(outputs, filters + controls, last) / 9
    state["linear.weight"] = torch.randn(1, filters + (controls > 0))
    if biases:
        state |= {"fconv.bias": torch.randn(outputs), "linear.bias": torch.randn(1)}
    return {key: value.double() for key, value in state.items()}


def chrombpnet(state: State, x: Tensor, trimming: int, bias_trimming: int) -> tuple[Tensor, Tensor]:
    """ChromBPNet of bpnet-lite."""
    parts = []
    for prefix, trim in (("accessibility.", trimming), ("bias.", bias_trimming)):
        own = {key.removeprefix(prefix): t for key, t in state.items() if key.startswith(prefix)}
        parts.append(bpnet(own, x, None, trim))
    (profile, counts), (bias_profile, bias_counts) = parts
    n0, n1 = profile.shape[2], bias_profile.shape[2]
    w = (n1 - n0) // 2
    return profile + bias_profile[:, :, w : n1 - w], torch.logsumexp(
        torch.cat([counts, bias_counts], 1), 1, keepdim=True
    )


class View(nn.Module):
    """(N, C, 1, L) or (N, C, L) → (N, C·L)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], -1)


class Pick(nn.Sequential):
    """What a step without a layer and a dense layer are in files that came from Lua."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__(nn.Identity(), inner)


class SeleneDeepSEA(nn.Module):
    def __init__(self, a: int = 5, b: int = 6, c: int = 7, length: int = 200, tasks: int = 3) -> None:
        super().__init__()
        self.conv_net = nn.Sequential(
            nn.Conv1d(4, a, 8), nn.ReLU(), nn.MaxPool1d(4, 4), nn.Dropout(0.2),
            nn.Conv1d(a, b, 8), nn.ReLU(), nn.MaxPool1d(4, 4), nn.Dropout(0.2),
            nn.Conv1d(b, c, 8), nn.ReLU(), nn.Dropout(0.5),
        )  # fmt: skip
        positions = ((length - 7) // 4 - 7) // 4 - 7
        self.classifier = nn.Sequential(
            nn.Linear(c * positions, tasks), nn.ReLU(), nn.Linear(tasks, tasks), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.conv_net(x).flatten(1))


class DeeperDeepSEA(nn.Module):
    def __init__(self, a: int = 5, b: int = 6, c: int = 7, length: int = 400, tasks: int = 3) -> None:
        super().__init__()
        self.conv_net = nn.Sequential(
            nn.Conv1d(4, a, 8), nn.ReLU(), nn.Conv1d(a, a, 8), nn.ReLU(), nn.MaxPool1d(4, 4), nn.BatchNorm1d(a),
            nn.Conv1d(a, b, 8), nn.ReLU(), nn.Conv1d(b, b, 8), nn.ReLU(), nn.MaxPool1d(4, 4), nn.BatchNorm1d(b),
            nn.Dropout(0.2),
            nn.Conv1d(b, c, 8), nn.ReLU(), nn.Conv1d(c, c, 8), nn.ReLU(), nn.BatchNorm1d(c), nn.Dropout(0.2),
        )  # fmt: skip
        positions = ((length - 14) // 4 - 14) // 4 - 14
        self.classifier = nn.Sequential(
            nn.Linear(c * positions, tasks), nn.ReLU(), nn.BatchNorm1d(tasks), nn.Linear(tasks, tasks), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.conv_net(x).flatten(1))


def kipoi_deepsea(a: int = 5, b: int = 6, c: int = 7, length: int = 200) -> nn.Module:
    positions = ((length - 7) // 4 - 7) // 4 - 7
    return nn.Sequential(
        nn.Conv2d(4, a, (1, 8)), nn.Threshold(0, 1e-6), nn.MaxPool2d((1, 4), (1, 4)), nn.Dropout(0.2),
        nn.Conv2d(a, b, (1, 8)), nn.Threshold(0, 1e-6), nn.MaxPool2d((1, 4), (1, 4)), nn.Dropout(0.2),
        nn.Conv2d(b, c, (1, 8)), nn.Threshold(0, 1e-6), nn.Dropout(0.5),
        View(), Pick(nn.Linear(c * positions, 9)), nn.Threshold(0, 1e-6), Pick(nn.Linear(9, 4)), nn.Sigmoid(),
    )  # fmt: skip


class Beluga(nn.Module):
    def __init__(self, a: int = 5, b: int = 6, c: int = 7, length: int = 400) -> None:
        super().__init__()
        positions = ((length - 14) // 4 - 14) // 4 - 14
        self.model = nn.Sequential(
            nn.Sequential(
                nn.Conv2d(4, a, (1, 8)), nn.ReLU(), nn.Conv2d(a, a, (1, 8)), nn.ReLU(), nn.Dropout(0.2),
                nn.MaxPool2d((1, 4), (1, 4)),
                nn.Conv2d(a, b, (1, 8)), nn.ReLU(), nn.Conv2d(b, b, (1, 8)), nn.ReLU(), nn.Dropout(0.2),
                nn.MaxPool2d((1, 4), (1, 4)),
                nn.Conv2d(b, c, (1, 8)), nn.ReLU(), nn.Conv2d(c, c, (1, 8)), nn.ReLU(),
            ),
            nn.Sequential(
                nn.Dropout(0.5), View(), Pick(nn.Linear(c * positions, 9)), nn.ReLU(), Pick(nn.Linear(9, 4))
            ),
            nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class Seqweaver(nn.Module):
    def __init__(self, a: int = 5, b: int = 6, c: int = 7, length: int = 200, tasks: int = 3) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.Conv2d(4, a, (1, 8)), nn.ReLU(), nn.MaxPool2d((1, 4), (1, 4)), nn.Dropout(0.1),
            nn.Conv2d(a, b, (1, 8)), nn.ReLU(), nn.MaxPool2d((1, 4), (1, 4)), nn.Dropout(0.1),
            nn.Conv2d(b, c, (1, 8)), nn.ReLU(), nn.Dropout(0.3),
        )  # fmt: skip
        positions = ((length - 7) // 4 - 7) // 4 - 7
        self.fc = nn.Sequential(
            View(), Pick(nn.Linear(c * positions, tasks)), nn.ReLU(), Pick(nn.Linear(tasks, tasks)), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.model(x.unsqueeze(2)))


class Exp(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.exp()


class Unsqueeze(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.unsqueeze(-1)


class ExplaiNN(nn.Module):
    """Units in groups, on as many copies of the input."""

    def __init__(
        self, units: int = 4, length: int = 60, classes: int = 3, taps: int = 9, dense: int = 2, wide: int = 6,
        pool: tuple[int, int] = (7, 7),
    ) -> None:  # fmt: skip
        super().__init__()
        self.units, self.dense = units, dense
        size, stride = pool
        left = (length - (taps - 1) - size) // stride + 1
        first = [nn.Conv1d(4 * units, units, taps, groups=units), nn.BatchNorm1d(units), Exp()]
        if dense == 0:
            layers = [*first, nn.MaxPool1d(length - taps + 1), nn.Flatten()]
        else:
            out = units if dense == 1 else wide * units
            layers = [
                *first, nn.MaxPool1d(size, stride), nn.Flatten(), Unsqueeze(),
                nn.Conv1d(left * units, out, 1, groups=units), nn.BatchNorm1d(out), nn.ReLU(),
            ]  # fmt: skip
            last = [nn.Dropout(0.3), nn.Conv1d(out, units, 1, groups=units), nn.BatchNorm1d(units), nn.ReLU()]
            if dense == 1:
                layers += [nn.Flatten()]
            elif dense == 2:
                layers += [*last, nn.Flatten()]
            else:
                self.linears_bg = nn.ModuleList(
                    nn.Sequential(nn.Dropout(0.3), nn.Conv1d(out, out, 1, groups=units), nn.BatchNorm1d(out), nn.ReLU())
                    for _ in range(dense - 2)
                )
                self.last_linear = nn.Sequential(*last, nn.Flatten())
        self.linears = nn.Sequential(*layers)
        self.final = nn.Linear(units, classes)

    def forward(self, x: Tensor) -> Tensor:
        h = self.linears(x.repeat(1, self.units, 1))
        if self.dense > 2:
            for block in self.linears_bg:
                h = block(h)
            h = self.last_linear(h)
        return self.final(h)
