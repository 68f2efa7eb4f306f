"""Finding the arrays of each layer in HDF5 files that keep them by layers: all of Keras 0 to 2, and Keras 3's ``.h5``.

The arrays of a layer lie in a group of its name, listed in order. Those of a nested network lie in one group, first all
that training changes, then the others, in the order of its layers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rcproof.checkpoints.keras.hdf5 import Group
from rcproof.checkpoints.keras.keras1 import old_roles
from rcproof.checkpoints.keras.model import Array
from rcproof.checkpoints.keras.nets import Item, Net
from rcproof.checkpoints.keras.roles import TELLING, Role, roles
from rcproof.errors import CheckpointError

#: The arrays of each layer, by its identity: two layers of two networks may have one name.
Found = dict[int, dict[str, Array]]
Named = list[tuple[str, Array]]


def by_layers(net: Net, file: Group, generation: int) -> Found:
    """The arrays of each layer of ``net``, by role.

    Layers are matched with groups by name, or, where the names differ, by order, as Keras does. Raises
    :class:`~rcproof.errors.CheckpointError` if they do not fit.
    """
    stored = _numbered(file) if "nb_layers" in file.attrs else _named(file)
    made: Found = {}
    items = [item for item in net.items.values() if item.kind != "InputLayer"]
    names = [name for arrays in stored.values() for name, _ in arrays]
    if generation >= 2 and "keras_version" not in file.attrs and any(re.search(r"_[WUb](:0)?$", n) for n in names):
        raise CheckpointError(
            "weights and configuration", got=f"of Keras 1 and of Keras {generation}", expected="one age"
        )
    if "nb_layers" in file.attrs:
        pairs = _pairs_in_order(items, stored)
    else:
        filled = {name: arrays for name, arrays in stored.items() if arrays}
        known = {item.name for item in items}
        if set(filled) <= known:
            pairs = [(item, filled.get(item.name, [])) for item in items]
        else:
            wanting = [item for item in items if _wants(item, generation)]
            if len(wanting) != len(filled):
                raise CheckpointError(
                    "the weights do not belong to this configuration",
                    got=f"{len(filled)} layers with weights ({_some(filled)})",
                    expected=f"{len(wanting)} ({_some([item.name for item in wanting])})",
                )
            pairs = list(zip(wanting, filled.values(), strict=True))
    for item, arrays in pairs:
        _give(item, arrays, generation, made)
    return made


def _some(names: object) -> str:
    listed = list(names)  # type: ignore[call-overload]
    return ", ".join(str(n)[:40] for n in listed[:4]) + (", …" if len(listed) > 4 else "")


def _named(file: Group) -> dict[str, Named]:
    names = file.texts("layer_names")
    if names is None:
        raise CheckpointError("an HDF5 file without weights of Keras", got="no attribute 'layer_names'")
    made: dict[str, Named] = {}
    for name in names:
        group = file.group(name)
        if group is None:
            raise CheckpointError(f"the weights of layer {name!r}", got="no such group in the file")
        listed: Named = []
        for weight in group.texts("weight_names") or []:
            array = group.array(weight)
            if array is None:
                raise CheckpointError(f"the weights of layer {name!r}", got=f"no array {weight!r} in the file")
            listed.append((weight, array))
        if name in made:
            raise CheckpointError("two groups of weights of one name", got=repr(name))
        made[name] = listed
    return made


def _numbered(file: Group) -> dict[str, Named]:
    """The layout of Keras 0: ``layer_3/param_0``."""
    made: dict[str, Named] = {}
    for i in range(_count(file, "nb_layers", len(file.groups))):
        group = file.groups.get(f"layer_{i}")
        if group is None:
            raise CheckpointError(f"the weights of layer {i}", got="no such group in the file")
        listed: Named = []
        for k in range(_count(group, "nb_params", len(group.arrays))):
            if f"param_{k}" not in group.arrays:
                raise CheckpointError(f"the weights of layer {i}", got=f"no array 'param_{k}' in the file")
            listed.append((f"param_{k}", group.arrays[f"param_{k}"]))
        made[f"layer_{i}"] = listed
    return made


def _count(group: Group, name: str, most: int) -> int:
    found = group.attrs.get(name, 0)
    if not isinstance(found, int) or not 0 <= found <= most:
        raise CheckpointError(f"attribute {name!r}", got=repr(found)[:40], expected=f"at most {most}")
    return found


def _pairs_in_order(items: list[Item], stored: dict[str, Named]) -> list[tuple[Item, Named]]:
    if len(items) != len(stored):
        raise CheckpointError(
            "the weights do not belong to this configuration", got=f"{len(stored)} layers", expected=len(items)
        )
    return list(zip(items, stored.values(), strict=True))


# -- the arrays of one group -----------------------------------------------------------------------------------
def leaves(item: Item) -> Iterator[Item]:
    """The layers in an item that have arrays of their own, in order."""
    if item.net is not None:
        for inside in item.net.items.values():
            yield from leaves(inside)
    elif item.inner:
        for inside in item.inner:
            yield from leaves(inside)
    else:
        yield item


def _own(item: Item, generation: int) -> list[Role] | None:
    if item.operation:
        return []
    found = old_roles(item.kind, item.config) if generation < 2 else None
    return roles(item.kind, item.config) if found is None else found


def _wants(item: Item, generation: int) -> bool:
    return any(_own(leaf, generation) != [] for leaf in leaves(item))


def _in_order(item: Item, generation: int) -> tuple[list[tuple[Item, Role]], list[tuple[Item, Role]]]:
    """What training changes, and what it does not, in Keras's order."""
    trained: list[tuple[Item, Role]] = []
    fixed: list[tuple[Item, Role]] = []
    if item.net is not None or item.inner:
        for inside in item.net.items.values() if item.net is not None else item.inner:
            more, others = _in_order(inside, generation)
            trained += more
            fixed += others
    else:
        for role in _own(item, generation) or []:
            (trained if role.trained else fixed).append((item, role))
    return (trained, fixed) if item.trainable else ([], trained + fixed)


def _give(item: Item, arrays: Named, generation: int, made: Found) -> None:
    """Give the arrays of a group to the layers in an item."""
    wanting = [leaf for leaf in leaves(item) if _own(leaf, generation) != []]
    if not arrays and not any(_own(leaf, generation) for leaf in wanting):
        return
    named = _by_name(wanting, arrays, generation) if len(wanting) > 1 else None
    if named is not None:
        for leaf, mine in named:
            made[id(leaf)] = _roles_of(leaf, mine, generation)
        return
    if len(wanting) == 1:
        made[id(wanting[0])] = _roles_of(wanting[0], arrays, generation)
        return
    if any(_own(leaf, generation) is None for leaf in wanting):
        unknown = next(leaf for leaf in wanting if _own(leaf, generation) is None)
        raise CheckpointError(
            f"which weights of {item.name!r} belong to its layer {unknown.name!r} ({unknown.kind}) is not known"
        )
    trained, fixed = _in_order(item, generation)
    places = trained + fixed
    if len(places) != len(arrays):
        raise _misfit(item, arrays, [f"{leaf.name}/{role.name}" for leaf, role in places])
    for (leaf, role), (name, array) in zip(places, arrays, strict=True):
        if _contradicts(name, role):
            raise _misfit(item, arrays, [f"{leaf.name}/{role.name}" for leaf, role in places])
        made.setdefault(id(leaf), {})[role.name] = array


def _by_name(wanting: list[Item], arrays: Named, generation: int) -> list[tuple[Item, Named]] | None:
    """The arrays of each layer if every array's name holds the name of just one layer, and all layers have some."""
    names = {leaf.name: leaf for leaf in wanting}
    if len(names) != len(wanting):
        return None
    made: dict[str, Named] = {name: [] for name in names}
    for name, array in arrays:
        parts = [part for part in name.split("/")[:-1] if part in names]
        if len(set(parts)) != 1:
            return None
        made[parts[0]].append((name, array))
    if not all(made[name] or _own(leaf, generation) is None for name, leaf in names.items()):
        return None
    return [(leaf, made[name]) for name, leaf in names.items()]


def _roles_of(leaf: Item, arrays: Named, generation: int) -> dict[str, Array]:
    """The arrays of one layer by role: by its order, checked by their names."""
    own = _own(leaf, generation)
    if own is None:
        made: dict[str, Array] = {}
        for name, array in arrays:
            role = _last(name)
            if role in made:
                role = re.sub(r":\d+$", "", name)
            made[role] = array
        return made
    own = [r for r in own if r.trained] + [r for r in own if not r.trained]
    if len(own) != len(arrays):
        raise _misfit(leaf, arrays, [r.name for r in own])
    if any(_contradicts(name, r) for r, (name, _) in zip(own, arrays, strict=True)):
        raise _misfit(leaf, arrays, [r.name for r in own])
    return {r.name: array for r, (_, array) in zip(own, arrays, strict=True)}


def _misfit(item: Item, arrays: Named, expected: list[str]) -> CheckpointError:
    return CheckpointError(
        f"the weights of layer {item.name!r} ({item.kind}) do not fit its configuration",
        got=f"{len(arrays)}: {_some([name for name, _ in arrays])}",
        expected=f"{len(expected)}: {_some(expected)}" if expected else "none",
    )


def _last(name: str) -> str:
    return re.sub(r":\d+$", "", name).rpartition("/")[2]


def _contradicts(name: str, role: Role) -> bool:
    """Whether an array's name tells another role. Keras 3 calls the kernel of a depthwise layer just that."""
    said, own = told(name), role.name.rpartition("/")[2]
    return said not in (None, own) and (said, own) != ("kernel", "depthwise_kernel")


def told(name: str) -> str | None:
    """The role that an array's name tells, if it is one of Keras 2 and 3."""
    last = re.sub(r"_\d+$", "", _last(name))
    return last if last in TELLING else None
