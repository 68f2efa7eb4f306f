"""Dropout: independent masks, or one mask on both strands (T2)."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from rcproof.errors import RcproofError
from rcproof.nn import RCPSDropout, RCPSDropout1d, to_batched, to_stacked
from tests import checks
from tests.strategies import normal, seeds

both = pytest.mark.parametrize("layer", [RCPSDropout, RCPSDropout1d])
probabilities = st.sampled_from((0.1, 0.5, 0.9))


def seeded(f: nn.Module, x: torch.Tensor, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    return f(x)


@both
@settings(max_examples=25)
@given(probabilities, st.none() | st.integers(1, 40), seeds)
def test_shared_masks(layer: type[RCPSDropout], p: float, length: int | None, seed: int) -> None:
    x = normal(seed, 40, 10, *([] if length is None else [length]))
    drop = layer(p, masks="shared")
    checks.shared_dropout(drop, x, p)
    checks.config(drop)
    drop.train()
    through_batch = to_stacked(seeded(drop.batched, to_batched(x)))
    checks.close(seeded(drop, x), through_batch, 0.0)


@both
def test_independent_masks_are_plain_dropout_of_both_strands(layer: type[RCPSDropout]) -> None:
    drop = layer(0.3)
    assert drop.config() == {"p": 0.3, "masks": "independent"}
    x = torch.ones(400, 20, 7, dtype=torch.float64)
    for run in (drop, lambda v: to_stacked(drop.batched(to_batched(v)))):
        y = seeded(run, x)
        assert set(y.unique().tolist()) == {0.0, 1.0 / (1.0 - 0.3)}
        # 8000 channels: four standard deviations of the share of zeros are 0.02
        assert abs((y == 0).double().mean().item() - 0.3) < 0.02
        strands = to_batched(y).chunk(2)
        agree = (strands[0] == strands[1]).double().mean().item()
        assert abs(agree - (0.3**2 + 0.7**2)) < 0.03


def test_whole_channels_go_together() -> None:
    y = seeded(RCPSDropout1d(0.5, "shared"), torch.ones(20, 6, 9))
    assert ((y == 0).all(2) | (y != 0).all(2)).all()
    y = seeded(RCPSDropout(0.5, "shared"), torch.ones(20, 6, 9))
    assert not ((y == 0).all(2) | (y != 0).all(2)).all()


@both
@pytest.mark.parametrize("masks", ["independent", "shared"])
def test_eval_and_the_ends_of_the_range(layer: type[RCPSDropout], masks: str) -> None:
    x = normal(0, 3, 4, 5)
    for f in (layer(0.5, masks).eval(), layer(0.0, masks)):
        checks.close(f(x), x, 0.0)
        checks.close(f.batched(x), x, 0.0)
    checks.close(layer(1.0, masks)(x), torch.zeros_like(x), 0.0)


def test_wrong_options_are_named() -> None:
    with pytest.raises(
        RcproofError, match=r"masks of a dropout layer: got 'both'; expected 'independent' or 'shared'$"
    ):
        RCPSDropout(0.5, masks="both")
    with pytest.raises(RcproofError, match=r"^dropout probability: got 1\.5; expected a number from 0 to 1$"):
        RCPSDropout1d(1.5)
