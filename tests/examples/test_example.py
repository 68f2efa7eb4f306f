"""The example: the committed checkpoint, its metadata, and what it predicts before and after conversion."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import rcproof
from rcproof.checkpoints import read_header
from rcproof.conjoined import Conjoined
from rcproof.models import BinaryNet
from rcproof.strand import rc
from rcproof.verify import check_equivalence, draw_inputs

EXAMPLES = Path(__file__).parents[2] / "examples"
CHECKPOINT = EXAMPLES / "binary_irf1_conjoined.safetensors"


def verify(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / "verify_binary.py"), "--data", str(data), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=EXAMPLES.parent, check=False)


def test_the_file_is_small_and_says_where_it_comes_from() -> None:
    assert CHECKPOINT.stat().st_size <= 2**20
    stated = read_header(CHECKPOINT).metadata
    assert {"data", "origin", "licence", "data_sha256", "seed", "held_out_auroc", "training_script", "versions"} <= set(
        stated
    )
    assert stated["licence"] == "MIT"
    assert (EXAMPLES.parent / stated["training_script"]).is_file()
    assert 0.9 < float(stated["held_out_auroc"]) < 1


def test_it_is_the_papers_binary_net_conjoined() -> None:
    model = rcproof.load(CHECKPOINT)
    assert isinstance(model, Conjoined)
    assert (model.merge, len(model.finals(1))) == (("mean",), 1)
    net = BinaryNet(length=400)
    net.load_state_dict(model.net.state_dict())  # every key, every shape
    net.eval()
    x = torch.nn.functional.one_hot(torch.randint(4, (5, 400), generator=torch.Generator().manual_seed(0)), 4)
    x = x.transpose(1, 2).float()
    with torch.no_grad():
        want = torch.sigmoid((net(x) + net(rc(x))) / 2)
        torch.testing.assert_close(model(x), want, rtol=1e-5, atol=1e-7)
        assert (net(x) - net(rc(x))).abs().max() > 0.1  # its two strands do not agree by themselves


def test_converts_without_data() -> None:
    model = rcproof.load(CHECKPOINT)
    cases = draw_inputs([(4, 400)], model.inputs)
    conversion = rcproof.convert(model)
    assert conversion.certificate.share_tied == 1.0
    check_equivalence(model, conversion.model, cases).raise_if_failed()


def test_held_out_predictions_agree(data_dir: Path) -> None:
    done = verify(data_dir)
    assert done.returncode == 0, done.stdout + done.stderr
    stated = read_header(CHECKPOINT).metadata
    scores = [float(found) for found in re.findall(r"\b0\.\d{6}\b", done.stdout)]
    assert scores == pytest.approx(
        [float(stated["held_out_auroc"])] * 9, abs=1e-4
    )  # both networks in four rows; as stated
    sums = json.loads(stated["data_sha256"])
    lines = (data_dir / "MANIFEST.csv").read_text().splitlines()
    assert sums
    assert all(
        any(line.startswith(f"{f},") and h in line and ",MIT" in line for line in lines) for f, h in sums.items()
    )


def test_a_wrong_conversion_is_caught(data_dir: Path, tmp_path: Path) -> None:
    network = rcproof.convert(rcproof.load(CHECKPOINT)).model
    with torch.no_grad():
        network.get_submodule("conv3").weight[0, 0, 0] *= 1 + 1e-3
    rcproof.save(network, tmp_path / "wrong.safetensors")
    done = verify(data_dir, "--converted", str(tmp_path / "wrong.safetensors"))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "NO" in done.stdout


@pytest.mark.parametrize(("scores", "expected"), [([0, 1, 2, 3], 1.0), ([3, 2, 1, 0], 0.0), ([1, 1, 1, 1], 0.5)])
def test_auroc_on_known_answers(scores: list[int], expected: float) -> None:
    assert _data().auroc(torch.tensor([0.0, 0, 1, 1]), torch.tensor(scores)) == expected


def test_auroc_is_that_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    g = torch.Generator().manual_seed(0)
    labels = torch.randint(2, (300,), generator=g).float()
    scores = torch.randint(40, (300,), generator=g) / 40 + 0.2 * labels  # many ties
    assert _data().auroc(labels, scores) == pytest.approx(metrics.roc_auc_score(labels, scores), abs=1e-12)


@pytest.mark.parametrize("name", ["irf1", "tf0"])
def test_readers(data_dir: Path, name: str) -> None:
    chosen = _data().SETS[name]
    for split, counts in {"irf1": {"valid": 389, "test": 779}, "tf0": {"valid": 1000, "test": 1000}}[name].items():
        x, y = chosen.read(data_dir, split)
        assert x.shape == (counts, 4, {"irf1": 400, "tf0": 101}[name])
        assert y.shape == (counts,)
        assert (x.sum(dim=1) == 1).all()
        assert set(y.tolist()) == {0.0, 1.0}


def _data() -> object:
    sys.path.insert(0, str(EXAMPLES))
    try:
        import data
    finally:
        sys.path.remove(str(EXAMPLES))
    return data
