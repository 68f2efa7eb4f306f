"""A looked-up first convolution against torch's in float64; its counts against counting; what it does not read."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

pytest.importorskip("numba", reason="the joined steps are compiled by numba, which is not installed")

from rcproof.experiments import fused, letters

#: float32 against float64.
NEAR = 2e-6
#: Rows, length, channels, places, size and stride of the pooling: of the paper's, and about every edge.
SHAPES = [
    (9, 120, 20, 21, 20, 20),
    (3, 100, 30, 25, 9, 5),  # two blocks of channels; tables added twice; windows that overlap
    (5, 64, 3, 1, 2, 2),  # one place
    (4, 90, 26, 43, 7, 8),  # tables added three times; places between the windows
    (2, 90, 5, 70, 6, 3),  # more places than a word of the machine has
    (2, 84, 4, 21, 64, 64),  # one window, of all
    (3, 30, 24, 3, 1, 1),  # no pooling to speak of
]


class Net(nn.Module):
    """The stage that is looked up; scales of both signs."""

    def __init__(self, channels: int, taps: int, size: int, stride: int, bias: bool = True) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(4, channels, taps, bias=bias), nn.BatchNorm1d(channels, momentum=0.1)
        self.window = (size, stride)
        nn.init.uniform_(self.norm.weight, -1.5, 1.5)
        nn.init.uniform_(self.norm.bias, -0.5, 0.5)
        assert self.norm.running_mean is not None and self.norm.running_var is not None
        nn.init.uniform_(self.norm.running_mean, -0.3, 0.3)
        nn.init.uniform_(self.norm.running_var, 0.5, 2.0)

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool1d(F.relu(self.norm(self.conv(x))), *self.window)


def dna(rows: int, length: int) -> Tensor:
    return F.one_hot(torch.randint(0, 4, (rows, length)), 4).float().transpose(1, 2).contiguous()


def outcome(net: nn.Module, x: Tensor, joined: bool) -> dict[str, Tensor]:
    """Answers, gradients and buffers of a step."""
    net = copy.deepcopy(net) if joined else copy.deepcopy(net).double()
    y = fused.run(net, x) if joined else net(x.double())
    y.backward(torch.arange(1.0, y.numel() + 1).cos().view(y.shape).to(y.dtype))
    found = {"answer": y} | {f"gradient of {n}": p.grad for n, p in net.named_parameters() if p.grad is not None}
    return {k: v.detach().double() for k, v in {**found, **dict(net.named_buffers())}.items()}


def worst(net: nn.Module, x: Tensor) -> float:
    want, found = outcome(net, x, False), outcome(net, x, True)
    assert want.keys() == found.keys()
    return max(float((found[k] - v).abs().max() / v.abs().max().clamp(min=1)) for k, v in want.items())


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each call looked up."""
    calls: list[int] = []
    whole = letters.LetterStage.forward

    def counting(ctx: Any, *args: Any) -> Tensor:
        calls.append(len(args[5]))
        return whole(ctx, *args)

    monkeypatch.setattr(letters.LetterStage, "forward", staticmethod(counting))
    return calls


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_same_step(shape: tuple[int, ...], training: bool, looked_up: list[int]) -> None:
    rows, length, *sizes = shape
    torch.manual_seed(sum(shape))
    assert worst(Net(*sizes).train(training), dna(rows, length)) < NEAR
    assert looked_up == [rows]


def test_same_step_without_a_bias(looked_up: list[int]) -> None:
    torch.manual_seed(0)
    assert worst(Net(20, 21, 20, 20, bias=False), dna(4, 120)) < NEAR
    assert looked_up == [4]


def test_the_first_of_equals(looked_up: list[int]) -> None:
    """In a sequence of one letter every position is the largest, and the gradient goes to the first."""
    torch.manual_seed(0)
    x = F.one_hot(torch.tensor([[2] * 60, [1] * 30 + [3] * 30]), 4).float().transpose(1, 2).contiguous()
    assert worst(Net(6, 9, 10, 10), x) < NEAR
    where = np.empty((2, 5, 6), np.int32)
    codes = letters.read(x, 9)
    assert codes is not None
    w = np.random.default_rng(0).standard_normal((36, 6))
    letters.maxima(
        codes, letters.tables_of(w, np.zeros(6)), np.ones(6, np.float32), 10, 10, where.astype(np.float32), where
    )
    assert (where[0] == 10 * np.arange(5)[:, None]).all()


@pytest.mark.parametrize(
    ("what", "value"),
    [("unknown", 0.25), ("no letter", 0.0), ("all letters", 1.0), ("half", 0.5), ("nan", float("nan"))],
)
def test_other_columns_are_not_looked_up(what: str, value: float, looked_up: list[int]) -> None:
    torch.manual_seed(0)
    x = dna(3, 60)
    x[1, :, 17] = value
    if what == "half":
        x[1, :, 17] = torch.tensor([0.5, 0.5, 0.0, 0.0])
    assert letters.read(x, 9) is None
    if value == value:
        assert worst(Net(6, 9, 10, 10), x) < 2e-5
    assert looked_up == []


def test_a_sign_is_no_letter() -> None:
    """Two letters less one add up to one too."""
    x = dna(1, 20)
    x[0, :, 3] = torch.tensor([1.0, 1.0, -1.0, 0.0])
    assert letters.read(x, 5) is None
    assert letters.read(dna(1, 4), 5) is None  # shorter than a window
    assert letters.read(dna(1, 20).repeat(1, 2, 1), 5) is None  # eight rows, as after a coupled layer


def test_codes_are_words_of_three() -> None:
    codes = letters.read(F.one_hot(torch.tensor([[3, 1, 0, 2]]), 4).float().transpose(1, 2), 4)
    assert codes is not None
    assert codes[0].tolist() == [3 * 16 + 1 * 4 + 0, 1 * 16 + 0 * 4 + 2, 0 * 16 + 2 * 4, 2 * 16] + [0] * 21


@pytest.mark.parametrize(("rows", "length", "taps"), [(3, 100, 21), (2, 30, 1), (2, 90, 70), (2, 129, 64), (1, 21, 21)])
def test_counts_are_counts(rows: int, length: int, taps: int) -> None:
    """Of all windows written out, in whole numbers."""
    torch.manual_seed(taps)
    x = dna(rows, length)
    codes = letters.read(x, taps)
    assert codes is not None
    windows = x.unfold(2, taps, 1).permute(0, 2, 3, 1).reshape(-1, 4 * taps).double()  # a row a window: place, letter
    single, both = letters.counted(codes, length - taps + 1, taps)
    assert np.array_equal(single, windows.sum(dim=0).numpy())
    assert np.array_equal(both, (windows.T @ windows).numpy())


@pytest.mark.parametrize(("channels", "taps"), [(3, 1), (20, 21), (30, 25), (24, 43)])
def test_tables_and_their_transpose(channels: int, taps: int) -> None:
    """⟨tables of w, t⟩ = ⟨w, weights of t⟩."""
    rng = np.random.default_rng(taps)
    w, t = rng.standard_normal((4 * taps, channels)), rng.standard_normal((letters._tables(taps), 64, channels))
    tables = letters.tables_of(w, np.zeros(channels)).transpose(1, 2, 0, 3).reshape(*t.shape[:2], -1)[:, :, :channels]
    assert float((tables * t).sum()) == pytest.approx(float((w * letters.weights_of(t, taps)).sum()), rel=1e-4)


def _no_signs(codes: Any, tables: Any, sign: Any, *rest: Any) -> None:
    _MAXIMA(codes, tables, np.ones_like(sign), *rest)


def _one_late(codes: Any, where: Any, *rest: Any) -> None:
    _MAXIMA_BACK(codes, where + 1, *rest)


def _no_ends(codes: Any, positions: int, first: Any, ends: Any) -> None:
    _PAIRS(codes, positions, first, np.zeros_like(ends))


def _turned(codes: Any, positions: int, first: Any, ends: Any) -> None:
    _PAIRS(codes, positions, first, ends)
    first[:] = first.transpose(0, 2, 1)


def _last_place_missing(tables: Any, taps: int) -> Any:
    found = _WEIGHTS_OF(tables, taps)
    found[-4:] = 0
    return found


def _middle_last(w: Any, b: Any) -> Any:
    return _TABLES_OF(w, b).reshape(1, 7, 4, 4, 4, 24).transpose(0, 1, 2, 4, 3, 5).reshape(1, 7, 64, 24).copy()


_MAXIMA, _MAXIMA_BACK, _PAIRS = letters.maxima, letters.maxima_back, letters.pairs
_WEIGHTS_OF, _TABLES_OF = letters.weights_of, letters.tables_of
MUTANTS = {
    "a negative scale's minima are taken for maxima": ("maxima", _no_signs),
    "the gradient lands one position late": ("maxima_back", _one_late),
    "every place counts the first place's pairs": ("pairs", _no_ends),
    "pairs the wrong way round": ("pairs", _turned),
    "no gradient for the last place": ("weights_of", _last_place_missing),
    "the second and third letter of a word change places": ("tables_of", _middle_last),
}


@pytest.mark.parametrize("what", MUTANTS)
def test_mutant_is_caught(what: str, monkeypatch: pytest.MonkeyPatch, looked_up: list[int]) -> None:
    name, broken = MUTANTS[what]
    monkeypatch.setattr(letters, name, broken)
    torch.manual_seed(1)
    assert worst(Net(20, 21, 20, 20), dna(4, 120)) > 10 * NEAR
    assert looked_up == [4]
