"""One small sound file of every format, and all that can be done to it."""

from __future__ import annotations

import copy
import hashlib
import io
import itertools
import json
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tests.checkpoints.fuzzing import keras_crafted, keras_nets, onnx_nets, pickles, protos, raw, values, zips
from tests.checkpoints.fuzzing.h5 import Tree, written
from tests.checkpoints.fuzzing.torch_nets import Score, Wide, drawn, states

#: Files of one case by name; ``-> PATH`` is a link to there.
Files = dict[str, bytes | str]
Change = Callable[[random.Random], tuple[str, Files]]

SCORE = "tests.checkpoints.fuzzing.torch_nets:Score"


@dataclass
class Seed:
    """A sound file and its mutants.

    Attributes:
        format: a row of the table.
        main: the name of the file to read, among ``files``.
        options: what :class:`~rcproof.checkpoints.imported.ReadOptions` takes; ``architecture`` is one of ``files``.
        shapes: of the inputs, where a network does not say them.
        changes: kinds of random damage, each with its weight.
        crafted: made on purpose, each once.
    """

    format: str
    main: str
    files: Files
    shapes: tuple[tuple[int, ...], ...]
    options: dict[str, Any] = field(default_factory=dict)
    changes: list[tuple[float, Change]] = field(default_factory=list)
    crafted: dict[str, Callable[[], Files]] = field(default_factory=dict)

    def draw(self, rng: random.Random) -> tuple[str, Files]:
        """Some random damage."""
        weights, changes = zip(*self.changes, strict=True)
        return rng.choices(changes, weights)[0](rng)  # type: ignore[no-any-return]

    def bytes_of(self, name: str) -> bytes:
        """One of its files."""
        data = self.files[name]
        assert isinstance(data, bytes)
        return data

    def instead(self, data: bytes | str, name: str | None = None) -> Files:
        """Its files with another one in the place of one."""
        return {**self.files, name or self.main: data}


@dataclass(frozen=True)
class Danger:
    """Where nothing may ever appear: ``marker`` is a folder that payloads make, ``outside`` a path that names lead to.

    ``secret`` is a file that no reader may open because a file says so.
    """

    marker: str
    outside: str
    secret: str


def _damage(seed: Seed, weight: float, name: str | None = None) -> None:
    data = seed.bytes_of(name or seed.main)

    def change(rng: random.Random) -> tuple[str, Files]:
        what, made = raw.damaged(rng, data)
        return what, seed.instead(made, name)

    seed.changes.append((weight, change))


def _pickles_everywhere(seed: Seed, danger: Danger) -> None:
    """Whole files that are pickles, whatever the name says."""
    for how, data in pickles.payloads(danger.marker).items():
        seed.crafted[f"a pickle, {how}"] = lambda data=data: seed.instead(data)
        seed.crafted[f"a file of torch, {how}"] = lambda data=data: seed.instead(pickles.archive_with(data, ""))
        seed.crafted[f"an old file of torch, {how}"] = lambda data=data: seed.instead(pickles.legacy_with(data))
    array = io.BytesIO()
    np.save(array, np.array([pickles.Touch(danger.marker)], object), allow_pickle=True)
    seed.crafted["an array of numpy with objects"] = lambda: seed.instead(array.getvalue())


def _zip_tricks(seed: Seed, names: list[str], danger: Danger) -> None:
    content = zips.members(seed.bytes_of(seed.main))
    for name in names:
        for what, trick in zips.TRICKS.items():
            seed.crafted[f"{name}: {what}"] = lambda trick=trick, name=name: seed.instead(
                trick(content, name, danger.outside)
            )
    for name in content:
        others = {k: v for k, v in content.items() if k != name}
        seed.crafted[f"without {name}"] = lambda others=others: seed.instead(zips.zipped(others))
        seed.crafted[f"{name} is empty"] = lambda name=name: seed.instead(zips.zipped({**content, name: b""}))
        for how, data in pickles.payloads(danger.marker).items():
            seed.crafted[f"{name} is a pickle, {how}"] = lambda name=name, data=data: seed.instead(
                zips.zipped({**content, name: data})
            )

    def change(rng: random.Random) -> tuple[str, Files]:
        found: list[str] = []

        def damage(r: random.Random, data: bytes) -> bytes:
            what, made = raw.damaged(r, data or b"\0")
            found.append(what)
            return made

        return f"entry {found}"[:0] + "an entry, damaged", seed.instead(zips.mutated(rng, content, damage))

    seed.changes.append((1.5, change))


# -- ours ----------------------------------------------------------------------------------------------------------------
def _native(name: str, model: Callable[[], Any], shape: tuple[int, ...], danger: Danger) -> Seed:
    from rcproof.checkpoints import save

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seed.safetensors"
        save(model(), path)
        seed = Seed(name, "net.safetensors", {"net.safetensors": path.read_bytes()}, (shape,))
    head, body = _split(seed.bytes_of(seed.main))
    document = json.loads(head["__metadata__"]["rcproof"])
    forged = {k: v for k, v in document.items() if k != "sha256"}

    def forge(found: Any, hashed: bool = False) -> bytes:
        text = found if isinstance(found, str) else json.dumps(found)
        digest = {"rcproof_sha256": hashlib.sha256(text.encode()).hexdigest()} if hashed else {}
        return _joined({**head, "__metadata__": {"rcproof": text, **digest}}, body)

    def leaves(rng: random.Random) -> tuple[str, Files]:
        return "description", seed.instead(forge(values.text(rng, values.changed(rng, forged)), rng.random() < 0.5))

    def certificate(rng: random.Random) -> tuple[str, Files]:
        if forged.get("certificate") is None:
            return leaves(rng)
        made = {**forged, "certificate": values.changed(rng, forged["certificate"])}
        return "certificate", seed.instead(forge(made))

    _damage(seed, 2)
    seed.changes += [(4, leaves), (1, certificate), (2, lambda rng: ("header", seed.instead(_header(rng, head, body))))]
    _safetensors_tricks(seed, head, body, danger)
    for what, text in {
        "100,000 brackets": "[" * 100_000, "no JSON": "{", "a number": "1" * 6000, "NaN": "NaN", "null": "null",
    }.items():  # fmt: skip
        seed.crafted[f"a description of {what}"] = lambda text=text: seed.instead(forge(text))
    _pickles_everywhere(seed, danger)
    return seed


def _split(data: bytes) -> tuple[dict[str, Any], bytes]:
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def _joined(head: Any, body: bytes) -> bytes:
    text = (head if isinstance(head, str) else json.dumps(head)).encode("utf-8", "surrogatepass")
    return len(text).to_bytes(8, "little") + text + body


def _header(rng: random.Random, head: dict[str, Any], body: bytes) -> bytes:
    """Other names, dtypes, shapes or offsets in the header of a safetensors file."""
    tensors = {k: v for k, v in head.items() if k != "__metadata__"}
    made = values.changed(rng, tensors)
    kept = {"__metadata__": head["__metadata__"]} if "__metadata__" in head else {}
    if rng.random() < 0.1 or not isinstance(made, dict):
        return _joined(values.text(rng, made), body)
    if rng.random() < 0.3:
        name = rng.choice(list(tensors))
        made[name] = {**tensors[name], "dtype": rng.choice(("F64", "I8", "F8_E5M2", "BOOL", "C64", "U64", "X", "F4"))}
    return _joined({**kept, **made}, body)


def _safetensors_tricks(seed: Seed, head: dict[str, Any], body: bytes, danger: Danger) -> None:
    name = next(k for k in head if k != "__metadata__")
    text = json.dumps(head)

    def put(**changes: Any) -> Callable[[], Files]:
        return lambda: seed.instead(_joined({**head, name: {**head[name], **changes}}, body))

    seed.crafted |= {
        "a header of 2^63 bytes": lambda: seed.instead(b"\xff" * 7 + b"\x7f" + seed.bytes_of(seed.main)[8:]),
        "a header of 100 MB": lambda: seed.instead((10**8).to_bytes(8, "little") + seed.bytes_of(seed.main)[8:]),
        "a header that is not there": lambda: seed.instead((2).to_bytes(8, "little") + b"{}"),
        "a name twice": lambda: seed.instead(_joined(text[:-1] + f", {json.dumps(name)}: {json.dumps(head[name])}}}", body)),
        "100,000 brackets in the header": lambda: seed.instead(_joined('{"a":' + "[" * 100_000, body)),
        "a shape of 2^62": put(shape=[2**62, 2**62]),
        "a shape of 0 by 2^62": put(shape=[0, 2**62], data_offsets=[0, 0]),
        "offsets backwards": put(data_offsets=[100, 0]),
        "offsets past the end": put(data_offsets=[0, 2**62]),
        "a shape below 0": put(shape=[-1]),
        "a dtype of objects": put(dtype="O"),
        "no body": lambda: seed.instead(_joined(text, b"")),
        "spaces for a header": lambda: seed.instead(_joined(" " * 100_000 + text, body)),
        "a path for a name": lambda: seed.instead(_joined({"../../escape": head[name], "__metadata__": {}}, body)),
        "a body of NaN": lambda: seed.instead(_joined(text, b"\xff" * len(body))),
    }  # fmt: skip


def _rcps() -> Any:
    from rcproof.conjoined import Conjoined
    from rcproof.convert import ConvertConfig, convert

    return convert(Conjoined(drawn(Score())).eval(), ConvertConfig(input_shapes=[(4, 20)]))


def _conjoined() -> Any:
    from rcproof.conjoined import Conjoined

    net = nn.Sequential(nn.Conv1d(4, 5, 4), nn.ELU(), nn.AvgPool1d(2), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(5, 2))
    return Conjoined(drawn(net), merge="sum", final="sigmoid").eval()


# -- torch ---------------------------------------------------------------------------------------------------------------
def _torch_seeds(danger: Danger) -> Iterator[Seed]:
    state = drawn(Score()).state_dict()
    shape, options = (4, 20), {"model": SCORE}
    lightning = {"epoch": 3, "global_step": 70, "pytorch-lightning_version": "2.4.0", "state_dict": {f"net.{k}": v for k, v
                 in state.items()}, "loops": {"fit": {"best": 0.25}}, "hyper_parameters": {"lr": 1e-3}}  # fmt: skip
    for name, file, data in (
        ("torch zip", "net.pt", pickles.saved(state)),
        ("torch legacy", "net.pth", pickles.saved(state, legacy=True)),
        ("Lightning", "net.ckpt", pickles.saved(lightning)),
    ):
        yield _torch(Seed(name, file, {file: data}, (shape,), options), state, danger)
    yield _preset(danger)
    from safetensors.torch import save

    plain = Seed("safetensors", "net.safetensors", {"net.safetensors": save(state)}, (shape,), options)
    head, body = _split(plain.bytes_of(plain.main))
    _damage(plain, 2)
    plain.changes.append((4, lambda rng: ("header", plain.instead(_header(rng, head, body)))))
    _safetensors_tricks(plain, head, body, danger)
    _pickles_everywhere(plain, danger)
    yield plain


def _torch(seed: Seed, state: dict[str, torch.Tensor], danger: Danger) -> Seed:
    data = seed.bytes_of(seed.main)
    legacy = not data.startswith(b"PK")
    _damage(seed, 2)
    seed.changes.append((5, lambda rng: ("opcodes", seed.instead(pickles.repickled(rng, data)))))
    for what, content in states(state).items():
        seed.crafted[what] = lambda content=content: seed.instead(pickles.saved(content, legacy))
    for protocol in (3, 4, 5):
        seed.crafted[f"protocol {protocol}"] = lambda protocol=protocol: seed.instead(pickles.saved(state, legacy, protocol))
    if not legacy:
        folder = next(iter(zips.members(data))).partition("/")[0]
        _zip_tricks(seed, [f"{folder}/data.pkl", f"{folder}/data/0"], danger)
        for size in (2**20, 2**31, 2**40):
            seed.crafted[f"numbers {size} of a storage"] = lambda size=size: seed.instead(_oversized(data, size))
    else:
        for size in (2**20, 2**31, 2**40):
            seed.crafted[f"numbers {size} of a storage"] = lambda size=size: seed.instead(
                data.replace(pickles.integer(80), pickles.integer(size))
            )
    _pickles_everywhere(seed, danger)
    return seed


def _oversized(data: bytes, size: int) -> bytes:
    """A file of torch whose first storage has few bytes, and more by what the pickle says; so has its tensor."""
    content = zips.members(data)
    name = next(n for n in content if n.endswith("data.pkl"))
    found = pickles.operations(content[name])
    first = next(i for i, op in enumerate(found) if op == pickles.integer(80))  # conv.weight, 5 by 4 by 4
    found[first] = pickles.integer(size)
    shape = next(i for i in range(first, len(found)) if found[i] == pickles.integer(5))
    found[shape] = pickles.integer(size // 16)
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
                made[rng.choice((name + "x", "rconvs.7.weight", "rconvs.x.bias", "rconvs.-1.weight", "rconvs.99999999.bias",
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


# -- programs and ONNX -----------------------------------------------------------------------------------------------------
def _exported(danger: Danger) -> Seed:
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
                    steps[other]["target"], "torch.ops.aten.load", "os.system", "builtins.eval", "torch.ops.aten.relu_.default",
                    "_operator.getitem", "torch.ops.higher_order.cond", "torch.ops.aten.repeat.default",
                ))  # fmt: skip
            elif kind == 4:
                steps[at]["inputs"] = copy.deepcopy(steps[other]["inputs"])
            else:
                steps[at] = values.changed(rng, steps[at])
            steps = steps or [{}]
        return "steps", seed.instead(zips.zipped({**content, model: json.dumps(made).encode()}))

    _damage(seed, 1)
    seed.changes += [(4, leaves), (3, nodes)]
    _zip_tricks(seed, [model], danger)
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
    _pickles_everywhere(seed, danger)
    return seed


def _everywhere(document: Any, key: str, value: Any) -> Any:
    for holder, at in values.places(document):
        if at == key and isinstance(holder, dict):
            holder[at] = value
    return document


def _onnx(danger: Danger) -> Seed:
    seed = Seed("onnx", "net.onnx", {"net.onnx": onnx_nets.seed()}, ((4, 16),))
    data = seed.bytes_of(seed.main)
    _damage(seed, 2)
    seed.changes.append((6, lambda rng: ("fields", seed.instead(protos.changed(rng, data)))))
    for what, made in onnx_nets.crafted(danger.secret).items():
        seed.crafted[what] = lambda made=made: dict(made) if isinstance(made, dict) else seed.instead(made)
    _pickles_everywhere(seed, danger)
    return seed


# -- Keras ---------------------------------------------------------------------------------------------------------------
class _Keras:
    """One Keras network in one container."""

    def __init__(self, name: str, net: Callable[[], tuple[Any, Tree]], container: str, shapes: Any, **lambdas: str) -> None:
        self.net, self.container = net, container
        self.config, self.tree = net()
        main = {"archive": "net.keras", "full": "net.h5", "apart": "weights.h5"}[container]
        options: dict[str, Any] = {"lambdas": lambdas} if lambdas else {}
        if container == "apart":
            options["architecture"] = "net.json"
        self.seed = Seed(name, main, {}, shapes, options)
        self.seed.files = self.files(self.config, self.tree)

    def files(self, config: Any, tree: Tree) -> Files:
        text = config if isinstance(config, str) else json.dumps(config)
        coded = text.encode("utf-8", "surrogatepass")
        if self.container == "apart":
            return {self.seed.main: written(tree), "net.json": coded}
        if self.container == "full":
            attrs: dict[str, Any] = {"model_config": text, "keras_version": "2.4.0", "backend": "tensorflow", **tree.attrs}
            return {self.seed.main: written(Tree(attrs, {"model_weights": tree}))}
        metadata = json.dumps({"keras_version": "3.5.0", "date_saved": "2024-01-01@00:00:00"}).encode()
        content = {"metadata.json": metadata, "config.json": coded, "model.weights.h5": written(tree)}
        return {self.seed.main: zips.zipped(content)}

    def leaves(self, rng: random.Random) -> tuple[str, Files]:
        return "configuration", self.files(values.text(rng, values.changed(rng, self.config)), self.tree)

    def arrays(self, rng: random.Random) -> tuple[str, Files]:
        """Other arrays, names and attributes."""
        tree = copy.deepcopy(self.tree)
        for _ in range(rng.choice((1, 1, 2))):
            holder, name = rng.choice(tree.arrays())
            array, kind = holder.items[name], rng.randrange(9)
            if kind == 0:
                holder.items[name] = array.astype(rng.choice(("<f2", "<f8", ">f4", "<i4", "?", "u1", "<c8", "S3")))
            elif kind == 1:
                holder.items[name] = array.T.copy()
            elif kind == 2:
                holder.items[name] = rng.choice((array[:0], array[:1], array[..., None], array.ravel(), array[..., :1]))
            elif kind == 3:
                del holder.items[name]
            elif kind == 4:
                holder.items[rng.choice(("x", "kernel:0", "A" * 300, "bias", "0", "é"))] = holder.items.pop(name)
            elif kind == 5:
                holder.items[name] = np.full_like(array, rng.choice((np.nan, np.inf, 0, 1e38, -1e38)))
            elif kind == 6:
                other, at = rng.choice(tree.arrays())
                holder.items[name] = other.items[at]
            else:
                group = rng.choice([g for g in tree.groups() if g.attrs] or [tree])
                key = rng.choice([*group.attrs, "weight_names", "backend", "name"])
                made = values.odd(rng, _listed(group.attrs.get(key, "")))
                group.attrs[key] = made if _storable(made) else str(made)[:1000]
        return "arrays", self.files(self.config, tree)

    def made(self, danger: Danger) -> Seed:
        seed = self.seed
        _damage(seed, 2)
        if self.container == "apart":
            _damage(seed, 1, "net.json")
        seed.changes += [(7, self.leaves), (2.5, self.arrays)]
        return seed

    def add_crafted(self, danger: Danger, configurations: bool) -> None:
        seed = self.seed
        for what, tree in keras_crafted.trees(lambda: copy.deepcopy(self.tree), danger.marker, danger.secret).items():
            seed.crafted[what] = lambda tree=tree: self.files(self.config, tree())
        for what, config in keras_crafted.configurations(danger.marker).items() if configurations else ():
            seed.crafted[what] = lambda config=config: self.files(config, Tree({"layer_names": []}))
        _pickles_everywhere(seed, danger)


def _listed(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _storable(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(v, str) and "\0" not in v and v for v in value) and len(value) < 2000
    return isinstance(value, str | int | float) and not (isinstance(value, int) and abs(value) >= 2**63)


def _keras_seeds(danger: Danger) -> Iterator[Seed]:
    nets = keras_nets
    all_of_them = (
        _Keras("Keras 2 .h5", nets.every_layer, "full", ((4, 20),), same="identity"),
        _Keras("Keras 2 siamese", nets.siamese, "full", ((4, 16),)),
        _Keras("keras-genomics", nets.genomics, "full", ((4, 18),)),
        _Keras("Keras 2 + JSON", nets.chain, "apart", ((4, 15),)),
        _Keras("Keras 3 .keras", nets.third, "archive", ((4, 16),)),
        _Keras("Keras 1", nets.first, "apart", ((4, 14), (4, 14))),
        _Keras("Keras 0", nets.zeroth, "apart", ((4, 20),)),
    )
    for one in all_of_them:
        seed = one.made(danger)
        kinds = {"Keras 2 .h5": True, "Keras 2 + JSON": False, "Keras 3 .keras": True, "Keras 0": False}
        if seed.format in kinds:
            one.add_crafted(danger, kinds[seed.format])
        if one.container == "archive":
            _zip_tricks(seed, ["config.json", "model.weights.h5"], danger)
        yield seed


def seeds(danger: Danger) -> list[Seed]:
    """One of each format; the same ones each time."""
    torch.manual_seed(0)
    ours = [
        _native("rcproof, RCPS", _rcps, (4, 20), danger),
        _native("rcproof, conjoined", _conjoined, (4, 20), danger),
        _native("rcproof, network", _network, (4, 16), danger),
    ]
    return list(itertools.chain(ours, _torch_seeds(danger), [_exported(danger), _onnx(danger)], _keras_seeds(danger)))


def _network() -> Any:
    return drawn(Wide())


def crafted_names(found: Mapping[str, Any]) -> list[str]:
    """The names of what was made on purpose, in an order in which the kinds are mixed."""
    names = sorted(found, key=lambda name: hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest())
    return names
