"""Figures of the pages: one SVG each, whose colours are the page's, so that it is right in light and in dark."""

from drawing.charts import chart
from drawing.svg import COLOURS, Svg, figure

__all__ = ["COLOURS", "Svg", "chart", "figure"]
