"""Siamese torch networks in exported programs and ONNX files: recognised from the graph alone, then converted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rcproof import Conjoined, check_equivalence, convert
from rcproof.checkpoints import read_model
from rcproof.checkpoints.siamese import as_conjoined


class Branch(nn.Module):
    def __init__(self, outputs: int = 2) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(4, 6, 5), nn.BatchNorm1d(6)
        self.deep, self.head = nn.Conv1d(6, 5, 4), nn.Linear(5, outputs)

    def features(self, x: Tensor) -> Tensor:
        return self.deep(self.norm(self.conv(x)).relu()).relu()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).amax(2))


class Logits(Branch):
    """The mean of logits, then a sigmoid."""

    def forward(self, x: Tensor) -> Tensor:
        one, two = super().forward(x), super().forward(x.flip(1, 2))
        return ((one + two) / 2).sigmoid()


class Probabilities(Branch):
    """The mean of probabilities, by stacking."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([super().forward(x).sigmoid(), super().forward(x.flip(1, 2)).sigmoid()]).mean(0)


class Largest(Branch):
    def forward(self, x: Tensor) -> Tensor:
        return torch.maximum(super().forward(x), super().forward(torch.flip(x, (1, 2))))


class Profile(Branch):
    """Stranded profiles turn with the strands; counts are summed."""

    def __init__(self) -> None:
        super().__init__()
        self.profile = nn.Conv1d(5, 2, 3)

    def both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.features(x)
        return self.profile(h), self.head(h.mean(2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        (p, c), (q, d) = self.both(x), self.both(x.flip(1, 2))
        return 0.5 * (p + q.flip(1, 2)), c + d


class OtherHead(Branch):
    """Not siamese: another last layer on the second strand."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return (super().forward(x) + self.other(self.features(x.flip(1, 2)).amax(2))) / 2


FOUND: dict[str, tuple[type[Branch], tuple[str, ...], list[str]]] = {
    "logits": (Logits, ("mean",), ["fixed"]),
    "probabilities": (Probabilities, ("mean",), ["fixed"]),
    "largest": (Largest, ("max",), ["fixed"]),
    "profile": (Profile, ("mean", "sum"), ["reversal", "fixed"]),
}


def built(cls: type[Branch]) -> Branch:
    torch.manual_seed(0)
    net = cls().eval()
    net.norm.running_mean.normal_()
    return net


def written(net: nn.Module, path: Path) -> Any:
    example = (torch.randn(3, 4, 40),)
    batch = torch.export.Dim("batch", min=2, max=4096)
    if path.suffix == ".pt2":
        torch.export.save(torch.export.export(net, example, dynamic_shapes=({0: batch},)), path)
    else:
        pytest.importorskip("onnxscript", reason="torch writes ONNX with onnxscript (the extra `onnx`)")
        program = torch.onnx.export(net, example, dynamo=True, dynamic_shapes=({0: batch},), verbose=False)
        assert program is not None
        program.save(path)
    return as_conjoined(read_model(path))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of the exporters
@pytest.mark.parametrize("suffix", [".pt2", ".onnx"])
@pytest.mark.parametrize("form", FOUND)
def test_recognised_and_converted(form: str, suffix: str, tmp_path: Path) -> None:
    cls, merges, outputs = FOUND[form]
    net = built(cls)
    found = written(net, tmp_path / f"net{suffix}")
    assert isinstance(found.model, Conjoined)
    assert found.siamese
    assert found.model.merges(len(outputs)) == merges
    ranks = [3, 2] if form == "profile" else [2]
    assert [str(r) for r in found.model.output_representations(ranks)] == outputs
    conversion = convert(found.model)
    assert conversion.certificate.share_tied == 1.0
    check_equivalence(net, conversion.model, torch.randn(2, 4, 40)).raise_if_failed()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("suffix", [".pt2", ".onnx"])
def test_a_near_miss_stays_a_network_of_one_strand(suffix: str, tmp_path: Path) -> None:
    found = written(built(OtherHead), tmp_path / f"net{suffix}")
    assert not isinstance(found.model, Conjoined)
    assert not found.siamese
