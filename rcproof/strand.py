"""Strands: the group action, strand pairs, and tied weights.

One idea runs through the package: **ρ reverses every axis but the batch**. On one-hot DNA in the
order A C G T that *is* the reverse complement, because complement is c ↦ 3 − c. Three operations
are the whole vocabulary (theorems T1, T2 and T4):

====================  ==============================================  ==========================================
``rc(x)``             flip all axes but the batch                     the group action ρ, ρ∘ρ = id
``stack(a, b)``       ``cat([a, rc(b)], dim=1)``                      a strand pair as one tensor: ρ swaps strands
``tie(V)``            ``cat([V, V.flip(all axes)], dim=0)``           free weights → equivariant weights
====================  ==============================================  ==========================================

Tensors whose channels ρ moves in another way (an unstranded track, task-wise strand pairs, another
base order, signs) say so with a :class:`Representation`.

This module imports no torch when it is imported, so that the symbolic half can speak it too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rcproof.errors import RepresentationError, ShapeError

if TYPE_CHECKING:
    from torch import Tensor

Channels = tuple[int, ...] | Literal["reverse", "keep"]


@dataclass(frozen=True)
class Representation:
    """How ρ acts on one tensor: a signed involution on channels, and whether length reverses.

    On a tensor of shape (N, C, L) or (N, C): ``(ρx)[n, c, l] = signs[c] · x[n, π(c), l′]`` with π =
    ``channels`` and l′ = L−1−l when ``reverses_length``, else l. On rank 2 only the channel part acts.

    Attributes:
        channels: the involution π as a tuple, or ``"reverse"`` (c ↦ C−1−c) or ``"keep"`` for any C.
        signs: ±1 per channel, or None for all +1. ρ∘ρ = id needs ``signs[c] == signs[π(c)]``.
        reverses_length: whether positions run backwards on the other strand.
        tokens: for integer tensors (N, L) of base codes: π acts on the *values*, not on an axis.

    Errors: :class:`~rcproof.errors.RepresentationError` when π is no involution or the signs do not
    fit. Theorem T1; paper, section 2.

    >>> Representation((1, 0, 2)).size
    3
    >>> str(Representation((1, 0, 2)))
    'perm:1,0,2'
    """

    channels: Channels = "reverse"
    signs: tuple[int, ...] | None = None
    reverses_length: bool = True
    tokens: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.channels, str):
            if self.channels not in ("reverse", "keep"):
                raise RepresentationError(
                    "channels of a representation",
                    got=repr(self.channels),
                    expected="'reverse', 'keep' or a tuple of channel numbers",
                )
            if self.signs is not None:
                raise RepresentationError(
                    "signs need explicit channels",
                    got=f"signs {self.signs} with channels {self.channels!r}",
                    fix="give the permutation as a tuple",
                )
            return
        perm = self.channels
        if sorted(perm) != list(range(len(perm))):
            raise RepresentationError(
                "not a permutation of the channels",
                got=list(perm),
                expected=f"each of 0..{len(perm) - 1} once",
            )
        for c, p in enumerate(perm):
            if perm[p] != c:
                raise RepresentationError(
                    "the permutation is no involution",
                    got=f"{list(perm)}, which sends {c} to {p} and {p} to {perm[p]}",
                    expected="a permutation that is its own inverse, since two reversals change nothing",
                )
        if self.signs is not None:
            if len(self.signs) != len(perm) or any(s not in (1, -1) for s in self.signs):
                raise RepresentationError(
                    "signs of a representation",
                    got=list(self.signs),
                    expected=f"{len(perm)} numbers, each 1 or -1",
                )
            for c, p in enumerate(perm):
                if self.signs[c] != self.signs[p]:
                    raise RepresentationError(
                        "the signed permutation is no involution",
                        got=f"channels {c} and {p} are exchanged with signs {self.signs[c]} and {self.signs[p]}",
                        expected="equal signs on exchanged channels",
                    )

    @property
    def size(self) -> int | None:
        """The number of channels (or token values) it acts on, or None for any."""
        return None if isinstance(self.channels, str) else len(self.channels)

    @property
    def is_reversal(self) -> bool:
        """True if this is total reversal for every number of channels."""
        return self.channels == "reverse" and self.reverses_length and not self.tokens

    def permutation(self, channels: int) -> tuple[int, ...]:
        """π on ``channels`` channels as a tuple; an error if the count does not fit."""
        if isinstance(self.channels, str):
            order = range(channels)
            return tuple(reversed(order)) if self.channels == "reverse" else tuple(order)
        if len(self.channels) != channels:
            raise RepresentationError(
                f"representation {self} does not fit the tensor",
                got=f"{channels} channels",
                expected=f"{len(self.channels)} channels",
            )
        return self.channels

    def __call__(self, x: Tensor) -> Tensor:
        """ρx; see :func:`rc`."""
        return rc(x, self)

    def __str__(self) -> str:
        for name, rep in NAMED.items():
            if rep == self:
                return name
        perm = self.channels
        tail = "" if self.reverses_length else ";keep-length"
        if isinstance(perm, str):  # the one unnamed combination: reverse the channels alone
            return "channels"
        if self.tokens:
            return "tokens:" + ",".join(str(p) for p in perm)
        t = len(perm) // 2
        if self.signs is None and not tail and perm == _pair_order(t):
            return f"pairs:{t}"
        signs = self.signs or (1,) * len(perm)
        return "perm:" + ",".join(f"{'-' if s < 0 else ''}{p}" for p, s in zip(perm, signs, strict=True)) + tail


RepresentationLike = Representation | str

NAMED: dict[str, Representation] = {
    "reversal": Representation("reverse"),
    "length": Representation("keep"),
    "fixed": Representation("keep", reverses_length=False),
    "channels": Representation("reverse", reverses_length=False),
}

_SPECS = "reversal, length, fixed, pairs:T, perm:3,2,1,0, dna:ACGT or tokens:3,2,1,0,4"


# A specification can come from a file, and a number in one must not take memory.
_MOST_TASKS = 1_000_000


def _pair_order(pairs: int) -> tuple[int, ...]:
    return tuple(c ^ 1 for c in range(2 * pairs))


def strand_pairs(tasks: int) -> Representation:
    """Channels ordered t0+, t0−, t1+, t1−, …: ρ reverses length and swaps within each pair.

    >>> str(strand_pairs(2)), strand_pairs(2).permutation(4)
    ('pairs:2', (1, 0, 3, 2))
    """
    if not 1 <= tasks <= _MOST_TASKS:
        raise RepresentationError("strand pairs", got=f"{tasks} tasks", expected=f"1 to {_MOST_TASKS}")
    return Representation(_pair_order(tasks))


def dna(alphabet: str = "ACGT") -> Representation:
    """One-hot DNA in any base order: ρ reverses length and exchanges A with T, C with G.

    Letters other than A, C, G, T (say N) stay where they are.

    >>> dna("ATGC").permutation(4)
    (1, 0, 3, 2)
    """
    return Representation(_complement_order(alphabet))


def tokens(alphabet: str = "ACGTN") -> Representation:
    """Integer base codes (N, L), code i for ``alphabet[i]``: ρ reverses and complements the codes.

    >>> tokens("ACGTN").channels
    (3, 2, 1, 0, 4)
    """
    return Representation(_complement_order(alphabet), tokens=True)


def _complement_order(alphabet: str) -> tuple[int, ...]:
    letters = alphabet.upper()
    if len(set(letters)) != len(letters) or not set("ACGT") <= set(letters):
        raise RepresentationError(
            "a base order", got=repr(alphabet), expected="each of A, C, G and T once, other letters at most once"
        )
    partner = dict(zip("ACGT", "TGCA", strict=True))
    return tuple(letters.index(partner.get(letter, letter)) for letter in letters)


def representation(spec: RepresentationLike) -> Representation:
    """The representation that a string names (a :class:`Representation` passes through).

    Strings: ``reversal``, ``length``, ``fixed``, ``pairs:T``, ``perm:3,2,1,0,4,5`` (a leading ``-``
    on an entry is a sign), ``dna:TGCA``, ``tokens:3,2,1,0,4``. Every representation's ``str`` reads back.

    >>> representation("perm:1,0,-2").signs
    (1, 1, -1)
    """
    if isinstance(spec, Representation):
        return spec
    if not isinstance(spec, str):
        raise RepresentationError("a representation", got=repr(spec), expected=_SPECS)
    name, _, rest = spec.partition(":")
    if not rest and name in NAMED:
        return NAMED[name]
    try:
        if name == "pairs" and rest:
            return strand_pairs(int(rest))
        if name == "dna" and rest:
            return dna(rest)
        if name == "tokens" and rest:
            return Representation(tuple(int(v) for v in rest.split(",")), tokens=True)
        if name == "perm" and rest:
            body, _, flag = rest.partition(";")
            if flag not in ("", "keep-length"):
                raise ValueError(flag)
            entries = [v.strip() for v in body.split(",")]
            signs = tuple(-1 if v.startswith("-") else 1 for v in entries)
            return Representation(
                tuple(abs(int(v)) for v in entries),
                signs=None if set(signs) == {1} else signs,
                reverses_length=not flag,
            )
    except ValueError:
        pass
    raise RepresentationError("no such representation", got=repr(spec), expected=_SPECS)


def rc(x: Tensor, rep: RepresentationLike = "reversal") -> Tensor:
    """ρx: ``x`` as the other strand sees it. Shape (N, C, L) or (N, C); same shape and dtype out.

    ``rep`` says how ρ acts; the default flips every axis but the batch. Differentiable; copies.
    Theorem T1. Raises :class:`~rcproof.errors.ShapeError` for any other rank.

    >>> import torch
    >>> rc(torch.tensor([[[1., 0.], [0., 1.], [0., 0.], [0., 0.]]]))[0].argmax(0)  # "AC" -> "GT"
    tensor([2, 3])
    """
    rho = representation(rep)
    if x.dim() not in (2, 3):
        raise ShapeError(
            "rc needs a batch-first tensor of rank 2 or 3",
            got=f"shape {tuple(x.shape)}",
            expected="(N, C) or (N, C, L)",
        )
    if rho.tokens:
        return _rc_tokens(x, rho)
    length = (2,) if x.dim() == 3 and rho.reverses_length else ()
    if rho.channels == "reverse":
        return x.flip((1, *length))
    if rho.channels != "keep":
        x = x[:, list(rho.permutation(x.shape[1]))]
        if rho.signs is not None:
            x = x * x.new_tensor(rho.signs).view(1, -1, *([1] * (x.dim() - 2)))
    return x.flip(length) if length else x


def _rc_tokens(x: Tensor, rho: Representation) -> Tensor:
    if x.dim() != 2 or x.is_floating_point():
        raise ShapeError(
            "tokens are integers of shape (N, L)", got=f"{x.dtype} of shape {tuple(x.shape)}", expected="int64 (N, L)"
        )
    assert not isinstance(rho.channels, str)
    return x.new_tensor(rho.channels)[x.flip(1)]


def stack(a: Tensor, b: Tensor) -> Tensor:
    """The strand pair (a, b) as one tensor, ``cat([a, rc(b)], dim=1)``: ρ·stack(a, b) = stack(b, a).

    ``a`` and ``b`` have one shape, (N, F, L) or (N, F), each in its own 5'→3' orientation; the result
    has 2F channels. Theorem T1.

    >>> import torch
    >>> a, b = torch.tensor([[[1, 2]]]), torch.tensor([[[3, 4]]])
    >>> stack(a, b)[0].tolist()
    [[1, 2], [4, 3]]
    """
    import torch

    if a.shape != b.shape:
        raise ShapeError("stack takes two tensors of one shape", got=f"{tuple(a.shape)} and {tuple(b.shape)}")
    return torch.cat([a, rc(b)], dim=1)


def unstack(x: Tensor) -> tuple[Tensor, Tensor]:
    """The strand pair in a stacked tensor of 2F channels; the inverse of :func:`stack`. Theorem T1.

    >>> import torch
    >>> a, b = unstack(torch.tensor([[[1, 2], [4, 3]]]))
    >>> b[0].tolist()
    [[3, 4]]
    """
    if x.dim() not in (2, 3) or x.shape[1] % 2:
        raise ShapeError(
            "unstack needs an even number of channels", got=f"shape {tuple(x.shape)}", expected="(N, 2F, L) or (N, 2F)"
        )
    half = x.shape[1] // 2
    return x[:, :half], rc(x[:, half:])


def mirror(weight: Tensor, rep: RepresentationLike = "reversal") -> Tensor:
    """The weight of the same map read from the other strand: reversed outputs and taps, ρ on the inputs.

    ``weight`` has shape (F,) (bias), (F, C) or (F, C, K); ``rep`` acts on the C inputs.
    """
    rho = representation(rep)
    if weight.dim() == 1:
        return weight.flip(0)
    if rho.channels == "reverse":
        return weight.flip(tuple(range(weight.dim())))
    flipped = weight.flip((0, 2)) if weight.dim() == 3 else weight.flip(0)
    if rho.channels == "keep":
        return flipped
    flipped = flipped[:, list(rho.permutation(weight.shape[1]))]
    if rho.signs is not None:
        flipped = flipped * flipped.new_tensor(rho.signs).view(1, -1, *([1] * (weight.dim() - 2)))
    return flipped


def tie(weight: Tensor, rep: RepresentationLike = "reversal") -> Tensor:
    """Free weights → the full weights of an equivariant linear layer, outputs stacked.

    (F, C, K) → (2F, C, K), (F, C) → (2F, C), (F,) → (2F,); ``rep`` is how ρ acts on the C inputs
    (default: reversal, which is right for stacked inputs and for one-hot ACGT). A linear bijection onto
    all equivariant weights (theorem T4; paper, section 2.1). Dtype and device are kept; differentiable.

    >>> import torch
    >>> tie(torch.tensor([[[1, 2, 3]]])).tolist()
    [[[1, 2, 3]], [[3, 2, 1]]]
    """
    import torch

    if weight.dim() not in (1, 2, 3):
        raise ShapeError("tie takes a weight of rank 1, 2 or 3", got=f"shape {tuple(weight.shape)}")
    return torch.cat([weight, mirror(weight, rep)], dim=0)


def representations(specs: RepresentationLike | Sequence[RepresentationLike]) -> tuple[Representation, ...]:
    """A tuple of representations from one or several specifications."""
    if isinstance(specs, str | Representation):
        return (representation(specs),)
    return tuple(representation(s) for s in specs)
