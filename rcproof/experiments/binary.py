"""The data of the tasks with labels: the simulated sets and the bound sequences, real and made."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rcproof.errors import RcproofError
from rcproof.experiments import simulate as simulation
from rcproof.experiments.dataset import SPLITS, Data, Split, fingerprint, one_hot_codes
from rcproof.experiments.readers import Genome, read_bed, read_genome, read_h5, read_table, stack_codes
from rcproof.experiments.registry import cache_folder, fetch

HeldOut = dict[str, tuple[str, ...]]

MOTIF_FILE = "simulated/encode_motifs_subset.txt"
GENOME_FILE = "profile/sacCer3.fa.gz"
#: Held-out chromosomes: of the yeast genome, and of the human one.
YEAST_CHROMOSOMES: HeldOut = {"valid": ("chrVII", "chrXIII"), "test": ("chrIV", "chrXV")}
HUMAN_CHROMOSOMES: HeldOut = {"valid": ("chr2", "chr19"), "test": ("chr1", "chr8", "chr21")}
ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII", "XIII", "XIV", "XV", "XVI")
#: Negatives have the GC content of their positive to within this.
GC_TOLERANCE = 0.02
DATA_SEED = simulation.DATA_SEED
NOISE_SEED = 4321


def load_simulated(length: int, noise: float = simulation.NOISE) -> Data:
    """A simulated set; see :mod:`~rcproof.experiments.simulate`. Only labels to train on are noisy."""
    motifs = simulation.read_motifs(fetch(MOTIF_FILE))
    rng = np.random.default_rng(simulation.DATA_SEED)
    total = sum(simulation.SIZES.values())
    made = simulation.simulate([motifs[m] for m in simulation.MOTIFS], total // len(simulation.MOTIFS), length, rng)
    order = rng.permutation(total)
    codes, labels = made.codes[order], made.labels[order]
    splits, begin = {}, 0
    for name in SPLITS:
        end = begin + simulation.SIZES[name]
        splits[name] = labelled(torch.from_numpy(codes[begin:end]), torch.from_numpy(labels[begin:end]))
        begin = end
    return noisy(Data.of(splits, facts={"generator_seed": simulation.DATA_SEED}), noise)


def noisy(data: Data, noise: float) -> Data:
    """Labels to train on flipped with probability ``noise``; those of the other splits stay clean.

    The other labels are kept beside them, so that losses can be compared like with like.
    """
    if noise == 0:
        return data
    rng = np.random.default_rng(NOISE_SEED)
    splits = {}
    for name in SPLITS:
        split = data.split(name)
        clean = split.targets[0]
        flips = torch.from_numpy(simulation.flipped(clean.numpy(), noise, rng))
        used, other = (flips, clean) if name == "train" else (clean, flips)
        splits[name] = Split(split.inputs, (used,), other)
    return Data.of(splits, sha256=data.sha256, facts={**data.facts, "label_noise": noise})


def load_gue(number: int) -> Data:
    """A GUE set: 101 bp, columns ``sequence`` and ``label``."""
    splits = {}
    for split, part in zip(SPLITS, ("train", "dev", "test"), strict=True):
        name = f"binary/gue_tf/tf{number}_{part}.csv.gz"
        table = read_table(fetch(name), ("sequence", "label"))
        labels = torch.tensor([int(v) for v in table["label"]], dtype=torch.uint8)[:, None]
        codes = stack_codes(table["sequence"], name)
        splits[split] = shuffled(codes, labels) if split == "train" else labelled(codes, labels)
    return Data.of(splits)


def load_peaks(factor: str) -> Data:
    """ChIP-seq peaks against H3K27ac background, 400 bp, one-hot already."""
    path = fetch(f"binary/chipseq_400bp/{factor}_400_h3k27ac.h5")
    splits = {}
    for name in SPLITS:
        x, y = read_h5(path, (f"X_{name}", f"Y_{name}"))
        order = _order(len(x)) if name == "train" else torch.arange(len(x))
        splits[name] = Split((x.to(torch.uint8)[order],), (y.to(torch.uint8)[order],))
    return Data.of(splits)


def load_bound(stem: str) -> Data:
    """Bound sequences of 100 bp, each against a dinucleotide-preserving shuffle of itself; held-out chromosomes."""
    import pandas as pd

    from rcproof.verify.fasta import read_fasta

    records = read_fasta(fetch(f"binary/ctcf_pu1/{stem}.fa.gz"), headers=True)
    length = pd.Series([len(r.sequence) for r in records]).mode()[0]
    kept = [r for r in records if len(r.sequence) == length and not set(r.sequence) - set("ACGT")]
    splits, dropped = {}, len(records) - len(kept)
    chroms = np.array([_chromosome(r.header) for r in kept])
    codes = stack_codes([r.sequence for r in kept], stem)
    for i, name in enumerate(SPLITS):
        rows = codes[torch.from_numpy(np.flatnonzero(in_split(chroms, name, HUMAN_CHROMOSOMES)))]
        negatives = dinucleotide_shuffled(rows, seed=DATA_SEED + i)
        both = torch.cat([rows, negatives])
        labels = torch.cat([torch.ones(len(rows)), torch.zeros(len(negatives))]).to(torch.uint8)[:, None]
        splits[name] = shuffled(both, labels)
    return Data.of(splits, facts={"dropped": dropped, "held_out": {k: list(v) for k, v in HUMAN_CHROMOSOMES.items()}})


def load_chipexo(factor: str, length: int = 1000) -> Data:
    """Yeast ChIP-exo peaks, windows cut from the genome about each; GC-matched genomic negatives."""
    genome = read_genome(fetch(GENOME_FILE), cache_folder())
    peaks = [
        (f"chr{ROMAN[int(chrom.removeprefix('chr')) - 1]}", start)
        for chrom, start, _, _ in read_bed(fetch(f"binary/yeast_chipexo/{factor}_CX.bed"))
        if chrom.removeprefix("chr").isdigit()
    ]
    return genomic(genome, peaks, length, YEAST_CHROMOSOMES)


def genomic(genome: Genome, centres: list[tuple[str, int]], length: int, held_out: HeldOut) -> Data:
    """Windows about ``centres`` against as many of the same chromosomes and GC content that overlap none of them."""
    rng = np.random.default_rng(DATA_SEED)
    inside = [
        (c, p - length // 2)
        for c, p in sorted(set(centres))
        if c in genome.chromosomes and 0 <= p - length // 2 <= len(genome.chromosomes[c]) - length
    ]
    chroms = np.array([c for c, _ in inside])
    splits: dict[str, Split] = {}
    for name in SPLITS:
        windows = [w for w, own in zip(inside, in_split(chroms, name, held_out), strict=True) if own]
        if not windows:
            raise RcproofError(f"peaks on the {name} chromosomes", got="none", fix="name other held-out chromosomes")
        negatives = gc_matched(genome, windows, inside, length, rng)
        codes = np.stack([genome.window(c, s, length) for c, s in (*windows, *negatives)])
        labels = torch.cat([torch.ones(len(windows)), torch.zeros(len(negatives))]).to(torch.uint8)[:, None]
        splits[name] = shuffled(torch.from_numpy(codes), labels)
    return Data.of(splits, facts={"held_out": {k: list(v) for k, v in held_out.items()}})


def gc_matched(
    genome: Genome,
    windows: list[tuple[str, int]],
    avoid: list[tuple[str, int]],
    length: int,
    rng: np.random.Generator,
) -> list[tuple[str, int]]:
    """For each window another of its GC content (±:data:`GC_TOLERANCE`) that overlaps none of ``avoid``.

    It lies on one of the chromosomes of ``windows``, so that splits stay apart. Where the genome has none so close, the
    tolerance is doubled.
    """
    candidates: list[NDArray[np.int64]] = []
    contents: list[NDArray[np.float64]] = []
    for chrom in sorted({c for c, _ in windows}):
        codes = genome.chromosomes[chrom]
        free = np.ones(len(codes) - length + 1, dtype=bool)
        for start in (s for c, s in avoid if c == chrom):
            free[max(0, start - length + 1) : start + length] = False
        gc = np.concatenate([[0], np.cumsum((codes == 1) | (codes == 2))])
        unknown = np.concatenate([[0], np.cumsum(codes > 3)])
        free &= unknown[length:] == unknown[: len(free)]
        starts = np.flatnonzero(free)
        candidates.append(np.stack([np.full(len(starts), len(candidates)), starts], axis=1))
        contents.append((gc[starts + length] - gc[starts]) / length)
    names = sorted({c for c, _ in windows})
    places, content = np.concatenate(candidates), np.concatenate(contents)
    order = np.argsort(content, kind="stable")
    places, content = places[order], content[order]
    chosen: list[tuple[str, int]] = []
    taken: set[tuple[str, int]] = set()
    for chrom, start in windows:
        codes = genome.window(chrom, start, length)
        wanted = float(((codes == 1) | (codes == 2)).mean())
        tolerance = GC_TOLERANCE
        while True:
            low, high = np.searchsorted(content, [wanted - tolerance, wanted + tolerance])
            drawn = rng.integers(low, high, 50).tolist() if high > low else []
            found = next((p for k in drawn if (p := (names[places[k, 0]], int(places[k, 1]))) not in taken), None)
            if found is not None:
                break
            tolerance *= 2
            if tolerance > 1:
                raise RcproofError(
                    "GC-matched negatives", got="no free window left", fix="use fewer or shorter windows"
                )
        taken.add(found)
        chosen.append(found)
    return chosen


def dinucleotide_shuffled(codes: Tensor, seed: int) -> Tensor:
    """A shuffle of each sequence (N, L) that keeps its dinucleotide counts exactly, by tangermeme."""
    from tangermeme.ersatz import dinucleotide_shuffle

    if not len(codes):
        return codes
    mixed = dinucleotide_shuffle(one_hot_codes(codes).to(torch.int8), n=1, random_state=seed)
    return mixed[:, 0].argmax(dim=1).to(torch.uint8)


def labelled(codes: Tensor, labels: Tensor) -> Split:
    """A split of one-hot sequences in the order given."""
    return Split((one_hot_codes(codes),), (labels,))


def shuffled(codes: Tensor, labels: Tensor) -> Split:
    """A split in a fixed random order, so that any first part is a random part."""
    order = _order(len(codes))
    return labelled(codes[order], labels[order])


def made_hash(data: Data) -> str:
    """The hash of everything that a task trains on and is tested on."""
    return fingerprint(*(t for name in SPLITS for t in (*data.split(name).inputs, *data.split(name).targets)))


def _order(count: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(DATA_SEED))


def _chromosome(header: str) -> str:
    found = re.search(r"\b(chr[^:\s]+):\d+-\d+", header)
    if found is None:
        raise RcproofError("FASTA header", got=header, expected="coordinates, as chr1:100-200")
    return found.group(1)


def in_split(chroms: Sequence[str] | NDArray[np.str_], name: str, held_out: HeldOut) -> NDArray[np.bool_]:
    """Which of some chromosomes belong to a split: those held out for it, or for training those held out for none."""
    if name == "train":
        return ~np.isin(chroms, [c for group in held_out.values() for c in group])
    return np.isin(chroms, held_out[name])
