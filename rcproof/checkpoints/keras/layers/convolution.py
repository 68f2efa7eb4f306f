"""Convolutions: each becomes an ``nn.Conv1d`` or an ``nn.ConvTranspose1d``, with padding beside it if need be."""

from __future__ import annotations

from torch import Tensor, nn

from rcproof.checkpoints.keras.build import LARGEST, Site, Value, filled, layer
from rcproof.checkpoints.keras.layers.windows import Windows, pair, plane, sequence_of, windows, with_sizes
from rcproof.network.graph import Ref

Biased = dict[str, Tensor]


def _convolve(site: Site, x: Ref, weight: Tensor, bias: Biased, laid: Windows, groups: int, part: str = "") -> Ref:
    """The convolution with a weight of shape (out, in / groups, K)."""
    out, each, size = weight.shape
    padding: int | str = 0
    if laid.left == laid.right:
        padding = laid.left
    elif laid.stride == 1 and laid.right == laid.left + 1 and laid.left + laid.right == laid.span - 1:
        padding = "same"  # torch too puts the odd position at the right
    else:
        x = site.function("F.pad", x, (laid.left, laid.right))
    return site.module(
        lambda: filled(
            lambda: nn.Conv1d(
                each * groups, out, size, laid.stride, padding, laid.dilation, groups, bias=bool(bias)
            ),
            weight=weight,
            **bias,
        ),
        x,
        part=part,
    )  # fmt: skip


def _kernel(site: Site, role: str, dims: int) -> Tensor:
    kernel = site.weight(role)
    if kernel.dim() != dims or 0 in kernel.shape:
        raise site.error(f"weights {role!r}", got=f"shape {tuple(kernel.shape)}", expected=f"{dims} axes")
    return kernel


def _bias(site: Site, size: int) -> Biased:
    return {"bias": site.weight("bias", (size,))} if site.get("use_bias", True) else {}


def _groups(site: Site, channels: int, each: int, out: int) -> int:
    """The groups, checked: each reads as many channels as the kernel has, and gives as many as the others."""
    groups = site.integer("groups", 1)
    if groups < 1 or each * groups != channels or out % groups:
        raise site.error(
            "kernel", got=f"{each} channels in, {out} out, in {groups} groups", expected=f"{channels} channels in"
        )
    return groups


@layer("Conv1D", either_axis=True)
def _conv(site: Site) -> Value:
    value = sequence_of(site)
    kernel = _kernel(site, "kernel", 3)  # (K, in / groups, out)
    size, each, out = kernel.shape
    laid = windows(site, value.steps, size, site.integer("strides", 1), site.integer("dilation_rate", 1))
    site.keep_same(laid)
    groups = _groups(site, value.channels, each, out)
    made = _convolve(site, value.ref, kernel.permute(2, 1, 0), _bias(site, out), laid, groups)
    sizes = {value.length: laid.count(value.steps), 1 - value.length: out}
    return site.activated(made, with_sizes(value, sizes), value)


@layer("Conv2D")
def _conv2d(site: Site) -> Value:
    """Along the length alone: the other axis is 1, or the kernel covers it whole, so that one row comes out."""
    value = site.need("image")
    at = plane(site, value)
    kernel = _kernel(site, "kernel", 4)
    if at.along == 0:
        kernel = kernel.transpose(0, 1)
    rows, size, each, out = kernel.shape  # rows along the other axis, size along the length
    strides, dilations = pair(site, "strides", 1), pair(site, "dilation_rate", 1)
    laid = windows(site, value.steps, size, strides[at.along], dilations[at.along])
    height, channels = value.shape[at.other], value.shape[at.channel]
    if height is None or channels is None:
        raise site.error("image", got=f"shape {value.shape}", expected="one axis at most that is open")
    across = windows(site, height, rows, strides[1 - at.along], dilations[1 - at.along])
    if across.count(height) != 1:
        raise site.error(
            "a kernel that slides along both axes",
            got=f"{rows} rows over an axis of {height}",
            expected="a second axis of size 1, or a kernel that covers it whole with padding='valid'",
        )
    groups = _groups(site, channels, each, out)
    if groups > 1 and height > 1:
        raise site.error("groups", got=f"{groups} with {height} rows", expected="one")
    site.keep_same((laid, across, value.length))
    if out * height * each * size > LARGEST:
        raise site.error("image", got=f"{height} rows", expected="few")
    weight = kernel.new_zeros(out, height, each, size)
    for row in range(rows):  # that of the kernel over the rows of the image; others lie over padding
        place = row * across.dilation - across.left
        if 0 <= place < height:
            weight[:, place] = kernel[row].permute(2, 1, 0)
    if at.channel < at.other:
        weight = weight.transpose(1, 2)
    made = _convolve(site, value.ref, weight.reshape(out, -1, size), _bias(site, out), laid, groups)
    sizes = {value.length: laid.count(value.steps), at.other: 1, at.channel: out}
    return site.activated(made, with_sizes(value, sizes), value)


@layer("SeparableConv1D", "DepthwiseConv1D", either_axis=True)
def _depthwise(site: Site) -> Value:
    """Each channel by itself, and in the separable one a convolution of width 1 across the channels."""
    value = sequence_of(site)
    kernel = _kernel(site, "depthwise_kernel", 3)  # (K, in, multiplier)
    size, channels, multiplier = kernel.shape
    if channels != value.channels:
        raise site.error("depthwise kernel", got=f"{channels} channels", expected=value.channels)
    laid = windows(site, value.steps, size, site.integer("strides", 1), site.integer("dilation_rate", 1))
    site.keep_same(laid)
    out = channels * multiplier
    weight = kernel.permute(1, 2, 0).reshape(out, 1, size)
    if site.spec.kind == "DepthwiseConv1D":
        made = _convolve(site, value.ref, weight, _bias(site, out), laid, channels)
    else:
        point = _kernel(site, "pointwise_kernel", 3)
        if tuple(point.shape[:2]) != (1, out):
            raise site.error("weights 'pointwise_kernel'", got=f"{tuple(point.shape)}", expected=f"(1, {out}, filters)")
        made = _convolve(site, value.ref, weight, {}, laid, channels, "depthwise")
        out = point.shape[2]
        made = _convolve(site, made, point.permute(2, 1, 0), _bias(site, out), Windows(1, 1), 1, "pointwise")
    sizes = {value.length: laid.count(value.steps), 1 - value.length: out}
    return site.activated(made, with_sizes(value, sizes), value)


@layer("Conv1DTranspose", either_axis=True)
def _transposed(site: Site) -> Value:
    """From L positions (L − 1)·stride + span, of which ``same`` keeps L·stride, cut on both sides."""
    value = sequence_of(site)
    kernel = _kernel(site, "kernel", 3)  # (K, out, in)
    size, out, channels = kernel.shape
    if channels != value.channels:
        raise site.error("kernel", got=f"{channels} channels in", expected=value.channels)
    plain = Windows(size, site.integer("strides", 1), site.integer("dilation_rate", 1))
    padding, extra = site.get("padding", "valid"), site.get("output_padding")
    if padding not in ("valid", "same"):
        raise site.error("padding", got=repr(padding)[:60], expected="valid or same")
    # What lies beyond (L − 1)·stride at the end.
    if extra is None:
        tail = plain.stride if padding == "same" else max(plain.span, plain.stride)
    else:
        tail = site.integer("output_padding") + (plain.span % 2 if padding == "same" else plain.span)
    left = max(plain.span - tail, 0) // 2 if padding == "same" else 0
    rest = tail + 2 * left - plain.span
    if min(plain.stride, plain.dilation) < 1 or rest >= max(plain.stride, plain.dilation):
        raise site.error("positions added at the end", got=rest, expected=f"fewer than the stride, {plain.stride}")
    site.keep_same(plain)
    bias = _bias(site, out)
    made = site.module(
        lambda: filled(
            lambda: nn.ConvTranspose1d(
                channels, out, size, plain.stride, left, max(rest, 0), bias=bool(bias), dilation=plain.dilation
            ),
            weight=kernel.permute(2, 1, 0),
            **bias,
        ),
        value.ref,
    )
    if rest < 0:  # torch cuts as much on both sides
        made = site.function("operator.getitem", made, (slice(None), slice(None), slice(None, rest)))
    steps = None if value.steps is None else (value.steps - 1) * plain.stride + tail
    return site.activated(made, with_sizes(value, {value.length: steps, 1 - value.length: out}), value)
