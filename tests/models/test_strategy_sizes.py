"""Parameter counts of every strategy, by hand from the published sizes."""

from __future__ import annotations

import pytest

from rcproof.models import build
from tests.models.test_nets import BINARY, PROFILE, SIMULATED, parameters


@pytest.mark.parametrize(
    ("task", "strategy", "count"),
    [
        ("simulated", "conjoined", SIMULATED + 3 * 180 + 3),
        ("simulated", "rcps", SIMULATED + 3 * 180 + 3),
        ("simulated", "rcps-half", (10 * 4 * 21 + 10) + 2 * 10 + 3 * 90 + 3),
        ("simulated", "cj-rcps-early", SIMULATED + 3 * 180 + 3),
        ("simulated", "cj-rcps-later", SIMULATED + 3 * 180 + 3),
        ("simulated", "cj-rcps-all", SIMULATED + 3 * 180 + 3),
        ("binary", "conjoined", BINARY + 16 * 47 + 1),
        ("binary", "rcps", BINARY + 2 * (16 * 16 * 14) + 16 * 47 + 1),
        ("binary", "rcps-half", (8 * 4 * 15 + 8) + 2 * (8 * 16 * 14 + 8) + 3 * 16 + 8 * 47 + 1),
        ("binary", "cj-rcps-early", BINARY + 16 * 16 * 14 + 16 * 47 + 1),
        ("binary", "cj-rcps-later", BINARY + 16 * 16 * 14 + 16 * 47 + 1),
        ("binary", "cj-rcps-all", BINARY + 16 * 47 + 1),
        ("profile", "conjoined", PROFILE),
        ("profile", "rcps", PROFILE + 6 * 64 * 64 * 3),
        (
            "profile",
            "rcps-half",
            (32 * 4 * 21 + 32) + 6 * (32 * 64 * 3 + 32) + (2 * 32 * 75 + 2) + (2 * (2 + 2) + 2) + (2 * (32 + 1) + 2),
        ),
        ("profile", "cj-rcps-early", PROFILE + 3 * 64 * 64 * 3),
        ("profile", "cj-rcps-later", PROFILE + 4 * 64 * 64 * 3),
        ("profile", "cj-rcps-all", PROFILE),
    ],
)
def test_parameter_counts(task: str, strategy: str, count: int) -> None:
    assert parameters(build(task, strategy, seed=0)) == count


def test_published_rcps_channels() -> None:
    """RevCompConv1D of the published RCPS nets: kernels of (k, 2F, F), so (F, 2F, k) here; RCPS-half has F/2.

    Its profile head has (k, 2F, 1), as many weights as the uncoupled (2, F, k).
    """
    full, half = build("binary", "rcps", seed=0), build("binary", "rcps-half", seed=0)
    assert full.conv2.weight.shape == (16, 32, 14)
    assert half.conv2.weight.shape == (8, 16, 14)
    profile = build("profile", "rcps", seed=0)
    assert profile.get_submodule("dilated.5").weight.shape == (64, 128, 3)
    assert profile.profile_head.weight.shape == (2, 64, 75)
    assert profile.profile_head.weight.numel() == 9600
