"""Layers of Keras 2 and 3 in one set of conventions: the arguments that matter, and weights as Keras 2 has them."""

from __future__ import annotations

from typing import Any

from rcproof.checkpoints.keras.model import Array, LayerSpec
from rcproof.checkpoints.keras.nets import Item
from rcproof.checkpoints.keras.weights import Found
from rcproof.errors import CheckpointError

_DROPPED = frozenset(
    (
        *("name", "trainable", "dtype", "input_dtype", "autocast", "batch_input_shape", "batch_shape"),
        *("seed", "registered_name", "build_config"),
    )
)
_DROPPED_ENDS = ("_initializer", "_regularizer", "_constraint")
_ACTIVATIONS = ("activation", "recurrent_activation")


def cleaned(config: dict[str, Any]) -> dict[str, Any]:
    """The arguments that say what a layer computes."""
    made = {k: v for k, v in config.items() if k not in _DROPPED and not k.endswith(_DROPPED_ENDS)}
    for key in _ACTIVATIONS:
        if key in made:
            made[key] = activation(made[key])
    return made


def activation(found: Any) -> Any:
    """An activation: a name, or ``{"class_name": …, "config": {…}}``."""
    if found is None:
        return "linear"
    if isinstance(found, dict) and isinstance(found.get("class_name"), str):
        if isinstance(found.get("config"), str):
            return found["config"]
        config = found.get("config")
        return {"class_name": found["class_name"], "config": cleaned(config) if isinstance(config, dict) else {}}
    return found


def finish(item: Item, name: str, found: Found, generation: int) -> LayerSpec:
    """The plain form of a layer."""
    inner = tuple(finish(inside, f"{name}/{inside.name}", found, generation) for inside in item.inner)
    weights: dict[str, Array] = found.get(id(item), {})
    if item.kind == "InputLayer":
        return LayerSpec(name, item.kind, _input(item), generation=generation)
    return LayerSpec(name, item.kind, cleaned(item.config), weights, inner, generation)


def _input(item: Item) -> dict[str, Any]:
    shape = next((s for s in (item.config.get(k) for k in ("batch_input_shape", "batch_shape")) if s is not None), None)
    shape = shape[1:] if isinstance(shape, list) else item.config.get("shape", item.config.get("input_shape"))
    sizes = (int, type(None))
    if not isinstance(shape, list) or any(
        not isinstance(n, sizes) or isinstance(n, bool) or (n or 0) < 0 for n in shape
    ):
        raise CheckpointError(
            f"the shape of input {item.name!r}", got=repr(shape)[:60], expected="sizes, in the configuration"
        )
    return {"shape": shape}
