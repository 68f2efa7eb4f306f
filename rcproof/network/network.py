"""A network that runs a graph: an RCPS network in either layout, or an ordinary single-strand one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from rcproof.errors import RcproofError, ShapeError
from rcproof.network.graph import Graph
from rcproof.network.plan import Step, compile_plan
from rcproof.nn.base import TiedLayer
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

    State-dict keys are those of the source network. Theorems T5 and T7.
    """

    _layout: str
    _steps: list[Step]

    def __init__(self, graph: Graph, layers: dict[str, nn.Module], layout: str = "auto") -> None:
        super().__init__()
        graph.check()
        for node in graph.nodes:
            if node.op == "module" and node.target not in layers:
                raise RcproofError("no such layer", got=repr(node.target))
        self._graph = graph
        for path, module in layers.items():
            attach(self, path, module)
        self.set_layout(layout)

    def set_layout(self, layout: str) -> Network:
        """Choose ``auto``, ``stacked`` or ``batched``; returns the network itself."""
        if layout not in LAYOUTS:
            raise RcproofError("layout", got=repr(layout), expected="auto, stacked or batched")
        # Not by ``self._layout = …``, which torch refuses where a layer of the source has that name.
        self.__dict__.update(_layout=layout, _steps=compile_plan(self._graph, self, layout))
        return self

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
        reps = self._inputs
        if len(inputs) != len(reps):
            raise ShapeError("inputs of the network", got=f"{len(inputs)} tensors", expected=f"{len(reps)}")
        env: dict[str, Any] = {}
        for position, x in enumerate(inputs):
            env[f"input:{position}"] = x
        for step in self._steps:
            env[step.key] = step.run(self, env)
            for key in step.last_uses:
                del env[key]
        return unflatten([env[f"{name}@plain"] for name in self._graph.outputs], self._graph.structure)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state["_steps"] = []  # holds references to layers; rebuilt on the copy
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
