"""What the numbers cannot say themselves: captions, explanations of slopes, reasons of misses and what to try next."""

from __future__ import annotations

INTRODUCTION = """# Speed, as measured

Written by `python -m benchmarks.speed`; the numbers are those of the JSON files beside this page. Contenders of a cell
are checked to compute the same function, then timed interleaved in one process; a ratio is the median over rounds of
the time over the reference's in the same round, with its quartiles. No number of one machine compares with another's.
"""

CAPTIONS = {
    "converted, forward": "Ratios to two-pass conjoined; the limit is the faster of the two conjoined forms.",
    "converted, step": "Forward and backward in training. Two-pass batch norm is another function there (T10).",
    "coupled, forward": "The RCPS network of F filters a strand beside the plain network of 2F channels.",
    "coupled, step": "Forward and backward in training.",
    "peers, forward": "Ratios to a plain `nn.Conv1d` stack of 2F channels. Coupled: each layer reads both strands.",
    "peers, step": "The same, forward and backward.",
    "memory": "Peak beyond what is held before the call.",
    "scaling": "Slopes of lines in log-log for the converted profile net; 1 is a straight line through the origin.",
    "costs": "Operations and bytes as counted (each value once an operation; *products*: all else fused into them), "
    "the floor they set with this machine's limits, and the time measured.",
}

#: What a contender of ours is compared with in the group ``peers``: contenders that do the same work.
RIVALS = {
    "rcproof, coupled": ("equirc", "the paper's layer"),
    "rcproof, converted": ("rcps-pytorch", "Caduceus' wrapper"),
}

SCALING = {
    "length": "Calls cost more than work below some 4 000 positions, so the line starts flat and ends straight.",
    "filters": "Products grow with the square, relu and sums with the first power; below 16 filters a vector register "
    "is not full, so time grows more slowly.",
    "dilated_layers": "A line with an offset: the first convolution and the profile head are there at every depth, and "
    "valid convolutions shorten what deeper layers see.",
    "batch": "Flat while calls dominate, then straight; memory stays where it is once a batch runs in pieces.",
}

GPU_TARGET = (
    "GPU: converted at least 1.8 × faster than two passes at batch ≤ 16, 1.2 × at throughput sizes; coupled at most "
    "1.02 × plain; 60 % of the floor for the trunk in bf16"
)

MISSES: dict[str, str] = {
    "gpu": "Run `python -m benchmarks.speed --suite full --device cuda`. A fused dilated block (convolution, bias, "
    "relu, sum in one kernel) is not shipped: nothing here could show that it beats eager, compiled or graphed code.",
}
