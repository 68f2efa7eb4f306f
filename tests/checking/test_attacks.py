"""Attacks by hand: files whose every digest fits, made by somebody who has read the checker."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rcproof
from rcproof.checking import check
from rcproof.checking.check import check_file
from rcproof.checkpoints import save
from rcproof.conjoined import Conjoined
from rcproof.convert import ConvertConfig, convert
from rcproof.convert.coupling import couple_conversion
from rcproof.errors import CheckpointError
from rcproof.network.modules import layer_to_json
from rcproof.network.ops import OPS
from rcproof.nn import Recurrent
from rcproof.symbolic.networks import NetworkProof
from tests.checking.forging import Forged, accepted, agree, verdict


class Plain(nn.Module):
    """A convolution, a step to be replaced, a mean over positions, a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.dense, self.scale = nn.Conv1d(4, 6, 3), nn.Linear(6, 6), nn.Parameter(torch.randn(6, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.conv(x))
        return self.dense((h * self.scale.exp()).mean(2))


def forged(net: nn.Module, path: Path, couple: str = "", shapes: Any = ((4, 12),), **how: Any) -> Forged:
    """The honest file, taken apart."""
    torch.manual_seed(0)
    for p in net.parameters():
        nn.init.normal_(p)
    model = Conjoined(net, **how).double().eval()
    conversion = convert(model, ConvertConfig(input_shapes=shapes, verify=False))
    if couple:
        conversion = couple_conversion(conversion, couple)
    save(conversion, path)
    assert check_file(path).passed, check_file(path).statement
    return Forged.of(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.safetensors"


def refused(forged: Forged, path: Path, *reasons: str) -> str:
    found = verdict(forged.write(path))
    text = found if isinstance(found, str) else "; ".join(map(str, found.report.failures))
    assert text, "accepted"
    for reason in reasons:
        assert reason in text
    return text


# -- steps that mix examples, in both networks alike ------------------------------------------------------------------

H = {"ref": "conv"}


@pytest.mark.parametrize(
    ("target", "args", "reason"),
    [
        ("F.softmax", [H, 0], "works along the axis of the examples"),
        ("F.softmax", [H, -3], "works along the axis of the examples"),
        ("torch.flip", [H, [0]], "works along the axis of the examples"),
        ("Tensor.flip", [H, 1, 0], "works along the axis of the examples"),
        ("torch.cumsum", [H, 0], "works along the axis of the examples"),
        ("torch.roll", [H, 1, 0], "works along the axis of the examples"),
        ("torch.roll", [H, 1], "does not say along which axis"),
        ("torch.roll", [H, {"tuple": [1, 1]}, {"tuple": [2, 0]}], "works along the axis of the examples"),
        ("F.normalize", [H, 2.0, 0], "works along the axis of the examples"),
        ("F.normalize", [H, 2.0, None], "does not say along which axis"),
        ("F.batch_norm", [H, None, None, None, None, True], "writes into its running statistics"),
        ("torch.batch_norm", [H, None, None, None, None, True, 0.1, 1e-5, False], "writes into its running statistics"),
        ("F.dropout", [H], "draws random numbers"),
        ("F.dropout", [H, 0.5, True], "draws random numbers"),
        ("torch.dropout", [H, 0.5, True], "draws random numbers"),
        ("F.relu", [H, True], "writes into its argument"),
        ("F.elu", [H, 1.0, True], "writes into its argument"),
        ("Tensor.expand", [H, 5, 6, 10], "it makes shapes|does not run"),
        ("operator.getitem", [H, {"tuple": [{"slice": [None, 3, None]}]}], "makes shapes|picks among"),
    ],
)
def test_a_step_that_mixes_examples(target: str, args: list[Any], reason: str, path: Path) -> None:
    mutant = forged(Plain(), path)
    mutant.both("relu", target=target, args=args, stacked=..., rule=OPS[target].family)
    text = refused(mutant.prove(), path)
    assert any(part in text for part in reason.split("|")), text


@pytest.mark.parametrize("kwargs", [{"out": H}, {"inplace": True}])
@pytest.mark.parametrize("target", ["torch.neg", "F.relu"])
def test_a_step_that_writes(target: str, kwargs: dict[str, Any], path: Path) -> None:
    mutant = forged(Plain(), path)
    mutant.both("relu", target=target, args=[H], kwargs=kwargs)
    refused(mutant.prove(), path, "step 'relu'")


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (nn.Softmax(0), "works along the axis of the examples"),
        (nn.Softmax(None), "step 'act'"),
        (nn.BatchNorm1d(6, track_running_stats=False), "averages over the examples"),
        (nn.Flatten(0, 1), "makes shapes"),
        (nn.LSTM(10, 10), "takes the examples for positions"),
        (nn.LayerNorm([5, 6, 10]), "does not run"),
        (nn.ReLU(inplace=True), "writes into its input"),
    ],
)
def test_a_layer_that_mixes_examples(layer: nn.Module, reason: str, path: Path) -> None:
    """A lifted layer, the same in both networks."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.act, self.dense = nn.Conv1d(4, 6, 3), nn.Hardtanh(), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.dense(self.act(self.conv(x)).mean(2))

    mutant = forged(Net(), path)
    for part in (mutant.document["net"], mutant.source):
        part["layers"]["act"] = layer_to_json("act", layer)
    mutant.both("act", stacked=..., rule="lifted")
    for name, tensor in layer.named_parameters():
        mutant.put(f"act.{name}", tensor.detach())
        mutant.certificate["tensors"].append(
            {**mutant.row("conv.bias"), "name": f"act.{name}", "source": f"net.act.{name}"}
        )
        mutant.source["tensors"][f"net.act.{name}"] = {}
    mutant.rehash()
    refused(mutant.prove(), path, reason)


def test_two_dimensional_batch_norm_without_statistics(path: Path) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv1d(4, 6, 3), nn.BatchNorm2d(1, track_running_stats=False, affine=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.conv(x).unsqueeze(1)).squeeze(1)

    with pytest.raises(AssertionError, match="averages over the examples"):
        forged(Net(), path, outputs="reversal")


N, NUMBER, ALL = {"ref": "count"}, {"ref": "number"}, {"slice": [None, None, None]}


@pytest.mark.parametrize(
    ("number", "target", "args", "reason"),
    [
        (None, "operator.mul", [H, N], "depends on how many examples"),
        ("builtins.min", "operator.mul", [H, NUMBER], "depends on how many examples"),
        ("operator.add", "Tensor.expand", [H, NUMBER, 6, 10], "does not run|depends on how many"),
        ("builtins.min", "operator.getitem", [H, {"tuple": [ALL, ALL, {"slice": [None, NUMBER, None]}]}], "'relu'"),
        (None, "torch.full_like", [H, N], "depends on how many examples"),
    ],
)  # fmt: skip
def test_the_number_of_examples_as_a_number(
    number: str | None, target: str, args: list[Any], reason: str, path: Path
) -> None:
    """N in one network is 2N in the other, so it may only be the size that it is."""
    mutant = forged(Plain(), path)
    mutant.insert("relu", "count", "Tensor.size", [H, 0], rule="size")
    if number is not None:
        mutant.insert("relu", "number", number, [N, 8])
    mutant.both("relu", target=target, args=args, stacked=...)
    text = refused(mutant.prove(), path)
    assert any(part in text for part in reason.split("|")), text


def test_reshaping_by_a_number_that_is_the_number_of_examples_up_to_eight(path: Path) -> None:
    """On batches of 5 and 7 it cannot be told from the number of examples."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(4, 6, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = self.conv(x)
            return h.reshape(h.size(0), -1)

    mutant = forged(Net(), path)
    mutant.insert("reshape", "number", "builtins.min", [{"ref": "size"}, 8])
    mutant.both("reshape", args=[H, {"ref": "number"}, -1])
    refused(mutant.prove(), path, "depends on how many examples")


# -- kinds and stacked forms ------------------------------------------------------------------------------------------


class Forms(nn.Module):
    """A step for each stacked form, and steps that have none."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool, self.odd = nn.Conv1d(4, 6, 3), nn.MaxPool1d(2, ceil_mode=True), nn.AdaptiveAvgPool1d(3)
        self.channels, self.flat = nn.Softmax(1), nn.Flatten(1, 1)
        self.layer, self.dense = nn.LayerNorm(9), nn.Linear(108, 2)
        self.slope, self.prelu = nn.Parameter(torch.randn(6)), nn.PReLU(6)

    def forward(self, x: Tensor) -> Tensor:
        h = self.layer(self.pool(self.conv(x)))
        h = self.channels(h) + self.prelu(h) + torch.prelu(h, self.slope) + self.flat(h)
        h = torch.cat([h, torch.cumsum(h, 2)], 1)
        j = (
            torch.stack([h[:, :, ::2], h[:, :, 1:6], self.odd(h).repeat(1, 1, 2)[:, :, :5]], 1)
            .transpose(1, 2)
            .flatten(2)
        )
        return self.dense(torch.cat([j[:, :, :9], h], 2)[:, :6].flatten(1)).sort(1)[0]


@pytest.fixture
def unproved(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proof is replayed: everything else must see what is wrong by itself."""
    monkeypatch.setattr(check, "_proved", lambda graph, steps: NetworkProof("", (), 1))


@pytest.mark.usefixtures("unproved")
@pytest.mark.parametrize("form", ["tied", "same", "cat", "flatten", "crop"])
def test_a_stacked_form_that_is_wrong_for_its_function(form: str, path: Path) -> None:
    """Every step under every stacked form: what is accepted computes what it should, in every layout."""
    honest = forged(Forms(), path, shapes=((4, 20),))
    right = {n["name"]: n.get("stacked", "") for n in honest.nodes}
    for name in right:
        mutant = honest.copy()
        mutant.node(name)["stacked"] = form
        for label in ("T2", "T5"):
            mutant.node(name)["lemma"] = label
            mutant.said()
            if accepted(mutant.write(path)):
                assert right[name] == form, f"{name} as {form}"
                assert agree(path, mutant, 1)


@pytest.mark.usefixtures("unproved")
def test_every_step_of_another_kind(path: Path) -> None:
    honest = forged(Forms(), path, shapes=((4, 20),))
    for node in honest.nodes:
        for kind in ("closed", "stacked", "free", "merged"):
            mutant = honest.copy()
            found = mutant.node(node["name"])
            if kind == found["kind"]:
                continue
            found["kind"] = kind
            if kind == "closed":
                found["rep"] = "reversal"
            mutant.said()
            assert not accepted(mutant.write(path)), f"{node['name']} as {kind}"


class Closed(nn.Module):
    """Steps on the input itself."""

    def __init__(self, step: nn.Module | Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.step, self.conv = step, nn.Conv1d(4, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.step(x))


@pytest.mark.parametrize(
    "step",
    [nn.Softmax(1), nn.PReLU(4), nn.LayerNorm(12), nn.ReflectionPad1d((1, 0)), nn.AvgPool1d(3), nn.Conv1d(4, 4, 3)],
)
@pytest.mark.parametrize("rule", ["pointwise", ""])
def test_a_closed_value_under_a_step_that_is_not_pointwise(step: nn.Module, rule: str, path: Path) -> None:
    mutant = forged(Closed(step), path, outputs="reversal")
    node = mutant.node("step")
    node |= {"kind": "closed", "rep": "reversal", "rule": rule or node["rule"]}
    node.pop("stacked", None)
    mutant.document["net"]["layers"]["conv"]["args"]["source"] = "reversal"
    if step.__class__ is nn.Conv1d:
        mutant.document["net"]["layers"]["step"] = mutant.source["layers"]["step"]
    refused(mutant.prove(), path, "side conditions")


def test_a_closed_value_under_a_pointwise_step_with_signs(path: Path) -> None:
    """relu(−x) is not −relu(x)."""
    honest = forged(Closed(nn.ReLU()), path, inputs="perm:-0,-1,2,3", outputs="reversal")
    mutant = honest.copy()
    node = mutant.node("step")
    assert node["kind"] == "stacked"
    node |= {"kind": "closed", "rep": "perm:-0,-1,2,3"}
    mutant.document["net"]["layers"]["conv"]["args"]["source"] = "perm:-0,-1,2,3"
    refused(mutant.prove(), path, "which no lemma covers")
    mutant.write(path)
    assert not agree(path, mutant, 1)


def test_a_layer_tied_over_another_representation(path: Path) -> None:
    honest = forged(Closed(nn.ReLU()), path, outputs="reversal")
    for source in ("length", "dna:ATGC", "perm:0,1,2,3", None):
        mutant = honest.copy()
        mutant.document["net"]["layers"]["conv"]["args"]["source"] = source
        if accepted(mutant.write(path)):
            assert source is None  # it then reads the pair (x, ρx)
            assert agree(path, mutant, 1)


# -- what follows the merge -------------------------------------------------------------------------------------------


class Two(nn.Module):
    """Two scores."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.a, self.b = nn.Conv1d(4, 6, 3), nn.Linear(6, 2), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.conv(x).amax(2)
        return self.a(h), self.b(h)


def test_final_steps_that_read_values_before_the_merge(path: Path) -> None:
    class Squared(nn.Module):
        def forward(self, y: Tensor) -> Tensor:
            return y * y.tanh()

    mutant = forged(Plain(), path, final=Squared())
    end = mutant.node(mutant.document["net"]["graph"]["outputs"][0])
    end["args"][0] = {"ref": "dense"}
    refused(mutant, path, "got both strands")  # it cannot even be planned
    mutant = forged(Plain(), path, final=Squared())
    other = next(n for n in mutant.nodes if n["target"] == "Tensor.tanh")
    other["args"][0] = {"ref": "dense"}
    refused(mutant, path)
    other |= {"args": [{"ref": "mean"}], "kind": "stacked"}
    refused(mutant, path)


def test_conditions_that_are_not_those_of_the_step(path: Path) -> None:
    """They are words, which people read: none may stand there that was not derived from the sizes."""
    honest = forged(Plain(), path)
    (said, windows) = honest.node("conv")["conditions"]
    assert windows == "windows centred: 1·(10 − 1) + 1·(3 − 1) + 1 = 12 of 0 + 12 + 0"
    for other in ([said], [windows, said], [said, windows.replace("12", "13")], [said, windows, "train mode"]):
        mutant = honest.copy()
        mutant.node("conv")["conditions"] = other
        row = next(r for r in mutant.certificate["nodes"] if r["name"] == "conv")
        row["conditions"] = other
        refused(mutant, path, "step 'conv' lists the conditions")
    mutant = honest.copy()
    mutant.document["input_shapes"] = [[4, 14]]  # true of other lengths, but not of these
    refused(mutant, path, "lists the conditions")


def test_outputs_that_exchange_their_merges(path: Path) -> None:
    honest = forged(Two(), path, merge=("mean", "max"), final=("sigmoid", "sigmoid"))
    for change in ("outputs", "merges", "layers"):
        mutant = honest.copy()
        graph = mutant.document["net"]["graph"]
        if change == "outputs":
            graph["outputs"].reverse()
        elif change == "merges":
            one, two = (n for n in graph["nodes"] if n["op"] == "merge")
            one["args"], two["args"] = two["args"], one["args"]
        else:
            one, two = (n for n in graph["nodes"] if n["target"] in ("a", "b"))
            one["target"], two["target"] = two["target"], one["target"]
        refused(mutant.prove(), path)


def test_one_layer_after_the_merge_described_in_two_ways(path: Path) -> None:
    """The result has one of them; each output is described with its own."""
    mutant = forged(Two(), path, final=nn.Sequential(nn.ELU(0.5)))
    finals = mutant.source["final"]
    (layer,) = finals[0]["layers"]
    finals[1]["layers"][layer]["args"]["alpha"] = 0.25
    refused(mutant, path, "is described in two ways")


def test_a_layer_after_the_merge_with_the_name_of_one_before_it(path: Path) -> None:
    mutant = forged(Plain(), path, final=nn.Sequential(nn.Linear(6, 6)))
    text = mutant.text().replace('"final.0', '"dense')
    text = text.replace('"final:', '"dense:')
    found = verdict(mutant.write(path, text))
    assert isinstance(found, str) or not found.passed


def test_a_tensor_of_no_layer_that_gives_a_layer_a_bias(path: Path) -> None:
    """Attached where a layer looks for a bias that it is said not to have."""
    mutant = forged(Plain(), path, final=nn.Sequential(nn.Linear(6, 6, bias=False)))
    mutant.put("final.0.bias", torch.randn(6, dtype=torch.float64))
    mutant.document["net"]["tensors"].append("final.0.bias")
    mutant.certificate["tensors"].append(
        {**mutant.row("final.0.weight"), "name": "final.0.bias", "source": "final.0.bias"}
    )
    mutant.source["tensors"]["final.0.bias"] = {}
    mutant.certificate["parameters"]["total"] += 6
    mutant.rehash()
    refused(mutant, path, "tensor 'final.0.bias' would change layer 'final.0'")
    network = rcproof.load(path)
    assert network.get_submodule("final.0").bias is not None  # it would have


def test_a_layer_that_replaces_a_part_of_another(path: Path) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.encoder = nn.Conv1d(4, 4, 3), nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.encoder(self.conv(x).transpose(1, 2)).mean(1)

    mutant = forged(Net(), path)
    other = nn.MultiheadAttention(4, 4, batch_first=True)
    mutant.document["net"]["layers"]["encoder.self_attn"] = layer_to_json("x", other)
    refused(mutant, path, "encoder.self_attn")
    assert rcproof.load(path).get_submodule("encoder.self_attn").num_heads == 4  # it would be another network
    mutant.nodes.append({"name": "dead", "op": "module", "target": "encoder.self_attn", "kind": "merged"})
    refused(mutant, path, "would stand inside layer 'encoder'")


def test_a_source_of_tied_layers(path: Path) -> None:
    """Its forward takes stacked tensors; in the result the layer runs in the batch."""
    mutant = forged(Plain(), path)
    mutant.source["layers"] = dict(mutant.document["net"]["layers"])
    refused(mutant, path, "is no layer of one strand")


# -- weights ----------------------------------------------------------------------------------------------------------


class Twins(nn.Module):
    """Two layers of one shape."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.a, self.b = nn.Conv1d(4, 4, 3), nn.Conv1d(4, 4, 3), nn.Conv1d(4, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(self.first(x)).relu()).sum(2)


def test_weights_of_one_layer_for_another_of_equal_shape(path: Path) -> None:
    honest = forged(Twins(), path)
    mutant = honest.copy()  # the file has a's weights in both; the certificate says that they come from a
    mutant.tensors["b.weight"] = mutant.tensors["a.weight"]
    mutant.rehash(source=False)
    row = mutant.row("b.weight")
    row["source"], row["source_sha256"] = "net.a.weight", mutant.row("a.weight")["source_sha256"]
    refused(mutant, path, "in the source it would be 'net.b.weight'")
    mutant = honest.copy()
    for key in ("sha256", "shape", "dtype"):
        one, two = (mutant.source["tensors"][f"net.{name}.weight"] for name in "ab")
        one[key], two[key] = two[key], one[key]
    refused(mutant, path, "two hashes of the source's tensor")


def test_a_second_origin_for_one_tensor(path: Path) -> None:
    """The described network has one weight, the file another, said to be a constant of the code of that name."""
    mutant = forged(Twins(), path)
    mutant.put("b.weight", torch.ones(4, 4, 3, dtype=torch.float64))
    mutant.rehash(source=False)
    row = mutant.row("b.weight")
    row["source"], row["source_sha256"] = "constant b.weight", row["result_sha256"]
    mutant.source["tensors"]["constant b.weight"] = {
        k: row[r] for k, r in (("sha256", "result_sha256"), ("shape", "shape"), ("dtype", "dtype"))
    }
    refused(mutant, path, "tensor 'b.weight' of the source is described twice")
    del mutant.source["tensors"]["net.b.weight"]  # then it is simply another network
    assert accepted(mutant.write(path))
    assert agree(path, mutant, 1)


@pytest.mark.parametrize("value", [1e-300, float("nan"), float("inf"), -1.0])
def test_a_coupling_that_is_not_zero(value: float, path: Path) -> None:
    mutant = forged(Twins(), path, couple="a")
    weight = mutant.tensor("a.weight")
    weight[1, 5, 2] = value
    mutant.put("a.weight", weight)
    mutant.rehash()
    why = "B is not zero" if math.isfinite(value) else "it holds NaN or infinity"
    refused(mutant, path, "a.weight: copy+zero of net.a.weight", why)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers(value: float, path: Path) -> None:
    """0·∞ is no number, so B = 0 would not be as if B were not there."""
    mutant = forged(Twins(), path, couple="a")
    weight, bias = mutant.tensor("a.weight").abs(), mutant.tensor("first.bias")
    bias[1] = value
    mutant.put("a.weight", weight)
    mutant.put("first.bias", bias)
    mutant.put("b.weight", mutant.tensor("b.weight").abs())  # so that the source gives ∞, and not ∞ − ∞
    mutant.rehash()
    row = mutant.row("a.weight")
    own = forged(Twins(), path)
    own.put("a.weight", weight[:, :4])
    own.rehash()
    row["source_sha256"] = own.row("a.weight")["source_sha256"]
    mutant.source["tensors"]["net.a.weight"] = own.source["tensors"]["net.a.weight"]
    refused(mutant, path, "first.bias: copy of net.first.bias", "it holds NaN or infinity")
    assert value != float("inf") or not agree(path, mutant, 1)


def test_a_mask_of_minus_infinity_is_a_constant(path: Path) -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(4, 6, 3)
            self.mask = torch.zeros(10, dtype=torch.float64).index_fill_(0, torch.tensor([3]), -float("inf"))

        def forward(self, x: Tensor) -> Tensor:
            return (self.conv(x) + self.mask).softmax(2).amax(2)

    assert agree(path, forged(Masked(), path), 1)


def test_a_coupling_of_negative_zeros_is_zero(path: Path) -> None:
    mutant = forged(Twins(), path, couple="a")
    weight = mutant.tensor("a.weight")
    weight[:, 4:] = -0.0
    mutant.put("a.weight", weight)
    mutant.rehash()
    assert accepted(mutant.write(path))
    assert agree(path, mutant, 1)


def test_halves_of_a_coupling_exchanged(path: Path) -> None:
    mutant = forged(Twins(), path, couple="a")
    weight = mutant.tensor("a.weight")
    mutant.put("a.weight", torch.cat([weight[:, 4:], weight[:, :4]], 1))
    mutant.rehash()
    refused(mutant, path, "B is not zero")


def test_coupled_by_the_layer_alone_or_by_the_certificate_alone(path: Path) -> None:
    honest = forged(Twins(), path, couple="a")
    mutant = honest.copy()
    mutant.document["net"]["layers"]["a"]["args"]["coupled"] = False
    refused(mutant, path)
    mutant = honest.copy()
    mutant.row("a.weight")["how"] = "copy"
    mutant.rehash()
    refused(mutant, path, "a.weight")
    mutant = honest.copy()
    mutant.row("b.weight")["how"] = "copy+zero"
    refused(mutant, path, "the layer is not coupled")


@pytest.mark.parametrize(
    ("dtype", "shape"), [("F64", [4, 3, 4]), ("I64", [4, 4, 3]), ("F32", [4, 4, 6]), ("F64", [48])]
)
def test_the_same_bytes_in_another_dtype_or_shape(dtype: str, shape: list[int], path: Path) -> None:
    """dtype and shape are hashed with the bytes."""
    honest = forged(Twins(), path)
    mutant = honest.copy()
    mutant.tensors["b.weight"] = dtype, shape, mutant.tensors["b.weight"][2]
    refused(mutant, path, "b.weight")
    assert honest.document["sha256"]["b.weight"] not in refused_hashes(mutant)
    mutant.rehash()
    if shape != [4, 4, 3]:
        refused(mutant, path, "the layer has (4, 4, 3)")


def refused_hashes(mutant: Forged) -> list[str]:
    changed = mutant.copy()
    changed.rehash()
    return [changed.document["sha256"]["b.weight"]]


def test_a_name_that_is_in_the_file_and_an_alias(path: Path) -> None:
    """Readers differ in which of the two they take."""
    mutant = forged(Twins(), path)
    mutant.document["aliases"] = {"a.weight": "b.weight", "b.weight": "a.weight"}
    for one, two in (("a.weight", "b.weight"), ("b.weight", "a.weight")):
        row = mutant.row(one)
        row["result_sha256"] = row["source_sha256"] = mutant.document["sha256"][two]
        mutant.source["tensors"][row["source"]]["sha256"] = row["source_sha256"]
    refused(mutant, path, "stands in the file, and is said to be another name")
    with pytest.raises(CheckpointError):
        rcproof.load(path)


def test_a_parameter_that_is_said_to_be_a_buffer(path: Path) -> None:
    """It would be put beside the parameter, and the layer would go on reading what it was made with."""
    mutant = forged(Twins(), path)
    mutant.document["buffers"].append("a.weight")
    refused(mutant, path, "tensor 'a.weight' is a buffer in the file, unlike in its layer")


def test_a_tensor_of_a_layer_that_is_said_to_be_nobodys(path: Path) -> None:
    """Its shape would not be checked."""
    mutant = forged(Twins(), path)
    mutant.document["net"]["tensors"].append("b.weight")
    refused(mutant, path, "belongs to a layer")


# -- representations --------------------------------------------------------------------------------------------------


def everywhere(mutant: Forged, key: str, value: str) -> None:
    """How an output is merged, in the graph, the certificate and the source."""
    for record in (mutant.certificate, mutant.source):
        record[key][0] = value
    for node in mutant.nodes:
        if node["op"] == "merge":
            node["rep" if key == "outputs" else "target"] = value
    mutant.prove()


def test_one_number_an_example_under_a_representation(path: Path) -> None:
    class Score(Plain):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).sum(1)

    mutant = forged(Score(), path)
    everywhere(mutant, "outputs", "reversal")
    refused(mutant, path, "merges one number an example")


@pytest.mark.parametrize("rep", ["pairs:2", "perm:1,0", "tokens:1,0"])
def test_a_representation_of_another_size(rep: str, path: Path) -> None:
    mutant = forged(Plain(), path)
    everywhere(mutant, "outputs", rep)
    refused(mutant, path)


def test_a_consistent_lie_is_another_network(path: Path) -> None:
    """Merged by sum, and described as merged by sum: true of what it describes, which is not the source."""
    mutant = forged(Plain(), path)
    everywhere(mutant, "merge", "sum")
    assert accepted(mutant.write(path))
    assert agree(path, mutant, 1)


# -- time and memory --------------------------------------------------------------------------------------------------


def quick(mutant: Forged, path: Path, *reasons: str) -> None:
    start = time.perf_counter()
    refused(mutant, path, *reasons)
    assert time.perf_counter() - start < 10


def test_numbers_that_take_forever(path: Path) -> None:
    honest = forged(Plain(), path)
    for target, args in (
        ("operator.pow", [10, 10**9]), ("operator.mul", [[0], 10**12]), ("operator.pow", [2.0, 10**300]),
        ("operator.mul", [{"tuple": [0]}, 10**12]), ("operator.pow", [10**60, 60]),
    ):  # fmt: skip
        mutant = honest.copy()
        mutant.insert("relu", "number", target, args)
        mutant.both("relu", target="operator.mul", args=[H, {"ref": "number"}])
        quick(mutant.prove(), path, "step 'number'")


def test_a_tensor_in_a_million_pieces(path: Path) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(4, 6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x).unbind(2)[0]

    mutant = forged(Net(), path)
    mutant.document["input_shapes"] = [[4, 1 << 24]]
    quick(mutant, path, "pieces")
    mutant.document["input_shapes"] = [[4, 1 << 40]]
    quick(mutant, path, "larger than is believed")


def test_long_inputs_of_recurrent_layers(path: Path) -> None:
    """Their shapes are known without walking over the positions."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.own = nn.LSTM(4, 3, batch_first=True), Recurrent(3, 2, "gru")

        def forward(self, x: Tensor) -> Tensor:
            return self.own(self.lstm(x.transpose(1, 2))[0].transpose(1, 2)).amax(2)

    honest = forged(Net(), path)
    honest.document["input_shapes"] = [[4, 1 << 24]]
    honest.said()
    start = time.perf_counter()
    assert accepted(honest.write(path))
    assert time.perf_counter() - start < 10


def test_sizes_that_do_not_fit_in_memory(path: Path) -> None:
    mutant = forged(Plain(), path)
    for part in (mutant.document["net"], mutant.source):
        part["layers"]["dense"]["args"]["in_features"] = 10**9
        part["layers"]["dense"]["args"]["out_features"] = 10**9
    quick(mutant, path, "the layer has (1000000000, 1000000000)")
