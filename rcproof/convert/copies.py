"""Copies of what a network holds: each tensor once, however many layers share it."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from rcproof.errors import ConversionError


@dataclass
class Copied:
    """Tensors of the result with the tensors they were copied from; shared tensors stay shared."""

    memo: dict[int, Any] = field(default_factory=dict)

    def tensor(self, source: Tensor) -> Tensor:
        """A copy of ``source`` (the same copy each time)."""
        if id(source) not in self.memo:
            fresh = source.detach().clone()
            if isinstance(source, nn.Parameter):
                fresh = nn.Parameter(fresh, requires_grad=source.requires_grad)
            self.memo[id(source)] = fresh
        copied: Tensor = self.memo[id(source)]
        return copied

    def into(self, layer: nn.Module, source: nn.Module) -> nn.Module:
        """Give ``layer`` (on the meta device) copies of the tensors of ``source``."""
        for name, parameter in source._parameters.items():
            layer._parameters[name] = None if parameter is None else self.tensor(parameter)  # type: ignore[assignment]
        for name, buffer in source._buffers.items():
            layer._buffers[name] = None if buffer is None else self.tensor(buffer)
        layer._non_persistent_buffers_set = set(source._non_persistent_buffers_set)
        layer.train(source.training)
        return layer

    def module(self, source: nn.Module) -> nn.Module:
        """A deep copy of ``source``, never working in place."""
        for tensor in [*source.parameters(), *source.buffers()]:
            self.tensor(tensor)
        fresh = copied(source, self.memo)
        if getattr(fresh, "inplace", False):
            setattr(fresh, "inplace", False)  # noqa: B010 (mypy knows no such attribute of a Module)
        return fresh


def copied(module: nn.Module, memo: dict[int, Any] | None = None) -> nn.Module:
    """A deep copy, or one clear line."""
    try:
        return copy.deepcopy(module, memo)
    except Exception as error:  # whatever a user's module does when it is copied
        raise ConversionError(
            f"{type(module).__name__} cannot be deep-copied",
            got=f"{type(error).__name__}: {(str(error).strip() or '…').splitlines()[0]}",
            fix="remove what it computed from its weights, such as torch.nn.utils.weight_norm "
            "(torch.nn.utils.parametrizations.weight_norm can be copied)",
        ) from error
