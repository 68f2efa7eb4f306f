"""An ordinary network as Python source: one class, layers by their constructors, a forward of plain statements.

Nothing from a checkpoint is ever pasted into the source. Names have been made identifiers
(:mod:`rcproof.checkpoints.exporting.naming`), functions and layers come from the whitelists
(:mod:`rcproof.network.ops`, :mod:`rcproof.network.modules`), and every other value goes through :func:`literal`,
which writes numbers, strings and their containers as Python's own ``repr`` does.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from rcproof.checkpoints.exporting.recurrent_source import recurrent_source
from rcproof.errors import RcproofError
from rcproof.network.graph import Node, Ref
from rcproof.network.modules import constructor_arguments, registered_name
from rcproof.network.network import Namespace, Network, find_module
from rcproof.network.ops import OPS
from rcproof.nn.recurrent import Recurrent

_INFIX = {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**", "matmul": "@",
    "and_": "&", "or_": "|", "eq": "==", "ne": "!=", "gt": ">", "ge": ">=", "lt": "<", "le": "<=",
}  # fmt: skip
_INPLACE = {
    "iadd": "add", "isub": "sub", "imul": "mul", "itruediv": "truediv", "ipow": "pow", "ifloordiv": "floordiv",
    "imod": "mod", "iand": "and_", "ior": "or_",
}  # fmt: skip
_PREFIX = {"neg": "-", "pos": "+", "invert": "~"}


def literal(value: Any) -> str:
    """A value as Python source that means just this value; an error for anything that has none.

    >>> literal((1, [2.5, None], "a'b", slice(None, 3), float("inf")))
    '(1, [2.5, None], "a\\'b", slice(None, 3, None), math.inf)'
    """
    if value is None or value is Ellipsis or isinstance(value, bool):
        return "..." if value is Ellipsis else repr(value)
    if isinstance(value, Ref):
        return value.name
    if type(value) is int or type(value) is str:
        return repr(value)
    if type(value) is float:
        if math.isfinite(value):
            return repr(value)
        return "math.nan" if math.isnan(value) else "math.inf" if value > 0 else "-math.inf"
    if isinstance(value, torch.dtype):
        return str(value)
    if isinstance(value, torch.device):
        return f"torch.device({str(value)!r})"
    if isinstance(value, slice):
        return f"slice({literal(value.start)}, {literal(value.stop)}, {literal(value.step)})"
    if isinstance(value, tuple):
        return f"({', '.join(map(literal, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(k)}: {literal(v)}" for k, v in value.items()) + "}"
    raise RcproofError("an argument that has no form in source", got=type(value).__name__)


def source_of(network: Network, heading: str, name: str = "Network") -> str:
    """The module: imports, the class ``name``, and ``load``. ``heading`` is its docstring.

    ``network`` is ordinary and its names are identifiers. Raises :class:`~rcproof.errors.RcproofError` for a layer
    that is neither one of ``torch.nn`` nor one whose source can be written along.
    """
    graph = network.rcproof_graph()
    paths = list(dict.fromkeys(n.target for n in graph.nodes if n.op == "module"))
    recurrent = any(isinstance(find_module(network, path), Recurrent) for path in paths)
    inputs = [n.name for n in graph.nodes if n.op == "input"]
    body = [f"    def forward(self, {', '.join(f'{i}: Tensor' for i in inputs)}):"]
    steps = [node for node in graph.nodes if node.op != "input"]
    body += [f"        {node.name} = {_value(network, node)}" for node in steps]
    body.append(f"        return {_result(iter(graph.outputs), graph.structure)}")
    parts = [_docstring(heading), _imports(body, recurrent)]
    if recurrent:
        parts.append(recurrent_source())
    parts.append("\n".join([f"class {name}(nn.Module):", *_constructor(network, paths), "", *body]))
    parts.append(_LOAD.format(name=name))
    return "\n\n\n".join(parts) + "\n"


_LOAD = '''def load(path=None):
    """The network with its weights, in eval mode. Only tensors are read from the file."""
    network = {name}()
    found = Path(__file__).with_suffix(".pt") if path is None else path
    network.load_state_dict(torch.load(found, map_location="cpu", weights_only=True), strict=True, assign=True)
    return network.eval()'''


def _docstring(text: str) -> str:
    """As a string literal: whatever the text holds, it ends where the literal ends."""
    lines = [line.encode("ascii", "backslashreplace").decode() for line in text.splitlines()]
    safe = "\n".join(lines).replace("\\", "\\\\").replace('"""', "'''")
    return f'"""{safe.strip()}\n"""'


def _imports(body: Sequence[str], recurrent: bool) -> str:
    text = "\n".join(body)
    lines = ["import math"] if recurrent or "math." in text else []
    lines += ["from pathlib import Path", "", "import torch", "from torch import Tensor, nn"]
    if recurrent or "F." in text:
        lines.append("from torch.nn import functional as F")
    return "\n".join(lines)


# -- layers -------------------------------------------------------------------------------------------------


def _constructor(network: Network, paths: Sequence[str]) -> list[str]:
    """Statements that make every layer and tensor, containers first."""
    writer = _Constructor(network, set(paths))
    writer.children("", network)
    return ["    def __init__(self):", "        super().__init__()", *(f"        {line}" for line in writer.lines)]


class _Constructor:
    def __init__(self, network: Network, paths: set[str]) -> None:
        self.network, self.paths = network, paths
        self.lines: list[str] = []
        self.made: dict[int, str] = {}

    def children(self, path: str, container: nn.Module) -> None:
        for name, module in container._modules.items():
            assert module is not None
            inner = f"{path}.{name}" if path else name
            if inner not in self.paths:
                self.put(path, name, "nn.ModuleList()" if is_list(module) else "nn.Module()")
                self.children(inner, module)
            elif id(module) in self.made:
                self.put(path, name, self.made[id(module)])
            else:
                self.made[id(module)] = access(self.network, inner)
                self.put(path, name, _layer(inner, module))
        tensors: dict[str, Any] = {**container._parameters, **container._buffers}
        for name, tensor in tensors.items():
            made = f"torch.empty({literal(tuple(tensor.shape))}, dtype={literal(tensor.dtype)})"
            if isinstance(tensor, nn.Parameter):
                trained = "" if tensor.requires_grad else ", requires_grad=False"
                self.lines.append(f"{access(self.network, path)}.{name} = nn.Parameter({made}{trained})")
            else:
                self.lines.append(f"{access(self.network, path)}.register_buffer({literal(name)}, {made})")

    def put(self, parent: str, name: str, value: str) -> None:
        above = access(self.network, parent)
        if is_list(find_module(self.network, parent)):
            self.lines.append(f"{above}.append({value})")
        elif name.isdigit():
            self.lines.append(f"{above}.add_module({literal(name)}, {value})")
        else:
            self.lines.append(f"{above}.{name} = {value}")


def is_list(module: nn.Module) -> bool:
    """Whether a container holds layers 0, 1, 2, … and nothing else."""
    owned = module._parameters or module._buffers
    return type(module) is Namespace and not owned and list(module._modules) == [str(i) for i in range(len(module))]


def access(network: Network, path: str) -> str:
    """The expression for what lies at a path: ``self.blocks[0].conv``."""
    text, seen = "self", ""
    for part in path.split(".") if path else ():
        if not part.isdigit():
            text += f".{part}"
        elif is_list(find_module(network, seen)):
            text += f"[{part}]"
        else:
            text += f".get_submodule({literal(part)})"
        seen = f"{seen}.{part}" if seen else part
    return text


def _layer(path: str, layer: nn.Module) -> str:
    """The call that makes a layer; arguments that have their default are left out."""
    registered = registered_name(layer)
    if isinstance(layer, Recurrent) and registered is not None:
        cls: type[nn.Module] = Recurrent
        called = "Recurrent"
        arguments = {key: getattr(layer, key) for key in inspect.signature(Recurrent).parameters if hasattr(layer, key)}
        arguments["bias"] = layer.bias is not None
    else:
        if registered is None or not registered.startswith("torch.nn."):
            raise RcproofError(
                f"layer {path!r} cannot be written as source",
                got=f"{type(layer).__module__}.{type(layer).__qualname__}",
                expected="a layer of torch.nn, without hooks or parametrizations",
                fix="export it as .pt2 or .onnx, which hold what it computes",
            )
        cls, called = type(layer), registered.removeprefix("torch.")
        arguments = constructor_arguments(layer)
    return f"{called}({_shown(cls, arguments)})"


def _shown(cls: type[nn.Module], arguments: Mapping[str, Any]) -> str:
    """Arguments as people write them: those without a default first, by position; defaults left out."""
    words, by_position = [], True
    known = dict(inspect.signature(cls).parameters)
    if issubclass(cls, nn.RNNBase):  # whose constructors take anything and pass it on
        known = {**inspect.signature(nn.RNNBase).parameters, "nonlinearity": _NONLINEARITY}
        del known["mode"]
    for key, parameter in known.items():
        if key not in arguments:
            by_position = False
            continue
        value = _plain(arguments[key])
        if cls.__name__.endswith("1d") and isinstance(value, tuple) and len(value) == 1:
            (value,) = value  # torch keeps one size as a tuple
        needed = parameter.default is inspect.Parameter.empty
        if needed or not (type(value) is type(parameter.default) and value == parameter.default):
            words.append(literal(value) if needed and by_position else f"{key}={literal(value)}")
            by_position = by_position and needed
        else:
            by_position = False
    return ", ".join(words)


_NONLINEARITY = inspect.Parameter("nonlinearity", inspect.Parameter.KEYWORD_ONLY, default="tanh")


def _plain(value: Any) -> Any:
    """Tuples and lists of subclasses, as torch.Size is one, as plain ones."""
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return tuple(_plain(v) for v in value) if isinstance(value, tuple) else value


# -- steps --------------------------------------------------------------------------------------------------


def _value(network: Network, node: Node) -> str:
    args, kwargs = list(node.args), dict(node.kwargs)
    if node.op == "tensor":
        return access(network, node.target)
    if node.op == "module":
        return f"{access(network, node.target)}({_arguments(args, kwargs)})"
    if node.op == "attribute":
        return f"{literal(args[0])}.{node.target}"
    if node.op != "call":
        raise RcproofError(f"step {node.name!r} is no step of an ordinary network", got=node.op)
    where, _, name = node.target.rpartition(".")
    if where == "operator":
        return _operator(_INPLACE.get(name, name), args)
    if OPS[node.target].inplace:
        name = name.rstrip("_")  # the function that is called does not write
    if where == "builtins":
        return f"{name}({_arguments(args, kwargs)})"
    if where == "Tensor" and args and isinstance(args[0], Ref):
        return f"{args[0].name}.{name}({_arguments(args[1:], kwargs)})"
    owner = "torch.Tensor" if where == "Tensor" else where
    return f"{owner}.{name}({_arguments(args, kwargs)})"


def _operator(name: str, args: Sequence[Any]) -> str:
    if name == "getitem":
        return f"{literal(args[0])}[{_index(args[1])}]"
    if name in _INFIX:
        return f"{_operand(args[0])} {_INFIX[name]} {_operand(args[1])}"
    if name == "abs":
        return f"abs({literal(args[0])})"
    return f"{_PREFIX[name]}{_operand(args[0])}"


def _operand(value: Any) -> str:
    text = literal(value)
    return f"({text})" if text.startswith("-") else text


def _index(value: Any) -> str:
    """What stands in brackets: slices as people write them."""
    if isinstance(value, tuple) and value:
        return ", ".join(map(_index, value)) + ("," if len(value) == 1 else "")
    if isinstance(value, slice):
        ends = ["" if v is None else literal(v) for v in (value.start, value.stop)]
        step = "" if value.step is None else f":{literal(value.step)}"
        return f"{ends[0]}:{ends[1]}{step}"
    return literal(value)


def _arguments(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    for key in kwargs:
        if not key.isidentifier():
            raise RcproofError("the name of an argument", got=repr(key), expected="an identifier")
    return ", ".join([*map(literal, args), *(f"{key}={literal(value)}" for key, value in kwargs.items())])


def _result(outputs: Any, structure: Any) -> str:
    if structure == "*":
        return str(next(outputs))
    kind, *children = structure
    if kind == "dict":
        return "{" + ", ".join(f"{literal(key)}: {_result(outputs, child)}" for key, child in children) + "}"
    built = [_result(outputs, child) for child in children]
    return f"({', '.join(built)}{',' if len(built) == 1 else ''})" if kind == "tuple" else f"[{', '.join(built)}]"
