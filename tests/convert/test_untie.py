"""Un-tying: ordinary layers and plain nodes that compute what the RCPS network computes, bit by bit."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rcproof.nn as tied
from rcproof import Conjoined, RcproofError, load, save
from rcproof.convert import Conversion
from rcproof.convert.untie import untie
from rcproof.network.building import GraphBuilder
from rcproof.network.network import Network
from rcproof.network.ordinary import STACKED
from rcproof.network.strand_nodes import StrandNodes
from rcproof.nn import Merge, TiedLayer
from rcproof.strand import mirror, representation
from rcproof.verify import check_equivalence, check_equivariance
from rcproof.verify.running import flatten
from tests.checkpoints.exporting.nets import cases, conversion, coupled, paper
from tests.convert.holding import LAYOUTS, by_hand, cases_of, conversion_of
from tests.convert.nets import ZOO
from tests.strategies import normal, randomise

# Sums of the two strands' halves, or of one layer's two uses, can be taken in another order.
EXACT, SAME = 0.0, 1e-12


def assert_ordinary(network: Network) -> None:
    for name, module in network.named_modules():
        assert not isinstance(module, TiedLayer), name
        assert not type(module).__module__.startswith("rcproof.nn"), name
    assert {n.kind for n in network.rcproof_graph().nodes} == {"merged"}


def assert_same(got: Any, want: Any, tolerance: float = SAME) -> None:
    ours, theirs = flatten(got), flatten(want)
    assert list(ours) == list(theirs)
    for name, y in ours.items():
        assert y.dtype == theirs[name].dtype
        size = theirs[name].abs().max()
        assert size > 0, name
        assert (y - theirs[name]).abs().max() <= tolerance * size, name


# -- every network of the converter's tests -----------------------------------------------------------------


@pytest.mark.parametrize("name", ZOO)
def test_every_network(name: str) -> None:
    """Against the definition in two passes, in every layout, coupled and not, at every length."""
    case = ZOO[name]
    model, conversion = conversion_of(case, verify=False)
    inputs = cases_of(case)
    for layout in ("auto", "stacked"):
        plain = untie(conversion, layout)
        assert_ordinary(plain)
        for c in inputs:
            assert_same(list(flatten(plain(*c.tensors)).values()), list(by_hand(model, *c.tensors).values()))
    network = coupled(conversion.model)
    for layout in LAYOUTS:
        plain = untie(network.set_layout(layout), layout, conversion.input_shapes)
        assert_ordinary(plain)
        for c in inputs:
            assert_same(plain(*c.tensors), network(*c.tensors))
    check_equivalence(network, plain, inputs[:1], title="gradients").raise_if_failed()


def test_the_same_kernels_give_the_same_bits() -> None:
    case = ZOO["dilated, residual, asymmetric crops"]
    _, conversion = conversion_of(case, verify=False)
    for layout in LAYOUTS:
        conversion.model.set_layout(layout)
        for c in cases_of(case):
            assert_same(untie(conversion, layout)(*c.tensors), conversion.model(*c.tensors), EXACT)


# -- every layer family, as a Keras network has them: called on stacked values ------------------------------


def stacked_graph(layer: TiedLayer, merge: str = "mean", output: str = "reversal", channels: int = 6) -> Network:
    """DNA → stacked (N, 2·channels, L) → layer → one answer, every value merged, as in a file that knows no strands."""
    b = GraphBuilder()
    x = b.input("dna")
    h = b.module("first", tied.RCPSConv1d(4, channels, 5, source="reversal"), x)
    h = b.module("second", layer, h)
    network = b.network([b.module("merge", Merge(merge, output), h)])
    return randomise(network, 3).eval()  # type: ignore[return-value]


C = tied.RCPSConv1d
FAMILIES: dict[str, TiedLayer] = {
    "conv": C(6, 8, 3),
    "coupled conv": C(6, 8, 3, coupled=True),
    "strided conv": C(6, 8, 3, stride=2),
    "strided coupled conv": C(6, 8, 3, stride=3, padding=1, coupled=True),
    "same, even kernel": C(6, 8, 4, padding="same"),
    "same, odd kernel, coupled": C(6, 8, 5, padding="same", coupled=True),
    "dilated, reflected": C(6, 8, 3, dilation=2, padding=2, padding_mode="reflect", bias=False),
    "grouped": C(6, 8, 3, groups=2),
    "grouped, coupled": C(6, 8, 3, groups=2, coupled=True),
    "transposed": tied.RCPSConvTranspose1d(6, 4, 4, stride=2, padding=1),
    "transposed, coupled": tied.RCPSConvTranspose1d(6, 4, 4, stride=2, coupled=True),
    "transposed, output padding, groups": tied.RCPSConvTranspose1d(6, 4, 3, stride=2, output_padding=1, groups=2),
    "transposed, groups, coupled": tied.RCPSConvTranspose1d(6, 4, 3, groups=2, coupled=True),
    "batch norm": tied.RCPSBatchNorm1d(6),
    "instance norm": tied.RCPSInstanceNorm1d(6, affine=True, track_running_stats=True),
    "instance norm of each": tied.RCPSInstanceNorm1d(6),
    "group norm": tied.RCPSGroupNorm(3, 6),
    "layer norm over positions": tied.RCPSLayerNorm(33),
    "layer norm over both": tied.RCPSLayerNorm((6, 33)),
    "max pool": tied.RCPSMaxPool1d(3, 2),
    "max pool, ceil, padded": tied.RCPSMaxPool1d(4, 3, 1, ceil_mode=True),
    "average pool": tied.RCPSAvgPool1d(4, 3, 2, count_include_pad=False),
    "average pool of stride one": tied.RCPSAvgPool1d(4, 1),
    "power pool": tied.RCPSLPPool1d(2.0, 3),
    "adaptive average": tied.RCPSAdaptiveAvgPool1d(7),
    "adaptive maximum": tied.RCPSAdaptiveMaxPool1d(5),
    "adaptive to the same length": tied.RCPSAdaptiveMaxPool1d(None),
    "dropout, shared masks": tied.RCPSDropout(0.5, "shared"),
    "dropout of channels": tied.RCPSDropout1d(0.5),
    "weighted sum": tied.RCPSWeightedSum1d(6, 33, symmetric=True, bias=True),
    "weighted sum, coupled": tied.RCPSWeightedSum1d(6, 33, coupled=True, bias=True),
    "lifted": tied.Lifted(nn.Softmax(dim=1)),
    "lifted to vectors": tied.Lifted(nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(6, 5))),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("merge", "output"), [("mean", "reversal"), ("max", "fixed")])
def test_layer_families(family: str, merge: str, output: str) -> None:
    if family.startswith("lifted to") and output == "reversal":
        output = "channels"
    layer = copy.deepcopy(FAMILIES[family])
    network = stacked_graph(layer, merge, output)
    plain = untie(network, "stacked", [(4, 37)])
    assert_ordinary(plain)
    inputs = cases(((4, 37),), ("reversal",), torch.float64)
    for c in inputs:
        assert_same(plain(*c.tensors), network(*c.tensors))
    check_equivalence(network, plain, inputs[1:]).raise_if_failed()
    check_equivariance(plain, inputs, "reversal", output).raise_if_failed()


@pytest.mark.parametrize("output", ["reversal", "length", "fixed", "channels", "pairs:2", "perm:1,0,-2,-3;keep-length"])
@pytest.mark.parametrize("mode", ["mean", "sum"])
def test_every_representation_of_an_output(output: str, mode: str) -> None:
    network = stacked_graph(C(6, 4, 3), mode, output)
    x = normal(1, 3, 4, 30)
    assert_same(untie(network, "stacked", [(4, 37)])(x), network(x), EXACT)


@pytest.mark.parametrize("spec", ["reversal", "length", "fixed", "channels", "dna:ATGC", "perm:-1,-0,2,3", "pairs:2"])
def test_every_representation_of_an_input(spec: str) -> None:
    net = nn.Sequential(nn.Conv1d(4, 6, 5, stride=2), nn.ReLU(), nn.Conv1d(6, 2, 3))
    model = Conjoined(randomise(net, 1), inputs=spec, outputs="reversal").eval()
    result = conversion(model, ((4, 37),))
    for layout in ("auto", "stacked"):
        plain = untie(coupled(result.model), layout, [(4, 37)])
        x = normal(2, 3, 4, 40)
        assert_same(plain(x), coupled(result.model)(x))
        assert_same(untie(result, layout)(x), model(x))


@pytest.mark.parametrize("layer", [tied.RCPSLinear(10, 3, coupled=True), tied.RCPSLinear(10, 3), tied.StrandSum()])
def test_vectors(layer: TiedLayer) -> None:
    b = GraphBuilder()
    h = b.module("dense", tied.RCPSLinear(4, 10, source="perm:3,2,1,0"), b.input("x"))
    h = b.module("second", layer, b.call("torch.relu", h))
    last = h if isinstance(layer, tied.StrandSum) else b.module("sum", tied.StrandSum(), h)
    network = randomise(b.network([last]), 5)
    x = normal(3, 4, 4)
    assert_same(untie(network, "auto", [(4,)])(x), network(x))


def test_embedding_called_on_its_own() -> None:
    b = GraphBuilder()
    h = b.module("embedding", tied.RCPSEmbedding(5, 3, padding_idx=4), b.input("codes"))
    h = b.module("conv", C(3, 4, 3, coupled=True), h)
    network = randomise(b.network([b.module("merge", Merge("mean", "reversal"), h)]), 5)
    codes = torch.randint(5, (3, 20), generator=torch.Generator().manual_seed(1))
    plain = untie(network, "auto", [(20,)])
    assert_ordinary(plain)
    assert_same(plain(codes), network(codes))


# -- what the result is -------------------------------------------------------------------------------------


def test_weights_are_the_tied_ones() -> None:
    """T4: every weight of the stacked form is its own mirror image; every bias too."""
    result = conversion(paper("profile", length=90, filters=4, dilated_layers=2, profile_kernel_size=9))
    plain = untie(coupled(result.model), "stacked", result.input_shapes)
    convolutions = [m for m in plain.modules() if isinstance(m, nn.Conv1d | nn.Linear)]
    assert len(convolutions) == 6
    for layer in convolutions:
        rep = representation("reversal")
        assert torch.equal(layer.weight, mirror(layer.weight, rep))
        assert torch.equal(layer.bias, layer.bias.flip(0))


def test_uncoupled_layers_keep_names_and_weights() -> None:
    """No structural zeros are multiplied: the layers are those of the source, on both strands."""
    source = paper("binary", length=160)
    plain = untie(conversion(source))
    assert {k: v.shape for k, v in plain.state_dict().items()} == {
        k: v.shape for k, v in source.net.state_dict().items()
    }
    assert all(torch.equal(v, source.net.state_dict()[k]) for k, v in plain.state_dict().items())
    stacked = untie(conversion(source), "stacked")
    parameters = sum(p.numel() for p in source.parameters())
    assert sum(p.numel() for p in stacked.parameters()) == 2 * parameters


def test_nothing_is_shared_or_changed() -> None:
    result = conversion(paper("simulated"))
    before = {k: v.clone() for k, v in result.model.state_dict().items()}
    plain = untie(result)
    for tensor in plain.state_dict().values():
        tensor.zero_()
    assert all(torch.equal(v, before[k]) for k, v in result.model.state_dict().items())
    assert not plain.training


def test_every_way_in(tmp_path: Any) -> None:
    """A conjoined network, its conversion, the network alone, a file, an ordinary network: one answer."""
    source = paper("simulated")
    result = conversion(source)
    save(result, tmp_path / "rcps.safetensors")
    x = normal(1, 2, 4, 200, dtype=torch.float32)
    shapes = result.input_shapes
    ways = [untie(source), untie(result), untie(result.model, shapes=shapes)]
    ways.append(untie(load(tmp_path / "rcps.safetensors"), shapes=shapes))
    for plain in ways:
        assert_same(plain(x), source(x), EXACT)
    assert_same(untie(source.net)(x), source.net(x), EXACT)
    save(ways[0], tmp_path / "plain.safetensors")
    assert_same(load(tmp_path / "plain.safetensors")(x), source(x), EXACT)


def test_a_layer_used_in_two_forms_is_two_layers() -> None:
    """Once on the closed input, twice on strand pairs: other weights in the stacked form, shared where they agree."""
    case = ZOO["a layer called twice"]
    _, result = conversion_of(case, verify=False)
    plain = untie(coupled(result.model), "stacked", result.input_shapes)
    uses = [n.target for n in plain.rcproof_graph().nodes if n.op == "module" and n.target.startswith("again")]
    assert len(uses) == 3 and len(set(uses)) == 1


# -- refusals -----------------------------------------------------------------------------------------------


class Strange(TiedLayer):
    def batched(self, s: Tensor) -> Tensor:
        return 2 * s

    def config(self) -> dict[str, object]:
        return {}


def test_layer_without_a_twin_is_named() -> None:
    with pytest.raises(RcproofError, match="layer 'second' has no twin among the layers of torch.nn: got Strange"):
        untie(stacked_graph(Strange()), "stacked", [(4, 37)])


def test_unknown_shapes() -> None:
    network = conversion(paper("simulated")).model
    with pytest.raises(
        RcproofError, match="shapes of the network's inputs: got none; expected 1, each without the batch"
    ):
        untie(network)
    with pytest.raises(RcproofError, match="got 2 for 1 inputs"):
        untie(network, shapes=[(4, 200), (1,)])


def test_no_network_and_no_layout() -> None:
    with pytest.raises(RcproofError, match="network to untie: got int"):
        untie(3)  # type: ignore[arg-type]
    with pytest.raises(RcproofError, match="layout: got 'both'"):
        untie(conversion(paper("simulated")), "both")


# -- mutants ------------------------------------------------------------------------------------------------


def _caught(result: Conversion, layout: str = "stacked") -> None:
    network = coupled(result.model).set_layout("batched")
    plain = untie(network, layout, result.input_shapes)
    x = normal(4, 2, 4, 90)
    inputs = (x, normal(5, 2, 1), normal(6, 2, 2, 62)) if len(result.input_shapes) == 3 else (x,)
    with pytest.raises(AssertionError):
        assert_same(plain(*inputs), network(*inputs))


@pytest.fixture
def profile() -> Conversion:
    source = paper("profile", length=90, filters=4, dilated_layers=2, profile_kernel_size=9, conv_kernel_size=9)
    return conversion(randomise(source, 7))  # type: ignore[arg-type]


def test_mutants_start_from_a_network_that_passes(profile: Conversion) -> None:
    with pytest.raises(pytest.fail.Exception):
        _caught(profile)


def test_mutant_switch_without_a_flip(profile: Conversion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StrandNodes, "flip", lambda self, x, rank: x)
    _caught(profile, "batched")


def test_mutant_merge_without_a_half(profile: Conversion, monkeypatch: pytest.MonkeyPatch) -> None:
    real = StrandNodes.merge
    monkeypatch.setattr(StrandNodes, "merge", lambda self, a, b, mode: real(self, a, b, "sum"))
    _caught(profile)


def test_mutant_bias_not_mirrored(profile: Conversion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rcproof.network.ordinary_layers._tied", lambda v: None if v is None else torch.cat([v, v]))
    _caught(profile)


def test_mutant_weight_not_mirrored(profile: Conversion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rcproof.network.ordinary_layers.tie", lambda v, rep=None: torch.cat([v, v]))
    _caught(profile)


def test_mutant_strands_in_the_other_order(profile: Conversion, monkeypatch: pytest.MonkeyPatch) -> None:
    real = StrandNodes.channels
    swapped = lambda self, *args, **options: real(self, *args, **options)[::-1]  # noqa: E731
    monkeypatch.setattr(StrandNodes, "channels", swapped)
    _caught(profile)


def test_mutant_windows_that_do_not_centre(monkeypatch: pytest.MonkeyPatch) -> None:
    """A strided pool taken at once on both strands is wrong at most lengths (T13)."""
    net = nn.Sequential(nn.Conv1d(4, 6, 4), nn.MaxPool1d(4), nn.Conv1d(6, 2, 3))
    result = conversion(Conjoined(randomise(net, 1), outputs="reversal").eval(), ((4, 90),))
    _, rule = STACKED[tied.RCPSMaxPool1d]
    monkeypatch.setitem(STACKED, tied.RCPSMaxPool1d, (lambda m, rank: True, rule))
    _caught(result)
