"""Values with error bounds: what a network computes in floating point, and how far that is from the exact answer.

For every element of every tensor a **bound** carries where the exact value lies, m ± r, and e ≥ |computed − exact|. The
rules are those of T12 (:mod:`rcproof.symbolic.rounding`), with n counted element by element: adding a zero rounds
nothing. Four kinds, from the loosest to the tightest:

- **box**: before anything is run, for all inputs of a box;
- **input**: for one input, whatever the order in which sums are taken;
- **run**: for one run. Each step's own rounding is measured: its result, against the same step done exactly
  on the numbers it was given. Errors that were made are then carried to the output with all signs against us;
- **pair**: for the runs of two networks. As before, but of steps that both take only the difference of their roundings
  is carried: what both round alike cancels. See :mod:`rcproof.verify.bounds_pairs`.

**To the output.** Bounds of layer after layer grow like Σ|w|, since every rule forgets signs. Where one input is given,
the errors are also pulled back: with J the derivative of the output by what a step returns,
|error of the output| ≤ Σ over steps and elements of |J|·(rounding of that step), and J knows the signs of the weights.
A step that is not linear (a unit of relu whose sign the errors can change, a maximum that they can move) adds the
difference to its linear part as if it were rounding. Either bound holds, so the smaller does.

The bounds are themselves computed in float64, and taken outward: see ``OUTWARD`` and :func:`own`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from rcproof.verify.exact_numbers import Numbers
from rcproof.verify.exact_ops import Exact, ExactArithmetic
from rcproof.verify.intercept import Arithmetic, Held, NotCovered, replaced
from rcproof.verify.precision import Precision, cut_to_tf32

#: Sums of non-negative numbers in float64, of at most 2²⁰ terms, are within 2⁻³² of their value. Every bound that is
#: computed is enlarged by more.
OUTWARD = 1 + 2**-30
HALF_ULP = 2.0**-53
#: Of one network, and of two.
KINDS = ("box", "input", "run")
PAIR_KINDS = (*KINDS, "pair")


@dataclass(eq=False)
class Bound:
    """Exact values within ``mid`` ± ``rad``, and ``err`` ≥ |computed − exact|, element by element, in float64.

    Of a run, ``computed`` holds what was computed, ``mid`` is that in float64, and ``rad`` is not used. ``one_hot``:
    the channels are non-negative and add up to at most 1 at each position. ``mid`` carries the derivatives.
    """

    mid: Tensor
    rad: Tensor
    err: Tensor
    computed: Tensor | None = None
    one_hot: bool = False

    @property
    def shape(self) -> torch.Size:
        return self.mid.shape

    @property
    def at(self) -> Tensor:
        """``mid`` without derivatives."""
        return self.mid.detach()

    @property
    def radius(self) -> Tensor:
        """How far from ``mid`` the exact and the computed value can be."""
        return self.err if self.computed is not None else self.rad + self.err

    @property
    def computed_radius(self) -> Tensor:
        """How far from ``mid`` the computed value can be."""
        return torch.zeros_like(self.err) if self.computed is not None else self.rad + self.err

    @property
    def reach(self) -> Tensor:
        """How large the computed value can be."""
        return self.at.abs() + self.computed_radius


@dataclass(eq=False)
class Raw:
    """What a step gives before its rounding: ``local`` bounds that, ``err`` the errors that came in, carried on.

    ``beyond`` bounds the part of ``err`` that the derivative of ``mid`` does not carry.
    """

    mid: Tensor
    rad: Tensor
    err: Tensor
    local: Tensor
    beyond: Tensor | None = None
    steps: float = 1.0


@dataclass(eq=False)
class Rounding:
    """What one step of a run rounded: computed − exact is within ``lost`` ± ``unsure``, both in float64.

    ``factor``: of a product, what was multiplied with the weights, as the arithmetic reads it.
    """

    name: str
    lost: Tensor
    unsure: Tensor
    factor: Tensor | None = None


def own(n: Tensor | float, size: Tensor) -> Tensor:
    """What our own float64 arithmetic can lose in a sum of n products whose sizes add up to ``size``."""
    return (torch.as_tensor(n, dtype=torch.float64) + 4) * HALF_ULP * OUTWARD * size


class Bounding(Arithmetic):
    """Carries bounds through a network; the functions are in the modules that derive from this.

    Args:
        precision: of the network's arithmetic; the network is to be in its dtype.
        kind: one of ``KINDS``.
        pull_back: keep what is needed to pull errors back from outputs; not for a box.
        given: roundings that count as part of the exact function, by the place of their step in ``roundings``.
        fixed: where the factor of a product counts as a constant of the exact function, what was read in the run.

    Attributes:
        excess: the largest rounding measured, as a share of what the model allows for it (in a run), and where.
        roundings: of every step of a run, in order.
    """

    what = "the rounding bounds"

    def __init__(
        self, precision: Precision, kind: str, pull_back: bool = True, given: Mapping[int, Rounding] | None = None,
        fixed: Mapping[int, Tensor] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(precision.dtype)
        self.precision, self.kind = precision, kind
        self.pull_back = pull_back and kind != "box"
        self.sources: list[tuple[Tensor, Tensor]] = []
        self.steps = 0.0
        self.excess, self.excess_at = 0.0, ""
        self.roundings: list[Rounding] = []
        self.given, self.fixed = given or {}, fixed or {}
        self._factor: Tensor | None = None
        self._exact = ExactArithmetic(root_bits=256)

    # -- values ------------------------------------------------------------------------------------
    @property
    def running(self) -> bool:
        return self.kind == "run"

    def constant(self, tensor: Tensor) -> Bound:
        stored = tensor.to(self.precision.dtype)
        zero = torch.zeros_like(tensor)
        lost = (tensor - stored.double()).abs()  # a number of the network's code need not be one of the precision
        mid = stored.double() if self.running else tensor
        if bool(lost.any()):
            mid = self._sourced(mid, lost)
        return Bound(mid, zero, lost, stored if self.running else None)

    def point(self, tensor: Tensor) -> Held:
        """One input, exact once it is stored."""
        return self.wrap(self.constant(tensor.detach().cpu().to(self.precision.dtype).double()))

    def box(self, low: Tensor, high: Tensor, one_hot: bool = False) -> Held:
        """All inputs between ``low`` and ``high``."""
        mid = (low + high) / 2
        rad = torch.maximum(high - mid, mid - low) * OUTWARD
        return self.wrap(Bound(mid, rad, torch.zeros_like(mid), None, one_hot))

    def moved(self, move: Callable[[list[Tensor]], Any], values: list[Any]) -> Any:
        mids, rads, errs = (move([getattr(v, name) for v in values]) for name in ("mid", "rad", "err"))
        computed = move([v.computed for v in values]) if self.running else None

        def joined(mid: Any, rad: Any, err: Any, seen: Any) -> Any:
            if isinstance(mid, tuple | list):
                rest = [seen] * len(mid) if seen is None else seen
                return type(mid)([joined(*item) for item in zip(mid, rad, err, rest, strict=True)])
            return Bound(mid, rad, err, seen)

        return joined(mids, rads, errs, computed)

    def _move(self, func: Any, name: str, args: Any, kwargs: Any, held: list[Held]) -> Any:
        made = super()._move(func, name, args, kwargs, held)
        joins = name == "cat" and (kwargs.get("dim", args[1] if len(args) > 1 else 0) == 0)
        keeps = name in ("flip", "detach", "contiguous", "clone") or joins
        if keeps and isinstance(made, Held) and all(h.held.one_hot for h in held):
            made.held = replace(made.held, one_hot=True)
        return made

    # -- one step ----------------------------------------------------------------------------------
    def done(self, func: Any, name: str, method: Callable[..., Any], args: tuple[Any, ...], kwargs: Any) -> Any:
        raw = method(*args, **kwargs)
        if not isinstance(raw, Raw):
            return raw
        return self._finished(raw, *self._measured(func, name, args, kwargs, raw))

    def _finished(self, raw: Raw, computed: Tensor | None, local: Tensor) -> Bound:
        mid, rad = raw.mid, raw.rad
        if computed is not None:
            mid = mid + (computed.double() - mid).detach()
            rad = torch.zeros_like(rad)
        share = local if raw.beyond is None or not self.pull_back else local + raw.beyond
        # Enough to carry the errors that came in and this share with positive signs, as `pulled_back` asks.
        err = (raw.err + share) * OUTWARD
        too_large = mid.detach().abs() + rad + err > self.precision.largest
        err = torch.where(too_large | err.isnan(), torch.inf, err).expand(mid.shape)
        self.steps += raw.steps
        mid = self._sourced(mid, share)
        return Bound(mid, rad.expand(mid.shape), err, computed)

    def _sourced(self, mid: Tensor, size: Tensor) -> Tensor:
        """``mid``, with a place from which errors of this size start."""
        if not self.pull_back:
            return mid
        source = torch.zeros_like(mid, requires_grad=True)
        self.sources.append((source, size.detach().expand(mid.shape)))
        return mid + source

    def _measured(self, func: Any, name: str, args: Any, kwargs: Any, raw: Raw) -> tuple[Tensor | None, Tensor]:
        """What was computed, and a bound on its rounding: the model's, or in a run what it really was."""
        if not self.running:
            return None, raw.local
        computed = self._computed(func, name, args, kwargs)
        lost = computed.double() - raw.mid.detach()
        exact = self._exact_step(name, args, kwargs) if self.precision.unit <= HALF_ULP else None
        if exact is None:
            self._compare_with_model(name, lost.abs() - raw.rad, raw.local)
            return computed, self._counted(name, lost, raw.rad)
        lost = torch.from_numpy((Numbers.of(computed.double().numpy()) - exact.numbers).floats())
        self._compare_with_model(name, lost.abs() * OUTWARD, raw.local * OUTWARD)
        # The exact step takes a root of batch norm to 256 bits; the last term is more than what that leaves out.
        return computed, self._counted(name, lost, raw.local * 2**-60)

    def _counted(self, name: str, lost: Tensor, unsure: Tensor) -> Tensor:
        """A bound on the rounding of one step that was found to be ``lost`` ± ``unsure``, less what is given."""
        # The subtraction that found it rounds as well, unless there was nothing to find.
        unsure = torch.where((lost != 0) | (unsure > 0), unsure + lost.abs() * 2.0**-49 + 2.0**-1021, 0.0)
        self.roundings.append(Rounding(name, lost, unsure, self._factor))
        self._factor = None
        given = self.given.get(len(self.roundings) - 1)
        if given is not None:
            lost, unsure = lost - given.lost, unsure + given.unsure
        return lost.abs() * OUTWARD + unsure

    def factor(self, v: Bound) -> Bound:
        """What a product is to read of a value that it is given."""
        if v.computed is None:
            return v
        self._factor = cut_to_tf32(v.computed) if self.precision.factors else v.computed
        fixed = self.fixed.get(len(self.roundings))
        if fixed is None:
            return v
        read = self._factor.double()
        return replace(v, mid=torch.where(fixed, read, v.mid), err=torch.where(fixed, 0.0, v.err))

    def _compare_with_model(self, name: str, found: Tensor, allowed: Tensor) -> None:
        share = torch.where(found > 0, found / allowed.clamp_min(1e-300), 0.0)
        largest = float(share.max()) if share.numel() else 0.0
        if largest > self.excess:
            self.excess, self.excess_at = largest, f"{self._here()}{name}"

    def _computed(self, func: Any, name: str, args: Any, kwargs: Any) -> Tensor:
        """The step as the network runs it."""
        products = name in ("conv1d", "conv_transpose1d", "linear", "matmul", "bmm", "mm", "einsum")
        cut = cut_to_tf32 if products and self.precision.factors else None
        seen = 0

        def swap(t: Tensor) -> Tensor:
            nonlocal seen
            seen += 1
            plain = t.held.computed if isinstance(t, Held) else t
            return cut(plain) if cut is not None and seen <= 2 else plain  # the third is a bias

        with torch.no_grad():
            made: Tensor = func(*replaced(args, swap), **replaced(kwargs, swap))
        return made

    def _exact_step(self, name: str, args: Any, kwargs: Any) -> Exact | None:
        """The step in exact arithmetic on the numbers it was given, or None if it has no exact form."""
        method = getattr(self._exact, f"op_{name}", None)

        def swap(t: Tensor) -> Any:
            return Exact(Numbers.of(t.held.computed.double().numpy())) if isinstance(t, Held) else t

        try:
            made = None if method is None else method(*replaced(args, swap), **replaced(kwargs, swap))
        except NotCovered:
            return None
        return made if isinstance(made, Exact) and made.head is None and not made.symbols else None

    # -- from an output back -----------------------------------------------------------------------
    def pulled_back(self, output: Bound, elements: Sequence[int]) -> Tensor:
        """The bound of some elements (places in the flat output) from all roundings on the way, and the derivatives.

        The derivatives are computed in float64 too: what they can be wrong by is at most the number of operations on
        the way, in units, of the same sum with every sign made positive, and ``err`` is no less than that sum.
        """
        flat, forward = output.mid.reshape(-1), output.err.reshape(-1)
        leaves = [source for source, _ in self.sources]
        found = []
        for element in elements:
            total = forward[element] * self.steps * 4 * HALF_ULP
            if flat.requires_grad:
                slopes = torch.autograd.grad(flat[element], leaves, retain_graph=True, allow_unused=True)
                for slope, (_, size) in zip(slopes, self.sources, strict=True):
                    if slope is not None:
                        # 0·∞ is no number, and what is not reached adds nothing.
                        total = total + torch.where(slope != 0, slope.abs() * size, 0.0).sum()
            found.append(total * OUTWARD)
        return torch.stack(found) if found else torch.zeros(0, dtype=torch.float64)
