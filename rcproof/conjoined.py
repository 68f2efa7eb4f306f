"""Conjoined networks: one ordinary network on both strands, and a merge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rcproof.errors import RcproofError, RepresentationError, ShapeError
from rcproof.nn.merge import check_mode
from rcproof.nn.merge import merge as merge_answers
from rcproof.strand import Representation, RepresentationLike, rc, representation, representations
from rcproof.structure import flatten, unflatten

FINALS: dict[str, Callable[[], nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "softplus": nn.Softplus,
    "softmax": lambda: nn.Softmax(dim=-1),
    "log_softmax": lambda: nn.LogSoftmax(dim=-1),
}

Final = str | nn.Module | Callable[[Tensor], Tensor] | None


class Apply(nn.Module):
    """A plain function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Conjoined(nn.Module):
    """A network conjoined: ``final(merge(net(x), ρ_out net(ρ_in x)))``.

    The post-hoc conjoined wrapper (wrap a trained single-strand network) and the conjoined-during-training
    network alike; paper, sections 1 and 2.4. Equivariant for every ``net`` if ``final`` commutes with ρ_out.

    Args:
        net: any module that treats the examples of a batch one by one. It takes one or several tensors
            and returns a tensor, or a tuple, list or dict of tensors.
        inputs: how ρ acts on each input (one for all, or one each); default ``reversal``.
        outputs: how ρ acts on each output. Default ``fixed`` for outputs of rank 2; an output of rank 3
            (a profile) has no default: stranded or not is yours to say.
        merge: ``mean``, ``sum`` or ``max``, one for all outputs or one each.
        final: what follows the merge: a module, a function, one of the names in ``FINALS``, or one of these
            (or None) for each output. A nonlinearity inside ``net`` is merged *after*; ``final`` is for averaging
            logits.
        passes: 1 runs both strands as one doubled batch, 2 runs them one after the other; the results are
            the same in eval mode. In train mode batch norm sees both strands at once only with 1 (T10).

    Raises :class:`~rcproof.errors.RcproofError` for an unknown merge, a missing or unfit representation.

    >>> net = nn.Sequential(nn.Conv1d(4, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 1))
    >>> model = Conjoined(net)
    >>> x = torch.randn(2, 4, 20)
    >>> bool(torch.allclose(model(x), model(rc(x))))
    True
    """

    def __init__(
        self,
        net: nn.Module,
        inputs: RepresentationLike | Sequence[RepresentationLike] = "reversal",
        outputs: RepresentationLike | Sequence[RepresentationLike] | None = None,
        merge: str | Sequence[str] = "mean",
        final: Final | Sequence[Final] = None,
        passes: int = 1,
    ) -> None:
        super().__init__()
        if not isinstance(net, nn.Module):
            raise RcproofError("net to conjoin", got=type(net).__name__, expected="a torch.nn.Module")
        self.net = net
        self.inputs = representations(inputs)
        self.outputs = None if outputs is None else representations(outputs)
        self.merge: tuple[str, ...] = (merge,) if isinstance(merge, str) else tuple(merge)
        for name in self.merge:
            check_mode(name)
        if passes not in (1, 2):
            raise RcproofError("passes", got=passes, expected="1 (a doubled batch) or 2")
        self.passes = passes
        if isinstance(final, list | tuple):
            self.final: nn.Module | None = nn.ModuleList([as_final(f) or nn.Identity() for f in final])
        else:
            self.final = as_final(final)  # type: ignore[arg-type]

    def forward(self, *xs: Tensor) -> Any:
        if not xs:
            raise ShapeError("inputs of the conjoined network", got="none", expected="at least one tensor")
        reps = self.input_representations(len(xs))
        others = tuple(rc(x, rep) for x, rep in zip(xs, reps, strict=True))
        if self.passes == 1:
            both, structure = flatten(
                self.net(*(torch.cat([x, o]) for x, o in zip(xs, others, strict=True))), torch.is_tensor
            )
            count = xs[0].shape[0]
            _check_rows(both, 2 * count)
            pairs = [(y[:count], y[count:]) for y in both]
        else:
            first, structure = flatten(self.net(*xs), torch.is_tensor)
            second, _ = flatten(self.net(*others), torch.is_tensor)
            _check_rows(first, xs[0].shape[0])
            pairs = list(zip(first, second, strict=True))
        outs = self.output_representations([a.dim() for a, _ in pairs])
        modes, finals = self.merges(len(pairs)), self.finals(len(pairs))
        merged = []
        for (a, b), rep, mode, final in zip(pairs, outs, modes, finals, strict=True):
            y = merge_answers(a, b if a.dim() == 1 else rc(b, rep), mode)
            merged.append(y if final is None else final(y))
        return unflatten(merged, structure)

    def input_representations(self, count: int) -> tuple[Representation, ...]:
        """One representation per input."""
        if len(self.inputs) not in (1, count):
            raise ShapeError(
                "inputs of the conjoined network",
                got=f"{count} tensors",
                expected=f"{len(self.inputs)}, one a representation",
            )
        return self.inputs if len(self.inputs) == count else self.inputs * count

    def output_representations(self, ranks: Sequence[int]) -> tuple[Representation, ...]:
        """One representation per output, defaults filled in from the outputs' ranks."""
        given = self.outputs
        if given is not None and len(given) not in (1, len(ranks)):
            raise ShapeError(
                "outputs of the network", got=f"{len(ranks)} tensors", expected=f"{len(given)}, one a representation"
            )
        reps = []
        for i, rank in enumerate(ranks):
            rep = None if given is None else given[0 if len(given) == 1 else i]
            if rep is None and rank > 2:
                raise RepresentationError(
                    f"output {i} has rank {rank} and no representation, and there is no safe default",
                    fix="give outputs=…: 'reversal' or 'pairs:T' if channels are strands (plus, minus), "
                    "'length' for an unstranded profile, 'fixed' if nothing moves",
                )
            rep = rep or representation("fixed")
            if rank == 1 and str(rep) != "fixed":
                raise RepresentationError(f"output {i} of shape (N,)", got=str(rep), expected="fixed")
            if -1 in (rep.signs or ()) and self.merges(len(ranks))[i] == "max":
                raise RepresentationError(
                    f"output {i} with signs {rep} cannot be merged by max",
                    expected="mean or sum",
                    fix="where ρ changes the sign, the maximum of the strands does not commute with it",
                )
            reps.append(rep)
        return tuple(reps)

    def merges(self, count: int) -> tuple[str, ...]:
        """One merge per output."""
        return self._each(self.merge, count, "merges")

    def finals(self, count: int) -> tuple[nn.Module | None, ...]:
        """What follows the merge, per output."""
        if isinstance(self.final, nn.ModuleList):
            return self._each(tuple(self.final), count, "final steps")
        return (self.final,) * count

    @staticmethod
    def _each(items: tuple[Any, ...], count: int, what: str) -> tuple[Any, ...]:
        if len(items) == 1:
            return items * count
        if len(items) != count:
            raise RcproofError(what, got=f"{len(items)} for {count} outputs", expected="one, or one an output")
        return items

    def extra_repr(self) -> str:
        outputs = "by rank" if self.outputs is None else ", ".join(map(str, self.outputs))
        return (
            f"inputs=({', '.join(map(str, self.inputs))}), outputs=({outputs}), "
            f"merge={'/'.join(self.merge)}, passes={self.passes}"
        )


def _check_rows(outputs: Sequence[Tensor], count: int) -> None:
    for i, y in enumerate(outputs):
        if y.dim() == 0 or y.shape[0] != count:
            raise ShapeError(
                f"output {i} of the network",
                got=f"shape {tuple(y.shape)} for {count} rows of input",
                expected="one row for each, in front",
            )


def as_final(final: Final) -> nn.Module | None:
    """A final step as a module."""
    if final is None or isinstance(final, nn.Module):
        return final
    if isinstance(final, str):
        if final not in FINALS:
            raise RcproofError("final", got=repr(final), expected=", ".join(FINALS))
        return FINALS[final]()
    if not callable(final):
        raise RcproofError("final", got=type(final).__name__, expected="a module, a function, a name or None")
    return Apply(final)
