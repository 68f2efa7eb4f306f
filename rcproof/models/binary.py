"""The network of the paper's binary TF ChIP-seq tasks."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn

from rcproof.models.base import ChainNet, batch_norm, pooled_length


class BinaryNet(ChainNet):
    """Three times conv 16, batch norm, relu (k 15, 14, 14); max pool 40/20; dense. (N, 4, length) → logits (N, tasks).

    The published sizes are the defaults. Two of the kernels are even, and at 1000 positions the pooling centres,
    (960 − 40) mod 20 = 0; at other lengths it need not (theorem T3). Paper, the binary prediction tasks;
    ``BinaryArchs.py`` in its repository.

    >>> import torch
    >>> BinaryNet(length=400)(torch.zeros(2, 4, 400)).shape
    torch.Size([2, 1])
    """

    couplable: ClassVar[tuple[str, ...]] = ("conv2", "conv3", "dense")

    def __init__(
        self,
        length: int = 1000,
        filters: int = 16,
        kernel_sizes: tuple[int, int, int] = (15, 14, 14),
        pool_size: int = 40,
        pool_stride: int = 20,
        tasks: int = 1,
    ) -> None:
        super().__init__()
        k1, k2, k3 = kernel_sizes
        self.length, self.filters, self.kernel_sizes = length, filters, (k1, k2, k3)
        self.pool_size, self.pool_stride, self.tasks = pool_size, pool_stride, tasks
        positions = pooled_length("BinaryNet", length, self.kernel_sizes, pool_size, pool_stride)
        self.conv1 = nn.Conv1d(4, filters, k1)
        self.norm1 = batch_norm(filters)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv1d(filters, filters, k2)
        self.norm2 = batch_norm(filters)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv1d(filters, filters, k3)
        self.norm3 = batch_norm(filters)
        self.relu3 = nn.ReLU()
        self.pool = nn.MaxPool1d(pool_size, pool_stride)
        self.flatten = nn.Flatten()
        self.dense = nn.Linear(filters * positions, tasks)
        self.reset_parameters()

    def config(self) -> dict[str, Any]:
        return {
            "length": self.length,
            "filters": self.filters,
            "kernel_sizes": list(self.kernel_sizes),
            "pool_size": self.pool_size,
            "pool_stride": self.pool_stride,
            "tasks": self.tasks,
        }
