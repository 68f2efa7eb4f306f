"""The two layouts: there and back, and tensors that hold no two strands (T1)."""

from __future__ import annotations

import pytest
import torch

from rcproof.errors import RcproofError
from rcproof.nn import Merge, RCPSConv1d, RCPSDropout, StrandSum, partner, to_batched, to_stacked
from rcproof.strand import rc, stack, unstack
from tests import checks
from tests.strategies import normal


@pytest.mark.parametrize("shape", [(3, 8), (3, 8, 5), (1, 2, 1), (0, 4, 3)])
def test_layouts_are_inverse_to_each_other(shape: tuple[int, ...]) -> None:
    x = normal(0, *shape)
    s = to_batched(x)
    checks.close(s, torch.cat(unstack(x)), 0.0)
    checks.close(to_stacked(s), x, 0.0)
    a, b = unstack(x)
    checks.close(partner(s), torch.cat([rc(b), rc(a)]), 0.0)
    checks.close(to_stacked(partner(s)), stack(rc(b), rc(a)), 0.0)


@pytest.mark.parametrize(
    "call",
    [
        to_stacked,
        partner,
        StrandSum().batched,
        Merge("mean", "fixed").batched,
        RCPSConv1d(4, 2, 1, coupled=True).batched,
    ],
)
def test_an_odd_number_of_rows_is_no_strand_pair(call: object) -> None:
    with pytest.raises(
        RcproofError, match=r"^two strands in one tensor: got shape \(3, 4, 5\); expected an even number"
    ):
        call(torch.zeros(3, 4, 5))


def test_an_odd_number_of_channels_is_no_stacked_tensor() -> None:
    with pytest.raises(RcproofError, match=r"^a stacked tensor has an even number of channels: got shape \(2, 3, 5\)"):
        StrandSum()(torch.zeros(2, 3, 5))
    with pytest.raises(RcproofError, match=r"expected an even number of channels$"):
        RCPSDropout(0.5, "shared")(torch.zeros(2, 3, 5))
    with pytest.raises(RcproofError, match=r"an even number of rows"):
        RCPSDropout(0.5, "shared").batched(torch.zeros(3, 4, 5))
