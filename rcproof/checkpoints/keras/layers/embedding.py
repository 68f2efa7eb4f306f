"""Embeddings: integer tokens (L,) to a sequence (L, C)."""

from __future__ import annotations

from torch import nn

from rcproof.checkpoints.keras.build import Site, Value, filled, layer
from rcproof.checkpoints.keras.places import Places, places_of

#: Layers that hand a mask on as it is, and layers that neither read a mask nor hand it on.
_PASS = {"Dropout", "SpatialDropout1D", "GaussianNoise", "GaussianDropout", "Activation", "LayerNormalization", "ReLU"}
_STOP = {
    *("Conv1D", "SeparableConv1D", "MaxPooling1D", "AveragePooling1D", "GlobalMaxPooling1D", "Flatten", "Cropping1D"),
    *("ZeroPadding1D", "UpSampling1D"),
}


@layer("Embedding")
def _embedding(site: Site) -> Value:
    if len(site.value.shape) != 1:
        raise site.error("input", got=f"shape {site.value.shape}", expected="tokens of shape (L,)")
    value = site.as_keras(site.value)
    rows, size = site.integer("input_dim"), site.integer("output_dim")
    if site.get("mask_zero", False):
        if (key := f" mask {site.spec.name}") not in site.kept:
            site.kept[key] = _reads_mask(places_of(site), site.spec.name)
        reader = site.kept[key]
        if reader is not None:
            raise site.error(
                f"mask_zero=true, and layer {reader!r} may skip the positions of token 0",
                fix="a network of one strand has no masks here; train without mask_zero",
            )

    def make() -> nn.Module:
        return filled(lambda: nn.Embedding(rows, size), weight=site.weight("embeddings", (rows, size)))

    # Keras takes tokens in any dtype.
    y = site.module(make, site.function("Tensor.long", value.ref))
    return Value(site.function("torch.transpose", y, 1, 2), (value.shape[0], size), "sequence")


def _reads_mask(places: Places, name: str) -> str | None:
    """A layer behind the layer ``name`` that may read its mask, or None."""
    masked = list(places.of_layer[name])
    known = set(masked)
    for place in masked:  # grows as it goes
        for reader in places.readers[place]:
            kind = places.kind(reader)
            if kind not in _PASS | _STOP:
                return places.model.calls[reader].layer
            if kind in _PASS and reader not in known:
                known.add(reader)
                masked.append(reader)
    return None
