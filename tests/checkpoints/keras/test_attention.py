"""Attention and embeddings against the Kerases, and against loops over positions."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rcproof
from rcproof import Conjoined
from rcproof.checkpoints.keras import read_keras
from rcproof.errors import CheckpointError
from tests.checkpoints.keras import oracles
from tests.checkpoints.keras.hand_built import Array, Graph, close, draw, run

AGES = {2: (oracles.keras2, ".h5"), 3: (oracles.keras3, ".keras")}
SHAPE = (9, 6)


@pytest.mark.parametrize("age", AGES)
def test_attention_agrees(age: int, tmp_path: Path) -> None:
    keras, suffix = AGES[age][0](), AGES[age][1]
    layers, branches = keras.layers, {}
    for name, options in {
        "plain": {"num_heads": 2, "key_dim": 3},
        "values of another width": {"num_heads": 3, "key_dim": 4, "value_dim": 5},
        "without biases": {"num_heads": 2, "key_dim": 3, "use_bias": False, "dropout": 0.5},
        "another width": {"num_heads": 2, "key_dim": 3, "output_shape": 5},
    }.items():
        attention = layers.MultiHeadAttention(**options)
        branches[name] = lambda x, attention=attention: attention(x, x)
    short = layers.MaxPooling1D(2)
    cross, apart = layers.MultiHeadAttention(2, 3), layers.MultiHeadAttention(2, 3)
    branches["across"] = lambda x: cross(x, short(x))
    branches["with keys apart"] = lambda x: apart(query=x, value=short(x), key=layers.Conv1D(4, 2, strides=2)(x))
    causal = layers.MultiHeadAttention(2, 3)
    branches["causal"] = lambda x: causal(x, x, use_causal_mask=True)
    dot, scaled = layers.Attention(), layers.Attention(use_scale=True)
    branches["dot product"] = lambda x: dot([x, x])
    branches["scaled dot product"] = lambda x: scaled([x, short(x)])
    additive, unscaled = layers.AdditiveAttention(), layers.AdditiveAttention(use_scale=False)
    branches["additive"] = lambda x: additive([x, short(x)])
    branches["additive, unscaled"] = lambda x: unscaled([x, short(x)])
    model = oracles.networks(keras, SHAPE, branches)
    oracles.agree(model, tmp_path, suffix, list(branches))


@pytest.mark.parametrize("age", AGES)
def test_embeddings_agree(age: int, tmp_path: Path) -> None:
    keras, suffix = AGES[age][0](), AGES[age][1]
    for dtype in ("int32", "float32"):
        x = keras.Input(shape=(12,), dtype=dtype)
        y = keras.layers.Conv1D(3, 4)(keras.layers.Embedding(5, 6)(x))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras 3 says that a convolution drops the mask
            z = keras.layers.Conv1D(3, 4)(keras.layers.Embedding(5, 6, mask_zero=True)(x))
        model = keras.Model(x, [y, z])
        oracles.draw_weights(model)
        tokens = np.random.default_rng(0).integers(0, 5, (3, 12)).astype(dtype)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            got, want = oracles.answers(model, oracles.read_back(model, tmp_path, suffix), [tokens])
        assert max(map(oracles.difference, got, want)) <= oracles.TOLERANCE


# -- the definition, and mutants -----------------------------------------------------------------------------


def by_hand(x: Array, w: dict[str, Array]) -> Array:
    """One example (L, C): every head, query and value in a loop."""
    heads, width = w["query/kernel"].shape[1:]
    size = w["attention_output/bias"].shape[0]
    out = np.zeros((len(x), size)) + w["attention_output/bias"]
    for h in range(heads):
        q, k, v = (x @ w[f"{role}/kernel"][:, h] + w[f"{role}/bias"][h] for role in ("query", "key", "value"))
        for i in range(len(x)):
            weights = np.exp([q[i] @ k[j] / np.sqrt(width) for j in range(len(x))])
            mixed = sum(weights[j] * v[j] for j in range(len(x))) / weights.sum()
            out[i] += mixed @ w["attention_output/kernel"][h]
    return out


def multi_head(**changes: Any) -> tuple[Graph, int, dict[str, Array]]:
    heads, width, wide = 2, 3, 4
    shapes = {
        **{f"{role}/kernel": (6, heads, width) for role in ("query", "key")},
        **{f"{role}/bias": (heads, width) for role in ("query", "key")},
        "value/kernel": (6, heads, wide),
        "value/bias": (heads, wide),
        "attention_output/kernel": (heads, wide, 6),
        "attention_output/bias": (6,),
    }
    w = {name: draw(i, *shape) / 2 for i, (name, shape) in enumerate(shapes.items())}
    g = Graph()
    x = g.input("x", *SHAPE)
    arguments = changes.pop("arguments", {})
    config = {"num_heads": heads, "key_dim": width, "value_dim": wide, "use_bias": True, **changes}
    return g, g.layer("attention", "MultiHeadAttention", x, x, x, weights=w, arguments=arguments, **config), w


def test_multi_head_attention_is_its_definition() -> None:
    g, y, w = multi_head()
    x = draw(50, 2, *SHAPE)
    want = np.stack([by_hand(row, w) for row in x])
    close(run(g.build(y), x), want)
    mutants = {
        "two roles swapped": w | {"query/kernel": w["key/kernel"], "key/kernel": w["query/kernel"]},
        "heads in another order": w | {"attention_output/kernel": w["attention_output/kernel"][::-1]},
        "a bias left out": w | {"value/bias": 0 * w["value/bias"]},
    }
    for weights in mutants.values():
        g.layers["attention"].weights.update(weights)
        with pytest.raises(AssertionError, match="differs"):
            close(run(g.build(y), x), want)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"attention_axes": [1, 2]}, r"attention_axes: got \[1, 2\]; expected the positions"),
        ({"output_shape": [3, 2]}, r"output_shape: got \[3, 2\]; expected one number of channels"),
        (
            {"arguments": {"return_attention_scores": True}},
            "return_attention_scores=true. The scores are no output here",
        ),
        ({"arguments": {"attention_mask": 1}}, "attention_mask. A network of one strand has no masks here"),
        ({"key_dim": 4}, r"weights 'query/kernel': got shape \(6, 2, 3\); expected shape \(6, 2, 4\)"),
    ],
)
def test_attention_that_has_no_form_is_refused(changes: dict[str, Any], text: str) -> None:
    g, y, _ = multi_head(**changes)
    with pytest.raises(CheckpointError, match=r"layer 'attention' \(MultiHeadAttention\): " + text):
        g.build(y)


def test_plain_attention_that_has_no_form_is_refused() -> None:
    for options, arguments, text in (
        ({"score_mode": "concat"}, {}, "score_mode: got 'concat'; expected dot"),
        ({"causal": True}, {}, "causal=true. A network of one strand has no masks here"),
        ({}, {"use_causal_mask": True}, "use_causal_mask=true. A network of one strand has no masks here"),
    ):
        g = Graph()
        x = g.input("x", *SHAPE)
        y = g.layer("it", "Attention", x, x, arguments=arguments, **options)
        with pytest.raises(CheckpointError, match=text):
            g.build(y)
    g = Graph()
    y = g.layer("it", "AdditiveAttention", g.input("x", *SHAPE))
    with pytest.raises(
        CheckpointError, match="inputs: got 1 values; expected query and value, or query, value and key"
    ):
        g.build(y)


def test_a_mask_is_refused_where_it_would_be_read() -> None:
    for kinds, reader in (
        (("LSTM",), "l0"),
        (("Dropout", "LSTM"), "l1"),
        (("Conv1D", "LSTM"), None),
        (("GlobalAveragePooling1D",), "l0"),
        (("Flatten", "Dense"), None),
    ):
        g = Graph()
        weights = {"embeddings": draw(1, 4, 3)}
        config = {"input_dim": 4, "output_dim": 3, "mask_zero": True}
        y = g.layer("tokens", "Embedding", g.input("x", 8), weights=weights, **config)
        for i, kind in enumerate(kinds):
            y = g.layer(f"l{i}", kind, y)
        with pytest.raises(CheckpointError) as caught:
            g.build(y)
        message = f"mask_zero=true, and layer {reader!r} may skip the positions of token 0"
        assert (message in str(caught.value)) == (reader is not None)


def test_an_embedding_of_no_tokens_is_refused() -> None:
    g = Graph()
    y = g.layer("tokens", "Embedding", g.input("x", 8, 2), input_dim=4, output_dim=3)
    with pytest.raises(CheckpointError, match=r"input: got shape \(8, 2\); expected tokens of shape \(L,\)"):
        g.build(y)


# -- conversion ------------------------------------------------------------------------------------------------


def test_attention_and_embeddings_convert(tmp_path: Path) -> None:
    keras = oracles.keras2()
    layers = keras.layers
    x = keras.Input(shape=(20,))
    y = layers.Conv1D(6, 5, activation="relu")(layers.Embedding(5, 4, name="embedding")(x))
    y = layers.LayerNormalization()(layers.Add()([y, layers.MultiHeadAttention(2, 3, name="attention")(y, y)]))
    model = keras.Model(x, layers.Dense(1)(layers.GlobalMaxPooling1D()(y)))
    oracles.draw_weights(model)
    net = oracles.read_back(model, tmp_path, ".h5")
    complement = "tokens:3,2,1,0,4"
    conversion = rcproof.convert(
        Conjoined(net, complement, "fixed").eval(), rcproof.ConvertConfig(input_shapes=((20,),))
    )
    tokens = np.random.default_rng(0).integers(0, 5, (3, 20))
    other = np.array([3, 2, 1, 0, 4])[tokens][:, ::-1]
    want = (np.asarray(model(tokens)) + np.asarray(model(other.copy()))) / 2
    with torch.no_grad():
        close(conversion.model(torch.from_numpy(tokens)).numpy(), want, 1e-5)
        again = read_keras(tmp_path / "network.h5").model(torch.from_numpy(tokens))
    assert np.abs(again.numpy() - want).max() > 1e-3  # the strands differ
