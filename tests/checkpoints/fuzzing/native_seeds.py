"""Files of rcproof's own, and other safetensors files."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from tests.checkpoints.fuzzing import values
from tests.checkpoints.fuzzing.making import Danger, Files, Seed, damage, pickles_everywhere
from tests.checkpoints.fuzzing.torch_nets import Score, Wide, drawn


def native(name: str, model: Callable[[], Any], shape: tuple[int, ...], danger: Danger) -> Seed:
    from rcproof.checkpoints import save

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seed.safetensors"
        save(model(), path)
        seed = Seed(name, "net.safetensors", {"net.safetensors": path.read_bytes()}, (shape,))
    head, body = split(seed.bytes_of(seed.main))
    document = json.loads(head["__metadata__"]["rcproof"])
    forged = {k: v for k, v in document.items() if k != "sha256"}

    def forge(found: Any, hashed: bool = False) -> bytes:
        text = found if isinstance(found, str) else json.dumps(found)
        digest = {"rcproof_sha256": hashlib.sha256(text.encode()).hexdigest()} if hashed else {}
        return joined({**head, "__metadata__": {"rcproof": text, **digest}}, body)

    def leaves(rng: random.Random) -> tuple[str, Files]:
        return "description", seed.instead(forge(values.text(rng, values.changed(rng, forged)), rng.random() < 0.5))

    def certificate(rng: random.Random) -> tuple[str, Files]:
        if forged.get("certificate") is None:
            return leaves(rng)
        made = {**forged, "certificate": values.changed(rng, forged["certificate"])}
        return "certificate", seed.instead(forge(made))

    damage(seed, 2)
    seed.changes += [(4, leaves), (1, certificate), (2, lambda rng: ("header", seed.instead(header(rng, head, body))))]
    safetensors_tricks(seed, head, body, danger)
    for what, text in {
        "100,000 brackets": "[" * 100_000, "no JSON": "{", "a number": "1" * 6000, "NaN": "NaN", "null": "null",
    }.items():  # fmt: skip
        seed.crafted[f"a description of {what}"] = lambda text=text: seed.instead(forge(text))
    for key, value in itertools.product(document, (None, 3, "x", [], {}, [3], [None], [["x"]], [[0]], [[-1, 2**40]])):
        made = {**forged, key: value}
        seed.crafted[f"{key} is {value!r}"] = lambda made=made: seed.instead(forge(made))
    pickles_everywhere(seed, danger)
    return seed


def split(data: bytes) -> tuple[dict[str, Any], bytes]:
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def joined(head: Any, body: bytes) -> bytes:
    text = (head if isinstance(head, str) else json.dumps(head)).encode("utf-8", "surrogatepass")
    return len(text).to_bytes(8, "little") + text + body


def header(rng: random.Random, head: dict[str, Any], body: bytes) -> bytes:
    """Other names, dtypes, shapes or offsets in the header of a safetensors file."""
    tensors = {k: v for k, v in head.items() if k != "__metadata__"}
    made = values.changed(rng, tensors)
    kept = {"__metadata__": head["__metadata__"]} if "__metadata__" in head else {}
    if rng.random() < 0.1 or not isinstance(made, dict):
        return joined(values.text(rng, made), body)
    if rng.random() < 0.3:
        name = rng.choice(list(tensors))
        made[name] = {**tensors[name], "dtype": rng.choice(("F64", "I8", "F8_E5M2", "BOOL", "C64", "U64", "X", "F4"))}
    return joined({**kept, **made}, body)


def safetensors_tricks(seed: Seed, head: dict[str, Any], body: bytes, danger: Danger) -> None:
    name = next(k for k in head if k != "__metadata__")
    text = json.dumps(head)

    def put(**changes: Any) -> Callable[[], Files]:
        return lambda: seed.instead(joined({**head, name: {**head[name], **changes}}, body))

    seed.crafted |= {
        "a header of 2^63 bytes": lambda: seed.instead(b"\xff" * 7 + b"\x7f" + seed.bytes_of(seed.main)[8:]),
        "a header of 100 MB": lambda: seed.instead((10**8).to_bytes(8, "little") + seed.bytes_of(seed.main)[8:]),
        "a header that is not there": lambda: seed.instead((2).to_bytes(8, "little") + b"{}"),
        "a name twice": lambda: seed.instead(joined(f'{text[:-1]}, "{name}": {json.dumps(head[name])}}}', body)),
        "100,000 brackets in the header": lambda: seed.instead(joined('{"a":' + "[" * 100_000, body)),
        "a shape of 2^62": put(shape=[2**62, 2**62]),
        "a shape of 0 by 2^62": put(shape=[0, 2**62], data_offsets=[0, 0]),
        "offsets backwards": put(data_offsets=[100, 0]),
        "offsets past the end": put(data_offsets=[0, 2**62]),
        "a shape below 0": put(shape=[-1]),
        "a dtype of objects": put(dtype="O"),
        "no body": lambda: seed.instead(joined(text, b"")),
        "spaces for a header": lambda: seed.instead(joined(" " * 100_000 + text, body)),
        "a path for a name": lambda: seed.instead(joined({"../../escape": head[name], "__metadata__": {}}, body)),
        "a body of NaN": lambda: seed.instead(joined(text, b"\xff" * len(body))),
    }  # fmt: skip


def rcps() -> Any:
    from rcproof.conjoined import Conjoined
    from rcproof.convert import ConvertConfig, convert

    return convert(Conjoined(drawn(Score())).eval(), ConvertConfig(input_shapes=[(4, 20)]))


def conjoined() -> Any:
    from rcproof.conjoined import Conjoined

    net = nn.Sequential(
        nn.Conv1d(4, 5, 4), nn.ELU(), nn.AvgPool1d(2), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(5, 2)
    )
    return Conjoined(drawn(net), merge="sum", final="sigmoid").eval()


def network() -> Any:
    return drawn(Wide())
