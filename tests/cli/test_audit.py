"""``rcproof audit``: the numbers are those of the library, on the inputs asked for."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch

import rcproof
from rcproof.verify import draw_inputs, one_hot
from tests.cli.commands import net, profile, run, run_json, saved
from tests.cli.conftest import user_net

SEQUENCES = {
    "a": "ACGTACGTTCGTACGTACGTACGTACGTA",
    "b": "TTTTTCCCCCAAAAAGGGGGNNNNNACGT",
    "c": "ACGTTGCAACGTTGCAACGTTGCAACGTT",
}


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return saved(net(), tmp_path / "plain.safetensors")


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    path = tmp_path / "some.fa.gz"
    path.write_bytes(gzip.compress("".join(f">{k} more\n{v}\n" for k, v in SEQUENCES.items()).encode()))
    return path


def outputs(data: dict) -> list[dict]:
    return data["audit"]["outputs"]


def test_one_strand(plain: Path) -> None:
    data = run_json("audit", plain, "--n", 20, "--length", 33, "--seed", 5)
    cases = draw_inputs([(4, 33)], "reversal", kinds=("one-hot",), batch=20, seed=5)
    expected = rcproof.audit(net(), cases, "reversal", "fixed").to_dict()
    assert outputs(data) == expected["outputs"]
    assert data["symmetric"] is False
    assert data["passed"] is True
    assert data["input_shapes"] == [[4, 33]]
    result = run("audit", plain, "--n", 20)
    assert result.exit_code == 0
    for part in ("flipped decisions", "reversal", "max difference", "seed 0"):
        assert part in result.stdout


def test_symmetric_networks(source: Path, tmp_path: Path) -> None:
    assert run_json("audit", source, "--n", 20)["symmetric"] is True
    out = tmp_path / "rcps.safetensors"
    assert run("convert", source, "-o", out).exit_code == 0
    data = run_json("audit", out, "--n", 20)
    assert data["symmetric"] is True
    assert outputs(data)[0]["scale"] > 0


@pytest.mark.parametrize(("limit", "code"), [("1e-9", 1), ("1e9", 0)])
def test_fail_above(plain: Path, limit: str, code: int) -> None:
    result = run("audit", plain, "--n", 20, "--fail-above", limit, "--json")
    assert result.exit_code == code
    assert json.loads(result.stdout)["passed"] is (code == 0)


def test_fasta(plain: Path, fasta: Path) -> None:
    data = run_json("audit", plain, "--fasta", fasta)
    expected = rcproof.audit(net(), one_hot(list(SEQUENCES.values())), "reversal", "fixed", names=list(SEQUENCES))
    assert outputs(data) == expected.to_dict()["outputs"]
    assert data["input_shapes"] == [[4, 29]]
    cut = run_json("audit", plain, "--fasta", fasta, "--length", 20)
    expected = rcproof.audit(net(), one_hot(list(SEQUENCES.values()), 20), "reversal", "fixed", names=list(SEQUENCES))
    assert outputs(cut) == expected.to_dict()["outputs"]
    assert cut["inputs"]["cut or padded"] == "3 to 20 positions"


def test_fasta_of_a_network_of_one_length(tmp_path: Path, fasta: Path) -> None:
    torch.manual_seed(0)
    fixed = torch.nn.Sequential(torch.nn.Conv1d(4, 2, 3), torch.nn.Flatten(), torch.nn.Linear(2 * 38, 1)).eval()
    data = run_json("audit", saved(fixed, tmp_path / "fixed.safetensors"), "--fasta", fasta)
    assert data["input_shapes"] == [[4, 40]]


def test_base_order(plain: Path, fasta: Path) -> None:
    data = run_json("audit", plain, "--fasta", fasta, "--alphabet", "ATGC", "--input", "dna:ATGC")
    encoded = one_hot(list(SEQUENCES.values()), alphabet="ATGC")
    expected = rcproof.audit(net(), encoded, "dna:ATGC", "fixed", names=list(SEQUENCES))
    assert outputs(data) == expected.to_dict()["outputs"]


def test_profile(tmp_path: Path) -> None:
    path = saved(profile(), tmp_path / "p.safetensors")
    data = run_json("audit", path, "--output", "reversal", "--n", 9, "--kind", "profile")
    assert outputs(data)[0]["jsd_max"] > 0
    assert outputs(data)[0]["kind"] == "profile"


def test_state_dict_and_several_inputs(nets: str, tmp_path: Path, fasta: Path) -> None:
    torch.save(user_net(nets, "Control").state_dict(), tmp_path / "s.pt")
    options = [
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
    data = run_json("audit", tmp_path / "s.pt", *options, "--fasta", fasta)
    assert data["inputs"]["other inputs"] == "random"
    assert data["audit"]["facts"]["inputs"] == "reversal, length"


def test_a_network_that_does_not_trace(nets: str, state: Path) -> None:
    data = run_json("audit", state, "--model", f"{nets}:Branching", "--shape", "4,30", "--n", 8)
    assert data["audit"]["examples"] == 8


def test_conjoined_by_the_users_code(nets: str, state: Path) -> None:
    assert run_json("audit", state, "--model", f"{nets}:conjoined", "--n", 8)["symmetric"] is True
    assert run_json("audit", state, "--model", f"{nets}:Score", "--n", 8)["symmetric"] is False
