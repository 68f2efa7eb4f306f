"""Which representation a piece of a graph computes, seen on random numbers: exactly, since it only moves them."""

from __future__ import annotations

import torch
from torch import Tensor

from rcproof.errors import RepresentationError
from rcproof.strand import Representation, rc


def representation_of(x: Tensor, y: Tensor) -> Representation | None:
    """The ρ with y = ρx, for x (N, C) or (N, C, L) whose values all have different sizes; None if there is none.

    Where several act alike, the simplest: what moves nothing is ``fixed``, and one channel is turned by ``length``.
    """
    if x.shape != y.shape or x.dim() not in (2, 3):
        return None
    channels = x.shape[1]
    first, other = (t[0].reshape(channels, -1) for t in (x, y))
    turned = not bool((first[:, 0].abs() == other[0, 0].abs()).any())
    source = first.flip(1) if turned else first
    at = (other[:, :1].abs() == source[:, 0].abs()).to(torch.int64)
    if not bool((at.sum(1) == 1).all()):
        return None
    order = tuple(int(c) for c in at.argmax(1))
    signs = tuple(1 if bool(other[c, 0] == source[p, 0]) else -1 for c, p in enumerate(order))
    one_place = first.shape[1] == 1  # where there is nothing to turn, what moves channels is taken to turn too
    try:
        found = _named(order, signs, order != tuple(range(channels)) if one_place else turned)
    except RepresentationError:  # no involution
        return None
    return found if torch.equal(rc(x, found), y) else None


def _named(order: tuple[int, ...], signs: tuple[int, ...], turned: bool) -> Representation:
    if -1 in signs:
        return Representation(order, signs, reverses_length=turned)
    if order == tuple(range(len(order))):
        return Representation("keep", reverses_length=turned)
    backward = order == tuple(reversed(range(len(order))))
    return Representation("reverse" if backward else order, reverses_length=turned)


def on_the_other_strand(x: Tensor, p: Tensor, q: Tensor) -> Tensor | None:
    """As much of ρx as two pieces of a graph show, if p(ρx) = q(x): NaN where they show nothing.

    ``p`` and ``q`` are what the pieces make of ``x`` (N, …). None if ``p`` is not made of values of ``x`` alone, each
    with a sign, or if no ρx fits.
    """
    if p.shape != q.shape or p.shape[:1] != x.shape[:1] or not p.numel():
        return None
    known, sizes = x[0].reshape(-1), x[0].reshape(-1).abs().sort()
    wanted = p[0].reshape(-1)
    found = torch.searchsorted(sizes.values, wanted.abs()).clamp(max=len(known) - 1)
    at = sizes.indices[found]
    if not torch.equal(known[at].abs(), wanted.abs()):
        return None
    signs = torch.where(known[at] == wanted, 1.0, -1.0).to(x.dtype)
    if not torch.equal(x.flatten(1)[:, at] * signs, p.flatten(1)):
        return None
    shown = torch.full_like(x.flatten(1), torch.nan)
    shown[:, at] = q.flatten(1) * signs
    return shown.reshape(x.shape) if torch.equal(shown[:, at], q.flatten(1) * signs) else None
