"""State dicts in every container of torch, and for a preset."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import torch

from tests.checkpoints.fuzzing import pickles, zips
from tests.checkpoints.fuzzing.making import SCORE, Danger, Files, Seed, damage, pickles_everywhere, zip_tricks
from tests.checkpoints.fuzzing.native_seeds import header, safetensors_tricks, split
from tests.checkpoints.fuzzing.torch_nets import Score, drawn, states


def torch_seeds(danger: Danger) -> Iterator[Seed]:
    state = drawn(Score()).state_dict()
    shape, options = (4, 20), {"model": SCORE}
    lightning = {"epoch": 3, "global_step": 70, "pytorch-lightning_version": "2.4.0",
                 "state_dict": {f"net.{k}": v for k, v in state.items()}, "loops": {"fit": {"best": 0.25}},
                 "hyper_parameters": {"lr": 1e-3}}  # fmt: skip
    for name, file, data in (
        ("torch zip", "net.pt", pickles.saved(state)),
        ("torch legacy", "net.pth", pickles.saved(state, legacy=True)),
        ("Lightning", "net.ckpt", pickles.saved(lightning)),
    ):
        yield _torch(Seed(name, file, {file: data}, (shape,), options), state, danger)
    yield _preset(danger)
    from safetensors.torch import save

    plain = Seed("safetensors", "net.safetensors", {"net.safetensors": save(state)}, (shape,), options)
    head, body = split(plain.bytes_of(plain.main))
    damage(plain, 2)
    plain.changes.append((4, lambda rng: ("header", plain.instead(header(rng, head, body)))))
    safetensors_tricks(plain, head, body, danger)
    pickles_everywhere(plain, danger)
    yield plain


def _torch(seed: Seed, state: dict[str, torch.Tensor], danger: Danger) -> Seed:
    data = seed.bytes_of(seed.main)
    seed.reserves = legacy = not data.startswith(b"PK")
    damage(seed, 2)
    seed.changes.append((5, lambda rng: ("opcodes", seed.instead(pickles.repickled(rng, data)))))
    for what, content in states(state).items():
        seed.crafted[what] = lambda content=content: seed.instead(pickles.saved(content, legacy))
    for protocol in (3, 4, 5):
        seed.crafted[f"protocol {protocol}"] = lambda protocol=protocol: seed.instead(
            pickles.saved(state, legacy, protocol)
        )
    if not legacy:
        folder = next(iter(zips.members(data))).partition("/")[0]
        zip_tricks(seed, [f"{folder}/data.pkl", f"{folder}/data/0"], danger)
        for size in (2**20, 2**31, 2**40):
            seed.crafted[f"numbers {size} of a storage"] = lambda size=size: seed.instead(_oversized(data, size))
    else:
        for size in (2**20, 2**31, 2**40):
            seed.crafted[f"numbers {size} of a storage"] = lambda size=size: seed.instead(
                data.replace(pickles.integer(80), pickles.integer(size))
            )
    pickles_everywhere(seed, danger)
    return seed


def _oversized(data: bytes, size: int) -> bytes:
    """A file of torch whose first storage has few bytes, and more by what the pickle says; so has its tensor."""
    content = zips.members(data)
    name = next(n for n in content if n.endswith("data.pkl"))
    found = pickles.operations(content[name])
    place = found.index(pickles.string("cpu"))
    numbers = [i for i, op in enumerate(found) if i > place and op[:1] in b"KMJ"]  # elements, offset, shape
    found[numbers[0]], found[numbers[2]] = pickles.integer(size), pickles.integer(size // 16)
    return zips.zipped({**content, name: b"".join(found)})


def _preset(danger: Danger) -> Seed:
    generator = torch.Generator().manual_seed(1)
    shapes = {"iconv.weight": (6, 4, 5), "iconv.bias": (6,), "fconv.weight": (2, 6, 5), "fconv.bias": (2,),
              "linear.weight": (1, 6), "linear.bias": (1,)}  # fmt: skip
    shapes |= {f"rconvs.{i}.{n}": s for i in range(2) for n, s in (("weight", (6, 6, 3)), ("bias", (6,)))}
    state = {k: torch.randn(s, generator=generator) / 3 for k, s in shapes.items()}
    seed = Seed("preset", "net.pt", {"net.pt": pickles.saved(state)}, ((4, 60),),
                {"arch": "bpnet-lite", "model_args": {"trimming": 5}})  # fmt: skip

    def reshaped(rng: random.Random) -> tuple[str, Files]:
        made: dict[str, Any] = dict(state)
        for _ in range(rng.choice((1, 1, 2))):
            name = rng.choice(list(made))
            kind = rng.randrange(6)
            sizes = [rng.choice((0, 1, 2, 3, 4, 6, 7, 1000)) for _ in range(rng.randrange(5))]
            if kind == 0:
                del made[name]
            elif kind == 1:
                made[rng.choice((name + "x", "rconvs.7.weight", "rconvs.x.bias", "rconvs.-1.weight",
                                 "rconvs.99999999.bias",
                                 "rconvs.0", "", "model." + name))] = made.pop(name)  # fmt: skip
            elif kind == 2:
                made[name] = made[name].to(rng.choice((torch.int64, torch.float16, torch.complex64, torch.bool)))
            elif kind == 3:
                made[name] = torch.zeros(()).expand(sizes) if rng.random() < 0.5 else torch.zeros(sizes)
            elif kind == 4:
                made[name] = made[name].repeat(2, *[1] * (made[name].dim() - 1))
            else:
                made[name] = made[rng.choice(list(made))]
        return "tensors", seed.instead(pickles.saved(made))

    _torch(seed, state, danger)
    seed.changes.append((8, reshaped))
    return seed
