"""Exported programs and ONNX files."""

from __future__ import annotations

import copy
import io
import json
import random
from typing import Any

import torch

from tests.checkpoints.fuzzing import onnx_nets, protos, values, zips
from tests.checkpoints.fuzzing.making import Danger, Files, Seed, damage, pickles_everywhere, zip_tricks
from tests.checkpoints.fuzzing.torch_nets import Wide, drawn


def exported(danger: Danger) -> Seed:
    net, target = drawn(Wide()), io.BytesIO()
    program = torch.export.export(net, (torch.randn(2, 4, 16),), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    torch.export.save(program, target)
    seed = Seed("pt2", "net.pt2", {"net.pt2": target.getvalue()}, ((4, 16),))
    content = zips.members(target.getvalue())
    documents = [name for name in content if name.endswith(".json")]
    model = max(documents, key=lambda name: len(content[name]))

    def leaves(rng: random.Random) -> tuple[str, Files]:
        name = model if rng.random() < 0.75 else rng.choice(documents)
        made = values.changed(rng, json.loads(content[name]))
        text = values.text(rng, made).encode("utf-8", "surrogatepass")
        return "documents", seed.instead(zips.zipped({**content, name: text}))

    def nodes(rng: random.Random) -> tuple[str, Files]:
        """Steps in another order, without one, twice, or of another function."""
        made = json.loads(content[model])
        steps = made["graph_module"]["graph"]["nodes"]
        for _ in range(rng.choice((1, 1, 2))):
            at, other, kind = rng.randrange(len(steps)), rng.randrange(len(steps)), rng.randrange(6)
            if kind == 0:
                del steps[at]
            elif kind == 1:
                steps.insert(other, copy.deepcopy(steps[at]))
            elif kind == 2:
                steps[at], steps[other] = steps[other], steps[at]
            elif kind == 3:
                steps[at]["target"] = rng.choice((
                    steps[other]["target"], "torch.ops.aten.load", "os.system", "builtins.eval",
                    "torch.ops.aten.relu_.default",
                    "_operator.getitem", "torch.ops.higher_order.cond", "torch.ops.aten.repeat.default",
                ))  # fmt: skip
            elif kind == 4:
                steps[at]["inputs"] = copy.deepcopy(steps[other]["inputs"])
            else:
                steps[at] = values.changed(rng, steps[at])
            steps = steps or [{}]
        return "steps", seed.instead(zips.zipped({**content, model: json.dumps(made).encode()}))

    damage(seed, 1)
    seed.changes += [(4, leaves), (3, nodes)]
    zip_tricks(seed, [model], danger)
    configs = [name for name in documents if name.endswith("_config.json")]
    for name in configs:
        for what, value in {"use_pickle": True, "path_name": "../../../../etc/hostname", "is_param": "x"}.items():
            text = json.dumps(_everywhere(json.loads(content[name]), what, value)).encode()
            seed.crafted[f"{name}: {what} is {value!r}"] = lambda name=name, text=text: seed.instead(
                zips.zipped({**content, name: text})
            )
    evil = "__import__('os').mkdir(" + repr(danger.marker) + ")"
    text = json.dumps(_everywhere(json.loads(content[model]), "expr_str", evil)).encode()
    seed.crafted["code for a size"] = lambda: seed.instead(zips.zipped({**content, model: text}))
    pickles_everywhere(seed, danger)
    return seed


def _everywhere(document: Any, key: str, value: Any) -> Any:
    for holder, at in values.places(document):
        if at == key and isinstance(holder, dict):
            holder[at] = value
    return document


def onnx(danger: Danger) -> Seed:
    seed = Seed("onnx", "net.onnx", {"net.onnx": onnx_nets.seed()}, ((4, 16),))
    data = seed.bytes_of(seed.main)
    damage(seed, 2)
    seed.changes.append((6, lambda rng: ("fields", seed.instead(protos.changed(rng, data)))))
    for what, made in onnx_nets.crafted(danger.secret).items():
        seed.crafted[what] = lambda made=made: dict(made) if isinstance(made, dict) else seed.instead(made)
    pickles_everywhere(seed, danger)
    return seed
