"""Audits of networks that people published: how far apart their strands are, and that conversion closes the gap.

The networks that read one strand answer differently on the two strands, by more than rounding by orders of magnitude.
Converted as the audit advises, they agree to rounding, on the same sequences.
"""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import rcproof
from rcproof.checkpoints import ReadOptions, read_model
from rcproof.checkpoints.siamese import as_conjoined
from rcproof.conjoined import Conjoined
from rcproof.verify import draw_inputs
from tests.cli.commands import run, run_json, saved

pytest.importorskip("h5py", reason="reads the Keras files and the data (the extra `keras`)")

PU1 = "binary/ctcf_pu1/pu1.fa.gz"
IRF1 = "binary/chipseq_400bp/IRF1_400_h3k27ac.h5"
EXAMPLE = Path(__file__).parents[2] / "examples" / "binary_irf1_conjoined.safetensors"


@dataclass(frozen=True)
class Published:
    """A checkpoint of one strand, what its output is, and how far apart its strands are at least.

    ``largest`` is of the largest difference, ``flips`` of the share of decisions, both on DNA that PU.1 binds.
    """

    words: tuple[str, ...]
    kind: str
    largest: float
    flips: float | None


PUBLISHED = {
    "tfmodisco_SPI1": Published(
        ("tfmodisco_SPI1/modelWeights.h5", "--architecture", "tfmodisco_SPI1/modelJson.json"), "score", 0.1, 0.002
    ),
    "mpradragonn": Published(
        ("mpradragonn/ConvModel.hdf5", "--architecture", "mpradragonn/model.json"), "value", 0.15, None
    ),
    "dragonn": Published(
        ("dragonn/multi_layer_dragonn.weights.h5", "--architecture", "dragonn/multi_layer_dragonn.arch.json"),
        "score", 0.3, 0.03,
    ),
    "explainn": Published(("explainn/model_epoch_best_4.pth", "--arch", "explainn"), "logit", 0.8, 0.08),
}  # fmt: skip


def gap(words: tuple[Any, ...], kind: str) -> dict[str, Any]:
    """The audit of one output of a kind."""
    (output,) = run_json("audit", *words, "--kind", kind)["audit"]["outputs"]
    assert output["not_finite"] == 0
    return dict(output)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published(name: str, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = PUBLISHED[name]
    words = tuple(str(data_dir / "checkpoints" / w) if "/" in w else w for w in one.words)
    real = ("--fasta", data_dir / PU1, "--n", 40)
    before = run_json("audit", *words, *real, "--kind", one.kind)
    (output,) = before["audit"]["outputs"]
    assert output["max_difference"] > one.largest
    assert output["relative_max"] > 1e9 * 1e-12
    assert one.flips is None or output["flipped_share"] > one.flips
    assert output["worst"][0]["coordinates"].startswith("chr")
    assert gap((*words, "--n", 16), one.kind)["relative_max"] > 1e9 * 1e-12  # random DNA

    monkeypatch.chdir(tmp_path)
    advised = shlex.split(before["advice"]["command"])
    assert run(*advised[1:]).exit_code == 0
    after = gap((advised[-1], *real), one.kind)
    assert after["relative_max"] <= 1e-12
    assert after["scale"] > 0
    assert not after["flipped_share"]
    assert after["pearson"] > 1 - 1e-12


@pytest.mark.parametrize("name", ["factornet_MAX", "factornet_E2F1"])
def test_factornets_branch(name: str, data_dir: Path, tmp_path: Path) -> None:
    """FactorNet is conjoined as published; its branch alone is not symmetric, and converting mends it."""
    folder = data_dir / "checkpoints" / name
    found = read_model(
        folder / "final_model.hdf5", ReadOptions(architecture=str(folder / "model.json"), arch="factornet")
    )
    conjoined = as_conjoined(found, found.inputs).model
    assert isinstance(conjoined, Conjoined)
    branch = saved(conjoined.net, tmp_path / "branch.safetensors")
    options = ("--input", "perm:3,2,1,0,4,5", "--shape", "6,1002")
    assert gap((branch, *options, "--n", 8), "score")["relative_max"] > 1e4 * 1e-12  # drawn tracks: the sigmoid is full
    assert run("convert", branch, *options, "--merge", "mean", "-o", tmp_path / "c.safetensors").exit_code == 0

    # Everywhere mappable, with few cuts by DNase, as the network knows its tracks.
    (case,) = draw_inputs([(4, 1002)], "reversal", kinds=["one-hot"], batch=32)
    generator = torch.Generator().manual_seed(0)
    cuts = 0.3 * torch.rand((32, 1, 1002), generator=generator, dtype=torch.float64)
    x = torch.cat([case.tensors[0], torch.ones_like(cuts), cuts], 1)  # the order of bigwig.txt
    (before,) = rcproof.audit(conjoined.net, x, options[1], "fixed").outputs
    assert before.max_difference > 0.05
    for model in (conjoined, rcproof.load(tmp_path / "c.safetensors")):
        assert rcproof.audit(model, x, options[1], "fixed").symmetric()


def test_rcps_as_published(data_dir: Path) -> None:
    """A trained RCPS network agrees with itself; told the wrong representation, it does not."""
    path = data_dir / "checkpoints" / "bpnet_rcps_reb1" / "reb1_chipexo.h5"
    inputs = ("--input", "reversal", "--input", "fixed", "--input", "length", "--n", 8)
    right = run_json("audit", path, *inputs, "--output", "reversal", "--output", "reversal")
    assert right["symmetric"] is True
    assert [o["kind"] for o in right["audit"]["outputs"]] == ["log-counts", "profile"]
    wrong = run_json("audit", path, *inputs, "--output", "reversal", "--output", "length")
    assert wrong["symmetric"] is False
    assert wrong["audit"]["outputs"][1]["jsd_max"] > 1e-3
    assert "--input, --output" in wrong["advice"]["text"][0]


def test_jensen_on_irf1(data_dir: Path, tmp_path: Path) -> None:
    """T9 measured: the branch of a trained network on held-out ChIP-seq, conjoined post hoc, and its two strands."""
    whole = rcproof.load(EXAMPLE)
    assert isinstance(whole, Conjoined)
    data = run_json(
        "audit", saved(whole.net, tmp_path / "branch.safetensors"), "--data", data_dir / IRF1, "--kind", "logit"
    )
    (found,) = data["losses"]
    assert data["audit"]["outputs"][0]["max_difference"] > 0.1
    assert found["label"] == "T9.bce.logits"
    assert found["conjoined"] < found["mean"] == (found["own"] + found["other"]) / 2
    assert found["least_gap"] >= -1e-15
    assert found["holds"] is True

    import h5py

    with h5py.File(data_dir / IRF1) as file:  # an independent reading, and the whole network's own probabilities
        x, y = (torch.from_numpy(file[name][:]).double() for name in ("X_test", "Y_test"))
    assert len(x) == data["audit"]["examples"] == 779
    whole = whole.double()
    with torch.no_grad():
        u, v = whole.net(x), whole.net(x.flip(1, 2))
        p = ((u + v) / 2).sigmoid()
        torch.testing.assert_close(whole(x[:20]), p[:20], rtol=1e-12, atol=1e-12)
    expected = float(torch.nn.functional.binary_cross_entropy(p, y))
    assert found["conjoined"] == pytest.approx(expected, rel=1e-10)
    # The gap as T9 has it: ½ log of (1 + e^u)(1 + e^v)/(1 + e^((u+v)/2))², whatever the labels.
    softplus = torch.nn.functional.softplus
    gaps = (softplus(u) + softplus(v)) / 2 - softplus((u + v) / 2)
    assert math.isclose(found["mean"] - found["conjoined"], float(gaps.mean()), rel_tol=1e-9)
