"""The network of the paper's simulated-motif tasks."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn

from rcproof.models.base import ChainNet, batch_norm, pooled_length


class SimulatedNet(ChainNet):
    """Conv 20 k21, batch norm, relu, max pool 20/20, dense. One-hot DNA (N, 4, length) → logits (N, tasks).

    The published sizes are the defaults; the paper's inputs have 200 or 1000 positions. Paper, the simulated tasks;
    ``SimArchs.py`` in its repository.

    >>> import torch
    >>> SimulatedNet()(torch.zeros(2, 4, 200)).shape
    torch.Size([2, 3])
    """

    couplable: ClassVar[tuple[str, ...]] = ("dense",)

    def __init__(
        self,
        length: int = 200,
        filters: int = 20,
        kernel_size: int = 21,
        pool_size: int = 20,
        pool_stride: int = 20,
        tasks: int = 3,
    ) -> None:
        super().__init__()
        self.length, self.filters, self.kernel_size = length, filters, kernel_size
        self.pool_size, self.pool_stride, self.tasks = pool_size, pool_stride, tasks
        positions = pooled_length("SimulatedNet", length, (kernel_size,), pool_size, pool_stride)
        self.conv = nn.Conv1d(4, filters, kernel_size)
        self.norm = batch_norm(filters)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool1d(pool_size, pool_stride)
        self.flatten = nn.Flatten()
        self.dense = nn.Linear(filters * positions, tasks)
        self.reset_parameters()

    def config(self) -> dict[str, Any]:
        return {
            "length": self.length,
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "pool_size": self.pool_size,
            "pool_stride": self.pool_stride,
            "tasks": self.tasks,
        }
