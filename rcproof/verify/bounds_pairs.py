"""The rounding that two runs share: theorem T12.pair.

A conjoined network and its RCPS form take most of their steps alike: the same products of the same numbers, in another
order at most. Where factors are cut to few bits before they are multiplied (tf32), or results are stored in few
(bfloat16), that rounding is the same function of the same numbers in both, and only its difference counts.

**Argument.** Let g be the exact function of b, to which after every step that is paired the rounding of b's own run is
added, a constant, and in whose paired products every factor is made a constant that both runs read as the same bits.
The same constants, strand by strand, make the same g of the exact function of a: pieces of a lift may differ from
strand to strand (T2), and the rest is T5. In b's run a paired step then rounds nothing beyond g; in a's run it rounds
the difference; and what came before does not pass a factor that is constant. So |a − b| ≤ |a − g| + |b − g|, each
bounded as for one network.

Steps are paired by what they are, in order, and the pairing is put to the test: with random constants in place of the
roundings and added to the factors, the enclosures of both exact functions must meet. If they do not, no step is paired,
and the bound is the sum of those of either run.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from typing import Any

import torch
from torch import Tensor, nn

from rcproof.strand import rc
from rcproof.verify.bounds_ops import BoundArithmetic
from rcproof.verify.bounds_values import OUTWARD, Bound, Raw, Rounding
from rcproof.verify.intercept import located
from rcproof.verify.precision import PRECISIONS
from rcproof.verify.running import flatten, prepare

#: How large the random constants of the test are, as a share of the largest number at their step.
SHIFT = 2.0**-5


def strands_in_batch(x: Tensor, shape: Sequence[int]) -> Tensor | None:
    """A tensor of one layout in the shape of the other: (2N, F, …) both strands in the batch, (N, 2F, …) stacked.

    The same shape is the same layout. None if the shapes are not those of a pair of layouts.
    """
    if tuple(x.shape) == tuple(shape):
        return x
    if x.dim() < 2 or x.dim() != len(shape) or x.shape[2:] != tuple(shape[2:]):
        return None
    rows, channels = x.shape[:2]
    if 2 * rows == shape[0] and channels == 2 * shape[1]:
        return torch.cat([x[:, : shape[1]], rc(x[:, shape[1] :])])
    if rows == 2 * shape[0] and 2 * channels == shape[1]:
        return torch.cat([x[: shape[0]], rc(x[shape[0] :])], 1)
    return None


def paired_steps(a: Sequence[Rounding], b: Sequence[Rounding]) -> dict[int, int]:
    """Which step of b is which of a, by the function and the size of the result, in order."""
    mine, theirs = ([(r.name, r.lost.numel(), tuple(r.lost.shape[2:])) for r in steps] for steps in (a, b))
    found = {}
    for block in SequenceMatcher(None, mine, theirs, autojunk=False).get_matching_blocks():
        for i in range(block.size):
            one, two = block.a + i, block.b + i
            if strands_in_batch(b[two].lost, a[one].lost.shape) is not None:
                found[one] = two
    return found


def same_factors(
    pairs: Mapping[int, int], a: Sequence[Rounding], b: Sequence[Rounding]
) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """Where paired products read the same bits, at the places of a's steps and of b's."""
    of_a, of_b = {}, {}
    for one, two in pairs.items():
        x, y = a[one].factor, b[two].factor
        moved = None if x is None or y is None else strands_in_batch(y, x.shape)
        if x is not None and y is not None and moved is not None:
            same = x == moved
            back = strands_in_batch(same, y.shape)
            assert back is not None
            of_a[one], of_b[two] = same, back
    return of_a, of_b


def given_roundings(pairs: Mapping[int, int], a: Sequence[Rounding], b: Sequence[Rounding]) -> dict[int, Rounding]:
    """The roundings of b at every paired step, laid out as a's."""
    found = {}
    for one, two in pairs.items():
        lost, unsure = (strands_in_batch(t, a[one].lost.shape) for t in (b[two].lost, b[two].unsure))
        assert lost is not None and unsure is not None
        found[one] = Rounding(a[one].name, lost, unsure)
    return found


class _Shifting(BoundArithmetic):
    """Encloses the exact function with constants added after some steps."""

    def __init__(self, shifts: Mapping[int, Tensor], factors: Mapping[int, Tensor]) -> None:
        super().__init__(PRECISIONS["float64"], "input", pull_back=False)
        self.shifts, self.factors, self.taken = shifts, factors, 0
        self.sizes: list[float] = []

    def factor(self, v: Bound) -> Bound:
        shift = self.factors.get(self.taken)
        if shift is None:
            return v
        mid = v.mid + shift
        return replace(v, mid=mid, rad=v.rad + 2.0**-52 * mid.abs(), one_hot=False)

    def _finished(self, raw: Raw, computed: Tensor | None, local: Tensor) -> Bound:
        shift = self.shifts.get(self.taken)
        self.taken += 1
        self.sizes.append(float(raw.mid.abs().max()) if raw.mid.numel() else 0.0)
        if shift is not None:
            raw.mid = raw.mid + shift
            raw.rad = raw.rad + 2.0**-52 * raw.mid.abs()
        # Only where the exact value lies is of interest: errors would make an interval of every maximum.
        raw.err, local, raw.beyond = raw.err * 0, local * 0, None
        return super()._finished(raw, computed, local)


def _enclosed(
    model: nn.Module, inputs: Sequence[Tensor], shifts: dict[int, Tensor], factors: dict[int, Tensor]
) -> tuple[Any, list[float]]:
    arithmetic = _Shifting(shifts, factors)
    given = [arithmetic.point(x.double()) if x.is_floating_point() else x.cpu() for x in inputs]
    with torch.no_grad(), located(model, arithmetic), arithmetic:
        outputs = model(*given)
    return {name: arithmetic.value(t) for name, t in flatten(outputs).items()}, arithmetic.sizes


def pairing_holds(
    networks: Sequence[nn.Module], inputs: Sequence[Tensor], pairs: Mapping[int, int],
    roundings: Sequence[Sequence[Rounding]], seed: int = 0,
) -> bool:  # fmt: skip
    """Whether both exact functions stay one when random constants are added at paired steps and to their factors.

    ``networks`` and ``roundings``: of a and of b. Constants that change no output tell nothing, so then the answer is
    no.
    """
    one, two = (prepare(copy.deepcopy(m), torch.float64) for m in networks)
    a, b = roundings
    plain, sizes = _enclosed(two, inputs, {}, {})
    draws = torch.Generator().manual_seed(seed)
    shifts: tuple[dict[int, Tensor], dict[int, Tensor]] = ({}, {})
    factors: tuple[dict[int, Tensor], dict[int, Tensor]] = ({}, {})

    def draw(found: tuple[dict[int, Tensor], dict[int, Tensor]], x: Tensor, y: Tensor, size: float) -> None:
        made = SHIFT * size * torch.randn(y.shape, generator=draws, dtype=torch.float64)
        moved = strands_in_batch(made, x.shape)
        if moved is not None:
            found[0][i], found[1][j] = moved, made

    for i, j in pairs.items():
        draw(shifts, a[i].lost, b[j].lost, sizes[j])
        x, y = a[i].factor, b[j].factor
        if x is not None and y is not None:
            draw(factors, x, y, float(y.abs().max()) if y.numel() else 0.0)
    mine, theirs = (_enclosed(n, inputs, shifts[k], factors[k])[0] for k, n in enumerate((one, two)))
    moved_at_all = False
    for name, x in mine.items():
        y = theirs[name]
        if not bool(((x.mid - y.mid).abs() <= (x.rad + y.rad) * OUTWARD).all()):
            return False
        moved_at_all |= bool(((plain[name].mid - y.mid).abs() > plain[name].rad + y.rad).any())
    return moved_at_all
