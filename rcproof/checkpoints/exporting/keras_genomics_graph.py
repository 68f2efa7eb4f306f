"""From an RCPS network to layers of keras-genomics: the plan of its stacked layout, step by step."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

import rcproof.nn as tied
from rcproof.checkpoints.exporting.keras_genomics_functions import factor
from rcproof.checkpoints.exporting.keras_genomics_layers import Emitter, merging
from rcproof.checkpoints.exporting.keras_genomics_steps import Pending, Site, call_step, module_step
from rcproof.checkpoints.exporting.keras_genomics_values import KerasGraph, Place, Value
from rcproof.network.graph import Node
from rcproof.network.network import Network
from rcproof.network.plan import Compiler, Key, Step, collect
from rcproof.strand import representation


def keras_graph(
    network: Network, inputs: Sequence[Tensor], input_names: Sequence[str], output_names: Sequence[str]
) -> tuple[KerasGraph, list[Place], list[str]]:
    """The layers, where the outputs are, and notes.

    ``inputs``: an example, batch first, of the shapes for which the file is written. Raises
    :class:`~rcproof.errors.RcproofError` for a step that has no form in keras-genomics, naming it.
    """
    return _Walker(network, inputs, input_names, output_names).build()


class _Walker:
    def __init__(
        self, network: Network, inputs: Sequence[Tensor], input_names: Sequence[str], output_names: Sequence[str]
    ) -> None:
        graph = network.rcproof_graph()
        self.network, self.outputs = network, [f"{name}@plain" for name in graph.outputs]
        self.by_name = {n.name: n for n in graph.nodes}
        plan = Compiler(graph, network, "stacked")
        self.steps, self.modules = needed(plan.compile(), self.outputs), plan.modules
        self.emitter = Emitter()
        self.input_names = dict(zip((n.name for n in graph.nodes if n.op == "input"), input_names, strict=True))
        # A step that is no layer has no name worth keeping; an output has one.
        self.named = {
            name: wanted
            for name, wanted in zip(graph.outputs, output_names, strict=True)
            if self.by_name[name].op != "module"
        }
        self.uses: Counter[str] = Counter(self.outputs)
        for step in self.steps:
            self.uses.update(_keys(step))
        self.env: dict[str, Any] = {}
        self.refuse_batched()
        self.seen = _shapes(network, self.steps, inputs)
        self.folded = {_keys(step)[0] for step in self.steps if step.action == "merge" and self.folds(step)}
        self.averages = self.find_averages()

    def build(self) -> tuple[KerasGraph, list[Place], list[str]]:
        emitter = self.emitter
        for step in self.steps:
            if step.key in self.averages:
                continue
            self.at(step)
            self.env[step.key] = self.step(step)
        places = [self.output(key) for key in self.outputs]
        emitter.graph.sort(places)
        return emitter.graph, places, emitter.notes

    def output(self, key: str) -> Place:
        """Where Keras has an output, as the network has it."""
        emitter, node = self.emitter, self.by_name[key.rpartition("@")[0]]
        emitter.name, emitter.what = self.named.get(node.name, node.name), f"output {node.name!r}"
        value = self.value(Key(key))
        if not value.shape:
            raise emitter.refuse("it has one axis, the batch")
        value = emitter.settled(value)
        if len(value.shape) == 2:
            value = emitter.sequence(value)
        if value.place is None and value.base is not None:  # the layer that flattens it has its name
            return emitter.graph.call(emitter.name, "Flatten", [emitter.at(value.base)])
        return emitter.at(value)

    # -- before anything is written ------------------------------------------------------------------
    def refuse_batched(self) -> None:
        """An error for the first step that runs on each strand by itself."""
        for step in self.steps:
            batched = any(key.endswith("@batched") for key in (step.key, *_keys(step)))
            if batched and step.action != "switch":
                self.at(step)
                raise self.emitter.refuse("it has to run on each strand by itself, and no layer of Keras does that")

    def folds(self, step: Step) -> bool:
        """Whether a merge can be taken into a linear step before it."""
        key, layer = _keys(step)[0], step.target.__self__
        in_place = len(self.seen[key]) == 1 or layer.output.reverses_length
        return layer.mode != "max" and self.uses[key] == 1 and in_place

    def find_averages(self) -> dict[str, str]:
        """Sums that are divided by the number of their terms: the step that divides, by the sums it takes in."""
        by_key = {step.key: step for step in self.steps}
        found: dict[str, str] = {}
        self.terms: dict[str, list[Key]] = {}
        for step in self.steps:
            number = factor(step.args, self.by_name[step.key.rpartition("@")[0]])
            if number is None or not isinstance(step.args[0], Key):
                continue
            terms, inside = [step.args[0]], []
            while (
                i := next((i for i, key in enumerate(terms) if self.is_sum(by_key.get(key.name))), None)
            ) is not None:
                inside.append(terms[i].name)
                terms[i : i + 1] = list(by_key[terms[i].name].args)
            if len(terms) > 1 and math.isclose(number, 1 / len(terms), rel_tol=1e-15):
                self.terms[step.key] = terms
                found |= dict.fromkeys(inside, step.key)
        return found

    def is_sum(self, step: Step | None) -> bool:
        """Whether a step adds two values and nobody else reads the sum."""
        if step is None or step.action != "call" or self.uses[step.key] != 1 or step.kwargs:
            return False
        name = self.by_name[step.key.rpartition("@")[0]].target
        keys = len(step.args) == 2 and all(isinstance(x, Key) for x in step.args)
        return (
            keys and name.rpartition(".")[2] in ("add", "iadd") and self.seen[step.args[0].name] == self.seen[step.key]
        )

    # -- steps ---------------------------------------------------------------------------------------
    def at(self, step: Step) -> None:
        """Say in names and errors which step is written now."""
        node = self.by_name[step.key.rpartition("@")[0]]
        module = self.modules.get(node.target) if node.op == "module" else None
        what = node.target if node.op == "call" else node.op if module is None else type(module).__name__
        wanted = node.target if node.op == "module" else self.named.get(node.name, node.name)
        self.emitter.name = wanted
        self.emitter.what = f"step {(node.target if node.op == 'module' else node.name)!r} ({what})"

    def value(self, key: Any) -> Value:
        found = self.env.get(key.name) if isinstance(key, Key) else None
        if not isinstance(found, Value):
            raise self.emitter.refuse("it reads something else than values that come from the inputs")
        return found

    def step(self, step: Step) -> Any:
        name, _, layout = step.key.rpartition("@")
        node = self.by_name[name]
        if step.action == "input":
            return self.input(node, self.seen[step.key])
        if step.action == "size":
            return self.seen[step.key]
        if step.action == "switch":
            return self.emitter.pair(self.value(step.args[0]), step.args[1])
        if step.action == "merge":
            return self.merge(step)
        if step.action == "tensor":
            raise self.emitter.refuse("it is a tensor that belongs to no layer")
        if step.key in self.terms:
            return self.emitter.together("Average", [self.value(key) for key in self.terms[step.key]])
        site = Site(self.emitter, self.value, step, node, self.seen[step.key], layout == "stacked")
        if node.op == "module":
            made = module_step(self.modules[node.target], site)
        else:
            made = call_step(node.target, site)
        if isinstance(made, Pending):
            made = made if step.key in self.folded else made.now()
            if layout == "stacked" and isinstance(made, Value):
                self.emitter.note_if_untied(made)
        return made

    def input(self, node: Node, shape: Any) -> Value:
        if node.rep is not None and representation(node.rep).tokens:
            raise self.emitter.refuse("it takes codes of bases, and keras-genomics reads one-hot DNA")
        place = self.emitter.graph.input(self.input_names[node.name], shape[::-1])
        return Value(shape, place, flat=len(shape) == 1)

    def merge(self, step: Step) -> Value:
        layer: tied.Merge = step.target.__self__
        (key,) = _keys(step)
        found = self.env[key]
        if not isinstance(found, Pending):
            return self.emitter.merged(self.value(Key(key)), layer.mode, layer.output)
        self.emitter.name, self.emitter.what = found.name, found.what
        matrix = merging(len(found.weight) // 2, layer.mode, layer.output)
        weight = np.tensordot(matrix, found.weight, axes=1)
        made = found.emit(weight, None if found.bias is None else matrix @ found.bias)
        self.emitter.note_if_untied(made)
        return made


def needed(steps: Sequence[Step], outputs: Sequence[str]) -> list[Step]:
    """The steps on which outputs depend, and those that take in an input."""
    keys, found = set(outputs), []
    for step in reversed(steps):
        if step.key in keys or step.action == "input":
            found.append(step)
            keys.update(_keys(step))
    return found[::-1]


def _keys(step: Step) -> list[str]:
    """The values that a step reads."""
    found: list[str] = []
    collect((step.args, step.kwargs), found)
    return found


def _shapes(network: Network, steps: Sequence[Step], inputs: Sequence[Tensor]) -> dict[str, Any]:
    """Of every value its shape without the batch; sizes and other things that are no tensors as they are."""
    env: dict[str, Any] = {f"input:{i}": x for i, x in enumerate(inputs)}
    seen: dict[str, Any] = {}
    with torch.no_grad():
        for step in steps:
            found = env[step.key] = step.run(network, env)
            seen[step.key] = tuple(found.shape[1:]) if isinstance(found, Tensor) else found
            for key in step.last_uses:
                env.pop(key, None)
    return seen
