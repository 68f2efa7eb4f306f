"""The mix-ins as another package would use them: right models pass, and broken ones fail in the right test."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from rcproof.errors import VerificationError
from rcproof.models import build
from rcproof.nn import RCPSBatchNorm1d, RCPSConv1d, RCPSLinear, RCPSMaxPool1d
from rcproof.strand import rc, stack
from rcproof.testing import RCEquivariantModel, RCLayer
from tests.testing import broken, likes

pytest_plugins = ["pytester"]


class TestProfile(RCEquivariantModel):
    shapes = (
        (4, 120),
        (1,),
        (2, 14),
    )
    inputs = ("reversal", "fixed", "length")

    def build(self) -> nn.Module:
        return build("profile", "conjoined", length=120, filters=4, dilated_layers=2)


class TestRight(RCEquivariantModel):
    shapes = ((4, 30),)
    outputs = ("reversal", "fixed")
    dtypes = (torch.float32, torch.bfloat16)

    def build(self) -> nn.Module:
        return broken.Right()


class TestConv(RCLayer):
    shapes = ((6, 40),)
    kind = "conv"
    options: ClassVar[dict[str, Any]] = {"stride": 3, "padding": 2}

    def build(self) -> nn.Module:
        return RCPSConv1d(3, 5, 4, **self.options, coupled=True)

    def weights(self, layer: Any) -> tuple[Tensor, Tensor | None]:
        return layer.weight, layer.bias


class TestConvOfDNA(TestConv):
    shapes = ((4, 40),)
    inputs = "dna:ATGC"

    def build(self) -> nn.Module:
        return RCPSConv1d(4, 5, 4, **self.options, source=self.inputs)


class TestPool(RCLayer):
    shapes = ((4, 21),)
    kind = "lift"

    def build(self) -> nn.Module:
        return RCPSMaxPool1d(4, 3)

    def plain(self, layer: Any) -> nn.Module:
        return nn.MaxPool1d(4, 3)


class TestNorm(RCLayer):
    shapes = ((6, 20),)
    kind = "lift"

    def build(self) -> nn.Module:
        return RCPSBatchNorm1d(3)

    def plain(self, layer: Any) -> nn.Module:
        made = nn.BatchNorm1d(3).double()
        made.load_state_dict(layer.state_dict())
        return made


class TestDense(RCLayer):
    shapes = ((6,),)

    def build(self) -> nn.Module:
        return RCPSLinear(3, 2, coupled=True)

    def reference(self, layer: Any, *xs: Tensor) -> Tensor:
        (x,) = xs
        return stack(*(s @ layer.weight.T + layer.bias for s in (x, rc(x))))


class Failing(RCEquivariantModel):
    shapes = ((4, 30),)
    outputs = ("reversal", "fixed")
    model: type[nn.Module] = broken.Right

    def build(self) -> nn.Module:
        return self.model()


@pytest.mark.parametrize(
    ("model", "test", "text"),
    [
        (
            broken.WrongComplement,
            "equivariance",
            r"Failing: WrongComplement: \d+ of \d+ checks failed: got equivariance:",
        ),
        (broken.NotANumber, "equivariance", "values that are not finite"),
        (broken.Constant, "equivariance", "is the same whatever the input"),
        (broken.TinyScale, "equivariance", "error"),
        (broken.MixesExamples, "independence", "one example's output moves with another's input"),
        (broken.OneStrandDetached, "gradients", "gradient by input 0"),
        (broken.DropoutInEval, "steadiness", "the same input twice"),
        (broken.CountsInEval, "steadiness", "calls changed"),
        (broken.TwoPasses, "statistics", "trained on a batch, or on it reversed"),
        (broken.ForgetsItsStatistics, "copies", "state dict"),
        (broken.SingleOnly, "dtypes", "it is float32"),
    ],
)
def test_a_broken_model_fails_its_test(model: type[nn.Module], test: str, text: str) -> None:
    case = type("Failing", (Failing,), {"model": model})()
    with pytest.raises(VerificationError, match=text):
        getattr(case, f"test_{test}")()


def test_the_double_convolution_fails_in_its_reference_alone() -> None:
    class Doubled(TestConv):
        shapes = ((6, 20),)
        options: ClassVar[dict[str, Any]] = {}
        dtypes = ()

        def build(self) -> nn.Module:
            return likes.LikeKerasGenomicsConv(6, 2, 3)

        def weights(self, layer: Any) -> tuple[Tensor, Tensor | None]:
            return layer.kernel, layer.bias

    case = Doubled()
    case.test_equivariance()
    case.test_gradients()
    with pytest.raises(
        VerificationError, match=r"Doubled: LikeKerasGenomicsConv: .* reference: as built, normal: output"
    ):
        case.test_reference()


def test_what_is_missing_is_named() -> None:
    class Bare(RCLayer):
        shapes = ((4, 20),)

        def build(self) -> nn.Module:
            return RCPSMaxPool1d(2)

    with pytest.raises(NotImplementedError, match=r"^Bare needs a kind, or a method reference\(layer, \*inputs\)$"):
        Bare().test_reference()
    for kind, method in (("conv", "weights"), ("lift", "plain")):
        case = type("Bare", (Bare,), {"kind": kind})()
        with pytest.raises(NotImplementedError, match=rf"^Bare of kind '{kind}' needs a method {method}\(layer\)$"):
            getattr(case, method)(None)
    with pytest.raises(NotImplementedError, match=r"needs a method build\(\) that returns the model"):
        RCEquivariantModel.build(Bare())


def test_in_a_package_of_its_own(pytester: pytest.Pytester) -> None:
    """As users run it: a file of their own, with what is switched off skipped."""
    pytester.makepyfile(
        test_mine="""
        import torch
        from torch import nn
        from rcproof import Conjoined
        from rcproof.testing import RCEquivariantModel, RCLayer
        from rcproof.nn import RCPSMaxPool1d

        torch.set_num_threads(1)

        class TestMyModel(RCEquivariantModel):
            shapes, outputs, differentiable = [(4, 20)], "fixed", False
            test_dtypes = None

            def build(self):
                net = nn.Sequential(nn.Conv1d(4, 3, 5), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(3, 1))
                return Conjoined(net)

        class TestMyPool(RCLayer):
            shapes, kind = [(4, 12)], "lift"

            def build(self):
                return nn.MaxPool1d(3)

            def plain(self, layer):
                return layer
        """
    )
    result = pytester.runpytest_inprocess("-q", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=13, skipped=1, failed=2)
    result.stdout.fnmatch_lines(["*VerificationError: TestMyPool: MaxPool1d:*length 11*"])
