"""Damage to bytes, without any idea of what they mean."""

from __future__ import annotations

import random
from collections.abc import Callable

#: Bytes that tend to be read as lengths, counts, opcodes or text.
ODD = (0x00, 0x01, 0x7F, 0x80, 0xFF, 0x28, 0x2E, 0x5B, 0x7B, 0x22, 0x2D)


def place(rng: random.Random, data: bytes) -> int:
    """Somewhere in the file; mostly near its ends, where headers are."""
    size = len(data)
    kind = rng.random()
    if kind < 0.45:
        return rng.randrange(min(size, 64 << rng.randrange(6)))
    if kind < 0.7:
        return max(0, size - 1 - rng.randrange(min(size, 64 << rng.randrange(6))))
    return rng.randrange(size)


def truncated(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.choice((rng.randrange(1, 16), place(rng, data), len(data) - rng.randrange(1, 9)))] or data[:1]


def bits(rng: random.Random, data: bytes) -> bytes:
    made = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        made[place(rng, data)] ^= 1 << rng.randrange(8)
    return bytes(made)


def octets(rng: random.Random, data: bytes) -> bytes:
    made = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        made[place(rng, data)] = rng.choice(ODD)
    return bytes(made)


def numbers(rng: random.Random, data: bytes) -> bytes:
    """A little-endian number, at a place where one may be, becomes another one."""
    width = rng.choice((2, 4, 8))
    at = min(place(rng, data) & ~(rng.choice((1, width)) - 1), max(0, len(data) - width))
    value = rng.choice((0, 1, 2 ** (8 * width) - 1, 2 ** (8 * width - 1), 2 ** (4 * width), rng.randrange(65536)))
    return data[:at] + (value % 2 ** (8 * width)).to_bytes(width, "little") + data[at + width :]


def removed(rng: random.Random, data: bytes) -> bytes:
    at, size = place(rng, data), rng.choice((1, 2, 8, 100, 1000))
    return (data[:at] + data[at + size :]) or data[:1]


def inserted(rng: random.Random, data: bytes) -> bytes:
    at, size = place(rng, data), rng.choice((1, 2, 8, 100, 1000))
    return data[:at] + rng.choice((rng.randbytes(size), bytes([rng.choice(ODD)]) * size)) + data[at:]


def doubled(rng: random.Random, data: bytes) -> bytes:
    at, size = place(rng, data), rng.choice((1, 8, 100, 1000))
    to = place(rng, data)
    return data[:to] + data[at : at + size] + data[to:]


def zeroed(rng: random.Random, data: bytes) -> bytes:
    at, size = place(rng, data), rng.choice((4, 16, 100, 1000))
    return data[:at] + bytes(min(size, len(data) - at)) + data[at + size :]


def swapped(rng: random.Random, data: bytes) -> bytes:
    size = rng.choice((1, 8, 64))
    a, b = sorted((place(rng, data), place(rng, data)))
    if b - a < size:
        return bits(rng, data)
    return data[:a] + data[b : b + size] + data[a + size : b] + data[a : a + size] + data[b + size :]


def noise(rng: random.Random, data: bytes) -> bytes:
    """A beginning that is right, and then anything."""
    keep = rng.choice((2, 4, 8, 16, 64, 512))
    return data[:keep] + rng.randbytes(rng.randrange(1, 400))


def repeated(rng: random.Random, data: bytes) -> bytes:
    return data * 2 if rng.random() < 0.5 else data + rng.randbytes(rng.randrange(1, 100))


DAMAGE: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    *(truncated, truncated, bits, bits, bits, octets, octets, numbers, numbers),
    *(removed, inserted, doubled, zeroed, swapped, noise, repeated),
)


def damaged(rng: random.Random, data: bytes) -> tuple[str, bytes]:
    """The bytes with one kind of damage, and what it is called."""
    kind = rng.choice(DAMAGE)
    return f"bytes {kind.__name__}", kind(rng, data)
