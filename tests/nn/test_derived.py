"""What layers keep of their weights in eval: used while the weights stay, and never a moment longer."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rcproof.nn import RCPSBatchNorm1d, RCPSConv1d, RCPSLinear
from rcproof.nn import derived as module
from rcproof.nn.base import TiedLayer, to_batched, to_stacked

X = torch.randn(2, 6, 12, generator=torch.Generator().manual_seed(0))


def conv() -> RCPSConv1d:
    torch.manual_seed(1)
    return RCPSConv1d(3, 2, 5, coupled=True).eval()


def linear() -> RCPSLinear:
    torch.manual_seed(1)
    return RCPSLinear(3, 2, coupled=True).eval()


def norm() -> RCPSBatchNorm1d:
    torch.manual_seed(1)
    layer = RCPSBatchNorm1d(3)
    layer(X)
    return layer.eval()


LAYERS: dict[str, tuple[Callable[[], TiedLayer], Tensor]] = {
    "conv": (conv, X), "linear": (linear, X[:, :, 0].contiguous()), "norm": (norm, X),
}  # fmt: skip


def truth(layer: TiedLayer, x: Tensor) -> Tensor:
    """From the weights as they are: the batched layout derives nothing."""
    with torch.no_grad():
        return to_stacked(layer.batched(to_batched(x.to(layer.weight.dtype))))  # type: ignore[arg-type]


def answer(layer: TiedLayer, x: Tensor) -> Tensor:
    with torch.no_grad():
        return layer(x.to(layer.weight.dtype))  # type: ignore[no-any-return, arg-type]


def kept(layer: nn.Module) -> dict[str, Any]:
    return layer.__dict__.get("_derived_weights", {})


def doubled(layer: TiedLayer) -> TiedLayer:
    with torch.no_grad():
        layer.weight.mul_(2)  # type: ignore[operator]
    return layer


def through_data(layer: TiedLayer) -> TiedLayer:
    layer.weight.data.mul_(2)  # type: ignore[operator, union-attr]
    return layer


def stepped(layer: TiedLayer) -> TiedLayer:
    layer.weight.grad = torch.ones_like(layer.weight)  # type: ignore[arg-type]
    torch.optim.SGD(layer.parameters(), lr=0.5).step()
    return layer


def loaded(layer: TiedLayer, assign: bool) -> TiedLayer:
    state = {k: v * 3 if v.is_floating_point() else v for k, v in layer.state_dict().items()}
    layer.load_state_dict(state, assign=assign)
    return layer


def replaced(layer: TiedLayer) -> TiedLayer:
    new = nn.Parameter(layer.weight.detach() * 2)  # type: ignore[operator]
    del layer.weight
    layer.weight = new
    return layer


def copied(layer: TiedLayer) -> TiedLayer:
    return doubled(copy.deepcopy(layer))


def unpickled(layer: TiedLayer) -> TiedLayer:
    return doubled(pickle.loads(pickle.dumps(layer)))


def set_data(layer: TiedLayer) -> TiedLayer:
    layer.weight.data = layer.weight.data * 2  # type: ignore[operator, union-attr]
    return layer


def bias_alone(layer: TiedLayer) -> TiedLayer:
    with torch.no_grad():
        layer.bias.add_(1)  # type: ignore[operator, union-attr]
    return layer


CHANGES: dict[str, Callable[[TiedLayer], TiedLayer]] = {
    "in place": doubled,
    "optimiser": stepped,
    "load_state_dict": lambda layer: loaded(layer, False),
    "load_state_dict, assigned": lambda layer: loaded(layer, True),
    "another parameter": replaced,
    "to float64": lambda layer: layer.double(),
    "to bfloat16 and back": lambda layer: layer.bfloat16().float(),
    "a copy": copied,
    "a pickle": unpickled,
    "train and eval": lambda layer: doubled(layer.train()).eval(),  # type: ignore[return-value]
    "data is set": set_data,
    "bias": bias_alone,
    "through .data": through_data,
}


def check(name: str, change: Callable[[TiedLayer], TiedLayer]) -> None:
    make, x = LAYERS[name]
    layer = make()
    torch.testing.assert_close(answer(layer, x), truth(layer, x))
    assert kept(layer), "nothing is kept"
    changed = change(layer)
    torch.testing.assert_close(answer(changed, x), truth(changed, x))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("layer", LAYERS)
def test_a_change_of_the_weights_is_seen(layer: str, change: str) -> None:
    check(layer, CHANGES[change])


@pytest.mark.parametrize("change", [c for c in CHANGES if c != "through .data"])
@pytest.mark.parametrize("layer", LAYERS)
def test_without_looking_at_values(layer: str, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on another device: marks alone, by which all is seen but a write through ``.data``."""
    blind(monkeypatch)
    check(layer, CHANGES[change])


def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    start = module._Source.__init__

    def init(self: Any, tensor: Tensor) -> None:
        start(self, tensor)
        self.bytes = self.copy = None

    monkeypatch.setattr(module._Source, "__init__", init)


def test_a_write_through_data_is_seen_by_values_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    blind(monkeypatch)
    with pytest.raises(AssertionError, match="not close"):
        check("conv", through_data)
    check("conv", lambda layer: through_data(layer).eval())  # what the documentation says to do


def test_statistics_that_training_writes() -> None:
    layer = norm()
    before = answer(layer, X)
    layer.train()
    layer(X * 5 + 1)
    layer.eval()
    torch.testing.assert_close(answer(layer, X), truth(layer, X))
    assert not torch.allclose(answer(layer, X), before)


# What would go wrong without each part of the comparison.
MUTANTS = {
    "always fresh": ("same", lambda self, t: True, "in place"),
    "address alone": ("same", lambda self, t: t.data_ptr() == self.mark[0], "optimiser"),
    "version alone": ("same", lambda self, t: t._version == self.mark[1], "data is set"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_are_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attribute, mutant, change = MUTANTS[name]
    monkeypatch.setattr(module._Source, attribute, mutant)
    with pytest.raises(AssertionError, match="not close"):
        check("conv", CHANGES[change])


def test_kept_once_and_used_again() -> None:
    layer, calls = conv(), []

    def build() -> Tensor:
        calls.append(1)
        return layer.weight * 2

    with torch.no_grad():
        first = module.derived(layer, "twice", (layer.weight,), build)
        assert module.derived(layer, "twice", (layer.weight,), build) is first
    assert len(calls) == 1
    assert not first.requires_grad


def test_nothing_is_kept_with_gradients_in_training_or_under_a_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = conv()
    layer(X)
    assert not kept(layer)
    with torch.no_grad():
        layer.train()(X)
        assert not kept(layer)
        layer.eval()
        with torch.device("cpu"):  # a mode that sees every function
            layer(X)
        assert not kept(layer)
        torch.vmap(lambda x: layer(x[None])[0])(X)
        assert not kept(layer)
        monkeypatch.setattr(module, "MOST_KEPT", 1)
        layer(X)
        assert not kept(layer)


def test_gradients_by_the_input_of_a_frozen_layer_after_inference() -> None:
    layer = conv().requires_grad_(False)
    with torch.inference_mode():
        layer(X)
    x = X.clone().requires_grad_()
    layer(x).sum().backward()
    assert x.grad is not None and bool(x.grad.abs().sum() > 0)


def test_other_parameters_for_one_call() -> None:
    layer = conv()
    with torch.no_grad():
        before = layer(X)
        other = torch.func.functional_call(layer, {k: v * 2 for k, v in layer.named_parameters()}, (X,))
        torch.testing.assert_close(other, before * 2)
        torch.testing.assert_close(layer(X), before)


def test_what_is_kept_travels_nowhere() -> None:
    layer = conv()
    size = len(pickle.dumps(layer))
    answer(layer, X)
    assert kept(layer)
    assert len(pickle.dumps(layer)) == size
    assert not kept(copy.deepcopy(layer))
    assert set(layer.state_dict()) == {"weight", "bias"}
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    assert not kept(torch.load(file, weights_only=False))


@pytest.mark.parametrize("kernel", [1, 4, 5])
@pytest.mark.parametrize("options", [{}, {"stride": 2}, {"padding": "same"}, {"dilation": 2}, {"groups": 3}])
@pytest.mark.parametrize("coupled", [False, True])
def test_channels_innermost_changes_the_layout_alone(kernel: int, options: dict[str, Any], coupled: bool) -> None:
    torch.manual_seed(0)
    layer = RCPSConv1d(3, 6, kernel, coupled=coupled, dtype=torch.float64, **options).eval()
    for length in (12, 13):
        x = torch.randn(2, 6, length, dtype=torch.float64)
        s = to_batched(x)
        for run, value in ((layer, x), (layer.batched, s)):
            leaf = value.clone().requires_grad_()
            innermost, plain = run(leaf, channels_last=True), run(value)  # type: ignore[operator]
            torch.testing.assert_close(innermost, plain)
            innermost.square().sum().backward()
            other = value.clone().requires_grad_()
            run(other).square().sum().backward()  # type: ignore[operator]
            torch.testing.assert_close(leaf.grad, other.grad)
    if not options and coupled and kernel > 1:
        assert layer(x, channels_last=True).stride(1) == 1
