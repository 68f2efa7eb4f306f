"""A hypothesis strategy for DNA: one base a position, with N, all N, or real numbers."""

from __future__ import annotations

from collections.abc import Sequence

import hypothesis.strategies as st
import torch
from torch import Tensor

from rcproof.errors import RcproofError
from rcproof.strand import dna, tokens
from rcproof.testing.drawn_values import MAX_LENGTH, seeds
from rcproof.testing.values import normal
from rcproof.verify.inputs import KINDS

#: Up to this many bases are drawn one by one, so that a failure shrinks to the shortest and plainest sequence.
LETTERS = 1024


@st.composite
def sequences(
    draw: st.DrawFn,
    min_length: int = 1,
    max_length: int = MAX_LENGTH,
    *,
    batch: int | None = None,
    alphabet: str = "ACGT",
    kinds: Sequence[str] = KINDS,
    as_tokens: bool = False,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """DNA of shape (N, C, L), one channel per letter of ``alphabet``; ρ acts as ``dna(alphabet)``.

    Args:
        min_length, max_length: of L, which can be odd.
        batch: N; default 1 to 3.
        alphabet: the channels' order, A, C, G, T and perhaps N. Without an N, unknown bases are zeros or, for the
            kind ``uniform``, ¼ in each channel.
        kinds: of what is drawn: ``one-hot``, ``random`` (normal numbers), ``zeros`` and ``uniform`` (nothing but
            N), ``some-n``.
        as_tokens: integers (N, L) instead, code i for ``alphabet[i]``; ρ acts as ``tokens(alphabet)``.
        dtype: of the numbers.

    Errors: :class:`~rcproof.errors.RcproofError` for an alphabet without one of the bases or an unknown kind.

    >>> from hypothesis import given, settings
    >>> from rcproof import rc
    >>> @settings(max_examples=20, deadline=None)
    ... @given(sequences(max_length=30, kinds=("one-hot", "some-n")))
    ... def at_most_one_base(x):
    ...     assert x.sum(1).max() <= 1 and (rc(rc(x)) == x).all()
    >>> at_most_one_base()
    """
    letters = alphabet.upper()
    (tokens if as_tokens else dna)(letters)
    unknown = set(kinds) - set(KINDS)
    if unknown or not kinds:
        raise RcproofError("kinds of sequences", got=sorted(unknown) or "none", expected=", ".join(KINDS))
    kind = draw(st.sampled_from(tuple(kinds)))
    count = draw(st.integers(1, 3)) if batch is None else batch
    length = draw(st.integers(min_length, max_length))
    codes = _codes(draw, kind, count * length, "N" in letters or not as_tokens)
    order = torch.tensor([letters.index(base) for base in "ACGT"] + [letters.find("N")])
    found = order[codes].reshape(count, length)
    if as_tokens:
        return found
    if kind == "random":
        return normal(draw(seeds), count, len(letters), length, dtype=dtype)
    x = torch.nn.functional.one_hot(found.clamp(min=0), len(letters)).to(dtype) * (found >= 0).unsqueeze(-1)
    if kind == "uniform" and "N" not in letters:
        x = torch.full_like(x, 0.25)
    return x.transpose(1, 2).contiguous()


def _codes(draw: st.DrawFn, kind: str, count: int, has_n: bool) -> Tensor:
    """``count`` bases, 0 to 3 for A, C, G, T and 4 for N."""
    if has_n and kind in ("zeros", "uniform"):
        return torch.full((count,), 4)
    most = 4 if has_n and kind == "some-n" else 3
    if count <= LETTERS:
        return torch.tensor(draw(st.lists(st.integers(0, most), min_size=count, max_size=count)), dtype=torch.long)
    return torch.randint(most + 1, (count,), generator=torch.Generator().manual_seed(draw(seeds)))
