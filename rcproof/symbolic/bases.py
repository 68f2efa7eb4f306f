"""T4, counting: how many equivariant weights there are, by characters and by exact linear algebra.

ρ acts on weights as an involution T, and P = ½(1 + T) is a projector onto the equivariant ones
(T4.projector). Over the rationals the rank of a projector is its trace, so

    dim = tr P = ½(n_out·n_in·K + χ_out·χ_in·χ_taps),

χ being the trace of ρ on outputs, inputs and taps: the number of fixed indices, each with its sign. That rank
is trace for a projector is the one fact of linear algebra assumed here; the formula is also derived without it,
by counting orbits, and compared with brute force.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import sympy as sp

from rcproof.errors import RepresentationError
from rcproof.strand import Representation, RepresentationLike, representation
from rcproof.symbolic.statements import ALGEBRA, Evidence, Statement, require

#: An exact weight: entry [o][c][k].
Weight = tuple[tuple[tuple[Fraction, ...], ...], ...]
SignedPermutation = tuple[tuple[int, int], ...]


# -- exact linear algebra -----------------------------------------------------------------------------------


def nullspace(rows: list[dict[int, Fraction]], size: int) -> list[list[Fraction]]:
    """A basis of {v : row·v = 0 for every row}, by elimination over the rationals; rows are sparse."""
    pivots: dict[int, dict[int, Fraction]] = {}
    for row in rows:
        row = {i: v for i, v in row.items() if v}
        while row and (lead := min(row)) in pivots:
            factor = row[lead]
            for i, v in pivots[lead].items():
                row[i] = row.get(i, Fraction(0)) - factor * v
            row = {i: v for i, v in row.items() if v}
        if row:
            lead = min(row)
            pivots[lead] = {i: v / row[lead] for i, v in row.items()}
    basis = []
    for free in (i for i in range(size) if i not in pivots):
        vector = [Fraction(0)] * size
        vector[free] = Fraction(1)
        for lead in sorted(pivots, reverse=True):
            vector[lead] = -sum((v * vector[i] for i, v in pivots[lead].items() if i != lead), Fraction(0))
        basis.append(vector)
    return basis


def signed_permutation(rep: RepresentationLike, channels: int | None = None) -> SignedPermutation:
    """(π(c), σ(c)) for every channel. ``channels`` is needed where the representation has no size of its own."""
    rho = representation(rep)
    count = rho.size if channels is None else channels
    if count is None:
        raise RepresentationError(
            f"how many channels {rho} acts on", got="no number", expected="a number", fix="give n_in or n_out"
        )
    order = rho.permutation(count)
    return tuple(zip(order, rho.signs or (1,) * count, strict=True))


def equivariant_basis(
    rep_in: RepresentationLike,
    rep_out: RepresentationLike,
    K: int = 1,
    n_in: int | None = None,
    n_out: int | None = None,
) -> list[Weight]:
    """A basis of the weights W with ρW = W, exact: solves that equation and knows nothing of ``tie``.

    ``n_in`` and ``n_out`` are the numbers of channels, where the representations do not have them. Taps are
    reversed where length is. Raises :class:`~rcproof.errors.RepresentationError` for more than one tap between
    a representation that reverses length and one that does not: no convolution joins these.
    """
    reverses = representation(rep_in).reverses_length
    if reverses != representation(rep_out).reverses_length and K > 1:
        raise RepresentationError(
            "no convolution between these representations",
            got=f"{representation(rep_in)} in, {representation(rep_out)} out, {K} taps",
            expected="both reverse length or neither does",
        )
    outs, ins = signed_permutation(rep_out, n_out), signed_permutation(rep_in, n_in)
    shape = (len(outs), len(ins), K)
    place = {at: i for i, at in enumerate(itertools.product(*map(range, shape)))}
    rows = []
    for (o, c, k), i in place.items():
        (po, so), (pc, sc) = outs[o], ins[c]
        row = {i: Fraction(1)}
        j = place[po, pc, K - 1 - k if reverses else k]
        row[j] = row.get(j, Fraction(0)) - so * sc  # W − ρW = 0
        rows.append(row)

    def unflatten(v: list[Fraction]) -> Weight:
        return tuple(
            tuple(tuple(v[place[o, c, k]] for k in range(K)) for c in range(shape[1])) for o in range(shape[0])
        )

    return [unflatten(v) for v in nullspace(rows, len(place))]


# -- characters ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Character:
    """What the count needs to know of a representation: ``pairs`` exchanged pairs of channels, and fixed
    channels of either sign. Numbers or symbols."""

    pairs: Any = 0
    fixed: Any = 0
    negative: Any = 0

    @property
    def size(self) -> Any:
        """The number of channels."""
        return 2 * self.pairs + self.fixed + self.negative

    @property
    def trace(self) -> Any:
        """χ: pairs have trace 0."""
        return self.fixed - self.negative


def character(rep: RepresentationLike, channels: int | None = None) -> Character:
    """Count pairs and fixed channels."""
    moves = list(enumerate(signed_permutation(rep, channels)))
    plus, minus = (sum(p == c and s == sign for c, (p, s) in moves) for sign in (1, -1))
    return Character((len(moves) - plus - minus) // 2, plus, minus)


def taps(K: Any, reverses: bool = True) -> Character:
    """Taps: reversed (K // 2 pairs, the middle one fixed for odd K) or all fixed."""
    return Character(K // 2, K % 2) if reverses else Character(fixed=K)


def dimension(out: Character, into: Character, tap: Character) -> Any:
    """½(n_out·n_in·K + χ_out·χ_in·χ_taps)."""
    return sp.Rational(1, 2) * (out.size * into.size * tap.size + out.trace * into.trace * tap.trace)


def orbits(out: Character, into: Character, tap: Character) -> Any:
    """The same number, by orbits: ρ permutes the entries of a weight up to sign. Two exchanged entries give one
    equivariant weight (their sum or difference), a fixed entry with sign +1 gives one, with sign −1 none."""
    plus, minus = 1, 0
    for rep in (out, into, tap):
        plus, minus = plus * rep.fixed + minus * rep.negative, plus * rep.negative + minus * rep.fixed
    entries = out.size * into.size * tap.size
    return (entries - plus - minus) / sp.Integer(2) + plus


# -- statements -----------------------------------------------------------------------------------------------

_F, _G, _T, _U, _m, _K = sp.symbols("F G T U m K", integer=True, nonnegative=True)
_a, _b, _p, _A, _B, _P = sp.symbols("a b p a' b' p'", integer=True, nonnegative=True)
_TAPS = {"K = 2m": Character(_m), "K = 2m+1": Character(_m, 1), "K taps, length kept": Character(fixed=_K)}
_DNA, _DNAN = Character(2), Character(2, 1)
_REG_IN, _REG_OUT = Character(_F), Character(_G)
_PLUS, _PLUS_IN = Character(fixed=_T), Character(fixed=_U)
_MINUS, _MINUS_IN = Character(negative=_T), Character(negative=_U)

#: Outputs, inputs, and the dimension as a function of the taps, for pairs of named representations.
TABLE: tuple[tuple[str, str, Character, Character, Callable[[Character], Any]], ...] = (
    ("regular 2G", "DNA", _REG_OUT, _DNA, lambda t: 4 * _G * t.size),
    ("regular 2G", "DNA with N", _REG_OUT, _DNAN, lambda t: 5 * _G * t.size),
    ("regular 2G", "regular 2F", _REG_OUT, _REG_IN, lambda t: 2 * _F * _G * t.size),
    ("regular 2G", "trivial U", _REG_OUT, _PLUS_IN, lambda t: _G * _U * t.size),
    ("regular 2G", "sign U", _REG_OUT, _MINUS_IN, lambda t: _G * _U * t.size),
    ("trivial T", "regular 2F", _PLUS, _REG_IN, lambda t: _F * _T * t.size),
    ("sign T", "regular 2F", _MINUS, _REG_IN, lambda t: _F * _T * t.size),
    ("trivial T", "trivial U", _PLUS, _PLUS_IN, lambda t: _T * _U * (t.pairs + t.fixed)),
    ("sign T", "sign U", _MINUS, _MINUS_IN, lambda t: _T * _U * (t.pairs + t.fixed)),
    ("sign T", "trivial U", _MINUS, _PLUS_IN, lambda t: _T * _U * t.pairs),
    ("trivial T", "sign U", _PLUS, _MINUS_IN, lambda t: _T * _U * t.pairs),
    (
        "p' pairs, a' +, b' −",
        "p pairs, a +, b −",
        Character(_P, _A, _B),
        Character(_p, _a, _b),
        lambda t: (
            (2 * _p * _P + _p * (_A + _B) + _P * (_a + _b)) * t.size
            + (_a * _A + _b * _B) * (t.pairs + t.fixed)
            + (_a * _B + _b * _A) * t.pairs
        ),
    ),
)


def _replay_formula() -> Evidence:
    lines = []
    mixed = Character(_p, _a, _b), Character(_P, _A, _B)
    for name, tap in _TAPS.items():
        difference = sp.expand(dimension(*mixed, tap) - orbits(*mixed, tap))
        require(difference == 0, f"{name}: the formula and the orbits differ by {difference}")
        lines.append(f"{name}: orbits give {sp.expand(orbits(*mixed, tap))} for mixed representations")
    return Evidence(len(lines), tuple(lines))


def _replay_table() -> Evidence:
    lines = []
    for out_name, in_name, out, into, expected in TABLE:
        for name, tap in _TAPS.items():
            difference = sp.expand(dimension(out, into, tap) - expected(tap))
            require(difference == 0, f"{in_name} → {out_name}, {name}: off by {difference}")
        counts = ", ".join(f"{sp.factor(expected(tap))} for {name}" for name, tap in _TAPS.items())
        lines.append(f"{in_name} → {out_name}: {counts}")
    return Evidence(len(_TAPS) * len(lines), tuple(lines))


def small_representations(most: int = 2, length: bool = True) -> list[Representation]:
    """Every signed involution of at most ``most`` channels, and DNA."""
    found = []
    for n in range(1, most + 1):
        for order in itertools.permutations(range(n)):
            if all(order[order[c]] == c for c in range(n)):
                found += [
                    Representation(order, signs, length)
                    for signs in itertools.product((1, -1), repeat=n)
                    if all(signs[c] == signs[order[c]] for c in range(n))
                ]
    return [*found, Representation((3, 2, 1, 0), None, length)]


def _replay_brute() -> Evidence:
    count = 0
    for length, K in ((True, 1), (True, 2), (True, 3), (False, 2)):
        reps = small_representations(length=length)
        for rep_in, rep_out in itertools.product(reps, reps):
            basis = equivariant_basis(rep_in, rep_out, K)
            value = dimension(character(rep_out), character(rep_in), taps(K, length))
            require(len(basis) == value, f"{rep_in} → {rep_out}, K = {K}: {len(basis)} is not {value}")
            count += 1
    return Evidence(count, (f"{count} pairs of representations, solved exactly",))


DIMENSIONS: tuple[Statement, ...] = (
    Statement(
        "T4.dimension.orbits",
        "The equivariant weights have dimension ½(n_out·n_in·K + χ_out·χ_in·χ_taps); counting orbits gives the same "
        "for any mixture of exchanged pairs and fixed channels of either sign, for even and odd K and for kept length.",
        r"\dim\{W:\rho W=W\}=\tfrac12\left(n_{\mathrm{out}}n_{\mathrm{in}}K"
        r"+\chi_{\mathrm{out}}\chi_{\mathrm{in}}\chi_{\mathrm{taps}}\right)",
        ALGEBRA,
        _replay_formula,
        hypotheses=(
            "P = ½(1 + ρ) projects onto the equivariant weights (T4.projector)",
            "the rank of a projector is its trace (linear algebra)",
            "χ of a signed involution is the number of fixed indices, with signs (T4.trace)",
        ),
        source="not in the paper",
    ),
    Statement(
        "T4.dimension.table",
        "For every pair of regular, trivial, sign, DNA and mixed representations the dimension is the one in the table "
        "for symbolic numbers of channels and taps.",
        r"\dim(\mathrm{regular}_{2F}\to\mathrm{regular}_{2G})=2FGK,\quad"
        r"\dim(\mathrm{DNA}\to\mathrm{regular}_{2G})=4GK",
        ALGEBRA,
        _replay_table,
        hypotheses=("T4.dimension.orbits",),
        source="not in the paper; regular to regular: half of an ordinary layer's weights, as in section 2.1",
    ),
    Statement(
        "T4.dimension.brute_force",
        "The number of basis weights found by elimination equals the formula.",
        r"\#\mathrm{basis}=\dim",
        "finite: all pairs of signed involutions of 1 or 2 channels and DNA; 1 to 3 reversed taps, 2 kept taps",
        _replay_brute,
        source="not in the paper",
    ),
)
