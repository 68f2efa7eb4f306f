"""The kept checkpoint is a post-hoc conjoined network that converts."""

from __future__ import annotations

from pathlib import Path

import torch

import rcproof
from rcproof.verify import check_equivalence

KEPT = Path(__file__).resolve().parents[2] / "examples" / "sim_200_post_hoc.safetensors"


def test_kept_network_converts() -> None:
    conjoined = rcproof.load(KEPT).eval()
    x = torch.nn.functional.one_hot(torch.randint(0, 4, (6, 200)), 4).transpose(1, 2).double()
    conversion = rcproof.convert(conjoined.double())
    check_equivalence(conjoined.double(), conversion.model, x).raise_if_failed()
    with torch.no_grad():
        assert float(conjoined(x).std()) > 0.1
