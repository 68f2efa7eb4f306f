"""``rcproof inspect``: what is in a file, and nothing is run."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

import rcproof
from tests.cli.commands import net, run, run_json, saved
from tests.cli.conftest import user_net


def test_conjoined(source: Path) -> None:
    data = run_json("inspect", source)
    assert (data["kind"], data["inputs"], data["outputs"]) == ("conjoined", ["reversal"], ["by rank"])
    assert (data["merge"], data["final"], data["certificate"]) == (["mean"], ["Sigmoid"], None)
    assert data["metadata"] == {"data": "drawn", "held_out_auroc": "0.9"}
    assert data["parameters"]["total"] == sum(p.numel() for p in net().parameters()) == data["parameters"]["one strand"]
    result = run("inspect", source)
    for part in ("conjoined network", "0.9", "(3, 4, 5)", "float32", "mean"):
        assert part in result.stdout


def test_converted(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "rcps.safetensors"
    assert run("convert", source, "-o", out, "--couple", "6").exit_code == 0
    data = run_json("inspect", out)
    assert data["kind"] == "rcps"
    assert data["coupled"] == ["6"]
    assert {row["name"]: row["role"] for row in data["layers"]} == {
        "0": "tied", "1": "tied", "2": "-", "3": "tied", "4": "-", "5": "-", "6": "coupled", "final.net": "-",
    }  # fmt: skip
    assert data["metadata"]["data"] == "drawn"
    assert data["certificate"]["tensors"] == "10 copy, 1 copy+zero"
    assert "equal" in data["certificate"]["statement"]
    result = run("inspect", out)
    for part in ("RCPS network", "coupled", "certificate", "lemma", "T5", "equivalence held"):
        assert part in result.stdout


def test_lifted(nets: str, tmp_path: Path) -> None:
    out = saved(
        rcproof.convert(rcproof.Conjoined(user_net(nets, "Recurrent")).eval()).model, tmp_path / "r.safetensors"
    )
    data = run_json("inspect", out)
    assert data["lifted"] == ["lstm"]
    assert data["certificate"] is None
    assert data["parameters"]["lifted"] + data["parameters"]["tied"] == data["parameters"]["total"]


def test_ordinary_network(tmp_path: Path) -> None:
    data = run_json("inspect", saved(net(), tmp_path / "plain.safetensors"))
    assert (data["kind"], data["inputs"], data["lifted"]) == ("network", [], [])
    assert {row["role"] for row in data["layers"]} == {"one strand", "-"}
    assert "one strand" in run("inspect", tmp_path / "plain.safetensors").stdout


def test_a_siamese_network_that_does_not_say_how_its_strands_belong_together(data_dir: Path) -> None:
    """FactorNet takes both strands as inputs of their own; with the preset it is conjoined."""
    folder = data_dir / "checkpoints" / "factornet_MAX"
    words = ("inspect", folder / "final_model.hdf5", "--architecture", folder / "model.json")
    data = run_json(*words)
    assert (data["kind"], data["inputs"]) == ("siamese", [])
    assert data["notes"][-1].startswith("siamese, but the file takes both strands, 'input_1' and 'input_2'")
    assert "--input perm:3,2,1,0,4,5" in data["notes"][-1]
    shown = " ".join(run(*words).stdout.split())
    assert "siamese network, which does not say how its strands belong together" in shown
    assert "lemma" not in shown  # columns for a converted network alone
    assert run_json(*words, "--arch", "factornet")["kind"] == "conjoined"


def test_state_dicts(tmp_path: Path) -> None:
    weights = net().state_dict()
    torch.save(weights, tmp_path / "s.pt")
    torch.save({"state_dict": weights}, tmp_path / "s.ckpt")
    save_file(weights, tmp_path / "s.safetensors")
    seen = [run_json("inspect", tmp_path / name) for name in ("s.pt", "s.ckpt", "s.safetensors")]
    for data in seen:
        assert data["kind"] == "state dict"
        assert data["tensors"]["0.weight"] == {"shape": [3, 4, 5], "dtype": "float32"}
        assert data["tensors"] == seen[0]["tensors"]
    result = run("inspect", tmp_path / "s.pt")
    assert "tensors without a network" in " ".join(result.stdout.split())
    assert "num_batches_tracked" in result.stdout
