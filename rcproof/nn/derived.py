"""What layers derive from their weights, and when a result may be kept or a buffer reused.

Tied weights are built in every training step, because gradients flow through them. In eval they change only with the
weights, so they are kept (:func:`derived`) until the weights do. Nothing is kept, and nothing is written in place,
while something watches the operations: a tracer, a compiler, a transform or a mode (:func:`unwatched`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

#: Larger weights are derived anew in every call: the copy would double their memory, and a convolution with so many
#: weights takes far longer than the copy.
MOST_KEPT = 1 << 22

_KEPT = "_derived_weights"


def unwatched(*tensors: Any) -> bool:
    """Whether plain tensors are computed with and nothing records or rewrites the operations."""
    if torch.compiler.is_compiling():
        return False
    for t in tensors:
        if t is not None and type(t) is not nn.Parameter and type(t) is not Tensor:
            return False
    return (
        torch._C._len_torch_function_stack() == 0
        and torch._C._len_torch_dispatch_stack() == 0
        and torch._C._functorch.peek_interpreter_stack() is None
        and torch._C._get_tracing_state() is None
    )


class _Source:
    """A weight as it was when something was derived from it."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.alias = tensor.detach()  # held, so that no other tensor can come to lie at the same address
        self.mark = (tensor.data_ptr(), tensor._version)
        # A version does not count what is written through ``.data``, and batch norm writes its statistics without one.
        # On a CPU, where looking is cheap and waits for nobody, the values are compared too.
        self.bytes: Any = None
        self.copy: Any = None
        if tensor.device.type == "cpu":
            if tensor.numel() <= _FEW and tensor.is_contiguous() and tensor.numel():
                self.bytes = self.alias.flatten().view(torch.uint8).numpy()
                self.copy = self.bytes.tobytes()
            else:
                self.copy = self.alias.clone()

    def same(self, tensor: Tensor | None) -> bool:
        if tensor is not self.tensor or (tensor.data_ptr(), tensor._version) != self.mark:
            return False
        if tensor.dtype != self.alias.dtype:
            return False
        if self.bytes is not None:
            return bool(self.bytes.tobytes() == self.copy)
        return self.copy is None or torch.equal(self.copy, tensor)


#: Up to so many values are compared as bytes, which takes a tenth of the time of a call into torch.
_FEW = 1 << 12


class _Kept:
    """A derived value, and what it was derived from."""

    def __init__(self, value: Any, sources: tuple[Tensor | None, ...]) -> None:
        self.value = value
        self.sources = [None if t is None else _Source(t) for t in sources]

    def fresh(self, sources: tuple[Tensor | None, ...]) -> bool:
        for then, now in zip(self.sources, sources, strict=True):
            if now is not None if then is None else not then.same(now):
                return False
        return True


def derived(layer: nn.Module, name: str, sources: tuple[Tensor | None, ...], build: Callable[[], Any]) -> Any:
    """``build()``, which depends on ``sources`` alone; kept on the layer in eval without gradients.

    A kept value is used while every source is the same tensor (storage, version, dtype, device, shape) and, on
    a CPU, has the same values. On another device a write through ``.data`` between two calls in eval goes unseen until
    ``train()``, ``eval()`` or ``to()`` is called; every other write (optimisers, ``copy_``, ``load_state_dict``,
    ``torch.nn.init``) is seen. A kept value travels neither in a copy of the layer nor in a file.
    """
    if layer.training or not unwatched(*sources):
        return build()
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in sources):
        return build()
    kept: dict[str, _Kept] = layer.__dict__.setdefault(_KEPT, {})
    found = kept.get(name)
    if found is None or not found.fresh(sources):
        if any(t is not None and (t.is_inference() or t.is_meta or t.numel() > MOST_KEPT) for t in sources):
            return build()
        with torch.inference_mode(False), torch.no_grad():
            found = kept[name] = _Kept(build(), sources)
    return found.value


def forget(layer: nn.Module) -> None:
    """Drop what :func:`derived` kept."""
    layer.__dict__.pop(_KEPT, None)


def without_kept(state: dict[str, Any]) -> dict[str, Any]:
    """The ``__dict__`` of a layer without what is kept, for copies and pickles."""
    return {k: v for k, v in state.items() if k != _KEPT}


#: Below this many values in the widest layer the calls cost more than the layout saves.
_LEAST_VALUES = 1 << 16

#: With fewer output channels and few rows oneDNN has no fast backward pass for channels innermost.
_FEWEST_OUT, _ROWS_A_THREAD = 8, 4


def prefers_channels_last(x: Tensor, values: int) -> bool:
    """Whether convolutions of ``x`` are faster with channels innermost in memory: float32 on a CPU with oneDNN.

    ``values``: how many the widest layer writes. Measured there: 0.4-0.98 × the time, forward and backward, for 1 to
    300 channels, kernels of 1 to 75, 1 to 20 examples of 300 to 20 000 positions, but for :func:`slow_backward`.
    oneDNN has no float64, and other devices are not touched.
    """
    on_cpu = x.device.type == "cpu" and x.dtype in (torch.float32, torch.int64)
    return on_cpu and values >= _LEAST_VALUES and torch.backends.mkldnn.is_available()


def slow_backward(rows: int, channels: int) -> bool:
    """Whether the backward pass of a convolution to so few channels is slow channels last (4-9 × the time)."""
    few = channels < _FEWEST_OUT and rows < _ROWS_A_THREAD * torch.get_num_threads()
    return few and torch.is_grad_enabled()


def channels_last(weight: Tensor) -> Tensor:
    """(O, C, K) → (O, C, 1, K) with channels innermost: what makes :func:`convolve` keep its output so."""
    return weight.unsqueeze(2).contiguous(memory_format=torch.channels_last)


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int, dilation: int, groups: int
) -> Tensor:
    """``F.conv1d``; with a weight of rank 4 (:func:`channels_last`) the output is (N, O, L) with channels innermost."""
    if weight.dim() == 3:
        return nn.functional.conv1d(x, weight, bias, stride, padding, dilation, groups)
    y = nn.functional.conv2d(x.unsqueeze(2), weight, bias, (1, stride), (0, padding), (1, dilation), groups)
    return y.squeeze(2)
