"""Random numbers and weights that a seed determines."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def normal(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Standard normal numbers of this shape, the same for the same seed.

    >>> normal(3, 2, 4, 10).shape
    torch.Size([2, 4, 10])
    """
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def randomise(module: nn.Module, seed: int) -> nn.Module:
    """Every parameter and buffer random (an initial weight of 1 or bias of 0 hides mistakes), in float64.

    The module is changed and returned. Buffers whose name ends in ``var`` get positive numbers.

    >>> bool(randomise(nn.BatchNorm1d(3), 0).running_mean.any())
    True
    """
    module.double()
    for i, (name, value) in enumerate([*module.named_parameters(), *module.named_buffers()]):
        if value.is_floating_point():
            fresh = normal(seed + i, *value.shape)
            value.data.copy_(fresh.abs() + 0.5 if name.endswith("var") else fresh)
    return module
