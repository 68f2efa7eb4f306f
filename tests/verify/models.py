"""Small networks to check the checks on: right ones, written with plain torch and ``rc``, and wrong ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from rcproof.strand import RepresentationLike, rc


class Profile(nn.Module):
    """(N, 4, L) → (N, 2, L′): an ordinary network, on one strand."""

    def __init__(self, seed: int = 0, filters: int = 5) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first = nn.Conv1d(4, filters, 7)
        self.second = nn.Conv1d(filters, 2, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).relu())


class Score(nn.Module):
    """(N, 4, L) → (N, tasks), with batch norm and max pooling: what a binary classifier is."""

    def __init__(self, seed: int = 0, tasks: int = 1) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv, self.norm = nn.Conv1d(4, 6, 5), nn.BatchNorm1d(6)
        self.head = nn.Linear(6, tasks)
        self.norm.running_mean.normal_()  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        h = nn.functional.max_pool1d(self.norm(self.conv(x)).relu(), 4, 3)
        return self.head(h.mean(2))


class Both(nn.Module):
    """Conjoined by hand: ½ (net(x) + ρ_out net(ρ_in x))."""

    def __init__(
        self, net: nn.Module, source: RepresentationLike = "reversal", output: RepresentationLike = "reversal"
    ) -> None:
        super().__init__()
        self.net, self.source, self.output = net, source, output

    def forward(self, x: Tensor) -> Tensor:
        return (self.net(x) + rc(self.net(rc(x, self.source)), self.output)) / 2


class OnePass(Both):
    """The same function in one pass over a doubled batch, added the other way round."""

    def forward(self, x: Tensor) -> Tensor:
        own, other = self.net(torch.cat([x, rc(x, self.source)])).chunk(2)
        return 0.5 * rc(other, self.output) + 0.5 * own


class TwoHeads(nn.Module):
    """(sequence, control) → {"profile": (N, 2, L′), "counts": (N, 1)}, with the control's counts in a logarithm."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.body = Profile(seed)
        self.counts = nn.Linear(4, 1)

    def forward(self, x: Tensor, control: Tensor) -> dict[str, Tensor]:
        y = self.body(x)
        both = torch.cat([y.mean(2), torch.log1p(control.sum(2))], dim=1)
        return {"profile": y, "counts": self.counts(both)}


class Applied(nn.Module):
    """A function after a network: mutants in one line."""

    def __init__(self, net: nn.Module, after: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.net, self.after = net, after

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.net(x))


class Function(nn.Module):
    """A function of the inputs as a module."""

    def __init__(self, function: Callable[..., object]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> object:
        return self.function(*inputs)


class Tokens(nn.Module):
    """Integer base codes (N, L) → (N, 1)."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embedding, self.head = nn.Embedding(5, 3), nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embedding(x)
        return self.head((h[:, 1:] * h[:, :-1].cumsum(1)).mean(1))
