"""Seeded inputs to check a network on: one-hot, random, all-N, partly N, short and odd lengths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rcproof.errors import RcproofError, RepresentationError, ShapeError
from rcproof.strand import Representation, RepresentationLike, representations

#: What is drawn for a DNA input: one base a position, real numbers, N as zeros, N as ¼ each, one base with some N.
KINDS = ("one-hot", "random", "zeros", "uniform", "some-n")

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class InputCase:
    """A named set of inputs: the arguments of one call of the network, batch first.

    >>> InputCase("zeros", (torch.zeros(2, 4, 10),)).tensors[0].shape
    torch.Size([2, 4, 10])
    """

    name: str
    tensors: tuple[Tensor, ...]


def draw_inputs(
    shapes: Sequence[Sequence[int]],
    representations: RepresentationLike | Sequence[RepresentationLike],
    *,
    kinds: Sequence[str] = KINDS,
    batch: int = 4,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> Iterator[InputCase]:
    """One case per kind. ``shapes`` are (C, L), (C,) or, for tokens, (L,), without the batch; tensors are (N, …).

    An input is taken for one-hot DNA if it has four channels and a length, and ρ moves all four without
    signs. Tokens are integers of the representation's range, N a code that ρ fixes (if there is one). All
    other inputs (control tracks, metadata) get random non-negative numbers, so that a logarithm of counts
    stays finite, or zeros with the kind ``zeros``; signed ones get normal numbers.

    ``dtype`` is that of the floating-point inputs. The same seed gives the same case, whatever other kinds
    are drawn. Errors: an unknown kind, a shape of other rank, a representation that does not fit.

    >>> [(case.name, case.tensors[0].shape) for case in draw_inputs([(4, 30)], "reversal", kinds=("one-hot",), batch=2)]
    [('one-hot', torch.Size([2, 4, 30]))]
    """
    plan = _plan(shapes, representations)
    if batch < 1:
        raise ShapeError("batch of drawn inputs", got=batch, expected="at least 1")
    for kind in kinds:
        if kind not in KINDS:
            raise RcproofError("kind of input", got=repr(kind), expected=", ".join(KINDS))

    def cases() -> Iterator[InputCase]:
        for kind in kinds:
            generator = torch.Generator().manual_seed(1_000_003 * seed + KINDS.index(kind))
            drawn = [_draw(kind, (batch, *shape), rep, generator) for shape, rep in plan]
            yield InputCase(kind, tuple(t.to(device, dtype if t.is_floating_point() else t.dtype) for t in drawn))

    return cases()  # the arguments are checked here, not at the first case


def vary_lengths(
    model: nn.Module,
    shapes: Sequence[Sequence[int]],
    representations: RepresentationLike | Sequence[RepresentationLike],
    *,
    kinds: Sequence[str] = ("one-hot",),
    batch: int = 2,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> list[InputCase]:
    """Cases of other lengths, those of them that ``model`` runs on: the shortest, short, odd, longer by one.

    All inputs that have a length change it by the same number of positions. The shortest length is found
    by bisection from the length given. Empty for a network that takes one length only. The model is not
    changed; it runs in ``dtype`` and eval mode.

    >>> lengths = [case.tensors[0].shape[-1] for case in vary_lengths(nn.Conv1d(4, 2, 5), [(4, 20)], "reversal")]
    >>> min(lengths), max(lengths)
    (5, 21)
    """
    from rcproof.verify.running import call, place, prepare

    plan = _plan(shapes, representations)
    spans = [shape[-1] for shape, rep in plan if _has_length(shape, rep)]
    if not spans:
        return []
    ready = prepare(model, dtype)

    def at(shift: int, kind: str) -> InputCase:
        moved = [(*s[:-1], s[-1] + shift) if _has_length(s, rep) else s for s, rep in plan]
        reps = [rep for _, rep in plan]
        (case,) = draw_inputs(moved, reps, kinds=(kind,), batch=batch, dtype=dtype, device=device, seed=seed)
        return InputCase(f"{kind}, length {spans[0] + shift}", case.tensors)

    def runs(shift: int) -> bool:
        if min(spans) + shift < 1:
            return False
        try:
            with torch.no_grad():
                return all(t.numel() for t in call(ready, place(at(shift, "one-hot").tensors, ready, dtype)).values())
        except Exception:  # whatever a network raises on a length it cannot take
            return False

    # The smallest shift that still runs, taking it that every longer input runs too.
    failing, shortest = -min(spans), 0
    while runs(0) and shortest - failing > 1:
        middle = (failing + shortest) // 2
        failing, shortest = (failing, middle) if runs(middle) else (middle, shortest)
    half = -(spans[0] // 2)
    odd = half + 1 - (spans[0] + half) % 2
    wanted = {shortest, shortest + 1, half, odd, -1, 1} - {0}
    return [at(shift, kind) for shift in sorted(wanted) if runs(shift) for kind in kinds]


def _plan(
    shapes: Sequence[Sequence[int]], specs: RepresentationLike | Sequence[RepresentationLike]
) -> list[tuple[Shape, Representation]]:
    reps = representations(specs)
    if not shapes or len(reps) != len(shapes):
        raise RepresentationError(
            "representations of the inputs to draw", got=f"{len(reps)}", expected=f"{len(shapes)}, one for each shape"
        )
    plan = []
    for given, rep in zip(shapes, reps, strict=True):
        shape = tuple(int(n) for n in given)
        ranks = (1,) if rep.tokens else (1, 2)
        if len(shape) not in ranks or min(shape) < 1:
            raise ShapeError(
                f"shape of an input with representation {rep}, without the batch",
                got=shape,
                expected="(L,)" if rep.tokens else "(C, L) or (C,)",
            )
        if not rep.tokens:
            rep.permutation(shape[0])
        plan.append((shape, rep))
    return plan


def _has_length(shape: Shape, rep: Representation) -> bool:
    return rep.tokens or len(shape) == 2


def is_dna(shape: Sequence[int], rep: Representation) -> bool:
    """Whether an input of this shape, without the batch, is drawn as one-hot DNA.

    >>> is_dna((4, 100), Representation()), is_dna((2, 100), Representation()), is_dna((4,), Representation())
    (True, False, False)
    """
    if rep.tokens or len(shape) != 2 or shape[0] != 4 or not rep.reverses_length:
        return False
    perm = rep.permutation(4)
    return (rep.signs is None or set(rep.signs) == {1}) and all(p != c for c, p in enumerate(perm))


def _draw(kind: str, shape: Shape, rep: Representation, generator: torch.Generator) -> Tensor:
    if rep.tokens:
        return _draw_tokens(kind, shape, rep, generator)
    if is_dna(shape[1:], rep):
        return _draw_dna(kind, shape, generator)
    if kind == "zeros":
        return torch.zeros(shape, dtype=torch.float64)
    if rep.signs is not None and -1 in rep.signs:
        return torch.randn(shape, generator=generator, dtype=torch.float64)
    return 4 * torch.rand(shape, generator=generator, dtype=torch.float64)


def _draw_dna(kind: str, shape: Shape, generator: torch.Generator) -> Tensor:
    n, _, length = shape
    if kind == "random":
        return torch.randn(shape, generator=generator, dtype=torch.float64)
    if kind in ("zeros", "uniform"):
        return torch.full(shape, 0.25 if kind == "uniform" else 0.0, dtype=torch.float64)
    bases = torch.randint(4, (n, length), generator=generator)
    x = nn.functional.one_hot(bases, 4).transpose(1, 2).to(torch.float64).contiguous()
    if kind == "some-n":
        x = x * (torch.rand((n, 1, length), generator=generator) >= 0.2)
    return x


def _draw_tokens(kind: str, shape: Shape, rep: Representation, generator: torch.Generator) -> Tensor:
    codes = rep.permutation(rep.size or 4)
    bases = torch.tensor([c for c, p in enumerate(codes) if c != p] or list(range(len(codes))))
    unknown = next((c for c, p in enumerate(codes) if c == p), None)
    drawn = bases[torch.randint(len(bases), shape, generator=generator)]
    if kind == "random":
        return torch.randint(len(codes), shape, generator=generator)
    if unknown is None or kind == "one-hot":
        return drawn
    if kind == "some-n":
        return drawn.masked_fill(torch.rand(shape, generator=generator) < 0.2, unknown)
    return torch.full(shape, unknown)
