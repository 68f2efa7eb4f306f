"""T5 for convolutions and dense layers: tied weights compute the lift of the plain layer, on every input.

O is the number of output channels of one strand, F of input channels of one strand; a stacked input has 2F. The free
weights are V: (O, C, K) for a closed input of C channels, V = [A, B]: (O, 2F, K) for a stacked one, where A reads the
same strand and B the other. ``tie(V)`` is V on the first O output channels and its mirror image on the others.

``tied``: for centred windows one convolution with tie(V) is x ↦ stack(conv_V(x), conv_V(ρx)), the lift of conv_V.
``mirrored``: without centring the second half of the channels takes the mirrored weights and windows from r − q, which
is what :class:`rcproof.nn.RCPSConv1d` computes. ``coupled``: on stack(a, b) the layer is a ↦ A·a + B·ρb, and the same
for b. ``embedding``: with B = 0 it is the plain layer on each strand, so that conjoined weights embed as V = [W, 0].
"""

from __future__ import annotations

from collections.abc import Callable

from rcproof.symbolic.arithmetic import Context
from rcproof.symbolic.checker import Claim, Equation, Proof, Step
from rcproof.symbolic.convolution import RENAME, B, W, X
from rcproof.symbolic.statements import Statement, proved
from rcproof.symbolic.strands import Read, array, mirrored, stack, tied
from rcproof.symbolic.terms import Add, If, Index, Mul, Term, num
from rcproof.symbolic.windows import (
    CENTRED,
    PI_IN,
    REMAINDER,
    C,
    F,
    K,
    L,
    N,
    O,
    act_in,
    conv,
    d,
    i,
    linear,
    o,
    p,
    q,
    r,
    s,
    sigma,
    window_sum,
)

V, A, A_OTHER, XA, XB = (array(n) for n in ("V", "A", "B", "a", "b_strand"))
OUTPUT = ((o, 2 * O), (i, N))
FACTS = (C - 1, F - 1, O - 1, K - 1, L - 1, N - 1, s - 1, d - 1)
CENTRING = "windows centred: s(N−1) + d(K−1) + 1 = L + 2p"
UNCENTRED = "r = L + p + q − d(K−1) − 1 − s(N−1), of any sign"
REPRESENTATION = "ρ_in: a signed involution of the C input channels with reversal of positions"
_PAPER = "paper, section 2.1 (stride 1)"

FIRST, SECOND = "an output channel of the given strand", "an output channel of the other strand"


def first(path: tuple[int, ...] = (), note: str = FIRST) -> Step:
    """Decide which half a channel is in."""
    return Step("decide", path, (), note)


def by_strand(own: Proof, other: Proof) -> Proof:
    """One proof for the output channels of the given strand, one for those of the other."""
    return Proof(cases=O - 1 - o, parts=(own, other))


def halved(x: Callable[..., Term], y: Callable[..., Term]) -> Read:
    """x on the first O channels, y (counted from its own first) on the others: concatenation of channels."""
    return lambda o, *at: If(frozenset({O - 1 - o}), x(o, *at), y(o - O, *at))


def reflected(v: Read) -> Read:
    """The mirror image of free weights: entry [f, c, k] is V[O−1−f, π(c), K−1−k]·σ(π(c)); of a bias b[O−1−f]."""

    def read(f: Index, *rest: Index) -> Term:
        if not rest:
            return v(O - 1 - f)
        return Mul((v(O - 1 - f, PI_IN(rest[0]), *(K - 1 - k for k in rest[1:])), sigma(PI_IN(rest[0]))))

    return read


def flipped(v: Read) -> Read:
    """The mirror image under total reversal of F input channels."""
    return lambda f, *rest: v(O - 1 - f, *(n - 1 - e for n, e in zip((F, K), rest, strict=False)))


def joined(a: Read, b: Read | None) -> Read:
    """[A, B] along the input channels; [A, 0] without ``b``."""

    def read(f: Index, c: Index, *tap: Index) -> Term:
        return If(frozenset({F - 1 - c}), a(f, c, *tap), num(0) if b is None else b(f, c - F, *tap))

    return read


# -- one lemma for closed and for stacked inputs ------------------------------------------------------------


def _tied() -> list[Statement]:
    lifted = stack(conv(V, X, B), conv(V, act_in(X), B), O, N)(o, i)
    latex = r"\mathrm{stack}(\mathrm{conv}_V(x), \mathrm{conv}_V(\rho_{\mathrm{in}}x))"
    full = conv(halved(V, reflected(V)), X, halved(B, reflected(B)))(o, i)
    cat = halved(conv(V, X, B), conv(reflected(V), X, reflected(B), start=r - q))(o, i)
    involution = (("pi_in", C),)
    weights = ((0, 0, 0, 0, 0), (1,))
    return [
        proved(
            "T5.conv.tied",
            "For centred windows, the convolution with tie(V) on an input x with representation ρ_in is the lift of "
            "conv_V: stack(conv_V(x), conv_V(ρ_in x)). Stacked inputs are the case of total reversal.",
            r"\mathrm{conv}_{\mathrm{tie}(V)}(x) = " + latex,
            Claim(Equation("tied", OUTPUT, lifted, full), Context(FACTS, (CENTRED,), involution)),
            by_strand(
                Proof((first(),), right=tuple(first(at, "the tied weight is V here") for at in weights)),
                Proof(
                    (first(note=SECOND), *RENAME),
                    right=tuple(first(at, "the tied weight is the mirror image of V here") for at in weights),
                ),
            ),
            hypotheses=(REPRESENTATION, CENTRING),
            source=_PAPER,
        ),
        proved(
            "T5.conv.mirrored",
            "For windows that leave r positions unread, the lift of conv_V is computed half by half: conv_V(x), then "
            "the convolution with the mirror image of V whose windows start at r − q, concatenated.",
            latex + r" = \mathrm{cat}[\mathrm{conv}_{V,-p}(x), \mathrm{conv}_{\rho V,\,r-q}(x)]",
            Claim(Equation("mirrored", OUTPUT, lifted, cat), Context(FACTS, (REMAINDER,), involution)),
            by_strand(Proof((first(),), right=(first(),)), Proof((first(note=SECOND), *RENAME), right=(first(),))),
            hypotheses=(REPRESENTATION, UNCENTRED),
            source="not in the paper",
        ),
    ]


# -- stacked inputs -------------------------------------------------------------------------------------------

_SPLIT = (Step("split", (0,), (F,), "channels of the given strand, then channels of the other"),)
_TURN = tuple(Step("reverse", at, (), "sum backwards") for at in ((0, 0), (0, 0, 0), (0, 1), (0, 1, 0)))


def _halves_decided(depth: int) -> tuple[Step, ...]:
    """In both parts of a split sum: which weight, and which strand, a channel belongs to."""
    body = (0,) * depth
    return tuple(
        first((0, part, *body, entry), note)
        for part in (0, 1)
        for entry, note in ((0, "which of A and B the channel meets"), (1, "which strand the channel is of"))
    )


def _without_b(part: int, depth: int) -> tuple[Step, ...]:
    """A sum with zero weights is zero."""
    at = (0, part)
    guard = (Step("merge_cases", (*at, 0, 0), (), "0 inside the input and outside"),) if depth == 3 else ()
    sums = tuple(
        Step("linear", (*at, *(0,) * n), (), "the factor 0 out of the sum") for n in reversed(range(depth - 1 or 1))
    )
    return guard + sums


def _own(read: Callable[..., Term], other: Callable[..., Term], b: Read) -> Read:
    """A·a + B·ρb + bias, given the two sums."""
    return lambda *at: Add((read(*at), other(*at), b(at[0])))


def _stacked_input() -> list[Statement]:
    whole = tied(B, O)
    pair = stack(XA, XB, F, L)

    def full(b: Read | None) -> Term:
        return conv(tied(joined(A, b), O, 2 * F, K), pair, whole, channels=2 * F)(o, i)

    def sums(w: Read, x: Read) -> Read:
        return lambda o, i: window_sum(w, x, o, i, -p, F)

    turned = {n: mirrored(x, F, L) for n, x in (("a", XA), ("b", XB))}
    coupled = stack(
        _own(sums(A, XA), sums(A_OTHER, turned["b"]), B), _own(sums(A, XB), sums(A_OTHER, turned["a"]), B), O, N
    )
    plain = stack(conv(A, XA, B, channels=F), conv(A, XB, B, channels=F), O, N)
    weights = (first((0, 0, 0, 0, 0), "the tied weight: V, or its mirror image"), first((1,), "the tied bias"))
    opened = (*weights, *_SPLIT, *_halves_decided(3))
    facts = Context(FACTS, (CENTRED,))
    half = mirrored(XB, F, L)
    return [
        proved(
            "T5.conv.coupled",
            "The convolution with tie([A, B]) on stack(a, b) is stack(A·a + B·ρb + bias, A·b + B·ρa + bias): A reads "
            "the same strand, B the other, read in this one's direction.",
            r"\mathrm{conv}_{\mathrm{tie}[A,B]}(\mathrm{stack}(a,b)) ="
            r" \mathrm{stack}(A a + B\rho b + \beta,\; A b + B\rho a + \beta)",
            Claim(Equation("coupled", OUTPUT, full(A_OTHER), coupled(o, i)), facts),
            by_strand(Proof(opened, right=(first(),)), Proof((*opened, *_TURN), right=(first(note=SECOND),))),
            hypotheses=(CENTRING,),
            source=_PAPER,
        ),
        proved(
            "T5.conv.embedding",
            "Conjoined weights W embed as V = [W, 0]: the convolution with tie([W, 0]) on stack(a, b) is "
            "stack(conv_W(a), conv_W(b)).",
            r"\mathrm{conv}_{\mathrm{tie}[W,0]}(\mathrm{stack}(a,b)) ="
            r" \mathrm{stack}(\mathrm{conv}_W(a), \mathrm{conv}_W(b))",
            Claim(Equation("embedding", OUTPUT, full(None), plain(o, i)), facts),
            by_strand(
                Proof((*opened, *_without_b(1, 3)), right=(first(),)),
                Proof((*opened, *_without_b(0, 3), *_TURN[2:]), right=(first(note=SECOND),)),
            ),
            hypotheses=(CENTRING,),
            source=_PAPER,
        ),
        proved(
            "T5.conv.own",
            "The convolution with V = [A, B] on a stacked input stack(a, b), not tied, is A·a + B·ρb + bias: what the "
            "first half of the channels of a coupled layer holds, centred or not.",
            r"\mathrm{conv}_{[A,B]}(\mathrm{stack}(a,b)) = A a + B\rho b + \beta",
            Claim(
                Equation(
                    "own",
                    ((o, O), (i, N)),
                    conv(joined(A, A_OTHER), pair, B, channels=2 * F)(o, i),
                    _own(sums(A, XA), sums(A_OTHER, half), B)(o, i),
                ),
                Context(FACTS),
            ),
            Proof((*_SPLIT, *_halves_decided(3))),
            source=_PAPER,
        ),
        proved(
            "T5.conv.halves",
            "Uncoupled, centred or not: the lift of conv_W is conv_W on the first F channels, and on the others the "
            "convolution with the mirror image of W whose windows start at r − q.",
            r"D(\mathrm{conv}_W)(x) ="
            r" \mathrm{cat}[\mathrm{conv}_{W,-p}(x_{<F}), \mathrm{conv}_{\rho W,\,r-q}(x_{\ge F})]",
            Claim(
                Equation(
                    "halves",
                    OUTPUT,
                    stack(conv(W, X, B, channels=F), conv(W, mirrored(X, 2 * F, L), B, channels=F), O, N)(o, i),
                    halved(
                        conv(W, X, B, channels=F),
                        conv(flipped(W), lambda c, at: X(F + c, at), flipped(B), start=r - q, channels=F),
                    )(o, i),
                ),
                Context(FACTS, (REMAINDER,)),
            ),
            by_strand(
                Proof((first(),), right=(first(),)),
                Proof(
                    (
                        first(note=SECOND),
                        Step("reverse", (0,), (), "sum over F−1−c: channel 2F−1−c is channel F + (F−1−c)"),
                        Step("reverse", (0, 0), (), "sum over K−1−k instead of k"),
                    ),
                    right=(first(),),
                ),
            ),
            hypotheses=(UNCENTRED,),
            source="not in the paper",
        ),
    ]


# -- dense layers -----------------------------------------------------------------------------------------------


def _dense() -> list[Statement]:
    out = ((o, 2 * O),)
    pair = stack(XA, XB, F)
    facts = Context((C - 1, F - 1, O - 1))
    turned = Step("reindex", (0,), ("pi_in",), "sum over π_in(c) instead of c")
    weights = (first((0, 0, 0), "the tied weight: V, or its mirror image"), first((1,), "the tied bias"))
    opened = (*weights, *_SPLIT, *_halves_decided(1))

    def full(b: Read | None) -> Term:
        return linear(tied(joined(A, b), O, 2 * F), pair, tied(B, O), 2 * F)(o)

    def sums(w: Read, x: Read) -> Read:
        def entry(o: Index) -> Term:
            total = linear(w, x, B, F)(o)
            assert isinstance(total, Add)
            return total.args[0]

        return entry

    ra, rb = mirrored(XA, F), mirrored(XB, F)
    coupled = stack(_own(sums(A, XA), sums(A_OTHER, rb), B), _own(sums(A, XB), sums(A_OTHER, ra), B), O)
    turn = tuple(Step("reverse", at, (), "sum backwards") for at in ((0, 0), (0, 1)))
    return [
        proved(
            "T5.linear.tied",
            "The dense layer with tie(V) on a vector x with representation ρ_in is the lift of the plain layer: "
            "stack(Vx + b, V·ρ_in x + b).",
            r"\mathrm{tie}(V)x + \mathrm{tie}(\beta) = \mathrm{stack}(Vx+\beta, V\rho_{\mathrm{in}}x+\beta)",
            Claim(
                Equation(
                    "tied",
                    out,
                    stack(linear(V, X, B), linear(V, act_in(X), B), O)(o),
                    linear(halved(V, reflected(V)), X, halved(B, reflected(B)))(o),
                ),
                Context(facts.facts, (), (("pi_in", C),)),
            ),
            by_strand(Proof((first(),), right=weights), Proof((first(note=SECOND), turned), right=weights)),
            hypotheses=("ρ_in: a signed involution of the C features",),
            source="paper, section 2.2",
        ),
        proved(
            "T5.linear.coupled",
            "The dense layer with tie([A, B]) on stack(a, b) is stack(A·a + B·ρb + bias, A·b + B·ρa + bias).",
            r"\mathrm{tie}[A,B]\,\mathrm{stack}(a,b) + \mathrm{tie}(\beta) ="
            r" \mathrm{stack}(Aa + B\rho b + \beta, Ab + B\rho a + \beta)",
            Claim(Equation("coupled", out, full(A_OTHER), coupled(o)), facts),
            by_strand(Proof(opened, right=(first(),)), Proof((*opened, *turn), right=(first(note=SECOND),))),
            source="paper, section 2.2",
        ),
        proved(
            "T5.linear.embedding",
            "Conjoined weights W embed as V = [W, 0]: the dense layer with tie([W, 0]) is stack(Wa + b, Wb + b).",
            r"\mathrm{tie}[W,0]\,\mathrm{stack}(a,b) + \mathrm{tie}(\beta) = \mathrm{stack}(Wa+\beta, Wb+\beta)",
            Claim(
                Equation("embedding", out, full(None), stack(linear(A, XA, B, F), linear(A, XB, B, F), O)(o)),
                facts,
            ),
            by_strand(
                Proof((*opened, *_without_b(1, 1)), right=(first(),)),
                Proof((*opened, *_without_b(0, 1), turn[1]), right=(first(note=SECOND),)),
            ),
            source="paper, section 2.2",
        ),
    ]


T5 = (*_tied(), *_stacked_input(), *_dense())

#: Statements by theorem.
STATEMENTS: dict[str, tuple[Statement, ...]] = {"T5": T5}
