"""A conversion whose layers are then coupled: the certificate says where the new zeros are."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from rcproof.convert.api import Conversion
from rcproof.convert.certificate import TensorOrigin, tensor_sha256
from rcproof.network.network import Network, find_tensor
from rcproof.nn.base import TiedLayer
from rcproof.nn.couple import couple, coupled_layers

#: V = [A, B] with A copied from the source and B = 0.
COUPLED = "copy+zero"


def couple_conversion(conversion: Conversion, layers: str | Iterable[str] = "all") -> Conversion:
    """``conversion`` with zero-initialised cross-strand weights in ``layers``: the same function, freer (T7).

    ``layers`` as in :func:`rcproof.couple`, whose errors it raises. In the certificate the coupled weights come
    from the source as ``copy+zero``: V = [A, B], A the source's tensor, B = 0.
    """
    model = couple(conversion.model, layers)
    assert isinstance(model, Network)
    coupled = {find_tensor(model, f"{name}.weight") for name in coupled_layers(model)}
    weights = {
        n for n, p in model.named_parameters(remove_duplicate=False) if p in coupled
    }  # under each of their names
    old = conversion.certificate
    tensors = tuple(
        _origin(model, origin) if origin.name in weights and origin.how == "copy" else origin for origin in old.tensors
    )
    tied = {p for m in model.modules() if isinstance(m, TiedLayer) for p in m.parameters(recurse=False)}
    total = sum(p.numel() for p in model.parameters())
    parameters = {**old.parameters, "tied": sum(p.numel() for p in tied), "total": total}
    return dataclasses.replace(
        conversion, model=model, certificate=dataclasses.replace(old, tensors=tensors, parameters=parameters)
    )


def _origin(model: Network, origin: TensorOrigin) -> TensorOrigin:
    tensor = find_tensor(model, origin.name)
    return dataclasses.replace(origin, how=COUPLED, shape=tuple(tensor.shape), result_sha256=tensor_sha256(tensor))
