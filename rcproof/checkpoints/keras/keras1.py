"""Layers of Keras 0 and 1, whose names, arguments and weights differ from those of Keras 2.

What differs in meaning, and not only in name:

- Convolutions of the Theano backend flip their kernels; see :func:`~rcproof.checkpoints.keras.conventions.flipped`.
- ``Convolution1D`` keeps its kernel as an image, ``(out, in, window, 1)`` before Keras 1.1 and ``(window, 1, in, out)``
  since; ``Convolution2D`` by its ``dim_ordering``.
- Recurrent layers keep three arrays a gate (those of an LSTM in the order i c f o), unless ``consume_less`` is ``gpu``.
- ``running_std`` of a BatchNormalization is a variance, but before Keras 1.0.6 it was what its name says, and ε was
  added to it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rcproof.checkpoints.keras.model import Array
from rcproof.checkpoints.keras.roles import Role
from rcproof.errors import CheckpointError

_CONVOLUTIONS = {
    "Convolution1D": "Conv1D",
    "AtrousConvolution1D": "Conv1D",
    "Convolution2D": "Conv2D",
    "AtrousConvolution2D": "Conv2D",
    "Conv1D": "Conv1D",
    "Conv2D": "Conv2D",
    "RevCompConv1D": "RevCompConv1D",
}
_DENSE = {"Dense": "Dense", "TimeDistributedDense": "Dense"}
_RECURRENT = {"LSTM": "icfo", "GRU": "zrh"}
_MERGES = {"sum": "Add", "ave": "Average", "mul": "Multiply", "max": "Maximum", "concat": "Concatenate"}
_POOLINGS = ("MaxPooling1D", "AveragePooling1D", "MaxPooling2D", "AveragePooling2D")
#: Layers whose files do not say which axis holds the channels, and for which it matters.
_IMAGES = ("UpSampling2D", "ZeroPadding2D", "Cropping2D", "SpatialDropout2D")

_RENAMED = {
    "nb_filter": "filters",
    "border_mode": "padding",
    "subsample": "strides",
    "atrous_rate": "dilation_rate",
    "bias": "use_bias",
    "inner_activation": "recurrent_activation",
    "p": "rate",
    "sigma": "stddev",
    "pool_length": "pool_size",
    "stride": "strides",
}
_DROPPED = frozenset(
    (
        *("init", "inner_init", "forget_bias_init", "beta_init", "gamma_init", "cache_enabled", "consume_less"),
        *("dropout_W", "dropout_U", "input_length", "input_shape", "input_dtype", "mode_type", "sparse"),
    )
)


def old_roles(kind: str, config: dict[str, Any]) -> list[Role] | None:
    """The arrays of a layer of Keras 0 or 1, in its own order; None for a kind that Keras 2 has too, or nobody."""
    if kind in _CONVOLUTIONS or kind in _DENSE or kind == "LocallyConnected1D":
        return [Role("W"), *([Role("b")] if config.get("bias", True) else [])]
    if kind == "BatchNormalization":
        return [Role("gamma"), Role("beta"), Role("running_mean", False), Role("running_std", False)]
    if kind == "SimpleRNN" or (kind in _RECURRENT and config.get("consume_less") == "gpu"):
        return [Role("W"), Role("U"), Role("b")]
    if kind in _RECURRENT:
        return [Role(f"{name}_{gate}") for gate in _RECURRENT[kind] for name in "WUb"]
    if kind == "Merge":
        return []
    return {"Embedding": [Role("W")], "PReLU": [Role("alphas")]}.get(kind)


def renamed(name: str, kind: str, config: dict[str, Any], data_format: str | None) -> tuple[str, dict[str, Any]]:
    """The class and the arguments that a layer of Keras 0 or 1 has in Keras 2.

    ``data_format``: what other layers of the network say, for those that do not say it themselves. Raises
    :class:`~rcproof.errors.CheckpointError` for what Keras 2 has no layer for.
    """
    if kind == "Merge":
        return _merge(name, config)
    made = {
        _RENAMED.get(key, key): value
        for key, value in config.items()
        if key not in _DROPPED and not key.startswith(("W_", "b_", "U_"))
    }
    if "dim_ordering" in made:
        made["data_format"] = {"th": "channels_first", "tf": "channels_last"}.get(
            str(made.pop("dim_ordering")), data_format
        )
    elif kind in _IMAGES:
        made["data_format"] = data_format
    if kind in (*_IMAGES, "Convolution2D", "AtrousConvolution2D", *_POOLINGS[2:]) and made.get("data_format") is None:
        raise CheckpointError(f"layer {name!r} ({kind})", got="no dim_ordering in the file", expected="'th' or 'tf'")
    if kind in _CONVOLUTIONS or kind == "LocallyConnected1D":
        _convolution(made)
        return _CONVOLUTIONS.get(kind, kind), made
    if kind in _DENSE or kind in _RECURRENT or kind == "SimpleRNN":
        made["units"] = made.pop("output_dim", None)
        made.pop("input_dim", None)
        if kind in _DENSE:
            made.setdefault("use_bias", True)
            return "Dense", made
        made["use_bias"] = True
        if kind == "GRU":
            made["reset_after"] = False
    elif kind in _POOLINGS:
        if made.pop("ignore_border", True) is not True:
            raise CheckpointError(f"layer {name!r} ({kind})", got="ignore_border: false", expected="true")
        made.setdefault("padding", "valid")
        made["strides"] = made["pool_size"] if made.get("strides") is None else made["strides"]
    elif kind == "BatchNormalization":
        if made.pop("mode", 0) != 0:
            raise CheckpointError(
                f"layer {name!r} (BatchNormalization)",
                got=f"mode {config['mode']}, which normalises by the batch or the example",
                expected="mode 0",
            )
        made.update(scale=True, center=True)
    elif kind == "UpSampling1D":
        made["size"] = made.pop("length", 2)
    elif kind == "Reshape" and "dims" in made:
        made["target_shape"] = made.pop("dims")
    elif kind == "ZeroPadding1D" and isinstance(made.get("padding"), dict):
        made["padding"] = [made["padding"].get("left_pad", 0), made["padding"].get("right_pad", 0)]
    return kind, made


def _convolution(made: dict[str, Any]) -> None:
    if "nb_row" in made:
        made["kernel_size"] = [made.pop("nb_row"), made.pop("nb_col", None)]
    if "filter_length" in made:
        made["kernel_size"] = [made.pop("filter_length")]
    if "subsample_length" in made:
        made["strides"] = [made.pop("subsample_length")]
    made.pop("input_dim", None)
    made.setdefault("padding", "valid")
    made.setdefault("use_bias", True)


def _merge(name: str, config: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    mode = config.get("mode")
    kind = _MERGES.get(mode) if isinstance(mode, str) and config.get("mode_type", "raw") == "raw" else None
    if kind is None:
        raise CheckpointError(
            f"layer {name!r} (Merge)", got=f"mode {str(mode)[:40]!r}", expected=f"one of {', '.join(_MERGES)}"
        )
    return kind, {"axis": config.get("concat_axis", -1)} if mode == "concat" else {}


# -- weights ---------------------------------------------------------------------------------------------------
def converted(
    name: str, kind: str, config: dict[str, Any], arrays: dict[str, Array], std: bool
) -> tuple[dict[str, Array], dict[str, Any]]:
    """The arrays of a layer of Keras 0 or 1 as Keras 2 has them, and arguments that change with them.

    ``kind`` and ``config`` are those of the file, ``arrays`` go by :func:`old_roles`. ``std``: ``running_std`` is a
    standard deviation. The kernel of a convolution is not flipped here.
    """
    if not arrays:
        return {}, {}
    if kind in _CONVOLUTIONS:
        return _put(arrays, kernel=_kernel(name, kind, config, arrays["W"])), {}
    if kind in _DENSE or kind == "LocallyConnected1D":
        return _put(arrays, kernel=arrays["W"]), {}
    if kind == "BatchNormalization":
        made = {"gamma": arrays["gamma"], "beta": arrays["beta"], "moving_mean": arrays["running_mean"]}
        if not std:
            return {**made, "moving_variance": arrays["running_std"]}, {}
        # (x − mean) / (std + ε) is a normalisation with the variance (std + ε)² and no other ε.
        epsilon = float(config.get("epsilon", 1e-6))
        return {**made, "moving_variance": np.square(arrays["running_std"] + epsilon)}, {"epsilon": 0.0}
    if kind == "SimpleRNN" or (kind in _RECURRENT and "W" in arrays):
        return {"kernel": arrays["W"], "recurrent_kernel": arrays["U"], "bias": arrays["b"]}, {}
    if kind in _RECURRENT:
        order = "ifco" if kind == "LSTM" else "zrh"
        try:
            return {
                "kernel": np.concatenate([arrays[f"W_{gate}"] for gate in order], axis=1),
                "recurrent_kernel": np.concatenate([arrays[f"U_{gate}"] for gate in order], axis=1),
                "bias": np.concatenate([arrays[f"b_{gate}"] for gate in order], axis=0),
            }, {}
        except ValueError:
            shapes = ", ".join(f"{role} {array.shape}" for role, array in arrays.items())
            raise CheckpointError(f"the weights of layer {name!r} ({kind})", got=shapes) from None
    if kind == "Embedding":
        return {"embeddings": arrays["W"]}, {}
    if kind == "PReLU":
        shared = [i + 1 for i, n in enumerate(arrays["alphas"].shape) if n == 1]
        return {"alpha": arrays["alphas"]}, {"shared_axes": shared or None}
    return arrays, {}


def _put(arrays: dict[str, Array], kernel: Array) -> dict[str, Array]:
    return {"kernel": kernel, **({"bias": arrays["b"]} if "b" in arrays else {})}


def _kernel(name: str, kind: str, config: dict[str, Any], W: Array) -> Array:
    """The kernel of a convolution as ``(*window, in, out)``; an error if it fits no known layout."""
    out = config.get("nb_filter")
    if "2D" in kind:
        first = config.get("dim_ordering", "th") == "th"
        window = (config.get("nb_row"), config.get("nb_col"))
        if W.ndim == 4 and first and (W.shape[0], *W.shape[2:]) == (out, *window):
            return W.transpose(2, 3, 1, 0)
        if W.ndim == 4 and not first and (*W.shape[:2], W.shape[3]) == (*window, out):
            return W
    else:
        length = config.get("filter_length")
        if W.ndim == 4 and (*W.shape[:2], W.shape[3]) == (length, 1, out):
            return W[:, 0]
        if W.ndim == 4 and (W.shape[0], *W.shape[2:]) == (out, length, 1):
            return W[..., 0].transpose(2, 1, 0)
    raise CheckpointError(f"the kernel of layer {name!r} ({kind})", got=f"shape {W.shape}")
