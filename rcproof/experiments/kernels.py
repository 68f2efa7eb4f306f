"""Loops over channels-last arrays that torch has no one operation for, compiled by numba.

Arrays are float32 and C-contiguous: activations (N, L, C), channel vectors (C,). Sums over many rows are made in
float32 over blocks that fit the cache and joined in float64, so they are at least as exact as torch's.
"""

from __future__ import annotations

import numba
import numpy as np

jit = numba.njit(cache=True, fastmath={"contract", "nsz", "reassoc"}, boundscheck=False, error_model="numpy")

#: Rows of a block of sums.
BLOCK = 128


@jit
def moments(z, mean, square):
    """Mean and mean squared deviation (C,) float64 of rows (M, C): block by block, joined by Chan's formula."""
    rows, channels = z.shape
    small, apart = np.empty(channels, np.float32), np.empty(channels, np.float32)
    mean[:], square[:] = 0.0, 0.0
    for begin in range(0, rows, BLOCK):
        end = min(rows, begin + BLOCK)
        count = end - begin
        small[:] = 0
        for i in range(begin, end):
            for c in range(channels):
                small[c] += z[i, c]
        for c in range(channels):
            small[c] /= np.float32(count)
        apart[:] = 0
        for i in range(begin, end):
            for c in range(channels):
                d = z[i, c] - small[c]
                apart[c] += d * d
        for c in range(channels):
            away = small[c] - mean[c]
            mean[c] += away * count / end
            square[c] += apart[c] + away * away * begin * count / end
    for c in range(channels):
        square[c] /= rows


@jit
def affine_relu(z, scale, shift, y):
    """y = max(0, scale·z + shift), rows (M, C)."""
    zero = np.float32(0)
    for i in range(z.shape[0]):
        for c in range(z.shape[1]):
            y[i, c] = max(zero, scale[c] * z[i, c] + shift[c])


@jit
def affine_relu_sums(z, y, dy, mean, plain, crossed):
    """Of the gradient g behind the relu, Σ g and Σ g·(z − mean) (C,) float64."""
    rows, channels = z.shape
    zero = np.float32(0)
    one, two = np.empty(channels, np.float32), np.empty(channels, np.float32)
    plain[:], crossed[:] = 0.0, 0.0
    for begin in range(0, rows, BLOCK):
        one[:], two[:] = 0, 0
        for i in range(begin, min(rows, begin + BLOCK)):
            for c in range(channels):
                g = dy[i, c] if y[i, c] > zero else zero
                one[c] += g
                two[c] += g * (z[i, c] - mean[c])
        for c in range(channels):
            plain[c] += one[c]
            crossed[c] += two[c]


@jit
def affine_relu_back(z, y, dy, own, constant, slope, dz):
    """dz = own·g + constant + slope·z, (N, L, C), with g the gradient behind the relu; dz may be longer than z."""
    zero = np.float32(0)
    for n in range(z.shape[0]):
        for i in range(z.shape[1]):
            for c in range(z.shape[2]):
                g = dy[n, i, c] if y[n, i, c] > zero else zero
                dz[n, i, c] = own[c] * g + constant[c] + slope[c] * z[n, i, c]


@jit
def extremes(z, sign, size, stride, top, where):
    """Of z (N, L, C) in windows, the largest sign·z: as z (N, P, C), and at which position (the first of equals)."""
    count, _, channels = z.shape
    best, place = np.empty(channels, np.float32), np.empty(channels, np.int32)
    for n in range(count):
        for p in range(top.shape[1]):
            begin = p * stride
            for c in range(channels):
                best[c] = sign[c] * z[n, begin, c]
                place[c] = begin
            for i in range(begin + 1, begin + size):
                position = np.int32(i)
                for c in range(channels):
                    v = sign[c] * z[n, i, c]
                    higher = v > best[c]
                    best[c] = v if higher else best[c]
                    place[c] = position if higher else place[c]
            for c in range(channels):
                top[n, p, c] = sign[c] * best[c]
                where[n, p, c] = place[c]


@jit
def extremes_back(z, where, g, own, constant, slope, dz):
    """dz = constant + slope·z, and own·g where the extremes are: g (N, P, C). dz may be longer than z."""
    count, length, channels = z.shape
    for n in range(count):
        for i in range(length):
            for c in range(channels):
                dz[n, i, c] = constant[c] + slope[c] * z[n, i, c]
        for p in range(where.shape[1]):
            for c in range(channels):
                dz[n, where[n, p, c], c] += own[c] * g[n, p, c]


@jit
def windows(x, w, bias, y):
    """y[n, o, t] = bias[o] + Σ_k,c w[o, k, c]·x[n, t + k, c]; a window is K·C numbers in a row, and four go at once."""
    count, length, channels = x.shape
    outputs, taps, _ = w.shape
    width, positions = taps * channels, y.shape[2]
    for n in range(count):
        row = x[n].reshape(length * channels)
        for o in range(outputs):
            own = w[o].reshape(width)
            for t in range(0, positions - 3, 4):
                a = row[t * channels : t * channels + width]
                b = row[(t + 1) * channels : (t + 1) * channels + width]
                c = row[(t + 2) * channels : (t + 2) * channels + width]
                d = row[(t + 3) * channels : (t + 3) * channels + width]
                p, q, r, s = bias[o], bias[o], bias[o], bias[o]
                for j in range(width):
                    p += own[j] * a[j]
                    q += own[j] * b[j]
                    r += own[j] * c[j]
                    s += own[j] * d[j]
                y[n, o, t], y[n, o, t + 1], y[n, o, t + 2], y[n, o, t + 3] = p, q, r, s
            for t in range(positions - positions % 4, positions):
                a, p = row[t * channels : t * channels + width], bias[o]
                for j in range(width):
                    p += own[j] * a[j]
                y[n, o, t] = p


@jit
def windows_back(dy, w, dx):
    """The gradient of :func:`windows` for x, by four positions of dy (N, O, T) at once; dx (N, L, C)."""
    count, length, channels = dx.shape
    outputs, taps, _ = w.shape
    width, positions, margin = taps * channels, dy.shape[2], 3 * channels
    padded = np.zeros((outputs, width + 2 * margin), np.float32)  # weights between zeros, so that four meet as one
    for o in range(outputs):
        padded[o, margin : margin + width] = w[o].reshape(width)
    for n in range(count):
        row = dx[n].reshape(length * channels)
        row[:] = 0
        for o in range(outputs):
            a, b, c, d = padded[o, margin:], padded[o, 2 * channels :], padded[o, channels:], padded[o]
            for t in range(0, positions - 3, 4):
                p, q, r, s = dy[n, o, t], dy[n, o, t + 1], dy[n, o, t + 2], dy[n, o, t + 3]
                part = row[t * channels : t * channels + width + margin]
                for j in range(width + margin):
                    part[j] += p * a[j] + q * b[j] + r * c[j] + s * d[j]
            for t in range(positions - positions % 4, positions):
                p = dy[n, o, t]
                part = row[t * channels : t * channels + width]
                for j in range(width):
                    part[j] += p * a[j]


@jit
def windows_sums(dy, x, dw):
    """The gradient of :func:`windows` for the weights, (O, K, C) float64."""
    count, length, channels = x.shape
    outputs, taps, _ = dw.shape
    width, positions = taps * channels, dy.shape[2]
    own = np.empty(width, np.float32)
    dw[:] = 0.0
    for n in range(count):
        row = x[n].reshape(length * channels)
        for o in range(outputs):
            own[:] = 0
            for t in range(0, positions - 3, 4):
                a = row[t * channels : t * channels + width]
                b = row[(t + 1) * channels : (t + 1) * channels + width]
                c = row[(t + 2) * channels : (t + 2) * channels + width]
                d = row[(t + 3) * channels : (t + 3) * channels + width]
                p, q, r, s = dy[n, o, t], dy[n, o, t + 1], dy[n, o, t + 2], dy[n, o, t + 3]
                for j in range(width):
                    own[j] += p * a[j] + q * b[j] + r * c[j] + s * d[j]
            for t in range(positions - positions % 4, positions):
                a, p = row[t * channels : t * channels + width], dy[n, o, t]
                for j in range(width):
                    own[j] += p * a[j]
            total = dw[o].reshape(width)
            for j in range(width):
                total[j] += own[j]


@jit
def skip_relu(x, z, start, y):
    """y = x[:, start : start + L′] + max(0, z), of x (N, L, C) and z (N, L′, C)."""
    count, length, channels = z.shape
    zero, width = np.float32(0), length * channels
    for n in range(count):
        skipped = x[n, start : start + length].reshape(width)
        own, out = z[n].reshape(width), y[n].reshape(width)
        for i in range(width):
            out[i] = skipped[i] + max(zero, own[i])


@jit
def skip_relu_back(g, z, start, dx, dz):
    """The gradient of :func:`skip_relu` for both."""
    count, length, channels = z.shape
    zero, width = np.float32(0), length * channels
    for n in range(count):
        dx[n, :start] = zero
        dx[n, start + length :] = zero
        skipped = dx[n, start : start + length].reshape(width)
        v, own, out = g[n].reshape(width), z[n].reshape(width), dz[n].reshape(width)
        for i in range(width):
            skipped[i] = v[i]
        for i in range(width):
            out[i] = v[i] if own[i] > zero else zero


@jit
def partners(s, out):
    """out (2N, L, 2C): every row of s (2N, L, C), and beside it that of the other strand, reversed."""
    count, length, channels = s.shape
    half = count // 2
    row = np.empty(channels, np.float32)  # read and written apart, which compiles to vectors
    for n in range(count):
        other = n + half if n < half else n - half
        for i in range(length):
            for c in range(channels):
                row[c] = s[other, length - 1 - i, channels - 1 - c]
            for c in range(channels):
                out[n, i, c] = s[n, i, c]
            for c in range(channels):
                out[n, i, channels + c] = row[c]


@jit
def partners_back(g, ds):
    """The transpose of :func:`partners`."""
    count, length, channels = ds.shape
    half = count // 2
    for n in range(count):
        other = n + half if n < half else n - half
        for i in range(length):
            for c in range(channels):
                ds[n, i, c] = g[n, i, c] + g[other, length - 1 - i, 2 * channels - 1 - c]
