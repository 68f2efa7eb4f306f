"""Damage to JSON that knows its structure: every leaf, key and list can become something else."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

NAMES = (
    *(
        "",
        "x",
        "..",
        "../../escape",
        "/etc/hostname",
        "C:\\x",
        "a/b",
        "a.b",
        ".",
        "a\0b",
        "%s%n",
        "\x1b[31m\x07",
        "a\nb",
    ),
    *("é漢字", "\u202eabc", "\ud800", "__class__", "__init__", "forward", "train", "weight", "_modules", "net", "0"),
    *("A" * 5000, "os.system", "builtins.eval", "torch.load", "posix>system", "tests.checkpoints.fuzzing", "nan"),
)
WORDS = (
    *("same", "valid", "causal", "half", "channels_first", "channels_last", "relu", "softmax", "sigmoid", "linear"),
    *("concat", "sum", "ave", "Dense", "Conv1D", "LSTM", "Lambda", "Model", "Sequential", "InputLayer", "Add", "mean"),
    *("Bidirectional", "TimeDistributed", "Reshape", "Embedding", "Concatenate", "float64", "bfloat16", "F16", "I64"),
)
NUMBERS: tuple[Any, ...] = (
    *(
        0,
        1,
        -1,
        2,
        3,
        4,
        7,
        8,
        100,
        1000,
        -1000,
        65536,
        10**6,
        2**31 - 1,
        2**31,
        2**32,
        2**63 - 1,
        2**63,
        2**64,
        10**30,
    ),
    *(0.0, -0.0, 0.5, 1.5, -1.5, 1e-320, 1e38, 1e308, float("nan"), float("inf"), -float("inf")),
)
THINGS: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        [],
        {},
        [[]],
        [None],
        [0],
        [1],
        [-1],
        [1, 1],
        [2, 2, 2],
        [10**9],
        [None, None],
        [[1, 1], [1, 1]],
    ),
    *({"a": 1}, {"class_name": "Dense", "config": {}}, {"class_name": "__tuple__", "items": [1, 2]}, [1] * 300),
    *({"class_name": "Lambda", "config": {"function": ["4wAAAAA=", None, None]}}, {"ref": "x"}, {"tuple": [1]}),
    *({"as_int": 5}, {"as_tensor": {"name": "x"}}, {"as_none": True}, {"as_expr": {"expr_str": "__import__('os')"}}),
    *({"class_name": "__numpy__", "config": {"value": [1], "dtype": "object"}}, ["x", 0, 0], [["x", 0, 0, {}]]),
)


def odd(rng: random.Random, old: Any) -> Any:
    """Something in the place of ``old``; near it or far from it."""
    if isinstance(old, bool):
        return rng.choice((not old, not old, None, 2, "false", []))
    if isinstance(old, int) and rng.random() < 0.5:
        return rng.choice((old + 1, old - 1, old * 2, -old, old // 2, old * 1000, float(old), str(old), [old], None))
    if isinstance(old, str) and rng.random() < 0.3:
        return rng.choice(
            (old + "_", old[:-1], old.upper(), old * 50, old + "\0", old + "/x", [old], old.encode().hex())
        )
    if isinstance(old, list) and old and rng.random() < 0.6:
        made = copy.deepcopy(old)
        at = rng.randrange(len(made))
        kind = rng.randrange(6)
        if kind == 0:
            del made[at]
        elif kind == 1:
            made.insert(at, copy.deepcopy(made[at]))
        elif kind == 2:
            made.reverse()
        elif kind == 3:
            made.append(copy.deepcopy(rng.choice(THINGS)))
        elif kind == 4:
            made *= rng.choice((2, 20))
        else:
            made = made[at]
        return made
    if isinstance(old, dict) and old and rng.random() < 0.6:
        made = copy.deepcopy(old)
        key = rng.choice(list(made))
        kind = rng.randrange(4)
        if kind == 0:
            del made[key]
        elif kind == 1:
            made[rng.choice(NAMES)] = made.pop(key)
        elif kind == 2:
            made[rng.choice((*NAMES, *WORDS))] = copy.deepcopy(rng.choice((*THINGS, *NUMBERS)))
        else:
            made[key] = copy.deepcopy(rng.choice((*THINGS, *NUMBERS)))
        return made
    kind = rng.random()
    if kind < 0.03:
        return nested(rng.choice((40, 120, 220)))
    return copy.deepcopy(rng.choice(rng.choice((NAMES, WORDS, NUMBERS, NUMBERS, THINGS, THINGS))))


def nested(depth: int) -> Any:
    """A list in a list in a list."""
    found: Any = 1
    for _ in range(depth):
        found = [found]
    return found


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every place in a document: what holds it, and its key there."""
    found: list[tuple[Any, Any]] = []
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        found.append((value, key))
        found += places(value[key])
    return found


def changed(rng: random.Random, document: Any) -> Any:
    """A copy of a document with one place, or a few, changed."""
    made = copy.deepcopy(document)
    for _ in range(rng.choice((1, 1, 1, 1, 2, 3))):
        found = places(made)
        if not found:
            return rng.choice(THINGS)
        leaves = [p for p in found if not isinstance(p[0][p[1]], dict | list)]
        holder, key = rng.choice(leaves if leaves and rng.random() < 0.65 else found)
        kind = rng.random()
        if kind < 0.12:  # what stands elsewhere: dangling and cyclic references, names used twice
            other, at = rng.choice(found)
            holder[key] = copy.deepcopy(other[at])
        elif kind < 0.18 and isinstance(holder, dict):
            del holder[key]
        else:
            holder[key] = odd(rng, holder[key])
    return made


def text(rng: random.Random, document: Any) -> str:
    """A document as JSON; now and then as JSON that nobody should write."""
    made = json.dumps(document)
    kind = rng.random()
    if kind > 0.06:
        return made
    at = rng.randrange(len(made))
    return rng.choice(
        (
            made[:at],
            made[:at] + "[" * 100_000 + made[at:],
            "[" * 100_000 + "]" * 100_000,
            '{"a":' * 50_000 + "1" + "}" * 50_000,
            made.replace(":", ": " + " " * 5000, 1),
            made[:-1] + ', "config": 1}' if made.endswith("}") else made,
            made + made,
            "\ufeff" + made,
            made.replace("1", "9" * 5000, 1),
            json.dumps(made),
            "null",
            "",
        )
    )
