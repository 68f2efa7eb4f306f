"""From a cell to what is timed: networks with one set of weights, checked to agree, and a call for each."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

import rcproof
from benchmarks.speed import peers
from benchmarks.speed.cells import Cell
from benchmarks.speed.costs import dtype_of
from rcproof.models import TASKS, build, conjoin
from rcproof.nn.base import TiedLayer

TWO, DOUBLED = "conjoined, two passes", "conjoined, doubled batch"
OURS, PLAIN, COUPLED = "rcproof", "plain torch, 2F channels", "rcproof, coupled"

#: How far answers, and gradients by the input, may lie apart, of their largest value.
TOLERANCES = {"fp32": 1e-4, "tf32": 2e-2, "bf16": 5e-2}


class DisagreementError(RuntimeError):
    """Contenders that should compute one function do not."""


@dataclass
class Field:
    """Contenders of a cell: networks by name, the family of each, the reference, and what is not installed."""

    models: dict[str, nn.Module]
    reference: str
    inputs: tuple[Tensor, ...]
    family: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


def make(cell: Cell, device: torch.device, seed: int) -> Field:
    """The contenders, on the device and in the dtype of the cell."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        found = _peers(cell, seed) if cell.group == "peers" else _networks(cell)
        codes = torch.randint(4, (cell.batch, cell.length))
    x = torch.eye(4)[codes].transpose(1, 2).contiguous()
    found.inputs = (x.to(device, dtype_of(cell.dtype)),)
    for model in found.models.values():
        model.to(device, dtype_of(cell.dtype))
    return found


def _peers(cell: Cell, seed: int) -> Field:
    models, family, missing = peers.contenders(cell.network, dict(cell.sizes)["filters"], seed)
    return Field(models, PLAIN, (), family, missing)


def _sizes(cell: Cell) -> dict[str, Any]:
    sizes: dict[str, Any] = {"length": cell.length, **dict(cell.sizes)}
    if cell.network == "profile":
        sizes["n_control"] = 0
    return sizes


def _networks(cell: Cell) -> Field:
    sizes = _sizes(cell)
    if cell.group == "coupled":
        ours = build(cell.network, "rcps", **sizes)
        filters = sizes.get("filters") or TASKS[cell.network]().config()["filters"]
        wide = TASKS[cell.network](**{**sizes, "filters": 2 * filters})
        return Field({PLAIN: wide, COUPLED: ours}, PLAIN, (), {PLAIN: "wide", COUPLED: "coupled"})
    net = TASKS[cell.network](**sizes)
    conjoined = conjoin(net).eval()
    config = rcproof.ConvertConfig(input_shapes=net.input_shapes(cell.length), verify=False)
    ours = rcproof.convert(conjoined, config).model
    models: dict[str, nn.Module] = {TWO: conjoin(net, passes=2), DOUBLED: conjoined, OURS: ours}
    if cell.group == "converted":
        models["rcproof, batched"] = copy.deepcopy(ours).set_layout("batched")
        models["rcproof, stacked"] = copy.deepcopy(ours).set_layout("stacked")
    return Field(models, TWO, (), dict.fromkeys(models, "conjoined"))


# -- agreement -------------------------------------------------------------------------------------


def agreement(found: Field, tolerance: float, gradients: bool) -> float:
    """The largest difference within a family, of the largest value; raises where that is beyond ``tolerance``.

    In eval, since two-pass batch norm differs in training (T10). With ``gradients`` those by the input are compared
    too. A network of ours that is alone in its family is compared with its batched layout, run as it stands.
    """
    worst = 0.0
    answers: dict[str, tuple[str, list[Tensor]]] = {}
    for name, model in found.models.items():
        model.eval()
        got = _answers(model, found.inputs, gradients)
        if not all(bool(torch.isfinite(t).all()) for t in got):
            raise DisagreementError(f"{name} gives values that are not finite")
        kind = found.family.get(name, "")
        if kind not in answers:
            answers[kind] = (name, got)
            alone = list(found.family.values()).count(kind) == 1
            if not alone or not hasattr(model, "set_layout"):
                continue
            answers[kind] = ("its plan as it stands", _answers(as_it_stands(model), found.inputs, gradients))
        other, expected = answers[kind]
        for i, (a, b) in enumerate(zip(got, expected, strict=True)):
            is_gradient = gradients and i >= len(got) - len(found.inputs)
            error = far_apart(a, b, is_gradient)
            worst = worst if is_gradient else max(worst, error)
            if not error <= tolerance * (100 if is_gradient else 1):
                what = "gradients of" if is_gradient else "answers of"
                raise DisagreementError(f"{what} {name} and {other} differ by {error:.3g} of their size")
    return worst


def far_apart(a: Tensor, b: Tensor, is_gradient: bool) -> float:
    """The largest difference of answers over the largest value; of gradients the same in the Euclidean norm.

    Rounding moves a gradient from one place to another where relu or a maximum is at a tie: large, and rare.
    """
    if a.shape != b.shape:
        return float("inf")
    norm = (lambda t: float(t.norm())) if is_gradient else (lambda t: float(t.abs().max()))
    return norm(a - b) / (norm(b) or 1.0)


def as_it_stands(model: nn.Module) -> nn.Module:
    """A copy in the batched layout, which rewrites nothing."""
    result: nn.Module = copy.deepcopy(model).set_layout("batched")  # type: ignore[operator]
    return result.eval()


def _answers(model: nn.Module, inputs: tuple[Tensor, ...], gradients: bool) -> list[Tensor]:
    if not gradients:
        with torch.no_grad():
            return [t.double() for t in outputs(model(*inputs))]
    xs = tuple(x.detach().clone().requires_grad_() for x in inputs)
    ys = outputs(model(*xs))
    grads = torch.autograd.grad(loss(ys), xs)
    return [t.detach().double() for t in (*ys, *grads)]


def outputs(value: Any) -> list[Tensor]:
    """A network's answers as a list."""
    return [value] if isinstance(value, Tensor) else [t for v in value for t in outputs(v)]


def loss(ys: list[Tensor]) -> Tensor:
    """What a training step descends: mean squares, in float32."""
    return torch.stack([y.float().square().mean() for y in ys]).sum()


# -- calls -----------------------------------------------------------------------------------------


def call(model: nn.Module, inputs: tuple[Tensor, ...], cell: Cell) -> Callable[[], Any]:
    """What is timed: a forward pass in eval, or a training step; waits for the device."""
    forward, device = cell.kind == "forward", inputs[0].device
    model.train(not forward)
    run_model = torch.compile(model) if cell.mode == "compile" else model

    def once() -> Any:
        if forward:
            with torch.no_grad():
                return run_model(*inputs)
        for p in model.parameters():
            p.grad = None
        loss(outputs(run_model(*inputs))).backward()
        return None

    body: Callable[[], Any] = once
    if cell.mode == "graphs":
        body = _graphed(once, model, device)
    if device.type != "cuda":
        return body

    def waited() -> None:
        body()
        torch.cuda.synchronize()

    return waited


def _graphed(once: Callable[[], Any], model: nn.Module, device: torch.device) -> Callable[[], Any]:
    """The same as one CUDA graph; elsewhere an error, since there is nothing like it."""
    if device.type != "cuda":
        raise RuntimeError("CUDA graphs need a CUDA device")
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            once()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        once()
    return graph.replay


def precision(cell: Cell) -> AbstractContextManager[Any]:
    """TensorFloat-32 for products in a ``tf32`` cell, and never otherwise."""

    class _Precision(nullcontext[None]):
        def __enter__(self) -> None:
            self.before = (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = cell.dtype == "tf32"

        def __exit__(self, *_: object) -> None:
            torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = self.before

    return _Precision()


def coupled_layers(model: nn.Module) -> list[str]:
    """Names of coupled layers, for the record."""
    return [name for name, m in model.named_modules() if isinstance(m, TiedLayer) and m.coupled]
