"""The levels together, metrics on data, and reports as a page, a figure and JSON."""

from __future__ import annotations

import json
import math
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from rcproof.conjoined import Conjoined
from rcproof.convert import ConvertConfig
from rcproof.convert.api import convert
from rcproof.errors import RcproofError, ShapeError
from rcproof.network.network import Network
from rcproof.verify import InputCase, draw_inputs
from rcproof.verify.intercept import NotCovered
from rcproof.verify.ladder import Cases, Labelled, climb, steps_of
from rcproof.verify.ladder_page import check_format, page, write_page
from rcproof.verify.metrics import auroc, metric_equality


def networks(*steps: nn.Module, output: str | None = None) -> tuple[Conjoined, Network]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(4, 6, 5), nn.ReLU(), nn.Conv1d(6, 2, 4), *steps).eval()
    source = Conjoined(net, outputs=output).eval()
    return source, convert(source, ConvertConfig(input_shapes=((4, 40),), verify=False)).model


def classifier() -> tuple[Conjoined, Network]:
    return networks(nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Sigmoid())


def cases(**more: object) -> Cases:
    return Cases(list(draw_inputs([(4, 40)], ["reversal"], batch=2)), **more)  # type: ignore[arg-type]


def broken(result: Network) -> Network:
    result.get_submodule("0").weight.data[:, 0, 0] += 0.01
    return result


# -- levels --------------------------------------------------------------------------------------------


def test_all() -> None:
    seen: list[str] = []
    found = climb(*classifier(), cases(), "all", ["reversal"], ["fixed"], precisions=("float32",), step=seen.append)
    assert found.passed
    assert not found.not_covered
    assert [r.title for r in found.reports] == [
        "exact arithmetic",
        "rounding bounds, float32",
        "equal to the source",
        "equivariance",
        "stacked equals batched",
        "independence of examples",
    ]
    assert len(seen) == steps_of("all", ("float32",), False) == 6
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize(("level", "count"), [("exact", 1), ("bounds", 2), ("numeric", 4)])
def test_one_level(level: str, count: int) -> None:
    seen: list[str] = []
    found = climb(*classifier(), cases(), level, ["reversal"], ["fixed"], step=seen.append)
    assert found.passed
    assert len(found.reports) == len(seen) == steps_of(level, ("float64", "float32"), False) == count


def test_a_wrong_weight_fails_every_level() -> None:
    source, result = classifier()
    found = climb(source, broken(result), cases(), "all", ["reversal"], ["fixed"])
    assert not found.passed
    failed = {r.title for r in found.reports if not r.passed}
    assert {"exact arithmetic", "rounding bounds, float32", "rounding bounds, float64", "equal to the source"} <= failed


def test_what_is_not_covered_is_noted_or_told() -> None:
    pair = networks(nn.Tanh(), nn.Conv1d(2, 2, 1), nn.ReLU(), nn.AdaptiveMaxPool1d(1), nn.Flatten())
    with pytest.raises(NotCovered, match="layer 'net.5': relu of numbers that come from tanh is not covered"):
        climb(*pair, cases(), "exact", ["reversal"], ["fixed"])
    found = climb(*pair, cases(), "all", ["reversal"], ["fixed"], precisions=("float32",))
    assert found.passed
    assert [why.partition(":")[0] for why in found.not_covered] == ["exact arithmetic"]
    assert "rounding bounds, float32" in {r.title for r in found.reports}


def test_no_such_level() -> None:
    with pytest.raises(RcproofError, match="level of verification: got 'proof'; expected exact, bounds, numeric, all"):
        climb(*classifier(), cases(), "proof", ["reversal"], ["fixed"])


# -- metrics -------------------------------------------------------------------------------------------------


def labelled(n: int = 60) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    (case,) = draw_inputs([(4, 40)], ["reversal"], kinds=("one-hot",), batch=n)
    return case.tensors[0], torch.randint(2, (n, 2)).double()


def test_metrics_against_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.metrics", reason="compares with scikit-learn")
    torch.manual_seed(0)
    for _ in range(20):
        y = torch.cat([torch.tensor([0.0, 1.0]), torch.randint(2, (30,)).double()])
        s = torch.randint(8, (32,)).double()
        assert math.isclose(auroc(y, s), sklearn.roc_auc_score(y.numpy(), s.numpy()))


def test_metrics_of_a_classifier() -> None:
    source, result = classifier()
    x, y = labelled()
    report = metric_equality(source, result, x, y)
    assert report.passed, str(report)
    assert [c.name for c in report.checks] == ["output: AuROC of task 0", "output: AuROC of task 1"]
    assert report.facts["output: AuROC of task 0"].count("of a") == 1
    other = Conjoined(classifier()[0].net, inputs="perm:1,0,3,2").eval()
    assert not metric_equality(source, other, x, y).passed
    assert metric_equality(source, result, x, y + 0.25).checks[0].name == "output: Pearson"


def test_metrics_of_a_profile() -> None:
    source, result = networks(output="reversal")
    x, _ = labelled(10)
    with torch.no_grad():
        counts = torch.rand(source(x.float()).shape)
    report = metric_equality(source, result, x, counts)
    assert [c.name for c in report.checks] == ["output: JSD", "output: Pearson"]
    assert report.passed
    swapped = Conjoined(source.net, outputs="length").eval()
    assert not metric_equality(source, swapped, x, counts).passed
    assert not metric_equality(source, swapped, x).passed


def test_metrics_without_labels() -> None:
    source, result = classifier()
    x, _ = labelled()
    assert metric_equality(source, result, x).passed
    assert not metric_equality(source, broken(result), x).passed


def test_bad_labels() -> None:
    source, result = classifier()
    x, y = labelled()
    with pytest.raises(ShapeError, match=r"labels of output: got shape \(60, 3\); expected \(60, 2\)"):
        metric_equality(source, result, x, torch.zeros(60, 3))
    with pytest.raises(ShapeError, match="labels: got 2 for the outputs output; expected one, or None, each"):
        metric_equality(source, result, x, [y, y])
    with pytest.raises(RcproofError, match="AuROC: got labels of one class"):
        metric_equality(source, result, x, torch.ones(60, 2))
    with pytest.raises(RcproofError, match="the model does not run on inputs of shape"):
        metric_equality(source, result, torch.zeros(3, 4, 2))


def test_a_swap_that_rounding_makes_is_allowed() -> None:
    class Noisy(nn.Module):
        def __init__(self, noise: float) -> None:
            super().__init__()
            self.noise = noise

        def forward(self, x: Tensor) -> Tensor:
            return x[:, :1, 0] * 0 + 0.5 + self.noise * x[:, 1:2, 0]

    x, y = labelled()
    one, two = Noisy(1e-15), Noisy(-1e-15)
    report = metric_equality(one, two, x, y[:, :1])
    assert report.passed
    moved = metric_equality(Noisy(0.1), Noisy(-0.1), x * torch.rand(60, 1, 1), y[:, :1])
    assert moved.checks[0].error > 0


def test_data_in_the_ladder() -> None:
    source, result = classifier()
    x, y = labelled()
    data = Labelled(InputCase("sequences", (x,)), y)
    found = climb(source, result, cases(data=data), "numeric", ["reversal"], ["fixed"])
    assert found.reports[-1].title == "the same metrics on data"
    assert found.passed


# -- reports --------------------------------------------------------------------------------------------


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.found += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href")]


def test_page(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="figures need matplotlib")
    source, result = classifier()
    found = climb(source, result, cases(), "all", ["reversal"], ["fixed"], precisions=("float32",))
    text = page(found)
    assert text == page(found)
    links = Links()
    links.feed(text)
    assert all(link.startswith("#") for link in links.found)  # nothing outside of the page
    assert {"svg", "table"} <= set(links.tags)
    assert "script" not in links.tags
    assert "all checks hold" in text
    assert "<h2>rounding bounds, float32</h2>" in text
    for name in ("r.html", "r.png", "r.json"):
        write_page(found, tmp_path / name)
    assert (tmp_path / "r.html").read_text() == text
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
    data = json.loads((tmp_path / "r.json").read_text())
    assert data["passed"] is True
    (bounds,) = data["bounds"]
    assert all(o <= b for s in bounds["samples"] for o, b in zip(s["observed"], s["bound"], strict=True))


def test_page_of_a_failure_escapes_names() -> None:
    source, result = classifier()
    drawn = [InputCase("<b>", c.tensors) for c in cases().kinds[1:2]]
    found = climb(source, broken(result), Cases(drawn), "exact", ["reversal"], ["fixed"])
    assert not found.passed
    text = page(found)
    assert "NOT equal" in text
    assert "<b>" not in text
    assert "&lt;b&gt;" in text


def test_formats(tmp_path: Path) -> None:
    with pytest.raises(RcproofError, match=r"file of a report: got 'r.pdf'; expected a name that ends in .html, .png"):
        check_format("r.pdf")
    found = climb(*classifier(), cases(), "exact", ["reversal"], ["fixed"])
    with pytest.raises(RcproofError, match="got no bounds. Run the level 'bounds'"):
        write_page(found, tmp_path / "r.png")
    assert not list(tmp_path.iterdir())


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    found = climb(*classifier(), cases(), "bounds", ["reversal"], ["fixed"], precisions=("float32",))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(RcproofError, match=r"a figure needs matplotlib. Run pip install 'rcproof\[plots\]'"):
        page(found)
