"""HDF5 files from a tree of attributes, groups and arrays, whatever is in it."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass
class Tree:
    """A group: ``attrs`` of texts, lists of texts and numbers; items are arrays, groups, or functions ``(group, name)``
    that put something odd there."""

    attrs: dict[str, Any] = field(default_factory=dict)
    items: dict[str, Any] = field(default_factory=dict)

    def at(self, path: str) -> Tree:
        """The group at a path, made where it is missing."""
        found = self
        for part in path.split("/"):
            found = found.items.setdefault(part, Tree())
        return found

    def arrays(self) -> list[tuple[Tree, str]]:
        """Where every array is."""
        found = []
        for name, item in self.items.items():
            if isinstance(item, Tree):
                found += item.arrays()
            elif isinstance(item, np.ndarray):
                found.append((self, name))
        return found

    def groups(self) -> list[Tree]:
        """Every group."""
        return [self, *(g for item in self.items.values() if isinstance(item, Tree) for g in item.groups())]


def written(tree: Tree, **options: Any) -> bytes:
    """The file; ``options`` are h5py's for files."""
    import h5py

    target = io.BytesIO()
    with h5py.File(target, "w", **options) as file:
        _write(file, tree)
    return target.getvalue()


def _write(group: Any, tree: Tree) -> None:
    import h5py

    for name, value in tree.attrs.items():
        if callable(value):
            value(group, name)
        elif isinstance(value, list) and all(isinstance(v, str) for v in value):
            coded = [v.encode("utf-8", "surrogatepass") for v in value]
            if sum(map(len, coded)) > 60_000:
                _large(group, name, np.array(coded))
            else:
                group.attrs[name] = np.array(coded) if coded else np.zeros(0, "S1")
        elif isinstance(value, str):
            coded = value.encode("utf-8", "surrogatepass")
            if b"\0" in coded or not coded:
                group.attrs[name] = np.void(coded or b"\0")
            elif len(coded) > 60_000:  # such an attribute is stored elsewhere in the file, which h5py does only so
                _large(group, name, np.array(coded))
            else:
                group.attrs.create(name, coded, dtype=h5py.string_dtype("utf-8", len(coded)))
        else:
            group.attrs[name] = value
    for name, item in tree.items.items():
        if isinstance(item, Tree):
            _write(group.create_group(name), item)
        elif callable(item):
            item(group, name)
        else:
            group.create_dataset(name, data=item)


def _large(group: Any, name: str, value: Array) -> None:
    import h5py

    text = value.ndim == 0
    group.attrs.create(name, value.item().decode("utf-8", "replace") if text else value,
                       dtype=h5py.string_dtype() if text else None)  # fmt: skip


# -- odd things in the place of an array -----------------------------------------------------------------------------
def soft(path: str) -> Callable[[Any, str], None]:
    """A link to somewhere else in the file."""

    def put(group: Any, name: str) -> None:
        import h5py

        group[name] = h5py.SoftLink(path)

    return put


def external(file: str, path: str) -> Callable[[Any, str], None]:
    """A link to another file."""

    def put(group: Any, name: str) -> None:
        import h5py

        group[name] = h5py.ExternalLink(file, path)

    return put


def raw_outside(file: str, shape: tuple[int, ...]) -> Callable[[Any, str], None]:
    """An array whose bytes are those of another file."""
    return lambda group, name: group.create_dataset(name, shape, "<f4", external=[(file, 0, 4 * int(np.prod(shape)))])


def virtual(file: str, shape: tuple[int, ...]) -> Callable[[Any, str], None]:
    """An array that is a view of one in another file."""

    def put(group: Any, name: str) -> None:
        import h5py

        layout = h5py.VirtualLayout(shape, "<f4")
        layout[...] = h5py.VirtualSource(file, "x", shape)
        group.create_virtual_dataset(name, layout)

    return put


def itself(group: Any, name: str) -> None:
    """A hard link to the group it is in."""
    group[name] = group


def root(group: Any, name: str) -> None:
    """A hard link to the whole file."""
    group[name] = group["/"]


def dataset(**options: Any) -> Callable[[Any, str], None]:
    """An array as h5py's ``create_dataset`` makes it."""
    return lambda group, name: group.create_dataset(name, **options)


def named_type(group: Any, name: str) -> None:
    """A dtype in the place of an array."""
    group[name] = np.dtype("<f4")


def reference(group: Any, name: str) -> None:
    """An array of references to objects."""
    import h5py

    made = group.create_dataset(name, (2,), h5py.ref_dtype)
    made[0] = group.ref


def unknown_filter(group: Any, name: str) -> None:
    """An array packed by a filter that only scaled offsets know."""
    group.create_dataset(name, data=np.arange(64, dtype="<i4"), chunks=(64,), scaleoffset=True)


def deep(depth: int) -> Callable[[Any, str], None]:
    """Groups in groups."""

    def put(group: Any, name: str) -> None:
        for _ in range(depth):
            group = group.create_group(name)

    return put


def many(count: int) -> Callable[[Any, str], None]:
    """A group of many groups."""

    def put(group: Any, name: str) -> None:
        holder = group.create_group(name)
        for i in range(count):
            holder.create_group(str(i))

    return put
