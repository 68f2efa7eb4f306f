"""JSON of a file from outside: a bounded size and a bounded depth."""

from __future__ import annotations

import json
from typing import Any

from rcproof.errors import CheckpointError

#: Longer texts and deeper nestings are no configuration of a network.
LONGEST = 16 << 20
DEEPEST = 200


def parse(text: str | bytes, what: str) -> dict[str, Any]:
    """The object in a JSON text; a JSON string that holds JSON is looked into, as Keras' users write it too."""
    if len(text) > LONGEST:
        raise CheckpointError(f"{what} is too large", got=f"{len(text)} bytes", expected=f"at most {LONGEST}")
    try:
        found = json.loads(text)
        if isinstance(found, str):
            found = json.loads(found)
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise CheckpointError(f"{what} is no JSON", got=reason, expected="a configuration of Keras") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{what}", got=f"a {type(found).__name__}", expected="a JSON object")
    level: list[Any] = [found]
    for _ in range(DEEPEST):
        level = [inside for value in level for inside in _inside(value)]
        if not level:
            return found
    raise CheckpointError(f"{what} is nested too deep", expected=f"at most {DEEPEST} levels")


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [v for v in value.values() if isinstance(v, dict | list)]
    return [v for v in value if isinstance(v, dict | list)]
