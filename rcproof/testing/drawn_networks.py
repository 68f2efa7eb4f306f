"""A hypothesis strategy for whole networks: any layers in any order, over any representations."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import hypothesis.strategies as st
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rcproof.conjoined import Conjoined
from rcproof.strand import Representation
from rcproof.testing.drawn_strands import representations
from rcproof.testing.drawn_values import MAX_LENGTH, seeds
from rcproof.testing.values import randomise
from rcproof.verify.inputs import draw_inputs

ACTIVATIONS: dict[str, Any] = {
    "relu": lambda x: x.relu(),
    "F.gelu": F.gelu,
    "tanh": torch.tanh,
    "scaled": lambda x: 0.5 * x - 0.25,
    "softmax of channels": lambda x: x.softmax(dim=1),
    "softmax of positions": lambda x: F.softmax(x, dim=-1),
    "gate": lambda x: x * x.mean(-1, keepdim=True).sigmoid(),
    "in place": lambda x: x.clone().clamp_(-1.0, 2.0).add_(0.1),
}
MODULES: dict[str, Any] = {
    "ReLU": nn.ReLU, "ReLU in place": lambda: nn.ReLU(inplace=True), "ELU": nn.ELU, "Sigmoid": nn.Sigmoid,
    "Dropout": nn.Dropout, "Dropout1d": nn.Dropout1d, "Identity": nn.Identity,
}  # fmt: skip


@dataclass
class Step:
    """``kind`` applied to earlier values; layers by name, numbers as data."""

    kind: str
    args: tuple[int, ...]
    layer: str = ""
    numbers: tuple[Any, ...] = ()


@dataclass
class Value:
    """The shape of one value, without the batch."""

    channels: int
    length: int  # 0 for a vector


@dataclass
class DrawnNetwork:
    """A network with random weights, in float64 and eval mode, and what is to be known of it.

    Attributes:
        net: takes ``len(shapes)`` tensors and returns a tensor or a tuple. ``networks`` draws an ordinary network of
            one strand, ``conjoined`` a :class:`~rcproof.conjoined.Conjoined` one.
        shapes: of each input of one example: (C, L) or (C,).
        inputs, outputs: how ρ acts on each when the network is conjoined.
        merge: how the strands' answers are merged, for each output.
        steps: what the network does, for the printed example of a failure.

    >>> from hypothesis import find
    >>> drawn = find(networks(), lambda drawn: True)
    >>> len(drawn.shapes) == len(drawn.inputs)
    True
    """

    net: nn.Module
    shapes: list[tuple[int, ...]]
    inputs: list[Representation]
    outputs: list[Representation]
    merge: list[str]
    steps: list[Step] = field(default_factory=list)

    def __repr__(self) -> str:
        lines = [f"inputs {', '.join(f'{s} {r}' for s, r in zip(self.shapes, self.inputs, strict=True))}"]
        lines += [f"{i + len(self.shapes)}: {s.kind} {s.args} {s.numbers}" for i, s in enumerate(self.steps)]
        layers = [f"{name}: {layer}" for name, layer in self.net.named_children()]
        return "\n".join([*lines, *layers, f"outputs {self.outputs}, merged by {self.merge}"])

    def draw(self, seed: int, batch: int = 2) -> tuple[Tensor, ...]:
        """Random inputs that the network takes."""
        (case,) = draw_inputs(self.shapes, self.inputs, kinds=("random",), batch=batch, seed=seed)
        return case.tensors

    def conjoined(self) -> Conjoined:
        """The network on both strands, merged; in eval mode, its weights shared."""
        return Conjoined(self.net, self.inputs, self.outputs, self.merge).eval()


class Net(nn.Module):
    """Runs the steps of a program. (``forward`` takes *args: some programs have more inputs than others.)"""

    def __init__(self, steps: list[Step], layers: dict[str, nn.Module], outputs: list[int]) -> None:
        super().__init__()
        self.steps, self.results = steps, outputs
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, *xs: Tensor) -> Any:
        values = list(xs)
        for step in self.steps:
            values.append(self._do(step, [values[i] for i in step.args]))
        found = [values[i] for i in self.results]
        return found[0] if len(found) == 1 else tuple(found)

    def _do(self, step: Step, xs: list[Tensor]) -> Tensor:
        x = xs[0]
        if step.kind == "layer":
            return getattr(self, step.layer)(x)
        if step.kind == "function":
            return ACTIVATIONS[step.numbers[0]](x)
        if step.kind == "crop":
            start, stop = step.numbers
            return x[:, :, start:stop]
        if step.kind == "add":
            return x + xs[1]
        if step.kind == "cat":
            return torch.cat(xs, dim=1)
        if step.kind == "mean":
            return x.mean(2)
        if step.kind == "max":
            return x.max(dim=2).values
        if step.kind == "scale":  # by a vector
            return x * xs[1].unsqueeze(-1)
        assert step.kind == "flatten"
        return x.flatten(1)


class _Draw:
    """Grows a program, one step that its values allow at a time."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.values: list[Value] = []
        self.layers: dict[str, nn.Module] = {}
        self.steps: list[Step] = []
        self.shapes: list[tuple[int, ...]] = []
        self.inputs: list[Representation] = []

    def number(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def input(self, length: int | None = None) -> int:
        assert not self.steps
        channels = self.draw(st.sampled_from((4, 4, 1, 2, 3, 5)))
        shape = (channels,) if length is None else (channels, length)
        self.shapes.append(shape)
        self.inputs.append(self.draw(representations(channels)))
        self.values.append(Value(channels, length or 0))
        return len(self.values) - 1

    def step(
        self, kind: str, args: tuple[int, ...], value: Value, layer: nn.Module | None = None, *numbers: Any
    ) -> int:
        name = ""
        if layer is not None:
            name = f"layer{len(self.layers)}"
            self.layers[name] = layer
        self.steps.append(Step(kind, args, name, numbers))
        self.values.append(value)
        return len(self.values) - 1

    def profile(self) -> int:
        """A value with positions; the first input is one."""
        found = [i for i, v in enumerate(self.values) if v.length]
        return self.draw(st.sampled_from(found[-4:]))

    def any(self, positions: bool) -> int | None:
        found = [i for i, v in enumerate(self.values) if bool(v.length) == positions]
        return self.draw(st.sampled_from(found[-4:])) if found else None

    def measured(self, i: int, layer: nn.Module) -> Value | None:
        """What a layer makes of a value, or None if it refuses or makes nothing of it."""
        v = self.values[i]
        rows = 13  # of which no layer takes them for channels
        shape = (rows, v.channels, v.length) if v.length else (rows, v.channels)
        try:
            y = layer.eval()(torch.zeros(shape))
        except (RuntimeError, ValueError):
            return None
        if not y.numel() or y.shape[0] != rows:
            return None
        return Value(y.shape[1], y.shape[2] if y.dim() == 3 else 0)

    def fresh(self, i: int) -> bool:
        """Whether a value may be written into: nothing else is a view of it, and it is a view of nothing."""
        if i < len(self.shapes) or i < len(self.values) - 1:
            return False
        step = self.steps[i - len(self.shapes)]
        views = (nn.Identity, nn.Dropout, nn.Dropout1d)
        return step.kind in ("add", "cat") or (step.kind == "layer" and not isinstance(self.layers[step.layer], views))

    # -- one kind of step each ----------------------------------------------------------------------
    def conv(self) -> None:
        i = self.profile()
        channels = self.values[i].channels
        groups = self.draw(st.sampled_from([g for g in (1, 1, 1, 2, 3) if channels % g == 0]))
        padding = self.draw(st.sampled_from(("valid", "same", "int", "int")))
        options: dict[str, Any] = {
            "stride": 1 if padding == "same" else self.number(1, 4),
            "padding": self.number(0, 5) if padding == "int" else padding,
            "dilation": self.number(1, 4),
            "groups": groups,
            "bias": self.draw(st.booleans()),
            "padding_mode": self.draw(st.sampled_from(("zeros", "zeros", "zeros", "circular", "reflect", "replicate"))),
        }
        self.layer(i, nn.Conv1d(channels, groups * self.number(1, 3), self.number(1, 9), **options))

    def transposed(self) -> None:
        i = self.profile()
        channels = self.values[i].channels
        if self.values[i].length > 60:
            return
        groups = self.draw(st.sampled_from([g for g in (1, 1, 2) if channels % g == 0]))
        stride = self.number(1, 3)
        extra: dict[str, Any] = {
            "stride": stride,
            "padding": self.number(0, 3),
            "output_padding": self.number(0, stride - 1),
        }
        self.layer(
            i, nn.ConvTranspose1d(channels, groups * self.number(1, 3), self.number(1, 6), groups=groups, **extra)
        )

    def norm(self) -> None:
        i = self.any(self.draw(st.booleans()))
        if i is None:
            return
        v = self.values[i]
        choices: list[nn.Module] = [nn.BatchNorm1d(v.channels)] * 2
        if v.length > 1:
            choices += [nn.LayerNorm(v.length), nn.LayerNorm([v.channels, v.length])]
        if v.length * v.channels > 2:
            choices.append(nn.GroupNorm(1, v.channels))
        if v.length > 2:
            choices.append(nn.InstanceNorm1d(v.channels, affine=True, track_running_stats=self.draw(st.booleans())))
        self.layer(i, self.draw(st.sampled_from(choices)))

    def pool(self) -> None:
        i = self.profile()
        kernel, ceil = self.number(1, 9), self.draw(st.booleans())
        stride, padding = self.draw(st.none() | st.integers(1, 4)), self.number(0, kernel // 2)
        size = self.number(1, 12)
        choices = [
            nn.MaxPool1d(kernel, stride, padding, self.number(1, 4), ceil_mode=ceil),
            nn.AvgPool1d(kernel, stride or kernel, padding, ceil, self.draw(st.booleans())),
            nn.AdaptiveMaxPool1d(size),
            nn.AdaptiveAvgPool1d(size),
        ]
        self.layer(i, self.draw(st.sampled_from(choices)))

    def act(self) -> None:
        i = self.any(self.draw(st.booleans()))
        if i is None:
            return
        if self.draw(st.booleans()):
            name = self.draw(st.sampled_from(sorted(MODULES)))
            if name == "ReLU in place" and not self.fresh(i):
                return
            self.layer(i, MODULES[name]())
        else:
            self.step("function", (i,), self.values[i], None, self.draw(st.sampled_from(sorted(ACTIVATIONS))))

    def crop(self) -> int:
        i = self.profile()
        return self.cropped(i, self.number(1, self.values[i].length))

    def cropped(self, i: int, length: int) -> int:
        v = self.values[i]
        start = self.number(0, v.length - length)
        if v.length == length and not start and self.draw(st.booleans()):
            return i
        numbers = (start - v.length if start and self.draw(st.booleans()) else start, start + length)
        return self.step("crop", (i,), Value(v.channels, length), None, *numbers)

    def residual(self) -> None:
        i, j = self.profile(), self.profile()
        a, b = self.values[i], self.values[j]
        if a.channels != b.channels:
            return
        length = min(a.length, b.length)
        pair = self.cropped(i, length), self.cropped(j, length)
        self.step("add", pair, Value(a.channels, length))

    def join(self) -> None:
        found = [self.profile(), self.profile()]
        length = min(self.values[i].length for i in found)
        parts = tuple(self.cropped(i, length) for i in found)
        channels = sum(self.values[i].channels for i in parts)
        if channels <= 12:
            self.step("cat", parts, Value(channels, length))

    def pooled(self) -> None:
        i = self.profile()
        v = self.values[i]
        kind = self.draw(st.sampled_from(("mean", "max", "flatten")))
        if kind == "flatten" and v.channels * v.length > 200:
            return
        self.step(kind, (i,), Value(v.channels * (v.length if kind == "flatten" else 1), 0))

    def scale(self) -> None:
        i, j = self.profile(), self.any(False)
        if j is not None and self.values[i].channels == self.values[j].channels:
            self.step("scale", (i, j), self.values[i])

    def dense(self) -> None:
        i = self.any(False)
        if i is not None:
            self.layer(i, nn.Linear(self.values[i].channels, self.number(1, 5), self.draw(st.booleans())))

    def again(self) -> None:
        """A layer called a second time, on whatever it accepts."""
        i = self.any(self.draw(st.booleans()))
        if i is None or not self.layers:
            return
        name = self.draw(st.sampled_from(sorted(self.layers)))
        inplace = getattr(self.layers[name], "inplace", False)
        value = None if inplace and not self.fresh(i) else self.measured(i, self.layers[name])
        if value is not None:
            self.steps.append(Step("layer", (i,), name))
            self.values.append(value)

    def layer(self, i: int, layer: nn.Module) -> None:
        value = self.measured(i, layer)
        if value is not None:
            self.step("layer", (i,), value, layer)


KINDS = ("conv", "conv", "transposed", "norm", "pool", "act", "act", "crop", "residual", "join", "pooled", "scale",
         "dense", "again")  # fmt: skip


@st.composite
def networks(draw: st.DrawFn, max_steps: int = 9) -> DrawnNetwork:
    """An ordinary network: up to ``max_steps`` layers and functions in any order, with residuals.

    Convolutions with any option, norms, poolings that need not align, crops, dense layers, layers called twice; one or
    two sequences or control tracks and perhaps a vector come in. Weights and running statistics are random.

    >>> from hypothesis import given, settings
    >>> @settings(max_examples=5, deadline=None)
    ... @given(networks(max_steps=3), seeds)
    ... def finite(drawn, seed):
    ...     ys = drawn.net(*drawn.draw(seed))
    ...     assert all(y.isfinite().all() for y in (ys if isinstance(ys, tuple) else (ys,)))
    >>> finite()
    """
    d = _Draw(draw)
    length = draw(st.integers(1, MAX_LENGTH))
    d.input(length)
    if draw(st.booleans()):  # a control track
        d.input(max(1, length - draw(st.integers(0, 20))))
    if draw(st.integers(0, 3)) == 0:  # metadata
        d.input()
    d.conv()
    for kind in draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=max_steps)):
        getattr(d, kind)()
    if not d.steps:
        d.step("function", (0,), d.values[0], None, "tanh")
    made = range(len(d.shapes), len(d.values))
    results = draw(st.lists(st.sampled_from(made), min_size=1, max_size=2, unique=True))
    if len(d.values) - 1 not in results:
        results.append(len(d.values) - 1)
    outputs, merges = [], []
    for i in results:
        outputs.append(draw(representations(d.values[i].channels)))
        signed = -1 in (outputs[-1].signs or ())
        merges.append(draw(st.sampled_from(("mean", "sum") if signed else ("mean", "sum", "max"))))
    net = randomise(Net(d.steps, d.layers, results), draw(seeds)).eval()
    for p in net.parameters():  # sums of many terms stay about one
        p.data.div_(max(p[0].numel(), 1) ** 0.5 if p.dim() > 1 else 1.0)
    return DrawnNetwork(net, d.shapes, d.inputs, outputs, merges, d.steps)


@st.composite
def conjoined(draw: st.DrawFn, max_steps: int = 9) -> DrawnNetwork:
    """A network of :func:`networks`, conjoined: equivariant by construction, whatever it computes.

    >>> from hypothesis import given, settings
    >>> from rcproof import check_equivariance
    >>> @settings(max_examples=5, deadline=None)
    ... @given(conjoined(max_steps=2), seeds)
    ... def equivariant(drawn, seed):
    ...     options = {"tolerance": 1e-9, "allow_constant": True}
    ...     assert check_equivariance(drawn.net, drawn.draw(seed), drawn.inputs, drawn.outputs, **options).passed
    >>> equivariant()
    """
    drawn = draw(networks(max_steps))
    return replace(drawn, net=drawn.conjoined())
