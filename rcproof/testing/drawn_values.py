"""Seeds, and how long an input may be."""

from __future__ import annotations

import hypothesis.strategies as st

#: A seed for :func:`~rcproof.testing.normal` and :func:`~rcproof.testing.randomise`.
seeds = st.integers(0, 2**31 - 1)

#: The longest input that the strategies draw.
MAX_LENGTH = 200
