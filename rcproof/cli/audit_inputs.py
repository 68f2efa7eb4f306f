"""What an audit runs on: random DNA or the sequences of a file, of lengths that the network takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rcproof.cli.audit_sequences import Sequences, read_sequences
from rcproof.cli.common import check_size
from rcproof.cli.describe import graph_representations
from rcproof.cli.source import Source, count_inputs, known_shapes, representations_of, shapes_by_trial
from rcproof.conjoined import Conjoined
from rcproof.convert.shapes import Shape
from rcproof.errors import RcproofError, RepresentationError
from rcproof.network.network import Network
from rcproof.strand import Representation, dna, representations
from rcproof.verify import InputCase, draw_inputs
from rcproof.verify.inputs import is_dna
from rcproof.verify.running import call, describe, place, prepare

Reps = tuple[Representation, ...]
#: How many random sequences, unless told.
RANDOM = 256


@dataclass(frozen=True)
class Wanted:
    """What the options ask for."""

    fasta: str | None = None
    data: str | None = None
    n: int | None = None
    length: int | None = None
    alphabet: str = "ACGT"
    seed: int = 0


@dataclass(frozen=True)
class Plan:
    """A model in float64, the inputs to run it on, their labels if there are any, and every representation."""

    model: nn.Module
    case: InputCase
    names: list[str] | None
    shapes: tuple[Shape, ...]
    inputs: Reps
    outputs: Reps
    facts: dict[str, str]
    labels: Tensor | None = None


def plan_audit(source: Source, wanted: Wanted) -> Plan:
    """Inputs and representations for an audit of ``source``; errors for what does not fit."""
    model = prepare(source.model, torch.float64)
    inputs, outputs = network_representations(source)
    shapes = known_shapes(source, len(inputs))
    given = read_sequences(wanted.fasta, wanted.data, wanted.n, wanted.alphabet, wanted.seed)
    if shapes is None:
        net = source.model.net if isinstance(source.model, Conjoined) else source.model
        shapes = shapes_by_trial(net, inputs, source.options.leaves)
        if given is not None and wanted.length is None:
            shapes = _own_length(model, shapes, inputs, given)
    if wanted.length is not None:
        shapes = _of_length(shapes, inputs, wanted.length)
    n = (wanted.n or RANDOM) if given is None else len(given.names)
    for shape in shapes:
        check_size((n, *shape))
    (case,) = draw_inputs(shapes, inputs, kinds=("one-hot",), batch=n, seed=wanted.seed)
    facts, names, labels = {"sequences": f"{n}, random"}, None, None
    index = next((i for i, (s, rep) in enumerate(zip(shapes, inputs, strict=True)) if begins_with_dna(s, rep)), None)
    if given is not None:
        case, facts = _from_sequences(case, index, inputs, given, wanted)
        names, labels = given.names, given.labels
    elif index is not None and not is_dna(shapes[index], inputs[index]):
        (dna_alone,) = draw_inputs([(4, shapes[index][-1])], "reversal", kinds=("one-hot",), batch=n, seed=wanted.seed)
        case = _replaced(case, index, dna_alone.tensors[0])
    return Plan(model, case, names, shapes, inputs, output_representations(model, case, outputs), facts, labels)


def begins_with_dna(shape: Shape, rep: Representation) -> bool:
    """Whether an input's first four channels are one-hot DNA: alone, or with tracks after them.

    >>> from rcproof.strand import representation
    >>> begins_with_dna((4, 9), representation("reversal")), begins_with_dna((6, 9), representation("perm:3,2,1,0,4,5"))
    (True, True)
    >>> begins_with_dna((6, 9), representation("reversal")), begins_with_dna((6, 9), representation("length"))
    (False, False)
    """
    if is_dna(shape, rep):
        return True
    if rep.tokens or len(shape) != 2 or shape[0] < 5 or not rep.reverses_length:
        return False
    first = rep.permutation(shape[0])[:4]
    unsigned = rep.signs is None or set(rep.signs) == {1}
    return unsigned and sorted(first) == [0, 1, 2, 3] and all(p != c for c, p in enumerate(first))


def network_representations(source: Source) -> tuple[Reps, Reps | None]:
    """Of the inputs and outputs: as the network says, else as the options or the defaults say."""
    model = source.model
    if isinstance(model, Conjoined) or (isinstance(model, Network) and model.carries_strands):
        if source.options.given and not source.imported.siamese:
            raise RcproofError(
                f"{', '.join(source.options.given)} with a network that says its own representations",
                got=repr(source.path),
                fix="leave the options out",
            )
        if isinstance(model, Conjoined):
            return model.input_representations(count_inputs(model, ())), model.outputs
        said = graph_representations(model)
        return representations(said[0]), representations(said[1])
    inputs, outputs = representations_of(source)
    count = count_inputs(model, inputs)
    return (inputs * count if len(inputs) == 1 else inputs), outputs


def output_representations(model: nn.Module, case: InputCase, given: Reps | None) -> Reps:
    """One representation an output; defaults by rank, as :class:`Conjoined` has them."""
    try:
        with torch.no_grad():
            found = call(model, place([t[:1] for t in case.tensors], model, torch.float64))
    except RcproofError:
        raise
    except Exception as problem:
        shapes = ", ".join(str(tuple(t.shape)) for t in case.tensors)
        raise RcproofError(
            f"the model does not run on inputs of shape {shapes}",
            got=describe(problem),
            fix="give --shape for each input",
        ) from problem
    if given is None and isinstance(model, Conjoined):
        return model.output_representations([t.dim() for t in found.values()])
    return Conjoined(nn.Identity(), outputs=given).output_representations([t.dim() for t in found.values()])


def _has_length(shape: Shape, rep: Representation) -> bool:
    return rep.tokens or len(shape) == 2


def _of_length(shapes: Sequence[Shape], reps: Reps, length: int) -> tuple[Shape, ...]:
    """The shapes with the first length set, and the others moved by as much."""
    first = next((s[-1] for s, rep in zip(shapes, reps, strict=True) if _has_length(s, rep)), None)
    if first is None:
        raise RcproofError("--length", got="a network whose inputs have none")
    shift = length - first
    moved = tuple((*s[:-1], s[-1] + shift) if _has_length(s, rep) else s for s, rep in zip(shapes, reps, strict=True))
    if any(s[-1] < 1 for s in moved):
        raise RcproofError("--length", got=f"{length}, which leaves an input of shape {min(moved)}")
    return moved


def _own_length(model: nn.Module, shapes: tuple[Shape, ...], reps: Reps, given: Sequences) -> tuple[Shape, ...]:
    """The sequences' own length, if they have one and the model runs on it."""
    own = set(given.lengths)
    if len(own) != 1 or not any(_has_length(s, rep) for s, rep in zip(shapes, reps, strict=True)):
        return shapes
    try:
        moved = _of_length(shapes, reps, own.pop())
        (case,) = draw_inputs(moved, reps, kinds=("one-hot",), batch=1)
        with torch.no_grad():
            call(model, place(case.tensors, model, torch.float64))
    except Exception:  # whatever a network raises on a length it cannot take
        return shapes
    return moved


def _from_sequences(
    case: InputCase, index: int | None, reps: Reps, given: Sequences, wanted: Wanted
) -> tuple[InputCase, dict[str, str]]:
    """The sequences in place of the first DNA input; other inputs, and tracks beside the DNA, stay drawn."""
    name = "--fasta" if wanted.data is None else "--data"
    if index is None:
        raise RcproofError(name, got="a network without an input of one-hot DNA", fix="leave it out")
    channels, length = case.tensors[index].shape[1:]
    if dna(wanted.alphabet).permutation(len(wanted.alphabet)) != reps[index].permutation(channels)[:4]:
        raise RepresentationError(
            f"--alphabet {wanted.alphabet} does not fit the representation of input {index}",
            got=str(reps[index]),
            expected=f"dna:{wanted.alphabet}",
            fix="ρ must exchange A with T and C with G",
        )
    changed = sum(own != length for own in given.lengths)
    facts = {"sequences": given.origin, "cut or padded": f"{changed} to {length} positions"}
    if len(case.tensors) > 1:
        facts["other inputs"] = "random"
    if channels > 4:
        facts["other channels"] = "random"
    return _replaced(case, index, given.encoded(length, wanted.alphabet)), facts


def _replaced(case: InputCase, index: int, bases: Tensor) -> InputCase:
    """The case with these bases as the first four channels of an input."""
    whole = torch.cat([bases, case.tensors[index][:, 4:]], 1)
    return InputCase(case.name, tuple(whole if i == index else t for i, t in enumerate(case.tensors)))
