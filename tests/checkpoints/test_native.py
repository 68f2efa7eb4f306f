"""Self-describing files: what is saved is what comes back, bit by bit, with no class at hand."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from rcproof.checkpoints import load, native, read_header, save
from rcproof.conjoined import Conjoined
from rcproof.convert import Conversion, convert
from rcproof.errors import CheckpointError, RcproofError
from rcproof.network import Network
from rcproof.nn import RCPSConv1d, RCPSLinear, StrandSum, couple
from rcproof.nn.couple import coupled_layers
from rcproof.verify import check_equivalence
from tests.convert import holding
from tests.convert.nets import ZOO
from tests.strategies import normal

# What holds layers that no file can: named so in the error.
UNSAVABLE = {
    "weight norm": "layer '0' cannot be written to a self-describing file: got torch.nn.utils.parametrize.Parametrized",
    "subclasses of layers": "layer '1' cannot be written to a self-describing file: got tests.convert.nets.Causal",
    "hooks": "layer '0' cannot be written to a self-describing file: got torch.nn.modules.conv.Conv1d",
    "a block left whole, with a dict": "layer 'block' cannot be written to a self-describing file: got tests.convert",
}
SAVABLE = [name for name in ZOO if name not in UNSAVABLE]


def state(model: nn.Module) -> dict[str, Tensor]:
    return dict([*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)])


def same_model(ours: nn.Module, theirs: nn.Module, *xs: Tensor) -> None:
    """Same keys, values, dtypes, sharing, freezing and persistence, and the same answers to the last bit."""
    a, b = state(ours), state(theirs)
    assert a.keys() == b.keys()
    for key, tensor in a.items():
        assert tensor.dtype == b[key].dtype
        assert torch.equal(tensor, b[key])
        assert isinstance(tensor, nn.Parameter) == isinstance(b[key], nn.Parameter)
        assert tensor.requires_grad == b[key].requires_grad
        assert {k for k, t in a.items() if t is tensor} == {k for k, t in b.items() if t is b[key]}
    assert set(ours.state_dict()) == set(theirs.state_dict())
    one, two = holding.flatten(ours(*xs)), holding.flatten(theirs(*xs))
    assert one.keys() == two.keys()
    assert all(torch.equal(y, two[name]) for name, y in one.items())


@pytest.mark.parametrize("name", SAVABLE)
def test_conversions(name: str, tmp_path: Path) -> None:
    case = ZOO[name]
    model, conversion = holding.conversion_of(case, verify=False)
    path = tmp_path / "rcps.safetensors"
    save(conversion, path, {"data": "none", "seed": "0"})
    loaded = load(path)
    assert isinstance(loaded, Network)
    (c,) = holding.cases_of(case, kinds=("random",), shifts=(0,))
    same_model(conversion.model, loaded, *c.tensors)
    assert not any(m.training for m in loaded.modules())
    for layout in holding.LAYOUTS:
        check_equivalence(model, loaded.set_layout(layout), [c], gradients=False).raise_if_failed()
    header = read_header(path)
    assert header.kind == "rcps"
    assert header.metadata == {"data": "none", "seed": "0"}
    assert header.certificate == json.loads(json.dumps(conversion.certificate.to_dict()))
    assert header.input_shapes == [list(s) for s in case.shapes]


@pytest.mark.parametrize("name", SAVABLE)
@pytest.mark.parametrize("passes", [1, 2])
def test_conjoined_networks(name: str, passes: int, tmp_path: Path) -> None:
    """And what is loaded converts, without the class."""
    case = ZOO[name]
    model = holding.conjoin(case, case.build(), passes=passes)
    path = tmp_path / "conjoined.safetensors"
    save(model, path)
    loaded = load(path)
    assert isinstance(loaded, Conjoined)
    assert read_header(path).kind == "conjoined"
    (c,) = holding.cases_of(case, kinds=("random",), shifts=(0,))
    prefix = "net.net." if name == "one layer alone" else "net."
    assert set(state(loaded)) >= {prefix + k for k in case.build().state_dict()}
    # Weights read from a file may be aligned otherwise in memory, and a matrix product then sums in another order.
    check_equivalence(model, loaded, [c], tolerance=1e-15, gradients=False).raise_if_failed()
    assert (loaded.passes, loaded.merge, loaded.inputs, loaded.outputs) == (
        model.passes, model.merge, model.inputs, model.outputs,
    )  # fmt: skip
    conversion = convert(loaded, case.config(verify=False, leaves=()))
    check_equivalence(model, conversion.model, [c]).raise_if_failed()
    assert conversion.certificate.share_tied == holding.conversion_of(case, verify=False)[1].certificate.share_tied


@pytest.mark.parametrize("name", ["Basset", "U-Net", "grouped convolutions", "tied parameters"])
def test_coupled_networks(name: str, tmp_path: Path) -> None:
    case = ZOO[name]
    _, conversion = holding.conversion_of(case, verify=False)
    network = couple(conversion.model)
    torch.manual_seed(3)
    for p in network.parameters():
        nn.init.normal_(p, std=0.3)
    save(network, tmp_path / "coupled.safetensors")
    loaded = load(tmp_path / "coupled.safetensors")
    (c,) = holding.cases_of(case, kinds=("random",), shifts=(0,))
    same_model(network, loaded, *c.tensors)
    assert coupled_layers(loaded) == coupled_layers(network) != ()


@pytest.mark.parametrize("layout", holding.LAYOUTS)
def test_the_layout_travels(layout: str, tmp_path: Path) -> None:
    _, conversion = holding.conversion_of(ZOO["Basset"], verify=False, layout=layout)
    save(conversion, tmp_path / "a.safetensors")
    assert f"layout={layout}" in load(tmp_path / "a.safetensors").extra_repr()


def test_ordinary_networks_and_networks_of_tied_layers(tmp_path: Path) -> None:
    rcps = nn.Sequential(
        RCPSConv1d(4, 5, 4, source="reversal"), nn.ReLU(), RCPSConv1d(5, 3, 3, coupled=True), nn.Flatten(),
        RCPSLinear(9, 2), StrandSum(),
    ).double().eval()  # fmt: skip
    x = normal(0, 2, 4, 8)
    save(rcps, tmp_path / "a.safetensors")
    same_model(rcps, load(tmp_path / "a.safetensors"), x)
    net = ZOO["Basset"].build()
    save(net, tmp_path / "b.safetensors")
    same_model(net, load(tmp_path / "b.safetensors"), normal(0, 2, 4, 203))
    assert read_header(tmp_path / "b.safetensors").kind == "network"
    assert read_header(tmp_path / "b.safetensors").certificate is None


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_dtypes(dtype: torch.dtype, tmp_path: Path) -> None:
    case = ZOO["dilated, residual, asymmetric crops"]
    _, conversion = holding.conversion_of(case, dtype, verify=False)
    save(conversion, tmp_path / "a.safetensors")
    same_model(conversion.model, load(tmp_path / "a.safetensors"), normal(0, 2, 4, 90).to(dtype))
    assert set(read_header(tmp_path / "a.safetensors").dtypes.values()) == {
        {torch.float64: "F64", torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}[dtype]
    }


def test_special_values_survive(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv1d(4, 2, 3), nn.Threshold(float("-inf"), 0.0))
    net[0].weight.data.view(-1)[:4] = torch.tensor([float("nan"), -0.0, 1e-42, float("inf")])
    save(net, tmp_path / "a.safetensors")
    loaded = load(tmp_path / "a.safetensors")
    assert torch.equal(loaded.get_submodule("0").weight.view(torch.int32), net[0].weight.view(torch.int32))
    assert loaded.get_submodule("1").threshold == float("-inf")


def test_transformer_layers_with_an_activation_that_has_no_name(tmp_path: Path) -> None:
    layer = nn.TransformerEncoderLayer(4, 2, 8, activation=torch.tanh, batch_first=True)
    with pytest.raises(RcproofError, match="got activation tanh; expected relu or gelu"):
        save(nn.Sequential(layer), tmp_path / "x.safetensors")
    for activation, first in (("gelu", True), ("relu", False)):
        net = nn.Sequential(nn.TransformerEncoderLayer(4, 2, 8, 0.2, activation, 1e-3, True, first, bias=False)).eval()
        save(net, tmp_path / "x.safetensors")
        x = torch.randn(2, 5, 4)
        assert torch.equal(load(tmp_path / "x.safetensors")(x), net(x))


@pytest.mark.parametrize("name", UNSAVABLE)
def test_what_no_file_can_hold_is_named(name: str, tmp_path: Path) -> None:
    case = ZOO[name]
    _, conversion = holding.conversion_of(case, verify=False)
    with pytest.raises(RcproofError) as error:
        save(conversion, tmp_path / "a.safetensors")
    assert str(error.value).startswith(UNSAVABLE[name])
    assert str(error.value).endswith(
        "Let the converter trace into it, or save the state dict and load it into the class"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_final_function_without_a_form(tmp_path: Path) -> None:
    model = Conjoined(nn.Sequential(nn.Conv1d(4, 2, 3)), outputs="reversal", final=torch.linalg.svdvals)
    with pytest.raises(RcproofError, match=r"cannot be converted: no rule for this function"):
        save(model, tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_no_model(tmp_path: Path) -> None:
    with pytest.raises(RcproofError, match=r"^model to save: got dict; expected a torch.nn.Module or a Conversion$"):
        save({}, tmp_path / "a.safetensors")  # type: ignore[arg-type]
    for key in ("rcproof", "rcproof_sha256"):
        with pytest.raises(
            RcproofError, match=f"^metadata: got a key {key!r}; expected another name. This one is rcpr"
        ):
            save(nn.Linear(2, 2), tmp_path / "a.safetensors", {key: "x"})


# -- writing ----------------------------------------------------------------------------------------------


def small(seed: int = 0) -> Conversion:
    torch.manual_seed(seed)
    return convert(Conjoined(nn.Conv1d(4, 2, 3), outputs="reversal").eval())


class Failed:
    """Stands in for a writer that fails half-way."""

    def __init__(self, error: BaseException, before: Any = None) -> None:
        self.error, self.before = error, before

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        if self.before is not None:
            Path(args[1]).write_bytes(self.before)
        raise self.error


@pytest.mark.parametrize(
    "error",
    [OSError(28, "No space left on device"), SafetensorError("I/O error"), RuntimeError("x"), KeyboardInterrupt()],
)
@pytest.mark.parametrize("step", ["save_file", "_compare"])
def test_a_failed_save_leaves_the_old_file_and_nothing_else(
    step: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.safetensors"
    save(small(), path)
    old = path.read_bytes()
    monkeypatch.setattr(native, step, Failed(error, b"half a fi" if step == "save_file" else None))
    kind = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else CheckpointError
    with pytest.raises(kind):
        save(small(1), path)
    with pytest.raises(kind):
        save(small(1), tmp_path / "new.safetensors")
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_file_that_reads_back_otherwise_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    write = native.save_file

    def corrupt(tensors: dict[str, Tensor], *args: Any) -> None:
        write({k: t + 1e-7 for k, t in tensors.items()}, *args)

    monkeypatch.setattr(native, "save_file", corrupt)
    with pytest.raises(CheckpointError, match=r"^tensor 'net.weight' did not survive being written$"):
        save(small(), path)
    monkeypatch.setattr(native, "save_file", lambda tensors, *args: write({}, *args))
    with pytest.raises(CheckpointError, match=r"^the file that was written holds other tensors than the model$"):
        save(small(), path)
    assert list(tmp_path.iterdir()) == []


def test_replacing_a_file_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save(small(), path)
    path.chmod(0o640)
    save(small(1), path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert torch.equal(load(path).get_submodule("net").weight, small(1).model.get_submodule("net").weight)


def test_where_a_file_cannot_go(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is a folder: expected the name of a file$"):
        save(small(), tmp_path)
    with pytest.raises(CheckpointError, match=r"^the folder of output '.*a.safetensors' does not exist$"):
        save(small(), tmp_path / "missing" / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_shared_tensors_are_stored_once(tmp_path: Path) -> None:
    _, conversion = holding.conversion_of(ZOO["tied parameters"], verify=False)
    save(conversion, tmp_path / "a.safetensors")
    with safe_open(tmp_path / "a.safetensors", framework="pt") as handle:
        keys = set(handle.keys())
    assert {"a.weight", "a.bias", "b.bias", "first.weight", "head.weight", "unused.weight"} <= keys
    assert not {"b.weight", "again.weight", "again.bias"} & keys
