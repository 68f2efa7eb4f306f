"""Zip archives from named bytes, and every trick that one can play."""

from __future__ import annotations

import io
import random
import stat
import struct
import zipfile
from collections.abc import Callable, Mapping
from functools import cache

Members = Mapping[str, bytes]

LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"


def members(data: bytes) -> dict[str, bytes]:
    """What is in an archive."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def zipped(content: Members, method: int = zipfile.ZIP_STORED, more: Members | None = None) -> bytes:
    """An archive; ``more`` are entries after the others, of any name."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, data in [*content.items(), *(more or {}).items()]:
            archive.writestr(_info(name, method), data)
    return target.getvalue()


def _info(name: str, method: int = zipfile.ZIP_STORED) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("x")
    info.filename = name  # as it is: the constructor would mend it
    info.compress_type = method
    return info


@cache
def zeros(size: int) -> bytes:
    """An archive with one entry ``x`` of so many zeros, deflated."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x", "w") as entry:
        for _ in range(size >> 20):
            entry.write(bytes(1 << 20))
    return target.getvalue()


def bomb(content: Members, name: str, size: int = 256 << 20) -> bytes:
    """The archive with zeros in the place of an entry: hundreds of megabytes from hundreds of kilobytes."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for other, data in content.items():
            if other != name:
                archive.writestr(_info(other), data)
        with archive.open(_info(name, zipfile.ZIP_DEFLATED), "w") as entry:
            for _ in range(size >> 20):
                entry.write(bytes(1 << 20))
    return target.getvalue()


def header(data: bytes, name: str, at: int, value: bytes, where: bytes = CENTRAL) -> bytes:
    """The archive with other bytes in the header of an entry; ``at`` counts from the header's beginning."""
    made, fixed = bytearray(data), 46 if where == CENTRAL else 30
    start = -1
    while (start := data.find(where, start + 1)) >= 0:
        length = struct.unpack_from("<H", data, start + (28 if where == CENTRAL else 26))[0]
        if data[start + fixed : start + fixed + length] == name.encode("utf-8", "surrogatepass"):
            made[start + at : start + at + len(value)] = value
    return bytes(made)


def both(data: bytes, name: str, central: int, value: bytes) -> bytes:
    """The same in both headers of an entry."""
    return header(header(data, name, central, value), name, central - 2, value, LOCAL)


def _number(value: int, width: int = 4) -> bytes:
    return value.to_bytes(width, "little")


def _link(content: Members, name: str, target: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for other, data in content.items():
            if other != name:
                archive.writestr(_info(other), data)
        info = _info(name)
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        info.create_system = 3
        archive.writestr(info, target)
    return made.getvalue()


def _shared(content: Members, name: str, count: int) -> bytes:
    """Many entries that are the same bytes."""
    data = zipped(content)
    end = data.rindex(END)
    at = data.index(CENTRAL)
    record = data[data.rindex(CENTRAL) : end]
    copies = []
    for i in range(count):
        made = bytearray(record)
        name_length = struct.unpack_from("<H", made, 28)[0]
        label = f"{i:0{name_length}d}"[-name_length:].encode()
        made[46 : 46 + name_length] = label
        copies.append(bytes(made))
    directory = data[at:end] + b"".join(copies)
    total = min(data.count(CENTRAL) + count, 65535)
    tail = bytearray(data[end:])
    struct.pack_into("<HHI", tail, 8, total, total, len(directory))
    return data[:at] + directory + bytes(tail)


Trick = Callable[[Members, str, str], bytes]


def _more(**entries: bytes) -> Trick:
    return lambda content, name, outside: zipped(content, more=entries)


#: By name; each takes the entries, the name of one that matters, and a path at which nothing must ever be.
TRICKS: dict[str, Trick] = {
    "names that lead out": lambda c, n, o: zipped(
        c, more={"../../escape": b"x", f"{o}-absolute": b"x", "C:\\escape": b"x", "a/../../../escape": b"x"}
    ),
    "only names that lead out": lambda c, n, o: zipped({f"../../{k}": v for k, v in c.items()}),
    "absolute names": lambda c, n, o: zipped({f"{o}/{k}": v for k, v in c.items()}),
    "odd names": lambda c, n, o: zipped(c, more={"\x1b[31m\x07": b"", "a\nb": b"", "\u202e": b"", "A" * 60000: b""}),
    "two of one name": lambda c, n, o: zipped(c) and _twice(c, n),
    "an encrypted entry": lambda c, n, o: both(zipped(c), n, 8, _number(1, 2)),
    "strongly encrypted": lambda c, n, o: both(zipped(c), n, 8, _number(0x41, 2)),
    "a bomb": lambda c, n, o: bomb(c, n),
    "a compressed entry": lambda c, n, o: zipped(c, zipfile.ZIP_DEFLATED),
    "bzip2": lambda c, n, o: zipped(c, zipfile.ZIP_BZIP2),
    "lzma": lambda c, n, o: zipped(c, zipfile.ZIP_LZMA),
    "a method of packing that nobody knows": lambda c, n, o: both(zipped(c), n, 10, _number(99, 2)),
    "stored, said to be deflated": lambda c, n, o: both(zipped(c), n, 10, _number(8, 2)),
    "2 GiB by the directory": lambda c, n, o: header(zipped(c), n, 24, _number(2**31)),
    "2 GiB twice by the directory": lambda c, n, o: header(zipped(c), n, 20, _number(2**31) * 2),
    "4 GiB by the directory": lambda c, n, o: header(zipped(c), n, 20, _number(2**32 - 1) * 2),
    "shorter than it is": lambda c, n, o: header(zipped(c), n, 20, _number(3) * 2),
    "another size in the file": lambda c, n, o: header(zipped(c), n, 18, _number(2**31) * 2, LOCAL),
    "another name in the file": lambda c, n, o: header(zipped(c), n, 30, b"?", LOCAL),
    "a wrong checksum": lambda c, n, o: both(zipped(c), n, 16, _number(0xDEADBEEF)),
    "an offset past the end": lambda c, n, o: header(zipped(c), n, 42, _number(2**31 - 1)),
    "an offset into another entry": lambda c, n, o: header(zipped(c), n, 42, _number(7)),
    "a disk that is not there": lambda c, n, o: header(zipped(c), n, 34, _number(7, 2)),
    "a link": lambda c, n, o: _link(c, n, "/etc/hostname"),
    "a folder in its place": lambda c, n, o: zipped({k: v for k, v in c.items() if k != n}, more={f"{n}/": b""}),
    "itself inside": lambda c, n, o: zipped({**c, n: zipped(c)}),
    "12,000 entries": lambda c, n, o: zipped(c, more={f"assets/{i}": b"" for i in range(12_000)}),
    "40,000 names for the same bytes": lambda c, n, o: _shared(c, n, 40_000),
    "bytes before it": lambda c, n, o: b"MZ" + bytes(100) + zipped(c),
    "bytes after it": lambda c, n, o: zipped(c) + bytes(100),
    "a directory in its comment": lambda c, n, o: zipped(c)[:-2] + _number(22, 2) + END + bytes(18),
    "only a directory": lambda c, n, o: zipped(c)[zipped(c).index(CENTRAL) :],
    "nothing in it": lambda c, n, o: zipped({}),
    "no directory": lambda c, n, o: zipped(c)[: zipped(c).index(CENTRAL)],
}  # fmt: skip


def _twice(content: Members, name: str) -> bytes:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return zipped(content, more={name: b"{}"}) if name not in content else _append(content, name)


def _append(content: Members, name: str) -> bytes:
    target = io.BytesIO(zipped(content))
    with zipfile.ZipFile(target, "a") as archive:
        archive.writestr(_info(name), b"{}")
    return target.getvalue()


def mutated(rng: random.Random, content: Members, change: Callable[[random.Random, bytes], bytes]) -> bytes:
    """A sound archive in which one entry has other bytes."""
    name = rng.choice(list(content))
    return zipped({**content, name: change(rng, content[name])})
