"""What has no form in keras-genomics is refused, and what is wrong is caught: by tf-keras, and by the writer itself."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rcproof import Conjoined
from rcproof.checkpoints.exporting import export, keras_genomics, keras_genomics_layers, keras_genomics_values
from rcproof.convert import Conversion
from rcproof.errors import CheckpointError, RcproofError, VerificationError
from rcproof.strand import rc
from tests.checkpoints.exporting.keras_genomics_oracle import DNA, compare, draw, largest_difference, oracle
from tests.checkpoints.exporting.nets import FACTORNET, Shapes, conversion, factornet, paper
from tests.checkpoints.keras.oracles import TOLERANCE

h5py = pytest.importorskip("h5py", reason="Keras files are written with h5py")

conv, chain = nn.Conv1d, nn.Sequential

# -- what has no such form -----------------------------------------------------------------------------------------


def refused(net: nn.Module, shapes: Shapes = ((4, 28),), **options: Any) -> Conversion:
    return conversion(Conjoined(net, **options).eval(), shapes)


REFUSALS: dict[str, tuple[Callable[[], Any], str]] = {
    "pooling that does not centre": (
        lambda: paper("binary", length=170),
        r"step 'pool' \(RCPSMaxPool1d\) has no keras-genomics form: .* leave 10 of 130 positions unread.* Export the",
    ),
    "a stride that does not centre": (
        lambda: refused(chain(conv(4, 2, 3, stride=2)), outputs="length"),
        r"step '0' \(RCPSConv1d\) .*: windows of 3 with stride 2 leave 1 of 28",
    ),
    "uneven padding": (
        lambda: refused(chain(conv(4, 2, 4, padding="same")), outputs="length"), "it pads 1 and 2 positions"
    ),
    "groups": (lambda: refused(chain(conv(4, 4, 3, groups=2)), outputs="length"), "no groups of channels"),
    "reflection": (
        lambda: refused(chain(conv(4, 2, 3, padding=1, padding_mode="reflect")), outputs="length"), "it pads by reflect"
    ),
    "a kind of norm": (
        lambda: refused(chain(conv(4, 4, 3), nn.InstanceNorm1d(4)), outputs="length"),
        r"step '1' \(RCPSInstanceNorm1d\) .*: there is no such layer in keras-genomics or Keras 2",
    ),
    "a kind of activation": (
        lambda: refused(chain(conv(4, 4, 3), nn.GELU()), outputs="length"), r"\(GELU\) .*: there is no such layer"
    ),
    "recurrent layers": (
        lambda: conversion(factornet(), FACTORNET),
        r"step 'forward_lstm' \(Recurrent\) .*: it has to run on each strand by itself, and no layer of Keras does",
    ),
    "padded pooling": (
        lambda: refused(chain(conv(4, 4, 3), nn.MaxPool1d(3, 1, padding=1)), outputs="length"),
        "pools without padding or dilation; it has 1 and 1",
    ),
    "bins of two sizes": (
        lambda: refused(chain(conv(4, 4, 3), nn.AdaptiveAvgPool1d(3)), outputs="length"),
        r"step '1' \(RCPSAdaptiveAvgPool1d\) .*: it has to run on each strand",
    ),
    "a crop of one end": (
        lambda: refused(Slice(), outputs="length"), r"step 'getitem' .*: it crops 3 and 0 positions, which differ"
    ),
    "positions that stay": (
        lambda: refused(chain(conv(4, 4, 3), nn.ReLU()), outputs="perm:1,0,2,3;keep-length"),
        "a merge by mean of values that keep their positions in order",
    ),
    "a number that is added": (lambda: refused(Plus(), outputs="length"), "no layer that adds a number"),
    "stride and dilation": (
        lambda: refused(chain(conv(4, 4, 2, stride=2, dilation=3)), ((4, 24),), outputs="length"),
        "no convolution with stride 2 and dilation 3",
    ),
    "codes of bases": (
        lambda: refused(chain(nn.Embedding(5, 3), Turn(), conv(3, 2, 3)), ((20,),), inputs="tokens:3,2,1,0,4",
                        outputs="length"),
        "it has to run on each strand|it takes codes of bases",
    ),
}  # fmt: skip


class Slice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = conv(4, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)[:, :, 3:].relu()


class Plus(Slice):
    def forward(self, x: Tensor) -> Tensor:
        return (self.conv(x) + 1.5).relu()


class Turn(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


@pytest.mark.parametrize("name", REFUSALS)
def test_what_has_no_such_form_is_refused(tmp_path: Path, name: str) -> None:
    make, text = REFUSALS[name]
    (tmp_path / "net.h5").write_bytes(b"precious")
    with pytest.raises(RcproofError, match=text):
        export(make(), tmp_path / "net.h5")
    assert (tmp_path / "net.h5").read_bytes() == b"precious"
    assert len(list(tmp_path.iterdir())) == 1


def test_other_layouts_and_a_missing_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RcproofError, match="layout of a file .h5: got 'batched'; expected stacked, the only one"):
        export(paper("simulated"), tmp_path / "net.h5", layout="batched")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(CheckpointError, match=r"a package that is missing: got h5py. Pip install 'rcproof\[keras\]'"):
        export(paper("simulated"), tmp_path / "net.h5")
    assert not list(tmp_path.iterdir())


# -- mutants --------------------------------------------------------------------------------------------------------


def doubled(layer: str) -> Callable[[Any], None]:
    def change(weights: Any) -> None:
        weights[f"{layer}/{layer}/kernel:0"][...] *= 2

    return change


def as_torch_flattens(weights: Any) -> None:
    """Rows of channels, then positions."""
    kernel = weights["dense/dense/kernel:0"]
    kernel[...] = kernel[()].reshape(9, 20, 3).transpose(1, 0, 2).reshape(180, 3)


def backwards(weights: Any) -> None:
    kernel = weights["conv/conv/kernel:0"]
    kernel[...] = kernel[()][::-1]


FILES = {
    "kernel not halved": doubled("conv"),
    "half forgotten": doubled("dense"),
    "order of flatten": as_torch_flattens,
    "kernel turned around": backwards,
}


def test_the_oracle_sees_what_is_wrong_in_a_file(tmp_path: Path) -> None:
    source, shapes = paper("simulated"), ((4, 200),)
    export(source, tmp_path / "net.h5")
    compare(source, tmp_path / "net.h5", shapes)
    x = draw(shapes, DNA)[0]
    for name, change in FILES.items():
        path = Path(shutil.copy(tmp_path / "net.h5", tmp_path / "mutant.h5"))
        with h5py.File(path, "a") as file:
            change(file["model_weights"])
        assert not (largest_difference(source, path, shapes, DNA) <= 100 * TOLERANCE), name
        (a,), (b,) = oracle(path, (x,)), oracle(path, (rc(x),))
        assert torch.allclose(a, b, atol=1e-4), name  # equivariance does not see it


def _not_halved(patch: pytest.MonkeyPatch) -> None:
    real = keras_genomics_values.KerasGraph.call

    def call(
        self: Any, wanted: str, kind: str, inputs: Any, config: Any = None, weights: Any = None, *rest: Any
    ) -> Any:
        if kind == "RevCompConv1D":
            weights = {**weights, "kernel": 2 * weights["kernel"]}
        return real(self, wanted, kind, inputs, config, weights, *rest)

    patch.setattr(keras_genomics_values.KerasGraph, "call", call)


def _no_half(patch: pytest.MonkeyPatch) -> None:
    real = keras_genomics_layers.merging
    patch.setattr(
        "rcproof.checkpoints.exporting.keras_genomics_graph.merging", lambda n, mode, rep: real(n, "sum", rep)
    )


def _no_order(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(keras_genomics_layers, "_in_keras", lambda weight, value: weight)


@pytest.mark.parametrize("mutate", [_not_halved, _no_half, _no_order])
def test_a_writer_that_is_wrong_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mutate: Callable[[pytest.MonkeyPatch], None]
) -> None:
    mutate(monkeypatch)
    (tmp_path / "net.h5").write_bytes(b"precious")
    with pytest.raises(VerificationError, match="outputs: [0-9]+ of [0-9]+ checks failed"):
        export(paper("simulated"), tmp_path / "net.h5")
    assert (tmp_path / "net.h5").read_bytes() == b"precious"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_that_holds_other_numbers_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value so small that no output shows it."""
    real = keras_genomics._write

    def changed(file: Any, *args: Any) -> None:
        real(file, *args)
        file["model_weights/conv/conv/bias:0"][0] += 1e-12

    source = paper("simulated")
    with torch.no_grad():
        source.net.conv.bias.zero_()
    monkeypatch.setattr(keras_genomics, "_write", changed)
    with pytest.raises(VerificationError, match="tensors: 1 of .* checks failed"):
        export(source, tmp_path / "net.h5")
    assert not list(tmp_path.iterdir())
