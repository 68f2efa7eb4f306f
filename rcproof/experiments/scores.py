"""Losses and metrics: of labels, and of profiles with their counts. All means over examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rcproof.experiments import fused
from rcproof.experiments.dataset import Action, Split
from rcproof.strand import rc

#: Batch of evaluations; it changes no result.
EVALUATION_BATCH = 500


def predict(
    model: nn.Module, split: Split, batch: int = EVALUATION_BATCH, reverse: Action | None = None, fast: bool = False
) -> Any:
    """A network's answers for a split, in eval mode; with ``reverse``, those that it gives for the other strand.

    ``fast`` runs it as it is trained (:mod:`rcproof.experiments.fused`), which changes rounding only.
    """
    was = model.training
    model.eval()
    parts = []
    with torch.inference_mode():
        for begin in range(0, len(split), batch):
            inputs, targets = split.rows(slice(begin, begin + batch))
            if reverse is not None:
                inputs, _ = reverse(inputs, targets)
            parts.append(fused.run(model, *inputs) if fast else model(*inputs))
    model.train(was)
    if isinstance(parts[0], Tensor):
        return torch.cat(parts)
    return tuple(torch.cat(column) for column in zip(*parts, strict=True))


@dataclass(frozen=True)
class Labels:
    """Objective of the tasks with labels: binary cross-entropy, averaged over tasks; AuROC and AuPRC, macro averages.

    Attributes:
        probabilities: whether the network answers with probabilities; else with logits.
    """

    probabilities: bool = False
    best: str = "auroc"
    highest: bool = True

    def loss(self, answers: Tensor, targets: tuple[Tensor, ...]) -> Tensor:
        """The mean loss of a batch."""
        if self.probabilities:
            return F.binary_cross_entropy(answers, targets[0])
        return F.binary_cross_entropy_with_logits(answers, targets[0])

    def metrics(self, answers: Tensor, split: Split) -> dict[str, float]:
        """Loss, AuROC and AuPRC of a split; the same against its other labels, if it has any."""
        from torchmetrics.functional.classification import binary_auroc, binary_average_precision

        found = {}
        # Ranks in place of scores: torchmetrics would take the sigmoid of logits, in which large ones coincide.
        ranked = [ranks(column) for column in answers.T]
        for prefix, labels in (("", split.targets[0]), ("other_", split.other)):
            if labels is None:
                continue
            found[f"{prefix}loss"] = self.loss(answers, (labels.float(),)).item()
            pairs = list(zip(ranked, labels.long().T, strict=True))
            if all(0 < int(y.sum()) < len(y) for _, y in pairs):
                found[f"{prefix}auroc"] = sum(binary_auroc(r, y).item() for r, y in pairs) / len(pairs)
                found[f"{prefix}auprc"] = sum(binary_average_precision(r, y).item() for r, y in pairs) / len(pairs)
        return found

    def strands(self, forward: Tensor, backward: Tensor) -> tuple[Tensor, Tensor]:
        """The answers of both strands, aligned; labels do not move."""
        return forward, backward


def ranks(scores: Tensor) -> Tensor:
    """Numbers in [0, 1] in the order of ``scores`` (N,), with the same ties.

    >>> ranks(torch.tensor([40.0, -1.0, 41.0, 40.0])).tolist()
    [0.5, 0.0, 1.0, 0.5]
    """
    _, order = torch.unique(scores, return_inverse=True)
    return order.double() / max(1, int(order.max()))


@dataclass(frozen=True)
class Profiles:
    """Objective of the profile tasks: multinomial NLL of each strand's profile, and squared error of log(1 + count).

    ``loss = Σ_strands NLL + counts_weight · Σ_strands (…)² / strands``. An unstranded track is read off the mean of the
    two channels that the network has.

    Attributes:
        stranded: whether the track has two strands.
        counts_weight: of the counts' error; a tenth of the median count of the training windows.
    """

    stranded: bool
    counts_weight: float
    best: str = "loss"
    highest: bool = False

    def read(self, answers: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Log counts (N, S) and profile logits (N, S, L′); S is 2 if stranded, else 1."""
        counts, profile = answers
        if self.stranded:
            return counts, profile
        return counts.mean(dim=1, keepdim=True), profile.mean(dim=1, keepdim=True)

    def parts(self, answers: tuple[Tensor, Tensor], targets: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Profile loss and counts loss."""
        counts, profile = self.read(answers)
        observed = targets[0]
        return multinomial_nll(observed, profile).sum(dim=1).mean(), F.mse_loss(counts, observed.sum(dim=2).log1p())

    def loss(self, answers: tuple[Tensor, Tensor], targets: tuple[Tensor, ...]) -> Tensor:
        """The mean loss of a batch."""
        profile, counts = self.parts(answers, targets)
        return profile + self.counts_weight * counts

    def metrics(self, answers: tuple[Tensor, Tensor], split: Split) -> dict[str, float]:
        """Losses, Jensen-Shannon divergence (bits) and correlations of profiles, correlation of log counts."""
        observed = split.targets[0].float()
        profile_loss, counts_loss = self.parts(answers, (observed,))
        counts, profile = self.read(answers)
        seen = observed.sum(dim=2) > 0
        p, q = observed[seen], profile.softmax(dim=2)[seen]
        return {
            "loss": (profile_loss + self.counts_weight * counts_loss).item(),
            "profile_nll": profile_loss.item(),
            "counts_mse": counts_loss.item(),
            "jsd": jensen_shannon(p / p.sum(dim=1, keepdim=True), q).mean().item(),
            "pearson": pearson(p, q).mean().item(),
            "counts_pearson": pearson(counts.flatten()[None], observed.sum(dim=2).log1p().flatten()[None]).item(),
        }

    def strands(
        self, forward: tuple[Tensor, Tensor], backward: tuple[Tensor, Tensor]
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """The answers of both strands, aligned: those of the reverse complement swap strands and reverse."""
        return forward, (rc(backward[0], "reversal"), rc(backward[1], "reversal"))


Objective = Labels | Profiles


def multinomial_nll(counts: Tensor, logits: Tensor) -> Tensor:
    """-log of the multinomial probability of ``counts`` (…, L) under softmax(logits), with its coefficient.

    >>> round(multinomial_nll(torch.tensor([1.0, 1.0]), torch.zeros(2)).item(), 4)  # 2 · ½ · ½
    0.6931
    """
    coefficient = torch.lgamma(counts.sum(dim=-1) + 1) - torch.lgamma(counts + 1).sum(dim=-1)
    return -coefficient - (counts * logits.log_softmax(dim=-1)).sum(dim=-1)


def jensen_shannon(p: Tensor, q: Tensor) -> Tensor:
    """Jensen-Shannon divergence of distributions along the last axis, in bits."""
    middle = (p + q) / 2

    def divergence(a: Tensor) -> Tensor:
        return (torch.xlogy(a, a) - torch.xlogy(a, middle)).sum(dim=-1)

    return (divergence(p) + divergence(q)) / 2 / torch.log(torch.tensor(2.0))


def pearson(a: Tensor, b: Tensor) -> Tensor:
    """Pearson correlation along the last axis; 0 where one of the two is constant."""
    a, b = a - a.mean(dim=-1, keepdim=True), b - b.mean(dim=-1, keepdim=True)
    return (a * b).sum(dim=-1) / (a.norm(dim=-1) * b.norm(dim=-1)).clamp(min=1e-12)


def both_strands(model: nn.Module, split: Split, action: Action, objective: Objective) -> tuple[Any, Any]:
    """What a single-strand network says of a split reading either strand, the second turned back to match the first.

    Theorem T9 is about these two: the loss of their mean is at most the mean of their losses.
    """
    return objective.strands(predict(model, split), predict(model, split, reverse=action))


def mean_of(a: Any, b: Any) -> Any:
    """The mean of two answers, tensor by tensor: what the conjoined network says."""
    if isinstance(a, Tensor):
        return (a + b) * 0.5
    return tuple(mean_of(x, y) for x, y in zip(a, b, strict=True))
