"""Outputs of a network as a flat list of tensors, and back: a tensor, or tuples, lists and dicts of tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rcproof.errors import ShapeError

# A structure as plain JSON: "*" for a tensor, ["tuple", child…], ["list", child…], ["dict", [key, child]…].
Structure = Any


def flatten(value: Any, is_leaf: Callable[[Any], bool]) -> tuple[list[Any], Structure]:
    """The leaves of ``value`` in order, and its structure as plain JSON."""
    if is_leaf(value):
        return [value], "*"
    leaves: list[Any] = []
    if isinstance(value, tuple | list):
        shape: list[Any] = ["tuple" if isinstance(value, tuple) else "list"]
        for item in value:
            sub, child = flatten(item, is_leaf)
            leaves += sub
            shape.append(child)
        return leaves, shape
    if isinstance(value, dict):
        shape = ["dict"]
        for key, item in value.items():
            if not isinstance(key, str):
                raise ShapeError("key of a dict that the network returns", got=repr(key), expected="a string")
            sub, child = flatten(item, is_leaf)
            leaves += sub
            shape.append([key, child])
        return leaves, shape
    raise ShapeError(
        "output of the network", got=type(value).__name__, expected="a tensor, or tuples, lists and dicts of tensors"
    )


def unflatten(leaves: Sequence[Any], structure: Structure) -> Any:
    """The inverse of :func:`flatten`."""
    items = iter(leaves)
    return _build(items, structure)


def _build(items: Any, structure: Structure) -> Any:
    if structure == "*":
        return next(items)
    kind, *children = structure
    if kind == "dict":
        return {key: _build(items, child) for key, child in children}
    built = [_build(items, child) for child in children]
    return tuple(built) if kind == "tuple" else built
