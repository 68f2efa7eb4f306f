"""What every writer starts from: the network, its ordinary form, and the inputs to compare on."""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rcproof import __version__
from rcproof.checkpoints.exporting.naming import identifier, with_identifiers
from rcproof.conjoined import Conjoined
from rcproof.convert import Conversion
from rcproof.convert.shapes import Shape
from rcproof.convert.untie import Untieable, as_network, example_inputs, input_representations
from rcproof.errors import RcproofError
from rcproof.network.network import Network
from rcproof.network.untie import untie_network
from rcproof.strand import representation
from rcproof.verify import Check, InputCase, Report, draw_inputs, tolerance_for, vary_lengths
from rcproof.verify.inputs import is_dna
from rcproof.verify.running import Difference, answered, checks_of, compare, describe, finite, flatten, place
from rcproof.verify.running import prepare as in_dtype

#: Batches that are compared. One is special to a program that was traced with more.
BATCHES = (2, 1, 5)

#: What features are multiplied by in the case where they are small.
SMALL = 2.0**-6

Run = Callable[[Sequence[Tensor]], Any]


@dataclass(frozen=True)
class Written:
    """What a writer reports; see :class:`~rcproof.checkpoints.exporting.api.Export`."""

    files: tuple[Path, ...]
    dtype: str
    batch: bool
    length: bool
    reports: tuple[Report, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prepared:
    """A network on its way to a file.

    Attributes:
        reference: the network as it was given, in eval mode: what everything is compared with.
        network: its RCPS form as a graph network, for formats that have layers of their own for strand pairs.
        plain: its ordinary form; every name in it is a Python identifier or, in a path, a number.
        shapes, representations: of the inputs.
        outputs: representations of the outputs, where they are known.
        input_names, output_names: identifiers.
        certificate: of the conversion, if there was one.
    """

    reference: nn.Module
    network: Network
    plain: Network
    shapes: tuple[Shape, ...]
    representations: tuple[str, ...]
    outputs: tuple[str, ...]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    certificate: Mapping[str, Any] | None
    seed: int
    notes: tuple[str, ...]

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights; float32 for a network without."""
        owned = [*self.plain.parameters(), *self.plain.buffers()]
        return next((t.dtype for t in owned if t.is_floating_point()), torch.float32)

    @property
    def plain_inputs(self) -> list[str]:
        """What the ordinary form calls its inputs."""
        return [n.name for n in self.plain.rcproof_graph().nodes if n.op == "input"]

    def example(self, batch: int = 3) -> tuple[Tensor, ...]:
        """Inputs in the dtype of the network."""
        return example_inputs(self.network, self.shapes, batch)

    def metadata(self) -> dict[str, str]:
        """What the file says of itself: strings."""
        said = {
            "written_by": f"rcproof {__version__}",
            "input_representations": json.dumps(list(self.representations)),
            "input_shapes": json.dumps([list(shape) for shape in self.shapes]),
        }
        if self.outputs:
            said["output_representations"] = json.dumps(list(self.outputs))
        if self.certificate is not None:
            said["statement"] = str(self.certificate.get("statement", ""))
            said["certificate"] = json.dumps(self.certificate)
        return said

    def cases(self) -> list[InputCase]:
        """Inputs of the stated length: several batches, and several kinds in the first of them.

        Tracks and other features are drawn large too, where a sigmoid may be 1e-30 and a runtime says 0. One case has
        them small: there the answer has its ordinary size, by which the errors of all cases are measured.
        """
        found: list[InputCase] = []
        for batch in BATCHES:
            kinds = ("one-hot", "random", "some-n") if batch == BATCHES[0] else ("one-hot",)
            drawn = draw_inputs(self.shapes, self.representations, kinds=kinds, batch=batch, seed=self.seed)
            found.extend(InputCase(f"{case.name}, batch {batch}", case.tensors) for case in drawn)
        reps = [representation(spec) for spec in self.representations]
        dna = [is_dna(shape, rep) for shape, rep in zip(self.shapes, reps, strict=True)]
        if not all(dna):
            each = zip(found[0].tensors, dna, strict=True)
            small = tuple(t * SMALL if t.is_floating_point() and not one_hot else t for t, one_hot in each)
            found.append(InputCase(f"small features, batch {BATCHES[0]}", small))
        return answered(in_dtype(self.reference, torch.float64), found)[0]

    def other_lengths(self) -> list[InputCase]:
        """One-hot inputs of the other lengths that the network takes."""
        model = in_dtype(self.reference, torch.float64)
        cases = vary_lengths(model, self.shapes, self.representations, seed=self.seed)
        return [case for case in cases if finite(model, case)]


def prepare_export(
    model: Untieable,
    layout: str,
    shapes: Sequence[Shape] | None,
    certificate: Mapping[str, Any] | None,
    names: Mapping[str, Sequence[str]],
    leaves: Sequence[str],
    seed: int,
) -> Prepared:
    """Un-tie, rename, and collect what is known of the inputs and outputs."""
    reference = model.model if isinstance(model, Conversion) else model
    training = [name or "the network itself" for name, m in reference.named_modules() if m.training]
    if training:
        raise RcproofError("the network to export is in train mode", got=f"{training[0]!r}", fix="call .eval() first")
    network, known, own = as_network(model, shapes, leaves)
    if certificate is None and own is not None:
        certificate = own.to_dict()
    plain, renamed = with_identifiers(untie_network(network, example_inputs(network, known), layout))
    graph = plain.rcproof_graph()
    inputs = [n.name for n in graph.nodes if n.op == "input"]
    notes = []
    if renamed:
        shown = ", ".join(f"{old!r} is {new!r}" for old, new in list(renamed.items())[:5])
        notes.append(f"layers renamed, since code could not name them: {shown}{', …' if len(renamed) > 5 else ''}")
    said = certificate or {}
    outputs = said.get("outputs") or _outputs(model, len(graph.outputs))
    return Prepared(
        reference=reference,
        network=network,
        plain=plain,
        shapes=known,
        representations=input_representations(network),
        outputs=tuple(str(representation(str(spec))) for spec in outputs),
        input_names=_names(names.get("inputs") or inputs, len(inputs), "input"),
        output_names=_names(names.get("outputs") or _output_names(graph.structure), len(graph.outputs), "output"),
        certificate=certificate,
        seed=seed,
        notes=tuple(notes),
    )


def _outputs(model: Any, count: int) -> tuple[str, ...]:
    """Representations of the outputs as a conjoined network or the merges of an RCPS one say."""
    if isinstance(model, Conjoined) and model.outputs is not None:
        found = tuple(map(str, model.outputs))
        return found * count if len(found) == 1 else found
    return ()


def _output_names(structure: Any) -> list[str]:
    """``output``, or ``output_0`` and so on, or the keys of a dict."""
    if structure == "*":
        return ["output"]
    kind, *children = structure
    if kind == "dict":
        return [f"{key}_{i}" if n > 1 else key for key, child in children for i, n in _counted(child)]
    return [f"output_{i}" for i, _ in enumerate(c for child in children for c in _counted(child))]


def _counted(structure: Any) -> list[tuple[int, int]]:
    n = len(_output_names(structure))
    return [(i, n) for i in range(n)]


def _names(wanted: Sequence[str], count: int, default: str) -> tuple[str, ...]:
    """As many identifiers, each once."""
    if len(wanted) != count:
        wanted = [f"{default}_{i}" for i in range(count)]
    found: list[str] = []
    for name in wanted:
        found.append(identifier(name, set(found)))
    return tuple(found)


def check_outputs(prepared: Prepared, run: Run, lengths: Sequence[InputCase], dtype: torch.dtype) -> list[Report]:
    """What ``run`` gives against what the network gives, both in ``dtype`` and with its tolerance.

    One report for the stated length and, if there are ``lengths``, one for those. ``run`` is called for
    ``prepared.cases()`` and then for ``lengths``, in order. Sizes of outputs are those over all of them.
    """
    model = in_dtype(prepared.reference, dtype)
    limit = tolerance_for(dtype).relative
    found: dict[str, dict[str, Difference]] = {}
    failed: list[Check] = []
    for case in [*prepared.cases(), *lengths]:
        tensors = place(case.tensors, model, dtype)
        with torch.no_grad():
            want = flatten(model(*tensors))
            try:
                got = flatten(run(tensors))
            except Exception as error:  # whatever a runtime raises
                failed.append(Check.failure(f"{case.name}: runs", describe(error)))
                continue
        if len(got) != len(want):
            failed.append(Check.failure(f"{case.name}: outputs", f"{len(got)} instead of {len(want)}"))
            continue
        for (name, a), b in zip(want.items(), got.values(), strict=True):
            found.setdefault(name, {})[case.name] = compare(a.cpu(), b.cpu(), ("the network", "the file"))
    facts = {"dtype": short_name(dtype), "tolerance": f"{limit:g} relative"}
    checks = [*failed, *checks_of(found, limit)]
    others = {case.name for case in lengths}
    parts = [[c for c in checks if (c.name.partition(": ")[0] in others) is other] for other in (False, True)]
    titles = ("outputs", "outputs at other lengths")[: 2 if lengths else 1]
    each = zip(titles, parts, strict=False)
    return [Report(title, tuple(part), facts, seed=prepared.seed) for title, part in each]


def check_tensors(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], every: bool = True) -> Report:
    """Tensors bit by bit; with ``every`` the same names too."""
    checks = []
    for name in expected if every else [name for name in expected if name in found]:
        want, got = expected[name].detach().cpu(), found.get(name)
        if got is None:
            checks.append(Check.failure(name, "not in the file"))
            continue
        same = (
            got.dtype == want.dtype and got.shape == want.shape and torch.equal(_bits(got.detach().cpu()), _bits(want))
        )
        checks.append(Check.of(name, 0.0, 0.0) if same else Check.failure(name, "differs from what was written"))
    if every:
        checks += [Check.failure(name, "was not written") for name in found if name not in expected]
    notes = () if checks else ("no tensor of the file has a name of the network's",)
    return Report("tensors", tuple(checks), notes=notes)


def compared(
    prepared: Prepared,
    expected: Mapping[str, Tensor],
    found: Mapping[str, Tensor],
    run: Run,
    lengths: Sequence[InputCase],
) -> tuple[Report, ...]:
    """Tensors bit by bit, then outputs by batch, then outputs at other lengths; raises if anything differs."""
    reports = [check_tensors(expected, found), *check_outputs(prepared, run, lengths, prepared.dtype)]
    return tuple(report.raise_if_failed() for report in reports)


def short_name(dtype: torch.dtype) -> str:
    """``float64`` for ``torch.float64``."""
    return str(dtype).removeprefix("torch.")


def _bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def float_copy(network: Network, dtype: torch.dtype) -> Network:
    """The network in ``dtype``: itself, or a copy."""
    return network if all(
        t.dtype == dtype for t in [*network.parameters(), *network.buffers()] if t.is_floating_point()
    ) else copy.deepcopy(network).to(dtype)  # fmt: skip


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without the warnings and log lines of exporters, which speak of their own insides."""
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
