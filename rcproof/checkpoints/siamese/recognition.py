"""Siamese graphs: one branch on two strands and a merge, found in the graph of a file."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rcproof.checkpoints.siamese.actions import representation_of
from rcproof.checkpoints.siamese.making import Merged, Siamese, make
from rcproof.checkpoints.siamese.merges import merge_of
from rcproof.checkpoints.siamese.pairing import Strands, pair
from rcproof.checkpoints.siamese.view import Apart, Shape, View, run
from rcproof.convert.shapes import infer_shapes
from rcproof.errors import CheckpointError, RcproofError
from rcproof.network.fx import to_fx
from rcproof.network.network import Network
from rcproof.strand import Representation, RepresentationLike, rc, representation, representations
from rcproof.verify import check_equivalence, draw_inputs
from rcproof.verify.running import answered, prepare

#: Networks with more inputs, and merges that lie further from an output, are not looked at.
_MOST_INPUTS, _MOST_MERGES = 64, 60


@dataclass(frozen=True)
class NotSiamese:
    """Weights are used more than once, but not as one branch on two strands; ``reason`` says where the two part."""

    reason: str


def recognise(
    network: Network,
    shapes: Sequence[Shape] | None = None,
    inputs: Sequence[RepresentationLike] | None = None,
) -> Siamese | NotSiamese | None:
    """The conjoined network that a graph is: one branch on two inputs, or on an input and its flip, and a merge.

    ``shapes``: of the file's inputs, (C, L) or (C,) without the batch; found by trial if not given. ``inputs``: how ρ
    acts, where the file does not say, because it takes both strands as two inputs: one representation for each such
    pair, or for each input of the result, or for each input of the file, in the order of the file. The default is
    ``reversal`` where the input has four channels and a length.

    The two inputs of every merge are taken apart side by side from the end. They must be the same steps with the same
    layers down to the inputs; there, either one reads an input where the other reads its partner, or both read one
    input, as it is or turned, always in the same way. The second answer may be turned before it is merged. What
    follows the merge is the final step. None for a network of one strand; :class:`NotSiamese` with a reason if layers
    are called more than once but this is not why.

    Raises :class:`~rcproof.errors.CheckpointError` where the graph is siamese and ``inputs`` are missing or do not
    fit it. :func:`confirm` checks the result numerically.
    """
    if not 0 < network.input_count <= _MOST_INPUTS or not View(network, None).shares():
        return None
    if shapes is None:
        shapes = _shapes_by_trial(network)
    view = View(network, shapes)
    try:
        found, strands = _all_outputs(view)
        return make(view, found, strands, () if inputs is None else representations(inputs))
    except Apart as why:
        return NotSiamese(str(why))


def confirm(siamese: Siamese, network: Network, shapes: Sequence[Shape] | None = None, seed: int = 0) -> None:
    """Run both: the file's graph on two strands, and the conjoined network it was taken for, in float64.

    Outputs and input gradients, on one-hot and on random inputs. Raises
    :class:`~rcproof.errors.VerificationError` if they differ, and :class:`~rcproof.errors.CheckpointError` if the
    shapes of the inputs are not known.
    """
    shapes = siamese.shapes if shapes is None else tuple(shapes)
    if shapes is None:
        raise CheckpointError("the shapes of the inputs are not known", fix="give them: --shape channels,length")
    taken = [shapes[i] for i in siamese.inputs]
    drawn = list(draw_inputs(taken, siamese.conjoined.inputs, kinds=("one-hot", "random"), batch=2, seed=seed))
    both = prepare(_BothStrands(network, siamese, shapes), torch.float64)
    cases, _ = answered(both, drawn)
    title = "the siamese graph of the file and the conjoined network it was taken for"
    check_equivalence(both, siamese.conjoined, cases, seed=seed, title=title).raise_if_failed()


class _BothStrands(nn.Module):
    """The network of the file, fed with both strands of the inputs of its conjoined form."""

    def __init__(self, network: Network, siamese: Siamese, shapes: Sequence[Shape]) -> None:
        super().__init__()
        self.network, self.shapes = network, tuple(shapes)
        self.inputs, self.partners, self.reps = siamese.inputs, siamese.partners, siamese.conjoined.inputs

    def forward(self, *xs: Tensor) -> Any:
        fed = {i: xs[0].new_zeros(len(xs[0]), *shape) for i, shape in enumerate(self.shapes)}  # for what is not read
        for x, at, rep in zip(xs, self.inputs, self.reps, strict=True):
            fed[at] = x
            if at in self.partners:
                fed[self.partners[at]] = rc(x, rep)
        return self.network(*fed.values())


def _shapes_by_trial(network: Network) -> tuple[Shape, ...] | None:
    reps = (representation("reversal"),) * network.input_count
    try:
        return infer_shapes(network, to_fx(network), reps)
    except RcproofError:
        return None


# -- finding ------------------------------------------------------------------------------------------


def _all_outputs(view: View) -> tuple[list[Merged], Strands]:
    """One merge for each output, all with the same inputs; the first input of the file on the first strand."""
    choices = [_candidates(view, name) for name in view.graph.outputs]
    complete: list[tuple[list[Merged], Strands]] = []
    conflict = Apart("the outputs differ in what the second strand is")
    for start in choices[0]:
        found, strands = [start], start.strands
        try:
            for others in choices[1:]:
                chosen, strands = _fitting(view, others, strands)
                found.append(chosen)
        except Apart as why:
            conflict = why
            continue
        complete.append((found, strands))
    if not complete:
        raise conflict

    def order(item: tuple[list[Merged], Strands]) -> tuple[int, int]:
        found, strands = item
        first = min((view.place[x] for x in strands.partners), default=0)
        return first, len(view.above([f.first for f in found]))

    return min(complete, key=order)


def _fitting(view: View, choices: Sequence[Merged], strands: Strands) -> tuple[Merged, Strands]:
    conflict = Apart("the outputs differ in what the second strand is")
    for chosen in choices:
        try:
            return chosen, strands.join(chosen.strands, view)
        except Apart as why:
            conflict = why
    raise conflict


def _candidates(view: View, output: str) -> list[Merged]:
    """The ways to take one output for a merge: the merge nearest to it, with either side as the first strand."""
    reason: Apart | None = None
    merges = ((name, merge) for name in view.gates(output) if (merge := merge_of(view, name)) is not None)
    for name, (mode, a, b) in itertools.islice(merges, _MOST_MERGES):
        found: list[Merged] = []
        for first, second in ((a, b), (b, a)):
            try:
                found.append(_as_strands(view, mode, name, first, second))
            except Apart as why:
                reason = reason or why
        if found:
            return found
    raise reason or Apart(f"output {output!r} is no mean, sum or maximum of two strands")


def _as_strands(view: View, mode: str, merged: str, first: str, second: str) -> Merged:
    """``second`` as ``first`` on the other strand, turned or not."""
    reason: Apart | None = None
    for inner, turned in _unturned(view, second):
        try:
            strands = pair(view, first, inner)
        except Apart as why:
            reason = reason or why
            continue
        if not strands.moves(view):
            raise Apart(f"{merged!r} merges a value with itself: both strands are one")
        rep = representation("fixed") if inner == second else turned
        if rep is None:
            raise Apart(f"what is done to the second answer before {merged!r} is no flip or permutation")
        if mode == "max" and -1 in (rep.signs or ()):
            raise Apart(f"{merged!r} is the maximum of an answer and another with its sign changed")
        return Merged(mode, merged, first, rep, strands)
    raise reason or Apart(f"{merged!r} merges no two strands")


def _unturned(view: View, second: str) -> Iterator[tuple[str, Representation | None]]:
    """``second``, and the values that it may be the flip of, each with the representation that takes it there."""
    for name in view.gates(second):
        if not view.only_moves([second], [name]):
            return
        if name == second:
            yield name, None
            continue
        shape = view.shape(name)
        if shape is None:
            continue
        x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        try:
            y = run(view.part([name], [second]), x)
        except Apart:  # it asks for the size of an input
            continue
        yield name, representation_of(x, y) if isinstance(y, Tensor) else None
