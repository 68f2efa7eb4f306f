"""Jensen's inequality (T9) for an output that was audited: which losses it covers, and both sides of it on labels.

The guarantee is about the *mean* of the strands, and about losses that are convex in the merged output. It compares the
conjoined network with the mean of the two single-strand losses, so with the loss that one expects if the strand
of a sequence is arbitrary; one strand alone may by chance do better than that mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from rcproof.errors import RcproofError, ShapeError
from rcproof.verify.audit_report import OutputAudit
from rcproof.verify.report import number

#: In float64 both sides of the inequality are sums of many terms, so equality holds up to rounding.
SLACK = 1e-12


@dataclass(frozen=True)
class Guarantee:
    """One loss, and the proved statement that covers it.

    Attributes:
        loss: its name.
        label: of the statement, as ``rcproof prove T9`` lists it.
        statement, hypotheses: as proved.
        steps: of the proof, which was replayed to make this.
    """

    loss: str
    label: str
    statement: str
    hypotheses: tuple[str, ...]
    steps: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "hypotheses": list(self.hypotheses)}


@dataclass(frozen=True)
class StrandLosses:
    """A loss of both strands and of their mean, averaged over the examples of a data set.

    Attributes:
        loss, label: as in :class:`Guarantee`.
        own, other: of y and of y′. ``mean`` is their mean.
        conjoined: of ½(y + y′).
        least_gap: the smallest of ½(ℓ(y) + ℓ(y′)) − ℓ(½(y + y′)) over single terms: not negative but for rounding.
    """

    loss: str
    label: str
    own: float
    other: float
    mean: float
    conjoined: float
    least_gap: float

    @property
    def holds(self) -> bool:
        """Whether the conjoined loss is at most the mean of the strands, up to rounding."""
        return self.conjoined <= self.mean + SLACK * max(abs(self.own), abs(self.other), 1.0)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for strict JSON."""
        return {
            "loss": self.loss,
            "label": self.label,
            **{k: number(getattr(self, k)) for k in ("own", "other", "mean", "conjoined", "least_gap")},
            "holds": self.holds,
        }


Loss = Callable[[Tensor, Tensor], Tensor]


def _squared(z: Tensor, y: Tensor) -> Tensor:
    return (z - y) ** 2


def _bce(p: Tensor, y: Tensor) -> Tensor:
    return -torch.xlogy(y, p) - torch.xlogy(1 - y, 1 - p)


def _bce_logits(z: Tensor, y: Tensor) -> Tensor:
    return functional.softplus(z) - y * z


def _poisson(rate: Tensor, y: Tensor) -> Tensor:
    return rate - torch.xlogy(y, rate)


def _multinomial(axis: int) -> Loss:
    def loss(z: Tensor, y: Tensor) -> Tensor:
        return y.sum(axis) * z.logsumexp(axis) - (y * z).sum(axis)

    return loss


def _cross_entropy(axis: int) -> Loss:
    def loss(p: Tensor, y: Tensor) -> Tensor:
        return -torch.xlogy(y, p).sum(axis)

    return loss


#: By kind, and for classes and profiles by whether they are probabilities already: name, label, loss of (answer,
#: target) term by term, and the targets that T9 admits. None: the loss needs targets on another scale than the output.
_LOSSES: dict[tuple[str, bool], tuple[tuple[str, str, Loss | None], ...]] = {
    ("score", False): (
        ("binary cross-entropy", "T9.log", _bce),
        ("squared error (Brier score)", "T9.mse", _squared),
    ),
    ("logit", False): (("binary cross-entropy on logits", "T9.bce.logits", _bce_logits),),
    ("value", False): (("squared error", "T9.mse", _squared),),
    ("counts", False): (
        ("Poisson negative log-likelihood", "T9.log", _poisson),
        ("squared error", "T9.mse", _squared),
    ),
    ("log-counts", False): (
        ("squared error of log counts", "T9.mse", _squared),
        ("Poisson negative log-likelihood of a log rate", "T9.poisson.log_rate", None),
    ),
    ("classes", False): (("cross-entropy on logits", "T9.multinomial", _multinomial(1)),),
    ("classes", True): (("cross-entropy", "T9.log", _cross_entropy(1)),),
    ("profile", False): (("multinomial negative log-likelihood on logits", "T9.multinomial", _multinomial(-1)),),
    ("profile", True): (("multinomial negative log-likelihood", "T9.log", _cross_entropy(-1)),),
}
#: Targets that a kind admits.
_RANGES = {"score": (0.0, 1.0), "logit": (0.0, 1.0), "counts": (0.0, math.inf), "profile": (0.0, math.inf)}


def guarantees(output: OutputAudit) -> tuple[Guarantee, ...]:
    """What T9 says of the mean of the strands of ``output``: for each loss the statement, its proof replayed now.

    The last is the statement that carries them from one example to a data set. Imports sympy.
    """
    losses = _LOSSES[output.kind, bool(output.normalised)]
    every = [(name, label) for name, label, _ in losses]
    return tuple(_quoted(name, label) for name, label in [*every, ("every one of these, on a data set", "T9.data_set")])


def _quoted(loss: str, label: str) -> Guarantee:
    from rcproof.symbolic import losses, multinomial

    statements = {s.name: s for module in (losses, multinomial) for s in module.STATEMENTS["T9"]}
    found = statements[label]
    return Guarantee(loss, label, found.text, found.hypotheses, found.replay().steps)


def strand_losses(output: OutputAudit, targets: Tensor) -> tuple[StrandLosses, ...]:
    """Both sides of T9 on a data set: the losses of either strand, and of the mean of both.

    ``targets``: one for each example that was audited, in their order: of the output's shape; for classes also the
    number of the class, (N,) or (N, 1). They must be finite, in 0..1 for scores and logits, and not negative for
    counts and profiles.

    Raises :class:`~rcproof.errors.ShapeError` for targets that do not fit, and
    :class:`~rcproof.errors.RcproofError` for values out of range or an output without finite answers.
    """
    if output.answers is None:
        raise RcproofError(f"losses of {output.name}", got="no finite answers")
    y = _targets(output, targets.detach().cpu().double())[output.answers.examples]
    a, b = output.answers.own, output.answers.other
    y = y.reshape(a.shape)
    found = []
    for name, label, loss in _LOSSES[output.kind, bool(output.normalised)]:
        if loss is None:
            continue
        own, other, merged = loss(a, y), loss(b, y), loss((a + b) / 2, y)
        gaps = (own + other) / 2 - merged
        first, second = float(own.mean()), float(other.mean())
        least = math.inf if not bool((gaps == gaps).any()) else float(gaps[gaps == gaps].min())
        found.append(StrandLosses(name, label, first, second, (first + second) / 2, float(merged.mean()), least))
    return tuple(found)


def _targets(output: OutputAudit, y: Tensor) -> Tensor:
    """The targets in the output's shape, with their values checked."""
    if not bool(torch.isfinite(y).all()):
        raise RcproofError(f"targets of {output.name}", got="NaN or infinite values", expected="finite numbers")
    shape = output.shape
    if output.kind == "classes" and y.numel() == shape[0]:
        numbers = y.flatten()
        if not bool(((numbers >= 0) & (numbers < shape[1]) & (numbers == numbers.round())).all()):
            raise RcproofError(
                f"targets of {output.name}",
                got=f"{float(numbers.min()):g} to {float(numbers.max()):g}",
                expected=f"classes 0 to {shape[1] - 1}",
            )
        return functional.one_hot(numbers.long(), shape[1]).double()
    if y.numel() != math.prod(shape) or len(y) != shape[0]:
        raise ShapeError(
            f"targets of {output.name}",
            got=f"shape {tuple(y.shape)}",
            expected=f"{shape}",
            fix="give sequences without labels if these are for another network",
        )
    low, high = _RANGES.get(output.kind, (-math.inf, math.inf))
    if output.kind == "classes":
        low = 0.0
    if bool(((y < low) | (y > high)).any()):
        raise RcproofError(
            f"targets of {output.name}, which are {output.kind}",
            got=f"{float(y.min()):g} to {float(y.max()):g}",
            expected=f"{low:g} to {high:g}" if math.isfinite(high) else f"at least {low:g}",
        )
    return y.reshape(shape)
