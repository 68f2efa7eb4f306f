"""``rcproof verify`` on broken files: each must be caught, by the numbers or by the certificate."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from rcproof.checkpoints.native import DIGEST, KEY
from rcproof.convert.certificate import tensor_sha256
from tests.cli.commands import assert_refused, conjoined, failed, profile, run, saved
from tests.cli.conftest import user_net


def rewrite(path: Path, change: Callable[[dict[str, Tensor], dict], None], rehash: bool = True) -> None:
    """Change tensors and description of a file, and write it back well-formed, with hashes that fit."""
    tensors = load_file(path)
    with safe_open(path, "pt") as handle:
        metadata = handle.metadata()
    document = json.loads(metadata[KEY])
    change(tensors, document)
    if rehash:
        document["sha256"] = {key: tensor_sha256(tensor) for key, tensor in tensors.items()}
    text = json.dumps(document)
    save_file(tensors, path, {**metadata, KEY: text, DIGEST: hashlib.sha256(text.encode()).hexdigest()})


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


def test_damage_is_bad_input(source: Path, converted: Path) -> None:
    """A weight that is not the one written is seen by its hash, before anything is compared."""
    rewrite(converted, nudge, rehash=False)
    assert_refused(["verify", source, converted], "'6.weight'", "damaged")


def test_one_layer_of_the_other_strand(source: Path, converted: Path) -> None:
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
    found = set(failed(plain, out, "--output", "length"))
    assert found == {"same representations", "equal to the source", "certificate"}
    rewrite(out, swap)
    assert "equal to the source" in failed(plain, out, "--output", "reversal")


def test_another_seed(source: Path, tmp_path: Path) -> None:
    other, out = saved(conjoined(1), tmp_path / "other.safetensors"), tmp_path / "rcps.safetensors"
    assert run("convert", other, "-o", out).exit_code == 0
    found = failed(source, out)
    assert {"equal to the source", "certificate"} <= set(found)
    assert all(name.startswith("source: ") for name in found["certificate"])


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
    assert failed(source, converted) == {"certificate": ["weights: every tensor is listed once"]}


def test_a_coupling_that_is_not_zero(source: Path, converted: Path) -> None:
    assert run("convert", source, "-o", converted, "--couple", "6").exit_code == 0

    def couple(tensors: dict[str, Tensor], _: dict) -> None:
        tensors["6.weight"][:, -1] = 0.5

    rewrite(converted, couple)
    found = failed(source, converted)
    assert {"equal to the source", "certificate"} == set(found)
    assert "weights: 6.weight: copy+zero of net.6.weight" in found["certificate"]


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
