"""What a preset is, and how the network of a state dict is built from the shapes of its tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rcproof.errors import CheckpointError
from rcproof.network.building import GraphBuilder
from rcproof.network.graph import Ref
from rcproof.network.network import Network

Shape = tuple[int, ...]
Representations = tuple[tuple[str, ...], tuple[str, ...]]


@dataclass(frozen=True)
class Built:
    """The network of a state dict, with its keys, and what is known of its inputs and outputs.

    Attributes:
        network: channels first, in eval mode.
        shapes: of its inputs, without the batch.
        inputs, outputs: how ρ acts on each.
        notes: what was assumed, one line each.
    """

    network: Network
    shapes: tuple[Shape, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Preset:
    """A kind of network that people have.

    Attributes:
        name: what follows ``--arch``.
        description: one line for people.
        merge, final: how its conjoined form merges; None for ``final`` if nothing follows.
        build: from the tensors of a state dict and the arguments to the network; None if its files bring their
            network themselves.
        arguments: what ``build`` may be told, and what each means.
        say: the representations of the inputs and outputs of a file that brings its network, by the inputs' shapes;
            None if there are only state dicts.
    """

    name: str
    description: str
    merge: tuple[str, ...] = ("mean",)
    final: tuple[str, ...] | None = None
    build: Callable[[State, Arguments], Built] | None = None
    arguments: Mapping[str, str] | None = None
    say: Callable[[Sequence[Shape]], Representations] | None = None

    def network(self, state: Mapping[str, Tensor], arguments: Mapping[str, object] | None = None) -> Built | None:
        """The network of a state dict; None where this preset has no state dicts.

        Raises :class:`~rcproof.errors.CheckpointError` for tensors that do not fit, and for arguments that it does not
        take.
        """
        if self.build is None:
            return None
        said = Arguments(self.name, dict(arguments or {}), self.arguments or {})
        return self.build(State(self.name, state), said)

    def representations(self, shapes: Sequence[Shape] | None) -> Representations:
        """How ρ acts on each input and each output of a file that brings its network.

        ``shapes``: of its inputs, channels first. Raises :class:`~rcproof.errors.CheckpointError` if they do not fit.
        """
        if self.say is None:
            raise CheckpointError(
                f"--arch {self.name} is for state dicts", got="a file with its own network", fix="leave --arch out"
            )
        if shapes is None:
            raise CheckpointError(f"--arch {self.name}", got="a file that leaves the shapes of its inputs open")
        return self.say(shapes)


class Arguments:
    """What the user says of a state dict beyond its tensors, by name."""

    def __init__(self, arch: str, given: Mapping[str, object], known: Mapping[str, str]) -> None:
        self._arch, self._given = arch, given
        for name in given:
            if name not in known:
                raise CheckpointError(
                    f"--model-args of --arch {arch}",
                    got=repr(name),
                    expected="; ".join(f"{k}: {v}" for k, v in known.items()) or "none",
                )

    def whole(self, name: str, default: int, least: int = 0) -> int:
        """A whole number."""
        found = self._given.get(name, default)
        if isinstance(found, bool) or not isinstance(found, int) or not least <= found <= 1 << 24:
            raise CheckpointError(f"{name} of --arch {self._arch}", got=repr(found)[:60], expected="a whole number")
        return found

    def choice(self, name: str, default: str, known: Sequence[str]) -> str:
        """One of several words."""
        found = self._given.get(name, default)
        if found not in known:
            raise CheckpointError(f"{name} of --arch {self._arch}", got=repr(found)[:60], expected=" or ".join(known))
        return str(found)

    def has(self, name: str) -> bool:
        """Whether it was said."""
        return name in self._given


class State:
    """The tensors of a state dict, taken one by one as layers are made of them.

    Layers are made without memory and get the tensors themselves; whatever is left over at the end is an error.
    """

    def __init__(self, arch: str, tensors: Mapping[str, Tensor]) -> None:
        self.arch, self.tensors = arch, dict(tensors)
        self._taken: dict[str, Tensor] = {}

    @property
    def names(self) -> set[str]:
        """All keys but those of the counters that no answer depends on."""
        return {key for key in self.tensors if not key.endswith(".num_batches_tracked")}

    def error(self, what: str, got: object = None, expected: object = None, fix: str | None = None) -> CheckpointError:
        """An error that names the preset."""
        return CheckpointError(f"--arch {self.arch}: {what}", got=got, expected=expected, fix=fix)

    def shape(self, key: str, *expected: int | None) -> Shape:
        """The shape of a tensor, which must be of floating point and as ``expected`` (None: any size)."""
        found = self.tensors.get(key)
        if found is None:
            some = ", ".join(list(self.tensors)[:3]) or "none"
            raise self.error(f"the file has no tensor {key!r}", got=f"{len(self.tensors)} tensors: {some}, …")
        shape = tuple(found.shape)
        fits = len(shape) == len(expected) and all(e in (None, n) for n, e in zip(shape, expected, strict=True))
        if not fits or not found.is_floating_point() or 0 in shape:
            sizes = ", ".join("any" if e is None else str(e) for e in expected)
            raise self.error(
                f"tensor {key!r}",
                got=f"{str(found.dtype)[6:]} of shape {shape}",
                expected=f"numbers of shape ({sizes})",
            )
        return shape

    def conv(
        self, path: str, channels: int | None = None, width: int | None = None, groups: int = 1, **options: int
    ) -> nn.Conv1d:
        """The convolution at ``path``, on ``channels`` channels with ``width`` taps, if they are known.

        A two-dimensional one of height one is the one-dimensional one that it is.
        """
        key = f"{path}.weight"
        held = self.tensors.get(key)
        if held is not None and held.dim() == 4 and held.shape[2] == 1:
            self.tensors[key] = held.squeeze(2)
        inside = None if channels is None else channels // groups
        out, each, taps = self.shape(key, None, inside, width)
        if out % groups:
            raise self.error(f"tensor {key!r}", got=f"{out} filters", expected=f"a multiple of {groups}")
        bias = self._take(path, (out,))
        with torch.device("meta"):
            return nn.Conv1d(each * groups, out, taps, groups=groups, bias=bias, **options)  # type: ignore[arg-type]

    def linear(self, path: str, features: int | None = None, out: int | None = None) -> nn.Linear:
        """The dense layer at ``path``."""
        rows, columns = self.shape(f"{path}.weight", out, features)
        bias = self._take(path, (rows,))
        with torch.device("meta"):
            return nn.Linear(columns, rows, bias=bias)

    def norm(self, path: str, channels: int) -> nn.BatchNorm1d:
        """The batch norm at ``path``."""
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.shape(f"{path}.{name}", channels)
            self._taken[f"{path}.{name}"] = self.tensors[f"{path}.{name}"]
        counter = f"{path}.num_batches_tracked"
        self._taken[counter] = self.tensors.get(counter, torch.tensor(0))
        with torch.device("meta"):
            return nn.BatchNorm1d(channels)

    def _take(self, path: str, bias: Shape) -> bool:
        self._taken[f"{path}.weight"] = self.tensors[f"{path}.weight"]
        if f"{path}.bias" not in self.tensors:
            return False
        self.shape(f"{path}.bias", *bias)
        self._taken[f"{path}.bias"] = self.tensors[f"{path}.bias"]
        return True

    def network(self, graph: GraphBuilder, outputs: Sequence[Ref]) -> Network:
        """The network with the tensors in it; an error if the file has others too."""
        left = sorted(set(self.tensors) - set(self._taken))
        if left:
            raise self.error("the file has tensors that this network has no place for", got=", ".join(left[:5]))
        network = graph.network(outputs)
        network.load_state_dict(self._in_one_precision(), assign=True)
        return network

    def _in_one_precision(self) -> dict[str, Tensor]:
        """What was taken, in the widest precision there is, since torch does not mix them."""
        kinds = {t.dtype for t in self._taken.values() if t.is_floating_point()}
        if not kinds <= {torch.float16, torch.bfloat16, torch.float32, torch.float64}:
            told = ", ".join(sorted(map(str, kinds)))
            raise self.error("numbers", got=told, expected="half, single or double precision")
        if len(kinds) < 2:
            return self._taken
        wide = torch.float64 if torch.float64 in kinds else torch.float32
        return {key: t.to(wide) if t.is_floating_point() else t for key, t in self._taken.items()}


class Steps:
    """Layers and functions one after the other on one value, each at its path."""

    def __init__(self, graph: GraphBuilder, value: Ref) -> None:
        self.graph, self.value = graph, value

    def layer(self, path: str, layer: nn.Module) -> Steps:
        """Put a layer on what there is."""
        self.value = self.graph.module(path, layer, self.value)
        return self

    def call(self, function: str, *args: object) -> Steps:
        """Call a function on what there is."""
        self.value = self.graph.call(function, self.value, *args)
        return self


def lengths_for(outcome: int, steps: Sequence[tuple[str, int, int]]) -> tuple[int, int]:
    """The shortest and the longest length that ends as ``outcome`` positions.

    ``steps``, in their order: ``("conv", taps, 1)`` without padding, ``("pool", size, stride)``.
    """
    low = high = outcome
    for kind, size, stride in reversed(steps):
        if kind == "conv":
            low, high = low + size - 1, high + size - 1
        else:
            low, high = (low - 1) * stride + size, high * stride + size - 1
    return low, high


def roundest(low: int, high: int) -> int:
    """The roundest number from ``low`` to ``high``: what a length that nobody says is most likely to be."""
    for unit in (1000, 500, 200, 100, 50, 10, 5):
        if high // unit * unit >= low:
            return high // unit * unit
    return low


def chosen_length(state: State, said: Arguments, low: int, high: int) -> tuple[int, str]:
    """The length of the input among those that fit the dense layer, and a note on it."""
    length = said.whole("length", roundest(low, high), least=1)
    if not low <= length <= high:
        raise state.error("length", got=length, expected=f"{low} to {high}, which is what its dense layer was made for")
    how = "as you say" if said.has("length") else f"any from {low} to {high} fits"
    return length, f"inputs are taken to have {length} positions ({how})"
