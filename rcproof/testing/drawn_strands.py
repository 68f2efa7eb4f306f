"""Hypothesis strategies: how ρ acts."""

from __future__ import annotations

import hypothesis.strategies as st

from rcproof.strand import Representation, dna, representation, strand_pairs


@st.composite
def representations(draw: st.DrawFn, channels: int) -> Representation:
    """Any way in which ρ can act on ``channels`` channels of numbers.

    Total reversal, ``length``, ``fixed`` and ``channels``; strand pairs for an even number; base orders for 4 (and
    with an N for 5); random permutations with random signs. Every one fits a tensor (N, channels, L).

    >>> from hypothesis import given, settings
    >>> from rcproof.testing import normal
    >>> @settings(max_examples=20, deadline=None)
    ... @given(representations(6))
    ... def involution(rho):
    ...     x = normal(0, 2, 6, 5)
    ...     assert (rho(rho(x)) == x).all()
    >>> involution()
    """
    choices: list[st.SearchStrategy[Representation]] = [
        st.sampled_from([representation(name) for name in ("reversal", "length", "fixed", "channels")])
    ]
    if channels % 2 == 0:
        choices.append(st.just(strand_pairs(channels // 2)))
    if channels in (4, 5):
        choices.append(st.permutations("ACGTN"[:channels]).map(lambda letters: dna("".join(letters))))
    choices.append(signed_permutations(channels))
    return draw(st.one_of(choices))


@st.composite
def signed_permutations(draw: st.DrawFn, channels: int) -> Representation:
    """A random involution on ``channels`` channels with random signs that fit, length reversed or not.

    >>> from hypothesis import find
    >>> find(signed_permutations(2), lambda rep: rep.signs == (-1, -1)).size
    2
    """
    order = draw(st.permutations(range(channels)))
    pairs = draw(st.integers(0, channels // 2))
    perm, signs = list(range(channels)), [1] * channels
    for i in range(pairs):
        c, d = order[2 * i], order[2 * i + 1]
        perm[c], perm[d] = d, c
    for c in range(channels):
        if perm[c] >= c:
            signs[c] = signs[perm[c]] = draw(st.sampled_from((1, -1)))
    return Representation(tuple(perm), None if set(signs) == {1} else tuple(signs), reverses_length=draw(st.booleans()))
