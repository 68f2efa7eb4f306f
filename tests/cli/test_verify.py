"""``rcproof verify``: right pairs of files pass, and every broken one is caught."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

import rcproof
from rcproof.checkpoints.native import KEY
from rcproof.cli.verify import same_action
from tests.cli.commands import conjoined, net, profile, run, run_json, saved
from tests.cli.conftest import user_net


@pytest.fixture
def converted(source: Path, tmp_path: Path) -> Path:
    path = tmp_path / "rcps.safetensors"
    assert run("convert", source, "-o", path).exit_code == 0
    return path


def rewrite(path: Path, change: Callable[[dict[str, Tensor], dict], None]) -> None:
    """Change tensors and description of a file, and write it back well-formed."""
    tensors = load_file(path)
    with safe_open(path, "pt") as handle:
        metadata = handle.metadata()
    document = json.loads(metadata[KEY])
    change(tensors, document)
    save_file(tensors, path, {**metadata, KEY: json.dumps(document)})


def failed(*words: object) -> dict[str, list[str]]:
    """The failed checks of a run that ends with exit code 1, by title."""
    result = run("verify", *words, "--json")
    assert result.exit_code == 1, result.output
    data = json.loads(result.stdout)
    assert data["passed"] is False
    assert "FAIL" in run("verify", *words).stdout
    return {
        report["title"]: [c["name"] for c in report["checks"] if not c["passed"]]
        for report in data["checks"]
        if not report["passed"]
    }


def test_right(source: Path, converted: Path) -> None:
    result = run("verify", source, converted)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert "all checks hold" in result.stdout
    data = run_json("verify", source, converted, "--seed", 4)
    assert [report["title"] for report in data["checks"]] == [
        "same representations",
        "equal to the source",
        "equivariance",
        "stacked equals batched",
        "independence of examples",
        "certificate",
    ]
    names = {check["name"] for check in data["checks"][1]["checks"]}
    assert {"some-n: output", "one-hot: gradient of output by input 0"} <= names
    assert sum("length" in name for name in names) >= 4
    assert data["checks"][1]["seed"] == 4
    assert data["certificate"] is True


def test_coupled(source: Path, converted: Path) -> None:
    assert run("convert", source, "-o", converted, "--couple", "all").exit_code == 0
    assert run("verify", source, converted).exit_code == 0


def test_state_dict(nets: str, state: Path, tmp_path: Path) -> None:
    options = ["--model", f"{nets}:Score", "--merge", "max", "--final", "tanh"]
    out = tmp_path / "rcps.safetensors"
    assert run("convert", state, *options, "-o", out).exit_code == 0
    assert run("verify", state, out, *options).exit_code == 0
    assert "equal to the source" in failed(state, out, *options[:2])
    assert "equal to the source" in failed(state, out, *options[:4])


def test_without_certificate(source: Path, tmp_path: Path) -> None:
    out = saved(rcproof.convert(rcproof.load(source)).model, tmp_path / "bare.safetensors")
    result = run("verify", source, out)
    assert result.exit_code == 0, result.output
    assert "no certificate" in result.stdout


def test_an_equal_action_by_another_name(tmp_path: Path) -> None:
    plain, out = saved(net(), tmp_path / "plain.safetensors"), tmp_path / "rcps.safetensors"
    assert run("convert", plain, "-o", out).exit_code == 0
    assert run("verify", plain, out, "--input", "dna:ACGT").exit_code == 0


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("reversal", "perm:3,2,1,0", True),
        ("reversal", "perm:1,0,3,2", False),
        ("length", "fixed", False),
        ("pairs:1", "perm:1,0", True),
        ("pairs:1", "pairs:2", False),
        ("perm:1,0", "perm:-1,-0", False),
        ("perm:0,1", "length", True),
        ("tokens:3,2,1,0", "perm:3,2,1,0", False),
    ],
)
def test_same_action(a: str, b: str, same: bool) -> None:
    assert same_action(a, b) is same_action(b, a) is same


# -- mutants ------------------------------------------------------------------------------------------


def nudge(tensors: dict[str, Tensor], _: dict) -> None:
    tensors["6.weight"][0, 0] += 1e-6


def flip_taps(tensors: dict[str, Tensor], _: dict) -> None:
    tensors["3.weight"] = tensors["3.weight"].flip(2).contiguous()


def wrong_complement(tensors: dict[str, Tensor], _: dict) -> None:
    tensors["0.weight"] = tensors["0.weight"][:, [1, 0, 3, 2]].contiguous()


def other_strand(tensors: dict[str, Tensor], _: dict) -> None:
    tensors["0.weight"] = tensors["0.weight"].flip(1, 2).contiguous()


def not_a_number(tensors: dict[str, Tensor], _: dict) -> None:
    tensors["3.weight"][0, 0, 0] = torch.nan


def zero(tensors: dict[str, Tensor], _: dict) -> None:
    for key in tensors:
        if tensors[key].is_floating_point():
            tensors[key].zero_()


def other_merge(_: dict[str, Tensor], document: dict) -> None:
    for node in document["net"]["graph"]["nodes"]:
        if node["op"] == "merge":
            node["target"] = "sum"


def other_input(_: dict[str, Tensor], document: dict) -> None:
    for node in document["net"]["graph"]["nodes"]:
        if node["op"] == "input":
            node["rep"] = "length"


@pytest.mark.parametrize("mutate", [nudge, flip_taps, wrong_complement, not_a_number, zero, other_merge, other_input])
def test_mutant(source: Path, converted: Path, mutate: Callable[[dict[str, Tensor], dict], None]) -> None:
    rewrite(converted, mutate)
    assert "equal to the source" in failed(source, converted)


def test_the_other_strands_weights_are_the_same_function_but_not_the_same_weights(
    source: Path, converted: Path
) -> None:
    """Reading the other strand first changes nothing only if every layer does; one alone is another function."""
    rewrite(converted, other_strand)
    found = failed(source, converted)
    assert {"equal to the source", "certificate"} <= set(found)


def test_swapped_strands_of_a_profile(tmp_path: Path) -> None:
    plain, out = saved(profile(), tmp_path / "plain.safetensors"), tmp_path / "rcps.safetensors"
    assert run("convert", plain, "--output", "reversal", "-o", out).exit_code == 0

    def swap(tensors: dict[str, Tensor], _: dict) -> None:
        for key in ("2.weight", "2.bias"):
            tensors[key] = tensors[key].flip(0).contiguous()

    assert run("verify", plain, out, "--output", "reversal").exit_code == 0
    assert set(failed(plain, out, "--output", "length")) == {"same representations", "equal to the source"}
    rewrite(out, swap)
    assert "equal to the source" in failed(plain, out, "--output", "reversal")


def test_another_seed(source: Path, tmp_path: Path) -> None:
    other, out = saved(conjoined(1), tmp_path / "other.safetensors"), tmp_path / "rcps.safetensors"
    assert run("convert", other, "-o", out).exit_code == 0
    found = failed(source, out)
    assert {"equal to the source", "certificate"} <= set(found)
    assert all("sha256 of the source" in n or " of net." in n for n in found["certificate"])


def test_other_inputs(nets: str, source: Path, tmp_path: Path) -> None:
    torch.save(user_net(nets, "Control").state_dict(), tmp_path / "s.pt")
    options = ["--model", f"{nets}:Control", "--input", "reversal", "--input", "length"]
    out = tmp_path / "two.safetensors"
    assert run("convert", tmp_path / "s.pt", *options, "-o", out).exit_code == 0
    assert failed(source, out)["same representations"] == ["inputs"]


@pytest.mark.parametrize("key", ["result_sha256", "source_sha256", "source", "how", "name"])
def test_a_false_certificate(source: Path, converted: Path, key: str) -> None:
    def lie(_: dict[str, Tensor], document: dict) -> None:
        document["certificate"]["tensors"][0][key] = "0" * 64

    rewrite(converted, lie)
    assert set(failed(source, converted)) == {"certificate"}


def test_a_certificate_that_hides_a_tensor(source: Path, converted: Path) -> None:
    rewrite(converted, lambda _, document: document["certificate"]["tensors"].pop())
    assert failed(source, converted) == {"certificate": ["every tensor is listed once"]}


def test_a_coupling_that_is_not_zero(source: Path, converted: Path) -> None:
    assert run("convert", source, "-o", converted, "--couple", "6").exit_code == 0

    def couple(tensors: dict[str, Tensor], _: dict) -> None:
        tensors["6.weight"][:, -1] = 0.5

    rewrite(converted, couple)
    found = failed(source, converted)
    assert {"equal to the source", "certificate"} == set(found)
    assert "6.weight: copy+zero of net.6.weight" in found["certificate"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d.update(certificate={"schema": "other"}),
        lambda d: d.update(certificate=[1]),
        lambda d: d["certificate"].update(tensors=[{"name": 1}]),
        lambda d: d.update(input_shapes=[[4, 10**12]]),
        lambda d: d.update(input_shapes=[["x"]]),
        lambda d: d.update(input_shapes=7),
    ],
)
@pytest.mark.parametrize("command", ["verify", "inspect"])
def test_a_damaged_description_is_bad_input(
    source: Path, converted: Path, damage: Callable[[dict], None], command: str
) -> None:
    rewrite(converted, lambda _, document: damage(document))
    result = run(command, *([source] if command == "verify" else []), converted)
    if command == "inspect" and result.exit_code == 0:
        return  # shapes are only shown
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
