"""``rcproof verify SOURCE`` alone: what is symmetric passes, what is not fails, and it says what it did not look at."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

import rcproof
from tests.cli.commands import assert_refused, net, run, saved


def test_conjoined(tmp_path: Path) -> None:
    path = saved(rcproof.Conjoined(net(), final="sigmoid").eval(), tmp_path / "a.safetensors")
    done = run("verify", path)
    assert done.exit_code == 0, done.output
    assert "equivariant under these representations" in done.output
    assert "was not compared with anything" in " ".join(done.output.split())


def test_one_strand_is_not_symmetric(tmp_path: Path) -> None:
    done = run("verify", saved(net(), tmp_path / "a.safetensors"))
    assert done.exit_code == 1
    assert "NOT equivariant" in done.output


def test_zeros_are_symmetric_and_fail_all_the_same(tmp_path: Path) -> None:
    dead = net()
    with torch.no_grad():
        for parameter in dead.parameters():
            nn.init.zeros_(parameter)
    done = run("verify", saved(dead, tmp_path / "a.safetensors"))
    assert done.exit_code == 1
    assert "depends on the inputs" in done.output


def test_representations_are_the_networks_own(tmp_path: Path) -> None:
    path = saved(rcproof.Conjoined(net()).eval(), tmp_path / "a.safetensors")
    assert_refused(["verify", path, "--input", "length"], "says its own representations")
