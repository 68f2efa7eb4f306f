"""The simulated sets against what their recipe implies, by counting."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rcproof.errors import RcproofError
from rcproof.experiments import binary
from rcproof.experiments import simulate as simulation
from rcproof.experiments.dataset import SPLITS, Data, Split
from rcproof.experiments.simulate import Simulated, flipped, read_motifs, simulate, smoothed

# A motif that is almost certain, so that its instances can be read off the sequences.
SURE = np.eye(4)[[0, 1, 1, 2, 0, 3, 3, 2]]


@pytest.fixture(scope="module")
def made() -> Simulated:
    return simulate([SURE], 4000, 80, np.random.default_rng(5))


def faults(some: Simulated, width: int = 8) -> list[str]:
    """What does not fit the recipe; limits are five standard deviations of the counts."""
    found = []
    n = len(some.codes)
    rows, starts, reverse = some.instances.T
    inside = np.zeros(some.codes.shape, dtype=bool)
    for row, start in zip(rows, starts, strict=True):
        if inside[row, start : start + width].any():
            found.append("overlap")
        inside[row, start : start + width] = True
    background = some.codes[~inside]
    shares = np.bincount(background, minlength=4) / len(background)
    if not np.all(np.abs(shares - simulation.BACKGROUND) < 5 * np.sqrt(0.25 / len(background))):
        found.append("background")
    # Poisson(2): P(0) + P(1) = .4060, P(2) = .2707, the rest .3233.
    numbers = np.bincount(np.bincount(rows, minlength=n), minlength=4)
    if numbers[0] or len(numbers) > 4:
        found.append("clip")
    if not np.all(np.abs(numbers[1:4] / n - [0.4060, 0.2707, 0.3233]) < 5 * np.sqrt(0.25 / n)):
        found.append("poisson")
    if not abs(reverse.mean() - 0.5) < 5 * np.sqrt(0.25 / len(reverse)):
        found.append("strand")
    letters = np.array([0, 1, 1, 2, 0, 3, 3, 2])
    for strand, expected in ((0, letters), (1, 3 - letters[::-1])):
        own = reverse == strand
        seen = some.codes[rows[own][:, None], starts[own][:, None] + np.arange(width)]
        if own.any() and not (seen == expected).mean() > 0.99:
            found.append("letters")
    spread = starts[np.bincount(rows, minlength=n)[rows] == 1] / (some.codes.shape[1] - width)
    if not abs(spread.mean() - 0.5) < 5 * np.sqrt(1 / 12 / len(spread)):
        found.append("places")
    return sorted(set(found))


def test_recipe(made: Simulated) -> None:
    assert not faults(made)
    assert made.labels.shape == (4000, 1) and made.labels.all()


def mutants(made: Simulated) -> dict[str, Simulated]:
    """What a wrong generator would give."""
    rows, starts, reverse = made.instances.T
    uniform = made.codes.copy()
    inside = np.zeros(made.codes.shape, dtype=bool)
    for row, start in zip(rows, starts, strict=True):
        inside[row, start : start + 8] = True
    rng = np.random.default_rng(0)
    uniform[~inside] = rng.integers(0, 4, int((~inside).sum()))
    first = np.unique(rows, return_index=True)[1]
    no_flip = made.codes.copy()
    for row, start, turned in zip(rows, starts, reverse, strict=True):
        if turned:
            no_flip[row, start : start + 8] = 3 - no_flip[row, start : start + 8][::-1]
    complement_only = made.codes.copy()
    for row, start, turned in zip(rows, starts, reverse, strict=True):
        if turned:
            complement_only[row, start : start + 8] = complement_only[row, start : start + 8][::-1]
    return {
        "uniform background": replace(made, codes=uniform),
        "one instance each": replace(made, instances=made.instances[first]),
        "no reverse complements": replace(made, codes=no_flip, instances=made.instances * [1, 1, 0]),
        "complemented, not reversed": replace(made, codes=complement_only),
    }


@pytest.mark.parametrize(
    "name", ["uniform background", "one instance each", "no reverse complements", "complemented, not reversed"]
)
def test_mutant_is_caught(made: Simulated, name: str) -> None:
    assert faults(mutants(made)[name])


def test_same_seed_same_sequences() -> None:
    first, again, other = (simulate([SURE], 50, 60, np.random.default_rng(s)) for s in (3, 3, 4))
    assert np.array_equal(first.codes, again.codes) and np.array_equal(first.instances, again.instances)
    assert not np.array_equal(first.codes, other.codes)


def test_pseudocount() -> None:
    assert smoothed(SURE)[0].tolist() == pytest.approx([1.001 / 1.004, *[0.001 / 1.004] * 3])


def test_too_short_for_three_instances() -> None:
    with pytest.raises(RcproofError, match="length of simulated sequences: got 40; expected at least 45"):
        simulate([SURE], 5, 40, np.random.default_rng(0))


def test_motif_file(tmp_path: Path) -> None:
    path = tmp_path / "motifs.txt"
    path.write_text(">A_1\tx\ty\nN 0.25 0.25 0.25 0.25\n>B_1\nA 1 0 0 0\nC 0 1 0 0\n")
    found = read_motifs(path)
    assert found["A_1"].tolist() == [[0.25] * 4] and found["B_1"].tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]]
    path.write_text(">A_1\nN 0.25 0.25 0.25\n")
    with pytest.raises(RcproofError, match=r"motifs.txt, line 2: got N 0.25 0.25 0.25; expected a letter and four"):
        read_motifs(path)


def label_faults(data: Data, clean: dict[str, torch.Tensor], noise: float) -> list[str]:
    """Labels that are wrong where they should be right, or the other way round."""
    found = []
    for name in SPLITS:
        wrong = (data.split(name).targets[0] != clean[name]).float().mean().item()
        expected = noise if name == "train" else 0.0
        if not abs(wrong - expected) <= (0.03 if name == "train" else 0.0):
            found.append(name)
    return found


def test_noise_on_training_labels_only() -> None:
    labels = {n: torch.from_numpy(np.random.default_rng(i).integers(0, 2, (2000, 3), dtype=np.uint8))
              for i, n in enumerate(SPLITS)}  # fmt: skip
    data = Data.of({n: Split((torch.zeros(2000, 4, 5),), (y,)) for n, y in labels.items()})
    noisy = binary.noisy(data, 0.2)
    assert not label_faults(noisy, labels, 0.2)
    assert torch.equal(noisy.train.other, labels["train"])  # type: ignore[arg-type]
    assert not torch.equal(noisy.test.other, labels["test"])  # type: ignore[arg-type]
    # Mutants: noise on every split, and on none.
    spoiled = Data.of({n: Split(s.inputs, (s.targets[0] if n == "train" else s.other,)) for n in SPLITS
                       if (s := noisy.split(n))})  # fmt: skip
    assert label_faults(spoiled, labels, 0.2) == ["valid", "test"]
    assert label_faults(data, labels, 0.2) == ["train"]


def test_flips_are_independent() -> None:
    flips = flipped(np.zeros((20000, 2), dtype=np.uint8), 0.2, np.random.default_rng(1))
    assert abs(flips.mean() - 0.2) < 0.01
    assert abs((flips[:, 0] & flips[:, 1]).mean() - 0.04) < 0.01
    with pytest.raises(RcproofError, match="label noise: got 1.5; expected a probability"):
        flipped(np.zeros((2, 2), dtype=np.uint8), 1.5, np.random.default_rng(1))


def test_real_set(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RCPROOF_DATA", str(data_dir))
    data = binary.load_simulated(200)
    assert data.sizes == {"train": 12000, "valid": 9000, "test": 9000}
    for name in ("valid", "test"):
        assert (data.split(name).targets[0].sum(dim=1) == 1).all()  # one motif type each
    assert (data.train.other.sum(dim=1) == 1).all()  # type: ignore[union-attr]
    assert abs((data.train.targets[0] != data.train.other).float().mean().item() - 0.2) < 0.01
    assert (data.train.inputs[0].sum(dim=1) == 1).all()
    # The same bytes wherever it is made with the pinned NumPy.
    assert binary.made_hash(data) == binary.made_hash(binary.load_simulated(200))
