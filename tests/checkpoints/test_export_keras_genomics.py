"""Files of keras-genomics: tf-keras runs them, with the layers as their definitions say, and gives what the network gives."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rcproof import Conjoined, load, save
from rcproof.checkpoints.exporting import export, keras_genomics_layers, keras_genomics_values
from rcproof.checkpoints.keras import read_keras
from rcproof.convert import Conversion
from rcproof.errors import CheckpointError, RcproofError, VerificationError
from rcproof.models import BinaryNet
from rcproof.models.strategies import conjoin_trunk
from rcproof.nn import RCPSConv1d, RCPSWeightedSum1d, StrandSum
from rcproof.strand import rc
from rcproof.verify import draw_inputs
from tests.checkpoints.export_nets import FACTORNET, Shapes, conversion, coupled, factornet, paper
from tests.checkpoints.keras.oracles import TOLERANCE, difference, keras2
from tests.checkpoints.test_export_program import SMALL, TRACKS, tracks
from tests.strategies import randomise

h5py = pytest.importorskip("h5py", reason="Keras files are written with h5py")

DNA = ("reversal",)


# -- the layers, from their definitions ------------------------------------------------------------------------


@cache
def definitions() -> tuple[Any, dict[str, Any]]:
    """tf-keras, and the layers of keras-genomics 0.1 and of the paper's code as classes of it."""
    keras = keras2()
    import tensorflow as tf

    class Base(keras.layers.Layer):
        """Keeps its arguments; makes its arrays in the order of the definition."""

        def __init__(self, name: str | None = None, trainable: bool = True, **config: Any) -> None:
            super().__init__(name=name, trainable=trainable)
            self.given = config

        def array(self, role: str, *shape: int, trained: bool = True) -> Any:
            return self.add_weight(name=role, shape=shape, trainable=trained, initializer="zeros")

        def activated(self, y: Any) -> Any:
            return keras.activations.get(self.given["activation"])(y)

    class RevCompConv1D(Base):
        def build(self, shape: Any) -> None:
            filters, (width,) = self.given["filters"], self.given["kernel_size"]
            self.kernel = self.array("kernel", width, int(shape[-1]), filters)
            self.bias = self.array("bias", filters) if self.given["use_bias"] else None

        def call(self, x: Any) -> Any:
            kernel = tf.concat([self.kernel, self.kernel[::-1, ::-1, ::-1]], axis=-1)
            y = tf.nn.convolution(
                x, kernel, self.given["strides"], self.given["padding"].upper(), dilations=self.given["dilation_rate"]
            )
            if self.bias is not None:
                y += tf.nn.bias_add(y, tf.concat([self.bias, self.bias[::-1]], axis=-1))
            return self.activated(y)

    class RevCompConv1DBatchNorm(Base):
        def build(self, shape: Any) -> None:
            half = int(shape[-1]) // 2
            self.gamma = self.array("gamma", half) if self.given["scale"] else None
            self.beta = self.array("beta", half) if self.given["center"] else None
            self.mean = self.array("moving_mean", half, trained=False)
            self.variance = self.array("moving_variance", half, trained=False)
            self.half = half

        def call(self, x: Any) -> Any:
            long = tf.concat([x[:, :, : self.half], x[:, :, self.half :][:, :, ::-1]], axis=1)
            y = tf.nn.batch_normalization(long, self.mean, self.variance, self.beta, self.gamma, self.given["epsilon"])
            length = tf.shape(x)[1]
            return tf.concat([y[:, :length], y[:, length:][:, :, ::-1]], axis=2)

    class RevCompSumPool(Base):
        def call(self, x: Any) -> Any:
            half = x.shape[-1] // 2
            return x[:, :, :half] + x[:, :, half:][:, ::-1, ::-1]

    class DenseAfterRevcompConv1D(Base):
        def build(self, shape: Any) -> None:
            self.length, self.channels = int(shape[1]), int(shape[2])
            self.kernel = self.array("kernel", self.length * self.channels // 2, self.given["units"])
            self.bias = self.array("bias", self.given["units"]) if self.given["use_bias"] else None

        def call(self, x: Any) -> Any:
            kernel = tf.reshape(self.kernel, [self.length, self.channels // 2, -1])
            kernel = tf.concat([kernel, kernel[::-1, ::-1, :]], axis=1)
            y = tf.matmul(
                tf.reshape(x, [-1, self.length * self.channels]), tf.reshape(kernel, [self.length * self.channels, -1])
            )
            return self.activated(y if self.bias is None else y + self.bias)

    class DenseAfterRevcompWeightedSum(Base):
        def build(self, shape: Any) -> None:
            self.kernel = self.array("kernel", int(shape[1]) // 2, self.given["units"])
            self.bias = self.array("bias", self.given["units"]) if self.given["use_bias"] else None

        def call(self, x: Any) -> Any:
            y = tf.matmul(x, tf.concat([self.kernel, self.kernel[::-1]], axis=0))
            return self.activated(y if self.bias is None else y + self.bias)

    class WeightedSum1D(Base):
        def build(self, shape: Any) -> None:
            length, channels = int(shape[1]), int(shape[2])
            self.W = self.array(
                "W", -(-length // 2) if self.given["symmetric"] else length,
                channels // 2 if self.given["input_is_revcomp_conv"] else channels,
            )  # fmt: skip

        def call(self, x: Any) -> Any:
            W = self.W
            if self.given["symmetric"]:
                W = tf.concat([W, W[::-1][x.shape[1] % 2 :]], axis=0)
            if self.given["input_is_revcomp_conv"]:
                W = tf.concat([W, W[::-1, ::-1]], axis=1)
            return tf.reduce_sum(x * W, axis=1)

    made = (
        RevCompConv1D, RevCompConv1DBatchNorm, RevCompSumPool, DenseAfterRevcompConv1D,
        DenseAfterRevcompWeightedSum, WeightedSum1D,
    )  # fmt: skip
    return keras, {cls.__name__: cls for cls in made}


def oracle(path: Path, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """What tf-keras gives for inputs, all channels first."""
    keras, classes = definitions()
    model = keras.models.load_model(path, custom_objects=classes, compile=False)
    given = [np.moveaxis(x.numpy(), 1, -1) if x.dim() == 3 else x.numpy() for x in inputs]
    found = model(given if len(given) > 1 else given[0], training=False)
    found = [np.asarray(y) for y in (found if isinstance(found, list) else [found])]
    return [torch.tensor(np.moveaxis(y, -1, 1) if y.ndim == 3 else y) for y in found]


def draw(shapes: Shapes, reps: tuple[str, ...]) -> tuple[Tensor, ...]:
    found = draw_inputs(shapes, reps, kinds=("one-hot", "random"), batch=4, dtype=torch.float32, seed=7)
    return tuple(torch.cat(pair) for pair in zip(*(case.tensors for case in found), strict=True))


def largest_difference(model: nn.Module, path: Path, shapes: Shapes, reps: tuple[str, ...]) -> float:
    inputs = draw(shapes, reps)
    with torch.no_grad():
        want = model.double()(*(x.double() for x in inputs))
    want = list(want) if isinstance(want, tuple) else [want]
    return max(difference(a.numpy(), b.numpy()) for a, b in zip(oracle(path, inputs), want, strict=True))


def compare(model: nn.Module, path: Path, shapes: Shapes, reps: tuple[str, ...] = DNA) -> None:
    error = largest_difference(model, path, shapes, reps)
    assert error <= TOLERANCE, f"differs from tf-keras by {error:.3g}"


def kinds(path: Path) -> list[str]:
    with h5py.File(path) as file:
        return [layer["class_name"] for layer in json.loads(file.attrs["model_config"])["config"]["layers"]]


# -- networks of the paper -------------------------------------------------------------------------------------

PAPER: dict[str, tuple[Callable[[], Any], Shapes, tuple[str, ...]]] = {
    "simulated": (lambda: paper("simulated"), ((4, 200),), DNA),
    "binary": (lambda: paper("binary", length=400), ((4, 400),), DNA),
    "binary of 1000": (lambda: paper("binary"), ((4, 1000),), DNA),
    "profile": (lambda: paper("profile", **SMALL, n_control=0), ((4, 80),), DNA),
    "bpnet": (lambda: paper("profile", **SMALL), tracks(80), TRACKS),
    "bpnet, averages": (lambda: paper("profile", **SMALL, skip="average"), tracks(80), TRACKS),
    "bpnet, one track": (
        lambda: paper("profile", **SMALL, n_control=1), ((4, 80), (1,), (1, 52)), TRACKS
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PAPER)
@pytest.mark.parametrize("cross", [False, True], ids=["converted", "coupled"])
def test_networks_of_the_paper(tmp_path: Path, name: str, cross: bool) -> None:
    make, shapes, reps = PAPER[name]
    model: nn.Module = conversion(make(), shapes).model
    if cross:
        model = coupled(model)
    written = export(model, tmp_path / "net.h5", shapes=shapes)
    assert (written.format, written.layout, written.dtype) == ("keras-genomics", "stacked", "float32")
    assert all(report.passed for report in written.reports)
    compare(model, tmp_path / "net.h5", shapes, reps)
    assert not any("untie" in note for note in written.notes)


def test_layers_are_those_that_people_have(tmp_path: Path) -> None:
    written = export(paper("simulated"), tmp_path / "net.h5")
    names = [
        "InputLayer",
        "RevCompConv1D",
        "RevCompConv1DBatchNorm",
        "Activation",
        "MaxPooling1D",
        "DenseAfterRevcompConv1D",
    ]
    assert kinds(tmp_path / "net.h5") == names
    assert written.notes == (
        "the file takes inputs of shape (N, 200, 4) only",
        "Keras loads it with custom_objects for DenseAfterRevcompConv1D, RevCompConv1D, RevCompConv1DBatchNorm",
    )
    with h5py.File(tmp_path / "net.h5") as file:
        assert (file.attrs["keras_version"], file.attrs["backend"]) == ("2.2.4", "tensorflow")
        group = file["model_weights"]
        assert [name.decode() for name in group.attrs["layer_names"]] == ["x", "conv", "norm", "relu", "pool", "dense"]
        assert [name.decode() for name in group["conv"].attrs["weight_names"]] == ["conv/kernel:0", "conv/bias:0"]
        assert group["conv/conv/kernel:0"].shape == (21, 4, 20)
        assert group["dense/dense/kernel:0"].shape == (9 * 20, 3)
        assert json.loads(file.attrs["rcproof_certificate"])["tensors"]


def test_weights_come_back_bit_by_bit(tmp_path: Path) -> None:
    """Halves are exact; the cross-strand weights of what is not coupled are zeros in the file."""
    source = paper("binary", length=400)
    export(source, tmp_path / "net.h5")
    found = read_keras(tmp_path / "net.h5").model
    for name in ("conv1", "conv2", "conv3"):
        weight, bias = (source.net.get_submodule(name).get_parameter(k) for k in ("weight", "bias"))
        layer = found.get_submodule(name)
        own, other = layer.weight[:, : weight.shape[1]], layer.weight[:, weight.shape[1] :]
        assert torch.equal(own, weight) and torch.equal(layer.bias, bias) and not other.any()
    with h5py.File(tmp_path / "net.h5") as file:
        kernel = file["model_weights/dense/dense/kernel:0"][()]
    dense = source.net.dense.weight.detach().unflatten(1, (16, -1)).transpose(1, 2).flatten(1)
    assert np.array_equal(kernel, (dense / 2).T.numpy())


def test_trained_rcps_bpnet(tmp_path: Path, data_dir: Path) -> None:
    """Its two Lambdas become a layer that exchanges channels; the control count has one, and nothing to exchange."""
    path = data_dir / "checkpoints" / "bpnet_rcps_reb1" / "reb1_chipexo.h5"
    found = read_keras(path)
    names = {"inputs": found.input_names, "outputs": found.output_names}
    export(found.model, tmp_path / "bpnet.h5", shapes=found.shapes, names=names)
    again = read_keras(tmp_path / "bpnet.h5")
    assert (again.input_names, again.output_names, again.shapes) == (
        found.input_names,
        found.output_names,
        found.shapes,
    )
    assert again.notes == [] and "Lambda" not in kinds(tmp_path / "bpnet.h5")
    with h5py.File(path) as old, h5py.File(tmp_path / "bpnet.h5") as new:
        for name in (f"rev_comp_conv1d_{i}" for i in range(1, 8)):
            for role in ("kernel:0", "bias:0"):
                key = f"model_weights/{name}/{name}/{role}"
                assert np.array_equal(old[key][()], new[key][()])
    assert found.shapes is not None
    compare(found.model, tmp_path / "bpnet.h5", found.shapes, TRACKS)
    export(again.model, tmp_path / "again.h5", shapes=again.shapes)
    compare(found.model, tmp_path / "again.h5", found.shapes, TRACKS)


# -- networks of all kinds ---------------------------------------------------------------------------------------


def conv(inputs: int, outputs: int, width: int, **options: Any) -> nn.Conv1d:
    return nn.Conv1d(inputs, outputs, width, **options)


class Two(nn.Module):
    """Strand pairs joined twice, scaled, and multiplied; pooled both ways; a hidden dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.mix = conv(4, 3, 5), conv(4, 2, 5), conv(9, 4, 3, padding=1)
        self.gate, self.hidden, self.norm, self.out = (
            conv(4, 4, 1),
            nn.Linear(12, 5),
            nn.BatchNorm1d(5),
            nn.Linear(5, 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.a(x).relu(), self.b(x).tanh() * 0.25
        h = self.mix(torch.cat([a, b, x[:, :, 2:-2]], dim=1))
        h = torch.sigmoid(self.gate(h)) * h - h / 3
        pooled = torch.cat([h.mean(2), h.amax(dim=2), -h.sum(dim=-1)], dim=1)
        return self.out(self.norm(self.hidden(pooled)).relu())


class Tasks(nn.Module):
    """Two stranded profiles, and one without strands."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.pairs, self.single = conv(4, 6, 7), conv(6, 4, 3), conv(6, 3, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.trunk(x).relu()
        return self.pairs(h), self.single(h).softmax(dim=2)


def chain(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers)


def dense_net(*last: nn.Module) -> nn.Sequential:
    return chain(conv(4, 6, 5), nn.ReLU(), nn.MaxPool1d(4), nn.Flatten(), nn.Linear(6 * 6, 3), *last)


def trunk(pooling: str, final: str | None = None) -> Conjoined:
    return conjoin_trunk(
        BinaryNet(length=79, filters=4, kernel_sizes=(5, 4, 4), pool_size=9, pool_stride=6), pooling, final
    )


#: A network, its shapes and representations, and the layers that must be among those written.
KINDS: dict[str, tuple[Callable[[], Conjoined], Shapes, tuple[str, ...], set[str]]] = {
    "probabilities": (lambda: Conjoined(dense_net(nn.Sigmoid())), ((4, 28),), DNA, {"DenseAfterRevcompWeightedSum"}),
    "largest": (lambda: Conjoined(dense_net(), merge="max"), ((4, 28),), DNA, {"Maximum"}),
    "sum": (lambda: Conjoined(dense_net(), merge="sum", final="softmax"), ((4, 28),), DNA, {"Softmax"}),
    "tasks in pairs": (lambda: Conjoined(dense_net(), outputs="perm:1,0,2"), ((4, 28),), DNA, {"Dense"}),
    "signed": (lambda: Conjoined(dense_net(), outputs="perm:-0,1,2"), ((4, 28),), DNA, {"Dense"}),
    "two": (lambda: Conjoined(Two()), ((4, 30),), DNA, {"Multiply", "Subtract", "Concatenate", "RevCompConv1D"}),
    "profiles": (
        lambda: Conjoined(Tasks(), outputs=("pairs:2", "length")), ((4, 30),), DNA, {"Conv1D", "Softmax"}
    ),
    "unstranded counts": (
        lambda: Conjoined(chain(conv(4, 6, 5), nn.ELU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(6, 2))),
        ((4, 30),), DNA, {"GlobalAveragePooling1D", "ELU"},
    ),
    "bins": (
        lambda: Conjoined(chain(conv(4, 6, 5, stride=2), nn.AvgPool1d(3, 1), nn.MaxPool1d(4), nn.Flatten(),
                                nn.Dropout(0.3), nn.Linear(12, 2)), final="sigmoid"),
        ((4, 23),), DNA, {"AveragePooling1D", "MaxPooling1D", "Dropout"},
    ),
    "padding": (
        lambda: Conjoined(chain(conv(4, 6, 5, padding="same"), nn.LeakyReLU(), conv(6, 4, 3, padding=2, dilation=2),
                                nn.Softplus(), conv(4, 2, 4, padding=3, bias=False)), outputs="reversal"),
        ((4, 21),), DNA, {"ZeroPadding1D"},
    ),
    "tracks": (
        lambda: Conjoined(dense_net_of(6), inputs="perm:3,2,1,0,4,5"), ((6, 28),), ("perm:3,2,1,0,4,5",), {"Conv1D"}
    ),
    "trunk, sum": (lambda: trunk("sum"), ((4, 79),), DNA, {"RevCompSumPool"}),
    "trunk, mean": (lambda: trunk("mean", "sigmoid"), ((4, 79),), DNA, {"RevCompSumPool"}),
}  # fmt: skip


def dense_net_of(channels: int) -> nn.Sequential:
    net = dense_net()
    net[0] = conv(channels, 6, 5)
    return net


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("cross", [False, True], ids=["converted", "coupled"])
def test_networks_of_all_kinds(tmp_path: Path, name: str, cross: bool) -> None:
    make, shapes, reps, expected = KINDS[name]
    torch.manual_seed(3)
    source = randomise(make(), 4).float().eval()
    model: nn.Module = conversion(source, shapes).model
    if cross:
        model = coupled(model)
    written = export(model, tmp_path / "net.h5", shapes=shapes)
    assert expected <= set(kinds(tmp_path / "net.h5"))
    compare(model, tmp_path / "net.h5", shapes, reps)
    untied = [note for note in written.notes if note.endswith("training it in Keras would untie them")]
    assert bool(untied) == bool({"Conv1D", "Dense"} & expected), untied


def test_files_of_ours_and_of_rcps_layers(tmp_path: Path) -> None:
    """Weighted sums, and the sum of the strands as a layer of its own."""
    from rcproof.network.building import GraphBuilder

    b = GraphBuilder()
    x = b.module("conv", RCPSConv1d(4, 5, 7, source="reversal"), b.input("dna"))
    rows = b.module("rows", RCPSWeightedSum1d(5, 24, symmetric=True), b.call("torch.relu", x))
    summed = b.module("both", StrandSum(), x)
    network = b.network([b.module("out", nn.Linear(5, 2), b.module("strands", StrandSum(), rows)), summed])
    save(randomise(network, 1).float(), tmp_path / "net.safetensors")
    again = load(tmp_path / "net.safetensors")
    export(again, tmp_path / "net.h5", shapes=((4, 30),))
    assert {"WeightedSum1D", "RevCompSumPool", "DenseAfterRevcompWeightedSum"} <= set(kinds(tmp_path / "net.h5"))
    compare(network, tmp_path / "net.h5", ((4, 30),))


def test_layers_that_are_called_twice_are_shared(tmp_path: Path) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.same = conv(4, 4, 5), conv(4, 4, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            h = self.first(x)
            return self.same(self.same(h).relu() + h).mean(dim=2)

    source = randomise(Conjoined(Twice()), 2).float().eval()
    export(conversion(source, ((4, 20),)), tmp_path / "net.h5")
    assert kinds(tmp_path / "net.h5").count("RevCompConv1D") == 2
    compare(source, tmp_path / "net.h5", ((4, 20),))


def test_double_precision_is_written_in_single(tmp_path: Path) -> None:
    source = randomise(Conjoined(dense_net()), 2).double().eval()
    written = export(conversion(source, ((4, 28),)), tmp_path / "net.h5")
    assert "weights are float64 in the source and float32 in the file" in written.notes
    compare(source, tmp_path / "net.h5", ((4, 28),))


def test_a_very_long_list_of_names_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rcproof.checkpoints.exporting.keras_genomics.LONGEST_NAMES", 12)
    source = paper("simulated")
    export(source, tmp_path / "net.h5")
    with h5py.File(tmp_path / "net.h5") as file:
        assert "layer_names1" in file["model_weights"].attrs
    compare(source, tmp_path / "net.h5", ((4, 200),))


# -- what has no such form -----------------------------------------------------------------------------------------


def refused(net: nn.Module, shapes: Shapes = ((4, 28),), **options: Any) -> Conversion:
    return conversion(Conjoined(net, **options).eval(), shapes)


REFUSALS: dict[str, tuple[Callable[[], Any], str]] = {
    "pooling that does not centre": (
        lambda: paper("binary", length=170),
        r"step 'pool' \(RCPSMaxPool1d\) has no keras-genomics form: windows of 40 with stride 20 leave 10 of 130 positions "
        "unread, so that those of the two strands differ. Export the network as .onnx or .pt2",
    ),
    "a stride that does not centre": (
        lambda: refused(chain(conv(4, 2, 3, stride=2)), outputs="length"),
        r"step '0' \(RCPSConv1d\) .*: windows of 3 with stride 2 leave 1 of 28",
    ),
    "uneven padding": (
        lambda: refused(chain(conv(4, 2, 4, padding="same")), outputs="length"), "it pads 1 and 2 positions"
    ),
    "groups": (lambda: refused(chain(conv(4, 4, 3, groups=2)), outputs="length"), "no groups of channels, and it has 2"),
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
        r"step 'forward_lstm' \(Recurrent\) .*: it has to run on each strand by itself, and no layer of Keras does that",
    ),
    "padded pooling": (
        lambda: refused(chain(conv(4, 4, 3), nn.MaxPool1d(3, 1, padding=1)), outputs="length"),
        "pools without padding or dilation; it has 1 and 1",
    ),
    "bins of two sizes": (
        lambda: refused(chain(conv(4, 4, 3), nn.AdaptiveAvgPool1d(3)), outputs="length"), r"step '1' \(RCPSAdaptiveAvgPool1d\) .*: it has to run on each strand"
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


@pytest.mark.parametrize("name", FILES)
def test_the_oracle_sees_what_is_wrong_in_a_file(tmp_path: Path, name: str) -> None:
    source, shapes = paper("simulated"), ((4, 200),)
    export(source, tmp_path / "net.h5")
    compare(source, tmp_path / "net.h5", shapes)
    with h5py.File(tmp_path / "net.h5", "a") as file:
        FILES[name](file["model_weights"])
    assert not (largest_difference(source, tmp_path / "net.h5", shapes, DNA) <= 100 * TOLERANCE)
    x = draw(shapes, DNA)[0]
    (a,), (b,) = oracle(tmp_path / "net.h5", (x,)), oracle(tmp_path / "net.h5", (rc(x),))
    assert torch.allclose(a, b, atol=1e-4)  # equivariance does not see it


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
    from rcproof.checkpoints.exporting import keras_genomics

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
