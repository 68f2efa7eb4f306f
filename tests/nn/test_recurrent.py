"""The recurrent layer with gates of its own: against loops over numbers and torch's kernels, in files, lifted."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

import rcproof
from rcproof import Conjoined
from rcproof.errors import RcproofError, ShapeError
from rcproof.network.building import GraphBuilder
from rcproof.network.modules import layer_from_json, layer_to_json
from rcproof.network.network import Network
from rcproof.nn import Recurrent
from rcproof.nn.recurrent import ACTIVATIONS, GATES
from tests import checks
from tests.strategies import normal, randomise

Array = NDArray[np.float64]


def fifth(x: float) -> float:
    return min(max(0.2 * x + 0.5, 0.0), 1.0)


def sixth(x: float) -> float:
    return min(max(x / 6 + 0.5, 0.0), 1.0)


def logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


SCALAR: dict[str, Callable[[float], float]] = {
    "linear": lambda x: x,
    "sigmoid": logistic,
    "hard_sigmoid_fifth": fifth,
    "hard_sigmoid_sixth": sixth,
    "tanh": math.tanh,
    "relu": lambda x: max(x, 0.0),
    "softsign": lambda x: x / (1 + abs(x)),
    "softplus": lambda x: math.log1p(math.exp(x)),
}


def by_hand(layer: Recurrent, x: Array) -> Array:
    """One example (C, L) → (u, L), number by number, from the definitions."""
    u, steps = layer.hidden_size, x.shape[1]
    w, r = layer.weight.detach().numpy(), layer.recurrent_weight.detach().numpy()
    b = np.zeros(len(w)) if layer.bias is None else layer.bias.detach().numpy()
    c = np.zeros(len(w)) if layer.recurrent_bias is None else layer.recurrent_bias.detach().numpy()
    act, gate = SCALAR[layer.activation], SCALAR[layer.recurrent_activation]
    h, memory, out = np.zeros(u), np.zeros(u), np.zeros((u, steps))
    for t in reversed(range(steps)) if layer.reverse else range(steps):

        def drive(block: int, j: int, t: int = t) -> float:
            row = block * u + j
            return float(sum(w[row, k] * x[k, t] for k in range(len(x))) + b[row])

        def echo(block: int, j: int, state: Array) -> float:
            row = block * u + j
            return float(sum(r[row, k] * state[k] for k in range(u)) + c[row])

        new = np.zeros(u)
        if layer.cell == "rnn":
            new[:] = [act(drive(0, j) + echo(0, j, h)) for j in range(u)]
        elif layer.cell == "lstm":
            for j in range(u):
                i, f, o = (gate(drive(g, j) + echo(g, j, h)) for g in (0, 1, 3))
                memory[j] = f * memory[j] + i * act(drive(2, j) + echo(2, j, h))
                new[j] = o * act(memory[j])
        else:
            reset = np.array([gate(drive(1, j) + echo(1, j, h)) for j in range(u)])
            for j in range(u):
                z = gate(drive(0, j) + echo(0, j, h))
                inner = reset[j] * echo(2, j, h) if layer.reset_after else echo(2, j, reset * h)
                new[j] = z * h[j] + (1 - z) * act(drive(2, j) + inner)
        h = new
        out[:, t] = h
    return out


CASES = [
    ("lstm", {"recurrent_activation": "hard_sigmoid_fifth"}),
    ("lstm", {"recurrent_activation": "hard_sigmoid_sixth", "reverse": True}),
    ("lstm", {"activation": "softsign", "bias": False}),
    ("gru", {"reset_after": True, "recurrent_activation": "hard_sigmoid_fifth"}),
    ("gru", {"reset_after": False, "reverse": True}),
    ("gru", {"bias": False, "activation": "relu", "reset_after": True}),
    ("rnn", {"activation": "sigmoid"}),
    ("rnn", {"activation": "linear", "reverse": True, "bias": False}),
]


SIZES = rcproof.ConvertConfig(input_shapes=((4, 24),))


def agrees(layer: Recurrent, reference: Recurrent, seed: int = 3) -> None:
    x = normal(seed, 2, layer.input_size, 7) * 2
    want = np.stack([by_hand(reference, row) for row in x.numpy()])
    checks.close(layer(x).detach(), torch.from_numpy(want))


@pytest.mark.parametrize(("cell", "options"), CASES)
def test_the_layer_is_its_definition(cell: str, options: dict[str, object]) -> None:
    layer = randomise(Recurrent(3, 4, cell, **options), 5)  # type: ignore[arg-type]
    agrees(layer, layer)


def _gates_swapped(layer: Recurrent) -> None:
    u = layer.hidden_size
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(torch.cat([p[u : 2 * u], p[:u], p[2 * u :]]))


def _other_age(layer: Recurrent) -> None:
    layer.recurrent_activation = "hard_sigmoid_sixth"


def _other_way(layer: Recurrent) -> None:
    layer.reverse = not layer.reverse


def _reset_before(layer: Recurrent) -> None:
    layer.reset_after = not layer.reset_after


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("mutate", [_gates_swapped, _other_age, _other_way, _reset_before])
def test_mutants_are_caught(cell: str, mutate: Callable[[Recurrent], None]) -> None:
    reference = randomise(Recurrent(3, 4, cell, recurrent_activation="hard_sigmoid_fifth", reset_after=True), 5)
    layer = copy.deepcopy(reference)
    agrees(layer, reference)
    if mutate is _reset_before and cell == "lstm":
        return  # an LSTM resets nothing
    mutate(layer)
    with pytest.raises(AssertionError):
        agrees(layer, reference)


@pytest.mark.parametrize("reverse", [False, True])
def test_the_usual_gates_are_those_of_torch(reverse: bool) -> None:
    x = normal(1, 3, 5, 11)
    flip = (lambda v: v.flip(2)) if reverse else (lambda v: v)
    for cell, plain in (("lstm", nn.LSTM(5, 4)), ("gru", nn.GRU(5, 4)), ("rnn", nn.RNN(5, 4))):
        plain = randomise(plain, 2)
        layer = Recurrent(5, 4, cell, reset_after=True, reverse=reverse).double()
        # torch lists the gates of a GRU as r z n, and has both biases always.
        order = [1, 0, 2] if cell == "gru" else range(GATES[cell])
        rows = torch.cat([torch.arange(g * 4, g * 4 + 4) for g in order])
        with torch.no_grad():
            layer.weight.copy_(plain.weight_ih_l0[rows])
            layer.recurrent_weight.copy_(plain.weight_hh_l0[rows])
            if cell == "gru":
                layer.bias.copy_(plain.bias_ih_l0[rows])
                layer.recurrent_bias.copy_(plain.bias_hh_l0[rows])
            else:
                layer.bias.copy_(plain.bias_ih_l0 + plain.bias_hh_l0)
        want = flip(plain(flip(x).permute(2, 0, 1))[0].permute(1, 2, 0))
        checks.close(layer(x).detach(), want.detach())


def test_every_activation_is_a_function_of_one_number() -> None:
    x = torch.linspace(-4, 4, 33, dtype=torch.float64)
    for name, function in ACTIVATIONS.items():
        y = function(x)
        assert y.shape == x.shape and torch.isfinite(y).all(), name
        if name in SCALAR:
            checks.close(y, torch.tensor([SCALAR[name](float(v)) for v in x], dtype=torch.float64), what=name)


def test_gradients_reach_every_weight() -> None:
    for cell in GATES:
        layer = randomise(Recurrent(2, 3, cell, reset_after=True), 1)
        assert torch.autograd.gradcheck(layer, (normal(2, 2, 2, 4).requires_grad_(),))
        layer(normal(2, 2, 2, 4)).sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in layer.parameters())


def test_what_is_wrong_is_said() -> None:
    with pytest.raises(RcproofError, match="cell of a recurrent layer: got 'elman'; expected lstm, gru, rnn"):
        Recurrent(2, 3, "elman")
    with pytest.raises(RcproofError, match="activation of a recurrent layer: got 'hard_sigmoid'"):
        Recurrent(2, 3, "lstm", recurrent_activation="hard_sigmoid")
    with pytest.raises(RcproofError, match="sizes of a recurrent layer: got 0 and 3"):
        Recurrent(0, 3, "lstm")
    with pytest.raises(ShapeError, match=r"input of Recurrent: got shape \(2, 3, 5\); expected \(N, 2, L\)"):
        Recurrent(2, 3, "lstm")(torch.zeros(2, 3, 5))


def branch(length: int = 24) -> Network:
    """A branch like FactorNet's: convolution, pooling, a recurrence each way, dense."""
    b, u = GraphBuilder(), 3
    x = b.module("conv", nn.Conv1d(4, 6, 5), b.input("dna"))
    x = b.module("pool", nn.MaxPool1d(2), b.call("torch.relu", x))
    hard = {"cell": "lstm", "recurrent_activation": "hard_sigmoid_fifth"}
    # `forward` is a name that a method of every module has.
    both = [
        b.module(f"lstm.{way}", Recurrent(6, u, reverse=way == "backward", **hard), x)
        for way in ("forward", "backward")
    ]  # type: ignore[arg-type]
    x = b.call("torch.flatten", b.call("torch.cat", both, 1), 1)
    return b.network([b.module("dense", nn.Linear(2 * u * ((length - 4) // 2), 1), x)])


def test_it_travels_in_files(tmp_path: Path) -> None:
    for cell, options in CASES:
        layer = Recurrent(3, 4, cell, **options)  # type: ignore[arg-type]
        again = layer_from_json("rnn", layer_to_json("rnn", layer)).to_empty(device="cpu")
        again.load_state_dict(layer.state_dict())
        x = torch.randn(2, 3, 6)
        assert torch.equal(layer(x), again(x))
    model = rcproof.convert(Conjoined(randomise(branch(), 4).float(), "reversal", "fixed").eval(), SIZES).model
    rcproof.save(model, tmp_path / "net.safetensors")
    x = torch.randn(2, 4, 24)
    assert torch.equal(model(x), rcproof.load(tmp_path / "net.safetensors")(x))


def test_a_conversion_lifts_it() -> None:
    net = randomise(branch(), 4)
    conjoined = Conjoined(net, "reversal", "fixed", final="sigmoid")
    found = rcproof.convert(conjoined.eval(), SIZES)
    x = normal(9, 3, 4, 24)
    checks.close(found.model(x).detach(), conjoined(x).detach())
    lifted = {n.target for n in found.model.rcproof_graph().nodes if n.rule == "lifted"}
    assert lifted == {"lstm.forward", "lstm.backward"}
    both = torch.stack([net(x), net(rcproof.rc(x))]).detach()
    assert (both[0] - both[1]).abs().max() > 1e-2  # the strands differ, so the merge is no formality


def test_it_exports() -> None:
    layer = randomise(Recurrent(3, 4, "gru", recurrent_activation="hard_sigmoid_sixth"), 6)
    x = normal(7, 2, 3, 5)
    program = torch.export.export(layer, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))
    other = normal(8, 5, 3, 5)
    checks.close(program.module()(other).detach(), layer(other).detach())
