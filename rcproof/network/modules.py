"""The layers a saved network may hold, by name, and the arguments that rebuild each.

A whitelist again: tied layers of this package and layers of ``torch.nn`` whose constructor arguments can be
read off the layer. Rebuilding happens on the meta device, so that no size in a file takes memory.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

import rcproof.nn as tied
from rcproof.errors import CheckpointError, RcproofError
from rcproof.network.graph import decode, encode
from rcproof.nn.base import TiedLayer

_TORCH = [
    "Identity",
    "Flatten",
    "Unflatten",
    "ReLU",
    "ReLU6",
    "LeakyReLU",
    "PReLU",
    "ELU",
    "SELU",
    "CELU",
    "GELU",
    "SiLU",
    "Mish",
    "Sigmoid",
    "LogSigmoid",
    "Tanh",
    "Hardtanh",
    "Hardswish",
    "Hardsigmoid",
    "Softplus",
    "Softsign",
    "Softshrink",
    "Hardshrink",
    "Tanhshrink",
    "Threshold",
    "GLU",
    "Softmax",
    "LogSoftmax",
    "Softmin",
    "Dropout",
    "Dropout1d",
    "AlphaDropout",
    "FeatureAlphaDropout",
    "Linear",
    "Bilinear",
    "Conv1d",
    "Conv2d",
    "ConvTranspose1d",
    "BatchNorm1d",
    "BatchNorm2d",
    "LayerNorm",
    "GroupNorm",
    "InstanceNorm1d",
    "RMSNorm",
    "Embedding",
    "MaxPool1d",
    "MaxPool2d",
    "AvgPool1d",
    "AvgPool2d",
    "LPPool1d",
    "AdaptiveMaxPool1d",
    "AdaptiveAvgPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveAvgPool2d",
    "Upsample",
    "ConstantPad1d",
    "ZeroPad1d",
    "ReflectionPad1d",
    "ReplicationPad1d",
    "CircularPad1d",
    "ChannelShuffle",
    "RNN",
    "LSTM",
    "GRU",
    "MultiheadAttention",
    "TransformerEncoderLayer",
]

LAYERS: dict[str, type[nn.Module]] = {f"torch.nn.{name}": getattr(nn, name) for name in _TORCH if hasattr(nn, name)}
LAYERS |= {
    f"rcproof.nn.{name}": getattr(tied, name)
    for name in tied.__all__
    if isinstance(getattr(tied, name), type) and issubclass(getattr(tied, name), nn.Module)
    and name not in ("TiedLayer", "Lifted")
}  # fmt: skip

# Each layer of a recurrent block has tensors of its own, so no block in a file has many.
_MOST_LAYERS = 100

_NAMES = {cls: name for name, cls in LAYERS.items()}


def _encoder_layer(m: Any) -> dict[str, Any]:
    """Arguments of a transformer encoder layer; its activation must be one that has a name."""
    activation = "relu" if m.activation_relu_or_gelu == 1 else "gelu" if m.activation_relu_or_gelu == 2 else None
    if activation is None:
        raise RcproofError(
            "a transformer layer that cannot be written to a self-describing file",
            got=f"activation {getattr(m.activation, '__name__', type(m.activation).__name__)}",
            expected="relu or gelu",
        )
    return {
        "d_model": m.self_attn.embed_dim,
        "nhead": m.self_attn.num_heads,
        "dim_feedforward": m.linear1.out_features,
        "dropout": m.dropout.p,
        "activation": activation,
        "layer_norm_eps": m.norm1.eps,
        "batch_first": m.self_attn.batch_first,
        "norm_first": m.norm_first,
        "bias": m.linear1.bias is not None,
    }


# Arguments whose value is not an attribute of the same name.
_SPECIAL: dict[type[nn.Module], Callable[[Any], dict[str, Any]]] = {
    nn.MultiheadAttention: lambda m: {
        "embed_dim": m.embed_dim,
        "num_heads": m.num_heads,
        "dropout": m.dropout,
        "bias": m.in_proj_bias is not None,
        "add_bias_kv": m.bias_k is not None,
        "add_zero_attn": m.add_zero_attn,
        "kdim": m.kdim,
        "vdim": m.vdim,
        "batch_first": m.batch_first,
    },
    nn.TransformerEncoderLayer: _encoder_layer,
    nn.Unflatten: lambda m: {"dim": m.dim, "unflattened_size": tuple(m.unflattened_size)},
    nn.PReLU: lambda m: {"num_parameters": m.num_parameters},
    nn.ZeroPad1d: lambda m: {"padding": m.padding},
    nn.Embedding: lambda m: {
        "num_embeddings": m.num_embeddings,
        "embedding_dim": m.embedding_dim,
        "padding_idx": m.padding_idx,
        "max_norm": m.max_norm,
        "norm_type": m.norm_type,
        "scale_grad_by_freq": m.scale_grad_by_freq,
        "sparse": m.sparse,
    },
}
for _rnn in (nn.RNN, nn.LSTM, nn.GRU):
    _SPECIAL[_rnn] = lambda m: {
        key: getattr(m, key)
        for key in ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional")
    } | ({"nonlinearity": m.nonlinearity} if isinstance(m, nn.RNN) else {}) | (
        {"proj_size": m.proj_size} if isinstance(m, nn.LSTM) else {}
    )  # fmt: skip

# Norms that have taken a ``bias`` apart from ``affine`` only in newer torch.
_LATE_BIAS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm, nn.InstanceNorm1d)


def constructor_arguments(module: nn.Module) -> dict[str, Any]:
    """The arguments that rebuild ``module`` without its weights."""
    if isinstance(module, TiedLayer):
        return dict(module.config())
    # A subclass may have a constructor of its own; the torch class it derives from has the one we know.
    cls = next(c for c in type(module).__mro__ if c.__module__.startswith(("torch.nn.", "rcproof.nn.")))
    if cls in _SPECIAL:
        return _SPECIAL[cls](module)
    found: dict[str, Any] = {}
    for name, parameter in inspect.signature(cls).parameters.items():
        if name in ("device", "dtype") or parameter.kind is inspect.Parameter.VAR_KEYWORD:
            continue
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            continue
        if name == "bias":
            if cls in _LATE_BIAS and (module.bias is None) == (module.weight is None):
                continue  # as it is without the argument, which older torch does not have
            found[name] = module.bias is not None
        elif hasattr(module, name):
            found[name] = getattr(module, name)
    return found


def registered_name(module: nn.Module) -> str | None:
    """The name under which a layer can be saved, or None."""
    hooked = module._forward_hooks or module._forward_pre_hooks
    return None if hooked else _NAMES.get(type(module))


def layer_to_json(path: str, module: nn.Module) -> dict[str, Any]:
    """A layer as plain JSON values."""
    name = registered_name(module)
    if name is None:
        raise RcproofError(
            f"layer {path!r} cannot be written to a self-describing file",
            got=f"{type(module).__module__}.{type(module).__qualname__}",
            expected="a layer of torch.nn or rcproof.nn, without hooks or parametrizations",
            fix="let the converter trace into it, or save the state dict and load it into the class",
        )
    return {"type": name, "args": {k: encode(v) for k, v in constructor_arguments(module).items()}}


def layer_from_json(path: str, data: Any) -> nn.Module:
    """Rebuild a layer on the meta device; nothing but registered layers is ever made."""
    try:
        cls = LAYERS.get(data["type"])
        args = {str(k): decode(v) for k, v in data["args"].items()}
        # A device or a tensor in the arguments would take memory, and so would layers without end.
        unwanted = [k for k in args if k in ("device", "dtype") or k.startswith("_")]
        if unwanted or not 0 < args.get("num_layers", 1) <= _MOST_LAYERS:
            raise CheckpointError(f"layer {path!r} in the file", got=f"{data['type']!r} with {sorted(args)}"[:120])
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"layer {path!r} in the file is damaged", got=f"{type(error).__name__}: {error}"
        ) from None
    if cls in _LATE_BIAS and args.get("bias") is args.get("affine", True):
        del args["bias"]  # files of newer torch may say it all the same
    if cls is None:
        raise CheckpointError(
            f"layer {path!r} in the file",
            got=repr(data["type"]),
            expected="a registered layer",
            fix="nothing was executed",
        )
    try:
        with torch.device("meta"):
            return cls(**args)
    except RcproofError:
        raise
    except Exception as error:  # torch checks its own arguments in many ways
        raise CheckpointError(f"layer {path!r} in the file", got=f"{data['type']}({args}): {error}") from None
