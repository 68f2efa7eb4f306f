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
    x, y = 60.0, 34.0
    svg = Svg(x + columns * size + 20, y + rows * size + 56)
    svg.matrix(x, y, values, colours, size)
    for i, words in enumerate(("from a", "from b")):
        svg.text(x + (i + 0.5) * half_columns * size, 18, words, size=12, colour="mute")
    for i, words in enumerate(("to a", "to b")):
        svg.text(x - 10, y + (i + 0.5) * half_rows * size, words, size=12, colour="mute", anchor="end")
    svg.line(x + half_columns * size, y, x + half_columns * size, y + rows * size, "ink", width=1.2)
    svg.line(x, y + half_rows * size, x + columns * size, y + half_rows * size, "ink", width=1.2)
    below = y + rows * size + 18
    for row, (colour, words) in enumerate((("a", "A: the same strand"), ("c", "B: the other strand, the coupling"))):
        svg.rect(x, below + 20 * row - 6, 12, 12, colour, opacity=0.8)
        svg.text(x + 20, below + 20 * row, words, size=12, anchor="start")
    return svg.show(
        "A tied weight matrix. Above: the free weights V = [A, B]. Below: V turned by 180°. Dots mark negative entries."
    )
