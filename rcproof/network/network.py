"""A network that runs a graph: an RCPS network in either layout, or an ordinary single-strand one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from rcproof.errors import RcproofError, ShapeError
from rcproof.network.execution import PLAIN, Execution, Program
from rcproof.network.graph import Graph
from rcproof.network.plan import Step, compile_plan
from rcproof.nn.base import TiedLayer
from rcproof.nn.derived import unwatched
from rcproof.strand import representation
from rcproof.structure import unflatten

LAYOUTS = ("auto", "stacked", "batched")


class Namespace(nn.Module):
    """A container that keeps the module names of the source; indexes like a ``ModuleList``."""

    def __getitem__(self, index: int) -> nn.Module:
        names = list(self._modules)
        module = self._modules[names[index]]
        assert module is not None
        return module

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[nn.Module]:
        return iter(m for m in self._modules.values() if m is not None)


class Network(nn.Module):
    """A network given by a :class:`~rcproof.network.graph.Graph` and its layers.

    As the result of :func:`rcproof.convert` it is an RCPS network: it takes the inputs of the network it came
    from (channels first) and returns the merged answer. ``layout`` says how strand pairs are held on the
    way: ``stacked`` (N, 2F, L), ``batched`` (2N, F, L), or ``auto``: coupled layers stacked, the rest
    batched, and a switch at the boundary. The function is the same (T1); structural zeros are never multiplied.

    State-dict keys are those of the source network. Theorems T5 and T7. In ``auto`` the network also chooses how it
    runs (:meth:`execution`), which :meth:`set_execution` overrides.
    """

    _layout: str
    _steps: list[Step]
    _program: Program
    _execution: Execution | None

    def __init__(self, graph: Graph, layers: dict[str, nn.Module], layout: str = "auto") -> None:
        super().__init__()
        graph.check()
        for node in graph.nodes:
            if node.op == "module" and node.target not in layers:
                raise RcproofError("no such layer", got=repr(node.target))
        self._graph = graph
        self.__dict__["_execution"] = None
        for path, module in layers.items():
            attach(self, path, module)
        self.set_layout(layout)

    def set_layout(self, layout: str) -> Network:
        """Choose ``auto``, ``stacked`` or ``batched``; returns the network itself."""
        if layout not in LAYOUTS:
            raise RcproofError("layout", got=repr(layout), expected="auto, stacked or batched")
        steps = compile_plan(self._graph, self, layout)
        program = Program(steps, self._graph.outputs, len(self._inputs))
        # Not by ``self._layout = …``, which torch refuses where a layer of the source has that name.
        self.__dict__.update(_layout=layout, _steps=steps, _program=program)
        return self

    def set_execution(self, execution: Execution | None) -> Network:
        """Run in this way whatever the sizes, or (None) as the layout says; returns the network itself.

        ``stacked`` and ``batched`` run their plan as it stands, so that the batched layout agrees bit by bit with a
        conjoined network over a doubled batch; ``auto`` chooses (:meth:`execution`). Neither an execution nor what is
        chosen changes the function, and neither is saved.
        """
        if execution is not None:
            if not isinstance(execution, Execution) or (execution.rows is not None and execution.rows < 1):
                raise RcproofError("execution", got=repr(execution), expected="an Execution with rows from 1, or None")
            if execution.rows is not None and self._program.pieces is None:
                raise RcproofError(
                    "execution in pieces",
                    got=f"layout {self._layout!r} of a network whose rows depend on one another between the strands",
                    fix="uncouple the network, or use rows=None",
                )
        self.__dict__["_execution"] = execution
        return self

    def execution(self, *inputs: Tensor) -> Execution:
        """How :meth:`forward` would run these inputs now."""
        if not inputs or not unwatched(*inputs):
            return PLAIN
        if self._execution is not None:
            return self._execution
        return self._program.choose(inputs) if self._layout == "auto" else PLAIN

    def replan(self) -> None:
        """Choose layouts anew, after layers were changed."""
        self.set_layout(self._layout)

    def rcproof_graph(self) -> Graph:
        """The graph it runs. (A method with a long name, because a source may own a submodule ``graph``.)"""
        return self._graph

    @property
    def carries_strands(self) -> bool:
        """Whether it is an RCPS network, with strand pairs on the way, rather than a network of one strand."""
        return any(n.kind in ("closed", "stacked") for n in self._graph.nodes)

    @property
    def input_count(self) -> int:
        """How many tensors it takes."""
        return len(self._inputs)

    @property
    def _inputs(self) -> list[str | None]:
        return [n.rep for n in self._graph.nodes if n.op == "input"]

    def forward(self, *inputs: Tensor) -> Any:
        if len(inputs) != self._program.inputs:
            raise ShapeError("inputs of the network", got=f"{len(inputs)} tensors", expected=f"{len(self._inputs)}")
        found = self._program.run(self, inputs, self.execution(*inputs))
        return unflatten(found, self._graph.structure)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state["_steps"] = []  # holds references to layers; rebuilt on the copy
        state.pop("_program", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.replan()

    def tied_layers(self) -> dict[str, TiedLayer]:
        """Path → layer, for every tied layer."""
        return {path: m for path, m in self.named_modules() if isinstance(m, TiedLayer)}

    def extra_repr(self) -> str:
        inputs = ", ".join("plain" if r is None else str(representation(r)) for r in self._inputs)
        return f"inputs=({inputs}), layout={self._layout}"


def attach(root: nn.Module, path: str, item: nn.Module | nn.Parameter | Tensor, persistent: bool = True) -> None:
    """Put a module, parameter or buffer at a dotted path, making containers on the way.

    Written to ``_modules`` and its kin directly: a source network may use a name that a method of ours has.
    """
    *parents, last = path.split(".")
    if "training" in (*parents, last):
        raise RcproofError(
            f"a layer or tensor at {path!r}", expected="another name: torch keeps the mode under this one"
        )
    holder = root
    for name in parents:
        child = holder._modules.get(name)
        if child is None:
            child = Namespace()
            holder._modules[name] = child
        holder = child
    if isinstance(item, nn.Module):
        old = holder._modules.get(last)
        if type(old) is Namespace:  # tensors of a path can be attached before the module that owns it
            raise RcproofError(f"two things at {path!r}")
        holder._modules[last] = item
    elif isinstance(item, nn.Parameter):
        holder._parameters[last] = item
    else:
        holder._buffers[last] = item
        if not persistent:
            holder._non_persistent_buffers_set.add(last)


def find_module(root: nn.Module, path: str) -> nn.Module:
    """The module at a dotted path (``get_submodule`` is misled by names that our methods have)."""
    module: nn.Module | None = root
    for name in path.split(".") if path else []:
        module = None if module is None else module._modules.get(name)
    if module is None:
        raise RcproofError("no such layer", got=repr(path))
    return module


def find_tensor(root: nn.Module, path: str) -> Tensor:
    """The parameter or buffer at a dotted path."""
    parent, _, last = path.rpartition(".")
    holder = find_module(root, parent)
    parameter = holder._parameters.get(last)
    found = holder._buffers.get(last) if parameter is None else parameter
    if found is None:
        raise RcproofError("no such tensor", got=repr(path))
    return found
