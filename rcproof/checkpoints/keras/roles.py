"""Which arrays a layer of Keras has, in which order, and which of them training changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: Kinds without weights; any other kind that is not listed below may have some.
_OF_EVERY_RANK = (
    *("AveragePooling", "Cropping", "GlobalAveragePooling", "GlobalMaxPooling", "MaxPooling"),
    *("SpatialDropout", "UpSampling", "ZeroPadding"),
)
_NONE = frozenset(
    (
        *("InputLayer", "Identity", "Lambda", "SlicingOpLambda", "TFOpLambda", "TensorFlowOpLayer", "Masking"),
        *("Add", "Average", "Concatenate", "Dot", "Maximum", "Minimum", "Multiply", "Subtract"),
        *("Activation", "ELU", "LeakyReLU", "ReLU", "Softmax", "ThresholdedReLU"),
        *("ActivityRegularization", "AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise"),
        *("Flatten", "Permute", "RepeatVector", "Rescaling", "Reshape", "RevCompSumPool", "UnitNormalization"),
        *(f"{name}{rank}D" for name in _OF_EVERY_RANK for rank in (1, 2, 3)),
    )
)
_CONVOLUTIONS = frozenset(
    (
        *(f"Conv{rank}D{after}" for rank in (1, 2, 3) for after in ("", "Transpose")),
        *("LocallyConnected1D", "LocallyConnected2D"),
    )
)
_RECURRENT = frozenset(("SimpleRNN", "LSTM", "GRU"))
_CUDNN = frozenset(("CuDNNLSTM", "CuDNNGRU"))
_BATCH_NORMS = frozenset(
    (
        *("BatchNormalization", "BatchNormalizationV1", "BatchNormalizationV2"),
        *("SyncBatchNormalization", "RevCompConv1DBatchNorm"),
    )
)


@dataclass(frozen=True)
class Role:
    """An array of a layer: what it is, and whether training changes it."""

    name: str
    trained: bool = True


def roles(kind: str, config: dict[str, Any]) -> list[Role] | None:
    """The arrays of a layer of Keras 2 or 3 in its own order; None for a kind that is not known."""
    if kind in _NONE:
        return []
    bias = ["bias"] if config.get("use_bias", True) else []
    if kind in _BATCH_NORMS:
        names = [n for n, on in (("gamma", "scale"), ("beta", "center")) if config.get(on, True)]
        return [*map(Role, names), Role("moving_mean", False), Role("moving_variance", False)]
    if kind in ("LayerNormalization", "GroupNormalization"):
        if kind == "LayerNormalization" and config.get("rms_scaling"):
            return [Role("gamma")]
        return [Role(n) for n, on in (("gamma", "scale"), ("beta", "center")) if config.get(on, True)]
    if kind == "RMSNormalization":
        return [Role("scale")]
    if kind == "Normalization" and config.get("mean") is not None:
        return []  # its numbers are arguments
    if kind == "Normalization":
        return [Role("mean", False), Role("variance", False), Role("count", False)]
    if kind == "MultiHeadAttention":
        parts = ("query", "key", "value", "attention_output")
        return [Role(f"{part}/{name}") for part in parts for name in ["kernel", *bias]]
    if kind in ("Attention", "AdditiveAttention"):
        return [Role("scale")] if config.get("use_scale", kind == "AdditiveAttention") else []
    if kind == "WeightedSum1D":
        return [Role("W")]
    plain = _names(kind, bias)
    return None if plain is None else [Role(n) for n in plain]


def _names(kind: str, bias: list[str]) -> list[str] | None:
    if kind in _CONVOLUTIONS or kind in ("Dense", "RevCompConv1D", "DenseAfterRevcompConv1D"):
        return ["kernel", *bias]
    if kind == "DenseAfterRevcompWeightedSum":
        return ["kernel", *bias]
    if kind in ("SeparableConv1D", "SeparableConv2D"):
        return ["depthwise_kernel", "pointwise_kernel", *bias]
    if kind in ("DepthwiseConv1D", "DepthwiseConv2D"):
        return ["depthwise_kernel", *bias]
    if kind in _RECURRENT:
        return ["kernel", "recurrent_kernel", *bias]
    if kind in _CUDNN:
        return ["kernel", "recurrent_kernel", "bias"]
    return {"Embedding": ["embeddings"], "PReLU": ["alpha"]}.get(kind)


#: The last parts of names that say a role in every file of Keras 2 and 3.
TELLING = frozenset(
    (
        *("kernel", "bias", "recurrent_kernel", "depthwise_kernel", "pointwise_kernel", "embeddings", "alpha"),
        *("gamma", "beta", "moving_mean", "moving_variance", "scale", "mean", "variance", "count", "W"),
    )
)
