"""LSTM, GRU and RNN of ONNX: torch's own layers, their gates put in torch's order.

==========  ===============  ==============  =============================================================
layer       gates in ONNX    in torch        otherwise
==========  ===============  ==============  =============================================================
LSTM        i o f c          i f c o         other activations: :class:`rcproof.nn.Recurrent`
GRU         z r h            r z h           ``linear_before_reset=0``: :class:`rcproof.nn.Recurrent`, z r h
RNN         one              one             tanh or relu
==========  ===============  ==============  =============================================================
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rcproof.checkpoints.importing import Const, Made
from rcproof.checkpoints.onnx.graph import Model, Step, rule
from rcproof.checkpoints.onnx.layers import hint, own
from rcproof.checkpoints.onnx.operators import like

#: Where each gate of torch stands in ONNX.
_ORDER = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
#: Where each gate of rcproof.nn.Recurrent does: i f c o, and z r h.
_RECURRENT = {"LSTM": (0, 2, 3, 1), "GRU": (0, 1, 2), "RNN": (0,)}
_USUAL = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
_NAMES = {"Sigmoid": "sigmoid", "Tanh": "tanh", "Relu": "relu", "Softsign": "softsign", "Softplus": "softplus"}


@rule("LSTM GRU RNN")
def recurrent(m: Model, n: Step) -> Any:
    """(L, N, C) → all states (L, D, N, H), the last ones (D, N, H)."""
    x, w, r, b = n(0), own(n, n(1)), own(n, n(2)), own(n, n(3, None))
    assert w is not None and r is not None
    hidden, direction = n.attribute("hidden_size", r.tensor.shape[-1]), n.attribute("direction", "forward")
    directions = {"forward": 1, "reverse": 1, "bidirectional": 2}.get(direction)
    gates = len(_ORDER[n.kind])
    wanted = (directions, gates * hidden)
    shapes = [tuple(t.tensor.shape) for t in (w, r)]
    if directions is None or shapes[0][:2] != wanted or shapes[1] != (*wanted, hidden):
        raise n.refuse(f"weights of shapes {shapes}", f"{wanted} in front")
    if b is not None and tuple(b.tensor.shape) != (directions, 2 * gates * hidden):
        raise n.refuse(f"a bias of shape {tuple(b.tensor.shape)}", f"({directions}, {2 * gates * hidden})")
    if n(4, None) is not None or n(7, None) is not None or n.attribute("clip", None) is not None:
        raise n.refuse("lengths of sequences, peepholes or clipping", "none")
    if n.attribute("input_forget", 0):
        raise n.refuse("an input gate coupled with the forget gate", "gates of their own")
    first = bool(n.attribute("layout", 0))
    sequence = x if first else m.permute(x, (1, 0, 2))  # (N, L, C)
    usual = n.attribute("activations", _USUAL[n.kind] * directions)
    alphas, betas = n.attribute("activation_alpha", []), n.attribute("activation_beta", [])
    reset = bool(n.attribute("linear_before_reset", 0)) if n.kind == "GRU" else True
    plain = usual == _USUAL[n.kind] * directions or (n.kind == "RNN" and usual == ["Relu"] * directions)
    states = [n(5, None), n(6, None)] if n.kind == "LSTM" else [n(5, None)]
    states = [None if _zero(m, s) else s for s in states]
    if plain and reset:
        found = _torch(m, n, sequence, (w, r, b), hidden, direction, usual[0], states)
    else:
        if any(s is not None for s in states):
            raise n.refuse("a state to begin with, of a layer with these activations", "zeros")
        found = _own(m, n, sequence, (w, r, b), hidden, direction, (usual, alphas, betas), reset)
    every, last = found
    held = like(m, sequence) or (None,) * 3
    count = directions
    split = m.put(m.call("Tensor.unflatten", every, 2, (count, hidden)), (held[0], held[1], count, hidden))
    letters = "NLDH" if first else "LDNH"
    y = m.permute(split, ["NLDH".index(a) for a in letters])
    return m.put(y, None, Made("recurrent", every, letters)), *last


def _zero(m: Model, state: Any) -> bool:
    if state is None:
        return True
    made = m.how(state, "filled", "expand")
    if made is not None and made.how == "filled":
        return bool(made.data == 0)
    state = made.base if made is not None else state
    return isinstance(state, Const) and not bool(state.tensor.any())


def _gates(tensor: Tensor, order: tuple[int, ...]) -> Tensor:
    """The blocks of rows of one direction in another order."""
    blocks = tensor.chunk(len(order), 0)
    return torch.cat([blocks[i] for i in order])


def _torch(
    m: Model,
    n: Step,
    x: Any,
    weights: tuple[Const, Const, Const | None],
    hidden: int,
    direction: str,
    activation: str,
    states: list[Any],
) -> tuple[Any, tuple[Any, ...]]:
    """torch's own layer: all states (N, L, D·H), and the last ones (D, N, H)."""
    w, r, b = weights
    order = _ORDER[n.kind]
    tensors: dict[str, Const] = {}
    half = len(order) * hidden
    for d in range(2 if direction == "bidirectional" else 1):
        tail = "_reverse" if d else ""
        tensors[f"weight_ih_l0{tail}"] = m.derived(w, f"gates {d}", lambda t, d=d: _gates(t[d], order))  # type: ignore[misc]
        tensors[f"weight_hh_l0{tail}"] = m.derived(r, f"gates {d}", lambda t, d=d: _gates(t[d], order))  # type: ignore[misc]
        if b is not None:
            tensors[f"bias_ih_l0{tail}"] = m.derived(b, f"in {d}", lambda t, d=d: _gates(t[d, :half], order))  # type: ignore[misc]
            tensors[f"bias_hh_l0{tail}"] = m.derived(b, f"to {d}", lambda t, d=d: _gates(t[d, half:], order))  # type: ignore[misc]
    options: dict[str, Any] = {
        "input_size": w.tensor.shape[2],
        "hidden_size": hidden,
        "bias": b is not None,
        "batch_first": True,
        "bidirectional": direction == "bidirectional",
    }
    if n.kind == "RNN":
        options["nonlinearity"] = activation.lower()
    if any(s is not None for s in states):
        like_zero = [
            m.call("torch.zeros_like", next(s for s in states if s is not None)) if s is None else s for s in states
        ]
        given: tuple[Any, ...] = (tuple(like_zero) if n.kind == "LSTM" else like_zero[0],)
    else:
        given = ()
    if direction == "reverse":
        x = m.put(m.call("torch.flip", x, [1]), like(m, x))
    kind = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}[n.kind]
    made = m.layer(kind, options, tensors, x, *given, hint=hint(n))
    held = like(m, x) or (None,) * 3
    width = hidden * (2 if direction == "bidirectional" else 1)
    every = m.put(m.call("operator.getitem", made, 0), (*held[:2], width))
    if direction == "reverse":
        every = m.put(m.call("torch.flip", every, [1]), (*held[:2], width))
    last = m.call("operator.getitem", made, 1)
    shape = (width // hidden, held[0], hidden)
    if n.kind != "LSTM":
        return every, (m.put(last, shape),)
    return every, tuple(m.put(m.call("operator.getitem", last, i), shape) for i in range(2))


def _own(
    m: Model,
    n: Step,
    x: Any,
    weights: tuple[Const, Const, Const | None],
    hidden: int,
    direction: str,
    activations: tuple[list[str], list[float], list[float]],
    reset: bool,
) -> tuple[Any, tuple[Any, ...]]:
    """rcproof's layer, one a direction, for what torch's cannot do."""
    from rcproof.nn import Recurrent

    w, r, b = weights
    order, each = _RECURRENT[n.kind], len(_USUAL[n.kind])
    half = len(order) * hidden
    names = _activations(n, *activations)
    channels = m.permute(x, (0, 2, 1))
    results, lasts = [], []
    for d, reverse in enumerate({"forward": [False], "reverse": [True]}.get(direction, [False, True])):
        mine = names[d * each : (d + 1) * each]
        if n.kind == "LSTM" and mine[1] != mine[2]:
            raise n.refuse(f"activations {mine[1]} and {mine[2]}", "one for both")
        options = {
            "input_size": w.tensor.shape[2],
            "hidden_size": hidden,
            "cell": n.kind.lower(),
            "bias": b is not None,
            "activation": mine[-1],
            "recurrent_activation": mine[0],
            "reset_after": reset and n.kind == "GRU",
            "reverse": reverse,
        }
        tensors: dict[str, Const | None] = {
            "weight": m.derived(w, f"own {d}", lambda t, d=d: _gates(t[d], order)),  # type: ignore[misc]
            "recurrent_weight": m.derived(r, f"own {d}", lambda t, d=d: _gates(t[d], order)),  # type: ignore[misc]
        }
        if b is not None and options["reset_after"]:
            tensors["bias"] = m.derived(b, f"own {d}", lambda t, d=d: _gates(t[d, :half], order))  # type: ignore[misc]
            tensors["recurrent_bias"] = m.derived(b, f"own to {d}", lambda t, d=d: _gates(t[d, half:], order))  # type: ignore[misc]
        elif b is not None:
            tensors["bias"] = m.derived(
                b,
                f"own both {d}",
                lambda t, d=d: _gates(t[d, :half], order) + _gates(t[d, half:], order),  # type: ignore[misc]
            )
        held = like(m, x) or (None,) * 3
        y = m.put(m.layer(Recurrent, options, tensors, channels, hint=hint(n)), (held[0], hidden, held[1]))
        results.append(y)
        lasts.append(m.put(m.call("torch.select", y, 2, 0 if reverse else -1), (held[0], hidden)))
    every = results[0] if len(results) == 1 else m.call("torch.cat", results, 1)
    width = hidden * len(results)
    every = m.permute(m.put(every, (held[0], width, held[1])), (0, 2, 1))
    last = m.put(m.call("torch.stack", lasts, 0), (len(results), held[0], hidden))
    return every, (last,)  # the last cell state of an LSTM is not given: to read it is an error


def _activations(n: Step, names: list[str], alphas: list[float], betas: list[float]) -> list[str]:
    """Their names in rcproof; of the hard sigmoid the two that are in use."""
    found = []
    rest, shifts = iter(alphas), iter(betas)
    for name in names:
        if name == "HardSigmoid":
            alpha, beta = next(rest, 0.2), next(shifts, 0.5)
            slope = {True: "hard_sigmoid_fifth"}.get(abs(alpha - 0.2) < 1e-6)
            slope = "hard_sigmoid_sixth" if abs(alpha - 1 / 6) < 1e-6 else slope
            if slope is None or beta != 0.5:
                raise n.refuse(f"a hard sigmoid {alpha} x + {beta}", "a slope of 1/5 or 1/6")
            found.append(slope)
        elif name in _NAMES:
            found.append(_NAMES[name])
        else:
            raise n.refuse(f"activation {name[:20]}", ", ".join([*_NAMES, "HardSigmoid"]))
    return found
