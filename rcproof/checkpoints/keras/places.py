"""Where layers stand in a network: what is seen from there is worked out once, as files can be large."""

from __future__ import annotations

from rcproof.checkpoints.keras.build import Site
from rcproof.checkpoints.keras.model import KerasModel


class Places:
    """The calls of each layer, and those that read the results of each call, by their numbers."""

    def __init__(self, model: KerasModel) -> None:
        self.model = model
        self.of_layer: dict[str, list[int]] = {}
        self.readers: list[list[int]] = [[] for _ in model.calls]
        for i, call in enumerate(model.calls):
            self.of_layer.setdefault(call.layer, []).append(i)
            for source in {s.call for s in call.inputs}:
                self.readers[source].append(i)

    def kind(self, place: int) -> str:
        """The kind of the layer that is called there."""
        return self.model.layers[self.model.calls[place].layer].kind


def places_of(site: Site) -> Places:
    """Those of the network that is being built."""
    if " places" not in site.kept:  # no path of a layer begins with a space
        site.kept[" places"] = Places(site.model)
    places: Places = site.kept[" places"]
    return places
