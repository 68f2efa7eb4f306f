"""Your own data under every strategy: FASTA with labels, or a genome with a BED file and perhaps bigWig tracks."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rcproof.errors import RcproofError
from rcproof.experiments import binary, profile
from rcproof.experiments.dataset import SPLITS, Data, Split, one_hot_codes
from rcproof.experiments.readers import read_bed, read_bigwig, read_genome, read_table, stack_codes
from rcproof.experiments.registry import cache_folder, sha256_of
from rcproof.experiments.tasks import BINARY_SETTINGS, BPNET, PROFILE_SETTINGS, TASKS, Task

#: Shares of the splits where nothing says what is held out.
SHARES = {"train": 0.7, "valid": 0.15, "test": 0.15}
Chromosomes = tuple[str, ...]


def own_task(
    name: str,
    *,
    fasta: Path | None = None,
    labels: Path | None = None,
    genome: Path | None = None,
    bed: Path | None = None,
    bigwigs: tuple[Path, ...] = (),
    length: int | None = None,
    valid: Chromosomes = (),
    test: Chromosomes = (),
) -> Task:
    """A task of your own files.

    - ``fasta`` and ``labels``: sequences of one length, and a CSV table with a column or several of 0 and 1, perhaps
      ``name`` (of the sequence; else in order) and ``split`` (``train``, ``valid``, ``test``; else at random).
    - ``genome`` and ``bed``: windows of ``length`` (default 1000) about the middle of each region, against windows of
      the same chromosomes and GC content.
    - ``genome``, ``bed`` and one bigWig (unstranded) or two (plus, minus): base-resolution profiles about the middles.

    ``valid`` and ``test`` are the held-out chromosomes; by default every seventh and every fifth of those with regions.
    Raises :class:`~rcproof.errors.RcproofError` for a combination that is none of these, or files that do not fit.
    """
    if name in TASKS or not name or not all(c.isalnum() or c in "-_." for c in name) or name.startswith("."):
        raise RcproofError(
            "name of your own task", got=repr(name), expected="letters, digits, - _ . and none of the tasks that exist"
        )
    given = {"--fasta": fasta, "--labels": labels, "--genome": genome, "--bed": bed, "--bigwig": bigwigs or None}
    names = {k for k, v in given.items() if v is not None}
    paths = [p for p in (fasta, labels, genome, bed, *bigwigs) if p is not None]
    for path in paths:
        if not path.is_file():
            raise RcproofError(f"file {str(path)!r} does not exist")
    hashes = {path.name: sha256_of(path) for path in paths}
    if names == {"--fasta", "--labels"}:
        assert fasta is not None and labels is not None
        size, tasks = _read(fasta, labels)[0].shape[1], _read(fasta, labels)[1].shape[1]
        return Task(
            name, "binary", f"sequences of your own, {size} bp", {"length": size, "tasks": tasks},
            partial(load_labelled, fasta, labels), (), BINARY_SETTINGS, own_sha256=hashes,
        )  # fmt: skip
    if names in ({"--genome", "--bed"}, {"--genome", "--bed", "--bigwig"}):
        assert genome is not None and bed is not None
        held_out = _held_out(bed, valid, test)
        if not bigwigs:
            return Task(
                name, "binary", "regions of your own against windows of equal GC", {"length": length or 1000},
                partial(load_regions, genome, bed, length or 1000, held_out), (), BINARY_SETTINGS, own_sha256=hashes,
            )  # fmt: skip
        if len(bigwigs) > 2:
            raise RcproofError("--bigwig", got=f"{len(bigwigs)} files", expected="one, or two: plus and minus strand")
        return Task(
            name, "profile", "profiles of your own", {"length": profile.READ, **BPNET, "n_control": 0},
            partial(load_profiles, genome, bed, bigwigs, held_out), (), PROFILE_SETTINGS, stranded=len(bigwigs) == 2,
            own_sha256=hashes,
        )  # fmt: skip
    raise RcproofError(
        "files of your own",
        got=", ".join(sorted(names)) or "none",
        expected="--fasta and --labels, or --genome and --bed, perhaps with --bigwig",
    )


def load_labelled(fasta: Path, labels: Path) -> Data:
    """The splits of a FASTA file with labels."""
    codes, values, parts = _read(fasta, labels)
    splits = {}
    for split in SPLITS:
        rows = torch.tensor([i for i, part in enumerate(parts) if part == split], dtype=torch.long)
        if not len(rows):
            raise RcproofError(f"sequences of the {split} split", got="none", expected="some in each split")
        splits[split] = binary.shuffled(codes[rows], values[rows])
    return Data.of(splits)


def load_regions(genome: Path, bed: Path, length: int, held_out: binary.HeldOut) -> Data:
    """Windows about regions, and GC-matched others."""
    centres = [(chrom, (start + end) // 2) for chrom, start, end, _ in read_bed(bed)]
    return binary.genomic(read_genome(genome, cache_folder()), centres, length, held_out)


def load_profiles(genome: Path, bed: Path, bigwigs: tuple[Path, ...], held_out: binary.HeldOut) -> Data:
    """Profiles about regions; those too near an end of their chromosome are left out."""
    codes = read_genome(genome, cache_folder())
    splits: dict[str, Split] = {}
    regions = [
        (c, (start + end) // 2 - profile.PREDICTED // 2) for c, start, end, _ in read_bed(bed) if c in codes.chromosomes
    ]
    inside = [
        (c, s) for c, s in sorted(set(regions))
        if profile.FLANK <= s <= len(codes.chromosomes[c]) - profile.PREDICTED - profile.FLANK
    ]  # fmt: skip
    for split in SPLITS:
        places = [
            p for p, own in zip(inside, binary.in_split([c for c, _ in inside], split, held_out), strict=True) if own
        ]
        if not places:
            raise RcproofError(f"regions on the {split} chromosomes", got="none", fix="name other held-out chromosomes")
        order = torch.randperm(len(places), generator=torch.Generator().manual_seed(binary.DATA_SEED)).tolist()
        places = [places[i] for i in order]
        tracks = [read_bigwig(b, [(c, s, s + profile.PREDICTED) for c, s in places]) for b in bigwigs]
        target = torch.from_numpy(np.abs(np.stack(tracks, axis=1)))  # minus strands are often kept as negative numbers
        sequences = np.stack([codes.window(c, s - profile.FLANK, profile.READ) for c, s in places])
        splits[split] = Split((one_hot_codes(torch.from_numpy(sequences)),), (target,))
    weight = profile.counts_weight(splits["train"].targets[0])
    return Data.of(splits, facts={"held_out": {k: list(v) for k, v in held_out.items()}, "counts_weight": weight})


def _read(fasta: Path, labels: Path) -> tuple[Tensor, Tensor, list[str]]:
    """Base codes, labels and the split of each sequence."""
    from rcproof.verify.fasta import read_fasta

    records = read_fasta(fasta)
    table = read_table(labels, None)
    columns = [c for c in table if c not in ("name", "split")]
    rows = len(next(iter(table.values()), []))
    order = list(range(len(records)))
    if not columns:
        raise RcproofError(f"labels {labels.name}", got=f"columns {', '.join(table)}", expected="a column of 0 and 1")
    if "name" in table:
        where = {name: i for i, name in enumerate(table["name"])}
        lost = [r.name for r in records if r.name not in where]
        if lost:
            raise RcproofError(f"labels {labels.name}", got=f"none for {lost[0]!r}", expected="one row a sequence")
        order = [where[r.name] for r in records]
    elif rows != len(records):
        raise RcproofError(
            f"labels {labels.name}", got=f"{rows} rows for {len(records)} sequences", expected="one each"
        )
    wrong = next((v for c in columns for v in table[c] if v not in ("0", "1")), None)
    if wrong is not None:
        raise RcproofError(f"a label in {labels.name}", got=repr(wrong), expected="0 or 1")
    values = torch.tensor([[int(table[c][i]) for c in columns] for i in order], dtype=torch.uint8)
    codes = stack_codes([r.sequence for r in records], fasta.name)
    if "split" not in table:
        return codes, values, _random_parts(len(records))
    parts = [table["split"][i] for i in order]
    unknown = next((p for p in parts if p not in SPLITS), None)
    if unknown is not None:
        raise RcproofError(f"a split in {labels.name}", got=repr(unknown), expected=", ".join(SPLITS))
    return codes, values, parts


def _random_parts(count: int) -> list[str]:
    order = torch.randperm(count, generator=torch.Generator().manual_seed(binary.DATA_SEED)).tolist()
    valid, test = round(count * SHARES["valid"]), round(count * SHARES["test"])
    parts = ["train"] * count
    for rank, i in enumerate(order):
        if rank < valid + test:
            parts[i] = "valid" if rank < valid else "test"
    return parts


def _held_out(bed: Path, valid: Chromosomes, test: Chromosomes) -> binary.HeldOut:
    chroms = sorted({chrom for chrom, *_ in read_bed(bed)})
    if not test:
        test = tuple(c for c in chroms[::5] if c not in valid)
    if not valid:
        rest = [c for c in chroms if c not in test]
        valid = tuple(rest[::7])
    if both := set(valid) & set(test):
        raise RcproofError("held-out chromosomes", got=f"{min(both)} twice", expected="each in one split")
    if missing := [c for c in (*valid, *test) if c not in chroms]:
        raise RcproofError("held-out chromosome", got=missing[0], expected=f"one of {', '.join(chroms)}")
    return {"valid": valid, "test": test}
