"""Presets: the networks they build are those of their packages, convert whole, and what does not fit is refused."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rcproof.checkpoints.presets.bpnet as bpnet_preset
import rcproof.checkpoints.presets.deepsea as deepsea_preset
from rcproof.checkpoints.imported import ReadOptions
from rcproof.checkpoints.presets import PRESETS, Built, preset
from rcproof.checkpoints.presets.base import lengths_for, roundest
from rcproof.checkpoints.reading import read_model
from rcproof.conjoined import Conjoined
from rcproof.convert import ConvertConfig, convert
from rcproof.errors import CheckpointError
from rcproof.strand import rc
from tests.checkpoints import preset_references as reference
from tests.checkpoints.keras.oracles import TOLERANCE, draw_weights, keras2
from tests.cli.commands import run, run_json
from tests.strategies import normal, randomise

Outputs = tuple[Tensor, ...]


def build(name: str, state: dict[str, Tensor], **arguments: Any) -> Built:
    built = preset(name).network(state, arguments)
    assert built is not None
    return built


def close(got: Any, want: Any, tolerance: float = 1e-12) -> None:
    ours, theirs = ((v,) if isinstance(v, Tensor) else tuple(v) for v in (got, want))
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        assert torch.isfinite(b).all() and b.std() > 0
        assert not ((a - b).abs().max() > tolerance * b.abs().max())


def tracks(seed: int, *shape: int) -> Tensor:
    return normal(seed, *shape).abs()


def converts(name: str, built: Built, shapes: Sequence[tuple[int, ...]]) -> None:
    """Everything is tied, keys stay, and the result is the two strands merged by hand."""
    chosen = preset(name)
    assert chosen.final is None
    conjoined = Conjoined(built.network, built.inputs, built.outputs, chosen.merge[0]).eval()
    conversion = convert(conjoined, ConvertConfig(input_shapes=shapes))
    assert conversion.certificate.share_tied == 1.0
    assert set(conversion.model.state_dict()) == set(built.network.state_dict())
    x = [tracks(i + 50, 3, *shape) for i, shape in enumerate(shapes)]
    own = built.network(*x)
    other = built.network(*(rc(v, r) for v, r in zip(x, built.inputs, strict=True)))
    if isinstance(own, Tensor):
        own, other = (own,), (other,)
    want = [(a + rc(b, r)) / 2 for a, b, r in zip(own, other, built.outputs, strict=True)]
    close(conversion.model(*x), want)


# -- bpnet-lite ---------------------------------------------------------------------------------------------

BPNETS: dict[str, tuple[dict[str, Any], tuple[str, ...], tuple[str, ...]]] = {
    "stranded, controls": ({}, ("reversal", "reversal"), ("reversal", "fixed")),
    "no controls": ({"controls": 0, "biases": False}, ("reversal",), ("reversal", "fixed")),
    "unstranded": ({"controls": 1, "outputs": 1}, ("reversal", "length"), ("length", "fixed")),
    "two tasks, six controls": ({"controls": 6, "outputs": 4}, ("reversal", "pairs:3"), ("pairs:2", "fixed")),
    "one layer": ({"layers": 1, "controls": 0}, ("reversal",), ("reversal", "fixed")),
    "other widths": ({"widths": (25, 25), "controls": 0, "outputs": 1}, ("reversal",), ("length", "fixed")),
}


def bpnet_case(
    name: str, old: bool, trimming: int | None, layers: int | None = None
) -> tuple[Built, dict[str, Tensor], int]:
    torch.manual_seed(0)
    options, _, _ = BPNETS[name]
    state = reference.bpnet_state(**options)
    said: dict[str, Any] = {} if trimming is None else {"trimming": trimming}
    count = options.get("layers", 3)
    default = 2**count if old else 47 + sum(2**i for i in range(1, count + 1))
    if old:
        said["network"] = "BasePairNet"
    return build("bpnet-lite", state, **said), state, default if trimming is None else trimming


def check_bpnet(name: str, old: bool = False, trimming: int | None = None) -> None:
    built, state, trim = bpnet_case(name, old, trimming)
    assert built.shapes[0] == (4, 1000 + 2 * trim)
    assert (built.inputs, built.outputs) == BPNETS[name][1:]
    for length in (2 * trim + 40, 2 * trim + 97):
        x = [tracks(i, 2, s[0], length) for i, s in enumerate(built.shapes)]
        close(built.network(*x), reference.bpnet(state, x[0], x[1] if len(x) > 1 else None, trim, old))


@pytest.mark.parametrize("name", BPNETS)
@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("trimming", [None, 0, 20, 37, 60])
def test_bpnet(name: str, old: bool, trimming: int | None) -> None:
    check_bpnet(name, old, trimming)


@pytest.mark.parametrize("name", BPNETS)
@pytest.mark.parametrize("old", [False, True])
def test_bpnet_converts(name: str, old: bool) -> None:
    built, _, trim = bpnet_case(name, old, None)
    converts("bpnet-lite", built, [(s[0], 2 * trim + 60) for s in built.shapes])


def test_bpnet_keeps_its_keys() -> None:
    built, state, _ = bpnet_case("stranded, controls", False, None)
    assert {k: v.data_ptr() for k, v in built.network.state_dict().items()} == {
        k: v.data_ptr() for k, v in state.items()
    }


def test_bpnet_notes() -> None:
    trimming, kind = build("bpnet-lite", reference.bpnet_state(layers=8)).notes
    assert trimming == (
        "trimming 557 (the default of BPNet): profiles are so much shorter than the input at either end; if it is "
        "another, say --model-args '{\"trimming\": N}'"
    )
    assert kind == (
        "taken for BPNet; BasePairNet has the same keys and is another function: its files need --model-args "
        '\'{"network": "BasePairNet"}\''
    )
    assert build("bpnet-lite", reference.bpnet_state(outputs=4), trimming=9, network="BPNet").notes == (
        "trimming 9 (as you say): profiles are so much shorter than the input at either end",
        "4 outputs are taken to be pairs:2; if they are not, say --input and --output",
    )


def chrombpnet_state(layers: tuple[int, int] = (3, 2)) -> dict[str, Tensor]:
    torch.manual_seed(1)
    parts = {
        "accessibility.": reference.bpnet_state(layers=layers[0], outputs=1, controls=0),
        "bias.": reference.bpnet_state(filters=3, layers=layers[1], outputs=1, controls=0),
    }
    return {prefix + key: t for prefix, part in parts.items() for key, t in part.items()}


@pytest.mark.parametrize("said", [{}, {"trimming": 40, "bias_trimming": 40}, {"trimming": 50, "bias_trimming": 0}])
def test_chrombpnet(said: dict[str, int]) -> None:
    state = chrombpnet_state()
    built = build("chrombpnet", state, **said)
    trims = said.get("trimming", 61), said.get("bias_trimming", 53)
    x = tracks(3, 2, 4, 2 * trims[0] + 70)
    close(built.network(x), reference.chrombpnet(state, x, *trims))
    assert (built.inputs, built.outputs) == (("reversal",), ("length", "fixed"))
    frozen = {name for name, p in built.network.named_parameters() if not p.requires_grad}
    assert frozen == {name for name in state if name.startswith("bias.")}
    converts("chrombpnet", built, [(4, 2 * trims[0] + 70)])


def test_one_half_of_a_chrombpnet() -> None:
    state = reference.bpnet_state(outputs=1, controls=0)
    built = build("chrombpnet", state)
    x = tracks(3, 2, 4, 200)
    close(built.network(x), reference.bpnet(state, x, None, 61))


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ({"n_layers": 3}, {}),
        ({"n_layers": 2, "n_outputs": 1, "n_control_tracks": 0, "profile_output_bias": False}, {}),
        ({"n_layers": 3, "n_control_tracks": 1, "count_output_bias": False, "trimming": 20}, {"trimming": 20}),
    ],
)
@pytest.mark.parametrize("kind", ["BPNet", "BasePairNet"])
def test_bpnet_of_bpnetlite(kind: str, options: dict[str, Any], arguments: dict[str, Any]) -> None:
    module = pytest.importorskip("bpnetlite.bpnet", reason="bpnet-lite is not installed")
    torch.manual_seed(0)
    net = getattr(module, kind)(**{"n_filters": 6, "verbose": False, **options}).double().eval()
    built = build("bpnet-lite", net.state_dict(), network=kind, **arguments)
    x = [tracks(i, 2, s[0], 2 * net.trimming + 91) for i, s in enumerate(built.shapes)]
    with torch.no_grad():
        close(built.network(*x), net(*x))


def test_chrombpnet_of_bpnetlite() -> None:
    bpnet = pytest.importorskip("bpnetlite.bpnet", reason="bpnet-lite is not installed").BPNet
    module = pytest.importorskip("bpnetlite.chrombpnet", reason="bpnet-lite is not installed")
    torch.manual_seed(0)
    same = {"n_outputs": 1, "n_control_tracks": 0, "verbose": False}
    net = module.ChromBPNet(bpnet(5, 2, **same), bpnet(6, 4, **same)).double().eval()
    built = build("chrombpnet", net.state_dict())
    x = tracks(0, 2, 4, 231)
    with torch.no_grad():
        close(built.network(x), net(x))


def test_pickled_module_of_bpnetlite(tmp_path: Path) -> None:
    bpnet = pytest.importorskip("bpnetlite.bpnet", reason="bpnet-lite is not installed").BPNet
    net = bpnet(5, 2, n_control_tracks=2, verbose=False).eval()
    torch.save(net, tmp_path / "whole.torch")
    found = read_model(tmp_path / "whole.torch", ReadOptions(allow_pickle=True, arch="bpnet-lite"))
    assert type(found.model) is bpnet
    assert found.inputs == ("reversal", "reversal")
    assert found.outputs == ("reversal", "fixed")
    assert found.merge == ("mean",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("iconv.weight"), "the file has no tensor 'iconv.weight': got 9 tensors: iconv.bias, rconvs.0"),
        (lambda s: s.pop("linear.weight"), "the file has no tensor 'linear.weight'"),
        (lambda s: s.pop("rconvs.0.weight"), "the file has no tensor 'rconvs.0.weight'"),
        (lambda s: s.update(extra=torch.zeros(1)), "tensors that this network has no place for: got extra"),
        (
            lambda s: s.update({"rconvs.1.weight": torch.zeros(5, 4, 3)}),
            r"tensor 'rconvs.1.weight': got float32 of shape \(5, 4, 3\); expected numbers of shape \(any, 5, 3\)",
        ),
        (lambda s: s.update({"rconvs.1.weight": torch.zeros(4, 5, 3)}), "tensor 'rconvs.1.bias'"),
        (
            lambda s: s.update({"iconv.weight": torch.zeros(5, 4, 20)}),
            "tensor 'iconv.weight': got 20 taps; expected an odd",
        ),
        (lambda s: s.update({"iconv.weight": torch.zeros(5, 4, 21, dtype=torch.int64)}), "got int64 of shape"),
        (lambda s: s.update({"iconv.weight": torch.zeros(0, 4, 21)}), "numbers of shape"),
        (lambda s: s.update({"fconv.weight": torch.zeros(2, 4, 75)}), "got 4 channels; expected at least 5 filters"),
        (lambda s: s.update({"linear.weight": torch.zeros(2, 6)}), r"expected numbers of shape \(1, 6\)"),
        (lambda s: s.update({f"rconvs.{i}.bias": torch.zeros(5) for i in range(30)}), "got 30; expected at most 16"),
    ],
)
def test_bpnet_that_does_not_fit(change: Callable[[dict[str, Tensor]], Any], message: str) -> None:
    state = reference.bpnet_state(layers=2)
    change(state)
    with pytest.raises(CheckpointError, match=message) as error:
        build("bpnet-lite", state)
    assert str(error.value).startswith("--arch bpnet-lite: ")


def test_chrombpnet_that_does_not_fit() -> None:
    state = chrombpnet_state()
    with pytest.raises(CheckpointError, match="bias_trimming: got 62; expected at most 61, that of accessibility"):
        build("chrombpnet", state, bias_trimming=62)
    with pytest.raises(CheckpointError, match="the file has no tensor 'bias.iconv.weight'"):
        build("chrombpnet", {k: t for k, t in state.items() if not k.startswith("bias.")})
    state["bias.fconv.weight"] = torch.zeros(2, 3, 75)
    with pytest.raises(CheckpointError, match="the two networks: got 0 and 0 control tracks, 1 and 2 outputs"):
        build("chrombpnet", state)


# -- DeepSEA and its kin ------------------------------------------------------------------------------------

DEEPSEAS: dict[str, tuple[Callable[[], nn.Module], bool, str, int, str]] = {
    "selene": (reference.SeleneDeepSEA, False, "", 200, "DeepSEA of selene"),
    "selene, wrapped": (lambda: nn.ModuleDict({"model": reference.SeleneDeepSEA()}), False, "model", 200,
                        "DeepSEA of selene"),
    "deeper": (reference.DeeperDeepSEA, False, "", 400, "DeeperDeepSEA of selene"),
    "kipoi": (reference.kipoi_deepsea, True, "", 200, "DeepSEA of Kipoi"),
    "kipoi, after recoding": (
        lambda: nn.Sequential(nn.Identity(), reference.kipoi_deepsea()), True, "1", 200, "DeepSEA of Kipoi"
    ),
    "Beluga": (reference.Beluga, True, "", 400, "Beluga"),
    "Beluga without its prefix": (lambda: reference.Beluga().model, True, "", 400, "Beluga"),
    "Seqweaver": (reference.Seqweaver, False, "", 200, "Seqweaver"),
}  # fmt: skip


def deepsea_case(name: str) -> tuple[Built, Callable[[Tensor], Tensor]]:
    make, image, inner, _, _ = DEEPSEAS[name]
    torch.manual_seed(0)
    net = randomise(make(), 3).eval()
    for p in net.parameters():
        p.data *= 0.3
    state = {k: t.clone() for k, t in net.state_dict().items()}
    called = net.get_submodule(inner) if inner else net
    return build("deepsea", state), (lambda x: called(x.unsqueeze(2))) if image else called


def check_deepsea(name: str) -> None:
    built, net = deepsea_case(name)
    _, _, _, length, kind = DEEPSEAS[name]
    assert built.notes[0] == f"taken for {kind}"
    assert built.shapes == ((4, length),)
    x = normal(1, 3, 4, length)
    with torch.no_grad():
        close(built.network(x), net(x))


@pytest.mark.parametrize("name", DEEPSEAS)
def test_deepsea(name: str) -> None:
    check_deepsea(name)
    built, _ = deepsea_case(name)
    make, _, _, length, _ = DEEPSEAS[name]
    assert set(built.network.state_dict()) == set(make().state_dict())
    converts("deepsea", built, [(4, length)])


def test_deepsea_notes() -> None:
    built, _ = deepsea_case("kipoi, after recoding")
    assert built.notes == (
        "taken for DeepSEA of Kipoi",
        "inputs are taken to have 200 positions (any from 195 to 210 fits)",
        "bases in the order A C G T (selene) or A G C T (Kipoi, ExPecto): reversal exchanges complements in either",
        "convolutions of height one are held as one-dimensional ones: inputs are (N, 4, L), not (N, 4, 1, L)",
        "what Kipoi does before its network is left out: bases come in the order A G C T, one strand at a time",
    )


def test_reversal_is_the_reverse_complement_in_the_order_of_deepsea() -> None:
    for order in ("ACGT", "AGCT"):
        pairs = dict(zip("ACGT", "TGCA", strict=True))
        read, other = "AACGTGC", "".join(pairs[b] for b in reversed("AACGTGC"))
        x, y = (nn.functional.one_hot(torch.tensor([order.index(b) for b in s]), 4).T[None] for s in (read, other))
        assert torch.equal(rc(x, "reversal"), y)


def test_length_of_deepsea() -> None:
    net = reference.SeleneDeepSEA(length=1000)
    assert build("deepsea", net.state_dict()).shapes == ((4, 1000),)
    assert build("deepsea", net.state_dict(), length=995).shapes == ((4, 995),)
    with pytest.raises(
        CheckpointError, match="length: got 994; expected 995 to 1010, which is what its dense layer was"
    ):
        build("deepsea", net.state_dict(), length=994)
    assert lengths_for(53, [("conv", 8, 1), ("pool", 4, 4), ("conv", 8, 1), ("pool", 4, 4), ("conv", 8, 1)]) == (
        995,
        1010,
    )
    assert roundest(995, 1010) == 1000
    assert roundest(991, 993) == 991


@pytest.mark.parametrize(("low", "high"), [(1, 3), (7, 30), (195, 210)])
def test_lengths(low: int, high: int) -> None:
    """Against counting windows, one length after the other."""
    steps = [("conv", 5, 1), ("pool", 4, 3), ("conv", 2, 1), ("pool", 2, 2)]

    def left(length: int) -> int:
        for kind, size, stride in steps:
            length = length - size + 1 if kind == "conv" else (length - size) // stride + 1
        return length

    for outcome in {left(n) for n in range(low + 20, high + 60)}:
        fits = [n for n in range(10, 600) if left(n) == outcome]
        assert lengths_for(outcome, steps) == (min(fits), max(fits))


def test_deepsea_that_does_not_fit() -> None:
    state = reference.SeleneDeepSEA().state_dict()
    del state["classifier.2.bias"]
    state["other"] = torch.zeros(1)
    with pytest.raises(CheckpointError) as error:
        build("deepsea", state)
    assert str(error.value) == (
        "--arch deepsea: the keys of the file: got those of DeepSEA of selene without classifier.2.bias and with "
        "other; expected those of DeepSEA of selene, DeeperDeepSEA of selene, DeepSEA of Kipoi, Beluga, Seqweaver"
    )
    state = reference.SeleneDeepSEA().state_dict()
    state["classifier.0.weight"] = torch.zeros(3, 13)
    with pytest.raises(
        CheckpointError, match="the first dense layer: got 13 features; expected a multiple of 7 filters"
    ):
        build("deepsea", state)
    heart = reference.DeeperDeepSEA(60, 80, 240).state_dict()
    with pytest.raises(CheckpointError, match="the file is one of HeartENN"):
        build("deepsea", heart)


# -- ExplaiNN -----------------------------------------------------------------------------------------------


def explainn_case(**options: Any) -> tuple[Built, nn.Module]:
    net = randomise(reference.ExplaiNN(**options), 5).eval()
    for p in net.parameters():
        p.data *= 0.3
    said = {"length": options.get("length", 60)}
    if "pool" in options:
        said |= {"pool_size": options["pool"][0], "pool_stride": options["pool"][1]}
    return build("explainn", {k: t.clone() for k, t in net.state_dict().items()}, **said), net


def check_explainn(**options: Any) -> None:
    built, net = explainn_case(**options)
    x = normal(2, 3, *built.shapes[0])
    with torch.no_grad():
        close(built.network(x), net(x))
    assert set(built.network.state_dict()) == set(net.state_dict())


@pytest.mark.parametrize(
    "options",
    [*({"dense": n} for n in range(5)), {"pool": (5, 3), "length": 58}, {"units": 1}, {"taps": 19, "length": 80}],
)
def test_explainn(options: dict[str, Any]) -> None:
    check_explainn(**options)
    built, _ = explainn_case(**options)
    converts("explainn", built, built.shapes)


def test_explainn_that_does_not_fit() -> None:
    state = reference.ExplaiNN().state_dict()
    with pytest.raises(CheckpointError, match="length: got 65; expected 57 to 63"):
        build("explainn", state, length=65)
    state["linears.10.weight"] = torch.zeros(8, 6, 1)
    state["linears.10.bias"] = torch.zeros(8)
    state |= {f"linears.11.{k}": torch.zeros(8) for k in ("weight", "bias", "running_mean", "running_var")}
    with pytest.raises(
        CheckpointError, match="dense layers of the units: got 8 answers; expected one for each of 4 units"
    ):
        build("explainn", state)
    state["linears.6.weight"] = torch.zeros(23, 7, 1)
    with pytest.raises(CheckpointError, match="tensor 'linears.6.weight': got 23 filters; expected a multiple of 4"):
        build("explainn", state)


def test_the_real_explainn(data_dir: Path) -> None:
    path = data_dir / "checkpoints" / "explainn" / "model_epoch_best_4.pth"
    found = read_model(path, ReadOptions(arch="explainn"))
    assert found.shapes == ((4, 200),)
    assert (found.inputs, found.outputs, found.merge, found.final) == (("reversal",), ("fixed",), ("mean",), None)
    state = torch.load(path, map_location="cpu", weights_only=True)
    net = reference.ExplaiNN(100, 200, 3, 19, 2, 100)
    net.load_state_dict(state)
    net = net.double().eval()
    x = normal(0, 2, 4, 200)
    with torch.no_grad():
        close(found.model.double()(x), net(x))
    converts("explainn", build("explainn", {k: t.double() for k, t in state.items()}), [(4, 200)])


def test_the_real_explainn_at_the_command_line(data_dir: Path, tmp_path: Path) -> None:
    path = data_dir / "checkpoints" / "explainn" / "model_epoch_best_4.pth"
    out = tmp_path / "rcps.safetensors"
    data = run_json("convert", path, "--arch", "explainn", "-o", out)
    assert data["share_tied"] == 1.0
    assert run("verify", path, out, "--arch", "explainn").exit_code == 0


# -- files that bring their network ---------------------------------------------------------------------------


def test_factornet() -> None:
    say = preset("factornet").representations
    assert say([(6, 1002), (6, 1002)]) == (("perm:3,2,1,0,4,5",) * 2, ("fixed",))
    assert say([(6, 1002), (6, 1002), (14,)]) == (("perm:3,2,1,0,4,5", "perm:3,2,1,0,4,5", "fixed"), ("fixed",))
    assert say([(4, 1002), (4, 1002)])[0] == ("reversal", "reversal")
    assert say([(9, 50), (9, 50)])[0][0] == "perm:3,2,1,0,4,5,6,7,8"
    for shapes in ([(6, 10)], [(6, 10), (5, 10)], [(3, 9), (3, 9)], [(6, 9)] * 3, [(6, 9), (6, 9), (2,), (2,)]):
        with pytest.raises(
            CheckpointError, match="--arch factornet: inputs of the file: got .* expected two of one shape"
        ):
            say(shapes)


def test_chrombpnet_of_keras() -> None:
    assert preset("chrombpnet").representations([(4, 2114)]) == (("reversal",), ("reversal", "fixed"))
    with pytest.raises(
        CheckpointError, match=r"--arch chrombpnet: inputs of the file: got \(4, 9\), \(1,\); expected one"
    ):
        preset("chrombpnet").representations([(4, 9), (1,)])


def test_chrombpnet_of_its_own_package(tmp_path: Path) -> None:
    """The network of the package, small, written by Keras itself; profiles are flattened to vectors of positions."""
    keras = keras2()
    L = keras.layers
    x = given = L.Input((300, 4), name="sequence")
    x = L.Conv1D(5, 21, activation="relu", name="wo_bias_bpnet_1st_conv")(x)
    for i in (1, 2, 3):
        y = L.Conv1D(5, 3, activation="relu", dilation_rate=2**i, name=f"wo_bias_bpnet_{i}conv")(x)
        x = L.add([y, L.Cropping1D((x.shape[1] - y.shape[1]) // 2, name=f"wo_bias_bpnet_{i}crop")(x)])
    profile = L.Conv1D(1, 75, name="wo_bias_bpnet_prof_out_precrop")(x)
    profile = L.Cropping1D(profile.shape[1] // 2 - 50, name="wo_bias_bpnet_logitt_before_flatten")(profile)
    counts = L.Dense(1, name="wo_bias_bpnet_logcount_predictions")(L.GlobalAveragePooling1D(name="gap")(x))
    model = keras.Model(given, [L.Flatten(name="wo_bias_bpnet_logits_profile_predictions")(profile), counts])
    draw_weights(model)
    model.compile()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "You are saving your model as an HDF5 file")
        model.save(tmp_path / "chrombpnet_nobias.h5")
    found = read_model(tmp_path / "chrombpnet_nobias.h5", ReadOptions(arch="chrombpnet"))
    assert (found.inputs, found.outputs, found.merge) == (("reversal",), ("reversal", "fixed"), ("mean",))
    assert found.notes[-1] == "representations as in chrombpnet: reversal"
    conversion = convert(
        Conjoined(found.model, found.inputs or (), found.outputs).eval(), ConvertConfig(input_shapes=found.shapes)
    )
    assert conversion.certificate.share_tied == 1.0
    dna = normal(0, 3, 300, 4).float().numpy()
    (a, b), (a2, b2) = (model.predict(v, verbose=0) for v in (dna, dna[:, ::-1, ::-1]))
    want = torch.from_numpy((a + a2[:, ::-1]) / 2), torch.from_numpy((b + b2) / 2)
    close(conversion.model(torch.from_numpy(dna).transpose(1, 2)), want, TOLERANCE)


def test_what_a_preset_is_not_for(tmp_path: Path) -> None:
    assert preset("factornet").network({}) is None
    with pytest.raises(CheckpointError, match="--arch explainn is for state dicts: got a file with its own network"):
        preset("explainn").representations([(4, 9)])
    with pytest.raises(CheckpointError, match="--arch factornet: got a file that leaves the shapes of its inputs open"):
        preset("factornet").representations(None)
    with pytest.raises(
        CheckpointError, match="--arch: got 'basset'; expected bpnet-lite, chrombpnet, deepsea, explainn"
    ):
        preset("basset")
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="is a state dict: got --arch factornet. That preset is for full models"):
        read_model(tmp_path / "a.pt", ReadOptions(arch="factornet"))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (
            "bpnet-lite",
            {"n_filters": 3},
            "--model-args of --arch bpnet-lite: got 'n_filters'; expected trimming: positions",
        ),
        ("bpnet-lite", {"trimming": -1}, "trimming of --arch bpnet-lite: got -1; expected a whole number"),
        ("bpnet-lite", {"trimming": True}, "got True; expected a whole number"),
        ("bpnet-lite", {"trimming": 1 << 40}, "expected a whole number"),
        ("bpnet-lite", {"network": "BP"}, "network of --arch bpnet-lite: got 'BP'; expected BPNet or BasePairNet"),
    ],
)
def test_arguments_that_do_not_fit(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        build(name, reference.bpnet_state(), **arguments)


def test_every_preset_says_what_it_is() -> None:
    assert list(PRESETS) == ["bpnet-lite", "chrombpnet", "deepsea", "explainn", "factornet"]
    for name, found in PRESETS.items():
        assert found.name == name
        assert len(found.description) < 120
        assert found.merge == ("mean",)


def test_bpnet_at_the_command_line(tmp_path: Path) -> None:
    torch.save({f"module.{k}": t.float() for k, t in reference.bpnet_state().items()}, tmp_path / "bpnet.pt")
    said = ["--arch", "bpnet-lite", "--model-args", json.dumps({"trimming": 20})]
    shapes = ["--shape", "4,90", "--shape", "2,90"]
    out = tmp_path / "rcps.safetensors"
    data = run_json("convert", tmp_path / "bpnet.pt", *said, *shapes, "-o", out)
    assert data["share_tied"] == 1.0
    assert data["inputs"] == ["reversal", "reversal"]
    assert data["outputs"] == ["reversal", "fixed"]


# -- mutants --------------------------------------------------------------------------------------------------


def _cut_short(graph: Any, x: Any, margin: int) -> Any:
    return _right_cut(graph, x, margin + 1) if margin > 0 else x


_right_cut = bpnet_preset._cut


@pytest.mark.parametrize(
    ("module", "name", "wrong", "check"),
    [
        (bpnet_preset, "_WIDER", 36, lambda: check_bpnet("no controls")),
        (bpnet_preset, "_cut", _cut_short, lambda: check_bpnet("no controls")),
        (bpnet_preset, "strands", lambda n: "length", lambda: check_bpnet("stranded, controls")),
        (deepsea_preset, "_POOL", 3, lambda: check_deepsea("selene")),
        (deepsea_preset, "_WEIGHTLESS", {**deepsea_preset._WEIGHTLESS, "threshold": lambda _: nn.Threshold(0, 0.1)},
         lambda: check_deepsea("kipoi")),
        (deepsea_preset, "_WEIGHTLESS", {**deepsea_preset._WEIGHTLESS, "sigmoid": lambda _: nn.Identity()},
         lambda: check_deepsea("deeper")),
    ],
)  # fmt: skip
def test_mutants_are_caught(
    module: Any, name: str, wrong: Any, check: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, name, wrong)
    with pytest.raises((AssertionError, CheckpointError)):
        check()


@pytest.mark.parametrize("name", ["exp", "relu", "unsqueeze"])
def test_explainn_without_a_step_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from rcproof.checkpoints.presets.base import Steps

    right = Steps.call
    monkeypatch.setattr(Steps, "call", lambda self, f, *a: self if f == f"torch.{name}" else right(self, f, *a))
    with pytest.raises((AssertionError, RuntimeError)):
        check_explainn()
