"""Models that no RC contract may pass. Each breaks one thing and is right otherwise."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rcproof.conjoined import Conjoined
from rcproof.strand import rc, tie


def trunk(outputs: int = 2) -> nn.Module:
    return nn.Sequential(nn.Conv1d(4, 6, 5), nn.BatchNorm1d(6), nn.Tanh(), nn.Conv1d(6, outputs, 4))


class Right(nn.Module):
    """A conjoined network with two outputs: a stranded profile, and scores."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.dense = trunk(), nn.Linear(2, 3)

    def one(self, x: Tensor) -> tuple[Tensor, Tensor]:
        profile = self.net(x)
        return profile, self.dense(profile.mean(2))

    def merge(self, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return (first[0] + rc(second[0])) / 2, (first[1] + second[1]) / 2

    def both(self, x: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        profile, score = self.one(torch.cat([x, other]))
        return self.merge((profile[: len(x)], score[: len(x)]), (profile[len(x) :], score[len(x) :]))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.both(x, rc(x))


class WrongComplement(Right):
    """A and C, G and T are exchanged."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.both(x, rc(x, "perm:1,0,3,2"))


class OneOutputUnswapped(Right):
    """Plus and minus of the profile are not exchanged; the scores are right."""

    def merge(self, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return (first[0] + second[0].flip(2)) / 2, (first[1] + second[1]) / 2


class OneStrand(Right):
    """No symmetry at all."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.one(x)


class Constant(Right):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        profile, score = super().forward(x)
        return torch.ones_like(profile) + 0 * profile, torch.ones_like(score) + 0 * score


class Zero(Right):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        profile, score = super().forward(x)
        return 0 * profile, 0 * score


class NotANumber(Right):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        profile, score = super().forward(x)
        return profile * float("nan"), score * float("nan")


class TinyScale(OneStrand):
    """Wrong, and everywhere smaller than any absolute tolerance."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        profile, score = super().forward(x)
        return profile * 1e-14, score * 1e-14


class BesideALargeConstant(OneStrand):
    """Wrong in what tells one sequence from another, which is small beside the constant."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        profile, score = super().forward(x)
        return 1 + 1e-6 * profile, 1 + 1e-6 * score


class SlightlyWrong(Right):
    """In the ninth digit, on one strand."""

    def merge(self, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return super().merge(first, (second[0] * (1 + 1e-9), second[1]))


class DropoutInEval(Right):
    def merge(self, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        profile, score = super().merge(first, second)
        return profile, F.dropout(score, 0.5)


class MixesExamples(Right):
    """Subtracts the mean of the batch."""

    def merge(self, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        profile, score = super().merge(first, second)
        return profile, score - 0.01 * score.mean(0)


class TwoPasses(Right):
    """Each strand is normalised by its own statistics, so the running ones depend on the strand given (T10)."""

    def both(self, x: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        return self.merge(self.one(x), self.one(other))


class OneStrandDetached(Right):
    """The right answer, learned from one strand alone."""

    def merge(self, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return super().merge(first, (second[0].detach(), second[1].detach()))


class NoGradient(Right):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        profile, score = super().forward(x)
        return profile.detach() + 0 * x.sum(), score.detach() + 0 * x.sum()


class CountsInEval(Right):
    """Running it changes it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.calls += 1
        return super().forward(x)


class ForgetsItsStatistics(Right):
    """A running statistic that is no buffer, so the state dict lacks it."""

    def __init__(self) -> None:
        super().__init__()
        self.level = 0.0

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        profile, score = super().forward(x)
        if self.training:
            self.level += float(x.detach().square().mean())
        return profile, score + self.level


class SingleOnly(Right):
    """Answers in float32 whatever it is in."""

    def merge(self, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        profile, score = super().merge(first, second)
        return profile, score.float()


class UnflippedKernel(nn.Module):
    """A tied convolution whose other kernel is complemented and not reversed."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.dense = nn.Parameter(torch.randn(6, 4, 5)), nn.Conv1d(6, 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = F.conv1d(x, torch.cat([self.weight, self.weight.flip(0, 1)])).tanh()
        a, b = y.chunk(2, 1)
        profile = self.dense(a) + rc(self.dense(rc(b)))
        return profile, profile.mean(2)


class MisalignedPool(nn.Module):
    """A tied convolution, then a plain pooling of the pairs: right at every third length."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.dense = nn.Parameter(torch.randn(6, 4, 5)), nn.Conv1d(6, 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = F.max_pool1d(F.conv1d(x, tie(self.weight)).tanh(), 3)
        a, b = y.chunk(2, 1)
        profile = self.dense(a) + rc(self.dense(rc(b)))
        return profile, torch.cat([profile.mean(2).sum(1, keepdim=True)] * 3, 1)


def conjoined() -> nn.Module:
    return Conjoined(trunk(), outputs="reversal")
