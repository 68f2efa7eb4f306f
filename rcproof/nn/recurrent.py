"""Recurrent layers with gates that torch's own do not have, for networks of one strand.

``nn.LSTM`` and ``nn.GRU`` know one activation a gate, and one of the two GRUs. Networks trained elsewhere have others:
old Keras takes a piecewise linear function for a sigmoid, and its GRU resets the state before the matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rcproof.errors import RcproofError, ShapeError

#: How many blocks of ``hidden_size`` rows the weights of a cell have: one a gate.
GATES = {"lstm": 4, "gru": 3, "rnn": 1}


def _linear(x: Tensor) -> Tensor:
    return x


def _hard_sigmoid_fifth(x: Tensor) -> Tensor:
    return (0.2 * x + 0.5).clamp(0, 1)


#: Activations of gates and candidates. Two functions are called the hard sigmoid: with the slope 1/5 that of Theano and
#: of Keras 1 and 2, with the slope 1/6 that of torch and of Keras 3.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": _linear,
    "sigmoid": torch.sigmoid,
    "hard_sigmoid_fifth": _hard_sigmoid_fifth,
    "hard_sigmoid_sixth": F.hardsigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "relu6": F.relu6,
    "elu": F.elu,
    "selu": torch.selu,
    "gelu": F.gelu,
    "silu": F.silu,
    "mish": F.mish,
    "softplus": F.softplus,
    "softsign": F.softsign,
    "exp": torch.exp,
}


class Recurrent(nn.Module):
    """A recurrent layer of one direction: (N, input_size, L) → (N, hidden_size, L), the state after each position.

    An ordinary layer: it has no strands, and its lift (:class:`~rcproof.nn.Lifted`, T2) runs it on both. The loop over
    positions is plain Python, so an exported program has one length.

    Args:
        input_size, hidden_size: channels in and out.
        cell: ``lstm`` (gates i f c o), ``gru`` (z r h) or ``rnn``; the gates are blocks of rows of the weights.
        bias: whether there is a bias of shape (gates · hidden_size,).
        activation: of the candidate, and of the cell state of an LSTM: a name in :data:`ACTIVATIONS`.
        recurrent_activation: of the gates.
        reset_after: of a GRU: the reset gate acts on the product with the recurrent weights (as in ``nn.GRU``), which
            then has a bias of its own, and not on the state before it.
        reverse: read from the last position to the first. What belongs to a position stays at that position.

    ``weight`` is (gates · hidden_size, input_size), ``recurrent_weight`` (gates · hidden_size, hidden_size). Raises
    :class:`~rcproof.errors.RcproofError` for a cell or an activation that has no such name, and
    :class:`~rcproof.errors.ShapeError` for an input of another shape.

    >>> layer = Recurrent(4, 8, "gru", recurrent_activation="hard_sigmoid_fifth")
    >>> layer(torch.zeros(2, 4, 30)).shape
    torch.Size([2, 8, 30])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        cell: str,
        bias: bool = True,
        activation: str = "tanh",
        recurrent_activation: str = "sigmoid",
        reset_after: bool = False,
        reverse: bool = False,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if cell not in GATES:
            raise RcproofError("cell of a recurrent layer", got=repr(cell), expected=", ".join(GATES))
        for name in (activation, recurrent_activation):
            if name not in ACTIVATIONS:
                raise RcproofError("activation of a recurrent layer", got=repr(name), expected=", ".join(ACTIVATIONS))
        if input_size < 1 or hidden_size < 1:
            raise RcproofError(
                "sizes of a recurrent layer", got=f"{input_size} and {hidden_size}", expected="at least 1"
            )
        self.input_size, self.hidden_size, self.cell = input_size, hidden_size, cell
        self.activation, self.recurrent_activation = activation, recurrent_activation
        self.reset_after, self.reverse = reset_after and cell == "gru", reverse
        rows, bound = GATES[cell] * hidden_size, 1 / math.sqrt(hidden_size)

        def draw(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(shape, device=device, dtype=dtype).uniform_(-bound, bound))

        self.weight, self.recurrent_weight = draw(rows, input_size), draw(rows, hidden_size)
        self.bias = draw(rows) if bias else None
        self.recurrent_bias = draw(rows) if bias and self.reset_after else None

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 3 or x.shape[1] != self.input_size or x.shape[2] < 1:
            raise ShapeError(
                "input of Recurrent", got=f"shape {tuple(x.shape)}", expected=f"(N, {self.input_size}, L), L at least 1"
            )
        # All that does not wait for the state is one product over all positions.
        drives = F.linear(x.transpose(1, 2), self.weight, self.bias).unbind(1)
        state = memory = torch.zeros_like(drives[0][:, : self.hidden_size])
        states = []
        for drive in reversed(drives) if self.reverse else drives:
            if self.cell == "lstm":
                state, memory = self._lstm(drive, state, memory)
            else:
                state = self._gru(drive, state) if self.cell == "gru" else self._rnn(drive, state)
            states.append(state)
        return torch.stack(states[::-1] if self.reverse else states, dim=2)

    def _lstm(self, drive: Tensor, state: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        gate, act = ACTIVATIONS[self.recurrent_activation], ACTIVATIONS[self.activation]
        i, f, c, o = (drive + F.linear(state, self.recurrent_weight)).chunk(4, dim=1)
        memory = gate(f) * memory + gate(i) * act(c)
        return gate(o) * act(memory), memory

    def _gru(self, drive: Tensor, state: Tensor) -> Tensor:
        gate, act = ACTIVATIONS[self.recurrent_activation], ACTIVATIONS[self.activation]
        u = self.hidden_size
        if self.reset_after:
            echo = F.linear(state, self.recurrent_weight, self.recurrent_bias)
            z, r = gate(drive[:, : 2 * u] + echo[:, : 2 * u]).chunk(2, dim=1)
            h = act(drive[:, 2 * u :] + r * echo[:, 2 * u :])
        else:
            z, r = gate(drive[:, : 2 * u] + F.linear(state, self.recurrent_weight[: 2 * u])).chunk(2, dim=1)
            h = act(drive[:, 2 * u :] + F.linear(r * state, self.recurrent_weight[2 * u :]))
        return z * state + (1 - z) * h

    def _rnn(self, drive: Tensor, state: Tensor) -> Tensor:
        return ACTIVATIONS[self.activation](drive + F.linear(state, self.recurrent_weight))

    def extra_repr(self) -> str:
        return (
            f"{self.input_size}, {self.hidden_size}, cell={self.cell!r}, activation={self.activation!r}, "
            f"recurrent_activation={self.recurrent_activation!r}, reset_after={self.reset_after}, "
            f"reverse={self.reverse}"
        )
