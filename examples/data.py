"""The openly licensed binary ChIP-seq sets that the examples read, from the folder named by RCPROOF_DATA."""

from __future__ import annotations

import csv
import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class DataSet:
    """One set: where its files lie in the data folder, where they come from, and under which licence."""

    name: str
    title: str
    files: dict[str, str]
    origin: str
    licence: str

    def read(self, folder: Path, split: str) -> tuple[Tensor, Tensor]:
        """``train``, ``valid`` or ``test``: one-hot DNA (N, 4, L) in the order A C G T, and labels (N,); float32."""
        path = folder / self.files[split]
        return read_h5(path, split) if path.suffix == ".h5" else read_csv(path)

    def sha256(self, folder: Path) -> dict[str, str]:
        """The hash of each file."""
        return {f: hashlib.sha256((folder / f).read_bytes()).hexdigest() for f in sorted(set(self.files.values()))}


def _peaks(factor: str) -> DataSet:
    file = f"binary/chipseq_400bp/{factor}_400_h3k27ac.h5"
    return DataSet(
        factor.lower(),
        f"{factor} ChIP-seq peaks against H3K27ac background, 400 bp",
        dict.fromkeys(SPLITS, file),
        f"github.com/p-koo/exponential_activations, commit 7e48054b64a5, data/{factor}_400_h3k27ac.h5",
        "MIT",
    )


def _gue(number: int) -> DataSet:
    stem = f"binary/gue_tf/tf{number}"
    return DataSet(
        f"tf{number}",
        f"human TF ChIP-seq set tf{number} of the GUE benchmark, 101 bp",
        {"train": f"{stem}_train.csv.gz", "valid": f"{stem}_dev.csv.gz", "test": f"{stem}_test.csv.gz"},
        f"github.com/wds-seu/DeepGene, commit 486343e52123, data/GUE/tf/{number}",
        "Apache-2.0",
    )


SETS = {s.name: s for s in (_peaks("IRF1"), _peaks("ZBED2"), *(_gue(i) for i in range(5)))}


def read_h5(path: Path, split: str) -> tuple[Tensor, Tensor]:
    """``X_<split>`` (N, 4, L) and ``Y_<split>`` (N, 1) of an HDF5 file."""
    import h5py

    with h5py.File(path) as file:
        x, y = file[f"X_{split}"][:], file[f"Y_{split}"][:]
    return torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y[:, 0].astype(np.float32))


def read_csv(path: Path) -> tuple[Tensor, Tensor]:
    """Columns ``sequence,label``; letters other than A, C, G, T become zeros."""
    with gzip.open(path, "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    codes = np.array([[*row["sequence"].upper().encode()] for row in rows], dtype=np.uint8)
    one_hot = codes[:, None, :] == np.frombuffer(b"ACGT", dtype=np.uint8)[:, None]
    labels = np.array([float(row["label"]) for row in rows], dtype=np.float32)
    return torch.from_numpy(one_hot.astype(np.float32)), torch.from_numpy(labels)


def auroc(labels: Tensor, scores: Tensor) -> float:
    """Area under the ROC curve: the share of (positive, negative) pairs in the right order, ties counting half."""
    ordered, ranks = torch.unique(scores.double(), return_inverse=True)
    positive = torch.bincount(ranks[labels > 0.5], minlength=len(ordered)).double()
    negative = torch.bincount(ranks[labels <= 0.5], minlength=len(ordered)).double()
    below = negative.cumsum(0) - negative
    return float((positive * (below + 0.5 * negative)).sum() / (positive.sum() * negative.sum()))
