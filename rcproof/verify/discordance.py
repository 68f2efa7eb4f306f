"""How far two answers to one question are apart, in the terms of the question: one set of measures for each kind."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rcproof.errors import RcproofError

#: What an output is, and with it how its strands are compared. ``score``: a probability for each task, decided at ½.
#: ``logit``: the same before the sigmoid, decided at 0. ``classes``: probabilities of exclusive classes, or logits of
#: them; the largest is the decision. ``value``: any number. ``counts``: non-negative, compared by their ratio.
#: ``log-counts``: natural logarithms of counts. ``profile``: logits or probabilities over positions.
KINDS = ("score", "logit", "classes", "value", "counts", "log-counts", "profile")

#: Added to counts before their logarithm is taken, so that zero has one.
PSEUDO_COUNT = 1.0


@dataclass(frozen=True, kw_only=True)
class Measures:
    """Answers y and y′ to the same examples. What does not apply to the kind, or is not defined, is None.

    Attributes:
        max_difference, median_difference, mean_difference: of \\|y − y′\\| over all values.
        scale: max \\|y\\|; ``relative_max`` and ``relative_mean`` are the differences divided by it.
        pearson, spearman: correlation of y and y′ over all values; None where either is constant.
        flipped_share: share of decisions, one for each example and task, that the strands take differently.
        flipped_examples: share of examples with at least one such task.
        probability_mean, probability_median, probability_max: of \\|p − p′\\|, for logits after sigmoid or softmax.
        jsd_mean, jsd_median, jsd_max: Jensen-Shannon divergence in bits (logarithm to base 2, so within 0..1; its
            square root is the distance of that name) of distributions over positions or classes.
        within_pearson_mean, within_pearson_min: Pearson's correlation of the two profiles of an example and channel.
        log_mean, log_median, log_max: of \\|log y − log y′\\|, natural, with PSEUDO_COUNT added to counts.
        fold_mean, fold_max: the same as ratios, exp of ``log_mean`` and ``log_max``.
    """

    max_difference: float = math.nan
    median_difference: float = math.nan
    mean_difference: float = math.nan
    scale: float = math.nan
    relative_max: float = math.nan
    relative_mean: float = math.nan
    pearson: float | None = None
    spearman: float | None = None
    flipped_share: float | None = None
    flipped_examples: float | None = None
    probability_mean: float | None = None
    probability_median: float | None = None
    probability_max: float | None = None
    jsd_mean: float | None = None
    jsd_median: float | None = None
    jsd_max: float | None = None
    within_pearson_mean: float | None = None
    within_pearson_min: float | None = None
    log_mean: float | None = None
    log_median: float | None = None
    log_max: float | None = None
    fold_mean: float | None = None
    fold_max: float | None = None


def infer_kind(y: Tensor, beside_profile: bool = False) -> str:
    """The likely kind of an output (N, …), from its rank and values; ``beside_profile``: another output is one."""
    if y.dim() > 2:
        return "profile"
    within = bool(((y >= 0) & (y <= 1)).all())
    if within and y.numel() and y.dim() == 2 and y.shape[1] > 1 and normalised(y):
        return "classes"
    if within:
        return "score"
    if beside_profile and bool((y <= 30).all()):
        return "log-counts"
    return "logit" if bool((y < 0).any()) else "counts"


def measure(a: Tensor, b: Tensor, kind: str) -> dict[str, float | None]:
    """The :class:`Measures` of two finite answers (N, …) of one shape, N ≥ 1, as a dictionary of what applies.

    Raises :class:`~rcproof.errors.RcproofError` for negative counts.
    """
    difference = (a - b).abs()
    largest, mean, scale = float(difference.max()), float(difference.mean()), float(a.abs().max())
    found: dict[str, float | None] = {
        "max_difference": largest,
        "median_difference": float(difference.median()),
        "mean_difference": mean,
        "scale": scale,
        "relative_max": _ratio(largest, scale),
        "relative_mean": _ratio(mean, scale),
        "pearson": pearson(a.flatten(), b.flatten()),
        "spearman": spearman(a.flatten(), b.flatten()),
    }
    flips = decisions_differ(a, b, kind)
    if flips is not None:
        found["flipped_share"] = float(flips.double().mean())
        found["flipped_examples"] = float(flips.reshape(len(a), -1).any(1).double().mean())
        p, q = probabilities(a, kind), probabilities(b, kind)
        found |= _spread("probability", (p - q).abs())
    if is_distribution(a, kind):
        found |= _spread("jsd", divergence(a, b, kind))
        if kind != "classes":
            p, q = _rows(probabilities(a, kind)), _rows(probabilities(b, kind))
            within = [pearson(x, y) for x, y in zip(p, q, strict=True)]
            known = [r for r in within if r is not None]
            if known:
                found |= {"within_pearson_mean": sum(known) / len(known), "within_pearson_min": min(known)}
    if kind in ("counts", "log-counts"):
        logs = log_ratio(a, b, kind)
        found |= _spread("log", logs)
        found |= {"fold_mean": _exp(float(logs.mean())), "fold_max": _exp(float(logs.max()))}
    return found


def discordance(a: Tensor, b: Tensor, kind: str) -> Tensor:
    """(N, T): how far the strands are apart on each example and task, in the measure by which the worst are chosen.

    The divergence for distributions, the log ratio for counts, else the difference itself.
    """
    if is_distribution(a, kind):
        found = divergence(a, b, kind)
    elif kind in ("counts", "log-counts"):
        found = log_ratio(a, b, kind)
    else:
        found = (a - b).abs()
    return found.reshape(len(found), found.shape[1] if found.dim() > 1 else 1, -1).amax(2)


def decisions_differ(a: Tensor, b: Tensor, kind: str) -> Tensor | None:
    """Where the strands decide differently, (N, …); None for kinds that decide nothing."""
    if kind == "classes":
        return a.argmax(1, keepdim=True) != b.argmax(1, keepdim=True)
    threshold = {"score": 0.5, "logit": 0.0}.get(kind)
    return None if threshold is None else (a > threshold) != (b > threshold)


def is_distribution(y: Tensor, kind: str) -> bool:
    """Whether an output is compared by Jensen-Shannon divergence."""
    return kind in ("profile", "classes") or (kind == "counts" and y.dim() == 3)


def normalised(y: Tensor, axis: int = -1) -> bool:
    """Whether ``y`` is non-negative and sums to 1 along an axis: a distribution already."""
    return bool((y >= 0).all()) and bool(((y.sum(axis) - 1).abs() <= 1e-6).all())


def probabilities(y: Tensor, kind: str) -> Tensor:
    """What an output says as probabilities: over positions for profiles and counts, over axis 1 for classes.

    Profiles and classes that sum to 1 stay; others go through a softmax; counts are divided by their sums.
    """
    if kind == "logit":
        return y.sigmoid()
    if kind == "score":
        return y
    axis = 1 if kind == "classes" else -1
    if normalised(y, axis):
        return y
    if kind == "counts":
        _not_negative(y)
        sums = y.sum(axis, keepdim=True)
        return torch.where(sums > 0, y / sums.clamp_min(torch.finfo(y.dtype).tiny), 1 / y.shape[axis])
    return y.softmax(axis)


def divergence(a: Tensor, b: Tensor, kind: str) -> Tensor:
    """Jensen-Shannon divergence in bits: (N, C) of profiles (N, C, L) or (N, L), (N, 1) of classes."""
    p, q = probabilities(a, kind), probabilities(b, kind)
    m = (p + q) / 2
    each = (torch.xlogy(p, p) - torch.xlogy(p, m) + torch.xlogy(q, q) - torch.xlogy(q, m)) / 2
    found = (each.sum(1 if kind == "classes" else -1) / math.log(2)).clamp_min(0.0)
    return found.reshape(len(a), -1)


def log_ratio(a: Tensor, b: Tensor, kind: str) -> Tensor:
    """The difference of log counts, without its sign. Counts along positions are added up first."""
    if kind == "log-counts":
        return (a - b).abs()
    _not_negative(a)
    _not_negative(b)
    if a.dim() == 3:
        a, b = a.sum(2), b.sum(2)
    return ((a + PSEUDO_COUNT).log() - (b + PSEUDO_COUNT).log()).abs()


def _not_negative(y: Tensor) -> None:
    if bool((y < 0).any()):
        if y.dim() == 3:
            raise RcproofError("counts along positions must not be negative", fix="audit this output as a profile")
        raise RcproofError("counts must not be negative", fix="audit this output as log-counts or as a value")


def _spread(name: str, values: Tensor) -> dict[str, float | None]:
    return {
        f"{name}_mean": float(values.mean()),
        f"{name}_median": float(values.median()),
        f"{name}_max": float(values.max()),
    }


def _rows(y: Tensor) -> Tensor:
    return y.reshape(-1, y.shape[-1])


def _ratio(difference: float, scale: float) -> float:
    return difference / scale if scale > 0 else (0.0 if difference == 0 else math.inf)


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf


def pearson(a: Tensor, b: Tensor) -> float | None:
    """Pearson's correlation of two vectors; None where either is constant but for rounding."""
    # A constant's deviations from its mean are rounding, and their direction means nothing.
    if any(float(t.max() - t.min()) <= 1e-12 * float(t.abs().max()) for t in (a, b)):
        return None
    a, b = a - a.mean(), b - b.mean()
    return float((a / a.norm() * (b / b.norm())).sum())


def spearman(a: Tensor, b: Tensor) -> float | None:
    """Spearman's correlation of two vectors: Pearson's of their ranks, where ties share the mean rank."""
    if pearson(a, b) is None:
        return None
    return pearson(_ranks(a), _ranks(b))


def _ranks(t: Tensor) -> Tensor:
    _, place, count = torch.unique(t, return_inverse=True, return_counts=True)
    middle: Tensor = count.cumsum(0).double() - (count.double() - 1) / 2
    return middle[place]
