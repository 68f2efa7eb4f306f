"""Coupling: give layers cross-strand weights, or take them away (theorem T7).

The conjoined network is the RCPS network with B = 0 in every V = [A, B]. ``couple`` stores that zero as a
trainable tensor, so the function stays and training may leave the conjoined class; ``uncouple`` goes back
where B is still zero.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from fnmatch import fnmatchcase

import torch
from torch import nn

from rcproof.errors import RcproofError
from rcproof.nn.base import TiedLayer

Layers = str | Iterable[str]


def couple(network: nn.Module, layers: Layers = "all") -> nn.Module:
    """A copy of ``network`` with zero-initialised cross-strand weights in ``layers``: the same function, freer.

    ``layers``: ``"all"``, or names or shell patterns (``"rconvs.*"``) of tied layers; a string may hold several,
    with commas. Layers on a closed input see both strands already and cannot be coupled; ``"all"`` passes them
    over, a name that means one is an error. The result keeps dtype, device and train mode.

    Raises :class:`~rcproof.errors.RcproofError` for a name that matches no tied layer.

    >>> from rcproof.nn import RCPSConv1d
    >>> net = nn.Sequential(RCPSConv1d(4, 8, 5, source="reversal"), RCPSConv1d(8, 6, 3))
    >>> couple(net)[1].weight.shape  # from (6, 8, 3): V = [A, B], B zero
    torch.Size([6, 16, 3])
    """
    result = copy.deepcopy(network)
    _set_coupled(result, _chosen(result, layers, want=False), True)
    return _replanned(result)


def uncouple(network: nn.Module, layers: Layers = "all") -> nn.Module:
    """A copy of ``network`` without cross-strand weights in ``layers``: the inverse of :func:`couple` where B = 0.

    Raises :class:`~rcproof.errors.RcproofError` where B is not zero, since the function would change.

    >>> from rcproof.nn import RCPSConv1d
    >>> net = nn.Sequential(RCPSConv1d(4, 8, 5, source="reversal"), RCPSConv1d(8, 6, 3))
    >>> torch.equal(uncouple(couple(net))[1].weight, net[1].weight)
    True
    """
    result = copy.deepcopy(network)
    for name, layer in _chosen(result, layers, want=True).items():
        _, b = split_weight(layer)
        size = float(b.detach().abs().max()) if b.numel() else 0.0
        if not size == 0.0:  # NaN is not zero either
            raise RcproofError(
                f"layer {name!r} uses its cross-strand weights, so it cannot be uncoupled",
                got=f"|B| up to {size:.3g}",
                expected="B = 0",
                fix="leave it coupled: no uncoupled layer of this width computes the same (T6)",
            )
    _set_coupled(result, _chosen(result, layers, want=True), False)
    return _replanned(result)


def coupled_layers(network: nn.Module) -> tuple[str, ...]:
    """Names of the coupled layers."""
    return tuple(name for name, m in network.named_modules() if isinstance(m, TiedLayer) and m.coupled)


def split_weight(layer: TiedLayer, weight: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """A and B of a coupled layer's weight: views, but copies where a transposed convolution has groups.

    ``weight``: to be split in place of the layer's own, as where that is on the meta device.
    """
    weight = layer.weight if weight is None else weight  # type: ignore[assignment]
    assert isinstance(weight, torch.Tensor)
    axis = layer.coupling_axis
    half = weight.shape[axis] // 2
    groups = int(getattr(layer, "groups", 1))
    if axis == 0 and groups > 1:  # transposed convolution: own and other channels alternate by group
        blocks = weight.unflatten(0, (groups, 2, half // groups))
        return blocks[:, 0].flatten(0, 1), blocks[:, 1].flatten(0, 1)
    return weight.narrow(axis, 0, half), weight.narrow(axis, half, half)


def _set_coupled(network: nn.Module, layers: dict[str, TiedLayer], coupled: bool) -> None:
    """Give ``layers`` their new weights. Layers that share a weight go on sharing it, and its other names follow."""
    renewed: dict[nn.Parameter, nn.Parameter] = {}
    for layer in layers.values():
        weight = layer.weight
        assert isinstance(weight, nn.Parameter)
        if weight not in renewed:
            renewed[weight] = nn.Parameter(_weight(layer, coupled), requires_grad=weight.requires_grad)
        layer.weight = renewed[weight]
        layer.coupled = coupled
    for module in network.modules():
        if type(module).forward is nn.Module.forward:  # a container, which may hold a second name of a weight
            for name, parameter in module._parameters.items():
                if parameter in renewed:
                    module._parameters[name] = renewed[parameter]


def _weight(layer: TiedLayer, coupled: bool) -> torch.Tensor:
    """[A, 0] from A, or A from [A, B]."""
    if not coupled:
        return split_weight(layer)[0].detach().clone()
    own, axis, groups = layer.get_parameter("weight").detach(), layer.coupling_axis, int(getattr(layer, "groups", 1))
    if axis == 0 and groups > 1:
        blocks = own.unflatten(0, (groups, own.shape[0] // groups))
        return torch.stack([blocks, torch.zeros_like(blocks)], dim=1).flatten(0, 2)
    return torch.cat([own, torch.zeros_like(own)], dim=axis)


def _chosen(network: nn.Module, layers: Layers, want: bool) -> dict[str, TiedLayer]:
    """The tied layers that ``layers`` names and whose ``coupled`` is ``want``."""
    tied = {name: m for name, m in network.named_modules() if isinstance(m, TiedLayer)}
    couplable = {name: m for name, m in tied.items() if m.couplable}
    if isinstance(layers, str):
        layers = [part.strip() for part in layers.split(",")]
    chosen: dict[str, TiedLayer] = {}
    for pattern in layers:
        if pattern == "all":
            chosen |= couplable
            continue
        found = {name: m for name, m in couplable.items() if fnmatchcase(name, pattern)}
        if not found:
            closed = [name for name in tied if fnmatchcase(name, pattern)]
            if closed:
                raise RcproofError(
                    f"layer {closed[0]!r} cannot be coupled",
                    got=f"a {type(tied[closed[0]]).__name__} on a closed input or without weights across channels",
                    expected=f"one of {', '.join(couplable) or '(none)'}",
                )
            raise RcproofError(
                "no tied layer has this name", got=repr(pattern), expected=f"one of {', '.join(couplable) or '(none)'}"
            )
        chosen |= found
    return {name: m for name, m in chosen.items() if m.coupled is want}


def _replanned(network: nn.Module) -> nn.Module:
    """Coupling changes which layout runs a layer best."""
    for module in network.modules():
        replan = getattr(module, "replan", None)
        if replan is not None:
            replan()
    return network
