"""Files and what is made of them: hashes, readers, splits, negatives, windows, control tracks."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import h5py
import numpy as np
import pyBigWig
import pytest
import torch

from rcproof.errors import RcproofError
from rcproof.experiments import binary, profile, readers, registry
from rcproof.experiments.dataset import SPLITS, Action, Data, Split
from rcproof.experiments.readers import Genome, encode
from rcproof.experiments.tasks import TASKS, data_of, task

RNG = np.random.default_rng(2)


def test_registry_is_whole() -> None:
    for name, source in registry.registry().items():
        assert re.fullmatch(r"[0-9a-f]{64}", source.sha256) and source.form in registry.FORMS, name
        assert source.licence not in ("", "none")
        assert (source.url is None) == (source.form == "derived")
        assert bool(source.origin_sha256) == (source.form == "gzipped")
    assert {f for t in TASKS.values() for f in t.files} <= set(registry.registry())


def test_every_file_has_its_hash(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RCPROOF_DATA", str(data_dir))
    for name, source in registry.registry().items():
        path = registry.fetch(name)
        assert path == data_dir / name
        if source.form == "gzipped":
            assert registry.hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest() == source.origin_sha256


def test_file_with_a_wrong_hash_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RCPROOF_DATA", str(tmp_path))
    name = "simulated/encode_motifs_subset.txt"
    (tmp_path / "simulated").mkdir()
    (tmp_path / name).write_text(">A\nN 1 0 0 0\n")
    with pytest.raises(
        RcproofError, match=rf"data file '{name}' is refused: its sha256 is wrong: got .*; expected 39f985"
    ):
        registry.fetch(name)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nothing.txt", r"data file: got 'nothing.txt'; expected a name of the registry"),
        (
            "binary/gue_tf/tf0_dev.csv.gz",
            r"is not in the folder that RCPROOF_DATA names. Get it from https://github.com/",
        ),
        ("profile/sacCer3.fa.gz", r"is not in the folder that RCPROOF_DATA names. Set RCPROOF_DATA to a folder that"),
    ],
)
def test_missing_file(name: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RCPROOF_DATA", str(tmp_path))
    with pytest.raises(RcproofError, match=text):
        registry.fetch(name)


def test_download_is_by_pooch_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    import pooch

    monkeypatch.delenv("RCPROOF_DATA", raising=False)
    asked = []

    def retrieve(url: str, known_hash: str, fname: str, path: Path) -> str:
        asked.append((url, known_hash))
        path.mkdir(parents=True, exist_ok=True)
        (path / fname).write_bytes(b"x")
        return str(path / fname)

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    name = "binary/gue_tf/tf0_dev.csv.gz"
    source = registry.registry()[name]
    found = registry.fetch(name)
    assert found == own_cache / "data/binary/gue_tf/tf0_dev.csv"
    assert asked == [(f"https://github.com/wds-seu/DeepGene/raw/{source.commit}/data/GUE/tf/0/dev.csv",
                      f"sha256:{source.origin_sha256}")]  # fmt: skip
    with pytest.raises(RcproofError, match="is refused: its sha256 is wrong"):
        registry.fetch(name)  # what lies in the cache now is not the file
    with pytest.raises(RcproofError, match=r"data file 'profile/sacCer3.fa.gz' has no address. Set RCPROOF_DATA"):
        registry.fetch("profile/sacCer3.fa.gz")


def test_genome_plain_and_gzipped(tmp_path: Path) -> None:
    text = ">chrA one\nACGTN\nacgt\n>chrB\nTTT\n"
    (tmp_path / "g.fa").write_text(text)
    (tmp_path / "z.fa.gz").write_bytes(gzip.compress(text.encode()))
    for name in ("g.fa", "z.fa.gz"):
        genome = readers.read_genome(tmp_path / name, tmp_path / "cache")
        assert genome.chromosomes["chrA"].tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3]
        assert genome.window("chrB", 1, 2).tolist() == [3, 3]
    assert not list(tmp_path.glob("*.fai"))  # nothing is written beside a user's file
    with pytest.raises(RcproofError, match=r"window chrB:2-4: got past the end; expected within 0-3"):
        genome.window("chrB", 2, 2)
    with pytest.raises(RcproofError, match=r"chromosome: got 'chrC'; expected one of chrA, chrB"):
        genome.window("chrC", 0, 1)


def test_bed(tmp_path: Path) -> None:
    path = tmp_path / "a.bed"
    path.write_text("chr1\t5\t9\tx\t0\t-\nchr2\t0\t1\ty\t0\t.\n")
    assert readers.read_bed(path) == [("chr1", 5, 9, "-"), ("chr2", 0, 1, ".")]
    path.write_text("chr1\t9\t5\n")
    with pytest.raises(RcproofError, match=r"a.bed: chr1: got 9-5; expected 0 <= start < end"):
        readers.read_bed(path)
    path.write_text("hello\n")
    with pytest.raises(RcproofError, match=r"a.bed is no BED file"):
        readers.read_bed(path)


def bigwig(path: Path, values: np.ndarray, chrom: str = "chrA") -> None:
    with pyBigWig.open(str(path), "w") as track:
        track.addHeader([(chrom, len(values))])
        track.addEntries(chrom, 0, values=values.astype(float).tolist(), span=1, step=1)


def test_bigwig(tmp_path: Path) -> None:
    values = np.arange(20)
    bigwig(tmp_path / "a.bw", values)
    found = readers.read_bigwig(tmp_path / "a.bw", [("chrA", 3, 7), ("chrA", 16, 20)])
    assert found.tolist() == [[3, 4, 5, 6], [16, 17, 18, 19]]
    with pytest.raises(RcproofError, match=r"window chrA:18-22 of a.bw: got 20; expected a window within"):
        readers.read_bigwig(tmp_path / "a.bw", [("chrA", 18, 22)])
    (tmp_path / "b.bw").write_text("no")
    with pytest.raises(RcproofError, match=r"b.bw is no bigWig file"):
        readers.read_bigwig(tmp_path / "b.bw", [])


def test_npz_h5_and_tables(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(3))
    assert readers.read_npz(tmp_path / "a.npz")["x"].tolist() == [0, 1, 2]
    np.savez(tmp_path / "p.npz", x=np.array([{}], dtype=object))
    with pytest.raises(RcproofError, match="p.npz is no npz file of numbers"):
        readers.read_npz(tmp_path / "p.npz")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["X"] = np.ones((2, 3))
    assert readers.read_h5(tmp_path / "a.h5", ("X",))[0].shape == (2, 3)
    with pytest.raises(RcproofError, match=r"a.h5: .*; expected arrays Y"):
        readers.read_h5(tmp_path / "a.h5", ("Y",))
    (tmp_path / "a.csv").write_bytes(gzip.compress(b"sequence,label\nACG,1\n"))
    assert readers.read_table(tmp_path / "a.csv", ("label",)) == {"label": ["1"]}
    with pytest.raises(RcproofError, match=r"a.csv: .*; expected columns none"):
        readers.read_table(tmp_path / "a.csv", ("none",))


def dinucleotides(row: np.ndarray) -> list[int]:
    return np.bincount(row[:-1].astype(int) * 4 + row[1:], minlength=16).tolist()


def test_shuffle_keeps_dinucleotides_exactly() -> None:
    codes = torch.from_numpy(RNG.integers(0, 4, (40, 100)).astype(np.uint8))
    mixed = binary.dinucleotide_shuffled(codes, seed=1)
    again = binary.dinucleotide_shuffled(codes, seed=1)
    assert torch.equal(mixed, again) and not torch.equal(mixed, binary.dinucleotide_shuffled(codes, seed=2))
    for a, b in zip(codes.numpy(), mixed.numpy(), strict=True):
        assert dinucleotides(a) == dinucleotides(b)
        assert (a != b).mean() > 0.3
    # The mutant: a shuffle of single bases does not.
    plain = codes.numpy()[:, RNG.permutation(100)]
    assert any(dinucleotides(a) != dinucleotides(b) for a, b in zip(codes.numpy(), plain, strict=True))


def toy_genome() -> Genome:
    return Genome({f"chr{i}": RNG.choice(4, 60_000, p=[0.3, 0.2, 0.2, 0.3]).astype(np.uint8) for i in range(4)})


HELD_OUT = {"valid": ("chr2",), "test": ("chr3",)}


def test_negatives_match_gc_and_overlap_nothing() -> None:
    genome = toy_genome()
    centres = [(f"chr{i}", int(p)) for i in range(4) for p in RNG.integers(500, 59_000, 12)]
    windows = [(c, p - 100) for c, p in centres if c in ("chr0", "chr1")]
    chosen = binary.gc_matched(genome, windows, [(c, p - 100) for c, p in centres], 200, np.random.default_rng(0))
    assert len(set(chosen)) == len(windows)

    def gc(place: tuple[str, int]) -> float:
        codes = genome.window(*place, 200)
        return float(((codes == 1) | (codes == 2)).mean())

    for window, other in zip(windows, chosen, strict=True):
        assert abs(gc(window) - gc(other)) <= binary.GC_TOLERANCE + 1e-9
        assert other[0] in ("chr0", "chr1")
        assert all(c != other[0] or abs(p - 100 - other[1]) >= 200 for c, p in centres)


def test_held_out_chromosomes() -> None:
    genome = toy_genome()
    centres = [(f"chr{i}", int(p)) for i in range(4) for p in RNG.integers(500, 59_000, 12)]
    data = binary.genomic(genome, centres, 200, HELD_OUT)
    texts = {c: genome.chromosomes[c].tobytes() for c in genome.chromosomes}
    allowed = {"train": ("chr0", "chr1"), "valid": ("chr2",), "test": ("chr3",)}
    for name in SPLITS:
        split = data.split(name)
        codes = split.inputs[0].argmax(dim=1).to(torch.uint8).numpy()
        assert all(any(row.tobytes() in texts[c] for c in allowed[name]) for row in codes)
        assert split.targets[0].float().mean() == 0.5


def overlaps(data: Data) -> int:
    """How many sequences of a split are in another, on either strand."""
    seen: dict[bytes, str] = {}
    found = 0
    for name in SPLITS:
        for x in data.split(name).inputs[0]:
            both = {x.numpy().tobytes(), torch.flip(x, (0, 1)).numpy().tobytes()}
            found += any(seen.get(key, name) != name for key in both)
            seen |= dict.fromkeys(both, name)
    return found


@pytest.mark.parametrize("name", ["sim_200", "IRF1", "Reb1", "stripe"])
def test_splits_are_disjoint(name: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RCPROOF_DATA", str(data_dir))
    data = data_of(task(name))
    assert overlaps(data) == 0
    leaky = Data(
        data.train, data.valid, Split(tuple(x[:5] for x in data.train.inputs), tuple(y[:5] for y in data.train.targets))
    )
    assert overlaps(leaky) == 5
    for split in SPLITS:
        assert (data.split(split).inputs[0].sum(dim=1) <= 1).all()


def mirrored(genome: Genome, tracks: profile.Tracks, swap: bool) -> tuple[Genome, profile.Tracks]:
    """The other strand of a genome and of what was counted on it."""
    codes = {c: np.where(x < 4, 3 - x, 4)[::-1].astype(np.uint8) for c, x in genome.chromosomes.items()}
    return Genome(codes), {c: (t[::-1, ::-1] if swap else t[:, ::-1]).copy() for c, t in tracks.items()}


def by_sequence(split: Split) -> dict[bytes, tuple[torch.Tensor, ...]]:
    return {
        split.inputs[0][i].numpy().tobytes(): tuple(t[i] for t in (*split.inputs[1:], *split.targets))
        for i in range(len(split))
    }


@pytest.mark.parametrize("stranded", [True, False])
def test_windows_of_the_other_strand_are_the_reverse_complement(stranded: bool) -> None:
    # 60,000 − 2 · 173 is no multiple of 500, so chromosomes are cut to a length at which tiles mirror onto tiles.
    size = 20 * profile.PREDICTED + 2 * profile.FLANK
    genome = Genome({c: x[:size] for c, x in toy_genome().chromosomes.items()})
    tracks = {c: RNG.poisson(0.4, (2 if stranded else 1, size)).astype(np.float32) for c in genome.chromosomes}
    control = None if stranded else profile.mappability(genome, 9)
    other, other_tracks = mirrored(genome, tracks, swap=stranded)
    data = profile.windows(genome, tracks, HELD_OUT, control)
    turned = profile.windows(other, other_tracks, HELD_OUT, None if stranded else profile.mappability(other, 9))
    inputs = ("reversal",) if stranded else ("reversal", "fixed", "length")
    right, wrong = (
        Action.of(inputs, (rep,)) for rep in (("reversal", "length") if stranded else ("length", "reversal"))
    )
    agree = {}
    for name, action in (("right", right), ("wrong", wrong)):
        x, y = action(*data.test.rows(slice(None)))
        expected = by_sequence(Split((x[0].to(torch.uint8), *x[1:]), y))
        found = by_sequence(turned.test)
        assert set(expected) == set(found) and len(found) > 5
        agree[name] = all(torch.allclose(a.float(), b, atol=1e-5) for key in found
                          for a, b in zip(found[key], expected[key], strict=True))  # fmt: skip
    assert agree["right"]
    if stranded:  # the mutant: a forgotten strand swap
        assert not agree["wrong"]


def test_mappability_by_brute_force() -> None:
    genome = Genome({"a": encode("ACGTACGTTTGACCA"), "b": encode("TTGACNAAGTC"), "c": encode("AC")})
    found = profile.mappability(genome, 4)

    def words(codes: np.ndarray) -> list[tuple[int, ...] | None]:
        made: list[tuple[int, ...] | None] = []
        for i in range(len(codes) - 3):
            word = tuple(int(v) for v in codes[i : i + 4])
            made.append(None if 4 in word else min(word, tuple(3 - v for v in reversed(word))))
        return made

    everything = [w for c in genome.chromosomes.values() for w in words(c)]
    for chrom, codes in genome.chromosomes.items():
        once = [w is not None and everything.count(w) == 1 for w in words(codes)]
        expected = [
            (sum(once[i : i + 1]) + (once[i - 3] if 0 <= i - 3 < len(once) else 0)) / 2 for i in range(len(codes))
        ]
        assert found[chrom][0].tolist() == expected, chrom


@pytest.mark.parametrize("window", [1, 4, 5, 50])
def test_smoothing_commutes_with_reversal(window: int) -> None:
    track = RNG.random((2, 3, 120)).astype(np.float32)
    found = profile.smoothed(track, window)
    assert found.shape == track.shape
    assert np.allclose(profile.smoothed(track[..., ::-1], window), found[..., ::-1], atol=1e-6)
    if window == 5:
        assert found[0, 0, 50] == pytest.approx(track[0, 0, 48:53].mean(), rel=1e-5)


def test_masked_windows_are_left_out() -> None:
    genome = toy_genome()
    tracks = {c: np.ones((1, len(x)), dtype=np.float32) for c, x in genome.chromosomes.items()}
    whole = profile.windows(genome, tracks, HELD_OUT)
    less = profile.windows(genome, tracks, HELD_OUT, masked=(("chr0", 0, 30_000),))
    assert len(whole.train) - len(less.train) == 60 and len(whole.test) == len(less.test)


def test_stripe_starts_lie_on_initiators(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most transcription starts of yeast are a purine behind a pyrimidine, on their own strand."""
    monkeypatch.setenv("RCPROOF_DATA", str(data_dir))
    split = data_of(task("stripe")).test
    codes = split.inputs[0].argmax(dim=1)
    inside = codes[:, profile.FLANK : profile.FLANK + profile.PREDICTED]
    before, after = (
        codes[:, profile.FLANK - 1 : -profile.FLANK - 1],
        codes[:, profile.FLANK + 1 :][:, : profile.PREDICTED],
    )
    purine = (inside == 0) | (inside == 2)
    plus = purine & ((before == 1) | (before == 3))
    minus = ~purine & ((after == 0) | (after == 2))
    counts = split.targets[0]
    shares = [(counts[:, k] * mask).sum() / counts[:, k].sum() for k, mask in ((0, plus), (1, minus))]
    assert all(share > 0.75 for share in shares), shares
    swapped = (counts[:, 1] * plus).sum() / counts[:, 1].sum()
    assert swapped < 0.5  # strands that were swapped would be seen
