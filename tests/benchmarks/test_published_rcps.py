"""The batch norm of the published layers, against one that is written out."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from benchmarks.published_rcps import keep_statistics
from rcproof.experiments.strategies import network, strategy
from rcproof.nn import RCPSBatchNorm1d, RCPSConv1d
from rcproof.strand import rc


@pytest.mark.parametrize("training", [True, False])
def test_twice_the_convolution_and_statistics_that_stay(training: bool) -> None:
    model = network("simulated", strategy("rcps"), 1, {"length": 200, "tasks": 3})
    keep_statistics(model)
    (conv,) = (m for m in model.modules() if isinstance(m, RCPSConv1d))
    (norm,) = (m for m in model.modules() if isinstance(m, RCPSBatchNorm1d))
    norm.double().train(training)
    torch.manual_seed(0)
    x = F.one_hot(torch.randint(0, 4, (5, 200)), 4).transpose(1, 2).double()
    z = conv.double()(x)
    for _ in range(2):  # the second time too
        found = norm(z)
    own = 2 * torch.cat([z.chunk(2, dim=1)[0], rc(z).chunk(2, dim=1)[0]])  # rows of either strand, one set of channels
    mean, var = torch.zeros(own.shape[1]).double(), torch.ones(own.shape[1]).double()
    want = F.batch_norm(own, mean, var, norm.weight, norm.bias, training, 0.0, 1e-3)
    torch.testing.assert_close(found.chunk(2, dim=1)[0], want[:5])
    torch.testing.assert_close(rc(found).chunk(2, dim=1)[0], want[5:])
    assert not torch.allclose(want, F.batch_norm(own / 2, mean, var, norm.weight, norm.bias, training, 0.0, 1e-3), 1e-4)
