"""A script that reads one HDF5 file and writes what is in it to its standard output, in a form that cannot hurt.

The HDF5 library can crash, hang or take all memory on a damaged file, so :mod:`rcproof.checkpoints.keras.hdf5` runs
this file in a process of its own, under limits. It must stand alone: it imports h5py, numpy and the standard library.

Standard output: eight bytes, the length of a header (little endian); the header, JSON: either ``{"error": …}`` or
``{"root": group, "arrays": [[dtype, shape], …]}`` with groups ``{"attrs": {…}, "groups": {…}, "arrays": {name: i}}``;
then the bytes of the arrays, one after the other, little endian, in C order. A failure after the header is one line on
standard error and an exit status other than 0.
"""

from __future__ import annotations

import contextlib
import json
import re
import struct
import sys
from typing import Any

#: Attributes that say something of the network; no other is looked at.
ATTRIBUTES = re.compile(
    r"(layer_names|weight_names)\d{0,6}|model_config|keras_version|backend|nb_layers|nb_params|name|dtype"
)
#: Groups at the root that hold no weights of the network.
SKIPPED = ("optimizer_weights", "optimizer")
#: Filters that HDF5 files of Keras use: deflate, shuffle, fletcher32, lzf.
FILTERS = (1, 2, 3, 32000)
KINDS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")


class Refused(Exception):
    """Something in the file that is not read."""


def limit(memory: int, seconds: int) -> None:
    """Bound what this process may take, where the system can."""
    try:
        import resource
    except ImportError:
        return
    for kind, most in (("RLIMIT_AS", memory), ("RLIMIT_CPU", seconds), ("RLIMIT_FSIZE", 1 << 20), ("RLIMIT_CORE", 0)):
        with contextlib.suppress(AttributeError, ValueError, OSError):  # a kind this system does not have
            resource.setrlimit(getattr(resource, kind), (most, most))


class Walk:
    """The groups of a file, and the arrays that are to be read once all are known to be small enough."""

    def __init__(self, limits: dict[str, int]) -> None:
        self.limits = limits
        self.headers: list[list[Any]] = []
        self.datasets: list[Any] = []
        self.seen: set[Any] = set()
        self.count = self.plain = self.packed = 0

    def group(self, group: Any, where: str, depth: int, skipped: tuple[str, ...] = ()) -> dict[str, Any]:
        """What is in a group."""
        import h5py

        info = h5py.h5o.get_info(group.id)
        if (info.fileno, info.addr) in self.seen:
            raise Refused(f"group {where!r} is in the file in two places")
        self.seen.add((info.fileno, info.addr))
        if depth > self.limits["depth"]:
            raise Refused(f"groups nested more than {self.limits['depth']} deep")
        made: dict[str, Any] = {"attrs": self.attributes(group, where), "groups": {}, "arrays": {}}
        for raw in group.id:
            self.count += 1
            if self.count > self.limits["objects"]:
                raise Refused(f"more than {self.limits['objects']} groups and arrays")
            name = raw.decode("utf-8")
            if name in skipped:
                continue
            inside = f"{where}/{name}"[-200:]
            if group.id.links.get_info(raw).type != h5py.h5l.TYPE_HARD:
                raise Refused(f"{inside!r} is a link to somewhere else")
            found = group[name]
            if isinstance(found, h5py.Group):
                made["groups"][name] = self.group(found, inside, depth + 1)
            elif isinstance(found, h5py.Dataset):
                made["arrays"][name] = self.dataset(found, inside)
        return made

    def dataset(self, dataset: Any, where: str) -> int:
        """The number of an array, checked but not read."""
        import h5py
        import numpy as np

        properties = dataset.id.get_create_plist()
        if properties.get_layout() == h5py.h5d.VIRTUAL or properties.get_external_count():
            raise Refused(f"array {where!r} has its values in another file")
        filters = [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]
        if not set(filters) <= set(FILTERS):
            raise Refused(f"array {where!r} is packed by a filter that is not read: {filters}")
        if dataset.shape is None:
            raise Refused(f"array {where!r} is empty")
        kind = dataset.dtype.str[1:]
        half = kind == "V2" and dataset.attrs.get("dtype") in ("bfloat16", b"bfloat16")
        if kind not in KINDS and not half:
            raise Refused(f"array {where!r} holds {dataset.dtype}, which is no number")
        size = dataset.dtype.itemsize
        for n in dataset.shape:
            size *= int(n)
        stored = int(dataset.id.get_storage_size())
        if filters:
            if size > stored * self.limits["ratio"]:
                raise Refused(f"array {where!r} would take {size} bytes, from {stored}")
            self.packed += size
            if self.packed > self.limits["packed"]:
                raise Refused(f"its packed arrays would take more than {self.limits['packed']} bytes")
        else:
            if size > stored:
                raise Refused(f"array {where!r} should have {size} bytes, and {stored} are in the file")
            self.plain += size
            if self.plain > self.limits["plain"]:
                raise Refused(f"its arrays have more bytes than the file has, {self.limits['plain']}")
        self.headers.append(["bfloat16" if half else np.dtype(kind).newbyteorder("<").str, list(dataset.shape)])
        self.datasets.append(dataset)
        return len(self.datasets) - 1

    def attributes(self, group: Any, where: str) -> dict[str, Any]:
        """The attributes of a group that say something of the network, as JSON."""
        import h5py

        made = {}
        for name in group.attrs:
            if not isinstance(name, str) or not ATTRIBUTES.fullmatch(name):
                continue
            found = h5py.h5a.open(group.id, name.encode("utf-8"))
            shape = found.shape or ()
            if len(shape) > 1 or found.dtype.itemsize * (shape[0] if shape else 1) > self.limits["text"]:
                raise Refused(f"attribute {name!r} of {where!r} is too large")
            value = plain(group.attrs[name])
            if value is None:
                raise Refused(f"attribute {name!r} of {where!r} is no text and no number")
            made[name] = value
        return made


def plain(value: Any) -> Any:
    """An attribute as JSON; None if it has no such form."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list):
        made = [plain(v) for v in value]
        return None if any(v is None or isinstance(v, list) for v in made) else made
    if isinstance(value, bytes):
        return value.decode("utf-8")
    return value if isinstance(value, str | int | float) else None


def emit(header: dict[str, Any]) -> None:
    """Write the header."""
    text = json.dumps(header).encode()
    sys.stdout.buffer.write(struct.pack("<Q", len(text)) + text)
    sys.stdout.buffer.flush()


def read(path: str, limits: dict[str, int]) -> None:
    """Write all that is in the file at ``path``."""
    import h5py
    import numpy as np

    with h5py.File(path, "r") as file:
        walk = Walk(limits)
        # Of a full model everything but the weights is of no use here, such as the state of the optimizer.
        if "model_config" in file.attrs and "model_weights" in file:
            others = tuple(name for name in file if name != "model_weights")
            root = walk.group(file, "", 0, others)
        else:
            root = walk.group(file, "", 0, SKIPPED)
        emit({"root": root, "arrays": walk.headers})
        for dataset, (kind, _) in zip(walk.datasets, walk.headers, strict=True):
            made = dataset[()]
            if kind != "bfloat16":
                made = np.ascontiguousarray(made, dtype=kind)
            sys.stdout.buffer.write(np.ascontiguousarray(made).tobytes() if made.ndim == 0 else made.data)
        sys.stdout.buffer.flush()


def main() -> int:
    """``argv[1]``: JSON with ``path``, ``limits`` and ``search``, where h5py is."""
    task = json.loads(sys.argv[1])
    limit(task["limits"]["memory"], task["limits"]["seconds"])
    sys.path.extend(task["search"])
    try:
        read(task["path"], task["limits"])
    except Refused as error:
        emit({"error": str(error)})
    except Exception as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
