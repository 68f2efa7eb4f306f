"""Do two networks score the same on data? AuROC, Pearson and Jensen-Shannon divergence of both, on one held-out set."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rcproof.errors import RcproofError, ShapeError
from rcproof.verify.discordance import divergence, pearson, probabilities
from rcproof.verify.report import Check, Report
from rcproof.verify.running import Inputs, as_cases, call, describe, name_of, place, prepare, values
from rcproof.verify.tolerances import tolerance_for

#: How far the same metric of two equal networks may be apart in float64, where rounding changes no rank.
TOLERANCE = 1e-9
LARGEST_BATCH = 64


def auroc(labels: Tensor, scores: Tensor) -> float:
    """Area under the ROC curve: the share of pairs (positive, negative) in the right order, ties counting half.

    >>> auroc(torch.tensor([0., 1., 1.]), torch.tensor([0.1, 0.1, 0.7]))
    0.75
    """
    ordered, ranks = torch.unique(scores.double(), return_inverse=True)
    positive = torch.bincount(ranks[labels > 0.5], minlength=len(ordered)).double()
    negative = torch.bincount(ranks[labels <= 0.5], minlength=len(ordered)).double()
    if not float(positive.sum()) or not float(negative.sum()):
        raise RcproofError("AuROC", got="labels of one class", expected="positive and negative labels")
    below = negative.cumsum(0) - negative
    return float((positive * (below + 0.5 * negative)).sum() / (positive.sum() * negative.sum()))


def metric_equality(
    a: nn.Module,
    b: nn.Module,
    inputs: Inputs,
    labels: Tensor | Sequence[Tensor | None] | None = None,
    *,
    dtype: torch.dtype = torch.float64,
    title: str = "the same metrics on data",
) -> Report:
    """Whether two networks have the same metrics on the same examples, in ``dtype`` and eval mode.

    ``labels``: a tensor, or one or None for each output. By their kind: zeros and ones of the shape of a rank-2
    output are scored by AuROC, task by task; other numbers by Pearson's correlation; counts along a profile
    (N, C, L) by the mean Jensen-Shannon divergence of the two distributions, and by Pearson's correlation. Without
    labels both networks' answers are compared with each other by the same measures. AuROC may differ by no more than
    the pairs whose order rounding can turn: those closer than the tolerance for ``dtype``.

    Raises :class:`~rcproof.errors.ShapeError` for labels that fit no output.

    >>> net = nn.Sequential(nn.Conv1d(4, 1, 5), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    >>> metric_equality(net, net, torch.randn(6, 4, 20), labels=torch.tensor([[0.0], [1.0]] * 3)).passed
    True
    """
    cases = as_cases(inputs)
    mine, theirs = (_answers(prepare(m, dtype), cases, dtype) for m in (a, b))
    if mine.keys() != theirs.keys():
        return Report(title, (Check.failure("outputs", f"{', '.join(mine)} of a, {', '.join(theirs)} of b"),))
    given = _matched(labels, list(mine))
    checks = []
    facts = {"examples": str(sum(len(c.tensors[0]) for c in cases)), "dtype": name_of(dtype)}
    for (name, x), label in zip(mine.items(), given, strict=True):
        y = theirs[name]
        if x.shape != y.shape or not bool(torch.isfinite(x).all() and torch.isfinite(y).all()):
            checks.append(Check.failure(name, f"shape {tuple(x.shape)} and {tuple(y.shape)}, or values not finite"))
        elif label is None:
            checks += _agreement(name, x, y)
        else:
            checks += _scored(name, x, y, label, dtype, facts)
    return Report(title, tuple(checks), facts)


def _answers(model: nn.Module, cases: Sequence[object], dtype: torch.dtype) -> dict[str, Tensor]:
    found: dict[str, list[Tensor]] = {}
    for case in as_cases(cases):  # type: ignore[arg-type]
        for start in range(0, len(case.tensors[0]), LARGEST_BATCH):
            tensors = place([t[start : start + LARGEST_BATCH] for t in case.tensors], model, dtype)
            try:
                with torch.no_grad():
                    outputs = call(model, tensors)
            except Exception as problem:
                shapes = ", ".join(str(tuple(t.shape)) for t in tensors)
                raise RcproofError(
                    f"the model does not run on inputs of shape {shapes}", got=describe(problem)
                ) from None
            for name, t in outputs.items():
                found.setdefault(name, []).append(values(t))
    return {name: torch.cat(rows) for name, rows in found.items()}


def _matched(labels: Tensor | Sequence[Tensor | None] | None, names: list[str]) -> list[Tensor | None]:
    if labels is None:
        return [None] * len(names)
    given: list[Tensor | None] = [labels] if isinstance(labels, Tensor) else list(labels)
    if len(given) != len(names):
        raise ShapeError(
            "labels", got=f"{len(given)} for the outputs {', '.join(names)}", expected="one, or None, each"
        )
    return given


def _agreement(name: str, x: Tensor, y: Tensor) -> list[Check]:
    """Both answers against each other."""
    if x.dim() == 3:
        worst = float(divergence(x, y, "profile").max())
        return [Check.of(f"{name}: JSD of the two answers, in bits", worst, TOLERANCE)]
    found = pearson(x.flatten(), y.flatten())
    apart = float((x - y).abs().max()) if found is None else abs(1 - found)
    return [Check.of(f"{name}: 1 − Pearson of the two answers", apart, TOLERANCE)]


def _scored(name: str, x: Tensor, y: Tensor, label: Tensor, dtype: torch.dtype, facts: dict[str, str]) -> list[Check]:
    t = label.double()
    if t.numel() == x.numel() and t.shape[0] == x.shape[0]:
        t = t.reshape(x.shape)
    if t.shape != x.shape:
        raise ShapeError(f"labels of {name}", got=f"shape {tuple(t.shape)}", expected=f"{tuple(x.shape)}")
    mine, theirs = (pearson(v.flatten(), t.flatten()) for v in (x, y))
    both = _same(f"{name}: Pearson", mine, theirs, TOLERANCE, facts)
    if x.dim() == 3:
        if bool((t < 0).any()):
            raise RcproofError(f"labels of {name}", got="negative numbers", expected="counts along positions")
        truth = probabilities(t, "counts")
        one, two = (float(divergence(probabilities(v, "profile"), truth, "profile").mean()) for v in (x, y))
        return [_same(f"{name}: JSD", one, two, TOLERANCE, facts), both]
    if not bool(((t == 0) | (t == 1)).all()):
        return [both]
    x2, y2, t2 = (c.reshape(len(x), -1) for c in (x, y, t))
    close = tolerance_for(dtype).relative * float(x2.abs().max())
    checks = []
    for task in range(x2.shape[1]):
        first, second = auroc(t2[:, task], x2[:, task]), auroc(t2[:, task], y2[:, task])
        turned = _turnable(t2[:, task], x2[:, task], close)
        task_name = f"{name}: AuROC" + (f" of task {task}" if x2.shape[1] > 1 else "")
        checks.append(_same(task_name, first, second, turned + TOLERANCE, facts))
    return checks


def _turnable(labels: Tensor, scores: Tensor, close: float) -> float:
    """The share of pairs (positive, negative) whose scores are so close that rounding in either can turn them."""
    positive, negative = scores[labels > 0.5], scores[labels <= 0.5].sort().values
    low = torch.searchsorted(negative, positive - 2 * close)
    high = torch.searchsorted(negative, positive + 2 * close, right=True)
    return float((high - low).sum()) / (len(positive) * len(negative))


def _same(name: str, one: float | None, two: float | None, tolerance: float, facts: dict[str, str]) -> Check:
    if one is None or two is None:
        if one is two:
            return Check.of(name, 0.0, tolerance, "not defined for either: an answer or the labels are constant")
        return Check.failure(name, "defined for one network only: the other's answer is constant", tolerance)
    facts[name] = f"{one:.6f} of a, {two:.6f} of b"
    return Check.of(name, abs(one - two), tolerance)
