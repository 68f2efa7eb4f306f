"""Which steps may write into their argument, or be part of the step before: where nobody else reads what is between."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules import module as torch_module

from rcproof.network.plan import Key, Step, collect
from rcproof.nn.conv import RCPSConv1d, RCPSConvTranspose1d
from rcproof.nn.linear import RCPSLinear
from rcproof.nn.norm import RCPSBatchNorm1d

_RELUS = (F.relu, torch.relu, Tensor.relu)
_SUMS = (operator.add, torch.add, Tensor.add)

#: Layers whose result is a new tensor that their own backward pass does not read.
_MAKERS = (RCPSConv1d, RCPSConvTranspose1d, RCPSLinear, RCPSBatchNorm1d)


class Rewriter:
    """Steps of a plan, in the order in which they run, rewritten to work in place.

    A value may be overwritten if exactly one step reads it, it is no output, and the step that made it gave a new
    tensor rather than a view. With gradients, relu may overwrite what a convolution, dense layer or batch norm made,
    since their backward passes read their inputs; a sum may not overwrite a relu, whose backward pass reads its output.
    """

    def __init__(self, steps: Sequence[Step], keep: set[str]) -> None:
        self.steps = steps
        self.made_by = {s.key: s for s in steps}
        uses: list[str] = [*keep]
        for step in steps:
            collect(step.args, uses)
            collect(step.kwargs, uses)
        self.uses = Counter(uses)

    def rewritten(self, index: int, grad: bool) -> Callable[..., Any] | None:
        """What to call in place of the step's target, or None."""
        step = self.steps[index]
        keys = [a.name for a in step.args if isinstance(a, Key)]
        if step.kwargs or len(keys) != len(step.args):
            return None
        if _is_relu(step) and len(keys) == 1 and self._spare(keys[0], grad):
            return _relu(step.target, self._hooked(keys[0]), grad)
        if step.action == "call" and step.target in _SUMS and len(keys) == 2 and not grad:
            spare = [self._spare(k, grad) for k in keys]
            if any(spare):
                return _sum(spare[0], spare[1], [self._hooked(k) for k in keys])
        return None

    def folded(self, index: int) -> Callable[..., Any] | None:
        """For a convolution and the batch norm that alone reads it: one computes both in eval, the other nothing."""
        step = self.steps[index]
        layer = _layer(step)
        if isinstance(layer, RCPSConv1d):
            reader = next((s for s in self.steps if _reads(s) == [step.key]), None)
            norm = None if reader is None else _layer(reader)
            alone = self.uses[step.key] == 1 and reader is not None and _same_layout(step, reader)
            return _conv_and_norm(step.target, layer, norm) if alone and isinstance(norm, RCPSBatchNorm1d) else None
        made = self.made_by.get(next(iter(_reads(step)), ""))
        conv = None if made is None else _layer(made)
        if not isinstance(layer, RCPSBatchNorm1d) or not isinstance(conv, RCPSConv1d) or made is None:
            return None
        alone = self.uses[made.key] == 1 and _same_layout(step, made) and _reads(step) == [made.key]
        return _norm_if_not_done(step.target, conv, layer) if alone else None

    def _spare(self, key: str, grad: bool) -> bool:
        made = self.made_by.get(key)
        if made is None or self.uses[key] != 1:
            return False
        layer = _layer(made)
        if isinstance(layer, _MAKERS):  # stacked batch norm has a backward pass of its own, which forbids it
            return not (grad and isinstance(layer, RCPSBatchNorm1d) and key.endswith("@stacked"))
        return not grad and (_is_relu(made) or (made.action == "call" and made.target in _SUMS))

    def _hooked(self, key: str) -> nn.Module | None:
        """The layer whose hooks may hold on to the value."""
        return _layer(self.made_by[key]) if key in self.made_by else None


def _layer(step: Step) -> nn.Module | None:
    target = step.target
    owner = target if isinstance(target, nn.Module) else getattr(target, "__self__", None)
    return owner if isinstance(owner, nn.Module) else None


def _is_relu(step: Step) -> bool:
    return (step.action == "call" and step.target in _RELUS) or type(step.target) is nn.ReLU


def hooked(*modules: nn.Module | None) -> bool:
    """Whether somebody asked to see what a layer reads or writes."""
    if torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks:
        return True
    return any(m is not None and (m._forward_hooks or m._forward_pre_hooks) for m in modules)


def _reads(step: Step) -> list[str]:
    found: list[str] = []
    collect(step.args, found)
    collect(step.kwargs, found)
    return found


def _same_layout(one: Step, other: Step) -> bool:
    return one.key.rpartition("@")[2] == other.key.rpartition("@")[2] and one.key.endswith(("@batched", "@stacked"))


def _folds(conv: RCPSConv1d, norm: RCPSBatchNorm1d) -> bool:
    """Whether the convolution does the work of the batch norm now."""
    fixed = not norm.training and norm.running_mean is not None
    return fixed and norm.num_features == conv.out_channels and not hooked(conv, norm)


def _conv_and_norm(target: Any, conv: RCPSConv1d, norm: RCPSBatchNorm1d) -> Callable[..., Tensor]:
    def call(x: Tensor, **options: Any) -> Any:
        return target(x, norm=norm, **options) if _folds(conv, norm) else target(x, **options)

    return call


def _norm_if_not_done(target: Any, conv: RCPSConv1d, norm: RCPSBatchNorm1d) -> Callable[..., Tensor]:
    def call(x: Tensor) -> Any:
        return x if _folds(conv, norm) else target(x)

    return call


def _relu(target: Any, maker: nn.Module | None, grad: bool) -> Callable[[Tensor], Tensor]:
    own = target if isinstance(target, nn.Module) else None

    def relu(x: Tensor) -> Tensor:
        # Autograd makes a copy of a view that is written to, and channels innermost are a view.
        return target(x) if (grad and x._is_view()) or hooked(maker, own) else torch.relu_(x)

    return relu


def _sum(first: bool, second: bool, makers: Sequence[nn.Module | None]) -> Callable[[Any, Any], Any]:
    def add(a: Any, b: Any) -> Any:
        alike = isinstance(a, Tensor) and isinstance(b, Tensor) and a.shape == b.shape and a.dtype == b.dtype
        if not alike or hooked(*makers) or a is b:
            return a + b
        return b.add_(a) if second else a.add_(b)

    return add
