import pytest
import torch

from rcproof.errors import RcproofError
from rcproof.verify import TOLERANCES, tolerance_for


def test_the_table_says_why():
    assert tolerance_for(torch.float64).relative == 1e-12
    for dtype, row in TOLERANCES.items():
        assert row.relative > torch.finfo(dtype).eps
        assert len(row.reason) > 80


def test_unknown_dtype():
    with pytest.raises(RcproofError) as error:
        tolerance_for(torch.int64)
    assert str(error.value) == (
        "no tolerance for this dtype: got torch.int64; expected float64, float32, bfloat16 or float16. "
        "Check in float64, which is the default"
    )
