"""``rcproof audit``: what to do about the strands, labels and losses, figures, and sequences of every origin."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import rcproof
from rcproof.cli.audit import KINDS
from rcproof.cli.audit_inputs import begins_with_dna
from rcproof.strand import representation
from rcproof.verify import discordance
from tests.cli.commands import assert_refused, files, net, profile, run, run_json, saved
from tests.cli.conftest import user_net


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return saved(net(), tmp_path / "plain.safetensors")


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Forty sequences of 30 bp with labels of two tasks."""
    generator = np.random.default_rng(0)
    path = tmp_path / "data.npz"
    one_hot = np.eye(4)[generator.integers(0, 4, (40, 30))].swapaxes(1, 2)
    np.savez(path, sequences=one_hot, labels=generator.integers(0, 2, (40, 2)))
    return path


def test_the_commands_kinds_are_the_librarys() -> None:
    assert KINDS == discordance.KINDS


# -- what to do --------------------------------------------------------------------------------------------


def test_the_command_advised_works(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = run_json("audit", plain, "--n", 20)
    words = shlex.split(before["advice"]["command"])
    assert len(before["advice"]["command"]) > 60
    monkeypatch.setattr("rcproof.cli.common.WIDTH", 60)  # a command is not broken: it is to be copied
    assert before["advice"]["command"] in run("audit", plain, "--n", 4).stdout
    assert words[:2] == ["rcproof", "convert"]
    assert run(*words[1:]).exit_code == 0
    after = run_json("audit", words[-1], "--n", 20)
    assert after["symmetric"] is True
    assert after["advice"]["command"] is None
    assert after["advice"]["text"] == ["Nothing to do: the network is RCPS, and its strands agree to rounding."]
    # and what it computes is the mean of what was measured
    conjoined = rcproof.Conjoined(net()).double()
    x = torch.eye(4, dtype=torch.float64)[torch.randint(4, (5, 20))].transpose(1, 2)
    with torch.no_grad():
        torch.testing.assert_close(rcproof.load(words[-1]).double()(x), conjoined(x), rtol=1e-12, atol=1e-12)


def test_the_command_keeps_the_options(nets: str, tmp_path: Path) -> None:
    torch.save(user_net(nets, "Control").state_dict(), tmp_path / "a b.pt")
    given = [
        "--model",
        f"{nets}:Control",
        "--input",
        "reversal",
        "--input",
        "length",
        "--shape",
        "4,29",
        "--shape",
        "2,29",
    ]
    found = shlex.split(run_json("audit", tmp_path / "a b.pt", *given, "--n", 8)["advice"]["command"])
    assert found[2] == str(tmp_path / "a b.pt")
    for option in ("--model", "--input", "--shape"):
        at = [i for i, word in enumerate(given) if word == option]
        assert [found[i + 1] for i, word in enumerate(found) if word == option] == [given[i + 1] for i in at]
    assert run(*found[1:-1], tmp_path / "out.safetensors").exit_code == 0


def test_guarantees_are_quoted(plain: Path) -> None:
    result = run("audit", plain, "--n", 20)
    told = " ".join(result.stdout.split())
    for part in ("T9.bce.logits (output: binary cross-entropy on logits)", "T9.data_set: On every data set",
                 "nothing of AuROC", "taken for a logit", "--final sigmoid", "the mean overturns"):  # fmt: skip
        assert part in told
    data = run_json("audit", plain, "--n", 20, "--kind", "value")
    assert [g["label"] for g in data["advice"]["guarantees"]] == ["T9.mse", "T9.data_set"]
    assert "taken for a logit" not in run("audit", plain, "--n", 20, "--kind", "value").stdout


def test_nothing_to_do_where_the_network_is_conjoined(source: Path) -> None:
    data = run_json("audit", source, "--n", 20)
    assert data["advice"]["command"] is None
    assert "`rcproof convert` gives RCPS weights" in data["advice"]["text"][0]
    assert data["advice"]["guarantees"] == []


def test_agreement_by_chance_is_no_proof(tmp_path: Path) -> None:
    constant = nn.Sequential(nn.Conv1d(4, 1, 1), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    nn.init.zeros_(constant[0].weight)
    data = run_json("audit", saved(constant, tmp_path / "c.safetensors"), "--n", 8)
    assert data["symmetric"] is True
    assert "That is no proof for others" in data["advice"]["text"][0]


def test_a_network_that_says_it_is_conjoined_and_is_not(tmp_path: Path) -> None:
    skewed = rcproof.Conjoined(profile(), outputs="reversal", final=nn.Conv1d(2, 2, 2)).eval()
    path = saved(skewed, tmp_path / "s.safetensors")
    data = run_json("audit", path, "--n", 8)
    assert data["symmetric"] is False
    assert data["advice"]["command"] is None
    assert "says that it is conjoined, and its strands disagree" in data["advice"]["text"][0]


def test_not_finite(tmp_path: Path) -> None:
    broken = nn.Sequential(nn.Conv1d(4, 1, 3, bias=False), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(1, 1))
    broken[3].weight.data.fill_(3e38)
    broken[0].weight.data.fill_(3e38)
    path = saved(nn.Sequential(*broken, *(nn.Linear(1, 1) for _ in range(9))), tmp_path / "n.safetensors")
    loaded = rcproof.load(path)
    for p in loaded.parameters():
        p.data.fill_(3e38)
    data = run_json("audit", saved(loaded, path), "--n", 8)
    assert data["audit"]["outputs"][0]["not_finite"] == 8
    assert "no merge mends them" in data["advice"]["text"][0]
    assert data["losses"] == []


# -- tasks and sequences -----------------------------------------------------------------------------------


def test_tasks_and_worst(plain: Path) -> None:
    data = run_json("audit", plain, "--n", 30, "--worst", 3)
    (output,) = data["audit"]["outputs"]
    assert [t["task"] for t in output["tasks"]] == [0, 1]
    worst = output["worst"]
    assert len(worst) == 3
    assert [w["discordance"] for w in worst] == sorted((w["discordance"] for w in worst), reverse=True)
    assert worst[0]["discordance"] == output["max_difference"] == abs(worst[0]["own"] - worst[0]["other"])
    assert run_json("audit", plain, "--n", 30, "--worst", 0)["audit"]["outputs"][0]["worst"] == []
    told = run("audit", plain, "--n", 30).stdout
    assert "tasks, the worst 2 of 2" in told
    assert "sequences on which the strands disagree most" in told


def test_coordinates(plain: Path, tmp_path: Path) -> None:
    fasta = tmp_path / "x.fa"
    letters = "ACGTTGCAACGGTGCAACGTAAGCAACGTT"
    names = ["chr1:100-130", "peak7::chrX:1,000-1,030(-)", "first range=chr2:5-35 strand=+", "no place"]
    fasta.write_text("".join(f">{name}\n{letters[i:] + letters[:i]}\n" for i, name in enumerate(names)))
    (output,) = run_json("audit", plain, "--fasta", fasta)["audit"]["outputs"]
    found = {w["name"]: w["coordinates"] for w in output["worst"]}
    assert found == {
        "chr1:100-130": "chr1:100-130",
        "peak7::chrX:1,000-1,030(-)": "chrX:1,000-1,030(-)",
        "first chr2:5-35": "chr2:5-35",
        "no": None,
    }


def test_some_of_a_fasta_file(plain: Path, tmp_path: Path) -> None:
    fasta = tmp_path / "x.fa"
    fasta.write_text("".join(f">{i}\n{'ACGTTGCA' * 4}\n" for i in range(30)))
    data = run_json("audit", plain, "--fasta", fasta, "--n", 7)
    assert data["audit"]["examples"] == 7
    assert data["inputs"]["sequences"].startswith("7 of ")
    assert data == run_json("audit", plain, "--fasta", fasta, "--n", 7)
    assert run_json("audit", plain, "--fasta", fasta, "--n", 70)["audit"]["examples"] == 30


@pytest.mark.parametrize(
    ("rep", "channels", "expected"),
    [
        ("reversal", 4, True),
        ("perm:3,2,1,0,4,5", 6, True),
        ("perm:3,2,1,0,5,4", 6, True),
        ("reversal", 6, False),
        ("length", 6, False),
        ("fixed", 6, False),
    ],
)
def test_dna_with_tracks(rep: str, channels: int, expected: bool) -> None:
    assert begins_with_dna((channels, 30), representation(rep)) is expected


def test_tracks_beside_the_bases(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tracks = nn.Sequential(nn.Conv1d(6, 3, 5), nn.ReLU(), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(3, 1))
    path = saved(tracks.eval(), tmp_path / "t.safetensors")
    options = ["--input", "perm:3,2,1,0,4,5", "--shape", "6,30"]
    assert run_json("audit", path, *options, "--n", 8)["symmetric"] is False
    fasta = tmp_path / "x.fa"
    fasta.write_text(f">a\n{'ACGTTGCA' * 4}\n")
    data = run_json("audit", path, *options, "--fasta", fasta)
    assert data["inputs"]["other channels"] == "random"
    from rcproof.cli.audit_inputs import Wanted, plan_audit
    from rcproof.cli.common import SourceOptions
    from rcproof.cli.source import read_source

    plan = plan_audit(
        read_source(str(path), SourceOptions(inputs=("perm:3,2,1,0,4,5",), shapes=((6, 30),))), Wanted(str(fasta))
    )
    (x,) = plan.case.tensors
    assert torch.equal(x[0, :4], rcproof.verify.one_hot(["ACGTTGCA" * 4], 30)[0])
    assert x[0, 4:].min() > 0
    random = plan_audit(
        read_source(str(path), SourceOptions(inputs=("perm:3,2,1,0,4,5",), shapes=((6, 30),))), Wanted(n=5)
    ).case.tensors[0]
    assert torch.equal(random[:, :4].sum(1), torch.ones(5, 30, dtype=torch.float64))


# -- labels ------------------------------------------------------------------------------------------------


def test_losses(plain: Path, labelled: Path) -> None:
    data = run_json("audit", plain, "--data", labelled)
    (found,) = data["losses"]
    held = np.load(labelled)
    x, y = (torch.from_numpy(held[name]).double() for name in ("sequences", "labels"))
    model, loss = net().double(), nn.functional.binary_cross_entropy_with_logits
    with torch.no_grad():
        own, other = model(x), model(x.flip(1, 2))
        expected = [float(loss(z, y)) for z in (own, other, (own + other) / 2)]
    assert [found["own"], found["other"], found["conjoined"]] == pytest.approx(expected, rel=1e-12)
    assert found["holds"] is True
    assert found["conjoined"] < found["mean"]
    assert "(T9.bce.logits holds)" in run("audit", plain, "--data", labelled).stdout.replace("\n", " ")
    some = run_json("audit", plain, "--data", labelled, "--n", 10)
    assert some["audit"]["examples"] == 10
    chosen = [int(w["name"].removeprefix("#")) for w in some["audit"]["outputs"][0]["worst"]]
    assert max(chosen) > 9


def test_labels_follow_their_sequences(plain: Path, labelled: Path) -> None:
    """Ten of forty are drawn, with their own labels: a shifted label would change the loss."""
    from rcproof.cli.audit_sequences import read_sequences

    held = np.load(labelled)
    found = read_sequences(None, str(labelled), 10, "ACGT", 0)
    assert found is not None and found.labels is not None and found.tensor is not None
    rows = [int(name.removeprefix("#")) for name in found.names]
    assert len(set(rows)) == 10 and rows == sorted(rows)
    np.testing.assert_array_equal(found.labels.numpy(), held["labels"][rows])
    np.testing.assert_array_equal(found.tensor.numpy(), held["sequences"][rows])


def test_data_is_cut_and_padded(plain: Path, labelled: Path) -> None:
    data = run_json("audit", plain, "--data", labelled, "--length", 20)
    assert data["inputs"]["cut or padded"] == "40 to 20 positions"
    assert data["input_shapes"] == [[4, 20]]


# -- figures -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".svg", ".html"])
def test_figures(plain: Path, tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("matplotlib", reason="draws the figures (the extra `plots`)")
    figure = tmp_path / f"f{suffix}"
    figure.write_bytes(b"old")
    data = run_json("audit", plain, "--n", 20, "--figure", figure)
    assert data["figure"] == str(figure)
    begins = {".png": b"\x89PNG", ".svg": b"<?xml", ".html": b"<!doctype html>"}[suffix]
    assert figure.read_bytes().startswith(begins)
    assert files(tmp_path) == {"plain.safetensors", figure.name}
    if suffix == ".html":
        page = figure.read_text()
        assert "T9.bce.logits" in page
        assert "rcproof convert" in page


def test_figures_refused(plain: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="draws the figures (the extra `plots`)")
    assert_refused(["audit", plain, "--figure", tmp_path / "f.pdf"], "a name that ends in .png, .svg, .html")
    assert_refused(["audit", plain, "--figure", tmp_path / "no" / "f.png"], "the folder of output", "does not exist")
    fasta = tmp_path / "x.svg"
    fasta.write_text(">a\nACGTACGTACGTACGT\n")
    assert_refused(["audit", plain, "--fasta", fasta, "--figure", fasta], "is also a file that is read")
    assert fasta.read_text().startswith(">a")
    kept = tmp_path / "kept.png"
    kept.write_bytes(b"precious")
    assert_refused(["audit", plain, "--length", 3, "--figure", kept], "does not run")  # a failed audit writes nothing
    assert kept.read_bytes() == b"precious"
    assert files(tmp_path) == {"plain.safetensors", "x.svg", "kept.png"}


def test_figures_need_matplotlib(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    assert_refused(["audit", plain, "--figure", tmp_path / "f.png"], "needs matplotlib", "rcproof[plots]")
    assert files(tmp_path) == {"plain.safetensors"}
    assert run("audit", plain, "--n", 8).exit_code == 0  # nothing else does


def test_mistakes(plain: Path, labelled: Path, tmp_path: Path) -> None:
    fasta = tmp_path / "x.fa"
    fasta.write_text(">a\nACGTACGTACGTACGT\n")
    assert_refused(["audit", plain, "--fasta", fasta, "--data", labelled], "--fasta and --data: got both")
    wrong = tmp_path / "wrong.npz"
    np.savez(wrong, sequences=np.load(labelled)["sequences"], labels=np.zeros((40, 3)))
    assert_refused(["audit", plain, "--data", wrong], "targets of output: got shape (40, 3); expected (40, 2)")
    assert_refused(["audit", plain, "--data", labelled, "--kind", "counts"], "counts must not be negative")
    assert json.loads(run("audit", plain, "--data", tmp_path / "no.npz", "--json").stdout)["exit_code"] == 2
