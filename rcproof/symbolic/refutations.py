"""T13: plausible statements that are false, each with the smallest counterexample an exact search finds.

How the search works, and what it is worth, is said in :mod:`~rcproof.symbolic.counterexamples`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction

from rcproof.symbolic.counterexamples import Instance, Refutation, Sides
from rcproof.symbolic.statements import Statement, require
from rcproof.symbolic.tensors import (
    Tensor,
    cat,
    combine,
    conv,
    max_pool,
    pointwise,
    rc,
    reverse_length,
    smooth,
    softmax,
    stack,
    tensor,
    tensors,
)


def _commutes(f: Callable[[Tensor], Tensor], x: Tensor) -> Sides:
    """f(ρx) and ρf(x)."""
    return f(rc(x)), rc(f(x))


# -- windows ------------------------------------------------------------------------------------------------


def _windows(even: bool | None = None, centred: bool | None = None, least: int = 1) -> Iterator[Instance]:
    """One channel of length L, windows of K at stride s, palindromic kernels of ones; s = 1 if ``even`` is given."""
    for L in range(1, 6):
        for K in range(least, min(L, 3) + 1):
            for s in (1, 2, 3) if even is None else (1,):
                if centred in (None, (L - K) % s == 0) and even in (None, K % 2 == 0):
                    yield from ({"L": L, "K": K, "s": s, "x": x} for x in tensors(1, L))


def _strided(i: Instance) -> Sides:
    return _commutes(lambda x: conv(x, [[[1] * i["K"]]], stride=i["s"]), i["x"])


def _pooled(i: Instance) -> Sides:
    return _commutes(lambda x: max_pool(x, i["K"], i["s"]), i["x"])


def _same(i: Instance) -> Sides:
    left = (i["K"] - 1) // 2
    return _commutes(lambda x: conv(x, [[[1] * i["K"]]], left=left, right=i["K"] - 1 - left), i["x"])


def _crops(symmetric: bool) -> Iterator[Instance]:
    for L in range(1, 6):
        for left in range(L):
            for right in (left,) if symmetric else range(left):
                if left + right < L:
                    yield from ({"L": L, "left": left, "right": right, "x": x} for x in tensors(1, L))


def _cropped(i: Instance) -> Sides:
    return _commutes(lambda x: tuple(row[i["left"] : i["L"] - i["right"]] for row in x), i["x"])


# -- channels -----------------------------------------------------------------------------------------------


def _pairs(values: tuple[int, ...] = (0, 1), most: int = 2) -> Iterator[Instance]:
    """Strand pairs of F channels and L positions."""
    for F, L in sorted(((F, L) for F in range(1, most + 1) for L in (1, 2) if F * L < 3), key=sum):
        yield from ({"F": F, "L": L, "a": a, "b": b} for a in tensors(F, L, values) for b in tensors(F, L, values))


def _softmax(i: Instance) -> Sides:
    return softmax(stack(i["a"], i["b"])), stack(softmax(i["a"]), softmax(i["b"]))


def _softmax_halves(i: Instance) -> Sides:
    x, F = stack(i["a"], i["b"]), i["F"]
    return cat(softmax(x[:F]), softmax(x[F:])), stack(softmax(i["a"]), softmax(i["b"]))


def _two_stacked() -> Iterator[Instance]:
    for L in (1, 2):
        yield from ({"L": L, "x": x, "y": y} for x in tensors(2, L) for y in tensors(2, L))


def _plain_cat(i: Instance) -> Sides:
    return cat(rc(i["x"]), rc(i["y"])), rc(cat(i["x"], i["y"]))


def _strand_cat(i: Instance) -> Sides:
    def joined(x: Tensor, y: Tensor) -> Tensor:
        return cat(x[:1], y[:1], y[1:], x[1:])

    return joined(rc(i["x"]), rc(i["y"])), rc(joined(i["x"], i["y"]))


def _tracks() -> Iterator[Instance]:
    for L in (1, 2, 3):
        yield from ({"L": L, "track": x} for x in tensors(1, L))


def _scales(track: Tensor) -> Tensor:
    return tuple(smooth(track[0], window) for window in (1, 3))


def _untied() -> Iterator[Instance]:
    """Free weights of one filter on two channels, K taps, and an input."""
    for K in (1, 2):
        for w in tensors(2, K):
            yield from ({"K": K, "V": w, "x": x} for L in (K, K + 1) for x in tensors(2, L))


def _unflipped(i: Instance) -> Sides:
    """Second half of the weights: channels reversed, taps not."""
    return _commutes(lambda x: conv(x, [i["V"], i["V"][::-1]]), i["x"])


def _tied(i: Instance) -> Sides:
    return _commutes(lambda x: conv(x, [i["V"], rc(i["V"])]), i["x"])


# -- merges, statistics, and what equivariance does not say ------------------------------------------------------


def _numbers(*names: str, values: tuple[int, ...] = (0, 1, 2)) -> Callable[[], Iterator[Instance]]:
    def instances() -> Iterator[Instance]:
        for x in tensors(1, len(names), values):
            yield dict(zip(names, x[0], strict=True))

    return instances


HALF = Fraction(1, 2)


def _running(first: Fraction, second: Fraction) -> Fraction:
    """A running mean that starts at 0, with momentum ½, after one call per strand."""
    return HALF * (HALF * first) + HALF * second


def _two_pass(i: Instance) -> Sides:
    return _running(i["a"], i["b"]), _running(i["b"], i["a"])


def _pooled_statistics(i: Instance) -> Sides:
    return HALF * (HALF * (i["a"] + i["b"])), HALF * (HALF * (i["b"] + i["a"]))


def _sum_merge(i: Instance, times: int) -> Sides:
    """A sum merge of w·a + c and w·b + c, folded into one linear layer on a + b."""
    return i["w"] * (i["a"] + i["b"]) + times * i["c"], (i["w"] * i["a"] + i["c"]) + (i["w"] * i["b"] + i["c"])


def _signed_merge(merge: Callable[[Fraction, Fraction], Fraction]) -> Callable[[Instance], Sides]:
    """Outputs p on the given strand and q on the other, and ρ changes their sign: the merged output of both."""
    return lambda i: (merge(i["q"], -i["p"]), -merge(i["p"], -i["q"]))


def _zero_model(i: Instance) -> Sides:
    """The source multiplies by w; the model is zero, and commutes with ρ."""
    zero, source = pointwise(lambda v: 0 * v, i["x"]), pointwise(lambda v: i["w"] * v, i["x"])
    require(pointwise(lambda v: 0 * v, rc(i["x"])) == rc(zero), "the zero model is equivariant")
    return zero, source


def _copied_model(i: Instance) -> Sides:
    return pointwise(lambda v: i["w"] * v, i["x"]), combine(lambda v, w: v * w, i["x"], tensor([[i["w"]] * i["L"]]))


def _scaled_inputs() -> Iterator[Instance]:
    for L in (1, 2):
        yield from ({"L": L, "w": Fraction(w), "x": x} for w in (1, 2) for x in tensors(1, L))


REFUTATIONS = (
    Refutation(
        "stride.misaligned",
        "False: a strided convolution with an equivariant kernel commutes with ρ at every length. Where positions are "
        "left over at the right, the other strand reads other windows.",
        r"\mathrm{conv}_s(\rho x)=\rho\,\mathrm{conv}_s(x)\ \text{for all }L",
        _strided,
        _windows,
        "it does if s divides L − K",
        "T3",
        twin_instances=lambda: _windows(centred=True),
    ),
    Refutation(
        "pooling.misaligned",
        "False: max pooling commutes with ρ at every length.",
        r"\max\mathrm{pool}(\rho x)=\rho\max\mathrm{pool}(x)\ \text{for all }L",
        _pooled,
        lambda: (i for i in _windows(least=2) if i["s"] == i["K"]),
        "it does if the stride divides L − K",
        "T3",
        twin_instances=lambda: _windows(centred=True, least=2),
    ),
    Refutation(
        "padding.same_even_kernel",
        "False: `same` padding keeps an equivariant kernel equivariant. For even K one side gets one more zero.",
        r"\mathrm{conv}_{\mathrm{same}}(\rho x)=\rho\,\mathrm{conv}_{\mathrm{same}}(x)\ \text{for all }K",
        _same,
        lambda: _windows(even=True),
        "it does for odd K",
        "T3",
        twin_instances=lambda: _windows(even=False),
    ),
    Refutation(
        "crop.asymmetric",
        "False: a crop commutes with ρ. More cut off at one end means other positions for the other strand.",
        r"\mathrm{crop}(\rho x)=\rho\,\mathrm{crop}(x)\ \text{for all }(\mathrm{left},\mathrm{right})",
        _cropped,
        lambda: _crops(False),
        "it does if as much is cut off on both sides",
        "T5",
        twin_instances=lambda: _crops(True),
    ),
    Refutation(
        "tie.unflipped_taps",
        "False: reversing outputs and inputs is enough to tie a kernel. Taps must be reversed too.",
        r"W=\mathrm{cat}(V,\mathrm{flip}_{o,c}V)\ \Rightarrow\ W*\rho x=\rho(W*x)",
        _unflipped,
        _untied,
        "the kernel tie(V) with taps reversed commutes with ρ",
        "T3, T4",
        twin_sides=_tied,
    ),
    Refutation(
        "softmax.stacked_channels",
        "False: softmax over the channels of a stacked tensor is softmax on each strand. It normalises over both.",
        r"\mathrm{softmax}(\mathrm{stack}(a,b))=\mathrm{stack}(\mathrm{softmax}(a),\mathrm{softmax}(b))",
        _softmax,
        _pairs,
        "softmax over each half of the channels is",
        "T2, T5",
        twin_sides=_softmax_halves,
    ),
    Refutation(
        "cat.stacked",
        "False: the plain concatenation of two stacked tensors is stacked. One second strand ends up in the middle.",
        r"\mathrm{cat}(\rho x,\rho y)=\rho\,\mathrm{cat}(x,y)",
        _plain_cat,
        _two_stacked,
        "first halves, then second halves in reverse order",
        "T5",
        twin_sides=_strand_cat,
    ),
    Refutation(
        "control.scales_swapped",
        "False: ρ reverses the channels of every control track. Channels that are smoothing scales of one unstranded "
        "track stay where they are.",
        r"\mathrm{scales}(\rho t)=\rho\,\mathrm{scales}(t)",
        lambda i: (_scales(reverse_length(i["track"])), rc(_scales(i["track"]))),
        _tracks,
        "the representation `length` reverses positions alone",
        "T1, T5",
        twin_sides=lambda i: (_scales(reverse_length(i["track"])), reverse_length(_scales(i["track"]))),
    ),
    Refutation(
        "batch_norm.two_pass",
        "False: calling one batch norm once per strand gives running statistics that do not know which strand came "
        "first. With momentum ½ and strand means a, b the running mean is a/4 + b/2.",
        r"r(a,b)=r(b,a)",
        _two_pass,
        _numbers("a", "b"),
        "statistics of both strands together are symmetric",
        "T10",
        twin_sides=_pooled_statistics,
    ),
    Refutation(
        "bias.counted_once",
        "False: a sum merge folded into the last layer, w·(a + b) + c, is the sum of two outputs. It is equivariant, "
        "as every symmetric function is, but the bias is there once instead of twice.",
        r"w\cdot(a+b)+c=(w\cdot a+c)+(w\cdot b+c)",
        lambda i: _sum_merge(i, 1),
        _numbers("w", "a", "b", "c"),
        "with the bias doubled",
        "T5",
        twin_sides=lambda i: _sum_merge(i, 2),
    ),
    Refutation(
        "merge.max_signed",
        "False: max(f(x), ρf(ρx)) is equivariant for every representation of the output. Not where ρ changes signs, "
        "since −max(p, −q) is a minimum. Here p = f(x) and q = f(ρx).",
        r"\max(f(\rho x),\rho f(x))=\rho\max(f(x),\rho f(\rho x)),\quad\rho=-1",
        _signed_merge(max),
        _numbers("p", "q"),
        "the mean is equivariant with signs too",
        "T5",
        twin_sides=_signed_merge(lambda p, q: (p + q) / 2),
    ),
    Refutation(
        "equivariant.not_equivalent",
        "False: a model that passes every equivariance check computes what its source computes. The zero model passes.",
        r"g\rho=\rho g\ \Rightarrow\ g=f",
        _zero_model,
        _scaled_inputs,
        "a model with the weights of its source does",
        "T5",
        twin_sides=_copied_model,
    ),
)

STATEMENTS: dict[str, tuple[Statement, ...]] = {"T13": tuple(r.statement() for r in REFUTATIONS)}
