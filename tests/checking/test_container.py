"""Files that are no safetensors files, or that two readers could read in two ways: one line, quickly."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from rcproof.checking import container, described
from rcproof.checking.check import check_file
from rcproof.checking.container import opened
from rcproof.checkpoints import save
from rcproof.conjoined import Conjoined
from rcproof.convert import ConvertConfig, convert
from rcproof.convert.certificate import SCHEMA, STATEMENT, Certificate, tensor_sha256
from rcproof.errors import CheckpointError
from tests.checking.forging import Forged, one_line


@pytest.fixture
def path(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = Conjoined(nn.Sequential(nn.Conv1d(4, 2, 3), nn.ReLU()), outputs="reversal").eval()
    save(convert(model, ConvertConfig(verify=False)), tmp_path / "a.safetensors", {"who": "nobody"})
    return tmp_path / "a.safetensors"


def turned_away(path: Path, reason: str) -> None:
    """CheckpointError, in one line, in a second."""
    start = time.perf_counter()
    with pytest.raises(CheckpointError, match=reason) as error:
        check_file(path)
    assert time.perf_counter() - start < 5
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 500


def test_what_a_file_holds(path: Path) -> None:
    """The hashes are those of the converter, which makes them from tensors and not from bytes."""
    forged = Forged.of(path)
    with opened(path) as found:
        assert found.metadata["who"] == "nobody"
        assert set(found.tensors) == {"0.weight", "0.bias"}
        with found.hashing() as hashes:
            assert hashes.result() == {n: tensor_sha256(forged.tensor(n)) for n in forged.tensors}


def test_the_words_of_the_schema_are_those_of_the_converter() -> None:
    """The checker does not import them."""
    fields = Certificate.__dataclass_fields__
    assert described.CERTIFICATE == SCHEMA
    assert described.STATEMENT == STATEMENT
    assert list(fields["not_covered"].default) == described.NOT_COVERED
    assert set(fields) == described._CERTIFICATE


# -- bytes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda d: b"", "is empty"),
        (lambda d: d[:5], "5 bytes"),
        (lambda d: d[:100], "a header of"),
        (lambda d: d[:-1], "damaged"),
        (lambda d: d + b"\0", "bytes after the last tensor"),
        (lambda d: (1 << 63).to_bytes(8, "little") + d[8:], "a header of"),
        (lambda d: d[:8] + b"[" + d[9:], "damaged"),
        (lambda d: d[:8] + b"\xff" + d[9:], "damaged"),
        (lambda d: bytes(len(d)), "damaged"),
    ],
)
def test_damaged_bytes(damage: Callable[[bytes], bytes], reason: str, path: Path) -> None:
    path.write_bytes(damage(path.read_bytes()))
    turned_away(path, reason)


def test_no_file(tmp_path: Path) -> None:
    turned_away(tmp_path / "missing", "does not exist")
    turned_away(tmp_path, "is not a file")


# -- the header -------------------------------------------------------------------------------------------------------


def header_of(forged: Forged, path: Path) -> dict:
    data = forged.write(path).read_bytes()
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda h: h["0.weight"].update(data_offsets=[0, 0]), "0.weight"),
        (lambda h: h["0.bias"].update(data_offsets=h["0.weight"]["data_offsets"]), "damaged"),  # overlapping
        (lambda h: h["0.weight"].update(data_offsets=[-8, 88]), "sizes that are no sizes"),
        (lambda h: h["0.weight"].update(data_offsets=[0, 96, 96]), "damaged"),
        (lambda h: h["0.weight"].update(data_offsets=[0.0, 96]), "damaged"),
        (lambda h: h["0.weight"].update(shape=[2, 4, -3]), "sizes that are no sizes"),
        (lambda h: h["0.weight"].update(shape=["2", 4, 3]), "sizes that are no sizes"),
        (lambda h: h["0.weight"].update(shape=[True, 8, 3]), "sizes that are no sizes"),
        (lambda h: h["0.weight"].update(shape=[1 << 62, 1 << 62, 0]), "0.weight"),
        (lambda h: h["0.weight"].update(dtype="F8_E4M3"), "F8_E4M3"),
        (lambda h: h["0.weight"].update(more=1), "more"),
        (lambda h: h.update({"0.weight": 3}), "damaged"),
        (lambda h: h.pop("0.weight"), "bytes that no tensor or more than one claims|after the last"),
        (lambda h: h["__metadata__"].update(who=7), "metadata that are no text"),
        (lambda h: h.update(__metadata__=None), "damaged"),
        (lambda h: h.update(__metadata__=["rcproof"]), "damaged"),
        (lambda h: h["__metadata__"].pop("rcproof"), "is no file of rcproof's"),
        (lambda h: h["__metadata__"].pop("rcproof_sha256"), "another sha256"),
        (lambda h: h["__metadata__"].update(rcproof_sha256="0" * 64), "another sha256"),
    ],
)
def test_damaged_headers(change: Callable[[dict], None], reason: str, path: Path) -> None:
    forged = Forged.of(path)
    header = header_of(forged, path)
    change(header)
    turned_away(forged.write(path, header=json.dumps(header)), reason)


def test_padding_between_tensors(path: Path) -> None:
    """Bytes that nobody reads could be anything."""
    forged = Forged.of(path)
    header = header_of(forged, path)
    names = list(forged.tensors)
    start, stop = header[names[1]]["data_offsets"]
    header[names[1]]["data_offsets"] = [start + 8, stop + 8]
    data = forged.tensors[names[0]][2] + bytes(8) + forged.tensors[names[1]][2]
    turned_away(
        forged.write(path, header=json.dumps(header), data=data), "bytes that no tensor or more than one claims"
    )


def test_a_name_that_stands_twice(path: Path) -> None:
    """Readers differ in which of the two they take."""
    forged = Forged.of(path)
    text = json.dumps(header_of(forged, path))
    twice = text[:-1] + ', "0.bias": ' + json.dumps(json.loads(text)["0.bias"]) + "}"
    turned_away(forged.write(path, header=twice), "a key that is there twice")
    for key in ("kind", "certificate"):
        said = forged.text()
        twice = said[:-1] + f", {json.dumps(key)}: {json.dumps(forged.document[key])}}}"
        turned_away(forged.write(path, text=twice), "a key that is there twice")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000])
def test_numbers_that_are_none(number: str, path: Path) -> None:
    forged = Forged.of(path)
    text = forged.text().replace('"versions": {', f'"versions": {{"x": {number}, ', 1)
    turned_away(forged.write(path, text=text), "damaged")


def test_text_that_is_no_text(path: Path) -> None:
    forged = Forged.of(path)
    header = header_of(forged, path)
    header["__metadata__"]["rcproof"] += "\ud800"
    turned_away(forged.write(path, header=json.dumps(header)), "damaged")


@pytest.mark.parametrize("deep", ["[" * 200_000, '{"a":' * 200_000, "[" * 200_000 + "]" * 200_000])
def test_deep_nesting(deep: str, path: Path) -> None:
    forged = Forged.of(path)
    turned_away(forged.write(path, header=deep), "damaged")
    turned_away(forged.write(path, text=deep), "damaged")
    turned_away(forged.write(path, text=forged.text().replace('"structure": "*"', '"structure": ' + deep)), "damaged")


def test_deep_nesting_within_reach(path: Path) -> None:
    """Nested so that JSON is read, and what reads the graph is not."""
    forged = Forged.of(path)
    for depth in (300, 900):
        for where in ('"structure": "*"', f'"conditions": [{json.dumps("closed input, ρ_in = reversal")}'):
            assert where in forged.text()
            head, _, _ = where.partition(": ")
            deep = "[" * depth + '"*"' + "]" * depth
            text = forged.text().replace(where, f"{head}: {deep}" if where.endswith('"*"') else f"{head}: [{deep}")
            forged.write(path, text=text)
            try:
                assert not check_file(path).passed
            except CheckpointError as error:
                one_line(str(error))


def test_a_huge_header(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forged = Forged.of(path)
    monkeypatch.setattr(container, "LONGEST_HEADER", 1 << 16)
    turned_away(forged.write(path, header=" " * (1 << 17)), "a header of 131072 bytes")


# -- other files ------------------------------------------------------------------------------------------------------


def test_files_without_a_certificate(path: Path, tmp_path: Path) -> None:
    model = Conjoined(nn.Conv1d(4, 2, 3), outputs="reversal").eval()
    save(model, path)
    turned_away(path, "carries no certificate")
    save(convert(model, ConvertConfig(verify=False)).model, path)
    turned_away(path, "carries no certificate")


def test_a_certificate_of_another_schema(path: Path) -> None:
    forged = Forged.of(path)
    forged.certificate["schema"] = "rcproof-certificate/1"
    said = "schema of the certificate: got 'rcproof-certificate/1'; expected rcproof-certificate/3. Convert the source "
    turned_away(forged.write(path), said + "again, or use the version of rcproof that wrote it$")


def test_a_description_of_another_format(path: Path) -> None:
    forged = Forged.of(path)
    forged.document["format"] = 2
    turned_away(forged.write(path), "format of '.*': got 2; expected 1")


def test_the_file_is_closed_again(path: Path) -> None:
    """Whatever happens: a mapped file that is still held could not be replaced everywhere."""
    forged = Forged.of(path)
    forged.document["net"] = {}
    for _ in range(3):
        turned_away(forged.write(path), "damaged")
