"""Embedding of tokens, for every way in which a code can have a complement (T2, T5)."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from rcproof.errors import RcproofError
from rcproof.nn import RCPSEmbedding
from rcproof.strand import Representation, rc, stack, tokens
from tests import checks
from tests.strategies import randomise, seeds, signed_permutations


@st.composite
def codes(draw: st.DrawFn) -> Representation:
    alphabet = draw(st.permutations("ACGTN").map("".join))
    free = draw(signed_permutations(draw(st.integers(1, 7))))
    return draw(st.sampled_from((tokens(alphabet), tokens("ACGT"), Representation(free.channels, tokens=True))))


@settings(max_examples=60)
@given(codes(), st.integers(1, 5), st.integers(1, 200), st.booleans(), seeds)
def test_embedding_is_the_plain_one_on_each_strand(
    rep: Representation, features: int, length: int, padded: bool, seed: int
) -> None:
    size = rep.size or 0
    padding = size - 1 if padded else None
    plain = randomise(nn.Embedding(size, features, padding), seed)
    layer = RCPSEmbedding(size, features, rep, padding).double()
    checks.share_weights(layer, plain)
    x = torch.randint(size, (2, length), generator=torch.Generator().manual_seed(seed))

    def reference(v: torch.Tensor) -> torch.Tensor:
        return stack(plain(v).transpose(1, 2), plain(rc(v, rep)).transpose(1, 2))

    checks.same(layer, reference, x, [layer.weight], [plain.weight])
    checks.equivariance(layer, x, rep)
    checks.config(layer)
    s = torch.cat([x, rc(x, rep)])
    checks.close(layer.batched(s), plain(s), 0.0)
    a, b = layer.batched(s).transpose(1, 2).chunk(2)
    checks.close(layer(x), stack(a, b), 0.0)


def test_the_default_is_acgtn() -> None:
    assert str(RCPSEmbedding(5, 2).source) == "tokens:3,2,1,0,4"


def test_wrong_options_and_inputs_are_named() -> None:
    with pytest.raises(RcproofError, match=r"^source of an embedding: got reversal with num_embeddings=4; expected a"):
        RCPSEmbedding(4, 3, "reversal")
    with pytest.raises(RcproofError, match=r"got tokens:3,2,1,0,4 with num_embeddings=4"):
        RCPSEmbedding(4, 3, tokens("ACGTN"))
    with pytest.raises(RcproofError, match=r"got torch.float32 of shape \(1, 5\); expected int64 tokens \(N, L\)$"):
        RCPSEmbedding(5, 3)(torch.zeros(1, 5))
    with pytest.raises(RcproofError, match=r"got torch.int64 of shape \(1, 5, 2\)"):
        RCPSEmbedding(5, 3)(torch.zeros(1, 5, 2, dtype=torch.int64))
