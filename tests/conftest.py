"""What every test shares: the data folder, hypothesis profiles, and the number of threads."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest
import torch

# Networks here are small: more threads cost more than they give, and under xdist every worker has its own.
torch.set_num_threads(1)

# A first example may pay for a trace or a compilation, so no profile has a deadline. `ci` draws the same
# examples every time; the default draws new ones, and a failure prints the seed and the example.
hypothesis.settings.register_profile("default", deadline=None, print_blob=True)
hypothesis.settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default"))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with the real data and checkpoints, which the repository does not hold."""
    folder = os.environ.get("RCPROOF_DATA")
    if not folder:
        pytest.skip("needs real data: set RCPROOF_DATA to the folder that holds its MANIFEST.csv (see CONTRIBUTING.md)")
    path = Path(folder)
    if not (path / "MANIFEST.csv").is_file():
        pytest.fail(f"RCPROOF_DATA is set to {folder!r}, but there is no MANIFEST.csv in it")
    return path
