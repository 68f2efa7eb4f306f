"""Finding the arrays of each layer in the files of Keras 3 (and of tf.keras since 2.12) that keep them by paths.

There ``layers/conv1d_1/vars/0`` is the first array of the second layer of class ``Conv1D``. A path does not name its
layer, but the newest files tell the name beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rcproof.checkpoints.keras.hdf5 import Group
from rcproof.checkpoints.keras.model import Array
from rcproof.checkpoints.keras.nets import Item, Net
from rcproof.checkpoints.keras.roles import roles
from rcproof.checkpoints.keras.weights import Found
from rcproof.errors import CheckpointError

#: What the group of a network's layers is called, by age.
_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")
#: What the parts of a MultiHeadAttention are called in a path (perhaps after ``_``).
_ATTENTION = {"query": "query", "key": "key", "value": "value", "attention_output": "output"}


def is_by_paths(file: Group) -> bool:
    """Whether a file keeps its weights by paths."""
    listed = file.texts("layer_names") is not None or "nb_layers" in file.attrs
    return not listed and any(name in file.groups for name in _CONTAINERS)


def by_paths(net: Net, file: Group) -> Found:
    """The arrays of each layer of ``net``, by role. Raises :class:`CheckpointError` if they do not fit."""
    made: Found = {}
    _net(net, file, "", made)
    return made


def _net(net: Net, group: Group, where: str, made: Found) -> None:
    container = next((group.groups[name] for name in _CONTAINERS if name in group.groups), Group())
    items = [item for item in net.items.values() if not item.operation]
    keys = _keys(items, list(container.groups))
    named = {
        inside.groups["vars"].attrs.get("name"): key for key, inside in container.groups.items() if _has_vars(inside)
    }
    wanted = [item.name for item in items if item.kind != "InputLayer"]
    if set(wanted) <= set(named):
        keys = {item.name: named[item.name] for item in items if item.name in named}
    for item in items:
        _item(item, container.groups.get(keys.get(item.name, ""), Group()), f"{where}{item.name}", made)


def _has_vars(group: Group) -> bool:
    return "vars" in group.groups


def _keys(items: list[Item], there: list[str]) -> dict[str, str]:
    """The name of each layer in a path: its class in snake case, counted.

    Some files count a layer more than once, so of each class the i-th name that is there is that of the i-th layer, if
    there are as many.
    """
    classes: dict[str, list[Item]] = {}
    for item in items:
        snake = re.sub(r"\W+", "", item.kind)
        snake = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", snake)
        snake = re.sub("([a-z])([A-Z])", r"\1_\2", snake).lower()
        classes.setdefault(snake, []).append(item)
    made: dict[str, str] = {}
    for snake, alike in classes.items():
        found = [name for name in there if re.fullmatch(rf"{re.escape(snake)}(_\d{{1,9}})?", name)]
        found.sort(key=lambda name: int(name[len(snake) + 1 :] or 0))
        counted = [f"{snake}_{i}" if i else snake for i in range(len(alike))]
        made.update(zip([item.name for item in alike], found if len(found) == len(alike) else counted, strict=True))
    return made


def _item(item: Item, group: Group, where: str, made: Found) -> None:
    if item.net is not None:
        _net(item.net, group, f"{where}/", made)
    elif item.kind == "Bidirectional":
        for inside, name in zip(item.inner, ("forward_layer", "backward_layer"), strict=True):
            _item(inside, group.groups.get(name, Group()), f"{where}/{inside.name}", made)
    elif item.inner:
        for inside in item.inner:
            _item(inside, group.groups.get("layer", Group()), f"{where}/{inside.name}", made)
    else:
        made[id(item)] = _arrays(item, group, where)


def _arrays(item: Item, group: Group, where: str) -> dict[str, Array]:
    own = roles(item.kind, item.config)
    if own is None:
        return dict(_all(group, ""))
    if item.kind == "MultiHeadAttention":
        found = {}
        for part, path in _ATTENTION.items():
            inside = group.groups.get(f"{path}_dense", group.groups.get(f"_{path}_dense", Group()))
            names = [role.name for role in own if role.name.startswith(f"{part}/")]
            found.update(_numbered(inside, names, f"{where}/{part}", item.kind))
        return found
    cell = group.groups.get("cell")
    names = [role.name for role in own]
    return _numbered(group if cell is None else cell, names, where, item.kind) if own else {}


def _numbered(group: Group, names: list[str], where: str, kind: str) -> dict[str, Array]:
    arrays = group.groups.get("vars", Group()).arrays
    if set(arrays) != {str(i) for i in range(len(names))}:
        raise CheckpointError(
            f"the weights of layer {where!r} ({kind}) do not fit its configuration",
            got=f"{len(arrays)} arrays",
            expected=f"{len(names)}: {', '.join(names)}",
        )
    return {name: arrays[str(i)] for i, name in enumerate(names)}


def _all(group: Group, prefix: str) -> Iterator[tuple[str, Array]]:
    """The arrays of a class that is not known, by their paths."""
    for name, inside in group.groups.items():
        yield from _all(inside, prefix if name == "vars" else f"{prefix}{name}/")
    for name, array in group.arrays.items():
        yield f"{prefix}{name}", array
