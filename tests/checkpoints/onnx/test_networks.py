"""ONNX files of whole networks, as torch's two exporters and Keras write them, and files that are damaged or forged."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rcproof import Conjoined, convert
from rcproof.checkpoints.imported import Imported
from rcproof.checkpoints.onnx import read_onnx
from rcproof.checkpoints.onnx.tensors import TensorReader
from rcproof.convert import ConvertConfig
from rcproof.errors import CheckpointError
from tests.checkpoints.exported import nets
from tests.checkpoints.exported.nets import another, make
from tests.checkpoints.keras.oracles import keras3
from tests.checkpoints.onnx.models import model, node, onnx, run, same, saved, weights

pytest.importorskip("onnxscript", reason="the extra onnx is not installed")

X = {"x": ("n", 4, 10)}


def exported(net: nn.Module, xs: tuple[Tensor, ...], path: Path, dynamic: Any, old: bool = False) -> Path:
    """What torch writes: with ``dynamo``, or the older exporter."""
    names = [f"x{i}" for i in range(len(xs))]
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of torch, on its own exporters
        if old:
            axes = {n: {i: f"s{i}" for i in d} for n, d in zip(names, dynamic or (), strict=False)}
            torch.onnx.export(net, xs, str(path), dynamo=False, input_names=names, dynamic_axes=axes, opset_version=17)
        else:
            program = torch.onnx.export(net, xs, dynamo=True, input_names=names, dynamic_shapes=dynamic, verbose=False)
            program.save(str(path))
    return path


def leaves(value: Any) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else list(value)


class Siamese(nn.Module):
    """One branch on both strands, merged after the sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = make("simulated")[0]

    def forward(self, x: Tensor) -> Tensor:
        return (torch.sigmoid(self.branch(x)) + torch.sigmoid(self.branch(x.flip(1, 2)))) / 2


NETS = (
    "simulated",
    "profile",
    "residual",
    "norms",
    "bilstm",
    "gru",
    "scaled attention",
    "multihead",
    "images",
    "siamese",
)
#: torch's older exporter does not know its own attention layers; the newer one is slow.
FORMS = [pytest.param(n, old, id=f"{n}, {'older' if old else 'dynamo'}") for n in NETS for old in (False, True)
         if n not in (("multihead",) if old else ("gru", "images", "norms", "simulated"))]  # fmt: skip
#: With these torch's newer exporter takes the number of examples for fixed.
FIXED = ("bilstm", "gru")
#: With batch norm put into a convolution, or attention, the exporters rename or join weights.
TIED = ("simulated", "profile", "residual")


def built(name: str) -> tuple[nn.Module, tuple[Tensor, ...], Any]:
    net, xs, dynamic = make("simulated" if name == "siamese" else name)
    return (Siamese() if name == "siamese" else net).float().eval(), tuple(x.float() for x in xs), dynamic


@pytest.mark.parametrize(("name", "old"), FORMS)
def test_networks(name: str, old: bool, tmp_path: Path) -> None:
    """As onnxruntime answers, and torch; layers keep their paths; convolutions and dense layers are tied."""
    net, xs, dynamic = built(name)
    path = exported(net, xs, tmp_path / "m.onnx", dynamic, old)
    found = read_onnx(path)
    named = {f"x{i}": x for i, x in enumerate(xs)}
    with torch.no_grad():
        same(found.model(*xs), run(path, named), 3e-5)
        same(found.model(*xs), [y.numpy() for y in leaves(net(*xs))], 3e-5)
        more = tuple(another(x, 5, 3 if any(2 in d for d in dynamic) else 0) for x in xs)
        if name not in FIXED and not (name == "multihead" and not old):
            same(found.model(*more), [y.numpy() for y in leaves(net(*more))], 3e-5)
    layers = {path for path, _ in net.named_modules()}
    state = found.model.state_dict()
    assert {key.rpartition(".")[0] for key in state if key.endswith("weight")} <= layers | nets.NEW_LAYERS
    if name == "siamese":
        graph = found.model.rcproof_graph()  # type: ignore[operator]
        called = [n.target for n in graph.nodes]
        assert [called.count(path) for path in ("branch.conv", "branch.dense", "torch.flip")] == [2, 2, 1]
    if name in TIED:
        conjoined = Conjoined(found.model, **nets.REPRESENTATIONS.get(name, {})).eval()
        config = ConvertConfig(input_shapes=[tuple(x.shape[1:]) for x in xs])
        assert convert(conjoined, config).certificate.share_tied == 1.0


def test_keras_on_torch(tmp_path: Path) -> None:
    """Keras 3 writes ONNX with torch's exporter: channels last in the file, channels first here."""
    keras = keras3()
    layers = keras.layers
    keras.utils.set_random_seed(0)
    x = given = keras.Input((30, 4))
    x = layers.BatchNormalization()(layers.Conv1D(6, 5, activation="relu", padding="same")(x))
    x = layers.Flatten()(layers.MaxPooling1D(3)(x))
    net = keras.Model(given, layers.Dense(2, activation="sigmoid")(x))
    path, x = tmp_path / "m.onnx", torch.randn(3, 4, 30, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporters
        right = np.asarray(net(x.transpose(1, 2).contiguous()).detach())
        net.export(str(path), format="onnx", verbose=False)
    found = read_onnx(path)
    assert found.shapes == ((4, 30),)
    assert "channels last in the file" in found.notes[0]
    same(found.model(x), [right], 3e-5)
    kinds = [type(m).__name__ for m in found.model.modules()]
    assert sorted(kinds) == ["Conv1d", "Linear", "MaxPool1d", "Network"]


# -- what is refused --------------------------------------------------------------------------------------


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        read_onnx(path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000
    return str(error.value)


def plain() -> Any:
    nodes = [node("Conv", "x conv.weight", "z"), node("Relu", "z", "r"), node("GlobalMaxPool", "r", "g"),
             node("Flatten", "g", "f"), node("Gemm", "f w b", "y", transB=1)]  # fmt: skip
    return model(nodes, X, ["y"], {"conv.weight": weights(6, 4, 5), "w": weights(3, 6), "b": weights(3)})


def tensor(proto: Any, name: str = "conv.weight") -> Any:
    return next(t for t in proto.graph.initializer if t.name == name)


def outside(location: str, **more: str) -> Callable[[Any], None]:
    def change(proto: Any) -> None:
        held = tensor(proto)
        held.ClearField("raw_data")
        held.data_location = 1
        for key, value in ({"location": location} | more).items():
            entry = held.external_data.add()
            entry.key, entry.value = key, value

    return change


def recursive(proto: Any) -> None:
    helper = onnx.helper
    body = [node("f", "a", "b", domain="mine")]
    proto.functions.append(helper.make_function("mine", "f", ["a"], ["b"], body, [helper.make_opsetid("mine", 1)]))
    proto.graph.node[1].CopyFrom(node("f", "z", "r", domain="mine"))


HOSTILE: dict[str, tuple[Callable[[Any], Any], str]] = {
    "an old opset": (lambda p: setattr(p.opset_import[0], "version", 11), "got opset 11; expected 13 or later"),
    "no opset": (lambda p: p.ClearField("opset_import"), "got opset 0"),
    "an unknown operator": (
        lambda p: p.graph.node[1].CopyFrom(node("Evil", "z", "r")),
        "operator 'Evil' of the ONNX file",
    ),
    "another domain": (
        lambda p: p.graph.node[1].CopyFrom(node("Relu", "z", "r", domain="com.evil")),
        "operator 'com.evil.Relu' of the ONNX file: got none that has a form here",
    ),
    "an unknown attribute": (
        lambda p: p.graph.node[1].CopyFrom(node("Relu", "z", "r", evil=1)),
        "got attribute 'evil'; expected none of this name",
    ),
    "a subgraph": (
        lambda p: p.graph.node[1].CopyFrom(node("Relu", "z", "r", body=onnx.helper.make_graph([], "g", [], []))),
        "operator 'Relu' of the ONNX file: got control flow: a graph inside a node; expected steps that are always run",
    ),
    "a branch": (
        lambda p: p.graph.node[1].CopyFrom(node("If", "z", "r", then_branch=onnx.helper.make_graph([], "g", [], []))),
        "operator 'If' of the ONNX file: got control flow",
    ),
    "a dangling reference": (lambda p: p.graph.node[1].input.__setitem__(0, "ghost"), "a reference to 'ghost'"),
    "a cycle": (lambda p: p.graph.node[0].input.__setitem__(0, "r"), "a reference to 'r'; expected an earlier value"),
    "a value twice": (lambda p: p.graph.node[2].output.__setitem__(0, "r"), "two values 'r'"),
    "a tensor twice": (lambda p: p.graph.initializer.add().CopyFrom(tensor(p)), "two tensors 'conv.weight'"),
    "an output that is not there": (lambda p: setattr(p.graph.output[0], "name", "ghost"), "a reference to 'ghost'"),
    "an output that is a constant": (lambda p: setattr(p.graph.output[0], "name", "w"), "got a constant"),
    "no output": (lambda p: p.graph.ClearField("output"), "got no output"),
    "a huge shape": (lambda p: tensor(p).dims.__setitem__(0, 2**50), "bytes; expected"),
    "a negative shape": (lambda p: tensor(p).dims.__setitem__(0, -6), "got shape (-6, 4, 5)"),
    "a shape of a layer": (lambda p: tensor(p, "w").dims.__setitem__(slice(None), [2, 9]), ""),
    "an unknown dtype": (lambda p: setattr(tensor(p), "data_type", 8), "dtype of tensor 'conv.weight': got code 8"),
    "the data of another dtype": (lambda p: setattr(tensor(p), "data_type", 11), "480 bytes; expected 960"),
    "a path": (outside("../../../etc/passwd"), "got '../../../etc/passwd'; expected the name of a file beside"),
    "an absolute path": (outside("/etc/passwd"), "got '/etc/passwd'; expected the name of a file beside"),
    "no file beside": (outside("weights.bin"), "no file 'weights.bin' beside the ONNX file"),
    "a part of a file that is not there": (outside("m.onnx", offset="10000000"), "bytes from 10000000 on"),
    "a negative offset": (outside("m.onnx", offset="-8"), "bytes from -8 on"),
    "a length that is no number": (outside("m.onnx", length="1e3"), "a damaged offset or length"),
    "functions without end": (recursive, "got calls deeper than 20"),
    "an input without a shape": (
        lambda p: p.graph.input[0].type.tensor_type.ClearField("shape"),
        "got no shape or dtype",
    ),
    "sparse weights": (lambda p: p.graph.sparse_initializer.add(), "got sparse tensors"),
    "train mode": (
        lambda p: p.graph.node[1].CopyFrom(node("BatchNormalization", "z b b b b", "r", training_mode=1)),
        "a network in eval mode",
    ),
    "a stride of 0": (lambda p: p.graph.node[0].CopyFrom(node("Conv", "x conv.weight", "z", strides=[0])), ""),
    "huge groups": (lambda p: p.graph.node[0].CopyFrom(node("Conv", "x conv.weight", "z", group=2**60)), ""),
    "huge pads": (
        lambda p: p.graph.node[0].CopyFrom(node("Conv", "x conv.weight", "z", pads=[2**40, 0])),
        "whole numbers",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(name: str, tmp_path: Path) -> None:
    change, text = HOSTILE[name]
    proto = plain()
    change(proto)
    assert text in refusal(saved(proto, tmp_path / "m.onnx"))


def test_a_constant_without_end_takes_no_memory(tmp_path: Path) -> None:
    """Shapes that the graph describes are made when the network runs, on real inputs, not when it is read."""
    held = {"s": np.array([2**20, 2**20], dtype=np.int64), "t": np.array([2**40, 1], dtype=np.int64)}
    nodes = [node("ConstantOfShape", "s", "c"), node("ReduceMax", "c", "m", keepdims=0), node("Add", "x m", "y")]
    assert read_onnx(saved(model(nodes, X, ["y"], held), tmp_path / "m.onnx")).model is not None
    nodes = [node("Expand", "one t", "c"), node("ReduceMax", "c", "m", keepdims=0), node("Add", "x m", "y")]
    read_onnx(saved(model(nodes, X, ["y"], held | {"one": np.float32(1)}), tmp_path / "m.onnx"))
    tiled = [node("Tile", "one s", "c"), node("ReduceMax", "c", "m", keepdims=0), node("Add", "x m", "y")]
    read_onnx(saved(model(tiled, X, ["y"], held | {"one": np.ones((1, 1))}), tmp_path / "m.onnx"))
    counted = [node("Range", "z n o", "c"), node("Cast", "c", "f", to=1), node("Add", "x f", "y")]
    numbers = {"z": np.int64(0), "n": np.int64(2**40), "o": np.int64(1)}
    assert "0 to 1099511627776 by 1" in refusal(saved(model(counted, X, ["y"], numbers), tmp_path / "m.onnx"))


def test_one_file_beside_is_not_read_again_and_again(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"\0" * 480)
    reader = TensorReader(tmp_path)
    proto = plain()
    outside("w.bin")(proto)
    reader.read(tensor(proto))
    with pytest.raises(CheckpointError, match="480 bytes from 0 on; expected 480 of the 480"):
        reader.read(tensor(proto))


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(plain(), tmp_path / "m.onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert refusal(path) == "an ONNX file needs the package onnx. Pip install 'rcproof[onnx]'"


def test_what_is_no_onnx_file(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"\xff" * 100)
    assert "is no ONNX file, or is damaged" in refusal(path)
    path.write_bytes(b"\x0a\x03" * 200_000)
    refusal(path)


def tried(path: Path) -> Imported | None:
    """The network, or None if the file is refused in one line."""
    try:
        return read_onnx(path)
    except CheckpointError as error:
        if "\n" in str(error):
            raise
        return None


def test_damaged_bytes_never_crash(tmp_path: Path) -> None:
    """Truncated anywhere, flipped anywhere. There is no checksum in the format: a network may have other weights."""
    whole = plain().SerializeToString()
    generator = torch.Generator().manual_seed(1)
    path = tmp_path / "m.onnx"
    read = 0
    for i in range(400):
        at = int(torch.randint(0, len(whole), (), generator=generator))
        flipped = bytes([whole[at] ^ (1 << int(torch.randint(0, 8, (), generator=generator)))])
        path.write_bytes(whole[:at] if i % 4 == 0 else whole[:at] + flipped + whole[at + 1 :])
        found = tried(path)
        read += found is not None
    assert 0 < read < 400
