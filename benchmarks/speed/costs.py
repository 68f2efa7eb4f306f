"""What a network must do: multiply-adds and bytes, counted operation by operation as it runs, and the floor they set.

Products of layers are theorem T7's count (2·(1 + χ)·F·G·K·N multiply-adds for a layer with G inputs and F outputs a
strand, coupled or not), which the tests compare with what is counted here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

#: Operations whose inputs and outputs have to cross the memory whatever is fused into them.
_PRODUCTS = ("convolution", "addmm", "mm", "bmm")


class Counter(TorchDispatchMode):
    """Counts while it is active.

    Attributes:
        flops: two for each multiply-add of convolutions and matrix products.
        bytes: read and written by all operations but views, each value once an operation.
        product_bytes: the part of that of convolutions and matrix products, as if all else were fused into them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops, self.bytes, self.product_bytes = 0, 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        packet = func._overloadpacket
        if packet in flop_registry:
            self.flops += int(flop_registry[packet](*args, **(kwargs or {}), out_val=out))
        written = _tensors(out)
        read = _tensors((args, kwargs or {}))
        storages = {t.untyped_storage()._cdata for t in read}
        if written and all(t.untyped_storage()._cdata in storages for t in written) and not func._schema.is_mutable:
            return out  # a view
        moved = sum(t.numel() * t.element_size() for t in (*read, *written))
        self.bytes += moved
        if any(name in str(packet) for name in _PRODUCTS):
            self.product_bytes += moved
        return out


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, tuple | list):
        return [t for v in value for t in _tensors(v)]
    if isinstance(value, dict):
        return _tensors(list(value.values()))
    return []


def count(run: Callable[[], Any]) -> dict[str, int]:
    """Flops and bytes of one call."""
    with Counter() as counter:
        run()
    return {"flops": counter.flops, "bytes": counter.bytes, "product_bytes": counter.product_bytes}


def floor_seconds(cost: dict[str, int], limits: dict[str, float]) -> dict[str, float]:
    """The time below which no execution of these products can come, and which of the two limits sets it."""
    compute = cost["flops"] / limits["matmul_flops_per_second"]
    memory = cost["product_bytes"] / limits["copy_bytes_per_second"]
    return {"compute": compute, "memory": memory, "floor": max(compute, memory)}


def conv_multiply_adds(filters: int, inputs: int, kernel: int, positions: int, coupled: bool) -> int:
    """T7: of one layer on both strands, per example."""
    return 2 * (1 + coupled) * filters * inputs * kernel * positions


__all__ = ["Counter", "conv_multiply_adds", "count", "floor_seconds"]


def dtype_of(name: str) -> torch.dtype:
    """The dtype of activations in a mode of precision: ``fp32``, ``tf32`` (products only) or ``bf16``."""
    return {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}[name]
