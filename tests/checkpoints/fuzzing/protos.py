"""ONNX files with other fields."""

from __future__ import annotations

import random
from typing import Any

from tests.checkpoints.fuzzing.values import NAMES

_WHOLE = (0, 1, -1, 2, 3, 4, 7, 100, 10**6, 2**31 - 1, -(2**31), 2**31, 2**62, 2**63 - 1, -(2**63))
_REAL = (0.0, -1.0, 1e38, float("nan"), float("inf"), 0.5)


def _places(message: Any) -> list[tuple[Any, Any, int | None]]:
    """Every field that is set, and every element of those with several: the message, the field, the index."""
    found: list[tuple[Any, Any, int | None]] = []
    for field, value in message.ListFields():
        several = not isinstance(value, bytes | str) and hasattr(value, "__len__")
        found += [(message, field, i) for i in range(min(len(value), 30))] if several else [(message, field, None)]
        if field.message_type is not None:
            for inside in value if several else [value]:
                found += _places(inside)
    return found


def changed(rng: random.Random, data: bytes) -> bytes:
    """The file with one field, or a few, changed."""
    import onnx

    proto = onnx.ModelProto.FromString(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        found = _places(proto)
        if not found:
            break
        message, field, index = rng.choice(found)
        values = getattr(message, field.name)
        if index is not None and rng.random() < (0.6 if field.message_type is not None else 0.2):
            _relist(rng, values, index, field.message_type is not None)
        elif field.message_type is not None:
            if index is None:
                message.ClearField(field.name)
        else:
            old = values[index] if index is not None else values
            new = _odd(rng, old, found)
            try:
                if index is None:
                    setattr(message, field.name, new)
                else:
                    values[index] = new
            except (ValueError, TypeError):  # a number that the field cannot hold
                message.ClearField(field.name)
    return bytes(proto.SerializeToString())


def _relist(rng: random.Random, values: Any, index: int, messages: bool) -> None:
    kind, other = rng.randrange(3), rng.randrange(len(values))
    if kind == 0:
        del values[index]
    elif kind == 1 and messages:
        values.add().CopyFrom(values[index])
    elif messages:
        kept = type(values[index])()
        kept.CopyFrom(values[index])
        values[index].CopyFrom(values[other])
        values[other].CopyFrom(kept)
    else:
        values.append(values[index])


def _odd(rng: random.Random, old: Any, found: list[tuple[Any, Any, int | None]]) -> Any:
    if isinstance(old, bool):
        return not old
    if isinstance(old, int):
        return rng.choice((old + 1, old - 1, -old, old * 2, rng.choice(_WHOLE), rng.choice(_WHOLE)))
    if isinstance(old, float):
        return rng.choice(_REAL)
    if isinstance(old, bytes):
        return rng.choice((b"", old[:-1], old + b"\0\0\0\0", old * 2, b"\xff" * len(old), b"SAME_UPPER", b"\x1b[31m"))
    texts = []
    for message, field, index in rng.sample(found, min(40, len(found))):
        value = getattr(message, field.name)
        value = value if index is None else value[index]
        if isinstance(value, str):
            texts.append(value)
    return rng.choice(texts) if texts and rng.random() < 0.6 else rng.choice([n for n in NAMES if n.isprintable()])
