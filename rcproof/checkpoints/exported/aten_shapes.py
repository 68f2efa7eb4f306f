"""Functions of aten that change shapes, make constants, or do nothing in a network that only answers."""

from __future__ import annotations

from typing import Any

from rcproof.checkpoints.exported.aten import rule
from rcproof.checkpoints.exported.program import Args, Program
from rcproof.checkpoints.importing import Const, Made
from rcproof.network.graph import Ref


@rule("contiguous clone detach alias lift_fresh lift_fresh_copy lift positive")
def same(p: Program, a: Args) -> Any:
    """Nothing happens to the values."""
    return a("self")


@rule("dropout feature_dropout alpha_dropout feature_alpha_dropout native_dropout")
def dropout(p: Program, a: Args) -> Any:
    """Nothing happens in eval mode."""
    x = a("input")
    a("p")
    if a("train"):
        raise a.refuse("a dropout that is on", "a network in eval mode", "call .eval() before exporting")
    return x


@rule("to _to_copy type_as")
def to(p: Program, a: Args) -> Any:
    """Another dtype; where it lies is not the network's business."""
    x, other = a("self"), a("other", None)
    dtype = a("dtype", None)
    if isinstance(other, Ref | Const):
        return p.call("Tensor.type_as", x, other)
    return x if dtype is None else p.call("Tensor.to", x, dtype)


@rule("sym_size size")
def size(p: Program, a: Args) -> Any:
    return p.size(a("self"), a("dim"))


@rule("sym_numel numel")
def numel(p: Program, a: Args) -> Any:
    return p.call("Tensor.numel", a("self"))


@rule("permute")
def permute(p: Program, a: Args) -> Any:
    return p.permute(a("self"), a("dims"))


@rule("transpose swapaxes swapdims")
def transpose(p: Program, a: Args) -> Any:
    x = a("self")
    order = list(range(p.rank(x)))
    first, second = (p.axis(d, len(order)) for d in (_either(a, "dim0", "axis0"), _either(a, "dim1", "axis1")))
    order[first], order[second] = second, first
    return p.permute(x, order)


def _either(a: Args, one: str, two: str) -> Any:
    return a(one) if one in a.values else a(two)


@rule("t mT numpy_T")
def matrix(p: Program, a: Args) -> Any:
    x = a("self")
    order = list(range(p.rank(x)))
    order[-2:] = order[-2:][::-1]
    return p.permute(x, order)


@rule("movedim moveaxis")
def movedim(p: Program, a: Args) -> Any:
    x = a("self")
    rank = p.rank(x)
    source, place = ([v] if isinstance(v, int) else list(v) for v in (a("source"), a("destination")))
    moved = {p.axis(d, rank): p.axis(s, rank) for s, d in zip(source, place, strict=True)}
    rest = iter(d for d in range(rank) if d not in moved.values())
    return p.permute(x, [moved[d] if d in moved else next(rest) for d in range(rank)])


@rule("unsqueeze")
def unsqueeze(p: Program, a: Args) -> Any:
    return p.unsqueeze(a("self"), a("dim"))


@rule("squeeze")
def squeeze(p: Program, a: Args) -> Any:
    """Without axes it drops all of size 1, which the program knows."""
    x, dims = a("self"), a("dim", None)
    sizes = p.known(x)
    if dims is None:
        if sizes is None:
            raise a.refuse("no axes to drop")
        dims = [i for i, n in enumerate(sizes) if n == 1]
    dims = [dims] if isinstance(dims, int) else dims
    if sizes is not None:  # an axis of another size stays
        dims = [d for d in dims if sizes[p.axis(d, len(sizes))] == 1]
    return p.squeeze(x, dims)


@rule("view reshape _unsafe_view view_as reshape_as")
def reshape(p: Program, a: Args) -> Any:
    x, other = a("self"), a("other", None)
    if isinstance(other, Ref | Const):
        return p.call("Tensor.reshape_as", x, other)
    target = a("size", None)
    target = a("shape") if target is None else target
    return p.reshape(x, target, p.meta(p.output))


@rule("as_strided")
def as_strided(p: Program, a: Args) -> Any:
    """Only where it changes nothing."""
    x, target, strides = a("self"), a("size"), a("stride")
    sizes, held = p.meta(p.output), p.known(x)
    step: Any = 1
    for i in range(len(target) - 1, -1, -1):
        if sizes is None or (sizes[i] != 1 and strides[i] != step):
            raise a.refuse("a view of memory", "a view of values")
        length = sizes[i]
        step = step * length if isinstance(step, int) and isinstance(length, int) else None
    if sizes != held or a("storage_offset", None) not in (None, 0):
        raise a.refuse("a view of memory", "a view of values")
    return x


@rule("flatten")
def flatten(p: Program, a: Args) -> Any:
    x = a("self")
    start, end = a("start_dim", 0), a("end_dim", -1)
    sizes = p.meta(p.output)
    made = p.call("torch.flatten", x, start, *([] if end == -1 else [end]))
    return p.put(made, sizes, Made("reshape", x))


@rule("unflatten")
def unflatten(p: Program, a: Args) -> Any:
    return p.call("Tensor.unflatten", a("self"), a("dim"), tuple(a("sizes")))


@rule("expand expand_as")
def expand(p: Program, a: Args) -> Any:
    x, other = a("self"), a("other", None)
    if isinstance(other, Ref | Const):
        return p.call("Tensor.expand_as", x, other)
    return p.expand(x, a("size"), p.meta(p.output))


@rule("repeat")
def repeat(p: Program, a: Args) -> Any:
    x, repeats = a("self"), a("repeats")
    return p.put(p.call("Tensor.repeat", p.ref(x), *repeats), p.meta(p.output), Made("repeat", x))


@rule("slice")
def crop(p: Program, a: Args) -> Any:
    return p.slice(a("self"), a("dim", 0), a("start", None), a("end", None), a("step", 1))


@rule("index")
def index(p: Program, a: Args) -> Any:
    """Only by one list of positions along one axis."""
    x, indices = a("self"), a("indices")
    given = [(dim, i) for dim, i in enumerate(indices) if i is not None]
    if len(given) != 1 or p.rank(given[0][1]) != 1:
        raise a.refuse("an index of several axes", "one list of positions along one axis")
    return p.call("torch.index_select", x, *given[0])


@rule("split_with_sizes split")
def split(p: Program, a: Args) -> Any:
    x, dim = a("self"), a("dim", 0)
    sizes = a("split_sizes") if "split_sizes" in a.values else a("split_size")
    return p.call("torch.split", x, sizes, dim)


@rule("add")
def add(p: Program, a: Args) -> Any:
    x, y, alpha = a("self"), a("other"), a("alpha", 1)
    return p.add(x, y, alpha)


@rule("elu")
def elu(p: Program, a: Args) -> Any:
    """elu, and what becomes of selu and celu."""
    x, alpha, scale, inner = a("self"), a("alpha", 1), a("scale", 1), a("input_scale", 1)
    if inner == 1:
        y = p.call("F.elu", x, alpha)
        return y if scale == 1 else p.call("torch.mul", y, scale)
    if scale == 1 and alpha and abs(inner * alpha - 1) < 1e-12:
        return p.call("F.celu", x, alpha)
    raise a.refuse(f"elu with scale {scale} and input_scale {inner}", "one of elu, selu and celu")


@rule("_softmax _log_softmax")
def softmax(p: Program, a: Args) -> Any:
    if a("half_to_float", False):
        raise a.refuse("a change of dtype")
    name = "torch.log_softmax" if "log_softmax" in a.what else "torch.softmax"
    return p.call(name, a("self"), a("dim"))


@rule("linalg_vector_norm")
def vector_norm(p: Program, a: Args) -> Any:
    return p.call("torch.norm", a("self"), a("ord", 2), a("dim", None), keepdim=bool(a("keepdim", False)))


@rule("_weight_norm")
def weight_norm(p: Program, a: Args) -> Any:
    """v · g / |v|, which is the weight of a layer; worked out at once."""
    v, g, dim = a("v"), a("g"), a("dim", 0)
    rest = [i for i in range(p.rank(v)) if i != dim]
    norm = p.call("torch.sqrt", p.call("torch.sum", p.call("torch.square", v), rest, keepdim=True))
    return p.call("torch.mul", v, p.call("torch.div", g, norm))


@rule("einsum")
def einsum(p: Program, a: Args) -> Any:
    a("path", None)
    equation = a("equation")
    if not isinstance(equation, str) or len(equation) > 200:
        raise a.refuse("no equation")
    return p.call("torch.einsum", equation, *a("tensors"))


# -- constants --------------------------------------------------------------------------------------------


def filled(p: Program, a: Args, sizes: Any, value: Any) -> Any:
    """A tensor of one value, on the device and by default of the dtype of the first input."""
    assert p.first is not None
    dtype = a("dtype", None)
    sizes = [p.examples(s) if i == 0 else s for i, s in enumerate(sizes)]
    made = p.call("Tensor.new_full", p.first, tuple(sizes), value, **({} if dtype is None else {"dtype": dtype}))
    return p.put(made, p.meta(p.output), Made("filled", None, value))


@rule("zeros")
def zeros(p: Program, a: Args) -> Any:
    return filled(p, a, a("size"), 0)


@rule("ones")
def ones(p: Program, a: Args) -> Any:
    return filled(p, a, a("size"), 1)


@rule("full")
def full(p: Program, a: Args) -> Any:
    return filled(p, a, a("size"), a("fill_value"))


@rule("scalar_tensor")
def scalar(p: Program, a: Args) -> Any:
    return filled(p, a, [], a("s"))


@rule("new_zeros new_ones new_full")
def new(p: Program, a: Args) -> Any:
    a("self")
    value = a("fill_value", None)
    return filled(p, a, a("size"), (1 if "ones" in a.what else 0) if value is None else value)


@rule("arange")
def arange(p: Program, a: Args) -> Any:
    assert p.first is not None
    start, end, step, dtype = a("start", 0), a("end"), a("step", 1), a("dtype", None)
    device = p.attribute("device", p.first)
    options = {} if dtype is None else {"dtype": dtype}
    return p.put(p.call("torch.arange", start, end, step, device=device, **options), p.meta(p.output))


@rule("reflection_pad1d replication_pad1d")
def pad(p: Program, a: Args) -> Any:
    mode = "reflect" if "reflection" in a.what else "replicate"
    return p.call("F.pad", a("self"), list(a("padding")), mode=mode)


@rule("upsample_nearest1d upsample_linear1d")
def upsample(p: Program, a: Args) -> Any:
    x, sizes, scales = a("input" if "input" in a.values else "self"), a("output_size", None), a("scale_factors", None)
    scale = a("scales", None)
    options: dict[str, Any] = {"mode": "nearest" if "nearest" in a.what else "linear"}
    if options["mode"] == "linear":
        options["align_corners"] = bool(a("align_corners"))
    if scales is None and scale is not None:
        raise a.refuse("a scale beside a size", "either", "export it without run_decompositions()")
    chosen = {"size": list(sizes)} if sizes is not None else {"scale_factor": list(scales)}
    return p.call("F.interpolate", x, **chosen, **options)
