"""The conjoined network that a recognised graph is, made of the layers of the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from rcproof.checkpoints.siamese.actions import representation_of
from rcproof.checkpoints.siamese.pairing import Strands
from rcproof.checkpoints.siamese.view import Apart, Shape, View
from rcproof.conjoined import FINALS, Conjoined
from rcproof.errors import CheckpointError, RcproofError
from rcproof.network.graph import Node, Ref
from rcproof.network.modules import constructor_arguments
from rcproof.network.network import Network, find_module
from rcproof.strand import Representation, rc, representation


@dataclass(frozen=True)
class Siamese:
    """What a siamese graph is.

    Attributes:
        conjoined: the same function as a conjoined network; layers are those of the file, not copies.
        branch: the network that it runs on each strand; its outputs are those of the file, before they are merged.
        inputs: the positions of the inputs of ``conjoined`` among the inputs of the file.
        partners: for an input (by its position in the file) the position of the input that holds its other strand.
        shapes: of the file's inputs, without the batch.
        notes: what was recognised and what was assumed, one line each.
    """

    conjoined: Conjoined
    branch: Network
    inputs: tuple[int, ...]
    partners: dict[int, int]
    shapes: tuple[Shape, ...] | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Merged:
    """An output as a merge of two strands.

    Attributes:
        mode: mean, sum or max.
        node: the node that holds the merged value.
        first: the answer of the first strand.
        output: how the answer of the second strand is turned before it is merged.
        strands: what the second strand reads.
    """

    mode: str
    node: str
    first: str
    output: Representation
    strands: Strands


def make(view: View, found: list[Merged], strands: Strands, given: Sequence[Representation]) -> Siamese:
    """The conjoined network of a graph whose outputs are all merged; :class:`Apart` if there is none after all."""
    needed = frozenset[str]().union(*(view.needs[f.first] for f in found))
    kept = [x for x in view.inputs if x in needed]
    crossed = set(strands.partners.values()) & set(kept)
    if crossed:
        raise Apart(f"both strands read input {min(crossed)!r}")
    branch = view.part(kept, [f.first for f in found], view.graph.structure)
    finals = [_final(view, f.node, output) for f, output in zip(found, view.graph.outputs, strict=True)]
    known = {x: _known(view, strands, x) for x in kept}
    reps, assumed = _input_representations(view, strands, kept, known, given)
    conjoined = Conjoined(
        branch,
        inputs=list(reps.values()),
        outputs=[f.output for f in found],
        merge=[f.mode for f in found],
        final=finals if any(f is not None for f in finals) else None,
    ).eval()
    notes = _notes(view, found, finals, strands, reps, assumed)
    at = {x: i for i, x in enumerate(view.inputs)}
    return Siamese(
        conjoined,
        branch,
        tuple(at[x] for x in kept),
        {at[x]: at[y] for x, y in strands.partners.items()},
        None if view.shapes is None else tuple(view.shapes[x] for x in view.inputs),
        tuple(notes),
    )


def _known(view: View, strands: Strands, x: str) -> Representation | None:
    """How ρ acts on an input, as far as the graph says it."""
    if x in strands.unmoved:
        return representation("fixed")
    if x in strands.partners:
        return None
    y = strands.seen[x]
    if bool(y.isnan().any()):
        raise Apart(f"only a part of input {x!r} is read, so that its representation cannot be seen")
    found = representation_of(view.example(x), y)
    if found is None:
        raise Apart(f"what becomes of input {x!r} on the second strand is no flip or permutation that undoes itself")
    return found


def _input_representations(
    view: View,
    strands: Strands,
    kept: list[str],
    known: dict[str, Representation | None],
    given: Sequence[Representation],
) -> tuple[dict[str, Representation], set[str]]:
    """One for each input of the branch, and for which of them it is an assumption."""
    open_ = [x for x in kept if known[x] is None]
    said = dict(known)
    assumed: set[str] = set()
    if given:
        for names in (open_, kept, view.inputs):
            if len(given) == len(names):
                said.update({x: rep for x, rep in zip(names, given, strict=True) if x in kept})
                break
        else:
            raise CheckpointError(
                "representations of the inputs of a siamese network",
                got=f"{len(given)}",
                expected=f"{len(open_) or len(kept)}, one for each of {', '.join(map(repr, open_ or kept))}",
            )
        for x, rep in known.items():
            if rep is not None and not _alike(view, x, rep, said[x]):
                raise CheckpointError(
                    f"representation of input {x!r}", got=str(said[x]), expected=f"{rep}, which is what the file does"
                )
    for x in open_:
        if said[x] is None:
            shape = None if view.shapes is None else view.shapes[x]
            if shape is None or len(shape) != 2 or shape[0] != 4:
                raise _ask(x, strands.partners[x], shape)
            said[x] = representation("reversal")
            assumed.add(x)
    return {x: rep for x, rep in said.items() if rep is not None}, assumed


def _alike(view: View, x: str, a: Representation, b: Representation | None) -> bool:
    """Whether two representations act alike on an input."""
    if a == b or view.shapes is None or b is None:
        return a == b
    size = view.shapes[x][0]
    try:
        return b.permutation(size) == a.permutation(size) and torch.equal(
            rc(view.example(x), a), rc(view.example(x), b)
        )
    except RcproofError:  # another number of channels
        return False


def _ask(x: str, partner: str, shape: Shape | None) -> CheckpointError:
    example = "--input reversal"
    if shape is not None and len(shape) == 2 and shape[0] > 4:
        order = [3, 2, 1, 0, *range(4, shape[0])]
        tracks = f"{shape[0] - 4} unstranded track{'s' if shape[0] > 5 else ''}"
        example = f"--input perm:{','.join(map(str, order))} for DNA and {tracks}"
    return CheckpointError(
        f"the file takes both strands, {x!r} and {partner!r}, and does not say how one is made from the other",
        got="an input of unknown shape" if shape is None else f"inputs of shape {shape}, channels first",
        fix=f"say how ρ acts on it: {example}",
    )


def _final(view: View, merged: str, output: str) -> str | Network | None:
    """What follows a merge: nothing, one of the names in FINALS, or a network of its own."""
    if merged == output:
        return None
    network = view.part([merged], [output])
    steps = [n for n in network.rcproof_graph().nodes if n.op != "input"]
    names = [name for name in FINALS if len(steps) == 1 and _is_final(network, steps[0], name)]
    return names[0] if names else network


def _is_final(network: Network, step: Node, name: str) -> bool:
    """Whether a step is the one that FINALS has under this name."""
    wanted = FINALS[name]()
    if step.op == "module":
        layer = find_module(network, step.target)
        return type(layer) is type(wanted) and _options(layer) == _options(wanted)
    along = {"dim": wanted.dim} if isinstance(wanted, nn.Softmax | nn.LogSoftmax) else {}
    if step.op != "call" or step.target.rpartition(".")[2].rstrip("_") != name:
        return False
    rest = dict(zip(("dim",), step.args[1:], strict=False)) | step.kwargs
    return len(step.args) in (1, 2) and isinstance(step.args[0], Ref) and rest == along


def _options(layer: nn.Module) -> dict[str, object]:
    return {k: v for k, v in constructor_arguments(layer).items() if k != "inplace"}


# -- the report ---------------------------------------------------------------------------------------


def _notes(
    view: View,
    found: Sequence[Merged],
    finals: Sequence[str | Network | None],
    strands: Strands,
    reps: dict[str, Representation],
    assumed: set[str],
) -> list[str]:
    """What was recognised and what was assumed, one line each."""
    modes = "/".join(dict.fromkeys(f.mode for f in found))
    after = "/".join(dict.fromkeys(f if isinstance(f, str) else "nothing" if f is None else "more" for f in finals))
    lines = [f"siamese: the same layers read both strands; merge {modes}, followed by {after}"]
    for x, rep in reps.items():
        if x in strands.partners:
            how = "assumed, for an input with four channels" if x in assumed else "as given"
            lines.append(f"input {strands.partners[x]!r} is the other strand of {x!r}, under {rep} ({how})")
        elif x in strands.unmoved:
            lines.append(f"input {x!r} is read by both strands as it is ({rep})")
        else:
            lines.append(f"the other strand of input {x!r} is made in the graph, by {rep}")
    outputs = ", ".join(str(f.output) for f in found)
    lines.append(f"the answer of the other strand is merged under {outputs}")
    lines += [f"layers {a!r} and {b!r} hold equal weights and are taken as one" for a, b in strands.equal.items()]
    read = {*reps, *strands.partners.values()}
    return lines + [f"input {x!r} is not read, and left out" for x in view.inputs if x not in read]
