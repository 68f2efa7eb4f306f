"""Configurations of Keras 0 to 3 as :class:`~rcproof.checkpoints.keras.nets.Net`."""

from __future__ import annotations

from typing import Any, TypeGuard

from rcproof.checkpoints.keras.nets import DEEPEST, MOST_CALLS, Item, Net, Node, Place
from rcproof.errors import CheckpointError


def parse_model(found: dict[str, Any]) -> tuple[Net, str]:
    """The network in a configuration (what ``to_json`` writes), and its class.

    Raises :class:`~rcproof.errors.CheckpointError` if it is none, or is not consistent.
    """
    kind = _kind(found)
    if kind == "Graph":
        raise CheckpointError("a Graph, the container of Keras 0", expected="a Sequential, or a model of Keras 1 to 3")
    if isinstance(found.get("layers"), list) and "config" not in found:
        return _sequential(_keras0(found["layers"]), found, 0), kind  # Keras 0: the arguments lie in the open
    config = found.get("config")
    if not _is_net(kind, config):
        raise CheckpointError(
            "a configuration", got=f"that of a {kind or 'thing without a class'}", expected="that of a whole network"
        )
    return _net(kind, config, 0), kind


def _kind(found: Any) -> str:
    name = found.get("class_name", found.get("name", "")) if isinstance(found, dict) else ""
    return name.rpartition(">")[2] if isinstance(name, str) and len(name) <= 200 else ""


def _is_net(kind: str, config: Any) -> bool:
    if kind == "Sequential":
        return isinstance(config, list) or (isinstance(config, dict) and isinstance(config.get("layers"), list))
    return isinstance(config, dict) and isinstance(config.get("layers"), list) and "output_layers" in config


def _net(kind: str, config: Any, depth: int) -> Net:
    if depth > DEEPEST:
        raise CheckpointError("networks nested too deep", expected=f"at most {DEEPEST} levels")
    if kind == "Sequential":
        layers = config if isinstance(config, list) else config["layers"]
        return _sequential(layers, config if isinstance(config, dict) else {}, depth)
    return _functional(config, depth)


# -- layers ------------------------------------------------------------------------------------------------
def _item(found: Any, depth: int, name: str | None = None) -> Item:
    """A layer without its calls."""
    config = found.get("config") if isinstance(found, dict) else None
    kind = _kind(found)
    if not kind or not isinstance(config, dict | list):
        raise CheckpointError(
            "a layer in the configuration", got=repr(found)[:80], expected="a class and its arguments"
        )
    if _is_net(kind, config):
        inside = _net(kind, config, depth + 1)
        config = config if isinstance(config, dict) else {}
        named = found.get("name", config.get("name", name))
        kept = {key: config[key] for key in ("name", "trainable") if key in config}
        return Item(_name(named, kind), kind, kept, net=inside)
    if not isinstance(config, dict):
        raise CheckpointError(f"the arguments of a {kind}", got=repr(config)[:80], expected="a JSON object")
    item = Item(_name(found.get("name", config.get("name", name)), kind), kind, dict(config))
    item.operation = _is_operation(found, item)
    for key in ("layer", "forward_layer", "backward_layer"):
        inner = item.config.get(key)
        if isinstance(inner, dict) and "class_name" in inner:
            if depth > DEEPEST:
                raise CheckpointError("layers nested too deep", expected=f"at most {DEEPEST} levels")
            del item.config[key]
            item.inner.append(_item(inner, depth + 1, key))
    if kind == "Bidirectional":
        _both_ways(item)
    return item


def _is_operation(found: dict[str, Any], item: Item) -> bool:
    """Whether this is a function of Keras 3 called without a layer; some have the names of layers, as ``Add`` has.

    Newer files tell the module. Otherwise it is seen from its arguments, since every layer says whether it trains.
    """
    if found.get("module"):
        return str(found["module"]).startswith("keras.src.ops")
    nodes = found.get("inbound_nodes")
    third = isinstance(nodes, list) and any(_is_third(node) for node in nodes)
    return third and "trainable" not in item.config


def _both_ways(item: Item) -> None:
    """Give a Bidirectional the layers that it makes of one: one for each direction."""
    if len(item.inner) == 1:
        forward = item.inner[0]
        name = forward.name.removeprefix("forward_")
        forward.name = f"forward_{name}"
        config = {**forward.config, "go_backwards": not forward.config.get("go_backwards", False)}
        item.inner.append(Item(f"backward_{name}", forward.kind, config))
    if len(item.inner) != 2 or any(inside.net is not None or inside.inner for inside in item.inner):
        raise CheckpointError(f"layer {item.name!r} (Bidirectional)", expected="one recurrent layer inside")


def _name(name: Any, kind: str) -> str:
    if not isinstance(name, str) or not 0 < len(name) <= 200:
        raise CheckpointError(f"the name of a {kind}", got=repr(name)[:80], expected="1 to 200 characters")
    return name


def _keras0(layers: list[Any]) -> list[Any]:
    """Layers of Keras 0, which call the class ``name`` and the name ``custom_name``, in the form of Keras 1."""
    made, counts = [], dict[str, int]()
    for layer in layers:
        kind = _kind(layer)
        if not kind or "layers" in layer:
            raise CheckpointError("a layer in the configuration", got=repr(layer)[:80], expected="a single layer")
        name = str(layer.get("custom_name", kind.lower()))
        counts[name] = counts.get(name, 0) + 1
        config = {key: value for key, value in layer.items() if key not in ("name", "custom_name")}
        if "input_shape" in config:
            shape = config.pop("input_shape")
            config["batch_input_shape"] = [None, *shape] if isinstance(shape, list) else shape
        made.append({"class_name": kind, "config": {**config, "name": f"{name}_{counts[name]}"}})
    return made


# -- Sequential ---------------------------------------------------------------------------------------------
def _sequential(layers: list[Any], config: dict[str, Any], depth: int) -> Net:
    items: dict[str, Item] = {}
    inputs, output = _chain(layers, config, depth, items)
    return Net(items, inputs, [output])


def _chain(layers: list[Any], config: dict[str, Any], depth: int, items: dict[str, Item]) -> tuple[list[Place], Place]:
    """The inputs and the output of a chain of layers, which are added to ``items``."""
    inputs: list[Place] = []
    before: Any = None
    for i, found in enumerate(layers):
        if i == 0 and _kind(found) == "Merge" and isinstance(found.get("config"), dict) and "layers" in found["config"]:
            inputs, before = _branches(found["config"].pop("layers"), depth, items)
        item = _item(found, depth, f"layer_{i}")
        if before is None and item.kind != "InputLayer":
            shape = first_shape(item) or config.get("build_input_shape")
            first = Item(_unused(f"{item.name}_input", items), "InputLayer", {"batch_input_shape": shape}, [Node()])
            items[first.name] = first
            before = Place(first.name, 0, 0)
            inputs = [before]
        elif item.kind == "InputLayer" and before is not None:
            raise CheckpointError(f"layer {item.name!r}", got="an input in the middle of a Sequential")
        item = _known(item, items)
        item.nodes.append(Node([] if before is None else [before]))
        before = Place(item.name, len(item.nodes) - 1, 0)
        inputs = inputs or [before]
    if before is None:
        raise CheckpointError("a Sequential without layers")
    return inputs, before


def _branches(layers: Any, depth: int, items: dict[str, Item]) -> tuple[list[Place], list[Place]]:
    """The chains that a Merge at the beginning of a Sequential of Keras 1 has inside."""
    if depth > DEEPEST or not isinstance(layers, list) or not layers:
        raise CheckpointError("the layers of a Merge", got=repr(layers)[:80], expected="a list of layers")
    inputs, outputs = [], []
    for found in layers:
        config = found.get("config") if isinstance(found, dict) else None
        inside = config if _kind(found) == "Sequential" and isinstance(config, list) else [found]
        more, output = _chain(inside, {}, depth + 1, items)
        inputs += more
        outputs.append(output)
    return inputs, outputs


def _known(item: Item, items: dict[str, Item]) -> Item:
    """The layer of this name, which branches may share, or ``item`` if it is the first."""
    other = items.setdefault(item.name, item)
    if other is item or (other.kind == item.kind and other.config == item.config and not (item.net or other.net)):
        return other
    raise CheckpointError("two layers of one name", got=repr(item.name))


def _unused(name: str, items: dict[str, Item]) -> str:
    made, count = name, 1
    while made in items:
        count += 1
        made = f"{name}_{count}"
    return made


def first_shape(item: Item) -> Any:
    """The shape with the batch that the first layer of a Sequential says goes in; None if it says none."""
    if item.net is not None:
        return first_shape(item.net.items[item.net.inputs[0].layer]) if item.net.inputs else None
    config = item.config
    for key in ("batch_input_shape", "batch_shape"):
        if config.get(key) is not None:
            return config[key]
    for key in ("input_shape", "shape"):
        if isinstance(config.get(key), list):
            return [None, *config[key]]
    if config.get("input_dim") is not None and item.kind != "Embedding":
        dims = [config["input_dim"]]
        return [None, config.get("input_length"), *dims] if "input_length" in config else [None, *dims]
    if item.kind == "Embedding" and "input_length" in config:
        return [None, config["input_length"]]
    return first_shape(item.inner[0]) if item.inner and item.kind == "Bidirectional" else None


# -- functional ----------------------------------------------------------------------------------------------
def _functional(config: dict[str, Any], depth: int) -> Net:
    items: dict[str, Item] = {}
    count, third = 0, False
    for found in config["layers"]:
        item = _item(found, depth)
        if item.name in items:
            raise CheckpointError("two layers of one name", got=repr(item.name))
        items[item.name] = item
    for found, item in zip(config["layers"], items.values(), strict=True):
        nodes = found.get("inbound_nodes", [])
        if not isinstance(nodes, list):
            raise CheckpointError(f"the calls of layer {item.name!r}", got=repr(nodes)[:80], expected="a list")
        count += len(nodes)
        if count > MOST_CALLS:
            raise CheckpointError("too many calls of layers", expected=f"at most {MOST_CALLS}")
        item.nodes = [_node(node, items) for node in nodes]
        third |= any(_is_third(node) for node in nodes)
        if item.kind == "InputLayer":
            item.nodes = [Node()]
    net = Net(items, _ends(config.get("input_layers"), "inputs"), _ends(config["output_layers"], "outputs"))
    _renumber(net, third)
    net.check()
    return net


def _renumber(net: Net, third: bool) -> None:
    """Count the calls of a nested network from 0.

    Keras 1 and 2 count the call with which a network was made, and do not write it, so that its first call is number
    1; but not always. Whether a file does is seen from its largest number: it lists only calls that something needs.
    Keras 3 (``third``) does so where it lists the outputs, of all but a Sequential, and not where it lists calls.
    """
    nodes = [node for item in net.items.values() for node in item.nodes]
    asked: dict[str, int] = {}
    for place in [*(p for node in nodes for p in node.places()), *net.outputs]:
        asked[place.layer] = max(asked.get(place.layer, 0), place.node)
    shifted = {
        name
        for name, item in net.items.items()
        if item.net is not None
        and (item.kind != "Sequential" if third else asked.get(name, 0) == len(item.nodes) and item.nodes)
    }

    def moved(value: Any) -> Any:
        if isinstance(value, Place):
            return Place(value.layer, value.node - 1, value.tensor) if value.layer in shifted else value
        if isinstance(value, list):
            return [moved(inside) for inside in value]
        if isinstance(value, dict):
            return {key: moved(inside) for key, inside in value.items()}
        if isinstance(value, slice):
            return slice(moved(value.start), moved(value.stop), moved(value.step))
        return value

    for node in nodes if not third else []:
        node.args, node.kwargs = moved(node.args), moved(node.kwargs)
    net.outputs = moved(net.outputs)


def _ends(found: Any, what: str) -> list[Place]:
    """The inputs or outputs of a network: one, a list, or a dict, as nested as they like; dicts in order of keys."""
    if _is_place(found):
        return [_place(found)]
    if isinstance(found, dict):
        found = [found[key] for key in sorted(found)]
    if not isinstance(found, list):
        raise CheckpointError(f"the {what} of a network", got=repr(found)[:80], expected="names and numbers of calls")
    return [place for inside in found for place in _ends(inside, what)]


def _is_place(found: Any) -> TypeGuard[list[Any]]:
    """Whether this is how a file writes a tensor: a layer, the number of its call, that of the result."""
    return (
        isinstance(found, list)
        and len(found) in (3, 4)
        and isinstance(found[0], str)
        and all(isinstance(n, int) and not isinstance(n, bool) for n in found[1:3])
    )


def _place(found: list[Any]) -> Place:
    return Place(found[0], found[1], found[2])


def _is_third(node: Any) -> bool:
    """Whether a call is written as Keras 3 does."""
    return isinstance(node, dict) and isinstance(node.get("args"), list)


def _node(found: Any, items: dict[str, Item]) -> Node:
    """One call, in the form of Keras 3 (``{"args": …, "kwargs": …}``) or of the Kerases before it."""
    if _is_third(found):
        kwargs = found.get("kwargs") or {}
        if not isinstance(kwargs, dict):
            raise CheckpointError("a call of a layer", got=repr(kwargs)[:80], expected="arguments by name")
        return Node(_decoded(found["args"], items), {str(k): _decoded(v, items) for k, v in kwargs.items()})
    node = Node()
    tensors = _old_tensors(found, items, node.kwargs)
    # One entry is one tensor; several are the list that the layer was called with.
    single = isinstance(found, list) and len(found) == 1 and isinstance(tensors, list)
    node.args = tensors if single else [tensors]
    return node


def _old_tensors(found: Any, items: dict[str, Item], kwargs: dict[str, Any]) -> Any:
    if isinstance(found, list) and len(found) in (3, 4) and found[0] == "_CONSTANT_VALUE" and found[1] == -1:
        made = found[2]
    elif _is_place(found):
        made = _place(found)
    elif isinstance(found, dict):
        return {key: _old_tensors(found[key], items, kwargs) for key in sorted(found)}
    elif isinstance(found, list):
        return [_old_tensors(inside, items, kwargs) for inside in found]
    else:
        raise CheckpointError("a call of a layer", got=repr(found)[:80], expected="the layers it takes")
    if len(found) == 4 and found[3]:
        if not isinstance(found[3], dict):
            raise CheckpointError("a call of a layer", got=repr(found[3])[:80], expected="arguments by name")
        kwargs.update({str(key): _decoded(value, items) for key, value in found[3].items()})
    return made


def _decoded(value: Any, items: dict[str, Item]) -> Any:
    """An argument of a call: JSON, but for tensors, slices and the ellipsis."""
    if _is_place(value) and len(value) == 3 and value[0] in items:
        return _place(value)
    if isinstance(value, list):
        return [_decoded(inside, items) for inside in value]
    if not isinstance(value, dict):
        return value
    kind, config = value.get("class_name"), value.get("config")
    if kind == "__keras_tensor__" and isinstance(config, dict):
        history = config.get("keras_history")
        if not _is_place(history):
            raise CheckpointError(
                "a tensor that goes into a layer", got=repr(history)[:80], expected="a layer's result"
            )
        return _place(history)
    if kind == "__slice__" and isinstance(config, dict):
        return _slice(config, items)
    if kind == "__ellipsis__" or value.get("value") == "...":
        return ...
    if kind == "__tuple__":
        inside = config.get("value", []) if isinstance(config, dict) else value.get("items", [])
        return _decoded(list(inside), items)
    if set(value) == {"start", "stop", "step"}:
        return _slice(value, items)
    return {str(key): _decoded(value[key], items) for key in sorted(value)}


def _slice(found: dict[str, Any], items: dict[str, Item]) -> slice:
    return slice(*(_decoded(found.get(key), items) for key in ("start", "stop", "step")))
