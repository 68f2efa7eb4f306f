import gzip

import pytest
import torch

from rcproof.errors import CheckpointError, RcproofError, ShapeError
from rcproof.strand import dna, rc
from rcproof.verify import FastaRecord, fasta, one_hot, read_fasta

TEXT = ">chr1:1-8 a peak\nACGT\nacgn\n\n>second\r\nTTRY\r\n"


@pytest.mark.parametrize("zipped", [False, True])
def test_reading(tmp_path, zipped):
    path = tmp_path / "x.fa"  # gzip is seen by content
    path.write_bytes(gzip.compress(TEXT.encode()) if zipped else TEXT.encode())
    assert read_fasta(path) == [FastaRecord("chr1:1-8", "ACGTACGN"), FastaRecord("second", "TTRY")]


def test_long_lines_come_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(fasta, "_PIECE", 5)
    path = tmp_path / "x.fa"
    path.write_text(">a long header with A!\nACGTACGTACGTNN\nAC\n>b\nAC!")
    with pytest.raises(CheckpointError) as error:
        read_fasta(path)
    assert str(error.value) == "x.fa, line 5, sequence 'b': got the letter '!'; expected A, C, G, T or N"
    path.write_text(">a long header with A!\nACGTACGTACGTNN\nAC\n>b\nAC")
    assert read_fasta(path) == [FastaRecord("a", "ACGTACGTACGTNNAC"), FastaRecord("b", "AC")]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "x.fa holds no sequences: expected FASTA: a line that starts with >, then bases"),
        (b"\n\n", "x.fa holds no sequences: expected FASTA: a line that starts with >, then bases"),
        (b"ACGT\n", "x.fa, line 1: text before the first header: got 'ACGT'; expected a line that starts with >"),
        (b">a\nACGT\n>b\n\n>c\nA\n", "x.fa, line 3: the sequence 'b' is empty"),
        (b">a\nACGT\n>b", "x.fa, line 3: the sequence 'b' is empty"),
        (b">a\nAC\nG-T\n", "x.fa, line 3, sequence 'a': got the letter '-'; expected A, C, G, T or N"),
        (
            b">a\nacgu\n",
            "x.fa, line 2, sequence 'a': got the letter 'U'; expected A, C, G, T or N. RNA: replace U by T",
        ),
        (b"\x89PNG\xff\xfe", "x.fa is not a text file: expected FASTA, plain or gzipped"),
        (
            gzip.compress(TEXT.encode(), mtime=0)[:-12],
            "x.fa cannot be read: got EOFError: Compressed file ended before the end-of-stream marker was reached",
        ),
        (b">a\n" + b"A" * 101, "x.fa is too long: got more than 100 bases. Raise max_bases"),
        (gzip.compress(b">a\n" + b"A" * 10**6, mtime=0), "x.fa is too long: got more than 100 bases. Raise max_bases"),
    ],
)
def test_bad_files(tmp_path, data, text):
    path = tmp_path / "x.fa"
    path.write_bytes(data)
    with pytest.raises(CheckpointError) as error:
        read_fasta(path, max_bases=100)
    assert str(error.value) == text


def test_no_file(tmp_path):
    with pytest.raises(CheckpointError, match=r"no such FASTA file: got .*missing\.fa$"):
        read_fasta(tmp_path / "missing.fa")
    with pytest.raises(CheckpointError, match="cannot be read: got IsADirectoryError"):
        read_fasta(tmp_path)


def test_encoding():
    x = one_hot(["ACGT", "NRac"])
    assert x.dtype == torch.float64
    assert torch.equal(x[0], torch.eye(4, dtype=torch.float64))
    assert x[1].sum(0).tolist() == [0, 0, 1, 1]
    assert torch.equal(rc(one_hot(["AACG"])), one_hot(["CGTT"]))
    other = dna("TGAC")
    assert torch.equal(rc(one_hot(["AACG"], alphabet="TGAC"), other), one_hot(["CGTT"], alphabet="TGAC"))


def test_cut_and_pad():
    assert torch.equal(one_hot(["AACGTT"], 2), one_hot(["CG"]))
    assert torch.equal(one_hot(["AACGT"], 2), one_hot(["AC"]))
    assert torch.equal(one_hot(["CG", "AACGTTA"], 5), one_hot(["NCGNN", "ACGTT"]))


@pytest.mark.parametrize(
    ("args", "options", "error", "text"),
    [
        (([],), {}, RcproofError, "no sequences to encode: expected at least one"),
        (
            (["A"],),
            {"alphabet": "ACGU"},
            RcproofError,
            "base order: got 'ACGU'; expected the letters A, C, G, T once each",
        ),
        ((["A"],), {"fit": "left"}, RcproofError, "fit: got 'left'; expected 'centre' or 'exact'"),
        ((["A"], 0), {}, ShapeError, "length of the sequences: got 0; expected at least 1"),
        ((["AX"],), {}, RcproofError, "sequence '#0': got the letter 'X'; expected A, C, G, T or N"),
        (
            (["AC", "ACG"],),
            {},
            ShapeError,
            "length of sequence '#1': got 3; expected 2, as the first sequence has. Give a length to cut or pad to",
        ),
        (
            ([FastaRecord("p", "ACG")], 4),
            {"fit": "exact"},
            ShapeError,
            "length of sequence 'p': got 3; expected 4. Use fit='centre' to cut or pad",
        ),
    ],
)
def test_encoding_mistakes(args, options, error, text):
    with pytest.raises(error) as caught:
        one_hot(*args, **options)
    assert str(caught.value) == text


def test_real_file(data_dir):
    path = data_dir / "binary" / "ctcf_pu1" / "ctcf.fa.gz"
    if not path.is_file():
        pytest.skip("RCPROOF_DATA has no binary/ctcf_pu1/ctcf.fa.gz")
    records = read_fasta(path)
    assert len(records) == 39184
    assert one_hot(records[:50], 100).shape == (50, 4, 100)
