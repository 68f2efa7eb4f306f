"""Recurrent layers: kernels of torch where they compute the same function, else :class:`rcproof.nn.Recurrent`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from rcproof.checkpoints.keras.build import Site, Value, filled, layer
from rcproof.network.graph import Ref
from rcproof.nn.recurrent import GATES, Recurrent

_CELLS = {"LSTM": "lstm", "GRU": "gru", "SimpleRNN": "rnn"}

#: Keras's names of activations, where the name in :data:`rcproof.nn.recurrent.ACTIVATIONS` is another one.
_RENAMED = {"exponential": "exp", "swish": "silu"}
_SAME_NAME = (
    *("linear", "sigmoid", "tanh", "relu", "relu6", "elu", "selu", "gelu", "silu", "mish", "softplus", "softsign"),
)


@dataclass(frozen=True)
class _Gates:
    """What one direction computes."""

    cell: str
    units: int
    activation: str
    recurrent_activation: str
    reset_after: bool
    bias: bool

    @property
    def kernel(self) -> Any:
        """The class of torch that computes the same, or None."""
        usual = self.activation == "tanh" and self.recurrent_activation == "sigmoid"
        if self.cell == "lstm":
            return nn.LSTM if usual else None
        if self.cell == "gru":
            return nn.GRU if usual and self.reset_after else None
        return nn.RNN if self.activation == "tanh" else None


@layer("LSTM", "GRU", "SimpleRNN")
def _recurrent(site: Site) -> Value:
    gates, value = _gates(site), _sequence(site)
    site.keep_same(value.channels)
    backwards = bool(site.get("go_backwards", False))
    if gates.kernel is not None and not backwards:
        y = _kernel(site, gates, value, [site])
    else:
        y = site.module(lambda: _loop(site, gates, value.channels, backwards), value.ref)
    if not site.get("return_sequences", False):
        return Value(_position(site, y, 0 if backwards else -1), (gates.units,), "vector")
    # Keras lists the answers in the order of reading.
    y = site.function("torch.flip", y, (2,)) if backwards else y
    return Value(y, (value.shape[0], gates.units), "sequence")


@layer("Bidirectional")
def _bidirectional(site: Site) -> Value | list[Value]:
    if len(site.spec.inner) != 2 or any(spec.kind not in _CELLS for spec in site.spec.inner):
        kinds = ", ".join(spec.kind for spec in site.spec.inner) or "nothing"
        raise site.error("what it runs both ways", got=kinds, expected=", ".join(_CELLS))
    ways = [replace(site, spec=spec) for spec in site.spec.inner]
    gates, value = [_gates(way) for way in ways], _sequence(site)
    site.keep_same(value.channels)
    if ways[0].get("go_backwards", False) or not ways[1].get("go_backwards", True):
        raise site.error("go_backwards", got="a forward layer that reads backwards", expected="false, then true")
    sequences = [bool(way.get("return_sequences", False)) for way in ways]
    if gates[0].units != gates[1].units or sequences[0] != sequences[1]:
        raise site.error("its two layers", got="different units or return_sequences", expected="the same")
    units, mode = gates[0].units, site.spec.config.get("merge_mode", "concat")
    if gates[0].kernel is not None and gates[0] == gates[1]:
        both = _kernel(site, gates[0], value, ways)
        if sequences[0] and mode == "concat":
            return Value(both, (value.shape[0], 2 * units), "sequence")
        answers = [_channels(site, both, slice(0, units)), _channels(site, both, slice(units, 2 * units))]
    else:
        answers = [
            site.module(lambda: _loop(ways[0], gates[0], value.channels, False), value.ref, part="forward_layer"),
            site.module(lambda: _loop(ways[1], gates[1], value.channels, True), value.ref, part="backward_layer"),
        ]
    if not sequences[0]:
        # Each way its own last step: the end of the one reading is the beginning of the other.
        answers = [_position(site, answers[0], -1), _position(site, answers[1], 0)]
    length = (value.shape[0],) if sequences[0] else ()
    form = "sequence" if sequences[0] else "vector"
    if mode is None:
        return [Value(y, (*length, units), form) for y in answers]
    if mode == "concat":
        return Value(site.function("torch.cat", answers, 1), (*length, 2 * units), form)
    if mode not in ("sum", "ave", "mul"):
        raise site.error("merge_mode", got=repr(mode)[:60], expected="concat, sum, ave, mul or null")
    y = site.function("torch.mul" if mode == "mul" else "torch.add", *answers)
    y = site.function("torch.mul", y, 0.5) if mode == "ave" else y
    return Value(y, (*length, units), form)


@layer("Masking")
def _masking(site: Site) -> Value:
    raise site.error(
        "a mask, which makes recurrent layers skip positions",
        fix="a network of one strand has no masks here; train without Masking, on sequences of one length",
    )


def _sequence(site: Site) -> Value:
    """The sequence that goes in; initial states and masks are refused."""
    if len(site.inputs) != 1:
        raise site.error("inputs", got=f"{len(site.inputs)} values", expected="one sequence: no initial state, no mask")
    return site.need("sequence")


def _gates(site: Site) -> _Gates:
    for key, why in (
        ("return_state", "the state after the last position is no output here"),
        ("stateful", "its answers depend on the batches before"),
        ("time_major", "the examples must come first"),
    ):
        if site.get(key, False):
            raise site.error(f"{key}=true", fix=why)
    cell = _CELLS[site.spec.kind]
    if site.integer("units") < 1:
        raise site.error("units", got=site.integer("units"), expected="at least 1")
    return _Gates(
        cell,
        site.integer("units"),
        _activation(site, "activation"),
        "sigmoid" if cell == "rnn" else _activation(site, "recurrent_activation"),
        cell == "gru" and bool(site.get("reset_after", False)),
        bool(site.get("use_bias", True)),
    )


def _activation(site: Site, key: str) -> str:
    """The name that :class:`~rcproof.nn.Recurrent` has for an activation."""
    if key not in site.spec.config:
        raise site.error(key, got="nothing in the file", expected="the name of an activation")
    found: Any = site.spec.config[key]
    if isinstance(found, dict):  # how newer files write a function
        found = found.get("config") if isinstance(found.get("config"), str) else found.get("class_name")
    if found is None:
        return "linear"
    if found == "hard_sigmoid":
        return "hard_sigmoid_sixth" if site.spec.generation >= 3 else "hard_sigmoid_fifth"
    if not isinstance(found, str) or found not in (*_SAME_NAME, *_RENAMED):
        names = ", ".join((*_SAME_NAME, *_RENAMED, "hard_sigmoid"))
        raise site.error(f"{key} of a recurrent layer", got=repr(found)[:60], expected=names)
    return _RENAMED.get(found, found)


def _weights(site: Site, gates: _Gates, channels: int) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Weights with the gates in rows, Keras's order: for the input, for the state, and the biases of both."""
    rows = GATES[gates.cell] * gates.units
    kernel = site.weight("kernel", (channels, rows)).T.contiguous()
    recurrent = site.weight("recurrent_kernel", (gates.units, rows)).T.contiguous()
    if not gates.bias:
        return kernel, recurrent, None, None
    if gates.reset_after:
        bias = site.weight("bias", (2, rows))
        return kernel, recurrent, bias[0].clone(), bias[1].clone()
    return kernel, recurrent, site.weight("bias", (rows,)), None


def _loop(site: Site, gates: _Gates, channels: int, reverse: bool) -> nn.Module:
    names = ("weight", "recurrent_weight", "bias", "recurrent_bias")
    tensors = dict(zip(names, _weights(site, gates, channels), strict=True))
    return filled(
        lambda: Recurrent(
            channels,
            gates.units,
            gates.cell,
            gates.bias,
            gates.activation,
            gates.recurrent_activation,
            gates.reset_after,
            reverse,
        ),
        **{name: tensor for name, tensor in tensors.items() if tensor is not None},
    )


def _kernel(site: Site, gates: _Gates, value: Value, ways: list[Site]) -> Ref:
    """(N, C, L) → (N, ways · units, L) by a kernel of torch, which wants the channels last."""

    def make() -> nn.Module:
        weights = [_weights(way, gates, value.channels) for way in ways]  # shapes are checked before memory is taken
        # torch lists the gates of a GRU as r z n, and has a bias for the state always.
        order = [1, 0, 2] if gates.cell == "gru" else list(range(GATES[gates.cell]))
        rows = torch.cat([torch.arange(gate * gates.units, (gate + 1) * gates.units) for gate in order])
        tensors: dict[str, Tensor] = {}
        for (kernel, recurrent, bias, echo), suffix in zip(weights, ("", "_reverse"), strict=False):
            found = {"weight_ih_l0": kernel, "weight_hh_l0": recurrent}
            if bias is not None:
                found |= {"bias_ih_l0": bias, "bias_hh_l0": torch.zeros_like(bias) if echo is None else echo}
            tensors |= {name + suffix: tensor[rows] for name, tensor in found.items()}
        both = len(ways) == 2
        return filled(
            lambda: gates.kernel(value.channels, gates.units, bias=gates.bias, batch_first=True, bidirectional=both),
            **tensors,
        )

    y = site.module(make, site.function("torch.transpose", value.ref, 1, 2))
    return site.function("torch.transpose", site.function("operator.getitem", y, 0), 1, 2)


def _channels(site: Site, y: Ref, which: slice) -> Ref:
    return site.function("operator.getitem", y, (slice(None), which))


def _position(site: Site, y: Ref, where: int) -> Ref:
    """(N, C, L) → (N, C) at one position."""
    return site.function("torch.select", y, 2, where)
