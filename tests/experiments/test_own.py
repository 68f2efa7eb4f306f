"""A user's own files, under the same command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rcproof.errors import RcproofError
from rcproof.experiments.own import own_task
from rcproof.experiments.readers import read_genome
from rcproof.experiments.registry import cache_folder
from rcproof.experiments.tasks import SEEDS, data_of
from tests.cli.commands import run
from tests.experiments.test_data import bigwig

LETTERS = np.array(list("ACGT"))


@pytest.fixture
def fasta(tmp_path: Path) -> tuple[Path, Path]:
    rng = np.random.default_rng(1)
    rows = ["".join(LETTERS[rng.integers(0, 4, 101)]) for _ in range(60)]
    labels = [i % 2 for i in range(60)]
    for i in range(1, 60, 2):
        rows[i] = rows[i][:40] + "GATTACAGATT" + rows[i][51:]
    (tmp_path / "mine.fa").write_text("".join(f">s{i} x\n{r}\n" for i, r in enumerate(rows)))
    order = list(reversed(range(60)))
    (tmp_path / "mine.csv").write_text("name,bound\n" + "".join(f"s{i},{labels[i]}\n" for i in order))
    return tmp_path / "mine.fa", tmp_path / "mine.csv"


@pytest.fixture
def genome(tmp_path: Path) -> dict[str, Path]:
    rng = np.random.default_rng(1)
    chroms = {f"c{i}": "".join(LETTERS[rng.integers(0, 4, 4000)]) for i in range(6)}
    (tmp_path / "g.fa").write_text("".join(f">{c}\n{s}\n" for c, s in chroms.items()))
    (tmp_path / "r.bed").write_text("".join(f"{c}\t{p}\t{p + 10}\n" for c in chroms for p in (800, 1700, 2600)))
    for name, sign in (("plus", 1), ("minus", -1)):
        import pyBigWig

        with pyBigWig.open(str(tmp_path / f"{name}.bw"), "w") as track:
            track.addHeader([(c, 4000) for c in chroms])
            for c in chroms:
                track.addEntries(c, 0, values=(sign * rng.poisson(1.0, 4000)).astype(float).tolist(), span=1, step=1)
    return {name: tmp_path / file for name, file in (("genome", "g.fa"), ("bed", "r.bed"), ("plus", "plus.bw"),
                                                     ("minus", "minus.bw"))}  # fmt: skip


def test_fasta_with_labels(fasta: tuple[Path, Path]) -> None:
    data = data_of(own_task("mine", fasta=fasta[0], labels=fasta[1]))
    assert data.sizes == {"train": 42, "valid": 9, "test": 9}
    motif = np.eye(4)[["ACGT".index(b) for b in "GATTACAGATT"]].T
    for split in (data.train, data.valid, data.test):
        has = [bool((x.numpy()[:, 40:51] == motif).all()) for x in split.inputs[0]]
        assert has == [bool(y) for y in split.targets[0][:, 0]]  # labels follow names, not the order of rows


def test_given_split(fasta: tuple[Path, Path]) -> None:
    rows = [f"s{i},{i % 2},{('train', 'valid', 'test')[i % 3]}" for i in range(60)]
    fasta[1].write_text("name,bound,split\n" + "\n".join(rows) + "\n")
    assert data_of(own_task("mine", fasta=fasta[0], labels=fasta[1])).sizes == {"train": 20, "valid": 20, "test": 20}


def test_regions(genome: dict[str, Path]) -> None:
    data = data_of(
        own_task("mine", genome=genome["genome"], bed=genome["bed"], length=300, valid=("c1",), test=("c2",))
    )
    assert data.sizes == {"train": 24, "valid": 6, "test": 6}
    sequence = read_genome(genome["genome"], cache_folder()).chromosomes["c2"]
    positives = data.test.inputs[0][data.test.targets[0][:, 0] == 1].argmax(dim=1).numpy()
    expected = {sequence[p + 5 - 150 : p + 5 + 150].tobytes() for p in (800, 1700, 2600)}
    assert {row.astype(np.uint8).tobytes() for row in positives} == expected


@pytest.mark.parametrize("stranded", [True, False])
def test_tracks(stranded: bool, genome: dict[str, Path]) -> None:
    tracks = (genome["plus"], genome["minus"]) if stranded else (genome["plus"],)
    found = own_task("mine", genome=genome["genome"], bed=genome["bed"], bigwigs=tracks, valid=("c1",), test=("c2",))
    assert found.stranded is stranded and found.kind == "profile"
    data = data_of(found)
    assert data.sizes == {"train": 12, "valid": 3, "test": 3}
    assert data.train.targets[0].shape[1:] == (2 if stranded else 1, 500)
    assert (data.train.targets[0] >= 0).all()


ERRORS = [
    ({}, r"files of your own: got none; expected --fasta and --labels, or --genome and --bed"),
    ({"fasta": "mine.fa"}, r"files of your own: got --fasta; expected"),
    ({"fasta": "none.fa", "labels": "mine.csv"}, r"file '.*none.fa' does not exist"),
]


@pytest.mark.parametrize(("files", "text"), ERRORS)
def test_wrong_files(files: dict[str, str], text: str, fasta: tuple[Path, Path]) -> None:
    with pytest.raises(RcproofError, match=text):
        own_task("mine", **{k: fasta[0].parent / v for k, v in files.items()})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ("bound\n1\n", r"labels mine.csv: got 1 rows for 60 sequences; expected one each"),
        ("name\ns1\n", r"labels mine.csv: got columns name; expected a column of 0 and 1"),
        ("name,bound\ns0,1\n", r"labels mine.csv: got none for 's1'; expected one row a sequence"),
        ("bound\n" + "2\n" * 60, r"a label in mine.csv: got '2'; expected 0 or 1"),
        ("bound,split\n" + "1,dev\n" * 60, r"a split in mine.csv: got 'dev'; expected train, valid, test"),
    ],
)
def test_wrong_labels(labels: str, text: str, fasta: tuple[Path, Path]) -> None:
    fasta[1].write_text(labels)
    with pytest.raises(RcproofError, match=text):
        own_task("mine", fasta=fasta[0], labels=fasta[1])


def test_names_and_chromosomes(fasta: tuple[Path, Path], genome: dict[str, Path]) -> None:
    with pytest.raises(RcproofError, match=r"name of your own task: got 'sim_200'; expected letters, digits"):
        own_task("sim_200", fasta=fasta[0], labels=fasta[1])
    with pytest.raises(RcproofError, match=r"name of your own task: got '../x'"):
        own_task("../x", fasta=fasta[0], labels=fasta[1])
    with pytest.raises(RcproofError, match=r"held-out chromosome: got c9; expected one of c0, c1"):
        own_task("mine", genome=genome["genome"], bed=genome["bed"], test=("c9",))
    with pytest.raises(RcproofError, match=r"held-out chromosomes: got c1 twice; expected each in one split"):
        own_task("mine", genome=genome["genome"], bed=genome["bed"], valid=("c1",), test=("c1",))
    bigwig(genome["genome"].parent / "short.bw", np.ones(4000), "c7")
    short = own_task(
        "mine", genome=genome["genome"], bed=genome["bed"], bigwigs=(genome["genome"].parent / "short.bw",)
    )
    with pytest.raises(RcproofError, match=r"of short.bw: got no such chromosome; expected a window within"):
        data_of(short)


def test_command(fasta: tuple[Path, Path], tmp_path: Path) -> None:
    words = ["experiment", "run", "mine", "--fasta", str(fasta[0]), "--labels", str(fasta[1]), "--strategy",
             "post-hoc-noaug",
             "--n-seeds", "1", "--out", str(tmp_path / "r"), "--json"]  # fmt: skip
    done = run(*words)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["made"] == 2
    files = sorted(str(p.relative_to(tmp_path / "r")) for p in (tmp_path / "r").rglob("*.json"))
    assert files == [f"mine/post-hoc-noaug/{SEEDS[0]}.json", f"mine/standard/{SEEDS[0]}.json"]
    text = (tmp_path / "r" / files[1]).read_text()
    assert str(tmp_path) not in text and "mine.fa" in text
    assert json.loads(run(*words).stdout)["made"] == 0


def refused(text: str, *words: str) -> None:
    done = run("experiment", *words)
    assert done.exit_code == 2 and done.stderr.startswith("error: ") and text in done.stderr, done.output


def test_command_errors(tmp_path: Path) -> None:
    refused("TASK: got none; expected all, overfitting, or some of sim_200, IRF1", "run")
    refused("task: got 'nothing'; expected sim_200, IRF1", "run", "nothing")
    refused("strategy: got 'siamese'; expected standard, ", "run", "sim_200", "--strategy", "siamese")
    refused(
        "strategy of task 'stripe': got 'rcps-mean'; expected standard, ", "run", "stripe", "--strategy", "rcps-mean"
    )
    refused("all with --strategy, --fraction or --noise: expected the names", "run", "all", "--noise", "0.1")
    refused("--seeds: got '1,x'; expected numbers with commas, as 1535,1780", "run", "sim_200", "--seeds", "1,x")
    refused("--seeds: got '1,1'; expected each seed once", "run", "sim_200", "--seeds", "1,1")
    refused("--device: got 'tpu'; expected cpu, cuda or cuda:N", "run", "sim_200", "--device", "tpu")
    refused("--device: got 'cuda:99'; expected one of", "run", "sim_200", "--device", "cuda:99")
    (tmp_path / "file").write_text("x")
    refused("is a file: expected a folder", "run", "sim_200", "--out", str(tmp_path / "file"))
    refused("no result files in", "report", "--results", str(tmp_path), "--out", str(tmp_path / "out"))


def test_listing() -> None:
    found = json.loads(run("experiment", "run", "--list", "--json").stdout)
    assert {"sim_200", "stripe", "CTCF"} <= set(found["tasks"]) and "warm-rcps" in found["strategies"]
    assert "warm-rcps" in run("experiment", "run", "--list").stdout


@pytest.mark.parametrize("words", [["--help"], ["experiment", "--help"], ["experiment", "run", "--help"]])
def test_help_imports_no_heavy_package(words: list[str]) -> None:
    code = (
        "import sys\nfrom rcproof.cli.main import main\ntry:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'lightning', 'joblib', 'numpy'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]" and "experiment" in done.stdout


def test_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from rcproof.cli import experiment

    monkeypatch.setattr(experiment, "NEEDED", ("no_such_package",))
    refused(
        "rcproof experiment needs more packages: got no no_such_package. Pip install 'rcproof[experiments]'", "run", "x"
    )
