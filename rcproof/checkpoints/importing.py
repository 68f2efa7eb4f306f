"""What the readers of exported programs and of ONNX files share: constants, layers, names.

Both formats hold a graph of functions on tensors. A reader walks it once and calls an :class:`Importer`, which works
out at once what depends on weights only, gathers weights into the layers of torch that own them, and in the end drops
what no output needs and names what is left after the names in the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rcproof.errors import CheckpointError, RcproofError
from rcproof.network.building import GraphBuilder
from rcproof.network.graph import Graph, Node, Ref
from rcproof.network.network import Network, attach
from rcproof.network.ops import OPS, Op

#: Functions of constants that are worked out while reading.
_FOLDED = ("pointwise", "reduce", "along", "join", "permute", "insert", "squeeze", "reshape", "index", "matmul", "cast",
           "identity")  # fmt: skip

#: A constant may be this much larger than those it is worked out from, or of so many elements.
_GROWTH, _ELEMENTS = 16, 1 << 16
#: All of them together may have this many times the elements of the constants in the file, or so many elements.
_ALL_GROWTH, _ALL_ELEMENTS = 16, 1 << 24

_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")
_DEPTH, _LENGTH = 30, 200

#: No error that quotes a file is longer.
_LINE = 600


@dataclass(frozen=True, eq=False)
class Const:
    """A tensor that the file holds, or one that is worked out from such.

    Attributes:
        tensor: its values.
        name: its name in the file; "" if it is worked out.
        trained: whether it is a parameter.
        transposed: the matrix whose transpose it is, where that is in the file.
    """

    tensor: Tensor
    name: str = ""
    trained: bool = False
    transposed: Const | None = None


@dataclass(frozen=True)
class Made:
    """How a value was made, for steps that undo or complete that: ``base`` and ``data`` depend on ``how``."""

    how: str
    base: Any
    data: Any = None


@dataclass
class _Layer:
    layer: nn.Module
    names: list[str]
    tensors: dict[str, Const]


class Importer(GraphBuilder):
    """A :class:`~rcproof.network.building.GraphBuilder` that takes constants, and names layers last.

    Attributes:
        made: how values were made, by the name of their node.
        sizes: shapes of values where known: numbers, symbols of the file, or None.
        meaningful: whether every tensor has a name that somebody gave it.
    """

    meaningful = False

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[str, Made] = {}
        self.sizes: dict[str, tuple[int | str | None, ...]] = {}
        self._layers: dict[Any, _Layer] = {}
        self._held: dict[int, str] = {}  # the node of a tensor, and its constant
        self._consts: dict[str, Const] = {}
        self._counts: dict[str, int] = {}
        self._parameters: dict[int, Tensor] = {}
        self._given: dict[int, int] = {}  # elements of the constants of the file that others were worked out from
        self._worked = 0  # elements of those others
        self._derived: dict[Any, tuple[Any, Any]] = {}  # with what it is derived from, so that identities stay

    # -- values ------------------------------------------------------------------------------------------
    def ref(self, value: Any) -> Any:
        """``value`` with every constant in it as a node."""
        if isinstance(value, Const):
            key = id(value.tensor)
            if key not in self._held:
                node = Node(self._fresh(value.name.rpartition(".")[2] or "constant"), "tensor", "")
                self._add(node)
                self._held[key], self._consts[node.name] = node.name, value
                self.sizes[node.name] = tuple(value.tensor.shape)
            return Ref(self._held[key])
        if isinstance(value, list | tuple):
            return type(value)(self.ref(v) for v in value)
        if isinstance(value, slice):
            return slice(self.ref(value.start), self.ref(value.stop), self.ref(value.step))
        return value

    def call(self, function: str, *args: Any, **kwargs: Any) -> Any:
        """Call a function by its name in ``OPS``; worked out at once if it depends on constants only."""
        leaves = list(_leaves((args, kwargs)))
        consts = [v for v in leaves if isinstance(v, Const)]
        if consts and not any(isinstance(v, Ref) for v in leaves):
            folded = self._fold(function, args, kwargs, consts)
            if folded is not None:
                return folded
        return super().call(function, *self.ref(args), **{k: self.ref(v) for k, v in kwargs.items()})

    def _fold(self, function: str, args: Any, kwargs: Any, consts: list[Const]) -> Any:
        op = OPS.get(function)
        if op is None or op.family not in _FOLDED:
            return None
        key = function, repr(_replace((args, kwargs), lambda c: id(c.tensor)))
        if key not in self._derived:
            self._derived[key] = consts, self._worked_out(op, args, kwargs, consts)
        return self._derived[key][1]

    def _worked_out(self, op: Op, args: Any, kwargs: Any, consts: list[Const]) -> Any:

        def run(change: Callable[[Tensor], Tensor]) -> Any:
            filled = _replace((args, kwargs), lambda c: change(c.tensor))
            try:
                with torch.no_grad():
                    return op.function(*filled[0], **filled[1])
            except Exception as error:  # torch checks its arguments in many ways
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                raise CheckpointError(f"a step {op.name} on constants cannot be worked out", got=reason) from None

        shapes = [t for t in _leaves(run(lambda t: t.to("meta"))) if isinstance(t, Tensor)]
        size = sum(t.numel() for t in shapes)
        if size > max(_ELEMENTS, _GROWTH * sum(c.tensor.numel() for c in consts)):
            return None
        self._given |= {id(c.tensor): c.tensor.numel() for c in consts if c.name}
        if self._worked + size > max(_ALL_ELEMENTS, _ALL_GROWTH * sum(self._given.values())):
            return None
        self._worked += size
        return _wrap(run(lambda t: t))

    def derived(self, const: Const, how: str, make: Callable[[Tensor], Tensor]) -> Const:
        """A weight in another form, which is the same weight each time."""
        key = id(const.tensor), how
        if key not in self._derived:
            self._derived[key] = const, Const(make(const.tensor).contiguous(), const.name, const.trained)
        found: Const = self._derived[key][1]
        return found

    def transpose(self, const: Const) -> Const:
        """The transpose of a matrix; twice is the matrix itself."""
        if const.transposed is not None:
            return const.transposed
        made = self.derived(const, "transpose", torch.t)
        key = id(made.tensor), "transposed"
        if key not in self._derived:
            self._derived[key] = made, Const(made.tensor, made.name, made.trained, const)
        found: Const = self._derived[key][1]
        return found

    def rank(self, value: Any) -> int:
        """The number of axes of a value; an error if it is not known."""
        if isinstance(value, Const):
            return value.tensor.dim()
        found = self.sizes.get(value.name) if isinstance(value, Ref) else ()
        if found is None:
            raise CheckpointError(f"the number of axes of {value.name!r} cannot be told from the file")
        return len(found)

    def attribute(self, name: str, x: Ref) -> Ref:
        """An attribute of a tensor."""
        return self._add(Node(self._fresh(name), "attribute", name, (x,)))

    # -- layers ------------------------------------------------------------------------------------------
    def layer(
        self,
        kind: type[nn.Module],
        options: Mapping[str, Any],
        tensors: Mapping[str, Const | None],
        *inputs: Any,
        hint: str = "",
    ) -> Ref:
        """Call the layer that owns ``tensors`` (its parameters and buffers, by name), making it the first time.

        The same kind with the same options and tensors is the same layer. Its path is what the names of its tensors in
        the file have in common, else ``hint``. Raises :class:`~rcproof.errors.CheckpointError` if a shape does not fit.
        """
        owned = {name: const for name, const in tensors.items() if const is not None}
        told = tuple((name, id(const.tensor)) for name, const in owned.items())
        key = (kind, repr(sorted(options.items())), told, "" if owned else hint)
        if key not in self._layers:
            self._layers[key] = _Layer(self._build(kind, options, owned), self._names_of(owned, hint), owned)
        found = self._layers[key]
        node = Node(self._fresh(found.names[0]), "module", "", tuple(self.ref(i) for i in inputs))
        node.kwargs = {"layer": found}  # until it has a path
        return self._add(node)

    def _names_of(self, owned: Mapping[str, Const], hint: str) -> list[str]:
        """Paths for a layer, the best first."""
        if hint and owned and all(self.is_called(f"{hint}.{name}", const) for name, const in owned.items()):
            return [_clean(hint)]
        stems = [_owner(const, name) for name, const in owned.items()]
        rest = [_clean(const.name) for const in owned.values()] if self.meaningful else []
        return [name for name in (*stems, *rest[:1], _clean(hint)) if name] or ["layer"]

    def is_called(self, name: str, const: Const) -> bool:
        """Whether this is a name that the file has for a tensor."""
        return const.name == name

    def _build(self, kind: type[nn.Module], options: Mapping[str, Any], tensors: Mapping[str, Const]) -> nn.Module:
        try:
            with torch.device("meta"):
                layer = kind(**options)
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise CheckpointError(f"a layer {kind.__name__} in the file", got=reason) from None
        places = dict(layer.named_parameters()) | dict(layer.named_buffers())
        for name, const in tensors.items():
            wanted = places.pop(name, None)
            if wanted is None or wanted.shape != const.tensor.shape:
                raise CheckpointError(
                    f"tensor {const.name or name!r} of a layer {kind.__name__} in the file",
                    got=f"shape {tuple(const.tensor.shape)}",
                    expected="none" if wanted is None else f"shape {tuple(wanted.shape)}",
                )
            setattr(layer, name, self.held(const, isinstance(wanted, nn.Parameter)))
        for name in places:
            if name != "num_batches_tracked":
                raise CheckpointError(f"a layer {kind.__name__} in the file", got=f"no {name}")
            layer._buffers[name] = torch.zeros((), dtype=torch.long)
        return layer

    def held(self, const: Const, parameter: bool) -> Tensor:
        """The tensor of a constant as the network holds it: one parameter, however many layers share it."""
        if not parameter:
            return const.tensor
        key = id(const.tensor)
        if key not in self._parameters:
            trained = const.tensor.is_floating_point() and (const.trained or not const.name)
            self._parameters[key] = nn.Parameter(const.tensor.contiguous(), requires_grad=trained)
        return self._parameters[key]

    # -- the network -------------------------------------------------------------------------------------
    def finish(self, outputs: Sequence[Any], structure: Any = None) -> Network:
        """The network that returns ``outputs``, without the steps that none of them needs, and with names."""
        names = [self.ref(value).name for value in outputs]
        self.nodes = _live(self.nodes, names)
        paths, placed = Paths(), dict[int, str]()
        self.layers, self.tensors = {}, {}
        for node in self.nodes:
            if node.op == "module":
                made: _Layer = node.kwargs.pop("layer")
                if id(made) not in placed:
                    placed[id(made)] = paths.free(made.names)
                    self.layers[placed[id(made)]] = made.layer
                node.target = placed[id(made)]
        owned = {id(t): f"{path}.{n}" for path, layer in self.layers.items() for n, t in _tensors(layer)}
        for node in self.nodes:
            if node.op == "tensor":
                const = self._consts[node.name]
                tensor = self.held(const, const.trained)
                node.target = owned.get(id(tensor), "")
                if not node.target:
                    node.target = paths.free([_clean(const.name) or "constant"])
                    self.tensors[node.target] = tensor
        structure = structure or ("*" if len(names) == 1 else ["tuple", *("*" for _ in names)])
        network = Network(Graph(self.nodes, names, structure), self.layers)
        for path, tensor in self.tensors.items():
            attach(network, path, tensor)
        return network.eval()

    def _fresh(self, wanted: str) -> str:
        name = super()._fresh(f"{wanted}_{self._counts[wanted]}" if wanted in self._counts else wanted)
        self._counts[wanted] = self._counts.get(wanted, 1) + 1
        return name


class Paths:
    """Paths in a network that are in use, none of them inside another."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._above: set[str] = set()
        self._counts: dict[str, int] = {}

    def free(self, names: Sequence[str]) -> str:
        """The first of ``names`` that clashes with no other path, or it with a number; it is then in use."""
        wanted = [name for name in names if name] or ["layer"]
        found = next((name for name in wanted if self._clear(name)), None)
        if found is None:
            base = wanted[0] if self._clear(f"{wanted[0]}_") else wanted[0].replace(".", "_")
            while found is None or not self._clear(found):
                self._counts[base] = self._counts.get(base, 1) + 1
                found = f"{base}_{self._counts[base]}"
        parts = found.split(".")
        self._taken.add(found)
        self._above.update(".".join(parts[:i]) for i in range(1, len(parts)))
        return found

    def _clear(self, path: str) -> bool:
        parts = path.split(".")
        return path not in self._above and not any(".".join(parts[:i]) in self._taken for i in range(1, len(parts) + 1))


def guarded(read: Callable[[], Any], path: object) -> Any:
    """What ``read`` returns; whatever goes wrong in it is one line of readable length about a damaged file."""
    try:
        return read()
    except RcproofError as error:
        if len(str(error)) <= _LINE:
            raise
        raise CheckpointError(f"{str(error)[:_LINE]}…") from None  # it quotes the file
    except RecursionError:
        raise CheckpointError(f"{str(path)!r} is damaged", got="values nested without end") from None
    except MemoryError:
        raise CheckpointError(f"{str(path)!r} does not fit into memory") from None
    except Exception as error:  # data of any shape where another was expected
        reason = (str(error).strip().splitlines() or [""])[0]
        raise CheckpointError(f"{str(path)!r} is damaged", got=f"{type(error).__name__}: {reason}"[:300]) from None


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for v in value:
            yield from _leaves(v)
    elif isinstance(value, dict):
        yield from _leaves(list(value.values()))
    elif isinstance(value, slice):
        yield from (value.start, value.stop, value.step)
    else:
        yield value


def _replace(value: Any, change: Callable[[Const], Any]) -> Any:
    if isinstance(value, Const):
        return change(value)
    if isinstance(value, list | tuple):
        return type(value)(_replace(v, change) for v in value)
    if isinstance(value, dict):
        return {k: _replace(v, change) for k, v in value.items()}
    return value


def _wrap(value: Any) -> Any:
    """What a function returned, its tensors as constants."""
    if isinstance(value, Tensor):
        return Const(value.clone())
    return tuple(_wrap(v) for v in value) if isinstance(value, list | tuple) else value


def _owner(const: Const, parameter: str) -> str:
    """The path of the layer whose ``parameter`` has the name of ``const`` in the file, or ""."""
    name = const.name
    return _clean(name[: -len(parameter)].rstrip("._")) if name.endswith(parameter) else ""


def _clean(name: str) -> str:
    """A name of the file as a path in the network, or "" if it is none."""
    fits = len(name) <= _LENGTH and name.count(".") < _DEPTH and _NAME.fullmatch(name)
    return name if fits else ""


def _tensors(layer: nn.Module) -> list[tuple[str, Tensor]]:
    return [*layer.named_parameters(), *layer.named_buffers()]


def _live(nodes: Sequence[Node], outputs: Sequence[str]) -> list[Node]:
    """The nodes that an output needs; every input stays."""
    needed = set(outputs)
    kept = []
    for node in reversed(nodes):
        if node.op == "input" or node.name in needed:
            needed.update(node.refs())
            kept.append(node)
    return kept[::-1]
