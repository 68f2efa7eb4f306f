"""Layers that do nothing to a trained network."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from rcproof.checkpoints.keras.build import Site, Value, layer

# Of a kind that torch has, the torch layer, so that the network can be trained on.
_TORCH: dict[str, type[nn.Dropout] | type[nn.Dropout1d] | type[nn.AlphaDropout]] = {
    "Dropout": nn.Dropout,
    "SpatialDropout1D": nn.Dropout1d,
    "AlphaDropout": nn.AlphaDropout,
}


@layer(*_TORCH, either_axis=True)
def _dropout(site: Site) -> Value:
    value, rate = site.value, site.get("rate", 0.5)
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
        raise site.error("rate", got=repr(rate)[:60], expected="a number from 0 to 1")
    return replace(value, ref=site.module(lambda: _TORCH[site.spec.kind](float(rate)), value.ref))


@layer("GaussianDropout", "GaussianNoise", "SpatialDropout2D", "ActivityRegularization", either_axis=True)
def _nothing(site: Site) -> Value:
    return site.value
