"""A Keras network as plain data: one form for the files of every age.

Readers (:mod:`~rcproof.checkpoints.keras.read`) bring every file to this form, so that layers are built from one set
of conventions, those of Keras 2: its class names, its argument names, kernels for cross-correlation with shape
``(*window, in, out)``, the gates of an LSTM in the order i f c o and of a GRU in the order z r h.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class LayerSpec:
    """A layer with its weights.

    Attributes:
        name: in the file; layers of nested networks are called ``outer/inner``.
        kind: the class name of Keras 2 (``Conv1D``, not ``Convolution1D``). A function that was called without a layer
            has a kind too: in tf.keras ``TFOpLambda`` or ``SlicingOpLambda``, with the function's name in the argument
            ``function`` (``math.multiply``); in Keras 3 its class (``GetItem``, ``Flip``, ``Add``), with
            ``operation: true`` among its arguments, since layers have some of these names as well. What they are
            called with is in :class:`Call`.
            A class that is not known keeps its name, and a Lambda keeps its code, as text.
        config: its arguments, by their names in Keras 2 (``filters``, not ``nb_filter``). Always there:
            ``data_format`` of layers that have one. An activation is a name, or
            ``{"class_name": …, "config": {…}}``.
        weights: its arrays by role: ``kernel``, ``bias``, ``depthwise_kernel``, ``pointwise_kernel``,
            ``recurrent_kernel``, ``gamma``, ``beta``, ``moving_mean``, ``moving_variance``, ``embeddings``, ``alpha``;
            of a MultiHeadAttention ``query/kernel``, ``key/bias``, ``attention_output/kernel``, …; of a class that is
            not known, the last parts of their names. A wrapper has none: what it wraps has them.
        inner: what a wrapper wraps: one layer (TimeDistributed), or the forward and the backward layer (Bidirectional,
            whose ``go_backwards`` differ).
        generation: 0 (before layers had names), 1, 2 or 3: the age of the file, where two ages mean different
            functions by one name.
    """

    name: str
    kind: str
    config: dict[str, Any]
    weights: dict[str, Array] = field(default_factory=dict)
    inner: tuple[LayerSpec, ...] = ()
    generation: int = 2


@dataclass(frozen=True)
class Source:
    """A value: the ``tensor``-th result of the ``call``-th call."""

    call: int
    tensor: int = 0


@dataclass(frozen=True)
class Input:
    """In the arguments of a call: the tensor ``inputs[index]``."""

    index: int


@dataclass(frozen=True)
class Call:
    """One application of a layer. A layer that is called twice shares its weights between the calls.

    Attributes:
        layer: the name of the layer.
        inputs: all tensors that go in: the positional ones, then those given by name, in the order of the file. Of a
            MultiHeadAttention: query, value and key, however they were given.
        arguments: what else the call is told, by name; no tensor and no None, but :class:`Input` where a tensor was
            given by name. ``args``: the positional arguments, only if they are more than the tensors themselves:
            ``x * 2`` has inputs (x,) and ``{"args": [Input(0), 2.0]}`` in Keras 3, ``{"y": 2.0}`` in tf.keras.
            A slice is a :class:`slice`, ``...`` is ``...``; a tuple is a list.
    """

    layer: str
    inputs: tuple[Source, ...]
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class KerasModel:
    """Layers by name, their calls in an order in which they can run, and which values come in and go out.

    Every input is a call without inputs of a layer of kind ``InputLayer``, whose config has ``shape``: the shape
    without the batch, None where it is not fixed; an image also has the ``data_format`` of the layers of the file.

    Attributes:
        backend: what Keras ran on, in small letters: ``tensorflow``, ``theano``, ``torch``, …, where it is known.
            Kernels are for cross-correlation whatever it was; where ``same`` puts its padding still depends on it.
        notes: what the file does not say and was assumed, one line each.
    """

    layers: dict[str, LayerSpec]
    calls: list[Call]
    inputs: tuple[int, ...]
    outputs: tuple[Source, ...]
    generation: int
    version: str
    backend: str
    container: str
    notes: tuple[str, ...] = ()
