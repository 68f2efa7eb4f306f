"""How old a file is, and what it was trained on, where it does not say so itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rcproof.checkpoints.keras.hdf5 import Group
from rcproof.checkpoints.keras.nets import Item, Net
from rcproof.checkpoints.keras.paths import is_by_paths

#: Arguments that layers have since Keras 2.
_NEW = frozenset(("filters", "kernel_size", "units", "use_bias", "kernel_initializer", "batch_shape", "data_format"))
#: From this version on, Keras 1 keeps variances in ``running_std``.
_VARIANCES = (1, 0, 6)


def all_items(net: Net) -> Iterator[Item]:
    """All layers, those in nested networks and wrappers too."""

    def walk(item: Item) -> Iterator[Item]:
        yield item
        for inside in item.inner:
            yield from walk(inside)
        if item.net is not None:
            yield from all_items(item.net)

    for item in net.items.values():
        yield from walk(item)


def generation_of(version: str, items: Sequence[Item], file: Group) -> int:
    """The generation of Keras: by the version if the file has one, as all do since 1.0.4, else by its other marks."""
    if version[:1] in ("1", "2", "3"):
        return int(version[0])
    if any(
        item.operation or isinstance(item.config.get("dtype"), dict) or "batch_shape" in item.config for item in items
    ):
        return 3
    if is_by_paths(file) or any(key in _NEW for item in items for key in item.config):
        return 2
    return 0 if "nb_layers" in file.attrs else 1


def has_deviations(generation: int, version: str) -> bool:
    """Whether batch normalisation keeps standard deviations; a Keras 1 that writes no version is older than 1.0.4."""
    numbers = tuple(int(n) for n in re.findall(r"\d{1,6}", version)[:3])
    return generation == 0 or (generation == 1 and numbers < _VARIANCES)


def old_backend(generation: int, file: Group) -> tuple[str, str]:
    """What Keras 0 or 1 ran on, and what tells it.

    TensorFlow ends the names of its variables in ``:0``, Theano does not. Files of Keras 0 have no names; most of its
    life Keras 0 had Theano only.
    """
    if generation == 0:
        return "theano", "its age"
    names = [name for group in file.groups.values() for name in group.texts("weight_names") or []]
    return ("tensorflow" if any(name.endswith(":0") for name in names) else "theano"), "the names of its weights"


def data_format(items: Sequence[Item]) -> str | None:
    """What the first layer for images says of the axis of the channels, by its name in Keras 2."""
    for item in items:
        if item.kind.endswith("2D"):
            found = item.config.get("dim_ordering", item.config.get("data_format"))
            if found in ("th", "channels_first"):
                return "channels_first"
            if found in ("tf", "channels_last"):
                return "channels_last"
    return None
