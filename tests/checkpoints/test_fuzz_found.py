"""What :mod:`tests.checkpoints.fuzzing` found, one test each."""

from __future__ import annotations

import copy
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from rcproof.checkpoints import ReadOptions, load, read_model, read_state_dict, save
from rcproof.checkpoints.presets import preset
from rcproof.conjoined import Conjoined
from rcproof.convert import ConvertConfig, convert
from rcproof.errors import CheckpointError, RcproofError
from rcproof.network.building import GraphBuilder
from tests.checkpoints.fuzzing import pickles, zips
from tests.checkpoints.fuzzing.keras_crafted import again, given, layer, line, net
from tests.checkpoints.fuzzing.torch_nets import Score, drawn

#: Of work that takes a second or two, on any machine; what was found took minutes, or grew with the square.
SOON = 30.0


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(RcproofError) as error:
        read_model(path, ReadOptions(**options))
    return str(error.value)


# -- words -------------------------------------------------------------------------------------------------------------


def test_errors_quote_files_in_one_printable_line_of_bounded_length() -> None:
    odd = "\x1b[31mred\x07\n" + "A" * 10_000 + "\ud800 the end"
    text = str(RcproofError(f"layer {odd!r}", got=odd, expected=odd, fix="do something else"))
    assert text.isprintable()
    assert len(text) < 900
    assert text.count("the end") == 3, "the beginning and the end stay"
    assert text.endswith(". Do something else")


@pytest.mark.parametrize("legacy", [False, True])
def test_what_torch_says_of_a_pickle_is_told_without_its_advice(legacy: bool, tmp_path: Path) -> None:
    """It advises to load the file with ``weights_only=False``, in many lines, in bold."""
    path = tmp_path / "a.pt"
    data = pickles.payloads(str(tmp_path / "marker"))["exec"]
    path.write_bytes(pickles.legacy_with(data) if legacy else pickles.archive_with(data, ""))
    text = refusal(path)
    assert "exec" in text
    assert "GLOBAL" in text
    assert not [word for word in ("weights_only", "PyTorch 2.6", "\x1b", "add_safe_globals") if word in text]
    assert len(text) < 400


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["_layout", "_steps", "_graph", "forward", "eval", "_modules", "T", "layers"])
def test_layers_called_as_our_attributes_are(name: str) -> None:
    graph = GraphBuilder()
    linear = nn.Linear(3, 2)
    network = graph.network([graph.module(name, linear, graph.input("x"))])
    x = torch.randn(4, 3)
    for same in (network, copy.deepcopy(network), network.set_layout("stacked")):
        assert torch.equal(same(x), linear(x))


@pytest.mark.parametrize("name", ["training", "a.training", "training.a"])
def test_a_layer_called_training_is_refused(name: str) -> None:
    graph = GraphBuilder()
    y = graph.module(name, nn.Linear(3, 2), graph.input("x"))
    with pytest.raises(RcproofError, match="a layer or tensor at '.*training.*'.*another name"):
        graph.network([y])


# -- torch -------------------------------------------------------------------------------------------------------------


def test_packed_archives_are_not_unpacked(tmp_path: Path) -> None:
    """256 MB of zeros in 256 kB; torch would unpack them."""
    path = tmp_path / "a.pt"
    content = zips.members(pickles.saved(drawn(Score()).state_dict()))
    name = next(n for n in content if n.endswith("/data/0"))
    path.write_bytes(zips.bomb(content, name))
    assert "bytes, packed; expected plain bytes" in refusal(path)
    path.write_bytes(zips.header(zips.zipped(content), name, 20, b"\xff\xff\xff\xff" * 2))
    assert "4294967295" in refusal(path) or "damaged" in refusal(path)
    path.write_bytes(zips.zipped(content))
    assert "conv.weight" in read_state_dict(path)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda w: w.to("meta"), "one that is without values"),
        (lambda w: w.flatten(1).to_sparse(), "one that is sparse or nested"),
        (lambda w: torch.quantize_per_tensor(w, 0.1, 0, torch.qint8), "one that is quantised"),
        (lambda w: torch.ones(1).expand(10**6, 10**6), "got shape (1000000, 1000000); expected at most the file's"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_tensors_that_are_no_numbers(make: Callable[[Tensor], Tensor], text: str, tmp_path: Path) -> None:
    state = drawn(Score()).state_dict()
    for legacy in (False, True):
        (tmp_path / "a.pt").write_bytes(pickles.saved({**state, "conv.weight": make(state["conv.weight"])}, legacy))
        assert text in refusal(tmp_path / "a.pt", model="tests.checkpoints.fuzzing.torch_nets:Score")


def test_a_preset_of_mixed_precisions_runs_in_the_widest() -> None:
    weights = {"iconv": (6, 4, 5), "rconvs.0": (6, 6, 3), "fconv": (2, 6, 5), "linear": (1, 6)}
    shapes = {f"{k}.weight": s for k, s in weights.items()} | {f"{k}.bias": s[:1] for k, s in weights.items()}
    state = {k: torch.randn(s).half().float() for k, s in shapes.items()}
    x = torch.randn(2, 4, 60)

    def answers(**others: torch.dtype) -> Any:
        given = {k: v.to(others.get(k.replace(".", "_"), v.dtype)) for k, v in state.items()}
        built = preset("bpnet-lite").network(given, {"trimming": 5})
        assert built is not None
        return built.network(x)

    for a, b in zip(answers(fconv_weight=torch.float16, iconv_bias=torch.bfloat16), answers(), strict=True):
        assert a.dtype == torch.float32
        assert a.shape == b.shape
    assert torch.equal(answers(fconv_weight=torch.float16)[0], answers()[0]), "half precision is held exactly"
    with pytest.raises(CheckpointError, match=r"float8.*expected half, single or double precision"):
        answers(fconv_weight=torch.float8_e5m2)


# -- our own files -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "ours.safetensors"
    save(convert(Conjoined(drawn(Score())).eval(), ConvertConfig(input_shapes=[(4, 20)])), path)
    return path


def forged(source: Path, path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    with safe_open(source, framework="pt") as handle:
        tensors = {k: handle.get_tensor(k) for k in handle.keys()}  # noqa: SIM118
        document = json.loads(handle.metadata()["rcproof"])
    del document["sha256"]
    change(document)
    save_file(tensors, path, {"rcproof": json.dumps(document)})
    return path


def test_statistics_that_are_told_to_be_weights(ours: Path, tmp_path: Path) -> None:
    """The layer's own statistics stayed behind without values."""
    path = forged(ours, tmp_path / "x.safetensors", lambda d: d.update(buffers=[]))
    with pytest.raises(CheckpointError, match=r"^tensor 'norm\..*got one of another kind$"):
        load(path)


@pytest.mark.parametrize("shapes", [3, "x", {"a": 1}, [3], [["x"]], [[None]], [[True]]])
def test_input_shapes_that_are_none(shapes: Any, ours: Path, tmp_path: Path) -> None:
    path = forged(ours, tmp_path / "x.safetensors", lambda d: d.update(input_shapes=shapes))
    assert "expected lists of whole numbers" in refusal(path)


def test_a_network_of_ours_that_cannot_run_on_the_inputs_it_states(ours: Path, tmp_path: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        node = next(n for n in document["net"]["graph"]["nodes"] if n["target"] == "Tensor.amax")
        node["args"][1] = 7

    text = refusal(forged(ours, tmp_path / "x.safetensors", change))
    assert "the network in the file does not run on the inputs that it states: got IndexError" in text
    assert "does not run" in refusal(
        forged(ours, tmp_path / "x.safetensors", lambda d: d.update(input_shapes=[[4, 2]]))
    )
    assert read_model(forged(ours, tmp_path / "x.safetensors", lambda d: None)).shapes == ((4, 20),)


# -- ONNX and programs -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def odd_onnx() -> dict[str, Any]:
    pytest.importorskip("onnx", reason="ONNX files are made with onnx")
    from tests.checkpoints.fuzzing.onnx_nets import crafted

    return crafted("/nowhere")


def test_constants_that_double_40_times(odd_onnx: dict[str, Any], tmp_path: Path, monkeypatch: Any) -> None:
    """Each step was small beside the one before; all of them were a terabyte."""
    from rcproof.checkpoints import importing

    sizes: list[int] = []
    wrap = importing._wrap
    monkeypatch.setattr(importing, "_wrap", lambda value: sizes.append(value.numel()) or wrap(value))
    (tmp_path / "net.onnx").write_bytes(odd_onnx["constants joined 40 times"])
    refusal(tmp_path / "net.onnx")
    assert 16 < len(sizes) < 40
    assert sum(sizes) <= 1 << 24


def test_an_onnx_graph_that_cannot_run_on_the_inputs_it_states(odd_onnx: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(odd_onnx["a shape of 2^80"])
    text = refusal(tmp_path / "net.onnx")
    assert "the network in the file does not run on the inputs that it states: got RuntimeError: shape" in text


class InPlace(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(torch.relu_(x + 1))


def test_8000_steps_in_place_in_a_program(tmp_path: Path) -> None:
    target = io.BytesIO()
    shapes = ({0: torch.export.Dim.AUTO},)
    torch.export.save(torch.export.export(InPlace(), (torch.randn(2, 4, 16),), dynamic_shapes=shapes), target)
    content = zips.members(target.getvalue())
    name = next(n for n in content if "/models/" in n)
    program = json.loads(content[name])
    graph = program["graph_module"]["graph"]
    at = next(i for i, n in enumerate(graph["nodes"]) if "relu_" in n["target"])
    first, last = graph["nodes"][at], graph["nodes"][at + 1]
    before, steps = first["outputs"][0]["as_tensor"]["name"], []
    for i in range(8000):
        step = copy.deepcopy(first)
        step["inputs"][0]["arg"]["as_tensor"]["name"] = before
        before = step["outputs"][0]["as_tensor"]["name"] = f"made_{i}"
        graph["tensor_values"][before] = next(iter(graph["tensor_values"].values()))
        steps.append(step)
    last["inputs"][0]["arg"]["as_tensor"]["name"] = before
    graph["nodes"][at + 1 : at + 1] = steps
    path = tmp_path / "net.pt2"
    path.write_bytes(zips.zipped({**content, name: json.dumps(program).encode()}))
    started = time.process_time()
    x = torch.randn(2, 4, 16)
    assert torch.equal(read_model(path).model(x), InPlace()(x))
    assert time.process_time() - started < SOON


# -- Keras -------------------------------------------------------------------------------------------------------------


def keras(config: Any, path: Path) -> Path:
    pytest.importorskip("h5py", reason="Keras files are made with h5py")
    from tests.checkpoints.fuzzing.h5 import Tree, written

    weights = Tree({"layer_names": []})
    path.write_bytes(written(Tree({"model_config": json.dumps(config)}, {"model_weights": weights})))
    return path


SHAPES = [layer("Reshape", f"n{i}", [f"n{i - 1}" if i else "x"], target_shape=[[4, 10], [10, 4]][i % 2])
          for i in range(5000)]  # fmt: skip


@pytest.mark.parametrize(
    "config", [line(12_000), net(given(10, 4), *SHAPES), again(12_000)], ids=["layers", "shapes", "calls"]
)
def test_long_keras_networks_in_linear_time(config: Any, tmp_path: Path) -> None:
    """Every path was compared with all before it."""
    path = keras(config, tmp_path / "net.h5")
    started = time.process_time()
    assert len(read_model(path).model.rcproof_graph().nodes) > 6000
    assert time.process_time() - started < SOON


def test_more_calls_than_any_network_has(tmp_path: Path) -> None:
    started = time.process_time()
    assert "too many calls of layers" in refusal(keras(again(60_000), tmp_path / "net.h5"))
    assert time.process_time() - started < SOON
