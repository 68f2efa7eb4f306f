"""The weight matrix of a tied layer, its blocks coloured."""

from __future__ import annotations

from IPython.display import HTML
from torch import Tensor

from drawing.svg import Svg


def tied_weights(matrix: Tensor) -> HTML:
    """A (2F, 2G) matrix whose blocks are A and B, and their mirror images."""
    rows, columns = matrix.shape
    half_rows, half_columns = rows // 2, columns // 2
    values = (matrix / matrix.abs().quantile(0.97)).tolist()
    size = 11.0
    colours = [["a" if (i < half_rows) == (j < half_columns) else "c" for j in range(columns)] for i in range(rows)]
    x, y = 90.0, 34.0
    svg = Svg(x + columns * size + 120, y + rows * size + 24)
    svg.matrix(x, y, values, colours, size)
    for i, words in enumerate(("from a", "from b")):
        svg.text(x + (i + 0.5) * half_columns * size, 18, words, size=12, colour="mute")
    for i, words in enumerate(("to a", "to b")):
        svg.text(x - 10, y + (i + 0.5) * half_rows * size, words, size=12, colour="mute", anchor="end")
    svg.line(x + half_columns * size, y, x + half_columns * size, y + rows * size, "ink", width=1.2)
    svg.line(x, y + half_rows * size, x + columns * size, y + half_rows * size, "ink", width=1.2)
    right = x + columns * size + 12
    svg.text(right, y + 0.16 * rows * size, "A, the same strand", size=12, colour="a", anchor="start")
    svg.text(right, y + 0.30 * rows * size, "B, the other strand", size=12, colour="c", anchor="start")
    svg.text(right, y + 0.66 * rows * size, "their mirror", size=12, colour="mute", anchor="start")
    svg.text(right, y + 0.72 * rows * size, "images", size=12, colour="mute", anchor="start")
    return svg.show(
        "A tied weight matrix. Above: the free weights V = [A, B]. Below: V turned by 180°. Dots mark negative entries."
    )
