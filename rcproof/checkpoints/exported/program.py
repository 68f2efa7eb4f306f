"""The walk through an exported program: from its graph of aten functions to a network of layers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rcproof.checkpoints.exported.archive import DTYPES, Archive
from rcproof.checkpoints.imported import Imported
from rcproof.checkpoints.importing import Const
from rcproof.checkpoints.importing_shapes import Shaper, Sizes
from rcproof.errors import CheckpointError
from rcproof.network.graph import Ref

#: A graph has at most so many steps.
MOST_STEPS = 50_000

#: Functions whose result shares memory with their argument: what is written into one is seen in the other.
_VIEWS = ("view", "reshape", "_unsafe_view", "flatten", "unflatten", "expand", "expand_as", "permute", "transpose", "t",
          "movedim", "swapaxes", "swapdims", "squeeze", "unsqueeze", "select", "slice", "narrow", "split", "chunk",
          "split_with_sizes", "unbind", "detach", "alias", "contiguous", "dropout", "feature_dropout", "alpha_dropout",
          "to", "_to_copy", "type_as", "view_as", "reshape_as", "lift_fresh", "as_strided")  # fmt: skip

_DECOMPOSE = "export.run_decompositions() before saving writes it in simpler ones"


class Args:
    """The arguments of one step by name; what a rule did not ask for is an error."""

    def __init__(self, what: str, values: Mapping[str, Any]) -> None:
        self.what, self.values = what, dict(values)
        self.used: set[str] = set()

    def __call__(self, name: str, default: Any = ...) -> Any:
        """An argument; ``default`` where the file leaves it out."""
        self.used.add(name)
        if name in self.values:
            return self.values[name]
        if default is ...:
            raise CheckpointError(f"step {self.what}", got=f"no argument {name!r}")
        return default

    def refuse(self, why: object, expected: object = None, fix: str | None = None) -> CheckpointError:
        """An error that names the step."""
        return CheckpointError(f"step {self.what} of the program", got=why, expected=expected, fix=fix)

    def leftover(self) -> Iterator[str]:
        """Arguments that were given and not asked for."""
        return (name for name, value in self.values.items() if name not in self.used and value is not None)


class Program(Shaper):
    """Walks an exported program and builds its network."""

    meaningful = True

    def __init__(self, archive: Archive, any_batch: bool = True) -> None:
        super().__init__()
        self.any_batch = any_batch
        self.dtypes: list[Any] = []  # of the inputs
        self.archive = archive
        module = archive.program["graph_module"]
        self.graph, self.signature = module["graph"], module["signature"]
        self.calls = module["module_call_graph"]
        self.env: dict[str, Any] = {}
        self.roots: dict[str, str] = {}  # of values that share memory
        self.sharing: dict[str, list[str]] = {}  # the same, by root, without those that nothing needs any more
        self.inputs: list[str] = []
        self.notes: list[str] = []
        self.path = ""  # of the module that the step at hand was in
        self.output = ""  # its first value

    def is_called(self, name: str, const: Const) -> bool:
        found = self.archive.tensors.get(name)
        return found is not None and found.tensor is const.tensor

    # -- what the file says ------------------------------------------------------------------------------
    def meta(self, name: str) -> Sizes | None:
        """The shape of a value: numbers, and expressions as text."""
        found = self.graph["tensor_values"].get(name)
        if found is None:
            return None
        sizes = []
        for size in found["sizes"]:
            known = size.get("as_int")
            sizes.append(known if isinstance(known, int) else str(size["as_expr"]["expr_str"]))
        return tuple(sizes)

    def resolve(self, argument: Mapping[str, Any]) -> Any:
        """The value of an argument."""
        ((kind, value),) = argument.items()
        if kind == "as_tensor":
            return self._get(value["name"])
        if kind == "as_tensors":
            return [self._get(v["name"]) for v in value]
        if kind.startswith("as_sym_"):
            return [self._number(v) for v in value] if isinstance(value, list) else self._number(value)
        if kind in ("as_optional_tensors", "as_nested_tensors"):
            return [self.resolve(v) for v in value]
        if kind == "as_optional_tensor":
            return self.resolve(value)
        if kind == "as_float":
            return float(value)
        if kind == "as_floats":
            return [float(v) for v in value]
        if kind == "as_scalar_type":
            if value not in DTYPES:
                raise CheckpointError("a dtype in the program", got=f"code {value!r}"[:60])
            return DTYPES[value]
        if kind in ("as_none", "as_memory_format", "as_layout", "as_device"):
            return None
        if kind in ("as_int", "as_ints", "as_bool", "as_bools", "as_string", "as_strings"):
            return value
        raise CheckpointError("an argument of a step", got=kind[:40], expected="a tensor or number")

    def _number(self, value: Any) -> Any:
        value = _plain(value)
        return self._get(value["as_name"]) if isinstance(value, dict) else value

    def _get(self, name: str) -> Any:
        if name not in self.env:
            raise CheckpointError(
                "a step of the program", got=f"a reference to {str(name)[:80]!r}", expected="an earlier one"
            )
        return self.env[name]

    # -- the walk ----------------------------------------------------------------------------------------
    def imported(self) -> Imported:
        """The network with what the file says of it."""
        from rcproof.checkpoints.exported.aten import run

        self._bind_inputs()
        nodes = self.graph["nodes"]
        if len(nodes) > MOST_STEPS:
            raise CheckpointError("the program", got=f"{len(nodes)} steps", expected=f"at most {MOST_STEPS}")
        last = self._last_uses(nodes)
        for at, node in enumerate(nodes):
            target = str(node["target"])
            self.path = _module_path(node.get("metadata", {}))
            self.output = next(_names(node["outputs"]), "")
            values: dict[str, Any] = {}
            for i, item in enumerate(node["inputs"]):
                values[item["name"] or str(i)] = self.resolve(item["arg"])
            args = Args(target.removeprefix("torch.ops."), values)
            result = run(self, args, target)
            left = next(args.leftover(), None)
            if left is not None and result is not Ellipsis:
                raise args.refuse(f"argument {left!r}", "none of this name", _DECOMPOSE)
            if result is not Ellipsis:
                self._bind(node, result)
                self._alias(target, node, at, last)
        outputs, structure, names = self._outputs()
        network = self.finish(outputs, structure)
        shapes = self._shapes()
        version = f" by torch {self.archive.version}" if self.archive.version else ""
        return Imported(network, f"a program exported{version}", self.notes, tuple(self.inputs), names, shapes)

    def _bind_inputs(self) -> None:
        for spec in self.signature["input_specs"]:
            ((kind, body),) = spec.items()
            if kind == "user_input":
                name = self._user_input(body["arg"])
                if name is not None:
                    self.inputs.append(name)
                continue
            if kind == "constant_input":
                ((_, value),) = body["value"].items()
                self.env[body["name"]] = value
                continue
            key = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}
            if kind not in key:
                raise CheckpointError("an input of the program", got=kind[:40], expected="a tensor")
            name, argument = body[key[kind]], body["arg"]["name"]
            const = self.archive.tensors.get(name) or self.archive.constants.get(name)
            if const is None:
                raise CheckpointError(f"{kind.replace('_', ' ')} {str(name)[:80]!r}", got="no values in the file")
            self.env[argument] = const
            self.roots[argument] = ""
        names = self.calls[0].get("signature") if self.calls else None
        given = (names or {}).get("forward_arg_names")
        if isinstance(given, list) and len(given) == len(self.inputs):
            self.inputs = [str(n) for n in given]

    def _user_input(self, argument: Mapping[str, Any]) -> str | None:
        ((kind, value),) = argument.items()
        if kind == "as_none":
            return None
        if kind != "as_tensor":
            raise CheckpointError("an input of the program", got=kind.removeprefix("as_")[:40], expected="a tensor")
        name = str(value["name"])
        ref = self.input(name)
        self.env[name], self.roots[name] = ref, ""
        sizes = self.meta(name)
        self.put(ref, sizes)
        self.dtypes.append(DTYPES[self.graph["tensor_values"][name]["dtype"]])
        if self.first is None and sizes:
            self.first = ref
            self.batch = sizes[0] if isinstance(sizes[0], int) and self.any_batch else None
        return name

    def _bind(self, node: Mapping[str, Any], result: Any) -> None:
        names: list[Any] = []
        for output in node["outputs"]:
            ((kind, value),) = output.items()
            if kind == "as_tensors":
                names += [v["name"] for v in value]
            elif kind == "as_none":
                names.append(None)
            elif kind in ("as_tensor", "as_sym_int", "as_sym_bool", "as_sym_float"):
                value = _plain(value)
                names.append((value.get("name") or value.get("as_name")) if isinstance(value, dict) else None)
            else:
                raise CheckpointError("what a step returns", got=kind[:40], expected="a tensor or number")
        several = len(names) != 1 or "as_tensors" in node["outputs"][0]
        for i, name in enumerate(names):
            if name is None or (several and isinstance(result, list | tuple) and i >= len(result)):
                continue  # statistics and positions that nothing here gives; to read them is an error
            if name in self.env:
                raise CheckpointError("the program is damaged", got=f"two values {str(name)[:80]!r}")
            value = result
            if several:
                value = result[i] if isinstance(result, list | tuple) else self.call("operator.getitem", result, i)
            self.env[name] = self.put(value, self.meta(name))

    # -- writing in place --------------------------------------------------------------------------------
    def _last_uses(self, nodes: Sequence[Mapping[str, Any]]) -> dict[str, int]:
        last: dict[str, int] = {}
        for at, node in enumerate(nodes):
            for name in _names(node["inputs"]):
                last[name] = at
        for name in _names(self.graph["outputs"]):
            last[name] = len(nodes)
        return last

    def _alias(self, target: str, node: Mapping[str, Any], at: int, last: Mapping[str, int]) -> None:
        """Who shares memory with whom; after a step in place, the old name means the new value."""
        base = target.removeprefix("torch.ops.aten.").partition(".")[0]
        sources = list(_names(node["inputs"][:1]))
        made = list(_names(node["outputs"]))
        written = base.endswith("_") and not base.endswith("__") and base.rstrip("_") not in ("detach", "dropout")
        if not sources or not (written or base.rstrip("_") in _VIEWS):
            return
        source = sources[0]
        root = self.roots.get(source, source)
        for name in made:
            self.roots[name] = root
        self.sharing.setdefault(root, [root]).extend(made)
        if not written:
            return
        if root == "":
            raise CheckpointError(
                f"step {target.removeprefix('torch.ops.')}",
                got="one that writes into an input, a weight or a statistic",
                fix=f"call .eval() before exporting; {_DECOMPOSE}",
            )
        self.sharing[root] = [n for n in self.sharing[root] if last.get(n, -1) > at]
        if set(self.sharing[root]) - {source, *made}:
            what = f"step {target.removeprefix('torch.ops.')}"
            raise CheckpointError(what, got="one that writes into a part of another value", fix=_DECOMPOSE)
        self.env[source] = self.env[made[0]]

    # -- what comes out ----------------------------------------------------------------------------------
    def _outputs(self) -> tuple[list[Any], Any, tuple[str, ...]]:
        outputs: list[Any] = []
        names: list[str] = []
        for spec in self.signature["output_specs"]:
            ((kind, body),) = spec.items()
            if kind == "buffer_mutation":
                raise CheckpointError(
                    "the program changes a buffer",
                    got=repr(body["buffer_name"])[:80],
                    fix="call .eval() before exporting",
                )
            if kind != "user_output":
                raise CheckpointError("an output of the program", got=kind[:40], expected="a tensor")
            value = self.resolve(body["arg"])
            if not isinstance(value, Ref):
                raise CheckpointError(
                    "an output of the program", got=type(value).__name__, expected="a tensor of the input"
                )
            outputs.append(value)
            names.append(str(body["arg"].get("as_tensor", {}).get("name", f"output_{len(names)}")))
        if not outputs:
            raise CheckpointError("the program", got="no output")
        signature = self.calls[0].get("signature") if self.calls else None
        structure = None
        if signature:
            spec = json.loads(signature["out_spec"])
            structure, count = _structure(spec[1] if isinstance(spec, list) else None)
            if count != len(outputs):
                structure = None
        return outputs, structure, tuple(names)

    def _shapes(self) -> tuple[tuple[int, ...], ...] | None:
        found = []
        for node in self.nodes:
            if node.op == "input":
                sizes = self.sizes.get(node.name, ())
                if not sizes or not all(isinstance(s, int) for s in sizes[1:]):
                    return None
                found.append(tuple(int(s) for s in sizes[1:] if isinstance(s, int)))
        return tuple(found)


def _plain(value: Any) -> Any:
    """A number that stands alone or in ``{"as_int": …}``; names stay as they are."""
    if isinstance(value, dict):
        for key in ("as_int", "as_float", "as_bool"):
            if key in value:
                return value[key]
    return value


def _names(value: Any) -> Iterator[str]:
    """Names of values in the arguments of a step."""
    if isinstance(value, list):
        for v in value:
            yield from _names(v)
    elif isinstance(value, dict):
        for key, v in value.items():
            if key in ("as_tensor", "as_name", "as_sym_int"):
                name = v.get("name") or v.get("as_name") if isinstance(v, dict) else v
                if isinstance(name, str):
                    yield name
            elif key == "as_tensors" or key == "as_optional_tensors":
                yield from (n for t in v for n in ([t["name"]] if "name" in t else _names(t)))
            elif key == "arg":
                yield from _names(v)


def _structure(spec: Any, depth: int = 0) -> tuple[Any, int]:
    """The structure of what the module returned, and how many tensors are in it; any container is at least a tuple."""
    if not isinstance(spec, dict) or depth > 20:
        return None, 0
    if spec.get("type") is None:
        return "*", 1
    children = [_structure(child, depth + 1) for child in spec["children_spec"]]
    count = sum(c for _, c in children)
    kind = str(spec["type"]).rpartition(".")[2]
    if kind in ("dict", "OrderedDict"):
        keys = json.loads(spec["context"])
        if not isinstance(keys, list) or len(keys) != len(children) or not all(isinstance(k, str) for k in keys):
            return None, 0
        return ["dict", *([k, s] for k, (s, _) in zip(keys, children, strict=True))], count
    return ["list" if kind == "list" else "tuple", *(s for s, _ in children)], count


def _module_path(metadata: Mapping[str, Any]) -> str:
    """The path of the module in which a step was, for the names of layers without weights."""
    stack = metadata.get("nn_module_stack")
    last = str(stack).rpartition(";")[2].split(",") if stack else []
    return last[1] if len(last) == 3 else ""


Rule = Callable[[Program, Args], Any]
