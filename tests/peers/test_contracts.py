"""The contract tests on layers of other packages, as they are installed: each finds the defects measured in them.

What is not in a registry, or not in ours, is in tests/testing/test_layer_contract.py as stand-ins written anew.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rcproof.testing import check_rc_layer, check_rc_model, conv_reference, lift_reference
from tests.testing.test_model_contract import failing

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
STACKED = ((6, 25),)
WRONG = {"reference", "equivariance", "gradients", "statistics", "dtypes"}


@pytest.fixture
def rcps() -> Any:
    pytest.importorskip("einops", reason="rcps-pytorch needs it; CONTRIBUTING.md says how to install both")
    return pytest.importorskip("rcps", reason="a layer of rcps-pytorch; CONTRIBUTING.md says how to install it")


@pytest.fixture
def equirc() -> Any:
    return pytest.importorskip("equirc.pytorch_rclayers", reason="layers of equirc: pip install 'rcproof[peers]'")


class TestRcpsPytorch:
    """Right where windows align; wrong for even kernels with ``same``; never saved whole."""

    same = staticmethod(conv_reference(lambda layer: (layer.weights, None), padding="same"))

    def test_odd_kernels(self, rcps: Any) -> None:
        report = check_rc_layer(lambda: rcps.RCPS(3, 2, 3, padding="same"), STACKED, reference=self.same)
        assert failing(report) == {"copies"}
        (failure,) = report.failures
        assert failure.name == "copies: saved whole: the model runs"
        assert "lambda" in failure.detail

    def test_even_kernels(self, rcps: Any) -> None:
        report = check_rc_layer(
            lambda: rcps.RCPS(3, 2, 4, padding="same"), STACKED, reference=self.same, saved_whole=False
        )
        assert failing(report) == WRONG

    def test_its_batch_norm_is_right(self, rcps: Any) -> None:
        known = lift_reference(lambda layer: layer.batch_norm)
        report = check_rc_layer(lambda: rcps.RCPSBatchNorm(3), STACKED, reference=known)
        assert report.passed, str(report)

    @pytest.mark.parametrize(("length", "wrong"), [(41, set()), (42, {"equivariance", "gradients", "statistics"})])
    def test_plain_pooling_between_its_layers(self, rcps: Any, length: int, wrong: set[str]) -> None:
        """It has no pooling layer. Windows of 4 centre on 40 positions, not on 41; its output is a sum of strands."""

        def build() -> nn.Module:
            return nn.Sequential(
                rcps.RCPSInput(out_kernels=4, kernel_size=2), nn.ReLU(), nn.MaxPool1d(4), rcps.RCPS(4, 3, 3),
                rcps.RCPSOutput(),
            )  # fmt: skip

        report = check_rc_model(
            build, [(4, length)], outputs="fixed", saved_whole=False, lengths=[length], dtypes=(), kinds=("random",)
        )
        assert failing(report) == wrong


class TestEquirc:
    """Right convolutions but for even kernels with ``same``; batch norm and k-mers as described."""

    @staticmethod
    def known(layer: Any, x: Tensor) -> Tensor:
        middle = [(layer.half_center + layer.half_center.flip(0, 1)) / 2] if layer.kernel_size % 2 else []
        full = torch.cat([layer.left_kernel, *middle, layer.left_kernel.flip(0, 1, 2)], 2)
        return conv_reference(lambda _: (full[: layer.reg_out], None), padding=layer.padding)(layer, x)

    @pytest.mark.parametrize(("kernel", "padding", "wrong"), [(3, "same", set()), (4, 0, set()), (4, "same", WRONG)])
    def test_convolutions(self, equirc: Any, kernel: int, padding: Any, wrong: set[str]) -> None:
        report = check_rc_layer(
            lambda: equirc.RegToRegConv(3, 2, kernel, padding=padding), STACKED, reference=self.known
        )
        assert failing(report) == wrong, str(report)

    def test_irreducible_fields(self, equirc: Any) -> None:
        report = check_rc_model(lambda: equirc.RegToIrrepConv(2, 2, 3, 3), [(4, 25)], outputs="perm:0,1,-2,-3,-4")
        assert report.passed, str(report)

    @pytest.mark.parametrize(("kernel", "reason"), [(3, ""), (4, "Sizes of tensors must match")])
    def test_mixes_of_fields(self, equirc: Any, kernel: int, reason: str) -> None:
        """One channel of sign + and one of sign −, in and out: with an even kernel it raises when it is first run."""
        report = check_rc_model(
            lambda: equirc.IrrepToIrrepConv(1, 1, 1, 1, kernel), [(2, 25)], inputs="perm:0,-1", outputs="perm:0,-1",
            kinds=("random",),
        )  # fmt: skip
        raised = [c for c in report.failures if "the model runs" in c.name and reason in c.detail]
        assert bool(raised) == bool(reason), str(report)
        assert report.passed == (not reason), str(report)

    def test_batch_norm(self, equirc: Any) -> None:
        """NaN in eval before training, an autograd graph kept in its buffers, no deep copy after training."""
        report = check_rc_model(lambda: nn.Sequential(equirc.RegToRegConv(2, 3, 3), equirc.RegBatchNorm(3)), [(4, 25)])
        assert failing(report) == {"equivariance", "independence", "gradients", "graphs", "copies"}
        found = "\n".join(f"{check.name} {check.detail}" for check in report.failures)
        assert "equivariance: as built, one-hot: output ρ model(x) has 552 of 552 values that are not finite" in found
        assert "equivariance: after" not in found
        assert "graphs: buffers hold no autograd graph 1.running_mu, 1.running_sigma after three batches" in found
        assert "deep copy after training: the model runs it raised RuntimeError" in found

    def test_kmers_in_float64(self, equirc: Any) -> None:
        """Their kernel is no buffer, so it stays in float32."""
        report = check_rc_model(
            lambda: equirc.ToKmerLayer(2), [(4, 25)], dtype=torch.float32, dtypes=(torch.float64,),
            differentiable=False, kinds=("one-hot", "some-n"),
        )  # fmt: skip
        (failure,) = report.failures
        assert failure.name == "dtypes: float64: the model runs"
        assert "expected scalar type Double but found Float" in failure.detail
