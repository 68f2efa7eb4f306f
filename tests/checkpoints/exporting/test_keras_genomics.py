"""Files of keras-genomics: tf-keras, with the layers as they are defined, gives what the network gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rcproof import Conjoined, load, save
from rcproof.checkpoints.exporting import export
from rcproof.checkpoints.keras import read_keras
from rcproof.models import BinaryNet
from rcproof.models.strategies import conjoin_trunk
from rcproof.network.building import GraphBuilder
from rcproof.nn import RCPSConv1d, RCPSWeightedSum1d, StrandSum
from tests.checkpoints.exporting.keras_genomics_oracle import DNA, compare, kinds
from tests.checkpoints.exporting.nets import Shapes, conversion, coupled, paper
from tests.checkpoints.exporting.test_program import SMALL, TRACKS, tracks
from tests.strategies import randomise

h5py = pytest.importorskip("h5py", reason="Keras files are written with h5py")

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
def test_networks_of_all_kinds(tmp_path: Path, name: str) -> None:
    """With cross-strand weights, of which zeros are a special case."""
    make, shapes, reps, expected = KINDS[name]
    torch.manual_seed(3)
    model = coupled(conversion(randomise(make(), 4).float().eval(), shapes).model)
    written = export(model, tmp_path / "net.h5", shapes=shapes)
    assert expected <= set(kinds(tmp_path / "net.h5"))
    compare(model, tmp_path / "net.h5", shapes, reps)
    untied = [note for note in written.notes if note.endswith("training it in Keras would untie them")]
    assert bool(untied) == bool({"Conv1D", "Dense"} & expected), untied


def test_files_of_ours_and_of_rcps_layers(tmp_path: Path) -> None:
    """Weighted sums, and the sum of the strands as a layer of its own."""
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
