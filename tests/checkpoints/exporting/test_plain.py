"""``.py`` and ``.pt``: readable source of ordinary layers, and names from files that cannot become code."""

from __future__ import annotations

import ast
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from rcproof import Conjoined
from rcproof.checkpoints.exporting import export, format_for, plain
from rcproof.checkpoints.exporting.naming import identifier, with_identifiers
from rcproof.checkpoints.exporting.recurrent_source import recurrent_source
from rcproof.checkpoints.exporting.source import literal, source_of
from rcproof.convert.untie import untie
from rcproof.errors import CheckpointError, RcproofError, VerificationError
from rcproof.network.building import GraphBuilder
from rcproof.network.graph import Ref
from rcproof.network.network import Network
from rcproof.nn.recurrent import ACTIVATIONS, Recurrent
from rcproof.verify.running import flatten
from tests.checkpoints.exporting.nets import (
    FACTORNET,
    cases,
    close,
    conversion,
    coupled,
    factornet,
    paper,
    without_rcproof,
)
from tests.checkpoints.exporting.test_program import NETS
from tests.convert.holding import cases_of, conversion_of
from tests.convert.nets import ZOO
from tests.strategies import randomise

UNWRITABLE = {"weight norm", "subclasses of layers", "hooks", "a block left whole, with a dict"}


def run_source(source: str, network: nn.Module, folder: Path) -> Any:
    """What ``load`` of the written source gives."""
    (folder / "net.py").write_text(source, encoding="ascii")
    torch.save(network.state_dict(), folder / "net.pt")
    return runpy.run_path(str(folder / "net.py"))["load"]()


@pytest.mark.parametrize("name", sorted(set(ZOO) - UNWRITABLE))
def test_every_network(name: str, tmp_path: Path) -> None:
    """The source says what the un-tied network says, bit by bit, in both layouts, coupled and not."""
    case = ZOO[name]
    _, result = conversion_of(case, verify=False)
    for layout, network in (("auto", result.model), ("stacked", coupled(result.model))):
        ordinary, _ = with_identifiers(untie(network, layout, result.input_shapes))
        found = run_source(source_of(ordinary, "A network."), ordinary, tmp_path)
        assert list(found.state_dict()) and set(found.state_dict()) == set(ordinary.state_dict())
        for c in cases_of(case):
            want, got = flatten(ordinary(*c.tensors)), flatten(found(*c.tensors))
            assert list(want) == list(got)
            assert all(torch.equal(got[key], y) for key, y in want.items())


@pytest.mark.parametrize("name", sorted(UNWRITABLE))
def test_layers_that_have_no_source(name: str, tmp_path: Path) -> None:
    _, result = conversion_of(ZOO[name], verify=False)
    with pytest.raises(RcproofError, match="layer .* cannot be written as source: got .*expected a layer of torch.nn"):
        export(result, tmp_path / "net.py")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["bpnet", "factornet"])
def test_written_and_run_elsewhere(name: str, tmp_path: Path) -> None:
    """In a process without this package, as a user would."""
    make, shapes, reps, layout, others = NETS[name]
    source = make()
    written = export(source, tmp_path / "net.py", layout=layout, shapes=shapes)
    assert [Path(f).name for f in written.files] == ["net.py", "net.pt"]
    assert written.length
    (first, *_) = cases((others or [shapes])[0], reps, torch.float32)
    torch.save(list(first.tensors), tmp_path / "in")
    code = "from net import load\ny = load()(*torch.load('in', weights_only=True))\ntorch.save(y, 'out')"
    without_rcproof(f"import os; os.chdir(sys.argv[1]); sys.path.insert(0, '.')\n{code}", tmp_path)
    want = source(*first.tensors)
    got = torch.load(tmp_path / "out", weights_only=True)
    for y, z in zip([want] if name == "factornet" else want, [got] if name == "factornet" else got, strict=True):
        close(z, y.detach(), 1e-5)


def test_source_is_readable(tmp_path: Path) -> None:
    """Arguments as people write them, defaults left out, lists where there are lists, statements on one line."""
    source = paper("profile", length=80, filters=4, conv_kernel_size=9, dilated_layers=2, profile_kernel_size=9)
    export(source, tmp_path / "net.py", layout="stacked")
    text = (tmp_path / "net.py").read_text()
    for line in (
        "self.conv = nn.Conv1d(4, 8, 9)",
        "self.dilated = nn.ModuleList()",
        "self.dilated.append(nn.Conv1d(8, 8, 3, dilation=2, groups=2))",
        "self.counts_head_own = nn.Linear(5, 2)",
        "def forward(self, sequence: Tensor, control_logcount: Tensor, control_profile: Tensor):",
        "conv = self.conv(sequence)",
        "getitem = relu[:, :, 2:-2]",
        "dilated_1 = self.dilated[1](add)",
        "own = mean[:, :4]",
        "mul = add_2 * 0.5",
    ):
        assert f"    {line}\n" in text, line
    for words in ("sequence: (N, 4, 80), reversal", "control_profile: (N, 2, 52), length", "on every input"):
        assert words in text
    assert "rcproof" not in text.split('"""')[2]
    assert max(map(len, text.splitlines())) <= 130


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("gate", sorted(ACTIVATIONS))
def test_recurrent_source_is_the_layer(cell: str, gate: str) -> None:
    names: dict[str, Any] = {}
    exec("import math\nimport torch\nfrom torch import Tensor, nn\nfrom torch.nn import functional as F", names)
    exec(recurrent_source(), names)
    options = {"recurrent_activation": gate, "reset_after": gate < "m", "reverse": gate > "r", "bias": gate != "elu"}
    layer = randomise(Recurrent(3, 4, cell, **options), 1)
    for p in layer.parameters():
        p.data.mul_(0.2)
    alone = names["Recurrent"](3, 4, cell, **options).double()
    alone.load_state_dict(layer.state_dict())
    x = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert torch.equal(alone(x), layer(x))
    with pytest.raises(ValueError, match="input of Recurrent"):
        alone(x[:, :2])


# -- names that would be code -------------------------------------------------------------------------------

EVIL = [
    'x"); import os; os.system("touch pwned"); ("',
    "__import__('os').system('touch pwned')",
    "a\n        import os\n        os.system('touch pwned')\n        b",
    'end"""\nimport os; os.system("touch pwned")\n"""',
    "class", "lambda", "self", "torch", "forward", "__class__", "", "é", "0 or 1", "meta", "_modules", "none\x00",
]  # fmt: skip


def hostile() -> Network:
    b = GraphBuilder()
    h = b.input(EVIL[0])
    for name in EVIL:
        h = b.module(name.replace(".", "_") or "_", nn.Conv1d(4, 4, 1), h)
    h = b.call("torch.add", h, b.tensor("or 1; quit()", nn.Parameter(torch.ones(4, 1))))
    b.nodes[-1].name = "value); quit("
    h = Ref(b.nodes[-1].name)
    network = b.network([h, h], ["dict", ["'); import os; os.system('touch pwned'); ('", "*"], ['"""', ["tuple", "*"]]])
    return randomise(network, 2).eval()  # type: ignore[return-value]


def test_hostile_names_are_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The source holds one class, one function and imports of torch; running it gives the network and nothing else."""
    monkeypatch.chdir(tmp_path)
    network = hostile()
    written = export(network, tmp_path / "net.py", shapes=[(4, 9)])
    assert not (tmp_path / "pwned").exists()
    assert len(list(tmp_path.iterdir())) == 2
    assert "layers renamed" in written.notes[0]
    tree = ast.parse((tmp_path / "net.py").read_text())
    kinds = [type(s).__name__ for s in tree.body]
    assert kinds == ["Expr", "ImportFrom", "Import", "ImportFrom", "ClassDef", "FunctionDef"]
    names = [n for n in ast.walk(tree) if isinstance(n, ast.Name)]
    known = {n.id for n in names if isinstance(n.ctx, ast.Store)} | {
        a.arg for a in ast.walk(tree) if isinstance(a, ast.arg)
    }
    known |= {"torch", "nn", "Tensor", "Path", "Network", "super", "__file__"}
    assert {n.id for n in names} <= known
    calls = [n.func for n in ast.walk(tree) if isinstance(n, ast.Call)]
    assert {f.id for f in calls if isinstance(f, ast.Name)} == {"super", "Network", "Path"}
    x = torch.randn(2, 4, 9, dtype=torch.float64)
    got = runpy.run_path(str(tmp_path / "net.py"))["load"]()(x)
    want = network(x)
    assert list(got) == list(want)
    assert all(torch.equal(a, b) for a, b in zip(flatten(got).values(), flatten(want).values(), strict=True))


@pytest.mark.parametrize("kind", ["pt2", "safetensors"])
def test_hostile_names_in_other_formats(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    export(hostile(), tmp_path / f"net.{kind}", shapes=[(4, 9)])
    assert [p.name for p in tmp_path.iterdir()] == [f"net.{kind}"]
    data = (tmp_path / f"net.{kind}").read_bytes()
    assert b'os.system("touch' not in data
    assert b"__import__(" not in data


@pytest.mark.parametrize("wanted", EVIL)
def test_identifiers(wanted: str) -> None:
    first = identifier(wanted, set())
    assert first.isidentifier() and first.isascii()
    second = identifier(wanted, {first})
    assert second != first and second.isidentifier()


@pytest.mark.parametrize(
    "value", [object(), torch.zeros(2), nn.ReLU(), print, 1j, b"bytes", {"a": [(torch.zeros(1),)]}]
)
def test_only_plain_values_have_a_form(value: Any) -> None:
    with pytest.raises(RcproofError, match="an argument that has no form in source"):
        literal(value)


class Loud(int):
    def __repr__(self) -> str:
        return "__import__('os').abort()"


@pytest.mark.parametrize("value", [Loud(3), type("S", (str,), {"__repr__": lambda s: "quit()"})("x")])
def test_repr_of_a_subclass_is_not_trusted(value: Any) -> None:
    with pytest.raises(RcproofError, match="no form in source"):
        literal(value)


# -- failures -----------------------------------------------------------------------------------------------


@pytest.fixture
def old(tmp_path: Path) -> Path:
    for name in ("net.py", "net.pt"):
        (tmp_path / name).write_bytes(b"precious")
    return tmp_path / "net.py"


def untouched(path: Path) -> None:
    assert sorted(p.name for p in path.parent.iterdir()) == ["net.pt", "net.py"]
    assert all(p.read_bytes() == b"precious" for p in path.parent.iterdir())


@pytest.fixture
def small() -> Any:
    net = nn.Sequential(nn.Conv1d(4, 3, 3), nn.ReLU(), nn.Conv1d(3, 2, 3))
    return conversion(Conjoined(randomise(net, 2), outputs="length").eval(), ((4, 9),))


@pytest.mark.parametrize(("right", "wrong"), [("* 0.5", "* 1.0"), ("(1, 2))", "(1,))"), ("return mul", "return add")])
def test_wrong_source_is_caught(old: Path, small: Any, monkeypatch: pytest.MonkeyPatch, right: str, wrong: str) -> None:
    """Mutants: a dropped half, a flip that keeps the positions, the wrong value returned."""
    real = source_of

    def mutant(*words: Any) -> str:
        text = real(*words)
        assert right in text
        return text.replace(right, wrong)

    monkeypatch.setattr(plain, "source_of", mutant)
    with pytest.raises(VerificationError, match="outputs: [35] of 5 checks failed"):
        export(small, old)
    untouched(old)


def test_source_that_does_not_run(old: Path, small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "source_of", lambda *words: "import rcproof\n")
    with pytest.raises(
        CheckpointError, match="the written module does not run: got ModuleNotFoundError: import of rcproof"
    ):
        export(small, old)
    untouched(old)


def test_source_that_never_ends(old: Path, small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "TIMEOUT", 0.2)
    with pytest.raises(CheckpointError, match="the written module does not answer: got nothing in 0.2 s"):
        export(small, old)
    untouched(old)


def test_disk_that_is_full(old: Path, small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(CheckpointError, match="cannot be written: got No space left on device"):
        export(small, old)
    monkeypatch.undo()
    untouched(old)


def test_names_of_files(small: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"expected a name that does not end in .pt: the weights go there"):
        export(small, tmp_path / "net.pt", "py")
    with pytest.raises(RcproofError, match=r"no format is known by the name of 'net.xyz': expected .pt2, .onnx, .py"):
        format_for("net.xyz")
    with pytest.raises(RcproofError, match="no such format to export: got 'tflite'; expected pt2, onnx, py"):
        format_for("net.pt2", "tflite")


def test_train_mode(tmp_path: Path) -> None:
    model = factornet()
    model.net.out.train()
    with pytest.raises(
        RcproofError, match=r"the network to export is in train mode: got 'net.out'. Call .eval\(\) first"
    ):
        export(model, tmp_path / "net.py", shapes=FACTORNET)
