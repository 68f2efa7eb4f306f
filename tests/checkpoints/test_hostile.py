"""Files from outside: whatever is in them, one clear line, no code run, and no memory taken."""

from __future__ import annotations

import copy
import json
import random
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from rcproof.checkpoints import load, read_header, save
from rcproof.conjoined import Conjoined
from rcproof.convert import ConvertConfig, convert
from rcproof.errors import CheckpointError, RcproofError
from rcproof.network.ops import OPS

Document = dict[str, Any]


class Net(nn.Module):
    """Every op of a node, a free tensor, a shared parameter, a transient buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.again = nn.Conv1d(4, 3, 3), nn.Conv1d(3, 3, 3)
        self.again.bias = self.conv.bias
        self.lstm, self.dense = nn.LSTM(3, 2, batch_first=True), nn.Linear(2, 1)
        self.scale = nn.Parameter(torch.ones(3, 1))
        self.register_buffer("shift", torch.zeros(3, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.again(self.conv(x)) * self.scale + self.shift
        return self.dense(self.lstm(h[:, :, 1 : h.shape[2] - 1].transpose(1, 2))[0].mean(1))


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("files") / "good.safetensors"
    save(convert(Conjoined(Net()).eval(), ConvertConfig(input_shapes=[(4, 20)])), path)
    return path


@pytest.fixture(scope="module")
def conjoined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("files") / "conjoined.safetensors"
    save(Conjoined(Net(), final=[nn.Sigmoid()]), path)
    return path


def parts(path: Path) -> tuple[dict[str, Tensor], Document]:
    with safe_open(path, framework="pt") as handle:
        return {k: handle.get_tensor(k) for k in handle.keys()}, json.loads(handle.metadata()["rcproof"])  # noqa: SIM118


def forged(
    source: Path,
    path: Path,
    change: Callable[[Document], Any],
    tensors: Callable[[dict[str, Tensor]], Any] | None = None,
) -> Path:
    """A well-formed safetensors file with another description; whoever forges a file forges its hashes too."""
    held, document = parts(source)
    del document["sha256"]
    if tensors is not None:
        tensors(held)
    changed = change(document)
    text = changed if isinstance(changed, str) else json.dumps(document)
    save_file(held, path, {"rcproof": text})
    return path


def tried(path: Path) -> bool:
    """Whether the file loads; if not, with one clear line."""
    try:
        load(path)
    except RcproofError as error:
        if "\n" in str(error):
            raise
        return False
    return True


def refusal(path: Path) -> str:
    """The one line with which the file is refused; little memory is taken on the way."""
    tracemalloc.start()
    try:
        with pytest.raises(RcproofError) as error:
            load(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100e6
    text = str(error.value)
    assert "\n" not in text
    return text


def node(document: Document, op: str, target: str = "") -> Document:
    return next(n for n in document["net"]["graph"]["nodes"] if n["op"] == op and target in n["target"])


def layer(document: Document, path: str) -> Document:
    return document["net"]["layers"][path]


def nested(depth: int, inner: str, left: str, right: str) -> str:
    return left * depth + inner + right * depth


GRAPHS: dict[str, tuple[Callable[[Document], Any], str]] = {
    "unknown function": (
        lambda d: node(d, "call", "mean").update(target="os.system"),
        "node 'mean' of the graph: got function 'os.system'; expected a registered function. Nothing was executed",
    ),
    "eval": (
        lambda d: node(d, "call", "mean").update(target="builtins.eval"),
        "function 'builtins.eval'; expected a r",
    ),
    "getattr": (lambda d: node(d, "call", "mean").update(target="builtins.getattr"), "function 'builtins.getattr'"),
    "a dunder method": (lambda d: node(d, "call", "mean").update(target="Tensor.__reduce__"), "'Tensor.__reduce__'"),
    "a dunder attribute": (
        lambda d: node(d, "attribute").update(target="__class__"),
        "got attribute '__class__'; expected shape, ndim, device, dtype",
    ),
    "a private attribute": (lambda d: node(d, "attribute").update(target="_backward_hooks"), "got attribute '_backwa"),
    "unknown operation": (
        lambda d: node(d, "call", "mean").update(op="exec"),
        "got op 'exec', kind 'stacked', stacked",
    ),
    "unknown kind": (lambda d: node(d, "call", "mean").update(kind="open"), "kind 'open'"),
    "unknown stacked form": (lambda d: node(d, "call", "mean").update(stacked="eval"), "stacked form 'eval'"),
    "unknown layer of the graph": (
        lambda d: node(d, "module", "conv").update(target="nowhere"),
        "no such layer: got 'now",
    ),
    "unknown tensor": (lambda d: node(d, "tensor", "scale").update(target="nowhere"), "no such tensor: got 'nowhere'"),
    "a cycle": (
        lambda d: node(d, "call", "mean").update(args=[{"ref": "dense"}, 1]),
        "node 'mean' of the graph: got a reference to 'dense'; expected the name of an earlier node",
    ),
    "itself": (lambda d: node(d, "call", "mean").update(args=[{"ref": "mean"}, 1]), "a reference to 'mean'; expected"),
    "two of a name": (
        lambda d: node(d, "call", "mean").update(name="conv"),
        "node 'conv' of the graph: got a name used",
    ),
    "a name that is no text": (lambda d: node(d, "call", "mean").update(name=3), "got 3; expected a string"),
    "no nodes": (
        lambda d: d["net"]["graph"].update(nodes=[]),
        "outputs of the graph: got 'merge:0'; expected the name",
    ),
    "nodes that are none": (
        lambda d: d["net"]["graph"].update(nodes=[1, 2]),
        "the graph in the file is damaged: got Typ",
    ),
    "outputs that are none": (
        lambda d: d["net"]["graph"].update(outputs=["x"]),
        "output 'x' of the network: got both strands; expected a merged value",
    ),
    "structure": (
        lambda d: d["net"]["graph"].update(structure=["set", "*"]),
        "structure of the outputs: got ['set', '*",
    ),
    "structure of another size": (
        lambda d: d["net"]["graph"].update(structure=["tuple", "*", "*"]),
        "structure of the o",
    ),
    "format": (lambda d: d["net"]["graph"].update(format=99), "format of the graph: got 99; expected 1"),
    "an argument with a tag of its own": (
        lambda d: node(d, "call", "mean").update(args=[{"pickle": "gASV"}]),
        "an argument in the graph: got {'pickle': 'gASV'}; expected one of the encoded forms",
    ),
    "a dtype that is none": (
        lambda d: node(d, "call", "mean").update(args=[{"dtype": "nn"}]),
        "an argument in the graph",
    ),
    "a device that is none": (
        lambda d: node(d, "call", "mean").update(args=[{"device": "x:y"}]),
        "an argument in the gr",
    ),
    "a slice of too many": (
        lambda d: node(d, "call", "mean").update(args=[{"slice": [1, 2, 3, 4]}]),
        "the graph in the",
    ),
    "a deep argument": (
        lambda d: json.dumps(d).replace(json.dumps(node(d, "call", "mean")["args"]), nested(500, "1", "[", "]")),
        "",
    ),
    "a deep structure": (
        lambda d: json.dumps(d).replace('"structure": "*"', '"structure": ' + nested(50_000, '"*"', '["tuple", ', "]")),
        "",
    ),
    "an op without arguments": (lambda d: node(d, "merge").update(args=[]), "is damaged: got IndexError"),
    "a merge of another kind": (
        lambda d: node(d, "merge").update(rep="pairs:999999999"),
        "strand pairs: got 999999999",
    ),
    "a representation that is no involution": (lambda d: node(d, "input").update(rep="perm:1,2,0"), "no involution"),
    "no graph": (lambda d: d["net"].pop("graph"), "is damaged: got KeyError: 'graph'"),
    "a layout": (lambda d: d["net"].update(layout=["auto"]), "layout: got ['auto']; expected auto, stacked or batched"),
}

LAYERS: dict[str, tuple[Callable[[Document], Any], str]] = {
    "unknown": (
        lambda d: layer(d, "conv").update(type="subprocess.Popen"),
        "layer 'conv' in the file: got 'subprocess.Popen'; expected a registered layer. Nothing was executed",
    ),
    "a class of torch that is no layer": (
        lambda d: layer(d, "conv").update(type="torch.nn.Module"),
        "a registered layer",
    ),
    "a type that is no text": (lambda d: layer(d, "conv").update(type=["torch.nn.ReLU"]), "is damaged"),
    "10¹² channels": (
        lambda d: layer(d, "conv")["args"].update(out_channels=10**12),
        "expected shape (1000000000000",
    ),
    "10¹² by 10¹² channels": (
        lambda d: layer(d, "conv")["args"].update(in_channels=10**12, out_channels=10**12, source=None),
        "layer 'conv' in the file: got rcproof.nn.RCPSConv1d(",
    ),
    "10³⁰ channels": (
        lambda d: layer(d, "conv")["args"].update(out_channels=10**30),
        "layer 'conv' in the file: got rcp",
    ),
    "a device": (
        lambda d: layer(d, "dense")["args"].update(device="cpu", out_features=10**9),
        "with ['bias', 'coupled'",
    ),
    "a private argument": (
        lambda d: layer(d, "lstm")["args"].update(_weight=[1.0]),
        "layer 'lstm' in the file: got 't",
    ),
    "layers without end": (
        lambda d: layer(d, "lstm")["args"].update(num_layers=10**9),
        "layer 'lstm' in the file: got",
    ),
    "layers of a fraction": (
        lambda d: layer(d, "lstm")["args"].update(num_layers="many"),
        "layer 'lstm' in the file is",
    ),
    "an unknown argument": (lambda d: layer(d, "conv")["args"].update(evil=1), "unexpected keyword argument 'evil'"),
    "a missing argument": (
        lambda d: layer(d, "conv")["args"].pop("in_channels"),
        "missing 1 required positional argument",
    ),
    "negative sizes": (
        lambda d: layer(d, "conv")["args"].update(out_channels=-3),
        "layer 'conv' in the file: got rcpro",
    ),
    "no whole number": (lambda d: layer(d, "conv")["args"].update(kernel_size=2.5), "layer 'conv' in the file"),
    "pairs without end": (
        lambda d: layer(d, "conv")["args"].update(source="pairs:4000000000"),
        "strand pairs: got 400",
    ),
    "no arguments": (
        lambda d: layer(d, "conv").pop("args"),
        "layer 'conv' in the file is damaged: got KeyError: 'args'",
    ),
    "arguments that are none": (lambda d: layer(d, "conv").update(args=[1]), "layer 'conv' in the file is damaged"),
    "a layer missing": (lambda d: d["net"]["layers"].pop("conv"), "no such layer: got 'conv'"),
    "a layer too many": (
        lambda d: d["net"]["layers"].update(
            other={"type": "torch.nn.Linear", "args": {"in_features": 2, "out_features": 2}}
        ),
        "tensors missing from",
    ),
    "two layers at one place": (
        lambda d: (
            d["net"]["layers"].update({"conv.x": {"type": "torch.nn.ReLU", "args": {}}})
            or d["net"]["layers"].pop("conv")
        ),
        "no such layer",
    ),
}

DOCUMENTS: dict[str, tuple[Callable[[Document], Any], str]] = {
    "no JSON": (lambda d: "{", "is damaged: got JSONDecodeError"),
    "a list": (lambda d: "[]", "is damaged: got TypeError"),
    "a number": (lambda d: "1" * 5000, "is damaged: got ValueError"),
    "empty": (lambda d: "{}", "is damaged: got KeyError: 'format'"),
    "deep": (lambda d: nested(200_000, "", "[", "]"), "is damaged: got RecursionError"),
    "format": (lambda d: d.update(format=2), "got 2; expected 1. Use another version of rcproof"),
    "kind": (lambda d: d.update(kind="pickle"), "got 'pickle'; expected rcps, conjoined or network"),
    "a kind that is no text": (lambda d: d.update(kind=["rcps"]), "got ['rcps']; expected rcps, conjoined or network"),
    "no network": (lambda d: d.pop("net"), "is damaged: got KeyError: 'net'"),
    "a network that is none": (lambda d: d.update(net="x"), "is damaged: got TypeError"),
    "buffers that are none": (lambda d: d.update(buffers=7), "is damaged: got TypeError"),
    "aliases that are none": (lambda d: d.update(aliases=[1]), "is damaged: got TypeError"),
    "an alias of nothing": (lambda d: d["aliases"].update({"conv.weight2": "nowhere"}), "expected none of this name"),
    "aliases in a circle": (
        lambda d: d["aliases"].update({"again.bias": "x", "x": "again.bias"}),
        "tensor 'again.bias' of",
    ),
    "an alias of another shape": (
        lambda d: d["aliases"].update({"again.bias": "dense.bias"}),
        "got shape (1,); expected",
    ),
    "a certificate that is a list": (lambda d: d.update(certificate=[3]), "a certificate that is list"),
    "outputs of a certificate": (lambda d: d.update(certificate={"outputs": 3}), "outputs of the certificate that are"),
    "inputs of a certificate": (lambda d: d.update(certificate={"inputs": [{}]}), "inputs of the certificate that are"),
    "a tensor nobody takes": (lambda d: d["net"]["tensors"].remove("scale"), "tensor 'scale' of"),
    "a tensor nobody has": (lambda d: d["net"]["tensors"].append("more"), "tensors missing from"),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs(name: str, good: Path, tmp_path: Path) -> None:
    change, text = GRAPHS[name]
    assert text in refusal(forged(good, tmp_path / "x.safetensors", change))


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str, good: Path, tmp_path: Path) -> None:
    change, text = LAYERS[name]
    assert text in refusal(forged(good, tmp_path / "x.safetensors", change))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents(name: str, good: Path, tmp_path: Path) -> None:
    change, text = DOCUMENTS[name]
    assert text in refusal(forged(good, tmp_path / "x.safetensors", change))


CONJOINED: dict[str, tuple[Callable[[Document], Any], str]] = {
    "merge": (lambda d: d.update(merge=["median"]), "no such merge: got 'median'"),
    "no merge": (lambda d: d.pop("merge"), "is damaged: got KeyError: 'merge'"),
    "passes": (lambda d: d.update(passes=10**9), "passes: got 1000000000; expected 1 (a doubled batch) or 2"),
    "inputs": (lambda d: d.update(inputs=["perm:1,2,0"]), "no involution"),
    "outputs": (lambda d: d.update(outputs=["pairs:5000000"]), "strand pairs: got 5000000 tasks; expected 1"),
    "final": (lambda d: d.update(final="os.system"), "is damaged: got TypeError"),
    "finals": (lambda d: d.update(final=[1]), "is damaged: got TypeError"),
}  # fmt: skip


@pytest.mark.parametrize("name", CONJOINED)
def test_conjoined(name: str, conjoined: Path, tmp_path: Path) -> None:
    change, text = CONJOINED[name]
    assert text in refusal(forged(conjoined, tmp_path / "x.safetensors", change))


TENSORS: dict[str, tuple[Callable[[dict[str, Tensor]], Any], str]] = {
    "missing": (lambda t: t.pop("conv.weight"), "tensors missing from"),
    "too many": (lambda t: t.update({"conv.more": torch.zeros(1)}), "tensor 'conv.more' of"),
    "too many, with a name like code": (lambda t: t.update({"__class__": torch.zeros(1)}), "tensor '__class__' of"),
    "of another shape": (
        lambda t: t.update({"dense.weight": torch.zeros(1, 3)}),
        "got shape (1, 3); expected shape (1, 2)",
    ),
    "of another rank": (lambda t: t.update({"dense.bias": torch.zeros(())}), "got shape (); expected shape (1,)"),
    "none at all": (lambda t: t.clear(), ""),
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensors(name: str, good: Path, tmp_path: Path) -> None:
    change, text = TENSORS[name]
    assert text in refusal(forged(good, tmp_path / "x.safetensors", lambda d: None, change))


def test_forging_nothing_loads(good: Path, conjoined: Path, tmp_path: Path) -> None:
    """The forger above breaks nothing by itself."""
    for source in (good, conjoined):
        x = torch.randn(2, 4, 20)
        assert torch.equal(load(forged(source, tmp_path / "x.safetensors", lambda d: None))(x), load(source)(x))


def test_no_registered_function_reaches_outside() -> None:
    """What a graph can call computes with tensors: nothing imports, reads, writes or runs."""
    modules = {getattr(op.function, "__module__", None) or "" for op in OPS.values()}
    assert not modules & {"os", "sys", "io", "importlib", "subprocess", "pickle", "torch.serialization", "torch.hub"}
    names = {op.name.rpartition(".")[2] for op in OPS.values()}
    assert not any(name.startswith("__") for name in names)
    assert not names & {
        "load",
        "save",
        "eval",
        "exec",
        "getattr",
        "setattr",
        "open",
        "compile",
        "apply_",
        "map_",
        "numpy",
    }


# -- damage -----------------------------------------------------------------------------------------------


def test_truncated(good: Path, tmp_path: Path) -> None:
    data = good.read_bytes()
    (header,) = struct.unpack("<Q", data[:8])
    path = tmp_path / "x.safetensors"
    for size in [*range(1, 12), header // 2, header + 7, header + 8, len(data) - 1]:
        path.write_bytes(data[:size])
        assert "is no safetensors file, or is damaged" in refusal(path)
    path.write_bytes(b"")
    assert refusal(path).endswith("is empty")
    path.write_bytes(data + b"\0")
    assert "is no safetensors file, or is damaged" in refusal(path)
    path.write_bytes(struct.pack("<Q", 2**63) + data[8:])
    assert "is no safetensors file, or is damaged" in refusal(path)


def test_every_flipped_bit_is_seen(good: Path, tmp_path: Path) -> None:
    """In the description by its hash, in a tensor by that tensor's."""
    data = bytearray(good.read_bytes())
    (header,) = struct.unpack("<Q", data[:8])
    start, key = data.index(b'"rcproof":'), data.index(b'"rcproof_sha256"')
    outside = range(key, key + 18)  # without its name, a hash is just another line of metadata
    draw = random.Random(0)
    places = [draw.randrange(start, header + 8) for _ in range(150)]
    places += [draw.randrange(header + 8, len(data)) for _ in range(60)]
    path = tmp_path / "x.safetensors"
    seen = set()
    for at in places:
        if at in outside:
            continue
        flipped = bytearray(data)
        flipped[at] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        seen.add(refusal(path).partition(":")[2][:40])
    assert any("a description with another sha256" in text for text in seen)
    assert any("another sha256" in text for text in seen)


def test_random_bytes_and_random_edits(good: Path, tmp_path: Path) -> None:
    """Nothing but RcproofError, whatever is in the file; with the hashes taken out, so that the rest must hold."""
    source = forged(good, tmp_path / "plain.safetensors", lambda d: None)
    data = source.read_bytes()
    (header,) = struct.unpack("<Q", data[:8])
    draw = random.Random(1)
    path = tmp_path / "x.safetensors"
    loaded = 0
    for trial in range(400):
        if trial % 4 == 0:
            content = bytes(draw.randrange(256) for _ in range(draw.randrange(1, 200)))
        else:
            edited = bytearray(data)
            for _ in range(draw.choice((1, 1, 3, 20))):
                at = draw.randrange(8, header + 8)
                edited[at] = draw.choice((edited[at] ^ (1 << draw.randrange(8)), draw.randrange(32, 127)))
            content = bytes(edited)
        path.write_bytes(content)
        loaded += tried(path)  # the edit fell into a note, a name or a number that fits
    assert loaded < 100


def test_random_values_in_the_description(good: Path, tmp_path: Path) -> None:
    """Every value of the description in turn is replaced by something else."""
    _, document = parts(good)
    draw = random.Random(2)
    places: list[tuple[Any, Any]] = []

    def visit(value: Any) -> None:
        for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
            places.append((value, key))
            visit(value[key])

    keep = {k: document.pop(k) for k in ("certificate", "sha256")}
    assert keep["sha256"]
    visit(document)
    strange = [None, -1, 0, 2**70, 1e308, "", "__class__", "dense", [], {}, [[]], {"ref": "x"}, True, "pairs:3"]
    tensors, _ = parts(good)
    path = tmp_path / "x.safetensors"
    for holder, key in draw.sample(places, 250):
        old = holder[key]
        holder[key] = copy.deepcopy(draw.choice(strange))
        save_file(tensors, path, {"rcproof": json.dumps(document)})
        holder[key] = old
        tried(path)


def test_other_safetensors_files(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"weight": torch.zeros(2)}, path)
    assert refusal(path) == (
        f"{str(path)!r} holds tensors but does not say what network they belong to. "
        "Name the code that builds it: --model MODULE:CALLABLE"
    )
    with pytest.raises(CheckpointError, match=r"^file '.*nowhere' does not exist$"):
        read_header(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"is not a file$"):
        load(tmp_path)
