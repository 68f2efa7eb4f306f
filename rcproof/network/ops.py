"""The functions a network graph may call, by name, and what each does to the batch axis.

This table is a whitelist: a graph read from a file can only name what stands here. Each entry says in
which family a function is; the family decides how the converter types it (:mod:`rcproof.convert.typing`)
and whether it has a stacked form.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Op:
    """A registered function.

    Attributes:
        name: ``torch.X``, ``F.X``, ``Tensor.X`` or ``operator.X``.
        function: what is called.
        family: how it treats axes; see ``FAMILIES``.
        dim: position of its ``dim`` argument, for families that take one.
        default: the default of that argument (``...`` if it must be given).
        inplace: whether the Python name writes into its first argument (``function`` never does).
    """

    name: str
    function: Callable[..., Any]
    family: str
    dim: int = 1
    default: Any = ...
    inplace: bool = False


FAMILIES = {
    "pointwise": "each element on its own, with broadcasting",
    "reduce": "works along the axes in dim",
    "along": "works along the axis dim and keeps it",
    "join": "joins tensors along dim",
    "permute": "reorders axes",
    "insert": "inserts an axis",
    "squeeze": "drops an axis of size one",
    "reshape": "reshapes; the batch must stay the leading axis",
    "index": "indexes or slices",
    "matmul": "matrix product over the last axes",
    "einsum": "einsum",
    "window": "works along the last axis with windows, weights shared by all examples",
    "attention": "scaled dot-product attention",
    "factory": "makes a constant",
    "size": "asks for a size",
    "identity": "returns its argument",
    "cast": "returns its first argument in another dtype or on another device",
    "lookup": "looks integer codes up in a table",
}

OPS: dict[str, Op] = {}
BY_FUNCTION: dict[Any, str] = {}


def _register(name: str, function: Callable[..., Any] | None, family: str, **options: Any) -> None:
    if function is None:
        return
    OPS[name] = Op(name, function, family, **options)
    if not name.startswith("Tensor."):
        BY_FUNCTION.setdefault(function, name)


def _everywhere(names: str, family: str, **options: Any) -> None:
    """Register names wherever torch has them: as torch.X, F.X and Tensor.X."""
    for name in names.split():
        for prefix, where in (("torch", torch), ("F", F), ("Tensor", Tensor)):
            _register(f"{prefix}.{name}", getattr(where, name, None), family, **options)
            written = getattr(where, name + "_", None)
            if written is not None and hasattr(where, name):
                _register(f"{prefix}.{name}_", getattr(where, name), family, inplace=True, **options)
                if where is not Tensor:
                    BY_FUNCTION[written] = f"{prefix}.{name}_"


_everywhere(
    "relu relu6 sigmoid tanh exp exp2 log log1p log2 log10 expm1 sqrt rsqrt abs absolute neg negative square sin cos "
    "sinh cosh asinh acosh atanh asin acos atan erf erfc erfinv reciprocal sign floor ceil round trunc frac clamp clip "
    "clamp_min clamp_max nan_to_num softplus gelu silu mish elu selu celu leaky_relu hardtanh hardswish hardsigmoid "
    "softsign logsigmoid tanhshrink softshrink hardshrink threshold logit sinc lgamma digamma isnan isinf isfinite "
    "logical_not add sub subtract mul multiply div divide true_divide floor_divide pow maximum minimum fmax fmin fmod "
    "remainder atan2 where lerp addcmul addcdiv hypot logaddexp xlogy eq ne gt ge lt le logical_and logical_or "
    "masked_fill dropout alpha_dropout rsub prelu",
    "pointwise",
)
_everywhere("float double half bfloat16 long int bool to type_as", "cast")
_everywhere("contiguous clone detach requires_grad_", "identity")
_everywhere(
    "sum mean amax amin prod std var logsumexp any all nansum nanmean argmax argmin count_nonzero",
    "reduce",
    default=None,
)
_everywhere("max min median", "reduce", default=None)
_everywhere("norm", "reduce", dim=2, default=None)
_everywhere("softmax log_softmax softmin cumsum cumprod flip logcumsumexp", "along")
_everywhere("sort argsort glu", "along", default=-1)
_everywhere("topk", "along", dim=2, default=-1)
_everywhere("roll", "along", dim=2, default=None)
_everywhere("normalize", "along", dim=2, default=1)
_everywhere("select narrow index_select", "along")
_everywhere("chunk split tensor_split", "along", dim=2, default=0)
_everywhere("unbind", "along", default=0)
_everywhere("cat concat concatenate stack", "join", default=0)
_everywhere("transpose swapaxes swapdims permute movedim moveaxis t mT", "permute")
_everywhere("unsqueeze", "insert")
_everywhere("squeeze", "squeeze", default=None)
_everywhere("view reshape unflatten flatten expand expand_as view_as reshape_as repeat tile", "reshape")
_everywhere("matmul bmm linear", "matmul")
_everywhere("einsum", "einsum")
_everywhere(
    "conv1d conv_transpose1d max_pool1d avg_pool1d adaptive_max_pool1d adaptive_avg_pool1d lp_pool1d pad interpolate "
    "layer_norm group_norm instance_norm batch_norm",
    "window",
)
_everywhere("scaled_dot_product_attention", "attention")
_everywhere("embedding one_hot", "lookup")
_everywhere("zeros ones full arange empty eye linspace tensor as_tensor", "factory")
_everywhere("zeros_like ones_like full_like", "pointwise")
_everywhere("new_zeros new_ones new_full new_tensor", "factory")
_everywhere("size dim ndimension numel", "size")

for _name, _twin in {
    "add": "iadd", "sub": "isub", "mul": "imul", "truediv": "itruediv", "pow": "ipow", "floordiv": "ifloordiv",
    "mod": "imod", "and_": "iand", "or_": "ior", "neg": "", "eq": "", "ne": "", "gt": "", "ge": "", "lt": "", "le": "",
    "pos": "", "abs": "", "invert": "",
}.items():  # fmt: skip
    _register(f"operator.{_name}", getattr(operator, _name), "pointwise")
    if _twin:
        _register(f"operator.{_twin}", getattr(operator, _name), "pointwise", inplace=True)
        BY_FUNCTION[getattr(operator, _twin)] = f"operator.{_twin}"
_register("operator.matmul", operator.matmul, "matmul")
_register("operator.getitem", operator.getitem, "index")
_register("builtins.len", len, "size")
for _scalar in (max, min, int, float, abs, round, sum):
    _register(f"builtins.{_scalar.__name__}", _scalar, "scalar")

# torch exposes some functions under a second identity; fx records whichever the user's code called.
for _alias, _known in {
    "relu": F.relu, "max_pool1d": F.max_pool1d, "adaptive_max_pool1d": F.adaptive_max_pool1d,
}.items():  # fmt: skip
    for _where in (torch, F):
        _function = getattr(_where, _alias, None)
        if _function is not None:
            BY_FUNCTION.setdefault(_function, BY_FUNCTION[_known])
for _dispatch in ("max_pool1d", "adaptive_max_pool1d"):
    for _suffix in ("", "_with_indices"):
        _function = getattr(F, f"_{_dispatch}" if not _suffix else f"{_dispatch}{_suffix}", None)
        if _function is not None:
            BY_FUNCTION.setdefault(_function, f"F.{_dispatch}")


def writes_in_place(target: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a call that fx recorded (a function, or the name of a method) writes into its first argument."""
    if isinstance(target, str):
        return target.endswith("_") and not target.endswith("__")
    name = name_of(target)
    if name is not None and OPS[name].inplace:
        return True
    try:
        bound = inspect.signature(target).bind(*args, **kwargs)
    except (TypeError, ValueError):
        return bool(kwargs.get("inplace", False))
    return bool(bound.arguments.get("inplace", False))


def name_of(function: Any) -> str | None:
    """The registered name of a function that fx recorded, or None."""
    try:
        return BY_FUNCTION.get(function)
    except TypeError:  # unhashable
        return None
