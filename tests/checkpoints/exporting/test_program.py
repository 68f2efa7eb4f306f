"""``.pt2``: what runs in a process with torch and without this package is the network."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from rcproof import Conjoined, load
from rcproof.checkpoints.exporting import export, program
from rcproof.errors import CheckpointError, VerificationError
from tests.checkpoints.exporting.nets import (
    FACTORNET,
    Shapes,
    cases,
    close,
    conversion,
    coupled,
    factornet,
    paper,
    without_rcproof,
)
from tests.strategies import randomise

SMALL: dict[str, Any] = {
    "length": 80, "filters": 4, "conv_kernel_size": 9, "dilated_layers": 2, "profile_kernel_size": 9
}  # fmt: skip
TRACKS = ("reversal", "fixed", "length")

RUN = """
answers = []
for path, cases in torch.load(sys.argv[1], weights_only=True):
    with open(path, "rb") as file:
        network = torch.export.load(file).module()
    with torch.no_grad():
        found = [network(*case) for case in cases]
    answers.append([list(y) if isinstance(y, (tuple, list)) else [y] for y in found])
torch.save(answers, sys.argv[2])
"""


def tracks(length: int) -> Shapes:
    """Shapes of the profile network's inputs."""
    return ((4, length), (1,), (2, length - 28))


#: Name, network, shapes and representations of its inputs, layout, and other shapes that the file must take.
NETS: dict[str, tuple[Any, Shapes, tuple[str, ...], str, list[Shapes]]] = {
    "simulated": (lambda: paper("simulated"), ((4, 200),), ("reversal",), "stacked", []),
    "binary": (lambda: paper("binary", length=170), ((4, 170),), ("reversal",), "auto", []),
    "profile": (lambda: paper("profile", **SMALL, n_control=0), ((4, 80),), ("reversal",), "stacked", [((4, 61),)]),
    "bpnet": (lambda: paper("profile", **SMALL), tracks(80), TRACKS, "auto", [tracks(97)]),
    "factornet": (factornet, FACTORNET, ("perm:3,2,1,0,4,5", "fixed"), "auto", []),
}


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Every network written, and what a process without this package answers for each."""
    folder = tmp_path_factory.mktemp("programs")
    written, sources, inputs = {}, {}, []
    for name, (make, shapes, reps, layout, others) in NETS.items():
        sources[name] = make()
        written[name] = export(sources[name], folder / f"{name}.pt2", layout=layout, shapes=shapes)
        sizes = [(shapes, 1), (shapes, 4), *((other, 3) for other in others)]
        inputs.append([list(c.tensors) for size, n in sizes for c in cases(size, reps, torch.float32, n)])
    paths = [str(folder / f"{name}.pt2") for name in NETS]
    torch.save([[p, i] for p, i in zip(paths, inputs, strict=True)], folder / "inputs.pt")
    without_rcproof(RUN, folder / "inputs.pt", folder / "outputs.pt")
    answers = torch.load(folder / "outputs.pt", weights_only=True)
    each = zip(NETS, inputs, answers, strict=True)
    return {name: (written[name], sources[name], i, a) for name, i, a in each}


@pytest.mark.parametrize("name", NETS)
def test_process_without_rcproof(name: str, programs: dict[str, Any]) -> None:
    """The paper's three nets, BPNet with control tracks and FactorNet against the conjoined networks they come from."""
    written, source, inputs, answers = programs[name]
    assert all(report.passed for report in written.reports)
    assert written.batch
    assert len(inputs) == len(answers) >= 4
    for x, got in zip(inputs, answers, strict=True):
        want = source(*x)
        for y, z in zip([want] if isinstance(want, torch.Tensor) else want, got, strict=True):
            close(z, y.detach(), 1e-5)


def test_reports(programs: dict[str, Any]) -> None:
    """What was compared, and what is free: a profile network takes other lengths."""
    bpnet, factornet = programs["bpnet"][0], programs["factornet"][0]
    assert [r.title for r in bpnet.reports] == ["tensors", "outputs", "outputs at other lengths"]
    assert bpnet.length
    assert {c.name.split(": ")[0] for c in bpnet.reports[1].checks} >= {"one-hot, batch 1", "one-hot, batch 5"}
    assert "layers renamed, since code could not name them: 'meta' is 'meta_'" in factornet.notes
    assert "the file refuses the shortest lengths that the network takes: 29" in bpnet.notes


def test_coupled_network(tmp_path: Path) -> None:
    result = conversion(paper("profile", **SMALL))
    written = export(coupled(result.model).eval(), tmp_path / "rcps.pt2", shapes=result.input_shapes)
    assert all(report.worst <= 1e-5 for report in written.reports)


def test_fixed_length_is_said(tmp_path: Path) -> None:
    """A recurrent layer of torch's own fixes the number of its steps in a program."""
    net = nn.Sequential(nn.Conv1d(4, 3, 3), Recur(), nn.AdaptiveMaxPool1d(1), nn.Flatten())
    written = export(conversion(Conjoined(net).eval(), ((4, 12),)), tmp_path / "lstm.pt2")
    assert (written.batch, written.length) == (True, False)
    (note,) = written.notes
    assert note == "the file takes inputs of shape (N, 4, 12) only: the exporter could not leave the length open"


class Recur(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lstm(x.transpose(1, 2))[0].transpose(1, 2)


def test_what_the_file_says_of_itself(tmp_path: Path) -> None:
    """The statement and the representations travel along; no path of this machine does."""
    export(conversion(paper("simulated")), tmp_path / "net.pt2")
    extra = {"rcproof_statement": "", "rcproof_input_representations": "", "rcproof_output_representations": ""}
    with (tmp_path / "net.pt2").open("rb") as file:
        torch.export.load(file, extra_files=extra)
    assert "on every input" in str(extra["rcproof_statement"])
    assert extra["rcproof_input_representations"] in ('["reversal"]', b'["reversal"]')
    here = str(Path(program.__file__).parent).encode()
    with zipfile.ZipFile(tmp_path / "net.pt2") as archive:
        assert not any(here in archive.read(name) for name in archive.namelist())


def test_double_precision_stays(tmp_path: Path) -> None:
    source = Conjoined(
        randomise(nn.Sequential(nn.Conv1d(4, 6, 5), nn.ReLU(), nn.Conv1d(6, 2, 3)), 1), outputs="pairs:1"
    )
    written = export(conversion(source.eval(), ((4, 20),)), tmp_path / "net.pt2")
    assert written.dtype == "float64"
    assert max(r.worst for r in written.reports) <= 1e-12


# -- failures -----------------------------------------------------------------------------------------------


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A file that a failed export must leave as it is, in a folder of its own."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "net.pt2").write_bytes(b"precious")
    return folder / "net.pt2"


def untouched(path: Path) -> None:
    assert path.read_bytes() == b"precious"
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_wrong_weights_are_caught(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutant: a file whose weights are not those of the network."""
    real = program.exported

    def wrong(*words: Any, **options: Any) -> Any:
        found, lengths = real(*words, **options)
        next(iter(found.state_dict.values())).data.mul_(1.0001)
        return found, lengths

    result = conversion(paper("simulated"))
    monkeypatch.setattr(program, "traceable", lambda network, real=program.traceable: real(_copied(network)))
    monkeypatch.setattr(program, "exported", wrong)
    with pytest.raises(VerificationError, match="tensors: 1 of 9 checks failed: got conv.weight: error inf"):
        export(result, old)
    untouched(old)


def _copied(network: Any) -> Any:
    import copy

    return copy.deepcopy(network)


def test_wrong_answers_are_caught(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutant: a merge without its half, in the un-tied network alone."""
    from rcproof.network.strand_nodes import StrandNodes

    real = StrandNodes.merge
    monkeypatch.setattr(StrandNodes, "merge", lambda self, a, b, mode: real(self, a, b, "sum"))
    with pytest.raises(VerificationError, match="outputs: 5 of 5 checks failed: got one-hot, batch 2"):
        export(conversion(paper("simulated")), old)
    untouched(old)


def test_disk_that_is_full(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    result = conversion(paper("simulated"))
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(CheckpointError, match="net.pt2' cannot be written: got No space left on device"):
        export(result, old)
    monkeypatch.undo()
    untouched(old)


def test_network_that_torch_cannot_export(old: Path) -> None:
    class Branching(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if bool(x.sum() > 0) else -x

    net = nn.Sequential(nn.Conv1d(4, 3, 3), Branching())
    model = Conjoined(net, outputs="length").eval()
    with pytest.raises(CheckpointError, match="torch.export cannot export the network: got"):
        export(model, old, shapes=[(4, 12)], leaves=("1",))
    untouched(old)


def test_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="the folder of output .* does not exist"):
        export(conversion(paper("simulated")), tmp_path / "nowhere" / "net.pt2")


def test_safetensors_is_the_untied_network(tmp_path: Path) -> None:
    source = paper("simulated")
    written = export(source, tmp_path / "net.safetensors")
    assert written.format == "safetensors"
    (x,) = cases(((4, 200),), ("reversal",), torch.float32)[0].tensors
    network = load(tmp_path / "net.safetensors")
    close(network(x).detach(), source(x).detach(), 1e-5)
    assert {n.kind for n in network.rcproof_graph().nodes} == {"merged"}
