"""Operators of ONNX that hold weights or slide windows: each becomes the layer of torch that does the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from rcproof.checkpoints.importing import Const, Made
from rcproof.checkpoints.importing_shapes import Sizes, numbers
from rcproof.checkpoints.onnx.graph import Model, Step, rule
from rcproof.checkpoints.onnx.operators import like
from rcproof.network.graph import Ref

Pads = list[tuple[int, int]]


def hint(n: Step) -> str:
    """A path for a layer whose weights have no names: the module the node was in, else its kind."""
    return n.path or n.kind.lower()


def own(n: Step, value: Any) -> Const | None:
    """A weight that the file holds, or none."""
    if value is not None and not isinstance(value, Const):
        raise n.refuse("weights that are worked out from the input", "weights of the file")
    return value


def _pads(m: Model, n: Step, x: Any, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> Pads:
    """What is added before and after each spatial axis."""
    count = len(kernel)
    auto = n.attribute("auto_pad", "NOTSET")
    given = n.attribute("pads", [0] * 2 * count)
    if auto in ("NOTSET", ""):
        both = numbers(given, 2 * count, "pads")
        if any(p < 0 for p in both):
            raise n.refuse(f"pads {given}", "none below 0")
        return [(both[i], both[i + count]) for i in range(count)]
    if auto == "VALID":
        return [(0, 0)] * count
    if auto not in ("SAME_UPPER", "SAME_LOWER"):
        raise n.refuse(f"auto_pad {auto[:20]!r}")
    sizes = like(m, x)
    found = []
    for i in range(count):
        length = sizes[2 + i] if sizes is not None else None
        if strides[i] == 1:
            total = dilations[i] * (kernel[i] - 1)
        elif isinstance(length, int):
            total = max((-(-length // strides[i]) - 1) * strides[i] + dilations[i] * (kernel[i] - 1) + 1 - length, 0)
        else:
            raise n.refuse(f"auto_pad {auto!r} with a stride, at unknown length", "pads")
        less, more = total // 2, total - total // 2
        found.append((less, more) if auto == "SAME_UPPER" else (more, less))
    return found


def _padded(m: Model, x: Any, pads: Pads, value: float) -> Any:
    """``x`` after uneven pads are written out."""
    widths = [w for before, after in reversed(pads) for w in (before, after)]
    options = {"value": value} if value else {}
    held = like(m, x)
    sizes: Sizes | None = None
    if held is not None:
        grown = [s + sum(p) if isinstance(s, int) else None for s, p in zip(held[2:], pads, strict=True)]
        sizes = (*held[:2], *grown)
    return m.put(m.call("F.pad", x, widths, **options), sizes)


def _windows(m: Model, x: Any, kernel: Any, strides: Any, dilations: Any, pads: Pads, channels: Any, up: bool) -> Sizes:
    """The shape after windows; ``up``: the last may hang over."""
    held = like(m, x) or (None,) * (2 + len(kernel))
    lengths: list[int | None] = []
    for length, k, stride, d, p in zip(held[2:], kernel, strides, dilations, pads, strict=True):
        moves = length + sum(p) - d * (k - 1) - 1 if isinstance(length, int) else None
        lengths.append(None if moves is None else (-(-moves // stride) if up else moves // stride) + 1)
    return (held[0], channels, *lengths)


@rule("Conv")
def conv(m: Model, n: Step) -> Any:
    """Convolutions of sequences and of images; of images of height 1 as of sequences."""
    x, weight, bias = n(0), n(1), own(n, n(2, None))
    if not isinstance(weight, Const):
        return _functional(m, n, x, weight, bias)
    count = weight.tensor.dim() - 2
    if count not in (1, 2) or isinstance(x, Const):
        raise n.refuse(f"a weight of rank {weight.tensor.dim()}", "rank 3 or 4")
    kernel = tuple(weight.tensor.shape[2:])
    if tuple(n.attribute("kernel_shape", list(kernel))) != kernel:
        raise n.refuse("a kernel of another size than its weight")
    strides = numbers(n.attribute("strides", [1] * count), count, "strides")
    dilations = numbers(n.attribute("dilations", [1] * count), count, "dilations")
    groups = n.attribute("group", 1)
    pads = _pads(m, n, x, kernel, strides, dilations)

    def run(base: Any, w: Const, at: Sequence[int]) -> Any:
        ps = [pads[i] for i in at]
        ks, ss, ds = ([v[i] for i in at] for v in (kernel, strides, dilations))
        sizes = _windows(m, base, ks, ss, ds, ps, w.tensor.shape[0], False)
        padding: Any = tuple(p[0] for p in ps)
        if any(p[0] != p[1] for p in ps):
            # Of an even kernel torch pads one more at the end, too.
            even = all(s == 1 and p == (d * (k - 1) // 2, d * (k - 1) - d * (k - 1) // 2)
                       for p, k, s, d in zip(ps, ks, ss, ds, strict=True))  # fmt: skip
            base, padding = (base, "same") if even else (_padded(m, base, ps, 0.0), 0)
        options = {
            "in_channels": w.tensor.shape[1] * groups,
            "out_channels": w.tensor.shape[0],
            "kernel_size": tuple(ks),
            "stride": tuple(ss),
            "padding": padding,
            "dilation": tuple(ds),
            "groups": groups,
        }
        kind = nn.Conv1d if len(at) == 1 else nn.Conv2d

        def layer(b: Const | None) -> Any:
            chosen = options | {"bias": b is not None}
            return m.put(m.layer(kind, chosen, {"weight": w, "bias": b}, base, hint=hint(n)), sizes)

        y = layer(bias)
        return y if bias is not None else m.put(y, sizes, Made("product", w, (-1 - len(at), layer)))

    if count == 2:

        def sequence(base: Any, axis: int) -> Any:
            return run(base, m.derived(weight, f"thin {1 - axis}", lambda w: w.squeeze(3 - axis)), [axis])

        flat = [kernel[i] == strides[i] == 1 and pads[i] == (0, 0) for i in range(2)]
        found = m.along_length(x, flat, sequence)
        if found is not None:
            return found
    return run(x, weight, range(count))


def _functional(m: Model, n: Step, x: Any, weight: Any, bias: Any) -> Any:
    """A convolution whose weights are worked out as the network runs."""
    kernel = n.attribute("kernel_shape", None)
    if m.rank(weight) != 3 or kernel is None:
        raise n.refuse("a convolution whose weights are worked out", "one of sequences, with kernel_shape")
    strides, dilations = n.attribute("strides", [1]), n.attribute("dilations", [1])
    ((before, after),) = _pads(m, n, x, kernel, strides, dilations)
    if before != after:
        x = _padded(m, x, [(before, after)], 0.0)
        before = 0
    options = {"stride": strides[0], "padding": before, "dilation": dilations[0], "groups": n.attribute("group", 1)}
    held = like(m, x)
    return m.put(m.call("F.conv1d", x, weight, bias, **options), None if held is None else (held[0], None, None))


@rule("ConvTranspose")
def conv_transpose(m: Model, n: Step) -> Any:
    x, weight, bias = n(0), own(n, n(1)), own(n, n(2, None))
    if weight is None or weight.tensor.dim() != 3:
        raise n.refuse("a transposed convolution of images", "one of sequences")
    n.attribute("kernel_shape", None)
    if n.attribute("output_shape", None) or n.attribute("auto_pad", "NOTSET") != "NOTSET":
        raise n.refuse("an output shape instead of pads", "pads")
    (stride,), (dilation,) = n.attribute("strides", [1]), n.attribute("dilations", [1])
    (more,), (before, after) = n.attribute("output_padding", [0]), n.attribute("pads", [0, 0])
    groups = n.attribute("group", 1)
    crop = 0
    if before != after:  # what torch crops evenly, and the rest by a slice
        crop, after = after - before, before
        if crop < 0:
            raise n.refuse("more cropped in front than behind")
    options = {
        "in_channels": weight.tensor.shape[0],
        "out_channels": weight.tensor.shape[1] * groups,
        "kernel_size": weight.tensor.shape[2],
        "stride": stride,
        "padding": before,
        "output_padding": more,
        "groups": groups,
        "bias": bias is not None,
        "dilation": dilation,
    }
    y = m.layer(nn.ConvTranspose1d, options, {"weight": weight, "bias": bias}, x, hint=hint(n))
    held = like(m, x)
    y = m.put(y, None if held is None else (held[0], options["out_channels"], None))
    return m.slice(y, 2, 0, -crop, 1) if crop else y


@rule("Gemm")
def gemm(m: Model, n: Step) -> Any:
    """α A B + β C: a dense layer, if B and C are the file's own."""
    a, b, c = n(0), n(1), n(2, None)
    alpha, beta = n.attribute("alpha", 1.0), n.attribute("beta", 1.0)
    if n.attribute("transA", 0):
        a = m.permute(a, (1, 0))
    flipped = bool(n.attribute("transB", 0))
    if not isinstance(b, Const) or b.tensor.dim() != 2 or not isinstance(a, Ref):
        y = m.call("torch.matmul", a, m.permute(b, (1, 0)) if flipped else b)
        y = y if alpha == 1 else m.call("torch.mul", y, alpha)
        if c is not None:
            y = m.call("torch.add", y, c if beta == 1 else m.call("torch.mul", c, beta))
        return m.put(y, (None, None))
    weight = b if flipped else m.transpose(b)
    if alpha != 1:
        weight = m.derived(weight, f"times {alpha}", lambda w: w * alpha)
    out = weight.tensor.shape[0]
    fits = isinstance(c, Const) and (c.tensor.dim() <= 1 or tuple(c.tensor.shape[:-1]) == (1,) * (c.tensor.dim() - 1))
    if c is None or not fits or not isinstance(c, Const):
        y = m.linear(a, weight, None, hint(n))
        return (
            y
            if c is None
            else m.put(m.call("torch.add", y, c if beta == 1 else m.call("torch.mul", c, beta)), like(m, y))
        )
    bias = c
    if tuple(c.tensor.shape) != (out,) or beta != 1:
        bias = m.derived(c, f"bias {out} times {beta}", lambda t: (t * beta).reshape(-1).expand(out))
    return m.linear(a, weight, bias, hint(n))


@rule("MatMul")
def matmul(m: Model, n: Step) -> Any:
    x, y = m.data(n(0)), m.data(n(1))
    return m.matmul(x, y, hint(n))


# -- norms ------------------------------------------------------------------------------------------------


@rule("BatchNormalization")
def batch_norm(m: Model, n: Step) -> Any:
    x = n(0)
    scale, shift, mean, variance = (own(n, n(i)) for i in range(1, 5))
    eps, momentum = n.attribute("epsilon", 1e-5), n.attribute("momentum", 0.9)
    if n.attribute("training_mode", 0):
        raise n.refuse("batch norm over the examples at hand", "a network in eval mode")
    assert mean is not None
    options = {"num_features": mean.tensor.shape[0], "eps": eps, "momentum": 1 - momentum}
    tensors = {"weight": scale, "bias": shift, "running_mean": mean, "running_var": variance}
    before, rank = m.added(x), m.rank(x)
    if rank == 4 and before is not None and before[1] in (2, 3):
        y = m.layer(nn.BatchNorm1d, options, tensors, before[0], hint=hint(n))
        return m.unsqueeze(m.put(y, like(m, before[0])), before[1])
    if rank not in (2, 3, 4):
        raise n.refuse(f"an input of rank {rank}", "rank 2, 3 or 4")
    return m.put(
        m.layer(nn.BatchNorm2d if rank == 4 else nn.BatchNorm1d, options, tensors, x, hint=hint(n)), like(m, x)
    )


@rule("InstanceNormalization")
def instance_norm(m: Model, n: Step) -> Any:
    x, scale, shift = n(0), own(n, n(1)), own(n, n(2))
    if m.rank(x) != 3 or scale is None:
        raise n.refuse(f"an input of rank {m.rank(x)}", "rank 3")
    options = {"num_features": scale.tensor.shape[0], "eps": n.attribute("epsilon", 1e-5), "affine": True}
    return m.put(m.layer(nn.InstanceNorm1d, options, {"weight": scale, "bias": shift}, x, hint=hint(n)), like(m, x))


@rule("LayerNormalization")
def layer_norm(m: Model, n: Step) -> Any:
    x, scale, shift = n(0), own(n, n(1)), own(n, n(2, None))
    axis = m.axis(n.attribute("axis", -1), m.rank(x))
    n.attribute("stash_type", 1)
    if scale is None or scale.tensor.dim() != m.rank(x) - axis:
        raise n.refuse("a scale of another shape than what is normalised")
    options = {
        "normalized_shape": list(scale.tensor.shape),
        "eps": n.attribute("epsilon", 1e-5),
        "bias": shift is not None,
    }
    return m.put(m.layer(nn.LayerNorm, options, {"weight": scale, "bias": shift}, x, hint=hint(n)), like(m, x))


@rule("GroupNormalization")
def group_norm(m: Model, n: Step) -> Any:
    """Its scale has one number a group in opset 18, one a channel in 21."""
    x, scale, shift = n(0), own(n, n(1)), own(n, n(2))
    groups = n.attribute("num_groups")
    n.attribute("stash_type", 1)
    sizes = like(m, x)
    channels = sizes[1] if sizes is not None else None
    if scale is None or shift is None or not isinstance(channels, int):
        raise n.refuse("an unknown number of channels")
    if scale.tensor.shape[0] != channels:
        each = channels // groups
        scale, shift = (m.derived(t, f"each {each}", lambda t: t.repeat_interleave(each)) for t in (scale, shift))
    options = {"num_groups": groups, "num_channels": channels, "eps": n.attribute("epsilon", 1e-5)}
    return m.put(m.layer(nn.GroupNorm, options, {"weight": scale, "bias": shift}, x, hint=hint(n)), sizes)


# -- pooling ----------------------------------------------------------------------------------------------


@rule("MaxPool AveragePool")
def pool(m: Model, n: Step) -> Any:
    """Uneven pads are written out; of an average they must count."""
    x, largest = n(0), n.kind == "MaxPool"
    kernel = tuple(n.attribute("kernel_shape"))
    count = len(kernel)
    if count not in (1, 2):
        raise n.refuse(f"windows of rank {count}", "rank 1 or 2")
    kernel = numbers(list(kernel), count, "kernel_shape")
    strides = numbers(n.attribute("strides", [1] * count), count, "strides")
    dilations = numbers(n.attribute("dilations", [1] * count), count, "dilations")
    ceil, counted = bool(n.attribute("ceil_mode", 0)), bool(n.attribute("count_include_pad", 0))
    n.attribute("storage_order", 0)
    if not largest and any(d != 1 for d in dilations):
        raise n.refuse("an average with dilation", "none")
    pads = _pads(m, n, x, kernel, strides, dilations)

    def run(base: Any, at: Sequence[int]) -> Any:
        ps = [pads[i] for i in at]
        ks, ss, ds = ([v[i] for i in at] for v in (kernel, strides, dilations))
        held = like(m, base)
        sizes = _windows(m, base, ks, ss, ds, ps, held[1] if held is not None else None, ceil)
        if any(p[0] != p[1] or 2 * p[0] > k for p, k in zip(ps, ks, strict=True)):
            if not largest and (not counted or ceil):
                raise n.refuse("an average that does not count its uneven pads", "count_include_pad=1")
            base = _padded(m, base, ps, float("-inf") if largest else 0.0)
            ps = [(0, 0)] * len(at)
        plain = {"kernel_size": ks, "stride": ss, "padding": [p[0] for p in ps]} | ({"dilation": ds} if largest else {})
        options: dict[str, Any] = {k: v[0] if len(at) == 1 else tuple(v) for k, v in plain.items()}
        options["ceil_mode"] = ceil
        if not largest:
            options["count_include_pad"] = counted or all(p == (0, 0) for p in ps)
        kinds = (nn.MaxPool1d, nn.MaxPool2d) if largest else (nn.AvgPool1d, nn.AvgPool2d)
        return m.put(m.layer(kinds[len(at) - 1], options, {}, base, hint=hint(n)), sizes)

    if count == 2:
        flat = [kernel[i] == strides[i] == 1 and pads[i] == (0, 0) for i in range(2)]
        found = m.along_length(x, flat, lambda base, axis: run(base, [axis]))
        if found is not None:
            return found
    return run(x, range(count))


@rule("GlobalMaxPool GlobalAveragePool")
def global_pool(m: Model, n: Step) -> Any:
    x, largest = n(0), n.kind == "GlobalMaxPool"
    rank = m.rank(x)
    held = like(m, x) or (None,) * rank
    before = m.added(x)
    if rank == 4 and before is not None and before[1] in (2, 3):
        x, dim = before
    elif rank == 3:
        dim = 0
    else:
        y = m.call("torch.amax" if largest else "torch.mean", x, list(range(2, rank)), keepdim=True)
        return m.put(y, (*held[:2], *(1,) * (rank - 2)))
    kind = nn.AdaptiveMaxPool1d if largest else nn.AdaptiveAvgPool1d
    y = m.put(m.layer(kind, {"output_size": 1}, {}, x, hint=hint(n)), (*held[:2], 1))
    return m.unsqueeze(y, dim) if dim else y
