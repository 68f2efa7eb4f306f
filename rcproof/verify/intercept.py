"""Running a network's own code in another arithmetic.

A network is called with stand-ins: tensors of the right shape whose numbers are held elsewhere, as exact rationals
or as intervals with error bounds. Every torch function that the network's code calls on the way comes here
(``torch.overrides.TorchFunctionMode``) and is done in that arithmetic, or refused by name. So what is evaluated is the
network that runs, layers, layouts and all, and not a second description of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rcproof.errors import RcproofError


def names(text: str) -> frozenset[str]:
    """Words as a set.

    >>> sorted(names("sum mean"))
    ['mean', 'sum']
    """
    return frozenset(text.split())


#: Functions that only move elements, under the name by which torch knows them.
MOVES = names(
    "flip fliplr flatten ravel view reshape unflatten narrow __getitem__ getitem cat concat concatenate stack chunk "
    "split tensor_split unbind transpose permute swapaxes swapdims movedim moveaxis t T mT H mH data squeeze unsqueeze "
    "expand expand_as view_as reshape_as repeat tile roll index_select select contiguous detach clone broadcast_to "
    "broadcast_tensors repeat_interleave gather take_along_dim channel_shuffle diagonal unfold"
)
#: Those of them whose result is never a view of what they read.
COPIES = names(
    "flip fliplr cat concat concatenate stack repeat tile roll index_select clone repeat_interleave gather "
    "take_along_dim"
)
#: Functions and properties that ask for no number.
SIZES = names(
    "size dim ndimension numel nelement element_size stride is_floating_point is_complex is_contiguous __len__ "
    "storage_offset get_device is_tensor requires_grad_ __hash__ __repr__ __format__ is_conj is_neg is_inference"
)
#: Constants made in the shape of another tensor.
FACTORIES = names(
    "zeros_like ones_like full_like new_zeros new_ones new_full new_tensor zeros ones full arange eye tensor as_tensor "
    "linspace scalar_tensor"
)
#: What may be done to weights by torch itself, since it rounds nothing.
UNROUNDED = names("embedding one_hot copy_ fill_ zero_ isnan isfinite isinf equal all any")
#: What parametrizations make of stored tensors: the weights, as torch computes them, are what they make.
PARAMETRIZED = names("_weight_norm norm_except_dim")
CASTS = names("to type type_as double float half bfloat16 cpu cuda long int bool")
#: A network that asks for these looks at the numbers and decides by them.
DECISIONS = names("__bool__ item tolist numpy __float__ __int__ __index__ __array__ __contains__ is_nonzero")

#: Functions that torch knows under another name than the one that is used here.
_ALIASES = {
    "iadd": "add",
    "isub": "sub",
    "imul": "mul",
    "itruediv": "div",
    "truediv": "div",
    "radd": "add",
    "rmul": "mul",
    "log_sigmoid": "logsigmoid",
}


class Held(Tensor):
    """A stand-in: shape and dtype of a tensor, with its numbers in :attr:`held`. It takes no memory of its own."""

    held: Any
    shares: _Shared
    version: int


class _Shared:
    """What several views share; its version counts what was written into them."""

    version = 0


class NotCovered(RcproofError):
    """A function that the arithmetic does not know, or cannot decide."""


class Arithmetic(TorchFunctionMode):
    """Runs torch functions on held values. A subclass holds the values and gives a method ``op_NAME`` a function.

    Such a method takes the arguments that torch's function takes. It returns values, which are wrapped here.

    Attributes:
        what: the arithmetic, as errors name it.
        dtype: the dtype that stand-ins claim to have.
    """

    what = "this arithmetic"

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.place: list[str] = []
        self._names: dict[Any, str] = {}

    # -- what a subclass gives ---------------------------------------------------------------------
    def constant(self, tensor: Tensor) -> Any:
        """A plain floating-point tensor as a value; values have a ``shape``."""
        raise NotImplementedError

    def moved(self, move: Callable[[list[Tensor]], Any], values: list[Any]) -> Any:
        """The values that ``move`` makes of the elements of ``values``.

        It takes plain tensors in their shapes and returns one tensor, or a tuple or list of them; so does this.
        """
        raise NotImplementedError

    def done(self, func: Any, name: str, method: Callable[..., Any], args: tuple[Any, ...], kwargs: Any) -> Any:
        """The values that ``method``, this arithmetic's form of the function ``func``, makes of the arguments."""
        return method(*args, **kwargs)

    # -- stand-ins ---------------------------------------------------------------------------------
    def wrap(self, value: Any, like: Held | None = None) -> Held:
        """A stand-in for a value; ``like``: the tensor it is a view of."""
        shape = tuple(value.shape)
        made = torch.zeros((), dtype=self.dtype).expand(shape).as_subclass(Held)
        made.held = value
        made.shares = _Shared() if like is None else like.shares
        made.version = made.shares.version
        return made

    def value(self, x: Any) -> Any:
        """What an argument holds: a stand-in, a plain tensor, or a number."""
        if isinstance(x, Held):
            if x.version != x.shares.version:
                raise NotCovered(
                    f"{self._here()}a tensor is read after something was written in place into a view of it",
                    fix=f"use the out-of-place form; {self.what} does not follow such writes",
                )
            return x.held
        if isinstance(x, Tensor):
            return self.constant(x.detach().to("cpu", torch.float64))
        if _is_value(x):
            return x
        if isinstance(x, bool | int | float):
            return self.constant(torch.tensor(float(x), dtype=torch.float64))
        raise self.refuse(f"an argument of type {type(x).__name__}")

    def refuse(self, what: str, fix: str | None = None) -> NotCovered:
        """The error for something that this arithmetic does not cover, with the layer that asked for it."""
        return NotCovered(f"{self._here()}{what} is not covered by {self.what}", fix=fix)

    def _here(self) -> str:
        return f"layer {self.place[-1]!r}: " if self.place else ""

    # -- the interception --------------------------------------------------------------------------
    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = self._name(func)
        held = _found(args, Held) + _found(kwargs, Held)
        floats = [t for t in _found(args, Tensor) + _found(kwargs, Tensor) if t.is_floating_point()]
        if name in SIZES or not floats:
            return func(*args, **kwargs)
        if name in FACTORIES:
            return func(*replaced(args, _stand_in), **replaced(kwargs, _stand_in))
        if name in CASTS:
            return self._cast(func, name, args, kwargs, bool(held))
        if not held and name in MOVES | UNROUNDED | PARAMETRIZED:
            return func(*args, **kwargs)
        if name in DECISIONS:
            raise self.refuse(f"a decision by the numbers of a tensor ({name.strip('_')})")
        if name in MOVES:
            return self._move(func, name, args, kwargs, held)
        return self._operation(func, name, args, dict(kwargs))

    def _name(self, func: Any) -> str:
        found = self._names.get(func)
        if found is None:
            found = getattr(func, "__name__", type(func).__name__)
            if found == "__get__":  # a property
                found = getattr(func.__self__, "__name__", "")
                found = found if found in MOVES else "size"
            elif found in ("__set__", "__delete__"):
                found = "requires_grad_"
            self._names[func] = found
        return found

    def _cast(self, func: Any, name: str, args: Any, kwargs: Any, held: bool) -> Any:
        made = func(*replaced(args, _stand_in), **replaced(kwargs, _stand_in)) if held else func(*args, **kwargs)
        if not held:
            same = not made.is_floating_point() or torch.equal(made.double(), args[0].double())
        else:
            same = made.dtype == self.dtype
        if not same:
            raise self.refuse(
                f"a change of dtype inside the network ({name}, to {str(made.dtype).removeprefix('torch.')})"
            )
        return args[0] if held else made

    def _move(self, func: Any, name: str, args: Any, kwargs: Any, held: list[Held]) -> Any:
        tensors = [t for t in _found((args, kwargs), Tensor) if t.is_floating_point()]
        values = [self.value(t) for t in tensors]

        def move(plain: list[Tensor]) -> Any:
            swap = {id(t): p for t, p in zip(tensors, plain, strict=True)}
            new_args, new_kwargs = replaced((args, kwargs), lambda t: swap.get(id(t), t))
            return func(*new_args, **new_kwargs)

        return self._wrapped(self.moved(move, values), None if name in COPIES else held[0])

    def _operation(self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        base = name.strip("_")
        written = (name.endswith("_") and not name.endswith("__")) or base in ("iadd", "isub", "imul", "itruediv")
        written = bool(kwargs.pop("inplace", False)) or written
        base = _ALIASES.get(base, base)
        for keyword in ("input", "self", "other", "mat2"):  # torch's names of what comes first
            if keyword in kwargs and len(args) == (keyword in ("other", "mat2")):
                args = (*args, kwargs.pop(keyword))
        method = getattr(self, f"op_{base}", None)
        if method is None or kwargs.get("out") is not None:
            raise self.refuse(f"the function {base!r}")
        try:
            result = self.done(func, base, method, args, kwargs)
        except TypeError as problem:
            if "argument" not in str(problem):
                raise
            raise self.refuse(f"a form of the function {base!r} ({problem})") from None
        if not written:
            return self._wrapped(result)
        target = args[0]
        if not isinstance(target, Held):
            raise self.refuse("writing in place into a tensor that does not come from the input")
        target.held = result
        target.shares.version += 1
        target.version = target.shares.version
        return target

    def _wrapped(self, result: Any, like: Held | None = None) -> Any:
        if isinstance(result, tuple | list):
            return type(result)([self._wrapped(r, like) for r in result])
        return self.wrap(result, like) if _is_value(result) else result

    # -- what every arithmetic does alike ------------------------------------------------------------
    def op_dropout(self, x: Any, p: float = 0.5, training: bool = True) -> Any:
        return self._only_identity(x, "dropout", training and p > 0)

    def op_dropout1d(self, x: Any, p: float = 0.5, training: bool = True) -> Any:
        return self._only_identity(x, "dropout", training and p > 0)

    op_alpha_dropout = op_feature_alpha_dropout = op_dropout1d

    def _only_identity(self, x: Any, name: str, active: bool) -> Any:
        if active:
            raise self.refuse(f"{name} in train mode")
        return self.value(x)

    def op_pad(self, x: Any, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Any:
        source = self.value(x)
        if mode != "constant":
            return self.moved(lambda ts: _pad(ts[0], pad, mode), [source])
        fill = self.value(0.0 if value is None else value)

        def move(ts: list[Tensor]) -> Tensor:
            inside = torch.nn.functional.pad(torch.ones_like(ts[0], dtype=torch.bool), tuple(pad))
            spread = torch.nn.functional.pad(ts[0], tuple(pad))
            return torch.where(inside, spread, ts[1].expand(spread.shape))

        return self.moved(move, [source, fill])

    def op_interpolate(
        self, x: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest", *more: Any, **options: Any
    ) -> Any:
        if mode not in ("nearest", "nearest-exact"):
            raise self.refuse(f"interpolation of mode {mode!r}")
        source = self.value(x)

        def move(ts: list[Tensor]) -> Tensor:
            made = torch.nn.functional.interpolate(ts[0].double(), size, scale_factor, mode, *more, **options)
            return made.to(ts[0].dtype)

        return self.moved(move, [source])

    def op_where(self, condition: Tensor, a: Any, b: Any) -> Any:
        if isinstance(condition, Held):
            raise self.refuse("a condition that is no truth value")
        values = [self.value(a), self.value(b)]
        return self.moved(lambda ts: torch.where(condition, ts[0], ts[1]), values)

    def op_masked_fill(self, x: Any, mask: Tensor, value: Any) -> Any:
        return self.op_where(mask, value, x)

    def op_rsub(self, a: Any, b: Any, alpha: float = 1) -> Any:
        return self.op_sub(b, a, alpha=alpha)  # type: ignore[attr-defined]

    def op_rdiv(self, a: Any, b: Any) -> Any:
        return self.op_div(b, a)  # type: ignore[attr-defined]

    op_rtruediv = op_rdiv

    def op_square(self, x: Any) -> Any:
        return self.op_mul(x, x)  # type: ignore[attr-defined]

    def op_einsum(self, equation: str, *operands: Any) -> Any:
        """One or two operands, as products over the union of their axes and a sum."""
        given = list(operands[0]) if len(operands) == 1 and isinstance(operands[0], tuple | list) else list(operands)
        left, arrow, out = equation.replace(" ", "").partition("->")
        terms = left.split(",")
        letters = sorted(set(left) - {","})
        plain = all(t.isalpha() and len(set(t)) == len(t) for t in terms)
        if not arrow or len(terms) != len(given) or len(given) != 2 or not plain or not set(out) <= set(letters):
            raise self.refuse(f"the einsum {equation!r}")
        order = [*out, *(c for c in letters if c not in out)]

        def spread(term: str) -> Callable[[list[Tensor]], Tensor]:
            inside = [c for c in order if c in term]

            def move(ts: list[Tensor]) -> Tensor:
                made = ts[0].permute([term.index(c) for c in inside])
                for axis, c in enumerate(order):
                    made = made if c in term else made.unsqueeze(axis)
                return made

            return move

        a, b = (self.moved(spread(t), [self.value(x)]) for t, x in zip(terms, given, strict=True))
        product = self.op_mul(a, b)  # type: ignore[attr-defined]
        summed = tuple(range(len(out), len(order)))
        return self.op_sum(product, summed) if summed else product  # type: ignore[attr-defined]


def _pad(t: Tensor, pad: Sequence[int], mode: str) -> Tensor:
    return torch.nn.functional.pad(t.double(), tuple(pad), mode=mode).to(t.dtype)


def _is_value(x: Any) -> bool:
    return hasattr(x, "shape") and not isinstance(x, Tensor)


def _stand_in(t: Tensor) -> Tensor:
    return torch.zeros((), dtype=t.dtype).expand(tuple(t.shape)) if isinstance(t, Held) else t


def _found(value: Any, kind: type[Any]) -> list[Any]:
    """Every tensor of a kind in nested arguments, each once."""
    found: dict[int, Any] = {}

    def visit(v: Any) -> None:
        if isinstance(v, kind):
            found[id(v)] = v
        elif isinstance(v, tuple | list):
            for item in v:
                visit(item)
        elif isinstance(v, dict):
            visit(list(v.values()))
        elif isinstance(v, slice):
            visit((v.start, v.stop, v.step))

    visit(value)
    return list(found.values())


def replaced(value: Any, swap: Callable[[Tensor], Any]) -> Any:
    """Nested arguments with every tensor swapped."""
    if isinstance(value, Tensor):
        return swap(value)
    if isinstance(value, tuple | list) and not isinstance(value, torch.Size):
        return type(value)(replaced(v, swap) for v in value)
    if isinstance(value, dict):
        return {k: replaced(v, swap) for k, v in value.items()}
    return value


@contextlib.contextmanager
def located(model: nn.Module, arithmetic: Arithmetic) -> Iterator[None]:
    """While it lasts, the arithmetic knows which layer of ``model`` is running, for its errors."""
    hooks = []

    def entering(path: str) -> Any:
        return lambda *_: arithmetic.place.append(path)

    def leaving(*_: Any) -> None:
        arithmetic.place.pop()

    try:
        for path, module in model.named_modules():
            if path:
                hooks.append(module.register_forward_pre_hook(entering(path)))
                hooks.append(module.register_forward_hook(leaving))
        yield
    finally:
        for hook in hooks:
            hook.remove()
