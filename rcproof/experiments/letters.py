"""A first convolution of letters, with the batch norm, relu and max pooling behind it: looked up, not multiplied.

Where every column of x (N, 4, L) is a letter, a window of K columns is a word, and what a filter w (C, 4, K) says of it
is a sum over tables, one for every three places: z_i = b + Σ_t T_t[letters i + 3t, i + 3t + 1, i + 3t + 2]. No more
of z is needed than the maxima in the windows of the pooling, and sums over all its M rows, which the letters give: with
S (4K) the counts of each letter at each place of a window, and G (4K × 4K) those of two letters at two places, both
whole numbers,

- its mean is b + w·S/M and its variance diag(w·G·wᵀ)/M − (w·S/M)²,
- and the gradient of w, where that of z is a + c·z and something more at the maxima
  (:mod:`rcproof.experiments.stages`), is a·Sᵀ + c·(w·G + b·Sᵀ), and a sum over the maxima alone.

It is the same function up to rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rcproof.experiments.kernels import jit
from rcproof.experiments.stages import Normed, Stage, own_gradient

Codes = NDArray[np.uint8]
Doubles = NDArray[np.float64]

#: Channels of a table that lie together: three vector registers. A constant, since loops of unknown length cost more.
LANES = 24
#: Tables that are added at once, which the 21 places of the paper's networks need; of others there are zeros.
TOGETHER = 7
#: Letters of a table's entry, and how many entries there are.
LETTERS, ENTRIES = 3, 64


def read(x: Tensor, taps: int) -> Codes | None:
    """The three letters from each place of x (N, 4, L) on, as one number, the first highest; None if x has others.

    Behind them are as many zeros as the tables of ``taps`` places look at.
    """
    if x.shape[1] != 4 or x.shape[2] < taps:
        return None
    codes = np.zeros((x.shape[0], x.shape[2] + LETTERS * _tables(taps)), np.uint8)
    return codes if encode(x.contiguous().numpy(), codes) else None


class LetterStage(torch.autograd.Function):
    """Codes of x → max pooling(relu(batch norm(conv(x)))); the convolution has ``taps`` places and stride 1."""

    @staticmethod
    def forward(
        ctx: Any, kernel: Tensor, offset: Tensor | None, weight: Tensor, bias: Tensor, how: Normed, codes: Codes,
        length: int,
    ) -> Tensor:  # fmt: skip
        assert how.window is not None
        channels, _, taps = kernel.shape
        w = kernel.detach().double().permute(2, 1, 0).reshape(4 * taps, channels).numpy()
        b = np.zeros(channels) if offset is None else offset.detach().double().numpy()
        stage, positions = Stage(weight, bias, how), length - taps + 1
        rows = len(codes) * positions
        ctx.codes, ctx.kernel, ctx.offset, ctx.stage = codes, kernel.shape, offset is not None, stage
        if how.training:
            single, both = counted(codes, positions, taps)
            unbiased, with_unbiased = single @ w / rows, both @ w
            var = np.einsum("kc,kc->c", w, with_unbiased) / rows - unbiased**2
            mean = unbiased + b
            r = how.moved(mean, np.maximum(var, 0), rows)
            ctx.single = single[:, None]
            ctx.with_z = with_unbiased + ctx.single * b  # sums over the rows of each letter times z
        else:
            mean, r = how.running()
        sign, top, where = stage.room(len(codes), positions, channels)
        maxima(codes, tables_of(w * sign, b * sign), sign, *how.window, top, where)
        return torch.from_numpy(stage.normalised(mean, r, rows)).transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        stage = ctx.stage
        dweight, dbias = stage.gradients(own_gradient(grads[0], stage))
        channels, inputs, taps = ctx.kernel
        tables = np.zeros((_tables(taps), ENTRIES, channels))
        maxima_back(ctx.codes, stage.places[0], stage.dy, stage.own, tables)
        total = weights_of(tables, taps)
        if stage.how.training:
            total += ctx.single * stage.constant + ctx.with_z * stage.slope
        kernel = torch.from_numpy(total).float().view(taps, inputs, channels).permute(2, 1, 0).contiguous()
        # In training the bias goes with the mean; in eval it gets what the tables' gradient adds up to.
        ones = np.zeros(channels) if stage.how.training else tables[0].sum(axis=0)
        offset = torch.from_numpy(ones).float() if ctx.offset else None
        return kernel, offset, dweight, dbias, None, None, None


def _tables(taps: int) -> int:
    """How many tables a window of so many places has, with those of zeros."""
    return -(-taps // (LETTERS * TOGETHER)) * TOGETHER


def tables_of(w: Doubles, b: Doubles) -> NDArray[np.float32]:
    """Of filters (4K, C) and biases (C,), the tables (blocks of channels, T, 64, LANES); the first has the biases."""
    count, blocks = _tables(len(w) // 4), -(-w.shape[1] // LANES)
    places = np.zeros((LETTERS * count, 4, blocks * LANES))
    places[: len(w) // 4, :, : w.shape[1]] = w.reshape(-1, 4, w.shape[1])
    places[0, :, : len(b)] += b
    one, two, three = places[0::3], places[1::3], places[2::3]
    tables = one[:, :, None, None] + two[:, None, :, None] + three[:, None, None, :]
    by_block = tables.reshape(count, ENTRIES, blocks, LANES).transpose(2, 0, 1, 3)
    return np.ascontiguousarray(by_block, dtype=np.float32)


def weights_of(tables: Doubles, taps: int) -> Doubles:
    """The transpose of :func:`tables_of`: of gradients (T, 64, C) of the tables, those of the filters (4K, C)."""
    count, _, channels = tables.shape
    by_letter = tables.reshape(count, 4, 4, 4, channels)
    places = np.stack([by_letter.sum(axis=axes) for axes in ((2, 3), (1, 3), (1, 2))], axis=1)
    return places.reshape(LETTERS * count * 4, channels)[: 4 * taps]


def counted(codes: Codes, positions: int, taps: int) -> tuple[Doubles, Doubles]:
    """S (4K,) and G (4K × 4K): letters at the places of all windows, and pairs of them, in whole numbers."""
    first = np.zeros((taps, 4, 4), np.int64)
    ends = np.zeros((taps, taps, 4, 4), np.int64)
    pairs(codes, positions, first, ends)
    both = np.zeros((taps, 4, taps, 4))
    for lag in range(taps):
        # The windows' place k is the sequence from k on: one letter less at its beginning, one more at its end.
        moved = first[lag] + np.concatenate([np.zeros((1, 4, 4), np.int64), ends[: taps - 1 - lag, lag].cumsum(axis=0)])
        for k in range(taps - lag):
            both[k, :, k + lag] = moved[k]
            both[k + lag, :, k] = moved[k].T
    square = both.reshape(4 * taps, 4 * taps)
    return square.diagonal().copy(), square


# -- loops -----------------------------------------------------------------------------------------


@jit
def encode(x, codes):
    """The codes of x (N, 4, L), into the first L of a row; whether x is letters all over."""
    count, _, length = x.shape
    one, zero = np.float32(1), np.float32(0)
    letter = np.zeros(length + 2, np.uint8)
    others = 0
    for n in range(count):
        a, b, c, d = x[n, 0], x[n, 1], x[n, 2], x[n, 3]
        for i in range(length):
            p, q, r, s = a[i], b[i], c[i], d[i]
            whole = ((p == one) | (p == zero)) & ((q == one) | (q == zero)) & ((r == one) | (r == zero))
            others += 0 if whole & ((s == one) | (s == zero)) & (p + q + r + s == one) else 1
            letter[i] = np.uint8(q + 2 * r + 3 * s)
        for i in range(length):
            codes[n, i] = letter[i] * 16 + letter[i + 1] * 4 + letter[i + 2]
    return others == 0


@jit
def maxima(codes, tables, sign, size, stride, top, where):
    """In each window of z, sign·z the largest: z as top (N, P, C), and at which position (the first of equals)."""
    count, windows, channels = top.shape
    blocks, entries = tables.shape[:2]
    rows = np.empty(size * LANES, np.float32)
    best, place = np.empty(LANES, np.float32), np.empty(LANES, np.int32)
    for n in range(count):
        code = codes[n]
        for block in range(blocks):
            flat = tables[block].reshape(entries * ENTRIES * LANES)
            for p in range(windows):
                begin = p * stride
                for group in range(entries // TOGETHER):
                    _add(code[begin + LETTERS * TOGETHER * group :], flat[group * TOGETHER * ENTRIES * LANES :],
                         group == 0, size, rows)  # fmt: skip
                _largest(rows, size, best, place)
                for c in range(block * LANES, min(channels, (block + 1) * LANES)):
                    top[n, p, c] = sign[c] * best[c - block * LANES]
                    where[n, p, c] = begin + place[c - block * LANES]


@jit
def _add(code, flat, new, size, rows):
    """Add to the rows of a window what seven tables say of it; to nothing, where they are new."""
    for i in range(size):
        to = i * LANES
        a = np.int64(code[i]) * LANES
        b = (ENTRIES + np.int64(code[i + 3])) * LANES
        c = (2 * ENTRIES + np.int64(code[i + 6])) * LANES
        d = (3 * ENTRIES + np.int64(code[i + 9])) * LANES
        e = (4 * ENTRIES + np.int64(code[i + 12])) * LANES
        f = (5 * ENTRIES + np.int64(code[i + 15])) * LANES
        g = (6 * ENTRIES + np.int64(code[i + 18])) * LANES
        for j in range(LANES):
            said = flat[a + j] + flat[b + j] + flat[c + j] + (flat[d + j] + flat[e + j]) + (flat[f + j] + flat[g + j])
            rows[to + j] = said if new else rows[to + j] + said


@jit
def _largest(rows, size, best, place):
    """The largest of each channel and its row, four rows at once: the first of equals."""
    one, two, three = np.int32(1), np.int32(2), np.int32(3)
    for j in range(LANES):
        best[j], place[j] = rows[j], 0
    for i in range(1, size - 3, 4):
        row = np.int32(i)
        for j in range(LANES):
            a, b = rows[i * LANES + j], rows[(i + 1) * LANES + j]
            c, d = rows[(i + 2) * LANES + j], rows[(i + 3) * LANES + j]
            first, last = b > a, d > c
            v, at = b if first else a, row + one if first else row
            w, behind = d if last else c, row + three if last else row + two
            v, at = w if w > v else v, behind if w > v else at
            higher = v > best[j]
            best[j] = v if higher else best[j]
            place[j] = at if higher else place[j]
    for i in range(size - (size - 1) % 4, size):
        row = np.int32(i)
        for j in range(LANES):
            higher = rows[i * LANES + j] > best[j]
            best[j] = rows[i * LANES + j] if higher else best[j]
            place[j] = row if higher else place[j]


@jit
def maxima_back(codes, where, g, own, tables):
    """Add own·g (N, P, C) at the maxima to the entries (T, 64, C) that were read there."""
    count, windows, channels = where.shape
    for n in range(count):
        for p in range(windows):
            for c in range(channels):
                v = own[c] * g[n, p, c]
                for t in range(tables.shape[0]):
                    tables[t, codes[n, where[n, p, c] + LETTERS * t], c] += v


@jit
def pairs(codes, positions, first, ends):
    """Count two letters that lie ``lag`` apart, in words of 64 places.

    ``first`` (K, 4, 4): by lag, with the first of the two in the first ``positions`` places. ``ends`` (K, K, 4, 4): by
    k and lag, those with the first of the two ``positions`` behind place k, less those with it at place k.
    """
    taps = first.shape[0]
    words, inside = (positions + taps + 62) // 64 + 1, (positions + 63) // 64
    bits, moved = np.zeros((4, words), np.uint64), np.zeros((4, inside), np.uint64)
    mask, one = np.zeros(inside, np.uint64), np.uint64(1)
    for i in range(positions):
        mask[i >> 6] |= one << np.uint64(i & 63)
    for n in range(codes.shape[0]):
        code = codes[n]
        for letter in range(4):
            for w in range(words - 1):
                found = np.uint64(0)
                for i in range(64 * w, min(positions + taps - 1, 64 * w + 64)):
                    found |= np.uint64(code[i] >> 4 == letter) << np.uint64(i & 63)
                bits[letter, w] = found
        for lag in range(taps):
            down, up = np.uint64(lag & 63), np.uint64(63 - (lag & 63))
            for b in range(4):
                for w in range(inside):
                    # Shifted by 63 − lag and by one more: a shift by 64 is none.
                    moved[b, w] = (bits[b, w + (lag >> 6)] >> down | bits[b, w + (lag >> 6) + 1] << up << one) & mask[w]
            for a in range(4):
                for b in range(4):
                    total = np.uint64(0)
                    for w in range(inside):
                        total += _ones(bits[a, w] & moved[b, w])
                    first[lag, a, b] += np.int64(total)
            for k in range(taps - 1 - lag):
                ends[k, lag, code[k] >> 4, code[k + lag] >> 4] -= 1
                ends[k, lag, code[positions + k] >> 4, code[positions + k + lag] >> 4] += 1


@jit
def _ones(v):
    """How many bits of a word are set; compilers know this sum as one instruction."""
    v = v - ((v >> np.uint64(1)) & np.uint64(0x5555555555555555))
    v = (v & np.uint64(0x3333333333333333)) + ((v >> np.uint64(2)) & np.uint64(0x3333333333333333))
    v = (v + (v >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (v * np.uint64(0x0101010101010101)) >> np.uint64(56)
