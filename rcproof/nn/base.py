"""What every tied layer shares: two renderings of one set of weights.

**Stacked** (canonical): a tensor (N, 2F, L) holds F channels of the given strand and F of the other,
mirrored (:func:`rcproof.strand.stack`). **Batched**: a tensor (2N, F, L) holds the given strand of
every example, then the other strand of every example, each in its own 5'→3' orientation. Theorem T1
says that the two agree; :func:`to_batched` and :func:`to_stacked` go between them.
"""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn

from rcproof.errors import RepresentationError, ShapeError
from rcproof.nn.derived import forget, without_kept
from rcproof.strand import Representation, RepresentationLike, rc, representation


def flip_strand(x: Tensor) -> Tensor:
    """Total reversal of every axis but the batch, for any rank (:func:`~rcproof.strand.rc` checks ranks)."""
    return x.flip(tuple(range(1, x.dim())))


def halves(x: Tensor, dim: int = 0) -> tuple[Tensor, Tensor]:
    """The two strands along ``dim``, as views (``chunk`` would tie an exported program to one batch size)."""
    half = x.shape[dim] // 2
    if x.shape[dim] % 2:  # narrowing would silently drop the last one
        want = "an even number of rows, one half a strand" if dim == 0 else "an even number of channels"
        raise ShapeError("two strands in one tensor", got=f"shape {tuple(x.shape)}", expected=want)
    return x.narrow(dim, 0, half), x.narrow(dim, half, half)


def to_batched(x: Tensor, source: Representation | None = None) -> Tensor:
    """Stacked (N, 2F, …), or closed under ``source`` (N, C, …), → batched (2N, F, …).

    >>> to_batched(torch.tensor([[[1, 2], [4, 3]]])).tolist()
    [[[1, 2]], [[3, 4]]]
    """
    if source is not None:
        return torch.cat([x, rc(x, source)], dim=0)
    if x.shape[1] % 2:
        raise ShapeError(
            "a stacked tensor has an even number of channels",
            got=f"shape {tuple(x.shape)}",
            expected="(N, 2F, L) or (N, 2F)",
        )
    half = x.shape[1] // 2
    return torch.cat([x[:, :half], flip_strand(x[:, half:])], dim=0)


def to_stacked(s: Tensor) -> Tensor:
    """Batched (2N, F, …) → stacked (N, 2F, …).

    >>> to_stacked(torch.tensor([[[1, 2]], [[3, 4]]])).tolist()
    [[[1, 2], [4, 3]]]
    """
    a, b = halves(s)
    return torch.cat([a, flip_strand(b)], dim=1)


def closed_to_stacked(x: Tensor, source: Representation) -> Tensor:
    """Closed (N, C, …) → stacked (N, 2C, …): the pair (x, ρx).

    >>> x = torch.tensor([[[1, 2], [3, 4]]])
    >>> closed_to_stacked(x, Representation("keep"))[0].tolist()  # stack(x, ρx), where ρ reverses length
    [[1, 2], [3, 4], [3, 4], [1, 2]]
    """
    other = x if source.is_reversal else flip_strand(rc(x, source))
    return torch.cat([x, other], dim=1)


def partner(s: Tensor) -> Tensor:
    """For each strand in a batched tensor, the other strand read in this one's direction: ρ·swap(s).

    >>> s = torch.tensor([[[1, 2]], [[3, 4]]])  # strand 1 and strand 2 of one example
    >>> partner(s).tolist()
    [[[4, 3]], [[2, 1]]]
    """
    a, b = halves(s)
    return flip_strand(torch.cat([b, a], dim=0))


class TiedLayer(nn.Module):
    """An ordinary layer lifted to strand pairs: D(g), with cross-strand weights where it is coupled.

    Subclasses give :meth:`batched`; ``forward`` takes and returns stacked tensors. A subclass overrides
    ``forward`` only where the stacked form is cheaper than going through the batch, and must then agree
    with it (theorem T1; tested for every layer).

    Attributes:
        source: how ρ acts on a closed input, or None if the input is a strand pair.
        coupled: whether the layer has cross-strand weights (B in V = [A, B]).
        couplable: whether the layer can have them.
        coupling_axis: the axis of ``weight`` along which A and B of V = [A, B] lie.

    >>> from rcproof.nn import RCPSLinear
    >>> isinstance(RCPSLinear(3, 5), TiedLayer)
    True
    """

    source: Representation | None = None
    coupled: bool = False
    coupling_axis: int = 1

    @property
    def couplable(self) -> bool:
        return False

    def batched(self, s: Tensor) -> Tensor:
        """(2N, F, …) → (2N, F′, …), each half one strand in its own orientation."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Stacked (N, 2F, …) or, with ``source``, closed (N, C, …) → stacked (N, 2F′, …)."""
        return to_stacked(self.batched(to_batched(x, self.source)))

    def config(self) -> dict[str, object]:
        """The arguments that rebuild this layer without its weights; plain JSON values."""
        raise NotImplementedError

    def train(self, mode: bool = True) -> Self:
        forget(self)
        return super().train(mode)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        forget(self)
        return super()._apply(fn, recurse)

    def __getstate__(self) -> dict[str, Any]:
        return without_kept(self.__dict__)

    def extra_repr(self) -> str:
        return ", ".join(f"{k}={v}" for k, v in self.config().items())


def closed_source(source: RepresentationLike | None, channels: int, coupled: bool) -> Representation | None:
    """Check a layer's ``source`` against its input channels."""
    if source is None:
        return None
    rep = representation(source)
    if coupled:
        raise RepresentationError(
            "a layer on a closed input has no cross-strand weights",
            got=f"coupled=True with source={rep}",
            fix="use coupled=False: its weights already see both strands",
        )
    if not rep.tokens:
        rep.permutation(channels)
    return rep


def check_channels(x: Tensor, expected: int, ranks: tuple[int, ...], layer: nn.Module, axis: int = 1) -> None:
    """One clear error for a tensor of the wrong rank or channel count."""
    if x.dim() not in ranks or x.shape[axis] != expected:
        want = " or ".join({2: f"(N, {expected})", 3: f"(N, {expected}, L)"}[r] for r in ranks)
        raise ShapeError(f"input of {layer.__class__.__name__}", got=f"shape {tuple(x.shape)}", expected=want)
