"""Layers of every age in one set of conventions, those of Keras 2: names, arguments, kernels, gates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rcproof.checkpoints.keras.keras1 import converted, renamed
from rcproof.checkpoints.keras.model import Array, LayerSpec
from rcproof.checkpoints.keras.nets import Item
from rcproof.errors import CheckpointError

_DROPPED = frozenset(
    (
        *("name", "trainable", "dtype", "input_dtype", "autocast", "batch_input_shape", "batch_shape"),
        *("seed", "registered_name", "build_config", "quantization_config"),
    )
)
_DROPPED_ENDS = ("_initializer", "_regularizer", "_constraint")
_ACTIVATIONS = ("activation", "recurrent_activation")

#: Layers that convolve, with the roles of their kernels.
_KERNELS = {
    **{f"Conv{rank}D{after}": ("kernel",) for rank in (1, 2, 3) for after in ("", "Transpose")},
    **{f"DepthwiseConv{rank}D": ("depthwise_kernel",) for rank in (1, 2)},
    **{f"SeparableConv{rank}D": ("depthwise_kernel", "pointwise_kernel") for rank in (1, 2)},
    "RevCompConv1D": ("kernel",),
}
#: Layers with a ``data_format``; where a file of Keras 2 or 3 has none, there was only channels_last.
_FORMATTED = frozenset(
    (
        *_KERNELS,
        *(f"{kind}Pooling{rank}D" for kind in ("Average", "Max") for rank in (1, 2, 3)),
        *(f"Global{kind}Pooling{rank}D" for kind in ("Average", "Max") for rank in (1, 2, 3)),
        *(f"{kind}2D" for kind in ("Cropping", "UpSampling", "ZeroPadding", "SpatialDropout", "LocallyConnected")),
        *("Flatten", "LocallyConnected1D"),
    )
)
#: Names that TensorFlow gave to layers that compute the same in eval mode.
_SAME = {
    "SyncBatchNormalization": "BatchNormalization",
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "LSTMV2": "LSTM",
    "GRUV2": "GRU",
    "DenseV2": "Dense",
}


@dataclass(frozen=True)
class Conventions:
    """What must be known of a file to bring its layers to the conventions of Keras 2.

    ``std``: BatchNormalization keeps standard deviations (before Keras 1.0.6). ``data_format``: what most layers of the
    file say of images, for those that say nothing.
    """

    generation: int
    backend: str
    std: bool = False
    data_format: str | None = None

    def finish(self, item: Item, name: str, arrays: Callable[[Item], dict[str, Array]]) -> LayerSpec:
        """The plain form of a layer, with the arrays that ``arrays`` gives for it by its own names."""
        if item.net is not None:
            raise CheckpointError(f"layer {name!r}", got="a network inside a wrapper", expected="a plain layer inside")
        if item.kind == "InputLayer":
            return LayerSpec(name, item.kind, self._input(item), generation=self.generation)
        kind, config, weights = _SAME.get(item.kind, item.kind), item.config, arrays(item)
        if self.generation < 2:
            weights, more = converted(name, kind, config, weights, self.std)
            kind, config = renamed(name, kind, config, self.data_format)
            config = {**config, **more}
        config = cleaned(config)
        if item.operation:
            config["operation"] = True
            config |= {"dtype": item.config["dtype"]} if "dtype" in item.config else {}  # what a cast casts to
        if kind in _FORMATTED and config.get("data_format") is None:
            config["data_format"] = "channels_last"
        kind, config, weights = _plain_recurrent(name, kind, config, weights)
        inner = tuple(self.finish(inside, f"{name}/{inside.name}", arrays) for inside in item.inner)
        return LayerSpec(name, kind, config, self.flipped(kind, weights), inner, self.generation)

    def flipped(self, kind: str, weights: dict[str, Array]) -> dict[str, Array]:
        """The weights with kernels for cross-correlation: convolutions of Theano run over the kernel backwards."""
        if self.backend != "theano" or kind not in _KERNELS:
            return weights
        made = dict(weights)
        for role in _KERNELS[kind]:
            if role in made and made[role].ndim > 2:
                made[role] = made[role][(slice(None, None, -1),) * (made[role].ndim - 2)]
        return made

    def _input(self, item: Item) -> dict[str, Any]:
        config = item.config
        whole = config.get("batch_input_shape", config.get("batch_shape"))
        shape = whole[1:] if isinstance(whole, list) else config.get("shape", config.get("input_shape"))
        if not isinstance(shape, list) or not all(_is_size(n) for n in shape):
            raise CheckpointError(
                f"the shape of input {item.name!r}",
                got="none in the configuration" if shape is None else repr(shape)[:60],
                expected="the sizes of its axes",
            )
        return {"shape": shape, **({"data_format": self.data_format} if self.data_format and len(shape) == 3 else {})}


def _is_size(n: Any) -> bool:
    return n is None or (isinstance(n, int) and not isinstance(n, bool) and 0 < n < 1 << 31)


def cleaned(config: dict[str, Any]) -> dict[str, Any]:
    """The arguments that say what a layer computes in eval mode."""
    policy = config.get("dtype")
    if isinstance(policy, dict) and "Quantized" in str(policy.get("class_name")):
        raise CheckpointError(
            f"layer {str(config.get('name'))[:80]!r}", got="quantised weights", expected="weights in floating point"
        )
    made = {k: v for k, v in config.items() if k not in _DROPPED and not k.endswith(_DROPPED_ENDS)}
    for key in _ACTIVATIONS:
        if key in made:
            made[key] = activation(made[key])
    return made


def activation(found: Any) -> Any:
    """An activation: a name, or ``{"class_name": …, "config": {…}}``."""
    if found is None:
        return "linear"
    if isinstance(found, dict) and isinstance(found.get("class_name"), str):
        config = found.get("config")
        if isinstance(config, str):  # Keras 3: {"class_name": "function", "config": "relu"}
            return config
        return {"class_name": found["class_name"], "config": cleaned(config) if isinstance(config, dict) else {}}
    return found


# -- recurrent layers of CuDNN ---------------------------------------------------------------------------------
def _plain_recurrent(
    name: str, kind: str, config: dict[str, Any], weights: dict[str, Array]
) -> tuple[str, dict[str, Any], dict[str, Array]]:
    """LSTM and GRU for CuDNNLSTM and CuDNNGRU, whose kernels are transposed gate by gate, with two biases.

    An LSTM or GRU whose bias has the length of theirs was trained as one of them, as Keras too supposes.
    """
    gates = {"LSTM": 4, "CuDNNLSTM": 4, "GRU": 3, "CuDNNGRU": 3}.get(kind)
    if gates is None:
        return kind, config, weights
    units, bias = config.get("units"), weights.get("bias")
    units = units if isinstance(units, int) else 0
    doubled = bias is not None and bias.shape == (2 * gates * units,)
    if kind.startswith("CuDNN"):
        config = {
            **config,
            "activation": "tanh",
            "recurrent_activation": "sigmoid",
            "use_bias": True,
            **({"reset_after": True} if gates == 3 else {}),
        }
        kind = kind.removeprefix("CuDNN")
        if weights and not doubled:
            shape = None if bias is None else bias.shape
            raise CheckpointError(f"the bias of layer {name!r} (CuDNN{kind})", got=f"shape {shape}")
    if kind == "GRU":
        config = {**config, "reset_after": config.get("reset_after", False)}
    if not doubled or bias is None:
        return kind, config, weights
    kernel, recurrent = weights.get("kernel"), weights.get("recurrent_kernel")
    wide = (None, gates * units)
    if any(w is None or w.ndim != 2 or w.shape[1] != wide[1] for w in (kernel, recurrent)):
        raise CheckpointError(f"the kernels of layer {name!r} (CuDNN{kind})", expected=f"{wide[1]} columns")
    assert kernel is not None and recurrent is not None
    made = {
        "kernel": np.hstack([k.T.reshape(k.shape, order="F") for k in np.hsplit(kernel, gates)]),
        "recurrent_kernel": np.hstack([k.T for k in np.hsplit(recurrent, gates)]),
        "bias": bias.reshape(2, -1).sum(0) if kind == "LSTM" else bias.reshape(2, -1),
    }
    return kind, config, made
