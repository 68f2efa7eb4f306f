"""The walk through an ONNX graph: values by name, operators looked up, functions of the file opened on the way."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rcproof.checkpoints.importing import Const
from rcproof.checkpoints.importing_shapes import Shaper, Sizes
from rcproof.checkpoints.onnx.tensors import DTYPES, TensorReader
from rcproof.errors import CheckpointError
from rcproof.network.graph import Ref
from rcproof.network.network import Network

#: A graph has at most so many steps, functions opened, and functions call each other at most so deep.
MOST_STEPS, DEEPEST = 50_000, 20

_STANDARD = ("", "ai.onnx")
_GRAPHS = (5, 10)  # the kinds of attributes that hold graphs: branches and bodies of loops
_BOOLEAN = ("Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual", "And", "Or", "Not", "IsNaN")


@dataclass(frozen=True)
class Dims:
    """Sizes that the graph computes with: numbers, and numbers that are known when the network runs.

    ``scalar`` tells one number from a list of one.
    """

    items: tuple[Any, ...]
    scalar: bool = False


class Step:
    """One node: its inputs as values, its attributes; what a rule did not ask for is an error."""

    def __init__(self, node: Any, inputs: list[Any], attributes: dict[str, Any]) -> None:
        self.kind, self.inputs, self.attributes = node.op_type, inputs, attributes
        self.outputs = len(node.output)
        self.path = _path(node)
        self.name = node.name[:80] or (node.output[0][:80] if node.output else "")
        self.used: set[str] = set()

    def __call__(self, at: int, default: Any = ...) -> Any:
        """An input; ``default`` where it is left out."""
        found = self.inputs[at] if at < len(self.inputs) else None
        if found is None:
            if default is ...:
                raise self.refuse(f"no input {at}")
            return default
        return found

    def attribute(self, name: str, default: Any = ...) -> Any:
        """An attribute; ``default`` where it is left out."""
        self.used.add(name)
        if name in self.attributes:
            return self.attributes[name]
        if default is ...:
            raise self.refuse(f"no attribute {name!r}")
        return default

    def refuse(self, why: object, expected: object = None, fix: str | None = None) -> CheckpointError:
        """An error that names the node."""
        return CheckpointError(f"operator {self.kind[:40]} ({self.name!r})", got=why, expected=expected, fix=fix)


Rule = Callable[["Model", Step], Any]
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a rule for operators."""

    def register(function: Rule) -> Rule:
        for name in names:
            for one in name.split():
                assert one not in RULES, one
                RULES[one] = function
        return function

    return register


class Model(Shaper):
    """Walks an ONNX model and builds its network."""

    def __init__(self, proto: Any, path: Path, any_batch: bool = True) -> None:
        super().__init__()
        self.proto, self.reader, self.any_batch = proto, TensorReader(path.parent), any_batch
        self.functions = {(f.domain, f.name): f for f in proto.functions}
        self.initializers: dict[str, Any] = {}
        self.constants: dict[str, Const] = {}
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        self.notes: list[str] = []
        self.shapes: tuple[tuple[int, ...], ...] | None = ()
        self.dtypes: list[torch.dtype] = []
        self.steps = 0
        self.kinds: dict[str, torch.dtype] = {}  # dtypes of values, where known
        found = [o.version for o in proto.opset_import if o.domain in _STANDARD]
        self.opset = max(found, default=0)

    def built(self) -> Network:
        """The network."""
        from rcproof.checkpoints.onnx import OLDEST_OPSET, layers, operators, recurrent, shapes  # noqa: F401 (rules)

        if self.opset < OLDEST_OPSET:
            raise CheckpointError(
                "the ONNX file",
                got=f"opset {self.opset}",
                expected=f"{OLDEST_OPSET} or later",
                fix="onnx.version_converter.convert_version writes a newer one",
            )
        graph = self.proto.graph
        for tensor in graph.initializer:
            if not tensor.name or tensor.name in self.initializers:
                raise CheckpointError("the ONNX file is damaged", got=f"two tensors {tensor.name[:80]!r}")
            self.initializers[tensor.name] = tensor
        if graph.sparse_initializer:
            raise CheckpointError("the ONNX file", got="sparse tensors", expected="dense ones")
        env: dict[str, Any] = {}
        for given in graph.input:
            if given.name not in self.initializers:
                self._input(given, env)
        self._walk(graph.node, env, 0)
        self.outputs = [o.name for o in graph.output]
        results = [self.get(name, env) for name in self.outputs]
        for name, value in zip(self.outputs, results, strict=True):
            if not isinstance(value, Ref):
                raise CheckpointError(f"output {name[:80]!r}", got="a constant", expected="a tensor of the input")
        if not results:
            raise CheckpointError("the ONNX file", got="no output")
        return self.finish(results)

    # -- inputs ------------------------------------------------------------------------------------------
    def _input(self, given: Any, env: dict[str, Any]) -> None:
        kind = given.type.tensor_type
        dtype = DTYPES.get(kind.elem_type)
        if dtype is None or not kind.HasField("shape") or not kind.shape.dim:
            raise CheckpointError(
                f"input {given.name[:80]!r}", got="no shape or dtype", expected="a tensor with a batch"
            )
        sizes: list[int | str | None] = []
        for i, dim in enumerate(kind.shape.dim):
            number = dim.dim_value if dim.HasField("dim_value") else 0
            sizes.append(number if number > 0 else dim.dim_param or f"{given.name}:{i}")
        ref = self.input(given.name)
        last = len(sizes) == 3 and self._channels_last(given.name, sizes)
        held: Sizes = (sizes[0], sizes[2], sizes[1]) if last else tuple(sizes)
        self.put(ref, held)
        if last:
            self.notes.append(
                f"input {given.name!r} is channels last in the file, {_shown(sizes)}; taken channels first"
            )
        env[given.name] = self.permute(ref, (0, 2, 1)) if last else ref
        self.inputs.append(given.name)
        self.dtypes.append(dtype)
        self.kinds[ref.name] = self.kinds[env[given.name].name] = dtype
        if self.first is None:
            self.first = ref
            self.batch = held[0] if isinstance(held[0], int) and self.any_batch else None
        fixed = tuple(s for s in held[1:] if isinstance(s, int))
        if self.shapes is not None:
            self.shapes = (*self.shapes, fixed) if len(fixed) == len(held) - 1 else None

    def _channels_last(self, name: str, sizes: Sequence[Any]) -> bool:
        """Whether the first thing done to an input (N, L, C) is to put its channels before its length."""
        users = list(self._users(name))
        after: list[Any] = []
        while users and all(u.op_type in ("Cast", "Identity") for u in users):
            users = [v for u in users for out in u.output for v in self._users(out)]
        for node in users:
            order = next((list(a.ints) for a in node.attribute if a.name == "perm"), None)
            if node.op_type == "Transpose" and order == [0, 2, 1]:
                after += [u for out in node.output for u in self._users(out)]
                continue
            grown = [u for out in node.output for u in self._users(out)]
            moved = [next((list(a.ints) for a in u.attribute if a.name == "perm"), None) for u in grown]
            if node.op_type != "Unsqueeze" or not grown or any(m not in ([0, 3, 1, 2], [0, 3, 2, 1]) for m in moved):
                return False
            after += [u for g in grown for out in g.output for u in self._users(out)]
        dna = sizes[2] == 4 and sizes[1] != 4
        return bool(users) and (dna or (bool(after) and all(u.op_type in ("Conv", "Unsqueeze", "Pad") for u in after)))

    def _users(self, name: str) -> Iterator[Any]:
        if not hasattr(self, "_readers"):
            self._readers: dict[str, list[Any]] = {}
            for node in self.proto.graph.node:
                for read in dict.fromkeys(node.input):
                    self._readers.setdefault(read, []).append(node)
        return iter(self._readers.get(name, []))

    # -- values ------------------------------------------------------------------------------------------
    def get(self, name: str, env: Mapping[str, Any]) -> Any:
        """The value of a name."""
        if name in env:
            return env[name]
        if name in self.constants:
            return self.constants[name]
        if name in self.initializers:
            tensor = self.reader.read(self.initializers[name])
            self.constants[name] = Const(tensor, name, tensor.is_floating_point())
            return self.constants[name]
        raise CheckpointError(
            "a node of the ONNX file", got=f"a reference to {name[:80]!r}", expected="an earlier value"
        )

    def data(self, value: Any) -> Any:
        """A value as a tensor (or one number)."""
        if not isinstance(value, Dims):
            return value
        if all(isinstance(i, int) for i in value.items):
            return Const(torch.tensor(value.items[0] if value.scalar else list(value.items), dtype=torch.int64))
        if len(value.items) == 1:
            return value.items[0]
        raise CheckpointError("sizes of the input as a tensor", got="several", expected="one number")

    def operand(self, value: Any, other: Any = None) -> Any:
        """A value for arithmetic: a constant of one element is a number."""
        value = self.data(value)
        rank = self.rank(other) if isinstance(other, Ref) else 0
        if isinstance(value, Const) and value.tensor.numel() == 1 and value.tensor.dim() <= rank:
            return value.tensor.item()
        return value

    def dims(self, value: Any) -> Dims:
        """A value as sizes; an error if it is no short list of whole numbers."""
        short = isinstance(value, Const) and value.tensor.dim() <= 1 and value.tensor.numel() <= 64
        if short and not value.tensor.is_floating_point():
            return Dims(tuple(int(v) for v in value.tensor.reshape(-1).tolist()), value.tensor.dim() == 0)
        if isinstance(value, Dims):
            return value
        raise CheckpointError("sizes in the ONNX file", got="a tensor of the input", expected="whole numbers")

    def ints(self, value: Any) -> list[int]:
        """A value as whole numbers that are known now."""
        items = self.dims(value).items
        if not all(isinstance(i, int) for i in items):
            raise CheckpointError("numbers in the ONNX file", got="sizes of the input", expected="fixed ones")
        return list(items)

    # -- the walk ----------------------------------------------------------------------------------------
    def _walk(
        self, nodes: Sequence[Any], env: dict[str, Any], depth: int, given: Mapping[str, Any] | None = None
    ) -> None:
        for node in nodes:
            self.steps += 1
            if self.steps > MOST_STEPS:
                raise CheckpointError("the ONNX file", got=f"more than {MOST_STEPS} steps")
            if any(a.type in _GRAPHS for a in node.attribute):
                raise CheckpointError(
                    f"operator {node.op_type[:80]!r} of the ONNX file",
                    got="control flow: a graph inside a node",
                    expected="steps that are always run",
                )
            inputs = [self.get(name, env) if name else None for name in node.input]
            attributes = {a.name: self._attribute(a, given or {}) for a in node.attribute}
            attributes = {name: value for name, value in attributes.items() if value is not None}
            opened = self.functions.get((node.domain, node.op_type))
            results: Sequence[Any]
            if opened is not None:
                results = self._open(opened, inputs, attributes, depth)
            else:
                results = self._run(node, inputs, attributes)
            for name, value in zip(node.output, results, strict=False):
                if name in env or name in self.initializers:
                    raise CheckpointError("the ONNX file is damaged", got=f"two values {name[:80]!r}")
                if name:
                    env[name] = value

    def _run(self, node: Any, inputs: list[Any], attributes: dict[str, Any]) -> Sequence[Any]:
        found = RULES.get(node.op_type) if node.domain in _STANDARD else None
        if found is None:
            name = f"{node.domain}.{node.op_type}".strip(".")[:80]
            raise CheckpointError(f"operator {name!r} of the ONNX file", got="none that has a form here")
        step = Step(node, inputs, attributes)
        result = found(self, step)
        left = next((name for name in attributes if name not in step.used), None)
        if left is not None:
            raise step.refuse(f"attribute {left[:40]!r}", "none of this name")
        results = result if isinstance(result, tuple | list) else [result]
        for value in results:
            kind = self._kind(step)
            if isinstance(value, Ref) and kind is not None:
                self.kinds.setdefault(value.name, kind)
        return results

    def _kind(self, step: Step) -> torch.dtype | None:
        """The dtype of what a node gives: that of its first tensor, with few exceptions."""
        if step.kind in _BOOLEAN:
            return torch.bool
        if step.kind in ("ArgMax", "ArgMin", "Shape", "Size"):
            return torch.int64
        if step.kind in ("Cast", "ConstantOfShape", "Range", "CastLike"):
            return DTYPES.get(step.attributes.get("to", 0))
        first = [v for v in step.inputs if isinstance(v, Ref | Const)][int(step.kind == "Where") :]
        return self.dtype(first[0]) if first else None

    def dtype(self, value: Any) -> torch.dtype | None:
        """The dtype of a value, where it is known."""
        return value.tensor.dtype if isinstance(value, Const) else self.kinds.get(value.name)

    def _open(self, function: Any, inputs: list[Any], attributes: dict[str, Any], depth: int) -> list[Any]:
        """What a function of the file returns."""
        if depth >= DEEPEST:
            raise CheckpointError("functions of the ONNX file", got=f"calls deeper than {DEEPEST}")
        local = dict(zip(function.input, [*inputs, *[None] * len(function.input)], strict=False))
        known = {a.name: self._attribute(a, {}) for a in function.attribute_proto} | attributes
        held, self.initializers, self.constants = (self.initializers, self.constants), {}, {}
        try:
            self._walk(function.node, local, depth + 1, known)
            return [self.get(name, local) for name in function.output]
        finally:
            self.initializers, self.constants = held

    def _attribute(self, attribute: Any, given: Mapping[str, Any]) -> Any:
        if attribute.ref_attr_name:
            return given.get(attribute.ref_attr_name)
        kind = attribute.type
        if kind == 1:
            return float(attribute.f)
        if kind == 2:
            return int(attribute.i)
        if kind == 3:
            return attribute.s.decode("utf-8", "replace")
        if kind == 4:
            return Const(self.reader.read(attribute.t))
        if kind == 6:
            return [float(v) for v in attribute.floats]
        if kind == 7:
            return [int(v) for v in attribute.ints]
        if kind == 8:
            return [v.decode("utf-8", "replace") for v in attribute.strings]
        raise CheckpointError(
            f"attribute {attribute.name[:40]!r} of a node", got=f"kind {kind}", expected="numbers or text"
        )


def _shown(sizes: Sequence[Any]) -> str:
    return "(" + ", ".join(str(s) for s in sizes) + ")"


def _path(node: Any) -> str:
    """The path of the module that a node was in, as torch's exporters write it; else the name of the node."""
    for entry in node.metadata_props:
        if entry.key == "pkg.torch.onnx.name_scopes":
            scopes = re.findall(r"'([^']*)'", entry.value[:10_000])
            if len(scopes) > 1 and scopes[-2]:
                return scopes[-2]
    if "/" in node.name[:1000]:
        path = ""
        for part in node.name.strip("/").split("/")[:-1]:
            last = path.rpartition(".")[2]
            path = part if not path else (path + part[len(last) :] if part.startswith(f"{last}.") else f"{path}.{part}")
        return path
    return ""
