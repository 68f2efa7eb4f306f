"""Un-tying: an RCPS network as an ordinary network of ordinary layers, which any torch runs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rcproof.conjoined import Conjoined
from rcproof.convert.api import Conversion, ConvertConfig, convert, input_count, plain_network
from rcproof.convert.certificate import Certificate
from rcproof.convert.shapes import Shape, stated_shapes
from rcproof.errors import RcproofError
from rcproof.network.network import Network, find_module
from rcproof.network.untie import untie_network
from rcproof.verify import draw_inputs

__all__ = ["as_network", "example_inputs", "input_representations", "untie"]

Untieable = nn.Module | Conversion


def untie(
    model: Untieable, layout: str = "auto", shapes: Sequence[Shape] | None = None, leaves: Sequence[str] = ()
) -> Network:
    """The same function as ``model`` computes, as a network of ordinary layers: no tied layer, nothing of strands.

    Args:
        model: the result of :func:`rcproof.convert`; an RCPS network in a file of ours or of Keras; a
            :class:`~rcproof.conjoined.Conjoined` network; or an ordinary network, which is copied.
        layout: as in :meth:`Network.set_layout`. ``stacked`` is the canonical RCPS form: layers of twice the
            channels with tied weights. ``auto`` and ``batched`` leave uncoupled layers as they are, on a batch of both
            strands, so that no structural zeros are multiplied.
        shapes: of the inputs without the batch, (C, L), (C,) or (L,) for tokens; only needed where ``model``
            does not say them, and only to learn how many axes each value has. The result takes every length
            that ``model`` takes.
        leaves: submodules of a conjoined or ordinary network that stay whole; see
            :class:`~rcproof.convert.ConvertConfig`.

    Outputs and input gradients are those of ``model`` up to the order of summation; in the layout in which ``model``
    runs, bit by bit. ``model`` is not changed and shares nothing with the result, which is in eval mode. Dropout
    stays as an ordinary layer. Theorems T1, T2 and T4.

    Raises :class:`~rcproof.errors.RcproofError` for a tied layer that has no twin in ``torch.nn``, and where shapes
    are needed and unknown.

    >>> from rcproof import Conjoined, convert
    >>> net = nn.Sequential(nn.Conv1d(4, 8, 5), nn.ReLU(), nn.Conv1d(8, 2, 3)).eval()
    >>> plain = untie(convert(Conjoined(net, outputs="reversal").eval()), "stacked")
    >>> plain.get_submodule("2")
    Conv1d(16, 4, kernel_size=(3,), stride=(1,), groups=2)
    """
    network, known, _ = as_network(model, shapes, leaves)
    return untie_network(network, example_inputs(network, known), layout)


def as_network(
    model: Untieable, shapes: Sequence[Shape] | None = None, leaves: Sequence[str] = ()
) -> tuple[Network, tuple[Shape, ...], Certificate | None]:
    """The graph network of ``model``; the shapes of its inputs, given or known; its certificate, if it has one."""
    found = None if shapes is None else tuple(tuple(shape) for shape in shapes)
    if isinstance(model, Conjoined):
        model = convert(model, ConvertConfig(input_shapes=found, leaves=tuple(leaves), verify=False))
    if isinstance(model, Conversion):
        return model.model, found or model.input_shapes, model.certificate
    if not isinstance(model, nn.Module):
        raise RcproofError("network to untie", got=type(model).__name__, expected="a torch.nn.Module or a Conversion")
    count = model.input_count if isinstance(model, Network) else input_count(Conjoined(model))
    found = found or stated_shapes(model, count)
    if found is None or len(found) != count:
        raise RcproofError(
            "the shapes of the network's inputs",
            got="none" if found is None else f"{len(found)} for {count} inputs",
            expected=f"{count}, each without the batch",
            fix="give them: shapes=[(4, 1000), …], or --shape 4,1000 on the command line",
        )
    network = model if isinstance(model, Network) else plain_network(model, count, leaves)
    return network, found, None


def input_representations(network: Network) -> tuple[str, ...]:
    """How ρ acts on each input of a graph network; ``fixed`` where its graph does not say."""
    return tuple(_representation(network, i) for i in range(network.input_count))


def _representation(network: Network, index: int) -> str:
    nodes = network.rcproof_graph().nodes
    node = [n for n in nodes if n.op == "input"][index]
    if node.rep is not None:
        return node.rep
    for user in nodes:
        if user.op == "module" and node.name in user.refs():
            layer = find_module(network, user.target)
            source = getattr(layer, "source", None)
            if source is not None:
                return str(source)
            if isinstance(layer, nn.Embedding):
                return "tokens:" + ",".join(map(str, range(layer.num_embeddings)))
    return "fixed"


def example_inputs(network: Network, shapes: Sequence[Shape], batch: int = 2) -> tuple[Tensor, ...]:
    """Random inputs of these shapes, in the dtype and on the device of the network."""
    owned = [*network.parameters(), *network.buffers()]
    anchor = next((t for t in owned if t.is_floating_point()), torch.zeros(()))
    (case,) = draw_inputs(
        shapes,
        input_representations(network),
        kinds=("random",),
        batch=batch,
        dtype=anchor.dtype,
        device=anchor.device,
    )
    return case.tensors
