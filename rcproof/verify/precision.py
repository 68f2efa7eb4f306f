"""What is assumed of floating-point arithmetic, one row a precision: the model that rounding bounds rest on (T12).

Every sum and product gives (exact)·(1 + δ) with |δ| at most a unit, in whatever order a sum is taken and with or
without fused multiply-add; results below the smallest normal number may be flushed to zero. Not covered: transforms
that regroup products (Winograd, FFT), and overflow, for which a bound is infinite.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from rcproof.errors import RcproofError

#: Elementary functions are taken to be this many units from their exact values, at the size of the result. The
#: vectorised functions that torch uses state 1 to 4; compositions such as the sigmoid make a few more.
FUNCTION_UNITS = 8


@dataclass(frozen=True)
class Precision:
    """One arithmetic.

    Attributes:
        name: ``float64``, ``float32``, ``tf32`` or ``bfloat16``.
        dtype: in which tensors are stored.
        unit: relative rounding of a stored result.
        sums: relative rounding of each step inside a sum of products.
        factors: relative rounding of either factor before a product in a convolution or dense layer.
        smallest: what underflow may take from a result.
        reason: why these numbers.
    """

    name: str
    dtype: torch.dtype
    unit: float
    sums: float
    factors: float
    smallest: float
    reason: str

    @property
    def largest(self) -> float:
        """The largest finite number."""
        return float(torch.finfo(self.dtype).max)

    def gamma(self, n: torch.Tensor | float, unit: float | None = None) -> torch.Tensor:
        """γ_n = n·u/(1 − n·u), infinite where n·u ≥ 1: T12.gamma, for sums of n steps."""
        nu = torch.as_tensor(n, dtype=torch.float64) * (self.sums if unit is None else unit)
        return torch.where(nu < 1, nu / (1 - nu).clamp_min(2**-60), torch.inf)


PRECISIONS: dict[str, Precision] = {
    p.name: p
    for p in (
        Precision("float64", torch.float64, 2**-53, 2**-53, 0.0, 2**-1022, "IEEE 754, to nearest"),
        Precision("float32", torch.float32, 2**-24, 2**-24, 0.0, 2**-126, "IEEE 754, to nearest"),
        Precision(
            "tf32",
            torch.float32,
            2**-24,
            2**-23,
            2**-10,
            2**-126,
            "factors keep 10 bits after the first, cut or rounded; products are exact; sums are in float32, where "
            "tensor cores may cut instead of rounding",
        ),
        Precision(
            "bfloat16",
            torch.bfloat16,
            2**-8,
            2**-24,
            0.0,
            2**-126,
            "results keep 7 bits after the first, to nearest; sums are in float32 and stored once",
        ),
    )
}


def precision(name: str | torch.dtype) -> Precision:
    """The row of a name or dtype.

    >>> precision("float32").unit == 2**-24
    True
    """
    wanted = name if isinstance(name, str) else str(name).removeprefix("torch.")
    wanted = {"bf16": "bfloat16", "double": "float64", "float": "float32"}.get(wanted, wanted)
    if wanted not in PRECISIONS:
        raise RcproofError("precision of a rounding bound", got=repr(wanted), expected=", ".join(PRECISIONS))
    return PRECISIONS[wanted]


def cut_to_tf32(x: torch.Tensor) -> torch.Tensor:
    """float32 numbers rounded to the 10 bits that a tensor core reads, to nearest, ties to even."""
    bits = x.detach().to(torch.float32).contiguous().view(torch.int32)
    odd = (bits >> 13) & 1
    rounded = (bits + 0xFFF + odd) & ~0x1FFF
    return torch.where(torch.isfinite(x), rounded.view(torch.float32), x)
