"""T13: the counterexamples are found again, are minimal, and are real; true statements are not refuted."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch.nn import functional

from rcproof.strand import rc as torch_rc
from rcproof.strand import stack as torch_stack
from rcproof.symbolic import tensors
from rcproof.symbolic.checker import Refused
from rcproof.symbolic.counterexamples import Refutation, refute
from rcproof.symbolic.refutations import REFUTATIONS, STATEMENTS
from rcproof.symbolic.statements import REFUTED, run

ALL = {r.name: r for r in REFUTATIONS}
FOUND = {
    "stride.misaligned": "L = 2, K = 1, s = 2, x = [[0, 1]]",
    "pooling.misaligned": "L = 3, K = 2, s = 2, x = [[0, 0, 1]]",
    "padding.same_even_kernel": "L = 2, K = 2, s = 1, x = [[0, 1]]",
    "crop.asymmetric": "L = 2, left = 1, right = 0, x = [[0, 1]]",
    "tie.unflipped_taps": "K = 2, V = [[0, 0], [0, 1]], x = [[0, 0], [0, 1]]",
    "softmax.stacked_channels": "F = 1, L = 1, a = [[0]], b = [[0]]",
    "cat.stacked": "L = 1, x = [[0], [0]], y = [[0], [1]]",
    "control.scales_swapped": "L = 1, track = [[1]]",
    "batch_norm.two_pass": "a = 0, b = 1",
    "bias.counted_once": "w = 0, a = 0, b = 0, c = 1",
    "merge.max_signed": "p = 0, q = 1",
    "equivariant.not_equivalent": "L = 1, w = 1, x = [[1]]",
}


@pytest.mark.parametrize("name", ALL)
def test_found_again(name: str) -> None:
    lines = ALL[name].replay().lines
    assert lines[0].endswith("size: " + FOUND[name])
    assert "no counterexample among" in lines[2]


def test_statements() -> None:
    assert [s.name for s in STATEMENTS["T13"]] == [f"T13.{name}" for name in FOUND]
    assert {s.kind for s in STATEMENTS["T13"]} == {REFUTED}
    assert all(s.text.startswith("False: ") for s in STATEMENTS["T13"])


def swapped(r: Refutation) -> Refutation:
    """The true statement in the place of the false one."""
    return replace(r, sides=r.twin_sides or r.sides, instances=r.twin_instances or r.instances)


@pytest.mark.parametrize("name", ALL)
def test_a_true_statement_is_not_refuted(name: str) -> None:
    assert swapped(ALL[name]).find() is None
    outcome = run("T13", swapped(ALL[name]).statement())
    assert (outcome.status, outcome.reason) == ("failed", f"{name}: no counterexample found")


@pytest.mark.parametrize("name", ALL)
def test_a_false_twin_is_noticed(name: str) -> None:
    r = ALL[name]
    with pytest.raises(Refused, match="the twin fails too"):
        replace(r, twin_sides=r.sides, twin_instances=r.instances).replay()


@pytest.mark.parametrize("name", ALL)
def test_a_twin_that_was_never_tried_is_noticed(name: str) -> None:
    with pytest.raises(Refused, match="nothing to try on the twin"):
        replace(ALL[name], twin_instances=lambda: ()).replay()


def test_refute_gives_the_first() -> None:
    assert refute(lambda i: (i["n"] ** 2, i["n"]), ({"n": n} for n in range(5))) == ({"n": 2}, (4, 2), 3)
    assert refute(lambda i: (i["n"], i["n"]), ({"n": n} for n in range(5))) is None


# -- the exact operations are those of torch ------------------------------------------------------------------------


def exact(x: torch.Tensor) -> tensors.Tensor:
    return tensors.tensor([[Fraction(v) for v in row] for row in x.tolist()])


def draw(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randint(-4, 5, shape, generator=generator).double()


@pytest.mark.parametrize(("stride", "left", "right", "taps"), [(1, 0, 0, 3), (2, 1, 0, 2), (3, 0, 2, 1), (2, 2, 2, 4)])
def test_conv(stride: int, left: int, right: int, taps: int) -> None:
    x, w, b = draw(2, 7), draw(3, 2, taps), draw(3)
    expected = functional.conv1d(functional.pad(x, (left, right))[None], w, b, stride=stride)[0]
    found = tensors.conv(exact(x), [exact(v) for v in w], [Fraction(v) for v in b.tolist()], stride, left, right)
    assert found == exact(expected)


def test_the_other_operations() -> None:
    x, y = draw(3, 8), draw(3, 8).flip(0)
    a, b = exact(x), exact(y)
    assert tensors.max_pool(a, 3, 2) == exact(functional.max_pool1d(x[None], 3, 2)[0])
    assert tensors.rc(a) == exact(torch_rc(x[None])[0])
    assert tensors.reverse_length(a) == exact(torch_rc(x[None], "length")[0])
    assert tensors.stack(a, b) == exact(torch_stack(x[None], y[None])[0])
    assert tensors.pointwise(tensors.relu, a) == exact(torch.relu(x))
    assert tensors.combine(lambda p, q: p - q, a, b) == exact(x - y)
    smooth = functional.avg_pool1d(x[None], 3, 1, padding=1)[0]
    assert torch.allclose(torch.tensor([[float(v) for v in tensors.smooth(row, 3)] for row in a]).double(), smooth)
    soft = torch.softmax(x * torch.log(torch.tensor(2.0).double()), 0)
    assert torch.allclose(torch.tensor([[float(v) for v in row] for row in tensors.softmax(a)]).double(), soft)


def test_tensors_come_small_first() -> None:
    found: list[Any] = [sum(map(sum, x)) for x in tensors.tensors(2, 2)]
    assert len(found) == 16
    assert found == sorted(found)
