"""Measures of two answers, against scipy and against loops; and broken measures, which the same checks catch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rcproof.errors import RcproofError
from rcproof.verify import discordance
from rcproof.verify.discordance import divergence, infer_kind, log_ratio, measure, spearman

distance = pytest.importorskip("scipy.spatial.distance", reason="the reference for divergences; comes with sklearn")
stats = pytest.importorskip("scipy.stats", reason="the reference for rank correlations; comes with sklearn")


def drawn(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    return a, b


def holds(check: Callable[[], None]) -> bool:
    try:
        check()
    except AssertionError:
        return False
    return True


# -- references --------------------------------------------------------------------------------------------


def check_ranks() -> None:
    generator = torch.Generator().manual_seed(1)
    a, b = (torch.randint(0, 6, (50,), generator=generator).double() for _ in range(2))  # with ties
    found = discordance.spearman(a, b)
    assert found is not None and abs(found - stats.spearmanr(a.numpy(), b.numpy()).statistic) < 1e-12


def check_divergence() -> None:
    a, b = drawn(4, 3, 20)
    expected = distance.jensenshannon(a.softmax(2).numpy(), b.softmax(2).numpy(), base=2, axis=2) ** 2
    np.testing.assert_allclose(discordance.divergence(a, b, "profile").numpy(), expected, atol=1e-12)
    p, q = a[:, :, 0].softmax(1), b[:, :, 0].softmax(1)
    each = discordance.divergence(p, q, "classes")[:, 0]
    np.testing.assert_allclose(each.numpy(), distance.jensenshannon(p.numpy(), q.numpy(), base=2, axis=1) ** 2)


def check_flips() -> None:
    a = torch.tensor([[0.4, 0.6], [0.5, 0.2], [0.9, 0.1]], dtype=torch.float64)
    b = torch.tensor([[0.6, 0.6], [0.5, 0.2], [0.2, 0.7]], dtype=torch.float64)
    for one, two, kind in ((a, b, "score"), (a.logit(), b.logit(), "logit")):
        found = discordance.measure(one, two, kind)
        assert found["flipped_share"] == 0.5
        assert found["flipped_examples"] == 2 / 3
        for name, expected in (("mean", 1.5 / 6), ("max", 0.7)):
            value = found[f"probability_{name}"]
            assert value is not None and abs(value - expected) < 1e-12


def check_counts() -> None:
    a, b = torch.tensor([[0.0], [9.0]], dtype=torch.float64), torch.tensor([[3.0], [9.0]], dtype=torch.float64)
    found = discordance.measure(a, b, "counts")
    assert found["log_max"] is not None and abs(found["log_max"] - math.log(4)) < 1e-12
    assert found["fold_max"] is not None and abs(found["fold_max"] - 4) < 1e-12
    assert found["fold_mean"] is not None and abs(found["fold_mean"] - 2) < 1e-12


CHECKS = [check_ranks, check_divergence, check_flips, check_counts]


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
def test_against_references(check: Callable[[], None]) -> None:
    check()


def _first_rank(t: Tensor) -> Tensor:
    return t.argsort(stable=True).argsort().double()


def _nats(a: Tensor, b: Tensor, kind: str) -> Tensor:
    return divergence(a, b, kind) * math.log(2)


def _distance(a: Tensor, b: Tensor, kind: str) -> Tensor:
    return divergence(a, b, kind).sqrt()


def _strict(a: Tensor, b: Tensor, kind: str) -> Tensor | None:
    return None if kind not in ("score", "logit") else (a > 0.5) != (b > 0.5)


def _no_sigmoid(y: Tensor, kind: str) -> Tensor:
    return y


def _log2(a: Tensor, b: Tensor, kind: str) -> Tensor:
    return log_ratio(a, b, kind) / math.log(2)


MUTANTS: list[tuple[str, Any, Callable[[], None]]] = [
    ("_ranks", _first_rank, check_ranks),
    ("divergence", _nats, check_divergence),
    ("divergence", _distance, check_divergence),
    ("decisions_differ", _strict, check_flips),
    ("probabilities", _no_sigmoid, check_flips),
    ("log_ratio", _log2, check_counts),
    ("PSEUDO_COUNT", 0.5, check_counts),
]


@pytest.mark.parametrize(("name", "broken", "check"), MUTANTS, ids=lambda v: getattr(v, "__name__", str(v)))
def test_mutants(name: str, broken: Any, check: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    assert holds(check)
    monkeypatch.setattr(discordance, name, broken)
    assert not holds(check)


# -- what is reported for which kind -----------------------------------------------------------------------


def test_profiles() -> None:
    a, b = drawn(4, 2, 15)
    found = measure(a, b, "profile")
    p, q = (t.softmax(2).reshape(8, 15).numpy() for t in (a, b))
    within = [np.corrcoef(x, y)[0, 1] for x, y in zip(p, q, strict=True)]
    np.testing.assert_allclose(found["within_pearson_mean"], np.mean(within))
    np.testing.assert_allclose(found["within_pearson_min"], np.min(within))
    assert "flipped_share" not in found


def test_counts_along_positions_are_added_up() -> None:
    a, b = torch.ones(2, 1, 5, dtype=torch.float64), torch.zeros(2, 1, 5, dtype=torch.float64)
    found = measure(a, b, "counts")
    np.testing.assert_allclose(found["log_max"], math.log(6))
    assert found["jsd_max"] == 0  # no counts are taken for the same everywhere


def test_log_counts_are_compared_as_they_are() -> None:
    found = measure(*(torch.tensor([[v]], dtype=torch.float64) for v in (2.0, 1.5)), "log-counts")
    np.testing.assert_allclose([found["log_mean"], found["fold_max"]], [0.5, math.exp(0.5)])
    enormous = measure(*(torch.tensor([[v]], dtype=torch.float64) for v in (2000.0, 0.0)), "log-counts")
    assert enormous["fold_max"] == math.inf


def test_classes_decide_by_the_largest() -> None:
    a = torch.tensor([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0]], dtype=torch.float64)
    b = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0]], dtype=torch.float64)
    assert measure(a, b, "classes")["flipped_share"] == 0.5
    done = measure(a.softmax(1), b.softmax(1), "classes")
    assert done["jsd_max"] == pytest.approx(measure(a, b, "classes")["jsd_max"])


def test_no_correlation_of_constants() -> None:
    assert spearman(torch.ones(4).double(), torch.arange(4).double()) is None


@pytest.mark.parametrize("shape", [(2, 1), (2, 1, 3)])
def test_counts_are_not_negative(shape: tuple[int, ...]) -> None:
    with pytest.raises(RcproofError, match="must not be negative. Audit this output as"):
        measure(-torch.ones(shape).double(), torch.ones(shape).double(), "counts")


@pytest.mark.parametrize(
    ("values", "beside", "kind"),
    [
        (torch.rand(5, 2, 9), False, "profile"),
        (torch.rand(5, 3), False, "score"),
        (torch.rand(5), False, "score"),
        (torch.rand(5, 3).softmax(1), False, "classes"),
        (torch.rand(5, 3).softmax(1) - 0.5, False, "logit"),
        (torch.rand(5, 1) + 4, False, "counts"),
        (torch.rand(5, 1) + 4, True, "log-counts"),
        (torch.rand(5, 1) - 4, True, "log-counts"),
        (torch.rand(5, 1) + 900, True, "counts"),
        (torch.zeros(0, 3), False, "score"),
    ],
)
def test_kinds_told_from_values(values: Tensor, beside: bool, kind: str) -> None:
    assert infer_kind(values.double(), beside) == kind
