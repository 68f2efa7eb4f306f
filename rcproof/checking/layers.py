"""Which layers treat the examples of a batch one by one, and the shapes that slow ones give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from rcproof.checking.traces import Step
from rcproof.nn.recurrent import Recurrent
from rcproof.nn.weighted_sum import WeightedSum1d


def layer_problem(step: Step, layer: nn.Module) -> str:
    """Why a layer that reads what depends on the input may not treat examples one by one; empty if it does."""
    rule = _LAYERS.get(type(layer))
    if rule is None:
        return f"nobody knows how {type(layer).__name__} treats examples"
    problem = rule(step, layer)
    return problem or ("" if step.found.carries else "its result no longer has one row an example")


def is_ordinary(layer: nn.Module) -> bool:
    """Whether a layer is one of those whose treatment of examples is known; all are of one strand."""
    return type(layer) in _LAYERS


def layer_purity(layer: nn.Module) -> str:
    """Why a layer in eval mode is no function of its input; empty if it is."""
    if getattr(layer, "inplace", False):
        return "it writes into its input (inplace)"
    if isinstance(layer, nn.Embedding) and layer.max_norm is not None:
        return "it changes its table as it runs (max_norm)"
    return ""


def shaped(layer: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """What a layer gives on the meta device. Recurrent layers would walk over every position; their shapes are known.

    Raises ValueError for arguments of a shape that a recurrent layer does not take.
    """
    if isinstance(layer, Recurrent):
        (x,) = args
        if kwargs or x.dim() != 3 or x.shape[1] != layer.input_size or x.shape[2] < 1:
            raise ValueError(f"a recurrent layer of {layer.input_size} channels on shape {tuple(x.shape)}")
        return x.new_empty(x.shape[0], layer.hidden_size, x.shape[2])
    if not isinstance(layer, nn.RNNBase):
        return layer(*args, **kwargs)
    return _recurrent_shapes(layer, *args, **kwargs)


def _recurrent_shapes(layer: nn.RNNBase, x: Tensor, hx: Any = None) -> Any:
    """(output, states) of torch's recurrent layers on a batch of sequences."""
    first = 0 if layer.batch_first else 1
    directions, out = 2 if layer.bidirectional else 1, layer.proj_size or layer.hidden_size
    if x.dim() != 3 or x.shape[2] != layer.input_size or x.shape[1 - first] < 1:
        raise ValueError(f"a recurrent layer of {layer.input_size} features on shape {tuple(x.shape)}")
    rows = directions * layer.num_layers, x.shape[first]
    sizes = [(*rows, out), (*rows, layer.hidden_size)] if isinstance(layer, nn.LSTM) else [(*rows, out)]
    states = [] if hx is None else list(hx) if isinstance(layer, nn.LSTM) else [hx]
    if states and [tuple(s.shape) for s in states] != sizes:
        raise ValueError(f"states of shapes {[tuple(s.shape) for s in states]}, not {sizes}")
    made = tuple(x.new_empty(size) for size in sizes)
    y = x.new_empty(x.shape[0], x.shape[1], directions * out)
    return y, made if isinstance(layer, nn.LSTM) else made[0]


# -- rules ----------------------------------------------------------------------------------------------------


def _in_front(*ranks: int) -> Callable[[Step, nn.Module], str]:
    def rule(step: Step, layer: nn.Module) -> str:
        if step.carrying != [step.x] or step.x.axis != 0:
            return "the examples are not in front of its only variable argument"
        return "" if not ranks or step.x.rank in ranks else f"it takes an axis of rank {step.x.rank} for another"

    return rule


def _linear(step: Step, layer: nn.Module) -> str:
    return "" if step.carrying == [step.x] and step.x.axis != step.x.rank - 1 else "a dense layer across the examples"


def _bilinear(step: Step, layer: nn.Module) -> str:
    places = {t.axis for t in step.carrying}
    fits = places == {step.found.axis} and all(t.axis != t.rank - 1 for t in step.carrying)
    return "" if fits else "a dense layer across the examples"


def _layer_norm(step: Step, layer: nn.Module) -> str:
    last = len(layer.normalized_shape)  # type: ignore[arg-type]
    fits = step.carrying == [step.x] and (step.x.axis or 0) < step.x.rank - last
    return "" if fits else "it normalises over the examples"


def _over_dim(step: Step, layer: nn.Module) -> str:
    dim: Any = layer.dim
    if type(dim) is not int:
        return "it does not say along which axis it works"
    return "" if dim % step.x.rank != step.x.axis else "it works along the axis of the examples"


def _flatten(step: Step, layer: nn.Module) -> str:
    return "" if step.x.axis == 0 == step.found.axis and layer.start_dim != 0 else "it flattens the examples"


def _running(*ranks: int) -> Callable[[Step, nn.Module], str]:
    def rule(step: Step, layer: nn.Module) -> str:
        stored = layer.running_mean is not None and layer.running_var is not None
        return _in_front(*ranks)(step, layer) or ("" if stored else "it averages over the examples")

    return rule


def _sequence(step: Step, layer: nn.Module) -> str:
    first = getattr(layer, "batch_first", None)
    if first is None:
        first = getattr(getattr(layer, "self_attn", None), "batch_first", None)
    wanted = 0 if first else 1
    if first is None or step.x.rank != 3 or step.x.axis != wanted:
        return "it takes the examples for positions"
    # Beside sequences: the states of a recurrent layer, and masks of attention over keys, (N, positions).
    states = 1 if isinstance(layer, nn.RNNBase) else wanted
    fine = all(t.axis == (states if t.rank == 3 else 0) and t.rank in (2, 3) for t in step.carrying if t is not step.x)
    return "" if fine else "it takes the examples for positions"


def _anywhere(step: Step, layer: nn.Module) -> str:
    return "" if step.carrying == [step.x] and step.found.axis == step.x.axis else "the examples move"


_ANY = (
    nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid,
    nn.LogSigmoid, nn.Tanh, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Softplus, nn.Softsign, nn.Softshrink,
    nn.Hardshrink, nn.Tanhshrink, nn.Threshold, nn.Dropout, nn.Dropout1d, nn.AlphaDropout, nn.FeatureAlphaDropout,
    nn.Embedding,
)  # fmt: skip
_THREE = (
    nn.Conv1d, nn.ConvTranspose1d, nn.MaxPool1d, nn.AvgPool1d, nn.LPPool1d, nn.AdaptiveMaxPool1d, nn.InstanceNorm1d,
    nn.AdaptiveAvgPool1d, nn.ConstantPad1d, nn.ZeroPad1d, nn.ReflectionPad1d, nn.ReplicationPad1d, nn.CircularPad1d,
    nn.Upsample, WeightedSum1d, Recurrent,
)  # fmt: skip
_FOUR = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d)

_LAYERS: dict[type[nn.Module], Callable[[Step, nn.Module], str]] = {
    **dict.fromkeys(_ANY, _anywhere),
    **dict.fromkeys(_THREE, _in_front(3)),
    **dict.fromkeys(_FOUR, _in_front(4)),
    **dict.fromkeys((nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.GLU), _over_dim),
    **dict.fromkeys((nn.RNN, nn.LSTM, nn.GRU, nn.MultiheadAttention, nn.TransformerEncoderLayer), _sequence),
    nn.Linear: _linear,
    nn.Bilinear: _bilinear,
    nn.LayerNorm: _layer_norm,
    nn.RMSNorm: _layer_norm,
    nn.BatchNorm1d: _running(2, 3),
    nn.BatchNorm2d: _running(4),
    nn.GroupNorm: _in_front(),
    nn.PReLU: _in_front(),
    nn.ChannelShuffle: _in_front(),
    nn.Flatten: _flatten,
    nn.Unflatten: lambda step, layer: "" if step.x.axis == 0 == step.found.axis else "it splits the examples",
}
