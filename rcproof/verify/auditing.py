"""How far is a network from strand symmetry? Numbers for any model, with nothing to pass or fail."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rcproof.errors import RcproofError, ShapeError
from rcproof.strand import RepresentationLike
from rcproof.verify.audit_report import AuditReport, OutputAudit
from rcproof.verify.running import Inputs, act, as_cases, call, describe, match, name_of, place, prepare, values

#: What an output is, and with it what a decision is. ``score``: a probability, decided at ½. ``logit``:
#: decided at 0. ``profile``: logits or probabilities over positions. ``counts``: no decision.
KINDS = ("score", "logit", "profile", "counts")


def audit(
    model: nn.Module,
    inputs: Inputs,
    input_representations: RepresentationLike | Sequence[RepresentationLike],
    output_representations: RepresentationLike | Sequence[RepresentationLike],
    *,
    kinds: str | Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    batch_size: int = 64,
    dtype: torch.dtype = torch.float64,
) -> AuditReport:
    """How far ``model`` is from model(x) = ρ_out model(ρ_in x), on the given examples.

    ``inputs`` as in :func:`~rcproof.verify.equivalence.check_equivalence`; several cases are audited
    as one set, so their outputs must have one shape. ``kinds`` is one of ``score``, ``logit``,
    ``profile``, ``counts`` for each output; by default rank 3 is a profile, and rank 1 or 2 a score if all
    values lie in [0, 1], a logit if some are negative, else counts. ``names`` are the examples' names (of
    a FASTA file, say). Runs in ``dtype`` and eval mode, ``batch_size`` examples at a time; the model is not
    changed. Profiles go through a softmax over positions, unless they are non-negative and sum to 1
    already; counts of rank 3 are divided by their sums.
    """
    cases = as_cases(inputs)
    total = sum(len(case.tensors[0]) for case in cases)
    labels = list(names) if names is not None else [f"{c.name} #{i}" for c in cases for i in range(len(c.tensors[0]))]
    if len(labels) != total:
        raise RcproofError("names of the examples", got=len(labels), expected=f"{total}, one for each example")
    if batch_size < 1:
        raise RcproofError("batch size", got=batch_size, expected="at least 1")
    ready = prepare(model, dtype)
    rho_in = match(input_representations, len(cases[0].tensors), "input")
    own: dict[str, list[Tensor]] = {}
    other: dict[str, list[Tensor]] = {}
    for case in cases:
        match(rho_in, len(case.tensors), "input")
        for start in range(0, len(case.tensors[0]), batch_size):
            tensors = place([t[start : start + batch_size] for t in case.tensors], ready, dtype)
            mirrored = tuple(act(rho, t) for rho, t in zip(rho_in, tensors, strict=True))
            for rows, given in ((own, tensors), (other, mirrored)):
                for name, t in _run(ready, given).items():
                    rows.setdefault(name, []).append(_batched(name, t, len(tensors[0])))
    rho_out = match(output_representations, len(own), "output")
    outputs = []
    for rho, kind, name in zip(rho_out, _kinds(kinds, len(own)), own, strict=True):
        y, y2 = _joined(name, own[name]), act(rho, _joined(name, other.get(name, [])))
        outputs.append(_audit_one(name, kind, str(rho), y, y2, labels))
    facts = {
        "model": type(model).__name__,
        "inputs": ", ".join(map(str, rho_in)),
        "outputs": ", ".join(map(str, rho_out)),
        "dtype": name_of(dtype),
    }
    return AuditReport(tuple(outputs), total, facts)


def _run(model: nn.Module, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
    try:
        with torch.no_grad():
            return call(model, tensors)
    except RcproofError:
        raise
    except Exception as problem:
        shapes = ", ".join(str(tuple(t.shape)) for t in tensors)
        raise RcproofError(f"the model does not run on inputs of shape {shapes}", got=describe(problem)) from problem


def _kinds(kinds: str | Sequence[str] | None, count: int) -> list[str | None]:
    if kinds is None:
        return [None] * count
    given = [kinds] if isinstance(kinds, str) else list(kinds)
    if len(given) != count or any(kind not in KINDS for kind in given):
        raise RcproofError(
            "kinds of the outputs", got=", ".join(map(str, given)), expected=f"{count} of {', '.join(KINDS)}"
        )
    return list(given)


def _batched(name: str, t: Tensor, n: int) -> Tensor:
    if t.dim() == 0 or len(t) != n:
        raise ShapeError(f"{name} of a batch of {n}", got=f"shape {tuple(t.shape)}", expected="the batch as first axis")
    return values(t)


def _joined(name: str, rows: list[Tensor]) -> Tensor:
    shapes = {tuple(t.shape[1:]) for t in rows}
    if len(shapes) != 1:
        raise ShapeError(
            f"{name} over all examples",
            got=f"shapes {sorted(shapes)}",
            expected="one shape",
            fix="audit one length at a time",
        )
    return torch.cat(rows)


def _infer(y: Tensor) -> str:
    if y.dim() > 2:
        return "profile"
    if bool((y < 0).any()):
        return "logit"
    return "score" if bool((y <= 1).all()) else "counts"


def _audit_one(name: str, kind: str | None, rho: str, y: Tensor, y2: Tensor, labels: Sequence[str]) -> OutputAudit:
    if y.shape != y2.shape:
        raise ShapeError(f"{name} of the two strands", got=f"shapes {tuple(y.shape)} and {tuple(y2.shape)}")
    n = len(y)
    finite = torch.isfinite(y.reshape(n, -1)).all(1) & torch.isfinite(y2.reshape(n, -1)).all(1)
    index = finite.nonzero().flatten()
    a, b = y[index], y2[index]
    what = kind or _infer(a)
    shape = tuple(y.shape)
    if not a.numel():
        return OutputAudit(name, what, kind is None, rho, shape, not_finite=n - len(index))
    difference = (a - b).abs()
    by_example = difference.reshape(len(a), -1).amax(1)
    worst = int(index[int(by_example.argmax())])
    largest, mean, scale = float(difference.max()), float(difference.mean()), float(a.abs().max())
    jsd = _divergence(a, b, what) if a.dim() == 3 and what in ("profile", "counts") else None
    threshold = {"score": 0.5, "logit": 0.0}.get(what)
    return OutputAudit(
        name=name,
        kind=what,
        inferred=kind is None,
        representation=rho,
        shape=shape,
        max_difference=largest,
        mean_difference=mean,
        scale=scale,
        relative_max=_ratio(largest, scale),
        relative_mean=_ratio(mean, scale),
        flipped_share=None if threshold is None else float(((a > threshold) != (b > threshold)).double().mean()),
        jsd_mean=None if jsd is None else float(jsd.mean()),
        jsd_max=None if jsd is None else float(jsd.max()),
        pearson=_pearson(a.flatten(), b.flatten()),
        worst_example=worst,
        worst_name=labels[worst],
        not_finite=n - len(index),
    )


def _ratio(difference: float, scale: float) -> float:
    return difference / scale if scale > 0 else (0.0 if difference == 0 else math.inf)


def _distribution(y: Tensor, kind: str) -> Tensor:
    """(N, C, L) → probabilities over the last axis."""
    sums = y.sum(2, keepdim=True)
    if bool((y >= 0).all()) and bool(((sums - 1).abs() <= 1e-6).all()):
        return y
    if kind == "counts":
        if bool((y < 0).any()):
            raise RcproofError("counts along positions must not be negative", fix="audit this output as a profile")
        return torch.where(sums > 0, y / sums.clamp_min(torch.finfo(y.dtype).tiny), 1 / y.shape[2])
    return y.softmax(2)


def _divergence(a: Tensor, b: Tensor, kind: str) -> Tensor:
    """Jensen-Shannon divergence in bits of each example and channel, (N, C)."""
    p, q = _distribution(a, kind), _distribution(b, kind)
    m = (p + q) / 2
    each = (torch.xlogy(p, p) - torch.xlogy(p, m) + torch.xlogy(q, q) - torch.xlogy(q, m)) / 2
    return (each.sum(2) / math.log(2)).clamp_min(0.0)


def _pearson(a: Tensor, b: Tensor) -> float | None:
    # A constant's deviations from its mean are rounding, and their direction means nothing.
    if any(float(t.max() - t.min()) <= 1e-12 * float(t.abs().max()) for t in (a, b)):
        return None
    a, b = a - a.mean(), b - b.mean()
    return float((a / a.norm() * (b / b.norm())).sum())
