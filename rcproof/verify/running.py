"""Running any model on named inputs: casting, calling, flattening what comes out, comparing two tensors."""

from __future__ import annotations

import copy
import dataclasses
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rcproof.errors import RcproofError, RepresentationError, ShapeError
from rcproof.strand import Representation, RepresentationLike, rc, representations
from rcproof.verify.inputs import InputCase
from rcproof.verify.report import Check

Inputs = Tensor | Sequence[Tensor] | InputCase | Iterable[InputCase]

#: A case's errors are scaled by its own size, but by no less than this share of the largest case. Where the
#: exact answer of one case is zero (an antisymmetric output of all-N input) its size is rounding noise.
FLOOR = 1e-3


def as_cases(inputs: Inputs) -> list[InputCase]:
    """Named cases from a tensor, a tuple of tensors (the arguments of one call), a case or several cases."""
    if isinstance(inputs, Tensor):
        inputs = (inputs,)
    if isinstance(inputs, InputCase):
        inputs = [inputs]
    items = list(inputs)
    tensors = [item for item in items if isinstance(item, Tensor)]
    cases = [item for item in items if isinstance(item, InputCase)]
    if tensors and len(tensors) == len(items):
        cases = [InputCase("inputs", tuple(tensors))]
    elif not cases or len(cases) != len(items):
        kinds = ", ".join(sorted({type(item).__name__ for item in items})) or "nothing"
        raise RcproofError("inputs to check", got=kinds, expected="a tuple of tensors or a list of InputCase")
    for case in cases:
        _check_case(case)
    return cases


def _check_case(case: InputCase) -> None:
    sizes = {tuple(t.shape[:1]) for t in case.tensors}
    if len(sizes) != 1 or () in sizes or (0,) in sizes:
        raise ShapeError(
            f"inputs of case {case.name!r}",
            got=f"shapes {[tuple(t.shape) for t in case.tensors]}",
            expected="one batch size, at least 1, as the first axis of each",
        )
    for index, t in enumerate(case.tensors):
        if t.is_floating_point() and not bool(torch.isfinite(t).all()):
            raise RcproofError(
                f"input {index} of case {case.name!r} holds NaN or infinite values", fix="check the data"
            )


def prepare(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The model in eval mode and in ``dtype``: itself if it is so already, else a deep copy."""
    if not isinstance(model, nn.Module):
        raise RcproofError("a model to check", got=type(model).__name__, expected="a torch.nn.Module")
    tensors = [*model.parameters(), *model.buffers()]
    if not any(m.training for m in model.modules()) and all(
        t.dtype == dtype for t in tensors if t.is_floating_point() or t.is_complex()
    ):
        return model
    try:
        with warnings.catch_warnings():  # torch's own, about how it copies exported programs
            warnings.simplefilter("ignore")
            model = copy.deepcopy(model)
    except Exception as problem:
        raise RcproofError(
            f"{type(model).__name__} cannot be deep-copied",
            got=describe(problem),
            fix=f"give it in eval mode and in {name_of(dtype)}, and no copy is made",
        ) from problem
    model = model.to(dtype)
    try:
        return model.eval()
    except NotImplementedError:  # exported programs have no modes
        return model


def place(tensors: Sequence[Tensor], model: nn.Module, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """The tensors on the model's device, the floating-point ones in ``dtype``."""
    owned = next((t for t in [*model.parameters(), *model.buffers()]), None)
    device = tensors[0].device if owned is None else owned.device
    return tuple(t.detach().to(device, dtype if t.is_floating_point() else t.dtype) for t in tensors)


def call(model: nn.Module, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
    """The model's outputs by name; see :func:`flatten`."""
    return flatten(model(*tensors))


def answered(model: nn.Module, cases: Sequence[InputCase]) -> tuple[list[InputCase], list[str]]:
    """The cases on which the model, in float64, gives finite answers, and the names of the others.

    Where it gives none (a logarithm of all-zero counts) there is nothing to compare. The first case always stays,
    and so does one on which the model raises: a check tells that better.
    """
    kept = [case for i, case in enumerate(cases) if i == 0 or finite(model, case)]
    return kept, [case.name for case in cases if case not in kept]


def finite(model: nn.Module, case: InputCase) -> bool:
    """Whether every output is finite in float64; True where the model raises."""
    try:
        with torch.no_grad():
            outputs = call(model, place(case.tensors, model, torch.float64))
            return all(bool(t.isfinite().all()) for t in outputs.values())
    except Exception:  # whatever a user's network raises
        return True


def flatten(output: object, name: str = "output") -> dict[str, Tensor]:
    """Named tensors from a tensor, tuple, list, mapping, dataclass, or any nesting of these.

    >>> list(flatten((torch.zeros(1), {"counts": torch.zeros(1)})))
    ['output[0]', 'output[1].counts']
    """
    named = _flatten(output, name)
    if not named:
        raise RcproofError("the model returned no tensor", got=type(output).__name__)
    return named


def _flatten(output: object, name: str) -> dict[str, Tensor]:
    if output is None:
        return {}
    if isinstance(output, Tensor):
        return {name: output.to_dense() if output.is_sparse else output}
    if isinstance(output, bool | int | float):
        return {name: torch.tensor(output)}
    if isinstance(output, Mapping):
        parts = [(f"{name}.{key}", value) for key, value in output.items()]
    elif isinstance(output, tuple | list):
        parts = [(f"{name}[{i}]", value) for i, value in enumerate(output)]
    elif dataclasses.is_dataclass(output) and not isinstance(output, type):
        parts = [(f"{name}.{f.name}", getattr(output, f.name)) for f in dataclasses.fields(output)]
    else:
        raise RcproofError(
            f"{name} is not made of tensors", got=type(output).__name__, expected="a tensor, tuple, list or dict"
        )
    return {path: t for part, value in parts for path, t in _flatten(value, part).items()}


def values(t: Tensor) -> Tensor:
    """The numbers of ``t`` in float64 on the CPU, detached."""
    t = t.detach().cpu()
    return (torch.view_as_real(t.resolve_conj()) if t.is_complex() else t).to(torch.float64)


def act(rho: Representation, x: Tensor) -> Tensor:
    """ρx, with outputs of other ranks, such as scores of shape (N,), let through where ρ moves nothing."""
    if rho.channels == "keep" and (x.dim() <= 1 or (x.dim() > 3 and not rho.reverses_length)):
        return x
    return rc(x, rho)


def match(
    specs: RepresentationLike | Sequence[RepresentationLike], count: int, what: str
) -> tuple[Representation, ...]:
    """One representation per tensor; an error if the counts differ."""
    found = representations(specs)
    if len(found) != count:
        raise RepresentationError(
            f"representations of the {what}s",
            got=f"{len(found)} ({', '.join(map(str, found))})",
            expected=f"{count}, one for each {what}",
        )
    return found


@dataclass(frozen=True)
class Difference:
    """The largest difference of two tensors and the largest size of the first; infinite where they do not compare."""

    largest: float
    scale: float
    detail: str = ""


def compare(a: Tensor, b: Tensor, names: tuple[str, str] = ("a", "b")) -> Difference:
    """How far ``b`` is from ``a``. Other shapes, NaN and infinities are infinitely far, with the reason."""
    if a.shape != b.shape:
        return Difference(math.inf, math.inf, f"shape {tuple(a.shape)} of {names[0]}, {tuple(b.shape)} of {names[1]}")
    for name, t in zip(names, (a, b), strict=True):
        wrong = int((~torch.isfinite(values(t))).sum())
        if wrong:
            return Difference(math.inf, math.inf, f"{name} has {wrong} of {t.numel()} values that are not finite")
    if not a.numel():
        return Difference(math.inf, math.inf, f"{names[0]} is empty: shape {tuple(a.shape)}")
    first, second = values(a), values(b)
    largest = float((first - second).abs().max())
    if largest == 0 and not torch.equal(a.detach().cpu(), b.detach().cpu().to(a.dtype)):
        largest = 1.0  # integers that float64 does not tell apart
    return Difference(largest, float(first.abs().max()))


def checks_of(found: Mapping[str, Mapping[str, Difference]], tolerance: float) -> list[Check]:
    """One check per quantity and case, scaled by the case, and by no less than FLOOR of the quantity's largest case."""
    checks: list[Check] = []
    for quantity, cases in found.items():
        finite = [d.scale for d in cases.values() if math.isfinite(d.scale)]
        least = FLOOR * max(finite, default=0.0)
        for case, d in cases.items():
            name = f"{case}: {quantity}"
            if not math.isfinite(d.largest):
                checks.append(Check.failure(name, d.detail or "the difference is not finite", tolerance))
                continue
            scale = max(d.scale, least)
            error = d.largest / scale if scale > 0 else (0.0 if d.largest == 0 else math.inf)
            detail = d.detail or ("" if scale > 0 else "all values are zero")
            checks.append(Check.of(name, error, tolerance, detail))
    return checks


class Spread:
    """Whether an output changes from example to example, over every case seen (``rows`` finite examples)."""

    def __init__(self) -> None:
        self._first: dict[tuple[int, ...], Tensor] = {}
        self.spread = 0.0
        self.scale = 0.0
        self.rows = 0

    def add(self, t: Tensor) -> None:
        """Take in one output (N, …); rows of different shapes are not compared."""
        rows = values(t)
        rows = rows.reshape(1, -1) if t.dim() == 0 else rows.reshape(rows.shape[0], -1)
        if not rows.numel() or not bool(torch.isfinite(rows).all()):
            return
        self.rows += len(rows)
        first = self._first.setdefault(tuple(t.shape[1:]), rows[:1].clone())
        self.spread = max(self.spread, float((rows - first).abs().max()))
        self.scale = max(self.scale, float(rows.abs().max()))

    def constant(self, tolerance: float) -> bool:
        """True if no example differs from another by more than rounding."""
        return not self.spread > tolerance * self.scale


def other_inputs(tensors: Sequence[Tensor], seed: int) -> tuple[Tensor, ...]:
    """Inputs of the same shapes with other contents: random non-negative numbers, or the same integers shuffled."""
    generator = torch.Generator().manual_seed(seed + 7919)
    found = []
    for t in tensors:
        if t.is_floating_point():
            found.append(torch.rand(t.shape, generator=generator, dtype=torch.float64).to(t.device, t.dtype))
        else:
            order = torch.randperm(t.numel(), generator=generator).to(t.device)
            found.append(t.flatten()[order].reshape(t.shape))
    return tuple(found)


def describe(problem: BaseException) -> str:
    """An exception in one line."""
    text = " ".join(str(problem).split())
    return f"{type(problem).__name__}: {text[:200]}" if text else type(problem).__name__


def name_of(dtype: torch.dtype) -> str:
    """``float64`` for ``torch.float64``."""
    return str(dtype).removeprefix("torch.")
