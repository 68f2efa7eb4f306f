"""How close is equal: one table, a relative tolerance by dtype, each with its reason.

An error is always the largest difference divided by the largest size of the reference (see
:func:`rcproof.verify.running.compare`), so one number serves outputs of any scale. The measurements
quoted are of a BPNet trunk (64 filters, k21, six dilated layers, k75 profile head, counts head, 500 bp)
against the same network with its hidden channels reordered: the same function, summed in another order.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from rcproof.errors import RcproofError


@dataclass(frozen=True)
class Tolerance:
    """A relative tolerance and why it is what it is.

    >>> tolerance_for(torch.float64).relative
    1e-12
    """

    relative: float
    reason: str


#: How close is equal, by dtype of the computation.
TOLERANCES: dict[torch.dtype, Tolerance] = {
    torch.float64: Tolerance(
        1e-12,
        "about 4500 units of rounding (2.2e-16). Summation order alone gives 7e-15 on a BPNet trunk, so 1e-12 leaves "
        "room for deeper networks and is a thousandth of the smallest error that a wrong weight is likely to make",
    ),
    torch.float32: Tolerance(
        1e-4,
        "about 840 units of rounding (1.2e-7). Summation order alone gives 4e-6 on a BPNet trunk; the rest is room for "
        "depth and for kernels that add in blocks. TF32 convolutions do not meet it and are not float32",
    ),
    torch.bfloat16: Tolerance(
        5e-2,
        "about 6 units of rounding (7.8e-3). Summation order alone gives 4e-3 on a BPNet trunk. It finds errors of "
        "structure, such as a swapped strand or a dropped half, and no finer ones",
    ),
    torch.float16: Tolerance(
        2e-2,
        "about 20 units of rounding (9.8e-4). Summation order alone gives 7e-4 in the outputs and 6e-3 in the "
        "gradients of a BPNet trunk, where a unit at the kink of its ReLU can fall on either side",
    ),
}


def tolerance_for(dtype: torch.dtype) -> Tolerance:
    """The row of :data:`TOLERANCES` for ``dtype``; an error for a dtype that has none.

    >>> tolerance_for(torch.float64).relative
    1e-12
    """
    if dtype not in TOLERANCES:
        raise RcproofError(
            "no tolerance for this dtype",
            got=dtype,
            expected="float64, float32, bfloat16 or float16",
            fix="check in float64, which is the default",
        )
    return TOLERANCES[dtype]
