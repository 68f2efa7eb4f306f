"""The lift of modules that have no tied layer: recurrent, attention, crops, whole networks (T2)."""

from __future__ import annotations

import copy

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn

from rcproof.errors import RcproofError
from rcproof.nn import Lifted
from rcproof.strand import Representation, dna
from tests import checks
from tests.strategies import normal, randomise, seeds


class Recurrent(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(channels, 3, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(x.transpose(1, 2))[0].transpose(1, 2)


class Attention(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(2 * channels, 2, batch_first=True)
        self.inside = nn.Conv1d(channels, 2 * channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        v = self.inside(x).transpose(1, 2)
        return self.attention(v, v, v, need_weights=False)[0].transpose(1, 2)


class Crop(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[..., 1:-3]


def strided(channels: int) -> nn.Module:
    return nn.Sequential(nn.Conv1d(channels, 3, 4, stride=3), nn.Softmax(1), nn.MaxPool1d(2), nn.Flatten())


MODULES = {"lstm": Recurrent, "attention": Attention, "crop": lambda c: Crop(), "strided": strided}


@pytest.mark.parametrize("name", sorted(MODULES))
@settings(max_examples=15)
@given(channels=st.integers(1, 4), length=st.integers(9, 40), closed=st.booleans(), seed=seeds)
def test_each_module_is_run_on_each_strand(name: str, channels: int, length: int, closed: bool, seed: int) -> None:
    source: Representation | None = None
    if closed:
        source, channels = dna("AGCT"), 4
    plain = randomise(MODULES[name](channels), seed)
    layer = Lifted(copy.deepcopy(plain), source)
    x = normal(seed, 2, channels * (1 if closed else 2), length)
    checks.lift(Prefixed(layer), plain, x)
    checks.renderings(layer, x)
    checks.equivariance(layer, x, source or "reversal")


class Prefixed(nn.Module):
    """A lifted module whose buffers are compared under the names that they have inside."""

    def __init__(self, layer: Lifted) -> None:
        super().__init__()
        self.source = layer.source
        self.layer = layer

    def named_buffers(self, *args: object, **kwargs: object) -> object:
        return self.layer.module.named_buffers()

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


def test_batch_norm_inside_pools_both_strands() -> None:
    plain = randomise(nn.Sequential(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4)), 0)
    layer = Lifted(copy.deepcopy(plain))
    checks.lift(Prefixed(layer), plain, normal(1, 3, 6, 12), pooled=True, rtol=1e-11)


def test_config_names_the_representation_and_keys_have_a_prefix() -> None:
    layer = Lifted(nn.Linear(3, 2), "dna:ACGT")
    assert layer.config() == {"source": "perm:3,2,1,0"}
    assert list(layer.state_dict()) == ["module.weight", "module.bias"]


class Batchless(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum(0, keepdim=True)


def test_a_module_that_is_no_map_of_examples_is_named() -> None:
    with pytest.raises(RcproofError, match=r"^output of the lifted Batchless: got shape \(1, 2, 5\); expected one"):
        Lifted(Batchless())(torch.zeros(2, 4, 5))
    with pytest.raises(RcproofError, match=r"^output of the lifted LSTM: got tuple; expected one tensor"):
        Lifted(nn.LSTM(5, 3))(torch.zeros(2, 4, 5))
