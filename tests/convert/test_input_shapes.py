"""Where the shapes of the inputs come from when nobody gives them, and what is said when they cannot be found."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rcproof.conjoined import Conjoined
from rcproof.convert import ConvertConfig, convert
from rcproof.convert.shapes import stated_shapes
from rcproof.errors import ConversionError, TraceError
from rcproof.models import BranchNet, ProfileNet, SimulatedNet, conjoin


class Net(nn.Module):
    """Runs at every length from 3 on; what it says of its input is ``said``."""

    def __init__(self, said: Any = None) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 2, 3)
        self.said = said

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).mean(dim=2)


class Saying(Net):
    def input_shapes(self, length: int | None = None) -> Any:
        return self.said


class Asking(Net):
    def input_shapes(self, length: int) -> Any:
        return ((4, length),)


class Named(Net):
    input_shapes = ((4, 30),)


class Failing(Net):
    def input_shapes(self) -> Any:
        raise ZeroDivisionError("a mistake of the user's own")


def test_a_profile_net_says_its_shapes() -> None:
    """Three inputs of unequal lengths: nothing that a trial of equal lengths could find."""
    net = ProfileNet(length=400, filters=2)
    conversion = convert(conjoin(net).eval())
    assert conversion.input_shapes == ((4, 400), (1,), (2, 54)) == net.input_shapes()
    assert conversion.certificate.checks is not None


def test_a_shape_given_goes_first() -> None:
    config = ConvertConfig(input_shapes=((4, 410), (1,), (2, 64)), verify=False)
    assert convert(conjoin(ProfileNet(length=400, filters=2)).eval(), config).input_shapes == config.input_shapes


@pytest.mark.parametrize("said", [((4, 37),), [[4, 37]], (torch.Size((4, 37)),)])
def test_a_foreign_network_may_say_it(said: Any) -> None:
    assert convert(Conjoined(Saying(said)).eval()).input_shapes == ((4, 37),)


@pytest.mark.parametrize(
    "net",
    [
        *[
            Saying(said)
            for said in (
                None,
                (),
                (4, 37),
                "ab",
                {"x": (4, 37)},
                ((),),
                ((4, 37), (4, 37)),
                ((4, 37.0),),
                ((4, True),),
                ((4, 0),),
                ((4, -1),),
                ((None, 4, 37),),
            )
        ],
        Asking(),
        Named(),
        Net(),
    ],
    ids=lambda net: f"{type(net).__name__}-{net.said}",
)
def test_anything_else_is_found_by_trial(net: nn.Module) -> None:
    assert stated_shapes(net, 1) is None
    assert convert(Conjoined(net).eval(), ConvertConfig(verify=False)).input_shapes == ((4, 1000),)


def test_an_abstract_method_says_nothing() -> None:
    assert stated_shapes(BranchNet(), 1) is None
    assert stated_shapes(SimulatedNet(), 1) == ((4, 200),)


def test_a_mistake_in_the_method_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError, match="a mistake of the user's own"):
        convert(Conjoined(Failing()).eval())


class Wrong(Net):
    """Fails at every length, after its convolution."""

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).reshape(-1, 7, 1234567)


@pytest.mark.parametrize(
    ("config", "kind", "last"),
    [
        (ConvertConfig(), ConversionError, "Give them: input_shapes="),
        (ConvertConfig(input_shapes=((4, 100),)), TraceError, "Check the input shapes"),
    ],
)
def test_a_failed_trial_is_told_in_one_line(config: ConvertConfig, kind: type[Exception], last: str) -> None:
    """fx adds its whole traceback to the message of what it runs: none of that."""
    with pytest.raises(kind) as caught:
        convert(Conjoined(Wrong()).eval(), config)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    assert len(text) < 500
    for part in ("step 'reshape' at test_input_shapes.py:", "RuntimeError: shape '[-1, 7, 1234567]' is invalid", last):
        assert part in text
    for part in ("Traceback", "traceback", "While executing", "File ", "tlparse"):
        assert part not in text
