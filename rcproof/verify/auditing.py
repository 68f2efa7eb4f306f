"""How far is a network from strand symmetry? Numbers for any model, with nothing to pass or fail."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rcproof.errors import RcproofError, ShapeError
from rcproof.strand import RepresentationLike
from rcproof.verify.audit_report import Answers, AuditReport, OutputAudit, TaskAudit, WorstExample
from rcproof.verify.discordance import (
    KINDS,
    discordance,
    infer_kind,
    is_distribution,
    measure,
    normalised,
    probabilities,
)
from rcproof.verify.running import Inputs, act, as_cases, call, describe, match, name_of, place, prepare, values

#: Genome coordinates in the name of a sequence, as in ``chr1:100-200`` or ``peak_1::chr1:100-200(+)``.
COORDINATES = re.compile(r"[\w.]+:\d[\d,]*-\d[\d,]*(\([+-]\))?")


def audit(
    model: nn.Module,
    inputs: Inputs,
    input_representations: RepresentationLike | Sequence[RepresentationLike],
    output_representations: RepresentationLike | Sequence[RepresentationLike],
    *,
    kinds: str | Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    worst: int = 5,
    batch_size: int = 64,
    dtype: torch.dtype = torch.float64,
) -> AuditReport:
    """How far ``model`` is from model(x) = ρ_out model(ρ_in x), on the given examples.

    ``inputs`` as in :func:`~rcproof.verify.equivalence.check_equivalence`; several cases are audited
    as one set, so their outputs must have one shape. ``kinds`` is one of
    :data:`~rcproof.verify.discordance.KINDS` for each output; by default rank 3 is a profile, and rank 1 or 2 is
    classes if its rows are distributions, a score if all values lie in [0, 1], log counts beside a profile, a logit if
    some are negative, else counts. ``names`` are the examples' names (of a FASTA file, say), ``worst`` how many of
    those with the largest disagreement are listed. Runs in ``dtype`` and eval mode, ``batch_size`` examples at a time;
    the model is not changed.

    Profiles (N, C, L) go through a softmax over positions, classes (N, C) over axis 1, unless they are non-negative
    and sum to 1 already; counts of rank 3 are divided by their sums.

    Raises :class:`~rcproof.errors.RcproofError` for inputs on which the model does not run, names or kinds that do not
    fit, negative counts; :class:`~rcproof.errors.ShapeError` for outputs without the batch in front.

    >>> net = nn.Sequential(nn.Conv1d(4, 2, 5), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    >>> audit(net, torch.randn(8, 4, 30), "reversal", "fixed").symmetric()
    False
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
    answers = {
        name: (_joined(name, own[name]), act(rho, _joined(name, other.get(name, []))))
        for rho, name in zip(rho_out, own, strict=True)
    }
    beside = any(y.dim() == 3 for y, _ in answers.values())
    outputs = []
    for rho, kind, (name, (y, y2)) in zip(rho_out, _kinds(kinds, len(own)), answers.items(), strict=True):
        if y.shape != y2.shape:
            raise ShapeError(f"{name} of the two strands", got=f"shapes {tuple(y.shape)} and {tuple(y2.shape)}")
        what = kind or infer_kind(y[_finite(y, y2)], beside)
        outputs.append(_audit_one(name, what, kind is None, str(rho), y, y2, labels, worst))
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


def _audit_one(
    name: str, kind: str, inferred: bool, rho: str, y: Tensor, y2: Tensor, labels: Sequence[str], worst: int
) -> OutputAudit:
    n, shape = len(y), tuple(y.shape)
    examples = _finite(y, y2).nonzero().flatten()
    a, b = y[examples], y2[examples]
    if not a.numel():
        return OutputAudit(
            name=name, kind=kind, inferred=inferred, representation=rho, shape=shape, not_finite=n - len(examples)
        )
    if kind == "profile" and a.dim() == 2:  # (N, L): one channel
        a, b = a.unsqueeze(1), b.unsqueeze(1)
    if a.dim() == 1:
        a, b = a.unsqueeze(1), b.unsqueeze(1)
    tasks = a.shape[1] if kind != "classes" else 1
    return OutputAudit(
        name=name,
        kind=kind,
        inferred=inferred,
        representation=rho,
        shape=shape,
        normalised=normalised(a, 1 if kind == "classes" else -1) if kind in ("classes", "profile") else None,
        tasks=tuple(
            TaskAudit(task=t, **measure(a[:, t : t + 1], b[:, t : t + 1], kind))  # type: ignore[arg-type]
            for t in range(tasks)
        )
        if tasks > 1
        else (),
        worst=_worst(a, b, kind, examples, labels, worst),
        not_finite=n - len(examples),
        answers=Answers(a, b, examples),
        **measure(a, b, kind),  # type: ignore[arg-type]
    )


def _finite(a: Tensor, b: Tensor) -> Tensor:
    """The examples on which both strands give numbers, (N,)."""
    n = len(a)
    return torch.isfinite(a.reshape(n, -1)).all(1) & torch.isfinite(b.reshape(n, -1)).all(1)


def _worst(
    a: Tensor, b: Tensor, kind: str, examples: Tensor, labels: Sequence[str], count: int
) -> tuple[WorstExample, ...]:
    apart = discordance(a, b, kind)
    by_example, tasks = apart.max(1)
    found = []
    for i in by_example.argsort(descending=True, stable=True)[:count].tolist():
        task, label = int(tasks[i]), labels[int(examples[i])]
        coordinates = COORDINATES.search(label)
        own, own_at = _shown(a[i : i + 1], b[i : i + 1], kind, task)
        other, other_at = _shown(b[i : i + 1], a[i : i + 1], kind, task)
        found.append(
            WorstExample(
                example=int(examples[i]),
                name=label,
                coordinates=None if coordinates is None else coordinates.group(),
                task=task,
                discordance=float(by_example[i]),
                own=own,
                other=other,
                own_at=own_at,
                other_at=other_at,
            )
        )
    return tuple(found)


def _shown(y: Tensor, against: Tensor, kind: str, task: int) -> tuple[float, int | None]:
    """The answer to one example in a task, and for distributions where it is highest."""
    if is_distribution(y, kind):
        p = probabilities(y, kind)[0]
        p = p if kind == "classes" else p[task]
        at = int(p.argmax())
        return float(p[at]), at
    row = y[0, task].flatten()
    at = int((row - against[0, task].flatten()).abs().argmax())
    return float(row[at]), at if len(row) > 1 else None
