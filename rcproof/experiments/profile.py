"""The data of the base-resolution tasks: windows of a genome, and what was counted in them.

Windows tile the chromosomes, so none overlaps another; those with too few counts are left out. The network reads
:data:`FLANK` more positions on each side than it predicts. Chromosomes are held out, as in the binary tasks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rcproof.errors import RcproofError
from rcproof.experiments.binary import DATA_SEED, GENOME_FILE, YEAST_CHROMOSOMES, HeldOut
from rcproof.experiments.dataset import SPLITS, Data, Split, one_hot_codes
from rcproof.experiments.readers import Genome, read_genome, read_npz
from rcproof.experiments.registry import cache_folder, fetch

STRIPE_FILE = "profile/yeast_stripeseq_5prime.npz"
ATAC_FILE = "profile/yeast_atac.bedpe.gz"
PREDICTED, READ = 500, 846
FLANK = (READ - PREDICTED) // 2
#: Windows with fewer counts say little about a profile.
FEWEST_COUNTS = 100
#: The ribosomal DNA, some 150 copies on two: its counts are of no one place.
RDNA = ("chrXII", 451_000, 470_000)
#: Tn5 cuts four positions inside both ends of a fragment; taken from each end alike, ρ reverses the cut sites.
TN5_SHIFT = 4
#: The paper's smoothing windows of the control track.
SMOOTHING = (1, 50)
MAPPABLE_LENGTH = 31
UNKNOWN_WORD = np.iinfo(np.uint64).max

Tracks = dict[str, NDArray[np.float32]]


def load_stripe() -> Data:
    """Transcription starts, plus and minus strand (N, 2, 500); no control track."""
    genome = read_genome(fetch(GENOME_FILE), cache_folder())
    arrays = read_npz(fetch(STRIPE_FILE))
    tracks = {c: np.zeros((2, len(codes)), dtype=np.float32) for c, codes in genome.chromosomes.items()}
    for index, chrom in enumerate(arrays["chroms"].tolist()):
        own = arrays["chrom"] == index
        strand = np.where(arrays["strand"][own], 0, 1)
        np.add.at(tracks[chrom], (strand, arrays["pos0"][own]), arrays["count"][own])
    return windows(genome, tracks, YEAST_CHROMOSOMES)


def load_atac() -> Data:
    """Cut sites (N, 1, 500), and the mappability about them as control track; rDNA is masked."""
    genome = read_genome(fetch(GENOME_FILE), cache_folder())
    tracks = read_cuts(genome)
    return windows(genome, tracks, YEAST_CHROMOSOMES, control=mappability(genome), masked=(RDNA,))


def read_cuts(genome: Genome) -> Tracks:
    """Cut sites of the fragments of the ATAC file, by position."""
    import pandas as pd

    table = pd.read_csv(fetch(ATAC_FILE), sep="\t", header=None, usecols=[0, 1, 2], names=["chrom", "start", "end"])
    tracks = {c: np.zeros((1, len(codes)), dtype=np.float32) for c, codes in genome.chromosomes.items()}
    for chrom, rows in table.groupby("chrom"):
        if chrom in tracks:
            track = tracks[str(chrom)]
            for sites in (rows["start"] + TN5_SHIFT, rows["end"] - 1 - TN5_SHIFT):
                places = sites.to_numpy()
                np.add.at(track[0], places[(places >= 0) & (places < track.shape[1])], 1.0)
    return tracks


def windows(
    genome: Genome,
    tracks: Tracks,
    held_out: HeldOut,
    control: Tracks | None = None,
    masked: tuple[tuple[str, int, int], ...] = (),
    fewest: int = FEWEST_COUNTS,
) -> Data:
    """Tiles of :data:`PREDICTED` positions with at least ``fewest`` counts, outside ``masked``, by split."""
    splits: dict[str, Split] = {}
    for name in SPLITS:
        out = [c for group in held_out.values() for c in group]
        chroms = [c for c in tracks if (c not in out if name == "train" else c in held_out[name])]
        places = [(c, s) for c in chroms for s in _tiles(tracks[c], fewest) if not _hidden(c, s, masked)]
        if not places:
            raise RcproofError(f"windows of the {name} split", got=f"none with {fewest} counts")
        order = torch.randperm(len(places), generator=torch.Generator().manual_seed(DATA_SEED)).tolist()
        splits[name] = _cut(genome, tracks, [places[i] for i in order], control)
    facts: dict[str, Any] = {"held_out": {k: list(v) for k, v in held_out.items()}, "fewest_counts": fewest}
    facts["counts_weight"] = counts_weight(splits["train"].targets[0])
    return Data.of(splits, facts=facts)


def counts_weight(profiles: Tensor) -> float:
    """A tenth of the median number of counts in a window, the usual balance of BPNet's two losses."""
    return round(float(profiles.float().sum(dim=(1, 2)).median()) / 10, 4)


def mappability(genome: Genome, length: int = MAPPABLE_LENGTH) -> Tracks:
    """Of the two words of ``length`` that begin and end at a position, the share that is in the genome once.

    A word and its reverse complement are one word, so the track of the reverse complement is the track reversed.
    """
    if not 1 <= length <= 31:
        raise RcproofError("length of mappability words", got=length, expected="1 to 31, to fit 64 bits")
    words = {c: _words(codes, length) for c, codes in genome.chromosomes.items() if len(codes) >= length}
    everywhere = np.concatenate(list(words.values()))
    order = np.argsort(everywhere, kind="stable")
    same = everywhere[order][1:] == everywhere[order][:-1]
    once = np.empty(len(everywhere), dtype=np.float32)
    once[order] = ~(np.append(same, False) | np.insert(same, 0, False))
    once[everywhere == UNKNOWN_WORD] = 0
    tracks, begin = {}, 0
    for chrom, codes in genome.chromosomes.items():
        track = np.zeros(len(codes), dtype=np.float32)
        if chrom in words:
            unique = once[begin : begin + len(words[chrom])]
            begin += len(unique)
            track[: len(unique)] += unique / 2
            track[length - 1 :] += unique / 2
        tracks[chrom] = track[None]
    return tracks


def smoothed(track: NDArray[np.float32], window: int) -> NDArray[np.float32]:
    """Running mean along the last axis over ``window`` positions about each, that of the reverse being the reverse.

    An even window counts its two ends by half.
    """
    if window == 1:
        return track
    kernel = np.ones(window + 1 - window % 2, dtype=np.float64)
    if window % 2 == 0:
        kernel[[0, -1]] = 0.5
    kernel /= kernel.sum()
    padded = np.pad(track, [(0, 0)] * (track.ndim - 1) + [(len(kernel) // 2, len(kernel) // 2)], mode="edge")
    return np.apply_along_axis(lambda row: np.convolve(row, kernel, mode="valid"), -1, padded).astype(np.float32)


def control_inputs(tracks: NDArray[np.float32]) -> tuple[Tensor, Tensor]:
    """The control track of windows (N, 1, L′) as (N, 1) log totals and (N, scales, L′) smoothed profiles."""
    scales = np.concatenate([smoothed(tracks, w) for w in SMOOTHING], axis=1)
    return torch.from_numpy(np.log1p(tracks.sum(axis=2))), torch.from_numpy(scales)


def _words(codes: NDArray[np.uint8], length: int) -> NDArray[np.uint64]:
    """Canonical words, one for each start; words with an unknown base are one word, which is nowhere unique."""
    count = len(codes) - length + 1
    forward, backward = np.zeros(count, dtype=np.uint64), np.zeros(count, dtype=np.uint64)
    bad = np.zeros(count, dtype=bool)
    for i in range(length):
        base = codes[i : i + count]
        bad |= base > 3
        known = np.minimum(base, 3).astype(np.uint64)
        forward = (forward << np.uint64(2)) | known
        backward |= (np.uint64(3) - known) << np.uint64(2 * i)
    found = np.minimum(forward, backward)
    found[bad] = UNKNOWN_WORD
    return found


def _tiles(track: NDArray[np.float32], fewest: int) -> list[int]:
    size = track.shape[1]
    starts = np.arange(FLANK, size - PREDICTED - FLANK + 1, PREDICTED)
    totals = np.concatenate([[0.0], np.cumsum(track.sum(axis=0, dtype=np.float64))])
    return [int(s) for s in starts[totals[starts + PREDICTED] - totals[starts] >= fewest]]


def _hidden(chrom: str, start: int, masked: tuple[tuple[str, int, int], ...]) -> bool:
    return any(c == chrom and start < end and begin < start + PREDICTED for c, begin, end in masked)


def _cut(genome: Genome, tracks: Tracks, places: list[tuple[str, int]], control: Tracks | None) -> Split:
    codes = np.stack([genome.window(c, s - FLANK, READ) for c, s in places])
    inputs: tuple[Tensor, ...] = (one_hot_codes(torch.from_numpy(codes)),)
    if control is not None:
        inputs += control_inputs(np.stack([control[c][:, s : s + PREDICTED] for c, s in places]))
    return Split(inputs, (torch.from_numpy(np.stack([tracks[c][:, s : s + PREDICTED] for c, s in places])),))
