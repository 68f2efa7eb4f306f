"""Steps drawn at random: what is let through does treat examples one by one, and its stacked form is its lift.

Every registered function is called with arguments of all kinds. Whatever the checker accepts is then computed with
numbers: on a batch at once and in parts, and on stacked tensors and strand by strand.
"""

from __future__ import annotations

import random
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rcproof.checking.examples import follow
from rcproof.checking.layers import _LAYERS, is_ordinary, layer_purity, shaped
from rcproof.checking.stacked import check_stacked
from rcproof.checking.traces import Refusal, Traced
from rcproof.network.graph import Graph, Node, Ref, map_refs
from rcproof.network.ops import OPS
from rcproof.network.plan import STACKED
from rcproof.nn import Recurrent, WeightedSum1d
from rcproof.nn.base import flip_strand
from rcproof.strand import stack
from tests.checking.forging import one_line

SEED = 6
X, Y, Z, T, W, TABLE, MATRIX, COUNT, CODES = (
    Ref(n) for n in ("x", "y", "z", "t", "w", "table", "matrix", "count", "codes")
)  # fmt: skip
SHAPES = {"x": (4, 6), "y": (4, 6), "z": (1, 6), "t": (6, 4), "codes": (6,)}
FREE = {"w": (4, 6), "table": (5, 3), "matrix": (6, 4)}

functions = sorted({op.function: name for name, op in OPS.items() if not op.inplace and op.family != "size"}.values())


def draw_argument(draw: random.Random) -> Any:
    kinds: list[Callable[[], Any]] = [
        lambda: draw.randint(-3, 3), lambda: draw.randint(0, 2), lambda: draw.choice([0.5, 2.0, None, True, False]),
        lambda: draw.choice([X, Y, W]), lambda: draw.choice([(0,), (1,), (2,), (1, 2), (2, 1), (0, 2), (1, 1)]),
        lambda: [draw.randint(0, 3) for _ in range(draw.randint(1, 3))], lambda: (X, draw.choice([Y, W, X])),
        lambda: COUNT,
    ]  # fmt: skip
    return draw.choice(kinds)()


def draw_call(name: str, draw: random.Random) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments of any kind; for some functions of the kind that they take."""
    family, last = OPS[name].family, name.rpartition(".")[2]
    args: list[Any] = [draw_argument(draw) for _ in range(draw.randint(0, 2))]
    kwargs: dict[str, Any] = {}
    first: Any = draw.choice([X, X, X, X, Z, Z, W, (X, Y), [X, X, Y]])
    if last in ("cat", "concat", "concatenate", "stack"):
        first, args = draw.choice([[X, Y], (X, X, Z), [W, W], [X, W]]), [draw.randint(-3, 3)] * draw.randint(0, 1)
    if last == "getitem":
        pick = [slice(None), slice(1, None), slice(None, -1), 0, None, Ellipsis, slice(None, None, 2), slice(0, COUNT)]
        args = [draw.choice([tuple(draw.choice(pick) for _ in range(draw.randint(1, 4))), 0, slice(None), X])]
    elif last == "einsum":
        one, two = ("".join(draw.choice("ncl") for _ in range(3)) for _ in range(2))
        out = "".join(draw.sample("ncl", draw.randint(1, 3)))
        first, args = (
            draw.choice([f"{one},{two}->{out}", f"ncl,ncl->{out}", f"ncl->{out}"]),
            [X, draw.choice([X, Y, W])],
        )
        args = args[: first.count(",") + 1]
    elif family in ("matmul", "attention"):
        first, args = (
            draw.choice([X, T, W, Z, MATRIX]),
            [draw.choice([X, T, W, Z, MATRIX]) for _ in range(draw.randint(1, 2))],
        )
    elif family == "permute" and draw.random() < 0.8:
        first, args = (
            draw.choice([X, Z]),
            draw.choice([[draw.randint(-3, 2), draw.randint(-3, 2)], draw.sample(range(3), 3)]),
        )
        args = [tuple(args)] if draw.random() < 0.3 else args
    elif last in ("embedding", "one_hot"):
        first, args = draw.choice([CODES, TABLE, X]), [draw.choice([TABLE, 5, -1, X, CODES])]
    elif last in ("expand", "repeat", "reshape", "view", "tile") and draw.random() < 0.7:
        args = [draw.choice([COUNT, -1, 4, 1, 2]) for _ in range(draw.randint(2, 4))]
    elif last in ("zeros", "ones", "full", "new_zeros", "new_ones", "new_full", "empty", "arange", "eye"):
        sizes = tuple(draw.choice([COUNT, 3, 1]) for _ in range(2))
        args = [sizes] + [draw.choice([2.0, COUNT])] * last.endswith("full")
        first = draw.choice([X, W])
        if not last.startswith("new_"):
            first = args.pop(0)
    elif draw.random() < 0.4:
        kwargs[draw.choice(["dim", "axis", "dims", "keepdim", "dim0", "dim1", "other", "index", "out"])] = (
            args.pop() if args else draw.randint(-3, 2)
        )
    return (first, *args), kwargs


def graph_of(target: str, args: Any, kwargs: Any) -> Graph:
    nodes = [Node(n, "input") for n in SHAPES] + [Node(n, "tensor", n) for n in FREE]
    nodes.append(Node("count", "call", "Tensor.size", (X, 0)))
    nodes.append(Node("step", "call", target, args, kwargs))
    return Graph(nodes, ["step"])


def traced(graph: Graph) -> dict[str, Traced]:
    tensors = {n: torch.empty(s, device="meta") for n, s in FREE.items()}
    return follow(graph, {}, tensors, list(SHAPES.values()), [n == "codes" for n in SHAPES])


def numbers(batch: int, seed: int = 0) -> dict[str, Any]:
    """Values in the domain of every function."""
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, Any] = {
        n: torch.rand(batch, *s, generator=generator, dtype=torch.float64) * 0.8 + 0.1 for n, s in SHAPES.items()
    }
    found["codes"] = torch.randint(5, (batch, 6), generator=generator)
    generator.manual_seed(99)
    free = {n: torch.rand(s, generator=generator, dtype=torch.float64) * 0.8 + 0.1 for n, s in FREE.items()}
    return {**found, **free, "count": batch}


def part(values: dict[str, Any], start: int, stop: int) -> dict[str, Any]:
    return {n: v[start:stop] if n in SHAPES else stop - start if n == "count" else v for n, v in values.items()}


def called(target: str, args: Any, kwargs: Any, values: dict[str, Any]) -> Any:
    args, kwargs = map_refs((args, kwargs), lambda r: values[r.name])
    return OPS[target].function(*args, **kwargs)


def parts_agree(whole: Any, parts: list[Any], trace: Traced) -> bool:
    """Whether the whole is the parts, side by side along the axis of the examples; free values are equal."""
    if trace.items is not None:
        return all(
            parts_agree(w, [p[i] for p in parts], t) for i, (w, t) in enumerate(zip(whole, trace.items, strict=True))
        )
    if not isinstance(whole, Tensor):
        return trace.varies or all(p == whole for p in parts)
    if trace.axis is None:
        return all(alike(p, whole) for p in parts)
    return alike(torch.cat(parts, dim=trace.axis), whole)


def alike(a: Tensor, b: Tensor) -> bool:
    """Some functions are asked for what they have no number for; they must then have none in either."""
    return a.shape == b.shape and torch.allclose(a.double(), b.double(), rtol=1e-12, atol=1e-12, equal_nan=True)


def accepted() -> Iterator[tuple[str, Any, Any, Traced]]:
    draw = random.Random(SEED)
    for name in functions:
        for _ in range(4 if OPS[name].family == "pointwise" else 40):
            args, kwargs = draw_call(name, draw)
            graph = graph_of(name, args, kwargs)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    yield name, args, kwargs, traced(graph)["step"]
                except Refusal as refusal:
                    one_line(str(refusal))


def test_functions_that_are_let_through_treat_examples_one_by_one() -> None:
    families: Counter[str] = Counter()
    values = numbers(4)
    for name, args, kwargs, trace in accepted():
        what = f"{name}{args} {kwargs}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                whole = called(name, args, kwargs, values)
                parts = [called(name, args, kwargs, part(values, *ends)) for ends in ((0, 1), (1, 4))]
            except (RuntimeError, IndexError, TypeError, NotImplementedError):
                continue  # it runs without numbers and not with them: nobody can use it
        if not trace.carries and trace.tensors:
            assert all(alike(a, b) for a, b in zip(flat(whole), flat(parts[0]), strict=True)), what
            continue
        assert parts_agree(whole, parts, trace), what
        families[OPS[name].family] += trace.carries
    assert all(families[f] >= 1 for f in {OPS[n].family for n in functions} - {"scalar"}), families


def flat(value: Any) -> list[Tensor]:
    return (
        [value]
        if isinstance(value, Tensor)
        else [t for v in value for t in flat(v)]
        if isinstance(value, tuple | list)
        else []
    )


def test_stacked_forms_that_are_let_through_are_lifts() -> None:
    """stack(a, b) goes to stack(g(a), g(b)), whatever g the checker lets run on stacked tensors."""
    forms: Counter[str] = Counter()
    a, b = numbers(4, 0), numbers(4, 1)
    pair = {**a, **{n: stack(a[n], b[n]) for n in ("x", "y", "z")}}
    draw = random.Random(SEED)
    for name, args, kwargs, _ in accepted():
        for form in ("same", "cat", "flatten", "crop", "tied"):
            args2 = args
            if name == "operator.getitem" and draw.random() < 0.7:
                args2 = (
                    X,
                    (slice(None), slice(None), slice(draw.choice([None, 1, -4, 0]), draw.choice([None, 5, -1]))),
                )
            elif OPS[name].family in ("reshape",) and draw.random() < 0.7:
                args2 = (X, draw.choice([(4, -1), (-1, 24), (COUNT, -1)])) if "flatten" not in name else (X, 1)
            graph = graph_of(name, args2, kwargs)
            node = graph.nodes[-1]
            node.stacked = form
            try:
                known = traced(graph)
                check_stacked(node, known, {}, {})
            except Refusal:
                continue
            run = STACKED.get(form, OPS[name].function)
            try:
                want = [called(name, args2, kwargs, v) for v in (a, b)]
            except (RuntimeError, NotImplementedError):
                continue
            got = run(*map_refs(node.args, lambda r: pair[r.name]), **map_refs(kwargs, lambda r: pair[r.name]))
            assert got.shape[1] == 2 * want[0].shape[1]
            both = torch.cat([want[0], flip_strand(want[1])], dim=1)
            assert alike(got, both), f"{name}{args2} {kwargs} as {form}"
            forms[form] += 1
    assert set(forms) == {"same", "cat", "flatten", "crop"}, forms
    assert min(forms.values()) >= 3, forms


# -- layers -----------------------------------------------------------------------------------------------------------

LAYERS: dict[tuple[int, ...], list[Callable[[], nn.Module]]] = {
    (4, 6): [
        lambda: nn.Linear(6, 3), lambda: nn.Conv1d(4, 3, 2), lambda: nn.ConvTranspose1d(4, 3, 2),
        lambda: nn.BatchNorm1d(4), lambda: nn.GroupNorm(2, 4), lambda: nn.BatchNorm1d(4, track_running_stats=False),
        lambda: nn.InstanceNorm1d(4, affine=True), lambda: nn.LayerNorm(6), lambda: nn.LayerNorm([4, 6]),
        lambda: nn.RMSNorm(6), lambda: nn.MaxPool1d(2), lambda: nn.AvgPool1d(3, 2, 1, True, False),
        lambda: nn.LPPool1d(2, 2), lambda: nn.AdaptiveAvgPool1d(2), lambda: nn.AdaptiveMaxPool1d(3),
        lambda: nn.Upsample(scale_factor=2), lambda: nn.Softmax(0), lambda: nn.Softmax(1), lambda: nn.GLU(1),
        lambda: nn.LogSoftmax(-3), lambda: nn.PReLU(4), lambda: nn.ChannelShuffle(2), lambda: nn.ELU(),
        lambda: nn.Unflatten(1, (2, 2)), lambda: nn.Flatten(), lambda: nn.Flatten(0, 1), lambda: nn.Flatten(-1),
        lambda: nn.Unflatten(0, (1, -1)),
        lambda: nn.ReflectionPad1d(2), lambda: nn.CircularPad1d(2), lambda: nn.RNN(6, 3, batch_first=True),
        lambda: nn.LSTM(6, 3, 2, bidirectional=True, proj_size=2), lambda: nn.GRU(6, 3, batch_first=True),
        lambda: nn.MultiheadAttention(6, 2, batch_first=True), lambda: nn.TransformerEncoderLayer(6, 2, 8),
        lambda: nn.TransformerEncoderLayer(6, 2, 8, batch_first=True), lambda: nn.Dropout(),
        lambda: Recurrent(4, 3, "lstm", reverse=True), lambda: WeightedSum1d(4, 6, bias=True),
        lambda: nn.Bilinear(6, 6, 2),
    ],
    (6,): [
        lambda: nn.BatchNorm1d(6), lambda: nn.Softmax(-1),
    ],
    (2, 4, 6): [
        lambda: nn.Conv2d(2, 3, 2), lambda: nn.BatchNorm2d(2), lambda: nn.MaxPool2d(2),
        lambda: nn.BatchNorm2d(2, track_running_stats=False), lambda: nn.AdaptiveMaxPool2d(2),
    ],
}  # fmt: skip


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_layers_that_are_let_through_treat_examples_one_by_one(axis: int) -> None:
    """With the examples on any axis."""
    count = 0
    for make, shape in [(make, shape) for shape, several in LAYERS.items() for make in several]:
        torch.manual_seed(0)
        layer = make().double().eval()
        several = 3 if isinstance(layer, nn.MultiheadAttention) else 2 if isinstance(layer, nn.Bilinear) else 1
        move = Node("moved", "call", "torch.movedim", (X, 0, min(axis, len(shape))))
        step = Node("step", "module", "layer", (Ref("moved"),) * several)
        graph = Graph([Node("x", "input"), move, step], ["step"])
        try:
            trace = follow(graph, {"layer": layer.to("meta")}, {}, [shape], [False])["step"]
        except Refusal:
            continue
        assert is_ordinary(layer) and not layer_purity(layer)
        torch.manual_seed(0)
        layer = make().double().eval()
        x = torch.rand(4, *shape, dtype=torch.float64).movedim(0, min(axis, len(shape)))
        with torch.no_grad():
            whole = layer(*(x,) * several)
            parts = [layer(*(p,) * several) for p in x.split([1, 3], dim=min(axis, len(shape)))]
            shapes = shaped(make().eval().to("meta"), *(x.float().to("meta"),) * several)
        assert parts_agree(whole, parts, trace), layer
        assert [t.shape for t in flat(shapes)] == [t.shape for t in flat(whole)]
        count += 1
    assert count >= (30 if axis == 0 else 5)


def test_every_kind_of_layer_is_tried() -> None:
    tried = {type(make()) for several in LAYERS.values() for make in several}
    pointwise = {cls for cls in _LAYERS if _LAYERS[cls] is _LAYERS[nn.ReLU]}
    like_others = {
        nn.ConstantPad1d, nn.ZeroPad1d, nn.ReplicationPad1d, nn.Softmin, nn.AvgPool2d, nn.AdaptiveAvgPool2d,
        nn.Embedding,
    }  # fmt: skip
    assert set(_LAYERS) <= tried | pointwise | like_others


def test_shapes_of_recurrent_layers_are_checked() -> None:
    x, h, c = (torch.empty(shape, device="meta") for shape in ((5, 4, 6), (1, 5, 3), (1, 5, 4)))
    for layer, args in (
        (nn.LSTM(7, 3, batch_first=True), (x,)), (nn.GRU(6, 3, batch_first=True), (x, x)), (nn.RNN(6, 3), (x[:, 0],)),
        (nn.LSTM(6, 3, batch_first=True), (x, (h, c))), (Recurrent(5, 3, "gru"), (x,)),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="shape"):
            shaped(layer, *args)
