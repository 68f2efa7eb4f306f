"""T11, counting: types of representations and the families of linear layers between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sympy as sp

from rcproof.strand import Representation
from rcproof.symbolic.bases import Character, character, dimension, equivariant_basis, taps
from rcproof.symbolic.statements import ALGEBRA, Evidence, Statement, require

PAPER = "Mallet and Vert, NeurIPS 2021 (their classification); not in the RCPS paper"

_a, _b, _A, _B, _F, _G, _h, _p, _P = sp.symbols("a b a' b' F G h p p'", integer=True, nonnegative=True)


def irreducible(pairs: Any, fixed: Any, negative: Any) -> tuple[Any, Any]:
    """The type (a, b): each exchanged pair gives one channel of either kind."""
    return pairs + fixed, pairs + negative


def family(into: tuple[Any, Any], out: tuple[Any, Any], tap: Character) -> Any:
    """Free numbers of a kernel between types: ⌈K/2⌉ for an even entry, ⌊K/2⌋ for an odd one."""
    (a, b), (x, y) = into, out
    return (a * x + b * y) * (tap.pairs + tap.fixed) + (a * y + b * x) * tap.pairs


#: The Mallet–Vert families: inputs, outputs, parameters.
FAMILIES: tuple[tuple[str, Character, Character, Callable[[Any], Any]], ...] = (
    ("regular F → regular G", Character(_F), Character(_G), lambda t: 2 * _F * _G * t.size),
    ("regular F → (a', b')", Character(_F), Character(0, _A, _B), lambda t: _F * (_A + _B) * t.size),
    ("(a, b) → regular G", Character(0, _a, _b), Character(_G), lambda t: _G * (_a + _b) * t.size),
    (
        "(a, b) → (a', b')",
        Character(0, _a, _b),
        Character(0, _A, _B),
        lambda t: (_a * _A + _b * _B) * (t.pairs + t.fixed) + (_a * _B + _b * _A) * t.pairs,
    ),
)


def _replay_families() -> Evidence:
    lines = []
    for name, into, out, expected in FAMILIES:
        for tap_name, tap in (("K = 2h", Character(_h)), ("K = 2h+1", Character(_h, 1))):
            found = dimension(out, into, tap)
            types = [irreducible(r.pairs, r.fixed, r.negative) for r in (into, out)]
            require(sp.expand(found - expected(tap)) == 0, f"{name}, {tap_name}: T4 gives {found}")
            require(sp.expand(family(types[0], types[1], tap) - found) == 0, f"{name}, {tap_name}: types disagree")
            lines.append(f"{name}, {tap_name}: {sp.factor(expected(tap))} parameters")
    return Evidence(len(lines), tuple(lines))


def _replay_types() -> Evidence:
    mixed, other = Character(_p, _a, _b), Character(_P, _A, _B)
    types = [Character(0, *irreducible(r.pairs, r.fixed, r.negative)) for r in (mixed, other)]
    for rep, kind in zip((mixed, other), types, strict=True):
        require(sp.expand(rep.size - kind.size) == 0, "as many channels")
        require(sp.expand(rep.trace - kind.trace) == 0, "the same trace")
    for tap in (Character(_h), Character(_h, 1)):
        require(sp.expand(dimension(other, mixed, tap) - dimension(types[1], types[0], tap)) == 0, "as many weights")
    return Evidence(6, ("(p pairs, a fixed, b negative) has type (p + a, p + b): same size, trace and layers",))


def _replay_small() -> Evidence:
    count = 0
    reps = [Representation(tuple(range(a + b)), (1,) * a + (-1,) * b) for a in range(3) for b in range(3) if a + b]
    reps += [Representation((1, 0)), Representation((3, 2, 1, 0))]
    for into in reps:
        for out in reps:
            for K_ in (1, 2, 3):
                kinds = [irreducible(r.pairs, r.fixed, r.negative) for r in map(character, (into, out))]
                found = len(equivariant_basis(into, out, K_))
                require(found == family(kinds[0], kinds[1], taps(K_)), f"{into} → {out}, K = {K_}: {found}")
                count += 1
    return Evidence(count, (f"{count} layers counted by elimination",))


COUNTS = (
    Statement(
        "T11.types",
        "A signed involution with p exchanged pairs, a fixed and b negative channels is of type (p + a, p + b): the "
        "pair is T11.basis; sizes, traces and the numbers of equivariant weights agree.",
        r"p\cdot\mathrm{regular}\oplus a\cdot\mathrm{triv}\oplus b\cdot\mathrm{sign}\cong(p+a,\,p+b)",
        ALGEBRA,
        _replay_types,
        hypotheses=("T11.basis.inverse",),
        source=PAPER,
    ),
    Statement(
        "T11.families",
        "The four families of linear layers between regular and irreducible types, and their numbers of parameters, "
        "are what T4 gives.",
        r"\dim\bigl((a,b)\to(a',b')\bigr)=(aa'+bb')\lceil K/2\rceil+(ab'+ba')\lfloor K/2\rfloor",
        ALGEBRA,
        _replay_families,
        hypotheses=("T4.dimension.orbits",),
        source=PAPER,
    ),
    Statement(
        "T11.families.brute_force",
        "The same numbers by elimination.",
        r"\#\mathrm{basis}=\dim",
        "finite: all types (a, b) with a, b ≤ 2, one or two exchanged pairs, 1 to 3 taps",
        _replay_small,
        source=PAPER,
    ),
)
