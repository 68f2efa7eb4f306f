"""Figures of audits: what is drawn is what was answered, in every format, whatever a name holds."""

from __future__ import annotations

import io
import math
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import torch

from rcproof.conjoined import Conjoined
from rcproof.errors import RcproofError
from rcproof.verify import audit, draw_inputs
from rcproof.verify.audit_report import AuditReport
from tests.verify.models import Both, Function, Profile, Score

pytest.importorskip("matplotlib", reason="draws the figures (the extra `plots`)")

from rcproof.verify.audit_figure import MOST, OTHER, OWN, audit_figure
from rcproof.verify.audit_page import check_figure_format, figure_data

NAMES = [f"<script>${i}_{{x}}$ \u6f22\x1b[31m" for i in range(20)]


def x(n: int = 20) -> torch.Tensor:
    (case,) = draw_inputs([(4, 40)], "reversal", kinds=["one-hot"], batch=n)
    return case.tensors[0]


@pytest.fixture
def scores() -> AuditReport:
    return audit(Score(tasks=2), x(), "reversal", "fixed", names=NAMES)


@pytest.fixture
def profiles() -> AuditReport:
    return audit(Profile(), x(), "reversal", "reversal", names=NAMES)


def points(axes: object, colour: str) -> np.ndarray:
    """The points drawn as dots in a colour, (N, 2)."""
    found = [
        np.stack([line.get_xdata(), line.get_ydata()], 1)
        for line in axes.lines  # type: ignore[attr-defined]
        if line.get_marker() == "o" and colour in (line.get_color(), line.get_markeredgecolor())
    ]
    return np.concatenate(found)


def test_scatter(scores: AuditReport) -> None:
    (axes,) = audit_figure(scores).axes
    (output,) = scores.outputs
    assert output.answers is not None
    expected = np.stack([output.answers.own.flatten().numpy(), output.answers.other.flatten().numpy()], 1)
    np.testing.assert_array_equal(points(axes, OWN), expected)
    np.testing.assert_array_equal(points(axes, OTHER), [[w.own, w.other] for w in output.worst])
    assert [t.get_text() for t in axes.texts] == ["1", "2", "3", "4", "5"]
    diagonal = axes.lines[0]
    np.testing.assert_array_equal(diagonal.get_xdata(), diagonal.get_ydata())
    assert axes.get_xlim() == axes.get_ylim()
    assert "logit, this strand" in axes.get_xlabel()
    assert f"{100 * output.flipped_share:.3g} % of decisions flip" in axes.get_title()


def test_histogram_and_worst_profile(profiles: AuditReport) -> None:
    bars, lines = audit_figure(profiles).axes
    (output,) = profiles.outputs
    assert sum(patch.get_height() for patch in bars.patches) == 2 * 20  # examples and channels
    assert [line.get_xdata()[0] for line in bars.lines] == [w.discordance for w in output.worst]
    assert "bits" in bars.get_xlabel()
    worst = output.worst[0]
    assert output.answers is not None
    for line, y in zip(lines.lines, (output.answers.own, output.answers.other), strict=True):
        np.testing.assert_allclose(line.get_ydata(), y[worst.example].softmax(1)[worst.task].numpy())
    assert np.argmax(lines.lines[0].get_ydata()) == worst.own_at


def test_nothing_is_marked_where_the_strands_agree() -> None:
    report = audit(Conjoined(Score(tasks=2)), x(), "reversal", "fixed")
    (axes,) = audit_figure(report).axes
    assert not axes.texts
    bars, _ = audit_figure(audit(Both(Profile()), x(), "reversal", "reversal")).axes
    assert not bars.lines


@pytest.mark.parametrize("kind", ["classes", "counts", "log-counts", "value"])
def test_every_kind_is_drawn(kind: str) -> None:
    net = Function(lambda v: torch.cat([v[:, :2, 0], v.mean(2)[:, :1]], 1) + 1)
    figure = audit_figure(audit(net, x(), "reversal", "fixed", kinds=kind))
    assert len(figure.axes) == 1
    assert figure_data(audit(net, x(), "reversal", "fixed", kinds=kind), ".png")


@pytest.mark.parametrize("kind", ["scores", "profiles"])
def test_formats(kind: str, request: pytest.FixtureRequest) -> None:
    from PIL import Image

    report = request.getfixturevalue(kind)
    with Image.open(io.BytesIO(figure_data(report, ".png"))) as image:
        assert min(image.size) >= 500
        corner = image.convert("RGB").getpixel((2, 2))
    assert corner == (255, 255, 255)  # light, whatever the user's defaults
    svg = figure_data(report, ".svg")
    assert ET.fromstring(svg).tag.endswith("svg")
    assert svg == figure_data(report, ".svg")  # the same file for the same audit
    page = figure_data(report, ".html", "an <audit>", ["do <this>"]).decode()
    assert "<script" not in page
    assert "\x1b" not in page
    for part in ("<svg", "an &lt;audit&gt;", "do &lt;this&gt;", "&lt;script&gt;$", "strands disagree most"):
        assert part in page


def test_many_points_are_thinned_and_drawn_as_pixels() -> None:
    net = Function(lambda v: v.flatten(1).repeat(1, 20))
    report = audit(net, x(20), "reversal", "fixed", kinds="value")
    (axes,) = audit_figure(report).axes
    drawn = points(axes, OWN)
    assert report.outputs[0].answers is not None
    assert report.outputs[0].answers.own.numel() > MOST == len(drawn)
    assert axes.lines[1].get_rasterized()


def test_nothing_to_draw() -> None:
    with pytest.raises(RcproofError, match="a figure of the strands: got no finite answers"):
        audit_figure(audit(Function(lambda v: v.mean(2) * math.nan), x(), "reversal", "fixed"))


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch, scores: AuditReport) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(RcproofError, match=r"a figure needs matplotlib. Pip install 'rcproof\[plots\]'"):
        figure_data(scores, ".png")


@pytest.mark.parametrize("name", ["a.pdf", "figure", "a.png.gz"])
def test_formats_refused(name: str) -> None:
    with pytest.raises(RcproofError, match="a name that ends in .png, .svg, .html"):
        check_figure_format(name)
    assert check_figure_format("a.PNG") == ".png"
