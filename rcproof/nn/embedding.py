"""Tied embedding of base codes: tokens in, strand pairs out."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rcproof.errors import RepresentationError, ShapeError
from rcproof.nn.base import TiedLayer
from rcproof.strand import RepresentationLike, representation, tokens


class RCPSEmbedding(TiedLayer):
    """RCPS embedding. Closed tokens (N, L) → stacked (N, 2D, L): the codes of x and of its complement.

    ``weight`` has shape (num_embeddings, D). ``source`` is a token representation with ``num_embeddings``
    codes (:func:`~rcproof.strand.tokens`). :meth:`batched` is ``nn.Embedding``, (2N, L) → (2N, L, D),
    positions before features as transformers want them; ``forward`` puts features first. As in torch,
    the row of ``padding_idx`` starts at zero and gets no gradient. Theorems T2, T5.

    >>> import torch
    >>> from rcproof.strand import rc, tokens
    >>> layer, x = RCPSEmbedding(5, 3), torch.tensor([[0, 1, 4, 2]])
    >>> bool((layer(rc(x, tokens())) == rc(layer(x))).all())
    True
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        source: RepresentationLike | None = None,
        padding_idx: int | None = None,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        rep = tokens() if source is None else representation(source)
        if not rep.tokens or rep.size != num_embeddings:
            raise RepresentationError(
                "source of an embedding",
                got=f"{rep} with num_embeddings={num_embeddings}",
                expected="a token representation with one code per embedding, such as tokens:3,2,1,0,4 for ACGTN",
            )
        plain = nn.Embedding(num_embeddings, embedding_dim, padding_idx, device=device, dtype=dtype)
        self.source = rep
        self.complement = rep.permutation(num_embeddings)
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = plain.padding_idx
        self.weight = plain.weight

    def _check(self, x: Tensor) -> None:
        if x.dim() != 2 or x.dtype not in (torch.int64, torch.int32):
            raise ShapeError(
                "input of RCPSEmbedding", got=f"{x.dtype} of shape {tuple(x.shape)}", expected="int64 tokens (N, L)"
            )

    def batched(self, s: Tensor) -> Tensor:
        """Tokens (2N, L), each strand in its own orientation, → (2N, L, D)."""
        self._check(s)
        return F.embedding(s, self.weight, self.padding_idx)

    def forward(self, x: Tensor) -> Tensor:
        """Closed tokens (N, L) → stacked (N, 2D, L)."""
        self._check(x)
        first = F.embedding(x, self.weight, self.padding_idx)
        # Reversing the positions twice leaves them: the other strand only complements codes and flips features.
        complement = x.new_tensor(self.complement)[x]
        other = F.embedding(complement, self.weight, self.padding_idx).flip(2)
        return torch.cat([first, other], dim=2).transpose(1, 2)

    def config(self) -> dict[str, object]:
        return {
            "num_embeddings": self.num_embeddings,
            "embedding_dim": self.embedding_dim,
            "source": str(self.source),
            "padding_idx": self.padding_idx,
        }
