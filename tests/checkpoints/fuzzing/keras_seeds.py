"""Keras files of every age and container."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tests.checkpoints.fuzzing import keras_crafted, keras_nets, values, zips
from tests.checkpoints.fuzzing.h5 import Tree, written
from tests.checkpoints.fuzzing.making import Danger, Files, Seed, damage, pickles_everywhere, zip_tricks


class _Keras:
    """One Keras network in one container."""

    def __init__(
        self, name: str, net: Callable[[], tuple[Any, Tree]], container: str, shapes: Any, **lambdas: str
    ) -> None:
        self.net, self.container = net, container
        self.config, self.tree = net()
        main = {"archive": "net.keras", "full": "net.h5", "apart": "weights.h5"}[container]
        options: dict[str, Any] = {"lambdas": lambdas} if lambdas else {}
        if container == "apart":
            options["architecture"] = "net.json"
        self.seed = Seed(name, main, {}, shapes, options)
        self.seed.files = self.files(self.config, self.tree)

    def files(self, config: Any, tree: Tree) -> Files:
        text = config if isinstance(config, str) else json.dumps(config)
        coded = text.encode("utf-8", "surrogatepass")
        if self.container == "apart":
            return {self.seed.main: written(tree), "net.json": coded}
        if self.container == "full":
            attrs: dict[str, Any] = {
                "model_config": text,
                "keras_version": "2.4.0",
                "backend": "tensorflow",
                **tree.attrs,
            }
            return {self.seed.main: written(Tree(attrs, {"model_weights": tree}))}
        metadata = json.dumps({"keras_version": "3.5.0", "date_saved": "2024-01-01@00:00:00"}).encode()
        content = {"metadata.json": metadata, "config.json": coded, "model.weights.h5": written(tree)}
        return {self.seed.main: zips.zipped(content)}

    def leaves(self, rng: random.Random) -> tuple[str, Files]:
        return "configuration", self.files(values.text(rng, values.changed(rng, self.config)), self.tree)

    def arrays(self, rng: random.Random) -> tuple[str, Files]:
        """Other arrays, names and attributes."""
        tree = copy.deepcopy(self.tree)
        for _ in range(rng.choice((1, 1, 2))):
            holder, name = rng.choice(tree.arrays())
            array, kind = holder.items[name], rng.randrange(9)
            if kind == 0:
                holder.items[name] = array.astype(rng.choice(("<f2", "<f8", ">f4", "<i4", "?", "u1", "<c8", "S3")))
            elif kind == 1:
                holder.items[name] = array.T.copy()
            elif kind == 2:
                holder.items[name] = rng.choice((array[:0], array[:1], array[..., None], array.ravel(), array[..., :1]))
            elif kind == 3:
                del holder.items[name]
            elif kind == 4:
                holder.items[rng.choice(("x", "kernel:0", "A" * 300, "bias", "0", "é"))] = holder.items.pop(name)
            elif kind == 5:
                holder.items[name] = np.full_like(array, rng.choice((np.nan, np.inf, 0, 1e38, -1e38)))
            elif kind == 6:
                other, at = rng.choice(tree.arrays())
                holder.items[name] = other.items[at]
            else:
                group = rng.choice([g for g in tree.groups() if g.attrs] or [tree])
                key = rng.choice([*group.attrs, "weight_names", "backend", "name"])
                made = values.odd(rng, _listed(group.attrs.get(key, "")))
                group.attrs[key] = made if _storable(made) else str(made)[:1000]
        return "arrays", self.files(self.config, tree)

    def made(self, danger: Danger) -> Seed:
        seed = self.seed
        damage(seed, 2)
        if self.container == "apart":
            damage(seed, 1, "net.json")
        seed.changes += [(7, self.leaves), (2.5, self.arrays)]
        return seed

    def add_crafted(self, danger: Danger, configurations: bool) -> None:
        seed = self.seed
        for what, tree in keras_crafted.trees(lambda: copy.deepcopy(self.tree), danger.marker, danger.secret).items():
            seed.crafted[what] = lambda tree=tree: self.files(self.config, tree())
        for what, config in keras_crafted.configurations(danger.marker).items() if configurations else ():
            seed.crafted[what] = lambda config=config: self.files(config, Tree({"layer_names": []}))
        pickles_everywhere(seed, danger)


def _listed(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _storable(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(v, str) and "\0" not in v and v for v in value) and len(value) < 2000
    return isinstance(value, str | int | float) and not (isinstance(value, int) and abs(value) >= 2**63)


def keras_seeds(danger: Danger) -> Iterator[Seed]:
    nets = keras_nets
    all_of_them = (
        _Keras("Keras 2 .h5", nets.every_layer, "full", ((4, 20),), same="identity"),
        _Keras("Keras 2 siamese", nets.siamese, "full", ((4, 16),)),
        _Keras("keras-genomics", nets.genomics, "full", ((4, 18),)),
        _Keras("Keras 2 + JSON", nets.chain, "apart", ((4, 15),)),
        _Keras("Keras 3 .keras", nets.third, "archive", ((4, 16),)),
        _Keras("Keras 1", nets.first, "apart", ((4, 14), (4, 14))),
        _Keras("Keras 0", nets.zeroth, "apart", ((4, 20),)),
    )
    for one in all_of_them:
        seed = one.made(danger)
        kinds = {"Keras 2 .h5": True, "Keras 2 + JSON": False, "Keras 3 .keras": True, "Keras 0": False}
        if seed.format in kinds:
            one.add_crafted(danger, kinds[seed.format])
        if one.container == "archive":
            zip_tricks(seed, ["config.json", "model.weights.h5"], danger)
        yield seed
