"""Which steps of a plan treat the rows of the batched layout one by one, so that a few can be run at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from rcproof.network.ops import OPS
from rcproof.network.plan import Key, Step, collect
from rcproof.nn.base import TiedLayer, to_batched
from rcproof.nn.conv import RCPSConv1d, RCPSConvTranspose1d
from rcproof.nn.embedding import RCPSEmbedding
from rcproof.nn.linear import RCPSLinear
from rcproof.nn.norm import RCPSGroupNorm, RCPSLayerNorm
from rcproof.nn.pooling import AdaptivePool, WindowPool
from rcproof.nn.weighted_sum import RCPSWeightedSum1d

#: Layers that do in training what they do in eval, row by row.
_ROW_BY_ROW = (
    RCPSConv1d, RCPSConvTranspose1d, RCPSLinear, RCPSEmbedding, RCPSLayerNorm, RCPSGroupNorm, RCPSWeightedSum1d,
    WindowPool, AdaptivePool,
    nn.ReLU, nn.Identity, nn.Flatten, nn.GELU, nn.SiLU, nn.ELU, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.LeakyReLU,
    nn.Conv1d, nn.Linear, nn.LayerNorm, nn.GroupNorm, nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveMaxPool1d,
    nn.AdaptiveAvgPool1d,
)  # fmt: skip

_FUNCTIONS_THAT_MIX = ("batch_norm", "dropout", "alpha_dropout")


@dataclass(frozen=True)
class Pieces:
    """A plan cut in three: before the strands part, row by row, and from the merge on.

    Attributes:
        order: the steps in the order in which they run, as positions in the plan.
        begin, end: where the middle part begins and ends in that order.
        doubled: keys of 2N rows that the middle part reads and the first part makes.
        read: all keys that the middle part reads and the first part makes.
        cut: keys that the middle part makes and the last part reads.
        layers: layers of the middle part whose training differs from their eval.
    """

    order: tuple[int, ...]
    begin: int
    end: int
    doubled: tuple[str, ...]
    read: tuple[str, ...]
    cut: tuple[str, ...]
    layers: tuple[nn.Module, ...]

    def mixes_now(self) -> bool:
        """Whether a layer is in train mode that looks across the batch, draws random numbers, or is unknown."""
        return any(m.training for m in self.layers)


def find_pieces(steps: Sequence[Step], keep: set[str]) -> Pieces | None:
    """How to cut a plan, or None where some step between the doubling and the merge needs all rows."""
    part: dict[str, int] = {}
    for step in steps:
        reads = _reads(step)
        parts = [part.get(k, 0) for k in reads]
        layout = step.key.rpartition("@")[2]
        opens = step.target is to_batched and all(k.endswith("@closed") for k in reads)
        if step.action == "merge" or 2 in parts:
            part[step.key] = 2
        elif (layout == "batched" and not opens) or 1 in parts:
            part[step.key] = 1
        else:
            part[step.key] = 0
        if part[step.key] == 1 and not _row_by_row(step, steps):
            return None
        if layout in ("closed", "batched") and part[step.key] == 2:
            return None
    keyed = {s.key: s for s in steps}
    body = [s for s in steps if part[s.key] == 1]
    after = [s for s in steps if part[s.key] == 2]
    body_reads = [k for s in body for k in _reads(s)]
    read = tuple(dict.fromkeys(k for k in body_reads if k in keyed and part[k] == 0))
    doubled = tuple(k for k in read if k.endswith("@batched"))
    cut = tuple(dict.fromkeys(k for s in after for k in _reads(s) if part.get(k) == 1))
    made = {s.key for s in body} & keep
    if not body or not doubled or made or any(not k.endswith("@batched") for k in cut):
        return None
    if any(k.endswith(("@closed", "@stacked")) for k in body_reads) or any("@stacked" in s.key for s in steps):
        return None
    modules = [m for s in body if (layer := _layer(s)) is not None for m in layer.modules()]
    if any(getattr(m, "running_mean", 0) is None and _needs_statistics(m) for m in modules):
        return None
    order = sorted(range(len(steps)), key=lambda i: (part[steps[i].key], i))
    before = sum(p == 0 for p in part.values())
    layers = tuple(dict.fromkeys(m for m in modules if not isinstance(m, _ROW_BY_ROW)))
    return Pieces(tuple(order), before, before + len(body), doubled, read, cut, layers)


def _needs_statistics(module: nn.Module) -> bool:
    return "BatchNorm" in type(module).__name__


def _reads(step: Step) -> list[str]:
    found: list[str] = []
    collect(step.args, found)
    collect(step.kwargs, found)
    return found


def _layer(step: Step) -> nn.Module | None:
    target = step.target
    owner = target if isinstance(target, nn.Module) else getattr(target, "__self__", None)
    return owner if isinstance(owner, nn.Module) else None


def _row_by_row(step: Step, steps: Sequence[Step]) -> bool:
    if step.action == "size":
        return _free_of_rows(step, steps)
    layer = _layer(step)
    if isinstance(layer, TiedLayer):
        return not layer.coupled and getattr(layer, "masks", "independent") != "shared"
    names = [name for name, op in OPS.items() if op.function is step.target] if layer is None else []
    return not any(name.rpartition(".")[2] in _FUNCTIONS_THAT_MIX for name in names)


def _free_of_rows(step: Step, steps: Sequence[Step]) -> bool:
    """Whether a size that is asked for is the same for any number of rows."""
    what, rest = step.args[2], step.args[3:]
    if what in ("ndim", "dim", "ndimension", "device", "dtype"):
        return True
    dim: Any = rest[0] if rest else step.kwargs.get("dim")
    if isinstance(dim, int):
        return dim > 0
    users = [s for s in steps if step.key in _reads(s)]
    return what in ("shape", "size") and all(
        len(s.args) == 2 and s.args[0] == Key(step.key) and isinstance(s.args[1], int) and s.args[1] > 0 for s in users
    )
