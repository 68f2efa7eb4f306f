"""The lift of any module: what has no tied layer of its own is run on both strands."""

from __future__ import annotations

from torch import Tensor, nn

from rcproof.errors import ShapeError
from rcproof.nn.base import TiedLayer
from rcproof.strand import RepresentationLike, representation


class Lifted(TiedLayer):
    """D(g) for any module g that treats examples one by one: stack(a, b) ↦ stack(g(a), g(b)).

    Stacked (N, 2F, …) or, with ``source``, closed (N, C, …) → stacked (N, 2F′, …). ``module`` takes
    (2N, F, …) and returns one tensor (2N, F′, …), each strand in its own 5'→3' orientation: recurrent and
    attention blocks, crops, softmax over channels. It has no cross-strand weights. Dropout inside draws
    independent masks, batch norm inside pools both strands in training (T10). Theorem T2.

    ``config()`` leaves out the module itself, which is a child and travels under ``module.``.

    >>> import torch
    >>> layer, x = Lifted(nn.Conv1d(3, 5, 4)), torch.randn(2, 6, 20)
    >>> layer(x).shape  # two strands of 3 channels in, two of 5 out
    torch.Size([2, 10, 17])
    """

    def __init__(self, module: nn.Module, source: RepresentationLike | None = None) -> None:
        super().__init__()
        self.module = module
        self.source = None if source is None else representation(source)

    def batched(self, s: Tensor) -> Tensor:
        y = self.module(s)
        if not isinstance(y, Tensor) or y.dim() < 2 or y.shape[0] != s.shape[0]:
            got = f"shape {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
            raise ShapeError(
                f"output of the lifted {self.module.__class__.__name__}",
                got=got,
                expected=f"one tensor ({s.shape[0]}, F, …): one row for every row of the input",
            )
        return y

    def config(self) -> dict[str, object]:
        return {"source": None if self.source is None else str(self.source)}
