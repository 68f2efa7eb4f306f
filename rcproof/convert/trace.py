"""Tracing: a module as an fx graph, with the shape of every value on an example."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn

from rcproof.errors import RcproofError, TraceError
from rcproof.network.fx import to_fx
from rcproof.network.network import Network, find_module
from rcproof.network.ops import name_of, writes_in_place
from rcproof.nn.base import TiedLayer
from rcproof.nn.recurrent import Recurrent
from rcproof.nn.weighted_sum import WeightedSum1d

#: An unusual number of examples, so that no other axis of an example has this size by design.
EXAMPLE_BATCH = 5

_OWN_LAYERS: tuple[type[nn.Module], ...] = (Recurrent, WeightedSum1d, TiedLayer)


class _Proxy(fx.Proxy):
    """A value that records ``x += y`` as what it is; fx takes it for ``x = x + y``, which other names of x miss."""


def _recorded(function: Callable[[Any, Any], Any]) -> Callable[[fx.Proxy, Any], fx.Proxy]:
    def method(self: fx.Proxy, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", function, (self, other), {})

    return method


for _name in ("iadd", "isub", "imul", "itruediv", "ifloordiv", "imod", "ipow", "iand", "ior"):
    setattr(_Proxy, f"__{_name}__", _recorded(getattr(operator, _name)))


class Tracer(fx.Tracer):
    """fx tracing in which torch's own layers, and what the user names, stay whole.

    ``inputs``: names of the tensors to call the root with; every other argument takes its default.
    """

    proxy_buffer_attributes = True  # else what the forward does to a buffer happens while tracing

    def __init__(self, leaves: Sequence[str] = (), inputs: Sequence[str] = ()) -> None:
        super().__init__()
        self.leaves, self.inputs = tuple(leaves), tuple(inputs)
        self.record_stack_traces = True

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> Any:
        return root_fn, [self.root, *(self.create_proxy("placeholder", name, (), {}) for name in self.inputs)]

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if module_qualified_name in self.leaves or type(m).__name__ in self.leaves:
            return True
        if isinstance(m, _OWN_LAYERS) or m._forward_hooks or m._forward_pre_hooks:
            return True
        if isinstance(m, nn.Sequential | nn.ModuleList | nn.ModuleDict):
            return False
        if m.__module__.startswith("torch.nn"):
            return True
        # A subclass that adds no forward of its own (a Conv1d with another initialisation) is still that layer.
        return any(base.__module__.startswith("torch.nn.modules") and type(m).forward is base.forward
                   for base in type(m).__mro__ if base is not nn.Module and issubclass(base, nn.Module))  # fmt: skip


def trace(root: nn.Module, count: int, leaves: Sequence[str] = ()) -> fx.Graph:
    """The fx graph of ``root`` called with ``count`` tensors; ``root`` is left as it was.

    Optional arguments beyond the first ``count`` take their defaults. Raises
    :class:`~rcproof.errors.TraceError` with the reason and the place.
    """
    if isinstance(root, Network):
        return to_fx(root)
    tracer = Tracer(leaves, _names(root, count))
    with _unchanged(root):
        try:
            graph = tracer.trace(root)
        except Exception as error:  # whatever the user's forward raises under tracing
            raise TraceError(
                f"{type(root).__name__} cannot be traced: {type(error).__name__}: {_first_line(error)}{_place(error)}",
                fix="name the submodule that branches on data in leaves=[…]; it is then run whole on each strand",
            ) from error
    graph.eliminate_dead_code(is_impure_node=lambda n: n.op in ("placeholder", "output") or _acts(root, n))
    return graph


def _names(root: nn.Module, count: int) -> list[str]:
    """Names of the first ``count`` arguments of ``root.forward``, if it can be called with so many."""
    kinds = inspect.Parameter
    parameters = [p for p in inspect.signature(root.forward).parameters.values() if p.kind is not kinds.VAR_KEYWORD]
    named = [p for p in parameters if p.kind is not kinds.VAR_POSITIONAL]
    positional = [p.name for p in named if p.kind is not kinds.KEYWORD_ONLY]
    if len(named) < len(parameters):  # *args take what the names leave
        positional += [f"input_{i}" for i in range(len(positional), count)]
    optional = [p for p in named if p.default is not kinds.empty]
    required = [p.name for p in named if p.default is kinds.empty]
    if len(positional) < count or not set(required) <= set(positional[:count]):
        raise TraceError(
            f"arguments of {type(root).__name__}.forward",
            got=f"{count} input representations for {len(named)} arguments ({len(optional)} of them optional)",
            fix="give one representation for each input tensor",
        )
    return positional[:count]


def writes(root: nn.Module, n: fx.Node) -> bool:
    """Whether a step writes into its first argument."""
    if n.op == "call_module":
        return bool(getattr(find_module(root, str(n.target)), "inplace", False))
    return n.op in ("call_function", "call_method") and writes_in_place(n.target, n.args, n.kwargs)


def _acts(root: nn.Module, n: fx.Node) -> bool:
    """Whether a step whose result nobody reads may matter all the same."""
    unknown = n.op == "call_function" and n.target not in (torch._assert, getattr) and name_of(n.target) is None
    return unknown or writes(root, n)


@contextmanager
def _unchanged(root: nn.Module) -> Iterator[None]:
    """fx stores tensor constants on the root while tracing; they stay in the graph's ``constants`` only."""
    before = set(root.__dict__)
    buffers = {id(m): (m, set(m._buffers)) for m in root.modules()}
    try:
        yield
    finally:
        for name in set(root.__dict__) - before:
            _KEPT.setdefault(root, {})[name] = root.__dict__.pop(name)
        for module, names in buffers.values():
            for name in set(module._buffers) - names:
                del module._buffers[name]


# Tensor constants of forwards such as ``x * torch.tensor([…])``, per root module.
_KEPT: Any = __import__("weakref").WeakKeyDictionary()


def constant(root: nn.Module, name: str) -> Tensor | None:
    """A tensor constant that tracing met in the forward of ``root``."""
    found = _KEPT.get(root, {}).get(name)
    return found if isinstance(found, Tensor) else None


def place_of(node: fx.Node) -> str:
    """The user's source line of an fx node, for error messages."""
    lines = [line.strip() for line in (node.stack_trace or "").splitlines() if line.strip()]
    for i in range(len(lines) - 1, -1, -1):
        if lines[i].startswith("File ") and "/torch/" not in lines[i]:
            code = lines[i + 1] if i + 1 < len(lines) else ""
            code = code if len(code) <= 60 else code[:57] + "…"
            path, _, rest = lines[i].removeprefix('File "').partition('", line ')
            return f" at {path.rpartition('/')[2]}:{rest.partition(',')[0]}" + (f" ({code})" if code else "")
    return ""


def _place(error: BaseException) -> str:
    frame = error.__traceback__
    place = ""
    while frame is not None:
        code = frame.tb_frame.f_code
        if "/torch/" not in code.co_filename and "/rcproof/convert/" not in code.co_filename:
            place = f" at {code.co_filename.rpartition('/')[2]}:{frame.tb_lineno} in {code.co_name}"
        frame = frame.tb_next
    return place


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else ""


class Recorder(fx.Interpreter):
    """Runs an fx graph once and keeps what every node returned (tensors as shape-only copies).

    ``owner``: the module that was traced, where ``root`` is a copy of it on another device.
    """

    def __init__(self, root: nn.Module, graph: fx.Graph, owner: nn.Module | None = None) -> None:
        super().__init__(root, garbage_collect_values=True, graph=graph)
        self.extra_traceback = False  # our own errors say where they are
        self.owner = owner
        self.values: dict[str, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        try:
            result = super().run_node(n)
        except Exception as error:
            what = f"layer {n.target!r}" if n.op == "call_module" else f"step {n.name!r}"
            raise TraceError(
                f"the network does not run on the example input: {what}{place_of(n)}: "
                f"{type(error).__name__}: {_first_line(error)}",
                fix="check the input shapes and that inputs come channels first",
            ) from error
        self.values[n.name] = _shapes(result)
        return result

    def fetch_attr(self, target: str) -> Any:
        found = constant(self.owner or self.module, target)
        if found is None:
            try:
                return find_module(self.module, target)  # `getattr` is misled by a layer called "forward" or "type"
            except RcproofError:
                return super().fetch_attr(target)
        return found if self.owner is None else found.to("meta")


def _shapes(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to("meta")
    if isinstance(value, torch.Size):
        return value
    if isinstance(value, tuple):
        return tuple(_shapes(v) for v in value)
    if isinstance(value, list):
        return [_shapes(v) for v in value]
    if isinstance(value, dict):
        return {k: _shapes(v) for k, v in value.items()}
    return value
