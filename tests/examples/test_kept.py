"""The kept checkpoints are post-hoc conjoined networks that convert."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import rcproof
from rcproof.verify import check_equivalence

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.parametrize(("task", "length"), [("sim_200", 200), ("irf1", 400)])
def test_kept_network_converts(task: str, length: int) -> None:
    conjoined = rcproof.load(EXAMPLES / f"{task}_post_hoc.safetensors").eval()
    x = torch.nn.functional.one_hot(torch.randint(0, 4, (6, length)), 4).transpose(1, 2).double()
    conversion = rcproof.convert(conjoined.double())
    check_equivalence(conjoined.double(), conversion.model, x).raise_if_failed()
    with torch.no_grad():
        assert float(conjoined(x).std()) > 0.1
