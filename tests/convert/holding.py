"""What every conversion must satisfy, as functions."""

from __future__ import annotations

import copy
import io
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rcproof.conjoined import Conjoined
from rcproof.convert import Conversion, convert
from rcproof.convert.certificate import tensor_sha256
from rcproof.nn import TiedLayer
from rcproof.strand import rc, representations
from rcproof.verify import InputCase, check_equivalence, check_equivariance, draw_inputs
from rcproof.verify.running import flatten
from tests.convert.nets import Case

LAYOUTS = ("auto", "stacked", "batched")


def conjoin(case: Case, net: nn.Module, **changes: Any) -> Conjoined:
    """The network of a case, conjoined; the final step in its dtype."""
    options = {"inputs": case.inputs, "outputs": case.outputs, **case.options, **changes}
    model = Conjoined(net, **copy.deepcopy(options)).eval()
    return model.to(next(net.parameters()).dtype)


def cases_of(
    case: Case, batch: int = 2, kinds: Sequence[str] = ("one-hot", "random"), shifts: Sequence[int] | None = None
) -> list[InputCase]:
    """Inputs of the case's length and of its other lengths."""
    rho = representations(case.inputs)
    found: list[InputCase] = []
    for shift in (0, *case.longer) if shifts is None else shifts:
        tokens = rho[0].tokens
        shapes = [(s[0] + shift,) if tokens else (s[0], s[1] + shift) if len(s) == 2 else s for s in case.shapes]
        some = kinds if not shift else kinds[:1]
        drawn = draw_inputs(shapes, case.inputs, kinds=some, batch=batch, seed=shift & 7)
        found.extend(InputCase(f"{c.name} {shift:+d}", c.tensors) for c in drawn)
    return found


def by_hand(model: Conjoined, *xs: Tensor) -> dict[str, Tensor]:
    """final(merge(net(x), ρ net(ρ x))) in two passes, from the definition."""
    rho_in = model.inputs * len(xs) if len(model.inputs) == 1 else model.inputs
    own = flatten(model.net(*xs))
    other = flatten(model.net(*(rc(x, r) for x, r in zip(xs, rho_in, strict=True))))
    rho_out = output_representations(model, list(own.values()))
    finals = list(model.final) if isinstance(model.final, nn.ModuleList) else [model.final] * len(own)
    merges = model.merge * len(own) if len(model.merge) == 1 else model.merge
    found = {}
    for (name, a), rho, mode, final in zip(own.items(), rho_out, merges, finals, strict=True):
        b = other[name] if a.dim() == 1 else rc(other[name], rho)
        y = {"mean": lambda a, b: (a + b) / 2, "sum": torch.add, "max": torch.maximum}[mode](a, b)
        found[name] = y if final is None else final(y)
    return found


def output_representations(model: Conjoined, outputs: Sequence[Tensor]) -> tuple[Any, ...]:
    if model.outputs is None:
        return representations(["fixed"] * len(outputs))
    return model.outputs * len(outputs) if len(model.outputs) == 1 else model.outputs


def state_of(model: nn.Module) -> dict[str, Any]:
    """All that a conversion could have changed by mistake."""
    return {
        "tensors": {k: tensor_sha256(v) for k, v in [*model.named_parameters(), *model.named_buffers()]},
        "objects": {k: id(v) for k, v in [*model.named_parameters(), *model.named_buffers()]},
        "modules": {k: (type(m), m.training, sorted(m.__dict__), sorted(m._buffers)) for k, m in model.named_modules()},
        "places": {k: getattr(m, "inplace", None) for k, m in model.named_modules()},
        "grads": {k: p.grad is None for k, p in model.named_parameters()},
    }


def conversion_of(case: Case, dtype: torch.dtype = torch.float64, **config: Any) -> tuple[Conjoined, Conversion]:
    model = conjoin(case, case.build(dtype=dtype))
    before = state_of(model)
    conversion = convert(model, case.config(**config))
    assert state_of(model) == before
    return model, conversion


def same_function(case: Case, model: Conjoined, conversion: Conversion) -> None:
    """Outputs and input gradients in every layout and at every length, and equivariance beside it."""
    inputs = cases_of(case)
    for c in inputs:
        ours, theirs = flatten(conversion.model(*c.tensors)), by_hand(model, *c.tensors)
        assert list(ours) == list(theirs)
        for name, y in ours.items():
            assert y.dtype == theirs[name].dtype
            assert not ((y - theirs[name]).abs().max() > 1e-12 * theirs[name].abs().max().clamp_min(1e-300)), name
    outs = output_representations(model, list(theirs.values()))
    for layout in LAYOUTS:
        network = conversion.model.set_layout(layout)
        check_equivalence(model, network, inputs, title=layout).raise_if_failed()
        if model.final is None:
            rho = model.inputs * len(case.shapes) if len(model.inputs) == 1 else model.inputs
            check_equivariance(network, inputs[:2], rho, outs, title=layout).raise_if_failed()
    conversion.model.set_layout("auto")


def same_names(case: Case, model: Conjoined, conversion: Conversion) -> None:
    """State-dict keys and values are the network's; what can be tied is tied; parameters stay shared and frozen."""
    net, network = model.net, conversion.model
    alone = isinstance(net, nn.Conv1d)  # a network of one layer has no names of its own
    expected = {f"net.{k}" if alone else k: v for k, v in net.state_dict().items()}
    found = dict(network.state_dict())
    finals = {} if model.final is None else model.final.state_dict()
    for key, value in expected.items():
        assert torch.equal(found.pop(key), value), key
    assert sorted(k.partition(".")[2] for k in found) == sorted(finals)
    assert all(k.startswith(("final.", "final_.")) for k in found)
    if alone:
        return
    own = dict(network.named_parameters(remove_duplicate=False))
    groups: dict[int, set[str]] = {}
    for name, p in net.named_parameters(remove_duplicate=False):
        assert own[name].requires_grad == p.requires_grad
        groups.setdefault(id(p), set()).add(name)
    for names in groups.values():
        assert len({id(own[name]) for name in names}) == 1
    transient = {n for n, _ in net.named_buffers()} - set(net.state_dict())
    assert transient <= {n for n, _ in network.named_buffers()}
    share(case, conversion)


def share(case: Case, conversion: Conversion) -> None:
    """The certificate names what was lifted, and nothing else was; what is used is in one of the two."""
    certificate, network = conversion.certificate, conversion.model
    assert set(certificate.lifted) == set(case.lifted)
    tied = {p for m in network.tied_layers().values() for p in m.parameters(recurse=False)}
    lifted = {p for name, p in network.named_parameters() if name.startswith(tuple(f"{n}." for n in case.lifted))}
    lifted |= {p for name, p in network.named_parameters() if name in case.lifted}
    assert certificate.parameters["tied"] == sum(p.numel() for p in tied)
    assert certificate.parameters["lifted"] == sum(p.numel() for p in lifted - tied)
    assert not case.lifted or certificate.share_tied < 1
    assert case.lifted or certificate.share_tied == 1
    linear = (nn.Conv1d, nn.Linear, nn.BatchNorm1d, nn.ConvTranspose1d, nn.LayerNorm, nn.Embedding, nn.GroupNorm)
    for node in network.rcproof_graph().nodes:
        if node.op == "module" and node.kind != "merged" and not node.target.startswith(case.lifted or "-"):
            assert not isinstance(network.get_submodule(node.target), linear)
    for row in certificate.tensors:
        assert row.how == "copy"
        assert row.source_sha256 == row.result_sha256
        assert row.source.startswith(("net.", "final.", "constant "))


def survives(case: Case, conversion: Conversion, pickles: bool = True) -> None:
    """Deep copies, and saves and loads whole, bit by bit; train mode goes through."""
    network = conversion.model
    (c,) = cases_of(case, kinds=("random",), shifts=(0,))
    want = flatten(network(*c.tensors))
    others = [copy.deepcopy(network)]
    if pickles:
        whole = io.BytesIO()
        torch.save(network, whole)
        whole.seek(0)
        others.append(torch.load(whole, weights_only=False))
    for other in others:
        got = flatten(other(*c.tensors))
        assert all(torch.equal(got[name], y) for name, y in want.items())
        assert {id(p) for p in other.parameters()}.isdisjoint({id(p) for p in network.parameters()})
        assert [m.training for m in other.modules()] == [m.training for m in network.modules()]
        assert sum(isinstance(m, TiedLayer) for m in other.modules()) == len(network.tied_layers())
