"""The same networks, trained faster on one core: what torch computes one operation at a time is joined here.

In :func:`run` the functions that the paper's networks call (``conv1d``, ``batch_norm``, ``relu``, ``max_pool1d``)
run with channels innermost in memory, and

- batch norm, the relu after it and the max pooling after that are two passes over the data, and two backwards. Pooling
  goes first: relu and a scaling by a positive number are monotone, so the largest of a window is the largest after them
  (the smallest, where the scaling is negative);
- a first convolution of letters, with all of that behind it, is looked up (:mod:`rcproof.experiments.letters`);
- any other first convolution runs in pieces that fit the cache, and the gradient of its weights is made of matrix
  products without copies: every K-th window begins where the last one ends, so one row of K·C numbers is one window;
- relu, and the sum with what it skips, are one pass;
- a convolution to a few channels, as a profile head is, goes window by window, each K·C numbers in a row.

Results are those of the functions up to rounding; the gradient of a bias that batch norm takes away is exactly zero.
Without numba, on a GPU, and for arguments that are not those of the paper's networks, torch's functions run as they
are. The operations themselves are in :mod:`rcproof.experiments.stages`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from rcproof.errors import RcproofError
from rcproof.nn.conv import joining

if AVAILABLE := importlib.util.find_spec("numba") is not None:
    from rcproof.experiments.letters import LetterStage, read
    from rcproof.experiments.stages import (
        Crop,
        FewChannels,
        FirstConv,
        FirstStage,
        Normed,
        NormStage,
        Relu,
        SkipRelu,
        Window,
        WithPartner,
        convolve,
    )

#: A first convolution without batch norm reads so few channels.
LETTERS = 8
#: A convolution from many channels to so few, with so many taps, goes window by window.
FEW, MANY, TAPS = 4, 16, 16

_PENDING, _CROPPED = "_rcproof_pending", "_rcproof_cropped"


def run(model: nn.Module, *inputs: Tensor) -> Any:
    """``model(*inputs)``, computed in this way; answers are a tensor or a tuple of tensors."""
    if not AVAILABLE:
        return model(*inputs)
    with joining(_with_partner), _Fused():
        answers = model(*inputs)
    return _resolved(answers)


@dataclass
class Pending:
    """Operations on x (N, C, L) that wait for those after them: convolution, batch norm, relu."""

    x: Tensor
    conv: tuple[Tensor, Tensor | None, int] | None = None
    norm: tuple[Any, ...] | None = None
    relu: bool = False
    found: Tensor | None = None
    #: Shared by all that wait for one batch norm, whose running statistics are to be moved once.
    moved: list[bool] = field(default_factory=list)

    def shape(self) -> torch.Size:
        if self.conv is None:
            return self.x.shape
        weight, _, dilation = self.conv
        length = self.x.shape[2] - dilation * (weight.shape[2] - 1)
        return torch.Size((self.x.shape[0], weight.shape[0], length))

    def once(self) -> tuple[Any, ...]:
        """The batch norm, which is to be computed now."""
        assert self.norm is not None
        if self.moved:
            raise RcproofError(
                "a batch norm that is read twice", expected="a network in which the relu after it alone reads it",
                fix="call the network itself",
            )  # fmt: skip
        self.moved.append(True)
        return self.norm

    def token(self) -> Tensor:
        """A tensor of the right shape and no memory that stands for the result."""
        token = self.x.detach().new_empty(1).expand(self.shape())
        setattr(token, _PENDING, self)
        return token


class _Fused(TorchFunctionMode):
    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        handler = _HANDLERS.get(function)
        if handler is not None:
            found = handler(*args, **kwargs)
            if found is not None:
                return found
        elif function in _ATTRIBUTES:
            return function(*args, **kwargs)
        return function(*map(_resolved, args), **{k: _resolved(v) for k, v in kwargs.items()})


def _resolved(value: Any) -> Any:
    """Whatever still waits is computed."""
    if isinstance(value, Tensor):
        pending = value.__dict__.get(_PENDING)
        if pending is None:
            return value
        if pending.found is None:
            pending.found = _compute(pending)
        return pending.found
    if type(value) in (tuple, list):
        return type(value)(map(_resolved, value))
    return value


def _pending(x: Tensor) -> Pending:
    return x.__dict__.get(_PENDING) or Pending(x)


def _fit(x: Tensor) -> bool:
    return x.dim() == 3 and x.dtype == torch.float32 and x.device.type == "cpu"


# -- what networks call ----------------------------------------------------------------------------


def _conv1d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor | None:  # fmt: skip
    if not (_fit(x) and weight.dim() == 3 and groups == 1 and _one(stride) == 1 and _one(padding) == 0):
        return None
    return Pending(_resolved(x), (weight, bias, _one(dilation))).token()


def _batch_norm(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
    bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor | None:  # fmt: skip
    waiting = _pending(x)
    if not _fit(x) or waiting.norm or waiting.relu or running_mean is None or weight is None or bias is None:
        return None
    norm = (running_mean, running_var, weight, bias, training, momentum, eps)
    return replace(waiting, norm=norm, found=None, moved=[]).token()


def _relu(x: Tensor, inplace: bool = False) -> Tensor | None:
    waiting = x.__dict__.get(_PENDING)
    if waiting is None or waiting.relu:
        return None
    return replace(waiting, relu=True, found=None).token()


def _max_pool1d(
    x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | None:  # fmt: skip
    waiting = x.__dict__.get(_PENDING)
    if waiting is None or not waiting.relu or waiting.norm is None:
        return None
    if _one(padding) or _one(dilation) != 1 or ceil_mode or return_indices:
        return None
    size = _one(kernel_size)
    return _stage(waiting, (size, size if stride is None else _one(stride)))


def _cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor | None:
    if not all(_fit(t) and _PENDING not in t.__dict__ and _lies_innermost(t) for t in tensors):
        return None
    swapped = {0: 0, 1: 2, 2: 1}[dim % 3]
    return torch.cat([t.transpose(1, 2) for t in tensors], dim=swapped).transpose(1, 2)


def _getitem(x: Tensor, key: Any) -> Tensor | None:
    if not (_fit(x) and _PENDING not in x.__dict__ and _lies_innermost(x) and x.requires_grad):
        return None
    if not (isinstance(key, tuple) and len(key) == 3 and key[:2] == (slice(None),) * 2 and isinstance(key[2], slice)):
        return None
    found = _apply(Crop, x, key[2])
    start, _, step = key[2].indices(x.shape[2])
    if step == 1:
        setattr(found, _CROPPED, (x, start))
    return found


def _add(x: Tensor, y: Any, alpha: Any = 1) -> Tensor | None:
    waiting = y.__dict__.get(_PENDING) if isinstance(y, Tensor) else None
    if waiting is None or not waiting.relu or waiting.norm is not None or waiting.found is not None or alpha != 1:
        return None
    if not isinstance(x, Tensor) or _CROPPED not in x.__dict__ or x.shape != waiting.shape():
        return None
    whole, start = x.__dict__[_CROPPED]
    return _apply(SkipRelu, whole, _convolved(waiting), start)


def _with_partner(s: Tensor, groups: int = 1) -> Tensor | None:
    if groups != 1 or not _fit(s):
        return None
    return _apply(WithPartner, _resolved(s))


def _lies_innermost(x: Tensor) -> bool:
    return x.stride(1) == 1 and x.shape[1] > 1


def _one(value: Any) -> Any:
    return value[0] if isinstance(value, tuple | list) else value


_HANDLERS: dict[Any, Callable[..., Tensor | None]] = {
    torch.conv1d: _conv1d,
    F.batch_norm: _batch_norm,
    F.relu: _relu,
    F.max_pool1d: _max_pool1d,
    torch.cat: _cat,
    torch.add: _add,
    Tensor.add: _add,
    Tensor.__add__: _add,
    Tensor.__getitem__: _getitem,
}
_ATTRIBUTES = {
    getattr(Tensor, name).__get__ for name in ("shape", "dtype", "device", "requires_grad", "is_cuda", "ndim")
} | {
    Tensor.dim, Tensor.size, Tensor.stride, Tensor.is_contiguous, Tensor.is_floating_point, Tensor.numel
}  # fmt: skip


# -- how it is computed ----------------------------------------------------------------------------


def _compute(waiting: Pending) -> Tensor:
    """Without what the fused steps need around it."""
    if waiting.relu and waiting.norm is not None:
        return _stage(waiting, None)
    x = _convolved(waiting)
    if waiting.norm is None:
        return _apply(Relu, x) if waiting.relu else x
    mean, var, weight, bias, training, momentum, eps = waiting.once()
    return F.batch_norm(x.unsqueeze(2), mean, var, weight, bias, training, momentum, eps).squeeze(2)


def _apply(function: type[torch.autograd.Function], *args: Any) -> Tensor:
    found = function.apply(*args)
    assert isinstance(found, Tensor)
    return found


def _convolved(waiting: Pending) -> Tensor:
    """What its batch norm and relu read."""
    return waiting.x if waiting.conv is None else _convolution(waiting.x, *waiting.conv)


def _convolution(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    if not x.requires_grad and weight.shape[1] <= LETTERS and dilation == 1:
        return _apply(FirstConv, x, weight, bias)
    if weight.shape[0] > FEW or weight.shape[1] < MANY or weight.shape[2] < TAPS or dilation != 1:
        return convolve(x, weight, bias, dilation)
    return _apply(FewChannels, x, weight, weight.new_zeros(len(weight)) if bias is None else bias)


def _stage(waiting: Pending, window: Window | None) -> Tensor:
    mean, var, weight, bias, training, momentum, eps = waiting.once()
    how = Normed(mean, var, training, momentum, eps, window)
    if waiting.conv is not None and not waiting.x.requires_grad and waiting.conv[2] == 1:
        kernel, offset, _ = waiting.conv
        codes = None if window is None else read(waiting.x, kernel.shape[2])
        if codes is not None:
            return _apply(LetterStage, kernel, offset, weight, bias, how, codes, waiting.x.shape[2])
        return _apply(FirstStage, waiting.x, kernel, offset, weight, bias, how)
    return _apply(NormStage, _convolved(waiting), weight, bias, how)
