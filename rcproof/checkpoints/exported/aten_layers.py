"""Functions of aten that hold weights or slide windows: each becomes the layer of torch that calls it."""

from __future__ import annotations

from typing import Any

from torch import nn

from rcproof.checkpoints.exported.aten import rule
from rcproof.checkpoints.exported.program import Args, Program
from rcproof.checkpoints.importing import Const, Made
from rcproof.checkpoints.importing_shapes import numbers
from rcproof.network.graph import Ref


def hint(p: Program, a: Args) -> str:
    """A path for a layer whose weights have no names: the module the step was in, else the function."""
    return p.path or a.what.partition(".")[2].partition(".")[0].strip("_")


@rule("convolution conv1d conv2d _convolution conv_transpose1d")
def convolution(p: Program, a: Args) -> Any:
    """Convolutions of sequences and of images; of images of height 1 too."""
    x, weight, bias = a("input"), a("weight"), a("bias", None)
    rank = p.rank(weight)
    if rank not in (3, 4) or p.rank(x) != rank:
        raise a.refuse(f"an input of rank {p.rank(x)} and a weight of rank {rank}", "both 3, or both 4")
    count, flipped = rank - 2, bool(a("transposed", "transpose" in a.what))
    for name in ("benchmark", "deterministic", "allow_tf32"):
        a(name, None)
    padding = a("padding", 0)
    options = {
        "stride": numbers(a("stride", 1), count, "stride"),
        "padding": padding if isinstance(padding, str) else numbers(padding, count, "padding"),
        "dilation": numbers(a("dilation", 1), count, "dilation"),
        "groups": a("groups", 1),
    }
    more = numbers(a("output_padding", 0), count, "output_padding")
    if flipped:
        options["output_padding"] = more
    if not isinstance(weight, Const) or not isinstance(bias, Const | None) or isinstance(x, Const):
        return _functional(p, a, x, weight, bias, options, flipped)
    if rank == 4:
        kernel = tuple(weight.tensor.shape[2:])

        def sequence(base: Any, axis: int) -> Any:
            other = 1 - axis
            thin = p.derived(weight, f"thin {other}", lambda w: w.squeeze(2 + other))
            chosen = {k: v[axis : axis + 1] if isinstance(v, tuple) else v for k, v in options.items()}
            return p.put(_conv(p, a, base, thin, bias, chosen, flipped), p.changed(base, 1, 2))

        pad = options["padding"]
        flat = [kernel[i] == 1 and options["stride"][i] == 1 and (pad[i] == 0 if isinstance(pad, tuple) else True)
                for i in range(2)]  # fmt: skip
        found = p.along_length(x, flat, sequence)
        if found is not None:
            return found
    return _conv(p, a, x, weight, bias, options, flipped)


def _conv(
    p: Program, a: Args, x: Any, weight: Const, bias: Const | None, options: dict[str, Any], flipped: bool
) -> Any:
    out, into = weight.tensor.shape[:2]
    kinds = {(3, False): nn.Conv1d, (4, False): nn.Conv2d, (3, True): nn.ConvTranspose1d}
    kind = kinds.get((weight.tensor.dim(), flipped))
    if kind is None:
        raise a.refuse("a transposed convolution of images", "one of sequences")
    groups = options["groups"]
    if not isinstance(groups, int) or groups < 1:
        raise a.refuse(f"groups {groups!r}"[:40])
    channels = (out, into * groups) if flipped else (into * groups, out)
    shape = {"in_channels": channels[0], "out_channels": channels[1], "kernel_size": tuple(weight.tensor.shape[2:])}
    return p.layer(
        kind, {**shape, **options, "bias": bias is not None}, {"weight": weight, "bias": bias}, x, hint=hint(p, a)
    )


def _functional(p: Program, a: Args, x: Any, weight: Any, bias: Any, options: dict[str, Any], flipped: bool) -> Any:
    """A convolution whose weights are worked out as the network runs."""
    if p.rank(weight) != 3:
        raise a.refuse("a convolution of images whose weights are worked out", "one of sequences")
    plain = {k: v[0] if isinstance(v, tuple) else v for k, v in options.items()}
    return p.call("F.conv_transpose1d" if flipped else "F.conv1d", x, weight, bias, **plain)


@rule("linear")
def linear(p: Program, a: Args) -> Any:
    return p.linear(a("input"), a("weight"), a("bias", None), hint(p, a))


@rule("addmm")
def addmm(p: Program, a: Args) -> Any:
    bias, x, matrix = a("self"), a("mat1"), a("mat2")
    if a("beta", 1) != 1 or a("alpha", 1) != 1:
        raise a.refuse("a scaled product", "alpha = beta = 1")
    if isinstance(matrix, Const) and isinstance(bias, Const) and bias.tensor.dim() == 1 and isinstance(x, Ref):
        return p.linear(x, p.transpose(matrix), bias, hint(p, a))
    return p.add(p.matmul(x, matrix, hint(p, a)), bias)


@rule("mm bmm matmul")
def matmul(p: Program, a: Args) -> Any:
    x = a("self")
    return p.matmul(x, a("mat2") if "mat2" in a.values else a("other"), hint(p, a))


@rule("baddbmm")
def baddbmm(p: Program, a: Args) -> Any:
    added, x, y = a("self"), a("batch1"), a("batch2")
    product = p.matmul(x, y, hint(p, a))
    alpha, beta = a("alpha", 1), a("beta", 1)
    product = product if alpha == 1 else p.call("torch.mul", product, alpha)
    return p.add(product, added if beta == 1 else p.call("torch.mul", added, beta))


@rule("bilinear")
def bilinear(p: Program, a: Args) -> Any:
    weight, bias = a("weight"), a("bias", None)
    tensors = {"weight": _own(a, weight), "bias": _own(a, bias)}
    out, first, second = weight.tensor.shape
    options = {"in1_features": first, "in2_features": second, "out_features": out, "bias": bias is not None}
    return p.layer(nn.Bilinear, options, tensors, a("input1"), a("input2"), hint=hint(p, a))


def _own(a: Args, value: Any) -> Const | None:
    """A weight of the file's own, or none."""
    if value is not None and not isinstance(value, Const):
        raise a.refuse("weights that are worked out from the input", "weights of the file")
    return value


# -- norms ------------------------------------------------------------------------------------------------


@rule("batch_norm native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training "
      "_batch_norm_with_update _batch_norm_no_update cudnn_batch_norm")  # fmt: skip
def batch_norm(p: Program, a: Args) -> Any:
    """With statistics of its own; instance norm is written as one without."""
    x, weight, bias = a("input"), _own(a, a("weight", None)), _own(a, a("bias", None))
    mean, variance = _own(a, a("running_mean", None)), _own(a, a("running_var", None))
    momentum, eps = a("momentum", 0.1), a("eps", 1e-5)
    if a("training", False) or mean is None or variance is None:
        raise a.refuse("batch norm over the examples at hand", "running statistics", "call .eval() before exporting")
    before, rank = p.added(x), p.rank(x)
    if rank not in (2, 3, 4):
        raise a.refuse(f"an input of rank {rank}", "rank 2, 3 or 4")
    if (weight is None) != (bias is None):
        raise a.refuse("a weight without a bias", "both or none")
    options = {"num_features": mean.tensor.shape[0], "eps": eps, "momentum": momentum, "affine": weight is not None}
    tensors = {"weight": weight, "bias": bias, "running_mean": mean, "running_var": variance}
    stem = mean.name.removesuffix("running_mean")
    tensors["num_batches_tracked"] = p.archive.tensors.get(f"{stem}num_batches_tracked")
    if rank == 4 and before is not None and before[1] in (2, 3):
        y = p.layer(nn.BatchNorm1d, options, tensors, before[0], hint=hint(p, a))
        y = p.unsqueeze(p.put(y, p.sizes.get(before[0].name)), before[1])
    else:
        y = p.layer(nn.BatchNorm2d if rank == 4 else nn.BatchNorm1d, options, tensors, x, hint=hint(p, a))
    return y if a.what.startswith("aten.batch_norm") else (y,)


@rule("_native_batch_norm_legit.no_stats")
def instance_norm_taken_apart(p: Program, a: Args) -> Any:
    """(N, C, L) seen as (1, NC, L), its weights repeated N times: instance norm."""
    x, weight, bias, eps = a("input"), a("weight", None), a("bias", None), a("eps")
    a("training"), a("momentum")
    seen = p.how(x, "reshape")
    held = None if seen is None else p.known(seen.base)
    plain = [None if v is None else p.how(v, "repeat") for v in (weight, bias)]
    if seen is None or held is None or len(held) != 3 or (weight is not None and None in plain):
        raise a.refuse("batch norm over the examples at hand", "running statistics", "call .eval() before exporting")
    tensors = {n: None if m is None else m.base for n, m in zip(("weight", "bias"), plain, strict=True)}
    y = _instance_norm(p, a, seen.base, tensors, held[1], eps)
    flat = p.call("Tensor.reshape", p.put(y, held), (1, -1, p.size(y, 2)))
    return (p.put(flat, p.known(x), Made("reshape", y)),)


@rule("instance_norm")
def instance_norm(p: Program, a: Args) -> Any:
    x, weight, bias, eps = a("input"), a("weight", None), a("bias", None), a("eps", 1e-5)
    a("momentum", None)
    mean, variance = a("running_mean", None), a("running_var", None)
    if not a("use_input_stats") or mean is not None or variance is not None:
        raise a.refuse("instance norm with running statistics", "none")
    sizes = p.known(x)
    return _instance_norm(p, a, x, {"weight": weight, "bias": bias}, None if sizes is None else sizes[1], eps)


def _instance_norm(p: Program, a: Args, x: Any, tensors: dict[str, Any], channels: Any, eps: Any) -> Any:
    if p.rank(x) != 3 or not isinstance(channels, int):
        raise a.refuse("an input that is no sequence of channels", "rank 3")
    own = {name: _own(a, value) for name, value in tensors.items()}
    options = {"num_features": channels, "eps": eps, "affine": own["weight"] is not None}
    return p.layer(nn.InstanceNorm1d, options, own, x, hint=hint(p, a))


@rule("layer_norm native_layer_norm")
def layer_norm(p: Program, a: Args) -> Any:
    x, shape = a("input"), list(a("normalized_shape"))
    weight, bias = _own(a, a("weight", None)), _own(a, a("bias", None))
    if weight is None and bias is not None:
        raise a.refuse("a bias without a weight")
    options = {
        "normalized_shape": shape,
        "eps": a("eps", 1e-5),
        "elementwise_affine": weight is not None,
        "bias": bias is not None,
    }
    y = p.layer(nn.LayerNorm, options, {"weight": weight, "bias": bias}, x, hint=hint(p, a))
    return (y,) if "native" in a.what else y


@rule("group_norm native_group_norm")
def group_norm(p: Program, a: Args) -> Any:
    x, weight, bias = a("input"), _own(a, a("weight", None)), _own(a, a("bias", None))
    native = "native" in a.what
    groups = a("group" if native else "num_groups")
    for name in ("N", "C", "HxW"):
        a(name, None)
    sizes = p.known(x)
    if sizes is None or not isinstance(sizes[1], int):
        raise a.refuse("an unknown number of channels")
    options = {"num_groups": groups, "num_channels": sizes[1], "eps": a("eps", 1e-5), "affine": weight is not None}
    y = p.layer(nn.GroupNorm, options, {"weight": weight, "bias": bias}, x, hint=hint(p, a))
    return (y,) if native else y


@rule("rms_norm _fused_rms_norm")
def rms_norm(p: Program, a: Args) -> Any:
    x, shape, weight = a("input"), list(a("normalized_shape")), _own(a, a("weight", None))
    options = {"normalized_shape": shape, "eps": a("eps", None), "elementwise_affine": weight is not None}
    y = p.layer(nn.RMSNorm, options, {"weight": weight}, x, hint=hint(p, a))
    return (y,) if "fused" in a.what else y


@rule("prelu")
def prelu(p: Program, a: Args) -> Any:
    x, weight = a("self"), _own(a, a("weight"))
    assert weight is not None
    options = {"num_parameters": weight.tensor.numel()}
    return p.layer(nn.PReLU, options, {"weight": weight}, x, hint=hint(p, a))


@rule("embedding")
def embedding(p: Program, a: Args) -> Any:
    weight, codes, padding = a("weight"), a("indices"), a("padding_idx", -1)
    a("scale_grad_by_freq", None), a("sparse", None)
    if not isinstance(weight, Const):
        raise a.refuse("a table that is worked out", "one of the file")
    rows, width = weight.tensor.shape
    options = {"num_embeddings": rows, "embedding_dim": width, "padding_idx": padding if padding >= 0 else None}
    return p.layer(nn.Embedding, options, {"weight": weight}, codes, hint=hint(p, a))


# -- pooling ----------------------------------------------------------------------------------------------

_POOLS: dict[tuple[str, int], type[nn.Module]] = {
    ("max", 1): nn.MaxPool1d,
    ("max", 2): nn.MaxPool2d,
    ("avg", 1): nn.AvgPool1d,
    ("avg", 2): nn.AvgPool2d,
    ("adaptive_max", 1): nn.AdaptiveMaxPool1d,
    ("adaptive_max", 2): nn.AdaptiveMaxPool2d,
    ("adaptive_avg", 1): nn.AdaptiveAvgPool1d,
    ("adaptive_avg", 2): nn.AdaptiveAvgPool2d,
}


@rule("max_pool1d max_pool1d_with_indices max_pool2d max_pool2d_with_indices avg_pool1d avg_pool2d adaptive_max_pool1d "
      "adaptive_avg_pool1d adaptive_max_pool2d adaptive_avg_pool2d _adaptive_avg_pool2d")  # fmt: skip
def pool(p: Program, a: Args) -> Any:
    """Windows of sequences and of images; of images of height 1 too."""
    x = a("self")
    name = a.what.partition(".")[2].partition(".")[0].strip("_")
    kind, _, rest = name.partition("_pool")
    count = int(rest[0])
    options: dict[str, Any] = {}
    if kind.startswith("adaptive"):
        options["output_size"] = numbers(a("output_size"), count, "output_size")
        neutral: dict[str, int] = {"output_size": 1}
    else:
        kernel = numbers(a("kernel_size"), count, "kernel_size")
        options["kernel_size"], options["padding"] = kernel, numbers(a("padding", 0), count, "padding")
        options["stride"] = numbers(a("stride", []) or kernel, count, "stride")
        options["ceil_mode"] = bool(a("ceil_mode", False))
        neutral = {"kernel_size": 1, "stride": 1, "padding": 0}
        if kind == "max":
            options["dilation"] = numbers(a("dilation", 1), count, "dilation")
        else:
            options["count_include_pad"] = bool(a("count_include_pad", True))
            if a("divisor_override", None) is not None:
                raise a.refuse("an average over another number")
    y: Any = None
    if count == 2:

        def sequence(base: Any, axis: int) -> Any:
            chosen = {k: v[axis] if isinstance(v, tuple) else v for k, v in options.items()}
            return p.put(p.layer(_POOLS[kind, 1], chosen, {}, base, hint=hint(p, a)), p.changed(base, 2))

        flat = [all(options[k][i] == v for k, v in neutral.items()) for i in range(2)]
        y = p.along_length(x, flat, sequence)
    if y is None:
        plain = {k: v[0] if count == 1 and isinstance(v, tuple) else v for k, v in options.items()}
        y = p.layer(_POOLS[kind, count], plain, {}, x, hint=hint(p, a))
    several = "with_indices" in name or kind == "adaptive_max"
    return (y,) if several else y


# -- recurrent layers and attention -----------------------------------------------------------------------


@rule("lstm gru rnn_tanh rnn_relu")
def recurrent(p: Program, a: Args) -> Any:
    """nn.LSTM and its kin; a state of zeros is what they begin with anyway."""
    if not a.what.endswith(".input"):
        raise a.refuse("packed sequences", "padded ones")
    name = a.what.removeprefix("aten.").partition(".")[0]
    x, states, params = a("input"), a("hx"), a("params")
    biases, layers, both = bool(a("has_biases")), a("num_layers"), bool(a("bidirectional"))
    a("dropout")
    if a("train"):
        raise a.refuse("a recurrent layer in train mode", "eval mode", "call .eval() before exporting")
    steps, each = layers * (2 if both else 1), 4 if biases else 2
    projected = name == "lstm" and len(params) == steps * (each + 1)
    if not steps or len(params) != steps * (each + projected) or not all(isinstance(w, Const) for w in params):
        raise a.refuse(f"{len(params)} weights for {steps} layers and directions")
    kinds = [
        "weight_ih",
        "weight_hh",
        *(["bias_ih", "bias_hh"] if biases else []),
        *(["weight_hr"] if projected else []),
    ]
    tails = [f"_l{i}{tail}" for i in range(layers) for tail in (("", "_reverse") if both else ("",))]
    tensors = dict(zip((k + tail for tail in tails for k in kinds), params, strict=True))
    gates = {"lstm": 4, "gru": 3}.get(name, 1)
    options: dict[str, Any] = {
        "input_size": params[0].tensor.shape[1],
        "hidden_size": params[0].tensor.shape[0] // gates,
        "num_layers": layers,
        "bias": biases,
        "batch_first": bool(a("batch_first")),
        "bidirectional": both,
    }
    if projected:
        options["proj_size"] = tensors["weight_hr_l0"].tensor.shape[0]
    if name.startswith("rnn"):
        options["nonlinearity"] = name.removeprefix("rnn_")
    states = states if isinstance(states, list) else [states]
    begun = [p.how(s, "filled") for s in states]
    given = (
        () if all(m is not None and m.data == 0 for m in begun) else (states[0] if len(states) == 1 else tuple(states),)
    )
    kind = {"lstm": nn.LSTM, "gru": nn.GRU}.get(name, nn.RNN)
    made = p.layer(kind, options, tensors, x, *given, hint=hint(p, a))
    out, last = (p.call("operator.getitem", made, i) for i in range(2))
    if name != "lstm":
        return out, last
    return out, p.call("operator.getitem", last, 0), p.call("operator.getitem", last, 1)


@rule("scaled_dot_product_attention _scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_attention_math "
      "_scaled_dot_product_efficient_attention _scaled_dot_product_flash_attention")  # fmt: skip
def attention(p: Program, a: Args) -> Any:
    q, k, v = a("query"), a("key"), a("value")
    mask, scale = a("attn_mask", None), a("scale", None)
    mask = a("attn_bias", None) if mask is None else mask
    for name in ("enable_gqa", "return_debug_mask", "compute_log_sumexp", "dropout_mask"):
        if a(name, None) and name in ("enable_gqa", "dropout_mask"):
            raise a.refuse(name)
    if a("dropout_p", 0.0):
        raise a.refuse("a dropout that is on", "a network in eval mode", "call .eval() before exporting")
    options: dict[str, Any] = {"is_causal": True} if a("is_causal", False) else {}
    if mask is not None:
        options["attn_mask"] = mask
    if scale is not None:
        options["scale"] = scale
    y = p.call("F.scaled_dot_product_attention", q, k, v, **options)
    return y if a.what.startswith("aten.scaled") else (y,)
