"""Coupling: the same function, freer; gradients as theorem T8 says; and what must be refused."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rcproof.conjoined import Conjoined
from rcproof.convert import convert
from rcproof.errors import RcproofError
from rcproof.nn import RCPSConv1d, RCPSLinear, WeightedSum1d, couple, uncouple
from rcproof.nn.couple import coupled_layers, split_weight
from rcproof.strand import rc
from rcproof.verify import check_equivalence, check_equivariance, draw_inputs
from tests import checks
from tests.convert.nets import ZOO
from tests.strategies import normal

LAYOUTS = ("auto", "stacked", "batched")
CASES = list(draw_inputs([(4, 40)], "reversal", kinds=("one-hot", "random"), batch=3))


class Net(nn.Module):
    """Each kind of layer that can be coupled, and batch norm, which cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(4, 6, 5)
        self.blocks = nn.ModuleList([nn.Conv1d(6, 8, 4, stride=2, groups=2), nn.Conv1d(8, 6, 3, padding="same")])
        self.norm = nn.BatchNorm1d(6)
        self.up = nn.ConvTranspose1d(6, 4, 3, stride=2, groups=2)
        self.sum, self.dense = WeightedSum1d(4, 35, bias=True), nn.Linear(4, 2)
        with torch.no_grad():
            self.norm.running_mean.normal_()  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x).relu()
        for block in self.blocks:
            h = block(h).relu()
        return self.dense(self.sum(self.up(self.norm(h)).tanh()))


LAYERS = ("blocks.0", "blocks.1", "up", "sum", "dense")


def places_of_b(layer: nn.Module) -> Tensor:
    """Where the entries of B lie in the weight."""
    numbered = copy.deepcopy(layer)
    with torch.no_grad():
        numbered.weight.copy_(torch.arange(layer.weight.numel()).view_as(layer.weight))
    return split_weight(numbered)[1].detach().flatten().long()


def source(final: str | None = None) -> Conjoined:
    torch.manual_seed(0)
    return Conjoined(Net().double(), final=final).eval()


def converted(model: Conjoined | None = None) -> nn.Module:
    return convert(model or source()).model


@pytest.mark.parametrize("layout", LAYOUTS)
def test_function_unchanged(layout: str) -> None:
    model = source()
    plain = converted(model)
    before = copy.deepcopy(plain.state_dict())
    coupled = couple(plain).set_layout(layout)
    assert coupled_layers(coupled) == LAYERS
    check_equivalence(model, coupled, CASES).raise_if_failed()
    assert coupled_layers(plain) == ()
    assert all(torch.equal(v, before[k]) for k, v in plain.state_dict().items())
    assert list(coupled.state_dict()) == list(before)
    for name in LAYERS:
        a, b = split_weight(coupled.get_submodule(name))
        assert torch.equal(a, before[f"{name}.weight"])
        assert not b.any()
        assert b.shape == a.shape


@pytest.mark.parametrize("layout", LAYOUTS)
def test_random_weights_are_equivariant_in_every_layout(layout: str) -> None:
    coupled = couple(converted())
    torch.manual_seed(1)
    for p in coupled.parameters():
        nn.init.normal_(p, std=0.3)
    reference = copy.deepcopy(coupled).set_layout("batched")
    check_equivalence(reference, coupled.set_layout(layout), CASES).raise_if_failed()
    check_equivariance(coupled, CASES, "reversal", "fixed").raise_if_failed()
    for name in LAYERS:  # each of them matters
        changed = copy.deepcopy(coupled)
        layer = changed.get_submodule(name)
        layer.weight.data.view(-1)[places_of_b(layer)] = 0.0
        assert not check_equivalence(reference, changed, CASES[1:]).passed


@pytest.mark.parametrize(
    ("layers", "names"),
    [
        ("all", LAYERS),
        ("blocks.*", ("blocks.0", "blocks.1")),
        ("blocks.1, dense", ("blocks.1", "dense")),
        (("up", "su?"), ("up", "sum")),
        (["dense"], ("dense",)),
        (["all", "dense"], LAYERS),
        ((), ()),
    ],
)
def test_which_layers(layers: str | list[str], names: tuple[str, ...]) -> None:
    network = couple(converted(), layers)
    assert coupled_layers(network) == names
    check_equivalence(source(), network, CASES).raise_if_failed()
    assert coupled_layers(couple(network, layers)) == names  # twice is once
    assert coupled_layers(couple(network)) == LAYERS
    back = uncouple(couple(network), LAYERS[0])
    assert coupled_layers(back) == LAYERS[1:]


CLOSED = "on a closed input or without weights across channels"
NONE = f"one of {', '.join(LAYERS)}"


@pytest.mark.parametrize(
    ("layers", "text"),
    [
        ("first", f"layer 'first' cannot be coupled: got a RCPSConv1d {CLOSED}; expected {NONE}"),
        ("norm", f"layer 'norm' cannot be coupled: got a RCPSBatchNorm1d {CLOSED}; expected {NONE}"),
        ("block.*", f"no tied layer has this name: got 'block.*'; expected {NONE}"),
        (("dense", ""), f"no tied layer has this name: got ''; expected {NONE}"),
    ],
)  # fmt: skip
def test_names_that_fit_nothing(layers: str, text: str) -> None:
    for act in (couple, uncouple):
        with pytest.raises(RcproofError) as error:
            act(converted(), layers)
        assert str(error.value) == text


def test_uncouple_is_the_inverse() -> None:
    plain = converted()
    back = uncouple(couple(plain))
    assert coupled_layers(back) == ()
    assert {k: v.tolist() for k, v in back.state_dict().items()} == {
        k: v.tolist() for k, v in plain.state_dict().items()
    }
    check_equivalence(plain, back, CASES, tolerance=0.0).raise_if_failed()


@pytest.mark.parametrize("value", [1e-300, float("nan")])
@pytest.mark.parametrize("name", LAYERS)
def test_uncouple_refuses_what_would_change_the_function(name: str, value: float) -> None:
    network = couple(converted())
    with torch.no_grad():
        layer = network.get_submodule(name)
        layer.weight.view(-1)[places_of_b(layer)[-1]] = value
        before = copy.deepcopy(network.state_dict())
    with pytest.raises(RcproofError) as error:
        uncouple(network)
    assert str(error.value) == (
        f"layer {name!r} uses its cross-strand weights, so it cannot be uncoupled: got |B| up to {value:.3g}; expected "
        "B = 0. Leave it coupled: no uncoupled layer of this width computes the same (T6)"
    )
    assert coupled_layers(network) == LAYERS  # as it was
    assert all(torch.equal(v.nan_to_num(7), before[k].nan_to_num(7)) for k, v in network.state_dict().items())
    others = tuple(other for other in LAYERS if other != name)
    assert coupled_layers(uncouple(network, others)) == (name,)


def test_dtype_flags_and_mode_stay() -> None:
    network = converted().to(torch.bfloat16).train()
    network.get_submodule("dense").weight.requires_grad_(False)
    coupled = couple(network)
    assert {p.dtype for p in coupled.parameters()} == {torch.bfloat16}
    assert all(m.training for m in coupled.modules())
    assert not coupled.get_submodule("dense").weight.requires_grad
    assert coupled.get_submodule("up").weight.requires_grad
    assert not uncouple(coupled).get_submodule("dense").weight.requires_grad


def test_shared_weights_stay_shared() -> None:
    case = ZOO["tied parameters"]
    model = Conjoined(case.build(), outputs="reversal").eval()
    coupled = couple(convert(model, case.config()).model)
    check_equivalence(model, coupled, CASES).raise_if_failed()
    a, b, again = (dict(coupled.named_parameters(remove_duplicate=False))[f"{n}.weight"] for n in ("a", "b", "again"))
    assert a is b is again
    assert a.shape == (4, 8, 3)
    own = dict(uncouple(coupled).named_parameters(remove_duplicate=False))
    assert own["a.weight"] is own["b.weight"]


def test_a_module_of_layers_without_a_network() -> None:
    """``couple`` works on any module that holds tied layers."""
    stack = nn.Sequential(
        RCPSConv1d(4, 3, 3, source="reversal"), RCPSConv1d(3, 5, 4, stride=3), nn.Flatten(), RCPSLinear(30, 2)
    )
    stack = stack.double()
    coupled = couple(stack)
    assert coupled_layers(coupled) == ("1", "3")
    checks.same(coupled, stack, normal(0, 2, 4, 22))
    assert coupled_layers(couple(RCPSLinear(3, 2))) == ("",)


def loss_of(y: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(y, target)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradient_of_a_is_the_conjoined_gradient_and_that_of_b_is_not_zero(layout: str) -> None:
    """T8."""
    model = source()
    coupled = couple(converted(model)).set_layout(layout)
    x, target = normal(5, 8, 4, 40), (normal(6, 8, 2) > 0).double()
    loss_of(model(x), target).backward()
    loss_of(coupled(x), target).backward()
    wanted = {name.removeprefix("net."): p.grad for name, p in model.named_parameters()}
    for name, p in coupled.named_parameters():
        layer, _, last = name.rpartition(".")
        if layer not in LAYERS or last != "weight":
            checks.close(p.grad, wanted[name], what=name)
            continue
        holder = coupled.get_submodule(layer)
        with torch.no_grad():
            holder.weight.copy_(p.grad)
            a, b = split_weight(holder)
            checks.close(a, wanted[name], what=name)
            assert b.abs().max() > 1e-3 * a.abs().max()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_with_b_frozen_training_coincides(layout: str) -> None:
    """T8: the merge is not folded into the head, so plain SGD takes the same steps, for as long as one likes."""
    model = source()
    coupled = couple(converted(model)).set_layout(layout)
    ours = torch.optim.SGD(coupled.parameters(), 0.3, momentum=0.9)
    theirs = torch.optim.SGD(model.parameters(), 0.3, momentum=0.9)
    for step in range(6):
        x, target = normal(step, 8, 4, 40), (normal(100 + step, 8, 2) > 0).double()
        for network, optimiser in ((model, theirs), (coupled, ours)):
            optimiser.zero_grad()
            loss_of(network(x), target).backward()
            if network is coupled:
                freeze_b(coupled)
            optimiser.step()
    check_equivalence(model, coupled, CASES, tolerance=1e-10).raise_if_failed()
    check_equivalence(model, uncouple(coupled), CASES, tolerance=1e-10).raise_if_failed()


def freeze_b(network: nn.Module) -> None:
    for name in coupled_layers(network):
        layer = network.get_submodule(name)
        layer.weight.grad.view(-1)[places_of_b(layer)] = 0.0


def palindromes(seed: int, n: int) -> tuple[Tensor, Tensor]:
    """Sequences with a motif; half of them carry its reverse complement beside it, which one strand reads badly."""
    x = F.one_hot(torch.randint(4, (n, 40), generator=torch.Generator().manual_seed(seed)), 4).double().transpose(1, 2)
    motif = F.one_hot(torch.tensor([0, 2, 1, 1, 3, 0]), 4).double().T
    label = torch.arange(n) % 2
    x[:, :, 8:14] = motif
    x[label == 1, :, 20:26] = rc(motif[None])[0]
    x[label == 0, :, 20:26] = motif
    return x, label.double()[:, None].expand(n, 2).contiguous()


@pytest.mark.parametrize("layout", ["auto", "batched"])
def test_fine_tuning_lowers_the_loss(layout: str) -> None:
    """From the conjoined network's function on; equivariant afterwards, and no longer conjoined."""
    coupled = couple(converted()).set_layout(layout)
    x, target = palindromes(0, 64)
    optimiser = torch.optim.Adam(coupled.parameters(), 5e-3)
    losses = []
    for _ in range(40):
        optimiser.zero_grad()
        loss = loss_of(coupled(x), target)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(loss_of(source()(x), target).item(), rel=1e-12)
    assert losses[-1] < 0.5 * losses[0]
    check_equivariance(coupled.eval(), CASES, "reversal", "fixed").raise_if_failed()
    assert all(split_weight(coupled.get_submodule(name))[1].abs().max() > 1e-3 for name in LAYERS)
    with pytest.raises(RcproofError, match="uses its cross-strand weights"):
        uncouple(coupled)


@pytest.mark.parametrize("make", [lambda: source("sigmoid"), source])
def test_train_mode_of_a_conversion_pools_batch_norm_as_the_conjoined_network_does(
    make: Callable[[], Conjoined],
) -> None:
    """One pass over a doubled batch and the converted network see the same batch statistics."""
    model = make()
    network = converted(model).train()
    model.train()
    x = normal(9, 4, 4, 40)
    checks.close(network(x), model(x))
    assert torch.allclose(network.get_submodule("norm").running_mean, model.net.norm.running_mean)
    for layout in ("stacked", "batched"):
        network, model = converted(make()).set_layout(layout).train(), make().train()
        checks.same(network, model, x, list(network.parameters()), list(model.parameters()), 1e-11)
        checks.close(network.get_submodule("norm").running_var, model.net.norm.running_var)
