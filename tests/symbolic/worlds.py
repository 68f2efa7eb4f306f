"""Small worlds for the statements of our modules: arrays that satisfy what is not linear in their hypotheses."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from rcproof.symbolic.checker import Claim
from rcproof.symbolic.evaluate import World, draw, random_involution

#: The array of signs, and the hypothesis and involution that go with it.
SIGNS = (("sigma", "signs", "pi"), ("sigma_in", "signs_in", "pi_in"), ("sigma_out", "signs_out", "pi_out"))


def _signs(pi: tuple[int, ...], how: str, constant: Fraction, rng: random.Random) -> Callable[..., Fraction]:
    """Numbers per channel: ±1, equal on exchanged channels (``fitting``); one ``constant``; or ``any``."""
    drawn: dict[int, Fraction] = {}
    for c in range(len(pi)):
        fits = drawn.get(pi[c], Fraction(rng.choice((1, -1))))
        drawn[c] = fits if how == "fitting" else constant if how == "constant" else draw(rng)
    return lambda at: drawn.get(at[0], Fraction(1))


def builder(claim: Claim) -> Callable[[World], Mapping[str, Any]]:
    """Signs that fit where the claim says so (whatever they are otherwise), and codes with their complement."""
    given = {e.name for e in claim.given}

    def build(world: World) -> Mapping[str, Any]:
        arrays: dict[str, Any] = {}
        free = world.rng.choice(("fitting", "fitting", "constant", "any"))
        # With 2 in, and 2 or ½ out, weights can be fixed by ρ although these are no signs.
        constants = {"sigma_out": world.rng.choice((Fraction(1, 2), Fraction(2)))}
        for name, hypothesis, pi in SIGNS:
            if pi in world.involutions:
                how = "fitting" if hypothesis in given else free
                arrays[name] = _signs(world.involutions[pi], how, constants.get(name, Fraction(2)), world.rng)
        if "codes" in given:
            pi_codes, codes = random_involution(5, world.rng), [world.rng.randrange(5) for _ in range(20)]
            arrays["x"] = lambda at: Fraction(codes[at[0] % 20])
            world.functions["pi"] = lambda code: Fraction(pi_codes[int(code)])
        return arrays

    return build
