"""T9 on labels: losses against torch's own, the inequality on drawn answers, and merges that break it."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from rcproof.errors import RcproofError, ShapeError
from rcproof.symbolic.theorems import theorem
from rcproof.verify.audit_report import Answers, OutputAudit
from rcproof.verify.discordance import KINDS
from rcproof.verify.guarantees import StrandLosses, guarantees, strand_losses


def output(kind: str, a: Tensor, b: Tensor, normalised: bool | None = None) -> OutputAudit:
    return OutputAudit(
        name="output", kind=kind, inferred=False, representation="fixed", shape=tuple(a.shape), normalised=normalised,
        answers=Answers(a, b, torch.arange(len(a))),
    )  # fmt: skip


def drawn(kind: str, normalised: bool | None, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Answers of both strands, and targets."""
    generator = torch.Generator().manual_seed(seed)
    shape = (20, 2, 9) if kind == "profile" else (20, 4)
    a, b = (3 * torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    y = torch.rand(shape, generator=generator, dtype=torch.float64)
    if kind == "score":
        a, b = a.sigmoid(), b.sigmoid()
    elif kind == "counts":
        a, b, y = a.exp(), b.exp(), (4 * y).round()
    elif kind in ("value", "log-counts"):
        y = 5 * y - 2
    elif kind == "profile":
        y = (4 * y).round()
    elif kind == "classes":
        y = functional.one_hot(torch.randint(4, (20,), generator=generator), 4).double()
    axis = -1 if kind == "profile" else 1
    return (a.softmax(axis), b.softmax(axis), y) if normalised else (a, b, y)


CASES = [(kind, flag) for kind in KINDS for flag in ((False, True) if kind in ("classes", "profile") else (None,))]


def reference(kind: str, normalised: bool | None, z: Tensor, y: Tensor) -> float:
    """The first loss of a kind, by torch."""
    if kind == "score":
        return float(functional.binary_cross_entropy(z, y))
    if kind == "logit":
        return float(functional.binary_cross_entropy_with_logits(z, y))
    if kind == "counts":
        return float(functional.poisson_nll_loss(z, y, log_input=False, eps=0.0))
    if kind in ("value", "log-counts"):
        return float(functional.mse_loss(z, y))
    logs = z.log() if normalised else z.log_softmax(-1)
    return float(-(y * logs).sum(-1).mean())


@pytest.mark.parametrize(("kind", "normalised"), CASES)
def test_both_sides_of_the_inequality(kind: str, normalised: bool | None) -> None:
    a, b, y = drawn(kind, normalised)
    found = strand_losses(output(kind, a, b, normalised), y)
    first = found[0]
    expected = [reference(kind, normalised, z, y) for z in (a, b, (a + b) / 2)]
    for value, want in zip((first.own, first.other, first.conjoined), expected, strict=True):
        assert value == pytest.approx(want, rel=1e-12)
    for one in found:
        assert one.holds
        assert one.conjoined < one.mean == (one.own + one.other) / 2
        assert one.least_gap >= -1e-12
        assert one.to_dict()["holds"] is True


@pytest.mark.parametrize(("own", "other", "target", "merged"), [(0, 1, 0, 1), (1, 1, 1, 2), (0, 1, 0, math.nan)])
def test_other_merges_are_caught(own: float, other: float, target: float, merged: float) -> None:
    """The counterexamples of T9.max and T9.sum, and NaN: ``holds`` is no ornament."""
    each = [float((z - target) ** 2) for z in (own, other)]
    loss = (merged - target) ** 2
    assert not StrandLosses("squared error", "T9.mse", *each, sum(each) / 2, loss, 0.0).holds


def test_the_gap_of_squared_errors_is_exact() -> None:
    """In fractions: mean of the strands less conjoined is a quarter of the mean squared difference."""
    a, b, y = (t.round(decimals=1) for t in drawn("value", None))
    (found,) = strand_losses(output("value", a, b), y)
    quarter = Fraction(0)
    for p, q in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True):
        quarter += (Fraction(p) - Fraction(q)) ** 2 / 4
    assert found.mean - found.conjoined == pytest.approx(float(quarter / a.numel()), rel=1e-12)


@pytest.mark.parametrize(("kind", "normalised"), CASES)
def test_statements_are_quoted_as_they_are_proved(kind: str, normalised: bool | None) -> None:
    a, b, _ = drawn(kind, normalised)
    found = guarantees(output(kind, a, b, normalised))
    proved = {s.name: s for s in theorem("T9").statements}
    assert found[-1].label == "T9.data_set"
    for g in found:
        assert (g.statement, g.hypotheses) == (proved[g.label].text, proved[g.label].hypotheses)
        assert not proved[g.label].kind.startswith("refuted")
        assert g.steps > 0
        assert g.to_dict()["label"] == g.label


def test_a_proof_that_fails_is_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    from rcproof.symbolic import losses
    from rcproof.symbolic.checker import Refused

    def fails() -> None:
        raise Refused("broken")

    broken = tuple(dataclasses.replace(s, replay=fails) for s in losses.STATEMENTS["T9"])
    monkeypatch.setitem(losses.STATEMENTS, "T9", broken)
    a, b, _ = drawn("score", None)
    with pytest.raises(Refused):
        guarantees(output("score", a, b))


def test_classes_by_number() -> None:
    a, b, y = drawn("classes", False)
    one = strand_losses(output("classes", a, b, False), y)
    assert one == strand_losses(output("classes", a, b, False), y.argmax(1))
    assert one == strand_losses(output("classes", a, b, False), y.argmax(1, keepdim=True))


def test_a_certain_mistake_costs_infinitely_much() -> None:
    """p = 0 for a positive on one strand: the mean is finite, the strands are not."""
    a, b = torch.tensor([[0.0]], dtype=torch.float64), torch.tensor([[0.5]], dtype=torch.float64)
    found = strand_losses(output("score", a, b), torch.ones(1, 1))[0]
    assert found.mean == math.inf
    assert found.conjoined == pytest.approx(-math.log(0.25))
    assert found.holds
    assert found.to_dict()["mean"] == "inf"


@pytest.mark.parametrize(
    ("kind", "targets", "error", "text"),
    [
        ("value", torch.zeros(3, 4), ShapeError, "targets of output: got shape (3, 4); expected (20, 4)"),
        ("value", torch.full((20, 4), math.nan), RcproofError, "got NaN or infinite values; expected finite numbers"),
        ("logit", torch.full((20, 4), 2.0), RcproofError, "which are logit: got 2 to 2; expected 0 to 1"),
        ("counts", torch.full((20, 4), -1.0), RcproofError, "which are counts: got -1 to -1; expected at least 0"),
        ("classes", torch.full((20,), 4.0), RcproofError, "targets of output: got 4 to 4; expected classes 0 to 3"),
        ("classes", torch.full((20,), 0.5), RcproofError, "got 0.5 to 0.5; expected classes 0 to 3"),
    ],
)
def test_mistakes(kind: str, targets: Tensor, error: type[Exception], text: str) -> None:
    a, b, _ = drawn(kind, None)
    with pytest.raises(error) as caught:
        strand_losses(output(kind, a, b), targets)
    assert text in str(caught.value)


def test_no_answers() -> None:
    empty = OutputAudit(name="o", kind="score", inferred=False, representation="fixed", shape=(2, 1))
    with pytest.raises(RcproofError, match="losses of o: got no finite answers"):
        strand_losses(empty, torch.zeros(2, 1))
