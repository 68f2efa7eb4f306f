"""Networks from Keras convert into tied layers, under the names that their layers have in the file."""

from __future__ import annotations

import numpy as np
import torch

from rcproof import Conjoined, convert
from rcproof.network.network import Network
from tests.checkpoints.keras.hand_built import Array, Graph, draw


class Drawn(Graph):
    """Adds layers with random weights."""

    def conv(self, name: str, x: int, size: int, channels: int, filters: int, **config: object) -> int:
        weights = {"kernel": self.draw(size, channels, filters), "bias": self.draw(filters)}
        return self.layer(name, "Conv1D", x, weights=weights, **config)

    def dense(self, name: str, x: int, channels: int, units: int, activation: str = "linear") -> int:
        weights = {"kernel": self.draw(channels, units), "bias": self.draw(units)}
        return self.layer(name, "Dense", x, weights=weights, activation=activation)

    def norm(self, name: str, x: int, channels: int) -> int:
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        weights = {role: np.abs(self.draw(channels)) + 0.1 for role in names}
        return self.layer(name, "BatchNormalization", x, weights=weights)

    def draw(self, *shape: int) -> Array:
        return draw(len(self.layers), *shape) / np.sqrt(np.prod(shape[:-1]))


def binary() -> Network:
    g = Drawn()
    x = g.conv("conv1d_1", g.input("dna", 100, 4), 8, 4, 16, padding="same", activation="relu")
    x = g.norm("batch_normalization_1", x, 16)
    x = g.layer("max_pooling1d_1", "MaxPooling1D", x, pool_size=4)
    x = g.conv("conv1d_2", x, 5, 16, 16)
    x = g.layer("activation_1", "Activation", x, activation="relu")
    x = g.layer("dropout_1", "Dropout", x, rate=0.2)
    x = g.layer("flatten_1", "Flatten", x)
    x = g.dense("dense_1", x, 21 * 16, 12, "relu")
    x = g.norm("batch_normalization_2", x, 12)
    return g.build(g.dense("dense_2", x, 12, 1, "sigmoid"))


def profile() -> Network:
    """A BPNet: dilated convolutions with cropped skips, a profile of two strands, and counts."""
    g = Drawn()
    x = g.conv("bpnet_1st_conv", g.input("sequence", 200, 4), 21, 4, 16, activation="relu")
    for i in (1, 2, 3):
        y = g.conv(f"bpnet_{i}conv", x, 3, 16, 16, activation="relu", dilation_rate=2**i)
        x = g.layer(f"crop_{i}", "Cropping1D", x, cropping=(2**i, 2**i))
        x = g.layer(f"add_{i}", "Add", x, y)
    out = g.conv("prof_out_precrop", x, 25, 16, 2)
    out = g.layer("logits_profile", "Cropping1D", out, cropping=(10, 10))
    pooled = g.layer("gap", "GlobalAveragePooling1D", x)
    return g.build(out, g.dense("logcount_predictions", pooled, 16, 1))


def by_position() -> Network:
    """Dense layers at every position, as FactorNet has them, and a norm over channels."""
    g = Drawn()
    x = g.conv("conv", g.input("dna", 60, 4), 9, 4, 8)
    x = g.dense("dense_1", x, 8, 6, "relu")
    weights = {"gamma": draw(1, 6), "beta": draw(2, 6)}
    x = g.layer("norm", "LayerNormalization", x, weights=weights)
    x = g.layer("pool", "GlobalMaxPooling1D", x)
    return g.build(g.dense("dense_2", x, 6, 2))


def test_a_binary_network_becomes_tied_layers() -> None:
    network = binary()
    assert (
        sum(parameter.numel() for parameter in network.parameters())
        == 16 * 33 + 4 * 16 - 32 + 16 * 81 + 12 * 337 + 24 + 13
    )
    conversion = convert(Conjoined(network).eval())
    assert conversion.certificate.share_tied == 1.0
    assert set(dict(conversion.model.named_parameters())) == set(dict(network.named_parameters()))
    assert "conv1d_1.weight" in dict(network.named_parameters())
    # Every layer but the first, which reads the closed input, is a strand pair with a stacked form.
    forms = {node.target: node.stacked for node in conversion.model.rcproof_graph().nodes if node.op == "module"}
    assert all(forms.values()), forms


def test_a_profile_network_becomes_tied_layers() -> None:
    network = profile()
    conversion = convert(Conjoined(network, outputs=["reversal", "fixed"]).eval())
    assert conversion.certificate.share_tied == 1.0
    assert all(n.stacked for n in conversion.model.rcproof_graph().nodes if n.op in ("module", "call"))
    x = torch.randn(2, 4, 200, dtype=torch.float64)
    there, back = conversion.model(x), conversion.model(x.flip(1, 2))
    assert torch.allclose(there[0], back[0].flip(1, 2))
    assert torch.allclose(there[1], back[1])


def test_dense_layers_at_every_position_become_tied_layers() -> None:
    conversion = convert(Conjoined(by_position()).eval())
    assert conversion.certificate.share_tied == 1.0
