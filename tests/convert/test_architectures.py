"""Every architecture that the converter must take: the same function, the same names, tied where it can be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from rcproof.convert import convert
from rcproof.errors import TraceError
from rcproof.nn import couple
from rcproof.verify import check_equivalence, check_equivariance, tolerance_for
from tests.convert import holding
from tests.convert.nets import ZOO, Case

every_net = pytest.mark.parametrize("name", ZOO)


@every_net
def test_conversion(name: str) -> None:
    case = ZOO[name]
    model, conversion = holding.conversion_of(case)
    holding.same_names(case, model, conversion)
    holding.same_function(case, model, conversion)
    # torch itself does not pickle a parametrized layer.
    holding.survives(case, conversion, pickles=name != "weight norm")


@every_net
def test_one_pass_is_two_passes(name: str) -> None:
    case = ZOO[name]
    net = case.build()
    one, two = holding.conjoin(case, net), holding.conjoin(case, net, passes=2)
    check_equivalence(two, one, holding.cases_of(case, shifts=(0,))).raise_if_failed()


@every_net
def test_float32(name: str) -> None:
    """The dtype stays, and the answers agree as closely as the table says."""
    case = ZOO[name]
    model, conversion = holding.conversion_of(case, torch.float32, verify=False)
    tensors = [*conversion.model.parameters(), *conversion.model.buffers()]
    assert {t.dtype for t in tensors if t.is_floating_point()} == {torch.float32}
    inputs = holding.cases_of(case, shifts=(0,))
    for layout in holding.LAYOUTS:
        network = conversion.model.set_layout(layout)
        check_equivalence(model, network, inputs, gradients=False, dtype=torch.float32, title=layout).raise_if_failed()


@pytest.mark.parametrize("name", ["Basset", "DeepSTARR", "dilated, residual, asymmetric crops", "U-Net", "BiLSTM"])
def test_bfloat16(name: str) -> None:
    case = ZOO[name]
    model, conversion = holding.conversion_of(case, torch.bfloat16)  # compared in float64, on copies
    tensors = [*conversion.model.parameters(), *conversion.model.buffers()]
    assert {t.dtype for t in tensors if t.is_floating_point()} == {torch.bfloat16}
    limit = tolerance_for(torch.bfloat16).relative
    (c,) = holding.cases_of(case, kinds=("one-hot",), shifts=(0,))
    xs = tuple(x.bfloat16() for x in c.tensors)
    for want, got in zip(
        holding.flatten(model(*xs)).values(), holding.flatten(conversion.model(*xs)).values(), strict=True
    ):
        assert got.dtype == torch.bfloat16
        assert not ((got - want).abs().max() > limit * want.abs().max())


@pytest.mark.parametrize(
    "shape_free", [n for n in ZOO if n not in ("control tracks of every representation", "tokens")]
)
def test_strict_refuses_to_lift(shape_free: str) -> None:
    case = ZOO[shape_free]
    model = holding.conjoin(case, case.build())
    blocks = [n for n in case.lifted if sum(p.numel() for p in modules_at(model.net, n))]
    if not blocks:
        return
    with pytest.raises(TraceError, match="strict=True refuses to lift them. Use strict=False") as error:
        convert(model, case.config(strict=True))
    assert repr(blocks[0]) in str(error.value)


def modules_at(net: nn.Module, path: str) -> list[nn.Parameter]:
    module = dict(net.named_modules()).get(path)
    return [] if module is None else list(module.parameters())


@pytest.mark.parametrize("name", ["Basset", "control tracks of every representation", "U-Net", "grouped convolutions"])
def test_coupled_random_weights(name: str) -> None:
    """With B ≠ 0 it is no longer the conjoined network, both layouts still agree, and it is equivariant."""
    case = ZOO[name]
    model, conversion = holding.conversion_of(case, verify=False)
    network = couple(conversion.model)
    inputs = holding.cases_of(case)
    check_equivalence(model, network, inputs).raise_if_failed()
    torch.manual_seed(1)
    for p in network.parameters():
        nn.init.normal_(p, std=0.4)
    rho = model.inputs * len(case.shapes) if len(model.inputs) == 1 else model.inputs
    outs = holding.output_representations(model, list(holding.flatten(model(*inputs[0].tensors)).values()))
    batched = conversion.model.set_layout("batched")
    for layout in holding.LAYOUTS:
        check_equivariance(network.set_layout(layout), inputs, rho, outs, title=layout).raise_if_failed()
        batched = holding.copy.deepcopy(network).set_layout("batched")
        check_equivalence(batched, network, inputs, title=layout).raise_if_failed()
    assert not check_equivalence(model, network, inputs[:1]).passed


@pytest.mark.parametrize(
    "name", ["DeepSTARR", "dilated, residual, asymmetric crops", "attention by hand, with positions"]
)
@pytest.mark.parametrize("layout", holding.LAYOUTS)
def test_compiled(name: str, layout: str) -> None:
    case = ZOO[name]
    model, conversion = holding.conversion_of(case, verify=False)
    network = conversion.model.set_layout(layout)
    torch._dynamo.reset()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    for c in holding.cases_of(case, kinds=("one-hot",), shifts=(0,)):
        want = holding.by_hand(model, *c.tensors)
        got = holding.flatten(compiled(*c.tensors))
        for name_, y in want.items():
            torch.testing.assert_close(got[name_], y, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["Basset", "dilated, residual, asymmetric crops", "U-Net"])
@pytest.mark.parametrize("layout", holding.LAYOUTS)
@pytest.mark.parametrize("coupled", [False, True])
def test_exported_for_any_batch(name: str, layout: str, coupled: bool) -> None:
    case = ZOO[name]
    model, conversion = holding.conversion_of(case, verify=False)
    network = (couple(conversion.model) if coupled else conversion.model).set_layout(layout)
    (c,) = holding.cases_of(case, batch=3, kinds=("one-hot",), shifts=(0,))
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(network, c.tensors, dynamic_shapes=(({0: batch},),))
    for n in (2, 7):
        (other,) = holding.cases_of(case, batch=n, kinds=("random",), shifts=(0,))
        want = holding.by_hand(model, *other.tensors)
        for got, y in zip(holding.flatten(program.module()(*other.tensors)).values(), want.values(), strict=True):
            torch.testing.assert_close(got, y, rtol=1e-12, atol=1e-12)


# -- bpnet-lite -------------------------------------------------------------------------------------------


def bpnet(**options: Any) -> nn.Module:
    module = pytest.importorskip("bpnetlite.bpnet")
    return module.BPNet(
        **{"n_filters": 6, "n_layers": 3, "n_control_tracks": 0, "trimming": 60, "verbose": False, **options}
    )


def chrombpnet() -> nn.Module:
    bpnet()
    module = pytest.importorskip("bpnetlite.chrombpnet")
    bias, accessibility = bpnet(n_outputs=1, n_layers=1, trimming=55), bpnet(n_outputs=1)
    return module.ChromBPNet(bias, accessibility)


BPNETS: dict[str, Case] = {
    "BPNet": Case(bpnet, ((4, 200),), outputs=("reversal", "fixed"), longer=(-41, 9)),
    "BPNet, unstranded": Case(lambda: bpnet(n_outputs=1), ((4, 200),), outputs=("length", "fixed"), longer=(7,)),
    "BPNet, stranded controls": Case(
        lambda: bpnet(n_control_tracks=2), ((4, 200), (2, 200)), ("reversal", "reversal"), ("reversal", "fixed")
    ),
    "BPNet, controls at three scales": Case(
        lambda: bpnet(n_control_tracks=3), ((4, 200), (3, 200)), ("reversal", "length"), ("reversal", "fixed")
    ),
    "BPNet, two tasks": Case(lambda: bpnet(n_outputs=4), ((4, 200),), outputs=("pairs:2", "fixed")),
    "ChromBPNet": Case(chrombpnet, ((4, 200),), outputs=("length", "fixed"), longer=(7,)),
}


@pytest.mark.parametrize("name", BPNETS)
def test_bpnet_lite(name: str) -> None:
    case = BPNETS[name]
    model, conversion = holding.conversion_of(case, verify=False)
    assert conversion.certificate.share_tied == 1.0
    holding.same_names(case, model, conversion)
    holding.same_function(case, model, conversion)
    holding.survives(case, conversion, pickles=name != "ChromBPNet")


def test_frozen_bias_model_stays_frozen() -> None:
    case = BPNETS["ChromBPNet"]
    _, conversion = holding.conversion_of(case, verify=False)
    frozen = {name for name, p in conversion.model.named_parameters() if not p.requires_grad}
    assert frozen == {n for n, _ in conversion.model.named_parameters() if n.startswith("bias.")}


Build = Callable[[], nn.Module]


@pytest.mark.parametrize(
    ("build", "inputs", "outputs", "shapes"),
    [
        (bpnet, "reversal", ("reversal", "fixed"), ((4, 1000),)),
        (lambda: bpnet(n_control_tracks=2), ("reversal", "length"), ("reversal", "fixed"), ((4, 1000), (2, 1000))),
        (ZOO["Basset"].net, "reversal", None, ((4, None),)),
        (ZOO["DeepSEA"].net, "reversal", None, ((4, None),)),
        (ZOO["weighted sum over positions"].net, "reversal", None, ((4, 37),)),
        (ZOO["layer, group and instance norm"].net, "reversal", ("reversal", "fixed"), ((4, 37),)),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(4 * 51, 1)), "reversal", None, ((4, 51),)),
        (ZOO["tokens"].net, "tokens:3,2,1,0,4", None, ((1000,),)),
        (lambda: nn.Sequential(nn.Linear(7, 3), nn.ReLU(), nn.Linear(3, 1)), "channels", None, ((7,),)),
    ],
)
def test_shapes_are_found(build: Build, inputs: Any, outputs: Any, shapes: Any) -> None:
    """From the first layers, and by trying lengths; where a dense layer fixes the length, one that it takes."""
    case = Case(build, (), inputs, outputs)
    conversion = convert(holding.conjoin(case, case.build()), case.config(input_shapes=None, verify=False))
    for found, want in zip(conversion.input_shapes, shapes, strict=True):
        assert len(found) == len(want)
        assert all(w is None or f == w for f, w in zip(found, want, strict=True))
