"""False variants of every lemma about layers with windows: T3, T4 and T5."""

from __future__ import annotations

from rcproof.symbolic.grouped import Q, S, g, v
from rcproof.symbolic.necessity import m, n, t, z
from rcproof.symbolic.terms import num
from rcproof.symbolic.windows import PI_IN, PI_OUT, F, K, L, N, O, c, d, i, k, o, p, q, r, s
from tests.symbolic.mutations import (
    ENDS,
    UNDECIDED,
    Mutation,
    exchange,
    given_at,
    halves_swapped,
    left_halves_swapped,
    length,
    negated,
    put,
    rhs,
    uncentred,
    unfact,
    without,
)  # fmt: skip

OFFSET = put({i: i + 1}, "off by one position")
BACKWARDS = put({i: N - 1 - i}, "positions not reversed")
PERMUTED = put({o: PI_OUT(o)}, "one permutation of outputs too few")
NO_INSTANCE = "the subterm is no such instance of"

_ONE_MORE = length(s * (N - 1) + d * (K - 1) + 2 - 2 * p, "one position left unread")
_NO_DILATION = length(s * (N - 1) + K - 2 * p, "dilation left out of the centring condition")


def _kernel(name: str = "kernel") -> list[Mutation]:
    return [
        without(name),
        given_at(name, K - 1 - k, k, "kernel not reversed", f"{NO_INSTANCE}|{ENDS}|not the same term"),
        given_at(name, PI_IN(c), c, "kernel's input channels not permuted", "not the same term"),
    ]


_SUFFICIENT = [uncentred(), _ONE_MORE, without("bias"), without("signs_in"), OFFSET, PERMUTED]
_NO_SUM = "distribute takes a product with a sum in it"

_NOT_ONE = "not the same term"
_NO_VALUES = "no equation 'values' is known"
_WEAKER = "does not follow|no equation 'values' is known"
_READS = (s * n + d * t - p, L - 1 - (s * n + d * t - p))

_UNREAD = unfact(_READS, "a tap that reads no input", _WEAKER)


def _necessary(*more: Mutation) -> list[Mutation]:
    return [without("at units", _NO_VALUES), negated(f"{ENDS}|{_NOT_ONE}"), _UNREAD, *more]


def _values(*more: Mutation) -> list[Mutation]:
    return [without("at units"), negated(), _UNREAD, *more]


_OTHER_TAP = put({t: t + 1}, "another tap", f"{ENDS}|{_NOT_ONE}")


def put_one(reason: str = ENDS) -> Mutation:
    """1 for 0."""
    return rhs(lambda claim: num(1), "1 for 0", reason)


_WITNESS = [put_one(), uncentred(UNDECIDED)]

MUTANTS: dict[str, list[Mutation]] = {
    "T3.conv.sufficient": [*_SUFFICIENT, negated(_NO_SUM), _NO_DILATION, BACKWARDS, *_kernel()],
    "T3.conv.mirrored": [
        put({r: r + 1}, "mirrored windows off by one"),
        put({r: q - p}, "windows that start where the plain ones do"),
        exchange(K - 1 - k, k, "kernel not reversed"),
        exchange(PI_IN(c), c, "channels of the kernel not permuted"),
        negated(),
        uncentred(),
    ],
    "T3.conv.asymmetric": [
        length(s * (N - 1) + d * (K - 1) + 1 - p - q, "the unread positions forgotten"),
        without("kernel"),
        without("bias"),
        without("signs_in"),
        OFFSET,
        uncentred(),
    ],
    "T3.grouped.sufficient": [
        uncentred(),
        without("kernel"),
        without("bias"),
        given_at("kernel", S - 1 - c, c, "channels within a group not reversed", ENDS),
        given_at("kernel", Q - 1 - v, v, "outputs within a group not reversed", ENDS),
        put({g: g + 1}, "another group"),
    ],
    "T3.linear.sufficient": [
        without("matrix"),
        without("bias"),
        without("signs_in"),
        given_at("matrix", PI_IN(c), c, "features not permuted", _NOT_ONE),
        PERMUTED,
        negated(_NO_SUM),
    ],
    "T3.linear.mirrored": [
        exchange(PI_IN(c), c, "features of the matrix not permuted"),
        PERMUTED,
        negated(),
    ],
    "T3.transposed.sufficient": [
        uncentred(),
        length(s * (L - 1) + d * (K - 1) + 2 - 2 * p, "an output padding of 1"),
        *_kernel(),
        without("bias"),
        without("signs_in"),
        OFFSET,
    ],
    "T3.transposed.mirrored": [
        put({r: 0}, "output padding forgotten"),
        put({r: -r}, "output padding at the wrong end"),
        exchange(K - 1 - k, k, "kernel not reversed"),
        uncentred(),
        negated(),
    ],
    "T3.average.sufficient": [uncentred(), _ONE_MORE, _NO_DILATION, negated(f"{ENDS}|{_NOT_ONE}")],
    "T3.average.mirrored": [
        uncentred(),
        put({r: r + 1}, "mirrored windows off by one", f"{ENDS}|{_NOT_ONE}"),
        put({q: p}, "the wrong padding", f"{ENDS}|{_NOT_ONE}"),
        negated(f"{ENDS}|{_NOT_ONE}"),
    ],
    "T3.maximum.sufficient": [uncentred(), _ONE_MORE, _NO_DILATION, OFFSET, negated()],
    "T3.maximum.mirrored": [
        uncentred(),
        put({r: r + 1}, "mirrored windows off by one"),
        put({q: p}, "the wrong padding"),
        put({c: PI_IN(c)}, "channels not permuted"),
    ],
    **{
        f"T3.padding.{mode}": [
            put({i: i + 1}, "off by one position", f"{ENDS}|{UNDECIDED}"),
            put({p: q, q: p}, "left and right padding not swapped", f"{ENDS}|{UNDECIDED}"),
            put({i: L + p + q - 1 - i}, "positions not reversed", f"{ENDS}|{UNDECIDED}"),
            put({c: PI_IN(c)}, "channels not permuted"),
        ]
        for mode in ("reflect", "replicate", "circular", "zeros")
    },
    "T3.conv.necessary.bias": [without("at zero"), PERMUTED, negated()],
    "T3.conv.necessary.kernel.values": _values(
        length(s * (N - 1) + d * (K - 1) + 2 - 2 * p, "one position left unread", "no condition"), _OTHER_TAP
    ),
    "T3.conv.necessary.kernel": _necessary(
        length(s * (N - 1) + d * (K - 1) + 2 - 2 * p, "one position left unread", _NO_VALUES),
        _OTHER_TAP,
        without("signs_in"),
    ),
    "T3.conv.necessary.shifted.values": _values(
        put({m: m + 1}, "a shift by another number of taps"), put({m: -m}, "a shift the other way"), _OTHER_TAP
    ),
    "T3.conv.necessary.shifted": [
        without("at units", _NO_VALUES),
        put({m: m + 1}, "a shift by another number of taps", f"{ENDS}|{_NOT_ONE}"),
        put({m: -m}, "a shift the other way", f"{ENDS}|{_NOT_ONE}"),
        put({m: 0}, "no shift", f"{ENDS}|{_NOT_ONE}"),
    ],
    "T3.conv.necessary.left.values": [
        without("at units"),
        negated(),
        unfact((r - d * t - 1,), "a tap with a partner", UNDECIDED),
    ],
    "T3.conv.necessary.left": [
        without("at units", _NO_VALUES),
        _UNREAD,
        unfact((r - d * t - 1,), "a tap with a partner", _NO_VALUES),
    ],
    "T3.conv.necessary.right.values": _values(unfact((-r - d * (K - 1 - t) - 1,), "a tap with a partner", UNDECIDED)),
    "T3.conv.necessary.right": [
        without("at units", _NO_VALUES),
        _UNREAD,
        unfact((-r - d * (K - 1 - t) - 1,), "a tap with a partner", _NO_VALUES),
    ],
    "T3.conv.necessary.residue.values": _values(),
    "T3.conv.necessary.residue": [
        without("at units", _NO_VALUES),
        unfact((z - 1,), "an r that d divides", _NO_VALUES),
        put_one(f"{ENDS}|{_NOT_ONE}"),
    ],
    "T3.linear.necessary.bias": [without("at zero"), PERMUTED, negated()],
    "T3.linear.necessary.values": [without("at units"), negated(), PERMUTED],
    "T3.linear.necessary": [
        without("at units", _NO_VALUES),
        without("at zero", _NO_VALUES),
        put({o: PI_OUT(o)}, "one permutation too few", _NOT_ONE),
    ],
    "T3.average.witness.one": [
        negated(),
        unfact(_READS, "a tap that reads no input", UNDECIDED),
        put({K: K + 1}, "K+1"),
    ],
    "T3.average.witness.left": [unfact((r - d * t - 1,), "a tap with a partner", UNDECIDED), *_WITNESS],
    "T3.average.witness.right": [unfact((-r - d * (K - 1 - t) - 1,), "a tap with a partner", UNDECIDED), *_WITNESS],
    "T3.average.witness.residue": [
        unfact((z - 1,), "an r that d divides", "does not follow"),
        put_one(),
        uncentred("no condition"),
    ],
    "T4.mirror.involution": [
        without("signs_in"),
        without("signs_out"),
        put({k: K - 1 - k}, "taps reversed once"),
        put({c: PI_IN(c)}, "input channels permuted once"),
        negated(),
    ],
    "T4.average.fixed": [without("signs_in"), without("signs_out"), negated(), PERMUTED],
    "T4.average.identity": [
        without("kernel"),
        negated(f"{ENDS}|{_NOT_ONE}"),
        put({o: PI_OUT(o)}, "outputs permuted", _NOT_ONE),
    ],
    "T5.conv.tied": [
        uncentred(),
        _ONE_MORE,
        left_halves_swapped(),
        exchange(K - 1 - k, k, "the mirrored half of the kernel not reversed"),
        exchange(PI_IN(c), c, "the mirrored half of the kernel not permuted"),
        OFFSET,
    ],
    "T5.conv.mirrored": [
        uncentred(),
        halves_swapped(),
        put({r: r + 1}, "mirrored windows off by one"),
        put({r: 0}, "the unread positions forgotten"),
        put({q: p}, "the wrong padding"),
        exchange(K - 1 - k, k, "kernel not reversed"),
    ],
    "T5.conv.coupled": [
        uncentred(),
        _ONE_MORE,
        halves_swapped(),
        OFFSET,
        negated(),
    ],
    "T5.conv.embedding": [uncentred(), _ONE_MORE, halves_swapped(), OFFSET, negated()],
    "T5.conv.own": [OFFSET, negated(), exchange(F - 1 - c, c, "the other strand not reversed")],
    "T5.conv.halves": [
        uncentred(),
        halves_swapped(),
        put({r: r + 1}, "mirrored windows off by one"),
        put({q: p}, "the wrong padding"),
        exchange(F + c, c, "the first strand read twice"),
    ],
    "T5.grouped.halves": [
        uncentred(),
        put({r: r + 1}, "mirrored windows off by one"),
        exchange(S - 1 - c, c, "channels within a group not reversed"),
        put({q: p}, "the wrong padding"),
    ],
    "T5.linear.tied": [
        left_halves_swapped(),
        put({o: 2 * O - 1 - o}, "halves swapped", f"{ENDS}|{UNDECIDED}"),
        exchange(PI_IN(c), c, "the mirrored half of the matrix not permuted"),
    ],
    "T5.linear.coupled": [halves_swapped(), negated(), exchange(F - 1 - c, c, "the other strand not reversed")],
    "T5.linear.embedding": [halves_swapped(), negated(), put({o: o + 1}, "off by one output", f"{ENDS}|{UNDECIDED}")],
    "T5.transposed.tied": [uncentred(), left_halves_swapped(), exchange(K - 1 - k, k, "kernel not reversed"), OFFSET],
    "T5.transposed.halves": [
        uncentred(),
        halves_swapped(),
        put({r: 0}, "output padding forgotten"),
        put({r: -r}, "output padding at the wrong end"),
    ],
    **{
        f"T5.{key}.stacked": [uncentred(), _ONE_MORE, put({o: 2 * F - 1 - o}, "strands swapped"), OFFSET]
        for key in ("average", "maximum")
    },
    **{
        f"T5.{key}.halves": [
            uncentred(),
            halves_swapped(),
            put({r: r + 1}, "mirrored windows off by one"),
            put({q: p}, "the wrong padding"),
        ]
        for key in ("average", "maximum")
    },
}
