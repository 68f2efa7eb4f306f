"""``.onnx``: what onnxruntime computes is the network."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from rcproof import Conjoined
from rcproof.checkpoints.exporting import export, onnx_file
from rcproof.convert.untie import untie
from rcproof.errors import CheckpointError, VerificationError
from rcproof.verify import tolerance_for
from tests.checkpoints.exporting.nets import FACTORNET, Shapes, cases, close, conversion, coupled, factornet
from tests.checkpoints.exporting.test_program import NETS
from tests.strategies import randomise

onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
pytest.importorskip("onnxscript", reason="needs the extra onnx")

# onnxruntime's own, on how it was built.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:onnx.*")


def ask(path: Path, inputs: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    return [torch.from_numpy(y) for y in session.run(None, {n: x.numpy() for n, x in zip(names, inputs, strict=True)})]


def compare(model: nn.Module, path: Path, shapes: Shapes, reps: tuple[str, ...]) -> None:
    for batch in (1, 4):
        for c in cases(shapes, reps, torch.float32, batch):
            want = model(*c.tensors)
            for y, z in zip([want] if isinstance(want, torch.Tensor) else want, ask(path, c.tensors), strict=True):
                close(z, y.detach(), tolerance_for(torch.float32).relative)


@pytest.mark.parametrize("name", ["simulated", "binary", "profile", "bpnet"])
def test_networks(name: str, tmp_path: Path) -> None:
    """Each against the conjoined network it comes from: every batch, and every length that the network takes."""
    make, shapes, reps, layout, others = NETS[name]
    source = make()
    written = export(source, tmp_path / "net.onnx", layout=layout, shapes=shapes)
    assert written.batch and (written.length or name == "binary")  # whose dense layer reads every position
    held = {check.name for check in written.reports[0].checks}
    learnt = {n for n, t in untie(source, layout, shapes).state_dict().items() if t.is_floating_point()}
    assert held == learnt
    for size in (shapes, *others):
        compare(source, tmp_path / "net.onnx", size, reps)


def test_factornet(tmp_path: Path) -> None:
    """Recurrent layers of our own are unrolled; with torch's the length is fixed."""
    source = factornet()
    export(conversion(source, FACTORNET), tmp_path / "net.onnx")
    compare(source, tmp_path / "net.onnx", FACTORNET, ("perm:3,2,1,0,4,5", "fixed"))


def test_torch_lstm(tmp_path: Path) -> None:
    source = factornet(own_gates=False)
    export(conversion(source, FACTORNET), tmp_path / "net.onnx", layout="stacked")
    compare(source, tmp_path / "net.onnx", FACTORNET, ("perm:3,2,1,0,4,5", "fixed"))


def test_coupled_network_in_double_precision_is_written_in_single(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv1d(4, 6, 5), nn.ReLU(), nn.Conv1d(6, 2, 3))
    result = conversion(Conjoined(randomise(net, 1), outputs="pairs:1").eval(), ((4, 20),))
    network = coupled(result.model)
    written = export(
        network, tmp_path / "net.onnx", shapes=((4, 20),), names={"inputs": ["dna"], "outputs": ["p rofile"]}
    )
    assert written.dtype == "float32"
    assert written.notes[0] == "weights are float64 in the source and float32 in the file"
    compare(network.float(), tmp_path / "net.onnx", ((4, 31),), ("reversal",))


def test_file(tmp_path: Path) -> None:
    """Opset, names, free axes, metadata; one file; nothing of this machine in it."""
    net = nn.Sequential(nn.Conv1d(4, 3, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(3, 2))
    names = {"inputs": ["dna sequence"], "outputs": ["class"]}
    export(conversion(Conjoined(net).eval(), ((4, 20),)), tmp_path / "net.onnx", names=names)
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
    model = onnx.load(str(tmp_path / "net.onnx"))
    assert model.opset_import[0].version >= 18
    (given,), (answer,) = model.graph.input, model.graph.output
    assert (given.name, answer.name) == ("dna_sequence", "class_")
    batch, channels, length = given.type.tensor_type.shape.dim
    assert batch.dim_param == "batch"
    assert channels.dim_value == 4
    assert length.dim_param
    said = {p.key: p.value for p in model.metadata_props}
    assert "on every input" in said["rcproof_statement"]
    assert json.loads(said["rcproof_input_representations"]) == ["reversal"]
    assert json.loads(said["rcproof_output_representations"]) == ["fixed"]
    here = str(Path(onnx_file.__file__).parents[3]).encode()
    assert here not in (tmp_path / "net.onnx").read_bytes()
    assert str(Path(torch.__file__).parent).encode() not in (tmp_path / "net.onnx").read_bytes()


# -- failures -----------------------------------------------------------------------------------------------


@pytest.fixture
def small() -> Any:
    return conversion(
        Conjoined(randomise(nn.Sequential(nn.Conv1d(4, 2, 3)), 2).float(), outputs="length").eval(), ((4, 9),)
    )


def test_wrong_answers_are_caught(tmp_path: Path, small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutant: a flip that the exporter lost."""
    (tmp_path / "net.onnx").write_bytes(b"precious")
    real = onnx_file._without_traces

    def lost(model: Any) -> None:
        flips = [n for n in model.graph.node if n.op_type == "Slice"]
        flips[0].op_type, flips[0].input[:] = "Identity", flips[0].input[:1]
        real(model)

    monkeypatch.setattr(onnx_file, "_without_traces", lost)
    with pytest.raises(VerificationError, match="outputs: 5 of 5 checks failed"):
        export(small, tmp_path / "net.onnx")
    assert (tmp_path / "net.onnx").read_bytes() == b"precious"
    assert len(list(tmp_path.iterdir())) == 1


def test_wrong_at_other_lengths_fixes_the_length(tmp_path: Path) -> None:
    """Adaptive pooling to three bins is exported with the bins of the example's length: the comparison sees it."""
    net = nn.Sequential(nn.Conv1d(4, 3, 5), nn.AdaptiveAvgPool1d(3), nn.Flatten(), nn.Linear(9, 2))
    source = Conjoined(net).eval()
    written = export(conversion(source, ((4, 24),)), tmp_path / "net.onnx")
    if not written.length:  # else the exporter has learnt it
        assert written.notes[-1].startswith("the file takes inputs of shape (N, 4, 24) only")
    compare(source, tmp_path / "net.onnx", ((4, 24),), ("reversal",))


def test_package_that_is_missing(tmp_path: Path, small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(
        CheckpointError, match=r"a package that is missing: got onnxscript. Pip install 'rcproof\[onnx\]'"
    ):
        export(small, tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_operation_without_an_onnx_form(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv1d(4, 3, 3), nn.AdaptiveMaxPool1d(3), nn.Flatten())
    with pytest.raises(
        CheckpointError, match="torch.onnx cannot export the network: got .*adaptive_max_pool"
    ) as caught:
        export(conversion(Conjoined(net).eval(), ((4, 12),)), tmp_path / "net.onnx")
    assert "\x1b" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_too_large(tmp_path: Path, small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "LARGEST", 10)
    with pytest.raises(CheckpointError, match="too large for one ONNX file: got [0-9]+ bytes"):
        export(small, tmp_path / "net.onnx")
