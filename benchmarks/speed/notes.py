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
    "length": "Calls cost more than work below some 4 000 positions, so the line starts flat. It ends steeper than "
    "straight: at 1 Mb one activation of a strand is 64 MiB, out of cache, and glibc maps such blocks anew each time.",
    "filters": "Products grow with the square, relu and sums with the first power; below 16 filters a vector register "
    "is not full, so time grows more slowly, and reaches the square only at the end.",
    "dilated_layers": "A line with an offset: the first convolution and the profile head are there at every depth, and "
    "valid convolutions shorten what deeper layers and the head see, so that the last point falls.",
    "batch": "Flat while calls dominate, then straight; memory stays where it is once a batch runs in pieces.",
}

GPU_TARGET = (
    "GPU: converted at least 1.8 × faster than two passes at batch ≤ 16, 1.2 × at throughput sizes; coupled at most "
    "1.02 × plain; 60 % of the floor for the trunk in bf16"
)

_CALLS = (
    "At batch 1 of the smallest networks a call is 0.1 to 0.7 ms, of which calls into torch from Python take the "
    "larger part; choosing how to run, and looking whether kept weights are still those of the layer, add 10 to 40 µs. "
    "Next: one generated function a plan, and a frozen form whose weights are promised to stay."
)

MISSES: dict[str, str] = {
    "converted.forward": _CALLS,
    "coupled.forward": _CALLS,
    "converted.step": _CALLS
    + " The simulated net at batch 1024 has one convolution, so nothing is gained by layout; its tensors are mapped "
    "anew by the allocator in all forms.",
    "peers.rcproof, coupled.step": "With kernels of 3 a training step is not faster channels last, so what is left is "
    "the tying and its gradient, 2 to 5 % at batch 2. Next: one autograd function that ties, convolves and folds back.",
    "coupled.step": "At batch 1 the tied weights, their gradients and pooled statistics are some sixty small "
    "operations in 2.5 ms; larger batches are below 1. Next: one autograd function that ties, convolves and folds the "
    "gradient back.",
    "converted.memory": "Forward: met in every cell. Training: with batch norm in train mode all rows run at once "
    "(T10); two passes hold one strand at a time, and compute another function. What else is above are all rows at "
    "once, too. Next: statistics in one pass, the rest in pieces.",
    "conversion.unchecked": "Both networks are hashed (sha256) and the source runs once on a random example to know "
    "every shape. Next: shapes on the meta device where every layer has them.",
    "conversion.checked": "The check runs both networks in float64, with gradients, on every kind of input: twice the "
    "size for each, and float64 convolutions. Next: layer by layer, each cast when it runs.",
    "gpu": "Run `python -m benchmarks.speed --suite full --device cuda`. A fused dilated block (convolution, bias, "
    "relu, sum in one kernel) is not shipped: nothing here could show that it beats eager, compiled or graphed code.",
}
