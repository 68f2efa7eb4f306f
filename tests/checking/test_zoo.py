"""Every kind of network that converts proves itself, and to its own source alone."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch import nn

from rcproof.checking.check import VERDICT, check_file
from rcproof.checking.described import canonical
from rcproof.checking.sources import compare_sources
from rcproof.checkpoints import save
from rcproof.conjoined import Conjoined
from rcproof.convert import ConvertConfig, convert
from rcproof.convert.coupling import couple_conversion
from rcproof.convert.source import describe_source
from rcproof.network.modules import layer_from_json, layer_to_json
from rcproof.nn.couple import coupled_layers
from rcproof.testing import DrawnNetwork, networks
from tests.checking.forging import Forged, agree
from tests.checkpoints.test_native import SAVABLE
from tests.convert import holding
from tests.convert.nets import ZOO


def failures(path: Path, source: Any = None) -> list[str]:
    return [check.name for check in check_file(path, source).report.failures]


@pytest.mark.parametrize("name", SAVABLE)
def test_what_converts_proves_itself(name: str, tmp_path: Path) -> None:
    """And to its source; the network that is described is, by numbers, the one in the file."""
    case, path = ZOO[name], tmp_path / "a.safetensors"
    model, conversion = holding.conversion_of(case, verify=False)
    save(conversion, path)
    described = describe_source(model, len(conversion.certificate.inputs), case.leaves)
    found = check_file(path, described)
    assert found.passed, found.report
    assert found.statement == VERDICT
    assert found.lifted == conversion.certificate.lifted
    assert {c.name.partition(":")[0] for c in found.report.checks} == {
        "weights", "graph", "examples", "side conditions", "proof", "source",
    }  # fmt: skip
    assert agree(path, Forged.of(path), draws=1)
    own, wrong = canonical(described), others(described)
    assert failures(path, wrong[0])
    for other in wrong:
        assert any(why for _, why in compare_sources(own, canonical(other))), other
    coupled = couple_conversion(conversion)
    if coupled_layers(coupled.model):
        save(coupled, path)
        assert {row.how for row in coupled.certificate.tensors} >= {"copy+zero"}
        found = check_file(path, described)
        assert found.passed, found.report
        assert agree(path, Forged.of(path), draws=1)


def others(described: dict[str, Any]) -> list[dict[str, Any]]:
    """The same network with one thing changed: a bit of a weight, an argument, a function, how it is merged."""
    found = []

    def changed() -> dict[str, Any]:
        found.append(copy.deepcopy(described))
        return found[-1]

    name = next(iter(described["tensors"]))
    changed()["tensors"][name]["sha256"] = "0" * 64
    changed()["merge"][0] = "sum" if described["merge"][0] != "sum" else "mean"
    changed()["outputs"][0] = "length" if described["outputs"][0] != "length" else "fixed"
    nodes = [i for i, n in enumerate(described["graph"]["nodes"]) if n["op"] == "call" and n["target"].endswith("relu")]
    if nodes:
        changed()["graph"]["nodes"][nodes[0]]["target"] = "torch.tanh"
    norms = [p for p, s in described["layers"].items() if "eps" in s["args"]]
    if norms:
        changed()["layers"][norms[0]]["args"]["eps"] *= 2
    return found


@pytest.mark.parametrize("layout", ["stacked", "batched"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_layouts_and_dtypes(layout: str, dtype: torch.dtype, tmp_path: Path) -> None:
    _, conversion = holding.conversion_of(ZOO["Basset"], dtype, verify=False, layout=layout)
    save(conversion, tmp_path / "a.safetensors")
    assert check_file(tmp_path / "a.safetensors").passed


class Tail(nn.Module):
    """Reads its weight by itself too, has a token of its own for every example, and layers of other kinds."""

    def __init__(self, merge_weight: bool = False) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(4, 6, 5), nn.BatchNorm1d(6, affine=False)
        self.token, self.scale = nn.Parameter(torch.randn(1, 1, 6)), nn.Parameter(torch.randn(6))
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.register_buffer("unused", torch.zeros(3), persistent=False)
        self.dense, self.project = nn.Linear(6, 2), nn.Linear(6, 6)
        self.merge_weight = merge_weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm(self.conv(x)).transpose(1, 2)
        n, _, _ = h.shape
        h = torch.cat([self.token.expand(n, -1, -1), h], dim=1) * self.project(self.scale.view(1, 6).to(h)).unsqueeze(1)
        two = h.shape[:2]
        h = h.reshape(two + (2, 3)).flatten(2)  # noqa: RUF005 (as it is written)
        out, _ = self.attention(h, h, h, need_weights=False)
        y = self.dense(out[:, 0])
        return y * self.conv.weight.mean() if self.merge_weight else y


class Unused(nn.Module):
    """Steps on which no output depends, before the merge and after it: tracing keeps those that write."""

    def __init__(self, after: bool = False) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2) if after else nn.Conv1d(4, 2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        aside = self.first(x).tanh()
        aside.add_(x.size(1))
        return self.first(x).sigmoid()


def test_steps_that_no_output_depends_on(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    net = nn.Sequential(Unused(), nn.AdaptiveMaxPool1d(1), nn.Flatten())
    model = Conjoined(net, final=Unused(after=True)).double().eval()
    save(convert(model, ConvertConfig(input_shapes=[(4, 20)], verify=False)), path)
    assert check_file(path, describe_source(model, 1)).passed
    forged = Forged.of(path)
    aside = [n["name"] for n in forged.nodes if n["target"] == "Tensor.add_"]
    assert len(aside) == 2
    for name in aside:
        mutant = forged.copy()
        mutant.node(name)["args"][1] = 2.5
        assert "has other arguments than in the source" in check_file(mutant.write(path)).statement
        mutant.node(name)["name"] += "x"
        assert "the source has no such step" in check_file(mutant.write(path)).statement


class Casts(nn.Module):
    """Casts of inputs that carry signs, and of codes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.flags, self.embedding = nn.Conv1d(4, 6, 3), nn.Conv1d(4, 6, 3), nn.Embedding(5, 6)

    def forward(self, signed: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        h = self.conv(signed.clone().double().to(signed)) + self.flags(signed.bool().to(signed))
        return h.mean(2) + self.embedding(codes.int().long()).mean(1) * codes.clone().to(signed).mean(1, keepdim=True)


def test_casts(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    model = Conjoined(Casts().double(), ("perm:-1,-0,2,3", "tokens:3,2,1,0,4")).eval()
    save(convert(model, ConvertConfig(input_shapes=[(4, 20), (20,)])), path)
    found = check_file(path, describe_source(model, 2))
    assert found.passed, found.statement
    forged = Forged.of(path)
    kinds = {n["target"]: n["kind"] for n in forged.nodes}
    assert (kinds["Tensor.double"], kinds["Tensor.bool"], kinds["Tensor.int"]) == ("closed", "stacked", "closed")
    (flags,) = [n["name"] for n in forged.nodes if n["target"] == "Tensor.bool"]
    forged.node(flags).update(kind="closed", rep="perm:-1,-0,2,3")
    forged.node(flags).pop("stacked")
    forged.prove().write(path)
    assert "which no lemma covers" in str(check_file(path).report)


def test_tokens_for_every_example_and_sizes_in_tuples(tmp_path: Path) -> None:
    net = Conjoined(Tail().double()).eval()
    conversion = convert(net, ConvertConfig(input_shapes=[(4, 20)]))
    save(conversion, tmp_path / "a.safetensors")
    found = check_file(tmp_path / "a.safetensors", describe_source(net, 1))
    assert found.passed, found.report
    assert agree(tmp_path / "a.safetensors", Forged.of(tmp_path / "a.safetensors"))


def test_a_coupled_weight_that_a_step_reads_by_itself_is_another_function(tmp_path: Path) -> None:
    """V = [W, 0] has another mean than W: coupling such a layer changes what the network computes."""

    class ReadsIt(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv1d(4, 4, 3), nn.Conv1d(4, 2, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(self.first(x)) * self.second.weight.mean()

    net = Conjoined(ReadsIt().double(), outputs="reversal").eval()
    conversion = convert(net, ConvertConfig(input_shapes=[(4, 20)], verify=False))
    path = tmp_path / "a.safetensors"
    save(conversion, path)
    assert check_file(path).passed
    save(couple_conversion(conversion, "second"), path)
    assert not agree(path, Forged.of(path))
    found = check_file(path)
    assert "a step reads it by itself, and would read B too" in found.statement


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(networks())
def test_random_networks(program: DrawnNetwork) -> None:
    """Layers in any order, over any representations, coupled and not: each proves itself to its source."""
    model = program.conjoined()
    conversion = convert(model, ConvertConfig(input_shapes=program.shapes, verify=False))
    described = describe_source(model, len(program.shapes))
    with tempfile.TemporaryDirectory() as folder:
        for result in (conversion, couple_conversion(conversion)):
            path = Path(folder) / "a.safetensors"
            save(result, path)
            found = check_file(path, described)
            assert found.passed, found.statement


class Renamed(nn.Conv1d):
    """A convolution with a constructor of its own."""

    def __init__(self, channels: int) -> None:
        super().__init__(4, channels, 5)


def test_a_subclass_that_is_still_the_layer(tmp_path: Path) -> None:
    net = Conjoined(nn.Sequential(Renamed(2), nn.ReLU()), outputs="reversal").eval()
    conversion = convert(net, ConvertConfig(verify=False))
    save(conversion, tmp_path / "a.safetensors")
    assert check_file(tmp_path / "a.safetensors", describe_source(net, 1)).passed


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("kind", ["BatchNorm1d", "BatchNorm2d", "GroupNorm", "InstanceNorm1d"])
def test_no_file_holds_an_argument_that_older_torch_does_not_have(kind: str, affine: bool) -> None:
    """Norms take ``bias`` apart from ``affine`` in newer torch only; files that say it all the same are read."""
    layer = getattr(nn, kind)(*((2, 4) if kind == "GroupNorm" else (4,)), affine=affine)
    said = layer_to_json("norm", layer)
    assert "bias" not in said["args"]
    for written in (said, {**said, "args": {**said["args"], "bias": affine}}):
        again = layer_from_json("norm", written)
        assert layer_to_json("norm", again) == said
        assert [n for n, _ in again.named_parameters()] == [n for n, _ in layer.named_parameters()]


def test_another_source(tmp_path: Path) -> None:
    """One bit of one weight, another graph, another argument, another merge: each is named."""
    path = tmp_path / "a.safetensors"

    def build(bias: float = 0.0, eps: float = 1e-5, relu: Any = nn.ReLU, **how: Any) -> Conjoined:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv1d(4, 3, 5), nn.BatchNorm1d(3, eps=eps), relu(), nn.Conv1d(3, 2, 3))
        net[0].bias.data[0] += bias
        return Conjoined(net, outputs=how.pop("outputs", "reversal"), **how).eval()

    save(convert(build(), ConvertConfig(verify=False)), path)
    assert check_file(path, describe_source(build(), 1)).passed
    one_bit = float(torch.finfo(torch.float32).eps) / 4
    wrong = {
        "source: net.0.bias": build(bias=one_bit),
        "source: graph": build(eps=1e-4),
        "source: merge": build(merge="max"),
        "source: outputs": build(outputs="length"),
        "source: final step 0": build(final="sigmoid"),
    }
    assert not torch.equal(wrong["source: net.0.bias"].net[0].bias, build().net[0].bias)
    wrong["source: final steps"] = wrong.pop("source: final step 0")
    for name, other in wrong.items():
        assert failures(path, describe_source(other, 1)) == [name]
    assert failures(path, describe_source(build(relu=nn.ELU), 1)) == ["source: graph"]
